/* >>base: status texts, errors, bounded text, small files, randomness, the latch. */
#define LEASE_IMPLEMENTATION
#include "lease.h"

#include "../test.h"

/* -- Status texts ------------------------------------------------------------------------------ */

static const struct {
    lease_status status;
    int value;
    const char *constant;
    const char *name;
} statuses[] = {
#define ROW(name, lower, value, text) {LEASE_##name, value, #name, #lower},
    LEASE_STATUS_LIST(ROW)
#undef ROW
};

TEST(every_status_has_name_and_text) {
    for (size_t i = 0; i < LEASE__COUNT(statuses); i++) {
        const char *text = lease_status_text(statuses[i].status);
        char lower[64] = "";
        CASE("%s", statuses[i].constant);
        for (size_t c = 0; statuses[i].constant[c] != '\0'; c++) {
            const char upper = statuses[i].constant[c];
            lower[c] = upper >= 'A' && upper <= 'Z' ? (char)(upper - 'A' + 'a') : upper;
        }
        CHECK_STR(lease_status_name(statuses[i].status), lower);
        CHECK(strlen(text) > 1 && strlen(text) < sizeof((lease_error *)0)->message);
        CHECK_INT(statuses[i].status, statuses[i].value);
        CHECK(statuses[i].value == 0 ? i == 0 : statuses[i].value < 0);
        for (size_t j = 0; j < i; j++) {
            CHECK(statuses[j].value != statuses[i].value);
            CHECK(strcmp(lease_status_text(statuses[j].status), text) != 0);
        }
    }
}

TEST(an_unknown_status_has_a_name_too) {
    CHECK_STR(lease_status_name((lease_status)-9999), "unknown");
    CHECK_STR(lease_status_text((lease_status)1), "unknown status");
}

TEST(version) {
    char text[32];
    snprintf(text, sizeof text, "%d.%d.%d", LEASE_VERSION_MAJOR, LEASE_VERSION_MINOR,
             LEASE_VERSION_PATCH);
    CHECK_STR(lease_version(), text);
    CHECK_STR(LEASE_VERSION_STRING, text);
}

/* -- Errors ------------------------------------------------------------------------------------ */

TEST(an_error_is_filled_whole) {
    lease_error error;
    memset(&error, 0x55, sizeof error);
    CHECK_STATUS(lease__fail(&error, LEASE_TLS, LEASE_STAGE_TLS, "a", "", "bc", LEASE__END),
                 LEASE_TLS);
    CHECK_STATUS(error.status, LEASE_TLS);
    CHECK_INT(error.stage, LEASE_STAGE_TLS);
    CHECK_INT(error.http_status, 0);
    CHECK_INT(error.tls_code, 0);
    CHECK_INT(error.sys_errno, 0);
    CHECK_STR(error.message, "abc");
    CHECK_STATUS(lease__fail(NULL, LEASE_LIMIT, LEASE_STAGE_CONFIG, "x", LEASE__END), LEASE_LIMIT);
}

TEST(a_long_message_is_cut_and_terminated) {
    lease_error error;
    char text[600];
    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = '\0';
    lease__fail(&error, LEASE_HTTP, LEASE_STAGE_EXCHANGE, text, text, LEASE__END);
    CHECK_INT(strlen(error.message), sizeof error.message - 1);
}

TEST(a_failed_call_is_named_with_its_reason) {
    lease_error error;
    errno = EACCES;
    CHECK_STATUS(lease__fail_errno(&error, LEASE_SYSTEM, LEASE_STAGE_CONNECT, "open ", "/x"),
                 LEASE_SYSTEM);
    CHECK_INT(error.sys_errno, EACCES);
    CHECK_STR(error.message, "open /x: Permission denied");
    CHECK_STATUS(lease__fail_errno(NULL, LEASE_SYSTEM, LEASE_STAGE_CONNECT, "a", "b"),
                 LEASE_SYSTEM);
}

