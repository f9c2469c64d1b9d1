/* The world: the candidates as lease_client would drive them, the messages, the API server and the
 * admin. What can happen next, and what comes of it. */
#include <stdarg.h>
#include <string.h>

#include "exhaustive.h"

void ex_fail(ex_world *world, const char *format, ...) {
    if (world->failure[0] != '\0') return;
    va_list values;
    va_start(values, format);
    vsnprintf(world->failure, sizeof world->failure, format, values);
    va_end(values);
}

void ex_happen(ex_world *world, ex_happened what) { world->happened |= 1u << what; }

/* -- Names and numbers ------------------------------------------------------------------------- */

char *ex_put_decimal(char *out, uint32_t value) {
    char digits[10];
    size_t count = 0;
    do {
        digits[count++] = (char)('0' + value % 10);
        value /= 10;
    } while (value != 0);
    while (count > 0) *out++ = digits[--count];
    *out = '\0';
    return out;
}

uint32_t ex_decimal(const char *text) {
    uint32_t value = 0;
    for (; *text >= '0' && *text <= '9'; text++) value = value * 10 + (uint32_t)(*text - '0');
    return value;
}

/* "a-1" is the first name that the first candidate bears. */
void ex_put_name(char *out, uint32_t name) {
    out[0] = '\0';
    if (name == EX_ADMIN) strcpy(out, "admin");
    if (name == EX_FORMER) strcpy(out, "former");
    if (name < EX_FIRST) return;
    *out++ = (char)('a' + name % EX_NODES);
    *out++ = '-';
    ex_put_decimal(out, (name - EX_FIRST) / EX_NODES + 1);
}

const ex_node *ex_bearer(const ex_world *world, uint32_t name) {
    if (name < EX_FIRST) return NULL;
    const ex_node *node = &world->nodes[name % EX_NODES];
    return node->alive && node->name == name ? node : NULL;
}

static ex_node *bearer(ex_world *world, uint32_t name) {
    return ex_bearer(world, name) != NULL ? &world->nodes[name % EX_NODES] : NULL;
}

/* -- Messages ---------------------------------------------------------------------------------- */

bool ex_is_late(const ex_world *world, const ex_message *message) {
    const ex_node *node = ex_bearer(world, message->sender);
    return node == NULL || node->pending == LEASE_ACTION_NONE || node->pending_id != message->id;
}

static void remove_message(ex_world *world, int32_t at) {
    world->message_count--;
    memmove(world->messages + at, world->messages + at + 1,
            (size_t)(world->message_count - at) * sizeof world->messages[0]);
}

static ex_message *add_message(ex_world *world) {
    if (world->message_count == world->scope->messages) {
        world->full = true;
        return NULL;
    }
    ex_message *message = &world->messages[world->message_count++];
    memset(message, 0, sizeof *message);
    return message;
}

/* Nobody waits for it: can anything come of it all the same? */
static bool is_dead(const ex_world *world, const ex_message *message) {
    const ex_record *record = &message->record;
    const ex_record *server = &world->server;
    if (message->kind == EX_ANSWER) {
        const bool kept = (world->scope->faults >> EX_FAULT_LATE_ANSWER & 1) != 0;
        return !kept || ex_bearer(world, message->sender) == NULL;
    }
    if (message->action == LEASE_ACTION_READ) return true;
    if (message->action == LEASE_ACTION_CREATE || record->uid == 0) return false;
    return record->uid != server->uid || record->version != server->version;
}

static void bury_messages(ex_world *world) {
    for (int32_t i = world->message_count - 1; i >= 0; i--) {
        const ex_message *message = &world->messages[i];
        if (ex_is_late(world, message) && is_dead(world, message)) remove_message(world, i);
    }
}

/* -- A step of a candidate --------------------------------------------------------------------- */

static void show(const ex_record *record, lease_record *out) {
    memset(out, 0, sizeof *out);
    ex_put_name(out->holder_identity, record->holder);
    out->uid[0] = 'u';
    ex_put_decimal(out->uid + 1, record->uid);
    ex_put_decimal(out->resource_version, record->version);
    out->renew_time_us = record->renew_us;
    out->acquire_time_us = record->acquire_us;
    out->lease_duration_s = record->duration_s;
    out->mine_only = true;
}

