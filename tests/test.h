/* test.h -- the whole test framework. A program is one file:
 *
 *     TEST(adds) { CHECK_INT(1 + 1, 2); }
 *
 * It runs all tests, or those whose names are given as arguments, prints a line for each check that
 * fails and ends with `N passed, N failed`. A test counts once, or once for each CASE("...") in it:
 * a row of a table names itself so. A CHECK says whether it held: `if (!CHECK(p)) return;`. */
#ifndef TEST_H
#define TEST_H

#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define TEST__MAX 256
#define TEST__LINES 3     /* at most so many failing checks of one case are printed */
#define TEST__SECONDS 600 /* of a program, also under valgrind; SIGALRM then ends it */

static struct {
    struct {
        const char *name;
        void (*run)(void);
    } tests[TEST__MAX];
    int count;
    int passed;
    int failed;
    const char *name; /* of the test that runs */
    char where[160];  /* the case in it */
    bool used;        /* the case has had a check */
    int bad;          /* ... and so many that did not hold */
} test__state;

static inline void test__add(const char *name, void (*run)(void)) {
    if (test__state.count == TEST__MAX) _exit(2);
    test__state.tests[test__state.count].name = name;
    test__state.tests[test__state.count++].run = run;
}

static inline void test__end_case(void) {
    if (test__state.used) *(test__state.bad > 0 ? &test__state.failed : &test__state.passed) += 1;
    test__state.used = false;
    test__state.bad = 0;
    test__state.where[0] = '\0';
}

__attribute__((format(printf, 1, 2))) static inline void test__begin_case(const char *text, ...) {
    va_list values;
    test__end_case();
    va_start(values, text);
    vsnprintf(test__state.where, sizeof test__state.where, text, values);
    va_end(values);
}

__attribute__((format(printf, 4, 5))) static inline bool test__check(bool good, const char *file,
                                                                     int line, const char *text,
                                                                     ...) {
    va_list values;
    test__state.used = true;
    if (good) return true;
    if (++test__state.bad > TEST__LINES) return false;
    printf("FAILED: %s:%d: %s%s%s: ", file, line, test__state.name,
           test__state.where[0] != '\0' ? ": " : "", test__state.where);
    va_start(values, text);
    vprintf(text, values);
    va_end(values);
    printf("\n");
    return false;
}

static inline bool test__check_str(const char *got, const char *want, const char *file, int line,
                                   const char *what) {
    const bool same = got != NULL && want != NULL && strcmp(got, want) == 0;
    return test__check(same, file, line, "%s is \"%s\", not \"%s\"", what,
                       got != NULL ? got : "(null)", want != NULL ? want : "(null)");
}

static inline bool test__check_int(int64_t got, int64_t want, const char *file, int line,
                                   const char *what) {
    return test__check(got == want, file, line, "%s is %" PRId64 ", not %" PRId64, what, got, want);
}

/* clang-format off */
#define TEST(name)                                                                                 \
    static void test_##name(void);                                                                 \
    __attribute__((constructor)) static void test__add_##name(void) {                              \
        test__add(#name, test_##name);                                                             \
    }                                                                                              \
    static void test_##name(void)
#define CASE(...) test__begin_case(__VA_ARGS__)
#define CHECK(cond) test__check((cond), __FILE__, __LINE__, "%s", #cond)
#define CHECK_STR(got, want) test__check_str((got), (want), __FILE__, __LINE__, #got)
#define CHECK_INT(got, want)                                                                       \
    test__check_int((int64_t)(got), (int64_t)(want), __FILE__, __LINE__, #got)
#define CHECK_STATUS(got, want)                                                                    \
    test__check_str(lease_status_name(got), lease_status_name(want), __FILE__, __LINE__, #got)
/* clang-format on */

static inline bool test__is_wanted(const char *name, int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], name) == 0) return true;
    }
    return argc == 1;
}

int main(int argc, char **argv) {
    setvbuf(stdout, NULL, _IOLBF, 0);
    alarm(TEST__SECONDS);
    for (int i = 0; i < test__state.count; i++) {
        test__state.name = test__state.tests[i].name;
        if (!test__is_wanted(test__state.name, argc, argv)) continue;
        test__state.tests[i].run();
        test__end_case();
    }
    printf("%d passed, %d failed\n", test__state.passed, test__state.failed);
    return test__state.failed == 0 && test__state.passed > 0 ? 0 : 1;
}

#endif
