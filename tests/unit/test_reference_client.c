/* Conformance with the reference electors, second part: what a program sees of them. Google's
 * Range, Run and OnLeaderChange (G), its gauges and those of client-go (M), the boundaries of its
 * consumer (S) and its weak points (Pa to Ph), client-go's health check (H), lock (K) and lease
 * candidate (C), and the rows of the first part that concern callbacks and gauges (U, F).
 *
 * The words of a script, in virtual time; before `run` nothing has been sent:
 *     run:MS frozen:MS       the loop turns so long; time passes without it
 *     wall:MS                wall time steps
 *     fail:STATUS mend       what becomes of all requests
 *     intrude:HOLDER label   somebody takes the Lease, or puts a label on it
 *     strategy:HOLDER        the server elects
 *     release stop           lease_release; lease_client_stop, and lease_client_run ends
 * and before the lease is created (planted): intrude, strategy, max_fail_open:MS */
#define LEASE_IMPLEMENTATION
#include "lease.h"

#include "../io/script.h"
#include "reference.h"

static lease_client *client;
static lease *self;
static int64_t begin_ms;
static int64_t max_fail_open_ms;
static char heard[512]; /* all callbacks but those of renewals */
static char told[512];  /* the holders among them */
static char text[512];

/* -- Checks ------------------------------------------------------------------------------------ */

static const char *number(int64_t value) {
    snprintf(text, sizeof text, "%" PRId64, value);
    return text;
}

static const char *name_of(const char *holder) { return holder[0] != '\0' ? holder : "nobody"; }

/* A gauge or counter, as it stands in the text that is scraped. */
static const char *sample(const char *series) {
    static char scraped[16384];
    char line[120];
    lease_metrics_write(client, LEASE_METRICS_TEXT, scraped, sizeof scraped);
    snprintf(line, sizeof line, "\n%s ", series);
    const char *at = strstr(scraped, line);
    if (at == NULL) return "absent";
    at += strlen(line);
    snprintf(text, sizeof text, "%.*s", (int)strcspn(at, "\n"), at);
    return text;
}

static int64_t since_begin(int64_t wall_us) { return (wall_us - FAKE_WALL) / 1000 - begin_ms; }

static const char *range(void) {
    lease_time_range at;
    if (!lease_range(self, &at)) return at.start_us == 0 && at.end_us == 0 ? "none" : "not zero";
    snprintf(text, sizeof text, "%" PRId64 "..%" PRId64, since_begin(at.start_us),
             since_begin(at.end_us));
    return text;
}

/* What the callbacks have said since the last check of it: acquired+lost. */
static const char *take_text(char *what) {
    snprintf(text, sizeof text, "%s", what[0] != '\0' ? what : "nothing");
    what[0] = '\0';
    return text;
}

static const char *ask(const char *key) {
    static const char *const states[] = {"follower", "leader", "fail_open", "released", "observer"};
    static const struct {
        const char *key;
        const char *series;
    } gauges[] = {{"held", "prometheus_engine_lease_is_held{key=\"ns/foo\"}"},
                  {"opening", "prometheus_engine_lease_failing_open{key=\"ns/foo\"}"},
                  {"age", "prometheus_engine_lease_last_renewal_age_seconds{key=\"ns/foo\"}"},
                  {"master", "leader_election_master_status{name=\"foo\"}"},
                  {"slowpath", "leader_election_slowpath_total{name=\"foo\"}"}};
    const lease_record *stored = fake_record("foo");
    static lease_view view; /* answers point into it */
    lease_time_range at;
    for (size_t i = 0; i < LEASE__COUNT(gauges); i++) {
        if (strcmp(gauges[i].key, key) == 0) return sample(gauges[i].series);
    }
    lease_view_get(self, &view);
    if (strcmp(key, "leads") == 0) return lease_is_leader(self) ? "yes" : "no";
    if (strcmp(key, "remaining") == 0) return number(lease_remaining_ms(self));
    if (strcmp(key, "token") == 0) return number((int64_t)lease_token(self));
    if (strcmp(key, "range") == 0) return range();
    lease_range(self, &at);
    if (strcmp(key, "starts") == 0) return since_begin(at.start_us) == 0 ? "begin" : "later";
    if (strcmp(key, "reach") == 0) return number((at.end_us - stored->renew_time_us) / 1000);
    if (strcmp(key, "state") == 0) return states[view.state];
    if (strcmp(key, "holder") == 0) return name_of(view.holder);
    if (strcmp(key, "stored") == 0) return name_of(stored->holder_identity);
    if (strcmp(key, "duration") == 0) return number(stored->lease_duration_s);
    if (strcmp(key, "writes") == 0) return number(fake.writes);
    if (strcmp(key, "heard") == 0) return take_text(heard);
    if (strcmp(key, "told") == 0) return take_text(told);
    return "(not a key)";
}

