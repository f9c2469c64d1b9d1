/* client-go's elector, as seen from the server: tools/leaderelection leaderelection.go, functions
 * acquire, renew, release and tryAcquireOrRenew, with the cached object of resourcelock.LeaseLock.
 * What it does that ours must not do is kept: validity counted from the answer plus a period,
 * creation on a 404 at once, a release that writes over whatever a fresh read has brought. */
#include <string.h>

#include "sim.h"

enum {
    PEER_IDLE,        /* no request under way; next_ms is the next try */
    PEER_FAST,        /* PUT over the cached object */
    PEER_GET,
    PEER_POST,
    PEER_PUT,
    PEER_RELEASE_GET,
    PEER_RELEASE_PUT
};

static int64_t peer_now_ms(const sim_world *world, const sim_node *node) {
    return sim_node_boot_ms(world, node);
}

static void peer_schedule(sim_world *world, sim_node *node) {
    const sim_peer *peer = &node->peer;
    int64_t at_ms = peer->stage == PEER_IDLE ? peer->next_ms : peer->give_up_ms;
    if (peer->renewing && peer->deadline_ms < at_ms) at_ms = peer->deadline_ms;
    int64_t at_us = sim_clock_when_us(&node->clock, at_ms);
    node->wake_us = at_us > world->now_us ? at_us : world->now_us;
}

static bool peer_is_leader(const sim_node *node) {
    return strcmp(node->peer.observed.holder_identity, node->identity) == 0;
}

static bool peer_is_valid(const sim_peer *peer, int64_t now_ms) {
    return peer->observed_ms + (int64_t)peer->observed.lease_duration_s * 1000 > now_ms;
}

static void peer_observe(sim_world *world, sim_node *node, const lease_record *record) {
    node->peer.observed = *record;
    node->peer.observed_ms = peer_now_ms(world, node);
}

/* metav1.Time has whole seconds. */
static bool peer_same_raw(const lease_record *a, const lease_record *b) {
    return strcmp(a->holder_identity, b->holder_identity) == 0 &&
           a->lease_duration_s == b->lease_duration_s &&
           a->acquire_time_us / 1000000 == b->acquire_time_us / 1000000 &&
           a->renew_time_us / 1000000 == b->renew_time_us / 1000000 &&
           a->lease_transitions == b->lease_transitions;
}

static void peer_send(sim_world *world, sim_node *node, int32_t stage, lease_action action,
                      const lease_record *write) {
    sim_peer *peer = &node->peer;
    int64_t limit_ms = node->desc.renew_deadline_ms / 2;
    if (limit_ms < 1000) limit_ms = 1000;
    peer->stage = stage;
    peer->give_up_ms = peer_now_ms(world, node) + limit_ms;
    sim_message request;
    memset(&request, 0, sizeof request);
    request.node = node->index;
    request.incarnation = node->incarnation;
    request.request_id = ++peer->requests;
    request.action = action;
    if (write) request.record = *write;
    request.release = stage == PEER_RELEASE_PUT;
    request.blind = request.release || stage == PEER_FAST;
    request.acquiring = write && !request.release && !peer->renewing;
    sim_trace(world, node, "(client-go) sends %u: %s \"%s\" over %s", (unsigned)peer->requests,
              action == LEASE_ACTION_READ ? "GET" : action == LEASE_ACTION_CREATE ? "POST" : "PUT",
              request.record.holder_identity, request.record.resource_version);
    sim_net_request(world, node, &request);
}

/* LeaseLock.Update: the cached object with its spec replaced. */
static void peer_put(sim_world *world, sim_node *node, int32_t stage) {
    lease_record write = node->peer.wanted;
    memcpy(write.uid, node->peer.object.uid, sizeof write.uid);
    memcpy(write.resource_version, node->peer.object.resource_version,
           sizeof write.resource_version);
    peer_send(world, node, stage, LEASE_ACTION_UPDATE, &write);
}

/* -- The two loops ----------------------------------------------------------------------------- */

