/* beat -- the command that the tests run under a lease, and the judge of its logs.
 *
 *   beat FILE [interval_ms]   append "BOOTTIME_NS PID TOKEN" now and every interval (default 5 ms)
 *   beat --overlap FILE...    print for how many milliseconds two of the processes in these logs
 *                             were alive at once; exit status 0 when none, 1 when any, 2 on error
 *
 * A process is alive from its first line to its last. TOKEN is $LEASE_TOKEN, 0 without one. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_MS INT64_C(1000000)
#define MAX_LINE 128
#define MAX_LIVES 4096

typedef struct life {
    int64_t first_ns;
    int64_t last_ns;
    int64_t pid;
    uint64_t token; /* tells a later process with the same number from this one */
} life;

/* Reads a decimal number that ends at end; *text moves behind that. */
static bool parse_number(const char **text, char end, uint64_t limit, uint64_t *value)
{
    char *rest;

    if (**text < '0' || **text > '9') return false;
    errno = 0;
    *value = strtoull(*text, &rest, 10);
    *text = rest + 1;
    return errno == 0 && *value <= limit && *rest == end;
}

static int beat(const char *path, const char *interval)
{
    const char *token = getenv("LEASE_TOKEN");
    uint64_t ms;
    int fd;

    if (!parse_number(&interval, '\0', 3600000, &ms)) {
        fprintf(stderr, "beat: interval_ms must be a number of milliseconds\n");
        return 2;
    }
    struct timespec pause = {(time_t)(ms / 1000), (long)(ms % 1000) * (long)NS_PER_MS};
    fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
    while (fd >= 0) {
        char line[MAX_LINE];
        struct timespec now;

        clock_gettime(CLOCK_BOOTTIME, &now);
        int length = snprintf(line, sizeof line, "%" PRId64 " %ld %.32s\n",
                              (int64_t)now.tv_sec * 1000 * NS_PER_MS + now.tv_nsec, (long)getpid(),
                              token != NULL && *token != '\0' ? token : "0");
        if (write(fd, line, (size_t)length) != length) break;
        (void)nanosleep(&pause, NULL);
    }
    fprintf(stderr, "beat: %s: %s\n", path, strerror(errno));
    return 2;
}

/* Lines of one process mostly follow each other, so the search for it starts at the end. */
static bool add_line(life *lives, size_t *count, const char *text)
{
    uint64_t time_ns, pid, token;
    size_t i = *count;

    if (!parse_number(&text, ' ', INT64_MAX, &time_ns)) return false;
    if (!parse_number(&text, ' ', INT64_MAX, &pid)) return false;
    if (!parse_number(&text, '\n', UINT64_MAX, &token)) return false;
    life line = {(int64_t)time_ns, (int64_t)time_ns, (int64_t)pid, token};
    while (i > 0 && (lives[i - 1].pid != line.pid || lives[i - 1].token != token)) i--;
    if (i == 0) {
        if (*count == MAX_LIVES) return false;
        lives[(*count)++] = line;
        return true;
    }
    life *known = &lives[i - 1];
    if (line.first_ns < known->first_ns) known->first_ns = line.first_ns;
    if (line.last_ns > known->last_ns) known->last_ns = line.last_ns;
    return true;
}

static bool read_log(life *lives, size_t *count, const char *path)
{
    FILE *file = fopen(path, "r");
    char text[MAX_LINE];
    size_t number = 0;
    bool ok = true;

    if (file == NULL) {
        fprintf(stderr, "beat: %s: %s\n", path, strerror(errno));
        return false;
    }
    while (ok && fgets(text, sizeof text, file) != NULL) {
        number++;
        ok = add_line(lives, count, text);
    }
    if (!ok) {
        fprintf(stderr, "beat: %s line %zu: not BOOTTIME_NS PID TOKEN, or more than %d processes\n",
                path, number, MAX_LIVES);
    } else if (ferror(file)) {
        fprintf(stderr, "beat: %s: cannot be read\n", path);
        ok = false;
    }
    fclose(file);
    return ok;
}

static int by_first(const void *left, const void *right)
{
    const life *a = left;
    const life *b = right;

    return (a->first_ns > b->first_ns) - (a->first_ns < b->first_ns);
}

/* The time in which at least two lives go on. Both ends belong to a life: one that wrote a single
 * line inside another still counts. */
static int64_t overlap_ns(life *lives, size_t count)
{
    int64_t total = 0;
    int64_t reach = -1;   /* the last instant of the lives so far */
    int64_t counted = -1; /* the last instant that is in total */

    qsort(lives, count, sizeof *lives, by_first);
    for (size_t i = 0; i < count; i++) {
        int64_t from = lives[i].first_ns > counted ? lives[i].first_ns : counted + 1;
        int64_t to = lives[i].last_ns < reach ? lives[i].last_ns : reach;

        if (from <= to) {
            total += to - from + 1;
            counted = to;
        }
        if (lives[i].last_ns > reach) reach = lives[i].last_ns;
    }
    return total;
}

static int judge(char **paths)
{
    static life lives[MAX_LIVES];
    size_t count = 0;

    for (; *paths != NULL; paths++) {
        if (!read_log(lives, &count, *paths)) return 2;
    }
    int64_t overlap = overlap_ns(lives, count);
    printf("%" PRId64 "\n", overlap / NS_PER_MS + (overlap % NS_PER_MS != 0));
    return overlap == 0 ? 0 : 1;
}

int main(int argc, char **argv)
{
    if (argc >= 3 && strcmp(argv[1], "--overlap") == 0) return judge(argv + 2);
    if ((argc == 2 || argc == 3) && argv[1][0] != '-') {
        return beat(argv[1], argc == 3 ? argv[2] : "5");
    }
    fprintf(stderr, "usage: beat FILE [interval_ms] | beat --overlap FILE...\n");
    return 2;
}
