/* >>http: good and bad answers, each fed whole, byte by byte and split in two at every place, with
 * the same result. */
#define LEASE_IMPLEMENTATION
#include "lease.h"

#include "../test.h"

static char body[LEASE_MAX_BODY + 1];
static lease__http http;

/* Feeds text in pieces of so many bytes; the first piece may have another size. */
static lease_status feed(const char *text, size_t length, size_t first, size_t piece,
                         lease_error *error) {
    lease_status status = LEASE_OK;
    memset(body, '#', sizeof body);
    lease__http_init(&http, body);
    for (size_t at = 0; at < length && status == LEASE_OK;) {
        const size_t want = at == 0 ? first : piece;
        const size_t count = length - at < want ? length - at : want;
        char *copy = (char *)malloc(count); /* exactly so much, for the sanitizer */
        memcpy(copy, text + at, count);
        status = lease__http_feed(&http, copy, count, error);
        free(copy);
        at += count;
    }
    return status;
}

static lease_status feed_text(const char *text) {
    lease_error error;
    return feed(text, strlen(text), strlen(text), 1, &error);
}

/* -- Good answers ------------------------------------------------------------------------------ */

static const struct {
    const char *what;
    const char *text;
    int32_t code;
    const char *body;
    bool keep_alive;
    int32_t retry_after_ms;
} good[] = {
    {"with a length", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 200, "hello", true, 0},
    {"with an empty body", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, "", true, 0},
    {"without a reason", "HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\n{}", 200, "{}", true, 0},
    {"with a long reason", "HTTP/1.1 404 Not Found, Sorry\r\nContent-Length: 2\r\n\r\n{}", 404,
    "{}",
     true, 0},
    {"chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", 200,
     "hello", true, 0},
    {"in several chunks",
     "HTTP/1.1 201 Created\r\ntransfer-encoding: CHUNKED\r\n\r\n1\r\nh\r\n4\r\nello\r\n0\r\n\r\n",
     201, "hello", true, 0},
    {"in no chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 200, "", true,
    0},
    {"hexadecimal sizes",
     "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nA\r\n0123456789\r\nb\r\n0123456789A\r\n"
     "000\r\n\r\n",
     200, "01234567890123456789A", true, 0},
    {"chunk extensions",
     "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;a=b\r\n{}\r\n0;c\r\n\r\n", 200, "{}",
     true, 0},
    {"trailers",
     "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nX-Sum: 1\r\n\r\n", 200,
     "{}", true, 0},
    {"to be closed", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}", 200,
    "{}",
     false, 0},
    {"HTTP/1.0", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}", 200, "{}", false, 0},
    {"HTTP/1.0 kept", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\n{}",
    200,
     "{}", true, 0},
    {"100 before it", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
     200, "{}", true, 0},
    {"103 before it",
     "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
     200, "{}", true, 0},
    {"as many interim answers as allowed",
     "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n"
     "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n"
     "Content-Length: 2\r\n\r\n{}",
     200, "{}", true, 0},
    {"204", "HTTP/1.1 204 No Content\r\n\r\n", 204, "", true, 0},
    {"304", "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n", 304, "", true, 0},
    {"a redirect", "HTTP/1.1 307 Temporary Redirect\r\nLocation: https://example.com/\r\n"
                   "Content-Length: 0\r\n\r\n", 307, "", true, 0},
    {"Retry-After", "HTTP/1.1 429 Too Many\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n", 429, "",
     true, 7000},
    {"retry-after 0", "HTTP/1.1 503 X\r\nretry-after: 0\r\nContent-Length: 0\r\n\r\n", 503,
    "", true,
     0},
    {"Retry-After an hour", "HTTP/1.1 503 X\r\nRetry-After: 3600\r\nContent-Length: 0\r\n\r\n", 503,
     "", true, 3600000},
    {"Retry-After beyond an hour",
    "HTTP/1.1 503 X\r\nRetry-After: 3601\r\nContent-Length: 0\r\n\r\n",
     503, "", true, 3600000},
    {"Retry-After absurd",
     "HTTP/1.1 503 X\r\nRetry-After: 99999999999999999999\r\nContent-Length: 0\r\n\r\n", 503, "",
     true, 3600000},
    {"Retry-After a date",
     "HTTP/1.1 503 X\r\nRetry-After: Fri, 31 Dec 1999 23:59:59 GMT\r\nContent-Length: 0\r\n\r\n",
     503, "", true, 0},
    {"Retry-After negative", "HTTP/1.1 503 X\r\nRetry-After: -1\r\nContent-Length: 0\r\n\r\n", 503,
     "", true, 0},
    {"Retry-After empty", "HTTP/1.1 503 X\r\nRetry-After:\r\nContent-Length: 0\r\n\r\n", 503,
    "", true,
     0},
    {"identity", "HTTP/1.1 200 OK\r\nContent-Encoding: identity\r\nContent-Length: 2\r\n\r\n{}",
    200,
     "{}", true, 0},
    {"an empty header between",
     "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-Empty:\r\nX: y\r\n\r\n0\r\n\r\n", 200, "",
     true, 0},
    {"header names of another kind",
     "HTTP/1.1 200 OK\r\nX-Transfer-Encoding: gzip\r\nContent-Encodings: gzip\r\n"
     "Retry-After-That: 9\r\nContent-Length: 2\r\n\r\n{}",
     200, "{}", true, 0},
    {"a code without meaning", "HTTP/1.1 599 X\r\nContent-Length: 0\r\n\r\n", 599, "", true, 0},
};

