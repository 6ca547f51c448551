/* published: the topics that a service owns, each with what it is made with and what its records carry. Who makes and
 * fills them (relay, heads, snapshots) and who describes them (asyncapi) go by these alone. */
#pragma once

#include "chassis/base/settings.h"

#include <stdbool.h>
#include <stddef.h>

struct header {
    const char *name, *form, *doc; /* form: a regular expression that all its values match */
    bool optional;
};

struct topic_spec {
    const char *ending; /* "events": of <service>.events */
    const char *doc;
    int partitions;
    const struct property *config; /* ends with {0} */
    const struct header *headers;  /* ends with {0} */
    bool more_headers;             /* records may carry others too */
};

extern const struct topic_spec topic_spec_events, topic_spec_letters, topic_spec_heads, topic_spec_snapshots;

/* Where each is in topic_spec_events.headers, and in topic_spec_letters.headers. */
enum event_header {
    CE_SPECVERSION,
    CE_ID,
    CE_TYPE,
    CE_SOURCE,
    CE_TIME,
    CONTENT_TYPE,
    TRACEPARENT,
    CE_SEQUENCE,
    CE_RECEIVEDTIME,
    EVENT_HEADERS
};
enum letter_header {
    LETTER_REASON,
    LETTER_SERVICE,
    LETTER_TOPIC,
    LETTER_PARTITION,
    LETTER_OFFSET,
    LETTER_ANSWERED_AT,
    LETTER_REDRIVEN,
    LETTER_OMITTED_BYTES,
    LETTER_OMITTED_KEY_BYTES,
    LETTER_OMITTED_HEADERS,
    LETTER_HEADERS
};

/* A topic's or group's name without the namespace, in place. NULL: it is in another one. */
const char *name_unscoped(const struct settings *s, const char *name);

/* Where NAME of "demo.NAME.events" begins, for the ending ".events", and how long it is. 0: this is no such topic of
 * the namespace. */
size_t topic_owner(const struct settings *s, const char *topic, const char *ending, const char **owner);

/* "legal.events", with the namespace before it: of another service, and of the settings' own. Both return out. */
const char *
topic_spec_of(const struct topic_spec *p, const char *service, const struct settings *s, char *out, size_t size);
const char *topic_spec_name(const struct topic_spec *p, const struct settings *s, char *out, size_t size);
