/* Conformance with the reference electors, first part: what the elector alone decides. The tables
 * are those of client-go's own tests (T), of what these do not test (U), of Google's pkg/lease (P),
 * and of the flaws found in both (F), each of which is a case that stays mended. What concerns
 * callbacks, the range, gauges and locks is in test_reference_client.c.
 *
 * The words of a script:
 *   Answers, each to the next request, which is waited for:
 *     401 403 404 409 422 429 500 exists down     it is refused; down: no connection
 *     lost lost+                                  no answer; with + the write was stored
 *     hang hang+                                  ... which the elector finds out by itself
 *     ok same                                     a write is stored; a read shows what is stored
 *     label                                       ... after somebody has put a label on it
 *     =HOLDER/SECONDS[/TRANSITIONS[/c]]           ... after HOLDER has written it; c: coordinated
 *     READ|WRITE                                  it depends on the request
 *     ANSWER@MS                                   to all requests until MS after the beginning
 *   Events:
 *     ask                                         the next request is under way
 *     release                                     the host's wish
 *     late:MS                                     the answer takes so long, and nothing else runs
 *     sleep:MS wall:MS                            time passes unnoticed; wall time steps
 * There is no jitter, in the requests of the reference neither: GET*3 is three in a row, +MS the
 * time from one to the next. */
#define LEASE_IMPLEMENTATION
#include "lease.h"

#include "reference.h"

/* -- The elector and its server ---------------------------------------------------------------- */

#define START_MS 100000 /* boot clock and wall clock agree */
#define PATIENCE_MS 300000

static lease_core core;
static lease_core_output out;
static lease_status init_status;
static int64_t now;      /* boot clock */
static int64_t begin_ms; /* of the script proper */
static int64_t wall_add; /* steps of wall time against it */
static lease_action asked; /* the request under way */
static int64_t asked_ms;
static lease_record written; /* by the last write asked for */
static lease_record stored;  /* by the server */
static unsigned next_version;

/* What a row is judged by; -1 = never. */
static struct {
    char requests[1024];
    bool timed; /* ... are told with the time between them */
    char last[16];
    int repeated;
    int count;
    int64_t before_ms; /* when the one before the last was asked for */
    char told[256];    /* holders */
    int64_t acquired_ms;
    int64_t released_ms;
    int64_t lost_ms;
    int64_t stop_by_ms;
    lease_reason lost_reason;
    int foreign;
    int slow;
    int duplicates;
    int same_seconds; /* writes in the second of the one before */
} seen;

static void put_request(void) {
    char times[16] = "";
    const size_t length = strlen(seen.requests);
    if (seen.repeated == 0) return;
    if (seen.repeated > 1) snprintf(times, sizeof times, "*%d", seen.repeated);
    snprintf(seen.requests + length, sizeof seen.requests - length, "%s%s%s",
             length > 0 ? " " : "", seen.last, times);
    seen.repeated = 0;
}

static void see_word(const char *word) {
    if (seen.repeated > 0 && strcmp(seen.last, word) != 0) put_request();
    snprintf(seen.last, sizeof seen.last, "%s", word);
    seen.repeated++;
}

static void see_request(bool failed) {
    static const char *const names[] = {"", "GET", "POST", "PUT"};
    char word[16];
    if (seen.timed && seen.count > 0 && asked_ms > seen.before_ms) {
        snprintf(word, sizeof word, "+%d", (int)(asked_ms - seen.before_ms));
        see_word(word);
    }
    snprintf(word, sizeof word, "%s%s", names[asked], failed ? "x" : "");
    see_word(word);
    seen.before_ms = asked_ms;
    seen.count++;
}

static const char *name_of(const char *holder) { return holder[0] != '\0' ? holder : "nobody"; }

static void see_events(void) {
    const size_t length = strlen(seen.told);
    if ((out.events & LEASE_CORE_LEADER_CHANGED) != 0) {
        snprintf(seen.told + length, sizeof seen.told - length, "%s%s", length > 0 ? ">" : "",
                 name_of(core.reported_holder));
    }
    if ((out.events & LEASE_CORE_ACQUIRED) != 0) seen.acquired_ms = now - begin_ms;
    if ((out.events & LEASE_CORE_RELEASED) != 0) seen.released_ms = now - begin_ms;
    seen.foreign += (out.events & LEASE_CORE_FOREIGN_WRITE) != 0;
    seen.slow += (out.events & LEASE_CORE_SLOW_PATH) != 0;
    seen.duplicates += (out.events & LEASE_CORE_DUPLICATE) != 0;
    if ((out.events & LEASE_CORE_LOST) == 0) return;
    seen.lost_ms = now - begin_ms;
    seen.lost_reason = out.lost_reason;
    seen.stop_by_ms = out.stop_by_ms - begin_ms;
}

