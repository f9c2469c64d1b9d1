/* Everything that other threads may ask, asked without pause while leadership begins, is renewed
 * and ends thousands of times a second. All that belongs together is a function of one number, so
 * that any mixture of two moments shows; LITMUS_MS says for how long each test runs.
 *
 * What this shows depends on the machine: on x86 tearing, reads of another moment and reads out of
 * turn, not the order of stores, which x86 keeps. An ARM guest under qemu-user has the host's
 * order as well: it shows that the code is right with words of 32 bits (64-bit values come in
 * halves, structs are laid out and aligned as there, atomics are what the compiler makes of them),
 * and nothing about ARM's order. The fences are model.c's business, data races are TSan's. */
#define LEASE_NO_TLS
#define LEASE_IMPLEMENTATION
#include "lease.h"

#include "../test.h"

#include <sched.h>

#define READERS 3
#define D INT64_C(15000)
#define V INT64_C(10000)
#define P INT64_C(2000)

static bool stop; /* atomic */

/* What did not hold, by the line of its check. The first ends the test. */
#define LINES 1024
static uint32_t broken[LINES]; /* atomic */
static bool any_broken;        /* atomic */

static void violate(bool bad, int line) {
    if (!bad) return;
    __atomic_add_fetch(&broken[line], 1, __ATOMIC_RELAXED);
    __atomic_store_n(&any_broken, true, __ATOMIC_RELAXED);
}
#define MUST(cond) violate(!(cond), __LINE__)

static void report(void) {
    for (int line = 0; line < LINES; line++) {
        test__check(broken[line] == 0, __FILE__, line, "did not hold %" PRIu32 " times",
                    broken[line]);
        broken[line] = 0;
    }
    any_broken = false;
}

static int64_t end_ms; /* of the test that runs */

static void run_begin(void) {
    const char *text = getenv("LITMUS_MS");
    const long ms = text != NULL ? strtol(text, NULL, 10) : 0;
    end_ms = lease__boot_now().ms + (ms > 0 ? ms : 1000);
}

/* What is to be seen must have been seen: where one thread runs at a time that takes longer. */
#define PATIENCE_MS 120000
static bool run_on(bool enough) {
    const int64_t now = lease__boot_now().ms;
    if (__atomic_load_n(&any_broken, __ATOMIC_RELAXED)) return false;
    return now < end_ms || (!enough && now < end_ms + PATIENCE_MS);
}

/* -- Threads and signals ----------------------------------------------------------------------- */

static pthread_t writer_thread;
static pthread_t reader_threads[READERS];
static pthread_t poker_thread;
static void (*look)(bool in_handler); /* one round of questions, with their checks */
static uint64_t rounds;               /* atomic: of the readers that have ended */
static uint64_t handler_rounds;       /* atomic */

static void *reader_main(void *argument) {
    uint64_t count = 0;
    (void)argument;
    for (; !__atomic_load_n(&stop, __ATOMIC_ACQUIRE); count++) look(false);
    __atomic_add_fetch(&rounds, count, __ATOMIC_RELAXED);
    return NULL;
}

/* A reader is held up as well, at whatever instruction it has come to, while the writer goes on. */
static void on_signal(int number) {
    const int code = errno;
    (void)number;
    look(true);
    __atomic_add_fetch(&handler_rounds, 1, __ATOMIC_RELAXED);
    if (!pthread_equal(pthread_self(), writer_thread)) sched_yield();
    errno = code;
}

/* Interrupts the writer, which is the sharpest place, and all readers. */
static void *poker_main(void *argument) {
    const struct timespec pause = {0, 20000};
    (void)argument;
    while (!__atomic_load_n(&stop, __ATOMIC_ACQUIRE)) {
        pthread_kill(writer_thread, SIGUSR1);
        for (size_t i = 0; i < READERS; i++) pthread_kill(reader_threads[i], SIGUSR1);
        nanosleep(&pause, NULL);
    }
    return NULL;
}

static void threads_begin(void (*questions)(bool in_handler)) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    action.sa_flags = SA_RESTART;
    sigaction(SIGUSR1, &action, NULL);
    __atomic_store_n(&stop, false, __ATOMIC_RELEASE);
    look = questions;
    rounds = handler_rounds = 0;
    writer_thread = pthread_self();
    for (size_t i = 0; i < READERS; i++) {
        CHECK_INT(pthread_create(&reader_threads[i], NULL, reader_main, NULL), 0);
    }
    CHECK_INT(pthread_create(&poker_thread, NULL, poker_main, NULL), 0);
}

