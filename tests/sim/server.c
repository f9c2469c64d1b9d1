/* The API server, as far as one Lease is concerned (kubernetes pkg/registry/coordination/lease
 * strategy.go, apiserver pkg/registry/generic/registry store.go), and the admin. Writes go to one
 * store; reads may be answered from the caches of several front ends, which are behind. */
#include <string.h>

#include "sim.h"

/* -- Storage ----------------------------------------------------------------------------------- */

static void server_stamp(sim_world *world, bool new_uid) {
    sim_server *server = &world->server;
    /* Other objects move the revision too. */
    server->revision += (uint64_t)sim_random_range(&world->random_server, 1, 3);
    sim_decimal(server->record.resource_version, sizeof server->record.resource_version,
                world->config.opaque ? "v" : "", server->revision);
    if (new_uid) {
        server->uid++;
        server->terminating = false;
        sim_decimal(server->record.uid, sizeof server->record.uid, "uid-", server->uid);
    }
}

/* One more version for the caches of the front ends. */
static void server_remember(sim_world *world) {
    sim_past *past = &world->past;
    if (!sim_has(world, SIM_FAULT_STALE)) return;
    sim_version *version = &past->history[past->history_count++ % SIM_HISTORY];
    version->exists = world->server.exists;
    version->record = world->server.record;
}

/* What is there before the first candidate starts: nothing, an unheld Lease, or a dead holder's. */
void sim_server_init(sim_world *world) {
    sim_server *server = &world->server;
    sim_random *random = &world->random_config;
    static const uint64_t origins[] = {0, 1000, UINT64_C(4294967290), UINT64_C(2147483640),
                                       UINT64_C(9223372036854775800)};
    server->revision = origins[sim_random_range(random, 0, 4)];
    server->author = -1;
    int64_t what = sim_random_range(random, 0, 3);
    if (what == 0) return;
    server->exists = true;
    if (what >= 2) {
        sim_copy(server->record.holder_identity, sizeof server->record.holder_identity, "former");
        server->record.lease_duration_s = (int32_t)sim_random_range(random, 0, 40);
        server->record.acquire_time_us = INT64_C(1700000000000000);
        server->record.renew_time_us = INT64_C(1700000100000000);
        server->record.lease_transitions = (int32_t)sim_random_range(random, 0, 9);
        if (sim_random_chance(random, 100)) server->record.lease_transitions = INT32_MAX - 1;
    }
    server_stamp(world, true);
}

static bool server_valid(const lease_record *record) {
    return record->lease_duration_s > 0 && record->lease_transitions >= 0;
}

/* An admission webhook has its own opinion. */
static void server_alter(sim_world *world) {
    sim_server *server = &world->server;
    sim_random *random = &world->random_server;
    if (server->mood != SIM_MOOD_ALTER || !sim_random_chance(random, 500)) return;
    sim_hit(world, SIM_ALTERED);
    if (sim_random_chance(random, 500)) {
        sim_copy(server->record.holder_identity, sizeof server->record.holder_identity, "webhook");
        server->author = -1;
    } else {
        server->record.lease_duration_s += 5;
    }
}

/* Stores the record of a write. */
static void server_store(sim_world *world, sim_message *message, bool new_uid) {
    sim_server *server = &world->server;
    sim_server before = *server;
    bool coordinated = !new_uid && server->record.coordinated;
    bool mine_only = new_uid || server->record.mine_only;
    char uid[LEASE_MAX_VERSION + 1];
    memcpy(uid, server->record.uid, sizeof uid);
    server->record = message->record;
    memcpy(server->record.uid, uid, sizeof uid);
    server->record.coordinated = coordinated;
    server->record.mine_only = mine_only;
    server->exists = true;
    server->replaced = before.exists ? before.revision : 0;
    server->was_acquiring = message->acquiring;
    server->author = message->node;
    server->author_incarnation = message->incarnation;
    server_stamp(world, new_uid);
    message->applied = true;
    if (server->terminating) sim_hit(world, SIM_TERMINATING);
    if (message->node >= 0) {
        sim_judge_stored(world, message, &before);
        server_alter(world);
    }
    server_remember(world);
}

