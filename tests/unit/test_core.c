/* >>core: the decision table. Numbers in brackets are the elector's rules of the design, section 5.
 * A case tells the core what happened by the few verbs below and looks at what it then wants; each
 * step also passes the checks that hold in every step. */
#define LEASE_IMPLEMENTATION
#include "lease.h"

#include "../test.h"

#define D 15000 /* lease duration */
#define V 10000 /* renew deadline */
#define P 2000  /* retry period */
#define A 300   /* stop budget */
#define TIMEOUT 2500
#define HALF 0x80000000u /* the random word: the middle of every jitter */
#define WALL (INT64_C(1700000000) * 1000000)

static lease_core core;
static lease_core_output out;
static int64_t now;      /* boot clock of the next step */
static int64_t wall_add; /* steps of wall time against it */
static uint32_t random_word;
static bool hold;
static lease_core_desc desc;
static lease_record written; /* by the last action that wrote */
static int64_t sent_ms;      /* when the last action was asked for */
static unsigned next_version;

/* -- The verbs --------------------------------------------------------------------------------- */

static void defaults(void) {
    memset(&desc, 0, sizeof desc);
    desc.identity = "me";
    random_word = 0;
    wall_add = 0;
    hold = false;
    now = 1000000;
    next_version = 100;
}

/* What holds after every step. */
static void check_step(bool led, uint64_t token) {
    const bool leads = out.valid_until_ms != 0;
    const bool lost = (out.events & LEASE_CORE_LOST) != 0;
    const bool acquired = (out.events & LEASE_CORE_ACQUIRED) != 0;
    CHECK(!leads || out.valid_until_ms > core.clock_ms);
    CHECK(out.valid_until_ms <= core.clock_ms + core.desc.renew_deadline_ms);
    CHECK(leads || out.token == 0);
    CHECK_INT((int)leads - (int)led, (int)acquired - (int)lost);
    CHECK(!leads || !led || lost || out.token == token);
    CHECK(out.wake_ms > core.clock_ms || (hold && core.pending == LEASE_ACTION_NONE));
    CHECK(out.wake_ms < core.clock_ms + 100000);
    CHECK(!hold || out.action == LEASE_ACTION_NONE);
    if (out.action == LEASE_ACTION_NONE) return;
    CHECK(out.give_up_ms > core.clock_ms);
    CHECK_INT(out.request_id, core.requests);
    if (out.action == LEASE_ACTION_READ) return;
    const bool create = out.action == LEASE_ACTION_CREATE;
    CHECK_INT(out.write.uid[0] == '\0', create);
    CHECK_INT(out.write.resource_version[0] == '\0', create);
}

static void step(lease_core_input *in) {
    const bool led = core.valid_until_ms != 0;
    const uint64_t token = core.token;
    in->now_ms = now;
    in->wall_us = WALL + now * 1000 + wall_add;
    in->random = random_word;
    in->hold_requests = hold;
    lease_core_step(&core, in, &out);
    if (out.action != LEASE_ACTION_NONE) sent_ms = core.clock_ms;
    if (out.action > LEASE_ACTION_READ) written = out.write;
    check_step(led, token);
}

static void kind(lease_input_kind what) {
    lease_core_input in;
    memset(&in, 0, sizeof in);
    in.kind = what;
    step(&in);
}

static void tick_at(int64_t at_ms) {
    now = at_ms;
    kind(LEASE_INPUT_TICK);
}

/* Ticks whenever the core wants to be woken, until it asks for something; false if it does not. */
static bool until_action(int64_t end_ms) {
    while (out.action == LEASE_ACTION_NONE && out.wake_ms <= end_ms) tick_at(out.wake_ms);
    return out.action != LEASE_ACTION_NONE;
}

/* The answer to the request under way. */
static void answer(lease_status status, bool maybe_applied, int32_t retry_after_ms,
                   const lease_record *record) {
    lease_core_input in;
    memset(&in, 0, sizeof in);
    in.kind = core.pending == LEASE_ACTION_READ ? LEASE_INPUT_READ_DONE : LEASE_INPUT_WRITE_DONE;
    in.request_id = core.requests;
    in.status = status;
    in.maybe_applied = maybe_applied;
    in.retry_after_ms = retry_after_ms;
    in.record = record;
    step(&in);
}

static void fail(lease_status status) { answer(status, false, 0, NULL); }
static void fail_open_write(lease_status status) { answer(status, true, 0, NULL); }
static void shown(const lease_record *record) { answer(LEASE_OK, false, 0, record); }

static void set_version(lease_record *record) {
    snprintf(record->resource_version, sizeof record->resource_version, "%u", next_version++);
}

/* A Lease as somebody else's write leaves it, under a new version. */
static lease_record held_by(const char *holder, int32_t duration_s) {
    lease_record record;
    memset(&record, 0, sizeof record);
    lease__copy(record.holder_identity, sizeof record.holder_identity, holder);
    lease__copy(record.uid, sizeof record.uid, "uid-1");
    record.lease_duration_s = duration_s;
    record.lease_transitions = 7;
    record.acquire_time_us = WALL;
    record.renew_time_us = WALL + next_version;
    set_version(&record);
    return record;
}

/* What the server stores of our last write. */
static lease_record stored(void) {
    lease_record record = written;
    if (record.uid[0] == '\0') lease__copy(record.uid, sizeof record.uid, "uid-1");
    set_version(&record);
    return record;
}

static void acknowledge(void) {
    const lease_record record = stored();
    shown(&record);
}

static void begin(void) {
    CHECK_STATUS(lease_core_init(&core, &desc, NULL), LEASE_OK);
    memset(&out, 0, sizeof out);
    tick_at(now);
    CHECK_INT(out.action, LEASE_ACTION_READ);
}

/* Leads a Lease that was free, acquired now. */
static void lead(void) {
    begin();
    fail(LEASE_NOT_FOUND);
    CHECK_INT(out.action, LEASE_ACTION_CREATE);
    acknowledge();
    CHECK((out.events & LEASE_CORE_ACQUIRED) != 0);
}

/* Follows "other", seen now. */
static void follow(void) {
    begin();
    const lease_record record = held_by("other", 15);
    shown(&record);
    CHECK_INT(out.action, LEASE_ACTION_NONE);
}

/* Leads, and has the next renewal under way. */
static void renewing(void) {
    lead();
    CHECK(until_action(now + P));
    CHECK_INT(out.action, LEASE_ACTION_UPDATE);
}

static bool event(uint32_t bit) { return (out.events & bit) != 0; }

/* Only an end that was foreseen leaves the stop budget; else somebody may lead already. */
static void check_lost(lease_reason reason, int64_t stop_by_ms) {
    CHECK(event(LEASE_CORE_LOST));
    CHECK_INT(out.lost_reason, reason);
    CHECK_INT(out.stop_by_ms, stop_by_ms);
    CHECK_INT(out.valid_until_ms, 0);
}

/* -- Configuration (3) ------------------------------------------------------------------------- */

static lease_status init_status(void) {
    lease_error error;
    const lease_status status = lease_core_init(&core, &desc, &error);
    CHECK_STATUS(lease_core_init(&core, &desc, NULL), status);
    if (status != LEASE_OK) {
        CHECK_STATUS(error.status, status);
        CHECK_INT(error.stage, LEASE_STAGE_CONFIG);
        CHECK(strstr(error.message, lease_status_text(status)) == error.message);
    }
    return status;
}

static int64_t skew_ppm(void) {
    lease_timing timing;
    lease_core_timing(&core, &timing);
    return timing.skew_ppm;
}

TEST(defaults_are_filled_in) {
    defaults();
    CHECK_STATUS(init_status(), LEASE_OK);
    CHECK_INT(core.desc.lease_duration_ms, D);
    CHECK_INT(core.desc.renew_deadline_ms, V);
    CHECK_INT(core.desc.retry_period_ms, P);
    CHECK_INT(core.desc.stop_budget_ms, A);
    CHECK_INT(core.desc.request_timeout_ms, TIMEOUT);
    CHECK_STR(core.desc.identity, "me");
    CHECK(core.desc.identity != desc.identity);
    CHECK_INT(skew_ppm(), 456213);
}

TEST(arguments_may_not_be_null) {
    defaults();
    CHECK_STATUS(lease_core_init(NULL, &desc, NULL), LEASE_BAD_ARGUMENT);
    CHECK_STATUS(lease_core_init(&core, NULL, NULL), LEASE_BAD_ARGUMENT);
}

TEST(identity_is_checked) {
    char text[LEASE_MAX_IDENTITY + 2];
    memset(text, 'x', sizeof text);
    text[LEASE_MAX_IDENTITY + 1] = '\0';
    static const char *const bad[] = {"", "a\nb", "a\tb", "\x7f", "\x01", "\xff", "\xc0\x80",
                                      "\xed\xa0\x80", "\xc2\x80", "\xc2\x9f", "a\xe2\x82",
                                      "\xf4\x90\x80\x80", "\xe0\x80\x80", "\xf0\x8f\x80\x80"};
    static const char *const good[] = {"a", "pod_0123", "a b", "\"\\", "\xc2\xa0", "\xe2\x82\xac",
                                       "\xf0\x9f\x98\x80", "\xef\xbf\xbf", "\xf4\x8f\xbf\xbf"};
    for (size_t i = 0; i < LEASE__COUNT(bad); i++) {
        CASE("bad %zu", i);
        defaults();
        desc.identity = bad[i];
        CHECK_STATUS(init_status(), LEASE_BAD_IDENTITY);
    }
    for (size_t i = 0; i < LEASE__COUNT(good); i++) {
        CASE("good %zu", i);
        defaults();
        desc.identity = good[i];
        CHECK_STATUS(init_status(), LEASE_OK);
    }
    CASE("lengths");
    defaults();
    desc.identity = NULL;
    CHECK_STATUS(init_status(), LEASE_BAD_IDENTITY);
    desc.identity = text;
    CHECK_STATUS(init_status(), LEASE_BAD_IDENTITY);
    text[LEASE_MAX_IDENTITY] = '\0';
    CHECK_STATUS(init_status(), LEASE_OK);
}

