/* options.c -- the command line and the variables.
 *
 * One table says everything about an option: its names, where it is allowed, where its value goes
 * and how it is read. --name VALUE, --name=VALUE, -n VALUE and -nVALUE are the same; of an option
 * given twice the last counts; the variable LEASE_NAME counts when no option for the same field is
 * given. */
#include "tool.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define RUN SUBCOMMAND_RUN
#define HOLD SUBCOMMAND_HOLD
#define GET SUBCOMMAND_GET
#define TIMING SUBCOMMAND_TIMING

/* Stores a value; NULL, or what is wrong with it. */
typedef const char *setter(void *field, const char *value);

struct rule {
    char letter; /* '\0' = none */
    const char *name;
    const char *value; /* what it is called in the help; NULL = a flag */
    unsigned where;
    size_t field;
    setter *set;
    const char *help;
};

static const char *set_text(void *field, const char *value)
{
    if (*value == '\0') return "is empty";
    *(const char **)field = value;
    return NULL;
}

static const char *set_duration(void *field, const char *value)
{
    return text_parse_duration(value, field);
}

/* The library reads 0 as "the default", which is not what somebody who types 0s means. */
static const char *set_positive_duration(void *field, const char *value)
{
    int64_t duration_ms = 0;
    const char *problem = text_parse_duration(value, &duration_ms);
    if (problem != NULL) return problem;
    if (duration_ms == 0) return "must be more than 0s";
    *(int64_t *)field = duration_ms;
    return NULL;
}

static const char *parse_flag(const char *value, bool *flag)
{
    static const char *const words[][2] = {
        {"true", "false"}, {"1", "0"}, {"yes", "no"}, {"on", "off"}};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        for (size_t no = 0; no < 2; no++) {
            if (strcmp(value, words[i][no]) != 0) continue;
            *flag = no == 0;
            return NULL;
        }
    }
    return "is neither true nor false";
}

static const char *set_flag(void *field, const char *value)
{
    return parse_flag(value, field);
}

static const char *set_inverse_flag(void *field, const char *value)
{
    bool flag = false;
    const char *problem = parse_flag(value, &flag);
    if (problem == NULL) *(bool *)field = !flag;
    return problem;
}

static const char *set_nonblock(void *field, const char *value)
{
    bool flag = false;
    const char *problem = parse_flag(value, &flag);
    if (problem == NULL) *(int64_t *)field = flag ? 0 : OPTION_ABSENT;
    return problem;
}

static bool parse_number(const char *value, int most, int *number)
{
    char *end = NULL;
    errno = 0;
    long parsed = isdigit((unsigned char)*value) ? strtol(value, &end, 10) : -1;
    if (parsed < 0 || parsed > most || errno != 0 || *end != '\0') return false;
    *number = (int)parsed;
    return true;
}

static const char *set_exit_code(void *field, const char *value)
{
    return parse_number(value, 255, field) ? NULL : "is not an exit code from 0 to 255";
}

static const struct {
    const char *name;
    int number;
} signals[] = {
    {"HUP", SIGHUP},   {"INT", SIGINT},     {"QUIT", SIGQUIT}, {"ABRT", SIGABRT},
    {"KILL", SIGKILL}, {"USR1", SIGUSR1},   {"USR2", SIGUSR2}, {"ALRM", SIGALRM},
    {"TERM", SIGTERM}, {"CONT", SIGCONT},   {"STOP", SIGSTOP}, {"TSTP", SIGTSTP},
    {"PIPE", SIGPIPE}, {"WINCH", SIGWINCH}, {"XCPU", SIGXCPU}, {"XFSZ", SIGXFSZ},
    {"TTIN", SIGTTIN}, {"TTOU", SIGTTOU},   {"SEGV", SIGSEGV}, {"BUS", SIGBUS},
    {"FPE", SIGFPE},   {"ILL", SIGILL},     {"TRAP", SIGTRAP}, {"SYS", SIGSYS},
};