static void check_good(size_t i, size_t first, size_t piece) {
    lease_error error;
    const char *text = good[i].text;
    CHECK_STATUS(feed(text, strlen(text), first, piece, &error), LEASE_OK);
    CHECK(http.complete);
    CHECK_INT(http.code, good[i].code);
    CHECK_STR(http.body, good[i].body);
    CHECK_INT(http.body_length, strlen(good[i].body));
    CHECK_INT(http.keep_alive, good[i].keep_alive);
    CHECK_INT(http.retry_after_ms, good[i].retry_after_ms);
    CHECK_INT(http.raw_bytes, strlen(text));
}

TEST(good_answers_whole_and_in_pieces) {
    for (size_t i = 0; i < LEASE__COUNT(good); i++) {
        const size_t length = strlen(good[i].text);
        CASE("%s", good[i].what);
        check_good(i, length, length);
        check_good(i, 1, 1);
        for (size_t cut = 1; cut < length; cut++) check_good(i, cut, length);
    }
}

TEST(every_truncation_is_incomplete) {
    for (size_t i = 0; i < LEASE__COUNT(good); i++) {
        CASE("%s", good[i].what);
        for (size_t length = 0; length < strlen(good[i].text); length++) {
            lease_error error;
            CHECK_STATUS(feed(good[i].text, length, length, 1, &error), LEASE_OK);
            CHECK(!http.complete);
            CHECK_STATUS(feed(good[i].text, length, 1, 1, &error), LEASE_OK);
            CHECK(!http.complete);
        }
    }
}

/* What follows an answer would be taken for the answer to the next request. */
TEST(bytes_behind_an_answer_are_refused) {
    static const char *const behind[] = {"x", "\r\n", "\n", "HTTP/1.1 200 OK\r\n\r\n", "\0"};
    for (size_t i = 0; i < LEASE__COUNT(good); i++) {
        for (size_t j = 0; j < LEASE__COUNT(behind); j++) {
            char text[1024];
            lease_error error;
            CASE("%s + %zu", good[i].what, j);
            const size_t extra = j == 4 ? 1 : strlen(behind[j]);
            const size_t length = strlen(good[i].text);
            memcpy(text, good[i].text, length);
            memcpy(text + length, behind[j], extra);
            CHECK_STATUS(feed(text, length + extra, length + extra, 1, &error), LEASE_HTTP);
            CHECK(strstr(error.message, "bytes follow the answer") != NULL || !good[i].keep_alive);
            CHECK_STATUS(feed(text, length + extra, 1, 1, &error), LEASE_HTTP);
            CHECK_STATUS(feed(text, length + extra, length, 1, &error), LEASE_HTTP);
        }
    }
}

