/* control.c -- what tests may ask of the server itself, and the faults that they set.
 *
 *   POST /_devapi/fault     {"verb":"PUT","action":"delay_answer","ms":500,"count":1,"skip":0}
 *       verb     GET, LIST, WATCH, POST, PUT, DELETE, CONNECT (a new connection), * all but CONNECT
 *       action   those of action_names below, explained at enum fault_action. With them:
 *                  delay_request, delay_answer, trickle: ms     truncate: bytes
 *                  raw: body or hex, keep_open
 *                  status: code, reason, retry_after, content_type, body, close
 *       count    how often, 1 unless given, -1 for ever
 *       skip     let so many pass first
 *       user     admin or account; name: requests about this Lease only
 *       abrupt   true: where the connection closes, no close_notify
 *   POST /_devapi/reset     all as at the start, but for versions, which never go back
 *   POST /_devapi/role      {"verbs":["get","create","update"],"events":false}
 *   POST /_devapi/token     {"token":"..."} of the service account; the old one is void at once
 *   POST /_devapi/watch     {"action":"end|expire|drop|stall"} to all open watches
 *   POST /_devapi/compact   forgets the events so far: a watch from before gets 410
 *   GET  /_devapi/requests  what has been asked, without /_devapi/ itself
 *
 * Only the administrator may. Each POST answers 200 and {}, or 400 and what is wrong. */
#include "state.h"

static const char *const action_names[] = {
    [FAULT_NONE] = "none",
    [FAULT_DELAY_REQUEST] = "delay_request",
    [FAULT_DELAY_ANSWER] = "delay_answer",
    [FAULT_DROP_REQUEST] = "drop_request",
    [FAULT_DROP_ANSWER] = "drop_answer",
    [FAULT_STATUS] = "status",
    [FAULT_RAW] = "raw",
    [FAULT_TRUNCATE] = "truncate",
    [FAULT_TRICKLE] = "trickle",
    [FAULT_GARBAGE] = "garbage",
    [FAULT_RESET] = "reset",
};

static const char *const verb_names[VERB_COUNT] = {
    [VERB_GET] = "get", [VERB_LIST] = "list", [VERB_WATCH] = "watch", [VERB_CREATE] = "create",
    [VERB_UPDATE] = "update", [VERB_PATCH] = "patch", [VERB_DELETE] = "delete",
    [VERB_DELETE_COLLECTION] = "deletecollection",
};

const char *devapi_verb_name(enum verb verb) { return verb_names[verb]; }

const char *devapi_fault_name(enum fault_action action) { return action_names[action]; }

struct fault *devapi_fault_for(devapi_state *state, const char *verb, enum user who,
                               const char *name) {
    for (int i = 0; i < state->fault_count; i++) {
        struct fault *fault = &state->faults[i];
        const char *as = who == USER_ADMIN ? "admin" : "account";
        if (fault->count == 0) continue;
        if (!lease__same(fault->verb, "*") && !lease__same(fault->verb, verb)) continue;
        if (lease__same(fault->verb, "*") && lease__same(verb, "CONNECT")) continue;
        if (fault->user[0] != '\0' && !lease__same(fault->user, as)) continue;
        if (fault->name[0] != '\0' && !lease__same(fault->name, name)) continue;
        if (fault->skip > 0) {
            fault->skip--;
            continue;
        }
        if (fault->count > 0) fault->count--;
        return fault;
    }
    return NULL;
}

/* -- Reading bodies ---------------------------------------------------------------------------- */

static void refuse(const struct context *context, const char *member, const char *why) {
    char message[300];
    lease__buf buf = lease__buf_make(message, sizeof message);
    lease__put(&buf, member);
    lease__put(&buf, why);
    devapi_reply_error(context->reply, 400, "BadRequest", message);
}

static void done(const struct context *context) {
    context->reply->code = 200;
    context->reply->content_type = "application/json";
    lease__put(&context->reply->body, "{}");
}

