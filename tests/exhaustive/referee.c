/* The referee: what must hold after every step. Written from the rules of the interface, from what
 * a candidate was told and has answered, and from the truth about whose write a record is. */
#include <inttypes.h>
#include <string.h>

#include "exhaustive.h"

#define REFEREE_SLOWEST_MS 30000 /* the longest pause that the elector ever asks for */

static const lease_core_desc *desc_of(const ex_world *world, const ex_node *node) {
    return &world->scope->desc[node - world->nodes];
}

/* A rule is broken. Whether that does harm, two leaders show. */
#define breach(world, ...)                                                                         \
    do {                                                                                           \
        if (!(world)->scope->leaders_only) ex_fail((world), __VA_ARGS__);                          \
    } while (0)

/* How long the recorded holder must be respected. */
static int64_t respect_ms(const ex_world *world, const ex_node *node) {
    const int64_t own_ms = desc_of(world, node)->lease_duration_ms;
    const int64_t recorded_ms = (int64_t)node->seen.duration_s * 1000;
    return recorded_ms > own_ms ? recorded_ms : own_ms;
}

/* -- What a candidate is told ------------------------------------------------------------------ */

static void learn(const ex_world *world, ex_node *node, const ex_record *record) {
    const bool same_uid = node->told && node->seen.exists && node->seen.uid == record->uid;
    if (!same_uid || node->seen.version != record->version) node->seen_ms = node->now_ms;
    if (!same_uid) {
        node->uid_ms = node->now_ms;
        node->uid_held = false;
    }
    if (record->holder != EX_NOBODY) node->uid_held = node->seen_held = true;
    node->told = true;
    node->seen = *record;
    node->own = record->author == node->name && record->holder == node->name;
    const int64_t backed_ms = record->sent_ms + desc_of(world, node)->renew_deadline_ms;
    if (node->own && backed_ms > node->backed_ms) node->backed_ms = backed_ms;
}

/* Whoever held it may still be at work: its duration counts on. */
static void learn_absence(ex_node *node) {
    const int32_t duration_s = node->seen.duration_s;
    if (node->seen.exists || !node->told) node->absent_ms = node->now_ms;
    memset(&node->seen, 0, sizeof node->seen);
    node->seen.duration_s = duration_s;
    node->told = true;
    node->uid_held = false;
    node->own = false;
}

void ex_check_input(ex_world *world, ex_node *node, const lease_core_input *input,
                    const ex_record *record) {
    const bool done = input->kind == LEASE_INPUT_READ_DONE || input->kind == LEASE_INPUT_WRITE_DONE;
    const bool read = node->pending == LEASE_ACTION_READ;
    if (input->kind == LEASE_INPUT_RELEASE) {
        if (node->pending != LEASE_ACTION_NONE && !read) ex_happen(world, EX_RELEASED_UNKNOWN);
        node->released = true;
        /* It is asked for when the work has stopped. */
        if (node->work_until_ms > node->now_ms) node->work_until_ms = node->now_ms;
    }
    if (input->kind == LEASE_INPUT_CONTEND) node->released = false;
    if (!done || node->pending == LEASE_ACTION_NONE || node->pending_id != input->request_id) {
        return;
    }
    node->pending = LEASE_ACTION_NONE;
    if (record != NULL) learn(world, node, record);
    if (read && input->status == LEASE_NOT_FOUND) learn_absence(node);
}

/* -- Terms ------------------------------------------------------------------------------------- */

static void check_lost(ex_world *world, ex_node *node, const lease_core_output *out) {
    static const struct {
        lease_reason reason;
        ex_happened what;
    } hits[] = {{LEASE_REASON_EXPIRED, EX_EXPIRED}, {LEASE_REASON_TAKEN, EX_TAKEN},
                {LEASE_REASON_CLEARED, EX_CLEARED}, {LEASE_REASON_DELETED, EX_DELETED},
                {LEASE_REASON_DUPLICATE, EX_DUPLICATE}};
    for (size_t i = 0; i < sizeof hits / sizeof hits[0]; i++) {
        if (out->lost_reason == hits[i].reason) ex_happen(world, hits[i].what);
    }
    ex_tell(world, node, "has lost the term for reason %d", (int)out->lost_reason);
    if (!node->leading) breach(world, "LOST without a term");
    if (out->lost_reason == LEASE_REASON_EXPIRED && node->now_ms < node->valid_until_ms) {
        breach(world, "LOST before the deadline");
    }
    if (out->stop_by_ms > node->valid_until_ms + desc_of(world, node)->stop_budget_ms) {
        breach(world, "the work may go on beyond validity and stop budget");
    }
    node->leading = false;
    node->token = 0;
    node->valid_until_ms = 0;
    node->work_until_ms = node->released ? node->now_ms : out->stop_by_ms;
}

