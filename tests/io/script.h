/* script.h -- a whole client in virtual time over a scripted transport: no socket, no TLS, no
 * waiting. Behind the transport stands a small API server for Leases, whose answers can be cut,
 * replaced, held back or lost; every byte goes in pieces of a chosen size, with a would-block
 * before each of them. A scenario is run in each mode, and must come to the same. */
#ifndef SCRIPT_H
#define SCRIPT_H

#include "../unit/fake.h"

#include <stdlib.h>

#define IO_MAX_REQUESTS 2048
#define IO_MAX_REQUEST (128 * 1024)
#define IO_MAX_ANSWER (512 * 1024)
#define IO_TOKEN "s3cret-token"
#define IO_MODES 3

typedef struct io_request {
    int64_t at_ms;
    int connection;
    char method[8];
    char path[200];
    char body[1200];
    char token[64];  /* "" = without */
    bool authorized; /* with the token that is good now */
    bool leader;     /* what lease_is_leader(io.watched) said while it was sent */
} io_request;

/* What becomes of an answer once its bytes (or so many of them) have gone. */
typedef enum io_then { IO_KEEP, IO_CLOSE, IO_BREAK, IO_STALL } io_then;

typedef struct io_fault {
    int times;          /* so many requests, -1 = all from now on */
    bool not_applied;   /* the server does not act on it */
    const char *answer; /* this instead of its answer */
    size_t length;      /* 0 = that of the text */
    bool cut;
    size_t cut_at;      /* ... after so many bytes */
    io_then then;
} io_fault;

typedef struct io_object {
    bool exists;
    char name[64];
    char spec[700];
    char others[512]; /* further members of its metadata */
    unsigned uid;
    uint64_t version;
} io_object;

typedef struct io_world {
    int mode;
    int opened;        /* connections, so far */
    int open_now;
    bool moved;        /* bytes, since the last look */
    char host[64];     /* that was asked for last */
    uint16_t port;
    lease_status open_status; /* LEASE_OK = it opens */
    bool open_stalls;         /* ... and then nothing moves */
    bool send_stalls;         /* after the first piece of a request */
    int fd;                   /* what the connection gives to poll for */
    io_fault fault;
    const char *token;        /* the good one */
    bool close_each;          /* Connection: close in each answer */
    const char *headers;      /* further ones */
    uint64_t version;
    io_object objects[64];
    int object_count;
    lease *watched;
    int request_count;
    int64_t applied_ms; /* the last write under the identity "me" that was stored */
    int cuts;           /* answers that were cut short */
    int misuse;         /* of the transport's table */
    void (*on_request)(const io_request *request);
    io_request requests[IO_MAX_REQUESTS]; /* the last member: large, and counted */
} io_world;

static io_world io;

typedef struct io_connection {
    bool open;
    int number;
    bool blocked; /* the last call was refused, the next one is not */
    size_t in_length;
    size_t out_length;
    size_t out_sent;
    io_then then;
    bool answered;
    char in[IO_MAX_REQUEST];
    char out[IO_MAX_ANSWER];
} io_connection;

static io_connection io_connections[2]; /* a closed one and its successor */

/* -- The server -------------------------------------------------------------------------------- */

static inline io_object *io_find(const char *name) {
    for (int i = 0; i < io.object_count; i++) {
        if (strcmp(io.objects[i].name, name) == 0) return &io.objects[i];
    }
    io_object *made = &io.objects[io.object_count++];
    snprintf(made->name, sizeof made->name, "%s", name);
    return made;
}

/* Somebody else's write. */
static inline void io_hold(const char *name, const char *holder) {
    io_object *object = io_find(name);
    if (!object->exists) object->uid++;
    object->exists = true;
    object->version = ++io.version;
    snprintf(object->spec, sizeof object->spec,
             "{\"holderIdentity\":\"%s\",\"leaseDurationSeconds\":15,\"renewTime\":"
             "\"2023-01-01T00:00:00.%06uZ\",\"leaseTransitions\":1}",
             holder, (unsigned)(io.version % 1000000));
}

static inline const char *io_holder(const char *name) {
    static char holder[300];
    const io_object *object = io_find(name);
    const char *at = strstr(object->spec, "\"holderIdentity\":\"");
    holder[0] = '\0';
    if (object->exists && at != NULL) sscanf(at + 18, "%299[^\"]", holder);
    return holder;
}

