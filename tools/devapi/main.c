/* main.c -- devapi: a small Lease API server for development and tests.
 *
 * Makes a CA, a certificate and tokens, fills the server directory that clients read, serves until
 * TERM or INT, or until its parent dies. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <mbedtls/base64.h>
#include <netinet/in.h>
#include <arpa/inet.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "server.h"

#define TOKEN_BYTES 32
#define SIGNATURE_BYTES 256

static volatile sig_atomic_t stop;

struct options {
    const char *dir;
    const char *listen;
    const char *ns;
    enum devapi_cert cert;
    bool plain;
};

struct program {
    struct options options;
    struct devapi_identity identity;
    devapi_state *state;
    char url[96];
    char admin_token[2 * TOKEN_BYTES + 1];
    char account_token[DEVAPI_MAX_ACCOUNT_TOKEN];
};

static const char usage[] =
    "usage: devapi --dir DIR [options]\n"
    "\n"
    "A small Kubernetes API server that knows Leases, for development and tests. It keeps them in\n"
    "memory, answers as kube-apiserver does, and can be told to misbehave. DIR receives url,\n"
    "serviceaccount/{token,ca.crt,namespace}, admin.token, kubeconfig.json and pid; when it\n"
    "serves, it prints one line: ready URL. It ends on TERM or INT and when its parent dies.\n"
    "\n"
    "  --dir DIR              the server directory (required)\n"
    "  --listen ADDRESS:PORT  default 127.0.0.1:0, any free port\n"
    "  --namespace NAME       of the service account, default lease-test\n"
    "  --cert KIND            good, expired, wrong-ca, wrong-name, dns-only or ip-only\n"
    "  --plain                HTTP without TLS\n"
    "  --help\n";

static void on_signal(int number) {
    (void)number;
    stop = 1;
}

static int fail(const char *what, const char *which) {
    fprintf(stderr, "devapi: %s%s: %s\n", what, which, strerror(errno));
    return 1;
}

/* -- Options ----------------------------------------------------------------------------------- */

static bool parse_cert(const char *text, enum devapi_cert *cert) {
    static const char *const kinds[] = {
        [DEVAPI_CERT_GOOD] = "good",           [DEVAPI_CERT_EXPIRED] = "expired",
        [DEVAPI_CERT_WRONG_CA] = "wrong-ca",   [DEVAPI_CERT_WRONG_NAME] = "wrong-name",
        [DEVAPI_CERT_DNS_ONLY] = "dns-only",   [DEVAPI_CERT_IP_ONLY] = "ip-only",
    };
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (strcmp(text, kinds[i]) != 0) continue;
        *cert = (enum devapi_cert)i;
        return true;
    }
    fprintf(stderr, "devapi: --cert %s: good, expired, wrong-ca, wrong-name, dns-only or ip-only\n",
            text);
    return false;
}

/* -1: go on; else the status to exit with. */
static int parse_options(int count, char **arguments, struct options *options) {
    static const struct option known[] = {
        {"dir", required_argument, NULL, 'd'},       {"listen", required_argument, NULL, 'l'},
        {"namespace", required_argument, NULL, 'n'}, {"cert", required_argument, NULL, 'c'},
        {"plain", no_argument, NULL, 'p'},           {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    int option;
    options->listen = "127.0.0.1:0";
    options->ns = "lease-test";
    while ((option = getopt_long(count, arguments, "", known, NULL)) != -1) {
        switch (option) {
        case 'd': options->dir = optarg; break;
        case 'l': options->listen = optarg; break;
        case 'n': options->ns = optarg; break;
        case 'c':
            if (!parse_cert(optarg, &options->cert)) return 2;
            break;
        case 'p': options->plain = true; break;
        case 'h': fputs(usage, stdout); return 0;
        default: return 2; /* getopt_long has said it */
        }
    }
    if (options->dir != NULL && optind == count) return -1;
    fprintf(stderr, "devapi: --dir DIR is required, and nothing but options (see --help)\n");
    return 2;
}

/* -- The socket -------------------------------------------------------------------------------- */

union any_address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

/* 127.0.0.1:0 or [::1]:0 */
static bool parse_address(const char *text, union any_address *address, socklen_t *length) {
    char host[INET6_ADDRSTRLEN];
    char *end;
    const char *colon = strrchr(text, ':');
    if (colon == NULL) return false;
    const unsigned long port = strtoul(colon + 1, &end, 10);
    const bool bracket = text[0] == '[' && colon > text && colon[-1] == ']';
    const char *start = bracket ? text + 1 : text;
    const size_t size = (size_t)(colon - start) - (bracket ? 1 : 0);
    if (end == colon + 1 || *end != '\0' || port > 65535 || size >= sizeof host) return false;
    memcpy(host, start, size);
    host[size] = '\0';
    memset(address, 0, sizeof *address);
    if (inet_pton(AF_INET, host, &address->v4.sin_addr) == 1) {
        address->v4.sin_family = AF_INET;
        address->v4.sin_port = htons((uint16_t)port);
        *length = sizeof address->v4;
        return true;
    }
    address->v6.sin6_family = AF_INET6;
    address->v6.sin6_port = htons((uint16_t)port);
    *length = sizeof address->v6;
    return inet_pton(AF_INET6, host, &address->v6.sin6_addr) == 1;
}

static void make_url(struct program *program, const union any_address *address) {
    char host[INET6_ADDRSTRLEN] = "";
    const char *scheme = program->options.plain ? "http" : "https";
    if (address->any.sa_family == AF_INET) {
        inet_ntop(AF_INET, &address->v4.sin_addr, host, sizeof host);
        snprintf(program->url, sizeof program->url, "%s://%s:%u", scheme, host,
                 (unsigned)ntohs(address->v4.sin_port));
    } else {
        inet_ntop(AF_INET6, &address->v6.sin6_addr, host, sizeof host);
        snprintf(program->url, sizeof program->url, "%s://[%s]:%u", scheme, host,
                 (unsigned)ntohs(address->v6.sin6_port));
    }
}

/* -1 after having said why. */
static int open_listener(struct program *program) {
    union any_address address;
    socklen_t length;
    const int on = 1;
    if (!parse_address(program->options.listen, &address, &length)) {
        fprintf(stderr, "devapi: --listen %s: must be ADDRESS:PORT\n", program->options.listen);
        return -1;
    }
    const int fd = socket(address.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        fail("socket", "");
        return -1;
    }
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, &address.any, length) != 0 || listen(fd, 128) != 0 ||
        getsockname(fd, &address.any, &length) != 0) {
        fail("--listen ", program->options.listen);
        close(fd);
        return -1;
    }
    make_url(program, &address);
    return fd;
}

