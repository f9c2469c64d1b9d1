/* The walk: breadth first over packed situations, each expanded once, so that the first failure met
 * has a shortest path. Besides, from every situation the way to a leader when nothing goes wrong
 * any more, and the test of the canonical form. */
#include <stdlib.h>
#include <string.h>

#include "exhaustive.h"

#define SEARCH_MAX_STATES 24000000u
#define SEARCH_TEST_EVERY 199u /* of so many situations one is a test of the canonical form */
#define SEARCH_SPREAD 5u
#define SEARCH_UNKNOWN UINT8_MAX
#define SEARCH_NONE UINT32_MAX

typedef struct search_state {
    uint64_t hash[2];
    uint32_t parent;
    uint32_t healed;    /* what follows when nothing goes wrong */
    ex_choice choice;   /* that led here from the parent */
    uint8_t leader_in;  /* units until somebody leads then */
    uint8_t takes_time; /* units on the way to healed: 0 or 1 */
} search_state;

/* Packed situations one after the other, each behind its length. */
typedef struct search_layer {
    uint8_t *bytes;
    size_t length, capacity;
} search_layer;

typedef struct search {
    const ex_scope *scope;
    ex_result *result;
    ex_world blank;
    search_state *states;
    uint32_t count;
    uint32_t *table; /* state index + 1 */
    uint64_t mask;
    search_layer now, next;
} search;

/* -- Hashing ----------------------------------------------------------------------------------- */

