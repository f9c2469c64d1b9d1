/* demo.c -- `make demo`: what lease.h does, seen live in a terminal in less than a minute.
 *
 * Starts a small API server (devapi, TLS on loopback) and three candidates (`lease run`), each of
 * which runs the same command while it leads: beat, which writes a heartbeat to a file every 5 ms.
 * Then it kills the leader, freezes the next one, asks the third one to end, and draws who ran the
 * command when. The heartbeats are what it draws and measures; the rest of the story comes from the
 * candidates' JSON logs and their HTTP endpoints. Nothing is shown that was not measured.
 *
 * Exit status 0 only if the command never ran twice at once and everything started here has ended.
 * On a terminal the time line moves; elsewhere, or with NO_COLOR, the same comes as plain lines. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <langinfo.h>
#include <libgen.h>
#include <limits.h>
#include <locale.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define LEASE_DURATION "3s"
#define RENEW_DEADLINE "2s"
#define RETRY_PERIOD "500ms"

#define NS_PER_MS INT64_C(1000000)
#define NS_PER_S INT64_C(1000000000)
#define FRAME_MS 80
#define RESTART_AFTER_MS 1000 /* what a kubelet does for a container that ends */
#define LEAD_IN_MS 1500       /* of an act, before anything is done */
#define TAKEOVER_LIMIT_MS 15000
#define TOTAL_LIMIT_MS 55000
#define WINDOW_MS 7500 /* of time that a line shows at least */

#define CANDIDATES 3
#define MAX_LIVES 64
#define MAX_PHASES 128
#define MAX_NOTES 24
#define MAX_TAKEOVERS 3
#define PATH_BYTES 512

/* A command, as its heartbeats tell: alive from the first to the last. */
struct life {
    int64_t pid;
    int64_t first_ns;
    int64_t last_ns;
};

enum phase_kind { PHASE_GONE, PHASE_UP, PHASE_FROZEN };

/* The state of a lease process from this instant on. */
struct phase {
    int64_t from_ns;
    enum phase_kind kind;
};

/* Complete lines of a pipe or of a growing file. */
struct reader {
    int fd; /* -1 = closed */
    size_t length;
    char bytes[8192];
};

struct candidate {
    const char *name;
    const char *colour;
    char beat_path[PATH_BYTES];
    pid_t pid; /* of the lease process; 0 = none */
    int starts;
    int64_t restart_ns;
    char address[32]; /* of its --listen; "" = not known yet */
    char last_line[256];
    struct reader log;
    struct reader beats;
    struct phase phases[MAX_PHASES];
    size_t phase_count;
    struct life lives[MAX_LIVES];
    size_t life_count;
};

/* A line of the story of an act, and with a letter also a mark on the candidate's row. */
struct note {
    int64_t at_ns;
    const struct candidate *who;
    char letter; /* '\0' = no mark */
    char text[120];
};

struct act {
    int64_t origin_ns; /* where its rows begin */
    int64_t zero_ns;   /* what its times count from */
    struct note notes[MAX_NOTES];
    size_t note_count;
    int drawn_lines; /* on the terminal, to be drawn over */
    bool open;
};

struct takeover {
    const char *what;
    const struct candidate *from;
    const struct candidate *to;
    int64_t gap_ns;   /* last heartbeat of the old command to the first one of the new */
    int64_t after_ns; /* the signal to the first heartbeat of the new one */
};

struct demo {
    struct candidate candidates[CANDIDATES];
    struct act act;
    struct takeover takeovers[MAX_TAKEOVERS];
    size_t takeover_count;
    struct candidate *victim; /* of the signal of this act */
    size_t victim_life;
    bool victim_noted; /* the last heartbeat of its command is in the story ... */
    bool overrun_noted; /* ... and was not the last one */
    int64_t fault_ns;
    int64_t started_ns;
    int64_t drawn_ns;
    uint64_t beat_count;
    bool keep_running; /* restart candidates that end */
    bool live;
    bool unicode;
    int stop_signal;
    bool failed;
    char failure[256];
    int signal_fd;
    sigset_t original_mask;
    pid_t devapi;
    char lease_bin[PATH_BYTES];
    char devapi_bin[PATH_BYTES];
    char beat_bin[PATH_BYTES];
    char dir[PATH_BYTES]; /* "" = not made yet */
    char url[128];
    char token_path[PATH_BYTES];
    char ca_path[PATH_BYTES];
};

static int64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_BOOTTIME, &now);
    return (int64_t)now.tv_sec * NS_PER_S + now.tv_nsec;
}

/* The first failure is the one that counts. */
static __attribute__((format(printf, 2, 3))) void fail(struct demo *demo, const char *format, ...) {
    va_list arguments;
    if (demo->failed) return;
    demo->failed = true;
    va_start(arguments, format);
    vsnprintf(demo->failure, sizeof demo->failure, format, arguments);
    va_end(arguments);
}

/* -- What is shown ------------------------------------------------------------------------------*/

enum cell { CELL_GONE, CELL_STANDBY, CELL_FROZEN, CELL_RUNS, CELL_RUNS_FROZEN, CELL_KINDS };

static const char *const glyphs[2][CELL_KINDS] = {
    {" ", ".", "~", "#", "%"},
    {" ", "\u00b7", "\u2591", "\u2588", "\u2593"},
};

static const char *colour(const struct demo *demo, const char *code) {
    return demo->live ? code : "";
}

#define RESET "\033[0m"
#define BOLD "\033[1m"
#define DIM "\033[2m"
#define WARN "\033[1;33m"
#define BAD "\033[1;31m"
#define MARK "\033[1;7m"

static void terminal_size(int *columns, int *rows) {
    struct winsize size;
    bool known = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
    *columns = known ? size.ws_col : 80;
    *rows = known && size.ws_row > 0 ? size.ws_row : 24;
}

static enum phase_kind phase_at(const struct candidate *self, int64_t at_ns) {
    enum phase_kind kind = PHASE_GONE;
    for (size_t i = 0; i < self->phase_count && self->phases[i].from_ns < at_ns; i++) {
        kind = self->phases[i].kind;
    }
    return kind;
}

