# What the tasks share.
# shellcheck shell=bash

# How k8s-dqlite is installed: snap or deb.
readonly form=${FORM:-snap}
# shellcheck source=tests/spread/lib/snap.sh
. "$(dirname "${BASH_SOURCE[0]}")/$form.sh"
export ETCDCTL_API=3 ETCDCTL_ENDPOINTS=http://127.0.0.1:12379
# A busy machine is slow, not wrong.
readonly timeout_s=90

# Until the command succeeds.
eventually() {
    local deadline=$((SECONDS + timeout_s))
    until "$@" >/dev/null 2>&1; do
        if ((SECONDS >= deadline)); then
            echo "not within $timeout_s s: $*" >&2
            "$@"
            return
        fi
        sleep 0.2
    done
}

install_it() {
    install_file
    eventually is_okay
}

# As with a disk that breaks: nobody is told, and nothing is handed over.
lose_all() {
    rm -rf "$storage" "$state"
    systemctl kill --signal=KILL "$service" "$daemon"
    remove_it
}

# Not the state of health alone, which is that of the last look. Nor a write: what has been written to joins nobody.
is_okay() { timeout 20 etcdctl get ready; }
is_writable() { timeout 20 etcdctl put ready yes; }

show_service() {
    hostname
    show_services
    status || true
}

main_pid() { systemctl show --value --property MainPID "$service"; }

# snapd restarts a service after the command that asked for it has ended.
restarted() { [[ $(main_pid) != "$1" && $(main_pid) != 0 ]]; }

# `on NODE FUNCTION|COMMAND...`: there, with these functions.
on() {
    local node=$1
    shift
    if [[ $node == "$(hostname)" ]]; then
        "$@"
        return
    fi
    # shellcheck disable=SC2029 # expanded here on purpose
    ssh "$node" "export SPREAD_PATH=$(printf %q "$SPREAD_PATH") SNAP_FILE=$(printf %q "$SNAP_FILE") FORM=$form PATH=\$PATH:/snap/bin:/usr/local/bin
        . /root/lib.sh; $(printf '%q ' "$@")"
}

# Functions and what is installed, for the other nodes.
prepare_nodes() {
    local node file
    for node in "$@"; do
        [[ $node == "$(hostname)" ]] && continue
        ssh "$node" "mkdir -p $(printf %q "$SPREAD_PATH/tests/spread")"
        scp -q "$SPREAD_PATH"/tests/spread/lib/{lib,snap,deb}.sh "$node:/root/"
        for file in "$SPREAD_PATH"/tests/spread/*.{snap,deb}; do
            [[ ! -e $file ]] || scp -q "$file" "$node:$SPREAD_PATH/tests/spread/"
        done
    done
}

members() { status --json | jq '.nodes | length'; }
has_members() { [[ $(members) == "$1" ]]; }
voters() { status --json | jq '[.nodes[] | select(.role == "voter" and .is_ready)] | length'; }
has_voters() { [[ $(voters) == "$1" ]]; }
leader_address() { status --json | jq -r .leader.address; }
