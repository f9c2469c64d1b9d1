/* The canonical form of a situation: a string of bytes, equal for all worlds from which the same
 * can follow. One walk over the world defines it in both directions: PUT the form, GET a world that
 * has it. What the walk leaves out has no effect on what follows, or is the same in all worlds of
 * the scope; exhaustive.h says why. */
#include <inttypes.h>
#include <string.h>

#include "exhaustive.h"

#define PACK_NUMBERS 32
#define PACK_NOW 100    /* stands for the present instant */
#define PACK_PAST 64    /* times written: above it those of past seconds, below it the others */
#define PACK_LATEST 500 /* versions and uids of a world that is unpacked count down from here */

typedef enum pack_mode { PUT, GET } pack_mode;

/* Numbers that are only compared, in order. */
typedef struct pack_set {
    int64_t numbers[PACK_NUMBERS];
    int32_t count;
} pack_set;

/* A byte that waits for the rank of its number, until all numbers are known. */
typedef struct pack_blank {
    uint8_t *byte;
    const pack_set *set;
    int64_t number;
} pack_blank;

typedef struct pack {
    pack_mode mode;
    ex_world *world;
    uint8_t *to;         /* PUT */
    const uint8_t *from; /* GET */
    uint32_t spread;     /* GET: which of the worlds that have this form */
    int32_t grain_ms;
    uint64_t inverse;            /* 2^32 / grain_ms, rounded up */
    int64_t second_us[EX_NODES]; /* on each wall clock, the beginning of the present second */
    pack_set versions, uids, times[EX_NODES];
    pack_blank blanks[2 * PACK_NUMBERS];
    int32_t blank_count;
} pack;

static void add_number(pack_set *set, int64_t number) {
    int32_t at = set->count;
    while (at > 0 && set->numbers[at - 1] >= number) at--;
    if (at < set->count && set->numbers[at] == number) return;
    memmove(set->numbers + at + 1, set->numbers + at,
            (size_t)(set->count - at) * sizeof set->numbers[0]);
    set->numbers[at] = number;
    set->count++;
}

static void put_rank(pack *p, pack_set *set, int64_t number) {
    if (p->blank_count == 2 * PACK_NUMBERS || set->count == PACK_NUMBERS) {
        ex_fail(p->world, "more numbers than a situation may have");
        return;
    }
    add_number(set, number);
    p->blanks[p->blank_count++] = (pack_blank){p->to++, set, number};
}

/* Ranks count down from the latest, which is 1. */
static void fill_blanks(pack *p) {
    for (int32_t i = 0; i < p->blank_count; i++) {
        const pack_blank *blank = &p->blanks[i];
        int32_t rank = 1;
        for (int32_t at = blank->set->count - 1; blank->set->numbers[at] != blank->number; at--) {
            rank++;
        }
        *blank->byte = (uint8_t)(*blank->byte + rank);
    }
}

static void find_second(pack *p, uint32_t at) {
    const int64_t now_ms = p->world->nodes[at].now_ms;
    p->second_us[at] = (now_ms - now_ms % 1000) * 1000 + EX_WALL_US;
}

/* -- Leaves ------------------------------------------------------------------------------------ */

static uint8_t walk_byte(pack *p, uint8_t value) {
    if (p->mode == GET) return *p->from++;
    *p->to++ = value;
    return value;
}

/* Small numbers, kept as they are. */
#define WALK(p, type, lvalue) ((lvalue) = (type)walk_byte((p), (uint8_t)(lvalue)))

static void walk_flags(pack *p, bool *const *flags, size_t count) {
    uint8_t bits = 0;
    for (size_t i = 0; i < count; i++) bits = (uint8_t)(bits | (*flags[i] ? 1u << i : 0u));
    bits = walk_byte(p, bits);
    if (p->mode == PUT) return;
    for (size_t i = 0; i < count; i++) *flags[i] = (bits >> i & 1) != 0;
}

/* How many units that is; -1 when it is no number of them. It multiplies, for there are many. */
static int64_t units_of(const pack *p, int64_t ms) {
    if (ms < 0 || ms > INT32_MAX) return -1;
    const uint64_t units = (uint64_t)ms * p->inverse >> 32;
    return (int64_t)units * p->grain_ms == ms ? (int64_t)units : -1;
}

