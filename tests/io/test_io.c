/* Whole clients over scripted connections: what goes over the wire in good days and in odd ones. */
#define LEASE_IMPLEMENTATION
#include "lease.h"

#include "script.h"

#include "../unit/files.h"

#include <poll.h>

/* A client whose lease "a" leads. */
static lease *lead(int mode) {
    lease *self = io_start(mode);
    io_run(100);
    CHECK(lease_is_leader(self));
    CHECK_STR(fake_news(), "leader_changed acquired");
    return self;
}

static lease_view view_of(const lease *self) {
    lease_view view;
    lease_view_get(self, &view);
    return view;
}

/* -- Good days --------------------------------------------------------------------------------- */

TEST(the_first_acquisition) {
    IO_EACH_MODE(mode) {
        lease *self = lead(mode);
        CHECK_STR(io_methods(0), "GET POST");
        CHECK_INT(io.opened, 1);
        CHECK_STR(io.host, "192.0.2.1");
        CHECK_INT(io.port, 6443);
        CHECK_STR(io.requests[0].path, "/apis/coordination.k8s.io/v1/namespaces/ns/leases/a");
        CHECK_STR(io.requests[1].path, "/apis/coordination.k8s.io/v1/namespaces/ns/leases");
        CHECK(strstr(io.requests[1].body, "\"holderIdentity\":\"me\"") != NULL);
        CHECK(strstr(io.requests[1].body, "\"leaseDurationSeconds\":15") != NULL);
        CHECK(strstr(io.requests[1].body, "\"leaseTransitions\":0") != NULL);
        CHECK(strstr(io.requests[1].body, "resourceVersion") == NULL);
        CHECK_INT(lease_token(self), 101);
        CHECK(!io.requests[1].leader); /* not before the acknowledgement */
        io_end();
    }
}

TEST(renewals_keep_one_connection) {
    IO_EACH_MODE(mode) {
        lease *self = lead(mode);
        io_run(120000);
        CHECK(lease_is_leader(self));
        CHECK_INT(io.opened, 1);
        CHECK_INT(io_count(0, "GET"), 1);
        const int puts = io_count(0, "PUT");
        CHECK(puts >= 59 && puts <= 67);
        for (int i = 2; i < io.request_count; i++) {
            const io_request *now = &io.requests[i];
            CHECK(now->leader);
            CHECK(now->at_ms - io.requests[i - 1].at_ms >= 1800);
            CHECK(now->at_ms - io.requests[i - 1].at_ms <= 2100);
            CHECK(strstr(now->body, "\"uid\":\"uid-a-1\",\"resourceVersion\":\"") != NULL);
            CHECK(strstr(now->body, ",\"managedFields\":[]}") != NULL);
        }
        CHECK_INT(view_of(self).renewals, puts);
        CHECK_INT(view_of(self).slow_path, 0);
        io_end();
    }
}

TEST(what_belongs_to_others_is_kept) {
    IO_EACH_MODE(mode) {
        lease *self = lead(mode);
        snprintf(io_find("a")->others, sizeof io_find("a")->others,
                 ",\"annotations\":{\"a\" : \"\\u0041\"},\"finalizers\":[ \"x\" ]");
        io_run(2000);
        io_run(2000); /* the first renewal answered with it, the second one sends it */
        const io_request *last = &io.requests[io.request_count - 1];
        CHECK(strstr(last->body,
                     ",\"annotations\":{\"a\" : \"\\u0041\"},\"finalizers\":[ \"x\" ]") != NULL);
        CHECK(lease_is_leader(self));
        io_end();
    }
}

TEST(labels_of_ours_are_written) {
    IO_EACH_MODE(mode) {
        lease_desc desc = fake_desc("a");
        desc.labels = "app=x,tier=y";
        io_begin(mode);
        CHECK_STATUS(io_create_client(NULL, true), LEASE_OK);
        io.watched = fake_lease(io_client, &desc);
        io_run(3000);
        CHECK_STR(io_methods(0), "GET POST PUT");
        CHECK(strstr(io.requests[1].body, "\"labels\":{\"app\":\"x\",\"tier\":\"y\"}") != NULL);
        CHECK(strstr(io.requests[2].body, "\"labels\":{\"app\":\"x\",\"tier\":\"y\"}") != NULL);
        io_end();
    }
}

