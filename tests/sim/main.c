/* The simulator's command line: run sets, the replay of one seed, and the summary. */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "sim.h"

#define MAIN_DEFAULT_RUNS 20000
#define MAIN_DEFAULT_JOBS 4     /* or as many as there are cores */
#define MAIN_COVERAGE_RUNS 4000 /* a run set of this size must have seen everything */
#define MAIN_SOAK_LINE_S 60
#define MAIN_SOAK_FAILURES 1000 /* more of them say nothing new */
#define MAIN_MAX_SEEDS 1000    /* in a file of kept ones */
#define MAIN_MAX_COMMAND 1024
#define MAIN_ALL_FAULTS ((UINT64_C(1) << SIM_FAULT_COUNT) - 1)

typedef struct main_options {
    sim_set set;
    const char *seeds_file;
    const char *save_file;
    bool shrink;
    bool soak;
    bool first_failure; /* stop there, and print its seed alone */
} main_options;

static main_options main_given;
static const char *main_program;
static struct timespec main_began;
static double main_said_s; /* when soak said something last */
static volatile sig_atomic_t main_stopped;

static int main_usage(void) {
    fprintf(stderr,
            "usage: %s [OPTION]...\n"
            "  --seed N            the first seed (default 1)\n"
            "  --runs N            how many seeds from there on (default %d; 1 with --trace)\n"
            "  --elections N       as many seeds as it takes to see so many elections\n"
            "  --jobs N            processes that share the work (default: one per core, at most "
            "%d)\n"
            "  --seeds FILE        run the seeds of this file first: a number and words on a line\n"
            "  --soak              run until stopped; a line a minute\n"
            "  --save FILE         append the command line of each failing seed to FILE\n"
            "  --first-failure     stop at the first failing seed and print it alone\n"
            "  --trace             tell every event of a run\n"
            "  --shrink            make the failing --seed small, and print how to replay that\n"
            "What makes a run smaller or other, for a replay:\n"
            "  --nodes N           at most so many candidates\n"
            "  --without WORD,...  without these kinds of faults\n"
            "  --with WORD,...     with no others than these; may be empty\n"
            "  --chaos MS          the faults end after so long\n"
            "  --fate N            another course of events under the same configuration\n"
            "  --only WORDS        nothing fails but the checks whose text has these words;\n"
            "                      `leaders`: two leaders at one time, judged by what is true\n"
            "  --client-go         all candidates are models of client-go; nothing is excused\n"
            "Kinds of faults:\n",
            main_program, MAIN_DEFAULT_RUNS, MAIN_DEFAULT_JOBS);
    for (int i = 0; i < SIM_FAULT_COUNT; i++) {
        sim_fault fault = (sim_fault)i;
        fprintf(stderr, "  %-18s  %s\n", sim_fault_word(fault), sim_fault_text(fault));
    }
    return 2;
}

/* -- Options ----------------------------------------------------------------------------------- */

static bool main_number(const char *text, uint64_t most, uint64_t *value) {
    char *end;
    errno = 0;
    *value = strtoull(text, &end, 10);
    return errno == 0 && end != text && *end == 0 && text[0] != '-' && *value <= most;
}

static bool main_faults(const char *text, uint64_t *faults) {
    while (*text != 0) {
        size_t length = strcspn(text, ",");
        int fault = 0;
        while (fault < SIM_FAULT_COUNT &&
               (strncmp(sim_fault_word((sim_fault)fault), text, length) != 0 ||
                sim_fault_word((sim_fault)fault)[length] != 0)) {
            fault++;
        }
        if (fault == SIM_FAULT_COUNT) return false;
        *faults |= UINT64_C(1) << fault;
        text += length + (text[length] == ',');
    }
    return true;
}

static bool main_flag(const char *name, main_options *options) {
    if (strcmp(name, "--trace") == 0) return options->set.orders.trace = true;
    if (strcmp(name, "--client-go") == 0) return options->set.orders.client_go = true;
    if (strcmp(name, "--shrink") == 0) return options->shrink = true;
    if (strcmp(name, "--soak") == 0) return options->soak = true;
    if (strcmp(name, "--first-failure") == 0) return options->first_failure = true;
    return false;
}

