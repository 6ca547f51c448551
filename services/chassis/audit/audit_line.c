#include "chassis/audit/audit_line.h"

#include "chassis/base/hash.h"
#include "chassis/base/ids.h"
#include "chassis/base/json_get.h"

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

static int json_write(const char *bytes, size_t n, void *out) {
    buffer_bytes(out, bytes, n);
    return 0;
}

void audit_line_json(struct buffer *out, const struct chain_row *row) {
    json_auto_t *json = audit_line_row(row);
    if (json_dump_callback(json, json_write, out, JSON_COMPACT)) out->failed = true;
    buffer_text(out, "\n");
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
            buffer_text(out, time_text(strtoll(f->text, NULL, 10), moment));
        else if (f->text && members[i].kind == TEXT)
            buffer_csv(out, f->text, f->n);
        else if (f->text)
            buffer_bytes(out, f->text, f->n);
        buffer_bytes(out, ",", 1);
    }
    buffer_hex(out, row->hash, CHAIN_HASH);
    buffer_text(out, "\r\n");
}

/* --- Reading. What is written again from it must be the line, so that a row has one way to be written. */

static struct chain_text field_read(const json_t *value, int i, struct chain_row *row) {
    int64_t ms;
    if (json_is_integer(value)) return chain_number(json_integer_value(value), row->number[i]);
    if (members[i].kind != MOMENT) return (struct chain_text){json_string_value(value), json_string_length(value)};
    bool read = json_is_string(value) && time_parse(json_string_value(value), &ms);
    return read ? chain_number(ms, row->number[i]) : (struct chain_text){NULL, 0};
}

verdict audit_line_read(const char *line, size_t n, json_t **texts, struct chain_row *row, struct failure *why) {
    buffer_auto again = BUFFER(8 * n + 4096);
    json_error_t error;
    *texts = json_loadb(line, n, JSON_ALLOW_NUL, &error);
    const char *hash = json_get_text(*texts, "hash");
    size_t same = 0;
    bool whole = true;
    *row = (struct chain_row){.id = json_get_int(*texts, "id")};
    for (int i = 0; i < CHAIN_FIELDS; i++) {
        row->field[i] = field_read(json_object_get(*texts, members[i].name), i, row);
        whole &= row->field[i].text || !members[i].required || i == CHAIN_LOG;
    }
    for (int i = 0; i < CHAIN_HASH && strlen(hash) == 2 * CHAIN_HASH; i++)
        (void)sscanf(hash + 2 * i, "%2hhx", &row->hash[i]);
    audit_line_json(&again, row);
    while (same < n && same + 1 < again.length && line[same] == again.data[same]) same++;
    if (*texts && whole && same == n && again.length == n + 1) return OK;
    return fail(
        why, REJECT, "it is not a row as /api/audit.jsonl writes it, from character %lld on",
        (long long)(*texts ? same : (size_t)error.position) + 1);
}
