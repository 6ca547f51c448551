#include "chassis/web/template.h"

#include "chassis/base/assets.h"
#include "chassis/web/template_filter.h"

#include <stdlib.h>
#include <string.h>

/* One pass over the text, recursing at sections and partials. A section that repeats is read again for each item, one
 * that is skipped is read without output, so that its own errors are found as well. */

enum { NESTING_MAX = 16, NAME_TEXT = 64 };

struct scope {
    const json_t *value;
    const struct scope *outer;
};

struct renderer {
    const struct asset *file;
    const char *p;      /* in it */
    struct buffer *out; /* NULL: skipping */
    struct failure *why;
    int depth;
    bool plain; /* values as they are: what is made is no HTML */
};

struct tag {
    char kind; /* # ^ / > ! or 0: a value */
    char name[NAME_TEXT];
};

static verdict render_block(struct renderer *r, const struct scope *scope, const char *section);

static verdict template_fail(const struct renderer *r, const char *what, const char *quoted) {
    int line = 1;
    for (const char *p = r->file->bytes; p < r->p; p++) line += *p == '\n';
    return fail(r->why, FATAL, "%s, line %d: %s \"%.60s\"", r->file->name, line, what, quoted);
}

/* --- Names */

static const json_t *member(const json_t *object, const char *name, size_t n) {
    return json_is_object(object) ? json_object_getn(object, name, n) : NULL;
}

/* The first part is looked for from the innermost scope outwards, the rest only inside of what it named. */
static const json_t *lookup(const struct scope *scope, const char *name) {
    if (*name == '.') return scope->value;
    size_t n = strcspn(name, ".|=");
    const json_t *value = NULL;
    for (; scope && !value; scope = scope->outer) value = member(scope->value, name, n);
    while (value && name[n] == '.') {
        name += n + 1;
        n = strcspn(name, ".|=");
        value = member(value, name, n);
    }
    return value;
}

static bool is_text(const json_t *value, const char *text, size_t n) {
    return json_is_string(value) && json_string_length(value) == n && !memcmp(json_string_value(value), text, n);
}

/* What a tag shows: a.b, a.b|filter|filter, or whether that is a word: a.b=word. The caller's. NULL: nothing. */
static json_t *tag_value(const struct scope *scope, const char *tag) {
    json_t *value = json_incref((json_t *)lookup(scope, tag));
    while (*(tag += strcspn(tag, "|="))) {
        json_auto_t *from = value;
        bool compares = *tag++ == '=';
        size_t n = strcspn(tag, "|=");
        value = compares ? json_boolean(is_text(from, tag, n)) : template_filter_find(tag, n)(from);
    }
    return value;
}

static bool is_shown(const json_t *value) {
    return json_is_true(value) || json_is_object(value) || json_string_length(value) || json_array_size(value) ||
           json_number_value(value) != 0;
}

