/* Connections: the lease_transport, and bytes under way in both directions. */
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "world.h"

#define WIRE_MAX_BLOCKS 3 /* of one request */

/* -- Descriptors -------------------------------------------------------------------------------
 * A wire is no file, but the library hands its descriptor to poll. What these say there is always
 * "ready"; the world itself knows better, and turns the loop only when something has come. */

static int wire_fds[WORLD_MAX_WIRES];

bool world_wires_init(void) {
    for (int i = 0; i < WORLD_MAX_WIRES; i++) {
        wire_fds[i] = open("/dev/null", O_RDWR | O_CLOEXEC);
        if (wire_fds[i] < 0) return false;
    }
    return true;
}

/* -- Bytes under way --------------------------------------------------------------------------- */

static int64_t wire_delay_us(world_world *world) {
    world_random *random = &world->random_net;
    const int64_t latency_us = world->config.latency_us;
    int64_t delay_us = world_random_range(random, latency_us / 4, latency_us);
    if (world_strikes(world, random, WORLD_FAULT_SLOW, 100)) {
        delay_us += world_random_range(random, 0, 2000 * (int64_t)world->config.timeout_ms);
    }
    if (world_strikes(world, random, WORLD_FAULT_LATE, 20)) {
        delay_us += world_random_range(random, 0, 60000000);
    }
    return delay_us;
}

/* When something sent now arrives. What is cut off comes when the way is open again. */
static int64_t wire_arrival_us(world_world *world, const world_wire *wire, bool outward) {
    const world_host *host = wire->host;
    const int64_t cut_us = outward ? host->cut_out_us : host->cut_in_us;
    return world_most(world->now_us, cut_us) + wire_delay_us(world);
}

static world_segment *stream_last(world_stream *stream) {
    return &stream->segments[(stream->first + stream->count - 1) % WORLD_MAX_SEGMENTS];
}

/* Bytes sent at one instant travel together, unless they are to come apart. */
static bool stream_joins(const world_world *world, world_stream *stream, world_segment_kind kind,
                         bool apart) {
    if (stream->count == 0 || kind != WORLD_SEGMENT_DATA) return false;
    if (stream_last(stream)->kind != WORLD_SEGMENT_DATA) return false;
    if (stream->count >= WORLD_MAX_SEGMENTS - 4) return true;
    return stream->put_us == world->now_us && !apart;
}

static void stream_put(world_world *world, world_wire *wire, bool outward, world_segment_kind kind,
                       size_t count, bool apart) {
    world_stream *stream = outward ? &wire->out : &wire->in;
    stream->length += count;
    if (stream_joins(world, stream, kind, apart)) {
        stream_last(stream)->count += count;
        stream->put_us = world->now_us;
        return;
    }
    if (stream->count == WORLD_MAX_SEGMENTS) stream->count--;
    const int64_t at_us = wire_arrival_us(world, wire, outward);
    stream->last_us = world_most(stream->last_us, at_us);
    stream->put_us = world->now_us;
    stream->count++;
    *stream_last(stream) = (world_segment){kind, stream->last_us, count};
}

static int64_t stream_next_us(const world_stream *stream) {
    return stream->count > 0 ? stream->segments[stream->first].at_us : WORLD_NEVER;
}

static world_segment stream_pop(world_stream *stream) {
    const world_segment segment = stream->segments[stream->first];
    stream->first = (stream->first + 1) % WORLD_MAX_SEGMENTS;
    stream->count--;
    return segment;
}

static void stream_drop(world_stream *stream) {
    stream->length = stream->arrived = 0;
    stream->count = 0;
}

/* What has not arrived never will. */
static void stream_lose(world_stream *stream) {
    stream->length = stream->arrived;
    stream->count = 0;
}

