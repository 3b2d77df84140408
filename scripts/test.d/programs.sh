# What others wrote and our tests run: each is brought here where it can be, and named in the variable that the tests read.
# Where it cannot, a note says what was not tested.
# shellcheck shell=bash

use_etcd() {
    local dir
    if dir=$(scripts/etcd); then
        export ETCD_BIN=$dir/etcd ETCDCTL_BIN=$dir/etcdctl
        if [[ -x $dir/etcdutl ]]; then
            export ETCDUTL_BIN=$dir/etcdutl
        else
            note 'no etcdutl: restoring a snapshot into an etcd was not tested'
        fi
        return
    fi
    note 'no etcd: the cases did not run on one'
    if [[ -z ${ETCDCTL_BIN:-} ]]; then
        if ETCDCTL_BIN=$(command -v etcdctl); then
            export ETCDCTL_BIN
        else
            note 'no etcdctl: its test did not run'
        fi
    fi
}

# The clients of tests/clients.
use_clients() {
    local target binary manifest=tests/clients/rust/Cargo.toml python=/usr/bin/python3
    target=$(realpath -m "${CARGO_TARGET_DIR:-$root/target}")
    binary=$target/go-client
    mkdir -p "$target"
    if command -v go >/dev/null &&
        (cd tests/clients/go && CGO_ENABLED=0 nice go build -p 2 -mod=readonly -trimpath -o "$binary" .); then
        export GO_CLIENT_BIN=$binary
    else
        note 'no Go, or one that cannot build tests/clients/go: its client did not run'
    fi
    # Its own target directory: other features of the same crates would be built over and over.
    if command -v protoc >/dev/null &&
        nice cargo build --locked --quiet --manifest-path "$manifest" --target-dir "$target/clients"; then
        export RUST_CLIENT_BIN=$target/clients/debug/rust-client
    else
        note 'no protoc (protobuf-compiler, libprotobuf-dev), or tests/clients/rust cannot be built: its client did not run'
    fi
    # Not the first in PATH: packages of the distribution are for its own Python.
    if "$python" -c 'import etcd3' 2>/dev/null; then
        export PYTHON_WITH_ETCD3=$python
    else
        note 'no Python module etcd3 (python3-etcd3), or a broken one: its client did not run'
    fi
    if "$python" -c 'import etcd3gw' 2>/dev/null; then
        export PYTHON_WITH_ETCD3GW=$python
    else
        note 'no Python module etcd3gw (python3-etcd3gw), or a broken one: its client did not run'
    fi
}

# Exports as $1 what the script $2 builds or finds. If it cannot, $3 says what was not tested.
use_built() {
    local path
    if path=$("scripts/$2"); then
        export "$1=$path"
    else
        note "$3"
    fi
}

# go-dqlite's shell, to compare ours with.
use_go_dqlite() {
    use_built GO_DQLITE_BIN go-dqlite \
        'no Go, or go-dqlite cannot be built: the dqlite shell was not compared with the original'
}

# The cluster manager whose state k8sd takes over.
use_microcluster() {
    use_built MICROD_BIN microcluster 'no Go, or microcluster cannot be built: k8sd was not tried beside it'
}

# Prometheus, for metrics and alerts.
use_promtool() {
    use_built PROMTOOL_BIN promtool 'no promtool: metrics and alert rules were not judged by Prometheus'
}

# An S3 server, for archives.
use_versitygw() {
    use_built VERSITYGW_BIN versitygw 'no Go, or versitygw cannot be built: archives were not tried in an S3 server'
}

# A browser, for the status page.
use_chromium() {
    local path
    if [[ -n ${CHROMIUM_BIN:-} ]]; then
        return
    elif path=$(command -v chromium) && "$path" --version >/dev/null 2>&1; then
        export CHROMIUM_BIN=$path
    else
        note 'no chromium: the status page was not opened in a browser'
    fi
}

# Machines in namespaces, for the command lines of the pages.
use_machines() {
    unshare --user --map-root-user --net --mount --pid --fork --kill-child ip link add trial type bridge 2>/dev/null ||
        note 'no user namespaces, or no bridges in them: the command lines of README.md and docs/ were looked up, and not typed'
}

can_cut_power() { ((EUID == 0)) && [[ -e /dev/loop-control ]] && command -v mkfs.ext4 >/dev/null; }

# The debug build of the server and the dqlite shell, whose assertions are on; others may be named.
use_debug_build() {
    local target
    target=$(realpath -m "${CARGO_TARGET_DIR:-$root/target}")/debug
    [[ -n ${K8S_DQLITE_BIN:-} && -n ${DQLITE_BIN:-} ]] ||
        cargo build --locked --quiet -p k8s-dqlite -p dqlite-shell || return
    export K8S_DQLITE_BIN=${K8S_DQLITE_BIN:-$target/k8s-dqlite} DQLITE_BIN=${DQLITE_BIN:-$target/dqlite}
}
