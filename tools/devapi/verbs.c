/* verbs.c -- get, list, create, update and delete of Leases, with kube-apiserver's answers. */
#include "state.h"

#define NOT_SPECIFIED "must be specified for an update"

/* Values of our own that a stored object gets. */
struct made {
    char name[LEASE_MAX_NAME + 8];
    char ns[LEASE_MAX_NAMESPACE + 8];
    char uid[48];
    char version[32];
    char created[40];
};

/* -- Answers ----------------------------------------------------------------------------------- */

static void reply_object(const struct context *context, int code, const char *text,
                         size_t length) {
    struct reply *reply = context->reply;
    reply->code = code;
    reply->content_type = "application/json";
    reply->body.length = 0;
    lease__put_bytes(&reply->body, text, length);
}

static void put_target(const struct context *context, lease__buf *out) {
    lease__put(out, context->target.resource);
    if (context->target.group[0] != '\0') {
        lease__put(out, ".");
        lease__put(out, context->target.group);
    }
    if (context->target.name[0] == '\0') return;
    lease__put(out, " ");
    lease__put(out, "\"");
    lease__put(out, context->target.name);
    lease__put(out, "\"");
}

static void reply_not_found(const struct context *context) {
    char message[1400];
    lease__buf buf = lease__buf_make(message, sizeof message);
    put_target(context, &buf);
    lease__put(&buf, " not found");
    devapi_reply_about(context, 404, "NotFound", message);
}

static void reply_conflict(const struct context *context, const char *kind, const char *why) {
    char message[2048];
    lease__buf buf = lease__buf_make(message, sizeof message);
    lease__put(&buf, "Operation cannot be fulfilled on ");
    struct context about = *context;
    if (kind != NULL) lease__copy(about.target.resource, sizeof about.target.resource, kind);
    put_target(&about, &buf);
    lease__put(&buf, ": ");
    lease__put(&buf, why);
    devapi_reply_about(&about, 409, "Conflict", message);
}

static void reply_uid_conflict(const struct context *context, const char *wanted,
                               const char *found) {
    char why[1600];
    lease__buf buf = lease__buf_make(why, sizeof why);
    lease__put(&buf, "StorageError: invalid object, Code: 4, Key: /registry/leases/");
    lease__put(&buf, context->target.ns);
    lease__put(&buf, "/");
    lease__put(&buf, context->target.name);
    lease__put(&buf, ", ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in "
                     "precondition: ");
    lease__put(&buf, wanted);
    lease__put(&buf, ", UID in object meta: ");
    lease__put(&buf, found);
    reply_conflict(context, NULL, why);
}

/* 422 with its causes; kind is "Lease", or the resource when only the version is wrong. */
static void reply_invalid(const struct context *context, const char *what, const char *name,
                          const char *group, const char *kind, const devapi_causes *causes) {
    struct status status;
    char message[DEVAPI_MAX_CAUSES * 1200];
    lease__buf buf = lease__buf_make(message, sizeof message);
    lease__put(&buf, what);
    lease__put(&buf, " \"");
    lease__put(&buf, name);
    lease__put(&buf, causes->count > 1 ? "\" is invalid: [" : "\" is invalid: ");
    for (int i = 0; i < causes->count; i++) {
        if (i > 0) lease__put(&buf, ", ");
        lease__put(&buf, causes->list[i].field);
        lease__put(&buf, ": ");
        lease__put(&buf, causes->list[i].message);
    }
    if (causes->count > 1) lease__put(&buf, "]");
    memset(&status, 0, sizeof status);
    status.code = 422;
    status.reason = "Invalid";
    status.message = message;
    status.details = true;
    status.name = name;
    status.group = group;
    status.kind = kind;
    status.causes = causes;
    devapi_reply_status(context->reply, &status);
}

static void reply_no_version(const struct context *context) {
    devapi_causes causes;
    causes.count = 0;
    devapi_add_cause(&causes, "metadata.resourceVersion", "FieldValueInvalid", "Invalid value",
                     "0", NOT_SPECIFIED);
    reply_invalid(context, "leases." DEVAPI_GROUP, context->target.name, DEVAPI_GROUP, "leases",
                  &causes);
}

