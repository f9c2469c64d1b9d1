/* >>credentials: names, server URLs, tokens, the pod's service account and kubeconfigs; each bad
 * field refused before any traffic, by a message that names it and holds no secret. */
#define LEASE_IMPLEMENTATION
#include "lease.h"

#include "files.h"

static lease__credentials creds;
static lease_error error;
static lease_client_desc desc;

static void begin(void) {
    unsetenv("KUBERNETES_SERVICE_HOST");
    unsetenv("KUBERNETES_SERVICE_PORT");
    unsetenv("KUBECONFIG");
    unsetenv("HOME");
    lease__trust_free(&creds.trust);
    memset(&creds, 0, sizeof creds);
    memset(&desc, 0, sizeof desc);
}

static lease_status load(void) {
    lease__boot now;
    now.ms = 1000;
    lease__trust_free(&creds.trust);
    memset(&creds, 0, sizeof creds);
    memset(&error, 0, sizeof error);
    const lease_status status = lease__load_credentials(&creds, &desc, now, &error);
    CHECK_STATUS(error.status, status);
    if (status != LEASE_OK) {
        CHECK_INT(error.stage, LEASE_STAGE_CONFIG);
        CHECK(error.message[0] != '\0');
    }
    CHECK(strstr(error.message, "s3cret") == NULL);
    return status;
}

static void check_refused(lease_status want, const char *message) {
    CHECK_STATUS(load(), want);
    if (!test__check(strstr(error.message, message) != NULL, __FILE__, __LINE__,
                     "\"%s\" does not say \"%s\"", error.message, message)) {
        return;
    }
}

/* -- Names ------------------------------------------------------------------------------------- */

TEST(names) {
    static const struct {
        const char *text;
        bool label;
        bool subdomain;
    } rows[] = {
        {"a", true, true},       {"0", true, true},       {"a-b", true, true},
        {"a.b", false, true},    {"a--b", true, true},    {"a-0.b-1.c", false, true},
        {"", false, false},
        {"-a", false, false},    {"a-", false, false},    {".a", false, false},
        {"a.", false, false},
        {"a..b", false, false},  {"a.-b", false, false},  {"a-.b", false, false},
        {"A", false, false},     {"a_b", false, false},   {"a b", false, false},
        {"a/b", false, false},   {"..", false, false},    {"../x", false, false},
        {"%2e", false, false},   {"a?b", false, false},   {"a\n", false, false},
        {"a\xc3\xa9", false, false}, {"a#b", false, false},
    };
    char text[300];
    for (size_t i = 0; i < LEASE__COUNT(rows); i++) {
        CASE("\"%s\"", rows[i].text);
        CHECK_INT(lease__is_dns_name(rows[i].text, 63, false), rows[i].label);
        CHECK_INT(lease__is_dns_name(rows[i].text, 253, true), rows[i].subdomain);
    }
    CASE("lengths");
    memset(text, 'a', sizeof text);
    text[63] = '\0';
    CHECK(lease__is_dns_name(text, 63, false));
    text[63] = 'a';
    text[64] = '\0';
    CHECK(!lease__is_dns_name(text, 63, false));
}

TEST(labels) {
    static const struct {
        const char *text;
        bool good;
    } rows[] = {
        {"a=b", true}, {"a=", true}, {"a=b,c=d", true}, {"a.b_c-d=E.F_G-H", true},
        {"example.com/a=b", true}, {"a.b.c/d=e,f=g", true}, {"A=B", true}, {"0=0", true},
        {"a", false}, {"=b", false}, {"a=b,", false}, {",a=b", false}, {",", false},
        {"a=b,,c=d", false},
        {"a=b,c", false}, {"a==b", false}, {"a=b=c", false}, {"a b=c", false}, {"a=b c", false},
        {"-a=b", false}, {"a-=b", false}, {"a=-b", false}, {"a=b-", false}, {"_a=b", false},
        {"/a=b", false}, {"a/=b", false}, {"a/b/c=d", false}, {"A.b/c=d", false},
        {"a_b/c=d", false},
        {"a=\"b\"", false}, {"a\"=b", false}, {"a=b\\", false}, {"a=b\n", false}, {"a={}", false},
        {"a=b,a=c", false}, {"a=b,c=d,a=b", false}, {"\xc3\xa9=b", false}, {"a=\xc3\xa9", false},
    };
    char text[400];
    for (size_t i = 0; i < LEASE__COUNT(rows); i++) {
        CASE("\"%s\"", rows[i].text);
        CHECK_INT(lease__are_labels(rows[i].text), rows[i].good);
    }
    CASE("lengths");
    for (size_t length = 62; length <= 64; length++) {
        memset(text, 'a', sizeof text);
        snprintf(text + length, sizeof text - length, "=b");
        CHECK_INT(lease__are_labels(text), length <= 63);
        memset(text, 'a', sizeof text);
        text[1] = '=';
        text[2 + length] = '\0';
        CHECK_INT(lease__are_labels(text), length <= 63);
    }
    for (size_t length = 252; length <= 254; length++) {
        memset(text, 'a', sizeof text);
        snprintf(text + length, sizeof text - length, "/b=c");
        CHECK_INT(lease__are_labels(text), length <= 253);
    }
}

/* -- The server -------------------------------------------------------------------------------- */

