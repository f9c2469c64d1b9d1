/* lease.h 0.1.0 -- leader election on a Kubernetes Lease: who leads, from when to when
 * SPDX-License-Identifier: MIT
 *
 * lease.h gives a C or C++ program a lease over a coordination.k8s.io/v1 Lease: at most one of all
 * the processes that contend for it is the leader at any instant, each term has a fencing token,
 * and the time range of the term can be asked for. It is the elector, a small HTTPS client for the
 * Kubernetes API, and metrics, in one file, over mbedTLS, llhttp and jsmn.
 *
 * It is not a general Kubernetes client, not a mutex inside one process, and not a lock that makes
 * a stale writer harmless by itself: for that the resource must check the fencing token (LIMITS).
 *
 * CONTENTS
 *   Here: FIRST PROGRAM, BUILD, MODEL, TIMING, LEADER OR RANGE, OPTIONS, THREADS AND CALLBACKS,
 *   FORK AND SIGNALS, MEMORY, ERRORS, METRICS, SECURITY, LIMITS; then the interface, at "#ifndef
 *   LEASE_H". Behind it the implementation. It is read from top to bottom, each section uses only
 *   what stands above it, and a search for >>name finds it:
 *
 *     >>config       options, limits, and the includes of system and third-party headers
 *     >>base         status texts, errors, bounded text, small files, randomness, atomics
 *     >>time         the two clocks, and the text form of wall time
 *     >>rules        the rules as pure functions: timing, time range, when to write, pace
 *     >>core         the elector: decides, never acts
 *     >>json         strict reading over jsmn, writing
 *     >>yaml         YAML as JSON over libyaml, when LEASE_YAML is defined
 *     >>http         one answer read over llhttp, within limits
 *     >>net          name resolution and the non-blocking TCP connection
 *     >>tls          mbedTLS: trust, name check, handshake; the built-in transport
 *     >>link         one kept connection and the exchange on it
 *     >>credentials  names, bearer tokens, server URLs, the pod's service account
 *     >>kubeconfig   kubectl's files, and the choice among all sources of credentials
 *     >>kube         Lease URLs and bodies, answers to lease_status
 *     >>backend      locks other than a Kubernetes Lease: files of one host, and memory
 *     >>metrics      Prometheus text and OpenMetrics
 *     >>events       client and lease; what they tell callbacks and other threads
 *     >>runner       the loop: drives N leases over the connection
 *     >>public       the functions of the interface
 *
 * FIRST PROGRAM
 *
 *     #define LEASE_IMPLEMENTATION      // in exactly one file, before the first include
 *     #include "lease.h"
 *     #include <stdio.h>
 *
 *     int main(void) {
 *         static lease_error error;
 *         lease_client *client;
 *         lease *self;
 *         lease_desc desc = {0};
 *         desc.name = "nightly";
 *         if (lease_client_create(NULL, &client, &error) != LEASE_OK ||
 *             lease_create(client, &desc, &self, &error) != LEASE_OK ||
 *             lease_client_start(client) != LEASE_OK) {
 *             fprintf(stderr, "%s\n", error.message);
 *             return 1;
 *         }
 *         for (;;) {
 *             if (lease_is_leader(self)) do_a_little_work();
 *             sleep_a_little();
 *         }
 *     }
 *
 *   In a pod this finds its credentials by itself; elsewhere it takes $KUBECONFIG or
 *   ~/.kube/config. The ServiceAccount needs get, create and update on leases
 *   (examples/kubernetes/rbac.yaml). More: examples/ -- an event loop of your own, the elector
 *   alone, fencing, time ranges.
 *
 * BUILD
 *     cc app.c -lmbedtls -lmbedx509 -lmbedcrypto -lllhttp -lpthread
 *   C11 or C++17 (as C++, compile the implementation with -std=c++17). mbedTLS 2.28 or 3.x, llhttp
 *   8.1 or later, jsmn 1.1; gcc or clang; glibc or musl. All other files include it without the
 *   macro. Debian 12 has llhttp as C sources in node-llhttp: compile /usr/share/llhttp/ with it.
 *   A 32-bit glibc needs -D_FILE_OFFSET_BITS=64 -D_TIME_BITS=64 for large inode numbers and for the
 *   years behind 2038.
 *
 * MODEL
 *
 *              held by another: wait a full             acknowledged
 *              duration from observing it     take        write
 *     FOLLOWER ----------------------------> (write) --------------> LEADER --+ renew every
 *        ^ ^                                    | conflict             |  ^---+ retry_period
 *        | +------------------------------------+                      |
 *        +---- deadline passed, another holder seen, released ---------+
 *
 *   Leadership is a deadline and never a flag: each acknowledged write makes us leader until
 *   renew_deadline after the clock reading that was taken before it was SENT. The question is
 *   answered at use, so a process that was stopped, swapped out or suspended wakes up as what it
 *   is: not leader any more. All of it is counted on CLOCK_BOOTTIME; wall time goes into the
 *   record.
 *
 *     leader     sent      answered             deadline     work has ended
 *     ------------|-----------|--------------------|--------------|
 *                 |<-------- renew_deadline ------>|<stop_budget->|
 *     follower      observed                                           may take it
 *     ----------------|<----------------- lease_duration ----------------->|
 *
 *   A follower never compares clocks with anybody: it waits a full duration, the longer one of the
 *   recorded and its own, from the moment at which it saw the version that it then replaces.
 *
 * TIMING
 *   lease_create refuses what is not safe:
 *
 *       (renew_deadline + stop_budget) * 1.01 + 1 ms  <=  lease_duration
 *
 *   The defaults 15 s / 10 s / 2 s / 300 ms tolerate clocks that differ in rate by 45 % and any API
 *   outage of 4.5 s; a crashed leader is replaced within lease_duration + 1.2 retry_period of its
 *   last renewal, a released Lease is taken within 1.2 retry_period. All replicas should agree on
 *   the values. lease_core_timing works this out for any configuration; the log callback prints it
 *   when a lease is created, the tool with `lease timing`. A renew_deadline below 2 s is for leases
 *   on which all contenders are ours: client-go sees changes of renewTime by the second only.
 *
 * LEADER OR RANGE
 *   lease_is_leader, lease_remaining_ms, lease_token: strict. At most one process, ever.
 *   lease_range: Google's Range(). The span of wall time in which data may be written: from the
 *   start of our term to a duration behind the last renewal. When the API falls silent it FAILS
 *   OPEN: the last holder goes on, so that an outage of the API is no gap in the data. It opens
 *   only on silence (no connection, no answer, 429, 5xx), never on an answer that refuses, never
 *   before a first term or after a release, and it closes at once when another holder is seen. If
 *   only the holder is cut off, two ranges can overlap until it sees the other: open trades gaps
 *   for duplicates. max_fail_open_ms bounds that.
 *
 * OPTIONS
 *   At run time: the fields of lease_client_desc and lease_desc. All zero is a good configuration,
 *   each field says what zero means; strings are copied, and what is too long is refused.
 *   At compile time, in the implementing file only, before the include (LEASE_API: everywhere):
 *     LEASE_API              linkage of the functions, default extern; static: for one file only
 *     LEASE_NO_TLS           without mbedTLS; lease_client_desc.transport is then required
 *     LEASE_NO_THREADS       without pthreads: no lease_client_start, and one thread for all calls
 *     LEASE_NO_DNS           the server is an IP address; saves getaddrinfo in a static binary
 *     LEASE_YAML             kubeconfigs in YAML too, over libyaml (-lyaml); else JSON only
 *     LEASE_MAX_LEASES       per client, default 4096
 *     LEASE_ASSERT(x)        default assert: invariants of ours, never input
 *     LEASE_CALLOC(n, size)  LEASE_FREE(pointer): both or neither; default calloc and free
 *
 * THREADS AND CALLBACKS
 *   A client is driven by one thread at a time: yours, calling lease_client_poll or _run, or its
 *   own after lease_client_start. Callbacks come on that thread, with no lock held, in this order
 *   within one step: lost, released, leader changed, acquired, renewed, failures. They should be
 *   short: while one runs nothing is renewed (and the deadline passes all the same, so nothing is
 *   unsafe). The questions may be asked from any thread and any signal handler. They take no lock,
 *   allocate nothing, and token and deadline always belong together. lease_create, _destroy,
 *   _release and _contend may be called from any thread and from callbacks; after lease_destroy
 *   has returned no callback of that lease runs or begins, unless it is called from that very
 *   callback. In the interface "Threads: any" and "Callbacks: yes" repeat this where it applies.
 *   lease_release is for after the work: validity ends first, then the Lease is given back. To stop
 *   cleanly: end the work, lease_release, wait for LEASE_EVENT_RELEASED, destroy.
 *
 * FORK AND SIGNALS
 *   A child of fork reads "not leader", and the client's functions refuse it with LEASE_FORKED: the
 *   connection is the parent's. Create clients in the process that uses them; exec is fine, no
 *   descriptor of ours survives it. SIGPIPE is never raised. lease_client_stop is
 *   async-signal-safe.
 *
 * MEMORY
 *   lease_client_create allocates all buffers of the client (about 300 KiB of address space, of
 *   which a tenth is ever touched), lease_create those of the lease; a new connection takes what
 *   mbedTLS needs (about 40 KiB). A renewal allocates nothing. All input is bounded: answers 64
 *   KiB, JSON 1,024 tokens and depth 16, headers 16 KiB and 100, kubeconfig 512 KiB, PEM 256 KiB,
 *   token 16 KiB.
 *
 * ERRORS
 *   Functions return a lease_status; LEASE_OK is 0, failures are negative and grouped by who can
 *   mend them. lease_error carries the sentence, written once where the fault was found: it names
 *   the field, the file or the RBAC verb to change, and never holds a secret. Trouble on the way
 *   to the server is no error of a call: it is retried, at a pace that fits its kind, and told as
 *   LEASE_EVENT_RENEW_FAILED while leader and LEASE_EVENT_ERROR otherwise, once for each new kind.
 *
 * METRICS
 *   lease_metrics_write writes Prometheus text or OpenMetrics for all leases of a client, computed
 *   at the call, for each from its first turn of the loop on: PREFIX_is_held, PREFIX_failing_open
 *   (Google's two, label key="ns/name"), leader_election_master_status and
 *   leader_election_slowpath_total (client-go's, label name), and PREFIX_valid_seconds,
 *   _last_renewal_age_seconds, _fencing_token, _renewals_total{result}, _acquisitions_total,
 *   _losses_total, _leader_changes_total, _foreign_writes_total, _build_info.
 *
 * SECURITY
 *   HTTPS only, TLS 1.2 or 1.3. The certificate must be signed by the configured CA (never by the
 *   system's) and carry the server's name or IP address as alternative name; no byte of a request,
 *   let alone the token, leaves before. insecure_skip_verify switches the check off, and the token
 *   with it. Redirects are never followed, proxies never used. Token, CA and client certificate are
 *   read again as Kubernetes rotates them. Bodies are spliced from validated JSON, names checked
 *   before they stand in a URL. Answers are hostile until checked.
 *
 * LIMITS
 *   The promise is: at most one strict leader at any instant, as long as every contender keeps the
 *   rules above and no two clocks differ in rate by more than the tolerated skew. Nothing else is
 *   assumed: no common time, no bound on delays, pauses or losses. What it does not cover:
 *
 *   - Others who do not keep the rules. client-go's own electors do not keep them all: beside one
 *     of those it is our process that is never wrong, not theirs. Two processes with one identity
 *     are noticed and stand aside, but one identity is meant for one process start.
 *   - An administrator. Who writes another holder, empties it or deletes the Lease hands it over at
 *     once, while the old holder learns of it with its next request; so does who shortens the
 *     duration where contenders disagree about it. A first ever contender that finds no Lease
 *     creates it and leads, as client-go does; strict_creation waits a duration instead. A restore
 *     of etcd from a backup is all of that together, and takes resourceVersion, and the fencing
 *     token with it, back.
 *   - A machine whose boot clock stands still while the world goes on (snapshots). It is noticed by
 *     its wall clock, once that is set right. One that is cloned while it leads is two leaders of
 *     one name until the next renewal, which only one of them can win.
 *   - Work that goes on after the deadline. A process that is stopped between the question and the
 *     effect acts late: ask lease_remaining_ms just before, and end the work within stop_budget.
 *   - lease_range, when it fails open: it trades gaps for duplicates. Two ranges overlap when only
 *     the holder is cut off, until it sees the other one; and by as much as wall clocks differ.
 *
 *   No lease can recall a write that is already on its way. What the fencing token adds is a
 *   resource that refuses one: it keeps the highest token that it has seen and takes no lower one
 *   (examples/04_fencing.c: a stopped leader comes back, writes, and is refused). The token is the
 *   resourceVersion of the acquiring write: it grows over all terms and deletions, but is 0 where a
 *   server's versions are not numbers. The token of a term read back from a write without an answer
 *   belongs to that write as well.
 */

#if defined(LEASE_IMPLEMENTATION) && !defined(_GNU_SOURCE)
#define _GNU_SOURCE /* getrandom, CLOCK_BOOTTIME, MADV_WIPEONFORK */
#endif

#ifndef LEASE_H
#define LEASE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define LEASE_VERSION_MAJOR 0
#define LEASE_VERSION_MINOR 1
#define LEASE_VERSION_PATCH 0
#define LEASE_VERSION_STRING "0.1.0"
#ifndef LEASE_API
#define LEASE_API extern
#endif

/* Longest accepted strings, in bytes without the terminator. A value that is too long is refused,
 * never cut; only a foreign holder's identity is cut when it is shown. */
#define LEASE_MAX_NAME 253      /* Kubernetes: DNS subdomain */
#define LEASE_MAX_NAMESPACE 63  /* Kubernetes: DNS label */
#define LEASE_MAX_IDENTITY 253  /* our own holder identity */
#define LEASE_MAX_VERSION 63    /* resourceVersion and uid */

/* -- Errors --------------------------------------------------------------------------------------
 * One list: name, value, sentence. 0 is success, everything negative is a failure, grouped by who
 * can mend it. LEASE_FORBIDDEN is the constant, "forbidden" what lease_status_name() gives. */
#define LEASE_STATUS_LIST(X)                                                                       \
    X(OK, ok, 0, "ok")                                                                             \
    /* The caller: change the field of the desc, the file or the variable that the error names. */ \
    X(BAD_ARGUMENT, bad_argument, -1, "an argument is NULL or out of range")                       \
    X(BAD_NAME, bad_name, -2, "lease_desc.name is missing or not a DNS subdomain")                 \
    X(BAD_NAMESPACE, bad_namespace, -3, "lease_desc.ns is missing or not a DNS label")             \
    X(BAD_IDENTITY, bad_identity, -4, "lease_desc.identity is too long or not printable UTF-8")    \
    X(BAD_LEASE_DURATION, bad_lease_duration, -5, "lease_duration_ms: whole seconds, 1 s or more") \
    X(BAD_RENEW_DEADLINE, bad_renew_deadline, -6, "renew_deadline_ms is below 1.2 retry_period")   \
    X(BAD_RETRY_PERIOD, bad_retry_period, -7, "retry_period_ms must be 100 ms or more")            \
    X(BAD_STOP_BUDGET, bad_stop_budget, -8, "stop_budget_ms must not be negative")                 \
    X(UNSAFE_TIMING, unsafe_timing, -9, "(renew_deadline + stop_budget) * 1.01 > lease_duration")  \
    X(BAD_FAIL_OPEN, bad_fail_open, -10, "max_fail_open_ms must not be negative")                  \
    X(BAD_LABELS, bad_labels, -11, "lease_desc.labels is not key=value[,key=value]")               \
    X(BAD_SERVER, bad_server, -12, "the server is not https://HOST[:PORT][/PATH]")                 \
    X(NO_CREDENTIALS, no_credentials, -13, "no service account, KUBECONFIG or ~/.kube/config")     \
    X(BAD_KUBECONFIG, bad_kubeconfig, -14, "the kubeconfig cannot be used")                        \
    X(BAD_CA, bad_ca, -15, "the CA certificates cannot be used")                                   \
    X(BAD_TOKEN, bad_token, -16, "the bearer token cannot be used")                                \
    X(BAD_CLIENT_CERT, bad_client_cert, -17, "the client certificate or key cannot be used")       \
    X(BAD_REQUEST_TIMEOUT, bad_request_timeout, -18, "request_timeout_ms must fit renew_deadline") \
    X(BAD_USER_AGENT, bad_user_agent, -19, "user_agent is too long or not a header value")         \
    X(BAD_METRICS_PREFIX, bad_metrics_prefix, -20, "metrics_prefix is not a metric name")          \
    X(BAD_BACKEND, bad_backend, -21, "lease_backend lacks a function")                             \
    X(BAD_TRANSPORT, bad_transport, -22, "lease_transport lacks a function or is not verified")    \
    X(BAD_HOOKS, bad_hooks, -23, "lease_hooks lacks a function")                                   \
    X(UNSUPPORTED, unsupported, -24, "asked for something that this build does not do")            \
    /* The host. */                                                                                \
    X(NO_MEMORY, no_memory, -40, "out of memory")                                                  \
    X(LIMIT, limit, -41, "a limit of this build (LEASE_MAX_...) is reached")                       \
    X(NO_RANDOM, no_random, -42, "the system gave no random bytes")                                \
    X(SYSTEM, system, -43, "a system call failed")                                                 \
    /* The way to the server: tried again by itself. */                                            \
    X(RESOLVE, resolve, -60, "the server's name does not resolve")                                 \
    X(CONNECT, connect, -61, "the server cannot be reached")                                       \
    X(TIMEOUT, timeout, -62, "no complete answer in time")                                         \
    X(CLOSED, closed, -63, "the connection ended before the answer was complete")                  \
    X(TLS, tls, -64, "the TLS session failed")                                                     \
    X(CERTIFICATE, certificate, -65, "the server's certificate is not valid for it")               \
    X(HTTP, http, -66, "the answer is not acceptable HTTP")                                        \
    X(REDIRECT, redirect, -67, "the server redirects; redirects are never followed")               \
    X(TOO_LARGE, too_large, -68, "the answer exceeds a limit")                                     \
    X(JSON, json, -69, "the answer is not acceptable JSON")                                        \
    X(WRONG_OBJECT, wrong_object, -70, "the answer is about another object")                       \
    /* The API server's answer. */                                                                 \
    X(UNAUTHORIZED, unauthorized, -80, "401: the credentials are not accepted")                    \
    X(FORBIDDEN, forbidden, -81, "403: the Role lacks a verb on leases")                           \
    X(NOT_FOUND, not_found, -82, "404: there is no such Lease")                                    \
    X(NO_NAMESPACE, no_namespace, -83, "404: there is no such namespace")                          \
    X(CONFLICT, conflict, -84, "409: the Lease has changed meanwhile")                             \
    X(ALREADY_EXISTS, already_exists, -85, "409: the Lease exists already")                        \
    X(INVALID, invalid, -86, "the server refuses the object (400, 405, 413, 415, 422)")            \
    X(THROTTLED, throttled, -87, "429: too many requests")                                         \
    X(SERVER_ERROR, server_error, -88, "the server failed (5xx)")                                  \
    X(UNEXPECTED, unexpected, -89, "an answer that has no meaning here")                           \
    X(ALTERED, altered, -90, "the server stored another record than we wrote")                     \
    X(COORDINATED, coordinated, -91, "the Lease has spec.strategy: the server elects, we do not")  \
    /* The state of things. */                                                                     \
    X(STOPPED, stopped, -100, "the client has been stopped")                                       \
    X(FORKED, forked, -101, "a child of fork may not use its parent's client")                     \
    X(DUPLICATE_IDENTITY, duplicate_identity, -102, "another process writes under our identity")

typedef enum lease_status {
#define LEASE_STATUS_ENTRY(name, lower, value, text) LEASE_##name = value,
    LEASE_STATUS_LIST(LEASE_STATUS_ENTRY)
#undef LEASE_STATUS_ENTRY
} lease_status;

typedef enum lease_stage { /* where a failure arose */
    LEASE_STAGE_NONE,
    LEASE_STAGE_CONFIG, /* desc, files, environment: before any traffic */
    LEASE_STAGE_CONNECT,
    LEASE_STAGE_TLS,
    LEASE_STAGE_EXCHANGE, /* sending the request, receiving the answer */
    LEASE_STAGE_ANSWER,   /* the answer came and says no, or says nonsense */
    LEASE_STAGE_BACKEND   /* reported by a lease_backend */
} lease_stage;

/* Filled once, where the fault is found. The message names what to change and never a secret. */
typedef struct lease_error {
    lease_status status;
    lease_stage stage;
    int32_t http_status, tls_code, sys_errno; /* of the server, mbedTLS, the system; 0 = none */
    char message[256];
} lease_error;

LEASE_API const char *lease_status_name(lease_status status); /* "forbidden"; never NULL */
LEASE_API const char *lease_status_text(lease_status status); /* the sentence; never NULL */
LEASE_API const char *lease_version(void);                    /* LEASE_VERSION_STRING */

/* -- Layer 1: the elector alone ------------------------------------------------------------------
 * Caller-owned, nothing to release, no clock, no I/O, no heap: it is told what happened and answers
 * what to do. Most programs use layer 2, which drives one core for each lease.
 * Threads: one at a time. Times: now_ms is any clock that counts suspended time and never goes back
 * (CLOCK_BOOTTIME), the same origin on every call; wall_us is Unix time in microseconds. */

typedef struct lease_record { /* what a Lease says; times in Unix microseconds, 0 = absent */
    char holder_identity[LEASE_MAX_IDENTITY + 3]; /* "" = unheld */
    char uid[LEASE_MAX_VERSION + 1];
    char resource_version[LEASE_MAX_VERSION + 1]; /* opaque, but for the fencing token */
    int64_t acquire_time_us, renew_time_us;
    int32_t lease_duration_s; /* 0 = absent */
    int32_t lease_transitions;
    bool coordinated; /* spec.strategy is set */
    bool mine_only;   /* no other field manager owns a part of it: managedFields may be dropped */
} lease_record;

typedef struct lease_core_desc {
    const char *identity;        /* unique for each process start; copied; required */
    int32_t lease_duration_ms;   /* how long others wait for us; whole seconds; 0 = 15000 */
    int32_t renew_deadline_ms;   /* strict leadership after the send of a good write; 0 = 10000 */
    int32_t retry_period_ms;     /* from one renewal, or look, to the next; 0 = 2000 */
    int32_t stop_budget_ms;      /* from the end of leadership to the end of the work; 0 = 300 */
    int32_t request_timeout_ms;  /* one attempt; 0 = renew_deadline / 4, at most 2500 */
    int64_t max_fail_open_ms;    /* how long lease_range stays open in silence; 0 = no bound */
    bool strict_creation;        /* create the Lease unheld, then wait a full duration */
    bool observe_only;           /* never write */
} lease_core_desc;

typedef enum lease_input_kind {
    LEASE_INPUT_TICK,       /* time has passed */
    LEASE_INPUT_READ_DONE,  /* the answer to LEASE_ACTION_READ */
    LEASE_INPUT_WRITE_DONE, /* the answer to LEASE_ACTION_CREATE or _UPDATE */
    LEASE_INPUT_RELEASE,    /* the guarded work has stopped: give the Lease back, stand aside */
    LEASE_INPUT_CONTEND     /* stand for election again after LEASE_INPUT_RELEASE */
} lease_input_kind;

typedef struct lease_core_input {
    lease_input_kind kind;
    int64_t now_ms;
    int64_t wall_us;
    uint32_t random;       /* fresh bits; used for jitter only */
    bool hold_requests;    /* no connection is free: decide, but ask for nothing now */
    uint32_t request_id;   /* _DONE: the id that the action carried; others are ignored */
    lease_status status;   /* _DONE: LEASE_OK, or why not */
    bool maybe_applied;    /* WRITE_DONE without LEASE_OK: the server may have applied it */
    int32_t retry_after_ms; /* _DONE: the server's Retry-After, 0 = none */
    const lease_record *record; /* _DONE with LEASE_OK: the answered record; borrowed */
} lease_core_input;

typedef enum lease_action {
    LEASE_ACTION_NONE,
    LEASE_ACTION_READ,   /* a quorum read */
    LEASE_ACTION_CREATE, /* must fail with LEASE_ALREADY_EXISTS when it exists */
    LEASE_ACTION_UPDATE  /* compare-and-swap on write.uid and write.resource_version */
} lease_action;

typedef enum lease_reason { /* why leadership ended */
    LEASE_REASON_NONE,
    LEASE_REASON_EXPIRED,     /* no write was acknowledged in time */
    LEASE_REASON_TAKEN,       /* another holder is in the record */
    LEASE_REASON_CLEARED,     /* somebody emptied the holder */
    LEASE_REASON_DELETED,     /* the Lease is gone (strict_creation) */
    LEASE_REASON_DUPLICATE,   /* our identity, but a time that we did not write */
    LEASE_REASON_ALTERED,     /* the server stored another record than we wrote */
    LEASE_REASON_CLOCK_JUMP,  /* wall time ran ahead of boot time: the machine was paused */
    LEASE_REASON_COORDINATED, /* spec.strategy appeared */
    LEASE_REASON_RELEASED     /* by lease_release */
} lease_reason;

/* Bits of lease_core_output.events, in the order in which they are to be reported. */
#define LEASE_CORE_LOST 0x001u           /* with lost_reason and stop_by_ms */
#define LEASE_CORE_RELEASED 0x002u       /* the Lease was given back, or was not ours any more */
#define LEASE_CORE_LEADER_CHANGED 0x004u /* another holder than last reported, ourselves included */
#define LEASE_CORE_ACQUIRED 0x008u       /* a new term, with its token */
#define LEASE_CORE_RENEWED 0x010u
#define LEASE_CORE_RENEW_FAILED 0x020u
#define LEASE_CORE_DUPLICATE 0x040u
#define LEASE_CORE_FOREIGN_WRITE 0x080u /* somebody else wrote the Lease while we held it */
#define LEASE_CORE_SLOW_PATH 0x100u     /* a renewal had to read first (client-go's counter) */
#define LEASE_CORE_READ_BACK 0x200u     /* an unanswered write of ours turned out to be applied */
#define LEASE_CORE_ALTERED 0x400u       /* the server stored another record than we wrote */

typedef struct lease_core_output {
    lease_action action;
    uint32_t request_id;
    lease_record write;     /* CREATE, UPDATE: store exactly this */
    int64_t give_up_ms;     /* report LEASE_TIMEOUT when there is no answer by then */
    int64_t wake_ms;        /* step again no later than this */
    int64_t valid_until_ms; /* strict leadership ends here by itself; 0 = not leader */
    uint64_t token;         /* of this term; 0 = not leader, or the version is not a number */
    uint32_t events;
    lease_reason lost_reason;
    int64_t stop_by_ms; /* LOST: the work must have ended by then */
} lease_core_output;

typedef struct lease_time_range { int64_t start_us, end_us; } lease_time_range; /* [start, end) */

typedef struct lease_range_state { /* what lease_core_range needs; Google pkg/lease lease.go */
    bool held;               /* we are the last known holder */
    bool silent;             /* the last attempt got no answer at all */
    int64_t start_us;        /* acquire time */
    int64_t end_us;          /* renew time + lease duration of the last acknowledged write */
    int64_t end_ms;          /* the same instant on the boot clock, against steps of wall time */
    int64_t silent_until_ms; /* the silence has been heard recently enough until then */
    int64_t open_until_ms;   /* the bound of max_fail_open_ms; INT64_MAX = none */
    int64_t duration_us;
} lease_range_state;

#define LEASE_CORE_ATTEMPTS 8 /* unanswered writes that are remembered for reading back */
typedef struct lease_attempt {
    int64_t renew_us, acquire_us, sent_ms, offset_us;
    bool refused; /* by an answer; only a second copy of the request may still be applied */
    bool spent;   /* a term has ended since by what was seen: it gives no validity any more */
} lease_attempt;
typedef struct lease_core { /* read what you like, change nothing */
    lease_core_desc desc; /* with defaults applied; identity points into own_identity */
    char own_identity[LEASE_MAX_IDENTITY + 1];
    lease_record seen;    /* the last version observed */
    bool exists;          /* seen is a Lease, not its absence */
    bool answered;        /* ... the API has answered at least once */
    bool seen_held;       /* this process has seen the Lease held */
    bool uid_held;        /* ... under its present uid */
    bool released;        /* stands aside until LEASE_INPUT_CONTEND */
    bool releasing;       /* the releasing write is still to be sent, or under way */
    bool read_first;      /* what we know may be stale: read before the next write */
    bool slow_path;       /* the next renewal follows a read */
    bool ours;            /* the last record written or observed is one of our own writes */
    int64_t observed_ms;  /* when seen was observed */
    int64_t uid_since_ms; /* strict_creation: when this uid was first seen */
    int64_t valid_until_ms;
    uint64_t token;
    int64_t next_ms;      /* the next request is due */
    int64_t clock_ms;     /* the last now_ms, so that a clock that steps back is clamped */
    int64_t offset_us, held_offset_us; /* of wall from boot time: now, at the send that counts */
    uint32_t requests, attempt_count; /* ids given out; attempts remembered */
    lease_action pending; /* the request under way */
    bool pending_release; /* ... is the release */
    int64_t pending_sent_ms, pending_give_up_ms;
    int32_t failures;     /* requests in a row that did not do what they were for */
    int64_t last_renew_us, last_write_ms; /* the time written last, and when */
    int64_t own_renew_us; /* of the last record that is known to be our write; 0 = none */
    lease_attempt attempts[LEASE_CORE_ATTEMPTS];
    lease_range_state range;
    char reported_holder[LEASE_MAX_IDENTITY + 3];
} lease_core;

/* Applies the defaults, checks every field and the safety inequality. Returns LEASE_OK or the own
 * status of the first refused field; error may be NULL. */
LEASE_API lease_status lease_core_init(lease_core *core, const lease_core_desc *desc,
                                       lease_error *error);
/* One step: what happened -> what to do. Never fails. Cheap (no loop but over the attempts). */
LEASE_API void lease_core_step(lease_core *core, const lease_core_input *input,
                               lease_core_output *output);
/* Range() from a state at an instant; zero when false. *failing_open may be NULL. */
LEASE_API bool lease_core_range(const lease_range_state *state, int64_t now_ms, int64_t wall_us,
                                lease_time_range *range, bool *failing_open);
typedef struct lease_timing { /* what a configuration means */
    int64_t skew_ppm;  /* how far clock rates may differ */
    int64_t outage_ms; /* of the API, that a leader survives whenever it begins */
    int64_t crash_mean_ms, crash_worst_ms, release_mean_ms, release_worst_ms; /* to a new leader */
    int64_t leader_per_ks, standby_per_ks; /* requests in 1,000 seconds */
    char text[384];    /* the same in words, "; " between the facts */
} lease_timing;
LEASE_API void lease_core_timing(const lease_core *core, lease_timing *timing);
/* -- Layer 2: clients and leases -------------------------------------------------------------- */

typedef struct lease_client lease_client; /* one API server, one loop */
typedef struct lease lease;               /* one Lease that it contends for */
struct pollfd;
typedef enum { LEASE_LOG_DEBUG, LEASE_LOG_INFO, LEASE_LOG_WARN, LEASE_LOG_ERROR } lease_log_level;

/* A lock of your own instead of a Kubernetes Lease (client-go's resourcelock.Interface). Called on
 * the client's thread; each call must return within timeout_ms. Answers: LEASE_OK with *out filled
 * (uid and resource_version too), LEASE_NOT_FOUND, LEASE_ALREADY_EXISTS, LEASE_CONFLICT, or another
 * failure; LEASE_TIMEOUT, _CLOSED and _SERVER_ERROR mean "may have been applied". */
typedef struct lease_backend {
    void *context;
    lease_status (*get)(void *context, const char *ns, const char *name, int32_t timeout_ms,
                        lease_record *out, lease_error *error);
    lease_status (*create)(void *context, const char *ns, const char *name,
                           const lease_record *record, int32_t timeout_ms, lease_record *out,
                           lease_error *error);
    /* Only when uid and resource_version are still those of record; else LEASE_CONFLICT. */
    lease_status (*update)(void *context, const char *ns, const char *name,
                           const lease_record *record, int32_t timeout_ms, lease_record *out,
                           lease_error *error);
} lease_backend;

/* Leases as files in a directory of one host. The string is not copied and must outlive its use.
 * A process stopped just while it writes keeps the others waiting until it goes on or ends. */
LEASE_API lease_backend lease_backend_file(const char *directory);

/* Leases in memory, for tests. Zero-initialised and owned by the caller. Threads: one at a time. */
#define LEASE_MEMORY_SLOTS 16
typedef struct lease_memory {
    uint64_t version; /* of the last write */
    struct {
        bool used;
        char key[LEASE_MAX_NAMESPACE + LEASE_MAX_NAME + 2];
        lease_record record;
    } slots[LEASE_MEMORY_SLOTS];
} lease_memory;
LEASE_API lease_backend lease_backend_memory(lease_memory *memory);

#define LEASE_IO_WANT_READ (-1) /* what send and recv answer when they moved no byte */
#define LEASE_IO_WANT_WRITE (-2)
#define LEASE_IO_CLOSED (-3) /* the peer ended the stream in order */
#define LEASE_IO_FAILED (-4) /* *error says why */

/* Replaces sockets and mbedTLS. Nothing may block. The table is copied, the context is not. */
typedef struct lease_transport {
    void *context;
    bool verified_peer; /* it checks certificate and name itself; no token is sent otherwise */
    /* Begins a connection, or fails. send and recv ask to wait until it stands. */
    lease_status (*open)(void *context, const char *host, uint16_t port, void **connection,
                         lease_error *error);
    int32_t (*send)(void *connection, const void *bytes, size_t count, lease_error *error);
    int32_t (*recv)(void *connection, void *bytes, size_t capacity, lease_error *error);
    void (*close)(void *connection);
    int (*fd)(void *connection); /* to poll for what send or recv last wanted; -1 = call again */
} lease_transport;

/* Replaces the clocks and the random source; all three or none. */
typedef struct lease_hooks {
    void *context;
    int64_t (*boot_ms)(void *context); /* counts suspended time, never goes back */
    int64_t (*wall_us)(void *context); /* Unix time */
    bool (*random)(void *context, void *bytes, size_t count);
} lease_hooks;

/* Zero = in-pod credentials, else $KUBECONFIG, else ~/.kube/config. Strings are copied. */
typedef struct lease_client_desc {
    const char *server;              /* https://HOST[:PORT][/PATH]; NULL = from the credentials */
    const char *kubeconfig;          /* path; NULL = as above */
    const char *context;             /* of the kubeconfig; NULL = its current-context */
    const char *ca_file;             /* PEM; NULL = from the credentials; required with server */
    const char *token_file;          /* read again as Kubernetes rotates it; NULL = as above */
    const char *client_cert_file;    /* PEM; NULL = none */
    const char *client_key_file;     /* PEM, not encrypted; NULL = none */
    const char *service_account_dir; /* NULL = /var/run/secrets/kubernetes.io/serviceaccount */
    const char *user_agent;          /* NULL = leader-election */
    int32_t request_timeout_ms;      /* 0 = a quarter of the renew deadline, at most 2500 */
    bool insecure_skip_verify;       /* no certificate check; then no token is ever sent */
    bool allow_exec;                 /* exec credential plugins; refused in this build */
    const lease_backend *backend;    /* NULL = Kubernetes; the table is copied */
    const lease_transport *transport; /* NULL = sockets and mbedTLS */
    const lease_hooks *hooks;        /* NULL = CLOCK_BOOTTIME, CLOCK_REALTIME, getrandom */
    const char *metrics_prefix;      /* NULL = lease; prometheus_engine_lease = Google's names */
    void (*log)(lease_log_level level, const char *message, void *log_user); /* NULL = none */
    void *log_user;
} lease_client_desc;

/* Reads the credentials and allocates everything; no traffic yet. *client is NULL on failure.
 * Fork: create it in the process that uses it. error may be NULL. */
LEASE_API lease_status lease_client_create(const lease_client_desc *desc, lease_client **client,
                                           lease_error *error);
/* Stops its thread, ends the connection and destroys its leases, which then expire. NULL is fine.
 * Callbacks: no. */
LEASE_API void lease_client_destroy(lease_client *client);

/* One turn: waits for at most timeout_ms (0 = do not wait, -1 = until something is due), then does
 * what is due. LEASE_OK, LEASE_STOPPED after lease_client_stop, LEASE_FORKED in a child.
 * Threads: one at a time, and none beside lease_client_start. Callbacks: no. */
LEASE_API lease_status lease_client_poll(lease_client *client, int32_t timeout_ms);
/* For your own event loop: what to wait for. Returns how many there are, fills up to capacity. */
#define LEASE_MAX_FDS 16 /* there are never more */
LEASE_API size_t lease_client_fds(lease_client *client, struct pollfd *fds, size_t capacity);
/* ... and for how long: call lease_client_poll(client, 0) no later than this. */
LEASE_API int32_t lease_client_wait_ms(const lease_client *client);
/* Polls until lease_client_stop; contends again after every loss. Then releases the leases that
 * have release_on_stop, for two request timeouts at most. LEASE_OK or LEASE_FORKED. */
LEASE_API lease_status lease_client_run(lease_client *client);
/* The same on a thread of its own. Callbacks then come on that thread. */
LEASE_API lease_status lease_client_start(lease_client *client);
/* Ends run, or the thread of start. Threads: any. Signal handlers: yes. */
LEASE_API void lease_client_stop(lease_client *client);

typedef enum lease_state {
    LEASE_STATE_FOLLOWER, /* contends, does not hold */
    LEASE_STATE_LEADER,
    LEASE_STATE_FAIL_OPEN, /* was leader, has seen nobody else, the API is silent */
    LEASE_STATE_RELEASED,  /* stands aside after lease_release */
    LEASE_STATE_OBSERVER   /* observe_only */
} lease_state;

typedef struct lease_view { /* one consistent snapshot */
    lease_state state;
    bool is_leader;
    bool observed;   /* the API has answered at least once */
    bool exists;     /* ... and there is a Lease */
    bool has_range, failing_open; /* what lease_range would say */
    bool released; /* lease_release is complete: the Lease was given back or is not ours */
    lease_status last_status; /* of the last request */
    int64_t remaining_ms;
    uint64_t token;
    lease_time_range range;
    int64_t last_renewal_ms; /* CLOCK_BOOTTIME of the last acknowledged write; 0 = none */
    int64_t acquire_time_us, renew_time_us; /* as recorded by the holder */
    int32_t lease_duration_s, transitions;  /* likewise */
    uint64_t acquisitions, losses, renewals, renewal_failures;
    uint64_t slow_path, foreign_writes, leader_changes;
    char holder[LEASE_MAX_IDENTITY + 3]; /* "" = nobody */
} lease_view;

