#include "helper_team.h"

#include "helper_client.h"

#include "chassis/avro/codec.h"
#include "chassis/web/http.h"

#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define TEXT(name) "{\"name\":\"" name "\",\"type\":\"string\"}"
#define LONG(name) "{\"name\":\"" name "\",\"type\":\"long\"}"
#define EVENT(name, fields)                                                                                            \
    "{\"type\":\"record\",\"name\":\"" name "\",\"namespace\":\"returns.support\",\"fields\":[" TEXT(                  \
        "event_id") "," TEXT("return_id") "," LONG("version") "," LONG("occurred_at") fields "]}"
#define REQUEST_FIELDS                                                                                                                    \
    "," TEXT("order_id") "," TEXT("model") "," TEXT("shipment_id") "," TEXT("serial_number") "," TEXT(                                    \
        "location") ",{\"name\":\"cost\",\"type\":{\"type\":\"record\",\"name\":\"Money\",\"fields\":["                                   \
                    "{\"name\":\"amount\",\"type\":{\"type\":\"bytes\",\"logicalType\":\"decimal\",\"precision\":15,\"scale\":2}}," TEXT( \
                        "currency") "]}}"

static const char REQUEST[] = EVENT("RefundRequest", REQUEST_FIELDS);
static const char REQUEST_LATER[] = EVENT("RefundRequest", REQUEST_FIELDS "," TEXT("note"));
static const char CANCELLED[] = EVENT("RefundCancelled", "");

int team_setup(void **state, const char *name, const struct service *service, const struct asset *assets, size_t n) {
    struct team *t = *state = calloc(1, sizeof *t);
    char topic[100];
    assets_of_service(assets, n);
    world_open(&t->world);
    t->world.name = name;
    t->service = service;
    t->shown = json_array();
    world_schema(&t->world, REQUEST);
    world_schema(&t->world, CANCELLED);
    snprintf(topic, sizeof topic, "%s.events", name);
    assert_int_equal(rd_kafka_mock_topic_create(t->world.cluster, topic, 6, 1), 0);
    snprintf(topic, sizeof topic, "%s.dead-letters", name);
    assert_int_equal(rd_kafka_mock_topic_create(t->world.cluster, topic, 6, 1), 0);
    t->world.more[t->world.more_n++] = "--policy=unknown-orders=refund"; /* the tests make theirs up */
    world_start(&t->world, service);
    return 0;
}

int team_teardown(void **state) {
    struct team *t = *state;
    world_close(&t->world);
    json_decref(t->shown);
    free(t);
    return 0;
}

/* --- What it showed */

static json_t *views_at(struct team *t, int64_t moment) {
    struct value at[10] = {{0}};
    struct connection *reader = store_reader(t->world.rt.core.store);
    json_t *all = json_array();
    for (int i = 1; i < 10; i++) at[i] = value_int(moment);
    for (const struct view *v = t->service->views; v->title; v++) {
        const char *sql = moment ? v->as_of : v->sql;
        size_t marks = 0;
        for (const char *p = sql; p && moment && *p; p++) marks += *p == '?';
        assert_true(marks < 10);
        json_array_append_new(all, sql && v->as_of ? store_json_values(reader, sql, at, marks) : json_null());
    }
    return all;
}

/* The next event is decided at a later moment. */
static void remember(struct team *t) {
    int64_t now = clock_ms();
    json_array_append_new(t->shown, json_pack("[I,o]", (json_int_t)now, views_at(t, 0)));
    while (clock_ms() == now) continue;
}

void team_past_is_as_it_was(struct team *t) {
    size_t i;
    json_t *one;
    assert_true(json_array_size(t->shown) > 1);
    json_array_foreach(t->shown, i, one) {
        json_t *now = views_at(t, json_integer_value(json_array_get(one, 0)));
        if (!json_equal(now, json_array_get(one, 1)))
            fail_msg(
                "after record %zu it showed\n%s\nand says now of then\n%s", i + 1,
                json_dumps(json_array_get(one, 1), JSON_COMPACT), json_dumps(now, JSON_COMPACT));
        json_decref(now);
    }
}

/* --- Records */

static int partition_of(const char *return_id) {
    return return_id[strlen(return_id) - 1] % 6;
}

static void await(struct team *t) {
    t->records++;
    world_await(&t->world, "SELECT COUNT(*) FROM audit", t->records);
    remember(t);
}

static void publish(struct team *t, const char *schema_text, int schema_id, const char *return_id, json_t *fields) {
    char id[UUID_TEXT];
    struct failure why;
    struct schema *schema;
    struct buffer record = BUFFER(10000);
    json_object_set_new(fields, "event_id", json_string(uuid_text(uuid_make(), id)));
    json_object_set_new(fields, "return_id", json_string(return_id));
    json_object_set_new(fields, "version", json_integer(schema_text == CANCELLED ? 2 : 1));
    json_object_set_new(fields, "occurred_at", json_integer(clock_ms()));
    assert_int_equal(schema_parse(schema_text, strlen(schema_text), &schema, &why), OK);
    frame_write(&record, schema_id);
    if (codec_encode(schema, fields, &record, &why) != OK) fail_msg("%s", why.text);
    world_publish(&t->world, partition_of(return_id), return_id, record.data, record.length);
    buffer_free(&record);
    schema_free(&schema);
    json_decref(fields);
    await(t);
}

