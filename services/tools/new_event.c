#include "new.h"

#include "chassis/base/buffer.h"
#include "chassis/base/input.h"
#include "chassis/base/json_get.h"

#include <glob.h>
#include <stdio.h>
#include <string.h>

enum { WIDTH = 120, SHOWN = 4 };

void new_fill(json_t *lines, const json_t *words, struct layout l) {
    buffer_auto line = BUFFER(1 << 16);
    size_t n = json_array_size(words), begins = 0;
    buffer_text(&line, l.first);
    json_each(i, word, words) {
        const char *end = i + 1 < n ? l.broken : l.last;
        if (i > begins && line.length + 2 + json_string_length(word) + strlen(end) > WIDTH) {
            buffer_text(&line, l.broken);
            json_array_append_new(lines, json_string(line.data));
            buffer_clear(&line);
            buffer_text(&line, l.next);
            begins = i;
        }
        buffer_format(&line, "%s%s", i > begins ? ", " : "", json_string_value(word));
    }
    buffer_text(&line, l.last);
    json_array_append_new(lines, json_string(line.data ? line.data : ""));
}

void new_heading(const char *name, char out[NEW_NAME]) {
    snprintf(out, NEW_NAME, "%.*s", NEW_NAME - 1, name);
    for (char *p = out; *p; p++)
        if (*p == '_' || *p == '-') *p = p[1] ? ' ' : '\0';
    if (*out >= 'a' && *out <= 'z') *out -= 'a' - 'A';
}

/* --- Names */

/* Words of C and SQL, names that the chassis has, and the columns that every table gets. */
static const char reserved[] =
    "auto break case char const continue default do double else enum extern float for goto if inline int long register "
    "restrict return short signed sizeof static struct switch typedef union unsigned void volatile while bool true false "
    "all alter and any as asc between by cast check collate column commit constraint create cross current_date "
    "current_time current_timestamp delete desc distinct drop end except exists foreign from full grant group having in "
    "index inner insert intersect into is join key left like limit natural not null offset on or order outer primary "
    "references right rollback select set table then to transaction trigger unique update user using values when where "
    "with audit cancelled dead_letter event field handler money outbox reaction record rows service value view "
    "cancelled_at occurred_at return_id version";

/* RefundRequest gives refund_request. What is a word of a language gets a line at its end. */
static void name_of(const char *text, char out[NEW_NAME]) {
    size_t n = 0;
    for (const char *p = text; *p && n < NEW_NAME - 3; p++) {
        bool upper = *p >= 'A' && *p <= 'Z';
        if (upper && p > text && p[-1] != '_' && !(p[-1] >= 'A' && p[-1] <= 'Z')) out[n++] = '_';
        out[n++] = upper ? (char)(*p + 'a' - 'A') : *p;
    }
    out[n] = '\0';
    if (word_in(out, reserved)) strcpy(out + n, "_");
}

/* --- Types */

/* suffix and member: what follows the name of the field, in SQL and in C. remark: behind the column. */
struct column {
    const char *suffix, *sql, *value, *member, *remark;
};

/* fallback: of what may be null. list: of the event's, of the headings that are shown in its way. */
static const struct kind {
    const char *macro, *declaration, *fallback, *list;
    struct column columns[2];
} kind_text = {"TEXT", "const char *", "", NULL, {{"", "TEXT  ", "value_text", "", ""}}},
  kind_int = {"INT", "int64_t ", "0", NULL, {{"", "BIGINT", "value_int", "", ""}}},
  kind_moment = {"MOMENT", "int64_t ", "0", "moments", {{"", "BIGINT", "value_int", "", " -- ms since 1970"}}},
  kind_bool = {"BOOL", "bool ", "false", NULL, {{"", "BIGINT", "value_int", "", " -- 0 or 1"}}},
  kind_money = {
      "MONEY",
      "struct money ",
      "0.00 XXX",
      "money",
      {{"_minor", "BIGINT", "value_int", ".minor", " -- hundredths"},
       {"_currency", "TEXT  ", "value_text", ".currency", ""}}};

