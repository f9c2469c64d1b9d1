#!/bin/sh
# tests/bench/bench.sh: what lease.h costs, beside its budgets. `make bench` builds what it needs.
# Instructions, system calls, bytes and memory are counted and repeat; times depend on the machine
# and on what else it does.
set -u
cd "$(dirname "$0")/../.." || exit 1
build=${BUILD:-build}
lease=$build/static/lease
renew=$build/static/renew
work=$(mktemp -d) || exit 1
started=
trap 'kill $started 2>/dev/null; wait 2>/dev/null; rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
over=0
missing=0

row() { # MEASURE BUDGET UNIT SEEN
    note=
    if [ -z "$4" ]; then
        note="not measured"
        missing=$((missing + 1))
    elif [ "$(awk -v seen="$4" -v most="$2" 'BEGIN { print (seen > most) }')" = 1 ]; then
        note="over"
        over=$((over + 1))
    fi
    printf '%-58s %9s %9s %-3s %s\n' "$1" "$2" "${4:--}" "$3" "$note"
}
kb_of_file() {
    [ ! -f "$1" ] || stat -c %s "$1" | awk '{ printf "%.0f", $1 / 1024 }'
}
word() { # N TEXT
    echo "$2" | awk -v n="$1" '{ print $n }'
}
# Private dirty memory is read as Anonymous: Private_Dirty also counts the pages of a program file
# that was written a moment ago.
memory() { # PID KEY FILE : kB
    awk -v key="$2:" '$1 == key { print $2 }' "/proc/$1/$3" 2>/dev/null
}
wait_for() { # COMMAND... : until it succeeds; false after 20 seconds
    tries=200
    until "$@"; do
        tries=$((tries - 1))
        [ $tries -gt 0 ] || return 1
        sleep 0.1
    done
}
acquired() { grep -qs '"event":"acquire"' "$1"; }

"$build/devapi" --dir "$work/server" >"$work/devapi.log" 2>&1 &
started="$started $!"
if ! wait_for test -s "$work/server/url"; then
    echo "bench: devapi did not start" >&2
    exit 1
fi
account=$work/server/serviceaccount
# A token as long as a real one: devapi reads it from the same file.
on_server="--server $(cat "$work/server/url") --ca-file $account/ca.crt
    --token-file $account/token -n lease-test"
fast="--lease-duration 3s --renew-deadline 2s --retry-period 500ms --log-format json"

printf '%-58s %9s %9s\n' measure budget seen
row "static program, TLS 1.2 + 1.3" 200 KB "$(kb_of_file "$build/static/minimal")"
row "static program, TLS 1.2" 150 KB "$(kb_of_file "$build/static/tls12/minimal")"
row "static lease tool" 260 KB "$(kb_of_file "$lease")"

# Memory: a program after a thousand renewals; the tool as leader and as standby.
seen=$("$renew" "$work/server" bench-memory 1000)
row "RSS of a program after 1,000 renewals" 288 kB "$(word 1 "$seen")"
row "private dirty memory of it" 96 kB "$(word 2 "$seen")"
# shellcheck disable=SC2086
{
    "$lease" hold --lease bench-tool $fast $on_server 2>"$work/leader.log" &
    leader=$!
    started="$started $leader"
    wait_for acquired "$work/leader.log"
    "$lease" hold --lease bench-tool $fast $on_server 2>"$work/standby.log" &
    standby=$!
    started="$started $standby"
}
sleep 10 # twenty turns; after the first few the memory does not grow
row "RSS of the tool as leader" 288 kB "$(memory $leader VmRSS status)"
row "RSS of the tool as standby" 352 kB "$(memory $standby VmRSS status)"
row "private dirty memory of the tool as leader" 96 kB \
    "$(memory $leader Anonymous smaps_rollup)"
kill $leader $standby

seen=$("$build/bench/renew" "$work/server" bench-mallocs 1010)
row "libc mallocs in 1,000 renewals" 0 "" "$(word 3 "$seen")"

# Instructions: the difference of two run lengths.
instructions() { # COUNT
    valgrind --tool=callgrind --callgrind-out-file=/dev/null \
        "$renew" "$work/server" bench-instructions "$1" 2>&1 | awk '/Collected/ { print $4 }'
}
few=$(instructions 100)
many=$(instructions 1100)
row "user instructions per renewal" 90000 "" "$(echo "$few $many" |
    awk 'NF == 2 { printf "%.0f", ($2 - $1) / 1000 }')"

# System calls and bytes of the tool between its fourth request and its last, each one send.
# shellcheck disable=SC2086
timeout 15 strace -f -o "$work/strace" "$lease" hold --lease bench-calls $fast $on_server \
    2>/dev/null
seen=$(awk '
    { sub(/^[0-9]+ +/, "") }
    /^(sendto|sendmsg|write)\((3|4|5|6|7|8|9),/ && $NF > 200 {
        sends++
        if (sends > 4) { calls_kept = calls; up_kept = up; down_kept = down }
        if (sends == 4) calls = up = down = 0
        else if (sends > 4) up += $NF
    }
    sends >= 4 && !/^(strace|---|\+\+\+)/ { calls++ }
    /^(recvfrom|recvmsg|read)\(/ && sends >= 4 && $NF > 0 { down += $NF }
    END {
        n = sends - 4
        if (n > 3) printf "%.2f %.0f %.0f", calls_kept / n, up_kept / (n - 1), down_kept / n
    }' "$work/strace")
row "system calls per renewal, sleep included" 3 "" "$(word 1 "$seen")"
row "bytes up per renewal" 1500 "" "$(word 2 "$seen")"
row "bytes down per renewal" 750 "" "$(word 3 "$seen")"

for i in 1 2 3 4 5 6 7 8 9; do
    from=$(date +%s%N)
    # shellcheck disable=SC2086
    to=$("$lease" run --lease "bench-exec-$i" $fast $on_server -- date +%s%N 2>/dev/null)
    [ -z "$to" ] || awk -v a="$from" -v b="$to" 'BEGIN { printf "%.1f\n", (b - a) / 1000000 }'
done | sort -n >"$work/starts"
row "from exec to the command's start, median of 9" 10 ms "$(sed -n 5p "$work/starts")"

seen=$("$build/bench/questions")
row "lease_is_leader" 30 ns "$(word 1 "$seen")"
row "lease_range" 60 ns "$(word 2 "$seen")"
# How fast the machine is just now: the first reads this clock once, the second two like it.
echo "$seen" | awk 'NF == 3 { printf "%-58s %9s %9s ns  %.2f and %.2f times in the two above\n",
    "one bare clock_gettime(CLOCK_BOOTTIME)", "", $3, $1 / $3, $2 / $3 }'

echo "$over over budget, $missing not measured (token of $(wc -c <"$account/token") bytes)"
[ "$missing" -eq 0 ]
