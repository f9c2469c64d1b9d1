/* object.c -- reading and writing Lease objects. */
#include "object.h"

enum kind {
    KIND_STRING,   /* "" is absent */
    KIND_UID,      /* the same, of another type in Go's messages */
    KIND_POINTER,  /* a string that may be "" */
    KIND_STRATEGY,
    KIND_INT32,
    KIND_INT64,
    KIND_TIME,
    KIND_MICROTIME,
    KIND_MAP,      /* string to string */
    KIND_STRINGS,
    KIND_OWNERS,
    KIND_MANAGED
};

static const struct {
    const char *name;
    enum kind kind;
} fields[FIELD_COUNT] = {
    [FIELD_NAME] = {"name", KIND_STRING},
    [FIELD_GENERATE_NAME] = {"generateName", KIND_STRING},
    [FIELD_NAMESPACE] = {"namespace", KIND_STRING},
    [FIELD_UID] = {"uid", KIND_UID},
    [FIELD_VERSION] = {"resourceVersion", KIND_STRING},
    [FIELD_GENERATION] = {"generation", KIND_INT64},
    [FIELD_CREATED] = {"creationTimestamp", KIND_TIME},
    [FIELD_DELETED] = {"deletionTimestamp", KIND_TIME},
    [FIELD_GRACE] = {"deletionGracePeriodSeconds", KIND_INT64},
    [FIELD_LABELS] = {"labels", KIND_MAP},
    [FIELD_ANNOTATIONS] = {"annotations", KIND_MAP},
    [FIELD_OWNERS] = {"ownerReferences", KIND_OWNERS},
    [FIELD_FINALIZERS] = {"finalizers", KIND_STRINGS},
    [FIELD_MANAGED] = {"managedFields", KIND_MANAGED},
    [FIELD_HOLDER] = {"holderIdentity", KIND_POINTER},
    [FIELD_DURATION] = {"leaseDurationSeconds", KIND_INT32},
    [FIELD_ACQUIRED] = {"acquireTime", KIND_MICROTIME},
    [FIELD_RENEWED] = {"renewTime", KIND_MICROTIME},
    [FIELD_TRANSITIONS] = {"leaseTransitions", KIND_INT32},
    [FIELD_STRATEGY] = {"strategy", KIND_STRATEGY},
    [FIELD_PREFERRED] = {"preferredHolder", KIND_POINTER},
};

#define MICRO_LAYOUT "2006-01-02T15:04:05.000000Z07:00"
#define SECONDS_LAYOUT "2006-01-02T15:04:05Z07:00"
#define ZERO_TIME_US (INT64_C(-62135596800) * LEASE__US_PER_S) /* 0001-01-01: Go's unset time */

const char *devapi_field_name(devapi_field field) { return fields[field].name; }

bool devapi_has(const devapi_object *object, devapi_field field) {
    const devapi_value *value = &object->values[field];
    return value->json != NULL || value->raw != NULL;
}

/* -- Memory ------------------------------------------------------------------------------------ */

lease__buf devapi_arena_buf(devapi_arena *arena) {
    return lease__buf_make(arena->data + arena->used, arena->capacity - arena->used);
}

const char *devapi_arena_keep(devapi_arena *arena, const lease__buf *buf) {
    if (arena->full || lease__buf_full(buf)) {
        arena->full = true;
        return "";
    }
    arena->used += buf->length + 1;
    return buf->data;
}

const char *devapi_arena_copy(devapi_arena *arena, const char *bytes, size_t count) {
    lease__buf buf = devapi_arena_buf(arena);
    lease__put_bytes(&buf, bytes, count);
    return devapi_arena_keep(arena, &buf);
}

/* -- Reading ----------------------------------------------------------------------------------- */

struct reader {
    lease__json *json;
    devapi_object *object;
    devapi_report *report;
    uint64_t seen;   /* bit of each field that was there, null or not */
    bool time_error; /* ends Go's decoding at once, where a wrong type is only noted */
    bool seen_top[4];
};

