# What tests in bash share; sourced by them after scripts/lib.sh.
# shellcheck shell=bash

# A busy machine is slow, not wrong.
readonly patience_s=${PATIENCE_S:-60}
work=$(mktemp -d)
# What runs beside the test, by name.
declare -A pids=()

# Kills what still runs; for a trap, before $work is removed.
kill_all() {
    local pid
    for pid in "${pids[@]}"; do kill -KILL "$pid" 2>/dev/null || true; done
    wait 2>/dev/null || true
}

# Fails with the ends of all logs.
fail() {
    local log
    for log in "$work"/*.log; do [[ ! -s $log ]] || tail -n 8 "$log" | sed "s|^|  ${log##*/}: |" >&2; done
    die "$*"
}

# Runs the command until it succeeds.
eventually() {
    local deadline=$((SECONDS + patience_s)) pid
    until "$@" >"$work/try.log" 2>&1; do
        for pid in "${pids[@]}"; do kill -0 "$pid" 2>/dev/null || fail "a program ended by itself: $*"; done
        ((SECONDS < deadline)) || fail "not within $patience_s s: $*"
        sleep 0.1
    done
}
