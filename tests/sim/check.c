/* The referee, part one: what one candidate may do, judged by what it has been told. The shadow is
 * written from the rules of the interface, not from the core's code.
 *
 * What must hold after each step, and where it is looked at:
 *
 *   I1   one leader at a time, by true time                    judge.c: judge_pair
 *   I2   tokens grow from term to term                         check_acquired, sim_judge_token
 *   I3   validity ends by send + V of a write that was applied check_is_backed, check_validity
 *   I4   a release ends validity first, and empties only       check_update, judge_release
 *        what the candidate wrote itself
 *   I5   a Lease is respected from the moment it was seen      check_take, check_create
 *   I6   a PUT has uid and version of what was seen last       check_update
 *   I7   nothing is applied but by compare-and-swap            server_update, sim_judge_stored
 *   I8   one request at a time                                 check_action
 *   I9   there is always a next instant, and it is near        check_wake
 *   I10  requests keep to a rate, under errors too             check_rate, check_denials
 *   I11  Retry-After is kept, up to a cap                      check_answer, check_action
 *   I12  what is counted has happened: events                  check_events, check_foreign
 *        (lease_view and the metrics count these events: tests/unit)
 *   I13  ACQUIRED and LOST take turns, under one token         check_acquired, check_lost,
 *                                                              check_validity
 *   I14  states follow each other as they may                  check_edge
 *   I15  leaseTransitions counts changes of the holder         judge_transitions
 *   I16  the second of renewTime changes with each renewal     check_write
 *   I17  no range is open that was seen to be another's        check_range
 *   I18  the same seed is the same run                         crew.c: every 64th seed runs twice;
 *                                                              tests/sim/portable
 *   I19  ... whatever uninitialised memory holds               the second run has another fill
 *
 * A child of fork reads that it does not lead: sim_judge_child; that it is refused all work is
 * looked at in tests/unit and tests/io, and so is what a PUT must keep of fields of others, and
 * that no secret is told. */
#include <inttypes.h>
#include <string.h>

#include "sim.h"

#define CHECK_IMMEDIATE 8      /* requests in a row that may follow an answer without a pause */
#define CHECK_BURST 12         /* requests above the rate that a window may hold */
#define CHECK_SAME_WAITS 8     /* equal ones in a row that are no accident */
#define CHECK_SLOWEST_MS 30000 /* the longest pause under errors that last */

bool sim_is_denial(lease_status status) {
    return status == LEASE_UNAUTHORIZED || status == LEASE_FORBIDDEN ||
           status == LEASE_NO_NAMESPACE || status == LEASE_INVALID;
}

/* The number of a version or a uid. */
uint64_t sim_digits(const char *text) {
    uint64_t value = 0;
    for (const char *at = text; *at != 0; at++) {
        if (*at >= '0' && *at <= '9') value = value * 10 + (uint64_t)(*at - '0');
    }
    return value;
}

/* Only these may open a range: nobody answered, or a server that can give the Lease to nobody. */
static bool check_is_silence(lease_status status) {
    return status == LEASE_RESOLVE || status == LEASE_CONNECT || status == LEASE_TIMEOUT ||
           status == LEASE_CLOSED || status == LEASE_SERVER_ERROR || status == LEASE_THROTTLED;
}

/* The applied write of this incarnation that the record shows; NULL = it is none. What somebody has
 * copied into another Lease is one only where a create may have come late. */
const sim_write *sim_check_own_write(const sim_node *node, const lease_record *record) {
    const sim_shadow *shadow = &node->shadow;
    const bool any_uid = !node->desc.strict_creation;
    if (strcmp(record->holder_identity, node->identity) != 0) return NULL;
    uint32_t kept = shadow->write_count < SIM_MAX_WRITES ? shadow->write_count : SIM_MAX_WRITES;
    for (uint32_t i = 1; i <= kept; i++) {
        const sim_write *write = &shadow->writes[(shadow->write_count - i) % SIM_MAX_WRITES];
        if (!write->self || !write->applied || write->renew_us != record->renew_time_us) continue;
        return any_uid || write->uid == sim_digits(record->uid) ? write : NULL;
    }
    return NULL;
}

void sim_check_start(sim_world *world, sim_node *node) {
    memset(&node->shadow, 0, sizeof node->shadow);
    node->shadow.now_ms = sim_node_boot_ms(world, node);
}

/* -- What it is told --------------------------------------------------------------------------- */