/* D, V, P, A, request timeout, fail open; 0 = default. */
static const struct {
    int32_t times[5];
    int64_t fail_open;
    lease_status want;
} timings[] = {
    {{0, 0, 0, 0, 0}, 0, LEASE_OK},
    {{15000, 10000, 2000, 300, 2500}, 0, LEASE_OK},
    {{999, 0, 0, 0, 0}, 0, LEASE_BAD_LEASE_DURATION},
    {{1001, 0, 0, 0, 0}, 0, LEASE_BAD_LEASE_DURATION},
    {{15500, 0, 0, 0, 0}, 0, LEASE_BAD_LEASE_DURATION},
    {{-15000, 0, 0, 0, 0}, 0, LEASE_BAD_LEASE_DURATION},
    {{INT32_MIN, 0, 0, 0, 0}, 0, LEASE_BAD_LEASE_DURATION},
    {{1000, 600, 100, 100, 0}, 0, LEASE_OK},
    {{1000, 600, 99, 100, 0}, 0, LEASE_BAD_RETRY_PERIOD},
    {{0, 0, -1, 0, 0}, 0, LEASE_BAD_RETRY_PERIOD},
    {{0, 2400, 2000, 0, 0}, 0, LEASE_BAD_RENEW_DEADLINE},
    {{0, 2401, 2000, 0, 0}, 0, LEASE_OK},
    {{0, -1, 0, 0, 0}, 0, LEASE_BAD_RENEW_DEADLINE},
    {{0, 1, 0, 0, 0}, 0, LEASE_BAD_RENEW_DEADLINE},
    {{0, 0, 0, -1, 0}, 0, LEASE_BAD_STOP_BUDGET},
    {{0, 0, 0, INT32_MIN, 0}, 0, LEASE_BAD_STOP_BUDGET},
    {{0, 0, 0, 0, 0}, -1, LEASE_BAD_FAIL_OPEN},
    {{0, 0, 0, 0, 0}, INT64_MAX / 2, LEASE_OK},
    {{0, 0, 0, 0, -1}, 0, LEASE_BAD_REQUEST_TIMEOUT},
    {{0, 0, 0, 0, 8001}, 0, LEASE_BAD_REQUEST_TIMEOUT},
    {{0, 0, 0, 0, 8000}, 0, LEASE_OK},
    {{0, 0, 0, 0, 1}, 0, LEASE_OK},
    {{0, 0, 0, 0, INT32_MAX}, 0, LEASE_BAD_REQUEST_TIMEOUT},
    /* (V + A) * 101 + 100 <= D * 100, to the millisecond. */
    {{15000, 14550, 2000, 300, 0}, 0, LEASE_OK},
    {{15000, 14551, 2000, 300, 0}, 0, LEASE_UNSAFE_TIMING},
    {{15000, 10000, 2000, 4850, 0}, 0, LEASE_OK},
    {{15000, 10000, 2000, 4851, 0}, 0, LEASE_UNSAFE_TIMING},
    {{15000, 14999, 2000, 1, 0}, 0, LEASE_UNSAFE_TIMING},
    {{10000, 10000, 2000, 1, 0}, 0, LEASE_UNSAFE_TIMING},
    {{1000, 888, 100, 101, 0}, 0, LEASE_OK},
    {{1000, 889, 100, 101, 0}, 0, LEASE_OK - 9},
    {{2147483000, 2000000000, 1000, 1, 0}, 0, LEASE_OK},
    {{2147483000, INT32_MAX, 1000, 1, 0}, 0, LEASE_UNSAFE_TIMING},
    {{2147483000, 1000000000, 1000, INT32_MAX, 0}, 0, LEASE_UNSAFE_TIMING},
    {{2147483000, 2000000000, INT32_MAX, 1, 0}, 0, LEASE_BAD_RENEW_DEADLINE},
};

TEST(timing_is_checked_to_the_millisecond) {
    for (size_t i = 0; i < LEASE__COUNT(timings); i++) {
        const int32_t *t = timings[i].times;
        CASE("D %d V %d P %d A %d timeout %d", t[0], t[1], t[2], t[3], t[4]);
        defaults();
        desc.lease_duration_ms = t[0];
        desc.renew_deadline_ms = t[1];
        desc.retry_period_ms = t[2];
        desc.stop_budget_ms = t[3];
        desc.request_timeout_ms = t[4];
        desc.max_fail_open_ms = timings[i].fail_open;
        CHECK_STATUS(init_status(), timings[i].want);
    }
}

TEST(unsafe_timing_is_refused_with_the_values_that_it_has_by_default) {
    lease_error error;
    defaults();
    desc.lease_duration_ms = 5000;
    CHECK_STATUS(lease_core_init(&core, &desc, &error), LEASE_UNSAFE_TIMING);
    CHECK_STR(error.message, "(renew_deadline + stop_budget) * 1.01 > lease_duration: "
                             "10000 + 300 against 5000 ms");
}

TEST(timing_says_what_a_configuration_means) {
    lease_timing timing;
    defaults();
    CHECK_STATUS(init_status(), LEASE_OK);
    lease_core_timing(&core, &timing);
    CHECK_INT(timing.skew_ppm, 456213);
    CHECK_INT(timing.outage_ms, V - P - TIMEOUT - 1000);
    CHECK_INT(timing.crash_mean_ms, D + P * 55 / 100 - P * 95 / 200);
    CHECK_INT(timing.crash_worst_ms, D + P * 6 / 5);
    CHECK_INT(timing.release_mean_ms, P * 55 / 100);
    CHECK_INT(timing.release_worst_ms, P * 6 / 5);
    CHECK_INT(timing.leader_per_ks, 526);
    CHECK_INT(timing.standby_per_ks, 454);
    CHECK_STR(timing.text,
              "clock rates may differ by 45.6 %; work must end within 300 ms of a loss; "
              "an API outage of 4.5 s is survived whenever it begins; "
              "a crashed leader is replaced after 15.2 s on average, 17.4 s at most; "
              "a released Lease is taken after 1.1 s on average, 2.4 s at most; "
              "a leader sends 0.53 requests a second, a standby 0.45");
}

TEST(timing_text_fits_whatever_the_values) {
    lease_timing timing;
    const int32_t longest = INT32_MAX / 1000 * 1000;
    defaults();
    desc.lease_duration_ms = longest;
    desc.renew_deadline_ms = longest / 4;
    desc.stop_budget_ms = longest / 2;
    desc.retry_period_ms = longest / 5;
    CHECK_STATUS(init_status(), LEASE_OK);
    lease_core_timing(&core, &timing);
    CHECK(strlen(timing.text) < sizeof timing.text - 1);
    CHECK(strstr(timing.text, "a standby 0.00") != NULL);
    /* Hardly an outage is survived when the next renewal comes just before the end. */
    defaults();
    desc.renew_deadline_ms = 2500;
    CHECK_STATUS(init_status(), LEASE_OK);
    lease_core_timing(&core, &timing);
    CHECK_INT(timing.outage_ms, 0);
}

/* What is accepted is safe: with clocks a hundredth apart the work ends before D is over. */
TEST(accepted_timing_is_safe) {
    int bad = 0;
    for (int32_t duration = 1000; duration <= 20000; duration += 1000) {
        for (int32_t deadline = 130; deadline <= duration + 200; deadline += 7) {
            defaults();
            desc.lease_duration_ms = duration;
            desc.renew_deadline_ms = deadline;
            desc.retry_period_ms = 100;
            desc.stop_budget_ms = 53;
            const bool safe = (deadline + 53) * 1.01 + 1 <= duration + 1e-9;
            if ((lease_core_init(&core, &desc, NULL) == LEASE_OK) != safe) bad++;
            if (safe && skew_ppm() < 9990) bad++;
        }
    }
    CHECK_INT(bad, 0);
}

TEST(default_request_timeout_fits) {
    static const int32_t rows[][3] = {/* V, P, timeout */
                                      {10000, 2000, 2500}, {4000, 1000, 1000}, {3000, 2400, 600},
                                      {2401, 2000, 401},   {800, 100, 200},    {14000, 2000, 2500}};
    for (size_t i = 0; i < LEASE__COUNT(rows); i++) {
        CASE("V %d P %d", rows[i][0], rows[i][1]);
        defaults();
        desc.renew_deadline_ms = rows[i][0];
        desc.retry_period_ms = rows[i][1];
        CHECK_STATUS(init_status(), LEASE_OK);
        CHECK_INT(core.desc.request_timeout_ms, rows[i][2]);
    }
}

/* -- Validity (1) ------------------------------------------------------------------------------ */

TEST(validity_counts_from_the_send) {
    defaults();
    begin();
    fail(LEASE_NOT_FOUND);
    const int64_t sent = now;
    now += 2400;
    acknowledge();
    CHECK(event(LEASE_CORE_ACQUIRED));
    CHECK_INT(out.valid_until_ms, sent + V);
}

TEST(a_late_answer_gives_no_validity) {
    static const struct {
        int64_t delay;
        bool leads;
    } rows[] = {{V - 1, true}, {V, false}, {V + 1, false}, {100 * V, false}};
    for (size_t i = 0; i < LEASE__COUNT(rows); i++) {
        CASE("after %d ms", (int)rows[i].delay);
        defaults();
        begin();
        fail(LEASE_NOT_FOUND);
        const int64_t sent = now;
        now += rows[i].delay;
        acknowledge(); /* the driver brings it, against its duty to give up */
        CHECK_INT(out.valid_until_ms, rows[i].leads ? sent + V : 0);
        CHECK_INT(event(LEASE_CORE_ACQUIRED), rows[i].leads);
        if (!rows[i].leads) CHECK_INT(out.action, LEASE_ACTION_UPDATE); /* it is ours: once more */
    }
}

TEST(validity_ends_by_itself) {
    defaults();
    lead();
    const int64_t until = out.valid_until_ms;
    hold = true; /* no connection: nothing but time passes */
    tick_at(until - 1);
    CHECK_INT(out.valid_until_ms, until);
    CHECK_INT(out.wake_ms, until);
    tick_at(until);
    check_lost(LEASE_REASON_EXPIRED, until + A);
}

TEST(a_long_sleep_ends_validity_at_its_own_instant) {
    defaults();
    lead();
    const int64_t until = out.valid_until_ms;
    tick_at(until + 3600000);
    check_lost(LEASE_REASON_EXPIRED, until + A);
    CHECK_INT(out.action, LEASE_ACTION_UPDATE); /* over the version known, by compare-and-swap */
}

TEST(each_renewal_counts_from_its_own_send) {
    defaults();
    lead();
    for (int i = 0; i < 20; i++) {
        CHECK(until_action(now + P));
        CHECK_INT(out.action, LEASE_ACTION_UPDATE);
        CHECK_STR(out.write.resource_version, core.seen.resource_version);
        const int64_t sent = now;
        now += 700;
        acknowledge();
        CHECK(event(LEASE_CORE_RENEWED));
        CHECK(!event(LEASE_CORE_ACQUIRED | LEASE_CORE_LOST | LEASE_CORE_LEADER_CHANGED));
        CHECK_INT(out.valid_until_ms, sent + V);
        CHECK_INT(out.wake_ms, sent + P);
    }
}

TEST(renewals_come_a_little_early_at_random) {
    static const uint32_t words[] = {0, HALF, UINT32_MAX};
    static const int64_t early[] = {0, 100, 199};
    for (size_t i = 0; i < LEASE__COUNT(words); i++) {
        CASE("random %08x", words[i]);
        defaults();
        random_word = words[i];
        lead();
        CHECK_INT(out.wake_ms, now + P - early[i]);
    }
}

/* Nothing but an acknowledgement of the write itself extends validity. */
TEST(failures_do_not_extend_validity) {
    static const lease_status statuses[] = {
        LEASE_CONFLICT, LEASE_NOT_FOUND, LEASE_ALREADY_EXISTS, LEASE_SERVER_ERROR, LEASE_TIMEOUT,
        LEASE_CLOSED, LEASE_THROTTLED, LEASE_UNAUTHORIZED, LEASE_FORBIDDEN, LEASE_INVALID,
        LEASE_JSON, LEASE_WRONG_OBJECT, LEASE_UNEXPECTED, LEASE_CONNECT, LEASE_NO_NAMESPACE};
    for (size_t i = 0; i < LEASE__COUNT(statuses); i++) {
        for (int maybe = 0; maybe < 2; maybe++) {
            CASE("%s%s", lease_status_name(statuses[i]), maybe ? ", maybe applied" : "");
            defaults();
            renewing();
            const int64_t until = out.valid_until_ms;
            now += 10;
            answer(statuses[i], maybe != 0, 0, NULL);
            CHECK_INT(out.valid_until_ms, until);
            CHECK(!event(LEASE_CORE_RENEWED | LEASE_CORE_ACQUIRED));
            for (int n = 0; n < 50 && out.valid_until_ms != 0; n++) {
                if (out.action != LEASE_ACTION_NONE) fail(statuses[i]);
                else tick_at(out.wake_ms);
                CHECK(out.valid_until_ms == until || out.valid_until_ms == 0);
            }
            check_lost(LEASE_REASON_EXPIRED, until + A);
            CHECK_INT(now, until);
        }
    }
}

/* A follower's writes, and the first read, give nothing either. */
TEST(a_read_of_another_write_gives_nothing) {
    defaults();
    begin();
    const lease_record record = held_by("me", 15);
    shown(&record);
    CHECK_INT(out.valid_until_ms, 0);
    CHECK(!event(LEASE_CORE_ACQUIRED));
}

/* -- Following (2) ----------------------------------------------------------------------------- */