static void step(lease_core_input *in) {
    in->now_ms = now;
    in->wall_us = now * 1000 + wall_add;
    lease_core_step(&core, in, &out);
    see_events();
    if (out.action == LEASE_ACTION_NONE) return;
    asked = out.action;
    asked_ms = now;
    if (asked == LEASE_ACTION_READ) return;
    seen.same_seconds += out.write.renew_time_us / 1000000 == written.renew_time_us / 1000000;
    written = out.write;
}

static void happen(lease_input_kind kind) {
    lease_core_input in;
    memset(&in, 0, sizeof in);
    in.kind = kind;
    step(&in);
}

/* Lets time pass until a request is under way; false if there is none by then. */
static bool await_request(int64_t end_ms) {
    for (int turns = 0; core.pending == LEASE_ACTION_NONE; turns++) {
        if (!CHECK(turns < 1000) || out.wake_ms > end_ms) return false;
        now = lease__max_i64(now, out.wake_ms);
        happen(LEASE_INPUT_TICK);
    }
    return true;
}

/* -- Answers ----------------------------------------------------------------------------------- */

static void deliver(lease_status status, bool maybe_applied) {
    lease_core_input in;
    memset(&in, 0, sizeof in);
    const bool read = asked == LEASE_ACTION_READ;
    see_request(status != LEASE_OK && (status != LEASE_NOT_FOUND || !read));
    in.kind = read ? LEASE_INPUT_READ_DONE : LEASE_INPUT_WRITE_DONE;
    in.request_id = core.requests;
    in.status = status;
    in.maybe_applied = maybe_applied && !read;
    in.record = &stored;
    step(&in);
}

static void hang(void) {
    const uint32_t request = core.requests;
    see_request(true);
    for (int turns = 0; core.pending != LEASE_ACTION_NONE && core.requests == request; turns++) {
        if (!CHECK(turns < 1000)) return;
        now = lease__max_i64(now, out.wake_ms);
        happen(LEASE_INPUT_TICK);
    }
}

static void new_version(void) {
    if (stored.uid[0] == '\0') snprintf(stored.uid, sizeof stored.uid, "uid-%u", next_version);
    snprintf(stored.resource_version, sizeof stored.resource_version, "%u", next_version++);
}

/* An update must name what it replaces, and a creation nothing. */
static void store(void) {
    const bool create = asked == LEASE_ACTION_CREATE;
    CHECK(asked != LEASE_ACTION_READ);
    CHECK_STR(written.uid, create ? "" : stored.uid);
    CHECK_STR(written.resource_version, create ? "" : stored.resource_version);
    stored = written;
    new_version();
}

/* HOLDER/SECONDS[/TRANSITIONS[/c]] */
static void intrude(const char *text) {
    int seconds = 0;
    int transitions = 0;
    const size_t length = strcspn(text, "/");
    sscanf(text + length, "/%d/%d", &seconds, &transitions);
    snprintf(stored.holder_identity, sizeof stored.holder_identity, "%.*s", (int)length, text);
    stored.lease_duration_s = seconds;
    stored.lease_transitions = transitions;
    stored.coordinated = strstr(text, "/c") != NULL;
    stored.acquire_time_us = stored.renew_time_us = now * 1000 + 1;
    new_version();
}

static void refuse(const char *word) {
    static const struct {
        const char *word;
        lease_status status;
    } refusals[] = {{"401", LEASE_UNAUTHORIZED}, {"403", LEASE_FORBIDDEN}, {"404", LEASE_NOT_FOUND},
                    {"409", LEASE_CONFLICT}, {"422", LEASE_INVALID}, {"429", LEASE_THROTTLED},
                    {"500", LEASE_SERVER_ERROR}, {"exists", LEASE_ALREADY_EXISTS},
                    {"down", LEASE_CONNECT}, {"lost", LEASE_TIMEOUT}};
    for (size_t i = 0; i < LEASE__COUNT(refusals); i++) {
        const lease_status status = refusals[i].status;
        if (strcmp(refusals[i].word, word) != 0) continue;
        if (status == LEASE_NOT_FOUND) memset(&stored, 0, sizeof stored);
        deliver(status, status == LEASE_TIMEOUT || status == LEASE_SERVER_ERROR);
        return;
    }
    test__check(false, __FILE__, __LINE__, "no answer is called %s", word);
}

