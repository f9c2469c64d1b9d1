/* >>time: the two clocks and the text form of wall time. */
#define LEASE_IMPLEMENTATION
#include "lease.h"

#include "../test.h"

#define US INT64_C(1000000)

static const char *printed(int64_t us) {
    static char text[64];
    lease__buf buf = lease__buf_make(text, sizeof text);
    lease__put_time(&buf, us);
    return text;
}

/* Both ways: what is printed for us, and what that text means. */
static const struct {
    int64_t us;
    const char *text;
} both_ways[] = {
    {0, "1970-01-01T00:00:00.000000Z"},
    {1, "1970-01-01T00:00:00.000001Z"},
    {999999, "1970-01-01T00:00:00.999999Z"},
    {86399 * US, "1970-01-01T23:59:59.000000Z"},
    {86400 * US, "1970-01-02T00:00:00.000000Z"},
    {68169599 * US, "1972-02-28T23:59:59.000000Z"},
    {68169600 * US, "1972-02-29T00:00:00.000000Z"},
    {68256000 * US, "1972-03-01T00:00:00.000000Z"},
    {951782399 * US, "2000-02-28T23:59:59.000000Z"},
    {951782400 * US, "2000-02-29T00:00:00.000000Z"},
    {951868800 * US, "2000-03-01T00:00:00.000000Z"},
    {978307199 * US + 999999, "2000-12-31T23:59:59.999999Z"},
    {1709164800 * US, "2024-02-29T00:00:00.000000Z"},
    {2147483647 * US, "2038-01-19T03:14:07.000000Z"},
    {2147483648 * US, "2038-01-19T03:14:08.000000Z"},
    {4107542399 * US, "2100-02-28T23:59:59.000000Z"},
    {4107542400 * US, "2100-03-01T00:00:00.000000Z"},
    {INT64_C(13574563200) * US, "2400-02-29T00:00:00.000000Z"},
    {INT64_C(253402300799) * US + 999999, "9999-12-31T23:59:59.999999Z"},
};

TEST(micro_time_both_ways) {
    for (size_t i = 0; i < LEASE__COUNT(both_ways); i++) {
        int64_t us = -1;
        CASE("%s", both_ways[i].text);
        CHECK_STR(printed(both_ways[i].us), both_ways[i].text);
        CHECK(lease__time_parse(both_ways[i].text, &us));
        CHECK_INT(us, both_ways[i].us);
    }
}

/* Times of other programs: any fraction, any zone. */
static const struct {
    const char *text;
    int64_t us;
} liberal[] = {
    {"2024-02-29T12:34:56Z", 1709210096 * US},
    {"2024-02-29T12:34:56z", 1709210096 * US},
    {"2024-02-29t12:34:56Z", 1709210096 * US},
    {"2024-02-29T12:34:56.1Z", 1709210096 * US + 100000},
    {"2024-02-29T12:34:56.12Z", 1709210096 * US + 120000},
    {"2024-02-29T12:34:56.123Z", 1709210096 * US + 123000},
    {"2024-02-29T12:34:56.1234567Z", 1709210096 * US + 123456},
    {"2024-02-29T12:34:56.999999999Z", 1709210096 * US + 999999},
    {"2024-02-29T12:34:56.000000001Z", 1709210096 * US},
    {"2024-02-29T14:34:56+02:00", 1709210096 * US},
    {"2024-02-29T05:04:56-07:30", 1709210096 * US},
    {"2024-03-01T12:33:56.5+23:59", 1709210096 * US + 500000},
    {"2024-02-29T12:34:56+00:00", 1709210096 * US},
    {"2024-02-29T12:34:56-00:00", 1709210096 * US},
    {"0001-01-01T00:00:00Z", INT64_C(-62135596800) * US},
    {"1969-12-31T23:59:59.999999Z", -1},
    {"2000-02-29T00:00:00Z", 951782400 * US},
};

TEST(times_of_others_are_read_liberally) {
    for (size_t i = 0; i < LEASE__COUNT(liberal); i++) {
        int64_t us = 0;
        CASE("%s", liberal[i].text);
        CHECK(lease__time_parse(liberal[i].text, &us));
        CHECK_INT(us, liberal[i].us);
    }
}

