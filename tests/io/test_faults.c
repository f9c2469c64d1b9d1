/* Servers and connections that fail in every way: cut at each byte, silent at each stage, answers
 * that are no answers, refusals. What must hold: an error that names it, no leadership out of it, a
 * pace that harms nobody, and a way back. */
#define LEASE_IMPLEMENTATION
#include "lease.h"

#include "script.h"

#include "../unit/files.h"

static lease_view view_of(const lease *self) {
    lease_view view;
    lease_view_get(self, &view);
    return view;
}

static lease *lead(int mode) {
    lease *self = io_start(mode);
    io_run(100);
    CHECK(lease_is_leader(self));
    fake_news();
    return self;
}

/* -- Cut at every byte ------------------------------------------------------------------------- */

static void check_renewal_cut(int mode, size_t at, io_then then) {
    lease *self = lead(mode);
    io_set_fault((io_fault){.times = 1, .cut = true, .cut_at = at, .then = then});
    io_run(2500);
    const lease_view view = view_of(self);
    CHECK(view.is_leader);
    CHECK_INT(view.losses, 0);
    CHECK_INT(view.foreign_writes, 0);
    CHECK_INT(view.token, 101);
    CHECK(view.renewals >= 1);
    CHECK_INT(io.opened, io.cuts > 0 ? 2 : 1);
    const int cuts = io.cuts;
    io_run(2500);
    CHECK(lease_is_leader(self));
    io_end();
    io.cuts = cuts;
}

TEST(a_renewal_whose_answer_is_cut_at_any_byte) {
    static const io_then ends[] = {IO_CLOSE, IO_BREAK};
    for (size_t i = 0; i < LEASE__COUNT(ends); i++) {
        for (int mode = 0; mode < 2; mode++) {
            size_t at = 0;
            do {
                CASE("mode %d, end %zu, after %zu bytes", mode, i, at);
                check_renewal_cut(mode, at++, ends[i]);
            } while (io.cuts > 0 && at < 5000);
            CHECK(at > 400); /* a whole answer was gone through */
        }
    }
}

/* The first request reads, the second one creates; each may be the one that is cut. */
TEST(an_acquisition_whose_answers_are_cut_at_any_byte) {
    for (int request = 0; request < 2; request++) {
        size_t at = 0;
        bool cut = true;
        for (; cut && at < 5000; at++) {
            CASE("request %d, after %zu bytes", request, at);
            lease *self = io_start(0);
            if (request == 0) {
                io_set_fault((io_fault){.times = 1, .cut = true, .cut_at = at, .then = IO_CLOSE});
            } else {
                while (io.request_count == 0) lease_client_poll(io_client, 0);
                io_set_fault((io_fault){.times = 1, .cut = true, .cut_at = at, .then = IO_CLOSE});
            }
            io_run(6000);
            CHECK(lease_is_leader(self));
            CHECK_INT(view_of(self).acquisitions, 1);
            CHECK_INT(view_of(self).losses, 0);
            CHECK_INT(view_of(self).foreign_writes, 0);
            CHECK_INT(lease_token(self), 101);
            cut = io.cuts > 0;
            io_end();
        }
        CHECK(at > 150);
    }
}

/* -- Silence at every stage -------------------------------------------------------------------- */

/* Fails, with TIMEOUT, exactly when its time is up; then all is well again. */
static void check_silence(lease *self, const char *where) {
    const int64_t start = fake.boot_ms;
    const int64_t sent = io.requests[1].at_ms + 2000;
    const size_t news = fake.event_count;
    while (fake.event_count == news && fake.boot_ms < start + 10000) io_run(1);
    const fake_event *failed = &fake.events[news];
    CHECK_INT(failed->event.kind, LEASE_EVENT_RENEW_FAILED);
    CHECK_STATUS(failed->status, LEASE_TIMEOUT);
    CHECK(strstr(failed->message, where) != NULL);
    CHECK(fake.boot_ms - sent >= 2300 && fake.boot_ms - sent <= 2510);
    io.open_stalls = io.send_stalls = false;
    io_run(2000);
    CHECK(lease_is_leader(self));
    CHECK_INT(view_of(self).losses, 0);
    CHECK_INT(view_of(self).foreign_writes, 0);
    io_end();
}

