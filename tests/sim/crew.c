/* A run set, shared among processes. The seeds are cut into batches of one size and batch n is done
 * by process n modulo their number; the results are put together in the order of the batches. So
 * the outcome, the hash included, depends on the seeds alone. A process that dies or hangs tells
 * by its shared slot which seed it was at. */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sim.h"

#define CREW_BATCH 250
#define CREW_REPLAY_EVERY 64 /* one run in so many is repeated on other uninitialised memory */
#define CREW_HANG_S 120      /* no run takes so long, under whatever emulator */

typedef struct crew_worker {
    pid_t pid;
    int pipe;
} crew_worker;

typedef struct crew_pool {
    const sim_set *set;
    crew_worker workers[SIM_MAX_JOBS];
    int32_t count;
    uint64_t *seeds; /* shared: the seed each process is at */
} crew_pool;

static sim_world crew_world;
static sim_result crew_batch_result;

/* -- One seed, one batch ----------------------------------------------------------------------- */

/* Now and then once more, which must end in the same hash whatever memory held. */
bool sim_set_run(sim_world *world, sim_stats *stats, const sim_orders *orders) {
    sim_world_run(world, stats, orders, 0xa5);
    uint64_t hash = world->hash;
    if (!world->failed && orders->seed % CREW_REPLAY_EVERY == 0 && !orders->trace) {
        static sim_stats ignored;
        sim_world_run(world, &ignored, orders, 0x5a);
        if (!world->failed && world->hash != hash) {
            sim_fail(world, NULL, "the same seed gives another run on other memory");
        }
    }
    stats->hash += hash;
    return !world->failed;
}

static uint64_t crew_seed(const sim_set *set, uint64_t run) {
    return set->seeds ? set->seeds[run] : set->orders.seed + run;
}

static void crew_batch(const sim_set *set, uint64_t batch, uint64_t *at, sim_result *result) {
    memset(result, 0, sizeof *result);
    sim_orders orders = set->orders;
    uint64_t end = (batch + 1) * CREW_BATCH;
    if (end > set->runs) end = set->runs;
    for (uint64_t run = batch * CREW_BATCH; run < end; run++) {
        orders.seed = crew_seed(set, run);
        *at = orders.seed;
        alarm(CREW_HANG_S);
        if (sim_set_run(&crew_world, &result->stats, &orders)) {
            result->passed++;
            continue;
        }
        sim_failure *failure = &result->failures[result->failed++];
        failure->seed = orders.seed;
        sim_copy(failure->text, sizeof failure->text, crew_world.failure);
        if (result->failed == SIM_MAX_FAILURES || result->failed == set->max_failures) break;
    }
}

/* -- Putting together -------------------------------------------------------------------------- */

static int64_t crew_most(int64_t a, int64_t b) {
    return a > b ? a : b;
}

static void crew_add_stats(sim_stats *sum, const sim_stats *part) {
    sum->runs += part->runs;
    sum->elections += part->elections;
    sum->events += part->events;
    sum->requests += part->requests;
    sum->simulated_us += part->simulated_us;
    sum->hash += part->hash;
    sum->worst_crash_permille = crew_most(sum->worst_crash_permille, part->worst_crash_permille);
    sum->worst_release_permille =
        crew_most(sum->worst_release_permille, part->worst_release_permille);
    for (int i = 0; i < SIM_SOMETIMES_COUNT; i++) {
        sum->sometimes[i] += part->sometimes[i];
        sum->overlaps[i] += part->overlaps[i];
        sum->longest_overlap_ms[i] =
            crew_most(sum->longest_overlap_ms[i], part->longest_overlap_ms[i]);
    }
}

/* The failures themselves stay with the part that tells them. */
static void crew_add(sim_result *sum, const sim_result *part) {
    crew_add_stats(&sum->stats, &part->stats);
    sum->passed += part->passed;
    sum->failed += part->failed;
}

/* -- Processes --------------------------------------------------------------------------------- */