/* The server sends. */
void world_wire_send(world_world *world, world_wire *wire, const char *bytes, size_t count) {
    world_random *random = &world->random_net;
    if (wire->silent || wire->deaf || !wire->open) return;
    while (count > 0) {
        size_t piece = count;
        if (world_strikes(world, random, WORLD_FAULT_CUT, 300)) {
            piece = (size_t)world_random_range(random, 1, (int64_t)count);
            if (piece < count) world_hit(world, WORLD_CUT_ANSWER);
        }
        if (piece > WORLD_MAX_ANSWER - wire->in.length) return;
        if (world_strikes(world, random, WORLD_FAULT_BLOCK, 100)) {
            stream_put(world, wire, false, WORLD_SEGMENT_NUDGE, 0, true);
        }
        memcpy(wire->in_bytes + wire->in.length, bytes, piece);
        stream_put(world, wire, false, WORLD_SEGMENT_DATA, piece, true);
        bytes += piece;
        count -= piece;
    }
}

/* The server ends the connection, in order or not. */
void world_wire_end(world_world *world, world_wire *wire, world_segment_kind kind) {
    wire->server_closed = true;
    wire->hold_us = wire->idle_us = wire->extra_us = WORLD_NEVER;
    if (wire->silent || wire->deaf || !wire->open) return;
    stream_put(world, wire, false, kind, 0, true);
}

/* -- Arrivals ---------------------------------------------------------------------------------- */

static void wire_reach_client(world_world *world, world_wire *wire) {
    const world_segment segment = stream_pop(&wire->in);
    if (!wire->open) return;
    switch (segment.kind) {
    case WORLD_SEGMENT_DATA: wire->in.arrived += segment.count; break;
    case WORLD_SEGMENT_END: wire->in.ended = true; break;
    case WORLD_SEGMENT_NUDGE: wire->nudged = true; break;
    case WORLD_SEGMENT_RESET:
        stream_drop(&wire->in);
        wire->in.reset = true;
        break;
    }
    const bool over = wire->in.ended || wire->in.reset;
    if (over && wire->carried && wire->taken_bytes == 0) {
        world_judge_credit(wire->host, 1);
    }
    world_host_notify(world, wire->host);
}

static void wire_reach_server(world_world *world, world_wire *wire) {
    const world_segment segment = stream_pop(&wire->out);
    if (segment.kind != WORLD_SEGMENT_DATA) {
        if (wire->out.arrived > 0 && !wire->handled) world_hit(world, WORLD_HALF_SENT);
        wire->server_closed = true;
        return;
    }
    if (wire->server_closed) {
        world_wire_end(world, wire, WORLD_SEGMENT_RESET);
        return;
    }
    wire->out.arrived += segment.count;
    wire->out_bytes[wire->out.length] = '\0';
    if (wire->hold_us != WORLD_NEVER) {
        world_fail(world, wire->host, "sends behind a request without an answer");
        return;
    }
    if (world_message_length(wire->out_bytes, wire->out.arrived) == 0) {
        world_hit(world, WORLD_CUT_REQUEST);
        if (world_strikes(world, &world->random_net, WORLD_FAULT_RESET, 50)) {
            world_hit(world, WORLD_RESET_REQUEST);
            world_wire_end(world, wire, WORLD_SEGMENT_RESET);
        }
        return;
    }
    world_server_handle(world, wire, false);
}

static void wire_close_idle(world_world *world, world_wire *wire) {
    wire->idle_us = WORLD_NEVER;
    if (wire->server_closed || wire->out.arrived > 0) return;
    world_hit(world, WORLD_IDLE_CLOSED);
    world_trace(world, wire->host, "wire %d: the server closes it",
                (int)wire->number);
    world_wire_end(world, wire, WORLD_SEGMENT_END);
}

