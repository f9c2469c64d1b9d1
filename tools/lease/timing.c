/* timing.c -- lease timing: what a configuration means, before anything runs under it. The start
 * line of run and hold says the same, in the same words. */
#include "tool.h"

#include <stdio.h>
#include <string.h>

static int32_t or_default(int64_t duration_ms)
{
    return duration_ms == OPTION_ABSENT ? 0 : (int32_t)duration_ms;
}

bool timing_init(struct timing *timing, const struct options *options, lease_error *error)
{
    lease_core core;
    lease_core_desc desc = {
        .identity = "timing",
        .lease_duration_ms = or_default(options->lease_duration_ms),
        .renew_deadline_ms = or_default(options->renew_deadline_ms),
        .retry_period_ms = or_default(options->retry_period_ms),
        .stop_budget_ms = or_default(options->stop_budget_ms),
    };
    if (lease_core_init(&core, &desc, error) != LEASE_OK) return false;
    timing->desc = core.desc;
    timing->desc.identity = NULL;
    lease_core_timing(&core, &timing->meaning);
    return true;
}

/* Requests in 1,000 seconds are thousandths of one in a second. */
static void add_rate(struct text *text, const char *name, int64_t per_ks)
{
    text_add(text, ",\"%s\":%lld.%03d", name, (long long)(per_ks / 1000), (int)(per_ks % 1000));
}

void timing_add_json(struct text *text, const struct timing *timing)
{
    const lease_core_desc *desc = &timing->desc;
    const lease_timing *meaning = &timing->meaning;
    text_add(text, "{\"lease_duration_ms\":%d,\"renew_deadline_ms\":%d,\"retry_period_ms\":%d,"
             "\"stop_budget_ms\":%d,\"request_timeout_ms\":%d", (int)desc->lease_duration_ms,
             (int)desc->renew_deadline_ms, (int)desc->retry_period_ms, (int)desc->stop_budget_ms,
             (int)desc->request_timeout_ms);
    text_add(text, ",\"skew_ppm\":%lld,\"outage_ms\":%lld", (long long)meaning->skew_ppm,
             (long long)meaning->outage_ms);
    text_add(text, ",\"crash_mean_ms\":%lld,\"crash_worst_ms\":%lld,\"release_mean_ms\":%lld,"
             "\"release_worst_ms\":%lld", (long long)meaning->crash_mean_ms,
             (long long)meaning->crash_worst_ms, (long long)meaning->release_mean_ms,
             (long long)meaning->release_worst_ms);
    add_rate(text, "leader_requests_per_second", meaning->leader_per_ks);
    add_rate(text, "standby_requests_per_second", meaning->standby_per_ks);
    text_add(text, "}");
}

/* The configuration, defaults included, and each fact on a line of its own. */
static void add_lines(struct text *text, const struct timing *timing)
{
    text_add(text, "lease-duration ");
    text_add_duration(text, timing->desc.lease_duration_ms);
    text_add(text, ", renew-deadline ");
    text_add_duration(text, timing->desc.renew_deadline_ms);
    text_add(text, ", retry-period ");
    text_add_duration(text, timing->desc.retry_period_ms);
    text_add(text, ", stop-budget ");
    text_add_duration(text, timing->desc.stop_budget_ms);
    const char *fact = timing->meaning.text;
    for (const char *end; (end = strstr(fact, "; ")) != NULL; fact = end + 2) {
        text_add(text, "\n%.*s", (int)(end - fact), fact);
    }
    text_add(text, "\n%s", fact);
}

int timing_main(const struct options *options)
{
    struct timing timing;
    lease_error error = {0};
    char bytes[1024];
    struct text text = text_in(bytes, sizeof bytes);
    if (!timing_init(&timing, options, &error)) {
        options_complain(options, &error);
        return CODE_FAILED;
    }
    if (options->json_output) timing_add_json(&text, &timing);
    else add_lines(&text, &timing);
    puts(bytes);
    return fflush(stdout) == 0 ? 0 : CODE_FAILED;
}
