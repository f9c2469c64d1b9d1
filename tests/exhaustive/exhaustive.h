/* The elector in the smallest world that can go wrong: two candidates, one Lease, a network, a
 * server and an admin. All that can happen next is tried at every point and nothing is left to
 * chance: the set of reachable situations is walked breadth first until it is complete, or to a
 * stated depth.
 *
 *   world.c    what can happen next, and what comes of it; it drives lease.h's own object code
 *   referee.c  what must hold after every step, from the rules of the interface
 *   pack.c     the canonical form of a situation, in both directions
 *   search.c   the walk, the way to a leader from every situation, the test of the canonical form
 *   story.c    paths as text, and the story of a path
 *   scopes.c   which worlds are walked: timing, clocks, kinds of misfortune
 *   main.c     options and the summary
 *
 * WHAT IS COVERED. A step is one event: a unit of time passes; a candidate acts that is due; a
 * request reaches the server, or its answer the candidate; a candidate starts, or contends again.
 * Each may happen at any moment at which it is possible, and be put off for ever. So all delays,
 * all orders, all late wake-ups and all pauses of a process, however long, are in every scope and
 * cost nothing. Misfortunes cost one each of what a scope allows: an attempt that runs into its
 * time limit (its request, or the answer, is then lost or comes late, as the path chooses); a
 * second copy of a write; a failure told by the server, of a write applied or not; no connection; a
 * refusal; a crash, after which the candidate stays dead or starts anew under another identity; a
 * release; the admin who deletes, empties, edits, shortens, lengthens or touches. At first the
 * Lease is absent, unheld, or held by a stranger who is dead.
 *
 * TIME is a grid. All constants of the timing are multiples of the unit of a scope on both clocks,
 * also where these differ in rate, and the elector compares a clock only with sums of them. Events
 * between two points of such a grid can be moved to points of it without changing their order, as
 * long as intervals contain their ends (Henzinger, Manna, Pnueli: What good are digital clocks?
 * 1992). The ends that do harm are contained: a candidate takes the Lease at the very end of its
 * wait, and work goes on up to the very end of the stop budget.
 *
 * WHAT IS NOT. Jitter is zero: what it delays is a late wake-up, which is covered, but a renewal
 * that comes early is not. Rates do not change, wall clocks run with the boot clocks, identities
 * are unique. Three candidates, more messages or misfortunes than a scope allows, connections that
 * are all taken, Retry-After, records altered by the server, spec.strategy, answers from the past,
 * the time range but for "held or not", and the millisecond: for all these there is the simulator.
 *
 * WHY SITUATIONS MAY BE MERGED. Two situations are one when their packed forms are equal, and the
 * walk goes on from that form, unpacked. So what pack.c leaves out must not change what can follow:
 *   - Instants count from the clock of the candidate they belong to. All that lie so far back that
 *     every comparison has been decided are one: an observation older than the longest duration, a
 *     write older than the validity that it gives, a wake-up that is overdue.
 *   - Versions, uids and request ids are compared and never computed with. Versions and uids keep
 *     their order, ids whether somebody waits for them.
 *   - The times in a record say which write it was. Those of past seconds keep their order; those
 *     of the present second and ahead are kept whole, for the next time written depends on them.
 *   - A name is that of a living candidate, or a stranger's.
 *   - An attempt is forgotten when no record anywhere shows its times: it cannot be read back. (So
 *     more than eight writes of unknown fate, where the elector itself forgets, are not covered.)
 *   - Transitions are counted up and never looked at: each write is checked, then they start anew.
 *   - What nobody waits for and nothing can come of is gone: an answer to the dead, a read that was
 *     given up, a write that was given up and is over a version that is no more. Answers that come
 *     too late are gone, too, but in the scope that is about them.
 *   - What only reports is left out: the holder reported last, the slow path, the time range.
 * This is an argument and not a proof. Therefore search.c tests it on situations all over the walk:
 * it lives through the whole path in a world that is never packed, unpacks the form at another time
 * with other numbers, and every next step must lead all of them to one packed form. */
#ifndef EXHAUSTIVE_H
#define EXHAUSTIVE_H

#include <stdio.h>

#include "lease.h"

#define EX_NODES 2
#define EX_MESSAGES 5 /* under way at once, at most; a scope may say less */
#define EX_CHOICES 64
#define EX_PACKED 256 /* bytes of a packed situation, at most */
#define EX_PATH 1000
#define EX_ORIGINS 3 /* the Lease is absent, unheld, or held by a stranger */

/* -- What is walked ---------------------------------------------------------------------------- */

