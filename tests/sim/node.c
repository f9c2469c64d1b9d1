/* A candidate: its clocks, and the loop that drives its core as lease_client does. */
#include <inttypes.h>
#include <string.h>

#include "sim.h"

/* -- Clocks ------------------------------------------------------------------------------------ */

int64_t sim_clock_boot_us(const sim_clock *clock, int64_t now_us) {
    if (clock->stopped_us < now_us) now_us = clock->stopped_us;
    int64_t ran = now_us * (1000000 + clock->rate_ppm) / 1000000;
    return clock->origin_us + ran - clock->hidden_us;
}

/* The first true time at which the clock, if it is not stopped, shows boot_ms. */
int64_t sim_clock_when_us(const sim_clock *clock, int64_t boot_ms) {
    int64_t rate = 1000000 + clock->rate_ppm;
    int64_t ran = boot_ms * 1000 - clock->origin_us + clock->hidden_us;
    if (ran <= 0) return 0;
    return ran / rate * 1000000 + (ran % rate * 1000000 + rate - 1) / rate;
}

int64_t sim_node_boot_ms(const sim_world *world, const sim_node *node) {
    return sim_clock_boot_us(&node->clock, world->now_us) / 1000;
}

int64_t sim_node_wall_us(const sim_world *world, const sim_node *node) {
    if (node->clock.wall_frozen_us != 0) return node->clock.wall_frozen_us;
    return sim_clock_boot_us(&node->clock, world->now_us) + node->clock.wall_offset_us;
}

/* -- Sending and waiting ----------------------------------------------------------------------- */

static void node_send(sim_world *world, sim_node *node) {
    const lease_core_output *out = &node->out;
    sim_message request;
    sim_fill(&request, sizeof request, 0);
    request.node = node->index;
    request.incarnation = node->incarnation;
    request.request_id = out->request_id;
    request.action = out->action;
    if (out->action != LEASE_ACTION_READ) {
        request.record = out->write;
        request.release = out->write.holder_identity[0] == 0 && out->action != LEASE_ACTION_CREATE;
        request.acquiring = !request.release && !node->shadow.leading;
    }
    sim_trace(world, node, "sends %u: %s \"%s\" over \"%s\" %s, transitions %d, renewed %" PRId64,
              (unsigned)out->request_id,
              out->action == LEASE_ACTION_READ ? "GET"
              : out->action == LEASE_ACTION_CREATE ? "POST" : "PUT",
              request.record.holder_identity, request.record.uid, request.record.resource_version,
              (int)request.record.lease_transitions, request.record.renew_time_us);
    sim_net_request(world, node, &request);
}

static int64_t node_lateness_us(sim_world *world, const sim_node *node) {
    if (!sim_has(world, SIM_FAULT_LAZY)) return 0;
    if (sim_random_chance(&world->random_fault, 700)) return 0;
    int64_t most = sim_random_chance(&world->random_fault, 900) ? 5 : node->desc.retry_period_ms;
    return sim_random_range(&world->random_fault, 0, most * 1000);
}

static int64_t least(int64_t a, int64_t b) {
    return a < b ? a : b;
}

/* When the loop acts next. Nothing but what the core asked for wakes it, so that a lost wake-up of
 * the core is a lost wake-up here. */
static void node_schedule(sim_world *world, sim_node *node) {
    int64_t at_ms = node->out.wake_ms;
    if (node->shadow.pending != LEASE_ACTION_NONE) at_ms = least(at_ms, node->shadow.give_up_ms);
    int64_t at = sim_clock_when_us(&node->clock, at_ms);
    at += node_lateness_us(world, node);
    if (node->busy_until_us > world->now_us) at = least(at, node->busy_until_us);
    at = least(at, node->contend_us);
    at = least(at, node->tick_us);
    node->wake_us = at > world->now_us ? at : world->now_us;
}

/* -- Clones ------------------------------------------------------------------------------------ */

