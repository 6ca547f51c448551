#include "chassis/web/caller.h"

#include "chassis/base/http_request.h"
#include "chassis/base/wait.h"

#include <curl/curl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { IDLE_MAX = 64, ANSWER_MAX = 1 << 20 };

/* Each handle has a connection of its own. The one that was used last is used next, so that few are kept alive. */
struct caller {
    pthread_mutex_t lock;
    CURL *idle[IDLE_MAX];
    int idle_n;
    atomic_bool cut;
};

verdict caller_start(struct caller **out, struct failure *why) {
    if (curl_global_init(CURL_GLOBAL_DEFAULT)) return fail(why, FATAL, "could not start libcurl");
    struct caller *c = *out = calloc(1, sizeof *c);
    if (!c) {
        curl_global_cleanup();
        return fail(why, RETRY, "out of memory");
    }
    pthread_mutex_init(&c->lock, NULL);
    return OK;
}

void caller_cut(struct caller *c) {
    if (c) atomic_store(&c->cut, true);
}

void caller_stop(struct caller **caller) {
    struct caller *c = *caller;
    if (!c) return;
    *caller = NULL;
    while (c->idle_n) curl_easy_cleanup(c->idle[--c->idle_n]);
    pthread_mutex_destroy(&c->lock);
    free(c);
    curl_global_cleanup();
}

static CURL *handle_take(struct caller *c) {
    lock_auto(&c->lock);
    CURL *easy = c->idle_n ? c->idle[--c->idle_n] : curl_easy_init();
    if (easy) curl_easy_reset(easy); /* its connection stays */
    return easy;
}

static void handle_return(struct caller *c, CURL *easy) {
    lock_auto(&c->lock);
    if (easy && c->idle_n < IDLE_MAX)
        c->idle[c->idle_n++] = easy;
    else
        curl_easy_cleanup(easy);
}

/* --- One try */

static int is_cut(void *caller, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d) {
    (void)a, (void)b, (void)c, (void)d;
    return atomic_load(&((struct caller *)caller)->cut);
}

static bool header_add(struct curl_slist **headers, const char *name, const char *value) {
    char line[400];
    if (!value) return true;
    snprintf(line, sizeof line, "%s: %s", name, value);
    struct curl_slist *all = curl_slist_append(*headers, line);
    if (all) *headers = all;
    return all;
}

static bool headers_make(const struct outcall *o, struct curl_slist **headers) {
    return header_add(headers, "Content-Type", o->body ? "application/json" : NULL) &&
           header_add(headers, "Idempotency-Key", o->key) && header_add(headers, "traceparent", o->trace_parent);
}

static bool options_set(
    CURL *easy, struct caller *c, const struct outcall *o, struct curl_slist *headers, struct buffer *answer,
    char error[CURL_ERROR_SIZE]) {
    error[0] = '\0';
    if (o->body) curl_easy_setopt(easy, CURLOPT_POSTFIELDS, o->body);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, error);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)o->connect_ms);
    curl_easy_setopt(easy, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(easy, CURLOPT_XFERINFOFUNCTION, is_cut);
    curl_easy_setopt(easy, CURLOPT_XFERINFODATA, c);
    return http_request_set(easy, o->url, o->total_ms, headers, answer);
}

/* Another try may help also when an earlier one is still being answered (idempotency.h), which alone has a Retry-After
 * with its 409. */
bool caller_try(struct caller *c, const struct outcall *o, struct heard *out, struct buffer *answer) {
    struct curl_slist *headers = NULL;
    char error[CURL_ERROR_SIZE] = "out of memory";
    CURLcode result = CURLE_OUT_OF_MEMORY;
    curl_off_t connected = 0, retry_after = 0;
    long status = 0;
    CURL *easy = handle_take(c);
    if (easy && headers_make(o, &headers) && options_set(easy, c, o, headers, answer, error)) {
        result = curl_easy_perform(easy);
        curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
        curl_easy_getinfo(easy, CURLINFO_PRETRANSFER_TIME_T, &connected);
        curl_easy_getinfo(easy, CURLINFO_RETRY_AFTER, &retry_after);
    }
    out->status = result == CURLE_OK ? (int)status : 0;
    out->in_doubt |= result != CURLE_OK && result != CURLE_COULDNT_CONNECT && connected > 0;
    snprintf(
        out->why, sizeof out->why, "%s",
        result == CURLE_OK                    ? ""
        : result == CURLE_ABORTED_BY_CALLBACK ? "this service is stopping"
        : *error                              ? error
                                              : curl_easy_strerror(result));
    handle_return(c, easy);
    curl_slist_free_all(headers);
    return !out->status || out->status >= 500 || (out->status == 409 && retry_after > 0);
}

void caller_ask(struct caller *c, const struct outcall *o, struct heard *out) {
    *out = (struct heard){0};
    for (int pause_ms = o->backoff_ms;; pause_ms *= 2) {
        buffer_auto answer = BUFFER(ANSWER_MAX);
        bool again = caller_try(c, o, out, &answer);
        json_decref(out->said);
        out->said = answer.data ? json_loadb(answer.data, answer.length, 0, NULL) : NULL;
        out->tries++;
        if (!again || out->tries > o->retries || atomic_load(&c->cut)) return;
        nanosleep(&(struct timespec){pause_ms / 1000, pause_ms % 1000 * 1000000L}, NULL);
    }
}
