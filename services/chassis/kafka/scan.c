#include "chassis/kafka/scan.h"

#include "chassis/avro/codec.h"
#include "chassis/avro/registry.h"
#include "chassis/base/health.h"
#include "chassis/base/ids.h"
#include "chassis/base/wait.h"
#include "chassis/kafka/client.h"
#include "chassis/kafka/denial.h"

#include <stdlib.h>
#include <string.h>

enum { ASK_MS = 10000, QUIET_MS = 10000, POLL_MS = 200 };

struct scan {
    const struct settings *settings;
    rd_kafka_t *rk;
    struct registry *registry;
    struct health *health; /* of the registry, if it is the scan's own */
    bool own_registry, started;
    struct scan_place *places;
    size_t places_n, done_n;
    rd_kafka_queue_t *records;  /* of all places */
    rd_kafka_topic_t **reading; /* of each place; NULL: nothing of it is fetched */
    pthread_mutex_t lock;       /* with news: the registry has some */
    pthread_cond_t news;
    struct patience patience; /* for all records together */
    struct schema *schema;    /* of the record that was read last */
};

/* --- Open and close */

static void registry_changed(void *context) {
    struct scan *s = context;
    pthread_mutex_lock(&s->lock);
    pthread_cond_broadcast(&s->news);
    pthread_mutex_unlock(&s->lock);
}

static verdict own_registry(struct scan *s, struct failure *why) {
    const struct settings *t = s->settings;
    s->own_registry = true;
    s->health = health_new();
    struct registry_options o = {
        .url = t->registry,
        .user = *t->registry_user ? t->registry_user : NULL,
        .password = *t->registry_password ? t->registry_password : NULL,
        .timeout_ms = (int)t->registry_timeout_ms,
        .health = s->health,
        .changed = registry_changed,
        .context = s};
    return s->health ? registry_start(&s->registry, &o, why) : fail(why, RETRY, "out of memory");
}

verdict scan_open(struct scan **out, const struct settings *settings, struct registry *registry, struct failure *why) {
    /* No group.id: who is in no group needs no right on one. */
    static const struct property properties[] = {
        {"enable.partition.eof", "true"},
        {"auto.offset.reset", "error"},
        {"receive.message.max.bytes", "2000000000"}, /* a record may be as large as its broker takes */
        {0}};
    struct scan *s = *out = calloc(1, sizeof *s);
    if (!s) return fail(why, RETRY, "out of memory");
    s->settings = settings;
    s->patience.left_ms = settings->unknown_id_ms;
    s->registry = registry;
    pthread_mutex_init(&s->lock, NULL);
    wait_init(&s->news);
    verdict v = kafka_open(&s->rk, RD_KAFKA_CONSUMER, settings, NULL, NULL, properties, why);
    if (v == OK && !(s->records = rd_kafka_queue_new(s->rk))) v = fail(why, RETRY, "out of memory");
    if (v == OK && !registry) v = own_registry(s, why);
    if (v != OK) scan_close(out);
    return v;
}

static void reading_stop(struct scan *s) {
    for (size_t i = 0; s->reading && i < s->places_n; i++) {
        if (!s->reading[i]) continue;
        rd_kafka_consume_stop(s->reading[i], s->places[i].partition);
        rd_kafka_topic_destroy(s->reading[i]);
    }
    free(s->reading);
}

void scan_close(struct scan **out) {
    struct scan *s = *out;
    if (!s) return;
    reading_stop(s);
    if (s->records) rd_kafka_queue_destroy(s->records);
    if (s->rk) rd_kafka_destroy(s->rk);
    schema_free(&s->schema);
    if (s->own_registry) registry_stop(&s->registry);
    health_free(&s->health);
    for (size_t i = 0; i < s->places_n; i++)
        if (!i || s->places[i].topic != s->places[i - 1].topic) free((char *)s->places[i].topic);
    free(s->places);
    pthread_cond_destroy(&s->news);
    pthread_mutex_destroy(&s->lock);
    free(s);
    *out = NULL;
}

rd_kafka_t *scan_client(struct scan *s) {
    return s->rk;
}

/* --- What is to be read */

/* topic: "" where it is about all. */
static verdict
unanswered(const struct scan *s, const char *what, rd_kafka_resp_err_t error, const char *topic, struct failure *why) {
    return kafka_unanswered(s->rk, s->settings, what, error, (struct right){"Describe", "topic", topic}, why);
}

