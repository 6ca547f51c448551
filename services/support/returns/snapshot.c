#include "support/returns/snapshot.h"

#include "support/returns/fold.h"

#include <string.h>

static const char *const request_names[] = {"order_id", "model", "shipment_id", "serial_number", "location", "cost"};

static json_t *request_of(const char *data) {
    json_t *event = json_loads(data, 0, NULL), *request = json_object();
    for (size_t i = 0; i < sizeof request_names / sizeof *request_names; i++)
        json_object_set(request, request_names[i], json_object_get(event, request_names[i]));
    json_decref(event);
    return request;
}

/* Of support's own, in their order: the request, and what became of it. */
static void own_add(json_t *state, const struct rows *r) {
    static const char *const moves[][2] = {
        {"returns.support.RefundRequest", "requested"},
        {"returns.support.RefundCancelled", "cancelled"},
        {"returns.support.ReturnClosed", "closed"}};
    const char *type = rows_text(r, 1);
    bool refusal = !strcmp(type, "returns.support.CommandRejected"); /* it makes no version */
    if (!refusal && rows_int(r, 2) > json_integer_value(json_object_get(state, "version")))
        json_object_set_new(state, "version", json_integer(rows_int(r, 2)));
    bool requested = json_is_object(json_object_get(state, "request"));
    if (!strcmp(type, moves[0][0]) && !requested) json_object_set_new(state, "request", request_of(rows_text(r, 5)));
    const char *status = json_string_value(json_object_get(state, "status"));
    bool unknown = !strcmp(status, "unknown");
    for (int i = 0; i < 3; i++)
        if (!strcmp(type, moves[i][0]) && (i || unknown))
            json_object_set_new(state, "status", json_string(moves[i][1]));
}

static void event_add(json_t *state, const struct rows *r) {
    json_t *teams = json_object_get(state, "teams"), *team = json_array_get(teams, json_array_size(teams) - 1);
    struct uuid id = {{0}};
    char text[UUID_TEXT];
    size_t n;
    const void *bytes = rows_blob(r, 4, &n);
    if (n == sizeof id.bytes) memcpy(id.bytes, bytes, n);
    const char *name = json_string_value(json_object_get(team, "team"));
    if (!name || strcmp(name, rows_text(r, 0)) != 0) {
        team = json_pack("{s:s, s:[]}", "team", rows_text(r, 0), "events");
        json_array_append_new(teams, team);
    }
    json_object_set_new(team, "last_type", json_string(rows_text(r, 1)));
    json_object_set_new(team, "last_at", json_integer(rows_int(r, 3)));
    json_array_append_new(json_object_get(team, "events"), json_string(uuid_text(id, text)));
    if (fold_is_declined(rows_text(r, 1))) json_object_set_new(state, "attention", json_true());
    if (!strcmp(rows_text(r, 0), "support")) own_add(state, r);
}

static json_t *make(struct connection *reader, const char *return_id) {
    json_t *state = json_pack(
        "{s:s, s:i, s:s, s:b, s:n, s:[]}", "return_id", return_id, "version", 0, "status", "unknown", "attention", 0,
        "request", "teams");
    for (struct rows r = store_rows(
             reader,
             "SELECT team, type, version, at, event_id, data FROM history WHERE return_id = ? "
             "ORDER BY team, partition, record_offset",
             value_text(return_id));
         rows_next(&r);)
        event_add(state, &r);
    json_object_set_new(
        state, "positions",
        store_json(
            reader,
            "SELECT topic, partition, next_offset FROM consumer_offset WHERE partition IN "
            "(SELECT partition FROM history WHERE return_id = ?) ORDER BY topic, partition",
            value_text(return_id)));
    if (json_array_size(json_object_get(state, "teams"))) return state;
    json_decref(state);
    return NULL;
}

const struct snapshot_source snapshot_returns = {"ReturnSnapshot.avsc", make};
