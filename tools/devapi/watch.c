/* watch.c -- watches: the state of now as events, then what changes, line by line in chunks. */
#include "state.h"

#define BOOKMARK_MS 60000
#define BEFORE_END_MS 2000 /* a last bookmark so long before the end */
#define DEFAULT_SECONDS 1800
#define MAX_SECONDS 1000000

/* -- Selectors --------------------------------------------------------------------------------- */

static bool refuse_selector(const struct context *context, const char *text, bool known_form) {
    char message[700];
    lease__buf buf = lease__buf_make(message, sizeof message);
    if (known_form) {
        devapi_put_go_text(&buf, text);
        lease__put(&buf, " is not a known field selector: only \"metadata.name\", "
                         "\"metadata.namespace\"");
    } else {
        lease__put(&buf, "invalid selector: '");
        lease__put(&buf, text);
        lease__put(&buf, "'; can't understand '");
        lease__put(&buf, text);
        lease__put(&buf, "'");
    }
    devapi_reply_error(context->reply, 400, "BadRequest", message);
    return false;
}

/* One term: key=value, key==value or key!=value. It is cut in place. */
static bool read_term(const struct context *context, char *term, struct selector *selector) {
    char *equals = strchr(term, '=');
    if (equals == NULL) return refuse_selector(context, term, false);
    const bool negated = equals > term && equals[-1] == '!';
    const char *value = equals + (equals[1] == '=' ? 2 : 1);
    *(negated ? equals - 1 : equals) = '\0';
    if (lease__same(term, "metadata.name")) {
        selector->not_name = negated;
        lease__copy(selector->name, sizeof selector->name, value);
        return true;
    }
    if (lease__same(term, "metadata.namespace") && !negated) {
        lease__copy(selector->ns, sizeof selector->ns, value);
        return true;
    }
    return refuse_selector(context, term, true);
}

bool devapi_selector(const struct context *context, struct selector *selector) {
    char text[600];
    memset(selector, 0, sizeof *selector);
    devapi_request_query(context->request, "fieldSelector", text, sizeof text);
    for (char *term = text; term != NULL && *term != '\0';) {
        char *comma = strchr(term, ',');
        if (comma != NULL) *comma = '\0';
        if (!read_term(context, term, selector)) return false;
        term = comma != NULL ? comma + 1 : NULL;
    }
    if (context->target.ns[0] == '\0') return true;
    if (selector->ns[0] != '\0' && !lease__same(selector->ns, context->target.ns)) {
        lease__copy(selector->ns, sizeof selector->ns, "-"); /* no namespace's name */
        return true;
    }
    return lease__copy(selector->ns, sizeof selector->ns, context->target.ns) ||
           lease__copy(selector->ns, sizeof selector->ns, "-");
}

bool devapi_selects(const struct selector *selector, const char *ns, const char *name) {
    if (selector->ns[0] != '\0' && !lease__same(selector->ns, ns)) return false;
    if (selector->name[0] == '\0') return true;
    return lease__same(selector->name, name) != selector->not_name;
}

/* -- Lines ------------------------------------------------------------------------------------- */

static void add_line(devapi_answer *answer, const char *type, const char *object, size_t length) {
    devapi_answer line;
    memset(&line, 0, sizeof line);
    devapi_answer_add(&line, "{\"type\":\"", strlen("{\"type\":\""));
    devapi_answer_add(&line, type, strlen(type));
    devapi_answer_add(&line, "\",\"object\":", strlen("\",\"object\":"));
    devapi_answer_add(&line, object, length);
    devapi_answer_add(&line, "}\n", 2);
    devapi_answer_add_chunk(answer, line.data, line.length);
    answer->failed = answer->failed || line.failed;
    free(line.data);
}

static void add_bookmark(devapi_answer *answer, uint64_t version, bool initial_end) {
    char text[300];
    lease__buf buf = lease__buf_make(text, sizeof text);
    lease__put(&buf, "{" DEVAPI_TYPE_META "\"metadata\":{\"resourceVersion\":\"");
    lease__put_u64(&buf, version);
    lease__put(&buf, "\"");
    if (initial_end) {
        lease__put(&buf, ",\"annotations\":{\"k8s.io/initial-events-end\":\"true\"}");
    }
    lease__put(&buf, "},\"spec\":{}}");
    add_line(answer, "BOOKMARK", text, buf.length);
}

static void add_error(devapi_answer *answer, int code, const char *reason, const char *message) {
    char text[600];
    struct status status;
    devapi_causes causes;
    memset(&status, 0, sizeof status);
    status.code = code;
    status.reason = reason;
    status.message = message;
    causes.count = 0;
    if (code == 504) {
        status.details = true;
        status.retry_after_s = 1;
        causes.list[0].reason = "ResourceVersionTooLarge";
        causes.list[0].field[0] = '\0';
        lease__copy(causes.list[0].message, sizeof causes.list[0].message,
                    "Too large resource version");
        causes.count = 1;
        status.causes = &causes;
    }
    lease__buf buf = lease__buf_make(text, sizeof text);
    devapi_put_status(&buf, &status);
    add_line(answer, "ERROR", text, buf.length);
}

