#!/bin/sh
# lease timing: its figures, what it refuses, the same words in the start line; and that the figures
# are true, measured at the server.
. "$(dirname "$0")/lib.sh"

facts() { # EXPECTED OPTION... : all that lease timing prints
    expected=$1
    shift
    code $lease timing "$@"
    is "exit code of: timing $*" 0 "$status"
    is "stderr of: timing $*" "" "$(cat "$work/err")"
    is "timing $*" "$expected" "$(cat "$work/out")"
}
number() { # NAME FILE : a number of the JSON form
    sed -n "s/.*\"$1\":\([0-9.]*\)[,}].*/\1/p" "$2"
}
refused() { # PATTERN OPTION...
    pattern=$1
    shift
    code $lease timing "$@"
    is "exit code of: timing $*" 125 "$status"
    has "stderr of: timing $*" "^lease: $pattern" "$work/err"
    is "lines on stderr of: timing $*" 1 "$(wc -l <"$work/err")"
    is "stdout of: timing $*" "" "$(cat "$work/out")"
}
allowed() { # OPTION...
    code $lease timing "$@"
    is "exit code of: timing $*" 0 "$status"
}

# -- The figures of the defaults
facts 'lease-duration 15s, renew-deadline 10s, retry-period 2s, stop-budget 300ms
clock rates may differ by 45.6 %
work must end within 300 ms of a loss
an API outage of 4.5 s is survived whenever it begins
a crashed leader is replaced after 15.2 s on average, 17.4 s at most
a released Lease is taken after 1.1 s on average, 2.4 s at most
a leader sends 0.53 requests a second, a standby 0.45'
facts '{"lease_duration_ms":15000,"renew_deadline_ms":10000,"retry_period_ms":2000,'"\
"'"stop_budget_ms":300,"request_timeout_ms":2500,"skew_ppm":456213,"outage_ms":4500,'"\
"'"crash_mean_ms":15150,"crash_worst_ms":17400,"release_mean_ms":1100,"release_worst_ms":2400,'"\
"'"leader_requests_per_second":0.526,"standby_requests_per_second":0.454}' -o json

# -- Options, variables, and which of them wins
code env LEASE_LEASE_DURATION=30s LEASE_RENEW_DEADLINE=20s LEASE_RETRY_PERIOD=4s \
    LEASE_STOP_BUDGET=1s LEASE_OUTPUT=json LEASE_NAME=x $lease timing --retry-period=5s
is "variables" "30000 20000 5000 1000" "$(for name in lease_duration_ms renew_deadline_ms \
    retry_period_ms stop_budget_ms; do number $name "$work/out"; done | tr '\n' ' ' | sed 's/ $//')"
code env LEASE_RETRY_PERIOD=99ms $lease timing
is "variable refused" 125 "$status"
has "variable refused" '^lease: --retry-period: ' "$work/err"

# -- Rounded to the safe side: skew and outage down, times to a new leader up
code $lease timing --lease-duration 3s --renew-deadline 2499ms --retry-period 201ms -o text
has "skew: 71.81 %" '^clock rates may differ by 7\.1 %$' "$work/out"
has "outage: 674 ms" '^an API outage of 0\.6 s is' "$work/out"
has "crash: 2.611 and 3.241 s" 'after 2\.7 s on average, 3\.3 s at most$' "$work/out"
has "release: 110 and 241 ms" 'after 0\.2 s on average, 0\.3 s at most$' "$work/out"
# Renewals are a second apart where the deadline leaves as much; looks follow the retry period.
has "requests" 'leader sends 1\.00 requests a second, a standby 4\.52$' "$work/out"

