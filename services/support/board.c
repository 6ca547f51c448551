#include "support/board.h"

#include "support/form/view.h"
#include "support/load/simulate.h"
#include "support/returns/returns.h"

#include "chassis/base/json_get.h"
#include "chassis/fleet/peers.h"
#include "chassis/fleet/subscribers.h"
#include "chassis/pages/page.h"
#include "chassis/pages/team.h"

#include <string.h>

enum { LATEST = 10 };

/* The picture, in the units of its viewBox. A row for each team. */
enum { ROW = 86, TOP = 8, ROWS_LEAST = 2, BELOW = 34, BACKLOG_RIGHT = 556, BACKLOG_MOST = 150, BACKLOG_DECADE = 34 };

/* --- Data */

static json_t *services_read(struct runtime *rt, struct connection *reader) {
    json_auto_t *known = peers_json(runtime_peers(rt));
    json_t *list = json_object_get(known, "peers");
    json_each(i, one, list) {
        const char *name = json_get_text(one, "name");
        json_object_set_new(one, "last_event", returns_last_event(reader, name));
        if (json_is_integer(json_object_get(one, "oldest_unhandled_ms")) ||
            !json_is_true(json_object_get(one, "subscribes")))
            continue;
        /* What a service that does not answer would say of its backlog, as far as it shows from here. */
        int64_t at = returns_oldest_waiting(reader, name), age = at ? clock_ms() - at : 0;
        json_object_set_new(one, "oldest_unhandled_ms", json_integer(age > 0 ? age : 0));
    }
    return json_incref(list);
}

/* --- The page */

/* A number for people: 0.3, 12, or a dash where it is not known. */
static json_t *number_text(const json_t *number) {
    double value = json_number_value(number);
    if (!json_is_number(number)) return json_string("–");
    return json_is_real(number) && value > 0 && value < 10 ? json_sprintf("%.1f", value) : json_sprintf("%.0f", value);
}

static int tens(int64_t n) {
    int digits = 0;
    for (; n >= 10; n /= 10) digits++;
    return digits;
}

static const char *flow_of(double rate) {
    return rate > 0 ? "moves" : "still";
}

static int flow_width(double rate) {
    return rate > 0 ? 3 + tens((int64_t)rate) * 2 : 2;
}

/* Wider with every power of ten, so that both 3 and 30,000 can be seen. */
static int backlog_width(int64_t behind) {
    int width = behind > 0 ? 14 + BACKLOG_DECADE * tens(behind) : 0;
    return width < BACKLOG_MOST ? width : BACKLOG_MOST;
}

static void service_view(json_t *one, bool is_self, size_t row) {
    const json_t *handled = json_object_get(one, "handled_per_second"),
                 *published = json_object_get(one, "published_per_second"), *behind = json_object_get(one, "behind");
    double rate = json_number_value(is_self ? published : handled);
    int width = backlog_width(json_integer_value(behind));
    const char *state = json_get_text(one, "state");
    bool cut = !is_self && (!strcmp(state, "stopped") || !strcmp(state, "does not answer"));
    json_add(
        one, "{s:o, s:o, s:o, s:s, s:i, s:i, s:i, s:i}", "handled_text", number_text(handled), "published_text",
        number_text(published), "behind_text", number_text(behind), "flow", cut ? "cut" : flow_of(rate), "flow_width",
        flow_width(rate), "y", TOP + ROW / 2 + (int)row * ROW, "backlog_x", BACKLOG_RIGHT - width, "backlog_width",
        width);
}

/* One sentence for who cannot see it. */
static json_t *picture_text(const json_t *teams) {
    buffer_auto text = BUFFER(8000);
    buffer_format(&text, "Support publishes to one topic, which %zu services read", json_array_size(teams));
    json_each(i, one, teams)
        buffer_format(
            &text, "%s %s: %s, %s waiting", i ? ";" : ":", json_get_text(one, "title"), json_get_text(one, "state"),
            json_get_text(one, "behind_text"));
    return json_string(text.data ? text.data : "");
}

static json_t *picture(const char *self, const json_t *services, const char *topic) {
    json_t *teams = json_array(), *support = NULL;
    double published = 0;
    json_each(i, one, services) {
        bool is_self = !strcmp(json_get_text(one, "name"), self);
        service_view(one, is_self, json_array_size(teams));
        if (is_self) support = one;
        if (is_self) continue;
        published += json_number_value(json_object_get(one, "published_per_second"));
        json_array_append(teams, one);
    }
    int rows = (int)json_array_size(teams);
    int height = 2 * TOP + ROW * (rows > ROWS_LEAST ? rows : ROWS_LEAST), middle = height / 2;
    json_auto_t *back = json_real(published);
    return json_pack(
        "{s:O?, s:i, s:i, s:i, s:i, s:i, s:i, s:s, s:s, s:o, s:o, s:o}", "support", support, "height", height + BELOW,
        "topic_height", height - 2 * TOP, "middle", middle, "y_bottom", middle + 42, "y_bus", height + 10, "y_bus_text",
        height + 28, "topic", topic, "back", flow_of(published), "back_text", number_text(back), "text",
        picture_text(teams), "teams", teams);
}

static void view_board(struct exchange *x, json_t *board) {
    const struct settings *settings = runtime_core(x->context)->settings;
    json_t *services = json_object_get(board, "services"); /* of this name the head has its own */
    view_returns(json_object_get(board, "returns"));
    json_add(
        board, "{s:o, s:O, s:b, s:s, s:s, s:o?}", "picture",
        picture(settings->service, services, json_get_text(board, "topic")), "observed", services, "has_others",
        json_array_size(json_object_get(board, "read_too")) > 0, "heading", "Who reacts to a return", "api_url",
        "/api/board", "simulate", simulate_view(x));
}

void board_get(struct exchange *x) {
    struct runtime *rt = x->context;
    struct connection *reader = store_reader(runtime_core(rt)->store);
    char topic[400];
    settings_scoped(runtime_core(rt)->settings, "support.events", topic, sizeof topic);
    peers_look(runtime_peers(rt));
    x->data = returns_page(reader, NULL, LATEST, &bound_now);
    json_add(
        x->data, "{s:s, s:o?, s:o, s:o}", "topic", topic, "totals", returns_totals(reader, topic), "services",
        services_read(rt, reader), "read_too", subscribers_others(runtime_subscribers(rt)));
    if (page_reader_ok(x, reader) && !x->api) view_board(x, x->data);
}