static bool main_value(const char *name, const char *text, main_options *options) {
    sim_set *set = &options->set;
    uint64_t value = 0;
    bool good = true;
    if (strcmp(name, "--seeds") == 0) {
        options->seeds_file = text;
    } else if (strcmp(name, "--save") == 0) {
        options->save_file = text;
    } else if (strcmp(name, "--only") == 0) {
        set->orders.only = text;
    } else if (strcmp(name, "--without") == 0) {
        good = main_faults(text, &set->orders.without);
    } else if (strcmp(name, "--with") == 0) {
        good = main_faults(text, &value);
        set->orders.without |= MAIN_ALL_FAULTS & ~value;
    } else if (strcmp(name, "--seed") == 0) {
        good = main_number(text, UINT64_MAX, &set->orders.seed);
    } else if (strcmp(name, "--fate") == 0) {
        good = main_number(text, UINT64_MAX, &set->orders.fate);
    } else if (strcmp(name, "--runs") == 0) {
        good = main_number(text, UINT64_MAX, &set->runs);
    } else if (strcmp(name, "--elections") == 0) {
        good = main_number(text, UINT64_MAX, &set->elections);
    } else if (strcmp(name, "--jobs") == 0) {
        good = main_number(text, SIM_MAX_JOBS, &value) && value > 0;
        set->jobs = (int32_t)value;
    } else if (strcmp(name, "--nodes") == 0) {
        good = main_number(text, SIM_MAX_NODES, &value) && value > 0;
        set->orders.nodes = (int32_t)value;
    } else if (strcmp(name, "--chaos") == 0) {
        good = main_number(text, INT32_MAX, &value) && value > 0;
        set->orders.chaos_us = (int64_t)value * 1000;
    } else {
        good = false;
    }
    return good;
}

static int32_t main_cores(void) {
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    if (cores < 1) return 1;
    return cores < MAIN_DEFAULT_JOBS ? (int32_t)cores : MAIN_DEFAULT_JOBS;
}

static bool main_parse(int count, char **values, main_options *options) {
    sim_set *set = &options->set;
    set->orders.seed = 1;
    set->jobs = main_cores();
    for (int i = 1; i < count; i++) {
        if (main_flag(values[i], options)) continue;
        if (i + 1 == count || !main_value(values[i], values[i + 1], options)) {
            fprintf(stderr, "%s: cannot use %s %s\n", main_program, values[i],
                    i + 1 < count ? values[i + 1] : "");
            return false;
        }
        i++;
    }
    bool endless = options->soak || set->elections != 0;
    const uint64_t most = UINT64_MAX / 2;
    if (set->runs == 0) set->runs = set->orders.trace ? 1 : endless ? most : MAIN_DEFAULT_RUNS;
    if (set->runs > most) set->runs = most;
    set->max_failures = options->first_failure ? 1
                        : options->soak ? MAIN_SOAK_FAILURES : SIM_MAX_FAILURES;
    return true;
}

/* -- Failures ---------------------------------------------------------------------------------- */

static void main_append(char *command, const char *format, ...) SIM_PRINTF(2, 3);
static void main_append(char *command, const char *format, ...) {
    size_t used = strlen(command);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(command + used, MAIN_MAX_COMMAND - used, format, arguments);
    va_end(arguments);
}

/* The command line that does the same again. */
static void main_command(const sim_orders *orders, char command[MAIN_MAX_COMMAND]) {
    command[0] = 0;
    main_append(command, "%s --trace --seed %" PRIu64, main_program, orders->seed);
    if (orders->fate != 0) main_append(command, " --fate %" PRIu64, orders->fate);
    if (orders->nodes != 0) main_append(command, " --nodes %d", (int)orders->nodes);
    if (orders->chaos_us != 0) main_append(command, " --chaos %" PRId64, orders->chaos_us / 1000);
    if (orders->client_go) main_append(command, " --client-go");
    if (orders->only) main_append(command, " --only '%s'", orders->only);
    bool few = 2 * __builtin_popcountll(orders->without) <= SIM_FAULT_COUNT;
    uint64_t listed = few ? orders->without : MAIN_ALL_FAULTS & ~orders->without;
    const char *before = few ? " --without " : " --with ";
    for (int i = 0; i < SIM_FAULT_COUNT; i++) {
        if ((listed >> i & 1u) == 0) continue;
        main_append(command, "%s%s", before, sim_fault_word((sim_fault)i));
        before = ",";
    }
    if (!few && listed == 0) main_append(command, " --with ''");
}