static void check_acquired(ex_world *world, ex_node *node, const lease_core_output *out) {
    ex_tell(world, node, "LEADS with token %" PRIu64, out->token);
    ex_happen(world, EX_ACQUIRED);
    if (node->leading) breach(world, "ACQUIRED within a term");
    if (node->released) breach(world, "ACQUIRED after a release");
    if (out->token != node->seen.version) {
        breach(world, "token %" PRIu64 " is not the version %u", out->token,
                (unsigned)node->seen.version);
    }
    if (out->token <= world->highest_token && !node->disturbed) {
        breach(world, "token %" PRIu64 " after %u", out->token, (unsigned)world->highest_token);
    }
    if (out->token > world->highest_token) world->highest_token = (uint32_t)out->token;
    node->leading = true;
    node->token = (uint32_t)out->token;
}

/* Called when validity begins or is extended: nothing else starts an overlap. */
static void check_alone(ex_world *world, const ex_node *node) {
    const ex_node *other = &world->nodes[node == &world->nodes[0] ? 1 : 0];
    if (!other->alive || other->now_ms >= other->work_until_ms) return;
    if (node->disturbed || other->disturbed) {
        ex_happen(world, EX_EXCUSED);
        return;
    }
    const bool strict = other->leading && other->now_ms < other->valid_until_ms;
    ex_fail(world, "two leaders: %c leads while %c %s", (int)('a' + (node - world->nodes)),
            (int)('a' + (other - world->nodes)),
            strict ? "is strictly leader" : "has time to end its work");
}

static void check_validity(ex_world *world, ex_node *node, const lease_core_output *out) {
    const bool extended = out->valid_until_ms > node->valid_until_ms;
    if ((out->valid_until_ms != 0) != node->leading) {
        breach(world, node->leading ? "a term without validity" : "validity without a term");
    }
    if (out->token != node->token) breach(world, "the token changes within a term");
    if (node->core.range.held && node->seen.exists && !node->own) {
        breach(world, "it keeps its range after it has seen another's record");
    }
    if (!node->leading) return;
    if (out->valid_until_ms <= node->now_ms) breach(world, "validity that has passed");
    if (out->valid_until_ms < node->valid_until_ms) breach(world, "validity goes back");
    if (extended && out->valid_until_ms > node->backed_ms) {
        breach(world, "validity beyond that of every write of its own that it was shown");
    }
    if (node->seen.exists && !node->own) {
        breach(world, "it leads after it has seen another's record");
    }
    if (!node->seen.exists && desc_of(world, node)->strict_creation) {
        breach(world, "it leads after it has seen that the Lease is gone");
    }
    node->valid_until_ms = out->valid_until_ms;
    node->work_until_ms = out->valid_until_ms + desc_of(world, node)->stop_budget_ms;
    if (extended) check_alone(world, node);
}

/* The Lease is not its own any more, and no write that it still waits for can make it so. */
static void check_released(ex_world *world, const ex_node *node) {
    if (node->own) breach(world, "RELEASED while the Lease is its own");
    if (node->pending > LEASE_ACTION_READ) breach(world, "RELEASED with a write under way");
}

/* -- Requests ---------------------------------------------------------------------------------- */

static void check_create(ex_world *world, const ex_node *node, const lease_record *write) {
    if (!node->told || node->seen.exists) breach(world, "it creates without having seen 404");
    if (desc_of(world, node)->strict_creation) {
        if (write->holder_identity[0] != '\0') breach(world, "it creates and leads");
        return;
    }
    if (!node->seen_held || node->leading) return;
    if (node->now_ms < node->absent_ms + respect_ms(world, node)) {
        breach(world, "it creates too soon after seeing that a held Lease is gone");
    }
}

/* The instant from which the record seen last may be replaced by one of its own. */
static int64_t take_ms(const ex_world *world, const ex_node *node) {
    if (node->own) return node->now_ms;
    if (node->seen.holder != EX_NOBODY) return node->seen_ms + respect_ms(world, node);
    if (!desc_of(world, node)->strict_creation || node->uid_held) return node->seen_ms;
    return node->uid_ms + respect_ms(world, node);
}

static void check_take(ex_world *world, const ex_node *node) {
    const int64_t from_ms = take_ms(world, node);
    if (node->now_ms < from_ms) {
        breach(world, "it takes the Lease %" PRId64 " ms too early", from_ms - node->now_ms);
    }
    if (!node->own && node->seen.holder != EX_NOBODY) ex_happen(world, EX_TAKEN_OVER);
}

