#include "snapshots.h"

#include "cli.h"

#include "chassis/avro/codec.h"
#include "chassis/base/ids.h"
#include "chassis/base/input.h"
#include "chassis/base/log.h"
#include "chassis/base/terminal.h"
#include "chassis/kafka/reader.h"
#include "chassis/outgoing/snapshots.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

enum { FINE = 0, WRONG = 1, UNKNOWN = 2, NAMED_MAX = 20 };

/* by_return: {return: {"snapshot", "positions": {"topic/partition": next}, "folds": [by partition, null: none of it]}};
 * others have events alone. */
struct check {
    struct settings settings;
    json_t *by_return, *without, *wrong;
    char topic[400];
    long long snapshots, events, unread;
};

static const char *place_name(const char *topic, long long partition, char out[500]) {
    snprintf(out, 500, "%s/%lld", topic, partition);
    return out;
}

static json_t *fold_new(const char *return_id) {
    return json_pack(
        "{s:s, s:i, s:s, s:b, s:n, s:{}}", "return_id", return_id, "version", 0, "status", "unknown", "attention", 0,
        "request", "teams");
}

/* --- The snapshots: the last of each key counts */

static void snapshot_take(struct check *k, const char *key, json_t *snapshot) {
    json_t *positions = json_object(), *one;
    size_t i;
    char place[500];
    json_array_foreach(json_object_get(snapshot, "positions"), i, one) json_object_set(
        positions,
        place_name(
            json_string_value(json_object_get(one, "topic")), json_integer_value(json_object_get(one, "partition")),
            place),
        json_object_get(one, "next_offset"));
    json_object_set_new(
        k->by_return, key, json_pack("{s:O, s:o, s:[]}", "snapshot", snapshot, "positions", positions, "folds"));
}

static verdict snapshots_read(struct check *k, struct failure *why) {
    struct reader *s = NULL;
    rd_kafka_message_t *m = NULL;
    verdict v = reader_open(&s, &k->settings, why);
    if (v == OK) v = reader_add(s, k->topic, why);
    while (v == OK && (v = reader_next(s, &m, why)) == OK && m) {
        char key[ID_BYTES_MAX + 1];
        json_t *snapshot = NULL;
        struct failure reason;
        snprintf(key, sizeof key, "%.*s", (int)m->key_len, m->key ? (const char *)m->key : "");
        json_object_del(k->by_return, key);
        json_object_del(k->wrong, key);
        verdict decoded = m->payload ? reader_decode(s, m, NULL, &snapshot, &reason) : OK;
        if (decoded == RETRY)
            v = fail(why, RETRY, "%s", reason.text);
        else if (decoded != OK)
            json_object_set_new(k->wrong, key, json_string(reason.text));
        else if (m->payload)
            snapshot_take(k, key, snapshot);
        json_decref(snapshot);
        rd_kafka_message_destroy(m);
    }
    reader_close(&s);
    k->snapshots = (long long)json_object_size(k->by_return);
    return v;
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
    json_t *event = written->data;
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
    json_object_set_new(event, "event_id", json_string(uuid_text(id, text)));
    json_object_set_new(event, "version", json_integer(q.version));
    json_object_set_new(event, "occurred_at", json_integer(q.occurred_at));
    if (of_return) json_object_set_new(event, "return_id", json_string(q.return_id));
    return true;
}

static bool ends_in(const char *text, const char *end) {
    size_t n = strlen(text), end_n = strlen(end);
    return n >= end_n && !strcmp(text + n - end_n, end);
}

static void own_fold(json_t *fold, const char *type, const json_t *event) {
    json_t *version = json_object_get(event, "version");
    bool refusal = !strcmp(type, "returns.support.CommandRejected"); /* it makes no version */
    if (!refusal && json_integer_value(version) > json_integer_value(json_object_get(fold, "version")))
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
    if (!strcmp(json_string_value(json_object_get(fold, "status")), "unknown"))
        json_object_set_new(fold, "status", json_string("requested"));
}

static void event_fold(json_t *fold, const char *team, const char *type, const json_t *event) {
    json_t *teams = json_object_get(fold, "teams"), *mine = json_object_get(teams, team), *seen;
    const char *id = json_string_value(json_object_get(event, "event_id"));
    size_t i;
    if (!mine) json_object_set_new(teams, team, mine = json_pack("{s:s, s:[]}", "team", team, "events"));
    json_array_foreach(json_object_get(mine, "events"), i, seen) if (!strcmp(json_string_value(seen), id)) return;
    json_array_append_new(json_object_get(mine, "events"), json_string(id));
    json_object_set_new(mine, "last_type", json_string(type));
    json_object_set(mine, "last_at", json_object_get(event, "occurred_at"));
    if (ends_in(type, "Declined")) json_object_set_new(fold, "attention", json_true());
    if (!strcmp(team, "support")) own_fold(fold, type, event);
}

