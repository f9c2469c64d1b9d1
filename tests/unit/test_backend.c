/* >>backend: one contract for memory and files, and files under several processes and kill -9. */
#define LEASE_IMPLEMENTATION
#include "lease.h"

#include "files.h"

#include <sys/wait.h>

#define TIMEOUT_MS 2000

static lease_memory memory;
static lease_error error;
static lease_record out;

static lease_record record_of(const char *holder) {
    lease_record record;
    memset(&record, 0, sizeof record);
    lease__copy(record.holder_identity, sizeof record.holder_identity, holder);
    record.acquire_time_us = INT64_C(1700000000000001);
    record.renew_time_us = INT64_C(1700000002000002);
    record.lease_duration_s = 15;
    record.lease_transitions = 3;
    return record;
}

static lease_status get(const lease_backend *b, const char *ns, const char *name) {
    memset(&out, 0x55, sizeof out);
    memset(&error, 0, sizeof error);
    return b->get(b->context, ns, name, TIMEOUT_MS, &out, &error);
}

static lease_status create(const lease_backend *b, const char *name, const lease_record *record) {
    memset(&error, 0, sizeof error);
    return b->create(b->context, "ns", name, record, TIMEOUT_MS, &out, &error);
}

static lease_status update(const lease_backend *b, const char *name, const lease_record *record) {
    memset(&error, 0, sizeof error);
    return b->update(b->context, "ns", name, record, TIMEOUT_MS, &out, &error);
}

static void check_error(lease_status status) {
    CHECK_STATUS(error.status, status);
    CHECK_INT(error.stage, LEASE_STAGE_BACKEND);
    CHECK(strstr(error.message, "ns") != NULL);
}

static void check_same(const lease_record *got, const lease_record *want) {
    CHECK_STR(got->holder_identity, want->holder_identity);
    CHECK_INT(got->acquire_time_us, want->acquire_time_us);
    CHECK_INT(got->renew_time_us, want->renew_time_us);
    CHECK_INT(got->lease_duration_s, want->lease_duration_s);
    CHECK_INT(got->lease_transitions, want->lease_transitions);
    CHECK_INT(got->coordinated, false);
}

/* -- The contract ------------------------------------------------------------------------------ */

static lease_backend make(int which) {
    memset(&memory, 0, sizeof memory);
    files_begin();
    return which == 0 ? lease_backend_memory(&memory) : lease_backend_file(files_directory);
}
static const char *const kinds[] = {"memory", "file"};

TEST(what_is_absent_is_not_found) {
    for (int which = 0; which < 2; which++) {
        CASE("%s", kinds[which]);
        const lease_backend b = make(which);
        CHECK_STATUS(get(&b, "ns", "a"), LEASE_NOT_FOUND);
        check_error(LEASE_NOT_FOUND);
        const lease_record record = record_of("x");
        const lease_status status = update(&b, "a", &record);
        CHECK(status == LEASE_NOT_FOUND || status == LEASE_CONFLICT);
        CHECK_STATUS(get(&b, "ns", "a"), LEASE_NOT_FOUND);
        CHECK_STATUS(b.get(b.context, "ns", "a", TIMEOUT_MS, &out, NULL), LEASE_NOT_FOUND);
    }
}

TEST(what_is_created_is_there) {
    for (int which = 0; which < 2; which++) {
        CASE("%s", kinds[which]);
        const lease_backend b = make(which);
        const lease_record record = record_of("host \"1\"\\\xc3\xa9");
        CHECK_STATUS(create(&b, "a", &record), LEASE_OK);
        check_same(&out, &record);
        CHECK(out.uid[0] != '\0');
        CHECK(lease__parse_u64(out.resource_version) > 0);
        const lease_record created = out;
        CHECK_STATUS(get(&b, "ns", "a"), LEASE_OK);
        check_same(&out, &record);
        CHECK_STR(out.uid, created.uid);
        CHECK_STR(out.resource_version, created.resource_version);
        CHECK_STATUS(create(&b, "a", &record), LEASE_ALREADY_EXISTS);
        check_error(LEASE_ALREADY_EXISTS);
        CHECK_STATUS(get(&b, "ns", "a"), LEASE_OK);
        CHECK_STR(out.resource_version, created.resource_version);
    }
}