TEST(silence_while_connecting) {
    IO_EACH_MODE(mode) {
        lease *self = lead(mode);
        io_connections[io.opened % 2].then = IO_CLOSE;
        io.open_stalls = true;
        check_silence(self, "connecting");
    }
}

TEST(silence_while_sending) {
    IO_EACH_MODE(mode) {
        lease *self = lead(mode);
        io_connections[io.opened % 2].then = IO_CLOSE;
        io.send_stalls = true;
        check_silence(self, "sending");
    }
}

TEST(silence_before_the_answer) {
    for (int applied = 0; applied < 2; applied++) {
        for (int mode = 0; mode < IO_MODES; mode++) {
            CASE("mode %d, %s", mode, applied ? "applied" : "not applied");
            lease *self = lead(mode);
            io_set_fault((io_fault){.times = 1, .not_applied = applied == 0, .cut = true,
                                    .then = IO_STALL});
            check_silence(self, "waiting for the answer");
        }
    }
}

TEST(silence_within_the_answer) {
    for (size_t at = 1; at < 440; at += 23) {
        CASE("after %zu bytes", at);
        lease *self = lead(0);
        io_set_fault((io_fault){.times = 1, .cut = true, .cut_at = at, .then = IO_STALL});
        check_silence(self, "waiting for the answer");
    }
}

/* The limit is one for the attempt, not one for each read. */
TEST(a_slow_answer_does_not_stretch_the_limit) {
    lease *self = lead(0);
    io_set_fault((io_fault){.times = 1, .cut = true, .cut_at = 1, .then = IO_STALL});
    io_run(2000);
    CHECK_INT(io.request_count, 3);
    const int64_t sent = io.requests[2].at_ms;
    const size_t news = fake.event_count;
    while (fake.event_count == news && fake.boot_ms < sent + 10000) {
        io_run(100);
        io_connections[io.opened % 2].out_length++; /* one more byte each tenth of a second */
    }
    CHECK_STATUS(fake.events[news].status, LEASE_TIMEOUT);
    CHECK(fake.boot_ms - sent <= 2600);
    CHECK(lease_is_leader(self));
    io_end();
}

TEST(a_silent_server_for_ever) {
    lease *self = lead(0);
    io.fd = 1; /* nothing to be asked again for */
    io_set_fault((io_fault){.times = -1, .not_applied = true, .cut = true, .then = IO_STALL});
    const int before = io.request_count;
    const int64_t until = io.requests[1].at_ms + 10000;
    while (lease_is_leader(self)) io_run(10);
    CHECK(fake.boot_ms >= until && fake.boot_ms <= until + 10);
    io_run(600000);
    CHECK(!lease_is_leader(self));
    CHECK_INT(view_of(self).losses, 1);
    CHECK_INT(view_of(self).state, LEASE_STATE_FAIL_OPEN);
    const int requests = io.request_count - before;
    CHECK(requests >= 100 && requests <= 160); /* a limit and a period each */
    io.fault.times = 0;
    io_run(5000);
    CHECK(lease_is_leader(self));
    io_end();
}

TEST(no_connection_for_ever) {
    static const lease_status statuses[] = {LEASE_CONNECT, LEASE_RESOLVE, LEASE_TLS,
                                            LEASE_CERTIFICATE};
    for (size_t i = 0; i < LEASE__COUNT(statuses); i++) {
        CASE("%s", lease_status_name(statuses[i]));
        lease *self = lead(0);
        io_connections[io.opened % 2].then = IO_CLOSE;
        io.open_status = statuses[i];
        const int before = io.opened;
        io_run(9000);
        CHECK(lease_is_leader(self));
        CHECK(io.opened - before >= 6 && io.opened - before <= 9);
        CHECK_STATUS(fake_last()->status, statuses[i]);
        io_run(60000);
        CHECK(!lease_is_leader(self));
        CHECK(io.opened - before <= 45);
        lease_time_range range;
        CHECK_INT(lease_range(self, &range), i < 2); /* a bad certificate is an answer */
        io.open_status = LEASE_OK;
        io_run(31000);
        CHECK(lease_is_leader(self));
        io_end();
    }
}

