/* snapshots: holds support's snapshots against the events: reads every event from the beginning, folds it by itself,
 * and compares each return's snapshot with what its events came to at the snapshot's positions. */
#include "cli.h"

#include "chassis/avro/codec.h"
#include "chassis/base/ids.h"
#include "chassis/base/input.h"
#include "chassis/base/json_get.h"
#include "chassis/base/terminal.h"
#include "chassis/kafka/topic_spec.h"
#include "chassis/outgoing/snapshots.h"

#include <fnmatch.h>
#include <stddef.h>
#include <string.h>

enum { NAMED_MAX = 20 };

/* by_return: {return: {"snapshot", "fold": what its events came to}}. Without: returns that have events alone. */
struct check {
    struct cli cli;
    json_t *by_return, *without, *wrong;
    char topic[400];
    long long events, unread;
};

/* --- The snapshots: the last of each key counts */

static void snapshot_take(struct check *k, const char *key, json_t *snapshot) {
    json_object_set_new(
        k->by_return, key,
        json_pack(
            "{s:O, s:{s:s, s:i, s:s, s:b, s:n, s:[]}}", "snapshot", snapshot, "fold", "return_id", key, "version", 0,
            "status", "unknown", "attention", 0, "request", "teams"));
}

static verdict snapshot_read(void *check, const rd_kafka_message_t *m, struct failure *why) {
    struct check *k = check;
    char key[ID_BYTES_MAX + 1];
    json_auto_t *snapshot = NULL;
    snprintf(key, sizeof key, "%.*s", (int)m->key_len, m->key ? (const char *)m->key : "");
    json_object_del(k->by_return, key);
    json_object_del(k->wrong, key);
    verdict decoded = m->payload ? reader_decode(k->cli.reader, m, NULL, &snapshot, why) : OK;
    if (decoded == RETRY) return RETRY;
    if (decoded != OK)
        json_object_set_new(k->wrong, key, json_string(why->text));
    else if (m->payload)
        snapshot_take(k, key, snapshot);
    return OK;
}

/* --- The events */

/* What every event has, and a request besides. A record without counts for nothing, in services neither: they put it
 * aside, and no redrive can mend it. */
struct needed {
    const char *event_id, *return_id;
    int64_t version, occurred_at;
    const char *order_id, *model, *shipment_id, *serial_number, *location;
    struct money cost;
};
static const struct field needed_fields[] = {
    FIELD_TEXT(struct needed, event_id),  {"return_id", TYPE_TEXT, offsetof(struct needed, return_id), ""},
    FIELD_INT(struct needed, version),    FIELD_MOMENT(struct needed, occurred_at),
    FIELD_ID(struct needed, order_id),    FIELD_ID(struct needed, model),
    FIELD_ID(struct needed, shipment_id), FIELD_ID(struct needed, serial_number),
    FIELD_TEXT(struct needed, location),  FIELD_MONEY(struct needed, cost),
};
enum { OF_EVERY = 4, OF_REQUEST = sizeof needed_fields / sizeof *needed_fields };

/* Its event_id, version and moment are from here on as snapshots write them. */
static bool is_event(const char *type, struct written *written) {
    json_t *event = (json_t *)written_json(written); /* its own from here on */
    struct needed q;
    struct failure why;
    struct uuid id;
    char text[UUID_TEXT];
    bool request = !strcmp(type, "returns.support.RefundRequest");
    if (project(written, needed_fields, request ? OF_REQUEST : OF_EVERY, &q, &why) != OK ||
        !uuid_parse(q.event_id, &id))
        return false;
    bool of_return = json_object_get(event, "return_id");
    if (of_return && input_id(q.return_id, strlen(q.return_id), &why) != OK) return false;
    return !json_object_update_new(
        event, json_pack(
                   "{s:s, s:I, s:I, s:s*}", "event_id", uuid_text(id, text), "version", (json_int_t)q.version,
                   "occurred_at", (json_int_t)q.occurred_at, "return_id", of_return ? q.return_id : NULL));
}