static void main_save(const char *file, const char *command, const char *failure) {
    FILE *stream = fopen(file, "a");
    if (!stream || fprintf(stream, "%s   # %s\n", command, failure) < 0 || fclose(stream) != 0) {
        fprintf(stderr, "%s: cannot write %s: %s\n", main_program, file, strerror(errno));
        exit(2);
    }
}

static void main_tell_failure(const sim_failure *failure) {
    if (main_given.first_failure) {
        printf("%" PRIu64 " %s\n", failure->seed, failure->text);
        return;
    }
    char command[MAIN_MAX_COMMAND];
    sim_orders orders = main_given.set.orders;
    orders.seed = failure->seed;
    main_command(&orders, command);
    printf("FAILED seed %" PRIu64 ", %s\n  replay: %s\n", failure->seed, failure->text, command);
    if (main_given.save_file) main_save(main_given.save_file, command, failure->text);
    fflush(stdout);
}

/* -- The summary ------------------------------------------------------------------------------- */

static double main_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)(now.tv_sec - main_began.tv_sec) +
           (double)(now.tv_nsec - main_began.tv_nsec) / 1e9;
}

static double main_cpu_of(int who) {
    struct rusage usage;
    getrusage(who, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static uint64_t main_report_coverage(const sim_stats *stats, bool demand) {
    uint64_t missed = 0;
    for (int i = 0; demand && i < SIM_SOMETIMES_COUNT; i++) {
        const char *text = sim_sometimes_text((sim_sometimes)i);
        if (stats->sometimes[i] == 0) {
            printf("FAILED never happened: %s\n", text);
            missed++;
        } else {
            printf("  %10" PRIu64 "  %s\n", stats->sometimes[i], text);
        }
    }
    return missed;
}

static void main_report(const sim_stats *stats, uint64_t failed) {
    printf("%" PRIu64 " elections in %" PRIu64 " runs, %.1f simulated days, %" PRIu64
           " requests, %" PRIu64 " events\n",
           stats->elections, stats->runs, (double)stats->simulated_us / 86400e6, stats->requests,
           stats->events);
    printf("%" PRIu64 " violations; two leaders were excused:\n", failed);
    for (int i = 0; i < SIM_SOMETIMES_COUNT; i++) {
        if (stats->overlaps[i] == 0) continue;
        printf("  %10" PRIu64 "  up to %3" PRId64 " s: %s\n", stats->overlaps[i],
               (stats->longest_overlap_ms[i] + 999) / 1000, sim_sometimes_text((sim_sometimes)i));
    }
    printf("takeovers without faults took at most %" PRId64 " %% (crash) and %" PRId64
           " %% (release) of their bounds\n",
           stats->worst_crash_permille / 10, stats->worst_release_permille / 10);
    printf("trace hash %016" PRIx64 "\n", stats->hash);
}

/* Not beside a trace, which is the same wherever it is made. */
static void main_report_speed(const sim_stats *stats) {
    double cpu = main_cpu_of(RUSAGE_SELF) + main_cpu_of(RUSAGE_CHILDREN);
    if (cpu < 0.001) cpu = 0.001;
    printf("%.1f s, %.1f s of CPU: %.0f elections and %.0f events a second of CPU\n",
           main_seconds(), cpu, (double)stats->elections / cpu, (double)stats->events / cpu);
}

/* -- Kinds of runs ----------------------------------------------------------------------------- */

static void main_stop(int number) {
    (void)number;
    main_stopped = 1;
}

static bool main_watch(const sim_result *sum, const sim_result *part) {
    for (uint64_t i = 0; i < part->failed; i++) main_tell_failure(&part->failures[i]);
    if (main_given.soak && main_seconds() - main_said_s >= MAIN_SOAK_LINE_S) {
        main_said_s = main_seconds();
        printf("%.0f min: %" PRIu64 " runs, %" PRIu64 " elections, %.0f simulated days, %" PRIu64
               " failed\n",
               main_said_s / 60, sum->stats.runs, sum->stats.elections,
               (double)sum->stats.simulated_us / 86400e6, sum->failed);
        fflush(stdout);
    }
    return main_stopped == 0;
}

/* A number and a few words on each line; lines that begin with # are for readers. */
static uint64_t main_read_seeds(const char *file, uint64_t seeds[MAIN_MAX_SEEDS]) {
    char line[256];
    char word[2];
    uint64_t count = 0;
    FILE *stream = fopen(file, "r");
    if (!stream) {
        fprintf(stderr, "%s: cannot read %s: %s\n", main_program, file, strerror(errno));
        exit(2);
    }
    for (int number = 1; fgets(line, sizeof line, stream); number++) {
        if (line[0] == '#' || line[0] == '\n') continue;
        if (count == MAIN_MAX_SEEDS || line[0] < '0' || line[0] > '9' ||
            sscanf(line, "%" SCNu64 " %1s", &seeds[count], word) != 2) {
            fprintf(stderr, "%s:%d: no number with words after it\n", file, number);
            exit(2);
        }
        count++;
    }
    fclose(stream);
    return count;
}

/* Seeds that have failed once come first. They do not count for the hash and the figures. */
static bool main_kept(sim_result *sum) {
    static uint64_t seeds[MAIN_MAX_SEEDS];
    if (!main_given.seeds_file) return true;
    sim_set set = main_given.set;
    set.seeds = seeds;
    set.runs = main_read_seeds(main_given.seeds_file, seeds);
    set.elections = 0;
    set.jobs = 1;
    sim_set_all(&set, sum);
    printf("%" PRIu64 " kept seeds of %s: %" PRIu64 " failed\n", set.runs, main_given.seeds_file,
           sum->failed);
    return sum->failed == 0 || main_given.soak;
}

static int main_run_set(void) {
    static sim_result kept;
    static sim_result sum;
    main_given.set.watch = main_watch;
    if (main_given.soak) {
        struct sigaction action = {.sa_handler = main_stop};
        sigaction(SIGINT, &action, NULL);
        sigaction(SIGTERM, &action, NULL);
        printf("seeds from %" PRIu64 " on, until it is stopped\n", main_given.set.orders.seed);
    }
    if (main_kept(&kept)) sim_set_all(&main_given.set, &sum);
    if (main_given.first_failure) return sum.failed + kept.failed == 0 ? 0 : 1;
    uint64_t failed = kept.failed + sum.failed;
    bool demand = failed == 0 && sum.stats.runs >= MAIN_COVERAGE_RUNS;
    demand = demand && !main_given.set.orders.client_go && main_given.set.orders.without == 0;
    uint64_t missed = main_report_coverage(&sum.stats, demand);
    main_report(&sum.stats, failed);
    main_report_speed(&sum.stats);
    failed += missed;
    printf("%" PRIu64 " passed, %" PRIu64 " failed\n", kept.passed + sum.passed, failed);
    return failed == 0 ? 0 : 1;
}

/* In this process, so that a debugger sees it. */
static int main_trace(void) {
    static sim_world world;
    static sim_stats stats;
    uint64_t failed = 0;
    sim_orders orders = main_given.set.orders;
    for (uint64_t i = 0; i < main_given.set.runs; i++, orders.seed++) {
        if (!sim_set_run(&world, &stats, &orders)) failed++;
    }
    main_report(&stats, failed);
    printf("%" PRIu64 " passed, %" PRIu64 " failed\n", stats.runs - failed, failed);
    return failed == 0 ? 0 : 1;
}

static int main_shrink(void) {
    char command[MAIN_MAX_COMMAND];
    sim_orders orders = main_given.set.orders;
    if (!sim_shrink(&orders)) {
        printf("seed %" PRIu64 " does not fail\n", orders.seed);
        return 0;
    }
    main_command(&orders, command);
    printf("  replay: %s\n", command);
    return 1;
}

int main(int count, char **values) {
    main_program = values[0];
    clock_gettime(CLOCK_MONOTONIC, &main_began);
    if (!main_parse(count, values, &main_given)) return main_usage();
    if (main_given.shrink) return main_shrink();
    if (main_given.set.orders.trace) return main_trace();
    return main_run_set();
}