/* The request under way is answered. */
static void answer(const char *text) {
    char word[48];
    const char *bar = strchr(text, '|');
    if (bar != NULL && asked != LEASE_ACTION_READ) text = bar + 1;
    snprintf(word, sizeof word, "%.*s", (int)strcspn(text, "|@+"), text);
    if (text[strlen(word)] == '+' || strcmp(word, "ok") == 0) store();
    const bool shown = word[0] == '=' || strcmp(word, "label") == 0 || strcmp(word, "same") == 0;
    CHECK(!shown || asked == LEASE_ACTION_READ);
    if (word[0] == '=') intrude(word + 1);
    if (strcmp(word, "label") == 0) new_version();
    if (shown || strcmp(word, "ok") == 0) deliver(LEASE_OK, false);
    else if (strcmp(word, "hang") == 0) hang();
    else refuse(word);
}

/* -- Checks ------------------------------------------------------------------------------------ */

static char text[160];

static const char *number(int64_t value) {
    if (value < 0) return "never";
    snprintf(text, sizeof text, "%" PRId64, value);
    return text;
}

static const char *loss(void) {
    static const char *const reasons[] = {"none", "expired", "taken", "cleared", "deleted",
                                          "duplicate", "altered", "clock_jump", "coordinated",
                                          "released"};
    if (seen.lost_reason == LEASE_REASON_NONE) return "never";
    snprintf(text, sizeof text, "%s@%" PRId64, reasons[seen.lost_reason], seen.lost_ms);
    return text;
}

/* In whole seconds of wall time. */
static const char *range(void) {
    lease_time_range at;
    bool open = false;
    if (!lease_core_range(&core.range, now, now * 1000 + wall_add, &at, &open)) return "none";
    snprintf(text, sizeof text, "%" PRId64 "..%" PRId64 "%s", at.start_us / 1000000,
             at.end_us / 1000000, open ? ",open" : "");
    return text;
}

static const char *ask(const char *key) {
    const bool leads = core.valid_until_ms > now;
    const struct {
        const char *key;
        int64_t value;
    } numbers[] = {{"valid", leads ? core.valid_until_ms - begin_ms : -1},
                   {"transitions", core.seen.lease_transitions},
                   {"acquire", core.seen.acquire_time_us / 1000000},
                   {"acquired", seen.acquired_ms},
                   {"released", seen.released_ms},
                   {"stop_by", seen.stop_by_ms},
                   {"foreign", seen.foreign},
                   {"slow", seen.slow},
                   {"duplicates", seen.duplicates},
                   {"same_seconds", seen.same_seconds},
                   {"count", seen.count}};
    for (size_t i = 0; i < LEASE__COUNT(numbers); i++) {
        if (strcmp(numbers[i].key, key) == 0) return number(numbers[i].value);
    }
    if (strcmp(key, "leads") == 0) return leads ? "yes" : "no";
    if (strcmp(key, "holder") == 0) return name_of(core.seen.holder_identity);
    if (strcmp(key, "wrote") == 0) return name_of(written.holder_identity);
    if (strcmp(key, "told") == 0) return name_of(seen.told);
    if (strcmp(key, "lost") == 0) return loss();
    if (strcmp(key, "range") == 0) return range();
    if (strcmp(key, "init") == 0) return lease_status_name(init_status);
    return "(not a key)";
}

/* -- Rows -------------------------------------------------------------------------------------- */

