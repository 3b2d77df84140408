# What the tasks share.
# shellcheck shell=bash

readonly storage=/var/snap/k8s-dqlite/common/var/lib/k8s-dqlite
readonly state=/var/snap/k8s-dqlite/common/var/lib/k8sd/state
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

install_snap() {
    timeout 120 snap install --dangerous "$SPREAD_PATH/$SNAP_FILE"
    eventually is_okay
}

remove_snap() { snap remove --purge k8s-dqlite || true; }

# As with a disk that breaks: nobody is told, and nothing is handed over.
lose_all() {
    rm -rf "$storage" "$state"
    systemctl kill --signal=KILL snap.k8s-dqlite.k8s-dqlite snap.k8s-dqlite.k8sd-daemon
    remove_snap
}

# Not the state of health alone, which is that of the last look. Nor a write: what has been written to joins nobody.
is_okay() { timeout 20 etcdctl get ready; }
is_writable() { timeout 20 etcdctl put ready yes; }

show_service() {
    hostname
    snap services k8s-dqlite
    journalctl -u 'snap.k8s-dqlite.*' --no-pager | tail -n 40
    k8s-dqlite.status || true
}

main_pid() { systemctl show --value --property MainPID snap.k8s-dqlite.k8s-dqlite; }

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
    ssh "$node" "export SPREAD_PATH=$(printf %q "$SPREAD_PATH") SNAP_FILE=$(printf %q "$SNAP_FILE") PATH=\$PATH:/snap/bin:/usr/local/bin
        . /root/lib.sh; $(printf '%q ' "$@")"
}

# Functions and the snap, for the other nodes.
prepare_nodes() {
    local node
    for node in "$@"; do
        [[ $node == "$(hostname)" ]] && continue
        ssh "$node" "mkdir -p $(printf %q "$(dirname "$SPREAD_PATH/$SNAP_FILE")")"
        scp -q "$SPREAD_PATH/tests/spread/lib/lib.sh" "$node:/root/lib.sh"
        scp -q "$SPREAD_PATH/$SNAP_FILE" "$node:$SPREAD_PATH/$SNAP_FILE"
    done
}

members() { k8s-dqlite.status --json | jq '.nodes | length'; }
has_members() { [[ $(members) == "$1" ]]; }
voters() { k8s-dqlite.status --json | jq '[.nodes[] | select(.role == "voter" and .is_ready)] | length'; }
has_voters() { [[ $(voters) == "$1" ]]; }
leader_address() { k8s-dqlite.status --json | jq -r .leader.address; }