/* -- Bad answers ------------------------------------------------------------------------------- */

#define OK11 "HTTP/1.1 200 OK\r\n"
#define END "\r\n\r\n"

static const struct {
    const char *what;
    const char *text;
} bad[] = {
    {"nothing of HTTP", "SSH-2.0-OpenSSH_9.2\r\n"},
    {"a page", "<html><body>It works!</body></html>"},
    {"HTTP/0.9", "{\"kind\":\"Lease\"}"},
    {"HTTP/2 in version", "HTTP/2.0 200 OK\r\nContent-Length: 0" END},
    {"HTTP/3 in version", "HTTP/3.0 200 OK\r\nContent-Length: 0" END},
    {"an HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"},
    {"a request", "GET / HTTP/1.1\r\nHost: x" END},
    {"a lower case protocol", "http/1.1 200 OK\r\nContent-Length: 0" END},
    {"another protocol", "ICY 200 OK\r\nContent-Length: 0" END},
    {"code 000", "HTTP/1.1 000 X\r\nContent-Length: 0" END},
    {"code 099", "HTTP/1.1 099 X\r\nContent-Length: 0" END},
    {"code 600", "HTTP/1.1 600 X\r\nContent-Length: 0" END},
    {"code 999", "HTTP/1.1 999 X\r\nContent-Length: 0" END},
    {"a code of two digits", "HTTP/1.1 20 X\r\nContent-Length: 0" END},
    {"a code of four digits", "HTTP/1.1 2000 X\r\nContent-Length: 0" END},
    {"a code of letters", "HTTP/1.1 abc X\r\nContent-Length: 0" END},
    {"a negative code", "HTTP/1.1 -200 X\r\nContent-Length: 0" END},
    {"a switch of protocols", "HTTP/1.1 101 X\r\nUpgrade: h2c\r\nConnection: Upgrade" END},
    {"too many interim answers",
     "HTTP/1.1 100 C\r\n\r\nHTTP/1.1 100 C\r\n\r\nHTTP/1.1 100 C\r\n\r\nHTTP/1.1 100 C\r\n\r\n"
     "HTTP/1.1 100 C\r\n\r\nHTTP/1.1 100 C\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0" END},
    {"no length", OK11 "Content-Type: application/json\r\n\r\n{}"},
    {"no length, to be closed", OK11 "Connection: close\r\n\r\n{}"},
    {"no header at all", OK11 "\r\n{}"},
    {"a negative length", OK11 "Content-Length: -1" END},
    {"a signed length", OK11 "Content-Length: +5\r\n\r\nhello"},
    {"a hexadecimal length", OK11 "Content-Length: 0x5\r\n\r\nhello"},
    {"a length of letters", OK11 "Content-Length: five\r\n\r\nhello"},
    {"a length with a fraction", OK11 "Content-Length: 5.0\r\n\r\nhello"},
    {"an empty length", OK11 "Content-Length:\r\n\r\nhello"},
    {"two lengths", OK11 "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello"},
    {"two equal lengths", OK11 "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello"},
    {"two lengths in one", OK11 "Content-Length: 5, 6\r\n\r\nhello"},
    {"a length of 2^64", OK11 "Content-Length: 18446744073709551616" END},
    {"a length of 10^30", OK11 "Content-Length: 1000000000000000000000000000000" END},
    {"length before chunked",
     OK11 "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0" END},
    {"chunked before length",
     OK11 "Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n2\r\n{}\r\n0" END},
    {"gzip as transfer coding", OK11 "Transfer-Encoding: gzip" END},
    {"gzip and chunked", OK11 "Transfer-Encoding: gzip, chunked\r\n\r\n0" END},
    {"chunked and gzip", OK11 "Transfer-Encoding: chunked, gzip\r\n\r\n0" END},
    {"chunked twice", OK11 "Transfer-Encoding: chunked, chunked\r\n\r\n0" END},
    {"chunked in two headers, with gzip",
     OK11 "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n0" END},
    {"identity as transfer coding", OK11 "Transfer-Encoding: identity\r\n\r\n{}"},
    {"an unknown transfer coding", OK11 "Transfer-Encoding: xchunked\r\n\r\n0" END},
    {"a long transfer coding",
     OK11 "Transfer-Encoding: chunked                              ; q=1\r\n\r\n0" END},
    {"gzip", OK11 "Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}"},
    {"deflate", OK11 "content-encoding: DEFLATE\r\nContent-Length: 2\r\n\r\n{}"},
    {"identity, gzip", OK11 "Content-Encoding: identity, gzip\r\nContent-Length: 2\r\n\r\n{}"},
    {"a chunk size of nothing", OK11 "Transfer-Encoding: chunked\r\n\r\n\r\n{}\r\n0" END},
    {"a chunk size of letters", OK11 "Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0" END},
    {"a signed chunk size", OK11 "Transfer-Encoding: chunked\r\n\r\n+2\r\n{}\r\n0" END},
    {"a chunk size with 0x", OK11 "Transfer-Encoding: chunked\r\n\r\n0x2\r\n{}\r\n0" END},
    {"a chunk size of 2^64", OK11 "Transfer-Encoding: chunked\r\n\r\n10000000000000000\r\n{}" END},
    {"a chunk longer than it says", OK11 "Transfer-Encoding: chunked\r\n\r\n2\r\n{}}\r\n0" END},
    {"a bare LF behind a chunk size", OK11 "Transfer-Encoding: chunked\r\n\r\n2\n{}\r\n0" END},
    {"a space before the colon", OK11 "Content-Length : 2\r\n\r\n{}"},
    {"a header without a colon", OK11 "Content-Length 2\r\n\r\n{}"},
    {"a header without a name", OK11 ": x\r\nContent-Length: 2\r\n\r\n{}"},
    {"a NUL in a name", OK11 "X\x01Y: 2\r\nContent-Length: 2\r\n\r\n{}"},
    {"a control character in a value", OK11 "X: a\x01z\r\nContent-Length: 2\r\n\r\n{}"},
    {"a lone CR in a value", OK11 "X: a\rb\r\nContent-Length: 2\r\n\r\n{}"},
    {"a header name with a space", OK11 "X Y: 1\r\nContent-Length: 2\r\n\r\n{}"},
    {"LF instead of CRLF before the body", OK11 "Content-Length: 2\n\n{}"},
};

