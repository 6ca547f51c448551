#include "chassis/web/template.h"

#include "chassis/base/assets.h"

#include <stdlib.h>
#include <string.h>

/* One pass over the text, recursing at sections and partials; a section that repeats is read again for each item, one
 * that is skipped is read without output, so that its own errors are found as well. */

enum { NESTING_MAX = 16, NAME_TEXT = 64 };

struct scope {
    const json_t *value;
    const struct scope *outer;
};

struct renderer {
    const char *name, *start, *end; /* the file, for the line of an error */
    const char *p;
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
    for (const char *p = r->start; p < r->p && p < r->end; p++) line += *p == '\n';
    return fail(r->why, FATAL, "%s, line %d: %s \"%.60s\"", r->name, line, what, quoted);
}

/* --- Names */

static const json_t *member(const json_t *object, const char *name, size_t n) {
    return json_is_object(object) ? json_object_getn(object, name, n) : NULL;
}

/* The first part is looked for from the innermost scope outwards, the rest only inside of what it named. */
static const json_t *lookup(const struct scope *scope, const char *name) {
    if (!strcmp(name, ".")) return scope->value;
    size_t n = strcspn(name, ".");
    const json_t *value = NULL;
    for (; scope && !value; scope = scope->outer) value = member(scope->value, name, n);
    while (value && name[n]) {
        name += n + 1;
        n = strcspn(name, ".");
        value = member(value, name, n);
    }
    return value;
}

static bool is_shown(const json_t *value) {
    switch (value ? json_typeof(value) : JSON_NULL) {
    case JSON_NULL:
    case JSON_FALSE: return false;
    case JSON_STRING: return json_string_length(value) > 0;
    case JSON_INTEGER: return json_integer_value(value) != 0;
    case JSON_REAL: return json_real_value(value) != 0;
    case JSON_ARRAY: return json_array_size(value) > 0;
    default: return true;
    }
}

static void write_text(const struct renderer *r, const json_t *text) {
    if (r->plain)
        buffer_bytes(r->out, json_string_value(text), json_string_length(text));
    else
        buffer_html(r->out, json_string_value(text), json_string_length(text));
}

static void write_value(const struct renderer *r, const json_t *value) {
    struct buffer *out = r->out;
    switch (value ? json_typeof(value) : JSON_NULL) {
    case JSON_STRING: write_text(r, value); break;
    case JSON_INTEGER: buffer_format(out, "%" JSON_INTEGER_FORMAT, json_integer_value(value)); break;
    case JSON_REAL: buffer_format(out, "%.10g", json_real_value(value)); break;
    case JSON_TRUE: buffer_text(out, "true"); break;
    case JSON_FALSE: buffer_text(out, "false"); break;
    default: break;
    }
}

/* --- Tags */

static bool is_name(const char *name) {
    if (!strcmp(name, ".")) return true;
    return *name && !name[strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.")] &&
           *name != '.' && !strstr(name, "..") && name[strlen(name) - 1] != '.';
}

/* Writes the text up to the next tag and reads that tag. kind 'e': the end of the file. */
static verdict next_tag(struct renderer *r, struct tag *tag) {
    const char *open = memmem(r->p, (size_t)(r->end - r->p), "{{", 2);
    const char *stop = open ? open : r->end;
    if (r->out) buffer_bytes(r->out, r->p, (size_t)(stop - r->p));
    r->p = stop;
    *tag = (struct tag){.kind = 'e'};
    if (!open) return OK;
    const char *close = memmem(open, (size_t)(r->end - open), "}}", 2);
    if (!close) return template_fail(r, "a tag is not closed:", open);
    const char *p = open + 2;
    tag->kind = strchr("#^/>!&={", *p) ? *p++ : 0;
    if (tag->kind == '{' || tag->kind == '&' || tag->kind == '=')
        return template_fail(r, "there is no such tag here:", open);
    if (tag->kind != '!') {
        while (p < close && *p == ' ') p++;
        size_t n = (size_t)(close - p);
        while (n && p[n - 1] == ' ') n--;
        if (n >= NAME_TEXT) return template_fail(r, "a name is too long:", p);
        memcpy(tag->name, p, n);
        if (!is_name(tag->name)) return template_fail(r, "this is not a name:", tag->name);
    }
    r->p = close + 2;
    return OK;
}

static verdict render_partial(struct renderer *r, const struct scope *scope, const char *name) {
    const struct asset *file = asset_find(name);
    if (!file) return template_fail(r, "there is no file", name);
    struct renderer inner = {
        .name = name,
        .start = file->bytes,
        .p = file->bytes,
        .end = file->bytes + file->n,
        .out = r->out,
        .why = r->why,
        .depth = r->depth,
        .plain = r->plain};
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
    const json_t *value = lookup(scope, tag->name);
    const char *from = r->p;
    if (tag->kind == '^') return render_once(r, from, scope, tag->name, !is_shown(value));
    if (!is_shown(value) || !r->out) return render_once(r, from, scope, tag->name, false);
    struct scope inner = {value, scope};
    if (!json_is_array(value)) return render_once(r, from, &inner, tag->name, true);
    verdict v = OK;
    for (size_t i = 0; v == OK && i < json_array_size(value); i++) {
        inner.value = json_array_get(value, i);
        v = render_once(r, from, &inner, tag->name, true);
    }
    return v;
}

/* Up to the closing tag of the section, or to the end of the file where section is NULL. */
static verdict render_block(struct renderer *r, const struct scope *scope, const char *section) {
    struct tag tag;
    verdict v = OK;
    if (++r->depth > NESTING_MAX)
        return template_fail(r, "sections and partials are nested too deep at", section ? section : r->name);
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
            write_value(r, lookup(scope, tag.name));
    }
    r->depth--;
    return v;
}

static verdict file_render(const char *name, const json_t *data, bool plain, struct buffer *out, struct failure *why) {
    const struct asset *file = asset_find(name);
    if (!file) return fail(why, FATAL, "there is no page \"%s\" in this program", name);
    struct renderer r = {
        .name = name,
        .start = file->bytes,
        .p = file->bytes,
        .end = file->bytes + file->n,
        .out = out,
        .why = why,
        .plain = plain};
    return render_block(&r, &(struct scope){data, NULL}, NULL);
}

verdict template_render(const char *name, const json_t *data, struct buffer *out, struct failure *why) {
    return file_render(name, data, false, out, why);
}

verdict template_render_plain(const char *name, const json_t *data, struct buffer *out, struct failure *why) {
    return file_render(name, data, true, out, why);
}