TEST(a_standby_looks_and_takes_over_in_time) {
    IO_EACH_MODE(mode) {
        lease *self = io_start(mode);
        io_hold("a", "other");
        io_run(14000);
        CHECK(!lease_is_leader(self));
        CHECK_STR(fake_news(), "leader_changed");
        const int looks = io_count(0, "GET");
        CHECK(looks >= 6 && looks <= 8);
        CHECK_INT(io_count(0, NULL), looks);
        io_run(1100);
        CHECK(lease_is_leader(self));
        CHECK_STR(io_holder("a"), "me");
        CHECK_INT(io.opened, 1);
        const io_request *take = &io.requests[io.request_count - 1];
        CHECK_STR(take->method, "PUT");
        CHECK(take->at_ms >= io.requests[0].at_ms + 15000);
        CHECK(take->at_ms <= io.requests[0].at_ms + 15100);
        CHECK(strstr(take->body, "\"leaseTransitions\":2") != NULL);
        io_end();
    }
}

TEST(a_standby_takes_a_release_at_its_next_look) {
    IO_EACH_MODE(mode) {
        lease *self = io_start(mode);
        io_hold("a", "other");
        io_run(5000);
        io_hold("a", "");
        io_run(2500);
        CHECK(lease_is_leader(self));
        io_end();
    }
}

TEST(a_release_goes_over_the_wire_after_the_end_of_validity) {
    IO_EACH_MODE(mode) {
        lease *self = lead(mode);
        CHECK_STATUS(lease_release(self), LEASE_OK);
        io_run(100);
        CHECK_STR(io_methods(2), "PUT");
        CHECK(!io.requests[2].leader); /* before its bytes have left */
        CHECK(strstr(io.requests[2].body, "\"holderIdentity\":\"\",\"leaseDurationSeconds\":1,") !=
              NULL);
        CHECK_STR(io_holder("a"), "");
        CHECK_STR(fake_news(), "lost released leader_changed");
        CHECK(view_of(self).released);
        io_end();
    }
}

TEST(a_release_while_a_renewal_is_under_way) {
    IO_EACH_MODE(mode) {
        lease *self = lead(mode);
        io_set_fault((io_fault){.times = 1, .cut = true, .cut_at = 10, .then = IO_STALL});
        io_run(2100); /* the renewal hangs */
        CHECK_STATUS(lease_release(self), LEASE_OK);
        CHECK(!lease_is_leader(self));
        io_run(5000);
        CHECK(view_of(self).released);
        CHECK_STR(io_holder("a"), "");
        CHECK_INT(view_of(self).foreign_writes, 0);
        io_end();
    }
}

TEST(other_forms_of_good_answers) {
    static const char *const before[] = {"HTTP/1.1 100 Continue\r\n\r\n",
                                         "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"};
    IO_EACH_MODE(mode) {
        for (size_t i = 0; i < LEASE__COUNT(before); i++) {
            static char text[4096];
            char body[2048];
            lease *self = io_start(mode);
            io_hold("a", "other");
            const size_t length = io_body(io_find("a"), body, sizeof body);
            snprintf(text, sizeof text,
                     "%sHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7\r\n%.7s\r\n"
                     "%zx;x\r\n%s\r\n0\r\nX: y\r\n\r\n",
                     before[i], body, length - 7, body + 7);
            io_set_fault((io_fault){.times = -1, .not_applied = true, .answer = text});
            io_run(7000);
            CHECK_STR(fake_news(), "leader_changed");
            CHECK_STR(view_of(self).holder, "other");
            CHECK_INT(io.opened, 1);
            io_end();
        }
    }
}

/* -- Tokens ------------------------------------------------------------------------------------ */

