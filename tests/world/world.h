/* The whole client in a deterministic world: real lease_clients, with everything that is in them,
 * in one process and in virtual time. Their transport is a network that cuts, delays, loses and
 * mixes up bytes; behind it stands devapi's request handler; a referee knows what is true.
 *
 * One 64-bit seed chooses everything; the same seed gives the same run, bit for bit, on every
 * compiler. No real clock, no socket, no thread, no address and no uninitialised byte enters a run.
 *
 *   lease.c   the library: lease.h with its implementation, and nothing else
 *   base.c    random numbers, clocks, trace, trace hash, failures, "sometimes" counters
 *   wire.c    connections: the lease_transport, and bytes under way in both directions
 *   http.c    requests taken apart, answers put together, as the referee sees them
 *   server.c  devapi behind the connections: its answers, its faults, its administrator
 *   host.c    processes: a client, its event loop, its callbacks, its life and death
 *   judge.c   the referee: what each may do, and what all of them together may do
 *   config.c  what a seed chooses before the run: processes, timing, clocks, kinds of faults
 *   fault.c   which faults come when
 *   world.c   the phases of a run, and its loop
 *   main.c    run sets, options, the summary
 *   mutants   lease.h with one mistake each, which all have to be found */
#ifndef WORLD_H
#define WORLD_H

#include "lease.h"
#include "tools/devapi/handler.h"

#define WORLD_MAX_HOSTS 6
#define WORLD_MAX_LEASES 4 /* of one host */
#define WORLD_MAX_NAMES 3
#define WORLD_MAX_UIDS 16
#define WORLD_MAX_WIRES 64
#define WORLD_MAX_SEGMENTS 32 /* under way in one direction of a wire */
#define WORLD_MAX_REQUEST 8192
#define WORLD_MAX_ANSWER 16384
#define WORLD_MAX_TOKEN 1100
#define WORLD_NS "world"
#define WORLD_NEVER INT64_MAX

/* -- Time -----------------------------------------------------------------------------------------
 * True time is in microseconds from the start of the run. A host reads its own clocks only. */

typedef struct world_clock {
    int64_t origin_us;      /* boot time at true time 0 */
    int64_t rate_ppm;       /* how much faster than true time it runs */
    int64_t wall_offset_us; /* wall time minus boot time */
} world_clock;

/* -- Random numbers -------------------------------------------------------------------------------
 * One stream for each purpose, so that a draw more in one does not shift the others. */

typedef struct world_random {
    uint64_t state;
} world_random;

uint64_t world_random_next(world_random *random);
int64_t world_random_range(world_random *random, int64_t low, int64_t high); /* both included */
bool world_random_chance(world_random *random, int32_t per_mille);

/* -- Coverage -------------------------------------------------------------------------------------
 * What must really have happened in a run set, so that the world stays honest when the code or the
 * world changes: a run set in which one of them never happens fails. */