static const struct {
    const char *url;
    const char *host;
    int port;
    const char *header;
    const char *prefix;
} servers[] = {
    {"https://10.96.0.1", "10.96.0.1", 443, "10.96.0.1:443", ""},
    {"https://10.96.0.1:6443", "10.96.0.1", 6443, "10.96.0.1:6443", ""},
    {"https://k8s.example.com/", "k8s.example.com", 443, "k8s.example.com:443", ""},
    {"https://Api.Example:1", "Api.Example", 1, "Api.Example:1", ""},
    {"https://h:65535", "h", 65535, "h:65535", ""},
    {"https://[::1]", "::1", 443, "[::1]:443", ""},
    {"https://[fd00::1]:6443/", "fd00::1", 6443, "[fd00::1]:6443", ""},
    {"https://h/k8s/clusters/c-1", "h", 443, "h:443", "/k8s/clusters/c-1"},
    {"https://h:8443/a/b//", "h", 8443, "h:8443", "/a/b"},
    {"https://h/a_b.c~d-e", "h", 443, "h:443", "/a_b.c~d-e"},
};

TEST(good_servers) {
    for (size_t i = 0; i < LEASE__COUNT(servers); i++) {
        CASE("%s", servers[i].url);
        begin();
        desc.server = servers[i].url;
        CHECK_STATUS(load(), LEASE_OK);
        CHECK_STR(creds.host, servers[i].host);
        CHECK_INT(creds.port, servers[i].port);
        CHECK_STR(creds.host_header, servers[i].header);
        CHECK_STR(creds.prefix, servers[i].prefix);
        CHECK_STR(creds.trust.name, servers[i].host);
        CHECK(!creds.trust.insecure);
        CHECK_STR(creds.token, "");
        CHECK_STR(creds.ns, "");
    }
}

TEST(bad_servers) {
    static const char *const urls[] = {
        "", "h", "h:443", "//h", "http://h", "http://h:443", "HTTP://h",
        "http://k8s.example.com:8080", "ftp://h", "https:/h",
        "https:h", "https:///", "https://", "https://:443", "https:///path", "https://h:",
        "https://h:0", "https://h:65536", "https://h:99999", "https://h:123456", "https://h:-1",
        "https://h:+1", "https://h:0443", "https://h:44x", "https://h: 443", "https://h:1:2",
        "https://user@h", "https://user:s3cret@h", "https://:s3cret@h", "https://h?x=1",
        "https://h#x", "https://h/?x", "https://h/a#b", "https://h/a%20b", "https://h/a b",
        "https://h/a\r\nX: y", "https://h/\xc3\xa9", "https://h h", "https://h\n", "https://h\r\n",
        "https://h_h", "https://h/a;b", "https://[::1", "https://::1", "https://[::1]x",
        "https://[::1]:", "https://[::1]:x", "https://[]", "https://[g::1]", "https://[::1%25lo]",
        "https://[name]", "https://[10.0.0.1]", "https://h,h", "https://*.example.com",
        "https://\xc3\xa9.example.com", " https://h", "https://h ",
    };
    for (size_t i = 0; i < LEASE__COUNT(urls); i++) {
        CASE("\"%s\"", urls[i]);
        begin();
        desc.server = urls[i];
        check_refused(LEASE_BAD_SERVER, "https://HOST[:PORT][/PATH]");
    }
}

TEST(long_servers) {
    char url[1200];
    for (size_t length = 252; length <= 255; length++) {
        CASE("a host of %zu", length);
        begin();
        memset(url, 'h', sizeof url);
        memcpy(url, "https://", 8);
        url[8 + length] = '\0';
        desc.server = url;
        CHECK_STATUS(load(), length <= LEASE_MAX_HOST ? LEASE_OK : LEASE_BAD_SERVER);
    }
    for (size_t length = 511; length <= 514; length++) {
        CASE("a path of %zu", length);
        begin();
        memset(url, 'p', sizeof url);
        memcpy(url, "https://h/", 10);
        url[9 + length] = '\0';
        desc.server = url;
        CHECK_STATUS(load(), length <= LEASE_MAX_PATH ? LEASE_OK : LEASE_BAD_SERVER);
    }
}

/* -- Token files ------------------------------------------------------------------------------- */

TEST(good_tokens) {
    static const struct {
        const char *text;
        const char *token;
    } rows[] = {{"abc", "abc"}, {"abc\n", "abc"}, {"abc\r\n", "abc"}, {"abc \t\r\n\n", "abc"},
                {"aA0-._~+/=", "aA0-._~+/="}, {"eyJhbGciOi.J9.x-_", "eyJhbGciOi.J9.x-_"}};
    files_begin();
    for (size_t i = 0; i < LEASE__COUNT(rows); i++) {
        CASE("%zu", i);
        begin();
        desc.server = "https://h";
        desc.token_file = files_write("token", rows[i].text);
        CHECK_STATUS(load(), LEASE_OK);
        CHECK_STR(creds.token, rows[i].token);
        CHECK_STR(creds.token_file, desc.token_file);
    }
    files_end();
}

