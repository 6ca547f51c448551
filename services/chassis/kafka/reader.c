#include "chassis/kafka/reader.h"

#include "chassis/avro/registry.h"
#include "chassis/base/health.h"
#include "chassis/base/ids.h"
#include "chassis/base/json_get.h"
#include "chassis/kafka/client.h"
#include "chassis/kafka/denial.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ASK_MS = 10000, AGAIN_MS = 100, QUIET_MS = 10000, POLL_MS = 200, SCHEMA_POLL_MS = 2 };

struct reader {
    const struct settings *settings;
    rd_kafka_t *rk;
    struct place *places;
    size_t places_n, at;       /* at: the one that reader_next() reads */
    struct registry *registry; /* from the first record on that is decoded */
    struct health *health;     /* of the registry */
    struct patience patience;  /* for all records together */
    struct schema *schema;     /* of the record that was decoded last */
    const atomic_bool *stop;   /* NULL: nothing ends a reading */
};

verdict reader_open(struct reader **out, const struct settings *settings, struct failure *why) {
    /* No group.id: who is in no group needs no right on one. By default 64 MB of each partition would be kept, and a
     * queue that was full would wait for half a second. */
    static const struct property properties[] = {
        {"enable.partition.eof", "true"},
        {"auto.offset.reset", "error"},
        {"check.crcs", "true"},
        {"receive.message.max.bytes", "2000000000"}, /* a record may be as large as its broker takes */
        {"queued.min.messages", "4000"},
        {"queued.max.messages.kbytes", "2048"},
        {"fetch.error.backoff.ms", "5"},
        {"fetch.wait.max.ms", "100"},
        {0}};
    struct reader *r = *out = calloc(1, sizeof *r);
    if (!r) return fail(why, RETRY, "out of memory");
    r->settings = settings;
    r->patience.left_ms = settings->unknown_id_ms;
    return kafka_open(&r->rk, RD_KAFKA_CONSUMER, settings, NULL, NULL, properties, why);
}

/* Nothing of it is kept any more. */
static void place_stop(struct place *p) {
    if (!p->handle) return;
    rd_kafka_consume_stop(p->handle, p->partition);
    rd_kafka_topic_destroy(p->handle);
    p->handle = NULL;
}

void reader_clear(struct reader *r) {
    for (size_t i = 0; i < r->places_n; i++) place_stop(&r->places[i]);
    r->places_n = r->at = 0;
}

void reader_close(struct reader **out) {
    struct reader *r = *out;
    if (!r) return;
    reader_clear(r);
    free(r->places);
    if (r->rk) rd_kafka_destroy(r->rk);
    schema_free(&r->schema);
    registry_stop(&r->registry);
    health_free(&r->health);
    free(r);
    *out = NULL;
}

rd_kafka_t *reader_client(struct reader *r) {
    return r->rk;
}

void reader_stop(struct reader *r, const atomic_bool *stop) {
    r->stop = stop;
}

static verdict go_on(const struct reader *r, struct failure *why) {
    return r->stop && *r->stop ? fail(why, RETRY, "it was stopped") : OK;
}

/* --- What is to be read */

/* topic: "" where it is about all. */
static verdict unanswered(
    const struct reader *r, const char *what, rd_kafka_resp_err_t error, const char *topic, struct failure *why) {
    return kafka_unanswered(r->rk, r->settings, what, error, (struct right){"Describe", "topic", topic}, why);
}

verdict reader_topics(struct reader *r, json_t **out, struct failure *why) {
    metadata_auto *found = NULL;
    rd_kafka_resp_err_t error = rd_kafka_metadata(r->rk, 1, NULL, &found, ASK_MS);
    if (error) return unanswered(r, "which topics it has", error, "", why);
    *out = json_array();
    for (int i = 0; i < found->topic_cnt; i++)
        if (strncmp(found->topics[i].topic, "__", 2) != 0)
            json_array_append_new(*out, json_string(found->topics[i].topic));
    return OK;
}

verdict reader_owners(struct reader *r, const struct topic_spec *spec, json_t **out, struct failure *why) {
    char ending[40];
    const char *owner;
    json_auto_t *topics = NULL;
    snprintf(ending, sizeof ending, ".%s", spec->ending);
    verdict v = reader_topics(r, &topics, why);
    if (v == OK) *out = json_array();
    json_each(i, topic, topics) {
        size_t n = topic_owner(r->settings, json_string_value(topic), ending, &owner);
        if (n) json_array_append_new(*out, json_stringn(owner, n));
    }
    return v;
}