static const char *const refused[] = {
    "",
    "2024",
    "2024-02-29",
    "2024-02-29T12:34Z",
    "2024-02-29T12:34:56",
    "2024-02-29 12:34:56Z",
    "2024-02-29T12:34:56 Z",
    " 2024-02-29T12:34:56Z",
    "2024-02-29T12:34:56Z ",
    "2024-02-29T12:34:56ZZ",
    "2024-02-29T12:34:56.Z",
    "2024-02-29T12:34:56,5Z",
    "2024-02-29T12:34:56.1234567890Z",
    "2024-02-29T12:34:56.12345678901Z",
    "2024-02-29T12:34:56.-1Z",
    "2024-02-29T12:34:56+2:00",
    "2024-02-29T12:34:56+0200",
    "2024-02-29T12:34:56+02",
    "2024-02-29T12:34:56+24:00",
    "2024-02-29T12:34:56+00:60",
    "2024-02-29T12:34:56+02:00Z",
    "0000-01-01T00:00:00Z",
    "-001-01-01T00:00:00Z",
    "+2024-02-29T12:34:56Z",
    "12024-02-29T12:34:56Z",
    "2024-00-01T00:00:00Z",
    "2024-13-01T00:00:00Z",
    "2024-01-00T00:00:00Z",
    "2024-01-32T00:00:00Z",
    "2024-04-31T00:00:00Z",
    "2024-06-31T00:00:00Z",
    "2024-09-31T00:00:00Z",
    "2024-11-31T00:00:00Z",
    "2023-02-29T00:00:00Z",
    "1900-02-29T00:00:00Z",
    "2100-02-29T00:00:00Z",
    "2024-02-30T00:00:00Z",
    "2024-02-29T24:00:00Z",
    "2024-02-29T12:60:00Z",
    "2024-02-29T12:34:60Z",
    "2016-12-31T23:59:60Z",
    "2024-2-29T12:34:56Z",
    "2024-02-29T1:34:56Z",
    "2024-0a-29T12:34:56Z",
    "2024-02-29T12-34-56Z",
    "2024/02/29T12:34:56Z",
    "\xd9\xa2\xd9\xa0-02-29T12:34:56Z",
    "null",
};

TEST(times_refused) {
    for (size_t i = 0; i < LEASE__COUNT(refused); i++) {
        int64_t us = 77;
        CASE("\"%s\"", refused[i]);
        CHECK(!lease__time_parse(refused[i], &us));
        CHECK_INT(us, 77);
    }
}

TEST(every_truncation_is_refused) {
    const char *whole = "2024-02-29T12:34:56.123456+02:00";
    for (size_t length = 0; length < strlen(whole); length++) {
        char text[40];
        int64_t us = 0;
        memcpy(text, whole, length);
        text[length] = '\0';
        CASE("%s", text);
        CHECK(!lease__time_parse(text, &us));
    }
}

/* Times that cannot be written are moved to the nearest one that can. */
TEST(printing_clamps) {
    CHECK_STR(printed(-1), "1970-01-01T00:00:00.000000Z");
    CHECK_STR(printed(INT64_MIN), "1970-01-01T00:00:00.000000Z");
    CHECK_STR(printed(INT64_C(253402300800) * US), "9999-12-31T23:59:59.999999Z");
    CHECK_STR(printed(INT64_MAX), "9999-12-31T23:59:59.999999Z");
}

TEST(round_trip_over_many_values) {
    uint64_t state = 1;
    int bad = 0;
    for (int i = 0; i < 100000; i++) {
        state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        const int64_t us = (int64_t)((state >> 11) % (UINT64_C(253402300800) * 1000000));
        int64_t back = -1;
        if (!lease__time_parse(printed(us), &back) || back != us) bad++;
    }
    CHECK_INT(bad, 0);
}

TEST(round_trip_over_every_day_of_two_centuries) {
    int bad = 0;
    const char *last = "";
    char before[64] = "";
    for (int64_t day = 0; day < 73050; day++) {
        int64_t back = -1;
        last = printed(day * 86400 * US);
        if (!lease__time_parse(last, &back) || back != day * 86400 * US) bad++;
        if (strcmp(last, before) <= 0) bad++; /* the text sorts as the time does */
        memcpy(before, last, strlen(last) + 1);
    }
    CHECK_INT(bad, 0);
    CHECK_STR(last, "2170-01-01T00:00:00.000000Z");
}

/* As far as it goes there: seconds of 32 bits end in 2038. */
TEST(the_calendar_agrees_with_libc) {
    const int64_t end = sizeof(time_t) > 4 ? INT64_C(4294967296) : INT32_MAX;
    int bad = 0;
    for (int64_t s = 0; s < end; s += 7654321) {
        const time_t seconds = (time_t)s;
        struct tm date;
        char text[64];
        gmtime_r(&seconds, &date);
        strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S.000000Z", &date);
        if (!lease__same(text, printed(s * US))) bad++;
    }
    CHECK_INT(bad, 0);
}

TEST(clocks_run_forward) {
    const lease__boot boot = lease__boot_now();
    const lease__wall wall = lease__wall_now();
    struct timespec now;
    clock_gettime(CLOCK_BOOTTIME, &now);
    CHECK(boot.ms <= (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000);
    CHECK(boot.ms > 0);
    clock_gettime(CLOCK_REALTIME, &now);
    CHECK(wall.us > ((int64_t)now.tv_sec - 60) * US);
    CHECK(lease__boot_now().ms >= boot.ms);
}