# -- Refused, each by the option to change; allowed just beside it
refused '--lease-duration: .*whole seconds' --lease-duration 15500ms
refused '--lease-duration: ' --lease-duration 999ms --renew-deadline 500ms --retry-period 100ms
refused "--lease-duration: '0s' must be more" --lease-duration 0s
refused '--retry-period: ' --retry-period 99ms
allowed --retry-period 100ms
refused '--renew-deadline: ' --renew-deadline 2400ms
allowed --renew-deadline 2401ms
refused '--renew-deadline: .*lease_duration' --renew-deadline 14551ms
allowed --renew-deadline 14550ms
refused '--renew-deadline: .*stop_budget' --stop-budget 4851ms
allowed --stop-budget 4850ms
refused '--renew-deadline: .*lease_duration: 10000 [+] 300 against 10000 ms' --lease-duration 10s
allowed --lease-duration 11s
refused "--stop-budget: '0s' must be more" --stop-budget 0s
refused "--retry-period: '2' is a number without a unit" --retry-period 2
refused "--output: 'yaml' is neither" -o yaml
refused '--wait: no such option' --wait 5s
refused '--lease: no such option' --lease x
refused 'x: unexpected argument' x
refused '--: only lease run takes a COMMAND' -- true

# -- The longest values: no overflow, nothing cut
longest='--lease-duration 596h31m23s'
code $lease timing $longest --renew-deadline 596h --retry-period 400h --stop-budget 1ms
is "the longest values" 125 "$status"
code $lease timing $longest --renew-deadline 590h --retry-period 400h --stop-budget 30m
is "long values" 0 "$status"
has "long values: 7 figures" 'an API outage of 683996\.5 s is' "$work/out"
has "long values: rare requests" 'sends 0\.00 requests a second, a standby 0\.00$' "$work/out"
code $lease timing $longest --renew-deadline 590h --retry-period 400h --stop-budget 30m -o json
is "long values" 3875483000 "$(number crash_worst_ms "$work/out")"
code $lease timing $longest --renew-deadline 121ms --retry-period 100ms --stop-budget 1ms
has "a long duration alone" 'may differ by 1760231866\.3 %$' "$work/out"
has "a long duration alone, to its end" 'a standby 9\.09$' "$work/out"
is "a long duration alone" 7 "$(wc -l <"$work/out")"

# -- Help
code $lease timing --help
is "timing --help" 0 "$status"
has "timing --help" '^      --stop-budget DURATION ' "$work/out"
has "timing --help" '^Exit codes: 0 safe; 125 refused' "$work/out"
code $lease help timing
has "help timing" '^lease timing \[options\]$' "$work/out"

# -- README shows what is printed
sed -n 's/^    \$ lease \(timing.*\)/\1/p' README.md >"$work/shown"
ok "README shows it" test -s "$work/shown"
while read -r arguments; do
    sed -n "/^    \\$ lease $arguments\$/,/^\$/p" README.md | sed '1d; s/^    //; /^$/d' \
        >"$work/expected"
    code $lease $arguments
    is "README: lease $arguments" "$(cat "$work/expected")" "$(cat "$work/out" "$work/err")"
done <"$work/shown"

# -- The start line says the same
$lease timing $timing | sed 1d >"$work/facts"
$lease run -l "$id" $on_file --log-level info -- true 2>"$work/log"
sed -n 's/.*: contending; //p' "$work/log" | sed 's/; /\n/g' >"$work/started"
is "start line, text" "$(cat "$work/facts")" "$(cat "$work/started")"
$lease hold -l "$id-other" $on_file --nonblock --log-format json 2>"$work/log" &
holder=$!
started="$started $holder"
wait_for grep -qs '"event":"start"' "$work/log"
is "start line, JSON" "$($lease timing $timing -o json)" \
    "$(sed -n 's/.*"event":"start".*"timing":\({[^}]*}\).*/\1/p' "$work/log")"
kill -s TERM "$holder"
ended "$holder"

# -- The figures are true. On a server of our own, for it is stopped, and it counts requests.
unset LEASE_SERVER_DIR
use_server
timing='--lease-duration 5s --renew-deadline 4500ms --retry-period 1200ms'
$lease timing $timing -o json >"$work/timing"
numbers="1 2 3 4"
[ -z "${WRAP:-}" ] || numbers="1"

