#include "chassis/audit/audit_line.h"

#include "chassis/base/hash.h"
#include "chassis/base/ids.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum kind { NUMBER, MOMENT, TEXT, UUID };

static const struct {
    const char *name;
    enum kind kind;
    bool required;
} members[CHAIN_FIELDS] = {
    [CHAIN_ID] = {"id", NUMBER, true},
    [CHAIN_AT] = {"at", MOMENT, true},
    [CHAIN_ACTION] = {"action", TEXT, true},
    [CHAIN_OUTCOME] = {"outcome", TEXT, true},
    [CHAIN_ACTOR] = {"actor", TEXT, true},
    [CHAIN_RETURN_ID] = {"return_id", TEXT, false},
    [CHAIN_EVENT_ID] = {"event_id", UUID, false},
    [CHAIN_EVENT_TYPE] = {"event_type", TEXT, false},
    [CHAIN_TOPIC] = {"topic", TEXT, false},
    [CHAIN_PARTITION] = {"partition", NUMBER, false},
    [CHAIN_OFFSET] = {"offset", NUMBER, false},
    [CHAIN_SUMMARY] = {"summary", TEXT, true},
    [CHAIN_TRACE_ID] = {"trace_id", TEXT, false},
    [CHAIN_LOG] = {"log", NUMBER, true},
};

/* --- From the database */

/* A column of another type would be converted on reading, and a change of the type go unnoticed. */
static bool field_stored(const struct rows *r, int i, struct chain_row *row) {
    static const int wanted[] = {[NUMBER] = VALUE_INT, [MOMENT] = VALUE_INT, [TEXT] = VALUE_TEXT, [UUID] = VALUE_BLOB};
    struct chain_text *f = &row->field[i];
    struct uuid id;
    size_t n = 0;
    int kind = rows_kind(r, i);
    *f = (struct chain_text){NULL, 0};
    if (kind == VALUE_NULL) return !members[i].required;
    if (kind != wanted[members[i].kind]) return false;
    const void *bytes = kind == VALUE_INT ? NULL : rows_blob(r, i, &n);
    if (kind == VALUE_TEXT) *f = (struct chain_text){n ? bytes : "", n};
    if (kind == VALUE_INT && (i != CHAIN_LOG || rows_int(r, i))) *f = chain_number(rows_int(r, i), row->number[i]);
    if (kind != VALUE_BLOB) return true;
    if (n != sizeof id.bytes) return false;
    memcpy(id.bytes, bytes, n);
    *f = (struct chain_text){uuid_text(id, row->uuid), UUID_TEXT - 1};
    return true;
}

verdict audit_line_stored(const struct rows *r, struct chain_row *row, struct failure *why) {
    const char *wrong = NULL;
    size_t n = 0;
    for (int i = 0; i < CHAIN_FIELDS; i++)
        if (!field_stored(r, i, row) && !wrong) wrong = members[i].name;
    row->id = rows_int(r, CHAIN_ID);
    const void *hash = rows_kind(r, CHAIN_FIELDS) == VALUE_BLOB ? rows_blob(r, CHAIN_FIELDS, &n) : NULL;
    memset(row->hash, 0, CHAIN_HASH);
    if (hash) memcpy(row->hash, hash, n < CHAIN_HASH ? n : CHAIN_HASH);
    if (wrong) return fail(why, REJECT, "its %s is not of the right type", wrong);
    return n == CHAIN_HASH ? OK : fail(why, REJECT, "its hash has not %d bytes", CHAIN_HASH);
}

/* --- Writing */

static json_t *field_json(const struct chain_text *f, enum kind kind) {
    if (!f->text) return json_null();
    if (kind == NUMBER) return json_integer(strtoll(f->text, NULL, 10));
    if (kind == MOMENT) return time_json(strtoll(f->text, NULL, 10));
    json_t *text = json_stringn(f->text, f->n);
    return text ? text : json_string("(not UTF-8)");
}

json_t *audit_line_row(const struct chain_row *row) {
    json_t *json = json_object();
    char hash[2 * CHAIN_HASH + 1];
    for (int i = 0; i < CHAIN_FIELDS; i++)
        if (i != CHAIN_LOG || row->field[i].text)
            json_object_set_new(json, members[i].name, field_json(&row->field[i], members[i].kind));
    json_object_set_new(json, "hash", json_string(hex_text(row->hash, CHAIN_HASH, hash)));
    return json;
}

