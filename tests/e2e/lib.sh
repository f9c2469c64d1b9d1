# lib.sh -- what the end-to-end scripts share. Source it first; end with finish.
#
#   LEASE_BIN BEAT_BIN DEVAPI_BIN   the programs (default build/...)
#   LEASE_SERVER_DIR                server directory of the API; without one a script that needs it
#                                   starts a devapi of its own
#   WRAP                            put before the tool: valgrind and the like
set -u
cd "$(dirname "$0")/../.." || exit 1
LEASE_BIN=${LEASE_BIN:-build/lease}
BEAT_BIN=${BEAT_BIN:-build/beat}
DEVAPI_BIN=${DEVAPI_BIN:-build/devapi}
lease="${WRAP:-} $LEASE_BIN"
script=$(basename "$0" .sh)
id=$(echo "$script" | tr _ -)-$$ # begins the names of this run's Leases
work=$(mktemp -d) || exit 1
started= # processes to end with us
devapi=
passed=0
failed=0
# Short, and with room for a busy machine; a crash is taken over after 3 to 3.5 s.
timing="--lease-duration 3s --renew-deadline 2s --retry-period 500ms"
# Leases of this script alone, without a server.
mkdir "$work/leases"
on_file="--backend file:$work/leases $timing"

cleanup() {
    trap '' INT TERM
    trap - EXIT
    for pid in $started $devapi; do
        kill -s CONT "$pid" 2>/dev/null
        kill -s KILL "$pid" 2>/dev/null
    done
    wait 2>/dev/null
    rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

ok() { # NAME CONDITION... : counts whether the command succeeds
    name=$1
    shift
    if "$@"; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAILED: $script: $name: $*"
    fi
}
timed() { # NAME CONDITION... : as ok, but what takes too long under WRAP is forgiven
    [ -n "${WRAP:-}" ] || ok "$@"
}
is() { # NAME EXPECTED ACTUAL
    if [ "$2" = "$3" ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAILED: $script: $1: expected '$2', got '$3'"
    fi
}
has() { # NAME PATTERN FILE : a line of the file matches (grep -E)
    if grep -Eq -- "$2" "$3"; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAILED: $script: $1: no line matches '$2' in: $(head -c 600 "$3")"
    fi
}
finish() {
    echo "$passed passed, $failed failed"
    [ "$failed" -eq 0 ]
    exit $?
}

wait_for() { # CONDITION... : until the command succeeds; false after 20 seconds
    tries=400
    until "$@"; do
        tries=$((tries - 1))
        if [ "$tries" -eq 0 ]; then
            echo "$script: waited in vain for: $*"
            return 1
        fi
        sleep 0.05
    done
}
dead() { # PID : does not run any more; a zombie does not run
    ! grep -qs '^State:[[:space:]]*[A-WY]' "/proc/$1/status"
}
code() { # COMMAND... : sets status; stdout and stderr go to $work/out and $work/err
    "$@" >"$work/out" 2>"$work/err"
    status=$?
}
ended() { # PID : waits for a child of ours, sets status
    wait "$1" 2>/dev/null
    status=$?
}
events() { # FILE [EVENT] : the events of a JSON log, or how often one of them came
    if [ $# -eq 1 ]; then
        sed -n 's/.*"event":"\([a-z_]*\)".*/\1/p' "$1" | tr '\n' ' '
    else
        grep -c "\"event\":\"$2\"" "$1"
    fi
}
member() { # FILE EVENT NAME : a member of the last such event, without quotes
    grep "\"event\":\"$2\"" "$1" | tail -n 1 |
        sed -n "s/.*\"$3\":\"\{0,1\}\([^\",}]*\).*/\1/p"
}

# -- The API server ------------------------------------------------------------------------------

start_devapi() { # sets LEASE_SERVER_DIR
    LEASE_SERVER_DIR=$work/server
    "$DEVAPI_BIN" --dir "$LEASE_SERVER_DIR" >"$work/devapi.log" 2>&1 &
    devapi=$!
    wait_for test -s "$LEASE_SERVER_DIR/url" || return 1
    export LEASE_SERVER_DIR
}
use_server() { # sets on_kube, the options that lead to the server, and account
    [ -n "${LEASE_SERVER_DIR:-}" ] || start_devapi || exit 1
    account=$LEASE_SERVER_DIR/serviceaccount
    on_kube="--server $(cat "$LEASE_SERVER_DIR/url") --token-file $account/token"
    on_kube_alone="$on_kube --ca-file $account/ca.crt -n lease-test" # for get, without timing
    on_kube="$on_kube_alone $timing"
    (umask 077 && printf 'Authorization: Bearer %s\n' "$(cat "$LEASE_SERVER_DIR/admin.token")" \
        >"$work/admin.header")
}
api() { # METHOD NAME [FILE] : prints the answer; false unless 2xx
    url=$(cat "$LEASE_SERVER_DIR/url")/apis/coordination.k8s.io/v1/namespaces/lease-test/leases/$2
    set -- -sS -f -m 10 --cacert "$LEASE_SERVER_DIR/serviceaccount/ca.crt" -X "$1" \
        -H "@$work/admin.header" ${3:+-H Content-Type:application/json --data-binary "@$3"} "$url"
    curl "$@"
}
