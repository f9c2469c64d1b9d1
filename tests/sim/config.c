/* What a seed chooses before the run: candidates, timing, clocks, kinds of faults. */
#include <string.h>

#include "sim.h"

static bool config_chance(sim_world *world, int32_t per_mille) {
    return sim_random_chance(&world->random_config, per_mille);
}

static int64_t config_range(sim_world *world, int64_t low, int64_t high) {
    return sim_random_range(&world->random_config, low, high);
}

static uint64_t config_bit(sim_fault fault) {
    return UINT64_C(1) << fault;
}

/* Few faults give deep runs, many give wild ones. */
static uint64_t config_faults(sim_world *world) {
    static const int32_t densities[] = {0, 60, 150, 250, 250, 400, 600};
    int32_t density = densities[config_range(world, 0, 6)];
    uint64_t faults = 0;
    for (uint32_t fault = 0; fault < SIM_FAULT_COUNT; fault++) {
        if (config_chance(world, density)) faults |= config_bit((sim_fault)fault);
    }
    /* Without any of these there is one election in a run. */
    if (config_chance(world, 700)) faults |= config_bit(SIM_FAULT_CRASH);
    if (config_chance(world, 600)) faults |= config_bit(SIM_FAULT_RELEASE);
    return faults;
}

static void config_default_timing(lease_core_desc *desc) {
    desc->lease_duration_ms = 15000;
    desc->renew_deadline_ms = 10000;
    desc->retry_period_ms = 2000;
    desc->stop_budget_ms = 300;
    desc->request_timeout_ms = 2500;
}

/* Timing that lease_core_init accepts: the default, or anything up to the edge of what is safe. */
static void config_timing(sim_world *world, lease_core_desc *desc, int64_t duration_s) {
    memset(desc, 0, sizeof *desc);
    desc->lease_duration_ms = (int32_t)(duration_s * 1000);
    int64_t most = (duration_s * 1000 - 1) * 100 / 101;
    if (duration_s == 15 && config_chance(world, 600)) {
        config_default_timing(desc);
        return;
    }
    int64_t stop = config_range(world, 1, duration_s * 100);
    int64_t deadline = config_chance(world, 250) ? most - stop
                                                : config_range(world, most * 4 / 10, most - stop);
    int64_t retry = config_range(world, deadline / 8, deadline / 3);
    if (retry < 150) retry = 150;
    desc->stop_budget_ms = (int32_t)stop;
    desc->renew_deadline_ms = (int32_t)deadline;
    desc->retry_period_ms = (int32_t)retry;
    desc->request_timeout_ms = (int32_t)config_range(world, deadline / 8, deadline / 3);
}

/* How much faster and slower than true time clocks may run: (1 + rho) / (1 - rho) = 1 + skew. */
static int64_t config_tolerated_ppm(const sim_world *world) {
    int64_t least = 300000;
    for (int32_t i = 0; i < world->node_count; i++) {
        const lease_core_desc *desc = &world->nodes[i].desc;
        int64_t used = (int64_t)desc->renew_deadline_ms + desc->stop_budget_ms;
        int64_t skew = (desc->lease_duration_ms - 1 - used) * 1000000 / used;
        int64_t rho = skew * 1000000 / (2000000 + skew);
        if (rho < least) least = rho;
    }
    return least;
}

static void config_clock(sim_world *world, sim_node *node) {
    static const int64_t origins_ms[] = {0, 1, 5000, 86400000, 2147483000, 4294967000,
                                         INT64_C(100000000000)};
    int64_t rho = world->config.rho_ppm;
    node->clock.origin_us = origins_ms[config_range(world, 0, 6)] * 1000;
    node->clock.origin_us += config_range(world, 0, 999);
    node->clock.stopped_us = SIM_NEVER;
    switch (world->config.skew) {
    case SIM_SKEW_NONE: node->clock.rate_ppm = config_range(world, -200, 200); break;
    case SIM_SKEW_RANDOM: node->clock.rate_ppm = config_range(world, -rho, rho); break;
    case SIM_SKEW_EXTREME:
    case SIM_SKEW_BEYOND: node->clock.rate_ppm = node->index % 2 == 0 ? rho : -rho; break;
    }
    int64_t wall_us = INT64_C(1790000000000000) + config_range(world, -3000000, 3000000);
    node->clock.wall_offset_us = wall_us - node->clock.origin_us;
    if ((world->config.faults & config_bit(SIM_FAULT_FROZEN)) != 0 && config_chance(world, 500)) {
        node->clock.wall_frozen_us = wall_us;
    }
}

static void config_skew(sim_world *world) {
    sim_config *config = &world->config;
    bool machine = (config->faults & config_bit(SIM_FAULT_MACHINE)) != 0;
    config->skew = (sim_skew)config_range(world, SIM_SKEW_NONE, SIM_SKEW_EXTREME);
    if (config_chance(world, 20)) config->skew = SIM_SKEW_BEYOND;
    /* A pause that wall time betrays cannot be told from a clock that runs wrong by as much. */
    if (machine || world->orders.client_go) config->skew = SIM_SKEW_NONE;
    config->rho_ppm = config_tolerated_ppm(world);
    if (config->skew == SIM_SKEW_BEYOND) {
        config->rho_ppm = (1000000 + 2 * config->rho_ppm) / 3; /* a third of the way to absurd */
    }
    config->slowest_ppm = config->skew == SIM_SKEW_NONE ? 200 : config->rho_ppm;
}

