/* handler.c -- from a request to its answer: who asks, for what, and which fault strikes. */
#include "state.h"

#define VERSION                                                                                    \
    "{\"major\":\"1\",\"minor\":\"37\",\"gitVersion\":\"v1.37.2-devapi\",\"gitTreeState\":"        \
    "\"clean\",\"platform\":\"linux\"}"
#define API_LIST                                                                                   \
    "{\"kind\":\"APIResourceList\",\"apiVersion\":\"v1\",\"groupVersion\":\"" DEVAPI_GROUP_VERSION \
    "\",\"resources\":[{\"name\":\"leases\",\"singularName\":\"lease\",\"namespaced\":true,"       \
    "\"kind\":\"Lease\",\"verbs\":[\"create\",\"delete\",\"get\",\"list\",\"update\",\"watch\"]}]}"

/* -- State ------------------------------------------------------------------------------------- */

void devapi_default_role(devapi_state *state) {
    memset(state->role, 0, sizeof state->role);
    state->role[VERB_GET] = true;
    state->role[VERB_CREATE] = true;
    state->role[VERB_UPDATE] = true;
    state->role[VERB_LIST] = true;
    state->role[VERB_WATCH] = true;
    state->role_events = false;
}

devapi_state *devapi_state_create(const devapi_desc *desc) {
    devapi_state *state = (devapi_state *)calloc(1, sizeof *state);
    if (state == NULL) return NULL;
    state->objects = (struct stored *)calloc(DEVAPI_MAX_OBJECTS, sizeof *state->objects);
    state->events = (struct event *)calloc(MAX_EVENTS, sizeof *state->events);
    state->logged = (struct logged *)calloc(MAX_LOGGED, sizeof *state->logged);
    state->arena.data = (char *)malloc(ARENA_BYTES);
    state->arena.capacity = ARENA_BYTES;
    state->body = (char *)malloc(BODY_BYTES);
    state->request.body = (char *)malloc(DEVAPI_MAX_BODY + 1);
    if (state->objects == NULL || state->events == NULL || state->logged == NULL ||
        state->arena.data == NULL || state->body == NULL || state->request.body == NULL ||
        !lease__copy(state->ns, sizeof state->ns, desc->ns) ||
        !lease__copy(state->admin_token, sizeof state->admin_token, desc->admin_token) ||
        !lease__copy(state->account_token, sizeof state->account_token, desc->account_token)) {
        devapi_state_destroy(state);
        return NULL;
    }
    state->version = 100;
    state->random = desc->seed;
    devapi_default_role(state);
    return state;
}

void devapi_state_destroy(devapi_state *state) {
    if (state == NULL) return;
    if (state->objects != NULL && state->events != NULL) devapi_clear(state);
    free(state->objects);
    free(state->events);
    free(state->logged);
    free(state->arena.data);
    free(state->body);
    free(state->request.body);
    free(state);
}

const char *devapi_account_token(const devapi_state *state) { return state->account_token; }

/* -- Who --------------------------------------------------------------------------------------- */

static enum user authenticate(const devapi_state *state, const char *authorization) {
    if (strncasecmp(authorization, "Bearer ", 7) != 0) return USER_ANONYMOUS;
    const char *token = authorization + 7;
    while (*token == ' ') token++;
    if (*token == '\0') return USER_ANONYMOUS;
    if (lease__same(token, state->admin_token)) return USER_ADMIN;
    if (lease__same(token, state->account_token)) return USER_ACCOUNT;
    return USER_UNKNOWN;
}

/* -- What -------------------------------------------------------------------------------------- */

/* The next segment of a path; false at its end, or when it does not fit. */
static bool next_segment(const char **path, char *out, size_t capacity) {
    out[0] = '\0';
    if (**path != '/') return false;
    const char *start = *path + 1;
    const char *end = strchrnul(start, '/');
    const size_t length = (size_t)(end - start);
    if (length == 0 || length >= capacity) return false;
    memcpy(out, start, length);
    out[length] = '\0';
    *path = end;
    return true;
}

