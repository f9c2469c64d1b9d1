/* ca.h -- a certificate authority for one run, and the server certificate that it issues. */
#ifndef DEVAPI_CA_H
#define DEVAPI_CA_H

#include <mbedtls/ctr_drbg.h>
#include <mbedtls/entropy.h>
#include <mbedtls/pk.h>
#include <mbedtls/x509_crt.h>
#include <stdbool.h>

/* What is wrong with the certificate, for tests of the client's checks. */
enum devapi_cert {
    DEVAPI_CERT_GOOD,
    DEVAPI_CERT_EXPIRED,
    DEVAPI_CERT_WRONG_CA,   /* issued by another CA than ca_pem */
    DEVAPI_CERT_WRONG_NAME, /* for other.example only */
    DEVAPI_CERT_DNS_ONLY,   /* no addresses */
    DEVAPI_CERT_IP_ONLY     /* no names */
};

struct devapi_identity {
    mbedtls_entropy_context entropy;
    mbedtls_ctr_drbg_context random;
    mbedtls_x509_crt cert;
    mbedtls_pk_context key;
    char ca_pem[2048];
};

/* 0, or an mbedTLS error. To be freed in any case. */
int devapi_identity_make(struct devapi_identity *identity, enum devapi_cert kind);
void devapi_identity_free(struct devapi_identity *identity);

#endif