static void check_learn(sim_world *world, sim_node *node, const lease_record *record) {
    sim_shadow *shadow = &node->shadow;
    bool same_uid = shadow->exists && strcmp(shadow->seen.uid, record->uid) == 0;
    shadow->was_own = shadow->own || (shadow->told && !shadow->exists);
    shadow->same_uid = same_uid;
    shadow->changed = !same_uid ||
                      strcmp(shadow->seen.resource_version, record->resource_version) != 0;
    if (shadow->changed) shadow->seen_ms = shadow->now_ms;
    if (!same_uid) {
        shadow->uid_ms = shadow->now_ms;
        shadow->uid_held = false;
    }
    bool own_name = strcmp(record->holder_identity, node->identity) == 0;
    if (record->holder_identity[0] != 0) shadow->uid_held = shadow->seen_held = true;
    const sim_write *own = sim_check_own_write(node, record);
    if (own_name && !own && !shadow->told) sim_hit(world, SIM_RESTARTED_SAME);
    shadow->told = true;
    shadow->exists = true;
    shadow->seen = *record;
    shadow->own = own != NULL;
    /* After a silence an open range stays open while one's own write is about to be renewed. */
    if (!shadow->own) shadow->silent = false;
    shadow->range_held = own != NULL && !record->coordinated && !shadow->released;
}

static void check_learn_absence(sim_node *node) {
    sim_shadow *shadow = &node->shadow;
    /* Without strict_creation the leader creates it anew, as client-go does: its range goes on. */
    if (node->desc.strict_creation) shadow->range_held = false;
    if (shadow->exists || !shadow->told) shadow->absent_ms = shadow->now_ms;
    shadow->told = true;
    shadow->exists = false;
    shadow->uid_held = false;
    shadow->own = false;
    shadow->settled_gone = true;
}

/* Refusals that time alone does not mend, in a row. A leader asks on at its pace. */
static void check_count_denials(sim_shadow *shadow, lease_status status) {
    bool denied = sim_is_denial(status) && !shadow->leading;
    shadow->denials = denied ? shadow->denials + 1 : 0;
    shadow->denied_ms = shadow->now_ms;
}

static void check_answer(sim_world *world, sim_node *node, const lease_core_input *input) {
    sim_shadow *shadow = &node->shadow;
    bool write = shadow->pending != LEASE_ACTION_READ;
    shadow->pending = LEASE_ACTION_NONE;
    shadow->answered_now = true;
    shadow->status = input->status;
    check_count_denials(shadow, input->status);
    shadow->silent = check_is_silence(input->status) || (shadow->silent && !write &&
                                                         input->status == LEASE_OK);
    shadow->failures = input->status == LEASE_OK ? shadow->failures : shadow->failures + 1;
    if (input->status == LEASE_OK) {
        check_learn(world, node, input->record);
        const sim_write *own = sim_check_own_write(node, input->record);
        if (write && own &&
            shadow->pending_sent_ms + node->desc.renew_deadline_ms <= shadow->now_ms) {
            sim_hit(world, SIM_ACK_TOO_LATE);
        }
    } else if (!write && input->status == LEASE_NOT_FOUND) {
        check_learn_absence(node);
    } else if (input->status == LEASE_THROTTLED && input->retry_after_ms > 0) {
        if (shadow->leading) sim_hit(world, SIM_RETRY_AFTER);
        int64_t period_ms = node->desc.retry_period_ms;
        int64_t wait_ms = input->retry_after_ms < period_ms ? input->retry_after_ms : period_ms;
        if (wait_ms > CHECK_SLOWEST_MS) wait_ms = CHECK_SLOWEST_MS;
        shadow->not_before_ms = shadow->now_ms + wait_ms;
    }
    if (input->status == LEASE_OK || (!write && input->status == LEASE_NOT_FOUND)) {
        shadow->unknown = false;
    }
    if (!write) return;
    bool open = input->maybe_applied || input->status == LEASE_CONFLICT ||
                input->status == LEASE_ALREADY_EXISTS;
    if (!open) shadow->unknown = false;
    if (input->status == LEASE_OK) {
        shadow->settled_id = input->request_id;
        shadow->settled_gone = false;
    }
    shadow->write_status = input->status;
    shadow->writes[(shadow->write_count - 1) % SIM_MAX_WRITES].refused =
        input->status != LEASE_OK && !open;
}

/* Whoever asks for a release, or for an election, does not wait for what was to be waited for. */
static void check_command(sim_shadow *shadow) {
    shadow->not_before_ms = 0;
    shadow->denials = 0;
    shadow->sent_count = 0;
}

void sim_check_input(sim_world *world, sim_node *node, const lease_core_input *input) {
    sim_shadow *shadow = &node->shadow;
    if (input->now_ms > shadow->now_ms) shadow->now_ms = input->now_ms;
    shadow->answered_now = false;
    shadow->changed = false;
    switch (input->kind) {
    case LEASE_INPUT_TICK: break;
    case LEASE_INPUT_READ_DONE:
    case LEASE_INPUT_WRITE_DONE:
        if (shadow->pending != LEASE_ACTION_NONE && shadow->pending_id == input->request_id) {
            check_answer(world, node, input);
        }
        break;
    case LEASE_INPUT_RELEASE:
        check_command(shadow);
        if (!shadow->released) {
            shadow->release_told = false;
            shadow->giving = true;
        }
        shadow->released = true;
        shadow->range_held = false;
        /* It is asked for when the work has stopped. */
        if (shadow->work_until_ms > shadow->now_ms) shadow->work_until_ms = shadow->now_ms;
        break;
    case LEASE_INPUT_CONTEND:
        check_command(shadow);
        shadow->released = false;
        break;
    }
}

