/* server.c -- the HTTP endpoints of --listen.
 *
 * Slow, many or hostile clients must not delay a renewal, so nothing here waits: sockets do not
 * block, there are at most SERVER_MAX_CONNECTIONS of them, a request has REQUEST_MAX_BYTES and each
 * connection TOTAL_MS from accept to close, for one request. When all places are taken the oldest
 * client loses its own: an honest one has been answered long ago. Only reading is offered (GET,
 * HEAD), from a fixed list of paths, and nothing of the request is reflected. */
#include "tool.h"

#include <arpa/inet.h>
#include <errno.h>
#include <llhttp.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#define REQUEST_MAX_BYTES 2048
#define TOTAL_MS 5000
#define ACCEPT_PAUSE_MS 100
#define METRICS_MAX_BYTES (256 * 1024)
#define HEADER_MAX_BYTES 512

struct connection {
    int fd; /* -1 = free */
    int64_t close_at_ms;
    llhttp_t parser;
    size_t received;
    char path[32];
    size_t path_length; /* may exceed path: then it is none of ours */
    char field[8];      /* name of the header being read, lower case; only "accept" matters */
    size_t field_length;
    char accept[256];
    size_t accept_length;
    bool in_value;
    bool complete;  /* the request's head has been read */
    char *answer;   /* NULL = still reading */
    size_t length;
    size_t sent;
};

struct server {
    struct server_desc desc;
    int fd;
    int64_t accept_at_ms; /* no descriptor was left: do not try before */
    char address[INET6_ADDRSTRLEN + 10];
    llhttp_settings_t settings;
    struct connection connections[SERVER_MAX_CONNECTIONS];
};

/* -- Address ------------------------------------------------------------------------------------*/

union any_address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

static bool parse_port(const char *string, in_port_t *port)
{
    size_t digits = strspn(string, "0123456789");
    if (digits == 0 || digits > 5 || string[digits] != '\0') return false;
    long value = strtol(string, NULL, 10);
    *port = htons((uint16_t)value);
    return value <= 65535;
}

/* 4040, :4040 and localhost:4040 are loopback; 1.2.3.4:4040; [::1]:4040. Names are not resolved. */
static const char *parse_address(const char *string, union any_address *address)
{
    memset(address, 0, sizeof *address);
    const char *colon = strrchr(string, ':');
    const char *port = colon == NULL ? string : colon + 1;
    char host[INET6_ADDRSTRLEN + 2] = "";
    if (colon != NULL) {
        size_t length = (size_t)(colon - string);
        if (length >= sizeof host) return "is not ADDR:PORT";
        memcpy(host, string, length);
        host[length] = '\0';
    }
    size_t length = strlen(host);
    if (length > 2 && host[0] == '[' && host[length - 1] == ']') {
        host[length - 1] = '\0';
        address->v6.sin6_family = AF_INET6;
        if (inet_pton(AF_INET6, host + 1, &address->v6.sin6_addr) != 1) return "is not ADDR:PORT";
        return parse_port(port, &address->v6.sin6_port) ? NULL : "has no port from 0 to 65535";
    }
    const char *numeric = host[0] == '\0' || strcmp(host, "localhost") == 0 ? "127.0.0.1" : host;
    address->v4.sin_family = AF_INET;
    if (inet_pton(AF_INET, numeric, &address->v4.sin_addr) != 1) return "is not ADDR:PORT";
    return parse_port(port, &address->v4.sin_port) ? NULL : "has no port from 0 to 65535";
}

const char *server_check_address(const char *address)
{
    union any_address parsed;
    return parse_address(address, &parsed);
}

static void format_address(const union any_address *address, char *text, size_t capacity)
{
    char host[INET6_ADDRSTRLEN] = "?";
    if (address->any.sa_family == AF_INET6) {
        inet_ntop(AF_INET6, &address->v6.sin6_addr, host, sizeof host);
        snprintf(text, capacity, "[%s]:%u", host, (unsigned)ntohs(address->v6.sin6_port));
    } else {
        inet_ntop(AF_INET, &address->v4.sin_addr, host, sizeof host);
        snprintf(text, capacity, "%s:%u", host, (unsigned)ntohs(address->v4.sin_port));
    }
}

/* -- Request ------------------------------------------------------------------------------------*/

/* llhttp hands out pieces; each is added as far as it fits. */
static void collect(char *buffer, size_t capacity, size_t *length, const char *piece, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (*length + 1 < capacity) buffer[*length] = piece[i];
        (*length)++;
    }
}