static void send(ex_world *world, const ex_node *node, const lease_core_output *out) {
    static const char *const verbs[] = {"nothing", "GET", "POST", "PUT"};
    const lease_record *write = &out->write;
    ex_tell(world, node, "sends %s %u %s%s%s%s", verbs[out->action], (unsigned)out->request_id,
            write->holder_identity, write->uid[0] != '\0' ? " over " : "", write->uid,
            write->resource_version);
    ex_message *message = add_message(world);
    if (message == NULL) return;
    message->kind = EX_REQUEST;
    message->action = out->action;
    message->sender = node->name;
    message->id = out->request_id;
    if (out->action == LEASE_ACTION_READ) return;
    const bool self = write->holder_identity[0] != '\0';
    message->release = !self && out->action == LEASE_ACTION_UPDATE;
    message->record = (ex_record){.exists = true,
                                  .holder = self ? node->name : EX_NOBODY,
                                  .uid = write->uid[0] != '\0' ? ex_decimal(write->uid + 1) : 0,
                                  .version = ex_decimal(write->resource_version),
                                  .renew_us = write->renew_time_us,
                                  .acquire_us = write->acquire_time_us,
                                  .duration_s = write->lease_duration_s,
                                  .author = node->name,
                                  .sent_ms = node->now_ms};
}

static void step(ex_world *world, ex_node *node, lease_core_input *input,
                 const ex_record *record) {
    lease_record shown;
    lease_core_output out;
    if (record != NULL) {
        show(record, &shown);
        input->record = &shown;
    }
    input->now_ms = node->now_ms;
    input->wall_us = node->now_ms * 1000 + EX_WALL_US;
    ex_check_input(world, node, input, record);
    lease_core_step(&node->core, input, &out);
    node->wake_ms = out.wake_ms;
    ex_check_output(world, node, &out);
    node->core.seen.lease_transitions = 0; /* it would grow for ever; each write has been checked */
    if (out.action != LEASE_ACTION_NONE) send(world, node, &out);
}

static void step_kind(ex_world *world, ex_node *node, lease_input_kind kind) {
    lease_core_input input;
    memset(&input, 0, sizeof input);
    input.kind = kind;
    step(world, node, &input, NULL);
}

/* What is due: as lease_client does, first the end of a request that has had no answer. */
static void step_due(ex_world *world, ex_node *node) {
    lease_core_input input;
    memset(&input, 0, sizeof input);
    if (node->pending != LEASE_ACTION_NONE && node->now_ms >= node->give_up_ms) {
        const bool read = node->pending == LEASE_ACTION_READ;
        input.kind = read ? LEASE_INPUT_READ_DONE : LEASE_INPUT_WRITE_DONE;
        input.request_id = node->pending_id;
        input.status = LEASE_TIMEOUT;
        input.maybe_applied = !read;
        world->budget--;
    }
    step(world, node, &input, NULL);
}

static void receive(ex_world *world, int32_t at) {
    const ex_message message = world->messages[at];
    const bool read = message.action == LEASE_ACTION_READ;
    lease_core_input input;
    if (ex_is_late(world, &message)) ex_happen(world, EX_LATE_ANSWER);
    remove_message(world, at);
    memset(&input, 0, sizeof input);
    input.kind = read ? LEASE_INPUT_READ_DONE : LEASE_INPUT_WRITE_DONE;
    input.request_id = message.id;
    input.status = message.status;
    input.maybe_applied = message.maybe_applied;
    step(world, bearer(world, message.sender), &input,
         message.status == LEASE_OK ? &message.record : NULL);
}

static bool init_core(const ex_world *world, ex_node *node) {
    char identity[16];
    lease_core_desc desc = world->scope->desc[node - world->nodes];
    ex_put_name(identity, node->name);
    desc.identity = identity;
    const bool good = lease_core_init(&node->core, &desc, NULL) == LEASE_OK;
    node->core.desc.identity = NULL; /* worlds are copied; the core uses its own copy */
    return good;
}

