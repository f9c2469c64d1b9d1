/* A deterministic world around the elector: candidates with their own clocks, a network, an API
 * server, an admin, peers that behave as client-go does, and a referee that knows the truth.
 *
 * One 64-bit seed chooses everything; the same seed gives the same run, bit for bit, on every
 * compiler. No floating point, no real clock, no address and no uninitialised byte enters a run.
 *
 *   core.c    the elector itself: lease.h with its implementation, and nothing else
 *   base.c    random numbers, trace, trace hash, failures, "sometimes" counters
 *   net.c     messages under way: delay, loss, duplicates, partitions
 *   server.c  the API server and the admin who edits its one Lease
 *   node.c    clocks, and the loop that drives a core as lease_client does
 *   peer.c    client-go's elector
 *   check.c   the referee: what one candidate may do, from what it was told
 *   judge.c   the referee: what all of them together may do, from what is true
 *   config.c  what a seed chooses before the run: candidates, timing, clocks, kinds of faults
 *   fault.c   which faults come when
 *   world.c   the phases of a run, and its loop
 *   crew.c    run sets, shared among processes
 *   shrink.c  a failing seed made small
 *   main.c    options, the summary
 */
#ifndef SIM_H
#define SIM_H

#include "lease.h"

#define SIM_MAX_NODES 10 /* eight from the start, and two that arise by fork or cloning */
#define SIM_MAX_MESSAGES 64
#define SIM_MAX_WRITES 128 /* a minute under errors, so that a late one is still known */
#define SIM_MAX_INBOX 8
#define SIM_HISTORY 8      /* versions which a front end may still answer with */
#define SIM_FRONT_ENDS 3
#define SIM_RATE_WINDOW 24 /* requests that the rate bound looks at together */
#define SIM_MAX_JOBS 64    /* processes that share a run set */
#define SIM_MAX_FAILURES 10 /* of one batch that are told */
#define SIM_NEVER INT64_MAX

/* -- Time -----------------------------------------------------------------------------------------
 * True time is in microseconds from the start of the run. A node reads its own clocks only. */

typedef struct sim_clock {
    int64_t origin_us;      /* boot time at true time 0 */
    int64_t rate_ppm;       /* how much faster than true time it runs */
    int64_t hidden_us;      /* what pauses of the whole machine have hidden from boot time */
    int64_t stopped_us;     /* such a pause began then; SIM_NEVER = running */
    int64_t wall_offset_us; /* wall time minus boot time */
    int64_t wall_frozen_us; /* 0 = wall time runs */
} sim_clock;

/* -- Random numbers -------------------------------------------------------------------------------
 * One stream for each purpose, so that a draw more in one does not shift the others. */

typedef struct sim_random {
    uint64_t state;
} sim_random;

uint64_t sim_random_next(sim_random *random);
int64_t sim_random_range(sim_random *random, int64_t low, int64_t high); /* both included */
bool sim_random_chance(sim_random *random, int32_t per_mille);

/* -- Coverage -------------------------------------------------------------------------------------
 * What must really have happened in a run set, so that the simulator stays honest when the code or
 * the world changes: a run set in which one of them never happens fails. */

