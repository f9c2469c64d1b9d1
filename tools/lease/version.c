/* version.c -- lease version. */
#include "tool.h"

#include <stdio.h>

int version_main(void)
{
    printf("lease %s\n", lease_version());
    return fflush(stdout) == 0 ? 0 : CODE_FAILED;
}
