/* managed.c -- metadata.managedFields: which manager wrote which fields.
 *
 * After structured-merge-diff's Updater.Update: an update gives the fields that it adds or changes
 * to its manager and takes them from all others; fields that are gone belong to nobody. A live
 * object without managedFields stays without.
 *
 * A field is a text: its group, then its path element. "lf:app" is f:metadata, f:labels, f:app;
 * "l." is the map of labels itself; "sf:renewTime" is f:spec, f:renewTime. Sorted by bytes they
 * stand in the order in which they are written. */
#include "object.h"

#define MAX_FIELDS 256
#define MAX_MANAGERS 10 /* beyond it the oldest are merged, as kube-apiserver does */

struct field_set {
    int count;
    const char *items[MAX_FIELDS];
    uint64_t hashes[MAX_FIELDS]; /* of the values; only where an object was collected */
};

struct manager {
    const char *name;
    const char *time; /* "2006-01-02T15:04:05Z" */
    struct field_set fields;
};

struct managers {
    int count;
    struct manager list[MAX_MANAGERS + 2];
};

static const struct group {
    char letter;
    const char *name; /* as a path element */
    devapi_field field;
} groups[] = {
    {'a', "f:annotations", FIELD_ANNOTATIONS},
    {'f', "f:finalizers", FIELD_FINALIZERS},
    {'g', "f:generateName", FIELD_GENERATE_NAME},
    {'l', "f:labels", FIELD_LABELS},
    {'o', "f:ownerReferences", FIELD_OWNERS},
};

/* -- Sets -------------------------------------------------------------------------------------- */

static int find(const struct field_set *set, const char *item) {
    int low = 0;
    int high = set->count;
    while (low < high) {
        const int middle = (low + high) / 2;
        if (strcmp(set->items[middle], item) < 0) low = middle + 1;
        else high = middle;
    }
    return low;
}

static bool contains(const struct field_set *set, const char *item) {
    const int at = find(set, item);
    return at < set->count && lease__same(set->items[at], item);
}

static void add(devapi_arena *arena, struct field_set *set, const char *item, uint64_t hash) {
    const int at = find(set, item);
    if (at < set->count && lease__same(set->items[at], item)) return;
    if (set->count == MAX_FIELDS) {
        arena->full = true;
        return;
    }
    const size_t behind = (size_t)(set->count - at);
    memmove(set->items + at + 1, set->items + at, behind * sizeof set->items[0]);
    memmove(set->hashes + at + 1, set->hashes + at, behind * sizeof set->hashes[0]);
    set->items[at] = item;
    set->hashes[at] = hash;
    set->count++;
}

static void add_all(devapi_arena *arena, struct field_set *set, const struct field_set *other) {
    for (int i = 0; i < other->count; i++) add(arena, set, other->items[i], other->hashes[i]);
}

static void remove_all(struct field_set *set, const struct field_set *other) {
    int kept = 0;
    for (int i = 0; i < set->count; i++) {
        if (contains(other, set->items[i])) continue;
        set->items[kept] = set->items[i];
        set->hashes[kept++] = set->hashes[i];
    }
    set->count = kept;
}

/* -- The fields of an object ------------------------------------------------------------------- */

static uint64_t hash_of(devapi_arena *arena, const lease__buf *value) {
    uint64_t hash = UINT64_C(14695981039346656037); /* FNV-1a */
    if (lease__buf_full(value)) arena->full = true;
    for (size_t i = 0; !arena->full && i < value->length; i++) {
        hash = (hash ^ (unsigned char)value->data[i]) * UINT64_C(1099511628211);
    }
    return hash;
}

static const char *item(devapi_arena *arena, char letter, const char *element, const char *name) {
    lease__buf buf = devapi_arena_buf(arena);
    lease__put_bytes(&buf, &letter, 1);
    lease__put(&buf, element);
    lease__put(&buf, name);
    return devapi_arena_keep(arena, &buf);
}

static void collect_map(devapi_arena *arena, struct field_set *set, char letter,
                        const devapi_value *value) {
    int keys[LEASE_MAX_JSON_TOKENS / 2];
    const int count =
        devapi_sorted_keys(value->json, value->token, keys, (int)LEASE__COUNT(keys));
    for (int i = 0; i < count; i++) {
        lease__buf text = devapi_arena_buf(arena);
        if (lease__json_is(value->json, keys[i] + 1, JSMN_STRING)) {
            devapi_put_go_string(&text, value->json, keys[i] + 1);
        }
        const uint64_t hash = hash_of(arena, &text);
        char key[512];
        lease__json_string(value->json, keys[i], key, sizeof key);
        add(arena, set, item(arena, letter, "f:", key), hash);
    }
}

