/* fake.h -- a client in virtual time over a scripted lock backend: hooks whose clocks stand still
 * until they are moved, a store that can be told to fail, and a record of all events. */
#ifndef FAKE_H
#define FAKE_H

#include "../test.h"

#define FAKE_SLOTS 64
#define FAKE_EVENTS 512
#define FAKE_WALL (INT64_C(1700000000) * 1000000)
#define FAKE_AGAIN 1000 /* so many turns without time to pass are a busy loop */

typedef struct fake_event {
    lease *self;
    lease_event event;
    char holder[LEASE_MAX_IDENTITY + 3];
    lease_status status; /* of its error */
    char message[256];   /* ... and its sentence */
} fake_event;

typedef struct fake_world {
    int64_t boot_ms;
    int64_t wall_add_us; /* steps of wall time against boot time */
    bool no_random;
    uint32_t random;
    struct {
        char key[LEASE_MAX_NAMESPACE + LEASE_MAX_NAME + 2]; /* "" = free */
        bool exists;
        lease_record record;
    } slots[FAKE_SLOTS];
    uint64_t version;
    lease_status status; /* of all calls; LEASE_OK = as the store says */
    bool applied;        /* ... but a write is applied all the same */
    bool say_why;        /* the failing call fills its error */
    bool webhook;        /* somebody changes each record on its way into the store */
    int gets;
    int writes;
    lease_record last_write;
    void (*on_event)(lease *self, const lease_event *event); /* after it has been recorded */
    fake_event events[FAKE_EVENTS];
    size_t event_count;
    size_t event_read;
} fake_world;

static fake_world fake;

/* -- Hooks ------------------------------------------------------------------------------------- */

static inline int64_t fake_boot_ms(void *context) {
    (void)context;
    return fake.boot_ms;
}

static inline int64_t fake_wall_us(void *context) {
    (void)context;
    return FAKE_WALL + fake.boot_ms * 1000 + fake.wall_add_us;
}

static inline bool fake_fill_random(void *context, void *bytes, size_t count) {
    (void)context;
    for (size_t i = 0; i < count; i++) {
        fake.random = fake.random * 1664525u + 1013904223u;
        ((unsigned char *)bytes)[i] = (unsigned char)(fake.random >> 24);
    }
    return !fake.no_random;
}

static const lease_hooks fake_hooks = {NULL, fake_boot_ms, fake_wall_us, fake_fill_random};

/* -- The store --------------------------------------------------------------------------------- */

static inline int fake_slot(const char *ns, const char *name) {
    char key[sizeof fake.slots[0].key];
    snprintf(key, sizeof key, "%s/%s", ns, name);
    for (int i = 0; i < FAKE_SLOTS; i++) {
        if (strcmp(fake.slots[i].key, key) == 0) return i;
        if (fake.slots[i].key[0] != '\0') continue;
        memcpy(fake.slots[i].key, key, sizeof key);
        return i;
    }
    _exit(2);
}

/* The record of ns/name, to look at or to change behind everybody's back. */
static inline lease_record *fake_record(const char *name) {
    return &fake.slots[fake_slot("ns", name)].record;
}

static inline void fake_store(int slot, const lease_record *record) {
    lease_record *stored = &fake.slots[slot].record;
    *stored = *record;
    if (fake.webhook) snprintf(stored->holder_identity, sizeof stored->holder_identity, "webhook");
    if (!fake.slots[slot].exists) snprintf(stored->uid, sizeof stored->uid, "uid-%d", slot);
    fake.slots[slot].exists = true;
    fake.version++;
    snprintf(stored->resource_version, sizeof stored->resource_version, "%" PRIu64, fake.version);
}

/* Somebody else writes. */
static inline void fake_intrude(const char *name, const char *holder) {
    const int slot = fake_slot("ns", name);
    lease_record record = fake.slots[slot].record;
    snprintf(record.holder_identity, sizeof record.holder_identity, "%s", holder);
    record.renew_time_us = fake_wall_us(NULL) + 1;
    record.lease_duration_s = 15;
    fake_store(slot, &record);
}

static inline void fake_delete(const char *name) {
    fake.slots[fake_slot("ns", name)].exists = false;
}

static inline lease_status fake_fail(lease_error *error) {
    if (fake.say_why && error != NULL) {
        error->status = LEASE_LIMIT; /* what the function returns is what counts */
        snprintf(error->message, sizeof error->message, "%s", "the store says why");
    }
    return fake.status;
}

static inline lease_status fake_get(void *context, const char *ns, const char *name, int32_t limit,
                                    lease_record *out, lease_error *error) {
    const int slot = fake_slot(ns, name);
    (void)context;
    (void)limit;
    fake.gets++;
    if (fake.status != LEASE_OK) return fake_fail(error);
    if (!fake.slots[slot].exists) return LEASE_NOT_FOUND;
    *out = fake.slots[slot].record;
    return LEASE_OK;
}