static void reply_no_namespace(const struct context *context) {
    char message[400];
    struct status status;
    lease__buf buf = lease__buf_make(message, sizeof message);
    lease__put(&buf, "namespaces \"");
    lease__put(&buf, context->target.ns);
    lease__put(&buf, "\" not found");
    memset(&status, 0, sizeof status);
    status.code = 404;
    status.reason = "NotFound";
    status.message = message;
    status.details = true;
    status.name = context->target.ns;
    status.kind = "namespaces";
    devapi_reply_status(context->reply, &status);
}

void devapi_reply_forbidden(const struct context *context, const char *verb_name) {
    char message[2400];
    const struct target *target = &context->target;
    lease__buf buf = lease__buf_make(message, sizeof message);
    put_target(context, &buf);
    lease__put(&buf, " is ");
    devapi_put_forbidden(&buf, context, verb_name);
    lease__put(&buf, "resource \"");
    lease__put(&buf, target->resource);
    if (target->subresource[0] != '\0') lease__put(&buf, "/");
    lease__put(&buf, target->subresource);
    lease__put(&buf, "\" in API group \"");
    lease__put(&buf, target->group);
    lease__put(&buf, target->ns[0] != '\0' ? "\" in the namespace \"" : "\" at the cluster scope");
    lease__put(&buf, target->ns);
    if (target->ns[0] != '\0') lease__put(&buf, "\"");
    context->reply->nosniff = true;
    devapi_reply_about(context, 403, "Forbidden", message);
}

bool devapi_allowed(const struct context *context, enum verb verb) {
    if (context->who == USER_ADMIN) return true;
    return context->who == USER_ACCOUNT && context->state->role[verb] &&
           lease__same(context->target.group, DEVAPI_GROUP) &&
           lease__same(context->target.resource, "leases") &&
           context->target.subresource[0] == '\0' &&
           lease__same(context->target.ns, context->state->ns);
}

static bool too_large(const struct context *context) {
    if (!context->request->too_large) return false;
    devapi_reply_error(context->reply, 413, "RequestEntityTooLarge",
                       "Request entity too large: limit is 3145728");
    return true;
}

static void out_of_room(const struct context *context) {
    devapi_reply_error(context->reply, 500, NULL, "etcdserver: request is too large");
}

/* -- Reading what was sent --------------------------------------------------------------------- */

static bool is_json(const char *content_type) {
    const size_t length = strcspn(content_type, "; ");
    return length == 0 || (length == strlen("application/json") &&
                           strncasecmp(content_type, "application/json", length) == 0);
}

static bool bad_media_type(const struct context *context) {
    if (is_json(context->request->content_type)) return false;
    devapi_reply_error(context->reply, 415, "UnsupportedMediaType",
                       "the body of the request was in an unknown format - accepted media types "
                       "include: application/json, application/yaml, "
                       "application/vnd.kubernetes.protobuf");
    return true;
}

/* kind and apiVersion, when given, must be those of a Lease. */
static bool wrong_kind(const struct context *context, lease__json *json) {
    char kind[64];
    char version[64];
    char message[512];
    lease__json_string(json, lease__json_get(json, 0, "kind"), kind, sizeof kind);
    lease__json_string(json, lease__json_get(json, 0, "apiVersion"), version, sizeof version);
    const bool kind_fits = kind[0] == '\0' || lease__same(kind, "Lease");
    const bool version_fits = version[0] == '\0' || lease__same(version, DEVAPI_GROUP_VERSION);
    if (kind_fits && version_fits) return false;
    const char *slash = strchr(version, '/');
    lease__buf buf = lease__buf_make(message, sizeof message);
    lease__put(&buf, kind[0] != '\0' ? kind : "Lease");
    lease__put(&buf, " in version \"");
    lease__put(&buf, version[0] == '\0' ? "v1" : slash != NULL ? slash + 1 : version);
    lease__put(&buf, "\" cannot be handled as a Lease: no kind \"");
    lease__put(&buf, kind[0] != '\0' ? kind : "Lease");
    lease__put(&buf, "\" is registered for version \"");
    lease__put(&buf, version[0] != '\0' ? version : DEVAPI_GROUP_VERSION);
    lease__put(&buf, "\" in scheme \"pkg/runtime/scheme.go:111\"");
    devapi_reply_error(context->reply, 400, "BadRequest", message);
    return true;
}