static const char *type_name(const lease__json *json, int token) {
    switch (json->tokens[token].type) {
    case JSMN_STRING: return "string";
    case JSMN_ARRAY: return "array";
    case JSMN_OBJECT: return "object";
    case JSMN_PRIMITIVE: {
        const char first = json->text[json->tokens[token].start];
        return first == 't' || first == 'f' ? "bool" : "number";
    }
    case JSMN_UNDEFINED: break;
    }
    return "value";
}

/* "json: cannot unmarshal number into Go struct field LeaseSpec.spec.x of type string"; the first
 * error counts, but for those of a time. */
static bool wrong_type(struct reader *reader, int token, const char *path, const char *go_type) {
    if (reader->report->error[0] != '\0') return false;
    lease__buf buf = lease__buf_make(reader->report->error, sizeof reader->report->error);
    const char *what = type_name(reader->json, token);
    lease__put(&buf, "json: cannot unmarshal ");
    lease__put(&buf, what);
    if (lease__same(what, "number") && lease__starts_with(go_type, "int")) {
        size_t length;
        const char *raw = lease__json_raw(reader->json, token, &length);
        lease__put(&buf, " ");
        lease__put_bytes(&buf, raw, length < 64 ? length : 64);
    }
    lease__put(&buf, " into Go struct field ");
    lease__put(&buf, path);
    lease__put(&buf, " of type ");
    lease__put(&buf, go_type);
    return false;
}

static void warn(struct reader *reader, const char *what, const char *prefix, int key) {
    devapi_report *report = reader->report;
    if (report->warning_count == DEVAPI_MAX_WARNINGS) return;
    char *line = report->warnings[report->warning_count];
    lease__buf buf = lease__buf_make(line, sizeof report->warnings[0]);
    lease__put(&buf, what);
    lease__put(&buf, " field \"");
    lease__put(&buf, prefix);
    lease__put_shown(&buf, reader->json->text + reader->json->tokens[key].start,
                     (size_t)(reader->json->tokens[key].end - reader->json->tokens[key].start),
                     200);
    lease__put(&buf, "\"");
    /* It goes into a header: nothing there may end the line or the quotes. */
    for (char *p = line; *p != '\0'; p++) {
        if ((unsigned char)*p > 0x7E || *p == '\\') *p = '?';
    }
    report->warning_count++;
}

/* The exact form of MicroTime, brought to what lease__time_parse reads: six digits, T, Z or an
 * offset; Go takes also a comma for the dot and an hour of one digit. */
static bool micro_time(const char *text, int64_t *unix_us) {
    char fixed[40];
    size_t length = strlen(text);
    const size_t short_hour = length > 12 && text[12] == ':' ? 1 : 0;
    if (length < 26 || length + 2 > sizeof fixed) return false;
    memcpy(fixed, text, 11);
    if (short_hour != 0) fixed[11] = '0';
    memcpy(fixed + 11 + short_hour, text + 11, length - 11 + 1);
    length += short_hour;
    if (length < 27 || fixed[10] != 'T') return false;
    if (fixed[19] == ',') fixed[19] = '.';
    for (size_t i = 20; i < 26; i++) {
        if (fixed[i] < '0' || fixed[i] > '9') return false;
    }
    const char zone = fixed[26];
    if (fixed[19] != '.' || (zone != 'Z' && zone != '+' && zone != '-')) return false;
    return lease__time_parse(fixed, unix_us);
}

static bool check_time(struct reader *reader, int token, const char *path, bool micro) {
    char text[64];
    int64_t unix_us;
    const bool is_text = lease__json_is(reader->json, token, JSMN_STRING);
    if (is_text && lease__json_string(reader->json, token, text, sizeof text)) {
        if (micro ? micro_time(text, &unix_us) : lease__time_parse(text, &unix_us)) return true;
    }
    if (reader->time_error) return false;
    reader->time_error = true;
    reader->report->error[0] = '\0';
    if (!is_text) return wrong_type(reader, token, path, "string");
    lease__buf buf = lease__buf_make(reader->report->error, sizeof reader->report->error);
    lease__put(&buf, "parsing time ");
    lease__put_quoted(&buf, text);
    lease__put(&buf, micro ? " as \"" MICRO_LAYOUT : " as \"" SECONDS_LAYOUT);
    lease__put(&buf, "\": cannot parse it");
    return false;
}

