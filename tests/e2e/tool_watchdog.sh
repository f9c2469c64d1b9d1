#!/bin/sh
# The supervisor frozen or killed at any time: its command is dead before another one runs.
. "$(dirname "$0")/lib.sh"

candidate() { # NAME [OPTION...] : lease run -- beat, in the background; sets tool
    name=$1
    shift
    $lease run -l "$lease_name" $where --identity "$name-$id" --log-format json "$@" -- \
        "$BEAT_BIN" "$work/$name.beats" 2>"$work/$name.log" &
    tool=$!
    started="$started $tool"
}
overlap() { "$BEAT_BIN" --overlap "$work"/*.beats; }
runs() { test -s "$work/$1.beats"; }
command_of() { member "$work/$1.log" child_start pid; }

round() { # WHERE : freezes one leader, kills the next, kills the third's watchdog
    rm -f "$work"/*.beats
    candidate a
    a=$tool
    wait_for runs a || return 1
    candidate b
    b=$tool
    wait_for grep -qs '"event":"observe"' "$work/b.log"

    kill -s STOP "$a"
    ok "frozen: another takes over ($1)" wait_for runs b
    ok "frozen: the command is dead ($1)" dead "$(command_of a)"
    kill -s CONT "$a"
    ended "$a"
    is "frozen: exit code ($1)" 123 "$status"
    is "frozen: no overlap ($1)" 0 "$(overlap)"
    is "frozen: no release of what is another's ($1)" 0 "$(events "$work/a.log" release_failed)"

    candidate c
    c=$tool
    wait_for grep -qs '"event":"observe"' "$work/c.log"
    command=$(command_of b)
    kill -s KILL "$b"
    ok "killed: the command dies at once ($1)" dies_within 500 "$command"
    ok "killed: another takes over ($1)" wait_for runs c
    is "killed: no overlap ($1)" 0 "$(overlap)"

    command=$(command_of c)
    kill -s KILL "$(pgrep -P "$c" -x lease-watchdog)"
    ended "$c"
    is "watchdog killed: exit code ($1)" 125 "$status"
    ok "watchdog killed: the command is dead ($1)" dead "$command"
    is "watchdog killed: released ($1)" 1 "$(events "$work/c.log" release)"
}
dies_within() { # MS PID
    until=$(($(date +%s%N) + $1 * 1000000))
    until dead "$2"; do
        [ "$(date +%s%N)" -lt "$until" ] || return 1
        sleep 0.01
    done
}

where=$on_file
lease_name=$id
round file
use_server
where=$on_kube
lease_name=$id
round kube

# A killed supervisor takes the whole group along, not only the process that it started.
lease_name=$id-group
where=$on_file
$lease run -l "$lease_name" $where -- sh -c '"$0" "$1" & wait' "$BEAT_BIN" "$work/group.beats" &
tool=$!
started="$started $tool"
wait_for runs group
command=$(sed -n '1s/^[0-9]* \([0-9]*\) .*/\1/p' "$work/group.beats")
kill -s KILL "$tool"
ok "killed: the command's child dies too" dies_within 500 "$command"

# Ctrl-C at the terminal is for the foreground; the watchdog is not in it, and has no descriptor but
# its own.
lease_name=$id-fds
rm -f "$work/d.beats"
candidate d
wait_for runs d
dog=$(pgrep -P "$tool" -x lease-watchdog)
is "watchdog: a session of its own" "$dog" "$(ps -o sid= -p "$dog" | tr -d ' ')"
timed "watchdog: descriptors" test "$(ls "/proc/$dog/fd" | tr '\n' ' ')" = "0 2 "
kill -s TERM "$tool"
ended "$tool"
ok "watchdog: ends with the command" dead "$dog"
finish