/* -- Tokens ------------------------------------------------------------------------------------ */

static bool random_bytes(void *bytes, size_t count) {
    return getrandom(bytes, count, 0) == (ssize_t)count;
}

static size_t base64url(char *out, size_t capacity, const void *bytes, size_t count) {
    size_t length = 0;
    if (mbedtls_base64_encode((unsigned char *)out, capacity, &length,
                              (const unsigned char *)bytes, count) != 0) {
        return 0;
    }
    while (length > 0 && out[length - 1] == '=') length--;
    out[length] = '\0';
    for (size_t i = 0; i < length; i++) {
        if (out[i] == '+') out[i] = '-';
        if (out[i] == '/') out[i] = '_';
    }
    return length;
}

/* In form and length as those of a real service account; nothing verifies the signature. */
static bool make_account_token(struct program *program) {
    static const char header[] = "{\"alg\":\"RS256\",\"kid\":\"devapi\"}";
    char payload[1024];
    unsigned char signature[SIGNATURE_BYTES];
    char *out = program->account_token;
    const size_t capacity = sizeof program->account_token;
    const long now = (long)time(NULL);
    const int length = snprintf(
        payload, sizeof payload,
        "{\"aud\":[\"https://kubernetes.default.svc\"],\"exp\":%ld,\"iat\":%ld,\"iss\":"
        "\"https://kubernetes.default.svc\",\"kubernetes.io\":{\"namespace\":\"%s\","
        "\"serviceaccount\":{\"name\":\"lease\",\"uid\":\"0c6f1c1e-0000-4000-8000-000000000000\"}},"
        "\"nbf\":%ld,\"sub\":\"system:serviceaccount:%s:lease\"}",
        now + 86400, now, program->options.ns, now, program->options.ns);
    if (length < 0 || (size_t)length >= sizeof payload) return false;
    if (!random_bytes(signature, sizeof signature)) return false;
    size_t used = base64url(out, capacity, header, strlen(header));
    out[used++] = '.';
    used += base64url(out + used, capacity - used, payload, (size_t)length);
    out[used++] = '.';
    return base64url(out + used, capacity - used, signature, sizeof signature) != 0;
}

static bool make_tokens(struct program *program) {
    unsigned char bytes[TOKEN_BYTES];
    if (!random_bytes(bytes, sizeof bytes)) return false;
    for (size_t i = 0; i < sizeof bytes; i++) {
        snprintf(program->admin_token + 2 * i, 3, "%02x", bytes[i]);
    }
    return make_account_token(program);
}

/* -- The server directory ---------------------------------------------------------------------- */

/* Whole or not at all, so that a reader never sees half a token. */
static bool write_file(const char *dir, const char *name, mode_t mode, const char *text) {
    char path[4096];
    char fresh[4096];
    const int length = snprintf(path, sizeof path, "%s/%s", dir, name);
    const int fresh_length = snprintf(fresh, sizeof fresh, "%s/%s.new", dir, name);
    if (length < 0 || (size_t)length >= sizeof path || fresh_length < 0 ||
        (size_t)fresh_length >= sizeof fresh) {
        errno = ENAMETOOLONG;
        return fail(dir, "") == 0;
    }
    const int fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
    if (fd < 0) return fail(fresh, "") == 0;
    const size_t count = strlen(text);
    const bool written = write(fd, text, count) == (ssize_t)count;
    if (close(fd) != 0 || !written || rename(fresh, path) != 0) return fail(path, "") == 0;
    return true;
}

