/* >>public: what is refused before any traffic, the life of clients and leases, threads, signals,
 * fork. Virtual time where it will do; where threads or signals are the point, short leases in real
 * time. */
#define LEASE_MAX_LEASES 60
#define LEASE_IMPLEMENTATION
#include "lease.h"

#include "fake.h"
#include "files.h"

#include <sys/time.h>
#include <sys/wait.h>

static lease_error error;

static void clear_environment(void) {
    unsetenv("KUBERNETES_SERVICE_HOST");
    unsetenv("KUBERNETES_SERVICE_PORT");
    unsetenv("KUBECONFIG");
    unsetenv("HOME");
}

/* -- A transport that must not be used --------------------------------------------------------- */

static int opened;

static lease_status no_open(void *context, const char *host, uint16_t port, void **connection,
                            lease_error *why) {
    (void)context;
    (void)host;
    (void)port;
    (void)why;
    opened++;
    *connection = NULL;
    return LEASE_CONNECT;
}
static int32_t no_send(void *connection, const void *bytes, size_t count, lease_error *why) {
    (void)connection;
    (void)bytes;
    (void)count;
    (void)why;
    return LEASE_IO_CLOSED;
}
static int32_t no_recv(void *connection, void *bytes, size_t capacity, lease_error *why) {
    (void)connection;
    (void)bytes;
    (void)capacity;
    (void)why;
    return LEASE_IO_CLOSED;
}
static void no_close(void *connection) { (void)connection; }
static int no_fd(void *connection) {
    (void)connection;
    return -1;
}

static const lease_transport no_transport = {NULL,    true,     no_open, no_send,
                                             no_recv, no_close, no_fd};

/* -- Clients that are refused ------------------------------------------------------------------ */

static lease_client_desc client_desc;
static lease_transport transport;
static lease_backend backend;
static lease_hooks hooks;

static void good_client(void) {
    fake_begin();
    clear_environment();
    memset(&client_desc, 0, sizeof client_desc);
    transport = no_transport;
    backend = fake_backend;
    hooks = fake_hooks;
    client_desc.server = "https://192.0.2.1:6443";
    client_desc.transport = &transport;
    client_desc.hooks = &hooks;
}

static void check_client(const char *what, lease_status want) {
    lease_client *client = NULL;
    CASE("%s", what);
    memset(&error, 0x55, sizeof error);
    CHECK_STATUS(lease_client_create(&client_desc, &client, &error), want);
    CHECK_INT(client != NULL, want == LEASE_OK);
    if (want != LEASE_OK) {
        CHECK_STATUS(error.status, want);
        CHECK_INT(error.stage, LEASE_STAGE_CONFIG);
        CHECK(memchr(error.message, '\0', sizeof error.message) != NULL);
        CHECK(error.message[0] != '\0' && error.message[0] != 0x55);
        CHECK(lease_client_create(&client_desc, &client, NULL) == want);
    }
    CHECK_INT(opened, 0);
    lease_client_destroy(client);
}

TEST(refused_clients) {
    good_client();
    check_client("the good one", LEASE_OK);
    client_desc.request_timeout_ms = -1;
    check_client("request_timeout_ms", LEASE_BAD_REQUEST_TIMEOUT);
    good_client();
    client_desc.allow_exec = true;
    check_client("allow_exec", LEASE_UNSUPPORTED);
    static const char *const prefixes[] = {"", "1a", "a b", "a-b", "a{", "\xc3\xa9", "a\n"};
    for (size_t i = 0; i < LEASE__COUNT(prefixes); i++) {
        good_client();
        client_desc.metrics_prefix = prefixes[i];
        check_client("metrics_prefix", LEASE_BAD_METRICS_PREFIX);
    }
    char text[200];
    memset(text, 'a', sizeof text);
    text[64] = '\0';
    good_client();
    client_desc.metrics_prefix = text;
    check_client("a long metrics_prefix", LEASE_BAD_METRICS_PREFIX);
    text[63] = '\0';
    check_client("a metrics_prefix that fits", LEASE_OK);
    static const char *const agents[] = {"", "/1", "a\r\nX: y", "a\x7f", "\xc3\xa9", "a\tb"};
    for (size_t i = 0; i < LEASE__COUNT(agents); i++) {
        good_client();
        client_desc.user_agent = agents[i];
        check_client("user_agent", LEASE_BAD_USER_AGENT);
    }
    memset(text, 'a', sizeof text);
    text[129] = '\0';
    client_desc.user_agent = text;
    check_client("a long user_agent", LEASE_BAD_USER_AGENT);
    text[128] = '\0';
    check_client("a user_agent that fits", LEASE_OK);
    good_client();
    client_desc.server = "http://h";
    check_client("server", LEASE_BAD_SERVER);
    client_desc.server = NULL;
    check_client("no credentials at all", LEASE_NO_CREDENTIALS);
    client_desc.kubeconfig = "/absent/config";
    check_client("kubeconfig", LEASE_BAD_KUBECONFIG);
    good_client();
    client_desc.token_file = "/absent/token";
    check_client("token_file", LEASE_BAD_TOKEN);
    good_client();
    client_desc.client_cert_file = "/absent/a.crt";
    check_client("a certificate without its key", LEASE_BAD_CLIENT_CERT);
    good_client();
    fake.no_random = true;
    check_client("no random bytes", LEASE_NO_RANDOM);
}

