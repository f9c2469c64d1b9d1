/* server.c -- a poll loop in one thread.
 *
 * A connection goes  (HELD_ACCEPT) -> HANDSHAKE -> READ -> DISCARD -> (HELD) -> (DELAYED) -> WRITE
 * -> READ, or WRITE <-> WATCH while a watch lives. Faults wait in those in brackets: nothing is
 * read there, so a request that is held is carried out even when its client has gone meanwhile. */
#include "server.h"

#include <errno.h>
#include <mbedtls/ssl.h>
#include <mbedtls/ssl_ticket.h>
#include <mbedtls/version.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAX_CONNECTIONS 256
#define IDLE_MS 90000 /* as kube-apiserver closes idle connections */
#define READ_BYTES ((size_t)16 * 1024)
#define TICKET_SECONDS 86400
#define MAX_TURNS 64 /* of one connection before the others get theirs */

enum phase { FREE, HELD_ACCEPT, HANDSHAKE, READ, DISCARD, HELD, DELAYED, WRITE, WATCH };

struct connection {
    enum phase phase;
    int fd;
    short wants; /* POLLIN, POLLOUT */
    uint64_t number;
    mbedtls_ssl_context ssl;
    int64_t due_ms; /* HELD_ACCEPT, HELD, DELAYED: go on; WRITE: next byte; else: give up */
    char *in;
    size_t in_length;
    size_t in_capacity;
    size_t used; /* of in, by the request at hand */
    uint64_t discard;
    bool continue_sent;
    devapi_answer out;
    size_t sent;
};

struct devapi_server {
    struct devapi_server_desc desc;
    mbedtls_ssl_config config;
    mbedtls_ssl_ticket_context tickets;
    uint64_t numbers;
    struct connection connections[MAX_CONNECTIONS];
};

enum io { IO_DONE, IO_AGAIN, IO_END };

static int64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static devapi_now now_both(void) {
    struct timespec wall;
    devapi_now now;
    clock_gettime(CLOCK_REALTIME, &wall);
    now.ms = now_ms();
    now.wall_us = (int64_t)wall.tv_sec * 1000000 + wall.tv_nsec / 1000;
    return now;
}

/* -- Bytes ------------------------------------------------------------------------------------- */

static bool is_tls(const struct devapi_server *server) { return server->desc.identity != NULL; }

static int bio_send(void *context, const unsigned char *bytes, size_t length) {
    const struct connection *connection = (const struct connection *)context;
    const ssize_t sent = send(connection->fd, bytes, length, MSG_NOSIGNAL);
    if (sent >= 0) return (int)sent;
    return errno == EAGAIN || errno == EINTR ? MBEDTLS_ERR_SSL_WANT_WRITE : -1;
}

static int bio_receive(void *context, unsigned char *bytes, size_t length) {
    const struct connection *connection = (const struct connection *)context;
    const ssize_t received = recv(connection->fd, bytes, length, 0);
    if (received >= 0) return (int)received;
    return errno == EAGAIN || errno == EINTR ? MBEDTLS_ERR_SSL_WANT_READ : -1;
}

/* What to wait for after a result of mbedTLS. */
static enum io again_or_end(struct connection *connection, int result) {
    if (result == MBEDTLS_ERR_SSL_WANT_READ) connection->wants = POLLIN;
    else if (result == MBEDTLS_ERR_SSL_WANT_WRITE) connection->wants = POLLOUT;
    else return IO_END;
    return IO_AGAIN;
}

static enum io read_some(struct devapi_server *server, struct connection *connection, char *out,
                         size_t capacity, size_t *length) {
    const int result =
        is_tls(server) ? mbedtls_ssl_read(&connection->ssl, (unsigned char *)out, capacity)
                       : bio_receive(connection, (unsigned char *)out, capacity);
    if (result <= 0) return again_or_end(connection, result);
    *length = (size_t)result;
    return IO_DONE;
}

