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