static int64_t first_write_ms(int64_t limit_ms, const lease_record *record) {
    while (now < limit_ms) {
        if (!until_action(limit_ms)) return -1;
        if (out.action != LEASE_ACTION_READ) return now;
        shown(record);
    }
    return -1;
}

TEST(a_follower_waits_for_the_longer_duration) {
    static const int32_t rows[][2] = {/* recorded s, wait ms */
                                      {15, 15000}, {5, 15000}, {1, 15000}, {0, 15000},
                                      {16, 16000}, {30, 30000}, {3600, 3600000}};
    for (size_t i = 0; i < LEASE__COUNT(rows); i++) {
        CASE("recorded %d s", rows[i][0]);
        defaults();
        begin();
        const lease_record record = held_by("other", rows[i][0]);
        now += 900; /* the answer takes its time: only its arrival is an observation */
        shown(&record);
        const int64_t seen = now;
        CHECK_INT(first_write_ms(now + 4000000, &record), seen + rows[i][1]);
        CHECK_INT(out.action, LEASE_ACTION_UPDATE);
        CHECK_STR(out.write.resource_version, record.resource_version);
        CHECK_STR(out.write.uid, record.uid);
        CHECK_INT(out.write.lease_transitions, 8);
        CHECK_INT(out.write.lease_duration_s, 15);
        CHECK_STR(out.write.holder_identity, "me");
        CHECK_INT(out.write.acquire_time_us, out.write.renew_time_us);
    }
}

TEST(a_huge_recorded_duration_is_respected) {
    defaults();
    begin();
    const lease_record record = held_by("other", INT32_MAX);
    shown(&record);
    CHECK_INT(lease__rules_take_ms(&core), now + INT64_C(2147483647000));
}

TEST(a_new_version_begins_the_wait_anew) {
    defaults();
    follow();
    CHECK(until_action(now + 14000));
    const lease_record renewed = held_by("other", 15);
    now += 100;
    shown(&renewed);
    const int64_t seen = now;
    CHECK_INT(first_write_ms(now + 60000, &renewed), seen + D);
}

TEST(any_change_counts_as_a_new_version) {
    defaults();
    follow();
    CHECK(until_action(now + 14000));
    lease_record labelled = core.seen;
    set_version(&labelled);
    now += 100;
    shown(&labelled);
    CHECK_INT(first_write_ms(now + 60000, &labelled), now + 0 == now ? core.observed_ms + D : 0);
    CHECK_INT(core.observed_ms + D, now);
}

TEST(an_unchanged_version_does_not) {
    defaults();
    follow();
    const int64_t seen = now;
    const lease_record same = core.seen;
    CHECK_INT(first_write_ms(now + 60000, &same), seen + D);
}

TEST(a_follower_looks_every_period) {
    static const uint32_t words[] = {0, HALF, UINT32_MAX};
    static const int64_t later[] = {0, 200, 399};
    for (size_t i = 0; i < LEASE__COUNT(words); i++) {
        CASE("random %08x", words[i]);
        defaults();
        random_word = words[i];
        follow();
        CHECK_INT(out.wake_ms, now + P + later[i]);
        CHECK(until_action(now + 2 * P));
        CHECK_INT(out.action, LEASE_ACTION_READ);
    }
}

TEST(an_empty_holder_is_taken_at_once) {
    defaults();
    begin();
    const lease_record record = held_by("", 15);
    shown(&record);
    CHECK_INT(out.action, LEASE_ACTION_UPDATE);
    CHECK_INT(out.write.lease_transitions, 8);
    acknowledge();
    CHECK(event(LEASE_CORE_ACQUIRED));
    CHECK(event(LEASE_CORE_LEADER_CHANGED));
}

TEST(a_release_of_another_is_taken_at_once) {
    defaults();
    follow();
    CHECK(until_action(now + 2 * P));
    const lease_record record = held_by("", 1);
    shown(&record);
    CHECK(event(LEASE_CORE_LEADER_CHANGED));
    CHECK_INT(out.action, LEASE_ACTION_UPDATE);
}

TEST(the_holder_is_compared_byte_by_byte) {
    static const char *const others[] = {"Me", "me ", " me", "m", "mee", "ME"};
    for (size_t i = 0; i < LEASE__COUNT(others); i++) {
        CASE("\"%s\"", others[i]);
        defaults();
        renewing();
        fail(LEASE_CONFLICT);
        CHECK_INT(out.action, LEASE_ACTION_READ);
        const lease_record record = held_by(others[i], 15);
        shown(&record);
        CHECK_INT(out.lost_reason, LEASE_REASON_TAKEN);
    }
}

TEST(a_lost_race_is_no_failure) {
    defaults();
    follow();
    const lease_record old = core.seen;
    CHECK(first_write_ms(now + 60000, &old) >= 0);
    fail(LEASE_CONFLICT);
    CHECK_INT(out.action, LEASE_ACTION_READ);
    const lease_record winner = held_by("third", 15);
    shown(&winner);
    CHECK(event(LEASE_CORE_LEADER_CHANGED));
    CHECK(!event(LEASE_CORE_RENEW_FAILED));
    CHECK_INT(first_write_ms(now + 60000, &winner), core.observed_ms + D);
}

/* -- Clocks (4) -------------------------------------------------------------------------------- */

TEST(a_clock_that_goes_back_is_clamped) {
    defaults();
    lead();
    const int64_t until = out.valid_until_ms;
    CHECK(until_action(now + P));
    acknowledge();
    const int64_t renewed = out.valid_until_ms;
    wall_add = INT64_C(500000) * 1000; /* wall time goes on */
    tick_at(now - 500000);
    wall_add = 0;
    CHECK_INT(out.valid_until_ms, renewed);
    CHECK(until < renewed);
    CHECK_INT(core.clock_ms, 1000000 + P);
    tick_at(1000000 + P + V);
    check_lost(LEASE_REASON_EXPIRED, 1000000 + P + V + A);
}

TEST(absurd_clocks_do_not_overflow) {
    static const int64_t times[] = {INT64_MIN, -1, 0, 1, INT64_C(1) << 32, INT64_C(1) << 50,
                                    INT64_MAX};
    for (size_t i = 0; i < LEASE__COUNT(times); i++) {
        for (size_t j = 0; j < LEASE__COUNT(times); j++) {
            lease_core_input in;
            CASE("boot %zu wall %zu", i, j);
            defaults();
            CHECK_STATUS(lease_core_init(&core, &desc, NULL), LEASE_OK);
            for (int n = 0; n < 6; n++) {
                memset(&in, 0, sizeof in);
                in.kind = n % 2 == 0 ? LEASE_INPUT_TICK : LEASE_INPUT_READ_DONE;
                in.now_ms = times[i];
                in.wall_us = n < 4 ? times[j] : 0;
                in.request_id = core.requests;
                in.status = LEASE_NOT_FOUND;
                lease_core_step(&core, &in, &out);
                CHECK(out.wake_ms > 0);
            }
        }
    }
}

/* How far wall time may run ahead of boot time from the send that counts. */
#define SLACK_US (INT64_C(1000) * (D - V - A) / 2)

TEST(a_wall_clock_jump_drops_validity) {
    defaults();
    lead();
    const int64_t until = out.valid_until_ms;
    wall_add = SLACK_US;
    tick_at(now + 1000);
    CHECK_INT(out.valid_until_ms, until);
    wall_add = SLACK_US + 1;
    tick_at(now + 100);
    check_lost(LEASE_REASON_CLOCK_JUMP, now);
    CHECK_INT(out.action, LEASE_ACTION_UPDATE); /* renews first */
    acknowledge();
    CHECK(event(LEASE_CORE_ACQUIRED));
    CHECK_INT(out.valid_until_ms, now + V);
}

TEST(small_jumps_add_up_until_the_next_renewal) {
    defaults();
    lead();
    for (int i = 0; i < 3; i++) {
        wall_add += SLACK_US / 2;
        tick_at(now + 10);
        CHECK_INT(event(LEASE_CORE_LOST), i == 2);
    }
}

TEST(a_jump_during_a_write_makes_its_answer_too_late) {
    defaults();
    renewing();
    wall_add = INT64_C(9000) * 1000; /* the machine stood still for 9 s */
    now += 10;
    acknowledge();
    check_lost(LEASE_REASON_CLOCK_JUMP, now);
    CHECK_INT(out.action, LEASE_ACTION_UPDATE); /* it is ours: renewed at once */
    acknowledge();
    CHECK(event(LEASE_CORE_ACQUIRED));
    CHECK_INT(out.valid_until_ms, now + V);
}

TEST(a_jump_reaches_the_attempts_too) {
    defaults();
    renewing();
    fail_open_write(LEASE_CLOSED);
    CHECK_INT(out.action, LEASE_ACTION_READ);
    const lease_record mine = stored();
    wall_add = INT64_C(6000) * 1000;
    now += 10;
    shown(&mine);
    CHECK_INT(out.valid_until_ms, 0);
    CHECK(!event(LEASE_CORE_ACQUIRED | LEASE_CORE_RENEWED));
    CHECK_INT(out.action, LEASE_ACTION_UPDATE);
}

TEST(a_jump_before_the_first_term_counts_too) {
    defaults();
    begin();
    fail(LEASE_NOT_FOUND);
    wall_add = SLACK_US + 1000;
    now += 10;
    acknowledge();
    CHECK_INT(out.valid_until_ms, 0);
    CHECK(!event(LEASE_CORE_ACQUIRED));
    CHECK_INT(out.action, LEASE_ACTION_UPDATE);
}

TEST(wall_time_going_back_changes_nothing) {
    static const int64_t steps[] = {-1, -3600, -1700000000};
    for (size_t i = 0; i < LEASE__COUNT(steps); i++) {
        CASE("%d s", (int)steps[i]);
        defaults();
        renewing();
        const int64_t until = out.valid_until_ms;
        wall_add = steps[i] * 1000000;
        now += 10;
        acknowledge();
        CHECK(!event(LEASE_CORE_LOST));
        CHECK(out.valid_until_ms > until);
    }
}

TEST(a_slow_slew_of_wall_time_is_no_jump) {
    defaults();
    lead();
    for (int i = 0; i < 100; i++) {
        wall_add += 500000; /* half a second each renewal, 50 s in all */
        CHECK(until_action(now + P));
        acknowledge();
        CHECK(event(LEASE_CORE_RENEWED));
    }
}

/* -- Another holder, and one's own identity (5) ------------------------------------------------ */

/* As leader, with the answer of a read still to come. */
static void reading_as_leader(void) {
    renewing();
    now += 10;
    fail(LEASE_CONFLICT);
    CHECK_INT(out.action, LEASE_ACTION_READ);
    CHECK(out.valid_until_ms != 0);
    now += 10;
}

TEST(another_holder_ends_leadership_at_once) {
    defaults();
    reading_as_leader();
    const lease_record record = held_by("other", 15);
    shown(&record);
    check_lost(LEASE_REASON_TAKEN, now);
    CHECK(event(LEASE_CORE_LEADER_CHANGED));
    CHECK(event(LEASE_CORE_FOREIGN_WRITE));
    CHECK_INT(out.action, LEASE_ACTION_NONE);
    CHECK_INT(first_write_ms(now + 60000, &record), core.observed_ms + D);
}

TEST(an_emptied_holder_ends_leadership_at_once) {
    defaults();
    reading_as_leader();
    const lease_record record = held_by("", 15);
    shown(&record);
    check_lost(LEASE_REASON_CLEARED, now);
    CHECK_INT(out.action, LEASE_ACTION_UPDATE); /* it is free: contends again */
}

TEST(a_duplicate_identity_ends_leadership_at_once) {
    defaults();
    reading_as_leader();
    const lease_record record = held_by("me", 15);
    shown(&record);
    check_lost(LEASE_REASON_DUPLICATE, now);
    CHECK(event(LEASE_CORE_DUPLICATE));
    CHECK(event(LEASE_CORE_FOREIGN_WRITE));
    CHECK_INT(first_write_ms(now + 60000, &record), core.observed_ms + D);
}