TEST(tables_that_lack_a_function) {
    good_client();
    transport.open = NULL;
    check_client("open", LEASE_BAD_TRANSPORT);
    good_client();
    transport.send = NULL;
    check_client("send", LEASE_BAD_TRANSPORT);
    good_client();
    transport.recv = NULL;
    check_client("recv", LEASE_BAD_TRANSPORT);
    good_client();
    transport.close = NULL;
    check_client("close", LEASE_BAD_TRANSPORT);
    good_client();
    transport.fd = NULL;
    check_client("fd", LEASE_BAD_TRANSPORT);
    good_client();
    hooks.boot_ms = NULL;
    check_client("boot_ms", LEASE_BAD_HOOKS);
    good_client();
    hooks.wall_us = NULL;
    check_client("wall_us", LEASE_BAD_HOOKS);
    good_client();
    hooks.random = NULL;
    check_client("random", LEASE_BAD_HOOKS);
    good_client();
    client_desc.backend = &backend;
    backend.get = NULL;
    check_client("get", LEASE_BAD_BACKEND);
    good_client();
    client_desc.backend = &backend;
    backend.create = NULL;
    check_client("create", LEASE_BAD_BACKEND);
    good_client();
    client_desc.backend = &backend;
    backend.update = NULL;
    check_client("update", LEASE_BAD_BACKEND);
}

/* With the built-in transport the trust is parsed before any traffic. */
TEST(refused_trust) {
    good_client();
    client_desc.transport = NULL;
    files_begin();
    check_client("no CA", LEASE_BAD_CA);
    client_desc.ca_file = files_path("absent");
    check_client("an absent CA", LEASE_BAD_CA);
    client_desc.ca_file = files_write("ca", "");
    check_client("an empty CA", LEASE_BAD_CA);
    client_desc.ca_file = files_write("ca", "garbage");
    check_client("garbage", LEASE_BAD_CA);
    client_desc.ca_file = files_write("ca", "-----BEGIN CERTIFICATE-----\nAAAA\n"
                                            "-----END CERTIFICATE-----\n");
    check_client("PEM of garbage", LEASE_BAD_CA);
    client_desc.ca_file = NULL;
    client_desc.insecure_skip_verify = true;
    check_client("no CA, spelled out", LEASE_OK);
    client_desc.client_cert_file = files_write("crt", "garbage");
    client_desc.client_key_file = files_write("key", "garbage");
    check_client("a certificate of garbage", LEASE_BAD_CLIENT_CERT);
    client_desc.client_cert_file = files_path("absent");
    check_client("an absent certificate", LEASE_BAD_CLIENT_CERT);
    files_end();
}

/* Half a pair in a kubeconfig: an error, and one that is written. */
TEST(half_a_client_certificate) {
    static const char *const users[] = {"\"client-certificate-data\":\"YQ==\"",
                                        "\"client-key-data\":\"YQ==\""};
    files_begin();
    for (size_t i = 0; i < LEASE__COUNT(users); i++) {
        char text[512];
        snprintf(text, sizeof text,
                 "{\"current-context\":\"x\",\"contexts\":[{\"name\":\"x\",\"context\":{"
                 "\"cluster\":\"c\",\"user\":\"u\"}}],\"clusters\":[{\"name\":\"c\","
                 "\"cluster\":{\"server\":\"https://h\",\"insecure-skip-tls-verify\":true}}],"
                 "\"users\":[{\"name\":\"u\","
                 "\"user\":{%s}}]}", users[i]);
        good_client();
        client_desc.transport = NULL;
        client_desc.server = NULL;
        client_desc.kubeconfig = files_write("config", text);
        check_client(users[i], LEASE_BAD_CLIENT_CERT);
    }
    files_end();
}

