/* ca.c -- ECDSA P-256 certificates, made anew at each start. */
#include "ca.h"

#include <mbedtls/asn1.h>
#include <mbedtls/bignum.h>
#include <mbedtls/ecp.h>
#include <mbedtls/oid.h>
#include <mbedtls/version.h>
#include <mbedtls/x509.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#if MBEDTLS_VERSION_NUMBER >= 0x03000000
#include <psa/crypto.h>
#endif

#define HOUR_S 3600L
#define DAY_S (24 * HOUR_S)
#define CA_NAME "CN=devapi CA"
#define OTHER_CA_NAME "CN=another CA"
#define SAN_DNS 2 /* context tags of GeneralName */
#define SAN_IP 7

static int make_key(struct devapi_identity *identity, mbedtls_pk_context *key) {
    int error = mbedtls_pk_setup(key, mbedtls_pk_info_from_type(MBEDTLS_PK_ECKEY));
    if (error != 0) return error;
    return mbedtls_ecp_gen_key(MBEDTLS_ECP_DP_SECP256R1, mbedtls_pk_ec(*key),
                               mbedtls_ctr_drbg_random, &identity->random);
}

static int set_serial(mbedtls_x509write_cert *cert, mbedtls_ctr_drbg_context *random) {
    unsigned char serial[16];
    int error = mbedtls_ctr_drbg_random(random, serial, sizeof serial);
    if (error != 0) return error;
    serial[0] = (unsigned char)((serial[0] & 0x7F) | 0x40); /* positive, of full length */
#if MBEDTLS_VERSION_NUMBER >= 0x03040000
    return mbedtls_x509write_crt_set_serial_raw(cert, serial, sizeof serial);
#else
    mbedtls_mpi number;
    mbedtls_mpi_init(&number);
    error = mbedtls_mpi_read_binary(&number, serial, sizeof serial);
    if (error == 0) error = mbedtls_x509write_crt_set_serial(cert, &number);
    mbedtls_mpi_free(&number);
    return error;
#endif
}

static int set_validity(mbedtls_x509write_cert *cert, long from_s, long to_s) {
    char from[16];
    char to[16];
    struct tm parts;
    const time_t begin = time(NULL) + from_s;
    const time_t end = time(NULL) + to_s;
    strftime(from, sizeof from, "%Y%m%d%H%M%S", gmtime_r(&begin, &parts));
    strftime(to, sizeof to, "%Y%m%d%H%M%S", gmtime_r(&end, &parts));
    return mbedtls_x509write_crt_set_validity(cert, from, to);
}

/* A GeneralName in DER; all of ours are short. */
static size_t add_name(unsigned char *out, size_t used, unsigned char tag, const void *bytes,
                       size_t length) {
    out[used] = (unsigned char)(MBEDTLS_ASN1_CONTEXT_SPECIFIC | tag);
    out[used + 1] = (unsigned char)length;
    memcpy(out + used + 2, bytes, length);
    return used + 2 + length;
}

/* subjectAltName as raw DER: mbedTLS 2.28 has no call for it. */
static int set_names(mbedtls_x509write_cert *cert, enum devapi_cert kind) {
    static const char *const names[] = {"localhost", "kubernetes.default.svc",
                                        "kubernetes.default"};
    static const unsigned char loopback4[4] = {127, 0, 0, 1};
    static const unsigned char loopback6[16] = {[15] = 1};
    static const char other[] = "other.example";
    unsigned char der[130];
    size_t used = 2;
    if (kind == DEVAPI_CERT_WRONG_NAME) {
        used = add_name(der, used, SAN_DNS, other, strlen(other));
    } else {
        for (size_t i = 0; i < 3 && kind != DEVAPI_CERT_IP_ONLY; i++) {
            used = add_name(der, used, SAN_DNS, names[i], strlen(names[i]));
        }
        if (kind != DEVAPI_CERT_DNS_ONLY) {
            used = add_name(der, used, SAN_IP, loopback4, sizeof loopback4);
            used = add_name(der, used, SAN_IP, loopback6, sizeof loopback6);
        }
    }
    der[0] = MBEDTLS_ASN1_CONSTRUCTED | MBEDTLS_ASN1_SEQUENCE;
    der[1] = (unsigned char)(used - 2);
    return mbedtls_x509write_crt_set_extension(
        cert, MBEDTLS_OID_SUBJECT_ALT_NAME, MBEDTLS_OID_SIZE(MBEDTLS_OID_SUBJECT_ALT_NAME), 0, der,
        used);
}

