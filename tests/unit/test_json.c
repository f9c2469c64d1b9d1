/* >>json: what is refused, what is read, what is written. The tables follow the ideas of
 * JSONTestSuite (n_ must be refused, y_ must be taken); every text is our own. */
#define LEASE_IMPLEMENTATION
#include "lease.h"

#include "../test.h"

static jsmntok_t tokens[LEASE_MAX_JSON_TOKENS];

/* A text whose length counts, since it may hold NUL bytes. */
typedef struct sample {
    const char *text;
    size_t length;
} sample;
#define S(literal) {literal, sizeof(literal) - 1}

/* The text in memory of exactly its size, so that a read behind it is seen by a sanitizer. */
static bool valid(const char *text, size_t length) {
    char *copy = (char *)malloc(length != 0 ? length : 1);
    memcpy(copy, text, length);
    const bool result = lease__json_is_valid(copy, length, LEASE_MAX_JSON_TOKENS);
    free(copy);
    return result;
}

static lease__json parse(const char *text) {
    lease__json json;
    test__check(lease__json_parse(&json, tokens, text, strlen(text)), __FILE__, __LINE__,
                "not taken: %s", text);
    return json;
}

static const sample refused_structure[] = {
    S(""), S(" "), S("\n"), S("["), S("]"), S("{"), S("}"), S("[[["), S("]["), S("{]"), S("[}"),
    S("[1,]"), S("[,1]"), S("[1,,2]"), S("[,]"), S("[1 2]"), S("[1;2]"), S("[1"), S("[1,"),
    S("[\"a\""), S("[\"a"), S("[\"a\","), S("[1]]"), S("[1]x"), S("[1]1"), S("[1][2]"), S("[] []"),
    S("{}{}"), S("{} {}"), S("{}x"), S("{}}"), S("{\"a\":1}}"), S("[{}"), S("[{]}"), S("{[}]"),
    S("{\"a\"}"), S("{\"a\":}"), S("{\"a\"::1}"), S("{\"a\":::1}"), S("{:1}"), S("{,}"),
    S("{\"a\":1,}"), S("{\"a\":1,,\"b\":2}"), S("{\"a\" 1}"), S("{\"a\",1}"),
    S("{\"a\":1 \"b\":2}"),
    S("{\"a\":1;\"b\":2}"), S("{\"a\":\"v\":\"w\"}"), S("{a:1}"), S("{'a':1}"), S("{1:1}"),
    S("{null:1}"), S("{true:1}"), S("{[]:1}"), S("{{}:1}"), S("{\"a\":1,\"b\"}"),
    S("{\"a\":1,\"b\":}"),
    S("[\"a\":1]"), S(":"), S(","), S("[:]"), S("{\"a\":1"), S("{\"a\":1,"), S("{\"a\""),
    S("{\"a\":"),
    S("{\"a\":/* c */1}"), S("{} // c"), S("/* c */{}"), S("# c\n{}"), S("*"), S("<a/>"),
    S("[1,\n1\n,1"), S("[\"\": 1]"), S("[a]"), S("a"), S("{\"a\":a}"), S("\xEF\xBB\xBF{}"),
    S("[1]\xE2\x81\xA0"), S("{}\0"), S("{\"a\":1}\0{\"evil\":2}"), S("\0{}"), S("[\0]"), S("{\0}"),
    S("[1\0,2]"), S("{}\f"), S("\v{}"), S("{\"a\":1}\x0c"), S("[\f1]"), S("\xA0{}"), S("[\x85]"),
    S("{\"a\":1}#"), S("{\"a\":1}/**/"), S("[1]\xff"), S("'a'"), S("`a`"), S("()"), S("[(1)]"),
};

static const sample refused_words[] = {
    S("nul"), S("nulll"), S("truest"), S("tru"), S("True"), S("TRUE"), S("fals"), S("falsey"),
    S("[nul]"), S("[tru]"), S("[fals]"), S("[nullx]"), S("[true1]"), S("[NULL]"), S("[None]"),
    S("[undefined]"), S("[NaN]"), S("[Infinity]"), S("[-Infinity]"), S("[-NaN]"), S("[inf]"),
    S("{\"a\":nul}"), S("{\"a\":truetrue}"), S("{\"a\":true\"b\":1}"), S("[true false]"),
    S("[\xEF\xBC\x91]"), S("[n]"), S("[t]"), S("[f]"), S("[nu\0l]"),
};

