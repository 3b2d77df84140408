# What scripts/test and its verbs share; sourced by them.
# shellcheck shell=bash
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
# shellcheck source=scripts/test.d/programs.sh
. "$(dirname "${BASH_SOURCE[0]}")/programs.sh"
# Paths in options are the caller's.
export TEST_CALLED_FROM=${TEST_CALLED_FROM:-$PWD}
cd "$root"
# A verb is a program in this directory, and is called by scripts/test.
[[ $tool == test ]] || tool="test $tool"

# What a check that cannot run on this machine ends with.
readonly cannot=77

# Says what was not checked; scripts/test repeats it in its summary.
note() {
    say "$1"
    [[ -z ${TEST_NOTES-} ]] || printf '%s\n' "$1" >>"$TEST_NOTES"
}

# Ends a verb that cannot run here.
skip() {
    note "$1"
    exit "$cannot"
}

wrong() {
    printf '%s: error: %s\n' "$tool" "$1" >&2
    printf '%s: scripts/%s --help tells what there is\n' "$tool" "$tool" >&2
    exit 2
}

# The options that a verb was given, by their names: a flag is 1, of numbers the last counts, others are lines.
declare -A given=()

# Reads the options that the help of the verb names; --name VALUE or --name=VALUE. In the help, N stands for a number
# and DIR for a path.
read_options() {
    local declared line name value
    # "NAME VALUE" of each line of the help that begins with an option.
    declared=$(sed -nE '2,/^[^#]/ s/^#   --([a-z-]+)( ([A-Z]+))? .*/\1 \3/p' "$0")
    while (($# > 0)); do
        [[ $1 != --help && $1 != -h ]] || usage 0
        [[ $1 == --* ]] || wrong "what is '$1'? Options begin with --"
        name=${1#--}
        name=${name%%=*}
        line=$([[ $name =~ ^[a-z-]+$ ]] && grep "^$name " <<<"$declared") ||
            wrong "there is no option --$name; there are: $(sed 's/^\([^ ]*\) .*/--\1/' <<<"${declared:-help }" | paste -sd' ')"
        if [[ $line == *' ' ]]; then
            [[ $1 != *=* ]] || wrong "--$name takes no value"
            value=1
        elif [[ $1 == *=* ]]; then
            value=${1#*=}
        else
            (($# > 1)) || wrong "--$name needs a value"
            value=$2
            shift
        fi
        [[ $line != *' N' || $value =~ ^[0-9]+$ ]] || wrong "--$name needs a number, not '$value'"
        [[ -n $value ]] || wrong "--$name needs a value"
        [[ $line != *' DIR' || $value == /* ]] || value=$TEST_CALLED_FROM/$value
        [[ $line == *' DIR' || $line == *' NAME' ]] || given[$name]=
        given[$name]=${given[$name]:+${given[$name]}$'\n'}$value
        shift
    done
}

# Hands an option on as the variable that the tests read. Without the option, a variable that is set stays.
pass() {
    [[ -z ${given[$1]-} ]] || export "$2=${given[$1]}"
}

# Installs what is missing, once for all that one scripts/test runs.
set_up() {
    [[ -z ${TEST_IS_SET_UP-} ]] || return 0
    scripts/setup --test
    export TEST_IS_SET_UP=yes
}

# Runs the tests of a binary whose names contain one of the words, and shows what they print; to find none is a fault.
#   run_tests CARGO_ARGUMENT... -- [WORD...] [TEST_FLAG...]
run_tests() {
    local binary=() found
    while [[ $1 != -- ]]; do
        binary+=("$1")
        shift
    done
    shift
    found=$(cargo test --locked --quiet "${binary[@]}" -- "$@" --list)
    [[ $found == *': test'* ]] || die "no test has such a name: $*"
    cargo test --locked --quiet "${binary[@]}" -- "$@" --nocapture
}