TEST(shown_text_has_no_control_characters) {
    char out[64];
    lease__buf buf = lease__buf_make(out, sizeof out);
    lease__put_shown(&buf, "a\x1b[31m\r\nb\x7f\0c\xc3\xa9", 13, 100);
    CHECK_STR(out, "a?[31m??b??c\xc3");
    buf = lease__buf_make(out, sizeof out);
    lease__put_shown(&buf, "0123456789", 10, 4);
    CHECK_STR(out, "0123...");
    buf = lease__buf_make(out, sizeof out);
    lease__put_shown(&buf, "0123", 4, 4);
    CHECK_STR(out, "0123");
}

/* -- Bounded text ------------------------------------------------------------------------------ */

TEST(a_buffer_measures_beyond_its_end) {
    for (size_t capacity = 0; capacity <= 12; capacity++) {
        char out[16];
        memset(out, '#', sizeof out);
        CASE("capacity %zu", capacity);
        lease__buf buf = lease__buf_make(out, capacity);
        lease__put(&buf, "hello");
        lease__put(&buf, "");
        lease__put_bytes(&buf, "world", 5);
        CHECK_INT(buf.length, 10);
        CHECK_INT(lease__buf_full(&buf), capacity < 11);
        for (size_t i = capacity; i < sizeof out; i++) CHECK_INT(out[i], '#');
        if (capacity == 0) continue;
        const size_t fits = capacity - 1 < 10 ? capacity - 1 : 10;
        CHECK(memcmp(out, "helloworld", fits) == 0);
        CHECK_INT(out[fits], '\0');
    }
    lease__buf nothing = lease__buf_make(NULL, 0);
    lease__put(&nothing, "abc");
    CHECK_INT(nothing.length, 3);
}

static const char *number(int64_t value) {
    static char out[32];
    lease__buf buf = lease__buf_make(out, sizeof out);
    lease__put_i64(&buf, value);
    return out;
}

TEST(numbers) {
    static const int64_t values[] = {0, 1, -1, 9, 10, -10, 99, 100, INT32_MAX, INT32_MIN,
                                     INT64_MAX, INT64_MIN};
    for (size_t i = 0; i < LEASE__COUNT(values); i++) {
        char want[32];
        snprintf(want, sizeof want, "%" PRId64, values[i]);
        CHECK_STR(number(values[i]), want);
    }
    char out[32];
    lease__buf buf = lease__buf_make(out, sizeof out);
    lease__put_u64(&buf, UINT64_MAX);
    lease__put(&buf, " ");
    lease__put_padded(&buf, 7, 3);
    lease__put_padded(&buf, 0, 2);
    CHECK_STR(out, "18446744073709551615 00700");
}

TEST(tokens_are_canonical_numbers) {
    static const struct {
        const char *text;
        uint64_t value;
    } rows[] = {{"1", 1}, {"10", 10}, {"18446744073709551615", UINT64_MAX},
                {"18446744073709551616", 0}, {"18446744073709551620", 0},
                {"99999999999999999999", 0}, {"", 0}, {"0", 0}, {"00", 0}, {"01", 0}, {"-1", 0},
                {"+1", 0}, {"1 ", 0}, {" 1", 0}, {"1e3", 0}, {"0x1", 0}, {"1.0", 0}};
    for (size_t i = 0; i < LEASE__COUNT(rows); i++) {
        CASE("\"%s\"", rows[i].text);
        CHECK(lease__parse_u64(rows[i].text) == rows[i].value);
    }
}

TEST(a_copy_fits_or_is_empty) {
    char out[4] = "xyz";
    CHECK(lease__copy(out, sizeof out, "abc"));
    CHECK_STR(out, "abc");
    CHECK(!lease__copy(out, sizeof out, "abcd"));
    CHECK_STR(out, "");
    CHECK(lease__copy(out, 1, ""));
    CHECK(!lease__copy(out, 1, "a"));
}

