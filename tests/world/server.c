/* The API server: devapi behind the wires, with its faults and its administrator, and a front that
 * spoils answers on their way out. */
#include "tools/devapi/state.h" /* before any system header; the referee looks into the store */

#include <inttypes.h>
#include <sys/mman.h>

#include "world.h"

#define SERVER_LABELS "\"labels\":{\"app\":\"world\",\"example.com/of\":\"" WORLD_NS "\"}"
#define SERVER_ADMIN "the-administrator"

/* -- The token, on disk and at the server ------------------------------------------------------ */

static int server_token_fd = -1; /* a file in memory, with a path of its own */

const char *world_token_path(void) {
    static char path[40];
    if (server_token_fd < 0) server_token_fd = memfd_create("token", MFD_CLOEXEC);
    snprintf(path, sizeof path, "/proc/self/fd/%d", server_token_fd);
    return path;
}

static void server_token_text(const world_world *world, int32_t number, char *out) {
    const size_t length = world->config.token_length;
    snprintf(out, WORLD_MAX_TOKEN, "%s%06d", world->token_prefix, (int)number);
    const size_t used = strlen(out);
    memset(out + used, 'x', length - used);
    out[length] = '\0';
}

static void server_write_token(world_world *world) {
    char text[WORLD_MAX_TOKEN + 1];
    server_token_text(world, world->tokens, text);
    const ssize_t length = (ssize_t)strlen(text);
    world->token_file_us = WORLD_NEVER;
    world->token_written = world->tokens;
    world->token_written_us = world->now_us;
    if (ftruncate(server_token_fd, 0) != 0 || pwrite(server_token_fd, text, (size_t)length, 0) !=
                                                  length) {
        world_fail(world, NULL, "the token file cannot be written");
    }
    world_trace(world, NULL, "token %d is in the file", (int)world->tokens);
}

/* -- The administrator ------------------------------------------------------------------------- */

static devapi_now server_now(const world_world *world) {
    devapi_now now;
    now.ms = world->now_us / 1000;
    now.wall_us = 1000000 * world->config.wall_s + world->now_us;
    return now;
}

static int server_code(const devapi_answer *answer) {
    return answer->length > 12 ? atoi(answer->data + 9) : 0;
}

static void server_admin(world_world *world, const char *method, const char *path,
                         const char *body) {
    char text[6000];
    devapi_call call;
    devapi_answer answer;
    memset(&call, 0, sizeof call);
    call.now = server_now(world);
    call.length = (size_t)snprintf(text, sizeof text,
                                   "%s %s HTTP/1.1\r\nHost: admin\r\nAuthorization: Bearer "
                                   SERVER_ADMIN "\r\nContent-Type: application/json\r\n"
                                   "User-Agent: admin\r\nContent-Length: %zu\r\n\r\n%s",
                                   method, path, strlen(body), body);
    call.bytes = text;
    devapi_handle(world->api, &call, &answer);
    if (server_code(&answer) / 100 != 2) {
        world_fail(world, NULL, "devapi refuses %s %s: %.40s", method, path, answer.data);
    }
    devapi_answer_free(&answer);
}

static void server_use_token(world_world *world) {
    char body[WORLD_MAX_TOKEN + 32];
    server_token_text(world, world->tokens, world->token);
    snprintf(body, sizeof body, "{\"token\":\"%s\"}", world->token);
    world->token_use_us = WORLD_NEVER;
    server_admin(world, "POST", "/_devapi/token", body);
    world_trace(world, NULL, "token %d is good", (int)world->tokens);
}

/* The file follows the server, or the server the file. */
static void server_rotate(world_world *world) {
    world_random *random = &world->random_server;
    const int64_t gap_us = world_random_range(random, 0, 5000000);
    const bool file_first = world_random_chance(random, 500);
    if (world->token_file_us != WORLD_NEVER || world->token_use_us != WORLD_NEVER) return;
    world->tokens++;
    world->token_file_us = world->now_us + (file_first ? 0 : gap_us);
    world->token_use_us = world->now_us + (file_first ? gap_us : 0);
    world_hit(world, WORLD_ROTATED);
}

/* -- The store --------------------------------------------------------------------------------- */