#define SIM_SOMETIMES_LIST(X)                                                                      \
    X(ANSWER_LOST_APPLIED, "a write was applied and its answer lost")                              \
    X(READ_BACK, "an unanswered write of one's own was found by a read")                           \
    X(CONFLICT_OWN, "409 on a write, then one's own write was found")                              \
    X(EXISTS_OWN, "409 on a create, then one's own create was found")                              \
    X(LATE_APPLIED, "a write was applied after its sender had given it up")                        \
    X(LATE_REFUSED, "a write came after its sender had given it up, and was refused")              \
    X(LATE_ANSWER, "an answer was delivered after it had been given up")                           \
    X(AFTER_RELEASE, "a renewal reached the server after its sender had been asked to release")    \
    X(AFTER_CRASH, "a write of a crashed candidate was applied")                                   \
    X(RACE_UPDATE, "two followers wrote over one version")                                         \
    X(RACE_CREATE, "two candidates created the Lease")                                             \
    X(DUPLICATED, "a request was delivered twice")                                                 \
    X(ACK_TOO_LATE, "the answer to a good write came after the validity it gives")                 \
    X(DEADLINE_IN_FLIGHT, "leadership expired with a request under way")                           \
    X(PAUSED_PAST_VALIDITY, "a leader was stopped for longer than its validity")                   \
    X(LEADER_CUT_OFF, "the leader was cut off and somebody else took the Lease")                   \
    X(OUTAGE_SURVIVED, "a leader renewed after failures in a row")                                 \
    X(TAKEN, "a leader saw another holder")                                                        \
    X(CLEARED, "a leader saw that the holder was emptied")                                         \
    X(DELETED, "a leader saw that the Lease is gone")                                              \
    X(COORDINATED, "a leader saw spec.strategy")                                                   \
    X(CLOCK_JUMP, "wall time ran ahead of boot time under a leader")                               \
    X(TWIN, "a candidate met its own identity, written by another")                                \
    X(RESTARTED_SAME, "a restarted candidate found its name of before")                            \
    X(FOREIGN_WRITE, "somebody else wrote the Lease of a leader")                                  \
    X(STORM_SURVIVED, "a leader renewed among writes of others every few milliseconds")            \
    X(OWN_DURATION, "the recorded duration was shorter than one's own, and one's own was waited")  \
    X(RECORDED_DURATION, "the recorded duration was longer than one's own, and it was waited")     \
    X(RENEW_BUMPED, "renewTime was set ahead of a wall clock that stands or went back")            \
    X(CLOCK_BACK, "boot time was read as going back")                                              \
    X(MACHINE_PAUSED, "a leader's machine was paused unseen by boot time")                         \
    X(HELD_BACK, "a step was told that no connection is free")                                     \
    X(RELEASED, "a release was applied")                                                           \
    X(RELEASE_UNKNOWN, "a release was applied and its answer lost")                                \
    X(RELEASE_REFUSED, "a release met a newer version")                                            \
    X(CONTEND_EARLY, "a candidate stood again before its release was answered")                    \
    X(RETRY_AFTER, "429 with Retry-After reached a leader")                                        \
    X(ERROR_APPLIED, "5xx on a write that was applied")                                            \
    X(DENIED_SLOWLY, "a candidate asked again, and more slowly, after refusals for good")          \
    X(OUTAGE_BRIDGED, "a leader survived the longest outage that its timing promises")             \
    X(DENIED, "a leader was refused for good (401, 403, 404 namespace, 422)")                      \
    X(STRICT_CREATE, "the Lease was created unheld")                                               \
    X(STRICT_WAIT, "an unheld Lease was taken after a wait from the first sight of its uid")       \
    X(ABSENCE_WAITED, "a Lease was created after its absence had been waited out")                 \
    X(OPAQUE_VERSION, "a term without fencing token: the version is not a number")                 \
    X(TRANSITIONS_FULL, "leaseTransitions stood at its largest value")                             \
    X(DURATION_ABSENT, "a held Lease without a duration was taken after one's own")                \
    X(STALE_READ, "a read was answered from a cache that is behind")                               \
    X(STALE_BACK, "a read was answered with less than the read before it")                         \
    X(STALE_REFUSED, "a write over what a stale read had shown was refused")                       \
    X(PUT_CREATED, "a PUT without uid created a deleted Lease anew")                               \
    X(PUT_REFUSED, "a PUT without resourceVersion was refused (422)")                              \
    X(RECREATED, "an admin deleted the Lease and created another at once")                         \
    X(TERMINATING, "a Lease was renewed that only a finalizer keeps")                              \
    X(FINALIZED, "the finalizer of a deleted Lease was taken away, and with it the Lease")         \
    X(REORDERED, "a request reached the server before an earlier one of the same candidate")       \
    X(CUT_REQUESTS, "a leader's requests were cut off, and answers not")                           \
    X(CUT_ANSWERS, "the answers to a leader were cut off, and requests not")                       \
    X(ALTERED, "the server stored another record than was written")                                \
    X(FAIL_OPEN, "the range failed open")                                                          \
    X(OPEN_BOUND, "the range closed because max_fail_open_ms had passed")                          \
    X(OPEN_REFUSED, "silence beyond validity ended with a refusal, and the range closed")          \
    X(PEER_LED, "a client-go peer was elected")                                                    \
    X(PEER_OVERLAP, "a client-go peer led beside another: the referee can see two leaders")        \
    X(SKEW_OVERLAP, "clocks beyond the tolerated skew gave two leaders: the referee sees it")      \
    X(EXCUSED_CLEAR, "two leaders after an admin or a peer emptied a held Lease")                  \
    X(EXCUSED_DELETE, "two leaders after a deletion without strict_creation")                      \
    X(EXCUSED_SHORTENED, "two leaders, one of whom believed a duration shortened by hand")         \
    X(EXCUSED_CLONE, "a leader's machine was cloned, and both lived on what was sent before")      \
    X(ALONE, "a candidate was elected that is alone")                                              \
    X(CROWD, "one of eight candidates was elected")                                                \
    X(RATE_CHANGED, "the clock of a leader began to run at another rate")                          \
    X(FORKED, "a leader forked, and its child read that it is none")                               \
    X(ORPHANED, "a leader died right after a fork, and the child lived on")                        \
    X(CLONED, "a leader's machine was cloned")                                                     \
    X(CLONE_IN_FLIGHT, "a machine was cloned with a write under way, which was applied")           \
    X(CLONE_STOPPED, "a clone began to run later, with a boot clock that had stood still")         \
    X(CLONE_MET, "one of two clones saw that the other one had renewed, and stepped down")         \
    X(CLONE_RELEASED, "one of two clones released while the other one led")                        \
    X(BLIND_RELEASE, "a client-go peer emptied a Lease that another held")

