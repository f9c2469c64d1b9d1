/* >>kube: requests and bodies as they leave, answers as they are read, refusals told apart. */
#define LEASE_IMPLEMENTATION
#include "lease.h"

#include "../test.h"

static lease__kube kube;
static lease__object object;
static lease_record record;
static lease_error error;
static lease_record written;

static void begin(void) {
    lease__object_free(&object);
    memset(&object, 0, sizeof object);
    memset(&kube, 0, sizeof kube);
    memset(&written, 0, sizeof written);
    memcpy(object.ns, "team-a", 7);
    memcpy(object.name, "nightly", 8);
    memcpy(kube.user_agent, "leader-election/1", 18);
    memcpy(kube.manager, "leader-election", 16);
    memcpy(kube.credentials.host_header, "10.96.0.1:443", 14);
    kube.object = &object;
    memcpy(written.holder_identity, "host_1", 7);
    written.acquire_time_us = INT64_C(1700000000123456);
    written.renew_time_us = INT64_C(1700000002000001);
    written.lease_duration_s = 15;
    written.lease_transitions = 3;
}

static void set_labels(const char *labels) {
    object.labels = (char *)calloc(1, strlen(labels) + 1);
    memcpy(object.labels, labels, strlen(labels));
}

static lease_status answer(lease_action action, int32_t code, const char *body) {
    lease__http *http = &kube.link.http;
    lease__http_init(http, kube.link.body);
    memset(&record, 0x55, sizeof record);
    memset(&error, 0, sizeof error);
    kube.object = &object;
    kube.action = action;
    http->code = code;
    http->complete = true;
    http->body_length = strlen(body);
    memcpy(http->body, body, http->body_length + 1);
    const lease_status status = lease__kube_answer(&kube, &record, &error);
    if (status != LEASE_OK) {
        CHECK_STATUS(error.status, status);
        CHECK_INT(error.stage, LEASE_STAGE_ANSWER);
        CHECK(error.message[0] != '\0');
    }
    return status;
}

static const char *request(lease_action action) {
    kube.action = action;
    kube.write = written;
    CHECK_STATUS(lease__kube_compose(&kube, &error), LEASE_OK);
    kube.link.out[kube.link.out_length] = '\0';
    return kube.link.out;
}

static const char *body_of(lease_action action) {
    const char *end = strstr(request(action), "\r\n\r\n");
    return end != NULL ? end + 4 : "";
}

#define OBJECT(metadata, spec, top)                                                                \
    "{\"kind\":\"Lease\",\"apiVersion\":\"coordination.k8s.io/v1\",\"metadata\":{\"name\":"        \
    "\"nightly\",\"namespace\":\"team-a\",\"uid\":\"u-1\",\"resourceVersion\":\"42\"" metadata     \
    "},\"spec\":{" spec "}" top "}"
#define SPEC                                                                                       \
    "\"holderIdentity\":\"host_1\",\"leaseDurationSeconds\":15,\"acquireTime\":"                   \
    "\"2023-11-14T22:13:20.123456Z\",\"renewTime\":\"2023-11-14T22:13:22.000001Z\","               \
    "\"leaseTransitions\":3"

/* -- Requests ---------------------------------------------------------------------------------- */

TEST(a_read) {
    begin();
    CHECK_STR(request(LEASE_ACTION_READ),
              "GET /apis/coordination.k8s.io/v1/namespaces/team-a/leases/nightly HTTP/1.1\r\n"
              "Host: 10.96.0.1:443\r\nUser-Agent: leader-election/1\r\n"
              "Accept: application/json\r\n\r\n");
}

TEST(a_create) {
    begin();
    CHECK_STR(request(LEASE_ACTION_CREATE),
              "POST /apis/coordination.k8s.io/v1/namespaces/team-a/leases HTTP/1.1\r\n"
              "Host: 10.96.0.1:443\r\nUser-Agent: leader-election/1\r\n"
              "Accept: application/json\r\nContent-Type: application/json\r\n"
              "Content-Length: 273\r\n\r\n"
              "{\"kind\":\"Lease\",\"apiVersion\":\"coordination.k8s.io/v1\",\"metadata\":{"
              "\"name\":\"nightly\",\"namespace\":\"team-a\"},\"spec\":{" SPEC "}}");
}

TEST(an_update) {
    begin();
    memcpy(written.uid, "u-1", 4);
    memcpy(written.resource_version, "42", 3);
    const char *text = request(LEASE_ACTION_UPDATE);
    CHECK(lease__starts_with(
        text, "PUT /apis/coordination.k8s.io/v1/namespaces/team-a/leases/nightly HTTP/1.1\r\n"));
    CHECK_STR(body_of(LEASE_ACTION_UPDATE), OBJECT("", SPEC, ""));
}

TEST(the_length_of_a_body_is_told_exactly) {
    begin();
    static const lease_action actions[] = {LEASE_ACTION_CREATE, LEASE_ACTION_UPDATE};
    for (size_t i = 0; i < LEASE__COUNT(actions); i++) {
        const char *text = request(actions[i]);
        const char *length = strstr(text, "Content-Length: ");
        CHECK_INT(strtol(length + 16, NULL, 10), strlen(strstr(text, "\r\n\r\n") + 4));
    }
}

TEST(the_prefix_of_the_server_stands_before_every_path) {
    begin();
    memcpy(kube.credentials.prefix, "/k8s/c", 7);
    CHECK(lease__starts_with(request(LEASE_ACTION_READ), "GET /k8s/c/apis/coordination.k8s.io/"));
    CHECK(lease__starts_with(request(LEASE_ACTION_CREATE), "POST /k8s/c/apis/coordination"));
}