TEST(uuids_are_version_4) {
    unsigned char random[16];
    char out[64];
    char first[64] = "";
    for (int n = 0; n < 100; n++) {
        CHECK(lease__random_bytes(random, sizeof random));
        lease__buf buf = lease__buf_make(out, sizeof out);
        lease__put_uuid(&buf, random);
        CHECK_INT(strlen(out), 36);
        CHECK_INT(strspn(out, "0123456789abcdef-"), 36);
        CHECK(out[8] == '-' && out[13] == '-' && out[18] == '-' && out[23] == '-');
        CHECK_INT(out[14], '4');
        CHECK(strchr("89ab", out[19]) != NULL);
        CHECK(strcmp(out, first) != 0);
        memcpy(first, out, sizeof first);
    }
}

TEST(wiping_leaves_zeros) {
    char secret[32];
    memset(secret, 'x', sizeof secret);
    lease__wipe(secret, sizeof secret);
    for (size_t i = 0; i < sizeof secret; i++) CHECK_INT(secret[i], 0);
}

/* -- Small files ------------------------------------------------------------------------------- */

static char directory[64];
static char path[128];

static const char *file(const char *name, const char *bytes, size_t count) {
    snprintf(path, sizeof path, "%s/%s", directory, name);
    FILE *out = fopen(path, "w");
    if (out != NULL) {
        fwrite(bytes, 1, count, out);
        fclose(out);
    }
    return path;
}

static lease_status read_status(const char *name, size_t capacity, char *out, size_t *length,
                                lease_error *error) {
    memset(out, '#', 64);
    return lease__read_file(name, out, capacity, length, LEASE_BAD_TOKEN, error);
}

static void check_unreadable(const char *what, const char *name, size_t capacity,
                             const char *message) {
    char out[64];
    size_t length = 99;
    lease_error error;
    CASE("%s", what);
    CHECK_STATUS(read_status(name, capacity, out, &length, &error), LEASE_BAD_TOKEN);
    CHECK_INT(error.stage, LEASE_STAGE_CONFIG);
    CHECK(strstr(error.message, message) != NULL);
    CHECK(strstr(error.message, name) != NULL);
    CHECK_INT(out[capacity < 64 ? capacity : 63], '#');
    CHECK_STATUS(read_status(name, capacity, out, &length, NULL), LEASE_BAD_TOKEN);
}

static void remove_all(void) {
    char command[96];
    snprintf(command, sizeof command, "rm -rf %s", directory);
    if (system(command) != 0) printf("(cannot remove %s)\n", directory);
}

TEST(small_files) {
    char out[64];
    size_t length = 0;
    snprintf(directory, sizeof directory, "/tmp/lease-test-XXXXXX");
    if (!CHECK(mkdtemp(directory) != NULL)) return;
    CASE("a good file");
    CHECK_STATUS(read_status(file("good", "hello\n", 6), 8, out, &length, NULL), LEASE_OK);
    CHECK_INT(length, 6);
    CHECK_STR(out, "hello\n");
    CASE("just small enough");
    CHECK_STATUS(read_status(path, 7, out, &length, NULL), LEASE_OK);
    CHECK_STR(out, "hello\n");
    check_unreadable("too large by one", path, 6, "is too large");
    check_unreadable("empty", file("empty", "", 0), 8, "is empty");
    check_unreadable("a NUL byte", file("nul", "a\0b", 3), 8, "holds a NUL byte");
    check_unreadable("a directory", directory, 8, "is not a regular file");
    check_unreadable("a device", "/dev/null", 8, "is not a regular file");
    snprintf(path, sizeof path, "%s/fifo", directory);
    CHECK_INT(mkfifo(path, 0600), 0);
    check_unreadable("a FIFO, which must not block", path, 8, "is not a regular file");
    snprintf(path, sizeof path, "%s/absent", directory);
    check_unreadable("an absent file", path, 8, "No such file");
    snprintf(path, sizeof path, "%s/good/below", directory);
    check_unreadable("below a file", path, 8, "Not a directory");
    snprintf(path, sizeof path, "%s/link", directory);
    CHECK_INT(symlink("good", path), 0);
    CASE("a symbolic link to a good file");
    CHECK_STATUS(read_status(path, 8, out, &length, NULL), LEASE_OK);
    CHECK_STR(out, "hello\n");
    const int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    CHECK(fd >= 0 && fd < 10); /* no descriptor was left open above */
    close(fd);
    remove_all();
}