static void take(const char *word) {
    const char *value = word + strcspn(word, ":@");
    const int64_t ms = value[0] != '\0' ? strtoll(value + 1, NULL, 10) : 0;
    if (word[0] != '=' && strchr(word, '=') != NULL) {
        reference_check(word, ask);
    } else if (strcmp(word, "release") == 0) {
        happen(LEASE_INPUT_RELEASE);
    } else if (strncmp(word, "wall:", 5) == 0) {
        wall_add += ms * 1000;
    } else if (strncmp(word, "sleep:", 6) == 0) {
        now += ms;
        happen(LEASE_INPUT_TICK);
    } else if (value[0] == '@') {
        const int limit = seen.count + 1000;
        while (await_request(begin_ms + ms) && CHECK(seen.count < limit)) answer(word);
        now = lease__max_i64(now, begin_ms + ms);
    } else if (!CHECK(await_request(now + PATIENCE_MS))) {
        return;
    } else if (strncmp(word, "late:", 5) == 0) {
        now += ms;
    } else if (strcmp(word, "ask") != 0) {
        answer(word);
    }
}

/* What a row is judged by begins here. */
static void forget(void) {
    memset(&seen, 0, sizeof seen);
    begin_ms = now;
    seen.acquired_ms = seen.released_ms = seen.lost_ms = seen.stop_by_ms = -1;
}

static void begin(const reference_row *row) {
    lease_core_desc desc;
    memset(&desc, 0, sizeof desc);
    memset(&out, 0, sizeof out);
    memset(&stored, 0, sizeof stored);
    memset(&written, 0, sizeof written);
    desc.identity = "baz";
    if (row->timing != NULL) {
        sscanf(row->timing, "%d/%d/%d", &desc.lease_duration_ms, &desc.renew_deadline_ms,
               &desc.retry_period_ms);
    }
    init_status = lease_core_init(&core, &desc, NULL);
    now = START_MS;
    wall_add = 0;
    next_version = 100;
    forget();
    reference_words(row->planted, take);
    forget();
}

static void run(const reference_row *row) {
    if (!reference_begin(row)) return;
    begin(row);
    seen.timed = row->reference != NULL && strchr(row->reference, '+') != NULL;
    reference_words(row->script, take);
    put_request();
    if (row->reference != NULL) {
        CHECK_STR(seen.requests, row->ours != NULL ? row->ours : row->reference);
    }
    reference_words(row->want, take);
}

#define L10 "10000/8000/2000"
#define L15_D2 "15000/2000/1000" /* of client-go's tests of its loops */

/* -- T: client-go's leaderelection_test.go ----------------------------------------------------- */

#define NOT_AT_ONCE                                                                                \
    "a renewal right behind the first write would change nothing that a follower who compares "    \
    "whole seconds can see"

