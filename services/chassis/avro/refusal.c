#include "chassis/avro/refusal.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAMED_MAX = 3, PLACE_MAX = 200, FIELD_MAX = 200 };

static const struct rule {
    const char *name, *says, *at; /* says: how the detail begins. at: how the path ends. NULL: whatever */
    const char *advice;
} rules[] = {
    {"TYPE_MISMATCH", "reader type: ", NULL, "keep the type, and add a field of another name"},
    {"MISSING_UNION_BRANCH", "reader union lacking", NULL, "keep every branch"},
    {"MISSING_ENUM_SYMBOLS", NULL, "/symbols", "keep every symbol, or give the enum a default"},
    {"FIXED_SIZE_MISMATCH", "expected: ", "/size", "keep the size"},
    {"NAME_MISMATCH", "expected: ", "/name", "keep the name"},
    {"READER_FIELD_MISSING_DEFAULT_VALUE", NULL, NULL, "give the field a default"},
};

struct diff {
    char detail[FIELD_MAX], path[PLACE_MAX];
};

/* The next "detail at /path" of a list that *p is in. False at its end. */
static bool diff_next(const char **p, struct diff *d) {
    const char *at = strstr(*p, " at /");
    if (!at) return false;
    const char *detail = *p + strspn(*p, " ,"), *path = at + strlen(" at ");
    snprintf(d->detail, sizeof d->detail, "%.*s", at > detail ? (int)(at - detail) : 0, detail);
    *p = path + strcspn(path, ",] ");
    snprintf(d->path, sizeof d->path, "%.*s", (int)(*p - path), path);
    return true;
}

static bool begins(const char *text, const char *with) {
    return !strncmp(text, with, strlen(with));
}

static bool ends(const char *text, const char *with) {
    size_t n = strlen(text), with_n = strlen(with);
    return n >= with_n && !strcmp(text + n - with_n, with);
}

static const struct rule *rule_of(const struct diff *d) {
    const struct rule *r = rules;
    while ((r->says && !begins(d->detail, r->says)) || (r->at && !ends(d->path, r->at))) r++;
    return r;
}

/* Whether the node is what the detail speaks of: the path may be that of the other schema. */
static bool is_meant(const json_t *node, const struct rule *r, const struct diff *d) {
    if (strcmp(r->name, "TYPE_MISMATCH") != 0) return node;
    const char *type = json_string_value(json_is_object(node) ? json_object_get(node, "type") : node);
    return type && strcasestr(d->detail, type);
}

/* "cost.tax" of "/fields/10/type/fields/2". False: this schema has no such place. */
static bool field_of(const json_t *schema, const struct rule *r, const struct diff *d, struct buffer *out) {
    char path[PLACE_MAX], *rest, *step;
    const json_t *node = schema;
    bool missing = !strcmp(r->name, "READER_FIELD_MISSING_DEFAULT_VALUE");
    strcpy(path, d->path);
    for (step = strtok_r(path, "/", &rest); step; step = strtok_r(NULL, "/", &rest)) {
        node = json_is_array(node) ? json_array_get(node, (size_t)atoi(step)) : json_object_get(node, step);
        const char *name = json_string_value(json_object_get(node, "name"));
        bool field = step[strspn(step, "0123456789")] == '\0' && name;
        bool last = !rest || !*rest;
        if (missing && last)
            buffer_format(out, "%s%s", out->length ? "." : "", d->detail);
        else if (field)
            buffer_format(out, "%s%s", out->length ? "." : "", name);
    }
    return out->length && (missing || is_meant(node, r, d));
}

static void diff_write(struct buffer *out, const json_t *schema, const struct diff *d) {
    const struct rule *r = rule_of(d);
    buffer_auto field = BUFFER(FIELD_MAX);
    if (field_of(schema, r, d, &field) && field.data)
        buffer_format(out, "field \"%s\": %s (%s)", field.data, r->name, r->advice);
    else
        buffer_format(out, "%s at %s (%s)", r->name, d->path, r->advice);
}

void refusal_write(struct buffer *out, const char *said, const char *schema) {
    static const char list[] = "list of diff types: [";
    const char *p = strstr(said, list);
    json_auto_t *text = json_loads(schema, 0, NULL);
    buffer_auto all = BUFFER(2000);
    struct diff d;
    int named = 0;
    for (p = p && text ? p + strlen(list) : ""; named < NAMED_MAX && diff_next(&p, &d);) {
        buffer_auto one = BUFFER(600);
        diff_write(&one, text, &d);
        /* The same is said once for each version, and for each direction. */
        if (one.data && !(all.data && strstr(all.data, one.data)))
            buffer_format(&all, "%s%s", named++ ? "; " : "", one.data);
    }
    if (all.data)
        buffer_format(out, "%s. ./returns schemas check says more", all.data);
    else
        buffer_text(out, said);
}
