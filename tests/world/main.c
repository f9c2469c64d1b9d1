/* Run sets of the world: options, and the summary. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "world.h"

#define MAIN_DEFAULT_RUNS 1000
#define MAIN_COVERAGE_RUNS 1000 /* a run set of this size must have seen everything */
#define MAIN_REPLAY_EVERY 32   /* one run in so many is repeated */
#define MAIN_MAX_FAILURES 10

typedef struct main_options {
    uint64_t seed;
    uint64_t runs;
    bool trace;
    bool first_failure; /* stop there, and print its seed alone */
} main_options;

static world_world main_world;

static int main_usage(const char *program) {
    fprintf(stderr,
            "usage: %s [--seed N] [--runs N] [--trace] [--first-failure]\n"
            "  --seed N         the first seed (default 1)\n"
            "  --runs N         how many seeds from there on (default %d; 1 with --trace)\n"
            "  --trace          tell every event\n"
            "  --first-failure  stop at the first failing seed and print nothing but its number\n",
            program, MAIN_DEFAULT_RUNS);
    return 2;
}

static bool main_number(const char *text, uint64_t *value) {
    char *end;
    errno = 0;
    *value = strtoull(text, &end, 10);
    return errno == 0 && end != text && *end == 0 && text[0] != '-';
}

static bool main_parse(int count, char **values, main_options *options) {
    bool runs_given = false;
    *options = (main_options){.seed = 1, .runs = MAIN_DEFAULT_RUNS};
    for (int i = 1; i < count; i++) {
        const char *next = i + 1 < count ? values[i + 1] : "";
        if (strcmp(values[i], "--trace") == 0) {
            options->trace = true;
        } else if (strcmp(values[i], "--first-failure") == 0) {
            options->first_failure = true;
        } else if (strcmp(values[i], "--seed") == 0 && main_number(next, &options->seed)) {
            i++;
        } else if (strcmp(values[i], "--runs") == 0 && main_number(next, &options->runs)) {
            runs_given = true;
            i++;
        } else {
            return false;
        }
    }
    if (options->trace && !runs_given) options->runs = 1;
    return true;
}

/* Runs one seed; now and then once more, which must end in the same hash. */
static bool main_run(const main_options *options, world_stats *stats, uint64_t seed) {
    world_world *world = &main_world;
    world_run(world, stats, seed, options->trace);
    const uint64_t hash = world->hash;
    if (!world->failed && seed % MAIN_REPLAY_EVERY == 0 && !options->trace) {
        static world_stats ignored;
        world_run(world, &ignored, seed, false);
        if (!world->failed && world->hash != hash) {
            world_fail(world, NULL, "the same seed gives another run");
        }
    }
    stats->hash = (stats->hash ^ hash) * UINT64_C(0x100000001b3);
    return !world->failed;
}

static uint64_t main_report_coverage(const world_stats *stats, bool demand) {
    uint64_t missed = 0;
    for (int i = 0; i < WORLD_SOMETIMES_COUNT && demand; i++) {
        const char *text = world_sometimes_text((world_sometimes)i);
        if (stats->sometimes[i] == 0) {
            printf("FAILED never happened: %s\n", text);
            missed++;
        } else {
            printf("  %10" PRIu64 "  %s\n", stats->sometimes[i], text);
        }
    }
    return missed;
}

static void main_report_speed(const world_stats *stats, clock_t began) {
    double seconds = (double)(clock() - began) / CLOCKS_PER_SEC;
    if (seconds < 0.001) seconds = 0.001;
    printf("%" PRIu64 " elections in %" PRIu64 " runs, %.1f simulated hours, %" PRIu64
           " requests, %" PRIu64 " turns, %" PRIu64 " events\n",
           stats->elections, stats->runs, (double)stats->simulated_us / 3600e6, stats->requests,
           stats->turns, stats->events);
    printf("%.1f s of CPU: %.0f elections and %.0f requests a second\n", seconds,
           (double)stats->elections / seconds, (double)stats->requests / seconds);
    printf("takeovers without faults took at most %" PRId64 " %% (crash) and %" PRId64
           " %% (release) of their bounds\n",
           stats->worst_crash_permille / 10, stats->worst_release_permille / 10);
    printf("trace hash %016" PRIx64 "\n", stats->hash);
}

int main(int count, char **values) {
    main_options options;
    if (!main_parse(count, values, &options)) return main_usage(values[0]);
    if (!world_wires_init()) {
        perror("/dev/null");
        return 2;
    }
    static world_stats stats;
    const clock_t began = clock();
    uint64_t failed = 0;
    uint64_t passed = 0;
    for (uint64_t i = 0; i < options.runs && failed < MAIN_MAX_FAILURES; i++) {
        const uint64_t seed = options.seed + i;
        if (main_run(&options, &stats, seed)) {
            passed++;
            continue;
        }
        failed++;
        if (options.first_failure) {
            printf("%" PRIu64 " %s\n", seed, main_world.failure);
            return 1;
        }
        printf("FAILED seed %" PRIu64 ", %s\n  replay: %s --trace --seed %" PRIu64 "\n", seed,
               main_world.failure, values[0], seed);
    }
    if (options.first_failure) return 0;
    const bool demand = failed == 0 && options.runs >= MAIN_COVERAGE_RUNS;
    failed += main_report_coverage(&stats, demand);
    main_report_speed(&stats, began);
    printf("%" PRIu64 " passed, %" PRIu64 " failed\n", passed, failed);
    return failed == 0 ? 0 : 1;
}
