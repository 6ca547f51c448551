#include "chassis/events/reaction.h"
#include "chassis/audit/audit.h"
#include "chassis/events/outbox.h"

#include "chassis/avro/codec.h"
#include "chassis/base/format.h"
#include "chassis/base/log.h"
#include "chassis/base/metrics.h"
#include "chassis/base/settings.h"
#include "chassis/events/by_hand.h"
#include "chassis/events/dead_letter.h"
#include "chassis/events/record.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SUMMARY_MAX = 1000 };

struct reaction_private {
    const struct core *core;
    struct record *record;
    struct failure failure; /* of an emit, with kind OK while there is none */
    const char *outcome, *action, *said;
    char summary[SUMMARY_MAX];
};

/* --- What a handler calls */

/* The first of them is the answer. Each must be one that could be published. */
static void reply_emit(struct reaction_private *p, const char *type, json_t *fields) {
    const char *name = outbox_type(p->core->outbox, type);
    if (!name && p->failure.kind == OK)
        (void)!fail(&p->failure, REJECT, "could not answer with a %s: this service has no such schema", type);
    else if (!fields && p->failure.kind == OK)
        (void)!fail(&p->failure, RETRY, "could not answer with a %s: no memory for its fields", type);
    if (p->record->reply->event_type || !name) {
        json_decref(fields);
        return;
    }
    p->record->reply->event_type = name;
    p->record->reply->fields = fields;
}

void reaction_emit(struct reaction *r, const char *type, json_t *fields) {
    reaction_emit_for(r, r->event->return_id, r->event->version, type, fields);
}

void reaction_emit_for(struct reaction *r, const char *return_id, int64_t version, const char *type, json_t *fields) {
    struct reaction_private *p = r->private;
    if (p->record->reply) {
        reply_emit(p, type, fields);
        return;
    }
    if (p->record->answered_at) { /* what it publishes was published before */
        json_decref(fields);
        return;
    }
    struct outgoing e = {
        .type = type,
        .return_id = return_id,
        .key = return_id ? NULL : r->event->key,
        .version = version,
        .caused_by = &r->event->id,
        .trace_parent = r->event->trace_parent,
        .fields = fields,
        .received_at = r->event->received_at,
        .at = r->now,
    };
    struct failure why;
    struct replayed *again = p->record->replayed;
    verdict v = again ? again->emit(again, &e, &why) : outbox_add(p->core->outbox, r->store, &e, NULL, &why);
    if (v == OK && !again) audit_emitted(r->store, r->event->topic, r->event->partition, r->event->offset);
    if (v != OK && p->failure.kind == OK) p->failure = why;
}

void reaction_audit(struct reaction *r, const char *outcome, const char *action, const char *summary_format, ...) {
    struct reaction_private *p = r->private;
    p->outcome = outcome;
    p->action = action;
    p->said = p->summary;
    format_arguments(p->summary, summary_format);
}

verdict reaction_answered(const struct reaction *r, struct failure *why) {
    return fail(why, REJECT, "return \"%s\" was answered before, by another event", r->event->return_id);
}

bool reaction_policy_is(const struct reaction *r, const char *name, const char *value) {
    const struct core *core = r->private->core;
    char usual[100] = "", now[100];
    for (const struct policy *p = core->service->policies; p && p->name; p++)
        if (!strcmp(p->name, name)) snprintf(usual, sizeof usual, "%.*s", (int)strcspn(p->values, " "), p->values);
    return !strcmp(settings_policy(core->settings, name, usual, now, sizeof now), value);
}

/* --- Applying */

