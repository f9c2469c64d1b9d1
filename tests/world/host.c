/* Processes: a client, its event loop, its callbacks, its life and death. */
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "world.h"

/* -- What the client is given ------------------------------------------------------------------ */

static int64_t host_boot_ms(void *context) {
    const world_host *host = (const world_host *)context;
    return world_boot_ms(host->world, host);
}

static int64_t host_hook_wall_us(void *context) {
    const world_host *host = (const world_host *)context;
    return world_wall_us(host->world, host);
}

static bool host_random(void *context, void *bytes, size_t count) {
    world_host *host = (world_host *)context;
    for (size_t i = 0; i < count; i++) {
        ((unsigned char *)bytes)[i] = (unsigned char)(world_random_next(&host->random) >> 56);
    }
    return true;
}

static void host_log(lease_log_level level, const char *message, void *user) {
    const world_host *host = (const world_host *)user;
    (void)level;
    world_judge_secret(host->world, host, message, "the log");
    world_trace(host->world, host, "log: %s", message);
}

/* -- Commands ---------------------------------------------------------------------------------- */

/* A command of another thread must end the wait of a loop that sleeps in poll. */
static void host_poke(world_world *world, world_host *host) {
    struct pollfd fds[LEASE_MAX_FDS];
    world_judge_credit(host, 3);
    host->moved = true;
    if (host->turning) return;
    const size_t count = lease_client_fds(host->client, fds, LEASE_MAX_FDS);
    if (count == 0 || poll(fds, 1, 0) != 1 || lease_client_wait_ms(host->client) != 0) {
        world_fail(world, host, "a command does not wake the loop");
    }
    host->timer_us = world->now_us;
}

static bool host_has_twin(const world_host *host, int32_t slot) {
    for (int32_t i = 0; i < WORLD_MAX_LEASES; i++) {
        if (i != slot && host->plan[i] == host->plan[slot]) return true;
    }
    return false;
}

/* What callbacks do besides listening. self may be gone after it. */
static void host_meddle(world_world *world, world_lease *one, lease_event_kind kind) {
    world_random *random = &world->random_fault;
    world_host *host = one->host;
    const bool wild = kind == LEASE_EVENT_ACQUIRED || kind == LEASE_EVENT_LOST ||
                      kind == LEASE_EVENT_RENEWED || kind == LEASE_EVENT_RELEASED;
    if (!wild || !world_strikes(world, random, WORLD_FAULT_CALLBACK, 50)) return;
    for (int32_t i = 0; i < WORLD_MAX_LEASES; i++) {
        if (host->plan[i] < 0 || host->leases[i].used) continue;
        world_lease_create(world, host, i);
        world_hit(world, WORLD_CALLBACK_CREATE);
        return;
    }
    if (world_random_chance(random, 400)) {
        world_hit(world, WORLD_CALLBACK_DESTROY);
        world_lease_destroy(world, one);
    } else if (!one->asked_release) {
        world_hit(world, WORLD_CALLBACK_RELEASE);
        world_lease_release(world, one, world->now_us + world_random_range(random, 0, 3000000));
    }
}

static void host_on_event(lease *self, const lease_event *event, void *user) {
    world_lease *one = (world_lease *)user;
    world_world *world = one->host->world;
    one->host->moved = true;
    if (!one->used || one->self != self) {
        world_fail(world, one->host, "event %d for a lease that is gone", (int)event->kind);
        return;
    }
    world_judge_event(world, one, event);
    host_meddle(world, one, event->kind);
}

/* Unique for each lease, or for each process start and slot in it. */
static void host_name(const world_world *world, const world_host *host, world_lease *one,
                      int32_t slot) {
    const uint32_t serial = world->config.same_identity ? 0 : one->serial;
    snprintf(one->identity, sizeof one->identity, "%c%u-%d.%u", 'a' + (int)host->index,
             (unsigned)host->starts, (int)slot, (unsigned)serial);
}

