/* >>events and >>runner: a client over a scripted backend in virtual time. What callbacks hear and
 * may do, what is asked for and when, and what the questions say meanwhile. */
#define LEASE_IMPLEMENTATION
#include "lease.h"

#include "fake.h"

#include <poll.h>
#include <stdlib.h>

static lease_client *client;
static lease *self;

/* A client whose one lease leads. */
static void lead(const lease_desc *desc) {
    fake_begin();
    client = fake_client();
    self = fake_lease(client, desc);
    fake_run(client, 0);
    CHECK(lease_is_leader(self));
    CHECK_STR(fake_news(), "leader_changed acquired");
}

static void lead_plain(void) {
    const lease_desc desc = fake_desc("a");
    lead(&desc);
}

static void end(void) {
    lease_client_destroy(client);
    client = NULL;
    self = NULL;
}

static lease_view view_of(const lease *one) {
    lease_view view;
    memset(&view, 0x55, sizeof view);
    lease_view_get(one, &view);
    return view;
}

/* -- A life ------------------------------------------------------------------------------------ */

TEST(the_first_term) {
    lead_plain();
    CHECK_INT(fake.gets, 1);
    CHECK_INT(fake.writes, 1);
    CHECK_STR(fake_record("a")->holder_identity, "me");
    CHECK_INT(lease_token(self), 1);
    CHECK_INT(lease_remaining_ms(self), 10000);
    const fake_event *acquired = fake_last();
    CHECK_INT(acquired->event.kind, LEASE_EVENT_ACQUIRED);
    CHECK_INT(acquired->event.token, 1);
    CHECK_STR(acquired->holder, "me");
    CHECK_INT(acquired->event.at_ms, fake.boot_ms);
    CHECK(acquired->event.error == NULL);
    CHECK(acquired->self == self);
    const lease_view view = view_of(self);
    CHECK_INT(view.state, LEASE_STATE_LEADER);
    CHECK(view.is_leader && view.observed && view.exists && view.has_range);
    CHECK(!view.failing_open && !view.released);
    CHECK_INT(view.acquisitions, 1);
    CHECK_INT(view.leader_changes, 1);
    CHECK_INT(view.losses, 0);
    CHECK_INT(view.lease_duration_s, 15);
    CHECK_INT(view.last_renewal_ms, fake.boot_ms);
    CHECK_STATUS(view.last_status, LEASE_OK);
    CHECK_STR(view.holder, "me");
    end();
}

TEST(renewals_go_on_for_ever) {
    lead_plain();
    fake_run(client, 600000);
    CHECK(lease_is_leader(self));
    CHECK_INT(lease_token(self), 1);
    const lease_view view = view_of(self);
    CHECK(view.renewals >= 300 && view.renewals <= 334); /* each 2 s, a little early at random */
    CHECK_INT(view.renewal_failures, 0);
    CHECK_INT(view.losses, 0);
    CHECK_INT(view.foreign_writes, 0);
    CHECK_INT(view.slow_path, 0);
    CHECK_INT(fake.writes, 1 + (int)view.renewals); /* one request each */
    CHECK_INT(fake.gets, 1);
    CHECK(lease__starts_with(fake_news(), "renewed renewed renewed"));
    end();
}

TEST(a_standby_takes_over_after_a_crash) {
    lease_desc desc = fake_desc("a");
    fake_begin();
    fake_intrude("a", "other");
    client = fake_client();
    self = fake_lease(client, &desc);
    fake_run(client, 14999);
    CHECK_STR(fake_news(), "leader_changed");
    CHECK_STR(fake_last()->holder, "other");
    CHECK(!lease_is_leader(self));
    CHECK_INT(view_of(self).state, LEASE_STATE_FOLLOWER);
    CHECK_STR(view_of(self).holder, "other");
    fake_run(client, 1);
    CHECK_STR(fake_news(), "leader_changed acquired");
    CHECK(lease_is_leader(self));
    end();
}

