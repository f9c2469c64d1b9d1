/* request.h -- one HTTP request, cut into what the handler looks at. */
#ifndef DEVAPI_REQUEST_H
#define DEVAPI_REQUEST_H

#include "handler.h"

#define REQUEST_MAX_TOKEN (16 * 1024)

typedef struct devapi_request {
    char method[16];
    char target[4096]; /* as it came */
    char path[2048];   /* decoded, without the query */
    const char *query; /* in target; "" = none */
    char authorization[REQUEST_MAX_TOKEN + 16];
    char accept[1024];
    char content_type[256];
    char user_agent[512];
    char expect[32];
    bool has_host;
    bool keep_alive;
    bool too_large; /* the body exceeds DEVAPI_MAX_BODY and was left out */
    char *body;     /* DEVAPI_MAX_BODY bytes and a terminator, owned by the caller */
    size_t body_length;
} devapi_request;

/* request->body is set by the caller. False when the bytes are not one request. */
bool devapi_request_parse(devapi_request *request, const char *bytes, size_t length);

/* The value of a query parameter, decoded; false when it is absent or too long, then out is "". */
bool devapi_request_query(const devapi_request *request, const char *name, char *out,
                          size_t capacity);

#endif