/* One that was refused, that a later one has overtaken, or whose Lease was seen to be gone may be
 * forgotten, and be applied all the same, by a late copy. */
static bool check_is_remembered(const sim_shadow *shadow, const sim_write *write) {
    if (write->refused || write->id < shadow->settled_id) return false;
    return write->id > shadow->settled_id || !shadow->settled_gone;
}

/* Does it see a write of its own, which it was not told to be refused, and which cannot have been
 * overtaken by a later one (a create can, when it comes late and the Lease is gone again)? What
 * somebody has copied into another Lease is no write of its own. */
static bool check_is_known_own(const sim_node *node) {
    const sim_write *own = sim_check_own_write(node, &node->shadow.seen);
    if (!own || !check_is_remembered(&node->shadow, own)) return false;
    return own->uid == sim_digits(node->shadow.seen.uid);
}

/* Is the Lease its own as far as it knows? One that others have altered, or for which the server
 * elects the holder, counts as theirs. */
static bool check_is_still_own(const sim_node *node) {
    const sim_shadow *shadow = &node->shadow;
    return shadow->exists && check_is_known_own(node) && !shadow->seen.coordinated &&
           (int64_t)shadow->seen.lease_duration_s * 1000 == node->desc.lease_duration_ms;
}

/* Is the version that it sees what a write of its own has made, by the server's word, and a webhook
 * has left? */
static bool check_is_revision_own(const sim_node *node) {
    const sim_shadow *shadow = &node->shadow;
    const char *holder = shadow->seen.holder_identity;
    if (holder[0] != 0 && strcmp(holder, node->identity) != 0) return false;
    uint32_t kept = shadow->write_count < SIM_MAX_WRITES ? shadow->write_count : SIM_MAX_WRITES;
    for (uint32_t i = 1; i <= kept; i++) {
        const sim_write *write = &shadow->writes[(shadow->write_count - i) % SIM_MAX_WRITES];
        if (write->applied && write->revision == sim_digits(shadow->seen.resource_version)) {
            return check_is_remembered(shadow, write);
        }
    }
    return false;
}

/* -- Terms ------------------------------------------------------------------------------------- */

/* Each reason must be true. */
static bool check_reason(const sim_node *node, const lease_core_input *input) {
    const sim_shadow *shadow = &node->shadow;
    const lease_record *seen = &shadow->seen;
    bool shown = shadow->answered_now && shadow->status == LEASE_OK;
    bool own_name = strcmp(seen->holder_identity, node->identity) == 0;
    switch (node->out.lost_reason) {
    case LEASE_REASON_NONE: return false;
    case LEASE_REASON_EXPIRED: return shadow->now_ms >= shadow->valid_until_ms;
    case LEASE_REASON_TAKEN: return shown && seen->holder_identity[0] != 0 && !own_name;
    case LEASE_REASON_CLEARED: return shown && seen->holder_identity[0] == 0;
    case LEASE_REASON_DELETED: return shadow->answered_now && shadow->status == LEASE_NOT_FOUND;
    case LEASE_REASON_DUPLICATE:
        return shown && own_name && (node->fooled || !check_is_known_own(node));
    case LEASE_REASON_ALTERED: return shown;
    case LEASE_REASON_CLOCK_JUMP: return true;
    case LEASE_REASON_COORDINATED: return shown && seen->coordinated;
    case LEASE_REASON_RELEASED: return input->kind == LEASE_INPUT_RELEASE;
    }
    return false;
}

static void check_lost(sim_world *world, sim_node *node, const lease_core_input *input) {
    static const sim_sometimes hits[] = {
        [LEASE_REASON_TAKEN] = SIM_TAKEN, [LEASE_REASON_CLEARED] = SIM_CLEARED,
        [LEASE_REASON_DELETED] = SIM_DELETED, [LEASE_REASON_CLOCK_JUMP] = SIM_CLOCK_JUMP,
        [LEASE_REASON_COORDINATED] = SIM_COORDINATED};
    sim_shadow *shadow = &node->shadow;
    lease_reason reason = node->out.lost_reason;
    sim_trace(world, node, "LOST (%s), the work ends by %" PRId64 " (now %" PRId64 ")",
              sim_reason_word(reason), node->out.stop_by_ms, shadow->now_ms);
    if (!shadow->leading) sim_fail(world, node, "LOST without a term");
    if (!check_reason(node, input)) {
        sim_fail(world, node, "LOST for no good reason: %s", sim_reason_word(reason));
    }
    if (node->out.stop_by_ms > shadow->valid_until_ms + node->desc.stop_budget_ms) {
        sim_fail(world, node, "the work may go on beyond validity and stop budget");
    }
    if (reason < sizeof hits / sizeof hits[0] && hits[reason] != 0) sim_hit(world, hits[reason]);
    if (reason == LEASE_REASON_EXPIRED && shadow->pending != LEASE_ACTION_NONE) {
        sim_hit(world, SIM_DEADLINE_IN_FLIGHT);
    }
    if (reason == LEASE_REASON_EXPIRED && sim_is_denial(shadow->status)) {
        sim_hit(world, SIM_DENIED);
    }
    shadow->leading = false;
    shadow->token = 0;
    shadow->valid_until_ms = 0;
    shadow->work_until_ms = shadow->released ? shadow->now_ms : node->out.stop_by_ms;
    sim_judge_loss(world, node, reason);
}

