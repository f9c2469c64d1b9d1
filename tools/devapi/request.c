/* request.c -- reading HTTP requests with llhttp. */
#include "internals.h"

#include "request.h"

/* What is gathered while llhttp walks through the bytes. */
struct reading {
    devapi_request *request; /* NULL: only looking for the end */
    lease__buf body;
    lease__buf target;
    lease__buf name; /* of the header being read */
    char name_data[64];
    lease__buf value;
    char value_data[REQUEST_MAX_TOKEN + 16];
    char expect[32];
    size_t body_bytes;
    bool head_done;
    bool whole;
    bool too_large;
    bool has_host;
};

static struct reading *reading_of(llhttp_t *parser) { return (struct reading *)parser->data; }

static int on_url(llhttp_t *parser, const char *at, size_t length) {
    struct reading *reading = reading_of(parser);
    lease__put_bytes(&reading->target, at, length);
    return reading->request != NULL && lease__buf_full(&reading->target) ? HPE_USER : 0;
}

static int on_field(llhttp_t *parser, const char *at, size_t length) {
    struct reading *reading = reading_of(parser);
    if (reading->value.length != 0 || reading->name.length == 0) {
        reading->name = lease__buf_make(reading->name_data, sizeof reading->name_data);
        reading->value = lease__buf_make(reading->value_data, sizeof reading->value_data);
    }
    lease__put_bytes(&reading->name, at, length);
    return 0;
}

static int on_value(llhttp_t *parser, const char *at, size_t length) {
    struct reading *reading = reading_of(parser);
    lease__put_bytes(&reading->value, at, length);
    return lease__buf_full(&reading->value) ? HPE_USER : 0;
}

static bool keep_header(char *out, size_t capacity, const char *value) {
    return lease__copy(out, capacity, value);
}

static int on_value_complete(llhttp_t *parser) {
    struct reading *reading = reading_of(parser);
    devapi_request *request = reading->request;
    const char *name = reading->name_data;
    const char *value = reading->value_data;
    bool fits = true;
    if (strcasecmp(name, "host") == 0) reading->has_host = true;
    if (strcasecmp(name, "expect") == 0) {
        fits = keep_header(reading->expect, sizeof reading->expect, value);
    }
    if (request != NULL) {
        if (strcasecmp(name, "authorization") == 0) {
            fits = keep_header(request->authorization, sizeof request->authorization, value);
        } else if (strcasecmp(name, "accept") == 0) {
            fits = keep_header(request->accept, sizeof request->accept, value);
        } else if (strcasecmp(name, "content-type") == 0) {
            fits = keep_header(request->content_type, sizeof request->content_type, value);
        } else if (strcasecmp(name, "user-agent") == 0) {
            fits = keep_header(request->user_agent, sizeof request->user_agent, value);
        }
    }
    reading->name.length = 0;
    return fits ? 0 : HPE_USER;
}

static int on_headers_complete(llhttp_t *parser) {
    struct reading *reading = reading_of(parser);
    reading->head_done = true;
    if (parser->content_length > DEVAPI_MAX_BODY) {
        reading->too_large = true;
        return HPE_USER;
    }
    return 0;
}

static int on_body(llhttp_t *parser, const char *at, size_t length) {
    struct reading *reading = reading_of(parser);
    reading->body_bytes += length;
    if (reading->body_bytes > DEVAPI_MAX_BODY) return HPE_USER;
    if (reading->request != NULL) lease__put_bytes(&reading->body, at, length);
    return 0;
}

static int on_message_complete(llhttp_t *parser) {
    reading_of(parser)->whole = true;
    return HPE_PAUSED;
}

static llhttp_errno_t read_bytes(llhttp_t *parser, struct reading *reading, const char *bytes,
                                 size_t length) {
    llhttp_settings_t settings;
    llhttp_settings_init(&settings);
    settings.on_url = on_url;
    settings.on_header_field = on_field;
    settings.on_header_value = on_value;
    settings.on_header_value_complete = on_value_complete;
    settings.on_headers_complete = on_headers_complete;
    settings.on_body = on_body;
    settings.on_message_complete = on_message_complete;
    llhttp_init(parser, HTTP_REQUEST, &settings);
    parser->data = reading;
    return llhttp_execute(parser, bytes, length);
}