static inline size_t io_body(const io_object *object, char *out, size_t capacity) {
    return (size_t)snprintf(
        out, capacity,
        "{\"kind\":\"Lease\",\"apiVersion\":\"coordination.k8s.io/v1\",\"metadata\":{\"name\":"
        "\"%s\",\"namespace\":\"ns\",\"uid\":\"uid-%s-%u\",\"resourceVersion\":\"%" PRIu64 "\"%s,"
        "\"managedFields\":[{\"manager\":\"leader-election\",\"operation\":\"Update\"}]},\"spec\":"
        "%s}\n",
        object->name, object->name, object->uid, object->version, object->others, object->spec);
}

static inline size_t io_status(int code, const char *reason, char *out, size_t capacity) {
    return (size_t)snprintf(out, capacity,
                            "{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"status\":\"Failure\","
                            "\"message\":\"no: %s\",\"reason\":\"%s\",\"details\":{\"kind\":"
                            "\"leases\"},\"code\":%d}\n",
                            reason, reason, code);
}

/* The spec that a body carries; false when its uid and version are not those of the object. */
static inline bool io_take_spec(io_object *object, const char *body, bool update) {
    char expected[160];
    const char *spec = strstr(body, "\"spec\":");
    const char *end = spec != NULL ? strchr(spec, '}') : NULL;
    snprintf(expected, sizeof expected, "\"uid\":\"uid-%s-%u\",\"resourceVersion\":\"%" PRIu64 "\"",
             object->name, object->uid, object->version);
    if (update && strstr(body, expected) == NULL) return false;
    if (end == NULL || (size_t)(end - spec) - 6 >= sizeof object->spec) return false;
    memcpy(object->spec, spec + 7, (size_t)(end - spec) - 6);
    object->spec[end - spec - 6] = '\0';
    if (!object->exists) object->uid++;
    object->exists = true;
    object->version = ++io.version;
    if (strstr(object->spec, "\"holderIdentity\":\"me\"") != NULL) io.applied_ms = fake.boot_ms;
    return true;
}

/* Acts on the request; returns the code and the body. */
static inline int io_serve(const io_request *request, char *body, size_t capacity) {
    char name[64] = "";
    const char *leases = strstr(request->path, "/leases");
    const char *named = strstr(request->body, "\"name\":\"");
    if (leases != NULL) sscanf(leases, "/leases/%63s", name);
    if (name[0] == '\0' && named != NULL) sscanf(named + 8, "%63[^\"]", name);
    if (io.token != NULL && !request->authorized) {
        io_status(401, "Unauthorized", body, capacity);
        return 401;
    }
    io_object *object = io_find(name);
    int code = 200;
    if (strcmp(request->method, "GET") == 0) {
        if (!object->exists) code = 404;
    } else if (strcmp(request->method, "POST") == 0) {
        code = object->exists ? 409 : 201;
        if (code == 201 && !io_take_spec(object, request->body, false)) code = 422;
    } else if (!object->exists || !io_take_spec(object, request->body, true)) {
        code = 409;
    }
    const char *conflict = strcmp(request->method, "POST") == 0 ? "AlreadyExists" : "Conflict";
    if (code < 300) io_body(object, body, capacity);
    else io_status(code, code == 404 ? "NotFound" : conflict, body, capacity);
    return code;
}

/* -- From bytes to requests, from answers to bytes --------------------------------------------- */

static inline void io_note(io_connection *c, io_request *request) {
    memset(request, 0, sizeof *request);
    request->at_ms = fake.boot_ms;
    request->connection = c->number;
    sscanf(c->in, "%7s %199s", request->method, request->path);
    const char *end = strstr(c->in, "\r\n\r\n");
    snprintf(request->body, sizeof request->body, "%.1199s", end + 4);
    const char *token = strstr(c->in, "\r\nAuthorization: Bearer ");
    if (token != NULL && token < end) sscanf(token + 24, "%63[^\r]", request->token);
    request->authorized = io.token != NULL && strcmp(request->token, io.token) == 0;
    request->leader = lease_is_leader(io.watched);
}