static void check_acquired(sim_world *world, sim_node *node) {
    sim_shadow *shadow = &node->shadow;
    const lease_core_output *out = &node->out;
    world->stats->elections++;
    sim_trace(world, node, "ACQUIRED with token %" PRIu64 " until %" PRId64 " (now %" PRId64 ")",
              out->token, out->valid_until_ms, shadow->now_ms);
    char version[LEASE_MAX_VERSION + 1];
    sim_decimal(version, sizeof version, world->config.opaque ? "v" : "", out->token);
    if (shadow->leading) sim_fail(world, node, "ACQUIRED within a term");
    if (shadow->released) sim_fail(world, node, "ACQUIRED after a release");
    if (node->kind == SIM_OBSERVER) sim_fail(world, node, "an observer leads");
    if (world->config.opaque) {
        if (out->token != 0) sim_fail(world, node, "a token from a version that is no number");
        sim_hit(world, SIM_OPAQUE_VERSION);
    } else if (strcmp(version, shadow->seen.resource_version) != 0) {
        sim_fail(world, node, "token %" PRIu64 " is not the version %s", out->token,
                 shadow->seen.resource_version);
    } else {
        if (out->token <= shadow->last_token) sim_fail(world, node, "its own token did not grow");
        sim_judge_token(world, node, out->token);
    }
    if (world->config.candidates == 1) sim_hit(world, SIM_ALONE);
    if (world->config.candidates == 8) sim_hit(world, SIM_CROWD);
    shadow->leading = true;
    shadow->ever_led = true;
    shadow->token = out->token;
    shadow->last_token = out->token;
}

/* Wall time that ran ahead of boot time shortens validity, and a renewal is due at once. */
static bool check_wall_may_run_ahead(const sim_world *world) {
    return sim_had(world, SIM_FAULT_WALL) || sim_had(world, SIM_FAULT_MACHINE) ||
           sim_had(world, SIM_FAULT_BACK);
}

/* Does an applied write of this incarnation give validity until then? */
static bool check_is_backed(const sim_node *node, int64_t valid_until_ms) {
    const sim_shadow *shadow = &node->shadow;
    uint32_t kept = shadow->write_count < SIM_MAX_WRITES ? shadow->write_count : SIM_MAX_WRITES;
    for (uint32_t i = 1; i <= kept; i++) {
        const sim_write *write = &shadow->writes[(shadow->write_count - i) % SIM_MAX_WRITES];
        if (write->self && write->applied &&
            write->sent_ms + node->desc.renew_deadline_ms >= valid_until_ms) {
            return true;
        }
    }
    return false;
}

static void check_validity(sim_world *world, sim_node *node) {
    sim_shadow *shadow = &node->shadow;
    const lease_core_output *out = &node->out;
    if ((out->valid_until_ms != 0) != shadow->leading) {
        sim_fail(world, node, "validity %" PRId64 " %s a term", out->valid_until_ms,
                 shadow->leading ? "within" : "without");
    }
    if (out->token != shadow->token) sim_fail(world, node, "the token changed within a term");
    if (!shadow->leading) return;
    if (out->valid_until_ms <= shadow->now_ms) {
        sim_fail(world, node, "validity until %" PRId64 " at %" PRId64, out->valid_until_ms,
                 shadow->now_ms);
    }
    if (out->valid_until_ms < shadow->valid_until_ms && !check_wall_may_run_ahead(world)) {
        sim_fail(world, node, "validity went back without a step of wall time");
    }
    if (out->valid_until_ms > shadow->valid_until_ms) {
        if (!check_is_backed(node, out->valid_until_ms)) {
            sim_fail(world, node, "validity until %" PRId64 " has no applied write behind it",
                     out->valid_until_ms);
        }
        if (shadow->failures >= 2) sim_hit(world, SIM_OUTAGE_SURVIVED);
        if (world->server.storm_until_us > world->now_us) sim_hit(world, SIM_STORM_SURVIVED);
        shadow->failures = 0;
    }
    if (shadow->answered_now && shadow->status == LEASE_OK &&
        (!shadow->own || shadow->seen.coordinated)) {
        sim_fail(world, node, "still leads after seeing \"%s\" at %s", shadow->seen.holder_identity,
                 shadow->seen.resource_version);
    }
    if (shadow->answered_now && shadow->status == LEASE_NOT_FOUND && node->desc.strict_creation) {
        sim_fail(world, node, "still leads after seeing that the Lease is gone");
    }
    shadow->valid_until_ms = out->valid_until_ms;
    shadow->work_until_ms = out->valid_until_ms + node->desc.stop_budget_ms;
}

