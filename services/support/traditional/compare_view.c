#include "support/traditional/compare.h"
#include "support/traditional/compare_private.h"
#include "support/traditional/traditional.h"

#include "chassis/base/json_get.h"
#include "chassis/fleet/peers.h"
#include "chassis/pages/page.h"
#include "chassis/pages/team.h"
#include "chassis/web/load.h"

#include <stdlib.h>

static const char *const names[WAYS] = {[WAY_CALLS] = "traditional", [WAY_EVENT] = "event"};

/* --- What was measured */

/* The least wait that so many percent do not exceed, in µs. */
static json_t *percentile(const struct way *w, int percent) {
    if (!w->answered) return json_null();
    return json_integer((json_int_t)load_percentile(w->waits, (size_t)w->answered, percent));
}

static json_t *way_json(const struct run *run, int i) {
    const struct way *w = &run->ways[i];
    int64_t due = (run->ended_us - run->begun_us) * run->amount.rate / 1000000 + 1;
    int64_t all = run->amount.rate * run->amount.seconds;
    json_int_t sent = !run->warm ? 0 : due < all ? due : all;
    if (sent < w->answered) sent = w->answered;
    return json_pack(
        "{s:s, s:I, s:I, s:i, s:i, s:i, s:i, s:{s:o, s:o, s:o}}", "way", names[i], "sent", sent, "waiting",
        sent - w->answered, "accepted", w->accepted, "failed", w->failed, "gave_up", w->gave_up, "clients", w->clients,
        "wait_us", "p50", percentile(w, 50), "p99", percentile(w, 99), "max", percentile(w, 100));
}

static json_t *half_done_json(struct connection *reader, const char *customer, json_int_t *all) {
    json_t *list = json_array();
    *all = 0;
    for (struct rows r = store_rows(
             reader,
             "SELECT steps_done, COUNT(*) FROM traditional_return WHERE customer_id = ? AND status = 'half done' "
             "GROUP BY steps_done ORDER BY steps_done",
             value_text(customer));
         rows_next(&r);) {
        *all += rows_int(&r, 1);
        json_array_append_new(
            list,
            json_pack(
                "{s:o, s:I}", "words", traditional_words((int)rows_int(&r, 0)), "n", (json_int_t)rows_int(&r, 1)));
    }
    return list;
}

/* Returns of the run that a subscriber has not passed yet: they are in the log, and their turn comes. */
static json_t *late_json(struct connection *reader, const struct run *run) {
    return store_json(
        reader,
        "SELECT s.team AS team, COUNT(*) AS n, ? - MIN(r.requested_at) AS oldest_ms FROM "
        "(SELECT DISTINCT team FROM subscriber_offset WHERE team <> 'support') s CROSS JOIN return_request r "
        "JOIN return_private p ON p.return_id = r.return_id "
        "LEFT JOIN subscriber_offset o ON o.team = s.team AND o.partition = r.partition "
        "WHERE r.requested_at >= ? AND p.customer_id = ? AND (r.record_offset IS NULL OR o.next_offset IS NULL "
        "OR o.next_offset <= r.record_offset) AND NOT EXISTS (SELECT 1 FROM history h WHERE h.return_id = "
        "r.return_id AND h.team = s.team) GROUP BY s.team ORDER BY s.team",
        value_int(clock_ms()), value_int(run->begun_at), value_text(run->customer));
}

/* Accepted and not held here, so that nobody would ever handle it. */
static json_int_t lost_count(struct connection *reader, const struct run *run) {
    json_int_t held = store_int(
        reader, 0,
        "SELECT COUNT(*) FROM return_request JOIN return_private USING (return_id) WHERE requested_at >= ? AND customer_id = ?",
        value_int(run->begun_at), value_text(run->customer));
    json_int_t lost = run->ways[WAY_EVENT].accepted - held;
    return lost > 0 ? lost : 0;
}

static json_t *failures_json(const json_t *failures) {
    json_t *list = json_array();
    json_members(m, (json_t *)failures)
        json_array_append_new(list, json_pack("{s:s, s:O}", "reason", m.name, "n", m.value));
    return list;
}

static json_int_t late_most(const json_t *late) {
    json_int_t most = 0;
    json_each(i, team, late) {
        json_int_t n = json_get_int(team, "n");
        if (n > most) most = n;
    }
    return most;
}

