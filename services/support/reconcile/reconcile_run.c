#include "support/reconcile/reconcile.h"

#include "chassis/base/json_get.h"
#include "chassis/base/utf8.h"
#include "chassis/kafka/admin.h"
#include "chassis/kafka/client.h"
#include "chassis/kafka/raw.h"
#include "chassis/kafka/reader.h"
#include "chassis/kafka/topic_spec.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_SIZE = 300, PLACE_SIZE = 24, KEY_SIZE = 256, PARTITIONS = 64, ANSWER_MS = 10000 };

struct decoded {
    const rd_kafka_message_t *message;
    const char *key;  /* NULL: none, or no text */
    const char *type; /* full name. "": it cannot be decoded, and then data is NULL */
    const json_t *data;
};

struct run {
    struct reconcile *r;
    const struct settings *settings;
    struct reader *reader; /* of one topic after another */
    struct reconcile_progress *progress;
    void (*each)(struct run *run, const struct decoded *d); /* of the topic that is being read */
    const char *team;                                       /* whose heads are being read */
    char own[NAME_SIZE];
};

static bool id_read(const json_t *event, const char *name, struct uuid *id) {
    return uuid_parse(json_get_text(event, name), id);
}

/* --- Each record of a topic */

static void each_head(struct run *run, const struct decoded *d) {
    if (d->data) reconcile_head(run->r, run->team, d->data);
}

static void each_published(struct run *run, const struct decoded *d) {
    struct uuid id;
    const char *return_id = json_string_value(json_object_get(d->data, "return_id"));
    reconcile_record(
        run->r, &(struct reconcile_record){
                    .partition = d->message->partition,
                    .offset = d->message->offset,
                    .at = kafka_time(d->message),
                    .id = id_read(d->data, "event_id", &id) ? &id : NULL,
                    .return_id = return_id ? return_id : d->key,
                    .type = *d->type ? d->type : "unreadable"});
}

static void each_event(struct run *run, const struct decoded *d) {
    struct uuid id, cause;
    char sequence[PLACE_SIZE];
    if (!id_read(d->data, "event_id", &id)) return;
    reconcile_reaction(
        run->r,
        &(struct reconcile_reaction){
            .id = &id,
            .caused_by = id_read(d->data, "caused_by", &cause) ? &cause : NULL,
            .type = d->type,
            .key = d->key,
            .at = json_get_int(d->data, "occurred_at"),
            .sequence = strtoll(message_header(d->message, "ce_sequence", sequence, sizeof sequence), NULL, 10)});
}

/* Of another topic's records, too. Theirs do not count here. */
static void each_letter(struct run *run, const struct decoded *d) {
    char topic[NAME_SIZE], partition[PLACE_SIZE], offset[PLACE_SIZE], answered[TIME_TEXT];
    size_t n = strlen(run->own);
    message_header(d->message, "dead-letter.topic", topic, sizeof topic);
    message_header(d->message, "dead-letter.partition", partition, sizeof partition);
    message_header(d->message, "dead-letter.offset", offset, sizeof offset);
    message_header(d->message, "dead-letter.answered-at", answered, sizeof answered);
    if (!strncmp(topic, run->own, n + 1) && *partition && *offset)
        reconcile_letter(run->r, atoi(partition), strtoll(offset, NULL, 10), *answered ? 0 : kafka_time(d->message));
}

static const char *key_text(const rd_kafka_message_t *m, char out[KEY_SIZE]) {
    size_t n = m->key_len;
    if (!m->key || n >= KEY_SIZE || !utf8_valid(m->key, n) || memchr(m->key, 0, n)) return NULL;
    snprintf(out, KEY_SIZE, "%.*s", (int)n, (const char *)m->key);
    return out;
}

static verdict record_take(void *context, const rd_kafka_message_t *m, struct failure *why) {
    struct run *run = context;
    char key[KEY_SIZE];
    const char *type = NULL;
    json_t *data = NULL;
    verdict v = reader_decode(run->reader, m, &type, &data, why);
    if (v != OK && v != REJECT) return v;
    run->progress->records++;
    run->each(run, &(struct decoded){.message = m, .key = key_text(m, key), .type = data ? type : "", .data = data});
    json_decref(data);
    return OK;
}