static enum cell cell_at(const struct candidate *self, int64_t from_ns, int64_t to_ns) {
    bool frozen = phase_at(self, to_ns) == PHASE_FROZEN;
    for (size_t i = 0; i < self->life_count; i++) {
        const struct life *life = &self->lives[i];
        if (life->first_ns < to_ns && life->last_ns >= from_ns) {
            return frozen ? CELL_RUNS_FROZEN : CELL_RUNS;
        }
    }
    if (frozen) return CELL_FROZEN;
    return phase_at(self, to_ns) == PHASE_UP ? CELL_STANDBY : CELL_GONE;
}

static char mark_at(const struct act *act, const struct candidate *who, int64_t from_ns,
                    int64_t to_ns) {
    for (size_t i = 0; i < act->note_count; i++) {
        const struct note *note = &act->notes[i];
        if (note->letter == '\0' || note->who != who) continue;
        if (note->at_ns >= from_ns && note->at_ns < to_ns) return note->letter;
    }
    return '\0';
}

/* The finest scale at which the window, and all of the act so far, fits in so many columns. */
static int64_t scale_ns(const struct act *act, int columns) {
    static const int scales_ms[] = {20, 25, 40, 50, 100, 125, 200, 250, 500, 1000};
    int64_t need_ms = (now_ns() - act->origin_ns) / NS_PER_MS + 200;
    size_t i = 0;
    if (need_ms < WINDOW_MS) need_ms = WINDOW_MS;
    while (i + 1 < sizeof scales_ms / sizeof scales_ms[0] &&
           (int64_t)scales_ms[i] * columns < need_ms) {
        i++;
    }
    return scales_ms[i] * NS_PER_MS;
}

#define LABEL_COLUMNS 11

/* A tick at each second from the zero of the act, with its number where there is room for it. */
static void draw_axis(const struct demo *demo, int columns, int64_t per_column_ns) {
    const struct act *act = &demo->act;
    int blanks = LABEL_COLUMNS; /* before the next tick */
    fputs(colour(demo, DIM), stdout);
    for (int column = 0; column < columns;) {
        int64_t from_ns = act->origin_ns + column * per_column_ns - act->zero_ns;
        int64_t second = from_ns > 0 ? (from_ns + NS_PER_S - 1) / NS_PER_S : from_ns / NS_PER_S;
        int width = 1;
        if (second * NS_PER_S - from_ns >= per_column_ns) {
            blanks++;
        } else {
            char label[16];
            snprintf(label, sizeof label, second == 0 ? "0" : "%+" PRId64 "s", second);
            bool fits = column + 1 + (int)strlen(label) <= columns &&
                        NS_PER_S / per_column_ns >= 6;
            width += fits ? (int)strlen(label) : 0;
            printf("%*s%s%s", blanks, "", demo->unicode ? "\u2577" : "|", fits ? label : "");
            blanks = 0;
        }
        column += width;
    }
    printf("%s%s\n", colour(demo, RESET), colour(demo, "\033[K"));
}

static const char *cell_colour(const struct candidate *self, enum cell cell) {
    switch (cell) {
    case CELL_RUNS: return self->colour;
    case CELL_RUNS_FROZEN:
    case CELL_FROZEN: return WARN;
    case CELL_GONE:
    case CELL_STANDBY:
    case CELL_KINDS: break;
    }
    return DIM;
}

/* Only columns whose time has passed completely, for a heartbeat may still be on its way. */
static void draw_row(const struct demo *demo, const struct candidate *self, int columns,
                     int64_t per_column_ns) {
    const char *last = "";
    int64_t settled_ns = now_ns() - 50 * NS_PER_MS;
    printf("  %s%-8s%s ", colour(demo, self->colour), self->name, colour(demo, RESET));
    for (int column = 0; column < columns; column++) {
        int64_t from_ns = demo->act.origin_ns + column * per_column_ns;
        int64_t to_ns = from_ns + per_column_ns;
        if (to_ns > settled_ns) break;
        char mark = mark_at(&demo->act, self, from_ns, to_ns);
        enum cell cell = cell_at(self, from_ns, to_ns);
        const char *wanted = mark != '\0' ? MARK : cell_colour(self, cell);
        if (wanted != last) printf("%s%s", colour(demo, RESET), colour(demo, wanted));
        last = wanted;
        if (mark != '\0') putchar(mark);
        else fputs(glyphs[demo->unicode][cell], stdout);
    }
    printf("%s%s\n", colour(demo, RESET), colour(demo, "\033[K"));
}

static void print_note(const struct demo *demo, const struct note *note, int columns) {
    /* Whole milliseconds, so that nothing comes out as -0.000. */
    int64_t ms = (note->at_ns - demo->act.zero_ns) / NS_PER_MS;
    bool marked = note->letter != '\0';
    printf("  %s%c%s", marked ? colour(demo, MARK) : "", marked ? note->letter : ' ',
           colour(demo, RESET));
    printf(" %s%+8.3f s%s  %.*s%s\n", colour(demo, DIM), (double)ms / 1000, colour(demo, RESET),
           columns - 18, note->text, colour(demo, "\033[K"));
}

static void draw_rows(const struct demo *demo, int columns) {
    int room = columns - LABEL_COLUMNS - 1;
    int64_t per_column_ns = scale_ns(&demo->act, room);
    draw_axis(demo, room, per_column_ns);
    for (size_t i = 0; i < CANDIDATES; i++) {
        draw_row(demo, &demo->candidates[i], room, per_column_ns);
    }
}

/* Draws the act over what was drawn of it before. */
static void draw_live(struct demo *demo) {
    struct act *act = &demo->act;
    int columns, rows;
    terminal_size(&columns, &rows);
    if (act->drawn_lines > 0) printf("\033[%dA\r", act->drawn_lines);
    draw_rows(demo, columns);
    printf("\033[K\n");
    /* What has left the screen at its top cannot be drawn over: the oldest lines give way. */
    size_t room = rows > CANDIDATES + 4 ? (size_t)(rows - CANDIDATES - 4) : 1;
    size_t first = act->note_count > room ? act->note_count - room : 0;
    for (size_t i = first; i < act->note_count; i++) print_note(demo, &act->notes[i], columns);
    printf("\033[J");
    act->drawn_lines = CANDIDATES + 2 + (int)(act->note_count - first);
    demo->drawn_ns = now_ns();
}