static bool parse(const struct context *context) {
    const devapi_request *request = context->request;
    devapi_document *sent = &context->state->sent;
    if (lease__json_parse(&sent->json, sent->tokens, request->body, request->body_length) &&
        lease__json_is(&sent->json, 0, JSMN_OBJECT)) {
        return true;
    }
    refuse(context, "body", ": must be a JSON object");
    return false;
}

static bool take_text(const struct context *context, const char *member, char *out,
                      size_t capacity) {
    lease__json *json = &context->state->sent.json;
    if (lease__json_string(json, lease__json_get(json, 0, member), out, capacity)) return true;
    refuse(context, member, ": must be a string, not as long");
    return false;
}

static bool take_number(const struct context *context, const char *member, int32_t otherwise,
                        int32_t *out) {
    lease__json *json = &context->state->sent.json;
    const int token = lease__json_get(json, 0, member);
    *out = otherwise;
    if (lease__json_is_null(json, token)) return true;
    if (lease__json_int32(json, token, out)) return true;
    refuse(context, member, ": must be an integer");
    return false;
}

/* -- Faults ------------------------------------------------------------------------------------ */

static bool take_action(const struct context *context, struct fault *fault) {
    char name[32];
    if (!take_text(context, "action", name, sizeof name)) return false;
    for (size_t i = 1; i < LEASE__COUNT(action_names); i++) {
        if (lease__same(name, action_names[i])) fault->action = (enum fault_action)i;
    }
    if (fault->action != FAULT_NONE) return true;
    refuse(context, "action", ": delay_request, delay_answer, drop_request, drop_answer, status, "
                              "raw, truncate, trickle, garbage or reset");
    return false;
}

/* "body" as text, or "hex" for any bytes. */
static bool take_bytes(const struct context *context, struct fault *fault) {
    lease__json *json = &context->state->sent.json;
    const int hex = lease__json_get(json, 0, "hex");
    const int body = lease__json_get(json, 0, "body");
    const int token = lease__json_is_null(json, hex) ? body : hex;
    if (lease__json_is_null(json, token)) return true;
    size_t length;
    lease__json_raw(json, token, &length);
    if (!lease__json_is(json, token, JSMN_STRING)) {
        refuse(context, "body", ": must be a string");
        return false;
    }
    fault->text = (char *)malloc(length + 1);
    if (fault->text == NULL) {
        refuse(context, "body", ": out of memory");
        return false;
    }
    lease__buf buf = lease__buf_make(fault->text, length + 1);
    lease__json_decode(json, token, &buf);
    fault->text_length = buf.length;
    if (token != hex) return true;
    for (size_t i = 0; i + 1 < buf.length; i += 2) {
        const int high = lease__hex_digit(fault->text[i]);
        const int low = lease__hex_digit(fault->text[i + 1]);
        if (high < 0 || low < 0) {
            refuse(context, "hex", ": must be pairs of hexadecimal digits");
            return false;
        }
        fault->text[i / 2] = (char)(high * 16 + low);
    }
    fault->text_length = buf.length / 2;
    return true;
}

static bool is_verb(const char *verb) {
    static const char *const verbs[] = {"*", "GET", "LIST", "WATCH", "POST", "PUT", "DELETE",
                                        "CONNECT"};
    for (size_t i = 0; i < LEASE__COUNT(verbs); i++) {
        if (lease__same(verb, verbs[i])) return true;
    }
    return false;
}