static lease *start_with_token(int mode, const char *token, bool verified) {
    const lease_desc desc = fake_desc("a");
    files_begin();
    io_begin(mode);
    io.token = IO_TOKEN;
    CHECK_STATUS(io_create_client(files_write("token", token), verified), LEASE_OK);
    io.watched = fake_lease(io_client, &desc);
    return io.watched;
}

TEST(the_token_goes_with_each_request) {
    IO_EACH_MODE(mode) {
        lease *self = start_with_token(mode, IO_TOKEN "\n", true);
        io_run(10000);
        CHECK(lease_is_leader(self));
        for (int i = 0; i < io.request_count; i++) CHECK(io.requests[i].authorized);
        io_end();
        files_end();
    }
}

TEST(an_unverified_transport_gets_no_token) {
    IO_EACH_MODE(mode) {
        lease *self = start_with_token(mode, IO_TOKEN, false);
        io_run(60000);
        CHECK(!lease_is_leader(self));
        CHECK(io.request_count >= 3);
        for (int i = 0; i < io.request_count; i++) CHECK_STR(io.requests[i].token, "");
        CHECK_STR(fake_news(), "error");
        CHECK_STATUS(fake_last()->status, LEASE_UNAUTHORIZED);
        io_end();
        files_end();
    }
}

TEST(a_rotated_token_is_read_again_after_a_401) {
    for (int closing = 0; closing < 2; closing++) {
        for (int mode = 0; mode < IO_MODES; mode++) {
            CASE("mode %d, %s", mode, closing ? "the 401 closes" : "kept");
            lease *self = start_with_token(mode, IO_TOKEN, true);
            io_run(100);
            CHECK(lease_is_leader(self));
            io.token = "s3cret-rotated";
            io.close_each = closing != 0;
            files_write("token", "s3cret-rotated\n");
            const int before = io.request_count;
            io_run(2000);
            CHECK_STR(io_methods(before), "PUT PUT"); /* refused, then with the new one */
            CHECK(!io.requests[before].authorized);
            CHECK(io.requests[before + 1].authorized);
            CHECK_STR(io.requests[before].body, io.requests[before + 1].body);
            CHECK(lease_is_leader(self));
            CHECK_INT(view_of(self).renewal_failures, 0);
            CHECK_STR(fake_news(), "leader_changed acquired renewed");
            io_end();
            files_end();
        }
    }
}

TEST(a_401_without_a_new_token_is_an_error) {
    static const char *const tokens[] = {IO_TOKEN, "", "bad token", "s3cret-also-wrong"};
    for (size_t i = 0; i < LEASE__COUNT(tokens); i++) {
        for (int mode = 0; mode < IO_MODES; mode++) {
            CASE("mode %d, token %zu", mode, i);
            lease *self = start_with_token(mode, IO_TOKEN, true);
            io_run(100);
            io.token = "s3cret-rotated";
            files_write("token", tokens[i]);
            const int before = io.request_count;
            io_run(2000);
            CHECK(io_count(before, NULL) <= 3);
            CHECK(view_of(self).renewal_failures >= 1);
            CHECK_STATUS(fake_last()->status, LEASE_UNAUTHORIZED);
            io_run(60000);
            CHECK(!lease_is_leader(self));
            lease_time_range range;
            CHECK(!lease_range(self, &range)); /* an answer that refuses does not open it */
            io_end();
            files_end();
        }
    }
}

TEST(a_failed_reconnect_after_a_401_is_a_failure_to_connect) {
    lease *self = start_with_token(0, IO_TOKEN, true);
    io_run(100);
    io.token = "s3cret-rotated";
    io.close_each = true;
    io_run(0);
    files_write("token", "s3cret-rotated\n");
    io.open_status = LEASE_CONNECT;
    io_run(2100);
    CHECK(lease_is_leader(self));
    CHECK_STATUS(fake_last()->status, LEASE_CONNECT);
    io.open_status = LEASE_OK;
    io_run(3000);
    CHECK(lease_is_leader(self));
    CHECK_INT(view_of(self).losses, 0);
    io_end();
    files_end();
}