static bool crew_write(int pipe, const void *bytes, size_t count) {
    for (size_t done = 0; done < count;) {
        ssize_t n = write(pipe, (const char *)bytes + done, count - done);
        if (n <= 0) return false;
        done += (size_t)n;
    }
    return true;
}

/* False when the other side is gone. */
static bool crew_read(int pipe, void *bytes, size_t count) {
    for (size_t done = 0; done < count;) {
        ssize_t n = read(pipe, (char *)bytes + done, count - done);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        done += (size_t)n;
    }
    return true;
}

static void crew_work(crew_pool *crew, int32_t index, int pipe) {
    signal(SIGINT, SIG_IGN); /* the parent decides, and its end is the end of the pipe */
    uint64_t step = (uint64_t)crew->count;
    for (uint64_t batch = (uint64_t)index; batch * CREW_BATCH < crew->set->runs; batch += step) {
        crew_batch(crew->set, batch, &crew->seeds[index], &crew_batch_result);
        alarm(0);
        if (!crew_write(pipe, &crew_batch_result, sizeof crew_batch_result)) break;
    }
    _exit(0);
}

static void crew_die(const char *what) {
    perror(what);
    exit(2);
}

static void crew_start(crew_pool *crew) {
    size_t bytes = SIM_MAX_JOBS * sizeof *crew->seeds;
    crew->seeds = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (crew->seeds == MAP_FAILED) crew_die("mmap");
    fflush(stdout);
    for (int32_t i = 0; i < crew->count; i++) {
        int ends[2];
        if (pipe(ends) != 0) crew_die("pipe");
        pid_t pid = fork();
        if (pid < 0) crew_die("fork");
        if (pid == 0) {
            close(ends[0]);
            for (int32_t k = 0; k < i; k++) close(crew->workers[k].pipe);
            crew_work(crew, i, ends[1]);
        }
        close(ends[1]);
        crew->workers[i] = (crew_worker){.pid = pid, .pipe = ends[0]};
    }
}

static void crew_stop(crew_pool *crew) {
    for (int32_t i = 0; i < crew->count; i++) {
        close(crew->workers[i].pipe);
        if (crew->workers[i].pid <= 0) continue;
        kill(crew->workers[i].pid, SIGKILL);
        while (waitpid(crew->workers[i].pid, NULL, 0) < 0 && errno == EINTR) {}
    }
    munmap(crew->seeds, SIM_MAX_JOBS * sizeof *crew->seeds);
}

/* A process is gone without a result: the seed that it was at is what failed. */
static void crew_lost(crew_pool *crew, int32_t index, sim_result *result) {
    int status = 0;
    while (waitpid(crew->workers[index].pid, &status, 0) < 0 && errno == EINTR) {}
    crew->workers[index].pid = 0;
    memset(result, 0, sizeof *result);
    result->failed = 1;
    sim_failure *failure = &result->failures[0];
    failure->seed = crew->seeds[index];
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM) {
        snprintf(failure->text, sizeof failure->text, "a step has no end");
    } else if (WIFSIGNALED(status)) {
        snprintf(failure->text, sizeof failure->text, "died of signal %d", WTERMSIG(status));
    } else {
        snprintf(failure->text, sizeof failure->text, "ended by itself with status %d",
                 WEXITSTATUS(status));
    }
}

void sim_set_all(const sim_set *set, sim_result *sum) {
    static sim_result part;
    static crew_pool crew;
    memset(sum, 0, sizeof *sum);
    crew.set = set;
    crew.count = set->jobs;
    crew_start(&crew);
    for (uint64_t batch = 0; batch * CREW_BATCH < set->runs; batch++) {
        int32_t index = (int32_t)(batch % (uint64_t)crew.count);
        bool whole = crew_read(crew.workers[index].pipe, &part, sizeof part);
        if (!whole) crew_lost(&crew, index, &part);
        crew_add(sum, &part);
        if (!set->watch(sum, &part) || !whole) break;
        if (sum->failed >= set->max_failures) break;
        if (set->elections != 0 && sum->stats.elections >= set->elections) break;
    }
    crew_stop(&crew);
}