/* /apis/GROUP/VERSION/[namespaces/NS/]RESOURCE[/NAME[/SUBRESOURCE]], or /api/VERSION/... */
static void read_target(const char *path, struct target *target) {
    char version[64];
    char first[16];
    memset(target, 0, sizeof *target);
    if (!next_segment(&path, first, sizeof first)) return;
    if (lease__same(first, "apis")) {
        if (!next_segment(&path, target->group, sizeof target->group)) return;
    } else if (!lease__same(first, "api")) {
        return;
    }
    if (!next_segment(&path, version, sizeof version)) return;
    if (!next_segment(&path, target->resource, sizeof target->resource)) return;
    if (lease__same(target->resource, "namespaces")) {
        const char *behind = path;
        if (next_segment(&behind, target->ns, sizeof target->ns) &&
            next_segment(&behind, target->resource, sizeof target->resource)) {
            path = behind;
        }
    }
    target->is_resource = true;
    next_segment(&path, target->name, sizeof target->name);
    next_segment(&path, target->subresource, sizeof target->subresource);
    if (!lease__same(version, "v1")) target->group[0] = '\0';
}

static bool wants_watch(const devapi_request *request) {
    char value[16];
    return devapi_request_query(request, "watch", value, sizeof value) &&
           !lease__same(value, "0") && !lease__same(value, "false");
}

static enum verb verb_of(const devapi_request *request, const struct target *target) {
    const bool named = target->name[0] != '\0';
    if (lease__same(request->method, "POST")) return VERB_CREATE;
    if (lease__same(request->method, "PUT")) return VERB_UPDATE;
    if (lease__same(request->method, "PATCH")) return VERB_PATCH;
    if (lease__same(request->method, "DELETE")) {
        return named ? VERB_DELETE : VERB_DELETE_COLLECTION;
    }
    if (named) return VERB_GET;
    return wants_watch(request) ? VERB_WATCH : VERB_LIST;
}

/* How faults call it. */
static const char *fault_verb(const struct context *context) {
    const char *method = context->request->method;
    if (!lease__same(method, "GET") || !context->target.is_resource) return method;
    if (context->verb == VERB_WATCH) return "WATCH";
    return context->verb == VERB_LIST ? "LIST" : "GET";
}

/* Authorization takes the name of a list or watch from its field selector. */
static void name_from_selector(struct context *context) {
    char text[600];
    static const char prefix[] = "metadata.name=";
    if (context->verb != VERB_LIST && context->verb != VERB_WATCH) return;
    devapi_request_query(context->request, "fieldSelector", text, sizeof text);
    if (!lease__starts_with(text, prefix) || strchr(text, ',') != NULL) return;
    lease__copy(context->target.name, sizeof context->target.name, text + strlen(prefix));
}

/* -- Dispatch ---------------------------------------------------------------------------------- */

static void forbid_path(const struct context *context) {
    char message[2400];
    struct status status;
    lease__buf buf = lease__buf_make(message, sizeof message);
    const char *method = context->request->method;
    char lower[16];
    size_t length = 0;
    for (; method[length] != '\0' && length + 1 < sizeof lower; length++) {
        lower[length] = (char)(method[length] | 0x20);
    }
    lower[length] = '\0';
    devapi_put_forbidden(&buf, context, lower);
    lease__put(&buf, "path ");
    devapi_put_go_text(&buf, context->request->path);
    memset(&status, 0, sizeof status);
    status.code = 403;
    status.reason = "Forbidden";
    status.message = message;
    status.details = true;
    context->reply->nosniff = true;
    devapi_reply_status(context->reply, &status);
}

static void reply_json(const struct context *context, const char *text) {
    context->reply->code = 200;
    context->reply->content_type = "application/json";
    lease__put(&context->reply->body, text);
}