TEST(null_arguments) {
    lease_client *client = NULL;
    lease *self = NULL;
    lease_view view;
    lease_time_range range;
    char text[8] = "x";
    clear_environment();
    CHECK_STATUS(lease_client_create(NULL, NULL, NULL), LEASE_BAD_ARGUMENT);
    CHECK_STATUS(lease_client_create(NULL, &client, &error), LEASE_NO_CREDENTIALS);
    CHECK(client == NULL);
    lease_client_destroy(NULL);
    lease_client_stop(NULL);
    lease_destroy(NULL);
    CHECK_STATUS(lease_client_poll(NULL, 0), LEASE_BAD_ARGUMENT);
    CHECK(lease_client_run(NULL) != LEASE_OK);
    CHECK(lease_client_start(NULL) != LEASE_OK);
    CHECK_INT(lease_client_fds(NULL, NULL, 0), 0);
    CHECK(lease_client_wait_ms(NULL) > 0);
    CHECK_STATUS(lease_release(NULL), LEASE_BAD_ARGUMENT);
    CHECK_STATUS(lease_contend(NULL), LEASE_BAD_ARGUMENT);
    CHECK(!lease_is_leader(NULL));
    CHECK_INT(lease_remaining_ms(NULL), 0);
    CHECK_INT(lease_token(NULL), 0);
    CHECK(!lease_range(NULL, &range));
    lease_view_get(NULL, &view);
    CHECK(!view.is_leader && view.holder[0] == '\0');
    CHECK_STR(lease_identity(NULL), "");
    CHECK_INT(lease_metrics_write(NULL, LEASE_METRICS_TEXT, text, sizeof text), 0);
    CHECK_STR(text, "");
    fake_begin();
    client = fake_client();
    const lease_desc desc = fake_desc("a");
    CHECK_STATUS(lease_create(NULL, &desc, &self, &error), LEASE_BAD_ARGUMENT);
    CHECK_STATUS(lease_create(client, NULL, &self, &error), LEASE_BAD_ARGUMENT);
    CHECK_STATUS(lease_create(client, &desc, NULL, &error), LEASE_BAD_ARGUMENT);
    lease_client_destroy(client);
}

/* -- Leases that are refused ------------------------------------------------------------------- */

static lease_client *client;

static void check_lease(const char *what, const lease_desc *desc, lease_status want) {
    lease *self = (lease *)1;
    CASE("%s", what);
    memset(&error, 0x55, sizeof error);
    CHECK_STATUS(lease_create(client, desc, &self, &error), want);
    CHECK_INT(self != NULL, want == LEASE_OK);
    if (want != LEASE_OK) {
        CHECK_STATUS(error.status, want);
        CHECK(error.message[0] != '\0' && error.message[0] != 0x55);
        CHECK_STATUS(lease_create(client, desc, &self, NULL), want);
    }
    CHECK_INT(fake.gets + fake.writes, 0);
    if (want == LEASE_OK) lease_destroy(self);
}

