#!/bin/sh
# tests/e2e/conformance.sh [ID-PREFIX...]: the requests of conformance.tsv against the API server of
# LEASE_SERVER_DIR (unset: a devapi that this starts), each answer compared with what the table
# expects. devapi and a real kube-apiserver must both pass. With arguments: only the rows whose ids
# begin so.
set -u
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
[ -n "${LEASE_SERVER_DIR:-}" ] || start_devapi || exit 1
dir=$LEASE_SERVER_DIR
url=$(cat "$dir/url") || exit 1
tab=$(printf '\t')
collection=/apis/coordination.k8s.io/v1/namespaces/lease-test/leases
run=$(date +%s)-$$

# curl reads the headers with tokens from files, so that no process list shows them.
umask 077
printf 'Authorization: Bearer %s' "$(cat "$dir/admin.token")" >"$work/admin"
printf 'Authorization: Bearer %s' "$(cat "$dir/serviceaccount/token")" >"$work/account"
printf 'Authorization: Bearer wrong' >"$work/wrong"
: >"$work/none"
head -c 3200000 /dev/zero | tr '\0' a >"$work/big"

# Placeholders: {L} the collection, {name} of this group, {uid} and {rv} of the last Lease that it
# was answered, {first_rv} of the first one.
expand() {
    printf '%s' "$1" | sed -e "s|{L}|$collection|g" -e "s|{name}|$name|g" -e "s|{uid}|$uid|g" \
        -e "s|{rv}|$rv|g" -e "s|{first_rv}|$first_rv|g"
}

# Sends the row; the answer without carriage returns goes to $work/answer.
request() {
    set -- -sS -i -N -m 30 --http1.1 --path-as-is -g --cacert "$dir/serviceaccount/ca.crt" \
        -A conformance/1 -H "@$work/$as" -X "$method"
    content_type='Content-Type: application/json'
    if [ "$headers" != - ]; then
        expand "$headers" | sed 's/;;/\n/g' >"$work/headers"
        set -- "$@" -H "@$work/headers"
        ! grep -qi '^content-type' "$work/headers" || content_type=
    fi
    if [ "$body" = '{big}' ]; then
        set -- "$@" --data-binary "@$work/big"
    elif [ "$body" != - ]; then
        expand "$body" >"$work/body"
        set -- "$@" --data-binary "@$work/body"
    fi
    if [ "$body" != - ] && [ -n "$content_type" ]; then set -- "$@" -H "$content_type"; fi
    if ! curl "$@" -o "$work/raw" "$url$(expand "$path")" 2>"$work/error"; then
        sed "s/^/  /" "$work/error"
        return 1
    fi
    # A 100 Continue before the answer is not the answer.
    tr -d '\r' <"$work/raw" | awk '
        FNR == 1 && /^HTTP\/1.1 100/ { skip = 1 }
        !skip { print }
        skip && /^$/ { skip = 0 }' >"$work/answer"
}

# A fragment, or with ~ before it an extended regular expression.
found() {
    case $1 in
    "~"*) grep -qE -e "${1#"~"}" "$work/answer" ;;
    *) grep -qF -e "$1" "$work/answer" ;;
    esac
}

# Each of the parts between && must be there (want=yes) or must not (want=no).
compare() { # PARTS WANT
    [ "$1" != - ] || return 0
    expand "$1" | sed 's/ && /\n/g' >"$work/parts"
    echo >>"$work/parts"
    while IFS= read -r part; do
        [ -n "$part" ] || continue
        if found "$part"; then is=yes; else is=no; fi
        [ "$is" = "$2" ] || echo "$part"
    done <"$work/parts"
}

check() {
    answered=$(sed -n '1s/^HTTP[^ ]* \([0-9]*\).*/\1/p' "$work/answer")
    [ "$answered" = "$expected" ] || echo "  expected $expected, got $answered"
    compare "$present" yes | sed 's/^/  not there: /'
    compare "$absent" no | sed 's/^/  there, but should not be: /'
}

# What the next rows of the group may refer to: a Lease that was answered.
remember() {
    lease_line=$(grep '^{"kind":"Lease",' "$work/answer" | head -n 1)
    [ -n "$lease_line" ] || return 0
    uid=$(printf '%s' "$lease_line" | sed 's/.*"metadata":{[^{]*"uid":"\([^"]*\)".*/\1/')
    version=$(printf '%s' "$lease_line" |
        sed -n 's/.*"metadata":{[^{]*"resourceVersion":"\([^"]*\)".*/\1/p')
    rv=${version:-$rv}
    first_rv=${first_rv:-$rv}
}

wanted() {
    [ $# -gt 1 ] || return 0
    which=$1
    shift
    for prefix in "$@"; do
        case $which in "$prefix"*) return 0 ;; esac
    done
    return 1
}

group=
name=
uid=
rv=
first_rv=
while IFS=$tab read -r row as method path headers body expected present absent; do
    case $row in '' | '#'*) continue ;; esac
    wanted "$row" "$@" || continue
    if [ "${row%%.*}" != "$group" ]; then
        group=${row%%.*}
        name=conformance-$group-$run
        uid=
        rv=
        first_rv=
    fi
    if request && problems=$(check) && [ -z "$problems" ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAILED: $row: $as $method $path"
        echo "${problems:-  no answer}"
        sed 's/^/  | /' "$work/answer" | cut -c 1-1500
    fi
    problems=
    remember
done <tests/e2e/conformance.tsv

# The Leases of this run go again, also those that a finalizer holds.
mine="s/^\"name\":\"\(conformance-[^\"]*${run}[^\"]*\)\"/\1/p"
as_admin() { # curl's arguments
    curl -sS --http1.1 --cacert "$dir/serviceaccount/ca.crt" -H "@$work/admin" -A conformance/1 "$@"
}
as_admin "$url$collection" | tr '{,' '\n\n' | sed -n "$mine" | while read -r lease; do
    as_admin -o "$work/raw" -X DELETE "$url$collection/$lease"
done

[ $((passed + failed)) -gt 0 ] || failed=1
finish
