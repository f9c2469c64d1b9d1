/* 04_fencing.c -- why a leader passes its token to what it writes to, and what happens if not.
 *
 * A leader asks lease_is_leader, hears yes, and is paused before it writes: a swapped-out page, a
 * stopped virtual machine. Meanwhile another takes over. No lease can recall a write that is on its
 * way already, so the store has to: it remembers the highest token and refuses a lower one (Martin
 * Kleppmann, "How to do distributed locking"). Beside it stands a store that does not look. Two
 * candidates, a real clock, and a Lease in memory instead of a cluster; takes two seconds, and
 * fails if the late write comes through where it must not:
 *
 *     make examples && build/examples/04_fencing
 */
#define LEASE_IMPLEMENTATION
#include "lease.h"

#include <inttypes.h>
#include <stdio.h>

/* The resource that must not be written by two at once. In yours the comparison is part of the
 * write itself: UPDATE ... WHERE token <= ?, a condition on the object's generation, a CAS loop. */
typedef struct store {
    const char *name;
    bool fenced;
    uint64_t highest_token;
    char value[32];
} store;

static void store_write(store *self, uint64_t token, const char *value) {
    const bool stale = token == 0 || token < self->highest_token;
    const bool refused = self->fenced && stale;
    printf("  %s: %s from token %" PRIu64 ", the highest is %" PRIu64 ": %s\n", self->name, value,
           token, self->highest_token, refused ? "REFUSED" : "written");
    if (refused) return;
    if (!stale) self->highest_token = token;
    snprintf(self->value, sizeof self->value, "%s", value);
}

enum { FENCED, CARELESS, STORE_COUNT };

static void write_all(store *stores, uint64_t token, const char *value) {
    for (int i = 0; i < STORE_COUNT; i++) store_write(&stores[i], token, value);
}

typedef struct candidate {
    lease_client *client;
    lease *leadership;
} candidate;

static bool candidate_start(candidate *self, lease_memory *memory, const char *identity) {
    const lease_backend backend = lease_backend_memory(memory);
    const lease_client_desc client_desc = {.backend = &backend};
    const lease_desc desc = {.name = "fencing",
                             .ns = "default",
                             .identity = identity,
                             .lease_duration_ms = 2000,
                             .renew_deadline_ms = 1500,
                             .retry_period_ms = 200};
    lease_error error;
    if (lease_client_create(&client_desc, &self->client, &error) == LEASE_OK &&
        lease_create(self->client, &desc, &self->leadership, &error) == LEASE_OK) {
        return true;
    }
    fprintf(stderr, "%s\n", error.message);
    return false;
}

/* Drives one candidate until it leads. Whoever is not driven is what a paused process is. */
static bool wait_until_leader(candidate *self, int tries) {
    while (tries-- > 0 && !lease_is_leader(self->leadership)) {
        if (lease_client_poll(self->client, 100) != LEASE_OK) return false;
    }
    return lease_is_leader(self->leadership);
}

static bool play(candidate *alice, candidate *bob) {
    store stores[STORE_COUNT] = {[FENCED] = {.name = "fenced store  ", .fenced = true},
                                 [CARELESS] = {.name = "careless store"}};
    if (!wait_until_leader(alice, 50)) return false;
    puts("alice leads and writes");
    write_all(stores, lease_token(alice->leadership), "alice 1");

    /* The question, its answer, and the token that goes with the answer ... */
    const uint64_t token = lease_token(alice->leadership);
    if (token == 0) return false;
    puts("alice asks once more, hears that she leads, and is paused before she writes");

    if (!wait_until_leader(bob, 100)) return false;
    puts("bob has waited out her Lease, leads and writes");
    write_all(stores, lease_token(bob->leadership), "bob 1");

    /* ... and the write, too late. Had she asked again, she would have heard the truth. */
    const bool late = !lease_is_leader(alice->leadership);
    printf("alice wakes up; lease_is_leader says %s, but she has asked before, and writes\n",
           late ? "false" : "true");
    write_all(stores, token, "alice 2");
    printf("fenced: \"%s\"; careless: \"%s\", and bob's write is lost\n", stores[FENCED].value,
           stores[CARELESS].value);
    return late && strcmp(stores[FENCED].value, "bob 1") == 0 &&
           strcmp(stores[CARELESS].value, "alice 2") == 0;
}

int main(void) {
    lease_memory memory = {0};
    candidate alice = {0};
    candidate bob = {0};
    const bool good = candidate_start(&alice, &memory, "alice") &&
                      candidate_start(&bob, &memory, "bob") && play(&alice, &bob);
    lease_client_destroy(alice.client);
    lease_client_destroy(bob.client);
    puts(good ? "as it should be" : "FAILED");
    return good ? 0 : 1;
}
