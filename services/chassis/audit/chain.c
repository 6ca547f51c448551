#include "chassis/audit/chain.h"

#include "chassis/base/format.h"
#include "chassis/base/hash.h"
#include "chassis/base/json_get.h"
#include "chassis/base/utf8.h"

#include <openssl/evp.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { REASON_SIZE = 600, HEX = 2 * CHAIN_HASH + 1 };

struct walk {
    struct chain {
        char name[CHAIN_NAME];
        size_t name_n;
        int64_t rows;
        unsigned char head[CHAIN_HASH];
        bool kept; /* a head beside the log was seen */
    } * chains;
    size_t chains_n, last; /* last: where the row before was found */
    int64_t rows;

    json_t *expected; /* published heads, in the order of their rows */
    size_t met;       /* the first so many of them */

    bool broken, starved; /* starved: memory was short, which says nothing of the log */
    char where[CHAIN_NAME], reason[REASON_SIZE];
    int64_t broken_id; /* 0: no row */
};

struct walk *walk_new(void) {
    struct walk *w = calloc(1, sizeof *w);
    if (w) w->expected = json_array();
    return w;
}

void walk_free(struct walk **out) {
    struct walk *w = *out;
    if (!w) return;
    json_decref(w->expected);
    free(w->chains);
    free(w);
    *out = NULL;
}

/* The first stays. */
__attribute__((format(printf, 4, 5))) static void
walk_break(struct walk *w, const char *chain, int64_t id, const char *format, ...) {
    if (w->broken) return;
    format_arguments(w->reason, format);
    snprintf(w->where, sizeof w->where, "%s", chain);
    w->broken_id = id;
    w->broken = true;
}

/* --- Canonical bytes */

/* The text ends where out does. */
static char *decimal(uint64_t n, char out[CHAIN_NUMBER]) {
    char *at = out + CHAIN_NUMBER - 1;
    *at = '\0';
    do *--at = (char)('0' + n % 10);
    while (n /= 10);
    return at;
}

struct chain_text chain_number(int64_t n, char out[CHAIN_NUMBER]) {
    char *at = decimal(n < 0 ? -(uint64_t)n : (uint64_t)n, out);
    if (n < 0) *--at = '-';
    return (struct chain_text){at, (size_t)(out + CHAIN_NUMBER - 1 - at)};
}

static size_t canonical_size(const struct chain_row *row) {
    size_t size = CHAIN_HASH;
    for (int i = 0; i < CHAIN_FIELDS; i++) size += row->field[i].n + CHAIN_NUMBER;
    return size;
}

static size_t canonical_write(const struct chain_row *row, char *out) {
    char *at = out;
    for (int i = 0; i < CHAIN_FIELDS; i++) {
        const struct chain_text *f = &row->field[i];
        if (i == CHAIN_LOG && !f->text) continue;
        if (f->text) {
            char length[CHAIN_NUMBER];
            at = stpcpy(at, decimal(f->n, length));
            *at++ = ':';
            at = mempcpy(at, f->text, f->n);
        } else {
            *at++ = '~';
        }
        *at++ = ',';
    }
    return (size_t)(at - out);
}

char *chain_canonical(const struct chain_row *row, size_t *n) {
    char *bytes = malloc(canonical_size(row));
    if (bytes) *n = canonical_write(row, bytes);
    return bytes;
}

/* Looked up once, since that costs more than a row, and again where there was no memory for it. */
static const EVP_MD *sha256_find(void) {
    static _Atomic(EVP_MD *) found;
    EVP_MD *none = NULL, *mine = atomic_load(&found) ? NULL : EVP_MD_fetch(NULL, "SHA256", NULL);
    if (mine && !atomic_compare_exchange_strong(&found, &none, mine)) EVP_MD_free(mine);
    return atomic_load(&found);
}

bool chain_hash(const unsigned char before[CHAIN_HASH], const struct chain_row *row, unsigned char out[CHAIN_HASH]) {
    const EVP_MD *sha256 = sha256_find();
    char small[4096];
    size_t size = canonical_size(row);
    char *bytes = size <= sizeof small ? small : malloc(size);
    if (!bytes) return false;
    memcpy(bytes, before, CHAIN_HASH);
    size_t n = CHAIN_HASH + canonical_write(row, bytes + CHAIN_HASH);
    bool hashed = sha256 && EVP_Digest(bytes, n, out, NULL, sha256, NULL);
    if (bytes != small) free(bytes);
    return hashed;
}