static const sample refused_numbers[] = {
    S("01"), S("-01"), S("00"), S("-"), S("+1"), S(".5"), S("-.5"), S("1."), S("-1."), S("1.e1"),
    S("1.2.3"), S("1.2.3e"), S("1e"), S("1E"), S("1e+"), S("1e-"), S("1e1.5"), S("1ee1"),
    S("1e+-1"), S("0x10"), S("0b1"), S("0o7"), S("1_000"), S("1,000x"), S("1 000"), S("1f"),
    S("1L"), S("--1"), S("-+1"), S("- 1"), S("1-"), S("1+1"), S("2.e3"), S("0.e1"), S("0e"),
    S("0e+"), S("[1a]"), S("[-a]"), S("[-]"), S("[01]"), S("[-012]"), S("[.1]"), S("[1.]"),
    S("[1e]"), S("[0x1]"), S("[1 000]"), S("[- 1]"), S("{\"a\":01}"), S("{\"a\":1.}"),
    S("{\"a\":+1}"), S("[0\0]"), S("[1\xE5]"), S("1e\xC2\xA0"), S("9.3e+?"), S("$1"),
};

static const sample refused_strings[] = {
    S("\""), S("\"a"), S("\"\\"), S("\"\\\""), S("\"\\\\\\\""), S("\"\\a\""), S("\"\\x41\""),
    S("\"\\0\""), S("\"\\'\""), S("\"\\ \""), S("\"\\U0041\""), S("\"\\u\""), S("\"\\u1\""),
    S("\"\\u12\""), S("\"\\u123\""), S("\"\\u123g\""), S("\"\\u 123\""), S("\"\\u-123\""),
    S("\"\\u+123\""), S("\"\\u0000\""), S("\"a\\u0000b\""), S("\"\\uD800\""), S("\"\\uDC00\""),
    S("\"\\uDFFF\""), S("\"\\uD800x\""), S("\"\\uD800\\n\""), S("\"\\uD800\\u\""),
    S("\"\\uD800\\u0041\""), S("\"\\uD800\\uD800\""), S("\"\\uDBFF\\uE000\""),
    S("\"\\uDC00\\uD800\""), S("\"\\uD800\\uDC0\""), S("\"\\uD83D\\uDE0\""), S("\"\\ud800\\\\\""),
    S("\"a\nb\""), S("\"a\tb\""), S("\"a\rb\""), S("\"a\0b\""), S("\"\x01\""), S("\"\x1f\""),
    S("\"\x80\""), S("\"\xBF\""), S("\"\xC0\x80\""), S("\"\xC1\xBF\""), S("\"\xC2\""),
    S("\"\xC2x\""), S("\"\xC2\xC2\""), S("\"\xE0\x80\x80\""), S("\"\xE0\x9F\xBF\""),
    S("\"\xE2\x82\""), S("\"\xE2\x82x\""), S("\"\xED\xA0\x80\""), S("\"\xED\xBF\xBF\""),
    S("\"\xF0\x80\x80\x80\""), S("\"\xF0\x8F\xBF\xBF\""), S("\"\xF0\x9F\x98\""),
    S("\"\xF4\x90\x80\x80\""), S("\"\xF5\x80\x80\x80\""), S("\"\xF8\x88\x80\x80\x80\""),
    S("\"\xFF\""), S("\"\xFE\""), S("\"\xC2"), S("\"\xE2\x82"), S("\"\xF0\x9F\x98"),
    S("{\"\\\":1}"),
    S("{\"a\\u0000\":1}"), S("{\"a\n\":1}"), S("{\"\xFF\":1}"), S("['a']"), S("[\"a' ]"),
    S("[\"a\\"), S("[\"\\u"),
    S("[\"\\u00"), S("[\"\\uD834\\"), S("[\"\\uD834\\u"), S("[\"\\uD834\\uDd"), S("\"a\"b"),
};

