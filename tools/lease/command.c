/* command.c -- the guarded command: a process group of its own, from start to the end of its last
 * process.
 *
 * The supervisor is a child subreaper (or PID 1), so a process that the command leaves behind
 * becomes our child: it is reaped, and the end of the group is certain before the lease is given
 * back. When the process we started ends, what is left of its group is killed. A process that
 * leaves the group (setsid, a shell's job control) is beyond our reach, and the manual says so. */
#include "tool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* How long the group may take to die after SIGKILL, and how often we look. */
#define STUCK_AFTER_MS 1000
#define LOOK_AGAIN_MS 10

/* -- Start --------------------------------------------------------------------------------------*/

static bool set_environment(const struct command_desc *desc)
{
    char token[24];
    snprintf(token, sizeof token, "%llu", (unsigned long long)desc->token);
    return setenv("LEASE_NAME", desc->name, 1) == 0 &&
           setenv("LEASE_NAMESPACE", desc->ns, 1) == 0 &&
           setenv("LEASE_IDENTITY", desc->identity, 1) == 0 &&
           setenv("LEASE_TOKEN", token, 1) == 0;
}

/* In the child of fork. Waits for the watchdog's byte: watchdog.c (3). */
static _Noreturn void become_command(const struct command_desc *desc, pid_t supervisor, int go_fd)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    /* The supervisor may have died before that was in force. */
    if (getppid() != supervisor) _exit(CODE_FAILED);
    setpgid(0, 0);
    char byte;
    ssize_t count;
    do {
        count = read(go_fd, &byte, 1);
    } while (count == -1 && errno == EINTR);
    if (count != 1 || !set_environment(desc)) _exit(CODE_FAILED);
    sigprocmask(SIG_SETMASK, desc->signal_mask, NULL);
    execvp(desc->argv[0], desc->argv);
    int error = errno;
    complain("%s: %s", desc->argv[0], strerror(error));
    _exit(error == ENOENT ? CODE_NOT_FOUND : CODE_NOT_EXECUTABLE);
}

/* The foreground of the terminal goes to the command as to a shell's job, so that Ctrl-C is its
 * own. SIGTTOU is blocked in this process, which lets it move the terminal from the background too.
 * */
static void give_terminal(const struct command *command)
{
    if (isatty(STDIN_FILENO) && tcgetpgrp(STDIN_FILENO) == getpgrp()) {
        tcsetpgrp(STDIN_FILENO, command->pid);
    }
}

static void take_terminal(const struct command *command)
{
    if (isatty(STDIN_FILENO) && tcgetpgrp(STDIN_FILENO) == command->pid) {
        tcsetpgrp(STDIN_FILENO, getpgrp());
    }
}

bool command_start(struct command *command, const struct command_desc *desc)
{
    int go[2];
    if (pipe2(go, O_CLOEXEC) == -1) return false;
    pid_t supervisor = getpid();
    pid_t pid = fork();
    if (pid == 0) {
        close(go[1]);
        become_command(desc, supervisor, go[0]);
    }
    *command = (struct command){.pid = pid, .kill_at_ms = INT64_MAX};
    close(go[0]);
    bool started = pid != -1;
    if (started) {
        /* Here as well as in the child: whoever comes first, the group exists from here on. */
        setpgid(pid, pid);
        give_terminal(command);
        started = watchdog_start(&command->watchdog, pid, desc->kill_at_ms, go[1]);
    }
    int error = errno;
    close(go[1]);
    if (!started && pid != -1) {
        kill(pid, SIGKILL);
        take_terminal(command);
        waitpid(pid, NULL, 0);
    }
    if (!started) *command = (struct command){.kill_at_ms = INT64_MAX};
    errno = error;
    return started;
}

/* -- Signals ------------------------------------------------------------------------------------*/

void command_signal(struct command *command, int number)
{
    if (command->pid != 0 && !command->ended) kill(-command->pid, number);
}

