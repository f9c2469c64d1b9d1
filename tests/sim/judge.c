/* The referee, part two: what all candidates together may do, judged by what is true. */
#include <inttypes.h>
#include <string.h>

#include "sim.h"

/* -- What the server stores -------------------------------------------------------------------- */

static bool judge_mark_write(const sim_world *world, sim_shadow *shadow, uint32_t id) {
    uint32_t kept = shadow->write_count < SIM_MAX_WRITES ? shadow->write_count : SIM_MAX_WRITES;
    for (uint32_t i = 1; i <= kept; i++) {
        sim_write *write = &shadow->writes[(shadow->write_count - i) % SIM_MAX_WRITES];
        if (write->id != id) continue;
        write->applied = true;
        write->revision = world->server.revision;
        write->uid = world->server.uid;
        return true;
    }
    return false;
}

/* Clones know it as their own. */
static void judge_mark_clones(sim_world *world, const sim_message *message) {
    for (int32_t i = world->config.candidates; i < world->node_count; i++) {
        sim_node *copy = &world->nodes[i];
        if (copy->origin != message->node || copy->origin_incarnation != message->incarnation ||
            message->request_id > copy->origin_requests) {
            continue;
        }
        if (judge_mark_write(world, &copy->shadow, message->request_id)) {
            sim_hit(world, SIM_CLONE_IN_FLIGHT);
        }
    }
}

static void judge_mark_applied(sim_world *world, const sim_message *message) {
    sim_node *node = &world->nodes[message->node];
    judge_mark_clones(world, message);
    if (node->incarnation != message->incarnation || !node->alive) {
        sim_hit(world, SIM_AFTER_CRASH);
        return;
    }
    if (judge_mark_write(world, &node->shadow, message->request_id)) return;
    sim_fail(world, node, "the server applied request %u, which nobody remembers",
             (unsigned)message->request_id);
}

static void judge_transitions(sim_world *world, const sim_node *node, const sim_message *message,
                              const sim_server *before) {
    const lease_record *record = &message->record;
    int32_t expected = before->exists ? before->record.lease_transitions : 0;
    bool taken = before->exists && !message->release &&
                 strcmp(before->record.holder_identity, record->holder_identity) != 0;
    if (taken && expected < INT32_MAX) expected++;
    if (record->lease_transitions != expected) {
        sim_fail(world, node, "leaseTransitions %d instead of %d", (int)record->lease_transitions,
                 (int)expected);
    }
}

static uint64_t judge_last_applied(const sim_node *node) {
    const sim_shadow *shadow = &node->shadow;
    uint32_t kept = shadow->write_count < SIM_MAX_WRITES ? shadow->write_count : SIM_MAX_WRITES;
    uint64_t last = 0;
    for (uint32_t i = 1; i <= kept; i++) {
        const sim_write *write = &shadow->writes[(shadow->write_count - i) % SIM_MAX_WRITES];
        if (write->self && write->applied && write->revision > last) last = write->revision;
    }
    return last;
}

/* Has somebody made the duration of this node's last write shorter by hand? */
static bool judge_was_shortened(const sim_world *world, int32_t author, uint64_t shortened) {
    if (author < 0 || world->nodes[author].kind == SIM_PEER) return false;
    return judge_last_applied(&world->nodes[author]) < shortened;
}

/* A peer breaks others when it empties or takes what is not its own (client-go: release reads anew
 * and checks only what it remembers; a renewal after a release that failed does not even read), or
 * believes a duration shortened by hand; so does what it leaves for the next one to take. That is
 * its fault, and counted. */
static void judge_peer_write(sim_world *world, const sim_message *message,
                             const sim_server *before) {
    if (before->author == message->node) return;
    if (message->release && before->record.holder_identity[0] != 0 &&
        strcmp(before->record.holder_identity, world->nodes[message->node].identity) != 0) {
        sim_hit(world, SIM_BLIND_RELEASE);
    }
    if (!message->blind && !judge_was_shortened(world, before->author, before->shortened)) return;
    world->server.emptied = world->server.revision;
    world->server.emptied_by = SIM_EXCUSED_CLEAR;
}