/* An instant on the clock of node; from lowest_ms downwards it does not matter how long ago. */
static void walk_ms(pack *p, const ex_node *node, int64_t *ms, int64_t lowest_ms) {
    if (p->mode == GET) {
        int64_t away_ms = ((int64_t)*p->from++ - PACK_NOW) * p->grain_ms;
        if (away_ms == lowest_ms) away_ms -= (int64_t)p->spread * p->grain_ms;
        *ms = node->now_ms + away_ms;
        return;
    }
    const int64_t away_ms = *ms - node->now_ms;
    const int64_t from_ms = (int64_t)PACK_NOW * p->grain_ms;
    const int64_t code = units_of(p, (away_ms < lowest_ms ? lowest_ms : away_ms) + from_ms);
    if (code < 0 || code > 2 * PACK_NOW) {
        ex_fail(p->world, "an instant %" PRId64 " ms away is not on the grid", away_ms);
    }
    *p->to++ = (uint8_t)code;
}

/* The time of a write under the node's name. */
static void walk_us(pack *p, const ex_node *node, int64_t *us) {
    const int64_t second_us = p->second_us[node - p->world->nodes];
    const int32_t grain_us = p->grain_ms * 1000;
    if (p->mode == GET) {
        const int64_t code = *p->from++;
        *us = code == 0 ? 0 : second_us + (code - 1) * grain_us;
        if (code > PACK_PAST) *us = second_us - (code - PACK_PAST) * 1000000 * (1 + p->spread);
        return;
    }
    if (*us != 0 && *us < second_us) {
        *p->to = PACK_PAST;
        put_rank(p, &p->times[node - p->world->nodes], *us);
        return;
    }
    const int32_t ahead_us = *us == 0 ? -grain_us : (int32_t)(*us - second_us);
    const int32_t units = ahead_us / grain_us;
    if (units * grain_us != ahead_us || units >= PACK_PAST) {
        ex_fail(p->world, "a time written is not on the grid");
    }
    *p->to++ = (uint8_t)(units + 1);
}

static void walk_number(pack *p, pack_set *set, uint32_t *number) {
    if (p->mode == GET) {
        const uint32_t rank = *p->from++;
        *number = rank == 0 ? 0 : (PACK_LATEST - rank) * (1 + p->spread);
    } else if (*number == 0) {
        *p->to++ = 0;
    } else {
        *p->to = 0;
        put_rank(p, set, *number);
    }
}

/* The first incarnation stands for all that may live. */
static void walk_name(pack *p, uint32_t *name) {
    uint32_t value = *name;
    if (value >= EX_FIRST) {
        value = ex_bearer(p->world, value) != NULL ? EX_FIRST + value % EX_NODES : EX_FORMER;
    }
    value = walk_byte(p, (uint8_t)value);
    if (p->mode == GET) *name = value;
}

/* -- Records ----------------------------------------------------------------------------------- */

static void walk_content(pack *p, ex_record *record) {
    walk_name(p, &record->holder);
    WALK(p, int32_t, record->duration_s);
    const ex_node *holder = ex_bearer(p->world, record->holder);
    if (holder != NULL) {
        walk_us(p, holder, &record->renew_us);
        walk_us(p, holder, &record->acquire_us);
    }
    uint32_t author = ex_bearer(p->world, record->author) != NULL ? record->author : EX_NOBODY;
    walk_name(p, &author);
    if (p->mode == GET) record->author = author;
    if (author == EX_NOBODY) return;
    const ex_node *node = &p->world->nodes[author % EX_NODES];
    const lease_core_desc *desc = &p->world->scope->desc[author % EX_NODES];
    walk_ms(p, node, &record->sent_ms, -(int64_t)desc->renew_deadline_ms);
}

static void walk_record(pack *p, ex_record *record) {
    WALK(p, bool, record->exists);
    if (!record->exists) return;
    walk_number(p, &p->versions, &record->version);
    walk_number(p, &p->uids, &record->uid);
    walk_content(p, record);
}

