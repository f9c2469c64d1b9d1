/* >>tls: whom the built-in transport talks to, and whom it does not say a byte to. Client and
 * server are moved on in turn by one thread, over a real socket of the loopback. */
#define LEASE_IMPLEMENTATION
#include "lease.h"

#include "certs.h"
#include "files.h"

#include <mbedtls/net_sockets.h>

#define LONGEST_WAIT_MS 20000
static const char request[] = "GET / HTTP/1.1\r\nAuthorization: Bearer s3cret\r\n\r\n";
#define ANSWER "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

/* -- The server -------------------------------------------------------------------------------- */

typedef enum server_kind {
    SERVER_GOOD,
    SERVER_PLAIN,    /* answers in the clear */
    SERVER_CLOSES,   /* at once */
    SERVER_VANISHES, /* after the handshake, without a word */
    SERVER_CLIENTS   /* wants a certificate of the client */
} server_kind;

static struct {
    server_kind kind;
    int listener;
    uint16_t port;
    int fd;
    bool open;
    bool answered;
    size_t answer_at;
    const char *answer;
    size_t received; /* bytes of a request, deciphered */
    char request[256];
    char asked_for[256]; /* the name in SNI */
    mbedtls_ssl_context ssl;
    mbedtls_ssl_config config;
    mbedtls_x509_crt chain;
    mbedtls_x509_crt clients;
    mbedtls_pk_context key;
} server;

static int server_name(void *context, mbedtls_ssl_context *ssl, const unsigned char *name,
                       size_t length) {
    (void)context;
    (void)ssl;
    snprintf(server.asked_for, sizeof server.asked_for, "%.*s", (int)length, (const char *)name);
    return 0;
}

static int server_send(void *context, const unsigned char *bytes, size_t count) {
    const ssize_t sent = send(server.fd, bytes, count, MSG_NOSIGNAL);
    (void)context;
    if (sent >= 0) return (int)sent;
    return errno == EAGAIN ? MBEDTLS_ERR_SSL_WANT_WRITE : MBEDTLS_ERR_NET_CONN_RESET;
}

static int server_recv(void *context, unsigned char *bytes, size_t capacity) {
    const ssize_t got = recv(server.fd, bytes, capacity, 0);
    (void)context;
    if (got >= 0) return (int)got;
    return errno == EAGAIN ? MBEDTLS_ERR_SSL_WANT_READ : MBEDTLS_ERR_NET_CONN_RESET;
}

static void server_listen(void) {
    struct sockaddr_in address;
    socklen_t length = sizeof address;
    memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    server.fd = -1;
    server.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    certs_must(bind(server.listener, (struct sockaddr *)&address, length));
    certs_must(listen(server.listener, 4));
    certs_must(getsockname(server.listener, (struct sockaddr *)&address, &length));
    server.port = ntohs(address.sin_port);
}

static void server_begin(server_kind kind, const certs_pair *pair, const certs_pair *clients) {
    memset(&server, 0, sizeof server);
    server.kind = kind;
    server.answer = ANSWER;
    server_listen();
    mbedtls_ssl_init(&server.ssl);
    mbedtls_ssl_config_init(&server.config);
    mbedtls_x509_crt_init(&server.chain);
    mbedtls_x509_crt_init(&server.clients);
    mbedtls_pk_init(&server.key);
    certs_must(mbedtls_x509_crt_parse(&server.chain, (const unsigned char *)pair->cert_pem,
                                      strlen(pair->cert_pem) + 1));
    certs_must(lease__tls_parse_key(&server.key, pair->key_pem, strlen(pair->key_pem)));
    certs_must(mbedtls_ssl_config_defaults(&server.config, MBEDTLS_SSL_IS_SERVER,
                                           MBEDTLS_SSL_TRANSPORT_STREAM,
                                           MBEDTLS_SSL_PRESET_DEFAULT));
    mbedtls_ssl_conf_rng(&server.config, lease__tls_random, NULL);
    mbedtls_ssl_conf_sni(&server.config, server_name, NULL);
    certs_must(mbedtls_ssl_conf_own_cert(&server.config, &server.chain, &server.key));
    if (clients != NULL) {
        certs_must(mbedtls_x509_crt_parse(&server.clients, (const unsigned char *)clients->cert_pem,
                                          strlen(clients->cert_pem) + 1));
        mbedtls_ssl_conf_ca_chain(&server.config, &server.clients, NULL);
        mbedtls_ssl_conf_authmode(&server.config, MBEDTLS_SSL_VERIFY_REQUIRED);
    }
    certs_must(mbedtls_ssl_setup(&server.ssl, &server.config));
    mbedtls_ssl_set_bio(&server.ssl, NULL, server_send, server_recv, NULL);
}

