/* certs.h -- certificates of a test's own, made at run time: authorities, servers with any names
 * and dates, clients. Nothing secret is kept anywhere. */
#ifndef CERTS_H
#define CERTS_H

#include <mbedtls/ecp.h>
#include <mbedtls/oid.h>
#include <mbedtls/pk.h>
#include <mbedtls/x509_crt.h>

/* A key pair and its certificate, as PEM. */
typedef struct certs_pair {
    char subject[64];
    mbedtls_pk_context key;
    char cert_pem[2048];
    char key_pem[1024];
} certs_pair;

typedef struct certs_options {
    const char *dns;          /* alternative names; NULL = none */
    const unsigned char *ip;
    size_t ip_length;
    const char *from;         /* NULL = long ago */
    const char *until;        /* NULL = long from now */
    bool authority;
} certs_options;

static inline void certs_must(int result) {
    if (result >= 0) return;
    printf("(no certificate: -0x%04X)\n", (unsigned)-result);
    _exit(2);
}

/* SubjectAltName ::= SEQUENCE OF [2] dNSName, [7] iPAddress; all lengths below 128. */
static inline size_t certs_names(const certs_options *options, unsigned char *out) {
    size_t length = 2;
    if (options->dns != NULL) {
        const size_t count = strlen(options->dns);
        out[length++] = 0x82;
        out[length++] = (unsigned char)count;
        memcpy(out + length, options->dns, count);
        length += count;
    }
    if (options->ip != NULL) {
        out[length++] = 0x87;
        out[length++] = (unsigned char)options->ip_length;
        memcpy(out + length, options->ip, options->ip_length);
        length += options->ip_length;
    }
    out[0] = 0x30;
    out[1] = (unsigned char)(length - 2);
    return length == 2 ? 0 : length;
}

static inline void certs_serial(mbedtls_x509write_cert *cert) {
    static unsigned char serial = 1;
    serial++;
#if MBEDTLS_VERSION_NUMBER >= 0x03040000
    certs_must(mbedtls_x509write_crt_set_serial_raw(cert, &serial, 1));
#else
    mbedtls_mpi number;
    mbedtls_mpi_init(&number);
    certs_must(mbedtls_mpi_lset(&number, serial));
    certs_must(mbedtls_x509write_crt_set_serial(cert, &number));
    mbedtls_mpi_free(&number);
#endif
}

/* A new pair, signed by issuer; NULL = by itself. */
static inline void certs_make(certs_pair *pair, const char *subject, certs_pair *issuer,
                              certs_options options) {
    mbedtls_x509write_cert cert;
    unsigned char names[256];
    const char *issued_by = issuer != NULL ? issuer->subject : subject;
    memset(pair, 0, sizeof *pair);
    snprintf(pair->subject, sizeof pair->subject, "%s", subject);
    mbedtls_pk_init(&pair->key);
    certs_must(mbedtls_pk_setup(&pair->key, mbedtls_pk_info_from_type(MBEDTLS_PK_ECKEY)));
    certs_must(mbedtls_ecp_gen_key(MBEDTLS_ECP_DP_SECP256R1, mbedtls_pk_ec(pair->key),
                                   lease__tls_random, NULL));
    mbedtls_x509write_crt_init(&cert);
    mbedtls_x509write_crt_set_version(&cert, MBEDTLS_X509_CRT_VERSION_3);
    mbedtls_x509write_crt_set_md_alg(&cert, MBEDTLS_MD_SHA256);
    mbedtls_x509write_crt_set_subject_key(&cert, &pair->key);
    mbedtls_x509write_crt_set_issuer_key(&cert, issuer != NULL ? &issuer->key : &pair->key);
    certs_serial(&cert);
    certs_must(mbedtls_x509write_crt_set_subject_name(&cert, subject));
    certs_must(mbedtls_x509write_crt_set_issuer_name(&cert, issued_by));
    certs_must(mbedtls_x509write_crt_set_validity(
        &cert, options.from != NULL ? options.from : "20200101000000",
        options.until != NULL ? options.until : "20491231235959"));
    certs_must(mbedtls_x509write_crt_set_basic_constraints(&cert, options.authority, -1));
    const size_t length = certs_names(&options, names);
    if (length > 0) {
        certs_must(mbedtls_x509write_crt_set_extension(&cert, MBEDTLS_OID_SUBJECT_ALT_NAME,
                                                       MBEDTLS_OID_SIZE(
                                                           MBEDTLS_OID_SUBJECT_ALT_NAME),
                                                       0, names, length));
    }
    certs_must(mbedtls_x509write_crt_pem(&cert, (unsigned char *)pair->cert_pem,
                                         sizeof pair->cert_pem, lease__tls_random, NULL));
    certs_must(mbedtls_pk_write_key_pem(&pair->key, (unsigned char *)pair->key_pem,
                                        sizeof pair->key_pem));
    mbedtls_x509write_crt_free(&cert);
}

#endif
