/* The only source of entropy of the static builds: getrandom(2), which needs no /dev.
 * SPDX-License-Identifier: MIT */
#include <errno.h>
#include <mbedtls/entropy.h>
#include <sys/random.h>

/* Declared in a header of the library that it does not install. */
int mbedtls_hardware_poll(void *data, unsigned char *output, size_t len, size_t *olen);

int mbedtls_hardware_poll(void *data, unsigned char *output, size_t len, size_t *olen)
{
    (void)data;
    ssize_t got;
    do {
        got = getrandom(output, len, 0);
    } while (got < 0 && errno == EINTR);
    if (got < 0) return MBEDTLS_ERR_ENTROPY_SOURCE_FAILED;
    *olen = (size_t)got;
    return 0;
}
