#!/bin/sh
# --wait, --nonblock and -E while another holds; hold; get. On files.
. "$(dirname "$0")/lib.sh"
where="--backend file:$work/leases"

# -- get, before anybody was there
code $lease get -l "$id" $where
is "get: no Lease" 1 "$status"
has "get: no Lease" 'there is no such Lease' "$work/out"

# -- hold
$lease hold -l "$id" $on_file --identity the-holder --log-format json 2>"$work/hold1.log" &
hold=$!
started="$started $hold"
wait_for grep -qs '"event":"acquire"' "$work/hold1.log"
code $lease get -l "$id" $where
is "get: held" 0 "$status"
has "get: held" '^holder: +the-holder$' "$work/out"
has "get: renewed" '^renewed: +20[0-9][0-9]-.*Z \(.* ago\)$' "$work/out"
code $lease get -l "$id" $where -o json
is "get -o json" 0 "$status"
has "get -o json" '"namespace":"default","exists":true,"held":true,"expired":false' "$work/out"
has "get -o json" '"holder":"the-holder","acquire_time":"20.*Z","renew_time":"20.*Z"' "$work/out"
has "get -o json" '"lease_duration_seconds":3,"transitions":[0-9]+}$' "$work/out"

# -- Not acquired
refused() { # NAME EXPECTED-CODE OPTION...
    name=$1
    expected=$2
    shift 2
    code $lease run -l "$id" $on_file "$@" -- touch "$work/ran"
    is "$name" "$expected" "$status"
    ok "$name: nothing ran" test ! -e "$work/ran"
}
refused "--nonblock" 124 --nonblock
is "--nonblock says nothing, as flock" "" "$(cat "$work/err")"
refused "--nonblock -E" 9 --nonblock -E 9
refused "--wait 0s" 124 --wait 0s
began=$(date +%s%N)
refused "--wait" 124 --wait 700ms
waited=$((($(date +%s%N) - began) / 1000000))
ok "--wait waits (${waited} ms)" test "$waited" -ge 700
ok "--wait ends (${waited} ms)" test "$waited" -lt 5000
refused "--wait -E" 0 -w 100ms -E 0
refused "--wait in a log" 124 --wait 100ms --log-format json
has "--wait in a log" '"event":"error".*"holder":"the-holder".*"reason":"not_acquired"' "$work/err"
code $lease hold -l "$id" $on_file --nonblock
is "hold --nonblock" 124 "$status"

# -- Acquired in time
code $lease run -l "$id-other" $on_file --nonblock -- true
is "--nonblock on a free Lease" 0 "$status"
$lease run -l "$id" $on_file --wait 20s -- sh -c 'echo $LEASE_IDENTITY' >"$work/out" 2>"$work/err" &
waiter=$!
started="$started $waiter"
kill -s TERM "$hold"
ended "$hold"
is "hold ends by TERM" 0 "$status"
is "hold does not release by default" 0 "$(events "$work/hold1.log" release)"
ended "$waiter"
is "--wait, acquired" 0 "$status"

# -- hold --release
$lease hold -l "$id" $on_file --release --log-format json 2>"$work/hold2.log" &
hold=$!
started="$started $hold"
wait_for grep -qs '"event":"acquire"' "$work/hold2.log"
kill -s TERM "$hold"
ended "$hold"
is "hold --release" 1 "$(events "$work/hold2.log" release)"
code $lease get -l "$id" $where
is "get: released" 1 "$status"
has "get: released" '^holder: +\(nobody\)$' "$work/out"

# -- Expired, by its own times
$lease hold -l "$id" $on_file --log-format json 2>"$work/hold3.log" &
hold=$!
started="$started $hold"
wait_for grep -qs '"event":"acquire"' "$work/hold3.log"
kill -s KILL "$hold"
ended "$hold"
expired() { $lease get -l "$id" $where | grep -q '(expired)$'; }
ok "get: expired" wait_for expired
code $lease get -l "$id" $where
is "get: expired" 1 "$status"

# -- No answer: nobody listens on that port
use_server
nowhere="--server https://127.0.0.1:1 -n default --ca-file $account/ca.crt"
nowhere="$nowhere --token-file $account/token"
code $lease get -l x $nowhere
is "get: failure" 125 "$status"
is "get: failure, one line" 1 "$(wc -l <"$work/err")"
has "get: failure" '^lease: default/x: .*refused' "$work/err"
code $lease run -l x --nonblock $nowhere $timing -- true
is "--nonblock: failure" 125 "$status"
code $lease run -l x --wait 300ms $nowhere $timing -- true
is "--wait: no answer in time" 124 "$status"
has "--wait: no answer in time" '^lease: default/x: cannot contend: ' "$work/err"
finish
