#include "support/returns/past.h"

#include "support/returns/fold.h"

#include "chassis/base/json_get.h"
#include "chassis/base/moment.h"
#include "chassis/pages/page.h"

#include <stdlib.h>
#include <string.h>

static const char self[] = "support";

const struct bound bound_now = {INT64_MAX, INT64_MAX};

/* --- What is asked for */

bool past_is_now(const struct bound *b) {
    return b->version == INT64_MAX && b->at == INT64_MAX;
}

static bool is_moment(const struct bound *b) {
    return b->at != INT64_MAX;
}

static bool bound_holds(const struct bound *b, int64_t version, int64_t at) {
    return version <= b->version && at <= b->at;
}

bool past_asked(struct exchange *x, struct bound *b) {
    const char *version = exchange_query(x, "version"), *as_of = exchange_query(x, "as_of");
    *b = bound_now;
    if (version && !*version) version = NULL; /* a field that was left empty */
    if (!page_moment(x, "as_of", &b->at)) return false;
    if (version && is_moment(b)) {
        exchange_problem(
            x, 400, "Both version \"%.60s\" and as_of \"%.60s\" are asked for; ask for one of them.", version, as_of);
        return false;
    }
    if (version && version[strspn(version, "0123456789")]) {
        exchange_problem(x, 400, "version \"%.60s\" is not a whole number; the first is 1.", version);
        return false;
    }
    if (version) b->version = strlen(version) <= 18 ? atoll(version) : INT64_MAX - 1;
    return true;
}

/* --- Support's own events */

void past_note(struct connection *c, const struct event *own) {
    (void)store_run(
        c,
        "INSERT INTO return_version (return_id, version, event_id, type, at) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        value_text(own->return_id), value_int(own->version), value_blob(own->id.bytes, sizeof own->id.bytes),
        value_text(own->type), value_int(own->occurred_at));
}

static const char refusal[] = "returns.support.CommandRejected";

int64_t past_refusals(struct connection *c, const char *return_id, int64_t version) {
    return store_int(
        c, 0, "SELECT COUNT(*) FROM return_version WHERE return_id = ? AND version = ? AND type = ?",
        value_text(return_id), value_int(version), value_text(refusal));
}

/* Where a record of support's is in its topic; then: it was there by then. */
struct place {
    bool known, then;
    int64_t partition, offset;
};

struct past {
    struct connection *reader;
    const char *return_id;
    const struct bound *bound;
    bool requested, cancelled, closed, attention;
    int64_t version, cancelled_version;
    int64_t previous, next, first, newest; /* versions; 0: none; first: the request's */
    struct place request, cancel;
    json_t *teams, *reacted, *undid; /* {team: …}; of the latter two: true when by then, false when later */
};

static bool is_own(const char *type, const char *name) {
    return !strncmp(type, "returns.support.", 16) && !strcmp(type + 16, name);
}

/* Teams undo what they did for every RefundCancelled, so the first of them counts, also after a ReturnClosed. */
static void version_fold(struct past *p, int64_t version, const char *type) {
    if (version > p->version) p->version = version;
    if (is_own(type, "RefundRequest")) p->requested = true;
    if (is_own(type, "RefundCancelled") && !p->cancelled) p->cancelled = true, p->cancelled_version = version;
    if (is_own(type, "ReturnClosed")) p->closed = true;
}

/* The versions beside it are those of other numbers, also where an event of a lower one came later. */
static void versions_fold(struct past *p) {
    static const char sql[] =
        "SELECT version, at, type FROM return_version WHERE return_id = ? AND type <> ? ORDER BY version, at, event_id";
    struct value id = value_text(p->return_id), but = value_text(refusal);
    for (struct rows r = store_rows(p->reader, sql, id, but); rows_next(&r);)
        if (bound_holds(p->bound, rows_int(&r, 0), rows_int(&r, 1))) version_fold(p, rows_int(&r, 0), rows_text(&r, 2));
    for (struct rows r = store_rows(p->reader, sql, id, but); rows_next(&r);) {
        p->newest = rows_int(&r, 0);
        if (!p->first && is_own(rows_text(&r, 2), "RefundRequest")) p->first = p->newest;
        if (p->first && p->newest < p->version) p->previous = p->newest;
        if (p->newest > p->version && !p->next) p->next = p->newest;
    }
}

