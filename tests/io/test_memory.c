/* Memory: nothing allocated by a renewal, everything freed at the end, and each allocation failing
 * once: a status, no leak, and the next try works. */
#include <stddef.h>

static void *counted_calloc(size_t count, size_t size);
static void counted_free(void *pointer);
#define LEASE_CALLOC(count, size) counted_calloc((count), (size))
#define LEASE_FREE(pointer) counted_free(pointer)
#define LEASE_IMPLEMENTATION
#include "lease.h"

#include "script.h"

#include "../unit/files.h"

static struct {
    long calls;
    long live;
    long fail_at; /* this call fails, 0 = none */
    bool fired;
    size_t largest;
} heap;

static void *counted_calloc(size_t count, size_t size) {
    heap.calls++;
    if (count * size > heap.largest) heap.largest = count * size;
    if (heap.calls == heap.fail_at) {
        heap.fired = true;
        return NULL;
    }
    heap.live++;
    return calloc(count, size);
}

static void counted_free(void *pointer) {
    if (pointer != NULL) heap.live--;
    free(pointer);
}

static void heap_begin(long fail_at) {
    memset(&heap, 0, sizeof heap);
    heap.fail_at = fail_at;
}

TEST(a_renewal_allocates_nothing) {
    IO_EACH_MODE(mode) {
        heap_begin(0);
        lease *self = io_start(mode);
        io_run(10000);
        CHECK(lease_is_leader(self));
        const long calls = heap.calls;
        io_run(600000);
        CHECK_INT(heap.calls, calls);
        CHECK(lease_is_leader(self));
        io_end();
        CHECK_INT(heap.live, 0);
    }
}

TEST(a_standby_allocates_nothing) {
    heap_begin(0);
    io_start(0);
    io_hold("a", "other");
    io_run(10000);
    const long calls = heap.calls;
    for (int i = 0; i < 60; i++) {
        io_hold("a", "other");
        io_run(10000);
    }
    CHECK_INT(heap.calls, calls);
    io_end();
    CHECK_INT(heap.live, 0);
}

/* Errors, reconnections and nonsense neither. */
TEST(trouble_allocates_nothing) {
    static const char *const answers[] = {"garbage", "HTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n",
                                          "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"};
    heap_begin(0);
    lease *self = io_start(0);
    io_run(10000);
    const long calls = heap.calls;
    for (size_t i = 0; i < LEASE__COUNT(answers); i++) {
        io_set_fault((io_fault){.times = -1, .not_applied = true, .answer = answers[i]});
        io_run(60000);
    }
    io.fault.times = 0;
    io.close_each = true;
    io_run(60000);
    CHECK(lease_is_leader(self));
    CHECK_INT(heap.calls, calls);
    io_end();
    CHECK_INT(heap.live, 0);
}

TEST(memory_is_bounded) {
    heap_begin(0);
    io_start(0);
    io_run(10000);
    CHECK(heap.live <= 4);
    CHECK(heap.largest < 600 * 1024);
    io_end();
}

TEST(refused_clients_and_leases_leak_nothing) {
    static const char *const kubeconfigs[] = {
        "{", "{}",
        "{\"current-context\":\"x\",\"contexts\":[{\"name\":\"x\",\"context\":{\"cluster\":\"c\","
        "\"user\":\"u\"}}],\"clusters\":[{\"name\":\"c\",\"cluster\":{\"server\":\"https://h\","
        "\"certificate-authority-data\":\"YQ==\"}}],\"users\":[{\"name\":\"u\",\"user\":{"
        "\"client-certificate-data\":\"YQ==\",\"client-key-data\":\"YQ==\",\"exec\":{}}}]}"};
    files_begin();
    heap_begin(0);
    for (size_t i = 0; i < LEASE__COUNT(kubeconfigs); i++) {
        lease_client_desc desc;
        memset(&desc, 0, sizeof desc);
        desc.kubeconfig = files_write("config", kubeconfigs[i]);
        CHECK(lease_client_create(&desc, &io_client, NULL) != LEASE_OK);
        CHECK_INT(heap.live, 0);
    }
    io_begin(0);
    CHECK_STATUS(io_create_client(NULL, true), LEASE_OK);
    const long live = heap.live;
    lease *self = NULL;
    lease_desc bad = fake_desc("Bad");
    CHECK_STATUS(lease_create(io_client, &bad, &self, NULL), LEASE_BAD_NAME);
    bad = fake_desc("a");
    bad.labels = "x=y";
    bad.stop_budget_ms = -1;
    CHECK_STATUS(lease_create(io_client, &bad, &self, NULL), LEASE_BAD_STOP_BUDGET);
    CHECK_INT(heap.live, live);
    io_end();
    CHECK_INT(heap.live, 0);
    files_end();
}

/* -- Each allocation fails once ---------------------------------------------------------------- */

/* The others' part of the Lease grows, and with it the memory in which it is kept. */
static void grow_foreign_part(void) {
    io_object *object = io_find("a");
    snprintf(object->others, sizeof object->others, ",\"annotations\":{\"a\":\"%0*d\"}", 400, 0);
}

