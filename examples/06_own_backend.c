/* 06_own_backend.c -- the election over a store of your own instead of a Kubernetes Lease.
 *
 * A lease_backend is three functions: get, create, update. All that the store needs is a write that
 * succeeds only if nobody has written since: UPDATE ... WHERE version = ? in SQL, a transaction in
 * etcd. Here it is a table in memory with text values. Two candidates: the first one leads and
 * releases, the second one takes over; the row is shown at each step.
 *
 *     make examples && build/examples/06_own_backend
 */
#define LEASE_IMPLEMENTATION
#include "lease.h"

#include <inttypes.h>
#include <stdio.h>

/* -- The store, which knows nothing of leases: one row, to keep it short. */
typedef struct table {
    char value[512];
    uint64_t version; /* of the last write; 0 = there is no row */
} table;

/* The new version, or 0 when somebody else was faster. */
static uint64_t table_put_if(table *self, uint64_t expected_version, const char *value) {
    if (self->version != expected_version || strlen(value) >= sizeof self->value) return 0;
    memcpy(self->value, value, strlen(value) + 1);
    return ++self->version;
}

/* -- The backend: a record is a line of text, its version the row's. The times and the number of
 * transitions must come back exactly as they were written; the uid tells this row from one that is
 * created after a deletion; the holder comes last, for it may hold spaces. */
static lease_status get(void *context, const char *ns, const char *name, int32_t timeout_ms,
                        lease_record *out, lease_error *error) {
    const table *rows = context;
    int holder = 0;
    (void)ns, (void)name, (void)timeout_ms; /* a real store finds the row by ns and name, in time */
    if (rows->version == 0) return LEASE_NOT_FOUND;
    *out = (lease_record){.mine_only = true};
    snprintf(out->resource_version, sizeof out->resource_version, "%" PRIu64, rows->version);
    if (sscanf(rows->value, "%63s %" SCNd32 " %" SCNd32 " %" SCNd64 " %" SCNd64 " %n", out->uid,
               &out->lease_duration_s, &out->lease_transitions, &out->acquire_time_us,
               &out->renew_time_us, &holder) == 5 &&
        holder > 0 && strlen(rows->value + holder) < sizeof out->holder_identity) {
        strcpy(out->holder_identity, rows->value + holder);
        return LEASE_OK;
    }
    snprintf(error->message, sizeof error->message, "the row is not what we write: %.100s",
             rows->value);
    return LEASE_UNEXPECTED;
}

/* Answers with what it has written, not with what a read brings afterwards, which may be somebody
 * else's. If the connection to a real store breaks, the answer is LEASE_CLOSED or LEASE_TIMEOUT:
 * the write may have been applied, and the elector reads it back to find out. */
static lease_status put(table *rows, uint64_t expected_version, lease_record *record) {
    char value[sizeof rows->value];
    snprintf(value, sizeof value, "%s %" PRId32 " %" PRId32 " %" PRId64 " %" PRId64 " %s",
             record->uid, record->lease_duration_s, record->lease_transitions,
             record->acquire_time_us, record->renew_time_us, record->holder_identity);
    const uint64_t version = table_put_if(rows, expected_version, value);
    snprintf(record->resource_version, sizeof record->resource_version, "%" PRIu64, version);
    return version != 0 ? LEASE_OK : LEASE_CONFLICT;
}

static lease_status create(void *context, const char *ns, const char *name,
                           const lease_record *record, int32_t timeout_ms, lease_record *out,
                           lease_error *error) {
    (void)ns, (void)name, (void)timeout_ms, (void)error;
    *out = *record;
    snprintf(out->uid, sizeof out->uid, "row-1");
    return put(context, 0, out) == LEASE_OK ? LEASE_OK : LEASE_ALREADY_EXISTS;
}

static lease_status update(void *context, const char *ns, const char *name,
                           const lease_record *record, int32_t timeout_ms, lease_record *out,
                           lease_error *error) {
    (void)ns, (void)name, (void)timeout_ms, (void)error;
    *out = *record;
    return put(context, strtoull(record->resource_version, NULL, 10), out);
}

/* -- Two candidates. */
static lease *contend(lease_client **client, table *rows, const char *identity) {
    const lease_backend backend = {.context = rows, .get = get, .create = create, .update = update};
    const lease_client_desc client_desc = {.backend = &backend};
    const lease_desc desc = {.name = "own-backend", .ns = "default", .identity = identity};
    lease *leadership = NULL;
    lease_error error;
    if (lease_client_create(&client_desc, client, &error) != LEASE_OK ||
        lease_create(*client, &desc, &leadership, &error) != LEASE_OK) {
        fprintf(stderr, "%s\n", error.message);
    }
    return leadership;
}

static bool show(const char *what, const table *rows, bool good) {
    printf("%-18s version %" PRIu64 ": %s\n", what, rows->version, rows->value);
    return good;
}

int main(void) {
    table rows = {.version = 0};
    lease_client *clients[2] = {NULL, NULL};
    lease *first = contend(&clients[0], &rows, "first");
    lease *second = contend(&clients[1], &rows, "second");
    lease_view view = {.released = false};

    bool good = first != NULL && second != NULL;
    good = good && lease_client_poll(clients[0], 0) == LEASE_OK;
    good = good && show("the first leads", &rows, lease_is_leader(first));
    good = good && lease_client_poll(clients[1], 0) == LEASE_OK;
    good = good && show("the second waits", &rows, !lease_is_leader(second));
    good = good && lease_release(first) == LEASE_OK && lease_client_poll(clients[0], 0) == LEASE_OK;
    lease_view_get(first, &view);
    good = good && show("released", &rows, view.released);
    while (good && !lease_is_leader(second)) good = lease_client_poll(clients[1], -1) == LEASE_OK;
    good = good && show("the second leads", &rows, lease_is_leader(second));
    for (size_t i = 0; i < 2; i++) lease_client_destroy(clients[i]);
    return good ? 0 : 1;
}
