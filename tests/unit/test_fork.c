/* Fork: a child is never leader, and nothing that it does reaches the connection, the lock backend,
 * the callbacks or the loop of its parent. Most cases run three times: over a page that the kernel
 * hands to a child empty, on a kernel that knows no such page, and under one that promises it and
 * does nothing (qemu-user says yes to any advice). */
#include <errno.h>
#include <sys/mman.h>

static enum { KERNEL_WIPES, KERNEL_REFUSES, KERNEL_LIES, KERNELS } kernel;

static int advise(void *address, size_t length, int advice) {
    if (kernel == KERNEL_WIPES) return madvise(address, length, advice);
    if (kernel == KERNEL_LIES) return 0;
    errno = EINVAL;
    return -1;
}
#define madvise(address, length, advice) advise((address), (length), (advice))

#define LEASE_NO_TLS
#define LEASE_IMPLEMENTATION
#include "lease.h"

#include "../io/script.h"

#include <sched.h>
#include <sys/wait.h>

#define EACH_KERNEL                                                                                \
    for (kernel = KERNEL_WIPES; kernel < KERNELS && (CASE("%s", kernel_names[kernel]), true);      \
         kernel++)
static const char *const kernel_names[] = {"the page is wiped", "the kernel refuses",
                                           "the kernel lies"};

/* -- Parents and children ---------------------------------------------------------------------- */

/* In memory that they have in common. */
typedef struct shared_state {
    int line;   /* of the first check that did not hold in a child, 0 = none */
    int calls;  /* atomic: of transport and backend, in a child */
    int events; /* atomic: callbacks that begin in a child */
    int asked;  /* atomic: children that have come to their end */
} shared_state;

static shared_state *shared;
static pid_t parent;

static void must(bool good, int line) {
    if (!good && shared->line == 0) shared->line = line;
}
#define MUST(cond) must((cond), __LINE__)

static void family_begin(void) {
    if (shared == NULL) {
        void *memory = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE,
                            MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED) _exit(2);
        shared = (shared_state *)memory;
    }
    memset(shared, 0, sizeof *shared);
    parent = getpid();
}

static void note_call(int *counter) {
    if (getpid() != parent) __atomic_add_fetch(counter, 1, __ATOMIC_SEQ_CST);
}

/* Waits for a child; what it found wrong is the parent's failure. */
static void family_wait(pid_t child) {
    int status = -1;
    CHECK(child > 0);
    CHECK_INT(waitpid(child, &status, 0), child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    test__check(shared->line == 0, __FILE__, shared->line, "%s", "does not hold in a child");
    CHECK_INT(shared->calls, 0);
    CHECK_INT(shared->events, 0);
}

static void end_child(void) {
    __atomic_add_fetch(&shared->asked, 1, __ATOMIC_SEQ_CST);
    _exit(0);
}

static void in_child(void (*what)(void)) {
    const pid_t child = fork();
    if (child == 0) {
        alarm(30); /* a hang is a failure too */
        what();
        end_child();
    }
    family_wait(child);
}

/* -- A connection that is a real socket, too --------------------------------------------------- */

/* All bytes also go through it: what a child sent would be found at its other end. */
static int wire[2] = {-1, -1};

static lease_status wire_open(void *context, const char *host, uint16_t port, void **connection,
                              lease_error *why) {
    note_call(&shared->calls);
    if (wire[0] >= 0) close(wire[0]);
    if (wire[1] >= 0) close(wire[1]);
    CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, wire), 0);
    return io_open(context, host, port, connection, why);
}
static int32_t wire_send(void *connection, const void *bytes, size_t count, lease_error *why) {
    char drained[4096];
    note_call(&shared->calls);
    const int32_t sent = io_send(connection, bytes, count, why);
    if (sent <= 0) return sent;
    CHECK_INT(send(wire[0], bytes, (size_t)sent, MSG_NOSIGNAL), sent);
    if (getpid() == parent) CHECK(recv(wire[1], drained, sizeof drained, 0) > 0);
    return sent;
}
static int32_t wire_recv(void *connection, void *bytes, size_t capacity, lease_error *why) {
    note_call(&shared->calls);
    return io_recv(connection, bytes, capacity, why);
}
static void wire_close(void *connection) {
    note_call(&shared->calls);
    shutdown(wire[0], SHUT_RDWR);
    io_close(connection);
}
static int wire_fd(void *connection) {
    note_call(&shared->calls);
    return io_fd(connection);
}