/* The other branch, where null is one of two. */
static const json_t *type_open(const json_t *type, bool *nullable) {
    const char *first = json_string_value(json_array_get(type, 0)),
               *second = json_string_value(json_array_get(type, 1));
    bool at_first = first && !strcmp(first, "null"), at_second = second && !strcmp(second, "null");
    *nullable = json_array_size(type) == 2 && (at_first || at_second);
    return *nullable ? json_array_get(type, at_first ? 1 : 0) : type;
}

static bool is_money(const json_t *type) {
    const json_t *fields = json_object_get(type, "fields"), *amount = json_array_get(fields, 0);
    return json_array_size(fields) == 2 && !strcmp(json_get_text(amount, "name"), "amount") &&
           !strcmp(json_get_text(json_object_get(amount, "type"), "logicalType"), "decimal") &&
           !strcmp(json_get_text(json_array_get(fields, 1), "name"), "currency");
}

/* NULL: nothing that a projection can hold. named: the types that were defined before, by name. */
static const struct kind *kind_of(const json_t *type, json_t *named) {
    const char *name = json_is_object(type) ? json_get_text(type, "type") : json_string_value(type);
    const char *logical = json_get_text(type, "logicalType");
    char full[NEW_NAME];
    if (!name) return NULL;
    if (json_is_string(type) && json_object_get(named, name)) return kind_of(json_object_get(named, name), named);
    if (*json_get_text(type, "name")) {
        snprintf(full, sizeof full, "%s.%s", json_get_text(type, "namespace"), json_get_text(type, "name"));
        json_object_set(named, json_get_text(type, "name"), (json_t *)type);
        json_object_set(named, full, (json_t *)type);
    }
    if (!strcmp(name, "string") || !strcmp(name, "enum")) return &kind_text;
    if (!strcmp(name, "long") && !strncmp(logical, "timestamp-", 10)) return &kind_moment;
    if (!strcmp(name, "int") || !strcmp(name, "long")) return *logical ? NULL : &kind_int;
    if (!strcmp(name, "boolean")) return &kind_bool;
    return !strcmp(name, "record") && is_money(type) ? &kind_money : NULL;
}

/* C's text of what stands for a field that its writer does not have. NULL: it is required. The caller's. */
static json_t *fallback_of(const json_t *field, const struct kind *k, bool nullable) {
    const json_t *given = json_object_get(field, "default");
    if (json_is_integer(given)) return json_sprintf("\"%" JSON_INTEGER_FORMAT "\"", json_integer_value(given));
    if (json_is_boolean(given)) return json_string(json_is_true(given) ? "\"true\"" : "\"false\"");
    if (!json_is_string(given)) return nullable ? json_sprintf("\"%s\"", k->fallback) : NULL;
    text_auto quoted = json_dumps(given, JSON_ENCODE_ANY); /* C reads it alike, as long as it is ASCII */
    return json_string(quoted);
}

/* --- An event, as the templates want it. What its lines are made of is gathered in it as well, field by field: the
 * words "select" and "arguments", the "left" fields, and the "named" types. */

static void add(json_t *event, const char *list, json_t *one) {
    json_array_append_new(json_object_get(event, list), one);
}

/* Words with a blank between them. */
static void text_add(json_t *event, const char *member, const char *word) {
    const char *before = json_get_text(event, member);
    json_object_set_new(event, member, json_sprintf("%s%s%s", before, *before ? " " : "", word));
}

static void column_add(json_t *event, const char *name, const char *suffix, const char *sql, const char *remark) {
    add(event, "columns",
        json_pack(
            "{s:o, s:o}", "name", json_sprintf("%s%s", name, suffix), "rest",
            json_sprintf("%s NOT NULL,%s", sql, remark)));
}

