/* >>metrics: Prometheus text and OpenMetrics, read back by a strict parser of our own. */
#define LEASE_IMPLEMENTATION
#include "lease.h"

#include "../test.h"

#include <ctype.h>

#define MAX_SAMPLES 8

static struct {
    lease__sample samples[MAX_SAMPLES];
    size_t count;
} world;

static bool next_sample(void *leases, const void **cursor, lease__sample *sample) {
    const lease__sample *last = (const lease__sample *)*cursor;
    const size_t at = last == NULL ? 0 : (size_t)(last - world.samples) + 1;
    (void)leases;
    if (at == world.count) return false;
    *cursor = &world.samples[at];
    *sample = world.samples[at];
    return true;
}

static lease__sample *add(const char *ns, const char *name, bool name_taken) {
    lease__sample *sample = &world.samples[world.count++];
    memset(sample, 0, sizeof *sample);
    sample->ns = ns;
    sample->name = name;
    sample->name_taken = name_taken;
    sample->now_ms = 100000;
    return sample;
}

static char text[65536];

static size_t write_metrics(lease_metrics_format format, const char *prefix, size_t capacity) {
    lease__metrics metrics;
    lease__buf buf = lease__buf_make(text, capacity);
    metrics.buf = &buf;
    metrics.format = format;
    metrics.prefix = prefix;
    metrics.leases = NULL;
    metrics.next = next_sample;
    lease__metrics_write(&metrics);
    return buf.length;
}

static bool has(const char *line) {
    const size_t length = strlen(line);
    const char *at = text;
    while (at != NULL) {
        if (strncmp(at, line, length) == 0 && at[length] == '\n') return true;
        at = strchr(at, '\n');
        if (at != NULL) at++;
    }
    return test__check(false, __FILE__, __LINE__, "no line \"%s\"", line);
}

/* -- The parser -------------------------------------------------------------------------------- */

typedef struct family {
    char name[96];
    char type[16];
} family;

static bool is_name(const char *name, size_t length) {
    for (size_t i = 0; i < length; i++) {
        const bool digit = name[i] >= '0' && name[i] <= '9';
        if (!isalnum((unsigned char)name[i]) && strchr("_:", name[i]) == NULL) return false;
        if (digit && i == 0) return false;
    }
    return length > 0;
}

/* {label="value",...}; returns what follows it, NULL when it is malformed. */
static const char *skip_labels(const char *at) {
    if (*at != '{') return at;
    do {
        const char *equals = strchr(++at, '=');
        if (equals == NULL || !is_name(at, (size_t)(equals - at)) || equals[1] != '"') return NULL;
        for (at = equals + 2; *at != '"' && *at != '\0'; at++) {
            if (*at == '\\' && *++at == '\0') return NULL;
        }
        if (*at++ != '"') return NULL;
    } while (*at == ',');
    return *at == '}' ? at + 1 : NULL;
}

static bool is_value(const char *at) {
    char *end = NULL;
    strtod(at, &end);
    return end != at && *end == '\0';
}

/* A sample belongs to the family that was announced last. */
static bool fits(const family *of, const char *name, size_t length, bool open_metrics) {
    const bool counter = strcmp(of->type, "counter") == 0;
    const size_t own = strlen(of->name);
    if (counter && open_metrics) {
        return length == own + 6 && memcmp(name, of->name, own) == 0 &&
               memcmp(name + own, "_total", 6) == 0;
    }
    if (counter && (own < 6 || strcmp(of->name + own - 6, "_total") != 0)) return false;
    return length == own && memcmp(name, of->name, own) == 0;
}

