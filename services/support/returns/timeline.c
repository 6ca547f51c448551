#include "support/returns/timeline.h"

#include "chassis/base/ids.h"
#include "chassis/base/json_get.h"

#include <stdlib.h>
#include <string.h>

enum { BAR_WIDTH = 1000, BAR_LEAST = 6 };

/* --- Data */

static void
step_add(json_t *steps, const char *step, const char *team, const char *type, int64_t at, int64_t from, bool seen) {
    char text[TIME_TEXT];
    const char *dot = type ? strrchr(type, '.') : NULL;
    if (!at) return;
    json_array_append_new(
        steps, json_pack(
                   "{s:s, s:s, s:s?, s:s, s:I, s:I, s:b}", "step", step, "team", team, "event", dot ? dot + 1 : type,
                   "at", time_text(at, text), "after_ms", (json_int_t)at, "lasted_ms",
                   (json_int_t)(from && at > from ? at - from : 0), "seen", seen));
}

/* 0: its publisher does not tell when it took up what the event reacts to. */
static int64_t received_of(const json_t *event) {
    json_t *pair;
    size_t i;
    int64_t ms;
    json_array_foreach(json_object_get(event, "headers"), i, pair) {
        const char *name = json_string_value(json_array_get(pair, 0)),
                   *value = json_string_value(json_array_get(pair, 1));
        if (name && value && !strcmp(name, "ce_receivedtime") && time_parse(value, &ms)) return ms;
    }
    return 0;
}

static bool is_command(const json_t *event) {
    return !strcmp(json_get_text(event, "team"), "support") &&
           strcmp(json_get_text(event, "type"), "returns.support.RefundRequest") != 0;
}

/* The event of support's own that a team's reacts to, by its version; NULL: the request. A refusal has the version of
 * what was there already, and nobody reacts to it. */
static const json_t *command_of(const json_t *history, const json_t *reaction) {
    json_t *event;
    size_t i;
    json_array_foreach((json_t *)history, i, event) if (
        is_command(event) && strcmp(json_get_text(event, "type"), "returns.support.CommandRejected") != 0 &&
        json_equal(json_object_get(event, "version"), json_object_get(reaction, "version"))) return event;
    return NULL;
}

static void reactions_add(json_t *steps, const json_t *history, int64_t published) {
    json_t *event;
    size_t i;
    json_array_foreach((json_t *)history, i, event) {
        const char *team = json_get_text(event, "team"), *type = json_get_text(event, "type");
        int64_t at = json_get_time(event, "at"), received = received_of(event);
        if (!strcmp(team, "support")) continue;
        const json_t *command = command_of(history, event);
        int64_t from = command ? json_get_time(command, "recorded_at") : published;
        step_add(steps, "received", team, NULL, received, from, false);
        step_add(steps, command ? "undone" : "handled", team, type, at, received ? received : from, false);
        step_add(steps, "reacted", team, type, json_get_time(event, "recorded_at"), at, false);
    }
}

static void commands_add(json_t *steps, const json_t *history) {
    static const char *const names[][2] = {
        {"returns.support.RefundCancelled", "cancelled"},
        {"returns.support.ReturnClosed", "closed"},
        {"returns.support.CommandRejected", "refused"}};
    json_t *event;
    size_t i;
    json_array_foreach((json_t *)history, i, event) {
        const char *type = json_get_text(event, "type");
        int64_t at = json_get_time(event, "at");
        if (!is_command(event)) continue;
        for (size_t k = 0; k < sizeof names / sizeof *names; k++)
            if (!strcmp(names[k][0], type)) step_add(steps, names[k][1], "support", type, at, 0, false);
        step_add(steps, "published", "support", type, json_get_time(event, "recorded_at"), at, false);
    }
}

static int64_t cancelled_at(const json_t *history) {
    int64_t at = 0;
    json_t *event;
    size_t i;
    json_array_foreach(
        (json_t *)history, i,
        event) if (!at && !strcmp(json_get_text(event, "type"), "returns.support.RefundCancelled")) at =
        json_get_time(event, "recorded_at");
    return at;
}

