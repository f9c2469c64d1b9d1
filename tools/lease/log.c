/* log.c -- one line for each event on stderr.
 *
 * Whoever reads stderr may be slow or stuck, and a renewal must not wait for him. O_NONBLOCK is a
 * property of the open file, which COMMAND shares, so it is no way out. A pipe that poll(2) calls
 * writable has room for PIPE_BUF bytes: a line is never longer than that, and a line that finds no
 * room is counted instead of written. */
#include "tool.h"

#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LINE_MAX_BYTES 4096
_Static_assert(LINE_MAX_BYTES <= PIPE_BUF, "a line must fit a pipe that has room at all");

/* The longest foreign text in a line, in bytes after escaping. */
#define STRING_MAX_BYTES 1024

static const char *const level_names[] = {"debug", "info", "warn", "error"};

static bool stderr_has_room(void)
{
    struct pollfd room = {.fd = STDERR_FILENO, .events = POLLOUT};
    return poll(&room, 1, 0) == 1 && (room.revents & POLLOUT) != 0;
}

/* False: no room, nothing written. */
static bool write_line(const struct text *line)
{
    if (!stderr_has_room()) return false;
    ssize_t ignored = write(STDERR_FILENO, line->bytes, line->length);
    (void)ignored;
    return true;
}

void complain(const char *format, ...)
{
    char bytes[LINE_MAX_BYTES];
    char message[STRING_MAX_BYTES];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    struct text line = text_in(bytes, sizeof bytes);
    text_add(&line, "lease: ");
    text_add_plain(&line, message);
    text_add(&line, "\n");
    write_line(&line);
}

/* A string member; one that would be too long is shown cut. */
static void add_member(struct text *line, const char *name, const char *value)
{
    char bytes[STRING_MAX_BYTES];
    struct text escaped = text_in(bytes, sizeof bytes);
    text_add_json(&escaped, value);
    text_add(line, ",\"%s\":%s", name, escaped.cut ? "\"(too long to show)\"" : bytes);
}

static void add_error(struct text *line, const lease_error *error)
{
    static const char *const stages[] = {"none",     "config", "connect", "tls",
                                         "exchange", "answer", "backend"};
    text_add(line, ",\"error\":{\"status\":\"%s\",\"stage\":\"%s\",\"http_status\":%d,"
             "\"tls_code\":%d,\"errno\":%d", lease_status_name(error->status),
             stages[error->stage], (int)error->http_status, (int)error->tls_code,
             (int)error->sys_errno);
    add_member(line, "message", error->message);
    text_add(line, "}");
}

static void add_json(const struct log *log, const struct log_entry *entry, struct text *line)
{
    text_add(line, "{\"time\":\"");
    text_add_time(line, wall_us());
    text_add(line, "\",\"mono_ns\":%lld,\"level\":\"%s\",\"event\":\"%s\"", (long long)now_ns(),
             level_names[entry->level], entry->event);
    add_member(line, "lease", log->lease);
    add_member(line, "identity", log->identity);
    add_member(line, "holder", entry->holder == NULL ? "" : entry->holder);
    text_add(line, ",\"token\":%llu", (unsigned long long)entry->token);
    add_member(line, "reason", entry->reason == NULL ? "" : entry->reason);
    if (entry->error != NULL) add_error(line, entry->error);
    if (entry->extra != NULL) text_add(line, ",%s", entry->extra);
    if (log->dropped > 0) text_add(line, ",\"dropped\":%llu", (unsigned long long)log->dropped);
    text_add(line, "}\n");
}

static void add_text(const struct log *log, const struct log_entry *entry, struct text *line)
{
    text_add(line, "lease: %s%s%s: ", log->ns, log->ns[0] == '\0' ? "" : "/", log->lease);
    text_add_plain(line, entry->message);
    if (entry->error != NULL) {
        text_add(line, ": ");
        text_add_plain(line, entry->error->message);
    }
    if (log->dropped > 0) {
        text_add(line, " (%llu lines before this one were lost)",
                 (unsigned long long)log->dropped);
    }
    text_add(line, "\n");
}

void log_write(struct log *log, const struct log_entry *entry)
{
    if ((int)entry->level < log->level) return;
    char bytes[LINE_MAX_BYTES];
    struct text line = text_in(bytes, sizeof bytes);
    if (log->json) add_json(log, entry, &line);
    else add_text(log, entry, &line);
    /* The parts have their own limits, which together stay below the line's. */
    if (line.cut || !write_line(&line)) log->dropped++;
    else log->dropped = 0;
}
