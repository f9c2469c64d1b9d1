/* reply.c -- answers: Status objects, headers, framing. */
#include "state.h"

#define CHUNK_FROM 2048 /* longer bodies come without Content-Length, as Go's server sends them */
#define FLOW_SCHEMA "52bc6c74-3f21-473f-a037-7f3801e78826"
#define PRIORITY_LEVEL "ec64b804-abee-4d23-bff3-fe4c7488a317"

static const struct {
    int code;
    const char *phrase; /* of HTTP */
    const char *reason; /* of a Status */
} codes[] = {
    {200, "OK", NULL},
    {201, "Created", NULL},
    {202, "Accepted", NULL},
    {204, "No Content", NULL},
    {301, "Moved Permanently", NULL},
    {302, "Found", NULL},
    {307, "Temporary Redirect", NULL},
    {400, "Bad Request", "BadRequest"},
    {401, "Unauthorized", "Unauthorized"},
    {403, "Forbidden", "Forbidden"},
    {404, "Not Found", "NotFound"},
    {405, "Method Not Allowed", "MethodNotAllowed"},
    {406, "Not Acceptable", "NotAcceptable"},
    {408, "Request Timeout", NULL},
    {409, "Conflict", "Conflict"},
    {410, "Gone", "Expired"},
    {413, "Request Entity Too Large", "RequestEntityTooLarge"},
    {415, "Unsupported Media Type", "UnsupportedMediaType"},
    {422, "Unprocessable Entity", "Invalid"},
    {429, "Too Many Requests", "TooManyRequests"},
    {500, "Internal Server Error", "InternalError"},
    {501, "Not Implemented", NULL},
    {502, "Bad Gateway", NULL},
    {503, "Service Unavailable", "ServiceUnavailable"},
    {504, "Gateway Timeout", "Timeout"},
};

static const char *reason_phrase(int code) {
    for (size_t i = 0; i < LEASE__COUNT(codes); i++) {
        if (codes[i].code == code) return codes[i].phrase;
    }
    return "Unknown";
}

const char *devapi_usual_reason(int code) {
    for (size_t i = 0; i < LEASE__COUNT(codes); i++) {
        if (codes[i].code == code) return codes[i].reason;
    }
    return NULL;
}

static void put_causes(lease__buf *out, const devapi_causes *causes) {
    lease__put_key(out, "causes");
    lease__put(out, "[");
    for (int i = 0; i < causes->count; i++) {
        const devapi_cause *cause = &causes->list[i];
        lease__put(out, i == 0 ? "{\"reason\":" : ",{\"reason\":");
        devapi_put_go_text(out, cause->reason);
        lease__put(out, ",\"message\":");
        devapi_put_go_text(out, cause->message);
        if (cause->field[0] != '\0') {
            lease__put(out, ",\"field\":");
            devapi_put_go_text(out, cause->field);
        }
        lease__put(out, "}");
    }
    lease__put(out, "]");
}

static void put_member(lease__buf *out, const char *key, const char *text) {
    if (text == NULL || text[0] == '\0') return;
    lease__put_key(out, key);
    devapi_put_go_text(out, text);
}

static void put_details(lease__buf *out, const struct status *status) {
    lease__put(out, ",\"details\":{");
    put_member(out, "name", status->name);
    put_member(out, "group", status->group);
    put_member(out, "kind", status->kind);
    put_member(out, "uid", status->uid);
    if (status->causes != NULL && status->causes->count > 0) put_causes(out, status->causes);
    if (status->retry_after_s > 0) {
        lease__put_key(out, "retryAfterSeconds");
        lease__put_i64(out, status->retry_after_s);
    }
    lease__put(out, "}");
}

void devapi_put_status(lease__buf *out, const struct status *status) {
    const bool success = status->code == 200;
    lease__put(out, "{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"metadata\":{},\"status\":");
    lease__put(out, success ? "\"Success\"" : "\"Failure\"");
    if (status->message != NULL) {
        lease__put(out, ",\"message\":");
        devapi_put_go_text(out, status->message);
    }
    if (status->reason != NULL) {
        lease__put(out, ",\"reason\":");
        devapi_put_go_text(out, status->reason);
    }
    if (status->details) put_details(out, status);
    if (!success) {
        lease__put(out, ",\"code\":");
        lease__put_i64(out, status->code);
    }
    lease__put(out, "}");
}