TEST(a_token_is_read_again_by_its_age) {
    IO_EACH_MODE(mode) {
        lease *self = start_with_token(mode, IO_TOKEN, true);
        io.token = NULL; /* any will do */
        io_run(30000);
        files_write("token", "s3cret-next");
        io_run(60000);
        CHECK(lease_is_leader(self));
        for (int i = 1; i < io.request_count; i++) {
            const int64_t age_ms = io.requests[i].at_ms - io.requests[0].at_ms;
            CHECK_STR(io.requests[i].token, age_ms < 50000 ? IO_TOKEN : "s3cret-next");
        }
        io_end();
        files_end();
    }
}

/* -- Connections ------------------------------------------------------------------------------- */

TEST(a_connection_that_is_to_be_closed_is_followed_by_another) {
    IO_EACH_MODE(mode) {
        lease *self = io_start(mode);
        io.close_each = true;
        io_run(20000);
        CHECK(lease_is_leader(self));
        CHECK_INT(io.opened, io.request_count);
        CHECK_INT(view_of(self).renewal_failures, 0);
        CHECK(strstr(fake_news(), "fail") == NULL);
        io_end();
    }
}

/* The server's idle limit: the connection has ended before the next request is sent. */
TEST(a_request_is_sent_again_once_when_a_kept_connection_has_ended) {
    static const io_then ends[] = {IO_CLOSE, IO_BREAK};
    for (size_t i = 0; i < LEASE__COUNT(ends); i++) {
        for (int mode = 0; mode < IO_MODES; mode++) {
            CASE("mode %d, end %zu", mode, i);
            lease *self = lead(mode);
            for (int n = 0; n < 5; n++) {
                io_connections[io.opened % 2].then = ends[i];
                io_run(2000);
            }
            CHECK(lease_is_leader(self));
            CHECK_INT(view_of(self).renewal_failures, 0);
            CHECK_INT(view_of(self).slow_path, 0);
            CHECK_INT(io_count(2, "GET"), 0);
            CHECK(io.opened >= 5);
            io_end();
        }
    }
}

/* The same, but the server has read the request, and even acted on it. */
TEST(a_copy_of_a_request_cannot_harm) {
    IO_EACH_MODE(mode) {
        lease *self = lead(mode);
        const uint64_t version = io.version;
        io_set_fault((io_fault){.times = 1, .cut = true, .cut_at = 0, .then = IO_CLOSE});
        io_run(2100);
        CHECK(lease__starts_with(io_methods(2), "PUT PUT GET")); /* 409: it was applied before */
        CHECK(lease_is_leader(self));
        CHECK_INT(lease_token(self), 101);
        CHECK_INT(io.version, version + 1);
        CHECK_INT(view_of(self).foreign_writes, 0);
        CHECK_INT(view_of(self).losses, 0);
        io_run(4000);
        CHECK(lease_is_leader(self));
        io_end();
    }
}

TEST(a_request_is_not_sent_a_third_time) {
    IO_EACH_MODE(mode) {
        lease *self = lead(mode);
        io_set_fault((io_fault){.times = 2, .not_applied = true, .cut = true, .then = IO_CLOSE});
        io_run(2000);
        CHECK(lease__starts_with(io_methods(2), "PUT PUT GET PUT"));
        CHECK_INT(view_of(self).renewal_failures, 1);
        CHECK(lease_is_leader(self));
        io_end();
    }
}

/* Only a connection that has carried an exchange before may have become stale. */
TEST(a_fresh_connection_that_ends_is_a_failure) {
    IO_EACH_MODE(mode) {
        io_start(mode);
        io_set_fault((io_fault){.times = -1, .not_applied = true, .cut = true, .then = IO_CLOSE});
        io_run(1900);
        CHECK_STR(io_methods(0), "GET");
        CHECK_STR(fake_news(), "error");
        CHECK_STATUS(fake_last()->status, LEASE_CLOSED);
        io_end();
    }
}

