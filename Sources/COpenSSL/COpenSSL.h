#pragma once
#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

/* --- TLS: macros of libssl that Swift cannot import --- */

static inline void copenssl_bio_clear_retry(BIO *bio) { BIO_clear_retry_flags(bio); }
static inline void copenssl_bio_set_retry_read(BIO *bio) { BIO_set_retry_read(bio); }
static inline long copenssl_set_min_version(SSL_CTX *context, int version) {
    return SSL_CTX_set_min_proto_version(context, version);
}
static inline long copenssl_set_mode(SSL_CTX *context) {
    return SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE
        | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
}
static inline uint64_t copenssl_set_options(SSL_CTX *context) {
    return SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION
        | SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA | SSL_OP_IGNORE_UNEXPECTED_EOF);
}
static inline void copenssl_set_read_ahead(SSL_CTX *context) { SSL_CTX_set_read_ahead(context, 1); }
static inline long copenssl_set_groups(SSL_CTX *context, const char *names) {
    return SSL_CTX_set1_groups_list(context, names);
}
static inline long copenssl_cache_off(SSL_CTX *context) {
    return SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
}
static inline long copenssl_set_ticket_keys(SSL_CTX *context, void *keys, long length) {
    return SSL_CTX_set_tlsext_ticket_keys(context, keys, length);
}
static inline long copenssl_ticket_keys_length(SSL_CTX *context) {
    return SSL_CTX_get_tlsext_ticket_keys(context, NULL, 0);
}
typedef int (*copenssl_servername_callback)(SSL *, int *, void *);
static inline void copenssl_set_servername_callback(
    SSL_CTX *context, copenssl_servername_callback callback, void *argument) {
    SSL_CTX_set_tlsext_servername_callback(context, callback);
    SSL_CTX_set_tlsext_servername_arg(context, argument);
}
static inline int copenssl_general_names_count(const GENERAL_NAMES *names) { return sk_GENERAL_NAME_num(names); }
static inline GENERAL_NAME *copenssl_general_name(const GENERAL_NAMES *names, int index) {
    return sk_GENERAL_NAME_value(names, index);
}
/* The bytes of a DNS name; NULL for a name of another kind. */
static inline const unsigned char *copenssl_dns_name(const GENERAL_NAME *name, int *length) {
    if (name->type != GEN_DNS) return NULL;
    *length = ASN1_STRING_length(name->d.dNSName);
    return ASN1_STRING_get0_data(name->d.dNSName);
}
/* JOSE: what Swift cannot import, and the digest that must not allocate. */
#include <openssl/sha.h>
#include <stddef.h>
#include <stdint.h>

/* The low-level calls are marked deprecated since 3.0, but for the 43 bytes of a cookie they take 69 ns, where SHA256()
   takes 454, because it looks the algorithm up and allocates, and a reused EVP_MD_CTX takes 112. */
static inline int jose_sha256(const uint8_t *bytes, size_t count, uint8_t *digest) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
    SHA256_CTX context;
    return SHA256_Init(&context) && SHA256_Update(&context, bytes, count) && SHA256_Final(digest, &context);
#pragma GCC diagnostic pop
}

/* A variadic macro in OpenSSL. */
static inline EVP_PKEY *jose_generate_p256(void) { return EVP_EC_gen("P-256"); }
