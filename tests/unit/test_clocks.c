/* The clocks: the built-in ones on systems that lack one, machines that are suspended, and readings
 * at the ends of every counter. */
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

/* What each clock of the system reads ahead of the real one, and which of them fail. */
static struct {
    bool no_boottime;
    bool no_monotonic;
    bool no_realtime;
    int boottime_reads;
    int64_t boottime_add_s;
    int64_t realtime_add_s;
} machine;

static int machine_gettime(clockid_t clock, struct timespec *now) {
    const bool fails = clock == CLOCK_BOOTTIME    ? machine.no_boottime
                       : clock == CLOCK_MONOTONIC ? machine.no_monotonic
                                                  : machine.no_realtime;
    if (clock == CLOCK_BOOTTIME) machine.boottime_reads++;
    if (fails) {
        now->tv_sec = (time_t)0x55555555;
        errno = clock == CLOCK_REALTIME ? EOVERFLOW : EINVAL;
        return -1;
    }
    if (clock_gettime(clock, now) != 0) return -1;
    if (clock == CLOCK_BOOTTIME) now->tv_sec += (time_t)machine.boottime_add_s;
    if (clock == CLOCK_REALTIME) now->tv_sec += (time_t)machine.realtime_add_s;
    return 0;
}
#define clock_gettime(clock, now) machine_gettime((clock), (now))

#define LEASE_NO_TLS
#define LEASE_IMPLEMENTATION
#include "lease.h"

#include "../io/script.h"

#define D 15000
#define V 10000
#define P 2000

static lease_client *client;
static lease *watched;

/* -- The built-in clocks ----------------------------------------------------------------------- */

static char said[4096];
static int warnings;

static void keep_log(lease_log_level level, const char *message, void *user) {
    (void)user;
    if (level < LEASE_LOG_WARN) return;
    warnings++;
    snprintf(said, sizeof said, "%s", message);
}

/* A client on the clocks of the machine, with a lease over the fake store. */
static lease_status machine_client(const lease_hooks *hooks, lease_error *error) {
    lease_client_desc desc;
    memset(&desc, 0, sizeof desc);
    fake_begin();
    desc.backend = &fake_backend;
    desc.hooks = hooks;
    desc.log = keep_log;
    warnings = 0;
    said[0] = '\0';
    client = NULL;
    return lease_client_create(&desc, &client, error);
}

static void machine_begin(void) {
    const lease_desc desc = fake_desc("a");
    memset(&machine, 0, sizeof machine);
    CHECK_STATUS(machine_client(NULL, NULL), LEASE_OK);
    watched = fake_lease(client, &desc);
    lease_client_poll(client, 0);
    CHECK(lease_is_leader(watched));
    fake_news();
}

TEST(a_missing_boot_clock_is_told_once) {
    memset(&machine, 0, sizeof machine);
    CASE("it is there");
    CHECK_STATUS(machine_client(NULL, NULL), LEASE_OK);
    CHECK_INT(warnings, 0);
    lease_client_destroy(client);
    CASE("it is not");
    machine.no_boottime = true;
    CHECK_STATUS(machine_client(NULL, NULL), LEASE_OK);
    CHECK_INT(warnings, 1);
    CHECK(strstr(said, "no CLOCK_BOOTTIME") != NULL && strstr(said, "suspend") != NULL);
    const lease_desc desc = fake_desc("a");
    watched = fake_lease(client, &desc);
    for (int i = 0; i < 20; i++) lease_client_poll(client, 1);
    CHECK(lease_is_leader(watched));
    CHECK(lease_remaining_ms(watched) > V / 2 && lease_remaining_ms(watched) <= V);
    CHECK_INT(warnings, 1);
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    CHECK(lease__boot_now().ms - (int64_t)now.tv_sec * 1000 < 60000);
    lease_client_destroy(client);
    CASE("and is not asked for");
    CHECK_STATUS(machine_client(&fake_hooks, NULL), LEASE_OK);
    machine.boottime_reads = 0;
    watched = fake_lease(client, &desc);
    fake_run(client, 10000);
    CHECK_INT(warnings, 0);
    CHECK_INT(machine.boottime_reads, 0);
    lease_client_destroy(client);
}