TEST(two_answers_in_one_read_end_the_connection) {
    IO_EACH_MODE(mode) {
        static char text[8192];
        char body[2048];
        lease *self = io_start(mode);
        io_hold("a", "other");
        const size_t length = io_body(io_find("a"), body, sizeof body);
        snprintf(text, sizeof text,
                 "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n%sHTTP/1.1 200 OK\r\n"
                 "Content-Length: 2\r\n\r\n{}",
                 length, body);
        io_set_fault((io_fault){.times = 1, .not_applied = true, .answer = text});
        io_run(100);
        if (mode == 0) { /* both were seen together; else the second one came while idle */
            CHECK_STR(fake_news(), "error");
            CHECK_STATUS(fake_last()->status, LEASE_HTTP);
        }
        CHECK_INT(io.open_now, 0);
        io_run(10000);
        CHECK(!lease_is_leader(self));
        CHECK_INT(io.opened, 2);
        io_end();
    }
}

/* With a descriptor to poll, bytes and the end are noticed while nothing is asked. */
TEST(an_idle_connection_is_watched) {
    int ends[2];
    CHECK_INT(pipe(ends), 0);
    for (int bytes = 0; bytes < 2; bytes++) {
        CASE(bytes ? "bytes come unasked" : "the server closes");
        lease *self = io_start(0);
        io.fd = ends[0];
        for (int i = 0; i < 10; i++) io_run(20);
        CHECK(lease_is_leader(self));
        CHECK_INT(io.open_now, 1);
        io_connection *c = &io_connections[io.opened % 2];
        if (bytes) c->out_length += 5;
        else c->then = IO_CLOSE;
        CHECK_INT(write(ends[1], "x", 1), 1); /* readable */
        io_run(0);
        CHECK_INT(io.open_now, 0);
        char byte;
        CHECK_INT(read(ends[0], &byte, 1), 1);
        io_run(2000);
        CHECK_INT(io.opened, 2);
        CHECK_STR(io_methods(2), "PUT"); /* not one too many */
        CHECK(lease_is_leader(self));
        io_end();
    }
    close(ends[0]);
    close(ends[1]);
}

TEST(what_a_foreign_loop_is_to_wait_for) {
    struct pollfd fds[LEASE_MAX_FDS];
    io_start(1);
    io.fd = 12345;
    CHECK_INT(lease_client_fds(io_client, fds, LEASE_MAX_FDS), 1);
    CHECK_STATUS(lease_client_poll(io_client, 0), LEASE_OK);
    CHECK_INT(lease_client_fds(io_client, fds, LEASE_MAX_FDS), 2);
    CHECK_INT(fds[1].fd, 12345);
    CHECK_INT(fds[1].events, POLLOUT); /* it would block */
    CHECK_INT(lease_client_fds(io_client, fds, 1), 2);
    while (io.request_count == 0) lease_client_poll(io_client, 0);
    CHECK_INT(lease_client_fds(io_client, fds, LEASE_MAX_FDS), 2);
    CHECK_INT(fds[1].events, POLLIN);
    CHECK(lease_client_wait_ms(io_client) > 1000); /* until it gives up */
    io.fd = -1;
    CHECK_INT(lease_client_fds(io_client, fds, LEASE_MAX_FDS), 1);
    CHECK_INT(lease_client_wait_ms(io_client), 1); /* to be asked again */
    io_end();
}

static lease *from_callback;

static void create_another(lease *self, const lease_event *event) {
    const lease_desc desc = fake_desc("b");
    (void)self;
    if (event->kind == LEASE_EVENT_LEADER_CHANGED && from_callback == NULL) {
        from_callback = fake_lease(io_client, &desc);
    }
}

/* A host's loop must not spin on the wake pipe while a request is under way. */
TEST(the_wake_pipe_is_drained_in_each_turn) {
    struct pollfd fds[LEASE_MAX_FDS];
    io_start(0);
    from_callback = NULL;
    fake.on_event = create_another;
    io_hold("a", "other");
    while (from_callback == NULL) {
        lease_client_poll(io_client, 0);
        fake.boot_ms++;
    }
    io_set_fault((io_fault){.times = -1, .not_applied = true, .cut = true, .then = IO_STALL});
    for (int i = 0; i < 5; i++) lease_client_poll(io_client, 0);
    lease_client_fds(io_client, fds, LEASE_MAX_FDS);
    CHECK_INT(poll(fds, 1, 0), 0);
    io_end();
}