static lease_status check_bad(const char *text, size_t length, size_t first, size_t piece) {
    lease_error error;
    memset(&error, 0, sizeof error);
    const lease_status status = feed(text, length, first, piece, &error);
    CHECK(status != LEASE_OK);
    CHECK(!http.complete || strstr(error.message, "bytes follow") != NULL);
    CHECK_STATUS(error.status, status);
    CHECK_INT(error.stage, LEASE_STAGE_EXCHANGE);
    CHECK(error.message[0] != '\0');
    return status;
}

TEST(bad_answers_whole_and_in_pieces) {
    for (size_t i = 0; i < LEASE__COUNT(bad); i++) {
        const size_t length = strlen(bad[i].text);
        CASE("%s", bad[i].what);
        CHECK_STATUS(check_bad(bad[i].text, length, length, 1), LEASE_HTTP);
        CHECK_STATUS(check_bad(bad[i].text, length, 1, 1), LEASE_HTTP);
        for (size_t cut = 1; cut < length; cut++) {
            CHECK_STATUS(check_bad(bad[i].text, length, cut, length), LEASE_HTTP);
        }
    }
}

/* Old line folding would let one value pass as two lines. */
TEST(folded_headers_change_nothing_that_counts) {
    const lease_status status = feed_text(OK11 "X: a\r\n b\r\nContent-Length: 2\r\n\r\n{}");
    CHECK(status == LEASE_HTTP || (http.complete && http.body_length == 2));
    CHECK_STATUS(feed_text(OK11 "Transfer-Encoding: chunked\r\n , gzip\r\n\r\n0" END), LEASE_HTTP);
    CHECK_STATUS(feed_text(OK11 "Content-Length: 2\r\n 2\r\n\r\n{}"), LEASE_HTTP);
}