/* -- The verbs --------------------------------------------------------------------------------- */

static lease_status server_create(sim_world *world, sim_message *message) {
    sim_server *server = &world->server;
    if (server->exists) {
        if (server->replaced == 0 && server->author >= 0 && server->author != message->node) {
            sim_hit(world, SIM_RACE_CREATE);
        }
        return LEASE_ALREADY_EXISTS;
    }
    if (message->record.lease_transitions < 0 || message->record.lease_duration_s < 0) {
        return LEASE_INVALID;
    }
    server_store(world, message, true);
    return LEASE_OK;
}

/* Its sender has been shown something else than what is there. */
static lease_status server_conflict(sim_world *world, const sim_message *message) {
    const sim_server *server = &world->server;
    const char *version = message->record.resource_version;
    if (message->node < 0) return LEASE_CONFLICT;
    if (world->nodes[message->node].shown_stale) sim_hit(world, SIM_STALE_REFUSED);
    if (message->release) sim_hit(world, SIM_RELEASE_REFUSED);
    if (message->acquiring && server->was_acquiring && server->author != message->node) {
        char replaced[LEASE_MAX_VERSION + 1];
        sim_decimal(replaced, sizeof replaced, world->config.opaque ? "v" : "", server->replaced);
        if (strcmp(version, replaced) == 0) sim_hit(world, SIM_RACE_UPDATE);
    }
    return LEASE_CONFLICT;
}

static lease_status server_update(sim_world *world, sim_message *message) {
    sim_server *server = &world->server;
    const lease_record *record = &message->record;
    if (record->uid[0] != 0 && (!server->exists || strcmp(record->uid, server->record.uid) != 0)) {
        return server_conflict(world, message);
    }
    if (message->node >= 0 && !server_valid(record)) return LEASE_INVALID;
    if (!server->exists) { /* create on update: the version is not compared */
        sim_hit(world, SIM_PUT_CREATED);
        server_store(world, message, true);
        return LEASE_OK;
    }
    if (record->resource_version[0] == 0) {
        sim_hit(world, SIM_PUT_REFUSED);
        return LEASE_INVALID;
    }
    if (strcmp(record->resource_version, server->record.resource_version) != 0) {
        return server_conflict(world, message);
    }
    server_store(world, message, false);
    return LEASE_OK;
}

static lease_status server_execute(sim_world *world, sim_message *message) {
    switch (message->action) {
    case LEASE_ACTION_CREATE: return server_create(world, message);
    case LEASE_ACTION_UPDATE: return server_update(world, message);
    case LEASE_ACTION_READ: return world->server.exists ? LEASE_OK : LEASE_NOT_FOUND;
    case LEASE_ACTION_NONE: break;
    }
    return LEASE_UNEXPECTED;
}

/* In a bad mood most requests are answered with a failure; a 5xx may hide a write that was done. */
static bool server_refuse(sim_world *world, sim_message *message) {
    sim_server *server = &world->server;
    sim_random *random = &world->random_server;
    if (server->mood == SIM_MOOD_GOOD || server->mood == SIM_MOOD_ALTER) return false;
    if (sim_random_chance(random, 200)) return false;
    if (server->mood == SIM_MOOD_THROTTLE) {
        static const int32_t waits_ms[] = {0, 1000, 1000, 5000, 3600000, INT32_MAX};
        message->status = LEASE_THROTTLED;
        message->retry_after_ms = waits_ms[sim_random_range(random, 0, 5)];
        return true;
    }
    if (server->mood == SIM_MOOD_DENY) {
        message->status = server->denial;
        return true;
    }
    if (sim_random_chance(random, 400)) {
        server_execute(world, message);
        if (message->applied) sim_hit(world, SIM_ERROR_APPLIED);
    }
    message->status = LEASE_SERVER_ERROR;
    message->maybe_applied = message->action != LEASE_ACTION_READ;
    message->retry_after_ms = (int32_t)sim_random_range(random, 0, 2) * 1000;
    return true;
}

