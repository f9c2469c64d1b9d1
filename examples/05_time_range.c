/* 05_time_range.c -- data written once by one of several replicas, without gaps when the API fails.
 *
 * All replicas collect the same samples; only those inside the time range of the Lease go out, in
 * batches. This is Google's pkg/lease: the range reaches a lease duration beyond the last renewal,
 * and when the API server falls silent it fails open, so that its outage is no gap in the data.
 * What was remembered from one batch to the next is dropped when the leader changes, for the other
 * replica has exported meanwhile. Start it twice, stop the one that exports; then stop the API
 * server for a while. A directory instead of a cluster does as well, but never fails open:
 *
 *     make examples
 *     KUBECONFIG=config.json build/examples/05_time_range   # or: .../05_time_range /tmp/leases
 */
#define LEASE_IMPLEMENTATION
#include "lease.h"

#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>

#define BATCH 8
#define SAMPLE_EVERY_NS 250000000L

typedef struct sample {
    int64_t time_us;
    int64_t count; /* of a counter that only grows */
} sample;

/* Deltas need the value before: the cache. */
typedef struct exporter {
    bool knows_last;
    int64_t last_count;
} exporter;

static volatile sig_atomic_t stopping;
static atomic_bool leader_changed;

static void on_signal(int number) {
    (void)number;
    stopping = 1;
}

/* On the client's thread. The range of a new term opens only after this has returned. */
static void on_event(lease *self, const lease_event *event, void *user) {
    (void)self;
    (void)user;
    if (event->kind == LEASE_EVENT_LEADER_CHANGED) {
        atomic_store(&leader_changed, true);
        printf("leader: %s\n", event->holder[0] != '\0' ? event->holder : "nobody");
    }
    if (event->kind == LEASE_EVENT_FAIL_OPEN) puts("the API is silent: failing open");
    if (event->kind == LEASE_EVENT_FAIL_CLOSED) puts("no longer failing open");
}

static sample take_sample(void) {
    static int64_t count;
    struct timespec now;
    if (clock_gettime(CLOCK_REALTIME, &now) != 0) abort();
    return (sample){(int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000, ++count};
}

/* Writes what is inside the range, and says what became of the rest. */
static bool export_batch(exporter *self, const lease *leadership, const sample *batch) {
    lease_time_range range;
    const bool open = lease_range(leadership, &range);
    /* In this order: if the range is that of a new term, the flag has been set before. */
    if (atomic_exchange(&leader_changed, false)) *self = (exporter){.knows_last = false};
    int written = 0;
    int64_t delta = 0;
    for (const sample *s = batch; s < batch + BATCH; s++) {
        if (!open || s->time_us < range.start_us || s->time_us >= range.end_us) continue;
        if (self->knows_last) delta += s->count - self->last_count;
        self->last_count = s->count;
        self->knows_last = true;
        written++;
    }
    if (!open) return puts("not ours: nothing exported") >= 0;
    return printf("exported %d of %d samples, +%" PRId64 "\n", written, BATCH, delta) >= 0;
}

static bool run(const lease *leadership) {
    const struct timespec pause = {0, SAMPLE_EVERY_NS};
    sample batch[BATCH];
    exporter self = {.knows_last = false};
    while (!stopping) {
        for (size_t i = 0; i < BATCH && !stopping; i++) {
            batch[i] = take_sample();
            nanosleep(&pause, NULL); /* a signal may end it early */
        }
        if (!stopping && !export_batch(&self, leadership, batch)) return false;
    }
    return true;
}

int main(int argc, char **argv) {
    const lease_backend directory = lease_backend_file(argc > 1 ? argv[1] : "");
    const lease_client_desc client_desc = {.backend = argc > 1 ? &directory : NULL};
    const lease_desc desc = {.name = "time-range",
                             .ns = argc > 1 ? "default" : NULL,
                             .release_on_stop = true,
                             .on_event = on_event};
    const struct sigaction action = {.sa_handler = on_signal};
    lease_client *client = NULL;
    lease *leadership = NULL;
    lease_error error = {.status = LEASE_OK, .message = "cannot start"};

    setvbuf(stdout, NULL, _IOLBF, 0); /* a line at a time, also into a pipe */
    bool good = sigaction(SIGINT, &action, NULL) == 0 && sigaction(SIGTERM, &action, NULL) == 0 &&
                lease_client_create(&client_desc, &client, &error) == LEASE_OK &&
                lease_create(client, &desc, &leadership, &error) == LEASE_OK &&
                lease_client_start(client) == LEASE_OK;
    if (!good) fprintf(stderr, "%s\n", error.message);
    good = good && run(leadership);
    lease_client_destroy(client); /* the export has stopped: gives the Lease back */
    return good ? 0 : 1;
}