static void json_text(struct buffer *out, const char *text, size_t n) {
    static const char plain[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt";
    buffer_bytes(out, "\"", 1);
    for (size_t i = 0, start = 0; i <= n; i++) {
        if (i < n && (unsigned char)text[i] >= ' ' && text[i] != '"' && text[i] != '\\') continue;
        buffer_bytes(out, text + start, i - start);
        start = i + 1;
        const char *at = i < n && text[i] ? strchr(plain, text[i]) : NULL;
        if (at)
            buffer_format(out, "\\%c", letters[at - plain]);
        else if (i < n)
            buffer_format(out, "\\u%04X", (unsigned char)text[i]);
    }
    buffer_bytes(out, "\"", 1);
}

static const char *moment_of(const struct chain_text *f, char out[TIME_TEXT]) {
    return time_text(strtoll(f->text, NULL, 10), out);
}

void audit_line_json(struct buffer *out, const struct chain_row *row) {
    char moment[TIME_TEXT];
    for (int i = 0; i < CHAIN_FIELDS; i++) {
        const struct chain_text *f = &row->field[i];
        if (i == CHAIN_LOG && !f->text) continue;
        buffer_format(out, "%c\"%s\":", i ? ',' : '{', members[i].name);
        if (!f->text)
            buffer_text(out, "null");
        else if (members[i].kind == NUMBER)
            buffer_bytes(out, f->text, f->n);
        else if (members[i].kind == MOMENT)
            buffer_format(out, "\"%s\"", moment_of(f, moment));
        else
            json_text(out, f->text, f->n);
    }
    buffer_text(out, ",\"hash\":\"");
    buffer_hex(out, row->hash, CHAIN_HASH);
    buffer_text(out, "\"}\n");
}

void audit_line_csv_head(struct buffer *out) {
    for (int i = 0; i < CHAIN_FIELDS; i++) buffer_format(out, "%s,", members[i].name);
    buffer_text(out, "hash\r\n");
}

void audit_line_csv(struct buffer *out, const struct chain_row *row) {
    char moment[TIME_TEXT];
    for (int i = 0; i < CHAIN_FIELDS; i++) {
        const struct chain_text *f = &row->field[i];
        if (f->text && members[i].kind == MOMENT)
            buffer_text(out, moment_of(f, moment));
        else if (f->text && members[i].kind == TEXT)
            buffer_csv(out, f->text, f->n);
        else if (f->text)
            buffer_bytes(out, f->text, f->n);
        buffer_bytes(out, ",", 1);
    }
    buffer_hex(out, row->hash, CHAIN_HASH);
    buffer_text(out, "\r\n");
}

/* --- Reading. Each step moves *at on, and is false where something else stands there. */

static bool literal_read(char **at, const char *text) {
    size_t n = strlen(text);
    if (strncmp(*at, text, n) != 0) return false;
    *at += n;
    return true;
}

static bool escape_read(char **at, char *out) {
    static const char letters[] = "\"\\bfnrt", plain[] = "\"\\\b\f\n\r\t", digits[] = "0123456789ABCDEF";
    char c = *(*at)++;
    const char *letter = c ? strchr(letters, c) : NULL;
    if (letter) {
        *out = plain[letter - letters];
        return true;
    }
    if (c != 'u' || strncmp(*at, "00", 2) != 0 || ((*at)[2] != '0' && (*at)[2] != '1')) return false;
    const char *digit = (*at)[3] ? strchr(digits, (*at)[3]) : NULL;
    if (!digit) return false;
    *out = (char)(((*at)[2] - '0') * 16 + (digit - digits));
    *at += 4;
    return !*out || !strchr(plain, *out); /* those have the short form */
}

/* In place: what is unescaped is never longer. */
static bool text_read(char **at, struct chain_text *f) {
    if (*(*at)++ != '"') return false;
    char *out = *at;
    f->text = out;
    while (**at != '"') {
        char c = *(*at)++;
        if ((unsigned char)c < ' ' || (c == '\\' && !escape_read(at, &c))) return false;
        *out++ = c;
    }
    f->n = (size_t)(out - f->text);
    ++*at;
    return true;
}

/* As it stands, so that 007 has another hash than 7. */
static bool number_read(char **at, struct chain_text *f) {
    size_t sign = **at == '-', digits = strspn(*at + sign, "0123456789");
    *f = (struct chain_text){*at, sign + digits};
    *at += sign + digits;
    return digits && digits < 19;
}

/* Moments have one way to be written, too. */
static bool moment_read(char **at, struct chain_row *row) {
    struct chain_text text;
    char moment[TIME_TEXT], back[TIME_TEXT];
    int64_t ms;
    if (!text_read(at, &text) || text.n != TIME_TEXT - 1) return false;
    memcpy(moment, text.text, text.n);
    moment[text.n] = '\0';
    row->field[CHAIN_AT] = (struct chain_text){NULL, 0};
    if (!time_parse(moment, &ms) || strcmp(time_text(ms, back), moment) != 0) return false;
    row->field[CHAIN_AT] = chain_number(ms, row->number[CHAIN_AT]);
    return true;
}

static bool field_read(char **at, int i, struct chain_row *row) {
    if (literal_read(at, "null")) return !members[i].required;
    if (members[i].kind == NUMBER) return number_read(at, &row->field[i]);
    return members[i].kind == MOMENT ? moment_read(at, row) : text_read(at, &row->field[i]);
}

static bool hash_read(char **at, struct chain_row *row) {
    static const char digits[] = "0123456789abcdef";
    for (int i = 0; i < 2 * CHAIN_HASH; i++, ++*at) {
        const char *digit = **at ? strchr(digits, **at) : NULL;
        if (!digit) return false;
        row->hash[i / 2] = (unsigned char)(row->hash[i / 2] << 4 | (digit - digits));
    }
    return true;
}

static bool name_read(char **at, int i) {
    return literal_read(at, i ? ",\"" : "{\"") && literal_read(at, members[i].name) && literal_read(at, "\":");
}

verdict audit_line_read(char *line, size_t n, struct chain_row *row, struct failure *why) {
    char *at = line;
    bool fits = true;
    for (int i = 0; i < CHAIN_FIELDS; i++) row->field[i] = (struct chain_text){NULL, 0};
    for (int i = 0; fits && i < CHAIN_LOG; i++) fits = name_read(&at, i) && field_read(&at, i, row);
    if (fits && !strncmp(at, ",\"log\":", 7))
        fits = name_read(&at, CHAIN_LOG) && number_read(&at, &row->field[CHAIN_LOG]);
    fits = fits && literal_read(&at, ",\"hash\":\"") && hash_read(&at, row) && literal_read(&at, "\"}");
    if (!fits || at != line + n)
        return fail(
            why, REJECT, "it is not a row as /api/audit.jsonl writes it, from character %lld on",
            (long long)(at - line) + 1);
    row->id = strtoll(row->field[CHAIN_ID].text, NULL, 10);
    return OK;
}