/* Room for a child or a clone; NULL = there is none. */
sim_node *sim_spare(sim_world *world) {
    for (int32_t i = world->config.candidates; i < world->node_count; i++) {
        if (world->nodes[i].kind == SIM_SPARE) return &world->nodes[i];
    }
    return NULL;
}

/* The machine with all that is in it. Answers under way find the original; the copy's wall clock is
 * set by itself, and its random source may have been cloned as well. */
void sim_node_clone(sim_world *world, sim_node *node, sim_node *copy) {
    sim_random *random = &world->random_fault;
    sim_trace(world, node, "its machine is cloned");
    if (sim_node_leads(world, node)) sim_hit(world, SIM_CLONED);
    node->cloned = true;
    node->cloned_ms = sim_node_boot_ms(world, node);
    int32_t index = copy->index;
    *copy = *node;
    copy->index = index;
    copy->starts = 0;
    copy->inbox_count = 0;
    copy->clone_at_write = false;
    copy->origin = node->index;
    copy->origin_incarnation = node->incarnation;
    copy->origin_requests = node->core.requests;
    copy->desc.identity = copy->identity;
    copy->core.desc.identity = copy->core.own_identity;
    if (sim_random_chance(random, 500)) copy->random.state = sim_random_next(&world->random_core);
    int64_t apart_us = sim_random_range(random, 1, 100000);
    copy->clock.wall_offset_us += sim_random_chance(random, 500) ? apart_us : -apart_us;
    node_schedule(world, copy);
}

static void node_clone_at_write(sim_world *world, sim_node *node) {
    sim_node *spare = sim_spare(world);
    if (!node->clone_at_write || node->out.action == LEASE_ACTION_READ) return;
    node->clone_at_write = false;
    if (spare && sim_has(world, SIM_FAULT_CLONE)) sim_node_clone(world, node, spare);
}

/* -- One step of the core ---------------------------------------------------------------------- */

static void node_step(sim_world *world, sim_node *node, lease_core_input *input) {
    int64_t boot_ms = sim_node_boot_ms(world, node);
    input->now_ms = boot_ms - node->back_ms;
    if (node->back_ms != 0 && input->now_ms < node->last_ms) sim_hit(world, SIM_CLOCK_BACK);
    node->back_ms = 0;
    if (boot_ms > node->last_ms) node->last_ms = boot_ms;
    input->wall_us = sim_node_wall_us(world, node);
    input->random = (uint32_t)sim_random_next(&node->random);
    input->hold_requests = node->busy_until_us > world->now_us;
    if (input->hold_requests) sim_hit(world, SIM_HELD_BACK);

    sim_check_input(world, node, input);
    sim_fill(&node->out, sizeof node->out, world->fill);
    lease_core_step(&node->core, input, &node->out);
    node->unseen_pause = false;
    sim_check_output(world, node, input);
    node->page.valid_until_ms = node->out.valid_until_ms;
    node->page.token = node->out.token;
    node->page.range = node->core.range;

    const lease_core_output *out = &node->out;
    sim_hash(world, (uint64_t)world->now_us);
    sim_hash(world, (uint64_t)node->index << 60 ^ (uint64_t)out->action << 56 ^ out->events);
    sim_hash(world, (uint64_t)out->wake_ms ^ out->token << 32);
    sim_hash(world, (uint64_t)out->valid_until_ms);
    if (world->failed) return;
    if (out->action != LEASE_ACTION_NONE) node_send(world, node);
    node_schedule(world, node);
    if (out->action != LEASE_ACTION_NONE) node_clone_at_write(world, node);
}

