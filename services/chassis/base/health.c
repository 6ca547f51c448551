#include "chassis/base/health.h"

#include "chassis/base/ids.h"
#include "chassis/base/log.h"
#include "chassis/base/utf8.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
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

void health_set(struct health *h, const char *component, enum health_state state, const char *format, ...) {
    char text[COMPONENT_TEXT];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    pthread_mutex_lock(&h->lock);
    struct component *c = component_find(h, component);
    bool changed = c && c->state != state;
    if (changed) {
        c->state = state;
        c->since = clock_ms();
    }
    /* What it waits for may change too: a right that is missing, where Kafka was away. */
    bool untold = c && state != HEALTH_OK && (c->untold || strcmp(c->text, text) != 0);
    bool other = untold && steady_ms() >= c->told + TELL_MS;
    if (changed || other) c->told = steady_ms();
    if (c) {
        c->untold = untold && !changed && !other;
        strcpy(c->text, text);
    }
    pthread_mutex_unlock(&h->lock);
    if (changed || other)
        log_line(
            state == HEALTH_OK        ? LOG_INFO
            : state == HEALTH_WAITING ? LOG_WARNING
                                      : LOG_ERROR,
            "component changed", "component", component, "state", state_names[state], "text", text, NULL);
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
    pthread_mutex_lock(&h->lock);
    for (size_t i = 0; i < h->n; i++) {
        const struct component *c = &h->components[i];
        json_array_append_new(components, component_json(c));
        if (c->state == HEALTH_WAITING) json_array_append_new(waiting_for, utf8_json(c->text));
        if (c->state > worst) worst = c->state;
    }
    pthread_mutex_unlock(&h->lock);
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
    bool ready = true;
    pthread_mutex_lock(&h->lock);
    for (size_t i = 0; i < h->n; i++)
        if (h->components[i].state == HEALTH_FAILED && !is_outside(h->components[i].name)) ready = false;
    pthread_mutex_unlock(&h->lock);
    return ready;
}
