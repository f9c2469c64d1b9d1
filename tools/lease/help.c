/* help.c -- lease help, and --help of every subcommand. */
#include "tool.h"

#include <stdio.h>
#include <string.h>

static const char overview[] =
    "Leader election on a Kubernetes Lease, for any program.\n"
    "\n"
    "  lease run  -l NAME [options] -- COMMAND [ARG...]   contend; run COMMAND while holding\n"
    "  lease hold -l NAME [options]                       hold without a command: the sidecar\n"
    "  lease get  -l NAME [-o json]                       who holds it\n"
    "  lease timing [options]                             what a configuration means\n"
    "  lease help [run|hold|get|timing]                   all about one of them\n"
    "  lease version\n"
    "\n"
    "Try it without a cluster, in two terminals; stop the first with Ctrl-C:\n"
    "\n"
    "  mkdir -p /tmp/leases\n"
    "  lease run --backend file:/tmp/leases -l demo -- sh -c 'echo leading; sleep 1000'\n";

static const char usage_run[] =
    "lease run --lease NAME [options] -- COMMAND [ARG...]\n"
    "\n"
    "Contends for the Lease and runs COMMAND, without a shell, while holding it. A Lease that\n"
    "runs out stops COMMAND (--signal, KILL after --stop-budget) before anybody else can hold it,\n"
    "also when this process is frozen or killed; a Lease that somebody else holds, at once.\n"
    "SIGTERM and SIGINT stop COMMAND first and then give the Lease back; a second one ends at\n"
    "once; HUP, USR1, USR2, QUIT, ALRM, WINCH and CONT are passed on. COMMAND and its children\n"
    "are one process group; a process that leaves it (setsid) is not stopped. COMMAND finds\n"
    "LEASE_NAME, LEASE_NAMESPACE, LEASE_IDENTITY and LEASE_TOKEN (a fencing number that grows\n"
    "with every term) in its environment.\n";

static const char usage_hold[] =
    "lease hold --lease NAME [options]\n"
    "\n"
    "Holds the Lease without a command, as a sidecar, and contends again after a loss. With\n"
    "--listen the main container asks http://127.0.0.1:PORT/leader: 200 while leading, else 503.\n";

static const char usage_get[] =
    "lease get --lease NAME [options]\n"
    "\n"
    "Prints who holds the Lease, by one read. A holder that has not renewed within its duration,\n"
    "as far as two wall clocks can tell, is called expired.\n";

static const char usage_timing[] =
    "lease timing [options]\n"
    "\n"
    "Prints what a configuration means: which difference of clock rates it tolerates, which\n"
    "outage of the API, how soon a crashed leader is replaced and a released Lease is taken (and\n"
    "round trips to the API on top), and how often the API is asked. What is not safe is refused.\n"
    "run and hold log the same when they start. It asks nobody and needs no Lease.\n";

static const char examples_run[] =
    "Examples:\n"
    "  lease run -l nightly --nonblock -E 0 -- /usr/bin/report       one of many nodes runs it\n"
    "  lease run -l poller --restart --listen :4040 -- ./poller      standbys wait their turn\n"
    "  lease run -l migrate -w 5m -s INT -k 20s -- ./migrate --all   give up after five minutes\n";

static const char examples_hold[] =
    "Examples:\n"
    "  lease hold -l my-app --listen :4040 --log-format json\n"
    "  curl -f http://127.0.0.1:4040/leader\n";

static const char examples_get[] =
    "Examples:\n"
    "  lease get -l my-app\n"
    "  lease get -l my-app -o json | jq -r .holder\n";

static const char examples_timing[] =
    "Examples:\n"
    "  lease timing                                                  of the defaults\n"
    "  lease timing --lease-duration 30s --renew-deadline 20s --retry-period 5s\n"
    "  lease timing --lease-duration 6s --renew-deadline 4s -o json | jq .crash_worst_ms\n";

static const char options_title[] =
    "Options (each also as a variable, LEASE_RENEW_DEADLINE for --renew-deadline, which the\n"
    "option overrides; durations as in Go: 15s, 1500ms, 1m30s):\n";

static const char codes_run[] =
    "Exit codes:\n"
    "  COMMAND's own, 128+n when signal n ended it\n"
    "  123  the Lease was lost while COMMAND ran (without --restart)\n"
    "  124  not acquired in time (--wait, --nonblock); -E chooses another\n"
    "  125  lease itself failed: options, credentials, --nonblock without an answer\n"
    "  126  COMMAND cannot be executed      127  COMMAND was not found\n";

static const char codes_hold[] =
    "Exit codes: 0 stopped by a signal; 124 (or -E) not acquired in time; 125 failed\n";

static const char codes_get[] =
    "Exit codes: 0 held; 1 not held, or expired; 125 failed\n";

static const char codes_timing[] =
    "Exit codes: 0 safe; 125 refused, with the option to change\n";

static const char role[] =
    "\n"
    "The Role that it needs (create cannot be limited to a name; get alone does for lease get):\n"
    "  apiVersion: rbac.authorization.k8s.io/v1\n"
    "  kind: Role\n"
    "  metadata: {name: lease}\n"
    "  rules:\n"
    "  - {apiGroups: [coordination.k8s.io], resources: [leases], verbs: [create]}\n"
    "  - {apiGroups: [coordination.k8s.io], resources: [leases], resourceNames: [NAME],\n"
    "     verbs: [get, update]}\n";

static const struct {
    const char *name;
    enum subcommand subcommand;
    const char *usage;
    const char *examples;
    const char *codes;
    const char *role;
} pages[] = {
    {"run", SUBCOMMAND_RUN, usage_run, examples_run, codes_run, role},
    {"hold", SUBCOMMAND_HOLD, usage_hold, examples_hold, codes_hold, role},
    {"get", SUBCOMMAND_GET, usage_get, examples_get, codes_get, role},
    {"timing", SUBCOMMAND_TIMING, usage_timing, examples_timing, codes_timing, ""},
};

#define PAGE_COUNT (sizeof pages / sizeof pages[0])

int help_print(enum subcommand subcommand)
{
    for (size_t i = 0; i < PAGE_COUNT; i++) {
        if (pages[i].subcommand != subcommand) continue;
        printf("%s\n%s", pages[i].usage, options_title);
        options_print(subcommand);
        printf("\n%s\n%s%s", pages[i].codes, pages[i].examples, pages[i].role);
    }
    return fflush(stdout) == 0 ? 0 : CODE_FAILED;
}

int help_main(int argc, char **argv)
{
    if (argc < 2) {
        printf("%s", overview);
        return fflush(stdout) == 0 ? 0 : CODE_FAILED;
    }
    for (size_t i = 0; i < PAGE_COUNT; i++) {
        if (strcmp(argv[1], pages[i].name) == 0) return help_print(pages[i].subcommand);
    }
    complain("help: there is no command '%s' (see lease help)", argv[1]);
    return CODE_FAILED;
}
