#!/bin/sh
# The supervisor stopped at every system call between acquiring the Lease and the command's start:
# whatever it had got to, its command never runs beside another one. strace(1) stops it. On files.
. "$(dirname "$0")/lib.sh"
if [ -n "${WRAP:-}" ] || ! strace -qq -o /dev/null true 2>/dev/null; then
    echo "$script: no strace here, left out"
    ok "left out" true
    finish
fi
run="$LEASE_BIN run $on_file --log-format json"

# The calls in question: from the unlock of the acquired Lease to the first wait of the main loop.
strace -o "$work/calls" $run -l "$id" -- true 2>/dev/null
sed 's/(.*//' "$work/calls" | awk '
    { count[$1]++; name[NR] = $1; nth[NR] = count[$1] }
    $1 == "rename" && !first { first = NR + 2 }
    $1 ~ /^v?fork$|^clone3?$/ { forks++ }
    forks == 2 && !last { last = NR + 4 }
    END { for (i = first; i <= last; i++) print name[i], nth[i] }' >"$work/points"
ok "there are calls to stop at" test "$(wc -l <"$work/points")" -ge 8

candidates() { # NAME NTH : one that is stopped there, and one that takes over
    at=$1-$2
    strace -qq -o /dev/null -e "inject=$1:signal=SIGSTOP:when=$2" $run -l "$id-$at" -- \
        "$BEAT_BIN" "$work/$at.stopped.beats" 20 2>/dev/null &
    tracer=$!
    sleep 0.4
    $run -l "$id-$at" -- "$BEAT_BIN" "$work/$at.beats" 20 2>/dev/null &
    tool=$!
    wait_for test -s "$work/$at.beats" >/dev/null && sleep 0.2
    stopped=$(pgrep -P "$tracer")
    kill -s CONT "$stopped" 2>/dev/null
    sleep 0.3
    kill -s KILL "$tracer" "$stopped" "$tool" 2>/dev/null
    wait
}
while read -r name nth; do
    candidates "$name" "$nth" &
    started="$started $!"
done <"$work/points"
for pid in $started; do
    wait "$pid"
done
took_over=0
while read -r name nth; do
    at=$name-$nth
    touch "$work/$at.stopped.beats" "$work/$at.beats"
    [ ! -s "$work/$at.beats" ] || took_over=$((took_over + 1))
    is "stopped at call $nth of $name" 0 \
        "$("$BEAT_BIN" --overlap "$work/$at.stopped.beats" "$work/$at.beats")"
done <"$work/points"
ok "the other took over ($took_over times)" test "$took_over" -ge 8
finish