static const reference_row t_rows[] = {
    {.id = "T1", .what = "acquire from no object", .timing = L10,
     .script = "404 ok", .reference = "GET POST",
     .want = "leads=yes holder=baz transitions=0 told=baz"},
    {.id = "T2", .what = "acquire from object without annotations", .timing = L10,
     .script = "=/0 ok", .reference = "GET PUT",
     .want = "leads=yes holder=baz transitions=1 told=baz"},
    {.id = "T3", .what = "acquire from led object with the lease duration seconds",
     .differs = "rule-2 F11", .timing = L10,
     .why = "the wait is for the longer of both durations, so that a rollout that shortens them "
            "stays safe, and ends in the write itself",
     .script = "=bing/3 same@9999 leads=no ok", .reference = "GET GET PUT", .ours = "GET*5 PUT",
     .want = "acquired=10000 transitions=1 told=bing>baz"},
    {.id = "T4", .what = "acquire from unled object", .timing = L10,
     .script = "=/10 ok", .reference = "GET PUT", .want = "leads=yes transitions=1 told=baz"},
    {.id = "T5", .what = "acquire from led, unacked object", .timing = L10,
     .differs = "rule-2 F11",
     .why = "a record without a duration is respected for our own, and no read is needed before a "
            "write that compares and swaps",
     .planted = "=bing/0 same@9999", .script = "ok", .reference = "GET PUT", .ours = "PUT",
     .want = "leads=yes transitions=1 told=baz"},
    {.id = "T6", .what = "acquire from empty led, acked object", .timing = L10,
     .planted = "=bing/10", .script = "=/10 ok", .reference = "GET PUT",
     .want = "leads=yes transitions=1 told=nobody>baz"},
    {.id = "T7", .what = "don't acquire from led, acked object", .timing = L10,
     .script = "=bing/0", .reference = "GET",
     .want = "leads=no holder=bing transitions=0 told=bing"},
    {.id = "T8", .what = "renew already acquired object, the cached one being no good",
     .timing = L10, .planted = "404 ok lost", .script = "same ok", .reference = "GET PUT",
     .want = "leads=yes holder=baz transitions=0 lost=never"},
    {.id = "T9", .what = "coordinated: don't acquire from led, acked object", .timing = L10,
     .script = "=bing/10/0/c", .reference = "GET", .want = "leads=no holder=bing told=bing"},
    {.id = "T10", .what = "coordinated: renew already acquired object", .timing = L10,
     .absent = "a Lease with spec.strategy is never written; whom the server elected is reported",
     .script = "=baz/10/0/c same@60000", .want = "leads=no holder=baz told=baz wrote=nobody"},
    {.id = "T11", .what = "spec and record, both ways",
     .shown_by = "unit/test_kube.c a_record_survives_the_round_trip"},
    {.id = "T12", .what = "release acquired lock, found under our name", .timing = L10,
     .differs = "F22 F4",
     .why = "what names us, but was not written by us, is another process's until it has expired; "
            "and a release reads nothing first",
     .script = "=baz/10 same@9999 ok release ok", .reference = "GET PUT GET PUT",
     .ours = "GET*5 PUT*2", .want = "released=10000 holder=nobody transitions=0 told=baz>nobody"},
    {.id = "T13", .what = "release calls Get", .timing = L10, .differs = "F4",
     .why = "a release goes over our own last write only, never over what it has just read",
     .planted = "404 ok", .script = "release ok", .reference = "GET PUT", .ours = "PUT",
     .want = "released=0 holder=nobody wrote=nobody"},
    {.id = "T14", .what = "release retries on conflict", .timing = "15000/5000/2000",
     .differs = "F4",
     .why = "the first try reads nothing; after the conflict the record must be shown to be ours",
     .planted = "404 ok", .script = "release 409 label ok", .reference = "GET PUTx GET PUT",
     .ours = "PUTx GET PUT", .want = "released=0 holder=nobody"},
    {.id = "T15", .what = "config validation", .timing = L15_D2, .want = "init=ok"},
    {.id = "T16", .what = "release on cancellation of update", .timing = L15_D2, .differs = "F9",
     .why = NOT_AT_ONCE, .script = "404 ok 409 label ok 409 label ask release 409 label ok",
     .reference = "GET POST PUTx GET PUT +1000 PUTx GET PUTx GET PUT",
     .ours = "GET POST +1000 PUTx GET PUT +1000 PUTx GET PUTx GET PUT",
     .want = "acquired=0 lost=released@2000 released=2000 holder=nobody"},
    {.id = "T17", .what = "release on cancellation of get", .timing = L15_D2, .differs = "F9 F21",
     .why = NOT_AT_ONCE "; and a release that could not be done is tried again at a pace",
     .script = "404 ok 409 label ok 409 label ok 409 release 500 500 wrote=baz label ok",
     .reference = "GET POST PUTx GET PUT +1000 PUTx GET PUT +1000 PUTx GETx GETx",
     .ours = "GET POST +1000 PUTx GET PUT +1000 PUTx GET PUT +1000 PUTx GETx*2 +1000 GET PUT",
     .want = "lost=released@3000 released=4000 holder=nobody"},
    {.id = "T18", .what = "fast path after acquire", .timing = L15_D2, .differs = "F9",
     .why = NOT_AT_ONCE, .script = "404 ok ok ok", .reference = "GET POST PUT +1000 PUT",
     .ours = "GET POST +1000 PUT +1000 PUT", .want = "leads=yes slow=0"},
    {.id = "T19", .what = "fall back to slow path", .timing = L15_D2, .differs = "F9",
     .why = NOT_AT_ONCE, .script = "404 ok ok 409 label ok ok",
     .reference = "GET POST PUT +1000 PUTx GET PUT +1000 PUT",
     .ours = "GET POST +1000 PUT +1000 PUTx GET PUT +1000 PUT", .want = "leads=yes slow=1"},
    {.id = "T20", .what = "check method race",
     .shown_by = "unit/test_public.c two_clients_and_many_threads"},
};

/* -- U: what upstream does not test ------------------------------------------------------------ */