typedef enum sim_sometimes {
#define SIM_ENUM(name, text) SIM_##name,
    SIM_SOMETIMES_LIST(SIM_ENUM)
#undef SIM_ENUM
    SIM_SOMETIMES_COUNT
} sim_sometimes;

const char *sim_sometimes_text(sim_sometimes what);

typedef struct sim_stats {
    uint64_t runs;
    uint64_t elections;
    uint64_t events;
    uint64_t requests;
    uint64_t simulated_us;
    uint64_t hash;
    int64_t worst_crash_permille;   /* takeover after a crash, in parts of its bound */
    int64_t worst_release_permille; /* ... after a release */
    uint64_t overlaps[SIM_SOMETIMES_COUNT];          /* excused ones, by their reason */
    int64_t longest_overlap_ms[SIM_SOMETIMES_COUNT];
    uint64_t sometimes[SIM_SOMETIMES_COUNT];
} sim_stats;

/* -- Orders: what a command line makes of a seed ----------------------------------------------- */

typedef struct sim_orders {
    uint64_t seed;
    uint64_t fate;    /* 0, or another course of events under the same configuration */
    uint64_t without; /* 1 << sim_fault: kinds of faults that are taken away */
    int64_t chaos_us; /* the faults last no longer; 0 = as the seed chooses */
    int32_t nodes;    /* at most so many; 0 = as the seed chooses */
    bool client_go;   /* all candidates are client-go peers with its default timing, unexcused */
    bool trace;
    const char *only; /* a failure counts if its text has these words; NULL = every one does */
} sim_orders;

/* -- Configuration of a run -------------------------------------------------------------------- */