static int on_url(llhttp_t *parser, const char *at, size_t length)
{
    struct connection *connection = parser->data;
    collect(connection->path, sizeof connection->path, &connection->path_length, at, length);
    return 0;
}

static int on_field(llhttp_t *parser, const char *at, size_t length)
{
    struct connection *connection = parser->data;
    if (connection->in_value) {
        connection->in_value = false;
        connection->field_length = 0;
        memset(connection->field, 0, sizeof connection->field);
    }
    collect(connection->field, sizeof connection->field, &connection->field_length, at, length);
    return 0;
}

static int on_value(llhttp_t *parser, const char *at, size_t length)
{
    struct connection *connection = parser->data;
    connection->in_value = true;
    if (connection->field_length == 6 && strcasecmp(connection->field, "accept") == 0) {
        collect(connection->accept, sizeof connection->accept, &connection->accept_length, at,
                length);
    }
    return 0;
}

/* A body, or a second request, is of no interest: stop here. */
static int on_headers_complete(llhttp_t *parser)
{
    struct connection *connection = parser->data;
    connection->complete = true;
    return HPE_PAUSED;
}

/* -- Answer -------------------------------------------------------------------------------------*/

#define TYPE_TEXT "text/plain; charset=utf-8"
#define TYPE_JSON "application/json"

struct answer {
    int status;
    const char *type;
    const char *body;
    size_t length;
};

static const char *status_text(int status)
{
    switch (status) {
    case 200: return "OK";
    case 400: return "Bad Request";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 431: return "Request Header Fields Too Large";
    case 503: return "Service Unavailable";
    default: return "Internal Server Error";
    }
}

static void reply(struct connection *connection, const struct answer *answer)
{
    char head[HEADER_MAX_BYTES];
    struct text text = text_in(head, sizeof head);
    text_add(&text, "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n",
             answer->status, status_text(answer->status), answer->type, answer->length);
    if (answer->status == 405) text_add(&text, "Allow: GET, HEAD\r\n");
    text_add(&text, "Cache-Control: no-store\r\nConnection: close\r\n\r\n");
    bool head_only = connection->complete && connection->parser.method == HTTP_HEAD;
    size_t body_length = head_only ? 0 : answer->length;
    connection->answer = malloc(text.length + body_length);
    if (connection->answer == NULL) {
        connection->close_at_ms = 0;
        return;
    }
    memcpy(connection->answer, head, text.length);
    memcpy(connection->answer + text.length, answer->body, body_length);
    connection->length = text.length + body_length;
}

static void reply_text(struct connection *connection, int status, const char *type,
                       const char *body)
{
    reply(connection, &(struct answer){status, type, body, strlen(body)});
}

/* What users of the old leader-elector sidecar read: {"name":"HOLDER"}, and what we add. */
static void reply_leader(const struct server *server, struct connection *connection, bool probe)
{
    char body[4096];
    struct text text = text_in(body, sizeof body);
    lease_view view;
    lease_view_get(server->desc.lease, &view);
    text_add(&text, "{\"name\":");
    text_add_json(&text, view.holder);
    text_add(&text, ",\"is_leader\":%s,\"token\":%llu,\"identity\":",
             view.is_leader ? "true" : "false", (unsigned long long)view.token);
    text_add_json(&text, lease_identity(server->desc.lease));
    text_add(&text, ",\"lease\":\"%s/%s\"}\n", server->desc.ns, server->desc.name);
    reply_text(connection, probe && !view.is_leader ? 503 : 200, TYPE_JSON, body);
}

static void reply_range(const struct server *server, struct connection *connection)
{
    char body[256];
    struct text text = text_in(body, sizeof body);
    lease_view view;
    lease_view_get(server->desc.lease, &view);
    if (view.has_range) {
        text_add(&text, "{\"range\":{\"start\":\"");
        text_add_time(&text, view.range.start_us);
        text_add(&text, "\",\"end\":\"");
        text_add_time(&text, view.range.end_us);
        text_add(&text, "\"}");
    } else {
        text_add(&text, "{\"range\":null");
    }
    text_add(&text, ",\"failing_open\":%s}\n", view.failing_open ? "true" : "false");
    reply_text(connection, view.has_range ? 200 : 503, TYPE_JSON, body);
}

/* Ready = the API answers us, whatever it says about the leader: readiness that needs leadership
 * would block every rolling update. */
