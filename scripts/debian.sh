# Debian's archive, read without touching this machine's apt; sourced after scripts/lib.sh by what downloads from it.
# They set `work`, an empty directory, and `log`, a file.
# shellcheck shell=bash

# Somebody else's apt, such as an unattended upgrade, is given this long to finish.
readonly apt_lock_timeout_s=300

debian_keyring() {
    local file
    for file in /usr/share/keyrings/debian-archive-keyring.{pgp,gpg}; do
        if [[ -r $file ]]; then printf '%s\n' "$file" && return; fi
    done
    return 1
}

# debian_mirror LABEL DEFAULT: apt's own view of the configured sources covers every file format; on Ubuntu it finds nothing.
debian_mirror() {
    apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' "Label: $1" |
        awk -v default="$2" '!/^(cdrom|file|copy):/ { print; found = 1; exit } END { if (!found) print default }'
}

main_mirror() {
    if [[ -n ${DEBIAN_MIRROR:-} ]]; then
        printf '%s\n' "$DEBIAN_MIRROR"
        return
    fi
    debian_mirror Debian http://deb.debian.org/debian
}

install_tools() {
    local tools=()
    command -v dpkg-source >/dev/null || tools+=(dpkg-dev)
    [[ -e /etc/ssl/certs/ca-certificates.crt ]] || tools+=(ca-certificates)
    debian_keyring >/dev/null || tools+=(debian-archive-keyring)
    ((${#tools[@]} == 0)) && return
    say "installing ${tools[*]}"
    { as_root apt-get -qq update &&
        as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout="$apt_lock_timeout_s" \
            -o Dpkg::Use-Pty=0 install --no-install-recommends --no-upgrade -y "${tools[@]}"; } >>"$log" 2>&1 ||
        fail "installing ${tools[*]} failed"
}

fail() {
    tail -n 20 "$log" | sed 's/^/  | /' >&2
    die "$*"
}

# apt with its own sources, lists and cache, so that the machine's stay as they are. private_lists makes them new.
private_apt() {
    local command=$1
    shift
    "$command" -qq -o Dir::Etc::sourcelist="$work/sources.list" -o Dir::Etc::sourceparts=/dev/null \
        -o Dir::State::lists="$work/lists" -o Dir::Cache="$work/cache" \
        -o APT::Sandbox::User="$(id -un)" "$@"
}

# private_lists [OPTION...] <SOURCES
private_lists() {
    cat >"$work/sources.list"
    rm -rf "$work/lists" "$work/cache"
    mkdir -p "$work/lists/partial" "$work/cache/archives/partial"
    private_apt apt-get "$@" update >>"$log" 2>&1
}