/* A read goes to any front end, and shows what its cache has seen. A cache never goes back, but the
 * next read may go to another one. Kubernetes answers a GET without resourceVersion from a quorum;
 * safety must not rest on that, since every decision is a compare-and-swap. */
static bool server_read_stale(sim_world *world, sim_message *message) {
    sim_past *past = &world->past;
    sim_random *random = &world->random_server;
    sim_node *node = &world->nodes[message->node];
    if (!sim_has(world, SIM_FAULT_STALE) || past->history_count == 0) return false;
    uint32_t newest = past->history_count - 1;
    uint32_t oldest = newest < SIM_HISTORY ? 0 : newest - (SIM_HISTORY - 1);
    uint32_t *at = &past->front_ends[sim_random_range(random, 0, SIM_FRONT_ENDS - 1)];
    if (*at < oldest) *at = oldest;
    bool up_to_date = sim_random_chance(random, 500);
    *at = up_to_date ? newest : (uint32_t)sim_random_range(random, *at, newest);
    const sim_version *version = &past->history[*at % SIM_HISTORY];
    message->status = version->exists ? LEASE_OK : LEASE_NOT_FOUND;
    message->record = version->record;
    if (*at < newest) sim_hit(world, SIM_STALE_READ);
    if (*at < node->shown) sim_hit(world, SIM_STALE_BACK);
    node->shown = *at;
    node->shown_stale = *at < newest;
    node->fooled = node->fooled || node->shown_stale;
    return true;
}

static void server_answer(sim_world *world, sim_message *message) {
    if (message->action == LEASE_ACTION_READ && server_read_stale(world, message)) return;
    message->status = server_execute(world, message);
    if (message->status == LEASE_OK) message->record = world->server.record;
}

void sim_server_handle(sim_world *world, sim_message *message) {
    const sim_node *node = &world->nodes[message->node];
    message->retry_after_ms = 0;
    message->maybe_applied = false;
    if (!server_refuse(world, message)) server_answer(world, message);
    sim_judge_arrival(world, message);
    sim_trace(world, node, "... server: request %u %s%s%s -> revision %llu held by \"%s\"",
              (unsigned)message->request_id, lease_status_name(message->status),
              message->applied ? ", applied" : "",
              message->action == LEASE_ACTION_READ && node->shown_stale ? ", stale" : "",
              (unsigned long long)world->server.revision,
              world->server.exists ? world->server.record.holder_identity : "(gone)");
    sim_hash(world, (uint64_t)message->status ^ world->server.revision << 8);
}

/* -- Moods ------------------------------------------------------------------------------------- */

void sim_server_mood(sim_world *world) {
    static const lease_status denials[] = {LEASE_UNAUTHORIZED, LEASE_FORBIDDEN,
                                           LEASE_NO_NAMESPACE, LEASE_INVALID};
    sim_server *server = &world->server;
    sim_random *random = &world->random_server;
    server->mood = SIM_MOOD_GOOD;
    if (sim_random_chance(random, 500)) return;
    switch (sim_random_range(random, 0, 4)) {
    case 0: if (sim_has(world, SIM_FAULT_ERRORS)) server->mood = SIM_MOOD_THROTTLE; break;
    case 1: if (sim_has(world, SIM_FAULT_ERRORS)) server->mood = SIM_MOOD_ERRORS; break;
    case 2: if (sim_has(world, SIM_FAULT_DENY)) server->mood = SIM_MOOD_DENY; break;
    case 3: if (sim_has(world, SIM_FAULT_ALTER)) server->mood = SIM_MOOD_ALTER; break;
    default: if (sim_has(world, SIM_FAULT_REFUSE)) server->mood = SIM_MOOD_DOWN; break;
    }
    server->denial = denials[sim_random_range(random, 0, 3)];
    static const char *const moods[] = {"well", "throttling", "failing", "denying", "altering",
                                        "down"};
    sim_trace(world, NULL, "the server is %s", moods[server->mood]);
}