TEST(the_token_goes_to_a_verified_peer_only) {
    for (int verified = 0; verified < 2; verified++) {
        for (int action = LEASE_ACTION_READ; action <= LEASE_ACTION_UPDATE; action++) {
            CASE("%s, action %d", verified ? "verified" : "not verified", action);
            begin();
            memcpy(kube.credentials.token, "s3cret", 7);
            kube.link.transport.verified_peer = verified != 0;
            const char *text = request((lease_action)action);
            CHECK_INT(strstr(text, "\r\nAuthorization: Bearer s3cret\r\n") != NULL, verified);
            CHECK_INT(strstr(text, "s3cret") != NULL, verified);
        }
    }
    CASE("no token");
    begin();
    kube.link.transport.verified_peer = true;
    CHECK(strstr(request(LEASE_ACTION_READ), "Authorization") == NULL);
}

TEST(a_request_has_a_limit) {
    static char kept[LEASE_MAX_REQUEST];
    begin();
    memset(kept, 'x', sizeof kept);
    object.kept = kept;
    object.kept_metadata = sizeof kept - 10;
    kube.action = LEASE_ACTION_UPDATE;
    kube.write = written;
    CHECK_STATUS(lease__kube_compose(&kube, &error), LEASE_TOO_LARGE);
    CHECK_STATUS(error.status, LEASE_TOO_LARGE);
    object.kept = NULL;
}

TEST(an_identity_cannot_leave_its_place) {
    begin();
    lease__copy(written.holder_identity, sizeof written.holder_identity,
                "a\",\"x\":\"b\\\xc3\xa9");
    CHECK(strstr(body_of(LEASE_ACTION_CREATE),
                 "\"holderIdentity\":\"a\\\",\\\"x\\\":\\\"b\\\\\xc3\xa9\",\"leaseDur") != NULL);
}

TEST(times_that_are_absent_are_left_out) {
    begin();
    written.renew_time_us = written.acquire_time_us = 0;
    written.holder_identity[0] = '\0';
    written.lease_transitions = 0;
    CHECK(strstr(body_of(LEASE_ACTION_CREATE),
                 "\"spec\":{\"holderIdentity\":\"\",\"leaseDurationSeconds\":15,"
                 "\"leaseTransitions\":0}}") != NULL);
}

/* -- What is not ours is kept byte for byte ---------------------------------------------------- */

/* Reads text, then returns the body of the update that follows it. */
static const char *update_after(const char *text) {
    CHECK_STATUS(answer(LEASE_ACTION_READ, 200, text), LEASE_OK);
    memcpy(written.uid, record.uid, sizeof written.uid);
    memcpy(written.resource_version, record.resource_version, sizeof written.resource_version);
    written.mine_only = record.mine_only;
    return body_of(LEASE_ACTION_UPDATE);
}

#define FOREIGN                                                                                    \
    ",\"creationTimestamp\":\"2023-11-14T22:13:20Z\",\"annotations\":{\"a\" : \"\\u0041\\/\", "    \
    "\"b\":\"{\\\"x\\\":[1]}\"},\"finalizers\":[\"example.com/f\" ],\"ownerReferences\":[{\"uid\"" \
    ":\"x\",\"name\":\"y\"}],\"deletionTimestamp\":null,\"generation\":-1.50e+3,\"future\":{\"a\"" \
    ":[[],{}]}"

#define MANAGED ",\"managedFields\":[{\"manager\":\"kubectl\",\"fieldsV1\":{}}]"

/* White space between members is not kept; that within a kept value is. */
TEST(foreign_members_survive_an_update) {
    begin();
    CHECK_STR(update_after(OBJECT(FOREIGN MANAGED, SPEC ",\"preferredHolder\":\"x\",\"new\":[ ]",
                                  ",\"status\":{\"a\":1},\"extra\":null")),
              OBJECT(",\"creationTimestamp\":\"2023-11-14T22:13:20Z\",\"annotations\":{\"a\" : "
                     "\"\\u0041\\/\", \"b\":\"{\\\"x\\\":[1]}\"},\"finalizers\":["
                     "\"example.com/f\" ],\"ownerReferences\":[{\"uid\":\"x\",\"name\":"
                     "\"y\"}],\"deletionTimestamp\":null,\"generation\":-1.50e+3,"
                     "\"future\":{\"a\":[[],{}]}",
                     SPEC ",\"preferredHolder\":\"x\",\"new\":[ ]",
                     ",\"status\":{\"a\":1},\"extra\":null"));
}

TEST(foreign_members_are_those_of_the_last_answer) {
    begin();
    update_after(OBJECT(FOREIGN MANAGED, SPEC, ""));
    CHECK_STR(update_after(OBJECT(MANAGED, SPEC, ",\"z\":1")), OBJECT("", SPEC, ",\"z\":1"));
    CHECK_STR(update_after(OBJECT(",\"a\":1" MANAGED, SPEC ",\"b\":2", "")),
              OBJECT(",\"a\":1", SPEC ",\"b\":2", ""));
}

TEST(an_answer_of_any_order_is_kept) {
    begin();
    CHECK_STR(update_after("{\"z\":0,\"spec\":{\"q\":1," SPEC ",\"r\":{\"spec\":2}},\"metadata\":{"
                           "\"managedFields\":[{\"manager\":\"x\"}],\"p\":1,\"uid\":\"u-1\","
                           "\"namespace\":\"team-a\",\"resourceVersion\":\"42\","
                           "\"name\":\"nightly\",\"s\":2},"
                           "\"apiVersion\":\"coordination.k8s.io/v1\",\"kind\":\"Lease\"}"),
              OBJECT(",\"p\":1,\"s\":2", SPEC ",\"q\":1,\"r\":{\"spec\":2}", ",\"z\":0"));
}

