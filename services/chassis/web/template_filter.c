#include "chassis/web/template_filter.h"

#include "chassis/base/buffer.h"
#include "chassis/base/ids.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

/* n characters of an RFC 3339 text. */
static json_t *moment_piece(const json_t *value, size_t from, size_t n) {
    const char *rfc = json_string_value(value);
    char text[24];
    if (!rfc || strlen(rfc) < from) return NULL;
    snprintf(text, sizeof text, "%.*s", (int)n, rfc + from);
    if (strlen(text) > 10 && text[10] == 'T') text[10] = ' ';
    return json_string(text);
}

static json_t *moment(const json_t *value) {
    return moment_piece(value, 0, 23);
}

static json_t *clock_time(const json_t *value) {
    return moment_piece(value, 11, 8);
}

static json_t *clock_time_ms(const json_t *value) {
    return moment_piece(value, 11, 12);
}

static json_t *duration(const json_t *value) {
    char text[DURATION_TEXT];
    return json_is_integer(value) ? json_string(duration_text(json_integer_value(value), text)) : NULL;
}

static json_t *query(const json_t *value) {
    buffer_auto encoded = BUFFER(64 << 10);
    if (json_is_string(value)) buffer_percent(&encoded, json_string_value(value));
    return json_string(encoded.data);
}

static json_t *name(const json_t *value) {
    const char *text = json_string_value(value), *dot = text ? strrchr(text, '.') : NULL;
    return json_string(dot ? dot + 1 : text);
}

/* "Damaged in transit" of "DAMAGED_IN_TRANSIT". */
static json_t *words(const json_t *value) {
    buffer_auto text = BUFFER(64 << 10);
    buffer_text(&text, json_is_string(value) ? json_string_value(value) : "");
    for (size_t i = 0; i < text.length; i++)
        text.data[i] = (char)(text.data[i] == '_' ? ' ' : i ? tolower(text.data[i]) : text.data[i]);
    return json_string(text.data);
}

static json_t *word_find(const json_t *value, const char *const (*table)[2]) {
    const char *word = json_string_value(value);
    for (; word && (*table)[0]; table++)
        if (!strcmp((*table)[0], word)) return json_string((*table)[1]);
    return NULL;
}

static json_t *tone(const json_t *value) {
    static const char *const tones[][2] = {{"ok", "ok"},           {"up", "ok"},        {"handled", "ok"},
                                           {"accepted", "ok"},     {"waiting", "wait"}, {"declined", "wait"},
                                           {"intact", "ok"},       {"broken", "bad"},   {"failed", "bad"},
                                           {"quarantined", "bad"}, {"refused", "wait"}, {NULL, NULL}};
    return word_find(value, tones);
}

/* Colour alone tells nothing to some. */
static json_t *shape(const json_t *value) {
    static const char *const shapes[][2] = {{"ok", "●"}, {"wait", "▲"}, {"bad", "■"}, {NULL, NULL}};
    return word_find(value, shapes);
}

template_filter *template_filter_find(const char *wanted, size_t n) {
    static const struct {
        const char *name;
        template_filter *make;
    } filters[] = {{"moment", moment},     {"clock", clock_time}, {"clock_ms", clock_time_ms},
                   {"duration", duration}, {"query", query},      {"name", name},
                   {"words", words},       {"tone", tone},        {"shape", shape}};
    for (size_t i = 0; i < sizeof filters / sizeof *filters; i++)
        if (strlen(filters[i].name) == n && !memcmp(filters[i].name, wanted, n)) return filters[i].make;
    return NULL;
}