static void select_add(json_t *event, const char *column, const char *heading) {
    add(event, "select", json_sprintf("%s AS \\\"%s\\\"", column, heading));
}

static void
projection_add(json_t *event, const char *path, const char *name, const struct kind *k, const json_t *fallback) {
    const char *snake = json_get_text(event, "snake");
    add(event, "members", json_sprintf("%s%s;", k->declaration, name));
    if (!fallback && !strcmp(path, name)) {
        add(event, "projection", json_sprintf("FIELD_%s(struct %s, %s),", k->macro, snake, name));
        return;
    }
    json_auto_t *words = json_pack(
        "[o, o, o, s]", json_sprintf("\"%s\"", path), json_sprintf("TYPE_%s", k->macro),
        json_sprintf("offsetof(struct %s, %s)", snake, name), fallback ? json_string_value(fallback) : "NULL");
    new_fill(json_object_get(event, "projection"), words, (struct layout){"{", "     ", ",", "},"});
}

/* On the page. The first column of a field has the field's own heading. */
static void column_show(json_t *event, const char *name, const struct kind *k, size_t i) {
    char heading[NEW_NAME], column[NEW_NAME + 20];
    snprintf(column, sizeof column, "%s%s", name, k->columns[i].suffix);
    new_heading(i ? column : name, heading);
    select_add(event, column, heading);
    if (k->list && !i) text_add(event, k->list, heading);
}

static void columns_add(json_t *event, const char *name, const struct kind *k) {
    bool is_shown = json_array_size(json_object_get(event, "members")) <= SHOWN;
    for (size_t i = 0; i < 2 && k->columns[i].sql; i++) {
        const struct column *c = &k->columns[i];
        column_add(event, name, c->suffix, c->sql, c->remark);
        add(event, "arguments", json_sprintf("%s(q->%s%s)", c->value, name, c->member));
        if (is_shown) column_show(event, name, k, i);
    }
}

static void field_add(json_t *event, const json_t *field) {
    bool nullable;
    char name[NEW_NAME];
    const char *path = json_get_text(field, "name");
    const json_t *type = type_open(json_object_get(field, "type"), &nullable);
    const struct kind *k = kind_of(type, json_object_get(event, "named"));
    if (!k || (k == &kind_money && json_is_object(json_object_get(field, "default")))) {
        add(event, "left", json_string(path));
        return;
    }
    json_auto_t *fallback = fallback_of(field, k, nullable);
    name_of(path, name);
    projection_add(event, path, name, k, fallback);
    columns_add(event, name, k);
    if (k == &kind_text && !*json_get_text(event, "summary"))
        json_object_set_new(event, "summary", json_sprintf("\"%%s\", q->%s", name));
}

static const char common[] = "event_id return_id version occurred_at caused_by";

/* An event is about a return, or else its first text says about what. NULL: it has neither. */
static const char *id_of(const json_t *fields) {
    if (json_find(fields, "name", "return_id")) return "return_id";
    json_each(i, field, fields)
        if (!strcmp(json_get_text(field, "type"), "string") && !word_in(json_get_text(field, "name"), common))
            return json_get_text(field, "name");
    return NULL;
}

/* Its first sentence, where that fits into a line. */
static json_t *about_of(const json_t *schema, const char *name) {
    const char *doc = json_get_text(schema, "doc"), *end = strstr(doc, ". ");
    size_t n = end ? (size_t)(end - doc) + 1 : strlen(doc);
    bool fits = n + strlen(name) + 12 <= WIDTH && !memchr(doc, '\n', n) && !memmem(doc, n, "*/", 2);
    return json_stringn(doc, fits ? n : 0);
}

/* --- Its statements */

static void lines_set(json_t *event, const char *member, const json_t *words, struct layout l) {
    json_t *lines = json_array();
    new_fill(lines, words, l);
    json_object_set_new(event, member, lines);
}