TEST(an_update_whose_answer_was_not_read_keeps_what_was_known) {
    begin();
    update_after(OBJECT(",\"a\":1" MANAGED, SPEC, ""));
    CHECK_STATUS(answer(LEASE_ACTION_UPDATE, 409, "{}"), LEASE_CONFLICT);
    CHECK_STR(body_of(LEASE_ACTION_UPDATE), OBJECT(",\"a\":1", SPEC, ""));
    CHECK_STATUS(answer(LEASE_ACTION_READ, 200, OBJECT(",\"b\":1", "\"holderIdentity\":5", "")),
                 LEASE_JSON);
    CHECK_STR(body_of(LEASE_ACTION_UPDATE), OBJECT(",\"a\":1", SPEC, ""));
}

TEST(a_large_foreign_part_is_kept) {
    static char text[LEASE_MAX_BODY + 1];
    begin();
    lease__buf buf = lease__buf_make(text, sizeof text);
    lease__put(&buf, "{\"kind\":\"Lease\",\"apiVersion\":\"coordination.k8s.io/v1\",\"metadata\":{"
                     "\"name\":\"nightly\",\"namespace\":\"team-a\",\"uid\":\"u-1\","
                     "\"resourceVersion\":\"42\",\"annotations\":{\"a\":\"");
    while (buf.length < LEASE_MAX_BODY - 100) lease__put(&buf, "0123456789");
    lease__put(&buf, "\"}},\"spec\":{}}");
    const char *body = update_after(text);
    CHECK(strlen(body) > LEASE_MAX_BODY - 200);
    CHECK(strstr(body, "\"annotations\":{\"a\":\"0123456789") != NULL);
}

/* -- managedFields ----------------------------------------------------------------------------- */

TEST(managed_fields_are_dropped_only_while_all_are_ours) {
    static const struct {
        const char *text;
        bool drop;
    } rows[] = {
        {"", true},
        {",\"managedFields\":null", true},
        {",\"managedFields\":[]", true},
        {",\"managedFields\":[{\"manager\":\"leader-election\",\"operation\":\"Update\"}]", true},
        {",\"managedFields\":[{\"manager\":\"leader-election\"},{\"manager\":\"leader-election\"}]",
         true},
        {",\"managedFields\":[{\"manager\":\"kubectl\"}]", false},
        {",\"managedFields\":[{\"manager\":\"leader-election\"},{\"manager\":\"kubectl\"}]", false},
        {",\"managedFields\":[{\"manager\":\"kubectl\"},{\"manager\":\"leader-election\"}]", false},
        {",\"managedFields\":[{\"manager\":\"leader-election2\"}]", false},
        {",\"managedFields\":[{\"manager\":\"leader\"}]", false},
        {",\"managedFields\":[{}]", false},
        {",\"managedFields\":[null]", false},
        {",\"managedFields\":[\"leader-election\"]", false},
    };
    for (size_t i = 0; i < LEASE__COUNT(rows); i++) {
        CASE("%s", rows[i].text);
        begin();
        char text[1024];
        snprintf(text, sizeof text,
                 "{\"kind\":\"Lease\",\"apiVersion\":\"coordination.k8s.io/v1\",\"metadata\":{"
                 "\"name\":\"nightly\",\"namespace\":\"team-a\",\"uid\":\"u-1\","
                 "\"resourceVersion\":\"42\"%s},\"spec\":{%s}}",
                 rows[i].text, SPEC);
        CHECK_STR(update_after(text), rows[i].drop ? OBJECT(",\"managedFields\":[]", SPEC, "")
                                                   : OBJECT("", SPEC, ""));
    }
}

/* -- Labels ------------------------------------------------------------------------------------ */

TEST(labels_on_creation) {
    begin();
    set_labels("app=x,example.com/tier=,b=y");
    CHECK(strstr(body_of(LEASE_ACTION_CREATE),
                 "\"namespace\":\"team-a\",\"labels\":{\"app\":\"x\",\"example.com/tier\":\"\","
                 "\"b\":\"y\"}},\"spec\"") != NULL);
}

static const struct {
    const char *ours; /* NULL = none */
    const char *theirs;
    const char *merged;
} label_rows[] = {
    {NULL, "", ""},
    {NULL, ",\"labels\":{\"a\" : \"1\"}", ",\"labels\":{\"a\" : \"1\"}"},
    {NULL, ",\"labels\":null", ",\"labels\":null"},
    {"x=1", "", ",\"labels\":{\"x\":\"1\"}"},
    {"x=1", ",\"labels\":{}", ",\"labels\":{\"x\":\"1\"}"},
    {"x=1", ",\"labels\":null", ",\"labels\":{\"x\":\"1\"}"},
    {"x=1", ",\"labels\":{\"a\":\"2\"}", ",\"labels\":{\"x\":\"1\",\"a\":\"2\"}"},
    {"x=1", ",\"labels\":{\"x\":\"old\",\"a\":\"2\"}", ",\"labels\":{\"x\":\"1\",\"a\":\"2\"}"},
    {"x=1", ",\"labels\":{\"\\u0078\":\"old\"}", ",\"labels\":{\"x\":\"1\"}"},
    {"x=1,y=2", ",\"labels\":{\"a\":\"b\",\"y\":\"old\",\"xx\":\"3\"}",
     ",\"labels\":{\"x\":\"1\",\"y\":\"2\",\"a\":\"b\",\"xx\":\"3\"}"},
};

