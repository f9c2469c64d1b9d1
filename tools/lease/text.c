/* text.c -- bounded text, JSON strings, times and durations. */
#include "tool.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

struct text text_in(char *bytes, size_t capacity)
{
    bytes[0] = '\0';
    return (struct text){.bytes = bytes, .capacity = capacity};
}

void text_add(struct text *text, const char *format, ...)
{
    size_t room = text->capacity - text->length;
    va_list arguments;
    va_start(arguments, format);
    int needed = vsnprintf(text->bytes + text->length, room, format, arguments);
    va_end(arguments);
    if (needed < 0 || (size_t)needed >= room) {
        text->bytes[text->length] = '\0';
        text->cut = true;
        return;
    }
    text->length += (size_t)needed;
}

/* The length of the UTF-8 sequence at bytes (terminated), 0 = not one. Overlong forms, surrogates
 * and values above U+10FFFF are refused by the bounds of the second byte (RFC 3629 section 4). */
static size_t utf8_length(const unsigned char *bytes)
{
    unsigned char lead = bytes[0];
    if (lead < 0x80) return 1;
    size_t length = lead >= 0xc2 && lead <= 0xdf ? 2 : lead >= 0xe0 && lead <= 0xef ? 3
                  : lead >= 0xf0 && lead <= 0xf4 ? 4 : 0;
    if (length == 0) return 0;
    unsigned char low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
    unsigned char high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
    if (bytes[1] < low || bytes[1] > high) return 0;
    for (size_t i = 2; i < length; i++) {
        if ((bytes[i] & 0xc0) != 0x80) return 0;
    }
    return length;
}

static void add_json_character(struct text *text, const unsigned char *at, size_t length)
{
    if (length == 0) {
        text_add(text, "\\ufffd");
    } else if (*at == '"' || *at == '\\') {
        text_add(text, "\\%c", *at);
    } else if (*at < 0x20 || *at == 0x7f) {
        text_add(text, "\\u%04x", (unsigned)*at);
    } else {
        text_add(text, "%.*s", (int)length, (const char *)at);
    }
}

void text_add_json(struct text *text, const char *string)
{
    const unsigned char *at = (const unsigned char *)string;
    text_add(text, "\"");
    while (*at != '\0') {
        size_t length = utf8_length(at);
        add_json_character(text, at, length);
        at += length == 0 ? 1 : length;
    }
    text_add(text, "\"");
}

void text_add_plain(struct text *text, const char *string)
{
    const unsigned char *at = (const unsigned char *)string;
    while (*at != '\0') {
        size_t length = utf8_length(at);
        /* C2 80 to C2 9F are the C1 control characters, which some terminals obey. */
        bool control = *at < 0x20 || *at == 0x7f || (length == 2 && *at == 0xc2 && at[1] < 0xa0);
        if (length == 0 || control) {
            text_add(text, "?");
        } else {
            text_add(text, "%.*s", (int)length, (const char *)at);
        }
        at += length == 0 ? 1 : length;
    }
}

void text_add_time(struct text *text, int64_t unix_us)
{
    int64_t micros = unix_us % 1000000;
    if (micros < 0) micros += 1000000;
    time_t seconds = (time_t)((unix_us - micros) / 1000000);
    struct tm parts;
    if (gmtime_r(&seconds, &parts) == NULL) {
        text_add(text, "0000-00-00T00:00:00.000000Z");
        return;
    }
    text_add(text, "%04d-%02d-%02dT%02d:%02d:%02d.%06dZ", parts.tm_year + 1900, parts.tm_mon + 1,
             parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec, (int)micros);
}

void text_add_duration(struct text *text, int64_t duration_ms)
{
    int64_t hours = duration_ms / 3600000;
    int64_t minutes = duration_ms / 60000 % 60;
    int seconds = (int)(duration_ms / 1000 % 60);
    int millis = (int)(duration_ms % 1000);
    if (hours > 0) text_add(text, "%lldh", (long long)hours);
    if (minutes > 0) text_add(text, "%lldm", (long long)minutes);
    if (duration_ms > 0 && duration_ms < 1000) {
        text_add(text, "%dms", millis);
    } else if (millis % 100 != 0) {
        text_add(text, "%d.%03ds", seconds, millis);
    } else if (millis != 0) {
        text_add(text, "%d.%ds", seconds, millis / 100);
    } else if (seconds != 0 || duration_ms == 0) {
        text_add(text, "%ds", seconds);
    }
}

/* The longest duration: what fits the int32_t of lease_desc. */
#define LONGEST_NS ((int64_t)INT32_MAX * 1000000)

/* Reads "1.5" of "1.5s" in units of unit_ns; false = too long. */
static bool add_number(const char *digits, size_t length, int64_t unit_ns, int64_t *total_ns)
{
    int64_t whole = 0;
    size_t i = 0;
    for (; i < length && digits[i] != '.'; i++) {
        whole = whole * 10 + (digits[i] - '0');
        if (whole > LONGEST_NS / unit_ns) return false;
    }
    int64_t part_ns = unit_ns;
    int64_t fraction_ns = 0;
    for (i++; i < length; i++) {
        /* Below a nanosecond nothing is left to add, as in Go. */
        part_ns /= 10;
        fraction_ns += part_ns * (digits[i] - '0');
    }
    *total_ns += whole * unit_ns + fraction_ns;
    return *total_ns <= LONGEST_NS;
}

static size_t unit_at(const char *at, int64_t *unit_ns)
{
    static const struct {
        const char *name;
        int64_t ns;
    } units[] = {{"ns", 1},           {"us", 1000},         {"\xc2\xb5s", 1000},
                 {"\xce\xbcs", 1000}, {"ms", 1000000},      {"s", 1000000000},
                 {"m", 60000000000},  {"h", 3600000000000}};
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        size_t length = strlen(units[i].name);
        if (strncmp(at, units[i].name, length) == 0) {
            *unit_ns = units[i].ns;
            return length;
        }
    }
    return 0;
}

const char *text_parse_duration(const char *string, int64_t *duration_ms)
{
    static const char *const wrong = "is not a duration such as 15s, 1500ms or 1m30s";
    const char *at = string;
    int64_t total_ns = 0;
    if (*at == '\0') return wrong;
    while (*at != '\0') {
        size_t whole = strspn(at, "0123456789");
        size_t length = whole;
        if (at[length] == '.') length += 1 + strspn(at + length + 1, "0123456789");
        if (length == 0 || (length == 1 && whole == 0)) return wrong;
        int64_t unit_ns = 0;
        size_t unit_length = unit_at(at + length, &unit_ns);
        if (unit_length == 0) {
            return at[length] == '\0' ? "is a number without a unit; write 15s, 1500ms or 1m30s"
                                      : wrong;
        }
        if (!add_number(at, length, unit_ns, &total_ns)) return "is longer than 596h";
        at += length + unit_length;
    }
    if (total_ns % 1000000 != 0) return "is finer than a millisecond";
    *duration_ms = total_ns / 1000000;
    return NULL;
}

static int64_t clock_ns(clockid_t clock)
{
    struct timespec time;
    clock_gettime(clock, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

int64_t now_ns(void)
{
    return clock_ns(CLOCK_BOOTTIME);
}

int64_t now_ms(void)
{
    return now_ns() / 1000000;
}

int64_t wall_us(void)
{
    return clock_ns(CLOCK_REALTIME) / 1000;
}