TEST(an_update_compares_uid_and_version) {
    for (int which = 0; which < 2; which++) {
        CASE("%s", kinds[which]);
        const lease_backend b = make(which);
        lease_record record = record_of("one");
        CHECK_STATUS(create(&b, "a", &record), LEASE_OK);
        const lease_record first = out;
        lease_record next = first;
        lease__copy(next.holder_identity, sizeof next.holder_identity, "two");
        next.lease_transitions = 4;
        CHECK_STATUS(update(&b, "a", &next), LEASE_OK);
        check_same(&out, &next);
        CHECK_STR(out.uid, first.uid);
        CHECK(lease__parse_u64(out.resource_version) > lease__parse_u64(first.resource_version));
        const lease_record second = out;
        CHECK_STATUS(update(&b, "a", &next), LEASE_CONFLICT); /* over the first version again */
        check_error(LEASE_CONFLICT);
        next = second;
        lease__copy(next.uid, sizeof next.uid, "another");
        CHECK_STATUS(update(&b, "a", &next), LEASE_CONFLICT);
        next = second;
        next.resource_version[0] = '\0';
        CHECK_STATUS(update(&b, "a", &next), LEASE_CONFLICT);
        CHECK_STATUS(get(&b, "ns", "a"), LEASE_OK);
        CHECK_STR(out.resource_version, second.resource_version);
        CHECK_STR(out.holder_identity, "two");
    }
}

TEST(names_and_namespaces_are_apart) {
    static const char *const addresses[][2] = {{"ns", "a"}, {"ns", "a.b"}, {"ns", "a.lease"},
                                               {"ns", "a.lock"}, {"ns", "a.new"}, {"ns-a", "b"},
                                               {"n", "s.a"}, {"ns", "lock"}};
    for (int which = 0; which < 2; which++) {
        CASE("%s", kinds[which]);
        const lease_backend b = make(which);
        char uids[LEASE__COUNT(addresses)][LEASE_MAX_VERSION + 1];
        for (size_t i = 0; i < LEASE__COUNT(addresses); i++) {
            const lease_record record = record_of(addresses[i][1]);
            CHECK_STATUS(b.create(b.context, addresses[i][0], addresses[i][1], &record, TIMEOUT_MS,
                                  &out, &error), LEASE_OK);
            memcpy(uids[i], out.uid, sizeof uids[i]);
            for (size_t j = 0; j < i; j++) CHECK(strcmp(uids[i], uids[j]) != 0);
        }
        for (size_t i = 0; i < LEASE__COUNT(addresses); i++) {
            CHECK_STATUS(get(&b, addresses[i][0], addresses[i][1]), LEASE_OK);
            CHECK_STR(out.holder_identity, addresses[i][1]);
            CHECK_STR(out.uid, uids[i]);
        }
    }
}

TEST(an_unheld_record_is_kept_as_it_is) {
    for (int which = 0; which < 2; which++) {
        CASE("%s", kinds[which]);
        const lease_backend b = make(which);
        lease_record record = record_of("");
        record.acquire_time_us = record.renew_time_us = 0;
        record.lease_transitions = 0;
        CHECK_STATUS(create(&b, "a", &record), LEASE_OK);
        CHECK_STATUS(get(&b, "ns", "a"), LEASE_OK);
        check_same(&out, &record);
    }
}

TEST(the_longest_values_fit) {
    for (int which = 0; which < 2; which++) {
        CASE("%s", kinds[which]);
        const lease_backend b = make(which);
        char name[LEASE_MAX_NAME + 2];
        lease_record record = record_of("");
        memset(name, 'n', sizeof name);
        name[200] = '\0'; /* a file's name has at most 255 bytes with namespace and suffix */
        memset(record.holder_identity, '"', LEASE_MAX_IDENTITY);
        record.holder_identity[LEASE_MAX_IDENTITY] = '\0';
        record.lease_duration_s = record.lease_transitions = INT32_MAX;
        record.renew_time_us = INT64_C(253402300799999999);
        CHECK_STATUS(create(&b, name, &record), LEASE_OK);
        CHECK_STATUS(get(&b, "ns", name), LEASE_OK);
        check_same(&out, &record);
    }
}

/* -- Memory ------------------------------------------------------------------------------------ */

TEST(memory_has_so_many_slots) {
    const lease_backend b = make(0);
    const lease_record record = record_of("x");
    char name[24];
    for (int i = 0; i < LEASE_MEMORY_SLOTS; i++) {
        snprintf(name, sizeof name, "lease-%d", i);
        CHECK_STATUS(get(&b, "ns", name), LEASE_NOT_FOUND);
        CHECK_STATUS(create(&b, name, &record), LEASE_OK);
    }
    CHECK_STATUS(create(&b, "one-more", &record), LEASE_LIMIT);
    check_error(LEASE_LIMIT);
    CHECK_STATUS(get(&b, "ns", "one-more"), LEASE_NOT_FOUND);
    CHECK_STATUS(get(&b, "ns", "lease-0"), LEASE_OK);
}

/* -- Files ------------------------------------------------------------------------------------- */

