/* get.c -- lease get: who holds it, by one read.
 *
 * Whether a record has expired can only be guessed from one look, by the holder's own clock: an
 * elector counts from when it saw the record change. So "expired" here is a hint for people. */
#include "tool.h"

#include <stdio.h>

#define PATIENCE_MS 10000
#define TURN_MS 1000

struct answer {
    bool held;    /* a holder is named */
    bool expired; /* ... but has not renewed within its duration, by the wall clocks */
    int64_t age_ms;
};

static struct answer judge(const lease_view *view)
{
    struct answer answer = {.held = view->exists && view->holder[0] != '\0'};
    answer.age_ms = (wall_us() - view->renew_time_us) / 1000;
    answer.expired = answer.held && answer.age_ms > (int64_t)view->lease_duration_s * 1000;
    return answer;
}

static void add_time_member(struct text *text, const char *name, int64_t unix_us)
{
    text_add(text, ",\"%s\":", name);
    if (unix_us == 0) {
        text_add(text, "null");
        return;
    }
    text_add(text, "\"");
    text_add_time(text, unix_us);
    text_add(text, "\"");
}

static void print_json(const struct session *session, const lease_view *view,
                       const struct answer *answer)
{
    char bytes[4096];
    struct text text = text_in(bytes, sizeof bytes);
    text_add(&text, "{\"lease\":");
    text_add_json(&text, session->options->lease);
    text_add(&text, ",\"namespace\":");
    text_add_json(&text, session->ns);
    text_add(&text, ",\"exists\":%s,\"held\":%s,\"expired\":%s,\"holder\":",
             view->exists ? "true" : "false", answer->held ? "true" : "false",
             answer->expired ? "true" : "false");
    text_add_json(&text, view->holder);
    add_time_member(&text, "acquire_time", view->acquire_time_us);
    add_time_member(&text, "renew_time", view->renew_time_us);
    text_add(&text, ",\"lease_duration_seconds\":%d,\"transitions\":%d}",
             (int)view->lease_duration_s, (int)view->transitions);
    puts(bytes);
}

static void print_text(const struct session *session, const lease_view *view,
                       const struct answer *answer)
{
    char bytes[4096];
    struct text text = text_in(bytes, sizeof bytes);
    text_add(&text, "lease:       %s/%s\nholder:      ", session->ns, session->options->lease);
    if (answer->held) text_add_plain(&text, view->holder);
    else text_add(&text, view->exists ? "(nobody)" : "(nobody; there is no such Lease)");
    if (answer->expired) text_add(&text, " (expired)");
    if (view->exists && view->acquire_time_us != 0) {
        text_add(&text, "\nacquired:    ");
        text_add_time(&text, view->acquire_time_us);
    }
    if (view->exists && view->renew_time_us != 0) {
        text_add(&text, "\nrenewed:     ");
        text_add_time(&text, view->renew_time_us);
        text_add(&text, " (");
        text_add_duration(&text, answer->age_ms < 0 ? 0 : answer->age_ms);
        text_add(&text, " ago)");
    }
    if (view->exists) {
        text_add(&text, "\nduration:    %ds\ntransitions: %d", (int)view->lease_duration_s,
                 (int)view->transitions);
    }
    puts(bytes);
}

/* Reads once. False after one line on stderr. */
static bool look(struct session *session, lease_view *view)
{
    int64_t end_ms = now_ms() + PATIENCE_MS;
    do {
        session->news.failed = false;
        lease_client_poll(session->client, TURN_MS);
        lease_view_get(session->lease, view);
        if (view->observed) return true;
        if (session->news.failed) break;
    } while (now_ms() < end_ms);
    const lease_error *error = &session->news.error;
    complain("%s/%s: %s", session->ns, session->options->lease,
             session->news.failed ? error->message : "no answer in time");
    return false;
}

int get_main(const struct options *options)
{
    struct session session = {.options = options, .signal_fd = -1};
    lease_view view;
    bool seen = session_connect(&session) && look(&session, &view);
    int code = CODE_FAILED;
    if (seen) {
        struct answer answer = judge(&view);
        if (options->json_output) print_json(&session, &view, &answer);
        else print_text(&session, &view, &answer);
        code = answer.held && !answer.expired ? 0 : CODE_NOT_HELD;
    }
    session_close(&session);
    return fflush(stdout) == 0 ? code : CODE_FAILED;
}