/* The topic's owner: what is between the namespace and ".events". */
static const char *team_of(const struct check *k, const char *topic, char out[200]) {
    size_t scope = *k->settings.namespace ? strlen(k->settings.namespace) + 1 : 0, n = strlen(topic);
    snprintf(out, 200, "%.*s", (int)(n - scope - strlen(".events")), topic + scope);
    return out;
}

/* Partitions are read in any order, so each has a fold of its own. */
static json_t *fold_of(json_t *folds, const char *return_id, int32_t partition) {
    while (json_array_size(folds) <= (size_t)partition) json_array_append_new(folds, json_null());
    json_t *fold = json_array_get(folds, (size_t)partition);
    if (json_is_null(fold)) json_array_set_new(folds, (size_t)partition, fold = fold_new(return_id));
    return fold;
}

static void event_take(struct check *k, const rd_kafka_message_t *m, const char *type, const json_t *event) {
    char place[500], team[200];
    const char *topic = rd_kafka_topic_name(m->rkt),
               *return_id = json_string_value(json_object_get(event, "return_id"));
    if (!return_id) return;
    json_t *known = json_object_get(k->by_return, return_id);
    json_t *next = json_object_get(json_object_get(known, "positions"), place_name(topic, m->partition, place));
    k->events++;
    if (!known) json_object_set_new(k->without, return_id, json_true());
    if (next && m->offset < json_integer_value(next))
        event_fold(
            fold_of(json_object_get(known, "folds"), return_id, m->partition), team_of(k, topic, team), type, event);
}

static verdict record_take(struct check *k, struct reader *s, const rd_kafka_message_t *m, struct failure *why) {
    const char *type;
    struct written event;
    struct failure reason;
    verdict v = reader_written(s, m, &type, &event, &reason);
    if (v == RETRY) return fail(why, RETRY, "%s", reason.text);
    if (v == OK && is_event(type, &event))
        event_take(k, m, type, event.data);
    else
        k->unread++;
    written_free(&event);
    return OK;
}

static verdict topics_add(struct check *k, struct reader *s, struct failure *why) {
    json_t *topics = NULL, *one;
    size_t i, scope = strlen(k->settings.namespace);
    verdict v = reader_topics(s, &topics, why);
    json_array_foreach(topics, i, one) {
        const char *name = json_string_value(one), *own = name + (scope ? scope + 1 : 0);
        bool ours = !scope || (!strncmp(name, k->settings.namespace, scope) && name[scope] == '.');
        const char *dot = ours ? strchr(own, '.') : NULL;
        if (v == OK && dot && !strcmp(dot, ".events")) v = reader_add(s, name, why);
    }
    json_decref(topics);
    return v;
}

static verdict events_read(struct check *k, struct failure *why) {
    struct reader *s = NULL;
    rd_kafka_message_t *m = NULL;
    verdict v = reader_open(&s, &k->settings, why);
    if (v == OK) v = topics_add(k, s, why);
    while (v == OK && (v = reader_next(s, &m, why)) == OK && m) {
        v = record_take(k, s, m, why);
        rd_kafka_message_destroy(m);
    }
    reader_close(&s);
    return v;
}

/* --- Comparing */

static void team_merge(json_t *mine, json_t *more) {
    json_t *events = json_object_get(mine, "events"), *id, *seen;
    size_t i, j, before = json_array_size(events);
    json_array_foreach(json_object_get(more, "events"), i, id) {
        bool known = false;
        json_array_foreach(events, j, seen) known |= json_equal(seen, id);
        if (!known) json_array_append(events, id);
    }
    if (json_array_size(events) == before) return;
    json_object_set(mine, "last_type", json_object_get(more, "last_type"));
    json_object_set(mine, "last_at", json_object_get(more, "last_at"));
}

/* What a higher partition has comes after what a lower one has. */
static void fold_merge(json_t *fold, json_t *more) {
    json_t *teams = json_object_get(fold, "teams"), *one, *version = json_object_get(more, "version");
    const char *name, *status = json_string_value(json_object_get(more, "status"));
    bool unknown = !strcmp(json_string_value(json_object_get(fold, "status")), "unknown");
    if (json_integer_value(version) > json_integer_value(json_object_get(fold, "version")))
        json_object_set(fold, "version", version);
    if (unknown || !strcmp(status, "cancelled") || !strcmp(status, "closed"))
        json_object_set_new(fold, "status", json_string(status));
    if (json_is_true(json_object_get(more, "attention"))) json_object_set_new(fold, "attention", json_true());
    if (json_is_null(json_object_get(fold, "request")))
        json_object_set(fold, "request", json_object_get(more, "request"));
    json_object_foreach(json_object_get(more, "teams"), name, one) {
        json_t *mine = json_object_get(teams, name);
        if (mine)
            team_merge(mine, one);
        else
            json_object_set(teams, name, one);
    }
}