static void server_hang_up(void) {
    if (server.fd >= 0) close(server.fd);
    server.fd = -1;
    server.open = server.answered = false;
    server.answer_at = 0;
    mbedtls_ssl_session_reset(&server.ssl);
}

static void server_end(void) {
    server_hang_up();
    close(server.listener);
    mbedtls_ssl_free(&server.ssl);
    mbedtls_ssl_config_free(&server.config);
    mbedtls_x509_crt_free(&server.chain);
    mbedtls_x509_crt_free(&server.clients);
    mbedtls_pk_free(&server.key);
}

static void server_talk(void) {
    char bytes[512];
    if (!server.answered) {
        const int got = mbedtls_ssl_read(&server.ssl, (unsigned char *)bytes, sizeof bytes);
        if (got > 0) {
            const size_t room = sizeof server.request - 1 - server.received;
            const size_t count = (size_t)got < room ? (size_t)got : room;
            memcpy(server.request + server.received, bytes, count);
            server.received += count;
        } else if (got != MBEDTLS_ERR_SSL_WANT_READ) {
            server_hang_up();
            return;
        }
        server.answered = strstr(server.request, "\r\n\r\n") != NULL;
    }
    const size_t left = strlen(server.answer) - server.answer_at;
    if (!server.answered || left == 0) return;
    const int sent = mbedtls_ssl_write(
        &server.ssl, (const unsigned char *)server.answer + server.answer_at, left);
    if (sent > 0) server.answer_at += (size_t)sent;
}