TEST(a_file_may_be_deleted_by_hand) {
    const lease_backend b = make(1);
    const lease_record record = record_of("x");
    CHECK_STATUS(create(&b, "a", &record), LEASE_OK);
    const lease_record first = out;
    CHECK_INT(unlink(files_path("ns.a.lease")), 0);
    CHECK_STATUS(get(&b, "ns", "a"), LEASE_NOT_FOUND);
    lease_record next = first;
    CHECK(update(&b, "a", &next) != LEASE_OK);
    CHECK_STATUS(create(&b, "a", &record), LEASE_OK);
    CHECK(strcmp(out.uid, first.uid) != 0);
    CHECK(lease__parse_u64(out.resource_version) > lease__parse_u64(first.resource_version));
}

TEST(versions_grow_when_wall_time_stands_behind) {
    const lease_backend b = make(1);
    lease_record record = record_of("x");
    CHECK_STATUS(create(&b, "a", &record), LEASE_OK);
    record = out;
    lease_record ahead;
    /* As left by a clock that was far ahead. */
    char text[1024];
    snprintf(text, sizeof text,
             "{\"kind\":\"Lease\",\"apiVersion\":\"coordination.k8s.io/v1\",\"metadata\":{\"name\":"
             "\"a\",\"namespace\":\"ns\",\"uid\":\"%s\",\"resourceVersion\":"
             "\"9000000000000000000\"},\"spec\":{\"holderIdentity\":\"x\"}}", record.uid);
    files_write("ns.a.lease", text);
    CHECK_STATUS(get(&b, "ns", "a"), LEASE_OK);
    ahead = out;
    ahead.lease_duration_s = 15;
    CHECK_STATUS(update(&b, "a", &ahead), LEASE_OK);
    CHECK_STR(out.resource_version, "9000000000000000001");
}

TEST(bad_files_are_refused) {
    static const struct {
        const char *text;
        lease_status want;
    } rows[] = {{"", LEASE_SYSTEM}, {"{", LEASE_JSON}, {"x", LEASE_JSON},
    {"{}", LEASE_WRONG_OBJECT},
                {"{\"kind\":\"Lease\"}", LEASE_WRONG_OBJECT}};
    for (size_t i = 0; i < LEASE__COUNT(rows); i++) {
        CASE("<%s>", rows[i].text);
        const lease_backend b = make(1);
        const lease_record record = record_of("x");
        files_write("ns.a.lease", rows[i].text);
        CHECK_STATUS(get(&b, "ns", "a"), rows[i].want);
        CHECK(error.message[0] != '\0');
        CHECK_STATUS(create(&b, "a", &record), rows[i].want); /* nothing is overwritten */
        CHECK_STATUS(update(&b, "a", &record), rows[i].want);
        char text[64];
        size_t length = 0;
        const lease_status status = lease__read_file(files_path("ns.a.lease"), text, sizeof text,
                                                     &length, LEASE_SYSTEM, NULL);
        CHECK_STATUS(status, rows[i].text[0] == '\0' ? LEASE_SYSTEM : LEASE_OK);
    }
}

TEST(bad_directories_are_refused) {
    char longest[LEASE_MAX_PATH + 8];
    memset(longest, 'x', sizeof longest);
    longest[0] = '/';
    longest[LEASE_MAX_PATH - 10] = '\0';
    files_begin();
    files_write("file", "x");
    const char *const directories[] = {files_path("absent"), files_path("file"), longest};
    const lease_record record = record_of("x");
    for (size_t i = 0; i < LEASE__COUNT(directories); i++) {
        CASE("%zu", i);
        const lease_backend b = lease_backend_file(directories[i]);
        const lease_status status = create(&b, "a", &record);
        CHECK(status == LEASE_SYSTEM || status == LEASE_LIMIT);
        CHECK_INT(error.stage, LEASE_STAGE_BACKEND);
        CHECK(error.message[0] != '\0');
        CHECK(get(&b, "ns", "a") != LEASE_OK);
        CHECK(update(&b, "a", &record) != LEASE_OK);
    }
}

TEST(a_directory_that_cannot_be_read_is_refused) {
    if (geteuid() == 0) return; /* root may read everything */
    const lease_backend b = make(1);
    const lease_record record = record_of("x");
    CHECK_INT(chmod(files_directory, 0), 0);
    CHECK_STATUS(get(&b, "ns", "a"), LEASE_SYSTEM);
    CHECK_STATUS(create(&b, "a", &record), LEASE_SYSTEM);
    CHECK(strstr(error.message, "Permission denied") != NULL);
    CHECK_INT(chmod(files_directory, 0700), 0);
}

