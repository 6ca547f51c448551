#include "support/board.h"

#include "support/form/view.h"
#include "support/load/simulate.h"
#include "support/returns/returns.h"

#include "chassis/base/json_get.h"
#include "chassis/fleet/peers.h"
#include "chassis/fleet/subscribers.h"
#include "chassis/pages/page.h"
#include "chassis/pages/team.h"

#include <stdio.h>
#include <string.h>

enum { LATEST = 10 };

/* The picture, in the units of its viewBox; a row for each team. */
enum { ROW = 86, TOP = 8, ROWS_LEAST = 2, BELOW = 34, BACKLOG_RIGHT = 556, BACKLOG_MOST = 150, BACKLOG_DECADE = 34 };

static bool is_self(const struct runtime *rt, const json_t *one) {
    return !strcmp(json_get_text(one, "name"), runtime_core(rt)->settings->service);
}

/* --- Data */

/* What a service that does not answer would say of its backlog, as far as it shows from here. */
static void oldest_add(struct connection *reader, json_t *one) {
    if (json_is_integer(json_object_get(one, "oldest_unhandled_ms")) ||
        !json_is_true(json_object_get(one, "subscribes")))
        return;
    int64_t at = returns_oldest_waiting(reader, json_get_text(one, "name")), age = at ? clock_ms() - at : 0;
    json_object_set_new(one, "oldest_unhandled_ms", json_integer(age > 0 ? age : 0));
}

static json_t *services_read(struct runtime *rt, struct connection *reader) {
    json_t *known = peers_json(runtime_peers(rt)), *list = json_incref(json_object_get(known, "peers")), *one;
    size_t i;
    json_decref(known);
    json_array_foreach(list, i, one) {
        oldest_add(reader, one);
        json_object_set_new(one, "last_event", returns_last_event(reader, json_get_text(one, "name")));
    }
    return list;
}

/* --- The page */

/* A number for people: 0.3, 12, or a dash where it is not known. */
static json_t *number_text(const json_t *number) {
    if (!json_is_number(number)) return json_string("–");
    double value = json_number_value(number);
    if (json_is_integer(number)) return json_sprintf("%lld", (long long)json_integer_value(number));
    return value > 0 && value < 10 ? json_sprintf("%.1f", value) : json_sprintf("%.0f", value);
}

static json_t *duration_json(const json_t *ms, const char *none) {
    char text[DURATION_TEXT];
    if (!json_integer_value(ms)) return json_string(none);
    return json_string(duration_text(json_integer_value(ms), text));
}

static void words_add(json_t *one) {
    json_t *last = json_object_get(one, "last_event");
    page_add_shape(one);
    json_object_set_new(one, "handled_text", number_text(json_object_get(one, "handled_per_second")));
    json_object_set_new(one, "published_text", number_text(json_object_get(one, "published_per_second")));
    json_object_set_new(one, "behind_text", number_text(json_object_get(one, "behind")));
    json_object_set_new(one, "oldest_text", duration_json(json_object_get(one, "oldest_unhandled_ms"), "–"));
    json_object_set_new(one, "to_go_text", duration_json(json_object_get(one, "to_go_ms"), "–"));
    json_object_set_new(one, json_get_text(one, "tone"), json_true());
    if (!json_is_object(last)) return;
    page_add_moment(last, "at", "moment");
    json_object_set_new(last, "clock", json_stringn(json_get_text(last, "at") + 11, 8));
    const char *id = json_get_text(last, "return_id"); /* "": it is about an order, say */
    json_object_set_new(last, "url", *id ? view_url("/returns/", id) : json_null());
}

static int tens(int64_t n) {
    int digits = 0;
    for (; n >= 10; n /= 10) digits++;
    return digits;
}

/* Wider with every power of ten, so that both 3 and 30,000 can be seen. */
static int backlog_width(int64_t behind) {
    int width = behind > 0 ? 14 + BACKLOG_DECADE * tens(behind) : 0;
    return width < BACKLOG_MOST ? width : BACKLOG_MOST;
}

static void flow_add(json_t *one, const char *name, const json_t *rate, bool cut) {
    double value = json_number_value(rate);
    json_object_set_new(one, name, json_string(cut ? "cut" : value > 0 ? "moves" : "still"));
    char width[32];
    snprintf(width, sizeof width, "%s_width", name);
    json_object_set_new(one, width, json_integer(value > 0 ? 3 + tens((int64_t)value) * 2 : 2));
}

