#include "chassis/store/state_text.h"

#include "chassis/base/buffer.h"
#include "chassis/base/hash.h"
#include "chassis/base/terminal.h"
#include "chassis/store/migrations.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { COLUMNS_MAX = 64, NAME_SIZE = 128, ROW_MAX = 64 << 20 };

/* --- Which tables */

static json_t *names_read(struct connection *c) {
    json_t *names = json_array();
    for (struct rows r = store_rows(
             c, "SELECT name FROM main.sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name");
         rows_next(&r);)
        json_array_append_new(names, json_string(rows_text(&r, 0)));
    return names;
}

/* Asked of a database that has nothing else, so that nobody keeps a list. */
verdict state_text_chassis_tables(json_t **out, struct failure *why) {
    struct migration migrations[MIGRATIONS_MAX];
    struct store *s = NULL;
    char folder[] = "/tmp/returns-tables-XXXXXX", path[64], lock[80];
    if (!mkdtemp(folder)) return fail(why, RETRY, "could not make a folder in /tmp");
    snprintf(path, sizeof path, "%s/tables.db", folder);
    snprintf(lock, sizeof lock, "%s.lock", path);
    verdict v = store_open(&s, path, migrations, assets_migrations("chassis", "tables", migrations, 0), why);
    if (v == OK) *out = names_read(store_reader(s));
    store_close(&s);
    unlink(path), unlink(lock), rmdir(folder);
    return v;
}

static bool has_name(const json_t *names, const char *name) {
    json_t *one;
    size_t i;
    json_array_foreach((json_t *)names, i, one) if (!strcmp(json_string_value(one), name)) return true;
    return false;
}

static bool has_word(const char *words, const char *word) {
    size_t n = strlen(word);
    for (const char *p = words; p && (p = strstr(p, word)); p += n)
        if ((p == words || p[-1] == ' ') && (p[n] == ' ' || !p[n])) return true;
    return false;
}

json_t *state_text_tables(struct connection *c, const char *kept, const json_t *chassis) {
    json_t *all = names_read(c), *state = json_array(), *name;
    size_t i;
    json_array_foreach(all, i, name) {
        const char *text = json_string_value(name);
        bool derived = !strcmp(text, "event_seen") || !has_name(chassis, text);
        if (derived && strncmp(text, "rebuild_", 8) != 0 && !has_word(kept, text)) json_array_append(state, name);
    }
    json_decref(all);
    return state;
}

/* --- A table's columns */

struct columns {
    int n, keys; /* the first of them are the primary key; 0: there is none */
    char name[COLUMNS_MAX][NAME_SIZE];
};

static void columns_read(struct connection *c, const char *table, struct columns *out) {
    *out = (struct columns){0};
    for (struct rows r = store_rows(
             c, "SELECT name, pk FROM pragma_table_info(?) ORDER BY CASE pk WHEN 0 THEN 1000 ELSE pk END, name",
             value_text(table));
         rows_next(&r);) {
        if (out->n == COLUMNS_MAX) {
            store_spoil(c, FATAL, "a table has more columns than can be compared");
            continue;
        }
        out->keys += rows_int(&r, 1) > 0;
        snprintf(out->name[out->n++], NAME_SIZE, "%s", rows_text(&r, 0));
    }
}

/* By the key, or by all columns. */
static struct rows table_rows(struct connection *c, const char *schema, const char *table, const struct columns *k) {
    struct buffer sql = BUFFER(20000);
    buffer_text(&sql, "SELECT ");
    for (int i = 0; i < k->n; i++) buffer_format(&sql, "%s\"%s\"", i ? ", " : "", k->name[i]);
    buffer_format(&sql, " FROM %s.\"%s\" ORDER BY ", schema, table);
    for (int i = 0; i < (k->keys ? k->keys : k->n); i++) buffer_format(&sql, "%s%d", i ? ", " : "", i + 1);
    struct rows r = {c, NULL};
    if (sql.data) r = store_rows(c, sql.data);
    buffer_free(&sql);
    return r;
}

