#include "chassis/kafka/topics.h"

#include "chassis/base/json_get.h"
#include "chassis/base/log.h"
#include "chassis/base/utf8.h"
#include "chassis/kafka/admin.h"
#include "chassis/kafka/client.h"
#include "chassis/kafka/denial.h"
#include "chassis/kafka/raw.h"
#include "chassis/kafka/topic_spec.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_SIZE = 400, ANSWER_MS = 10000, KEY_SIZE = 256 };

struct topics {
    const struct settings *settings;
    const atomic_bool *stop;
    struct reader *reader; /* of the topic that was looked at last */
    struct admin admin;    /* asks for groups. Without rk: none were asked for yet */
};

verdict topics_open(struct topics **out, const struct settings *s, const atomic_bool *stop, struct failure *why) {
    struct topics *t = *out = calloc(1, sizeof *t);
    if (!t) return fail(why, RETRY, "out of memory");
    t->settings = s;
    t->stop = stop;
    return reader_open(&t->reader, s, why);
}

void topics_close(struct topics **out) {
    struct topics *t = *out;
    if (!t) return;
    if (t->admin.answers) rd_kafka_queue_destroy(t->admin.answers);
    if (t->admin.rk) rd_kafka_destroy_flags(t->admin.rk, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
    reader_close(&t->reader);
    free(t);
    *out = NULL;
}

/* --- Which there are */

verdict topics_find(struct topics *t, const char *ending, json_t **names, struct failure *why) {
    json_auto_t *all = NULL;
    const char *name;
    verdict v = reader_topics(t->reader, &all, why);
    if (v == OK) *names = json_array();
    json_each(i, one, all)
        if (topic_owner(t->settings, json_string_value(one), ending, &name))
            json_array_append_new(*names, json_string(name));
    return v;
}

/* --- Groups */

static verdict client_open(struct topics *t, struct failure *why) {
    /* For the same reason as in subscribers.c. It joins none, so it is no matter whether it may. */
    char group[NAME_SIZE], name[NAME_SIZE];
    snprintf(name, sizeof name, "%s.look", t->settings->service);
    const struct property properties[] = {{"group.id", settings_scoped(t->settings, name, group, sizeof group)}, {0}};
    if (t->admin.rk) return OK;
    verdict v = kafka_open(&t->admin.rk, RD_KAFKA_CONSUMER, t->settings, NULL, NULL, properties, why);
    if (v != OK) return v;
    t->admin.answers = rd_kafka_queue_new(t->admin.rk);
    t->admin.wait_ms = ANSWER_MS;
    return OK;
}

static verdict
group_ask(struct topics *t, const char *group, const char *topic, int partitions, json_t *out, struct failure *why) {
    const rd_kafka_topic_partition_list_t *found;
    rd_kafka_resp_err_t error;
    rd_kafka_topic_partition_list_t *wanted = rd_kafka_topic_partition_list_new(partitions);
    rd_kafka_topic_partition_list_add_range(wanted, topic, 0, partitions - 1);
    rd_kafka_event_t *event = admin_offsets(&t->admin, group, wanted, &found, &error);
    rd_kafka_topic_partition_list_destroy(wanted);
    if (!event)
        return kafka_unanswered(
            t->admin.rk, t->settings, "how far a consumer group is", error, (struct right){"Describe", "group", group},
            why);
    for (int i = 0; i < found->cnt; i++) {
        char partition[24];
        if (found->elems[i].offset >= 0)
            json_object_set_new(
                out, log_number(partition, found->elems[i].partition), json_integer(found->elems[i].offset));
    }
    rd_kafka_event_destroy(event);
    return OK;
}

verdict topics_groups(struct topics *t, const char *topic, json_t **groups, struct failure *why) {
    const rd_kafka_ConsumerGroupListing_t **all;
    rd_kafka_resp_err_t error;
    const struct place *places;
    char scoped[NAME_SIZE];
    size_t n, parts;
    verdict v = topics_look(t, topic, &places, &parts, why);
    *groups = json_object();
    if (v == OK && parts) v = client_open(t, why);
    if (v != OK || !parts) return v;
    rd_kafka_event_t *event = admin_groups(&t->admin, &all, &n, &error);
    if (!event)
        return kafka_unanswered(
            t->admin.rk, t->settings, "which consumer groups there are", error,
            (struct right){"Describe", "cluster", ""}, why);
    settings_scoped(t->settings, topic, scoped, sizeof scoped);
    for (size_t i = 0; v == OK && i < n; i++) {
        const char *group = rd_kafka_ConsumerGroupListing_group_id(all[i]), *name = name_unscoped(t->settings, group);
        if (!name || strchr(name, '.')) continue;
        json_auto_t *offsets = json_object();
        v = group_ask(t, group, scoped, (int)parts, offsets, why);
        if (json_object_size(offsets)) json_object_set(*groups, name, offsets);
    }
    rd_kafka_event_destroy(event);
    return v;
}

/* --- Reading */

verdict topics_look(struct topics *t, const char *topic, const struct place **places, size_t *n, struct failure *why) {
    char scoped[NAME_SIZE];
    *n = 0;
    reader_clear(t->reader);
    if (t->stop && *t->stop) return fail(why, RETRY, "it was stopped");
    verdict v = reader_add(t->reader, settings_scoped(t->settings, topic, scoped, sizeof scoped), why);
    if (v == OK) *places = reader_places(t->reader, n);
    if (*n > TOPIC_PARTITIONS) v = fail(why, RETRY, "%s has more than %d partitions", scoped, TOPIC_PARTITIONS);
    return v == REJECT ? OK : v;
}

const char *topic_header(const struct topic_record *r, const char *name, char *out, size_t size) {
    return message_header(r->message, name, out, size);
}

static verdict record_give(
    struct topics *t, const rd_kafka_message_t *m, void (*each)(void *context, const struct topic_record *r),
    void *context, struct failure *why) {
    char key[KEY_SIZE];
    json_t *data = NULL;
    const char *type = NULL;
    verdict v = reader_decode(t->reader, m, &type, &data, why);
    struct topic_record r = {
        .partition = m->partition,
        .offset = m->offset,
        .at = kafka_time(m),
        .type = data ? type : "",
        .data = data,
        .message = m};
    if (m->key && m->key_len < sizeof key && utf8_valid(m->key, m->key_len) && !memchr(m->key, 0, m->key_len)) {
        memcpy(key, m->key, m->key_len);
        key[m->key_len] = '\0';
        r.key = key;
    }
    if (v == OK || v == REJECT) each(context, &r);
    json_decref(data);
    return v == REJECT ? OK : v;
}

verdict topics_read(
    struct topics *t, void (*each)(void *context, const struct topic_record *r), void *context, struct failure *why) {
    rd_kafka_message_t *m = NULL;
    verdict v;
    while ((v = reader_next(t->reader, &m, why)) == OK && m) {
        v = record_give(t, m, each, context, why);
        rd_kafka_message_destroy(m);
        if (v == OK && t->stop && *t->stop) v = fail(why, RETRY, "it was stopped");
        if (v != OK) return v;
    }
    return v;
}