static const char *set_signal(void *field, const char *value)
{
    int number = 0;
    if (parse_number(value, SIGRTMAX, &number) && number > 0) {
        *(int *)field = number;
        return NULL;
    }
    const char *name = strncmp(value, "SIG", 3) == 0 ? value + 3 : value;
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++) {
        if (strcmp(signals[i].name, name) != 0) continue;
        *(int *)field = signals[i].number;
        return NULL;
    }
    return "is not a signal (TERM, SIGTERM or 15)";
}

static const char *set_backend(void *field, const char *value)
{
    if (strcmp(value, "kube") == 0) {
        *(const char **)field = NULL;
        return NULL;
    }
    struct stat directory;
    if (strncmp(value, "file:", 5) != 0) return "is neither kube nor file:DIR";
    if (stat(value + 5, &directory) == -1 || !S_ISDIR(directory.st_mode)) {
        return "names no directory";
    }
    *(const char **)field = value + 5;
    return NULL;
}

static const char *set_listen(void *field, const char *value)
{
    const char *problem = server_check_address(value);
    if (problem == NULL) *(const char **)field = value;
    return problem;
}

static const char *set_format(void *field, const char *value)
{
    bool json = strcmp(value, "json") == 0;
    if (!json && strcmp(value, "text") != 0) return "is neither text nor json";
    *(bool *)field = json;
    return NULL;
}

static const char *set_log_level(void *field, const char *value)
{
    static const char *const names[] = {"debug", "info", "warn", "error"};
    static const lease_log_level levels[] = {LEASE_LOG_DEBUG, LEASE_LOG_INFO, LEASE_LOG_WARN,
                                             LEASE_LOG_ERROR};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(value, names[i]) != 0) continue;
        *(int *)field = (int)levels[i];
        return NULL;
    }
    return "is none of debug, info, warn, error";
}

#define FIELD(name) offsetof(struct options, name)

static const struct rule rules[] = {
    {'l', "lease", "NAME", RUN | HOLD | GET, FIELD(lease), set_text,
     "name of the Lease (required)"},
    {'n', "namespace", "NAME", RUN | HOLD | GET, FIELD(ns), set_text,
     "default: POD_NAMESPACE, the credentials', else default"},
    {'\0', "identity", "NAME", RUN | HOLD, FIELD(identity), set_text,
     "unique for each process start; default: POD_NAME or host, _, UUID"},
    {'\0', "kubeconfig", "FILE", RUN | HOLD | GET, FIELD(kubeconfig), set_text,
     "default: in a pod its account, else KUBECONFIG, ~/.kube/config"},
    {'\0', "context", "NAME", RUN | HOLD | GET, FIELD(context), set_text,
     "of the kubeconfig; default: its current-context"},
    {'\0', "server", "URL", RUN | HOLD | GET, FIELD(server), set_text,
     "https://HOST[:PORT][/PATH] of the API server; needs --ca-file"},
    {'\0', "token-file", "FILE", RUN | HOLD | GET, FIELD(token_file), set_text,
     "bearer token; read again when it is rotated"},
    {'\0', "ca-file", "FILE", RUN | HOLD | GET, FIELD(ca_file), set_text,
     "PEM certificates that the server's must descend from"},
    {'\0', "backend", "kube|file:DIR", RUN | HOLD | GET, FIELD(directory), set_backend,
     "file: the processes of one host, no cluster needed"},
    {'\0', "lease-duration", "DURATION", RUN | HOLD | TIMING, FIELD(lease_duration_ms),
     set_positive_duration, "others wait for us this long (15s)"},
    {'\0', "renew-deadline", "DURATION", RUN | HOLD | TIMING, FIELD(renew_deadline_ms),
     set_positive_duration, "we lead this long without a renewal (10s)"},
    {'\0', "retry-period", "DURATION", RUN | HOLD | TIMING, FIELD(retry_period_ms),
     set_positive_duration, "from one renewal, or look, to the next (2s)"},
    {'\0', "stop-budget", "DURATION", RUN | HOLD | TIMING, FIELD(stop_budget_ms),
     set_positive_duration, "after the renew deadline, for COMMAND to end (300ms)"},
    {'w', "wait", "DURATION", RUN | HOLD, FIELD(wait_ms), set_duration,
     "give up when not acquired by then"},
    {'\0', "nonblock", NULL, RUN | HOLD, FIELD(wait_ms), set_nonblock,
     "give up at once when another holds it"},
    {'E', "conflict-exit-code", "N", RUN | HOLD, FIELD(conflict_code), set_exit_code,
     "exit code after giving up (124)"},
    {'s', "signal", "NAME", RUN, FIELD(signal), set_signal, "asks COMMAND to stop (TERM)"},
    {'k', "kill-after", "DURATION", RUN, FIELD(kill_after_ms), set_duration,
     "KILL this long after the signal; default: while the lease lasts"},
    {'\0', "restart", NULL, RUN, FIELD(restart), set_flag,
     "after a loss, contend again and run COMMAND again"},
    {'\0', "release", NULL, RUN | HOLD, FIELD(release), set_flag,
     "give the Lease back at the end; run does so by default"},
    {'\0', "no-release", NULL, RUN | HOLD, FIELD(release), set_inverse_flag,
     "let the Lease expire"},
    {'\0', "listen", "[ADDR]:PORT", RUN | HOLD, FIELD(listen), set_listen,
     "serve / /leader /range /healthz /readyz /metrics; default 127.0.0.1"},
    {'\0', "log-format", "text|json", RUN | HOLD, FIELD(json_log), set_format,
     "of the lines on stderr (text)"},
    {'\0', "log-level", "LEVEL", RUN | HOLD, FIELD(log_level), set_log_level,
     "debug, info, warn, error; default info, for run in text warn"},
    {'o', "output", "text|json", GET | TIMING, FIELD(json_output), set_format,
     "of the answer (text)"},
};