TEST(labels_are_merged) {
    for (size_t i = 0; i < LEASE__COUNT(label_rows); i++) {
        char text[1024];
        char want[1024];
        CASE("%s + %s", label_rows[i].ours != NULL ? label_rows[i].ours : "(none)",
             label_rows[i].theirs);
        begin();
        if (label_rows[i].ours != NULL) set_labels(label_rows[i].ours);
        static const char *const form =
            "{\"kind\":\"Lease\",\"apiVersion\":\"coordination.k8s.io/v1\",\"metadata\":{"
            "\"name\":\"nightly\",\"namespace\":\"team-a\",\"uid\":\"u-1\","
            "\"resourceVersion\":\"42\"%s%s},\"spec\":{" SPEC "}}";
        snprintf(text, sizeof text, "%s", "");
        lease__buf buf = lease__buf_make(text, sizeof text);
        const char *hole = strstr(form, "%s%s");
        lease__put_bytes(&buf, form, (size_t)(hole - form));
        lease__put(&buf, label_rows[i].theirs);
        lease__put(&buf, MANAGED);
        lease__put(&buf, hole + 4);
        buf = lease__buf_make(want, sizeof want);
        lease__put_bytes(&buf, form, (size_t)(hole - form));
        lease__put(&buf, label_rows[i].merged);
        lease__put(&buf, hole + 4);
        CHECK_STR(update_after(text), want);
    }
}

/* -- Reading a Lease --------------------------------------------------------------------------- */

TEST(a_good_lease_is_read) {
    begin();
    CHECK_STATUS(answer(LEASE_ACTION_READ, 200, OBJECT("", SPEC, "")), LEASE_OK);
    CHECK_STR(record.uid, "u-1");
    CHECK_STR(record.resource_version, "42");
    CHECK_STR(record.holder_identity, "host_1");
    CHECK_INT(record.lease_duration_s, 15);
    CHECK_INT(record.acquire_time_us, INT64_C(1700000000123456));
    CHECK_INT(record.renew_time_us, INT64_C(1700000002000001));
    CHECK_INT(record.lease_transitions, 3);
    CHECK(!record.coordinated);
    CHECK(record.mine_only);
    CASE("as the answer to each action");
    CHECK_STATUS(answer(LEASE_ACTION_CREATE, 201, OBJECT("", SPEC, "")), LEASE_OK);
    CHECK_STATUS(answer(LEASE_ACTION_UPDATE, 200, OBJECT("", SPEC, "")), LEASE_OK);
}

/* The spec of an answer, and what it means. */
static const struct {
    const char *spec;
    const char *holder;
    int32_t duration;
    int32_t transitions;
    bool coordinated;
} good_specs[] = {
    {"", "", 0, 0, false},
    {"\"holderIdentity\":null", "", 0, 0, false},
    {"\"holderIdentity\":\"\"", "", 0, 0, false},
    {"\"holderIdentity\":\"a b\"", "a b", 0, 0, false},
    {"\"holderIdentity\":\"\\u00e9\\ud83d\\ude00\"", "\xc3\xa9\xf0\x9f\x98\x80", 0, 0, false},
    {"\"\\u0068olderIdentity\":\"x\"", "x", 0, 0, false},
    {"\"holderIdentity\":\"a\\nb\"", "a\nb", 0, 0, false},
    {"\"leaseDurationSeconds\":null", "", 0, 0, false},
    {"\"leaseDurationSeconds\":1", "", 1, 0, false},
    {"\"leaseDurationSeconds\":2147483647", "", INT32_MAX, 0, false},
    {"\"leaseTransitions\":2147483647", "", 0, INT32_MAX, false},
    {"\"leaseTransitions\":null", "", 0, 0, false},
    {"\"renewTime\":null,\"acquireTime\":null", "", 0, 0, false},
    {"\"renewTime\":\"yesterday\",\"acquireTime\":\"\"", "", 0, 0, false},
    {"\"renewTime\":5,\"acquireTime\":{}", "", 0, 0, false},
    {"\"strategy\":null", "", 0, 0, false},
    {"\"strategy\":\"\"", "", 0, 0, false},
    {"\"strategy\":\"OldestEmulationVersion\"", "", 0, 0, true},
    {"\"strategy\":\"x\"", "", 0, 0, true},
    {"\"strategy\":5", "", 0, 0, true},
    {"\"strategy\":{}", "", 0, 0, true},
    {"\"preferredHolder\":\"other\"", "", 0, 0, false},
};

TEST(good_specs_are_read) {
    for (size_t i = 0; i < LEASE__COUNT(good_specs); i++) {
        char text[1024];
        CASE("%s", good_specs[i].spec);
        begin();
        snprintf(text, sizeof text,
                 "{\"kind\":\"Lease\",\"apiVersion\":\"coordination.k8s.io/v1\",\"metadata\":{"
                 "\"name\":\"nightly\",\"namespace\":\"team-a\",\"uid\":\"u\","
                 "\"resourceVersion\":\"1\"},\"spec\":{%s}}",
                 good_specs[i].spec);
        CHECK_STATUS(answer(LEASE_ACTION_READ, 200, text), LEASE_OK);
        CHECK_STR(record.holder_identity, good_specs[i].holder);
        CHECK_INT(record.lease_duration_s, good_specs[i].duration);
        CHECK_INT(record.lease_transitions, good_specs[i].transitions);
        CHECK_INT(record.coordinated, good_specs[i].coordinated);
        CHECK_INT(record.renew_time_us, 0);
        CHECK_INT(record.acquire_time_us, 0);
    }
}