/* Which version a write is over: the present one, or one that is no more. */
static bool walk_base(pack *p, ex_record *record) {
    const ex_record *server = &p->world->server;
    uint8_t uid = record->uid == 0 ? 0 : server->exists && record->uid == server->uid ? 1 : 2;
    uint8_t present = server->exists && record->version == server->version;
    uid = walk_byte(p, uid);
    present = walk_byte(p, present);
    if (p->mode == GET) {
        record->uid = uid == 0 ? 0 : uid == 1 ? server->uid : UINT32_MAX;
        record->version = present != 0 ? server->version : UINT32_MAX;
    }
    return uid == 0 || (uid == 1 && present != 0);
}

static void walk_message(pack *p, ex_message *message) {
    bool late = p->mode != GET && ex_is_late(p->world, message);
    walk_name(p, &message->sender);
    WALK(p, ex_message_kind, message->kind);
    WALK(p, lease_action, message->action);
    bool *const flags[] = {&late, &message->release, &message->maybe_applied};
    walk_flags(p, flags, 3);
    if (p->mode == GET) {
        const ex_node *sender = ex_bearer(p->world, message->sender);
        message->id = sender != NULL ? sender->core.requests - (late ? 1 + p->spread : 0) : 0;
    }
    if (message->kind == EX_ANSWER) {
        uint8_t status = walk_byte(p, (uint8_t)-message->status);
        if (p->mode == GET) message->status = (lease_status)-(int)status;
        if (message->status == LEASE_OK) walk_record(p, &message->record);
        return;
    }
    if (message->action == LEASE_ACTION_READ) return;
    if (p->mode == GET) message->record.exists = true;
    if (message->action == LEASE_ACTION_UPDATE && !walk_base(p, &message->record)) return;
    walk_content(p, &message->record);
}

/* -- Candidates -------------------------------------------------------------------------------- */

static void walk_seen(pack *p, ex_node *node) {
    lease_core *core = &node->core;
    lease_record *seen = &core->seen;
    uint32_t version = ex_decimal(seen->resource_version);
    uint32_t uid = seen->uid[0] != '\0' ? ex_decimal(seen->uid + 1) : 0;
    uint8_t holder = seen->holder_identity[0] == '\0'                         ? EX_NOBODY
                     : strcmp(seen->holder_identity, core->own_identity) == 0 ? EX_FIRST
                                                                              : EX_FORMER;
    WALK(p, int32_t, seen->lease_duration_s);
    if (!core->exists) return;
    walk_number(p, &p->versions, &version);
    walk_number(p, &p->uids, &uid);
    holder = walk_byte(p, holder);
    if (p->mode == GET) {
        ex_put_decimal(seen->resource_version, version);
        seen->uid[0] = 'u';
        ex_put_decimal(seen->uid + 1, uid);
        ex_put_name(seen->holder_identity, holder == EX_FIRST ? node->name : holder);
        seen->mine_only = true;
    }
    if (holder != EX_FIRST) return;
    walk_us(p, node, &seen->renew_time_us);
    walk_us(p, node, &seen->acquire_time_us);
}

static bool shows(const ex_node *node, const ex_record *record, const lease_attempt *attempt) {
    return record->exists && record->holder == node->name &&
           record->renew_us == attempt->renew_us && record->acquire_us == attempt->acquire_us;
}

/* Is the write with the last time under way? A creation without holder has none. */
static bool has_time_under_way(const lease_core *core) {
    return core->pending == LEASE_ACTION_UPDATE ||
           (core->pending == LEASE_ACTION_CREATE && !core->desc.strict_creation);
}

/* Can the attempt still be read back, or answered? */
static bool is_open(const pack *p, const ex_node *node, uint32_t at) {
    const lease_attempt *attempt = &node->core.attempts[at];
    const bool waits = has_time_under_way(&node->core) && !node->core.pending_release;
    if (waits && at + 1 == node->core.attempt_count) return true;
    if (shows(node, &p->world->server, attempt)) return true;
    for (int32_t i = 0; i < p->world->message_count; i++) {
        if (shows(node, &p->world->messages[i].record, attempt)) return true;
    }
    return false;
}