/* What stands there now; what the referee knows besides stays. */
static void server_look(world_world *world, int32_t name) {
    world_object *object = &world->objects[name];
    const struct stored *stored = devapi_find(world->api, WORLD_NS, world_name(name));
    if (stored == NULL) {
        if (object->exists) {
            memcpy(object->former_uids[object->former++ % WORLD_MAX_UIDS], object->uid,
                   sizeof object->uid);
        }
        object->exists = object->ever_held = false;
        object->holder[0] = object->uid[0] = '\0';
        object->version = 0;
        object->author = 0;
        object->note = 0;
        return;
    }
    if (!object->exists) object->created_us = world->now_us;
    if (stored->version != object->version) object->stored_us = world->now_us;
    object->exists = true;
    object->version = stored->version;
    world_json_text(stored->text, "uid", object->uid, sizeof object->uid);
    world_json_text(stored->text, "holderIdentity", object->holder, sizeof object->holder);
    if (object->holder[0] != '\0') object->ever_held = true;
    object->transitions = (int32_t)world_json_number(stored->text, "leaseTransitions", 0);
    object->duration_ms =
        (int32_t)world_json_number(stored->text, "leaseDurationSeconds", 0) * 1000;
}

static void server_check_note(world_world *world, const world_host *host, int32_t name) {
    char text[16];
    const world_object *object = &world->objects[name];
    const struct stored *stored = devapi_find(world->api, WORLD_NS, world_name(name));
    if (stored == NULL) return;
    if (world->config.labels && strstr(stored->text, SERVER_LABELS) == NULL) {
        world_fail(world, host, "its write lacks its labels");
    }
    if (object->note == 0) return;
    world_json_text(stored->text, "world.example/note", text, sizeof text);
    if (atoi(text) != object->note) world_fail(world, host, "its write has lost an annotation");
    world_hit(world, WORLD_SPLICED);
}

/* Somebody else touches the Lease, under another field manager. */
static void server_annotate(world_world *world, int32_t name) {
    char body[4000];
    char path[128];
    world_object *object = &world->objects[name];
    const struct stored *stored = devapi_find(world->api, WORLD_NS, world_name(name));
    const char *spec = stored != NULL ? strstr(stored->text, "\"spec\":") : NULL;
    if (spec == NULL) return;
    object->note = (int32_t)world_random_range(&world->random_server, 1, 9999);
    snprintf(path, sizeof path, "/apis/coordination.k8s.io/v1/namespaces/" WORLD_NS "/leases/%s",
             world_name(name));
    snprintf(body, sizeof body,
             "{\"kind\":\"Lease\",\"apiVersion\":\"coordination.k8s.io/v1\",\"metadata\":{\"name\":"
             "\"%s\",\"namespace\":\"" WORLD_NS "\",\"uid\":\"%s\",\"resourceVersion\":\"%" PRIu64
             "\",\"annotations\":{\"world.example/note\":\"%d\"}},%s",
             world_name(name), object->uid, object->version, (int)object->note, spec);
    world_trace(world, NULL, "the administrator annotates %s", world_name(name));
    server_admin(world, "PUT", path, body);
    server_look(world, name);
}

static void server_delete(world_world *world, int32_t name) {
    char path[128];
    if (!world->objects[name].exists) return;
    snprintf(path, sizeof path, "/apis/coordination.k8s.io/v1/namespaces/" WORLD_NS "/leases/%s",
             world_name(name));
    world_trace(world, NULL, "the administrator deletes %s", world_name(name));
    server_admin(world, "DELETE", path, "");
    server_look(world, name);
}

/* -- Faults of the server itself --------------------------------------------------------------- */

static void server_add_fault(world_world *world, const char *action, int32_t code, int64_t ms,
                             int64_t retry_s, int64_t count) {
    char body[300];
    char retry[48] = "";
    if (retry_s > 0) snprintf(retry, sizeof retry, ",\"retry_after\":%d", (int)retry_s);
    snprintf(body, sizeof body,
             "{\"verb\":\"*\",\"user\":\"account\",\"action\":\"%s\",\"code\":%d,\"ms\":%d,"
             "\"bytes\":%d,\"count\":%d%s}",
             action, (int)code, (int)ms, (int)(ms % 500), (int)count, retry);
    world_trace(world, NULL, "devapi: %s %d, %d ms, %d times", action, (int)code, (int)ms,
                (int)count);
    server_admin(world, "POST", "/_devapi/fault", body);
}

