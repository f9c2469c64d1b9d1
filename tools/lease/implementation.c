/* implementation.c -- the one file of the lease command that holds lease.h's implementation. */
#define LEASE_IMPLEMENTATION
#include "lease.h"
