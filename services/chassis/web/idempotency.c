#include "chassis/web/idempotency.h"

#include "chassis/base/crash.h"
#include "chassis/base/log.h"
#include "chassis/base/utf8.h"
#include "chassis/store/store.h"
#include "chassis/web/http_private.h"

#include <civetweb.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KEPT_MS = 24 * 3600 * 1000, FORGOTTEN_AT_ONCE = 20, REQUEST_TEXT = 300 };

/* A refusal costs its sender nothing, so what is kept of them has a bound: the newest, and of each no more than a small
 * page. A form comes back with all that was in it; who sends one again that was refused has it looked at again. */
enum { REFUSALS_KEPT = 1000, REFUSAL_BYTES = 8192 };

/* A request with a key, while it is being answered. */
struct keyed {
    char key[IDEMPOTENCY_KEY_MAX + 1];
    unsigned char fingerprint[IDEMPOTENCY_HASH];
    bool kept; /* its answer is */
    struct keyed *next;
};

struct idempotency {
    struct store *store;
    pthread_mutex_t lock; /* guards the list */
    struct keyed *running;
};

struct idempotency *idempotency_new(struct store *store) {
    struct idempotency *i = calloc(1, sizeof *i);
    if (!i) return NULL;
    i->store = store;
    pthread_mutex_init(&i->lock, NULL);
    return i;
}

void idempotency_free(struct idempotency **i) {
    if (!*i) return;
    pthread_mutex_destroy(&(*i)->lock);
    free(*i);
    *i = NULL;
}

/* --- The key and the request */

/* Up to the quote that ends it; NULL: none does. */
static const char *quoted_read(const char *p, char *out, size_t *n) {
    for (; *p && *p != '"'; p++) {
        if (*p == '\\' && (p[1] == '"' || p[1] == '\\')) p++;
        if (*n <= IDEMPOTENCY_KEY_MAX) out[(*n)++] = *p;
    }
    return *p ? p + 1 : NULL;
}

verdict idempotency_key_read(const char *header, char out[IDEMPOTENCY_KEY_MAX + 1], struct failure *why) {
    char key[IDEMPOTENCY_KEY_MAX + 1];
    size_t n = 0;
    const char *end = header + 1;
    if (*header == '"')
        end = quoted_read(end, key, &n);
    else
        for (end = header; *end; end++)
            if (n <= IDEMPOTENCY_KEY_MAX) key[n++] = *end;
    if (!end || end[strspn(end, " \t")])
        return fail(why, REJECT, "%.60s begins with a quote and does not end with one", header);
    if (!n) return fail(why, REJECT, "it is empty");
    if (n > IDEMPOTENCY_KEY_MAX) return fail(why, REJECT, "it has more than %d characters", IDEMPOTENCY_KEY_MAX);
    for (size_t i = 0; i < n; i++)
        if (key[i] <= ' ' || key[i] > '~')
            return fail(why, REJECT, "%.60s holds a blank, or what is no ASCII character", header);
    memcpy(out, key, n);
    out[n] = '\0';
    return OK;
}

static void part_write(struct buffer *b, const void *bytes, size_t n) {
    buffer_format(b, "%zu:", n); /* so that two parts are never taken for another two */
    buffer_bytes(b, bytes, n);
}

bool idempotency_fingerprint(const struct request_parts *r, unsigned char out[IDEMPOTENCY_HASH]) {
    const char *texts[] = {r->method, r->path, r->query, r->content_type, r->if_match};
    struct buffer all = BUFFER(r->body_n + 65536);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (texts[i])
            part_write(&all, texts[i], strlen(texts[i]));
        else
            buffer_text(&all, "-");
    part_write(&all, r->body, r->body_n);
    bool hashed = !all.failed && EVP_Digest(all.data, all.length, out, NULL, EVP_sha256(), NULL) == 1;
    buffer_free(&all);
    return hashed;
}

static bool request_hash(struct exchange *x, unsigned char out[IDEMPOTENCY_HASH]) {
    return idempotency_fingerprint(
        &(struct request_parts){
            x->method, x->path, mg_get_request_info(x->private->connection)->query_string,
            exchange_header(x, "Content-Type"), exchange_header(x, "If-Match"), x->body, x->body_n},
        out);
}

