/* tool.h -- what the files of the lease command share.
 *
 * A file for each subcommand (run, hold, get, timing, help, version) stands on these parts:
 *
 *   options   the command line and the variables -> struct options
 *   text      bounded text, JSON strings, times
 *   log       one line for each event on stderr, text or JSON
 *   session   the lease client, the signals and the HTTP server in one poll(2)
 *   server    the HTTP endpoints
 *   command   the guarded command: start, signals, end
 *   watchdog  the process that kills the command when this one cannot
 *
 * Everything runs on one thread. Times called now_ms, ..._at_ms are CLOCK_BOOTTIME. */
#ifndef LEASE_TOOL_H
#define LEASE_TOOL_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "lease.h"

struct pollfd;

/* Exit codes of our own: the custom of timeout(1) and env(1), and 123 for what they do not have. */
enum {
    CODE_NOT_HELD = 1, /* lease get */
    CODE_LOST = 123,
    CODE_NOT_ACQUIRED = 124,
    CODE_FAILED = 125,
    CODE_NOT_EXECUTABLE = 126,
    CODE_NOT_FOUND = 127,
    CODE_SIGNAL = 128 /* + number */
};

/* -- text.c -------------------------------------------------------------------------------------*/

/* Text in a buffer of the caller: always terminated, what does not fit is left out. */
struct text {
    char *bytes;
    size_t capacity;
    size_t length;
    bool cut;
};