void sim_server_heal(sim_world *world) {
    sim_server *server = &world->server;
    server->mood = SIM_MOOD_GOOD;
    if (!server->exists || !server->record.coordinated) return;
    server->record.coordinated = false;
    server_stamp(world, false);
}

/* -- The admin --------------------------------------------------------------------------------- */

static void admin_empty(sim_world *world, bool by_delete) {
    sim_server *server = &world->server;
    /* With strict_creation a deletion is survived; only client-go peers create at once then. */
    if (by_delete && world->config.strict_creation && !world->config.peers) return;
    server->emptied = server->revision;
    server->emptied_by = by_delete ? SIM_EXCUSED_DELETE : SIM_EXCUSED_CLEAR;
}

static void admin_edit_holder(sim_world *world) {
    sim_server *server = &world->server;
    sim_random *random = &world->random_server;
    const sim_node *node = &world->nodes[sim_random_range(random, 0, world->node_count - 1)];
    bool candidate = node->kind != SIM_PEER && node->alive && sim_random_chance(random, 300);
    /* With the time of its own last write, or release, an edit could not be told from that. */
    bool others_time = server->author >= 0 &&
                       strcmp(world->nodes[server->author].identity, node->identity) != 0 &&
                       strcmp(server->record.holder_identity, node->identity) != 0;
    sim_copy(server->record.holder_identity, sizeof server->record.holder_identity,
             candidate ? node->identity : "kubectl");
    if (!others_time || sim_random_chance(random, 500)) server->record.renew_time_us += 1;
    if (sim_random_chance(random, 100)) server->record.lease_transitions = INT32_MAX;
    server->author = -1;
}

static void admin_edit_duration(sim_world *world) {
    sim_server *server = &world->server;
    sim_random *random = &world->random_server;
    int32_t before = server->record.lease_duration_s;
    server->record.lease_duration_s = (int32_t)sim_random_range(random, 0, 3);
    if (sim_random_chance(random, 300)) {
        server->record.lease_duration_s = (int32_t)(world->config.duration_ms / 1000) + 7;
    }
    if (server->record.lease_duration_s < before) server->shortened = server->revision + 1;
}

/* What is gone is gone at once. Some put another Lease there in the same breath: from a manifest,
 * unheld, or held by whoever the manifest names. */
static void admin_delete(sim_world *world) {
    sim_server *server = &world->server;
    sim_random *random = &world->random_server;
    server->exists = false;
    server->terminating = false;
    server->author = -1;
    server->was_acquiring = false;
    memset(&server->record, 0, sizeof server->record);
    server_stamp(world, false);
    server_remember(world);
    admin_empty(world, true);
    if (!sim_random_chance(random, 300)) return;
    sim_hit(world, SIM_RECREATED);
    server->exists = true;
    server->replaced = 0;
    if (sim_random_chance(random, 500)) {
        sim_copy(server->record.holder_identity, sizeof server->record.holder_identity, "manifest");
        server->record.lease_duration_s = (int32_t)sim_random_range(random, 0, 20);
    }
    server_stamp(world, true);
    server_remember(world);
}

/* A Lease with a finalizer is only marked as deleted, and can be written as before, until somebody
 * takes the finalizer away. */
static void admin_finalize(sim_world *world) {
    sim_server *server = &world->server;
    if (server->terminating) {
        sim_hit(world, SIM_FINALIZED);
        admin_delete(world);
        return;
    }
    server->terminating = true;
    server_stamp(world, false);
    server_remember(world);
}