TEST(bad_specs_are_refused) {
    static const char *const specs[] = {
        "\"holderIdentity\":5", "\"holderIdentity\":true", "\"holderIdentity\":{}",
        "\"holderIdentity\":[\"a\"]", "\"leaseDurationSeconds\":0", "\"leaseDurationSeconds\":-1",
        "\"leaseDurationSeconds\":1e3", "\"leaseDurationSeconds\":15.0",
        "\"leaseDurationSeconds\":\"15\"", "\"leaseDurationSeconds\":2147483648",
        "\"leaseDurationSeconds\":1000000000000000000000000000000", "\"leaseDurationSeconds\":true",
        "\"leaseDurationSeconds\":{}", "\"leaseTransitions\":-1", "\"leaseTransitions\":\"1\"",
        "\"leaseTransitions\":1.5", "\"leaseTransitions\":2147483648",
        "\"holderIdentity\":\"a\",\"holderIdentity\":\"b\"",
        "\"holderIdentity\":\"a\",\"\\u0068olderIdentity\":\"a\"",
        "\"leaseDurationSeconds\":15,\"leaseDurationSeconds\":15",
        "\"renewTime\":1,\"renewTime\":1",
        "\"acquireTime\":null,\"acquireTime\":null", "\"strategy\":\"a\",\"strategy\":null",
        "\"leaseTransitions\":1,\"leaseTransitions\":2",
    };
    for (size_t i = 0; i < LEASE__COUNT(specs); i++) {
        char text[1024];
        CASE("%s", specs[i]);
        begin();
        snprintf(text, sizeof text,
                 "{\"kind\":\"Lease\",\"apiVersion\":\"coordination.k8s.io/v1\",\"metadata\":{"
                 "\"name\":\"nightly\",\"namespace\":\"team-a\",\"uid\":\"u\","
                 "\"resourceVersion\":\"1\"},\"spec\":{%s}}",
                 specs[i]);
        CHECK_STATUS(answer(LEASE_ACTION_READ, 200, text), LEASE_JSON);
    }
}

/* The whole object; the good parts are those of "a good Lease" above. */
#define KIND "\"kind\":\"Lease\",\"apiVersion\":\"coordination.k8s.io/v1\""
#define NAMES "\"name\":\"nightly\",\"namespace\":\"team-a\""
#define IDS "\"uid\":\"u\",\"resourceVersion\":\"1\""

static const struct {
    const char *text;
    lease_status want;
} bad_objects[] = {
    {"", LEASE_JSON},
    {"[]", LEASE_WRONG_OBJECT},
    {"null", LEASE_JSON},
    {"{}", LEASE_WRONG_OBJECT},
    {"<html>", LEASE_JSON},
    {"{" KIND "}", LEASE_WRONG_OBJECT},
    {"{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"status\":\"Success\"}", LEASE_WRONG_OBJECT},
    {"{\"kind\":\"LeaseList\",\"apiVersion\":\"coordination.k8s.io/v1\",\"items\":[]}",
     LEASE_WRONG_OBJECT},
    {"{\"kind\":\"lease\",\"apiVersion\":\"coordination.k8s.io/v1\",\"metadata\":{" NAMES "," IDS
     "}}", LEASE_WRONG_OBJECT},
    {"{\"kind\":5,\"apiVersion\":\"coordination.k8s.io/v1\",\"metadata\":{" NAMES "," IDS "}}",
     LEASE_WRONG_OBJECT},
    {"{\"kind\":\"Lease\",\"apiVersion\":\"coordination.k8s.io/v1beta1\",\"metadata\":{" NAMES
     "," IDS "}}", LEASE_WRONG_OBJECT},
    {"{" KIND ",\"metadata\":{\"name\":\"weekly\",\"namespace\":\"team-a\"," IDS "}}",
     LEASE_WRONG_OBJECT},
    {"{" KIND ",\"metadata\":{\"name\":\"nightly\",\"namespace\":\"team-b\"," IDS "}}",
     LEASE_WRONG_OBJECT},
    {"{" KIND ",\"metadata\":{\"name\":\"nightly \",\"namespace\":\"team-a\"," IDS "}}",
     LEASE_WRONG_OBJECT},
    {"{" KIND ",\"metadata\":{\"namespace\":\"team-a\"," IDS "}}", LEASE_WRONG_OBJECT},
    {"{" KIND ",\"metadata\":{\"name\":\"nightly\"," IDS "}}", LEASE_WRONG_OBJECT},
    {"{" KIND ",\"metadata\":[]}", LEASE_WRONG_OBJECT},
    {"{" KIND ",\"metadata\":null}", LEASE_WRONG_OBJECT},
    {"{" KIND ",\"metadata\":{" NAMES ",\"resourceVersion\":\"1\"}}", LEASE_JSON},
    {"{" KIND ",\"metadata\":{" NAMES ",\"uid\":\"\",\"resourceVersion\":\"1\"}}", LEASE_JSON},
    {"{" KIND ",\"metadata\":{" NAMES ",\"uid\":5,\"resourceVersion\":\"1\"}}", LEASE_JSON},
    {"{" KIND ",\"metadata\":{" NAMES ",\"uid\":\"u\"}}", LEASE_JSON},
    {"{" KIND ",\"metadata\":{" NAMES ",\"uid\":\"u\",\"resourceVersion\":\"\"}}", LEASE_JSON},
    {"{" KIND ",\"metadata\":{" NAMES ",\"uid\":\"u\",\"resourceVersion\":null}}", LEASE_JSON},
    {"{" KIND ",\"metadata\":{" NAMES ",\"uid\":\"u\",\"resourceVersion\":1}}", LEASE_JSON},
    {"{" KIND ",\"metadata\":{" NAMES "," IDS "},\"spec\":[]}", LEASE_JSON},
    {"{" KIND ",\"metadata\":{" NAMES "," IDS "},\"spec\":\"\"}", LEASE_JSON},
    {"{" KIND ",\"metadata\":{" NAMES "," IDS "},\"spec\":{},\"spec\":{}}", LEASE_JSON},
    {"{" KIND ",\"metadata\":{" NAMES "," IDS "},\"metadata\":{" NAMES "," IDS "}}", LEASE_JSON},
    {"{" KIND ",\"kind\":\"Lease\",\"metadata\":{" NAMES "," IDS "}}", LEASE_JSON},
    {"{" KIND ",\"metadata\":{" NAMES "," IDS ",\"uid\":\"v\"}}", LEASE_JSON},
    {"{" KIND ",\"metadata\":{" NAMES "," IDS ",\"resourceVersion\":\"2\"}}", LEASE_JSON},
    {"{" KIND ",\"metadata\":{" NAMES "," IDS ",\"labels\":{},\"labels\":{}}}", LEASE_JSON},
    {"{" KIND ",\"metadata\":{" NAMES "," IDS ",\"managedFields\":[],\"managedFields\":[]}}",
     LEASE_JSON},
    {"{" KIND ",\"metadata\":{" NAMES "," IDS "}}{}", LEASE_JSON},
    {"{" KIND ",\"metadata\":{" NAMES "," IDS "}", LEASE_JSON},
    {"{" KIND ",\"metadata\":{" NAMES "," IDS "},\"spec\":{\"holderIdentity\":\"\\u0000\"}}",
     LEASE_JSON},
    {"{" KIND ",\"metadata\":{" NAMES "," IDS "},\"spec\":{\"holderIdentity\":\"\xff\"}}",
     LEASE_JSON},
    {"{" KIND ",\"metadata\":{" NAMES "," IDS "},\"spec\":{\"holderIdentity\":\"\\ud800\"}}",
     LEASE_JSON},
    {"{" KIND ",\"metadata\":{" NAMES "," IDS "},\"x\":[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]}",
     LEASE_JSON},
};