/* -- Answers that are none --------------------------------------------------------------------- */

#define LEASE_OF(name, ns)                                                                         \
    "{\"kind\":\"Lease\",\"apiVersion\":\"coordination.k8s.io/v1\",\"metadata\":{\"name\":\"" name \
    "\",\"namespace\":\"" ns "\",\"uid\":\"uid-a-1\",\"resourceVersion\":\"999\"},"               \
    "\"spec\":{\"holderIdentity\":\"\"}}"

/* A length of 0 = that of the body. */
static const struct {
    const char *what;
    int code;
    const char *headers;
    const char *body;
    lease_status want;
} nonsense[] = {
    {"a page", 200, "Content-Type: text/html\r\n", "<html>It works!</html>", LEASE_JSON},
    {"nothing", 200, "", "", LEASE_JSON},
    {"a list", 200, "", "[]", LEASE_WRONG_OBJECT},
    {"a Status", 200, "", "{\"kind\":\"Status\",\"apiVersion\":\"v1\"}", LEASE_WRONG_OBJECT},
    {"another name", 200, "", LEASE_OF("b", "ns"), LEASE_WRONG_OBJECT},
    {"another namespace", 200, "", LEASE_OF("a", "other"), LEASE_WRONG_OBJECT},
    {"half an object", 200, "", "{\"kind\":\"Lease\"", LEASE_JSON},
    {"two objects", 200, "", LEASE_OF("a", "ns") LEASE_OF("a", "ns"), LEASE_JSON},
    {"a deep object", 200, "", "[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]", LEASE_JSON},
    {"invalid UTF-8", 200, "", "{\"kind\":\"\xff\"}", LEASE_JSON},
    {"a duration of 0", 200, "",
     "{\"kind\":\"Lease\",\"apiVersion\":\"coordination.k8s.io/v1\",\"metadata\":{\"name\":\"a\","
     "\"namespace\":\"ns\",\"uid\":\"u\",\"resourceVersion\":\"1\"},\"spec\":{"
     "\"leaseDurationSeconds\":0}}", LEASE_JSON},
    {"gzip", 200, "Content-Encoding: gzip\r\n", "{}", LEASE_HTTP},
    {"chunked with a length", 200, "Transfer-Encoding: chunked\r\n", "0\r\n\r\n", LEASE_HTTP},
    {"two lengths", 200, "Content-Length: 3\r\n", "{}", LEASE_HTTP},
    {"a switch of protocols", 101, "Upgrade: x\r\nConnection: upgrade\r\n", "", LEASE_HTTP},
    {"a code without meaning", 999, "", "{}", LEASE_HTTP},
    {"a partial answer", 206, "", LEASE_OF("a", "ns"), LEASE_UNEXPECTED},
    {"moved to another host", 301, "Location: https://evil.example.com/\r\n", "", LEASE_REDIRECT},
    {"found elsewhere", 302, "Location: https://192.0.2.1:6443/x\r\n", "", LEASE_REDIRECT},
    {"moved for now", 307, "Location: http://192.0.2.1/\r\n", "", LEASE_REDIRECT},
    {"moved for ever", 308, "Location: /elsewhere\r\n", "", LEASE_REDIRECT},
    {"not found, by a proxy", 404, "", "404 page not found\n", LEASE_UNEXPECTED},
    {"a teapot", 418, "", "", LEASE_UNEXPECTED},
    {"a bad request", 400, "", "{}", LEASE_INVALID},
    {"unprocessable", 422, "", "{\"reason\":\"Invalid\"}", LEASE_INVALID},
    {"forbidden", 403, "", "{\"message\":\"no\"}", LEASE_FORBIDDEN},
    {"unauthorized", 401, "", "Unauthorized", LEASE_UNAUTHORIZED},
    {"no namespace", 404, "", "{\"details\":{\"kind\":\"namespaces\"}}", LEASE_NO_NAMESPACE},
    {"too many", 429, "", "wait\n", LEASE_THROTTLED},
    {"an internal error", 500, "", "oops", LEASE_SERVER_ERROR},
    {"a bad gateway", 502, "", "<html>", LEASE_SERVER_ERROR},
    {"unavailable", 503, "", "", LEASE_SERVER_ERROR},
    {"a timeout of the gateway", 504, "", "", LEASE_SERVER_ERROR},
};