void command_stop(struct command *command, int number, int64_t kill_at_ms)
{
    command_signal(command, number);
    /* A stopped process acts on nothing but SIGKILL until it is continued. */
    if (number != SIGKILL && number != SIGSTOP) command_signal(command, SIGCONT);
    command->signalled = true;
    if (kill_at_ms < command->kill_at_ms) command->kill_at_ms = kill_at_ms;
}

void command_continue(struct command *command)
{
    if (command->pid == 0 || command->ended) return;
    give_terminal(command);
    command_signal(command, SIGCONT);
}

/* -- Children -----------------------------------------------------------------------------------*/

/* The terminal stopped the command (Ctrl-Z, or reading in the background): the shell must see its
 * job stopped, so we stop too, with our whole group. Nobody renews meanwhile, and the watchdog
 * keeps its deadline. Where no shell watches (an orphaned group) the kernel ignores the signal and
 * the command goes on at once. */
static void suspend(struct command *command)
{
    take_terminal(command);
    kill(0, SIGTSTP);
    command_continue(command);
}

static void note_stop(struct command *command, int number)
{
    bool by_terminal = number == SIGTSTP || number == SIGTTIN || number == SIGTTOU;
    bool has_terminal = isatty(STDIN_FILENO) && tcgetpgrp(STDIN_FILENO) != -1;
    if (by_terminal && has_terminal && !command->signalled) suspend(command);
}

/* The process we started has ended but is not reaped yet, so its group id is still its own: kill
 * what is left, end the watchdog, give the id up, in this order. */
static void note_end(struct command *command, const siginfo_t *info)
{
    int64_t now = now_ms();
    bool killed = info->si_code != CLD_EXITED;
    bool by_watchdog = killed && info->si_status == SIGKILL &&
                       (now >= command->watchdog.kill_at_ms || command->watchdog_died);
    command->own_end = !command->signalled && !by_watchdog;
    command->code = killed ? CODE_SIGNAL + info->si_status : info->si_status;
    command->ended = true;
    command->ended_ms = now;
    kill(-command->pid, SIGKILL);
    watchdog_stop(&command->watchdog);
    take_terminal(command);
    while (waitpid(command->pid, NULL, 0) == -1 && errno == EINTR) {
    }
}

/* The watchdog ends by itself only when it has killed the command; if it was killed instead, the
 * command is without guard. Either way this is right. */
static void note_watchdog_end(struct command *command)
{
    command->watchdog_died = true;
    watchdog_forget(&command->watchdog);
    kill(-command->pid, SIGKILL);
}

static void note_child(struct command *command, const siginfo_t *info)
{
    bool stopped = info->si_code == CLD_STOPPED;
    if (info->si_pid == command->pid && !command->ended && !stopped) {
        note_end(command, info);
        return;
    }
    siginfo_t ignored;
    waitid(P_PID, (id_t)info->si_pid, &ignored, WEXITED | WSTOPPED | WNOHANG);
    if (info->si_pid == command->pid && stopped) note_stop(command, info->si_status);
    if (info->si_pid == command->watchdog.pid && !stopped) note_watchdog_end(command);
}

void command_tend(struct command *command)
{
    for (;;) {
        siginfo_t info = {.si_pid = 0};
        int options = WEXITED | WSTOPPED | WNOHANG | WNOWAIT;
        if (waitid(P_ALL, 0, &info, options) == -1 || info.si_pid == 0) break;
        note_child(command, &info);
    }
    if (command->pid != 0 && !command->ended && now_ms() >= command->kill_at_ms) {
        command->kill_at_ms = INT64_MAX;
        command_signal(command, SIGKILL);
    }
}

bool command_gone(struct command *command, bool *stuck)
{
    *stuck = false;
    if (command->pid == 0 || !command->ended) return false;
    bool empty = kill(-command->pid, 0) == -1 && errno == ESRCH;
    *stuck = !empty && now_ms() >= command->ended_ms + STUCK_AFTER_MS;
    return empty || *stuck;
}

int64_t command_wake_ms(const struct command *command)
{
    if (command->pid == 0) return INT64_MAX;
    return command->ended ? now_ms() + LOOK_AGAIN_MS : command->kill_at_ms;
}