TEST(without_any_clock_there_is_no_client) {
    lease_error error;
    memset(&machine, 0, sizeof machine);
    machine.no_boottime = machine.no_monotonic = true;
    CHECK_STATUS(machine_client(NULL, &error), LEASE_SYSTEM);
    CHECK(client == NULL);
    CHECK(strstr(error.message, "clock_gettime") != NULL && error.sys_errno == EINVAL);
}

/* A sandbox that is entered later may take the clocks away. */
TEST(without_any_clock_nobody_leads) {
    lease_time_range range;
    lease_view view;
    machine_begin();
    machine.no_boottime = machine.no_monotonic = true;
    CHECK(!lease_is_leader(watched));
    CHECK_INT(lease_remaining_ms(watched), 0);
    CHECK_INT(lease_token(watched), 0);
    for (int i = 0; i < 20; i++) lease_client_poll(client, 0);
    CHECK(!lease_is_leader(watched));
    CHECK(!lease_range(watched, &range));
    lease_view_get(watched, &view);
    CHECK(!view.is_leader && !view.has_range);
    CHECK(strstr(fake_news(), "acquired") == NULL);
    lease_client_destroy(client);
}

/* As with 32-bit seconds after the year 2038: wall time decides nothing. */
TEST(without_wall_time_the_lease_is_kept) {
    machine_begin();
    machine.no_realtime = true;
    const uint64_t token = lease_token(watched);
    int64_t last = fake.last_write.renew_time_us;
    for (int i = 1; i <= 5; i++) {
        const int writes = fake.writes;
        machine.boottime_add_s += 2;
        for (int turn = 0; turn < 5; turn++) lease_client_poll(client, 0);
        CHECK_INT(fake.writes, writes + 1);
        CHECK(fake.last_write.renew_time_us / 1000000 != last / 1000000);
        CHECK(fake.last_write.renew_time_us > 0);
        last = fake.last_write.renew_time_us;
        CHECK(lease_is_leader(watched) && lease_token(watched) == token);
    }
    CHECK(lease__wall_now().us >= 0);
    lease_client_destroy(client);
}

/* -- Suspended machines ------------------------------------------------------------------------ */

/* CLOCK_MONOTONIC stands still in a suspended machine, CLOCK_BOOTTIME does not. */
TEST(a_resumed_machine_does_not_lead) {
    machine_begin();
    machine.boottime_add_s = machine.realtime_add_s = 3600;
    CHECK(!lease_is_leader(watched));
    CHECK_INT(lease_remaining_ms(watched), 0);
    CHECK_INT(lease_token(watched), 0);
    fake.gets = fake.writes = 0;
    for (int i = 0; i < 5; i++) lease_client_poll(client, 0);
    CHECK_STR(fake_news(), "lost acquired");
    CHECK_INT(fake.gets, 0);
    CHECK_INT(fake.writes, 1);
    CHECK(lease_is_leader(watched));
    lease_client_destroy(client);
}

/* A paused guest whose boot clock stood still: its wall clock tells, once it is set right. */
TEST(a_jump_of_wall_time_renews_first) {
    machine_begin();
    const uint64_t token = lease_token(watched);
    machine.realtime_add_s = 3600;
    fake.status = LEASE_TIMEOUT;
    fake.gets = fake.writes = 0;
    machine.boottime_add_s = 2; /* when the next renewal is due, at the latest */
    lease_client_poll(client, 0);
    CHECK(!lease_is_leader(watched)); /* although the deadline by boot time is ahead */
    CHECK_INT(fake.events[fake.event_read].event.kind, LEASE_EVENT_LOST);
    CHECK_INT(fake.events[fake.event_read].event.reason, LEASE_REASON_CLOCK_JUMP);
    CHECK_INT(fake.writes, 1);
    CHECK(strstr(fake_news(), "acquired") == NULL);
    fake.status = LEASE_OK;
    machine.boottime_add_s += 3;
    for (int i = 0; i < 5; i++) lease_client_poll(client, 0);
    CHECK(strstr(fake_news(), "acquired") != NULL);
    CHECK(lease_is_leader(watched) && lease_token(watched) != token);
    lease_client_destroy(client);
}

