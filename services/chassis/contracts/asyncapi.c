#include "chassis/contracts/asyncapi.h"

#include "chassis/base/assets.h"
#include "chassis/base/json_get.h"
#include "chassis/events/outbox.h"
#include "chassis/kafka/topic_spec.h"
#include "chassis/outgoing/snapshots.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define AVRO "application/vnd.apache.avro;version=1.9.0"
#define BINDING "bindingVersion", "0.5.0" /* of each Kafka binding */
#define EVERY "every-service.events"

enum { NAME_SIZE = 400 };

struct document {
    const struct service *service;
    const char *name;
    json_t *channels, *operations, *traits;
    json_t *messages; /* of the channel that is being filled */
};

/* "ClaimFiled" of "returns.legal.ClaimFiled". */
static const char *short_name(const char *type) {
    const char *dot = strrchr(type, '.');
    return dot ? dot + 1 : type;
}

/* --- Channels */

static json_t *channel_add(struct document *d, const char *topic, const char *doc, json_t *binding) {
    json_t *channel = json_pack(
        "{s:s, s:s, s:{}, s:{s:o}}", "address", topic, "description", doc, "messages", "bindings", "kafka", binding);
    json_object_set_new(d->channels, topic, channel);
    d->messages = json_object_get(channel, "messages");
    return channel;
}

/* As Kafka's binding has them: numbers, and the policies as a list. */
static json_t *configuration_json(const struct property *config) {
    json_t *all = json_object();
    for (; config->name; config++) {
        bool policy = !strcmp(config->name, "cleanup.policy");
        json_object_set_new(
            all, config->name, policy ? json_pack("[s]", config->value) : json_integer(atoll(config->value)));
    }
    return all;
}

static json_t *channel_own(struct document *d, const struct topic_spec *p) {
    char topic[NAME_SIZE];
    snprintf(topic, sizeof topic, "%s.%s", d->name, p->ending);
    return channel_add(
        d, topic, p->doc,
        json_pack(
            "{s:s, s:i, s:o, s:s}", "topic", topic, "partitions", p->partitions, "topicConfiguration",
            configuration_json(p->config), BINDING));
}

/* --- Messages */

static json_t *headers_json(const struct topic_spec *p) {
    json_t *properties = json_object(), *required = json_array();
    for (const struct header *h = p->headers; h->name; h++) {
        json_object_set_new(
            properties, h->name,
            json_pack("{s:s, s:s, s:s}", "type", "string", "pattern", h->form, "description", h->doc));
        if (!h->optional) json_array_append_new(required, json_string(h->name));
    }
    return json_pack(
        "{s:s, s:o, s:o, s:b}", "type", "object", "required", required, "properties", properties,
        "additionalProperties", p->more_headers);
}

/* What the messages of such a topic have in common. Described once. */
static json_t *traits_json(struct document *d, const struct topic_spec *p) {
    if (p == &topic_spec_letters)
        json_object_set_new(d->traits, p->ending, json_pack("{s:o}", "headers", headers_json(p)));
    else if (!json_object_get(d->traits, p->ending))
        json_object_set_new(
            d->traits, p->ending,
            json_pack(
                "{s:o, s:s, s:{s:{s:s, s:s, s:s, s:s}}}", "headers", headers_json(p), "contentType", "application/avro",
                "bindings", "kafka", "schemaIdLocation", "payload", "schemaIdPayloadEncoding", "confluent",
                "schemaLookupStrategy", "TopicRecordNameStrategy", BINDING));
    return json_pack("[{s:o}]", "$ref", json_sprintf("#/components/messageTraits/%s", p->ending));
}

/* The field that is the record's key as well says so itself. */
static json_t *key_json(const json_t *schema) {
    json_each(i, field, json_object_get(schema, "fields")) {
        const char *doc = json_get_text(field, "doc");
        if (strstr(doc, "the record's key"))
            return json_pack(
                "{s:s, s:s, s:O}", "type", "string", "description", doc, "x-field", json_object_get(field, "name"));
    }
    return json_pack("{s:s}", "type", "string");
}

/* schema: of what it publishes, which is here. Of an event the type is in a header: the trait says of what form such
 * names are. */