static void node_answer(sim_world *world, sim_node *node, const sim_message *message) {
    lease_core_input input;
    memset(&input, 0, sizeof input);
    input.kind = message->action == LEASE_ACTION_READ ? LEASE_INPUT_READ_DONE
                                                      : LEASE_INPUT_WRITE_DONE;
    input.request_id = message->request_id;
    input.status = message->status;
    input.maybe_applied = message->maybe_applied;
    input.retry_after_ms = message->retry_after_ms;
    input.record = message->status == LEASE_OK ? &message->record : NULL;
    sim_trace(world, node, "is answered %u: %s", (unsigned)message->request_id,
              lease_status_name(message->status));
    node_step(world, node, &input);
}

static void node_timeout(sim_world *world, sim_node *node) {
    sim_message message;
    memset(&message, 0, sizeof message);
    message.action = node->shadow.pending;
    message.request_id = node->shadow.pending_id;
    message.status = LEASE_TIMEOUT;
    message.maybe_applied = node->shadow.pending != LEASE_ACTION_READ;
    node_answer(world, node, &message);
}

static void node_input(sim_world *world, sim_node *node, lease_input_kind kind) {
    lease_core_input input;
    memset(&input, 0, sizeof input);
    input.kind = kind;
    node_step(world, node, &input);
}

/* -- Life -------------------------------------------------------------------------------------- */

static void node_name(sim_world *world, sim_node *node) {
    bool keep = node->starts > 0 && world->config.same_identity &&
                sim_random_chance(&world->random_fault, 500);
    if (!keep) node->starts++;
    bool twin = world->config.twins && node->index == 1;
    char prefix[8] = {(char)('a' + (twin ? 0 : node->index)), '-', 0};
    /* The third one's names begin with a name of the first: who compares prefixes takes them. */
    if (node->index == 2) sim_copy(prefix, sizeof prefix, "a-1c-");
    sim_decimal(node->identity, sizeof node->identity, prefix, node->starts);
}

void sim_node_start(sim_world *world, sim_node *node) {
    node_name(world, node);
    node->incarnation++;
    node->alive = true;
    node->paused = false;
    node->unseen_pause = false;
    node->shown_stale = false;
    node->fooled = false;
    node->cloned = false;
    node->clone_at_write = false;
    node->origin = -1;
    node->inbox_count = 0;
    node->contend_us = SIM_NEVER;
    node->tick_us = SIM_NEVER;
    node->restart_us = SIM_NEVER;
    node->last_ms = sim_node_boot_ms(world, node);
    if (node->kind == SIM_PEER) {
        sim_peer_start(world, node);
        return;
    }
    sim_check_start(world, node);
    node->desc.identity = node->identity;
    memset(&node->core, world->fill, sizeof node->core);
    lease_error error;
    if (lease_core_init(&node->core, &node->desc, &error) != LEASE_OK) {
        sim_fail(world, node, "lease_core_init refuses D %d V %d P %d A %d tau %d: %s",
                 (int)node->desc.lease_duration_ms, (int)node->desc.renew_deadline_ms,
                 (int)node->desc.retry_period_ms, (int)node->desc.stop_budget_ms,
                 (int)node->desc.request_timeout_ms, error.message);
        return;
    }
    sim_trace(world, node, "starts, incarnation %u", (unsigned)node->incarnation);
    node_input(world, node, LEASE_INPUT_TICK);
}

/* The machine goes on: boot time has not seen the pause, wall time is set right at once. Work that
 * was told to end before the pause has no clock left that could tell it when. */
static void node_go_on(sim_node *node, int64_t now_us) {
    sim_clock *clock = &node->clock;
    if (clock->stopped_us == SIM_NEVER) return;
    if (!node->shadow.leading) node->shadow.work_until_ms = 0;
    int64_t before_us = sim_clock_boot_us(clock, now_us);
    clock->stopped_us = SIM_NEVER;
    int64_t unseen_us = sim_clock_boot_us(clock, now_us) - before_us;
    clock->hidden_us += unseen_us;
    clock->wall_offset_us += unseen_us;
}

