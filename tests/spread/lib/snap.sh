# How the snap is installed and asked; sourced by lib.sh.
# shellcheck shell=bash
# shellcheck disable=SC2034 # used by lib.sh and by tasks

readonly storage=/var/snap/k8s-dqlite/common/var/lib/k8s-dqlite
readonly state=/var/snap/k8s-dqlite/common/var/lib/k8sd/state
readonly service=snap.k8s-dqlite.k8s-dqlite daemon=snap.k8s-dqlite.k8sd-daemon
readonly bin=/snap/k8s-dqlite/current/bin data=/var/snap/k8s-dqlite/current/var/data args=/var/snap/k8s-dqlite/current/args/k8s-dqlite

install_file() { timeout 120 snap install --dangerous "$SPREAD_PATH/$SNAP_FILE"; }
# The file again, which is another revision.
refresh_it() {
    install_file
    snap list k8s-dqlite | MATCH ' x2 '
}
remove_it() { snap remove --purge k8s-dqlite || true; }
start_it() { snap start k8s-dqlite; }
stop_it() { snap stop k8s-dqlite; }
restart_it() { snap restart k8s-dqlite; }
set_log_level() { snap set k8s-dqlite "log-level=$1"; }
# The snap has mounts of its own.
forget_mounts() { /usr/lib/snapd/snap-discard-ns k8s-dqlite; }

status() { k8s-dqlite.status "$@"; }
shell() { k8s-dqlite.dqlite "$@"; }
manager() { k8s-dqlite.k8sd "$@"; }
server() { "k8s-dqlite.$1" "${@:2}"; }

is_installed() {
    snap services k8s-dqlite | MATCH 'k8s-dqlite.k8s-dqlite +enabled +active'
    snap services k8s-dqlite | MATCH 'k8s-dqlite.k8sd-daemon +enabled +active'
    snap list k8s-dqlite | NOMATCH 'blocked|waiting|error'
}
show_services() {
    snap changes | tail -n 5
    snap services k8s-dqlite
    journalctl -u 'snap.k8s-dqlite.*' --no-pager | tail -n 60
}

has_its_libraries() {
    ldd "$1" | NOMATCH 'not found'
    ldd "$1" | MATCH '=> /snap/k8s-dqlite/.*libdqlite'
}
# The service is root's.
own_storage() { :; }
