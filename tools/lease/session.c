/* session.c -- the lease client, the signals and the HTTP server in one poll(2).
 *
 * A turn of run and of hold: session_wait, signals, children, session_work. Children come before
 * the lease, so that a command that ended while it was ours to run is never taken for one that
 * lost. */
#include "tool.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define RELEASE_ATTEMPTS 2

static int64_t earlier(int64_t a_ms, int64_t b_ms)
{
    return a_ms < b_ms ? a_ms : b_ms;
}

/* -- Events of the lease ------------------------------------------------------------------------*/

static const char *reason_name(lease_reason reason)
{
    switch (reason) {
    case LEASE_REASON_NONE: return "";
    case LEASE_REASON_EXPIRED: return "expired";
    case LEASE_REASON_TAKEN: return "taken";
    case LEASE_REASON_CLEARED: return "cleared";
    case LEASE_REASON_DELETED: return "deleted";
    case LEASE_REASON_DUPLICATE: return "duplicate";
    case LEASE_REASON_ALTERED: return "altered";
    case LEASE_REASON_CLOCK_JUMP: return "clock_jump";
    case LEASE_REASON_COORDINATED: return "coordinated";
    case LEASE_REASON_RELEASED: return "released";
    }
    return "";
}

static const char *reason_text(lease_reason reason)
{
    switch (reason) {
    case LEASE_REASON_NONE: return "";
    case LEASE_REASON_EXPIRED: return "no renewal was acknowledged in time";
    case LEASE_REASON_TAKEN: return "another holder is in the Lease";
    case LEASE_REASON_CLEARED: return "somebody emptied the holder";
    case LEASE_REASON_DELETED: return "the Lease was deleted";
    case LEASE_REASON_DUPLICATE: return "another process writes under our identity";
    case LEASE_REASON_ALTERED: return "the server stored another record than we wrote";
    case LEASE_REASON_CLOCK_JUMP: return "the machine was paused";
    case LEASE_REASON_COORDINATED: return "spec.strategy: the server elects now";
    case LEASE_REASON_RELEASED: return "released";
    }
    return "";
}

/* How each event is logged; what it says beyond that is put together in on_event. */
static const struct {
    lease_log_level level;
    const char *name;
} event_lines[] = {
    [LEASE_EVENT_ACQUIRED] = {LEASE_LOG_INFO, "acquire"},
    [LEASE_EVENT_LOST] = {LEASE_LOG_WARN, "lose"},
    [LEASE_EVENT_LEADER_CHANGED] = {LEASE_LOG_INFO, "observe"},
    [LEASE_EVENT_RENEWED] = {LEASE_LOG_DEBUG, "renew"},
    [LEASE_EVENT_RENEW_FAILED] = {LEASE_LOG_WARN, "error"},
    [LEASE_EVENT_FAIL_OPEN] = {LEASE_LOG_WARN, "fail_open"},
    [LEASE_EVENT_FAIL_CLOSED] = {LEASE_LOG_INFO, "fail_close"},
    [LEASE_EVENT_DUPLICATE_IDENTITY] = {LEASE_LOG_ERROR, "error"},
    [LEASE_EVENT_RELEASED] = {LEASE_LOG_INFO, "release"},
    [LEASE_EVENT_ERROR] = {LEASE_LOG_WARN, "error"},
};

static void describe(const lease_event *event, struct text *message)
{
    switch (event->kind) {
    case LEASE_EVENT_ACQUIRED:
        text_add(message, "acquired, token %llu", (unsigned long long)event->token);
        break;
    case LEASE_EVENT_LOST:
        text_add(message, "lost: %s", reason_text(event->reason));
        break;
    case LEASE_EVENT_LEADER_CHANGED:
        text_add(message, "held by %s", event->holder[0] == '\0' ? "nobody" : event->holder);
        break;
    case LEASE_EVENT_RENEWED: text_add(message, "renewed"); break;
    case LEASE_EVENT_RENEW_FAILED: text_add(message, "a renewal failed"); break;
    case LEASE_EVENT_FAIL_OPEN: text_add(message, "the time range fails open: no answer"); break;
    case LEASE_EVENT_FAIL_CLOSED: text_add(message, "the time range is closed again"); break;
    case LEASE_EVENT_DUPLICATE_IDENTITY:
        text_add(message, "another process writes under our identity; use another --identity");
        break;
    case LEASE_EVENT_RELEASED: text_add(message, "released"); break;
    case LEASE_EVENT_ERROR: text_add(message, "cannot contend"); break;
    }
}

