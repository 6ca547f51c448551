#include "support/returns/timeline.h"

#include "support/request/events.h"
#include "support/returns/state.h"

#include "chassis/base/ids.h"
#include "chassis/base/json_get.h"

#include <string.h>

enum { BAR_WIDTH = 1000, BAR_LEAST = 6 };

/* --- Data */

struct steps {
    json_t *list;
    int64_t until; /* what was later does not count */
};

/* As things happened. Those of one moment stay as they are, since the clock counts milliseconds only. */
static void step_add(
    const struct steps *s, const char *step, const char *team, const char *type, int64_t at, int64_t from, bool seen) {
    char text[TIME_TEXT];
    size_t i = json_array_size(s->list);
    if (!at || at > s->until) return;
    while (i && json_get_int(json_array_get(s->list, i - 1), "after_ms") > at) i--;
    json_array_insert_new(
        s->list, i,
        json_pack(
            "{s:s, s:s, s:s?, s:s, s:I, s:I, s:b}", "step", step, "team", team, "event",
            type ? state_event_name(type) : NULL, "at", time_text(at, text), "after_ms", (json_int_t)at, "lasted_ms",
            (json_int_t)(from && at > from ? at - from : 0), "seen", seen));
}

/* 0: its publisher does not tell when it took up what the event reacts to. */
static int64_t received_of(const json_t *event) {
    int64_t ms;
    const char *name, *value;
    json_each(i, pair, json_object_get(event, "headers"))
        if (!json_unpack(pair, "[s, s]", &name, &value) && !strcmp(name, "ce_receivedtime") && time_parse(value, &ms))
            return ms;
    return 0;
}

/* What an event of support's own is as a step. The request's are told from the return itself. NULL: it is none. */
static const char *command_step(const json_t *event) {
    static const char *const steps[][2] = {
        {SUPPORT_EVENT(REFUND_CANCELLED), "cancelled"},
        {SUPPORT_EVENT(RETURN_CLOSED), "closed"},
        {SUPPORT_EVENT(COMMAND_REJECTED), "refused"}};
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++)
        if (!strcmp(steps[i][0], json_get_text(event, "type")) && !strcmp(json_get_text(event, "team"), "support"))
            return steps[i][1];
    return NULL;
}

/* The event of support's own that a team's reacts to, by its version. NULL: the request. A refusal has the version of
 * what was there already, and nobody reacts to it. */
static const json_t *command_of(const json_t *history, const json_t *reaction) {
    json_each(i, event, history) {
        const char *step = command_step(event);
        bool same = json_equal(json_object_get(event, "version"), json_object_get(reaction, "version"));
        if (same && step && strcmp(step, "refused") != 0) return event;
    }
    return NULL;
}

static void command_add(const struct steps *s, const json_t *event) {
    const char *step = command_step(event), *type = json_get_text(event, "type");
    int64_t at = json_get_time(event, "at");
    if (!step) return;
    step_add(s, step, "support", type, at, 0, false);
    step_add(s, "published", "support", type, json_get_time(event, "recorded_at"), at, false);
}

static void reaction_add(const struct steps *s, const json_t *history, const json_t *event, int64_t published) {
    const char *team = json_get_text(event, "team"), *type = json_get_text(event, "type");
    int64_t at = json_get_time(event, "at"), received = received_of(event);
    const json_t *command = command_of(history, event);
    int64_t from = command ? json_get_time(command, "recorded_at") : published;
    step_add(s, "received", team, NULL, received, from, false);
    step_add(s, command ? "undone" : "handled", team, type, at, received ? received : from, false);
    step_add(s, "reacted", team, type, json_get_time(event, "recorded_at"), at, false);
}

json_t *timeline_read(const json_t *one, const json_t *history, const struct bound *b) {
    struct steps s = {json_array(), b->at};
    int64_t submitted = json_get_time(one, "submitted_at"), stored = json_get_time(one, "requested_at");
    int64_t published = json_get_time(one, "published_at"), cancelled = 0;
    step_add(&s, "submitted", "support", NULL, submitted, 0, false);
    step_add(&s, "stored", "support", NULL, stored, submitted, false);
    step_add(&s, "published", "support", REFUND_REQUEST, published, stored, false);
    json_each(i, item, history) {
        const char *type = json_get_text(item, "type");
        if (!cancelled && !strcmp(type, SUPPORT_EVENT(REFUND_CANCELLED)))
            cancelled = json_get_time(item, "recorded_at");
        if (strcmp(json_get_text(item, "team"), "support") != 0) reaction_add(&s, history, item, published);
    }
    json_each(i, item, history) command_add(&s, item);
    json_each(i, item, json_object_get(one, "teams")) {
        const char *name = json_get_text(item, "team");
        step_add(&s, "handled", name, NULL, json_get_time(item, "seen_at"), published, true);
        step_add(&s, "undone", name, NULL, json_get_time(item, "compensated_seen_at"), cancelled, true);
    }
    int64_t first = json_get_int(json_array_get(s.list, 0), "after_ms");
    json_each(i, item, s.list)
        json_object_set_new(item, "after_ms", json_integer(json_get_int(item, "after_ms") - first));
    return s.list;
}

/* --- The page */

void timeline_view(json_t *timeline) {
    int64_t all = json_get_int(json_array_get(timeline, json_array_size(timeline) - 1), "after_ms");
    json_each(i, step, timeline) {
        const char *name = json_get_text(step, "step");
        bool publishes = !strcmp(name, "published") || !strcmp(name, "reacted");
        int64_t right = json_get_int(step, "after_ms") * BAR_WIDTH / (all > 0 ? all : 1);
        int64_t width = json_get_int(step, "lasted_ms") * BAR_WIDTH / (all > 0 ? all : 1);
        if (width < BAR_LEAST) width = BAR_LEAST;
        json_add(
            step, "{s:s, s:I, s:I}", "words", publishes ? "published" : name, "x",
            (json_int_t)(right > width ? right - width : 0), "width", (json_int_t)width);
        if (!publishes) json_object_del(step, "event"); /* it comes with its publication */
    }
}