void world_lease_create(world_world *world, world_host *host, int32_t slot) {
    world_lease *one = &host->leases[slot];
    const world_timing *timing = &world->config.timing[0];
    lease_error error;
    lease_desc desc;
    if (world->config.mixed && (host->index + slot) % 2 == 1) timing = &world->config.timing[1];
    memset(one, 0, sizeof *one);
    one->used = true;
    one->host = host;
    one->serial = ++world->serials;
    one->name = host->plan[slot];
    one->timing = *timing;
    one->observer = (host->observers >> slot & 1u) != 0;
    one->twin = host_has_twin(host, slot);
    one->contend_us = one->doom_us = WORLD_NEVER;
    one->asked_us = -1;
    one->active_ms = world_boot_ms(world, host);
    host_name(world, host, one, slot);
    memset(&desc, 0, sizeof desc);
    desc.name = world_name(one->name);
    desc.ns = WORLD_NS;
    desc.identity = one->identity;
    desc.lease_duration_ms = timing->duration_ms;
    desc.renew_deadline_ms = timing->deadline_ms;
    desc.retry_period_ms = timing->retry_ms;
    desc.stop_budget_ms = timing->stop_ms;
    desc.strict_creation = world->config.strict_creation;
    desc.observe_only = one->observer;
    desc.max_fail_open_ms = world->config.max_fail_open_ms;
    desc.labels = world->config.labels ? "app=world,example.com/of=" WORLD_NS : NULL;
    desc.on_event = host_on_event;
    desc.user = one;
    world_trace(world, host, "creates a lease %s as %s%s", desc.name, one->identity,
                one->observer ? ", to observe" : "");
    if (lease_create(host->client, &desc, &one->self, &error) != LEASE_OK) {
        world_fail(world, host, "lease_create: %s", error.message);
        one->used = false;
        return;
    }
    host_poke(world, host);
}

static void lease_told(world_lease *one) {
    one->active_ms = world_boot_ms(one->host->world, one->host);
    one->not_before_ms = 0;
}

/* It is asked for when the work has ended. */
void world_lease_release(world_world *world, world_lease *one, int64_t contend_us) {
    world_trace(world, one->host, "releases %s as %s", world_name(one->name), one->identity);
    one->contend_us = contend_us;
    one->work_until_ms = 0;
    one->asked_release = true;
    one->release_untold = !one->aside; /* who stands aside is told nothing more */
    one->contending = false;
    lease_told(one);
    if (lease_release(one->self) != LEASE_OK) world_fail(world, one->host, "lease_release");
    if (lease_is_leader(one->self)) world_fail(world, one->host, "leads after lease_release");
    host_poke(world, one->host);
}

void world_lease_contend(world_world *world, world_lease *one) {
    world_trace(world, one->host, "contends for %s as %s", world_name(one->name), one->identity);
    one->contend_us = WORLD_NEVER;
    one->asked_release = one->release_applied = false;
    one->contending = true;
    lease_told(one);
    if (lease_contend(one->self) != LEASE_OK) world_fail(world, one->host, "lease_contend");
    host_poke(world, one->host);
}

void world_lease_destroy(world_world *world, world_lease *one) {
    world_host *host = one->host;
    const world_wire *wire = host->wire;
    world_trace(world, host, "destroys the lease %s as %s", world_name(one->name), one->identity);
    if (wire != NULL && wire->busy && wire->request.name == one->name) {
        world_hit(world, WORLD_DESTROYED_BUSY);
    }
    one->used = false;
    lease_destroy(one->self);
    host_poke(world, host);
}

bool world_lease_leads(const world_lease *one) {
    return one->used && one->host->alive && lease_is_leader(one->self);
}

world_lease *world_lease_by_serial(world_world *world, uint32_t serial) {
    for (int32_t i = 0; i < world->host_count; i++) {
        for (int32_t j = 0; j < WORLD_MAX_LEASES; j++) {
            world_lease *one = &world->hosts[i].leases[j];
            if (one->used && one->serial == serial) return one;
        }
    }
    return NULL;
}

