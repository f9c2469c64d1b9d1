/* internals.h -- lease.h's private functions (bounded text, JSON, times) as this program's own.
 *
 * Private to each file that includes it, so that the handler can be linked into a program that
 * holds lease.h's implementation itself. */
#ifndef DEVAPI_INTERNALS_H
#define DEVAPI_INTERNALS_H

#define LEASE_NO_TLS
#define LEASE_NO_THREADS
#define LEASE_NO_DNS
#define LEASE_API static
#define LEASE_IMPLEMENTATION
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"
#include "lease.h"
#pragma GCC diagnostic pop

#endif