static void check_update(ex_world *world, const ex_node *node, const lease_record *write) {
    const bool self = write->holder_identity[0] != '\0';
    const int32_t counted = self && node->seen.holder != node->name;
    if (write->uid[0] == '\0' || write->resource_version[0] == '\0') {
        breach(world, "PUT without uid and resourceVersion");
    }
    if (!node->told || !node->seen.exists || ex_decimal(write->uid + 1) != node->seen.uid ||
        ex_decimal(write->resource_version) != node->seen.version) {
        breach(world, "PUT over version %s, which is not the one seen last",
                write->resource_version);
    }
    if (write->lease_transitions != counted) {
        breach(world, "leaseTransitions grows by %d instead of %d", (int)write->lease_transitions,
                (int)counted);
    }
    if (self) {
        check_take(world, node);
        return;
    }
    if (!node->own) breach(world, "it releases what is not its own last write");
    if (node->leading) breach(world, "it releases while it is leader");
}

static void check_write(ex_world *world, const ex_node *node, const lease_core_output *out) {
    const lease_record *write = &out->write;
    char name[16];
    if (out->action == LEASE_ACTION_CREATE) check_create(world, node, write);
    if (out->action == LEASE_ACTION_UPDATE) check_update(world, node, write);
    if (write->holder_identity[0] == '\0') return;
    ex_put_name(name, node->name);
    if (strcmp(write->holder_identity, name) != 0) breach(world, "it writes another's name");
    if (node->released) breach(world, "it takes the Lease after a release");
    if ((int64_t)write->lease_duration_s * 1000 != desc_of(world, node)->lease_duration_ms) {
        breach(world, "it writes a duration of %d s", (int)write->lease_duration_s);
    }
}

static void check_request(ex_world *world, ex_node *node, const lease_core_output *out) {
    const int64_t limit_ms = out->give_up_ms - node->now_ms;
    if (out->action == LEASE_ACTION_NONE) return;
    if (node->pending != LEASE_ACTION_NONE) breach(world, "a second request beside the first");
    if (limit_ms <= 0 || limit_ms > desc_of(world, node)->request_timeout_ms) {
        breach(world, "a time limit of %" PRId64 " ms", limit_ms);
    }
    if (out->action != LEASE_ACTION_READ) check_write(world, node, out);
    node->pending = out->action;
    node->pending_id = out->request_id;
    node->give_up_ms = out->give_up_ms;
}

/* There is always a next instant, and never a far one. When an answer is overdue it may be now. */
static void check_wake(ex_world *world, const ex_node *node, const lease_core_output *out) {
    const bool overdue = node->pending != LEASE_ACTION_NONE && node->give_up_ms <= node->now_ms;
    if (out->wake_ms <= node->now_ms && !overdue) breach(world, "to be woken at once");
    if (out->wake_ms > node->now_ms + REFEREE_SLOWEST_MS) {
        breach(world, "to be woken in %" PRId64 " ms", out->wake_ms - node->now_ms);
    }
    if (node->leading && out->wake_ms > node->valid_until_ms) {
        breach(world, "to be woken after the end of its term");
    }
}

void ex_check_output(ex_world *world, ex_node *node, const lease_core_output *out) {
    if ((out->events & LEASE_CORE_READ_BACK) != 0) ex_happen(world, EX_READ_BACK);
    if ((out->events & LEASE_CORE_RENEWED) != 0) ex_happen(world, EX_RENEWED);
    if ((out->events & LEASE_CORE_LOST) != 0) check_lost(world, node, out);
    if ((out->events & LEASE_CORE_ACQUIRED) != 0) check_acquired(world, node, out);
    if ((out->events & LEASE_CORE_RELEASED) != 0) check_released(world, node);
    if ((out->events & LEASE_CORE_ALTERED) != 0) {
        breach(world, "ALTERED, though the server stores what it is sent");
    }
    check_validity(world, node, out);
    check_request(world, node, out);
    check_wake(world, node, out);
}

/* -- What the server stores -------------------------------------------------------------------- */

/* Called before a write is stored. */
void ex_check_stored(ex_world *world, const ex_message *message) {
    if (message->action == LEASE_ACTION_UPDATE && !world->server.exists) {
        breach(world, "a PUT creates the Lease");
    }
    const bool known = ex_bearer(world, message->sender) != NULL;
    if (message->release && known && world->server.author != message->sender) {
        breach(world, "a release empties a Lease that its sender has not written");
    }
}