static uint64_t mix(uint64_t z) {
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* 128 bits: 10^7 situations collide with a probability of 10^-25. */
static void hash_bytes(const uint8_t *bytes, size_t length, uint64_t hash[2]) {
    uint64_t a = length + 1, b = ~a;
    for (size_t i = 0; i < length; i += sizeof a) {
        uint64_t word = 0;
        const size_t left = length - i;
        memcpy(&word, bytes + i, left < sizeof word ? left : sizeof word);
        a = mix(a ^ word);
        b = mix(b + word * UINT64_C(0x9e3779b97f4a7c15));
    }
    hash[0] = a;
    hash[1] = mix(a ^ b);
}

static void *allocate(size_t count, size_t size) {
    void *memory = calloc(count, size);
    if (memory != NULL) return memory;
    fprintf(stderr, "test_exhaustive: out of memory\n");
    exit(2);
}

static void grow_table(search *s) {
    const uint64_t size = s->table == NULL ? 1u << 16 : 2 * (s->mask + 1);
    free(s->table);
    s->table = allocate(size, sizeof s->table[0]);
    s->mask = size - 1;
    for (uint32_t i = 0; i < s->count; i++) {
        uint64_t at = s->states[i].hash[0] & s->mask;
        while (s->table[at] != 0) at = (at + 1) & s->mask;
        s->table[at] = i + 1;
    }
}

/* The index of the state, which is one more when it is new. */
static uint32_t insert(search *s, const uint64_t hash[2], uint32_t parent, ex_choice choice) {
    if ((s->mask + 1) * 6 < (uint64_t)s->count * 10) grow_table(s);
    uint64_t at = hash[0] & s->mask;
    for (; s->table[at] != 0; at = (at + 1) & s->mask) {
        const search_state *state = &s->states[s->table[at] - 1];
        if (state->hash[0] == hash[0] && state->hash[1] == hash[1]) return s->table[at] - 1;
    }
    if (s->count == SEARCH_MAX_STATES) {
        fprintf(stderr, "test_exhaustive: more than %u states\n", SEARCH_MAX_STATES);
        exit(2);
    }
    s->states[s->count] = (search_state){.hash = {hash[0], hash[1]},
                                         .parent = parent,
                                         .healed = SEARCH_NONE,
                                         .choice = choice,
                                         .leader_in = SEARCH_UNKNOWN};
    s->table[at] = ++s->count;
    return s->count - 1;
}

static void push(search_layer *layer, const uint8_t *bytes, size_t length) {
    if (layer->length + length + 1 > layer->capacity) {
        layer->capacity = 2 * layer->capacity + 4096;
        layer->bytes = realloc(layer->bytes, layer->capacity);
        if (layer->bytes == NULL) exit(2);
    }
    layer->bytes[layer->length] = (uint8_t)length;
    memcpy(layer->bytes + layer->length + 1, bytes, length);
    layer->length += length + 1;
}

/* -- Paths and failures ------------------------------------------------------------------------ */

static int32_t path_to(const search *s, uint32_t at, ex_choice *path) {
    int32_t length = 0;
    for (uint32_t i = at; i != SEARCH_NONE && length < EX_PATH; i = s->states[i].parent) length++;
    uint32_t i = at;
    for (int32_t to = length - 1; to >= 0; to--, i = s->states[i].parent) {
        path[to] = s->states[i].choice;
    }
    return length;
}

static bool fail(search *s, uint32_t at, const char *what) {
    ex_result *result = s->result;
    snprintf(result->failure, sizeof result->failure, "%s", what);
    result->path_length = path_to(s, at, result->path);
    return false;
}

static bool fail_after(search *s, uint32_t at, ex_choice choice, const char *what) {
    ex_result *result = s->result;
    fail(s, at, what);
    if (result->path_length < EX_PATH) result->path[result->path_length++] = choice;
    return false;
}

/* -- The test of the canonical form ------------------------------------------------------------ */

static bool same_step(const ex_world *a, const ex_world *b, ex_choice choice) {
    uint8_t bytes[2][EX_PACKED];
    ex_world worlds[2] = {*a, *b};
    size_t lengths[2] = {0, 0};
    for (int i = 0; i < 2; i++) {
        ex_apply(&worlds[i], choice);
        if (!worlds[i].full && worlds[i].failure[0] == '\0') {
            lengths[i] = ex_pack(&worlds[i], bytes[i]);
        }
    }
    return worlds[0].full == worlds[1].full && worlds[0].happened == worlds[1].happened &&
           (worlds[0].failure[0] == '\0') == (worlds[1].failure[0] == '\0') &&
           lengths[0] == lengths[1] && memcmp(bytes[0], bytes[1], lengths[0]) == 0;
}

/* Does everything that can follow this world follow its packed form, too, in the plainest world
 * that has that form and in another one? */
static bool same_future(search *s, ex_world *world) {
    uint8_t bytes[EX_PACKED];
    ex_world plain, other;
    ex_choice choices[2][EX_CHOICES];
    ex_pack(world, bytes);
    ex_unpack(&plain, &s->blank, bytes, 0);
    ex_unpack(&other, &s->blank, bytes, SEARCH_SPREAD);
    const int32_t count = ex_choices(world, choices[0]);
    if (ex_choices(&plain, choices[1]) != count) return false;
    if (memcmp(choices[0], choices[1], (size_t)count * sizeof choices[0][0]) != 0) return false;
    for (int32_t i = 0; i < count; i++) {
        if (!same_step(world, &plain, choices[0][i])) return false;
        if (!same_step(world, &other, choices[0][i])) return false;
    }
    s->result->tested++;
    return true;
}

/* Lives through the whole path to this state in a world that is never packed, and one step on: most
 * of these steps lead to states that the walk has reached on another path. */
static bool test_form(search *s, uint32_t at, const uint8_t *packed, size_t length) {
    ex_choice path[EX_PATH], choices[EX_CHOICES];
    uint8_t bytes[EX_PACKED];
    ex_world world;
    const int32_t steps = path_to(s, at, path);
    size_t reached = 0;
    ex_init(&world, s->scope);
    for (int32_t i = 0; i < steps; i++) {
        ex_apply(&world, path[i]);
        reached = ex_pack(&world, bytes);
    }
    const char *what = "the canonical form merges situations that differ";
    if (reached != length || memcmp(bytes, packed, length) != 0) return fail(s, at, what);
    if (!same_future(s, &world)) return fail(s, at, what);
    const int32_t count = ex_choices(&world, choices);
    for (int32_t i = 0; i < count; i++) {
        ex_world after = world;
        ex_apply(&after, choices[i]);
        if (after.full || after.failure[0] != '\0') continue;
        if (!same_future(s, &after)) return fail_after(s, at, choices[i], what);
    }
    return true;
}

/* -- Expanding --------------------------------------------------------------------------------- */

typedef struct search_successor {
    uint64_t hash[2];
    size_t length;
    bool leads;
    uint8_t bytes[EX_PACKED];
} search_successor;

static void count_step(ex_result *result, const ex_world *world) {
    result->transitions++;
    for (uint32_t bits = world->happened; bits != 0; bits &= bits - 1) {
        result->happened[__builtin_ctz(bits)]++;
    }
}

/* length 0: the step is not followed. */
static bool succeed(search *s, uint32_t at, const ex_world *base, ex_choice choice,
                    search_successor *successor) {
    ex_world world = *base;
    ex_apply(&world, choice);
    count_step(s->result, &world);
    successor->length = 0;
    if (world.failure[0] == '\0' && world.full) {
        s->result->cut++;
        return true;
    }
    if (world.failure[0] == '\0') successor->length = ex_pack(&world, successor->bytes);
    if (world.failure[0] != '\0') return fail_after(s, at, choice, world.failure);
    successor->leads = ex_has_leader(&world);
    hash_bytes(successor->bytes, successor->length, successor->hash);
    __builtin_prefetch(&s->table[successor->hash[0] & s->mask]);
    return true;
}

static bool expand(search *s, uint32_t at, const uint8_t *packed, size_t length) {
    search_successor successors[EX_CHOICES];
    ex_choice choices[EX_CHOICES];
    ex_world base;
    const bool strange = s->scope->must_fail || s->scope->leaders_only;
    if (at % SEARCH_TEST_EVERY == 0 && !strange && !test_form(s, at, packed, length)) return false;
    ex_unpack(&base, &s->blank, packed, 0);
    const int32_t count = ex_choices(&base, choices);
    const int32_t healing = ex_healing(&base, choices, count);
    for (int32_t i = 0; i < count; i++) {
        if (!succeed(s, at, &base, choices[i], &successors[i])) return false;
    }
    for (int32_t i = 0; i < count; i++) {
        const search_successor *successor = &successors[i];
        if (successor->length == 0) continue;
        const uint32_t before = s->count;
        const uint32_t to = insert(s, successor->hash, at, choices[i]);
        if (to == before) push(&s->next, successor->bytes, successor->length);
        if (successor->leads) s->states[to].leader_in = 0;
        if (i != healing) continue;
        s->states[at].healed = to;
        s->states[at].takes_time = choices[i].kind == EX_TIME;
    }
    return true;
}

static void begin(search *s) {
    uint8_t bytes[EX_PACKED];
    uint64_t hash[2];
    for (uint8_t i = 0; i < EX_ORIGINS; i++) {
        const ex_choice choice = {EX_ORIGIN, i};
        ex_world world;
        ex_init(&world, s->scope);
        ex_apply(&world, choice);
        const size_t length = ex_pack(&world, bytes);
        hash_bytes(bytes, length, hash);
        insert(s, hash, SEARCH_NONE, choice);
        push(&s->next, bytes, length);
    }
}

/* Layer by layer; next is left with what was not expanded. */
static bool walk(search *s, int32_t depth) {
    uint32_t at = 0;
    begin(s);
    while (s->next.length > 0 && (depth == 0 || s->result->depth < depth)) {
        const search_layer now = s->next;
        s->next = s->now;
        s->now = now;
        s->next.length = 0;
        for (size_t i = 0; i < now.length; i += (size_t)now.bytes[i] + 1, at++) {
            if (!expand(s, at, now.bytes + i + 1, now.bytes[i])) return false;
        }
        s->result->depth++;
    }
    s->result->complete = s->next.length == 0;
    return true;
}

/* -- A leader is possible from everywhere ------------------------------------------------------ */

static int64_t slower_ms(const ex_scope *scope) {
    return scope->rate_ms[0] < scope->rate_ms[1] ? scope->rate_ms[0] : scope->rate_ms[1];
}

/* Goes on from a state that was not expanded. */
static bool heal(search *s, uint32_t at, const uint8_t *packed) {
    ex_choice choices[EX_CHOICES];
    ex_world world;
    uint8_t units = 0;
    ex_unpack(&world, &s->blank, packed, 0);
    for (int32_t steps = 0; !ex_has_leader(&world); steps++) {
        const int32_t count = ex_choices(&world, choices);
        const ex_choice choice = choices[ex_healing(&world, choices, count)];
        if (choice.kind == EX_TIME) units++;
        if (steps == EX_PATH || units == SEARCH_UNKNOWN) return true; /* follow() says it */
        ex_apply(&world, choice);
        if (world.failure[0] != '\0') return fail(s, at, world.failure);
    }
    s->states[at].leader_in = units;
    return true;
}

/* Follows the states that were expanded, and notes the way on all of them. */
static bool follow(search *s, uint32_t at) {
    uint32_t chain[EX_PATH];
    int32_t length = 0;
    uint32_t to = at;
    while (s->states[to].leader_in == SEARCH_UNKNOWN) {
        if (length == EX_PATH || s->states[to].healed == SEARCH_NONE) {
            return fail(s, at, "nobody ever leads from here on, though nothing goes wrong");
        }
        chain[length++] = to;
        to = s->states[to].healed;
    }
    uint32_t units = s->states[to].leader_in;
    while (length > 0) {
        search_state *state = &s->states[chain[--length]];
        units += state->takes_time;
        state->leader_in = (uint8_t)(units < SEARCH_UNKNOWN ? units : SEARCH_UNKNOWN - 1);
    }
    return true;
}

static bool find_leaders(search *s) {
    uint32_t at = s->count;
    for (size_t i = 0; i < s->next.length; i += (size_t)s->next.bytes[i] + 1) at--;
    for (size_t i = 0; i < s->next.length; i += (size_t)s->next.bytes[i] + 1, at++) {
        if (!heal(s, at, s->next.bytes + i + 1)) return false;
    }
    for (at = 0; at < s->count; at++) {
        if (!follow(s, at)) return false;
        const int64_t ms = s->states[at].leader_in * slower_ms(s->scope);
        if (ms > s->result->leader_ms) s->result->leader_ms = ms;
        if (ms > s->scope->leader_ms) return fail(s, at, "too long until somebody leads from here");
    }
    return true;
}

bool ex_search(const ex_scope *scope, int32_t depth, ex_result *result) {
    search *s = allocate(1, sizeof *s);
    memset(result, 0, sizeof *result);
    s->scope = scope;
    s->result = result;
    ex_init(&s->blank, scope);
    if (!ex_init_cores(&s->blank)) {
        snprintf(result->failure, sizeof result->failure, "lease_core_init refuses the timing");
        free(s);
        return false;
    }
    s->states = allocate(SEARCH_MAX_STATES, sizeof s->states[0]);
    grow_table(s);
    const bool strange = scope->must_fail || scope->leaders_only;
    const bool good = walk(s, depth) && (strange || find_leaders(s));
    result->states = s->count;
    result->elections = result->happened[EX_ACQUIRED];
    free(s->now.bytes);
    free(s->next.bytes);
    free(s->table);
    free(s->states);
    free(s);
    return good;
}