static const sample taken[] = {
    S("{}"), S("[]"), S(" {} "), S("\t\r\n [ ]\n"), S("{\"\":0}"), S("{\"a\":{}}"), S("[[]]"),
    S("[[],[[]],{}]"), S("[null,true,false]"), S("[0,-0,1,-1,10,1234567890123456789012345]"),
    S("[0.0,-0.0,0.5,1.25,123.456e78,1e1,1E1,1e+1,1e-1,0e0,0E+0,1e999,-1e-999]"),
    S("[1.0000000000000000000000000000000000001]"), S("[\"\"]"), S("[\"a\",\"b\"]"),
    S("[\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"]"), S("[\"\\u0041\\u00e9\\u20AC\\uD83D\\uDE00\"]"),
    S("[\"\\u0001\",\"\\u001f\",\"\\uFFFF\",\"\\uFFFE\",\"\\uE000\",\"\\uD7FF\"]"),
    S("[\"\\uDBFF\\uDFFF\"]"), S("[\"\\ud800\\udc00\"]"), S("[\"\\\\u0000\"]"), S("[\"\\\\n\"]"),
    S("[\"\x7F\"]"), S("[\"\xC2\x80\xDF\xBF\"]"), S("[\"\xE0\xA0\x80\xED\x9F\xBF\xEE\x80\x80\"]"),
    S("[\"\xF0\x90\x80\x80\xF4\x8F\xBF\xBF\"]"), S("[\"\xE2\x80\xA8\xE2\x80\xA9\"]"),
    S("[\"a/b\",\"'\",\"/* c */\",\"{}[]:,\"]"), S("{\"a\":1,\"b\":[1,{\"c\":null}],\"d\":\"e\"}"),
    S("{ \"a\" : 1 , \"b\" : 2 }"), S("{\"a\":1,\"a\":2}"), S("[1 ,2]"),
    S("[\n1\n,\n2\n]"), S("{\"\\u0061\":1}"), S("0"), S("-0"), S("1.5e3"), S("\"a\""), S("null"),
    S("true"), S("false"), S(" 1 "), S("\"\\u0022\""), S("[\"\xEF\xBB\xBF\"]"),
};

static void check_refused(const char *kind, const sample *list, size_t count) {
    for (size_t i = 0; i < count; i++) {
        CASE("%s %zu <%s>", kind, i, list[i].text);
        CHECK(!valid(list[i].text, list[i].length));
    }
}

TEST(refused_texts) {
    check_refused("structure", refused_structure, LEASE__COUNT(refused_structure));
    check_refused("word", refused_words, LEASE__COUNT(refused_words));
    check_refused("number", refused_numbers, LEASE__COUNT(refused_numbers));
    check_refused("string", refused_strings, LEASE__COUNT(refused_strings));
}

TEST(taken_texts) {
    for (size_t i = 0; i < LEASE__COUNT(taken); i++) {
        CASE("%zu <%s>", i, taken[i].text);
        CHECK(valid(taken[i].text, taken[i].length));
    }
}

/* What the scanner takes and begins with a bracket, jsmn must cut to the same number of tokens. */
TEST(jsmn_agrees_with_the_scanner) {
    for (size_t i = 0; i < LEASE__COUNT(taken); i++) {
        lease__json json;
        const char *first = taken[i].text + strspn(taken[i].text, " \t\r\n");
        if (*first != '{' && *first != '[') continue;
        CASE("%zu <%s>", i, taken[i].text);
        CHECK(lease__json_parse(&json, tokens, taken[i].text, taken[i].length));
        CHECK_INT(lease__json_after(&json, 0), json.count);
    }
}

TEST(control_characters_are_refused_in_strings) {
    for (int c = 0; c < 0x20; c++) {
        char text[] = "[\"a?b\"]";
        text[3] = (char)c;
        CASE("0x%02x", (unsigned)c);
        CHECK(!valid(text, sizeof text - 1));
    }
}

static const char good[] =
    "{\"kind\":\"Lease\",\"metadata\":{\"name\":\"a\",\"labels\":{\"x\":\"\\u00e9\\ud83d\\ude00\"},"
    "\"managedFields\":[{\"manager\":\"m\",\"fieldsV1\":{\"f:spec\":{\"f:holderIdentity\":{}}}}]},"
    "\"spec\":{\"holderIdentity\":\"\xC3\xA9\",\"leaseDurationSeconds\":15,\"n\":-1.5e3,"
    "\"t\":true,\"f\":false,\"z\":null}}";

TEST(every_truncation_is_refused) {
    CHECK(valid(good, sizeof good - 1));
    for (size_t length = 0; length < sizeof good - 1; length++) {
        CASE("%zu bytes", length);
        CHECK(!valid(good, length));
    }
}

