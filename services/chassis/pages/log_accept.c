#include "chassis/pages/log_accept.h"

#include "chassis/audit/audit.h"
#include "chassis/base/json_get.h"
#include "chassis/incoming/consumer.h"
#include "chassis/kafka/client.h"
#include "chassis/pages/page.h"
#include "chassis/web/idempotency.h"

#include <stdio.h>
#include <string.h>

enum { ASK_MS = 5000 };

struct wish {
    const char *topic, *from;
    int64_t partition; /* −1: all */
};

/* False: refused. */
static bool wish_read(struct exchange *x, const json_t *sent, struct wish *w) {
    const json_t *partition = json_object_get(sent, "partition");
    w->topic = json_string_value(json_object_get(sent, "topic"));
    w->from = json_string_value(json_object_get(sent, "from"));
    w->partition = json_is_integer(partition) ? json_integer_value(partition) : -1;
    if (!w->topic) exchange_problem_field(x, "topic", "is missing; send the topic's whole name");
    if (!w->from || (strcmp(w->from, "beginning") && strcmp(w->from, "end") && strcmp(w->from, "here")))
        exchange_problem_field(
            x, "from", "\"%.60s\" is not one of beginning, end, here", w->from ? w->from : "(nothing)");
    if (partition && !json_is_integer(partition)) exchange_problem_field(x, "partition", "is not a whole number");
    return exchange_fields_ok(x, 422, "Nothing was changed: the decision cannot be understood.");
}

/* What is held and meant: [{"topic","partition","next","held",…}]. */
static json_t *held_find(struct runtime *rt, const struct wish *w) {
    int64_t oldest;
    json_auto_t *all = page_partitions(rt, &oldest);
    json_t *found = json_array();
    json_each(i, one, all) {
        bool meant = !strcmp(json_get_text(one, "topic"), w->topic) &&
                     (w->partition < 0 || json_get_int(one, "partition") == w->partition);
        if (meant && json_is_string(json_object_get(one, "held"))) json_array_append(found, one);
    }
    return found;
}

/* Asked by a client of its own, since the consumer's thread must not wait. Sets "was" and "next". */
static verdict places_ask(struct runtime *rt, const struct wish *w, json_t *held, struct failure *why) {
    static const struct property none[] = {{0}};
    rd_kafka_t *rk;
    verdict v = kafka_open(&rk, RD_KAFKA_CONSUMER, rt->core.settings, NULL, NULL, none, why);
    if (v != OK) return v;
    json_each(i, one, held) {
        int64_t low = 0, end = 0;
        int32_t id = (int32_t)json_get_int(one, "partition");
        rd_kafka_resp_err_t error =
            v == OK ? rd_kafka_query_watermark_offsets(rk, w->topic, id, &low, &end, ASK_MS) : 0;
        if (error)
            v = fail(why, RETRY, "Kafka does not say where %s[%d] begins: %s", w->topic, id, rd_kafka_err2str(error));
        json_object_set(one, "was", json_object_get(one, "next"));
        if (strcmp(w->from, "here")) json_object_set_new(one, "next", json_integer(*w->from == 'e' ? end : low));
    }
    rd_kafka_destroy(rk);
    return v;
}

static void audit_decision(struct connection *c, const struct wish *w, const json_t *one) {
    char summary[900];
    snprintf(
        summary, sizeof summary, "%s[%d]: from %s, offset %lld, after offset %lld was next: %s", w->topic,
        (int)json_get_int(one, "partition"), w->from, json_get_int(one, "next"), json_get_int(one, "was"),
        json_get_text(one, "held"));
    audit_append(
        c,
        &(struct audit_row){.action = "accept another log", .outcome = "accepted", .actor = "api", .summary = summary});
}

/* What is counted (audit_heads.h) begins anew with it. */
static void log_change(struct connection *c, const char *topic, int64_t partition, int64_t next) {
    (void)store_run(
        c,
        "UPDATE consumer_offset SET next_offset = ?, first_offset = ?, mark = NULL, cluster = NULL, log = log + 1 WHERE topic = ? AND partition = ?",
        value_int(next), value_int(next), value_text(topic), value_int(partition));
    (void)store_run(
        c,
        "INSERT INTO chain_emitted (chain, first_offset, n) "
        "SELECT topic || '/' || partition, next_offset, 0 FROM consumer_offset WHERE topic = ? AND partition = ? "
        "ON CONFLICT (chain) DO UPDATE SET first_offset = excluded.first_offset, n = 0",
        value_text(topic), value_int(partition));
}

static verdict decide(struct exchange *x, const struct wish *w, json_t *held, struct failure *why) {
    struct runtime *rt = x->context;
    verdict v = places_ask(rt, w, held, why);
    if (v != OK) return v;
    struct connection *c = store_begin(rt->core.store);
    json_each(i, one, held) {
        log_change(c, w->topic, json_get_int(one, "partition"), json_get_int(one, "next"));
        audit_decision(c, w, one);
    }
    x->data = json_pack("{s:O}", "accepted", held);
    v = exchange_commit(x, c, why);
    if (v == OK) consumer_log_accepted(rt->consumer);
    return v;
}

void log_accept_post(struct exchange *x) {
    struct wish w;
    struct failure why;
    json_auto_t *sent = exchange_sent(x, SENT_JSON, "Send the decision as application/json.", "Nothing was changed");
    if (!sent || !wish_read(x, sent, &w)) return;
    json_auto_t *held = held_find(x->context, &w);
    if (!json_array_size(held))
        exchange_problem(
            x, 409, "Nothing was changed: no such partition of \"%.100s\" is held because its log is another one.",
            w.topic);
    else if (decide(x, &w, held, &why) != OK)
        exchange_problem(x, 503, "Nothing was changed: %s.", why.text);
}
