#!/bin/sh
# At a terminal: the command is in the foreground, Ctrl-C is its own, the terminal comes back. A
# pseudo-terminal comes from script(1).
. "$(dirname "$0")/lib.sh"
trap '' PIPE # of a terminal that is gone
if [ -n "${WRAP:-}" ]; then
    echo "$script: job control under ${WRAP%% *} is another matter, left out"
    ok "left out" true
    finish
fi
if ! script -qec true /dev/null </dev/null >/dev/null 2>&1; then
    echo "$script: no pseudo-terminals here, left out"
    ok "left out" true
    finish
fi

mkfifo "$work/keys"
at_terminal() { # COMMAND : on a terminal whose keys are descriptor 7; the screen is $work/screen
    rm -f "$work/up"
    # A shell ignores INT and QUIT for what it puts into the background.
    env --default-signal=INT,QUIT timeout 30 script -qefc "$1" /dev/null <"$work/keys" \
        >"$work/screen" 2>&1 &
    terminal=$!
    started="$started $terminal"
    exec 7>"$work/keys"
}
leave() { # the terminal's last command has ended
    ended "$terminal"
    exec 7>&-
}
run="$lease run -l $id $on_file --"
loop='while :; do sleep 0.05; done'

at_terminal "$run sh -c 'ps -o pid=,pgid=,tpgid= -p \$\$'"
leave
is "exit code" 0 "$status"
ok "in the foreground" awk '$1 != $2 || $2 != $3 + 0 { exit 1 }' "$work/screen"

cat >"$work/command" <<END
trap 'echo; echo interrupted; exit 33' INT
trap 'echo continued' CONT
: >$work/up
$loop
END
at_terminal "$run sh $work/command"
wait_for test -e "$work/up"
printf '\003' >&7
leave
is "Ctrl-C: exit code" 33 "$status"
has "Ctrl-C: the command's own" '^interrupted' "$work/screen"
$lease get -l "$id" --backend "file:$work/leases" >/dev/null
is "Ctrl-C: released" 1 $?

# What comes after it in a script can read from the terminal again.
cat >"$work/script" <<END
$run true
read -r answer
echo "got <\$answer>"
END
at_terminal "sh $work/script"
echo hello >&7
leave
has "the terminal comes back" '^got <hello>' "$work/screen"

# No shell watches over this job, so nothing could wake it again: Ctrl-Z does not stop it.
at_terminal "$run sh $work/command"
wait_for test -e "$work/up"
printf '\032' >&7
ok "Ctrl-Z without a shell" wait_for grep -q '^.*continued' "$work/screen"
printf '\003' >&7
leave
is "Ctrl-Z without a shell: it goes on" 33 "$status"

# A shell with job control: the job stops, comes back with fg, and ends by Ctrl-C.
at_terminal "PS1='ready> ' sh -im"
wait_for grep -q 'ready> ' "$work/screen"
echo "$run sh $work/command" >&7
wait_for test -e "$work/up"
printf '\032' >&7
ok "Ctrl-Z: the shell has the terminal again" wait_for grep -Eqi 'stopped|suspended' "$work/screen"
echo 'echo shell $((40 + 2))' >&7
ok "Ctrl-Z: the shell works" wait_for grep -q 'shell 42' "$work/screen"
echo fg >&7
ok "fg: the command goes on" wait_for grep -q '^.*continued' "$work/screen"
printf '\003' >&7
ok "fg: Ctrl-C" wait_for grep -q '^interrupted' "$work/screen"
echo 'echo code $?' >&7
ok "fg: exit code" wait_for grep -q 'code 33' "$work/screen"
echo exit >&7
leave

# In the background it is a job like others.
at_terminal "PS1='ready> ' sh -im"
wait_for grep -q 'ready> ' "$work/screen"
echo "$run sh $work/command &" >&7
wait_for test -e "$work/up"
echo 'echo shell $((40 + 2))' >&7
ok "background: the shell works" wait_for grep -q 'shell 42' "$work/screen"
echo fg >&7
sleep 0.3
printf '\003' >&7
ok "background, fg: Ctrl-C" wait_for grep -q '^interrupted' "$work/screen"
echo exit >&7
leave
finish
