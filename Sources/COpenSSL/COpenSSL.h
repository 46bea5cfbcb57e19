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
#include <openssl/ocsp.h>
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
        | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_NO_AUTO_CHAIN);
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
/* The authenticated part of a ticket: HMAC with SHA-256 under this key. */
static inline int copenssl_set_ticket_mac(EVP_MAC_CTX *context, unsigned char *key, size_t length) {
    char digest[] = "SHA256";
    OSSL_PARAM parameters[3];
    parameters[0] = OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, key, length);
    parameters[1] = OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0);
    parameters[2] = OSSL_PARAM_construct_end();
    return EVP_MAC_CTX_set_params(context, parameters);
}
static const uint64_t copenssl_no_ticket = SSL_OP_NO_TICKET;
static inline int copenssl_session_set_min_version(SSL *session, int version) {
    return (int) SSL_set_min_proto_version(session, version);
}
static inline int copenssl_set_verify_store(SSL_CTX *context, X509_STORE *store) {
    return (int) SSL_CTX_set1_verify_cert_store(context, store);
}
typedef int (*copenssl_status_callback)(SSL *, void *);
static inline void copenssl_set_status_callback(SSL_CTX *context, copenssl_status_callback callback, void *argument) {
    SSL_CTX_set_tlsext_status_cb(context, callback);
    SSL_CTX_set_tlsext_status_arg(context, argument);
}
/* The session owns `response`, which came from OPENSSL_malloc. */
static inline int copenssl_set_staple(SSL *session, unsigned char *response, long length) {
    return (int) SSL_set_tlsext_status_ocsp_resp(session, response, length);
}
static inline unsigned char *copenssl_allocate(size_t count) { return OPENSSL_malloc(count); }
static inline STACK_OF(X509) *copenssl_certificates_new(void) { return sk_X509_new_null(); }
static inline int copenssl_certificates_push(STACK_OF(X509) *list, X509 *certificate) {
    return sk_X509_push(list, certificate);
}
static inline void copenssl_certificates_free(STACK_OF(X509) *list) { sk_X509_pop_free(list, X509_free); }
/* Whether the oldest error is that PEM text has no further part. */
static inline int copenssl_is_end_of_pem(void) {
    unsigned long code = ERR_peek_last_error();
    return ERR_GET_LIB(code) == ERR_LIB_PEM && ERR_GET_REASON(code) == PEM_R_NO_START_LINE;
}
static inline const EVP_MD *copenssl_digest(const ASN1_OBJECT *algorithm) { return EVP_get_digestbyobj(algorithm); }
static inline int copenssl_print_name(BIO *output, const X509_NAME *name) {
    return X509_NAME_print_ex(output, name, 0, XN_FLAG_RFC2253);
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
/* The bytes of a name that is text (GEN_DNS, GEN_EMAIL, GEN_URI); NULL for a name of another kind. */
static inline const unsigned char *copenssl_name_text(const GENERAL_NAME *name, int *kind, int *length) {
    if (name->type != GEN_DNS && name->type != GEN_EMAIL && name->type != GEN_URI) return NULL;
    *kind = name->type;
    *length = ASN1_STRING_length(name->d.ia5);
    return ASN1_STRING_get0_data(name->d.ia5);
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
