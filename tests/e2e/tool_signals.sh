#!/bin/sh
# TERM and INT: first the command, then the release; the second signal ends at once; others pass on.
. "$(dirname "$0")/lib.sh"

launch() { # SCRIPT [OPTION...] : lease run in the background; $tool, $command are their processes
    rm -f "$work/pid" "$work/got" "$work/log"
    script_text=$1
    shift
    # A shell ignores INT and QUIT for what it puts into the background.
    env --default-signal=INT,QUIT $lease run -l "$id" $on_file --log-format json "$@" -- \
        sh -c "echo \$\$ >$work/pid; $script_text" 2>"$work/log" &
    tool=$!
    started="$started $tool"
    wait_for test -s "$work/pid" || exit 1
    command=$(cat "$work/pid")
}
loop='while :; do sleep 0.05; done'

for name in TERM INT; do
    launch "trap 'sleep 0.3; exit 9' TERM; $loop"
    kill -s $name "$tool"
    ended "$tool"
    is "$name: the command's code" 9 "$status"
    is "$name: child_exit, then release" "child_exit release stop " \
        "$(events "$work/log" | sed 's/observe //g; s/.*child_start //')"
done

launch "exec sleep 1000"
kill -s TERM "$tool"
ended "$tool"
is "TERM on a plain command" 143 "$status"
$lease get -l "$id" --backend "file:$work/leases" >/dev/null
is "TERM: released" 1 $?

launch "exec sleep 1000" --no-release
kill -s TERM "$tool"
ended "$tool"
$lease get -l "$id" --backend "file:$work/leases" >/dev/null
is "TERM with --no-release: still held" 0 $?

# Renewals go on while the command takes its time.
launch "trap 'sleep 3; exit 4' TERM; $loop" --kill-after 10s --log-level debug
kill -s TERM "$tool"
ended "$tool"
is "a long drain" 4 "$status"
is "a long drain loses nothing" 0 "$(events "$work/log" lose)"

launch "trap '' TERM; $loop" --kill-after 300ms
kill -s TERM "$tool"
ended "$tool"
is "--kill-after" 137 "$status"
is "--kill-after: released all the same" 1 "$(events "$work/log" release)"

launch "trap 'exit 6' USR1; trap '' TERM; $loop" --signal USR1
kill -s TERM "$tool"
ended "$tool"
is "--signal" 6 "$status"

launch "trap '' TERM; $loop" --kill-after 1m
kill -s TERM "$tool"
ok "the first TERM is not the end" test "$(sleep 0.3; events "$work/log" stop)" = 0
kill -s TERM "$tool"
ended "$tool"
is "second TERM" 137 "$status"
ok "second TERM: the command is dead" dead "$command"
is "second TERM: no release" 0 "$(events "$work/log" release)"

launch "trap '' TERM INT; $loop" --kill-after 1m
kill -s INT "$tool"
wait_for grep -qs child_start "$work/log"
sleep 0.2
kill -s TERM "$tool"
ended "$tool"
is "INT, then TERM" 137 "$status"

for name in HUP USR1 USR2 WINCH QUIT ALRM; do
    launch "trap 'echo $name >$work/got; exit 0' $name; $loop"
    kill -s "$name" "$tool"
    ended "$tool"
    is "$name passes on" "$name" "$(cat "$work/got")"
done
launch "$loop"
kill -s STOP "$command"
kill -s CONT "$tool"
wait_for grep -q '^State:[[:space:]]*[RS]' "/proc/$command/status"
kill -s TERM "$tool"
ended "$tool"
is "CONT passes on" 143 "$status"

# A stopped command is woken for its TERM.
launch "trap 'exit 8' TERM; $loop"
kill -s STOP "$command"
kill -s TERM "$tool"
ended "$tool"
is "TERM on a stopped command" 8 "$status"

# Without a command yet: the signal is the end.
launch "$loop"
holder=$tool
for signal in TERM:143 INT:130 HUP:129 QUIT:131; do
    name=${signal%:*}
    rm -f "$work/waiting.log"
    env --default-signal=INT,QUIT $lease run -l "$id" $on_file --log-format json -- true \
        2>"$work/waiting.log" &
    tool=$!
    started="$started $tool"
    wait_for grep -qs '"event":"observe"' "$work/waiting.log"
    kill -s "$name" "$tool"
    ended "$tool"
    is "$name while waiting" "${signal#*:}" "$status"
done
kill -s TERM "$holder"
ended "$holder"
finish
