# How the Debian package is installed and asked; sourced by lib.sh.
# shellcheck shell=bash
# shellcheck disable=SC2034 # used by lib.sh and by tasks

readonly storage=/var/lib/k8s-dqlite/data
readonly state=/var/lib/k8s-dqlite/k8sd
readonly service=k8s-dqlite daemon=k8sd
readonly bin=/usr/bin data=$storage args=/etc/k8s-dqlite/args

# The package enables nothing by itself. A machine without a network has no adduser, which it depends on, unless it is brought.
install_file() {
    dpkg --install "$SPREAD_PATH"/tests/spread/*.deb >/dev/null
    timeout 120 systemctl --quiet enable --now k8s-dqlite k8sd
}
# The same version again, as an upgrade.
refresh_it() { timeout 120 dpkg --install "$SPREAD_PATH/tests/spread/k8s-dqlite.deb" >/dev/null; }
remove_it() {
    dpkg --purge k8s-dqlite || true
    # What purge leaves to the operator.
    rm -rf /var/lib/k8s-dqlite
}
start_it() { timeout 120 systemctl start k8s-dqlite k8sd; }
stop_it() { systemctl stop k8s-dqlite k8sd; }
restart_it() { systemctl restart k8s-dqlite k8sd; }
set_log_level() {
    echo "--log-level=$1" >>"$args"
    systemctl restart k8s-dqlite
}
forget_mounts() { :; }

status() { k8s-dqlite status --storage-dir="$storage" "$@"; }
shell() {
    # As by itself in the snap.
    if [[ $1 != -* ]]; then set -- -s "file://$storage/cluster.yaml" -c "$storage/cluster.crt" -k "$storage/cluster.key" "$@"; fi
    dqlite "$@"
}
# The snap begins a cluster with the first token.
manager() {
    if [[ "$1 ${2-}" == 'token add' && ! -e $state/daemon.yaml ]]; then
        k8sd bootstrap --state-dir="$state" --name="$(hostname)" --address="$(hostname -I | awk '{ print $1 }'):6400" >/dev/null
    fi
    k8sd "$@" --state-dir="$state"
}
server() { k8s-dqlite "$@"; }

is_installed() {
    systemctl is-enabled k8s-dqlite k8sd
    systemctl is-active k8s-dqlite k8sd
    dpkg --status k8s-dqlite | MATCH '^Status: install ok installed$'
}
show_services() {
    systemctl --no-pager status k8s-dqlite k8sd
    journalctl -u k8s-dqlite -u k8sd --no-pager | tail -n 60
}

has_its_libraries() { { ldd "$1" 2>&1 || true; } | MATCH 'not a dynamic executable|statically linked'; }
own_storage() { chown -R k8s-dqlite: "$storage"; }