static void add_expired(devapi_answer *answer, uint64_t from, uint64_t oldest) {
    char message[120];
    lease__buf buf = lease__buf_make(message, sizeof message);
    lease__put(&buf, "too old resource version: ");
    lease__put_u64(&buf, from);
    lease__put(&buf, " (");
    lease__put_u64(&buf, oldest);
    lease__put(&buf, ")");
    add_error(answer, 410, "Expired", message);
}

static void add_last_chunk(devapi_answer *answer) { devapi_answer_add(answer, "0\r\n\r\n", 5); }

/* -- Starting ---------------------------------------------------------------------------------- */

static bool forbid_option(const struct context *context, const char *why) {
    struct status status;
    devapi_causes causes;
    char message[300];
    lease__buf buf = lease__buf_make(message, sizeof message);
    causes.count = 0;
    devapi_add_cause(&causes, "resourceVersionMatch", "FieldValueForbidden", "Forbidden", NULL,
                     why);
    lease__put(&buf, "ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: ");
    lease__put(&buf, causes.list[0].message);
    memset(&status, 0, sizeof status);
    status.code = 422;
    status.reason = "Invalid";
    status.message = message;
    status.details = true;
    status.group = "meta.k8s.io";
    status.kind = "ListOptions";
    status.causes = &causes;
    devapi_reply_status(context->reply, &status);
    return false;
}

struct wish {
    bool initial_events; /* the state of now first */
    bool bookmarks;
    bool bookmark_after_initial;
    uint64_t after;
    int64_t seconds;
};

static bool is_true(const struct context *context, const char *name) {
    char value[16];
    return devapi_request_query(context->request, name, value, sizeof value) &&
           !lease__same(value, "0") && !lease__same(value, "false");
}

static bool refuse_number(const struct context *context, const char *text, bool version) {
    char message[300];
    lease__buf buf = lease__buf_make(message, sizeof message);
    if (version) {
        lease__put(&buf, "resourceVersion: Invalid value: ");
        devapi_put_go_text(&buf, text);
        lease__put(&buf, ": ");
    }
    lease__put(&buf, version ? "strconv.ParseUint: parsing " : "strconv.ParseInt: parsing ");
    devapi_put_go_text(&buf, text);
    lease__put(&buf, ": invalid syntax");
    if (version) devapi_reply_error(context->reply, 500, NULL, message);
    else devapi_reply_error(context->reply, 400, "BadRequest", message);
    return false;
}

static bool read_wish(const struct context *context, struct wish *wish) {
    char text[64];
    memset(wish, 0, sizeof *wish);
    const bool send_initial = is_true(context, "sendInitialEvents");
    wish->bookmarks = is_true(context, "allowWatchBookmarks");
    devapi_request_query(context->request, "timeoutSeconds", text, sizeof text);
    wish->seconds = (int64_t)lease__parse_u64(text);
    if (wish->seconds < 0 || wish->seconds > MAX_SECONDS) wish->seconds = MAX_SECONDS;
    if (wish->seconds == 0 && text[0] != '\0' && !lease__same(text, "0")) {
        return refuse_number(context, text, false);
    }
    if (wish->seconds == 0) wish->seconds = DEFAULT_SECONDS;
    devapi_request_query(context->request, "resourceVersionMatch", text, sizeof text);
    if (send_initial && !lease__same(text, "NotOlderThan")) {
        return forbid_option(context, "sendInitialEvents requires setting resourceVersionMatch "
                                      "to NotOlderThan");
    }
    if (!devapi_request_query(context->request, "sendInitialEvents", text, sizeof text) &&
        devapi_request_query(context->request, "resourceVersionMatch", text, sizeof text)) {
        return forbid_option(context, "resourceVersionMatch is forbidden for watch unless "
                                      "sendInitialEvents is provided");
    }
    devapi_request_query(context->request, "resourceVersion", text, sizeof text);
    wish->after = lease__parse_u64(text);
    const bool none = text[0] == '\0' || lease__same(text, "0");
    if (wish->after == 0 && !none) return refuse_number(context, text, true);
    wish->initial_events = none || send_initial;
    wish->bookmark_after_initial = wish->initial_events && wish->bookmarks;
    return true;
}

static int free_watcher(const devapi_state *state) {
    for (int i = 0; i < DEVAPI_MAX_WATCHERS; i++) {
        if (!state->watchers[i].used) return i;
    }
    return DEVAPI_NO_WATCHER;
}