typedef enum ex_fault {
    EX_FAULT_TIMEOUT,     /* a candidate gives up a request */
    EX_FAULT_COPY,        /* a write reaches the server, and is still under way */
    EX_FAULT_ERROR,       /* 5xx, applied or not; no connection */
    EX_FAULT_REFUSE,      /* 403 */
    EX_FAULT_CRASH,
    EX_FAULT_RELEASE,
    EX_FAULT_DELETE,      /* the admin */
    EX_FAULT_CLEAR,       /* ... empties the holder */
    EX_FAULT_EDIT,        /* ... writes a holder: a stranger, or one of the candidates */
    EX_FAULT_DURATION,    /* ... removes the duration, or writes the longest one */
    EX_FAULT_TOUCH,       /* ... changes metadata */
    EX_FAULT_LATE_ANSWER, /* costs nothing: answers that nobody waits for may still arrive */
    EX_FAULT_COUNT
} ex_fault;

typedef struct ex_scope {
    const char *name;
    const char *what;
    lease_core_desc desc[EX_NODES];
    int32_t rate_ms[EX_NODES]; /* how far each clock runs in a unit */
    int32_t grain_ms;          /* divides everything */
    int32_t max_duration_s;    /* the longest duration that any record will have */
    uint32_t faults;           /* 1 << ex_fault */
    int32_t budget;            /* misfortunes on one path */
    int32_t messages;
    int32_t quick_depth;       /* steps from the origin; 0 = until all is seen */
    int32_t deep_depth;
    int32_t leader_ms;         /* without misfortune somebody leads within that */
    bool must_fail;            /* two leaders are possible here, and must be found */
    bool leaders_only;         /* nothing but two leaders counts as a failure */
} ex_scope;

extern const ex_scope ex_scopes[];
extern const int32_t ex_scope_count;

/* -- What must really have happened ------------------------------------------------------------ */

#define EX_HAPPENED_LIST(X)                                                                        \
    X(ACQUIRED, "a term began")                                                                    \
    X(RENEWED, "a term was renewed")                                                               \
    X(READ_BACK, "an unanswered write of one's own was found by a read")                           \
    X(TAKEN_OVER, "a Lease was taken from another holder after the wait")                          \
    X(CONFLICT, "a write met a newer version")                                                     \
    X(EXISTS, "two candidates created the Lease")                                                  \
    X(LATE_APPLIED, "a write was applied after its sender had given it up")                        \
    X(DEAD_APPLIED, "a write of a dead candidate was applied")                                     \
    X(LATE_ANSWER, "an answer came to a candidate that had given it up")                           \
    X(EXPIRED, "a term ended at its deadline")                                                     \
    X(TAKEN, "a leader saw another holder")                                                        \
    X(CLEARED, "a leader saw that the holder was emptied")                                         \
    X(DELETED, "a leader saw that the Lease is gone")                                              \
    X(DUPLICATE, "a leader saw its own name with another's time")                                  \
    X(RELEASED, "a release was applied")                                                           \
    X(RELEASED_UNKNOWN, "a release was asked for with a write under way")                          \
    X(EXCUSED, "two leaders after the admin emptied or deleted the Lease: the referee sees it")

typedef enum ex_happened {
#define EX_ENUM(name, text) EX_##name,
    EX_HAPPENED_LIST(EX_ENUM)
#undef EX_ENUM
    EX_HAPPENED_COUNT
} ex_happened;

/* -- The world --------------------------------------------------------------------------------- */

/* Names of holders: numbers, whose text the elector gets. Candidate i is called EX_FIRST + i, and
 * after a restart two more. */
enum { EX_NOBODY, EX_ADMIN, EX_FORMER, EX_FIRST = 4 };

typedef struct ex_record {
    bool exists;
    uint32_t holder;
    uint32_t uid, version;
    int64_t renew_us, acquire_us;
    int32_t duration_s;
    uint32_t author; /* the truth: whose write holder and times are; EX_NOBODY = the admin's */
    int64_t sent_ms; /* ... and when that was sent, on its clock */
} ex_record;

typedef enum ex_message_kind { EX_REQUEST, EX_ANSWER } ex_message_kind;

typedef struct ex_message {
    ex_message_kind kind;
    lease_action action;
    uint32_t sender; /* of the request */
    uint32_t id;
    bool release;
    bool maybe_applied;
    lease_status status;
    ex_record record; /* of a write: what to store, and over which uid and version */
} ex_message;

