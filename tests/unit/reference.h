/* reference.h -- the reference electors' own tables, row by row: what each row is, what became of
 * it, and a script that shows it. A row does as the reference does, or differs on purpose and says
 * by which flaw of the reference, or does not apply and says what there is instead. Each program
 * has a list of all its rows, and fails when one is missing or comes twice.
 *
 * A script is words, what they mean is the program's business. A word key=value is a check. */
#ifndef REFERENCE_H
#define REFERENCE_H

#include "../test.h"

#include <stdlib.h>

#define REFERENCE_CORE_IDS                                                                         \
    "T1 T2 T3 T4 T5 T6 T7 T8 T9 T10 T11 T12 T13 T14 T15 T16 T17 T18 T19 T20 "                      \
    "U1 U2 U3 U4 U5 U6 U7 U8 U9 U10 U11 U12 U13 U14 U17 U18 U19 U21 U22 U23 P1 P2 "                \
    "F1 F2 F3 F4a F4b F5 F6 F7 F8 F9 F10 F11 F12 F16 F17 F18 F19 F20 F21 F22 F23 F24"
#define REFERENCE_CLIENT_IDS                                                                       \
    "U15 U16 U20 F13 F14 F15 H1 H2 H3 H4 H5 K1 K2 K3 K4 K5 K6 K7 K8 K9 K10 K11 C1 C2 M1 M2 "       \
    "G1 G2 G3 G4 G5 G6 G7 G8 G9 G10 G11 G12 G13 G14 G15 G16 G17 G18 G19 G20 "                      \
    "S1 S2 S3 S4 S5 S6 S7 Pa Pb Pc Pd Pe Pf Pg Ph"

typedef struct reference_row {
    const char *id;
    const char *what;      /* the reference's own case, or what it says of it */
    const char *differs;   /* by which flaws of the reference, or rule of ours; NULL = does not */
    const char *absent;    /* why it does not apply, and what there is instead; NULL = it does */
    const char *why;       /* of differs */
    const char *shown_by;  /* "FILE NAME": the test that shows it; then there is no script */
    const char *timing;    /* lease duration/renew deadline/retry period in ms; NULL = defaults */
    const char *planted;   /* what has happened before */
    const char *script;
    const char *reference; /* the requests that the reference sends; NULL = not compared */
    const char *ours;      /* ... and ours; NULL = the same */
    const char *want;      /* checks at the end */
} reference_row;

/* -- The ledger -------------------------------------------------------------------------------- */

static struct {
    const reference_row *rows[256];
    int count;
} reference;

/* A test that is named must exist. */
static inline void reference_shown(const reference_row *row) {
    static char text[256 * 1024];
    char path[512];
    char file[100] = "";
    char name[100] = "";
    char wanted[120];
    sscanf(row->shown_by, "%99s %99s", file, name);
    snprintf(path, sizeof path, "%.*stests/%s", (int)(strlen(__FILE__) - 22), __FILE__, file);
    FILE *stream = fopen(path, "r");
    if (!test__check(stream != NULL, __FILE__, __LINE__, "cannot open %s", path)) return;
    text[fread(text, 1, sizeof text - 1, stream)] = '\0';
    fclose(stream);
    snprintf(wanted, sizeof wanted, "TEST(%s)", name);
    const bool script = strstr(file, ".sh") != NULL; /* one case as a whole */
    test__check(script || strstr(text, wanted) != NULL, __FILE__, __LINE__, "%s has no %s", path,
                wanted);
}

/* Every row begins with this: has it a script to run? */
static inline bool reference_begin(const reference_row *row) {
    CASE("%s %s", row->id, row->what);
    if (reference.count == 256) _exit(2);
    reference.rows[reference.count++] = row;
    CHECK(row->differs == NULL || (row->why != NULL && row->absent == NULL));
    CHECK(row->differs != NULL || (row->why == NULL && row->ours == NULL));
    CHECK(row->ours == NULL || strcmp(row->ours, row->reference) != 0);
    CHECK(row->shown_by == NULL || (row->script == NULL && row->want == NULL));
    if (row->shown_by != NULL) reference_shown(row);
    return row->script != NULL || row->want != NULL;
}

static inline int reference_times(const char *id) {
    int times = 0;
    for (int i = 0; i < reference.count; i++) times += strcmp(reference.rows[i]->id, id) == 0;
    return times;
}

/* How many rows differ by each flaw, in order of first use: "F9 4, F4 3". */
static inline void reference_print_flaws(void) {
    char flaws[64][24];
    int counts[64] = {0};
    int known = 0;
    for (int i = 0; i < reference.count; i++) {
        if (reference.rows[i]->differs == NULL) continue;
        char text[120];
        snprintf(text, sizeof text, "%s", reference.rows[i]->differs);
        char *rest = NULL;
        for (char *flaw = strtok_r(text, " ", &rest); flaw != NULL;
             flaw = strtok_r(NULL, " ", &rest)) {
            int at = 0;
            while (at < known && strcmp(flaws[at], flaw) != 0) at++;
            if (at == 64) _exit(2);
            if (at == known) snprintf(flaws[known++], sizeof flaws[0], "%.23s", flaw);
            counts[at]++;
        }
    }
    for (int i = 0; i < known; i++) printf("%s%s %d", i > 0 ? ", " : "", flaws[i], counts[i]);
}

static inline void reference_print(void) {
    int follow = 0;
    int differ = 0;
    int shown = 0;
    for (int i = 0; i < reference.count; i++) {
        const reference_row *row = reference.rows[i];
        follow += row->differs == NULL && row->absent == NULL;
        differ += row->differs != NULL;
        shown += row->shown_by != NULL;
        if (row->absent != NULL) printf("(%s does not apply: %s)\n", row->id, row->absent);
    }
    printf("(%d rows of the reference: %d as it does, %d differ on purpose, %d do not apply; %d of "
           "them are shown by other tests)\n(they differ by: ",
           reference.count, follow, differ, reference.count - follow - differ, shown);
    reference_print_flaws();
    printf(")\n");
}

/* The last test of a program: each row of the list was here once, and nothing else. */
static inline void reference_end(const char *ids) {
    char text[1024];
    char *rest = NULL;
    int listed = 0;
    snprintf(text, sizeof text, "%s", ids);
    for (char *id = strtok_r(text, " ", &rest); id != NULL; id = strtok_r(NULL, " ", &rest)) {
        listed++;
        const int times = reference_times(id);
        test__check(times == 1, __FILE__, __LINE__, "row %s came %d times", id, times);
    }
    CHECK_INT(reference.count, listed);
    reference_print();
}

/* A check of a script: key=value. */
static inline void reference_check(const char *word, const char *(*ask)(const char *key)) {
    char key[32] = "";
    const size_t length = strcspn(word, "=");
    snprintf(key, sizeof key, "%.*s", (int)length, word);
    const char *got = ask(key);
    test__check(strcmp(got, word + length + 1) == 0, __FILE__, __LINE__, "%s is %s, not %s", key,
                got, word + length + 1);
}

/* Takes a script apart; NULL is an empty one. */
static inline void reference_words(const char *script, void (*take)(const char *word)) {
    char text[512];
    char *rest = NULL;
    snprintf(text, sizeof text, "%s", script != NULL ? script : "");
    CHECK(script == NULL || strlen(script) < sizeof text);
    for (char *word = strtok_r(text, " ", &rest); word != NULL;
         word = strtok_r(NULL, " ", &rest)) {
        take(word);
    }
}

#endif