static void insert_set(json_t *event) {
    char first[NEW_NAME + 40];
    json_auto_t *names = json_array(), *marks = json_array();
    json_each(i, column, json_object_get(event, "columns")) {
        json_array_append(names, json_object_get(column, "name"));
        json_array_append_new(marks, json_string("?"));
    }
    snprintf(first, sizeof first, "        \"INSERT INTO %s (", json_get_text(event, "snake"));
    lines_set(event, "insert", names, (struct layout){first, "        \"", ", \"", ") \""});
    new_fill(
        json_object_get(event, "insert"), marks,
        (struct layout){"        \"VALUES (", "        \"", ", \"", ") ON CONFLICT DO NOTHING\","});
    lines_set(
        event, "arguments", json_object_get(event, "arguments"), (struct layout){"        ", "        ", ",", ");"});
}

/* member: "sql": now. "as_of": as it was, by that condition. */
static void query_set(json_t *event, const char *member, const char *where) {
    char first[40], next[40], from[NEW_NAME + 20];
    snprintf(first, sizeof first, "     .%s = \"SELECT ", member);
    snprintf(next, sizeof next, "%*s\"", (int)(strcspn(first, "\"")), "");
    snprintf(from, sizeof from, " FROM %s \"", json_get_text(event, "snake"));
    lines_set(event, member, json_object_get(event, "select"), (struct layout){first, next, ", \"", from});
    add(event, member,
        json_sprintf(
            "%s%sORDER BY occurred_at DESC, %s DESC, version DESC LIMIT 10\",", next, where,
            json_get_text(event, "id")));
}

static const char as_of[] = "WHERE occurred_at <= ? ";

/* Names as wide as the widest. */
void new_align(json_t *event) {
    const json_t *columns = json_object_get(event, "columns");
    size_t width = 0;
    json_each(i, column, columns)
        if (strlen(json_get_text(column, "name")) > width) width = strlen(json_get_text(column, "name"));
    json_each(i, column, columns)
        json_object_set_new(column, "name", json_sprintf("%-*s", (int)width, json_get_text(column, "name")));
}

static void fields_gather(json_t *event, const json_t *fields, bool of_return) {
    const struct layout comment = {"/* Left out, being neither text, number, truth nor money: ", " * ", ",", ". */"};
    const json_t *left = json_object_get(event, "left");
    select_add(event, "occurred_at", "Happened");
    if (of_return) {
        column_add(event, "return_id", "", "TEXT  ", "");
        add(event, "arguments", json_string("value_text(r->event->return_id)"));
    }
    column_add(event, "version", "", "BIGINT", "");
    column_add(event, "occurred_at", "", "BIGINT", " -- ms since 1970");
    add(event, "arguments", json_string("value_int(r->event->version)"));
    add(event, "arguments", json_string("value_int(r->event->occurred_at)"));
    json_each(i, field, fields)
        if (!word_in(json_get_text(field, "name"), common)) field_add(event, field);
    if (of_return) select_add(event, "return_id", "Return");
    json_object_set_new(event, "has_fields", json_boolean(json_array_size(json_object_get(event, "members"))));
    if (!*json_get_text(event, "summary"))
        json_object_set_new(event, "summary", json_string("\"return %s\", r->event->return_id"));
    insert_set(event);
    query_set(event, "sql", "");
    query_set(event, "as_of", as_of);
    if (json_array_size(left)) lines_set(event, "left_out", left, comment);
}