static void reply_bad_body(const struct context *context, const char *prefix, const char *what) {
    char message[1400];
    lease__buf buf = lease__buf_make(message, sizeof message);
    lease__put(&buf, prefix);
    lease__put(&buf, what);
    devapi_reply_error(context->reply, 400, "BadRequest", message);
}

static bool unreadable(const struct context *context) {
    const devapi_request *request = context->request;
    devapi_document *sent = &context->state->sent;
    if (lease__json_parse(&sent->json, sent->tokens, request->body, request->body_length) &&
        lease__json_is(&sent->json, 0, JSMN_OBJECT)) {
        return false;
    }
    reply_bad_body(context,
                   "the object provided is unrecognized (must be of type Lease): couldn't get "
                   "version/kind; json parse error: ",
                   request->body_length == 0 ? "unexpected end of JSON input (<empty>)"
                                             : "invalid JSON");
    return true;
}

static void add_warnings(const struct context *context, const devapi_report *report) {
    for (int i = 0; i < report->warning_count; i++) {
        lease__put(&context->reply->headers, "Warning: 299 - \"");
        for (const char *p = report->warnings[i]; *p != '\0'; p++) {
            if (*p == '"') lease__put(&context->reply->headers, "\\");
            lease__put_bytes(&context->reply->headers, p, 1);
        }
        lease__put(&context->reply->headers, "\"\r\n");
    }
}

static bool strict_refusal(const struct context *context, const devapi_report *report) {
    char what[1024];
    lease__buf buf = lease__buf_make(what, sizeof what);
    lease__put(&buf, "strict decoding error: ");
    for (int i = 0; i < report->warning_count; i++) {
        if (i > 0) lease__put(&buf, ", ");
        lease__put(&buf, report->warnings[i]);
    }
    if (report->warning_count == 0) return false;
    reply_bad_body(context, "Lease in version \"v1\" cannot be handled as a Lease: ", what);
    return true;
}

static bool bad_option(const struct context *context, const char *field, const char *reason,
                       const char *what, const char *value, const char *why) {
    devapi_causes causes;
    const bool create = context->verb == VERB_CREATE;
    causes.count = 0;
    devapi_add_cause(&causes, field, reason, what, value, why);
    reply_invalid(context, create ? "CreateOptions.meta.k8s.io" : "UpdateOptions.meta.k8s.io", "",
                  "meta.k8s.io", create ? "CreateOptions" : "UpdateOptions", &causes);
    return true;
}

/* dryRun, fieldManager, fieldValidation. */
static bool bad_options(const struct context *context) {
    char value[300];
    char quoted[330];
    lease__buf buf = lease__buf_make(quoted, sizeof quoted);
    if (devapi_request_query(context->request, "dryRun", value, sizeof value) &&
        value[0] != '\0' && !lease__same(value, "All")) {
        lease__put(&buf, "[");
        devapi_put_go_text(&buf, value);
        lease__put(&buf, "]");
        return bad_option(context, "dryRun", "FieldValueNotSupported", "Unsupported value",
                          quoted, "supported values: \"All\"");
    }
    devapi_request_query(context->request, "fieldManager", value, sizeof value);
    if (strlen(value) > 128) {
        return bad_option(context, "fieldManager", "FieldValueTooLong", "Too long", NULL,
                          "may not be more than 128 bytes");
    }
    devapi_request_query(context->request, "fieldValidation", value, sizeof value);
    if (value[0] != '\0' && !lease__same(value, "Ignore") && !lease__same(value, "Strict") &&
        !lease__same(value, "Warn")) {
        devapi_put_go_text(&buf, value);
        return bad_option(context, "fieldValidation", "FieldValueNotSupported",
                          "Unsupported value", quoted,
                          "supported values: \"\", \"Ignore\", \"Strict\", \"Warn\"");
    }
    return false;
}