static const reference_row u_rows[] = {
    {.id = "U1", .what = "the renew deadline ends leadership", .differs = "F2",
     .why = "one deadline that counts from the send: 10 s, not 12",
     .planted = "404 ok", .script = "down@60000", .want = "lost=expired@10000 leads=no"},
    {.id = "U2", .what = "the end of the work against the end of the lease", .differs = "F6",
     .why = "the end of the work has an instant of its own, before 15 s are over",
     .planted = "404 ok", .script = "hang@60000", .want = "lost=expired@10000 stop_by=10300"},
    {.id = "U3", .what = "another holder seen while leading", .differs = "F3",
     .why = "leadership ends in the step that sees it, not up to 10 s later",
     .planted = "404 ok", .script = "409 =bing/15", .reference = "PUTx GET",
     .want = "lost=taken@2000 stop_by=2000 holder=bing told=bing"},
    {.id = "U4", .what = "lease deleted while leading, and created anew", .differs = "F7",
     .why = "leadership goes on with its acquire time, but transitions begin anew with the object; "
            "the token is what grows",
     .planted = "=/0 ok", .script = "409 404 ok", .reference = "PUTx GET POST",
     .want = "leads=yes lost=never transitions=0 acquire=100"},
    {.id = "U5", .what = "lease deleted while leading, and another was faster", .differs = "F3 F12",
     .why = "the new holder is looked at at once, and ends it, not the renew deadline",
     .planted = "404 ok", .script = "409 404 exists =bing/15 same@12000",
     .reference = "PUTx GET POSTx +2000 GET +2000 GET +2000 GET +2000 GET",
     .ours = "PUTx GET POSTx GET +2000 GET +2000 GET +2000 GET +2000 GET +2000 GET",
     .want = "lost=taken@2000 stop_by=2000 holder=bing"},
    {.id = "U6", .what = "POST of a candidate: 409", .differs = "F17",
     .why = "a lost race is looked into at once", .script = "404 exists =bing/15",
     .reference = "GET POSTx +2000 GET", .ours = "GET POSTx GET", .want = "leads=no told=bing"},
    {.id = "U7", .what = "401", .differs = "F17",
     .why = "an error that lasts is retried slowly: 2, 4, 8, 16, 30 s",
     .script = "401@100000 404 ok", .want = "leads=yes acquired=118000 count=8"},
    {.id = "U8", .what = "403", .differs = "F17", .why = "as for 401",
     .script = "403@100000 404 ok", .want = "leads=yes acquired=118000 count=8"},
    {.id = "U9", .what = "422", .differs = "F17", .why = "as for 401",
     .script = "404 422@100000 ok", .want = "leads=yes acquired=118000 count=8"},
    {.id = "U10", .what = "429", .script = "429@10000 404 ok",
     .reference = "GETx +2000 GETx +2000 GETx +2000 GETx +2000 GETx +2000 GETx +2000 GET POST",
     .want = "leads=yes"},
    {.id = "U11", .what = "5xx", .script = "500@10000 404 ok",
     .reference = "GETx +2000 GETx +2000 GETx +2000 GETx +2000 GETx +2000 GETx +2000 GET POST",
     .want = "leads=yes"},
    {.id = "U12", .what = "hung request in acquire", .differs = "F16",
     .why = "every attempt has a time limit, here 2.5 s", .script = "hang 404 ok",
     .reference = "GETx", .ours = "GETx GET POST", .want = "acquired=4500"},
    {.id = "U13", .what = "delayed answer", .differs = "F1",
     .why = "leadership counts from the send", .script = "404 late:2400 ok valid=10000 down@60000",
     .want = "acquired=2400 lost=expired@10000"},
    {.id = "U14", .what = "release when the lease is no longer ours", .differs = "F4",
     .why = "there is nothing to give back then", .planted = "404 ok",
     .script = "release 409 =bing/15 same@9000", .reference = "GET PUT", .ours = "PUTx GET*5",
     .want = "released=0 holder=bing"},
    {.id = "U17", .what = "a lease duration below 1 s", .differs = "F10",
     .why = "refused, instead of a record that the server refuses for ever",
     .timing = "500/300/100", .want = "init=bad_lease_duration"},
    {.id = "U18", .what = "duration missing", .differs = "rule-2",
     .why = "the wait is then our own duration, whatever the grain of the clock",
     .script = "=bing/0 same@14999 ok", .want = "acquired=15000"},
    {.id = "U19", .what = "identity collision", .differs = "F22",
     .why = "a time that we did not write is another process's, and ends leadership at once",
     .planted = "404 ok", .script = "409 =baz/15", .reference = "PUTx GET PUT", .ours = "PUTx GET",
     .want = "lost=duplicate@2000 stop_by=2000 duplicates=1"},
    {.id = "U21", .what = "suspended process", .differs = "F8",
     .why = "the clock counts suspended time: it wakes up as no leader, and the work is overdue",
     .planted = "404 ok", .script = "sleep:3600000",
     .want = "leads=no lost=expired@3600000 stop_by=10300"},
    {.id = "U22", .what = "clock steps", .differs = "F8",
     .why = "wall time ahead of boot time: paused, perhaps; a renewal comes first",
     .planted = "404 ok", .script = "wall:-3600000 ok valid=12000 lost=never wall:7200000 sleep:1 "
                                    "leads=no ok",
     .want = "lost=clock_jump@2001 acquired=2001 valid=12001"},
    {.id = "U23", .what = "sub-second renewals", .differs = "F9",
     .why = "at most one a second, and the second of renewTime changes with each, whatever the "
            "wall clock does",
     .timing = "3000/2000/300", .planted = "404 ok",
     .script = "ok@10000 count=10 wall:-700 ok wall:-700 ok",
     .want = "same_seconds=0 lost=never"},
};

