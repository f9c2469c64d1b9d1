/* What the questions cost that a program asks before each piece of guarded work, and what one bare
 * read of their clock does: prints `NS_IS_LEADER NS_RANGE NS_CLOCK`, each the best of five rounds,
 * so that a busy machine shows less. */
#define LEASE_IMPLEMENTATION
#include "lease.h"

#include <stdio.h>

#define CALLS 2000000
#define ROUNDS 5

static double now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static double is_leader_ns(const lease *mine) {
    const double start = now_ns();
    for (int i = 0; i < CALLS; i++) {
        if (!lease_is_leader(mine)) return -1;
    }
    return (now_ns() - start) / CALLS;
}

static double range_ns(const lease *mine) {
    lease_time_range range;
    const double start = now_ns();
    for (int i = 0; i < CALLS; i++) {
        if (!lease_range(mine, &range)) return -1;
    }
    return (now_ns() - start) / CALLS;
}

static double clock_ns(void) {
    struct timespec now;
    const double start = now_ns();
    for (int i = 0; i < CALLS; i++) {
        if (clock_gettime(CLOCK_BOOTTIME, &now) != 0) return -1;
    }
    return (now_ns() - start) / CALLS;
}

int main(void) {
    static lease_memory memory;
    const lease_backend backend = lease_backend_memory(&memory);
    lease_client_desc client_desc = {0};
    client_desc.backend = &backend;
    lease_desc desc = {0};
    desc.name = "bench";
    desc.ns = "bench";

    lease_error error;
    lease_client *client;
    lease *mine = NULL;
    if (lease_client_create(&client_desc, &client, &error) != LEASE_OK ||
        lease_create(client, &desc, &mine, &error) != LEASE_OK) {
        fprintf(stderr, "questions: %s\n", error.message);
        return 1;
    }
    double is_leader = 1e9;
    double range = 1e9;
    double clock = 1e9;
    for (int round = 0; round < ROUNDS; round++) {
        while (lease_remaining_ms(mine) < 5000) lease_client_poll(client, -1);
        const double first = is_leader_ns(mine);
        const double second = range_ns(mine);
        if (first < is_leader) is_leader = first;
        if (second < range) range = second;
        const double third = clock_ns();
        if (third < clock) clock = third;
    }
    lease_client_destroy(client);
    if (is_leader < 0 || range < 0 || clock < 0) return 1;
    printf("%.1f %.1f %.1f\n", is_leader, range, clock);
    return 0;
}
