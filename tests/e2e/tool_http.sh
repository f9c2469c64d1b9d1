#!/bin/sh
# --listen: what each path answers, and that clients of any kind cannot delay a renewal. On files.
. "$(dirname "$0")/lib.sh"

$lease hold -l "$id" $on_file --identity leader-1 --listen :0 --log-format json --log-level debug \
    2>"$work/leader.log" &
leader=$!
started="$started $leader"
wait_for grep -qs '"event":"acquire"' "$work/leader.log"
$lease run -l "$id" $on_file --listen localhost:0 --log-format json -- true 2>"$work/standby.log" &
standby=$!
started="$started $standby"
wait_for grep -qs '"event":"observe".*"holder":"leader-1"' "$work/standby.log"
a=http://$(member "$work/leader.log" start listen)
b=http://$(member "$work/standby.log" start listen)
ok "loopback unless an address is given" test "${a%:*}" = http://127.0.0.1

json="application/json"
text="text/plain; charset=utf-8"
get() { # URL [OPTION...] : status and content type; the body in $work/out
    curl -sS -m 10 -o "$work/out" -w '%{http_code} %{content_type}' "$@"
}
is "/" "200 $json" "$(get "$a/")"
has "/" '^\{"name":"leader-1","is_leader":true,"token":[1-9][0-9]*,"identity":"leader-1"' \
    "$work/out"
is "/ of the standby" "200 $json" "$(get "$b/")"
has "/ of the standby" '^\{"name":"leader-1","is_leader":false,"token":0,' "$work/out"
is "/leader" "200 $json" "$(get "$a/leader")"
is "/leader of the standby" "503 $json" "$(get "$b/leader")"
is "/leader with a query" "200 $json" "$(get "$a/leader?x=1")"
is "/range" "200 $json" "$(get "$a/range")"
has "/range" '^\{"range":\{"start":"20[^"]*Z","end":"20[^"]*Z"\},"failing_open":false\}$' \
    "$work/out"
is "/range of the standby" "503 $json" "$(get "$b/range")"
for url in "$a" "$b"; do
    is "/healthz" "200 $text" "$(get "$url/healthz")"
    is "/readyz" "200 $text" "$(get "$url/readyz")"
done
is "/metrics" "200 text/plain; version=0.0.4; charset=utf-8" "$(get "$a/metrics")"
has "/metrics" "^lease_is_held\{key=\"default/$id\"\} 1$" "$work/out"
has "/metrics" "^leader_election_master_status\{name=\"$id\"\} 1$" "$work/out"
is "/metrics as OpenMetrics" "200 application/openmetrics-text; version=1.0.0; charset=utf-8" \
    "$(get "$a/metrics" -H 'Accept: application/openmetrics-text;version=1.0.0,*/*;q=0.1')"
is "OpenMetrics ends" "# EOF" "$(tail -n 1 "$work/out")"
is "unknown path" "404 $text" "$(get "$a/etc/passwd")"
is "long path" "404 $text" "$(get "$a/$(printf '%0100d' 0)")"
is "POST" "405 $text" "$(get "$a/" -d x=1)"
is "HEAD" "200 $json" "$(get "$a/" -I)"
has "HEAD has a length" '^Content-Length: [1-9]' "$work/out"
is "too long" "431 $text" "$(get "$a/" -H "X: $(printf '%03000d' 0)")"
is "taken address" 125 "$($lease hold -l x $on_file --listen "${a#http://}" 2>"$work/err"; echo $?)"
has "taken address" '^lease: --listen: cannot listen on 127.0.0.1:[0-9]+: ' "$work/err"

# -- Hostile clients
port=${a##*:}
talk() { # TEXT : what the server answers to these bytes
    curl -sS -m 10 "telnet://127.0.0.1:$port" <"$1" 2>/dev/null
}
printf 'garbage\r\n\r\n' >"$work/in"
has "garbage" '^HTTP/1.1 400 ' /dev/stdin <<END
$(talk "$work/in")
END
printf 'GET / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n' >"$work/in"
ok "both lengths" test -n "$(talk "$work/in")"

# Forty that say nothing or never finish, and one honest client beside them.
renewals() { events "$work/leader.log" renew; }
mkfifo "$work/never"
sleep 1000 >"$work/never" &
started="$started $!"
for i in $(seq 40); do
    curl -sS -m 30 "telnet://127.0.0.1:$port" <"$work/never" >"$work/silent.out" 2>/dev/null &
    started="$started $!"
done
before=$(renewals)
for i in $(seq 8); do
    is "an honest client among silent ones" "200 $json" "$(get "$a/leader")"
    sleep 0.25
done
timed "renewals go on" test "$(renewals)" -gt "$before"
ok "few connections are kept" test "$(find "/proc/$leader/fd" -type l | wc -l)" -le 40
is "nothing lost" 0 "$(events "$work/leader.log" lose)"

kill -s TERM "$leader" "$standby"
ended "$leader"
is "hold ends" 0 "$status"
finish