static void serve_path(const struct context *context) {
    const char *path = context->request->path;
    const bool get = lease__same(context->request->method, "GET") ||
                     lease__same(context->request->method, "HEAD");
    const bool health = lease__same(path, "/readyz") || lease__same(path, "/livez") ||
                        lease__same(path, "/healthz");
    if (get && health) {
        devapi_reply_text(context->reply, 200, "ok");
    } else if (get && lease__same(path, "/version")) {
        reply_json(context, VERSION);
    } else if (get && lease__same(path, "/apis/" DEVAPI_GROUP_VERSION) &&
               context->who != USER_ANONYMOUS) {
        reply_json(context, API_LIST);
    } else if (context->who != USER_ADMIN) {
        forbid_path(context);
    } else {
        devapi_reply_text(context->reply, 404, "404 page not found\n");
    }
}

/* ?timeout=5s: a Go duration. It is checked and otherwise not needed: nothing here takes long. */
static bool bad_timeout(const struct context *context) {
    char text[64];
    char message[200];
    if (!devapi_request_query(context->request, "timeout", text, sizeof text)) return false;
    if (context->verb == VERB_WATCH || text[0] == '\0' || lease__same(text, "0")) return false;
    const char *at = text + (text[0] == '-' || text[0] == '+' ? 1 : 0);
    bool good = *at != '\0';
    while (good && *at != '\0') {
        const size_t digits = strspn(at, "0123456789.");
        const size_t unit = strcspn(at + digits, "0123456789.");
        static const char *const units[] = {"h", "m", "s", "ms", "us", "ns"};
        good = false;
        for (size_t i = 0; i < LEASE__COUNT(units) && digits > 0; i++) {
            if (strlen(units[i]) == unit && memcmp(at + digits, units[i], unit) == 0) good = true;
        }
        at += digits + unit;
    }
    if (good) return false;
    lease__buf buf = lease__buf_make(message, sizeof message);
    lease__put(&buf, "invalid timeout specified in the request URL - time: invalid duration ");
    devapi_put_go_text(&buf, text);
    devapi_reply_error(context->reply, 400, "BadRequest", message);
    return true;
}

static bool not_acceptable(const struct context *context) {
    const char *accept = context->request->accept;
    if (accept[0] == '\0' || strstr(accept, "*/*") != NULL ||
        strstr(accept, "application/json") != NULL) {
        return false;
    }
    struct status status;
    memset(&status, 0, sizeof status);
    status.code = 406;
    status.reason = "NotAcceptable";
    status.message = "406: Not Acceptable\n\nAvailable representations: application/json, "
                     "application/yaml, application/vnd.kubernetes.protobuf";
    status.details = true;
    devapi_reply_status(context->reply, &status);
    return true;
}

static void reply_no_method(const struct context *context) {
    struct status status;
    memset(&status, 0, sizeof status);
    status.code = 405;
    status.reason = "MethodNotAllowed";
    status.message = "the server does not allow this method on the requested resource";
    status.details = true;
    devapi_reply_status(context->reply, &status);
}

static void serve_leases(const struct context *context) {
    const char *method = context->request->method;
    const bool named = context->target.name[0] != '\0' &&
                       context->verb != VERB_LIST && context->verb != VERB_WATCH;
    if (context->target.ns[0] == '\0' && (named || context->verb == VERB_CREATE)) {
        devapi_reply_text(context->reply, 404, "404 page not found\n");
    } else if (bad_timeout(context) || not_acceptable(context)) {
        return;
    } else if (lease__same(method, "GET")) {
        if (context->verb == VERB_GET) devapi_get(context);
        else if (context->verb == VERB_LIST) devapi_list(context);
        else devapi_watch(context);
    } else if (lease__same(method, "POST") && !named) {
        devapi_create(context);
    } else if (lease__same(method, "PUT") && named) {
        devapi_update(context);
    } else if (lease__same(method, "DELETE") && named) {
        devapi_delete(context);
    } else {
        reply_no_method(context);
    }
}

/* Events are accepted and forgotten. */
static bool serve_event(const struct context *context) {
    const struct target *target = &context->target;
    const bool allowed = context->who == USER_ADMIN ||
                         (context->who == USER_ACCOUNT && context->state->role_events &&
                          lease__same(target->ns, context->state->ns));
    if (context->verb != VERB_CREATE || !lease__same(target->resource, "events") || !allowed) {
        return false;
    }
    context->reply->code = 201;
    context->reply->content_type = "application/json";
    lease__put_bytes(&context->reply->body, context->request->body,
                     context->request->body_length);
    return true;
}