#define WORLD_SOMETIMES_LIST(X)                                                                    \
    X(CUT_REQUEST, "a request arrived in pieces")                                                  \
    X(CUT_ANSWER, "an answer arrived in pieces")                                                   \
    X(BYTE_BY_BYTE, "a request was handed over byte by byte")                                      \
    X(BLOCKED, "a request had to wait half sent")                                                  \
    X(CROSSED, "send wanted to read, or recv to write")                                            \
    X(RECORD_LATE, "a readable connection had nothing whole to read")                              \
    X(NO_DESCRIPTOR, "a connection without a descriptor carried a request")                        \
    X(RESET_REQUEST, "a connection was reset with half a request arrived")                         \
    X(RESET_ANSWER, "a connection was reset with half an answer under way")                        \
    X(TRUNCATED, "a connection ended in order within an answer")                                   \
    X(ANSWER_LOST, "a write was applied and its answer lost")                                      \
    X(READ_BACK, "a term or renewal came from reading back an unanswered write")                   \
    X(GAVE_UP, "a request was given up at its time limit")                                         \
    X(LATE_APPLIED, "a write was applied after its sender had given it up")                        \
    X(LATE_REFUSED, "a write came after its sender had given it up, and was refused")              \
    X(AFTER_CRASH, "a write of a process that had crashed was applied")                            \
    X(AFTER_DESTROY, "a write of a lease that had been destroyed was applied")                     \
    X(HALF_SENT, "a connection ended with half a request arrived")                                 \
    X(HALF_OPEN, "a connection fell silent in both directions")                                    \
    X(REFUSED, "a connection was refused")                                                         \
    X(HUNG, "a connection never came to stand")                                                    \
    X(WRONG_PEER, "a connection led to a peer without the certificate, and got no byte")           \
    X(IDLE_CLOSED, "the server closed an idle connection")                                         \
    X(STALE, "a request met a connection that the server had closed, and went out again")          \
    X(RESENT_APPLIED, "a write that went out twice was applied the first time")                    \
    X(GARBAGE, "an answer was no HTTP, or no Lease")                                               \
    X(REPLAYED, "the answer to another request came")                                              \
    X(EXTRA, "bytes followed an answer")                                                           \
    X(EXTRA_IDLE, "bytes came on an idle connection")                                              \
    X(REDIRECT, "the server redirected to another host")                                           \
    X(CHUNKED, "an answer came in chunks")                                                         \
    X(INTERIM, "an answer came behind an interim one")                                             \
    X(CLOSE_HEADER, "an answer announced the end of its connection")                               \
    X(THROTTLED, "429 with Retry-After")                                                           \
    X(SERVER_ERROR, "5xx")                                                                         \
    X(UNAUTHORIZED, "401")                                                                         \
    X(FORBIDDEN, "403")                                                                            \
    X(HELD, "the server began to work on a request long after it came")                            \
    X(ROTATED, "the token changed on disk and on the server")                                      \
    X(TOKEN_REPEATED, "a request went out again with the new token after a 401")                   \
    X(STRANGER, "an unverified peer was asked, without a token")                                   \
    X(RENAMED, "a restarted process was told another name of the server")                          \
    X(PAUSED_LEADER, "a leader was stopped for longer than its validity")                          \
    X(CUT_OFF, "the leader was cut off and somebody else took the Lease")                          \
    X(OUTAGE, "a leader renewed after failures in a row")                                          \
    X(EXPIRED, "a term ended at its deadline")                                                     \
    X(CLOCK_JUMP, "wall time ran ahead of boot time under a leader")                               \
    X(DELETED, "a leader saw that the Lease is gone")                                              \
    X(STRICT_CREATE, "a Lease was created unheld")                                                 \
    X(RACE_UPDATE, "two followers wrote over one version")                                         \
    X(RACE_CREATE, "two candidates created one Lease")                                             \
    X(RESTARTED_SAME, "a process came back under its name of before")                              \
    X(RELEASED, "a release was applied")                                                           \
    X(RELEASE_UNKNOWN, "a release was applied and its answer lost")                                \
    X(CALLBACK_RELEASE, "a callback released its lease")                                           \
    X(CALLBACK_DESTROY, "a callback destroyed its lease")                                          \
    X(CALLBACK_CREATE, "a callback created a lease")                                               \
    X(DESTROYED_BUSY, "a lease was destroyed with its request under way")                          \
    X(SHUTDOWN, "a process released everything and ended")                                         \
    X(STOPPED, "a client was stopped and did nothing more")                                        \
    X(TWO_IN_ONE, "two leases of one client stood for one Lease")                                  \
    X(OBSERVED, "an observer followed a change of the leader")                                     \
    X(FAIL_OPEN, "a range failed open")                                                            \
    X(SPLICED, "what an administrator had written survived a write of ours")

typedef enum world_sometimes {
#define WORLD_ENUM(name, text) WORLD_##name,
    WORLD_SOMETIMES_LIST(WORLD_ENUM)
#undef WORLD_ENUM
    WORLD_SOMETIMES_COUNT
} world_sometimes;

const char *world_sometimes_text(world_sometimes what);

typedef struct world_stats {
    uint64_t runs, elections, events, turns, requests, simulated_us, hash;
    int64_t worst_crash_permille;   /* takeover after a crash, in parts of its bound */
    int64_t worst_release_permille; /* ... after a release */
    uint64_t sometimes[WORLD_SOMETIMES_COUNT];
} world_stats;

/* -- Configuration of a run -------------------------------------------------------------------- */