static void write_value(const struct renderer *r, const struct scope *scope, const char *tag) {
    json_auto_t *value = tag_value(scope, tag);
    if (json_is_string(value) && r->plain)
        buffer_bytes(r->out, json_string_value(value), json_string_length(value));
    else if (json_is_string(value))
        buffer_html(r->out, json_string_value(value), json_string_length(value));
    else if (json_is_integer(value))
        buffer_format(r->out, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    else if (json_is_real(value))
        buffer_format(r->out, "%.10g", json_real_value(value));
    else if (json_is_boolean(value))
        buffer_text(r->out, json_is_true(value) ? "true" : "false");
}

/* --- Tags */

static bool is_name(const char *tag) {
    size_t n = strcspn(tag, "|=");
    if (n == 1 && *tag == '.') return true;
    return n && strspn(tag, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.") >= n && *tag != '.' &&
           !memmem(tag, n, "..", 2) && tag[n - 1] != '.';
}

static bool has_known_filters(const char *tag) {
    while (*(tag += strcspn(tag, "|="))) {
        bool compares = *tag++ == '=';
        if (!compares && !template_filter_find(tag, strcspn(tag, "|="))) return false;
    }
    return true;
}

/* Writes the text up to the next tag and reads that tag. kind 'e': the end of the file. */
static verdict next_tag(struct renderer *r, struct tag *tag) {
    const char *end = r->file->bytes + r->file->n, *open = memmem(r->p, (size_t)(end - r->p), "{{", 2);
    const char *stop = open ? open : end;
    if (r->out) buffer_bytes(r->out, r->p, (size_t)(stop - r->p));
    r->p = stop;
    *tag = (struct tag){.kind = 'e'};
    if (!open) return OK;
    const char *p = open + 2, *close = memmem(p, (size_t)(end - p), "}}", 2);
    if (!close) return template_fail(r, "a tag is not closed:", open);
    if (strchr("&={", *p)) return template_fail(r, "there is no such tag here:", open);
    tag->kind = strchr("#^/>!", *p) ? *p++ : 0;
    if (tag->kind != '!') {
        while (p < close && *p == ' ') p++;
        size_t n = (size_t)(close - p);
        while (n && p[n - 1] == ' ') n--;
        if (n >= NAME_TEXT) return template_fail(r, "a name is too long:", p);
        memcpy(tag->name, p, n);
        if (!is_name(tag->name)) return template_fail(r, "this is not a name:", tag->name);
        if (!has_known_filters(tag->name)) return template_fail(r, "there is no such filter:", tag->name);
    }
    r->p = close + 2;
    return OK;
}

static verdict render_partial(const struct renderer *r, const struct scope *scope, const char *name) {
    struct renderer inner = *r;
    inner.file = asset_find(name);
    if (!inner.file) return template_fail(r, "there is no file", name);
    inner.p = inner.file->bytes;
    return render_block(&inner, scope, NULL);
}

/* The block after the opening tag, once for the value. r ends behind the closing tag. */
static verdict
render_once(struct renderer *r, const char *from, const struct scope *scope, const char *section, bool shown) {
    struct buffer *out = r->out;
    r->p = from;
    if (!shown) r->out = NULL;
    verdict v = render_block(r, scope, section);
    r->out = out;
    return v;
}

static verdict render_section(struct renderer *r, const struct scope *scope, const struct tag *tag) {
    json_auto_t *value = tag_value(scope, tag->name);
    bool shown = is_shown(value) == (tag->kind == '#'), enters = shown && tag->kind == '#' && r->out;
    size_t n = enters && json_is_array(value) ? json_array_size(value) : 1;
    const char *from = r->p;
    verdict v = OK;
    for (size_t i = 0; v == OK && i < n; i++) {
        struct scope inner = {json_is_array(value) ? json_array_get(value, i) : value, scope};
        v = render_once(r, from, enters ? &inner : scope, tag->name, shown);
    }
    return v;
}

/* Up to the closing tag of the section, or to the end of the file where section is NULL. */
static verdict render_block(struct renderer *r, const struct scope *scope, const char *section) {
    struct tag tag;
    verdict v = OK;
    if (++r->depth > NESTING_MAX)
        return template_fail(r, "sections and partials are nested too deep at", section ? section : r->file->name);
    while (v == OK && (v = next_tag(r, &tag)) == OK) {
        if (tag.kind == 'e') {
            if (section) v = template_fail(r, "a section is not closed:", section);
            break;
        }
        if (tag.kind == '/') {
            if (!section || strcmp(tag.name, section) != 0) v = template_fail(r, "closes what is not open:", tag.name);
            break;
        }
        if (tag.kind == '#' || tag.kind == '^')
            v = render_section(r, scope, &tag);
        else if (tag.kind == '>')
            v = render_partial(r, scope, tag.name);
        else if (!tag.kind && r->out)
            write_value(r, scope, tag.name);
    }
    r->depth--;
    return v;
}

static verdict file_render(const char *name, const json_t *data, bool plain, struct buffer *out, struct failure *why) {
    struct renderer r = {.file = asset_find(name), .out = out, .why = why, .plain = plain};
    if (!r.file) return fail(why, FATAL, "there is no page \"%s\" in this program", name);
    r.p = r.file->bytes;
    return render_block(&r, &(struct scope){data, NULL}, NULL);
}

verdict template_render(const char *name, const json_t *data, struct buffer *out, struct failure *why) {
    return file_render(name, data, false, out, why);
}

verdict template_render_plain(const char *name, const json_t *data, struct buffer *out, struct failure *why) {
    return file_render(name, data, true, out, why);
}