TEST(a_duplicate_renewing_is_reported_each_time) {
    defaults();
    begin();
    lease_record record = held_by("me", 15);
    shown(&record);
    CHECK(!event(LEASE_CORE_DUPLICATE)); /* may be our former life: wait, and see */
    for (int i = 0; i < 3; i++) {
        CHECK(until_action(now + 2 * P));
        CHECK_INT(out.action, LEASE_ACTION_READ);
        record = held_by("me", 15);
        shown(&record);
        CHECK(event(LEASE_CORE_DUPLICATE));
        CHECK_INT(out.valid_until_ms, 0);
    }
}

TEST(a_restart_under_a_fixed_identity_waits_like_any_other) {
    defaults();
    begin();
    const lease_record record = held_by("me", 15);
    shown(&record);
    const int64_t seen = now;
    CHECK_INT(first_write_ms(now + 60000, &record), seen + D);
    CHECK(!event(LEASE_CORE_DUPLICATE));
    CHECK_INT(out.write.lease_transitions, 7); /* the holder does not change */
    acknowledge();
    CHECK(event(LEASE_CORE_ACQUIRED));
}

TEST(a_label_on_our_lease_is_no_loss) {
    defaults();
    reading_as_leader();
    lease_record record = core.seen; /* as the last acknowledged write left it */
    set_version(&record);
    const int64_t until = core.valid_until_ms;
    shown(&record);
    CHECK(!event(LEASE_CORE_LOST | LEASE_CORE_DUPLICATE));
    CHECK(event(LEASE_CORE_FOREIGN_WRITE));
    CHECK_INT(out.valid_until_ms, until); /* ... and no renewal */
    CHECK_INT(out.action, LEASE_ACTION_UPDATE);
    CHECK_STR(out.write.resource_version, record.resource_version);
    CHECK(event(LEASE_CORE_SLOW_PATH));
    acknowledge();
    CHECK(event(LEASE_CORE_RENEWED));
}

TEST(a_recreated_lease_with_our_times_is_not_ours) {
    defaults();
    reading_as_leader();
    lease_record record = core.seen;
    lease__copy(record.uid, sizeof record.uid, "uid-2");
    set_version(&record);
    record.renew_time_us--; /* a backup restored */
    shown(&record);
    check_lost(LEASE_REASON_DUPLICATE, now);
}

TEST(another_holder_near_the_end_leaves_no_budget_either) {
    defaults();
    lead();
    const int64_t until = out.valid_until_ms;
    hold = true;
    tick_at(until - 50);
    hold = false;
    tick_at(until - 50);
    CHECK_INT(out.action, LEASE_ACTION_UPDATE);
    fail(LEASE_CONFLICT);
    now = until - 20;
    const lease_record record = held_by("other", 15);
    shown(&record);
    check_lost(LEASE_REASON_TAKEN, until - 20);
}

/* -- What is written (6, 7) -------------------------------------------------------------------- */

TEST(transitions_count_changes_of_the_holder) {
    static const struct {
        const char *holder;
        int32_t before;
        int32_t after;
    } rows[] = {{"other", 7, 8}, {"", 7, 8}, {"other", 0, 1}, {"me", 7, 7},
                {"other", INT32_MAX, INT32_MAX}, {"other", INT32_MAX - 1, INT32_MAX}};
    for (size_t i = 0; i < LEASE__COUNT(rows); i++) {
        CASE("%zu", i);
        defaults();
        begin();
        lease_record record = held_by(rows[i].holder, 15);
        record.lease_transitions = rows[i].before;
        shown(&record);
        if (out.action == LEASE_ACTION_NONE) first_write_ms(now + 60000, &record);
        CHECK_INT(out.write.lease_transitions, rows[i].after);
        acknowledge();
        CHECK(until_action(now + P));
        CHECK_INT(out.write.lease_transitions, rows[i].after); /* a renewal keeps it */
        CHECK_INT(out.write.acquire_time_us, core.range.start_us);
    }
}

TEST(the_second_of_renew_time_always_changes) {
    static const int64_t walls[] = {0, -1, 999999, 5000000};
    for (size_t i = 0; i < LEASE__COUNT(walls); i++) {
        CASE("wall time frozen, %d", (int)walls[i]);
        defaults();
        lead();
        int64_t last = written.renew_time_us;
        for (int n = 0; n < 10; n++) {
            CHECK(out.wake_ms <= now + P);
            wall_add -= (out.wake_ms - now) * 1000; /* frozen */
            if (n == 5) wall_add += walls[i];
            tick_at(out.wake_ms);
            CHECK(written.renew_time_us / 1000000 != last / 1000000);
            CHECK(written.renew_time_us > 0);
            last = written.renew_time_us;
            acknowledge();
        }
    }
}

/* A deadline so near leaves no whole second between two renewals. */
TEST(renewals_within_a_second_have_times_of_their_own) {
    defaults();
    desc.lease_duration_ms = 1000;
    desc.renew_deadline_ms = 600;
    desc.retry_period_ms = 100;
    desc.stop_budget_ms = 100;
    lead();
    for (int n = 0; n < 10; n++) {
        const int64_t last = written.renew_time_us;
        const int64_t gap = out.wake_ms - now;
        CHECK_INT(gap, 300);
        wall_add -= gap * 1000; /* frozen */
        tick_at(out.wake_ms);
        CHECK_INT(out.action, LEASE_ACTION_UPDATE);
        CHECK(written.renew_time_us / 1000 > last / 1000);
        CHECK(written.renew_time_us <= last + gap * 1000 + 2000); /* no further ahead than time */
        acknowledge();
    }
}

TEST(renew_time_follows_a_wall_clock_that_was_far_ahead) {
    static const int64_t ahead[] = {30, 3600};
    for (size_t i = 0; i < LEASE__COUNT(ahead); i++) {
        CASE("%d s", (int)ahead[i]);
        defaults();
        wall_add = ahead[i] * 1000000;
        lead();
        const int64_t last = written.renew_time_us;
        wall_add = 0; /* set right */
        CHECK(until_action(now + P));
        if (i == 0) CHECK(written.renew_time_us > last);
        else CHECK_INT(written.renew_time_us, WALL + now * 1000);
        acknowledge();
        CHECK(event(LEASE_CORE_RENEWED));
    }
}

TEST(unanswered_writes_have_times_of_their_own) {
    int64_t seen[40];
    int count = 0;
    defaults();
    lead();
    for (int n = 0; n < 40; n++) {
        if (out.action == LEASE_ACTION_NONE) {
            const int64_t wake = out.wake_ms;
            wall_add -= (wake - now) * 1000;
            tick_at(wake);
        }
        if (out.action == LEASE_ACTION_UPDATE) {
            for (int i = count > 8 ? count - 8 : 0; i < count; i++) {
                CHECK(seen[i] != out.write.renew_time_us);
            }
            seen[count++] = out.write.renew_time_us;
            answer(LEASE_TIMEOUT, true, 0, NULL);
        } else if (out.action == LEASE_ACTION_READ) {
            lease_record record = core.seen;
            shown(&record);
        }
    }
    CHECK(count > 8);
}

/* -- Release (8) ------------------------------------------------------------------------------- */

static void check_release_write(void) {
    CHECK_INT(out.action, LEASE_ACTION_UPDATE);
    CHECK_STR(out.write.holder_identity, "");
    CHECK_INT(out.write.lease_duration_s, 1);
    CHECK_STR(out.write.uid, core.seen.uid);
    CHECK_STR(out.write.resource_version, core.seen.resource_version);
    CHECK_INT(out.write.lease_transitions, core.seen.lease_transitions);
    CHECK_INT(out.valid_until_ms, 0);
}

static void check_released(void) {
    CHECK(event(LEASE_CORE_RELEASED));
    CHECK_INT(out.valid_until_ms, 0);
    CHECK(!core.range.held);
    for (int n = 0; n < 30; n++) { /* stands aside, and keeps looking */
        if (out.action == LEASE_ACTION_NONE) tick_at(out.wake_ms);
        CHECK_INT(out.action, LEASE_ACTION_READ);
        CHECK(!event(LEASE_CORE_RELEASED | LEASE_CORE_ACQUIRED));
        lease_record record = core.seen;
        if (core.exists) shown(&record);
        else fail(LEASE_NOT_FOUND);
    }
}

TEST(a_release_ends_validity_before_it_is_sent) {
    defaults();
    lead();
    now += 100;
    hold = true;
    kind(LEASE_INPUT_RELEASE);
    check_lost(LEASE_REASON_RELEASED, now);
    CHECK(!core.range.held);
    hold = false;
    tick_at(now + 10);
    check_release_write();
    acknowledge();
    CHECK(event(LEASE_CORE_LEADER_CHANGED));
    check_released();
}

TEST(a_release_awaits_the_write_under_way) {
    defaults();
    renewing();
    kind(LEASE_INPUT_RELEASE);
    CHECK(event(LEASE_CORE_LOST));
    CHECK(!event(LEASE_CORE_RELEASED));
    CHECK_INT(out.action, LEASE_ACTION_NONE);
    acknowledge();
    CHECK(!event(LEASE_CORE_ACQUIRED | LEASE_CORE_RENEWED | LEASE_CORE_RELEASED));
    check_release_write();
    acknowledge();
    check_released();
}

TEST(a_release_during_the_acquiring_write_gives_it_back) {
    defaults();
    begin();
    fail(LEASE_NOT_FOUND);
    CHECK_INT(out.action, LEASE_ACTION_CREATE);
    kind(LEASE_INPUT_RELEASE);
    CHECK(!event(LEASE_CORE_RELEASED | LEASE_CORE_LOST));
    acknowledge();
    CHECK(!event(LEASE_CORE_ACQUIRED));
    check_release_write();
    acknowledge();
    check_released();
}

TEST(a_release_after_an_unanswered_write_looks_first) {
    for (int applied = 0; applied < 2; applied++) {
        CASE(applied ? "it was applied" : "it was not");
        defaults();
        renewing();
        const lease_record mine = stored();
        const lease_record old = core.seen;
        kind(LEASE_INPUT_RELEASE);
        fail_open_write(LEASE_TIMEOUT);
        CHECK_INT(out.action, LEASE_ACTION_READ);
        shown(applied ? &mine : &old);
        CHECK(!event(LEASE_CORE_ACQUIRED | LEASE_CORE_RELEASED));
        check_release_write();
        acknowledge();
        check_released();
    }
}

TEST(a_release_while_an_unanswered_take_is_looked_for_gives_it_back) {
    defaults();
    begin();
    fail(LEASE_NOT_FOUND);
    const lease_record mine = stored();
    fail_open_write(LEASE_TIMEOUT);
    CHECK_INT(out.action, LEASE_ACTION_READ);
    kind(LEASE_INPUT_RELEASE);
    CHECK(!event(LEASE_CORE_RELEASED));
    shown(&mine);
    CHECK(!event(LEASE_CORE_ACQUIRED));
    check_release_write();
    acknowledge();
    check_released();
}

/* A take that was looked for and not found comes late, when the release is complete. */
TEST(a_write_that_comes_after_the_release_leads_nothing) {
    defaults();
    begin();
    const lease_record unheld = held_by("", 15);
    shown(&unheld);
    CHECK_INT(out.action, LEASE_ACTION_UPDATE);
    const lease_record late = stored();
    fail_open_write(LEASE_TIMEOUT);
    CHECK_INT(out.action, LEASE_ACTION_READ);
    hold = true;
    shown(&unheld);
    kind(LEASE_INPUT_RELEASE);
    hold = false;
    tick_at(now + P);
    CHECK_INT(out.action, LEASE_ACTION_READ);
    shown(&late);
    CHECK(!event(LEASE_CORE_ACQUIRED | LEASE_CORE_DUPLICATE));
    CHECK_INT(out.valid_until_ms, 0);
    CHECK(!core.range.held);
}

