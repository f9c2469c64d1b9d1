/* The phases of a run, and its loop. */
#include <inttypes.h>
#include <stddef.h>
#include <string.h>

#include "world.h"

#define WORLD_MAX_EVENTS 2000000 /* some hundred times what a run has */

/* -- Bounds ------------------------------------------------------------------------------------ */

static int64_t world_longest_ms(int64_t first, int64_t second) { return world_most(first, second); }

static int64_t world_duration_ms(const world_world *world) {
    return world_longest_ms(world->config.timing[0].duration_ms,
                            world->config.timing[1].duration_ms);
}

static int64_t world_retry_ms(const world_world *world) {
    return world_longest_ms(world->config.timing[0].retry_ms, world->config.timing[1].retry_ms);
}

/* True time in which the slowest clock shows span_ms. */
static int64_t world_slowest_us(const world_world *world, int64_t span_ms) {
    return span_ms * 1000000 / (1000000 - world->config.slowest_ppm) * 1000 + 1000;
}

/* The leases of a client share a connection, which may have to be opened again. */
static int64_t world_slack_us(const world_world *world) {
    const int64_t call_us = world->config.no_descriptor ? 1000 : 0;
    return 80 * (world->config.latency_us + call_us) + 10000;
}

/* After the faults: the longest pause of a candidate, then somebody's duration, then (with
 * strict_creation) another one for the new uid. */
static int64_t world_heal_us(const world_world *world) {
    const int64_t duration_ms = world_duration_ms(world) + 40000;
    return world_slowest_us(world, 30000 + 2 * duration_ms + 8 * world_retry_ms(world));
}

static int64_t world_crash_us(const world_world *world) {
    const int64_t span_ms = world_duration_ms(world) + world_retry_ms(world) * 6 / 5;
    return world_slowest_us(world, span_ms) + world_slack_us(world);
}

static int64_t world_release_us(const world_world *world) {
    return world_slowest_us(world, world_retry_ms(world) * 6 / 5) + world_slack_us(world);
}

/* -- What must come to be ---------------------------------------------------------------------- */

static bool world_agrees(const world_world *world, const world_lease *one) {
    lease_view view;
    lease_view_get(one->self, &view);
    /* What was read back late is a term without time. */
    if (view.is_leader && view.remaining_ms < one->timing.deadline_ms / 4) return false;
    return one->asked_us >= world->phase_began_us && view.last_status == LEASE_OK &&
           strcmp(view.holder, world->objects[one->name].holder) == 0;
}

/* Since the faults have ended, everybody has looked, and sees the same. */
static bool world_all_agree(const world_world *world) {
    for (int32_t i = 0; i < world->host_count; i++) {
        const world_host *host = &world->hosts[i];
        if (host->stranger) continue;
        if (!host->alive || world_host_stops(host) || host->shut_us != WORLD_NEVER) return false;
        for (int32_t j = 0; j < WORLD_MAX_LEASES; j++) {
            const world_lease *one = &host->leases[j];
            if (host->plan[j] < 0) continue;
            if (!one->used || one->asked_release || !world_agrees(world, one)) return false;
        }
    }
    return true;
}

static bool world_all_led(world_world *world) {
    for (int32_t name = 0; name < world->config.names; name++) {
        const world_lease *leader = world_leader(world, name);
        if (leader == NULL || leader->serial == world->former[name]) return false;
    }
    return true;
}

static bool world_knows_leader(const world_world *world, const world_lease *one) {
    lease_view view;
    if (one->asked_release || !one->used) return false;
    lease_view_get(one->self, &view);
    return strcmp(view.holder, world->objects[one->name].holder) == 0;
}

typedef enum world_heir {
    WORLD_HEIR_NONE,  /* nobody on another host stands for this Lease */
    WORLD_HEIR_LATER, /* he has still to look */
    WORLD_HEIR_READY
} world_heir;

/* Can anybody on another host follow as leader of this Lease? */
static world_heir world_find_heir(const world_world *world, int32_t name,
                                  const world_host *leader) {
    world_heir heir = WORLD_HEIR_NONE;
    for (int32_t i = 0; i < world->host_count; i++) {
        const world_host *host = &world->hosts[i];
        for (int32_t j = 0; j < WORLD_MAX_LEASES; j++) {
            const world_lease *one = &host->leases[j];
            const bool stands = host->plan[j] == name && (host->observers >> j & 1u) == 0;
            if (host == leader || host->stranger || !stands) continue;
            if (host->alive && world_knows_leader(world, one)) return WORLD_HEIR_READY;
            heir = WORLD_HEIR_LATER;
        }
    }
    return heir;
}

/* Of all Leases that somebody can follow on: has anybody there still to look? */
static bool world_is_unprepared(world_world *world) {
    for (int32_t name = 0; name < world->config.names; name++) {
        const world_lease *leader = world_leader(world, name);
        if (leader != NULL && world_find_heir(world, name, leader->host) == WORLD_HEIR_LATER) {
            return true;
        }
    }
    return false;
}