static bool check_string(struct reader *reader, int token, const char *path,
                         const char *go_type) {
    return lease__json_is(reader->json, token, JSMN_STRING) ||
           wrong_type(reader, token, path, go_type);
}

static bool check_int(struct reader *reader, int token, const char *path, enum kind kind) {
    int32_t value32;
    if (kind == KIND_INT32) {
        return lease__json_int32(reader->json, token, &value32) ||
               wrong_type(reader, token, path, "int32");
    }
    size_t length;
    const char *raw = lease__json_raw(reader->json, token, &length);
    bool good = reader->json->tokens[token].type == JSMN_PRIMITIVE && length <= 18;
    for (size_t i = 0; i < length && good; i++) good = (raw[i] >= '0' && raw[i] <= '9') ||
                                                       (raw[i] == '-' && i == 0);
    return good || wrong_type(reader, token, path, "int64");
}

/* Each value of a map must be a string. */
static bool check_map(struct reader *reader, int token, const char *path) {
    const lease__json *json = reader->json;
    if (!lease__json_is(json, token, JSMN_OBJECT)) {
        return wrong_type(reader, token, path, "map[string]string");
    }
    const int end = lease__json_after(json, token);
    for (int at = token + 1; at < end; at = lease__json_after(json, at + 1)) {
        if (!lease__json_is(json, at + 1, JSMN_STRING) && !lease__json_is_null(json, at + 1)) {
            return wrong_type(reader, at + 1, path, "string");
        }
    }
    return true;
}

static bool check_list(struct reader *reader, int token, const char *path, jsmntype_t item,
                       const char *go_type) {
    const lease__json *json = reader->json;
    if (!lease__json_is(json, token, JSMN_ARRAY)) return wrong_type(reader, token, path, go_type);
    const int end = lease__json_after(json, token);
    for (int at = token + 1; at < end; at = lease__json_after(json, at)) {
        if (!lease__json_is(json, at, item)) return wrong_type(reader, at, path, go_type + 2);
    }
    return true;
}

static bool check_value(struct reader *reader, devapi_field field, int token) {
    char path[96];
    lease__buf buf = lease__buf_make(path, sizeof path);
    const bool spec = field >= FIELD_FIRST_OF_SPEC;
    lease__put(&buf, spec ? "LeaseSpec.spec." : "ObjectMeta.metadata.");
    lease__put(&buf, fields[field].name);
    switch (fields[field].kind) {
    case KIND_STRING:
    case KIND_POINTER: return check_string(reader, token, path, "string");
    case KIND_UID: return check_string(reader, token, path, "types.UID");
    case KIND_STRATEGY:
        return check_string(reader, token, path, "v1.CoordinatedLeaseStrategy");
    case KIND_INT32:
    case KIND_INT64: return check_int(reader, token, path, fields[field].kind);
    case KIND_TIME: return check_time(reader, token, path, false);
    case KIND_MICROTIME: return check_time(reader, token, path, true);
    case KIND_MAP: return check_map(reader, token, path);
    case KIND_STRINGS: return check_list(reader, token, path, JSMN_STRING, "[]string");
    case KIND_OWNERS:
        return check_list(reader, token, path, JSMN_OBJECT, "[]v1.OwnerReference");
    case KIND_MANAGED:
        return check_list(reader, token, path, JSMN_OBJECT, "[]v1.ManagedFieldsEntry");
    }
    return false;
}