static const char *reason_of(const lease_event *event)
{
    if (event->kind == LEASE_EVENT_DUPLICATE_IDENTITY) return "duplicate";
    if (event->kind == LEASE_EVENT_RENEW_FAILED) return "renew_failed";
    if (event->kind == LEASE_EVENT_ERROR) return "request_failed";
    return reason_name(event->reason);
}

static void note_event(struct session *session, const lease_event *event)
{
    struct session_news *news = &session->news;
    switch (event->kind) {
    case LEASE_EVENT_ACQUIRED:
        session->ever_acquired = true;
        news->renewed = true;
        break;
    case LEASE_EVENT_RENEWED: news->renewed = true; break;
    case LEASE_EVENT_LOST:
        /* A release is our own doing and comes after the command's end. */
        if (event->reason == LEASE_REASON_RELEASED) break;
        news->lost = true;
        news->stop_by_ms = event->stop_by_ms;
        break;
    case LEASE_EVENT_ERROR:
        news->failed = true;
        if (event->error != NULL) news->error = *event->error;
        break;
    case LEASE_EVENT_LEADER_CHANGED:
    case LEASE_EVENT_RENEW_FAILED:
    case LEASE_EVENT_FAIL_OPEN:
    case LEASE_EVENT_FAIL_CLOSED:
    case LEASE_EVENT_DUPLICATE_IDENTITY:
    case LEASE_EVENT_RELEASED: break;
    }
}

static void on_event(lease *self, const lease_event *event, void *user)
{
    struct session *session = user;
    char bytes[512];
    struct text message = text_in(bytes, sizeof bytes);
    (void)self;
    note_event(session, event);
    /* The end of a term by our own release is told by the release. */
    bool own_end = event->kind == LEASE_EVENT_LOST && event->reason == LEASE_REASON_RELEASED;
    if (own_end || session->options->subcommand == SUBCOMMAND_GET) return;
    describe(event, &message);
    log_write(&session->log, &(struct log_entry){
        .level = event_lines[event->kind].level,
        .event = event_lines[event->kind].name,
        .holder = event->holder,
        .token = event->token,
        .reason = reason_of(event),
        .error = event->error,
        .message = bytes,
    });
}

void session_log(struct session *session, lease_log_level level, const char *event,
                 const char *reason, const char *extra, const char *format, ...)
{
    char message[512];
    lease_view view;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    lease_view_get(session->lease, &view);
    log_write(&session->log, &(struct log_entry){
        .level = level,
        .event = event,
        .holder = view.holder,
        .token = view.token,
        .reason = reason,
        .extra = extra,
        .message = message,
    });
}

/* The library's own log repeats the events, but for what it has to say before there is a lease:
 * that the server will not be verified, for one. */
static void on_client_log(lease_log_level level, const char *message, void *user)
{
    struct session *session = user;
    if (session->lease != NULL || level < LEASE_LOG_WARN) return;
    log_write(&session->log, &(struct log_entry){
        .level = level,
        .event = "error",
        .reason = "client",
        .message = message,
    });
}

/* -- Client and lease ---------------------------------------------------------------------------*/

static lease_status create_client(struct session *session, lease_error *error)
{
    const struct options *options = session->options;
    lease_backend backend;
    lease_client_desc desc = {
        .server = options->server,
        .kubeconfig = options->kubeconfig,
        .context = options->context,
        .ca_file = options->ca_file,
        .token_file = options->token_file,
        .log = on_client_log,
        .log_user = session,
    };
    if (options->directory != NULL) {
        backend = lease_backend_file(options->directory);
        desc.backend = &backend;
    }
    return lease_client_create(&desc, &session->client, error);
}

