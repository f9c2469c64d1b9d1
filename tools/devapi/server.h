/* server.h -- the sockets: TLS or plain connections around the handler. */
#ifndef DEVAPI_SERVER_H
#define DEVAPI_SERVER_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

#include "ca.h"
#include "handler.h"

struct devapi_server;

struct devapi_server_desc {
    devapi_state *state;
    struct devapi_identity *identity; /* NULL: plain HTTP */
    int listen_fd;
    void (*token_changed)(void *user); /* the service account has another token */
    void *user;
};

/* NULL after having said why on stderr. */
struct devapi_server *devapi_server_create(const struct devapi_server_desc *desc);
void devapi_server_run(struct devapi_server *server, const volatile sig_atomic_t *stop);
void devapi_server_destroy(struct devapi_server *server);

#endif