/* The object in the body; false after having answered. */
static bool read_sent(const struct context *context, devapi_object *object) {
    devapi_report report;
    char validation[16];
    if (bad_options(context) || too_large(context) || bad_media_type(context)) return false;
    if (unreadable(context) || wrong_kind(context, &context->state->sent.json)) return false;
    devapi_object_read(&context->state->sent, object, &report);
    if (report.error[0] != '\0') {
        reply_bad_body(context, "Lease in version \"v1\" cannot be handled as a Lease: ",
                       report.error);
        return false;
    }
    devapi_request_query(context->request, "fieldValidation", validation, sizeof validation);
    if (lease__same(validation, "Strict") && strict_refusal(context, &report)) return false;
    if (!lease__same(validation, "Ignore")) add_warnings(context, &report);
    return true;
}

static bool read_live(devapi_state *state, const struct stored *stored, devapi_object *object) {
    devapi_report report;
    devapi_document *live = &state->live;
    if (!lease__json_parse(&live->json, live->tokens, stored->text, stored->length)) return false;
    devapi_object_read(live, object, &report);
    return true;
}

static void manager_name(const devapi_request *request, char *out, size_t capacity) {
    char value[300];
    lease__buf buf = lease__buf_make(out, capacity);
    devapi_request_query(request, "fieldManager", value, sizeof value);
    if (value[0] != '\0') {
        lease__put(&buf, value);
    } else {
        const size_t length = strcspn(request->user_agent, "/");
        lease__put_bytes(&buf, request->user_agent, length < 128 ? length : 128);
    }
    if (buf.length == 0) lease__put(&buf, "unknown");
    /* Bytes beyond ASCII need not be UTF-8 in a header, but must be in JSON. */
    for (char *p = out; *p != '\0'; p++) {
        if ((unsigned char)*p < 0x20 || (unsigned char)*p > 0x7E) *p = '?';
    }
}

static bool is_dry_run(const devapi_request *request) {
    char value[16];
    return devapi_request_query(request, "dryRun", value, sizeof value) &&
           lease__same(value, "All");
}

/* -- Storing ----------------------------------------------------------------------------------- */

static void set_raw(devapi_object *object, devapi_field field, const char *raw) {
    devapi_value *value = &object->values[field];
    memset(value, 0, sizeof *value);
    value->raw = raw;
}

static void set_quoted(devapi_object *object, devapi_field field, char *memory, size_t capacity,
                       const char *text) {
    lease__buf buf = lease__buf_make(memory, capacity);
    devapi_put_go_text(&buf, text);
    set_raw(object, field, memory);
}

static void set_version(devapi_object *object, struct made *made, uint64_t version) {
    lease__buf buf = lease__buf_make(made->version, sizeof made->version);
    lease__put(&buf, "\"");
    lease__put_u64(&buf, version);
    lease__put(&buf, "\"");
    set_raw(object, FIELD_VERSION, made->version);
}

/* The gate CoordinatedLeaderElection is off, as it is by default up to 1.37. */
static void drop_gated(devapi_object *object) {
    memset(&object->values[FIELD_STRATEGY], 0, sizeof object->values[0]);
    memset(&object->values[FIELD_PREFERRED], 0, sizeof object->values[0]);
}

/* The object as text in the arena; NULL when it is larger than can be stored and read again. */
static const char *render(const struct context *context, const devapi_object *object,
                          size_t *length) {
    devapi_arena *arena = &context->state->arena;
    lease__buf out = devapi_arena_buf(arena);
    devapi_put_object(&out, object);
    const char *text = devapi_arena_keep(arena, &out);
    *length = out.length;
    if (arena->full || out.length > MAX_OBJECT_BYTES) return NULL;
    return lease__json_is_valid(text, out.length, LEASE_MAX_JSON_TOKENS) ? text : NULL;
}

