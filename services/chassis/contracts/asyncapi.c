#include "chassis/contracts/asyncapi.h"

#include "chassis/base/assets.h"
#include "chassis/events/outbox.h"
#include "chassis/kafka/topic_spec.h"
#include "chassis/outgoing/snapshots.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define AVRO "application/vnd.apache.avro;version=1.9.0"
#define EVERY "every-service.events"

enum { NAME_SIZE = 400, INDENT = 2 };

struct document {
    const struct service *service;
    const char *name;
    json_t *channels, *operations, *traits;
};

__attribute__((format(printf, 1, 2))) static json_t *ref(const char *format, ...) {
    char text[2 * NAME_SIZE];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return json_pack("{s:s}", "$ref", text);
}

/* "ClaimFiled" of "returns.legal.ClaimFiled". */
static const char *short_name(const char *type) {
    const char *dot = strrchr(type, '.');
    return dot ? dot + 1 : type;
}

/* The service that publishes the type: "legal" of the same. */
static const char *owner_of(const char *type, char out[NAME_SIZE]) {
    const char *end = strrchr(type, '.'), *begin = end;
    while (begin && begin > type && begin[-1] != '.') begin--;
    snprintf(out, NAME_SIZE, "%.*s", (int)(end - begin), begin ? begin : "");
    return out;
}

/* --- Channels */

static json_t *kafka(json_t *binding) {
    return json_pack("{s:o}", "kafka", binding);
}

static json_t *channel_add(struct document *d, const char *topic, const char *doc, json_t *binding) {
    json_t *channel = json_pack(
        "{s:s, s:s, s:{}, s:o}", "address", topic, "description", doc, "messages", "bindings", kafka(binding));
    json_object_set_new(d->channels, topic, channel);
    return channel;
}

/* As Kafka's binding has them: numbers, and the policies as a list. */
static json_t *configuration_json(const struct property *config) {
    json_t *all = json_object();
    for (; config->name; config++) {
        bool policy = !strcmp(config->name, "cleanup.policy");
        json_t *value = policy ? json_pack("[s]", config->value) : json_integer(atoll(config->value));
        json_object_set_new(all, config->name, value);
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
            configuration_json(p->config), "bindingVersion", "0.5.0"));
}