/* -- Phases ------------------------------------------------------------------------------------ */

static void world_enter(world_world *world, world_phase phase, int64_t span_us) {
    static const char *const names[] = {"chaos", "heal", "stable", "crash", "release", "done"};
    world->phase = phase;
    world->phase_began_us = world->now_us;
    world->phase_until_us = world->now_us + span_us;
    world_trace(world, NULL, "== %s", names[phase]);
}

static void world_heal(world_world *world) {
    world->host_fault_us = world->net_fault_us = world->server_fault_us = WORLD_NEVER;
    world_enter(world, WORLD_PHASE_HEAL, world_heal_us(world));
    world_server_heal(world);
    for (int32_t i = 0; i < world->host_count; i++) world_host_heal(world, &world->hosts[i]);
    world_wires_heal(world);
}

static void world_stay(world_world *world) {
    const int64_t retry_ms = world_retry_ms(world);
    const bool first = world->clean_left == world->config.clean_elections;
    const int64_t least_ms = first ? 2 * retry_ms : 0;
    memset(world->former, 0, sizeof world->former);
    world_enter(world, WORLD_PHASE_STABLE,
                1000 * world_random_range(&world->random_fault, least_ms, 2 * retry_ms));
}

static bool world_may_crash(world_world *world, const world_host *host) {
    for (int32_t name = 0; name < world->config.names; name++) {
        const world_lease *leader = world_leader(world, name);
        if (leader != NULL && leader->host == host &&
            world_find_heir(world, name, host) != WORLD_HEIR_READY) {
            return false;
        }
    }
    return true;
}

static void world_kill(world_world *world, world_host *host) {
    world_enter(world, WORLD_PHASE_CRASH, world_crash_us(world));
    for (int32_t name = 0; name < world->config.names; name++) {
        const world_lease *leader = world_leader(world, name);
        if (leader != NULL && leader->host == host) world->former[name] = leader->serial;
    }
    world->crashed = host->index;
    world_host_crash(world, host);
}

/* Ends the terms of leaders by a release: of all, or of one. */
static bool world_release(world_world *world) {
    const bool all = world_random_chance(&world->random_fault, 700);
    bool any = false;
    for (int32_t name = 0; name < world->config.names && (all || !any); name++) {
        world_lease *leader = world_leader(world, name);
        if (leader == NULL ||
            world_find_heir(world, name, leader->host) != WORLD_HEIR_READY) {
            continue;
        }
        if (!any) world_enter(world, WORLD_PHASE_RELEASE, world_release_us(world));
        any = true;
        world->former[name] = leader->serial;
        world_lease_release(world, leader, WORLD_NEVER);
    }
    return any;
}

static void world_depose(world_world *world) {
    const int32_t name =
        (int32_t)world_random_range(&world->random_fault, 0, world->config.names - 1);
    const world_lease *leader = world_leader(world, name);
    if (leader == NULL) {
        world_fail(world, NULL, "the leader of %s is gone without any fault", world_name(name));
        return;
    }
    if (world_is_unprepared(world) && world->now_us < world->phase_began_us +
                                                          world_crash_us(world)) {
        world->phase_until_us = world->now_us + 1000 * world_retry_ms(world) / 10;
        return;
    }
    if (world->clean_left-- <= 0) {
        world_enter(world, WORLD_PHASE_DONE, 0);
    } else if (world_random_chance(&world->random_fault, 250) &&
               world_may_crash(world, leader->host)) {
        world_kill(world, leader->host);
    } else if (!world_release(world)) {
        world_enter(world, WORLD_PHASE_DONE, 0);
    }
}

static void world_taken_over(world_world *world) {
    const int64_t bound_us = world->phase_until_us - world->phase_began_us;
    const int64_t permille = (world->now_us - world->phase_began_us) * 1000 / bound_us;
    int64_t *worst = world->phase == WORLD_PHASE_CRASH ? &world->stats->worst_crash_permille
                                                       : &world->stats->worst_release_permille;
    *worst = world_most(*worst, permille);
    if (world->phase == WORLD_PHASE_CRASH) {
        world->hosts[world->crashed].restart_us = world->now_us;
    }
    for (int32_t name = 0; name < world->config.names; name++) {
        world_lease *former = world_lease_by_serial(world, world->former[name]);
        if (former != NULL) former->contend_us = world->now_us + 100000;
    }
    world_stay(world);
}

/* Looks after each event whether the phase has reached what it waits for. */
static void world_watch_phase(world_world *world) {
    switch (world->phase) {
    case WORLD_PHASE_CHAOS:
    case WORLD_PHASE_STABLE:
    case WORLD_PHASE_DONE: return;
    case WORLD_PHASE_HEAL:
        if (world_all_led(world) && world_all_agree(world)) world_stay(world);
        return;
    case WORLD_PHASE_CRASH:
    case WORLD_PHASE_RELEASE:
        if (world_all_led(world)) world_taken_over(world);
        return;
    }
}