/* -- The ends of counters ---------------------------------------------------------------------- */

/* A minute of leadership in virtual time from an instant on: nothing is lost, nothing hurried. */
static void lead_a_minute(int64_t boot_ms, int64_t wall_add_us) {
    const lease_desc desc = fake_desc("a");
    fake_begin();
    fake.boot_ms = boot_ms;
    fake.wall_add_us = wall_add_us;
    client = fake_client();
    watched = fake_lease(client, &desc);
    for (int second = 0; second < 60; second++) {
        fake_run(client, 1000);
        CHECK(lease_is_leader(watched));
        const int64_t left = lease_remaining_ms(watched);
        CHECK(left > V - P - 1000 && left <= V);
    }
    CHECK(fake.writes >= 30 && fake.writes <= 35);
    CHECK(strstr(fake_news(), "lost") == NULL);
    fake.status = LEASE_CONNECT; /* and it ends when it is to end */
    const int64_t left = lease_remaining_ms(watched);
    fake_run(client, left - 1);
    CHECK_INT(lease_remaining_ms(watched), 1);
    fake.boot_ms++;
    CHECK(!lease_is_leader(watched));
    lease_client_destroy(client);
}

TEST(boot_clocks_at_the_ends_of_counters) {
    static const struct {
        const char *what;
        int64_t ms;
    } ends[] = {
        {"the first second", 0},
        {"2^31 ms", INT64_C(1) << 31},
        {"2^32 ms, 49.7 days", INT64_C(1) << 32},
        {"2^31 s", (INT64_C(1) << 31) * 1000},
        {"2^32 s", (INT64_C(1) << 32) * 1000},
        {"2^63 ns", INT64_C(9223372036854)},
        {"2^43 ms", INT64_C(1) << 43},
    };
    for (size_t i = 0; i < LEASE__COUNT(ends); i++) {
        CASE("%s", ends[i].what);
        lead_a_minute(lease__max_i64(0, ends[i].ms - 30000), -FAKE_WALL);
    }
}

/* Wall time of the machine at boot_ms = 1000000, which is where fake_begin starts. */
#define WALL_AT(us) ((us) - FAKE_WALL - INT64_C(1000000) * 1000)

TEST(wall_clocks_of_all_ages) {
    static const struct {
        const char *what;
        int64_t us;
    } ages[] = {
        {"the year 1", INT64_C(-62135596800) * 1000000},
        {"1969", INT64_C(-30) * 1000000},
        {"1970", INT64_C(1) * 1000000},
        {"2038", (INT64_C(0x7FFFFFFF) - 30) * 1000000},
        {"2106", (INT64_C(0xFFFFFFFF) - 30) * 1000000},
        {"2^53", INT64_C(9007199254740992) - 30 * 1000000},
        {"9999", (INT64_C(253402300799) - 3600) * 1000000},
    };
    for (size_t i = 0; i < LEASE__COUNT(ages); i++) {
        CASE("%s", ages[i].what);
        lead_a_minute(1000000, WALL_AT(ages[i].us));
    }
}

/* What the server gets to read, byte for byte. */
TEST(the_year_2038_on_the_wire) {
    int renewals = 0;
    char last[32] = "";
    io_start(0);
    fake.wall_add_us = WALL_AT((INT64_C(0x7FFFFFFF) - 10) * 1000000);
    io_run(20000);
    CHECK(lease_is_leader(io.watched));
    for (int i = 0; i < io.request_count; i++) {
        char text[32] = "";
        const char *at = strstr(io.requests[i].body, "\"renewTime\":\"");
        if (at == NULL) continue;
        CHECK_INT(sscanf(at + 13, "%31[^\"]", text), 1);
        CHECK(strncmp(text, "2038-01-19T03:1", 15) == 0 && strlen(text) == 27);
        CHECK(strcmp(text, last) > 0);
        memcpy(last, text, sizeof last);
        renewals++;
    }
    CHECK(renewals >= 10);
    CHECK(strcmp(last, "2038-01-19T03:14:08") > 0);
    lease_view view;
    lease_view_get(io.watched, &view);
    CHECK(view.renew_time_us > INT64_C(0x7FFFFFFF) * 1000000);
    CHECK(view.has_range && view.range.end_us == view.renew_time_us + D * 1000);
    io_end();
}