static void append(char *to, size_t capacity, const char *word) {
    const size_t length = strlen(to);
    snprintf(to + length, capacity - length, "%s%s", length > 0 ? "+" : "", word);
}

static void hear(lease *one, const lease_event *event, void *user) {
    static const char *const names[] = {"acquired", "lost", "leader_changed", NULL, NULL,
                                        "fail_open", "fail_closed", "duplicate", "released",
                                        "error"};
    (void)one;
    (void)user;
    if (names[event->kind] == NULL) return;
    append(heard, sizeof heard, names[event->kind]);
    if (event->kind != LEASE_EVENT_LEADER_CHANGED) return;
    append(told, sizeof told, name_of(event->holder));
}

/* -- Scripts ----------------------------------------------------------------------------------- */

static void strategy(const char *holder) {
    fake_intrude("foo", holder);
    fake_record("foo")->coordinated = true;
}

static void stop(void) {
    lease_client_stop(client);
    CHECK_STATUS(lease_client_run(client), LEASE_OK);
}

static lease_status failure(const char *name) {
    static const lease_status statuses[] = {LEASE_CONNECT, LEASE_TIMEOUT, LEASE_FORBIDDEN,
                                            LEASE_SERVER_ERROR};
    for (size_t i = 0; i < LEASE__COUNT(statuses); i++) {
        if (strcmp(lease_status_name(statuses[i]), name) == 0) return statuses[i];
    }
    test__check(false, __FILE__, __LINE__, "no failure is called %s", name);
    return LEASE_OK;
}

static void take(const char *word) {
    const char *colon = word + strcspn(word, ":=");
    const char *value = colon[0] != '\0' ? colon + 1 : colon;
    char verb[32];
    snprintf(verb, sizeof verb, "%.*s", (int)(colon - word), word);
    const int64_t ms = strtoll(value, NULL, 10);
    if (colon[0] == '=') reference_check(word, ask);
    else if (strcmp(verb, "run") == 0) fake_run(client, ms);
    else if (strcmp(verb, "frozen") == 0) fake.boot_ms += ms;
    else if (strcmp(verb, "wall") == 0) fake.wall_add_us += ms * 1000;
    else if (strcmp(verb, "fail") == 0) fake.status = failure(value);
    else if (strcmp(verb, "mend") == 0) fake.status = LEASE_OK;
    else if (strcmp(verb, "intrude") == 0) fake_intrude("foo", value);
    else if (strcmp(verb, "strategy") == 0) strategy(value);
    else if (strcmp(verb, "label") == 0) fake_store(fake_slot("ns", "foo"), fake_record("foo"));
    else if (strcmp(verb, "release") == 0) lease_release(self);
    else if (strcmp(verb, "stop") == 0) stop();
    else if (strcmp(verb, "max_fail_open") == 0) max_fail_open_ms = ms;
    else test__check(false, __FILE__, __LINE__, "no word is called %s", word);
}

static void create(const char *identity, int32_t lease_duration_ms) {
    lease_client_desc of_client;
    lease_desc desc = fake_desc("foo");
    memset(&of_client, 0, sizeof of_client);
    of_client.hooks = &fake_hooks;
    of_client.backend = &fake_backend;
    of_client.metrics_prefix = "prometheus_engine_lease";
    CHECK_STATUS(lease_client_create(&of_client, &client, NULL), LEASE_OK);
    desc.identity = identity;
    desc.lease_duration_ms = lease_duration_ms;
    desc.max_fail_open_ms = max_fail_open_ms;
    desc.on_event = hear;
    self = fake_lease(client, &desc);
    heard[0] = told[0] = '\0';
}