/* version: 0: any. Of several records the first in the topic, as the fold of now has it. */
static struct place place_of(const struct past *p, const char *type, int64_t version) {
    struct place place = {.known = false};
    struct rows r = store_rows(
        p->reader,
        "SELECT partition, record_offset, recorded_at FROM history WHERE return_id = ? AND team = ? AND type = ? "
        "AND (version = ? OR ? = 0) ORDER BY partition, record_offset LIMIT 1",
        value_text(p->return_id), value_text(self), value_text(type), value_int(version), value_int(version));
    if (rows_next(&r)) place = (struct place){true, rows_int(&r, 2) <= p->bound->at, rows_int(&r, 0), rows_int(&r, 1)};
    rows_close(&r);
    return place;
}

/* --- The teams */

static json_t *team_add(struct past *p, const char *name) {
    json_t *team = json_object_get(p->teams, name);
    if (team) return team;
    team = json_pack("{s:s, s:b, s:n, s:n}", "team", name, "handled", 0, "event_type", "at");
    json_object_set_new(p->teams, name, team);
    return team;
}

static void reaction_fold(struct past *p, const struct rows *r) {
    const char *name = rows_text(r, 0), *type = rows_text(r, 1);
    bool then = bound_holds(p->bound, rows_int(r, 3), rows_int(r, 2));
    bool to_cancel = p->cancelled && p->cancelled_version > 1 && rows_int(r, 3) == p->cancelled_version;
    if (then || !json_object_get(p->reacted, name)) json_object_set_new(p->reacted, name, json_boolean(then));
    if (to_cancel && (then || !json_object_get(p->undid, name)))
        json_object_set_new(p->undid, name, json_boolean(then));
    if (!then) return;
    json_t *team = team_add(p, name);
    json_object_set_new(team, "event_type", json_string(type));
    json_object_set_new(team, "at", time_json(rows_int(r, 2)));
    p->attention |= fold_is_declined(type);
}

/* Every subscriber of today, and who else had published something by then. */
static void teams_fold(struct past *p) {
    for (struct rows r = store_rows(
             p->reader, "SELECT DISTINCT team FROM subscriber_offset WHERE team <> ? ORDER BY team", value_text(self));
         rows_next(&r);)
        team_add(p, rows_text(&r, 0));
    for (struct rows r = store_rows(
             p->reader,
             "SELECT team, type, at, version FROM history WHERE return_id = ? AND team <> ? "
             "ORDER BY version, at, event_id",
             value_text(p->return_id), value_text(self));
         rows_next(&r);)
        reaction_fold(p, &r);
}

static int64_t seen_at(const struct past *p, const char *team, const struct place *place) {
    return store_int(
        p->reader, 0,
        "SELECT COALESCE(MIN(seen_at), 0) FROM passed WHERE team = ? AND partition = ? AND next_offset > ?",
        value_text(team), value_int(place->partition), value_int(place->offset));
}

static bool is_put_aside(const struct past *p, const char *team, const struct place *place) {
    return store_int(
        p->reader, 0,
        "SELECT COUNT(*) FROM letter WHERE team = ? AND partition = ? AND record_offset = ? AND redriven = 0",
        value_text(team), value_int(place->partition), value_int(place->offset));
}

/* By a rebuild, after which the team published nothing more. */
static bool is_taken_back(const struct past *p, const char *team, const struct place *place) {
    return store_int(
        p->reader, 0,
        "SELECT COUNT(*) FROM letter l WHERE team = ? AND partition = ? AND record_offset = ? AND redriven = 0 AND "
        "answered_at > 0 AND NOT EXISTS (SELECT 1 FROM history h WHERE h.return_id = ? AND h.team = l.team AND "
        "h.at > l.answered_at)",
        value_text(team), value_int(place->partition), value_int(place->offset), value_text(p->return_id));
}

/* Whether the team had passed the record by then: by its events or, where it has none, by its offset. */
static bool passed_then(const struct past *p, const char *team, const struct place *place, const json_t *events) {
    const json_t *event = json_object_get(events, team);
    if (is_taken_back(p, team, place)) return false;
    if (json_is_true(event)) return true;
    if (!place->then || (event && is_moment(p->bound))) return false;
    if (is_put_aside(p, team, place)) return false;
    return seen_at(p, team, place) <= p->bound->at &&
           store_int(
               p->reader, 0,
               "SELECT COUNT(*) FROM subscriber_offset WHERE team = ? AND partition = ? AND next_offset > ?",
               value_text(team), value_int(place->partition), value_int(place->offset));
}