verdict scan_topics(struct scan *s, json_t **out, struct failure *why) {
    const struct rd_kafka_metadata *found;
    rd_kafka_resp_err_t error = rd_kafka_metadata(s->rk, 1, NULL, &found, ASK_MS);
    if (error) return unanswered(s, "which topics it has", error, "", why);
    *out = json_array();
    for (int i = 0; i < found->topic_cnt; i++)
        if (strncmp(found->topics[i].topic, "__", 2) != 0)
            json_array_append_new(*out, json_string(found->topics[i].topic));
    rd_kafka_metadata_destroy(found);
    return OK;
}

/* 0: there is no such topic. */
static verdict partitions_count(struct scan *s, const char *topic, int *n, struct failure *why) {
    const struct rd_kafka_metadata *found;
    rd_kafka_topic_t *handle = rd_kafka_topic_new(s->rk, topic, NULL);
    rd_kafka_resp_err_t error = handle ? rd_kafka_metadata(s->rk, 0, handle, &found, ASK_MS) : rd_kafka_last_error();
    if (handle) rd_kafka_topic_destroy(handle);
    if (!error && found->topic_cnt && denial_is(found->topics[0].err)) {
        error = found->topics[0].err;
        rd_kafka_metadata_destroy(found);
    }
    if (error) return unanswered(s, "which partitions a topic has", error, topic, why);
    *n = found->topic_cnt && !found->topics[0].err ? found->topics[0].partition_cnt : 0;
    rd_kafka_metadata_destroy(found);
    return OK;
}

verdict scan_add(struct scan *s, const char *topic, struct failure *why) {
    int n = 0;
    verdict v = partitions_count(s, topic, &n, why);
    if (v != OK) return v;
    if (!n) return fail(why, REJECT, "there is no topic \"%s\" in Kafka at %s", topic, s->settings->kafka);
    struct scan_place *grown = realloc(s->places, (s->places_n + (size_t)n) * sizeof *grown);
    char *name = strdup(topic);
    if (grown) s->places = grown;
    if (!grown || !name) {
        free(name);
        return fail(why, RETRY, "out of memory");
    }
    size_t first = s->places_n;
    for (int i = 0; i < n; i++) s->places[s->places_n++] = (struct scan_place){.topic = name, .partition = i};
    for (size_t i = first; i < s->places_n; i++) {
        struct scan_place *p = &s->places[i];
        rd_kafka_resp_err_t error =
            rd_kafka_query_watermark_offsets(s->rk, topic, p->partition, &p->begin, &p->end, ASK_MS);
        if (error) return unanswered(s, "where a partition begins and ends", error, topic, why);
        p->next = p->begin;
    }
    return OK;
}

struct scan_place *scan_places(struct scan *s, size_t *n) {
    *n = s->places_n;
    return s->places;
}

verdict scan_since(struct scan *s, int64_t moment, struct failure *why) {
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new((int)s->places_n);
    for (size_t i = 0; i < s->places_n; i++)
        rd_kafka_topic_partition_list_add(list, s->places[i].topic, s->places[i].partition)->offset = moment;
    rd_kafka_resp_err_t error = rd_kafka_offsets_for_times(s->rk, list, ASK_MS);
    for (size_t i = 0; !error && i < s->places_n; i++)
        s->places[i].next = list->elems[i].offset >= 0 ? list->elems[i].offset : s->places[i].end;
    rd_kafka_topic_partition_list_destroy(list);
    return error ? unanswered(s, "what was there at a moment", error, s->places_n ? s->places[0].topic : "", why) : OK;
}

/* --- Reading */

/* NULL: of none. An error that is about no topic has none. */
static struct scan_place *place_of(struct scan *s, const rd_kafka_message_t *m) {
    const char *topic = m->rkt ? rd_kafka_topic_name(m->rkt) : "";
    for (size_t i = 0; i < s->places_n; i++)
        if (s->places[i].partition == m->partition && !strcmp(s->places[i].topic, topic)) return &s->places[i];
    return NULL;
}

static void place_end(struct scan *s, struct scan_place *p) {
    if (!p->done) s->done_n++;
    p->done = true;
}