/* The end of the head, when no parser can tell: the client stops at the blank line. */
static size_t head_length(const char *bytes, size_t length) {
    const char *end = (const char *)memmem(bytes, length, "\r\n\r\n", 4);
    return end == NULL ? length : (size_t)(end - bytes) + 4;
}

devapi_framing devapi_frame(const char *bytes, size_t length, devapi_frame_result *result) {
    struct reading reading;
    llhttp_t parser;
    memset(result, 0, sizeof *result);
    memset(&reading, 0, sizeof reading);
    const llhttp_errno_t error = read_bytes(&parser, &reading, bytes, length);
    if (reading.whole) {
        result->used = (size_t)(llhttp_get_error_pos(&parser) - bytes);
        return DEVAPI_FRAME_WHOLE;
    }
    if (reading.too_large) {
        result->used = head_length(bytes, length);
        result->discard = parser.content_length;
        result->expect_continue = strcasecmp(reading.expect, "100-continue") == 0;
        return DEVAPI_FRAME_WHOLE;
    }
    result->used = length;
    if (error != HPE_OK || length >= DEVAPI_MAX_REQUEST) return DEVAPI_FRAME_BAD;
    if (!reading.head_done && length >= DEVAPI_MAX_HEAD) return DEVAPI_FRAME_BAD;
    result->expect_continue =
        reading.head_done && strcasecmp(reading.expect, "100-continue") == 0;
    return DEVAPI_FRAME_MORE;
}

/* Decodes %XX (and + in a query) up to end. False for a bad escape, a NUL, or too long a text. */
static bool percent_decode(const char *at, const char *end, bool plus, char *out,
                           size_t capacity) {
    size_t used = 0;
    while (at < end) {
        char c = *at++;
        if (c == '+' && plus) c = ' ';
        if (c == '%') {
            if (end - at < 2) return false;
            const int high = lease__hex_digit(at[0]);
            const int low = lease__hex_digit(at[1]);
            if (high < 0 || low < 0 || (high == 0 && low == 0)) return false;
            c = (char)(high * 16 + low);
            at += 2;
        }
        if (used + 1 >= capacity) return false;
        out[used++] = c;
    }
    out[used] = '\0';
    return true;
}

bool devapi_request_parse(devapi_request *request, const char *bytes, size_t length) {
    struct reading reading;
    llhttp_t parser;
    char *body = request->body;
    memset(request, 0, sizeof *request);
    memset(&reading, 0, sizeof reading);
    request->body = body;
    request->query = "";
    reading.request = request;
    reading.target = lease__buf_make(request->target, sizeof request->target);
    reading.body = lease__buf_make(body, DEVAPI_MAX_BODY + 1);
    read_bytes(&parser, &reading, bytes, length);
    request->too_large = reading.too_large;
    request->has_host = reading.has_host;
    request->body_length = reading.body.length;
    if (!reading.whole && !reading.too_large) return false;
    request->keep_alive = !reading.too_large && llhttp_should_keep_alive(&parser) != 0;
    if (!lease__copy(request->method, sizeof request->method,
                     llhttp_method_name((llhttp_method_t)parser.method))) {
        return false;
    }
    const char *mark = strchr(request->target, '?');
    const char *end = mark != NULL ? mark : request->target + strlen(request->target);
    if (mark != NULL) request->query = mark + 1;
    if (request->target[0] != '/') return false;
    return percent_decode(request->target, end, false, request->path, sizeof request->path);
}

bool devapi_request_query(const devapi_request *request, const char *name, char *out,
                          size_t capacity) {
    const size_t name_length = strlen(name);
    out[0] = '\0';
    for (const char *at = request->query; *at != '\0';) {
        const char *end = strchrnul(at, '&');
        const size_t length = (size_t)(end - at);
        if (length >= name_length && memcmp(at, name, name_length) == 0) {
            const char *value = at + name_length;
            if (value == end) return true;
            if (*value == '=') {
                const bool good = percent_decode(value + 1, end, true, out, capacity);
                if (!good) out[0] = '\0';
                return good;
            }
        }
        at = *end == '&' ? end + 1 : end;
    }
    return false;
}
