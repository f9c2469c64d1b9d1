/* A failing seed made small: fewer candidates, fewer kinds of faults, an early end of the faults.
 * What is left must fail by the same check. To take something away changes what is drawn
 * afterwards, so each attempt may also find another course of events (a fate) that fails. */
#include <inttypes.h>
#include <stdio.h>

#include "sim.h"

#define SHRINK_FATES 200 /* courses of events that an attempt may try */

typedef struct shrink_state {
    sim_orders best;
    const char *check; /* what must fail again */
    sim_phase phase;   /* of the best one, when it fails */
    int64_t failed_us;
    uint64_t faults;
    int32_t nodes;
} shrink_state;

static sim_world shrink_world;

static bool shrink_fails(shrink_state *shrink, const sim_orders *tried) {
    static sim_stats ignored;
    sim_world *world = &shrink_world;
    sim_set_run(world, &ignored, tried);
    if (!world->failed || (shrink->check && world->failed_check != shrink->check)) return false;
    shrink->best = *tried;
    shrink->check = world->failed_check;
    shrink->phase = world->phase;
    shrink->failed_us = world->now_us;
    shrink->faults = world->config.faults;
    shrink->nodes = world->node_count;
    return true;
}

static bool shrink_attempt(shrink_state *shrink, const sim_orders *wanted) {
    sim_orders tried = *wanted;
    if (shrink_fails(shrink, &tried)) return true;
    for (tried.fate = 0; tried.fate < SHRINK_FATES; tried.fate++) {
        if (tried.fate != wanted->fate && shrink_fails(shrink, &tried)) return true;
    }
    return false;
}

static bool shrink_nodes(shrink_state *shrink) {
    sim_orders tried = shrink->best;
    for (tried.nodes = 1; tried.nodes < shrink->nodes; tried.nodes++) {
        if (shrink_attempt(shrink, &tried)) return true;
    }
    return false;
}

static bool shrink_faults(shrink_state *shrink) {
    bool any = false;
    for (int fault = 0; fault < SIM_FAULT_COUNT; fault++) {
        if ((shrink->faults >> fault & 1u) == 0) continue;
        sim_orders tried = shrink->best;
        tried.without |= UINT64_C(1) << fault;
        any = shrink_attempt(shrink, &tried) || any;
    }
    return any;
}

/* Faults that come after the failure say nothing. */
static void shrink_chaos(shrink_state *shrink) {
    sim_orders tried = shrink->best;
    if (shrink->phase == SIM_PHASE_CHAOS) {
        tried.chaos_us = (shrink->failed_us / 1000 + 1) * 1000;
        shrink_fails(shrink, &tried);
        return;
    }
    for (tried.chaos_us = 1000; tried.chaos_us < shrink->failed_us; tried.chaos_us *= 4) {
        if (shrink_attempt(shrink, &tried)) return;
    }
}

static void shrink_earliest(shrink_state *shrink) {
    sim_orders tried = shrink->best;
    shrink_state earliest = *shrink;
    for (tried.fate = 0; tried.fate < SHRINK_FATES; tried.fate++) {
        if (shrink_fails(shrink, &tried) && shrink->failed_us < earliest.failed_us) {
            earliest = *shrink;
        }
    }
    *shrink = earliest;
}

/* Makes orders smaller; false when the seed does not fail. */
bool sim_shrink(sim_orders *orders) {
    shrink_state shrink = {.check = NULL};
    if (!shrink_fails(&shrink, orders)) return false;
    printf("seed %" PRIu64 ": %s\n", orders->seed, shrink_world.failure);
    while (shrink_nodes(&shrink) || shrink_faults(&shrink)) {}
    shrink_earliest(&shrink);
    shrink_chaos(&shrink);
    *orders = shrink.best;
    orders->without = ~shrink.faults & ((UINT64_C(1) << SIM_FAULT_COUNT) - 1);
    sim_stats ignored;
    sim_world_run(&shrink_world, &ignored, orders, 0xa5);
    printf("smaller: %s\n", shrink_world.failure);
    printf("%d candidates, %d kinds of faults, ", (int)shrink.nodes,
           __builtin_popcountll(shrink.faults));
    printf("%" PRId64 " ms until it fails\n", shrink.failed_us / 1000);
    return true;
}