static bool make_dir(const char *dir, const char *name) {
    char path[4096];
    snprintf(path, sizeof path, "%s%s", dir, name);
    if (mkdir(path, 0755) == 0 || errno == EEXIST) return true;
    return fail(path, "") == 0;
}

static bool write_kubeconfig(const struct program *program) {
    char ca[4096] = "";
    char text[8192];
    size_t length = 0;
    const char *pem = program->identity.ca_pem;
    if (!program->options.plain &&
        mbedtls_base64_encode((unsigned char *)ca, sizeof ca, &length, (const unsigned char *)pem,
                              strlen(pem)) != 0) {
        return false;
    }
    snprintf(text, sizeof text,
             "{\"kind\":\"Config\",\"apiVersion\":\"v1\",\"clusters\":[{\"name\":\"lease\","
             "\"cluster\":{\"server\":\"%s\"%s%s%s}}],\"users\":[{\"name\":\"lease\",\"user\":"
             "{\"token\":\"%s\"}}],\"contexts\":[{\"name\":\"lease\",\"context\":{\"cluster\":"
             "\"lease\",\"user\":\"lease\",\"namespace\":\"%s\"}}],"
             "\"current-context\":\"lease\"}\n",
             program->url, ca[0] != '\0' ? ",\"certificate-authority-data\":\"" : "", ca,
             ca[0] != '\0' ? "\"" : "", program->admin_token, program->options.ns);
    return write_file(program->options.dir, "kubeconfig.json", 0600, text);
}

static bool write_directory(const struct program *program) {
    const char *dir = program->options.dir;
    char line[128];
    char pid[32];
    snprintf(line, sizeof line, "%s\n", program->url);
    snprintf(pid, sizeof pid, "%ld\n", (long)getpid());
    return make_dir(dir, "") && make_dir(dir, "/serviceaccount") &&
           write_file(dir, "serviceaccount/token", 0600, program->account_token) &&
           write_file(dir, "serviceaccount/ca.crt", 0644, program->identity.ca_pem) &&
           write_file(dir, "serviceaccount/namespace", 0644, program->options.ns) &&
           write_file(dir, "admin.token", 0600, program->admin_token) &&
           write_kubeconfig(program) && write_file(dir, "pid", 0644, pid) &&
           write_file(dir, "url", 0644, line); /* last: whoever waits for it finds all */
}

static void token_changed(void *user) {
    const struct program *program = (const struct program *)user;
    write_file(program->options.dir, "serviceaccount/token", 0600,
               devapi_account_token(program->state));
}

/* -- Running ----------------------------------------------------------------------------------- */

/* The kernel sends TERM when the parent dies; should it have died already, its pid has changed. */
static bool end_with_parent(pid_t parent) {
    if (prctl(PR_SET_PDEATHSIG, SIGTERM) != 0) return fail("PR_SET_PDEATHSIG", "") == 0;
    return getppid() == parent;
}

static void catch_signals(void) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
}

static int serve(struct program *program, int fd) {
    devapi_desc desc;
    struct devapi_server_desc server_desc;
    memset(&desc, 0, sizeof desc);
    memset(&server_desc, 0, sizeof server_desc);
    desc.ns = program->options.ns;
    desc.admin_token = program->admin_token;
    desc.account_token = program->account_token;
    if (!random_bytes(&desc.seed, sizeof desc.seed)) return fail("getrandom", "");
    program->state = devapi_state_create(&desc);
    if (program->state == NULL) {
        fprintf(stderr, "devapi: --namespace %s is too long, or out of memory\n", desc.ns);
        return 1;
    }
    server_desc.state = program->state;
    server_desc.identity = program->options.plain ? NULL : &program->identity;
    server_desc.listen_fd = fd;
    server_desc.token_changed = token_changed;
    server_desc.user = program;
    struct devapi_server *server = devapi_server_create(&server_desc);
    int status = 1;
    if (server != NULL && write_directory(program)) {
        printf("ready %s\n", program->url);
        fflush(stdout);
        devapi_server_run(server, &stop);
        status = stop != 0 ? 0 : 1;
    }
    devapi_server_destroy(server);
    devapi_state_destroy(program->state);
    return status;
}

int main(int count, char **arguments) {
    static struct program program;
    const pid_t parent = getppid();
    const int status = parse_options(count, arguments, &program.options);
    if (status >= 0) return status;
    catch_signals();
    if (!end_with_parent(parent)) return 1;
    if (!make_tokens(&program)) return fail("tokens", "");
    int result = 1;
    const int error = devapi_identity_make(&program.identity, program.options.cert);
    if (error != 0) {
        fprintf(stderr, "devapi: certificates: -0x%04x\n", (unsigned)-error);
    } else {
        const int fd = open_listener(&program);
        if (fd >= 0) result = serve(&program, fd);
        if (fd >= 0) close(fd);
    }
    devapi_identity_free(&program.identity);
    return result;
}