/* Moves on without waiting. */
static void server_turn(void) {
    if (server.fd < 0) {
        server.fd = accept4(server.listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (server.fd < 0) return;
        if (server.kind == SERVER_PLAIN) {
            const char *text = "HTTP/1.0 400 Bad Request\r\n\r\nThis is no HTTP server.\n";
            if (send(server.fd, text, strlen(text), MSG_NOSIGNAL) < 0) server_hang_up();
        }
        if (server.kind == SERVER_CLOSES) server_hang_up();
    }
    if (server.kind == SERVER_PLAIN || server.fd < 0) return;
    if (!server.open) {
        const int result = mbedtls_ssl_handshake(&server.ssl);
        if (result == MBEDTLS_ERR_SSL_WANT_READ || result == MBEDTLS_ERR_SSL_WANT_WRITE) return;
        server.open = result == 0;
        if (result != 0 || server.kind == SERVER_VANISHES) server_hang_up();
        return;
    }
    server_talk();
}

/* -- The client -------------------------------------------------------------------------------- */

static lease__trust trust;
static lease_error error;
static char answer[65536];
static bool ended; /* in order, after the answer */

static void trust_begin(const char *name) {
    lease__trust_free(&trust);
    memset(&trust, 0, sizeof trust);
    snprintf(trust.name, sizeof trust.name, "%s", name);
}

static void trust_ca(const certs_pair *ca) {
    CHECK(lease__pem_set(&trust.ca, ca->cert_pem, strlen(ca->cert_pem)));
}

/* One exchange; LEASE_OK and the answer, or what went wrong. */
static lease_status fetch(void) {
    const lease_transport transport = lease__secure_transport(&trust);
    const int64_t end = lease__boot_now().ms + LONGEST_WAIT_MS;
    void *connection = NULL;
    size_t sent = 0;
    size_t length = 0;
    memset(&error, 0, sizeof error);
    answer[0] = '\0';
    ended = false;
    lease_status status = transport.open(transport.context, "127.0.0.1", server.port, &connection,
                                         &error);
    while (status == LEASE_OK && length < strlen(server.answer) && lease__boot_now().ms < end) {
        server_turn();
        int32_t moved;
        if (sent < sizeof request - 1) {
            moved = transport.send(connection, request + sent, sizeof request - 1 - sent, &error);
            if (moved > 0) sent += (size_t)moved;
        } else {
            moved = transport.recv(connection, answer + length, sizeof answer - 1 - length, &error);
            if (moved > 0) length += (size_t)moved;
            answer[length] = '\0';
        }
        if (moved == LEASE_IO_CLOSED) ended = true;
        if (moved == LEASE_IO_CLOSED) status = LEASE_CLOSED;
        if (moved == LEASE_IO_FAILED) status = error.status;
        if (moved < 0) usleep(200);
    }
    if (status == LEASE_OK && length < strlen(server.answer)) status = LEASE_TIMEOUT;
    if (connection != NULL) transport.close(connection);
    for (int i = 0; i < 20; i++) server_turn(); /* what was sent has come by now */
    server_hang_up();
    return status;
}

/* -- The cases --------------------------------------------------------------------------------- */

static certs_pair ca;
static certs_pair other_ca;

static void make_authorities(void) {
    if (ca.subject[0] != '\0') return;
#if LEASE__MBEDTLS3 && defined(MBEDTLS_PSA_CRYPTO_C)
    certs_must(psa_crypto_init() == PSA_SUCCESS ? 0 : -1);
#endif
    certs_make(&ca, "CN=test authority", NULL, (certs_options){.authority = true});
    certs_make(&other_ca, "CN=other authority", NULL, (certs_options){.authority = true});
}

static const unsigned char ip4[4] = {10, 96, 0, 1};
static const unsigned char ip4_other[4] = {10, 96, 0, 2};
static const unsigned char ip6[16] = {0xfd, 0, [15] = 1};

/* A certificate and the name that it must be valid for. */
static const struct {
    const char *what;
    const char *name;
    certs_options options;
    const char *subject;
    const char *refusal; /* NULL = good */
} names[] = {
    {"a DNS name", "api.example.com", {.dns = "api.example.com"}, "CN=x", NULL},
    {"a DNS name in another case", "API.Example.com", {.dns = "api.example.com"}, "CN=x", NULL},
    {"an IPv4 address", "10.96.0.1", {.ip = ip4, .ip_length = 4}, "CN=x", NULL},
    {"an IPv6 address", "fd00::1", {.ip = ip6, .ip_length = 16}, "CN=x", NULL},
    {"both", "10.96.0.1", {.dns = "api.example.com", .ip = ip4, .ip_length = 4}, "CN=x", NULL},
    {"another DNS name", "api.example.com", {.dns = "b.example.com"}, "CN=x", "another name"},
    {"the parent's name", "api.example.com", {.dns = "example.com"}, "CN=x", "another name"},
    {"a longer name", "example.com", {.dns = "example.com.evil.test"}, "CN=x", "another name"},
    {"another address", "10.96.0.1", {.ip = ip4_other, .ip_length = 4}, "CN=x", "IP address"},
    {"an address as a DNS name", "10.96.0.1", {.dns = "10.96.0.1"}, "CN=x", "IP address"},
    {"a DNS name for an address", "10.96.0.1", {.dns = "api.example.com"}, "CN=x", "IP address"},
    {"an IPv6 address for IPv4", "10.96.0.1", {.ip = ip6, .ip_length = 16}, "CN=x", "IP address"},
    {"no alternative name", "api.example.com", {.dns = NULL}, "CN=api.example.com",
     "subject alternative name"},
    {"the address in CN only", "10.96.0.1", {.dns = NULL}, "CN=10.96.0.1", "alternative name"},
    {"expired", "api.example.com",
     {.dns = "api.example.com", .from = "20010101000000", .until = "20020101000000"}, "CN=x",
     "expired"},
    {"not valid yet", "api.example.com",
     {.dns = "api.example.com", .from = "20480101000000"}, "CN=x", "not valid yet"},
};

TEST(names_and_dates) {
    make_authorities();
    for (size_t i = 0; i < LEASE__COUNT(names); i++) {
        certs_pair pair;
        CASE("%s", names[i].what);
        certs_make(&pair, names[i].subject, &ca, names[i].options);
        server_begin(SERVER_GOOD, &pair, NULL);
        trust_begin(names[i].name);
        trust_ca(&ca);
        const lease_status status = fetch();
        if (names[i].refusal == NULL) {
            CHECK_STATUS(status, LEASE_OK);
            CHECK_STR(answer, ANSWER);
            CHECK_STR(server.request, request);
            unsigned char bytes[16];
            CHECK_STR(server.asked_for, lease__ip_bytes(names[i].name, bytes) ? "" : names[i].name);
        } else {
            CHECK_STATUS(status, LEASE_CERTIFICATE);
            CHECK_INT(error.stage, LEASE_STAGE_TLS);
            CHECK(strstr(error.message, names[i].refusal) != NULL);
            CHECK_INT(server.received, 0); /* not a byte of the request */
        }
        server_end();
        mbedtls_pk_free(&pair.key);
    }
}

static certs_pair good;

static void make_good(void) {
    make_authorities();
    if (good.subject[0] == '\0') {
        certs_make(&good, "CN=x", &ca, (certs_options){.dns = "api.example.com"});
    }
}

TEST(authorities) {
    certs_pair self_signed;
    make_good();
    CASE("another one");
    server_begin(SERVER_GOOD, &good, NULL);
    trust_begin("api.example.com");
    trust_ca(&other_ca);
    CHECK_STATUS(fetch(), LEASE_CERTIFICATE);
    CHECK(strstr(error.message, "not signed by the CA") != NULL);
    CHECK(error.tls_code != 0 || error.message[0] != '\0');
    CHECK_INT(server.received, 0);
    server_end();
    CASE("the server itself");
    certs_make(&self_signed, "CN=x", NULL, (certs_options){.dns = "api.example.com"});
    server_begin(SERVER_GOOD, &self_signed, NULL);
    trust_begin("api.example.com");
    trust_ca(&ca);
    CHECK_STATUS(fetch(), LEASE_CERTIFICATE);
    CHECK_INT(server.received, 0);
    CASE("a check that is switched off");
    trust_begin("api.example.com");
    trust.insecure = true;
    CHECK(!lease__secure_transport(&trust).verified_peer);
    CHECK_STATUS(fetch(), LEASE_OK);
    server_end();
    mbedtls_pk_free(&self_signed.key);
}

/* A bundle: the good one among others, and among what cannot be parsed. */
TEST(bundles) {
    char bundle[8192];
    static const char garbage[] =
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    make_good();
    for (int order = 0; order < 3; order++) {
        CASE("order %d", order);
        snprintf(bundle, sizeof bundle, "%s%s%s", order == 0 ? ca.cert_pem : other_ca.cert_pem,
                 order == 2 ? garbage : "", order == 0 ? other_ca.cert_pem : ca.cert_pem);
        server_begin(SERVER_GOOD, &good, NULL);
        trust_begin("api.example.com");
        CHECK(lease__pem_set(&trust.ca, bundle, strlen(bundle)));
        CHECK_STATUS(fetch(), LEASE_OK);
        server_end();
    }
}

TEST(a_ca_file_is_read_again_for_each_connection) {
    make_good();
    files_begin();
    server_begin(SERVER_GOOD, &good, NULL);
    trust_begin("api.example.com");
    snprintf(trust.ca.file, sizeof trust.ca.file, "%s", files_write("ca.crt", other_ca.cert_pem));
    CHECK_STATUS(lease__tls_check_trust(&trust, &error), LEASE_OK);
    CHECK_STATUS(fetch(), LEASE_CERTIFICATE);
    CASE("rotated");
    files_write("ca.crt", ca.cert_pem);
    CHECK_STATUS(fetch(), LEASE_OK);
    CASE("half written: the last good one counts");
    files_write("ca.crt", "-----BEGIN CERTIFICATE-----\nMIIB");
    CHECK_STATUS(fetch(), LEASE_OK);
    CASE("gone");
    unlink(files_path("ca.crt"));
    CHECK_STATUS(fetch(), LEASE_OK);
    server_end();
    CASE("never good");
    trust_begin("api.example.com");
    snprintf(trust.ca.file, sizeof trust.ca.file, "%s", files_path("ca.crt"));
    CHECK_STATUS(lease__tls_check_trust(&trust, &error), LEASE_BAD_CA);
    CHECK(strstr(error.message, "ca.crt") != NULL);
    files_write("ca.crt", ca.key_pem);
    CHECK_STATUS(lease__tls_check_trust(&trust, &error), LEASE_BAD_CA);
    CHECK(strstr(error.message, "ca.crt") != NULL);
    files_end();
}

TEST(client_certificates) {
    certs_pair client;
    certs_pair next;
    make_good();
    files_begin();
    certs_make(&client, "CN=client", &other_ca, (certs_options){.authority = false});
    certs_make(&next, "CN=next", &other_ca, (certs_options){.authority = false});
    server_begin(SERVER_CLIENTS, &good, &other_ca);
    CASE("none");
    trust_begin("api.example.com");
    trust_ca(&ca);
    const lease_status status = fetch();
    CHECK(status == LEASE_TLS || status == LEASE_CLOSED);
    CHECK_INT(server.received, 0);
    CASE("from files");
    snprintf(trust.cert.file, sizeof trust.cert.file, "%s",
             files_write("a.crt", client.cert_pem));
    snprintf(trust.key.file, sizeof trust.key.file, "%s", files_write("a.key", client.key_pem));
    CHECK_STATUS(lease__tls_check_trust(&trust, &error), LEASE_OK);
    CHECK_STATUS(fetch(), LEASE_OK);
    CASE("in the middle of a rotation the last pair counts");
    files_write("a.crt", next.cert_pem);
    CHECK_STATUS(fetch(), LEASE_OK);
    CASE("rotated");
    files_write("a.key", next.key_pem);
    CHECK_STATUS(fetch(), LEASE_OK);
    CHECK_STR(trust.cert.data, next.cert_pem);
    CASE("inline");
    trust_begin("api.example.com");
    trust_ca(&ca);
    CHECK(lease__pem_set(&trust.cert, client.cert_pem, strlen(client.cert_pem)));
    CHECK(lease__pem_set(&trust.key, client.key_pem, strlen(client.key_pem)));
    CHECK_STATUS(lease__tls_check_trust(&trust, &error), LEASE_OK);
    CHECK_STATUS(fetch(), LEASE_OK);
    CASE("a key that does not belong to it");
    CHECK(lease__pem_set(&trust.key, next.key_pem, strlen(next.key_pem)));
    CHECK_STATUS(lease__tls_check_trust(&trust, &error), LEASE_BAD_CLIENT_CERT);
    CHECK(strstr(error.message, "client-certificate") != NULL);
    server_end();
    files_end();
    mbedtls_pk_free(&client.key);
    mbedtls_pk_free(&next.key);
}

TEST(peers_that_are_no_tls_servers) {
    static const struct {
        server_kind kind;
        lease_status want;
        const char *message;
    } rows[] = {{SERVER_PLAIN, LEASE_TLS, "does not speak TLS"},
                {SERVER_CLOSES, LEASE_CLOSED, "handshake broke off"},
                {SERVER_VANISHES, LEASE_CLOSED, ""}};
    make_good();
    for (size_t i = 0; i < LEASE__COUNT(rows); i++) {
        CASE("kind %d", rows[i].kind);
        server_begin(rows[i].kind, &good, NULL);
        trust_begin("api.example.com");
        trust_ca(&ca);
        CHECK_STATUS(fetch(), rows[i].want);
        CHECK(strstr(error.message, rows[i].message) != NULL);
        CHECK_INT(server.received, 0);
        server_end();
    }
    CASE("nobody");
    server_begin(SERVER_GOOD, &good, NULL);
    close(server.listener);
    server.listener = -1;
    trust_begin("api.example.com");
    trust_ca(&ca);
    CHECK_STATUS(fetch(), LEASE_CONNECT);
    server_end();
}

/* Larger than what is read ahead, and than a record. */
TEST(a_large_answer) {
    static char large[40000];
    make_good();
    memset(large, 'x', sizeof large - 1);
    server_begin(SERVER_GOOD, &good, NULL);
    server.answer = large;
    trust_begin("api.example.com");
    trust_ca(&ca);
    CHECK_STATUS(fetch(), LEASE_OK);
    CHECK_STR(answer, large);
    server_end();
}

TEST(an_end_in_order_is_told_apart) {
    const lease_transport transport = lease__secure_transport(&trust);
    const int64_t end = lease__boot_now().ms + LONGEST_WAIT_MS;
    void *connection = NULL;
    char byte;
    int32_t got = LEASE_IO_WANT_READ;
    make_good();
    server_begin(SERVER_GOOD, &good, NULL);
    trust_begin("api.example.com");
    trust_ca(&ca);
    CHECK_STATUS(transport.open(&trust, "127.0.0.1", server.port, &connection, &error), LEASE_OK);
    CHECK(transport.fd(connection) >= 0);
    while (got < 0 && got != LEASE_IO_CLOSED && lease__boot_now().ms < end) {
        server_turn();
        if (server.open) {
            mbedtls_ssl_close_notify(&server.ssl);
            server_hang_up();
        }
        got = transport.recv(connection, &byte, 1, &error);
    }
    CHECK_INT(got, LEASE_IO_CLOSED);
    transport.close(connection);
    server_end();
    lease__trust_free(&trust);
    mbedtls_pk_free(&ca.key);
    mbedtls_pk_free(&other_ca.key);
    mbedtls_pk_free(&good.key);
}