TEST(bad_tokens) {
    static const struct {
        const char *text;
        size_t length;
    } rows[] = {{"", 0}, {"\n", 1}, {" \r\n", 3}, {"a b", 3}, {" a", 2}, {"a\nb", 3}, {"a\r\nX: y",
    7},
                {"a\tb", 3}, {"s3cret\0", 7}, {"\0", 1}, {"s3cret\x01", 7}, {"s3cret\xff", 7},
                {"s3cret\"", 7}, {"s3cret\xc3\xa9", 8}, {"Bearer s3cret", 13}, {"a,b", 3}, {"\x7f",
                1}};
    files_begin();
    for (size_t i = 0; i < LEASE__COUNT(rows); i++) {
        CASE("%zu", i);
        begin();
        desc.server = "https://h";
        desc.token_file = files_write_bytes("token", rows[i].text, rows[i].length);
        check_refused(LEASE_BAD_TOKEN, desc.token_file);
        CHECK_STR(creds.token, "");
    }
    CASE("absent");
    begin();
    desc.server = "https://h";
    desc.token_file = files_path("absent");
    check_refused(LEASE_BAD_TOKEN, "No such file");
    CASE("a directory");
    desc.token_file = files_directory;
    check_refused(LEASE_BAD_TOKEN, "not a regular file");
    CASE("a FIFO");
    desc.token_file = files_path("fifo");
    CHECK_INT(mkfifo(desc.token_file, 0600), 0);
    check_refused(LEASE_BAD_TOKEN, "not a regular file");
    CASE("an empty path");
    desc.token_file = "";
    CHECK(load() != LEASE_OK || creds.token[0] == '\0');
    files_end();
}

TEST(long_tokens) {
    static char text[2 * LEASE_MAX_TOKEN];
    files_begin();
    for (size_t length = LEASE_MAX_TOKEN - 1; length <= LEASE_MAX_TOKEN + 1; length++) {
        CASE("%zu bytes", length);
        begin();
        memset(text, 't', sizeof text);
        text[length] = '\n';
        desc.server = "https://h";
        desc.token_file = files_write_bytes("token", text, length + 1);
        CHECK_STATUS(load(), length <= LEASE_MAX_TOKEN ? LEASE_OK : LEASE_BAD_TOKEN);
        CHECK_INT(strlen(creds.token), length <= LEASE_MAX_TOKEN ? length : 0);
    }
    CASE("1 MiB");
    char *large = (char *)calloc(1, 1 << 20);
    memset(large, 't', 1 << 20);
    desc.token_file = files_write_bytes("token", large, 1 << 20);
    check_refused(LEASE_BAD_TOKEN, "too large");
    free(large);
    files_end();
}

TEST(long_paths) {
    char path[LEASE_MAX_PATH + 8];
    memset(path, 'x', sizeof path);
    path[0] = '/';
    path[LEASE_MAX_PATH + 1] = '\0';
    const char **const fields[] = {&desc.token_file, &desc.ca_file, &desc.client_cert_file,
                                   &desc.client_key_file, &desc.service_account_dir};
    for (size_t i = 0; i < LEASE__COUNT(fields); i++) {
        CASE("field %zu", i);
        begin();
        desc.server = "https://h";
        *fields[i] = path;
        check_refused(LEASE_BAD_ARGUMENT, "a path is too long");
    }
}

TEST(a_token_file_is_read_again) {
    lease__boot now;
    bool changed = true;
    files_begin();
    begin();
    desc.server = "https://h";
    desc.token_file = files_write("token", "one\n");
    CHECK_STATUS(load(), LEASE_OK);
    now.ms = 1000 + 49999;
    CHECK(!lease__token_is_old(&creds, now));
    now.ms = 1000 + 50000;
    CHECK(lease__token_is_old(&creds, now));
    CHECK_STATUS(lease__token_read(&creds, now, &changed, NULL), LEASE_OK);
    CHECK(!changed);
    CHECK(!lease__token_is_old(&creds, now));
    files_write("token", "two\n");
    CHECK_STATUS(lease__token_read(&creds, now, &changed, NULL), LEASE_OK);
    CHECK(changed);
    CHECK_STR(creds.token, "two");
    CASE("a bad file leaves the token as it was");
    static const char *const bad[] = {"", "\n", "a b", "x\x01"};
    for (size_t i = 0; i < LEASE__COUNT(bad); i++) {
        files_write("token", bad[i]);
        CHECK_STATUS(lease__token_read(&creds, now, &changed, &error), LEASE_BAD_TOKEN);
        CHECK(!changed);
        CHECK_STR(creds.token, "two");
    }
    unlink(desc.token_file);
    CHECK_STATUS(lease__token_read(&creds, now, &changed, &error), LEASE_BAD_TOKEN);
    CHECK_STR(creds.token, "two");
    CASE("kubelet swaps a symbolic link");
    files_write("..data/token", "three\n");
    CHECK_INT(symlink("..data/token", desc.token_file), 0);
    CHECK_STATUS(lease__token_read(&creds, now, &changed, NULL), LEASE_OK);
    CHECK(changed);
    CHECK_STR(creds.token, "three");
    files_end();
}

/* -- In a pod ---------------------------------------------------------------------------------- */

static void pod(const char *host, const char *port) {
    begin();
    if (host != NULL) setenv("KUBERNETES_SERVICE_HOST", host, 1);
    if (port != NULL) setenv("KUBERNETES_SERVICE_PORT", port, 1);
    desc.service_account_dir = files_directory;
}

