#include "support/returns/snapshot.h"

#include "support/request/events.h"
#include "support/returns/state.h"

#include "chassis/base/json_get.h"

#include <string.h>

static json_t *request_of(const char *data) {
    static const char *const names[] = {"order_id", "model", "shipment_id", "serial_number", "location", "cost"};
    json_auto_t *event = json_loads(data, 0, NULL);
    json_t *request = json_object();
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        json_object_set(request, names[i], json_object_get(event, names[i]));
    return request;
}

/* Of support's own, in their order: the request, and what became of it. */
static void own_add(json_t *state, const struct rows *r) {
    const char *type = rows_text(r, 1), *status = NULL;
    bool unknown = !strcmp(json_get_text(state, "status"), "unknown");
    if (!strcmp(type, SUPPORT_EVENT(COMMAND_REJECTED))) return;
    if (rows_int(r, 2) > json_get_int(state, "version"))
        json_object_set_new(state, "version", json_integer(rows_int(r, 2)));
    if (!strcmp(type, SUPPORT_EVENT(REFUND_CANCELLED))) status = "cancelled";
    if (!strcmp(type, SUPPORT_EVENT(RETURN_CLOSED))) status = "closed";
    if (!strcmp(type, SUPPORT_EVENT(REFUND_REQUEST))) {
        if (unknown) status = "requested";
        if (!json_is_object(json_object_get(state, "request")))
            json_object_set_new(state, "request", request_of(rows_text(r, 5)));
    }
    if (status) json_object_set_new(state, "status", json_string(status));
}

static void event_add(json_t *state, const struct rows *r) {
    json_t *teams = json_object_get(state, "teams"), *team = json_array_get(teams, json_array_size(teams) - 1);
    struct uuid id = {{0}};
    char text[UUID_TEXT];
    size_t n;
    const void *bytes = rows_blob(r, 4, &n);
    if (n == sizeof id.bytes) memcpy(id.bytes, bytes, n);
    if (strcmp(json_get_text(team, "team"), rows_text(r, 0)) != 0) {
        team = json_pack("{s:s, s:[]}", "team", rows_text(r, 0), "events");
        json_array_append_new(teams, team);
    }
    json_add(team, "{s:s, s:I}", "last_type", rows_text(r, 1), "last_at", (json_int_t)rows_int(r, 3));
    json_array_append_new(json_object_get(team, "events"), json_string(uuid_text(id, text)));
    if (state_is_declined(rows_text(r, 1))) json_object_set_new(state, "attention", json_true());
    if (!strcmp(rows_text(r, 0), "support")) own_add(state, r);
}

static json_t *make(struct connection *reader, const char *return_id) {
    json_t *state = json_pack(
        "{s:s, s:i, s:s, s:b, s:n, s:[]}", "return_id", return_id, "version", 0, "status", "unknown", "attention", 0,
        "request", "teams");
    if (!state) store_spoil(reader, RETRY, "out of memory"); /* NULL would say that there is nothing of it */
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