typedef enum lease_event_kind {
    LEASE_EVENT_ACQUIRED,       /* a term begins: token */
    LEASE_EVENT_LOST,           /* it ended: reason, stop_by_ms */
    LEASE_EVENT_LEADER_CHANGED, /* holder, also when it is ourselves or nobody */
    LEASE_EVENT_RENEWED,
    LEASE_EVENT_RENEW_FAILED, /* error */
    LEASE_EVENT_FAIL_OPEN,    /* lease_range begins to fail open */
    LEASE_EVENT_FAIL_CLOSED,  /* ... and ends */
    LEASE_EVENT_DUPLICATE_IDENTITY,
    LEASE_EVENT_RELEASED,
    LEASE_EVENT_ERROR /* a new kind of failure while not leader: error */
} lease_event_kind;

typedef struct lease_event { /* borrowed for the time of the callback */
    lease_event_kind kind;
    lease_reason reason;
    int64_t at_ms;            /* CLOCK_BOOTTIME */
    int64_t stop_by_ms;       /* LOST: the guarded work must have ended by then */
    uint64_t token;           /* ACQUIRED, RENEWED: of this term; LOST: of the term that ended */
    const char *holder;       /* never NULL, "" = nobody */
    const lease_error *error; /* RENEW_FAILED, ERROR; else NULL */
} lease_event;

typedef struct lease_desc { /* zero = default; strings are copied */
    const char *name;          /* of the Lease; required */
    const char *ns;            /* namespace; NULL = that of the credentials */
    const char *identity;      /* unique for each process start; NULL = HOSTNAME_UUID */
    int32_t lease_duration_ms; /* how long others wait for us; whole seconds; 0 = 15000 */
    int32_t renew_deadline_ms; /* strict leadership after the send of a good write; 0 = 10000 */
    int32_t retry_period_ms;   /* from one renewal, or look, to the next; 0 = 2000 */
    int32_t stop_budget_ms;    /* from the end of leadership to the end of the work; 0 = 300 */
    bool release_on_stop;      /* lease_client_run releases as it ends; the work must have ended */
    int64_t max_fail_open_ms;  /* how long lease_range stays open in silence; 0 = no bound */
    bool strict_creation;      /* create the Lease unheld, then wait a full duration */
    bool observe_only;         /* follow the leader, never contend */
    bool poll_only;            /* no watch stream; this build always polls */
    const char *labels;        /* key=value[,key=value] kept on the Lease; NULL = none */
    void (*on_event)(lease *self, const lease_event *event, void *user);
    void *user;
} lease_desc;

/* Begins to contend with the next turn of the loop. *out is NULL on failure; error may be NULL.
 * The client owns the lease. Threads: any. Callbacks: yes. */
LEASE_API lease_status lease_create(lease_client *client, const lease_desc *desc, lease **out,
                                    lease_error *error);
/* No validity from here on; nothing is sent, a held Lease expires. NULL is fine. Threads: any.
 * Callbacks: yes, its own too. */
LEASE_API void lease_destroy(lease *self);
/* Call when the guarded work HAS stopped: no validity from here on, then gives the Lease back and
 * stands aside. Returns at once; LEASE_EVENT_RELEASED or lease_view.released tells the end.
 * Threads: any. Callbacks: yes. */
LEASE_API lease_status lease_release(lease *self);
/* Stands for election again after lease_release. Threads: any. Callbacks: yes. */
LEASE_API lease_status lease_contend(lease *self);

/* Questions. Threads: any. Callbacks: yes. Signal handlers: yes. No lock, no allocation, no system
 * call. A child of fork reads "not leader". NULL reads "not leader". */
LEASE_API bool lease_is_leader(const lease *self);     /* strict: one process at most says true */
LEASE_API int64_t lease_remaining_ms(const lease *self); /* strict leadership left; 0 = none */
LEASE_API uint64_t lease_token(const lease *self);     /* fencing token of this term; 0 = none */
LEASE_API bool lease_range(const lease *self, lease_time_range *range); /* Google's Range() */
LEASE_API void lease_view_get(const lease *self, lease_view *view);
LEASE_API const char *lease_identity(const lease *self); /* valid as long as the lease */
LEASE_API const char *lease_namespace(const lease *self); /* likewise */

typedef enum { LEASE_METRICS_TEXT, LEASE_METRICS_OPENMETRICS } lease_metrics_format;

/* All metrics of the client and its leases, like snprintf: returns the length needed without the
 * terminator, writes at most capacity bytes and always terminates. Threads: any. */
LEASE_API size_t lease_metrics_write(const lease_client *client, lease_metrics_format format,
                                     char *text, size_t capacity);

#ifdef __cplusplus
}
#endif
#endif /* LEASE_H */

/* End of the interface. You can stop reading here. */

/* =================================================================================================
 * IMPLEMENTATION
 * ============================================================================================== */
#if defined(LEASE_IMPLEMENTATION) && !defined(LEASE_IMPLEMENTED)
#define LEASE_IMPLEMENTED

/* =================================================================================================
 * >>config -- options, limits, and the includes of system and third-party headers
 * =================================================================================================
 * Options are defined by the file that defines LEASE_IMPLEMENTATION, before it includes lease.h;
 * the manual lists them. Inside, each is 0 or 1. No option changes a public struct or a safe
 * default. */

#if defined(LEASE_NO_TLS)
#define LEASE__TLS 0
#else
#define LEASE__TLS 1
#endif
#if defined(LEASE_NO_THREADS)
#define LEASE__THREADS 0
#else
#define LEASE__THREADS 1
#endif
#if defined(LEASE_NO_DNS)
#define LEASE__DNS 0
#else
#define LEASE__DNS 1
#endif

#if defined(LEASE_YAML)
#define LEASE__YAML 1
#else
#define LEASE__YAML 0
#endif

/* Limits on everything that is read. An answer beyond one of them is refused by name. */
#ifndef LEASE_MAX_LEASES
#define LEASE_MAX_LEASES 4096 /* of one client */
#endif
#define LEASE_MAX_BODY (64 * 1024)       /* bytes of an answer's body */
#define LEASE_MAX_RAW (128 * 1024)       /* bytes of an answer with headers and chunk framing */
#define LEASE_MAX_HEADER_BYTES (16 * 1024)
#define LEASE_MAX_HEADERS 100
#define LEASE_MAX_INTERIM 5              /* 1xx answers before the real one */
#define LEASE_MAX_REQUEST (96 * 1024)    /* our own request: headers, token and spliced body */
#define LEASE_MAX_JSON_TOKENS 1024
#define LEASE_MAX_JSON_DEPTH 16
#define LEASE_MAX_TOKEN (16 * 1024)      /* bearer token */
#define LEASE_MAX_PEM (256 * 1024)       /* CA bundle, client certificate or key */
#define LEASE_MAX_KUBECONFIG (512 * 1024)
#define LEASE_MAX_KUBECONFIG_TOKENS 8192 /* about 200 contexts with their clusters and users */
#define LEASE_MAX_KUBECONFIGS 8          /* files that KUBECONFIG may list */
#define LEASE_MAX_HOST 253               /* DNS name or address of the server */
#define LEASE_MAX_PATH 512               /* path prefix of the server; any file path of ours */
#define LEASE_MAX_USER_AGENT 128         /* the API limits the field manager to as much */
#define LEASE_MAX_LABELS 1024            /* bytes of lease_desc.labels */
#define LEASE_MAX_ADDRESSES 8            /* tried per name */

#ifndef LEASE_ASSERT
#include <assert.h>
#define LEASE_ASSERT(x) assert(x)
#endif

#if !defined(LEASE_CALLOC) && !defined(LEASE_FREE)
#include <stdlib.h>
#define LEASE_CALLOC(count, size) calloc((count), (size))
#define LEASE_FREE(pointer) free(pointer)
#elif !defined(LEASE_CALLOC) || !defined(LEASE_FREE)
#error "define both LEASE_CALLOC and LEASE_FREE, or neither"
#endif

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#if LEASE__THREADS
#include <pthread.h>
#endif
#include <llhttp.h>

#ifdef JSMN_H
#error "lease.h includes jsmn.h itself (JSMN_STATIC, JSMN_STRICT): include lease.h first"
#endif
#define JSMN_STATIC
#define JSMN_STRICT
#include <jsmn.h>
#if LEASE__YAML
#include <yaml.h>
#endif

#if LEASE__TLS
#include <mbedtls/base64.h>
#include <mbedtls/net_sockets.h>
#include <mbedtls/pk.h>
#include <mbedtls/ssl.h>
#include <mbedtls/version.h>
#include <mbedtls/x509_crt.h>
#if MBEDTLS_VERSION_NUMBER >= 0x03000000
#include <psa/crypto.h>
#endif
#if MBEDTLS_VERSION_NUMBER < 0x021C0000 || MBEDTLS_VERSION_NUMBER >= 0x04000000
#error "lease.h needs mbedTLS 2.28 or 3.x; or define LEASE_NO_TLS and set a lease_transport"
#endif
#if !defined(MBEDTLS_SSL_KEEP_PEER_CERTIFICATE)
#error "lease.h compares IP addresses itself: mbedTLS needs MBEDTLS_SSL_KEEP_PEER_CERTIFICATE"
#endif
#endif

#if !defined(CLOCK_BOOTTIME) || !defined(SOCK_CLOEXEC)
#error "include lease.h before any system header, or define _GNU_SOURCE"
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* =================================================================================================
 * >>base -- status texts, errors, bounded text, small files, randomness, atomics
 * =================================================================================================
 * May use: >>config. Nothing here knows what a Lease is. */

#define LEASE__COUNT(array) (sizeof(array) / sizeof((array)[0]))

LEASE_API const char *lease_status_name(lease_status status) {
    switch (status) {
#define LEASE__NAME(name, lower, value, text) \
    case LEASE_##name: return #lower;
        LEASE_STATUS_LIST(LEASE__NAME)
#undef LEASE__NAME
    }
    return "unknown";
}

LEASE_API const char *lease_status_text(lease_status status) {
    switch (status) {
#define LEASE__TEXT(name, lower, value, text) \
    case LEASE_##name: return text;
        LEASE_STATUS_LIST(LEASE__TEXT)
#undef LEASE__TEXT
    }
    return "unknown status";
}

LEASE_API const char *lease_version(void) { return LEASE_VERSION_STRING; }

/* A text under construction in somebody else's memory. length is what the whole text needs, also
 * beyond capacity, so one pass both measures and writes; what fits is always terminated. */
typedef struct lease__buf {
    char *data;
    size_t capacity; /* with the terminator; 0 = measure only */
    size_t length;
} lease__buf;

static lease__buf lease__buf_make(char *data, size_t capacity) {
    lease__buf buf;
    buf.data = data;
    buf.capacity = capacity;
    buf.length = 0;
    if (capacity != 0) data[0] = '\0';
    return buf;
}

static bool lease__buf_full(const lease__buf *buf) { return buf->length >= buf->capacity; }

static void lease__put_bytes(lease__buf *buf, const char *bytes, size_t count) {
    if (buf->length < buf->capacity) {
        const size_t room = buf->capacity - buf->length - 1;
        const size_t fits = count < room ? count : room;
        memcpy(buf->data + buf->length, bytes, fits);
        buf->data[buf->length + fits] = '\0';
    }
    buf->length += count;
}

static void lease__put(lease__buf *buf, const char *text) {
    lease__put_bytes(buf, text, strlen(text));
}

static void lease__put_u64(lease__buf *buf, uint64_t value) {
    char digits[20];
    size_t at = sizeof digits;
    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value != 0);
    lease__put_bytes(buf, digits + at, sizeof digits - at);
}

static void lease__put_i64(lease__buf *buf, int64_t value) {
    if (value < 0) lease__put(buf, "-");
    lease__put_u64(buf, value < 0 ? (uint64_t)0 - (uint64_t)value : (uint64_t)value);
}

/* Zero-padded on the left to exactly digits places; value must fit. */
static void lease__put_padded(lease__buf *buf, uint32_t value, size_t digits) {
    char text[10];
    LEASE_ASSERT(digits <= sizeof text);
    for (size_t i = digits; i > 0; i--) {
        text[i - 1] = (char)('0' + value % 10);
        value /= 10;
    }
    lease__put_bytes(buf, text, digits);
}

/* A value of 0 or more that counts in units of 10^-decimals. */
static void lease__put_fixed(lease__buf *buf, int64_t value, size_t decimals) {
    int64_t unit = 1;
    for (size_t i = 0; i < decimals; i++) unit *= 10;
    lease__put_i64(buf, value / unit);
    lease__put(buf, ".");
    lease__put_padded(buf, (uint32_t)(value % unit), decimals);
}

/* False, and out empty, when text does not fit: a configured value is refused, never cut. */
static bool lease__copy(char *out, size_t capacity, const char *text) {
    const size_t length = strlen(text);
    out[0] = '\0';
    if (length >= capacity) return false;
    memcpy(out, text, length + 1);
    return true;
}

static bool lease__same(const char *a, const char *b) { return strcmp(a, b) == 0; }

static bool lease__starts_with(const char *text, const char *prefix) {
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

/* Wipes what held a secret; a plain memset of memory about to die may be dropped. */
static void lease__wipe(void *bytes, size_t count) { explicit_bzero(bytes, count); }

/* A bounded copy for messages: what comes from the server or a file may hold terminal escapes. */
static void lease__put_shown(lease__buf *buf, const char *text, size_t count, size_t limit) {
    for (size_t i = 0; i < count && i < limit; i++) {
        const unsigned char c = (unsigned char)text[i];
        lease__put_bytes(buf, c >= 0x20 && c != 0x7F ? text + i : "?", 1);
    }
    if (count > limit) lease__put(buf, "...");
}

/* Ends the list of texts that lease__fail joins. */
#define LEASE__END ((const char *)0)

/* Fills *error (which may be NULL) with the joined texts and returns status. */
#if defined(__GNUC__)
__attribute__((sentinel))
#endif
static lease_status lease__fail(lease_error *error, lease_status status, lease_stage stage,
                                const char *first, ...) {
    if (error == NULL) return status;
    memset(error, 0, sizeof *error);
    error->status = status;
    error->stage = stage;
    lease__buf buf = lease__buf_make(error->message, sizeof error->message);
    va_list texts;
    va_start(texts, first);
    for (const char *text = first; text != NULL; text = va_arg(texts, const char *)) {
        lease__put(&buf, text);
    }
    va_end(texts);
    return status;
}

/* The same for a failed system call: names it and what errno says. */
static lease_status lease__fail_errno(lease_error *error, lease_status status, lease_stage stage,
                                      const char *what, const char *which) {
    const int code = errno;
    lease__fail(error, status, stage, what, which, ": ", strerror(code), LEASE__END);
    if (error != NULL) error->sys_errno = code;
    return status;
}

/* True when text is UTF-8 (no surrogates, no overlong forms) without control characters. */
static bool lease__is_printable_utf8(const char *text) {
    const unsigned char *p = (const unsigned char *)text;
    while (*p != 0) {
        uint32_t code = *p;
        size_t more = 0;
        if (code < 0x20 || code == 0x7F) return false;
        if (code >= 0x80) {
            more = code >= 0xF0 ? 3 : code >= 0xE0 ? 2 : 1;
            if (code < 0xC2 || code > 0xF4) return false;
            code &= (uint32_t)0x3F >> more;
        }
        for (size_t i = 1; i <= more; i++) {
            if ((p[i] & 0xC0) != 0x80) return false;
            code = code << 6 | (p[i] & 0x3Fu);
        }
        if (more == 2 && (code < 0x800 || (code >= 0xD800 && code <= 0xDFFF))) return false;
        if (more == 3 && (code < 0x10000 || code > 0x10FFFF)) return false;
        if (code >= 0x80 && code < 0xA0) return false;
        p += more + 1;
    }
    return true;
}

/* A canonical decimal number that fits 64 bits; 0 otherwise. */
static uint64_t lease__parse_u64(const char *text) {
    uint64_t value = 0;
    if (text[0] == '0' || text[0] == '\0') return 0;
    for (; *text != '\0'; text++) {
        if (*text < '0' || *text > '9') return 0;
        const uint64_t digit = (uint64_t)(*text - '0');
        if (value > (UINT64_MAX - digit) / 10) return 0;
        value = value * 10 + digit;
    }
    return value;
}

/* Reads a regular file of less than capacity bytes whole and terminates it. A FIFO must not block
 * us, a directory or device is no file of ours, an empty file is somebody else's half-done work. */
static lease_status lease__read_file(const char *path, char *out, size_t capacity, size_t *length,
                                     lease_status status, lease_error *error) {
    struct stat info;
    size_t used = 0;
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return lease__fail_errno(error, status, LEASE_STAGE_CONFIG, "cannot open ", path);
    if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
        close(fd);
        return lease__fail(error, status, LEASE_STAGE_CONFIG, path, " is not a regular file",
                           LEASE__END);
    }
    ssize_t got = 1;
    while (used < capacity && got > 0) {
        got = read(fd, out + used, capacity - used);
        if (got < 0 && errno == EINTR) got = 1;
        else if (got > 0) used += (size_t)got;
    }
    if (got < 0) lease__fail_errno(error, status, LEASE_STAGE_CONFIG, "cannot read ", path);
    close(fd);
    if (got < 0) return status;
    if (used == 0 || used == capacity || memchr(out, 0, used) != NULL) {
        return lease__fail(error, status, LEASE_STAGE_CONFIG, path,
                           used == 0          ? " is empty"
                           : used == capacity ? " is too large"
                                              : " holds a NUL byte",
                           LEASE__END);
    }
    out[used] = '\0';
    *length = used;
    return LEASE_OK;
}

/* Bytes from the system; false when it has none to give. */
static bool lease__random_bytes(void *bytes, size_t count) {
    char *at = (char *)bytes;
    while (count > 0) {
        const ssize_t got = getrandom(at, count, 0);
        if (got < 0 && errno != EINTR) return false;
        if (got <= 0) continue;
        at += got;
        count -= (size_t)got;
    }
    return true;
}

/* A random UUID, version 4. */
static void lease__put_uuid(lease__buf *buf, const unsigned char random[16]) {
    static const char hex[] = "0123456789abcdef";
    for (int i = 0; i < 16; i++) {
        unsigned char byte = random[i];
        if (i == 6) byte = (unsigned char)((byte & 0x0F) | 0x40);
        if (i == 8) byte = (unsigned char)((byte & 0x3F) | 0x80);
        if (i == 4 || i == 6 || i == 8 || i == 10) lease__put(buf, "-");
        lease__put_bytes(buf, hex + (byte >> 4), 1);
        lease__put_bytes(buf, hex + (byte & 15), 1);
    }
}

