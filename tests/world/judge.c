/* The referee: what each host may do, and what all of them together may do. It knows the true time,
 * what devapi has stored, and each byte that was sent; it is written from the manual of lease.h. */
#include <inttypes.h>
#include <poll.h>
#include <string.h>

#include "world.h"

#define JUDGE_BURST 14       /* requests of a lease above its rate that may come together */
#define JUDGE_SLOWEST_MS 30000 /* the longest pause under errors that last */

/* -- Rate -------------------------------------------------------------------------------------- */

static int64_t judge_leases(const world_host *host) {
    int64_t count = 0;
    for (int32_t i = 0; i < WORLD_MAX_LEASES; i++) count += host->plan[i] >= 0;
    return count;
}

/* More requests are due to what happened: a command, or a connection that the server closed. */
void world_judge_credit(world_host *host, int64_t requests) { host->credit += 1000 * requests; }

/* Rule 13: two requests a second for each lease in the long run, or three in each period. */
void world_judge_attempt(world_world *world, world_host *host) {
    const world_timing *timing = world->config.timing;
    const int32_t retry_ms = (int32_t)world_least(timing[0].retry_ms, timing[1].retry_ms);
    const int64_t pace_ms = retry_ms < 1500 ? retry_ms / 3 : 500;
    const int64_t most = 1000 * JUDGE_BURST * judge_leases(host);
    const int64_t passed_us = (world->now_us - host->credit_us) * 13 / 10; /* the fastest clock */
    host->credit_us = world->now_us;
    if (host->credit < most) {
        host->credit = world_least(most, host->credit + passed_us * judge_leases(host) / pace_ms);
    }
    host->credit -= 1000;
    if (host->credit < 0) world_fail(world, host, "makes requests without a pause");
}

/* -- Secrets ----------------------------------------------------------------------------------- */

void world_judge_secret(world_world *world, const world_host *host, const char *text,
                        const char *where) {
    if (strstr(text, world->token_prefix) == NULL) return;
    world_fail(world, host, "the token stands in %s", where);
}

/* -- Requests ---------------------------------------------------------------------------------- */

/* Has the Lease ever been one of that uid? */
static bool judge_knows_uid(const world_world *world, const world_request *request) {
    const world_object *object = &world->objects[request->name];
    bool known = strcmp(request->uid, object->uid) == 0;
    for (int i = 0; i < WORLD_MAX_UIDS; i++) {
        if (strcmp(request->uid, object->former_uids[i]) == 0) known = true;
    }
    return known;
}

void world_judge_request(world_world *world, world_host *host, const world_wire *wire) {
    const world_request *request = &wire->request;
    if (request->method == WORLD_PUT && !judge_knows_uid(world, request)) {
        world_fail(world, host, "an update with the uid of another Lease");
    }
    for (int32_t i = 0; i < WORLD_MAX_LEASES; i++) {
        world_lease *one = &host->leases[i];
        if (!one->used || one->name != request->name) continue;
        if (request->author != 0 && request->author != one->serial) continue;
        if (wire->attempt_ms < one->not_before_ms) {
            world_fail(world, host, "%s does not obey Retry-After", one->identity);
        }
        if (one->doomed && request->author == one->serial) {
            one->doom_us = world->now_us + world_random_range(&world->random_fault, 1, 20000);
        }
        one->last_method = request->method;
        one->altered = false;
        one->active_ms = world_boot_ms(world, host);
        if (one->twin && request->method != WORLD_GET) world_hit(world, WORLD_TWO_IN_ONE);
        if (one->observer && request->method != WORLD_GET) {
            world_fail(world, host, "an observer writes");
        }
    }
}

/* A write came to nothing, because somebody else was faster. */
void world_judge_refused(world_world *world, const world_request *request) {
    const world_object *object = &world->objects[request->name];
    const bool create = request->method == WORLD_POST;
    const bool same = !create && request->version == object->replaced;
    if (request->given_up) world_hit(world, WORLD_LATE_REFUSED);
    if (object->author == request->author) {
        if (request->again && (same || create)) world_hit(world, WORLD_RESENT_APPLIED);
    } else if (create) {
        world_hit(world, WORLD_RACE_CREATE);
    } else if (same) {
        world_hit(world, WORLD_RACE_UPDATE);
    }
}

/* True time that the sender's clock needs to show span_ms, less the grain of its clock. */
static int64_t judge_true_us(const world_request *request, int64_t span_ms) {
    return (span_ms - 1) * 1000 * 1000000 / (1000000 + request->rate_ppm);
}