#define SIM_FAULT_LIST(X)                                                                          \
    X(SLOW, "slow", "answers take up to several time limits")                                      \
    X(LATE, "late", "a request may arrive up to a minute later")                                   \
    X(LOSS, "loss", "messages are lost")                                                           \
    X(DUPLICATE, "duplicate", "requests are delivered twice")                                      \
    X(PARTITION, "partition", "requests, answers or both are cut off for a while")                 \
    X(RESET, "reset", "the connection ends, or the answer is no answer")                           \
    X(REFUSE, "refuse", "no connection at all, said at once")                                      \
    X(ERRORS, "errors", "429, 5xx")                                                                \
    X(DENY, "deny", "401, 403, 404 namespace, 422")                                                \
    X(ALTER, "alter", "the server stores another record than was sent")                            \
    X(PAUSE, "pause", "SIGSTOP, SIGCONT; boot time goes on")                                       \
    X(MACHINE, "machine", "the same for the machine: boot time stands, wall time jumps after")     \
    X(CRASH, "crash", "a process is killed and started again")                                     \
    X(RELEASE, "release", "a candidate is asked to release, and to contend again later")           \
    X(WALL, "wall", "wall time steps")                                                             \
    X(FROZEN, "frozen", "wall time stands")                                                        \
    X(BACK, "back", "boot time is read a little too early once")                                   \
    X(LAZY, "lazy", "the loop wakes late, and sometimes for nothing")                              \
    X(BUSY, "busy", "no connection is free for a while")                                           \
    X(LABELS, "labels", "the admin touches metadata")                                              \
    X(STORM, "storm", "the admin does so every few ms for a while")                                \
    X(EDIT, "edit", "the admin writes another holder")                                             \
    X(CLEAR, "clear", "the admin empties the holder")                                              \
    X(DELETE, "delete", "the admin deletes the Lease")                                             \
    X(DURATION, "duration", "the admin writes another duration, or none")                          \
    X(STRATEGY, "strategy", "the admin sets spec.strategy, and takes it away")                     \
    X(FINALIZER, "finalizer", "the admin deletes a Lease that a finalizer keeps for a while")      \
    X(REPLACE, "replace", "a tool writes back a copy that it has kept, without uid or version")    \
    X(STALE, "stale", "several front ends, which answer reads from their caches")                  \
    X(RATE, "rate", "a clock begins to run at another rate")                                       \
    X(FORK, "fork", "a process forks, and the child lives on")                                     \
    X(CLONE, "clone", "a machine is cloned, and both run on")

typedef enum sim_fault {
#define SIM_ENUM(name, word, text) SIM_FAULT_##name,
    SIM_FAULT_LIST(SIM_ENUM)
#undef SIM_ENUM
    SIM_FAULT_COUNT
} sim_fault;

const char *sim_fault_word(sim_fault fault);
const char *sim_fault_text(sim_fault fault);
const char *sim_reason_word(lease_reason reason);

typedef enum sim_skew {
    SIM_SKEW_NONE,    /* crystals: 200 ppm */
    SIM_SKEW_RANDOM,  /* within what the timing tolerates */
    SIM_SKEW_EXTREME, /* exactly what it tolerates, alternating */
    SIM_SKEW_BEYOND   /* more: two leaders are possible, and are counted */
} sim_skew;

typedef struct sim_config {
    uint64_t faults; /* 1 << sim_fault */
    sim_skew skew;
    int64_t rho_ppm;
    int64_t slowest_ppm;     /* the slowest clock runs that much behind true time */
    int64_t duration_ms;     /* the longest lease duration of all candidates */
    int64_t chaos_us;        /* how long the faults last */
    int64_t fault_gap_us;    /* between two faults of candidates, on average */
    int64_t latency_us;      /* of one message without faults, at most */
    int32_t candidates;      /* from the start, peers and observers included */
    int32_t clean_elections; /* after the faults: crashes and releases against the bounds */
    bool strict_creation;
    bool twins;         /* two candidates share one identity */
    bool same_identity; /* a restarted candidate keeps its identity */
    bool opaque;        /* versions are not numbers */
    bool mixed;         /* candidates with different lease durations */
    bool peers;         /* client-go takes part */
} sim_config;

/* -- Messages ---------------------------------------------------------------------------------- */

