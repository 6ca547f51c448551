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

/* As the statements name them that make them, so that nobody keeps a list. */
void state_text_chassis_tables(struct buffer *out) {
    static const char create[] = "\nCREATE TABLE ";
    struct migration all[MIGRATIONS_MAX];
    size_t n = assets_migrations("chassis", "tables", all, 0);
    buffer_text(out, "schema_version");
    for (size_t i = 0; i < n; i++)
        for (const char *p = all[i].sql; (p = strstr(p, create));) {
            p += sizeof create - 1;
            buffer_format(out, " %.*s", (int)strcspn(p, " ("), p);
        }
}

static bool has_word(const char *words, const char *word) {
    size_t n = strlen(word);
    for (const char *p = words; (p = strstr(p, word)); p += n)
        if ((p == words || p[-1] == ' ') && (p[n] == ' ' || !p[n])) return true;
    return false;
}

json_t *state_text_tables(struct connection *c, const char *kept) {
    buffer_auto chassis = BUFFER(4000);
    json_t *state = json_array();
    state_text_chassis_tables(&chassis);
    if (!chassis.data) store_spoil(c, RETRY, "out of memory");
    for (struct rows r = store_tables(c); rows_next(&r);) {
        const char *name = rows_text(&r, 0);
        bool derived = !strcmp(name, "event_seen") || !has_word(chassis.data, name);
        if (derived && strncmp(name, "rebuild_", 8) != 0 && !(kept && has_word(kept, name)))
            json_array_append_new(state, json_string(name));
    }
    return state;
}

/* --- A table's columns */

struct columns {
    int n, keys;              /* the first of them are what rows are ordered by: the primary key, or all */
    int by_name[COLUMNS_MAX]; /* where a column stands in its table depends on which version brought it */
    char name[COLUMNS_MAX][NAME_SIZE];
};

static void columns_read(struct connection *c, const char *table, struct columns *out) {
    out->n = out->keys = 0;
    for (struct rows r = store_columns(c, table); rows_next(&r);) {
        if (rows_int(&r, 2) >= COLUMNS_MAX || out->n == COLUMNS_MAX) {
            store_spoil(c, FATAL, "a table has more columns than can be compared");
            continue;
        }
        out->keys += rows_int(&r, 1) > 0;
        out->by_name[rows_int(&r, 2)] = out->n;
        snprintf(out->name[out->n++], NAME_SIZE, "%s", rows_text(&r, 0));
    }
    if (!out->keys) out->keys = out->n;
}

static struct rows table_rows(struct connection *c, const char *schema, const char *table, const struct columns *k) {
    buffer_auto sql = BUFFER(20000);
    buffer_text(&sql, "SELECT ");
    for (int i = 0; i < k->n; i++) buffer_format(&sql, "%s\"%s\"", i ? ", " : "", k->name[i]);
    buffer_format(&sql, " FROM %s.\"%s\" ORDER BY ", schema, table);
    for (int i = 0; i < k->keys; i++) buffer_format(&sql, "%s%d", i ? ", " : "", i + 1);
    return sql.data ? store_rows(c, sql.data) : (struct rows){c, NULL};
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

static void write_row(struct buffer *out, const struct rows *r, const char *table, const struct columns *k) {
    buffer_clear(out);
    buffer_text(out, "{\"table\":");
    write_text(out, table);
    for (int i = 0; i < k->n; i++) {
        buffer_text(out, ",");
        write_text(out, k->name[k->by_name[i]]);
        buffer_text(out, ":");
        write_value(out, r, k->by_name[i]);
    }
    buffer_text(out, "}\n");
}

int64_t
state_text_rows(struct connection *c, const char *schema, const json_t *tables, FILE *out, char hash[STATE_TEXT_HASH]) {
    EVP_MD_CTX *digest = EVP_MD_CTX_new();
    unsigned char bytes[EVP_MAX_MD_SIZE];
    buffer_auto line = BUFFER(ROW_MAX);
    struct columns k;
    int64_t n = 0;
    json_t *name;
    size_t t;
    hash[0] = '\0';
    if (!digest || EVP_DigestInit_ex(digest, EVP_sha256(), NULL) != 1) store_spoil(c, RETRY, "out of memory");
    json_array_foreach((json_t *)tables, t, name) {
        const char *table = json_string_value(name);
        columns_read(c, table, &k);
        for (struct rows r = table_rows(c, schema, table, &k); rows_next(&r); n++) {
            write_row(&line, &r, table, &k);
            if (line.failed) store_spoil(c, RETRY, "could not dump a row: out of memory");
            EVP_DigestUpdate(digest, line.data ? line.data : "", line.length);
            if (out) (void)show_json_text(line.data ? line.data : "", line.length, out);
        }
    }
    if (store_state(c) == OK && EVP_DigestFinal_ex(digest, bytes, NULL)) hex_text(bytes, STATE_TEXT_HASH / 2, hash);
    EVP_MD_CTX_free(digest);
    return n;
}

/* --- Comparing */

/* As SQLite orders them: null, numbers, text, blobs. */
static int value_order(const struct rows *a, const struct rows *b, int column) {
    int64_t x = rows_kind(a, column), y = rows_kind(b, column);
    size_t n, m;
    if (x != y) return x < y ? -1 : 1;
    if (x == VALUE_INT) {
        x = rows_int(a, column), y = rows_int(b, column);
        return x < y ? -1 : x > y;
    }
    const void *p = rows_blob(a, column, &n), *q = rows_blob(b, column, &m);
    int order = n && m ? memcmp(p, q, n < m ? n : m) : 0;
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
    buffer_auto text = BUFFER(ROW_MAX);
    write_value(&text, r, column);
    json_t *value = text.data ? json_loads(text.data, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL) : NULL;
    return value ? value : json_null();
}

/* The columns from..to. Of a row that both have (other) only those that differ. */
static json_t *row_json(const struct rows *r, const struct rows *other, const struct columns *k, int from, int to) {
    json_t *row = json_object();
    for (int i = from; i < to; i++)
        if (!other || value_order(r, other, i)) json_object_set_new(row, k->name[i], value_json(r, i));
    return row;
}

static json_t *line_json(const char *table, const struct rows *old, const struct rows *new, const struct columns *k) {
    return json_pack(
        "{s:s, s:o, s:o, s:o}", "table", table, "key", row_json(old ? old : new, NULL, k, 0, k->keys), "old",
        old ? row_json(old, new, k, k->keys, k->n) : json_null(), "new",
        new ? row_json(new, old, k, k->keys, k->n) : json_null());
}

struct comparison {
    json_t *lines;
    int64_t most, rows;
};

static json_t *table_compare(struct connection *c, const char *table, struct comparison *all) {
    struct columns k;
    json_int_t only_old = 0, only_new = 0, changed = 0;
    columns_read(c, table, &k);
    struct rows old = table_rows(c, "base", table, &k), new = table_rows(c, "main", table, &k);
    bool more_old = rows_next(&old), more_new = rows_next(&new);
    while (more_old || more_new) {
        int order = !more_new ? -1 : !more_old ? 1 : row_order(&old, &new, 0, k.keys);
        bool differs = order || row_order(&old, &new, k.keys, k.n);
        if (differs && all->rows++ < all->most)
            json_array_append_new(all->lines, line_json(table, order <= 0 ? &old : NULL, order >= 0 ? &new : NULL, &k));
        *(order < 0 ? &only_old : order > 0 ? &only_new : &changed) += differs;
        if (order <= 0) more_old = rows_next(&old);
        if (order >= 0) more_new = rows_next(&new);
    }
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