TEST(bad_objects_are_refused) {
    for (size_t i = 0; i < LEASE__COUNT(bad_objects); i++) {
        CASE("%s", bad_objects[i].text);
        begin();
        CHECK_STATUS(answer(LEASE_ACTION_READ, 200, bad_objects[i].text), bad_objects[i].want);
    }
    CASE("no spec is an empty one");
    CHECK_STATUS(answer(LEASE_ACTION_READ, 200, "{" KIND ",\"metadata\":{" NAMES "," IDS "}}"),
                 LEASE_OK);
    CHECK_STATUS(answer(LEASE_ACTION_READ, 200,
                        "{" KIND ",\"metadata\":{" NAMES "," IDS "},\"spec\":null}"), LEASE_OK);
}

TEST(every_truncation_of_a_lease_is_refused) {
    const char *whole = OBJECT(FOREIGN MANAGED, SPEC, ",\"status\":{}");
    char text[2048];
    begin();
    for (size_t cut = 0; cut < strlen(whole); cut++) {
        memcpy(text, whole, cut);
        text[cut] = '\0';
        CASE("%zu bytes", cut);
        CHECK_STATUS(answer(LEASE_ACTION_READ, 200, text), LEASE_JSON);
    }
}

TEST(versions_are_opaque) {
    static const char *const versions[] = {"0", "007", "abc", "1000000000000000000000000000000",
    " 1"};
    for (size_t i = 0; i < LEASE__COUNT(versions); i++) {
        char text[512];
        CASE("%s", versions[i]);
        begin();
        snprintf(text, sizeof text,
                 "{" KIND ",\"metadata\":{" NAMES ",\"uid\":\"u\",\"resourceVersion\":\"%s\"}}",
                 versions[i]);
        CHECK_STATUS(answer(LEASE_ACTION_READ, 200, text), LEASE_OK);
        CHECK_STR(record.resource_version, versions[i]);
    }
}

TEST(long_versions_are_refused_not_cut) {
    for (int length = 62; length <= 65; length++) {
        char text[512];
        char version[80];
        CASE("%d", length);
        begin();
        memset(version, '1', sizeof version);
        version[length] = '\0';
        const lease_status want = length <= LEASE_MAX_VERSION ? LEASE_OK : LEASE_JSON;
        snprintf(text, sizeof text,
                 "{" KIND ",\"metadata\":{" NAMES ",\"uid\":\"u\",\"resourceVersion\":\"%s\"}}",
                 version);
        CHECK_STATUS(answer(LEASE_ACTION_READ, 200, text), want);
        snprintf(text, sizeof text,
                 "{" KIND ",\"metadata\":{" NAMES ",\"uid\":\"%s\",\"resourceVersion\":\"1\"}}",
                 version);
        CHECK_STATUS(answer(LEASE_ACTION_READ, 200, text), want);
    }
}

static const char *holder_read(const char *holder) {
    static char text[LEASE_MAX_BODY];
    lease__buf buf = lease__buf_make(text, sizeof text);
    lease__put(&buf, "{" KIND ",\"metadata\":{" NAMES "," IDS "},\"spec\":{\"holderIdentity\":");
    lease__put_quoted(&buf, holder);
    lease__put(&buf, "}}");
    CHECK_STATUS(answer(LEASE_ACTION_READ, 200, text), LEASE_OK);
    return record.holder_identity;
}

TEST(a_long_holder_is_cut_visibly) {
    char holder[40000];
    begin();
    for (size_t length = 250; length <= 300; length++) {
        memset(holder, 'h', sizeof holder);
        holder[length] = '\0';
        CASE("%zu bytes", length);
        const char *got = holder_read(holder);
        if (length <= LEASE_MAX_IDENTITY) {
            CHECK_STR(got, holder);
        } else {
            CHECK(strlen(got) > LEASE_MAX_IDENTITY); /* so it never equals ours */
            CHECK_STR(got + strlen(got) - 3, "...");
        }
    }
    CASE("tens of kilobytes");
    memset(holder, 'h', sizeof holder);
    holder[sizeof holder - 1] = '\0';
    CHECK_STR(holder_read(holder) + 252, "...");
}