static enum io write_some(struct devapi_server *server, struct connection *connection,
                          const char *bytes, size_t count, size_t *length) {
    const unsigned char *data = (const unsigned char *)bytes;
    const int result = is_tls(server) && !connection->out.under_tls
                           ? mbedtls_ssl_write(&connection->ssl, data, count)
                           : bio_send(connection, data, count);
    if (result <= 0) return again_or_end(connection, result);
    *length = (size_t)result;
    return IO_DONE;
}

/* -- Beginning and end ------------------------------------------------------------------------- */

static void close_connection(struct devapi_server *server, struct connection *connection,
                             bool politely) {
    if (connection->out.watcher >= 0) {
        devapi_watch_close(server->desc.state, connection->out.watcher);
    }
    if (politely && is_tls(server) && connection->phase != HANDSHAKE) {
        mbedtls_ssl_close_notify(&connection->ssl);
    }
    if (connection->out.reset) {
        const struct linger linger = {.l_onoff = 1, .l_linger = 0};
        setsockopt(connection->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    }
    close(connection->fd);
    mbedtls_ssl_free(&connection->ssl);
    devapi_answer_free(&connection->out);
    free(connection->in);
    memset(connection, 0, sizeof *connection);
    connection->fd = -1;
    connection->out.watcher = DEVAPI_NO_WATCHER;
}

static void begin_read(struct connection *connection) {
    devapi_answer_free(&connection->out);
    connection->sent = 0;
    connection->continue_sent = false;
    connection->phase = READ;
    connection->wants = POLLIN;
    connection->due_ms = now_ms() + IDLE_MS;
    memmove(connection->in, connection->in + connection->used,
            connection->in_length - connection->used);
    connection->in_length -= connection->used;
    connection->used = 0;
}

static bool start_connection(struct devapi_server *server, struct connection *connection, int fd) {
    int32_t hold_ms;
    const int on = 1;
    memset(connection, 0, sizeof *connection);
    connection->fd = fd;
    connection->number = ++server->numbers;
    connection->out.watcher = DEVAPI_NO_WATCHER;
    mbedtls_ssl_init(&connection->ssl);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    connection->in_capacity = READ_BYTES;
    connection->in = (char *)malloc(connection->in_capacity);
    if (connection->in == NULL) return false;
    if (is_tls(server)) {
        if (mbedtls_ssl_setup(&connection->ssl, &server->config) != 0) return false;
        mbedtls_ssl_set_bio(&connection->ssl, connection, bio_send, bio_receive, NULL);
    }
    const bool open = devapi_connect_fault(server->desc.state, &hold_ms);
    begin_read(connection);
    if (is_tls(server)) connection->phase = HANDSHAKE;
    if (hold_ms > 0) {
        connection->phase = HELD_ACCEPT;
        connection->due_ms = now_ms() + hold_ms;
    }
    return open;
}

static struct connection *free_connection(struct devapi_server *server) {
    for (size_t i = 0; i < MAX_CONNECTIONS; i++) {
        if (server->connections[i].phase == FREE) return &server->connections[i];
    }
    return NULL;
}

static void accept_connections(struct devapi_server *server) {
    struct connection *connection = free_connection(server);
    while (connection != NULL) {
        const int fd = accept4(server->desc.listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) return;
        if (!start_connection(server, connection, fd)) close_connection(server, connection, false);
        connection = free_connection(server);
    }
}

/* -- A request --------------------------------------------------------------------------------- */

static void begin_write(struct connection *connection) {
    connection->phase = WRITE;
    connection->wants = POLLOUT;
    connection->sent = 0;
    connection->due_ms = now_ms() + IDLE_MS;
}

static void handle(struct devapi_server *server, struct connection *connection, bool resumed) {
    devapi_call call;
    memset(&call, 0, sizeof call);
    call.now = now_both();
    call.bytes = connection->in;
    call.length = connection->used;
    call.connection = connection->number;
    call.resumed = resumed;
    devapi_answer_free(&connection->out);
    devapi_handle(server->desc.state, &call, &connection->out);
    if (connection->out.token_changed) server->desc.token_changed(server->desc.user);
    if (connection->out.failed) connection->out.close = true;
    if (connection->out.hold_ms > 0) {
        connection->phase = HELD;
        connection->due_ms = call.now.ms + connection->out.hold_ms;
    } else if (connection->out.delay_ms > 0) {
        connection->phase = DELAYED;
        connection->due_ms = call.now.ms + connection->out.delay_ms;
    } else {
        begin_write(connection);
    }
}

/* "Expect: 100-continue" is answered at once; should the socket be full, the client goes on by
 * itself after a second. */
static void send_continue(struct devapi_server *server, struct connection *connection) {
    static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";
    size_t sent;
    if (connection->continue_sent) return;
    connection->continue_sent = true;
    write_some(server, connection, text, strlen(text), &sent);
}

/* Looks for a request in what has been read; true when one was found. */
static bool frame(struct devapi_server *server, struct connection *connection) {
    devapi_frame_result result;
    if (connection->in_length == 0) return false;
    const devapi_framing framing =
        devapi_frame(connection->in, connection->in_length, &result);
    if (result.expect_continue) send_continue(server, connection);
    if (framing == DEVAPI_FRAME_MORE) return false;
    connection->used = result.used;
    if (result.discard == 0) {
        handle(server, connection, false);
        return true;
    }
    /* The body is not kept; what of it has come already is behind the head. */
    const uint64_t arrived = connection->in_length - result.used;
    connection->in_length = result.used;
    connection->discard = result.discard > arrived ? result.discard - arrived : 0;
    connection->phase = DISCARD;
    return true;
}

static bool grow_input(struct connection *connection) {
    if (connection->in_capacity - connection->in_length >= READ_BYTES) return true;
    if (connection->in_capacity > DEVAPI_MAX_REQUEST) return true;
    char *in = (char *)realloc(connection->in, connection->in_capacity * 2);
    if (in == NULL) return false;
    connection->in = in;
    connection->in_capacity *= 2;
    return true;
}

static enum io step_read(struct devapi_server *server, struct connection *connection) {
    size_t length;
    if (frame(server, connection)) return IO_DONE;
    if (!grow_input(connection)) return IO_END;
    const size_t room = connection->in_capacity - connection->in_length;
    if (room == 0) return IO_END;
    const enum io io = read_some(server, connection, connection->in + connection->in_length,
                                 room, &length);
    if (io == IO_DONE) connection->in_length += length;
    return io;
}

static enum io step_discard(struct devapi_server *server, struct connection *connection) {
    char bytes[READ_BYTES];
    size_t length;
    if (connection->discard == 0) {
        handle(server, connection, false);
        return IO_DONE;
    }
    const size_t want =
        connection->discard < sizeof bytes ? (size_t)connection->discard : sizeof bytes;
    const enum io io = read_some(server, connection, bytes, want, &length);
    if (io == IO_DONE) connection->discard -= length;
    return io;
}

static enum io step_handshake(struct devapi_server *server, struct connection *connection) {
    (void)server;
    const int result = mbedtls_ssl_handshake(&connection->ssl);
    if (result != 0) return again_or_end(connection, result);
    begin_read(connection);
    return IO_DONE;
}

static enum io step_write(struct devapi_server *server, struct connection *connection) {
    devapi_answer *out = &connection->out;
    size_t length = 0;
    if (connection->sent < out->length) {
        const size_t left = out->length - connection->sent;
        if (out->trickle_ms > 0 && now_ms() < connection->due_ms && connection->sent > 0) {
            connection->wants = 0;
            return IO_AGAIN;
        }
        const enum io io = write_some(server, connection, out->data + connection->sent,
                                      out->trickle_ms > 0 ? 1 : left, &length);
        if (io != IO_DONE) return io;
        connection->sent += length;
        connection->due_ms = now_ms() + (out->trickle_ms > 0 ? out->trickle_ms : IDLE_MS);
        return IO_DONE;
    }
    if (out->close || out->reset) return IO_END;
    if (out->watcher < 0) {
        begin_read(connection);
        return IO_DONE;
    }
    connection->phase = WATCH;
    connection->wants = POLLIN;
    connection->due_ms = INT64_MAX;
    return IO_DONE;
}

/* Sends what there is to tell; a client that sends anything meanwhile, or closes, is done. */
static enum io step_watch(struct devapi_server *server, struct connection *connection) {
    devapi_answer *out = &connection->out;
    char byte;
    size_t length;
    const enum io io = read_some(server, connection, &byte, 1, &length);
    if (io != IO_AGAIN) return IO_END;
    out->length = 0;
    const bool alive =
        devapi_watch_pull(server->desc.state, now_both(), out->watcher, out);
    if (!alive) out->watcher = DEVAPI_NO_WATCHER;
    if (out->failed) return IO_END;
    if (alive && out->length == 0) return IO_AGAIN;
    begin_write(connection);
    return IO_DONE;
}

static enum io step_wait(struct devapi_server *server, struct connection *connection) {
    if (now_ms() < connection->due_ms) return IO_AGAIN;
    if (connection->phase == HELD) {
        handle(server, connection, true);
    } else if (connection->phase == DELAYED) {
        begin_write(connection);
    } else {
        begin_read(connection);
        if (is_tls(server)) connection->phase = HANDSHAKE;
    }
    return IO_DONE;
}

static enum io step(struct devapi_server *server, struct connection *connection) {
    switch (connection->phase) {
    case FREE: return IO_AGAIN;
    case HANDSHAKE: return step_handshake(server, connection);
    case READ: return step_read(server, connection);
    case DISCARD: return step_discard(server, connection);
    case WRITE: return step_write(server, connection);
    case WATCH: return step_watch(server, connection);
    case HELD_ACCEPT:
    case HELD:
    case DELAYED: return step_wait(server, connection);
    }
    return IO_END;
}

/* As far as it goes without waiting. */
static void advance(struct devapi_server *server, struct connection *connection) {
    enum io io = IO_DONE;
    for (int turn = 0; turn < MAX_TURNS && io == IO_DONE; turn++) io = step(server, connection);
    if (io == IO_DONE) connection->wants = POLLIN | POLLOUT; /* not finished: come back at once */
    const bool late = connection->phase != FREE && connection->phase != WRITE &&
                      connection->phase != HELD && connection->phase != DELAYED &&
                      connection->phase != HELD_ACCEPT && now_ms() >= connection->due_ms;
    const bool stuck = connection->phase == WRITE && connection->out.trickle_ms == 0 &&
                       now_ms() >= connection->due_ms;
    if (io == IO_END || late || stuck) {
        const devapi_answer *out = &connection->out;
        close_connection(server, connection, !out->reset && !out->under_tls && !out->abrupt);
    }
}

/* -- The loop ---------------------------------------------------------------------------------- */

static int64_t due_of(const struct devapi_server *server, const struct connection *connection) {
    if (connection->phase == WATCH) {
        return devapi_watch_wake_ms(server->desc.state, connection->out.watcher);
    }
    return connection->due_ms;
}

/* Fills fds, entry 0 for the listener, and returns the time to wait. */
static int prepare(struct devapi_server *server, struct pollfd *fds) {
    int64_t due = now_ms() + IDLE_MS;
    fds[0].fd = free_connection(server) != NULL ? server->desc.listen_fd : -1;
    fds[0].events = POLLIN;
    for (size_t i = 0; i < MAX_CONNECTIONS; i++) {
        const struct connection *connection = &server->connections[i];
        const bool waits = connection->phase == HELD || connection->phase == DELAYED ||
                           connection->phase == HELD_ACCEPT || connection->wants == 0;
        /* poll would report a hang-up again and again. */
        fds[1 + i].fd = connection->phase == FREE || waits ? -1 : connection->fd;
        fds[1 + i].events = connection->wants;
        fds[1 + i].revents = 0;
        if (connection->phase == FREE) continue;
        const int64_t wake = due_of(server, connection);
        if (wake < due) due = wake;
    }
    const int64_t wait = due - now_ms();
    return wait < 0 ? 0 : (int)wait;
}

void devapi_server_run(struct devapi_server *server, const volatile sig_atomic_t *stop) {
    struct pollfd fds[1 + MAX_CONNECTIONS];
    while (*stop == 0) {
        const int wait = prepare(server, fds);
        if (poll(fds, 1 + MAX_CONNECTIONS, wait) < 0 && errno != EINTR) {
            perror("devapi: poll");
            return;
        }
        if ((fds[0].revents & POLLIN) != 0) accept_connections(server);
        /* All are stepped: an answer to one may be an event for others. */
        for (size_t i = 0; i < MAX_CONNECTIONS; i++) {
            struct connection *connection = &server->connections[i];
            if (connection->phase != FREE && connection->phase != WATCH) {
                advance(server, connection);
            }
        }
        for (size_t i = 0; i < MAX_CONNECTIONS; i++) {
            if (server->connections[i].phase == WATCH) advance(server, &server->connections[i]);
        }
    }
}

static int configure_tls(struct devapi_server *server) {
    static const char *protocols[] = {"http/1.1", NULL};
    struct devapi_identity *identity = server->desc.identity;
    int error = mbedtls_ssl_config_defaults(&server->config, MBEDTLS_SSL_IS_SERVER,
                                            MBEDTLS_SSL_TRANSPORT_STREAM,
                                            MBEDTLS_SSL_PRESET_DEFAULT);
    if (error != 0) return error;
    mbedtls_ssl_conf_rng(&server->config, mbedtls_ctr_drbg_random, &identity->random);
    mbedtls_ssl_conf_authmode(&server->config, MBEDTLS_SSL_VERIFY_NONE);
#if MBEDTLS_VERSION_NUMBER < 0x03000000
    mbedtls_ssl_conf_min_version(&server->config, MBEDTLS_SSL_MAJOR_VERSION_3,
                                 MBEDTLS_SSL_MINOR_VERSION_3);
#endif
    error = mbedtls_ssl_conf_own_cert(&server->config, &identity->cert, &identity->key);
    if (error == 0) error = mbedtls_ssl_conf_alpn_protocols(&server->config, protocols);
    if (error == 0) {
        error = mbedtls_ssl_ticket_setup(&server->tickets, mbedtls_ctr_drbg_random,
                                         &identity->random, MBEDTLS_CIPHER_AES_256_GCM,
                                         TICKET_SECONDS);
    }
    mbedtls_ssl_conf_session_tickets_cb(&server->config, mbedtls_ssl_ticket_write,
                                        mbedtls_ssl_ticket_parse, &server->tickets);
    return error;
}

struct devapi_server *devapi_server_create(const struct devapi_server_desc *desc) {
    struct devapi_server *server = (struct devapi_server *)calloc(1, sizeof *server);
    if (server == NULL) {
        fprintf(stderr, "devapi: out of memory\n");
        return NULL;
    }
    server->desc = *desc;
    mbedtls_ssl_config_init(&server->config);
    mbedtls_ssl_ticket_init(&server->tickets);
    for (size_t i = 0; i < MAX_CONNECTIONS; i++) {
        server->connections[i].fd = -1;
        server->connections[i].out.watcher = DEVAPI_NO_WATCHER;
    }
    const int error = is_tls(server) ? configure_tls(server) : 0;
    if (error == 0) return server;
    fprintf(stderr, "devapi: TLS configuration: -0x%04x\n", (unsigned)-error);
    devapi_server_destroy(server);
    return NULL;
}

void devapi_server_destroy(struct devapi_server *server) {
    if (server == NULL) return;
    for (size_t i = 0; i < MAX_CONNECTIONS; i++) {
        if (server->connections[i].phase != FREE) {
            close_connection(server, &server->connections[i], true);
        }
    }
    mbedtls_ssl_ticket_free(&server->tickets);
    mbedtls_ssl_config_free(&server->config);
    free(server);
}