static verdict place_start(struct scan *s, size_t i, struct failure *why) {
    struct scan_place *p = &s->places[i];
    if (p->next >= p->end) {
        place_end(s, p);
        return OK;
    }
    s->reading[i] = rd_kafka_topic_new(s->rk, p->topic, NULL);
    if (s->reading[i] && !rd_kafka_consume_start_queue(s->reading[i], p->partition, p->next, s->records)) return OK;
    if (s->reading[i]) rd_kafka_topic_destroy(s->reading[i]);
    s->reading[i] = NULL;
    return fail(
        why, RETRY, "could not read %s[%d] from Kafka: %s", p->topic, p->partition,
        rd_kafka_err2str(rd_kafka_last_error()));
}

static verdict reading_start(struct scan *s, struct failure *why) {
    s->started = true;
    s->reading = calloc(s->places_n + 1, sizeof *s->reading);
    verdict v = s->reading ? OK : fail(why, RETRY, "out of memory");
    for (size_t i = 0; v == OK && i < s->places_n; i++) v = place_start(s, i, why);
    return v;
}

/* True: it is a record of a place that is not done. A log may end in what is no record, so its end is told apart. */
static bool take(struct scan *s, const rd_kafka_message_t *m, verdict *v, struct failure *why) {
    struct scan_place *p = place_of(s, m);
    if (m->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
        if (p && m->offset >= p->end) place_end(s, p);
    } else if (m->err && p) {
        char reason[DENIAL_TEXT];
        denial_reason(s->settings, m->err, (struct right){"Read", "topic", p->topic}, reason);
        *v = fail(why, RETRY, "could not read %s[%d] from Kafka: %s", p->topic, p->partition, reason);
    } else if (!m->err && p && !p->done) {
        bool within = m->offset < p->end;
        p->next = m->offset + 1;
        if (p->next >= p->end) place_end(s, p);
        return within;
    }
    return false;
}

static bool follows(const struct scan *s) {
    for (size_t i = 0; i < s->places_n; i++)
        if (s->places[i].end == INT64_MAX) return true;
    return false;
}

verdict scan_next(struct scan *s, int wait_ms, rd_kafka_message_t **out, struct failure *why) {
    verdict v = s->started ? OK : reading_start(s, why);
    bool following = follows(s);
    int64_t until = steady_ms() + (following ? wait_ms : QUIET_MS);
    *out = NULL;
    while (v == OK && s->done_n < s->places_n) {
        rd_kafka_message_t *m = rd_kafka_consume_queue(s->records, following && wait_ms < POLL_MS ? wait_ms : POLL_MS);
        if (m && take(s, m, &v, why)) {
            *out = m;
            return OK;
        }
        if (m) rd_kafka_message_destroy(m);
        if (steady_ms() < until || v != OK) continue;
        return following ? OK : unanswered(s, "more", RD_KAFKA_RESP_ERR__TIMED_OUT, "", why);
    }
    return v;
}

/* --- What a record says */

static verdict schema_await(struct scan *s, int32_t id, struct failure *why) {
    int64_t until = steady_ms() + 3 * s->settings->registry_timeout_ms;
    verdict v;
    schema_free(&s->schema);
    pthread_mutex_lock(&s->lock);
    /* News of a registry that is not the scan's own does not come here: look again now and then. */
    while ((v = registry_schema(s->registry, id, &s->patience, &s->schema, why)) == RETRY && steady_ms() < until)
        (void)wait_until(&s->news, &s->lock, s->own_registry ? until : steady_ms() + 5);
    pthread_mutex_unlock(&s->lock);
    return v;
}

verdict
scan_read(struct scan *s, const rd_kafka_message_t *m, const char **type, struct written *out, struct failure *why) {
    const void *body;
    size_t n;
    int32_t id;
    verdict v = frame_read(m->payload, m->len, &id, &body, &n, why);
    if (v == OK) v = schema_await(s, id, why);
    if (v == OK && type) *type = schema_name(s->schema);
    *out = (struct written){0};
    return v == OK ? codec_read(s->schema, body, n, out, why) : v;
}

verdict scan_decode(struct scan *s, const rd_kafka_message_t *m, const char **type, json_t **out, struct failure *why) {
    struct written w;
    verdict v = scan_read(s, m, type, &w, why);
    if (w.data) *out = w.data;
    return v;
}
