/* Random numbers, trace, trace hash, failures, coverage. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "sim.h"

/* splitmix64: passes the usual tests, needs 64 bits of state, any seed is good. */
uint64_t sim_random_next(sim_random *random) {
    random->state += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t z = random->state;
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

int64_t sim_random_range(sim_random *random, int64_t low, int64_t high) {
    if (high <= low) return low;
    uint64_t count = (uint64_t)(high - low) + 1;
    return low + (int64_t)(sim_random_next(random) % count);
}

bool sim_random_chance(sim_random *random, int32_t per_mille) {
    return sim_random_range(random, 0, 999) < per_mille;
}

const char *sim_sometimes_text(sim_sometimes what) {
    static const char *const texts[] = {
#define SIM_TEXT(name, text) text,
        SIM_SOMETIMES_LIST(SIM_TEXT)
#undef SIM_TEXT
    };
    return texts[what];
}

const char *sim_fault_word(sim_fault fault) {
    static const char *const words[] = {
#define SIM_WORD(name, word, text) word,
        SIM_FAULT_LIST(SIM_WORD)
#undef SIM_WORD
    };
    return words[fault];
}

const char *sim_fault_text(sim_fault fault) {
    static const char *const texts[] = {
#define SIM_TEXT(name, word, text) text,
        SIM_FAULT_LIST(SIM_TEXT)
#undef SIM_TEXT
    };
    return texts[fault];
}

const char *sim_reason_word(lease_reason reason) {
    static const char *const words[] = {
        [LEASE_REASON_NONE] = "none", [LEASE_REASON_EXPIRED] = "expired",
        [LEASE_REASON_TAKEN] = "taken", [LEASE_REASON_CLEARED] = "cleared",
        [LEASE_REASON_DELETED] = "deleted", [LEASE_REASON_DUPLICATE] = "duplicate",
        [LEASE_REASON_ALTERED] = "altered", [LEASE_REASON_CLOCK_JUMP] = "clock jump",
        [LEASE_REASON_COORDINATED] = "coordinated", [LEASE_REASON_RELEASED] = "released"};
    return reason < sizeof words / sizeof words[0] ? words[reason] : "unknown";
}

/* Only the first failure of a run counts: what follows may be its consequence. */
void sim_fail(sim_world *world, const sim_node *node, const char *format, ...) {
    if (world->failed) return;
    int used = snprintf(world->failure, sizeof world->failure, "at %" PRId64 ".%06" PRId64 " s",
                        world->now_us / 1000000, world->now_us % 1000000);
    if (node) {
        used += snprintf(world->failure + used, sizeof world->failure - (size_t)used, ", %s",
                         node->identity);
    }
    used += snprintf(world->failure + used, sizeof world->failure - (size_t)used, ": ");
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(world->failure + used, sizeof world->failure - (size_t)used, format, arguments);
    va_end(arguments);
    const char *only = world->orders.only;
    world->failed = only == NULL || strstr(world->failure + used, only) != NULL;
    world->failed_check = format;
    if (world->orders.trace) {
        printf("  %s %s\n", world->failed ? "FAILED" : "(not asked for)", world->failure);
    }
}

/* Some share their identity with another one; each has a letter of its own. */
void sim_trace(const sim_world *world, const sim_node *node, const char *format, ...) {
    if (!world->orders.trace) return;
    printf("%6" PRId64 ".%06" PRId64 "  ", world->now_us / 1000000, world->now_us % 1000000);
    if (node) {
        printf("%c %-8s ", 'a' + (int)node->index, node->identity);
    } else {
        printf("%-10s ", "");
    }
    va_list arguments;
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    printf("\n");
}

void sim_hash(sim_world *world, uint64_t value) {
    uint64_t h = (world->hash ^ value) * UINT64_C(0x9fb21c651e98df25);
    world->hash = h ^ (h >> 32);
}

void sim_hit(sim_world *world, sim_sometimes what) {
    world->stats->sometimes[what]++;
}

bool sim_had(const sim_world *world, sim_fault fault) {
    return (world->config.faults >> fault & 1u) != 0;
}

bool sim_has(const sim_world *world, sim_fault fault) {
    return world->phase == SIM_PHASE_CHAOS && sim_had(world, fault);
}

/* Behind a call, so that no compiler makes slow string instructions of it. */
void sim_fill(void *bytes, size_t count, unsigned char fill) {
    memset(bytes, fill, count);
}

/* Copies what fits and fills the rest with zeros, so that equal texts are equal bytes. */
void sim_copy(char *to, size_t capacity, const char *from) {
    size_t length = strlen(from);
    if (length >= capacity) length = capacity - 1;
    memcpy(to, from, length);
    memset(to + length, 0, capacity - length);
}

void sim_decimal(char *to, size_t capacity, const char *prefix, uint64_t value) {
    char digits[24];
    size_t at = sizeof digits - 1;
    digits[at] = 0;
    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value != 0);
    char text[48];
    size_t length = strlen(prefix);
    memcpy(text, prefix, length);
    memcpy(text + length, digits + at, sizeof digits - at);
    sim_copy(to, capacity, text);
}
