# Completes the commands of the snap. snapd sources it with the words that are typed, and calls what it registers for the first.
# shellcheck shell=bash

_k8s_dqlite_app() {
    local app=${1##*.} program=k8s-dqlite function=_k8s__dqlite
    case $app in
    dqlite | k8sd)
        program=$app function=_$app
        COMP_WORDS[0]=$program
        ;;
    *)
        # k8s-dqlite.status is `k8s-dqlite status`.
        COMP_WORDS=("$program" "$app" "${COMP_WORDS[@]:1}")
        COMP_CWORD=$((COMP_CWORD + 1))
        ;;
    esac
    # shellcheck source=/dev/null
    . "$_k8s_dqlite_completion/$program"
    "$function" "$program" "$2" "$3"
}

_k8s_dqlite_completion=${BASH_SOURCE[0]%/*}
complete -F _k8s_dqlite_app "${COMP_WORDS[0]}"
