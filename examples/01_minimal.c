/* 01_minimal.c -- the smallest useful program: one of many copies works, the others stand by.
 *
 * Inside a pod it finds the API server, the token and the namespace by itself; elsewhere it reads
 * $KUBECONFIG (as JSON: kubectl config view --raw --minify -o json). The election goes on on a
 * thread of its own, so the work may take its time. Start it twice, stop the one that works with
 * Ctrl-C, and the other one goes on with the work:
 *
 *     make examples
 *     KUBECONFIG=config.json build/examples/01_minimal
 */
#define LEASE_IMPLEMENTATION
#include "lease.h"

#include <signal.h>
#include <unistd.h>

static volatile sig_atomic_t stopping;

static void on_signal(int number) {
    (void)number;
    stopping = 1;
}

static bool say(const char *text) {
    const size_t length = strlen(text);
    return write(STDOUT_FILENO, text, length) == (ssize_t)length;
}

/* One piece of the work. It has stop_budget_ms (300 ms) to end if leadership runs out meanwhile;
 * work that cannot promise as much passes lease_token() to what it writes to: 04_fencing.c. */
static bool work(void) { return say("working\n"); }

int main(void) {
    const lease_desc desc = {.name = "minimal", .release_on_stop = true};
    const struct sigaction action = {.sa_handler = on_signal}; /* ends a sleep, too */
    lease_client *client = NULL;
    lease *leadership = NULL;
    lease_error error = {0};
    bool good = sigaction(SIGINT, &action, NULL) == 0 && sigaction(SIGTERM, &action, NULL) == 0;

    if (lease_client_create(NULL, &client, &error) != LEASE_OK ||
        lease_create(client, &desc, &leadership, &error) != LEASE_OK ||
        lease_client_start(client) != LEASE_OK) {
        say(error.message[0] != '\0' ? error.message : "cannot start a thread");
        say("\n");
        good = false;
    }
    while (good && !stopping) {
        if (lease_is_leader(leadership)) good = work();
        sleep(1);
    }
    /* The work has stopped, so the Lease may go: release_on_stop gives it back in here. */
    lease_client_destroy(client);
    return good ? 0 : 1;
}
