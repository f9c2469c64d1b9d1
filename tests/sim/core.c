/* The elector under test: lease.h itself. Only this file is compiled again for a mutant. */
#define LEASE_NO_TLS
#define LEASE_IMPLEMENTATION
#include "lease.h"
