// SPDX-License-Identifier: Apache-2.0
//
// The variadic calls of libcurl, which Swift cannot import, one for each type of argument.
#ifndef ESCRA_CCURL_H
#define ESCRA_CCURL_H

#include <curl/curl.h>

static inline CURLcode escra_curl_set_number(CURL *_Nonnull handle, CURLoption option, long value) {
    return curl_easy_setopt(handle, option, value);
}

static inline CURLcode escra_curl_set_text(CURL *_Nonnull handle, CURLoption option,
                                           const char *_Nullable value) {
    return curl_easy_setopt(handle, option, value);
}

static inline CURLcode escra_curl_set_pointer(CURL *_Nonnull handle, CURLoption option,
                                              void *_Nullable value) {
    return curl_easy_setopt(handle, option, value);
}

/// Has the response's bytes handed to `write`, with `context`.
static inline CURLcode escra_curl_set_writer(CURL *_Nonnull handle,
                                             size_t (*_Nonnull write)(char *_Nullable, size_t, size_t,
                                                                      void *_Nullable),
                                             void *_Nullable context) {
    CURLcode code = curl_easy_setopt(handle, CURLOPT_WRITEFUNCTION, write);
    return code ? code : curl_easy_setopt(handle, CURLOPT_WRITEDATA, context);
}

static inline CURLcode escra_curl_get_number(CURL *_Nonnull handle, CURLINFO info,
                                             long *_Nonnull value) {
    return curl_easy_getinfo(handle, info, value);
}

static inline CURLcode escra_curl_get_pointer(CURL *_Nonnull handle, CURLINFO info,
                                              char *_Nullable *_Nonnull value) {
    return curl_easy_getinfo(handle, info, value);
}

static inline CURLMcode escra_curl_multi_set_number(CURLM *_Nonnull multi, CURLMoption option,
                                                    long value) {
    return curl_multi_setopt(multi, option, value);
}

/// Has `watch` told which sockets to wait on, and `time` in how many milliseconds to call.
static inline CURLMcode
escra_curl_multi_set_callbacks(CURLM *_Nonnull multi,
                               int (*_Nonnull watch)(CURL *_Nullable, curl_socket_t, int,
                                                     void *_Nullable, void *_Nullable),
                               int (*_Nonnull time)(CURLM *_Nullable, long, void *_Nullable),
                               void *_Nullable context) {
    curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, watch);
    curl_multi_setopt(multi, CURLMOPT_SOCKETDATA, context);
    curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, time);
    return curl_multi_setopt(multi, CURLMOPT_TIMERDATA, context);
}

/// The result of a message that says CURLMSG_DONE.
static inline CURLcode escra_curl_result(const CURLMsg *_Nonnull message) {
    return message->data.result;
}

#endif