/* Empty strings, maps and lists are absent; an empty managedFields means something. */
static bool is_empty(const lease__json *json, int token, enum kind kind) {
    const jsmntok_t *t = &json->tokens[token];
    switch (kind) {
    case KIND_STRING:
    case KIND_UID: return t->start == t->end;
    case KIND_MAP:
    case KIND_STRINGS:
    case KIND_OWNERS: return t->size == 0;
    case KIND_POINTER:
    case KIND_STRATEGY:
    case KIND_INT32:
    case KIND_INT64:
    case KIND_TIME:
    case KIND_MICROTIME:
    case KIND_MANAGED: break;
    }
    return false;
}

static void take_value(struct reader *reader, devapi_field field, int token) {
    devapi_value *value = &reader->object->values[field];
    memset(value, 0, sizeof *value);
    reader->seen |= (uint64_t)1 << field;
    if (lease__json_is_null(reader->json, token)) return;
    if (!check_value(reader, field, token)) return;
    if (is_empty(reader->json, token, fields[field].kind)) return;
    value->json = reader->json;
    value->token = token;
}

/* The members of metadata or spec. */
static void read_members(struct reader *reader, int token, bool spec) {
    const int first = spec ? FIELD_FIRST_OF_SPEC : 0;
    const int last = spec ? FIELD_COUNT : FIELD_FIRST_OF_SPEC;
    const char *prefix = spec ? "spec." : "metadata.";
    if (lease__json_is_null(reader->json, token)) return;
    if (!lease__json_is(reader->json, token, JSMN_OBJECT)) {
        wrong_type(reader, token, spec ? "Lease.spec" : "Lease.metadata",
                   spec ? "v1.LeaseSpec" : "v1.ObjectMeta");
        return;
    }
    const int end = lease__json_after(reader->json, token);
    for (int at = token + 1; at < end; at = lease__json_after(reader->json, at + 1)) {
        int field = first;
        while (field < last && !lease__json_equals(reader->json, at, fields[field].name)) field++;
        if (field == last) {
            if (spec || !lease__json_equals(reader->json, at, "selfLink")) {
                warn(reader, "unknown", prefix, at);
            }
            continue;
        }
        if ((reader->seen >> field & 1) != 0) warn(reader, "duplicate", prefix, at);
        take_value(reader, (devapi_field)field, at + 1);
    }
}

void devapi_object_read(devapi_document *document, devapi_object *object, devapi_report *report) {
    static const char *const top[] = {"kind", "apiVersion", "metadata", "spec"};
    struct reader reader;
    memset(&reader, 0, sizeof reader);
    memset(object, 0, sizeof *object);
    memset(report, 0, sizeof *report);
    reader.json = &document->json;
    reader.object = object;
    reader.report = report;
    if (!lease__json_is(reader.json, 0, JSMN_OBJECT)) {
        wrong_type(&reader, 0, "Lease", "v1.Lease");
        return;
    }
    for (int at = 1; at < reader.json->count; at = lease__json_after(reader.json, at + 1)) {
        size_t which = 0;
        while (which < LEASE__COUNT(top) && !lease__json_equals(reader.json, at, top[which])) {
            which++;
        }
        if (which == LEASE__COUNT(top)) {
            warn(&reader, "unknown", "", at);
            continue;
        }
        if (reader.seen_top[which]) warn(&reader, "duplicate", "", at);
        reader.seen_top[which] = true;
        if (which >= 2) read_members(&reader, at + 1, which == 3);
    }
}

bool devapi_text(const devapi_object *object, devapi_field field, char *out, size_t capacity) {
    const devapi_value *value = &object->values[field];
    lease__buf buf = lease__buf_make(out, capacity);
    if (value->raw != NULL) {
        const size_t length = strlen(value->raw);
        lease__put_bytes(&buf, value->raw + 1, length - 2); /* names and numbers: no escapes */
    } else if (value->json != NULL) {
        lease__json_decode(value->json, value->token, &buf);
    }
    return !lease__buf_full(&buf);
}

/* -- Writing ----------------------------------------------------------------------------------- */

