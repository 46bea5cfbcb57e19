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