static inline void io_reply(io_connection *c, const io_request *request) {
    static char body[IO_MAX_ANSWER / 2];
    io_fault fault;
    memset(&fault, 0, sizeof fault);
    if (io.fault.times != 0) {
        fault = io.fault;
        if (io.fault.times > 0) io.fault.times--;
    }
    int code = 200;
    body[0] = '\0';
    if (!fault.not_applied) code = io_serve(request, body, sizeof body);
    c->out_length = (size_t)snprintf(c->out, sizeof c->out,
                                     "HTTP/1.1 %d X\r\nContent-Type: application/json\r\n%s%s"
                                     "Content-Length: %zu\r\n\r\n%s",
                                     code, io.headers != NULL ? io.headers : "",
                                     io.close_each ? "Connection: close\r\n" : "", strlen(body),
                                     body);
    if (fault.answer != NULL) {
        c->out_length = fault.length != 0 ? fault.length : strlen(fault.answer);
        memcpy(c->out, fault.answer, c->out_length);
    }
    c->then = io.close_each ? IO_CLOSE : fault.then;
    if (fault.cut && fault.cut_at < c->out_length) {
        c->out_length = fault.cut_at;
        io.cuts++;
    }
    c->out_sent = 0;
    c->answered = true;
}

/* A whole request has come when its announced body has. */
static inline void io_look(io_connection *c) {
    c->in[c->in_length] = '\0';
    const char *end = strstr(c->in, "\r\n\r\n");
    if (end == NULL || c->answered) return;
    const char *length = strstr(c->in, "Content-Length: ");
    const size_t announced = length != NULL && length < end ? strtoul(length + 16, NULL, 10) : 0;
    if (c->in_length - (size_t)(end + 4 - c->in) < announced) return;
    if (io.request_count == IO_MAX_REQUESTS) _exit(2);
    io_request *request = &io.requests[io.request_count++];
    io_note(c, request);
    if (io.on_request != NULL) io.on_request(request);
    io_reply(c, request);
}

/* -- The table --------------------------------------------------------------------------------- */

static inline size_t io_piece(size_t count) {
    static const size_t pieces[IO_MODES] = {IO_MAX_ANSWER, 1, 7};
    const size_t piece = pieces[io.mode % IO_MODES];
    return count < piece ? count : piece;
}

/* In all modes but the first, every second call would block. */
static inline bool io_blocks(io_connection *c) {
    c->blocked = io.mode != 0 && !c->blocked;
    if (c->blocked) io.moved = true;
    return c->blocked;
}

static inline lease_status io_open(void *context, const char *host, uint16_t port,
                                   void **connection, lease_error *error) {
    (void)context;
    io.opened++;
    snprintf(io.host, sizeof io.host, "%s", host);
    io.port = port;
    *connection = NULL;
    if (io.open_status != LEASE_OK) {
        error->status = io.open_status;
        snprintf(error->message, sizeof error->message, "scripted: no connection");
        return io.open_status;
    }
    if (io.open_now != 0) io.misuse++; /* one at a time */
    io_connection *c = &io_connections[io.opened % 2];
    memset(c, 0, offsetof(io_connection, in));
    c->open = true;
    c->number = io.opened;
    io.open_now++;
    *connection = c;
    return LEASE_OK;
}

static inline int32_t io_break(lease_error *error) {
    error->status = LEASE_CLOSED;
    snprintf(error->message, sizeof error->message, "scripted: the connection broke");
    return LEASE_IO_FAILED;
}

static inline int32_t io_send(void *connection, const void *bytes, size_t count,
                              lease_error *error) {
    io_connection *c = (io_connection *)connection;
    if (!c->open || count == 0) io.misuse++;
    if (c->answered && c->out_sent == c->out_length && c->then == IO_CLOSE) return LEASE_IO_CLOSED;
    if (c->answered && c->then == IO_BREAK) return io_break(error);
    if (io.open_stalls || (io.send_stalls && c->in_length > 0) || io_blocks(c)) {
        return LEASE_IO_WANT_WRITE;
    }
    if (c->answered) { /* the next request on a kept connection */
        if (c->out_sent != c->out_length) io.misuse++;
        c->answered = false;
        c->in_length = 0;
    }
    const size_t piece = io.send_stalls ? 1 : io_piece(count);
    if (c->in_length + piece >= sizeof c->in) _exit(2);
    memcpy(c->in + c->in_length, bytes, piece);
    c->in_length += piece;
    io.moved = true;
    io_look(c);
    return (int32_t)piece;
}

static inline int32_t io_recv(void *connection, void *bytes, size_t capacity, lease_error *error) {
    io_connection *c = (io_connection *)connection;
    if (!c->open) io.misuse++;
    if (io_blocks(c) || !c->answered) return LEASE_IO_WANT_READ;
    const size_t left = c->out_length - c->out_sent;
    if (left > 0) {
        const size_t count = io_piece(left < capacity ? left : capacity);
        memcpy(bytes, c->out + c->out_sent, count);
        c->out_sent += count;
        io.moved = true;
        return (int32_t)count;
    }
    if (c->then == IO_CLOSE) return LEASE_IO_CLOSED;
    return c->then == IO_BREAK ? io_break(error) : LEASE_IO_WANT_READ;
}

