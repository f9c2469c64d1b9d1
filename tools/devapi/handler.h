/* handler.h -- the Lease API as a function: bytes of a request in, bytes of an answer out.
 *
 * No sockets, no clock, no globals: time is given and all that is remembered is in devapi_state, so
 * a simulator can link it (all files here but main.c, server.c and ca.c). What it answers is what
 * kube-apiserver 1.37 answers; tests/e2e/conformance.tsv holds both to it.
 *
 * Limits beside the real server's: a body of DEVAPI_MAX_BODY, DEVAPI_MAX_OBJECTS Leases, an object
 * of at most 1024 JSON tokens, no PATCH, no protobuf. Strict JSON: no lone surrogates, no NUL.
 * Times between year 1 and 1970 become 1970. */
#ifndef DEVAPI_HANDLER_H
#define DEVAPI_HANDLER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DEVAPI_MAX_HEAD ((size_t)64 * 1024)
#define DEVAPI_MAX_BODY ((size_t)256 * 1024)
#define DEVAPI_MAX_REQUEST (DEVAPI_MAX_HEAD + 2 * DEVAPI_MAX_BODY) /* with chunk framing */
#define DEVAPI_MAX_OBJECTS 4096
#define DEVAPI_MAX_WATCHERS 256
#define DEVAPI_MAX_ACCOUNT_TOKEN 4096
#define DEVAPI_NO_WATCHER (-1)

typedef struct devapi_now {
    int64_t ms;      /* any clock that does not go back: decides when a watch ends */
    int64_t wall_us; /* Unix time: goes into objects */
} devapi_now;

typedef struct devapi_desc {
    const char *ns;            /* the namespace of the service account */
    const char *admin_token;   /* may do everything */
    const char *account_token; /* may do with Leases of ns what its Role says */
    uint64_t seed;             /* of the uids */
} devapi_desc;

/* One request that has arrived completely, or as much of it as devapi_frame calls whole. */
typedef struct devapi_call {
    devapi_now now;
    const char *bytes;
    size_t length;
    uint64_t connection; /* any number; shown in the log of requests */
    bool resumed;        /* the same request again, after answer.hold_ms */
} devapi_call;

/* What to do with the connection. To be freed by devapi_answer_free. */
typedef struct devapi_answer {
    char *data; /* NULL with length 0 when nothing is to be sent */
    size_t length;
    size_t capacity;
    int32_t hold_ms;    /* > 0: nothing was done yet; call again with resumed after so long */
    int32_t delay_ms;   /* send only after so long */
    int32_t trickle_ms; /* > 0: send one byte each so many milliseconds */
    bool close;         /* close the connection after the answer */
    bool abrupt;        /* close it without TLS's close_notify, as a killed server does */
    bool reset;         /* close it by RST */
    bool under_tls;     /* the bytes go to the socket itself, not into the TLS session */
    int watcher;        /* >= 0: devapi_watch_pull has the rest of the answer */
    bool token_changed; /* devapi_account_token tells another one than before */
    bool failed;        /* out of memory: close the connection */
} devapi_answer;

typedef struct devapi_state devapi_state;

devapi_state *devapi_state_create(const devapi_desc *desc); /* NULL: out of memory, bad desc */
void devapi_state_destroy(devapi_state *state);             /* NULL is fine */
const char *devapi_account_token(const devapi_state *state);

void devapi_handle(devapi_state *state, const devapi_call *call, devapi_answer *answer);
void devapi_answer_free(devapi_answer *answer);

/* Where the first request in some bytes ends. */
typedef enum devapi_framing {
    DEVAPI_FRAME_MORE,  /* it is not complete; expect_continue: the client waits for a 100 */
    DEVAPI_FRAME_WHOLE, /* used bytes are for devapi_handle, discard more are to be dropped first */
    DEVAPI_FRAME_BAD    /* it is no HTTP: devapi_handle answers 400 */
} devapi_framing;

typedef struct devapi_frame_result {
    size_t used;
    uint64_t discard;
    bool expect_continue;
} devapi_frame_result;

devapi_framing devapi_frame(const char *bytes, size_t length, devapi_frame_result *result);

/* Adds what is to be sent to a watcher now; false when the watch has ended (with a last chunk,
 * unless answer.close is set). After that, or after devapi_watch_close, the number is free. */
bool devapi_watch_pull(devapi_state *state, devapi_now now, int watcher, devapi_answer *answer);
int64_t devapi_watch_wake_ms(const devapi_state *state, int watcher); /* pull no later than this */
void devapi_watch_close(devapi_state *state, int watcher);

/* A fault set for verb CONNECT, at a new connection: *hold_ms > 0 to begin only after so long;
 * false to close it at once. */
bool devapi_connect_fault(devapi_state *state, int32_t *hold_ms);

#endif
