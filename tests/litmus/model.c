/* The fences of the latch, under every order in which C11 lets a reader see the writer's stores.
 *
 * No machine shows all of them: x86 never reorders what the latch cares about, nor does an ARM
 * guest on it, and TSan does not understand fences. So the very text of lease__latch_write and
 * lease__latch_read is compiled here with its atomic builtins replaced by a model. Each location
 * keeps all values ever stored, each with what its writer had made visible before (a view); a load
 * may return any value that is not older than what the reader is bound to have seen. Since readers
 * store nothing, the writer can run to its end first, and trying every choice of every load then
 * tries every behaviour: the promises that the full model has for stores moved ahead of loads have
 * nothing to move here. The model is the one known as release/acquire with views:
 *
 *   store, relaxed   carries the view of the last release fence
 *   store, release   carries all that its thread has seen or done
 *   load, relaxed    keeps the value's view aside, for an acquire fence to take over
 *   load, acquire    takes the value's view over at once
 */
#include <stddef.h>
#include <stdint.h>

static uint64_t model_load(const void *at, int order);
static void model_store(void *at, size_t size, uint64_t value, int order);
static void model_fence(int order);
#define __atomic_load_n(p, order) ((__typeof__((__typeof__(*(p)))0))model_load((p), (order)))
#define __atomic_store_n(p, v, order) model_store((p), sizeof *(p), (uint64_t)(v), (order))
#define __atomic_thread_fence(order) model_fence(order)

#define LEASE_NO_TLS
#define LEASE_IMPLEMENTATION
#include "lease.h"

#include "../test.h"

#define MODEL_LOCATIONS 16
#define MODEL_VALUES 8   /* that one location ever has */
#define MODEL_CHOICES 64 /* that one run ever has */
#define MODEL_LOADS 1000 /* a reader that needs as many waits for the writer */
#define MODEL_WORDS 3    /* of what the latch publishes here */
#define MODEL_WRITES 4

typedef struct model_view {
    uint8_t oldest[MODEL_LOCATIONS]; /* of each location: the oldest value that may still be seen */
} model_view;

typedef struct model_thread {
    model_view now;      /* what it is bound to have seen */
    model_view acquired; /* ... after its next acquire fence */
    model_view released; /* what its last release fence covers */
} model_thread;

static struct {
    const void *address; /* NULL = free */
    uint8_t count;
    uint64_t values[MODEL_VALUES];
    model_view views[MODEL_VALUES];
} locations[MODEL_LOCATIONS];

static model_thread writer;
static model_thread reader;
static model_thread *running;

/* What the loads of a run choose, in their order: the next run differs in the last one that can. */
static struct {
    uint8_t choice[MODEL_CHOICES];
    uint8_t limit[MODEL_CHOICES];
    size_t count; /* choices so far in this run */
    size_t loads;
} run;

static lease__latch latch;
static bool in_handler; /* the reader is a signal handler of the writer's thread */
static void (*before_step)(void);

/* -- The model --------------------------------------------------------------------------------- */

static size_t model_location(const void *at) {
    for (size_t i = 0; i < MODEL_LOCATIONS; i++) {
        if (locations[i].address == at) return i;
        if (locations[i].address != NULL) continue;
        locations[i].address = at;
        locations[i].count = 1; /* zero, as it is in the beginning */
        return i;
    }
    _exit(2);
}

static void model_join(model_view *view, const model_view *other) {
    for (size_t i = 0; i < MODEL_LOCATIONS; i++) {
        if (other->oldest[i] > view->oldest[i]) view->oldest[i] = other->oldest[i];
    }
}

static bool model_releases(int order) {
    return order == __ATOMIC_RELEASE || order == __ATOMIC_ACQ_REL || order == __ATOMIC_SEQ_CST;
}

static bool model_acquires(int order) {
    return order == __ATOMIC_ACQUIRE || order == __ATOMIC_ACQ_REL || order == __ATOMIC_SEQ_CST ||
           order == __ATOMIC_CONSUME;
}

/* One of so many: the newest first, so that a run without further choices ends. */
static uint8_t model_choose(uint8_t count) {
    if (in_handler || count == 1) return 0;
    if (run.count == MODEL_CHOICES) _exit(2);
    run.limit[run.count] = count;
    return run.choice[run.count++];
}

static uint64_t model_load(const void *at, int order) {
    if (++run.loads > MODEL_LOADS) {
        printf("FAILED: %s: a reader waits for the writer\n", __FILE__);
        exit(1);
    }
    const size_t where = model_location(at);
    const uint8_t oldest = running->now.oldest[where];
    const uint8_t newest = (uint8_t)(locations[where].count - 1);
    const uint8_t seen = (uint8_t)(newest - model_choose((uint8_t)(newest - oldest + 1)));
    running->now.oldest[where] = seen;
    model_join(&running->acquired, &locations[where].views[seen]);
    if (model_acquires(order)) model_join(&running->now, &locations[where].views[seen]);
    model_join(&running->acquired, &running->now);
    return locations[where].values[seen];
}