TEST(in_a_pod) {
    files_begin();
    files_write("token", "pod-token\n");
    files_write("ca.crt", "x");
    files_write("namespace", "team-a\n");
    CASE("IPv4");
    pod("10.96.0.1", "443");
    CHECK_STATUS(load(), LEASE_OK);
    CHECK_STR(creds.host, "10.96.0.1");
    CHECK_INT(creds.port, 443);
    CHECK_STR(creds.token, "pod-token");
    CHECK_STR(creds.ns, "team-a");
    CHECK_STR(creds.trust.ca.file, files_path("ca.crt"));
    CASE("IPv6");
    pod("fd00::1", "6443");
    CHECK_STATUS(load(), LEASE_OK);
    CHECK_STR(creds.host_header, "[fd00::1]:6443");
    CHECK_STR(creds.trust.name, "fd00::1");
    CASE("the token file of the desc wins");
    pod("10.96.0.1", "443");
    desc.token_file = files_write("other", "other-token");
    CHECK_STATUS(load(), LEASE_OK);
    CHECK_STR(creds.token, "other-token");
    CASE("the server of the desc wins, with the account's files");
    pod("10.96.0.1", "443");
    desc.server = "https://elsewhere:1";
    CHECK_STATUS(load(), LEASE_OK);
    CHECK_STR(creds.host, "elsewhere");
    CHECK_STR(creds.token, "pod-token");
    CASE("a kubeconfig of the desc wins");
    pod("10.96.0.1", "443");
    desc.kubeconfig = files_path("absent");
    check_refused(LEASE_BAD_KUBECONFIG, "absent");
    files_end();
}

TEST(a_namespace_file_that_is_no_namespace_names_none) {
    static const char *const bad[] = {"", "A", "a.b", "../x", "a\nb", "a b", "-a"};
    files_begin();
    files_write("token", "t");
    for (size_t i = 0; i < LEASE__COUNT(bad); i++) {
        CASE("\"%s\"", bad[i]);
        files_write("namespace", bad[i]);
        pod("10.96.0.1", "443");
        CHECK_STATUS(load(), LEASE_OK);
        CHECK_STR(creds.ns, "");
    }
    CASE("absent");
    unlink(files_path("namespace"));
    CHECK_STATUS(load(), LEASE_OK);
    CHECK_STR(creds.ns, "");
    files_end();
}

TEST(a_pod_with_a_bad_environment) {
    static const struct {
        const char *host;
        const char *port;
        lease_status want;
    } rows[] = {
        {NULL, NULL, LEASE_NO_CREDENTIALS}, {"", "", LEASE_NO_CREDENTIALS},
        {NULL, "443", LEASE_NO_CREDENTIALS}, {"10.0.0.1", NULL, LEASE_NO_CREDENTIALS},
        {"10.0.0.1", "", LEASE_NO_CREDENTIALS}, {"10.0.0.1", "0", LEASE_BAD_SERVER},
        {"10.0.0.1", "x", LEASE_BAD_SERVER}, {"10.0.0.1", "tcp://10.0.0.1:443", LEASE_BAD_SERVER},
        {"10.0.0.1", "443/x", LEASE_BAD_SERVER}, {"10.0.0.1", "443?x", LEASE_BAD_SERVER},
        {"10.0.0.1", "70000", LEASE_BAD_SERVER}, {"10.0.0.1:443", "443", LEASE_BAD_SERVER},
        {"https://10.0.0.1", "443", LEASE_BAD_SERVER}, {"10.0.0.1/", "443", LEASE_BAD_SERVER},
        {"a b", "443", LEASE_BAD_SERVER}, {"a@b", "443", LEASE_BAD_SERVER},
        {"[::1]", "443", LEASE_BAD_SERVER}, {"a\r\nb", "443", LEASE_BAD_SERVER},
    };
    files_begin();
    files_write("token", "t");
    for (size_t i = 0; i < LEASE__COUNT(rows); i++) {
        CASE("host \"%s\", port \"%s\"", rows[i].host != NULL ? rows[i].host : "(unset)",
             rows[i].port != NULL ? rows[i].port : "(unset)");
        pod(rows[i].host, rows[i].port);
        CHECK_STATUS(load(), rows[i].want);
    }
    CASE("no token file");
    unlink(files_path("token"));
    pod("10.0.0.1", "443");
    check_refused(LEASE_BAD_TOKEN, "/token");
    files_end();
}

/* -- Kubeconfig -------------------------------------------------------------------------------- */

/* A whole kubeconfig from its three parts. */
static void kubeconfig(const char *context, const char *cluster, const char *user) {
    char text[4096];
    snprintf(text, sizeof text,
             "{\"kind\":\"Config\",\"apiVersion\":\"v1\",\"preferences\":{},"
             "\"current-context\":\"ctx\","
             "\"contexts\":[{\"name\":\"other\",\"context\":{\"cluster\":\"x\",\"user\":\"y\"}},"
             "{\"name\":\"ctx\",\"context\":%s}],"
             "\"clusters\":[{\"name\":\"c\",\"cluster\":%s}],"
             "\"users\":[{\"name\":\"u\",\"user\":%s}]}\n",
             context, cluster, user);
    begin();
    desc.kubeconfig = files_write("config", text);
}