/* A process begins under a name that nobody had, or ends. */
static void live(ex_world *world, ex_node *node, bool alive) {
    const int64_t now_ms = node->now_ms;
    const uint32_t name = node->name;
    memset(node, 0, sizeof *node);
    node->now_ms = now_ms;
    node->name = alive ? name + EX_NODES : name;
    node->alive = alive;
    if (!alive) return;
    init_core(world, node);
    step_kind(world, node, LEASE_INPUT_TICK);
}

/* -- The server -------------------------------------------------------------------------------- */

static void store(ex_world *world, const ex_message *message, bool create) {
    ex_record *server = &world->server;
    const uint32_t uid = server->uid;
    ex_check_stored(world, message);
    *server = message->record;
    server->uid = create ? ++world->uids : uid;
    server->version = ++world->revision;
    ex_node *node = bearer(world, message->sender);
    if (node != NULL && !message->release) node->disturbed = false;
    if (node == NULL) ex_happen(world, EX_DEAD_APPLIED);
    if (node != NULL && ex_is_late(world, message)) ex_happen(world, EX_LATE_APPLIED);
    if (message->release) ex_happen(world, EX_RELEASED);
}

/* The exact table, also for a PUT without uid, which creates (kubernetes strategy.go). */
static lease_status execute(ex_world *world, const ex_message *message) {
    const ex_record *server = &world->server;
    const ex_record *record = &message->record;
    if (message->action == LEASE_ACTION_READ) return server->exists ? LEASE_OK : LEASE_NOT_FOUND;
    if (message->action == LEASE_ACTION_CREATE) {
        if (server->exists) ex_happen(world, EX_EXISTS);
        if (server->exists) return LEASE_ALREADY_EXISTS;
        store(world, message, true);
        return LEASE_OK;
    }
    const bool other = !server->exists || record->uid != server->uid;
    if ((record->uid != 0 && other) || (server->exists && record->version != server->version)) {
        ex_happen(world, EX_CONFLICT);
        return LEASE_CONFLICT;
    }
    store(world, message, !server->exists);
    return LEASE_OK;
}

static lease_status serve_how(ex_world *world, const ex_message *request, ex_choice_kind how) {
    if (how != EX_DELIVER) world->budget--;
    if (how == EX_NO_CONNECTION) return LEASE_CONNECT;
    if (how == EX_REFUSE) return LEASE_FORBIDDEN;
    if (how == EX_ERROR) return LEASE_SERVER_ERROR;
    const lease_status status = execute(world, request);
    return how == EX_ERROR_APPLIED ? LEASE_SERVER_ERROR : status;
}

static void serve(ex_world *world, int32_t at, ex_choice_kind how) {
    const ex_message request = world->messages[at];
    char holder[16];
    if (how != EX_COPY) remove_message(world, at);
    const lease_status status = serve_how(world, &request, how);
    ex_put_name(holder, world->server.holder);
    ex_tell(world, NULL, "%s; version %u, held by \"%s\"%s", lease_status_name(status),
            (unsigned)world->server.version, holder, world->server.exists ? "" : " (gone)");
    if (ex_bearer(world, request.sender) == NULL) return;
    ex_message *answer = add_message(world);
    if (answer == NULL) return;
    answer->kind = EX_ANSWER;
    answer->action = request.action;
    answer->sender = request.sender;
    answer->id = request.id;
    answer->status = status;
    answer->maybe_applied = status == LEASE_SERVER_ERROR && request.action != LEASE_ACTION_READ;
    if (status == LEASE_OK) answer->record = world->server;
}

/* -- The admin --------------------------------------------------------------------------------- */

static void disturb(ex_world *world) {
    for (int32_t i = 0; i < EX_NODES; i++) world->nodes[i].disturbed = true;
}

/* With times that nobody has written, and later than those of any edit before. */
static void edit_holder(ex_world *world, int32_t which) {
    ex_record *server = &world->server;
    const ex_node *node = &world->nodes[which % EX_NODES];
    const int64_t second_us = (node->now_ms - node->now_ms % 1000) * 1000 + EX_WALL_US;
    server->holder = which < EX_NODES ? node->name : EX_ADMIN;
    server->author = EX_NOBODY;
    server->renew_us = server->acquire_us = second_us - 100000 + world->revision;
}