void sim_node_crash(sim_world *world, sim_node *node) {
    sim_trace(world, node, "crashes");
    for (int32_t i = 0; i < node->inbox_count; i++) {
        sim_net_free(world, &world->net.pool[node->inbox[i]]);
    }
    node->inbox_count = 0;
    node_go_on(node, world->now_us);
    node->alive = false;
    node->paused = false;
    node->peer.renewing = false;
    node->wake_us = node->restart_us;
}

/* The process stands still. Boot time goes on, unless the whole machine stands still unseen. */
void sim_node_pause(sim_world *world, sim_node *node, int64_t span_us, bool machine) {
    sim_trace(world, node, "%s for %" PRId64 " ms", machine ? "machine pauses" : "pauses",
              span_us / 1000);
    node->paused = true;
    node->resume_us = world->now_us + span_us;
    node->wake_us = node->resume_us;
    if (!machine) return;
    node->unseen_pause = true;
    node->clock.stopped_us = world->now_us;
    if (sim_node_leads(world, node)) sim_hit(world, SIM_MACHINE_PAUSED);
}

void sim_node_release(sim_world *world, sim_node *node, int64_t contend_us) {
    sim_trace(world, node, "is asked to release");
    if (node->kind == SIM_PEER) {
        sim_peer_cancel(world, node);
        return;
    }
    node->contend_us = contend_us;
    node_input(world, node, LEASE_INPUT_RELEASE);
}

void sim_node_contend(sim_world *world, sim_node *node) {
    sim_trace(world, node, "is asked to contend");
    if (!node->shadow.release_told) sim_hit(world, SIM_CONTEND_EARLY);
    node->contend_us = SIM_NEVER;
    node_input(world, node, LEASE_INPUT_CONTEND);
}

/* From here on; what it has shown until then it goes on from. */
void sim_node_set_rate(sim_world *world, sim_node *node, int64_t rate_ppm) {
    if (node->clock.stopped_us != SIM_NEVER) return;
    int64_t before_us = sim_clock_boot_us(&node->clock, world->now_us);
    node->clock.rate_ppm = rate_ppm;
    node->clock.origin_us += before_us - sim_clock_boot_us(&node->clock, world->now_us);
    if (sim_node_leads(world, node)) sim_hit(world, SIM_RATE_CHANGED);
    if (node->alive && !node->paused) node->wake_us = world->now_us;
    sim_trace(world, node, "its clock runs at %+" PRId64 " ppm", rate_ppm);
}

/* lease.h refuses all work in a child, and the kernel has wiped the published page. */
void sim_node_fork(sim_world *world, sim_node *node, sim_node *child, int64_t until_us) {
    sim_trace(world, node, "forks");
    child->kind = SIM_CHILD;
    child->alive = true;
    child->clock = node->clock;
    child->wake_us = until_us;
    memcpy(child->identity, node->identity, sizeof child->identity);
    memset(&child->page, 0, sizeof child->page);
    memset(&child->shadow, 0, sizeof child->shadow);
    if (sim_node_leads(world, node)) sim_hit(world, SIM_FORKED);
    sim_judge_child(world, child);
}

static void node_exit(sim_node *child) {
    child->kind = SIM_SPARE;
    child->alive = false;
    child->wake_us = SIM_NEVER;
}

/* The end of all faults that sit in the node or around it. */
void sim_node_heal(sim_world *world, sim_node *node) {
    if (node->kind == SIM_CHILD) node_exit(node);
    if (node->kind == SIM_SPARE) return;
    node->cut_out_us = 0;
    node->cut_in_us = 0;
    node->refused_us = 0;
    if (node->busy_until_us > world->now_us) node->busy_until_us = world->now_us;
    if (!node->alive) node->restart_us = world->now_us;
    if (node->paused) node->resume_us = world->now_us;
    if (node->contend_us != SIM_NEVER) node->contend_us = world->now_us;
    node->tick_us = SIM_NEVER;
    node->wake_us = world->now_us;
}