TEST(a_release_never_touches_the_write_of_another) {
    static const char *const holders[] = {"other", "me", ""};
    for (size_t i = 0; i < LEASE__COUNT(holders); i++) {
        CASE("holder \"%s\"", holders[i]);
        defaults();
        lead();
        kind(LEASE_INPUT_RELEASE);
        check_release_write();
        fail(LEASE_CONFLICT);
        CHECK_INT(out.action, LEASE_ACTION_READ);
        const lease_record record = held_by(holders[i], 15);
        shown(&record);
        CHECK_INT(out.action, LEASE_ACTION_NONE);
        check_released();
    }
}

TEST(a_release_over_a_label_is_tried_again) {
    defaults();
    lead();
    lease_record labelled = core.seen;
    set_version(&labelled);
    kind(LEASE_INPUT_RELEASE);
    fail(LEASE_CONFLICT);
    shown(&labelled);
    CHECK(!event(LEASE_CORE_RELEASED));
    check_release_write();
    CHECK_STR(out.write.resource_version, labelled.resource_version);
    acknowledge();
    check_released();
}

TEST(an_unanswered_release_is_read_back) {
    defaults();
    lead();
    const lease_record before = core.seen;
    kind(LEASE_INPUT_RELEASE);
    const lease_record released = stored();
    fail_open_write(LEASE_CLOSED);
    CHECK_INT(out.action, LEASE_ACTION_READ);
    CASE("it was applied");
    const lease_core saved = core;
    shown(&released);
    CHECK(!event(LEASE_CORE_FOREIGN_WRITE)); /* it was our own */
    check_released();
    CASE("it was not");
    core = saved;
    now = core.clock_ms;
    shown(&before);
    CHECK(!event(LEASE_CORE_RELEASED));
    check_release_write();
    acknowledge();
    check_released();
}

TEST(a_release_that_is_refused_is_tried_again) {
    static const lease_status statuses[] = {LEASE_FORBIDDEN, LEASE_THROTTLED, LEASE_CONNECT};
    for (size_t i = 0; i < LEASE__COUNT(statuses); i++) {
        CASE("%s", lease_status_name(statuses[i]));
        defaults();
        lead();
        kind(LEASE_INPUT_RELEASE);
        fail(statuses[i]);
        CHECK(!event(LEASE_CORE_RELEASED));
        CHECK_INT(out.action, LEASE_ACTION_NONE);
        CHECK(until_action(now + 60000));
        check_release_write();
        acknowledge();
        check_released();
    }
}

TEST(a_release_of_a_deleted_lease_is_complete) {
    defaults();
    lead();
    kind(LEASE_INPUT_RELEASE);
    fail(LEASE_NOT_FOUND);
    CHECK_INT(out.action, LEASE_ACTION_READ);
    fail(LEASE_NOT_FOUND);
    CHECK_INT(out.action, LEASE_ACTION_NONE);
    check_released();
}

TEST(a_follower_releases_at_once) {
    defaults();
    follow();
    kind(LEASE_INPUT_RELEASE);
    CHECK_INT(out.action, LEASE_ACTION_NONE);
    check_released();
}

TEST(a_release_before_the_first_answer_is_complete) {
    defaults();
    begin();
    kind(LEASE_INPUT_RELEASE);
    CHECK(event(LEASE_CORE_RELEASED));
    const lease_record record = held_by("", 15);
    shown(&record);
    CHECK_INT(out.action, LEASE_ACTION_NONE);
}

TEST(an_observer_releases_without_a_write) {
    defaults();
    desc.observe_only = true;
    follow();
    kind(LEASE_INPUT_RELEASE);
    check_released();
}

TEST(a_second_release_does_nothing) {
    defaults();
    lead();
    kind(LEASE_INPUT_RELEASE);
    check_release_write();
    kind(LEASE_INPUT_RELEASE);
    CHECK_INT(out.action, LEASE_ACTION_NONE);
    CHECK_INT(out.events, 0);
    acknowledge();
    check_released();
}

TEST(contending_again_takes_part_at_once) {
    defaults();
    lead();
    kind(LEASE_INPUT_RELEASE);
    acknowledge();
    CHECK(event(LEASE_CORE_RELEASED));
    kind(LEASE_INPUT_CONTEND);
    CHECK_INT(out.action, LEASE_ACTION_UPDATE); /* the last version known, or a conflict */
    CHECK_STR(out.write.holder_identity, "me");
    acknowledge();
    CHECK(event(LEASE_CORE_ACQUIRED));
    kind(LEASE_INPUT_CONTEND); /* without a release before it: nothing */
    CHECK_INT(out.events, 0);
    CHECK_INT(out.action, LEASE_ACTION_NONE);
}

TEST(contending_during_a_release_ends_the_release_first) {
    defaults();
    lead();
    kind(LEASE_INPUT_RELEASE);
    check_release_write();
    kind(LEASE_INPUT_CONTEND);
    CHECK_INT(out.action, LEASE_ACTION_NONE);
    acknowledge();
    CHECK(event(LEASE_CORE_RELEASED));
    CHECK_INT(out.action, LEASE_ACTION_UPDATE);
    CHECK_STR(out.write.holder_identity, "me");
    acknowledge();
    CHECK(event(LEASE_CORE_ACQUIRED));
}

TEST(contending_before_the_last_renewal_is_answered_gives_back_first) {
    defaults();
    renewing();
    kind(LEASE_INPUT_RELEASE);
    kind(LEASE_INPUT_CONTEND);
    acknowledge();
    CHECK(!event(LEASE_CORE_ACQUIRED | LEASE_CORE_RENEWED | LEASE_CORE_RELEASED));
    check_release_write();
    acknowledge();
    CHECK(event(LEASE_CORE_RELEASED));
    CHECK_STR(out.write.holder_identity, "me");
    acknowledge();
    CHECK(event(LEASE_CORE_ACQUIRED));
}

/* -- Creation and deletion (9) ----------------------------------------------------------------- */

TEST(the_first_absence_is_filled_at_once) {
    defaults();
    begin();
    fail(LEASE_NOT_FOUND);
    CHECK_INT(out.action, LEASE_ACTION_CREATE);
    CHECK_STR(out.write.holder_identity, "me");
    CHECK_INT(out.write.lease_transitions, 0);
    CHECK_INT(out.write.lease_duration_s, 15);
    CHECK_INT(out.write.acquire_time_us, out.write.renew_time_us);
    CHECK_INT(out.write.renew_time_us, WALL + now * 1000);
    acknowledge();
    CHECK(event(LEASE_CORE_ACQUIRED));
    CHECK(event(LEASE_CORE_LEADER_CHANGED));
}

TEST(absence_after_a_holder_waits_a_full_duration) {
    static const int32_t recorded[] = {15, 5, 30};
    for (size_t i = 0; i < LEASE__COUNT(recorded); i++) {
        CASE("recorded %d s", recorded[i]);
        defaults();
        begin();
        const lease_record record = held_by("other", recorded[i]);
        shown(&record);
        CHECK(until_action(now + 2 * P));
        fail(LEASE_NOT_FOUND);
        CHECK(event(LEASE_CORE_LEADER_CHANGED)); /* nobody */
        const int64_t gone = now;
        while (out.action != LEASE_ACTION_CREATE && now < gone + 60000) {
            if (out.action == LEASE_ACTION_READ) fail(LEASE_NOT_FOUND);
            else tick_at(out.wake_ms);
        }
        CHECK_INT(now, gone + (recorded[i] > 15 ? recorded[i] : 15) * 1000);
    }
}

TEST(absence_after_an_unheld_lease_is_filled_at_once) {
    defaults();
    desc.observe_only = false;
    begin();
    const lease_record record = held_by("", 15);
    shown(&record);
    fail(LEASE_NOT_FOUND); /* the update that tries to take it */
    CHECK_INT(out.action, LEASE_ACTION_READ);
    fail(LEASE_NOT_FOUND);
    CHECK_INT(out.action, LEASE_ACTION_CREATE);
}

TEST(a_leader_recreates_its_deleted_lease) {
    defaults();
    renewing();
    const int64_t start = core.range.start_us;
    const int64_t until = out.valid_until_ms;
    now += 10;
    fail(LEASE_NOT_FOUND);
    CHECK_INT(out.action, LEASE_ACTION_READ);
    fail(LEASE_NOT_FOUND);
    CHECK(!event(LEASE_CORE_LOST));
    CHECK_INT(out.valid_until_ms, until);
    CHECK_INT(out.action, LEASE_ACTION_CREATE);
    CHECK_INT(out.write.acquire_time_us, start);
    acknowledge();
    CHECK(event(LEASE_CORE_RENEWED));
    CHECK_INT(out.valid_until_ms, now + V);
}

TEST(a_leader_that_is_too_late_to_recreate_steps_down) {
    defaults();
    renewing();
    fail(LEASE_NOT_FOUND);
    fail(LEASE_NOT_FOUND);
    CHECK_INT(out.action, LEASE_ACTION_CREATE);
    now += 10;
    fail(LEASE_ALREADY_EXISTS);
    CHECK(until_action(now + P));
    CHECK_INT(out.action, LEASE_ACTION_READ);
    lease_record record = held_by("other", 15);
    lease__copy(record.uid, sizeof record.uid, "uid-2");
    shown(&record);
    check_lost(LEASE_REASON_TAKEN, now);
}

TEST(a_former_leader_waits_before_it_recreates) {
    defaults();
    lead();
    hold = true;
    tick_at(out.valid_until_ms);
    CHECK(event(LEASE_CORE_LOST));
    hold = false;
    tick_at(now + 10);
    CHECK_INT(out.action, LEASE_ACTION_UPDATE);
    fail(LEASE_NOT_FOUND);
    CHECK_INT(out.action, LEASE_ACTION_READ);
    fail(LEASE_NOT_FOUND);
    const int64_t gone = now;
    while (out.action != LEASE_ACTION_CREATE && now < gone + 60000) {
        if (out.action == LEASE_ACTION_READ) fail(LEASE_NOT_FOUND);
        else tick_at(out.wake_ms);
    }
    CHECK_INT(now, gone + D);
}

TEST(strict_creation_creates_unheld_and_waits) {
    defaults();
    desc.strict_creation = true;
    begin();
    fail(LEASE_NOT_FOUND);
    CHECK_INT(out.action, LEASE_ACTION_CREATE);
    CHECK_STR(out.write.holder_identity, "");
    CHECK_INT(out.write.lease_duration_s, 15);
    CHECK_INT(out.write.renew_time_us, 0);
    const lease_record record = stored();
    shown(&record);
    CHECK(!event(LEASE_CORE_ACQUIRED));
    const int64_t seen = now;
    CHECK_INT(first_write_ms(now + 60000, &record), seen + D);
    acknowledge();
    CHECK(event(LEASE_CORE_ACQUIRED));
}

TEST(strict_creation_waits_for_an_unheld_lease_of_unknown_history) {
    defaults();
    desc.strict_creation = true;
    begin();
    const lease_record record = held_by("", 15);
    shown(&record);
    CHECK_INT(out.action, LEASE_ACTION_NONE);
    const int64_t seen = now;
    CHECK_INT(first_write_ms(now + 60000, &record), seen + D);
}

TEST(strict_creation_takes_a_release_at_once) {
    defaults();
    desc.strict_creation = true;
    follow();
    CHECK(until_action(now + 2 * P));
    const lease_record record = held_by("", 1);
    shown(&record);
    CHECK_INT(out.action, LEASE_ACTION_UPDATE);
}

TEST(strict_creation_does_not_trust_the_release_of_another_uid) {
    defaults();
    desc.strict_creation = true;
    follow();
    CHECK(until_action(now + 2 * P));
    lease_record record = held_by("", 1);
    lease__copy(record.uid, sizeof record.uid, "uid-2");
    shown(&record);
    CHECK_INT(out.action, LEASE_ACTION_NONE);
    const int64_t seen = now;
    CHECK_INT(first_write_ms(now + 60000, &record), seen + D);
}