TEST(refused_names_and_labels) {
    static const char *const bad[] = {"", "A", "a_b", "a/b", "../a", "-a", "a b", "a?b"};
    char text[LEASE_MAX_LABELS + 2];
    fake_begin();
    client = fake_client();
    lease_desc desc = fake_desc("a.b-c");
    check_lease("the good one", &desc, LEASE_OK);
    for (size_t i = 0; i < LEASE__COUNT(bad); i++) {
        desc = fake_desc(bad[i]);
        check_lease(bad[i], &desc, LEASE_BAD_NAME);
        desc = fake_desc("a");
        desc.ns = bad[i];
        check_lease(bad[i], &desc, LEASE_BAD_NAMESPACE);
    }
    desc = fake_desc(NULL);
    check_lease("no name", &desc, LEASE_BAD_NAME);
    desc = fake_desc("a");
    desc.ns = NULL;
    check_lease("no namespace", &desc, LEASE_BAD_NAMESPACE);
    desc.ns = "a.b";
    check_lease("a namespace with a dot", &desc, LEASE_BAD_NAMESPACE);
    memset(text, 'a', sizeof text);
    text[254] = '\0';
    desc = fake_desc(text);
    check_lease("a long name", &desc, LEASE_BAD_NAME);
    text[253] = '\0';
    check_lease("a name that fits", &desc, LEASE_OK);
    desc = fake_desc("a");
    desc.identity = "";
    check_lease("an empty identity", &desc, LEASE_BAD_IDENTITY);
    desc.identity = "a\nb";
    check_lease("an identity with a line feed", &desc, LEASE_BAD_IDENTITY);
    desc = fake_desc("a");
    desc.labels = "a";
    check_lease("labels", &desc, LEASE_BAD_LABELS);
    desc.labels = "";
    check_lease("no labels", &desc, LEASE_OK);
    desc.labels = "app=x";
    check_lease("good labels", &desc, LEASE_OK);
    lease__buf buf = lease__buf_make(text, sizeof text);
    for (int i = 0; buf.length < LEASE_MAX_LABELS - 8; i++) {
        lease__put(&buf, i == 0 ? "k" : ",k");
        lease__put_u64(&buf, (uint64_t)i);
        lease__put(&buf, "=v");
    }
    desc.labels = text;
    check_lease("many labels", &desc, LEASE_OK);
    lease__put(&buf, ",long=label");
    check_lease("too many labels", &desc, LEASE_BAD_LABELS);
    lease_client_destroy(client);
}

TEST(refused_timing) {
    fake_begin();
    client = fake_client();
    lease_desc desc = fake_desc("a");
    desc.lease_duration_ms = 1500;
    check_lease("lease_duration_ms", &desc, LEASE_BAD_LEASE_DURATION);
    desc = fake_desc("a");
    desc.renew_deadline_ms = 2000;
    check_lease("renew_deadline_ms", &desc, LEASE_BAD_RENEW_DEADLINE);
    desc = fake_desc("a");
    desc.retry_period_ms = 50;
    check_lease("retry_period_ms", &desc, LEASE_BAD_RETRY_PERIOD);
    desc = fake_desc("a");
    desc.stop_budget_ms = -1;
    check_lease("stop_budget_ms", &desc, LEASE_BAD_STOP_BUDGET);
    desc.stop_budget_ms = 5000;
    check_lease("unsafe", &desc, LEASE_UNSAFE_TIMING);
    desc = fake_desc("a");
    desc.max_fail_open_ms = -1;
    check_lease("max_fail_open_ms", &desc, LEASE_BAD_FAIL_OPEN);
    lease_client_destroy(client);
    good_client();
    client_desc.backend = &backend;
    client_desc.request_timeout_ms = 8001;
    CHECK_STATUS(lease_client_create(&client_desc, &client, NULL), LEASE_OK);
    desc = fake_desc("a");
    check_lease("request_timeout_ms", &desc, LEASE_BAD_REQUEST_TIMEOUT);
    lease_client_destroy(client);
}

TEST(there_are_so_many_leases) {
    static lease *leases[LEASE_MAX_LEASES + 1];
    fake_begin();
    client = fake_client();
    for (int i = 0; i <= LEASE_MAX_LEASES; i++) {
        char name[24];
        snprintf(name, sizeof name, "lease-%d", i);
        const lease_desc desc = fake_desc(name);
        CHECK_STATUS(lease_create(client, &desc, &leases[i], &error),
                     i < LEASE_MAX_LEASES ? LEASE_OK : LEASE_LIMIT);
    }
    CHECK_STATUS(error.status, LEASE_LIMIT);
    CHECK(leases[LEASE_MAX_LEASES] == NULL);
    lease_destroy(leases[7]);
    lease_client_poll(client, 0);
    const lease_desc desc = fake_desc("again");
    CHECK_STATUS(lease_create(client, &desc, &leases[7], &error), LEASE_OK);
    lease_client_destroy(client);
}

/* -- Defaults ---------------------------------------------------------------------------------- */

TEST(the_default_identity_is_unique) {
    char host[HOST_NAME_MAX + 2] = "";
    fake_begin();
    client = fake_client();
    lease_desc desc = fake_desc("a");
    desc.identity = NULL;
    lease *one = fake_lease(client, &desc);
    desc.name = "b";
    lease *two = fake_lease(client, &desc);
    CHECK_INT(gethostname(host, sizeof host - 1), 0);
    CHECK(lease__starts_with(lease_identity(one), host));
    CHECK_INT(lease_identity(one)[strlen(host)], '_');
    CHECK_INT(strlen(lease_identity(one)), strlen(host) + 1 + 36);
    CHECK(strcmp(lease_identity(one), lease_identity(two)) != 0);
    fake.no_random = true;
    desc.name = "c";
    check_lease("no random bytes", &desc, LEASE_NO_RANDOM);
    lease_client_destroy(client);
}