/* -- The loop ---------------------------------------------------------------------------------- */

static void node_receive(sim_world *world, sim_node *node, sim_message *message) {
    bool current = node->alive && message->incarnation == node->incarnation;
    if (current && node->kind == SIM_PEER) {
        sim_peer_answer(world, node, message);
    } else if (current) {
        bool late = node->shadow.pending == LEASE_ACTION_NONE ||
                    node->shadow.pending_id != message->request_id;
        /* A real loop has closed that connection; the core must not rely on it. */
        if (!late || sim_random_chance(&world->random_fault, 500)) {
            if (late) sim_hit(world, SIM_LATE_ANSWER);
            node_answer(world, node, message);
        }
    }
    sim_net_free(world, message);
}

void sim_node_deliver(sim_world *world, sim_message *message) {
    sim_node *node = &world->nodes[message->node];
    if (!node->paused || message->incarnation != node->incarnation) {
        node_receive(world, node, message);
        return;
    }
    if (node->inbox_count == SIM_MAX_INBOX) {
        sim_net_free(world, message);
        return;
    }
    node->inbox[node->inbox_count++] = (uint16_t)(message - world->net.pool);
}

/* One thing that is due, if anything is; the schedule brings the next. */
static void node_turn(sim_world *world, sim_node *node) {
    if (node->kind == SIM_PEER) {
        sim_peer_act(world, node);
        return;
    }
    int64_t now_ms = sim_node_boot_ms(world, node);
    if (node->tick_us <= world->now_us) node->tick_us = SIM_NEVER;
    if (node->shadow.pending != LEASE_ACTION_NONE && now_ms >= node->shadow.give_up_ms) {
        node_timeout(world, node);
    } else if (node->contend_us <= world->now_us) {
        sim_node_contend(world, node);
    } else {
        node_input(world, node, LEASE_INPUT_TICK);
    }
}

/* After a pause everything is due at once, and comes in any order. */
static void node_resume(sim_world *world, sim_node *node) {
    node->paused = false;
    node_go_on(node, world->now_us);
    sim_trace(world, node, "goes on");
    if (node->kind != SIM_PEER && node->shadow.leading &&
        sim_node_boot_ms(world, node) >= node->shadow.valid_until_ms) {
        sim_hit(world, SIM_PAUSED_PAST_VALIDITY);
    }
    node->wake_us = world->now_us;
    bool timers_first = sim_random_chance(&world->random_fault, 500);
    if (timers_first) node_turn(world, node);
    while (node->inbox_count > 0 && !world->failed) {
        int32_t at = (int32_t)sim_random_range(&world->random_fault, 0, node->inbox_count - 1);
        sim_message *message = &world->net.pool[node->inbox[at]];
        node->inbox[at] = node->inbox[--node->inbox_count];
        node_receive(world, node, message);
    }
    if (!timers_first && !world->failed && node->wake_us <= world->now_us) node_turn(world, node);
}

/* What the node does at wake_us. */
void sim_node_act(sim_world *world, sim_node *node) {
    if (node->kind == SIM_CHILD) {
        sim_judge_child(world, node);
        node_exit(node);
    } else if (!node->alive) {
        sim_node_start(world, node);
    } else if (node->paused) {
        node_resume(world, node);
    } else {
        node_turn(world, node);
    }
}

/* Strictly: what lease_is_leader would say now, for client-go what OnStartedLeading believes. */
bool sim_node_leads(const sim_world *world, const sim_node *node) {
    if (!node->alive) return false;
    if (node->kind == SIM_PEER) return node->peer.renewing;
    return sim_node_boot_ms(world, node) < node->page.valid_until_ms;
}

/* May it be elected, now or when it is started again? */
bool sim_node_contends(const sim_node *node) {
    return node->kind == SIM_CANDIDATE || node->kind == SIM_PEER;
}