typedef struct ex_node {
    lease_core core;
    uint32_t name;
    bool alive;
    int64_t now_ms, wake_ms;
    /* What the referee knows from what the candidate was told and has answered. */
    bool told, seen_held, uid_held;
    bool own; /* the record seen last is its own write */
    bool leading, released;
    bool disturbed; /* the admin has emptied or deleted the Lease since its last applied write */
    ex_record seen;
    int64_t seen_ms, absent_ms, uid_ms;
    int64_t valid_until_ms, work_until_ms;
    int64_t backed_ms; /* validity that the writes shown to it give, at most */
    uint32_t token;
    lease_action pending;
    uint32_t pending_id;
    int64_t give_up_ms;
} ex_node;

typedef struct ex_world {
    const ex_scope *scope;
    ex_node nodes[EX_NODES];
    ex_record server;
    uint32_t revision, uids; /* given out last */
    uint32_t highest_token;
    int32_t budget;
    int32_t message_count;
    ex_message messages[EX_MESSAGES];
    /* Of the last step only. */
    uint32_t happened; /* 1 << ex_happened */
    bool full;         /* there was no room for a message: this path is not followed */
    bool tells;        /* its story, to stdout */
    char failure[160];
} ex_world;

typedef enum ex_choice_kind {
    EX_ORIGIN, /* only the first */
    EX_TIME,
    EX_STEP,
    EX_DELIVER,
    EX_COPY,
    EX_DROP,
    EX_ERROR,
    EX_ERROR_APPLIED,
    EX_NO_CONNECTION,
    EX_REFUSE,
    EX_CRASH,
    EX_START,
    EX_RELEASE,
    EX_CONTEND,
    EX_DELETE,
    EX_CLEAR,
    EX_EDIT,
    EX_DURATION,
    EX_TOUCH,
    EX_CHOICE_KINDS
} ex_choice_kind;

typedef struct ex_choice {
    uint8_t kind;
    uint8_t which; /* node, message, or variant */
} ex_choice;

/* -- world.c ----------------------------------------------------------------------------------- */

#define EX_BASE_MS INT64_C(1000000000)
#define EX_WALL_US INT64_C(1700000000000000) /* wall minus boot time, whole seconds */

void ex_init(ex_world *world, const ex_scope *scope);
bool ex_init_cores(ex_world *world); /* as they are before their first step */
int32_t ex_choices(const ex_world *world, ex_choice *choices);
int32_t ex_healing(const ex_world *world, const ex_choice *choices, int32_t count);
void ex_apply(ex_world *world, ex_choice choice);
bool ex_has_leader(const ex_world *world);
bool ex_is_late(const ex_world *world, const ex_message *message);
/* The living node of that name, or NULL. */
const ex_node *ex_bearer(const ex_world *world, uint32_t name);
char *ex_put_decimal(char *out, uint32_t value); /* returns its end */
uint32_t ex_decimal(const char *text);
void ex_put_name(char *out, uint32_t name);
void ex_happen(ex_world *world, ex_happened what);
void ex_fail(ex_world *world, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* -- referee.c --------------------------------------------------------------------------------- */

void ex_check_input(ex_world *world, ex_node *node, const lease_core_input *input,
                    const ex_record *record);
void ex_check_output(ex_world *world, ex_node *node, const lease_core_output *out);
void ex_check_stored(ex_world *world, const ex_message *message);

/* -- pack.c ------------------------------------------------------------------------------------ */

/* Puts the messages in their canonical order and changes nothing else. Returns the length. */
size_t ex_pack(ex_world *world, uint8_t *bytes);
/* A world of that form; spread chooses among all that have it: 0 = the plainest. */
void ex_unpack(ex_world *world, const ex_world *blank, const uint8_t *bytes, uint32_t spread);

/* -- search.c ---------------------------------------------------------------------------------- */

typedef struct ex_result {
    uint64_t states, transitions, elections;
    uint64_t cut; /* steps not followed, for want of room for a message */
    int32_t depth;
    bool complete;
    int64_t leader_ms; /* the longest way to a leader, on the slower clock */
    uint64_t tested;   /* situations on which the canonical form was tested */
    uint64_t happened[EX_HAPPENED_COUNT];
    char failure[160];
    ex_choice path[EX_PATH];
    int32_t path_length;
} ex_result;

/* False when it found a failure, which result then describes. */
bool ex_search(const ex_scope *scope, int32_t depth, ex_result *result);

/* -- story.c ----------------------------------------------------------------------------------- */

const char *ex_happened_text(ex_happened what);
void ex_print_path(FILE *out, const ex_choice *path, int32_t length);
bool ex_parse_path(const char *text, ex_choice *path, int32_t *length);
void ex_tell_choice(const ex_world *world, ex_choice choice);
void ex_tell(const ex_world *world, const ex_node *node, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Lives through the path, telling; false when it ends in a failure, or cannot be gone. */
bool ex_replay(const ex_scope *scope, const ex_choice *path, int32_t length);

#endif