#define RULE_COUNT (sizeof rules / sizeof rules[0])

static const char *subcommand_name(enum subcommand subcommand)
{
    switch (subcommand) {
    case SUBCOMMAND_RUN: return "run";
    case SUBCOMMAND_HOLD: return "hold";
    case SUBCOMMAND_GET: return "get";
    case SUBCOMMAND_TIMING: return "timing";
    }
    return "";
}

/* LEASE_RENEW_DEADLINE for renew-deadline. */
static void variable_name(const struct rule *rule, char *name, size_t capacity)
{
    snprintf(name, capacity, "LEASE_%s", rule->name);
    for (char *at = name; *at != '\0'; at++) *at = *at == '-' ? '_' : (char)toupper(*at);
}

static const char *store(struct options *options, const struct rule *rule, const char *value)
{
    return rule->set((char *)options + rule->field, value);
}

static enum options_result refuse(const struct options *options, const char *what,
                                  const char *value, const char *problem)
{
    char line[512];
    struct text text = text_in(line, sizeof line);
    text_add_plain(&text, what);
    text_add(&text, ": ");
    if (value != NULL) {
        char shown[128];
        snprintf(shown, sizeof shown, "%s", value);
        text_add(&text, "'");
        text_add_plain(&text, shown);
        text_add(&text, "' ");
    }
    text_add(&text, "%s (see lease %s --help)", problem, subcommand_name(options->subcommand));
    complain("%s", line);
    return OPTIONS_BAD;
}

/* The rule for "--name", "--name=value", "-n" or "-nvalue"; *value points behind the name when the
 * value is in the same argument. */
static const struct rule *find_rule(const char *argument, const char **value)
{
    bool is_long = argument[1] == '-';
    const char *name = argument + (is_long ? 2 : 1);
    size_t length = is_long ? strcspn(name, "=") : 1;
    *value = name[length] == '\0' ? NULL : name + length + (is_long ? 1 : 0);
    for (size_t i = 0; i < RULE_COUNT; i++) {
        const struct rule *rule = &rules[i];
        if (is_long && strlen(rule->name) == length && strncmp(rule->name, name, length) == 0) {
            return rule;
        }
        if (!is_long && rule->letter != '\0' && rule->letter == name[0]) return rule;
    }
    return NULL;
}