static void threads_end(void) {
    __atomic_store_n(&stop, true, __ATOMIC_RELEASE);
    pthread_join(poker_thread, NULL);
    for (size_t i = 0; i < READERS; i++) pthread_join(reader_threads[i], NULL);
}

/* -- The latch alone --------------------------------------------------------------------------- */

#define VALUES 48 /* 64-bit values: as much as a lease publishes */

static lease__latch latch;
static __thread uint64_t latch_last[2]; /* seen by this thread and by its handler */

/* Both halves of each value are different ones in each write. */
static uint64_t latch_value(uint64_t n, uint64_t i) {
    return n * (UINT64_C(0x100000001) + i * UINT64_C(0x300000002));
}

static void look_at_latch(bool in_handler) {
    uint64_t values[VALUES];
    const uint64_t last = latch_last[in_handler];
    const size_t count = (size_t)(last % VALUES) + 1; /* the head of it, or all */
    lease__latch_read(&latch, values, count * sizeof values[0]);
    const uint64_t n = values[0] & UINT32_MAX;
    for (size_t i = 0; i < count; i++) MUST(values[i] == latch_value(n, i));
    MUST(n >= last);
    latch_last[in_handler] = n;
}

TEST(a_latch) {
    uint64_t n = 0;
    run_begin();
    threads_begin(look_at_latch);
    while (run_on(__atomic_load_n(&handler_rounds, __ATOMIC_RELAXED) > 0)) {
        for (int i = 0; i < 64; i++) {
            uint64_t values[VALUES];
            n++;
            for (size_t v = 0; v < VALUES; v++) values[v] = latch_value(n, v);
            lease__latch_write(&latch, values, sizeof values);
        }
    }
    threads_end();
    report();
    CHECK(n < UINT32_MAX && rounds > 0 && handler_rounds > 0);
    printf("(latch: %" PRIu64 " writes, %" PRIu64 " reads, %" PRIu64 " in handlers)\n", n, rounds,
           handler_rounds);
}

/* -- A client whose clock jumps ---------------------------------------------------------------- */

/* The clock stands still until the writer moves it: term n begins EDGE before n * SPAN, its
 * renewals are whole periods later. So each instant names its term, and each write the instant of
 * its own: the version that the store gives it, hence the token, is the clock. The first deadline
 * of a term lies before n * 2^32 and the second behind it: half of one with half of the other would
 * be weeks away. Wall time goes on more slowly, lest it run into the year 10000. */
#define SPAN INT64_C(0x100000000)
#define EDGE (V + P / 2)
#define TERMS 200000 /* after so many, a new client: the core's clock ends at 2^50 */
#define WALL_SPAN_US (INT64_C(1000) * 1000000)
#define WALL_US (INT64_C(1700000000) * 1000000)

static int64_t clock_ms; /* atomic */
static lease *watched;

static int64_t clock_now(void) { return __atomic_load_n(&clock_ms, __ATOMIC_ACQUIRE); }
static void clock_set(int64_t ms) { __atomic_store_n(&clock_ms, ms, __ATOMIC_RELEASE); }
static int64_t term_at(int64_t ms) { return (ms + EDGE) / SPAN; }
static int64_t term_start(int64_t term) { return term * SPAN - EDGE; }
static int64_t wall_at(int64_t ms) {
    const int64_t term = term_at(ms);
    return WALL_US + term * WALL_SPAN_US + (ms - term_start(term)) * 1000;
}

static int64_t boot_hook(void *context) {
    (void)context;
    return clock_now();
}
static int64_t wall_hook(void *context) {
    (void)context;
    return wall_at(clock_now());
}
static bool random_hook(void *context, void *bytes, size_t count) {
    (void)context;
    memset(bytes, 0x55, count);
    return true;
}

/* The store. Only the writer's thread uses it. It says of each write in which term it was made,
 * where an API server keeps acquireTime as long as nobody else has held the Lease in between. */
static lease_record record;
static bool record_exists;

static void store(const lease_record *written) {
    record = *written;
    record_exists = true;
    lease__copy(record.uid, sizeof record.uid, "uid");
    snprintf(record.resource_version, sizeof record.resource_version, "%" PRId64, clock_now());
    record.lease_transitions = (int32_t)term_at(clock_now());
    record.acquire_time_us = wall_at(term_start(term_at(clock_now())));
}