/* Finalizers are a set, owners a list by uid whose entries are atomic. */
static void collect_list(devapi_arena *arena, struct field_set *set, char letter,
                         const devapi_value *value, bool owners) {
    lease__json json = *value->json;
    const int end = lease__json_after(&json, value->token);
    for (int at = value->token + 1; at < end; at = lease__json_after(&json, at)) {
        const int key = owners ? lease__json_get(&json, at, "uid") : at;
        if (!lease__json_is(&json, key, JSMN_STRING)) continue;
        lease__buf text = devapi_arena_buf(arena);
        if (owners) devapi_put_owner(&text, &json, at);
        const uint64_t hash = hash_of(arena, &text);
        lease__buf buf = devapi_arena_buf(arena);
        lease__put_bytes(&buf, &letter, 1);
        lease__put(&buf, owners ? "k:{\"uid\":" : "v:");
        devapi_put_go_string(&buf, &json, key);
        if (owners) lease__put(&buf, "}");
        add(arena, set, devapi_arena_keep(arena, &buf), hash);
    }
}

static void collect(devapi_arena *arena, const devapi_object *object, struct field_set *set) {
    set->count = 0;
    for (size_t i = 0; i < LEASE__COUNT(groups); i++) {
        const devapi_value *value = &object->values[groups[i].field];
        const char letter = groups[i].letter;
        if (value->json == NULL) continue;
        add(arena, set, item(arena, letter, ".", ""), 0);
        if (letter == 'a' || letter == 'l') collect_map(arena, set, letter, value);
        if (letter == 'f' || letter == 'o') collect_list(arena, set, letter, value, letter == 'o');
    }
    for (int field = FIELD_FIRST_OF_SPEC; field < FIELD_COUNT; field++) {
        if (!devapi_has(object, (devapi_field)field)) continue;
        lease__buf text = devapi_arena_buf(arena);
        devapi_put_value(&text, object, (devapi_field)field);
        const uint64_t hash = hash_of(arena, &text);
        add(arena, set, item(arena, 's', "f:", devapi_field_name((devapi_field)field)), hash);
    }
}

/* -- Reading managedFields --------------------------------------------------------------------- */

/* The members of {"f:name":{},...}; a leaf has its own letter only. */
static void read_elements(devapi_arena *arena, struct field_set *set, lease__json *json, int token,
                          char letter) {
    if (!lease__json_is(json, token, JSMN_OBJECT)) return;
    const int end = lease__json_after(json, token);
    for (int at = token + 1; at < end; at = lease__json_after(json, at + 1)) {
        lease__buf buf = devapi_arena_buf(arena);
        lease__put_bytes(&buf, &letter, 1);
        lease__json_decode(json, at, &buf);
        add(arena, set, devapi_arena_keep(arena, &buf), 0);
    }
}

static void read_fields(devapi_arena *arena, struct field_set *set, lease__json *json,
                        int token) {
    set->count = 0;
    const int metadata = lease__json_get(json, token, "f:metadata");
    for (size_t i = 0; i < LEASE__COUNT(groups); i++) {
        const int group = lease__json_get(json, metadata, groups[i].name);
        if (group == LEASE__JSON_NONE) continue;
        if (groups[i].letter == 'g') add(arena, set, "g.", 0);
        else read_elements(arena, set, json, group, groups[i].letter);
    }
    read_elements(arena, set, json, lease__json_get(json, token, "f:spec"), 's');
}

static const char *read_text(devapi_arena *arena, lease__json *json, int object, const char *key) {
    const int token = lease__json_get(json, object, key);
    lease__buf buf = devapi_arena_buf(arena);
    if (lease__json_is(json, token, JSMN_STRING)) lease__json_decode(json, token, &buf);
    return devapi_arena_keep(arena, &buf);
}

static void read_managers(devapi_arena *arena, const devapi_value *value,
                          struct managers *managers) {
    managers->count = 0;
    if (value->json == NULL) return;
    lease__json json = *value->json;
    const int end = lease__json_after(&json, value->token);
    for (int at = value->token + 1; at < end; at = lease__json_after(&json, at)) {
        struct manager *manager = &managers->list[managers->count];
        if (managers->count == MAX_MANAGERS || json.tokens[at].size == 0) continue;
        manager->name = read_text(arena, &json, at, "manager");
        manager->time = read_text(arena, &json, at, "time");
        read_fields(arena, &manager->fields, &json, lease__json_get(&json, at, "fieldsV1"));
        managers->count++;
    }
}

/* [] and [{}] clear; absent keeps what is live. */
static bool is_reset(const devapi_value *value) {
    if (value->json == NULL) return false;
    const jsmntok_t *tokens = value->json->tokens + value->token;
    return tokens[0].size == 0 || (tokens[0].size == 1 && tokens[1].size == 0);
}

/* -- Writing ----------------------------------------------------------------------------------- */

static void put_elements(lease__buf *out, const struct field_set *set, char letter) {
    const char *before = "";
    for (int i = 0; i < set->count; i++) {
        if (set->items[i][0] != letter) continue;
        lease__put(out, before);
        devapi_put_go_text(out, set->items[i] + 1);
        lease__put(out, ":{}");
        before = ",";
    }
}

static bool has_letter(const struct field_set *set, char letter) {
    for (int i = 0; i < set->count; i++) {
        if (set->items[i][0] == letter) return true;
    }
    return false;
}

