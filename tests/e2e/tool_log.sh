#!/bin/sh
# The lines on stderr: JSON with its fields, text that is silent while all is well, and a reader who
# does not read.
. "$(dirname "$0")/lib.sh"

$lease run -l "$id" $on_file --identity 'a "quoted\ name' --log-format json --log-level debug -- \
    sleep 1.2 2>"$work/log"
is "code" 0 $?
for event in start observe acquire child_start renew child_exit release stop; do
    ok "event $event" test "$(events "$work/log" "$event")" -ge 1
done
time='20[0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z'
string='"([^"\\]|\\.)*"'
line="\{\"time\":\"$time\",\"mono_ns\":[0-9]+,\"level\":\"(debug|info|warn|error)\""
line="$line,\"event\":\"[a-z_]+\",\"lease\":\"$id\",\"identity\":$string,\"holder\":$string"
line="$line,\"token\":[0-9]+,\"reason\":\"[a-z_]*\"(,\"[a-z]+\":.*)?\}"
is "every line has the fields in order" 0 "$(grep -Evxc "$line" "$work/log")"
if command -v jq >/dev/null; then
    ok "jq reads it" jq -e . "$work/log" >/dev/null
    is "jq sees the identity" 'a "quoted\ name' "$(jq -r .identity "$work/log" | sort -u)"
fi
for number in lease_duration_ms:3000 renew_deadline_ms:2000 retry_period_ms:500 stop_budget_ms:300 \
    request_timeout_ms:500 skew_ppm:303913 outage_ms:0 crash_worst_ms:3600; do
    is "start: ${number%:*}" "${number#*:}" "$(member "$work/log" start "${number%:*}")"
done
is "child_exit: code" 0 "$(member "$work/log" child_exit code)"
is "stop: code" 0 "$(member "$work/log" stop code)"

$lease run -l "$id" $on_file -- true 2>"$work/log"
is "text is silent" "" "$(cat "$work/log")"
$lease run -l "$id" $on_file --log-level info -- true 2>"$work/log"
has "text at info" "^lease: default/$id: acquired, token [0-9]+$" "$work/log"
has "text at info" ": contending; clock rates may differ by 30.3 %; work must end " "$work/log"
is "text: no control characters" 0 "$(LC_ALL=C grep -c '[[:cntrl:]]' "$work/log")"
$lease run -l "$id" $on_file --log-format json --log-level error -- true 2>"$work/log"
is "--log-level error" "" "$(cat "$work/log")"

# A pipe that nobody reads, full to the brim, must not hold the tool up.
mkfifo "$work/full"
sleep 1000 <"$work/full" &
started="$started $!"
$lease run -l "$id" $on_file --log-format json --log-level debug -- sh -c '
    head -c 60000 /dev/zero | tr "\0" x >&2
    timeout 1 sh -c "while :; do echo padding to fill the pipe >&2; done"
    echo "$$" >"$0"
    sleep 3' "$work/pid" 2>"$work/full" >"$work/out" &
tool=$!
started="$started $tool"
ended "$tool"
is "a full stderr" 0 "$status"
ok "a full stderr: the command ran to its end" test -s "$work/pid"
finish
