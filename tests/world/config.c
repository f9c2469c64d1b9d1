/* What a seed chooses before the run: processes, timing, clocks, kinds of faults. */
#include <string.h>

#include "world.h"

static bool config_chance(world_world *world, int32_t per_mille) {
    return world_random_chance(&world->random_config, per_mille);
}

static int64_t config_range(world_world *world, int64_t low, int64_t high) {
    return world_random_range(&world->random_config, low, high);
}

/* Few faults give deep runs, many give wild ones. */
static uint32_t config_faults(world_world *world) {
    static const int32_t densities[] = {0, 60, 100, 150, 250, 400, 600};
    const int32_t density = densities[config_range(world, 0, 6)];
    uint32_t faults = 0;
    for (uint32_t fault = 0; fault < WORLD_FAULT_COUNT; fault++) {
        if (config_chance(world, density)) faults |= 1u << fault;
    }
    /* Without any of these there is one election in a run. */
    if (config_chance(world, 600)) faults |= 1u << WORLD_FAULT_CRASH;
    if (config_chance(world, 600)) faults |= 1u << WORLD_FAULT_RELEASE;
    if (!world->config.strict_creation) faults &= ~(1u << WORLD_FAULT_DELETE);
    return faults;
}

/* Timing that lease_create accepts: the default, or anything up to the edge of what is safe. */
static world_timing config_timing(world_world *world, int64_t duration_s) {
    world_timing timing = {15000, 10000, 2000, 300};
    if (duration_s == 15) return timing;
    const int64_t most = (duration_s * 1000 - 1) * 100 / 101;
    const int64_t stop = config_range(world, 1, duration_s * 100);
    const int64_t deadline = config_chance(world, 300)
                                 ? most - stop
                                 : config_range(world, most * 5 / 10, most - stop);
    timing.duration_ms = (int32_t)(duration_s * 1000);
    timing.deadline_ms = (int32_t)deadline;
    timing.retry_ms = (int32_t)config_range(world, deadline / 4, deadline * 10 / 15);
    timing.stop_ms = (int32_t)stop;
    return timing;
}

static int64_t config_room_ms(const world_timing *timing) {
    return timing->deadline_ms - timing->retry_ms;
}

/* How much faster and slower than true time clocks may run: (1 + rho) / (1 - rho) = 1 + skew. */
static int64_t config_tolerated_ppm(const world_config *config) {
    int64_t least = 300000;
    for (int i = 0; i < 2; i++) {
        const world_timing *timing = &config->timing[i];
        const int64_t used = (int64_t)timing->deadline_ms + timing->stop_ms;
        const int64_t skew = (timing->duration_ms - 1 - used) * 1000000 / used;
        least = world_least(least, skew * 1000000 / (2000000 + skew));
    }
    return least;
}

static void config_clock(world_world *world, world_host *host, int64_t kind, int64_t rho_ppm) {
    static const int64_t origins_ms[] = {1000, 86400000, 2147483000, 4294967000,
                                         INT64_C(100000000000)};
    const int64_t wall_us =
        1000000 * world->config.wall_s + config_range(world, -3000000, 3000000);
    host->clock.origin_us = origins_ms[config_range(world, 0, 4)] * 1000;
    host->clock.origin_us += config_range(world, 0, 999);
    host->clock.wall_offset_us = wall_us - host->clock.origin_us;
    host->clock.rate_ppm = kind == 0   ? config_range(world, -200, 200)
                           : kind == 1 ? config_range(world, -rho_ppm, rho_ppm)
                           : host->index % 2 == 0 ? rho_ppm
                                                  : -rho_ppm;
}

/* Each Lease has a candidate on the first host; the others take some, a few take one twice. */
static void config_plan(world_world *world, world_host *host) {
    const int32_t names = world->config.names;
    int32_t slot = 0;
    for (int i = 0; i < WORLD_MAX_LEASES; i++) host->plan[i] = -1;
    for (int32_t name = 0; name < names; name++) {
        if (host->index > 1 && config_chance(world, 250)) continue;
        host->plan[slot++] = name;
    }
    if (slot == 0) host->plan[slot++] = 0;
    if (config_chance(world, 60)) host->plan[slot++] = host->plan[0];
    if (host->index > 1 && config_chance(world, 100)) host->observers = 1;
    if (!host->stranger) return;
    for (int i = 1; i < WORLD_MAX_LEASES; i++) host->plan[i] = -1;
    host->observers = 0;
}

static void config_hosts(world_world *world) {
    static const int32_t counts[] = {1, 2, 2, 2, 3, 3, 3, 4, 5};
    const int64_t kind = config_range(world, 0, 2);
    const int64_t rho_ppm = config_tolerated_ppm(&world->config);
    const bool stranger = config_chance(world, 60);
    world->config.slowest_ppm = kind == 0 ? 200 : rho_ppm;
    world->host_count = counts[config_range(world, 0, 8)] + (stranger ? 1 : 0);
    for (int32_t i = 0; i < world->host_count; i++) {
        world_host *host = &world->hosts[i];
        host->world = world;
        host->index = i;
        host->stranger = stranger && i == world->host_count - 1;
        host->random.state = world_random_next(&world->random_host);
        host->timer_us = host->ready_us = host->resume_us = host->shut_us = WORLD_NEVER;
        host->restart_us = config_range(world, 0, 500000);
        config_clock(world, host, kind, rho_ppm);
        config_plan(world, host);
    }
}

static void config_times(world_world *world) {
    static const int64_t durations_s[] = {2, 2, 2, 3, 3, 4, 5, 8, 15};
    world_config *config = &world->config;
    const int64_t duration_s = durations_s[config_range(world, 0, 8)];
    config->timing[0] = config->timing[1] = config_timing(world, duration_s);
    if (config->mixed) config->timing[1] = config_timing(world, 2 * duration_s - 1);
    const int64_t room_ms = world_least(config_room_ms(&config->timing[0]),
                                        config_room_ms(&config->timing[1]));
    config->timeout_ms = (int32_t)config_range(world, room_ms / 4, room_ms);
    config->latency_us = config_range(world, 200, world_least(20000, 1000 * room_ms / 60));
}

void world_configure(world_world *world) {
    static const int64_t walls_s[] = {1790000000, 1790000000, 2147483640, 4294967290};
    world_config *config = &world->config;
    config->labels = config_chance(world, 300);
    config->wall_s = walls_s[config_range(world, 0, 3)];
    config->max_fail_open_ms = config_chance(world, 300) ? config_range(world, 1, 5000) : 0;
    config->strict_creation = config_chance(world, 400);
    config->same_identity = config_chance(world, 200);
    config->no_descriptor = config_chance(world, 50);
    config->mixed = config_chance(world, 150);
    config->names = (int32_t)config_range(world, 1, 3);
    config->token_length = config_chance(world, 200) ? 1000 : 40;
    config->faults = config_faults(world);
    /* Who waits out a uid waits for his own duration: it must be that of all. */
    if (config->mixed) config->faults &= ~(1u << WORLD_FAULT_DELETE);
    config_times(world);
    config_hosts(world);
    const int64_t duration_us = 1000 * (int64_t)config->timing[0].duration_ms;
    config->chaos_us = config_range(world, 3, 15) * duration_us;
    config->fault_gap_us = config_range(world, duration_us / 4, duration_us * 2);
    config->clean_elections = (int32_t)config_range(world, 0, 16);
}