/* Each byte replaced by some that matter: no crash, and jsmn takes what the scanner takes. */
TEST(every_changed_byte_is_safe) {
    static const char with[] = "{}[]:,\"\\0e-\x01\x80\xFF\n u";
    int bad = 0;
    for (size_t at = 0; at < sizeof good - 1; at++) {
        for (size_t i = 0; i < sizeof with; i++) {
            char text[sizeof good];
            lease__json json;
            memcpy(text, good, sizeof good);
            text[at] = with[i];
            const bool is_valid = valid(text, sizeof good - 1);
            const bool parsed = lease__json_parse(&json, tokens, text, sizeof good - 1);
            if (is_valid != parsed) bad++;
        }
    }
    CHECK_INT(bad, 0);
}

TEST(depth_has_a_limit) {
    char text[64];
    for (int depth = 1; depth <= LEASE_MAX_JSON_DEPTH + 2; depth++) {
        memset(text, '[', (size_t)depth);
        memset(text + depth, ']', (size_t)depth);
        CASE("arrays %d", depth);
        CHECK_INT(valid(text, (size_t)depth * 2), depth <= LEASE_MAX_JSON_DEPTH);
    }
    for (int depth = 1; depth <= LEASE_MAX_JSON_DEPTH + 2; depth++) {
        char nested[512];
        lease__buf buf = lease__buf_make(nested, sizeof nested);
        for (int i = 0; i < depth; i++) lease__put(&buf, "{\"a\":");
        lease__put(&buf, "1");
        for (int i = 0; i < depth; i++) lease__put(&buf, "}");
        CASE("objects %d", depth);
        CHECK_INT(valid(nested, buf.length), depth <= LEASE_MAX_JSON_DEPTH);
    }
}

TEST(a_deep_text_costs_nothing) {
    enum { SIZE = 320 * 1024 };
    char *text = (char *)malloc(SIZE);
    memset(text, '[', SIZE / 2);
    memset(text + SIZE / 2, ']', SIZE / 2);
    const int64_t before = lease__boot_now().ms;
    for (int i = 0; i < 1000; i++) CHECK(!lease__json_is_valid(text, SIZE, LEASE_MAX_JSON_TOKENS));
    CHECK(lease__boot_now().ms - before < 1000);
    free(text);
}

TEST(tokens_have_a_limit) {
    static char text[8 * LEASE_MAX_JSON_TOKENS];
    for (int count = LEASE_MAX_JSON_TOKENS - 2; count <= LEASE_MAX_JSON_TOKENS + 1; count++) {
        lease__json json;
        lease__buf buf = lease__buf_make(text, sizeof text);
        lease__put(&buf, "[0");
        for (int i = 2; i < count; i++) lease__put(&buf, ",\"\"");
        lease__put(&buf, "]");
        CASE("%d tokens", count);
        const bool fits = count <= LEASE_MAX_JSON_TOKENS;
        CHECK_INT(lease__json_parse(&json, tokens, text, buf.length), fits);
        if (fits) CHECK_INT(json.count, count);
    }
}

TEST(a_lookup_finds_its_member_only) {
    lease__json json = parse("{\"x\":{\"name\":\"inner\",\"y\":[{\"name\":1}]},\"name\":\"outer\","
                             "\"names\":1,\"nam\":2,\"list\":[\"name\",\"v\"],\"v\":\"name\"}");
    char text[16];
    CHECK(lease__json_string(&json, lease__json_get(&json, 0, "name"), text, sizeof text));
    CHECK_STR(text, "outer");
    const int x = lease__json_get(&json, 0, "x");
    CHECK(lease__json_string(&json, lease__json_get(&json, x, "name"), text, sizeof text));
    CHECK_STR(text, "inner");
    CHECK_INT(lease__json_get(&json, 0, "y"), LEASE__JSON_NONE);
    CHECK_INT(lease__json_get(&json, 0, ""), LEASE__JSON_NONE);
    CHECK_INT(lease__json_get(&json, lease__json_get(&json, 0, "list"), "name"), LEASE__JSON_NONE);
    CHECK_INT(lease__json_get(&json, lease__json_get(&json, 0, "v"), "name"), LEASE__JSON_NONE);
    CHECK_INT(lease__json_get(&json, LEASE__JSON_NONE, "name"), LEASE__JSON_NONE);
    CHECK(!json.duplicate);
}