/* Nothing has come, and it is still open. */
static bool wire_is_quiet(void) {
    char byte;
    return recv(wire[1], &byte, 1, 0) < 0 && errno == EAGAIN;
}

static void (*in_callback)(const lease_event *event);

static void on_event(lease *self, const lease_event *event, void *user) {
    note_call(&shared->events);
    fake_on_event(self, event, user);
    if (in_callback != NULL) in_callback(event);
}

static lease *watched;

/* A client over the wire with the lease "a", which leads. */
static void wire_begin(void) {
    static const lease_transport transport = {NULL,      true,       wire_open, wire_send,
                                              wire_recv, wire_close, wire_fd};
    lease_client_desc desc;
    lease_desc of_lease = fake_desc("a");
    family_begin();
    io_begin(0);
    memset(&desc, 0, sizeof desc);
    desc.server = "https://192.0.2.1:6443";
    desc.transport = &transport;
    desc.hooks = &fake_hooks;
    CHECK_STATUS(lease_client_create(&desc, &io_client, NULL), LEASE_OK);
    of_lease.on_event = on_event;
    io.watched = watched = fake_lease(io_client, &of_lease);
}

/* The parent has lost nothing: it renews, over the same connection. */
static void wire_end(void) {
    CHECK(wire_is_quiet());
    const uint64_t token = lease_token(watched);
    const int requests = io.request_count;
    io_run(20000);
    CHECK(lease_is_leader(watched) && token != 0);
    CHECK(lease_token(watched) == token);
    CHECK(io.request_count >= requests + 9);
    CHECK_INT(io.opened, 1);
    CHECK_INT(shared->calls + shared->events, 0);
    in_callback = NULL;
    io_end();
}

/* -- What a child may do ----------------------------------------------------------------------- */

static lease_client *client; /* of the parent */

static void ask_everything(void) {
    lease_time_range range;
    lease_view view;
    MUST(!lease_is_leader(watched));
    MUST(lease_remaining_ms(watched) == 0 && lease_token(watched) == 0);
    MUST(!lease_range(watched, &range));
    memset(&view, 0x55, sizeof view);
    lease_view_get(watched, &view);
    MUST(!view.is_leader && !view.has_range && !view.failing_open && view.token == 0);
    MUST(view.remaining_ms == 0 && view.holder[0] == '\0' && view.state == LEASE_STATE_FOLLOWER);
}

static void try_everything(void) {
    const lease_desc desc = fake_desc("b");
    struct pollfd fds[LEASE_MAX_FDS];
    lease_error why;
    lease *other = watched;
    char text[64] = "x";
    MUST(lease_client_poll(client, 0) == LEASE_FORKED);
    MUST(lease_client_poll(client, -1) == LEASE_FORKED);
    MUST(lease_client_run(client) == LEASE_FORKED);
    MUST(lease_client_start(client) == LEASE_FORKED);
    MUST(lease_create(client, &desc, &other, &why) == LEASE_FORKED);
    MUST(other == NULL && why.status == LEASE_FORKED && why.message[0] != '\0');
    MUST(lease_release(watched) == LEASE_FORKED);
    MUST(lease_contend(watched) == LEASE_FORKED);
    MUST(lease_client_fds(client, fds, LEASE_MAX_FDS) == 0);
    MUST(lease_client_wait_ms(client) > 0);
    MUST(lease_metrics_write(client, LEASE_METRICS_TEXT, text, sizeof text) == 0);
    MUST(text[0] == '\0');
    lease_client_stop(client);
    lease_destroy(watched);
    ask_everything();
    lease_client_destroy(client);
    ask_everything();
    MUST(lease_client_poll(client, 0) == LEASE_FORKED);
}

static void ask_and_try(void) {
    ask_everything();
    try_everything();
}

/* A child of the child, whose page is a copy of an empty one and whose pid is another again. */
static void three_generations(void) {
    ask_everything();
    pid_t child = fork();
    if (child == 0) {
        ask_everything();
        child = fork();
        if (child == 0) ask_and_try();
        else MUST(waitpid(child, NULL, 0) == child);
        end_child();
    }
    MUST(waitpid(child, NULL, 0) == child);
    ask_and_try();
}

TEST(a_child_is_refused_and_sends_nothing) {
    EACH_KERNEL {
        wire_begin();
        client = io_client;
        io_run(5000);
        CHECK(lease_is_leader(watched));
        in_child(ask_and_try);
        wire_end();
    }
}

