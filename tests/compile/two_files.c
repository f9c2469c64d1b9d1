/* Links with implementation.c. Every public function is reached through a pointer, so that a
 * declaration without a definition fails to link. */
#include "lease.h"
#include <stdio.h>
#include <string.h>

typedef void (*function)(void);
#define HERE(name) (function) name

int main(void) {
    const function functions[] = {
#include "functions.inc"
    };
    for (size_t i = 0; i < sizeof functions / sizeof functions[0]; i++) {
        if (!functions[i]) return 1;
    }
    if (strcmp(lease_version(), LEASE_VERSION_STRING) != 0) return 1;
    if (lease_is_leader(NULL) || lease_token(NULL) != 0 || lease_remaining_ms(NULL) != 0) return 1;
    lease_client_destroy(NULL);
    lease_destroy(NULL);
    return printf("%s\n", lease_version()) < 0;
}
