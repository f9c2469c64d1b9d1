/* Which faults of hosts and of the network come when. */
#include <inttypes.h>

#include "world.h"

static world_random *fault_random(world_world *world) { return &world->random_fault; }

static int64_t fault_duration_us(const world_world *world) {
    return 1000 * (int64_t)world->config.timing[0].duration_ms;
}

/* Most faults go where they hurt. */
static world_host *fault_victim(world_world *world) {
    const int32_t name = (int32_t)world_random_range(fault_random(world), 0,
                                                     world->config.names - 1);
    const world_lease *leader = world_leader(world, name);
    if (leader != NULL && world_random_chance(fault_random(world), 600)) return leader->host;
    return &world->hosts[world_random_range(fault_random(world), 0, world->host_count - 1)];
}

/* One of the host's leases, the leading one rather than another. */
static int32_t fault_slot(world_world *world, const world_host *host) {
    const int32_t first = (int32_t)world_random_range(fault_random(world), 0, WORLD_MAX_LEASES - 1);
    int32_t found = -1;
    for (int32_t i = 0; i < WORLD_MAX_LEASES; i++) {
        const int32_t slot = (first + i) % WORLD_MAX_LEASES;
        if (host->plan[slot] < 0) continue;
        if (found < 0) found = slot;
        if (world_lease_leads(&host->leases[slot])) return slot;
    }
    return found;
}

static void fault_pause(world_world *world, world_host *host) {
    const bool brief = world_random_chance(fault_random(world), 300);
    const int64_t most_us =
        brief ? 1000 * (int64_t)world->config.timing[0].deadline_ms : 2 * fault_duration_us(world);
    world_host_pause(world, host, world_random_range(fault_random(world), 0, most_us));
}

static void fault_crash(world_world *world, world_host *host) {
    const bool soon = world_random_chance(fault_random(world), 300);
    world_host_crash(world, host);
    host->restart_us = world->now_us + world_random_range(fault_random(world), 0,
                                                          soon ? 50000 : fault_duration_us(world));
}

static void fault_release(world_world *world, world_host *host) {
    const bool soon = world_random_chance(fault_random(world), 300);
    world_lease *one = &host->leases[fault_slot(world, host)];
    if (!one->used || one->asked_release) return;
    world_lease_release(world, one,
                        world->now_us + world_random_range(fault_random(world), 0,
                                                           soon ? 100000
                                                                : fault_duration_us(world)));
}

/* The lease whose request is under way, rather than another. */
static void fault_destroy(world_world *world, world_host *host) {
    int32_t slot = fault_slot(world, host);
    for (int32_t i = 0; i < WORLD_MAX_LEASES && host->wire != NULL && host->wire->busy; i++) {
        if (host->leases[i].used && host->leases[i].name == host->wire->request.name) slot = i;
    }
    if (!host->leases[slot].used) world_lease_create(world, host, slot);
    else if (world_random_chance(fault_random(world), 500)) host->leases[slot].doomed = true;
    else world_lease_destroy(world, &host->leases[slot]);
}

static void fault_step_wall(world_world *world, world_host *host) {
    const int64_t most_us = world_random_chance(fault_random(world), 500) ? INT64_C(3600000000)
                                                                          : 5000000;
    const int64_t step_us = world_random_range(fault_random(world), -most_us, most_us);
    host->clock.wall_offset_us += step_us;
    world_trace(world, host, "wall time steps by %" PRId64 " ms", step_us / 1000);
}

static void fault_strike(world_world *world, world_host *host, world_fault fault) {
    switch (fault) {
    case WORLD_FAULT_PAUSE: fault_pause(world, host); break;
    case WORLD_FAULT_CRASH: fault_crash(world, host); break;
    case WORLD_FAULT_RELEASE: fault_release(world, host); break;
    case WORLD_FAULT_DESTROY: fault_destroy(world, host); break;
    case WORLD_FAULT_SHUTDOWN: world_host_shut(world, host); break;
    case WORLD_FAULT_WALL: fault_step_wall(world, host); break;
    default: break;
    }
}

void world_fault_host(world_world *world) {
    static const world_fault faults[] = {WORLD_FAULT_PAUSE, WORLD_FAULT_CRASH, WORLD_FAULT_RELEASE,
                                         WORLD_FAULT_DESTROY, WORLD_FAULT_SHUTDOWN,
                                         WORLD_FAULT_WALL};
    world_fault enabled[6];
    int64_t count = 0;
    world->host_fault_us =
        world->now_us + world_random_range(fault_random(world), 1000,
                                           2 * world->config.fault_gap_us);
    for (int i = 0; i < 6; i++) {
        if (world_has(world, faults[i])) enabled[count++] = faults[i];
    }
    if (count == 0) return;
    const world_fault fault = enabled[world_random_range(fault_random(world), 0, count - 1)];
    world_host *host = fault_victim(world);
    const bool busy = world_host_stops(host) || host->shut_us != WORLD_NEVER;
    if (!host->alive || (busy && fault != WORLD_FAULT_CRASH)) return;
    fault_strike(world, host, fault);
}

static void fault_cut(world_world *world, world_host *host, int64_t what, int64_t until_us) {
    static const char *const names[] = {"requests", "answers", "both", "refused"};
    if (what == 0 || what == 2) host->cut_out_us = until_us;
    if (what == 1 || what == 2) host->cut_in_us = until_us;
    if (what == 3) host->refused_us = until_us;
    world_trace(world, host, "is cut off (%s) for %" PRId64 " ms", names[what],
                (until_us - world->now_us) / 1000);
}

void world_fault_net(world_world *world) {
    const int64_t until_us =
        world->now_us + world_random_range(fault_random(world), 0, 2 * fault_duration_us(world));
    world->net_fault_us = world->now_us + world_random_range(fault_random(world), 1000,
                                                             2 * world->config.fault_gap_us);
    const bool refuse =
        world_strikes(world, fault_random(world), WORLD_FAULT_REFUSE, 500);
    if (!refuse && !world_has(world, WORLD_FAULT_PARTITION)) return;
    const int64_t what = refuse ? 3 : world_random_range(fault_random(world), 0, 2);
    if (!world_random_chance(fault_random(world), 200)) {
        fault_cut(world, fault_victim(world), what, until_us);
        return;
    }
    for (int32_t i = 0; i < world->host_count; i++) {
        fault_cut(world, &world->hosts[i], what, until_us);
    }
}