static void dispatch(struct context *context) {
    const struct target *target = &context->target;
    if (context->who == USER_UNKNOWN) {
        devapi_reply_error(context->reply, 401, "Unauthorized", "Unauthorized");
    } else if (lease__starts_with(context->request->path, "/_devapi/")) {
        devapi_control(context);
    } else if (!target->is_resource) {
        serve_path(context);
    } else if (serve_event(context)) {
        return;
    } else if (!devapi_allowed(context, context->verb)) {
        devapi_reply_forbidden(context, devapi_verb_name(context->verb));
    } else if (lease__same(target->group, DEVAPI_GROUP) &&
               lease__same(target->resource, "leases") && target->subresource[0] == '\0') {
        serve_leases(context);
    } else {
        devapi_reply_text(context->reply, 404, "404 page not found\n");
    }
}

/* -- Faults ------------------------------------------------------------------------------------ */

static void fault_status(const struct context *context, const struct fault *fault) {
    struct reply *reply = context->reply;
    if (fault->retry_after[0] != '\0') {
        lease__put(&reply->headers, "Retry-After: ");
        lease__put_shown(&reply->headers, fault->retry_after, strlen(fault->retry_after), 31);
        lease__put(&reply->headers, "\r\n");
    }
    if (fault->text != NULL) {
        reply->code = fault->code;
        reply->content_type = "application/json";
        reply->body.length = 0;
        lease__put_bytes(&reply->body, fault->text, fault->text_length);
    } else {
        const char *given = fault->reason[0] != '\0' ? fault->reason : NULL;
        devapi_reply_error(reply, fault->code,
                           fault->has_reason ? given : devapi_usual_reason(fault->code),
                           "a fault was asked for");
    }
    if (fault->content_type[0] != '\0') reply->content_type = fault->content_type;
    if (fault->close) context->state->request.keep_alive = false;
}

/* Before anything is done. True: that is the answer. */
static bool fault_before(const struct context *context, const struct fault *fault, bool resumed,
                         devapi_answer *answer) {
    answer->abrupt = fault->abrupt;
    switch (fault->action) {
    case FAULT_DELAY_REQUEST:
        if (resumed) return false;
        answer->hold_ms = fault->ms;
        return fault->ms > 0;
    case FAULT_DROP_REQUEST: answer->close = true; return true;
    case FAULT_RESET: answer->reset = true; return true;
    case FAULT_GARBAGE:
        answer->under_tls = true;
        answer->close = true;
        devapi_answer_add(answer, "\x17\x03\x03\x7F\xFF", 5); /* a record that is too long */
        devapi_answer_add(answer, "garbage instead of TLS\r\n\r\n", 26);
        return true;
    case FAULT_RAW:
        if (fault->text != NULL) devapi_answer_add(answer, fault->text, fault->text_length);
        answer->close = !fault->keep_open;
        return true;
    case FAULT_STATUS:
        fault_status(context, fault);
        devapi_reply_finish(context, context->reply, answer);
        return true;
    case FAULT_NONE:
    case FAULT_DELAY_ANSWER:
    case FAULT_DROP_ANSWER:
    case FAULT_TRUNCATE:
    case FAULT_TRICKLE: break;
    }
    return false;
}

static void fault_after(const struct fault *fault, devapi_answer *answer) {
    if (fault->action == FAULT_DELAY_ANSWER) answer->delay_ms = fault->ms;
    if (fault->action == FAULT_TRICKLE) answer->trickle_ms = fault->ms > 0 ? fault->ms : 1;
    if (fault->action == FAULT_DROP_ANSWER) answer->length = 0;
    if (fault->action == FAULT_TRUNCATE && answer->length > (size_t)fault->bytes) {
        answer->length = (size_t)fault->bytes;
    }
    if (fault->action == FAULT_DROP_ANSWER || fault->action == FAULT_TRUNCATE) {
        answer->close = true;
    }
}