static verdict event_read(const char *path, const char *owner, json_t **out, struct failure *why) {
    json_error_t wrong;
    json_auto_t *schema = json_load_file(path, 0, &wrong);
    const json_t *fields = json_object_get(schema, "fields");
    char snake[NEW_NAME], id[NEW_NAME];
    const char *name = json_get_text(schema, "name"), *about = id_of(fields);
    if (!schema) return fail(why, RETRY, "could not read \"%s\": %s", path, wrong.text);
    if (!about) return fail(why, REJECT, "\"%s\" says neither of which return it is nor, in a text, of what", name);
    bool of_return = !strcmp(about, "return_id");
    name_of(name, snake);
    name_of(about, id);
    *out = json_pack(
        "{s:s, s:o, s:s, s:s, s:s, s:o, s:[], s:[], s:[], s:[], s:[], s:[], s:{}, s:s, s:s}", "event", name, "type",
        json_sprintf("%s.%s", json_get_text(schema, "namespace"), name), "owner", owner, "snake", snake, "id",
        of_return ? "return_id" : id, "about", about_of(schema, name), "members", "projection", "columns", "select",
        "arguments", "left", "named", "money", "", "moments", "Happened");
    fields_gather(*out, fields, of_return);
    return OK;
}

/* A word before the last one, which is the return. */
static void state_show(json_t *event, const char *member, const char *where, const char *state) {
    json_t *select = json_object_get(event, "select");
    size_t last = json_array_size(select) - 1;
    json_array_insert_new(select, last, json_sprintf("CASE WHEN %s END AS \\\"State\\\"", state));
    query_set(event, member, where);
    json_array_remove(select, last);
}

void new_undone(json_t *event) {
    json_object_set_new(event, "undone", json_true());
    add(event, "columns",
        json_pack("{s:s, s:s}", "name", "cancelled_at", "rest", "BIGINT, -- ms since 1970; not before it is"));
    state_show(event, "sql", "", "cancelled_at IS NULL THEN 'open' ELSE 'cancelled'");
    state_show(event, "as_of", as_of, "cancelled_at <= ? THEN 'cancelled' ELSE 'open'");
}

/* --- Which events */

ssize_t new_find(const json_t *events, const char *type) {
    json_each(i, event, events)
        if (!strcmp(json_get_text(event, "type"), type)) return (ssize_t)i;
    return -1;
}

/* schemas/support/RefundRequest.avsc says the owner and the name. */
json_t *new_known(void) {
    glob_t files = {0};
    json_t *known = json_array();
    char owner[NEW_NAME], name[NEW_NAME];
    glob("schemas/*/*.avsc", 0, NULL, &files);
    for (size_t i = 0; i < files.gl_pathc; i++)
        if (sscanf(files.gl_pathv[i], "schemas/%199[^/]/%199[^.].avsc", owner, name) == 2 &&
            !word_in(owner, "chassis history"))
            json_array_append_new(
                known, json_pack(
                           "{s:s, s:s, s:s, s:o}", "path", files.gl_pathv[i], "owner", owner, "name", name, "full",
                           json_sprintf("returns.%s.%s", owner, name)));
    globfree(&files);
    return known;
}

/* By its full name, or its name. */
static verdict event_add(json_t *events, const char *asked, const json_t *known, struct failure *why) {
    const json_t *named = json_find(known, "full", asked), *one = named ? named : json_find(known, "name", asked);
    json_auto_t *event = NULL;
    if (!one) return fail(why, REJECT, "\"%.200s\": no such event", asked);
    verdict v = event_read(json_get_text(one, "path"), json_get_text(one, "owner"), &event, why);
    if (v != OK) return v;
    if (json_find(events, "snake", json_get_text(event, "snake")))
        return fail(why, REJECT, "\"%s\" is named twice, or another event has its name: take one", asked);
    json_array_append(events, event);
    return OK;
}

verdict new_events(const char *names, json_t **events, struct failure *why) {
    json_auto_t *known = new_known();
    text_auto copy = strdup(names);
    char *rest = NULL;
    verdict v = copy && *copy ? OK : fail(why, REJECT, "no event is named");
    *events = json_array();
    for (char *one = copy ? strtok_r(copy, ",", &rest) : NULL; one && v == OK; one = strtok_r(NULL, ",", &rest))
        v = event_add(*events, one, known, why);
    if (v == OK && !json_array_size(*events)) v = fail(why, REJECT, "\"%.200s\": names no event", names);
    return v;
}
