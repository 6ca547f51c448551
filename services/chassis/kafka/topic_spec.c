#include "chassis/kafka/topic_spec.h"

#include <stdio.h>
#include <string.h>

#define MOMENT "^\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d\\.\\d{3}Z$"
#define UUID "^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$"
#define NUMBER "^\\d+$"
#define AVRO "^application/avro$"

/* CloudEvents 1.0, Kafka binding, binary mode. W3C Trace Context. ce_sequence and ce_receivedtime are extensions. */
static const struct header event_headers[] = {
    [CE_SPECVERSION] = {"ce_specversion", "^1\\.0$", "The version of CloudEvents."},
    [CE_ID] = {"ce_id", UUID, "The event's event_id. A reader that has seen it ignores a second one."},
    [CE_TYPE] = {"ce_type", "^returns\\.[a-z0-9_]+\\.[A-Za-z0-9_]+$", "The full name of its schema."},
    [CE_SOURCE] = {"ce_source", "^https?://", "Where the pages of the service that published it are."},
    [CE_TIME] = {"ce_time", MOMENT, "Its occurred_at."},
    [CONTENT_TYPE] = {"content-type", AVRO, "Avro, after a zero byte and the schema's id in the registry, 4 bytes."},
    [TRACEPARENT] = {"traceparent", "^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$", "W3C Trace Context."},
    [CE_SEQUENCE] =
        {"ce_sequence", "^\\d{19}$",
         "In this order its service decided, over all partitions; also the rebuild's order."},
    [CE_RECEIVEDTIME] =
        {"ce_receivedtime", MOMENT, "When its service took up what it reacts to. Absent: a person caused it.", true},
    {0},
};
static const struct property for_ever[] = {{"retention.ms", "-1"}, {"cleanup.policy", "delete"}, {0}};
const struct topic_spec topic_spec_events = {
    "events", "What this service decided, for ever, each return's events in their order.", 6, for_ever, event_headers,
    false};

/* After those that the record came with. */
static const struct header letter_headers[] = {
    [LETTER_REASON] = {"dead-letter.reason", ".", "Why it could not be handled, for people."},
    [LETTER_SERVICE] = {"dead-letter.service", "^[a-z][a-z0-9-]*$", "Which service could not handle it."},
    [LETTER_TOPIC] = {"dead-letter.topic", "^[a-zA-Z0-9._-]+$", "The topic it was read from."},
    [LETTER_PARTITION] = {"dead-letter.partition", NUMBER, "Its partition there."},
    [LETTER_OFFSET] = {"dead-letter.offset", NUMBER, "Its offset there."},
    [LETTER_ANSWERED_AT] =
        {"dead-letter.answered-at", MOMENT,
         "Of what a rebuild rejected: the occurred_at of what was published in reaction to it before. Absent: nothing was.",
         true},
    [LETTER_REDRIVEN] =
        {"dead-letter.redriven", "^true$", "It has had its effect, by a redrive. Absent: it waits for one.", true},
    [LETTER_OMITTED_BYTES] =
        {"dead-letter.omitted-bytes", NUMBER, "How long its value was. Absent: the value is here.", true},
    [LETTER_OMITTED_KEY_BYTES] =
        {"dead-letter.omitted-key-bytes", NUMBER, "How long its key was. Absent: the key is here.", true},
    [LETTER_OMITTED_HEADERS] =
        {"dead-letter.omitted-headers", NUMBER, "How many of its headers are not here. Absent: all are.", true},
    {0},
};
static const struct property letters[] = {
    {"retention.ms", "-1"}, {"cleanup.policy", "delete"}, {"max.message.bytes", "9000000"}, {0}};
const struct topic_spec topic_spec_letters = {
    "dead-letters",
    "Records that this service could not handle: key, value and headers as they came.",
    6,
    letters,
    letter_headers,
    true};

static const struct header plain_headers[] = {{"content-type", AVRO, "As that of events.", false}, {0}};
const struct topic_spec topic_spec_heads = {
    "audit-heads",
    "Where the chains of this service's audit log stand, at intervals, and what it counted.",
    1,
    for_ever,
    plain_headers,
    false};

static const struct property compacted[] = {{"cleanup.policy", "compact"}, {"retention.ms", "-1"}, {0}};
const struct topic_spec topic_spec_snapshots = {
    "snapshots",
    "What the events of each return come to; the last record of a key counts.",
    6,
    compacted,
    plain_headers,
    false};

const char *
topic_spec_of(const struct topic_spec *p, const char *service, const struct settings *s, char *out, size_t size) {
    char name[400];
    snprintf(name, sizeof name, "%s.%s", service, p->ending);
    return settings_scoped(s, name, out, size);
}

const char *topic_spec_name(const struct topic_spec *p, const struct settings *s, char *out, size_t size) {
    return topic_spec_of(p, s->service, s, out, size);
}

const char *name_unscoped(const struct settings *s, const char *name) {
    size_t n = strlen(s->namespace);
    return !n ? name : !strncmp(name, s->namespace, n) && name[n] == '.' ? name + n + 1 : NULL;
}

size_t topic_owner(const struct settings *s, const char *topic, const char *ending, const char **owner) {
    *owner = name_unscoped(s, topic);
    size_t n = *owner ? strcspn(*owner, ".") : 0; /* in no namespace, those of others have one dot more */
    return n && !strcmp(*owner + n, ending) ? n : 0;
}