TEST(a_lost_lease_is_told_with_its_reason) {
    lead_plain();
    fake_intrude("a", "other");
    fake_run(client, 2000);
    CHECK_STR(fake_news(), "lost leader_changed");
    CHECK(!lease_is_leader(self));
    const fake_event *lost = &fake.events[2];
    CHECK_INT(lost->event.kind, LEASE_EVENT_LOST);
    CHECK_INT(lost->event.reason, LEASE_REASON_TAKEN);
    CHECK_INT(lost->event.token, 1); /* of the term that has ended */
    CHECK_INT(lost->event.stop_by_ms, lost->event.at_ms);
    CHECK_STR(fake_last()->holder, "other");
    CHECK_INT(view_of(self).losses, 1);
    CHECK_INT(view_of(self).foreign_writes, 1);
    end();
}

TEST(an_expiry_leaves_the_stop_budget) {
    lead_plain();
    const int64_t until = fake.boot_ms + 10000;
    fake.status = LEASE_CONNECT;
    fake_run(client, 9999);
    CHECK(lease_is_leader(self));
    CHECK_INT(lease_remaining_ms(self), 1);
    fake_run(client, 1);
    CHECK(!lease_is_leader(self));
    const fake_event *lost = fake_last();
    while (lost->event.kind != LEASE_EVENT_LOST && lost > fake.events) lost--;
    CHECK_INT(lost->event.kind, LEASE_EVENT_LOST);
    CHECK_INT(lost->event.reason, LEASE_REASON_EXPIRED);
    CHECK_INT(lost->event.at_ms, until);
    CHECK_INT(lost->event.stop_by_ms, until + 300);
    end();
}

TEST(the_question_needs_no_loop) {
    lead_plain();
    fake.boot_ms += 9999;
    CHECK(lease_is_leader(self));
    fake.boot_ms += 1; /* the process was stopped: nobody has turned the loop */
    CHECK(!lease_is_leader(self));
    CHECK_INT(lease_remaining_ms(self), 0);
    CHECK_INT(lease_token(self), 0);
    CHECK_INT(view_of(self).token, 0);
    CHECK_INT(view_of(self).state, LEASE_STATE_FOLLOWER);
    end();
}

TEST(a_lease_lost_is_contended_for_again) {
    lead_plain();
    fake_intrude("a", "other");
    fake_run(client, 2000);
    fake_run(client, 16000); /* the other one is dead */
    CHECK(lease_is_leader(self));
    CHECK(lease_token(self) > 1);
    CHECK_INT(view_of(self).acquisitions, 2);
    end();
}

/* -- Failures ---------------------------------------------------------------------------------- */

TEST(failures_while_leader_are_told_each_time) {
    lead_plain();
    fake.status = LEASE_SERVER_ERROR;
    fake.say_why = true;
    fake_run(client, 4500);
    const char *news = fake_news();
    CHECK(lease__starts_with(news, "renew_failed renew_failed"));
    CHECK(strstr(news, "error") == NULL);
    CHECK_STATUS(fake_last()->status, LEASE_SERVER_ERROR);
    CHECK(view_of(self).renewal_failures >= 2);
    CHECK_STATUS(view_of(self).last_status, LEASE_SERVER_ERROR);
    fake.status = LEASE_OK;
    fake_run(client, 3000);
    CHECK(lease_is_leader(self));
    CHECK_INT(view_of(self).losses, 0);
    end();
}

TEST(failures_while_follower_are_told_once_for_each_kind) {
    lease_desc desc = fake_desc("a");
    fake_begin();
    client = fake_client();
    self = fake_lease(client, &desc);
    fake.status = LEASE_FORBIDDEN;
    fake_run(client, 300000);
    CHECK_STR(fake_news(), "error");
    CHECK_STATUS(fake_last()->status, LEASE_FORBIDDEN);
    CHECK(!view_of(self).observed);
    fake.status = LEASE_CONNECT;
    fake_run(client, 60000);
    CHECK_STR(fake_news(), "error");
    CHECK_STATUS(fake_last()->status, LEASE_CONNECT);
    fake.status = LEASE_OK;
    fake_run(client, 60000);
    CHECK(lease__starts_with(fake_news(), "leader_changed acquired renewed"));
    end();
}