/* Somebody else wrote the Lease while it was held, or not. */
static void check_foreign(sim_world *world, const sim_node *node, bool led) {
    const sim_shadow *shadow = &node->shadow;
    const lease_record *seen = &shadow->seen;
    bool told = (node->out.events & LEASE_CORE_FOREIGN_WRITE) != 0;
    bool shown = shadow->answered_now && shadow->status == LEASE_OK && shadow->changed;
    if (told) sim_hit(world, SIM_FOREIGN_WRITE);
    if (node->fooled) return;
    if (told && (!shown || !shadow->was_own || (shadow->same_uid && check_is_revision_own(node)))) {
        sim_fail(world, node, "FOREIGN_WRITE for version %s", seen->resource_version);
    }
    if (told || !led || !shown || !shadow->was_own) return;
    bool altered = (node->out.events & LEASE_CORE_ALTERED) != 0;
    if (!altered && strcmp(seen->holder_identity, node->identity) != 0) {
        sim_fail(world, node, "FOREIGN_WRITE is missing for version %s of \"%s\"",
                 seen->resource_version, seen->holder_identity);
    }
}

typedef enum check_state { CHECK_FOLLOWS, CHECK_LEADS, CHECK_GIVES, CHECK_ASIDE } check_state;

static check_state check_state_of(const sim_shadow *shadow) {
    if (shadow->leading) return CHECK_LEADS;
    if (shadow->giving) return CHECK_GIVES;
    return shadow->released ? CHECK_ASIDE : CHECK_FOLLOWS;
}

/* Whoever gives the Lease back, or stands aside, has to follow before it can lead. */
static void check_edge(sim_world *world, const sim_node *node, check_state before) {
    static const char *const names[] = {"follows", "leads", "gives back", "stands aside"};
    static const bool allowed[4][4] = {
        [CHECK_FOLLOWS] = {true, true, true, true},
        [CHECK_LEADS] = {true, true, true, true},
        [CHECK_GIVES] = {true, false, true, true},
        [CHECK_ASIDE] = {true, false, true, true},
    };
    check_state after = check_state_of(&node->shadow);
    if (!allowed[before][after]) {
        sim_fail(world, node, "%s and then %s", names[before], names[after]);
    }
}

static void check_events(sim_world *world, sim_node *node, const lease_core_input *input) {
    sim_shadow *shadow = &node->shadow;
    check_state before = check_state_of(shadow);
    bool led = shadow->leading;
    uint32_t events = node->out.events;
    bool expired = shadow->leading && shadow->now_ms >= shadow->valid_until_ms;
    if ((events & LEASE_CORE_READ_BACK) != 0) {
        sim_hit(world, SIM_READ_BACK);
        if (shadow->write_status == LEASE_CONFLICT) sim_hit(world, SIM_CONFLICT_OWN);
        if (shadow->write_status == LEASE_ALREADY_EXISTS) sim_hit(world, SIM_EXISTS_OWN);
        if (!shadow->own) sim_fail(world, node, "READ_BACK of a write that is not its own");
    }
    if ((events & LEASE_CORE_DUPLICATE) != 0) {
        if (check_is_known_own(node) && !node->fooled) {
            sim_fail(world, node, "DUPLICATE for a write of its own");
        }
        sim_hit(world, node->cloned && shadow->leading ? SIM_CLONE_MET : SIM_TWIN);
    }
    check_foreign(world, node, led);
    if ((events & LEASE_CORE_LOST) != 0) {
        check_lost(world, node, input);
    } else if (expired) {
        sim_fail(world, node, "the end of its term is not reported");
    }
    if ((events & LEASE_CORE_RELEASED) != 0) {
        if (shadow->release_told) sim_fail(world, node, "RELEASED twice");
        if (!shadow->giving) sim_fail(world, node, "RELEASED without having been asked");
        shadow->release_told = true;
        shadow->giving = false;
        sim_judge_released(world, node);
        if (shadow->unknown || (check_is_still_own(node) && !node->fooled)) {
            sim_fail(world, node, "RELEASED, but the Lease may still be its own");
        }
    }
    if ((events & LEASE_CORE_ACQUIRED) != 0) check_acquired(world, node);
    if ((events & LEASE_CORE_RENEWED) != 0 && !shadow->leading) {
        sim_fail(world, node, "RENEWED without a term");
    }
    const char *holder = shadow->exists ? shadow->seen.holder_identity : "";
    bool changed = shadow->answered_now && strcmp(holder, shadow->reported) != 0;
    if (changed != ((events & LEASE_CORE_LEADER_CHANGED) != 0)) {
        sim_fail(world, node, "LEADER_CHANGED %s: \"%s\" after \"%s\"",
                 changed ? "is missing" : "for nothing", holder, shadow->reported);
    }
    if (changed) sim_copy(shadow->reported, sizeof shadow->reported, holder);
    check_validity(world, node);
    check_edge(world, node, before);
    if ((events & (LEASE_CORE_ACQUIRED | LEASE_CORE_RENEWED)) != 0) {
        sim_judge_leaders(world, node);
    }
}

