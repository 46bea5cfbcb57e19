/* sign KEY: for each line of standard input, prints its signature in base64url without padding. The key is a PEM file:
   one of P-256 makes ES256 (RFC 7518 section 3.4: R and S, 32 bytes each), an RSA one RS256 (section 3.3). Ten thousand
   tokens take a second with the first, ten with the second. */

#define _GNU_SOURCE
#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { signatureBytesMax = 512 };

static void fail(const char *what) {
    fprintf(stderr, "sign: %s\n", what);
    exit(1);
}

static void printBase64URL(const unsigned char *bytes, int count) {
    char text[2 * signatureBytesMax];
    int length = EVP_EncodeBlock((unsigned char *)text, bytes, count);
    while (length > 0 && text[length - 1] == '=') length--;
    for (int i = 0; i < length; i++) putchar(text[i] == '+' ? '-' : text[i] == '/' ? '_' : text[i]);
    putchar('\n');
}

/* What OpenSSL gives for ECDSA is DER; JWS wants the two numbers alone. */
static void printNumbers(const unsigned char *der, size_t derBytes) {
    unsigned char raw[64];
    ECDSA_SIG *numbers = d2i_ECDSA_SIG(NULL, &der, (long)derBytes);
    if (numbers == NULL || BN_bn2binpad(ECDSA_SIG_get0_r(numbers), raw, 32) != 32
        || BN_bn2binpad(ECDSA_SIG_get0_s(numbers), raw + 32, 32) != 32)
        fail("not a P-256 signature");
    printBase64URL(raw, sizeof raw);
    ECDSA_SIG_free(numbers);
}

static void sign(EVP_PKEY *key, const char *text, size_t length) {
    unsigned char signature[signatureBytesMax];
    size_t count = sizeof signature;
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    if (context == NULL || EVP_DigestSignInit(context, NULL, EVP_sha256(), NULL, key) != 1
        || EVP_DigestSign(context, signature, &count, (const unsigned char *)text, length) != 1)
        fail("cannot sign");
    if (EVP_PKEY_get_base_id(key) == EVP_PKEY_RSA) printBase64URL(signature, (int)count);
    else printNumbers(signature, count);
    EVP_MD_CTX_free(context);
}

int main(int count, char **arguments) {
    if (count != 2) fail("usage: sign KEY");
    FILE *file = fopen(arguments[1], "r");
    EVP_PKEY *key = file == NULL ? NULL : PEM_read_PrivateKey(file, NULL, NULL, NULL);
    if (key == NULL) fail("cannot read the key");
    char *line = NULL;
    size_t room = 0;
    ssize_t length;
    while ((length = getline(&line, &room, stdin)) > 0) {
        if (line[length - 1] == '\n') length--;
        sign(key, line, (size_t)length);
    }
    return 0;
}