/* -- The latch --------------------------------------------------------------------------------- */

TEST(a_latch_gives_back_the_last_value) {
    static lease__latch latch;
    char in[512];
    char out[512];
    for (size_t count = 1; count <= sizeof in; count++) {
        memset(in, (int)('a' + count % 26), count);
        memset(out, 0, sizeof out);
        lease__latch_write(&latch, in, count);
        lease__latch_read(&latch, out, count);
        CHECK(memcmp(in, out, count) == 0);
        lease__latch_read(&latch, out, (count + 1) / 2); /* the head of it */
        CHECK(memcmp(in, out, (count + 1) / 2) == 0);
    }
}

#define WORDS 16
static lease__latch shared;
static int stop; /* atomic */
static int torn; /* atomic */

static void *read_latch(void *argument) {
    uint64_t last = 0;
    (void)argument;
    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
        uint64_t value[WORDS];
        lease__latch_read(&shared, value, sizeof value);
        for (size_t i = 1; i < WORDS; i++) {
            if (value[i] != value[0] * (i + 1)) __atomic_add_fetch(&torn, 1, __ATOMIC_RELAXED);
        }
        if (value[0] < last) __atomic_add_fetch(&torn, 1, __ATOMIC_RELAXED);
        last = value[0];
    }
    return NULL;
}

TEST(a_latch_is_never_seen_half_written) {
    pthread_t threads[3];
    for (size_t i = 0; i < LEASE__COUNT(threads); i++) {
        CHECK_INT(pthread_create(&threads[i], NULL, read_latch, NULL), 0);
    }
    for (uint64_t n = 1; n <= 100000; n++) {
        uint64_t value[WORDS];
        for (size_t i = 0; i < WORDS; i++) value[i] = n * (i + 1);
        lease__latch_write(&shared, value, sizeof value);
    }
    __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
    for (size_t i = 0; i < LEASE__COUNT(threads); i++) pthread_join(threads[i], NULL);
    CHECK_INT(torn, 0);
}

/* A signal handler that interrupts the writer must get an answer, and a whole one. */
static void read_in_handler(int number_of_signal) {
    uint64_t value[WORDS];
    (void)number_of_signal;
    lease__latch_read(&shared, value, sizeof value);
    for (size_t i = 1; i < WORDS; i++) {
        if (value[i] != value[0] * (i + 1)) torn++;
    }
    stop++;
}

TEST(a_latch_may_be_read_in_a_signal_handler) {
    struct sigaction action;
    timer_t timer;
    struct sigevent event;
    const struct itimerspec every = {{0, 50000}, {0, 50000}};
    memset(&action, 0, sizeof action);
    memset(&event, 0, sizeof event);
    action.sa_handler = read_in_handler;
    action.sa_flags = SA_RESTART;
    sigaction(SIGUSR1, &action, NULL);
    event.sigev_notify = SIGEV_SIGNAL;
    event.sigev_signo = SIGUSR1;
    stop = torn = 0;
    CHECK_INT(timer_create(CLOCK_MONOTONIC, &event, &timer), 0);
    CHECK_INT(timer_settime(timer, 0, &every, NULL), 0);
    for (uint64_t n = 1; __atomic_load_n(&stop, __ATOMIC_RELAXED) < 200; n++) {
        uint64_t value[WORDS];
        for (size_t i = 0; i < WORDS; i++) value[i] = n * (i + 1);
        lease__latch_write(&shared, value, sizeof value);
    }
    timer_delete(timer);
    signal(SIGUSR1, SIG_IGN);
    CHECK_INT(torn, 0);
}