static void put_fields(lease__buf *out, const struct field_set *set) {
    bool in_metadata = false;
    lease__put(out, "{");
    for (size_t i = 0; i < LEASE__COUNT(groups); i++) {
        if (!has_letter(set, groups[i].letter)) continue;
        lease__put(out, in_metadata ? "," : "\"f:metadata\":{");
        in_metadata = true;
        devapi_put_go_text(out, groups[i].name);
        lease__put(out, ":{");
        if (groups[i].letter != 'g') put_elements(out, set, groups[i].letter);
        lease__put(out, "}");
    }
    if (in_metadata) lease__put(out, "}");
    if (has_letter(set, 's')) {
        lease__put(out, in_metadata ? ",\"f:spec\":{" : "\"f:spec\":{");
        put_elements(out, set, 's');
        lease__put(out, "}");
    }
    lease__put(out, "}");
}

static const char *put_managers(devapi_arena *arena, const struct managers *managers) {
    if (managers->count == 0) return NULL;
    lease__buf out = devapi_arena_buf(arena);
    for (int i = 0; i < managers->count; i++) {
        const struct manager *manager = &managers->list[i];
        lease__put(&out, i == 0 ? "[{\"manager\":" : ",{\"manager\":");
        devapi_put_go_text(&out, manager->name);
        lease__put(&out, ",\"operation\":\"Update\",\"apiVersion\":\"" DEVAPI_GROUP_VERSION
                         "\",\"time\":");
        devapi_put_go_text(&out, manager->time);
        lease__put(&out, ",\"fieldsType\":\"FieldsV1\",\"fieldsV1\":");
        put_fields(&out, &manager->fields);
        lease__put(&out, "}");
    }
    lease__put(&out, "]");
    return devapi_arena_keep(arena, &out);
}

/* -- Updating ---------------------------------------------------------------------------------- */

static void drop_empty(struct managers *managers) {
    int kept = 0;
    for (int i = 0; i < managers->count; i++) {
        if (managers->list[i].fields.count == 0) continue;
        if (kept != i) managers->list[kept] = managers->list[i];
        kept++;
    }
    managers->count = kept;
}

static void sort(struct managers *managers) {
    for (int i = 1; i < managers->count; i++) {
        for (int j = i; j > 0; j--) {
            const struct manager *a = &managers->list[j - 1];
            const struct manager *b = &managers->list[j];
            const int order = strcmp(a->time, b->time);
            if (order < 0 || (order == 0 && strcmp(a->name, b->name) <= 0)) break;
            const struct manager swap = managers->list[j];
            managers->list[j] = managers->list[j - 1];
            managers->list[j - 1] = swap;
        }
    }
}

static void give(devapi_arena *arena, struct managers *managers, const struct field_set *taken,
                 const char *name, int64_t now_us) {
    char quoted[32];
    lease__buf buf = lease__buf_make(quoted, sizeof quoted);
    devapi_put_seconds(&buf, now_us);
    const char *time = devapi_arena_copy(arena, quoted + 1, strlen("2006-01-02T15:04:05Z"));
    int at = 0;
    while (at < managers->count && !lease__same(managers->list[at].name, name)) at++;
    if (at == managers->count) {
        managers->list[at].name = name;
        managers->list[at].fields.count = 0;
        managers->count++;
    }
    managers->list[at].time = time;
    add_all(arena, &managers->list[at].fields, taken);
    sort(managers);
    if (managers->count > MAX_MANAGERS) {
        managers->list[1].name = "ancient-changes";
        add_all(arena, &managers->list[1].fields, &managers->list[0].fields);
        managers->list[0].fields.count = 0;
    }
}

const char *devapi_managed_fields(devapi_arena *arena, const devapi_object *live,
                                  const devapi_object *updated, bool created,
                                  const char *manager, int64_t now_us) {
    struct managers managers;
    struct field_set before;
    struct field_set after;
    struct field_set gone;
    const devapi_value *given = &updated->values[FIELD_MANAGED];
    const devapi_value *kept = &live->values[FIELD_MANAGED];
    if (!created && is_reset(given)) return NULL;
    read_managers(arena, given, &managers);
    if (managers.count == 0) read_managers(arena, kept, &managers);
    if (!created && managers.count == 0) return NULL;
    before.count = 0;
    if (!created) collect(arena, live, &before);
    collect(arena, updated, &after);
    gone = before;
    remove_all(&gone, &after);
    int taken = 0;
    for (int i = 0; i < after.count; i++) {
        const int at = find(&before, after.items[i]);
        const bool there = at < before.count && lease__same(before.items[at], after.items[i]);
        if (there && before.hashes[at] == after.hashes[i]) continue;
        after.items[taken] = after.items[i];
        after.hashes[taken++] = after.hashes[i];
    }
    after.count = taken;
    for (int i = 0; i < managers.count; i++) {
        remove_all(&managers.list[i].fields, &gone);
        if (lease__same(managers.list[i].name, manager)) continue;
        remove_all(&managers.list[i].fields, &after);
    }
    drop_empty(&managers);
    if (after.count > 0) give(arena, &managers, &after, manager, now_us);
    drop_empty(&managers);
    return put_managers(arena, &managers);
}