/* The request is on its way, the answer is not here yet. */
TEST(a_child_of_an_exchange_leaves_it_alone) {
    EACH_KERNEL {
        wire_begin();
        client = io_client;
        io_run(5000);
        io.mode = 1;
        const int requests = io.request_count;
        while (lease_client_wait_ms(io_client) > 0) fake.boot_ms += 100;
        for (int i = 0; i < 40; i++) lease_client_poll(io_client, 0);
        CHECK(io_client->in_flight != NULL && io.request_count == requests);
        in_child(ask_and_try);
        wire_end();
    }
}

TEST(grandchildren) {
    EACH_KERNEL {
        wire_begin();
        client = io_client;
        io_run(5000);
        in_child(three_generations);
        CHECK_INT(shared->asked, 3);
        wire_end();
    }
}

/* -- From callbacks ---------------------------------------------------------------------------- */

static lease_event_kind fork_at;
static bool child_returns;
static pid_t child_of_callback;

static void fork_in_callback(const lease_event *event) {
    if (event->kind != fork_at || child_of_callback != 0) return;
    child_of_callback = fork();
    if (child_of_callback != 0) return;
    alarm(30);
    ask_everything();
    if (child_returns) return; /* into the very turn of the loop */
    try_everything();
    end_child();
}

static void forking_begin(lease_event_kind kind, bool returns) {
    fork_at = kind;
    child_returns = returns;
    child_of_callback = 0;
    in_callback = fork_in_callback;
}

/* After each turn: a child that has come back here is done. */
static void end_if_child(lease_status status) {
    if (getpid() == parent) return;
    MUST(status == LEASE_FORKED);
    ask_and_try();
    end_child();
}

static void turns(int64_t for_ms) {
    const int64_t end_ms = fake.boot_ms + for_ms;
    while (fake.boot_ms < end_ms) {
        for (int i = 0; i < 20; i++) end_if_child(lease_client_poll(client, 0));
        fake.boot_ms += 100;
    }
}

static const lease_event_kind while_leading[] = {
    LEASE_EVENT_LEADER_CHANGED, LEASE_EVENT_ACQUIRED, LEASE_EVENT_RENEWED,
    LEASE_EVENT_RENEW_FAILED,   LEASE_EVENT_ERROR};

TEST(a_child_of_a_callback) {
    EACH_KERNEL {
        for (size_t i = 0; i < 2 * LEASE__COUNT(while_leading); i++) {
            const lease_event_kind kind = while_leading[i / 2];
            CASE("%s, event %d, the child %s", kernel_names[kernel], (int)kind,
                 i % 2 == 0 ? "ends" : "returns");
            wire_begin();
            client = io_client;
            forking_begin(kind, i % 2 != 0);
            if (kind == LEASE_EVENT_ERROR) io.fault.times = 1;
            io.fault.answer = "HTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n";
            turns(4000);
            if (kind == LEASE_EVENT_RENEW_FAILED) io.fault.times = 1;
            turns(4000);
            family_wait(child_of_callback);
            wire_end();
        }
    }
}

/* The same where the answer of a lock backend is the next step's input at once. */
static lease_status counted_get(void *context, const char *ns, const char *name, int32_t limit,
                                lease_record *out, lease_error *why) {
    note_call(&shared->calls);
    return fake_get(context, ns, name, limit, out, why);
}
static lease_status counted_create(void *context, const char *ns, const char *name,
                                   const lease_record *record, int32_t limit, lease_record *out,
                                   lease_error *why) {
    note_call(&shared->calls);
    return fake_create(context, ns, name, record, limit, out, why);
}
static lease_status counted_update(void *context, const char *ns, const char *name,
                                   const lease_record *record, int32_t limit, lease_record *out,
                                   lease_error *why) {
    note_call(&shared->calls);
    return fake_update(context, ns, name, record, limit, out, why);
}

static void backend_begin(const lease_hooks *hooks) {
    static const lease_backend backend = {NULL, counted_get, counted_create, counted_update};
    lease_client_desc desc;
    lease_desc of_lease = fake_desc("a");
    family_begin();
    fake_begin();
    memset(&desc, 0, sizeof desc);
    desc.backend = &backend;
    desc.hooks = hooks;
    CHECK_STATUS(lease_client_create(&desc, &client, NULL), LEASE_OK);
    of_lease.on_event = on_event;
    of_lease.release_on_stop = true;
    watched = fake_lease(client, &of_lease);
}

static void backend_end(void) {
    in_callback = NULL;
    lease_client_destroy(client);
}