void devapi_watch(const struct context *context) {
    devapi_state *state = context->state;
    struct selector selector;
    struct wish wish;
    if (!devapi_selector(context, &selector) || !read_wish(context, &wish)) return;
    const int number = free_watcher(state);
    if (number == DEVAPI_NO_WATCHER || selector.not_name) {
        devapi_reply_error(context->reply, 429, "TooManyRequests", "too many watches");
        return;
    }
    struct watcher *watcher = &state->watchers[number];
    memset(watcher, 0, sizeof *watcher);
    watcher->used = true;
    watcher->bookmarks = wish.bookmarks;
    memcpy(watcher->ns, selector.ns, sizeof watcher->ns);
    memcpy(watcher->name, selector.name, sizeof watcher->name);
    watcher->after = wish.after;
    watcher->end_ms = context->now.ms + wish.seconds * 1000;
    watcher->bookmark_ms = context->now.ms + BOOKMARK_MS;
    if (watcher->bookmark_ms > watcher->end_ms) {
        watcher->bookmark_ms = watcher->end_ms - BEFORE_END_MS;
    }
    /* A short watch is over before its bookmark. */
    if (watcher->bookmark_ms <= context->now.ms) watcher->bookmark_ms = INT64_MAX;
    watcher->initial = wish.initial_events;
    watcher->initial_bookmark = wish.bookmark_after_initial;
    context->reply->code = 200;
    context->reply->content_type = "application/json";
    context->reply->is_watch = true;
    context->reply->watcher = number;
}

/* -- Going on ---------------------------------------------------------------------------------- */

static bool watches(const struct watcher *watcher, const char *ns, const char *name) {
    return (watcher->ns[0] == '\0' || lease__same(watcher->ns, ns)) &&
           (watcher->name[0] == '\0' || lease__same(watcher->name, name));
}

static void send_initial(const devapi_state *state, struct watcher *watcher,
                         devapi_answer *answer) {
    for (int i = 0; i < state->object_count; i++) {
        const struct stored *stored = &state->objects[i];
        if (!watches(watcher, stored->ns, stored->name)) continue;
        add_line(answer, "ADDED", stored->text, stored->length);
    }
    if (watcher->initial_bookmark) add_bookmark(answer, state->version, true);
    watcher->initial = false;
    watcher->after = state->version;
}

static void send_events(const devapi_state *state, struct watcher *watcher,
                        devapi_answer *answer) {
    for (int i = 0; i < state->event_count; i++) {
        const struct event *event = &state->events[(state->event_first + i) % MAX_EVENTS];
        if (event->version <= watcher->after) continue;
        watcher->after = event->version;
        if (!watches(watcher, event->ns, event->name)) continue;
        add_line(answer, event->type, event->text, event->length);
    }
}

static void too_new(const devapi_state *state, const struct watcher *watcher,
                    devapi_answer *answer) {
    char message[160];
    lease__buf buf = lease__buf_make(message, sizeof message);
    lease__put(&buf, "Timeout: Too large resource version: ");
    lease__put_u64(&buf, watcher->after);
    lease__put(&buf, ", current: ");
    lease__put_u64(&buf, state->version);
    add_error(answer, 504, "Timeout", message);
}

/* An error that ends the watch; false when there is none. */
static bool send_error(const devapi_state *state, const struct watcher *watcher,
                       devapi_answer *answer) {
    if (watcher->initial && watcher->after > state->version) {
        too_new(state, watcher, answer);
        return true;
    }
    const bool expired = !watcher->initial && watcher->after < state->compacted;
    if (!expired && watcher->order != WATCH_EXPIRES) return false;
    add_expired(answer, watcher->after, state->version);
    return true;
}

bool devapi_watch_pull(devapi_state *state, devapi_now now, int number, devapi_answer *answer) {
    struct watcher *watcher = &state->watchers[number];
    if (watcher->order == WATCH_STALLS) return true;
    if (watcher->order == WATCH_DROPS) {
        answer->close = true;
        watcher->used = false;
        return false;
    }
    const bool error = send_error(state, watcher, answer);
    if (!error && watcher->initial) send_initial(state, watcher, answer);
    if (!error) send_events(state, watcher, answer);
    if (!error && watcher->bookmarks && now.ms >= watcher->bookmark_ms) {
        add_bookmark(answer, state->version, false);
        const bool near = watcher->bookmark_ms + BOOKMARK_MS > watcher->end_ms - BEFORE_END_MS;
        const bool last = watcher->bookmark_ms >= watcher->end_ms - BEFORE_END_MS;
        if (last) watcher->bookmark_ms = INT64_MAX;
        else if (near) watcher->bookmark_ms = watcher->end_ms - BEFORE_END_MS;
        else watcher->bookmark_ms += BOOKMARK_MS;
    }
    if (!error && watcher->order == WATCH_GOES_ON && now.ms < watcher->end_ms) return true;
    add_last_chunk(answer);
    watcher->used = false;
    return false;
}

int64_t devapi_watch_wake_ms(const devapi_state *state, int number) {
    const struct watcher *watcher = &state->watchers[number];
    if (watcher->order == WATCH_STALLS) return INT64_MAX;
    if (!watcher->bookmarks) return watcher->end_ms;
    return lease__min_i64(watcher->end_ms, watcher->bookmark_ms);
}

void devapi_watch_close(devapi_state *state, int number) {
    state->watchers[number].used = false;
}