static char logged[8192];

static void keep_log(lease_log_level level, const char *message, void *user) {
    (void)level;
    CHECK(user == logged);
    strncat(logged, message, sizeof logged - strlen(logged) - 2);
    strcat(logged, "\n");
}

TEST(the_log_says_what_the_timing_tolerates) {
    good_client();
    logged[0] = '\0';
    client_desc.backend = &backend;
    client_desc.log = keep_log;
    client_desc.log_user = logged;
    CHECK_STATUS(lease_client_create(&client_desc, &client, NULL), LEASE_OK);
    const lease_desc desc = fake_desc("a");
    lease *self = fake_lease(client, &desc);
    CHECK(strstr(logged, "ns/a: ") != NULL);
    CHECK(strstr(logged, "clock rates may differ by 45.6 %") != NULL);
    CHECK(strstr(logged, "17.4 s at most") != NULL);
    fake_run(client, 0);
    CHECK(lease_is_leader(self));
    CHECK(strstr(logged, "leadership begins") != NULL);
    lease_client_destroy(client);
    CASE("an unverified transport is told");
    good_client();
    logged[0] = '\0';
    client_desc.log = keep_log;
    client_desc.log_user = logged;
    transport.verified_peer = false;
    CHECK_STATUS(lease_client_create(&client_desc, &client, NULL), LEASE_OK);
    CHECK(strstr(logged, "no token is sent") != NULL);
    lease_client_destroy(client);
}

/* -- Stopping ---------------------------------------------------------------------------------- */

/* Short and real, with room for a loaded machine: D 3 s, V 1.2 s, P 100 ms, A 50 ms. */
#define SHORT_V 1200
#define SHORT_LIMIT (2 * SHORT_V / 4) /* two request timeouts: a release on stop may take that */
static lease_desc short_desc(const char *name) {
    lease_desc desc = fake_desc(name);
    desc.lease_duration_ms = 3000;
    desc.renew_deadline_ms = SHORT_V;
    desc.retry_period_ms = 100;
    desc.stop_budget_ms = 50;
    desc.on_event = NULL;
    return desc;
}

static lease_memory memory;

static lease_client *real_client(void) {
    const lease_backend in_memory = lease_backend_memory(&memory);
    lease_client_desc desc;
    lease_client *made = NULL;
    memset(&memory, 0, sizeof memory);
    memset(&desc, 0, sizeof desc);
    desc.backend = &in_memory;
    CHECK_STATUS(lease_client_create(&desc, &made, &error), LEASE_OK);
    return made;
}

static const char *holder_in_memory(const char *name) {
    lease_record record;
    static char holder[LEASE_MAX_IDENTITY + 3];
    const lease_backend in_memory = lease_backend_memory(&memory);
    holder[0] = '?';
    holder[1] = '\0';
    if (in_memory.get(&memory, "ns", name, 1000, &record, NULL) == LEASE_OK) {
        memcpy(holder, record.holder_identity, sizeof holder);
    }
    return holder;
}

static void stop_client(int number) {
    (void)number;
    lease_client_stop(client);
}

TEST(a_signal_handler_stops_the_run) {
    struct sigaction action;
    const struct itimerval after = {{0, 0}, {0, 200000}};
    memset(&action, 0, sizeof action);
    action.sa_handler = stop_client;
    sigaction(SIGALRM, &action, NULL);
    client = real_client();
    lease_desc desc = short_desc("released");
    desc.release_on_stop = true;
    lease *released = fake_lease(client, &desc);
    desc = short_desc("kept");
    lease *kept = fake_lease(client, &desc);
    setitimer(ITIMER_REAL, &after, NULL);
    CHECK_STATUS(lease_client_run(client), LEASE_OK);
    CHECK_STR(holder_in_memory("released"), "");
    CHECK_STR(holder_in_memory("kept"), "me");
    CHECK(!lease_is_leader(released));
    CHECK_INT(kept != NULL, 1);
    CHECK_STATUS(lease_client_poll(client, 0), LEASE_STOPPED);
    const int64_t before = lease__boot_now().ms;
    CHECK_STATUS(lease_client_run(client), LEASE_OK); /* once more: nothing is left to do */
    CHECK(lease__boot_now().ms - before < SHORT_LIMIT - 100);
    lease_client_destroy(client);
    signal(SIGALRM, SIG_DFL);
    alarm(TEST__SECONDS);
}

