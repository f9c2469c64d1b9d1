/* The interface first, by way of some other header say, then the implementation, then again. */
#include "lease.h"
#define LEASE_IMPLEMENTATION
#include "lease.h"
#include "lease.h"

int main(void) {
    return lease_status_name(LEASE_OK) && lease_version() ? 0 : 1;
}