/* --- Chains */

bool chain_name(const struct chain_row *row, char out[CHAIN_NAME]) {
    const struct chain_text *topic = &row->field[CHAIN_TOPIC], *partition = &row->field[CHAIN_PARTITION];
    if (!topic->text) return snprintf(out, CHAIN_NAME, "by-hand") > 0;
    if (topic->n + partition->n + 2 > CHAIN_NAME) return false;
    char *at = mempcpy(out, topic->text, topic->n);
    *at++ = '/';
    if (partition->text) at = mempcpy(at, partition->text, partition->n);
    *at = '\0';
    return true;
}

static struct chain *chain_find(const struct walk *w, const char *name, size_t n) {
    for (size_t i = 0; i < w->chains_n; i++) {
        struct chain *c = &w->chains[(w->last + i) % w->chains_n];
        if (c->name_n == n && !memcmp(c->name, name, n)) return c;
    }
    return NULL;
}

static struct chain *chain_add(struct walk *w, const char *name, size_t n) {
    if (!(w->chains_n & (w->chains_n - 1))) { /* grows at each power of two */
        struct chain *grown = realloc(w->chains, (w->chains_n ? 2 * w->chains_n : 1) * sizeof *grown);
        if (!grown) return NULL;
        w->chains = grown;
    }
    struct chain *c = &w->chains[w->chains_n++];
    *c = (struct chain){.name_n = n};
    memcpy(c->name, name, n + 1);
    return c;
}

/* --- What was published */

verdict walk_expect(struct walk *w, const json_t *heads, struct failure *why) {
    json_int_t rows = json_integer_value(json_object_get(heads, "rows")), sum = 0;
    const json_t *chains = json_object_get(heads, "chains");
    size_t n;
    if (rows < 1 || !json_is_array(chains))
        return fail(why, REJECT, "it is not {\"rows\":N,\"chains\":[…]} with at least one row");
    json_each(i, one, chains) {
        const char *chain, *head;
        if (json_unpack(one, "{s:s, s:s%}", "chain", &chain, "head", &head, &n) || n != HEX - 1)
            return fail(
                why, REJECT, "chain %zu in it has no name, or no head of %d hexadecimal digits", i + 1, HEX - 1);
        sum += json_integer_value(json_object_get(one, "rows"));
    }
    if (sum != rows)
        return fail(
            why, REJECT, "its chains have %lld rows together, but it says that the log had %lld", (long long)sum,
            (long long)rows);
    size_t at = json_array_size(w->expected);
    while (at && json_get_int(json_array_get(w->expected, at - 1), "rows") > rows) at--;
    return json_array_insert(w->expected, at, (json_t *)heads) ? fail(why, RETRY, "out of memory") : OK;
}

static const char *published_at(const json_t *heads) {
    const char *at = json_get_text(heads, "at");
    return *at ? at : "an unknown moment";
}

static void meet_one(struct walk *w, const json_t *heads, const json_t *one) {
    const char *name = json_get_text(one, "chain"), *head = json_get_text(one, "head");
    long long rows = json_get_int(one, "rows");
    const struct chain *c = chain_find(w, name, strlen(name));
    char hex[HEX] = "";
    if (c) hex_text(c->head, CHAIN_HASH, hex);
    if (!c || c->rows != rows || strcmp(hex, head) != 0)
        walk_break(
            w, name, w->rows,
            "at this row the log is not what was published at %s: there chain %s had %lld rows and the head %.16s…, "
            "here it has %lld and %.16s…; rows up to here were replaced, or the published head was",
            published_at(heads), name, rows, head, c ? (long long)c->rows : 0, c ? hex : "none");
}

/* All heads that were published when the log had as many rows as it has now. */
static void meet_published(struct walk *w) {
    const json_t *heads;
    for (; (heads = json_array_get(w->expected, w->met)) && json_get_int(heads, "rows") == w->rows; w->met++)
        json_each(i, one, json_object_get(heads, "chains")) meet_one(w, heads, one);
}

/* --- The walk */