/* One character of UTF-8. */
static void put_go_char(lease__buf *out, const char *bytes, size_t count) {
    static const char hex[] = "0123456789abcdef";
    static const char from[] = "\"\\\b\f\n\r\t";
    static const char to[] = "\"\\bfnrt";
    const unsigned char c = (unsigned char)bytes[0];
    const char *simple = c != '\0' ? strchr(from, c) : NULL;
    if (count == 1 && simple != NULL) {
        lease__put(out, "\\");
        lease__put_bytes(out, to + (simple - from), 1);
    } else if (count == 1 && (c < 0x20 || c == '<' || c == '>' || c == '&')) {
        lease__put(out, "\\u00");
        lease__put_bytes(out, hex + (c >> 4), 1);
        lease__put_bytes(out, hex + (c & 15), 1);
    } else if (count == 3 && memcmp(bytes, "\xE2\x80\xA8", 3) == 0) {
        lease__put(out, "\\u2028");
    } else if (count == 3 && memcmp(bytes, "\xE2\x80\xA9", 3) == 0) {
        lease__put(out, "\\u2029");
    } else {
        lease__put_bytes(out, bytes, count);
    }
}

static size_t utf8_length(const char *at, const char *end) {
    const unsigned char c = (unsigned char)*at;
    const size_t length = c >= 0xF0 ? 4 : c >= 0xE0 ? 3 : c >= 0xC0 ? 2 : 1;
    return length <= (size_t)(end - at) ? length : 1;
}

void devapi_put_go_text(lease__buf *out, const char *text) {
    const char *end = text + strlen(text);
    lease__put(out, "\"");
    while (text < end) {
        const size_t length = utf8_length(text, end);
        put_go_char(out, text, length);
        text += length;
    }
    lease__put(out, "\"");
}

void devapi_put_go_string(lease__buf *out, const lease__json *json, int token) {
    const char *at = json->text + json->tokens[token].start;
    const char *end = json->text + json->tokens[token].end;
    lease__put(out, "\"");
    while (at < end) {
        char bytes[4];
        if (*at == '\\') {
            at++;
            const size_t count = lease__json_unescape(&at, bytes);
            put_go_char(out, bytes, count);
        } else {
            const size_t length = utf8_length(at, end);
            put_go_char(out, at, length);
            at += length;
        }
    }
    lease__put(out, "\"");
}

void devapi_put_seconds(lease__buf *out, int64_t unix_us) {
    char text[40];
    lease__buf buf = lease__buf_make(text, sizeof text);
    lease__put_time(&buf, unix_us);
    lease__put(out, "\"");
    lease__put_bytes(out, text, strlen("2006-01-02T15:04:05"));
    lease__put(out, "Z\"");
}

static void put_time(lease__buf *out, const lease__json *json, int token, bool micro) {
    char text[64];
    int64_t unix_us = ZERO_TIME_US;
    lease__json_string(json, token, text, sizeof text);
    const bool good = micro ? micro_time(text, &unix_us) : lease__time_parse(text, &unix_us);
    if (!good || unix_us == ZERO_TIME_US) {
        lease__put(out, "null");
    } else if (micro) {
        lease__put(out, "\"");
        lease__put_time(out, unix_us);
        lease__put(out, "\"");
    } else {
        devapi_put_seconds(out, unix_us);
    }
}

/* The order of two keys by their decoded bytes, as Go sorts the keys of a map. */
static int compare_keys(const lease__json *json, int a, int b) {
    char left[512];
    char right[512];
    lease__buf left_buf = lease__buf_make(left, sizeof left);
    lease__buf right_buf = lease__buf_make(right, sizeof right);
    lease__json_decode(json, a, &left_buf);
    lease__json_decode(json, b, &right_buf);
    return strcmp(left, right);
}

int devapi_sorted_keys(const lease__json *json, int token, int *keys, int capacity) {
    int count = 0;
    const int end = lease__json_after(json, token);
    for (int at = token + 1; at < end && count < capacity; at = lease__json_after(json, at + 1)) {
        int place = count;
        while (place > 0 && compare_keys(json, keys[place - 1], at) > 0) place--;
        /* The last of several equal keys wins. */
        if (place > 0 && compare_keys(json, keys[place - 1], at) == 0) {
            keys[place - 1] = at;
            continue;
        }
        memmove(keys + place + 1, keys + place, (size_t)(count - place) * sizeof *keys);
        keys[place] = at;
        count++;
    }
    return count;
}