/* Rule 2, by true time: nobody sees a version before it is stored. */
static void judge_wait(world_world *world, const world_host *host, const world_request *request,
                       const world_object *before) {
    if (!before->exists || before->author == request->author) return;
    const bool held = before->holder[0] != '\0';
    const bool strict = world->config.strict_creation && !before->ever_held;
    if (!held && !strict) return;
    const int64_t since_us = held ? before->stored_us : before->created_us;
    const int64_t span_ms =
        held ? world_most(before->duration_ms, request->duration_ms) : request->duration_ms;
    const int64_t waited_us = request->begun_us - since_us;
    if (waited_us < judge_true_us(request, span_ms)) {
        world_fail(world, host, "takes %s after %" PRId64 " ms", world_name(request->name),
                   waited_us / 1000);
    }
}

static void judge_transitions(world_world *world, const world_host *host,
                              const world_request *request, const world_object *before) {
    const bool taken = before->exists && !request->release &&
                       strcmp(before->holder, request->holder) != 0;
    const int32_t expected = (before->exists ? before->transitions : 0) + (taken ? 1 : 0);
    if (request->transitions != expected) {
        world_fail(world, host, "leaseTransitions %d instead of %d", (int)request->transitions,
                   (int)expected);
    }
}

static void judge_late(world_world *world, const world_host *host, const world_request *request) {
    if (!host->alive || host->incarnation != request->incarnation) {
        world_hit(world, WORLD_AFTER_CRASH);
    } else if (world_lease_by_serial(world, request->author) == NULL) {
        world_hit(world, WORLD_AFTER_DESTROY);
    } else if (request->given_up) {
        world_hit(world, WORLD_LATE_APPLIED);
    }
}

/* Called for each write that is stored. */
void world_judge_stored(world_world *world, world_host *host, const world_request *request,
                        const world_object *before) {
    world_object *object = &world->objects[request->name];
    world_lease *one = world_lease_by_serial(world, request->author);
    if (host->stranger) world_fail(world, host, "writes without a token");
    if (request->author == 0) world_fail(world, host, "stores something with a GET");
    judge_late(world, host, request);
    judge_transitions(world, host, request, before);
    if (request->release && before->author != request->author) {
        world_fail(world, host, "its release empties a Lease that \"%s\" holds", before->holder);
    }
    if (!request->release) judge_wait(world, host, request, before);
    object->author = request->author;
    object->replaced = before->version;
    if (request->release) {
        world_hit(world, WORLD_RELEASED);
        if (one != NULL) one->release_applied = true;
    } else if (request->holder[0] == '\0') {
        world_hit(world, WORLD_STRICT_CREATE);
        if (!world->config.strict_creation) world_fail(world, host, "creates the Lease unheld");
    } else if (one != NULL) {
        one->backed_ms = world_most(one->backed_ms, request->begun_ms + request->deadline_ms);
    }
}

/* -- Leaders ----------------------------------------------------------------------------------- */

static void judge_pair(world_world *world, const world_lease *old, const world_lease *fresh) {
    const bool leads = lease_is_leader(old->self);
    const bool works = world_boot_ms(world, old->host) < old->work_until_ms;
    if (!leads && !works) return;
    world_fail(world, fresh->host, "%s leads %s while %s %s", fresh->identity,
               world_name(fresh->name), old->identity,
               leads ? "is strictly leader" : "has time to end its work");
}

/* Nothing but a turn of its host begins or extends leadership. */
static void judge_leaders(world_world *world, const world_lease *fresh) {
    for (int32_t i = 0; i < world->host_count; i++) {
        const world_host *host = &world->hosts[i];
        for (int32_t j = 0; host->alive && j < WORLD_MAX_LEASES; j++) {
            const world_lease *one = &host->leases[j];
            if (one->used && one != fresh && one->name == fresh->name) {
                judge_pair(world, one, fresh);
            }
        }
    }
}

/* Rule 1: validity counts from the send of a write that was applied, and from nothing else. */
static void judge_validity(world_world *world, world_lease *one) {
    const int64_t left_ms = lease_remaining_ms(one->self);
    const int64_t until_ms = world_boot_ms(world, one->host) + left_ms;
    if (left_ms == 0) return;
    if (until_ms > one->backed_ms) {
        world_fail(world, one->host, "%s is valid for %" PRId64 " ms longer than its writes give",
                   one->identity, until_ms - one->backed_ms);
    }
    if (until_ms < one->valid_until_ms) world_fail(world, one->host, "validity went back");
    one->valid_until_ms = until_ms;
    one->work_until_ms = until_ms + one->timing.stop_ms;
    judge_leaders(world, one);
}

