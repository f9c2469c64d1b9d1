/* state.h -- what the server remembers, and how its parts speak with each other. */
#ifndef DEVAPI_STATE_H
#define DEVAPI_STATE_H

#include "internals.h" /* before any system header */

#include "handler.h"
#include "object.h"
#include "request.h"

#define MAX_EVENTS 1024   /* older ones make a watch expire */
#define MAX_FAULTS 32
#define MAX_LOGGED 8192   /* requests that GET /_devapi/requests shows */
#define ARENA_BYTES ((size_t)4 * 1024 * 1024)
#define BODY_BYTES ((size_t)8 * 1024 * 1024) /* of an answer: a list of all objects */
#define MAX_OBJECT_BYTES ((size_t)1536 * 1024) /* etcd's limit */

enum verb {
    VERB_GET, VERB_LIST, VERB_WATCH, VERB_CREATE, VERB_UPDATE, VERB_PATCH, VERB_DELETE,
    VERB_DELETE_COLLECTION,
    VERB_COUNT
};

enum user { USER_ADMIN, USER_ACCOUNT, USER_ANONYMOUS, USER_UNKNOWN };

/* One Lease. */
struct stored {
    char ns[LEASE_MAX_NAMESPACE + 1];
    char name[LEASE_MAX_NAME + 1];
    char uid[40];
    uint64_t version;
    char *text; /* as devapi_put_object wrote it */
    size_t length;
};

struct event {
    const char *type; /* ADDED, MODIFIED, DELETED */
    uint64_t version;
    char ns[LEASE_MAX_NAMESPACE + 1];
    char name[LEASE_MAX_NAME + 1];
    char *text;
    size_t length;
};

/* What a test has asked of the open watches. */
enum watch_order {
    WATCH_GOES_ON,
    WATCH_ENDS,    /* as at a timeout */
    WATCH_EXPIRES, /* an ERROR event, 410 */
    WATCH_DROPS,   /* the connection closes in the middle */
    WATCH_STALLS   /* says nothing any more and stays open */
};

struct watcher {
    bool used;
    bool bookmarks;
    bool initial;          /* the state of now is still to be sent */
    bool initial_bookmark; /* ... and a bookmark behind it */
    char ns[LEASE_MAX_NAMESPACE + 1]; /* "" = all */
    char name[LEASE_MAX_NAME + 1];    /* "" = all */
    uint64_t after;                   /* events up to this version have been sent */
    int64_t end_ms;
    int64_t bookmark_ms;
    enum watch_order order;
};

enum fault_action {
    FAULT_NONE,
    FAULT_DELAY_REQUEST, /* done late, answered at once after that */
    FAULT_DELAY_ANSWER,  /* done at once, answered late */
    FAULT_DROP_REQUEST,  /* not done, connection closed */
    FAULT_DROP_ANSWER,   /* done, connection closed */
    FAULT_STATUS,        /* not done, another answer */
    FAULT_RAW,           /* not done, any bytes as the answer */
    FAULT_TRUNCATE,      /* done, the answer ends after some bytes and the connection closes */
    FAULT_TRICKLE,       /* done, the answer comes byte by byte */
    FAULT_GARBAGE,       /* not done, bytes that are no TLS */
    FAULT_RESET          /* not done, RST */
};

struct fault {
    enum fault_action action;
    char verb[12]; /* GET, LIST, WATCH, POST, PUT, DELETE, CONNECT or * */
    char user[12]; /* admin, account or "" for both */
    char name[LEASE_MAX_NAME + 1]; /* of the Lease, "" = any */
    int64_t skip;
    int64_t count; /* left; < 0 = for ever */
    int32_t ms;
    int32_t code;
    int32_t bytes;
    bool abrupt;     /* when the connection closes: without close_notify */
    bool keep_open;  /* after raw bytes */
    bool close;      /* after a status, with the header that says so */
    bool has_reason; /* else the usual one for the code */
    char reason[64]; /* "" = none */
    char retry_after[32];
    char content_type[128];
    char *text; /* body of the answer, or the raw bytes */
    size_t text_length;
};

struct logged {
    int64_t wall_us;
    uint64_t connection;
    int code; /* 0 = no answer was sent */
    enum user who;
    char method[12];
    char path[240]; /* cut when longer */
    const char *fault; /* name of the fault that struck, or NULL */
};