static int64_t lease__min_i64(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t lease__max_i64(int64_t a, int64_t b) { return a > b ? a : b; }

/* Atomics as builtins: _Atomic members would not compile as C++. */
#define lease__atomic_load(p) __atomic_load_n((p), __ATOMIC_ACQUIRE)
#define lease__atomic_store(p, v) __atomic_store_n((p), (v), __ATOMIC_RELEASE)
#define LEASE__INLINE inline __attribute__((always_inline))

/* One writer, any readers, no lock: a version counter and two copies. Version v stands in copy v &
 * 1; the writer fills the other one and then counts up. A reader retries only when the writer has
 * moved on meanwhile, so even a signal handler that interrupts the writer gets an answer at once.
 * Words of the machine's size are atomic everywhere, also on 32-bit targets. */
#define LEASE__LATCH_WORDS (512 / sizeof(size_t))
typedef struct lease__latch {
    size_t version;
    size_t copies[2][LEASE__LATCH_WORDS];
} lease__latch;

static void lease__latch_write(lease__latch *latch, const void *bytes, size_t count) {
    const size_t next = latch->version + 1;
    size_t words[LEASE__LATCH_WORDS];
    LEASE_ASSERT(count <= sizeof words);
    memset(words, 0, sizeof words);
    memcpy(words, bytes, count);
    __atomic_thread_fence(__ATOMIC_RELEASE); /* version before the first word of the other copy */
    for (size_t i = 0; i * sizeof(size_t) < count; i++) {
        __atomic_store_n(&latch->copies[next & 1][i], words[i], __ATOMIC_RELAXED);
    }
    lease__atomic_store(&latch->version, next);
}

/* The first count bytes of what was written last. Inlined, count is a constant: the questions pay
 * for the words that they read and for nothing else. */
static LEASE__INLINE void lease__latch_read(const lease__latch *latch, void *bytes, size_t count) {
    size_t words[LEASE__LATCH_WORDS];
    size_t version;
    LEASE_ASSERT(count <= sizeof words);
    do {
        version = lease__atomic_load(&latch->version);
        for (size_t i = 0; i * sizeof(size_t) < count; i++) {
            words[i] = __atomic_load_n(&latch->copies[version & 1][i], __ATOMIC_RELAXED);
        }
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
    } while (version != __atomic_load_n(&latch->version, __ATOMIC_RELAXED));
    memcpy(bytes, words, count);
}

/* =================================================================================================
 * >>time -- the two clocks, and the text form of wall time
 * =================================================================================================
 * May use: >>base. CLOCK_BOOTTIME decides everything, since it counts suspended time; wall time
 * goes into the record and into lease_range and decides nothing. Two types, so that they cannot be
 * mixed. */

typedef struct lease__boot {
    int64_t ms;
} lease__boot;

typedef struct lease__wall {
    int64_t us;
} lease__wall;

#define LEASE__US_PER_S 1000000

/* gVisor and very old kernels have no CLOCK_BOOTTIME; lease_client_create warns about that. Without
 * any clock, in a sandbox say, all deadlines have passed. */
static lease__boot lease__boot_now(void) {
    struct timespec now;
    lease__boot boot;
    boot.ms = INT64_MAX;
    if (clock_gettime(CLOCK_BOOTTIME, &now) != 0 && clock_gettime(CLOCK_MONOTONIC, &now) != 0) {
        return boot;
    }
    boot.ms = (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
    return boot;
}

/* It decides nothing, so that the beginning of time will do where it cannot be had: seconds of 32
 * bits end in 2038. */
static lease__wall lease__wall_now(void) {
    struct timespec now;
    lease__wall wall;
    wall.us = 0;
    if (clock_gettime(CLOCK_REALTIME, &now) != 0) return wall;
    wall.us = (int64_t)now.tv_sec * LEASE__US_PER_S + now.tv_nsec / 1000;
    return wall;
}

/* Days from 1970-01-01 of a date in the proleptic Gregorian calendar. Counting years from March
 * makes the leap day the last of its year, so each month begins at a fixed day of it. */
static int64_t lease__days_from_date(int64_t year, int64_t month, int64_t day) {
    const int64_t y = month > 2 ? year : year - 1;
    const int64_t m = month > 2 ? month - 3 : month + 9;
    return 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719468;
}

static int lease__days_in_month(int64_t year, int64_t month) {
    static const int8_t days[12] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    const bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    return month == 2 && leap ? 29 : days[month - 1];
}

/* Reads exactly count digits at *text and moves past them; -1 when there are fewer. */
static int64_t lease__digits(const char **text, size_t count) {
    int64_t value = 0;
    for (size_t i = 0; i < count; i++, (*text)++) {
        if (**text < '0' || **text > '9') return -1;
        value = value * 10 + (**text - '0');
    }
    return value;
}

static bool lease__skip(const char **text, char expected) {
    if (**text != expected) return false;
    (*text)++;
    return true;
}

/* The fraction and the zone of an RFC 3339 time, as microseconds to add. */
static bool lease__parse_fraction_and_zone(const char *p, int64_t *add_us) {
    int64_t fraction = 0;
    if (lease__skip(&p, '.')) {
        int digits = 0;
        for (; *p >= '0' && *p <= '9' && digits < 10; p++, digits++) {
            if (digits < 6) fraction = fraction * 10 + (*p - '0');
        }
        if (digits == 0 || digits > 9) return false;
        for (; digits < 6; digits++) fraction *= 10;
    }
    *add_us = fraction;
    if (*p == 'Z' || *p == 'z') return p[1] == '\0';
    if (*p != '+' && *p != '-') return false;
    const int64_t sign = *p++ == '-' ? 1 : -1;
    const int64_t hours = lease__digits(&p, 2);
    if (!lease__skip(&p, ':')) return false;
    const int64_t minutes = lease__digits(&p, 2);
    if (hours < 0 || hours > 23 || minutes < 0 || minutes > 59 || *p != '\0') return false;
    *add_us += sign * (hours * 3600 + minutes * 60) * LEASE__US_PER_S;
    return true;
}

/* RFC 3339, none to nine digits of a second, any zone; liberal, since other programs wrote it.
 * apimachinery micro_time.go, whose own parser insists on six. */
static bool lease__time_parse(const char *text, int64_t *unix_us) {
    const char *p = text;
    int64_t add_us = 0;
    const int64_t year = lease__digits(&p, 4);
    if (year < 1 || !lease__skip(&p, '-')) return false;
    const int64_t month = lease__digits(&p, 2);
    if (month < 1 || month > 12 || !lease__skip(&p, '-')) return false;
    const int64_t day = lease__digits(&p, 2);
    if (day < 1 || day > lease__days_in_month(year, month)) return false;
    if (!lease__skip(&p, 'T') && !lease__skip(&p, 't')) return false;
    const int64_t hour = lease__digits(&p, 2);
    if (hour < 0 || hour > 23 || !lease__skip(&p, ':')) return false;
    const int64_t minute = lease__digits(&p, 2);
    if (minute < 0 || minute > 59 || !lease__skip(&p, ':')) return false;
    const int64_t second = lease__digits(&p, 2);
    if (second < 0 || second > 59) return false;
    if (!lease__parse_fraction_and_zone(p, &add_us)) return false;
    const int64_t days = lease__days_from_date(year, month, day);
    *unix_us = ((days * 24 + hour) * 3600 + minute * 60 + second) * LEASE__US_PER_S + add_us;
    return true;
}

/* MicroTime: UTC, exactly six digits, Z; the API server refuses any other form. Years 1970 to
 * 9999. */
static void lease__put_time(lease__buf *buf, int64_t unix_us) {
    const int64_t limit = INT64_C(253402300800) * LEASE__US_PER_S;
    const int64_t us = unix_us < 0 ? 0 : lease__min_i64(unix_us, limit - 1);
    const int64_t seconds = us / LEASE__US_PER_S;
    const int64_t days = seconds / 86400 + 719468; /* since 0000-03-01 */
    const int64_t century = (4 * days + 3) / 146097;
    const int64_t in_century = days - 146097 * century / 4;
    const int64_t year = (4 * in_century + 3) / 1461;
    const int64_t in_year = in_century - 1461 * year / 4;
    const int64_t month = (5 * in_year + 2) / 153;
    const int64_t day = in_year - (153 * month + 2) / 5 + 1;
    lease__put_padded(buf, (uint32_t)(100 * century + year + (month >= 10 ? 1 : 0)), 4);
    lease__put(buf, "-");
    lease__put_padded(buf, (uint32_t)(month < 10 ? month + 3 : month - 9), 2);
    lease__put(buf, "-");
    lease__put_padded(buf, (uint32_t)day, 2);
    lease__put(buf, "T");
    lease__put_padded(buf, (uint32_t)(seconds / 3600 % 24), 2);
    lease__put(buf, ":");
    lease__put_padded(buf, (uint32_t)(seconds / 60 % 60), 2);
    lease__put(buf, ":");
    lease__put_padded(buf, (uint32_t)(seconds % 60), 2);
    lease__put(buf, ".");
    lease__put_padded(buf, (uint32_t)(us % LEASE__US_PER_S), 6);
    lease__put(buf, "Z");
}

/* =================================================================================================
 * >>rules -- the rules as pure functions: timing, time range, when to write, pace
 * =================================================================================================
 * May use: >>base, >>time. Nothing here changes anything. With V the renew deadline, A the stop
 * budget, D the lease duration: a leader's work ends by send + V + A on its clock, a follower takes
 * over no earlier than D after observing that send on its own, and nothing is observed before it is
 * sent. So nothing overlaps if (V + A) * (1 + skew) + 1 ms <= D, where the millisecond is the grain
 * of the clocks; all delays have cancelled out. */

#define LEASE__US_PER_MS 1000
#define LEASE__NEVER_MS INT64_MAX
#define LEASE__RULES_SLOW_MS 30000 /* the slowest pace under errors that last */
/* Clock readings beyond these are clamped, so that no sum of ours overflows. */
#define LEASE__CORE_FAR_AHEAD_US (60 * (int64_t)LEASE__US_PER_S)
#define LEASE__CORE_LAST_MS (INT64_C(1) << 50)
#define LEASE__CORE_LAST_WALL_US (INT64_C(253402300799) * LEASE__US_PER_S)

static bool lease__rules_leads(const lease_core *core) { return core->valid_until_ms != 0; }

static int64_t lease__rules_duration_us(const lease_core *core) {
    return (int64_t)core->desc.lease_duration_ms * LEASE__US_PER_MS;
}

static bool lease__rules_is_own(const lease_core *core, const lease_record *record) {
    return lease__same(record->holder_identity, core->own_identity);
}

/* -- Configuration ---------------------------------------------------------------------------- */

static void lease__rules_defaults(lease_core_desc *desc) {
    if (desc->lease_duration_ms == 0) desc->lease_duration_ms = 15000;
    if (desc->renew_deadline_ms == 0) desc->renew_deadline_ms = 10000;
    if (desc->retry_period_ms == 0) desc->retry_period_ms = 2000;
    if (desc->stop_budget_ms == 0) desc->stop_budget_ms = 300;
    if (desc->request_timeout_ms == 0) {
        const int64_t quarter = lease__min_i64(desc->renew_deadline_ms / 4, 2500);
        const int64_t room = (int64_t)desc->renew_deadline_ms - desc->retry_period_ms;
        desc->request_timeout_ms = (int32_t)lease__max_i64(1, lease__min_i64(quarter, room));
    }
}

static lease_status lease__rules_refuse(lease_error *error, lease_status status) {
    return lease__fail(error, status, LEASE_STAGE_CONFIG, lease_status_text(status), LEASE__END);
}

/* With the values, for one of them may be a default. */
static lease_status lease__rules_refuse_unsafe(const lease_core_desc *desc, lease_error *error) {
    char values[64];
    lease__buf buf = lease__buf_make(values, sizeof values);
    lease__put(&buf, ": ");
    lease__put_i64(&buf, desc->renew_deadline_ms);
    lease__put(&buf, " + ");
    lease__put_i64(&buf, desc->stop_budget_ms);
    lease__put(&buf, " against ");
    lease__put_i64(&buf, desc->lease_duration_ms);
    lease__put(&buf, " ms");
    return lease__fail(error, LEASE_UNSAFE_TIMING, LEASE_STAGE_CONFIG,
                       lease_status_text(LEASE_UNSAFE_TIMING), values, LEASE__END);
}

static bool lease__rules_bad_identity(const char *identity) {
    if (identity == NULL || identity[0] == '\0') return true;
    return strlen(identity) > LEASE_MAX_IDENTITY || !lease__is_printable_utf8(identity);
}

static lease_status lease__rules_check(const lease_core_desc *desc, lease_error *error) {
    const int64_t duration = desc->lease_duration_ms;
    const int64_t deadline = desc->renew_deadline_ms;
    const int64_t retry = desc->retry_period_ms;
    const int64_t timeout = desc->request_timeout_ms;
    if (lease__rules_bad_identity(desc->identity)) {
        return lease__rules_refuse(error, LEASE_BAD_IDENTITY);
    }
    if (duration < 1000 || duration % 1000 != 0) {
        return lease__rules_refuse(error, LEASE_BAD_LEASE_DURATION);
    }
    if (retry < 100) return lease__rules_refuse(error, LEASE_BAD_RETRY_PERIOD);
    if (deadline * 10 <= retry * 12) return lease__rules_refuse(error, LEASE_BAD_RENEW_DEADLINE);
    if (desc->stop_budget_ms < 0) return lease__rules_refuse(error, LEASE_BAD_STOP_BUDGET);
    if (desc->max_fail_open_ms < 0) return lease__rules_refuse(error, LEASE_BAD_FAIL_OPEN);
    if (timeout < 1 || timeout > deadline - retry) {
        return lease__rules_refuse(error, LEASE_BAD_REQUEST_TIMEOUT);
    }
    if ((deadline + desc->stop_budget_ms) * 101 + 100 > duration * 100) {
        return lease__rules_refuse_unsafe(desc, error);
    }
    return LEASE_OK;
}

/* -- The time range --------------------------------------------------------------------------- */

LEASE_API bool lease_core_range(const lease_range_state *state, int64_t now_ms, int64_t wall_us,
                                lease_time_range *range, bool *failing_open) {
    const bool running = wall_us <= state->end_us && now_ms <= state->end_ms;
    const bool open = !running && state->silent && now_ms < state->silent_until_ms &&
                      now_ms < state->open_until_ms;
    if (failing_open != NULL) *failing_open = state->held && open;
    memset(range, 0, sizeof *range);
    if (!state->held || (!running && !open)) return false;
    range->start_us = state->start_us;
    range->end_us = open ? wall_us + state->duration_us : state->end_us;
    return true;
}

/* Does this failure mean that the API is silent? An answer that refuses closes the range, for it
 * will keep refusing; a server without its etcd answers 5xx and can give the Lease to nobody
 * either. */
static bool lease__rules_is_silence(lease_status status) {
    return status == LEASE_RESOLVE || status == LEASE_CONNECT || status == LEASE_TIMEOUT ||
           status == LEASE_CLOSED || status == LEASE_SERVER_ERROR || status == LEASE_THROTTLED;
}

/* -- When to write ---------------------------------------------------------------------------- */

/* How long the recorded holder must be respected. */
static int64_t lease__rules_respect_ms(const lease_core *core) {
    return lease__max_i64((int64_t)core->seen.lease_duration_s * 1000,
                          core->desc.lease_duration_ms);
}

/* A deadline beyond the last instant that we know would never pass. */
static bool lease__rules_may_write(const lease_core *core) {
    if (core->clock_ms > LEASE__CORE_LAST_MS - core->desc.renew_deadline_ms) return false;
    return !core->desc.observe_only && !core->released && !core->seen.coordinated;
}

/* The instant from which the absent Lease may be created. */
static int64_t lease__rules_create_ms(const lease_core *core) {
    if (core->desc.strict_creation || !core->seen_held) return core->observed_ms;
    if (lease__rules_leads(core)) return core->observed_ms;
    return core->observed_ms + lease__rules_respect_ms(core);
}

/* The instant from which the Lease seen may be written: at once when it is ours or free. With
 * strict_creation an unheld Lease counts as released only when this uid has been held before. */
static int64_t lease__rules_take_ms(const lease_core *core) {
    if (!core->exists) return lease__rules_create_ms(core);
    if (core->ours) return core->observed_ms;
    if (core->seen.holder_identity[0] != '\0') {
        return core->observed_ms + lease__rules_respect_ms(core);
    }
    if (core->desc.strict_creation && !core->uid_held) {
        return core->uid_since_ms + lease__rules_respect_ms(core);
    }
    return core->observed_ms;
}

/* -- What is seen ----------------------------------------------------------------------------- */

/* Has wall time run ahead of boot time since? The boot clock of a machine that is paused or
 * restored from a snapshot may stand still while the world goes on; wall time tells, once it is
 * set right. */
static bool lease__rules_jumped(const lease_core *core, int64_t offset_us) {
    const lease_core_desc *desc = &core->desc;
    const int64_t margin_ms =
        (int64_t)desc->lease_duration_ms - desc->renew_deadline_ms - desc->stop_budget_ms;
    return core->offset_us - offset_us > margin_ms / 2 * LEASE__US_PER_MS;
}

/* Does another live process write under our identity? A first look may find a predecessor's. */
static bool lease__rules_is_duplicate(const lease_core *core, const lease_record *record) {
    return lease__rules_is_own(core, record) && core->exists &&
           lease__rules_is_own(core, &core->seen);
}

static lease_reason lease__rules_loss_by(const lease_core *core, const lease_record *record) {
    if (record->coordinated) return LEASE_REASON_COORDINATED;
    if (record->holder_identity[0] == '\0') return LEASE_REASON_CLEARED;
    return lease__rules_is_own(core, record) ? LEASE_REASON_DUPLICATE : LEASE_REASON_TAKEN;
}

/* -- Pace ------------------------------------------------------------------------------------- */

/* A part of span chosen by the random word. */
static int64_t lease__rules_jitter(int64_t span, uint32_t random) {
    return (int64_t)((uint64_t)span * random >> 32);
}

/* A fraction of a made-up time: others may write under our identity whose random source was cloned
 * with their machine. */
static int64_t lease__rules_odd_us(int64_t us, int64_t grain_us, uint32_t random) {
    return (us + lease__rules_jitter(grain_us, random)) % grain_us;
}

/* Somebody else was faster: what we know is stale, and that is all. */
static bool lease__rules_lost_race(lease_status status) {
    return status == LEASE_CONFLICT || status == LEASE_ALREADY_EXISTS || status == LEASE_NOT_FOUND;
}

/* Did the server answer? Then a copy of the request may still be on its way, and be taken. */
static bool lease__rules_is_answer(lease_status status) {
    return status == LEASE_REDIRECT || (status <= LEASE_UNAUTHORIZED && status > LEASE_STOPPED);
}

/* Errors that time alone does not mend: told at once, retried slowly, cleared without restart. */
static bool lease__rules_is_permanent(lease_status status) {
    return !lease__rules_is_silence(status) && !lease__rules_lost_race(status);
}

/* A lost race or an unanswered write is looked into at once, the first time; so is a creation that
 * failed behind a conflict, for then somebody else holds a new Lease. Everything else waits, and
 * what waits in vain waits longer. A leader keeps to a pace that leaves several tries before its
 * end. */
static int64_t lease__rules_pause_ms(const lease_core *core, lease_status status, uint32_t random) {
    const int64_t period = core->desc.retry_period_ms;
    const int64_t brisk = lease__min_i64(period, 1000);
    const int32_t at_once = status == LEASE_ALREADY_EXISTS ? 2 : 1;
    if (core->read_first && core->failures <= at_once && !lease__rules_is_permanent(status)) {
        return 0;
    }
    if (lease__rules_lost_race(status)) {
        return brisk + lease__rules_jitter(brisk / 2, random);
    }
    if (lease__rules_leads(core)) return brisk;
    if (!lease__rules_is_permanent(status)) return period + lease__rules_jitter(period / 5, random);
    const int64_t slow = lease__max_i64(period, LEASE__RULES_SLOW_MS);
    return lease__min_i64(period << lease__min_i64(core->failures, 6), slow);
}

/* Between two renewals: a second, the grain of client-go's comparison, or as much of it as the
 * deadline leaves. */
static int64_t lease__rules_least_gap_ms(const lease_core *core) {
    return lease__min_i64(1000, core->desc.renew_deadline_ms / 2);
}

/* A leader waits no longer than a period for a throttling server: two long waits would eat V. */
static int64_t lease__rules_retry_after_ms(const lease_core *core, int32_t retry_after_ms) {
    const bool leads = lease__rules_leads(core);
    const int64_t cap = leads ? core->desc.retry_period_ms : LEASE__RULES_SLOW_MS;
    return lease__min_i64(lease__max_i64(retry_after_ms, 0), cap);
}

/* -- What the timing means -------------------------------------------------------------------- */

static void lease__rules_put_takeover(lease__buf *buf, const char *what, int64_t mean_ms,
                                      int64_t worst_ms) {
    lease__put(buf, what);
    lease__put_fixed(buf, (mean_ms + 99) / 100, 1);
    lease__put(buf, " s on average, ");
    lease__put_fixed(buf, (worst_ms + 99) / 100, 1);
    lease__put(buf, " s at most");
}

static void lease__rules_describe(const lease_core *core, lease_timing *timing) {
    lease__buf buf = lease__buf_make(timing->text, sizeof timing->text);
    lease__put(&buf, "clock rates may differ by ");
    lease__put_fixed(&buf, timing->skew_ppm / 1000, 1);
    lease__put(&buf, " %; work must end within ");
    lease__put_i64(&buf, core->desc.stop_budget_ms);
    lease__put(&buf, " ms of a loss; an API outage of ");
    lease__put_fixed(&buf, timing->outage_ms / 100, 1);
    lease__put(&buf, " s is survived whenever it begins");
    lease__rules_put_takeover(&buf, "; a crashed leader is replaced after ", timing->crash_mean_ms,
                              timing->crash_worst_ms);
    lease__rules_put_takeover(&buf, "; a released Lease is taken after ", timing->release_mean_ms,
                              timing->release_worst_ms);
    lease__put(&buf, "; a leader sends ");
    lease__put_fixed(&buf, (timing->leader_per_ks + 5) / 10, 2);
    lease__put(&buf, " requests a second, a standby ");
    lease__put_fixed(&buf, (timing->standby_per_ks + 5) / 10, 2);
    LEASE_ASSERT(!lease__buf_full(&buf));
}

/* A renewal comes up to a tenth of a period early, a look up to a fifth late, so a look at a random
 * moment is 0.55 periods away. The worst outage begins just before a renewal and ends just after an
 * attempt has gone into it, which then hangs for its whole time limit. */
LEASE_API void lease_core_timing(const lease_core *core, lease_timing *timing) {
    const int64_t duration = core->desc.lease_duration_ms;
    const int64_t deadline = core->desc.renew_deadline_ms;
    const int64_t period = core->desc.retry_period_ms;
    const int64_t least_gap = lease__rules_least_gap_ms(core);
    const int64_t mean_gap = lease__max_i64(period * 95 / 100, least_gap);
    const int64_t used = deadline + core->desc.stop_budget_ms;
    const int64_t last_try = core->desc.request_timeout_ms + lease__min_i64(period, 1000);
    const int64_t outage = deadline - lease__max_i64(period, least_gap) - last_try;
    timing->skew_ppm = (duration - 1 - used) * 1000000 / used;
    timing->outage_ms = lease__max_i64(outage, 0);
    timing->release_mean_ms = period * 55 / 100;
    timing->release_worst_ms = period * 6 / 5;
    timing->crash_mean_ms = duration + timing->release_mean_ms - mean_gap / 2;
    timing->crash_worst_ms = duration + timing->release_worst_ms;
    timing->leader_per_ks = 1000000 / mean_gap;
    timing->standby_per_ks = 1000000 / (period * 11 / 10);
    lease__rules_describe(core, timing);
}

/* =================================================================================================
 * >>core -- the elector: decides, never acts
 * =================================================================================================
 * Owns lease_core. May use: >>base, >>time. No clock, no socket, no allocation, no callback: a
 * step is told what happened and when, and answers with one request to make and the instant to
 * come back.
 *
 *                 read: held by another                       write acknowledged
 *      +---------------------------------+      take     +----------------------------+
 *      v                                 |   (CAS sent)  |                            v
 *   FOLLOW -- free, or D after observed -+-------------->+                         LEAD --+ renew
 *      ^                                                 |                          |  ^--+ every P
 *      +-------------------- conflict: read -------------+                          |
 *      +---- valid_until reached, another holder seen, cleared, altered, clock jump-+
 *
 *      leader     send         answer          valid_until    stop_by
 *      |-----------|--- any ------|--------------|------A------|
 *                  |<------------- V ----------->|
 *      follower       observed                                         take
 *      |-----------------|<-------------------- D ---------------------->|
 *
 *   (1) Leadership is now < valid_until, and valid_until = send + V of an acknowledged write: late
 *       answers cost us validity and never others their safety.
 *   (2) A follower counts D from its observation of a version, then compares-and-swaps it.
 *   (3) (V + A) * (1 + skew) + 1 ms <= D, checked at init; so (1) ends before (2) begins.
 *   (4) A write without an answer stays in attempts[] with its times: reading exactly these back
 *       shows that it was applied, and validity then counts from the send of that attempt.
 *   (5) Our identity with a time that we did not write is another process: step down, wait as for
 *       any holder. This is also how a restart under a fixed identity looks.
 *   (6) A release replaces our own last write, known by its time, and nothing else that is read.
 * client-go leaderelection.go: tryAcquireOrRenew, renew, release are followed and repaired here. */

/* -- Configuration ---------------------------------------------------------------------------- */

LEASE_API lease_status lease_core_init(lease_core *core, const lease_core_desc *desc,
                                       lease_error *error) {
    if (core == NULL || desc == NULL) return lease__rules_refuse(error, LEASE_BAD_ARGUMENT);
    memset(core, 0, sizeof *core);
    lease_core_desc filled = *desc;
    lease__rules_defaults(&filled);
    const lease_status status = lease__rules_check(&filled, error);
    if (status != LEASE_OK) return status;
    lease__copy(core->own_identity, sizeof core->own_identity, filled.identity);
    core->desc = filled;
    core->desc.identity = core->own_identity;
    core->clock_ms = INT64_MIN;
    return LEASE_OK;
}

/* -- The time range --------------------------------------------------------------------------- */

/* Called for each acknowledged write that leaves us the holder. */
static void lease__core_range_extend(lease_core *core, const lease_record *record,
                                     int64_t sent_ms) {
    lease_range_state *range = &core->range;
    range->held = true;
    range->silent = false;
    range->start_us = record->acquire_time_us;
    range->end_us = record->renew_time_us + lease__rules_duration_us(core);
    range->end_ms = sent_ms + core->desc.lease_duration_ms;
    range->duration_us = lease__rules_duration_us(core);
    range->open_until_ms = core->desc.max_fail_open_ms == 0
                               ? LEASE__NEVER_MS
                               : range->end_ms + core->desc.max_fail_open_ms;
}

/* -- Attempts: writes whose fate is not known ------------------------------------------------- */

/* The oldest goes, of those that were refused if there is one: what is open matters more. */
static void lease__core_make_room(lease_core *core) {
    uint32_t at = 0;
    while (at < core->attempt_count && !core->attempts[at].refused) at++;
    if (at == core->attempt_count) at = 0;
    core->attempt_count--;
    memmove(core->attempts + at, core->attempts + at + 1,
            (core->attempt_count - at) * sizeof core->attempts[0]);
}

static void lease__core_remember_attempt(lease_core *core, const lease_record *write) {
    if (core->attempt_count == LEASE_CORE_ATTEMPTS) lease__core_make_room(core);
    lease_attempt *attempt = &core->attempts[core->attempt_count++];
    attempt->renew_us = write->renew_time_us;
    attempt->acquire_us = write->acquire_time_us;
    attempt->sent_ms = core->clock_ms;
    attempt->offset_us = core->offset_us;
    attempt->refused = false;
    attempt->spent = false;
}

/* The last one never left us. */
static void lease__core_forget_attempt(lease_core *core) { core->attempt_count--; }

/* The attempt that left this record; NULL when it is none of ours. */
static const lease_attempt *lease__core_find_attempt(const lease_core *core,
                                                     const lease_record *record) {
    for (uint32_t i = 0; i < core->attempt_count; i++) {
        if (core->attempts[i].renew_us == record->renew_time_us &&
            core->attempts[i].acquire_us == record->acquire_time_us) {
            return &core->attempts[i];
        }
    }
    return NULL;
}

/* us, moved behind the earlier time. A time far ahead of us is from before the wall was set right,
 * and does not count. The step is a whole second, because client-go followers compare seconds, and
 * must see a renewal also when wall time stands still or was set back; a deadline so near that we
 * renew more often than once a second leaves only the time that has passed. */
static int64_t lease__core_behind(const lease_core *core, int64_t us, int64_t earlier_us,
                                  uint32_t random) {
    const bool seconds = lease__rules_least_gap_ms(core) == 1000;
    const int64_t grain_us = seconds ? LEASE__US_PER_S : LEASE__US_PER_MS;
    const int64_t passed_us = (core->clock_ms - core->last_write_ms) * LEASE__US_PER_MS;
    const int64_t step_us =
        grain_us + (seconds ? 0 : lease__min_i64(passed_us, LEASE__US_PER_S));
    if (us / grain_us > earlier_us / grain_us) return us;
    if (earlier_us - us > LEASE__CORE_FAR_AHEAD_US) return us;
    return (earlier_us + step_us) / grain_us * grain_us + lease__rules_odd_us(us, grain_us, random);
}

/* The time to write now: behind all that stand, or may stand, under our identity. */
static int64_t lease__core_renew_time(const lease_core *core, const lease_core_input *in) {
    int64_t us = lease__max_i64(in->wall_us, LEASE__US_PER_S);
    int64_t before;
    do {
        before = us;
        us = lease__core_behind(core, us, core->last_renew_us, in->random);
        if (lease__rules_is_own(core, &core->seen)) {
            us = lease__core_behind(core, us, core->seen.renew_time_us, in->random);
        }
        for (uint32_t i = 0; i < core->attempt_count; i++) {
            us = lease__core_behind(core, us, core->attempts[i].renew_us, in->random);
        }
    } while (us != before);
    return us;
}

/* -- Gaining and losing ----------------------------------------------------------------------- */

/* What a term rested on gives no other one, even if a read shows it again. */
static void lease__core_spend_attempts(lease_core *core) {
    for (uint32_t i = 0; i < core->attempt_count; i++) core->attempts[i].spent = true;
}

/* Only an end that was foreseen leaves the stop budget: in all other cases somebody else may lead.
 * */
static void lease__core_lose(lease_core *core, lease_core_output *out, lease_reason reason) {
    const bool keeps_range = reason == LEASE_REASON_EXPIRED || reason == LEASE_REASON_CLOCK_JUMP;
    if (!keeps_range) core->range.held = false;
    core->range.silent = core->range.silent && reason == LEASE_REASON_EXPIRED;
    if (!lease__rules_leads(core)) return;
    out->events |= LEASE_CORE_LOST;
    out->lost_reason = reason;
    out->stop_by_ms = core->valid_until_ms + core->desc.stop_budget_ms;
    if (reason != LEASE_REASON_EXPIRED) {
        out->stop_by_ms = lease__min_i64(out->stop_by_ms, core->clock_ms);
        lease__core_spend_attempts(core);
    }
    core->valid_until_ms = 0;
    core->token = 0;
}

/* This attempt is known to be applied, and record is what it left. */
static void lease__core_hold(lease_core *core, lease_core_output *out, const lease_record *record,
                             lease_attempt attempt) {
    const int64_t until = attempt.sent_ms + core->desc.renew_deadline_ms;
    const bool late = attempt.spent || until <= core->clock_ms ||
                      lease__rules_jumped(core, attempt.offset_us);
    if (core->released) return;
    /* What is acknowledged too late begins no term, and no range either. */
    if (!late || core->range.held) lease__core_range_extend(core, record, attempt.sent_ms);
    if (late || until <= core->valid_until_ms) return;
    if (!lease__rules_leads(core)) {
        out->events |= LEASE_CORE_ACQUIRED;
        core->token = lease__parse_u64(record->resource_version);
    } else {
        out->events |= LEASE_CORE_RENEWED;
    }
    core->valid_until_ms = until;
    core->held_offset_us = attempt.offset_us;
}

/* -- Observing -------------------------------------------------------------------------------- */

static void lease__core_report_holder(lease_core *core, lease_core_output *out) {
    const char *holder = core->exists ? core->seen.holder_identity : "";
    if (lease__same(holder, core->reported_holder)) return;
    lease__copy(core->reported_holder, sizeof core->reported_holder, holder);
    out->events |= LEASE_CORE_LEADER_CHANGED;
}

/* What was written to another Lease, of the same name, says nothing about this one. */
static void lease__core_forget_writes(lease_core *core) {
    core->own_renew_us = 0;
    core->attempt_count = 0;
}

/* Takes over what the server shows; the caller has dealt with what it means. */
static void lease__core_see(lease_core *core, const lease_record *record, bool ours) {
    const bool same_uid = core->exists && lease__same(core->seen.uid, record->uid);
    const bool same_version =
        same_uid && lease__same(core->seen.resource_version, record->resource_version);
    if (!same_version) core->observed_ms = core->clock_ms;
    if (!same_uid) {
        core->uid_since_ms = core->clock_ms;
        core->uid_held = false;
        if (core->desc.strict_creation) lease__core_forget_writes(core);
    }
    if (record->holder_identity[0] != '\0') core->uid_held = core->seen_held = true;
    if (ours) core->own_renew_us = record->renew_time_us;
    if (!lease__rules_is_own(core, record)) core->own_renew_us = 0;
    core->seen = *record;
    core->exists = true;
    core->answered = true;
    core->ours = ours;
    core->read_first = false;
}

/* There is no Lease. Only its duration is kept, for whoever held it may still be at work. */
static void lease__core_see_absence(lease_core *core) {
    const int32_t duration_s = core->seen.lease_duration_s;
    if (core->exists || !core->answered) core->observed_ms = core->clock_ms;
    memset(&core->seen, 0, sizeof core->seen);
    core->seen.lease_duration_s = duration_s;
    core->exists = false;
    core->answered = true;
    core->read_first = false;
    core->uid_held = false;
    core->own_renew_us = 0;
}

/* Is this record one that we wrote? Either the last one known to be applied (somebody may have put
 * a label on it, or a late copy of our creation made it anew), or an attempt whose fate was open.
 * What another holder followed is not, nor, with strict_creation, a copy of it in a Lease made
 * anew. */
static bool lease__core_wrote(const lease_core *core, const lease_record *record) {
    if (!lease__rules_is_own(core, record)) return false;
    if (core->desc.strict_creation && !lease__same(core->seen.uid, record->uid)) return false;
    if (lease__core_find_attempt(core, record) != NULL) return true;
    return core->own_renew_us != 0 && core->own_renew_us == record->renew_time_us;
}

/* What a read shows when it shows a Lease. */
static void lease__core_observe(lease_core *core, lease_core_output *out,
                                const lease_record *record) {
    const bool wrote = lease__core_wrote(core, record);
    const bool ours = wrote && !record->coordinated;
    const bool was_ours = core->ours;
    const bool changed = !core->exists || !lease__same(core->seen.uid, record->uid) ||
                         !lease__same(core->seen.resource_version, record->resource_version);
    const lease_attempt *found = lease__core_find_attempt(core, record);
    const bool read_back = ours && found != NULL && record->renew_time_us != core->own_renew_us;
    if (!wrote && lease__rules_is_duplicate(core, record) && changed) {
        out->events |= LEASE_CORE_DUPLICATE;
    }
    /* An admin who clears the holder just then cannot be told apart, and does what was asked. */
    const bool own_release = core->releasing && record->holder_identity[0] == '\0';
    if (changed && was_ours && !read_back && !own_release) out->events |= LEASE_CORE_FOREIGN_WRITE;
    if (!ours) lease__core_lose(core, out, lease__rules_loss_by(core, record));
    lease__core_see(core, record, ours);
    if (!read_back) return;
    out->events |= LEASE_CORE_READ_BACK;
    lease__core_hold(core, out, record, *found);
}

/* -- When to do what -------------------------------------------------------------------------- */

/* Sets next_ms for a follower: the next look, or the exact instant at which the Lease may be
 * taken. */
static void lease__core_follow(lease_core *core, uint32_t random) {
    const int64_t period = core->desc.retry_period_ms;
    const int64_t look = core->clock_ms + period + lease__rules_jitter(period / 5, random);
    const bool may = lease__rules_may_write(core);
    const int64_t take = may ? lease__rules_take_ms(core) : LEASE__NEVER_MS;
    core->next_ms = lease__max_i64(core->clock_ms, lease__min_i64(look, take));
}

/* After a good renewal the next one is due one period after the send of this one, a little earlier
 * at random so that many leases do not stay in step. */
static void lease__core_renew_later(lease_core *core, uint32_t random) {
    const int64_t sent_ms = core->valid_until_ms - core->desc.renew_deadline_ms;
    const int64_t period = core->desc.retry_period_ms;
    const int64_t gap = period - lease__rules_jitter(period / 10, random);
    const int64_t next = sent_ms + lease__max_i64(gap, lease__rules_least_gap_ms(core));
    core->next_ms = lease__max_i64(core->clock_ms, next);
}

/* -- Answers ---------------------------------------------------------------------------------- */

static void lease__core_failed(lease_core *core, lease_core_output *out,
                               const lease_core_input *in) {
    if (core->failures < INT32_MAX) core->failures++;
    if (lease__rules_leads(core) && !lease__rules_lost_race(in->status)) {
        out->events |= LEASE_CORE_RENEW_FAILED;
    }
    const int64_t pause = lease__max_i64(lease__rules_pause_ms(core, in->status, in->random),
                                         lease__rules_retry_after_ms(core, in->retry_after_ms));
    core->next_ms = core->clock_ms + pause;
    core->range.silent = lease__rules_is_silence(in->status);
    core->range.silent_until_ms =
        core->next_ms + core->desc.request_timeout_ms + core->desc.retry_period_ms;
}

/* A release is complete when the record is known not to be ours. */
static void lease__core_conclude_release(lease_core *core, lease_core_output *out) {
    const bool known = core->pending == LEASE_ACTION_NONE && !core->read_first;
    if (!core->releasing || !known || (core->exists && core->ours)) return;
    core->releasing = false;
    core->range.held = false;
    out->events |= LEASE_CORE_RELEASED;
}

/* After any answer that shows the state of things. What is still ours is written at once, and a
 * range that was kept open in silence stays so until that write is answered. */
static void lease__core_settle(lease_core *core, lease_core_output *out,
                               const lease_core_input *in) {
    lease__core_report_holder(core, out);
    lease__core_conclude_release(core, out);
    if (core->releasing || (core->ours && lease__rules_may_write(core))) {
        core->next_ms = core->clock_ms;
        core->range.silent = core->range.silent && core->exists;
        return;
    }
    core->range.silent = false;
    const int64_t brisk = lease__min_i64(core->desc.retry_period_ms, 1000);
    const int64_t pause = core->failures <= 1 ? 0 : lease__rules_jitter(brisk, in->random);
    const bool takes =
        lease__rules_may_write(core) && core->clock_ms >= lease__rules_take_ms(core);
    if (!takes) core->failures = 0;
    lease__core_follow(core, in->random);
    core->next_ms = lease__max_i64(core->next_ms, core->clock_ms + pause);
}

static void lease__core_read_done(lease_core *core, lease_core_output *out,
                                  const lease_core_input *in) {
    if (in->status == LEASE_NOT_FOUND) {
        if (core->desc.strict_creation || core->released) {
            lease__core_lose(core, out, LEASE_REASON_DELETED);
        }
        lease__core_see_absence(core);
        if (!lease__rules_leads(core)) core->ours = false;
    } else if (in->status == LEASE_OK) {
        lease__core_observe(core, out, in->record);
    } else {
        lease__core_failed(core, out, in);
        return;
    }
    const bool read_back = (out->events & LEASE_CORE_READ_BACK) != 0 && lease__rules_leads(core);
    if (read_back) core->failures = 0;
    lease__core_settle(core, out, in);
    if (read_back) lease__core_renew_later(core, in->random);
}

/* Did the server store what others must see to respect us: holder, time and duration? An admission
 * webhook may have changed it under us. */
static bool lease__core_is_altered(const lease_core *core, const lease_record *record) {
    return !lease__rules_is_own(core, record) || record->coordinated ||
           record->renew_time_us != core->last_renew_us ||
           (int64_t)record->lease_duration_s * 1000 != core->desc.lease_duration_ms;
}

static void lease__core_altered(lease_core *core, lease_core_output *out,
                                const lease_core_input *in) {
    lease_core_input failure = *in;
    failure.status = LEASE_ALTERED;
    out->events |= LEASE_CORE_ALTERED;
    lease__core_lose(core, out, LEASE_REASON_ALTERED);
    lease__core_see(core, in->record, false);
    if (lease__rules_is_own(core, in->record)) core->own_renew_us = in->record->renew_time_us;
    lease__core_report_holder(core, out);
    lease__core_failed(core, out, &failure);
    const int64_t latest = core->clock_ms + LEASE__RULES_SLOW_MS;
    core->next_ms = lease__max_i64(core->next_ms, lease__rules_take_ms(core));
    core->next_ms = lease__min_i64(core->next_ms, latest);
}

/* The server refuses, or does not answer. */
static void lease__core_write_failed(lease_core *core, lease_core_output *out,
                                     const lease_core_input *in, bool remembered) {
    const bool sent = in->maybe_applied || lease__rules_is_answer(in->status);
    /* A 409 may answer the second copy of a request whose first copy was applied. */
    const bool open = in->maybe_applied || lease__rules_lost_race(in->status);
    if (remembered && !sent) lease__core_forget_attempt(core);
    if (remembered && sent) core->attempts[core->attempt_count - 1].refused = !open;
    core->read_first = open;
    core->slow_path = open;
    lease__core_failed(core, out, in);
}

static void lease__core_write_done(lease_core *core, lease_core_output *out,
                                   const lease_core_input *in, lease_action action) {
    const bool unheld = action == LEASE_ACTION_CREATE && core->desc.strict_creation;
    const bool remembered = !core->pending_release && !unheld;
    if (in->status != LEASE_OK) {
        lease__core_write_failed(core, out, in, remembered);
        return;
    }
    const uint32_t last = core->attempt_count > 0 ? core->attempt_count - 1 : 0;
    const lease_attempt attempt = core->attempts[last];
    core->attempt_count = 0; /* they were over older versions */
    if (remembered && lease__core_is_altered(core, in->record)) {
        lease__core_altered(core, out, in);
        return;
    }
    core->failures = 0;
    core->slow_path = false;
    lease__core_see(core, in->record, remembered);
    if (remembered) lease__core_hold(core, out, in->record, attempt);
    lease__core_settle(core, out, in);
    if (lease__rules_leads(core)) lease__core_renew_later(core, in->random);
}

static void lease__core_done(lease_core *core, lease_core_output *out,
                             const lease_core_input *in) {
    const lease_action action = core->pending;
    core->pending = LEASE_ACTION_NONE;
    if (action == LEASE_ACTION_READ) {
        lease__core_read_done(core, out, in);
    } else {
        lease__core_write_done(core, out, in, action);
    }
}

/* -- Requests --------------------------------------------------------------------------------- */

static void lease__core_begin(lease_core *core, lease_core_output *out, lease_action action) {
    core->pending = action;
    core->pending_release = false;
    core->pending_sent_ms = core->clock_ms;
    core->pending_give_up_ms = core->clock_ms + core->desc.request_timeout_ms;
    core->requests++;
    out->action = action;
    out->request_id = core->requests;
    out->give_up_ms = core->pending_give_up_ms;
}

/* The record of a write that makes or keeps us the holder. Transitions count changes of the holder,
 * acquireTime stays while nobody else held in between (elector.md 6, rule 4). */
static void lease__core_fill(lease_core *core, lease_record *write, const lease_core_input *in) {
    const int32_t transitions = core->seen.lease_transitions;
    const bool same_holder = core->ours || lease__rules_is_own(core, &core->seen);
    memset(write, 0, sizeof *write);
    lease__copy(write->holder_identity, sizeof write->holder_identity, core->own_identity);
    lease__copy(write->uid, sizeof write->uid, core->seen.uid);
    lease__copy(write->resource_version, sizeof write->resource_version,
                core->seen.resource_version);
    write->renew_time_us = lease__core_renew_time(core, in);
    core->last_renew_us = write->renew_time_us;
    core->last_write_ms = core->clock_ms;
    write->acquire_time_us = write->renew_time_us;
    if (core->ours && core->range.held) write->acquire_time_us = core->range.start_us;
    write->lease_duration_s = core->desc.lease_duration_ms / 1000;
    write->lease_transitions = transitions;
    if (core->exists && !same_holder && transitions < INT32_MAX) write->lease_transitions++;
}

static void lease__core_send_write(lease_core *core, lease_core_output *out, lease_action action,
                                   const lease_core_input *in) {
    lease__core_begin(core, out, action);
    lease__core_fill(core, &out->write, in);
    lease__core_remember_attempt(core, &out->write);
    if (core->slow_path && lease__rules_leads(core)) out->events |= LEASE_CORE_SLOW_PATH;
}

/* Without a holder, so that nobody leads a Lease before a full duration has shown that nobody else
 * does: reliability.md 2.5. */
static void lease__core_send_unheld(lease_core *core, lease_core_output *out) {
    lease__core_begin(core, out, LEASE_ACTION_CREATE);
    out->write.lease_duration_s = core->desc.lease_duration_ms / 1000;
}

/* client-go leaderelection.go: release. Duration 1, because the server refuses 0. */
static void lease__core_send_release(lease_core *core, lease_core_output *out,
                                     const lease_core_input *in) {
    lease__core_begin(core, out, LEASE_ACTION_UPDATE);
    core->pending_release = true;
    lease__core_fill(core, &out->write, in);
    out->write.holder_identity[0] = '\0';
    out->write.acquire_time_us = out->write.renew_time_us;
    out->write.lease_duration_s = 1;
    out->write.lease_transitions = core->seen.lease_transitions;
}

/* What is due now. A read is never wrong; a write needs its instant. */
static void lease__core_request(lease_core *core, lease_core_output *out,
                                const lease_core_input *in) {
    if (!core->answered || core->read_first) {
        lease__core_begin(core, out, LEASE_ACTION_READ);
    } else if (core->releasing) {
        lease__core_send_release(core, out, in);
    } else if (!lease__rules_may_write(core) || core->clock_ms < lease__rules_take_ms(core)) {
        lease__core_begin(core, out, LEASE_ACTION_READ);
    } else if (core->exists) {
        lease__core_send_write(core, out, LEASE_ACTION_UPDATE, in);
    } else if (core->desc.strict_creation) {
        lease__core_send_unheld(core, out);
    } else {
        lease__core_send_write(core, out, LEASE_ACTION_CREATE, in);
    }
}

/* -- The step --------------------------------------------------------------------------------- */

/* Nothing that counted on a boot clock that has stood still holds: renew before anything else. */
static void lease__core_watch_clocks(lease_core *core, lease_core_output *out, int64_t wall_us) {
    core->offset_us = wall_us - core->clock_ms * LEASE__US_PER_MS;
    if (!lease__rules_leads(core) || !lease__rules_jumped(core, core->held_offset_us)) return;
    lease__core_lose(core, out, LEASE_REASON_CLOCK_JUMP);
    core->next_ms = core->clock_ms;
}

static void lease__core_release(lease_core *core, lease_core_output *out) {
    if (core->released) return;
    lease__core_lose(core, out, LEASE_REASON_RELEASED);
    lease__core_spend_attempts(core);
    core->range.held = false;
    core->released = true;
    core->failures = 0;
    /* An unanswered write may have made us the holder: find out, then give that back. */
    const bool writing = core->pending != LEASE_ACTION_NONE && core->pending != LEASE_ACTION_READ;
    const bool ours = core->exists && core->ours;
    core->releasing = !core->desc.observe_only && (ours || writing || core->read_first);
    if (core->releasing) {
        core->next_ms = core->clock_ms;
    } else {
        out->events |= LEASE_CORE_RELEASED;
    }
}

static void lease__core_contend(lease_core *core) {
    if (!core->released) return;
    core->released = false;
    core->next_ms = core->clock_ms;
}

static void lease__core_take_input(lease_core *core, lease_core_input *in, lease_core_output *out) {
    switch (in->kind) {
    case LEASE_INPUT_TICK:
        /* A driver that fails to bring the answer in time must not stop the elector. */
        if (core->pending != LEASE_ACTION_NONE && core->clock_ms >= core->pending_give_up_ms) {
            in->status = LEASE_TIMEOUT;
            in->maybe_applied = true;
            in->retry_after_ms = 0;
            lease__core_done(core, out, in);
        }
        break;
    case LEASE_INPUT_READ_DONE:
        if (core->pending == LEASE_ACTION_READ && in->request_id == core->requests) {
            lease__core_done(core, out, in);
        }
        break;
    case LEASE_INPUT_WRITE_DONE:
        if (core->pending > LEASE_ACTION_READ && in->request_id == core->requests) {
            lease__core_done(core, out, in);
        }
        break;
    case LEASE_INPUT_RELEASE: lease__core_release(core, out); break;
    case LEASE_INPUT_CONTEND: lease__core_contend(core); break;
    }
}

/* There is always a next instant: a lost wake-up would be a lost lease. */
static int64_t lease__core_wake_ms(const lease_core *core, bool hold_requests) {
    int64_t wake = core->next_ms;
    if (core->pending != LEASE_ACTION_NONE) {
        wake = core->pending_give_up_ms;
    } else if (hold_requests && wake <= core->clock_ms) {
        wake = core->clock_ms + core->desc.retry_period_ms;
    }
    if (lease__rules_leads(core)) wake = lease__min_i64(wake, core->valid_until_ms);
    return wake;
}

LEASE_API void lease_core_step(lease_core *core, const lease_core_input *input,
                               lease_core_output *out) {
    lease_core_input in = *input;
    in.now_ms = lease__min_i64(in.now_ms, LEASE__CORE_LAST_MS);
    in.wall_us = lease__max_i64(0, lease__min_i64(in.wall_us, LEASE__CORE_LAST_WALL_US));
    memset(out, 0, sizeof *out);
    core->clock_ms = lease__max_i64(lease__max_i64(core->clock_ms, in.now_ms), 0);
    lease__core_watch_clocks(core, out, in.wall_us);
    if (lease__rules_leads(core) && core->clock_ms >= core->valid_until_ms) {
        lease__core_lose(core, out, LEASE_REASON_EXPIRED);
    }
    lease__core_take_input(core, &in, out);
    lease__core_conclude_release(core, out);
    if (core->pending == LEASE_ACTION_NONE && !in.hold_requests &&
        core->clock_ms >= core->next_ms) {
        lease__core_request(core, out, &in);
    }
    out->wake_ms = lease__core_wake_ms(core, in.hold_requests);
    out->valid_until_ms = core->valid_until_ms;
    out->token = core->token;
}

/* =================================================================================================
 * >>json -- strict reading over jsmn, writing
 * =================================================================================================
 * May use: >>base. jsmn cuts text into tokens and checks little: it takes {"a" "b"}, 01, nul, two
 * roots and raw control characters, and stops in silence at a NUL byte. So a scanner of our own
 * proves the text first, within fixed limits of depth and of tokens; after it jsmn's tokens can be
 * trusted. Duplicate keys are refused where a key is looked up. */

typedef struct lease__json {
    const char *text;
    jsmntok_t *tokens;
    int count;
    bool duplicate; /* a key that was looked up stood twice: the document is not to be used */
} lease__json;

#define LEASE__JSON_NONE (-1) /* no such member; every reader below takes it for null */

/* -- The scanner ------------------------------------------------------------------------------ */

typedef struct lease__json_scan {
    const char *at;
    const char *end;
    uint32_t in_object; /* bit d: depth d is an object, else an array */
    int depth;
    int tokens;
} lease__json_scan;

static void lease__json_space(lease__json_scan *scan) {
    while (scan->at < scan->end &&
           (*scan->at == ' ' || *scan->at == '\t' || *scan->at == '\n' || *scan->at == '\r')) {
        scan->at++;
    }
}

static bool lease__json_next_is(lease__json_scan *scan, char expected) {
    if (scan->at == scan->end || *scan->at != expected) return false;
    scan->at++;
    return true;
}

static int lease__hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

/* Four hexadecimal digits; -1 when they are not. */
static int32_t lease__json_hex4(const char *at, const char *end) {
    int32_t code = 0;
    if (end - at < 4) return -1;
    for (int i = 0; i < 4; i++) {
        const int digit = lease__hex_digit(at[i]);
        if (digit < 0) return -1;
        code = code * 16 + digit;
    }
    return code;
}

/* Behind the backslash. Surrogates come in pairs; NUL has no place in a text of C. */
static bool lease__json_scan_escape(lease__json_scan *scan) {
    if (scan->at == scan->end) return false;
    const char kind = *scan->at++;
    if (kind != 'u') return kind != '\0' && strchr("\"\\/bfnrt", kind) != NULL;
    const int32_t code = lease__json_hex4(scan->at, scan->end);
    if (code <= 0 || (code >= 0xDC00 && code <= 0xDFFF)) return false;
    scan->at += 4;
    if (code < 0xD800 || code > 0xDBFF) return true;
    if (scan->end - scan->at < 6 || scan->at[0] != '\\' || scan->at[1] != 'u') return false;
    const int32_t low = lease__json_hex4(scan->at + 2, scan->end);
    scan->at += 6;
    return low >= 0xDC00 && low <= 0xDFFF;
}

/* One well-formed UTF-8 sequence of two to four bytes. */
static bool lease__json_scan_utf8(lease__json_scan *scan) {
    const unsigned char first = (unsigned char)*scan->at;
    const int length = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
    if (first < 0xC2 || first > 0xF4 || scan->end - scan->at < length) return false;
    for (int i = 1; i < length; i++) {
        if (((unsigned char)scan->at[i] & 0xC0) != 0x80) return false;
    }
    const unsigned char second = (unsigned char)scan->at[1];
    if (first == 0xE0 && second < 0xA0) return false;                    /* overlong */
    if (first == 0xED && second > 0x9F) return false;                    /* surrogate */
    if ((first == 0xF0 && second < 0x90) || (first == 0xF4 && second > 0x8F)) return false;
    scan->at += length;
    return true;
}

static bool lease__json_scan_string(lease__json_scan *scan) {
    if (!lease__json_next_is(scan, '"')) return false;
    scan->tokens++;
    while (scan->at < scan->end) {
        const unsigned char c = (unsigned char)*scan->at;
        if (c < 0x20) return false;
        if (c >= 0x80) {
            if (!lease__json_scan_utf8(scan)) return false;
            continue;
        }
        scan->at++;
        if (c == '"') return true;
        if (c == '\\' && !lease__json_scan_escape(scan)) return false;
    }
    return false;
}

static bool lease__json_scan_digits(lease__json_scan *scan) {
    const char *start = scan->at;
    while (scan->at < scan->end && *scan->at >= '0' && *scan->at <= '9') scan->at++;
    return scan->at > start;
}

static bool lease__json_scan_number(lease__json_scan *scan) {
    lease__json_next_is(scan, '-');
    if (!lease__json_next_is(scan, '0') && !lease__json_scan_digits(scan)) return false;
    if (lease__json_next_is(scan, '.') && !lease__json_scan_digits(scan)) return false;
    if (lease__json_next_is(scan, 'e') || lease__json_next_is(scan, 'E')) {
        if (!lease__json_next_is(scan, '+')) lease__json_next_is(scan, '-');
        return lease__json_scan_digits(scan);
    }
    return true;
}

static bool lease__json_scan_word(lease__json_scan *scan, const char *word) {
    const size_t length = strlen(word);
    if ((size_t)(scan->end - scan->at) < length) return false;
    if (memcmp(scan->at, word, length) != 0) return false;
    scan->at += length;
    return true;
}

static bool lease__json_scan_scalar(lease__json_scan *scan) {
    if (scan->at == scan->end) return false;
    if (*scan->at == '"') return lease__json_scan_string(scan);
    scan->tokens++;
    switch (*scan->at) {
    case 't': return lease__json_scan_word(scan, "true");
    case 'f': return lease__json_scan_word(scan, "false");
    case 'n': return lease__json_scan_word(scan, "null");
    default: return lease__json_scan_number(scan);
    }
}

static bool lease__json_scan_key(lease__json_scan *scan) {
    lease__json_space(scan);
    if (!lease__json_scan_string(scan)) return false;
    lease__json_space(scan);
    return lease__json_next_is(scan, ':');
}

static bool lease__json_in_object(const lease__json_scan *scan) {
    return scan->depth > 0 && (scan->in_object >> scan->depth & 1u) != 0;
}

/* Enters { or [. *empty says that it was closed at once. */
static bool lease__json_scan_open(lease__json_scan *scan, bool object, bool *empty) {
    if (scan->depth == LEASE_MAX_JSON_DEPTH) return false;
    scan->depth++;
    scan->tokens++;
    scan->in_object &= ~((uint32_t)1 << scan->depth);
    if (object) scan->in_object |= (uint32_t)1 << scan->depth;
    lease__json_space(scan);
    *empty = lease__json_next_is(scan, object ? '}' : ']');
    if (*empty) scan->depth--;
    return *empty || !object || lease__json_scan_key(scan);
}

/* Behind a value: closes what ends here; true with *more when another value follows. */
static bool lease__json_scan_close(lease__json_scan *scan, bool *more) {
    *more = false;
    while (scan->depth > 0) {
        lease__json_space(scan);
        if (lease__json_next_is(scan, ',')) {
            *more = true;
            return !lease__json_in_object(scan) || lease__json_scan_key(scan);
        }
        if (!lease__json_next_is(scan, lease__json_in_object(scan) ? '}' : ']')) return false;
        scan->depth--;
    }
    return true;
}

/* Exactly one JSON value, nothing behind it, within the limits. */
static bool lease__json_is_valid(const char *text, size_t length, int max_tokens) {
    lease__json_scan scan;
    bool more = true;
    memset(&scan, 0, sizeof scan);
    scan.at = text;
    scan.end = text + length;
    while (more) {
        bool empty = true;
        lease__json_space(&scan);
        if (lease__json_next_is(&scan, '{')) {
            if (!lease__json_scan_open(&scan, true, &empty)) return false;
        } else if (lease__json_next_is(&scan, '[')) {
            if (!lease__json_scan_open(&scan, false, &empty)) return false;
        } else if (!lease__json_scan_scalar(&scan)) {
            return false;
        }
        if (scan.tokens > max_tokens) return false;
        if (empty && !lease__json_scan_close(&scan, &more)) return false;
    }
    lease__json_space(&scan);
    return scan.at == scan.end;
}

/* -- Reading ---------------------------------------------------------------------------------- */

/* tokens must have room for max_tokens. The text is borrowed and must outlive *json. */
static bool lease__json_parse_within(lease__json *json, jsmntok_t *tokens, int max_tokens,
                                     const char *text, size_t length) {
    jsmn_parser parser;
    memset(json, 0, sizeof *json);
    json->text = text;
    json->tokens = tokens;
    if (length > INT32_MAX || !lease__json_is_valid(text, length, max_tokens)) return false;
    jsmn_init(&parser);
    json->count = jsmn_parse(&parser, text, length, tokens, (unsigned)max_tokens);
    return json->count > 0;
}

static bool lease__json_parse(lease__json *json, jsmntok_t *tokens, const char *text,
                              size_t length) {
    return lease__json_parse_within(json, tokens, LEASE_MAX_JSON_TOKENS, text, length);
}

/* The token behind a value and all that it contains. */
static int lease__json_after(const lease__json *json, int token) {
    const int end = json->tokens[token].end;
    int next = token + 1;
    while (next < json->count && json->tokens[next].start < end) next++;
    return next;
}

static bool lease__json_is(const lease__json *json, int token, jsmntype_t type) {
    return token >= 0 && json->tokens[token].type == type;
}

static bool lease__json_is_null(const lease__json *json, int token) {
    if (token < 0) return true;
    return json->tokens[token].type == JSMN_PRIMITIVE &&
           json->text[json->tokens[token].start] == 'n';
}

static bool lease__json_is_true(const lease__json *json, int token) {
    return lease__json_is(json, token, JSMN_PRIMITIVE) &&
           json->text[json->tokens[token].start] == 't';
}

/* A value as it stands in the text, strings with their quotes. */
static const char *lease__json_raw(const lease__json *json, int token, size_t *length) {
    const jsmntok_t *t = &json->tokens[token];
    const int quote = t->type == JSMN_STRING ? 1 : 0;
    *length = (size_t)(t->end - t->start + 2 * quote);
    return json->text + t->start - quote;
}

static size_t lease__utf8_encode(uint32_t code, char *out) {
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    const size_t length = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    for (size_t i = length - 1; i > 0; i--, code >>= 6) out[i] = (char)(0x80 | (code & 0x3F));
    out[0] = (char)((0xF00u >> length & 0xFFu) | code);
    return length;
}

/* Decodes one escape behind its backslash into at most four bytes; *at moves past it. */
static size_t lease__json_unescape(const char **at, char *out) {
    static const char from[] = "\"\\/bfnrt";
    static const char to[] = "\"\\/\b\f\n\r\t";
    const char kind = *(*at)++;
    if (kind != 'u') {
        out[0] = to[strchr(from, kind) - from];
        return 1;
    }
    uint32_t code = (uint32_t)lease__json_hex4(*at, *at + 4);
    *at += 4;
    if (code >= 0xD800 && code <= 0xDBFF) {
        const uint32_t low = (uint32_t)lease__json_hex4(*at + 2, *at + 6);
        code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
        *at += 6;
    }
    return lease__utf8_encode(code, out);
}

/* Decodes a string token into buf, which counts also what does not fit. */
static void lease__json_decode(const lease__json *json, int token, lease__buf *buf) {
    const char *at = json->text + json->tokens[token].start;
    const char *end = json->text + json->tokens[token].end;
    while (at < end) {
        const char *escape = (const char *)memchr(at, '\\', (size_t)(end - at));
        const char *plain_end = escape != NULL ? escape : end;
        lease__put_bytes(buf, at, (size_t)(plain_end - at));
        at = plain_end;
        if (escape != NULL) {
            char bytes[4];
            at++;
            const size_t count = lease__json_unescape(&at, bytes);
            lease__put_bytes(buf, bytes, count);
        }
    }
}

/* Most keys are told apart by their first character. A string in the text is never shorter than
 * what it says, and as long only without escapes. */
static bool lease__json_equals(const lease__json *json, int token, const char *text) {
    char decoded[256];
    if (!lease__json_is(json, token, JSMN_STRING)) return false;
    const char *raw = json->text + json->tokens[token].start;
    const size_t length = (size_t)(json->tokens[token].end - json->tokens[token].start);
    if (length > 0 && raw[0] != text[0] && raw[0] != '\\') return false;
    const size_t wanted = strlen(text);
    if (length <= wanted) return length == wanted && memcmp(raw, text, length) == 0;
    if (memchr(raw, '\\', length) == NULL) return false;
    lease__buf buf = lease__buf_make(decoded, sizeof decoded);
    lease__json_decode(json, token, &buf);
    return !lease__buf_full(&buf) && buf.length == wanted && lease__same(decoded, text);
}

/* The value of a member; LEASE__JSON_NONE when object is no object or has no such member. */
static int lease__json_get(lease__json *json, int object, const char *key) {
    int found = LEASE__JSON_NONE;
    if (!lease__json_is(json, object, JSMN_OBJECT)) return found;
    const int end = lease__json_after(json, object);
    for (int at = object + 1; at < end; at = lease__json_after(json, at + 1)) {
        if (!lease__json_equals(json, at, key)) continue;
        if (found != LEASE__JSON_NONE) json->duplicate = true;
        found = at + 1;
    }
    return found;
}

/* A string; null and absence are "". False when it is something else or does not fit. */
static bool lease__json_string(const lease__json *json, int token, char *out, size_t capacity) {
    out[0] = '\0';
    if (lease__json_is_null(json, token)) return true;
    if (!lease__json_is(json, token, JSMN_STRING)) return false;
    lease__buf buf = lease__buf_make(out, capacity);
    lease__json_decode(json, token, &buf);
    return !lease__buf_full(&buf);
}

/* A plain int32 (no fraction, no exponent), as the API wants it; null and absence are 0. */
static bool lease__json_int32(const lease__json *json, int token, int32_t *out) {
    *out = 0;
    if (lease__json_is_null(json, token)) return true;
    if (!lease__json_is(json, token, JSMN_PRIMITIVE)) return false;
    const char *at = json->text + json->tokens[token].start;
    const char *end = json->text + json->tokens[token].end;
    const bool negative = at < end && *at == '-';
    int64_t value = 0;
    for (at += negative ? 1 : 0; at < end; at++) {
        if (*at < '0' || *at > '9') return false;
        value = value * 10 + (*at - '0');
        if (value > (int64_t)INT32_MAX + 1) return false;
    }
    value = negative ? -value : value;
    if (value > INT32_MAX) return false;
    *out = (int32_t)value;
    return true;
}

/* -- Writing ---------------------------------------------------------------------------------- */

/* How many of the bytes at text stand for themselves in a string. */
static size_t lease__json_plain(const char *text) {
    size_t count = 0;
    while ((unsigned char)text[count] >= 0x20 && text[count] != '"' && text[count] != '\\') count++;
    return count;
}

/* A string with its quotes. Bytes of UTF-8 pass as they are. */
static void lease__put_quoted(lease__buf *buf, const char *text) {
    static const char hex[] = "0123456789abcdef";
    lease__put(buf, "\"");
    for (;;) {
        const size_t plain = lease__json_plain(text);
        lease__put_bytes(buf, text, plain);
        text += plain;
        const unsigned char c = (unsigned char)*text;
        if (c == '\0') break;
        if (c < 0x20) {
            lease__put(buf, "\\u00");
            lease__put_bytes(buf, hex + (c >> 4), 1);
            lease__put_bytes(buf, hex + (c & 15), 1);
        } else {
            lease__put(buf, "\\");
            lease__put_bytes(buf, text, 1);
        }
        text++;
    }
    lease__put(buf, "\"");
}

/* "key": with a comma before it unless it is the first member. */
static void lease__put_key(lease__buf *buf, const char *key) {
    const char last = buf->length == 0 || lease__buf_full(buf) ? '{' : buf->data[buf->length - 1];
    if (last != '{') lease__put(buf, ",");
    lease__put_quoted(buf, key);
    lease__put(buf, ":");
}

/* =================================================================================================
 * >>yaml -- YAML as JSON over libyaml, when LEASE_YAML is defined
 * =================================================================================================
 * May use: >>json. One document of plain data becomes JSON text, so that everything behind it
 * knows one form only. Anchors and aliases are refused: no kubeconfig needs them, and they are how
 * a small file grows large. So are tags, keys that are no scalars, and a second document. */
#if LEASE__YAML

typedef struct lease__yaml {
    lease__buf *out;
    uint32_t in_mapping; /* bit d: depth d is a mapping, else a sequence */
    size_t children[LEASE_MAX_JSON_DEPTH + 1]; /* of the collections that are open */
    int depth;
    int documents;
    const char *problem; /* what is refused, though it is YAML */
} lease__yaml;

static bool lease__yaml_in_mapping(const lease__yaml *yaml) {
    return (yaml->in_mapping >> yaml->depth & 1u) != 0;
}

static bool lease__yaml_at_key(const lease__yaml *yaml) {
    return lease__yaml_in_mapping(yaml) && yaml->children[yaml->depth] % 2 == 0;
}

/* What stands between this value and the one before it. */
static void lease__yaml_separate(lease__yaml *yaml) {
    const size_t before = yaml->children[yaml->depth]++;
    if (yaml->depth == 0 || before == 0) return;
    lease__put(yaml->out, lease__yaml_in_mapping(yaml) && before % 2 == 1 ? ":" : ",");
}

static bool lease__yaml_is_one_of(const char *text, const char *const *words) {
    for (; *words != NULL; words++) {
        if (lease__same(text, *words)) return true;
    }
    return false;
}

/* YAML 1.1, as kubectl reads it: an unquoted scalar may be null or a boolean. Numbers stay text,
 * for a kubeconfig has none. */
static const char *lease__yaml_literal(const char *text) {
    static const char *const nulls[] = {"", "~", "null", "Null", "NULL", NULL};
    static const char *const trues[] = {"true", "True", "TRUE", "yes", "Yes",
                                        "YES",  "on",   "On",   "ON",  NULL};
    static const char *const falses[] = {"false", "False", "FALSE", "no",  "No",
                                         "NO",    "off",   "Off",   "OFF", NULL};
    if (lease__yaml_is_one_of(text, nulls)) return "null";
    if (lease__yaml_is_one_of(text, trues)) return "true";
    return lease__yaml_is_one_of(text, falses) ? "false" : NULL;
}

static void lease__yaml_scalar(lease__yaml *yaml, const yaml_event_t *event) {
    const char *text = (const char *)event->data.scalar.value;
    const bool plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    const bool key = lease__yaml_at_key(yaml);
    const char *literal = plain && !key ? lease__yaml_literal(text) : NULL;
    if (strlen(text) != event->data.scalar.length) yaml->problem = "a NUL character";
    lease__yaml_separate(yaml);
    if (literal != NULL) {
        lease__put(yaml->out, literal);
    } else {
        lease__put_quoted(yaml->out, text);
    }
}

static void lease__yaml_open(lease__yaml *yaml, bool mapping) {
    if (lease__yaml_at_key(yaml)) yaml->problem = "a key that is no scalar";
    if (yaml->depth == LEASE_MAX_JSON_DEPTH) yaml->problem = "too deep a nest";
    if (yaml->problem != NULL) return;
    lease__yaml_separate(yaml);
    lease__put(yaml->out, mapping ? "{" : "[");
    yaml->depth++;
    yaml->children[yaml->depth] = 0;
    yaml->in_mapping &= ~((uint32_t)1 << yaml->depth);
    if (mapping) yaml->in_mapping |= (uint32_t)1 << yaml->depth;
}

static void lease__yaml_close(lease__yaml *yaml, bool mapping) {
    lease__put(yaml->out, mapping ? "}" : "]");
    yaml->depth--;
}

static void lease__yaml_take(lease__yaml *yaml, const yaml_event_t *event) {
    switch (event->type) {
    case YAML_DOCUMENT_START_EVENT:
        if (++yaml->documents > 1) yaml->problem = "a second document";
        break;
    case YAML_ALIAS_EVENT: yaml->problem = "an alias"; break;
    case YAML_SCALAR_EVENT:
        if (event->data.scalar.anchor != NULL) yaml->problem = "an anchor";
        if (event->data.scalar.tag != NULL) yaml->problem = "a tag";
        lease__yaml_scalar(yaml, event);
        break;
    case YAML_SEQUENCE_START_EVENT:
        if (event->data.sequence_start.anchor != NULL) yaml->problem = "an anchor";
        if (event->data.sequence_start.tag != NULL) yaml->problem = "a tag";
        lease__yaml_open(yaml, false);
        break;
    case YAML_MAPPING_START_EVENT:
        if (event->data.mapping_start.anchor != NULL) yaml->problem = "an anchor";
        if (event->data.mapping_start.tag != NULL) yaml->problem = "a tag";
        lease__yaml_open(yaml, true);
        break;
    case YAML_SEQUENCE_END_EVENT: lease__yaml_close(yaml, false); break;
    case YAML_MAPPING_END_EVENT: lease__yaml_close(yaml, true); break;
    case YAML_NO_EVENT:
    case YAML_STREAM_START_EVENT:
    case YAML_STREAM_END_EVENT:
    case YAML_DOCUMENT_END_EVENT: break;
    }
}

/* The events of the whole text; *line is where the trouble is, from 1. */
static bool lease__yaml_read(yaml_parser_t *parser, lease__yaml *yaml, size_t *line) {
    bool more = true;
    while (more) {
        yaml_event_t event;
        if (yaml_parser_parse(parser, &event) == 0) {
            yaml->problem = parser->problem != NULL ? parser->problem : "no memory";
            *line = parser->problem_mark.line + 1;
            return false;
        }
        *line = event.start_mark.line + 1;
        more = event.type != YAML_STREAM_END_EVENT;
        lease__yaml_take(yaml, &event);
        if (lease__buf_full(yaml->out)) yaml->problem = "too much of it";
        yaml_event_delete(&event);
        if (yaml->problem != NULL) return false;
    }
    return true;
}

/* False with a problem that shows nothing of the text. An empty document is an empty text. */
static bool lease__yaml_to_json(const char *text, size_t length, lease__buf *out,
                                const char **problem, size_t *line) {
    yaml_parser_t parser;
    lease__yaml yaml;
    memset(&yaml, 0, sizeof yaml);
    yaml.out = out;
    *line = 0;
    if (yaml_parser_initialize(&parser) == 0) {
        *problem = "no memory";
        return false;
    }
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, length);
    const bool read = lease__yaml_read(&parser, &yaml, line);
    *problem = yaml.problem; /* a text of libyaml's own, not of the parser's memory */
    yaml_parser_delete(&parser);
    return read;
}
#endif

/* =================================================================================================
 * >>http -- one answer read over llhttp, within limits
 * =================================================================================================
 * May use: >>base. llhttp checks the syntax and has no limits; those are here, and so is everything
 * that it lets pass and that would make an answer ambiguous: Content-Length beside
 * Transfer-Encoding, a coding that we did not ask for, a body that ends with the connection, bytes
 * behind the answer. None of llhttp's lenient flags is ever set. */

typedef struct lease__http {
    llhttp_t parser;
    llhttp_settings_t settings;
    char *body; /* LEASE_MAX_BODY bytes and one for the terminator; borrowed */
    size_t body_length;
    size_t raw_bytes;
    size_t header_bytes;
    size_t header_count;
    int interim_count;
    int32_t code; /* of the answer; 0 until its headers are complete */
    int32_t retry_after_ms;
    bool complete;
    bool keep_alive;
    char name[32]; /* of the header being read, cut: only short ones matter */
    char value[32];
    size_t name_length;
    size_t value_length;
    lease_status status; /* what is wrong with it, and in words */
    const char *problem;
} lease__http;

static int lease__http_refuse(lease__http *http, lease_status status, const char *problem) {
    if (http->status == LEASE_OK) {
        http->status = status;
        http->problem = problem;
    }
    return HPE_USER;
}

static int lease__http_count(lease__http *http, size_t bytes) {
    http->header_bytes += bytes;
    if (http->header_bytes <= LEASE_MAX_HEADER_BYTES) return 0;
    return lease__http_refuse(http, LEASE_TOO_LARGE, "the answer's headers exceed 16 KiB");
}

static void lease__http_append(char *text, size_t capacity, size_t *length, const char *at,
                               size_t count, bool lower) {
    for (size_t i = 0; i < count && *length < capacity - 1; i++, (*length)++) {
        const bool upper = lower && at[i] >= 'A' && at[i] <= 'Z';
        text[*length] = upper ? (char)(at[i] - 'A' + 'a') : at[i];
    }
    text[*length] = '\0';
}

static int lease__http_on_status(llhttp_t *parser, const char *at, size_t count) {
    (void)at;
    return lease__http_count((lease__http *)parser->data, count);
}

static int lease__http_on_name(llhttp_t *parser, const char *at, size_t count) {
    lease__http *http = (lease__http *)parser->data;
    lease__http_append(http->name, sizeof http->name, &http->name_length, at, count, true);
    return lease__http_count(http, count);
}

static int lease__http_on_value(llhttp_t *parser, const char *at, size_t count) {
    lease__http *http = (lease__http *)parser->data;
    lease__http_append(http->value, sizeof http->value, &http->value_length, at, count, true);
    return lease__http_count(http, count);
}

/* Seconds; a date is not understood and counts as absent, an absurd value is cut to an hour. */
static int32_t lease__http_retry_after(const char *value) {
    int32_t seconds = 0;
    for (; *value >= '0' && *value <= '9'; value++) {
        seconds = seconds * 10 + (*value - '0');
        if (seconds > 3600) return 3600 * 1000;
    }
    return *value == '\0' ? seconds * 1000 : 0;
}

static int lease__http_on_value_complete(llhttp_t *parser) {
    lease__http *http = (lease__http *)parser->data;
    if (http->name_length == 0) {
        return lease__http_refuse(http, LEASE_HTTP, "a header without a name in the answer");
    }
    http->name_length = 0;
    http->value_length = 0;
    if (++http->header_count > LEASE_MAX_HEADERS) {
        return lease__http_refuse(http, LEASE_TOO_LARGE, "the answer has over 100 headers");
    }
    if (lease__same(http->name, "retry-after")) {
        http->retry_after_ms = lease__http_retry_after(http->value);
    } else if (lease__same(http->name, "transfer-encoding") &&
               !lease__same(http->value, "chunked")) {
        return lease__http_refuse(http, LEASE_HTTP, "unknown Transfer-Encoding in the answer");
    } else if (lease__same(http->name, "content-encoding") &&
               !lease__same(http->value, "identity")) {
        return lease__http_refuse(http, LEASE_HTTP, "the answer is compressed, unasked");
    }
    http->value[0] = '\0'; /* an empty value brings no bytes to overwrite the last one */
    return 0;
}

static int lease__http_on_headers_complete(llhttp_t *parser) {
    lease__http *http = (lease__http *)parser->data;
    const bool chunked = (parser->flags & F_CHUNKED) != 0;
    const bool counted = (parser->flags & F_CONTENT_LENGTH) != 0;
    const int32_t code = parser->status_code;
    const bool bodyless = code < 200 || code == 204 || code == 304;
    if (parser->http_major != 1) {
        return lease__http_refuse(http, LEASE_HTTP, "the answer is not HTTP/1.1");
    }
    if (code < 100 || code > 599 || code == 101) {
        return lease__http_refuse(http, LEASE_HTTP, "the answer's status code has no meaning");
    }
    if (chunked && counted) {
        return lease__http_refuse(http, LEASE_HTTP,
                                  "Content-Length beside Transfer-Encoding in the answer");
    }
    if (!chunked && !counted && !bodyless) {
        return lease__http_refuse(http, LEASE_HTTP, "the answer does not tell its length");
    }
    if (counted && parser->content_length > LEASE_MAX_BODY) {
        return lease__http_refuse(http, LEASE_TOO_LARGE, "the answer's body exceeds 64 KiB");
    }
    http->code = code;
    return 0;
}

static int lease__http_on_body(llhttp_t *parser, const char *at, size_t count) {
    lease__http *http = (lease__http *)parser->data;
    if (count > LEASE_MAX_BODY - http->body_length) {
        return lease__http_refuse(http, LEASE_TOO_LARGE, "the answer's body exceeds 64 KiB");
    }
    memcpy(http->body + http->body_length, at, count);
    http->body_length += count;
    return 0;
}

/* An interim answer is passed over; behind the real one the parser is stopped, so that the caller
 * sees whether bytes follow. */
static int lease__http_on_complete(llhttp_t *parser) {
    lease__http *http = (lease__http *)parser->data;
    if (http->code < 200) {
        http->code = 0;
        if (++http->interim_count <= LEASE_MAX_INTERIM) return 0;
        return lease__http_refuse(http, LEASE_HTTP, "too many interim answers");
    }
    http->complete = true;
    http->keep_alive = llhttp_should_keep_alive(parser) != 0;
    http->body[http->body_length] = '\0';
    return HPE_PAUSED;
}

static void lease__http_init(lease__http *http, char *body) {
    memset(http, 0, sizeof *http);
    http->body = body;
    llhttp_settings_init(&http->settings);
    http->settings.on_status = lease__http_on_status;
    http->settings.on_header_field = lease__http_on_name;
    http->settings.on_header_value = lease__http_on_value;
    http->settings.on_header_value_complete = lease__http_on_value_complete;
    http->settings.on_headers_complete = lease__http_on_headers_complete;
    http->settings.on_body = lease__http_on_body;
    http->settings.on_message_complete = lease__http_on_complete;
    llhttp_init(&http->parser, HTTP_RESPONSE, &http->settings);
    http->parser.data = http;
}

/* Takes bytes of the answer. Anything but LEASE_OK ends the connection. */
static lease_status lease__http_feed(lease__http *http, const char *bytes, size_t count,
                                     lease_error *error) {
    http->raw_bytes += count;
    if (http->raw_bytes > LEASE_MAX_RAW) {
        lease__http_refuse(http, LEASE_TOO_LARGE, "the answer exceeds 128 KiB with its framing");
    } else if (http->complete) {
        lease__http_refuse(http, LEASE_HTTP, "bytes follow the answer");
    } else {
        const llhttp_errno_t result = llhttp_execute(&http->parser, bytes, count);
        if (result == HPE_PAUSED && http->complete) {
            if (llhttp_get_error_pos(&http->parser) != bytes + count) {
                lease__http_refuse(http, LEASE_HTTP, "bytes follow the answer");
            }
        } else if (result != HPE_OK && http->status == LEASE_OK) {
            const char *reason = llhttp_get_error_reason(&http->parser);
            lease__http_refuse(http, LEASE_HTTP, reason != NULL ? reason : "malformed answer");
        }
    }
    if (http->status == LEASE_OK) return LEASE_OK;
    return lease__fail(error, http->status, LEASE_STAGE_EXCHANGE, lease_status_text(http->status),
                       ": ", http->problem, LEASE__END);
}

/* =================================================================================================
 * >>net -- name resolution and the non-blocking TCP connection
 * =================================================================================================
 * May use: >>base, >>time. getaddrinfo blocks for as long as it likes, so a name is resolved on a
 * thread of its own that nobody waits for: it is polled like a socket, and abandoned when time is
 * up. An IP address, which is what a pod is given, takes none of this. */

/* The bytes of an IP address; 0 when text is a name. */
static size_t lease__ip_bytes(const char *text, unsigned char *bytes) {
    if (inet_pton(AF_INET, text, bytes) == 1) return 4;
    if (inet_pton(AF_INET6, text, bytes) == 1) return 16;
    return 0;
}

#if LEASE__TLS
typedef struct lease__addresses {
    struct sockaddr_storage list[LEASE_MAX_ADDRESSES];
    socklen_t lengths[LEASE_MAX_ADDRESSES];
    size_t count;
} lease__addresses;

static bool lease__addresses_from_ip(lease__addresses *found, const char *host, uint16_t port) {
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    memset(found, 0, sizeof *found);
    memset(&v4, 0, sizeof v4);
    memset(&v6, 0, sizeof v6);
    if (inet_pton(AF_INET, host, &v4.sin_addr) == 1) {
        v4.sin_family = AF_INET;
        v4.sin_port = htons(port);
        memcpy(&found->list[0], &v4, sizeof v4);
        found->lengths[0] = sizeof v4;
    } else if (inet_pton(AF_INET6, host, &v6.sin6_addr) == 1) {
        v6.sin6_family = AF_INET6;
        v6.sin6_port = htons(port);
        memcpy(&found->list[0], &v6, sizeof v6);
        found->lengths[0] = sizeof v6;
    } else {
        return false;
    }
    found->count = 1;
    return true;
}

#if LEASE__DNS
/* Shared by the asking side and the thread; who lets go last frees it. */
typedef struct lease__lookup {
    int references;
    int done_fd; /* closed by the thread when it is done: the other end of the pipe sees the end */
    bool done;   /* atomic: what was found stands before it, since a pipe orders no memory */
    uint16_t port;
    char host[LEASE_MAX_HOST + 1];
    int failure; /* getaddrinfo's */
    lease__addresses found;
} lease__lookup;

static void lease__lookup_drop(lease__lookup *lookup) {
    if (__atomic_sub_fetch(&lookup->references, 1, __ATOMIC_ACQ_REL) == 0) LEASE_FREE(lookup);
}

static void lease__lookup_now(lease__lookup *lookup) {
    struct addrinfo hints;
    struct addrinfo *all = NULL;
    char port[8];
    lease__buf buf = lease__buf_make(port, sizeof port);
    lease__put_u64(&buf, lookup->port);
    memset(&hints, 0, sizeof hints);
    hints.ai_socktype = SOCK_STREAM;
    lookup->failure = getaddrinfo(lookup->host, port, &hints, &all);
    if (lookup->failure != 0) return;
    for (struct addrinfo *one = all; one != NULL; one = one->ai_next) {
        const size_t at = lookup->found.count;
        if (at == LEASE_MAX_ADDRESSES || one->ai_addrlen > sizeof lookup->found.list[0]) continue;
        memcpy(&lookup->found.list[at], one->ai_addr, one->ai_addrlen);
        lookup->found.lengths[at] = one->ai_addrlen;
        lookup->found.count++;
    }
    freeaddrinfo(all);
}

static void *lease__lookup_thread(void *argument) {
    lease__lookup *lookup = (lease__lookup *)argument;
    lease__lookup_now(lookup);
    lease__atomic_store(&lookup->done, true);
    close(lookup->done_fd);
    lease__lookup_drop(lookup);
    return NULL;
}

/* Without threads the lookup is done on the spot, and blocks. */
static bool lease__lookup_spawn(lease__lookup *lookup) {
#if LEASE__THREADS
    pthread_t thread;
    sigset_t all;
    sigset_t before;
    sigfillset(&all); /* the host's signals are not for this thread */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    const int failed = pthread_create(&thread, NULL, lease__lookup_thread, lookup);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed == 0) pthread_detach(thread);
    return failed == 0;
#else
    lease__lookup_thread(lookup);
    return true;
#endif
}
#endif