static bool invalid(const struct context *context, const devapi_object *object) {
    devapi_causes causes;
    char name[LEASE_MAX_NAME + 1];
    devapi_validate(object, &causes);
    if (causes.count == 0) return false;
    devapi_text(object, FIELD_NAME, name, sizeof name);
    reply_invalid(context, "Lease." DEVAPI_GROUP, name, DEVAPI_GROUP, "Lease", &causes);
    return true;
}

/* A new Lease, by POST or by PUT. */
static void create_object(const struct context *context, devapi_object *object) {
    devapi_state *state = context->state;
    struct made made;
    char manager[160];
    char uid[40];
    char name[LEASE_MAX_NAME + 1];
    devapi_object nothing;
    size_t length;
    if (invalid(context, object)) return;
    memset(&nothing, 0, sizeof nothing);
    devapi_text(object, FIELD_NAME, name, sizeof name);
    lease__buf uid_buf = lease__buf_make(uid, sizeof uid);
    devapi_put_uid(state, &uid_buf);
    lease__buf created = lease__buf_make(made.created, sizeof made.created);
    devapi_put_seconds(&created, context->now.wall_us);
    set_quoted(object, FIELD_NAMESPACE, made.ns, sizeof made.ns, context->target.ns);
    set_quoted(object, FIELD_UID, made.uid, sizeof made.uid, uid);
    set_raw(object, FIELD_CREATED, made.created);
    set_raw(object, FIELD_DELETED, NULL);
    set_raw(object, FIELD_GRACE, NULL);
    manager_name(context->request, manager, sizeof manager);
    set_raw(object, FIELD_MANAGED,
            devapi_managed_fields(&state->arena, &nothing, object, true, manager,
                                  context->now.wall_us));
    drop_gated(object);
    const uint64_t version = state->version + 1;
    const bool dry = is_dry_run(context->request);
    if (!dry) set_version(object, &made, version);
    const char *text = render(context, object, &length);
    if (text == NULL ||
        (!dry && !devapi_store(state, context->target.ns, name, uid, version, text, length))) {
        out_of_room(context);
        return;
    }
    reply_object(context, 201, text, length);
}

static bool other_namespace(const struct context *context, const devapi_object *object) {
    char ns[LEASE_MAX_NAMESPACE + 1];
    const bool fits = devapi_text(object, FIELD_NAMESPACE, ns, sizeof ns);
    if (fits && (ns[0] == '\0' || lease__same(ns, context->target.ns))) return false;
    devapi_reply_error(context->reply, 400, "BadRequest",
                       "the namespace of the provided object does not match the namespace sent "
                       "on the request");
    return true;
}

/* name from generateName and five letters, as the API does it. */
static void generate_name(const struct context *context, devapi_object *object) {
    static const char letters[] = "bcdfghjklmnpqrstvwxz2456789";
    char name[LEASE_MAX_NAME + 1];
    lease__buf buf = lease__buf_make(name, sizeof name);
    if (devapi_has(object, FIELD_NAME) || !devapi_has(object, FIELD_GENERATE_NAME)) return;
    if (!devapi_text(object, FIELD_GENERATE_NAME, name, sizeof name - 5)) return;
    buf.length = strlen(name);
    for (int i = 0; i < 5; i++) {
        lease__put_bytes(&buf, letters + devapi_random(context->state) % (sizeof letters - 1), 1);
    }
    lease__buf quoted = devapi_arena_buf(&context->state->arena);
    devapi_put_go_text(&quoted, name);
    set_raw(object, FIELD_NAME, devapi_arena_keep(&context->state->arena, &quoted));
}