typedef struct sim_message {
    bool used;
    bool answer;  /* on its way back */
    bool no_effect; /* the sender learns the status, the server never sees it */
    bool acquiring; /* it makes its sender the holder */
    bool release;
    bool blind;     /* client-go: it is over a version that its sender has not judged */
    int32_t node;
    uint32_t incarnation;
    uint32_t request_id;
    lease_action action;
    lease_status forced;   /* what the sender is told whatever the server says; OK = the truth */
    lease_status status;
    bool maybe_applied;
    bool applied;
    int32_t retry_after_ms;
    int64_t deliver_us;
    uint64_t order;        /* breaks ties by age */
    lease_record record;
} sim_message;

typedef struct sim_net {
    sim_message pool[SIM_MAX_MESSAGES];
    uint16_t heap[SIM_MAX_MESSAGES]; /* of pool indexes, earliest first */
    int32_t heap_count;
    uint16_t free_list[SIM_MAX_MESSAGES];
    int32_t free_count;
    uint64_t order;
} sim_net;

/* -- The server -------------------------------------------------------------------------------- */

typedef enum sim_mood {
    SIM_MOOD_GOOD,
    SIM_MOOD_THROTTLE, /* 429 */
    SIM_MOOD_ERRORS,   /* 5xx */
    SIM_MOOD_DENY,
    SIM_MOOD_ALTER,
    SIM_MOOD_DOWN      /* refuses connections */
} sim_mood;

/* What the Lease was, or is. */
typedef struct sim_version {
    bool exists;
    int32_t author;        /* the node whose write holder and times are; -1 = nobody of ours */
    uint32_t author_incarnation;
    lease_record record;
} sim_version;

typedef struct sim_server {
    bool exists;
    bool terminating;      /* it is deleted, and a finalizer keeps it */
    lease_record record;
    uint64_t revision;     /* of the last write; never goes back */
    uint64_t uid;
    int32_t author;        /* as in sim_version */
    uint32_t author_incarnation;
    uint64_t replaced;     /* the revision which the last write was over */
    bool was_acquiring;    /* ... and it made its sender the holder */
    uint64_t emptied;      /* revision: somebody else has emptied, deleted or taken what was held */
    sim_sometimes emptied_by; /* what two leaders after that are counted as */
    uint64_t clone_emptied; /* revision: one of two clones released what both may live on */
    uint64_t shortened;    /* revision: a duration was made shorter by hand */
    sim_mood mood;
    lease_status denial;
    int64_t mood_until_us;
    int64_t storm_until_us;
    uint64_t highest_token;
} sim_server;

/* What is kept of former versions. */
typedef struct sim_past {
    sim_version tool;                    /* the copy of a tool that writes it back later */
    sim_version history[SIM_HISTORY];    /* a ring */
    uint32_t history_count;
    uint32_t front_ends[SIM_FRONT_ENDS]; /* how far each one's cache has come */
} sim_past;

/* -- Candidates -------------------------------------------------------------------------------- */

/* A write of the present incarnation, as the referee knows it. */
typedef struct sim_write {
    uint32_t id;
    bool self;    /* it names its sender as the holder */
    bool applied;
    bool refused; /* its sender was told that it was not applied; a second copy may have been */
    int64_t sent_ms; /* on the sender's clock */
    int64_t renew_us;
    uint64_t revision;
    uint64_t uid; /* of the Lease which it made or changed */
} sim_write;