TEST(a_lock_that_is_held_costs_the_time_limit) {
    const lease_backend b = make(1);
    lease_record record = record_of("x");
    CHECK_STATUS(create(&b, "a", &record), LEASE_OK);
    record = out;
    const int fd = open(files_path("ns.a.lock"), O_RDWR | O_CLOEXEC);
    CHECK_INT(flock(fd, LOCK_EX), 0);
    const int64_t before = lease__boot_now().ms;
    CHECK_STATUS(b.update(b.context, "ns", "a", &record, 50, &out, &error), LEASE_THROTTLED);
    CHECK(lease__boot_now().ms - before >= 50);
    CHECK_STATUS(get(&b, "ns", "a"), LEASE_OK); /* a read needs no lock */
    close(fd);
    CHECK_STATUS(update(&b, "a", &record), LEASE_OK);
}

/* -- Several processes ------------------------------------------------------------------------- */

#define PROCESSES 3
#define ROUNDS 100

/* Counts up by compare-and-swap in leaseTransitions; each success counts exactly once. */
static int count_up(int rounds, bool for_ever) {
    alarm(60); /* outlives no test */
    const lease_backend b = lease_backend_file(files_directory);
    for (int done = 0; done < rounds || for_ever;) {
        lease_status status = get(&b, "ns", "a");
        if (status != LEASE_OK) return 1;
        lease_record next = out;
        next.lease_transitions++;
        status = update(&b, "a", &next);
        if (status == LEASE_OK) done++;
        else if (status != LEASE_CONFLICT && status != LEASE_THROTTLED) return 2;
    }
    return 0;
}

TEST(processes_contend_by_compare_and_swap) {
    pid_t children[PROCESSES];
    const lease_backend b = make(1);
    lease_record record = record_of("x");
    record.lease_transitions = 0;
    CHECK_STATUS(create(&b, "a", &record), LEASE_OK);
    for (int i = 0; i < PROCESSES; i++) {
        children[i] = fork();
        if (children[i] == 0) _exit(count_up(ROUNDS, false));
    }
    for (int i = 0; i < PROCESSES; i++) {
        int status = -1;
        CHECK_INT(waitpid(children[i], &status, 0), children[i]);
        CHECK_INT(status, 0);
    }
    CHECK_STATUS(get(&b, "ns", "a"), LEASE_OK);
    CHECK_INT(out.lease_transitions, PROCESSES * ROUNDS);
}

TEST(of_processes_that_create_one_succeeds) {
    pid_t children[PROCESSES];
    int created = 0;
    const lease_backend b = make(1);
    for (int i = 0; i < PROCESSES; i++) {
        children[i] = fork();
        if (children[i] == 0) {
            const lease_record record = record_of("x");
            const lease_status status = create(&b, "a", &record);
            _exit(status == LEASE_OK ? 1 : status == LEASE_ALREADY_EXISTS ? 2 : 3);
        }
    }
    for (int i = 0; i < PROCESSES; i++) {
        int status = -1;
        CHECK_INT(waitpid(children[i], &status, 0), children[i]);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) != 3);
        created += WEXITSTATUS(status) == 1;
    }
    CHECK_INT(created, 1);
}

/* Wherever kill -9 hits a writer: the old record or the new one is there, and no lock stays. */
TEST(a_killed_writer_leaves_a_whole_record) {
    const lease_backend b = make(1);
    lease_record record = record_of("x");
    record.lease_transitions = 0;
    CHECK_STATUS(create(&b, "a", &record), LEASE_OK);
    int32_t last = 0;
    for (int i = 0; i < 40; i++) {
        const pid_t child = fork();
        if (child == 0) _exit(count_up(0, true));
        const int32_t start = last;
        const int64_t end = lease__boot_now().ms + 20000;
        while (last <= start + i % 5 && lease__boot_now().ms < end) { /* it is at work */
            CHECK_STATUS(get(&b, "ns", "a"), LEASE_OK);
            last = out.lease_transitions;
        }
        CHECK_INT(kill(child, SIGKILL), 0);
        CHECK_INT(waitpid(child, NULL, 0), child);
        CHECK_STATUS(get(&b, "ns", "a"), LEASE_OK);
        CHECK(out.lease_transitions >= last);
        CHECK_STR(out.holder_identity, "x");
        record = out;
        record.lease_transitions++;
        CHECK_STATUS(update(&b, "a", &record), LEASE_OK);
        last = out.lease_transitions;
    }
}

/* What a writer that was killed between write and rename has left does not matter. */
TEST(leftovers_do_not_matter) {
    const lease_backend b = make(1);
    lease_record record = record_of("x");
    CHECK_STATUS(create(&b, "a", &record), LEASE_OK);
    record = out;
    files_write("ns.a.new", "{\"half\":");
    CHECK_STATUS(get(&b, "ns", "a"), LEASE_OK);
    CHECK_STATUS(update(&b, "a", &record), LEASE_OK);
    CHECK_STATUS(get(&b, "ns", "a"), LEASE_OK);
    CHECK(access(files_path("ns.a.new"), F_OK) != 0);
    files_end();
}
