/* What ./returns new writes: the files of a service that notes some events, made from their .avsc. The verb in
 * compose/verbs/new does the rest. */
#include "new.h"

#include "cli.h"

#include "chassis/base/assets.h"
#include "chassis/base/json_get.h"
#include "chassis/base/terminal.h"
#include "chassis/web/template.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FILE_MAX = 1 << 20 };

extern const struct asset new_assets[];
extern const size_t new_assets_n;

struct wanted {
    const char *name, *folder, *port;
    bool in_memory;
};

/* --- What the templates are filled with */

/* "RefundRequest and RefundCancelled". Of many, how many. */
static json_t *what_of(const json_t *events) {
    buffer_auto text = BUFFER(1000);
    size_t n = json_array_size(events);
    json_each(i, event, events)
        buffer_format(&text, "%s%s", i ? i + 1 == n ? " and " : ", " : "", json_get_text(event, "event"));
    return text.length > 80 ? json_sprintf("%zu types of events", n) : json_string(text.data ? text.data : "");
}

static const char *subscribes_of(const json_t *events) {
    const char *owner = json_get_text(json_array_get(events, 0), "owner");
    json_each(i, event, events)
        if (strcmp(json_get_text(event, "owner"), owner) != 0) return "*";
    return owner;
}

/* The handler of an event. One that only undoes another gets no fields. */
static void handler_add(json_t *lines, const json_t *event) {
    const char *snake = json_get_text(event, "snake"), *type = json_get_text(event, "type");
    if (!json_is_true(json_object_get(event, "has_fields"))) {
        json_array_append_new(lines, json_sprintf("    {.type = \"%s\", .handle = note_%s},", type, snake));
        return;
    }
    json_auto_t *words = json_pack(
        "[o, o, o]", json_sprintf("\"%s\"", type), json_sprintf("FIELDS(%s_fields, struct %s)", snake, snake),
        json_sprintf("note_%s", snake));
    new_fill(lines, words, (struct layout){"    {", "     ", ",", "},"});
}

/* A cancellation undoes a request, where both are wanted: then it has no table of its own. */
static json_t *data_of(const struct wanted *w, json_t *events) {
    json_t *what = what_of(events), *handlers = json_array(), *types = json_array(), *undone = NULL;
    ssize_t request = new_find(events, NEW_REQUEST), cancelled = new_find(events, NEW_CANCELLED);
    char title[NEW_NAME], test[NEW_NAME];
    if (request >= 0 && cancelled >= 0) {
        undone = json_array_get(events, (size_t)request);
        new_undone(undone);
        json_array_remove(events, (size_t)cancelled);
    }
    json_each(i, event, events) {
        new_align(event);
        handler_add(handlers, event);
        json_array_append(types, json_object_get(event, "type"));
    }
    if (undone) {
        json_array_append_new(handlers, json_string("    {.type = \"" NEW_CANCELLED "\", .handle = cancel},"));
        json_array_append_new(types, json_string(NEW_CANCELLED));
    }
    new_heading(w->name, title);
    snprintf(test, sizeof test, "test_%s.py", w->name);
    for (char *p = test; *p; p++)
        if (*p == '-') *p = '_';
    return json_pack(
        "{s:s, s:s, s:o, s:s, s:s, s:s, s:b, s:o, s:o, s:O, s:O*}", "name", w->name, "title", title, "what", what,
        "port", w->port, "test", test, "subscribes", subscribes_of(events), "in_memory", w->in_memory, "handlers",
        handlers, "types", types, "events", events, "pairs", json_object_get(undone, "snake"));
}

/* --- Files */

static verdict file_write(const struct wanted *w, const char *name, const struct buffer *text, struct failure *why) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", w->folder, name);
    size_t n = text->length;
    while (n > 1 && text->data[n - 2] == '\n') n--; /* where the last section left one more */
    FILE *file = fopen(path, "w");
    bool written = file && fwrite(text->data, 1, n, file) == n;
    if (file && fclose(file)) written = false;
    return written ? OK : fail(why, RETRY, "could not write \"%s\": %s", path, strerror(errno));
}

static verdict files_write(const struct wanted *w, const json_t *data, struct failure *why) {
    char source[110];
    snprintf(source, sizeof source, "%s.c", w->name);
    const char *files[][2] = {
        {source, "service.c.mustache"},
        {"schema.sql", "schema.sql.mustache"},
        {"README.md", "README.md.mustache"},
        {json_get_text(data, "test"), "test.py.mustache"},
    };
    verdict v = OK;
    for (size_t i = 0; v == OK && i < sizeof files / sizeof *files; i++) {
        buffer_auto text = BUFFER(FILE_MAX);
        v = template_render_plain(files[i][1], data, &text, why);
        if (v == OK && text.failed) v = fail(why, RETRY, "%s becomes too long", files[i][0]);
        if (v == OK) v = file_write(w, files[i][0], &text, why);
    }
    return v;
}

static void known_print(void) {
    json_auto_t *known = new_known();
    fprintf(stderr, "There are:");
    json_each(i, one, known) fprintf(stderr, " %s", shown(json_get_text(one, "name")));
    fprintf(stderr, "\n");
}

int new_run(int n, char *arguments[]) {
    struct failure why;
    json_auto_t *events = NULL;
    if (n != 5) return cli_end(fail(&why, REJECT, "usage: returns_tool new NAME FOLDER PORT TYPE,… 0|1"), &why);
    struct wanted w = {arguments[0], arguments[1], arguments[2], !strcmp(arguments[4], "1")};
    assets_of_service(new_assets, new_assets_n);
    verdict v = new_events(arguments[3], &events, &why);
    json_auto_t *data = v == OK ? data_of(&w, events) : NULL;
    if (data) v = files_write(&w, data, &why);
    int status = cli_end(v, &why);
    if (v == REJECT) known_print();
    return v == REJECT ? CLI_NO : status;
}