static lease_status store_get(void *context, const char *ns, const char *name, int32_t limit,
                              lease_record *out, lease_error *error) {
    (void)context, (void)ns, (void)name, (void)limit, (void)error;
    if (!record_exists) return LEASE_NOT_FOUND;
    *out = record;
    return LEASE_OK;
}
static lease_status store_create(void *context, const char *ns, const char *name,
                                 const lease_record *written, int32_t limit, lease_record *out,
                                 lease_error *error) {
    (void)context, (void)ns, (void)name, (void)limit, (void)error;
    store(written);
    *out = record;
    return LEASE_OK;
}
static lease_status store_update(void *context, const char *ns, const char *name,
                                 const lease_record *written, int32_t limit, lease_record *out,
                                 lease_error *error) {
    (void)context, (void)ns, (void)name, (void)limit, (void)error;
    if (!lease__same(written->resource_version, record.resource_version)) return LEASE_CONFLICT;
    store(written);
    *out = record;
    return LEASE_OK;
}

/* Another holder, h<term>, writes. */
static void intrude(void) {
    lease_record other = record;
    snprintf(other.holder_identity, sizeof other.holder_identity, "h%" PRId64,
             term_at(clock_now()));
    other.renew_time_us = wall_at(clock_now());
    store(&other);
}

/* -- ... and what it says ---------------------------------------------------------------------- */

static struct {
    uint64_t terms, renewals, intrusions, releases;
    uint64_t leads, ranges, others; /* atomic: answers that say yes, views of another holder */
} tally;

static __thread int64_t term_last[2]; /* the newest term seen by this thread, by its handler */

static void saw_term(int64_t start, int64_t before, int64_t after, bool in_handler) {
    const int64_t term = term_at(start);
    MUST(start == term_start(term));
    MUST(term >= term_at(before)); /* no old term under a new clock */
    MUST(term <= term_at(after));  /* no term ahead of its clock */
    MUST(term >= term_last[in_handler]);
    term_last[in_handler] = term;
}

static void look_at_token(bool in_handler) {
    const int64_t before = clock_now();
    const uint64_t token = lease_token(watched);
    if (token != 0) saw_term((int64_t)token, before, clock_now(), in_handler);
}

static void look_at_remaining(void) {
    const int64_t before = clock_now();
    const int64_t left = lease_remaining_ms(watched);
    const int64_t after = clock_now();
    MUST(left >= 0 && left <= V); /* more: an old clock with a new deadline */
    if (left == 0 || before != after) return;
    const int64_t sent_after = before + left - V - term_start(term_at(before));
    MUST(sent_after >= 0 && sent_after % P == 0);
}

static void look_at_range(bool in_handler) {
    lease_time_range range;
    const int64_t before = clock_now();
    if (!lease_range(watched, &range)) return;
    const int64_t after = clock_now();
    const int64_t start = term_start((range.start_us - WALL_US) / WALL_SPAN_US);
    const int64_t renewed_us = range.end_us - D * 1000 - range.start_us;
    MUST(wall_at(start) == range.start_us);
    MUST(renewed_us >= 0 && renewed_us < V * 1000 && renewed_us % (P * 1000) == 0);
    saw_term(start, before, after, in_handler);
    __atomic_add_fetch(&tally.ranges, 1, __ATOMIC_RELAXED);
}

static void look_at_leader(const lease_view *view, int64_t before, int64_t after,
                           bool in_handler) {
    const int64_t token = (int64_t)view->token;
    MUST(view->state == LEASE_STATE_LEADER && view->exists && view->observed);
    MUST(lease__same(view->holder, "me"));
    MUST(view->remaining_ms > 0 && view->remaining_ms <= V);
    MUST(term_start(term_at(view->last_renewal_ms)) == token);
    MUST(view->acquire_time_us == wall_at(token));
    MUST(view->renew_time_us == wall_at(view->last_renewal_ms));
    MUST(view->acquisitions == view->losses + 1);
    if (view->has_range) {
        MUST(view->range.start_us == wall_at(token));
        MUST(view->range.end_us == wall_at(view->last_renewal_ms) + D * 1000);
    }
    if (before == after) MUST(before + view->remaining_ms == view->last_renewal_ms + V);
    saw_term(token, before, after, in_handler);
    __atomic_add_fetch(&tally.leads, 1, __ATOMIC_RELAXED);
}

static void look_at_view(bool in_handler) {
    lease_view view;
    const int64_t before = clock_now();
    lease_view_get(watched, &view);
    const int64_t after = clock_now();
    MUST(view.is_leader == (view.token != 0) && view.is_leader == (view.remaining_ms != 0));
    if (view.exists) {
        MUST((view.renew_time_us - WALL_US) / WALL_SPAN_US == view.transitions);
        MUST(view.lease_duration_s == (view.holder[0] == '\0' ? 1 : D / 1000));
    }
    if (view.holder[0] == 'h') {
        MUST(!view.is_leader && !view.has_range && view.acquisitions == view.losses);
        MUST(strtol(view.holder + 1, NULL, 10) == view.transitions);
        __atomic_add_fetch(&tally.others, 1, __ATOMIC_RELAXED);
    }
    if (view.is_leader) look_at_leader(&view, before, after, in_handler);
}

