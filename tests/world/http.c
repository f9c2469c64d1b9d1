/* Requests taken apart, as the referee sees them: strictly, and written from the wire's rules. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "world.h"

#define HTTP_LEASES "/apis/coordination.k8s.io/v1/namespaces/" WORLD_NS "/leases"

const char *world_name(int32_t name) {
    static const char *const names[WORLD_MAX_NAMES] = {"alpha", "beta", "gamma"};
    return names[name];
}

const char *world_method_name(world_method method) {
    static const char *const names[] = {"GET", "POST", "PUT"};
    return names[method];
}

/* The end of the head, behind the empty line; NULL = it is not complete. */
static const char *http_body(const char *text, size_t length) {
    for (const char *at = text; (at = memchr(at, '\n', length - (size_t)(at - text))) != NULL;) {
        at++;
        if (at - text >= 4 && memcmp(at - 4, "\r\n\r\n", 4) == 0) return at;
    }
    return NULL;
}

/* text is terminated. */
size_t world_message_length(const char *text, size_t length) {
    const char *body = http_body(text, length);
    if (body == NULL) return 0;
    const char *header = strstr(text, "\r\nContent-Length: ");
    size_t total = (size_t)(body - text);
    if (header != NULL && header < body) total += strtoul(header + 18, NULL, 10);
    return total <= length ? total : 0;
}

/* -- JSON --------------------------------------------------------------------------------------
 * As the library and devapi write it: without spaces, and no value here holds an escape. */

static const char *json_value(const char *json, const char *key) {
    char wanted[48];
    snprintf(wanted, sizeof wanted, "\"%s\":", key);
    const char *at = strstr(json, wanted);
    return at != NULL ? at + strlen(wanted) : NULL;
}

bool world_json_text(const char *json, const char *key, char *out, size_t capacity) {
    const char *at = json_value(json, key);
    out[0] = '\0';
    if (at == NULL || *at != '"') return false;
    const size_t length = strcspn(at + 1, "\"");
    if (length >= capacity) return false;
    memcpy(out, at + 1, length);
    out[length] = '\0';
    return true;
}

int64_t world_json_number(const char *json, const char *key, int64_t otherwise) {
    const char *at = json_value(json, key);
    return at != NULL ? strtoll(at, NULL, 10) : otherwise;
}

/* -- Requests ---------------------------------------------------------------------------------- */

/* The value of a header, or NULL; a header that stands twice is a failure. */
static const char *http_header(world_world *world, const world_host *host, const world_wire *wire,
                               const char *name, char *out, size_t capacity) {
    char wanted[48];
    const int length = snprintf(wanted, sizeof wanted, "\r\n%s: ", name);
    const char *body = http_body(wire->ask, wire->asked);
    const char *at = strstr(wire->ask, wanted);
    if (at == NULL || at >= body) return NULL;
    const char *second = strstr(at + 2, wanted);
    if (second != NULL && second < body) world_fail(world, host, "header %s stands twice", name);
    at += length;
    const size_t value = strcspn(at, "\r");
    if (value >= capacity) {
        world_fail(world, host, "header %s is too long", name);
        return NULL;
    }
    memcpy(out, at, value);
    out[value] = '\0';
    return out;
}

static void http_check(world_world *world, const world_host *host, const world_wire *wire,
                       const char *header, const char *expected) {
    char value[WORLD_MAX_TOKEN + 16];
    const char *is = http_header(world, host, wire, header, value, sizeof value);
    if (is == NULL && expected != NULL) world_fail(world, host, "no header %s", header);
    if (is != NULL && expected == NULL) world_fail(world, host, "header %s, unasked", header);
    if (is != NULL && expected != NULL && strcmp(is, expected) != 0) {
        world_fail(world, host, "header %s is \"%s\" instead of \"%s\"", header, is, expected);
    }
}

/* The bearer token is one of those that have stood in the file, and goes to none but the server. */
static void http_check_token(world_world *world, world_host *host, const world_wire *wire) {
    char value[WORLD_MAX_TOKEN + 16];
    const size_t prefix = strlen(world->token_prefix);
    const char *is = http_header(world, host, wire, "Authorization", value, sizeof value);
    if (host->stranger) {
        world_hit(world, WORLD_STRANGER);
        if (is != NULL) world_fail(world, host, "a token goes to a peer that nobody has verified");
        return;
    }
    if (is == NULL || strncmp(is, "Bearer ", 7) != 0 || strlen(is) != 7 + strlen(world->token) ||
        strncmp(is + 7, world->token_prefix, prefix) != 0) {
        world_fail(world, host, "no bearer token, or not the one in the file");
        return;
    }
    const int32_t number = atoi(is + 7 + prefix);
    if (number != host->token_seen && host->refused_answer_us == world->now_us) {
        world_hit(world, WORLD_TOKEN_REPEATED);
    }
    host->token_seen = number;
    /* Read when the attempt began, or behind a refusal; its bytes may have left much later. */
    const int64_t begun_us = wire->request.begun_us;
    const int64_t refused_us = host->refused_answer_us;
    host->token_sent_us = refused_us > begun_us ? refused_us : begun_us;
    if (wire->request.again) host->token_sent_us = -1;
}