static json_t *folds_merged(const char *return_id, const json_t *folds) {
    json_t *fold = fold_new(return_id), *one;
    size_t i;
    json_array_foreach((json_t *)folds, i, one) if (json_is_object(one)) fold_merge(fold, one);
    return fold;
}

/* The fold's teams by name, as the snapshot has them. */
static json_t *teams_sorted(const json_t *by_name) {
    json_t *sorted = json_array(), *one, *other;
    const char *name;
    json_object_foreach((json_t *)by_name, name, one) {
        size_t at = 0;
        while ((other = json_array_get(sorted, at)) &&
               strcmp(json_string_value(json_object_get(other, "team")), name) < 0)
            at++;
        json_array_insert(sorted, at, one);
    }
    return sorted;
}

/* A member of the snapshot that is wrong, into text; false: none. */
static bool difference(const json_t *snapshot, json_t *fold, char out[300]) {
    static const char *const names[] = {"return_id", "version", "status", "attention", "request", "teams"};
    char digest[SNAPSHOT_DIGEST];
    json_object_set_new(fold, "teams", teams_sorted(json_object_get(fold, "teams")));
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!json_equal(json_object_get(snapshot, names[i]), json_object_get(fold, names[i]))) {
            snprintf(out, 300, "%s is not what the events come to", names[i]);
            return true;
        }
    const char *said = json_string_value(json_object_get(snapshot, "digest"));
    if (snapshot_digest(snapshot, digest) && said && !strcmp(digest, said)) return false;
    snprintf(out, 300, "digest is not that of its state");
    return true;
}

static void compare_all(struct check *k) {
    const char *return_id;
    json_t *known;
    char what[300];
    json_object_foreach(k->by_return, return_id, known) {
        json_t *fold = folds_merged(return_id, json_object_get(known, "folds"));
        if (difference(json_object_get(known, "snapshot"), fold, what))
            json_object_set_new(k->wrong, return_id, json_string(what));
        json_decref(fold);
    }
}

static void say(const struct check *k, bool as_json) {
    size_t wrong = json_object_size(k->wrong), named = 0;
    const char *return_id;
    json_t *what;
    if (as_json) {
        json_t *all = json_pack(
            "{s:I, s:I, s:I, s:I, s:O}", "snapshots", (json_int_t)k->snapshots, "events", (json_int_t)k->events,
            "without_snapshot", (json_int_t)json_object_size(k->without), "undecodable", (json_int_t)k->unread, "wrong",
            k->wrong);
        (void)show_json(all, stdout, JSON_INDENT(2));
        printf("\n");
        json_decref(all);
        return;
    }
    printf("%s: %lld snapshots held against %lld events: ", k->topic, k->snapshots, k->events);
    printf(wrong ? "%zu DO NOT MATCH\n" : "all match\n", wrong);
    json_object_foreach(k->wrong, return_id, what) if (named++ < NAMED_MAX)
        printf("  %s: %s\n", shown(return_id), shown(json_string_value(what)));
    if (wrong > NAMED_MAX) printf("  and %zu more; --json names all\n", wrong - NAMED_MAX);
    if (json_object_size(k->without))
        printf("%zu returns have events and no snapshot yet\n", json_object_size(k->without));
    if (k->unread) printf("%lld records are no events that can be read, and count for nothing\n", k->unread);
}

int snapshots_run(int n, char *arguments[]) {
    extern char **environ;
    struct failure why;
    struct check k = {.by_return = json_object(), .without = json_object(), .wrong = json_object()};
    char name[] = "support";
    bool as_json = n > 0 && !strcmp(arguments[0], "--json");
    if (!as_json) n++, arguments--; /* the place of the program's name */
    arguments[0] = name;
    log_start(name, LOG_ERROR);
    verdict v = settings_read(&k.settings, name, 0, n, arguments, environ, &why);
    snapshots_topic(&k.settings, k.topic, sizeof k.topic);
    if (v == OK) v = snapshots_read(&k, &why);
    if (v == OK) v = events_read(&k, &why);
    if (v == OK) compare_all(&k);
    if (v == OK) say(&k, as_json);
    int status = v != OK || fflush(stdout) ? UNKNOWN : json_object_size(k.wrong) ? WRONG : FINE;
    if (v != OK) fprintf(stderr, "%s\n", shown(why.text));
    json_decref(k.by_return);
    json_decref(k.without);
    json_decref(k.wrong);
    settings_free(&k.settings);
    return status;
}