struct devapi_state {
    char ns[LEASE_MAX_NAMESPACE + 1];
    char admin_token[DEVAPI_MAX_ACCOUNT_TOKEN];
    char account_token[DEVAPI_MAX_ACCOUNT_TOKEN];
    bool role[VERB_COUNT]; /* what the service account may do with Leases of ns */
    bool role_events;      /* ... and create events there */
    uint64_t version;      /* of the last change */
    uint64_t random;       /* state of the generator */
    struct stored *objects; /* DEVAPI_MAX_OBJECTS, sorted by namespace and name */
    int object_count;
    struct event *events; /* a ring of MAX_EVENTS */
    int event_first;
    int event_count;
    uint64_t compacted; /* events up to this version are gone */
    struct watcher watchers[DEVAPI_MAX_WATCHERS];
    struct fault faults[MAX_FAULTS];
    int fault_count;
    struct logged *logged; /* a ring of MAX_LOGGED */
    uint64_t logged_count;
    /* For the request at hand. */
    devapi_request request;
    devapi_document sent;
    devapi_document live;
    devapi_arena arena;
    char *body;
};

/* An answer before it becomes bytes. */
struct reply {
    int code;
    const char *content_type;
    bool nosniff;
    bool is_watch;
    bool token_changed;
    int watcher;
    lease__buf headers;
    char header_data[8192];
    lease__buf body;
};

/* What a request is about, and who asks. */
struct target {
    bool is_resource;
    char group[64];
    char ns[256];
    char resource[64];
    char name[1024];
    char subresource[64];
};

struct context {
    devapi_state *state;
    const devapi_request *request;
    devapi_now now;
    enum user who;
    enum verb verb;
    struct target target;
    struct reply *reply;
};

/* -- reply.c ----------------------------------------------------------------------------------- */

struct status {
    int code;
    const char *reason;
    const char *message;
    bool details; /* an empty one at least */
    const char *name;
    const char *group;
    const char *kind;
    const char *uid;
    const devapi_causes *causes;
    int retry_after_s;
};

const char *devapi_usual_reason(int code); /* of a Status; NULL = none */
void devapi_put_status(lease__buf *out, const struct status *status);
void devapi_reply_status(struct reply *reply, const struct status *status);
/* reason, message and no details. */
void devapi_reply_error(struct reply *reply, int code, const char *reason, const char *message);
/* About a Lease: details name it. */
void devapi_reply_about(const struct context *context, int code, const char *reason,
                        const char *message);
/* Begins the message of a 403: who may not do what; what it is done to follows. */
void devapi_put_forbidden(lease__buf *out, const struct context *context, const char *verb);
void devapi_reply_text(struct reply *reply, int code, const char *text);
/* The whole answer; pretty when the client wants it so. */
void devapi_reply_finish(const struct context *context, const struct reply *reply,
                         devapi_answer *answer);
void devapi_answer_add(devapi_answer *answer, const char *bytes, size_t length);
void devapi_answer_add_chunk(devapi_answer *answer, const char *bytes, size_t length);

/* -- store.c ----------------------------------------------------------------------------------- */

struct stored *devapi_find(devapi_state *state, const char *ns, const char *name);
uint64_t devapi_random(devapi_state *state);
void devapi_put_uid(devapi_state *state, lease__buf *out);
bool devapi_namespace_exists(const devapi_state *state, const char *ns);
/* Stores text as the new state of a Lease and tells the watchers. False: out of memory or room. */
bool devapi_store(devapi_state *state, const char *ns, const char *name, const char *uid,
                  uint64_t version, const char *text, size_t length);
/* final is the last state, with the version of the removal. */
bool devapi_remove(devapi_state *state, struct stored *stored, uint64_t version,
                   const char *final, size_t length);
void devapi_forget_events(devapi_state *state);
void devapi_clear(devapi_state *state); /* all objects, events, faults and the log */

/* -- verbs.c: what may be done with Leases ----------------------------------------------------- */

void devapi_get(const struct context *context);
void devapi_list(const struct context *context);
void devapi_create(const struct context *context);
void devapi_update(const struct context *context);
void devapi_delete(const struct context *context);
/* The message of a 403 for a verb on the target. */
void devapi_reply_forbidden(const struct context *context, const char *verb_name);
bool devapi_allowed(const struct context *context, enum verb verb);

/* -- watch.c ----------------------------------------------------------------------------------- */

void devapi_watch(const struct context *context);
/* name and namespace out of fieldSelector; false after having answered. */
struct selector {
    char ns[LEASE_MAX_NAMESPACE + 1];
    char name[LEASE_MAX_NAME + 1];
    bool not_name; /* metadata.name!= */
};
bool devapi_selector(const struct context *context, struct selector *selector);
bool devapi_selects(const struct selector *selector, const char *ns, const char *name);

/* -- control.c: /_devapi/ and the faults set there --------------------------------------------- */

void devapi_control(const struct context *context);
void devapi_default_role(devapi_state *state);
const char *devapi_verb_name(enum verb verb);
const char *devapi_fault_name(enum fault_action action);
/* The fault that strikes this request, counted; NULL = none. */
struct fault *devapi_fault_for(devapi_state *state, const char *verb, enum user who,
                               const char *name);

#endif