/* -- Events ------------------------------------------------------------------------------------ */

static void judge_cut_off(world_world *world, const world_lease *fresh) {
    const world_lease *before =
        world_lease_by_serial(world, world->objects[fresh->name].last_leader);
    if (before == NULL || before->host == fresh->host) return;
    const world_host *host = before->host;
    if (world_least(host->cut_in_us, host->cut_out_us) > world->now_us) {
        world_hit(world, WORLD_CUT_OFF);
    }
}

static void judge_acquired(world_world *world, world_lease *one, const lease_event *event) {
    world_object *object = &world->objects[one->name];
    world->stats->elections++;
    if (one->leading) world_fail(world, one->host, "ACQUIRED within a term");
    if (one->observer) world_fail(world, one->host, "an observer leads");
    if (event->token == 0 || event->token <= object->highest_token) {
        world_fail(world, one->host, "token %" PRIu64 " after %" PRIu64, event->token,
                   object->highest_token);
    }
    if (one->last_method == WORLD_GET) world_hit(world, WORLD_READ_BACK);
    judge_cut_off(world, one);
    object->highest_token = event->token;
    object->last_leader = one->serial;
    one->leading = true;
    one->token = event->token;
    one->failures = 0;
    judge_validity(world, one);
}

/* Only who comes back under a name of before, or is shown an answer from before, meets itself. */
static void judge_duplicate(world_world *world, const world_lease *one) {
    const bool replayed = (world->config.faults >> WORLD_FAULT_REPLAY & 1u) != 0;
    if (world->config.same_identity || replayed) return;
    world_fail(world, one->host, "%s takes its own write for another's", one->identity);
}

static void judge_lost(world_world *world, world_lease *one, const lease_event *event) {
    static const world_sometimes hits[] = {[LEASE_REASON_EXPIRED] = WORLD_EXPIRED,
                                           [LEASE_REASON_DELETED] = WORLD_DELETED,
                                           [LEASE_REASON_CLOCK_JUMP] = WORLD_CLOCK_JUMP};
    const size_t known = sizeof hits / sizeof hits[0];
    const int64_t now_ms = world_boot_ms(world, one->host);
    const bool expired = event->reason == LEASE_REASON_EXPIRED;
    if (!one->leading) world_fail(world, one->host, "LOST without a term");
    if (event->token != one->token) world_fail(world, one->host, "LOST with another token");
    const int64_t end_ms = world_most(now_ms, one->valid_until_ms + one->timing.stop_ms);
    if (event->stop_by_ms > (expired ? end_ms : now_ms)) {
        world_fail(world, one->host, "LOST leaves the work too much time");
    }
    if (expired && now_ms < one->valid_until_ms) world_fail(world, one->host, "LOST too early");
    if (event->reason == LEASE_REASON_RELEASED && !one->release_untold) {
        world_fail(world, one->host, "LOST for reason %d", (int)event->reason);
    }
    if ((size_t)event->reason < known && hits[event->reason] != 0) {
        world_hit(world, hits[event->reason]);
    }
    if (event->reason == LEASE_REASON_DUPLICATE) judge_duplicate(world, one);
    if (event->reason == LEASE_REASON_CLOCK_JUMP) one->not_before_ms = 0; /* renews first */
    if (world_is_clean(world) && event->reason != LEASE_REASON_RELEASED) {
        world_fail(world, one->host, "%s loses its term for reason %d without any fault",
                   one->identity, (int)event->reason);
    }
    one->leading = false;
    one->work_until_ms = one->asked_release ? 0 : event->stop_by_ms;
    one->valid_until_ms = 0;
}

static void judge_renewed(world_world *world, world_lease *one, const lease_event *event) {
    if (!one->leading || event->token != one->token) {
        world_fail(world, one->host, "RENEWED with token %" PRIu64, event->token);
    }
    if (one->failures >= 2) world_hit(world, WORLD_OUTAGE);
    if (one->last_method == WORLD_GET) world_hit(world, WORLD_READ_BACK);
    one->failures = 0;
    judge_validity(world, one);
}

/* A token that the file has replaced is no reason to give up. */
static void judge_unauthorized(world_world *world, const world_lease *one) {
    const world_host *host = one->host;
    if (host->stranger || host->token_seen == world->token_written) return;
    if (world->token_written_us >= host->token_sent_us) return;
    world_fail(world, host, "gives up with a token that the file has replaced");
}