static bool take_fault(const struct context *context, struct fault *fault) {
    int32_t count;
    int32_t skip;
    lease__json *json = &context->state->sent.json;
    if (!take_action(context, fault)) return false;
    if (!take_text(context, "verb", fault->verb, sizeof fault->verb)) return false;
    if (fault->verb[0] == '\0') lease__copy(fault->verb, sizeof fault->verb, "*");
    if (!is_verb(fault->verb)) {
        refuse(context, "verb", ": GET, LIST, WATCH, POST, PUT, DELETE, CONNECT or *");
        return false;
    }
    if (!take_text(context, "user", fault->user, sizeof fault->user) ||
        !take_text(context, "name", fault->name, sizeof fault->name) ||
        !take_text(context, "reason", fault->reason, sizeof fault->reason) ||
        !take_text(context, "content_type", fault->content_type, sizeof fault->content_type) ||
        !take_number(context, "count", 1, &count) || !take_number(context, "skip", 0, &skip) ||
        !take_number(context, "ms", 0, &fault->ms) ||
        !take_number(context, "code", 500, &fault->code) ||
        !take_number(context, "bytes", 0, &fault->bytes)) {
        return false;
    }
    /* Retry-After may be a number or any text, to see what clients make of it. */
    const int retry = lease__json_get(json, 0, "retry_after");
    int32_t seconds;
    if (lease__json_is(json, retry, JSMN_PRIMITIVE) && lease__json_int32(json, retry, &seconds)) {
        lease__buf buf = lease__buf_make(fault->retry_after, sizeof fault->retry_after);
        lease__put_i64(&buf, seconds);
    } else if (!take_text(context, "retry_after", fault->retry_after, sizeof fault->retry_after)) {
        return false;
    }
    if (fault->code < 100 || fault->code > 999 || fault->ms < 0 || fault->bytes < 0 || skip < 0) {
        refuse(context, "code, ms, bytes, skip", ": out of range");
        return false;
    }
    fault->count = count;
    fault->skip = skip;
    fault->abrupt = lease__json_is_true(json, lease__json_get(json, 0, "abrupt"));
    fault->keep_open = lease__json_is_true(json, lease__json_get(json, 0, "keep_open"));
    fault->close = lease__json_is_true(json, lease__json_get(json, 0, "close"));
    fault->has_reason = lease__json_get(json, 0, "reason") != LEASE__JSON_NONE;
    return take_bytes(context, fault);
}

/* Faults that have struck for the last time make room. */
static void drop_spent(devapi_state *state) {
    int kept = 0;
    for (int i = 0; i < state->fault_count; i++) {
        if (state->faults[i].count == 0) {
            free(state->faults[i].text);
            continue;
        }
        if (kept != i) state->faults[kept] = state->faults[i];
        kept++;
    }
    state->fault_count = kept;
}

static void add_fault(const struct context *context) {
    devapi_state *state = context->state;
    struct fault fault;
    memset(&fault, 0, sizeof fault);
    drop_spent(state);
    if (!parse(context)) return;
    if (!take_fault(context, &fault)) {
        free(fault.text);
        return;
    }
    if (state->fault_count == MAX_FAULTS) {
        free(fault.text);
        refuse(context, "fault", ": there are too many");
        return;
    }
    state->faults[state->fault_count++] = fault;
    done(context);
}

/* -- The rest ---------------------------------------------------------------------------------- */

static void set_role(const struct context *context) {
    devapi_state *state = context->state;
    bool role[VERB_COUNT] = {false};
    if (!parse(context)) return;
    lease__json *json = &state->sent.json;
    const int verbs = lease__json_get(json, 0, "verbs");
    if (!lease__json_is(json, verbs, JSMN_ARRAY)) {
        refuse(context, "verbs", ": must be a list");
        return;
    }
    const int end = lease__json_after(json, verbs);
    for (int at = verbs + 1; at < end; at = lease__json_after(json, at)) {
        int verb = 0;
        while (verb < VERB_COUNT && !lease__json_equals(json, at, verb_names[verb])) verb++;
        if (verb == VERB_COUNT) {
            refuse(context, "verbs", ": must be verbs of the API");
            return;
        }
        role[verb] = true;
    }
    memcpy(state->role, role, sizeof role);
    state->role_events = lease__json_is_true(json, lease__json_get(json, 0, "events"));
    done(context);
}

