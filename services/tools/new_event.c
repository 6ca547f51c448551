#include "new.h"

#include "chassis/base/buffer.h"

#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WIDTH = 120, NAME = 200, SHOWN = 4 };

const char *new_text(const json_t *object, const char *member) {
    const char *text = json_string_value(json_object_get(object, member));
    return text ? text : "";
}

void new_fill(json_t *lines, const json_t *words, struct layout l) {
    struct buffer line = BUFFER(1 << 16);
    json_t *word;
    size_t i, n = json_array_size(words), begins = 0;
    buffer_text(&line, l.first);
    json_array_foreach((json_t *)words, i, word) {
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
    buffer_free(&line);
}

/* --- Names */

/* Words of C and SQL, names that the chassis has, and the columns that every table gets. */
static const char reserved[] =
    " auto break case char const continue default do double else enum extern float for goto if inline int long register "
    "restrict return short signed sizeof static struct switch typedef union unsigned void volatile while bool true false "
    "all alter and any as asc between by cast check collate column commit constraint create cross current_date "
    "current_time current_timestamp delete desc distinct drop end except exists foreign from full grant group having in "
    "index inner insert intersect into is join key left like limit natural not null offset on or order outer primary "
    "references right rollback select set table then to transaction trigger unique update user using values when where "
    "with audit cancelled dead_letter event field handler money outbox reaction record rows service value view "
    "cancelled_at occurred_at return_id version ";

/* RefundRequest gives refund_request; what is a word of a language gets a line at its end. */
static void name_of(const char *text, char out[NAME]) {
    size_t n = 0;
    char word[NAME + 2];
    for (const char *p = text; *p && n < NAME - 3; p++) {
        bool upper = *p >= 'A' && *p <= 'Z';
        if (upper && p > text && p[-1] != '_' && !(p[-1] >= 'A' && p[-1] <= 'Z')) out[n++] = '_';
        out[n++] = upper ? (char)(*p + 'a' - 'A') : *p;
    }
    out[n] = '\0';
    snprintf(word, sizeof word, " %s ", out);
    if (strstr(reserved, word)) strcpy(out + n, "_");
}

/* serial_number gives "Serial number". */
static void heading_of(const char *name, char out[NAME]) {
    snprintf(out, NAME, "%.*s", NAME - 1, name);
    for (char *p = out; *p; p++)
        if (*p == '_') *p = p[1] ? ' ' : '\0';
    if (*out >= 'a' && *out <= 'z') *out -= 'a' - 'A';
}

/* --- Types */

struct kind {
    const char *macro, *declaration, *sql, *value, *fallback; /* fallback: of what may be null */
};
static const struct kind kind_text = {"TEXT", "const char *", "TEXT  ", "value_text", ""};
static const struct kind kind_int = {"INT", "int64_t ", "BIGINT", "value_int", "0"};
static const struct kind kind_moment = {"MOMENT", "int64_t ", "BIGINT", "value_int", "0"};
static const struct kind kind_bool = {"BOOL", "bool ", "BIGINT", "value_int", "false"};
static const struct kind kind_money = {"MONEY", "struct money ", NULL, NULL, "0.00 XXX"};

/* The other branch, where null is one of two. */
static const json_t *type_open(const json_t *type, bool *nullable) {
    *nullable = false;
    if (!json_is_array(type) || json_array_size(type) != 2) return type;
    for (size_t i = 0; i < 2; i++) {
        const char *branch = json_string_value(json_array_get(type, i));
        if (!branch || strcmp(branch, "null") != 0) continue;
        *nullable = true;
        return json_array_get(type, 1 - i);
    }
    return type;
}

static bool is_money(const json_t *type) {
    const json_t *fields = json_object_get(type, "fields"), *amount = json_array_get(fields, 0);
    return json_array_size(fields) == 2 && !strcmp(new_text(amount, "name"), "amount") &&
           !strcmp(new_text(json_object_get(amount, "type"), "logicalType"), "decimal") &&
           !strcmp(new_text(json_array_get(fields, 1), "name"), "currency");
}

/* NULL: nothing that a projection can hold. named: the types that were defined before, by name. */
static const struct kind *kind_of(const json_t *type, json_t *named) {
    const char *name = json_is_object(type) ? new_text(type, "type") : json_string_value(type);
    char full[NAME];
    if (!name) return NULL;
    if (json_is_string(type) && json_object_get(named, name)) return kind_of(json_object_get(named, name), named);
    if (*new_text(type, "name")) {
        snprintf(full, sizeof full, "%s.%s", new_text(type, "namespace"), new_text(type, "name"));
        json_object_set(named, new_text(type, "name"), (json_t *)type);
        json_object_set(named, full, (json_t *)type);
    }
    if (!strcmp(name, "string") || !strcmp(name, "enum")) return &kind_text;
    if (!strcmp(name, "long") && !strncmp(new_text(type, "logicalType"), "timestamp-", 10)) return &kind_moment;
    if (!strcmp(name, "int") || !strcmp(name, "long")) return *new_text(type, "logicalType") ? NULL : &kind_int;
    if (!strcmp(name, "boolean")) return &kind_bool;
    return !strcmp(name, "record") && is_money(type) ? &kind_money : NULL;
}

/* C's text of what stands for a field that its writer does not have; NULL: it is required. The caller's. */
static json_t *fallback_of(const json_t *field, const struct kind *k, bool nullable) {
    const json_t *given = json_object_get(field, "default");
    struct buffer text = BUFFER(1000);
    json_t *out = NULL;
    if (json_is_string(given))
        buffer_text(&text, json_string_value(given));
    else if (json_is_integer(given))
        buffer_format(&text, "%" JSON_INTEGER_FORMAT, json_integer_value(given));
    else if (json_is_boolean(given))
        buffer_text(&text, json_is_true(given) ? "true" : "false");
    else if (nullable)
        buffer_text(&text, k->fallback);
    else
        return NULL;
    /* Quoted as JSON is, which C reads alike as long as it is ASCII. */
    json_t *plain = json_string(text.data ? text.data : "");
    char *quoted = json_dumps(plain, JSON_ENCODE_ANY);
    if (quoted) out = json_string(quoted);
    free(quoted);
    json_decref(plain);
    buffer_free(&text);
    return out;
}

/* --- An event, as the templates want it */

/* What is gathered of the fields, one after the other. */
struct gathered {
    json_t *event, *named, *left_out;
    json_t *columns, *arguments, *select; /* words, to be filled into lines */
    size_t shown;
    struct buffer money, moments;
};

static void column_add(struct gathered *g, const char *name, const char *suffix, const char *sql, const char *remark) {
    json_array_append_new(g->columns, json_sprintf("%s%s", name, suffix));
    json_t *called = json_sprintf("%s%s", name, suffix), *rest = json_sprintf("%s NOT NULL,%s", sql, remark);
    json_array_append_new(json_object_get(g->event, "columns"), json_pack("{s:o, s:o}", "name", called, "rest", rest));
}

static void select_add(struct gathered *g, const char *column, const char *heading) {
    json_array_append_new(g->select, json_sprintf("%s AS \\\"%s\\\"", column, heading));
}

static void
projection_add(struct gathered *g, const char *path, const char *name, const struct kind *k, const json_t *fallback) {
    const char *snake = new_text(g->event, "snake");
    json_t *words, *projection = json_object_get(g->event, "projection");
    json_array_append_new(json_object_get(g->event, "members"), json_sprintf("%s%s;", k->declaration, name));
    if (!fallback && !strcmp(path, name)) {
        json_array_append_new(projection, json_sprintf("FIELD_%s(struct %s, %s),", k->macro, snake, name));
        return;
    }
    words = json_array();
    json_array_append_new(words, json_sprintf("\"%s\"", path));
    json_array_append_new(words, json_sprintf("TYPE_%s", k->macro));
    json_array_append_new(words, json_sprintf("offsetof(struct %s, %s)", snake, name));
    json_array_append_new(words, json_string(fallback ? json_string_value(fallback) : "NULL"));
    new_fill(projection, words, (struct layout){"{", "     ", ",", "},"});
    json_decref(words);
}

static void money_add(struct gathered *g, const char *name) {
    column_add(g, name, "_minor", "BIGINT", " -- hundredths");
    column_add(g, name, "_currency", "TEXT  ", "");
    json_array_append_new(g->arguments, json_sprintf("value_int(q->%s.minor)", name));
    json_array_append_new(g->arguments, json_sprintf("value_text(q->%s.currency)", name));
}

static void plain_add(struct gathered *g, const char *name, const struct kind *k, bool is_moment) {
    const char *remark = is_moment ? " -- ms since 1970" : k == &kind_bool ? " -- 0 or 1" : "";
    column_add(g, name, "", k->sql, remark);
    json_array_append_new(g->arguments, json_sprintf("%s(q->%s)", k->value, name));
}

/* The first of them are on the page. */
static void field_show(struct gathered *g, const char *name, const struct kind *k, bool is_moment) {
    char heading[NAME], column[NAME + 20];
    if (g->shown++ >= SHOWN) return;
    heading_of(name, heading);
    snprintf(column, sizeof column, "%s%s", name, k == &kind_money ? "_minor" : "");
    select_add(g, column, heading);
    if (is_moment) buffer_format(&g->moments, " %s", heading);
    if (k != &kind_money) return;
    buffer_format(&g->money, "%s%s", g->money.length ? " " : "", heading);
    snprintf(column, sizeof column, "%s_currency", name);
    heading_of(column, heading);
    select_add(g, column, heading);
}

static void field_add(struct gathered *g, const json_t *field) {
    bool nullable;
    char name[NAME];
    const char *path = new_text(field, "name");
    const json_t *type = type_open(json_object_get(field, "type"), &nullable);
    const struct kind *k = kind_of(type, g->named);
    if (!k || (k == &kind_money && json_is_object(json_object_get(field, "default")))) {
        json_array_append_new(g->left_out, json_string(path));
        return;
    }
    bool is_moment = k == &kind_moment;
    json_t *fallback = fallback_of(field, k, nullable);
    name_of(path, name);
    projection_add(g, path, name, k, fallback);
    if (k == &kind_money)
        money_add(g, name);
    else
        plain_add(g, name, k, is_moment);
    field_show(g, name, k, is_moment);
    if (k == &kind_text && !*new_text(g->event, "summary"))
        json_object_set_new(g->event, "summary", json_sprintf("\"%%s\", q->%s", name));
    json_decref(fallback);
}

static bool is_common(const char *name) {
    static const char *const common[] = {"event_id", "return_id", "version", "occurred_at", "caused_by"};
    for (size_t i = 0; i < sizeof common / sizeof *common; i++)
        if (!strcmp(name, common[i])) return true;
    return false;
}

/* An event is about a return; else its first text says about what. NULL: it has neither. */
static const char *id_of(const json_t *fields) {
    const json_t *field;
    size_t i;
    const char *first = NULL;
    json_array_foreach((json_t *)fields, i, field) {
        const char *name = new_text(field, "name");
        if (!strcmp(name, "return_id")) return name;
        if (!first && !is_common(name) && !strcmp(new_text(field, "type"), "string")) first = name;
    }
    return first;
}

/* Its first sentence, where that fits into a line. */
static json_t *about_of(const json_t *schema, const char *name) {
    const char *doc = new_text(schema, "doc"), *end = strstr(doc, ". ");
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

static void insert_set(const struct gathered *g) {
    char first[NAME + 40];
    const char *snake = new_text(g->event, "snake");
    json_t *marks = json_array(), *lines;
    for (size_t i = 0; i < json_array_size(g->columns); i++) json_array_append_new(marks, json_string("?"));
    snprintf(first, sizeof first, "        \"INSERT INTO %s (", snake);
    lines_set(g->event, "insert", g->columns, (struct layout){first, "        \"", ", \"", ") \""});
    lines = json_object_get(g->event, "insert");
    new_fill(lines, marks, (struct layout){"        \"VALUES (", "        \"", ", \"", ") ON CONFLICT DO NOTHING\","});
    lines_set(g->event, "arguments", g->arguments, (struct layout){"        ", "        ", ",", ");"});
    json_decref(marks);
}

/* Now, and as it was. */
static void select_set(json_t *event, const json_t *select) {
    const char *snake = new_text(event, "snake"), *id = new_text(event, "id");
    char from[NAME + 20], order[3 * NAME];
    snprintf(from, sizeof from, " FROM %s \"", snake);
    snprintf(order, sizeof order, "ORDER BY occurred_at DESC, %s DESC, version DESC LIMIT 10\",", id);
    lines_set(event, "sql", select, (struct layout){"     .sql = \"SELECT ", "            \"", ", \"", from});
    json_array_append_new(json_object_get(event, "sql"), json_sprintf("            \"%s", order));
    lines_set(event, "as_of", select, (struct layout){"     .as_of = \"SELECT ", "              \"", ", \"", from});
    json_array_append_new(
        json_object_get(event, "as_of"), json_sprintf("              \"WHERE occurred_at <= ? %s", order));
}

static void select_begin(struct gathered *g) {
    buffer_text(&g->moments, "Happened");
    select_add(g, "occurred_at", "Happened");
}

static void left_out_set(const struct gathered *g) {
    const struct layout comment = {"/* Left out, being neither text, number, truth nor money: ", " * ", ",", ". */"};
    if (json_array_size(g->left_out)) lines_set(g->event, "left_out", g->left_out, comment);
}

/* Names as wide as the widest. */
void new_align(json_t *event) {
    json_t *column, *columns = json_object_get(event, "columns");
    size_t i, width = 0;
    json_array_foreach(columns, i, column) {
        size_t n = strlen(new_text(column, "name"));
        if (n > width) width = n;
    }
    json_array_foreach(columns, i, column)
        json_object_set_new(column, "name", json_sprintf("%-*s", (int)width, new_text(column, "name")));
}

static void gathered_set(struct gathered *g, bool of_return) {
    if (of_return) select_add(g, "return_id", "Return");
    json_object_set_new(g->event, "has_fields", json_boolean(json_array_size(json_object_get(g->event, "members"))));
    if (!*new_text(g->event, "summary"))
        json_object_set_new(g->event, "summary", json_string("\"return %s\", r->event->return_id"));
    insert_set(g);
    select_set(g->event, g->select);
    json_object_set(g->event, "select", g->select);
    left_out_set(g);
    json_object_set_new(g->event, "money", json_string(g->money.data ? g->money.data : ""));
    json_object_set_new(g->event, "moments", json_string(g->moments.data ? g->moments.data : ""));
}

static void fields_gather(json_t *event, const json_t *fields, bool of_return) {
    struct gathered g = {event, json_object(), json_array(), json_array(), json_array(), json_array(),
                         0,     BUFFER(4000),  BUFFER(4000)};
    const json_t *field;
    size_t i;
    select_begin(&g);
    if (of_return) {
        column_add(&g, "return_id", "", "TEXT  ", "");
        json_array_append_new(g.arguments, json_string("value_text(r->event->return_id)"));
    }
    column_add(&g, "version", "", "BIGINT", "");
    column_add(&g, "occurred_at", "", "BIGINT", " -- ms since 1970");
    json_array_append_new(g.arguments, json_string("value_int(r->event->version)"));
    json_array_append_new(g.arguments, json_string("value_int(r->event->occurred_at)"));
    json_array_foreach((json_t *)fields, i, field) if (!is_common(new_text(field, "name"))) field_add(&g, field);
    gathered_set(&g, of_return);
    json_decref(g.named), json_decref(g.left_out), json_decref(g.columns), json_decref(g.arguments),
        json_decref(g.select);
    buffer_free(&g.money), buffer_free(&g.moments);
}

static verdict event_read(const char *path, const char *owner, json_t **out, struct failure *why) {
    json_error_t wrong;
    json_t *schema = json_load_file(path, 0, &wrong), *fields = json_object_get(schema, "fields");
    char snake[NAME], id[NAME];
    const char *name = new_text(schema, "name"), *about = id_of(fields);
    if (!schema) return fail(why, RETRY, "could not read \"%s\": %s", path, wrong.text);
    if (!about) {
        verdict v = fail(why, REJECT, "\"%s\" says neither of which return it is nor, in a text, of what", name);
        json_decref(schema);
        return v;
    }
    bool of_return = !strcmp(about, "return_id");
    name_of(name, snake);
    if (of_return)
        strcpy(id, "return_id");
    else
        name_of(about, id);
    *out = json_pack(
        "{s:s, s:o, s:s, s:s, s:s, s:o, s:[], s:[], s:[]}", "event", name, "type",
        json_sprintf("%s.%s", new_text(schema, "namespace"), name), "owner", owner, "snake", snake, "id", id, "about",
        about_of(schema, name), "members", "projection", "columns");
    fields_gather(*out, fields, of_return);
    json_decref(schema);
    return OK;
}

/* A word before the last one, which is the return. */
static void state_show(json_t *event, const char *state) {
    json_t *select = json_object_get(event, "select");
    size_t last = json_array_size(select) - 1;
    json_array_insert_new(select, last, json_sprintf("CASE WHEN %s END AS \\\"State\\\"", state));
    select_set(event, select);
    json_array_remove(select, last);
}

void new_undone(json_t *event) {
    json_object_set_new(event, "undone", json_true());
    json_array_append_new(
        json_object_get(event, "columns"),
        json_pack("{s:s, s:s}", "name", "cancelled_at", "rest", "BIGINT, -- ms since 1970; not before it is"));
    state_show(event, "cancelled_at <= ? THEN 'cancelled' ELSE 'open'");
    json_t *then = json_incref(json_object_get(event, "as_of"));
    state_show(event, "cancelled_at IS NULL THEN 'open' ELSE 'cancelled'");
    json_object_set_new(event, "as_of", then);
}

/* --- Which events */

ssize_t new_find(const json_t *events, const char *type) {
    size_t i;
    json_t *event;
    json_array_foreach((json_t *)events, i, event) if (!strcmp(new_text(event, "type"), type)) return (ssize_t)i;
    return -1;
}

/* schemas/support/RefundRequest.avsc: the owner's length and the name's. */
static const char *path_name(const char *path, int *owner_n, int *name_n) {
    const char *owner = path + strlen("schemas/"), *name = strchr(owner, '/') + 1;
    *owner_n = (int)(name - 1 - owner);
    *name_n = (int)(strrchr(name, '.') - name);
    return owner;
}

static bool is_event(const char *path) {
    return strncmp(path, "schemas/chassis/", 16) != 0 && strncmp(path, "schemas/history/", 16) != 0;
}

json_t *new_known(void) {
    glob_t files;
    json_t *known = json_array();
    if (glob("schemas/*/*.avsc", 0, NULL, &files)) files = (glob_t){0};
    for (size_t i = 0; i < files.gl_pathc; i++) {
        int owner_n, name_n;
        const char *owner = path_name(files.gl_pathv[i], &owner_n, &name_n);
        if (is_event(files.gl_pathv[i]))
            json_array_append_new(known, json_stringn(owner + owner_n + 1, (size_t)name_n));
    }
    globfree(&files);
    return known;
}

/* By its name, or its full name. */
static bool is_named(const char *asked, const char *path) {
    int owner_n, name_n;
    char full[3 * NAME];
    const char *owner = path_name(path, &owner_n, &name_n);
    snprintf(full, sizeof full, "returns.%.*s.%.*s", owner_n, owner, name_n, owner + owner_n + 1);
    return !strcmp(asked, full) || !strcmp(asked, full + 9 + owner_n);
}

static verdict event_add(json_t *events, const char *asked, const glob_t *files, struct failure *why) {
    for (size_t i = 0; i < files->gl_pathc; i++) {
        const char *path = files->gl_pathv[i];
        int owner_n, name_n;
        char owner[NAME];
        json_t *event = NULL, *other;
        size_t k;
        if (!is_event(path) || !is_named(asked, path)) continue;
        const char *begin = path_name(path, &owner_n, &name_n);
        snprintf(owner, sizeof owner, "%.*s", owner_n, begin);
        verdict v = event_read(path, owner, &event, why);
        json_array_foreach(events, k, other) if (v == OK && !strcmp(new_text(event, "snake"), new_text(other, "snake")))
            v = fail(why, REJECT, "\"%s\" is named twice, or another event has its name: take one", asked);
        if (v == OK)
            json_array_append_new(events, event);
        else
            json_decref(event);
        return v;
    }
    return fail(why, REJECT, "\"%.200s\": no such event", asked);
}

verdict new_events(const char *names, json_t **events, struct failure *why) {
    glob_t files;
    char *copy = strdup(names), *rest = NULL;
    verdict v = copy && *copy ? OK : fail(why, REJECT, "no event is named");
    *events = json_array();
    if (glob("schemas/*/*.avsc", 0, NULL, &files)) files = (glob_t){0};
    for (char *one = copy ? strtok_r(copy, ",", &rest) : NULL; one && v == OK; one = strtok_r(NULL, ",", &rest))
        v = event_add(*events, one, &files, why);
    if (v == OK && !json_array_size(*events)) v = fail(why, REJECT, "\"%.200s\": names no event", names);
    globfree(&files);
    free(copy);
    return v;
}