hold() { # NAME... : holders of all Leases, in the background
    for name in "$@"; do
        for n in $numbers; do
            $lease hold -l "$id-$n" $on_kube_alone $timing --identity "$name$n" --log-format json \
                --log-level debug --release 2>"$work/$name$n.log" &
            eval "$name$n=\$!"
            started="$started $!"
        done
        for n in $numbers; do
            wait_for grep -qs '"event":"observe"' "$work/$name$n.log"
        done
    done
}
stop() { # SIGNAL NAME
    for n in $numbers; do
        eval "kill -s $1 \$$2$n"
    done
    for n in $numbers; do
        eval "ended \$$2$n"
    done
}
# What the server was asked about Leases, with success: METHOD NAME MILLISECONDS
requests() {
    curl -sS -f -m 10 --cacert "$account/ca.crt" -H "@$work/admin.header" \
        "$(cat "$LEASE_SERVER_DIR/url")/_devapi/requests" | sed 's/},{/}\n{/g' |
        sed -n 's|.*"time":"[0-9-]*T\(..\):\(..\):\([0-9.]*\)Z".*"method":"\([A-Z]*\)",'"\
"'"path":"[^"]*/leases/\([^"?]*\)","code":200.*|\4 \5 \1 \2 \3|p' | awk '
        {
            ms = ($3 * 3600 + $4 * 60 + $5) * 1000
            while (ms < last) ms += 86400000 # midnight has passed
            last = ms
            printf "%s %s %d\n", $1, $2, ms
        }'
}
per_1000_seconds() { # METHOD FILE : requests about one Lease
    awk -v method="$1" '
        $1 == method && $2 in last { gaps++; ms += $3 - last[$2] }
        $1 == method { last[$2] = $3 }
        END { printf "%d\n", ms == 0 ? 0 : gaps * 1000000 / ms }' "$2"
}
renewals() { cat "$work/$1"?.log | grep -c '"event":"renew"'; }
renewed() { # NAME COUNT : each has renewed more than COUNT times
    for n in $numbers; do
        [ "$(grep -c '"event":"renew"' "$work/$1$n.log")" -gt "$2" ] || return 1
    done
}
acquired() { # NAME
    for n in $numbers; do
        grep -qs '"event":"acquire"' "$work/$1$n.log" || return 1
    done
}

hold a
ok "a leads" acquired a
hold b
before=$(requests | wc -l)
ok "renewals" wait_for renewed a 6
requests | tail -n "+$((before + 1))" >"$work/requests"
for pair in PUT:leader GET:standby; do
    seen=$(per_1000_seconds "${pair%:*}" "$work/requests")
    said=$(number "${pair#*:}_requests_per_second" "$work/timing" | sed 's/0*\.//')
    what="${pair#*:}: $seen requests in 1000 s, $said were said"
    ok "$what" test "$seen" -le $((said * 108 / 100))
    timed "$what" test "$seen" -ge $((said * 85 / 100))
done

# A server that hangs so long, less what a busy machine needs for its round trips.
outage=$(($(number outage_ms "$work/timing") - 200))
for round in 1 2 3; do
    count=$(renewals a)
    kill -s STOP "$devapi"
    sleep "$((outage / 1000)).$(printf %03d $((outage % 1000)))"
    kill -s CONT "$devapi"
    more_renewals() { test "$(renewals a)" -gt "$((count + 4))"; }
    ok "outage $round: it goes on" wait_for more_renewals
done
timed "no term ended by an outage" test "$(cat "$work"/a?.log | grep -c '"event":"lose"')" -eq 0

# From the last renewal that the server has seen to the write that takes the Lease over.
stop KILL a
ok "crash: b leads" wait_for acquired b
requests >"$work/requests"
worst=$(number crash_worst_ms "$work/timing")
for n in $numbers; do
    took=$(awk -v name="$id-$n" '
        $1 != "PUT" || $2 != name { next }
        last && $3 - last > most { most = $3 - last }
        { last = $3 }
        END { printf "%d\n", most }' "$work/requests")
    ok "crash: not taken within the duration ($took ms)" test "$took" -ge 4998
    timed "crash: taken within $worst ms ($took ms)" test "$took" -le $((worst + 1000))
done

hold c
stop TERM b
ok "release: c leads" wait_for acquired c
worst=$(number release_worst_ms "$work/timing")
for n in $numbers; do
    is "release: told" 1 "$(events "$work/b$n.log" release)"
    released=$(member "$work/b$n.log" release mono_ns)
    took=$((($(member "$work/c$n.log" acquire mono_ns) - released) / 1000000))
    timed "release: taken within $worst ms ($took ms)" test "$took" -le $((worst + 1000))
done
stop TERM c
finish