TEST(a_child_of_a_callback_over_a_backend) {
    static const lease_event_kind kinds[] = {
        LEASE_EVENT_LEADER_CHANGED, LEASE_EVENT_ACQUIRED, LEASE_EVENT_RENEWED,
        LEASE_EVENT_LOST,           LEASE_EVENT_RELEASED, LEASE_EVENT_DUPLICATE_IDENTITY};
    EACH_KERNEL {
        for (size_t i = 0; i < LEASE__COUNT(kinds); i++) {
            CASE("%s, event %d", kernel_names[kernel], (int)kinds[i]);
            backend_begin(&fake_hooks);
            forking_begin(kinds[i], true);
            turns(5000);
            if (kinds[i] == LEASE_EVENT_LOST) fake_intrude("a", "other");
            if (kinds[i] == LEASE_EVENT_DUPLICATE_IDENTITY) fake_intrude("a", "me");
            if (kinds[i] == LEASE_EVENT_RELEASED) lease_release(watched);
            turns(5000);
            family_wait(child_of_callback);
            backend_end();
        }
    }
}

static void stop_and_fork(const lease_event *event) {
    if (event->kind == LEASE_EVENT_RENEWED) lease_client_stop(client);
    fork_in_callback(event);
}

/* A child that returns from a run that was to stop releases nothing. */
TEST(a_child_of_a_run_that_stops) {
    EACH_KERNEL {
        backend_begin(&fake_hooks);
        turns(100);
        forking_begin(LEASE_EVENT_RENEWED, true);
        in_callback = stop_and_fork;
        fake.boot_ms += 2000;
        const lease_status status = lease_client_run(client);
        end_if_child(status);
        CHECK_STATUS(status, LEASE_OK);
        CHECK_STR(fake_record("a")->holder_identity, ""); /* the parent did release */
        family_wait(child_of_callback);
        backend_end();
    }
}

/* -- In the middle of a question --------------------------------------------------------------- */

static bool fork_in_clock;

/* A signal handler that forks may interrupt a question anywhere: here, where it reads the clock. */
static int64_t forking_boot_ms(void *context) {
    if (fork_in_clock) {
        fork_in_clock = false;
        child_of_callback = fork();
        if (child_of_callback == 0) alarm(30);
    }
    return fake_boot_ms(context);
}

TEST(a_child_of_a_question) {
    static const lease_hooks hooks = {NULL, forking_boot_ms, fake_wall_us, fake_fill_random};
    EACH_KERNEL {
        for (int question = 0; question < 5; question++) {
            lease_time_range range;
            lease_view view;
            CASE("%s, question %d", kernel_names[kernel], question);
            backend_begin(&hooks);
            turns(1000);
            CHECK(lease_is_leader(watched));
            fork_in_clock = true;
            bool yes = false;
            switch (question) {
            case 0: yes = lease_is_leader(watched); break;
            case 1: yes = lease_remaining_ms(watched) != 0; break;
            case 2: yes = lease_token(watched) != 0; break;
            case 3: yes = lease_range(watched, &range); break;
            default:
                lease_view_get(watched, &view);
                yes = view.is_leader || view.has_range || view.token != 0;
                break;
            }
            if (getpid() != parent) {
                MUST(!yes);
                end_child();
            }
            CHECK(yes);
            family_wait(child_of_callback);
            backend_end();
        }
    }
}

/* -- Clients of a child's own ------------------------------------------------------------------ */

static char identities[2][LEASE_MAX_IDENTITY + 1];

/* A client of one's own, in real time, that leads. */
static lease *lead_anew(lease_client **made) {
    static lease_memory memory;
    const lease_backend backend = lease_backend_memory(&memory);
    lease_client_desc desc;
    lease_desc of_lease = fake_desc("own");
    lease *self = NULL;
    memset(&memory, 0, sizeof memory);
    memset(&desc, 0, sizeof desc);
    desc.backend = &backend;
    of_lease.identity = NULL;
    of_lease.on_event = NULL;
    MUST(lease_client_create(&desc, made, NULL) == LEASE_OK);
    MUST(lease_create(*made, &of_lease, &self, NULL) == LEASE_OK);
    MUST(lease_client_poll(*made, 0) == LEASE_OK);
    MUST(lease_is_leader(self));
    return self;
}

