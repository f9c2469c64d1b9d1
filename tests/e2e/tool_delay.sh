#!/bin/sh
# Answers that come late or not at all: two candidates, one command at a time, and a loss in time.
. "$(dirname "$0")/lib.sh"
use_server

fault() { # JSON-MEMBERS : for the Lease of this script; false where the server takes no orders
    printf '{%s,"user":"account","name":"%s"}' "$1" "$id" >"$work/fault"
    curl -sS -f -m 10 -o /dev/null --cacert "$account/ca.crt" -H "@$work/admin.header" \
        --data-binary "@$work/fault" "$(cat "$LEASE_SERVER_DIR/url")/_devapi/fault" 2>/dev/null
}
if ! fault '"verb":"GET","action":"delay_answer","ms":1,"count":1'; then
    echo "$script: this server cannot be told to be slow, left out"
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
is "late answers: nothing is lost" 0 "$(count lose)"
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
ok "no answers: dead within the stop budget ($(((gone - lost) / 1000000)) ms)" \
    test "$((gone - lost))" -le 400000000

kill -s TERM "$a" "$b"
ended "$a"
ended "$b"
is "no overlap at all" 0 "$(overlap)"
finish