TEST(an_error_says_what_the_backend_says) {
    const lease_desc desc = fake_desc("a");
    fake_begin();
    client = fake_client();
    self = fake_lease(client, &desc);
    fake.status = LEASE_FORBIDDEN;
    fake_run(client, 0);
    CHECK_STR(fake_news(), "error");
    CHECK(strstr(fake_last()->message, "ns/a") != NULL); /* it has said nothing */
    fake.status = LEASE_SYSTEM;
    fake.say_why = true;
    fake_run(client, 60000);
    CHECK_STR(fake_news(), "error");
    CHECK_STR(fake_last()->message, "the store says why");
    CHECK_STATUS(fake_last()->status, LEASE_SYSTEM);
    end();
}

TEST(an_unanswered_write_is_read_back) {
    lead_plain();
    fake.status = LEASE_TIMEOUT;
    fake.applied = true;
    fake_run(client, 2000);
    fake.status = LEASE_OK;
    fake_run(client, 3000);
    CHECK(lease_is_leader(self));
    CHECK_INT(lease_token(self), 1);
    const lease_view view = view_of(self);
    CHECK_INT(view.losses, 0);
    CHECK_INT(view.foreign_writes, 0);
    CHECK(view.renewals >= 1);
    end();
}

TEST(a_duplicate_identity_is_told) {
    lead_plain();
    fake_intrude("a", "me");
    fake_run(client, 2000);
    CHECK_STR(fake_news(), "lost duplicate");
    CHECK(!lease_is_leader(self));
    end();
}

TEST(an_altered_record_is_told) {
    lead_plain();
    fake.webhook = true;
    fake_run(client, 2000);
    const char *news = fake_news();
    CHECK(lease__starts_with(news, "lost leader_changed"));
    CHECK(strstr(news, "error") != NULL);
    CHECK(!lease_is_leader(self));
    CHECK_STATUS(fake_last()->status, LEASE_ALTERED);
    CHECK(strstr(fake_last()->message, "webhook") != NULL);
    const int writes = fake.writes;
    fake_run(client, 60000);
    CHECK(fake.writes - writes <= 4); /* each time a full duration later */
    CHECK(fake.event_count - fake.event_read <= 4);
    end();
}

/* -- Release, contend, destroy ----------------------------------------------------------------- */

TEST(a_release_gives_the_lease_back) {
    lead_plain();
    CHECK_STATUS(lease_release(self), LEASE_OK);
    CHECK(!lease_is_leader(self)); /* before the loop has heard of it */
    CHECK_INT(lease_token(self), 0);
    CHECK_INT(lease_remaining_ms(self), 0);
    lease_time_range range;
    CHECK(!lease_range(self, &range));
    CHECK(!view_of(self).released);
    CHECK_STR(fake_news(), "");
    fake_run(client, 0);
    CHECK_STR(fake_news(), "lost released leader_changed");
    CHECK_STR(fake_record("a")->holder_identity, "");
    CHECK_INT(fake_record("a")->lease_duration_s, 1);
    const lease_view view = view_of(self);
    CHECK(view.released);
    CHECK_INT(view.state, LEASE_STATE_RELEASED);
    CHECK_STR(view.holder, "");
    CHECK_INT(fake.events[2].event.reason, LEASE_REASON_RELEASED);
    fake_run(client, 60000);
    CHECK_STR(fake_news(), "");
    CHECK_STR(fake_record("a")->holder_identity, "");
    end();
}

TEST(a_second_release_changes_nothing) {
    lead_plain();
    lease_release(self);
    fake_run(client, 0);
    CHECK(view_of(self).released);
    const int writes = fake.writes;
    lease_release(self);
    fake_run(client, 10000);
    CHECK(view_of(self).released);
    CHECK_INT(fake.writes, writes);
    end();
}

TEST(contending_again_after_a_release) {
    lead_plain();
    lease_release(self);
    fake_run(client, 0);
    fake_news();
    CHECK_STATUS(lease_contend(self), LEASE_OK);
    fake_run(client, 0);
    CHECK_STR(fake_news(), "leader_changed acquired");
    CHECK(lease_is_leader(self));
    CHECK(!view_of(self).released);
    CHECK(lease_token(self) > 1);
    end();
}