void devapi_create(const struct context *context) {
    devapi_object object;
    char name[1024];
    if (!read_sent(context, &object) || other_namespace(context, &object)) return;
    if (!devapi_namespace_exists(context->state, context->target.ns)) {
        reply_no_namespace(context);
        return;
    }
    generate_name(context, &object);
    devapi_text(&object, FIELD_NAME, name, sizeof name);
    if (invalid(context, &object)) return;
    if (devapi_has(&object, FIELD_VERSION)) {
        devapi_reply_error(context->reply, 500, NULL,
                           "resourceVersion should not be set on objects to be created");
    } else if (devapi_find(context->state, context->target.ns, name) != NULL) {
        char message[400];
        struct context about = *context;
        lease__copy(about.target.name, sizeof about.target.name, name);
        lease__buf buf = lease__buf_make(message, sizeof message);
        put_target(&about, &buf);
        lease__put(&buf, " already exists");
        devapi_reply_about(&about, 409, "AlreadyExists", message);
    } else {
        create_object(context, &object);
    }
}

/* -- Update ------------------------------------------------------------------------------------ */

static bool other_name(const struct context *context, const devapi_object *object) {
    char name[1024];
    char message[2300];
    const bool fits = devapi_text(object, FIELD_NAME, name, sizeof name);
    lease__buf buf = lease__buf_make(message, sizeof message);
    if (fits && lease__same(name, context->target.name)) return false;
    lease__put(&buf, "the name of the object (");
    if (name[0] == '\0') {
        lease__put(&buf, context->target.name);
        lease__put(&buf, " based on URL) was undeterminable: name must be provided");
    } else {
        lease__put(&buf, name);
        lease__put(&buf, ") does not match the name on the URL (");
        lease__put(&buf, context->target.name);
        lease__put(&buf, ")");
    }
    devapi_reply_error(context->reply, 400, "BadRequest", message);
    return true;
}

/* The version in the body as a number, 0 when absent; false after having answered. */
static bool sent_version(const struct context *context, const devapi_object *object,
                         uint64_t *version) {
    char text[LEASE_MAX_VERSION + 1];
    char message[160];
    *version = 0;
    if (!devapi_has(object, FIELD_VERSION)) return true;
    const bool fits = devapi_text(object, FIELD_VERSION, text, sizeof text);
    const size_t zeros = strspn(text, "0");
    *version = fits ? lease__parse_u64(text + zeros) : 0;
    if (*version != 0 || (fits && zeros > 0 && text[zeros] == '\0')) return true;
    lease__buf buf = lease__buf_make(message, sizeof message);
    lease__put(&buf, "strconv.ParseUint: parsing ");
    devapi_put_go_text(&buf, text);
    lease__put(&buf, ": invalid syntax");
    devapi_reply_error(context->reply, 500, NULL, message);
    return false;
}

/* Without finalizers, a Lease that is being deleted goes now. */
static bool is_final(const devapi_object *object) {
    return devapi_has(object, FIELD_DELETED) && !devapi_has(object, FIELD_FINALIZERS);
}

static bool store_update(const struct context *context, struct stored *stored,
                         devapi_object *object, struct made *made) {
    devapi_state *state = context->state;
    size_t length;
    const uint64_t version = state->version + 1;
    if (is_final(object)) {
        const char *answer = render(context, object, &length);
        if (answer == NULL) return false;
        reply_object(context, 200, answer, length);
        set_version(object, made, version);
        const char *final = render(context, object, &length);
        return final != NULL && devapi_remove(state, stored, version, final, length);
    }
    set_version(object, made, version);
    const char *text = render(context, object, &length);
    if (text == NULL || !devapi_store(state, stored->ns, stored->name, stored->uid, version, text,
                                      length)) {
        return false;
    }
    reply_object(context, 200, text, length);
    return true;
}