/* Reads argv[*at] and, where it needs one, the value after it. */
static enum options_result parse_option(struct options *options, char **argv, int *at,
                                        bool *given)
{
    char shown[64];
    snprintf(shown, sizeof shown, "%.*s", (int)strcspn(argv[*at], "="), argv[*at]);
    const char *value = NULL;
    const struct rule *rule = find_rule(argv[*at], &value);
    if (rule == NULL || (rule->where & options->subcommand) == 0) {
        return refuse(options, shown, NULL, "no such option");
    }
    char name[64];
    snprintf(name, sizeof name, "--%s", rule->name);
    if (value == NULL && rule->value == NULL) value = "true";
    if (value == NULL) {
        if (argv[*at + 1] == NULL) return refuse(options, name, NULL, "needs a value");
        value = argv[++*at];
    }
    const char *problem = store(options, rule, value);
    if (problem != NULL) return refuse(options, name, value, problem);
    given[rule - rules] = true;
    return OPTIONS_OK;
}

/* Another spelling of the same field counts: --release silences LEASE_NO_RELEASE. */
static bool field_given(size_t index, const bool *given)
{
    for (size_t i = 0; i < RULE_COUNT; i++) {
        if (given[i] && rules[i].field == rules[index].field) return true;
    }
    return false;
}

static enum options_result parse_variables(struct options *options, const bool *given)
{
    for (size_t i = 0; i < RULE_COUNT; i++) {
        if ((rules[i].where & options->subcommand) == 0 || field_given(i, given)) continue;
        char name[64];
        variable_name(&rules[i], name, sizeof name);
        const char *value = getenv(name);
        /* A manifest that sets a variable to "" means "not set". */
        if (value == NULL || *value == '\0') continue;
        const char *problem = store(options, &rules[i], value);
        if (problem != NULL) return refuse(options, name, value, problem);
    }
    return OPTIONS_OK;
}

/* POD_NAME_UUID. The library makes its own identity, from the host name, when there is no POD_NAME.
 * False: no random bytes. */
static bool name_after_pod(struct options *options, const char *pod)
{
    unsigned char bits[16];
    if (getrandom(bits, sizeof bits, 0) != (ssize_t)sizeof bits) return false;
    bits[6] = (unsigned char)((bits[6] & 0x0f) | 0x40); /* RFC 9562 section 5.4: version 4 */
    bits[8] = (unsigned char)((bits[8] & 0x3f) | 0x80);
    struct text text = text_in(options->default_identity, sizeof options->default_identity);
    text_add(&text, "%s_", pod);
    for (size_t i = 0; i < sizeof bits; i++) {
        bool dash = i == 4 || i == 6 || i == 8 || i == 10;
        text_add(&text, dash ? "-%02x" : "%02x", (unsigned)bits[i]);
    }
    options->identity = options->default_identity;
    return !text.cut;
}

static enum options_result complete(struct options *options)
{
    if (options->subcommand == SUBCOMMAND_TIMING) return OPTIONS_OK; /* needs no Lease */

    const char *name = getenv("LEASE_NAME");
    /* COMMAND's own environment, so that `lease get` works inside it. */
    if (options->lease == NULL && name != NULL && *name != '\0') options->lease = name;
    if (options->lease == NULL) return refuse(options, "--lease", NULL, "is required");

    const char *ns = getenv("POD_NAMESPACE");
    if (options->ns == NULL && ns != NULL && *ns != '\0') options->ns = ns;

    const char *pod = getenv("POD_NAME");
    if (options->identity == NULL && pod != NULL && *pod != '\0' && !name_after_pod(options, pod)) {
        return refuse(options, "POD_NAME", NULL, "is too long, or there are no random bytes");
    }
    if (options->log_level == OPTION_ABSENT) {
        /* Like flock(1) and timeout(1), run says nothing to a person while all is well. */
        bool quiet = options->subcommand == SUBCOMMAND_RUN && !options->json_log;
        options->log_level = (int)(quiet ? LEASE_LOG_WARN : LEASE_LOG_INFO);
    }
    return OPTIONS_OK;
}

static enum options_result take_command(struct options *options, char **argv)
{
    if (options->subcommand != SUBCOMMAND_RUN) {
        return refuse(options, "--", NULL, "only lease run takes a COMMAND");
    }
    if (*argv == NULL || **argv == '\0') return refuse(options, "--", NULL, "no COMMAND after it");
    options->command = argv;
    return OPTIONS_OK;
}