static void administrate(ex_world *world, ex_choice choice) {
    ex_record *server = &world->server;
    world->budget--;
    server->version = ++world->revision;
    switch (choice.kind) {
    case EX_DELETE:
        memset(server, 0, sizeof *server);
        if (!world->scope->desc[0].strict_creation) disturb(world);
        break;
    case EX_CLEAR:
        server->holder = EX_NOBODY;
        server->author = EX_NOBODY;
        disturb(world);
        break;
    case EX_EDIT: edit_holder(world, choice.which); break;
    case EX_DURATION:
        server->duration_s = choice.which == 0 ? 0 : world->scope->max_duration_s;
        break;
    default: break;
    }
}

/* -- The origin -------------------------------------------------------------------------------- */

void ex_init(ex_world *world, const ex_scope *scope) {
    memset(world, 0, sizeof *world);
    world->scope = scope;
    world->budget = scope->budget;
    for (uint32_t i = 0; i < EX_NODES; i++) {
        world->nodes[i].now_ms = EX_BASE_MS;
        world->nodes[i].name = EX_FIRST - EX_NODES + i; /* nobody's: it has yet to start */
    }
}

bool ex_init_cores(ex_world *world) {
    bool good = true;
    for (uint32_t i = 0; i < EX_NODES; i++) {
        world->nodes[i].name = EX_FIRST + i;
        good = init_core(world, &world->nodes[i]) && good;
    }
    return good;
}

static void begin(ex_world *world, int32_t origin) {
    if (origin == 0) return;
    world->revision = world->uids = 1;
    world->server = (ex_record){.exists = true,
                                .holder = origin == 1 ? EX_NOBODY : EX_FORMER,
                                .uid = 1,
                                .version = 1,
                                .duration_s = world->scope->desc[0].lease_duration_ms / 1000};
}

/* -- Choices ----------------------------------------------------------------------------------- */

typedef struct choice_list {
    ex_choice *choices;
    int32_t count;
} choice_list;

static void put(choice_list *list, ex_choice_kind kind, int32_t which) {
    list->choices[list->count].kind = (uint8_t)kind;
    list->choices[list->count++].which = (uint8_t)which;
}

static bool may(const ex_world *world, ex_fault fault) {
    return world->budget > 0 && (world->scope->faults >> fault & 1) != 0;
}

static void put_node(choice_list *list, const ex_world *world, int32_t at) {
    const ex_node *node = &world->nodes[at];
    if (!node->alive) {
        put(list, EX_START, at);
        return;
    }
    const bool overdue = node->pending != LEASE_ACTION_NONE && node->now_ms >= node->give_up_ms;
    if (overdue ? may(world, EX_FAULT_TIMEOUT) : node->now_ms >= node->wake_ms) {
        put(list, EX_STEP, at);
    }
    if (may(world, EX_FAULT_CRASH)) put(list, EX_CRASH, at);
    if (node->released) put(list, EX_CONTEND, at);
    if (!node->released && may(world, EX_FAULT_RELEASE)) put(list, EX_RELEASE, at);
}

static void put_message(choice_list *list, const ex_world *world, int32_t at) {
    const ex_message *message = &world->messages[at];
    const bool late = ex_is_late(world, message);
    const bool write = message->action != LEASE_ACTION_READ;
    put(list, EX_DELIVER, at);
    if (late) put(list, EX_DROP, at);
    if (message->kind == EX_ANSWER) return;
    if (write && may(world, EX_FAULT_COPY)) put(list, EX_COPY, at);
    if (late) return; /* what it is answered no longer matters */
    if (may(world, EX_FAULT_ERROR)) put(list, EX_ERROR, at);
    if (may(world, EX_FAULT_ERROR)) put(list, EX_NO_CONNECTION, at);
    if (write && may(world, EX_FAULT_ERROR)) put(list, EX_ERROR_APPLIED, at);
    if (may(world, EX_FAULT_REFUSE)) put(list, EX_REFUSE, at);
}