typedef enum lease__net_state {
    LEASE__NET_CLOSED,
    LEASE__NET_RESOLVING, /* fd is the pipe of the lookup */
    LEASE__NET_CONNECTING,
    LEASE__NET_CONNECTED
} lease__net_state;

typedef struct lease__net {
    lease__net_state state;
    int fd;
    const char *host; /* borrowed */
    uint16_t port;
    lease__addresses addresses;
    size_t next_address;
#if LEASE__DNS
    lease__lookup *lookup;
#endif
} lease__net;

static void lease__net_close(lease__net *net) {
#if LEASE__DNS
    if (net->lookup != NULL) lease__lookup_drop(net->lookup);
    net->lookup = NULL;
#endif
    if (net->state != LEASE__NET_CLOSED) close(net->fd);
    net->state = LEASE__NET_CLOSED;
    net->fd = -1;
}

#if LEASE__DNS
static lease_status lease__net_resolve(lease__net *net, const char *host, uint16_t port,
                                       lease_error *error) {
    int ends[2];
    lease__lookup *lookup = (lease__lookup *)LEASE_CALLOC(1, sizeof *lookup);
    if (lookup == NULL || !lease__copy(lookup->host, sizeof lookup->host, host)) {
        if (lookup != NULL) LEASE_FREE(lookup);
        return lease__fail(error, LEASE_NO_MEMORY, LEASE_STAGE_CONNECT, "resolving ", host,
                           LEASE__END);
    }
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) {
        LEASE_FREE(lookup);
        return lease__fail_errno(error, LEASE_SYSTEM, LEASE_STAGE_CONNECT, "pipe for ", host);
    }
    lookup->references = 2;
    lookup->done_fd = ends[1];
    lookup->port = port;
    net->lookup = lookup;
    net->fd = ends[0];
    net->state = LEASE__NET_RESOLVING;
    if (lease__lookup_spawn(lookup)) return LEASE_OK;
    close(ends[1]);
    lease__lookup_drop(lookup); /* the thread's share */
    lease__net_close(net);
    return lease__fail(error, LEASE_SYSTEM, LEASE_STAGE_CONNECT, "no thread to resolve ", host,
                       LEASE__END);
}
#endif

/* Starts to connect to the next address that a socket can be made for. */
static lease_status lease__net_connect_next(lease__net *net, lease_error *error) {
    while (net->next_address < net->addresses.count) {
        const size_t at = net->next_address++;
        const struct sockaddr *address = (const struct sockaddr *)&net->addresses.list[at];
        const int fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0) continue;
        const int on = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        if (connect(fd, address, net->addresses.lengths[at]) == 0 || errno == EINPROGRESS) {
            net->fd = fd;
            net->state = LEASE__NET_CONNECTING;
            return LEASE_OK;
        }
        const int code = errno;
        close(fd);
        errno = code;
    }
    const int code = errno;
    char port[8];
    lease__buf buf = lease__buf_make(port, sizeof port);
    lease__put_u64(&buf, net->port);
    lease__fail(error, LEASE_CONNECT, LEASE_STAGE_CONNECT, "cannot connect to ", net->host,
                " port ", port, ": ", strerror(code), LEASE__END);
    if (error != NULL) error->sys_errno = code;
    return LEASE_CONNECT;
}

static lease_status lease__net_open(lease__net *net, const char *host, uint16_t port,
                                    lease_error *error) {
    memset(net, 0, sizeof *net);
    net->fd = -1;
    net->host = host;
    net->port = port;
    if (lease__addresses_from_ip(&net->addresses, host, port)) {
        return lease__net_connect_next(net, error);
    }
#if LEASE__DNS
    return lease__net_resolve(net, host, port, error);
#else
    return lease__fail(error, LEASE_RESOLVE, LEASE_STAGE_CONNECT, host,
                       " is a name, and this build (LEASE_NO_DNS) knows IP addresses only",
                       LEASE__END);
#endif
}

#if LEASE__DNS
static lease_status lease__net_resolved(lease__net *net, lease_error *error) {
    lease__lookup *lookup = net->lookup;
    char byte;
    if (read(net->fd, &byte, 1) < 0 || !lease__atomic_load(&lookup->done)) {
        return LEASE_OK; /* not yet */
    }
    net->addresses = lookup->found;
    net->lookup = NULL;
    close(net->fd);
    net->fd = -1;
    net->state = LEASE__NET_CLOSED;
    lease_status status = LEASE_RESOLVE;
    if (net->addresses.count > 0) {
        status = lease__net_connect_next(net, error);
    } else {
        const char *why = lookup->failure != 0 ? gai_strerror(lookup->failure) : "no address";
        lease__fail(error, status, LEASE_STAGE_CONNECT, "cannot resolve ", lookup->host, ": ",
                    why, LEASE__END);
    }
    lease__lookup_drop(lookup);
    return status;
}
#endif

static lease_status lease__net_connected(lease__net *net, lease_error *error) {
    struct pollfd poller;
    int code = 0;
    socklen_t length = sizeof code;
    poller.fd = net->fd;
    poller.events = POLLOUT;
    poller.revents = 0;
    if (poll(&poller, 1, 0) <= 0) return LEASE_OK; /* not yet */
    if (getsockopt(net->fd, SOL_SOCKET, SO_ERROR, &code, &length) != 0) code = errno;
    if (code == 0) {
        net->state = LEASE__NET_CONNECTED;
        return LEASE_OK;
    }
    close(net->fd);
    net->fd = -1;
    net->state = LEASE__NET_CLOSED;
    errno = code;
    return lease__net_connect_next(net, error);
}

/* Moves on as far as it can without waiting. *want is what to poll for, 0 once connected. */
static lease_status lease__net_advance(lease__net *net, int32_t *want, lease_error *error) {
    lease_status status = LEASE_OK;
#if LEASE__DNS
    if (net->state == LEASE__NET_RESOLVING) status = lease__net_resolved(net, error);
#endif
    if (status == LEASE_OK && net->state == LEASE__NET_CONNECTING) {
        status = lease__net_connected(net, error);
    }
    *want = net->state == LEASE__NET_CONNECTED   ? 0
            : net->state == LEASE__NET_RESOLVING ? LEASE_IO_WANT_READ
                                                 : LEASE_IO_WANT_WRITE;
    return status;
}
#endif /* LEASE__TLS */

/* =================================================================================================
 * >>tls -- mbedTLS: trust, name check, handshake; the built-in transport
 * =================================================================================================
 * May use: >>base, >>net. The built-in transport is sockets and mbedTLS behind the table that any
 * other transport fills. Each connection parses its own trust, so a CA or certificate that
 * Kubernetes has rotated on disk counts from the next connection on; what does not parse leaves
 * the last good one.
 *
 * Names: mbedTLS before 3.5 knows no IP addresses in certificates, later ones also match an address
 * against DNS entries and send it as SNI, which makes kube-apiserver pick the wrong certificate.
 * So an IP address gets no SNI and is compared here, byte for byte, on every version; a DNS name
 * is left to mbedTLS, but a certificate without alternative names is refused. No byte of a request
 * leaves before. */

/* What is trusted and shown. PEM from a file that is read again, or inline data. */
typedef struct lease__pem {
    char file[LEASE_MAX_PATH + 1]; /* "" = inline */
    char *data;                    /* the last good content, terminated; NULL = none */
    size_t length;
} lease__pem;

typedef struct lease__trust {
    char name[LEASE_MAX_HOST + 1]; /* DNS or IP, that the certificate must be valid for */
    bool insecure;
    lease__pem ca;
    lease__pem cert;
    lease__pem key;
} lease__trust;

static bool lease__pem_is_set(const lease__pem *pem) {
    return pem->file[0] != '\0' || pem->data != NULL;
}

static void lease__pem_free(lease__pem *pem) {
    if (pem->data == NULL) return;
    lease__wipe(pem->data, pem->length);
    LEASE_FREE(pem->data);
    pem->data = NULL;
    pem->length = 0;
}

static void lease__trust_free(lease__trust *trust) {
    lease__pem_free(&trust->ca);
    lease__pem_free(&trust->cert);
    lease__pem_free(&trust->key);
}

#if LEASE__TLS
/* Takes a copy of text as the content. */
static bool lease__pem_set(lease__pem *pem, const char *text, size_t length) {
    char *copy = (char *)LEASE_CALLOC(1, length + 1);
    if (copy == NULL) return false;
    memcpy(copy, text, length);
    lease__pem_free(pem);
    pem->data = copy;
    pem->length = length;
    return true;
}

/* Reads the file, if it is one, into a new block that the caller checks, keeps or frees. */
static lease_status lease__pem_read(const lease__pem *pem, char **text, size_t *length,
                                    lease_status status, lease_error *error) {
    *text = NULL;
    char *block = (char *)LEASE_CALLOC(1, LEASE_MAX_PEM);
    if (block == NULL) {
        return lease__fail(error, LEASE_NO_MEMORY, LEASE_STAGE_CONFIG, pem->file, LEASE__END);
    }
    const lease_status result =
        lease__read_file(pem->file, block, LEASE_MAX_PEM, length, status, error);
    if (result == LEASE_OK) {
        *text = block;
    } else {
        LEASE_FREE(block);
    }
    return result;
}

#if MBEDTLS_VERSION_NUMBER >= 0x03000000
#define LEASE__MBEDTLS3 1
#else
#define LEASE__MBEDTLS3 0
#endif

#define LEASE__READ_AHEAD 2048 /* one recv takes a whole answer, not a record's first five bytes */

typedef struct lease__secure {
    lease__net net;
    lease__trust *trust;
    bool set_up;
    bool open; /* the handshake is done and the peer is the one we asked for */
    int io_errno;
    size_t ahead_at;
    size_t ahead_count;
    unsigned char ahead[LEASE__READ_AHEAD];
    mbedtls_ssl_context ssl;
    mbedtls_ssl_config config;
    mbedtls_x509_crt ca;
    mbedtls_x509_crt cert;
    mbedtls_pk_context key;
} lease__secure;

static int lease__tls_random(void *context, unsigned char *bytes, size_t count) {
    (void)context;
    return lease__random_bytes(bytes, count) ? 0 : MBEDTLS_ERR_SSL_INTERNAL_ERROR;
}

/* AES-128-GCM first: mbedTLS would put ChaCha20 first, which costs a third more where AES has
 * instructions, and every API server has AES-GCM. */
static const int *lease__tls_suites(void) {
    static const int suites[] = {
#if LEASE__MBEDTLS3
        MBEDTLS_TLS1_3_AES_128_GCM_SHA256,
        MBEDTLS_TLS1_3_AES_256_GCM_SHA384,
        MBEDTLS_TLS1_3_CHACHA20_POLY1305_SHA256,
#endif
        MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
        MBEDTLS_TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        MBEDTLS_TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        MBEDTLS_TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        MBEDTLS_TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
        0};
    return suites;
}

/* P-256 first, for its speed. mbedTLS 3.6 offers RSA-PSS for TLS 1.3 and then refuses it in 1.2, so
 * PKCS 1.5 must stand before it: a server with an RSA certificate that speaks 1.2 only takes the
 * first. */
static void lease__tls_conf_algorithms(mbedtls_ssl_config *config) {
    mbedtls_ssl_conf_ciphersuites(config, lease__tls_suites());
#if LEASE__MBEDTLS3
    static const uint16_t groups[] = {
        MBEDTLS_SSL_IANA_TLS_GROUP_SECP256R1, MBEDTLS_SSL_IANA_TLS_GROUP_SECP384R1,
#if defined(MBEDTLS_ECP_DP_CURVE25519_ENABLED)
        MBEDTLS_SSL_IANA_TLS_GROUP_X25519,
#endif
        MBEDTLS_SSL_IANA_TLS_GROUP_NONE};
    static const uint16_t signatures[] = {
        MBEDTLS_TLS1_3_SIG_ECDSA_SECP256R1_SHA256, MBEDTLS_TLS1_3_SIG_ECDSA_SECP384R1_SHA384,
        MBEDTLS_TLS1_3_SIG_RSA_PKCS1_SHA256,       MBEDTLS_TLS1_3_SIG_RSA_PKCS1_SHA384,
#if defined(MBEDTLS_X509_RSASSA_PSS_SUPPORT)
        MBEDTLS_TLS1_3_SIG_RSA_PSS_RSAE_SHA256,    MBEDTLS_TLS1_3_SIG_RSA_PSS_RSAE_SHA384,
#endif
        MBEDTLS_TLS1_3_SIG_NONE};
    mbedtls_ssl_conf_groups(config, groups);
    mbedtls_ssl_conf_sig_algs(config, signatures);
#else
    static const mbedtls_ecp_group_id curves[] = {MBEDTLS_ECP_DP_SECP256R1,
                                                  MBEDTLS_ECP_DP_SECP384R1,
                                                  MBEDTLS_ECP_DP_NONE};
    mbedtls_ssl_conf_curves(config, curves);
#endif
}

