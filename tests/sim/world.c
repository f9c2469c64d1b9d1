/* The phases of a run, and its loop. At first there are faults; then they end, and what is owed to
 * users comes within bounds:
 *
 *   L1  somebody leads                                 SIM_PHASE_HEAL
 *   L2  who leads goes on, through short outages too   SIM_PHASE_STABLE, _OUTAGE; sim_judge_loss
 *   L3  a crashed leader is followed                   SIM_PHASE_CRASH
 *   L4  ... one that has released                      SIM_PHASE_RELEASE
 *   L5  a release ends, and is not told without need   world_depose, sim_judge_released; check.c
 *   L6  nothing hangs                                  WORLD_MAX_EVENTS; check_wake, at all times
 *   L7  followers do not all write again and again     world_taken_over; check_rate, at all times
 *   L8  refusals for good are asked about slowly,      check_denials, at all times; and healing
 *       and need no restart                            restarts nobody
 */
#include <inttypes.h>
#include <string.h>

#include "sim.h"

#define WORLD_MAX_EVENTS 1000000 /* some hundred times what a run has */
#define WORLD_MAX_AT_ONCE 1000   /* of them at one instant */

/* -- Phases ------------------------------------------------------------------------------------ */

/* The leader whom the server knows: client-go goes on believing for a while after it has lost. */
static int32_t world_recorded_leader(const sim_world *world) {
    int32_t author = world->server.author;
    if (author < 0 || !sim_node_leads(world, &world->nodes[author])) return -1;
    const char *holder = world->server.record.holder_identity;
    return strcmp(holder, world->nodes[author].identity) == 0 ? author : -1;
}

/* True time in which the slowest clock shows span_ms. */
static int64_t world_slowest_us(const sim_world *world, int64_t span_ms) {
    return span_ms * 1000000 / (1000000 - world->config.slowest_ppm) * 1000 + 1000;
}

static int64_t world_longest_period_ms(const sim_world *world) {
    int64_t longest = 0;
    for (int32_t i = 0; i < world->node_count; i++) {
        const lease_core_desc *desc = &world->nodes[i].desc;
        if (desc->retry_period_ms > longest) longest = desc->retry_period_ms;
    }
    return longest;
}

/* After the faults: the longest pause of a candidate, then somebody's duration, then (with
 * strict_creation) another one for the new uid. */
static int64_t world_heal_us(const sim_world *world) {
    int64_t duration_ms = world->config.duration_ms + 7000;
    if (duration_ms < 40000) duration_ms = 40000;
    int64_t period_ms = world_longest_period_ms(world);
    return world_slowest_us(world, 30000 + 2 * duration_ms + 8 * period_ms);
}

/* A follower has seen the last renewal at most one jittered look after it was made, and then waits
 * for a duration; client-go looks only at its ticks. */
static int64_t world_crash_us(const sim_world *world) {
    int64_t look_ms = world_longest_period_ms(world) * 12 / 10;
    if (world->config.peers) look_ms = world_longest_period_ms(world) * 5;
    return world_slowest_us(world, world->config.duration_ms + look_ms + 5) +
           8 * world->config.latency_us;
}

static int64_t world_release_us(const sim_world *world) {
    int64_t look_ms = world_longest_period_ms(world) * 12 / 10;
    if (world->config.peers) look_ms = world_longest_period_ms(world) * 4;
    return world_slowest_us(world, look_ms + 5) + 8 * world->config.latency_us;
}

static void world_enter(sim_world *world, sim_phase phase, int64_t span_us) {
    static const char *const names[] = {"chaos", "heal",    "stable", "outage",
                                        "crash", "release", "done"};
    world->phase = phase;
    world->phase_began_us = world->now_us;
    world->phase_until_us = world->now_us + span_us;
    sim_trace(world, NULL, "== %s", names[phase]);
}