static const char *nonsense_text(size_t i) {
    static char text[2048];
    snprintf(text, sizeof text,
    "HTTP/1.1 %d X\r\n%sContent-Length: %zu\r\n\r\n%s", nonsense[i].code,
             nonsense[i].headers, strlen(nonsense[i].body), nonsense[i].body);
    return text;
}

TEST(a_follower_that_hears_nonsense) {
    for (size_t i = 0; i < LEASE__COUNT(nonsense); i++) {
        for (int mode = 0; mode < IO_MODES; mode++) {
            CASE("%s, mode %d", nonsense[i].what, mode);
            lease *self = io_start(mode);
            io_set_fault((io_fault){.times = -1, .not_applied = true, .answer = nonsense_text(i)});
            io_run(60000);
            CHECK(!lease_is_leader(self));
            CHECK_STR(fake_news(), "error");
            CHECK_STATUS(fake_last()->status, nonsense[i].want);
            CHECK(!view_of(self).observed);
            CHECK_INT(io_count(0, "GET"), io.request_count);
            CHECK(io.request_count >= 4 && io.request_count <= 31);
            CHECK_STR(io.host, "192.0.2.1"); /* nobody else was asked */
            io.fault.times = 0;
            io_run(31000);
            CHECK(lease_is_leader(self));
            io_end();
        }
    }
}

/* The write was applied; its answer is nonsense. */
TEST(a_leader_that_hears_nonsense_once) {
    for (size_t i = 0; i < LEASE__COUNT(nonsense); i++) {
        for (int mode = 0; mode < IO_MODES; mode++) {
            CASE("%s, mode %d", nonsense[i].what, mode);
            lease *self = lead(mode);
            io_set_fault((io_fault){.times = 1, .not_applied = nonsense[i].want == LEASE_REDIRECT,
                                    .answer = nonsense_text(i)});
            io_run(6000);
            CHECK(lease_is_leader(self));
            CHECK_INT(lease_token(self), 101);
            CHECK_INT(view_of(self).losses, 0);
            CHECK_INT(view_of(self).renewal_failures, 1);
            CHECK_INT(view_of(self).foreign_writes, 0);
            io_end();
        }
    }
}

TEST(a_leader_that_hears_nonsense_for_ever) {
    for (size_t i = 0; i < LEASE__COUNT(nonsense); i++) {
        CASE("%s", nonsense[i].what);
        lease *self = lead(0);
        const int before = io.request_count;
        const int64_t until = io.requests[1].at_ms + 10000;
        io_set_fault((io_fault){.times = -1, .not_applied = true, .answer = nonsense_text(i)});
        while (fake.boot_ms < until - 10) io_run(10);
        CHECK(lease_is_leader(self));
        io_run(10);
        CHECK(!lease_is_leader(self)); /* exactly at its end */
        CHECK(io.request_count - before <= 12);
        io_run(60000);
        CHECK(!lease_is_leader(self));
        CHECK(io.request_count - before <= 60);
        CHECK_INT(view_of(self).losses, 1);
        io_end();
    }
}

/* -- Answers without end ----------------------------------------------------------------------- */

static char large[IO_MAX_ANSWER];

static void check_large(const char *what, size_t length, lease_status want) {
    for (int mode = 0; mode < IO_MODES; mode += 2) {
        CASE("%s, mode %d", what, mode);
        lease *self = io_start(mode);
        io_set_fault((io_fault){.times = -1, .not_applied = true, .answer = large,
                                .length = length});
        io_run(1000);
        CHECK_STR(fake_news(), "error");
        CHECK_STATUS(fake_last()->status, want);
        CHECK(!lease_is_leader(self));
        CHECK_INT(io.open_now, 0);
        CHECK(io_connections[io.opened % 2].out_sent <= LEASE_MAX_RAW + 8192);
        io_end();
    }
}

