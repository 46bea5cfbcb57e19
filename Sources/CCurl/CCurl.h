#pragma once
#include <curl/curl.h>

/* Outbound: curl_easy_setopt and curl_easy_getinfo are variadic, which Swift cannot import. */
typedef size_t (*outbound_receive)(char *bytes, size_t size, size_t count, void *context);
typedef int (*outbound_progress)(void *context, curl_off_t, curl_off_t, curl_off_t, curl_off_t);

static inline CURLcode outbound_start(void) { return curl_global_init(CURL_GLOBAL_DEFAULT); }
static inline CURLcode outbound_set_number(CURL *easy, CURLoption option, long value) {
    return curl_easy_setopt(easy, option, value);
}
static inline CURLcode outbound_set_size(CURL *easy, CURLoption option, curl_off_t value) {
    return curl_easy_setopt(easy, option, value);
}
static inline CURLcode outbound_set_text(CURL *easy, CURLoption option, const char *value) {
    return curl_easy_setopt(easy, option, value);
}
static inline CURLcode outbound_set_pointer(CURL *easy, CURLoption option, void *value) {
    return curl_easy_setopt(easy, option, value);
}
static inline CURLcode outbound_set_receive(CURL *easy, CURLoption option, outbound_receive value) {
    return curl_easy_setopt(easy, option, value);
}
static inline CURLcode outbound_set_progress(CURL *easy, outbound_progress value) {
    return curl_easy_setopt(easy, CURLOPT_XFERINFOFUNCTION, value);
}
static inline long outbound_status(CURL *easy) {
    long status = 0;
    return curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status) == CURLE_OK ? status : 0;
}
static inline const char *outbound_text(CURL *easy, CURLINFO info) {
    char *text = 0;
    return curl_easy_getinfo(easy, info, &text) == CURLE_OK ? text : 0;
}