/* So does a candidate with a shorter duration of its own, after an admin has shortened the longer
 * one of another: all replicas should agree on the timing. */
static void judge_shorter_take(sim_world *world, const sim_message *message,
                               const sim_server *before) {
    const sim_node *node = &world->nodes[message->node];
    if (before->author < 0 || before->author == message->node) return;
    const sim_node *author = &world->nodes[before->author];
    if (node->desc.lease_duration_ms >= author->desc.lease_duration_ms) return;
    if (!judge_was_shortened(world, before->author, before->shortened)) return;
    world->server.emptied = world->server.revision;
    world->server.emptied_by = SIM_EXCUSED_SHORTENED;
}

/* It empties what was its own last write, or was before its machine was cloned. In that case the
 * other one may have thought it its own, too. */
static void judge_release(sim_world *world, const sim_message *message,
                          const sim_server *before) {
    const sim_node *node = &world->nodes[message->node];
    bool own = before->author == message->node &&
               before->author_incarnation == message->incarnation;
    bool inherited = node->origin >= 0 && before->author == node->origin &&
                     before->author_incarnation == node->origin_incarnation;
    /* Late, from a clone that is gone. */
    if (node->incarnation != message->incarnation && message->node >= world->config.candidates) {
        inherited = true;
    }
    sim_hit(world, SIM_RELEASED);
    if (!own && !inherited) {
        sim_fail(world, node, "its release emptied a Lease held by \"%s\"",
                 before->record.holder_identity);
    }
    if (node->cloned) world->server.clone_emptied = world->server.revision;
    for (int32_t i = 0; node->cloned && i < world->node_count; i++) {
        const sim_node *other = &world->nodes[i];
        if (sim_judge_are_clones(node, other) && sim_node_leads(world, other)) {
            sim_hit(world, SIM_CLONE_RELEASED);
        }
    }
}

/* Called for every write that is stored. */
void sim_judge_stored(sim_world *world, const sim_message *message, const sim_server *before) {
    const sim_node *node = &world->nodes[message->node];
    if (node->kind == SIM_PEER) {
        judge_peer_write(world, message, before);
        return;
    }
    if (message->action == LEASE_ACTION_UPDATE && !before->exists) {
        sim_fail(world, node, "its PUT created the Lease");
    }
    judge_transitions(world, node, message, before);
    judge_mark_applied(world, message);
    if (message->action == LEASE_ACTION_CREATE && message->record.holder_identity[0] == 0) {
        sim_hit(world, SIM_STRICT_CREATE);
    }
    judge_shorter_take(world, message, before);
    if (message->release) judge_release(world, message, before);
}

/* Called for every request that reaches the server, after it was worked on. */
void sim_judge_arrival(sim_world *world, const sim_message *message) {
    sim_node *node = &world->nodes[message->node];
    sim_shadow *shadow = &node->shadow;
    if (node->kind == SIM_PEER || message->action == LEASE_ACTION_READ) return;
    if (!node->alive || node->incarnation != message->incarnation) return;
    if (message->request_id < shadow->arrived_id) sim_hit(world, SIM_REORDERED);
    shadow->arrived_id = message->request_id;
    bool given_up = shadow->pending == LEASE_ACTION_NONE ||
                    shadow->pending_id != message->request_id;
    if (given_up && message->applied) sim_hit(world, SIM_LATE_APPLIED);
    if (given_up && message->status == LEASE_CONFLICT) sim_hit(world, SIM_LATE_REFUSED);
    if (shadow->released && !message->release) sim_hit(world, SIM_AFTER_RELEASE);
}

/* -- Two leaders ------------------------------------------------------------------------------- */