TEST(strict_creation_steps_down_when_the_lease_is_gone) {
    defaults();
    desc.strict_creation = true;
    begin();
    lease_record record = held_by("", 15);
    shown(&record);
    first_write_ms(now + 60000, &record);
    acknowledge();
    CHECK(until_action(now + P));
    fail(LEASE_NOT_FOUND);
    CHECK_INT(out.action, LEASE_ACTION_READ);
    now += 10;
    fail(LEASE_NOT_FOUND);
    check_lost(LEASE_REASON_DELETED, now);
    CHECK_INT(out.action, LEASE_ACTION_CREATE);
    CHECK_STR(out.write.holder_identity, "");
}

/* Our record, made anew from a copy. Only strict_creation minds: without it a late copy of our own
 * creation can do the same. */
TEST(strict_creation_knows_its_lease_by_the_uid) {
    static const struct {
        bool strict;
        const char *uid;
        bool lost;
    } rows[] = {{true, "uid-1", false}, {true, "uid-2", true}, {false, "uid-2", false}};
    for (size_t i = 0; i < LEASE__COUNT(rows); i++) {
        CASE("%zu", i);
        defaults();
        desc.strict_creation = rows[i].strict;
        begin();
        const lease_record unheld = held_by("", 15);
        shown(&unheld);
        if (out.action == LEASE_ACTION_NONE) first_write_ms(now + 60000, &unheld);
        acknowledge();
        CHECK(until_action(now + P));
        fail(LEASE_CONFLICT);
        lease_record anew = core.seen;
        lease__copy(anew.uid, sizeof anew.uid, rows[i].uid);
        set_version(&anew);
        shown(&anew);
        CHECK(event(LEASE_CORE_FOREIGN_WRITE));
        if (rows[i].lost) check_lost(LEASE_REASON_DUPLICATE, now);
        else CHECK_STR(out.write.uid, rows[i].uid);
    }
}

/* -- The fencing token (10) -------------------------------------------------------------------- */

TEST(the_token_is_the_version_of_the_acquiring_write) {
    static const struct {
        const char *version;
        uint64_t token;
    } rows[] = {
        {"1", 1}, {"42", 42}, {"18446744073709551615", UINT64_MAX}, {"18446744073709551616", 0},
        {"0", 0}, {"007", 0}, {"-1", 0}, {"+1", 0}, {" 1", 0}, {"1 ", 0}, {"1a", 0}, {"abc", 0},
        {"1.0", 0}, {"0x10", 0}, {"1000000000000000000000000000000", 0}, {"9223372036854775808",
        UINT64_C(9223372036854775808)},
    };
    for (size_t i = 0; i < LEASE__COUNT(rows); i++) {
        CASE("%s", rows[i].version);
        defaults();
        begin();
        fail(LEASE_NOT_FOUND);
        lease_record record = stored();
        lease__copy(record.resource_version, sizeof record.resource_version, rows[i].version);
        shown(&record);
        CHECK(event(LEASE_CORE_ACQUIRED));
        CHECK(out.token == rows[i].token);
        CHECK(until_action(now + P));
        acknowledge();
        CHECK(out.token == rows[i].token); /* a renewal keeps the token of the term */
    }
}

TEST(each_term_has_its_own_token) {
    defaults();
    lead();
    const uint64_t first = out.token;
    kind(LEASE_INPUT_RELEASE);
    CHECK_INT(out.token, 0);
    acknowledge();
    kind(LEASE_INPUT_CONTEND);
    acknowledge();
    CHECK(event(LEASE_CORE_ACQUIRED));
    CHECK(out.token > first);
}

/* -- Unanswered writes ------------------------------------------------------------------------- */

TEST(an_unanswered_renewal_is_read_back) {
    static const lease_status statuses[] = {LEASE_TIMEOUT, LEASE_CLOSED, LEASE_SERVER_ERROR};
    for (size_t i = 0; i < LEASE__COUNT(statuses); i++) {
        CASE("%s", lease_status_name(statuses[i]));
        defaults();
        renewing();
        const int64_t sent = now;
        const uint64_t token = out.token;
        const lease_record mine = stored();
        now += 900;
        fail_open_write(statuses[i]);
        CHECK(event(LEASE_CORE_RENEW_FAILED));
        CHECK_INT(out.action, LEASE_ACTION_READ);
        now += 100;
        shown(&mine);
        CHECK(event(LEASE_CORE_READ_BACK));
        CHECK(event(LEASE_CORE_RENEWED));
        CHECK(!event(LEASE_CORE_LOST | LEASE_CORE_FOREIGN_WRITE | LEASE_CORE_ACQUIRED));
        CHECK_INT(out.valid_until_ms, sent + V);
        CHECK(out.token == token);
    }
}

TEST(an_unanswered_take_is_read_back) {
    defaults();
    begin();
    fail(LEASE_NOT_FOUND);
    const int64_t sent = now;
    const lease_record mine = stored();
    now += 900;
    fail_open_write(LEASE_TIMEOUT);
    now += 100;
    shown(&mine);
    CHECK(event(LEASE_CORE_READ_BACK));
    CHECK(event(LEASE_CORE_ACQUIRED));
    CHECK_INT(out.valid_until_ms, sent + V);
    CHECK(out.token == lease__parse_u64(mine.resource_version));
}

TEST(an_unanswered_write_that_was_not_applied_is_written_again) {
    defaults();
    renewing();
    const lease_record old = core.seen;
    const int64_t until = out.valid_until_ms;
    fail_open_write(LEASE_CLOSED);
    now += 10;
    shown(&old);
    CHECK(!event(LEASE_CORE_READ_BACK | LEASE_CORE_LOST));
    CHECK_INT(out.valid_until_ms, until);
    CHECK_INT(out.action, LEASE_ACTION_UPDATE);
    CHECK(event(LEASE_CORE_SLOW_PATH));
}

/* The oldest of several writes without an answer is the one that was applied. */
TEST(the_right_attempt_of_several_counts) {
    defaults();
    renewing();
    const int64_t sent = now;
    const lease_record mine = stored();
    const lease_record old = core.seen;
    for (int i = 0; i < 2; i++) {
        now += 100;
        fail_open_write(LEASE_CLOSED);
        if (out.action == LEASE_ACTION_NONE) CHECK(until_action(now + P));
        CHECK_INT(out.action, LEASE_ACTION_READ);
        shown(&old); /* a read that is served from before the write */
        if (out.action == LEASE_ACTION_NONE) CHECK(until_action(now + P));
        CHECK_INT(out.action, LEASE_ACTION_UPDATE);
    }
    now += 100;
    fail(LEASE_CONFLICT);
    if (out.action == LEASE_ACTION_NONE) CHECK(until_action(now + 2 * P));
    CHECK_INT(out.action, LEASE_ACTION_READ);
    shown(&mine);
    CHECK(event(LEASE_CORE_READ_BACK));
    CHECK_INT(out.valid_until_ms, sent + V);
}

TEST(a_conflict_may_hide_our_own_write) {
    defaults();
    renewing();
    const int64_t sent = now;
    const lease_record mine = stored();
    now += 10;
    fail(LEASE_CONFLICT); /* the answer to the second copy of one request */
    CHECK_INT(out.action, LEASE_ACTION_READ);
    shown(&mine);
    CHECK(event(LEASE_CORE_READ_BACK));
    CHECK(!event(LEASE_CORE_FOREIGN_WRITE));
    CHECK_INT(out.valid_until_ms, sent + V);
}

/* A proxy may refuse the second copy of a write whose first copy is still under way. */
TEST(a_refused_write_that_shows_up_all_the_same_is_ours) {
    static const lease_status statuses[] = {LEASE_FORBIDDEN, LEASE_THROTTLED, LEASE_INVALID};
    for (size_t i = 0; i < LEASE__COUNT(statuses); i++) {
        CASE("%s", lease_status_name(statuses[i]));
        defaults();
        renewing();
        const int64_t sent = now;
        const lease_record mine = stored();
        fail(statuses[i]);
        CHECK(until_action(now + 60000));
        CHECK_INT(out.action, LEASE_ACTION_UPDATE);
        fail(LEASE_CONFLICT);
        if (out.action == LEASE_ACTION_NONE) CHECK(until_action(now + P));
        shown(&mine);
        CHECK(!event(LEASE_CORE_DUPLICATE | LEASE_CORE_LOST));
        CHECK_INT(out.valid_until_ms, sent + V);
    }
}

/* What never left us cannot be the write that a read shows. */
TEST(a_write_that_was_never_sent_is_forgotten) {
    static const lease_status statuses[] = {LEASE_CONNECT, LEASE_RESOLVE, LEASE_TLS,
                                            LEASE_CERTIFICATE, LEASE_TOO_LARGE, LEASE_STOPPED};
    for (size_t i = 0; i < LEASE__COUNT(statuses); i++) {
        CASE("%s", lease_status_name(statuses[i]));
        defaults();
        renewing();
        const lease_record mine = stored();
        fail(statuses[i]);
        CHECK_INT(core.attempt_count, 0);
        CHECK(until_action(now + 60000));
        CHECK_INT(out.action, LEASE_ACTION_UPDATE);
        fail(LEASE_CONFLICT);
        if (out.action == LEASE_ACTION_NONE) CHECK(until_action(now + P));
        shown(&mine);
        CHECK(event(LEASE_CORE_DUPLICATE));
        check_lost(LEASE_REASON_DUPLICATE, now);
    }
}

TEST(both_times_tell_an_attempt) {
    defaults();
    renewing();
    lease_record other = stored();
    fail_open_write(LEASE_CLOSED);
    other.acquire_time_us++; /* by chance the same renewTime, under our identity */
    shown(&other);
    CHECK(event(LEASE_CORE_DUPLICATE));
    check_lost(LEASE_REASON_DUPLICATE, now);
}

TEST(a_read_back_that_is_too_old_gives_no_validity) {
    defaults();
    renewing();
    const lease_record mine = stored();
    const int64_t until = out.valid_until_ms;
    fail_open_write(LEASE_CLOSED);
    for (int n = 0; n < 50 && out.valid_until_ms != 0; n++) {
        if (out.action != LEASE_ACTION_NONE) fail(LEASE_CONNECT);
        else tick_at(out.wake_ms);
    }
    CHECK_INT(now, until);
    while (out.action == LEASE_ACTION_NONE) tick_at(out.wake_ms);
    now += V;
    CHECK_INT(out.action, LEASE_ACTION_READ);
    shown(&mine);
    CHECK_INT(out.valid_until_ms, 0);
    CHECK(!event(LEASE_CORE_ACQUIRED));
    CHECK_INT(out.action, LEASE_ACTION_UPDATE); /* ours all the same: renewed without a wait */
}

/* A cache that is behind shows an earlier write of ours again, after a later one was found. */
TEST(a_read_that_goes_back_changes_no_deadline) {
    defaults();
    renewing();
    const lease_record first = stored();
    fail_open_write(LEASE_CLOSED);
    shown(&first);
    CHECK(until_action(now + P));
    const lease_record second = stored();
    fail_open_write(LEASE_CLOSED);
    shown(&second);
    CHECK(event(LEASE_CORE_RENEWED));
    const int64_t until = out.valid_until_ms;
    CHECK(until_action(now + P));
    fail_open_write(LEASE_CLOSED);
    CHECK_INT(out.action, LEASE_ACTION_READ);
    shown(&first);
    CHECK(!event(LEASE_CORE_RENEWED | LEASE_CORE_LOST | LEASE_CORE_DUPLICATE));
    CHECK_INT(out.valid_until_ms, until);
}

