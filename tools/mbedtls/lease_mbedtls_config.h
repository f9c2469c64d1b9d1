/* mbedTLS 3.6 reduced to what lease.h needs: a TLS 1.2 and 1.3 client that checks certificates.
 * SPDX-License-Identifier: MIT
 *
 * tools/static puts it in the place of mbedtls_config.h; LEASE_TLS12_ONLY leaves TLS 1.3 out. No
 * thread support: one thread at a time may use mbedTLS, which is one lease_client in the process.
 * A program with several adds MBEDTLS_THREADING_C and MBEDTLS_THREADING_PTHREAD. */
#ifndef LEASE_MBEDTLS_CONFIG_H
#define LEASE_MBEDTLS_CONFIG_H

/* Platform. The dates in certificates are checked. MBEDTLS_PLATFORM_MEMORY lets lease.h put
 * everything that mbedTLS allocates into the client's arena; no file is ever opened by mbedTLS. */
#define MBEDTLS_HAVE_ASM
#define MBEDTLS_HAVE_TIME
#define MBEDTLS_HAVE_TIME_DATE
#define MBEDTLS_PLATFORM_C
#define MBEDTLS_PLATFORM_MEMORY

/* Record protection: AES-GCM, which every Kubernetes API server offers. The processor's AES is
 * used when it is there; the tables are the fall-back, and small ones in read-only memory do. GCM
 * only ever encrypts blocks. */
#define MBEDTLS_AES_C
#define MBEDTLS_AES_FEWER_TABLES
#define MBEDTLS_AES_ROM_TABLES
#define MBEDTLS_AESCE_C
#define MBEDTLS_AESNI_C
#define MBEDTLS_BLOCK_CIPHER_NO_DECRYPT
#define MBEDTLS_CIPHER_C
#define MBEDTLS_GCM_C

/* Hashes of certificates and handshakes. Speed does not matter for a few blocks a day. */
#define MBEDTLS_MD_C
#define MBEDTLS_SHA224_C
#define MBEDTLS_SHA256_C
#define MBEDTLS_SHA256_SMALLER
#define MBEDTLS_SHA384_C
#define MBEDTLS_SHA512_C
#define MBEDTLS_SHA512_SMALLER

/* Public keys: RSA up to 4096 bits and the two NIST curves that cluster certificates use. Every
 * server that offers X25519 offers P-256 too. */
#define MBEDTLS_BIGNUM_C
#define MBEDTLS_MPI_MAX_SIZE 512
#define MBEDTLS_ECP_C
#define MBEDTLS_ECP_DP_SECP256R1_ENABLED
#define MBEDTLS_ECP_DP_SECP384R1_ENABLED
#define MBEDTLS_ECP_NIST_OPTIM
#define MBEDTLS_ECDH_C
#define MBEDTLS_ECDSA_C
#define MBEDTLS_RSA_C
#define MBEDTLS_PKCS1_V15
#define MBEDTLS_PKCS1_V21
#define MBEDTLS_PK_C

/* Certificates, and a client's key, from PEM in memory. Encrypted keys are refused. */
#define MBEDTLS_ASN1_PARSE_C
#define MBEDTLS_ASN1_WRITE_C
#define MBEDTLS_BASE64_C
#define MBEDTLS_OID_C
#define MBEDTLS_PEM_PARSE_C
#define MBEDTLS_PK_PARSE_C
#define MBEDTLS_X509_CRT_PARSE_C
#define MBEDTLS_X509_USE_C

/* TLS: forward secrecy only, no renegotiation, no compression, no CBC. */
#define MBEDTLS_KEY_EXCHANGE_ECDHE_ECDSA_ENABLED
#define MBEDTLS_KEY_EXCHANGE_ECDHE_RSA_ENABLED
#define MBEDTLS_SSL_ALPN
#define MBEDTLS_SSL_CLI_C
#define MBEDTLS_SSL_EXTENDED_MASTER_SECRET
#define MBEDTLS_SSL_KEEP_PEER_CERTIFICATE
#define MBEDTLS_SSL_PROTO_TLS1_2
#define MBEDTLS_SSL_SERVER_NAME_INDICATION
#define MBEDTLS_SSL_SESSION_TICKETS
#define MBEDTLS_SSL_TLS_C

/* TLS 1.3 rests on the PSA layer; lease_psa_config.h says on what of it. That takes its random
 * numbers from random.c, straight from the kernel, as lease.h itself does: no entropy pool and no
 * generator of mbedTLS's own, and no /dev/urandom, which an image FROM scratch need not have.
 * Resumption keeps a fresh key exchange (PSK with ECDHE). */
#ifndef LEASE_TLS12_ONLY
#define MBEDTLS_HKDF_C
#define MBEDTLS_PSA_CRYPTO_C
#define MBEDTLS_PSA_CRYPTO_CONFIG
#define MBEDTLS_PSA_CRYPTO_EXTERNAL_RNG
#define MBEDTLS_SSL_PROTO_TLS1_3
#define MBEDTLS_SSL_TLS1_3_COMPATIBILITY_MODE
#define MBEDTLS_SSL_TLS1_3_KEY_EXCHANGE_MODE_EPHEMERAL_ENABLED
#define MBEDTLS_SSL_TLS1_3_KEY_EXCHANGE_MODE_PSK_EPHEMERAL_ENABLED
#endif

/* A server may send records of 16 KiB whatever we ask for; what we send fits 4 KiB pieces. */
#define MBEDTLS_SSL_IN_CONTENT_LEN 16384
#define MBEDTLS_SSL_OUT_CONTENT_LEN 4096

/* AES-128 first: the server follows our order, and it is the cheapest. */
#define LEASE_TLS12_SUITES                                                                         \
    MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,                                               \
        MBEDTLS_TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,                                             \
        MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,                                           \
        MBEDTLS_TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384
#ifdef LEASE_TLS12_ONLY
#define MBEDTLS_SSL_CIPHERSUITES LEASE_TLS12_SUITES
#else
#define MBEDTLS_SSL_CIPHERSUITES                                                                   \
    MBEDTLS_TLS1_3_AES_128_GCM_SHA256, MBEDTLS_TLS1_3_AES_256_GCM_SHA384, LEASE_TLS12_SUITES
#endif

#endif /* LEASE_MBEDTLS_CONFIG_H */