static void peer_try(sim_world *world, sim_node *node) {
    sim_peer *peer = &node->peer;
    peer->try_ms = peer_now_ms(world, node);
    memset(&peer->wanted, 0, sizeof peer->wanted);
    sim_copy(peer->wanted.holder_identity, sizeof peer->wanted.holder_identity, node->identity);
    peer->wanted.lease_duration_s = node->desc.lease_duration_ms / 1000;
    peer->wanted.renew_time_us = sim_node_wall_us(world, node);
    peer->wanted.acquire_time_us = peer->wanted.renew_time_us;
    if (peer_is_leader(node) && peer_is_valid(peer, peer->try_ms) && peer->cached) {
        peer->wanted.acquire_time_us = peer->observed.acquire_time_us;
        peer->wanted.lease_transitions = peer->observed.lease_transitions;
        peer_put(world, node, PEER_FAST);
        return;
    }
    peer_send(world, node, PEER_GET, LEASE_ACTION_READ, NULL);
}

static void peer_stop_leading(sim_world *world, sim_node *node) {
    sim_trace(world, node, "(client-go) stops leading");
    node->peer.renewing = false;
    node->peer.stage = PEER_IDLE;
    node->peer.next_ms = peer_now_ms(world, node) + node->desc.retry_period_ms;
}

static void peer_tried(sim_world *world, sim_node *node, bool success) {
    sim_peer *peer = &node->peer;
    int64_t now_ms = peer_now_ms(world, node);
    int64_t period_ms = node->desc.retry_period_ms;
    peer->stage = PEER_IDLE;
    if (success) {
        bool began = !peer->renewing;
        peer->renewing = true;
        peer->next_ms = began ? now_ms : now_ms + period_ms;
        peer->deadline_ms = peer->next_ms + node->desc.renew_deadline_ms;
        peer->tick_ms = peer->next_ms;
        if (!began) return;
        world->stats->elections++;
        sim_trace(world, node, "(client-go) leads");
        sim_hit(world, SIM_PEER_LED);
        sim_judge_leaders(world, node);
    } else if (peer->renewing) {
        peer->tick_ms += period_ms;
        if (peer->tick_ms < now_ms) peer->tick_ms = now_ms;
        peer->next_ms = peer->tick_ms;
    } else {
        peer->next_ms = now_ms + period_ms +
                        sim_random_range(&world->random_peer, 0, period_ms * 12 / 10);
    }
}

/* -- Answers ----------------------------------------------------------------------------------- */

static void peer_wrote(sim_world *world, sim_node *node, const sim_message *message) {
    sim_peer *peer = &node->peer;
    bool fast = peer->stage == PEER_FAST;
    if (message->status == LEASE_OK) {
        peer->object = message->record;
        peer->cached = true;
        peer_observe(world, node, &peer->wanted);
        peer_tried(world, node, true);
    } else if (fast) {
        peer_send(world, node, PEER_GET, LEASE_ACTION_READ, NULL);
    } else {
        peer_tried(world, node, false);
    }
}

static void peer_read(sim_world *world, sim_node *node, const sim_message *message) {
    sim_peer *peer = &node->peer;
    if (message->status == LEASE_NOT_FOUND) {
        peer_send(world, node, PEER_POST, LEASE_ACTION_CREATE, &peer->wanted);
        return;
    }
    if (message->status != LEASE_OK) {
        peer_tried(world, node, false);
        return;
    }
    const lease_record *record = &message->record;
    peer->object = *record;
    peer->cached = true;
    if (!peer->observed_any || !peer_same_raw(&peer->raw, record)) {
        peer->observed_any = true;
        peer->raw = *record;
        peer_observe(world, node, record);
    }
    if (record->holder_identity[0] != 0 && peer_is_valid(peer, peer->try_ms) &&
        !peer_is_leader(node)) {
        peer_tried(world, node, false);
        return;
    }
    peer->wanted.lease_transitions = record->lease_transitions;
    if (peer_is_leader(node)) {
        peer->wanted.acquire_time_us = record->acquire_time_us;
    } else if (record->lease_transitions < INT32_MAX) {
        peer->wanted.lease_transitions++;
    }
    peer_put(world, node, PEER_PUT);
}