/* The form's field; NULL: none. The caller's. A form that cannot be read is the function's to refuse. */
static char *form_key(struct exchange *x) {
    json_t *form;
    struct failure why;
    bool may = memmem(x->body, x->body_n, IDEMPOTENCY_FIELD, strlen(IDEMPOTENCY_FIELD)) &&
               exchange_type_is(x, "application/x-www-form-urlencoded");
    if (!may || form_read(x->body, x->body_n, &form, &why) != OK) return NULL;
    const char *key = json_string_value(json_object_get(form, IDEMPOTENCY_FIELD));
    char *copy = key ? strdup(key) : NULL;
    json_decref(form);
    return copy;
}

/* "": the request has none. False: refused. */
static bool key_find(struct exchange *x, char key[IDEMPOTENCY_KEY_MAX + 1]) {
    struct failure why;
    const char *header = exchange_header(x, "Idempotency-Key");
    char *field = header ? NULL : form_key(x);
    key[0] = '\0';
    if (exchange_header_count(x, "Idempotency-Key") > 1)
        exchange_problem(x, 400, "Nothing was done: Idempotency-Key is there more than once; send it once.");
    else if ((header || field) && idempotency_key_read(header ? header : field, key, &why) != OK)
        exchange_problem(
            x, 400, "Nothing was done: the Idempotency-Key is not valid: %s. Send 1 to %d visible ASCII characters.",
            why.text, IDEMPOTENCY_KEY_MAX);
    free(field);
    return !exchange_refused(x);
}

const char *exchange_key(const struct exchange *x) {
    const struct keyed *k = x->private->keyed;
    return k ? k->key : NULL;
}

/* --- Those that run */

/* False: one with that key runs already, and whether that is the same request is in *same. */
static bool run_enter(struct idempotency *i, struct keyed *k, bool *same) {
    pthread_mutex_lock(&i->lock);
    const struct keyed *other = i->running;
    while (other && strcmp(other->key, k->key) != 0) other = other->next;
    *same = other && !memcmp(other->fingerprint, k->fingerprint, IDEMPOTENCY_HASH);
    if (!other) {
        k->next = i->running;
        i->running = k;
    }
    pthread_mutex_unlock(&i->lock);
    return !other;
}

static void run_leave(struct idempotency *i, struct keyed *k) {
    pthread_mutex_lock(&i->lock);
    struct keyed **at = &i->running;
    while (*at != k) at = &(*at)->next;
    *at = k->next;
    pthread_mutex_unlock(&i->lock);
}

/* --- Answers that are kept */

static void answer_write(const struct exchange *x, const struct keyed *k, struct connection *c) {
    const struct exchange_private *p = x->private;
    int64_t now = clock_ms();
    char request[REQUEST_TEXT], *headers = json_dumps(p->headers, JSON_COMPACT);
    if (!headers) store_spoil(c, RETRY, "out of memory");
    snprintf(request, sizeof request, "%s %s", x->method, x->path);
    (void)store_run(
        c,
        "DELETE FROM idempotency WHERE idempotency_key = ? OR idempotency_key IN "
        "(SELECT idempotency_key FROM idempotency WHERE at <= ? AND idempotency_key <> ? ORDER BY at LIMIT ?)",
        value_text(k->key), value_int(now - KEPT_MS), value_text(k->key), value_int(FORGOTTEN_AT_ONCE));
    if (x->status >= 400)
        (void)store_run(
            c,
            "DELETE FROM idempotency WHERE idempotency_key IN (SELECT idempotency_key FROM idempotency "
            "WHERE status >= 400 ORDER BY at DESC LIMIT ? OFFSET ?)",
            value_int(FORGOTTEN_AT_ONCE), value_int(REFUSALS_KEPT - 1));
    (void)store_run(
        c,
        "INSERT INTO idempotency (idempotency_key, at, request, fingerprint, status, content_type, headers, body) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        value_text(k->key), value_int(now), value_text(request), value_blob(k->fingerprint, IDEMPOTENCY_HASH),
        value_int(x->status), value_text(p->content_type), value_text(headers),
        value_blob(p->sent.data ? p->sent.data : "", p->sent.length));
    free(headers);
}

verdict exchange_commit(struct exchange *x, struct connection *c, struct failure *why) {
    struct keyed *k = x->private->keyed;
    bool keep = k && !k->kept;
    if (keep && exchange_settle(x))
        answer_write(x, k, c);
    else if (keep)
        store_spoil(c, RETRY, "the answer could not be put together");
    crash_point("before answer commit");
    verdict v = store_commit(c, why);
    crash_point("after answer commit");
    if (v != OK)
        exchange_take_back(x);
    else if (keep)
        k->kept = true;
    return v;
}