static void lease__tls_conf_version(mbedtls_ssl_config *config) {
#if LEASE__MBEDTLS3
    mbedtls_ssl_conf_min_tls_version(config, MBEDTLS_SSL_VERSION_TLS1_2);
#else
    mbedtls_ssl_conf_min_version(config, MBEDTLS_SSL_MAJOR_VERSION_3, MBEDTLS_SSL_MINOR_VERSION_3);
#endif
#if defined(MBEDTLS_SSL_RENEGOTIATION)
    mbedtls_ssl_conf_renegotiation(config, MBEDTLS_SSL_RENEGOTIATION_DISABLED);
#endif
#if defined(MBEDTLS_SSL_SESSION_TICKETS)
    /* A resumed session would skip the check of the certificate. */
    mbedtls_ssl_conf_session_tickets(config, MBEDTLS_SSL_SESSION_TICKETS_DISABLED);
#endif
}

/* -- Trust ------------------------------------------------------------------------------------ */

static lease_status lease__tls_fail(lease_error *error, lease_status status, lease_stage stage,
                                    int code, const char *what, const char *which) {
    char digits[16];
    lease__buf buf = lease__buf_make(digits, sizeof digits);
    lease__put(&buf, "-0x");
    for (int shift = 12; shift >= 0; shift -= 4) {
        lease__put_bytes(&buf, &"0123456789ABCDEF"[(unsigned)-code >> shift & 15u], 1);
    }
    lease__fail(error, status, stage, what, which, " (mbedTLS ", digits, ")", LEASE__END);
    if (error != NULL) error->tls_code = code;
    return status;
}

/* A bundle with some certificates that mbedTLS cannot parse is used with those that it can. */
static int lease__tls_parse_ca(mbedtls_x509_crt *ca, const char *text, size_t length) {
    const int result = mbedtls_x509_crt_parse(ca, (const unsigned char *)text, length + 1);
    if (result > 0 && ca->raw.p != NULL) return 0;
    return result > 0 ? MBEDTLS_ERR_X509_CERT_UNKNOWN_FORMAT : result;
}

static int lease__tls_parse_key(mbedtls_pk_context *key, const char *text, size_t length) {
#if LEASE__MBEDTLS3
    return mbedtls_pk_parse_key(key, (const unsigned char *)text, length + 1, NULL, 0,
                                lease__tls_random, NULL);
#else
    return mbedtls_pk_parse_key(key, (const unsigned char *)text, length + 1, NULL, 0);
#endif
}

static int lease__tls_check_pair(const mbedtls_x509_crt *cert, const mbedtls_pk_context *key) {
#if LEASE__MBEDTLS3
    return mbedtls_pk_check_pair(&cert->pk, key, lease__tls_random, NULL);
#else
    return mbedtls_pk_check_pair(&cert->pk, key);
#endif
}

/* Parses what the file holds now, else what it held when it was last good. */
static lease_status lease__tls_load_ca(lease__secure *secure, lease__pem *pem, lease_error *error) {
    char *text = NULL;
    size_t length = 0;
    int result = MBEDTLS_ERR_X509_CERT_UNKNOWN_FORMAT;
    lease_status status = LEASE_BAD_CA;
    if (pem->file[0] != '\0') {
        status = lease__pem_read(pem, &text, &length, LEASE_BAD_CA, error);
        if (text != NULL) result = lease__tls_parse_ca(&secure->ca, text, length);
        if (result == 0 && !lease__pem_set(pem, text, length)) {
            result = MBEDTLS_ERR_X509_ALLOC_FAILED;
        }
        if (text != NULL) LEASE_FREE(text);
        if (result == 0) return LEASE_OK;
        if (status == LEASE_OK) {
            lease__tls_fail(error, LEASE_BAD_CA, LEASE_STAGE_CONFIG, result,
                            "no usable CA certificate in ", pem->file);
        }
    }
    if (pem->data == NULL && pem->file[0] == '\0') {
        lease__fail(error, LEASE_BAD_CA, LEASE_STAGE_CONFIG,
                    "no CA: set lease_client_desc.ca_file or certificate-authority", LEASE__END);
    }
    if (pem->data == NULL) return LEASE_BAD_CA;
    mbedtls_x509_crt_free(&secure->ca);
    mbedtls_x509_crt_init(&secure->ca);
    result = lease__tls_parse_ca(&secure->ca, pem->data, pem->length);
    if (result == 0) return LEASE_OK;
    return lease__tls_fail(error, LEASE_BAD_CA, LEASE_STAGE_CONFIG, result,
                           "no usable CA certificate in ", "certificate-authority-data");
}

static int lease__tls_try_identity(lease__secure *secure, const char *cert, size_t cert_length,
                                   const char *key, size_t key_length) {
    mbedtls_x509_crt_free(&secure->cert);
    mbedtls_x509_crt_init(&secure->cert);
    mbedtls_pk_free(&secure->key);
    mbedtls_pk_init(&secure->key);
    int result = mbedtls_x509_crt_parse(&secure->cert, (const unsigned char *)cert,
                                        cert_length + 1);
    if (result == 0) result = lease__tls_parse_key(&secure->key, key, key_length);
    if (result == 0) result = lease__tls_check_pair(&secure->cert, &secure->key);
    return result;
}

/* Certificate and key are replaced together: in the middle of a rotation they do not match yet. */
static lease_status lease__tls_load_identity(lease__secure *secure, lease__trust *trust,
                                             lease_error *error) {
    const bool files = trust->cert.file[0] != '\0';
    char *cert = NULL;
    char *key = NULL;
    size_t cert_length = 0;
    size_t key_length = 0;
    int result = MBEDTLS_ERR_X509_CERT_UNKNOWN_FORMAT;
    if (!files && trust->cert.data == NULL) return LEASE_OK;
    if (files) {
        lease_status status =
            lease__pem_read(&trust->cert, &cert, &cert_length, LEASE_BAD_CLIENT_CERT, error);
        if (status == LEASE_OK) {
            status = lease__pem_read(&trust->key, &key, &key_length, LEASE_BAD_CLIENT_CERT, error);
        }
        if (status == LEASE_OK) {
            result = lease__tls_try_identity(secure, cert, cert_length, key, key_length);
        }
        if (status == LEASE_OK && result != 0) {
            lease__tls_fail(error, LEASE_BAD_CLIENT_CERT, LEASE_STAGE_CONFIG, result,
                            "no usable certificate and key in ", trust->cert.file);
        }
        if (result == 0 && (!lease__pem_set(&trust->cert, cert, cert_length) ||
                            !lease__pem_set(&trust->key, key, key_length))) {
            result = MBEDTLS_ERR_X509_ALLOC_FAILED;
        }
        if (cert != NULL) LEASE_FREE(cert);
        if (key != NULL) lease__wipe(key, key_length);
        if (key != NULL) LEASE_FREE(key);
        if (result == 0) return LEASE_OK;
    }
    if (trust->cert.data == NULL || trust->key.data == NULL) return LEASE_BAD_CLIENT_CERT;
    result = lease__tls_try_identity(secure, trust->cert.data, trust->cert.length, trust->key.data,
                                     trust->key.length);
    if (result == 0) return LEASE_OK;
    return lease__tls_fail(error, LEASE_BAD_CLIENT_CERT, LEASE_STAGE_CONFIG, result,
                           "no usable certificate and key in ", "client-certificate-data");
}

/* -- The peer --------------------------------------------------------------------------------- */

static const char *lease__tls_flag_text(uint32_t flags) {
    if ((flags & MBEDTLS_X509_BADCERT_NOT_TRUSTED) != 0) return "it is not signed by the CA";
    if ((flags & MBEDTLS_X509_BADCERT_EXPIRED) != 0) return "it has expired";
    if ((flags & MBEDTLS_X509_BADCERT_FUTURE) != 0) return "it is not valid yet";
    if ((flags & MBEDTLS_X509_BADCERT_CN_MISMATCH) != 0) return "it is for another name";
    return "it does not meet the requirements";
}

static lease_status lease__tls_bad_peer(const lease__secure *secure, lease_error *error,
                                        const char *why) {
    return lease__fail(error, LEASE_CERTIFICATE, LEASE_STAGE_TLS, "the server's certificate for ",
                       secure->trust->name, ": ", why, LEASE__END);
}

/* RFC 5280 4.2.1.6: iPAddress is context tag 7 of a subject alternative name. */
static bool lease__tls_has_ip(const mbedtls_x509_crt *cert, const unsigned char *ip, size_t count) {
    const mbedtls_x509_sequence *name = &cert->subject_alt_names;
    for (; name != NULL; name = name->next) {
        if (name->buf.p != NULL && (name->buf.tag & 0x1F) == 7 && name->buf.len == count &&
            memcmp(name->buf.p, ip, count) == 0) {
            return true;
        }
    }
    return false;
}

static lease_status lease__tls_check_peer(const lease__secure *secure, lease_error *error) {
    unsigned char ip[16];
    if (secure->trust->insecure) return LEASE_OK;
    const uint32_t flags = mbedtls_ssl_get_verify_result(&secure->ssl);
    if (flags != 0) return lease__tls_bad_peer(secure, error, lease__tls_flag_text(flags));
    const mbedtls_x509_crt *cert = mbedtls_ssl_get_peer_cert(&secure->ssl);
    if (cert == NULL) return lease__tls_bad_peer(secure, error, "there is none");
    if (cert->subject_alt_names.buf.p == NULL) {
        return lease__tls_bad_peer(secure, error, "it has no subject alternative name");
    }
    const size_t count = lease__ip_bytes(secure->trust->name, ip);
    if (count == 0 || lease__tls_has_ip(cert, ip, count)) return LEASE_OK;
    return lease__tls_bad_peer(secure, error, "it is not valid for this IP address");
}

/* -- Bytes ------------------------------------------------------------------------------------ */

/* mbedTLS asks for a record's header and body apart; reading ahead makes that one system call. */
static int lease__tls_receive(void *context, unsigned char *bytes, size_t capacity) {
    lease__secure *secure = (lease__secure *)context;
    if (secure->ahead_at == secure->ahead_count) {
        ssize_t got;
        do {
            got = recv(secure->net.fd, secure->ahead, sizeof secure->ahead, 0);
        } while (got < 0 && errno == EINTR);
        if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return MBEDTLS_ERR_SSL_WANT_READ;
        if (got < 0) secure->io_errno = errno;
        if (got <= 0) return got == 0 ? 0 : MBEDTLS_ERR_NET_CONN_RESET;
        secure->ahead_at = 0;
        secure->ahead_count = (size_t)got;
    }
    const size_t left = secure->ahead_count - secure->ahead_at;
    const size_t count = left < capacity ? left : capacity;
    memcpy(bytes, secure->ahead + secure->ahead_at, count);
    secure->ahead_at += count;
    return (int)count;
}