static void begin_cert(mbedtls_x509write_cert *cert, mbedtls_pk_context *subject,
                       mbedtls_pk_context *issuer) {
    mbedtls_x509write_crt_init(cert);
    mbedtls_x509write_crt_set_version(cert, MBEDTLS_X509_CRT_VERSION_3);
    mbedtls_x509write_crt_set_md_alg(cert, MBEDTLS_MD_SHA256);
    mbedtls_x509write_crt_set_subject_key(cert, subject);
    mbedtls_x509write_crt_set_issuer_key(cert, issuer);
}

static int make_ca(struct devapi_identity *identity, mbedtls_pk_context *key, const char *name,
                   char *pem) {
    mbedtls_x509write_cert cert;
    int error = make_key(identity, key);
    if (error != 0) return error;
    begin_cert(&cert, key, key);
    error = set_serial(&cert, &identity->random);
    if (error == 0) error = mbedtls_x509write_crt_set_subject_name(&cert, name);
    if (error == 0) error = mbedtls_x509write_crt_set_issuer_name(&cert, name);
    if (error == 0) error = set_validity(&cert, -2 * DAY_S, 3650 * DAY_S);
    if (error == 0) error = mbedtls_x509write_crt_set_basic_constraints(&cert, 1, 0);
    if (error == 0) {
        error = mbedtls_x509write_crt_set_key_usage(&cert, MBEDTLS_X509_KU_KEY_CERT_SIGN);
    }
    if (error == 0) {
        error = mbedtls_x509write_crt_pem(&cert, (unsigned char *)pem, sizeof identity->ca_pem,
                                          mbedtls_ctr_drbg_random, &identity->random);
    }
    mbedtls_x509write_crt_free(&cert);
    return error;
}

static int issue(struct devapi_identity *identity, mbedtls_pk_context *ca_key,
                 const char *ca_name, enum devapi_cert kind) {
    mbedtls_x509write_cert cert;
    unsigned char der[2048];
    int error = make_key(identity, &identity->key);
    if (error != 0) return error;
    begin_cert(&cert, &identity->key, ca_key);
    error = set_serial(&cert, &identity->random);
    if (error == 0) error = mbedtls_x509write_crt_set_subject_name(&cert, "CN=devapi");
    if (error == 0) error = mbedtls_x509write_crt_set_issuer_name(&cert, ca_name);
    if (error == 0) {
        error = set_validity(&cert, -DAY_S, kind == DEVAPI_CERT_EXPIRED ? -HOUR_S : 365 * DAY_S);
    }
    if (error == 0) error = mbedtls_x509write_crt_set_basic_constraints(&cert, 0, 0);
    if (error == 0) {
        error = mbedtls_x509write_crt_set_key_usage(&cert, MBEDTLS_X509_KU_DIGITAL_SIGNATURE);
    }
    if (error == 0) error = set_names(&cert, kind);
    if (error == 0) {
        error = mbedtls_x509write_crt_der(&cert, der, sizeof der, mbedtls_ctr_drbg_random,
                                          &identity->random);
    }
    mbedtls_x509write_crt_free(&cert);
    if (error < 0) return error;
    /* It is written at the end of the buffer. */
    const size_t length = (size_t)error;
    return mbedtls_x509_crt_parse_der(&identity->cert, der + sizeof der - length, length);
}

int devapi_identity_make(struct devapi_identity *identity, enum devapi_cert kind) {
    mbedtls_pk_context ca_key;
    mbedtls_pk_context other_key;
    char other_pem[sizeof identity->ca_pem];
    mbedtls_entropy_init(&identity->entropy);
    mbedtls_ctr_drbg_init(&identity->random);
    mbedtls_x509_crt_init(&identity->cert);
    mbedtls_pk_init(&identity->key);
    mbedtls_pk_init(&ca_key);
    mbedtls_pk_init(&other_key);
#if MBEDTLS_VERSION_NUMBER >= 0x03000000
    if (psa_crypto_init() != PSA_SUCCESS) return MBEDTLS_ERR_X509_FATAL_ERROR;
#endif
    int error = mbedtls_ctr_drbg_seed(&identity->random, mbedtls_entropy_func, &identity->entropy,
                                      NULL, 0);
    if (error == 0) error = make_ca(identity, &ca_key, CA_NAME, identity->ca_pem);
    if (error == 0) error = make_ca(identity, &other_key, OTHER_CA_NAME, other_pem);
    if (error == 0 && kind == DEVAPI_CERT_WRONG_CA) {
        error = issue(identity, &other_key, OTHER_CA_NAME, kind);
    } else if (error == 0) {
        error = issue(identity, &ca_key, CA_NAME, kind);
    }
    mbedtls_pk_free(&ca_key);
    mbedtls_pk_free(&other_key);
    return error;
}

void devapi_identity_free(struct devapi_identity *identity) {
    mbedtls_x509_crt_free(&identity->cert);
    mbedtls_pk_free(&identity->key);
    mbedtls_ctr_drbg_free(&identity->random);
    mbedtls_entropy_free(&identity->entropy);
}
