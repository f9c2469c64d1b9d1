/* Random numbers, clocks, trace, trace hash, failures, coverage. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "world.h"

/* -- Random numbers ---------------------------------------------------------------------------- */

/* splitmix64: passes the usual tests, needs 64 bits of state, any seed is good. */
uint64_t world_random_next(world_random *random) {
    random->state += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t z = random->state;
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

int64_t world_random_range(world_random *random, int64_t low, int64_t high) {
    if (high <= low) return low;
    const uint64_t count = (uint64_t)(high - low) + 1;
    return low + (int64_t)(world_random_next(random) % count);
}

bool world_random_chance(world_random *random, int32_t per_mille) {
    return world_random_range(random, 0, 999) < per_mille;
}

int64_t world_least(int64_t a, int64_t b) { return a < b ? a : b; }

int64_t world_most(int64_t a, int64_t b) { return a > b ? a : b; }

/* -- Clocks ------------------------------------------------------------------------------------ */

int64_t world_boot_us(const world_world *world, const world_host *host) {
    const world_clock *clock = &host->clock;
    return clock->origin_us + world->now_us * (1000000 + clock->rate_ppm) / 1000000;
}

int64_t world_boot_ms(const world_world *world, const world_host *host) {
    return world_boot_us(world, host) / 1000;
}

/* The first true time at which the host's clock shows boot_ms. */
int64_t world_when_us(const world_host *host, int64_t boot_ms) {
    const int64_t rate = 1000000 + host->clock.rate_ppm;
    const int64_t ran = boot_ms * 1000 - host->clock.origin_us;
    if (ran <= 0) return 0;
    return ran / rate * 1000000 + (ran % rate * 1000000 + rate - 1) / rate;
}

int64_t world_wall_us(const world_world *world, const world_host *host) {
    return world_boot_us(world, host) + host->clock.wall_offset_us;
}

/* -- Telling ----------------------------------------------------------------------------------- */

const char *world_sometimes_text(world_sometimes what) {
    static const char *const texts[] = {
#define WORLD_TEXT(name, text) text,
        WORLD_SOMETIMES_LIST(WORLD_TEXT)
#undef WORLD_TEXT
    };
    return texts[what];
}

/* Only the first failure of a run counts: what follows may be its consequence. */
void world_fail(world_world *world, const world_host *host, const char *format, ...) {
    const size_t capacity = sizeof world->failure;
    if (world->failed) return;
    world->failed = true;
    int used = snprintf(world->failure, capacity, "at %" PRId64 ".%06" PRId64 " s",
                        world->now_us / 1000000, world->now_us % 1000000);
    if (host != NULL) {
        used += snprintf(world->failure + used, capacity - (size_t)used, ", host %c",
                         'a' + (int)host->index);
    }
    used += snprintf(world->failure + used, capacity - (size_t)used, ": ");
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(world->failure + used, capacity - (size_t)used, format, arguments);
    va_end(arguments);
    if (world->trace) printf("  FAILED %s\n", world->failure);
}

void world_trace(const world_world *world, const world_host *host, const char *format, ...) {
    if (!world->trace) return;
    printf("%5" PRId64 ".%06" PRId64 " %c  ", world->now_us / 1000000, world->now_us % 1000000,
           host != NULL ? 'a' + (int)host->index : ' ');
    va_list arguments;
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    printf("\n");
}

void world_hash(world_world *world, uint64_t value) {
    const uint64_t h = (world->hash ^ value) * UINT64_C(0x9fb21c651e98df25);
    world->hash = h ^ (h >> 32);
}

void world_hit(world_world *world, world_sometimes what) { world->stats->sometimes[what]++; }

/* -- Faults ------------------------------------------------------------------------------------ */

/* What a good network and a good server do as well, if not in every run. */
static bool world_is_harmless(world_fault fault) {
    return fault == WORLD_FAULT_CUT || fault == WORLD_FAULT_BLOCK || fault == WORLD_FAULT_IDLE ||
           fault == WORLD_FAULT_FORM;
}

bool world_has(const world_world *world, world_fault fault) {
    const bool now = world->phase == WORLD_PHASE_CHAOS || world_is_harmless(fault);
    return now && (world->config.faults >> fault & 1u) != 0;
}

bool world_strikes(world_world *world, world_random *random, world_fault fault, int32_t per_mille) {
    return world_has(world, fault) && world_random_chance(random, per_mille);
}

bool world_is_clean(const world_world *world) {
    return world->phase != WORLD_PHASE_CHAOS && world->phase != WORLD_PHASE_HEAL;
}
