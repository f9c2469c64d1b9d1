/* Walks all scopes, or replays a path. One line for each scope, then what happened how often. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "exhaustive.h"

typedef struct main_options {
    const char *program;
    const char *scope;  /* NULL = all */
    const char *replay; /* a path */
    int32_t depth;      /* -1 = that of the scope */
    bool deep;
    bool leaders;       /* nothing but two leaders counts */
    bool first_failure; /* stop there, and say nothing else */
} main_options;

static int main_usage(const char *program) {
    fprintf(stderr,
            "usage: %s [--deep] [--scope NAME [--depth N | --replay PATH]] [--leaders]\n"
            "       [--first-failure]\n"
            "  --deep           walk further, a minute or two\n"
            "  --scope NAME     only this one of:\n",
            program);
    for (int32_t i = 0; i < ex_scope_count; i++) {
        fprintf(stderr, "    %-9s %s\n", ex_scopes[i].name, ex_scopes[i].what);
    }
    fprintf(stderr, "  --depth N        walk so many steps, 0 = until all is seen\n"
                    "  --replay PATH    tell the story of a path\n"
                    "  --leaders        nothing but two leaders counts as a failure\n"
                    "  --first-failure  stop at the first failure and print it alone\n");
    return 2;
}

static bool main_parse(int count, char **values, main_options *options) {
    *options = (main_options){.program = values[0], .depth = -1};
    for (int i = 1; i < count; i++) {
        const char *next = i + 1 < count ? values[i + 1] : NULL;
        if (strcmp(values[i], "--deep") == 0) {
            options->deep = true;
        } else if (strcmp(values[i], "--leaders") == 0) {
            options->leaders = true;
        } else if (strcmp(values[i], "--first-failure") == 0) {
            options->first_failure = true;
        } else if (next == NULL) {
            return false;
        } else if (strcmp(values[i], "--scope") == 0) {
            options->scope = values[++i];
        } else if (strcmp(values[i], "--replay") == 0) {
            options->replay = values[++i];
        } else if (strcmp(values[i], "--depth") == 0 && next[0] >= '0' && next[0] <= '9') {
            options->depth = (int32_t)strtol(values[++i], NULL, 10);
        } else {
            return false;
        }
    }
    return options->scope != NULL || (options->replay == NULL && options->depth < 0);
}

/* -- One scope --------------------------------------------------------------------------------- */

static void main_print_failure(const main_options *options, const ex_scope *scope,
                               const ex_result *result) {
    printf("FAILED: %s: %s, after %d steps\n  %s --scope %s --replay ", scope->name,
           result->failure, (int)result->path_length, options->program, scope->name);
    ex_print_path(stdout, result->path, result->path_length);
    printf("\n");
    ex_replay(scope, result->path, result->path_length);
}

static void main_print(const ex_scope *scope, const ex_result *result, double seconds) {
    printf("%-9s %s%3d steps  %9" PRIu64 " states %10" PRIu64 " transitions %8" PRIu64
           " elections",
           scope->name, result->complete ? "all in " : "first  ", (int)result->depth,
           result->states, result->transitions, result->elections);
    if (!scope->must_fail) printf("  leader in %.1f s", (double)result->leader_ms / 1000);
    if (result->cut > 0) printf("  %" PRIu64 " steps cut", result->cut);
    printf("  (%.1f s)\n", seconds);
}

/* Two leaders, and nothing else, must be found where the clocks differ by more than tolerated. */
static bool main_is_good(const ex_scope *scope, const ex_result *result, bool good) {
    if (!scope->must_fail) return good;
    return !good && strncmp(result->failure, "two leaders", 11) == 0;
}

static bool main_walk(const main_options *options, const ex_scope *scope, ex_result *result) {
    const clock_t began = clock();
    int32_t depth = options->deep ? scope->deep_depth : scope->quick_depth;
    if (options->depth >= 0) depth = options->depth;
    const bool found = !ex_search(scope, depth, result);
    const bool good = main_is_good(scope, result, !found);
    if (options->first_failure) {
        if (!good) printf("%s: %s\n", scope->name, result->failure);
        return good;
    }
    main_print(scope, result, (double)(clock() - began) / CLOCKS_PER_SEC);
    if (!good && !found) {
        printf("FAILED: %s: two leaders are possible here, and were not found\n", scope->name);
    }
    if (!good && found) main_print_failure(options, scope, result);
    if (good && found) printf("          %s, as it must\n", result->failure);
    return good;
}

/* -- The summary ------------------------------------------------------------------------------- */

static void main_add(ex_result *sum, const ex_result *result) {
    sum->states += result->states;
    sum->transitions += result->transitions;
    sum->elections += result->elections;
    sum->tested += result->tested;
    for (int32_t i = 0; i < EX_HAPPENED_COUNT; i++) sum->happened[i] += result->happened[i];
}

static int32_t main_print_happened(const ex_result *sum) {
    int32_t missing = 0;
    for (int32_t i = 0; i < EX_HAPPENED_COUNT; i++) {
        printf("%12" PRIu64 "  %s\n", sum->happened[i], ex_happened_text((ex_happened)i));
        if (sum->happened[i] > 0) continue;
        printf("FAILED: that has never happened\n");
        missing++;
    }
    printf("in all %" PRIu64 " states, %" PRIu64 " transitions, %" PRIu64
           " elections; the canonical form was tested on %" PRIu64 " situations\n",
           sum->states, sum->transitions, sum->elections, sum->tested);
    return missing;
}

static int main_replay(const main_options *options, const ex_scope *scope) {
    static ex_choice path[EX_PATH];
    int32_t length;
    if (!ex_parse_path(options->replay, path, &length)) {
        fprintf(stderr, "--replay: not a path\n");
        return 2;
    }
    return ex_replay(scope, path, length) ? 0 : 1;
}

int main(int argc, char **argv) {
    static ex_result result, sum;
    main_options options;
    int32_t passed = 0, failed = 0;
    if (!main_parse(argc, argv, &options)) return main_usage(argv[0]);
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (int32_t i = 0; i < ex_scope_count; i++) {
        ex_scope scope = ex_scopes[i];
        scope.leaders_only = options.leaders;
        if (options.scope != NULL && strcmp(options.scope, scope.name) != 0) continue;
        if (options.replay != NULL) return main_replay(&options, &scope);
        const bool good = main_walk(&options, &scope, &result);
        if (!good && options.first_failure) return 1;
        *(good ? &passed : &failed) += 1;
        main_add(&sum, &result);
    }
    if (passed + failed == 0) return main_usage(argv[0]);
    if (options.first_failure) return 0;
    if (options.scope == NULL) {
        const int32_t missing = main_print_happened(&sum);
        passed += EX_HAPPENED_COUNT - missing;
        failed += missing;
    }
    printf("%d passed, %d failed\n", (int)passed, (int)failed);
    return failed == 0 ? 0 : 1;
}