/* Every line in order: HELP, TYPE, samples of that family; no family and no series twice. */
static void check_text(bool open_metrics) {
    static char copy[sizeof text];
    static char series[256][256];
    static family families[64];
    size_t series_count = 0;
    size_t count = 0;
    bool ended = false;
    memcpy(copy, text, sizeof copy);
    CHECK(copy[strlen(copy) - 1] == '\n');
    for (char *line = strtok(copy, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        family *last = count > 0 ? &families[count - 1] : NULL;
        CHECK(!ended);
        if (strcmp(line, "# EOF") == 0) {
            ended = true;
        } else if (strncmp(line, "# HELP ", 7) == 0) {
            family *now = &families[count++];
            memset(now, 0, sizeof *now);
            CHECK(sscanf(line + 7, "%95s", now->name) == 1);
            CHECK(is_name(now->name, strlen(now->name)));
            CHECK(line[7 + strlen(now->name)] == ' ' && line[8 + strlen(now->name)] != '\0');
            for (size_t i = 0; i + 1 < count; i++) CHECK(strcmp(families[i].name, now->name) != 0);
        } else if (strncmp(line, "# TYPE ", 7) == 0) {
            char name[96] = "";
            CHECK(last != NULL && last->type[0] == '\0');
            CHECK(sscanf(line + 7, "%95s %15s", name, last->type) == 2);
            CHECK_STR(name, last->name);
            CHECK(strcmp(last->type, "gauge") == 0 || strcmp(last->type, "counter") == 0);
        } else {
            const size_t length = strcspn(line, "{ ");
            const char *rest = skip_labels(line + length);
            CHECK(last != NULL && last->type[0] != '\0' && fits(last, line, length, open_metrics));
            if (!CHECK(rest != NULL && *rest == ' ' && is_value(rest + 1))) return;
            const size_t key = (size_t)(rest - line);
            memcpy(series[series_count], line, key);
            series[series_count][key] = '\0';
            for (size_t i = 0; i < series_count; i++) {
                CHECK(strcmp(series[i], series[series_count]) != 0);
            }
            series_count++;
        }
    }
    CHECK_INT(ended, open_metrics);
    CHECK(series_count > 0);
}

/* -- The cases --------------------------------------------------------------------------------- */

static void fill(void) {
    world.count = 0;
    lease__sample *one = add("team-a", "nightly", false);
    one->view.is_leader = true;
    one->view.remaining_ms = 7654;
    one->view.token = UINT64_MAX;
    one->view.last_renewal_ms = 99001;
    one->view.acquisitions = 3;
    one->view.losses = 2;
    one->view.renewals = 1000;
    one->view.renewal_failures = 7;
    one->view.slow_path = 5;
    one->view.foreign_writes = 4;
    one->view.leader_changes = 9;
    lease__sample *two = add("team-b", "nightly", true);
    two->view.failing_open = true;
    add("team-b", "weekly", false);
}

TEST(text) {
    fill();
    write_metrics(LEASE_METRICS_TEXT, "lease", sizeof text);
    check_text(false);
    CHECK(has("# TYPE lease_is_held gauge"));
    CHECK(has("lease_is_held{key=\"team-a/nightly\"} 1"));
    CHECK(has("lease_is_held{key=\"team-b/nightly\"} 0"));
    CHECK(has("lease_failing_open{key=\"team-a/nightly\"} 0"));
    CHECK(has("lease_failing_open{key=\"team-b/nightly\"} 1"));
    CHECK(has("lease_valid_seconds{key=\"team-a/nightly\"} 7.654"));
    CHECK(has("lease_valid_seconds{key=\"team-b/weekly\"} 0.000"));
    CHECK(has("lease_last_renewal_age_seconds{key=\"team-a/nightly\"} 0.999"));
    CHECK(strstr(text, "lease_last_renewal_age_seconds{key=\"team-b") == NULL); /* never */
    CHECK(has("lease_fencing_token{key=\"team-a/nightly\"} 18446744073709551615"));
    CHECK(has("# TYPE lease_acquisitions_total counter"));
    CHECK(has("lease_acquisitions_total{key=\"team-a/nightly\"} 3"));
    CHECK(has("lease_losses_total{key=\"team-a/nightly\"} 2"));
    CHECK(has("lease_leader_changes_total{key=\"team-a/nightly\"} 9"));
    CHECK(has("lease_foreign_writes_total{key=\"team-a/nightly\"} 4"));
    CHECK(has("lease_renewals_total{key=\"team-a/nightly\",result=\"success\"} 1000"));
    CHECK(has("lease_renewals_total{key=\"team-a/nightly\",result=\"failure\"} 7"));
    CHECK(has("# TYPE leader_election_master_status gauge"));
    CHECK(has("leader_election_master_status{name=\"nightly\"} 1"));
    CHECK(has("leader_election_master_status{name=\"weekly\"} 0"));
    CHECK(has("# TYPE leader_election_slowpath_total counter"));
    CHECK(has("leader_election_slowpath_total{name=\"nightly\"} 5"));
    CHECK(has("lease_build_info{version=\"" LEASE_VERSION_STRING "\"} 1"));
}

TEST(open_metrics) {
    fill();
    write_metrics(LEASE_METRICS_OPENMETRICS, "lease", sizeof text);
    check_text(true);
    CHECK(has("# TYPE lease_acquisitions counter"));
    CHECK(has("lease_acquisitions_total{key=\"team-a/nightly\"} 3"));
    CHECK(has("# TYPE leader_election_slowpath counter"));
    CHECK(has("leader_election_slowpath_total{name=\"nightly\"} 5"));
    CHECK_STR(text + strlen(text) - 6, "# EOF\n");
}

/* The names of prometheus-engine's pkg/lease. */
TEST(the_prefix_gives_the_names_of_others) {
    fill();
    write_metrics(LEASE_METRICS_TEXT, "prometheus_engine_lease", sizeof text);
    check_text(false);
    CHECK(has("prometheus_engine_lease_is_held{key=\"team-a/nightly\"} 1"));
    CHECK(has("prometheus_engine_lease_failing_open{key=\"team-b/nightly\"} 1"));
    CHECK(has("leader_election_master_status{name=\"nightly\"} 1"));
}

TEST(without_leases) {
    world.count = 0;
    write_metrics(LEASE_METRICS_TEXT, "lease", sizeof text);
    check_text(false);
    write_metrics(LEASE_METRICS_OPENMETRICS, "lease", sizeof text);
    check_text(true);
}

TEST(a_clock_behind_the_renewal_gives_no_negative_age) {
    world.count = 0;
    add("a", "b", false)->view.last_renewal_ms = 100001;
    write_metrics(LEASE_METRICS_TEXT, "lease", sizeof text);
    CHECK(has("lease_last_renewal_age_seconds{key=\"a/b\"} 0.000"));
}

TEST(the_length_is_that_of_the_whole) {
    fill();
    const size_t whole = write_metrics(LEASE_METRICS_TEXT, "lease", sizeof text);
    static char want[sizeof text];
    CHECK_INT(strlen(text), whole);
    memcpy(want, text, whole + 1);
    for (size_t capacity = 0; capacity <= whole + 2; capacity += capacity < whole - 1 ? 97 : 1) {
        memset(text, '#', whole + 4);
        CHECK_INT(write_metrics(LEASE_METRICS_TEXT, "lease", capacity), whole);
        const size_t fit = capacity == 0 ? 0 : capacity - 1 < whole ? capacity - 1 : whole;
        CHECK(memcmp(text, want, fit) == 0);
        CHECK(capacity == 0 || text[fit] == '\0');
        CHECK(text[capacity] == '#' || capacity > whole);
    }
}