TEST(a_cut_holder_is_utf8_and_never_ours) {
    static const char *const letters[] = {"\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80"};
    for (size_t i = 0; i < LEASE__COUNT(letters); i++) {
        for (size_t before = 240; before <= 256; before++) {
            char holder[400];
            begin();
            CASE("%zu bytes, then %zu of a letter", before, strlen(letters[i]));
            memset(holder, 'h', before);
            holder[before] = '\0';
            for (int n = 0; n < 10; n++) strcat(holder, letters[i]);
            const char *got = holder_read(holder);
            CHECK(lease__is_printable_utf8(got));
            CHECK(strlen(holder) <= LEASE_MAX_IDENTITY || strlen(got) > LEASE_MAX_IDENTITY);
        }
    }
}

/* -- Successes of the wrong kind --------------------------------------------------------------- */

TEST(successes_of_the_wrong_kind) {
    static const struct {
        lease_action action;
        int32_t code;
    } rows[] = {{LEASE_ACTION_READ, 201}, {LEASE_ACTION_READ, 204}, {LEASE_ACTION_READ, 206},
                {LEASE_ACTION_UPDATE, 201}, {LEASE_ACTION_UPDATE, 202}, {LEASE_ACTION_UPDATE, 204},
                {LEASE_ACTION_CREATE, 200}, {LEASE_ACTION_CREATE, 202}, {LEASE_ACTION_CREATE, 299}};
    for (size_t i = 0; i < LEASE__COUNT(rows); i++) {
        CASE("action %d, code %d", rows[i].action, rows[i].code);
        begin();
        CHECK_STATUS(answer(rows[i].action, rows[i].code, OBJECT("", SPEC, "")), LEASE_UNEXPECTED);
        if (rows[i].code == 201) CHECK(strstr(error.message, "201") != NULL);
        kube.link.touched = true;
        CHECK_INT(lease__kube_maybe_applied(&kube, LEASE_UNEXPECTED, true),
                  rows[i].action != LEASE_ACTION_READ);
    }
}

/* -- Refusals ---------------------------------------------------------------------------------- */

#define STATUS(reason, kind)                                                                       \
    "{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"metadata\":{},\"status\":\"Failure\","           \
    "\"message\":\"the server says why\",\"reason\":\"" reason "\",\"details\":{\"name\":\"x\","   \
    "\"kind\":\"" kind "\"},\"code\":0}"

static const struct {
    lease_action action;
    int32_t code;
    const char *body;
    lease_status want;
} refusals[] = {
    {LEASE_ACTION_READ, 400, STATUS("BadRequest", "leases"), LEASE_INVALID},
    {LEASE_ACTION_READ, 401, STATUS("Unauthorized", ""), LEASE_UNAUTHORIZED},
    {LEASE_ACTION_READ, 401, "Unauthorized", LEASE_UNAUTHORIZED},
    {LEASE_ACTION_READ, 402, "", LEASE_UNEXPECTED},
    {LEASE_ACTION_READ, 403, STATUS("Forbidden", "leases"), LEASE_FORBIDDEN},
    {LEASE_ACTION_READ, 404, STATUS("NotFound", "leases"), LEASE_NOT_FOUND},
    {LEASE_ACTION_UPDATE, 404, STATUS("NotFound", "leases"), LEASE_NOT_FOUND},
    {LEASE_ACTION_CREATE, 404, STATUS("NotFound", "namespaces"), LEASE_NO_NAMESPACE},
    {LEASE_ACTION_READ, 404, STATUS("NotFound", "namespaces"), LEASE_NO_NAMESPACE},
    {LEASE_ACTION_READ, 404, STATUS("NotFound", "pods"), LEASE_UNEXPECTED},
    {LEASE_ACTION_READ, 404, "404 page not found\n", LEASE_UNEXPECTED},
    {LEASE_ACTION_READ, 404, "{}", LEASE_UNEXPECTED},
    {LEASE_ACTION_READ, 404, "{\"details\":\"leases\"}", LEASE_UNEXPECTED},
    {LEASE_ACTION_READ, 405, STATUS("MethodNotAllowed", ""), LEASE_INVALID},
    {LEASE_ACTION_READ, 406, "", LEASE_UNEXPECTED},
    {LEASE_ACTION_CREATE, 409, STATUS("AlreadyExists", "leases"), LEASE_ALREADY_EXISTS},
    {LEASE_ACTION_UPDATE, 409, STATUS("Conflict", "leases"), LEASE_CONFLICT},
    {LEASE_ACTION_CREATE, 409, STATUS("Conflict", "leases"), LEASE_CONFLICT},
    {LEASE_ACTION_CREATE, 409, "", LEASE_ALREADY_EXISTS},
    {LEASE_ACTION_UPDATE, 409, "conflict", LEASE_CONFLICT},
    {LEASE_ACTION_READ, 410, STATUS("Gone", ""), LEASE_UNEXPECTED},
    {LEASE_ACTION_CREATE, 413, "", LEASE_INVALID},
    {LEASE_ACTION_CREATE, 415, "", LEASE_INVALID},
    {LEASE_ACTION_READ, 418, "", LEASE_UNEXPECTED},
    {LEASE_ACTION_CREATE, 422, STATUS("Invalid", "leases"), LEASE_INVALID},
    {LEASE_ACTION_READ, 429, STATUS("TooManyRequests", ""), LEASE_THROTTLED},
    {LEASE_ACTION_READ, 429, "Too many requests, please try again later.\n", LEASE_THROTTLED},
    {LEASE_ACTION_READ, 500, STATUS("InternalError", ""), LEASE_SERVER_ERROR},
    {LEASE_ACTION_READ, 502, "<html>Bad Gateway</html>", LEASE_SERVER_ERROR},
    {LEASE_ACTION_READ, 503, "Apiserver is shutting down.", LEASE_SERVER_ERROR},
    {LEASE_ACTION_UPDATE, 504, STATUS("Timeout", ""), LEASE_SERVER_ERROR},
    {LEASE_ACTION_READ, 599, OBJECT("", SPEC, ""), LEASE_SERVER_ERROR},
    {LEASE_ACTION_READ, 300, "", LEASE_REDIRECT},
    {LEASE_ACTION_READ, 301, "", LEASE_REDIRECT},
    {LEASE_ACTION_READ, 302, OBJECT("", SPEC, ""), LEASE_REDIRECT},
    {LEASE_ACTION_UPDATE, 304, "", LEASE_REDIRECT},
    {LEASE_ACTION_UPDATE, 307, "", LEASE_REDIRECT},
    {LEASE_ACTION_CREATE, 308, "", LEASE_REDIRECT},
};

