/* Which faults come when. */
#include <inttypes.h>

#include "sim.h"

/* Whoever believes to be leader; -1 = nobody. */
int32_t sim_leader(const sim_world *world) {
    for (int32_t i = 0; i < world->node_count; i++) {
        if (sim_node_leads(world, &world->nodes[i])) return i;
    }
    return -1;
}

/* Most faults go where they hurt. */
static sim_node *fault_victim(sim_world *world) {
    int32_t leader = sim_leader(world);
    if (leader >= 0 && sim_random_chance(&world->random_fault, 600)) return &world->nodes[leader];
    return &world->nodes[sim_random_range(&world->random_fault, 0, world->node_count - 1)];
}

static void fault_step_wall(sim_world *world, sim_node *node) {
    sim_random *random = &world->random_fault;
    int64_t hour_us = INT64_C(3600000000);
    int64_t step_us = sim_random_chance(random, 500) ? sim_random_range(random, -hour_us, hour_us)
                                                     : sim_random_range(random, -5000000, 5000000);
    node->clock.wall_offset_us += step_us;
    sim_trace(world, node, "wall time steps by %" PRId64 " ms", step_us / 1000);
}

static int64_t fault_pause_span(sim_world *world, const sim_node *node, bool machine) {
    sim_random *random = &world->random_fault;
    int64_t duration_us = (int64_t)node->desc.lease_duration_ms * 1000;
    int64_t deadline_us = (int64_t)node->desc.renew_deadline_ms * 1000;
    if (machine && (world->stutters_left > 0 || sim_random_chance(random, 300))) {
        return sim_random_range(random, 0, (duration_us - deadline_us) / 2);
    }
    if (sim_random_chance(random, 300)) return sim_random_range(random, 0, deadline_us);
    return sim_random_range(random, 0, 2 * duration_us);
}

static int64_t fault_rate_ppm(sim_world *world) {
    int64_t most = world->config.slowest_ppm;
    if (world->config.skew >= SIM_SKEW_EXTREME) {
        return sim_random_chance(&world->random_fault, 500) ? most : -most;
    }
    return sim_random_range(&world->random_fault, -most, most);
}

static void fault_clone(sim_world *world, sim_node *node, sim_node *spare) {
    sim_random *random = &world->random_fault;
    int64_t duration_us = (int64_t)node->desc.lease_duration_ms * 1000;
    if (sim_random_chance(random, 300)) {
        node->clone_at_write = true;
        return;
    }
    sim_node_clone(world, node, spare);
    if (sim_has(world, SIM_FAULT_RELEASE) && sim_random_chance(random, 300)) {
        int64_t later_us = sim_random_range(random, 0, duration_us);
        sim_node_release(world, spare, world->now_us + later_us);
    } else if (sim_has(world, SIM_FAULT_MACHINE) && sim_random_chance(random, 500)) {
        sim_hit(world, SIM_CLONE_STOPPED);
        sim_node_pause(world, spare, fault_pause_span(world, spare, true), true);
    }
}

static void fault_fork(sim_world *world, sim_node *node, sim_node *spare) {
    sim_random *random = &world->random_fault;
    int64_t duration_us = (int64_t)node->desc.lease_duration_ms * 1000;
    bool led = sim_node_leads(world, node);
    sim_node_fork(world, node, spare, world->now_us + sim_random_range(random, 0, 2 * duration_us));
    if (!sim_random_chance(random, 200)) return;
    if (led) sim_hit(world, SIM_ORPHANED);
    node->restart_us = world->now_us + sim_random_range(random, 0, duration_us);
    sim_node_crash(world, node);
}

/* A child or a clone, if there is room for one. */
static void fault_copy(sim_world *world, sim_node *node, sim_fault fault) {
    sim_node *spare = sim_spare(world);
    if (!spare || node->kind != SIM_CANDIDATE || node->origin >= 0) return;
    if (fault == SIM_FAULT_CLONE) {
        fault_clone(world, node, spare);
    } else {
        fault_fork(world, node, spare);
    }
}

static void fault_hurt(sim_world *world, sim_node *node, sim_fault fault) {
    sim_random *random = &world->random_fault;
    int64_t duration_us = (int64_t)node->desc.lease_duration_ms * 1000;
    int64_t period_us = (int64_t)node->desc.retry_period_ms * 1000;
    bool soon = sim_random_chance(random, 300);
    switch (fault) {
    case SIM_FAULT_PAUSE:
    case SIM_FAULT_MACHINE:
        sim_node_pause(world, node, fault_pause_span(world, node, fault == SIM_FAULT_MACHINE),
                       fault == SIM_FAULT_MACHINE);
        break;
    case SIM_FAULT_CRASH:
        node->restart_us = world->now_us + sim_random_range(random, 0, soon ? 50000 : duration_us);
        sim_node_crash(world, node);
        break;
    case SIM_FAULT_RELEASE:
        if (node->kind != SIM_PEER && node->shadow.released) break;
        sim_node_release(world, node,
                         world->now_us + sim_random_range(random, 0, soon ? 200000 : duration_us));
        break;
    case SIM_FAULT_WALL: fault_step_wall(world, node); break;
    case SIM_FAULT_RATE: sim_node_set_rate(world, node, fault_rate_ppm(world)); break;
    case SIM_FAULT_FORK:
    case SIM_FAULT_CLONE: fault_copy(world, node, fault); break;
    case SIM_FAULT_BACK: node->back_ms = sim_random_range(random, 1, 20); break;
    case SIM_FAULT_LAZY:
        node->tick_us = world->now_us + sim_random_range(random, 0, period_us);
        break;
    case SIM_FAULT_BUSY:
        node->busy_until_us = world->now_us + sim_random_range(random, 0, 2 * period_us);
        break;
    default: break;
    }
    if (node->alive && !node->paused) {
        if (node->tick_us < node->wake_us) node->wake_us = node->tick_us;
        if (node->busy_until_us > world->now_us && node->busy_until_us < node->wake_us) {
            node->wake_us = node->busy_until_us;
        }
    }
}