static void update_object(const struct context *context, struct stored *stored,
                          devapi_object *object) {
    static const devapi_field kept[] = {FIELD_UID, FIELD_GENERATION, FIELD_CREATED, FIELD_DELETED,
                                        FIELD_GRACE, FIELD_NAMESPACE, FIELD_VERSION};
    devapi_state *state = context->state;
    devapi_object live;
    struct made made;
    char manager[160];
    size_t length;
    if (!read_live(state, stored, &live)) {
        out_of_room(context);
        return;
    }
    if (invalid(context, object)) return;
    for (size_t i = 0; i < LEASE__COUNT(kept); i++) {
        object->values[kept[i]] = live.values[kept[i]];
    }
    manager_name(context->request, manager, sizeof manager);
    set_raw(object, FIELD_MANAGED,
            devapi_managed_fields(&state->arena, &live, object, false, manager,
                                  context->now.wall_us));
    drop_gated(object);
    const char *text = render(context, object, &length);
    if (text == NULL) {
        out_of_room(context);
        return;
    }
    const bool same = length == stored->length && memcmp(text, stored->text, length) == 0;
    if (same || is_dry_run(context->request)) {
        reply_object(context, 200, text, length);
    } else if (!store_update(context, stored, object, &made)) {
        out_of_room(context);
    }
}

void devapi_update(const struct context *context) {
    devapi_state *state = context->state;
    devapi_object object;
    uint64_t version;
    char uid[256];
    if (!read_sent(context, &object)) return;
    if (other_name(context, &object) || other_namespace(context, &object)) return;
    struct stored *stored = devapi_find(state, context->target.ns, context->target.name);
    devapi_text(&object, FIELD_UID, uid, sizeof uid);
    if (uid[0] != '\0' && !lease__same(uid, stored != NULL ? stored->uid : "")) {
        reply_uid_conflict(context, uid, stored != NULL ? stored->uid : "");
        return;
    }
    if (!devapi_namespace_exists(state, context->target.ns)) {
        reply_no_namespace(context);
        return;
    }
    if (!sent_version(context, &object, &version)) return;
    if (stored == NULL) {
        if (devapi_allowed(context, VERB_CREATE)) create_object(context, &object);
        else devapi_reply_forbidden(context, "create");
    } else if (version == 0) {
        reply_no_version(context);
    } else if (version != stored->version) {
        reply_conflict(context, NULL,
                       "the object has been modified; please apply your changes to the latest "
                       "version and try again");
    } else {
        update_object(context, stored, &object);
    }
}

/* -- Delete ------------------------------------------------------------------------------------ */

/* The preconditions of DeleteOptions in the body; true after having refused. */
static bool precondition_fails(const struct context *context, const struct stored *stored) {
    devapi_document *sent = &context->state->sent;
    const devapi_request *request = context->request;
    char wanted[64];
    char found[32];
    char why[400];
    lease__buf buf = lease__buf_make(why, sizeof why);
    if (request->body_length == 0) return false;
    if (bad_media_type(context) || unreadable(context)) return true;
    const int conditions = lease__json_get(&sent->json, 0, "preconditions");
    const int uid = lease__json_get(&sent->json, conditions, "uid");
    lease__json_string(&sent->json, uid, wanted, sizeof wanted);
    if (!lease__json_is_null(&sent->json, uid) && !lease__same(wanted, stored->uid)) {
        lease__put(&buf, "the UID in the precondition (");
        lease__put(&buf, wanted);
        lease__put(&buf, ") does not match the UID in record (");
        lease__put(&buf, stored->uid);
        lease__put(&buf, "). The object might have been deleted and then recreated");
        reply_conflict(context, "Lease", why);
        return true;
    }
    lease__buf version = lease__buf_make(found, sizeof found);
    lease__put_u64(&version, stored->version);
    const int sent_at = lease__json_get(&sent->json, conditions, "resourceVersion");
    lease__json_string(&sent->json, sent_at, wanted, sizeof wanted);
    if (lease__json_is_null(&sent->json, sent_at) || lease__same(wanted, found)) return false;
    lease__put(&buf, "the ResourceVersion in the precondition (");
    lease__put(&buf, wanted);
    lease__put(&buf, ") does not match the ResourceVersion in record (");
    lease__put(&buf, found);
    lease__put(&buf, "). The object might have been modified");
    reply_conflict(context, "Lease", why);
    return true;
}

static void reply_deleted(const struct context *context, const char *uid) {
    struct status status;
    memset(&status, 0, sizeof status);
    status.code = 200;
    status.details = true;
    status.name = context->target.name;
    status.group = DEVAPI_GROUP;
    status.kind = "leases";
    status.uid = uid;
    devapi_reply_status(context->reply, &status);
}

