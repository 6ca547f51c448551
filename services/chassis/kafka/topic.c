#include "chassis/kafka/topic.h"

#include "chassis/base/ids.h"
#include "chassis/kafka/client.h"
#include "chassis/kafka/denial.h"
#include "chassis/kafka/topic_spec.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ASK_MS = 10000, ASK_AGAIN_MS = 100, PATIENCE_MS = 30000 };

verdict topic_open(struct topic_reader *t, const struct settings *s, struct failure *why) {
    /* The defaults would keep 64 MB of each partition, and let a queue that was full wait for half a second. */
    static const struct property properties[] = {
        {"enable.partition.eof", "true"},
        {"auto.offset.reset", "error"},
        {"check.crcs", "true"},
        {"queued.min.messages", "4000"},
        {"queued.max.messages.kbytes", "2048"},
        {"fetch.error.backoff.ms", "5"},
        {"fetch.wait.max.ms", "20"},
        {0}};
    *t = (struct topic_reader){.settings = s};
    return kafka_open(&t->rk, RD_KAFKA_CONSUMER, s, NULL, NULL, properties, why);
}

void topic_close(struct topic_reader *t) {
    for (size_t i = 0; i < t->n; i++) {
        struct topic_part *p = &t->parts[i];
        topic_take(p);
        if (p->begun) rd_kafka_consume_stop(p->handle, p->id);
        if (p->handle) rd_kafka_topic_destroy(p->handle);
    }
    free(t->parts);
    if (t->rk) rd_kafka_destroy(t->rk);
    *t = (struct topic_reader){0};
}

char *topic_cluster(struct topic_reader *t, char out[64]) {
    char *id = rd_kafka_clusterid(t->rk, ASK_MS);
    snprintf(out, 64, "%s", id ? id : "");
    if (id) rd_kafka_mem_free(t->rk, id);
    return out;
}

/* --- Which partitions */

static verdict ends_ask(struct topic_reader *t, struct topic_part *p, int64_t *low, int64_t *end, struct failure *why) {
    int64_t deadline = steady_ms() + ASK_MS;
    rd_kafka_resp_err_t error;
    /* Right after a topic's birth, or a broker's, who leads a partition is not known everywhere. */
    while ((error = rd_kafka_query_watermark_offsets(t->rk, p->name, p->id, low, end, ASK_MS)) &&
           steady_ms() < deadline)
        usleep(ASK_AGAIN_MS * 1000);
    if (!error) return OK;
    char reason[DENIAL_TEXT];
    return fail(
        why, RETRY, "Kafka does not say where %s[%d] ends: %s", p->name, p->id,
        denial_reason(t->settings, error, (struct right){"Describe", "topic", p->name}, reason));
}

static verdict part_add(struct topic_reader *t, const char *name, int32_t id, struct failure *why) {
    struct topic_part *grown = realloc(t->parts, (t->n + 1) * sizeof *grown);
    if (!grown) return fail(why, RETRY, "out of memory");
    t->parts = grown;
    struct topic_part *p = &t->parts[t->n];
    *p = (struct topic_part){.id = id};
    snprintf(p->name, sizeof p->name, "%s", name);
    verdict v = ends_ask(t, p, &p->from, &p->until, why);
    if (v != OK) return v;
    p->next = p->from;
    p->handle = rd_kafka_topic_new(t->rk, name, NULL);
    t->n++;
    return p->handle ? OK : fail(why, RETRY, "could not read \"%s\": out of memory", name);
}

static bool is_meant(const struct settings *s, const char *topic, const char *name) {
    if (*name != '*') return !strcmp(topic, name);
    const char *owner;
    size_t n = topic_owner(s, topic, name + 1, &owner);
    return n && strspn(owner, "abcdefghijklmnopqrstuvwxyz0123456789-") == n;
}

static int by_name(const void *a, const void *b) {
    const struct topic_part *p = a, *q = b;
    int order = strcmp(p->name, q->name);
    return order ? order : p->id - q->id;
}