world_lease *world_leader(world_world *world, int32_t name) {
    const world_object *object = &world->objects[name];
    world_lease *one = world_lease_by_serial(world, object->author);
    if (one == NULL || strcmp(one->identity, object->holder) != 0) return NULL;
    return world_lease_leads(one) ? one : NULL;
}

/* -- The loop ---------------------------------------------------------------------------------- */

static int64_t host_lateness_us(world_world *world) {
    world_random *random = &world->random_fault;
    if (!world_strikes(world, random, WORLD_FAULT_LAZY, 300)) return 0;
    const int64_t most_ms =
        world_random_chance(random, 900) ? 5 : world->config.timing[0].retry_ms;
    return world_random_range(random, 0, 1000 * most_ms);
}

bool world_host_stops(const world_host *host) { return host->resume_us != WORLD_NEVER; }

/* Only what the client polls for wakes its loop, so that a wrong wish is a lost wake-up here. */
void world_host_notify(world_world *world, world_host *host) {
    const world_wire *wire = host->wire;
    if (wire == NULL || host->turning || !host->alive || world->config.no_descriptor) return;
    if (!world_wire_is_ready(world, wire, host->poll_events)) return;
    host->ready_us =
        world_least(host->ready_us, world->now_us + host_lateness_us(world));
}

/* What the loop waits for, from the client itself. */
static void host_ask_fds(world_world *world, world_host *host) {
    struct pollfd fds[LEASE_MAX_FDS];
    const size_t count = lease_client_fds(host->client, fds, LEASE_MAX_FDS);
    const bool expected = host->wire != NULL && !world->config.no_descriptor;
    if (count != (expected ? 2u : 1u)) {
        world_fail(world, host, "%zu descriptors to poll, with %s connection", count,
                   host->wire != NULL ? "a" : "no");
        return;
    }
    host->poll_events = expected ? fds[1].events : 0;
}

static void host_count_turn(world_world *world, world_host *host) {
    host->fruitless = host->moved ? 0 : host->fruitless + 1;
    world->stats->turns++;
    if (host->fruitless > 100 && !world->config.no_descriptor) {
        world_fail(world, host, "turns its loop again and again for nothing");
    }
}

static void host_turn(world_world *world, world_host *host) {
    world_wire *wire = host->wire;
    host->ready_us = WORLD_NEVER;
    host->moved = false;
    host->turning = true;
    if (wire != NULL) wire->unread = !wire->busy && wire->in.arrived > 0;
    const lease_status status = lease_client_poll(host->client, 0);
    host->turning = false;
    if (status != LEASE_OK) world_fail(world, host, "lease_client_poll says %d", (int)status);
    host_count_turn(world, host);
    if (world->failed) return;
    const int32_t wait_ms = lease_client_wait_ms(host->client);
    world_hash(world, (uint64_t)world->now_us ^ (uint64_t)host->index << 56);
    world_hash(world, (uint64_t)wait_ms);
    host_ask_fds(world, host);
    world_judge_turn(world, host, wait_ms);
    host->timer_us = world->now_us;
    if (wait_ms > 0) {
        host->timer_us = world_when_us(host, world_boot_ms(world, host) + wait_ms);
        host->timer_us += host_lateness_us(world);
    }
    world_host_notify(world, host);
}

/* -- Life -------------------------------------------------------------------------------------- */

static void host_choose_server(world_world *world, world_host *host) {
    static const struct {
        const char *url, *address, *header;
        uint16_t port;
    } servers[] = {{"https://api.example:6443", "api.example", "api.example:6443", 6443},
                   {"https://192.0.2.7", "192.0.2.7", "192.0.2.7:443", 443},
                   {"https://[2001:db8::7]:8443/", "2001:db8::7", "[2001:db8::7]:8443", 8443}};
    const int64_t which = world_random_range(&world->random_host, 0, 2);
    if (host->server != NULL && host->server != servers[which].url) {
        world_hit(world, WORLD_RENAMED);
    }
    host->server = servers[which].url;
    host->address = servers[which].address;
    host->host_header = servers[which].header;
    host->port = servers[which].port;
}