static void put_map(lease__buf *out, const lease__json *json, int token) {
    int keys[LEASE_MAX_JSON_TOKENS / 2];
    const int count = devapi_sorted_keys(json, token, keys, (int)LEASE__COUNT(keys));
    lease__put(out, "{");
    for (int i = 0; i < count; i++) {
        if (i > 0) lease__put(out, ",");
        devapi_put_go_string(out, json, keys[i]);
        lease__put(out, ":");
        if (lease__json_is_null(json, keys[i] + 1)) {
            lease__put(out, "\"\"");
        } else {
            devapi_put_go_string(out, json, keys[i] + 1);
        }
    }
    lease__put(out, "}");
}

void devapi_put_owner(lease__buf *out, lease__json *json, int token) {
    static const char *const names[] = {"apiVersion", "kind", "name", "uid"};
    static const char *const flags[] = {"controller", "blockOwnerDeletion"};
    lease__put(out, "{");
    for (size_t i = 0; i < LEASE__COUNT(names); i++) {
        const int value = lease__json_get(json, token, names[i]);
        lease__put_key(out, names[i]);
        if (lease__json_is(json, value, JSMN_STRING)) {
            devapi_put_go_string(out, json, value);
        } else {
            lease__put(out, "\"\"");
        }
    }
    for (size_t i = 0; i < LEASE__COUNT(flags); i++) {
        const int value = lease__json_get(json, token, flags[i]);
        if (lease__json_is_null(json, value)) continue;
        lease__put_key(out, flags[i]);
        lease__put(out, lease__json_is_true(json, value) ? "true" : "false");
    }
    lease__put(out, "}");
}

static void put_list(lease__buf *out, const lease__json *json, int token, bool owners) {
    const int end = lease__json_after(json, token);
    lease__json reader = *json;
    lease__put(out, "[");
    for (int at = token + 1; at < end; at = lease__json_after(json, at)) {
        if (at != token + 1) lease__put(out, ",");
        if (owners) {
            devapi_put_owner(out, &reader, at);
        } else {
            devapi_put_go_string(out, json, at);
        }
    }
    lease__put(out, "]");
}

void devapi_put_value(lease__buf *out, const devapi_object *object, devapi_field field) {
    const devapi_value *value = &object->values[field];
    const lease__json *json = value->json;
    const int token = value->token;
    size_t length;
    if (value->raw != NULL || json == NULL) {
        lease__put(out, value->raw != NULL ? value->raw : "null");
        return;
    }
    const char *raw = lease__json_raw(json, token, &length);
    switch (fields[field].kind) {
    case KIND_STRING:
    case KIND_UID:
    case KIND_POINTER:
    case KIND_STRATEGY: devapi_put_go_string(out, json, token); break;
    case KIND_INT32:
    case KIND_INT64: lease__put_i64(out, strtoll(raw, NULL, 10)); break;
    case KIND_TIME: put_time(out, json, token, false); break;
    case KIND_MICROTIME: put_time(out, json, token, true); break;
    case KIND_MAP: put_map(out, json, token); break;
    case KIND_STRINGS: put_list(out, json, token, false); break;
    case KIND_OWNERS: put_list(out, json, token, true); break;
    case KIND_MANAGED: lease__put_bytes(out, raw, length); break;
    }
}

void devapi_put_object(lease__buf *out, const devapi_object *object) {
    lease__put(out, "{" DEVAPI_TYPE_META "\"metadata\":{");
    for (int field = 0; field < FIELD_COUNT; field++) {
        if (field == FIELD_FIRST_OF_SPEC) lease__put(out, "},\"spec\":{");
        if (!devapi_has(object, (devapi_field)field)) continue;
        lease__put_key(out, fields[field].name);
        devapi_put_value(out, object, (devapi_field)field);
    }
    lease__put(out, "}}");
}