verdict topic_add(struct topic_reader *t, const struct settings *s, const char *name, struct failure *why) {
    const struct rd_kafka_metadata *all;
    rd_kafka_resp_err_t error = rd_kafka_metadata(t->rk, 1, NULL, &all, ASK_MS);
    char reason[DENIAL_TEXT];
    if (error)
        return fail(
            why, RETRY, "Kafka at %s does not say which topics it has: %s", s->kafka,
            denial_reason(s, error, (struct right){"Describe", "topic", name}, reason));
    verdict v = OK;
    for (int i = 0; v == OK && i < all->topic_cnt; i++) {
        const struct rd_kafka_metadata_topic *topic = &all->topics[i];
        if (topic->err || !is_meant(s, topic->topic, name)) continue;
        for (int k = 0; v == OK && k < topic->partition_cnt; k++)
            v = part_add(t, topic->topic, topic->partitions[k].id, why);
    }
    rd_kafka_metadata_destroy(all);
    if (t->n) qsort(t->parts, t->n, sizeof *t->parts, by_name);
    return v;
}

verdict topic_extend(struct topic_reader *t, struct failure *why) {
    verdict v = OK;
    for (size_t i = 0; v == OK && i < t->n; i++) {
        int64_t low;
        v = ends_ask(t, &t->parts[i], &low, &t->parts[i].until, why);
        t->parts[i].ended = false;
    }
    return v;
}

/* --- Reading */

static verdict part_begin(struct topic_part *p, struct failure *why) {
    if (p->begun || p->next >= p->until) return OK;
    if (rd_kafka_consume_start(p->handle, p->id, p->next))
        return fail(why, RETRY, "could not read %s[%d]: %s", p->name, p->id, rd_kafka_err2str(rd_kafka_last_error()));
    p->begun = true;
    return OK;
}

/* All of them, so that the first records of each are under way while those of another are waited for. */
static verdict parts_begin(struct topic_reader *t, struct failure *why) {
    verdict v = OK;
    for (size_t i = 0; v == OK && i < t->n; i++) v = part_begin(&t->parts[i], why);
    return v;
}

/* What is no record: the end of the partition, or news of the connection. */
static verdict
take_news(struct topic_reader *t, struct topic_part *p, const rd_kafka_message_t *m, struct failure *why) {
    if (m->err == RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET || m->err == RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE)
        return fail(
            why, REJECT, "%s[%d] has no offset %lld any more: it was cut, or made anew", p->name, p->id,
            (long long)p->next);
    char reason[DENIAL_TEXT];
    if (denial_is(m->err))
        return fail(why, RETRY, "%s", denial_text(t->settings, (struct right){"Read", "topic", p->name}, reason));
    /* What is before the end and is no record is a mark of a transaction. */
    if (m->err == RD_KAFKA_RESP_ERR__PARTITION_EOF && m->offset >= p->until) p->ended = true;
    return OK;
}

verdict topic_head(struct topic_reader *t, struct topic_part *p, struct failure *why) {
    int64_t until = steady_ms() + PATIENCE_MS;
    if (!p->ended && p->head && p->head->offset >= p->until) p->ended = true;
    if (p->next >= p->until) p->ended = true;
    if (p->ended || p->head) return OK;
    verdict v = parts_begin(t, why);
    while (v == OK && !p->head && !p->ended) {
        rd_kafka_message_t *m = rd_kafka_consume(p->handle, p->id, 500);
        if ((!m || m->err) && steady_ms() > until) {
            if (m) rd_kafka_message_destroy(m);
            return fail(
                why, RETRY, "Kafka did not give %s[%d] from offset %lld on within %d s", p->name, p->id,
                (long long)p->next, PATIENCE_MS / 1000);
        }
        if (!m) continue;
        if (m->err || m->offset < p->next) {
            v = m->err ? take_news(t, p, m, why) : OK;
            rd_kafka_message_destroy(m);
            continue;
        }
        p->head = m; /* also one behind `until`: it is kept for when that moves on */
        p->ended = m->offset >= p->until;
    }
    return v;
}

void topic_take(struct topic_part *p) {
    if (!p->head) return;
    p->next = p->head->offset + 1;
    rd_kafka_message_destroy(p->head);
    p->head = NULL;
}