TEST(commands_in_one_turn_are_taken_in_their_order) {
    lead_plain();
    lease_release(self);
    lease_contend(self);
    fake_run(client, 0);
    CHECK_STR(fake_news(), "lost released leader_changed leader_changed acquired");
    CHECK(lease_is_leader(self));
    lease_contend(self);
    lease_release(self);
    fake_run(client, 0);
    CHECK_STR(fake_news(), "lost released leader_changed");
    CHECK(!lease_is_leader(self));
    CHECK(view_of(self).released);
    end();
}

TEST(a_release_that_fails_is_tried_again) {
    lead_plain();
    fake.status = LEASE_CONNECT;
    lease_release(self);
    fake_run(client, 3000);
    CHECK(!view_of(self).released);
    CHECK_STR(fake_record("a")->holder_identity, "me");
    fake.status = LEASE_OK;
    fake_run(client, 3000);
    CHECK(view_of(self).released);
    CHECK_STR(fake_record("a")->holder_identity, "");
    end();
}

TEST(a_destroyed_lease_sends_nothing) {
    lead_plain();
    const int writes = fake.writes;
    lease_destroy(self);
    fake_run(client, 60000);
    CHECK_INT(fake.writes, writes);
    CHECK_INT(fake.gets, 1);
    CHECK_STR(fake_news(), "");
    CHECK_STR(fake_record("a")->holder_identity, "me"); /* it expires */
    end();
}

TEST(a_lease_destroyed_before_its_first_turn) {
    const lease_desc desc = fake_desc("a");
    fake_begin();
    client = fake_client();
    lease_destroy(fake_lease(client, &desc));
    fake_run(client, 60000);
    CHECK_INT(fake.gets, 0);
    lease_destroy(fake_lease(client, &desc)); /* ... and one whose client goes first */
    end();
}

/* -- From callbacks ---------------------------------------------------------------------------- */

static lease_event_kind trigger;
typedef enum deed_kind { RELEASE, CONTEND, DESTROY, CREATE } deed_kind;
static deed_kind deed;
static lease *created;

static void act(lease *one, const lease_event *event) {
    const lease_desc desc = fake_desc("b");
    if (event->kind != trigger || one != self) return;
    switch (deed) {
    case RELEASE: lease_release(one); break;
    case CONTEND: lease_contend(one); break;
    case DESTROY: lease_destroy(one); break;
    case CREATE:
        if (created == NULL) created = fake_lease(client, &desc);
        break;
    }
}

static void begin_acting(lease_event_kind on, deed_kind what) {
    const lease_desc desc = fake_desc("a");
    fake_begin();
    fake.on_event = act;
    trigger = on;
    deed = what;
    created = NULL;
    client = fake_client();
    self = fake_lease(client, &desc);
}

TEST(releasing_from_the_callback_of_the_term) {
    begin_acting(LEASE_EVENT_ACQUIRED, RELEASE);
    fake_run(client, 0);
    CHECK_STR(fake_news(), "leader_changed acquired lost released leader_changed");
    CHECK(!lease_is_leader(self));
    CHECK_STR(fake_record("a")->holder_identity, "");
    end();
}

TEST(contending_from_the_callback_of_the_release) {
    begin_acting(LEASE_EVENT_RELEASED, CONTEND);
    fake_run(client, 0);
    lease_release(self);
    fake_run(client, 0);
    CHECK_STR(fake_news(), "leader_changed acquired lost released leader_changed leader_changed "
                           "acquired");
    CHECK(lease_is_leader(self));
    end();
}

TEST(destroying_from_each_callback) {
    static const struct {
        lease_event_kind kind;
        const char *news;
    } rows[] = {{LEASE_EVENT_LEADER_CHANGED, "leader_changed"},
                {LEASE_EVENT_ACQUIRED, "leader_changed acquired"},
                {LEASE_EVENT_RENEWED, "leader_changed acquired renewed"},
                {LEASE_EVENT_RENEW_FAILED, "leader_changed acquired renewed renew_failed"}};
    for (size_t i = 0; i < LEASE__COUNT(rows); i++) {
        CASE("%s", rows[i].news);
        begin_acting(rows[i].kind, DESTROY);
        fake_run(client, 2000);
        fake.status = LEASE_CONNECT;
        fake_run(client, 2000);
        const int requests = fake.gets + fake.writes;
        fake.status = LEASE_OK;
        fake_run(client, 60000);
        CHECK_STR(fake_news(), rows[i].news);
        CHECK_INT(fake.gets + fake.writes, requests);
        end();
    }
}