#define CONTEXT "{\"cluster\":\"c\",\"user\":\"u\",\"namespace\":\"team-b\"}"
#define CLUSTER "{\"server\":\"https://h:6443\",\"certificate-authority-data\":\"aGVsbG8=\"}"
#define USER "{\"token\":\"s3cret\"}"

TEST(a_kubeconfig_with_inline_data) {
    files_begin();
    kubeconfig(CONTEXT, CLUSTER,
               "{\"token\":\"s3cret\",\"client-certificate-data\":\"Y2VydA==\","
               "\"client-key-data\":\"a2V5\",\"exec\":null}");
    CHECK_STATUS(load(), LEASE_OK);
    CHECK_STR(creds.host_header, "h:6443");
    CHECK_STR(creds.ns, "team-b");
    CHECK_STR(creds.token, "s3cret");
    CHECK_STR(creds.trust.ca.data, "hello");
    CHECK_INT(creds.trust.ca.length, 5);
    CHECK_STR(creds.trust.ca.file, "");
    CHECK_STR(creds.trust.cert.data, "cert");
    CHECK_STR(creds.trust.key.data, "key");
    files_end();
}

TEST(a_kubeconfig_with_files) {
    char want[256];
    files_begin();
    files_write("certs/token", "file-token\n");
    kubeconfig("{\"cluster\":\"c\",\"user\":\"u\"}",
               "{\"server\":\"https://10.0.0.1\",\"certificate-authority\":\"certs/ca.crt\"}",
               "{\"tokenFile\":\"certs/token\",\"token\":\"s3cret\",\"client-certificate\":"
               "\"certs/a.crt\",\"client-key\":\"/abs/a.key\"}");
    CHECK_STATUS(load(), LEASE_OK);
    CHECK_STR(creds.token, "file-token"); /* as client-go: the file wins */
    CHECK_STR(creds.ns, "default");
    snprintf(want, sizeof want, "%s/certs/ca.crt", files_directory);
    CHECK_STR(creds.trust.ca.file, want); /* relative to the kubeconfig */
    snprintf(want, sizeof want, "%s/certs/a.crt", files_directory);
    CHECK_STR(creds.trust.cert.file, want);
    CHECK_STR(creds.trust.key.file, "/abs/a.key");
    files_end();
}

TEST(fields_of_the_desc_win_over_the_kubeconfig) {
    files_begin();
    kubeconfig(CONTEXT, CLUSTER, USER);
    desc.ca_file = "/other/ca.crt";
    desc.token_file = files_write("t", "from-file");
    CHECK_STATUS(load(), LEASE_OK);
    CHECK_STR(creds.trust.ca.file, "/other/ca.crt");
    CHECK(creds.trust.ca.data == NULL); /* no substitute for a file that is broken */
    CHECK_STR(creds.token, "from-file");
    CASE("another context");
    kubeconfig(CONTEXT, CLUSTER, USER);
    desc.context = "other";
    check_refused(LEASE_BAD_KUBECONFIG, "no cluster x");
    CASE("no such context");
    desc.context = "absent";
    check_refused(LEASE_BAD_KUBECONFIG, "no context absent");
    files_end();
}

TEST(a_kubeconfig_with_a_server_name) {
    files_begin();
    kubeconfig(CONTEXT, "{\"server\":\"https://10.0.0.1\",\"tls-server-name\":\"api.example.com\"}",
               USER);
    CHECK_STATUS(load(), LEASE_OK);
    CHECK_STR(creds.host, "10.0.0.1");
    CHECK_STR(creds.trust.name, "api.example.com");
    CHECK_STR(creds.host_header, "10.0.0.1:443");
    CHECK(!creds.trust.insecure);
    files_end();
}

TEST(skipping_verification_is_spelled_out) {
    files_begin();
    static const struct {
        const char *value;
        bool insecure;
    } rows[] = {{"true", true}, {"false", false}, {"null", false}, {"\"true\"", false},
    {"1", false}};
    for (size_t i = 0; i < LEASE__COUNT(rows); i++) {
        char cluster[128];
        CASE("%s", rows[i].value);
        snprintf(cluster, sizeof cluster,
                 "{\"server\":\"https://h\",\"insecure-skip-tls-verify\":%s}", rows[i].value);
        kubeconfig(CONTEXT, cluster, USER);
        CHECK_STATUS(load(), LEASE_OK);
        CHECK_INT(creds.trust.insecure, rows[i].insecure);
    }
    CASE("by the desc");
    kubeconfig(CONTEXT, CLUSTER, USER);
    desc.insecure_skip_verify = true;
    CHECK_STATUS(load(), LEASE_OK);
    CHECK(creds.trust.insecure);
    files_end();
}