static void own_fold(json_t *fold, const char *type, const json_t *event) {
    json_t *version = json_object_get(event, "version");
    bool refusal = !strcmp(type, "returns.support.CommandRejected"); /* it makes no version */
    if (!refusal && json_integer_value(version) > json_get_int(fold, "version"))
        json_object_set(fold, "version", version);
    if (!strcmp(type, "returns.support.RefundCancelled")) json_object_set_new(fold, "status", json_string("cancelled"));
    if (!strcmp(type, "returns.support.ReturnClosed")) json_object_set_new(fold, "status", json_string("closed"));
    if (strcmp(type, "returns.support.RefundRequest") != 0 || json_is_object(json_object_get(fold, "request"))) return;
    json_object_set_new(
        fold, "request",
        json_pack(
            "{s:O?, s:O?, s:O?, s:O?, s:O?, s:O?}", "order_id", json_object_get(event, "order_id"), "model",
            json_object_get(event, "model"), "shipment_id", json_object_get(event, "shipment_id"), "serial_number",
            json_object_get(event, "serial_number"), "location", json_object_get(event, "location"), "cost",
            json_object_get(event, "cost")));
    if (!strcmp(json_get_text(fold, "status"), "unknown"))
        json_object_set_new(fold, "status", json_string("requested"));
}

/* Teams are sorted by name, as the snapshot has them. */
static json_t *team_of(json_t *teams, const char *name) {
    size_t at = 0;
    while (at < json_array_size(teams) && strcmp(json_get_text(json_array_get(teams, at), "team"), name) < 0) at++;
    if (strcmp(json_get_text(json_array_get(teams, at), "team"), name) != 0)
        json_array_insert_new(teams, at, json_pack("{s:s, s:[]}", "team", name, "events"));
    return json_array_get(teams, at);
}

static void event_fold(json_t *fold, const char *team, const char *type, const json_t *event) {
    json_t *mine = team_of(json_object_get(fold, "teams"), team), *id = json_object_get(event, "event_id");
    json_each(i, seen, json_object_get(mine, "events"))
        if (json_equal(seen, id)) return;
    json_array_append(json_object_get(mine, "events"), id);
    json_add(mine, "{s:s, s:O}", "last_type", type, "last_at", json_object_get(event, "occurred_at"));
    if (!fnmatch("*Declined", type, 0)) json_object_set_new(fold, "attention", json_true());
    if (!strcmp(team, "support")) own_fold(fold, type, event);
}

/* One past the last event of the partition that is in the snapshot. 0: none is. */
static int64_t next_of(const json_t *snapshot, const char *topic, int32_t partition) {
    json_each(i, one, json_object_get(snapshot, "positions"))
        if (json_get_int(one, "partition") == partition && !strcmp(json_get_text(one, "topic"), topic))
            return json_get_int(one, "next_offset");
    return 0;
}

static void event_take(struct check *k, const rd_kafka_message_t *m, const char *type, const json_t *event) {
    char team[200];
    const char *topic = rd_kafka_topic_name(m->rkt), *owner;
    const char *return_id = json_string_value(json_object_get(event, "return_id"));
    if (!return_id) return;
    json_t *known = json_object_get(k->by_return, return_id);
    k->events++;
    if (!known) json_object_set_new(k->without, return_id, json_true());
    if (m->offset >= next_of(json_object_get(known, "snapshot"), topic, m->partition)) return;
    size_t n = topic_owner(&k->cli.settings, topic, ".events", &owner);
    snprintf(team, sizeof team, "%.*s", (int)n, owner);
    event_fold(json_object_get(known, "fold"), team, type, event);
}

static verdict event_read(void *check, const rd_kafka_message_t *m, struct failure *why) {
    struct check *k = check;
    const char *type;
    struct written event;
    verdict v = reader_written(k->cli.reader, m, &type, &event, why);
    if (v == RETRY) return RETRY;
    if (v == OK && is_event(type, &event))
        event_take(k, m, type, event.json);
    else
        k->unread++;
    written_free(&event);
    return OK;
}