/* One step tells of the free Lease and asks for the write that takes it. */
TEST(a_lease_destroyed_in_its_callback_takes_nothing_more) {
    begin_acting(LEASE_EVENT_LEADER_CHANGED, DESTROY);
    fake.on_event = NULL;
    fake_intrude("a", "other");
    fake_run(client, 0);
    CHECK_STR(fake_news(), "leader_changed");
    fake.on_event = act;
    fake_intrude("a", "");
    fake_run(client, 3000);
    CHECK_STR(fake_news(), "leader_changed");
    CHECK_INT(fake.writes, 0);
    CHECK_STR(fake_record("a")->holder_identity, "");
    end();
}

TEST(creating_from_a_callback) {
    begin_acting(LEASE_EVENT_ACQUIRED, CREATE);
    fake_run(client, 0);
    CHECK(created != NULL);
    CHECK(lease_is_leader(self));
    CHECK(lease_is_leader(created));
    CHECK_STR(fake_record("b")->holder_identity, "me");
    end();
}

static bool range_inside;
static bool leader_inside;
static uint64_t token_inside;

static void ask_inside(lease *one, const lease_event *event) {
    lease_time_range range;
    if (event->kind != LEASE_EVENT_ACQUIRED && event->kind != LEASE_EVENT_LOST) return;
    range_inside = lease_range(one, &range);
    leader_inside = lease_is_leader(one);
    token_inside = lease_token(one);
}

TEST(the_range_begins_after_the_start_callback) {
    lease_time_range range;
    const lease_desc desc = fake_desc("a");
    fake_begin();
    fake.on_event = ask_inside;
    range_inside = true;
    client = fake_client();
    self = fake_lease(client, &desc);
    fake_run(client, 0);
    CHECK(!range_inside); /* the host drops here what it knew from before its term */
    CHECK(leader_inside);
    CHECK_INT(token_inside, 1);
    CHECK(lease_range(self, &range));
    CHECK_INT(range.start_us, FAKE_WALL + fake.boot_ms * 1000);
    CHECK_INT(range.end_us, range.start_us + 15000000);
    fake_intrude("a", "other");
    fake_run(client, 2000);
    CHECK(!range_inside);
    CHECK(!leader_inside);
    CHECK_INT(token_inside, 0);
    end();
}

/* -- The time range as events ------------------------------------------------------------------ */

TEST(failing_open_is_told_with_its_end) {
    lease_time_range range;
    lead_plain();
    fake.status = LEASE_CONNECT;
    fake_run(client, 14000);
    CHECK(strstr(fake_news(), "fail_open") == NULL);
    CHECK(lease_range(self, &range));
    CHECK(!view_of(self).failing_open);
    fake_run(client, 3000);
    CHECK(strstr(fake_news(), "fail_open") != NULL);
    CHECK(lease_range(self, &range));
    CHECK(view_of(self).failing_open);
    CHECK_INT(view_of(self).state, LEASE_STATE_FAIL_OPEN);
    CHECK(!lease_is_leader(self));
    CHECK_INT(range.end_us, FAKE_WALL + fake.boot_ms * 1000 + 15000000);
    fake_run(client, 3600000);
    CHECK(view_of(self).failing_open);
    CHECK_STR(fake_news(), "");
    fake.status = LEASE_OK;
    fake_run(client, 3000);
    const char *news = fake_news();
    CHECK(strstr(news, "acquired") != NULL);
    CHECK(strstr(news, "fail_closed") != NULL);
    CHECK(lease_range(self, &range));
    CHECK(!view_of(self).failing_open);
    end();
}

TEST(a_refusal_does_not_open_the_range) {
    lease_time_range range;
    lead_plain();
    fake.status = LEASE_FORBIDDEN;
    fake_run(client, 60000);
    CHECK(strstr(fake_news(), "fail_open") == NULL);
    CHECK(!lease_range(self, &range));
    end();
}

