# What the scripts share; sourced by them, with `tool` set to their name afterwards.
# shellcheck shell=bash

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
tool=$(basename "$0")
# Where rustup puts cargo; a shell that was open before does not know it.
PATH="$PATH:${CARGO_HOME:-$HOME/.cargo}/bin"

say() { printf '%s: %s\n' "$tool" "$*" >&2; }
die() {
    printf '%s: error: %s\n' "$tool" "$*" >&2
    exit 1
}

# The comment at the head of the script is its help.
usage() {
    ((${1:-2} == 0)) || exec >&2
    sed -n '2,/^[^#]/ { s/^# \{0,1\}//; t print; b; :print; p }' "$0"
    exit "${1:-2}"
}

as_root() {
    if ((EUID == 0)); then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        die "this needs root: run it as root, or install sudo: $*"
    fi
}

# What is built from others' sources is kept for all checkouts.
build_cache=${XDG_CACHE_HOME:-$HOME/.cache}/k8s-dqlite
# Longer than the slowest build takes; builds of other sources that nobody has used for so many days are removed.
build_lock_timeout_s=3600
build_kept_days=14

# Prints the directory of what a function builds, which is called once with a new directory as its last argument.
#   provide NAME FUNCTION [ARGUMENT]... <SOURCES
# SOURCES and the function's text are the key: all that the result depends on.
provide() {
    local name=$1 key built
    shift
    key=$({ cat; declare -f "$1"; } | sha256sum | cut -c -12)
    built=$build_cache/$name-$key
    if [[ ! -d $built ]]; then
        mkdir -p "$build_cache"
        exec 9>"$build_cache/$name.lock"
        # Of two runs that both miss the cache, the second waits for the first one's build.
        flock -w "$build_lock_timeout_s" 9 ||
            die "another scripts/$tool has held $build_cache/$name.lock for $build_lock_timeout_s s"
        if [[ ! -d $built ]]; then
            find "$build_cache" -maxdepth 1 -name "$name-*" -mtime +"$build_kept_days" -exec rm -rf {} +
            rm -rf "$built.new"
            mkdir "$built.new"
            "$@" "$built.new" </dev/null >&2
            mv "$built.new" "$built"
        fi
        exec 9>&-
    fi
    touch "$built"
    echo "$built"
}

# Debian's names of an architecture that programs are built for, as compilers and directories have it.
triplet_of() {
    case $1 in
    amd64) echo x86_64-linux-gnu ;;
    arm64) echo aarch64-linux-gnu ;;
    *) die "this is built for amd64 and arm64, not $1" ;;
    esac
}