/* MSG_NOSIGNAL: a broken connection must not end the host program. */
static int lease__tls_send(void *context, const unsigned char *bytes, size_t count) {
    lease__secure *secure = (lease__secure *)context;
    ssize_t sent;
    do {
        sent = send(secure->net.fd, bytes, count, MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    if (sent >= 0) return (int)sent;
    if (errno == EAGAIN || errno == EWOULDBLOCK) return MBEDTLS_ERR_SSL_WANT_WRITE;
    secure->io_errno = errno;
    return MBEDTLS_ERR_NET_CONN_RESET;
}

static lease_status lease__tls_set_up(lease__secure *secure, lease_error *error) {
    static const char *protocols[] = {"http/1.1", NULL};
    lease__trust *trust = secure->trust;
    lease_status status = LEASE_OK;
    if (!trust->insecure) status = lease__tls_load_ca(secure, &trust->ca, error);
    if (status == LEASE_OK) status = lease__tls_load_identity(secure, trust, error);
    if (status != LEASE_OK) return status;
    mbedtls_ssl_config *config = &secure->config;
    int result = mbedtls_ssl_config_defaults(config, MBEDTLS_SSL_IS_CLIENT,
                                             MBEDTLS_SSL_TRANSPORT_STREAM,
                                             MBEDTLS_SSL_PRESET_DEFAULT);
    lease__tls_conf_version(config);
    lease__tls_conf_algorithms(config);
    mbedtls_ssl_conf_rng(config, lease__tls_random, NULL);
    mbedtls_ssl_conf_ca_chain(config, &secure->ca, NULL);
    mbedtls_ssl_conf_authmode(config, trust->insecure ? MBEDTLS_SSL_VERIFY_OPTIONAL
                                                      : MBEDTLS_SSL_VERIFY_REQUIRED);
    if (result == 0) result = mbedtls_ssl_conf_alpn_protocols(config, protocols);
    if (result == 0 && secure->cert.raw.p != NULL) {
        result = mbedtls_ssl_conf_own_cert(config, &secure->cert, &secure->key);
    }
    if (result == 0) result = mbedtls_ssl_setup(&secure->ssl, config);
    unsigned char ip[16];
    const bool no_name = trust->insecure || lease__ip_bytes(trust->name, ip) != 0;
    if (result == 0) result = mbedtls_ssl_set_hostname(&secure->ssl, no_name ? NULL : trust->name);
    if (result != 0) {
        return lease__tls_fail(error, LEASE_TLS, LEASE_STAGE_TLS, result, "cannot set up TLS", "");
    }
    mbedtls_ssl_set_bio(&secure->ssl, secure, lease__tls_send, lease__tls_receive, NULL);
    secure->set_up = true;
    return LEASE_OK;
}

/* What a failed mbedTLS call means to the caller. Returns LEASE_IO_CLOSED or LEASE_IO_FAILED. */
static int32_t lease__tls_failed(lease__secure *secure, int code, lease_error *error) {
    const bool ended = code == 0 || code == MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY ||
                       code == MBEDTLS_ERR_SSL_CONN_EOF;
    const lease_stage stage = secure->open ? LEASE_STAGE_EXCHANGE : LEASE_STAGE_TLS;
    if (ended && secure->open) return LEASE_IO_CLOSED;
    if (ended || code == MBEDTLS_ERR_NET_CONN_RESET) {
        errno = secure->io_errno != 0 ? secure->io_errno : ECONNRESET;
        lease__fail_errno(error, LEASE_CLOSED, stage,
                          secure->open ? "the connection broke" : "the TLS handshake broke off",
                          "");
    } else if (code == MBEDTLS_ERR_X509_CERT_VERIFY_FAILED) {
        const uint32_t flags = mbedtls_ssl_get_verify_result(&secure->ssl);
        lease__tls_bad_peer(secure, error, lease__tls_flag_text(flags));
        if (error != NULL) error->tls_code = code;
    } else if (code == MBEDTLS_ERR_SSL_INVALID_RECORD && !secure->open) {
        lease__tls_fail(error, LEASE_TLS, stage, code, "the server does not speak TLS", "");
    } else {
        lease__tls_fail(error, LEASE_TLS, stage, code,
                        secure->open ? "the TLS session failed" : "the TLS handshake failed", "");
    }
    return LEASE_IO_FAILED;
}

static bool lease__tls_is_again(int code) {
#if defined(MBEDTLS_ERR_SSL_RECEIVED_NEW_SESSION_TICKET)
    if (code == MBEDTLS_ERR_SSL_RECEIVED_NEW_SESSION_TICKET) return true;
#endif
    return code == MBEDTLS_ERR_SSL_WANT_READ;
}

/* Connects, shakes hands, checks the peer: 0 once the connection is open, else what to wait for. */
static int32_t lease__tls_advance(lease__secure *secure, lease_error *error) {
    int32_t want = 0;
    if (secure->open) return 0;
    if (lease__net_advance(&secure->net, &want, error) != LEASE_OK) return LEASE_IO_FAILED;
    if (want != 0) return want;
    if (!secure->set_up && lease__tls_set_up(secure, error) != LEASE_OK) return LEASE_IO_FAILED;
    const int result = mbedtls_ssl_handshake(&secure->ssl);
    if (lease__tls_is_again(result)) return LEASE_IO_WANT_READ;
    if (result == MBEDTLS_ERR_SSL_WANT_WRITE) return LEASE_IO_WANT_WRITE;
    if (result != 0) return lease__tls_failed(secure, result, error);
    if (lease__tls_check_peer(secure, error) != LEASE_OK) return LEASE_IO_FAILED;
    secure->open = true;
    return 0;
}

/* -- The table -------------------------------------------------------------------------------- */

static void lease__secure_close(void *connection) {
    lease__secure *secure = (lease__secure *)connection;
    if (secure->open) mbedtls_ssl_close_notify(&secure->ssl);
    mbedtls_ssl_free(&secure->ssl);
    mbedtls_ssl_config_free(&secure->config);
    mbedtls_x509_crt_free(&secure->ca);
    mbedtls_x509_crt_free(&secure->cert);
    mbedtls_pk_free(&secure->key);
    lease__net_close(&secure->net);
    LEASE_FREE(secure);
}

static lease__secure *lease__secure_make(lease__trust *trust, lease_error *error) {
    lease__secure *secure = (lease__secure *)LEASE_CALLOC(1, sizeof *secure);
    if (secure == NULL) {
        lease__fail(error, LEASE_NO_MEMORY, LEASE_STAGE_CONNECT, "a connection", LEASE__END);
        return NULL;
    }
    secure->trust = trust;
    secure->net.fd = -1;
    mbedtls_ssl_init(&secure->ssl);
    mbedtls_ssl_config_init(&secure->config);
    mbedtls_x509_crt_init(&secure->ca);
    mbedtls_x509_crt_init(&secure->cert);
    mbedtls_pk_init(&secure->key);
    return secure;
}

static lease_status lease__secure_open(void *context, const char *host, uint16_t port,
                                       void **connection, lease_error *error) {
    lease__secure *secure = lease__secure_make((lease__trust *)context, error);
    *connection = NULL;
    if (secure == NULL) return LEASE_NO_MEMORY;
    const lease_status status = lease__net_open(&secure->net, host, port, error);
    if (status != LEASE_OK) {
        lease__secure_close(secure);
        return status;
    }
    *connection = secure;
    return LEASE_OK;
}

static int32_t lease__secure_send(void *connection, const void *bytes, size_t count,
                                  lease_error *error) {
    lease__secure *secure = (lease__secure *)connection;
    const int32_t want = lease__tls_advance(secure, error);
    if (want != 0) return want;
    const int sent = mbedtls_ssl_write(&secure->ssl, (const unsigned char *)bytes, count);
    if (sent > 0) return sent;
    if (lease__tls_is_again(sent)) return LEASE_IO_WANT_READ;
    if (sent == MBEDTLS_ERR_SSL_WANT_WRITE) return LEASE_IO_WANT_WRITE;
    return lease__tls_failed(secure, sent, error);
}

static int32_t lease__secure_recv(void *connection, void *bytes, size_t capacity,
                                  lease_error *error) {
    lease__secure *secure = (lease__secure *)connection;
    const int32_t want = lease__tls_advance(secure, error);
    if (want != 0) return want;
    const int got = mbedtls_ssl_read(&secure->ssl, (unsigned char *)bytes, capacity);
    if (got > 0) return got;
    if (got == MBEDTLS_ERR_SSL_WANT_WRITE) return LEASE_IO_WANT_WRITE;
    if (lease__tls_is_again(got)) return LEASE_IO_WANT_READ;
    return lease__tls_failed(secure, got, error);
}

static int lease__secure_fd(void *connection) { return ((lease__secure *)connection)->net.fd; }

static lease_transport lease__secure_transport(lease__trust *trust) {
    lease_transport transport;
    memset(&transport, 0, sizeof transport);
    transport.context = trust;
    transport.verified_peer = !trust->insecure;
    transport.open = lease__secure_open;
    transport.send = lease__secure_send;
    transport.recv = lease__secure_recv;
    transport.close = lease__secure_close;
    transport.fd = lease__secure_fd;
    return transport;
}

/* Before any traffic: does what is configured parse? */
static lease_status lease__tls_check_trust(lease__trust *trust, lease_error *error) {
#if LEASE__MBEDTLS3 && defined(MBEDTLS_PSA_CRYPTO_C)
    if (psa_crypto_init() != PSA_SUCCESS) {
        return lease__fail(error, LEASE_NO_RANDOM, LEASE_STAGE_CONFIG, "psa_crypto_init failed",
                           LEASE__END);
    }
#endif
    lease__secure *probe = lease__secure_make(trust, error);
    if (probe == NULL) return LEASE_NO_MEMORY;
    const lease_status status = lease__tls_set_up(probe, error);
    lease__secure_close(probe);
    return status;
}
#endif /* LEASE__TLS */

/* =================================================================================================
 * >>link -- one kept connection and the exchange on it
 * =================================================================================================
 * May use: >>http, and any transport through its table. A request is sent, its answer read, and
 * nothing else; what does not fit that picture ends the connection. */

/* One connection and the exchange on it: a request is sent, its answer read, and nothing else. */
typedef struct lease__link {
    lease_transport transport;
    char host[LEASE_MAX_HOST + 1]; /* to connect to */
    uint16_t port;
    void *connection; /* NULL = none */
    uint64_t opened;  /* connections, so far */
    bool busy;
    bool reused; /* it has carried an exchange before: the server may have closed it meanwhile */
    bool resent;
    bool touched; /* bytes of this request were handed over: the server may act on it */
    int32_t want;
    size_t out_length;
    size_t out_sent;
    lease__http http;
    char out[LEASE_MAX_REQUEST];
    char body[LEASE_MAX_BODY + 1];
} lease__link;

static void lease__link_close(lease__link *link) {
    if (link->connection != NULL) link->transport.close(link->connection);
    link->connection = NULL;
    link->reused = false;
}

static void lease__link_rewind(lease__link *link) {
    link->out_sent = 0;
    link->want = LEASE_IO_WANT_WRITE;
    lease__http_init(&link->http, link->body);
}

static lease_status lease__link_open(lease__link *link, lease_error *error) {
    if (link->connection != NULL) return LEASE_OK;
    link->opened++;
    return link->transport.open(link->transport.context, link->host, link->port,
                                &link->connection, error);
}

static lease_status lease__link_closed(lease_error *error) {
    return lease__fail(error, LEASE_CLOSED, LEASE_STAGE_EXCHANGE, lease_status_text(LEASE_CLOSED),
                       LEASE__END);
}

/* The way an io result leads: true = wait, else *status says what became of the exchange. A kept
 * connection that ends before a byte of the answer is the server's idle limit: once, the request
 * goes out again on a new one. The copy cannot harm, for it carries uid and version. */
static bool lease__link_broke(lease__link *link, int32_t result, lease_status *status,
                              lease_error *error) {
    if (result == LEASE_IO_WANT_READ || result == LEASE_IO_WANT_WRITE) {
        link->want = result;
        return true;
    }
    *status = result == LEASE_IO_FAILED && error->status != LEASE_OK ? error->status
                                                                     : lease__link_closed(error);
    const bool stale = link->reused && !link->resent && link->http.raw_bytes == 0;
    lease__link_close(link);
    if (!stale || *status != LEASE_CLOSED) return false;
    link->resent = true;
    lease__link_rewind(link);
    *status = lease__link_open(link, error);
    return *status == LEASE_OK;
}

/* Goes on as far as it can without waiting. True when the exchange has ended with *status; LEASE_OK
 * means that a complete answer stands in link.http. */
static bool lease__link_turn(lease__link *link, lease_status *status, lease_error *error) {
    char bytes[4096];
    memset(error, 0, sizeof *error);
    while (link->out_sent < link->out_length) {
        const int32_t sent =
            link->transport.send(link->connection, link->out + link->out_sent,
                                 link->out_length - link->out_sent, error);
        if (sent <= 0) return !lease__link_broke(link, sent, status, error);
        link->touched = true;
        link->out_sent += (size_t)sent;
        link->want = LEASE_IO_WANT_READ;
        if (link->out_sent == link->out_length) return false; /* no answer can be here yet */
    }
    while (!link->http.complete) {
        const int32_t got = link->transport.recv(link->connection, bytes, sizeof bytes, error);
        if (got <= 0) return !lease__link_broke(link, got, status, error);
        *status = lease__http_feed(&link->http, bytes, (size_t)got, error);
        if (*status != LEASE_OK) {
            lease__link_close(link);
            return true;
        }
    }
    link->reused = true;
    if (!link->http.keep_alive) lease__link_close(link);
    *status = LEASE_OK;
    return true;
}

/* On an idle connection only its end may come. Bytes would be taken for the answer to the next
 * request. */
static void lease__link_idle(lease__link *link) {
    lease_error error;
    char byte;
    const int32_t got = link->transport.recv(link->connection, &byte, 1, &error);
    if (got != LEASE_IO_WANT_READ && got != LEASE_IO_WANT_WRITE) lease__link_close(link);
}

/* =================================================================================================
 * >>credentials -- names, bearer tokens, server URLs, the pod's service account
 * =================================================================================================
 * May use: >>tls, >>time. Where the server is, whom we trust and who we are. All of it is checked
 * before any traffic, and each fault names its field or file. */

/* -- Names ------------------------------------------------------------------------------------ */

static bool lease__is_alnum(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }

static bool lease__is_label_char(char c) {
    return lease__is_alnum(c) || (c >= 'A' && c <= 'Z');
}

/* DNS-1123: labels of a-z, 0-9 and - that begin and end with a letter or digit. What passes here
 * can stand in a URL as it is. */
static bool lease__is_dns_name(const char *text, size_t limit, bool dots) {
    const size_t length = strlen(text);
    if (length == 0 || length > limit) return false;
    for (size_t i = 0; i < length; i++) {
        if (lease__is_alnum(text[i])) continue;
        if (text[i] != '-' && !(text[i] == '.' && dots)) return false;
        if (i == 0 || i == length - 1) return false;
        if (text[i] == '.' && (!lease__is_alnum(text[i - 1]) || !lease__is_alnum(text[i + 1]))) {
            return false;
        }
    }
    return true;
}

/* apimachinery validation.go: a qualified name's last part, and a label value when it may be
 * empty. */
static bool lease__is_label_word(const char *text, size_t length, bool may_be_empty) {
    if (length == 0) return may_be_empty;
    if (length > 63) return false;
    if (!lease__is_label_char(text[0]) || !lease__is_label_char(text[length - 1])) return false;
    for (size_t i = 0; i < length; i++) {
        if (!lease__is_label_char(text[i]) && strchr("-_.", text[i]) == NULL) return false;
    }
    return true;
}

/* The next key=value of a label list; false at its end. */
static bool lease__label_next(const char **at, const char **key, size_t *key_length,
                              const char **value, size_t *value_length) {
    if (**at == '\0') return false;
    *key = *at;
    *key_length = strcspn(*at, "=,");
    *at += *key_length;
    if (**at == '=') (*at)++;
    *value = *at;
    *value_length = strcspn(*at, ",");
    *at += *value_length;
    if (**at == ',') (*at)++;
    return true;
}

/* Has the key stood before itself in the list? */
static bool lease__label_stands(const char *labels, const char *key, size_t length) {
    const char *at = labels;
    const char *other;
    const char *value;
    size_t other_length;
    size_t value_length;
    while (lease__label_next(&at, &other, &other_length, &value, &value_length) && other < key) {
        if (other_length == length && memcmp(other, key, length) == 0) return true;
    }
    return false;
}

static bool lease__are_labels(const char *labels) {
    const char *at = labels;
    const char *key;
    const char *value;
    size_t key_length;
    size_t value_length;
    while (lease__label_next(&at, &key, &key_length, &value, &value_length)) {
        const char *slash = (const char *)memchr(key, '/', key_length);
        const size_t prefix = slash == NULL ? 0 : (size_t)(slash - key);
        char domain[LEASE_MAX_NAME + 1] = "";
        if (key[key_length] != '=' || prefix > LEASE_MAX_NAME) return false;
        if (lease__label_stands(labels, key, key_length)) return false;
        memcpy(domain, key, prefix);
        if (slash != NULL && !lease__is_dns_name(domain, LEASE_MAX_NAME, true)) return false;
        const size_t word = slash == NULL ? 0 : prefix + 1;
        if (!lease__is_label_word(key + word, key_length - word, false)) return false;
        if (!lease__is_label_word(value, value_length, true)) return false;
    }
    return at == labels || at[-1] != ',';
}

/* -- Credentials ------------------------------------------------------------------------------ */

#define LEASE__TOKEN_AGE_MS 50000 /* client-go re-reads a token file after a minute less 10 s */

typedef struct lease__credentials {
    char host[LEASE_MAX_HOST + 1]; /* to connect to */
    uint16_t port;
    char host_header[LEASE_MAX_HOST + 16];
    char prefix[LEASE_MAX_PATH + 1]; /* of every path, "" or "/k8s/clusters/a" */
    char ns[LEASE_MAX_NAMESPACE + 1];
    char token_file[LEASE_MAX_PATH + 1];
    char token[LEASE_MAX_TOKEN + 1];
    int64_t token_read_ms;
    lease__trust trust;
} lease__credentials;

static bool lease__is_token(const char *text, size_t length) {
    if (length == 0) return false;
    for (size_t i = 0; i < length; i++) {
        if (!lease__is_label_char(text[i]) && strchr("._~+/=-", text[i]) == NULL) return false;
    }
    return true;
}

/* Takes the token without the white space that editors and echo leave behind it. */
static lease_status lease__token_set(lease__credentials *creds, const char *text, size_t length,
                                     bool *changed, lease_error *error) {
    while (length > 0 && strchr(" \t\r\n", text[length - 1]) != NULL) length--;
    if (length > LEASE_MAX_TOKEN || !lease__is_token(text, length)) {
        const char *where = creds->token_file[0] != '\0' ? creds->token_file : "the kubeconfig";
        return lease__fail(error, LEASE_BAD_TOKEN, LEASE_STAGE_CONFIG, "the token in ", where,
                           " is empty, too long or not a bearer token", LEASE__END);
    }
    *changed = strlen(creds->token) != length || memcmp(creds->token, text, length) != 0;
    memcpy(creds->token, text, length);
    creds->token[length] = '\0';
    return LEASE_OK;
}

/* Reads the file again; a bad file leaves the token as it was. */
static lease_status lease__token_read(lease__credentials *creds, lease__boot now, bool *changed,
                                      lease_error *error) {
    char text[LEASE_MAX_TOKEN + 64];
    size_t length = 0;
    *changed = false;
    if (creds->token_file[0] == '\0') return LEASE_OK;
    creds->token_read_ms = now.ms;
    lease_status status = lease__read_file(creds->token_file, text, sizeof text, &length,
                                           LEASE_BAD_TOKEN, error);
    if (status == LEASE_OK) status = lease__token_set(creds, text, length, changed, error);
    lease__wipe(text, length != 0 ? length : sizeof text); /* a refused file may hold one too */
    return status;
}

static bool lease__token_is_old(const lease__credentials *creds, lease__boot now) {
    return creds->token_file[0] != '\0' && now.ms - creds->token_read_ms >= LEASE__TOKEN_AGE_MS;
}

static lease_status lease__bad_server(lease_error *error, const char *url) {
    return lease__fail(error, LEASE_BAD_SERVER, LEASE_STAGE_CONFIG, url, ": ",
                       lease_status_text(LEASE_BAD_SERVER), LEASE__END);
}

static bool lease__is_host(const char *host) {
    unsigned char ip[16];
    if (lease__ip_bytes(host, ip) != 0) return true;
    for (const char *p = host; *p != '\0'; p++) {
        if (!lease__is_label_char(*p) && *p != '-' && *p != '.') return false;
    }
    return host[0] != '\0';
}

static void lease__set_host_header(lease__credentials *creds) {
    lease__buf buf = lease__buf_make(creds->host_header, sizeof creds->host_header);
    const bool v6 = strchr(creds->host, ':') != NULL;
    lease__put(&buf, v6 ? "[" : "");
    lease__put(&buf, creds->host);
    lease__put(&buf, v6 ? "]:" : ":");
    lease__put_u64(&buf, creds->port);
}

/* Takes the authority of a URL apart: HOST[:PORT] or [V6][:PORT]. */
static bool lease__set_authority(lease__credentials *creds, const char *text, size_t length) {
    const bool v6 = length > 0 && text[0] == '[';
    const char *end = text + length;
    const char *host = v6 ? text + 1 : text;
    const char *host_end = (const char *)memchr(host, v6 ? ']' : ':', (size_t)(end - host));
    if (host_end == NULL) host_end = end;
    const char *port = v6 && host_end < end ? host_end + 1 : host_end;
    const size_t host_length = (size_t)(host_end - host);
    if (host_length >= sizeof creds->host || (v6 && host_end == end)) return false;
    memcpy(creds->host, host, host_length);
    creds->host[host_length] = '\0';
    creds->port = 443;
    if (port < end) {
        char digits[6] = "";
        const size_t count = (size_t)(end - port) - 1;
        if (*port != ':' || count == 0 || count >= sizeof digits) return false;
        memcpy(digits, port + 1, count);
        const uint64_t value = lease__parse_u64(digits);
        if (value == 0 || value > 65535) return false;
        creds->port = (uint16_t)value;
    }
    return lease__is_host(creds->host) && v6 == (strchr(creds->host, ':') != NULL);
}

/* https://HOST[:PORT][/PATH]. Plain http is refused: the token would travel in the clear. */
static lease_status lease__set_server(lease__credentials *creds, const char *url,
                                      lease_error *error) {
    if (!lease__starts_with(url, "https://")) return lease__bad_server(error, url);
    const char *authority = url + 8;
    const size_t length = strcspn(authority, "/?#");
    if (memchr(authority, '@', length) != NULL) { /* it may hold a password: not shown */
        return lease__fail(error, LEASE_BAD_SERVER, LEASE_STAGE_CONFIG,
                           "the server's URL names a user; it is https://HOST[:PORT][/PATH] only",
                           LEASE__END);
    }
    if (!lease__set_authority(creds, authority, length)) return lease__bad_server(error, url);
    const char *path = authority + length;
    if (!lease__copy(creds->prefix, sizeof creds->prefix, path)) {
        return lease__bad_server(error, url);
    }
    for (const char *p = creds->prefix; *p != '\0'; p++) {
        if (!lease__is_label_char(*p) && strchr("/-_.~", *p) == NULL) {
            return lease__bad_server(error, url);
        }
    }
    size_t end = strlen(creds->prefix);
    while (end > 0 && creds->prefix[end - 1] == '/') creds->prefix[--end] = '\0';
    lease__set_host_header(creds);
    if (creds->trust.name[0] == '\0') {
        lease__copy(creds->trust.name, sizeof creds->trust.name, creds->host);
    }
    return LEASE_OK;
}

static lease_status lease__set_path(char *out, size_t capacity, const char *directory,
                                    const char *path, lease_error *error) {
    lease__buf buf = lease__buf_make(out, capacity);
    if (path[0] != '/' && directory[0] != '\0') {
        lease__put(&buf, directory);
        lease__put(&buf, "/");
    }
    lease__put(&buf, path);
    if (!lease__buf_full(&buf)) return LEASE_OK;
    return lease__fail(error, LEASE_BAD_ARGUMENT, LEASE_STAGE_CONFIG, "a path is too long: ", path,
                       LEASE__END);
}

/* -- Credentials in a pod --------------------------------------------------------------------- */

#define LEASE__SERVICE_ACCOUNT "/var/run/secrets/kubernetes.io/serviceaccount"

/* The namespace file of a service account; absence is no error, a desc may name the namespace. */
static void lease__read_namespace(lease__credentials *creds, const char *directory) {
    char path[LEASE_MAX_PATH + 1];
    char text[256];
    size_t length = 0;
    if (lease__set_path(path, sizeof path, directory, "namespace", NULL) != LEASE_OK) return;
    if (lease__read_file(path, text, sizeof text, &length, LEASE_BAD_NAMESPACE, NULL) != LEASE_OK) {
        return;
    }
    while (length > 0 && strchr(" \r\n", text[length - 1]) != NULL) text[--length] = '\0';
    if (!lease__is_dns_name(text, LEASE_MAX_NAMESPACE, false)) return;
    lease__copy(creds->ns, sizeof creds->ns, text);
}

/* client-go rest/config.go: InClusterConfig; but a missing CA is an error, never the system's
 * roots. */
static lease_status lease__use_service_account(lease__credentials *creds, const char *directory,
                                               lease_error *error) {
    lease_status status = lease__set_path(creds->token_file, sizeof creds->token_file, directory,
                                          "token", error);
    if (status == LEASE_OK) {
        status = lease__set_path(creds->trust.ca.file, sizeof creds->trust.ca.file, directory,
                                 "ca.crt", error);
    }
    lease__read_namespace(creds, directory);
    return status;
}

static lease_status lease__use_pod_server(lease__credentials *creds, const char *host,
                                          const char *port, lease_error *error) {
    char url[LEASE_MAX_HOST + 32];
    lease__buf buf = lease__buf_make(url, sizeof url);
    const bool v6 = strchr(host, ':') != NULL;
    lease__put(&buf, v6 ? "https://[" : "https://");
    lease__put(&buf, host);
    lease__put(&buf, v6 ? "]:" : ":");
    lease__put(&buf, port);
    if (lease__buf_full(&buf) || strchr(host, '/') != NULL ||
        port[strspn(port, "0123456789")] != '\0') {
        return lease__bad_server(error, "KUBERNETES_SERVICE_HOST, KUBERNETES_SERVICE_PORT");
    }
    return lease__set_server(creds, url, error);
}

/* =================================================================================================
 * >>kubeconfig -- kubectl's files, and the choice among all sources of credentials
 * =================================================================================================
 * May use: >>json, >>yaml, >>tls, >>credentials. client-go tools/clientcmd: KUBECONFIG may list
 * several files; the first that has a name wins, and a path is relative to the file that it stands
 * in. */

typedef struct lease__kubefile {
    char path[LEASE_MAX_PATH + 1];
    char *text; /* wiped before it is freed: it may hold a token or a key */
    size_t length;
    jsmntok_t *tokens;
    lease__json json;
} lease__kubefile;

/* A member of one of the files. */
typedef struct lease__kubevalue {
    lease__kubefile *file;
    int token;
} lease__kubevalue;

typedef struct lease__kubeconfig {
    lease__kubefile files[LEASE_MAX_KUBECONFIGS];
    size_t count;
    lease__kubevalue context;
    lease__kubevalue cluster;
    lease__kubevalue user;
} lease__kubeconfig;

static lease_status lease__bad_kubeconfig(const char *path, lease_error *error, const char *what,
                                          const char *which) {
    return lease__fail(error, LEASE_BAD_KUBECONFIG, LEASE_STAGE_CONFIG, path, ": ", what, which,
                       LEASE__END);
}

static lease_status lease__kubeconfig_no_memory(const char *path, lease_error *error) {
    return lease__fail(error, LEASE_NO_MEMORY, LEASE_STAGE_CONFIG, path, LEASE__END);
}

/* -- One file --------------------------------------------------------------------------------- */

static void lease__kubefile_drop_text(lease__kubefile *file) {
    if (file->text != NULL) lease__wipe(file->text, file->length);
    LEASE_FREE(file->text);
    file->text = NULL;
}

static void lease__kubefile_free(lease__kubefile *file) {
    lease__kubefile_drop_text(file);
    LEASE_FREE(file->tokens);
}

#if LEASE__YAML
/* Quotes and braces make JSON longer than YAML; three times as long is more than any kubeconfig
 * needs. */
static lease_status lease__kubefile_from_yaml(lease__kubefile *file, lease_error *error) {
    const size_t capacity = 3 * file->length + 64;
    char *json = (char *)LEASE_CALLOC(1, capacity);
    char where[48];
    const char *problem = NULL;
    size_t line = 0;
    if (json == NULL) return lease__kubeconfig_no_memory(file->path, error);
    lease__buf out = lease__buf_make(json, capacity);
    const bool read = lease__yaml_to_json(file->text, file->length, &out, &problem, &line);
    lease__kubefile_drop_text(file);
    file->text = json;
    file->length = read ? out.length : capacity;
    if (read) return LEASE_OK;
    lease__buf buf = lease__buf_make(where, sizeof where);
    lease__put(&buf, "line ");
    lease__put_u64(&buf, line);
    lease__put(&buf, " is not plain YAML: ");
    return lease__bad_kubeconfig(file->path, error, where, problem);
}
#else
static lease_status lease__kubefile_from_yaml(lease__kubefile *file, lease_error *error) {
    return lease__bad_kubeconfig(file->path, error,
                                 "is not JSON; make it so with: kubectl config view --raw "
                                 "--minify --flatten -o json",
                                 "");
}
#endif

static lease_status lease__kubefile_load(lease__kubefile *file, lease_error *error) {
    const int max_tokens = LEASE_MAX_KUBECONFIG_TOKENS;
    file->text = (char *)LEASE_CALLOC(1, LEASE_MAX_KUBECONFIG);
    file->tokens = (jsmntok_t *)LEASE_CALLOC((size_t)max_tokens, sizeof *file->tokens);
    if (file->text == NULL || file->tokens == NULL) {
        return lease__kubeconfig_no_memory(file->path, error);
    }
    lease_status status = lease__read_file(file->path, file->text, LEASE_MAX_KUBECONFIG,
                                           &file->length, LEASE_BAD_KUBECONFIG, error);
    if (status == LEASE_OK && file->text[strspn(file->text, " \t\r\n")] != '{') {
        status = lease__kubefile_from_yaml(file, error);
    }
    if (status != LEASE_OK) return status;
    if (!lease__json_parse_within(&file->json, file->tokens, max_tokens, file->text,
                                  file->length)) {
        return lease__bad_kubeconfig(file->path, error, "is not valid JSON within our limits", "");
    }
    return LEASE_OK;
}

/* -- Members ---------------------------------------------------------------------------------- */

static int lease__kube_get(lease__kubevalue object, const char *key) {
    return lease__json_get(&object.file->json, object.token, key);
}

/* A string member; absent is "". False when it is something else or does not fit. */
static bool lease__kube_string(lease__kubevalue object, const char *key, char *out,
                               size_t capacity) {
    return lease__json_string(&object.file->json, lease__kube_get(object, key), out, capacity);
}

/* A path that a file names is relative to the file's own folder. */
static lease_status lease__kube_path(lease__kubevalue object, const char *key, char *out,
                                     size_t capacity, lease_error *error) {
    char path[LEASE_MAX_PATH + 1];
    char directory[LEASE_MAX_PATH + 1];
    if (!lease__kube_string(object, key, path, sizeof path)) {
        return lease__bad_kubeconfig(object.file->path, error, key, " is not a path");
    }
    if (path[0] == '\0') return LEASE_OK;
    lease__copy(directory, sizeof directory, object.file->path);
    char *slash = strrchr(directory, '/');
    if (slash != NULL) *slash = '\0';
    return lease__set_path(out, capacity, slash != NULL ? directory : "", path, error);
}

/* KEY names a file, KEY-data holds it in base64 and wins. */
static lease_status lease__kube_pem(lease__kubevalue object, const char *key, lease__pem *pem,
                                    lease_error *error) {
    char name[64];
    lease__buf buf = lease__buf_make(name, sizeof name);
    lease__put(&buf, key);
    lease__put(&buf, "-data");
    const int data = lease__kube_get(object, name);
#if LEASE__TLS
    const lease__json *json = &object.file->json;
    if (!lease__json_is_null(json, data)) {
        const char *text = json->text + json->tokens[data].start;
        const size_t length = (size_t)(json->tokens[data].end - json->tokens[data].start);
        pem->data = (char *)LEASE_CALLOC(1, length + 1);
        if (pem->data == NULL) return lease__kubeconfig_no_memory(name, error);
        if (!lease__json_is(json, data, JSMN_STRING) ||
            mbedtls_base64_decode((unsigned char *)pem->data, length, &pem->length,
                                  (const unsigned char *)text, length) != 0 ||
            pem->length == 0) {
            return lease__bad_kubeconfig(object.file->path, error, name, " is not base64");
        }
        return LEASE_OK;
    }
#else
    (void)data; /* another transport has its own trust */
#endif
    return lease__kube_path(object, key, pem->file, sizeof pem->file, error);
}

/* What would change who we are or which way we go is refused by name, never passed over. */
static lease_status lease__kube_refuse(lease__kubevalue object, const char *const *keys,
                                       lease_error *error) {
    for (; *keys != NULL; keys++) {
        if (lease__json_is_null(&object.file->json, lease__kube_get(object, *keys))) continue;
        return lease__fail(error, LEASE_UNSUPPORTED, LEASE_STAGE_CONFIG, object.file->path, ": ",
                           *keys, " is not supported by this build", LEASE__END);
    }
    return LEASE_OK;
}

/* -- Selecting -------------------------------------------------------------------------------- */

/* The element of a list of {name, KIND{}} with that name, its KIND member; from the first file that
 * has one. */
static lease__kubevalue lease__kubeconfig_entry(lease__kubeconfig *config, const char *list,
                                                const char *kind, const char *name) {
    lease__kubevalue entry;
    for (size_t i = 0; i < config->count; i++) {
        entry.file = &config->files[i];
        lease__json *json = &entry.file->json;
        const int array = lease__json_get(json, 0, list);
        if (!lease__json_is(json, array, JSMN_ARRAY)) continue;
        const int end = lease__json_after(json, array);
        for (int at = array + 1; at < end; at = lease__json_after(json, at)) {
            if (!lease__json_equals(json, lease__json_get(json, at, "name"), name)) continue;
            entry.token = lease__json_get(json, at, kind);
            if (lease__json_is(json, entry.token, JSMN_OBJECT)) return entry;
            if (entry.token >= 0 && lease__json_is_null(json, entry.token)) return entry;
        }
    }
    entry.file = NULL;
    entry.token = LEASE__JSON_NONE;
    return entry;
}

/* current-context, from the first file that sets one. */
static lease_status lease__kubeconfig_current(lease__kubeconfig *config, char *name,
                                              size_t capacity, lease_error *error) {
    for (size_t i = 0; i < config->count; i++) {
        lease__kubevalue root;
        root.file = &config->files[i];
        root.token = 0;
        if (!lease__kube_string(root, "current-context", name, capacity)) {
            return lease__bad_kubeconfig(root.file->path, error, "current-context is not a name",
                                         "");
        }
        if (name[0] != '\0') return LEASE_OK;
    }
    return lease__bad_kubeconfig(config->files[0].path, error, "current-context is not set", "");
}

/* What the context calls its cluster, or its user. */
static lease_status lease__kubeconfig_follow(lease__kubeconfig *config, const char *list,
                                             const char *kind, lease__kubevalue *found,
                                             lease_error *error) {
    char name[256];
    const char *path = config->context.file->path;
    if (!lease__kube_string(config->context, kind, name, sizeof name)) {
        return lease__fail(error, LEASE_BAD_KUBECONFIG, LEASE_STAGE_CONFIG, path, ": context.",
                           kind, " is not a string", LEASE__END);
    }
    *found = lease__kubeconfig_entry(config, list, kind, name);
    if (found->file != NULL) return LEASE_OK;
    return lease__fail(error, LEASE_BAD_KUBECONFIG, LEASE_STAGE_CONFIG, path, ": no ", kind, " ",
                       name, LEASE__END);
}

static lease_status lease__kubeconfig_select(lease__kubeconfig *config, const char *context,
                                             lease_error *error) {
    char name[256];
    const char *path = config->files[0].path;
    if (context == NULL) {
        const lease_status status = lease__kubeconfig_current(config, name, sizeof name, error);
        if (status != LEASE_OK) return status;
    } else if (!lease__copy(name, sizeof name, context)) {
        return lease__bad_kubeconfig(path, error, "the context's name is too long", "");
    }
    config->context = lease__kubeconfig_entry(config, "contexts", "context", name);
    if (config->context.file == NULL) {
        return lease__bad_kubeconfig(path, error, "no context ", name);
    }
    const lease_status status =
        lease__kubeconfig_follow(config, "clusters", "cluster", &config->cluster, error);
    if (status != LEASE_OK) return status;
    return lease__kubeconfig_follow(config, "users", "user", &config->user, error);
}

/* -- Applying --------------------------------------------------------------------------------- */

static lease_status lease__kubeconfig_cluster(lease__kubevalue cluster, lease__credentials *creds,
                                              lease_error *error) {
    static const char *const refused[] = {"proxy-url", NULL};
    char url[LEASE_MAX_HOST + LEASE_MAX_PATH + 32];
    const char *path = cluster.file->path;
    lease_status status = lease__kube_refuse(cluster, refused, error);
    if (status != LEASE_OK) return status;
    if (!lease__kube_string(cluster, "tls-server-name", creds->trust.name,
                            sizeof creds->trust.name)) {
        return lease__bad_kubeconfig(path, error, "tls-server-name is not a name", "");
    }
    if (!lease__kube_string(cluster, "server", url, sizeof url) || url[0] == '\0') {
        return lease__bad_kubeconfig(path, error, "cluster.server is missing or too long", "");
    }
    status = lease__set_server(creds, url, error);
    if (status != LEASE_OK) return status;
    creds->trust.insecure = lease__json_is_true(
        &cluster.file->json, lease__kube_get(cluster, "insecure-skip-tls-verify"));
    return lease__kube_pem(cluster, "certificate-authority", &creds->trust.ca, error);
}

/* tokenFile wins over token, as it does for client-go. */
static lease_status lease__kubeconfig_token(lease__kubevalue user, lease__credentials *creds,
                                            lease_error *error) {
    const lease__json *json = &user.file->json;
    const lease_status status = lease__kube_path(user, "tokenFile", creds->token_file,
                                                 sizeof creds->token_file, error);
    if (status != LEASE_OK || creds->token_file[0] != '\0') return status;
    const int token = lease__kube_get(user, "token");
    if (lease__json_is_null(json, token)) return LEASE_OK;
    if (!lease__json_is(json, token, JSMN_STRING)) {
        return lease__bad_kubeconfig(user.file->path, error, "user.token is not a string", "");
    }
    const jsmntok_t *text = &json->tokens[token];
    bool changed = false;
    return lease__token_set(creds, json->text + text->start, (size_t)(text->end - text->start),
                            &changed, error);
}

static lease_status lease__kubeconfig_user(lease__kubevalue user, lease__credentials *creds,
                                           lease_error *error) {
    static const char *const refused[] = {"exec",  "auth-provider", "username",  "password",
                                          "as",    "as-uid",        "as-groups", "as-user-extra",
                                          NULL};
    lease__trust *trust = &creds->trust;
    lease_status status = lease__kube_refuse(user, refused, error);
    if (status == LEASE_OK) {
        status = lease__kube_pem(user, "client-certificate", &trust->cert, error);
    }
    if (status == LEASE_OK) status = lease__kube_pem(user, "client-key", &trust->key, error);
    if (status == LEASE_OK) status = lease__kubeconfig_token(user, creds, error);
    return status;
}

static lease_status lease__kubeconfig_apply(lease__kubeconfig *config, const char *context,
                                            lease__credentials *creds, lease_error *error) {
    lease_status status = lease__kubeconfig_select(config, context, error);
    if (status == LEASE_OK) status = lease__kubeconfig_cluster(config->cluster, creds, error);
    if (status == LEASE_OK) status = lease__kubeconfig_user(config->user, creds, error);
    if (status != LEASE_OK) return status;
    if (!lease__kube_string(config->context, "namespace", creds->ns, sizeof creds->ns)) {
        return lease__bad_kubeconfig(config->context.file->path, error,
                                     "context.namespace is not a namespace", "");
    }
    if (creds->ns[0] == '\0') lease__copy(creds->ns, sizeof creds->ns, "default");
    for (size_t i = 0; i < config->count; i++) {
        if (!config->files[i].json.duplicate) continue;
        return lease__bad_kubeconfig(config->files[i].path, error,
                                     "a key stands twice in one object", "");
    }
    return LEASE_OK;
}

/* -- Which files ------------------------------------------------------------------------------ */

static lease_status lease__kubeconfig_add(lease__kubeconfig *config, const char *path,
                                          lease_error *error) {
    if (config->count == LEASE_MAX_KUBECONFIGS) {
        return lease__fail(error, LEASE_LIMIT, LEASE_STAGE_CONFIG,
                           "KUBECONFIG names more than LEASE_MAX_KUBECONFIGS files", LEASE__END);
    }
    lease__kubefile *file = &config->files[config->count++];
    const lease_status status = lease__set_path(file->path, sizeof file->path, "", path, error);
    return status != LEASE_OK ? status : lease__kubefile_load(file, error);
}

/* The files of a list that exist: kubectl passes over those that do not, too. */
static lease_status lease__kubeconfig_add_list(lease__kubeconfig *config, const char *list,
                                               lease_error *error) {
    lease_status status = LEASE_OK;
    while (*list != '\0' && status == LEASE_OK) {
        char path[LEASE_MAX_PATH + 1];
        struct stat info;
        const size_t length = strcspn(list, ":");
        if (length >= sizeof path) {
            return lease__fail(error, LEASE_BAD_ARGUMENT, LEASE_STAGE_CONFIG,
                               "a path in KUBECONFIG is too long", LEASE__END);
        }
        memcpy(path, list, length);
        path[length] = '\0';
        list += length + (list[length] == ':' ? 1 : 0);
        if (length > 0 && stat(path, &info) == 0) {
            status = lease__kubeconfig_add(config, path, error);
        }
    }
    return status;
}

/* path, else the files of $KUBECONFIG, else ~/.kube/config. */
static lease_status lease__kubeconfig_find(lease__kubeconfig *config, const char *path,
                                           lease_error *error) {
    char of_home[LEASE_MAX_PATH + 1];
    const char *list = getenv("KUBECONFIG");
    const char *home = getenv("HOME");
    if (path != NULL) return lease__kubeconfig_add(config, path, error);
    if (list != NULL && list[0] != '\0') {
        const lease_status status = lease__kubeconfig_add_list(config, list, error);
        if (status != LEASE_OK || config->count > 0) return status;
        return lease__fail(error, LEASE_NO_CREDENTIALS, LEASE_STAGE_CONFIG,
                           "KUBECONFIG names no file that exists: ", list, LEASE__END);
    }
    if (home != NULL && home[0] != '\0') {
        const lease_status status =
            lease__set_path(of_home, sizeof of_home, home, ".kube/config", error);
        if (status != LEASE_OK) return status;
        const lease_status listed = lease__kubeconfig_add_list(config, of_home, error);
        if (listed != LEASE_OK || config->count > 0) return listed;
    }
    return lease__fail(error, LEASE_NO_CREDENTIALS, LEASE_STAGE_CONFIG,
                       lease_status_text(LEASE_NO_CREDENTIALS), LEASE__END);
}

static lease_status lease__use_kubeconfig(lease__credentials *creds, const char *path,
                                          const char *context, lease_error *error) {
    lease__kubeconfig *config = (lease__kubeconfig *)LEASE_CALLOC(1, sizeof *config);
    if (config == NULL) return lease__kubeconfig_no_memory("kubeconfig", error);
    lease_status status = lease__kubeconfig_find(config, path, error);
    if (status == LEASE_OK) status = lease__kubeconfig_apply(config, context, creds, error);
    for (size_t i = 0; i < config->count; i++) lease__kubefile_free(&config->files[i]);
    LEASE_FREE(config);
    return status;
}

/* -- Credentials from the desc ---------------------------------------------------------------- */

/* Where server, trust and token come from, before single fields of the desc override them. */
static lease_status lease__find_credentials(lease__credentials *creds,
                                            const lease_client_desc *desc, lease_error *error) {
    const char *host = getenv("KUBERNETES_SERVICE_HOST");
    const char *port = getenv("KUBERNETES_SERVICE_PORT");
    const bool pod = host != NULL && port != NULL && host[0] != '\0' && port[0] != '\0';
    const char *account = desc->service_account_dir;
    if (desc->kubeconfig != NULL) {
        return lease__use_kubeconfig(creds, desc->kubeconfig, desc->context, error);
    }
    lease_status status = LEASE_OK;
    if (desc->server != NULL) {
        status = lease__set_server(creds, desc->server, error);
        if (status != LEASE_OK || account == NULL) return status;
        return lease__use_service_account(creds, account, error);
    }
    if (pod) {
        status = lease__use_pod_server(creds, host, port, error);
        if (status != LEASE_OK) return status;
        return lease__use_service_account(creds, account != NULL ? account : LEASE__SERVICE_ACCOUNT,
                                          error);
    }
    return lease__use_kubeconfig(creds, NULL, desc->context, error);
}

static lease_status lease__override_pem(lease__pem *pem, const char *path, lease_error *error) {
    if (path == NULL) return LEASE_OK;
    lease__pem_free(pem); /* what a kubeconfig held inline is no substitute for a broken file */
    return lease__set_path(pem->file, sizeof pem->file, "", path, error);
}

static lease_status lease__load_credentials(lease__credentials *creds,
                                            const lease_client_desc *desc, lease__boot now,
                                            lease_error *error) {
    lease__trust *trust = &creds->trust;
    lease_status status = lease__find_credentials(creds, desc, error);
    if (status == LEASE_OK) status = lease__override_pem(&trust->ca, desc->ca_file, error);
    if (status == LEASE_OK) {
        status = lease__override_pem(&trust->cert, desc->client_cert_file, error);
    }
    if (status == LEASE_OK) {
        status = lease__override_pem(&trust->key, desc->client_key_file, error);
    }
    if (status == LEASE_OK && desc->token_file != NULL) {
        status = lease__set_path(creds->token_file, sizeof creds->token_file, "",
                                 desc->token_file, error);
    }
    if (status != LEASE_OK) return status;
    if (lease__pem_is_set(&trust->cert) != lease__pem_is_set(&trust->key) ||
        (trust->cert.file[0] != '\0') != (trust->key.file[0] != '\0')) {
        return lease__fail(error, LEASE_BAD_CLIENT_CERT, LEASE_STAGE_CONFIG,
                           "client certificate and client key go together", LEASE__END);
    }
    if (desc->insecure_skip_verify) trust->insecure = true;
    bool changed = false;
    return lease__token_read(creds, now, &changed, error);
}

/* =================================================================================================
 * >>kube -- Lease URLs and bodies, answers to lease_status
 * =================================================================================================
 * May use: >>credentials, >>link, >>json, >>http, >>tls, >>time. Knows the API and nothing of
 * elections: it carries one request to the server and the answer back.
 *
 * A PUT replaces the object. So of each answer the members that are not ours are kept as they
 * stand and spliced into the next body byte for byte. managedFields is the exception: while every
 * entry is our own it is sent as [], which makes the server drop it and halves every later answer;
 * otherwise it is left out, which leaves it to the server. */

/* -- The object and what of it is not ours ---------------------------------------------------- */

/* One Lease: its address and the foreign parts of its last version, each a run of ,"key":value. */
typedef struct lease__object {
    char ns[LEASE_MAX_NAMESPACE + 1];
    char name[LEASE_MAX_NAME + 1];
    char *labels; /* of ours: key=value[,key=value]; NULL = none */
    char *kept;   /* metadata, then spec, then top level */
    size_t kept_capacity;
    size_t kept_metadata;
    size_t kept_spec;
    size_t kept_top;
} lease__object;

static void lease__object_free(lease__object *object) {
    if (object->labels != NULL) LEASE_FREE(object->labels);
    if (object->kept != NULL) LEASE_FREE(object->kept);
    object->labels = NULL;
    object->kept = NULL;
}

static lease_status lease__bad_member(lease_error *error, const char *what) {
    return lease__fail(error, LEASE_JSON, LEASE_STAGE_ANSWER, lease_status_text(LEASE_JSON), ": ",
                       what, LEASE__END);
}

static void lease__put_member(lease__buf *buf, const lease__json *json, int key) {
    size_t length = 0;
    const char *raw = lease__json_raw(json, key, &length);
    lease__put(buf, ",");
    lease__put_bytes(buf, raw, length);
    lease__put(buf, ":");
    raw = lease__json_raw(json, key + 1, &length);
    lease__put_bytes(buf, raw, length);
}

static bool lease__json_is_one_of(const lease__json *json, int token, const char *const *names) {
    for (; *names != NULL; names++) {
        if (lease__json_equals(json, token, *names)) return true;
    }
    return false;
}

/* All members of object but those named. */
static void lease__put_others(lease__buf *buf, const lease__json *json, int object,
                              const char *const *except) {
    if (!lease__json_is(json, object, JSMN_OBJECT)) return;
    const int end = lease__json_after(json, object);
    for (int at = object + 1; at < end; at = lease__json_after(json, at + 1)) {
        if (!lease__json_is_one_of(json, at, except)) lease__put_member(buf, json, at);
    }
}

/* Does our own label list set this key? */
static bool lease__labels_have(const char *labels, const char *wanted) {
    const char *at = labels;
    const char *key;
    const char *value;
    size_t key_length;
    size_t value_length;
    while (lease__label_next(&at, &key, &key_length, &value, &value_length)) {
        if (key_length == strlen(wanted) && memcmp(key, wanted, key_length) == 0) return true;
    }
    return false;
}

/* ,"labels":{...}: ours win, the others stay. json may be NULL. */
static void lease__put_labels(lease__buf *buf, const char *labels, const lease__json *json,
                              int foreign) {
    const char *at = labels;
    const char *key;
    const char *value;
    size_t key_length;
    size_t value_length;
    char wanted[LEASE_MAX_NAME + 65];
    bool first = true;
    lease__put(buf, ",\"labels\":{");
    while (lease__label_next(&at, &key, &key_length, &value, &value_length)) {
        lease__put(buf, first ? "\"" : ",\"");
        lease__put_bytes(buf, key, key_length);
        lease__put(buf, "\":\"");
        lease__put_bytes(buf, value, value_length);
        lease__put(buf, "\"");
        first = false;
    }
    const int end = json != NULL && lease__json_is(json, foreign, JSMN_OBJECT)
                        ? lease__json_after(json, foreign)
                        : 0;
    for (int one = foreign + 1; one < end; one = lease__json_after(json, one + 1)) {
        if (lease__json_string(json, one, wanted, sizeof wanted) &&
            lease__labels_have(labels, wanted)) {
            continue;
        }
        lease__put_member(buf, json, one);
    }
    lease__put(buf, "}");
}

/* Remembers the foreign parts of a version. scratch is borrowed for the call. */
static lease_status lease__object_keep(lease__object *object, lease__json *json, char *scratch,
                                       size_t capacity, lease_error *error) {
    static const char *const metadata_ours[] = {"name", "namespace", "uid", "resourceVersion",
                                                "managedFields", "labels", NULL};
    static const char *const spec_ours[] = {"holderIdentity", "leaseDurationSeconds", "acquireTime",
                                            "renewTime", "leaseTransitions", NULL};
    static const char *const top_ours[] = {"kind", "apiVersion", "metadata", "spec", NULL};
    const int metadata = lease__json_get(json, 0, "metadata");
    const int labels = lease__json_get(json, metadata, "labels");
    lease__buf buf = lease__buf_make(scratch, capacity);
    if (json->duplicate) return lease__bad_member(error, "a key stands twice in one object");
    lease__put_others(&buf, json, metadata, metadata_ours);
    if (object->labels != NULL) {
        lease__put_labels(&buf, object->labels, json, labels);
    } else if (labels > 0) {
        lease__put_member(&buf, json, labels - 1);
    }
    object->kept_metadata = buf.length;
    lease__put_others(&buf, json, lease__json_get(json, 0, "spec"), spec_ours);
    object->kept_spec = buf.length - object->kept_metadata;
    lease__put_others(&buf, json, 0, top_ours);
    object->kept_top = buf.length - object->kept_metadata - object->kept_spec;
    if (buf.length > object->kept_capacity) {
        char *grown = (char *)LEASE_CALLOC(1, buf.length);
        if (grown == NULL || lease__buf_full(&buf)) {
            if (grown != NULL) LEASE_FREE(grown);
            object->kept_metadata = object->kept_spec = object->kept_top = 0;
            return lease__fail(error, LEASE_NO_MEMORY, LEASE_STAGE_ANSWER, "a Lease's metadata",
                               LEASE__END);
        }
        if (object->kept != NULL) LEASE_FREE(object->kept);
        object->kept = grown;
        object->kept_capacity = buf.length;
    }
    if (buf.length > 0) memcpy(object->kept, scratch, buf.length);
    return LEASE_OK;
}

/* -- Bodies ----------------------------------------------------------------------------------- */

static void lease__put_time_member(lease__buf *buf, const char *key, int64_t unix_us) {
    if (unix_us == 0) return;
    lease__put_key(buf, key);
    lease__put(buf, "\"");
    lease__put_time(buf, unix_us);
    lease__put(buf, "\"");
}

static void lease__put_spec(lease__buf *buf, const lease_record *record) {
    lease__put(buf, ",\"spec\":{");
    lease__put_key(buf, "holderIdentity");
    lease__put_quoted(buf, record->holder_identity);
    lease__put_key(buf, "leaseDurationSeconds");
    lease__put_i64(buf, record->lease_duration_s);
    lease__put_time_member(buf, "acquireTime", record->acquire_time_us);
    lease__put_time_member(buf, "renewTime", record->renew_time_us);
    lease__put_key(buf, "leaseTransitions");
    lease__put_i64(buf, record->lease_transitions);
}

/* The whole Lease as it is to be stored. An update names uid and version, so that it can neither
 * create nor hit another version: kube-apiserver compares the version only where the object
 * exists. */
static void lease__put_lease(lease__buf *buf, const lease__object *object,
                             const lease_record *record, bool update) {
    const char *kept = update ? object->kept : NULL; /* a new Lease takes nothing from an old one */
    lease__put(buf, "{\"kind\":\"Lease\",\"apiVersion\":\"coordination.k8s.io/v1\",\"metadata\":{");
    lease__put_key(buf, "name");
    lease__put_quoted(buf, object->name);
    lease__put_key(buf, "namespace");
    lease__put_quoted(buf, object->ns);
    if (update) {
        lease__put_key(buf, "uid");
        lease__put_quoted(buf, record->uid);
        lease__put_key(buf, "resourceVersion");
        lease__put_quoted(buf, record->resource_version);
        if (kept != NULL) lease__put_bytes(buf, kept, object->kept_metadata);
        if (record->mine_only) lease__put(buf, ",\"managedFields\":[]");
    } else if (object->labels != NULL) {
        lease__put_labels(buf, object->labels, NULL, LEASE__JSON_NONE);
    }
    lease__put(buf, "}");
    lease__put_spec(buf, record);
    if (kept != NULL) lease__put_bytes(buf, kept + object->kept_metadata, object->kept_spec);
    lease__put(buf, "}");
    if (kept != NULL) {
        lease__put_bytes(buf, kept + object->kept_metadata + object->kept_spec, object->kept_top);
    }
    lease__put(buf, "}");
}

/* -- Reading a Lease -------------------------------------------------------------------------- */

/* A foreign holder may be longer than ours can be: it is cut, visibly, and so never equals ours. */
static bool lease__read_holder(const lease__json *json, int token, lease_record *out) {
    const size_t capacity = sizeof out->holder_identity;
    if (lease__json_is_null(json, token)) return true;
    if (!lease__json_is(json, token, JSMN_STRING)) return false;
    lease__buf buf = lease__buf_make(out->holder_identity, capacity);
    lease__json_decode(json, token, &buf);
    if (buf.length <= LEASE_MAX_IDENTITY) return true;
    size_t end = capacity - 4;
    while (end > 0 && ((unsigned char)out->holder_identity[end] & 0xC0) == 0x80) end--;
    memset(out->holder_identity + end, '.', capacity - 1 - end); /* longer than ours can be */
    return true;
}

/* Times of others decide nothing, so what cannot be read counts as absent. */
static int64_t lease__read_time(const lease__json *json, int token) {
    char text[64];
    int64_t us = 0;
    if (!lease__json_string(json, token, text, sizeof text) || text[0] == '\0') return 0;
    return lease__time_parse(text, &us) ? us : 0;
}

static lease_status lease__read_spec(lease__json *json, lease_record *out, lease_error *error) {
    char strategy[2];
    const int spec = lease__json_get(json, 0, "spec");
    if (!lease__json_is_null(json, spec) && !lease__json_is(json, spec, JSMN_OBJECT)) {
        return lease__bad_member(error, "spec is not an object");
    }
    const int duration = lease__json_get(json, spec, "leaseDurationSeconds");
    if (!lease__read_holder(json, lease__json_get(json, spec, "holderIdentity"), out)) {
        return lease__bad_member(error, "spec.holderIdentity is not a string");
    }
    if (!lease__json_int32(json, duration, &out->lease_duration_s) ||
        (!lease__json_is_null(json, duration) && out->lease_duration_s <= 0)) {
        return lease__bad_member(error, "spec.leaseDurationSeconds is not a positive int32");
    }
    if (!lease__json_int32(json, lease__json_get(json, spec, "leaseTransitions"),
                           &out->lease_transitions) ||
        out->lease_transitions < 0) {
        return lease__bad_member(error, "spec.leaseTransitions is not a non-negative int32");
    }
    out->acquire_time_us = lease__read_time(json, lease__json_get(json, spec, "acquireTime"));
    out->renew_time_us = lease__read_time(json, lease__json_get(json, spec, "renewTime"));
    const int token = lease__json_get(json, spec, "strategy");
    out->coordinated = !lease__json_string(json, token, strategy, sizeof strategy) ||
                       strategy[0] != '\0';
    return LEASE_OK;
}

/* manager is the field manager under which the server books our writes. */
static bool lease__is_mine_only(lease__json *json, int metadata, const char *manager) {
    const int entries = lease__json_get(json, metadata, "managedFields");
    if (!lease__json_is(json, entries, JSMN_ARRAY)) return true;
    const int end = lease__json_after(json, entries);
    for (int at = entries + 1; at < end; at = lease__json_after(json, at)) {
        if (!lease__json_equals(json, lease__json_get(json, at, "manager"), manager)) return false;
    }
    return true;
}

static lease_status lease__wrong_object(lease_error *error, const char *what) {
    return lease__fail(error, LEASE_WRONG_OBJECT, LEASE_STAGE_ANSWER,
                       lease_status_text(LEASE_WRONG_OBJECT), ": ", what, LEASE__END);
}

/* Is it a Lease, the one that we asked for, with what a compare-and-swap needs? */
static lease_status lease__read_metadata(lease__json *json, const lease__object *object,
                                         const char *manager, lease_record *out,
                                         lease_error *error) {
    const int metadata = lease__json_get(json, 0, "metadata");
    if (!lease__json_equals(json, lease__json_get(json, 0, "kind"), "Lease")) {
        return lease__wrong_object(error, "kind is not Lease");
    }
    if (!lease__json_equals(json, lease__json_get(json, 0, "apiVersion"),
                            "coordination.k8s.io/v1")) {
        return lease__wrong_object(error, "apiVersion is not coordination.k8s.io/v1");
    }
    if (!lease__json_equals(json, lease__json_get(json, metadata, "name"), object->name)) {
        return lease__wrong_object(error, "metadata.name is not the one asked for");
    }
    if (!lease__json_equals(json, lease__json_get(json, metadata, "namespace"), object->ns)) {
        return lease__wrong_object(error, "metadata.namespace is not the one asked for");
    }
    if (!lease__json_string(json, lease__json_get(json, metadata, "uid"), out->uid,
                            sizeof out->uid) ||
        out->uid[0] == '\0') {
        return lease__bad_member(error, "metadata.uid is missing or too long");
    }
    if (!lease__json_string(json, lease__json_get(json, metadata, "resourceVersion"),
                            out->resource_version, sizeof out->resource_version) ||
        out->resource_version[0] == '\0') {
        return lease__bad_member(error, "metadata.resourceVersion is missing or too long");
    }
    out->mine_only = lease__is_mine_only(json, metadata, manager);
    return LEASE_OK;
}

static lease_status lease__read_lease(lease__json *json, const lease__object *object,
                                      const char *manager, lease_record *out, lease_error *error) {
    memset(out, 0, sizeof *out);
    lease_status status = lease__read_metadata(json, object, manager, out, error);
    if (status == LEASE_OK) status = lease__read_spec(json, out, error);
    if (status == LEASE_OK && json->duplicate) {
        status = lease__bad_member(error, "a key stands twice in one object");
    }
    return status;
}

/* -- Requests --------------------------------------------------------------------------------- */

typedef struct lease__kube {
    lease__credentials credentials;
    char user_agent[LEASE_MAX_USER_AGENT + 1];
    char manager[LEASE_MAX_USER_AGENT + 1];
    jsmntok_t tokens[LEASE_MAX_JSON_TOKENS];
    char scratch[LEASE_MAX_REQUEST];
    lease__link link;
    /* The request under way. */
    lease__object *object;
    lease_action action;
    lease_record write;
    bool authorized_again; /* the token was read again after a 401 */
} lease__kube;

static void lease__put_header(lease__buf *buf, const char *name, const char *value) {
    lease__put(buf, name);
    lease__put(buf, ": ");
    lease__put(buf, value);
    lease__put(buf, "\r\n");
}

static void lease__put_request(lease__buf *buf, const lease__kube *kube, const char *method,
                               bool with_name, const char *body, size_t body_length) {
    lease__put(buf, method);
    lease__put(buf, " ");
    lease__put(buf, kube->credentials.prefix);
    lease__put(buf, "/apis/coordination.k8s.io/v1/namespaces/");
    lease__put(buf, kube->object->ns);
    lease__put(buf, with_name ? "/leases/" : "/leases");
    lease__put(buf, with_name ? kube->object->name : "");
    lease__put(buf, " HTTP/1.1\r\n");
    lease__put_header(buf, "Host", kube->credentials.host_header);
    lease__put_header(buf, "User-Agent", kube->user_agent);
    lease__put_header(buf, "Accept", "application/json");
    if (kube->link.transport.verified_peer && kube->credentials.token[0] != '\0') {
        lease__put(buf, "Authorization: Bearer ");
        lease__put(buf, kube->credentials.token);
        lease__put(buf, "\r\n");
    }
    if (body != NULL) {
        lease__put(buf, "Content-Type: application/json\r\nContent-Length: ");
        lease__put_u64(buf, body_length);
        lease__put(buf, "\r\n");
    }
    lease__put(buf, "\r\n");
    if (body != NULL) lease__put_bytes(buf, body, body_length);
}

static lease_status lease__kube_compose(lease__kube *kube, lease_error *error) {
    lease__link *link = &kube->link;
    lease__buf body = lease__buf_make(kube->scratch, sizeof kube->scratch);
    lease__buf out = lease__buf_make(link->out, sizeof link->out);
    if (kube->action == LEASE_ACTION_READ) {
        lease__put_request(&out, kube, "GET", true, NULL, 0);
    } else {
        const bool update = kube->action == LEASE_ACTION_UPDATE;
        lease__put_lease(&body, kube->object, &kube->write, update);
        lease__put_request(&out, kube, update ? "PUT" : "POST", update, body.data, body.length);
    }
    link->out_length = out.length;
    if (!lease__buf_full(&body) && !lease__buf_full(&out)) return LEASE_OK;
    return lease__fail(error, LEASE_TOO_LARGE, LEASE_STAGE_EXCHANGE, "our request is too large",
                       LEASE__END);
}

static void lease__kube_end(lease__kube *kube) {
    kube->link.busy = false;
    kube->object = NULL;
}

/* Begins an exchange. object must live until it has ended; one at a time. */
static lease_status lease__kube_begin(lease__kube *kube, lease__object *object, lease_action action,
                                      const lease_record *write, lease__boot now,
                                      lease_error *error) {
    lease__link *link = &kube->link;
    LEASE_ASSERT(!link->busy);
    kube->object = object;
    kube->action = action;
    kube->write = *write;
    kube->authorized_again = false;
    if (lease__token_is_old(&kube->credentials, now)) {
        bool changed = false;
        lease__token_read(&kube->credentials, now, &changed, NULL);
    }
    lease_status status = lease__kube_compose(kube, error);
    link->touched = link->resent = false;
    lease__link_rewind(link);
    if (status == LEASE_OK) status = lease__link_open(link, error);
    link->busy = status == LEASE_OK;
    if (status != LEASE_OK) lease__kube_end(kube);
    return status;
}

/* Ends the exchange without an answer: the connection is of no use any more. */
static void lease__kube_cancel(lease__kube *kube) {
    lease__link_close(&kube->link);
    lease__kube_end(kube);
}

/* -- Answers ---------------------------------------------------------------------------------- */

static const char *lease__kube_verb(lease_action action) {
    switch (action) {
    case LEASE_ACTION_UPDATE: return "update";
    case LEASE_ACTION_CREATE: return "create";
    case LEASE_ACTION_READ:
    case LEASE_ACTION_NONE: break;
    }
    return "get";
}

/* What the Status object of a refusal says, as far as the answer has one. */
typedef struct lease__refusal {
    char reason[32];
    char kind[32]; /* details.kind: "namespaces" or "leases" */
    char message[192];
    bool is_status;
} lease__refusal;

static void lease__read_refusal(lease__kube *kube, lease__refusal *refusal) {
    const lease__http *http = &kube->link.http;
    lease__json json;
    char message[1024];
    lease__buf shown = lease__buf_make(refusal->message, sizeof refusal->message);
    refusal->reason[0] = refusal->kind[0] = '\0';
    refusal->is_status = lease__json_parse(&json, kube->tokens, http->body, http->body_length);
    if (!refusal->is_status) {
        lease__put_shown(&shown, http->body, http->body_length, 120);
        return;
    }
    const int details = lease__json_get(&json, 0, "details");
    lease__json_string(&json, lease__json_get(&json, 0, "reason"), refusal->reason,
                       sizeof refusal->reason);
    lease__json_string(&json, lease__json_get(&json, details, "kind"), refusal->kind,
                       sizeof refusal->kind);
    lease__json_string(&json, lease__json_get(&json, 0, "message"), message, sizeof message);
    lease__put_shown(&shown, message, strlen(message), 150);
}

/* HTTP code first, reason second: some of the server's own filters answer without a Status. */
static lease_status lease__kube_refusal_status(const lease__kube *kube, int32_t code,
                                               const lease__refusal *refusal) {
    const bool create = kube->action == LEASE_ACTION_CREATE;
    const bool exists = lease__same(refusal->reason, "AlreadyExists");
    if (code >= 300 && code <= 399) return LEASE_REDIRECT;
    if (code >= 500) return LEASE_SERVER_ERROR;
    switch (code) {
    case 401: return LEASE_UNAUTHORIZED;
    case 403: return LEASE_FORBIDDEN;
    case 404:
        if (lease__same(refusal->kind, "namespaces")) return LEASE_NO_NAMESPACE;
        return lease__same(refusal->kind, "leases") ? LEASE_NOT_FOUND : LEASE_UNEXPECTED;
    case 409:
        if (refusal->reason[0] == '\0') return create ? LEASE_ALREADY_EXISTS : LEASE_CONFLICT;
        return exists ? LEASE_ALREADY_EXISTS : LEASE_CONFLICT;
    case 400:
    case 405:
    case 413:
    case 415:
    case 422: return LEASE_INVALID;
    case 429: return LEASE_THROTTLED;
    default: return LEASE_UNEXPECTED;
    }
}

static lease_status lease__kube_refused(lease__kube *kube, lease_error *error) {
    lease__refusal refusal;
    const int32_t code = kube->link.http.code;
    char digits[12];
    lease__buf buf = lease__buf_make(digits, sizeof digits);
    lease__put_i64(&buf, code);
    lease__read_refusal(kube, &refusal);
    const lease_status status = lease__kube_refusal_status(kube, code, &refusal);
    if (status == LEASE_FORBIDDEN) {
        lease__fail(error, status, LEASE_STAGE_ANSWER, "403: the Role must allow verb ",
                    lease__kube_verb(kube->action), " on leases.coordination.k8s.io in namespace ",
                    kube->object->ns, ": ", refusal.message, LEASE__END);
    } else {
        lease__fail(error, status, LEASE_STAGE_ANSWER, digits, " to ",
                    lease__kube_verb(kube->action), " of ", kube->object->ns, "/",
                    kube->object->name, ": ", refusal.message, LEASE__END);
    }
    error->http_status = code;
    return status;
}

/* The complete answer in link.http. */
static lease_status lease__kube_answer(lease__kube *kube, lease_record *record,
                                       lease_error *error) {
    const lease__http *http = &kube->link.http;
    const bool create = kube->action == LEASE_ACTION_CREATE;
    lease__json json;
    if (http->code < 200 || http->code > 299) return lease__kube_refused(kube, error);
    if (http->code != (create ? 201 : 200)) {
        return lease__fail(error, LEASE_UNEXPECTED, LEASE_STAGE_ANSWER,
                           http->code == 201 ? "201: an update has created the Lease"
                                             : "a success of the wrong kind",
                           LEASE__END);
    }
    if (!lease__json_parse(&json, kube->tokens, http->body, http->body_length)) {
        return lease__bad_member(error, "malformed, or over our limits of depth and size");
    }
    const lease_status status =
        lease__read_lease(&json, kube->object, kube->manager, record, error);
    if (status != LEASE_OK) return status;
    return lease__object_keep(kube->object, &json, kube->scratch, sizeof kube->scratch, error);
}

/* Was the token that the server refuses rotated meanwhile? Once per request. */
static bool lease__kube_has_new_token(lease__kube *kube, lease__boot now) {
    bool changed = false;
    if (kube->link.http.code != 401 || kube->authorized_again) return false;
    kube->authorized_again = true;
    lease__token_read(&kube->credentials, now, &changed, NULL);
    return changed;
}

static lease_status lease__kube_repeat(lease__kube *kube, lease_error *error) {
    const lease_status status = lease__kube_compose(kube, error);
    lease__link_rewind(&kube->link);
    return status == LEASE_OK ? lease__link_open(&kube->link, error) : status;
}

/* May the server have applied the write, although this is not its acknowledgement? The code tells
 * only when the whole answer was acceptable: a refusal cut short may be that of a second copy. */
static bool lease__kube_maybe_applied(const lease__kube *kube, lease_status status,
                                      bool answered) {
    const int32_t code = kube->link.http.code;
    if (kube->action == LEASE_ACTION_READ || status == LEASE_OK) return false;
    return kube->link.touched && (!answered || code < 300 || code >= 500);
}

/* Goes on. True when the exchange has ended: with LEASE_OK and *record, or with *status and
 * *error. */
static bool lease__kube_turn(lease__kube *kube, lease__boot now, lease_status *status,
                             bool *maybe_applied, lease_record *record, lease_error *error) {
    if (!lease__link_turn(&kube->link, status, error)) return false;
    const bool answered = *status == LEASE_OK;
    if (answered && lease__kube_has_new_token(kube, now)) {
        *status = lease__kube_repeat(kube, error);
        if (*status == LEASE_OK) return false;
    } else if (answered) {
        *status = lease__kube_answer(kube, record, error);
    }
    *maybe_applied = lease__kube_maybe_applied(kube, *status, answered);
    lease__kube_end(kube);
    return true;
}

/* =================================================================================================
 * >>backend -- locks other than a Kubernetes Lease: files of one host, and memory
 * =================================================================================================
 * May use: >>kube, for the same JSON, and what is below. A file is replaced by rename under a lock
 * that the kernel drops with its owner, so a kill at any instant leaves the old record or the new
 * one. */

typedef struct lease__file_lock {
    lease__object object; /* the address, for reading and writing the record */
    char path[LEASE_MAX_PATH + 1];
    char lock_path[LEASE_MAX_PATH + 1];
    char new_path[LEASE_MAX_PATH + 1];
    int fd;
} lease__file_lock;

static lease_status lease__backend_fail(lease_error *error, lease_status status, const char *ns,
                                        const char *name) {
    return lease__fail(error, status, LEASE_STAGE_BACKEND, ns, "/", name, ": ",
                       lease_status_text(status), LEASE__END);
}

static bool lease__file_path(char *out, const char *directory, const lease__object *object,
                             const char *suffix) {
    lease__buf buf = lease__buf_make(out, LEASE_MAX_PATH + 1);
    lease__put(&buf, directory);
    lease__put(&buf, "/");
    lease__put(&buf, object->ns);
    lease__put(&buf, "."); /* a namespace has no dot: the pair stays unambiguous */
    lease__put(&buf, object->name);
    lease__put(&buf, suffix);
    return !lease__buf_full(&buf);
}

static lease_status lease__file_address(lease__file_lock *lock, void *context, const char *ns,
                                        const char *name, lease_error *error) {
    const char *directory = (const char *)context;
    memset(lock, 0, sizeof *lock);
    lock->fd = -1;
    if (lease__copy(lock->object.ns, sizeof lock->object.ns, ns) &&
        lease__copy(lock->object.name, sizeof lock->object.name, name) &&
        lease__file_path(lock->path, directory, &lock->object, ".lease") &&
        lease__file_path(lock->lock_path, directory, &lock->object, ".lock") &&
        lease__file_path(lock->new_path, directory, &lock->object, ".new")) {
        return LEASE_OK;
    }
    return lease__backend_fail(error, LEASE_LIMIT, ns, name);
}

/* Waits for the lock in small steps, because flock knows no time limit. */
static lease_status lease__file_acquire(lease__file_lock *lock, int32_t timeout_ms,
                                        lease_error *error) {
    const int64_t end = lease__boot_now().ms + timeout_ms;
    const struct timespec step = {0, 1000000};
    lock->fd = open(lock->lock_path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (lock->fd < 0) {
        return lease__fail_errno(error, LEASE_SYSTEM, LEASE_STAGE_BACKEND, "cannot open ",
                                 lock->lock_path);
    }
    while (flock(lock->fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK && errno != EINTR) {
            return lease__fail_errno(error, LEASE_SYSTEM, LEASE_STAGE_BACKEND, "cannot lock ",
                                     lock->lock_path);
        }
        if (lease__boot_now().ms >= end) {
            return lease__backend_fail(error, LEASE_THROTTLED, lock->object.ns, lock->object.name);
        }
        nanosleep(&step, NULL);
    }
    return LEASE_OK;
}

static void lease__file_drop(lease__file_lock *lock) {
    if (lock->fd >= 0) close(lock->fd);
}

static lease_status lease__file_read(lease__file_lock *lock, lease_record *out,
                                     lease_error *error) {
    char text[4096];
    jsmntok_t tokens[LEASE_MAX_JSON_TOKENS];
    lease__json json;
    size_t length = 0;
    if (access(lock->path, F_OK) != 0 && errno == ENOENT) {
        return lease__backend_fail(error, LEASE_NOT_FOUND, lock->object.ns, lock->object.name);
    }
    const lease_status status =
        lease__read_file(lock->path, text, sizeof text, &length, LEASE_SYSTEM, error);
    if (status != LEASE_OK) return status;
    if (!lease__json_parse(&json, tokens, text, length)) {
        return lease__fail(error, LEASE_JSON, LEASE_STAGE_BACKEND, lock->path, " is not JSON",
                           LEASE__END);
    }
    return lease__read_lease(&json, &lock->object, "", out, error);
}

static lease_status lease__file_write(lease__file_lock *lock, const lease_record *record,
                                      lease_error *error) {
    char text[4096];
    lease__buf buf = lease__buf_make(text, sizeof text);
    lease__put_lease(&buf, &lock->object, record, true);
    lease__put(&buf, "\n");
    const int fd = open(lock->new_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    bool good = fd >= 0 && !lease__buf_full(&buf) &&
                write(fd, text, buf.length) == (ssize_t)buf.length;
    if (fd >= 0 && close(fd) != 0) good = false;
    if (good && rename(lock->new_path, lock->path) == 0) return LEASE_OK;
    lease__fail_errno(error, LEASE_SYSTEM, LEASE_STAGE_BACKEND, "cannot write ", lock->path);
    unlink(lock->new_path);
    return LEASE_SYSTEM;
}

/* Versions follow the wall clock where it runs ahead, so that they also grow across a deletion. */
static void lease__next_version(lease_record *record, uint64_t last) {
    const uint64_t now = (uint64_t)lease__max_i64(lease__wall_now().us, 1);
    lease__buf buf = lease__buf_make(record->resource_version, sizeof record->resource_version);
    lease__put_u64(&buf, now > last ? now : last + 1);
}

static lease_status lease__file_get(void *context, const char *ns, const char *name,
                                    int32_t timeout_ms, lease_record *out, lease_error *error) {
    lease__file_lock lock;
    (void)timeout_ms;
    const lease_status status = lease__file_address(&lock, context, ns, name, error);
    return status != LEASE_OK ? status : lease__file_read(&lock, out, error);
}

static lease_status lease__file_create(void *context, const char *ns, const char *name,
                                       const lease_record *record, int32_t timeout_ms,
                                       lease_record *out, lease_error *error) {
    lease__file_lock lock;
    lease_record next = *record;
    unsigned char random[16];
    lease_status status = lease__file_address(&lock, context, ns, name, error);
    if (status == LEASE_OK) status = lease__file_acquire(&lock, timeout_ms, error);
    if (status == LEASE_OK) {
        status = lease__file_read(&lock, out, error);
        if (status == LEASE_OK) {
            status = lease__backend_fail(error, LEASE_ALREADY_EXISTS, ns, name);
        } else if (status == LEASE_NOT_FOUND) {
            lease__buf buf = lease__buf_make(next.uid, sizeof next.uid);
            if (lease__random_bytes(random, sizeof random)) {
                lease__put_uuid(&buf, random);
                lease__next_version(&next, 0);
                status = lease__file_write(&lock, &next, error);
            } else {
                status = lease__backend_fail(error, LEASE_NO_RANDOM, ns, name);
            }
        }
    }
    lease__file_drop(&lock);
    if (status == LEASE_OK) *out = next;
    return status;
}

static bool lease__same_version(const lease_record *a, const lease_record *b) {
    return lease__same(a->uid, b->uid) && lease__same(a->resource_version, b->resource_version);
}

static lease_status lease__file_update(void *context, const char *ns, const char *name,
                                       const lease_record *record, int32_t timeout_ms,
                                       lease_record *out, lease_error *error) {
    lease__file_lock lock;
    lease_record next = *record;
    lease_status status = lease__file_address(&lock, context, ns, name, error);
    if (status == LEASE_OK) status = lease__file_acquire(&lock, timeout_ms, error);
    if (status == LEASE_OK) status = lease__file_read(&lock, out, error);
    if (status == LEASE_OK && !lease__same_version(out, record)) {
        status = lease__backend_fail(error, LEASE_CONFLICT, ns, name);
    }
    if (status == LEASE_OK) {
        lease__next_version(&next, lease__parse_u64(record->resource_version));
        status = lease__file_write(&lock, &next, error);
    }
    lease__file_drop(&lock);
    if (status == LEASE_OK) *out = next;
    return status;
}

LEASE_API lease_backend lease_backend_file(const char *directory) {
    lease_backend backend;
    backend.context = (void *)(uintptr_t)directory;
    backend.get = lease__file_get;
    backend.create = lease__file_create;
    backend.update = lease__file_update;
    return backend;
}

/* The slot of a key, or the first free one; NULL when neither exists. */
static lease_record *lease__memory_slot(lease_memory *memory, const char *ns, const char *name,
                                        bool *used) {
    char key[sizeof memory->slots[0].key];
    lease__buf buf = lease__buf_make(key, sizeof key);
    lease__put(&buf, ns);
    lease__put(&buf, "/");
    lease__put(&buf, name);
    for (size_t i = 0; i < LEASE_MEMORY_SLOTS; i++) {
        *used = memory->slots[i].used;
        if (*used && !lease__same(memory->slots[i].key, key)) continue;
        lease__copy(memory->slots[i].key, sizeof key, key);
        return &memory->slots[i].record;
    }
    return NULL;
}

static lease_status lease__memory_get(void *context, const char *ns, const char *name,
                                      int32_t timeout_ms, lease_record *out, lease_error *error) {
    bool used = false;
    const lease_record *slot = lease__memory_slot((lease_memory *)context, ns, name, &used);
    (void)timeout_ms;
    if (slot == NULL || !used) return lease__backend_fail(error, LEASE_NOT_FOUND, ns, name);
    *out = *slot;
    return LEASE_OK;
}

static void lease__memory_store(lease_memory *memory, lease_record *slot,
                                const lease_record *record, lease_record *out) {
    *slot = *record;
    memory->version++;
    lease__buf buf = lease__buf_make(slot->resource_version, sizeof slot->resource_version);
    lease__put_u64(&buf, memory->version);
    *out = *slot;
}

static lease_status lease__memory_create(void *context, const char *ns, const char *name,
                                         const lease_record *record, int32_t timeout_ms,
                                         lease_record *out, lease_error *error) {
    lease_memory *memory = (lease_memory *)context;
    bool used = false;
    lease_record *slot = lease__memory_slot(memory, ns, name, &used);
    (void)timeout_ms;
    if (slot == NULL) return lease__backend_fail(error, LEASE_LIMIT, ns, name);
    if (used) return lease__backend_fail(error, LEASE_ALREADY_EXISTS, ns, name);
    for (size_t i = 0; i < LEASE_MEMORY_SLOTS; i++) {
        if (&memory->slots[i].record == slot) memory->slots[i].used = true;
    }
    lease_record first = *record;
    lease__buf buf = lease__buf_make(first.uid, sizeof first.uid);
    lease__put(&buf, "memory-");
    lease__put_u64(&buf, memory->version + 1);
    lease__memory_store(memory, slot, &first, out);
    return LEASE_OK;
}

static lease_status lease__memory_update(void *context, const char *ns, const char *name,
                                         const lease_record *record, int32_t timeout_ms,
                                         lease_record *out, lease_error *error) {
    lease_memory *memory = (lease_memory *)context;
    bool used = false;
    lease_record *slot = lease__memory_slot(memory, ns, name, &used);
    (void)timeout_ms;
    if (slot == NULL || !used) return lease__backend_fail(error, LEASE_NOT_FOUND, ns, name);
    if (!lease__same_version(slot, record)) {
        return lease__backend_fail(error, LEASE_CONFLICT, ns, name);
    }
    lease__memory_store(memory, slot, record, out);
    return LEASE_OK;
}

LEASE_API lease_backend lease_backend_memory(lease_memory *memory) {
    lease_backend backend;
    backend.context = memory;
    backend.get = lease__memory_get;
    backend.create = lease__memory_create;
    backend.update = lease__memory_update;
    return backend;
}

/* =================================================================================================
 * >>metrics -- Prometheus text and OpenMetrics
 * =================================================================================================
 * May use: >>base. Everything is computed from views at scrape, so that no gauge can stick. One
 * family after the other, as both formats demand; the leases are walked once for each. */

typedef struct lease__sample {
    const char *ns;
    const char *name;
    bool name_taken; /* an earlier lease has the same name, in another namespace */
    int64_t now_ms;
    lease_view view;
} lease__sample;

typedef struct lease__metrics {
    lease__buf *buf;
    lease_metrics_format format;
    const char *prefix;
    void *leases;
    /* The next lease from *cursor on (NULL at first) into *sample; false behind the last one. */
    bool (*next)(void *leases, const void **cursor, lease__sample *sample);
} lease__metrics;

/* Counters are called x_total in both formats, but OpenMetrics names their family x. */
static void lease__put_family(const lease__metrics *m, const char *prefix, const char *name,
                              bool counter, const char *help) {
    const bool total = counter && m->format == LEASE_METRICS_TEXT;
    static const char *const lines[2] = {"# HELP ", "# TYPE "};
    for (size_t i = 0; i < 2; i++) {
        lease__put(m->buf, lines[i]);
        lease__put(m->buf, prefix);
        lease__put(m->buf, name);
        lease__put(m->buf, total ? "_total " : " ");
        lease__put(m->buf, i == 0 ? help : counter ? "counter" : "gauge");
        lease__put(m->buf, "\n");
    }
}

static void lease__put_sample_name(const lease__metrics *m, const char *prefix, const char *name,
                                   const char *suffix, const lease__sample *sample) {
    lease__put(m->buf, prefix);
    lease__put(m->buf, name);
    lease__put(m->buf, suffix);
    lease__put(m->buf, "{key=\"");
    lease__put(m->buf, sample->ns);
    lease__put(m->buf, "/");
    lease__put(m->buf, sample->name);
    lease__put(m->buf, "\"");
}

/* What one family shows of a lease. */
typedef enum lease__metric {
    LEASE__METRIC_HELD,
    LEASE__METRIC_OPEN,
    LEASE__METRIC_VALID,
    LEASE__METRIC_AGE,
    LEASE__METRIC_TOKEN,
    LEASE__METRIC_ACQUISITIONS,
    LEASE__METRIC_LOSSES,
    LEASE__METRIC_CHANGES,
    LEASE__METRIC_FOREIGN
} lease__metric;

static void lease__put_metric(lease__buf *buf, lease__metric metric, const lease__sample *sample) {
    const lease_view *view = &sample->view;
    switch (metric) {
    case LEASE__METRIC_HELD: lease__put_u64(buf, view->is_leader ? 1 : 0); break;
    case LEASE__METRIC_OPEN: lease__put_u64(buf, view->failing_open ? 1 : 0); break;
    case LEASE__METRIC_VALID: lease__put_fixed(buf, view->remaining_ms, 3); break;
    case LEASE__METRIC_AGE:
        lease__put_fixed(buf, lease__max_i64(0, sample->now_ms - view->last_renewal_ms), 3);
        break;
    case LEASE__METRIC_TOKEN: lease__put_u64(buf, view->token); break;
    case LEASE__METRIC_ACQUISITIONS: lease__put_u64(buf, view->acquisitions); break;
    case LEASE__METRIC_LOSSES: lease__put_u64(buf, view->losses); break;
    case LEASE__METRIC_CHANGES: lease__put_u64(buf, view->leader_changes); break;
    case LEASE__METRIC_FOREIGN: lease__put_u64(buf, view->foreign_writes); break;
    }
}

static void lease__metrics_family(const lease__metrics *m, const char *name, bool counter,
                                  lease__metric metric, const char *help) {
    lease__sample sample;
    const void *cursor = NULL;
    lease__put_family(m, m->prefix, name, counter, help);
    while (m->next(m->leases, &cursor, &sample)) {
        if (metric == LEASE__METRIC_AGE && sample.view.last_renewal_ms == 0) continue;
        lease__put_sample_name(m, m->prefix, name, counter ? "_total" : "", &sample);
        lease__put(m->buf, "} ");
        lease__put_metric(m->buf, metric, &sample);
        lease__put(m->buf, "\n");
    }
}

static void lease__metrics_renewals(const lease__metrics *m) {
    lease__sample sample;
    const void *cursor = NULL;
    lease__put_family(m, m->prefix, "_renewals", true, "Renewals by result.");
    while (m->next(m->leases, &cursor, &sample)) {
        lease__put_sample_name(m, m->prefix, "_renewals", "_total", &sample);
        lease__put(m->buf, ",result=\"success\"} ");
        lease__put_u64(m->buf, sample.view.renewals);
        lease__put(m->buf, "\n");
        lease__put_sample_name(m, m->prefix, "_renewals", "_total", &sample);
        lease__put(m->buf, ",result=\"failure\"} ");
        lease__put_u64(m->buf, sample.view.renewal_failures);
        lease__put(m->buf, "\n");
    }
}

/* component-base leaderelection/metrics.go: the names that every Kubernetes dashboard queries,
 * labelled by the lease's name alone. Of two leases that differ in their namespace only the first
 * is shown. */
static void lease__metrics_client_go(const lease__metrics *m, const char *name, bool counter,
                                     const char *help) {
    lease__sample sample;
    const void *cursor = NULL;
    lease__put_family(m, "leader_election", name, counter, help);
    while (m->next(m->leases, &cursor, &sample)) {
        if (sample.name_taken) continue;
        lease__put(m->buf, "leader_election");
        lease__put(m->buf, name);
        lease__put(m->buf, counter ? "_total{name=\"" : "{name=\"");
        lease__put(m->buf, sample.name);
        lease__put(m->buf, "\"} ");
        lease__put_u64(m->buf, counter ? sample.view.slow_path : sample.view.is_leader ? 1 : 0);
        lease__put(m->buf, "\n");
    }
}

static void lease__metrics_write(const lease__metrics *m) {
    lease__metrics_family(m, "_is_held", false, LEASE__METRIC_HELD,
                          "Whether this process is strictly the leader.");
    lease__metrics_family(m, "_failing_open", false, LEASE__METRIC_OPEN,
                          "Whether the time range is kept open because the API is silent.");
    lease__metrics_family(m, "_valid_seconds", false, LEASE__METRIC_VALID,
                          "Strict leadership left without a further renewal.");
    lease__metrics_family(m, "_last_renewal_age_seconds", false, LEASE__METRIC_AGE,
                          "Time since the last acknowledged write was sent.");
    lease__metrics_family(m, "_fencing_token", false, LEASE__METRIC_TOKEN,
                          "Fencing token of this term, 0 when not leader.");
    lease__metrics_family(m, "_acquisitions", true, LEASE__METRIC_ACQUISITIONS, "Terms begun.");
    lease__metrics_family(m, "_losses", true, LEASE__METRIC_LOSSES, "Terms ended.");
    lease__metrics_family(m, "_leader_changes", true, LEASE__METRIC_CHANGES,
                          "Changes of the holder seen.");
    lease__metrics_family(m, "_foreign_writes", true, LEASE__METRIC_FOREIGN,
                          "Writes by others while the Lease was ours.");
    lease__metrics_renewals(m);
    lease__metrics_client_go(m, "_master_status", false,
                             "Whether this process is master of the lease, 0 is backup.");
    lease__metrics_client_go(m, "_slowpath", true, "Renewals that had to read the Lease first.");
    lease__put_family(m, m->prefix, "_build_info", false, "Version of lease.h.");
    lease__put(m->buf, m->prefix);
    lease__put(m->buf, "_build_info{version=\"" LEASE_VERSION_STRING "\"} 1\n");
    if (m->format == LEASE_METRICS_OPENMETRICS) lease__put(m->buf, "# EOF\n");
}

/* =================================================================================================
 * >>events -- client and lease; what they tell callbacks and other threads
 * =================================================================================================
 * May use: all above. One thread at a time runs the loop and owns everything but what is marked
 * shared. Others reach it through the mutex (commands, the list of leases) and are answered from
 * the latch of each lease, without a lock.
 *
 * Fork: one page that the kernel hands to a child empty says whether we are the process that
 * created the client. A child reads "not leader" there, and no function of ours touches its
 * connection. */

/* What the questions of other threads are answered from. The first two are all that most of them
 * read. */
typedef struct lease__published {
    int64_t valid_until_ms;
    uint64_t token;
    lease_range_state range;
    bool observed;
    bool exists;
    bool standing_aside;
    bool observer;
    bool release_complete;
    lease_status last_status;
    int32_t lease_duration_s;
    int32_t transitions;
    int64_t acquire_time_us;
    int64_t renew_time_us;
    int64_t last_renewal_ms;
    uint64_t acquisitions;
    uint64_t losses;
    uint64_t renewals;
    uint64_t renewal_failures;
    uint64_t slow_path;
    uint64_t foreign_writes;
    uint64_t leader_changes;
    char holder[LEASE_MAX_IDENTITY + 3];
} lease__published;

#define LEASE__COMMAND_RELEASE 1u
#define LEASE__COMMAND_CONTEND 2u
#define LEASE__COMMAND_DESTROY 4u

struct lease {
    lease_client *client;
    lease *next;
    lease__object object;
    lease_core core;
    void (*on_event)(lease *self, const lease_event *event, void *user);
    void *user;
    bool release_on_stop;
    bool name_taken; /* one further down the list has the same name, in whatever namespace */
    bool key_taken;  /* ... in the same one: two candidates in one process */
    uint32_t commands; /* shared, under the mutex */
    bool revoked;      /* shared, atomic: released or destroyed, before the loop gets to it */
    int64_t wake_ms;
    bool held_back; /* it was due while no connection was free */
    uint32_t request_id;
    int64_t give_up_ms;
    bool was_open;
    bool was_coordinated;
    lease_status complained; /* the last failure reported while not leader */
    lease__published state;
    lease__latch latch; /* shared */
};

struct lease_client {
    lease_hooks hooks;
    lease_backend backend;
    bool has_backend;
    lease__kube *kube; /* NULL with a backend */
    int32_t request_timeout_ms;
    char metrics_prefix[64];
    void (*log)(lease_log_level level, const char *message, void *log_user);
    void *log_user;
    const uint32_t *alive; /* in a page that a child of fork sees empty */
    pid_t pid;             /* compared where the kernel knows no such page; else 0 */
    int wake[2];           /* shared: a pipe that ends the wait */
    bool stopping;         /* shared, atomic */
    bool commanded;        /* shared, atomic: some lease has commands, or has come */
    uint64_t random;
    lease *leases; /* changed by the loop under the mutex */
    lease *incoming; /* shared, under the mutex */
    size_t count;
    lease *in_flight; /* whose request is on the connection */
    lease *calling;   /* shared, under the mutex: whose callback runs */
#if LEASE__THREADS
    pthread_mutex_t mutex;
    pthread_cond_t called;
    pthread_t caller;
    pthread_t thread;
    bool has_thread;
#endif
};

/* -- Threads and processes -------------------------------------------------------------------- */

static void lease__lock(lease_client *client) {
#if LEASE__THREADS
    pthread_mutex_lock(&client->mutex);
#else
    (void)client;
#endif
}

static void lease__unlock(lease_client *client) {
#if LEASE__THREADS
    pthread_mutex_unlock(&client->mutex);
#else
    (void)client;
#endif
}

/* Are we the process that created it? */
static bool lease__is_alive(const lease_client *client) {
    return *client->alive != 0 && (client->pid == 0 || client->pid == getpid());
}

static bool lease__make_alive(lease_client *client) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    void *memory = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return false;
    *(uint32_t *)memory = 1;
    client->alive = (const uint32_t *)memory;
#if defined(MADV_WIPEONFORK)
    /* qemu-user says yes to any advice, and does nothing. */
    const bool honest = madvise(memory, page, -1) != 0;
    if (honest && madvise(memory, page, MADV_WIPEONFORK) == 0) return true;
#endif
    client->pid = getpid();
    return true;
}

/* Ends the wait of the loop. A full pipe has ended it already. */
static void lease__wake(lease_client *client) {
    const int code = errno; /* this may run in a signal handler */
    const ssize_t written = write(client->wake[1], "", 1);
    (void)written;
    errno = code;
}

/* What a hook says beyond the ends of our arithmetic is clamped. */
static LEASE__INLINE int64_t lease__client_now(const lease_client *client) {
    const int64_t now_ms = client->hooks.boot_ms(client->hooks.context);
    return lease__max_i64(0, lease__min_i64(now_ms, LEASE__CORE_LAST_MS));
}

static int64_t lease__client_wall(const lease_client *client) {
    const int64_t wall_us = client->hooks.wall_us(client->hooks.context);
    return lease__max_i64(0, lease__min_i64(wall_us, LEASE__CORE_LAST_WALL_US));
}

static uint32_t lease__client_random(lease_client *client) {
    /* splitmix64: jitter needs no secrecy, and a system call for each step would show. */
    uint64_t z = client->random += UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return (uint32_t)(z >> 32);
}

/* -- Telling the host ------------------------------------------------------------------------- */

static void lease__log(lease_client *client, lease_log_level level, const lease *self,
                       const char *what, const char *detail) {
    char message[512];
    if (client->log == NULL) return;
    lease__buf buf = lease__buf_make(message, sizeof message);
    if (self != NULL) {
        lease__put(&buf, self->object.ns);
        lease__put(&buf, "/");
        lease__put(&buf, self->object.name);
        lease__put(&buf, ": ");
    }
    lease__put(&buf, what);
    lease__put(&buf, detail);
    client->log(level, message, client->log_user);
}

/* The only place that calls on_event. No lock is held meanwhile, so a callback may use all
 * functions that allow it; lease_destroy on another thread waits until the callback is over. */
static void lease__emit(lease *self, lease_event_kind kind, lease_event *event) {
    lease_client *client = self->client;
    if (!lease__is_alive(client)) return;
    event->kind = kind;
    event->at_ms = lease__client_now(client);
    event->holder = self->state.holder;
    lease__lock(client);
    const bool wanted = self->on_event != NULL && (self->commands & LEASE__COMMAND_DESTROY) == 0;
    if (wanted) client->calling = self;
#if LEASE__THREADS
    if (wanted) client->caller = pthread_self();
#endif
    lease__unlock(client);
    if (!wanted) return;
    self->on_event(self, event, self->user);
    lease__lock(client);
    client->calling = NULL;
#if LEASE__THREADS
    pthread_cond_broadcast(&client->called);
#endif
    lease__unlock(client);
}

static void lease__tell(lease *self, lease_event_kind kind, const lease_error *error) {
    lease_event event;
    memset(&event, 0, sizeof event);
    event.token = self->core.token;
    event.error = error;
    lease__emit(self, kind, &event);
}

static void lease__complain(lease *self, const lease_error *error) {
    if (self->complained == error->status) return;
    self->complained = error->status;
    lease__log(self->client, LEASE_LOG_WARN, self, "", error->message);
    lease__tell(self, LEASE_EVENT_ERROR, error);
}

/* -- Publishing ------------------------------------------------------------------------------- */

static void lease__count_events(lease__published *state, uint32_t events) {
    if ((events & LEASE_CORE_ACQUIRED) != 0) state->acquisitions++;
    if ((events & LEASE_CORE_LOST) != 0) state->losses++;
    if ((events & LEASE_CORE_RENEWED) != 0) state->renewals++;
    if ((events & LEASE_CORE_RENEW_FAILED) != 0) state->renewal_failures++;
    if ((events & LEASE_CORE_SLOW_PATH) != 0) state->slow_path++;
    if ((events & LEASE_CORE_FOREIGN_WRITE) != 0) state->foreign_writes++;
    if ((events & LEASE_CORE_LEADER_CHANGED) != 0) state->leader_changes++;
}

static bool lease__is_released(const lease *self) {
    return self->core.released && !self->core.releasing;
}

/* with_range: Google's Range() must not say yes before the start callback has returned, since that
 * is where a host drops what it knew from before its term. */
static void lease__publish(lease *self, bool with_range) {
    const lease_core *core = &self->core;
    lease__published *state = &self->state;
    state->valid_until_ms = core->valid_until_ms;
    state->token = core->token;
    state->range = core->range;
    if (!with_range) state->range.held = false;
    state->observed = core->answered;
    state->exists = core->exists;
    state->standing_aside = core->released;
    state->release_complete = lease__is_released(self);
    state->observer = core->desc.observe_only;
    state->acquire_time_us = core->seen.acquire_time_us;
    state->renew_time_us = core->seen.renew_time_us;
    state->lease_duration_s = core->seen.lease_duration_s;
    state->transitions = core->seen.lease_transitions;
    if (core->range.held) {
        state->last_renewal_ms = core->range.end_ms - core->desc.lease_duration_ms;
    }
    lease__copy(state->holder, sizeof state->holder,
                core->exists ? core->seen.holder_identity : "");
    lease__latch_write(&self->latch, state, sizeof *state);
}

/* -- Events ----------------------------------------------------------------------------------- */

static const char *lease__reason_text(lease_reason reason) {
    switch (reason) {
    case LEASE_REASON_NONE: break;
    case LEASE_REASON_EXPIRED: return "no renewal was acknowledged in time";
    case LEASE_REASON_TAKEN: return "another holder is in the record";
    case LEASE_REASON_CLEARED: return "somebody emptied the holder";
    case LEASE_REASON_DELETED: return "the Lease is gone";
    case LEASE_REASON_DUPLICATE: return "another process writes under our identity";
    case LEASE_REASON_ALTERED: return "the server stored another record than we wrote";
    case LEASE_REASON_CLOCK_JUMP: return "wall time ran ahead of boot time";
    case LEASE_REASON_COORDINATED: return "spec.strategy appeared";
    case LEASE_REASON_RELEASED: return "released";
    }
    return "";
}

static void lease__tell_lost(lease *self, const lease_core_output *out, uint64_t token) {
    lease_event event;
    memset(&event, 0, sizeof event);
    event.reason = out->lost_reason;
    event.stop_by_ms = out->stop_by_ms;
    event.token = token;
    lease__log(self->client, LEASE_LOG_INFO, self, "leadership ended: ",
               lease__reason_text(out->lost_reason));
    lease__emit(self, LEASE_EVENT_LOST, &event);
}

static void lease__tell_alarms(lease *self, uint32_t events) {
    lease_error error;
    const bool coordinated = self->core.seen.coordinated;
    if ((events & LEASE_CORE_DUPLICATE) != 0) {
        lease__log(self->client, LEASE_LOG_ERROR, self, "duplicate identity: ",
                   self->core.own_identity);
        lease__tell(self, LEASE_EVENT_DUPLICATE_IDENTITY, NULL);
    }
    if ((events & LEASE_CORE_ALTERED) != 0) {
        lease__fail(&error, LEASE_ALTERED, LEASE_STAGE_ANSWER, lease_status_text(LEASE_ALTERED),
                    ": look for an admission webhook on leases", LEASE__END);
        lease__complain(self, &error);
    }
    if (coordinated && !self->was_coordinated) {
        lease__fail(&error, LEASE_COORDINATED, LEASE_STAGE_ANSWER,
                    lease_status_text(LEASE_COORDINATED), LEASE__END);
        lease__complain(self, &error);
    }
    self->was_coordinated = coordinated;
}

/* Google's failing open, as events. */
static void lease__tell_open(lease *self, int64_t now_ms, int64_t wall_us) {
    lease_time_range range;
    bool open = false;
    lease_core_range(&self->core.range, now_ms, wall_us, &range, &open);
    if (open == self->was_open) return;
    self->was_open = open;
    lease__tell(self, open ? LEASE_EVENT_FAIL_OPEN : LEASE_EVENT_FAIL_CLOSED, NULL);
}

static void lease__tell_failure(lease *self, uint32_t events, const lease_error *error) {
    if (error == NULL) {
        if (self->state.last_status == LEASE_OK) self->complained = LEASE_OK;
        return;
    }
    if ((events & LEASE_CORE_RENEW_FAILED) != 0) {
        lease__log(self->client, LEASE_LOG_WARN, self, "renewal failed: ", error->message);
        lease__tell(self, LEASE_EVENT_RENEW_FAILED, error);
    } else if (!lease__rules_lost_race(error->status) && !lease__rules_leads(&self->core)) {
        lease__complain(self, error);
    }
}

/* What a step brought, in the order in which the host is to hear it. error is of the request that
 * the step answered; NULL = none. */
static void lease__tell_events(lease *self, const lease_core_output *out, uint64_t token_before,
                               const lease_error *error) {
    const uint32_t events = out->events;
    if ((events & LEASE_CORE_LOST) != 0) lease__tell_lost(self, out, token_before);
    if ((events & LEASE_CORE_RELEASED) != 0) lease__tell(self, LEASE_EVENT_RELEASED, NULL);
    if ((events & LEASE_CORE_LEADER_CHANGED) != 0) {
        lease__log(self->client, LEASE_LOG_INFO, self, "holder: ", self->state.holder);
        lease__tell(self, LEASE_EVENT_LEADER_CHANGED, NULL);
    }
    if ((events & LEASE_CORE_ACQUIRED) != 0) {
        lease__log(self->client, LEASE_LOG_INFO, self, "leadership begins", "");
        lease__tell(self, LEASE_EVENT_ACQUIRED, NULL);
        lease__publish(self, true);
    }
    if ((events & LEASE_CORE_RENEWED) != 0) lease__tell(self, LEASE_EVENT_RENEWED, NULL);
    lease__tell_failure(self, events, error);
    lease__tell_alarms(self, events);
}

/* =================================================================================================
 * >>runner -- the loop: drives N leases over the connection
 * =================================================================================================
 * May use: all above. A turn: wait; take commands; move the exchange; step each lease that is due,
 * the one nearest to its end first. A step may ask for one request, whose answer is the next
 * step's input. */

/* -- Steps and requests ----------------------------------------------------------------------- */

/* A callback may have destroyed the lease in the very step that asks for a request, or have forked:
 * the child then asks for nothing. */
static bool lease__is_destroyed(lease *self) {
    if (!lease__is_alive(self->client)) return true;
    lease__lock(self->client);
    const bool destroyed = (self->commands & LEASE__COMMAND_DESTROY) != 0;
    lease__unlock(self->client);
    return destroyed;
}

/* Carries out what the core asks for with a backend of the host: the answer is there at once. */
static void lease__ask_backend(lease *self, const lease_core_output *out, lease_core_input *answer,
                               lease_record *record, lease_error *error) {
    const lease_backend *b = &self->client->backend;
    const int32_t limit = self->core.desc.request_timeout_ms;
    const char *ns = self->object.ns;
    const char *name = self->object.name;
    memset(record, 0, sizeof *record);
    switch (out->action) {
    case LEASE_ACTION_NONE: return;
    case LEASE_ACTION_READ:
        answer->status = b->get(b->context, ns, name, limit, record, error);
        break;
    case LEASE_ACTION_CREATE:
        answer->status = b->create(b->context, ns, name, &out->write, limit, record, error);
        break;
    case LEASE_ACTION_UPDATE:
        answer->status = b->update(b->context, ns, name, &out->write, limit, record, error);
        break;
    }
    answer->maybe_applied = answer->status == LEASE_TIMEOUT || answer->status == LEASE_CLOSED ||
                            answer->status == LEASE_SERVER_ERROR;
    if (answer->status != LEASE_OK && error->message[0] == '\0') {
        lease__backend_fail(error, answer->status, ns, name);
    }
    error->status = answer->status;
}

/* Begins the request; true when its answer is there at once, because it cannot be made. */
static bool lease__ask_server(lease *self, const lease_core_output *out, lease_core_input *answer,
                              lease_error *error) {
    lease_client *client = self->client;
    lease__boot now;
    now.ms = lease__client_now(client);
    lease_record write = out->write;
    write.mine_only = self->core.seen.mine_only;
    self->request_id = out->request_id;
    self->give_up_ms = out->give_up_ms;
    answer->status =
        lease__kube_begin(client->kube, &self->object, out->action, &write, now, error);
    if (answer->status != LEASE_OK) return true;
    client->in_flight = self;
    return false;
}

static lease_input_kind lease__done_kind(lease_action action) {
    return action == LEASE_ACTION_READ ? LEASE_INPUT_READ_DONE : LEASE_INPUT_WRITE_DONE;
}

/* One step of one lease, told to the host. */
static void lease__step_once(lease *self, lease_core_input *in, const lease_error *error,
                             lease_core_output *out) {
    lease_client *client = self->client;
    const uint64_t token_before = self->core.token;
    in->now_ms = lease__client_now(client);
    in->wall_us = lease__client_wall(client);
    in->random = lease__client_random(client);
    in->hold_requests = client->in_flight != NULL;
    if (in->kind == LEASE_INPUT_READ_DONE || in->kind == LEASE_INPUT_WRITE_DONE) {
        self->state.last_status = in->status;
    }
    lease_core_step(&self->core, in, out);
    self->wake_ms = out->wake_ms;
    self->held_back = in->hold_requests && self->core.pending == LEASE_ACTION_NONE &&
                      self->core.next_ms <= self->core.clock_ms;
    lease__count_events(&self->state, out->events);
    lease__publish(self, (out->events & LEASE_CORE_ACQUIRED) == 0);
    lease__tell_events(self, out, token_before, error);
    lease__tell_open(self, in->now_ms, in->wall_us);
}

/* Steps until the core waits for something. Each answer that is there at once is the next input;
 * the core's own pauses bound the loop. */
static void lease__step(lease *self, lease_core_input *in, const lease_error *error) {
    lease_core_output out;
    lease_core_input answer;
    lease_record record;
    lease_error failure;
    lease__step_once(self, in, error, &out);
    while (out.action != LEASE_ACTION_NONE && !lease__is_destroyed(self)) {
        memset(&answer, 0, sizeof answer);
        memset(&failure, 0, sizeof failure);
        answer.kind = lease__done_kind(out.action);
        answer.request_id = out.request_id;
        answer.record = &record;
        if (self->client->has_backend) {
            lease__ask_backend(self, &out, &answer, &record, &failure);
        } else if (!lease__ask_server(self, &out, &answer, &failure)) {
            return;
        }
        lease__step_once(self, &answer, answer.status == LEASE_OK ? NULL : &failure, &out);
    }
}

static void lease__step_kind(lease *self, lease_input_kind kind) {
    lease_core_input in;
    memset(&in, 0, sizeof in);
    in.kind = kind;
    lease__step(self, &in, NULL);
}

/* The error of an attempt whose time is up says how far it came. */
static void lease__fail_timeout(const lease__kube *kube, lease_error *error) {
    const lease__link *link = &kube->link;
    const char *where = link->out_sent == link->out_length ? "waiting for the answer"
                        : link->out_sent == 0              ? "connecting"
                                                           : "sending";
    lease__fail(error, LEASE_TIMEOUT, LEASE_STAGE_EXCHANGE, lease_status_text(LEASE_TIMEOUT), ": ",
                where, LEASE__END);
}

/* Moves the exchange on; when it ends, or its time does, its lease takes the next step. */
static void lease__drive(lease_client *client) {
    lease *self = client->in_flight;
    lease__kube *kube = client->kube;
    lease_record record;
    lease_error error;
    lease_core_input in;
    lease__boot now;
    if (self == NULL || !lease__is_alive(client)) return;
    memset(&in, 0, sizeof in);
    now.ms = lease__client_now(client);
    in.kind = lease__done_kind(kube->action);
    in.request_id = self->request_id;
    in.record = &record;
    if (!lease__kube_turn(kube, now, &in.status, &in.maybe_applied, &record, &error)) {
        if (now.ms < self->give_up_ms) return;
        in.status = LEASE_TIMEOUT;
        in.maybe_applied = kube->link.touched && kube->action != LEASE_ACTION_READ;
        lease__fail_timeout(kube, &error);
        lease__kube_cancel(kube);
    }
    in.retry_after_ms = in.status == LEASE_TIMEOUT ? 0 : kube->link.http.retry_after_ms;
    client->in_flight = NULL;
    lease__step(self, &in, in.status == LEASE_OK ? NULL : &error);
}

/* -- The turn --------------------------------------------------------------------------------- */

static bool lease__is_due(const lease *self, int64_t now_ms) {
    return self->wake_ms <= now_ms || (self->held_back && self->client->in_flight == NULL);
}

/* Whose turn it is: the leader nearest to its end, then the follower that has waited longest. */
static lease *lease__next_due(lease_client *client, int64_t now_ms) {
    lease *best = NULL;
    int64_t best_rank = INT64_MAX;
    for (lease *one = client->leases; one != NULL; one = one->next) {
        if (!lease__is_due(one, now_ms)) continue;
        const bool leads = lease__rules_leads(&one->core);
        const int64_t rank = leads ? one->core.valid_until_ms - INT64_MAX / 2 : one->wake_ms;
        if (best != NULL && rank >= best_rank) continue;
        best = one;
        best_rank = rank;
    }
    return best;
}

static void lease__run_due(lease_client *client) {
    const int64_t now_ms = lease__client_now(client);
    lease *self = lease__next_due(client, now_ms);
    for (; self != NULL; self = lease__next_due(client, now_ms)) {
        lease__step_kind(self, LEASE_INPUT_TICK);
    }
}

/* For metrics, where a series must not come twice. Under the mutex. */
static void lease__mark_names(lease *self) {
    self->name_taken = self->key_taken = false;
    for (const lease *one = self->next; one != NULL; one = one->next) {
        if (!lease__same(one->object.name, self->object.name)) continue;
        self->name_taken = true;
        if (lease__same(one->object.ns, self->object.ns)) self->key_taken = true;
    }
}

static void lease__free(lease *self) {
    lease__object_free(&self->object);
    LEASE_FREE(self);
}

/* Unlinks and frees what has been destroyed. */
static void lease__bury(lease_client *client) {
    lease *dead = NULL;
    if (!lease__is_alive(client)) return;
    lease__lock(client);
    lease **link = &client->leases;
    while (*link != NULL) {
        lease *self = *link;
        if ((self->commands & LEASE__COMMAND_DESTROY) == 0) {
            link = &self->next;
            continue;
        }
        *link = self->next;
        for (lease *one = client->leases; one != NULL; one = one->next) {
            if (lease__same(one->object.name, self->object.name)) lease__mark_names(one);
        }
        self->next = dead;
        dead = self;
        client->count--;
    }
    lease__unlock(client);
    while (dead != NULL) {
        lease *next = dead->next;
        if (client->in_flight == dead) {
            lease__kube_cancel(client->kube);
            client->in_flight = NULL;
        }
        lease__free(dead);
        dead = next;
    }
}

static void lease__take_incoming(lease_client *client) {
    lease__lock(client);
    while (client->incoming != NULL) {
        lease *self = client->incoming;
        client->incoming = self->next;
        self->next = client->leases;
        client->leases = self;
        lease__mark_names(self);
    }
    lease__unlock(client);
}

/* Only when nothing newer was asked for does standing for election lift what lease_release
 * revoked. */
static void lease__obey(lease *self) {
    lease_client *client = self->client;
    lease__lock(client);
    const uint32_t commands = self->commands;
    self->commands &= LEASE__COMMAND_DESTROY;
    if (commands == LEASE__COMMAND_CONTEND) lease__atomic_store(&self->revoked, false);
    lease__unlock(client);
    if ((commands & LEASE__COMMAND_DESTROY) != 0) return;
    if ((commands & LEASE__COMMAND_RELEASE) != 0) lease__step_kind(self, LEASE_INPUT_RELEASE);
    if ((commands & LEASE__COMMAND_CONTEND) == 0) return;
    if (commands != LEASE__COMMAND_CONTEND) {
        lease__lock(client);
        if (self->commands == 0) lease__atomic_store(&self->revoked, false);
        lease__unlock(client);
    }
    lease__step_kind(self, LEASE_INPUT_CONTEND);
}

static void lease__drain_wake(lease_client *client) {
    char bytes[64];
    while (read(client->wake[0], bytes, sizeof bytes) == (ssize_t)sizeof bytes) continue;
}

static void lease__take_commands(lease_client *client) {
    if (!lease__is_alive(client) || !lease__atomic_load(&client->commanded)) return;
    lease__atomic_store(&client->commanded, false);
    lease__drain_wake(client); /* what comes after this sets the flag again */
    lease__take_incoming(client);
    for (lease *self = client->leases; self != NULL; self = self->next) lease__obey(self);
    lease__bury(client);
}

/* What to poll for. The pipe is first. */
static size_t lease__poll_set(lease_client *client, struct pollfd *fds) {
    lease__link *link = client->kube != NULL ? &client->kube->link : NULL;
    fds[0].fd = client->wake[0];
    fds[0].events = POLLIN;
    fds[0].revents = 0;
    if (link == NULL || link->connection == NULL) return 1;
    fds[1].fd = client->kube->link.transport.fd(link->connection);
    fds[1].events = link->busy && link->want == LEASE_IO_WANT_WRITE ? POLLOUT : POLLIN;
    fds[1].revents = 0;
    return fds[1].fd < 0 ? 1 : 2;
}

#define LEASE__CALL_AGAIN_MS 1 /* a transport without a descriptor is asked again after this */
#define LEASE__IDLE_MS 60000   /* the longest wait, when nothing at all is due */

static int32_t lease__wait_ms(const lease_client *client) {
    const int64_t now_ms = lease__client_now(client);
    int64_t wake_ms = now_ms + LEASE__IDLE_MS;
    if (lease__atomic_load(&client->commanded)) return 0;
    for (const lease *self = client->leases; self != NULL; self = self->next) {
        if (lease__is_due(self, now_ms)) return 0;
        wake_ms = lease__min_i64(wake_ms, self->wake_ms);
    }
    if (client->in_flight != NULL) {
        const lease__link *link = &client->kube->link;
        const bool no_fd = client->kube->link.transport.fd(link->connection) < 0;
        if (no_fd) wake_ms = lease__min_i64(wake_ms, now_ms + LEASE__CALL_AGAIN_MS);
    }
    return (int32_t)lease__max_i64(0, wake_ms - now_ms);
}

static void lease__check_idle(lease_client *client) {
    lease__link *link = client->kube != NULL ? &client->kube->link : NULL;
    if (!lease__is_alive(client)) return;
    if (link != NULL && link->connection != NULL) lease__link_idle(link);
}

/* Waits, then does what is due. */
static void lease__turn(lease_client *client, int32_t timeout_ms) {
    struct pollfd fds[LEASE_MAX_FDS];
    const size_t count = lease__poll_set(client, fds);
    const int32_t due_ms = lease__wait_ms(client);
    const int32_t wait_ms = timeout_ms < 0 || timeout_ms > due_ms ? due_ms : timeout_ms;
    /* Without time to wait, receiving tells as much about the exchange as polling does. */
    const bool ask = wait_ms != 0 || client->in_flight == NULL ||
                     lease__atomic_load(&client->commanded);
    const int ready = ask ? poll(fds, (nfds_t)count, wait_ms) : 0;
    if (ready > 0 && fds[0].revents != 0) lease__drain_wake(client);
    /* Before a command can begin a request on it. */
    const bool touched = count == 1 || (ready > 0 && fds[1].revents != 0);
    if (client->in_flight == NULL && touched) lease__check_idle(client);
    lease__take_commands(client);
    if (client->in_flight != NULL) lease__drive(client);
    const bool was_free = client->in_flight == NULL;
    lease__run_due(client);
    if (was_free && client->in_flight != NULL) lease__drive(client); /* no need to ask poll first */
    lease__take_commands(client);
}

/* -- Stopping --------------------------------------------------------------------------------- */

static bool lease__all_released(const lease_client *client) {
    for (const lease *self = client->leases; self != NULL; self = self->next) {
        if (self->release_on_stop && !lease__is_released(self)) return false;
    }
    return true;
}

/* Gives back what is to be given back on stop, within two request timeouts. */
static void lease__release_on_stop(lease_client *client) {
    int64_t limit_ms = 0;
    lease__take_commands(client);
    for (lease *self = client->leases; self != NULL; self = self->next) {
        if (!self->release_on_stop) continue;
        limit_ms = lease__max_i64(limit_ms, 2 * (int64_t)self->core.desc.request_timeout_ms);
        lease_release(self);
    }
    lease__take_commands(client);
    int64_t now_ms = lease__client_now(client);
    const int64_t end_ms = now_ms + limit_ms;
    while (now_ms < end_ms && lease__is_alive(client) && !lease__all_released(client)) {
        lease__turn(client, (int32_t)(end_ms - now_ms));
        now_ms = lease__client_now(client);
    }
}

/* =================================================================================================
 * >>public -- the functions of the interface
 * =================================================================================================
 * May use: all above. */

/* -- The client ------------------------------------------------------------------------------- */

static int64_t lease__hook_boot_ms(void *context) {
    (void)context;
    return lease__boot_now().ms;
}

static int64_t lease__hook_wall_us(void *context) {
    (void)context;
    return lease__wall_now().us;
}

static bool lease__hook_random(void *context, void *bytes, size_t count) {
    (void)context;
    return lease__random_bytes(bytes, count);
}

static lease_status lease__refuse_desc(lease_error *error, lease_status status) {
    return lease__fail(error, status, LEASE_STAGE_CONFIG, lease_status_text(status), LEASE__END);
}

static lease_status lease__take_hooks(lease_client *client, const lease_hooks *hooks,
                                      lease_error *error) {
    if (hooks != NULL) {
        client->hooks = *hooks;
        if (hooks->boot_ms != NULL && hooks->wall_us != NULL && hooks->random != NULL) {
            return LEASE_OK;
        }
        return lease__refuse_desc(error, LEASE_BAD_HOOKS);
    }
    client->hooks.boot_ms = lease__hook_boot_ms;
    client->hooks.wall_us = lease__hook_wall_us;
    client->hooks.random = lease__hook_random;
    struct timespec now;
    if (clock_gettime(CLOCK_BOOTTIME, &now) != 0) {
        if (clock_gettime(CLOCK_MONOTONIC, &now) != 0) {
            return lease__fail_errno(error, LEASE_SYSTEM, LEASE_STAGE_CONFIG, "clock_gettime", "");
        }
        lease__log(client, LEASE_LOG_WARN, NULL, "no CLOCK_BOOTTIME: ",
                   "leadership does not see a suspended machine");
    }
    return LEASE_OK;
}

static bool lease__is_metrics_prefix(const char *text) {
    for (const char *p = text; *p != '\0'; p++) {
        const bool digit = *p >= '0' && *p <= '9';
        if (!lease__is_label_char(*p) && *p != '_' && *p != ':') return false;
        if (digit && p == text) return false;
    }
    return text[0] != '\0';
}

static lease_status lease__take_plain(lease_client *client, const lease_client_desc *desc,
                                      lease_error *error) {
    const char *prefix = desc->metrics_prefix != NULL ? desc->metrics_prefix : "lease";
    client->log = desc->log;
    client->log_user = desc->log_user;
    client->request_timeout_ms = desc->request_timeout_ms;
    if (desc->request_timeout_ms < 0) return lease__refuse_desc(error, LEASE_BAD_REQUEST_TIMEOUT);
    if (!lease__is_metrics_prefix(prefix) ||
        !lease__copy(client->metrics_prefix, sizeof client->metrics_prefix, prefix)) {
        return lease__refuse_desc(error, LEASE_BAD_METRICS_PREFIX);
    }
    if (desc->allow_exec) {
        return lease__fail(error, LEASE_UNSUPPORTED, LEASE_STAGE_CONFIG,
                           "allow_exec: this build runs no exec credential plugins", LEASE__END);
    }
    if (desc->backend != NULL) {
        client->backend = *desc->backend;
        client->has_backend = true;
        if (desc->backend->get == NULL || desc->backend->create == NULL ||
            desc->backend->update == NULL) {
            return lease__refuse_desc(error, LEASE_BAD_BACKEND);
        }
    }
    return LEASE_OK;
}

/* The server books our writes under the part before the slash. */
static lease_status lease__take_user_agent(lease__kube *kube, const char *agent,
                                           lease_error *error) {
    if (agent == NULL) agent = "leader-election";
    bool good = agent[0] != '\0' && lease__copy(kube->user_agent, sizeof kube->user_agent, agent);
    for (const char *p = agent; good && *p != '\0'; p++) good = *p >= 0x20 && *p < 0x7F;
    const size_t manager = strcspn(agent, "/");
    if (!good || manager == 0) return lease__refuse_desc(error, LEASE_BAD_USER_AGENT);
    memcpy(kube->manager, agent, manager);
    return LEASE_OK;
}

static lease_status lease__take_transport(lease_client *client, const lease_transport *transport,
                                          lease_error *error) {
    lease__kube *kube = client->kube;
    if (transport != NULL) {
        kube->link.transport = *transport;
        if (transport->open == NULL || transport->send == NULL || transport->recv == NULL ||
            transport->close == NULL || transport->fd == NULL) {
            return lease__refuse_desc(error, LEASE_BAD_TRANSPORT);
        }
        return LEASE_OK;
    }
#if LEASE__TLS
    kube->link.transport = lease__secure_transport(&kube->credentials.trust);
    return lease__tls_check_trust(&kube->credentials.trust, error);
#else
    return lease__fail(error, LEASE_BAD_TRANSPORT, LEASE_STAGE_CONFIG,
                       "this build (LEASE_NO_TLS) needs lease_client_desc.transport", LEASE__END);
#endif
}

static lease_status lease__take_kube(lease_client *client, const lease_client_desc *desc,
                                     lease_error *error) {
    lease__boot now;
    now.ms = lease__client_now(client);
    client->kube = (lease__kube *)LEASE_CALLOC(1, sizeof *client->kube);
    if (client->kube == NULL) return lease__refuse_desc(error, LEASE_NO_MEMORY);
    lease__kube *kube = client->kube;
    lease_status status = lease__take_user_agent(kube, desc->user_agent, error);
    if (status == LEASE_OK) {
        status = lease__load_credentials(&kube->credentials, desc, now, error);
    }
    lease__copy(kube->link.host, sizeof kube->link.host, kube->credentials.host);
    kube->link.port = kube->credentials.port;
    if (status == LEASE_OK) status = lease__take_transport(client, desc->transport, error);
    if (status == LEASE_OK && !kube->link.transport.verified_peer) {
        lease__log(client, LEASE_LOG_WARN, NULL, "the server is not verified: ",
                   "no token is sent to it");
    }
    return status;
}

static lease_status lease__take_system(lease_client *client, lease_error *error) {
    if (!client->hooks.random(client->hooks.context, &client->random, sizeof client->random)) {
        return lease__refuse_desc(error, LEASE_NO_RANDOM);
    }
    if (!lease__make_alive(client)) {
        return lease__fail_errno(error, LEASE_SYSTEM, LEASE_STAGE_CONFIG, "mmap", "");
    }
    if (pipe2(client->wake, O_CLOEXEC | O_NONBLOCK) != 0) {
        client->wake[0] = client->wake[1] = -1;
        return lease__fail_errno(error, LEASE_SYSTEM, LEASE_STAGE_CONFIG, "pipe", "");
    }
    return LEASE_OK;
}

LEASE_API lease_status lease_client_create(const lease_client_desc *desc, lease_client **client,
                                           lease_error *error) {
    lease_client_desc zero;
    if (client == NULL) return lease__refuse_desc(error, LEASE_BAD_ARGUMENT);
    *client = NULL;
    memset(&zero, 0, sizeof zero);
    if (desc == NULL) desc = &zero;
    lease_client *self = (lease_client *)LEASE_CALLOC(1, sizeof *self);
    if (self == NULL) return lease__refuse_desc(error, LEASE_NO_MEMORY);
    self->wake[0] = self->wake[1] = -1;
#if LEASE__THREADS
    pthread_mutex_init(&self->mutex, NULL);
    pthread_cond_init(&self->called, NULL);
#endif
    lease_status status = lease__take_plain(self, desc, error);
    if (status == LEASE_OK) status = lease__take_hooks(self, desc->hooks, error);
    if (status == LEASE_OK) status = lease__take_system(self, error);
    if (status == LEASE_OK && !self->has_backend) status = lease__take_kube(self, desc, error);
    if (status != LEASE_OK) {
        lease_client_destroy(self);
        return status;
    }
    *client = self;
    return LEASE_OK;
}

static void lease__free_kube(lease__kube *kube) {
    lease__link_close(&kube->link);
    lease__trust_free(&kube->credentials.trust);
    lease__wipe(&kube->credentials, sizeof kube->credentials);
    lease__wipe(kube->link.out, sizeof kube->link.out); /* it has held the token */
    LEASE_FREE(kube);
}

static void lease__free_list(lease *list) {
    while (list != NULL) {
        lease *next = list->next;
        lease__free(list);
        list = next;
    }
}

/* In a child of fork everything is left as it is: the connection is the parent's, the mutex may be
 * held by a thread that does not exist here. */
LEASE_API void lease_client_destroy(lease_client *client) {
    if (client == NULL) return;
    if (client->alive != NULL && !lease__is_alive(client)) return;
#if LEASE__THREADS
    if (client->has_thread) {
        lease_client_stop(client);
        pthread_join(client->thread, NULL);
    }
    pthread_mutex_destroy(&client->mutex);
    pthread_cond_destroy(&client->called);
#endif
    lease__free_list(client->leases);
    lease__free_list(client->incoming);
    if (client->kube != NULL) lease__free_kube(client->kube);
    if (client->wake[0] >= 0) close(client->wake[0]);
    if (client->wake[1] >= 0) close(client->wake[1]);
    if (client->alive != NULL) {
        munmap((void *)(uintptr_t)client->alive, (size_t)sysconf(_SC_PAGESIZE));
    }
    LEASE_FREE(client);
}

LEASE_API lease_status lease_client_poll(lease_client *client, int32_t timeout_ms) {
    if (client == NULL) return LEASE_BAD_ARGUMENT;
    if (!lease__is_alive(client)) return LEASE_FORKED;
    if (lease__atomic_load(&client->stopping)) return LEASE_STOPPED;
    lease__turn(client, timeout_ms);
    if (!lease__is_alive(client)) return LEASE_FORKED; /* a callback forked: this is the child */
    return lease__atomic_load(&client->stopping) ? LEASE_STOPPED : LEASE_OK;
}

LEASE_API size_t lease_client_fds(lease_client *client, struct pollfd *fds, size_t capacity) {
    struct pollfd all[LEASE_MAX_FDS];
    if (client == NULL || !lease__is_alive(client)) return 0;
    const size_t count = lease__poll_set(client, all);
    for (size_t i = 0; i < count && i < capacity; i++) fds[i] = all[i];
    return count;
}

LEASE_API int32_t lease_client_wait_ms(const lease_client *client) {
    if (client == NULL || !lease__is_alive(client)) return LEASE__IDLE_MS;
    return lease__wait_ms(client);
}

LEASE_API lease_status lease_client_run(lease_client *client) {
    lease_status status = LEASE_OK;
    while (status == LEASE_OK) status = lease_client_poll(client, -1);
    if (status != LEASE_STOPPED) return status;
    lease__release_on_stop(client);
    return lease__is_alive(client) ? LEASE_OK : LEASE_FORKED;
}

#if LEASE__THREADS
static void *lease__thread_main(void *argument) {
    lease_client_run((lease_client *)argument);
    return NULL;
}
#endif

LEASE_API lease_status lease_client_start(lease_client *client) {
#if LEASE__THREADS
    sigset_t all;
    sigset_t before;
    if (client == NULL) return LEASE_BAD_ARGUMENT;
    if (!lease__is_alive(client)) return LEASE_FORKED;
    if (client->has_thread) return LEASE_BAD_ARGUMENT;
    sigfillset(&all); /* the host's signals are not for this thread */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    client->has_thread = pthread_create(&client->thread, NULL, lease__thread_main, client) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return client->has_thread ? LEASE_OK : LEASE_SYSTEM;
#else
    (void)client;
    return LEASE_UNSUPPORTED;
#endif
}

LEASE_API void lease_client_stop(lease_client *client) {
    if (client == NULL || !lease__is_alive(client)) return;
    lease__atomic_store(&client->stopping, true);
    lease__wake(client);
}

/* -- The lease -------------------------------------------------------------------------------- */

static lease_status lease__take_address(lease *self, const lease_desc *desc, lease_error *error) {
    const lease_client *client = self->client;
    const char *ns = desc->ns;
    if (ns == NULL && client->kube != NULL) ns = client->kube->credentials.ns;
    if (desc->name == NULL || !lease__is_dns_name(desc->name, LEASE_MAX_NAME, true)) {
        return lease__refuse_desc(error, LEASE_BAD_NAME);
    }
    if (ns == NULL || !lease__is_dns_name(ns, LEASE_MAX_NAMESPACE, false)) {
        return lease__refuse_desc(error, LEASE_BAD_NAMESPACE);
    }
    lease__copy(self->object.name, sizeof self->object.name, desc->name);
    lease__copy(self->object.ns, sizeof self->object.ns, ns);
    if (desc->labels == NULL || desc->labels[0] == '\0') return LEASE_OK;
    const size_t length = strlen(desc->labels);
    if (length > LEASE_MAX_LABELS || !lease__are_labels(desc->labels)) {
        return lease__refuse_desc(error, LEASE_BAD_LABELS);
    }
    self->object.labels = (char *)LEASE_CALLOC(1, length + 1);
    if (self->object.labels == NULL) return lease__refuse_desc(error, LEASE_NO_MEMORY);
    memcpy(self->object.labels, desc->labels, length);
    return LEASE_OK;
}

/* HOSTNAME_UUID, as prometheus-engine's pkg/lease does: unique for each start of each process. */
static lease_status lease__default_identity(const lease_client *client, char *out, size_t capacity,
                                            lease_error *error) {
    char host[HOST_NAME_MAX + 1];
    unsigned char random[16];
    if (gethostname(host, sizeof host) != 0 || !lease__is_printable_utf8(host)) host[0] = '\0';
    host[sizeof host - 1] = '\0';
    if (!client->hooks.random(client->hooks.context, random, sizeof random)) {
        return lease__refuse_desc(error, LEASE_NO_RANDOM);
    }
    lease__buf buf = lease__buf_make(out, capacity);
    lease__put(&buf, host);
    lease__put(&buf, "_");
    lease__put_uuid(&buf, random);
    return LEASE_OK;
}

static lease_status lease__take_core(lease *self, const lease_desc *desc, lease_error *error) {
    char identity[LEASE_MAX_IDENTITY + 1];
    lease_core_desc core;
    memset(&core, 0, sizeof core);
    core.identity = desc->identity;
    if (core.identity == NULL) {
        const lease_status status =
            lease__default_identity(self->client, identity, sizeof identity, error);
        if (status != LEASE_OK) return status;
        core.identity = identity;
    }
    core.lease_duration_ms = desc->lease_duration_ms;
    core.renew_deadline_ms = desc->renew_deadline_ms;
    core.retry_period_ms = desc->retry_period_ms;
    core.stop_budget_ms = desc->stop_budget_ms;
    core.request_timeout_ms = self->client->request_timeout_ms;
    core.max_fail_open_ms = desc->max_fail_open_ms;
    core.strict_creation = desc->strict_creation;
    core.observe_only = desc->observe_only;
    return lease_core_init(&self->core, &core, error);
}

/* What the timing means, in the host's log: the inequality is what users buy. */
static void lease__log_timing(const lease *self) {
    lease_timing timing;
    lease_core_timing(&self->core, &timing);
    lease__log(self->client, LEASE_LOG_INFO, self, "", timing.text);
}

/* Puts it where the loop finds it. */
static bool lease__enlist(lease *self) {
    lease_client *client = self->client;
    lease__lock(client);
    const bool room = client->count < LEASE_MAX_LEASES;
    if (room) {
        self->next = client->incoming;
        client->incoming = self;
        client->count++;
        lease__atomic_store(&client->commanded, true);
    }
    lease__unlock(client);
    return room;
}

LEASE_API lease_status lease_create(lease_client *client, const lease_desc *desc, lease **out,
                                    lease_error *error) {
    if (client == NULL || desc == NULL || out == NULL) {
        return lease__refuse_desc(error, LEASE_BAD_ARGUMENT);
    }
    *out = NULL;
    if (!lease__is_alive(client)) return lease__refuse_desc(error, LEASE_FORKED);
    lease *self = (lease *)LEASE_CALLOC(1, sizeof *self);
    if (self == NULL) return lease__refuse_desc(error, LEASE_NO_MEMORY);
    self->client = client;
    self->on_event = desc->on_event;
    self->user = desc->user;
    self->release_on_stop = desc->release_on_stop;
    self->wake_ms = 0; /* due at once */
    lease_status status = lease__take_address(self, desc, error);
    if (status == LEASE_OK) status = lease__take_core(self, desc, error);
    if (status == LEASE_OK) {
        lease__publish(self, true);
        lease__log_timing(self);
        if (!lease__enlist(self)) status = lease__refuse_desc(error, LEASE_LIMIT);
    }
    if (status != LEASE_OK) {
        lease__free(self);
        return status;
    }
    lease__wake(client);
    *out = self;
    return LEASE_OK;
}

/* Gives the loop a command. The questions say "not leader" from here on if it revokes. */
static lease_status lease__command(lease *self, uint32_t command) {
    if (self == NULL) return LEASE_BAD_ARGUMENT;
    lease_client *client = self->client;
    if (!lease__is_alive(client)) return LEASE_FORKED;
    lease__lock(client);
    if (command == LEASE__COMMAND_RELEASE) self->commands &= ~LEASE__COMMAND_CONTEND;
    if (command != LEASE__COMMAND_CONTEND) lease__atomic_store(&self->revoked, true);
    self->commands |= command;
    lease__atomic_store(&client->commanded, true);
    lease__unlock(client);
    lease__wake(client);
    return LEASE_OK;
}

LEASE_API void lease_destroy(lease *self) {
    if (self == NULL || !lease__is_alive(self->client)) return;
#if LEASE__THREADS
    lease_client *client = self->client;
    lease__lock(client);
    lease__atomic_store(&self->revoked, true);
    while (client->calling == self && !pthread_equal(client->caller, pthread_self())) {
        pthread_cond_wait(&client->called, &client->mutex);
    }
    self->on_event = NULL;
    lease__unlock(client);
#endif
    lease__command(self, LEASE__COMMAND_DESTROY);
}

LEASE_API lease_status lease_release(lease *self) {
    return lease__command(self, LEASE__COMMAND_RELEASE);
}

LEASE_API lease_status lease_contend(lease *self) {
    return lease__command(self, LEASE__COMMAND_CONTEND);
}

/* -- The questions ---------------------------------------------------------------------------- */

/* False for a child of fork, and once lease_release or lease_destroy has been called. Asked last: a
 * signal handler that forks may interrupt a question. */
static bool lease__may_answer(const lease *self) {
    return lease__is_alive(self->client) && !lease__atomic_load(&self->revoked);
}

/* Deadline and token of one moment; zero when they say nothing any more. */
static int64_t lease__ask(const lease *self, uint64_t *token) {
    struct {
        int64_t valid_until_ms;
        uint64_t token;
    } term;
    *token = 0;
    if (self == NULL) return 0;
    lease__latch_read(&self->latch, &term, sizeof term);
    const int64_t left_ms = term.valid_until_ms - lease__client_now(self->client);
    if (term.valid_until_ms == 0 || left_ms <= 0 || !lease__may_answer(self)) return 0;
    *token = term.token;
    return left_ms;
}

LEASE_API bool lease_is_leader(const lease *self) {
    uint64_t token;
    return lease__ask(self, &token) > 0;
}

LEASE_API int64_t lease_remaining_ms(const lease *self) {
    uint64_t token;
    return lease__ask(self, &token);
}

LEASE_API uint64_t lease_token(const lease *self) {
    uint64_t token;
    lease__ask(self, &token);
    return token;
}

LEASE_API bool lease_range(const lease *self, lease_time_range *range) {
    struct {
        int64_t valid_until_ms;
        uint64_t token;
        lease_range_state range;
    } term;
    if (self != NULL) {
        lease__latch_read(&self->latch, &term, sizeof term);
        const int64_t now_ms = lease__client_now(self->client);
        const int64_t wall_us = lease__client_wall(self->client);
        if (lease__may_answer(self)) {
            return lease_core_range(&term.range, now_ms, wall_us, range, NULL);
        }
    }
    memset(range, 0, sizeof *range);
    return false;
}

static lease_state lease__view_state(const lease__published *state, const lease_view *view) {
    if (view->is_leader) return LEASE_STATE_LEADER;
    if (view->failing_open) return LEASE_STATE_FAIL_OPEN;
    if (state->standing_aside) return LEASE_STATE_RELEASED;
    return state->observer ? LEASE_STATE_OBSERVER : LEASE_STATE_FOLLOWER;
}

static void lease__view_fill(lease_view *view, const lease__published *state) {
    view->observed = state->observed;
    view->exists = state->exists;
    view->released = state->release_complete;
    view->last_status = state->last_status;
    view->last_renewal_ms = state->last_renewal_ms;
    view->acquire_time_us = state->acquire_time_us;
    view->renew_time_us = state->renew_time_us;
    view->lease_duration_s = state->lease_duration_s;
    view->transitions = state->transitions;
    view->acquisitions = state->acquisitions;
    view->losses = state->losses;
    view->renewals = state->renewals;
    view->renewal_failures = state->renewal_failures;
    view->slow_path = state->slow_path;
    view->foreign_writes = state->foreign_writes;
    view->leader_changes = state->leader_changes;
    lease__copy(view->holder, sizeof view->holder, state->holder);
}

LEASE_API void lease_view_get(const lease *self, lease_view *view) {
    lease__published state;
    memset(view, 0, sizeof *view);
    if (self == NULL) return;
    lease__latch_read(&self->latch, &state, sizeof state);
    const int64_t now_ms = lease__client_now(self->client);
    const int64_t wall_us = lease__client_wall(self->client);
    if (!lease__is_alive(self->client)) return;
    const bool may_answer = lease__may_answer(self);
    lease__view_fill(view, &state);
    if (may_answer && now_ms < state.valid_until_ms) {
        view->is_leader = true;
        view->remaining_ms = state.valid_until_ms - now_ms;
        view->token = state.token;
    }
    if (may_answer) {
        view->has_range = lease_core_range(&state.range, now_ms, wall_us, &view->range,
                                           &view->failing_open);
    }
    view->state = lease__view_state(&state, view);
}

LEASE_API const char *lease_identity(const lease *self) {
    return self != NULL ? self->core.own_identity : "";
}

LEASE_API const char *lease_namespace(const lease *self) {
    return self != NULL ? self->object.ns : "";
}

/* -- Metrics ---------------------------------------------------------------------------------- */

static bool lease__next_sample(void *leases, const void **cursor, lease__sample *sample) {
    const lease_client *client = (const lease_client *)leases;
    const lease *last = (const lease *)*cursor;
    const lease *self = last == NULL ? client->leases : last->next;
    while (self != NULL && self->key_taken) self = self->next; /* a series must not come twice */
    if (self == NULL) return false;
    *cursor = self;
    sample->ns = self->object.ns;
    sample->name = self->object.name;
    sample->name_taken = self->name_taken;
    sample->now_ms = lease__client_now(client);
    lease_view_get(self, &sample->view);
    return true;
}

LEASE_API size_t lease_metrics_write(const lease_client *client, lease_metrics_format format,
                                     char *text, size_t capacity) {
    lease__buf buf = lease__buf_make(text, capacity);
    if (client == NULL || !lease__is_alive(client)) return 0;
    lease_client *shared = (lease_client *)(uintptr_t)client;
    lease__metrics metrics;
    metrics.buf = &buf;
    metrics.format = format;
    metrics.prefix = client->metrics_prefix;
    metrics.leases = shared;
    metrics.next = lease__next_sample;
    lease__lock(shared);
    lease__metrics_write(&metrics);
    lease__unlock(shared);
    return buf.length;
}

#ifdef __cplusplus
}
#endif
#endif /* LEASE_IMPLEMENTATION */

/* MIT License
 *
 * Copyright (c) 2026 lease.h authors
 *
 * Permission is hereby granted, free of charge, to any person obtaining a copy of this software and
 * associated documentation files (the "Software"), to deal in the Software without restriction,
 * including without limitation the rights to use, copy, modify, merge, publish, distribute,
 * sublicense, and/or sell copies of the Software, and to permit persons to whom the Software is
 * furnished to do so, subject to the following conditions:
 *
 * The above copyright notice and this permission notice shall be included in all copies or
 * substantial portions of the Software.
 *
 * THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING
 * BUT NOT
 * LIMITED TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND
 * NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM,
 * DAMAGES OR OTHER LIABILITY,
 * WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH
 * THE
 * SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE. */