static lease_status create_lease(struct session *session, const char *ns, lease_error *error)
{
    const struct options *options = session->options;
    lease_desc desc = {
        .name = options->lease,
        .ns = ns,
        .identity = options->identity,
        .lease_duration_ms = session->timing.desc.lease_duration_ms,
        .renew_deadline_ms = session->timing.desc.renew_deadline_ms,
        .retry_period_ms = session->timing.desc.retry_period_ms,
        .stop_budget_ms = session->timing.desc.stop_budget_ms,
        .observe_only = options->subcommand == SUBCOMMAND_GET,
        .on_event = on_event,
        .user = session,
    };
    return lease_create(session->client, &desc, &session->lease, error);
}

bool session_connect(struct session *session)
{
    const struct options *options = session->options;
    lease_error error = {0};
    const char *ns = options->ns;
    session->log = (struct log){
        .json = options->json_log,
        .level = options->log_level,
        .ns = ns == NULL ? "" : ns,
        .lease = options->lease,
        .identity = "",
    };
    bool ready = timing_init(&session->timing, options, &error) &&
                 create_client(session, &error) == LEASE_OK;
    if (ready && create_lease(session, ns, &error) != LEASE_OK) {
        /* No credentials name a namespace: as kubectl does. */
        bool unnamed = ns == NULL && error.status == LEASE_BAD_NAMESPACE;
        if (unnamed) ns = "default";
        ready = unnamed && create_lease(session, ns, &error) == LEASE_OK;
    }
    if (!ready) {
        options_complain(options, &error);
        return false;
    }
    session->ns = lease_namespace(session->lease);
    session->log.ns = session->ns;
    session->log.identity = lease_identity(session->lease);
    return true;
}

/* -- Signals ------------------------------------------------------------------------------------*/

bool is_stop_signal(int number)
{
    return number == SIGTERM || number == SIGINT || number == SIGHUP || number == SIGQUIT;
}

static bool is_ignored(int number)
{
    struct sigaction action;
    return sigaction(number, NULL, &action) == 0 && (action.sa_flags & SA_SIGINFO) == 0 &&
           action.sa_handler == SIG_IGN;
}

/* What we were started to ignore (nohup, a shell's background job) stays ignored, here and in the
 * command. SIGPIPE and SIGTTOU are only blocked: a write to a closed pipe then fails with EPIPE,
 * and the terminal may be handed over from the background. */
static bool open_signals(struct session *session)
{
    static const int wanted[] = {SIGTERM, SIGINT,  SIGHUP,  SIGQUIT, SIGUSR1,
                                 SIGUSR2, SIGALRM, SIGWINCH, SIGCONT};
    sigset_t handled;
    sigemptyset(&handled);
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
        if (!is_ignored(wanted[i])) sigaddset(&handled, wanted[i]);
    }
    signal(SIGCHLD, SIG_DFL); /* ignored, it would hide how children end */
    sigaddset(&handled, SIGCHLD);
    sigset_t blocked = handled;
    sigaddset(&blocked, SIGPIPE);
    sigaddset(&blocked, SIGTTOU);
    if (sigprocmask(SIG_BLOCK, &blocked, &session->original_mask) == -1) return false;
    session->signal_fd = signalfd(-1, &handled, SFD_CLOEXEC | SFD_NONBLOCK);
    if (session->signal_fd == -1) complain("signalfd: %s", strerror(errno));
    return session->signal_fd != -1;
}

int session_signal(struct session *session)
{
    struct signalfd_siginfo info;
    if (!session->signal_ready) return 0;
    if (read(session->signal_fd, &info, sizeof info) == (ssize_t)sizeof info) {
        return (int)info.ssi_signo;
    }
    session->signal_ready = false;
    return 0;
}

/* -- Open, close --------------------------------------------------------------------------------*/

static void log_start(struct session *session)
{
    const char *address = session->server == NULL ? "" : server_address(session->server);
    char extra_bytes[768];
    struct text extra = text_in(extra_bytes, sizeof extra_bytes);
    text_add(&extra, "\"namespace\":\"%s\",\"listen\":\"%s\",\"timing\":", session->ns, address);
    timing_add_json(&extra, &session->timing);
    bool serves = address[0] != '\0';
    session_log(session, LEASE_LOG_INFO, "start", "", extra_bytes, "contending; %s%s%s%s",
                session->timing.meaning.text, serves ? "; http://" : "", address,
                serves ? "/" : "");
}