/* ... of which its own child knows nothing, as it knows nothing of the grandparent's. */
static void lead_for_two(void) {
    lease_client *own;
    lease *self = lead_anew(&own);
    ask_everything();
    MUST(strcmp(lease_identity(self), lease_identity(watched)) != 0);
    const pid_t child = fork();
    if (child == 0) {
        ask_everything();
        lease *const parents = watched;
        watched = self;
        client = own;
        ask_and_try();
        watched = parents;
        self = lead_anew(&own); /* and can begin its own life once more */
        lease_client_destroy(own);
        end_child();
    }
    MUST(waitpid(child, NULL, 0) == child);
    MUST(lease_is_leader(self));
    MUST(lease_client_poll(own, 0) == LEASE_OK);
    lease_client_destroy(own);
    ask_everything();
}

TEST(a_child_may_have_a_client_of_its_own) {
    EACH_KERNEL {
        family_begin();
        watched = lead_anew(&client);
        in_child(lead_for_two);
        CHECK_INT(shared->asked, 2);
        CHECK(lease_is_leader(watched));
        CHECK_STATUS(lease_client_poll(client, 0), LEASE_OK);
        lease_client_destroy(client);
    }
}

static void name_self(void) {
    lease_client *own;
    lease *self = lead_anew(&own);
    lease_desc desc = fake_desc("second");
    lease *other = NULL;
    desc.identity = NULL;
    MUST(lease_create(own, &desc, &other, NULL) == LEASE_OK);
    MUST(strcmp(lease_identity(self), lease_identity(other)) != 0);
    const ssize_t written = write(wire[0], lease_identity(self), sizeof identities[0]);
    MUST(written == (ssize_t)sizeof identities[0]);
    lease_client_destroy(own);
}

/* Twins that did not draw anew would write under one identity. */
TEST(children_have_identities_of_their_own) {
    family_begin();
    kernel = KERNEL_WIPES;
    CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, wire), 0);
    for (int i = 0; i < 2; i++) {
        in_child(name_self);
        CHECK_INT(recv(wire[1], identities[i], sizeof identities[i], MSG_WAITALL),
                  sizeof identities[i]);
    }
    CHECK(identities[0][0] != '\0' && strcmp(identities[0], identities[1]) != 0);
}

/* -- Exec -------------------------------------------------------------------------------------- */

/* sh, whether any of the descriptors is open in it. */
static void exec_and_look(const char *script, bool by_vfork) {
    const char *const arguments[] = {"sh", "-c", script, NULL};
    const pid_t child = by_vfork ? vfork() : fork();
    if (child == 0) {
        execv("/bin/sh", (char *const *)(uintptr_t)arguments);
        _exit(127);
    }
    family_wait(child);
}

TEST(no_descriptor_survives_exec) {
    EACH_KERNEL {
        char script[128];
        wire_begin();
        client = io_client;
        io_run(5000);
        snprintf(script, sizeof script,
                 "for n in %d %d %d; do if [ -e /proc/$$/fd/$n ]; then exit 9; fi; done",
                 io_client->wake[0], io_client->wake[1], wire[0]);
        CHECK(io_client->wake[0] > 2 && io_client->wake[1] > 2 && wire[0] > 2);
        exec_and_look(script, false);
        exec_and_look(script, true);
        wire_end();
    }
}

/* -- While a thread runs the loop -------------------------------------------------------------- */

#define CHILDREN 100

static bool is_renewed(void) {
    lease_view view;
    lease_view_get(watched, &view);
    return view.is_leader && view.renewals >= 2;
}

/* Whatever lock the loop's thread holds at the fork stays locked in the child for ever. */
TEST(children_of_a_process_whose_loop_has_a_thread) {
    EACH_KERNEL {
        static lease_memory memory;
        const lease_backend backend = lease_backend_memory(&memory);
        lease_client_desc desc;
        lease_desc of_lease = fake_desc("a");
        family_begin();
        memset(&memory, 0, sizeof memory);
        memset(&desc, 0, sizeof desc);
        desc.backend = &backend;
        of_lease.retry_period_ms = 100; /* seldom idle */
        of_lease.on_event = NULL;
        CHECK_STATUS(lease_client_create(&desc, &client, NULL), LEASE_OK);
        watched = fake_lease(client, &of_lease);
        CHECK_STATUS(lease_client_start(client), LEASE_OK);
        while (!lease_is_leader(watched)) sched_yield();
        const uint64_t token = lease_token(watched);
        for (int i = 0; i < CHILDREN; i++) {
            in_child(ask_and_try);
            CHECK(lease_is_leader(watched));
        }
        while (!is_renewed()) usleep(1000);
        CHECK(token != 0 && lease_token(watched) == token);
        lease_client_destroy(client);
    }
}