/* Finalizers hold a Lease: it is only marked. */
static bool mark_deleted(const struct context *context, struct stored *stored,
                         devapi_object *object) {
    struct made made;
    lease__buf deleted = lease__buf_make(made.created, sizeof made.created);
    devapi_put_seconds(&deleted, context->now.wall_us);
    if (devapi_has(object, FIELD_DELETED)) {
        reply_object(context, 200, stored->text, stored->length);
        return true;
    }
    set_raw(object, FIELD_DELETED, made.created);
    set_raw(object, FIELD_GRACE, "0");
    return store_update(context, stored, object, &made);
}

void devapi_delete(const struct context *context) {
    devapi_state *state = context->state;
    devapi_object object;
    struct made made;
    char uid[40];
    size_t length;
    if (too_large(context)) return;
    struct stored *stored = devapi_find(state, context->target.ns, context->target.name);
    if (stored == NULL) {
        reply_not_found(context);
        return;
    }
    if (precondition_fails(context, stored)) return;
    bool done = read_live(state, stored, &object);
    if (done && devapi_has(&object, FIELD_FINALIZERS)) {
        done = mark_deleted(context, stored, &object);
    } else if (done) {
        const uint64_t version = state->version + 1;
        memcpy(uid, stored->uid, sizeof uid);
        set_version(&object, &made, version);
        const char *final = render(context, &object, &length);
        done = final != NULL && devapi_remove(state, stored, version, final, length);
        if (done) reply_deleted(context, uid);
    }
    if (!done) out_of_room(context);
}

/* -- Reading ----------------------------------------------------------------------------------- */

/* resourceVersion of a get: none and 0 are any; a later one than there is does not come. */
static bool bad_version(const struct context *context) {
    char text[64];
    char message[300];
    devapi_request_query(context->request, "resourceVersion", text, sizeof text);
    if (text[0] == '\0' || lease__same(text, "0") || lease__parse_u64(text) != 0) return false;
    lease__buf buf = lease__buf_make(message, sizeof message);
    const bool list = context->verb == VERB_LIST;
    if (list) lease__put(&buf, "invalid resource version: ");
    lease__put(&buf, "resourceVersion: Invalid value: ");
    devapi_put_go_text(&buf, text);
    lease__put(&buf, ": strconv.ParseUint: parsing ");
    devapi_put_go_text(&buf, text);
    lease__put(&buf, ": invalid syntax");
    devapi_reply_error(context->reply, list ? 400 : 500, list ? "BadRequest" : NULL, message);
    return true;
}

void devapi_get(const struct context *context) {
    const struct stored *stored =
        devapi_find(context->state, context->target.ns, context->target.name);
    if (bad_version(context)) return;
    if (stored == NULL) reply_not_found(context);
    else reply_object(context, 200, stored->text, stored->length);
}

void devapi_list(const struct context *context) {
    const devapi_state *state = context->state;
    const size_t skipped = strlen(DEVAPI_TYPE_META);
    struct selector selector;
    lease__buf *out = &context->reply->body;
    if (!devapi_selector(context, &selector) || bad_version(context)) return;
    context->reply->code = 200;
    context->reply->content_type = "application/json";
    lease__put(out, "{\"kind\":\"LeaseList\",\"apiVersion\":\"" DEVAPI_GROUP_VERSION
                    "\",\"metadata\":{\"resourceVersion\":\"");
    lease__put_u64(out, state->version);
    lease__put(out, "\"},\"items\":[");
    const char *before = "{";
    for (int i = 0; i < state->object_count; i++) {
        const struct stored *stored = &state->objects[i];
        if (!devapi_selects(&selector, stored->ns, stored->name)) continue;
        lease__put(out, before);
        lease__put_bytes(out, stored->text + 1 + skipped, stored->length - 1 - skipped);
        before = ",{";
    }
    lease__put(out, "]}");
    if (lease__buf_full(out)) {
        out->length = 0;
        out_of_room(context);
    }
}