static void judge_failure(world_world *world, world_lease *one, const lease_event *event) {
    const bool renewal = event->kind == LEASE_EVENT_RENEW_FAILED;
    if (event->error == NULL || event->error->status == LEASE_OK ||
        event->error->message[0] == '\0') {
        world_fail(world, one->host, "a failure without an error");
        return;
    }
    world_judge_secret(world, one->host, event->error->message, "an error");
    world_trace(world, one->host, "%s: %s", one->identity, event->error->message);
    if (renewal) one->failures++;
    if (event->error->status == LEASE_ALTERED) one->altered = true;
    if (event->error->status == LEASE_UNAUTHORIZED) judge_unauthorized(world, one);
    if (renewal && !one->leading) world_fail(world, one->host, "RENEW_FAILED without a term");
    if (world_is_clean(world) && !one->host->stranger) {
        world_fail(world, one->host, "%s fails without any fault: %s", one->identity,
                   event->error->message);
    }
}

static void judge_released(world_world *world, world_lease *one) {
    if (!one->release_untold) {
        world_fail(world, one->host, "RELEASED without being asked");
    }
    if (one->release_applied && one->last_method == WORLD_GET) {
        world_hit(world, WORLD_RELEASE_UNKNOWN);
    }
    one->release_untold = false;
    one->aside = one->asked_release;
}

static void judge_holder(world_world *world, world_lease *one, const lease_event *event) {
    if (strcmp(event->holder, one->told_holder) == 0) {
        world_fail(world, one->host, "LEADER_CHANGED to the same holder");
    }
    if (one->observer && event->holder[0] != '\0') world_hit(world, WORLD_OBSERVED);
    const size_t length = strlen(event->holder);
    if (length < sizeof one->told_holder) memcpy(one->told_holder, event->holder, length + 1);
}

void world_judge_event(world_world *world, world_lease *one, const lease_event *event) {
    static const char *const names[] = {"ACQUIRED", "LOST", "LEADER_CHANGED", "RENEWED",
                                        "RENEW_FAILED", "FAIL_OPEN", "FAIL_CLOSED",
                                        "DUPLICATE_IDENTITY", "RELEASED", "ERROR"};
    world_trace(world, one->host, "%s: %s %s, token %" PRIu64 ", reason %d, holder \"%s\"",
                one->identity, world_name(one->name), names[event->kind], event->token,
                (int)event->reason, event->holder);
    world_hash(world, (uint64_t)event->kind << 32 ^ one->serial ^ event->token << 40);
    if (!one->host->turning) world_fail(world, one->host, "a callback outside of the loop");
    if (event->at_ms != world_boot_ms(world, one->host)) {
        world_fail(world, one->host, "an event at another time");
    }
    switch (event->kind) {
    case LEASE_EVENT_ACQUIRED: judge_acquired(world, one, event); break;
    case LEASE_EVENT_LOST: judge_lost(world, one, event); break;
    case LEASE_EVENT_LEADER_CHANGED: judge_holder(world, one, event); break;
    case LEASE_EVENT_RENEWED: judge_renewed(world, one, event); break;
    case LEASE_EVENT_RENEW_FAILED:
    case LEASE_EVENT_ERROR: judge_failure(world, one, event); break;
    case LEASE_EVENT_FAIL_OPEN: world_hit(world, WORLD_FAIL_OPEN); break;
    case LEASE_EVENT_RELEASED: judge_released(world, one); break;
    case LEASE_EVENT_DUPLICATE_IDENTITY: judge_duplicate(world, one); break;
    case LEASE_EVENT_FAIL_CLOSED: break;
    }
}

/* -- After each turn --------------------------------------------------------------------------- */