/* --- Topic by topic */

/* REJECT: there is no such topic. */
static verdict topic_open(struct run *run, const char *topic, struct failure *why) {
    reader_clear(run->reader);
    return reader_add(run->reader, topic, why);
}

static verdict
topic_read(struct run *run, void (*each)(struct run *run, const struct decoded *d), struct failure *why) {
    run->each = each;
    return reader_each(run->reader, record_take, run, why);
}

/* A team that has none published nothing yet. */
static verdict team_read(
    struct run *run, const char *team, const struct topic_spec *spec,
    void (*each)(struct run *run, const struct decoded *d), struct failure *why) {
    char topic[2 * NAME_SIZE];
    verdict v = topic_open(run, topic_spec_of(spec, team, run->settings, topic, sizeof topic), why);
    return v == OK ? topic_read(run, each, why) : v == REJECT ? OK : v;
}

static verdict heads_read_all(struct run *run, struct failure *why) {
    json_auto_t *teams = NULL;
    run->progress->doing = "reading what each team counted";
    verdict v = reader_owners(run->reader, &topic_spec_heads, &teams, why);
    json_each(i, team, teams) {
        if (v != OK) break;
        run->team = json_string_value(team);
        v = team_read(run, run->team, &topic_spec_heads, each_head, why);
    }
    return v;
}

static verdict groups_read(struct run *run, struct failure *why) {
    json_auto_t *groups = NULL;
    struct admin admin;
    verdict v = admin_open(&admin, run->settings, ANSWER_MS, why);
    if (v == OK) v = admin_readers(&admin, run->own, &groups, why);
    admin_close(&admin);
    json_members(team, groups)
        json_members(part, team.value)
            reconcile_group(run->r, team.name, atoi(part.name), json_integer_value(part.value));
    return v;
}

static verdict published_read(struct run *run, struct failure *why) {
    size_t n;
    run->progress->doing = "reading what was published";
    verdict v = topic_open(run, run->own, why);
    if (v == REJECT) return fail(why, RETRY, "there is no topic %s", run->own);
    if (v != OK) return v;
    const struct place *places = reader_places(run->reader, &n);
    if (n > PARTITIONS) return fail(why, RETRY, "%s has more than %d partitions", run->own, PARTITIONS);
    for (size_t i = 0; i < n; i++) reconcile_bounds(run->r, (int)i, places[i].begin, places[i].end);
    return topic_read(run, each_published, why);
}

/* Heads first, so that all they count is in what is read after them. */
static verdict read_all(struct run *run, int64_t *at, struct failure *why) {
    const char *team;
    verdict v = heads_read_all(run, why);
    *at = clock_ms();
    if (v == OK) v = published_read(run, why);
    if (v == OK) v = groups_read(run, why);
    run->progress->doing = "reading what each team published";
    for (size_t i = 0; v == OK && (team = reconcile_team(run->r, i)); i++) {
        v = team_read(run, team, &topic_spec_events, each_event, why);
        if (v == OK) v = team_read(run, team, &topic_spec_letters, each_letter, why);
        if (v == OK) reconcile_judge(run->r, i, *at);
    }
    return v;
}

verdict reconcile_run(const struct settings *s, struct reconcile_progress *p, json_t **out, struct failure *why) {
    struct run run = {.settings = s, .progress = p};
    int64_t at = 0, begun = steady_ms();
    topic_spec_name(&topic_spec_events, s, run.own, sizeof run.own);
    p->doing = "asking Kafka";
    run.r = reconcile_new(run.own, s->service);
    verdict v = run.r ? reader_open(&run.reader, s, why) : fail(why, RETRY, "out of memory");
    if (v == OK) {
        reader_stop(run.reader, p->stop);
        v = read_all(&run, &at, why);
    }
    if (v == OK && !(*out = reconcile_result(run.r, at))) v = fail(why, RETRY, "out of memory");
    if (v == OK) json_object_set_new(*out, "took_ms", json_integer(steady_ms() - begun));
    reader_close(&run.reader);
    reconcile_free(&run.r);
    return v;
}