static void http_check_head(world_world *world, world_host *host, const world_wire *wire,
                            bool write) {
    http_check(world, host, wire, "Host", host->host_header);
    http_check(world, host, wire, "Accept", "application/json");
    http_check(world, host, wire, "User-Agent", "leader-election");
    http_check(world, host, wire, "Content-Type", write ? "application/json" : NULL);
    http_check(world, host, wire, "Transfer-Encoding", NULL);
    http_check_token(world, host, wire);
    char length[16];
    const bool counted =
        http_header(world, host, wire, "Content-Length", length, sizeof length) != NULL;
    if (counted != write) world_fail(world, host, "Content-Length where there is no body");
}

/* Method and name out of "PUT /apis/.../leases/alpha HTTP/1.1". */
static bool http_take_line(const char *text, world_request *request) {
    static const world_method methods[] = {WORLD_GET, WORLD_POST, WORLD_PUT};
    for (int i = 0; i < 3; i++) {
        for (int32_t name = 0; name < WORLD_MAX_NAMES; name++) {
            char line[160];
            const bool create = methods[i] == WORLD_POST;
            const int length =
                snprintf(line, sizeof line, "%s " HTTP_LEASES "%s%s HTTP/1.1\r\n",
                         world_method_name(methods[i]), create ? "" : "/",
                         create ? "" : world_name(name));
            if (strncmp(text, line, (size_t)length) != 0) continue;
            request->method = methods[i];
            request->name = name;
            return true;
        }
    }
    return false;
}

static bool http_take_body(world_world *world, const world_host *host, world_request *request,
                           const char *body) {
    char text[64];
    const bool update = request->method == WORLD_PUT;
    if (!world_json_text(body, "name", text, sizeof text)) return false;
    int32_t name = 0;
    while (name < WORLD_MAX_NAMES && strcmp(text, world_name(name)) != 0) name++;
    if (name == WORLD_MAX_NAMES || (update && name != request->name)) return false;
    request->name = name;
    if (!world_json_text(body, "namespace", text, sizeof text) || strcmp(text, WORLD_NS) != 0) {
        return false;
    }
    const bool has_uid = world_json_text(body, "uid", request->uid, sizeof request->uid);
    const bool has_version = world_json_text(body, "resourceVersion", text, sizeof text);
    request->version = strtoull(text, NULL, 10);
    if (has_uid != update || has_version != update) {
        world_fail(world, host, "uid or version: missing in an update, or given in a creation");
    }
    request->transitions = (int32_t)world_json_number(body, "leaseTransitions", -1);
    request->duration_ms = (int32_t)world_json_number(body, "leaseDurationSeconds", 0) * 1000;
    return world_json_text(body, "holderIdentity", request->holder, sizeof request->holder);
}

/* Whose write it is. One that empties the holder is of the one that holds, if that is of ours. */
static const world_lease *http_author(const world_world *world, const world_host *host,
                                      const world_request *request) {
    const world_lease *found = NULL;
    const bool emptied = request->holder[0] == '\0' && request->method == WORLD_PUT;
    const char *wanted = emptied ? world->objects[request->name].holder : request->holder;
    for (int i = 0; i < WORLD_MAX_LEASES; i++) {
        const world_lease *one = &host->leases[i];
        if (one->serial == 0 || one->name != request->name || one->observer) continue;
        const bool same = strcmp(one->identity, wanted) == 0;
        const bool fits = same || emptied || wanted[0] == '\0';
        if (fits && (found == NULL || same)) found = one;
    }
    return found;
}

/* All of the request has been handed over. */
void world_take_request(world_world *world, world_host *host, world_wire *wire) {
    world_request *request = &wire->request;
    request->known = true;
    world->stats->requests++;
    if (!http_take_line(wire->ask, request)) {
        world_fail(world, host, "a request line of no known form: %.60s", wire->ask);
        return;
    }
    const bool write = request->method != WORLD_GET;
    http_check_head(world, host, wire, write);
    if (write) {
        if (!http_take_body(world, host, request, http_body(wire->ask, wire->asked))) {
            world_fail(world, host, "a body of no known form");
            return;
        }
        const world_lease *author = http_author(world, host, request);
        if (author == NULL) {
            world_fail(world, host, "writes as \"%s\", which none of its leases is",
                       request->holder);
            return;
        }
        request->author = author->serial;
        request->deadline_ms = author->timing.deadline_ms;
        request->release = request->method == WORLD_PUT && request->holder[0] == '\0';
    }
    world_hash(world, (uint64_t)request->method << 32 ^ (uint64_t)request->name << 40 ^
                          request->author);
    world_trace(world, host, "wire %d: %s %s%s%s over %" PRIu64 ", %zu bytes", (int)wire->number,
                world_method_name(request->method), world_name(request->name),
                write ? " holder " : "", request->holder, request->version, wire->asked);
    world_judge_request(world, host, wire);
}