struct text text_in(char *bytes, size_t capacity);
void text_add(struct text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* A quoted JSON string; bytes that are not UTF-8 become U+FFFD. */
void text_add_json(struct text *text, const char *string);
/* For a terminal: control characters and bytes that are not UTF-8 become '?'. */
void text_add_plain(struct text *text, const char *string);
void text_add_time(struct text *text, int64_t unix_us);       /* 2026-01-02T03:04:05.678901Z */
void text_add_duration(struct text *text, int64_t duration_ms); /* 1m30s, 1.5s, 300ms */
/* A Go duration. NULL, or what is wrong with it. */
const char *text_parse_duration(const char *string, int64_t *duration_ms);

int64_t now_ms(void);
int64_t now_ns(void);
int64_t wall_us(void);

/* -- options.c ----------------------------------------------------------------------------------*/

enum subcommand {
    SUBCOMMAND_RUN = 1,
    SUBCOMMAND_HOLD = 2,
    SUBCOMMAND_GET = 4,
    SUBCOMMAND_TIMING = 8
};

/* Durations in milliseconds, OPTION_ABSENT when not given. */
#define OPTION_ABSENT (-1)

struct options {
    enum subcommand subcommand;
    const char *lease;
    const char *ns;       /* NULL = that of the credentials, else "default" */
    const char *identity; /* NULL = HOSTNAME_UUID */
    const char *kubeconfig;
    const char *context;
    const char *server;
    const char *token_file;
    const char *ca_file;
    const char *directory; /* of the file backend; NULL = Kubernetes */
    int64_t lease_duration_ms;
    int64_t renew_deadline_ms;
    int64_t retry_period_ms;
    int64_t stop_budget_ms;
    int64_t wait_ms; /* 0 = one try */
    int conflict_code;
    int signal;
    int64_t kill_after_ms;
    bool restart;
    bool release;
    const char *listen; /* NULL = no server */
    bool json_log;
    int log_level; /* a lease_log_level */
    bool json_output;
    char *const *command; /* NULL-terminated; run only */
    char default_identity[LEASE_MAX_IDENTITY + 1];
};

enum options_result { OPTIONS_OK, OPTIONS_HELP, OPTIONS_BAD };

/* argv[0] is the subcommand's name. OPTIONS_BAD: one line has been written to stderr. */
enum options_result options_parse(struct options *options, enum subcommand subcommand, int argc,
                                  char **argv);
/* One line for each option of the subcommand. */
void options_print(enum subcommand subcommand);
/* One line on stderr that names the option to change: what the library refused. */
void options_complain(const struct options *options, const lease_error *error);

/* -- timing.c -----------------------------------------------------------------------------------*/

struct timing {
    lease_core_desc desc; /* with the library's defaults applied; no identity */
    lease_timing meaning;
};

/* False with *error when the options are not safe. */
bool timing_init(struct timing *timing, const struct options *options, lease_error *error);
void timing_add_json(struct text *text, const struct timing *timing);

/* -- log.c --------------------------------------------------------------------------------------*/

struct log {
    bool json;
    int level; /* lines below this lease_log_level are left out */
    const char *ns;
    const char *lease;
    const char *identity;
    uint64_t dropped; /* lines that stderr had no room for */
};

struct log_entry {
    lease_log_level level;
    const char *event;   /* start, observe, acquire, ... (design: one fixed list) */
    const char *holder;  /* NULL = "" */
    uint64_t token;
    const char *reason;  /* NULL = "" */
    const lease_error *error;
    const char *message; /* what a person reads in the text format */
    const char *extra;   /* JSON members of this event alone, without braces; NULL = none */
};

void log_write(struct log *log, const struct log_entry *entry);
/* "lease: ..." on stderr, whatever the format: before there is a log, or for the last word. */
void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* -- server.c -----------------------------------------------------------------------------------*/

struct server;

struct server_desc {
    const char *address; /* of --listen */
    lease_client *client;
    lease *lease;
    const char *ns;
    const char *name;
};

#define SERVER_MAX_CONNECTIONS 16
#define SERVER_MAX_FDS (SERVER_MAX_CONNECTIONS + 1)

/* NULL, or what is wrong with ADDR:PORT. */
const char *server_check_address(const char *address);
/* NULL after one line on stderr. The desc's strings must outlive the server. */
struct server *server_open(const struct server_desc *desc);
void server_close(struct server *server);              /* NULL is fine */
const char *server_address(const struct server *server); /* as bound: 127.0.0.1:4040 */
size_t server_fds(const struct server *server, struct pollfd *fds, size_t capacity);
int64_t server_wake_ms(const struct server *server);   /* INT64_MAX = nothing is due */
void server_serve(struct server *server);              /* whatever is ready; never blocks */

/* -- session.c ----------------------------------------------------------------------------------*/

/* What has happened to the lease in one session_work. */
struct session_news {
    bool renewed; /* or acquired: leadership reaches further now */
    bool lost;
    int64_t stop_by_ms; /* lost: the command must be dead by then */
    bool failed;        /* a request failed while not leader: error */
    lease_error error;
};

struct session {
    const struct options *options;
    lease_client *client;
    lease *lease;
    struct server *server;
    struct log log;
    int signal_fd;
    bool signal_ready;
    sigset_t original_mask; /* as we were started; the command gets it back */
    struct timing timing;
    const char *ns;
    int64_t started_ms;
    bool ever_acquired;
    struct session_news news;
};

/* The client and its lease alone, as run, hold and get need them; options and the rest of *session
 * zero before. False after one line on stderr. session_close in either case. */
bool session_connect(struct session *session);
/* The same with signals, HTTP server and start line. */
bool session_open(struct session *session, const struct options *options);
void session_close(struct session *session);
/* Waits for anything to happen, no longer than until wake_ms. */
void session_wait(struct session *session, int64_t wake_ms);
int session_signal(struct session *session); /* the next pending signal; 0 = none */
bool is_stop_signal(int number);             /* ends the tool when no command is there to get it */
/* Does what is due for the lease and the HTTP clients; fills session->news. */
void session_work(struct session *session);
/* Is the time of --wait or --nonblock over? Then *code is the exit code. */
bool session_gave_up(struct session *session, int *code);
int64_t session_give_up_ms(const struct session *session);
/* Gives the lease back and waits for that, for a bounded time or until a signal says to go. */
void session_release(struct session *session);
void session_log(struct session *session, lease_log_level level, const char *event,
                 const char *reason, const char *extra, const char *format, ...)
    __attribute__((format(printf, 6, 7)));

/* -- watchdog.c ---------------------------------------------------------------------------------*/

struct watchdog {
    pid_t pid; /* 0 = none */
    int deadline_fd;
    int64_t kill_at_ms;
};

/* Starts the watchdog over a process group whose leader waits to read one byte from the other end
 * of go_fd: the watchdog writes it once it is armed. False with errno; then the byte never comes.
 * */
bool watchdog_start(struct watchdog *watchdog, pid_t group, int64_t kill_at_ms, int go_fd);
void watchdog_set(struct watchdog *watchdog, int64_t kill_at_ms);
void watchdog_stop(struct watchdog *watchdog);
void watchdog_forget(struct watchdog *watchdog); /* it has ended and has been reaped */

/* -- command.c ----------------------------------------------------------------------------------*/

struct command {
    pid_t pid; /* and its process group; 0 = none */
    struct watchdog watchdog;
    bool watchdog_died; /* it ended before the command's end was seen */
    bool signalled;     /* asked to stop, by us */
    int64_t kill_at_ms; /* SIGKILL for the whole group; INT64_MAX = not asked to stop, or done */
    bool ended;         /* the process we started; its group may not be empty yet */
    bool own_end;       /* ... neither because we asked nor by the watchdog */
    int code;           /* its exit code */
    int64_t ended_ms;
};

struct command_desc {
    char *const *argv;
    const char *name;
    const char *ns;
    const char *identity;
    uint64_t token;
    const sigset_t *signal_mask; /* that the command gets */
    int64_t kill_at_ms;          /* for the watchdog */
};

/* False with errno: nothing runs. */
bool command_start(struct command *command, const struct command_desc *desc);
void command_signal(struct command *command, int number); /* to the whole group */
/* Asks the group to stop and says when it is killed; the earliest of all such times holds. */
void command_stop(struct command *command, int number, int64_t kill_at_ms);
/* A SIGCONT came to us: passes it on, with the terminal if we have come to the foreground. */
void command_continue(struct command *command);
/* Looks at the children: reaps orphans, notices ends and stops, kills what is overdue. */
void command_tend(struct command *command);
/* True when ended and nothing of the group is left, or (*stuck) what is left does not die. */
bool command_gone(struct command *command, bool *stuck);
int64_t command_wake_ms(const struct command *command); /* tend no later than this */

/* -- the subcommands ----------------------------------------------------------------------------*/

int run_main(const struct options *options);
int hold_main(const struct options *options);
int get_main(const struct options *options);
int timing_main(const struct options *options);
int help_main(int argc, char **argv);
int help_print(enum subcommand subcommand);
int version_main(void);

#endif /* LEASE_TOOL_H */