bool walk_row(struct walk *w, const struct chain_row *row) {
    char name[CHAIN_NAME];
    unsigned char hash[CHAIN_HASH];
    static const unsigned char none[CHAIN_HASH];
    long long expected = w->rows + 1, id = row->id;
    if (walk_broken(w)) return false;
    bool named = chain_name(row, name);
    struct chain *c = named ? chain_find(w, name, strlen(name)) : NULL;
    if (!named)
        walk_break(w, "", id, "its topic's name is too long");
    else if (id > expected)
        walk_break(w, name, expected, "row %lld is missing: the log goes on with row %lld", expected, id);
    else if (id < expected)
        walk_break(w, name, expected, "row %lld comes where row %lld should", id, expected);
    else if (!chain_hash(c ? c->head : none, row, hash) || (!c && !(c = chain_add(w, name, strlen(name)))))
        w->starved = true;
    else if (memcmp(hash, row->hash, sizeof hash) != 0)
        walk_break(
            w, name, id,
            "its hash does not fit what it says and the row before it in its chain: it was changed, or replaced");
    if (walk_broken(w)) return false;
    memcpy(c->head, hash, sizeof hash);
    c->rows++;
    w->rows++;
    w->last = (size_t)(c - w->chains);
    meet_published(w);
    return !w->broken;
}

void walk_malformed(struct walk *w, const char *reason) {
    walk_break(w, "", w->rows + 1, "%s", reason);
}

void walk_head(struct walk *w, const char *chain, int64_t rows, const void *head, size_t head_n) {
    struct chain *c = chain_find(w, chain, strlen(chain));
    if (w->broken) return;
    if (!c || c->rows != rows || head_n != CHAIN_HASH || memcmp(c->head, head, CHAIN_HASH) != 0)
        walk_break(
            w, chain, 0,
            "the chain does not end where its head says (%lld rows; found: %lld): rows are missing or were added, or "
            "the head was changed",
            (long long)rows, c ? (long long)c->rows : 0);
    else
        c->kept = true;
}

void walk_heads_end(struct walk *w) {
    for (size_t i = 0; i < w->chains_n; i++)
        if (!w->chains[i].kept) walk_break(w, w->chains[i].name, 0, "the head of this chain is missing");
}

bool walk_broken(const struct walk *w) {
    return w->broken || w->starved;
}

static json_t *walk_chains(const struct walk *w) {
    json_t *all = json_array();
    for (const struct chain *c = w->chains; c && c < w->chains + w->chains_n; c++) {
        char hex[HEX];
        hex_text(c->head, CHAIN_HASH, hex);
        json_array_append_new(
            all, json_pack("{s:s, s:I, s:s}", "chain", c->name, "rows", (json_int_t)c->rows, "head", hex));
    }
    return all;
}

/* NULL: nothing was published. */
static const json_t *heads_last(const struct walk *w) {
    size_t n = json_array_size(w->expected);
    return n ? json_array_get(w->expected, n - 1) : NULL;
}

static json_t *walk_published(const struct walk *w) {
    const json_t *last = heads_last(w);
    return json_pack(
        "{s:I, s:I, s:O?}", "heads", (json_int_t)json_array_size(w->expected), "rows",
        (json_int_t)json_get_int(last, "rows"), "at", json_object_get(last, "at"));
}

json_t *walk_end(struct walk *w) {
    const json_t *last = heads_last(w);
    if (w->starved) return NULL;
    if (w->met < json_array_size(w->expected))
        walk_break(
            w, "", w->rows + 1, "row %lld is missing, and all after it: %lld rows were published at %s",
            (long long)w->rows + 1, json_get_int(last, "rows"), published_at(last));
    if (!w->broken)
        return json_pack(
            "{s:b, s:I, s:o, s:o}", "intact", 1, "rows", (json_int_t)w->rows, "chains", walk_chains(w), "published",
            walk_published(w));
    return json_pack(
        "{s:b, s:I, s:{s:o, s:o, s:o}}", "intact", 0, "rows", (json_int_t)w->rows, "broken", "chain",
        *w->where ? utf8_json(w->where) : json_null(), "id", w->broken_id ? json_integer(w->broken_id) : json_null(),
        "reason", utf8_json(w->reason));
}