TEST(answers_without_end) {
    lease__buf buf = lease__buf_make(large, sizeof large);
    lease__put(&buf, "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n");
    check_large("a large body, announced", buf.length, LEASE_TOO_LARGE);
    buf = lease__buf_make(large, sizeof large);
    lease__put(&buf, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    while (buf.length < 200000) lease__put(&buf, "10\r\n0123456789abcdef\r\n");
    check_large("a large body in chunks", buf.length, LEASE_TOO_LARGE);
    buf = lease__buf_make(large, sizeof large);
    lease__put(&buf, "HTTP/1.1 200 OK\r\n");
    while (buf.length < 200000) lease__put(&buf, "X: 0123456789\r\n");
    check_large("many headers", buf.length, LEASE_TOO_LARGE);
    buf = lease__buf_make(large, sizeof large);
    lease__put(&buf, "HTTP/1.1 200 OK\r\nX: ");
    while (buf.length < 200000) lease__put(&buf, "0123456789");
    check_large("a long header", buf.length, LEASE_TOO_LARGE);
    buf = lease__buf_make(large, sizeof large);
    lease__put(&buf, "HTTP/1.1 200 ");
    while (buf.length < 200000) lease__put(&buf, "0123456789");
    check_large("a long reason", buf.length, LEASE_TOO_LARGE);
    buf = lease__buf_make(large, sizeof large);
    while (buf.length < 200000) lease__put(&buf, "HTTP/1.1 100 Continue\r\n\r\n");
    check_large("interim answers only", buf.length, LEASE_HTTP);
}

TEST(answers_deep_and_wide) {
    static const char *const parts[] = {"[", "{\"a\":", "[1,", "{\"a\":1,\"b\":["};
    for (size_t i = 0; i < LEASE__COUNT(parts); i++) {
        char body[60000];
        lease__buf buf = lease__buf_make(body, sizeof body);
        while (buf.length < sizeof body - 100) lease__put(&buf, parts[i]);
        const int length = snprintf(large, sizeof large,
                                    "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n%s", buf.length,
                                    body);
        CASE("%s...", parts[i]);
        lease *self = io_start(0);
        io_set_fault((io_fault){.times = -1, .not_applied = true, .answer = large,
                                .length = (size_t)length});
        io_run(1000);
        CHECK_STATUS(fake_last()->status, LEASE_JSON);
        CHECK(!lease_is_leader(self));
        io_end();
    }
}

/* -- Throttling -------------------------------------------------------------------------------- */

TEST(a_follower_obeys_retry_after) {
    static const int rows[][3] = {/* seconds, fewest and most requests in a minute */
                                  {0, 25, 31}, {1, 25, 31}, {5, 12, 13}, {20, 3, 4}, {3600, 2, 3}};
    for (size_t i = 0; i < LEASE__COUNT(rows); i++) {
        for (int code = 429; code <= 503; code += 74) {
            char text[256];
            CASE("%d, Retry-After: %d", code, rows[i][0]);
            snprintf(text, sizeof text,
                     "HTTP/1.1 %d X\r\nRetry-After: %d\r\nContent-Length: 0\r\n\r\n", code,
                     rows[i][0]);
            io_start(0);
            io_set_fault((io_fault){.times = -1, .not_applied = true, .answer = text});
            io_run(60000);
            CHECK(io.request_count >= rows[i][1]);
            CHECK(io.request_count <= rows[i][2]);
            io_end();
        }
    }
}

TEST(a_leader_survives_a_throttling_server) {
    static const char text[] =
        "HTTP/1.1 429 X\r\nRetry-After: 5\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
    IO_EACH_MODE(mode) {
        lease *self = lead(mode);
        io_set_fault((io_fault){.times = 2, .not_applied = true, .answer = text, .then = IO_CLOSE});
        io_run(30000);
        CHECK(lease_is_leader(self));
        CHECK_INT(view_of(self).losses, 0);
        CHECK_INT(view_of(self).renewal_failures, 2);
        io_end();
    }
}

/* -- Other writers ----------------------------------------------------------------------------- */

static void touch_before(const io_request *request) {
    if (strcmp(request->method, "PUT") == 0) io_find("a")->version = ++io.version;
}

/* Somebody writes an annotation before each of our writes. */
TEST(a_storm_of_conflicts_costs_bounded_requests) {
    IO_EACH_MODE(mode) {
        lease *self = lead(mode);
        const int before = io.request_count;
        io.on_request = touch_before;
        io_run(60000);
        CHECK(io.request_count - before <= 120); /* never two a second */
        CHECK(io.request_count - before >= 40);
        CHECK(!lease_is_leader(self)); /* none of its writes comes through */
        io.on_request = NULL;
        io_run(5000);
        CHECK(lease_is_leader(self));
        io_end();
    }
}

TEST(a_lease_that_is_taken_over_is_given_up) {
    IO_EACH_MODE(mode) {
        lease *self = lead(mode);
        io_hold("a", "other");
        io_run(2100);
        CHECK(!lease_is_leader(self));
        CHECK_STR(fake_news(), "lost leader_changed");
        CHECK_INT(view_of(self).foreign_writes, 1);
        const int before = io.request_count;
        io_run(10000);
        CHECK_INT(io_count(before, "PUT"), 0);
        io_end();
    }
}

TEST(a_lease_that_is_deleted_is_created_again_by_its_leader) {
    IO_EACH_MODE(mode) {
        lease *self = lead(mode);
        io_find("a")->exists = false;
        io_run(3000);
        CHECK(lease__starts_with(io_methods(2), "PUT GET POST"));
        CHECK(lease_is_leader(self));
        CHECK_INT(view_of(self).losses, 0);
        CHECK_INT(lease_token(self), 101);
        io_end();
    }
}

/* -- Anything at any time ---------------------------------------------------------------------- */

static uint32_t dice_state;

static uint32_t dice(uint32_t sides) {
    dice_state = dice_state * 1664525u + 1013904223u;
    return (dice_state >> 8) % sides;
}

static char chaos_text[2048];

/* Decides the fate of the next request. */
static void chaos(const io_request *request) {
    static const io_then thens[] = {IO_KEEP, IO_CLOSE, IO_BREAK, IO_STALL};
    io_fault fault;
    (void)request;
    memset(&fault, 0, sizeof fault);
    fault.times = dice(3) == 0;
    fault.not_applied = dice(2) == 0;
    fault.then = thens[dice(4)];
    fault.cut = fault.then != IO_KEEP || dice(4) == 0;
    fault.cut_at = dice(700);
    if (fault.cut && fault.then == IO_KEEP) fault.then = IO_STALL;
    if (dice(3) == 0) {
        snprintf(chaos_text, sizeof chaos_text, "%s", nonsense_text(dice(LEASE__COUNT(nonsense))));
        fault.answer = chaos_text;
    }
    io.close_each = dice(10) == 0;
    if (dice(40) == 0) io_hold("a", dice(2) ? "other" : "");
    if (dice(60) == 0) io_find("a")->exists = false;
    io.fault = fault;
}

TEST(anything_at_any_time) {
    for (uint32_t seed = 1; seed <= 30; seed++) {
        CASE("seed %u", seed);
        dice_state = seed;
        lease *self = io_start((int)(seed % IO_MODES));
        io.fd = 1;
        io.on_request = chaos;
        int led = 0;
        for (int n = 0; n < 2000; n++) {
            const int before = io.request_count;
            io.open_status = dice(20) == 0 ? LEASE_CONNECT : LEASE_OK;
            io_run(200);
            CHECK(io.request_count - before <= 8);
            if (!lease_is_leader(self)) continue;
            led++;
            CHECK(fake.boot_ms - io.applied_ms < 10000); /* ... by a write that was stored */
            if (io.request_count > IO_MAX_REQUESTS - 50) break;
        }
        CHECK(led > 0);
        io.on_request = NULL;
        memset(&io.fault, 0, sizeof io.fault);
        io.open_status = LEASE_OK;
        io.close_each = false;
        if (!io_find("a")->exists) io_hold("a", "");
        io_run(70000);
        CHECK(lease_is_leader(self));
        io_end();
    }
}