static json_t *message_json(
    struct document *d, const struct topic_spec *p, const char *type, const char *folder, const json_t *schema) {
    json_t *key = schema ? json_pack("{s:{s:o, s:s}}", "kafka", "key", key_json(schema), BINDING) : NULL;
    json_t *headers = NULL;
    if (p == &topic_spec_events)
        headers =
            json_pack("{s:s, s:{s:{s:s}}}", "type", "object", "properties", p->headers[CE_TYPE].name, "const", type);
    return json_pack(
        "{s:s, s:O*, s:o, s:{s:s, s:{s:o}}, s:o*, s:o*}", "name", type, "summary", json_object_get(schema, "doc"),
        "traits", traits_json(d, p), "payload", "schemaFormat", AVRO, "schema", "$ref",
        json_sprintf("../../schemas/%s/%s.avsc", folder, short_name(type)), "bindings", key, "headers", headers);
}

static json_t *projection_json(const struct handler *h) {
    static const char *const types[] = {[TYPE_TEXT] = "text",    [TYPE_ID] = "text",     [TYPE_INT] = "integer",
                                        [TYPE_BOOL] = "boolean", [TYPE_MONEY] = "money", [TYPE_MOMENT] = "moment"};
    json_t *all = json_array();
    for (const struct field *f = h->fields; f && f < h->fields + h->fields_n; f++)
        json_array_append_new(
            all,
            json_pack(
                "{s:s, s:s, s:o*}", "path", f->path, "type", types[f->type], "fallback", json_string(f->fallback)));
    return all;
}

/* --- Operations */

static json_t *operation_add(struct document *d, const char *action, json_t *channel, const char *summary) {
    const char *topic = json_get_text(channel, "address");
    bool every = strchr(topic, '{'), receives = *action == 'r';
    char id[NAME_SIZE + 16];
    json_t *messages = json_array(), *group = NULL;
    if (every) topic = EVERY;
    json_members(m, json_object_get(channel, "messages")) {
        if (receives && !every && !json_object_get(m.value, "x-projection")) continue;
        json_array_append_new(
            messages, json_pack("{s:o}", "$ref", json_sprintf("#/channels/%s/messages/%s", topic, m.name)));
    }
    if (receives)
        group = json_pack("{s:{s:{s:s, s:s}, s:s}}", "kafka", "groupId", "type", "string", "const", d->name, BINDING);
    snprintf(id, sizeof id, "%s.%s", action, topic);
    json_t *operation = json_pack(
        "{s:s, s:{s:o}, s:s, s:o, s:o*}", "action", action, "channel", "$ref", json_sprintf("#/channels/%s", topic),
        "summary", summary, "messages", messages, "bindings", group);
    json_object_set_new(d->operations, id, operation);
    return operation;
}

/* --- What it publishes */

static void event_add(void *document, const char *type, const char *text, size_t n) {
    struct document *d = document;
    json_auto_t *schema = json_loadb(text, n, 0, NULL);
    json_object_set_new(d->messages, short_name(type), message_json(d, &topic_spec_events, type, d->name, schema));
}

/* A topic of one type, whose schema is that file's. */
static void
send_one(struct document *d, const struct topic_spec *p, const char *file, const char *folder, const char *summary) {
    const struct asset *a = asset_find(file);
    json_auto_t *schema = a ? json_loadb(a->bytes, a->n, 0, NULL) : NULL;
    char type[NAME_SIZE];
    if (!schema) return;
    snprintf(type, sizeof type, "%s.%s", json_get_text(schema, "namespace"), json_get_text(schema, "name"));
    json_t *channel = channel_own(d, p);
    json_object_set_new(d->messages, short_name(type), message_json(d, p, type, folder, schema));
    operation_add(d, "send", channel, summary);
}

static void send_all(struct document *d, const struct outbox *outbox) {
    char folder[NAME_SIZE];
    const struct snapshot_source *snapshots = d->service->snapshots;
    json_t *events = channel_own(d, &topic_spec_events);
    outbox_each(outbox, event_add, d);
    if (json_object_size(d->messages)) operation_add(d, "send", events, "What it decided.");
    json_t *letters = channel_own(d, &topic_spec_letters);
    json_object_set_new(
        d->messages, "DeadLetter",
        json_pack(
            "{s:s, s:s, s:s, s:o, s:{s:{s:{s:s}, s:s}}}", "name", "DeadLetter", "summary",
            "A record as it came: any bytes, or none.", "contentType", "application/octet-stream", "traits",
            traits_json(d, &topic_spec_letters), "bindings", "kafka", "key", "description", "As it came.", BINDING));
    operation_add(d, "send", letters, "What it could not handle.");
    send_one(d, &topic_spec_heads, "AuditHeads.avsc", "chassis", "Where its audit log stands.");
    snprintf(folder, sizeof folder, "%s/snapshots", d->name);
    if (snapshots) send_one(d, &topic_spec_snapshots, snapshots->schema, folder, "What events come to.");
}