/* The fetched holder is never compared with its own name. */
static void peer_release_read(sim_world *world, sim_node *node, const sim_message *message) {
    sim_peer *peer = &node->peer;
    if (message->status != LEASE_OK || !peer_is_leader(node)) {
        peer_stop_leading(world, node);
        return;
    }
    peer->object = message->record;
    memset(&peer->wanted, 0, sizeof peer->wanted);
    peer->wanted.lease_duration_s = 1;
    peer->wanted.lease_transitions = message->record.lease_transitions;
    peer->wanted.renew_time_us = sim_node_wall_us(world, node);
    peer->wanted.acquire_time_us = peer->wanted.renew_time_us;
    peer_put(world, node, PEER_RELEASE_PUT);
}

static void peer_released(sim_world *world, sim_node *node, const sim_message *message) {
    if (message->status == LEASE_CONFLICT &&
        peer_now_ms(world, node) < node->peer.deadline_ms) {
        peer_send(world, node, PEER_RELEASE_GET, LEASE_ACTION_READ, NULL);
        return;
    }
    if (message->status == LEASE_OK) peer_observe(world, node, &node->peer.wanted);
    peer_stop_leading(world, node);
    /* Whoever starts it again takes his time, so that others can be elected. */
    node->peer.next_ms += 5 * (int64_t)node->desc.retry_period_ms;
}

void sim_peer_answer(sim_world *world, sim_node *node, const sim_message *message) {
    sim_peer *peer = &node->peer;
    if (peer->stage == PEER_IDLE || message->request_id != peer->requests) return;
    sim_trace(world, node, "(client-go) is answered %u: %s", (unsigned)message->request_id,
              lease_status_name(message->status));
    sim_hash(world, (uint64_t)world->now_us ^ (uint64_t)peer->stage << 56);
    switch (peer->stage) {
    case PEER_FAST:
    case PEER_POST:
    case PEER_PUT: peer_wrote(world, node, message); break;
    case PEER_GET: peer_read(world, node, message); break;
    case PEER_RELEASE_GET: peer_release_read(world, node, message); break;
    default: peer_released(world, node, message); break;
    }
    peer_schedule(world, node);
}

/* -- Life -------------------------------------------------------------------------------------- */

void sim_peer_start(sim_world *world, sim_node *node) {
    memset(&node->peer, 0, sizeof node->peer);
    sim_trace(world, node, "(client-go) starts");
    node->peer.next_ms = peer_now_ms(world, node);
    peer_schedule(world, node);
}

void sim_peer_act(sim_world *world, sim_node *node) {
    sim_peer *peer = &node->peer;
    int64_t now_ms = peer_now_ms(world, node);
    bool releasing = peer->stage == PEER_RELEASE_GET || peer->stage == PEER_RELEASE_PUT;
    if (peer->renewing && now_ms >= peer->deadline_ms) {
        peer_stop_leading(world, node);
    } else if (peer->stage == PEER_IDLE) {
        if (now_ms >= peer->next_ms) peer_try(world, node);
    } else if (now_ms >= peer->give_up_ms) {
        sim_message timeout;
        memset(&timeout, 0, sizeof timeout);
        timeout.status = LEASE_TIMEOUT;
        timeout.request_id = peer->requests;
        if (releasing) {
            peer_stop_leading(world, node);
        } else {
            sim_peer_answer(world, node, &timeout);
        }
    }
    peer_schedule(world, node);
}

/* The context is cancelled with ReleaseOnCancel set: it goes on believing that it leads until the
 * release is done. */
void sim_peer_cancel(sim_world *world, sim_node *node) {
    if (!node->peer.renewing) return;
    node->peer.deadline_ms = peer_now_ms(world, node) + node->desc.renew_deadline_ms;
    peer_send(world, node, PEER_RELEASE_GET, LEASE_ACTION_READ, NULL);
    peer_schedule(world, node);
}