static void place_add(json_t *one, size_t row) {
    int middle = TOP + ROW / 2 + (int)row * ROW;
    int64_t behind = json_integer_value(json_object_get(one, "behind"));
    int width = backlog_width(behind);
    const char *state = json_get_text(one, "state");
    bool cut = !strcmp(state, "stopped") || !strcmp(state, "does not answer");
    flow_add(one, "flow", json_object_get(one, "handled_per_second"), cut);
    json_object_update_new(
        one, json_pack(
                 "{s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i}", "y", middle, "y_box", middle - 39, "y_title", middle - 14,
                 "y_state", middle - 14, "y_facts", middle + 8, "y_backlog", middle - 8, "backlog_x",
                 BACKLOG_RIGHT - width, "backlog_width", width));
    json_object_set_new(one, "y_label", json_integer(middle - 14));
    json_object_set_new(one, "y_event", json_integer(middle + 28));
    json_object_set_new(one, "y_rate", json_integer(middle + 22));
}

/* One sentence for who cannot see it. */
static json_t *picture_text(const json_t *teams) {
    struct buffer text = BUFFER(8000);
    json_t *one;
    size_t i;
    buffer_format(&text, "Support publishes to one topic, which %zu services read", json_array_size(teams));
    json_array_foreach((json_t *)teams, i, one) buffer_format(
        &text, "%s %s: %s, %s waiting", i ? ";" : ":", json_get_text(one, "title"), json_get_text(one, "state"),
        json_get_text(one, "behind_text"));
    json_t *json = json_string(text.data ? text.data : "");
    buffer_free(&text);
    return json;
}

static json_t *picture(const struct runtime *rt, const json_t *services, const char *topic) {
    json_t *teams = json_array(), *support = NULL, *one;
    double published = 0;
    size_t i;
    json_array_foreach((json_t *)services, i, one) {
        if (is_self(rt, one)) {
            support = one;
            flow_add(support, "flow", json_object_get(one, "published_per_second"), false);
            continue;
        }
        place_add(one, json_array_size(teams));
        published += json_number_value(json_object_get(one, "published_per_second"));
        json_array_append(teams, one);
    }
    int rows = (int)json_array_size(teams);
    int height = 2 * TOP + ROW * (rows > ROWS_LEAST ? rows : ROWS_LEAST), middle = height / 2;
    json_t *back = json_real(published),
           *data = json_pack(
               "{s:O?, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:s, s:o, s:o}", "support", support, "height", height + BELOW,
               "topic_height", height - 2 * TOP, "middle", middle, "y_box", middle - 42, "y_bottom", middle + 42,
               "y_bus", height + 10, "y_bus_text", height + 28, "topic", topic, "back_text", number_text(back), "text",
               picture_text(teams));
    flow_add(data, "back", back, false);
    json_object_set_new(data, "y_label", json_integer(middle - 12));
    json_object_set_new(data, "y_title", json_integer(middle - 12));
    json_object_set_new(data, "y_state", json_integer(middle + 8));
    json_object_set_new(data, "y_facts", json_integer(middle + 28));
    json_object_set_new(data, "teams", teams);
    json_decref(back);
    return data;
}

static void view_board(const struct runtime *rt, json_t *board) {
    json_t *one, *services = json_object_get(board, "services");
    size_t i;
    json_array_foreach(services, i, one) words_add(one);
    json_object_set_new(board, "picture", picture(rt, services, json_get_text(board, "topic")));
    json_object_set_new(board, "has_others", json_boolean(json_array_size(json_object_get(board, "read_too"))));
    json_object_set(board, "observed", services); /* `services` is the head's */
    view_returns(board, LATEST);
    json_object_set_new(board, "heading", json_string("Who reacts to a return"));
    json_object_set_new(board, "api_url", json_string("/api/board"));
}

void board_get(struct exchange *x) {
    struct runtime *rt = x->context;
    struct connection *reader = store_reader(runtime_core(rt)->store);
    char topic[400];
    settings_scoped(runtime_core(rt)->settings, "support.events", topic, sizeof topic);
    peers_look(runtime_peers(rt));
    x->data = returns_page(reader, NULL, LATEST);
    json_object_set_new(x->data, "topic", json_string(topic));
    json_object_set_new(x->data, "totals", returns_totals(reader, topic));
    json_object_set_new(x->data, "services", services_read(rt, reader));
    json_object_set_new(x->data, "read_too", subscribers_others(runtime_subscribers(rt)));
    if (!page_reader_ok(x, reader) || x->api) return;
    view_board(rt, x->data);
    json_object_set_new(x->data, "simulate", simulate_view(x));
}