static void host_create_client(world_world *world, world_host *host) {
    lease_transport transport = world_transport;
    const lease_hooks hooks = {host, host_boot_ms, host_hook_wall_us, host_random};
    lease_client_desc desc;
    lease_error error;
    memset(&desc, 0, sizeof desc);
    transport.context = host;
    transport.verified_peer = !host->stranger;
    desc.server = host->server;
    desc.token_file = world_token_path();
    desc.request_timeout_ms = world->config.timeout_ms;
    desc.transport = &transport;
    desc.hooks = &hooks;
    desc.log = host_log;
    desc.log_user = host;
    if (lease_client_create(&desc, &host->client, &error) != LEASE_OK) {
        world_fail(world, host, "lease_client_create: %s", error.message);
    }
}

void world_host_start(world_world *world, world_host *host) {
    const bool keep = host->starts > 0 && world->config.same_identity &&
                      world_random_chance(&world->random_host, 500);
    if (keep) world_hit(world, WORLD_RESTARTED_SAME);
    if (!keep) host->starts++;
    host->incarnation++;
    host->alive = true;
    host->opened = host->closed = 0;
    host->wire = NULL;
    host->crashing = false;
    host->fruitless = 0;
    host->restart_us = host->resume_us = host->ready_us = host->shut_us = WORLD_NEVER;
    host->stale_us = host->refused_answer_us = -1;
    host->credit = 0;
    host->credit_us = world->now_us;
    host_choose_server(world, host);
    world_trace(world, host, "starts, for %s%s", host->server, host->stranger ? ", blindly" : "");
    host_create_client(world, host);
    if (world->failed) return;
    for (int32_t i = 0; i < WORLD_MAX_LEASES; i++) {
        if (host->plan[i] >= 0) world_lease_create(world, host, i);
        if (host->plan[i] >= 0) world_judge_credit(host, 14);
    }
}

static void host_measure(world_world *world, const world_host *host) {
    static char text[65536];
    const lease_metrics_format format =
        world->serials % 2 == 0 ? LEASE_METRICS_TEXT : LEASE_METRICS_OPENMETRICS;
    const size_t length = lease_metrics_write(host->client, format, text, sizeof text);
    if (length >= sizeof text || length != strlen(text)) {
        world_fail(world, host, "metrics of %zu bytes", length);
    }
    world_judge_secret(world, host, text, "the metrics");
    world_hash(world, length);
}

/* The process is gone, one way or another. */
void world_host_end(world_world *world, world_host *host) {
    if (!host->alive) return;
    host_measure(world, host);
    lease_client_destroy(host->client);
    host->client = NULL;
    host->alive = false;
    host->timer_us = host->ready_us = host->resume_us = host->shut_us = WORLD_NEVER;
    for (int32_t i = 0; i < WORLD_MAX_LEASES; i++) host->leases[i].used = false;
    if (host->wire != NULL || host->opened != host->closed) {
        world_fail(world, host, "%d connections are open at the end",
                   (int)(host->opened - host->closed));
    }
}

void world_host_crash(world_world *world, world_host *host) {
    world_trace(world, host, "crashes");
    host->crashing = true;
    world_host_end(world, host);
}

void world_host_pause(world_world *world, world_host *host, int64_t span_us) {
    world_trace(world, host, "stops for %" PRId64 " ms", span_us / 1000);
    host->resume_us = world->now_us + span_us;
}

/* Ends in order: everything is released first. */
void world_host_shut(world_world *world, world_host *host) {
    world_trace(world, host, "is to end");
    host->shut_us = world->now_us + 2000 * (int64_t)world->config.timing[0].duration_ms;
    for (int32_t i = 0; i < WORLD_MAX_LEASES; i++) {
        world_lease *one = &host->leases[i];
        if (one->used) world_lease_release(world, one, WORLD_NEVER);
    }
}