static void world_phase_over(world_world *world) {
    switch (world->phase) {
    case WORLD_PHASE_CHAOS: world_heal(world); break;
    case WORLD_PHASE_STABLE: world_depose(world); break;
    case WORLD_PHASE_HEAL:
    case WORLD_PHASE_CRASH:
    case WORLD_PHASE_RELEASE:
        world_fail(world, NULL, "no leader, or no agreement, within %" PRId64 " ms",
                   (world->phase_until_us - world->phase_began_us) / 1000);
        break;
    case WORLD_PHASE_DONE: break;
    }
}

/* -- The loop ---------------------------------------------------------------------------------- */

static void world_begin(world_world *world, world_stats *stats, uint64_t seed, bool trace) {
    memset(world, 0, offsetof(world_world, wires));
    for (int i = 0; i < WORLD_MAX_WIRES; i++) world->wires[i].used = false;
    world->seed = seed;
    world->trace = trace;
    world->stats = stats;
    world->hash = seed;
    world->crashed = -1;
    world_random root = {seed};
    world_random *streams[] = {&world->random_config, &world->random_net, &world->random_server,
                               &world->random_fault, &world->random_host};
    for (size_t i = 0; i < sizeof streams / sizeof streams[0]; i++) {
        streams[i]->state = world_random_next(&root);
    }
    world_configure(world);
    world->clean_left = world->config.clean_elections;
    world->host_fault_us = world->config.fault_gap_us;
    world->net_fault_us = world->config.fault_gap_us / 2;
    world->server_fault_us = world->config.fault_gap_us / 3;
    world_enter(world, WORLD_PHASE_CHAOS, world->config.chaos_us);
    const world_timing *timing = &world->config.timing[0];
    world_trace(world, NULL, "%d hosts, %d Leases, faults %08x, D %d V %d P %d A %d tau %d",
                (int)world->host_count, (int)world->config.names, (unsigned)world->config.faults,
                (int)timing->duration_ms, (int)timing->deadline_ms, (int)timing->retry_ms,
                (int)timing->stop_ms, (int)world->config.timeout_ms);
    if (!world_server_init(world)) world_fail(world, NULL, "devapi does not start");
}

/* Of everything: when the next thing comes, and what it is. */
typedef struct world_next {
    int64_t at_us;
    int32_t timer; /* index below; -1 = none of them */
    world_wire *wire;
    world_host *host;
} world_next;

/* Who comes first in these lists wins among equals. */
static world_next world_find_next(world_world *world) {
    const int64_t timers_us[] = {world->phase_until_us, world->host_fault_us, world->net_fault_us,
                                 world->server_fault_us, world_server_next_us(world)};
    world_next next = {WORLD_NEVER, -1, NULL, NULL};
    for (int i = 0; i < WORLD_MAX_WIRES; i++) {
        world_wire *wire = &world->wires[i];
        if (!wire->used) continue;
        const int64_t at_us = world_wire_next_us(wire);
        if (at_us < next.at_us) next = (world_next){at_us, -1, wire, NULL};
    }
    for (int32_t i = 0; i < world->host_count; i++) {
        const int64_t at_us = world_host_next_us(&world->hosts[i]);
        if (at_us < next.at_us) next = (world_next){at_us, -1, NULL, &world->hosts[i]};
    }
    for (int32_t i = 0; i < 5; i++) {
        if (timers_us[i] < next.at_us) next = (world_next){timers_us[i], i, NULL, NULL};
    }
    return next;
}

static void world_step(world_world *world) {
    const world_next next = world_find_next(world);
    world->now_us = world_most(world->now_us, next.at_us);
    if (next.wire != NULL) {
        world_wire_act(world, next.wire);
    } else if (next.host != NULL) {
        world_host_act(world, next.host);
    } else {
        switch (next.timer) {
        case 0: world_phase_over(world); break;
        case 1: world_fault_host(world); break;
        case 2: world_fault_net(world); break;
        case 3: world_server_fault(world); break;
        default: world_server_tick(world); break;
        }
    }
}

void world_run(world_world *world, world_stats *stats, uint64_t seed, bool trace) {
    const uint64_t began = stats->events;
    world_begin(world, stats, seed, trace);
    while (!world->failed && world->phase != WORLD_PHASE_DONE) {
        world_step(world);
        stats->events++;
        if (!world->failed) world_watch_phase(world);
        if (stats->events - began > WORLD_MAX_EVENTS) {
            world_fail(world, NULL, "the run has no end");
        }
    }
    for (int32_t i = 0; i < world->host_count; i++) world_host_end(world, &world->hosts[i]);
    world_server_end(world);
    stats->runs++;
    stats->simulated_us += (uint64_t)world->now_us;
}
