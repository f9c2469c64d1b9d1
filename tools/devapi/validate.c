/* validate.c -- what makes a Lease invalid (422), in kube-apiserver's words. */
#include "object.h"

#define NAME_RULE                                                                                  \
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or "  \
    "'.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used " \
    "for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
#define KEY_RULE                                                                                   \
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end " \
    "with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for " \
    "validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
#define SLASHES_RULE                                                                               \
    "a valid label key must consist of alphanumeric characters, '-', '_' or '.', and must start " \
    "and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex " \
    "used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]') with an optional DNS "    \
    "subdomain prefix and '/' (e.g. 'example.com/MyName')"
#define LABEL_RULE                                                                                 \
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or "   \
    "'.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value'," \
    "  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
#define MAX_ANNOTATIONS ((size_t)256 * 1024)

void devapi_add_cause(devapi_causes *causes, const char *field, const char *reason,
                      const char *what, const char *value, const char *why) {
    if (causes->count == DEVAPI_MAX_CAUSES) return;
    devapi_cause *cause = &causes->list[causes->count++];
    cause->reason = reason;
    lease__copy(cause->field, sizeof cause->field, field);
    lease__buf buf = lease__buf_make(cause->message, sizeof cause->message);
    lease__put(&buf, what);
    if (value != NULL) {
        lease__put(&buf, ": ");
        lease__put(&buf, value);
    }
    lease__put(&buf, ": ");
    lease__put(&buf, why);
}

static void invalid(devapi_causes *causes, const char *field, const char *value, bool quote,
                    const char *why) {
    char quoted[400];
    lease__buf buf = lease__buf_make(quoted, sizeof quoted);
    if (quote) devapi_put_go_text(&buf, value);
    else lease__put(&buf, value);
    devapi_add_cause(causes, field, "FieldValueInvalid", "Invalid value", quoted, why);
}

static bool is_lower(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }

static bool is_alphanumeric(char c) { return is_lower(c) || (c >= 'A' && c <= 'Z'); }

static bool is_subdomain(const char *name, size_t length) {
    if (length == 0 || length > LEASE_MAX_NAME) return false;
    for (size_t i = 0; i < length; i++) {
        const bool edge = i == 0 || i + 1 == length || name[i - 1] == '.' || name[i + 1] == '.';
        if (!is_lower(name[i]) && (edge || (name[i] != '-' && name[i] != '.'))) return false;
    }
    return true;
}

/* Letters and digits at both ends; between them also - _ . */
static bool is_label_text(const char *text, size_t length) {
    if (length == 0 || length > 63) return false;
    if (!is_alphanumeric(text[0]) || !is_alphanumeric(text[length - 1])) return false;
    for (size_t i = 0; i < length; i++) {
        if (!is_alphanumeric(text[i]) && strchr("-_.", text[i]) == NULL) return false;
    }
    return true;
}

static bool is_qualified_name(const char *key) {
    const char *slash = strchr(key, '/');
    if (slash != NULL && !is_subdomain(key, (size_t)(slash - key))) return false;
    const char *name = slash != NULL ? slash + 1 : key;
    return is_label_text(name, strlen(name));
}

static void validate_map(const devapi_object *object, devapi_field field, devapi_causes *causes) {
    const devapi_value *map = &object->values[field];
    const char *path = field == FIELD_LABELS ? "metadata.labels" : "metadata.annotations";
    if (map->json == NULL) return;
    const lease__json *json = map->json;
    const int end = lease__json_after(json, map->token);
    size_t total = 0;
    for (int at = map->token + 1; at < end; at = lease__json_after(json, at + 1)) {
        char key[400];
        char value[100];
        const bool key_fits = lease__json_string(json, at, key, sizeof key);
        const bool value_fits = lease__json_string(json, at + 1, value, sizeof value);
        total += (size_t)(json->tokens[at].end - json->tokens[at].start +
                          json->tokens[at + 1].end - json->tokens[at + 1].start);
        if (field == FIELD_LABELS && value[0] != '\0' &&
            (!value_fits || !is_label_text(value, strlen(value)))) {
            invalid(causes, path, value, true, LABEL_RULE);
        }
        const char *slash = strchr(key, '/');
        const bool slashes = slash != NULL && strchr(slash + 1, '/') != NULL;
        if (!key_fits || !is_qualified_name(key)) {
            invalid(causes, path, key, true, slashes ? SLASHES_RULE : KEY_RULE);
        }
    }
    if (field == FIELD_ANNOTATIONS && total > MAX_ANNOTATIONS) {
        devapi_add_cause(causes, path, "FieldValueTooLong", "Too long", NULL,
                         "may not be more than 262144 bytes");
    }
}

static void validate_name(const devapi_object *object, devapi_causes *causes) {
    char name[300];
    const bool fits = devapi_text(object, FIELD_NAME, name, sizeof name);
    if (!devapi_has(object, FIELD_NAME)) {
        devapi_add_cause(causes, "metadata.name", "FieldValueRequired", "Required value", NULL,
                         "name or generateName is required");
    } else if (!fits || strlen(name) > LEASE_MAX_NAME) {
        invalid(causes, "metadata.name", name, true, "must be no more than 253 bytes");
    } else if (!is_subdomain(name, strlen(name))) {
        invalid(causes, "metadata.name", name, true, NAME_RULE);
    }
}

static void validate_minimum(const devapi_object *object, devapi_field field, int32_t minimum,
                             const char *why, devapi_causes *causes) {
    const devapi_value *value = &object->values[field];
    char path[64];
    char text[16];
    int32_t number;
    if (value->json == NULL || !lease__json_int32(value->json, value->token, &number)) return;
    if (number >= minimum) return;
    lease__buf path_buf = lease__buf_make(path, sizeof path);
    lease__put(&path_buf, "spec.");
    lease__put(&path_buf, devapi_field_name(field));
    lease__buf text_buf = lease__buf_make(text, sizeof text);
    lease__put_i64(&text_buf, number);
    invalid(causes, path, text, false, why);
}

void devapi_validate(const devapi_object *object, devapi_causes *causes) {
    causes->count = 0;
    validate_name(object, causes);
    validate_map(object, FIELD_LABELS, causes);
    validate_map(object, FIELD_ANNOTATIONS, causes);
    validate_minimum(object, FIELD_DURATION, 1, "must be greater than 0", causes);
    validate_minimum(object, FIELD_TRANSITIONS, 0, "must be greater than or equal to 0", causes);
}