TEST(a_stop_before_the_run_is_not_lost) {
    client = real_client();
    lease_desc desc = short_desc("a");
    desc.release_on_stop = true;
    lease *self = fake_lease(client, &desc);
    CHECK_STATUS(lease_client_poll(client, 0), LEASE_OK);
    CHECK(lease_is_leader(self));
    CHECK_STR(holder_in_memory("a"), "me");
    lease_client_stop(client);
    CHECK_STATUS(lease_client_poll(client, 0), LEASE_STOPPED);
    CHECK_STATUS(lease_client_run(client), LEASE_OK);
    CHECK_STR(holder_in_memory("a"), "");
    lease_client_destroy(client);
}

TEST(release_on_stop_after_an_earlier_release) {
    for (int again = 0; again < 2; again++) {
        CASE(again ? "and contending again" : "that still holds");
        client = real_client();
        lease_desc desc = short_desc("a");
        desc.release_on_stop = true;
        lease *self = fake_lease(client, &desc);
        CHECK_STATUS(lease_client_poll(client, 0), LEASE_OK);
        lease_release(self);
        CHECK_STATUS(lease_client_poll(client, 0), LEASE_OK);
        if (again) {
            lease_contend(self);
            CHECK_STATUS(lease_client_poll(client, 0), LEASE_OK);
            CHECK(lease_is_leader(self));
            CHECK_STR(holder_in_memory("a"), "me");
        }
        const int64_t before = lease__boot_now().ms;
        lease_client_stop(client);
        CHECK_STATUS(lease_client_run(client), LEASE_OK);
        CHECK(lease__boot_now().ms - before < SHORT_LIMIT - 100); /* not the whole limit */
        CHECK_STR(holder_in_memory("a"), "");
        lease_client_destroy(client);
    }
}

TEST(a_release_on_stop_that_cannot_be_done_ends_all_the_same) {
    good_client();
    hooks.boot_ms = lease__hook_boot_ms;
    client_desc.backend = &backend;
    CHECK_STATUS(lease_client_create(&client_desc, &client, NULL), LEASE_OK);
    lease_desc desc = short_desc("a");
    desc.release_on_stop = true;
    lease *self = fake_lease(client, &desc);
    CHECK_STATUS(lease_client_poll(client, 0), LEASE_OK);
    CHECK(lease_is_leader(self));
    fake.status = LEASE_CONNECT;
    const int64_t before = lease__boot_now().ms;
    lease_client_stop(client);
    CHECK_STATUS(lease_client_run(client), LEASE_OK);
    CHECK(lease__boot_now().ms - before >= SHORT_LIMIT);
    CHECK(!lease_is_leader(self));
    lease_client_destroy(client);
}

/* -- Threads ----------------------------------------------------------------------------------- */

static bool wait_for(bool (*what)(void)) {
    const int64_t end = lease__boot_now().ms + 30000;
    while (!what() && lease__boot_now().ms < end) usleep(1000);
    return what();
}

static lease *watched;
static bool watched_leads(void) { return lease_is_leader(watched); }

static bool watched_is_renewed(void) {
    lease_view view;
    lease_view_get(watched, &view);
    return view.is_leader && view.renewals >= 2;
}

TEST(a_thread_of_its_own) {
    client = real_client();
    const lease_desc desc = short_desc("a");
    watched = fake_lease(client, &desc);
    CHECK_STATUS(lease_client_start(client), LEASE_OK);
    CHECK_STATUS(lease_client_start(client), LEASE_BAD_ARGUMENT);
    CHECK(wait_for(watched_leads));
    CHECK(wait_for(watched_is_renewed));
    lease_client_destroy(client);
    CASE("destroyed at once");
    client = real_client();
    CHECK_STATUS(lease_client_start(client), LEASE_OK);
    lease_client_destroy(client);
    CASE("stopped, then destroyed");
    client = real_client();
    CHECK_STATUS(lease_client_start(client), LEASE_OK);
    lease_client_stop(client);
    lease_client_destroy(client);
}

/* Two clients over one store that several threads may use. */
static pthread_mutex_t store_mutex = PTHREAD_MUTEX_INITIALIZER;