/* --- What it reads */

/* Of another service's topic, or its own, which is there already. */
static void handled_add(struct document *d, const struct handler *h) {
    char owner[NAME_SIZE] = "", topic[NAME_SIZE + 8], doc[2 * NAME_SIZE];
    const char *subscribes = d->service->subscribes, *name = short_name(h->type);
    sscanf(h->type, "%*[^.].%399[^.]", owner);
    const char *from = strcmp(subscribes, "*") != 0 ? subscribes : owner;
    snprintf(topic, sizeof topic, "%s.events", from);
    snprintf(doc, sizeof doc, "Belongs to %s, whose document says how it is made.", from);
    json_t *channel = json_object_get(d->channels, topic);
    if (!channel) channel = channel_add(d, topic, doc, json_pack("{s:s, s:s}", "topic", topic, BINDING));
    json_t *messages = json_object_get(channel, "messages");
    if (!json_object_get(messages, name))
        json_object_set_new(messages, name, message_json(d, &topic_spec_events, h->type, owner, NULL));
    json_object_set_new(json_object_get(messages, name), "x-projection", projection_json(h));
}

/* Types that it knows nothing of are read too, and what becomes of them is said here. */
static void every_add(struct document *d, bool handled) {
    json_t *channel = json_pack(
        "{s:s, s:s, s:{s:{s:s}}, s:{s:{s:s, s:s, s:o}}}", "address", "{service}.events", "description",
        "The topic of every service, also of one that comes later.", "parameters", "service", "description",
        "The service that owns it.", "messages", "Event", "name", "Event", "summary",
        "Every type; each is decoded by the schema that the registry has under the id in the record.", "traits",
        traits_json(d, &topic_spec_events));
    json_object_set_new(d->channels, EVERY, channel);
    json_t *operation = operation_add(
        d, "receive", channel,
        handled ? "Every event, of whatever type, as a whole." : "What it does not handle it skips, and notes that.");
    json_object_set_new(operation, "x-handled", json_boolean(handled));
}

static void receive_all(struct document *d) {
    bool any = false;
    for (const struct handler *h = d->service->handlers; h->type; h++)
        if (!strcmp(h->type, "*"))
            any = true;
        else
            handled_add(d, h);
    if (!strcmp(d->service->subscribes, "*")) every_add(d, any);
    json_members(c, d->channels) {
        bool read = false;
        json_members(m, json_object_get(c.value, "messages")) read |= json_object_get(m.value, "x-projection") != NULL;
        if (read) operation_add(d, "receive", c.value, "What it handles; other types it skips, and notes that.");
    }
}

/* --- The document */

static json_t *servers_json(void) {
    char *argv[] = {(char *)"", NULL}, *nothing[] = {NULL};
    struct settings usual;
    struct failure why;
    if (settings_read(&usual, "", 0, 1, argv, nothing, &why) != OK) return NULL;
    json_t *servers = json_pack(
        "{s:{s:s, s:s, s:s, s:{s:{s:s, s:s}}, s:{s:{s:s, s:s, s:s}}}}", "kafka", "host", "{bootstrap}", "protocol",
        "kafka", "description", "Kafka, and the Schema Registry that has the schemas; the settings kafka and registry.",
        "variables", "bootstrap", "default", usual.kafka, "description", "The setting kafka.", "bindings", "kafka",
        "schemaRegistryUrl", usual.registry, "schemaRegistryVendor", "confluent", BINDING);
    settings_free(&usual);
    return servers;
}

verdict asyncapi_json(const struct service *service, const char *name, json_t **out, struct failure *why) {
    struct document d = {service, name, json_object(), json_object(), json_object(), NULL};
    struct outbox *outbox;
    verdict v = outbox_open(&outbox, own_assets, own_assets_n, "", why);
    if (v == OK && !service->in_memory) send_all(&d, outbox);
    receive_all(&d);
    outbox_close(&outbox);
    *out = json_pack(
        "{s:s, s:{s:s, s:s, s:s, s:{s:s, s:s}}, s:s, s:o, s:o, s:o, s:{s:o}}", "asyncapi", "3.0.0", "info", "title",
        service->title, "version", CONTRACTS_VERSION, "description", service->duty, "license", "name", "Apache-2.0",
        "url", "https://www.apache.org/licenses/LICENSE-2.0", "defaultContentType", "application/avro", "servers",
        servers_json(), "channels", d.channels, "operations", d.operations, "components", "messageTraits", d.traits);
    return v != OK || *out ? v : fail(why, RETRY, "out of memory");
}