/* Short pauses, none of which says much by itself. */
static void fault_stutter(sim_world *world) {
    sim_node *node = &world->nodes[world->stutter_node];
    int64_t period_us = (int64_t)node->desc.retry_period_ms * 1000;
    world->stutters_left--;
    world->node_fault_us = world->now_us + sim_random_range(&world->random_fault, 1000, period_us);
    if (!node->alive || node->paused) return;
    fault_hurt(world, node, SIM_FAULT_MACHINE);
    world->node_fault_us += node->resume_us - world->now_us;
}

/* A peer that goes on believing that it leads may empty what another one holds. */
static sim_node *fault_believer(sim_world *world) {
    for (int32_t i = 0; i < world->node_count; i++) {
        sim_node *node = &world->nodes[i];
        bool believes = node->kind == SIM_PEER && node->peer.renewing;
        if (believes && world->server.author != i) return node;
    }
    return fault_victim(world);
}

void sim_fault_node(sim_world *world) {
    static const sim_fault faults[] = {SIM_FAULT_PAUSE, SIM_FAULT_MACHINE, SIM_FAULT_CRASH,
                                       SIM_FAULT_RELEASE, SIM_FAULT_WALL, SIM_FAULT_BACK,
                                       SIM_FAULT_LAZY, SIM_FAULT_BUSY, SIM_FAULT_RATE,
                                       SIM_FAULT_FORK, SIM_FAULT_CLONE};
    sim_fault enabled[sizeof faults / sizeof faults[0]];
    int64_t count = 0;
    if (world->stutters_left > 0) {
        fault_stutter(world);
        return;
    }
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        if (sim_has(world, faults[i])) enabled[count++] = faults[i];
    }
    world->node_fault_us = world->now_us + sim_random_range(&world->random_fault, 1000,
                                                            2 * world->config.fault_gap_us);
    if (count == 0) return;
    sim_fault fault = enabled[sim_random_range(&world->random_fault, 0, count - 1)];
    sim_node *node = fault == SIM_FAULT_RELEASE ? fault_believer(world) : fault_victim(world);
    bool still = node->paused && fault != SIM_FAULT_CRASH;
    if (!node->alive || node->kind == SIM_CHILD || still) return;
    if (node->kind == SIM_PEER && (fault == SIM_FAULT_LAZY || fault == SIM_FAULT_BUSY)) return;
    if (fault == SIM_FAULT_MACHINE && sim_random_chance(&world->random_fault, 200)) {
        world->stutter_node = node->index;
        world->stutters_left = (int32_t)sim_random_range(&world->random_fault, 1, 10);
    }
    fault_hurt(world, node, fault);
}

static void fault_cut(sim_world *world, sim_node *node, int64_t what, int64_t until_us) {
    if (what == 0 || what == 2) node->cut_out_us = until_us;
    if (what == 1 || what == 2) node->cut_in_us = until_us;
    if (what == 3) node->refused_us = until_us;
    sim_trace(world, node, "is cut off (%s) for %" PRId64 " ms",
              what == 0 ? "requests" : what == 1 ? "answers" : what == 2 ? "both" : "refused",
              (until_us - world->now_us) / 1000);
}

void sim_fault_net(sim_world *world) {
    sim_random *random = &world->random_net;
    int64_t duration_us = world->config.duration_ms * 1000;
    world->net_fault_us = world->now_us +
                          sim_random_range(random, 1000, 2 * world->config.fault_gap_us);
    int64_t until_us = world->now_us + sim_random_range(random, 0, 2 * duration_us);
    bool refuse = sim_has(world, SIM_FAULT_REFUSE) && sim_random_chance(random, 500);
    if (!refuse && !sim_has(world, SIM_FAULT_PARTITION)) return;
    int64_t what = refuse ? 3 : sim_random_range(random, 0, 2);
    if (sim_random_chance(random, 200)) {
        for (int32_t i = 0; i < world->node_count; i++) {
            fault_cut(world, &world->nodes[i], what, until_us);
        }
    } else {
        fault_cut(world, fault_victim(world), what, until_us);
    }
}

void sim_fault_server(sim_world *world) {
    sim_server_mood(world);
    world->server_fault_us = world->now_us + sim_random_range(&world->random_server, 1000,
                                                              world->config.fault_gap_us);
}

void sim_fault_admin(sim_world *world) {
    sim_admin_act(world);
    bool storm = world->server.storm_until_us > world->now_us;
    int64_t gap_us = storm ? 20000 : 2 * world->config.fault_gap_us;
    world->admin_us = world->now_us + sim_random_range(&world->random_server, 1000, gap_us);
}