/* A tool writes the Lease as it once saw it, by a PUT without uid, and often without version. */
static void admin_replace(sim_world *world) {
    sim_server *server = &world->server;
    sim_random *random = &world->random_server;
    sim_version *kept = &world->past.tool;
    if (server->exists && (!kept->exists || sim_random_chance(random, 200))) {
        kept->exists = true;
        kept->author = server->author;
        kept->author_incarnation = server->author_incarnation;
        kept->record = server->record;
        return;
    }
    if (!kept->exists) return;
    sim_message message;
    memset(&message, 0, sizeof message);
    message.action = LEASE_ACTION_UPDATE;
    message.node = -1;
    message.record = kept->record;
    memset(message.record.uid, 0, sizeof message.record.uid);
    if (sim_random_chance(random, 400)) {
        memset(message.record.resource_version, 0, sizeof message.record.resource_version);
    }
    server_update(world, &message);
    if (!message.applied) return;
    server->author = kept->author;
    server->author_incarnation = kept->author_incarnation;
}

static void admin_edit(sim_world *world, sim_fault what) {
    sim_server *server = &world->server;
    switch (what) {
    case SIM_FAULT_LABELS: server->record.mine_only = !server->record.mine_only; break;
    case SIM_FAULT_STORM:
        server->storm_until_us =
            world->now_us + sim_random_range(&world->random_server, 0, 5000000);
        break;
    case SIM_FAULT_EDIT: admin_edit_holder(world); break;
    case SIM_FAULT_CLEAR:
        sim_copy(server->record.holder_identity, sizeof server->record.holder_identity, "");
        server->author = -1;
        break;
    case SIM_FAULT_DURATION: admin_edit_duration(world); break;
    case SIM_FAULT_STRATEGY: server->record.coordinated = !server->record.coordinated; break;
    default: break;
    }
    server->was_acquiring = false;
    server_stamp(world, false);
    server_remember(world);
    if (what == SIM_FAULT_CLEAR) admin_empty(world, false);
}

static bool admin_may(const sim_world *world, sim_fault what, bool storm) {
    const sim_server *server = &world->server;
    if (storm) return server->exists;
    return sim_has(world, what) && (server->exists || what == SIM_FAULT_REPLACE);
}

void sim_admin_act(sim_world *world) {
    static const sim_fault deeds[] = {
        SIM_FAULT_LABELS,   SIM_FAULT_STORM,    SIM_FAULT_EDIT,      SIM_FAULT_CLEAR,
        SIM_FAULT_DELETE,   SIM_FAULT_DURATION, SIM_FAULT_STRATEGY,  SIM_FAULT_FINALIZER,
        SIM_FAULT_REPLACE};
    sim_server *server = &world->server;
    sim_fault what = deeds[sim_random_range(&world->random_server, 0, 8)];
    if (!sim_has(world, what) && sim_has(world, SIM_FAULT_DURATION)) what = SIM_FAULT_DURATION;
    /* Whoever sets spec.strategy takes it away again, or there is nothing more to see. */
    if (server->exists && server->record.coordinated) what = SIM_FAULT_STRATEGY;
    bool storm = server->storm_until_us > world->now_us;
    if (storm) what = SIM_FAULT_LABELS;
    if (!admin_may(world, what, storm)) return;
    if (server->terminating && what == SIM_FAULT_DELETE) what = SIM_FAULT_FINALIZER;
    switch (what) {
    case SIM_FAULT_DELETE: admin_delete(world); break;
    case SIM_FAULT_FINALIZER: admin_finalize(world); break;
    case SIM_FAULT_REPLACE: admin_replace(world); break;
    default: admin_edit(world, what); break;
    }
    sim_trace(world, NULL, "the admin: %s: revision %llu held by \"%s\" for %d s%s%s",
              sim_fault_text(what), (unsigned long long)server->revision,
              server->exists ? server->record.holder_identity : "(gone)",
              (int)server->record.lease_duration_s, server->record.coordinated ? ", strategy" : "",
              server->terminating ? ", terminating" : "");
    sim_hash(world, (uint64_t)what ^ server->revision << 8);
}
