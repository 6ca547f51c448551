#include "chassis/web/load.h"

#include "chassis/base/buffer.h"
#include "chassis/base/http_request.h"
#include "chassis/base/ids.h"

#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum { ANSWER_MAX = 32 << 20, TURN_MS = 100 };

struct slot { /* a connection, and the request that is on it */
    CURL *easy;
    char *body; /* NULL: it is idle */
    struct buffer answer;
    char error[CURL_ERROR_SIZE];
    int64_t n, due_us;
};

struct run {
    const struct load *l;
    CURLM *multi;
    struct curl_slist *headers;
    struct slot *slots;
    int timer; /* curl waits in whole milliseconds; this one is exact */
    int64_t began_us, began_at, next, busy;
    bool enough;
};

static int64_t now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000) + t.tv_nsec / 1000;
}

static CURL *
easy_make(const char *url, int timeout_ms, struct curl_slist *headers, struct buffer *answer, char *error) {
    CURL *easy = curl_easy_init();
    if (easy && http_request_set(easy, url, timeout_ms, headers, answer) &&
        !curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, error))
        return easy;
    if (easy) curl_easy_cleanup(easy);
    return NULL;
}

static struct curl_slist *headers_make(void) {
    struct curl_slist *json = curl_slist_append(NULL, "Content-Type: application/json");
    struct curl_slist *all = json ? curl_slist_append(json, "Expect:") : NULL;
    if (!all) curl_slist_free_all(json);
    return all;
}

/* --- The run */

static int64_t due_us(const struct run *r, int64_t n) {
    return r->began_us + (int64_t)((double)n / r->l->rate * 1e6);
}

static struct slot *slot_idle(struct run *r) {
    for (int i = 0; i < r->l->connections; i++)
        if (!r->slots[i].body) return &r->slots[i];
    return NULL;
}

static bool send_due(struct run *r) {
    struct slot *s;
    while (!r->enough && r->next < r->l->count && due_us(r, r->next) <= now_us() && (s = slot_idle(r))) {
        s->body = r->l->body(r->l->context, r->next);
        if (!s->body) return false;
        s->n = r->next++;
        s->due_us = due_us(r, s->n);
        buffer_clear(&s->answer);
        *s->error = '\0';
        curl_easy_setopt(s->easy, CURLOPT_POSTFIELDSIZE, (long)strlen(s->body));
        curl_easy_setopt(s->easy, CURLOPT_POSTFIELDS, s->body);
        if (curl_multi_add_handle(r->multi, s->easy)) return false;
        r->busy++;
    }
    return true;
}

static void answered(struct run *r, const CURLMsg *m) {
    struct slot *s;
    long status = 0;
    curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&s);
    if (!m->data.result) curl_easy_getinfo(s->easy, CURLINFO_RESPONSE_CODE, &status);
    const char *error = *s->error ? s->error : curl_easy_strerror(m->data.result);
    struct load_answer a = {
        .n = s->n,
        .status = (int)status,
        .body = m->data.result   ? error
                : s->answer.data ? s->answer.data
                                 : "",
        .ms = (double)(now_us() - s->due_us) / 1000,
        .due_at = r->began_at + (s->due_us - r->began_us) / 1000};
    r->l->answered(r->l->context, &a);
    curl_multi_remove_handle(r->multi, s->easy);
    free(s->body);
    s->body = NULL;
    r->busy--;
}

/* Until an answer comes, the next request is due, or it is time for a turn. */
static void wait_for_more(struct run *r) {
    int64_t due = r->next < r->l->count && slot_idle(r) ? due_us(r, r->next) : INT64_MAX / 2;
    struct itimerspec at = {.it_value = {due / 1000000, due % 1000000 * 1000 + 1}};
    struct curl_waitfd timer = {.fd = r->timer, .events = CURL_WAIT_POLLIN};
    timerfd_settime(r->timer, TFD_TIMER_ABSTIME, &at, NULL);
    curl_multi_poll(r->multi, &timer, 1, TURN_MS, NULL);
}

