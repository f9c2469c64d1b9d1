/* The library. Nothing else in the world sees more of it than its interface. */
#define LEASE_IMPLEMENTATION
#include "lease.h"