static void request_quote(const char *request, char out[REQUEST_TEXT]) {
    json_t *clean = utf8_json(request);
    snprintf(out, REQUEST_TEXT, "%.200s", clean ? json_string_value(clean) : "");
    json_decref(clean);
}

static void answer_replay(struct exchange *x, const struct rows *r) {
    json_t *headers = json_loads(rows_text(r, 4), 0, NULL), *value;
    const char *name;
    size_t n;
    const void *body = rows_blob(r, 5, &n);
    if (!headers) {
        exchange_problem(x, 503, "The first answer could not be read; send the request again.");
        return;
    }
    json_object_foreach(headers, name, value) exchange_set_header(x, name, json_string_value(value));
    exchange_set_header(x, "Idempotency-Replayed", "true");
    exchange_send(x, (int)rows_int(r, 2), rows_text(r, 3), body ? body : "", n);
    json_decref(headers);
}

/* Whether its key was used before; if so, it is answered now. Also when the database does not say. */
static bool answer_recall(struct exchange *x, struct connection *reader, const struct keyed *k) {
    bool found = false;
    for (struct rows r = store_rows(
             reader,
             "SELECT request, fingerprint, status, content_type, headers, body FROM idempotency "
             "WHERE idempotency_key = ? AND at > ?",
             value_text(k->key), value_int(clock_ms() - KEPT_MS));
         rows_next(&r); found = true) {
        size_t n;
        const void *fingerprint = rows_blob(&r, 1, &n);
        char request[REQUEST_TEXT];
        request_quote(rows_text(&r, 0), request);
        if (n == IDEMPOTENCY_HASH && !memcmp(fingerprint, k->fingerprint, n))
            answer_replay(x, &r);
        else
            exchange_problem(
                x, 422,
                "Nothing was done: the Idempotency-Key \"%s\" was used for another request (%s); give this one a key "
                "of its own.",
                k->key, request);
    }
    if (store_state(reader) == OK) return found;
    exchange_set_header(x, "Retry-After", "1");
    exchange_problem(
        x, 503, "Nothing was done: whether it was done before cannot be read: %s. Send it again.", store_error(reader));
    return true;
}

/* --- Around a POST */

static bool run_refused(struct exchange *x, const struct keyed *k, bool same) {
    if (same) exchange_set_header(x, "Retry-After", "1");
    if (same)
        exchange_problem(
            x, 409, "The first request with the Idempotency-Key \"%s\" is still being answered; send it again.",
            k->key);
    else
        exchange_problem(
            x, 422,
            "Nothing was done: the Idempotency-Key \"%s\" is in use for another request; give this one a key of its "
            "own.",
            k->key);
    return false;
}

bool idempotency_begin(struct idempotency *i, struct exchange *x) {
    struct keyed found = {0};
    bool same;
    if (!key_find(x, found.key)) return false;
    if (!*found.key) return true;
    struct keyed *k = request_hash(x, found.fingerprint) ? malloc(sizeof *k) : NULL;
    if (!k) {
        exchange_problem(x, 503, "Nothing was done: there is no memory for the Idempotency-Key. Send it again.");
        return false;
    }
    *k = found;
    if (!run_enter(i, k, &same)) {
        free(k);
        return run_refused(x, &found, same);
    }
    if (!answer_recall(x, store_reader(i->store), k)) {
        x->private->keyed = k;
        return true;
    }
    run_leave(i, k);
    free(k);
    return false;
}

static bool is_last_word(int status) {
    return status < 500 && status != 408 && status != 411 && status != 413 && status != 429;
}

/* What committed nothing with its answer. Should that not be stored, the answer goes out all the same. */
static void answer_keep(struct idempotency *i, struct exchange *x, const struct keyed *k) {
    struct failure why;
    if (x->private->stream != STREAM_NONE || !is_last_word(x->status) || !exchange_settle(x)) return;
    if (x->status >= 400 && x->private->sent.length > REFUSAL_BYTES) return;
    struct connection *c = store_begin(i->store);
    answer_write(x, k, c);
    if (store_commit(c, &why) != OK)
        log_line(LOG_WARNING, "could not keep an answer", "reason", why.text, "trace", x->trace_parent, NULL);
}

void idempotency_end(struct idempotency *i, struct exchange *x) {
    struct keyed *k = x->private->keyed;
    if (!k) return;
    if (!k->kept) answer_keep(i, x, k);
    run_leave(i, k);
    x->private->keyed = NULL;
    free(k);
}