/* -- Limits ------------------------------------------------------------------------------------ */

static char large[4 * LEASE_MAX_RAW];

static lease_status feed_large(lease__buf *buf, size_t piece) {
    lease_error error;
    CHECK(!lease__buf_full(buf));
    const lease_status status = feed(large, buf->length, piece, piece, &error);
    CHECK(status == LEASE_OK || error.status == status);
    return status;
}

static void put_many(lease__buf *buf, char c, size_t count) {
    for (size_t i = 0; i < count; i++) lease__put_bytes(buf, &c, 1);
}

TEST(the_body_has_a_limit) {
    static const size_t pieces[] = {1, 100, 4096, sizeof large};
    for (size_t extra = 0; extra < 2; extra++) {
        for (size_t i = 0; i < LEASE__COUNT(pieces); i++) {
            CASE("%zu bytes, in pieces of %zu", LEASE_MAX_BODY + extra, pieces[i]);
            lease__buf buf = lease__buf_make(large, sizeof large);
            lease__put(&buf, OK11 "Content-Length: ");
            lease__put_u64(&buf, LEASE_MAX_BODY + extra);
            lease__put(&buf, END);
            put_many(&buf, 'x', LEASE_MAX_BODY + extra);
            CHECK_STATUS(feed_large(&buf, pieces[i]), extra == 0 ? LEASE_OK : LEASE_TOO_LARGE);
            if (extra != 0) continue;
            CHECK_INT(http.body_length, LEASE_MAX_BODY);
            CHECK_INT(strlen(body), LEASE_MAX_BODY);
        }
    }
}

TEST(a_chunked_body_has_the_same_limit) {
    for (size_t extra = 0; extra < 2; extra++) {
        CASE("%zu bytes", LEASE_MAX_BODY + extra);
        lease__buf buf = lease__buf_make(large, sizeof large);
        lease__put(&buf, OK11 "Transfer-Encoding: chunked" END "8000\r\n");
        put_many(&buf, 'x', 0x8000);
        lease__put(&buf, extra == 0 ? "\r\n8000\r\n" : "\r\n8001\r\n");
        put_many(&buf, 'x', 0x8000 + extra);
        lease__put(&buf, "\r\n0" END);
        CHECK_STATUS(feed_large(&buf, 4096), extra == 0 ? LEASE_OK : LEASE_TOO_LARGE);
        CHECK_STATUS(feed_large(&buf, sizeof large), extra == 0 ? LEASE_OK : LEASE_TOO_LARGE);
    }
}

TEST(an_announced_body_is_refused_before_it_comes) {
    CHECK_STATUS(feed_text(OK11 "Content-Length: 65537" END), LEASE_TOO_LARGE);
    CHECK_STATUS(feed_text(OK11 "Content-Length: 9223372036854775807" END), LEASE_TOO_LARGE);
    CHECK_STATUS(feed_text(OK11 "Content-Length: 65536" END), LEASE_OK);
}

TEST(headers_have_a_limit_of_bytes) {
    static const struct {
        const char *before;
        const char *after;
    } rows[] = {{OK11 "X: ", "\r\nContent-Length: 0" END},
                {OK11 "X", ": y\r\nContent-Length: 0" END},
                {"HTTP/1.1 200 ", "\r\nContent-Length: 0" END},
                {OK11 "Transfer-Encoding: chunked\r\n\r\n0\r\nX: ", END}};
    for (size_t i = 0; i < LEASE__COUNT(rows); i++) {
        for (size_t size = 8192; size <= 131072; size *= 2) {
            CASE("%zu: %zu bytes", i, size);
            lease__buf buf = lease__buf_make(large, sizeof large);
            lease__put(&buf, rows[i].before);
            put_many(&buf, 'x', size);
            lease__put(&buf, rows[i].after);
            const lease_status want = size < 16384 ? LEASE_OK : LEASE_TOO_LARGE;
            CHECK_STATUS(feed_large(&buf, 1000), want);
            CHECK_STATUS(feed_large(&buf, sizeof large), want);
        }
    }
}