/* Bytes that nobody has asked for. The next request would take them for its answer. */
static void wire_add_extra(world_world *world, world_wire *wire) {
    static const char text[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
    wire->extra_us = WORLD_NEVER;
    const bool wanted = (wire->host->poll_events & POLLOUT) != 0; /* a request begins just now */
    const bool moving = wire->busy || wanted || wire->in.length > wire->in.arrived;
    if (moving || !wire->open || wire->server_closed) return;
    memcpy(wire->in_bytes + wire->in.length, text, sizeof text - 1);
    wire->in.length += sizeof text - 1;
    wire->in.arrived += sizeof text - 1;
    world_hit(world, WORLD_EXTRA_IDLE);
    world_trace(world, wire->host, "wire %d: bytes come unasked", (int)wire->number);
    world_host_notify(world, wire->host);
}

/* The next edge for which the client is to be woken; EDGE_COUNT = none. */
static world_edge wire_edge(const world_wire *wire) {
    world_edge next = WORLD_EDGE_COUNT;
    if (!wire->open) return next;
    for (int i = 0; i < WORLD_EDGE_COUNT; i++) {
        if (wire->fired[i] || wire->edges_us[i] == WORLD_NEVER) continue;
        if (next == WORLD_EDGE_COUNT || wire->edges_us[i] < wire->edges_us[next]) {
            next = (world_edge)i;
        }
    }
    return next;
}

int64_t world_wire_next_us(const world_wire *wire) {
    const world_edge edge = wire_edge(wire);
    int64_t at_us = edge != WORLD_EDGE_COUNT ? wire->edges_us[edge] : WORLD_NEVER;
    at_us = world_least(at_us, stream_next_us(&wire->out));
    at_us = world_least(at_us, stream_next_us(&wire->in));
    at_us = world_least(at_us, world_least(wire->hold_us, wire->idle_us));
    return world_least(at_us, wire->extra_us);
}

/* One thing of those that are due. */
void world_wire_act(world_world *world, world_wire *wire) {
    const int64_t now_us = world->now_us;
    const world_edge edge = wire_edge(wire);
    if (edge != WORLD_EDGE_COUNT && wire->edges_us[edge] <= now_us) {
        wire->fired[edge] = true;
        if (edge == WORLD_EDGE_READY) wire->nudged = true; /* the last record of the handshake */
        world_host_notify(world, wire->host);
    } else if (stream_next_us(&wire->out) <= now_us) {
        wire_reach_server(world, wire);
    } else if (stream_next_us(&wire->in) <= now_us) {
        wire_reach_client(world, wire);
    } else if (wire->hold_us <= now_us) {
        wire->hold_us = WORLD_NEVER;
        world_server_handle(world, wire, true);
    } else if (wire->extra_us <= now_us) {
        wire_add_extra(world, wire);
    } else {
        wire_close_idle(world, wire);
    }
    if (!wire->open && wire->out.count == 0 && wire->hold_us == WORLD_NEVER) wire->used = false;
}

static bool wire_has_passed(const world_world *world, const world_wire *wire, world_edge edge) {
    return wire->edges_us[edge] <= world->now_us;
}

/* What poll would say of it. */
bool world_wire_is_ready(const world_world *world, const world_wire *wire, short events) {
    if (wire->in.reset || wire_has_passed(world, wire, WORLD_EDGE_FATE)) return true;
    if (!wire_has_passed(world, wire, WORLD_EDGE_CONNECTED)) return false;
    const bool writable = wire_has_passed(world, wire, WORLD_EDGE_WRITABLE);
    if ((events & POLLOUT) != 0 && writable) return true;
    if ((events & POLLIN) == 0) return false;
    return wire->in.arrived > 0 || wire->in.ended || wire->nudged;
}

/* -- Opening ----------------------------------------------------------------------------------- */

/* A free one; else the oldest of those that the client has left behind. */
static world_wire *wire_take(world_world *world) {
    world_wire *oldest = NULL;
    for (int i = 0; i < WORLD_MAX_WIRES; i++) {
        world_wire *wire = &world->wires[i];
        if (!wire->used) return wire;
        if (!wire->open && (oldest == NULL || wire->number < oldest->number)) oldest = wire;
    }
    return oldest;
}

static int64_t wire_grain(world_world *world) {
    static const int64_t grains[] = {WORLD_MAX_ANSWER, WORLD_MAX_ANSWER, 0, 0, 1, 7, 100};
    if (!world_has(world, WORLD_FAULT_CUT)) return WORLD_MAX_ANSWER;
    return grains[world_random_range(&world->random_net, 0, 6)];
}

/* How the opening goes on, if it does not fail at once. */
static void wire_choose_fate(world_world *world, const world_host *host, world_wire *wire) {
    world_random *random = &world->random_net;
    const bool cut = world_most(host->cut_out_us, host->cut_in_us) > world->now_us;
    const bool hangs = world_strikes(world, random, WORLD_FAULT_HANG, 100);
    const int64_t connected_us = wire_arrival_us(world, wire, true) + wire_delay_us(world);
    const int64_t ready_us = connected_us + wire_delay_us(world) + wire_delay_us(world);
    for (int i = 0; i < WORLD_EDGE_COUNT; i++) wire->edges_us[i] = WORLD_NEVER;
    if (hangs || (cut && world_random_chance(random, 500))) {
        world_hit(world, WORLD_HUNG);
        return;
    }
    wire->edges_us[WORLD_EDGE_CONNECTED] = connected_us;
    if (world_strikes(world, random, WORLD_FAULT_REFUSE, 50)) {
        wire->fate = LEASE_CONNECT;
        wire->edges_us[WORLD_EDGE_CONNECTED] = WORLD_NEVER;
        wire->edges_us[WORLD_EDGE_FATE] = connected_us;
        world_hit(world, WORLD_REFUSED);
    } else if (world_strikes(world, random, WORLD_FAULT_PEER, 150)) {
        wire->fate = world_random_chance(random, 800) ? LEASE_CERTIFICATE : LEASE_TLS;
        wire->edges_us[WORLD_EDGE_FATE] = ready_us;
        world_hit(world, WORLD_WRONG_PEER);
    } else {
        wire->edges_us[WORLD_EDGE_READY] = ready_us;
        wire->edges_us[WORLD_EDGE_WRITABLE] = connected_us;
    }
}

static lease_status wire_refuse(world_host *host, lease_status status, lease_error *error) {
    world_world *world = host->world;
    host->open_failed_ms = world_boot_ms(world, host);
    host->stale_us = -1;
    error->status = status;
    error->stage = LEASE_STAGE_CONNECT;
    snprintf(error->message, sizeof error->message, "the world: %s", lease_status_text(status));
    world_hit(world, WORLD_REFUSED);
    world_trace(world, host, "cannot open: %s", lease_status_name(status));
    return status;
}

/* It takes over a request that a kept connection has lost. */
static void wire_inherit(world_wire *wire, const world_host *host) {
    wire->again = true;
    world_hit(host->world, WORLD_STALE);
    wire->attempt_us = host->stale_attempt_us;
    wire->attempt_ms = host->stale_attempt_ms;
}

static lease_status wire_open(void *context, const char *address, uint16_t port,
                              void **connection, lease_error *error) {
    world_host *host = (world_host *)context;
    world_world *world = host->world;
    world_random *random = &world->random_net;
    const bool refuses = host->refused_us > world->now_us;
    *connection = NULL;
    host->moved = true;
    if (strcmp(address, host->address) != 0 || port != host->port) {
        world_fail(world, host, "opens a connection to %s:%u", address, (unsigned)port);
    }
    if (host->wire != NULL) world_fail(world, host, "opens a second connection");
    world_judge_attempt(world, host);
    if (refuses || world_strikes(world, random, WORLD_FAULT_REFUSE, 30)) {
        const bool name = world_random_chance(random, 300);
        return wire_refuse(host, name ? LEASE_RESOLVE : LEASE_CONNECT, error);
    }
    world_wire *wire = wire_take(world);
    memset(wire, 0, offsetof(world_wire, ask));
    wire->used = wire->open = true;
    wire->host = host;
    wire->number = ++world->wire_number;
    wire->hold_us = wire->idle_us = wire->extra_us = WORLD_NEVER;
    wire->grain = wire_grain(world);
    wire->attempt_us = world->now_us;
    wire->attempt_ms = world_boot_ms(world, host);
    if (host->stale_us == world->now_us) wire_inherit(wire, host);
    host->stale_us = -1;
    wire_choose_fate(world, host, wire);
    host->wire = wire;
    host->opened++;
    *connection = wire;
    world_trace(world, host, "opens wire %d", (int)wire->number);
    return LEASE_OK;
}

/* -- Sending ----------------------------------------------------------------------------------- */

static int32_t wire_broken(lease_status status, lease_error *error) {
    error->status = status;
    error->stage = LEASE_STAGE_EXCHANGE;
    snprintf(error->message, sizeof error->message, "the world: %s", lease_status_text(status));
    return LEASE_IO_FAILED;
}

/* What both functions say before bytes can move; 0 = they can. */
static int32_t wire_stage(world_world *world, world_wire *wire, lease_error *error) {
    if (!wire->open) world_fail(world, NULL, "uses wire %d, which it has closed", wire->number);
    if (wire_has_passed(world, wire, WORLD_EDGE_FATE)) return wire_broken(wire->fate, error);
    if (!wire_has_passed(world, wire, WORLD_EDGE_CONNECTED)) return LEASE_IO_WANT_WRITE;
    if (!wire_has_passed(world, wire, WORLD_EDGE_READY)) return LEASE_IO_WANT_READ;
    return 0;
}

static size_t wire_piece(world_world *world, const world_wire *wire, size_t count) {
    if (wire->whole) return count;
    if (wire->grain == 0) return (size_t)world_random_range(&world->random_net, 1, (int64_t)count);
    return count < (size_t)wire->grain ? count : (size_t)wire->grain;
}

static void wire_begin(world_world *world, world_host *host, world_wire *wire) {
    world_random *random = &world->random_net;
    if (wire->unread) world_fail(world, host, "sends a request over unread bytes");
    if (wire->announced) world_fail(world, host, "uses a connection whose end was announced");
    if (wire->carried) {
        world_judge_attempt(world, host);
        wire->attempt_us = world->now_us;
        wire->attempt_ms = world_boot_ms(world, host);
    }
    const bool repeats = host->refused_answer_us == world->now_us && wire->request.again;
    memset(&wire->request, 0, sizeof wire->request);
    wire->request.begun_us = wire->attempt_us;
    wire->request.begun_ms = wire->attempt_ms;
    wire->request.rate_ppm = host->clock.rate_ppm;
    wire->request.incarnation = host->incarnation;
    wire->request.again = wire->again || repeats;
    wire->again = false;
    wire->busy = true;
    wire->asked = wire->asked_total = 0;
    wire->blocks = 0;
    wire->answer_bytes = wire->taken_bytes = 0;
    wire->handled = false;
    wire->cross_in = world_strikes(world, random, WORLD_FAULT_BLOCK, 100);
    wire->cross_out = world_strikes(world, random, WORLD_FAULT_BLOCK, 100);
    if (world_strikes(world, random, WORLD_FAULT_SILENCE, 30)) {
        wire->silent = true;
        world_hit(world, WORLD_HALF_OPEN);
        world_trace(world, host, "wire %d falls silent", (int)wire->number);
    }
    if (wire->grain == 1) world_hit(world, WORLD_BYTE_BY_BYTE);
    if (world->config.no_descriptor) world_hit(world, WORLD_NO_DESCRIPTOR);
}

/* Takes over bytes of the request: for the referee, and for the way. */
static void wire_accept(world_world *world, world_host *host, world_wire *wire, const char *bytes,
                        size_t count) {
    if (wire->asked + count > WORLD_MAX_REQUEST || wire->asked_total > 0) {
        world_fail(world, host, "sends bytes behind its request");
        return;
    }
    memcpy(wire->ask + wire->asked, bytes, count);
    wire->asked += count;
    wire->ask[wire->asked] = '\0';
    if (!wire->silent && wire->out.length + count <= WORLD_MAX_REQUEST) {
        memcpy(wire->out_bytes + wire->out.length, bytes, count);
        stream_put(world, wire, true, WORLD_SEGMENT_DATA, count,
                   world_strikes(world, &world->random_net, WORLD_FAULT_CUT, 100));
    }
    /* A request without body ends with its head, one with a body with a brace. */
    const char last = bytes[count - 1];
    if (wire->asked_total > 0 || (last != '\n' && last != '}')) return;
    wire->asked_total = world_message_length(wire->ask, wire->asked);
    if (wire->asked_total == 0) return;
    if (wire->asked > wire->asked_total) world_fail(world, host, "sends two requests at once");
    world_take_request(world, host, wire);
}

static int32_t wire_send(void *connection, const void *bytes, size_t count, lease_error *error) {
    world_wire *wire = (world_wire *)connection;
    world_host *host = wire->host;
    world_world *world = host->world;
    wire->nudged = false;
    const int32_t stage = wire_stage(world, wire, error);
    if (stage != 0) return stage;
    if (count == 0) world_fail(world, host, "sends nothing");
    if (wire->busy && wire->asked_total > 0) {
        world_fail(world, host, "sends a second request before the answer to the first");
    }
    if (!wire->busy) wire_begin(world, host, wire);
    wire->told_end = wire->in.reset;
    if (wire->in.reset) return wire_broken(LEASE_CLOSED, error);
    if (!wire_has_passed(world, wire, WORLD_EDGE_WRITABLE)) return LEASE_IO_WANT_WRITE;
    if (wire->cross_out) {
        wire->cross_out = false;
        wire->nudged = true;
        world_hit(world, WORLD_CROSSED);
        return LEASE_IO_WANT_READ;
    }
    const size_t piece = wire_piece(world, wire, count);
    host->moved = true;
    wire_accept(world, host, wire, (const char *)bytes, piece);
    if (piece < count && wire->blocks < WIRE_MAX_BLOCKS &&
        world_strikes(world, &world->random_net, WORLD_FAULT_BLOCK, 50)) {
        wire->blocks++;
        wire->edges_us[WORLD_EDGE_WRITABLE] =
            world->now_us + world_random_range(&world->random_net, 1, world->config.latency_us);
        wire->fired[WORLD_EDGE_WRITABLE] = false;
        world_hit(world, WORLD_BLOCKED);
    }
    return (int32_t)piece;
}

/* -- Receiving --------------------------------------------------------------------------------- */

static void wire_end_exchange(world_world *world, world_host *host, world_wire *wire,
                              bool answered) {
    const int64_t now_ms = world_boot_ms(world, host);
    wire->busy = false;
    wire->carried = true;
    if (answered && wire->refused) host->refused_answer_us = world->now_us;
    if (!wire->request.known) host->open_failed_ms = now_ms;
    for (int i = 0; i < WORLD_MAX_LEASES; i++) {
        world_lease *one = &host->leases[i];
        if (!one->used || one->name != wire->request.name || !wire->request.known) continue;
        one->active_ms = now_ms;
        /* A read of a Lease that two of them stand for is not the leader's. */
        if (!one->twin || !one->leading || wire->request.author == one->serial) {
            one->asked_us = wire->attempt_us;
        }
        if (!answered || one->twin) continue;
        one->not_before_ms = now_ms + world_least(wire->retry_ms, one->timing.retry_ms);
    }
}

static int32_t wire_recv(void *connection, void *bytes, size_t capacity, lease_error *error) {
    world_wire *wire = (world_wire *)connection;
    world_host *host = wire->host;
    world_world *world = host->world;
    world_stream *in = &wire->in;
    const bool nudged = wire->nudged;
    wire->nudged = false;
    const int32_t stage = wire_stage(world, wire, error);
    if (stage != 0) return stage;
    wire->told_end = in->reset || (in->arrived == 0 && in->ended);
    if (in->reset) return wire_broken(LEASE_CLOSED, error);
    if (wire->told_end) return LEASE_IO_CLOSED;
    if (in->arrived == 0) {
        if (nudged && wire->busy) world_hit(world, WORLD_RECORD_LATE);
        return LEASE_IO_WANT_READ;
    }
    if (wire->cross_in && wire->busy) {
        wire->cross_in = false;
        world_hit(world, WORLD_CROSSED);
        return LEASE_IO_WANT_WRITE;
    }
    const size_t count =
        wire_piece(world, wire, in->arrived < capacity ? in->arrived : capacity);
    memcpy(bytes, wire->in_bytes, count);
    memmove(wire->in_bytes, wire->in_bytes + count, in->length - count);
    in->length -= count;
    in->arrived -= count;
    wire->taken_bytes += count;
    host->moved = true;
    if (wire->busy && wire->answer_bytes > 0 && wire->taken_bytes >= wire->answer_bytes) {
        wire_end_exchange(world, host, wire, true);
    }
    return (int32_t)count;
}

/* -- Closing ----------------------------------------------------------------------------------- */

/* The request under way has no answer, and will have none. */
static void wire_abandon(world_world *world, world_host *host, world_wire *wire) {
    const int64_t end_ms = wire->attempt_ms + world->config.timeout_ms;
    wire->request.given_up = true;
    if (world_boot_ms(world, host) >= end_ms) world_hit(world, WORLD_GAVE_UP);
    const bool over = wire->in.ended || wire->in.reset;
    if (wire->told_end && wire->carried && wire->taken_bytes == 0 && !wire->request.again) {
        host->stale_us = world->now_us;
        host->stale_attempt_us = wire->attempt_us;
        host->stale_attempt_ms = wire->attempt_ms;
    }
    if (over && wire->taken_bytes > 0 && wire->answer_bytes > 0) {
        world_hit(world, wire->in.reset ? WORLD_RESET_ANSWER : WORLD_TRUNCATED);
    }
    wire_end_exchange(world, host, wire, false);
}

/* Bytes that have been sent go on to the server, whatever becomes of their sender. */
static void wire_close(void *connection) {
    world_wire *wire = (world_wire *)connection;
    world_host *host = wire->host;
    world_world *world = host->world;
    if (!wire->open) world_fail(world, host, "closes wire %d twice", (int)wire->number);
    world_trace(world, host, "closes wire %d%s", (int)wire->number,
                wire->busy ? ", with a request under way" : "");
    if (wire->busy) wire_abandon(world, host, wire);
    else if (!wire->carried) host->open_failed_ms = world_boot_ms(world, host);
    wire->open = false;
    stream_drop(&wire->in);
    host->wire = NULL;
    host->closed++;
    host->moved = true;
    const bool word = !host->crashing || world_random_chance(&world->random_net, 300);
    const bool stood = wire_has_passed(world, wire, WORLD_EDGE_READY);
    if (host->crashing && world_random_chance(&world->random_net, 300)) stream_lose(&wire->out);
    if (word && stood && !wire->silent) {
        stream_put(world, wire, true, WORLD_SEGMENT_END, 0, true);
    }
    if (wire->out.count == 0 && wire->hold_us == WORLD_NEVER) wire->used = false;
}

static int wire_fd(void *connection) {
    world_wire *wire = (world_wire *)connection;
    const world_host *host = wire->host;
    if (!wire->open) world_fail(host->world, host, "asks for the descriptor of a closed wire");
    return host->world->config.no_descriptor ? -1 : wire_fds[wire - host->world->wires];
}

const lease_transport world_transport = {NULL,      true,       wire_open, wire_send,
                                         wire_recv, wire_close, wire_fd};

/* -- The end of the faults --------------------------------------------------------------------- */

/* What is on its way arrives soon, what was left behind is gone. */
void world_wires_heal(world_world *world) {
    for (int i = 0; i < WORLD_MAX_WIRES; i++) {
        world_wire *wire = &world->wires[i];
        if (!wire->open) wire->used = false;
        if (!wire->used) continue;
        world_stream *streams[] = {&wire->out, &wire->in};
        const int64_t soon_us = world->now_us + world->config.latency_us;
        for (int j = 0; j < 2; j++) {
            for (int k = 0; k < WORLD_MAX_SEGMENTS; k++) {
                world_segment *segment = &streams[j]->segments[k];
                segment->at_us = world_least(segment->at_us, soon_us);
            }
            streams[j]->last_us = world_least(streams[j]->last_us, soon_us);
        }
        wire->hold_us = wire->hold_us == WORLD_NEVER ? WORLD_NEVER : soon_us;
    }
}
