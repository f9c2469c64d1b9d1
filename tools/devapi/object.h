/* object.h -- a Lease object: read from JSON, checked, written as kube-apiserver writes it. */
#ifndef DEVAPI_OBJECT_H
#define DEVAPI_OBJECT_H

#include "internals.h"

#define DEVAPI_GROUP "coordination.k8s.io"
#define DEVAPI_GROUP_VERSION "coordination.k8s.io/v1"
/* How each object begins; the items of a list lack it. */
#define DEVAPI_TYPE_META "\"kind\":\"Lease\",\"apiVersion\":\"" DEVAPI_GROUP_VERSION "\","

/* Memory for one request: handed out from the front, dropped as a whole. */
typedef struct devapi_arena {
    char *data;
    size_t capacity;
    size_t used;
    bool full; /* something did not fit: the object is too large */
} devapi_arena;

/* A terminated copy; "" when the arena is full. */
const char *devapi_arena_copy(devapi_arena *arena, const char *bytes, size_t count);
/* What is free, as a text under construction; devapi_arena_keep makes it last. */
lease__buf devapi_arena_buf(devapi_arena *arena);
const char *devapi_arena_keep(devapi_arena *arena, const lease__buf *buf);

typedef struct devapi_document {
    lease__json json;
    jsmntok_t tokens[LEASE_MAX_JSON_TOKENS];
} devapi_document;

/* In the order in which they are written. */
typedef enum devapi_field {
    FIELD_NAME, FIELD_GENERATE_NAME, FIELD_NAMESPACE, FIELD_UID, FIELD_VERSION, FIELD_GENERATION,
    FIELD_CREATED, FIELD_DELETED, FIELD_GRACE, FIELD_LABELS, FIELD_ANNOTATIONS, FIELD_OWNERS,
    FIELD_FINALIZERS, FIELD_MANAGED,
    FIELD_HOLDER, FIELD_DURATION, FIELD_ACQUIRED, FIELD_RENEWED, FIELD_TRANSITIONS, FIELD_STRATEGY,
    FIELD_PREFERRED,
    FIELD_COUNT
} devapi_field;
#define FIELD_FIRST_OF_SPEC FIELD_HOLDER

/* A value in some JSON text, or one of ours: raw is canonical JSON. Neither: absent. */
typedef struct devapi_value {
    const lease__json *json;
    int token;
    const char *raw;
} devapi_value;

typedef struct devapi_object {
    devapi_value values[FIELD_COUNT];
} devapi_object;

#define DEVAPI_MAX_WARNINGS 16

/* What reading found. */
typedef struct devapi_report {
    char error[1024]; /* 400, "" = none */
    char warnings[DEVAPI_MAX_WARNINGS][320];
    int warning_count;
} devapi_report;

const char *devapi_field_name(devapi_field field);
bool devapi_has(const devapi_object *object, devapi_field field);

/* A string field, decoded; "" when absent. False when it does not fit. */
bool devapi_text(const devapi_object *object, devapi_field field, char *out, size_t capacity);

/* Reads the object at the root; document->json is parsed. report->error says what is wrong. */
void devapi_object_read(devapi_document *document, devapi_object *object, devapi_report *report);

/* The value of one field, canonical. */
void devapi_put_value(lease__buf *out, const devapi_object *object, devapi_field field);
void devapi_put_object(lease__buf *out, const devapi_object *object);

/* As Go's encoding/json quotes strings. */
void devapi_put_go_text(lease__buf *out, const char *text);
void devapi_put_go_string(lease__buf *out, const lease__json *json, int token);
void devapi_put_owner(lease__buf *out, lease__json *json, int token);

/* Member tokens of a map in the order of their decoded keys; at most capacity of them. */
int devapi_sorted_keys(const lease__json *json, int token, int *keys, int capacity);

/* Seconds only, as metav1.Time. */
void devapi_put_seconds(lease__buf *out, int64_t unix_us);

/* -- managed.c: metadata.managedFields --------------------------------------------------------- */

/* The managedFields of an object after an update of live (no fields for a create) to updated by
 * manager, as JSON in the arena; NULL when there are none. */
const char *devapi_managed_fields(devapi_arena *arena, const devapi_object *live,
                                  const devapi_object *updated, bool created,
                                  const char *manager, int64_t now_us);

/* -- validate.c -------------------------------------------------------------------------------- */

typedef struct devapi_cause {
    const char *reason; /* "FieldValueInvalid" */
    char message[1024];
    char field[64];
} devapi_cause;

#define DEVAPI_MAX_CAUSES 8

typedef struct devapi_causes {
    devapi_cause list[DEVAPI_MAX_CAUSES];
    int count;
} devapi_causes;

void devapi_validate(const devapi_object *object, devapi_causes *causes);
void devapi_add_cause(devapi_causes *causes, const char *field, const char *reason,
                      const char *what, const char *value, const char *why);

#endif