static void reply_ready(const struct server *server, struct connection *connection)
{
    lease_view view;
    lease_view_get(server->desc.lease, &view);
    lease_status last = view.last_status;
    bool answered = last == LEASE_OK || last == LEASE_CONFLICT || last == LEASE_ALREADY_EXISTS ||
                    last == LEASE_NOT_FOUND;
    char body[128];
    struct text text = text_in(body, sizeof body);
    if (view.observed && answered) text_add(&text, "ok\n");
    else text_add(&text, "%s\n", view.observed ? lease_status_name(last) : "no answer yet");
    reply_text(connection, view.observed && answered ? 200 : 503, TYPE_TEXT, body);
}

static void reply_metrics(const struct server *server, struct connection *connection)
{
    static const char *const types[] = {
        "text/plain; version=0.0.4; charset=utf-8",
        "application/openmetrics-text; version=1.0.0; charset=utf-8"};
    bool open = strcasestr(connection->accept, "application/openmetrics-text") != NULL;
    lease_metrics_format format = open ? LEASE_METRICS_OPENMETRICS : LEASE_METRICS_TEXT;
    size_t length = lease_metrics_write(server->desc.client, format, NULL, 0);
    char *body = length < METRICS_MAX_BYTES ? malloc(length + 256) : NULL;
    if (body == NULL) {
        reply_text(connection, 503, TYPE_TEXT, "no memory\n");
        return;
    }
    /* A number may have gained a digit since; what does not fit then is left out. */
    size_t now = lease_metrics_write(server->desc.client, format, body, length + 256);
    reply(connection, &(struct answer){200, types[open], body, now > length + 255 ? length : now});
    free(body);
}

static void route(const struct server *server, struct connection *connection)
{
    connection->accept[sizeof connection->accept - 1] = '\0';
    char *path = connection->path;
    path[sizeof connection->path - 1] = '\0';
    if (connection->parser.method != HTTP_GET && connection->parser.method != HTTP_HEAD) {
        reply_text(connection, 405, TYPE_TEXT, "only GET and HEAD\n");
        return;
    }
    if (connection->path_length >= sizeof connection->path) path[0] = '\0';
    path[strcspn(path, "?")] = '\0';
    if (strcmp(path, "/") == 0) reply_leader(server, connection, false);
    else if (strcmp(path, "/leader") == 0) reply_leader(server, connection, true);
    else if (strcmp(path, "/range") == 0) reply_range(server, connection);
    else if (strcmp(path, "/healthz") == 0) reply_text(connection, 200, TYPE_TEXT, "ok\n");
    else if (strcmp(path, "/readyz") == 0) reply_ready(server, connection);
    else if (strcmp(path, "/metrics") == 0) reply_metrics(server, connection);
    else reply_text(connection, 404, TYPE_TEXT,
                    "/ /leader /range /healthz /readyz /metrics\n");
}

/* -- Connections --------------------------------------------------------------------------------*/

static void end_connection(struct connection *connection)
{
    close(connection->fd);
    free(connection->answer);
    memset(connection, 0, sizeof *connection);
    connection->fd = -1;
}

static struct connection *free_place(struct server *server)
{
    struct connection *oldest = &server->connections[0];
    for (size_t i = 0; i < SERVER_MAX_CONNECTIONS; i++) {
        struct connection *connection = &server->connections[i];
        if (connection->fd == -1) return connection;
        if (connection->close_at_ms < oldest->close_at_ms) oldest = connection;
    }
    end_connection(oldest);
    return oldest;
}

/* False: nobody waits any more. */
static bool accept_one(struct server *server)
{
    int fd = accept4(server->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd == -1) {
        bool exhausted = errno != EAGAIN && errno != EINTR && errno != ECONNABORTED;
        if (exhausted) server->accept_at_ms = now_ms() + ACCEPT_PAUSE_MS;
        return false;
    }
    struct connection *connection = free_place(server);
    connection->fd = fd;
    connection->close_at_ms = now_ms() + TOTAL_MS;
    llhttp_init(&connection->parser, HTTP_REQUEST, &server->settings);
    connection->parser.data = connection;
    return true;
}

static void receive(struct server *server, struct connection *connection)
{
    char bytes[REQUEST_MAX_BYTES];
    ssize_t count = recv(connection->fd, bytes, sizeof bytes, 0);
    if (count == -1 && (errno == EAGAIN || errno == EINTR)) return;
    if (count <= 0) {
        connection->close_at_ms = 0;
        return;
    }
    /* After the answer we only wait for the client's own end: a close with unread bytes would
     * become a reset, which can overtake the answer. */
    if (connection->answer != NULL) return;
    connection->received += (size_t)count;
    llhttp_errno_t error = llhttp_execute(&connection->parser, bytes, (size_t)count);
    if (connection->complete) {
        route(server, connection);
    } else if (error != HPE_OK) {
        reply_text(connection, 400, TYPE_TEXT, "not an HTTP request\n");
    } else if (connection->received >= REQUEST_MAX_BYTES) {
        reply_text(connection, 431, TYPE_TEXT, "the request is too long\n");
    }
}