/* A time that cannot be written is no renewal, and no reason to lead. */
TEST(the_end_of_the_year_9999) {
    io_start(0);
    fake.wall_add_us = WALL_AT((INT64_C(253402300799) - 10) * 1000000);
    io_run(60000);
    CHECK(io.request_count < 60);
    for (int i = 0; i < io.request_count; i++) {
        const char *at = strstr(io.requests[i].body, "\"renewTime\":\"");
        CHECK(at == NULL || strncmp(at + 13, "9999-12-31T23:59:", 17) == 0);
    }
    io_end();
}

/* -- Clocks that misbehave --------------------------------------------------------------------- */

TEST(a_boot_clock_that_goes_back) {
    const lease_desc desc = fake_desc("a");
    fake_begin();
    client = fake_client();
    watched = fake_lease(client, &desc);
    fake_run(client, 30000);
    const int64_t ahead = fake.boot_ms;
    const uint64_t token = lease_token(watched);
    const int writes = fake.writes;
    fake.boot_ms -= 5000;
    for (int i = 0; i < 50; i++) lease_client_poll(client, 0);
    CHECK_INT(fake.writes, writes);
    CHECK_INT(lease_client_wait_ms(client) > 0, 1);
    fake_run(client, 5000);
    CHECK_INT(fake.writes, writes);
    CHECK_INT(fake.boot_ms, ahead);
    CHECK(lease_token(watched) == token && token != 0);
    fake_run(client, 20000);
    CHECK(fake.writes > writes);
    CHECK(lease_token(watched) == token);
    lease_client_destroy(client);
}

static int64_t absurd_wall_us;
static int64_t absurd_wall(void *context) {
    (void)context;
    return absurd_wall_us;
}

/* Whatever the hooks say: no overflow, no loop, and nobody leads for longer than he may. */
TEST(absurd_hooks) {
    static const lease_hooks hooks = {NULL, fake_boot_ms, absurd_wall, fake_fill_random};
    static const int64_t readings[] = {INT64_MIN,         INT64_MIN + 1,
                                       -1,                0,
                                       INT64_C(1) << 49,  (INT64_C(1) << 50) - 5000,
                                       INT64_C(1) << 50,  (INT64_C(1) << 50) + 1,
                                       INT64_MAX};
    const size_t count = LEASE__COUNT(readings);
    for (size_t i = 0; i < count * count * count; i++) {
        const int64_t first = readings[i % count];
        const int64_t then = readings[i / count % count];
        const lease_desc desc = fake_desc("a");
        lease_time_range range;
        lease_view view;
        CASE("boot %" PRId64 ", then %" PRId64 ", wall %" PRId64, first, then,
             readings[i / count / count]);
        memset(&machine, 0, sizeof machine);
        CHECK_STATUS(machine_client(&hooks, NULL), LEASE_OK);
        absurd_wall_us = readings[i / count / count];
        fake.boot_ms = first;
        watched = fake_lease(client, &desc);
        for (int turn = 0; turn < 5; turn++) lease_client_poll(client, 0);
        fake.boot_ms = then;
        for (int turn = 0; turn < 5; turn++) {
            const int64_t left = lease_remaining_ms(watched);
            CHECK(left >= 0 && (left <= V || then < first));
            CHECK(lease_client_wait_ms(client) >= 0);
            lease_range(watched, &range);
            lease_view_get(watched, &view);
            lease_client_poll(client, 0);
        }
        CHECK(fake.writes < 10);
        if (then > (INT64_C(1) << 50) - V) CHECK(!lease_is_leader(watched)); /* for it never ends */
        lease_client_destroy(client);
    }
}