TEST(a_write_is_read_back_once) {
    defaults();
    renewing();
    lease_record mine = stored();
    fail_open_write(LEASE_CLOSED);
    shown(&mine);
    CHECK(event(LEASE_CORE_READ_BACK));
    const int64_t until = out.valid_until_ms;
    CHECK(until_action(now + P));
    fail(LEASE_CONFLICT);
    set_version(&mine); /* a label on it */
    shown(&mine);
    CHECK(!event(LEASE_CORE_READ_BACK | LEASE_CORE_RENEWED | LEASE_CORE_LOST));
    CHECK(event(LEASE_CORE_FOREIGN_WRITE));
    CHECK_INT(out.valid_until_ms, until);
}

TEST(a_driver_that_brings_no_answer_does_not_stop_the_elector) {
    defaults();
    renewing();
    const int64_t give_up = out.give_up_ms;
    CHECK_INT(give_up, now + TIMEOUT);
    tick_at(give_up - 1);
    CHECK_INT(out.action, LEASE_ACTION_NONE);
    tick_at(give_up);
    CHECK(event(LEASE_CORE_RENEW_FAILED));
    CHECK_INT(out.action, LEASE_ACTION_READ); /* it may have been applied */
}

TEST(answers_to_old_requests_are_ignored) {
    defaults();
    renewing();
    const uint32_t old = core.requests;
    const lease_record mine = stored();
    tick_at(out.give_up_ms);
    CHECK_INT(out.action, LEASE_ACTION_READ);
    static const lease_input_kind kinds[] = {LEASE_INPUT_READ_DONE, LEASE_INPUT_WRITE_DONE};
    for (size_t i = 0; i < 2; i++) {
        lease_core_input in;
        memset(&in, 0, sizeof in);
        in.kind = kinds[i];
        in.request_id = old;
        in.record = &mine;
        const int64_t until = core.valid_until_ms;
        step(&in);
        CHECK_INT(out.valid_until_ms, until);
        CHECK_INT(core.pending, LEASE_ACTION_READ);
        in.kind = LEASE_INPUT_WRITE_DONE; /* the right number, but no such request is under way */
        in.request_id = core.requests;
        step(&in);
        CHECK_INT(core.pending, LEASE_ACTION_READ);
    }
}

TEST(an_answer_to_the_last_write_is_none_to_this_one) {
    defaults();
    renewing();
    lease_core_input in;
    memset(&in, 0, sizeof in);
    in.kind = LEASE_INPUT_WRITE_DONE;
    in.request_id = core.requests;
    acknowledge();
    CHECK(until_action(now + P));
    CHECK_INT(out.action, LEASE_ACTION_UPDATE);
    const int64_t until = out.valid_until_ms;
    const lease_record mine = stored();
    in.record = &mine;
    step(&in);
    CHECK_INT(out.valid_until_ms, until);
    CHECK_INT(core.pending, LEASE_ACTION_UPDATE);
}

TEST(an_unknown_input_is_no_more_than_time) {
    defaults();
    lead();
    kind((lease_input_kind)99);
    CHECK_INT(out.events, 0);
    now = out.valid_until_ms;
    kind((lease_input_kind)99);
    CHECK(event(LEASE_CORE_LOST));
}

/* -- What the server stored -------------------------------------------------------------------- */

TEST(an_altered_record_gives_no_leadership) {
    static const char *const what[] = {"holder", "renewTime", "duration", "strategy", "no holder"};
    for (size_t i = 0; i < LEASE__COUNT(what); i++) {
        for (int leading = 0; leading < 2; leading++) {
            CASE("%s, %s", what[i], leading ? "as leader" : "as follower");
            defaults();
            if (leading) {
                renewing();
            } else {
                begin();
                fail(LEASE_NOT_FOUND);
            }
            lease_record record = stored();
            if (i == 0) lease__copy(record.holder_identity, 16, "webhook");
            if (i == 1) record.renew_time_us += 1000000;
            if (i == 2) record.lease_duration_s = 3600;
            if (i == 3) record.coordinated = true;
            if (i == 4) record.holder_identity[0] = '\0';
            now += 10;
            shown(&record);
            CHECK(event(LEASE_CORE_ALTERED));
            CHECK_INT(out.valid_until_ms, 0);
            CHECK_INT(event(LEASE_CORE_LOST), leading);
            if (leading) check_lost(LEASE_REASON_ALTERED, now);
            CHECK(!event(LEASE_CORE_ACQUIRED));
            CHECK_INT(out.action, LEASE_ACTION_NONE);
            CHECK(out.wake_ms >= now + P);
        }
    }
}

TEST(other_changes_by_the_server_do_not_matter) {
    defaults();
    begin();
    fail(LEASE_NOT_FOUND);
    lease_record record = stored();
    record.lease_transitions = 99;
    record.acquire_time_us = 5;
    shown(&record);
    CHECK(event(LEASE_CORE_ACQUIRED));
}

/* -- Pace (13) --------------------------------------------------------------------------------- */

/* How many requests a minute of nothing but this answer brings. */
static int requests_per_minute(lease_status status, bool maybe, int32_t retry_after_ms) {
    const int64_t end = now + 60000;
    int count = 0;
    while (now < end) {
        if (out.action == LEASE_ACTION_NONE) {
            tick_at(out.wake_ms);
            continue;
        }
        count++;
        now += 1;
        answer(status, maybe && out.action != LEASE_ACTION_READ, retry_after_ms, NULL);
    }
    return count;
}

TEST(the_pace_of_a_follower_under_errors) {
    static const struct {
        lease_status status;
        int32_t retry_after_ms;
        int low;
        int high;
    } rows[] = {
        {LEASE_CONNECT, 0, 25, 31}, {LEASE_TIMEOUT, 0, 25, 31}, {LEASE_CLOSED, 0, 25, 31},
        {LEASE_RESOLVE, 0, 25, 31}, {LEASE_SERVER_ERROR, 0, 25, 31}, {LEASE_THROTTLED, 0, 25, 31},
        {LEASE_THROTTLED, 1000, 25, 31}, {LEASE_THROTTLED, 5000, 12, 13},
        {LEASE_THROTTLED, 3600000, 2, 3}, {LEASE_THROTTLED, INT32_MAX, 2, 3},
        {LEASE_THROTTLED, -1, 25, 31}, {LEASE_SERVER_ERROR, 10000, 6, 7},
        {LEASE_UNAUTHORIZED, 0, 4, 6}, {LEASE_FORBIDDEN, 0, 4, 6}, {LEASE_NO_NAMESPACE, 0, 4, 6},
        {LEASE_INVALID, 0, 4, 6}, {LEASE_TLS, 0, 4, 6}, {LEASE_CERTIFICATE, 0, 4, 6},
        {LEASE_HTTP, 0, 4, 6}, {LEASE_JSON, 0, 4, 6}, {LEASE_REDIRECT, 0, 4, 6},
        {LEASE_TOO_LARGE, 0, 4, 6}, {LEASE_WRONG_OBJECT, 0, 4, 6}, {LEASE_UNEXPECTED, 0, 4, 6},
    };
    for (size_t i = 0; i < LEASE__COUNT(rows); i++) {
        for (int jitter = 0; jitter < 2; jitter++) {
            CASE("%s, Retry-After %d, jitter %d", lease_status_name(rows[i].status),
                 rows[i].retry_after_ms, jitter);
            defaults();
            random_word = jitter ? UINT32_MAX : 0;
            begin();
            const int count = requests_per_minute(rows[i].status, true, rows[i].retry_after_ms);
            CHECK(count >= rows[i].low);
            CHECK(count <= rows[i].high);
        }
    }
}

/* Whoever leads, or contends under conflicts, stays below two requests a second on average. */
TEST(the_pace_of_a_writer_under_errors) {
    static const lease_status statuses[] = {
        LEASE_CONFLICT, LEASE_ALREADY_EXISTS, LEASE_SERVER_ERROR, LEASE_TIMEOUT, LEASE_CLOSED,
        LEASE_THROTTLED, LEASE_FORBIDDEN, LEASE_UNAUTHORIZED, LEASE_INVALID, LEASE_JSON};
    static const uint32_t words[] = {0, HALF, UINT32_MAX};
    for (size_t i = 0; i < LEASE__COUNT(statuses); i++) {
        for (size_t j = 0; j < LEASE__COUNT(words); j++) {
            CASE("%s, random %08x", lease_status_name(statuses[i]), words[j]);
            defaults();
            random_word = words[j];
            renewing();
            const int count = requests_per_minute(statuses[i], true, 0);
            CHECK(count >= 4);
            CHECK(count <= 122);
        }
    }
}

/* Reads that show a free Lease, writes that conflict: the worst storm of others. */
TEST(the_pace_under_a_storm_of_conflicts) {
    static const uint32_t words[] = {0, HALF, UINT32_MAX};
    for (size_t j = 0; j < LEASE__COUNT(words); j++) {
        for (int leading = 0; leading < 2; leading++) {
            CASE("random %08x, %s", words[j], leading ? "leader" : "follower");
            defaults();
            random_word = words[j];
            if (leading) renewing();
            else begin();
            lease_record record = held_by("", 15);
            if (leading) record = core.seen;
            const int64_t end = now + 60000;
            int count = 0;
            while (now < end) {
                if (out.action == LEASE_ACTION_NONE) {
                    tick_at(out.wake_ms);
                    continue;
                }
                count++;
                now += 1;
                set_version(&record);
                if (out.action == LEASE_ACTION_READ) shown(&record);
                else fail(LEASE_CONFLICT);
            }
            CHECK(count <= (words[j] == 0 ? 242 : 122));
            CHECK(count >= 40);
        }
    }
}

TEST(a_leader_waits_for_a_throttling_server_no_longer_than_a_period) {
    static const int32_t rows[][2] = {{0, 1000}, {500, 1000}, {1500, 1500}, {2000, 2000},
                                      {5000, 2000}, {INT32_MAX, 2000}, {-5, 1000}};
    for (size_t i = 0; i < LEASE__COUNT(rows); i++) {
        CASE("Retry-After %d ms", rows[i][0]);
        defaults();
        renewing();
        answer(LEASE_THROTTLED, false, rows[i][0], NULL);
        CHECK(event(LEASE_CORE_RENEW_FAILED));
        CHECK_INT(out.wake_ms, now + rows[i][1]);
    }
}

TEST(a_leader_has_several_tries_before_its_end) {
    static const lease_status statuses[] = {LEASE_CONNECT, LEASE_SERVER_ERROR, LEASE_FORBIDDEN,
                                            LEASE_THROTTLED, LEASE_INVALID};
    for (size_t i = 0; i < LEASE__COUNT(statuses); i++) {
        CASE("%s", lease_status_name(statuses[i]));
        defaults();
        renewing();
        int tries = 0;
        while (out.valid_until_ms != 0) {
            if (out.action != LEASE_ACTION_NONE) {
                tries++;
                fail(statuses[i]);
            } else {
                tick_at(out.wake_ms);
            }
        }
        CHECK(tries >= 6);
    }
}

TEST(an_error_that_ends_is_forgotten) {
    defaults();
    begin();
    for (int i = 0; i < 6; i++) {
        fail(LEASE_FORBIDDEN);
        CHECK(until_action(now + 31000));
    }
    CHECK_INT(core.failures, 6);
    const lease_record record = held_by("other", 15);
    shown(&record);
    CHECK_INT(core.failures, 0);
    CHECK_INT(out.wake_ms, now + P);
}

TEST(failures_without_end_are_counted_no_further) {
    defaults();
    begin();
    core.failures = INT32_MAX;
    fail(LEASE_FORBIDDEN);
    CHECK_INT(core.failures, INT32_MAX);
    CHECK_INT(out.wake_ms, now + 30000);
}

TEST(requests_held_back_come_when_there_is_room) {
    defaults();
    lead();
    hold = true;
    tick_at(now + P);
    CHECK_INT(out.action, LEASE_ACTION_NONE);
    CHECK(out.wake_ms > now);
    hold = false;
    tick_at(now + 5);
    CHECK_INT(out.action, LEASE_ACTION_UPDATE);
}

