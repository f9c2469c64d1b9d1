/* 03_core_only.c -- layer 1 alone: the elector as a function, without clock, network or heap.
 *
 * lease_core_step is told what happened and when, and answers with one request to make and the
 * instant to come back. Here the clock is a variable and the store a struct, so two candidates live
 * through 50 seconds in no time, always alike: one is killed, one releases. The same way a test can
 * play out a failover, or an event loop of your own elect over a store of your own.
 *
 *     make examples && build/examples/03_core_only
 */
#define LEASE_IMPLEMENTATION
#include "lease.h"

#include <stdio.h>

#define ROUND_TRIP_MS 5
#define WALL_US INT64_C(1767225600000000) /* 2026-01-01T00:00:00Z, at clock zero */

typedef struct candidate {
    const char *name;
    lease_core core;
    int64_t wake_ms;       /* when the core wants to be stepped again; INT64_MAX = killed */
    lease_core_input done; /* the answer to its request, which it gets ... */
    int64_t done_ms;       /* ... at this time; INT64_MAX = no request is under way */
    lease_record record;   /* belongs to done */
} candidate;

static int64_t clock_ms;

/* The store: creates what is absent, replaces what is unchanged, numbers what it writes. */
static lease_status serve(lease_action action, const lease_record *write, lease_record *answer) {
    static lease_record stored;
    static unsigned version; /* 0 = there is nothing yet */
    if (action == LEASE_ACTION_CREATE && version > 0) return LEASE_ALREADY_EXISTS;
    if (action != LEASE_ACTION_CREATE && version == 0) return LEASE_NOT_FOUND;
    if (action == LEASE_ACTION_UPDATE &&
        strcmp(write->resource_version, stored.resource_version) != 0) {
        return LEASE_CONFLICT;
    }
    if (action != LEASE_ACTION_READ) {
        stored = *write;
        snprintf(stored.uid, sizeof stored.uid, "the-only-one");
        snprintf(stored.resource_version, sizeof stored.resource_version, "%u", ++version);
    }
    *answer = stored;
    return LEASE_OK;
}

static void say(const char *name, const char *what, const char *more) {
    printf("%7.3f  %-3s %s%s\n", (double)clock_ms / 1000, name, what, more);
}

static void tell(const candidate *self, uint32_t events) {
    const lease_record *seen = &self->core.seen;
    const char *holder = seen->holder_identity[0] != '\0' ? seen->holder_identity : "nobody";
    if (events & LEASE_CORE_LOST) say(self->name, "does not lead any more", "");
    if (events & LEASE_CORE_RELEASED) say(self->name, "has given the Lease back", "");
    if (events & LEASE_CORE_LEADER_CHANGED) say(self->name, "sees the holder: ", holder);
    if (events & LEASE_CORE_ACQUIRED) say(self->name, "LEADS, token ", seen->resource_version);
}

/* One step, and the request that it asks for. */
static void step(candidate *self, lease_core_input input) {
    lease_core_output out;
    input.now_ms = clock_ms;
    input.wall_us = WALL_US + clock_ms * 1000; /* input.random stays 0: no jitter */
    lease_core_step(&self->core, &input, &out);
    self->wake_ms = out.wake_ms;
    tell(self, out.events);
    if (out.action == LEASE_ACTION_NONE) return;
    const bool read = out.action == LEASE_ACTION_READ;
    self->done.kind = read ? LEASE_INPUT_READ_DONE : LEASE_INPUT_WRITE_DONE;
    self->done.request_id = out.request_id;
    self->done.status = serve(out.action, &out.write, &self->record);
    self->done.record = &self->record;
    self->done_ms = clock_ms + ROUND_TRIP_MS;
}

/* Moves the clock from one instant at which something is due to the next, up to end_ms. */
static void run_until(candidate all[2], int64_t end_ms) {
    for (;;) {
        candidate *next = NULL;
        int64_t next_ms = end_ms;
        for (candidate *one = all; one < all + 2; one++) {
            const int64_t due_ms = one->done_ms < one->wake_ms ? one->done_ms : one->wake_ms;
            if (due_ms >= next_ms) continue;
            next = one;
            next_ms = due_ms;
        }
        if (next_ms > clock_ms) clock_ms = next_ms;
        if (next == NULL) return;
        const bool answered = next->done_ms <= clock_ms;
        if (answered) next->done_ms = INT64_MAX;
        step(next, answered ? next->done : (lease_core_input){.kind = LEASE_INPUT_TICK});
    }
}

/* Each start of a process is a candidate of its own, with an identity that nobody else has had. */
static bool start(candidate *self, const char *identity) {
    const lease_core_desc desc = {.identity = identity}; /* 15 s, 10 s, 2 s */
    lease_error error;
    *self = (candidate){.name = identity, .done_ms = INT64_MAX};
    if (lease_core_init(&self->core, &desc, &error) == LEASE_OK) return true;
    fprintf(stderr, "%s\n", error.message);
    return false;
}

int main(void) {
    candidate all[2];
    if (!start(&all[0], "a") || !start(&all[1], "b")) return 1;
    run_until(all, 20000);
    say("a", "is killed; nobody is told, its Lease must run out", "");
    all[0].wake_ms = all[0].done_ms = INT64_MAX;
    run_until(all, 40000);
    if (!start(&all[0], "a2")) return 1;
    run_until(all, 45000);
    say("b", "has stopped its work and gives the Lease back", "");
    step(&all[1], (lease_core_input){.kind = LEASE_INPUT_RELEASE});
    run_until(all, 50000);
    return all[0].core.valid_until_ms > clock_ms ? 0 : 1; /* a2 leads now */
}