static verdict run_all(struct run *r, struct failure *why) {
    int64_t turn_us = r->began_us;
    int left;
    while (r->busy || (!r->enough && r->next < r->l->count)) {
        if (!send_due(r)) return fail(why, RETRY, "out of memory");
        curl_multi_perform(r->multi, &left);
        for (CURLMsg *m; (m = curl_multi_info_read(r->multi, &left));)
            if (m->msg == CURLMSG_DONE) answered(r, m);
        if (r->l->turn && now_us() >= turn_us) {
            turn_us = now_us() + TURN_MS * 1000;
            r->enough = !r->l->turn(r->l->context);
            if (r->enough) break; /* what is under way is given up */
        }
        if (!slot_idle(r) || r->next >= r->l->count || due_us(r, r->next) > now_us()) wait_for_more(r);
    }
    return OK;
}

static bool run_open(struct run *r) {
    r->headers = headers_make();
    r->multi = curl_multi_init();
    r->slots = calloc((size_t)r->l->connections, sizeof *r->slots);
    r->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (!r->headers || !r->multi || !r->slots || r->timer < 0) return false;
    curl_multi_setopt(r->multi, CURLMOPT_MAXCONNECTS, (long)r->l->connections);
    for (int i = 0; i < r->l->connections; i++) {
        struct slot *s = &r->slots[i];
        s->answer = BUFFER(ANSWER_MAX);
        s->easy = easy_make(r->l->url, r->l->timeout_ms, r->headers, &s->answer, s->error);
        if (!s->easy) return false;
        curl_easy_setopt(s->easy, CURLOPT_PRIVATE, s);
    }
    return true;
}

static void run_close(struct run *r) {
    for (int i = 0; r->slots && i < r->l->connections; i++) {
        struct slot *s = &r->slots[i];
        if (s->easy && s->body) curl_multi_remove_handle(r->multi, s->easy);
        if (s->easy) curl_easy_cleanup(s->easy);
        free(s->body);
        buffer_free(&s->answer);
    }
    free(r->slots);
    if (r->multi) curl_multi_cleanup(r->multi);
    curl_slist_free_all(r->headers);
    if (r->timer >= 0) close(r->timer);
    curl_global_cleanup();
}

verdict load_run(const struct load *l, struct failure *why) {
    struct run r = {.l = l, .timer = -1};
    if (curl_global_init(CURL_GLOBAL_DEFAULT)) return fail(why, RETRY, "could not start libcurl");
    verdict v = OK;
    if (!run_open(&r)) v = fail(why, RETRY, "out of memory");
    r.began_us = now_us();
    r.began_at = clock_ms();
    if (v == OK) v = run_all(&r, why);
    run_close(&r);
    return v;
}

/* --- One request */

verdict load_ask(const char *url, const char *body, int timeout_ms, int *status, char **text, struct failure *why) {
    struct buffer answer = BUFFER(ANSWER_MAX);
    char error[CURL_ERROR_SIZE] = "";
    long code = 0;
    CURLcode result = CURLE_OUT_OF_MEMORY;
    if (curl_global_init(CURL_GLOBAL_DEFAULT)) return fail(why, RETRY, "could not start libcurl");
    struct curl_slist *headers = headers_make();
    CURL *easy = headers ? easy_make(url, timeout_ms, headers, &answer, error) : NULL;
    if (easy) {
        if (body) curl_easy_setopt(easy, CURLOPT_POSTFIELDS, body);
        result = curl_easy_perform(easy);
        curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &code);
        curl_easy_cleanup(easy);
    }
    curl_slist_free_all(headers);
    curl_global_cleanup();
    *status = (int)code;
    *text = result ? NULL : answer.data ? answer.data : strdup("");
    if (*text) return OK;
    buffer_free(&answer);
    return fail(why, RETRY, "%s: %s", url, *error ? error : curl_easy_strerror(result));
}

/* --- Figures */

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double load_percentile(double *values, size_t n, double p) {
    if (!n) return 0;
    qsort(values, n, sizeof *values, compare);
    size_t rank = (size_t)((double)n * p / 100 + 0.999999);
    return values[rank ? rank - 1 : 0];
}
