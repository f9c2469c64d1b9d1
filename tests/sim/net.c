/* Messages under way. A request that is lost, an answer that is lost, a request that arrives twice
 * or a minute after its sender has given it up: the sender sees the same silence. */
#include <string.h>

#include "sim.h"

/* -- The heap: earliest first, the older one among equals -------------------------------------- */

static bool net_before(const sim_net *net, int32_t a, int32_t b) {
    const sim_message *x = &net->pool[net->heap[a]];
    const sim_message *y = &net->pool[net->heap[b]];
    if (x->deliver_us != y->deliver_us) return x->deliver_us < y->deliver_us;
    return x->order < y->order;
}

static void net_swap(sim_net *net, int32_t a, int32_t b) {
    uint16_t kept = net->heap[a];
    net->heap[a] = net->heap[b];
    net->heap[b] = kept;
}

static void net_push(sim_net *net, sim_message *message) {
    message->order = net->order++;
    int32_t at = net->heap_count++;
    net->heap[at] = (uint16_t)(message - net->pool);
    while (at > 0 && net_before(net, at, (at - 1) / 2)) {
        net_swap(net, at, (at - 1) / 2);
        at = (at - 1) / 2;
    }
}

sim_message *sim_net_pop(sim_world *world) {
    sim_net *net = &world->net;
    sim_message *first = &net->pool[net->heap[0]];
    net->heap[0] = net->heap[--net->heap_count];
    int32_t at = 0;
    for (;;) {
        int32_t least = at;
        int32_t left = 2 * at + 1;
        if (left < net->heap_count && net_before(net, left, least)) least = left;
        if (left + 1 < net->heap_count && net_before(net, left + 1, least)) least = left + 1;
        if (least == at) break;
        net_swap(net, at, least);
        at = least;
    }
    return first;
}

int64_t sim_net_next_us(const sim_world *world) {
    const sim_net *net = &world->net;
    return net->heap_count > 0 ? net->pool[net->heap[0]].deliver_us : SIM_NEVER;
}

/* -- The pool ---------------------------------------------------------------------------------- */

void sim_net_init(sim_world *world) {
    sim_net *net = &world->net;
    net->heap_count = 0;
    net->free_count = SIM_MAX_MESSAGES;
    for (int32_t i = 0; i < SIM_MAX_MESSAGES; i++) {
        net->pool[i].used = false;
        net->free_list[i] = (uint16_t)(SIM_MAX_MESSAGES - 1 - i);
    }
}

/* NULL when too many are under way: as good as lost. */
static sim_message *net_take(sim_net *net, const sim_message *content) {
    if (net->free_count == 0) return NULL;
    sim_message *message = &net->pool[net->free_list[--net->free_count]];
    *message = *content;
    message->used = true;
    return message;
}

void sim_net_free(sim_world *world, sim_message *message) {
    message->used = false;
    world->net.free_list[world->net.free_count++] = (uint16_t)(message - world->net.pool);
}

/* Everything that is under way is lost; the inboxes of the nodes are not touched. */
void sim_net_clear(sim_world *world) {
    sim_net *net = &world->net;
    while (net->heap_count > 0) sim_net_free(world, &net->pool[net->heap[--net->heap_count]]);
}

/* -- The way there and back -------------------------------------------------------------------- */

static int64_t net_delay_us(sim_world *world, const sim_node *node, bool request) {
    sim_random *random = &world->random_net;
    if (request && sim_has(world, SIM_FAULT_LATE) && sim_random_chance(random, 30)) {
        return sim_random_range(random, 0, 60000000);
    }
    if (sim_has(world, SIM_FAULT_SLOW) && sim_random_chance(random, 150)) {
        return sim_random_range(random, 0, (int64_t)node->desc.request_timeout_ms * 2500);
    }
    return sim_random_range(random, 100, world->config.latency_us);
}

static bool net_lost(sim_world *world) {
    return sim_has(world, SIM_FAULT_LOSS) && sim_random_chance(&world->random_net, 80);
}

/* The sender learns at once that nothing has left. */
static void net_refuse(sim_world *world, const sim_message *request) {
    static const lease_status refusals[] = {LEASE_CONNECT, LEASE_RESOLVE, LEASE_CONNECT,
                                            LEASE_TLS};
    sim_message *message = net_take(&world->net, request);
    if (!message) return;
    message->answer = true;
    message->no_effect = true;
    message->status = refusals[sim_random_range(&world->random_net, 0, 3)];
    message->deliver_us = world->now_us + sim_random_range(&world->random_net, 100, 20000);
    net_push(&world->net, message);
}

/* An answer that is none. The write may have been applied: nobody can tell. */
static lease_status net_spoil(sim_world *world) {
    static const lease_status spoiled[] = {LEASE_CLOSED, LEASE_CLOSED, LEASE_CLOSED, LEASE_HTTP,
                                           LEASE_JSON, LEASE_TOO_LARGE, LEASE_WRONG_OBJECT,
                                           LEASE_REDIRECT, LEASE_UNEXPECTED};
    if (!sim_has(world, SIM_FAULT_RESET) || !sim_random_chance(&world->random_net, 60)) {
        return LEASE_OK;
    }
    return spoiled[sim_random_range(&world->random_net, 0, 8)];
}

/* One way of the two is cut, and a leader has nothing to notice it by. */
static void net_count_cut(sim_world *world, const sim_node *node) {
    bool out = node->cut_out_us > world->now_us;
    if (out == (node->cut_in_us > world->now_us) || !sim_node_leads(world, node)) return;
    sim_hit(world, out ? SIM_CUT_REQUESTS : SIM_CUT_ANSWERS);
}

void sim_net_request(sim_world *world, sim_node *node, const sim_message *request) {
    world->stats->requests++;
    if (request->action != LEASE_ACTION_READ && world->now_us > world->takeover_us) {
        world->takeover_writes++;
    }
    if (node->refused_us > world->now_us || world->server.mood == SIM_MOOD_DOWN) {
        net_refuse(world, request);
        return;
    }
    if (node->cut_out_us > world->now_us || net_lost(world)) {
        net_count_cut(world, node);
        sim_trace(world, node, "... request %u is lost", (unsigned)request->request_id);
        return;
    }
    int32_t copies = 1;
    if (sim_has(world, SIM_FAULT_DUPLICATE) && sim_random_chance(&world->random_net, 80)) {
        copies = 2;
        sim_hit(world, SIM_DUPLICATED);
    }
    for (int32_t i = 0; i < copies; i++) {
        sim_message *message = net_take(&world->net, request);
        if (!message) return;
        message->forced = net_spoil(world);
        message->deliver_us = world->now_us + net_delay_us(world, node, true);
        net_push(&world->net, message);
    }
}

/* Takes the message over: it goes on as an answer, or is freed. */
void sim_net_answer(sim_world *world, sim_message *message) {
    sim_node *node = &world->nodes[message->node];
    if (node->cut_in_us > world->now_us || net_lost(world)) {
        net_count_cut(world, node);
        sim_trace(world, node, "... the answer to %u is lost", (unsigned)message->request_id);
        if (message->applied) {
            sim_hit(world, message->release ? SIM_RELEASE_UNKNOWN : SIM_ANSWER_LOST_APPLIED);
        }
        sim_net_free(world, message);
        return;
    }
    if (message->forced != LEASE_OK) {
        message->status = message->forced;
        message->maybe_applied = message->action != LEASE_ACTION_READ;
        message->retry_after_ms = 0;
    }
    message->answer = true;
    message->deliver_us = world->now_us + net_delay_us(world, node, false);
    net_push(&world->net, message);
}