static void run(const reference_row *row) {
    if (!reference_begin(row)) return;
    fake_begin();
    begin_ms = fake.boot_ms;
    max_fail_open_ms = 0;
    reference_words(row->planted, take);
    create("me", 0);
    reference_words(row->script, take);
    reference_words(row->want, take);
    lease_client_destroy(client);
}

static void run_all(const reference_row *rows, size_t count) {
    for (size_t i = 0; i < count; i++) run(&rows[i]);
}

/* -- G: Google's Range, Run and OnLeaderChange, and its gauges --------------------------------- */

static const reference_row g_rows[] = {
    {.id = "G1", .what = "the identity is the host name, _ and a UUID",
     .shown_by = "unit/test_public.c the_default_identity_is_unique"},
    {.id = "G2", .what = "namespace and name are required",
     .shown_by = "unit/test_public.c refused_names_and_labels"},
    {.id = "G4", .what = "15/10/2 for what is zero",
     .script = "run:0 duration=15 remaining=10000 run:1799 writes=1 run:201 writes=2"},
    {.id = "G5", .what = "not released on cancel", .script = "run:0 stop frozen:60000",
     .want = "stored=me writes=1"},
    {.id = "G6", .what = "from acquireTime to renewTime + duration; failures leave it unchanged",
     .script = "run:0 range=0..15000 fail:connect run:9999 range=0..15000 mend run:7000",
     .want = "starts=begin reach=15000"},
    {.id = "G7", .what = "Run contends again after a loss",
     .script = "run:0 leads=yes intrude:other run:2000 leads=no run:16000 leads=yes intrude:third "
               "run:2000 leads=no run:16000", .want = "leads=yes"},
    {.id = "G8", .what = "the start stays over an outage when nobody took it",
     .script = "run:0 fail:connect run:60000 leads=no starts=begin mend run:3000",
     .want = "leads=yes starts=begin"},
    {.id = "G9", .what = "Range of one who does not hold: zero, zero, false",
     .planted = "intrude:other", .script = "run:3000", .want = "range=none"},
    {.id = "G10", .what = "an end strictly before now fails open: now + duration",
     .script = "run:0 fail:connect run:15000 range=0..15000 opening=0 run:1 range=0..30001",
     .want = "opening=1 state=fail_open"},
    {.id = "G11", .what = "else it does not, and says what is stored",
     .script = "run:600000", .want = "opening=0 starts=begin reach=15000"},
    {.id = "G12", .what = "only the last known holder fails open", .planted = "intrude:other",
     .script = "run:0 fail:connect run:60000", .want = "range=none opening=0"},
    {.id = "G13", .what = "another holder ends it",
     .script = "run:0 fail:timeout run:60000 opening=1 intrude:other mend run:3000",
     .want = "range=none opening=0 heard=leader_changed+acquired+lost+error+fail_open+"
             "leader_changed+fail_closed"},
    {.id = "G14", .what = "a renewal ends it",
     .script = "run:0 fail:timeout run:60000 opening=1 mend run:3000",
     .want = "starts=begin reach=15000 opening=0 leads=yes"},
    {.id = "G15", .what = "it has no upper bound", .script = "run:0 fail:connect run:86400000",
     .want = "range=0..86415000 opening=1"},
    {.id = "G16", .what = "OnLeaderChange on start and on every exit", .differs = "F14",
     .why = "it tells of holders, oneself included, and once; that a term ends is an event of its "
            "own, before it",
     .script = "run:0 heard=leader_changed+acquired told=me fail:connect run:10000 heard=lost "
               "told=nothing mend run:3000 heard=acquired told=nothing intrude:other run:2000",
     .want = "heard=lost+leader_changed told=other"},
    {.id = "G17", .what = "is_held: 0 at construction, 1 on start, 0 on stop", .differs = "F3",
     .why = "there from the first turn of the loop on, and 0 in the step that sees another holder, "
            "not up to 10 s later",
     .planted = "intrude:other",
     .script = "held=absent run:14999 held=0 run:1 held=1 intrude:third run:2000",
     .want = "held=0"},
    {.id = "G18", .what = "failing_open",
     .script = "run:0 opening=0 fail:connect run:15000 opening=0 run:1 opening=1 mend "
               "run:3000", .want = "opening=0"},
    {.id = "G19", .what = "the key is namespace/name",
     .shown_by = "unit/test_runner.c a_series_never_comes_twice"},
    {.id = "G20", .what = "the start moves when another held it in between",
     .script = "run:0 starts=begin intrude:other run:2000 range=none run:16000",
     .want = "leads=yes starts=later reach=15000"},
};