void devapi_reply_status(struct reply *reply, const struct status *status) {
    reply->code = status->code;
    reply->content_type = "application/json";
    reply->body.length = 0;
    devapi_put_status(&reply->body, status);
}

void devapi_reply_error(struct reply *reply, int code, const char *reason, const char *message) {
    struct status status;
    memset(&status, 0, sizeof status);
    status.code = code;
    status.reason = reason;
    status.message = message;
    devapi_reply_status(reply, &status);
}

void devapi_reply_about(const struct context *context, int code, const char *reason,
                        const char *message) {
    struct status status;
    memset(&status, 0, sizeof status);
    status.code = code;
    status.reason = reason;
    status.message = message;
    status.details = true;
    status.name = context->target.name;
    status.group = context->target.group;
    status.kind = context->target.resource;
    devapi_reply_status(context->reply, &status);
}

void devapi_put_forbidden(lease__buf *out, const struct context *context, const char *verb) {
    lease__put(out, "forbidden: User \"");
    if (context->who == USER_ACCOUNT) {
        lease__put(out, "system:serviceaccount:");
        lease__put(out, context->state->ns);
        lease__put(out, ":lease");
    } else {
        lease__put(out, "system:anonymous");
    }
    lease__put(out, "\" cannot ");
    lease__put(out, verb);
    lease__put(out, " ");
}

void devapi_reply_text(struct reply *reply, int code, const char *text) {
    reply->code = code;
    reply->content_type = "text/plain; charset=utf-8";
    reply->nosniff = true;
    reply->body.length = 0;
    lease__put(&reply->body, text);
}

/* -- Bytes ------------------------------------------------------------------------------------- */

static bool reserve(devapi_answer *answer, size_t more) {
    if (answer->failed) return false;
    if (answer->capacity - answer->length >= more) return true;
    size_t capacity = answer->capacity == 0 ? 4096 : answer->capacity;
    while (capacity - answer->length < more) capacity *= 2;
    char *data = (char *)realloc(answer->data, capacity);
    if (data == NULL) {
        answer->failed = true;
        return false;
    }
    answer->data = data;
    answer->capacity = capacity;
    return true;
}

void devapi_answer_add(devapi_answer *answer, const char *bytes, size_t length) {
    if (length == 0 || !reserve(answer, length)) return;
    memcpy(answer->data + answer->length, bytes, length);
    answer->length += length;
}

void devapi_answer_add_chunk(devapi_answer *answer, const char *bytes, size_t length) {
    static const char hex[] = "0123456789abcdef";
    char size[20];
    size_t at = sizeof size;
    size_t left = length;
    do {
        size[--at] = hex[left & 15];
        left >>= 4;
    } while (left != 0);
    devapi_answer_add(answer, size + at, sizeof size - at);
    devapi_answer_add(answer, "\r\n", 2);
    devapi_answer_add(answer, bytes, length);
    devapi_answer_add(answer, "\r\n", 2);
}

void devapi_answer_free(devapi_answer *answer) {
    free(answer->data);
    memset(answer, 0, sizeof *answer);
    answer->watcher = DEVAPI_NO_WATCHER;
}

/* As Go's json.Indent with two blanks; empty objects and lists stay closed. The text is valid. */
static void put_pretty(lease__buf *out, const char *text, size_t length) {
    int depth = 0;
    bool in_string = false;
    for (size_t i = 0; i < length; i++) {
        const char c = text[i];
        const char next = i + 1 < length ? text[i + 1] : '\0';
        bool line = false;
        if (in_string) {
            lease__put_bytes(out, &c, 1);
            if (c == '\\' && i + 1 < length) lease__put_bytes(out, text + ++i, 1);
            if (c == '"') in_string = false;
            continue;
        }
        if (c == '"') in_string = true;
        if ((c == '{' && next == '}') || (c == '[' && next == ']')) {
            lease__put_bytes(out, text + i++, 2);
            continue;
        }
        if (c == '}' || c == ']') {
            depth--;
            lease__put(out, "\n");
            for (int d = 0; d < depth; d++) lease__put(out, "  ");
        }
        lease__put_bytes(out, &c, 1);
        if (c == ':') lease__put(out, " ");
        if (c == '{' || c == '[') {
            depth++;
            line = true;
        }
        if (line || c == ',') {
            lease__put(out, "\n");
            for (int d = 0; d < depth; d++) lease__put(out, "  ");
        }
    }
}