/* Its validity comes from a write over which somebody else has emptied or deleted the Lease: the
 * next one may then take it at once, by client-go's rules as by ours. */
static bool judge_was_emptied(const sim_world *world, const sim_node *node) {
    return node->kind != SIM_PEER && judge_last_applied(node) < world->server.emptied;
}

/* Do both go on from one state of one machine? */
bool sim_judge_are_clones(const sim_node *a, const sim_node *b) {
    if (!a->cloned || !b->cloned || a == b || !a->alive || !b->alive) return false;
    if (a->origin == b->index) return a->origin_incarnation == b->incarnation;
    if (b->origin == a->index) return b->origin_incarnation == a->incarnation;
    return a->origin >= 0 && a->origin == b->origin &&
           a->origin_incarnation == b->origin_incarnation;
}

/* Does what it leads by, or the end of its work, rest on a write that was sent before it was
 * cloned? Everything later only one of the two can have written. */
static bool judge_is_inherited(const sim_node *node) {
    return node->cloned &&
           node->shadow.work_until_ms <=
               node->cloned_ms + node->desc.renew_deadline_ms + node->desc.stop_budget_ms;
}

static bool judge_clone_excuse(const sim_world *world, const sim_node *node) {
    return judge_is_inherited(node) && judge_last_applied(node) < world->server.clone_emptied;
}

/* A child of fork has its parent's memory, and must not lead by it. */
void sim_judge_child(sim_world *world, const sim_node *child) {
    lease_time_range range;
    int64_t now_ms = sim_node_boot_ms(world, child);
    int64_t wall_us = sim_node_wall_us(world, child);
    if (sim_node_leads(world, child)) sim_fail(world, child, "a child of fork leads");
    if (child->page.token != 0) sim_fail(world, child, "a child of fork has a token");
    if (lease_core_range(&child->page.range, now_ms, wall_us, &range, NULL)) {
        sim_fail(world, child, "a child of fork has a range");
    }
}

/* Why two leaders may be, or COUNT: they may not. */
static sim_sometimes judge_excuse(const sim_world *world, const sim_node *old,
                                  const sim_node *fresh) {
    if (world->orders.client_go) return SIM_SOMETIMES_COUNT;
    if (world->config.skew == SIM_SKEW_BEYOND) return SIM_SKEW_OVERLAP;
    if (old->kind == SIM_PEER) return SIM_PEER_OVERLAP;
    /* It believes an answer that has come too late: somebody else has long written since. */
    if (fresh->kind == SIM_PEER && world->server.author != fresh->index) return SIM_PEER_OVERLAP;
    /* It compares whole seconds, and cannot see all renewals of so near a deadline. */
    if (fresh->kind == SIM_PEER && old->desc.renew_deadline_ms < 2000) return SIM_PEER_OVERLAP;
    /* Nothing runs on a machine that stands still; its first step afterwards must notice. */
    if (old->unseen_pause) return SIM_MACHINE_PAUSED;
    if (judge_was_emptied(world, old) || judge_was_emptied(world, fresh)) {
        return world->server.emptied_by;
    }
    if (sim_judge_are_clones(old, fresh) &&
        (judge_is_inherited(old) || judge_is_inherited(fresh))) {
        return SIM_EXCUSED_CLONE;
    }
    if (judge_clone_excuse(world, old) || judge_clone_excuse(world, fresh)) {
        return SIM_EXCUSED_CLONE;
    }
    /* client-go waits for the recorded duration alone, and we for our own when that is longer. */
    bool shorter = fresh->kind == SIM_PEER ||
                   fresh->desc.lease_duration_ms < old->desc.lease_duration_ms;
    if (shorter && judge_last_applied(old) < world->server.shortened) {
        return SIM_EXCUSED_SHORTENED;
    }
    return SIM_SOMETIMES_COUNT;
}