typedef enum world_fault {
    WORLD_FAULT_CUT,       /* bytes go in pieces of any size */
    WORLD_FAULT_BLOCK,     /* send and recv have to wait in between */
    WORLD_FAULT_SLOW,      /* bytes take up to several time limits */
    WORLD_FAULT_LATE,      /* ... up to a minute */
    WORLD_FAULT_RESET,
    WORLD_FAULT_TRUNCATE,
    WORLD_FAULT_LOSS,      /* of the answer */
    WORLD_FAULT_SILENCE,   /* half-open connections */
    WORLD_FAULT_REFUSE,
    WORLD_FAULT_HANG,
    WORLD_FAULT_PEER,      /* a connection leads to somebody else */
    WORLD_FAULT_IDLE,      /* the server closes idle connections */
    WORLD_FAULT_FORM,      /* legal answers of another form: chunks, interim answers, close */
    WORLD_FAULT_GARBAGE,
    WORLD_FAULT_REPLAY,
    WORLD_FAULT_EXTRA,
    WORLD_FAULT_REDIRECT,
    WORLD_FAULT_ERRORS,    /* 429, 5xx, set at devapi */
    WORLD_FAULT_DENY,      /* 401, 403, set at devapi */
    WORLD_FAULT_DELAY,     /* devapi's own delays, drops and resets */
    WORLD_FAULT_ROTATE,
    WORLD_FAULT_PARTITION,
    WORLD_FAULT_PAUSE,     /* SIGSTOP, SIGCONT */
    WORLD_FAULT_LAZY,      /* the loop comes late */
    WORLD_FAULT_CRASH,
    WORLD_FAULT_RELEASE,
    WORLD_FAULT_DESTROY,   /* leases come and go */
    WORLD_FAULT_SHUTDOWN,
    WORLD_FAULT_CALLBACK,  /* callbacks give commands */
    WORLD_FAULT_WALL,      /* wall time steps */
    WORLD_FAULT_DELETE,    /* with strict_creation only */
    WORLD_FAULT_ANNOTATE,
    WORLD_FAULT_COUNT
} world_fault;

typedef struct world_timing {
    int32_t duration_ms, deadline_ms, retry_ms, stop_ms;
} world_timing;

typedef struct world_config {
    uint32_t faults; /* 1 << world_fault */
    world_timing timing[2]; /* the second is another one when the run mixes them */
    bool mixed;
    int64_t slowest_ppm; /* the slowest clock runs that much behind true time */
    int64_t chaos_us;
    int64_t fault_gap_us; /* between two faults of one kind, on average */
    int64_t latency_us;   /* of bytes without faults, at most */
    int32_t timeout_ms;   /* of a request */
    int32_t names;
    int32_t clean_elections;
    bool strict_creation;
    bool same_identity; /* a restarted process may keep its identity */
    bool no_descriptor;
    bool labels;            /* of our own, beside what the administrator writes */
    int64_t wall_s;         /* Unix time at the start */
    int64_t max_fail_open_ms;
    size_t token_length;
} world_config;

/* -- Requests as the referee sees them --------------------------------------------------------- */

typedef enum world_method { WORLD_GET, WORLD_POST, WORLD_PUT } world_method;

typedef struct world_request {
    bool known; /* its bytes have all been handed over and taken apart */
    world_method method;
    int32_t name;
    uint32_t author; /* serial of the lease that writes; 0 = a read */
    bool release;
    bool again;      /* went out once before, on a connection that had been closed */
    bool given_up;   /* the sender has closed the connection since */
    uint32_t incarnation; /* of its host */
    int64_t begun_us; /* true time, and the sender's clock, at its first byte */
    int64_t begun_ms;
    int64_t rate_ppm;
    int32_t duration_ms, deadline_ms;
    int32_t transitions;
    uint64_t version; /* it is over this one */
    char uid[48];
    char holder[48];
} world_request;

/* -- Wires ------------------------------------------------------------------------------------- */

typedef enum world_segment_kind {
    WORLD_SEGMENT_DATA,
    WORLD_SEGMENT_END,   /* the sender has closed */
    WORLD_SEGMENT_RESET,
    WORLD_SEGMENT_NUDGE  /* a part of a record: readable, and nothing to read */
} world_segment_kind;

typedef struct world_segment {
    world_segment_kind kind;
    int64_t at_us;
    size_t count;
} world_segment;

/* One direction. bytes holds what was sent and not yet taken; arrived of them can be taken. */
typedef struct world_stream {
    world_segment segments[WORLD_MAX_SEGMENTS];
    int32_t first, count;
    int64_t last_us;  /* arrival of the latest segment: the order is kept */
    int64_t put_us;   /* when it was sent */
    size_t length, arrived;
    bool ended, reset; /* has arrived */
} world_stream;