/* -- Pa to Ph: its weak points ----------------------------------------------------------------- */

static const reference_row weak_rows[] = {
    {.id = "Pa", .what = "failing open without bound", .differs = "F24",
     .why = "max_fail_open_ms bounds it", .planted = "max_fail_open:60000",
     .script = "run:0 fail:connect run:74999 opening=1 run:1", .want = "range=none opening=0"},
    {.id = "Pb", .what = "failing_open stays 1 until Range is asked again", .differs = "F13",
     .why = "computed at the scrape", .script = "run:0 fail:connect run:16000 opening=1 "
                                                "intrude:other mend run:3000",
     .want = "opening=0"},
    {.id = "Pc", .what = "is_held is 0 while Range still says ok", .differs = "F13",
     .why = "so it is, from the renew deadline to the end of the range; after that the state has "
            "a name", .script = "run:0 fail:connect run:10000 held=0 range=0..15000 run:6000",
     .want = "held=0 state=fail_open"},
    {.id = "Pd", .what = "gauges are globals of the process", .differs = "F13",
     .why = "they are the client's, and a series never comes twice",
     .shown_by = "unit/test_runner.c a_series_never_comes_twice"},
    {.id = "Pe", .what = "an answer that refuses fails open too", .differs = "F24",
     .why = "only silence opens", .script = "run:0 fail:forbidden run:15001",
     .want = "range=none opening=0"},
    {.id = "Pf", .what = "a step of wall time moves the end", .differs = "F8",
     .why = "the boot clock ends it as well",
     .script = "run:0 wall:-3600000 fail:forbidden run:15000 range=0..15000 run:1",
     .want = "range=none"},
    {.id = "Pg", .what = "what is sent late is not checked again", .differs = "F7",
     .why = "time left and token can be asked at the send",
     .script = "run:0 frozen:9999 remaining=1 token=1 frozen:1", .want = "remaining=0 token=0"},
    {.id = "Ph", .what = "Range says ok before the start callback has run", .differs = "F14",
     .why = "only after it",
     .shown_by = "unit/test_runner.c the_range_begins_after_the_start_callback"},
};

/* -- U, F, M, C: callbacks, gauges, coordinated election --------------------------------------- */