/* -- Requests ---------------------------------------------------------------------------------- */

/* Never two requests a second on average (or three a period, when that is more: a write that meets
 * a conflict, a read, a write), and never more than a few without a pause. */
static void check_rate(sim_world *world, sim_node *node) {
    sim_shadow *shadow = &node->shadow;
    /* An answer that takes its time is as good as a pause. */
    int64_t least_ms = node->desc.retry_period_ms < 1000 ? node->desc.retry_period_ms : 1000;
    bool paused = !shadow->answered_now || shadow->status == LEASE_TIMEOUT ||
                  shadow->now_ms >= shadow->pending_sent_ms + least_ms;
    shadow->at_once = paused ? 0 : shadow->at_once + 1;
    if (shadow->at_once > CHECK_IMMEDIATE) {
        sim_fail(world, node, "%d requests in a row without a pause", (int)shadow->at_once + 1);
    }
    int64_t *slot = &shadow->sent_at_us[shadow->sent_count % SIM_RATE_WINDOW];
    int64_t pace_ms = node->desc.retry_period_ms < 1500 ? node->desc.retry_period_ms / 3 : 500;
    int64_t span_us = (SIM_RATE_WINDOW - CHECK_BURST) * pace_ms * 1000;
    int64_t true_us = span_us * 1000000 / (1000000 + world->config.slowest_ppm);
    if (shadow->sent_count >= SIM_RATE_WINDOW && world->now_us - *slot < true_us) {
        sim_fail(world, node, "%d requests within %" PRId64 " ms", SIM_RATE_WINDOW + 1,
                 (world->now_us - *slot) / 1000);
    }
    *slot = world->now_us;
    shadow->sent_count++;
}

/* May it make itself the holder of the version it has seen? */
static void check_take(sim_world *world, sim_node *node) {
    sim_shadow *shadow = &node->shadow;
    const lease_record *seen = &shadow->seen;
    int64_t own_ms = node->desc.lease_duration_ms;
    int64_t recorded_ms = (int64_t)seen->lease_duration_s * 1000;
    int64_t respect_ms = recorded_ms > own_ms ? recorded_ms : own_ms;
    if (shadow->own) return;
    if (seen->holder_identity[0] != 0) {
        if (shadow->now_ms < shadow->seen_ms + respect_ms) {
            sim_fail(world, node, "takes version %s of \"%s\" %" PRId64 " ms after seeing it",
                     seen->resource_version, seen->holder_identity,
                     shadow->now_ms - shadow->seen_ms);
        }
        if (recorded_ms == 0) sim_hit(world, SIM_DURATION_ABSENT);
        if (recorded_ms < own_ms) sim_hit(world, SIM_OWN_DURATION);
        if (recorded_ms > own_ms) sim_hit(world, SIM_RECORDED_DURATION);
    } else if (node->desc.strict_creation && !shadow->uid_held) {
        if (shadow->now_ms < shadow->uid_ms + own_ms) {
            sim_fail(world, node, "takes an unheld Lease %" PRId64 " ms after seeing its uid",
                     shadow->now_ms - shadow->uid_ms);
        }
        sim_hit(world, SIM_STRICT_WAIT);
    }
    if (seen->lease_transitions == INT32_MAX) sim_hit(world, SIM_TRANSITIONS_FULL);
}

static void check_create(sim_world *world, sim_node *node) {
    sim_shadow *shadow = &node->shadow;
    if (!shadow->told || shadow->exists) sim_fail(world, node, "creates without having seen 404");
    if (node->desc.strict_creation) {
        if (node->out.write.holder_identity[0] != 0) sim_fail(world, node, "creates and leads");
        return;
    }
    if (!shadow->seen_held || shadow->leading) return;
    if (shadow->now_ms < shadow->absent_ms + node->desc.lease_duration_ms) {
        sim_fail(world, node, "creates %" PRId64 " ms after seeing that a held Lease is gone",
                 shadow->now_ms - shadow->absent_ms);
    }
    sim_hit(world, SIM_ABSENCE_WAITED);
}