static void server_errors(world_world *world) {
    static const int32_t codes[] = {429, 429, 500, 503, 503, 504};
    world_random *random = &world->random_server;
    const int32_t code = codes[world_random_range(random, 0, 5)];
    const int64_t retry_s = code == 429 || world_random_chance(random, 300)
                                ? world_random_range(random, 1, 3) : 0;
    server_add_fault(world, "status", code, 0, retry_s, world_random_range(random, 1, 6));
}

static void server_deny(world_world *world) {
    static const char *const roles[] = {"[\"create\",\"update\"]", "[\"get\",\"update\"]",
                                        "[\"get\",\"create\"]", "[]"};
    char body[80];
    world_random *random = &world->random_server;
    if (world_random_chance(random, 500)) {
        const int32_t code = world_random_chance(random, 700) ? 401 : 403;
        server_add_fault(world, "status", code, 0, 0, world_random_range(random, 1, 3));
        return;
    }
    snprintf(body, sizeof body, "{\"verbs\":%s}", roles[world_random_range(random, 0, 3)]);
    server_admin(world, "POST", "/_devapi/role", body);
    world->role_until_us =
        world->now_us + world_random_range(random, 0, 2000 * world->config.timing[0].deadline_ms);
    world_trace(world, NULL, "devapi: the Role is cut");
}

static void server_delay(world_world *world) {
    static const char *const actions[] = {"delay_request", "delay_request", "delay_answer",
                                          "drop_request", "drop_answer", "truncate", "trickle",
                                          "reset", "garbage"};
    world_random *random = &world->random_server;
    const int64_t which = world_random_range(random, 0, 8);
    const int64_t ms = world_random_range(random, 1, 3 * (int64_t)world->config.timeout_ms);
    server_add_fault(world, actions[which], 500, which == 6 ? ms / 500 : ms, 0,
                     world_random_range(random, 1, 3));
}

void world_server_fault(world_world *world) {
    static const world_fault faults[] = {WORLD_FAULT_ERRORS, WORLD_FAULT_DENY, WORLD_FAULT_DELAY,
                                         WORLD_FAULT_ROTATE, WORLD_FAULT_ANNOTATE,
                                         WORLD_FAULT_DELETE};
    world_random *random = &world->random_server;
    const int32_t name = (int32_t)world_random_range(random, 0, world->config.names - 1);
    world->server_fault_us =
        world->now_us + world_random_range(random, 1000, 2 * world->config.fault_gap_us);
    const world_fault fault = faults[world_random_range(random, 0, 5)];
    if (!world_has(world, fault)) return;
    switch (fault) {
    case WORLD_FAULT_ERRORS: server_errors(world); break;
    case WORLD_FAULT_DENY: server_deny(world); break;
    case WORLD_FAULT_DELAY: server_delay(world); break;
    case WORLD_FAULT_ROTATE: server_rotate(world); break;
    case WORLD_FAULT_ANNOTATE: server_annotate(world, name); break;
    default: server_delete(world, name); break;
    }
}

int64_t world_server_next_us(const world_world *world) {
    const int64_t token_us = world_least(world->token_file_us, world->token_use_us);
    return world_least(world->role_until_us, token_us);
}

void world_server_tick(world_world *world) {
    if (world->token_file_us <= world->now_us) server_write_token(world);
    if (world->token_use_us <= world->now_us) server_use_token(world);
    if (world->role_until_us > world->now_us) return;
    world->role_until_us = WORLD_NEVER;
    server_admin(world, "POST", "/_devapi/role", "{\"verbs\":[\"get\",\"create\",\"update\"]}");
}

void world_server_heal(world_world *world) {
    for (int i = 0; i < world->api->fault_count; i++) world->api->faults[i].count = 0;
    if (world->role_until_us != WORLD_NEVER) world->role_until_us = world->now_us;
    if (world->token_file_us != WORLD_NEVER) world->token_file_us = world->now_us;
    if (world->token_use_us != WORLD_NEVER) world->token_use_us = world->now_us;
    world_server_tick(world);
}

bool world_server_init(world_world *world) {
    devapi_desc desc;
    world_token_path();
    snprintf(world->token_prefix, sizeof world->token_prefix, "tok.%016" PRIx64 ".", world->seed);
    world->tokens = 1;
    server_token_text(world, world->tokens, world->token);
    desc.ns = WORLD_NS;
    desc.admin_token = SERVER_ADMIN;
    desc.account_token = world->token;
    desc.seed = world->seed;
    world->api = devapi_state_create(&desc);
    world->token_use_us = world->role_until_us = WORLD_NEVER;
    if (world->api == NULL || server_token_fd < 0) return false;
    server_write_token(world);
    return true;
}