/* A redrive has no place in a topic: that one's row is the quarantine's. Nor has a call. */
static void
audit_record(struct connection *c, struct record *r, const char *outcome, const char *action, const char *summary) {
    bool from_topic = !r->redriven_by && !r->reply;
    char trace[TRACE_ID], redriven[SUMMARY_MAX + 500];
    if (r->redriven_by)
        snprintf(
            redriven, sizeof redriven, "redriven from %s[%d]@%lld: %s", r->raw.topic, r->raw.partition,
            (long long)r->raw.offset, summary);
    r->outcome = outcome;
    if (r->replayed) return;
    if (r->reply) {
        r->reply->outcome = outcome;
        snprintf(r->reply->action, sizeof r->reply->action, "%s", action);
        snprintf(r->reply->summary, sizeof r->reply->summary, "%s", summary);
    }
    audit_append(
        c, &(struct audit_row){
               .action = action,
               .outcome = outcome,
               .actor = r->redriven_by ? r->redriven_by : r->source,
               .return_id = r->event.return_id,
               .event_id = r->has_id ? &r->event.id : NULL,
               .event_type = r->event.type,
               .topic = from_topic ? r->event.topic : NULL,
               .partition = r->event.partition,
               .offset = r->event.offset,
               .summary = r->redriven_by ? redriven : summary,
               .trace_id = trace_id(r->trace, trace)});
}

static void quarantine(const struct core *core, struct connection *c, struct record *r, const char *reason) {
    int64_t now = clock_ms(), id = dead_letter_keep(c, &r->raw, now, reason);
    if (!core->service->in_memory) dead_letter_publish(c, id, r->trace, now);
    audit_record(c, r, "quarantined", "quarantine", reason);
}

static const struct handler *handler_of(const struct service *s, const char *type) {
    const struct handler *any = NULL;
    for (const struct handler *h = s->handlers; h && h->type; h++) {
        if (!strcmp(h->type, type)) return h;
        if (!strcmp(h->type, "*")) any = h;
    }
    return any;
}

const char *event_name(const char *type) {
    const char *dot = strrchr(type, '.');
    return dot ? dot + 1 : type;
}

/* The handled event of this name in another namespace, which the topic's owner publishes: whoever made it meant that
 * one, so it is not passed over like an event that nobody here knows. NULL: there is none. */
static const char *namesake_of(const struct service *s, const struct event *e) {
    const char *name = event_name(e->type);
    size_t n = strlen(e->source);
    for (const struct handler *h = s->handlers; h && h->type; h++) {
        const char *known = event_name(h->type), *owner = h->type;
        if (strcmp(known, name) != 0 || !strcmp(h->type, e->type) || (size_t)(known - h->type) < n + 1) continue;
        owner = known - n - 1;
        if (!strncmp(owner, e->source, n) && owner[n] == '.' && (owner == h->type || owner[-1] == '.')) return h->type;
    }
    return NULL;
}

/* What a rebuild rejected may have been answered before that. It may come back in another record than its letter's,
 * which then is the letter's redrive. True: it does. */
static bool answered_look(const struct core *core, struct connection *c, struct record *r) {
    if (!core->answered || r->answered_at || r->replayed || r->reply) return false;
    r->answered_at = store_int(
        c, 0, "SELECT answered_at FROM dead_letter WHERE event_id = ? AND answered_at > 0",
        value_blob(r->event.id.bytes, 16));
    if (r->answered_at) r->now = r->answered_at;
    return r->answered_at;
}

static void answered_done(const struct core *core, struct connection *c, const struct record *r) {
    int64_t letter;
    while (
        (letter = store_int(
             c, 0, "SELECT id FROM dead_letter WHERE event_id = ? AND answered_at > 0 AND state = 'open' LIMIT 1",
             value_blob(r->event.id.bytes, 16))))
        by_hand_redrive(core, c, letter, r);
}