static inline void io_close(void *connection) {
    io_connection *c = (io_connection *)connection;
    if (!c->open) io.misuse++;
    c->open = false;
    io.open_now--;
}

static inline int io_fd(void *connection) {
    if (!((io_connection *)connection)->open) io.misuse++;
    return io.fd;
}

/* -- A client over it -------------------------------------------------------------------------- */

static lease_client *io_client;
static char io_log[65536];

static inline void io_keep_log(lease_log_level level, const char *message, void *user) {
    (void)level;
    (void)user;
    strncat(io_log, message, sizeof io_log - strlen(io_log) - 2);
    strcat(io_log, "\n");
}

static inline void io_begin(int mode) {
    fake_begin();
    memset(&io, 0, offsetof(io_world, requests));
    io.mode = mode;
    io.fd = -1;
    io.version = 100;
    io_log[0] = '\0';
}

static inline lease_status io_create_client(const char *token_file, bool verified) {
    const lease_transport transport = {NULL,    verified, io_open, io_send,
                                       io_recv, io_close, io_fd};
    lease_client_desc desc;
    lease_error error;
    memset(&desc, 0, sizeof desc);
    desc.server = "https://192.0.2.1:6443";
    desc.token_file = token_file;
    desc.transport = &transport;
    desc.hooks = &fake_hooks;
    desc.log = io_keep_log;
    return lease_client_create(&desc, &io_client, &error);
}

/* The client and its lease "a"; the first turn is still to come. */
static inline lease *io_start(int mode) {
    const lease_desc desc = fake_desc("a");
    io_begin(mode);
    const lease_status status = io_create_client(NULL, true);
    test__check(status == LEASE_OK, __FILE__, __LINE__, "%s", lease_status_name(status));
    if (status != LEASE_OK) _exit(2);
    io.watched = fake_lease(io_client, &desc);
    return io.watched;
}

/* Turns and lets time pass, as fake_run does; bytes take none. */
static inline void io_run(int64_t for_ms) {
    const int64_t end_ms = fake.boot_ms + for_ms;
    int again = 0;
    for (;;) {
        io.moved = false;
        lease_client_poll(io_client, 0);
        const int64_t wait_ms = lease_client_wait_ms(io_client);
        again = wait_ms == 0 && !io.moved ? again + 1 : 0;
        if (again == FAKE_AGAIN) {
            test__check(false, __FILE__, __LINE__, "%s", "a loop without delay");
            return;
        }
        if (wait_ms == 0 || io.moved) continue;
        if (fake.boot_ms + wait_ms > end_ms) break;
        fake.boot_ms += wait_ms;
    }
    fake.boot_ms = end_ms;
}

/* Ends the client; what must hold at the end of every scenario. */
static inline void io_end(void) {
    lease_client_destroy(io_client);
    io_client = NULL;
    io.watched = NULL;
    test__check(io.open_now == 0, __FILE__, __LINE__, "%d connections are open", io.open_now);
    test__check(io.misuse == 0, __FILE__, __LINE__, "the table was misused %d times", io.misuse);
    test__check(strstr(io_log, "s3cret") == NULL, __FILE__, __LINE__, "the log holds a secret");
    for (size_t i = 0; i < fake.event_count; i++) {
        test__check(strstr(fake.events[i].message, "s3cret") == NULL, __FILE__, __LINE__,
                    "an error holds a secret");
    }
}

/* How many requests there were from number first on, of a method; NULL = all. */
static inline int io_count(int first, const char *method) {
    int count = 0;
    for (int i = first; i < io.request_count; i++) {
        count += method == NULL || strcmp(io.requests[i].method, method) == 0;
    }
    return count;
}

/* The methods of all requests from number first on: "GET POST PUT". */
static inline const char *io_methods(int first) {
    static char text[IO_MAX_REQUESTS * 6];
    size_t length = 0;
    text[0] = '\0';
    for (int i = first; i < io.request_count; i++) {
        length += (size_t)snprintf(text + length, sizeof text - length,
        "%s%s", i > first ? " " : "",
                                   io.requests[i].method);
    }
    return text;
}

static inline void io_set_fault(io_fault fault) { io.fault = fault; }

#define IO_EACH_MODE(mode)                                                                         \
    for (int mode = 0; mode < IO_MODES && (CASE("mode %d", mode), true); mode++)

#endif