static const reference_row other_rows[] = {
    {.id = "U15", .what = "cancel between renewals", .differs = "F13",
     .why = "the gauge is what is_leader says",
     .script = "run:0 held=1 master=1 run:1000 release held=0 master=0 leads=no run:0",
     .want = "held=0 master=0"},
    {.id = "U16", .what = "order of OnNewLeader", .differs = "F14",
     .why = "one thread, one order: what ends, who leads, what begins",
     .script = "run:0 heard=leader_changed+acquired intrude:other run:2000 "
               "heard=lost+leader_changed run:16000 heard=leader_changed+acquired release run:0",
     .want = "heard=lost+released+leader_changed told=me+other+me+nobody"},
    {.id = "U20", .what = "second Run", .differs = "F15",
     .why = "one run goes through all terms; a client that was stopped sends nothing more",
     .script = "run:0 stop stop frozen:60000 stop", .want = "writes=1 leads=no"},
    {.id = "F13", .what = "the gauge stays 1 after a clean stop", .differs = "F13",
     .why = "it ends with the deadline by itself",
     .script = "run:0 stop held=1 frozen:9999 held=1 leads=yes frozen:1",
     .want = "held=0 master=0 leads=no state=follower"},
    {.id = "F14", .what = "callbacks without order, pairs, reason", .differs = "F14",
     .why = "each end has reason, instant and the token of its term",
     .shown_by = "unit/test_runner.c a_lost_lease_is_told_with_its_reason"},
    {.id = "F15", .what = "one-shot", .differs = "F15", .why = "the loop contends again",
     .shown_by = "unit/test_runner.c a_lease_lost_is_contended_for_again"},
    {.id = "M1", .what = "leader_election_master_status: 0, 1, and 0 when renewing has failed",
     .differs = "F2 F13",
     .why = "there from the first turn of the loop on, and 0 from the deadline, 10 s and not 12",
     .planted = "intrude:other",
     .script = "master=absent run:14999 master=0 run:1 master=1 fail:connect run:9999 master=1 "
               "run:1",
     .want = "master=0"},
    {.id = "M2", .what = "leader_election_slowpath_total",
     .script = "run:8000 slowpath=0 label run:2000 slowpath=1 run:8000", .want = "slowpath=1"},
    {.id = "C1", .what = "lease candidate: creation",
     .absent = "no LeaseCandidate is written: where the server elects, its holder is reported, and "
               "that spec.strategy is set; nothing is written",
     .planted = "strategy:other", .script = "run:120000",
     .want = "writes=0 leads=no holder=other heard=leader_changed+error"},
    {.id = "C2", .what = "lease candidate: ack",
     .absent = "there is no candidate that the server could ping"},
};

/* -- S: the consumer --------------------------------------------------------------------------- */

/* The rule of lease_time_range: [start, end). A gauge has no start. */
static bool exports(const lease_time_range *at, int64_t start_us, int64_t end_us) {
    return (start_us == 0 || start_us >= at->start_us) && end_us < at->end_us;
}

#define HALF_OPEN "ranges that meet share no instant, so that no sample is exported twice"

/* Script: range, start and end of the sample; want: ours. */
static const reference_row s_rows[] = {
    {.id = "S1", .what = "a gauge at 100 in 100..100: in", .differs = "half-open",
     .why = HALF_OPEN, .script = "100 100 0 100", .want = "out"},
    {.id = "S2", .what = "a gauge at 100 in 90..100: in", .differs = "half-open", .why = HALF_OPEN,
     .script = "90 100 0 100", .want = "out"},
    {.id = "S3", .what = "a gauge at 101 in 90..100: out", .script = "90 100 0 101",
     .want = "out"},
    {.id = "S4", .what = "90 to 100 in 90..100: in", .differs = "half-open", .why = HALF_OPEN,
     .script = "90 100 90 100", .want = "out"},
    {.id = "S5", .what = "89 to 100 in 90..100: out", .script = "90 100 89 100", .want = "out"},
    {.id = "S6", .what = "90 to 101 in 90..100: out", .script = "90 100 90 101", .want = "out"},
    {.id = "S7", .what = "89 to 101 in 90..100: out", .script = "90 100 89 101", .want = "out"},
};

TEST(googles_consumer) {
    for (size_t i = 0; i < LEASE__COUNT(s_rows); i++) {
        int64_t n[4] = {0, 0, 0, 0};
        lease_range_state state;
        lease_time_range at;
        reference_begin(&s_rows[i]);
        sscanf(s_rows[i].script, "%" SCNd64 " %" SCNd64 " %" SCNd64 " %" SCNd64, &n[0], &n[1],
               &n[2], &n[3]);
        memset(&state, 0, sizeof state);
        state.held = true;
        state.start_us = n[0];
        state.end_us = n[1];
        CHECK(lease_core_range(&state, 0, n[1], &at, NULL));
        CHECK_STR(exports(&at, n[2], n[3]) ? "in" : "out", s_rows[i].want);
        /* The last instant that is in is the one before the end. */
        const bool last = exports(&at, n[2] == 0 ? 0 : n[0], n[1] - 1);
        CHECK_INT(last, n[1] - 1 >= n[0] || n[2] == 0);
    }
}