/* lease_is_leader is asked last: an answer shows in nothing but the counts. */
static void look_at_lease(bool in_handler) {
    look_at_token(in_handler);
    look_at_remaining();
    look_at_range(in_handler);
    look_at_view(in_handler);
    if (lease_is_leader(watched)) __atomic_add_fetch(&tally.leads, 1, __ATOMIC_RELAXED);
}

/* -- The writer -------------------------------------------------------------------------------- */

static lease_client *client;

static void turn_until_idle(void) {
    for (int i = 0; i < 100; i++) {
        lease_client_poll(client, 0);
        if (lease_client_wait_ms(client) > 0) return;
    }
    MUST(lease_client_wait_ms(client) > 0); /* a loop without delay */
}

/* No validity once lease_release has returned, neither before nor after the loop has seen it. */
static void release(void) {
    lease_time_range range;
    for (int turn = 0; turn < 2; turn++) {
        if (turn == 0) lease_release(watched);
        else turn_until_idle();
        MUST(!lease_is_leader(watched) && lease_token(watched) == 0);
        MUST(lease_remaining_ms(watched) == 0 && !lease_range(watched, &range));
    }
    MUST(record.holder_identity[0] == '\0');
    tally.releases++;
}

/* One term: it begins, is renewed some times, and ends by the clock, by another or by us. */
static void live_term(int64_t n) {
    const int64_t start = term_start(n);
    clock_set(start);
    lease_contend(watched);
    turn_until_idle();
    MUST(lease_token(watched) == (uint64_t)start);
    for (int64_t renewal = 1; renewal <= n % 4; renewal++) {
        clock_set(start + renewal * P);
        turn_until_idle();
        MUST(lease_remaining_ms(watched) == V);
        tally.renewals++;
    }
    clock_set(clock_now() + P);
    if (n % 8 == 3) {
        intrude();
        turn_until_idle();
        MUST(lease_token(watched) == 0);
        tally.intrusions++;
    } else if (n % 8 == 5) {
        release();
    }
    tally.terms++;
}

static void client_begin(void) {
    static const lease_hooks hooks = {NULL, boot_hook, wall_hook, random_hook};
    static const lease_backend backend = {NULL, store_get, store_create, store_update};
    lease_client_desc client_desc;
    lease_desc desc;
    memset(&client_desc, 0, sizeof client_desc);
    memset(&desc, 0, sizeof desc);
    client_desc.hooks = &hooks;
    client_desc.backend = &backend;
    desc.name = desc.ns = "litmus";
    desc.identity = "me";
    record_exists = false;
    clock_set(0);
    CHECK_STATUS(lease_client_create(&client_desc, &client, NULL), LEASE_OK);
    CHECK_STATUS(lease_create(client, &desc, &watched, NULL), LEASE_OK);
    lease_release(watched); /* until the first term */
    turn_until_idle();
}

static bool seen_all(void) {
    return tally.intrusions > 0 && tally.releases > 0 && tally.renewals > 0 &&
           __atomic_load_n(&tally.leads, __ATOMIC_RELAXED) > 0 &&
           __atomic_load_n(&tally.ranges, __ATOMIC_RELAXED) > 0 &&
           __atomic_load_n(&tally.others, __ATOMIC_RELAXED) > 0 &&
           __atomic_load_n(&handler_rounds, __ATOMIC_RELAXED) > 0;
}

TEST(a_client_whose_terms_change) {
    uint64_t asked = 0;
    uint64_t in_handlers = 0;
    run_begin();
    do {
        client_begin();
        memset(term_last, 0, sizeof term_last);
        threads_begin(look_at_lease);
        for (int64_t n = 1; n < TERMS && run_on(seen_all()); n++) live_term(n);
        threads_end();
        lease_client_destroy(client);
        asked += rounds;
        in_handlers += handler_rounds;
    } while (run_on(true));
    report();
    CHECK(seen_all());
    printf("(client: %" PRIu64 " terms, %" PRIu64 " renewals, %" PRIu64 " rounds of questions, "
           "%" PRIu64 " in handlers; %" PRIu64 " leader, %" PRIu64 " range, %" PRIu64 " other)\n",
           tally.terms, tally.renewals, asked, in_handlers, tally.leads, tally.ranges,
           tally.others);
}