static void set_defaults(struct options *options, enum subcommand subcommand)
{
    *options = (struct options){
        .subcommand = subcommand,
        .lease_duration_ms = OPTION_ABSENT,
        .renew_deadline_ms = OPTION_ABSENT,
        .retry_period_ms = OPTION_ABSENT,
        .stop_budget_ms = OPTION_ABSENT,
        .wait_ms = OPTION_ABSENT,
        .conflict_code = CODE_NOT_ACQUIRED,
        .signal = SIGTERM,
        .kill_after_ms = OPTION_ABSENT,
        .release = subcommand == SUBCOMMAND_RUN,
        .log_level = OPTION_ABSENT,
    };
}

enum options_result options_parse(struct options *options, enum subcommand subcommand, int argc,
                                  char **argv)
{
    bool given[RULE_COUNT] = {false};
    enum options_result result = OPTIONS_OK;
    set_defaults(options, subcommand);
    for (int at = 1; at < argc && result == OPTIONS_OK; at++) {
        if (strcmp(argv[at], "--help") == 0 || strcmp(argv[at], "-h") == 0) return OPTIONS_HELP;
        if (strcmp(argv[at], "--") == 0) {
            result = take_command(options, argv + at + 1);
            break;
        }
        if (argv[at][0] != '-' || argv[at][1] == '\0') {
            bool run = subcommand == SUBCOMMAND_RUN;
            return refuse(options, argv[at], NULL,
                          run ? "unexpected; put -- before COMMAND" : "unexpected argument");
        }
        result = parse_option(options, argv, &at, given);
    }
    if (result == OPTIONS_OK) result = parse_variables(options, given);
    if (result == OPTIONS_OK) result = complete(options);
    if (result == OPTIONS_OK && subcommand == SUBCOMMAND_RUN && options->command == NULL) {
        return refuse(options, "--", NULL, "-- COMMAND is required");
    }
    return result;
}

void options_print(enum subcommand subcommand)
{
    for (size_t i = 0; i < RULE_COUNT; i++) {
        const struct rule *rule = &rules[i];
        if ((rule->where & subcommand) == 0) continue;
        char left[48];
        struct text text = text_in(left, sizeof left);
        if (rule->letter != '\0') text_add(&text, "-%c, --%s", rule->letter, rule->name);
        else text_add(&text, "    --%s", rule->name);
        if (rule->value != NULL) text_add(&text, " %s", rule->value);
        printf("  %-31s %s\n", left, rule->help);
    }
}

/* "--lease" for LEASE_BAD_NAME; NULL when no option is to blame. */
static const char *blamed_option(lease_status status)
{
    static const struct {
        lease_status status;
        const char *option;
    } blames[] = {
        {LEASE_BAD_NAME, "--lease"},
        {LEASE_BAD_NAMESPACE, "--namespace"},
        {LEASE_BAD_IDENTITY, "--identity"},
        {LEASE_BAD_LEASE_DURATION, "--lease-duration"},
        {LEASE_BAD_RENEW_DEADLINE, "--renew-deadline"},
        {LEASE_BAD_RETRY_PERIOD, "--retry-period"},
        {LEASE_BAD_STOP_BUDGET, "--stop-budget"},
        {LEASE_UNSAFE_TIMING, "--renew-deadline"},
        {LEASE_BAD_REQUEST_TIMEOUT, "--renew-deadline"},
        {LEASE_BAD_SERVER, "--server"},
        {LEASE_NO_CREDENTIALS, "--kubeconfig"},
        {LEASE_BAD_KUBECONFIG, "--kubeconfig"},
        {LEASE_BAD_CA, "--ca-file"},
        {LEASE_BAD_TOKEN, "--token-file"},
        {LEASE_BAD_BACKEND, "--backend"},
    };
    for (size_t i = 0; i < sizeof blames / sizeof blames[0]; i++) {
        if (blames[i].status == status) return blames[i].option;
    }
    return NULL;
}

void options_complain(const struct options *options, const lease_error *error)
{
    const char *option = blamed_option(error->status);
    if (error->status == LEASE_BAD_NAMESPACE && options->ns == NULL) option = NULL;
    if (option == NULL) complain("%s", error->message);
    else complain("%s: %s", option, error->message);
}