static void world_heal(sim_world *world) {
    world->node_fault_us = SIM_NEVER;
    world->net_fault_us = SIM_NEVER;
    world->server_fault_us = SIM_NEVER;
    world->admin_us = SIM_NEVER;
    sim_net_clear(world);
    world_enter(world, SIM_PHASE_HEAL, world_heal_us(world));
    sim_server_heal(world);
    for (int32_t i = 0; i < world->node_count; i++) sim_node_heal(world, &world->nodes[i]);
}

/* Must a leader stay the leader without faults? Not with clocks beyond what is tolerated, and not
 * where client-go cannot see all renewals: of a very near deadline, and of a peer of its own kind
 * whose wall time stands. */
static bool world_is_steady(const sim_world *world) {
    bool unseen = false;
    for (int32_t i = 0; i < world->node_count; i++) {
        const sim_node *node = &world->nodes[i];
        bool stands = node->kind == SIM_PEER && node->clock.wall_frozen_us != 0;
        if (node->desc.renew_deadline_ms < 2000 || stands) unseen = true;
    }
    return world->config.skew != SIM_SKEW_BEYOND && !(world->config.peers && unseen);
}

/* Nobody can reach the server for as long as the timing is said to survive, less what the messages
 * afterwards take. */
static bool world_outage(sim_world *world) {
    int32_t leader = world_recorded_leader(world);
    if (leader < 0 || world->nodes[leader].kind == SIM_PEER) return false;
    const sim_node *node = &world->nodes[leader];
    lease_timing timing;
    lease_core_timing(&node->core, &timing);
    int64_t span_us = timing.outage_ms * 1000000 / (1000000 + node->clock.rate_ppm) * 1000;
    span_us -= 6 * world->config.latency_us + 2000;
    if (span_us <= 0) return false;
    for (int32_t i = 0; i < world->node_count; i++) {
        world->nodes[i].cut_out_us = world->now_us + span_us;
        world->nodes[i].cut_in_us = world->now_us + span_us;
    }
    world->outage_over = true;
    /* A follower may have tried in vain, and then look again only after a second or two. */
    world_enter(world, SIM_PHASE_OUTAGE,
                span_us + world_slowest_us(world, 3000 + 3 * world_longest_period_ms(world)));
    return true;
}

static void world_stay(sim_world *world) {
    if (!world_is_steady(world)) {
        world_enter(world, SIM_PHASE_DONE, 0);
        return;
    }
    int64_t span_us = world_slowest_us(world, 3 * world_longest_period_ms(world));
    if (world->clean_left == world->config.clean_elections) {
        span_us += 2 * world->config.duration_ms * 1000;
    }
    world_enter(world, SIM_PHASE_STABLE, span_us);
}

/* How many others may be elected. */
static int32_t world_others(const sim_world *world, int32_t leader) {
    int32_t others = 0;
    for (int32_t i = 0; i < world->node_count; i++) {
        if (i != leader && sim_node_contends(&world->nodes[i])) others++;
    }
    return others;
}

/* Ends the term of the leader, by crash or by release, when somebody else can follow. */
static void world_depose(sim_world *world) {
    int32_t leader = world_recorded_leader(world);
    const sim_node *before = world->former >= 0 ? &world->nodes[world->former] : NULL;
    if (leader < 0) {
        sim_fail(world, NULL, "the leader is gone without any fault");
        world_enter(world, SIM_PHASE_DONE, 0);
        return;
    }
    if (before && before->shadow.released && !before->shadow.release_told) {
        sim_fail(world, before, "its release has no end");
        world_enter(world, SIM_PHASE_DONE, 0);
        return;
    }
    sim_node *node = &world->nodes[leader];
    if (world->clean_left == 0 || world_others(world, leader) == 0) {
        world_enter(world, SIM_PHASE_DONE, 0);
        return;
    }
    world->clean_left--;
    world->former = leader;
    world->takeover_us = world->now_us + (int64_t)node->desc.lease_duration_ms * 333;
    world->takeover_writes = 0;
    if (sim_random_chance(&world->random_fault, 500)) {
        world_enter(world, SIM_PHASE_CRASH, world_crash_us(world));
        node->restart_us = SIM_NEVER;
        sim_node_crash(world, node);
    } else {
        world_enter(world, SIM_PHASE_RELEASE, world_release_us(world));
        sim_node_release(world, node, SIM_NEVER);
    }
}