/* --- The return */

static void cut_team(struct past *p, const char *name, json_t *team, bool *handled, bool *undone) {
    bool silent = json_is_null(json_object_get(team, "at"));
    *handled = passed_then(p, name, &p->request, p->reacted);
    *undone = p->cancelled && passed_then(p, name, &p->cancel, p->undid);
    int64_t handled_at = *handled && silent ? seen_at(p, name, &p->request) : 0;
    int64_t undone_at = *undone && silent && p->cancel.then ? seen_at(p, name, &p->cancel) : 0;
    json_object_set_new(team, "handled", json_boolean(*handled));
    json_object_set_new(team, "compensated", p->cancelled ? json_boolean(*undone) : json_null());
    if (handled_at) json_object_set_new(team, "seen_at", time_json(handled_at));
    if (undone_at) json_object_set_new(team, "compensated_seen_at", time_json(undone_at));
}

static const char *status_of(const struct past *p, bool handled) {
    if (p->cancelled) return "cancelled";
    if (p->closed) return "closed";
    return handled ? "handled" : "requested";
}

/* What is put aside was so from when it was passed. */
static void cut_aside(struct past *p, const char *name, json_t *team, bool done) {
    const struct place *place = p->cancelled ? &p->cancel : &p->request;
    if (done || !place->then) return;
    for (struct rows r = store_rows(
             p->reader,
             "SELECT at, reason FROM letter WHERE team = ? AND partition = ? AND record_offset = ? AND redriven = 0",
             value_text(name), value_int(place->partition), value_int(place->offset));
         rows_next(&r);) {
        json_object_set_new(
            team, "put_aside",
            json_pack(
                "{s:o, s:s, s:I, s:I}", "at", time_json(rows_int(&r, 0)), "reason", rows_text(&r, 1), "partition",
                (json_int_t)place->partition, "offset", (json_int_t)place->offset));
        p->attention = true;
    }
}

static void cut_teams(struct past *p, json_t *one) {
    bool handled = p->request.known && json_object_size(p->teams), undone = p->cancelled && json_object_size(p->teams);
    bool all_handled = handled, all_undone = undone;
    json_t *list = json_array(), *team;
    const char *name;
    json_object_foreach(p->teams, name, team) {
        cut_team(p, name, team, &handled, &undone);
        cut_aside(p, name, team, p->cancelled ? undone : handled);
        all_handled = all_handled && handled, all_undone = all_undone && undone;
        json_array_append(list, team);
    }
    json_object_set_new(one, "teams", list);
    json_object_set_new(one, "compensated", p->cancelled ? json_boolean(all_undone) : json_null());
    json_object_set_new(one, "status", json_string(status_of(p, all_handled)));
}

static json_t *version_or_null(int64_t version) {
    return version ? json_integer(version) : json_null();
}

static void cut_rest(const struct past *p, json_t *one) {
    json_object_set_new(one, "version", json_integer(p->version));
    json_object_set_new(one, "attention", json_boolean(p->attention));
    json_object_set_new(one, "published", json_boolean(p->request.then));
    if (!p->request.then) json_object_set_new(one, "published_at", json_null());
    if (is_moment(p->bound))
        json_object_set_new(one, "as_of", time_json(p->bound->at));
    else
        json_object_set_new(one, "at_version", json_integer(p->bound->version));
    json_object_set_new(one, "previous", version_or_null(p->previous));
    json_object_set_new(one, "next", version_or_null(p->next));
}

bool past_cut(struct connection *reader, json_t *one, const struct bound *b) {
    struct past p = {.reader = reader, .return_id = json_get_text(one, "return_id"), .bound = b};
    if (past_is_now(b)) return true;
    versions_fold(&p);
    json_object_set_new(one, "versions", json_integer(p.newest));
    if (!p.requested || (!is_moment(b) && b->version > p.newest)) return false;
    p.teams = json_object(), p.reacted = json_object(), p.undid = json_object();
    p.request = place_of(&p, "returns.support.RefundRequest", 0);
    if (p.cancelled) p.cancel = place_of(&p, "returns.support.RefundCancelled", p.cancelled_version);
    teams_fold(&p);
    cut_teams(&p, one);
    cut_rest(&p, one);
    json_decref(p.teams), json_decref(p.reacted), json_decref(p.undid);
    return true;
}

/* --- What goes with it */

