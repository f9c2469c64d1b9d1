/* store.c -- the Leases, their versions, and the events of their changes. */
#include "state.h"

/* Where a Lease stands or would stand. */
static int place_of(const devapi_state *state, const char *ns, const char *name, bool *found) {
    int low = 0;
    int high = state->object_count;
    *found = false;
    while (low < high) {
        const int middle = (low + high) / 2;
        const struct stored *stored = &state->objects[middle];
        int order = strcmp(stored->ns, ns);
        if (order == 0) order = strcmp(stored->name, name);
        if (order == 0) {
            *found = true;
            return middle;
        }
        if (order < 0) low = middle + 1;
        else high = middle;
    }
    return low;
}

struct stored *devapi_find(devapi_state *state, const char *ns, const char *name) {
    bool found;
    const int at = place_of(state, ns, name, &found);
    return found ? &state->objects[at] : NULL;
}

/* splitmix64: the uids of a run are the same for the same seed. */
uint64_t devapi_random(devapi_state *state) {
    uint64_t z = state->random += UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
    return z ^ z >> 31;
}

void devapi_put_uid(devapi_state *state, lease__buf *out) {
    static const char hex[] = "0123456789abcdef";
    uint64_t bits = 0;
    for (int i = 0; i < 32; i++) {
        if (i % 16 == 0) bits = devapi_random(state);
        if (i == 8 || i == 12 || i == 16 || i == 20) lease__put(out, "-");
        uint64_t digit = bits & 15;
        if (i == 12) digit = 4;
        if (i == 16) digit = 8 | (digit & 3);
        lease__put_bytes(out, hex + digit, 1);
        bits >>= 4;
    }
}

bool devapi_namespace_exists(const devapi_state *state, const char *ns) {
    static const char *const always[] = {"default", "kube-system", "kube-public",
                                         "kube-node-lease"};
    for (size_t i = 0; i < LEASE__COUNT(always); i++) {
        if (lease__same(ns, always[i])) return true;
    }
    return lease__same(ns, state->ns);
}

static char *copy_text(const char *text, size_t length) {
    char *copy = (char *)malloc(length + 1);
    if (copy == NULL) return NULL;
    memcpy(copy, text, length);
    copy[length] = '\0';
    return copy;
}

static void forget_oldest(devapi_state *state) {
    struct event *event = &state->events[state->event_first];
    state->compacted = event->version;
    free(event->text);
    event->text = NULL;
    state->event_first = (state->event_first + 1) % MAX_EVENTS;
    state->event_count--;
}

void devapi_forget_events(devapi_state *state) {
    while (state->event_count > 0) forget_oldest(state);
    state->compacted = state->version;
}

/* Takes text over. */
static void add_event(devapi_state *state, const char *type, const struct stored *stored,
                      uint64_t version, char *text, size_t length) {
    if (state->event_count == MAX_EVENTS) forget_oldest(state);
    struct event *event =
        &state->events[(state->event_first + state->event_count) % MAX_EVENTS];
    event->type = type;
    event->version = version;
    memcpy(event->ns, stored->ns, sizeof event->ns);
    memcpy(event->name, stored->name, sizeof event->name);
    event->text = text;
    event->length = length;
    state->event_count++;
}

bool devapi_store(devapi_state *state, const char *ns, const char *name, const char *uid,
                  uint64_t version, const char *text, size_t length) {
    bool found;
    const int at = place_of(state, ns, name, &found);
    if (!found && state->object_count == DEVAPI_MAX_OBJECTS) return false;
    char *object_text = copy_text(text, length);
    char *event_text = copy_text(text, length);
    if (object_text == NULL || event_text == NULL) {
        free(object_text);
        free(event_text);
        return false;
    }
    struct stored *stored = &state->objects[at];
    if (found) {
        free(stored->text);
    } else {
        memmove(stored + 1, stored, (size_t)(state->object_count - at) * sizeof *stored);
        memset(stored, 0, sizeof *stored);
        lease__copy(stored->ns, sizeof stored->ns, ns);
        lease__copy(stored->name, sizeof stored->name, name);
        lease__copy(stored->uid, sizeof stored->uid, uid);
        state->object_count++;
    }
    stored->text = object_text;
    stored->length = length;
    stored->version = version;
    state->version = version;
    add_event(state, found ? "MODIFIED" : "ADDED", stored, version, event_text, length);
    return true;
}

bool devapi_remove(devapi_state *state, struct stored *stored, uint64_t version,
                   const char *final, size_t length) {
    char *event_text = copy_text(final, length);
    if (event_text == NULL) return false;
    add_event(state, "DELETED", stored, version, event_text, length);
    state->version = version;
    free(stored->text);
    state->object_count--;
    const size_t behind = (size_t)(state->objects + state->object_count - stored);
    memmove(stored, stored + 1, behind * sizeof *stored);
    return true;
}

void devapi_clear(devapi_state *state) {
    for (int i = 0; i < state->object_count; i++) free(state->objects[i].text);
    state->object_count = 0;
    for (int i = 0; i < state->fault_count; i++) free(state->faults[i].text);
    state->fault_count = 0;
    state->version++;
    devapi_forget_events(state);
    state->logged_count = 0;
}