/* All of the services': a partition of a topic after another, so what a higher one has comes after what a lower one
 * has. */
static verdict topics_add(struct check *k, struct failure *why) {
    json_auto_t *topics = NULL;
    const char *owner;
    reader_clear(k->cli.reader);
    verdict v = reader_topics(k->cli.reader, &topics, why);
    json_each(i, one, topics)
        if (v == OK && topic_owner(&k->cli.settings, json_string_value(one), ".events", &owner))
            v = reader_add(k->cli.reader, json_string_value(one), why);
    return v;
}

/* --- Comparing */

/* What of the snapshot is wrong, into `wrong`. */
static void snapshot_compare(struct check *k, const char *return_id, const json_t *snapshot, const json_t *fold) {
    static const char *const names[] = {"return_id", "version", "status", "attention", "request", "teams"};
    char digest[SNAPSHOT_DIGEST];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (json_equal(json_object_get(snapshot, names[i]), json_object_get(fold, names[i]))) continue;
        json_object_set_new(k->wrong, return_id, json_sprintf("%s is not what the events come to", names[i]));
        return;
    }
    if (!snapshot_digest(snapshot, digest) || strcmp(json_get_text(snapshot, "digest"), digest) != 0)
        json_object_set_new(k->wrong, return_id, json_string("digest is not that of its state"));
}

static void say(const struct check *k) {
    size_t wrong = json_object_size(k->wrong), named = 0;
    printf("%s: %zu snapshots held against %lld events: ", k->topic, json_object_size(k->by_return), k->events);
    printf(wrong ? "%zu DO NOT MATCH\n" : "all match\n", wrong);
    json_members(one, k->wrong)
        if (named++ < NAMED_MAX) printf("  %s: %s\n", shown(one.name), shown(json_string_value(one.value)));
    if (wrong > NAMED_MAX) printf("  and %zu more; --json names all\n", wrong - NAMED_MAX);
    if (json_object_size(k->without))
        printf("%zu returns have events and no snapshot yet\n", json_object_size(k->without));
    if (k->unread) printf("%lld records are no events that can be read, and count for nothing\n", k->unread);
}

static verdict check(struct check *k, struct failure *why) {
    snapshots_topic(&k->cli.settings, k->topic, sizeof k->topic);
    verdict v = reader_open(&k->cli.reader, &k->cli.settings, why);
    if (v == OK) v = reader_add(k->cli.reader, k->topic, why);
    if (v == OK) v = reader_each(k->cli.reader, snapshot_read, k, why);
    if (v == OK) v = topics_add(k, why);
    if (v == OK) v = reader_each(k->cli.reader, event_read, k, why);
    if (v != OK) return v;
    json_members(known, k->by_return)
        snapshot_compare(k, known.name, json_object_get(known.value, "snapshot"), json_object_get(known.value, "fold"));
    return OK;
}

int snapshots_run(int n, char *arguments[]) {
    struct failure why;
    json_auto_t *by_return = json_object(), *without = json_object(), *wrong = json_object();
    struct check k = {.by_return = by_return, .without = without, .wrong = wrong};
    bool as_json;
    verdict v = cli_settings(&k.cli.settings, "support", n, arguments, &as_json, &why);
    if (v == OK) v = check(&k, &why);
    json_auto_t *all = json_pack(
        "{s:I, s:I, s:I, s:I, s:O}", "snapshots", (json_int_t)json_object_size(by_return), "events",
        (json_int_t)k.events, "without_snapshot", (json_int_t)json_object_size(without), "undecodable",
        (json_int_t)k.unread, "wrong", wrong);
    if (v == OK && as_json)
        cli_print(all, JSON_INDENT(2));
    else if (v == OK)
        say(&k);
    cli_close(&k.cli);
    if (v != OK) return cli_end(v, &why);
    return fflush(stdout) ? CLI_UNKNOWN : json_object_size(wrong) ? CLI_NO : CLI_YES;
}