/* --- Writing */

static void write_text(struct buffer *out, const char *text) {
    buffer_text(out, "\"");
    for (const char *p = text, *from = p;; p++) {
        unsigned char ch = (unsigned char)*p;
        if (ch >= 0x20 && ch != '"' && ch != '\\') continue;
        buffer_bytes(out, from, (size_t)(p - from));
        if (!ch) break;
        buffer_format(out, ch < 0x20 ? "\\u%04x" : "\\%c", ch);
        from = p + 1;
    }
    buffer_text(out, "\"");
}

static void write_value(struct buffer *out, const struct rows *r, int column) {
    size_t n;
    const void *bytes;
    switch (rows_kind(r, column)) {
    case VALUE_NULL: buffer_text(out, "null"); break;
    case VALUE_INT: buffer_format(out, "%lld", (long long)rows_int(r, column)); break;
    case VALUE_BLOB:
        bytes = rows_blob(r, column, &n);
        buffer_text(out, "{\"hex\":\"");
        buffer_hex(out, bytes, n);
        buffer_text(out, "\"}");
        break;
    default: write_text(out, rows_text(r, column));
    }
}

/* By name: where a column stands in its table depends on which version brought it. */
static void columns_sort(const struct columns *k, int order[COLUMNS_MAX]) {
    for (int i = 0; i < k->n; i++) {
        int at = i;
        for (; at && strcmp(k->name[order[at - 1]], k->name[i]) > 0; at--) order[at] = order[at - 1];
        order[at] = i;
    }
}

static void write_row(
    struct buffer *out, const struct rows *r, const char *table, const struct columns *k,
    const int order[COLUMNS_MAX]) {
    buffer_clear(out);
    buffer_text(out, "{\"table\":");
    write_text(out, table);
    for (int i = 0; i < k->n; i++) {
        buffer_text(out, ",");
        write_text(out, k->name[order[i]]);
        buffer_text(out, ":");
        write_value(out, r, order[i]);
    }
    buffer_text(out, "}\n");
}

static void hash_end(EVP_MD_CTX *digest, char hash[STATE_TEXT_HASH]) {
    unsigned char bytes[EVP_MAX_MD_SIZE];
    unsigned int n = 0;
    EVP_DigestFinal_ex(digest, bytes, &n);
    hex_text(bytes, n < STATE_TEXT_HASH / 2 ? n : STATE_TEXT_HASH / 2, hash);
}

int64_t
state_text_rows(struct connection *c, const char *schema, const json_t *tables, FILE *out, char hash[STATE_TEXT_HASH]) {
    EVP_MD_CTX *digest = EVP_MD_CTX_new();
    struct buffer line = BUFFER(ROW_MAX);
    struct columns k;
    int64_t n = 0;
    json_t *name;
    size_t t;
    hash[0] = '\0';
    if (!digest || EVP_DigestInit_ex(digest, EVP_sha256(), NULL) != 1) store_spoil(c, RETRY, "out of memory");
    json_array_foreach((json_t *)tables, t, name) {
        const char *table = json_string_value(name);
        int order[COLUMNS_MAX];
        columns_read(c, table, &k);
        columns_sort(&k, order);
        for (struct rows r = table_rows(c, schema, table, &k); rows_next(&r); n++) {
            write_row(&line, &r, table, &k, order);
            if (line.failed) store_spoil(c, RETRY, "could not dump a row: out of memory");
            EVP_DigestUpdate(digest, line.data ? line.data : "", line.length);
            if (out) (void)show_json_text(line.data ? line.data : "", line.length, out);
        }
    }
    if (store_state(c) == OK) hash_end(digest, hash);
    EVP_MD_CTX_free(digest);
    buffer_free(&line);
    return n;
}

/* --- Comparing */