/* What the referee knows about one incarnation from what it was told; see check.c. */
typedef struct sim_shadow {
    bool leading;          /* between ACQUIRED and LOST */
    uint64_t token;
    uint64_t last_token;
    int64_t valid_until_ms;
    int64_t work_until_ms; /* the guarded work may go on until then */
    int64_t now_ms;        /* the latest boot time it was told */
    lease_action pending;
    uint32_t pending_id;
    int64_t pending_sent_ms;
    int64_t give_up_ms;
    bool answered_now;     /* this step brought the answer to its request */
    lease_status status;   /* of the last answer */
    bool told;             /* something about the Lease is known */
    bool exists;
    lease_record seen;     /* the version told last */
    int64_t seen_ms;       /* when it was first told */
    int64_t absent_ms;     /* when the absence was first told */
    int64_t uid_ms;        /* when the uid was first told */
    bool uid_held;         /* ... and it has been held since */
    bool seen_held;
    bool own;              /* seen is a write of this incarnation */
    bool range_held;       /* the range may be open: one's own write was the last thing seen */
    bool ever_led;
    bool silent;           /* the last attempts got no answer that says anything against one */
    bool was_open;
    bool released;         /* RELEASE without CONTEND */
    bool release_told;     /* RELEASED was reported */
    lease_status write_status; /* of the last write */
    uint32_t arrived_id;   /* the write that reached the server last */
    uint32_t settled_id;   /* the last acknowledged write: older ones may be forgotten */
    bool settled_gone;     /* ... and so may it be: its Lease was seen to be gone */
    int64_t not_before_ms; /* the server asked for a pause until then */
    bool unknown;          /* a write is under way, or ended without telling its fate */
    int32_t failures;      /* in a row */
    int32_t denials;       /* in a row, outside of a term */
    int64_t denied_ms;     /* the last one */
    bool giving;           /* between a release that was asked for and RELEASED */
    bool was_own;          /* before the answer of this step: own, or gone */
    bool same_uid;         /* the answer of this step showed the uid that was known */
    bool changed;          /* the answer of this step showed another version */
    int32_t at_once;       /* requests in a row that followed an answer without a pause */
    int32_t same_waits;    /* a follower's waits in a row that were as long as the one before */
    int64_t wait_ms;
    char reported[LEASE_MAX_IDENTITY + 3]; /* the holder reported last */
    int64_t sent_at_us[SIM_RATE_WINDOW]; /* true time */
    uint32_t sent_count;
    sim_write writes[SIM_MAX_WRITES];
    uint32_t write_count;
} sim_shadow;

/* client-go tools/leaderelection, as far as it can be seen from outside; see peer.c. */
typedef struct sim_peer {
    bool renewing;        /* past the acquire loop: OnStartedLeading has run */
    bool cached;          /* an object to write over */
    bool observed_any;
    int32_t stage;        /* of the try under way; see peer.c */
    lease_record object;  /* resourcelock.LeaseLock: the cached object */
    lease_record observed; /* observedRecord */
    lease_record raw;     /* observedRawRecord, whole seconds */
    lease_record wanted;  /* the record of the try under way */
    int64_t observed_ms;
    int64_t try_ms;       /* "now" of the try under way */
    int64_t next_ms;      /* the next try */
    int64_t tick_ms;      /* the renew loop's next tick */
    int64_t deadline_ms;  /* of the renew loop's context, or of the release */
    int64_t give_up_ms;   /* of the request under way */
    uint32_t requests;
} sim_peer;

typedef enum sim_kind {
    SIM_CANDIDATE,
    SIM_OBSERVER,
    SIM_PEER,
    SIM_SPARE, /* nothing yet: room for a child or a clone */
    SIM_CHILD  /* of fork: it has the parent's memory, but for one page, and does nothing */
} sim_kind;

/* What lease.h publishes to other threads, on a page that the kernel wipes in a child of fork. */
typedef struct sim_page {
    int64_t valid_until_ms;
    uint64_t token;
    lease_range_state range;
} sim_page;

typedef struct sim_node {
    int32_t index;
    sim_kind kind;
    bool alive;
    bool paused;
    bool unseen_pause; /* its machine was paused and it has not run since */
    uint32_t incarnation;
    uint32_t starts;   /* of new identities */
    char identity[32];
    lease_core_desc desc;
    sim_clock clock;
    int64_t back_ms;      /* the next reading of boot time is that much too early */
    int64_t last_ms;      /* the latest reading of boot time */
    lease_core core;
    lease_core_output out;
    sim_page page;
    sim_random random; /* what its core gets; a clone may get the same */
    sim_peer peer;
    sim_shadow shadow;
    /* Of a machine that was cloned, and of its clone. */
    bool clone_at_write;         /* it will be, with its next write under way */
    bool cloned;
    int64_t cloned_ms;           /* when it was, on its clock */
    int32_t origin;              /* a clone: whose; -1 = none */
    uint32_t origin_incarnation;
    uint32_t origin_requests;    /* ids of requests that both have sent */
    /* the loop */
    int64_t wake_us;      /* true time at which it acts next */
    int64_t busy_until_us;
    int64_t contend_us;
    int64_t tick_us;      /* a step for nothing */
    int64_t resume_us;
    int64_t restart_us;
    uint32_t shown;    /* how much of the server's history the last read showed */
    bool shown_stale;  /* ... and that was not all of it */
    bool fooled;       /* this incarnation was shown something stale, and may not know its own */
    uint16_t inbox[SIM_MAX_INBOX];
    int32_t inbox_count;
    /* the network around it */
    int64_t cut_out_us;   /* requests are lost until then */
    int64_t cut_in_us;    /* answers are lost until then */
    int64_t refused_us;   /* no connection until then */
} sim_node;

