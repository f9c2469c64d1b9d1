#!/bin/sh
# Answers that come late or not at all: two candidates, one command at a time, and a loss in time.
. "$(dirname "$0")/lib.sh"
use_server

lease_name=$id
fault() { # JSON-MEMBERS : for our requests to $lease_name; false where the server takes no orders
    printf '{%s,"user":"account","name":"%s"}' "$1" "$lease_name" >"$work/fault"
    curl -sS -f -m 10 -o /dev/null --cacert "$account/ca.crt" -H "@$work/admin.header" \
        --data-binary "@$work/fault" "$(cat "$LEASE_SERVER_DIR/url")/_devapi/fault" 2>/dev/null
}
if ! fault '"verb":"GET","action":"delay_answer","ms":1,"count":1'; then
    echo "$script: this server cannot be told to be slow, left out"
    ok "left out" true
    finish
fi

for name in a b; do
    $lease run -l "$id" $on_kube --identity "$name-$id" --restart --log-format json \
        --log-level debug -- "$BEAT_BIN" "$work/$name.beats" 2>"$work/$name.log" &
    eval "$name=\$!"
    started="$started $!"
    wait_for grep -qs '"event":"observe"' "$work/$name.log"
done
wait_for test -s "$work/a.beats"
overlap() { "$BEAT_BIN" --overlap "$work"/*.beats; }
changes() { cat "$work"/?.log | grep -c '"event":"child_start"'; }
count() { cat "$work"/?.log | grep -c "\"event\":\"$1\""; }
more() { test "$(count "$1")" -gt "$2"; } # EVENT THAN

# Each second write is answered half a renew deadline after it was made: too late for its attempt.
renewals=$(count renew)
for skip in 0 1 2 3; do
    fault "\"verb\":\"PUT\",\"action\":\"delay_answer\",\"ms\":1000,\"count\":1,\"skip\":$skip"
done
ok "late answers: failures are seen" wait_for more error 0
ok "late answers: renewals go on" wait_for more renew $((renewals + 4))
timed "late answers: nothing is lost" test "$(count lose)" -eq 0
is "late answers: no overlap" 0 "$(overlap)"

# The leader's writes are made, but no answer comes, for longer than the lease: it must stop, though
# the Lease names it.
fault '"verb":"*","action":"drop_answer","count":12'
ok "no answers: the term ends" wait_for more lose 0
ok "no answers: the command is ended" wait_for more child_exit 0
ok "no answers: somebody leads again" wait_for more child_start 1
is "no answers: no overlap" 0 "$(overlap)"
lost=$(cat "$work"/?.log | grep '"event":"lose"' | sed -n '1s/.*"mono_ns":\([0-9]*\).*/\1/p')
gone=$(cat "$work"/?.log | grep '"event":"child_exit"' | sed -n '1s/.*"mono_ns":\([0-9]*\).*/\1/p')
timed "no answers: dead within the stop budget ($(((gone - lost) / 1000000)) ms)" \
    test "$((gone - lost))" -le 400000000

kill -s TERM "$a" "$b"
ended "$a"
ended "$b"
is "no overlap at all" 0 "$(overlap)"

# A lease that runs out leaves the command the stop budget to end by --signal, and no more.
ends_by() { # NAME TRAP OPTION... : a command that loses its lease to a silent server
    lease_name=$id-$1
    trap_text=$2
    shift 2
    env --default-signal=INT $lease run -l "$lease_name" $on_kube --log-format json "$@" -- \
        sh -c "trap '$trap_text' INT TERM; : >$work/up; while :; do sleep 0.02; done" \
        2>"$work/end.log" &
    tool=$!
    started="$started $tool"
    wait_for test -e "$work/up"
    rm "$work/up"
    fault '"verb":"*","action":"drop_request","count":12'
    ended "$tool"
    is "$lease_name: exit code" 123 "$status"
    is "$lease_name: reason" expired "$(member "$work/end.log" lose reason)"
    took=$(($(member "$work/end.log" child_exit mono_ns) - $(member "$work/end.log" lose mono_ns)))
    took=$((took / 1000000))
}
ends_by gentle "echo bye >$work/bye; exit 0" --signal INT --stop-budget 800ms
is "gentle: by itself" 0 "$(member "$work/end.log" child_exit code)"
ok "gentle: it said goodbye" test -s "$work/bye"
ends_by stubborn "" --stop-budget 800ms
is "stubborn: killed" 137 "$(member "$work/end.log" child_exit code)"
timed "stubborn: within the stop budget ($took ms)" test "$took" -ge 400 -a "$took" -le 850
ends_by hasty "" --stop-budget 800ms --kill-after 100ms
is "hasty: killed" 137 "$(member "$work/end.log" child_exit code)"
timed "hasty: --kill-after is shorter ($took ms)" test "$took" -le 500

# The time range fails open in silence, and closes when the API speaks again; readiness tells.
lease_name=$id-range
$lease hold -l "$lease_name" $on_kube --listen 0 --log-format json 2>"$work/range.log" &
tool=$!
started="$started $tool"
wait_for grep -qs '"event":"acquire"' "$work/range.log"
at=http://$(member "$work/range.log" start listen)
fault '"verb":"*","action":"drop_request","count":8'
ok "silence: the range fails open" wait_for grep -q '"event":"fail_open"' "$work/range.log"
curl -sS -m 10 "$at/range" >"$work/out"
has "silence: /range" '^\{"range":\{"start":.*\},"failing_open":true\}$' "$work/out"
is "silence: /leader" 503 "$(curl -s -m 10 -o /dev/null -w '%{http_code}' "$at/leader")"
is "silence: /readyz" 503 "$(curl -s -m 10 -o "$work/out" -w '%{http_code}' "$at/readyz")"
has "silence: /readyz says why" '^(timeout|closed)$' "$work/out"
is "silence: /healthz" 200 "$(curl -s -m 10 -o /dev/null -w '%{http_code}' "$at/healthz")"
ok "silence ends: closed again" wait_for grep -q '"event":"fail_close"' "$work/range.log"
leads_again() { curl -sf -m 10 -o /dev/null "$at/leader"; }
ok "silence ends: leads again" wait_for leads_again
kill -s TERM "$tool"
ended "$tool"
finish
