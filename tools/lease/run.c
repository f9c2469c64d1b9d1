/* run.c -- lease run: contend, and run COMMAND while holding.
 *
 *   WAITING ---- leader ----> RUNNING ---- it ends ------------> its own code
 *    ^   |                     |    \
 *    |   | TERM, gave up       |     \ TERM, INT: --signal, renew on, KILL after --kill-after
 *    |   v                     | lost: --signal, KILL before stop_by
 *    |  128+n, 124             v
 *    +---- --restart ------- ENDING ---- group empty -----------> 123 lost; its own code after TERM
 *
 * The lease is given back only after the last process of the group is dead. */
#include "tool.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>

/* Between SIGKILL and the instant by which the command must be dead, for the kernel to do it. */
#define KILL_MARGIN_MS 50

struct run {
    struct session session;
    struct command command;
    int stop_signal;  /* that asked us to stop; 0 = none */
    bool leave_now;   /* asked twice: no release */
    bool lost;        /* the term in which the command was started is over */
    bool child_changed;
    bool done;
    int code;
    const char *why; /* reason of the stop line */
};

static void finish(struct run *run, int code, const char *why)
{
    run->done = true;
    run->code = code;
    run->why = why;
}

/* -- Deadlines ----------------------------------------------------------------------------------*/

static int64_t margin_ms(const struct run *run)
{
    int64_t half = run->session.timing.desc.stop_budget_ms / 2;
    return half < KILL_MARGIN_MS ? half : KILL_MARGIN_MS;
}

/* When the watchdog must kill if nothing more is renewed; 0 = not leader. The clock is read first:
 * a pause between the two readings makes the deadline earlier, never later. */
static int64_t kill_deadline_ms(const struct run *run)
{
    int64_t now = now_ms();
    int64_t remaining_ms = lease_remaining_ms(run->session.lease);
    if (remaining_ms <= 0) return 0;
    return now + remaining_ms + run->session.timing.desc.stop_budget_ms - margin_ms(run);
}

/* -- Start --------------------------------------------------------------------------------------*/

static void start_command(struct run *run)
{
    struct session *session = &run->session;
    int64_t kill_at_ms = kill_deadline_ms(run);
    if (kill_at_ms == 0) return;
    struct command_desc desc = {
        .argv = session->options->command,
        .name = session->options->lease,
        .ns = session->ns,
        .identity = lease_identity(session->lease),
        .token = lease_token(session->lease),
        .signal_mask = &session->original_mask,
        .kill_at_ms = kill_at_ms,
    };
    if (!command_start(&run->command, &desc)) {
        complain("cannot start a process: %s", strerror(errno));
        finish(run, CODE_FAILED, "start_failed");
        return;
    }
    run->lost = false;
    char extra[32];
    snprintf(extra, sizeof extra, "\"pid\":%d", (int)run->command.pid);
    session_log(session, LEASE_LOG_INFO, "child_start", "", extra, "started %s, process %d",
                desc.argv[0], (int)run->command.pid);
}

/* -- Stop ---------------------------------------------------------------------------------------*/

/* Asked by a signal: the lease is renewed until the command is dead. */
static void stop_for_signal(struct run *run, int number)
{
    const struct options *options = run->session.options;
    if (run->stop_signal != 0) {
        run->leave_now = true;
        command_stop(&run->command, SIGKILL, now_ms());
        return;
    }
    run->stop_signal = number;
    if (run->command.pid == 0) return;
    int64_t grace_ms = options->kill_after_ms;
    if (grace_ms == OPTION_ABSENT) grace_ms = lease_remaining_ms(run->session.lease);
    command_stop(&run->command, options->signal, now_ms() + grace_ms);
}

/* The lease is lost: the command must be dead before somebody else can have it. A lease that ran
 * out leaves it the stop budget; one that another holds already leaves it nothing. */
static void stop_for_loss(struct run *run, int64_t stop_by_ms)
{
    const struct options *options = run->session.options;
    int64_t kill_at_ms = stop_by_ms - margin_ms(run);
    int64_t now = now_ms();
    if (options->kill_after_ms != OPTION_ABSENT && now + options->kill_after_ms < kill_at_ms) {
        kill_at_ms = now + options->kill_after_ms;
    }
    run->lost = true;
    if (kill_at_ms < run->command.watchdog.kill_at_ms) {
        watchdog_set(&run->command.watchdog, kill_at_ms);
    }
    command_stop(&run->command, options->signal, kill_at_ms);
}