/* Another service's topic, or its own, which is there already. */
static json_t *channel_read(struct document *d, const char *owner) {
    char topic[NAME_SIZE + sizeof ".events"], doc[2 * NAME_SIZE];
    snprintf(topic, sizeof topic, "%s.events", owner);
    snprintf(doc, sizeof doc, "Belongs to %s, whose document says how it is made.", owner);
    json_t *there = json_object_get(d->channels, topic);
    json_t *binding = there ? NULL : json_pack("{s:s, s:s}", "topic", topic, "bindingVersion", "0.5.0");
    return there ? there : channel_add(d, topic, doc, binding);
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

/* What the messages of such a topic have in common; described once. */
static json_t *trait(struct document *d, const struct topic_spec *p, bool avro) {
    if (!json_object_get(d->traits, p->ending)) {
        json_t *t = json_pack("{s:o}", "headers", headers_json(p));
        if (avro) {
            json_object_set_new(t, "contentType", json_string("application/avro"));
            json_object_set_new(
                t, "bindings",
                kafka(json_pack(
                    "{s:s, s:s, s:s, s:s}", "schemaIdLocation", "payload", "schemaIdPayloadEncoding", "confluent",
                    "schemaLookupStrategy", "TopicRecordNameStrategy", "bindingVersion", "0.5.0")));
        }
        json_object_set_new(d->traits, p->ending, t);
    }
    return json_pack("[o]", ref("#/components/messageTraits/%s", p->ending));
}

static json_t *payload(const char *folder, const char *name) {
    return json_pack("{s:s, s:o}", "schemaFormat", AVRO, "schema", ref("../../schemas/%s/%s.avsc", folder, name));
}

/* The field that is the record's key as well says so itself. */
static json_t *key_json(const json_t *schema) {
    json_t *field;
    size_t i;
    json_array_foreach(json_object_get(schema, "fields"), i, field) {
        const char *doc = json_string_value(json_object_get(field, "doc"));
        if (doc && strstr(doc, "the record's key"))
            return json_pack(
                "{s:s, s:s, s:O}", "type", "string", "description", doc, "x-field", json_object_get(field, "name"));
    }
    return json_pack("{s:s}", "type", "string");
}

static void message_key(json_t *message, json_t *key) {
    json_object_set_new(message, "bindings", kafka(json_pack("{s:o, s:s}", "key", key, "bindingVersion", "0.5.0")));
}

/* Of what it publishes: its schema is here. */
static json_t *message_own(
    struct document *d, const struct topic_spec *p, const char *type, const char *text, size_t n, const char *folder) {
    json_t *schema = json_loadb(text, n, 0, NULL), *doc = json_object_get(schema, "doc");
    json_t *message = json_pack(
        "{s:s, s:O?, s:o, s:o}", "name", type, "summary", doc, "traits", trait(d, p, true), "payload",
        payload(folder, short_name(type)));
    message_key(message, key_json(schema));
    json_decref(schema);
    return message;
}

/* By its name: the trait says of what form such names are. */
static void message_name_type(json_t *message, const char *type) {
    const char *header = topic_spec_events.headers[CE_TYPE].name;
    json_object_set_new(
        message, "headers", json_pack("{s:s, s:{s:{s:s}}}", "type", "object", "properties", header, "const", type));
}

static json_t *projection_json(const struct handler *h) {
    static const char *const types[] = {[TYPE_TEXT] = "text",    [TYPE_ID] = "text",     [TYPE_INT] = "integer",
                                        [TYPE_BOOL] = "boolean", [TYPE_MONEY] = "money", [TYPE_MOMENT] = "moment"};
    json_t *all = json_array();
    for (const struct field *f = h->fields; f && f < h->fields + h->fields_n; f++) {
        json_t *field = json_pack("{s:s, s:s}", "path", f->path, "type", types[f->type]);
        if (f->fallback) json_object_set_new(field, "fallback", json_string(f->fallback));
        json_array_append_new(all, field);
    }
    return all;
}

/* --- Operations */

static json_t *operation_add(struct document *d, const char *action, json_t *channel, const char *summary) {
    const char *topic = json_string_value(json_object_get(channel, "address")), *message;
    bool every = strchr(topic, '{');
    char id[NAME_SIZE + 16];
    json_t *messages = json_array(), *value;
    if (every) topic = EVERY;
    json_object_foreach(json_object_get(channel, "messages"), message, value) {
        bool read = *action == 's' || json_object_get(value, "x-projection") || every;
        if (read) json_array_append_new(messages, ref("#/channels/%s/messages/%s", topic, message));
    }
    snprintf(id, sizeof id, "%s.%s", action, topic);
    json_t *operation = json_pack(
        "{s:s, s:o, s:s, s:o}", "action", action, "channel", ref("#/channels/%s", topic), "summary", summary,
        "messages", messages);
    if (*action == 'r')
        json_object_set_new(
            operation, "bindings",
            kafka(json_pack(
                "{s:{s:s, s:s}, s:s}", "groupId", "type", "string", "const", d->name, "bindingVersion", "0.5.0")));
    json_object_set_new(d->operations, id, operation);
    return operation;
}

/* --- What it publishes */

struct adding {
    struct document *document;
    json_t *messages;
};

static void event_add(void *context, const char *type, const char *text, size_t n) {
    struct adding *a = context;
    json_t *message = message_own(a->document, &topic_spec_events, type, text, n, a->document->name);
    message_name_type(message, type);
    json_object_set_new(a->messages, short_name(type), message);
}

static void send_events(struct document *d, const struct outbox *outbox) {
    json_t *channel = channel_own(d, &topic_spec_events);
    struct adding all = {d, json_object_get(channel, "messages")};
    outbox_each(outbox, event_add, &all);
    if (json_object_size(all.messages)) operation_add(d, "send", channel, "What it decided.");
}

static void send_letters(struct document *d) {
    json_t *channel = channel_own(d, &topic_spec_letters), *messages = json_object_get(channel, "messages");
    json_t *message = json_pack(
        "{s:s, s:s, s:s, s:o}", "name", "DeadLetter", "summary", "A record as it came: any bytes, or none.",
        "contentType", "application/octet-stream", "traits", trait(d, &topic_spec_letters, false));
    message_key(message, json_pack("{s:s}", "description", "As it came."));
    json_object_set_new(messages, "DeadLetter", message);
    operation_add(d, "send", channel, "What it could not handle.");
}

/* A topic of one type, whose schema is that file's. */
static void
send_one(struct document *d, const struct topic_spec *p, const char *file, const char *folder, const char *summary) {
    const struct asset *a = asset_find(file);
    json_t *schema = a ? json_loadb(a->bytes, a->n, 0, NULL) : NULL;
    const char *name = json_string_value(json_object_get(schema, "name"));
    const char *space = json_string_value(json_object_get(schema, "namespace"));
    char type[NAME_SIZE];
    if (name && space) {
        snprintf(type, sizeof type, "%s.%s", space, name);
        json_t *channel = channel_own(d, p);
        json_object_set_new(
            json_object_get(channel, "messages"), name, message_own(d, p, type, a->bytes, a->n, folder));
        operation_add(d, "send", channel, summary);
    }
    json_decref(schema);
}

static void send_all(struct document *d, const struct outbox *outbox) {
    char folder[NAME_SIZE];
    const struct snapshot_source *snapshots = d->service->snapshots;
    if (d->service->in_memory) return;
    send_events(d, outbox);
    send_letters(d);
    send_one(d, &topic_spec_heads, "AuditHeads.avsc", "chassis", "Where its audit log stands.");
    snprintf(folder, sizeof folder, "%s/snapshots", d->name);
    if (snapshots) send_one(d, &topic_spec_snapshots, snapshots->schema, folder, "What events come to.");
}

/* --- What it reads */

static void handled_add(struct document *d, const struct handler *h) {
    const char *from = d->service->subscribes;
    char owner[NAME_SIZE];
    json_t *channel = channel_read(d, strcmp(from, "*") != 0 ? from : owner_of(h->type, owner));
    json_t *messages = json_object_get(channel, "messages"), *message = json_object_get(messages, short_name(h->type));
    if (!message) {
        message = json_pack(
            "{s:s, s:o, s:o}", "name", h->type, "traits", trait(d, &topic_spec_events, true), "payload",
            payload(owner_of(h->type, owner), short_name(h->type)));
        message_name_type(message, h->type);
        json_object_set_new(messages, short_name(h->type), message);
    }
    json_object_set_new(message, "x-projection", projection_json(h));
}

/* Types that it knows nothing of are read too, and what becomes of them is said here. */
static void every_add(struct document *d, bool handled) {
    json_t *channel = json_pack(
        "{s:s, s:s, s:{s:{s:s}}, s:{s:{s:s, s:s, s:o}}}", "address", "{service}.events", "description",
        "The topic of every service, also of one that comes later.", "parameters", "service", "description",
        "The service that owns it.", "messages", "Event", "name", "Event", "summary",
        "Every type; each is decoded by the schema that the registry has under the id in the record.", "traits",
        trait(d, &topic_spec_events, true));
    json_object_set_new(d->channels, EVERY, channel);
    json_t *operation = operation_add(
        d, "receive", channel,
        handled ? "Every event, of whatever type, as a whole." : "What it does not handle it skips, and notes that.");
    json_object_set_new(operation, "x-handled", json_boolean(handled));
}

static void receive_all(struct document *d) {
    bool any = false, every = !strcmp(d->service->subscribes, "*");
    const char *id;
    json_t *channel;
    for (const struct handler *h = d->service->handlers; h->type; h++)
        if (!strcmp(h->type, "*"))
            any = true;
        else
            handled_add(d, h);
    if (every) every_add(d, any);
    json_object_foreach(d->channels, id, channel) {
        json_t *messages = json_object_get(channel, "messages"), *message;
        const char *name;
        bool read = false;
        json_object_foreach(messages, name, message) read |= json_object_get(message, "x-projection") != NULL;
        if (read) operation_add(d, "receive", channel, "What it handles; other types it skips, and notes that.");
    }
}

/* --- The document */

static json_t *servers_json(void) {
    char *argv[] = {(char *)"", NULL}, *nothing[] = {NULL};
    struct settings usual;
    struct failure why;
    if (settings_read(&usual, "", 0, 1, argv, nothing, &why) != OK) return NULL;
    json_t *servers = json_pack(
        "{s:{s:s, s:s, s:s, s:{s:{s:s, s:s}}, s:o}}", "kafka", "host", "{bootstrap}", "protocol", "kafka",
        "description", "Kafka, and the Schema Registry that has the schemas; the settings kafka and registry.",
        "variables", "bootstrap", "default", usual.kafka, "description", "The setting kafka.", "bindings",
        kafka(json_pack(
            "{s:s, s:s, s:s}", "schemaRegistryUrl", usual.registry, "schemaRegistryVendor", "confluent",
            "bindingVersion", "0.5.0")));
    settings_free(&usual);
    return servers;
}

static json_t *info_json(const struct document *d) {
    return json_pack(
        "{s:s%, s:s, s:s, s:{s:s, s:s}}", "title", d->service->title, strlen(d->service->title), "version",
        CONTRACTS_VERSION, "description", d->service->duty, "license", "name", "Apache-2.0", "url",
        "https://www.apache.org/licenses/LICENSE-2.0");
}

static json_t *document_json(const struct service *service, const char *name, const struct outbox *outbox) {
    struct document d = {service, name, json_object(), json_object(), json_object()};
    send_all(&d, outbox);
    receive_all(&d);
    return json_pack(
        "{s:s, s:o, s:s, s:o, s:o, s:o, s:{s:o}}", "asyncapi", "3.0.0", "info", info_json(&d), "defaultContentType",
        "application/avro", "servers", servers_json(), "channels", d.channels, "operations", d.operations, "components",
        "messageTraits", d.traits);
}

char *asyncapi_text(const struct service *service, const char *name) {
    const struct asset *schemas;
    size_t schemas_n;
    struct outbox *outbox;
    struct failure why;
    char *text = NULL, *line = NULL;
    assets_service(&schemas, &schemas_n);
    if (outbox_open(&outbox, schemas, schemas_n, "", &why) == OK) {
        json_t *document = document_json(service, name, outbox);
        text = document ? json_dumps(document, JSON_INDENT(INDENT)) : NULL;
        json_decref(document);
    }
    outbox_close(&outbox);
    if (text && asprintf(&line, "%s\n", text) < 0) line = NULL;
    free(text);
    return line;
}

int asyncapi_main(const struct service *service, const char *name) {
    char *text = asyncapi_text(service, name);
    bool written = text && fputs(text, stdout) >= 0 && !fflush(stdout);
    if (!written) fprintf(stderr, "%s: could not write its AsyncAPI document\n", name);
    free(text);
    return written ? 0 : 1;
}