static void put_admin(choice_list *list, const ex_world *world) {
    if (!world->server.exists) return;
    if (may(world, EX_FAULT_DELETE)) put(list, EX_DELETE, 0);
    if (may(world, EX_FAULT_CLEAR) && world->server.holder != EX_NOBODY) put(list, EX_CLEAR, 0);
    if (may(world, EX_FAULT_TOUCH)) put(list, EX_TOUCH, 0);
    for (int32_t i = 0; i < 2 && may(world, EX_FAULT_DURATION); i++) put(list, EX_DURATION, i);
    for (int32_t i = 0; i <= EX_NODES && may(world, EX_FAULT_EDIT); i++) {
        if (i == EX_NODES || world->nodes[i].alive) put(list, EX_EDIT, i);
    }
}

/* All that can happen next. The order is the same for all worlds of one packed form. */
int32_t ex_choices(const ex_world *world, ex_choice *choices) {
    choice_list list = {choices, 0};
    put(&list, EX_TIME, 0);
    for (int32_t i = 0; i < EX_NODES; i++) put_node(&list, world, i);
    for (int32_t i = 0; i < world->message_count; i++) put_message(&list, world, i);
    put_admin(&list, world);
    return list.count;
}

/* Of these, what happens next when nothing goes wrong any more. */
int32_t ex_healing(const ex_world *world, const ex_choice *choices, int32_t count) {
    static const ex_choice_kind order[] = {EX_DELIVER, EX_START, EX_CONTEND, EX_STEP};
    for (size_t wanted = 0; wanted < sizeof order / sizeof order[0]; wanted++) {
        for (int32_t i = 0; i < count; i++) {
            if (choices[i].kind != order[wanted]) continue;
            const ex_node *node = &world->nodes[choices[i].which % EX_NODES];
            const bool gives_up = choices[i].kind == EX_STEP &&
                                  node->pending != LEASE_ACTION_NONE &&
                                  node->now_ms >= node->give_up_ms;
            if (!gives_up) return i;
        }
    }
    return 0; /* time passes */
}

bool ex_has_leader(const ex_world *world) {
    for (int32_t i = 0; i < EX_NODES; i++) {
        const ex_node *node = &world->nodes[i];
        if (node->alive && node->leading && node->now_ms < node->valid_until_ms) return true;
    }
    return false;
}

/* -- One step ---------------------------------------------------------------------------------- */

static void deliver(ex_world *world, int32_t at) {
    if (world->messages[at].kind == EX_ANSWER) {
        receive(world, at);
    } else {
        serve(world, at, EX_DELIVER);
    }
}

static void pass_time(ex_world *world) {
    for (int32_t i = 0; i < EX_NODES; i++) world->nodes[i].now_ms += world->scope->rate_ms[i];
}

void ex_apply(ex_world *world, ex_choice choice) {
    ex_node *node = &world->nodes[choice.which % EX_NODES];
    if (world->tells) ex_tell_choice(world, choice);
    world->happened = 0;
    switch ((ex_choice_kind)choice.kind) {
    case EX_ORIGIN: begin(world, choice.which); break;
    case EX_TIME: pass_time(world); break;
    case EX_STEP: step_due(world, node); break;
    case EX_DELIVER: deliver(world, choice.which); break;
    case EX_COPY:
    case EX_ERROR:
    case EX_ERROR_APPLIED:
    case EX_NO_CONNECTION:
    case EX_REFUSE: serve(world, choice.which, (ex_choice_kind)choice.kind); break;
    case EX_DROP: remove_message(world, choice.which); break;
    case EX_CRASH:
        world->budget--;
        live(world, node, false);
        break;
    case EX_START: live(world, node, true); break;
    case EX_RELEASE:
        world->budget--;
        step_kind(world, node, LEASE_INPUT_RELEASE);
        break;
    case EX_CONTEND: step_kind(world, node, LEASE_INPUT_CONTEND); break;
    case EX_DELETE:
    case EX_CLEAR:
    case EX_EDIT:
    case EX_DURATION:
    case EX_TOUCH: administrate(world, choice); break;
    case EX_CHOICE_KINDS: break;
    }
    bury_messages(world);
}