static void walk_attempts(pack *p, ex_node *node) {
    lease_core *core = &node->core;
    uint8_t open[LEASE_CORE_ATTEMPTS];
    uint8_t count = 0;
    for (uint32_t i = 0; i < core->attempt_count && p->mode != GET; i++) {
        if (is_open(p, node, i)) open[count++] = (uint8_t)i;
    }
    count = walk_byte(p, count);
    if (p->mode == GET) core->attempt_count = count;
    for (uint8_t i = 0; i < count; i++) {
        lease_attempt *attempt = &core->attempts[p->mode == GET ? i : open[i]];
        walk_us(p, node, &attempt->renew_us);
        walk_us(p, node, &attempt->acquire_us);
        walk_ms(p, node, &attempt->sent_ms, -(int64_t)core->desc.renew_deadline_ms);
        bool *const flags[] = {&attempt->refused, &attempt->spent};
        walk_flags(p, flags, 2);
        if (p->mode == GET) attempt->offset_us = EX_WALL_US;
    }
}

/* The time written last matters while its write is under way, and as long as the next one has to
 * keep behind it. */
static void walk_last_time(pack *p, ex_node *node) {
    lease_core *core = &node->core;
    int64_t last_us = core->last_renew_us;
    const bool past = last_us < p->second_us[node - p->world->nodes];
    if (past && !has_time_under_way(core)) last_us = 0;
    walk_us(p, node, &last_us);
    if (p->mode == GET) core->last_renew_us = last_us;
}

static void walk_core(pack *p, ex_node *node) {
    lease_core *core = &node->core;
    const int64_t past_ms = -(int64_t)p->world->scope->max_duration_s * 1000;
    bool leads = core->valid_until_ms != 0;
    bool *const flags[] = {&core->exists,   &core->answered,  &core->seen_held, &core->released,
                           &core->releasing, &core->read_first, &core->ours,      &leads};
    walk_flags(p, flags, 8);
    bool *const more[] = {&core->range.held, &core->pending_release, &core->uid_held};
    walk_flags(p, more, core->desc.strict_creation ? 3 : 2);
    walk_seen(p, node);
    walk_ms(p, node, &core->observed_ms, past_ms);
    if (core->desc.strict_creation) walk_ms(p, node, &core->uid_since_ms, past_ms);
    if (leads) {
        uint32_t token = (uint32_t)core->token;
        walk_number(p, &p->versions, &token);
        core->token = token;
        walk_ms(p, node, &core->valid_until_ms, -(int64_t)core->desc.stop_budget_ms);
    }
    walk_ms(p, node, &core->next_ms, 0);
    WALK(p, lease_action, core->pending);
    if (core->pending != LEASE_ACTION_NONE) {
        walk_ms(p, node, &core->pending_give_up_ms, 0);
        core->pending_sent_ms = core->pending_give_up_ms - core->desc.request_timeout_ms;
    }
    int32_t failures = core->failures < 7 ? core->failures : 7; /* the pause grows no more */
    WALK(p, int32_t, failures);
    if (p->mode == GET) core->failures = failures;
    walk_last_time(p, node);
    walk_us(p, node, &core->own_renew_us);
    walk_attempts(p, node);
    if (core->range.held) walk_us(p, node, &core->range.start_us);
    if (p->mode != GET) return;
    core->clock_ms = node->now_ms;
    core->offset_us = core->held_offset_us = EX_WALL_US;
}

/* What the referee knows. */
static void walk_shadow(pack *p, ex_node *node) {
    const lease_core_desc *desc = &node->core.desc;
    const int64_t past_ms = -(int64_t)p->world->scope->max_duration_s * 1000;
    bool *const flags[] = {&node->told,     &node->seen_held, &node->seen.exists, &node->own,
                           &node->leading,  &node->released,  &node->disturbed,   &node->uid_held};
    walk_flags(p, flags, desc->strict_creation ? 8 : 7);
    WALK(p, int32_t, node->seen.duration_s);
    if (node->seen.exists) {
        walk_number(p, &p->versions, &node->seen.version);
        walk_number(p, &p->uids, &node->seen.uid);
        walk_name(p, &node->seen.holder);
        walk_ms(p, node, &node->seen_ms, past_ms);
        if (desc->strict_creation) walk_ms(p, node, &node->uid_ms, past_ms);
    } else if (node->told) {
        walk_ms(p, node, &node->absent_ms, past_ms);
    }
    if (node->leading) {
        walk_number(p, &p->versions, &node->token);
        walk_ms(p, node, &node->valid_until_ms, -(int64_t)desc->stop_budget_ms);
    }
    walk_ms(p, node, &node->work_until_ms, 0);
    walk_ms(p, node, &node->backed_ms, 0);
    walk_ms(p, node, &node->wake_ms, 0);
    WALK(p, lease_action, node->pending);
    if (node->pending != LEASE_ACTION_NONE) walk_ms(p, node, &node->give_up_ms, 0);
}