void world_server_end(world_world *world) {
    devapi_state_destroy(world->api);
    world->api = NULL;
}

/* -- Answers on their way out ------------------------------------------------------------------ */

/* An answer as it leaves the front. */
typedef struct server_answer {
    char bytes[WORLD_MAX_ANSWER];
    size_t length;
    bool endless; /* the client cannot take it for complete: the connection will end */
} server_answer;

static void server_put(server_answer *answer, const char *bytes, size_t length) {
    if (length > sizeof answer->bytes - answer->length) return;
    memcpy(answer->bytes + answer->length, bytes, length);
    answer->length += length;
}

static void server_puts(server_answer *answer, const char *text) {
    server_put(answer, text, strlen(text));
}

/* The head without the header Content-Length, and without the empty line. */
static void server_put_head(server_answer *answer, const char *head, const char *body) {
    const char *counted = (const char *)memmem(head, (size_t)(body - head), "Content-Length: ", 16);
    const char *behind = counted != NULL ? strchr(counted, '\n') + 1 : body - 2;
    if (counted == NULL) counted = behind;
    server_put(answer, head, (size_t)(counted - head));
    server_put(answer, behind, (size_t)(body - 2 - behind));
}

static void server_put_chunks(world_world *world, server_answer *answer, const char *body,
                              size_t length) {
    while (length > 0) {
        char size[24];
        const size_t chunk = (size_t)world_random_range(&world->random_net, 1, (int64_t)length);
        snprintf(size, sizeof size, "%zx\r\n", chunk);
        server_puts(answer, size);
        server_put(answer, body, chunk);
        server_puts(answer, "\r\n");
        body += chunk;
        length -= chunk;
    }
    server_puts(answer, "0\r\n\r\n");
}

