#!/bin/sh
# The ways to the API server, what it refuses, and a handover there.
. "$(dirname "$0")/lib.sh"
use_server
url=$(cat "$LEASE_SERVER_DIR/url")

# -- Credentials
code $lease run -l "$id" --kubeconfig "$LEASE_SERVER_DIR/kubeconfig.json" $timing -- \
    sh -c 'echo $LEASE_NAMESPACE $LEASE_TOKEN'
is "--kubeconfig" 0 "$status"
has "--kubeconfig: its namespace, a token" '^lease-test [1-9][0-9]*$' "$work/out"
code env KUBECONFIG="$LEASE_SERVER_DIR/kubeconfig.json" $lease get -l "$id" -o json
is "KUBECONFIG: released" 1 "$status"
has "KUBECONFIG: released" '"namespace":"lease-test","exists":true,"held":false' "$work/out"
code env HOME="$work" KUBECONFIG= $lease get -l "$id"
is "no credentials" 125 "$status"
has "no credentials" '^lease: --kubeconfig: ' "$work/err"
code $lease get -l "$id" --kubeconfig "$LEASE_SERVER_DIR/kubeconfig.json" --context nowhere
is "--context" 125 "$status"
code $lease get -l "$id" --server "$url" --ca-file "$account/ca.crt" \
    --token-file "$work/nothing" -n lease-test
is "no token file" 125 "$status"
has "no token file" '^lease: --token-file: ' "$work/err"

sed 's/"certificate-authority-data":"[^"]*"/"insecure-skip-tls-verify":true/' \
    "$LEASE_SERVER_DIR/kubeconfig.json" >"$work/insecure.json"
if grep -q insecure "$work/insecure.json"; then
    code $lease run -l "$id" --kubeconfig "$work/insecure.json" --nonblock $timing -- true
    has "insecure-skip-tls-verify is told" '^lease: .*not verified' "$work/err"
fi

# -- Refusals: one line with the reason, no command
refused() { # NAME PATTERN OPTION...
    name=$1
    pattern=$2
    shift 2
    # With the default timing, so that a slow machine's first answer is in time.
    code $lease run -l "$id" --nonblock --server "$url" "$@" -- touch "$work/ran"
    is "$name" 125 "$status"
    has "$name" "^lease: .*$pattern" "$work/err"
    ok "$name: nothing ran" test ! -e "$work/ran"
}
echo 'not-the-token' >"$work/token"
refused "wrong token" 401 -n lease-test --ca-file "$account/ca.crt" --token-file "$work/token"
refused "another namespace" '40[34]' -n lease-other --ca-file "$account/ca.crt" \
    --token-file "$account/token"
cat >"$work/ca.cnf" <<END
[req]
distinguished_name = name
x509_extensions = ca
[name]
[ca]
basicConstraints = critical, CA:true
END
if openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=other -days 1 -keyout /dev/null \
    -out "$work/other.crt" -config "$work/ca.cnf" 2>/dev/null; then
    refused "another CA" '[Cc]ertificate' -n lease-test --ca-file "$work/other.crt" \
        --token-file "$account/token"
fi

# -- A handover: the standby waits, takes over after the release, and get sees who
for name in a b; do
    $lease run -l "$id" $on_kube --identity "$name-$id" --log-format json -- \
        "$BEAT_BIN" "$work/$name.beats" 2>"$work/$name.log" &
    eval "$name=\$!"
    started="$started $!"
    wait_for grep -qs "\"event\":\"observe\".*\"holder\":\"a-$id\"" "$work/$name.log"
done
code $lease get -l "$id" $on_kube_alone
is "get" 0 "$status"
has "get" "^holder: +a-$id$" "$work/out"
kill -s TERM "$a"
ended "$a"
is "a ends" 143 "$status"
ok "b takes over" wait_for test -s "$work/b.beats"
first=$(member "$work/a.log" acquire token)
ok "b's token is greater" test "$(member "$work/b.log" acquire token)" -gt "$first"
waited=$(($(member "$work/b.log" acquire mono_ns) - $(member "$work/a.log" release mono_ns)))
timed "b waited no lease duration ($((waited / 1000000)) ms)" test "$waited" -lt 2500000000
is "no overlap" 0 "$("$BEAT_BIN" --overlap "$work/a.beats" "$work/b.beats")"
kill -s TERM "$b"
ended "$b"
is "b ends" 143 "$status"
finish
