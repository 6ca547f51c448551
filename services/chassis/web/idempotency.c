#include "chassis/web/idempotency.h"

#include "chassis/base/crash.h"
#include "chassis/base/json_get.h"
#include "chassis/base/log.h"
#include "chassis/base/utf8.h"
#include "chassis/base/wait.h"
#include "chassis/store/store.h"
#include "chassis/web/http_private.h"

#include <openssl/evp.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

enum { KEPT_MS = 24 * 3600 * 1000, FORGOTTEN_AT_ONCE = 20, REQUEST_TEXT = 300 };

/* What has no effect costs its sender nothing, a refusal or not. So what is kept of it has a bound: the newest, and of
 * each no more than a small page. A form comes back with all that was in it, and is looked at again if it is sent
 * again. */
enum { NO_EFFECT_KEPT = 1000, NO_EFFECT_BYTES = 8192 };

/* --- The key and the request */

verdict idempotency_key_read(const char *header, char out[IDEMPOTENCY_KEY_MAX + 1], struct failure *why) {
    char key[IDEMPOTENCY_KEY_MAX + 1];
    bool quoted = *header == '"';
    size_t n = 0;
    const char *p = header + quoted;
    for (; *p && !(quoted && *p == '"'); p++) {
        if (quoted && *p == '\\' && (p[1] == '"' || p[1] == '\\')) p++;
        if (n <= IDEMPOTENCY_KEY_MAX) key[n++] = *p;
    }
    if (quoted && (!*p || p[1 + strspn(p + 1, " \t")]))
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
    buffer_auto all = BUFFER(r->body_n + 65536);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (texts[i])
            part_write(&all, texts[i], strlen(texts[i]));
        else
            buffer_text(&all, "-");
    part_write(&all, r->body, r->body_n);
    return !all.failed && EVP_Digest(all.data, all.length, out, NULL, EVP_sha256(), NULL) == 1;
}

/* The header, or the form's field. key: "": the request has none. False: refused. A form that cannot be read is the
 * function's to refuse. */
static bool key_find(struct exchange *x, char key[IDEMPOTENCY_KEY_MAX + 1]) {
    struct failure why;
    json_auto_t *form = NULL;
    const char *given = exchange_header(x, "Idempotency-Key");
    bool has_field = !given && memmem(x->body, x->body_n, IDEMPOTENCY_FIELD, strlen(IDEMPOTENCY_FIELD)) &&
                     exchange_type_is(x, "application/x-www-form-urlencoded") &&
                     form_read(x->body, x->body_n, &form, &why) == OK;
    if (has_field) given = json_string_value(json_object_get(form, IDEMPOTENCY_FIELD));
    key[0] = '\0';
    if (exchange_header_count(x, "Idempotency-Key") > 1)
        exchange_problem(x, 400, "Nothing was done: Idempotency-Key is there more than once; send it once.");
    else if (given && idempotency_key_read(given, key, &why) != OK)
        exchange_problem(
            x, 400, "Nothing was done: the Idempotency-Key is not valid: %s. Send 1 to %d visible ASCII characters.",
            why.text, IDEMPOTENCY_KEY_MAX);
    return !exchange_refused(x);
}

const char *exchange_key(const struct exchange *x) {
    return *x->private->keyed.key ? x->private->keyed.key : NULL;
}

/* --- Those that run */

/* False: refused, since one with that key runs already. */
static bool run_enter(struct exchange *x, struct http *h, struct keyed *k) {
    lock_auto(&h->keys_lock);
    const struct keyed *other = h->keys;
    while (other && strcmp(other->key, k->key) != 0) other = other->next;
    if (!other) {
        k->next = h->keys;
        h->keys = k;
        return true;
    }
    bool same = !memcmp(other->fingerprint, k->fingerprint, IDEMPOTENCY_HASH);
    if (same) exchange_set_header(x, "Retry-After", "1");
    exchange_problem(
        x, same ? 409 : 422,
        same ? "The first request with the Idempotency-Key \"%s\" is still being answered; send it again."
             : "Nothing was done: the Idempotency-Key \"%s\" is in use for another request; give this one a key of its "
               "own.",
        k->key);
    return false;
}

static void run_leave(struct http *h, struct keyed *k) {
    lock_auto(&h->keys_lock);
    struct keyed **at = &h->keys;
    while (*at != k) at = &(*at)->next;
    *at = k->next;
}

/* --- Answers that are kept */