static void run_json(json_t *data, struct connection *reader, const struct run *run) {
    char started[TIME_TEXT];
    json_int_t half_done;
    json_t *calls = way_json(run, WAY_CALLS), *event = way_json(run, WAY_EVENT);
    (void)store_run(reader, "BEGIN");
    json_t *halves = half_done_json(reader, run->customer, &half_done), *late = late_json(reader, run);
    json_add(calls, "{s:I, s:i}", "half_done", half_done, "late", 0);
    json_add(event, "{s:I, s:I}", "half_done", lost_count(reader, run), "late", late_most(late));
    (void)store_run(reader, "COMMIT");
    json_add(
        data, "{s:I, s:I, s:s, s:I, s:[o, o], s:o, s:o, s:o, s:s*}", "rate", (json_int_t)run->amount.rate, "seconds",
        (json_int_t)run->amount.seconds, "started_at", time_text(run->begun_at, started), "elapsed_ms",
        (json_int_t)((run->ended_us - run->begun_us) / 1000), "ways", calls, event, "half_done", halves, "late", late,
        "failures", failures_json(run->failures), "orders_made_up", *run->without ? run->without : NULL);
}

/* The calls, and where each team is. */
static json_t *teams_json(const struct runtime *rt) {
    json_t *teams = traditional_steps();
    json_auto_t *known = peers_json(runtime_peers(rt));
    json_each(i, team, teams) {
        const json_t *peer = json_find(json_object_get(known, "peers"), "name", json_get_text(team, "team"));
        json_t *url = json_object_get(peer, "url");
        json_object_set_new(team, "url", url ? json_incref(url) : json_null());
    }
    return teams;
}

/* --- What only people need */

static json_t *us_text(const json_t *us) {
    double n = (double)json_integer_value(us) / 1000;
    if (!json_is_integer(us)) return json_string("–");
    return n < 10      ? json_sprintf("%.1f ms", n)
           : n < 10000 ? json_sprintf("%.0f ms", n)
                       : json_sprintf("%.1f s", n / 1000);
}

static json_t *seconds_text(const json_t *object, const char *name) {
    return json_sprintf("%.1f s", (double)json_integer_value(json_object_get(object, name)) / 1000);
}

static json_t *cell(json_t *text, const char *tone) {
    return json_pack("{s:o, s:s}", "text", text, "tone", tone);
}

static json_t *count_cell(const json_t *way, const char *name, const char *tone) {
    long long n = json_get_int(way, name);
    return cell(json_sprintf("%lld", n), n ? tone : "");
}

static json_t *wait_cell(const json_t *way, const char *name) {
    return cell(us_text(json_object_get(json_object_get(way, "wait_us"), name)), "");
}

static void line_add(json_t *lines, const char *label, json_t *calls, json_t *event) {
    json_array_append_new(lines, json_pack("{s:s, s:o, s:o}", "label", label, "calls", calls, "event", event));
}

/* The two ways side by side. */
static json_t *lines_of(const json_t *ways) {
    static const char *const waits[][2] = {
        {"Customer waits, half of them less than", "p50"}, {"99 of 100 less than", "p99"}, {"at most", "max"}};
    static const char *const counts[][3] = {
        {"Submitted", "sent", ""},
        {"Succeeded", "accepted", "ok"},
        {"Failed, for the customer", "failed", "bad"},
        {"Left half done", "half_done", "bad"},
        {"Late: safe, and going to be done", "late", "wait"}};
    const json_t *a = json_array_get(ways, WAY_CALLS), *b = json_array_get(ways, WAY_EVENT);
    json_t *lines = json_array();
    for (size_t i = 0; i < sizeof waits / sizeof *waits; i++)
        line_add(lines, waits[i][0], wait_cell(a, waits[i][1]), wait_cell(b, waits[i][1]));
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        line_add(
            lines, counts[i][0], count_cell(a, counts[i][1], counts[i][2]), count_cell(b, counts[i][1], counts[i][2]));
    return lines;
}

static void view_compare(json_t *data) {
    json_t *ways = json_object_get(data, "ways");
    json_each(i, team, json_object_get(data, "late"))
        json_object_set_new(team, "oldest", seconds_text(team, "oldest_ms"));
    if (ways) json_object_set_new(data, "lines", lines_of(ways));
    json_add(
        data, "{s:o, s:s, s:s}", "elapsed", seconds_text(data, "elapsed_ms"), "heading",
        "The traditional way, beside it", "api_url", "/api/compare");
}

void compare_get(struct exchange *x) {
    const struct settings *settings = runtime_core(x->context)->settings;
    struct connection *reader = store_reader(runtime_core(x->context)->store);
    struct run seen;
    bool any = run_look(&seen);
    x->data = json_pack(
        "{s:b, s:b, s:o}", "running", any && seen.running, "drills", settings->drills && settings->comparison, "teams",
        teams_json(x->context));
    if (any) run_json(x->data, reader, &seen);
    for (int i = 0; i < WAYS; i++) free(seen.ways[i].waits);
    json_decref(seen.failures);
    if (page_reader_ok(x, reader) && !x->api) view_compare(x->data);
}
