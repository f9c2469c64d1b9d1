#!/bin/sh
# Every wrong option has its own line on stderr and exit code 125, and nothing is started.
. "$(dirname "$0")/lib.sh"

refused() { # PATTERN ARGUMENT... : lease ARGUMENT...
    pattern=$1
    shift
    code $lease "$@"
    is "exit code of: lease $*" 125 "$status"
    has "stderr of: lease $*" "^lease: $pattern" "$work/err"
    is "lines on stderr of: lease $*" 1 "$(wc -l <"$work/err")"
    is "stdout of: lease $*" "" "$(cat "$work/out")"
}
run="run -l x --backend file:$work/leases"
touch_file="touch $work/ran"

# -- Commands and arguments
refused 'a command is missing'
for command in watch doctor frobnicate; do
    refused "there is no command '$command'" $command
done
refused "help: there is no command 'x'" help x
refused '--lease: is required' run -- $touch_file
refused '--: -- COMMAND is required' $run
refused '--: no COMMAND after it' $run --
refused 'touch: unexpected; put -- before COMMAND' $run $touch_file
refused 'x: unexpected argument' get -l x x
refused '--: only lease run takes a COMMAND' hold -l x -- $touch_file
refused '--frob: no such option' $run --frob=1 -- $touch_file
refused '-z: no such option' $run -z -- $touch_file
refused '--restart: no such option' hold -l x --restart
refused '--wait: no such option' get -l x --wait 5s
refused '--lease: needs a value' run -l
refused '--lease: .* is empty' run --lease= -- $touch_file

# -- Values
refused "--wait: '5' is a number without a unit" $run --wait 5 -- $touch_file
for value in s 5x 1.5.5s -5s '5 s' .s 1s2; do
    refused "--wait: '$value' is " $run --wait "$value" -- $touch_file
done
refused "--wait: '600h' is longer than 596h" $run -w600h -- $touch_file
refused "--retry-period: '100us' is finer than a milli" $run --retry-period 100us -- $touch_file
refused "--retry-period: '0s' must be more than 0s" $run --retry-period=0s -- $touch_file
refused "--conflict-exit-code: '256' is not" $run -E 256 -- $touch_file
refused "--conflict-exit-code: '-1' is not" $run -E -1 -- $touch_file
refused "--signal: 'FOO' is not a signal" $run -s FOO -- $touch_file
refused "--signal: '0' is not a signal" $run -s 0 -- $touch_file
refused "--restart: 'maybe' is neither true nor" $run --restart=maybe -- $touch_file
refused "--backend: 'etcd' is neither kube nor file" run -l x --backend etcd -- $touch_file
for value in file: "file:$work/nothing" file:/dev/null; do
    refused "--backend: '$value' names no directory" run -l x --backend $value -- $touch_file
done
for value in 1.2.3:1 host:80 99999 127.0.0.1:65536 127.0.0.1: '[::1]' '[::1:5' :x ''; do
    refused "--listen: '.*' (is not ADDR:PORT|has no port)" $run --listen "$value" -- $touch_file
done
refused "--log-format: 'xml' is neither" $run --log-format xml -- $touch_file
refused "--log-level: 'loud' is none of" $run --log-level loud -- $touch_file
refused "--output: 'yaml' is neither" get -l x -o yaml

# -- What the library refuses is laid at an option's door
refused '--lease: ' run -l Not_A_Name --backend "file:$work/leases" -- $touch_file
refused '--namespace: ' $run -n Not_A_Name -- $touch_file
refused '--identity: ' $run --identity "$(printf 'a\tb')" -- $touch_file
refused '--lease-duration: ' $run --lease-duration 1500ms -- $touch_file
refused '--retry-period: ' $run --retry-period 50ms -- $touch_file
refused '--renew-deadline: ' $run --renew-deadline 2s --retry-period 2s -- $touch_file
refused '--renew-deadline: ' $run --renew-deadline 15s -- $touch_file
refused '--renew-deadline: ' $run --stop-budget 5s -- $touch_file
refused '--kubeconfig: ' run -l x --kubeconfig "$work/nothing" -- $touch_file
refused '--server: ' run -l x --server http://127.0.0.1:1 --ca-file /dev/null -- $touch_file
refused '--ca-file: ' run -l x --server https://127.0.0.1:1 --ca-file "$work/nothing" -- $touch_file
ok "nothing was started" test ! -e "$work/ran"

# -- Variables: the same names, and the option wins
code env LEASE_WAIT=soon $lease $run -- $touch_file
is "bad variable" 125 "$status"
has "bad variable" "^lease: LEASE_WAIT: 'soon' is not" "$work/err"
code env LEASE_WAIT=soon LEASE_RESTART= $lease $run --nonblock -- true
is "option over variable" 0 "$status"
code env LEASE_LEASE=by-variable LEASE_BACKEND="file:$work/leases" LEASE_NAMESPACE=space \
    LEASE_IDENTITY=me LEASE_LEASE_DURATION=4s LEASE_LOG_FORMAT=json $lease run \
    --renew-deadline 2s --retry-period 500ms -- \
    sh -c 'echo $LEASE_NAMESPACE/$LEASE_NAME $LEASE_IDENTITY'
is "variables" "space/by-variable me" "$(cat "$work/out")"
is "variables, start line" 4000 "$(member "$work/err" start lease_duration_ms)"
code env POD_NAMESPACE=pod-space POD_NAME=pod-7 $lease $run -- \
    sh -c 'echo $LEASE_NAMESPACE $LEASE_IDENTITY'
uuid='[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}'
has "the pod's names" "^pod-space pod-7_$uuid\$" "$work/out"

# -- Spellings
code $lease run -lx "--backend=file:$work/leases" -w1m30s --wait=1.5s -E7 --signal SIGINT -- true
is "spellings" 0 "$status"

# -- Help and version
for command in run hold get; do
    code $lease $command --help
    is "$command --help" 0 "$status"
    has "$command --help" 'verbs: \[create\]' "$work/out"
    has "$command --help" '^Exit codes:' "$work/out"
    has "$command --help" '^Examples:' "$work/out"
    has "$command --help" '^  -l, --lease NAME ' "$work/out"
done
code $lease help
has "help" 'lease run ' "$work/out"
code $lease version
has "version" '^lease [0-9]+\.[0-9]+\.[0-9]+$' "$work/out"
finish