bool session_open(struct session *session, const struct options *options)
{
    *session = (struct session){.options = options, .signal_fd = -1, .started_ms = now_ms()};
    if (!open_signals(session) || !session_connect(session)) return false;
    if (options->listen != NULL) {
        struct server_desc desc = {options->listen, session->client, session->lease, session->ns,
                                   options->lease};
        session->server = server_open(&desc);
        if (session->server == NULL) return false;
    }
    log_start(session);
    return true;
}

void session_close(struct session *session)
{
    server_close(session->server);
    lease_client_destroy(session->client);
    if (session->signal_fd != -1) close(session->signal_fd);
}

/* -- The loop -----------------------------------------------------------------------------------*/

void session_wait(struct session *session, int64_t wake_ms)
{
    struct pollfd fds[1 + LEASE_MAX_FDS + SERVER_MAX_FDS];
    size_t count = lease_client_fds(session->client, fds + 1, LEASE_MAX_FDS);
    fds[0] = (struct pollfd){.fd = session->signal_fd, .events = POLLIN};
    count++;
    if (session->server != NULL) {
        count += server_fds(session->server, fds + count, SERVER_MAX_FDS);
        wake_ms = earlier(wake_ms, server_wake_ms(session->server));
    }
    int64_t now = now_ms();
    int32_t client_ms = lease_client_wait_ms(session->client);
    if (client_ms >= 0) wake_ms = earlier(wake_ms, now + client_ms);
    int64_t timeout_ms = wake_ms <= now ? 0 : earlier(wake_ms - now, INT32_MAX);
    int ready = poll(fds, (nfds_t)count, wake_ms == INT64_MAX ? -1 : (int)timeout_ms);
    session->signal_ready = ready > 0 && fds[0].revents != 0;
}

void session_work(struct session *session)
{
    session->news = (struct session_news){0};
    lease_client_poll(session->client, 0);
    if (session->server != NULL) server_serve(session->server);
}

int64_t session_give_up_ms(const struct session *session)
{
    int64_t wait_ms = session->options->wait_ms;
    bool bounded = wait_ms > 0 && !session->ever_acquired;
    return bounded ? session->started_ms + wait_ms : INT64_MAX;
}

bool session_gave_up(struct session *session, int *code)
{
    lease_view view;
    if (session->ever_acquired || session->options->wait_ms == OPTION_ABSENT) return false;
    lease_view_get(session->lease, &view);
    bool held = view.observed && view.holder[0] != '\0';
    *code = session->options->conflict_code;
    if (session->options->wait_ms == 0) {
        /* One try: an answer that names a holder is a no, no answer is a failure. */
        if (!held && !session->news.failed) return false;
        if (!held) *code = CODE_FAILED;
    } else if (now_ms() < session_give_up_ms(session)) {
        return false;
    }
    session_log(session, LEASE_LOG_INFO, "error", "not_acquired", NULL, "not acquired: %s%s",
                held ? "held by " : lease_status_text(view.last_status), held ? view.holder : "");
    return true;
}

void session_release(struct session *session)
{
    int32_t timeout_ms = session->timing.desc.request_timeout_ms;
    int64_t end_ms = now_ms() + RELEASE_ATTEMPTS * (int64_t)timeout_ms;
    lease_view view;
    lease_release(session->lease);
    for (;;) {
        session_work(session);
        lease_view_get(session->lease, &view);
        if (view.released) return;
        if (now_ms() >= end_ms) break;
        session_wait(session, end_ms);
        for (int number; (number = session_signal(session)) != 0;) {
            if (is_stop_signal(number)) return;
        }
    }
    session_log(session, LEASE_LOG_WARN, "error", "release_failed", NULL,
                "the release was not confirmed (%s); the Lease expires by itself",
                lease_status_text(view.last_status));
}
