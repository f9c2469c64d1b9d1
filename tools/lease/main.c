/* main.c -- the lease command: finds the subcommand. */
#include "tool.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const struct {
    const char *name;
    enum subcommand subcommand;
    int (*main)(const struct options *options);
} subcommands[] = {
    {"run", SUBCOMMAND_RUN, run_main},
    {"hold", SUBCOMMAND_HOLD, hold_main},
    {"get", SUBCOMMAND_GET, get_main},
    {"timing", SUBCOMMAND_TIMING, timing_main},
};

/* Whoever started us may have closed stdin, stdout or stderr. A socket that got one of these
 * numbers would receive our log. */
static bool open_standard_files(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (fcntl(fd, F_GETFD) == -1 && open("/dev/null", O_RDWR) != fd) return false;
    }
    return true;
}

static int dispatch(int argc, char **argv)
{
    struct options options;
    for (size_t i = 0; i < sizeof subcommands / sizeof subcommands[0]; i++) {
        if (strcmp(argv[0], subcommands[i].name) != 0) continue;
        switch (options_parse(&options, subcommands[i].subcommand, argc, argv)) {
        case OPTIONS_OK: return subcommands[i].main(&options);
        case OPTIONS_HELP: return help_print(subcommands[i].subcommand);
        case OPTIONS_BAD: return CODE_FAILED;
        }
    }
    complain("there is no command '%s' (see lease help)", argv[0]);
    return CODE_FAILED;
}

int main(int argc, char **argv)
{
    if (!open_standard_files()) {
        complain("/dev/null cannot be opened");
        return CODE_FAILED;
    }
    if (argc < 2) {
        complain("a command is missing: run, hold, get, timing, version or help");
        return CODE_FAILED;
    }
    const char *first = argv[1];
    if (strcmp(first, "help") == 0 || strcmp(first, "--help") == 0 || strcmp(first, "-h") == 0) {
        return help_main(argc - 1, argv + 1);
    }
    if (strcmp(first, "version") == 0 || strcmp(first, "--version") == 0) return version_main();
    return dispatch(argc - 1, argv + 1);
}