static json_t *request(const struct asked *what) {
    return json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:{s:s, s:s}}", "order_id", "O-1", "model",
        what->model ? what->model : "Ember tablet", "shipment_id", "S-1", "serial_number",
        what->serial_number ? what->serial_number : "SN-1", "location", what->location ? what->location : "Lyon",
        "cost", "amount", what->cost ? what->cost : "149.90", "currency", "EUR");
}

void team_ask_for(struct team *t, const char *return_id, const struct asked *what) {
    publish(t, REQUEST, world_schema(&t->world, REQUEST), return_id, request(what));
}

void team_cancel(struct team *t, const char *return_id) {
    publish(t, CANCELLED, world_schema(&t->world, CANCELLED), return_id, json_object());
}

void team_ask_unread(struct team *t, const char *return_id, const struct asked *what) {
    json_t *fields = request(what);
    json_object_set_new(fields, "note", json_string(""));
    publish(t, REQUEST_LATER, world_schema_unread(&t->world, REQUEST_LATER), return_id, fields);
    team_audited(t, "quarantined", "");
}

void team_redrive(struct team *t) {
    static const char request_text[] =
        "POST /api/dead-letters/1/redrive HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    world_schema(&t->world, REQUEST_LATER);
    int fd = client_open(http_port(t->world.rt.http));
    assert_true(client_send(fd, request_text, sizeof request_text - 1));
    struct answer *a = client_read(fd, false);
    close(fd);
    if (a->status != 200 || !strstr(a->body, "\"redriven\"")) fail_msg("%s", a->text);
    await(t);
}

/* --- Ids of others */

static const char *page(struct team *t, const char *before, const char *id) {
    int port = http_port(t->world.rt.http);
    struct buffer b = BUFFER(4000);
    buffer_format(&b, "GET %s", before);
    buffer_percent(&b, id);
    buffer_format(&b, " HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nConnection: close\r\n\r\n", port);
    int fd = client_open(port);
    assert_true(client_send(fd, b.data, b.length));
    struct answer *a = client_read(fd, false);
    close(fd);
    buffer_free(&b);
    if (a->status != 200) fail_msg("%s%s: %d", before, id, a->status);
    return a->body;
}

/* The page is about this return alone, and links to it as it is asked for. */
static void is_reached(struct team *t, const char *id, const char *encoded) {
    char link[1000];
    json_t *audit = json_loads(page(t, "/api/audit?return_id=", id), 0, NULL), *row;
    size_t i;
    snprintf(link, sizeof link, "href=\"/audit?return_id=%s\"", encoded);
    assert_int_equal(json_array_size(json_object_get(audit, "rows")), 2);
    json_array_foreach(json_object_get(audit, "rows"), i, row)
        assert_string_equal(json_string_value(json_object_get(row, "return_id")), id);
    assert_non_null(strstr(page(t, "/audit?return_id=", id), link));
    json_decref(audit);
}

void team_ids_are_reached(void **state) {
    static const char *const ids[] = {"RMA/2026/f0f1", "a/../b", "%2F",       "%",
                                      "a?b=c&d=e#f1",  " a b",   "\"q\" <b>", "K\u00f6ln"};
    struct team *t = *state;
    struct buffer encoded = BUFFER(4000);
    char longest[256] = "";
    for (int i = 0; i < 63; i++) strcat(longest, "\U0001f4e6");
    strcat(longest, "abc");
    assert_int_equal(strlen(longest), 255);
    for (size_t i = 0; i <= sizeof ids / sizeof *ids; i++) {
        const char *id = i < sizeof ids / sizeof *ids ? ids[i] : longest;
        char serial_number[20];
        snprintf(serial_number, sizeof serial_number, "SN-%zu", i);
        team_ask(t, id, .serial_number = serial_number);
        team_cancel(t, id);
        encoded.length = 0;
        buffer_percent(&encoded, id);
        is_reached(t, id, encoded.data);
        (void)page(t, "/", "");
    }
    buffer_free(&encoded);
    team_past_is_as_it_was(t);
    world_await(&t->world, "SELECT COUNT(*) FROM dead_letter", 0);
}

/* --- What it said */

void team_said(struct team *t, const char *expected) {
    char said[2000] = "";
    size_t n = 0;
    struct rows r = store_rows(
        store_reader(t->world.rt.core.store),
        "SELECT type, return_id FROM outbox WHERE dead_letter IS NULL ORDER BY id");
    while (rows_next(&r))
        n += (size_t)snprintf(
            said + n, sizeof said - n, "%s%s %s", n ? ", " : "", strrchr(rows_text(&r, 0), '.') + 1, rows_text(&r, 1));
    assert_string_equal(said, expected);
}

void team_audited(struct team *t, const char *outcome, const char *summary) {
    struct rows r =
        store_rows(store_reader(t->world.rt.core.store), "SELECT outcome, summary FROM audit ORDER BY id DESC LIMIT 1");
    assert_true(rows_next(&r));
    if (strcmp(rows_text(&r, 0), outcome) || !strstr(rows_text(&r, 1), summary))
        fail_msg("audited is %s: %s", rows_text(&r, 0), rows_text(&r, 1));
    rows_close(&r);
}