typedef struct world_host world_host;
typedef struct world_world world_world;

/* Instants at which a wire changes for its client without anything arriving. */
typedef enum world_edge {
    WORLD_EDGE_CONNECTED, /* TCP stands */
    WORLD_EDGE_READY,     /* TLS stands */
    WORLD_EDGE_FATE,      /* ... or never will */
    WORLD_EDGE_WRITABLE,  /* send takes bytes again */
    WORLD_EDGE_COUNT
} world_edge;

typedef struct world_wire {
    bool used;
    bool open; /* the client holds it */
    world_host *host;
    int32_t number;
    int64_t edges_us[WORLD_EDGE_COUNT];
    bool fired[WORLD_EDGE_COUNT]; /* the client has been woken for it */
    lease_status fate;        /* what becomes of it instead of standing */
    int64_t attempt_us;       /* when the exchange, or the opening, began */
    int64_t attempt_ms;       /* ... on the client's clock */
    bool silent;              /* nothing arrives any more, on either side */
    bool deaf;                /* nothing arrives at the client any more */
    bool nudged;              /* readable, but there may be nothing whole to read */
    bool cross_in, cross_out; /* the next recv wants to write, the next send to read */
    int64_t grain;            /* bytes of one call at most; 0 = any number, chosen each time */
    bool carried;             /* an exchange before this one */
    bool whole;               /* recv gives all that is there */
    int64_t extra_us;         /* bytes come then, if it is idle */
    bool unread;              /* bytes lay there when the turn began, and no request was sent */
    bool again;               /* its first request went out before, on another wire */
    bool told_end;            /* the client has been told that the server has ended it */
    /* the exchange */
    bool busy;
    world_request request;
    size_t asked;           /* bytes of it that were handed over */
    int32_t blocks;         /* how often that had to wait */
    size_t asked_total;     /* 0 = its head is not complete */
    uint64_t answer_bytes;  /* of this answer; 0 = not answered yet */
    uint64_t taken_bytes;   /* ... of which the client has taken so many */
    bool refused;           /* it is a 401 */
    int32_t retry_ms;       /* its Retry-After; 0 = none */
    bool announced;         /* it says that the connection ends behind it */
    /* the server's side */
    bool server_closed;
    bool handled;           /* devapi has worked on the present request */
    int64_t hold_us;        /* devapi asks to be called again then */
    int64_t idle_us;        /* the server closes it then, if it is idle */
    world_stream out, in;   /* to the server, to the client */
    char ask[WORLD_MAX_REQUEST + 1];
    char out_bytes[WORLD_MAX_REQUEST + 1];
    char in_bytes[WORLD_MAX_ANSWER + 1];
} world_wire;

/* -- The server -------------------------------------------------------------------------------- */

/* One Lease as it is stored, and what the referee knows about its last write. */
typedef struct world_object {
    bool exists;
    uint64_t version;
    char uid[48];
    char former_uids[WORLD_MAX_UIDS][48];
    uint32_t former; /* ... so many, the oldest ones replaced */
    char holder[48];
    int32_t transitions, duration_ms;
    uint32_t author; /* serial of the lease whose write holder and times are; 0 = none */
    int64_t stored_us;  /* this version */
    int64_t created_us; /* this uid */
    bool ever_held;     /* ... since then */
    uint64_t replaced;  /* the version that the author's write was over; 0 = it created */
    uint64_t highest_token;
    uint32_t last_leader; /* serial */
    int32_t note; /* an annotation that must survive; 0 = none */
} world_object;

/* -- Hosts ------------------------------------------------------------------------------------- */