/* One bad part each; NULL = the good one. */
static const struct {
    const char *context;
    const char *cluster;
    const char *user;
    lease_status want;
    const char *message;
} bad_parts[] = {
    {"{}", NULL, NULL, LEASE_BAD_KUBECONFIG, "no cluster"},
    {"{\"cluster\":\"c\"}", NULL, NULL, LEASE_BAD_KUBECONFIG, "no user"},
    {"{\"cluster\":\"d\",\"user\":\"u\"}", NULL, NULL, LEASE_BAD_KUBECONFIG, "no cluster d"},
    {"{\"cluster\":\"c\",\"user\":\"v\"}", NULL, NULL, LEASE_BAD_KUBECONFIG, "no user v"},
    {"{\"cluster\":1,\"user\":\"u\"}", NULL, NULL, LEASE_BAD_KUBECONFIG, "context.cluster"},
    {"{\"cluster\":\"c\",\"user\":{}}", NULL, NULL, LEASE_BAD_KUBECONFIG, "context.user"},
    {"{\"cluster\":\"c\",\"user\":\"u\",\"namespace\":7}", NULL, NULL, LEASE_BAD_KUBECONFIG,
     "context.namespace"},
    {"null", NULL, NULL, LEASE_BAD_KUBECONFIG, "no cluster"},
    {"[]", NULL, NULL, LEASE_BAD_KUBECONFIG, "no context ctx"},
    {"{\"cluster\":\"c\",\"cluster\":\"c\",\"user\":\"u\"}", NULL, NULL, LEASE_BAD_KUBECONFIG,
    "twice"},
    {NULL, "{}", NULL, LEASE_BAD_KUBECONFIG, "cluster.server"},
    {NULL, "null", NULL, LEASE_BAD_KUBECONFIG, "cluster.server"},
    {NULL, "{\"server\":1}", NULL, LEASE_BAD_KUBECONFIG, "cluster.server"},
    {NULL, "{\"server\":\"\"}", NULL, LEASE_BAD_KUBECONFIG, "cluster.server"},
    {NULL, "{\"server\":\"http://h\"}", NULL, LEASE_BAD_SERVER, "https://HOST"},
    {NULL, "{\"server\":\"https://h\",\"server\":\"https://i\"}", NULL, LEASE_BAD_KUBECONFIG,
    "twice"},
    {NULL, "{\"server\":\"https://h\",\"proxy-url\":\"http://p\"}", NULL, LEASE_UNSUPPORTED,
     "proxy-url"},
    {NULL, "{\"server\":\"https://h\",\"tls-server-name\":5}", NULL, LEASE_BAD_KUBECONFIG,
     "tls-server-name"},
    {NULL, "{\"server\":\"https://h\",\"certificate-authority\":5}", NULL, LEASE_BAD_KUBECONFIG,
     "certificate-authority"},
    {NULL, "{\"server\":\"https://h\",\"certificate-authority-data\":\"!!\"}", NULL,
     LEASE_BAD_KUBECONFIG, "certificate-authority-data"},
    {NULL, "{\"server\":\"https://h\",\"certificate-authority-data\":\"\"}", NULL,
     LEASE_BAD_KUBECONFIG, "certificate-authority-data"},
    {NULL, "{\"server\":\"https://h\",\"certificate-authority-data\":{}}", NULL,
     LEASE_BAD_KUBECONFIG, "certificate-authority-data"},
    {NULL, NULL, "{\"exec\":{\"command\":\"aws\"}}", LEASE_UNSUPPORTED, "exec"},
    {NULL, NULL, "{\"exec\":{\"command\":\"; touch x\"},\"token\":\"s3cret\"}", LEASE_UNSUPPORTED,
     "exec"},
    {NULL, NULL, "{\"auth-provider\":{\"name\":\"gcp\"}}", LEASE_UNSUPPORTED, "auth-provider"},
    {NULL, NULL, "{\"username\":\"admin\",\"password\":\"s3cret\"}", LEASE_UNSUPPORTED, "username"},
    {NULL, NULL, "{\"password\":\"s3cret\"}", LEASE_UNSUPPORTED, "password"},
    {NULL, NULL, "{\"token\":\"s3cret\",\"as\":\"root\"}", LEASE_UNSUPPORTED, "as"},
    {NULL, NULL, "{\"as-uid\":\"0\"}", LEASE_UNSUPPORTED, "as-uid"},
    {NULL, NULL, "{\"as-groups\":[\"g\"]}", LEASE_UNSUPPORTED, "as-groups"},
    {NULL, NULL, "{\"as-user-extra\":{\"a\":[\"b\"]}}", LEASE_UNSUPPORTED, "as-user-extra"},
    {NULL, NULL, "{\"token\":\"\"}", LEASE_BAD_TOKEN, "the kubeconfig"},
    {NULL, NULL, "{\"token\":\"s3cret x\"}", LEASE_BAD_TOKEN, "the kubeconfig"},
    {NULL, NULL, "{\"token\":\"s3cret\\n\"}", LEASE_BAD_TOKEN, "the kubeconfig"},
    {NULL, NULL, "{\"token\":5}", LEASE_BAD_KUBECONFIG, "user.token"},
    {NULL, NULL, "{\"token\":\"s3cret\",\"token\":\"x\"}", LEASE_BAD_KUBECONFIG, "twice"},
    {NULL, NULL, "{\"tokenFile\":5}", LEASE_BAD_KUBECONFIG, "tokenFile"},
    {NULL, NULL, "{\"tokenFile\":\"absent\"}", LEASE_BAD_TOKEN, "absent"},
    {NULL, NULL, "{\"client-certificate\":\"a.crt\"}", LEASE_BAD_CLIENT_CERT, "go together"},
    {NULL, NULL, "{\"client-key\":\"a.key\"}", LEASE_BAD_CLIENT_CERT, "go together"},
    {NULL, NULL, "{\"client-certificate-data\":\"YQ==\"}", LEASE_BAD_CLIENT_CERT, "go together"},
    {NULL, NULL, "{\"client-key-data\":\"YQ==\"}", LEASE_BAD_CLIENT_CERT, "go together"},
    {NULL, NULL, "{\"client-certificate-data\":\"?\"}", LEASE_BAD_KUBECONFIG,
     "client-certificate-data"},
    {NULL, NULL, "{\"client-key-data\":5}", LEASE_BAD_KUBECONFIG, "client-key-data"},
};