/* Adds a line to the story. Live it goes where its time is; in plain text it comes as it becomes
 * known, with the time at which it happened. */
static __attribute__((format(printf, 5, 6))) void tell(struct demo *demo, int64_t at_ns,
                                                       const struct candidate *who, char letter,
                                                       const char *format, ...) {
    struct act *act = &demo->act;
    struct note note = {.at_ns = at_ns, .who = who, .letter = letter};
    va_list arguments;
    if (!act->open || act->note_count == MAX_NOTES) return;
    va_start(arguments, format);
    vsnprintf(note.text, sizeof note.text, format, arguments);
    va_end(arguments);
    size_t i = act->note_count++;
    for (; i > 0 && act->notes[i - 1].at_ns > at_ns; i--) act->notes[i] = act->notes[i - 1];
    act->notes[i] = note;
    if (!demo->live) print_note(demo, &note, 80 + 18);
}

static void print_rule(const struct demo *demo, const char *title) {
    int columns, rows;
    terminal_size(&columns, &rows);
    if (columns > 120) columns = 120;
    const char *dash = demo->unicode ? "\u2500" : "-";
    printf("\n%s%s%s %s%s%s%s ", colour(demo, DIM), dash, dash, colour(demo, RESET),
           colour(demo, BOLD), title, colour(demo, RESET));
    printf("%s", colour(demo, DIM));
    for (int column = (int)strlen(title) + 4; column < columns - 1; column++) fputs(dash, stdout);
    printf("%s\n", colour(demo, RESET));
}

/* -- Processes ----------------------------------------------------------------------------------*/

/* In a group of its own, so that Ctrl-C reaches us alone, and killed by the kernel when we die. */
static pid_t spawn(const struct demo *demo, const char *const *argv, int out_fd, int err_fd) {
    pid_t parent = getpid();
    pid_t pid = fork();
    if (pid != 0) return pid;
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    int null_fd = open("/dev/null", O_RDONLY);
    if (getppid() != parent || dup2(null_fd, STDIN_FILENO) == -1 ||
        dup2(out_fd, STDOUT_FILENO) == -1 || dup2(err_fd, STDERR_FILENO) == -1) {
        _exit(127);
    }
    sigprocmask(SIG_SETMASK, &demo->original_mask, NULL);
    execv(argv[0], (char *const *)(uintptr_t)argv);
    dprintf(STDERR_FILENO, "%s: %s\n", argv[0], strerror(errno));
    _exit(127);
}

static void enter_phase(struct demo *demo, struct candidate *self, enum phase_kind kind,
                        int64_t at_ns) {
    if (self->phase_count == MAX_PHASES) {
        fail(demo, "%s has been started more often than this can show", self->name);
        return;
    }
    self->phases[self->phase_count++] = (struct phase){at_ns, kind};
}

static void start_candidate(struct demo *demo, struct candidate *self) {
    int fds[2];
    char identity[32];
    snprintf(identity, sizeof identity, "%s-%d", self->name, ++self->starts);
    const char *const argv[] = {
        demo->lease_bin, "run", "--server", demo->url, "--ca-file", demo->ca_path,
        "--token-file", demo->token_path, "--namespace", "lease-test", "--lease", "demo",
        "--identity", identity, "--lease-duration", LEASE_DURATION, "--renew-deadline",
        RENEW_DEADLINE, "--retry-period", RETRY_PERIOD, "--listen", "127.0.0.1:0",
        "--log-format", "json", "--log-level", "info", "--", demo->beat_bin, self->beat_path,
        NULL};
    int null_fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (null_fd == -1 || pipe2(fds, O_CLOEXEC) == -1) {
        fail(demo, "cannot open a pipe: %s", strerror(errno));
        return;
    }
    fcntl(fds[0], F_SETFL, O_NONBLOCK);
    int64_t at_ns = now_ns();
    self->pid = spawn(demo, argv, null_fd, fds[1]);
    close(fds[1]);
    close(null_fd);
    self->log = (struct reader){.fd = fds[0]};
    self->address[0] = '\0';
    if (self->pid == -1) {
        self->pid = 0;
        fail(demo, "cannot start a process: %s", strerror(errno));
        return;
    }
    enter_phase(demo, self, PHASE_UP, at_ns);
    if (self->starts > 1) tell(demo, at_ns, self, '\0', "%s is started again", self->name);
}

/* Does something to the leader, and remembers what the takeover is measured from. */
static void strike(struct demo *demo, struct candidate *victim, int number, char letter,
                   const char *what) {
    demo->victim = victim;
    demo->victim_life = victim->life_count - 1;
    demo->victim_noted = false;
    demo->overrun_noted = false;
    demo->fault_ns = now_ns();
    demo->act.zero_ns = demo->fault_ns;
    if (number == SIGSTOP) enter_phase(demo, victim, PHASE_FROZEN, demo->fault_ns);
    tell(demo, demo->fault_ns, victim, letter, "%s %s", what, victim->name);
    if (kill(victim->pid, number) == -1) {
        fail(demo, "cannot signal %s: %s", victim->name, strerror(errno));
    }
}

/* -- What the candidates say --------------------------------------------------------------------*/

typedef void line_handler(struct demo *demo, struct candidate *self, char *line);

/* Hands over every complete line that is there to be read. */
static void read_lines(struct demo *demo, struct candidate *self, struct reader *reader,
                       line_handler *handle) {
    while (reader->fd != -1) {
        ssize_t count = read(reader->fd, reader->bytes + reader->length,
                             sizeof reader->bytes - reader->length);
        if (count <= 0) return;
        reader->length += (size_t)count;
        char *line = reader->bytes;
        char *end = reader->bytes + reader->length;
        for (char *newline; (newline = memchr(line, '\n', (size_t)(end - line))) != NULL;) {
            *newline = '\0';
            handle(demo, self, line);
            line = newline + 1;
        }
        reader->length = (size_t)(end - line);
        memmove(reader->bytes, line, reader->length);
        if (reader->length == sizeof reader->bytes) reader->length = 0;
    }
}