void past_cut_history(json_t *history, const struct bound *b) {
    for (size_t i = json_array_size(history); i-- > 0;) {
        const json_t *event = json_array_get(history, i);
        if (!bound_holds(b, json_integer_value(json_object_get(event, "version")), json_get_time(event, "at")))
            json_array_remove(history, i);
    }
}

void past_cut_timeline(json_t *timeline, const struct bound *b) {
    for (size_t i = json_array_size(timeline); i-- > 0;)
        if (json_get_time(json_array_get(timeline, i), "at") > b->at) json_array_remove(timeline, i);
}

bool past_there(struct exchange *x, const char *id, const json_t *one, const struct bound *b) {
    char at[TIME_TEXT];
    if (json_object_get(one, "status")) return true;
    if (!one)
        exchange_problem(x, 404, "There is no return \"%.60s\".", id);
    else if (is_moment(b))
        exchange_problem(
            x, 404, "Return \"%.60s\" was not there yet at %s: it was requested at %s.", id, time_text(b->at, at),
            json_get_text(one, "requested_at"));
    else
        exchange_problem(
            x, 404, "Return \"%.60s\" has no version \"%.60s\": its versions are 1 to %lld.", id,
            exchange_query(x, "version"), (long long)json_integer_value(json_object_get(one, "versions")));
    return false;
}

/* --- The page */

static json_t *version_url(const char *url, json_t *version) {
    return json_is_integer(version) ? json_sprintf("%s?version=%lld", url, (long long)json_integer_value(version))
                                    : json_null();
}

static json_t *version_text(const json_t *version) {
    return json_sprintf("Version %lld", (long long)json_integer_value(version));
}

/* What the form has in it that asks for a moment; moment: 0: nothing yet. */
static json_t *when_json(const char *url, int64_t moment) {
    char text[MOMENT_LOCAL] = "";
    return json_pack("{s:s, s:s}", "url", url, "value", moment ? moment_local(moment, text) : "");
}

static json_t *title_json(const json_t *one, const struct bound *b) {
    long long version = json_integer_value(json_object_get(one, "version"));
    long long versions = json_integer_value(json_object_get(one, "versions"));
    if (!is_moment(b)) return json_sprintf("As of version %lld of %lld", (long long)b->version, versions);
    return json_sprintf("As of %s (version %lld of %lld)", json_get_text(one, "as_of_text"), version, versions);
}

void past_view(json_t *one, const struct bound *b) {
    const char *url = json_get_text(one, "url");
    json_t *previous = json_object_get(one, "previous"), *next = json_object_get(one, "next");
    json_object_set_new(one, "when", when_json(url, is_moment(b) ? b->at : json_get_time(one, "requested_at")));
    if (past_is_now(b)) return;
    page_add_moment(one, "as_of", "as_of_text");
    json_object_set_new(
        one, "api_url",
        is_moment(b) ? json_sprintf("%s?as_of=%s", json_get_text(one, "api_url"), json_get_text(one, "as_of"))
                     : version_url(json_get_text(one, "api_url"), json_object_get(one, "at_version")));
    json_object_set_new(
        one, "past",
        json_pack(
            "{s:o, s:s, s:o, s:o, s:o, s:o}", "title", title_json(one, b), "now_url", url, "previous_url",
            version_url(url, previous), "next_url", version_url(url, next), "previous_text", version_text(previous),
            "next_text", version_text(next)));
}

void past_view_list(json_t *page, const struct bound *b) {
    json_t *one, *as_of = json_object_get(page, "as_of");
    const char *at = json_string_value(as_of);
    size_t i;
    json_object_set_new(page, "when", when_json("/returns", is_moment(b) ? b->at : 0));
    if (!is_moment(b)) return;
    page_add_moment(page, "as_of", "as_of_text");
    json_array_foreach(json_object_get(page, "returns"), i, one)
        json_object_set_new(one, "url", json_sprintf("%s?as_of=%s", json_get_text(one, "url"), at));
    if (*json_get_text(page, "older"))
        json_object_set_new(page, "older", json_sprintf("%s&as_of=%s", json_get_text(page, "older"), at));
    json_object_set_new(page, "api_url", json_sprintf("/api/returns?as_of=%s", at));
    json_object_set_new(
        page, "past",
        json_pack(
            "{s:o, s:s}", "title", json_sprintf("As of %s", json_get_text(page, "as_of_text")), "now_url", "/returns"));
}