TEST(another_holder_ends_failing_open) {
    lease_time_range range;
    lead_plain();
    fake.status = LEASE_TIMEOUT;
    fake_run(client, 60000);
    CHECK(lease_range(self, &range));
    fake_news();
    fake_intrude("a", "other");
    fake.status = LEASE_OK;
    fake_run(client, 3000);
    CHECK_STR(fake_news(), "leader_changed fail_closed");
    CHECK(!lease_range(self, &range));
    end();
}

/* -- Many leases ------------------------------------------------------------------------------- */

#define MANY 50

TEST(fifty_leases) {
    lease *leases[MANY];
    char names[MANY][24];
    fake_begin();
    client = fake_client();
    for (int i = 0; i < MANY; i++) {
        snprintf(names[i], sizeof names[i], "lease-%d", i);
        lease_desc desc = fake_desc(names[i]);
        desc.on_event = NULL;
        leases[i] = fake_lease(client, &desc);
    }
    fake_run(client, 300000);
    for (int i = 0; i < MANY; i++) {
        CASE("%s", names[i]);
        CHECK(lease_is_leader(leases[i]));
        CHECK_INT(view_of(leases[i]).losses, 0);
        CHECK(view_of(leases[i]).renewals >= 149);
        CHECK(lease_token(leases[i]) != 0);
    }
    CASE("every other one is destroyed");
    for (int i = 0; i < MANY; i += 2) lease_destroy(leases[i]);
    const int writes = fake.writes;
    fake_run(client, 20000);
    for (int i = 1; i < MANY; i += 2) CHECK(lease_is_leader(leases[i]));
    CHECK(fake.writes - writes <= MANY / 2 * 12);
    end();
}

TEST(two_candidates_in_one_process) {
    lease_desc desc = fake_desc("a");
    fake_begin();
    client = fake_client();
    lease *one = fake_lease(client, &desc);
    desc.identity = "second";
    lease *two = fake_lease(client, &desc);
    for (int i = 0; i < 60; i++) {
        fake_run(client, 1000);
        CHECK(!(lease_is_leader(one) && lease_is_leader(two)));
    }
    CHECK(lease_is_leader(one) || lease_is_leader(two));
    lease *leader = lease_is_leader(one) ? one : two;
    lease *other = leader == one ? two : one;
    lease_release(leader);
    fake_run(client, 2400);
    CHECK(lease_is_leader(other)); /* within one look */
    end();
}

/* -- Metrics ----------------------------------------------------------------------------------- */

static char text[32768];

static bool metrics_have(const char *line) {
    lease_metrics_write(client, LEASE_METRICS_TEXT, text, sizeof text);
    return strstr(text, line) != NULL;
}

static int metrics_count(const char *line) {
    int count = 0;
    lease_metrics_write(client, LEASE_METRICS_TEXT, text, sizeof text);
    for (const char *at = strstr(text, line); at != NULL; at = strstr(at + 1, line)) count++;
    return count;
}

TEST(metrics_cannot_stick) {
    lead_plain();
    CHECK(metrics_have("\nlease_is_held{key=\"ns/a\"} 1\n"));
    CHECK(metrics_have("\nlease_valid_seconds{key=\"ns/a\"} 10.000\n"));
    CHECK(metrics_have("\nleader_election_master_status{name=\"a\"} 1\n"));
    fake.boot_ms += 10000; /* nobody turns the loop */
    CHECK(metrics_have("\nlease_is_held{key=\"ns/a\"} 0\n"));
    CHECK(metrics_have("\nlease_valid_seconds{key=\"ns/a\"} 0.000\n"));
    CHECK(metrics_have("\nleader_election_master_status{name=\"a\"} 0\n"));
    lease_destroy(self);
    fake_run(client, 0);
    CHECK(!metrics_have("key=\"ns/a\""));
    end();
}