static void world_taken_over(sim_world *world) {
    sim_node *former = &world->nodes[world->former];
    int64_t bound_us = world->phase_until_us - world->phase_began_us;
    int64_t permille = (world->now_us - world->phase_began_us) * 1000 / bound_us;
    int64_t *worst = world->phase == SIM_PHASE_CRASH ? &world->stats->worst_crash_permille
                                                     : &world->stats->worst_release_permille;
    if (permille > *worst) *worst = permille;
    /* Each of those whose wait has ended together tries once, and then looks. */
    if (world->phase == SIM_PHASE_CRASH &&
        world->takeover_writes > world_others(world, world->former)) {
        sim_fail(world, NULL, "%d writes for one takeover", (int)world->takeover_writes);
    }
    if (world->phase == SIM_PHASE_CRASH) {
        former->restart_us = world->now_us;
        former->wake_us = world->now_us;
    } else if (former->kind != SIM_PEER) {
        former->contend_us = world->now_us + 100000;
        if (former->contend_us < former->wake_us) former->wake_us = former->contend_us;
    }
    world_stay(world);
}

/* Looks after each event whether the phase has reached what it waits for. */
static void world_watch_phase(sim_world *world) {
    int32_t leader;
    int64_t settle_us;
    switch (world->phase) {
    case SIM_PHASE_CHAOS:
    case SIM_PHASE_STABLE:
    case SIM_PHASE_OUTAGE:
    case SIM_PHASE_DONE: return;
    case SIM_PHASE_HEAL:
        /* First everybody has to look again, and to notice what happened to the clocks. */
        settle_us = world_slowest_us(world, 30000 + 3 * world_longest_period_ms(world));
        if (world->now_us < world->phase_began_us + settle_us) return;
        if (world_recorded_leader(world) >= 0) world_stay(world);
        return;
    case SIM_PHASE_CRASH:
    case SIM_PHASE_RELEASE:
        leader = world_recorded_leader(world);
        if (leader >= 0 && leader != world->former) world_taken_over(world);
        return;
    }
}

static void world_phase_over(sim_world *world) {
    switch (world->phase) {
    case SIM_PHASE_CHAOS: world_heal(world); break;
    case SIM_PHASE_STABLE:
        if (!world->outage_over && world_outage(world)) break;
        world_depose(world);
        break;
    case SIM_PHASE_OUTAGE:
        sim_hit(world, SIM_OUTAGE_BRIDGED);
        world_depose(world);
        break;
    case SIM_PHASE_HEAL:
    case SIM_PHASE_CRASH:
    case SIM_PHASE_RELEASE:
        sim_fail(world, NULL, "no leader within %" PRId64 " ms",
                 (world->phase_until_us - world->phase_began_us) / 1000);
        world_enter(world, SIM_PHASE_DONE, 0);
        break;
    case SIM_PHASE_DONE: break;
    }
}

/* -- The loop ---------------------------------------------------------------------------------- */