static void close_reader(struct reader *reader) {
    if (reader->fd != -1) close(reader->fd);
    reader->fd = -1;
}

/* A heartbeat of the old command after another candidate has acquired the Lease. */
static void note_overrun(struct demo *demo, const struct candidate *self, int64_t at_ns) {
    bool old = demo->victim == self && self->life_count - 1 == demo->victim_life;
    if (!old || !demo->victim_noted || demo->overrun_noted) return;
    demo->overrun_noted = true;
    tell(demo, at_ns, self, '!', "%s's command STILL RUNS", self->name);
}

/* BOOTTIME_NS PID TOKEN */
static void on_beat(struct demo *demo, struct candidate *self, char *line) {
    char *rest = NULL;
    int64_t at_ns = strtoll(line, &rest, 10);
    int64_t pid = strtoll(rest, &rest, 10);
    struct life *last = self->life_count > 0 ? &self->lives[self->life_count - 1] : NULL;
    demo->beat_count++;
    if (at_ns <= 0 || pid <= 0 || *rest != ' ') {
        fail(demo, "a heartbeat that is none: %.60s", line);
    } else if (last != NULL && last->pid == pid) {
        last->last_ns = at_ns;
        note_overrun(demo, self, at_ns);
    } else if (self->life_count == MAX_LIVES) {
        fail(demo, "%s has led more often than this can show", self->name);
    } else {
        self->lives[self->life_count++] = (struct life){pid, at_ns, at_ns};
        tell(demo, at_ns, self, '\0', "%s's command: first heartbeat", self->name);
    }
}

static void read_beats(struct demo *demo) {
    for (struct candidate *one = demo->candidates; one < demo->candidates + CANDIDATES; one++) {
        read_lines(demo, one, &one->beats, on_beat);
    }
}

/* The text behind "name": in a line of the log, without quotes; "" when there is none. */
static const char *member(const char *line, const char *name, char *value, size_t capacity) {
    char key[32];
    size_t length = 0;
    snprintf(key, sizeof key, "\"%s\":", name);
    const char *at = strstr(line, key);
    if (at != NULL) {
        at += strlen(key);
        if (*at == '"') at++;
        length = strcspn(at, "\",}");
    }
    if (length >= capacity) length = capacity - 1;
    memcpy(value, at != NULL ? at : "", length);
    value[length] = '\0';
    return value;
}

/* When another candidate acquires, the last heartbeat of the old command must have been. */
static void note_last_beat(struct demo *demo) {
    if (demo->victim == NULL || demo->victim_noted) return;
    read_beats(demo);
    demo->victim_noted = true;
    tell(demo, demo->victim->lives[demo->victim_life].last_ns, demo->victim, '\0',
         "%s's command: last heartbeat", demo->victim->name);
}

static void on_log(struct demo *demo, struct candidate *self, char *line) {
    char event[32], number[32], value[32];
    snprintf(self->last_line, sizeof self->last_line, "%s", line);
    member(line, "event", event, sizeof event);
    int64_t at_ns = strtoll(member(line, "mono_ns", number, sizeof number), NULL, 10);
    if (strcmp(event, "start") == 0) {
        member(line, "listen", self->address, sizeof self->address);
    } else if (strcmp(event, "acquire") == 0) {
        note_last_beat(demo);
        tell(demo, at_ns, self, '\0', "%s acquires the Lease, fencing token %s", self->name,
             member(line, "token", value, sizeof value));
    } else if (strcmp(event, "lose") == 0) {
        tell(demo, at_ns, self, '\0', "%s notices that it leads no more (%s)", self->name,
             member(line, "reason", value, sizeof value));
    } else if (strcmp(event, "child_exit") == 0) {
        tell(demo, at_ns, self, '\0', "%s finds its command ended, exit code %s", self->name,
             member(line, "code", value, sizeof value));
    } else if (strcmp(event, "release") == 0 && strstr(line, "\"holder\":\"\"") != NULL) {
        tell(demo, at_ns, self, '\0', "%s has given the Lease back", self->name);
    }
}

/* -- The world, one turn at a time --------------------------------------------------------------*/

static void on_candidate_end(struct demo *demo, struct candidate *self, int status) {
    int64_t at_ns = now_ns();
    read_lines(demo, self, &self->log, on_log);
    close_reader(&self->log);
    self->pid = 0;
    self->restart_ns = at_ns + RESTART_AFTER_MS * NS_PER_MS;
    enter_phase(demo, self, PHASE_GONE, at_ns);
    if (WIFEXITED(status)) {
        tell(demo, at_ns, self, '\0', "%s ends, exit code %d", self->name, WEXITSTATUS(status));
    }
}

/* Also reaps what killed candidates leave behind: we are its subreaper. */
static void reap(struct demo *demo) {
    int status;
    for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;) {
        if (pid == demo->devapi) {
            demo->devapi = 0;
            fail(demo, "the API server has ended by itself");
        }
        for (size_t i = 0; i < CANDIDATES; i++) {
            struct candidate *one = &demo->candidates[i];
            if (one->pid == pid) on_candidate_end(demo, one, status);
        }
    }
}

static void take_signals(struct demo *demo) {
    struct signalfd_siginfo info;
    while (read(demo->signal_fd, &info, sizeof info) == (ssize_t)sizeof info) {
        int number = (int)info.ssi_signo;
        if (number == SIGINT || number == SIGTERM || number == SIGHUP || number == SIGQUIT) {
            demo->stop_signal = number;
        }
    }
    reap(demo);
}

static void restart_ended(struct demo *demo) {
    for (size_t i = 0; i < CANDIDATES && demo->keep_running; i++) {
        struct candidate *one = &demo->candidates[i];
        if (one->pid == 0 && now_ns() >= one->restart_ns) start_candidate(demo, one);
    }
}

