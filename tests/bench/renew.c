/* renew DIR NAME COUNT: renews the Lease NAME COUNT times against the server that DIR describes,
 * over real TLS, then prints its memory in kB and, with glibc, how often anything in the process
 * allocated after the tenth answer: `RSS DIRTY MALLOCS`.
 * Its clock jumps ahead by a retry period after each answer, so that a thousand renewals take as
 * long as their work takes: the difference of two counts is what renewals cost. */
#define LEASE_IMPLEMENTATION
#include "lease.h"

#include <stdio.h>

#define RETRY_PERIOD_MS 2000

static int64_t skipped_ms; /* how far our clocks are ahead */
static long answers;
static long mallocs; /* in the steady state */

#ifdef __GLIBC__
/* glibc's own functions under the names that let a program stand between. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *pointer, size_t size);

void *malloc(size_t size) {
    if (answers >= 10) mallocs++;
    return __libc_malloc(size);
}
void *calloc(size_t count, size_t size) {
    if (answers >= 10) mallocs++;
    return __libc_calloc(count, size);
}
void *realloc(void *pointer, size_t size) {
    if (answers >= 10) mallocs++;
    return __libc_realloc(pointer, size);
}
#endif

static int64_t clock_us(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000 + skipped_ms * 1000;
}
static int64_t boot_ms(void *context) {
    (void)context;
    return clock_us(CLOCK_BOOTTIME) / 1000;
}
static int64_t wall_us(void *context) {
    (void)context;
    return clock_us(CLOCK_REALTIME);
}
static bool fill_random(void *context, void *bytes, size_t count) {
    (void)context;
    return getrandom(bytes, count, 0) == (ssize_t)count;
}

static void on_event(lease *self, const lease_event *event, void *user) {
    (void)self;
    (void)user;
    if (event->kind == LEASE_EVENT_RENEW_FAILED || event->kind == LEASE_EVENT_ERROR) {
        fprintf(stderr, "renew: %s\n", event->error->message);
    }
    if (event->kind != LEASE_EVENT_RENEWED) return;
    answers++;
    skipped_ms += RETRY_PERIOD_MS;
}

static long memory_kb(const char *file, const char *key) {
    char line[256];
    long kb = -1;
    FILE *in = fopen(file, "r");
    if (!in) return -1;
    while (fgets(line, sizeof line, in)) {
        if (strncmp(line, key, strlen(key)) == 0) kb = strtol(line + strlen(key), NULL, 10);
    }
    fclose(in);
    return kb;
}

static bool read_line(const char *dir, const char *name, char *text, size_t capacity) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *in = fopen(path, "r");
    if (!in) return false;
    const bool read = fgets(text, (int)capacity, in) != NULL;
    fclose(in);
    if (read) text[strcspn(text, "\n")] = '\0';
    return read;
}

int main(int argc, char **argv) {
    char url[256];
    char credentials[512];
    if (argc != 4 || !read_line(argv[1], "url", url, sizeof url)) {
        fprintf(stderr, "usage: renew SERVER_DIR NAME COUNT\n");
        return 2;
    }
    snprintf(credentials, sizeof credentials, "%s/serviceaccount", argv[1]);
    const lease_hooks hooks = {NULL, boot_ms, wall_us, fill_random};
    lease_client_desc client_desc = {0};
    client_desc.server = url;
    client_desc.service_account_dir = credentials;
    client_desc.hooks = &hooks;
    lease_desc desc = {0};
    desc.name = argv[2];
    desc.retry_period_ms = RETRY_PERIOD_MS;
    desc.on_event = on_event;

    lease_error error;
    lease_client *client;
    lease *mine = NULL;
    if (lease_client_create(&client_desc, &client, &error) != LEASE_OK ||
        lease_create(client, &desc, &mine, &error) != LEASE_OK) {
        fprintf(stderr, "renew: %s\n", error.message);
        return 1;
    }
    const long count = strtol(argv[3], NULL, 10);
    while (answers < count && lease_client_poll(client, -1) == LEASE_OK) {
    }
    const long seen = mallocs; /* before stdio's own */
    printf("%ld %ld %ld\n", memory_kb("/proc/self/status", "VmRSS:"),
           memory_kb("/proc/self/smaps_rollup", "Anonymous:"), seen);
    lease_client_destroy(client);
    return answers >= count ? 0 : 1;
}
