#include "support/reconcile/reconcile.h"

#include "chassis/base/json_get.h"
#include "chassis/kafka/topic_spec.h"
#include "chassis/kafka/topics.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_SIZE = 300, PLACE_SIZE = 24 };

struct run {
    struct reconcile *r;
    struct topics *topics;
    struct reconcile_progress *progress;
    const char *team; /* whose heads are being read */
    char own[NAME_SIZE];
};

static bool id_read(const json_t *event, const char *name, struct uuid *id) {
    return uuid_parse(json_get_text(event, name), id);
}

/* --- Each record of a topic */

static void each_head(void *context, const struct topic_record *m) {
    struct run *run = context;
    run->progress->records++;
    if (m->data) reconcile_head(run->r, run->team, m->data);
}

static void each_published(void *context, const struct topic_record *m) {
    struct run *run = context;
    struct uuid id;
    const char *return_id = json_string_value(json_object_get(m->data, "return_id"));
    run->progress->records++;
    reconcile_record(
        run->r, &(struct reconcile_record){
                    .partition = m->partition,
                    .offset = m->offset,
                    .at = m->at,
                    .id = id_read(m->data, "event_id", &id) ? &id : NULL,
                    .return_id = return_id ? return_id : m->key,
                    .type = *m->type ? m->type : "unreadable"});
}

static void each_event(void *context, const struct topic_record *m) {
    struct run *run = context;
    struct uuid id, cause;
    char sequence[PLACE_SIZE];
    run->progress->records++;
    if (!id_read(m->data, "event_id", &id)) return;
    reconcile_reaction(
        run->r, &(struct reconcile_reaction){
                    .id = &id,
                    .caused_by = id_read(m->data, "caused_by", &cause) ? &cause : NULL,
                    .type = m->type,
                    .key = m->key,
                    .at = json_get_int(m->data, "occurred_at"),
                    .sequence = strtoll(topic_header(m, "ce_sequence", sequence, sizeof sequence), NULL, 10)});
}

/* Of another topic's records, too. Theirs do not count here. */
static void each_letter(void *context, const struct topic_record *m) {
    struct run *run = context;
    char topic[NAME_SIZE], partition[PLACE_SIZE], offset[PLACE_SIZE], answered[TIME_TEXT];
    size_t n = strlen(run->own);
    run->progress->records++;
    topic_header(m, "dead-letter.topic", topic, sizeof topic);
    topic_header(m, "dead-letter.partition", partition, sizeof partition);
    topic_header(m, "dead-letter.offset", offset, sizeof offset);
    if (!strncmp(topic, run->own, n + 1) && *partition && *offset)
        reconcile_letter(
            run->r, atoi(partition), strtoll(offset, NULL, 10),
            *topic_header(m, "dead-letter.answered-at", answered, sizeof answered) ? 0 : m->at);
}

/* --- Topic by topic */

static verdict topic_read(
    struct run *run, const char *team, const char *ending, void (*each)(void *context, const struct topic_record *m),
    struct failure *why) {
    char name[2 * NAME_SIZE];
    const struct place *places;
    size_t n;
    snprintf(name, sizeof name, "%s%s", team, ending);
    verdict v = topics_look(run->topics, name, &places, &n, why);
    return v == OK && n ? topics_read(run->topics, each, run, why) : v;
}

static verdict heads_read_all(struct run *run, struct failure *why) {
    static const char ending[] = ".audit-heads";
    char team[NAME_SIZE];
    json_auto_t *names = NULL;
    run->progress->doing = "reading what each team counted";
    verdict v = topics_find(run->topics, ending, &names, why);
    json_each(i, name, names) {
        if (v != OK) break;
        snprintf(team, sizeof team, "%.*s", (int)(json_string_length(name) - strlen(ending)), json_string_value(name));
        run->team = team;
        v = topic_read(run, team, ending, each_head, why);
    }
    return v;
}

static verdict groups_read(struct run *run, const char *topic, struct failure *why) {
    json_auto_t *groups = NULL;
    json_t *offsets, *offset;
    const char *team, *partition;
    verdict v = topics_groups(run->topics, topic, &groups, why);
    json_object_foreach(groups, team, offsets) json_object_foreach(offsets, partition, offset)
        reconcile_group(run->r, team, atoi(partition), json_integer_value(offset));
    return v;
}

static verdict published_read(struct run *run, const char *topic, struct failure *why) {
    const struct place *places;
    size_t n;
    run->progress->doing = "reading what was published";
    verdict v = topics_look(run->topics, topic, &places, &n, why);
    if (v == OK && !n) return fail(why, RETRY, "there is no topic %s", run->own);
    for (size_t i = 0; v == OK && i < n; i++) reconcile_bounds(run->r, (int)i, places[i].begin, places[i].end);
    if (v == OK) v = topics_read(run->topics, each_published, run, why);
    return v;
}

/* Heads first, so that all they count is in what is read after them. */
static verdict read_all(struct run *run, const struct settings *s, int64_t *at, struct failure *why) {
    char topic[NAME_SIZE];
    const char *team;
    snprintf(topic, sizeof topic, "%s.events", s->service);
    verdict v = heads_read_all(run, why);
    *at = clock_ms();
    if (v == OK) v = published_read(run, topic, why);
    if (v == OK) v = groups_read(run, topic, why);
    run->progress->doing = "reading what each team published";
    for (size_t i = 0; v == OK && (team = reconcile_team(run->r, i)); i++) {
        v = topic_read(run, team, ".events", each_event, why);
        if (v == OK) v = topic_read(run, team, ".dead-letters", each_letter, why);
        if (v == OK) reconcile_judge(run->r, i, *at);
    }
    return v;
}

verdict reconcile_run(const struct settings *s, struct reconcile_progress *p, json_t **out, struct failure *why) {
    struct run run = {.progress = p};
    int64_t at = 0, begun = steady_ms();
    topic_spec_name(&topic_spec_events, s, run.own, sizeof run.own);
    p->doing = "asking Kafka";
    run.r = reconcile_new(run.own, s->service);
    verdict v = run.r ? topics_open(&run.topics, s, p->stop, why) : fail(why, RETRY, "out of memory");
    if (v == OK) v = read_all(&run, s, &at, why);
    if (v == OK && !(*out = reconcile_result(run.r, at))) v = fail(why, RETRY, "out of memory");
    if (v == OK) json_object_set_new(*out, "took_ms", json_integer(steady_ms() - begun));
    topics_close(&run.topics);
    reconcile_free(&run.r);
    return v;
}