/* Right after a topic's birth, or a broker's, who leads a partition is not known everywhere. */
static verdict ends_ask(struct reader *r, struct place *p, int64_t *begin, struct failure *why) {
    int64_t until = steady_ms() + ASK_MS;
    rd_kafka_resp_err_t error;
    while ((error = rd_kafka_query_watermark_offsets(r->rk, p->topic, p->partition, begin, &p->end, ASK_MS)) &&
           !denial_is(error) && steady_ms() < until)
        usleep(AGAIN_MS * 1000);
    return error ? unanswered(r, "where a partition begins and ends", error, p->topic, why) : OK;
}

verdict reader_add_part(
    struct reader *r, const char *topic, int32_t partition, int64_t next, int64_t end, struct failure *why) {
    struct place *grown = realloc(r->places, (r->places_n + 1) * sizeof *grown);
    if (!grown) return fail(why, RETRY, "out of memory");
    r->places = grown;
    struct place *p = &r->places[r->places_n++];
    *p = (struct place){.partition = partition, .begin = next, .next = next, .end = end};
    snprintf(p->topic, sizeof p->topic, "%s", topic);
    return OK;
}

verdict reader_add(struct reader *r, const char *topic, struct failure *why) {
    int32_t n = 0;
    verdict v = go_on(r, why);
    if (v == OK) v = kafka_topic(r->rk, r->settings, topic, ASK_MS, &n, why);
    for (int32_t i = 0; v == OK && i < n; i++) {
        if ((v = reader_add_part(r, topic, i, 0, 0, why)) != OK) break;
        struct place *p = &r->places[r->places_n - 1];
        v = ends_ask(r, p, &p->begin, why);
        p->next = p->begin;
    }
    return v;
}

struct place *reader_places(struct reader *r, size_t *n) {
    *n = r->places_n;
    return r->places;
}

verdict reader_extend(struct reader *r, struct failure *why) {
    int64_t begin;
    verdict v = OK;
    for (size_t i = r->at = 0; v == OK && i < r->places_n; i++) v = ends_ask(r, &r->places[i], &begin, why);
    return v;
}

verdict reader_since(struct reader *r, int64_t moment, struct failure *why) {
    places_auto *list = rd_kafka_topic_partition_list_new((int)r->places_n);
    for (size_t i = 0; i < r->places_n; i++)
        rd_kafka_topic_partition_list_add(list, r->places[i].topic, r->places[i].partition)->offset = moment;
    rd_kafka_resp_err_t error = rd_kafka_offsets_for_times(r->rk, list, ASK_MS);
    for (size_t i = 0; !error && i < r->places_n; i++)
        r->places[i].next = list->elems[i].offset >= 0 ? list->elems[i].offset : r->places[i].end;
    return error ? unanswered(r, "what was there at a moment", error, r->places_n ? r->places[0].topic : "", why) : OK;
}

/* --- Reading */

/* All of them, so that the first records of each are under way while those of another are waited for. */
static verdict places_start(struct reader *r, struct failure *why) {
    for (size_t i = 0; i < r->places_n; i++) {
        struct place *p = &r->places[i];
        if (p->handle || p->next >= p->end) continue;
        p->handle = rd_kafka_topic_new(r->rk, p->topic, NULL);
        if (p->handle && !rd_kafka_consume_start(p->handle, p->partition, p->next)) continue;
        const char *reason = rd_kafka_err2str(rd_kafka_last_error());
        if (p->handle) rd_kafka_topic_destroy(p->handle);
        p->handle = NULL;
        return fail(why, RETRY, "could not read %s[%d] from Kafka: %s", p->topic, p->partition, reason);
    }
    return OK;
}

/* What is no record: the end of the partition, or why none comes now, which may pass. */
static verdict place_told(struct reader *r, struct place *p, const rd_kafka_message_t *m, struct failure *why) {
    char reason[DENIAL_TEXT];
    if (m->err == RD_KAFKA_RESP_ERR__PARTITION_EOF && m->offset >= p->end) p->next = p->end;
    if (m->err == RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET || m->err == RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE)
        return fail(
            why, REJECT, "%s[%d] has no offset %lld any more: it was cut, or made anew", p->topic, p->partition,
            (long long)p->next);
    if (!denial_is(m->err)) return OK;
    return fail(why, RETRY, "%s", denial_text(r->settings, (struct right){"Read", "topic", p->topic}, reason));
}