/* False: no use in going on. */
static bool turn(struct demo *demo) {
    struct pollfd fds[1 + CANDIDATES] = {{.fd = demo->signal_fd, .events = POLLIN}};
    nfds_t count = 1;
    for (size_t i = 0; i < CANDIDATES; i++) {
        if (demo->candidates[i].log.fd == -1) continue;
        fds[count++] = (struct pollfd){.fd = demo->candidates[i].log.fd, .events = POLLIN};
    }
    poll(fds, count, FRAME_MS / 2);
    for (size_t i = 0; i < CANDIDATES; i++) {
        read_lines(demo, &demo->candidates[i], &demo->candidates[i].log, on_log);
    }
    read_beats(demo);
    take_signals(demo);
    restart_ended(demo);
    if (now_ns() - demo->started_ns > TOTAL_LIMIT_MS * NS_PER_MS) {
        fail(demo, "this takes too long: is the machine very busy?");
    }
    bool due = now_ns() - demo->drawn_ns >= FRAME_MS * NS_PER_MS;
    if (demo->live && demo->act.open && due) draw_live(demo);
    if (fflush(stdout) != 0) {
        if (errno == EPIPE) demo->stop_signal = SIGPIPE; /* the reader has seen enough */
        else fail(demo, "cannot write: %s", strerror(errno));
    }
    return !demo->failed && demo->stop_signal == 0;
}

static bool run_for(struct demo *demo, int64_t ms) {
    int64_t end_ns = now_ns() + ms * NS_PER_MS;
    bool good = true;
    while (good && now_ns() < end_ns) good = turn(demo);
    return good;
}

typedef bool condition(const struct demo *demo);

static bool wait_for(struct demo *demo, condition *met, const char *what) {
    int64_t end_ns = now_ns() + TAKEOVER_LIMIT_MS * NS_PER_MS;
    while (turn(demo)) {
        if (met(demo)) return true;
        if (now_ns() > end_ns) {
            fail(demo, "waited %d s in vain: %s", TAKEOVER_LIMIT_MS / 1000, what);
        }
    }
    return false;
}

/* Whose command runs, by the heartbeats. NULL: nobody's. */
static struct candidate *find_leader(struct demo *demo) {
    struct candidate *leader = NULL;
    int64_t newest_ns = now_ns() - 200 * NS_PER_MS;
    for (size_t i = 0; i < CANDIDATES; i++) {
        struct candidate *one = &demo->candidates[i];
        if (one->life_count == 0 || one->pid == 0) continue;
        int64_t last_ns = one->lives[one->life_count - 1].last_ns;
        if (last_ns < newest_ns) continue;
        newest_ns = last_ns;
        leader = one;
    }
    return leader;
}

/* The first command that began after the signal of this act; NULL: none yet. */
static const struct life *find_successor(const struct demo *demo, const struct candidate **who) {
    const struct life *found = NULL;
    for (size_t i = 0; i < CANDIDATES; i++) {
        const struct candidate *one = &demo->candidates[i];
        for (size_t j = 0; j < one->life_count; j++) {
            const struct life *life = &one->lives[j];
            if (life->first_ns <= demo->fault_ns) continue;
            if (found != NULL && life->first_ns >= found->first_ns) continue;
            found = life;
            if (who != NULL) *who = one;
        }
    }
    return found;
}

static bool has_successor(const struct demo *demo) {
    return find_successor(demo, NULL) != NULL;
}

static bool victim_is_gone(const struct demo *demo) {
    return demo->victim->pid == 0;
}

static bool all_stand_and_one_leads(const struct demo *demo) {
    bool leads = false;
    for (size_t i = 0; i < CANDIDATES; i++) {
        const struct candidate *one = &demo->candidates[i];
        if (one->pid == 0 || one->address[0] == '\0') return false;
        if (one->life_count == 0) continue;
        if (now_ns() - one->lives[one->life_count - 1].last_ns < 200 * NS_PER_MS) leads = true;
    }
    return leads;
}

/* -- The acts -----------------------------------------------------------------------------------*/

static void begin_act(struct demo *demo, const char *title, const char *expected) {
    print_rule(demo, title);
    printf("%s\n", expected);
    demo->victim = NULL;
    demo->act = (struct act){.origin_ns = now_ns(), .open = true};
    demo->act.zero_ns = demo->act.origin_ns + LEAD_IN_MS * NS_PER_MS;
}

/* With the takeover of the act, if it has brought one. */
static void end_act(struct demo *demo, const char *what) {
    int columns, rows;
    terminal_size(&columns, &rows);
    if (demo->live) {
        draw_live(demo);
    } else {
        putchar('\n');
        draw_rows(demo, columns);
    }
    demo->act.open = false;
    struct takeover takeover = {.what = what, .from = demo->victim};
    const struct life *next = find_successor(demo, &takeover.to);
    if (demo->victim == NULL || next == NULL) return;
    takeover.gap_ns = next->first_ns - demo->victim->lives[demo->victim_life].last_ns;
    takeover.after_ns = next->first_ns - demo->fault_ns;
    demo->takeovers[demo->takeover_count++] = takeover;
}

/* Lets the leader lead for a second, then does it. */
static bool strike_leader(struct demo *demo, int number, char letter, const char *what) {
    if (!run_for(demo, LEAD_IN_MS)) return false;
    if (!wait_for(demo, all_stand_and_one_leads, "one leads, two stand by")) return false;
    struct candidate *leader = find_leader(demo);
    if (leader == NULL) {
        fail(demo, "nobody leads");
        return false;
    }
    strike(demo, leader, number, letter, what);
    return wait_for(demo, has_successor, "another one leads");
}

static bool act_start(struct demo *demo) {
    begin_act(demo, "Start",
              "   Three candidates start at the same time.\n"
              "   Expected: one takes the Lease and runs the command, the others stand by.\n");
    demo->act.zero_ns = demo->act.origin_ns;
    for (size_t i = 0; i < CANDIDATES; i++) start_candidate(demo, &demo->candidates[i]);
    demo->keep_running = true;
    if (!wait_for(demo, all_stand_and_one_leads, "one leads, two stand by")) return false;
    if (!run_for(demo, 2500)) return false;
    end_act(demo, "started");
    return true;
}