static void check_update(sim_world *world, sim_node *node) {
    sim_shadow *shadow = &node->shadow;
    const lease_record *write = &node->out.write;
    const lease_record *seen = &shadow->seen;
    if (write->uid[0] == 0 || write->resource_version[0] == 0) {
        sim_fail(world, node, "PUT without uid and resourceVersion");
    }
    if (!shadow->exists || strcmp(write->uid, seen->uid) != 0 ||
        strcmp(write->resource_version, seen->resource_version) != 0) {
        sim_fail(world, node, "PUT over %s %s, which is not the version seen last", write->uid,
                 write->resource_version);
    }
    if (seen->coordinated) sim_fail(world, node, "PUT over a Lease with spec.strategy");
    if (write->holder_identity[0] != 0) {
        check_take(world, node);
        return;
    }
    if (!shadow->own) sim_fail(world, node, "releases what is not its own last write");
    if (shadow->leading) sim_fail(world, node, "releases while it is leader");
    if (write->lease_duration_s != 1 || write->lease_transitions != seen->lease_transitions ||
        write->acquire_time_us != write->renew_time_us) {
        sim_fail(world, node, "a releasing write of another form");
    }
}

static void check_write(sim_world *world, sim_node *node, const lease_core_input *input) {
    sim_shadow *shadow = &node->shadow;
    const lease_record *write = &node->out.write;
    bool self = write->holder_identity[0] != 0;
    if (node->kind == SIM_OBSERVER) sim_fail(world, node, "an observer writes");
    if (self && shadow->released) sim_fail(world, node, "takes the Lease after a release");
    if (node->out.action == LEASE_ACTION_CREATE) {
        check_create(world, node);
    } else {
        check_update(world, node);
    }
    if (self) {
        if (strcmp(write->holder_identity, node->identity) != 0) {
            sim_fail(world, node, "writes the holder \"%s\"", write->holder_identity);
        }
        if ((int64_t)write->lease_duration_s * 1000 != node->desc.lease_duration_ms) {
            sim_fail(world, node, "writes a duration of %d s", (int)write->lease_duration_s);
        }
        /* client-go followers compare whole seconds. With a deadline of less than two seconds a
         * second is too long between two renewals. */
        if (shadow->exists && node->desc.renew_deadline_ms >= 2000 &&
            strcmp(shadow->seen.holder_identity, node->identity) == 0 &&
            write->renew_time_us / 1000000 == shadow->seen.renew_time_us / 1000000) {
            sim_fail(world, node, "renewTime stays within its second");
        }
        if (write->renew_time_us > input->wall_us + 1000) sim_hit(world, SIM_RENEW_BUMPED);
        if (shadow->leading && shadow->exists &&
            write->acquire_time_us != shadow->seen.acquire_time_us) {
            sim_fail(world, node, "acquireTime changes within a term");
        }
    }
    sim_write *kept = &shadow->writes[shadow->write_count++ % SIM_MAX_WRITES];
    *kept = (sim_write){.id = node->out.request_id, .self = self, .sent_ms = shadow->now_ms,
                        .renew_us = write->renew_time_us};
}

/* What time alone does not mend is asked for slowly: four periods apart or more, once it lasts. */
static void check_denials(sim_world *world, sim_node *node) {
    const sim_shadow *shadow = &node->shadow;
    int64_t least_ms = 4 * (int64_t)node->desc.retry_period_ms;
    if (least_ms > CHECK_SLOWEST_MS) least_ms = CHECK_SLOWEST_MS;
    if (shadow->denials < 3) return;
    sim_hit(world, SIM_DENIED_SLOWLY);
    if (shadow->now_ms >= shadow->denied_ms + least_ms) return;
    sim_fail(world, node, "a request %" PRId64 " ms after refusal %d in a row",
             shadow->now_ms - shadow->denied_ms, (int)shadow->denials);
}

static void check_action(sim_world *world, sim_node *node, const lease_core_input *input) {
    sim_shadow *shadow = &node->shadow;
    const lease_core_output *out = &node->out;
    if (out->action == LEASE_ACTION_NONE) return;
    if (shadow->pending != LEASE_ACTION_NONE) {
        sim_fail(world, node, "a second request beside %u", (unsigned)shadow->pending_id);
    }
    if (input->hold_requests) sim_fail(world, node, "a request while there is no connection");
    if (out->request_id == shadow->pending_id) sim_fail(world, node, "a request id used twice");
    if (out->give_up_ms <= shadow->now_ms ||
        out->give_up_ms > shadow->now_ms + node->desc.request_timeout_ms) {
        sim_fail(world, node, "a time limit of %" PRId64 " ms", out->give_up_ms - shadow->now_ms);
    }
    if (shadow->now_ms < shadow->not_before_ms && !check_wall_may_run_ahead(world)) {
        sim_fail(world, node, "a request %" PRId64 " ms before Retry-After or its period is over",
                 shadow->not_before_ms - shadow->now_ms);
    }
    check_rate(world, node);
    check_denials(world, node);
    if (out->action != LEASE_ACTION_READ) check_write(world, node, input);
    if (out->action != LEASE_ACTION_READ) shadow->unknown = true;
    shadow->pending = out->action;
    shadow->pending_id = out->request_id;
    shadow->pending_sent_ms = shadow->now_ms;
    shadow->give_up_ms = out->give_up_ms;
}

