/* 02_event_loop.c -- the client inside your own poll(2) loop, with no thread and no callback into
 * the unknown: its descriptors and its next instant beside a timer and the standard input of yours.
 *
 * While it leads it prints a tick each second. Type `release` to hand leadership over, `contend` to
 * stand for election again, `quit` (or end the input) to release and leave. Without an argument it
 * finds the cluster as 01_minimal.c does; with a directory it needs none:
 *
 *     make examples && mkdir -p /tmp/leases
 *     build/examples/02_event_loop /tmp/leases        # in two terminals
 */
#define LEASE_IMPLEMENTATION
#include "lease.h"

#include <inttypes.h>
#include <poll.h>
#include <stdio.h>

#define TICK_MS 1000
#define RELEASE_LIMIT_MS 3000

/* Your own descriptors come first, then those of the client. */
enum { INPUT, CLIENT, MAX_FDS = CLIENT + LEASE_MAX_FDS };

static int64_t now_ms(void) {
    struct timespec now;
    if (clock_gettime(CLOCK_MONOTONIC, &now) != 0) abort();
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Comes from inside lease_client_poll, so on this thread and at a place that we chose. */
static void on_event(lease *self, const lease_event *event, void *user) {
    (void)self;
    (void)user;
    switch (event->kind) {
    case LEASE_EVENT_ACQUIRED: printf("leading, token %" PRIu64 "\n", event->token); break;
    case LEASE_EVENT_LOST: puts("not leading any more"); break;
    case LEASE_EVENT_RELEASED: puts("released"); break;
    case LEASE_EVENT_LEADER_CHANGED:
        printf("holder: %s\n", event->holder[0] != '\0' ? event->holder : "nobody");
        break;
    case LEASE_EVENT_ERROR:
    case LEASE_EVENT_RENEW_FAILED: printf("error: %s\n", event->error->message); break;
    case LEASE_EVENT_DUPLICATE_IDENTITY: puts("another process uses our identity"); break;
    case LEASE_EVENT_RENEWED:
    case LEASE_EVENT_FAIL_OPEN:
    case LEASE_EVENT_FAIL_CLOSED: break;
    }
}

/* Reads one command. False: it is time to leave. */
static bool obey(lease *leadership) {
    char line[64];
    const ssize_t length = read(STDIN_FILENO, line, sizeof line - 1);
    if (length <= 0) return false;
    line[strcspn(line, "\n")] = '\0';
    if (strcmp(line, "quit") == 0) return false;
    if (strcmp(line, "release") == 0) return lease_release(leadership) == LEASE_OK;
    if (strcmp(line, "contend") == 0) return lease_contend(leadership) == LEASE_OK;
    puts("release, contend or quit?");
    return true;
}

/* Waits for whatever comes first: input, the client's sockets, its next instant, or the tick. */
static bool turn(lease_client *client, lease *leadership, int64_t *tick_ms) {
    struct pollfd fds[MAX_FDS] = {{.fd = STDIN_FILENO, .events = POLLIN}};
    const size_t count = lease_client_fds(client, fds + CLIENT, LEASE_MAX_FDS);
    const int64_t left_ms = *tick_ms - now_ms();
    int32_t wait_ms = lease_client_wait_ms(client);
    if (left_ms < wait_ms) wait_ms = left_ms > 0 ? (int32_t)left_ms : 0;
    if (poll(fds, CLIENT + (nfds_t)count, wait_ms) < 0 && errno != EINTR) return false;

    if (lease_client_poll(client, 0) != LEASE_OK) return false; /* cheap when nothing is due */
    if (now_ms() >= *tick_ms) {
        if (lease_is_leader(leadership)) puts("tick");
        *tick_ms = now_ms() + TICK_MS;
    }
    return fds[INPUT].revents == 0 || obey(leadership);
}

/* Our work has stopped: gives the Lease back, within a limit. Otherwise it expires by itself. */
static void leave(lease_client *client, lease *leadership) {
    const int64_t end_ms = now_ms() + RELEASE_LIMIT_MS;
    lease_view view = {.released = lease_release(leadership) != LEASE_OK};
    while (!view.released && now_ms() < end_ms) {
        if (lease_client_poll(client, (int32_t)(end_ms - now_ms())) != LEASE_OK) break;
        lease_view_get(leadership, &view);
    }
}

int main(int argc, char **argv) {
    const lease_backend directory = lease_backend_file(argc > 1 ? argv[1] : "");
    const lease_client_desc client_desc = {.backend = argc > 1 ? &directory : NULL};
    const lease_desc desc = {
        .name = "event-loop", .ns = argc > 1 ? "default" : NULL, .on_event = on_event};
    lease_client *client = NULL;
    lease *leadership = NULL;
    lease_error error = {.status = LEASE_OK};

    setvbuf(stdout, NULL, _IOLBF, 0); /* a line at a time, also into a pipe */
    if (lease_client_create(&client_desc, &client, &error) != LEASE_OK ||
        lease_create(client, &desc, &leadership, &error) != LEASE_OK) {
        fprintf(stderr, "%s\n", error.message);
        lease_client_destroy(client);
        return 1;
    }
    int64_t tick_ms = now_ms();
    while (turn(client, leadership, &tick_ms)) continue;
    leave(client, leadership);
    lease_client_destroy(client);
    return ferror(stdout) ? 1 : 0;
}