static void judge_pair(sim_world *world, const sim_node *old, const sim_node *fresh) {
    bool strict = sim_node_leads(world, old);
    bool works = old->kind != SIM_PEER && old->alive &&
                 sim_node_boot_ms(world, old) < old->shadow.work_until_ms;
    /* It was told the time after its end, and has not said that its term is over. */
    bool lasts = old->kind != SIM_PEER && old->alive && old->shadow.leading &&
                 old->shadow.now_ms >= old->shadow.valid_until_ms;
    if (!strict && !works && !lasts) return;
    sim_sometimes excuse = judge_excuse(world, old, fresh);
    if (excuse == SIM_SOMETIMES_COUNT) {
        sim_fail(world, fresh, "two leaders: it leads while %s %s", old->identity,
                 strict ? "is strictly leader"
                 : works ? "has time to end its work" : "does not end its term");
        return;
    }
    int64_t end_ms = old->kind == SIM_PEER ? old->peer.deadline_ms : old->shadow.valid_until_ms;
    int64_t left_ms = end_ms - sim_node_boot_ms(world, old);
    sim_trace(world, fresh, "leads beside %s, excused: %s", old->identity,
              sim_sometimes_text(excuse));
    sim_hit(world, excuse);
    world->stats->overlaps[excuse]++;
    if (left_ms > world->stats->longest_overlap_ms[excuse]) {
        world->stats->longest_overlap_ms[excuse] = left_ms;
    }
}

/* Called whenever the leadership of node begins or is extended: nothing else starts an overlap. */
void sim_judge_leaders(sim_world *world, const sim_node *node) {
    for (int32_t i = 0; i < world->node_count; i++) {
        if (i != node->index) judge_pair(world, &world->nodes[i], node);
    }
}

static void judge_cut_off(sim_world *world, const sim_node *fresh) {
    for (int32_t i = 0; i < world->node_count; i++) {
        const sim_node *node = &world->nodes[i];
        const sim_shadow *shadow = &node->shadow;
        bool cut = node->cut_in_us > world->now_us || node->cut_out_us > world->now_us;
        if (node != fresh && node->alive && !node->paused && cut && shadow->ever_led &&
            shadow->own) {
            sim_hit(world, SIM_LEADER_CUT_OFF);
        }
    }
}

/* The fencing token grows from term to term, whoever leads. */
void sim_judge_token(sim_world *world, const sim_node *node, uint64_t token) {
    sim_server *server = &world->server;
    /* Clones may read back, at any time, the write that was under way for both. */
    bool excused = world->config.skew == SIM_SKEW_BEYOND || judge_was_emptied(world, node) ||
                   judge_is_inherited(node);
    if (token <= server->highest_token && !excused) {
        sim_fail(world, node, "token %" PRIu64 " after %" PRIu64, token, server->highest_token);
    }
    if (token > server->highest_token) server->highest_token = token;
    judge_cut_off(world, node);
}

/* What it believes to have given back must not be what its last write made, where nothing comes
 * late or twice, whatever it was told of that write. */
void sim_judge_released(sim_world *world, const sim_node *node) {
    const sim_server *server = &world->server;
    bool late = sim_had(world, SIM_FAULT_LATE) || sim_had(world, SIM_FAULT_SLOW) ||
                sim_had(world, SIM_FAULT_DUPLICATE) || sim_had(world, SIM_FAULT_STALE) ||
                sim_had(world, SIM_FAULT_ALTER);
    if (late || !server->exists || judge_last_applied(node) != server->revision) return;
    sim_fail(world, node, "RELEASED, and the Lease is still its own");
}

/* After the faults have stopped nobody loses but by release. */
void sim_judge_loss(sim_world *world, const sim_node *node, lease_reason reason) {
    if (world->phase < SIM_PHASE_STABLE || reason == LEASE_REASON_RELEASED) return;
    sim_fail(world, node, "lost its term (%s) without any fault",
             sim_reason_word(reason));
}