static void model_store(void *at, size_t size, uint64_t value, int order) {
    if (before_step != NULL) before_step();
    const size_t where = model_location(at);
    const uint8_t index = locations[where].count++;
    if (index >= MODEL_VALUES) _exit(2);
    const model_view *carried = model_releases(order) ? &running->now : &running->released;
    running->now.oldest[where] = index;
    locations[where].values[index] = value;
    locations[where].views[index] = *carried;
    locations[where].views[index].oldest[where] = index;
    /* The writer looks at its own variables without an atomic. */
    if (size == 1) *(uint8_t *)at = (uint8_t)value;
    else if (size == 4) *(uint32_t *)at = (uint32_t)value;
    else *(uint64_t *)at = value;
}

static void model_fence(int order) {
    if (model_acquires(order)) model_join(&running->now, &running->acquired);
    if (model_releases(order)) running->released = running->now;
}

/* -- What is published and read ---------------------------------------------------------------- */

static const size_t factors[MODEL_WORDS] = {1, 10, 100};

static void publish(size_t n) {
    size_t words[MODEL_WORDS];
    for (size_t i = 0; i < MODEL_WORDS; i++) words[i] = n * factors[i];
    lease__latch_write(&latch, words, sizeof words);
}

/* Which write the reader has got; -1 = parts of several. */
static int look(void) {
    size_t words[MODEL_WORDS];
    lease__latch_read(&latch, words, sizeof words);
    for (size_t i = 1; i < MODEL_WORDS; i++) {
        if (words[i] != words[0] * factors[i]) return -1;
    }
    return (int)words[0];
}

static void begin(void) {
    memset(&latch, 0, sizeof latch);
    memset(locations, 0, sizeof locations);
    memset(&writer, 0, sizeof writer);
    memset(&reader, 0, sizeof reader);
    memset(&run, 0, sizeof run);
    before_step = NULL;
    in_handler = false;
    running = &writer;
}

static void begin_run(void) {
    run.count = run.loads = 0;
    memset(&reader, 0, sizeof reader);
}

/* Makes the last load that has another choice take it; false when all have been tried. */
static bool next_run(void) {
    while (run.count > 0 && run.choice[run.count - 1] + 1 == run.limit[run.count - 1]) {
        run.choice[--run.count] = 0;
    }
    if (run.count == 0) return false;
    run.choice[run.count - 1]++;
    return true;
}

/* -- Cases ------------------------------------------------------------------------------------- */

TEST(every_order_of_a_read) {
    for (size_t writes = 1; writes <= MODEL_WRITES; writes++) {
        long runs = 0;
        int torn = 0;
        unsigned seen = 0;
        CASE("%zu writes", writes);
        begin();
        for (size_t n = 1; n <= writes; n++) publish(n);
        running = &reader;
        do {
            begin_run();
            const int got = look();
            if (got < 0) torn++;
            else seen |= 1u << got;
            runs++;
        } while (next_run());
        CHECK_INT(torn, 0);
        CHECK_INT(seen, (1 << (writes + 1)) - 1); /* each of them, and what was there before */
        printf("(%zu writes, one read: %ld orders)\n", writes, runs);
    }
}

/* A reader that has seen a write sees no older one after it. */
TEST(every_order_of_two_reads) {
    long runs = 0;
    int torn = 0;
    int back = 0;
    begin();
    for (size_t n = 1; n <= 3; n++) publish(n);
    running = &reader;
    do {
        begin_run();
        const int first = look();
        const int second = look();
        if (first < 0 || second < 0) torn++;
        if (second < first) back++;
        runs++;
    } while (next_run());
    CHECK_INT(torn, 0);
    CHECK_INT(back, 0);
    printf("(3 writes, two reads: %ld orders)\n", runs);
}

/* What is stored before publishing is seen by whoever sees what was published: the order in which
 * a term's clock and its deadline come. */
TEST(a_read_brings_what_was_before_the_write) {
    static size_t before;
    int lost = 0;
    begin();
    for (size_t n = 1; n <= 3; n++) {
        __atomic_store_n(&before, n, __ATOMIC_RELAXED);
        publish(n);
    }
    running = &reader;
    do {
        begin_run();
        const int got = look();
        if ((int)__atomic_load_n(&before, __ATOMIC_RELAXED) < got) lost++;
    } while (next_run());
    CHECK_INT(lost, 0);
}

static int handler_bad;
static int handler_calls;
static size_t handler_write; /* the one that it interrupts */

static void handler(void) {
    run.loads = 0;
    const int got = look();
    handler_calls++;
    if (got != (int)handler_write && got != (int)handler_write - 1) handler_bad++;
}

/* A signal handler that interrupts the writer at any point gets an answer, at once. */
TEST(a_handler_between_any_two_stores) {
    begin();
    in_handler = true;
    for (handler_write = 1; handler_write <= MODEL_WRITES; handler_write++) {
        before_step = handler;
        publish(handler_write);
        before_step = NULL;
    }
    CHECK_INT(handler_bad, 0);
    CHECK(handler_calls >= MODEL_WRITES * MODEL_WORDS);
}
