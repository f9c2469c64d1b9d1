/* LEASE_API static: the whole library private to one file. */
#define LEASE_API static
#define LEASE_IMPLEMENTATION
#include "lease.h"

int main(void) {
    lease_core core;
    lease_core_desc desc;
    memset(&desc, 0, sizeof desc);
    desc.identity = "a";
    return lease_core_init(&core, &desc, NULL) == LEASE_OK ? 0 : 1;
}