TEST(duplicate_keys_are_noticed) {
    static const struct {
        const char *text;
        bool duplicate;
    } rows[] = {
        {"{\"a\":1}", false},
        {"{\"a\":1,\"b\":{\"a\":2}}", false},
        {"{\"b\":[{\"a\":1},{\"a\":2}],\"a\":3}", false},
        {"{\"c\":1,\"c\":2,\"a\":1}", false}, /* nobody looks c up */
        {"{\"a\":1,\"a\":1}", true},
        {"{\"a\":null,\"a\":1}", true},
        {"{\"a\":1,\"b\":2,\"a\":3}", true},
        {"{\"a\":1,\"\\u0061\":3}", true},
    };
    for (size_t i = 0; i < LEASE__COUNT(rows); i++) {
        CASE("%s", rows[i].text);
        lease__json json = parse(rows[i].text);
        CHECK(lease__json_get(&json, 0, "a") > 0);
        CHECK_INT(json.duplicate, rows[i].duplicate);
    }
}

TEST(strings_are_decoded) {
    static const struct {
        const char *text;
        const char *want;
    } rows[] = {
        {"{\"a\":\"\"}", ""},
        {"{\"a\":null}", ""},
        {"{\"b\":1}", ""},
        {"{\"a\":\"plain\"}", "plain"},
        {"{\"a\":\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"}", "\"\\/\b\f\n\r\t"},
        {"{\"a\":\"\\u0041\\u007f\\u0080\\u07ff\"}", "A\x7F\xC2\x80\xDF\xBF"},
        {"{\"a\":\"\\u0800\\uFFFD\\uffff\"}", "\xE0\xA0\x80\xEF\xBF\xBD\xEF\xBF\xBF"},
        {"{\"a\":\"\\uD800\\uDC00\\uDBFF\\uDFFF\"}", "\xF0\x90\x80\x80\xF4\x8F\xBF\xBF"},
        {"{\"a\":\"\\uD83D\\uDE00!\"}", "\xF0\x9F\x98\x80!"},
        {"{\"a\":\"\xE2\x82\xAC\"}", "\xE2\x82\xAC"},
        {"{\"\\u0061\":\"by an escaped key\"}", "by an escaped key"},
    };
    for (size_t i = 0; i < LEASE__COUNT(rows); i++) {
        char text[64] = "x";
        CASE("%s", rows[i].text);
        lease__json json = parse(rows[i].text);
        CHECK(lease__json_string(&json, lease__json_get(&json, 0, "a"), text, sizeof text));
        CHECK_STR(text, rows[i].want);
    }
}

TEST(a_string_fits_or_is_refused) {
    lease__json json = parse("{\"a\":\"12345\",\"n\":12345,\"t\":true,\"o\":{},\"l\":[]}");
    char text[6];
    CHECK(lease__json_string(&json, lease__json_get(&json, 0, "a"), text, 6));
    CHECK_STR(text, "12345");
    CHECK(!lease__json_string(&json, lease__json_get(&json, 0, "a"), text, 5));
    CHECK(!lease__json_string(&json, lease__json_get(&json, 0, "n"), text, sizeof text));
    CHECK(!lease__json_string(&json, lease__json_get(&json, 0, "t"), text, sizeof text));
    CHECK(!lease__json_string(&json, lease__json_get(&json, 0, "o"), text, sizeof text));
    CHECK(!lease__json_string(&json, lease__json_get(&json, 0, "l"), text, sizeof text));
}

TEST(equality_is_of_the_whole_decoded_string) {
    lease__json json = parse("{\"a\":\"Lease\",\"b\":\"L\\u0065ase\",\"c\":\"Lease \","
                             "\"d\":\"Leas\",\"e\":\"lease\",\"n\":null}");
    CHECK(lease__json_equals(&json, lease__json_get(&json, 0, "a"), "Lease"));
    CHECK(lease__json_equals(&json, lease__json_get(&json, 0, "b"), "Lease"));
    CHECK(!lease__json_equals(&json, lease__json_get(&json, 0, "c"), "Lease"));
    CHECK(!lease__json_equals(&json, lease__json_get(&json, 0, "d"), "Lease"));
    CHECK(!lease__json_equals(&json, lease__json_get(&json, 0, "e"), "Lease"));
    CHECK(!lease__json_equals(&json, lease__json_get(&json, 0, "n"), "null"));
    CHECK(!lease__json_equals(&json, LEASE__JSON_NONE, ""));
}