static void answer_write(const struct exchange *x, const struct keyed *k, struct connection *c, bool effect) {
    const struct exchange_private *p = x->private;
    int64_t now = clock_ms();
    char request[REQUEST_TEXT];
    text_auto headers = json_dumps(p->headers, JSON_COMPACT);
    if (!headers) store_spoil(c, RETRY, "out of memory");
    snprintf(request, sizeof request, "%s %s", x->method, x->path);
    (void)store_run(
        c,
        "DELETE FROM idempotency WHERE idempotency_key = ? OR idempotency_key IN "
        "(SELECT idempotency_key FROM idempotency WHERE at <= ? AND idempotency_key <> ? ORDER BY at LIMIT ?)",
        value_text(k->key), value_int(now - KEPT_MS), value_text(k->key), value_int(FORGOTTEN_AT_ONCE));
    if (!effect)
        (void)store_run(
            c,
            "DELETE FROM idempotency WHERE idempotency_key IN (SELECT idempotency_key FROM idempotency "
            "WHERE effect = 0 ORDER BY at DESC LIMIT ? OFFSET ?)",
            value_int(FORGOTTEN_AT_ONCE), value_int(NO_EFFECT_KEPT - 1));
    (void)store_run(
        c,
        "INSERT INTO idempotency (idempotency_key, at, request, fingerprint, status, content_type, headers, body, effect) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        value_text(k->key), value_int(now), value_text(request), value_blob(k->fingerprint, IDEMPOTENCY_HASH),
        value_int(x->status), value_text(p->content_type), value_text(headers),
        value_blob(p->sent.data ? p->sent.data : "", p->sent.length), value_int(effect));
}

verdict exchange_commit(struct exchange *x, struct connection *c, struct failure *why) {
    struct keyed *k = &x->private->keyed;
    bool keep = *k->key && !k->kept;
    if (keep && exchange_settle(x))
        answer_write(x, k, c, x->status < 400);
    else if (keep)
        store_spoil(c, RETRY, "the answer could not be put together");
    crash_point("before answer commit");
    verdict v = store_commit(c, why);
    crash_point("after answer commit");
    if (v != OK) exchange_take_back(x);
    k->kept |= keep && v == OK;
    return v;
}

static void answer_replay(struct exchange *x, const struct rows *r) {
    json_auto_t *headers = json_loads(rows_text(r, 4), 0, NULL);
    size_t n;
    const void *body = rows_blob(r, 5, &n);
    if (!headers) {
        exchange_problem(x, 503, "The first answer could not be read; send the request again.");
        return;
    }
    json_members(m, headers) exchange_set_header(x, m.name, json_string_value(m.value));
    exchange_set_header(x, "Idempotency-Replayed", "true");
    exchange_send(x, (int)rows_int(r, 2), rows_text(r, 3), body ? body : "", n);
}

/* Whether its key was used before. If so, it is answered now. Also when the database does not say. */
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
        json_auto_t *request = utf8_json(rows_text(&r, 0));
        if (n == IDEMPOTENCY_HASH && !memcmp(fingerprint, k->fingerprint, n))
            answer_replay(x, &r);
        else
            exchange_problem(
                x, 422,
                "Nothing was done: the Idempotency-Key \"%s\" was used for another request (%.200s); give this one a "
                "key of its own.",
                k->key, request ? json_string_value(request) : "");
    }
    if (store_state(reader) == OK) return found;
    exchange_busy(
        x, "Nothing was done: whether it was done before cannot be read: %s. Send it again.", store_error(reader));
    return true;
}

/* --- Around a POST */

bool idempotency_begin(struct store *store, struct exchange *x) {
    struct keyed *k = &x->private->keyed;
    struct request_parts parts = {x->method,
                                  x->path,
                                  x->private->info->query_string,
                                  exchange_header(x, "Content-Type"),
                                  exchange_header(x, "If-Match"),
                                  x->body,
                                  x->body_n};
    if (!key_find(x, k->key)) return false;
    if (!*k->key) return true;
    if (!idempotency_fingerprint(&parts, k->fingerprint)) {
        exchange_problem(x, 503, "Nothing was done: there is no memory for the Idempotency-Key. Send it again.");
        return false;
    }
    if (!run_enter(x, x->private->http, k)) return false;
    if (!answer_recall(x, store_reader(store), k)) return true;
    run_leave(x->private->http, k);
    return false;
}

/* Keeps the answer of what committed nothing with it, if that is the last word. Should it not be stored, the answer
 * goes out all the same. */
static void answer_keep(struct store *store, struct exchange *x, const struct keyed *k) {
    struct failure why;
    int s = x->status;
    bool last_word = s < 500 && s != 408 && s != 411 && s != 413 && s != 429;
    if (x->private->stream != STREAM_NONE || !last_word || !exchange_settle(x)) return;
    if (x->private->sent.length > NO_EFFECT_BYTES) return;
    struct connection *c = store_begin(store);
    answer_write(x, k, c, false);
    if (store_commit(c, &why) != OK)
        log_line(LOG_WARNING, "could not keep an answer", "reason", why.text, "trace", x->trace_parent, NULL);
}

void idempotency_end(struct store *store, struct exchange *x) {
    struct keyed *k = &x->private->keyed;
    if (!*k->key) return;
    if (!k->kept) answer_keep(store, x, k);
    run_leave(x->private->http, k);
}