/* -- The world --------------------------------------------------------------------------------- */

typedef enum sim_phase {
    SIM_PHASE_CHAOS,
    SIM_PHASE_HEAL,   /* the faults have stopped: somebody must lead within a bound */
    SIM_PHASE_STABLE, /* ... and keep leading */
    SIM_PHASE_OUTAGE, /* ... through an outage that the timing is said to survive */
    SIM_PHASE_CRASH,  /* the leader was killed: the next one within a bound */
    SIM_PHASE_RELEASE, /* the leader has released */
    SIM_PHASE_DONE
} sim_phase;

typedef struct sim_world {
    sim_orders orders;
    unsigned char fill; /* what uninitialised memory of the core holds */
    bool failed;
    char failure[320];
    const char *failed_check; /* the same for all failures of one check */
    sim_stats *stats;
    uint64_t hash;
    int64_t now_us;
    sim_config config;
    sim_random random_config, random_net, random_server, random_fault, random_core, random_peer;
    sim_net net;
    sim_server server;
    sim_past past;
    sim_node nodes[SIM_MAX_NODES];
    int32_t node_count;
    sim_phase phase;
    int64_t phase_began_us;
    int64_t phase_until_us;
    int32_t stutter_node; /* its machine is paused again and again, each time for a little */
    int32_t stutters_left;
    int64_t node_fault_us; /* the next of each kind */
    int64_t net_fault_us;
    int64_t server_fault_us;
    int64_t admin_us;
    int32_t clean_left;
    bool outage_over;
    int64_t takeover_us;     /* a killed leader's duration ends later than that */
    int32_t takeover_writes; /* ... and since then so many writes have been sent */
    int32_t former; /* the leader that was killed or has released */
} sim_world;

/* base.c */
#if defined(__GNUC__)
#define SIM_PRINTF(text, first) __attribute__((format(printf, text, first)))
#else
#define SIM_PRINTF(text, first)
#endif
void sim_fail(sim_world *world, const sim_node *node, const char *format, ...) SIM_PRINTF(3, 4);
void sim_trace(const sim_world *world, const sim_node *node, const char *format, ...)
    SIM_PRINTF(3, 4);
void sim_hash(sim_world *world, uint64_t value);
void sim_hit(sim_world *world, sim_sometimes what);
bool sim_had(const sim_world *world, sim_fault fault); /* at any time of the run */
bool sim_has(const sim_world *world, sim_fault fault); /* ... and now */
void sim_fill(void *bytes, size_t count, unsigned char fill);
void sim_copy(char *to, size_t capacity, const char *from);
void sim_decimal(char *to, size_t capacity, const char *prefix, uint64_t value);

/* net.c */
void sim_net_init(sim_world *world);
int64_t sim_net_next_us(const sim_world *world);
sim_message *sim_net_pop(sim_world *world);
void sim_net_free(sim_world *world, sim_message *message);
void sim_net_request(sim_world *world, sim_node *node, const sim_message *request);
void sim_net_answer(sim_world *world, sim_message *message);
void sim_net_clear(sim_world *world);

/* server.c */
void sim_server_init(sim_world *world);
void sim_server_handle(sim_world *world, sim_message *message);
void sim_server_mood(sim_world *world);
void sim_server_heal(sim_world *world);
void sim_admin_act(sim_world *world);