/* Another form of the same answer, as proxies make it. True: the connection ends behind it. */
static bool server_reform(world_world *world, world_wire *wire, const devapi_answer *from,
                          server_answer *answer) {
    world_random *random = &world->random_net;
    const char *end = (const char *)memmem(from->data, from->length, "\r\n\r\n", 4);
    if (end == NULL) return false;
    const char *body = end + 4;
    const size_t length = from->length - (size_t)(body - from->data);
    const bool closes = world_random_chance(random, 200);
    answer->length = 0;
    if (world_random_chance(random, 300)) {
        server_puts(answer, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n");
        world_hit(world, WORLD_INTERIM);
    }
    server_put_head(answer, from->data, body);
    if (closes) {
        wire->announced = true;
        server_puts(answer, "Connection: close\r\n");
        world_hit(world, WORLD_CLOSE_HEADER);
    }
    if (world_random_chance(random, 500)) {
        server_puts(answer, "Transfer-Encoding: chunked\r\n\r\n");
        server_put_chunks(world, answer, body, length);
        world_hit(world, WORLD_CHUNKED);
    } else {
        char counted[40];
        snprintf(counted, sizeof counted, "content-length:%zu\r\n\r\n", length);
        server_puts(answer, counted);
        server_put(answer, body, length);
    }
    return closes;
}

/* What no API server says. */
static void server_spoil(world_world *world, server_answer *answer) {
    static const char *const texts[] = {
        "\x16\x03\x01 no HTTP at all\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{\"kind\":\"Lease\"}",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n{}{}{}",
        "HTTP/1.0 200 OK\r\nContent-Length: 900\r\n\r\n{\"kind\":\"Lease\",",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        "HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n<html>no</html>",
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 11\r\n\r\nbad gateway"};
    const int64_t which = world_random_range(&world->random_net, 0, 8);
    answer->length = 0;
    server_puts(answer, texts[which]);
    answer->endless = which < 5;
    world_hit(world, WORLD_GARBAGE);
}

static void server_redirect(world_world *world, server_answer *answer) {
    answer->length = 0;
    server_puts(answer, "HTTP/1.1 307 Temporary Redirect\r\nContent-Length: 0\r\n"
                        "Location: https://evil.example:6443/\r\n\r\n");
    world_hit(world, WORLD_REDIRECT);
}

/* The answer to some other request. */
static bool server_replay(world_world *world, server_answer *answer) {
    if (world->last_answer_length == 0) return false;
    answer->length = 0;
    server_put(answer, world->last_answer, world->last_answer_length);
    world_hit(world, WORLD_REPLAYED);
    return true;
}

static void server_follow(world_world *world, world_wire *wire, server_answer *answer) {
    world_random *random = &world->random_net;
    if (!world_strikes(world, random, WORLD_FAULT_EXTRA, 40)) return;
    if (world_random_chance(random, 500)) {
        wire->whole = true; /* in one record: the client sees that they follow */
        answer->endless = true;
        server_puts(answer, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
        world_hit(world, WORLD_EXTRA);
    } else {
        wire->extra_us = world->now_us + world_random_range(
                                             random, 0, 1000 * world->config.timing[0].retry_ms);
    }
}

/* What goes out in place of devapi's answer. True: the connection ends behind it. */
static bool server_choose(world_world *world, world_wire *wire, const devapi_answer *from,
                          server_answer *answer) {
    world_random *random = &world->random_net;
    answer->length = 0;
    answer->endless = false;
    server_put(answer, from->data, from->length);
    if (world_strikes(world, random, WORLD_FAULT_GARBAGE, 40)) {
        server_spoil(world, answer);
        return answer->endless;
    }
    if (world_strikes(world, random, WORLD_FAULT_REDIRECT, 30)) {
        server_redirect(world, answer);
        return false;
    }
    if (world_strikes(world, random, WORLD_FAULT_REPLAY, 40) && server_replay(world, answer)) {
        return false;
    }
    if (world_strikes(world, random, WORLD_FAULT_FORM, 300)) {
        return server_reform(world, wire, from, answer);
    }
    server_follow(world, wire, answer);
    return answer->endless;
}

static int32_t server_retry_ms(const server_answer *answer) {
    static const char header[] = "Retry-After: ";
    const char *at =
        (const char *)memmem(answer->bytes, answer->length, header, sizeof header - 1);
    return at != NULL ? 1000 * atoi(at + sizeof header - 1) : 0;
}

/* How much of it goes out, and how the connection ends then. */
static void server_send(world_world *world, world_wire *wire, const server_answer *answer,
                        bool closes) {
    world_random *random = &world->random_net;
    const bool reset = world_strikes(world, random, WORLD_FAULT_RESET, 40);
    const bool cut = world_strikes(world, random, WORLD_FAULT_TRUNCATE, 40);
    size_t length = answer->length;
    if (reset || cut) length = (size_t)world_random_range(random, 0, (int64_t)length - 1);
    wire->answer_bytes = length < answer->length || answer->endless ? UINT64_MAX : length;
    world_trace(world, wire->host, "wire %d: %zu of %zu bytes go back: %.12s...%s%s",
                (int)wire->number, length, answer->length, answer->bytes,
                wire->answer_bytes == UINT64_MAX ? ", spoilt" : "", closes ? ", then the end" : "");
    world_wire_send(world, wire, answer->bytes, length);
    if (reset || cut || closes) {
        world_wire_end(world, wire, reset ? WORLD_SEGMENT_RESET : WORLD_SEGMENT_END);
        return;
    }
    if (!world_has(world, WORLD_FAULT_IDLE)) return;
    wire->idle_us =
        world->now_us + world_random_range(random, 0, 2000 * world->config.timing[0].retry_ms);
}

static void server_answer_out(world_world *world, world_wire *wire, const devapi_answer *from) {
    static server_answer answer;
    const int64_t delay_ms =
        from->delay_ms + (int64_t)from->trickle_ms * (int64_t)from->length;
    wire->in.last_us = world_most(wire->in.last_us, world->now_us + 1000 * delay_ms);
    if (from->under_tls) {
        wire->fate = LEASE_TLS;
        wire->edges_us[WORLD_EDGE_FATE] = world->now_us + world->config.latency_us;
        wire->fired[WORLD_EDGE_FATE] = false;
        wire->server_closed = true;
        return;
    }
    if (from->reset || from->length == 0 || from->close) {
        const bool whole =
            from->length > 0 && world_message_length(from->data, from->length) == from->length;
        wire->answer_bytes = whole ? from->length : UINT64_MAX;
        if (from->length > 0) world_wire_send(world, wire, from->data, from->length);
        world_wire_end(world, wire, from->reset ? WORLD_SEGMENT_RESET : WORLD_SEGMENT_END);
        return;
    }
    if (world_strikes(world, &world->random_net, WORLD_FAULT_LOSS, 40)) {
        const world_object *object = &world->objects[wire->request.name];
        const bool applied =
            object->author == wire->request.author && object->stored_us == world->now_us;
        if (wire->request.author != 0 && applied) world_hit(world, WORLD_ANSWER_LOST);
        wire->deaf = true;
        world_trace(world, wire->host, "wire %d: the answer is lost", (int)wire->number);
        return;
    }
    const bool closes = server_choose(world, wire, from, &answer);
    wire->retry_ms = server_retry_ms(&answer);
    server_send(world, wire, &answer, closes);
    world->last_answer_length = 0;
    if (from->length <= sizeof world->last_answer) {
        memcpy(world->last_answer, from->data, from->length);
        world->last_answer_length = from->length;
    }
}

/* -- Requests ---------------------------------------------------------------------------------- */

/* What the code says about the request; those that only a malformed one gets are failures. */
static void server_judge_code(world_world *world, world_wire *wire, int code,
                              const devapi_answer *answer) {
    world_host *host = wire->host;
    switch (code) {
    case 200:
    case 409: break;
    case 201:
        if (wire->request.method == WORLD_PUT) world_fail(world, host, "its PUT created the Lease");
        break;
    case 404:
        if (wire->request.method == WORLD_POST) world_fail(world, host, "its POST got a 404");
        break;
    case 429:
        if (memmem(answer->data, answer->length, "Retry-After: ", 13) != NULL) {
            world_hit(world, WORLD_THROTTLED);
        }
        break;
    case 401:
        world_hit(world, WORLD_UNAUTHORIZED);
        world_judge_credit(host, 1);
        break;
    case 403: world_hit(world, WORLD_FORBIDDEN); break;
    case 500:
    case 503:
    case 504: world_hit(world, WORLD_SERVER_ERROR); break;
    default: world_fail(world, host, "a request is answered with %d", code); break;
    }
    const bool denied = code == 429 || code == 401 || code == 403 || code >= 500;
    if (denied && world_is_clean(world) && !host->stranger) {
        world_fail(world, host, "%d without any fault", code);
    }
}

static void server_judge_stored(world_world *world, world_wire *wire, int code) {
    const int32_t name = wire->request.name;
    const world_object before = world->objects[name];
    server_look(world, name);
    const world_object *after = &world->objects[name];
    world_trace(world, wire->host, "wire %d: devapi answers %d%s", (int)wire->number, code,
                wire->request.given_up ? ", to nobody" : "");
    world_hash(world, (uint64_t)code << 32 ^ after->version);
    if (after->version == before.version) {
        if (code == 409) world_judge_refused(world, &wire->request);
        return;
    }
    world_judge_stored(world, wire->host, &wire->request, &before);
    server_check_note(world, wire->host, name);
}

/* A whole request has come, or its time, when devapi has put it off. */
void world_server_handle(world_world *world, world_wire *wire, bool resumed) {
    devapi_frame_result framed;
    devapi_answer answer;
    devapi_call call;
    const size_t length = wire->out.arrived;
    if (devapi_frame(wire->out_bytes, length, &framed) != DEVAPI_FRAME_WHOLE ||
        framed.used != length || !wire->request.known || wire->handled) {
        world_fail(world, wire->host, "what arrives is not one request");
        return;
    }
    memset(&call, 0, sizeof call);
    call.now = server_now(world);
    call.bytes = wire->out_bytes;
    call.length = length;
    call.connection = (uint64_t)wire->number;
    call.resumed = resumed;
    devapi_handle(world->api, &call, &answer);
    if (answer.hold_ms > 0) {
        world_hit(world, WORLD_HELD);
        wire->hold_us = world->now_us + 1000 * (int64_t)answer.hold_ms;
        devapi_answer_free(&answer);
        return;
    }
    const int code = server_code(&answer);
    wire->handled = true;
    wire->refused = code == 401;
    wire->retry_ms = 0;
    wire->out.arrived = wire->out.length = 0;
    if (code != 0) server_judge_code(world, wire, code, &answer);
    server_judge_stored(world, wire, code);
    server_answer_out(world, wire, &answer);
    devapi_answer_free(&answer);
}