static bool act_kill(struct demo *demo) {
    begin_act(demo, "Kill the leader",
              "   SIGKILL to its lease process; the kernel ends the command together with it.\n"
              "   Expected: nobody is told; another one leads when the Lease (" LEASE_DURATION
              ") has run out.\n");
    if (!strike_leader(demo, SIGKILL, 'K', "kill -KILL")) return false;
    if (!run_for(demo, 1500)) return false;
    end_act(demo, "killed");
    return true;
}

static bool act_freeze(struct demo *demo) {
    begin_act(demo, "Freeze the leader",
              "   SIGSTOP to its lease process: it can neither renew nor stop its command.\n"
              "   Expected: its watchdog ends the command in time; woken up, it ends, too.\n");
    if (!strike_leader(demo, SIGSTOP, 'F', "kill -STOP")) return false;
    if (!run_for(demo, 700)) return false;
    struct candidate *victim = demo->victim;
    int64_t at_ns = now_ns();
    tell(demo, at_ns, victim, 'W', "kill -CONT %s", victim->name);
    enter_phase(demo, victim, PHASE_UP, at_ns);
    kill(victim->pid, SIGCONT);
    if (!wait_for(demo, victim_is_gone, "the woken one ends")) return false;
    if (!run_for(demo, 1500)) return false;
    end_act(demo, "frozen");
    return true;
}

static bool act_release(struct demo *demo) {
    begin_act(demo, "Ask the leader to end",
              "   SIGTERM to its lease process, which ends the command and then releases.\n"
              "   Expected: another one leads at its next look, long before the " LEASE_DURATION
              " are over.\n");
    if (!strike_leader(demo, SIGTERM, 'T', "kill -TERM")) return false;
    if (!run_for(demo, 2000)) return false;
    end_act(demo, "ended");
    return true;
}

/* -- What came of it ----------------------------------------------------------------------------*/

/* The body of an answer with status 200 from a candidate's --listen; false without one. */
static bool http_get(const char *address, const char *path, char *body, size_t capacity) {
    struct sockaddr_in to = {.sin_family = AF_INET};
    char text[sizeof((struct candidate *)0)->address];
    snprintf(text, sizeof text, "%s", address);
    char *colon = strrchr(text, ':');
    if (colon == NULL) return false;
    *colon = '\0';
    to.sin_port = htons((uint16_t)strtoul(colon + 1, NULL, 10));
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct timeval limit = {.tv_sec = 2};
    bool good = fd != -1 && inet_pton(AF_INET, text, &to.sin_addr) == 1 &&
                setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) == 0 &&
                connect(fd, (const struct sockaddr *)&to, sizeof to) == 0 &&
                dprintf(fd, "GET %s HTTP/1.0\r\nHost: %s\r\n\r\n", path, address) > 0;
    size_t length = 0;
    for (ssize_t count = 1; good && count > 0 && length + 1 < capacity; length += (size_t)count) {
        count = read(fd, body + length, capacity - 1 - length);
        if (count < 0) count = 0;
    }
    if (fd != -1) close(fd);
    body[length] = '\0';
    const char *start = strstr(body, "\r\n\r\n");
    if (!good || strncmp(body, "HTTP/1.", 7) != 0 || strncmp(body + 8, " 200", 4) != 0 ||
        start == NULL) {
        return false;
    }
    memmove(body, start + 4, strlen(start + 4) + 1);
    return true;
}

/* What was read for the last lines, while a leader was there to be asked. */
struct answers {
    const struct candidate *leader;
    char range[512];
    char metrics[32768];
};

static bool ask_leader(struct demo *demo, struct answers *answers) {
    answers->leader = find_leader(demo);
    if (answers->leader == NULL) {
        fail(demo, "nobody leads at the end");
    } else if (!http_get(answers->leader->address, "/range", answers->range,
                         sizeof answers->range) ||
               !http_get(answers->leader->address, "/metrics", answers->metrics,
                         sizeof answers->metrics)) {
        fail(demo, "%s leads, but does not answer at %s", answers->leader->name,
             answers->leader->address);
    }
    return !demo->failed;
}

static void print_takeovers(const struct demo *demo) {
    printf("\n%35sno command ran for    signal to new command\n", "");
    for (size_t i = 0; i < demo->takeover_count; i++) {
        const struct takeover *one = &demo->takeovers[i];
        printf("  leader %-8s %-7s %s %-7s %s%15.3f s%s %22.3f s\n", one->what, one->from->name,
               demo->unicode ? "\u2192" : ">", one->to->name,
               colour(demo, one->gap_ns > 0 ? BOLD : BAD), (double)one->gap_ns / (double)NS_PER_S,
               colour(demo, RESET), (double)one->after_ns / (double)NS_PER_S);
    }
}

static void print_overlap(const struct demo *demo, int64_t overlap_ms) {
    size_t commands = 0;
    for (size_t i = 0; i < CANDIDATES; i++) commands += demo->candidates[i].life_count;
    printf("\n  %s%" PRId64 " ms%s in which two commands ran at once (%zu commands, %" PRIu64
           " heartbeats)\n",
           colour(demo, overlap_ms == 0 ? BOLD : BAD), overlap_ms, colour(demo, RESET), commands,
           demo->beat_count);
}