TEST(headers_have_a_limit_of_number) {
    for (size_t count = LEASE_MAX_HEADERS - 1; count <= LEASE_MAX_HEADERS + 1; count++) {
        CASE("%zu headers", count);
        lease__buf buf = lease__buf_make(large, sizeof large);
        lease__put(&buf, OK11 "Content-Length: 0\r\n");
        for (size_t i = 1; i < count; i++) lease__put(&buf, "X: y\r\n");
        lease__put(&buf, "\r\n");
        const lease_status want = count <= LEASE_MAX_HEADERS ? LEASE_OK : LEASE_TOO_LARGE;
        CHECK_STATUS(feed_large(&buf, sizeof large), want);
        CHECK_STATUS(feed_large(&buf, 1), want);
    }
}

TEST(framing_has_a_limit_too) {
    CASE("one endless chunk extension");
    lease__buf buf = lease__buf_make(large, sizeof large);
    lease__put(&buf, OK11 "Transfer-Encoding: chunked" END "2;");
    put_many(&buf, 'x', 2 * LEASE_MAX_RAW);
    CHECK_STATUS(feed_large(&buf, 4096), LEASE_TOO_LARGE);
    CHECK(http.raw_bytes <= LEASE_MAX_RAW + 4096);
    CASE("tens of thousands of chunks of one byte");
    buf = lease__buf_make(large, sizeof large);
    lease__put(&buf, OK11 "Transfer-Encoding: chunked" END);
    for (size_t i = 0; i < 60000; i++) lease__put(&buf, "1\r\nx\r\n");
    lease__put(&buf, "0" END);
    CHECK_STATUS(feed_large(&buf, 4096), LEASE_TOO_LARGE);
    CASE("endless zeros before a chunk size");
    buf = lease__buf_make(large, sizeof large);
    lease__put(&buf, OK11 "Transfer-Encoding: chunked" END);
    put_many(&buf, '0', 2 * LEASE_MAX_RAW);
    CHECK(feed_large(&buf, 4096) != LEASE_OK);
}

TEST(a_parser_is_used_again_after_an_error) {
    CHECK_STATUS(feed_text("garbage"), LEASE_HTTP);
    CHECK_STATUS(feed_text(OK11 "Retry-After: 5\r\nContent-Length: 2\r\n\r\n{}"), LEASE_OK);
    CHECK_STATUS(feed_text(OK11 "Content-Length: 2\r\n\r\n{}"), LEASE_OK);
    CHECK_INT(http.retry_after_ms, 0);
    CHECK(http.complete);
}

/* Nothing that a server may send makes it crash or read beyond what it was given. */
TEST(changed_bytes_are_safe) {
    static const char with[] = "\0\r\n :;,x0\xff";
    lease_error error;
    for (size_t i = 0; i < LEASE__COUNT(good); i++) {
        const size_t length = strlen(good[i].text);
        for (size_t at = 0; at < length; at++) {
            for (size_t j = 0; j < sizeof with - 1; j++) {
                char text[512];
                memcpy(text, good[i].text, length);
                text[at] = with[j];
                const lease_status whole = feed(text, length, length, 1, &error);
                const bool complete = http.complete;
                const lease_status split = feed(text, length, 1, 1, &error);
                if (whole == split && complete == http.complete) continue;
                CASE("%s, byte %zu is 0x%02x", good[i].what, at, (unsigned char)with[j]);
                CHECK_STATUS(whole, split);
                CHECK_INT(complete, http.complete);
            }
        }
    }
    CASE("done");
    CHECK(true);
}
