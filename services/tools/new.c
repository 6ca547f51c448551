/* What ./returns new writes: the files of a service that notes some events, made from their .avsc. The verb in
 * compose/verbs/new does the rest. */
#include "new.h"

#include "cli.h"

#include "chassis/base/assets.h"
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

/* fraud-check gives "Fraud check". */
static json_t *title_of(const char *name) {
    char title[100];
    snprintf(title, sizeof title, "%s", name);
    for (char *p = title; *p; p++)
        if (*p == '-') *p = ' ';
    if (*title >= 'a' && *title <= 'z') *title -= 'a' - 'A';
    return json_string(title);
}

/* "RefundRequest and RefundCancelled"; of many, how many. */
static json_t *what_of(const json_t *events) {
    struct buffer text = BUFFER(1000);
    size_t i, n = json_array_size(events);
    json_t *event;
    json_array_foreach((json_t *)events, i, event)
        buffer_format(&text, "%s%s", i ? i + 1 == n ? " and " : ", " : "", new_text(event, "event"));
    json_t *what = text.length > 80 ? json_sprintf("%zu types of events", n) : json_string(text.data ? text.data : "");
    buffer_free(&text);
    return what;
}

static json_t *subscribes_of(const json_t *events) {
    const char *owner = new_text(json_array_get(events, 0), "owner");
    size_t i;
    json_t *event;
    json_array_foreach(
        (json_t *)events, i, event) if (strcmp(new_text(event, "owner"), owner) != 0) return json_string("*");
    return json_string(owner);
}

/* The handler of each event; one that only undoes another gets no fields. */
static json_t *handlers_of(const json_t *events, bool pairs) {
    json_t *lines = json_array(), *event;
    size_t i;
    json_array_foreach((json_t *)events, i, event) {
        const char *snake = new_text(event, "snake");
        json_t *words = json_array();
        json_array_append_new(words, json_sprintf("\"%s\"", new_text(event, "type")));
        json_array_append_new(words, json_sprintf("FIELDS(%s_fields, struct %s)", snake, snake));
        json_array_append_new(words, json_sprintf("note_%s", snake));
        if (json_is_true(json_object_get(event, "has_fields")))
            new_fill(lines, words, (struct layout){"    {", "     ", ",", "},"});
        else
            json_array_append_new(
                lines, json_sprintf("    {.type = \"%s\", .handle = note_%s},", new_text(event, "type"), snake));
        json_decref(words);
    }
    if (pairs) json_array_append_new(lines, json_string("    {.type = \"" NEW_CANCELLED "\", .handle = cancel},"));
    return lines;
}

static json_t *types_of(const json_t *events, bool pairs) {
    json_t *types = json_array(), *event;
    size_t i;
    json_array_foreach((json_t *)events, i, event) json_array_append(types, json_object_get(event, "type"));
    if (pairs) json_array_append_new(types, json_string(NEW_CANCELLED));
    return types;
}

static json_t *test_of(const char *name) {
    char file[100];
    snprintf(file, sizeof file, "test_%s.py", name);
    for (char *p = file; *p; p++)
        if (*p == '-') *p = '_';
    return json_string(file);
}

/* A cancellation undoes a request, where both are wanted: then it has no table of its own. */
static json_t *data_of(const struct wanted *w, json_t *events) {
    size_t i;
    json_t *event;
    json_t *what = what_of(events), *data = json_object();
    ssize_t request = new_find(events, NEW_REQUEST), cancelled = new_find(events, NEW_CANCELLED);
    bool pairs = request >= 0 && cancelled >= 0;
    if (pairs) {
        json_t *undone = json_array_get(events, (size_t)request);
        new_undone(undone);
        json_object_set(data, "pairs", json_object_get(undone, "snake"));
        json_array_remove(events, (size_t)cancelled);
    }
    json_array_foreach(events, i, event) new_align(event);
    json_object_set_new(data, "name", json_string(w->name));
    json_object_set_new(data, "title", title_of(w->name));
    json_object_set_new(data, "what", what);
    json_object_set_new(data, "port", json_string(w->port));
    json_object_set_new(data, "test", test_of(w->name));
    json_object_set_new(data, "subscribes", subscribes_of(events));
    json_object_set_new(data, "in_memory", json_boolean(w->in_memory));
    json_object_set_new(data, "handlers", handlers_of(events, pairs));
    json_object_set_new(data, "types", types_of(events, pairs));
    json_object_set(data, "events", events);
    return data;
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
    const struct {
        const char *file, *page;
    } files[] = {
        {source, "service.c.mustache"},
        {"schema.sql", "schema.sql.mustache"},
        {"README.md", "README.md.mustache"},
        {new_text(data, "test"), "test.py.mustache"},
    };
    verdict v = OK;
    for (size_t i = 0; v == OK && i < sizeof files / sizeof *files; i++) {
        struct buffer text = BUFFER(FILE_MAX);
        v = template_render_plain(files[i].page, data, &text, why);
        if (v == OK && text.failed) v = fail(why, RETRY, "%s becomes too long", files[i].file);
        if (v == OK) v = file_write(w, files[i].file, &text, why);
        buffer_free(&text);
    }
    return v;
}

static void known_print(void) {
    json_t *name, *known = new_known();
    size_t i;
    fprintf(stderr, "There are:");
    json_array_foreach(known, i, name) fprintf(stderr, " %s", shown(json_string_value(name)));
    fprintf(stderr, "\n");
    json_decref(known);
}

int new_run(int n, char *arguments[]) {
    struct failure why;
    const char *events_text = n > 3 ? arguments[3] : "";
    if (n != 5) {
        fprintf(stderr, "usage: returns_tool new NAME FOLDER PORT TYPE,… 0|1\n");
        return 2;
    }
    struct wanted w = {arguments[0], arguments[1], arguments[2], !strcmp(arguments[4], "1")};
    assets_of_service(new_assets, new_assets_n);
    json_t *events = NULL;
    verdict v = new_events(events_text, &events, &why);
    if (v == OK) {
        json_t *data = data_of(&w, events);
        v = files_write(&w, data, &why);
        json_decref(data);
    }
    json_decref(events);
    if (v != OK) fprintf(stderr, "%s\n", shown(why.text));
    if (v == REJECT) known_print();
    return v == OK ? 0 : v == REJECT ? 1 : 2;
}