/* From one to eight. A few are fast, and meet most of what can be met. */
static int32_t config_count(sim_world *world, int32_t peers) {
    int64_t draw = config_range(world, 0, 99);
    int64_t count = config_range(world, 2, 5);
    if (draw < 4) count = 1;
    if (draw >= 96) count = config_range(world, 6, 8);
    return (int32_t)(count < peers + 2 && peers > 0 ? peers + 2 : count);
}

static sim_kind config_kind(sim_world *world, int32_t index, int32_t peers) {
    const sim_config *config = &world->config;
    if (index >= config->candidates) return SIM_SPARE;
    if (world->orders.client_go || index >= config->candidates - peers) return SIM_PEER;
    return index == 2 && config_chance(world, 100) ? SIM_OBSERVER : SIM_CANDIDATE;
}

static void config_nodes(sim_world *world) {
    static const int64_t durations_s[] = {3, 4, 5, 8, 10, 15, 15, 15, 15, 15, 20, 30, 60};
    sim_config *config = &world->config;
    int64_t duration_s = durations_s[config_range(world, 0, 12)];
    int64_t fail_open = config_range(world, 0, 2);
    lease_core_desc shared;
    config_timing(world, &shared, duration_s);
    if (world->orders.client_go) config_default_timing(&shared);
    int32_t peers = config->peers ? (int32_t)config_range(world, 1, 2) : 0;
    config->candidates = config_count(world, peers);
    world->node_count = config->candidates;
    if ((config->faults & (config_bit(SIM_FAULT_FORK) | config_bit(SIM_FAULT_CLONE))) != 0) {
        world->node_count += (int32_t)config_range(world, 1, 2);
    }
    for (int32_t i = 0; i < world->node_count; i++) {
        sim_node *node = &world->nodes[i];
        node->index = i;
        node->origin = -1;
        node->kind = config_kind(world, i, peers);
        node->desc = shared;
        if (config->mixed && config_chance(world, 500)) {
            config_timing(world, &node->desc, duration_s * 2 - 1);
        }
        node->desc.strict_creation = config->strict_creation;
        node->desc.observe_only = node->kind == SIM_OBSERVER;
        node->desc.max_fail_open_ms = fail_open * duration_s * 500;
        if (node->desc.lease_duration_ms > config->duration_ms) {
            config->duration_ms = node->desc.lease_duration_ms;
        }
    }
    const int32_t most = world->orders.nodes;
    if (most != 0 && world->node_count > most) world->node_count = most;
}

/* What the command line takes away, after everything is drawn, so that the rest stays as it is. */
static void config_obey(sim_world *world) {
    const sim_orders *orders = &world->orders;
    sim_config *config = &world->config;
    config->faults &= ~orders->without;
    if (orders->chaos_us != 0 && orders->chaos_us < config->chaos_us) {
        config->chaos_us = orders->chaos_us;
    }
}

void sim_configure(sim_world *world) {
    sim_config *config = &world->config;
    config->faults = config_faults(world);
    config->strict_creation = config_chance(world, 500);
    config->twins = config_chance(world, 100) && !world->orders.client_go;
    config->same_identity = config_chance(world, 250);
    config->opaque = config_chance(world, 60);
    config->mixed = config_chance(world, 150);
    config->peers = config_chance(world, 120) || world->orders.client_go;
    /* A duration shortened by hand matters to those who differ in it, and to client-go. */
    if ((config->mixed || config->peers) && config_chance(world, 600)) {
        config->faults |= config_bit(SIM_FAULT_DURATION) | config_bit(SIM_FAULT_PARTITION);
    }
    /* Who waits out a uid waits for his own duration: it must be that of all. */
    if (config->mixed) {
        config->faults &= ~(config_bit(SIM_FAULT_DELETE) | config_bit(SIM_FAULT_FINALIZER));
    }
    if ((config->faults & config_bit(SIM_FAULT_MACHINE)) != 0) {
        config->faults &= ~(config_bit(SIM_FAULT_WALL) | config_bit(SIM_FAULT_FROZEN));
    }
    /* Where wall time stands, clones cannot be told apart, nor what the one before wrote under the
     * same name: an identity is meant for one start of one process. */
    if ((config->faults & config_bit(SIM_FAULT_CLONE)) != 0) {
        config->faults &= ~config_bit(SIM_FAULT_FROZEN);
    }
    if ((config->faults & config_bit(SIM_FAULT_FROZEN)) != 0) config->same_identity = false;
    config_nodes(world);
    config_skew(world);
    int64_t duration_us = config->duration_ms * 1000;
    config->latency_us = config_range(world, 200, 20000);
    config->chaos_us = config_range(world, 8, 40) * duration_us;
    config->fault_gap_us = config_range(world, duration_us / 8, duration_us * 5 / 4);
    config->clean_elections = (int32_t)config_range(world, 0, 12);
    config_obey(world);
    for (int32_t i = 0; i < world->node_count; i++) {
        sim_node *node = &world->nodes[i];
        config_clock(world, node);
        node->random.state = sim_random_next(&world->random_core);
        node->restart_us = config_range(world, 0, 2000000);
        if (node->kind == SIM_SPARE) node->restart_us = SIM_NEVER;
        node->wake_us = node->restart_us;
    }
}