/* The handler's effect and its audit row. REJECT: the caller takes back what was done. */
static verdict
handle(const struct core *core, struct connection *c, struct record *r, const struct handler *h, struct failure *why) {
    struct reaction_private private = {
        .core = core, .record = r, .outcome = "handled", .action = "handle", .said = r->event.type};
    if (!r->now) r->now = clock_ms();
    struct reaction reaction = {&r->event, c, r->now, &private};
    _Alignas(max_align_t) char fields[1024];
    if (h->size > sizeof fields)
        return fail(why, FATAL, "the projection of %s is larger than %zu bytes", h->type, sizeof fields);
    verdict v = h->fields ? project(&r->written, h->fields, h->fields_n, fields, why) : OK;
    if (v == OK) v = h->handle(&reaction, h->fields ? fields : NULL, why);
    if (v == OK && private.failure.kind != OK) v = fail(why, private.failure.kind, "%s", private.failure.text);
    if (v == OK) audit_record(c, r, private.outcome, private.action, private.said);
    if (v == OK && store_state(c) == REJECT) v = fail(why, REJECT, "%s", store_error(c));
    return v;
}

/* REJECT: nothing of it is left. Errors of the database are sticky. */
static verdict handle_once(
    const struct core *core, struct connection *c, struct record *r, const struct handler *h, bool careful,
    struct failure *why) {
    if (careful) store_savepoint(c);
    struct value id = value_blob(r->event.id.bytes, sizeof r->event.id.bytes);
    if (!store_run(c, "INSERT INTO event_seen (event_id) VALUES (?) ON CONFLICT DO NOTHING", id)) {
        audit_record(c, r, "duplicate", "ignore", "this event had its effect before");
    } else {
        bool again = answered_look(core, c, r);
        verdict v = handle(core, c, r, h, why);
        if (v == RETRY || v == FATAL) store_spoil(c, v, why->text); /* not the event's fault: nothing is kept */
        if (store_state(c) == RETRY || store_state(c) == FATAL) return OK;
        r->half_done = v == REJECT && !careful;
        if (v == REJECT && careful) store_undo(c);
        if (v == REJECT) return REJECT;
        if (again) answered_done(core, c, r);
    }
    if (careful) store_release(c);
    return OK;
}

static verdict
apply(const struct core *core, struct connection *c, struct record *r, bool careful, struct failure *why) {
    if (r->state != OK) return fail(why, REJECT, "%s", r->why.text);
    const struct handler *h = handler_of(core->service, r->event.type);
    bool is_named = h && strcmp(h->type, "*") != 0;
    const char *namesake = is_named ? NULL : namesake_of(core->service, &r->event);
    if (namesake)
        return fail(
            why, REJECT,
            "the event is a %.150s, which is not known here, but %.150s is: the same name in another namespace. Publish "
            "it as that, or redrive it once this service handles it",
            r->event.type, namesake);
    if (h) return handle_once(core, c, r, h, careful, why);
    audit_record(c, r, "skipped", "skip", "an event of no concern to this service");
    return OK;
}

bool record_apply(const struct core *core, struct connection *c, struct record *r, bool careful) {
    struct failure why;
    r->half_done = false;
    r->answered_at = 0; /* of the careless try */
    if (apply(core, c, r, careful, &why) == REJECT && !r->half_done) {
        r->why = why;
        quarantine(core, c, r, why.text);
    }
    return !r->half_done;
}

void record_count(const struct record *r) {
    char trace[TRACE_ID];
    if (!strcmp(r->outcome, "duplicate")) metric_add(METRIC_events_duplicate, 1);
    if (!strcmp(r->outcome, "skipped")) metric_add(METRIC_events_skipped, 1);
    if (strcmp(r->outcome, "quarantined") != 0) return;
    metric_add(METRIC_events_quarantined, 1);
    log_line(
        LOG_WARNING, "record quarantined", "topic", r->event.topic, "reason", r->why.text, "trace",
        trace_id(r->trace, trace), NULL);
}

verdict record_apply_asked(const struct core *core, struct connection *c, struct record *r, struct failure *why) {
    verdict v = apply(core, c, r, true, why);
    if (v == REJECT) audit_record(c, r, "refused", r->reply ? "answer a call" : "redrive", why->text);
    return v;
}