static int by_time(const void *a, const void *b) {
    const json_t *x = *(const json_t *const *)a, *y = *(const json_t *const *)b;
    json_int_t first = json_integer_value(json_object_get(x, "after_ms"));
    json_int_t second = json_integer_value(json_object_get(y, "after_ms"));
    return first < second ? -1 : first > second;
}

/* As things happened; those of one moment stay as they are, since the clock counts milliseconds only. */
static json_t *sorted(json_t *steps) {
    size_t n = json_array_size(steps);
    const json_t **order = calloc(n + 1, sizeof *order);
    json_t *list = json_array();
    json_int_t first = 0;
    for (size_t i = 0; order && i < n; i++) {
        size_t k = i;
        for (; k && by_time(&order[k - 1], &(const json_t *){json_array_get(steps, i)}) > 0; k--)
            order[k] = order[k - 1];
        order[k] = json_array_get(steps, i);
    }
    if (order && n) first = json_integer_value(json_object_get(order[0], "after_ms"));
    for (size_t i = 0; order && i < n; i++) {
        json_t *step = (json_t *)order[i];
        json_object_set_new(
            step, "after_ms", json_integer(json_integer_value(json_object_get(step, "after_ms")) - first));
        json_array_append(list, step);
    }
    free(order);
    json_decref(steps);
    return list;
}

json_t *timeline_read(const json_t *one, const json_t *history) {
    json_t *steps = json_array(), *team;
    int64_t submitted = json_get_time(one, "submitted_at"), stored = json_get_time(one, "requested_at");
    int64_t published = json_get_time(one, "published_at");
    size_t i;
    step_add(steps, "submitted", "support", NULL, submitted, 0, false);
    step_add(steps, "stored", "support", NULL, stored, submitted, false);
    step_add(steps, "published", "support", "RefundRequest", published, stored, false);
    reactions_add(steps, history, published);
    commands_add(steps, history);
    json_array_foreach(json_object_get(one, "teams"), i, team) {
        const char *name = json_get_text(team, "team");
        step_add(steps, "handled", name, NULL, json_get_time(team, "seen_at"), published, true);
        step_add(steps, "undone", name, NULL, json_get_time(team, "compensated_seen_at"), cancelled_at(history), true);
    }
    return sorted(steps);
}

/* --- The page */

static const char *words_of(const json_t *step) {
    static const char *const words[][2] = {
        {"submitted", "submitted"}, {"stored", "stored"},     {"published", "published"}, {"received", "received"},
        {"handled", "handled"},     {"reacted", "published"}, {"cancelled", "cancelled"}, {"closed", "closed"},
        {"refused", "refused"},     {"undone", "undone"}};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (!strcmp(words[i][0], json_get_text(step, "step"))) return words[i][1];
    return "";
}

void timeline_view(json_t *timeline) {
    json_t *step, *last = json_array_get(timeline, json_array_size(timeline) - 1);
    json_int_t all = json_integer_value(json_object_get(last, "after_ms"));
    size_t i;
    if (all < 1) all = 1;
    json_array_foreach(timeline, i, step) {
        json_int_t end = json_integer_value(json_object_get(step, "after_ms"));
        json_int_t lasted = json_integer_value(json_object_get(step, "lasted_ms"));
        json_int_t width = lasted * BAR_WIDTH / all, right = end * BAR_WIDTH / all;
        if (width < BAR_LEAST) width = BAR_LEAST;
        json_int_t x = right - width < 0 ? 0 : right - width;
        json_object_set_new(step, "words", json_string(words_of(step)));
        json_object_set_new(step, "clock", json_stringn(json_get_text(step, "at") + 11, 12));
        if (strcmp(json_get_text(step, "words"), "published") != 0)
            json_object_del(step, "event"); /* it comes with its publication */
        json_object_set_new(step, "x", json_integer(x));
        json_object_set_new(step, "width", json_integer(width));
    }
}