static void set_token(const struct context *context) {
    char token[sizeof context->state->account_token];
    if (!parse(context) || !take_text(context, "token", token, sizeof token)) return;
    if (token[0] == '\0' || lease__same(token, context->state->admin_token)) {
        refuse(context, "token", ": must be another one");
        return;
    }
    memcpy(context->state->account_token, token, sizeof token);
    context->reply->token_changed = true;
    done(context);
}

static void order_watches(const struct context *context) {
    static const struct {
        const char *name;
        enum watch_order order;
    } orders[] = {
        {"end", WATCH_ENDS}, {"expire", WATCH_EXPIRES}, {"drop", WATCH_DROPS},
        {"stall", WATCH_STALLS},
    };
    devapi_state *state = context->state;
    char name[16];
    if (!parse(context) || !take_text(context, "action", name, sizeof name)) return;
    size_t which = 0;
    while (which < LEASE__COUNT(orders) && !lease__same(name, orders[which].name)) which++;
    if (which == LEASE__COUNT(orders)) {
        refuse(context, "action", ": end, expire, drop or stall");
        return;
    }
    for (int i = 0; i < DEVAPI_MAX_WATCHERS; i++) {
        if (state->watchers[i].used) state->watchers[i].order = orders[which].order;
    }
    done(context);
}

static void put_logged(lease__buf *out, const struct logged *logged) {
    static const char *const users[] = {
        [USER_ADMIN] = "admin", [USER_ACCOUNT] = "account", [USER_ANONYMOUS] = "anonymous",
        [USER_UNKNOWN] = "unknown",
    };
    lease__put(out, "{\"time\":\"");
    lease__put_time(out, logged->wall_us);
    lease__put(out, "\",\"connection\":");
    lease__put_u64(out, logged->connection);
    lease__put(out, ",\"user\":\"");
    lease__put(out, users[logged->who]);
    lease__put(out, "\",\"method\":");
    devapi_put_go_text(out, logged->method);
    lease__put(out, ",\"path\":");
    lease__put_quoted(out, logged->path);
    lease__put(out, ",\"code\":");
    lease__put_i64(out, logged->code);
    if (logged->fault != NULL) {
        lease__put(out, ",\"fault\":");
        devapi_put_go_text(out, logged->fault);
    }
    lease__put(out, "}");
}

static void list_requests(const struct context *context) {
    const devapi_state *state = context->state;
    lease__buf *out = &context->reply->body;
    const uint64_t first = state->logged_count > MAX_LOGGED ? state->logged_count - MAX_LOGGED : 0;
    context->reply->code = 200;
    context->reply->content_type = "application/json";
    lease__put(out, "[");
    for (uint64_t i = first; i < state->logged_count; i++) {
        if (i > first) lease__put(out, ",\n");
        put_logged(out, &state->logged[i % MAX_LOGGED]);
    }
    lease__put(out, "]");
}

static void reset(const struct context *context) {
    devapi_clear(context->state);
    devapi_default_role(context->state);
    done(context);
}

static void compact(const struct context *context) {
    devapi_forget_events(context->state);
    done(context);
}

void devapi_control(const struct context *context) {
    static const struct {
        const char *method;
        const char *name;
        void (*run)(const struct context *context);
    } commands[] = {
        {"POST", "fault", add_fault},    {"POST", "reset", reset},
        {"POST", "role", set_role},      {"POST", "token", set_token},
        {"POST", "watch", order_watches}, {"POST", "compact", compact},
        {"GET", "requests", list_requests},
    };
    const char *name = context->request->path + strlen("/_devapi/");
    if (context->who != USER_ADMIN) {
        devapi_reply_error(context->reply, 403, "Forbidden", "/_devapi/ is the administrator's");
        return;
    }
    for (size_t i = 0; i < LEASE__COUNT(commands); i++) {
        if (lease__same(commands[i].method, context->request->method) &&
            lease__same(commands[i].name, name)) {
            commands[i].run(context);
            return;
        }
    }
    devapi_reply_text(context->reply, 404, "404 page not found\n");
}
