#!/bin/sh
# What COMMAND gets, and what becomes of its end. On files, without a server.
. "$(dirname "$0")/lib.sh"

run() { # ARGUMENT... : lease run with a Lease of its own
    code $lease run -l "$id" $on_file "$@"
}

# -- Exit codes
run -- true
is "true" 0 "$status"
is "a run without trouble says nothing" "" "$(cat "$work/err")"
run -- sh -c 'exit 7'
is "own code" 7 "$status"
run -- sh -c 'kill -TERM $$'
is "ended by TERM" 143 "$status"
run -- sh -c 'kill -KILL $$'
is "ended by KILL" 137 "$status"
run -- "$work/nothing"
is "not found" 127 "$status"
has "not found" "^lease: $work/nothing: " "$work/err"
run -- no-such-command-anywhere
is "not in PATH" 127 "$status"
run -- "$work"
is "not executable" 126 "$status"
has "not executable" "^lease: $work: " "$work/err"

# -- Arguments, input, environment
run -- printf '<%s>' 'a b' '' '$HOME' "it's" --wait -l
is "arguments" "<a b><><\$HOME><it's><--wait><-l>" "$(cat "$work/out")"
printf 'one\ntwo\n' >"$work/in"
$lease run -l "$id" $on_file -- cat <"$work/in" >"$work/out"
ok "stdin passes" cmp -s "$work/in" "$work/out"
run -n some-space --identity me-1 -- sh -c 'env | grep ^LEASE_ | sort'
has "name" "^LEASE_NAME=$id$" "$work/out"
has "namespace" '^LEASE_NAMESPACE=some-space$' "$work/out"
has "identity" '^LEASE_IDENTITY=me-1$' "$work/out"
has "token" '^LEASE_TOKEN=[1-9][0-9]*$' "$work/out"
first=$(sed -n 's/^LEASE_TOKEN=//p' "$work/out")
run -n some-space -- sh -c 'echo $LEASE_TOKEN'
ok "the next term's token is greater" test "$(cat "$work/out")" -gt "$first"
run -- sh -c 'echo $LEASE_NAMESPACE'
is "default namespace" default "$(cat "$work/out")"
sh -c 'ls /proc/$$/fd' >"$work/plain" 2>"$work/err"
run -- sh -c 'ls /proc/$$/fd'
ok "no descriptor of ours" cmp -s "$work/plain" "$work/out"
# Whoever started us may have left signals ignored. Without a shell, which blocks them as it forks.
(exec grep -E '^Sig(Blk|Ign)' /proc/self/status) >"$work/plain"
run -- grep -E '^Sig(Blk|Ign)' /proc/self/status
for mask in SigBlk SigIgn; do
    before=$(awk -v mask="$mask:" '$1 == mask { print $2 }' "$work/plain")
    after=$(awk -v mask="$mask:" '$1 == mask { print $2 }' "$work/out")
    is "$mask: no signal of ours" 0 "$((0x$after & ~0x$before))"
done
run -- sh -c 'ps -o pid= -o pgid= -p $$ | awk "{ print \$1 == \$2 }"'
is "its own process group" 1 "$(cat "$work/out")"
$LEASE_BIN run -l "$id" $on_file -- true <&- >&- 2>&-
is "without stdin, stdout, stderr" 0 "$?"

# -- The end of the whole group comes before the release
run -- sh -c 'sleep 1000 & echo $! >"$0"; exit 3' "$work/left"
is "a process left behind" 3 "$status"
ok "the process left behind is dead" dead "$(cat "$work/left")"
$lease run -l "$id" $on_file --log-format json -- \
    sh -c '(trap "" TERM HUP; sleep 1000) & exit 0' 2>"$work/log"
is "order of the end" "start acquire child_start child_exit release stop " \
    "$(events "$work/log" | sed 's/observe //g')"

# -- Readers of its output are not kept waiting
$lease run -l "$id" $on_file -- sh -c 'echo line; exec >&-; sleep 1.5' | cat >"$work/out" &
pipe=$!
wait_for grep -q line "$work/out"
ended "$pipe"
is "a reader's end" 0 "$status"

# -- As PID 1: orphans are reaped
if unshare -pf --mount-proc true 2>/dev/null; then
    code unshare -pf --mount-proc $lease run -l "$id" $on_file -- sh -c '
        (sleep 0.1 & sleep 0.1 & sleep 0.1 &); sleep 0.6
        grep -l "^State:.Z" /proc/[0-9]*/status 2>/dev/null | wc -l'
    is "PID 1" 0 "$status"
    is "no zombie stays" 0 "$(cat "$work/out")"
    waits='trap "exit 5" TERM; echo >"$0"; while :; do sleep 0.05; done'
    unshare -pf --mount-proc $lease run -l "$id" $on_file -- sh -c "$waits" "$work/up" \
        2>"$work/err" &
    started="$started $!"
    wait_for test -e "$work/up"
    kill -s TERM "$(pgrep -P $!)"
    ended $!
    is "PID 1 obeys TERM" 5 "$status"
fi
finish