/* -- Many leases on one connection ------------------------------------------------------------- */

TEST(many_leases_share_one_connection) {
    IO_EACH_MODE(mode) {
        lease *leases[20];
        io_begin(mode);
        CHECK_STATUS(io_create_client(NULL, true), LEASE_OK);
        for (int i = 0; i < 20; i++) {
            char name[24];
            snprintf(name, sizeof name, "lease-%d", i);
            lease_desc desc = fake_desc(name);
            desc.on_event = NULL;
            leases[i] = fake_lease(io_client, &desc);
        }
        io_run(30000);
        CHECK_INT(io.opened, 1);
        for (int i = 0; i < 20; i++) {
            CHECK(lease_is_leader(leases[i]));
            CHECK_INT(view_of(leases[i]).losses, 0);
        }
        io_end();
    }
}

TEST(a_lease_destroyed_while_its_request_is_under_way) {
    IO_EACH_MODE(mode) {
        lease *self = lead(mode);
        io_set_fault((io_fault){.times = 1, .cut = true, .cut_at = 20, .then = IO_STALL});
        io_run(2000);
        CHECK_INT(io.request_count, 3);
        lease_destroy(self);
        io.watched = NULL;
        io_run(60000);
        CHECK_INT(io.request_count, 3);
        CHECK_INT(io.open_now, 0); /* its answer would be taken for the next one's */
        CHECK_STR(fake_news(), "");
        const lease_desc desc = fake_desc("b");
        lease *other = fake_lease(io_client, &desc);
        io_run(100);
        CHECK(lease_is_leader(other));
        io_end();
    }
}

/* -- Paths ------------------------------------------------------------------------------------- */

TEST(a_kubeconfig_with_a_path) {
    lease_client_desc desc;
    const lease_transport transport = {NULL, true, io_open, io_send, io_recv, io_close, io_fd};
    files_begin();
    io_begin(0);
    io.token = IO_TOKEN;
    memset(&desc, 0, sizeof desc);
    desc.kubeconfig = files_write(
        "config",
        "{\"current-context\":\"x\",\"contexts\":[{\"name\":\"x\",\"context\":{\"cluster\":\"c\","
        "\"user\":\"u\",\"namespace\":\"ns\"}}],\"clusters\":[{\"name\":\"c\",\"cluster\":{"
        "\"server\":\"https://rancher.example.com/k8s/clusters/c-1/\"}}],\"users\":[{\"name\":"
        "\"u\",\"user\":{\"token\":\"" IO_TOKEN "\"}}]}");
    desc.transport = &transport;
    desc.hooks = &fake_hooks;
    CHECK_STATUS(lease_client_create(&desc, &io_client, NULL), LEASE_OK);
    lease_desc of_lease = fake_desc("a");
    of_lease.ns = NULL; /* that of the context */
    lease *self = fake_lease(io_client, &of_lease);
    io_run(100);
    CHECK(lease_is_leader(self));
    CHECK_STR(io.host, "rancher.example.com");
    CHECK_INT(io.port, 443);
    CHECK_STR(io.requests[0].path,
              "/k8s/clusters/c-1/apis/coordination.k8s.io/v1/namespaces/ns/leases/a");
    CHECK(io.requests[0].authorized);
    io_end();
    files_end();
}

/* -- The same on every run --------------------------------------------------------------------- */

TEST(a_run_is_reproducible) {
    static char first[IO_MAX_REQUESTS * 32];
    static char again[IO_MAX_REQUESTS * 32];
    for (int run = 0; run < 2; run++) {
        char *text = run == 0 ? first : again;
        size_t length = 0;
        lead(0);
        io_set_fault((io_fault){.times = 3, .cut = true, .cut_at = 9, .then = IO_CLOSE});
        io_run(60000);
        for (int i = 0; i < io.request_count; i++) {
            length += (size_t)sprintf(text + length, "%d %s;", (int)io.requests[i].at_ms,
                                      io.requests[i].method);
        }
        io_end();
    }
    CHECK_STR(again, first);
}