TEST(a_series_never_comes_twice) {
    lease_desc desc = fake_desc("a");
    lead_plain();
    desc.ns = "other";
    lease *in_other = fake_lease(client, &desc);
    desc.ns = "ns";
    desc.identity = "second";
    lease *second = fake_lease(client, &desc);
    fake_run(client, 0);
    CHECK_INT(metrics_count("\nlease_is_held{key=\"ns/a\"}"), 1);
    CHECK_INT(metrics_count("\nlease_is_held{key=\"other/a\"}"), 1);
    CHECK_INT(metrics_count("\nleader_election_master_status{name=\"a\"}"), 1);
    CASE("when the first one goes the next is shown");
    lease_destroy(self);
    fake_run(client, 0);
    CHECK_INT(metrics_count("\nlease_is_held{key=\"ns/a\"}"), 1);
    CHECK_INT(metrics_count("\nleader_election_master_status{name=\"a\"}"), 1);
    lease_destroy(second);
    fake_run(client, 0);
    CHECK_INT(metrics_count("key=\"ns/a\""), 0);
    CHECK_INT(metrics_count("\nlease_is_held{key=\"other/a\"}"), 1);
    CHECK_INT(metrics_count("\nleader_election_master_status{name=\"a\"}"), 1);
    lease_destroy(in_other);
    end();
}

TEST(a_lease_created_again_under_its_name_is_shown) {
    const lease_desc desc = fake_desc("a");
    lead_plain();
    for (int i = 0; i < 3; i++) {
        lease_destroy(self);
        self = fake_lease(client, &desc);
        fake_run(client, 20000);
        CHECK_INT(metrics_count("\nlease_is_held{key=\"ns/a\"}"), 1);
        CHECK_INT(metrics_count("\nleader_election_master_status{name=\"a\"}"), 1);
    }
    end();
}

/* -- A loop of one's own ----------------------------------------------------------------------- */

TEST(a_foreign_loop_needs_two_questions) {
    struct pollfd fds[LEASE_MAX_FDS];
    const lease_desc desc = fake_desc("a");
    fake_begin();
    client = fake_client();
    CHECK_INT(lease_client_fds(client, fds, LEASE_MAX_FDS), 1);
    CHECK(fds[0].fd >= 0);
    CHECK_INT(fds[0].events, POLLIN);
    CHECK_INT(lease_client_fds(client, NULL, 0), 1);
    CHECK_INT(poll(fds, 1, 0), 0);
    CHECK(lease_client_wait_ms(client) > 0);
    self = fake_lease(client, &desc);
    CHECK_INT(lease_client_wait_ms(client), 0);
    CHECK_INT(poll(fds, 1, 0), 1); /* a command wakes the loop */
    CHECK_STATUS(lease_client_poll(client, 0), LEASE_OK);
    CHECK_INT(poll(fds, 1, 0), 0);
    CHECK(lease_is_leader(self));
    const int32_t wait_ms = lease_client_wait_ms(client);
    CHECK(wait_ms > 1000 && wait_ms <= 2000);
    fake.boot_ms += wait_ms - 1;
    CHECK_INT(lease_client_wait_ms(client), 1);
    CHECK_STATUS(lease_client_poll(client, 0), LEASE_OK);
    CHECK_INT(fake.writes, 1); /* too early: nothing */
    fake.boot_ms += 1;
    CHECK_INT(lease_client_wait_ms(client), 0);
    CHECK_STATUS(lease_client_poll(client, 0), LEASE_OK);
    CHECK_INT(fake.writes, 2);
    static void (*const commands[])(lease *) = {lease_destroy};
    commands[0](self);
    CHECK_INT(poll(fds, 1, 0), 1);
    CHECK_INT(lease_client_wait_ms(client), 0);
    end();
}

TEST(a_loop_that_comes_too_late_catches_up) {
    lead_plain();
    fake.boot_ms += 3600000;
    CHECK(!lease_is_leader(self));
    fake_run(client, 0);
    CHECK(lease__starts_with(fake_news(), "lost "));
    CHECK(lease_is_leader(self)); /* nobody else has taken it: one write */
    CHECK_INT(view_of(self).acquisitions, 2);
    end();
}

TEST(many_commands_fill_no_pipe) {
    lead_plain();
    for (int i = 0; i < 100000; i++) lease_contend(self);
    fake_run(client, 0);
    CHECK(lease_is_leader(self));
    struct pollfd fds[LEASE_MAX_FDS];
    lease_client_fds(client, fds, LEASE_MAX_FDS);
    CHECK_INT(poll(fds, 1, 0), 0);
    end();
}

/* -- Whose turn it is -------------------------------------------------------------------------- */

/* In the order in which the store is asked. */
static char order[256];