/* -- What has happened --------------------------------------------------------------------------*/

static void take_signals(struct run *run)
{
    bool running = run->command.pid != 0 && !run->command.ended;
    for (int number; (number = session_signal(&run->session)) != 0;) {
        if (number == SIGTERM || number == SIGINT || (!running && is_stop_signal(number))) {
            stop_for_signal(run, number);
        } else if (number == SIGCHLD) {
            run->child_changed = true;
        } else if (number == SIGCONT) {
            command_continue(&run->command);
        } else {
            command_signal(&run->command, number);
        }
    }
}

static void take_news(struct run *run)
{
    const struct session_news *news = &run->session.news;
    if (run->command.pid == 0 || run->command.ended) return;
    if (news->lost && !run->lost) stop_for_loss(run, news->stop_by_ms);
    if (news->renewed && !run->lost) {
        int64_t kill_at_ms = kill_deadline_ms(run);
        if (kill_at_ms != 0) watchdog_set(&run->command.watchdog, kill_at_ms);
    }
}

static void log_end(struct run *run, bool stuck)
{
    const struct command *command = &run->command;
    char extra[64];
    snprintf(extra, sizeof extra, "\"pid\":%d,\"code\":%d", (int)command->pid, command->code);
    session_log(&run->session, LEASE_LOG_INFO, "child_exit", run->lost ? "lost" : "", extra,
                "process %d ended with %d", (int)command->pid, command->code);
    if (stuck) {
        session_log(&run->session, LEASE_LOG_ERROR, "error", "not_killable", NULL,
                    "processes of group %d do not die; the Lease is left to expire",
                    (int)command->pid);
    }
}

/* The command has ended: what follows from it. */
static void take_end(struct run *run)
{
    bool stuck = false;
    struct command *command = &run->command;
    if (!command_gone(command, &stuck)) return;
    /* The watchdog kills by itself only past the end of our leadership. */
    bool unguarded = command->watchdog_died && lease_is_leader(run->session.lease);
    if (!command->own_end && !command->signalled && !unguarded) run->lost = true;
    log_end(run, stuck);
    int code = command->code;
    *command = (struct command){.pid = 0};
    if (stuck) run->leave_now = true;
    if (unguarded) {
        session_log(&run->session, LEASE_LOG_ERROR, "error", "watchdog_died", NULL,
                    "the watchdog process was killed; COMMAND was stopped");
        finish(run, CODE_FAILED, "watchdog_died");
    } else if (!run->lost) {
        finish(run, code, run->stop_signal != 0 ? "signal" : "command_ended");
    } else if (!run->session.options->restart || run->stop_signal != 0 || stuck) {
        finish(run, CODE_LOST, "lost");
    }
}

/* Nothing runs: start, stop or give up? */
static void take_idle(struct run *run)
{
    int code = 0;
    if (run->done || run->command.pid != 0) return;
    if (run->stop_signal != 0) finish(run, CODE_SIGNAL + run->stop_signal, "signal");
    else if (lease_is_leader(run->session.lease)) start_command(run);
    else if (session_gave_up(&run->session, &code)) finish(run, code, "not_acquired");
}

static void turn(struct run *run)
{
    struct command *command = &run->command;
    int64_t wake_ms = command_wake_ms(command);
    int64_t give_up_ms = command->pid == 0 ? session_give_up_ms(&run->session) : INT64_MAX;
    session_wait(&run->session, wake_ms < give_up_ms ? wake_ms : give_up_ms);
    take_signals(run);
    if (run->child_changed || now_ms() >= wake_ms) command_tend(command);
    run->child_changed = false;
    session_work(&run->session);
    take_news(run);
    take_end(run);
    take_idle(run);
}

int run_main(const struct options *options)
{
    struct run run = {.why = ""};
    if (!session_open(&run.session, options)) {
        session_close(&run.session);
        return CODE_FAILED;
    }
    /* Orphans of the command become our children, whether or not we are PID 1. */
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    while (!run.done) turn(&run);
    if (options->release && !run.leave_now) session_release(&run.session);
    char extra[32];
    snprintf(extra, sizeof extra, "\"code\":%d", run.code);
    session_log(&run.session, LEASE_LOG_INFO, "stop", run.why, extra, "exit %d", run.code);
    session_close(&run.session);
    return run.code;
}