/* Creates, is elected, renews, sees the Lease change, releases, is destroyed. What fails is tried
 * again once; the second try must work, since only one allocation fails. */
static void run_life(const char *token_file) {
    lease_desc desc = fake_desc("a");
    lease_error error;
    lease *self = NULL;
    desc.labels = "app=x";
    lease_status status = io_create_client(token_file, true);
    if (status != LEASE_OK) {
        CHECK_STATUS(status, LEASE_NO_MEMORY);
        CHECK(io_client == NULL);
        CHECK_INT(heap.live, 0);
        status = io_create_client(token_file, true);
    }
    if (!CHECK(status == LEASE_OK)) return;
    const long live = heap.live;
    status = lease_create(io_client, &desc, &self, &error);
    if (status != LEASE_OK) {
        CHECK_STATUS(status, LEASE_NO_MEMORY);
        CHECK_STATUS(error.status, LEASE_NO_MEMORY);
        CHECK(self == NULL);
        CHECK_INT(heap.live, live);
        status = lease_create(io_client, &desc, &self, &error);
    }
    if (!CHECK(status == LEASE_OK)) return;
    io.watched = self;
    io_run(40000); /* one that fails is a permanent error: half a minute at most */
    CHECK(lease_is_leader(self));
    grow_foreign_part();
    io_run(40000);
    CHECK(lease_is_leader(self));
    CHECK(strstr(io.requests[io.request_count - 1].body, "\"annotations\"") != NULL);
    CHECK(strstr(io.requests[io.request_count - 1].body, "\"app\":\"x\"") != NULL);
    lease_release(self);
    io_run(40000);
    CHECK_STR(io_holder("a"), "");
    lease_destroy(self);
    io.watched = NULL;
    io_run(1000);
}

TEST(each_allocation_fails_once) {
    bool fired = true;
    files_begin();
    const char *token_file = files_write("token", IO_TOKEN);
    for (long n = 1; fired && n < 1000; n++) {
        CASE("allocation %ld", n);
        io_begin((int)(n % IO_MODES));
        io.token = IO_TOKEN;
        heap_begin(n);
        run_life(token_file);
        fired = heap.fired;
        io_end();
        CHECK_INT(heap.live, 0);
    }
    CASE("all of them");
    CHECK(!fired);
    files_end();
}

/* With a kubeconfig that holds everything inline, and the built-in transport. */
TEST(each_allocation_of_the_built_in_transport_fails_once) {
    lease_client_desc desc;
    lease_client *client = NULL;
    lease_error error;
    bool fired = true;
    files_begin();
    memset(&desc, 0, sizeof desc);
    desc.kubeconfig = files_write(
        "config",
        "{\"current-context\":\"x\",\"contexts\":[{\"name\":\"x\",\"context\":{\"cluster\":\"c\","
        "\"user\":\"u\"}}],\"clusters\":[{\"name\":\"c\",\"cluster\":{\"server\":"
        "\"https://name.invalid\",\"insecure-skip-tls-verify\":true,"
        "\"certificate-authority-data\":\"YQ==\"}}],\"users\":[{\"name\":\"u\",\"user\":{}}]}");
    for (long n = 1; fired && n < 1000; n++) {
        CASE("allocation %ld", n);
        heap_begin(n);
        const lease_status status = lease_client_create(&desc, &client, &error);
        fired = heap.fired;
        CHECK_STATUS(status, fired ? LEASE_NO_MEMORY : LEASE_OK);
        if (fired) CHECK_STATUS(error.status, LEASE_NO_MEMORY);
        if (!fired) {
            heap.fail_at = 0;
            const lease_desc of_lease = fake_desc("a");
            lease *self = NULL;
            CHECK_STATUS(lease_create(client, &of_lease, &self, NULL), LEASE_OK);
        }
        lease_client_destroy(client);
        CHECK_INT(heap.live, 0);
    }
    CHECK(!fired);
    files_end();
}

/* A connection of the built-in transport that cannot be made for want of memory is tried again. */
TEST(a_connection_that_cannot_be_made_is_tried_again) {
    lease_client_desc desc;
    lease_client *client = NULL;
    const lease_desc of_lease = fake_desc("a");
    lease *self = NULL;
    lease_view view;
    fake_begin();
    memset(&desc, 0, sizeof desc);
    desc.server = "https://127.0.0.1:1"; /* nobody listens there */
    desc.insecure_skip_verify = true;
    desc.hooks = &fake_hooks;
    heap_begin(0);
    CHECK_STATUS(lease_client_create(&desc, &client, NULL), LEASE_OK);
    CHECK_STATUS(lease_create(client, &of_lease, &self, NULL), LEASE_OK);
    heap.fail_at = heap.calls + 1;
    lease_client_poll(client, 0);
    CHECK(heap.fired);
    CHECK_STATUS(fake_last()->status, LEASE_NO_MEMORY);
    for (int i = 0; i < 100; i++) {
        fake.boot_ms += 500;
        lease_client_poll(client, 0);
    }
    lease_view_get(self, &view);
    CHECK_STATUS(view.last_status, LEASE_CONNECT);
    lease_client_destroy(client);
    CHECK_INT(heap.live, 0);
}