bool devapi_connect_fault(devapi_state *state, int32_t *hold_ms) {
    const struct fault *fault = devapi_fault_for(state, "CONNECT", USER_ANONYMOUS, "");
    *hold_ms = 0;
    if (fault == NULL) return true;
    if (fault->action == FAULT_DELAY_REQUEST) *hold_ms = fault->ms;
    return fault->action == FAULT_DELAY_REQUEST;
}

/* -- The whole --------------------------------------------------------------------------------- */

static void add_to_log(const struct context *context, const devapi_call *call, int code,
                       const struct fault *fault) {
    const enum fault_action held = call->resumed ? FAULT_DELAY_REQUEST : FAULT_NONE;
    const enum fault_action action = fault != NULL ? fault->action : held;
    devapi_state *state = context->state;
    struct logged *logged = &state->logged[state->logged_count++ % MAX_LOGGED];
    memset(logged, 0, sizeof *logged);
    logged->wall_us = call->now.wall_us;
    logged->connection = call->connection;
    logged->code = code;
    logged->who = context->who;
    lease__copy(logged->method, sizeof logged->method, context->request->method);
    lease__buf buf = lease__buf_make(logged->path, sizeof logged->path);
    lease__put_shown(&buf, context->request->target, strlen(context->request->target),
                     sizeof logged->path - 1);
    logged->fault = action != FAULT_NONE ? devapi_fault_name(action) : NULL;
}

/* As Go's server: not HTTP, or HTTP/1.1 without a Host. */
static void reply_bad_request(const devapi_request *request, devapi_answer *answer) {
    char text[400];
    lease__buf buf = lease__buf_make(text, sizeof text);
    const char *status = request->method[0] != '\0' && !request->has_host
                             ? "400 Bad Request: missing required Host header"
                             : "400 Bad Request";
    lease__put(&buf, "HTTP/1.1 ");
    lease__put(&buf, status);
    lease__put(&buf, "\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n");
    lease__put(&buf, status);
    devapi_answer_add(answer, text, buf.length);
    answer->close = true;
}

static void init_reply(devapi_state *state, struct reply *reply) {
    memset(reply, 0, sizeof *reply);
    reply->watcher = DEVAPI_NO_WATCHER;
    reply->headers = lease__buf_make(reply->header_data, sizeof reply->header_data);
    reply->body = lease__buf_make(state->body, BODY_BYTES);
}

void devapi_handle(devapi_state *state, const devapi_call *call, devapi_answer *answer) {
    struct reply reply;
    struct context context;
    memset(answer, 0, sizeof *answer);
    memset(&context, 0, sizeof context);
    answer->watcher = DEVAPI_NO_WATCHER;
    state->arena.used = 0;
    state->arena.full = false;
    init_reply(state, &reply);
    context.state = state;
    context.request = &state->request;
    context.now = call->now;
    context.reply = &reply;
    if (!devapi_request_parse(&state->request, call->bytes, call->length) ||
        !state->request.has_host) {
        reply_bad_request(&state->request, answer);
        return;
    }
    context.who = authenticate(state, state->request.authorization);
    read_target(state->request.path, &context.target);
    context.verb = verb_of(&state->request, &context.target);
    name_from_selector(&context);
    const bool control = lease__starts_with(state->request.path, "/_devapi/");
    const struct fault *fault = NULL;
    if (!control && !call->resumed) {
        fault = devapi_fault_for(state, fault_verb(&context), context.who, context.target.name);
    }
    if (fault != NULL && fault_before(&context, fault, call->resumed, answer)) {
        if (answer->hold_ms == 0) add_to_log(&context, call, reply.code, fault);
        return;
    }
    dispatch(&context);
    if (!control) add_to_log(&context, call, reply.code, fault);
    devapi_reply_finish(&context, &reply, answer);
    answer->watcher = reply.watcher;
    answer->token_changed = reply.token_changed;
    if (fault != NULL) fault_after(fault, answer);
    if (answer->watcher >= 0 && answer->close) {
        devapi_watch_close(state, answer->watcher);
        answer->watcher = DEVAPI_NO_WATCHER;
    }
}