TEST(bad_parts_of_a_kubeconfig) {
    files_begin();
    for (size_t i = 0; i < LEASE__COUNT(bad_parts); i++) {
        const char *context = bad_parts[i].context != NULL ? bad_parts[i].context : CONTEXT;
        const char *cluster = bad_parts[i].cluster != NULL ? bad_parts[i].cluster : CLUSTER;
        const char *user = bad_parts[i].user != NULL ? bad_parts[i].user : USER;
        CASE("context %s cluster %s user %s", context, cluster, user);
        kubeconfig(context, cluster, user);
        check_refused(bad_parts[i].want, bad_parts[i].message);
    }
    files_end();
}

TEST(a_kubeconfig_without_credentials_is_anonymous) {
    static const char *const users[] = {"{}", "null", "{\"token\":null}"};
    files_begin();
    for (size_t i = 0; i < LEASE__COUNT(users); i++) {
        CASE("%s", users[i]);
        kubeconfig(CONTEXT, CLUSTER, users[i]);
        CHECK_STATUS(load(), LEASE_OK);
        CHECK_STR(creds.token, "");
    }
    files_end();
}

TEST(bad_kubeconfigs) {
    static const struct {
        const char *text;
        const char *message;
    } rows[] = {
        {"", "empty"},
        {"apiVersion: v1\nkind: Config\ncurrent-context: x\n", "kubectl config view"},
        {"---\n{}", "kubectl config view"},
        {"[]", "kubectl config view"},
        {"\"x\"", "kubectl config view"},
        {"{", "not valid JSON"},
        {"{\"current-context\":\"x\"", "not valid JSON"},
        {"{} {}", "not valid JSON"},
        {"{'a':1}", "not valid JSON"},
        {"{}", "current-context is not set"},
        {"{\"current-context\":\"\"}", "current-context is not set"},
        {"{\"current-context\":5}", "current-context is not a name"},
        {"{\"current-context\":\"x\"}", "no context x"},
        {"{\"current-context\":\"x\",\"contexts\":{}}", "no context x"},
        {"{\"current-context\":\"x\",\"contexts\":null}", "no context x"},
        {"{\"current-context\":\"x\",\"contexts\":[]}", "no context x"},
        {"{\"current-context\":\"x\",\"contexts\":[1,\"x\",{},{\"name\":5}]}", "no context x"},
        {"{\"current-context\":\"x\",\"contexts\":[{\"name\":\"x\"}]}", "no context x"},
    };
    files_begin();
    for (size_t i = 0; i < LEASE__COUNT(rows); i++) {
        CASE("%s", rows[i].text);
        begin();
        desc.kubeconfig = files_write("config", rows[i].text);
        check_refused(LEASE_BAD_KUBECONFIG, rows[i].message);
        CHECK(strstr(error.message, "config") != NULL);
    }
    CASE("a directory");
    desc.kubeconfig = files_directory;
    check_refused(LEASE_BAD_KUBECONFIG, "not a regular file");
    CASE("a NUL byte");
    desc.kubeconfig = files_write_bytes("config", "{}\0", 3);
    check_refused(LEASE_BAD_KUBECONFIG, "NUL");
    CASE("too large");
    char *large = (char *)calloc(1, LEASE_MAX_KUBECONFIG + 1);
    memset(large, ' ', LEASE_MAX_KUBECONFIG + 1);
    desc.kubeconfig = files_write_bytes("config", large, LEASE_MAX_KUBECONFIG + 1);
    check_refused(LEASE_BAD_KUBECONFIG, "too large");
    free(large);
    files_end();
}

TEST(every_truncation_of_a_kubeconfig_is_refused) {
    char text[4096];
    size_t length = 0;
    files_begin();
    kubeconfig(CONTEXT, CLUSTER, USER);
    CHECK_STATUS(load(), LEASE_OK);
    CHECK_STATUS(lease__read_file(desc.kubeconfig, text, sizeof text, &length, LEASE_SYSTEM, NULL),
                 LEASE_OK);
    for (size_t cut = 1; cut < length - 1; cut++) {
        CASE("%zu bytes", cut);
        files_write_bytes("config", text, cut);
        CHECK_STATUS(load(), LEASE_BAD_KUBECONFIG);
    }
    files_end();
}

TEST(where_a_kubeconfig_is_looked_for) {
    files_begin();
    kubeconfig(CONTEXT, CLUSTER, USER);
    const char *config = files_path("config");
    CASE("$KUBECONFIG");
    begin();
    setenv("KUBECONFIG", config, 1);
    CHECK_STATUS(load(), LEASE_OK);
    CHECK_STR(creds.host, "h");
    CASE("$KUBECONFIG that does not exist");
    setenv("KUBECONFIG", files_path("absent"), 1);
    check_refused(LEASE_NO_CREDENTIALS, "absent");
    CASE("~/.kube/config");
    begin();
    setenv("KUBECONFIG", "", 1);
    setenv("HOME", files_directory, 1);
    check_refused(LEASE_NO_CREDENTIALS, "~/.kube/config");
    CHECK_INT(mkdir(files_path(".kube"), 0700), 0);
    CHECK_INT(rename(config, files_path(".kube/config")), 0);
    CHECK_STATUS(load(), LEASE_OK);
    CHECK_STR(creds.token, "s3cret");
    CASE("nowhere");
    begin();
    check_refused(LEASE_NO_CREDENTIALS, "KUBECONFIG");
    files_end();
}

