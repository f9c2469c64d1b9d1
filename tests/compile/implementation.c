/* The implementation, as one file of a program defines it. */
#define LEASE_IMPLEMENTATION
#include "lease.h"
