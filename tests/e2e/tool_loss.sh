#!/bin/sh
# A lease that is lost while the command runs, and --restart. On the API.
. "$(dirname "$0")/lib.sh"
use_server

launch() { # NAME OPTION... -- COMMAND... : on a Lease of that name
    lease_name=$id-$1
    shift
    rm -f "$work/pid"
    $lease run -l "$lease_name" $on_kube --identity "me-$id" --log-format json "$@" 2>"$work/log" &
    tool=$!
    started="$started $tool"
    wait_for test -s "$work/pid"
}
# The record as it is, in another's name: as a candidate with the wrong idea of time would write it.
usurp() {
    api GET "$lease_name" >"$work/record" 2>/dev/null || return 1
    sed "s/\"holderIdentity\": *\"me-[^\"]*\"/\"holderIdentity\":\"somebody\"/" "$work/record" \
        >"$work/theirs"
    api PUT "$lease_name" "$work/theirs" >/dev/null 2>&1
}
# Our renewals change the version all the time; one try in a few is between two of them.
steal() { wait_for usurp; }
stays='echo $$ >"$0"; while :; do sleep 0.05; done'

launch stolen -- sh -c "$stays" "$work/pid"
ok "stolen: written" steal
ended "$tool"
is "stolen: exit code" 123 "$status"
ok "stolen: the command is dead" dead "$(cat "$work/pid")"
is "stolen: reason" taken "$(member "$work/log" lose reason)"
is "stolen: level" warn "$(member "$work/log" lose level)"
is "stolen: holder" somebody "$(member "$work/log" lose holder)"
is "stolen: the other keeps it" somebody "$(api GET "$lease_name" |
    sed -n 's/.*"holderIdentity": *"\([^"]*\)".*/\1/p')"

# TERM is ignored: KILL follows at once, for somebody else leads already.
launch stubborn -- sh -c "trap '' TERM; $stays" "$work/pid"
ok "stubborn: written" steal
ended "$tool"
is "stubborn: exit code" 123 "$status"
ok "stubborn: the command is dead" dead "$(cat "$work/pid")"
is "stubborn: killed" 137 "$(member "$work/log" child_exit code)"
lost=$(member "$work/log" lose mono_ns)
gone=$(member "$work/log" child_exit mono_ns)
timed "stubborn: dead at once ($(((gone - lost) / 1000000)) ms)" \
    test "$((gone - lost))" -le 200000000

# A Lease that is deleted is made anew by its leader; nobody else was told of it.
launch deleted -- sh -c "$stays" "$work/pid"
ok "deleted" api DELETE "$lease_name" >/dev/null
there() { api GET "$lease_name" >/dev/null 2>&1; }
ok "deleted: made anew" wait_for there
kill -s TERM "$tool"
ended "$tool"
is "deleted: exit code" 143 "$status"

# --restart: the command runs again in the next term, with another token.
launch again --restart -- sh -c 'echo $LEASE_TOKEN >>"$0"; while :; do sleep 0.05; done' "$work/pid"
ok "restart: written" steal
two_terms() { test "$(wc -l <"$work/pid")" -ge 2; }
ok "restart: a second term" wait_for two_terms
ok "restart: a greater token" test "$(sed -n 2p "$work/pid")" -gt "$(sed -n 1p "$work/pid")"
kill -s TERM "$tool"
ended "$tool"
is "restart: exit code after TERM" 143 "$status"
is "restart: events" "2 1 2" \
    "$(events "$work/log" child_start) $(events "$work/log" lose) $(events "$work/log" child_exit)"

# ... but a command that ends by itself has ended.
launch once --restart -- sh -c 'echo >"$0"; exit 5' "$work/pid"
ended "$tool"
is "restart: own end" 5 "$status"

# No secret in any line.
token=$(cat "$LEASE_SERVER_DIR/serviceaccount/token")
ok "no token in the log" sh -c '! grep -Fq "$0" "$1"' "$token" "$work/log"
finish