typedef struct world_lease {
    bool used;
    world_host *host;
    lease *self;
    uint32_t serial; /* of all leases of the run; stays when it is gone; never 0 */
    int32_t name;
    char identity[48];
    world_timing timing;
    bool observer;
    bool twin; /* another one of the same host stands for the same Lease */
    bool leading; /* between ACQUIRED and LOST */
    uint64_t token, last_token;
    int64_t valid_until_ms, work_until_ms;
    int64_t backed_ms;      /* validity that its applied writes can give */
    bool asked_release, release_untold;
    bool aside;      /* RELEASED was told, and it has not taken up lease_contend since */
    bool contending; /* ... which has been called */
    bool release_applied;
    world_method last_method;
    int64_t not_before_ms;  /* the server asked for a pause until then */
    int64_t active_ms;      /* its last request, answer, or command; on the host's clock */
    int64_t asked_us;       /* when the last exchange that has ended began */
    int32_t failures;       /* RENEW_FAILED in a row */
    bool altered;           /* the last answer showed another record than was written */
    int64_t contend_us;     /* it stands again then */
    bool doomed;            /* it is destroyed with its next write under way */
    int64_t doom_us;        /* ... then */
    char told_holder[48];   /* by LEADER_CHANGED */
} world_lease;

struct world_host {
    world_world *world;
    int32_t index;
    bool stranger; /* its transport is not verified */
    bool alive;
    uint32_t incarnation;
    uint32_t starts; /* of new identities */
    world_clock clock;
    world_random random; /* behind the hook */
    lease_client *client;
    const char *server; /* the URL it was told, and what is to come of it */
    const char *address;
    const char *host_header;
    uint16_t port;
    int32_t plan[WORLD_MAX_LEASES]; /* the name of each of its leases; -1 = none */
    uint32_t observers;             /* bits of those that never contend */
    world_lease leases[WORLD_MAX_LEASES];
    /* the loop */
    bool turning;
    bool moved; /* something has happened in this turn */
    int32_t fruitless; /* turns in a row that did nothing */
    int64_t timer_us, ready_us; /* the loop turns then */
    int64_t resume_us;          /* it is stopped until then; NEVER = it runs */
    int64_t restart_us;
    int64_t shut_us; /* it is ending, and waits for its releases no longer than that */
    short poll_events; /* what its connection is polled for */
    /* its connections */
    world_wire *wire;
    bool crashing; /* its connections end without a word */
    int64_t refused_answer_us; /* a 401 was taken then */
    int32_t token_seen;    /* in its last request */
    int64_t token_sent_us; /* ... for which it was read then; -1 = some time before */
    int64_t stale_us; /* a kept connection broke then without an answer */
    int64_t stale_attempt_us, stale_attempt_ms; /* ... to a request of that time */
    int32_t opened, closed;
    int64_t open_failed_ms; /* on its own clock */
    int64_t credit, credit_us; /* requests that it may make, in thousandths; counted until then */
    int64_t cut_out_us, cut_in_us, refused_us;
};

/* -- The world --------------------------------------------------------------------------------- */

typedef enum world_phase {
    WORLD_PHASE_CHAOS,
    WORLD_PHASE_HEAL,    /* the faults have stopped: all must agree within a bound */
    WORLD_PHASE_STABLE,  /* ... and stay so */
    WORLD_PHASE_CRASH,   /* a leader was killed: the next one within a bound */
    WORLD_PHASE_RELEASE, /* leaders have released */
    WORLD_PHASE_DONE
} world_phase;

struct world_world {
    uint64_t seed;
    bool trace;
    bool failed;
    char failure[320];
    world_stats *stats;
    uint64_t hash;
    int64_t now_us;
    world_config config;
    world_random random_config, random_net, random_server, random_fault, random_host;
    devapi_state *api;
    world_object objects[WORLD_MAX_NAMES];
    char token_prefix[32];
    int32_t tokens; /* issued so far */
    char token[WORLD_MAX_TOKEN + 1]; /* good at the server */
    int64_t token_file_us, token_use_us; /* the newest comes into the file, and is good */
    int32_t token_written; /* the newest in the file */
    int64_t token_written_us;
    int64_t role_until_us; /* the Role lacks a verb until then */
    char last_answer[WORLD_MAX_ANSWER]; /* of another request, to be replayed */
    size_t last_answer_length;
    world_host hosts[WORLD_MAX_HOSTS];
    int32_t host_count;
    uint32_t serials;
    world_phase phase;
    int64_t phase_began_us, phase_until_us;
    int64_t host_fault_us, net_fault_us, server_fault_us;
    int32_t clean_left;
    int32_t crashed; /* host that was killed in the clean phase; -1 = none */
    uint32_t former[WORLD_MAX_NAMES]; /* serials of the leaders deposed there; 0 = none */
    int32_t wire_number;
    world_wire wires[WORLD_MAX_WIRES]; /* the last member: large, cleared one by one */
};