TEST(refusals_are_told_apart) {
    for (size_t i = 0; i < LEASE__COUNT(refusals); i++) {
        const int32_t code = refusals[i].code;
        CASE("action %d, %d %s", refusals[i].action, code, refusals[i].body);
        begin();
        kube.link.touched = true;
        CHECK_STATUS(answer(refusals[i].action, code, refusals[i].body), refusals[i].want);
        CHECK_INT(error.http_status, code);
        char digits[8];
        snprintf(digits, sizeof digits, "%d", code);
        CHECK(strstr(error.message, digits) != NULL);
        CHECK(strstr(error.message, "team-a") != NULL);
        if (strstr(refusals[i].body, "says why") != NULL) {
            CHECK(strstr(error.message, "the server says why") != NULL);
        }
        CHECK_INT(lease__kube_maybe_applied(&kube, refusals[i].want, true),
                  refusals[i].action != LEASE_ACTION_READ && code >= 500);
    }
}

TEST(a_forbidden_verb_is_named) {
    static const struct {
        lease_action action;
        const char *verb;
    } rows[] = {{LEASE_ACTION_READ, "verb get on"}, {LEASE_ACTION_CREATE, "verb create on"},
                {LEASE_ACTION_UPDATE, "verb update on"}};
    for (size_t i = 0; i < LEASE__COUNT(rows); i++) {
        CASE("%s", rows[i].verb);
        begin();
        CHECK_STATUS(answer(rows[i].action, 403, STATUS("Forbidden", "leases")), LEASE_FORBIDDEN);
        CHECK(strstr(error.message, rows[i].verb) != NULL);
        CHECK(strstr(error.message, "leases.coordination.k8s.io in namespace team-a") != NULL);
    }
}

TEST(a_refusal_is_shown_without_control_characters) {
    begin();
    answer(LEASE_ACTION_READ, 500, "\x1b[2J\r\nevil\x07");
    CHECK(strstr(error.message, "?[2J??evil?") != NULL);
    answer(LEASE_ACTION_READ, 500, "{\"message\":\"\\u001b[2J\\nevil\"}");
    CHECK(strstr(error.message, "?[2J?evil") != NULL);
    for (const char *p = error.message; *p != '\0'; p++) CHECK((unsigned char)*p >= 0x20);
}

TEST(a_long_refusal_is_cut) {
    static char text[LEASE_MAX_BODY];
    begin();
    memset(text, 'x', sizeof text - 1);
    answer(LEASE_ACTION_READ, 500, text);
    CHECK(strlen(error.message) < sizeof error.message);
    CHECK_STR(error.message + strlen(error.message) - 4, "x...");
    memcpy(text, "{\"message\":\"", 12);
    memcpy(text + 2000, "\"}", 3);
    answer(LEASE_ACTION_READ, 500, text);
    CHECK(strlen(error.message) < sizeof error.message);
}

TEST(an_untouched_write_was_not_applied) {
    begin();
    kube.action = LEASE_ACTION_UPDATE;
    lease__http_init(&kube.link.http, kube.link.body);
    CHECK(!lease__kube_maybe_applied(&kube, LEASE_CONNECT, false));
    kube.link.touched = true;
    CHECK(lease__kube_maybe_applied(&kube, LEASE_CLOSED, false));
    CHECK(!lease__kube_maybe_applied(&kube, LEASE_OK, true));
    kube.action = LEASE_ACTION_READ;
    CHECK(!lease__kube_maybe_applied(&kube, LEASE_CLOSED, false));
    CASE("a refusal that was cut short may be that of a second copy");
    kube.action = LEASE_ACTION_UPDATE;
    kube.link.http.code = 409;
    CHECK(lease__kube_maybe_applied(&kube, LEASE_CLOSED, false));
    CHECK(!lease__kube_maybe_applied(&kube, LEASE_CONFLICT, true));
}

/* What we write, we read back as it was. */
TEST(a_record_survives_the_round_trip) {
    static const char *const holders[] = {"", "a", "host_1", "\"\\/", "\xc3\xa9\xf0\x9f\x98\x80",
    "a b"};
    for (size_t i = 0; i < LEASE__COUNT(holders); i++) {
        CASE("%s", holders[i]);
        begin();
        lease__copy(written.holder_identity, sizeof written.holder_identity, holders[i]);
        memcpy(written.uid, "u-1", 4);
        memcpy(written.resource_version, "42", 3);
        static char text[4096];
        snprintf(text, sizeof text, "%s", body_of(LEASE_ACTION_UPDATE));
        CHECK_STATUS(answer(LEASE_ACTION_READ, 200, text), LEASE_OK);
        written.mine_only = record.mine_only;
        CHECK_STR(record.holder_identity, written.holder_identity);
        CHECK_INT(record.renew_time_us, written.renew_time_us);
        CHECK_INT(record.acquire_time_us, written.acquire_time_us);
        CHECK_INT(record.lease_duration_s, written.lease_duration_s);
        CHECK_INT(record.lease_transitions, written.lease_transitions);
    }
    lease__object_free(&object);
}