static bool wants_pretty(const devapi_request *request) {
    char value[16];
    const char *agent = request->user_agent;
    if (lease__starts_with(request->path, "/_devapi/")) return false;
    if (devapi_request_query(request, "pretty", value, sizeof value)) {
        return !lease__same(value, "0") && !lease__same(value, "false");
    }
    return lease__starts_with(agent, "curl") || lease__starts_with(agent, "Wget") ||
           lease__starts_with(agent, "Mozilla/5.0");
}

static void put_date(lease__buf *out, int64_t wall_us) {
    static const char days[] = "ThuFriSatSunMonTueWed"; /* 1970-01-01 was a Thursday */
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    char iso[40];
    lease__buf buf = lease__buf_make(iso, sizeof iso);
    lease__put_time(&buf, wall_us);
    const int month = (iso[5] - '0') * 10 + iso[6] - '0';
    const int64_t day = wall_us / LEASE__US_PER_S / 86400 % 7;
    lease__put_bytes(out, days + 3 * (day < 0 ? 0 : day), 3);
    lease__put(out, ", ");
    lease__put_bytes(out, iso + 8, 2);
    lease__put(out, " ");
    lease__put_bytes(out, months + 3 * (month - 1), 3);
    lease__put(out, " ");
    lease__put_bytes(out, iso, 4);
    lease__put(out, " ");
    lease__put_bytes(out, iso + 11, 8);
    lease__put(out, " GMT");
}

static void put_head(const struct context *context, const struct reply *reply, size_t body_length,
                     bool chunked, lease__buf *out) {
    lease__put(out, "HTTP/1.1 ");
    lease__put_i64(out, reply->code);
    lease__put(out, " ");
    lease__put(out, reason_phrase(reply->code));
    lease__put(out, "\r\nAudit-Id: ");
    devapi_put_uid(context->state, out);
    lease__put(out, "\r\nCache-Control: no-cache, private\r\nContent-Type: ");
    lease__put(out, reply->content_type);
    lease__put(out, "\r\n");
    lease__put_bytes(out, reply->headers.data, reply->headers.length);
    if (reply->nosniff) lease__put(out, "X-Content-Type-Options: nosniff\r\n");
    if (reply->code != 401) {
        lease__put(out, "X-Kubernetes-Pf-Flowschema-Uid: " FLOW_SCHEMA "\r\n"
                        "X-Kubernetes-Pf-Prioritylevel-Uid: " PRIORITY_LEVEL "\r\n");
    }
    lease__put(out, "Date: ");
    put_date(out, context->now.wall_us);
    if (chunked) {
        lease__put(out, "\r\nTransfer-Encoding: chunked");
    } else {
        lease__put(out, "\r\nContent-Length: ");
        lease__put_u64(out, body_length);
    }
    if (!context->request->keep_alive) lease__put(out, "\r\nConnection: close");
    lease__put(out, "\r\n\r\n");
}

void devapi_reply_finish(const struct context *context, const struct reply *reply,
                         devapi_answer *answer) {
    char head_data[sizeof reply->header_data + 2048];
    lease__buf head = lease__buf_make(head_data, sizeof head_data);
    lease__buf body = reply->body;
    const bool json = lease__same(reply->content_type, "application/json");
    if (lease__buf_full(&body)) {
        answer->failed = true;
        return;
    }
    if (json && !reply->is_watch) {
        if (wants_pretty(context->request)) {
            body = devapi_arena_buf(&context->state->arena);
            put_pretty(&body, reply->body.data, reply->body.length);
            if (lease__buf_full(&body)) body = reply->body;
        } else {
            lease__put(&body, "\n");
        }
    }
    const bool chunked = reply->is_watch || body.length > CHUNK_FROM;
    put_head(context, reply, body.length, chunked, &head);
    devapi_answer_add(answer, head.data, head.length);
    if (!lease__same(context->request->method, "HEAD") && !reply->is_watch) {
        if (chunked) {
            devapi_answer_add_chunk(answer, body.data, body.length);
            devapi_answer_add(answer, "0\r\n\r\n", 5);
        } else {
            devapi_answer_add(answer, body.data, body.length);
        }
    }
    if (!context->request->keep_alive) answer->close = true;
}