static lease_status locked_get(void *context, const char *ns, const char *name, int32_t limit,
                               lease_record *out, lease_error *why) {
    pthread_mutex_lock(&store_mutex);
    const lease_status status = lease__memory_get(context, ns, name, limit, out, why);
    pthread_mutex_unlock(&store_mutex);
    return status;
}
static lease_status locked_create(void *context, const char *ns, const char *name,
                                  const lease_record *record, int32_t limit, lease_record *out,
                                  lease_error *why) {
    pthread_mutex_lock(&store_mutex);
    const lease_status status = lease__memory_create(context, ns, name, record, limit, out, why);
    pthread_mutex_unlock(&store_mutex);
    return status;
}
static lease_status locked_update(void *context, const char *ns, const char *name,
                                  const lease_record *record, int32_t limit, lease_record *out,
                                  lease_error *why) {
    pthread_mutex_lock(&store_mutex);
    const lease_status status = lease__memory_update(context, ns, name, record, limit, out, why);
    pthread_mutex_unlock(&store_mutex);
    return status;
}

static lease_client *clients[2];
static lease *candidates[2];
static int stop;       /* atomic */
static int violations; /* atomic */
static int led[2];     /* atomic */

static void violate(bool bad) {
    if (bad) __atomic_add_fetch(&violations, 1, __ATOMIC_RELAXED);
}

/* One candidate leads before and after, in one term: the other one cannot in between. */
static void *ask_all(void *argument) {
    const size_t first = *(const size_t *)argument;
    char text[8192];
    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
        lease_view view;
        lease_time_range range;
        const uint64_t before = lease_token(candidates[first]);
        const uint64_t other = lease_token(candidates[1 - first]);
        const uint64_t after = lease_token(candidates[first]);
        violate(before != 0 && before == after && other != 0);
        violate(lease_remaining_ms(candidates[first]) > SHORT_V);
        lease_view_get(candidates[first], &view);
        violate(view.is_leader != (view.token != 0));
        violate(view.is_leader != (view.remaining_ms > 0));
        violate(view.is_leader && view.acquisitions == view.losses);
        violate(lease_range(candidates[first], &range) && range.end_us <= range.start_us);
        violate(lease_metrics_write(clients[first], LEASE_METRICS_TEXT, text, sizeof text) < 100);
        if (view.is_leader) __atomic_store_n(&led[first], 1, __ATOMIC_RELAXED);
        usleep(100);
    }
    return NULL;
}

static bool both_have_led(void) {
    return __atomic_load_n(&led[0], __ATOMIC_RELAXED) && __atomic_load_n(&led[1], __ATOMIC_RELAXED);
}

static void *command_all(void *argument) {
    unsigned seed = 1;
    (void)argument;
    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
        lease *one = candidates[rand_r(&seed) % 2];
        if (rand_r(&seed) % 3 == 0) lease_release(one);
        else lease_contend(one);
        usleep(20000);
    }
    return NULL;
}

static void *create_all(void *argument) {
    (void)argument;
    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
        const lease_desc desc = short_desc("passing");
        lease *one = NULL;
        violate(lease_create(clients[0], &desc, &one, NULL) != LEASE_OK);
        usleep(3000);
        lease_destroy(one);
    }
    return NULL;
}

TEST(two_clients_and_many_threads) {
    static const size_t indexes[2] = {0, 1};
    static const lease_backend locked = {&memory, locked_get, locked_create, locked_update};
    lease_client_desc desc;
    pthread_t threads[4];
    memset(&memory, 0, sizeof memory);
    memset(&desc, 0, sizeof desc);
    desc.backend = &locked;
    for (size_t i = 0; i < 2; i++) {
        lease_desc one = short_desc("shared");
        one.identity = i == 0 ? "one" : "two";
        CHECK_STATUS(lease_client_create(&desc, &clients[i], NULL), LEASE_OK);
        candidates[i] = fake_lease(clients[i], &one);
        CHECK_STATUS(lease_client_start(clients[i]), LEASE_OK);
    }
    for (size_t i = 0; i < 2; i++) {
        pthread_create(&threads[i], NULL, ask_all, (void *)(uintptr_t)&indexes[i]);
    }
    pthread_create(&threads[2], NULL, command_all, NULL);
    pthread_create(&threads[3], NULL, create_all, NULL);
    for (int n = 0; n < 20 || (n < 300 && !both_have_led()); n++) usleep(100000);
    __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
    for (size_t i = 0; i < LEASE__COUNT(threads); i++) pthread_join(threads[i], NULL);
    CHECK_INT(violations, 0);
    CHECK(both_have_led()); /* leadership did change hands */
    for (size_t i = 0; i < 2; i++) lease_client_destroy(clients[i]);
}