static bool host_all_released(const world_host *host) {
    for (int32_t i = 0; i < WORLD_MAX_LEASES; i++) {
        if (host->leases[i].used && host->leases[i].release_untold) return false;
    }
    return true;
}

static void host_stop(world_world *world, world_host *host) {
    lease_client_stop(host->client);
    host->moved = false;
    if (lease_client_poll(host->client, 0) != LEASE_STOPPED || host->moved) {
        world_fail(world, host, "a stopped client goes on");
    }
    world_hit(world, WORLD_STOPPED);
}

static void host_watch_end(world_world *world, world_host *host) {
    const bool released = host_all_released(host);
    if (!released && host->shut_us > world->now_us) return;
    if (released) world_hit(world, WORLD_SHUTDOWN);
    if (world_random_chance(&world->random_host, 500)) host_stop(world, host);
    world_trace(world, host, "ends%s", released ? "" : " without an answer to its releases");
    world_host_end(world, host);
    host->restart_us = world->now_us + world_random_range(&world->random_host, 0, 3000000);
}

static void host_resume(world_world *world, world_host *host) {
    world_trace(world, host, "goes on");
    host->resume_us = WORLD_NEVER;
    for (int32_t i = 0; i < WORLD_MAX_LEASES; i++) {
        const world_lease *one = &host->leases[i];
        if (one->used && one->leading && world_boot_ms(world, host) >= one->valid_until_ms) {
            world_hit(world, WORLD_PAUSED_LEADER);
        }
    }
    host_turn(world, host);
}

/* A lease that is to be told something now. */
static world_lease *host_due_lease(world_world *world, world_host *host) {
    for (int32_t i = 0; i < WORLD_MAX_LEASES; i++) {
        world_lease *one = &host->leases[i];
        if (one->used && world_least(one->contend_us, one->doom_us) <= world->now_us) return one;
    }
    return NULL;
}

int64_t world_host_next_us(const world_host *host) {
    if (!host->alive) return host->restart_us;
    if (world_host_stops(host)) return host->resume_us;
    int64_t next_us = world_least(host->timer_us, host->ready_us);
    for (int32_t i = 0; i < WORLD_MAX_LEASES; i++) {
        const world_lease *one = &host->leases[i];
        if (!one->used) continue;
        next_us = world_least(next_us, world_least(one->contend_us, one->doom_us));
    }
    return world_least(next_us, host->shut_us);
}

/* What the host does at its next instant. */
void world_host_act(world_world *world, world_host *host) {
    if (!host->alive) {
        world_host_start(world, host);
        return;
    }
    if (world_host_stops(host)) {
        host_resume(world, host);
        return;
    }
    world_lease *due = host_due_lease(world, host);
    if (due != NULL && due->doom_us <= world->now_us) {
        world_lease_destroy(world, due);
        return;
    }
    if (due != NULL) {
        world_lease_contend(world, due);
        return;
    }
    if (world_least(host->timer_us, host->ready_us) <= world->now_us) host_turn(world, host);
    if (host->shut_us != WORLD_NEVER && !world->failed) host_watch_end(world, host);
}

/* The end of all faults that sit in the host or around it. */
void world_host_heal(world_world *world, world_host *host) {
    host->cut_out_us = host->cut_in_us = host->refused_us = 0;
    if (!host->alive) {
        host->restart_us = world->now_us;
        return;
    }
    if (world_host_stops(host)) host->resume_us = world->now_us;
    if (host->shut_us != WORLD_NEVER) return;
    for (int32_t i = 0; i < WORLD_MAX_LEASES; i++) {
        world_lease *one = &host->leases[i];
        if (!one->used && host->plan[i] >= 0) world_lease_create(world, host, i);
        if (one->contend_us != WORLD_NEVER) one->contend_us = world->now_us;
        one->doomed = false;
        one->doom_us = WORLD_NEVER;
    }
}
