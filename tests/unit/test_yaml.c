/* >>yaml: a kubeconfig in YAML is the same as one in JSON, and what YAML can do beyond plain data
 * is refused by line. */
#define LEASE_YAML
#define LEASE_IMPLEMENTATION
#include "lease.h"

#include "files.h"

static char json[4096];
static const char *problem;
static size_t line;

static bool convert(const char *yaml, size_t length) {
    lease__buf out = lease__buf_make(json, sizeof json);
    return lease__yaml_to_json(yaml, length, &out, &problem, &line);
}

TEST(plain_data_becomes_json) {
    static const struct {
        const char *yaml;
        const char *want;
    } rows[] = {
        {"", ""},
        {"# nothing\n", ""},
        {"a: b", "{\"a\":\"b\"}"},
        {"a: b\nc: d\n", "{\"a\":\"b\",\"c\":\"d\"}"},
        {"---\na: b\n...\n", "{\"a\":\"b\"}"},
        {"a:\n  b: 1\n  c: [x, 'y', {z: 2}]\n",
         "{\"a\":{\"b\":\"1\",\"c\":[\"x\",\"y\",{\"z\":\"2\"}]}}"},
        {"a:\n- b\n- c: d\n  e: f\n", "{\"a\":[\"b\",{\"c\":\"d\",\"e\":\"f\"}]}"},
        {"a: []\nb: {}\n", "{\"a\":[],\"b\":{}}"},
        {"a:\nb: ~\nc: null\nd: ''\n", "{\"a\":null,\"b\":null,\"c\":null,\"d\":\"\"}"},
        {"a: true\nb: no\nc: On\nd: 'yes'\ne: \"false\"\n",
         "{\"a\":true,\"b\":false,\"c\":true,\"d\":\"yes\",\"e\":\"false\"}"},
        {"on: null\n? b\n: c\n", "{\"on\":null,\"b\":\"c\"}"},
        {"a: \"q\\\"\\\\ \\u00e9\\n\"\n", "{\"a\":\"q\\\"\\\\ \xc3\xa9\\u000a\"}"},
        {"a: |\n  one\n  two\nb: >-\n  one\n  two\n",
         "{\"a\":\"one\\u000atwo\\u000a\",\"b\":\"one two\"}"},
        {"- a\n- - b\n  - c\n- d", "[\"a\",[\"b\",\"c\"],\"d\"]"},
        {"just text", "\"just text\""},
    };
    for (size_t i = 0; i < LEASE__COUNT(rows); i++) {
        CASE("%s", rows[i].yaml);
        CHECK(convert(rows[i].yaml, strlen(rows[i].yaml)));
        CHECK_STR(json, rows[i].want);
        CHECK(problem == NULL);
    }
}

TEST(what_is_more_than_plain_data_is_refused) {
    static const struct {
        const char *yaml;
        const char *problem;
        size_t line;
    } rows[] = {
        {"a: b\nc: &x d\n", "an anchor", 2},
        {"a: &x [b]\n", "an anchor", 1},
        {"a: &x {b: c}\n", "an anchor", 1},
        {"a: *x\n", "an alias", 1},
        {"a: !!str b\n", "a tag", 1},
        {"a: !x [b]\n", "a tag", 1},
        {"\na: !x {b: c}\n", "a tag", 2},
        {"? [a]\n: b\n", "a key that is no scalar", 1},
        {"? {a: b}\n: c\n", "a key that is no scalar", 1},
        {"a: b\n---\nc: d\n", "a second document", 2},
        {"a: \"x\\0y\"\n", "a NUL character", 1},
        {"a: [[[[[[[[[[[[[[[[[b]]]]]]]]]]]]]]]]]\n", "too deep a nest", 1},
    };
    for (size_t i = 0; i < LEASE__COUNT(rows); i++) {
        CASE("%s", rows[i].yaml);
        CHECK(!convert(rows[i].yaml, strlen(rows[i].yaml)));
        CHECK_STR(problem, rows[i].problem);
        CHECK_INT(line, rows[i].line);
    }
    CASE("not YAML");
    CHECK(!convert("a: b\n c: [", 10));
    CHECK(problem != NULL && line == 2);
    CASE("no text at all");
    CHECK(!convert("\xff\xfe\xfd", 3));
    CHECK(problem != NULL);
    CASE("more than there is room for");
    char large[3 * sizeof json / 2];
    memset(large, 'x', sizeof large);
    CHECK(!convert(large, sizeof large));
    CHECK_STR(problem, "too much of it");
}