TEST(int32_is_plain) {
    static const struct {
        const char *value;
        bool good;
        int32_t want;
    } rows[] = {
        {"0", true, 0},          {"15", true, 15},          {"-1", true, -1},
        {"2147483647", true, INT32_MAX}, {"-2147483648", true, INT32_MIN}, {"null", true, 0},
        {"2147483648", false, 0}, {"-2147483649", false, 0}, {"1e3", false, 0},
        {"15.0", false, 0},      {"1E0", false, 0},         {"\"15\"", false, 0},
        {"true", false, 0},      {"false", false, 0},       {"{}", false, 0},
        {"[]", false, 0},        {"-0", true, 0},
        {"1000000000000000000000000000000", false, 0},
        {"18446744073709551616", false, 0},
    };
    for (size_t i = 0; i < LEASE__COUNT(rows); i++) {
        char text[64];
        int32_t got = 77;
        snprintf(text, sizeof text, "{\"a\":%s}", rows[i].value);
        CASE("%s", text);
        lease__json json = parse(text);
        CHECK_INT(lease__json_int32(&json, lease__json_get(&json, 0, "a"), &got), rows[i].good);
        if (rows[i].good) CHECK_INT(got, rows[i].want);
    }
    lease__json json = parse("{}");
    int32_t got = 77;
    CHECK(lease__json_int32(&json, LEASE__JSON_NONE, &got));
    CHECK_INT(got, 0);
}

TEST(kinds_of_values) {
    lease__json json = parse("{\"t\":true,\"f\":false,\"z\":null,\"s\":\"null\",\"n\":1}");
    CHECK(lease__json_is_true(&json, lease__json_get(&json, 0, "t")));
    CHECK(!lease__json_is_true(&json, lease__json_get(&json, 0, "f")));
    CHECK(!lease__json_is_true(&json, lease__json_get(&json, 0, "s")));
    CHECK(!lease__json_is_true(&json, LEASE__JSON_NONE));
    CHECK(lease__json_is_null(&json, lease__json_get(&json, 0, "z")));
    CHECK(lease__json_is_null(&json, LEASE__JSON_NONE));
    CHECK(!lease__json_is_null(&json, lease__json_get(&json, 0, "s")));
    CHECK(!lease__json_is_null(&json, lease__json_get(&json, 0, "n")));
    CHECK(!lease__json_is_null(&json, 0));
}

TEST(raw_values_are_byte_for_byte) {
    static const char *const values[] = {"{\"b\" : [1 , 2]}", "\"\\u0041 \\/\"", "-1.50e+3", "null",
                                         "[ ]", "\"\""};
    for (size_t i = 0; i < LEASE__COUNT(values); i++) {
        char text[64];
        size_t length = 0;
        snprintf(text, sizeof text, "{\"a\": %s ,\"z\":1}", values[i]);
        CASE("%s", values[i]);
        lease__json json = parse(text);
        const char *raw = lease__json_raw(&json, lease__json_get(&json, 0, "a"), &length);
        CHECK_INT(length, strlen(values[i]));
        CHECK(memcmp(raw, values[i], strlen(values[i])) == 0);
    }
}

static const char *quoted(const char *text) {
    static char out[128];
    lease__buf buf = lease__buf_make(out, sizeof out);
    lease__put_quoted(&buf, text);
    return out;
}

TEST(writing_escapes_what_must_be) {
    CHECK_STR(quoted(""), "\"\"");
    CHECK_STR(quoted("pod-1_a"), "\"pod-1_a\"");
    CHECK_STR(quoted("a\"b\\c"), "\"a\\\"b\\\\c\"");
    CHECK_STR(quoted("\x01\x1f\n"), "\"\\u0001\\u001f\\u000a\"");
    CHECK_STR(quoted("\x7F\xC3\xA9/"), "\"\x7F\xC3\xA9/\"");
}

TEST(what_is_written_reads_back) {
    for (int c = 1; c < 256; c++) {
        char value[4] = {'<', (char)c, '>', '\0'};
        char text[64];
        char back[16] = "";
        lease__json json;
        lease__buf buf = lease__buf_make(text, sizeof text);
        lease__put(&buf, "{");
        lease__put_key(&buf, "a");
        lease__put_quoted(&buf, value);
        lease__put_key(&buf, "b");
        lease__put_i64(&buf, INT64_MIN);
        lease__put(&buf, "}");
        CASE("0x%02x", (unsigned)c);
        const bool taken_again = lease__json_parse(&json, tokens, text, buf.length);
        CHECK_INT(taken_again, c < 0x80);
        if (!taken_again) continue;
        CHECK(lease__json_string(&json, lease__json_get(&json, 0, "a"), back, sizeof back));
        CHECK_STR(back, value);
    }
}