/* All questions give one picture. */
static void judge_view(world_world *world, const world_lease *one) {
    lease_view view;
    lease_time_range range;
    const lease *self = one->self;
    lease_view_get(self, &view);
    const bool has_range = lease_range(self, &range);
    if (view.is_leader != lease_is_leader(self) || view.token != lease_token(self) ||
        view.remaining_ms != lease_remaining_ms(self) || view.has_range != has_range) {
        world_fail(world, one->host, "the view and the questions differ");
    }
    if (has_range && (range.start_us != view.range.start_us || range.end_us != view.range.end_us)) {
        world_fail(world, one->host, "the view and the range differ");
    }
    if (view.is_leader != one->leading || (view.is_leader && view.token != one->token)) {
        world_fail(world, one->host, "%s is %sleader with token %" PRIu64 ", against its events",
                   one->identity, view.is_leader ? "" : "not ", view.token);
    }
    if (!view.is_leader && (view.token != 0 || view.remaining_ms != 0)) {
        world_fail(world, one->host, "a token or time without leadership");
    }
    const bool others = view.holder[0] != '\0' && strcmp(view.holder, one->identity) != 0;
    if (has_range && (others || one->asked_release || one->observer)) {
        world_fail(world, one->host, "a range beside \"%s\"", view.holder);
    }
    const int64_t most_ms = world->config.max_fail_open_ms;
    const int64_t open_ms = view.last_renewal_ms + one->timing.duration_ms + most_ms;
    if (view.failing_open && most_ms != 0 && world_boot_ms(world, one->host) >= open_ms) {
        world_fail(world, one->host, "fails open beyond max_fail_open_ms");
    }
    /* A step of wall time leaves the range, until the next turn notices it. */
    const bool steps = (world->config.faults >> WORLD_FAULT_WALL & 1u) != 0;
    if (view.is_leader && !has_range && !steps) {
        world_fail(world, one->host, "a leader without a range");
    }
    if (view.released && one->release_untold) world_fail(world, one->host, "released, untold");
    if (strcmp(view.holder, one->told_holder) != 0) {
        world_fail(world, one->host, "a change of the leader was not told");
    }
}

/* How long a lease may sleep after it was last active, when no request is under way. */
static int64_t judge_pace_ms(const world_lease *one) {
    lease_view view;
    const int64_t retry_ms = one->timing.retry_ms;
    lease_view_get(one->self, &view);
    const bool content = view.last_status == LEASE_OK || view.last_status == LEASE_NOT_FOUND ||
                         view.last_status == LEASE_CONFLICT ||
                         view.last_status == LEASE_ALREADY_EXISTS;
    if (view.is_leader) return world_most(1000, retry_ms * 3 / 2) + 1;
    if (content && !one->altered && !one->twin) return retry_ms * 5 / 2 + 1;
    return world_most(JUDGE_SLOWEST_MS, retry_ms * 6 / 5) + one->timing.duration_ms + 1;
}

/* Is a request under way? Before a byte of it was handed over, the wish to send tells. */
static bool judge_is_busy(const world_world *world, const world_host *host, int32_t wait_ms) {
    const world_wire *wire = host->wire;
    if (wire == NULL) return false;
    if (wire->busy || (!wire->carried && wire->asked == 0)) return true;
    return world->config.no_descriptor ? wait_ms <= 1 : (host->poll_events & POLLOUT) != 0;
}

/* Would anything be late if nothing but the time limit ended this wait? */
static void judge_wait_ms(world_world *world, const world_host *host, int32_t wait_ms) {
    const world_wire *wire = host->wire;
    const int64_t now_ms = world_boot_ms(world, host);
    const int64_t next_ms = now_ms + wait_ms;
    const bool busy = judge_is_busy(world, host, wait_ms);
    const bool timed =
        busy && !world->config.no_descriptor && (wire->busy || !wire->carried);
    if (timed && next_ms > world_most(now_ms, wire->attempt_ms + world->config.timeout_ms)) {
        world_fail(world, host, "waits %d ms, and a request's time ends before", (int)wait_ms);
    }
    if (timed && now_ms >= wire->attempt_ms + world->config.timeout_ms) {
        world_fail(world, host, "a request is under way beyond its time");
    }
    for (int32_t i = 0; i < WORLD_MAX_LEASES; i++) {
        const world_lease *one = &host->leases[i];
        if (!one->used) continue;
        if (one->leading && next_ms > one->valid_until_ms) {
            world_fail(world, host, "waits %d ms, and a term ends before", (int)wait_ms);
        }
        const int64_t active_ms = world_most(one->active_ms, host->open_failed_ms);
        if (busy || wait_ms == 0 || next_ms <= active_ms + judge_pace_ms(one)) continue;
        world_fail(world, host, "%s sleeps for %d ms, %" PRId64 " ms after it was active",
                   one->identity, (int)wait_ms, now_ms - active_ms);
    }
}

void world_judge_turn(world_world *world, world_host *host, int32_t wait_ms) {
    for (int32_t i = 0; i < WORLD_MAX_LEASES && !world->failed; i++) {
        world_lease *one = &host->leases[i];
        if (!one->used) continue;
        if (one->contending) one->aside = one->contending = false;
        judge_view(world, one);
        judge_validity(world, one);
    }
    if (wait_ms < 0) world_fail(world, host, "a wait of %d ms", (int)wait_ms);
    if (!world->failed) judge_wait_ms(world, host, wait_ms);
}
