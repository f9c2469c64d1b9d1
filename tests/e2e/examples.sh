#!/bin/sh
# The examples that need no server: they run, and show what they say they show.
. "$(dirname "$0")/lib.sh"
examples=$(dirname "$DEVAPI_BIN")/examples

shows() { # PROGRAM SED-SCRIPT : ends well; its output, so edited, is that on stdin
    cat >"$work/expected"
    code ${WRAP:-} "$examples/$1"
    is "$1: exit code" 0 "$status"
    is "$1: stderr" "" "$(cat "$work/err")"
    is "$1" "$(cat "$work/expected")" "$(sed -E "$2" "$work/out")"
}

# Without its times, and without the versions, which count renewals.
shows 03_core_only 's/^ *[0-9.]+ +//; s/, token .*/, token/' <<END
a   sees the holder: a
a   LEADS, token
b   sees the holder: a
a   is killed; nobody is told, its Lease must run out
b   sees the holder: b
b   LEADS, token
a2  sees the holder: b
b   has stopped its work and gives the Lease back
b   does not lead any more
b   has given the Lease back
b   sees the holder: nobody
a2  sees the holder: nobody
a2  sees the holder: a2
a2  LEADS, token
b   sees the holder: a2
END

shows 04_fencing '' <<END
alice leads and writes
  fenced store  : alice 1 from token 1, the highest is 0: written
  careless store: alice 1 from token 1, the highest is 0: written
alice asks once more, hears that she leads, and is paused before she writes
bob has waited out her Lease, leads and writes
  fenced store  : bob 1 from token 2, the highest is 1: written
  careless store: bob 1 from token 2, the highest is 1: written
alice wakes up; lease_is_leader says false, but she has asked before, and writes
  fenced store  : alice 2 from token 1, the highest is 2: REFUSED
  careless store: alice 2 from token 1, the highest is 2: written
fenced: "bob 1"; careless: "alice 2", and bob's write is lost
as it should be
END

# Without the times of the record.
shows 06_own_backend 's/ [0-9]{16}//g; s/ $//' <<END
the first leads    version 1: row-1 15 0 first
the second waits   version 1: row-1 15 0 first
released           version 2: row-1 1 0
the second leads   version 3: row-1 15 1 second
END
finish