/* -- P: Google's pkg/lease --------------------------------------------------------------------- */

static const reference_row p_rows[] = {
    {.id = "P1", .what = "update ok: acquired at 100, renewed at 200, for 20 s",
     .timing = "20000/10000/2000", .script = "404 ok range=100..120 ok@100000",
     .want = "range=100..220"},
    {.id = "P2", .what = "update with error", .timing = "20000/10000/2000",
     .script = "=/0 500 same 500 same 409", .want = "range=none leads=no"},
};

/* -- F: the flaws ------------------------------------------------------------------------------ */

static const reference_row f_rows[] = {
    {.id = "F1", .what = "a renewal whose answer comes 9.5 s late, then nothing", .differs = "F1",
     .why = "sent at 2, so over at 12, and the work at 12.3; another may lead from 17 on",
     .planted = "404 ok", .script = "ask late:9500 ok leads=yes valid=12000 down@60000",
     .want = "lost=expired@12000 stop_by=12300"},
    {.id = "F2", .what = "15/14/11", .differs = "F2",
     .why = "the retry period does not add to the deadline: over at 14, not at 24.8",
     .timing = "15000/14000/11000", .planted = "404 ok", .script = "down@60000",
     .want = "init=ok lost=expired@14000 stop_by=14300"},
    {.id = "F3", .what = "another holder seen at 2 s", .differs = "F3",
     .why = "told in the same step, not 10 s and 6 reads later", .planted = "404 ok",
     .script = "ask leads=yes 409 leads=yes =bing/15 leads=no same@11999",
     .want = "lost=taken@2000 stop_by=2000 told=bing wrote=baz"},
    {.id = "F4a", .what = "another took over before the release's read is answered",
     .differs = "F4", .why = "what is read is another's, so the release is complete",
     .planted = "404 ok", .script = "ask lost+ release late:2000 =bing/15 same@20000",
     .want = "released=4000 holder=bing wrote=baz"},
    {.id = "F4b", .what = "another takes over between the release's read and its write",
     .differs = "F4", .why = "the conflict is followed by a read, and that by nothing",
     .planted = "404 ok", .script = "ask release lost+ same 409 =bing/15 same@10000",
     .reference = "PUTx GET PUTx GET PUT", .ours = "PUTx GET PUTx GET*4",
     .want = "released=3000 holder=bing"},
    {.id = "F5", .what = "release answered 0.8 s late", .differs = "F5",
     .why = "the work is told before the write leaves, not when it is answered",
     .planted = "404 ok", .script = "release leads=no lost=released@0 released=never late:800 ok",
     .want = "lost=released@0 stop_by=0 released=800"},
    {.id = "F6", .what = "stopping is a request, not a bound", .differs = "F6",
     .why = "LEASE_EVENT_LOST names the instant, and the tool kills by it",
     .shown_by = "e2e/tool_watchdog.sh"},
    {.id = "F7", .what = "no fencing", .differs = "F7",
     .why = "each term has a token that grows over all of them",
     .shown_by = "unit/test_core.c each_term_has_its_own_token"},
    {.id = "F8", .what = "the clock stops in suspend", .differs = "F8",
     .why = "the boot clock does not, and a jump of wall time tells of a pause that it missed",
     .shown_by = "unit/test_core.c a_wall_clock_jump_drops_validity"},
    {.id = "F9", .what = "1/0.9/0.3", .differs = "F9", .timing = "1000/900/300",
     .why = "refused: the work could not end before the lease", .want = "init=unsafe_timing"},
    {.id = "F10", .what = "1.9 s truncated to 1", .differs = "F10",
     .why = "whole seconds only", .timing = "1900/1000/200", .want = "init=bad_lease_duration"},
    {.id = "F11", .what = "23.8 s until a crashed leader is replaced", .differs = "F11",
     .why = "a timer to the very end of the wait: 15 s",
     .script = "=bing/15 same@14999 leads=no ok",
     .reference = "GET +2000 GET +2000 GET +2000 GET +2000 GET +2000 GET +2000 GET +2000 GET "
                  "+2000 GET PUT",
     .ours = "GET +2000 GET +2000 GET +2000 GET +2000 GET +2000 GET +2000 GET +2000 GET +1000 PUT",
     .want = "acquired=15000"},
    {.id = "F12", .what = "a deleted lease goes to the first who creates it", .differs = "F12",
     .why = "a leader whose time is over waits a full duration before it creates",
     .shown_by = "unit/test_core.c a_former_leader_waits_before_it_recreates"},
    {.id = "F16", .what = "no time limits of its own", .differs = "F16",
     .why = "a renewal that hangs leaves room for several more", .planted = "404 ok",
     .script = "hang+ same valid=12000 hang same ok", .want = "leads=yes lost=never"},
    {.id = "F17", .what = "all errors alike", .differs = "F17",
     .why = "each kind has its pace",
     .shown_by = "unit/test_core.c the_pace_of_a_writer_under_errors"},
    {.id = "F18", .what = "the whole spec replaced", .differs = "F18",
     .why = "what is not ours goes back byte for byte",
     .shown_by = "unit/test_kube.c foreign_members_survive_an_update"},
    {.id = "F19", .what = "reading one's own record makes it young", .differs = "F19",
     .why = "only a write that was stored counts", .planted = "404 ok",
     .script = "label|409@12000", .want = "lost=expired@10000 leads=no"},
    {.id = "F20", .what = "a write without an answer", .differs = "F20",
     .why = "its time tells it when it is read back, and validity counts from its send",
     .planted = "404 ok", .script = "late:1000 lost+ late:500 same",
     .want = "valid=12000 lost=never foreign=0"},
    {.id = "F21", .what = "a release that retries without a pause", .differs = "F21",
     .why = "two tries at once, then one in a second", .planted = "404 ok",
     .script = "release label|409@10000", .want = "count=23 released=never"},
    {.id = "F22", .what = "the same identity adopted at once", .differs = "F22",
     .why = "a full duration first, since it may be alive", .script = "=baz/15/3 same@14999 ok",
     .want = "acquired=15000 transitions=3 duplicates=0"},
    {.id = "F23", .what = "a failed POST overwrites the cached object", .differs = "F23",
     .why = "only an answer that shows a Lease is kept", .script = "404 500 =/0 ok",
     .reference = "GET POSTx GET PUT", .want = "leads=yes transitions=1"},
    {.id = "F24", .what = "failing open without bound", .differs = "F24",
     .why = "bounded on wish, and on silence only",
     .shown_by = "unit/test_core.c fail_open_has_a_bound"},
};

/* ---------------------------------------------------------------------------------------------- */

static void run_all(const reference_row *rows, size_t count) {
    for (size_t i = 0; i < count; i++) run(&rows[i]);
}

TEST(client_go_tests) { run_all(t_rows, LEASE__COUNT(t_rows)); }
TEST(client_go_untested) { run_all(u_rows, LEASE__COUNT(u_rows)); }
TEST(google_pkg_lease) { run_all(p_rows, LEASE__COUNT(p_rows)); }
TEST(flaws) { run_all(f_rows, LEASE__COUNT(f_rows)); }

TEST(each_row_is_accounted_for) { reference_end(REFERENCE_CORE_IDS); }