/* -- As a kubeconfig --------------------------------------------------------------------------- */

#define KUBECONFIG                                                                                 \
    "apiVersion: v1\n"                                                                             \
    "clusters:\n"                                                                                  \
    "- cluster:\n"                                                                                 \
    "    certificate-authority-data: aGVsbG8=\n"                                                   \
    "    insecure-skip-tls-verify: false\n"                                                        \
    "    server: https://h:6443\n"                                                                 \
    "    tls-server-name: \"api.example.com\"\n"                                                   \
    "  name: c\n"                                                                                  \
    "contexts:\n"                                                                                  \
    "- context: {cluster: c, user: u, namespace: team-b}\n"                                        \
    "  name: ctx\n"                                                                                \
    "current-context: ctx\n"                                                                       \
    "kind: Config\n"                                                                               \
    "preferences: {}\n"                                                                            \
    "users:\n"                                                                                     \
    "- name: u\n"                                                                                  \
    "  user:\n"                                                                                    \
    "    token: s3cret\n"

static lease__credentials creds;
static lease_error error;

static lease_status load(const char *text) {
    lease_client_desc desc;
    lease__boot now;
    now.ms = 1000;
    memset(&desc, 0, sizeof desc);
    memset(&error, 0, sizeof error);
    lease__trust_free(&creds.trust);
    memset(&creds, 0, sizeof creds);
    desc.kubeconfig = files_write("config", text);
    const lease_status status = lease__load_credentials(&creds, &desc, now, &error);
    CHECK(strstr(error.message, "s3cret") == NULL);
    return status;
}

TEST(a_kubeconfig_in_yaml) {
    files_begin();
    CHECK_STATUS(load(KUBECONFIG), LEASE_OK);
    CHECK_STR(creds.host, "h");
    CHECK_INT(creds.port, 6443);
    CHECK_STR(creds.trust.name, "api.example.com");
    CHECK(creds.trust.ca.data != NULL && memcmp(creds.trust.ca.data, "hello", 5) == 0);
    CHECK(!creds.trust.insecure);
    CHECK_STR(creds.ns, "team-b");
    CHECK_STR(creds.token, "s3cret");
    lease__trust_free(&creds.trust);
    files_end();
}

TEST(what_is_wrong_with_it_is_told_by_file_and_line) {
    static const struct {
        const char *text;
        const char *message;
    } rows[] = {
        {"users:\n- user: &a\n    token: s3cret\n", "config: line 2 is not plain YAML: an anchor"},
        {"users:\n- user:\n    token: 's3cret\n", "is not plain YAML: "},
        {"current-context: x\ncurrent-context: y\n", "config: no context y"},
        {"# empty\n", "config: is not valid JSON"},
        {"current-context: [x]\n", "config: current-context is not a name"},
    };
    files_begin();
    for (size_t i = 0; i < LEASE__COUNT(rows); i++) {
        CASE("%s", rows[i].text);
        CHECK_STATUS(load(rows[i].text), LEASE_BAD_KUBECONFIG);
        CHECK(strstr(error.message, rows[i].message) != NULL);
    }
    CASE("a key that stands twice, all else being well");
    CHECK_STATUS(load(KUBECONFIG "    token: s3cret2\n"), LEASE_BAD_KUBECONFIG);
    CHECK(strstr(error.message, "stands twice") != NULL);
    lease__trust_free(&creds.trust);
    files_end();
}

/* Whatever a broken editor leaves: a status, and never half of it. */
TEST(every_truncation_of_a_kubeconfig) {
    static const char whole[] = KUBECONFIG;
    char text[sizeof whole];
    int loaded = 0;
    files_begin();
    for (size_t length = 0; length < sizeof whole - 1; length++) {
        memcpy(text, whole, length);
        text[length] = '\0';
        CASE("%zu bytes", length);
        if (load(text) == LEASE_OK) loaded++;
    }
    /* Nothing behind "user:", nothing behind "token:", or a token without its end. */
    CHECK_INT(loaded, (int)(strlen(":\n    ") + strlen(": s3cret")));
    lease__trust_free(&creds.trust);
    files_end();
}
