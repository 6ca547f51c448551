#include "chassis/base/health.h"

#include "chassis/base/format.h"
#include "chassis/base/ids.h"
#include "chassis/base/log.h"
#include "chassis/base/utf8.h"
#include "chassis/base/wait.h"

#include <stdlib.h>
#include <string.h>

enum { COMPONENTS_MAX = 16, COMPONENT_TEXT = 512, TELL_MS = 5000 };

struct component {
    const char *name;
    enum health_state state;
    int64_t since, told; /* told: when the log was, of steady_ms() */
    bool untold;         /* the log does not have its text yet */
    char text[COMPONENT_TEXT];
};

struct health {
    pthread_mutex_t lock;
    struct component components[COMPONENTS_MAX];
    size_t n;
};

static const char *const state_names[] = {"ok", "waiting", "failed"};

struct health *health_new(void) {
    struct health *h = calloc(1, sizeof *h);
    if (h) pthread_mutex_init(&h->lock, NULL);
    return h;
}

void health_free(struct health **h) {
    if (!*h) return;
    pthread_mutex_destroy(&(*h)->lock);
    free(*h);
    *h = NULL;
}

/* A component that was not heard of before counts as ok until now. NULL: the table is full. */
static struct component *component_find(struct health *h, const char *name) {
    for (size_t i = 0; i < h->n; i++)
        if (!strcmp(h->components[i].name, name)) return &h->components[i];
    if (h->n == COMPONENTS_MAX) return NULL;
    struct component *c = &h->components[h->n++];
    *c = (struct component){.name = name, .since = clock_ms()};
    return c;
}

/* True: the log is to say it. */
static bool component_set(struct component *c, enum health_state state, const char *text) {
    bool changed = c->state != state;
    /* What it waits for may change too: a right that is missing, where Kafka was away. */
    bool untold = state != HEALTH_OK && (c->untold || strcmp(c->text, text) != 0);
    bool tell = changed || (untold && steady_ms() >= c->told + TELL_MS);
    if (changed) c->since = clock_ms();
    if (tell) c->told = steady_ms();
    c->state = state;
    c->untold = untold && !tell;
    strcpy(c->text, text);
    return tell;
}

void health_set(struct health *h, const char *component, enum health_state state, const char *format, ...) {
    static const enum log_level levels[] = {LOG_INFO, LOG_WARNING, LOG_ERROR};
    char text[COMPONENT_TEXT];
    format_arguments(text, format);
    pthread_mutex_lock(&h->lock);
    struct component *c = component_find(h, component);
    bool tell = c && component_set(c, state, text);
    pthread_mutex_unlock(&h->lock);
    if (tell)
        log_line(
            levels[state], "component changed", "component", component, "state", state_names[state], "text", text,
            NULL);
}

static json_t *component_json(const struct component *c) {
    char since[TIME_TEXT];
    return json_pack(
        "{s:s, s:s, s:o, s:s}", "name", c->name, "state", state_names[c->state], "text", utf8_json(c->text), "since",
        time_text(c->since, since));
}

json_t *health_json(struct health *h) {
    json_t *components = json_array(), *waiting_for = json_array();
    enum health_state worst = HEALTH_OK;
    lock_auto(&h->lock);
    for (const struct component *c = h->components; c < h->components + h->n; c++) {
        json_array_append_new(components, component_json(c));
        if (c->state == HEALTH_WAITING) json_array_append_new(waiting_for, utf8_json(c->text));
        if (c->state > worst) worst = c->state;
    }
    return json_pack(
        "{s:s, s:o, s:o}", "state", worst == HEALTH_OK ? "up" : state_names[worst], "components", components,
        "waiting_for", waiting_for);
}

/* Without these the pages still answer and returns are still accepted. */
static bool is_outside(const char *component) {
    return !strncmp(component, "kafka", 5) || !strcmp(component, "registry") || !strcmp(component, "schemas") ||
           !strcmp(component, "outbox") || !strcmp(component, "snapshots") || !strcmp(component, "audit heads");
}

bool health_ready(struct health *h) {
    lock_auto(&h->lock);
    for (const struct component *c = h->components; c < h->components + h->n; c++)
        if (c->state == HEALTH_FAILED && !is_outside(c->name)) return false;
    return true;
}