/* -- H: health, as a host would ask for it ----------------------------------------------------- */

#define TOLERANCE_MS 20000
#define HEALTH_L_MS 60000

/* Unhealthy is who holds by his own account and has not renewed for too long. */
static bool is_healthy(const lease *one) {
    lease_view view;
    lease_view_get(one, &view);
    if (strcmp(view.holder, lease_identity(one)) != 0) return true;
    return fake.boot_ms - view.last_renewal_ms <= HEALTH_L_MS + TOLERANCE_MS;
}

/* Planted: the holder; script: how long ago. */
static const reference_row h_rows[] = {
    {.id = "H1", .what = "before the elector is attached", .want = "healthy"},
    {.id = "H2", .what = "far expired", .planted = "healthTest", .script = "3600000",
     .want = "unhealthy"},
    {.id = "H3", .what = "far expired, other holder", .planted = "other", .script = "3600000",
     .want = "healthy"},
    {.id = "H4", .what = "not expired", .planted = "healthTest", .script = "0", .want = "healthy"},
    {.id = "H5", .what = "expired within tolerance", .planted = "healthTest", .script = "61000",
     .want = "healthy"},
};

TEST(health) {
    for (size_t i = 0; i < LEASE__COUNT(h_rows); i++) {
        const reference_row *row = &h_rows[i];
        reference_begin(row);
        if (row->planted == NULL) {
            CHECK_STR(is_healthy(NULL) ? "healthy" : "unhealthy", row->want);
            continue;
        }
        fake_begin();
        max_fail_open_ms = 0;
        if (strcmp(row->planted, "healthTest") != 0) fake_intrude("foo", row->planted);
        create("healthTest", HEALTH_L_MS);
        fake_run(client, 0);
        fake.boot_ms += strtoll(row->script, NULL, 10);
        CHECK_STR(is_healthy(self) ? "healthy" : "unhealthy", row->want);
        if (!is_healthy(self)) CHECK_STR(ask("age"), "3600.000"); /* of ns/foo by name */
        lease_client_destroy(client);
    }
}

/* -- K: the lock ------------------------------------------------------------------------------- */

static const reference_row k_rows[] = {
    {.id = "K1", .what = "get missing", .script = "get", .want = "not_found"},
    {.id = "K2", .what = "create, get: all fields equal", .script = "post get", .want = "ok+ok"},
    {.id = "K3", .what = "event",
     .absent = "no Event objects are written, and no right to is needed: callbacks and log tell"},
    {.id = "K4", .what = "event without recorder", .absent = "as for K3: on_event and log may be "
                                                             "NULL"},
    {.id = "K5", .what = "create twice", .script = "post post", .want = "ok+already_exists"},
    {.id = "K7", .what = "describe: namespace/name",
     .shown_by = "unit/test_public.c the_log_says_what_the_timing_tolerates"},
    {.id = "K8", .what = "conversion, 7 fields; two of them only pass through",
     .shown_by = "unit/test_kube.c foreign_members_survive_an_update"},
};

static lease_status operate(const lease_backend *b, const char *word, lease_record *got) {
    lease_record record;
    memset(&record, 0, sizeof record);
    memcpy(record.holder_identity, "holder", 7);
    record.acquire_time_us = INT64_C(1700000000000001);
    record.renew_time_us = INT64_C(1700000002000002);
    record.lease_duration_s = 15;
    record.lease_transitions = 3;
    if (strcmp(word, "post") == 0) {
        return b->create(b->context, "ns", "foo", &record, 1000, got, NULL);
    }
    const lease_status status = b->get(b->context, "ns", "foo", 1000, got, NULL);
    if (status != LEASE_OK) return status;
    CHECK_STR(got->holder_identity, record.holder_identity);
    CHECK_INT(got->acquire_time_us, record.acquire_time_us);
    CHECK_INT(got->renew_time_us, record.renew_time_us);
    CHECK_INT(got->lease_duration_s, record.lease_duration_s);
    CHECK_INT(got->lease_transitions, record.lease_transitions);
    return LEASE_OK;
}