static void walk_node(pack *p, ex_node *node) {
    const uint32_t index = (uint32_t)(node - p->world->nodes);
    WALK(p, bool, node->alive);
    const uint8_t phase = walk_byte(p, (uint8_t)(node->now_ms % 1000 / p->grain_ms));
    if (p->mode == GET) {
        node->now_ms = EX_BASE_MS + phase * p->grain_ms + (int64_t)p->spread * 1000;
        find_second(p, index);
        node->name = EX_FIRST + index - (node->alive ? 0 : EX_NODES);
        node->core.requests = 1000 + p->spread;
        node->pending_id = 1000 + p->spread;
    }
    if (!node->alive) return;
    walk_core(p, node);
    walk_shadow(p, node);
}

/* -- The whole --------------------------------------------------------------------------------- */

static void walk_world(pack *p) {
    ex_world *world = p->world;
    WALK(p, int32_t, world->budget);
    for (int32_t i = 0; i < EX_NODES; i++) walk_node(p, &world->nodes[i]);
    walk_record(p, &world->server);
    walk_number(p, &p->versions, &world->highest_token);
    WALK(p, int32_t, world->message_count);
}

typedef struct pack_message {
    uint8_t bytes[32];
    size_t length;
    ex_message message;
} pack_message;

static bool is_before(const pack_message *a, const pack_message *b) {
    const size_t shorter = a->length < b->length ? a->length : b->length;
    const int order = memcmp(a->bytes, b->bytes, shorter);
    return order < 0 || (order == 0 && a->length < b->length);
}

/* Messages are a bag: their order is that of their packed forms. */
static void sort_messages(ex_world *world, pack_message *packed) {
    for (int32_t i = 1; i < world->message_count; i++) {
        const pack_message one = packed[i];
        int32_t at = i;
        for (; at > 0 && is_before(&one, &packed[at - 1]); at--) packed[at] = packed[at - 1];
        packed[at] = one;
    }
    for (int32_t i = 0; i < world->message_count; i++) world->messages[i] = packed[i].message;
}

size_t ex_pack(ex_world *world, uint8_t *bytes) {
    pack_message messages[EX_MESSAGES];
    pack p;
    p.mode = PUT;
    p.world = world;
    p.versions.count = p.uids.count = p.times[0].count = p.times[1].count = 0;
    p.blank_count = 0;
    p.grain_ms = world->scope->grain_ms;
    p.inverse = UINT32_MAX / (uint32_t)p.grain_ms + 1;
    for (uint32_t i = 0; i < EX_NODES; i++) find_second(&p, i);
    for (int32_t i = 0; i < world->message_count; i++) {
        p.to = messages[i].bytes;
        walk_message(&p, &world->messages[i]);
        messages[i].length = (size_t)(p.to - messages[i].bytes);
        messages[i].message = world->messages[i];
    }
    p.to = bytes;
    walk_world(&p);
    fill_blanks(&p);
    sort_messages(world, messages);
    for (int32_t i = 0; i < world->message_count; i++) {
        memcpy(p.to, messages[i].bytes, messages[i].length);
        p.to += messages[i].length;
    }
    return (size_t)(p.to - bytes);
}

void ex_unpack(ex_world *world, const ex_world *blank, const uint8_t *bytes, uint32_t spread) {
    pack p;
    *world = *blank;
    p.mode = GET;
    p.world = world;
    p.from = bytes;
    p.spread = spread;
    p.grain_ms = world->scope->grain_ms;
    walk_world(&p);
    for (int32_t i = 0; i < world->message_count; i++) walk_message(&p, &world->messages[i]);
    world->revision = world->uids = PACK_LATEST * (1 + spread);
}