static void transmit(struct connection *connection)
{
    while (connection->sent < connection->length) {
        ssize_t count = send(connection->fd, connection->answer + connection->sent,
                             connection->length - connection->sent, MSG_NOSIGNAL);
        if (count == -1 && (errno == EAGAIN || errno == EINTR)) return;
        if (count <= 0) {
            connection->close_at_ms = 0;
            return;
        }
        connection->sent += (size_t)count;
    }
    shutdown(connection->fd, SHUT_WR);
}

/* -- Server -------------------------------------------------------------------------------------*/

static bool bind_address(struct server *server, const char *string)
{
    union any_address address;
    int yes = 1;
    if (parse_address(string, &address) != NULL) return false;
    socklen_t length = address.any.sa_family == AF_INET6 ? sizeof address.v6 : sizeof address.v4;
    server->fd = socket(address.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (server->fd == -1) return false;
    setsockopt(server->fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(server->fd, &address.any, length) == -1) return false;
    if (listen(server->fd, SERVER_MAX_CONNECTIONS) == -1) return false;
    if (getsockname(server->fd, &address.any, &length) == -1) return false;
    format_address(&address, server->address, sizeof server->address);
    return true;
}

struct server *server_open(const struct server_desc *desc)
{
    struct server *server = calloc(1, sizeof *server);
    if (server == NULL) {
        complain("--listen: out of memory");
        return NULL;
    }
    server->desc = *desc;
    server->fd = -1;
    for (size_t i = 0; i < SERVER_MAX_CONNECTIONS; i++) server->connections[i].fd = -1;
    llhttp_settings_init(&server->settings);
    server->settings.on_url = on_url;
    server->settings.on_header_field = on_field;
    server->settings.on_header_value = on_value;
    server->settings.on_headers_complete = on_headers_complete;
    if (!bind_address(server, desc->address)) {
        complain("--listen: cannot listen on %s: %s", desc->address, strerror(errno));
        server_close(server);
        return NULL;
    }
    return server;
}

void server_close(struct server *server)
{
    if (server == NULL) return;
    for (size_t i = 0; i < SERVER_MAX_CONNECTIONS; i++) {
        if (server->connections[i].fd != -1) end_connection(&server->connections[i]);
    }
    if (server->fd != -1) close(server->fd);
    free(server);
}

const char *server_address(const struct server *server)
{
    return server->address;
}

size_t server_fds(const struct server *server, struct pollfd *fds, size_t capacity)
{
    size_t count = 0;
    if (server->accept_at_ms == 0 && count < capacity) {
        fds[count++] = (struct pollfd){.fd = server->fd, .events = POLLIN};
    }
    for (size_t i = 0; i < SERVER_MAX_CONNECTIONS && count < capacity; i++) {
        const struct connection *connection = &server->connections[i];
        if (connection->fd == -1) continue;
        bool writing = connection->sent < connection->length;
        fds[count++] = (struct pollfd){.fd = connection->fd, .events = writing ? POLLOUT : POLLIN};
    }
    return count;
}

int64_t server_wake_ms(const struct server *server)
{
    int64_t wake_ms = server->accept_at_ms == 0 ? INT64_MAX : server->accept_at_ms;
    for (size_t i = 0; i < SERVER_MAX_CONNECTIONS; i++) {
        const struct connection *connection = &server->connections[i];
        if (connection->fd != -1 && connection->close_at_ms < wake_ms) {
            wake_ms = connection->close_at_ms;
        }
    }
    return wake_ms;
}

void server_serve(struct server *server)
{
    int64_t now = now_ms();
    if (server->accept_at_ms != 0 && now >= server->accept_at_ms) server->accept_at_ms = 0;
    if (server->accept_at_ms == 0) {
        for (size_t i = 0; i < SERVER_MAX_CONNECTIONS && accept_one(server); i++) {
        }
    }
    for (size_t i = 0; i < SERVER_MAX_CONNECTIONS; i++) {
        struct connection *connection = &server->connections[i];
        if (connection->fd == -1) continue;
        if (connection->sent == connection->length) receive(server, connection);
        if (connection->sent < connection->length) transmit(connection);
        if (now >= connection->close_at_ms) end_connection(connection);
    }
}