/* node.c */
int64_t sim_clock_boot_us(const sim_clock *clock, int64_t now_us);
int64_t sim_clock_when_us(const sim_clock *clock, int64_t boot_ms);
int64_t sim_node_boot_ms(const sim_world *world, const sim_node *node);
int64_t sim_node_wall_us(const sim_world *world, const sim_node *node);
void sim_node_start(sim_world *world, sim_node *node);
void sim_node_crash(sim_world *world, sim_node *node);
void sim_node_pause(sim_world *world, sim_node *node, int64_t span_us, bool machine);
void sim_node_release(sim_world *world, sim_node *node, int64_t contend_us);
void sim_node_contend(sim_world *world, sim_node *node);
void sim_node_heal(sim_world *world, sim_node *node);
void sim_node_act(sim_world *world, sim_node *node);
void sim_node_deliver(sim_world *world, sim_message *message);
void sim_node_set_rate(sim_world *world, sim_node *node, int64_t rate_ppm);
void sim_node_fork(sim_world *world, sim_node *node, sim_node *child, int64_t until_us);
void sim_node_clone(sim_world *world, sim_node *node, sim_node *copy);
sim_node *sim_spare(sim_world *world);
bool sim_node_contends(const sim_node *node);
bool sim_node_leads(const sim_world *world, const sim_node *node);

/* peer.c */
void sim_peer_start(sim_world *world, sim_node *node);
void sim_peer_act(sim_world *world, sim_node *node);
void sim_peer_answer(sim_world *world, sim_node *node, const sim_message *message);
void sim_peer_cancel(sim_world *world, sim_node *node);

/* check.c */
void sim_check_start(sim_world *world, sim_node *node);
void sim_check_input(sim_world *world, sim_node *node, const lease_core_input *input);
void sim_check_output(sim_world *world, sim_node *node, const lease_core_input *input);
const sim_write *sim_check_own_write(const sim_node *node, const lease_record *record);
bool sim_is_denial(lease_status status);
uint64_t sim_digits(const char *text);

/* judge.c */
void sim_judge_stored(sim_world *world, const sim_message *message, const sim_server *before);
void sim_judge_arrival(sim_world *world, const sim_message *message);
bool sim_judge_are_clones(const sim_node *a, const sim_node *b);
void sim_judge_child(sim_world *world, const sim_node *child);
void sim_judge_leaders(sim_world *world, const sim_node *node);
void sim_judge_token(sim_world *world, const sim_node *node, uint64_t token);
void sim_judge_released(sim_world *world, const sim_node *node);
void sim_judge_loss(sim_world *world, const sim_node *node, lease_reason reason);

/* config.c */
void sim_configure(sim_world *world);

/* fault.c */
int32_t sim_leader(const sim_world *world);
void sim_fault_node(sim_world *world);
void sim_fault_net(sim_world *world);
void sim_fault_server(sim_world *world);
void sim_fault_admin(sim_world *world);

/* world.c */
void sim_world_run(sim_world *world, sim_stats *stats, const sim_orders *orders,
                   unsigned char fill);

/* crew.c */
typedef struct sim_failure {
    uint64_t seed;
    char text[320];
} sim_failure;

typedef struct sim_result {
    sim_stats stats;
    uint64_t passed;
    uint64_t failed;
    sim_failure failures[SIM_MAX_FAILURES]; /* in a part alone; the sum has none */
} sim_result;

typedef struct sim_set {
    sim_orders orders;     /* for every seed; its own is the first one */
    const uint64_t *seeds; /* ... unless they are listed */
    uint64_t runs;         /* at most so many seeds */
    uint64_t elections;    /* it ends once it has so many; 0 = after all runs */
    uint64_t max_failures; /* it ends then */
    int32_t jobs;
    bool (*watch)(const sim_result *sum, const sim_result *part); /* false ends it */
} sim_set;

bool sim_set_run(sim_world *world, sim_stats *stats, const sim_orders *orders);
void sim_set_all(const sim_set *set, sim_result *sum);

/* shrink.c */
bool sim_shrink(sim_orders *orders);

#endif