static void world_begin(sim_world *world, sim_stats *stats, const sim_orders *orders,
                        unsigned char fill) {
    memset(world, 0, sizeof *world);
    world->orders = *orders;
    world->fill = fill;
    world->stats = stats;
    world->hash = orders->seed;
    world->former = -1;
    sim_random root = {orders->seed};
    sim_random *streams[] = {&world->random_config, &world->random_net, &world->random_server,
                             &world->random_fault, &world->random_core, &world->random_peer};
    for (size_t i = 0; i < sizeof streams / sizeof streams[0]; i++) {
        streams[i]->state = sim_random_next(&root);
        if (streams[i] == &world->random_config) {
            root.state += orders->fate * UINT64_C(0xd1342543de82ef95);
        }
    }
    sim_net_init(world);
    sim_server_init(world);
    sim_configure(world);
    world->clean_left = world->config.clean_elections;
    world_enter(world, SIM_PHASE_CHAOS, world->config.chaos_us);
    static const char *const skews[] = {"good clocks, tolerated are", "clocks within",
                                        "clocks at the ends of",
                                        "clocks beyond what is tolerated, at"};
    sim_trace(world, NULL, "%d nodes, %s +-%" PRId64 " ppm%s%s%s%s%s", (int)world->node_count,
              skews[world->config.skew], world->config.rho_ppm,
              world->config.strict_creation ? ", strict creation" : "",
              world->config.twins ? ", twins" : "", world->config.opaque ? ", opaque" : "",
              world->config.mixed ? ", mixed" : "", world->config.peers ? ", peers" : "");
    for (uint32_t fault = 0; fault < SIM_FAULT_COUNT; fault++) {
        if ((world->config.faults >> fault & 1u) == 0) continue;
        sim_trace(world, NULL, "fault %s: %s", sim_fault_word((sim_fault)fault),
                  sim_fault_text((sim_fault)fault));
    }
    for (int32_t i = 0; i < world->node_count; i++) {
        const sim_node *node = &world->nodes[i];
        sim_trace(world, NULL, "node %c: D %d V %d P %d A %d tau %d, clock %+" PRId64 " ppm%s",
                  'a' + (int)i, (int)node->desc.lease_duration_ms,
                  (int)node->desc.renew_deadline_ms, (int)node->desc.retry_period_ms,
                  (int)node->desc.stop_budget_ms, (int)node->desc.request_timeout_ms,
                  node->clock.rate_ppm,
                  node->kind == SIM_PEER ? ", client-go"
                  : node->kind == SIM_OBSERVER ? ", observer"
                  : node->kind == SIM_SPARE ? ", for a child or a clone" : "");
    }
}

/* The earliest of everything; who comes first in this list wins among equals. */
static void world_turn(sim_world *world) {
    int64_t *const faults[] = {&world->node_fault_us, &world->net_fault_us,
                               &world->server_fault_us, &world->admin_us, &world->phase_until_us};
    int64_t first_us = sim_net_next_us(world);
    int32_t which = -1;
    for (int32_t i = 0; i < 5; i++) {
        if (*faults[i] < first_us) {
            first_us = *faults[i];
            which = i;
        }
    }
    for (int32_t i = 0; i < world->node_count; i++) {
        if (world->nodes[i].wake_us < first_us) {
            first_us = world->nodes[i].wake_us;
            which = 5 + i;
        }
    }
    world->now_us = first_us;
    switch (which) {
    case -1: {
        sim_message *message = sim_net_pop(world);
        if (message->answer) {
            sim_node_deliver(world, message);
        } else {
            sim_server_handle(world, message);
            sim_net_answer(world, message);
        }
        break;
    }
    case 0: sim_fault_node(world); break;
    case 1: sim_fault_net(world); break;
    case 2: sim_fault_server(world); break;
    case 3: sim_fault_admin(world); break;
    case 4: world_phase_over(world); break;
    default: sim_node_act(world, &world->nodes[which - 5]); break;
    }
}

void sim_world_run(sim_world *world, sim_stats *stats, const sim_orders *orders,
                   unsigned char fill) {
    world_begin(world, stats, orders, fill);
    world->node_fault_us = world->config.fault_gap_us;
    world->net_fault_us = world->config.fault_gap_us / 2;
    world->server_fault_us = world->config.fault_gap_us / 3;
    world->admin_us = world->config.fault_gap_us / 4;
    uint64_t began = stats->events;
    int64_t at_once = 0;
    while (!world->failed && world->phase != SIM_PHASE_DONE) {
        int64_t before_us = world->now_us;
        world_turn(world);
        stats->events++;
        world_watch_phase(world);
        at_once = world->now_us == before_us ? at_once + 1 : 0;
        if (at_once > WORLD_MAX_AT_ONCE || stats->events - began > WORLD_MAX_EVENTS) {
            sim_fail(world, NULL, "the run has no end");
            world_enter(world, SIM_PHASE_DONE, 0);
        }
    }
    stats->runs++;
    stats->simulated_us += (uint64_t)world->now_us;
}