static lease_status ordered_get(void *context, const char *ns, const char *name, int32_t limit,
                                lease_record *out, lease_error *error) {
    strncat(order, name, sizeof order - strlen(order) - 2);
    strcat(order, " ");
    return fake_get(context, ns, name, limit, out, error);
}

static lease_status ordered_update(void *context, const char *ns, const char *name,
                                   const lease_record *record, int32_t limit, lease_record *out,
                                   lease_error *error) {
    strncat(order, name, sizeof order - strlen(order) - 2);
    strcat(order, " ");
    return fake_update(context, ns, name, record, limit, out, error);
}

TEST(leaders_near_their_end_go_first) {
    static const lease_backend ordered = {NULL, ordered_get, fake_create, ordered_update};
    lease_client_desc client_desc;
    memset(&client_desc, 0, sizeof client_desc);
    fake_begin();
    client_desc.hooks = &fake_hooks;
    client_desc.backend = &ordered;
    CHECK_STATUS(lease_client_create(&client_desc, &client, NULL), LEASE_OK);
    lease_desc desc = fake_desc("late");
    desc.on_event = NULL;
    fake_lease(client, &desc);
    lease_client_poll(client, 0);
    fake.boot_ms += 500;
    desc.name = "early";
    fake_lease(client, &desc);
    lease_client_poll(client, 0);
    fake_intrude("other", "somebody");
    desc.name = "other";
    fake_lease(client, &desc);
    lease_client_poll(client, 0);
    fake.boot_ms += 3000; /* all three are due, and two new ones come */
    desc.name = "new-1";
    fake_lease(client, &desc);
    desc.name = "new-2";
    fake_lease(client, &desc);
    order[0] = '\0';
    lease_client_poll(client, 0);
    CHECK(lease__starts_with(order, "late early "));
    CHECK(strstr(order, "new-1") != NULL && strstr(order, "new-2") != NULL);
    CHECK(strstr(order, "other") != NULL);
    end();
}

/* -- Coordinated, observing, strict ------------------------------------------------------------ */

TEST(a_coordinated_lease_is_told_once) {
    const lease_desc desc = fake_desc("a");
    fake_begin();
    fake_intrude("a", "");
    fake_record("a")->coordinated = true;
    client = fake_client();
    self = fake_lease(client, &desc);
    fake_run(client, 60000);
    CHECK_STR(fake_news(), "error");
    CHECK_STATUS(fake_last()->status, LEASE_COORDINATED);
    CHECK_INT(fake.writes, 0);
    end();
}

TEST(an_observer_follows_and_never_writes) {
    lease_desc desc = fake_desc("a");
    fake_begin();
    desc.observe_only = true;
    client = fake_client();
    self = fake_lease(client, &desc);
    fake_run(client, 5000);
    CHECK_STR(fake_news(), "");
    CHECK(view_of(self).observed);
    CHECK(!view_of(self).exists);
    CHECK_INT(view_of(self).state, LEASE_STATE_OBSERVER);
    fake_intrude("a", "one");
    fake_run(client, 3000);
    CHECK_STR(fake_news(), "leader_changed");
    CHECK(view_of(self).exists);
    CHECK_STR(view_of(self).holder, "one");
    fake_run(client, 60000);
    fake_delete("a");
    fake_run(client, 3000);
    CHECK_STR(fake_news(), "leader_changed");
    CHECK_STR(fake_last()->holder, "");
    CHECK_INT(fake.writes, 0);
    end();
}

TEST(strict_creation_waits) {
    lease_desc desc = fake_desc("a");
    fake_begin();
    desc.strict_creation = true;
    client = fake_client();
    self = fake_lease(client, &desc);
    fake_run(client, 14999);
    CHECK(!lease_is_leader(self));
    CHECK_STR(fake_record("a")->holder_identity, "");
    fake_run(client, 1);
    CHECK(lease_is_leader(self));
    end();
}

TEST(a_jump_of_the_wall_clock_begins_a_new_term) {
    lead_plain();
    fake.wall_add_us = INT64_C(3600) * 1000000;
    fake_run(client, 2000);
    CHECK_STR(fake_news(), "lost acquired");
    CHECK(lease_is_leader(self));
    CHECK_INT(fake.events[2].event.reason, LEASE_REASON_CLOCK_JUMP);
    end();
}
