/* watchdog.c -- the process that kills the command when the supervisor cannot.
 *
 * Others may take the lease a lease_duration after they saw our last write, whatever state this
 * process is in. So the command must be dead by then even if the supervisor (the process that
 * renews) is stopped by SIGSTOP, hangs in name resolution, or is gone. Two things see to that:
 *
 *   - PR_SET_PDEATHSIG kills the command itself the moment the supervisor dies (command.c);
 *   - the watchdog kills the command's process group when the deadline it holds passes without a
 *     newer one, or when the pipe that brings the deadlines ends because the supervisor died.
 *
 *   t0 = before the last good write was SENT
 *   |<------------- renew_deadline ------------->|<- stop_budget ->|
 *   |                                            |                 |
 *   +--------------------------------------------+--------------+--+------------------+------> t
 *   the supervisor tells the watchdog:           |              |  dead               |
 *   t0 + renew_deadline + stop_budget - margin   |              KILL by the watchdog  |
 *   (an absolute boot time)                      |                                    |
 *                                                TERM, if the      the first instant of
 *                                                supervisor runs   another leader: later than
 *                                                                  t0 + lease_duration
 *
 * (renew_deadline + stop_budget) * (1 + skew) + 1 ms <= lease_duration is checked by lease_create,
 * so the deadline is never later than a takeover, and no message, answer or pause moves it:
 *
 *   (1) A deadline is computed as "boot time, then the time that remains after it". A stop between
 *       the two readings makes it earlier, never later. A slow answer has counted from its send
 *       already.
 *   (2) Deadlines are absolute. One that is written late, because the supervisor was stopped
 *       between computing and writing, says nothing that was not true.
 *   (3) Before COMMAND exists: the child of fork waits for a byte that only the watchdog writes,
 *       after it has armed its timer and only if the deadline is still ahead. The supervisor may
 *       stop at any instant between fork and exec: either the byte never comes, or the timer runs.
 *   (4) The watchdog's end of either pipe is its own alone: the supervisor's death ends the
 *       deadlines, the watchdog's death ends the wait for the byte, and COMMAND then exits without
 *       having begun.
 *   (5) If the watchdog is killed the supervisor hears of it and kills the command. Only both
 *       failing within that instant leave it alone; PR_SET_PDEATHSIG covers the half where the
 *       supervisor dies.
 *   (6) The supervisor does not reap the command before it has ended the watchdog. Until then its
 *       process group id belongs to it, and the watchdog cannot hit anybody else's.
 *
 * The timer runs on CLOCK_BOOTTIME and so counts suspended time. When a whole machine or container
 * is frozen, command and watchdog wake together, and the command may run for as long as the
 * scheduler needs to bring the watchdog on: that is what the fencing token is for.
 *
 * The watchdog is in a session of its own and blocks every signal, so the terminal's Ctrl-C and
 * Ctrl-Z pass it by. It has three descriptors (deadlines, go, timer), put where stdin, stdout and
 * stderr were: no pipe of the command's reader stays open because of it, and no socket. */
#include "tool.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>

enum { DEADLINES = 0, GO = 1, TIMER = 2 };

static void close_the_rest(void)
{
#ifdef SYS_close_range
    if (syscall(SYS_close_range, (unsigned)TIMER, ~0u, 0u) == 0) return;
#endif
    long limit = sysconf(_SC_OPEN_MAX);
    if (limit < 0 || limit > 65536) limit = 65536;
    for (int fd = TIMER; fd < limit; fd++) close(fd);
}

static void kill_group(pid_t group)
{
    kill(-group, SIGKILL);
    /* The leader too, should it have moved to another group. */
    kill(group, SIGKILL);
}

static bool arm(int64_t kill_at_ms)
{
    if (kill_at_ms < 1) kill_at_ms = 1; /* zero would disarm */
    struct itimerspec when = {.it_value = {.tv_sec = (time_t)(kill_at_ms / 1000),
                                           .tv_nsec = (long)(kill_at_ms % 1000) * 1000000}};
    return timerfd_settime(TIMER, TFD_TIMER_ABSTIME, &when, NULL) == 0;
}

/* Takes the newest of the deadlines that have come. False: the supervisor is gone. */
static bool read_deadlines(int64_t *kill_at_ms)
{
    int64_t received_ms;
    for (;;) {
        ssize_t count = read(DEADLINES, &received_ms, sizeof received_ms);
        if (count == (ssize_t)sizeof received_ms) *kill_at_ms = received_ms;
        else if (count == -1 && errno == EINTR) continue;
        else return count == -1 && errno == EAGAIN;
    }
}

static _Noreturn void watch(pid_t group, int64_t kill_at_ms)
{
    if (arm(kill_at_ms) && now_ms() < kill_at_ms) {
        ssize_t ignored = write(GO, "", 1);
        (void)ignored;
    } else {
        kill_group(group);
        _exit(1);
    }
    close(GO);
    struct pollfd fds[] = {{.fd = DEADLINES, .events = POLLIN}, {.fd = TIMER, .events = POLLIN}};
    for (;;) {
        poll(fds, 2, -1);
        bool alive = read_deadlines(&kill_at_ms);
        if (!alive || now_ms() >= kill_at_ms || !arm(kill_at_ms)) {
            kill_group(group);
            _exit(0);
        }
    }
}

/* In the child of fork: lets go of everything but the three descriptors. */
static _Noreturn void become_watchdog(pid_t group, int64_t kill_at_ms, int deadline_fd, int go_fd)
{
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    setsid();
    prctl(PR_SET_NAME, "lease-watchdog");
    /* Both are above 2: main has seen to it that stdin, stdout and stderr are open. */
    bool moved = dup2(deadline_fd, DEADLINES) != -1 && dup2(go_fd, GO) != -1;
    close_the_rest();
    if (!moved || timerfd_create(CLOCK_BOOTTIME, 0) != TIMER) {
        kill_group(group);
        _exit(1);
    }
    watch(group, kill_at_ms);
}

bool watchdog_start(struct watchdog *watchdog, pid_t group, int64_t kill_at_ms, int go_fd)
{
    int pipe_fds[2];
    if (pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK) == -1) return false;
    pid_t pid = fork();
    if (pid == 0) become_watchdog(group, kill_at_ms, pipe_fds[0], go_fd);
    close(pipe_fds[0]);
    if (pid == -1) {
        int error = errno;
        close(pipe_fds[1]);
        errno = error;
        return false;
    }
    *watchdog = (struct watchdog){pid, pipe_fds[1], kill_at_ms};
    return true;
}

void watchdog_set(struct watchdog *watchdog, int64_t kill_at_ms)
{
    watchdog->kill_at_ms = kill_at_ms;
    /* A full pipe means that the watchdog does not run; the older deadlines in it are the earlier
     * ones, which is the safe side. */
    ssize_t ignored = write(watchdog->deadline_fd, &kill_at_ms, sizeof kill_at_ms);
    (void)ignored;
}

void watchdog_stop(struct watchdog *watchdog)
{
    if (watchdog->pid == 0) return;
    kill(watchdog->pid, SIGKILL);
    while (waitpid(watchdog->pid, NULL, 0) == -1 && errno == EINTR) {
    }
    close(watchdog->deadline_fd);
    watchdog->pid = 0;
}

void watchdog_forget(struct watchdog *watchdog)
{
    close(watchdog->deadline_fd);
    watchdog->pid = 0;
}