/* lease_destroy returns only when no callback of the lease runs, and none begins after it. */
static int callbacks; /* atomic: how many have ended */
static int inside;    /* atomic */

static void slow_callback(lease *self, const lease_event *event, void *user) {
    (void)self;
    (void)event;
    (void)user;
    __atomic_store_n(&inside, 1, __ATOMIC_SEQ_CST);
    usleep(50000);
    __atomic_add_fetch(&callbacks, 1, __ATOMIC_SEQ_CST);
    __atomic_store_n(&inside, 0, __ATOMIC_SEQ_CST);
}

static bool is_inside(void) { return __atomic_load_n(&inside, __ATOMIC_SEQ_CST) != 0; }

TEST(destroying_waits_for_the_callback_that_runs) {
    client = real_client();
    lease_desc desc = short_desc("a");
    desc.on_event = slow_callback;
    watched = fake_lease(client, &desc);
    CHECK_STATUS(lease_client_start(client), LEASE_OK);
    CHECK(wait_for(is_inside));
    lease_destroy(watched);
    CHECK(!is_inside());
    const int ended = __atomic_load_n(&callbacks, __ATOMIC_SEQ_CST);
    CHECK(ended >= 1);
    usleep(200000);
    CHECK_INT(__atomic_load_n(&callbacks, __ATOMIC_SEQ_CST), ended);
    lease_client_destroy(client);
}

/* -- Fork -------------------------------------------------------------------------------------- */

/* The number of the first check that does not hold in a child, 0 = none. */
static int look_from_a_child(lease *self) {
    const lease_desc desc = short_desc("b");
    struct pollfd fds[LEASE_MAX_FDS];
    lease_time_range range;
    lease_view view;
    lease *other = NULL;
    char text[64];
    if (lease_is_leader(self)) return 1;
    if (lease_remaining_ms(self) != 0 || lease_token(self) != 0) return 2;
    if (lease_range(self, &range)) return 3;
    lease_view_get(self, &view);
    if (view.is_leader || view.has_range || view.token != 0 || view.holder[0] != '\0') return 4;
    if (lease_client_poll(client, 0) != LEASE_FORKED) return 5;
    if (lease_client_run(client) != LEASE_FORKED) return 6;
    if (lease_client_start(client) != LEASE_FORKED) return 7;
    if (lease_create(client, &desc, &other, NULL) != LEASE_FORKED || other != NULL) return 8;
    if (lease_release(self) != LEASE_FORKED || lease_contend(self) != LEASE_FORKED) return 9;
    if (lease_client_fds(client, fds, LEASE_MAX_FDS) != 0) return 10;
    if (lease_client_wait_ms(client) <= 0) return 11;
    if (lease_metrics_write(client, LEASE_METRICS_TEXT, text, sizeof text) != 0) return 12;
    lease_destroy(self);
    lease_client_stop(client);
    lease_client_destroy(client);
    return 0;
}

static void check_fork(bool own_thread) {
    client = real_client();
    const lease_desc desc = short_desc("a");
    watched = fake_lease(client, &desc);
    if (own_thread) CHECK_STATUS(lease_client_start(client), LEASE_OK);
    else CHECK_STATUS(lease_client_poll(client, 0), LEASE_OK);
    CHECK(wait_for(watched_leads));
    const pid_t child = fork();
    if (child == 0) {
        alarm(30); /* a hang is a failure too */
        _exit(look_from_a_child(watched));
    }
    int status = -1;
    CHECK_INT(waitpid(child, &status, 0), child);
    CHECK(WIFEXITED(status));
    CHECK_INT(WEXITSTATUS(status), 0);
    if (own_thread) {
        CHECK(wait_for(watched_is_renewed)); /* the parent goes on */
    } else {
        CHECK_STATUS(lease_client_poll(client, 0), LEASE_OK);
    }
    lease_client_destroy(client);
}

TEST(a_child_of_fork_is_never_leader) {
    CASE("the loop is the caller's");
    check_fork(false);
    CASE("the loop has a thread");
    check_fork(true);
}