static verdict place_quiet(
    const struct reader *r, const struct place *p, int wait_ms, rd_kafka_resp_err_t error, struct failure *why) {
    char reason[DENIAL_TEXT];
    rd_kafka_poll(r->rk, 0); /* what it says of its connections */
    denial_reason(r->settings, error, (struct right){"Read", "topic", p->topic}, reason);
    return fail(
        why, RETRY, "Kafka at %s did not give %s[%d] from offset %lld on within %d s: %s", r->settings->kafka, p->topic,
        p->partition, (long long)p->next, wait_ms / 1000, reason);
}

verdict reader_get(struct reader *r, struct place *p, int wait_ms, rd_kafka_message_t **out, struct failure *why) {
    int64_t until = steady_ms() + wait_ms;
    rd_kafka_resp_err_t error = RD_KAFKA_RESP_ERR__TIMED_OUT;
    *out = NULL;
    verdict v = places_start(r, why);
    while (v == OK && !*out && p->next < p->end) {
        rd_kafka_message_t *m = rd_kafka_consume(p->handle, p->partition, wait_ms < POLL_MS ? wait_ms : POLL_MS);
        if (m && !m->err && m->offset >= p->next) {
            bool within = m->offset < p->end;
            p->next = within ? m->offset + 1 : p->end; /* a gap before the end */
            if (within) *out = m;
        } else if (m && m->err) {
            v = place_told(r, p, m, why);
            if (m->err != RD_KAFKA_RESP_ERR__PARTITION_EOF) error = m->err;
        }
        if (m && !*out) rd_kafka_message_destroy(m);
        if (v != OK || *out || p->next >= p->end || steady_ms() < until) continue;
        return p->end == INT64_MAX ? OK : place_quiet(r, p, wait_ms, error, why);
    }
    if (p->next >= p->end) place_stop(p);
    return v;
}

verdict reader_next(struct reader *r, rd_kafka_message_t **out, struct failure *why) {
    verdict v = OK;
    *out = NULL;
    while (v == OK && !*out && r->at < r->places_n) {
        v = reader_get(r, &r->places[r->at], QUIET_MS, out, why);
        if (v == OK && !*out) r->at++;
    }
    return v == REJECT ? (why->kind = RETRY) : v;
}

verdict reader_each(
    struct reader *r, verdict (*each)(void *context, const rd_kafka_message_t *m, struct failure *why), void *context,
    struct failure *why) {
    rd_kafka_message_t *m = NULL;
    verdict v = OK;
    while (v == OK && (v = reader_next(r, &m, why)) == OK && m) {
        v = each(context, m, why);
        rd_kafka_message_destroy(m);
        if (v == OK) v = go_on(r, why);
    }
    return v;
}

/* --- What a record says */

static verdict registry_open(struct reader *r, struct failure *why) {
    const struct settings *s = r->settings;
    if (!(r->health = health_new())) return fail(why, RETRY, "out of memory");
    struct registry_options o = {
        .url = s->registry,
        .user = *s->registry_user ? s->registry_user : NULL,
        .password = *s->registry_password ? s->registry_password : NULL,
        .timeout_ms = (int)s->registry_timeout_ms,
        .unknown_id_ms = (int)s->unknown_id_ms,
        .health = r->health};
    return registry_start(&r->registry, &o, why);
}

/* Each id is asked for once, so the wait is short. One that the registry does not know is rejected only after
 * unknown_id_ms. */
static verdict schema_await(struct reader *r, int32_t id, struct failure *why) {
    int64_t until = steady_ms() + 3 * r->settings->registry_timeout_ms + r->settings->unknown_id_ms;
    verdict v;
    schema_free(&r->schema);
    while ((v = registry_schema(r->registry, id, &r->patience, &r->schema, why)) == RETRY && steady_ms() < until)
        usleep(SCHEMA_POLL_MS * 1000);
    return v;
}

verdict reader_written(
    struct reader *r, const rd_kafka_message_t *m, const char **type, struct written *out, struct failure *why) {
    const void *body;
    size_t n;
    int32_t id;
    *out = (struct written){0};
    verdict v = frame_read(m->payload, m->len, &id, &body, &n, why);
    if (v == OK && !r->registry) v = registry_open(r, why);
    if (v == OK) v = schema_await(r, id, why);
    if (v == OK && type) *type = schema_name(r->schema);
    return v == OK ? codec_read(r->schema, body, n, out, why) : v;
}

verdict
reader_decode(struct reader *r, const rd_kafka_message_t *m, const char **type, json_t **out, struct failure *why) {
    struct written w;
    verdict v = reader_written(r, m, type, &w, why);
    if (v == OK && !(*out = (json_t *)written_json(&w))) /* which had nothing else */
        v = fail(why, RETRY, "could not decode a record: out of memory");
    return v;
}