/* As SQLite orders them: null, numbers, text, blobs. */
static int value_order(const struct rows *a, const struct rows *b, int column) {
    int kind_a = rows_kind(a, column), kind_b = rows_kind(b, column);
    if (kind_a != kind_b) return kind_a < kind_b ? -1 : 1;
    if (kind_a == VALUE_NULL) return 0;
    if (kind_a == VALUE_INT) {
        int64_t x = rows_int(a, column), y = rows_int(b, column);
        return x < y ? -1 : x > y;
    }
    size_t n, m;
    const void *x = rows_blob(a, column, &n), *y = rows_blob(b, column, &m);
    int order = n && m ? memcmp(x, y, n < m ? n : m) : 0;
    return order ? order : n < m ? -1 : n > m;
}

static int row_order(const struct rows *a, const struct rows *b, int from, int to) {
    for (int i = from; i < to; i++) {
        int order = value_order(a, b, i);
        if (order) return order;
    }
    return 0;
}

static json_t *value_json(const struct rows *r, int column) {
    struct buffer text = BUFFER(ROW_MAX);
    write_value(&text, r, column);
    json_t *value = text.data ? json_loads(text.data, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL) : NULL;
    buffer_free(&text);
    return value ? value : json_null();
}

/* The columns from..to; of a row that both have (other) only those that differ. */
static json_t *row_json(const struct rows *r, const struct rows *other, const struct columns *k, int from, int to) {
    json_t *row = json_object();
    for (int i = from; i < to; i++)
        if (!other || value_order(r, other, i)) json_object_set_new(row, k->name[i], value_json(r, i));
    return row;
}

static json_t *line_json(const char *table, const struct rows *old, const struct rows *new, const struct columns *k) {
    bool both = old && new;
    const struct rows *any = old ? old : new;
    return json_pack(
        "{s:s, s:o, s:o, s:o}", "table", table, "key", row_json(any, NULL, k, 0, k->keys ? k->keys : k->n), "old",
        old ? row_json(old, both ? new : NULL, k, k->keys, k->n) : json_null(), "new",
        new ? row_json(new, both ? old : NULL, k, k->keys, k->n) : json_null());
}

struct comparison {
    json_t *lines;
    int64_t most, rows;
};

static json_t *table_compare(struct connection *c, const char *table, struct comparison *all) {
    struct columns k;
    json_int_t only_old = 0, only_new = 0, changed = 0;
    columns_read(c, table, &k);
    int keys = k.keys ? k.keys : k.n;
    struct rows old = table_rows(c, "base", table, &k), new = table_rows(c, "main", table, &k);
    bool more_old = rows_next(&old), more_new = rows_next(&new);
    while (more_old || more_new) {
        int order = !more_new ? -1 : !more_old ? 1 : row_order(&old, &new, 0, keys);
        bool differs = order || row_order(&old, &new, keys, k.n);
        if (differs && all->rows++ < all->most)
            json_array_append_new(all->lines, line_json(table, order <= 0 ? &old : NULL, order >= 0 ? &new : NULL, &k));
        if (order < 0)
            only_old++;
        else if (order > 0)
            only_new++;
        else
            changed += differs;
        if (order <= 0) more_old = rows_next(&old);
        if (order >= 0) more_new = rows_next(&new);
    }
    rows_close(&old);
    rows_close(&new);
    return json_pack(
        "{s:s, s:I, s:I, s:I}", "table", table, "only_old", only_old, "only_new", only_new, "changed", changed);
}

json_t *state_text_compare(struct connection *c, const json_t *tables, int64_t most) {
    struct comparison all = {json_array(), most, 0};
    json_t *counts = json_array(), *name;
    size_t i;
    json_array_foreach((json_t *)tables, i, name) {
        int64_t before = all.rows;
        json_t *one = table_compare(c, json_string_value(name), &all);
        if (all.rows > before) json_array_append(counts, one);
        json_decref(one);
    }
    return json_pack("{s:I, s:o, s:o}", "rows", (json_int_t)all.rows, "tables", counts, "lines", all.lines);
}