TEST(holding_back_moves_nothing_that_is_not_due) {
    defaults();
    lead();
    const int64_t due = out.wake_ms;
    hold = true;
    tick_at(now + 1);
    CHECK_INT(out.wake_ms, due);
}

/* -- Coordinated election, observers (14) ------------------------------------------------------ */

TEST(a_coordinated_lease_is_never_written) {
    static const char *const holders[] = {"", "other", "me"};
    for (size_t i = 0; i < LEASE__COUNT(holders); i++) {
        CASE("holder \"%s\"", holders[i]);
        defaults();
        begin();
        lease_record record = held_by(holders[i], 15);
        record.coordinated = true;
        shown(&record);
        CHECK_INT(first_write_ms(now + 120000, &record), -1);
        record = held_by("", 15); /* the strategy is removed */
        while (out.action == LEASE_ACTION_NONE) tick_at(out.wake_ms);
        shown(&record);
        CHECK_INT(out.action, LEASE_ACTION_UPDATE);
    }
}

TEST(a_strategy_that_appears_ends_leadership) {
    defaults();
    reading_as_leader();
    lease_record record = core.seen;
    record.coordinated = true;
    set_version(&record);
    shown(&record);
    check_lost(LEASE_REASON_COORDINATED, now);
    CHECK_INT(out.action, LEASE_ACTION_NONE);
}

TEST(an_observer_never_writes) {
    defaults();
    desc.observe_only = true;
    begin();
    fail(LEASE_NOT_FOUND);
    lease_record record = held_by("", 15);
    CHECK_INT(first_write_ms(now + 60000, &record), -1);
    CHECK(!event(LEASE_CORE_ACQUIRED));
    record = held_by("other", 15);
    CHECK_INT(first_write_ms(now + 60000, &record), -1);
    CHECK_STR(core.reported_holder, "other");
}

/* -- Changes of the leader --------------------------------------------------------------------- */

TEST(changes_of_the_leader_are_reported_once) {
    static const char *const holders[] = {"other", "other", "third", "", "", "me", "other"};
    static const bool changes[] = {true, false, true, true, false, true, true};
    defaults();
    desc.observe_only = true;
    begin();
    for (size_t i = 0; i < LEASE__COUNT(holders); i++) {
        CASE("%zu \"%s\"", i, holders[i]);
        while (out.action == LEASE_ACTION_NONE) tick_at(out.wake_ms);
        const lease_record record = held_by(holders[i], 15);
        shown(&record);
        CHECK_INT(event(LEASE_CORE_LEADER_CHANGED), changes[i]);
    }
}

/* -- The time range (15) ----------------------------------------------------------------------- */

static bool range_at(int64_t at_ms, lease_time_range *range, bool *open) {
    return lease_core_range(&core.range, at_ms, WALL + at_ms * 1000 + wall_add, range, open);
}

TEST(the_range_is_that_of_the_last_acknowledged_write) {
    lease_time_range range;
    bool open = true;
    defaults();
    begin();
    CHECK(!range_at(now, &range, &open));
    CHECK(!open);
    fail(LEASE_NOT_FOUND);
    now += 50;
    acknowledge();
    CHECK(range_at(now, &range, &open));
    CHECK(!open);
    CHECK_INT(range.start_us, written.acquire_time_us);
    CHECK_INT(range.end_us, written.renew_time_us + D * 1000);
    CHECK(until_action(now + P));
    const int64_t start = range.start_us;
    acknowledge();
    CHECK(range_at(now, &range, NULL));
    CHECK_INT(range.start_us, start);
    CHECK_INT(range.end_us, written.renew_time_us + D * 1000);
}

/* What the last request of a leader came to, until long after its range has ended: does it open? */
static const struct {
    lease_status status;
    bool opens;
} silences[] = {
    {LEASE_TIMEOUT, true}, {LEASE_CONNECT, true}, {LEASE_RESOLVE, true}, {LEASE_CLOSED, true},
    {LEASE_SERVER_ERROR, true}, {LEASE_THROTTLED, true}, {LEASE_UNAUTHORIZED, false},
    {LEASE_FORBIDDEN, false}, {LEASE_INVALID, false}, {LEASE_NO_NAMESPACE, false},
    {LEASE_TLS, false}, {LEASE_CERTIFICATE, false}, {LEASE_HTTP, false}, {LEASE_JSON, false},
    {LEASE_REDIRECT, false}, {LEASE_TOO_LARGE, false}, {LEASE_WRONG_OBJECT, false},
    {LEASE_UNEXPECTED, false},
};

/* Leads, then hears nothing but this for so long. */
static void suffer(lease_status status, int64_t for_ms) {
    const int64_t end = now + for_ms;
    while (out.wake_ms <= end || out.action != LEASE_ACTION_NONE) {
        if (out.action != LEASE_ACTION_NONE) answer(status, false, 0, NULL);
        else tick_at(out.wake_ms);
    }
    now = end;
}

TEST(the_range_fails_open_on_silence_only) {
    for (size_t i = 0; i < LEASE__COUNT(silences); i++) {
        lease_time_range range = {0};
        bool open = false;
        CASE("%s", lease_status_name(silences[i].status));
        defaults();
        lead();
        const int64_t start = core.range.start_us;
        const int64_t end = core.range.end_ms;
        suffer(silences[i].status, 3600000);
        CHECK_INT(out.valid_until_ms, 0); /* strictly, it is long over */
        CHECK_INT(range_at(now, &range, &open), silences[i].opens);
        CHECK_INT(open, silences[i].opens);
        if (!silences[i].opens) continue;
        CHECK_INT(range.start_us, start);
        CHECK_INT(range.end_us, WALL + now * 1000 + D * 1000); /* always a duration ahead */
        CHECK(range_at(end, &range, &open));
        CHECK(!open); /* it is not open before its end */
    }
}

TEST(the_range_does_not_open_before_its_end) {
    lease_time_range range;
    bool open = true;
    defaults();
    lead();
    const int64_t end = core.range.end_ms;
    suffer(LEASE_TIMEOUT, 20000);
    CHECK(range_at(end - 1, &range, &open));
    CHECK(!open);
    CHECK(range_at(end + 1, &range, &open));
    CHECK(open);
}

TEST(fail_open_has_a_bound) {
    lease_time_range range;
    bool open = false;
    defaults();
    desc.max_fail_open_ms = 60000;
    lead();
    const int64_t end = core.range.end_ms;
    suffer(LEASE_TIMEOUT, 90000);
    CHECK(range_at(end + 59999, &range, &open));
    CHECK(open);
    CHECK(!range_at(end + 60000, &range, &open));
    CHECK(!open);
}

TEST(an_old_silence_does_not_keep_it_open) {
    lease_time_range range;
    bool open = true;
    defaults();
    lead();
    suffer(LEASE_TIMEOUT, 30000);
    CHECK(range_at(now, &range, &open));
    CHECK(!range_at(core.range.silent_until_ms, &range, &open)); /* suspended meanwhile */
    CHECK(range_at(core.range.silent_until_ms - 1, &range, &open));
}

TEST(never_open_before_the_first_term) {
    lease_time_range range;
    defaults();
    begin();
    suffer(LEASE_TIMEOUT, 60000);
    CHECK(!range_at(now, &range, NULL));
    defaults();
    follow();
    suffer(LEASE_TIMEOUT, 60000);
    CHECK(!range_at(now, &range, NULL));
}

TEST(never_open_after_a_release) {
    lease_time_range range;
    defaults();
    lead();
    kind(LEASE_INPUT_RELEASE);
    CHECK(!range_at(now, &range, NULL)); /* not even within its time */
    suffer(LEASE_TIMEOUT, 60000);
    CHECK(!range_at(now, &range, NULL));
}

TEST(another_holder_closes_the_range_at_once) {
    lease_time_range range;
    bool open = false;
    defaults();
    lead();
    suffer(LEASE_TIMEOUT, 60000);
    CHECK(range_at(now, &range, &open));
    CHECK(open);
    while (out.action == LEASE_ACTION_NONE) tick_at(out.wake_ms);
    fail(LEASE_CONFLICT);
    if (out.action == LEASE_ACTION_NONE) CHECK(until_action(now + P));
    const lease_record record = held_by("other", 15);
    shown(&record);
    CHECK(!range_at(now, &range, &open));
    CHECK(!open);
    suffer(LEASE_TIMEOUT, 60000);
    CHECK(!range_at(now, &range, &open)); /* and silence does not bring it back */
}

/* No record shows any more that we are the last holder. */
TEST(an_absent_lease_ends_the_silence) {
    defaults();
    renewing();
    fail_open_write(LEASE_TIMEOUT);
    CHECK(core.range.silent);
    CHECK_INT(out.action, LEASE_ACTION_READ);
    fail(LEASE_NOT_FOUND);
    CHECK_INT(out.action, LEASE_ACTION_CREATE);
    CHECK(out.valid_until_ms != 0);
    CHECK(!core.range.silent);
}

TEST(an_answer_of_any_kind_ends_failing_open) {
    static const lease_status statuses[] = {LEASE_FORBIDDEN, LEASE_UNAUTHORIZED, LEASE_INVALID};
    for (size_t i = 0; i < LEASE__COUNT(statuses); i++) {
        lease_time_range range;
        CASE("%s", lease_status_name(statuses[i]));
        defaults();
        lead();
        suffer(LEASE_TIMEOUT, 60000);
        CHECK(range_at(now, &range, NULL));
        while (out.action == LEASE_ACTION_NONE) tick_at(out.wake_ms);
        fail(statuses[i]);
        CHECK(!range_at(now, &range, NULL));
    }
}

TEST(the_end_of_silence_renews_the_same_range) {
    lease_time_range range;
    bool open = true;
    defaults();
    lead();
    const int64_t start = core.range.start_us;
    suffer(LEASE_TIMEOUT, 60000);
    while (out.action == LEASE_ACTION_NONE) tick_at(out.wake_ms);
    CHECK_INT(out.action, LEASE_ACTION_UPDATE);
    CHECK_INT(out.write.acquire_time_us, start); /* nobody else has held it in between */
    acknowledge();
    CHECK(event(LEASE_CORE_ACQUIRED));
    CHECK(range_at(now, &range, &open));
    CHECK(!open);
    CHECK_INT(range.start_us, start);
}

/* The API comes back: first a read that shows our own record, then the write that renews it. */
TEST(a_read_of_our_own_record_keeps_the_range_open) {
    lease_time_range range;
    bool open = false;
    defaults();
    lead();
    while (now < core.range.end_ms + 5000) {
        if (out.action == LEASE_ACTION_NONE) tick_at(out.wake_ms);
        else answer(LEASE_TIMEOUT, out.action != LEASE_ACTION_READ, 0, NULL);
    }
    while (out.action != LEASE_ACTION_READ) {
        if (out.action == LEASE_ACTION_NONE) tick_at(out.wake_ms);
        else fail_open_write(LEASE_TIMEOUT);
    }
    CHECK(range_at(now, &range, &open));
    const lease_record own = core.seen;
    shown(&own);
    CHECK(range_at(now, &range, &open));
    CHECK(open);
    CHECK_INT(out.action, LEASE_ACTION_UPDATE);
    now += 500;
    CHECK(range_at(now, &range, &open));
    acknowledge();
    CHECK(range_at(now, &range, &open));
    CHECK(!open);
}

TEST(a_wall_clock_ahead_ends_the_range_early) {
    lease_time_range range;
    defaults();
    lead();
    CHECK(lease_core_range(&core.range, now, core.range.end_us, &range, NULL));
    CHECK(!lease_core_range(&core.range, now, core.range.end_us + 1, &range, NULL));
    CHECK(!lease_core_range(&core.range, core.range.end_ms + 1, WALL, &range, NULL)); /* behind */
}