static void print_answers(const struct demo *demo, struct answers *answers) {
    static const char *const shown[] = {"lease_is_held", "lease_valid_seconds",
                                        "lease_fencing_token", "lease_renewals_total",
                                        "leader_election_master_status"};
    char start[64], end[64];
    const char *name = answers->leader->name;
    member(answers->range, "start", start, sizeof start);
    member(answers->range, "end", end, sizeof end);
    printf("\n  the time range in which %s may write, from its /range:\n"
           "    %s[%s, %s)%s\n", name, colour(demo, DIM), start, end, colour(demo, RESET));
    printf("\n  some of its /metrics:\n%s", colour(demo, DIM));
    for (char *line = strtok(answers->metrics, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        for (size_t i = 0; i < sizeof shown / sizeof shown[0]; i++) {
            size_t length = strlen(shown[i]);
            if (strncmp(line, shown[i], length) == 0 && line[length] == '{') {
                printf("    %s\n", line);
            }
        }
    }
    printf("%s", colour(demo, RESET));
}

/* -- Beginning and end --------------------------------------------------------------------------*/

static bool read_file(const char *path, char *text, size_t capacity) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t length = fd != -1 ? read(fd, text, capacity - 1) : -1;
    if (fd != -1) close(fd);
    text[length > 0 ? length : 0] = '\0';
    return length > 0;
}

static bool in_dir(struct demo *demo, char *path, const char *name) {
    int length = snprintf(path, PATH_BYTES, "%s/%s", demo->dir, name);
    if (length < PATH_BYTES) return true;
    fail(demo, "%s: too long a path", demo->dir);
    return false;
}

/* From the environment, as the makefile sets it, or beside this program. */
static bool find_program(struct demo *demo, char *path, const char *variable, const char *name) {
    char self[PATH_BYTES];
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    self[length > 0 ? length : 0] = '\0';
    const char *set = getenv(variable);
    const char *folder = set == NULL ? dirname(self) : "";
    int written = snprintf(path, PATH_BYTES, "%s%s%s", folder, set == NULL ? "/" : "",
                           set != NULL ? set : name);
    if (written < PATH_BYTES && access(path, X_OK) == 0) return true;
    fail(demo, "%s is missing: run make first", path);
    return false;
}

/* Signals come through a descriptor; Ctrl-Z is not for a demo, whose clock would go on. */
static bool take_over_signals(struct demo *demo) {
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGCHLD, SIGTSTP, SIGPIPE};
    sigset_t mask;
    sigemptyset(&mask);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) sigaddset(&mask, numbers[i]);
    sigprocmask(SIG_BLOCK, &mask, &demo->original_mask);
    demo->signal_fd = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    if (demo->signal_fd == -1) fail(demo, "no signalfd: %s", strerror(errno));
    return demo->signal_fd != -1;
}

static bool prepare(struct demo *demo) {
    static const char *const names[CANDIDATES] = {"alpha", "bravo", "charlie"};
    static const char *const colours[CANDIDATES] = {"\033[32m", "\033[36m", "\033[35m"};
    static const char *const logs[CANDIDATES] = {"alpha.beats", "bravo.beats", "charlie.beats"};
    const char *plain = getenv("NO_COLOR");
    const char *terminal = getenv("TERM");
    const char *tmp = getenv("TMPDIR");
    int columns, rows;
    demo->started_ns = now_ns();
    setlocale(LC_CTYPE, "");
    terminal_size(&columns, &rows);
    demo->live = isatty(STDOUT_FILENO) && (plain == NULL || *plain == '\0') && columns >= 60 &&
                 rows >= 16 && terminal != NULL && strcmp(terminal, "dumb") != 0;
    demo->unicode = demo->live && strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
    setvbuf(stdout, NULL, _IOFBF, (size_t)64 * 1024); /* a frame is one write */
    for (size_t i = 0; i < CANDIDATES; i++) {
        struct candidate *one = &demo->candidates[i];
        one->name = names[i];
        one->colour = colours[i];
        one->log.fd = one->beats.fd = -1;
    }
    if (!find_program(demo, demo->lease_bin, "LEASE_BIN", "lease") ||
        !find_program(demo, demo->devapi_bin, "DEVAPI_BIN", "devapi") ||
        !find_program(demo, demo->beat_bin, "BEAT_BIN", "beat") || !take_over_signals(demo)) {
        return false;
    }
    snprintf(demo->dir, sizeof demo->dir, "%s/lease-demo.XXXXXX", tmp != NULL ? tmp : "/tmp");
    if (mkdtemp(demo->dir) == NULL) {
        fail(demo, "cannot make %s: %s", demo->dir, strerror(errno));
        demo->dir[0] = '\0';
        return false;
    }
    for (size_t i = 0; i < CANDIDATES; i++) {
        struct candidate *one = &demo->candidates[i];
        if (!in_dir(demo, one->beat_path, logs[i])) return false;
        one->beats.fd = open(one->beat_path, O_RDONLY | O_CREAT | O_CLOEXEC, 0600);
        if (one->beats.fd == -1) {
            fail(demo, "cannot make %s: %s", one->beat_path, strerror(errno));
            return false;
        }
    }
    return in_dir(demo, demo->token_path, "server/serviceaccount/token") &&
           in_dir(demo, demo->ca_path, "server/serviceaccount/ca.crt");
}

/* devapi prints "ready URL" when it serves. */
static bool api_is_ready(const struct demo *demo) {
    char path[PATH_BYTES + 16], text[256];
    snprintf(path, sizeof path, "%s/api.log", demo->dir);
    return read_file(path, text, sizeof text) && strstr(text, "ready https://") != NULL &&
           strchr(text, '\n') != NULL;
}

static bool start_api(struct demo *demo) {
    char server[PATH_BYTES], path[PATH_BYTES], text[256];
    if (!in_dir(demo, server, "server") || !in_dir(demo, path, "api.log")) return false;
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd != -1) {
        const char *const argv[] = {demo->devapi_bin, "--dir", server, NULL};
        demo->devapi = spawn(demo, argv, fd, fd);
        close(fd);
    }
    if (fd == -1 || demo->devapi == -1) {
        demo->devapi = 0;
        fail(demo, "cannot start the API server: %s", strerror(errno));
    }
    if (!wait_for(demo, api_is_ready, "the API server is ready")) return false;
    read_file(path, text, sizeof text);
    const char *url = strstr(text, "https://");
    snprintf(demo->url, sizeof demo->url, "%.*s", (int)strcspn(url, "\n"), url);
    return true;
}