#define ENTRY(list, kind, name, value)                                                            \
    "\"" list "\":[{\"name\":\"" name "\",\"" kind "\":" value "}]"

/* client-go tools/clientcmd loader.go: the first file that has a name wins, whole; what does not
 * exist is passed over. */
TEST(a_list_of_kubeconfigs) {
    char list[1024];
    char want[LEASE_MAX_PATH + 1];
    files_begin();
    begin();
    CHECK_INT(mkdir(files_path("sub"), 0700), 0);
    files_write("contexts", "{" ENTRY("contexts", "context", "x", CONTEXT) "}");
    files_write("sub/clusters", "{\"current-context\":\"x\","
                ENTRY("clusters", "cluster", "c",
                      "{\"server\":\"https://first\",\"certificate-authority\":\"ca.crt\"}") "}");
    files_write("users", "{\"current-context\":\"y\","
                ENTRY("clusters", "cluster", "c", "{\"server\":\"https://second\"}") ","
                ENTRY("users", "user", "u", USER) "}");
    snprintf(list, sizeof list, ":%s/contexts:%s/absent:%s/sub/clusters::%s/users:",
             files_directory, files_directory, files_directory, files_directory);
    setenv("KUBECONFIG", list, 1);
    CHECK_STATUS(load(), LEASE_OK);
    CHECK_STR(creds.host, "first");
    CHECK_STR(creds.token, "s3cret");
    snprintf(want, sizeof want, "%s/sub/ca.crt", files_directory);
    CHECK_STR(creds.trust.ca.file, want); /* relative to the file that names it */
    CASE("a broken file in the list");
    files_write("users", "{");
    check_refused(LEASE_BAD_KUBECONFIG, "users: is not valid JSON");
    CASE("a key twice in a file that is used last");
    files_write("users", "{" ENTRY("users", "user", "u", "{\"token\":\"a\",\"token\":\"b\"}") "}");
    check_refused(LEASE_BAD_KUBECONFIG, "users: a key stands twice");
    CASE("a user that is no object");
    files_write("users", "{" ENTRY("users", "user", "u", "\"s3cret\"") "}");
    check_refused(LEASE_BAD_KUBECONFIG, "contexts: no user u");
    CASE("no user anywhere");
    files_write("users", "{}");
    check_refused(LEASE_BAD_KUBECONFIG, "contexts: no user u");
    CASE("a path that is too long");
    memset(list, 'a', sizeof list - 1);
    list[sizeof list - 1] = '\0';
    setenv("KUBECONFIG", list, 1);
    check_refused(LEASE_BAD_ARGUMENT, "KUBECONFIG is too long");
    begin();
    files_end();
}

TEST(a_list_of_too_many_kubeconfigs) {
    char list[LEASE_MAX_KUBECONFIGS * 64 + 64] = "";
    files_begin();
    begin();
    files_write("a", "{}");
    for (int i = 0; i <= LEASE_MAX_KUBECONFIGS; i++) {
        strcat(list, files_path("a"));
        strcat(list, ":");
    }
    setenv("KUBECONFIG", list, 1);
    check_refused(LEASE_LIMIT, "LEASE_MAX_KUBECONFIGS");
    begin();
    files_end();
}

TEST(a_kubeconfig_of_many_contexts) {
    enum { CONTEXTS = 200 };
    char *text = (char *)calloc(1, LEASE_MAX_KUBECONFIG);
    char *at = text;
    files_begin();
    begin();
    at += sprintf(at, "{\"current-context\":\"n%d\",\"contexts\":[", CONTEXTS - 1);
    for (int i = 0; i < CONTEXTS; i++) {
        at += sprintf(at, "%s{\"name\":\"n%d\",\"context\":{\"cluster\":\"n%d\",\"user\":\"u\"}}",
                      i == 0 ? "" : ",", i, i);
    }
    at += sprintf(at, "],\"clusters\":[");
    for (int i = 0; i < CONTEXTS; i++) {
        at += sprintf(at, "%s{\"name\":\"n%d\",\"cluster\":{\"server\":\"https://h%d\"}}",
                      i == 0 ? "" : ",", i, i);
    }
    sprintf(at, "]," ENTRY("users", "user", "u", USER) "}");
    desc.kubeconfig = files_write("config", text);
    CHECK_STATUS(load(), LEASE_OK);
    CHECK_STR(creds.host, "h199");
    free(text);
    begin();
    files_end();
}

TEST(the_token_of_a_kubeconfig_is_not_read_again) {
    lease__boot late;
    late.ms = INT64_C(1) << 40;
    files_begin();
    kubeconfig(CONTEXT, CLUSTER, USER);
    CHECK_STATUS(load(), LEASE_OK);
    CHECK(!lease__token_is_old(&creds, late));
    begin();
    files_end();
}
