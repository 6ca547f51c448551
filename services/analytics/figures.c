#include "figures_private.h"

#include "chassis/base/log.h"
#include "chassis/base/wait.h"

#include <stdlib.h>
#include <string.h>

const char *const dimension_names[DIMENSIONS] = {"model", "reason", "channel", "location", "currency"};

struct figures figures = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void *some(void *memory) {
    if (memory) return memory;
    log_line(LOG_ERROR, "out of memory; ending, to read all anew", NULL);
    abort();
}

void *figures_room(void *array, size_t n, size_t each) {
    return n & (n - 1) ? array : some(realloc(array, (n ? 2 * n : 1) * each));
}

void *figures_zeroes(size_t n, size_t each) {
    return some(calloc(n + 1, each));
}

static json_t *object_of(json_t **object) {
    if (!*object) *object = some(json_object());
    return *object;
}

bool words_find(const struct words *w, const char *text, uint32_t *number) {
    const json_t *found = json_object_get(w->numbers, text);
    *number = (uint32_t)json_integer_value(found);
    return found;
}

static uint32_t words_number(struct words *w, const char *text) {
    uint32_t number;
    if (words_find(w, text, &number)) return number;
    w->texts = figures_room(w->texts, w->n, sizeof *w->texts);
    w->texts[w->n] = some(strdup(text));
    json_object_set_new(object_of(&w->numbers), text, json_integer((json_int_t)w->n));
    return (uint32_t)w->n++;
}

static struct returned *returned_of(const char *return_id) {
    const json_t *found = json_object_get(object_of(&figures.numbers), return_id);
    if (found) return &figures.returned[json_integer_value(found)];
    figures.returned = figures_room(figures.returned, figures.returned_n, sizeof *figures.returned);
    json_object_set_new(figures.numbers, return_id, json_integer((json_int_t)figures.returned_n));
    figures.returned[figures.returned_n] = (struct returned){0};
    return &figures.returned[figures.returned_n++];
}

static struct reacted *reacted_of(struct returned *r, uint32_t team) {
    for (uint32_t i = r->reacted; i; i = figures.reacted[i].next)
        if (figures.reacted[i].team == team) return &figures.reacted[i];
    if (!figures.reacted_n) figures.reacted_n = 1;
    figures.reacted = figures_room(figures.reacted, figures.reacted_n, sizeof *figures.reacted);
    figures.reacted[figures.reacted_n] = (struct reacted){.team = team, .next = r->reacted};
    r->reacted = (uint32_t)figures.reacted_n;
    return &figures.reacted[figures.reacted_n++];
}

static void earliest(int64_t *at, int64_t other) {
    if (!*at || other < *at) *at = other;
}

void figures_asked(const struct asked *a) {
    lock_auto(&figures.lock);
    struct returned *r = returned_of(a->return_id);
    if (r->asked_at && a->at >= r->asked_at) return;
    json_auto_t *pair = some(json_sprintf("%s%s", a->words[CURRENCY], a->words[MODEL]));
    for (int d = 0; d < DIMENSIONS; d++) r->words[d] = words_number(&figures.words[d], a->words[d]);
    r->words[PAIR] = words_number(&figures.words[PAIR], json_string_value(pair));
    r->cost = a->cost;
    r->asked_at = a->at;
}

void figures_cancelled(const char *return_id, int64_t at) {
    lock_auto(&figures.lock);
    earliest(&returned_of(return_id)->cancelled_at, at);
}

void figures_reacted(const char *return_id, const char *team, int64_t at, bool handled, bool declined) {
    if (!handled && !declined) return;
    lock_auto(&figures.lock);
    struct reacted *r = reacted_of(returned_of(return_id), words_number(&figures.teams, team));
    if (handled) earliest(&r->handled_at, at);
    if (declined) earliest(&r->declined_at, at);
}