static inline lease_status fake_create(void *context, const char *ns, const char *name,
                                       const lease_record *record, int32_t limit, lease_record *out,
                                       lease_error *error) {
    const int slot = fake_slot(ns, name);
    (void)context;
    (void)limit;
    fake.writes++;
    fake.last_write = *record;
    if (fake.status != LEASE_OK && !fake.applied) return fake_fail(error);
    if (fake.slots[slot].exists) return LEASE_ALREADY_EXISTS;
    fake_store(slot, record);
    *out = fake.slots[slot].record;
    return fake.status == LEASE_OK ? LEASE_OK : fake_fail(error);
}

static inline lease_status fake_update(void *context, const char *ns, const char *name,
                                       const lease_record *record, int32_t limit, lease_record *out,
                                       lease_error *error) {
    const int slot = fake_slot(ns, name);
    const lease_record *stored = &fake.slots[slot].record;
    (void)context;
    (void)limit;
    fake.writes++;
    fake.last_write = *record;
    if (fake.status != LEASE_OK && !fake.applied) return fake_fail(error);
    if (!fake.slots[slot].exists) return LEASE_NOT_FOUND;
    if (strcmp(stored->uid, record->uid) != 0 ||
        strcmp(stored->resource_version, record->resource_version) != 0) {
        return LEASE_CONFLICT;
    }
    fake_store(slot, record);
    *out = *stored;
    return fake.status == LEASE_OK ? LEASE_OK : fake_fail(error);
}

static const lease_backend fake_backend = {NULL, fake_get, fake_create, fake_update};

/* -- Events ------------------------------------------------------------------------------------ */

static inline void fake_on_event(lease *self, const lease_event *event, void *user) {
    (void)user;
    if (fake.event_count < FAKE_EVENTS) {
        fake_event *now = &fake.events[fake.event_count++];
        now->self = self;
        now->event = *event;
        snprintf(now->holder, sizeof now->holder, "%s", event->holder);
        now->status = event->error != NULL ? event->error->status : LEASE_OK;
        snprintf(now->message, sizeof now->message, "%s",
                 event->error != NULL ? event->error->message : "");
    }
    if (fake.on_event != NULL) fake.on_event(self, event);
}

/* The kinds of the events that have not been asked for yet, as text: "leader_changed acquired". */
static inline const char *fake_news(void) {
    static const char *const names[] = {"acquired", "lost", "leader_changed", "renewed",
                                        "renew_failed", "fail_open", "fail_closed", "duplicate",
                                        "released", "error"};
    static char text[2048];
    size_t length = 0;
    text[0] = '\0';
    for (; fake.event_read < fake.event_count && length < sizeof text - 32; fake.event_read++) {
        length += (size_t)snprintf(text + length, sizeof text - length, "%s%s",
                                   length > 0 ? " " : "",
                                   names[fake.events[fake.event_read].event.kind]);
    }
    return text;
}

static inline const fake_event *fake_last(void) {
    return &fake.events[fake.event_count > 0 ? fake.event_count - 1 : 0];
}

/* -- Running ----------------------------------------------------------------------------------- */

static inline void fake_begin(void) {
    memset(&fake, 0, sizeof fake);
    fake.boot_ms = 1000000;
    fake.random = 1;
}

static inline lease_client *fake_client(void) {
    lease_client_desc desc;
    lease_client *client = NULL;
    lease_error error;
    memset(&desc, 0, sizeof desc);
    desc.hooks = &fake_hooks;
    desc.backend = &fake_backend;
    if (lease_client_create(&desc, &client, &error) != LEASE_OK) {
        printf("(no client: %s)\n", error.message);
        _exit(2);
    }
    return client;
}

static inline lease_desc fake_desc(const char *name) {
    lease_desc desc;
    memset(&desc, 0, sizeof desc);
    desc.name = name;
    desc.ns = "ns";
    desc.identity = "me";
    desc.on_event = fake_on_event;
    return desc;
}

static inline lease *fake_lease(lease_client *client, const lease_desc *desc) {
    lease *self = NULL;
    lease_error error;
    memset(&error, 0, sizeof error);
    const lease_status status = lease_create(client, desc, &self, &error);
    test__check(status == LEASE_OK, __FILE__, __LINE__, "no lease: %s", error.message);
    return self;
}

/* Turns until nothing is due, then moves the clock to what is due next; for so long. */
static inline void fake_run(lease_client *client, int64_t for_ms) {
    const int64_t end_ms = fake.boot_ms + for_ms;
    int again = 0;
    for (;;) {
        lease_client_poll(client, 0);
        const int64_t wait_ms = lease_client_wait_ms(client);
        again = wait_ms == 0 ? again + 1 : 0;
        if (again == FAKE_AGAIN) {
            test__check(false, __FILE__, __LINE__, "%s", "a loop without delay");
            return;
        }
        if (wait_ms == 0) continue;
        if (fake.boot_ms + wait_ms > end_ms) break;
        fake.boot_ms += wait_ms;
    }
    fake.boot_ms = end_ms;
}

#endif