/* base.c */
#if defined(__GNUC__)
#define WORLD_PRINTF(text, first) __attribute__((format(printf, text, first)))
#else
#define WORLD_PRINTF(text, first)
#endif
void world_fail(world_world *world, const world_host *host, const char *format, ...)
    WORLD_PRINTF(3, 4);
void world_trace(const world_world *world, const world_host *host, const char *format, ...)
    WORLD_PRINTF(3, 4);
void world_hash(world_world *world, uint64_t value);
void world_hit(world_world *world, world_sometimes what);
bool world_has(const world_world *world, world_fault fault);
bool world_strikes(world_world *world, world_random *random, world_fault fault, int32_t per_mille);
bool world_is_clean(const world_world *world); /* no fault can be the reason of anything */
int64_t world_boot_us(const world_world *world, const world_host *host);
int64_t world_boot_ms(const world_world *world, const world_host *host);
int64_t world_when_us(const world_host *host, int64_t boot_ms);
int64_t world_wall_us(const world_world *world, const world_host *host);
int64_t world_least(int64_t a, int64_t b);
int64_t world_most(int64_t a, int64_t b);

/* wire.c */
extern const lease_transport world_transport;
bool world_wires_init(void); /* descriptors for a whole run set */
int64_t world_wire_next_us(const world_wire *wire);
void world_wire_act(world_world *world, world_wire *wire);
bool world_wire_is_ready(const world_world *world, const world_wire *wire, short events);
void world_wire_send(world_world *world, world_wire *wire, const char *bytes, size_t count);
void world_wire_end(world_world *world, world_wire *wire, world_segment_kind kind);
void world_wires_heal(world_world *world);

/* http.c */
size_t world_message_length(const char *text, size_t length); /* 0 = not whole yet */
bool world_json_text(const char *json, const char *key, char *out, size_t capacity);
int64_t world_json_number(const char *json, const char *key, int64_t otherwise);
void world_take_request(world_world *world, world_host *host, world_wire *wire);
const char *world_method_name(world_method method);
const char *world_name(int32_t name);

/* server.c */
bool world_server_init(world_world *world);
void world_server_end(world_world *world);
void world_server_handle(world_world *world, world_wire *wire, bool resumed);
void world_server_fault(world_world *world);
void world_server_heal(world_world *world);
void world_server_tick(world_world *world); /* what has its own time there */
int64_t world_server_next_us(const world_world *world);
const char *world_token_path(void);

/* host.c */
void world_host_start(world_world *world, world_host *host);
void world_host_crash(world_world *world, world_host *host);
void world_host_pause(world_world *world, world_host *host, int64_t span_us);
void world_host_act(world_world *world, world_host *host);
void world_host_heal(world_world *world, world_host *host);
void world_host_end(world_world *world, world_host *host);
void world_host_notify(world_world *world, world_host *host); /* its connection has changed */
void world_host_shut(world_world *world, world_host *host);
int64_t world_host_next_us(const world_host *host);
bool world_host_stops(const world_host *host); /* as SIGSTOP does */
bool world_lease_leads(const world_lease *one);
void world_lease_create(world_world *world, world_host *host, int32_t slot);
void world_lease_release(world_world *world, world_lease *one, int64_t contend_us);
void world_lease_contend(world_world *world, world_lease *one);
void world_lease_destroy(world_world *world, world_lease *one);
world_lease *world_lease_by_serial(world_world *world, uint32_t serial);
world_lease *world_leader(world_world *world, int32_t name); /* whom the server knows; or NULL */

/* judge.c */
void world_judge_attempt(world_world *world, world_host *host);
void world_judge_credit(world_host *host, int64_t requests);
void world_judge_request(world_world *world, world_host *host, const world_wire *wire);
void world_judge_stored(world_world *world, world_host *host, const world_request *request,
                        const world_object *before);
void world_judge_refused(world_world *world, const world_request *request);
void world_judge_event(world_world *world, world_lease *one, const lease_event *event);
void world_judge_turn(world_world *world, world_host *host, int32_t wait_ms);
void world_judge_secret(world_world *world, const world_host *host, const char *text,
                        const char *where);

/* config.c */
void world_configure(world_world *world);

/* fault.c */
void world_fault_host(world_world *world);
void world_fault_net(world_world *world);

/* world.c */
void world_run(world_world *world, world_stats *stats, uint64_t seed, bool trace);

#endif