static lease_memory memory;

static void operate_word(const char *word) {
    const lease_backend in_memory = lease_backend_memory(&memory);
    lease_record got;
    append(heard, sizeof heard, lease_status_name(operate(&in_memory, word, &got)));
}

TEST(lock) {
    for (size_t i = 0; i < LEASE__COUNT(k_rows); i++) {
        if (!reference_begin(&k_rows[i])) continue;
        memset(&memory, 0, sizeof memory);
        heard[0] = '\0';
        reference_words(k_rows[i].script, operate_word);
        CHECK_STR(heard, k_rows[i].want);
    }
}

/* -- G3, K6, K9 to K11: over the wire ---------------------------------------------------------- */

/* Planted: our labels; script: what somebody has put on the Lease behind the first write; want: in
 * the body that then replaces it. */
static const reference_row label_rows[] = {
    {.id = "K9", .what = "cached object has no labels, lock has",
     .planted = "custom-key=custom-val", .script = "", .reference = "GET POST PUT GET PUT",
     .want = ",\"labels\":{\"custom-key\":\"custom-val\"}"},
    {.id = "K10", .what = "cached object has labels, lock has none",
     .script = ",\"labels\":{\"custom-key\":\"other\"}", .reference = "GET POST PUT GET PUT",
     .want = ",\"labels\":{\"custom-key\":\"other\"}"},
    {.id = "K11", .what = "labels: our own key is restored, a foreign one is kept",
     .planted = "custom-key=custom-val",
     .script = ",\"labels\":{\"custom-key\":\"other\",\"custom-key-2\":\"custom-val-2\"}",
     .reference = "GET POST PUT GET PUT",
     .want = ",\"labels\":{\"custom-key\":\"custom-val\",\"custom-key-2\":\"custom-val-2\"}"},
};

static void begin_io(const char *labels) {
    lease_desc desc = fake_desc("a");
    desc.labels = labels;
    io_begin(0);
    CHECK_STATUS(io_create_client(NULL, true), LEASE_OK);
    io.watched = fake_lease(io_client, &desc);
}

TEST(labels) {
    for (size_t i = 0; i < LEASE__COUNT(label_rows); i++) {
        const reference_row *row = &label_rows[i];
        reference_begin(row);
        begin_io(row->planted);
        io_run(0);
        io_object *object = io_find("a");
        object->version = ++io.version;
        snprintf(object->others, sizeof object->others, "%s", row->script);
        io_run(2000);
        CHECK_STR(io_methods(0), row->reference);
        CHECK(strstr(io.requests[io.request_count - 1].body, row->want) != NULL);
        CHECK(lease_is_leader(io.watched));
        io_end();
    }
}

TEST(update_before_get_or_create) {
    static const reference_row row = {.id = "K6", .what = "update before get or create: no request",
                                      .reference = "GET GET GET GET GET POST",
                                      .want = "leads"};
    static const char *const answer = "HTTP/1.1 500 X\r\nContent-Length: 2\r\n\r\n{}";
    reference_begin(&row);
    begin_io(NULL);
    io_set_fault((io_fault){.times = 4, .not_applied = true, .answer = answer});
    io_run(11000);
    CHECK(lease_is_leader(io.watched));
    CHECK(lease__starts_with(io_methods(0), row.reference));
    io_end();
}

TEST(user_agent) {
    static const reference_row row = {.id = "G3", .what = "the user agent is leader-election",
                                      .want = "\r\nUser-Agent: leader-election\r\n"};
    reference_begin(&row);
    begin_io(NULL);
    io_run(0);
    CHECK(strstr(io_connections[io.opened % 2].in, row.want) != NULL);
    io_end();
}

TEST(googles_interface) { run_all(g_rows, LEASE__COUNT(g_rows)); }
TEST(googles_weak_points) { run_all(weak_rows, LEASE__COUNT(weak_rows)); }
TEST(callbacks_and_gauges) { run_all(other_rows, LEASE__COUNT(other_rows)); }

TEST(each_row_is_accounted_for) { reference_end(REFERENCE_CLIENT_IDS); }