static void print_legend(const struct demo *demo) {
    static const enum cell cells[] = {CELL_RUNS, CELL_RUNS_FROZEN, CELL_FROZEN, CELL_STANDBY};
    static const char *const texts[] = {"command runs", "runs, lease process frozen", "frozen",
                                        "stands by"};
    putchar('\n');
    for (size_t i = 0; i < sizeof cells / sizeof cells[0]; i++) {
        const char *glyph = glyphs[demo->unicode][cells[i]];
        printf("  %s%s%s%s %s", colour(demo, cell_colour(&demo->candidates[0], cells[i])), glyph,
               glyph, colour(demo, RESET), texts[i]);
    }
    putchar('\n');
}

static void print_heading(const struct demo *demo) {
    printf("\n  %slease.h%s: leader election on a Kubernetes Lease\n\n"
           "  Three candidates want the same Lease. Whoever holds it runs a command, which\n"
           "  must never run twice at once.\n\n",
           colour(demo, BOLD), colour(demo, RESET));
    printf("  API server  %s (devapi: TLS, with a CA of its own)\n"
           "  candidates  lease run (duration " LEASE_DURATION ", renew deadline " RENEW_DEADLINE
           ", retry period " RETRY_PERIOD ")\n"
           "  command     beat (writes the time every 5 ms, from which all bars are drawn)\n",
           demo->url);
    print_legend(demo);
}

/* Kills what is left and waits for it, also for the children of those that are killed. */
static bool end_children(struct demo *demo) {
    int64_t end_ns = now_ns() + 5 * NS_PER_S;
    demo->keep_running = false;
    for (size_t i = 0; i < CANDIDATES; i++) {
        if (demo->candidates[i].pid != 0) kill(demo->candidates[i].pid, SIGKILL);
    }
    if (demo->devapi != 0) kill(demo->devapi, SIGKILL);
    for (pid_t pid = 0; now_ns() < end_ns;) {
        pid = waitpid(-1, NULL, WNOHANG);
        if (pid == -1 && errno == ECHILD) break;
        struct pollfd wait = {.fd = demo->signal_fd, .events = POLLIN};
        struct signalfd_siginfo info;
        if (pid == 0 && poll(&wait, 1, 50) > 0) {
            while (read(demo->signal_fd, &info, sizeof info) > 0) continue;
        }
    }
    return waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD;
}

/* beat's own judgement of the logs, as the tests use it. -1: it has none. */
static int64_t judge(struct demo *demo) {
    const char *const argv[] = {demo->beat_bin, "--overlap", demo->candidates[0].beat_path,
                                demo->candidates[1].beat_path, demo->candidates[2].beat_path,
                                NULL};
    char path[PATH_BYTES], text[64];
    if (!in_dir(demo, path, "overlap")) return -1;
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    int status = 0;
    pid_t pid = fd != -1 ? spawn(demo, argv, fd, fd) : -1;
    if (fd != -1) close(fd);
    if (pid == -1 || waitpid(pid, &status, 0) != pid || !read_file(path, text, sizeof text)) {
        fail(demo, "cannot judge the heartbeats: %s", strerror(errno));
        return -1;
    }
    bool judged = WIFEXITED(status) && WEXITSTATUS(status) <= 1;
    if (!judged) fail(demo, "%.*s", (int)strcspn(text, "\n"), text);
    return judged ? strtoll(text, NULL, 10) : -1;
}

static bool play(struct demo *demo, struct answers *answers) {
    if (!prepare(demo) || !start_api(demo)) return false;
    print_heading(demo);
    return act_start(demo) && act_kill(demo) && act_freeze(demo) && act_release(demo) &&
           ask_leader(demo, answers);
}

static void report(struct demo *demo, struct answers *answers) {
    int64_t overlap_ms = judge(demo);
    if (overlap_ms < 0) return;
    print_rule(demo, "What was measured");
    print_takeovers(demo);
    print_overlap(demo, overlap_ms);
    print_answers(demo, answers);
    if (overlap_ms != 0) fail(demo, "two commands ran at once for %" PRId64 " ms", overlap_ms);
    for (size_t i = 0; i < demo->takeover_count; i++) {
        if (demo->takeovers[i].gap_ns > 0) continue;
        fail(demo, "%s's command began before the one before had ended",
             demo->takeovers[i].to->name);
    }
}

static int remove_entry(const char *path, const struct stat *status, int kind, struct FTW *walk) {
    (void)status;
    (void)kind;
    (void)walk;
    return remove(path);
}

/* What helps to find out why it failed. */
static void explain(const struct demo *demo) {
    char path[PATH_BYTES + 16], text[2048];
    fprintf(stderr, "\ndemo: %s\n", demo->failure);
    for (size_t i = 0; i < CANDIDATES; i++) {
        const struct candidate *one = &demo->candidates[i];
        if (one->last_line[0] != '\0') fprintf(stderr, "%s: %s\n", one->name, one->last_line);
    }
    snprintf(path, sizeof path, "%s/api.log", demo->dir);
    if (demo->dir[0] != '\0' && read_file(path, text, sizeof text)) {
        fprintf(stderr, "API server: %s", text);
    }
}

int main(void) {
    static struct demo demo;
    static struct answers answers;
    bool good = play(&demo, &answers);
    bool ended = end_children(&demo);
    if (!ended) fail(&demo, "a process that was started here does not end");
    if (good) report(&demo, &answers);
    fflush(stdout);
    if (demo.failed && demo.stop_signal == 0) explain(&demo);
    if (demo.dir[0] != '\0' && nftw(demo.dir, remove_entry, 8, FTW_DEPTH | FTW_PHYS) != 0) {
        fail(&demo, "cannot remove %s: %s", demo.dir, strerror(errno));
        fprintf(stderr, "demo: %s\n", demo.failure);
    }
    if (demo.stop_signal != 0) {
        printf("\nstopped; %s\n", ended ? "all that was started here has ended" : demo.failure);
        return 128 + demo.stop_signal;
    }
    if (demo.failed) return 1;
    printf("\n  It took %.1f s. All processes started here have ended, all files are removed.\n",
           (double)(now_ns() - demo.started_ns) / (double)NS_PER_S);
    return fflush(stdout) == 0 ? 0 : 1;
}