/* There is always a next instant, and never a far one. An answer that is overdue is owed by the
 * loop: then the next instant may be now. */
static void check_wake(sim_world *world, sim_node *node) {
    const sim_shadow *shadow = &node->shadow;
    int64_t wake_ms = node->out.wake_ms;
    int64_t slowest_ms = 2 * (int64_t)node->desc.retry_period_ms;
    if (slowest_ms < CHECK_SLOWEST_MS) slowest_ms = CHECK_SLOWEST_MS;
    if (slowest_ms < node->desc.request_timeout_ms) slowest_ms = node->desc.request_timeout_ms;
    bool overdue = shadow->pending != LEASE_ACTION_NONE && shadow->give_up_ms <= shadow->now_ms;
    if (wake_ms <= shadow->now_ms && !overdue) {
        sim_fail(world, node, "to be woken %" PRId64 " ms ago", shadow->now_ms - wake_ms);
    }
    if (wake_ms > shadow->now_ms + slowest_ms) {
        sim_fail(world, node, "to be woken in %" PRId64 " ms", wake_ms - shadow->now_ms);
    }
    if (shadow->leading && wake_ms > shadow->valid_until_ms) {
        sim_fail(world, node, "to be woken after the end of its term");
    }
}

/* Followers look after a wait that is random in part, or those in step stay in step. */
static void check_jitter(sim_world *world, sim_node *node) {
    sim_shadow *shadow = &node->shadow;
    int64_t wait_ms = node->out.wake_ms - shadow->now_ms;
    bool looked = shadow->answered_now && shadow->status == LEASE_OK && !shadow->leading &&
                  (node->out.events & LEASE_CORE_ALTERED) == 0;
    bool waits = node->out.action == LEASE_ACTION_NONE && wait_ms >= node->desc.retry_period_ms;
    if (!looked || !waits) return;
    shadow->same_waits = wait_ms == shadow->wait_ms ? shadow->same_waits + 1 : 0;
    shadow->wait_ms = wait_ms;
    if (shadow->same_waits >= CHECK_SAME_WAITS) {
        sim_fail(world, node, "looks again and again after %" PRId64 " ms, without jitter",
                 wait_ms);
    }
}

/* -- Range ------------------------------------------------------------------------------------- */

static void check_range(sim_world *world, sim_node *node, const lease_core_input *input) {
    sim_shadow *shadow = &node->shadow;
    const lease_range_state *state = &node->core.range;
    lease_time_range range = {0, 0};
    bool open = false;
    bool held = lease_core_range(state, shadow->now_ms, input->wall_us, &range, &open);
    if (held && !shadow->range_held) sim_fail(world, node, "a range that is not its own");
    if (!held && shadow->leading && node->clock.wall_frozen_us == 0 && shadow->own &&
        !node->fooled &&
        shadow->seen.renew_time_us + node->desc.lease_duration_ms * INT64_C(1000) >
            input->wall_us) {
        sim_fail(world, node, "no range within a term");
    }
    if (open) {
        sim_hit(world, SIM_FAIL_OPEN);
        if (!shadow->silent) sim_fail(world, node, "the range fails open on an answer");
        if (!shadow->ever_led) sim_fail(world, node, "the range fails open before the first term");
        if (range.end_us < input->wall_us) sim_fail(world, node, "an open range that has ended");
    } else if (held && shadow->own && shadow->exists) {
        if (range.start_us != shadow->seen.acquire_time_us ||
            range.end_us != shadow->seen.renew_time_us +
                                node->desc.lease_duration_ms * INT64_C(1000)) {
            sim_fail(world, node, "a range of other times than those of its last write");
        }
    }
    if (shadow->was_open && !held && sim_is_denial(shadow->status)) {
        sim_hit(world, SIM_OPEN_REFUSED);
    }
    if (shadow->was_open && !held && node->desc.max_fail_open_ms != 0 && state->held &&
        check_is_silence(shadow->status) && shadow->now_ms >= state->open_until_ms) {
        sim_hit(world, SIM_OPEN_BOUND);
    }
    shadow->was_open = open;
}

void sim_check_output(sim_world *world, sim_node *node, const lease_core_input *input) {
    check_events(world, node, input);
    check_action(world, node, input);
    check_wake(world, node);
    check_jitter(world, node);
    check_range(world, node, input);
}
