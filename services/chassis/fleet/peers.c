#include "chassis/fleet/peers.h"

#include "chassis/base/authority.h"
#include "chassis/base/buffer.h"
#include "chassis/base/http_request.h"
#include "chassis/base/ids.h"
#include "chassis/base/json_get.h"
#include "chassis/base/settings.h"
#include "chassis/base/utf8.h"
#include "chassis/base/wait.h"
#include "chassis/fleet/peer_state.h"
#include "chassis/fleet/subscribers.h"
#include "chassis/kafka/topic_spec.h"
#include "chassis/store/store.h"

#include <curl/curl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    ANSWER_MAX = 1 << 20,
    ANSWER_MS = 700,
    LOOKED_AT_MS = 500,
    IDLE_MS = 1500,   /* so that also who comes first sees what is hardly older */
    LOOK_MS = 10000,  /* so long after a page somebody counts as looking */
    SILENT_MS = 1200, /* one answer that is late is no silence yet */
    RATE_MS = 4000,   /* rates are measured over so much */
    SAMPLES = 10,
    PARTITIONS_MAX = 64,
    PEERS_MAX = 64,
    URL_SIZE = 512,
    NAME_BYTES = 256,
    TITLE_BYTES = 100,
    TEXT_BYTES = 400,
};

enum series { POSITION, BEHIND, PUBLISHED, SERIES };
struct sample {
    int64_t at, value[SERIES]; /* −1: not known */
};

struct peer {
    char name[256], url[URL_SIZE];
    bool listed, subscribes, is_self;
    int64_t position, behind; /* by its committed offsets. −1: it is no subscriber */
    int64_t published;        /* the end of its own topic. −1: not known */
    int contact;
    json_t *status;                   /* its last answer */
    int64_t answered_at, answered_ms; /* steady, and for people */
    struct sample samples[SAMPLES];   /* of the last RATE_MS, or the last two */
    int samples_n;
    bool by_answer; /* what the samples are made of */
    CURL *easy;     /* a request that is under way */
    struct buffer answer;
};

struct peers {
    struct peers_options options;
    CURLM *multi;
    struct curl_slist *headers;
    struct peer *all[PEERS_MAX]; /* the thread's own. Without a list of its own, only the keeper of one */
    size_t n;

    struct worker worker; /* its lock guards the rest */
    int64_t looked_at;
    json_t *view; /* what pages see, as peers_json() gives it */
};

/* --- One request */

static void request_end(struct peers *p, struct peer *one) {
    if (!one->easy) return;
    curl_multi_remove_handle(p->multi, one->easy);
    curl_easy_cleanup(one->easy);
    buffer_free(&one->answer);
    one->easy = NULL;
}

/* No connection is kept: it would hold one of the other's web threads. */
static void request_begin(struct peers *p, struct peer *one) {
    char site[URL_SIZE], url[URL_SIZE + 20];
    settings_call_url(p->options.settings, one->name, one->url, site, sizeof site);
    if (one->easy || !*site || !(one->easy = curl_easy_init())) return;
    int n = (int)strlen(site);
    snprintf(
        url, sizeof url, "%.*s%s", site[n - 1] == '/' ? n - 1 : n, site,
        p->options.keeps_list ? "/api/status" : "/api/peers");
    one->answer = BUFFER(ANSWER_MAX);
    curl_easy_setopt(one->easy, CURLOPT_PRIVATE, one);
    curl_easy_setopt(one->easy, CURLOPT_QUICK_EXIT, 1L);
    curl_easy_setopt(one->easy, CURLOPT_FORBID_REUSE, 1L);
    if (!http_request_set(one->easy, url, ANSWER_MS, p->headers, &one->answer) ||
        curl_multi_add_handle(p->multi, one->easy))
        request_end(p, one);
}

/* --- Positions and rates */

/* Of all partitions in what a service says of itself. −1: one is not known, or there is none. */
static int64_t partitions_sum(const json_t *partitions, const char *topic, const char *member) {
    int64_t sum = -1;
    json_each(i, one, partitions) {
        const json_t *value = json_object_get(one, member);
        if (topic && strcmp(json_get_text(one, "topic"), topic) != 0) continue;
        if (!json_is_integer(value)) return -1;
        sum = (sum < 0 ? 0 : sum) + json_integer_value(value);
    }
    return sum;
}

/* What it says of its partitions, if it answers. */
static int64_t status_sum(const struct peer *one, const char *member) {
    if (one->contact != PEER_ANSWERS) return -1;
    return partitions_sum(json_object_get(one->status, "partitions"), NULL, member);
}

static int64_t peer_behind(const struct peer *one) {
    int64_t lag = status_sum(one, "lag");
    return lag >= 0 ? lag : one->behind;
}

static void sample_add(struct peer *one) {
    int64_t now = steady_ms(), next = status_sum(one, "next");
    bool by_answer = next >= 0;
    if (by_answer != one->by_answer) one->samples_n = 0; /* the two do not have the same beginning */
    one->by_answer = by_answer;
    while (one->samples_n == SAMPLES || (one->samples_n > 1 && now - one->samples[0].at > RATE_MS))
        memmove(one->samples, one->samples + 1, (size_t)--one->samples_n * sizeof *one->samples);
    one->samples[one->samples_n++] =
        (struct sample){now, {by_answer ? next : one->position, peer_behind(one), one->published}};
}

/* By how much it grew a second, since the first sample. NAN: one of the two is not known. */
static double growth(const struct peer *one, enum series of) {
    const struct sample *first = one->samples, *last = first + (one->samples_n ? one->samples_n - 1 : 0);
    if (last->at <= first->at || first->value[of] < 0 || last->value[of] < 0) return NAN;
    return (double)(last->value[of] - first->value[of]) * 1000 / (double)(last->at - first->at);
}

/* By how fast the backlog gets less. −1: it does not. */
static int64_t time_to_go(const struct peer *one) {
    double by = growth(one, BEHIND);
    int64_t left = by < 0 ? one->samples[one->samples_n - 1].value[BEHIND] : 0;
    return left > 0 ? (int64_t)((double)left * 1000 / -by) : -1;
}

/* --- What pages see */

/* What another service says is shown in the head of every page. */
static json_t *words_cut(const char *text, size_t most) {
    char cut[TEXT_BYTES + 1];
    size_t n = strnlen(text, most);
    while (n && ((unsigned char)text[n] & 0xc0) == 0x80) n--;
    snprintf(cut, sizeof cut, "%.*s", (int)n, text);
    return utf8_json(cut);
}

static json_t *known(int64_t n) {
    return n < 0 ? json_null() : json_integer(n);
}

static json_t *rate_json(double rate) {
    return rate >= 0 ? json_real((double)(int64_t)(rate * 10 + 0.5) / 10) : json_null();
}

/* The words of the component that its state comes from. NULL: none. */
static const char *words_of(const json_t *status) {
    const char *health = json_get_text(status, "state");
    const json_t *its_own = *health ? json_find(json_object_get(status, "components"), "state", health) : NULL;
    return json_string_value(json_object_get(its_own, "text"));
}

static struct peer_facts facts_of(const struct peer *one) {
    const json_t *status = one->contact == PEER_ANSWERS ? one->status : NULL, *drill = json_object_get(status, "drill");
    const json_t *oldest = json_object_get(status, "oldest_unhandled_ms");
    double handled = growth(one, POSITION);
    return (struct peer_facts){
        .contact = one->contact,
        .silent_ms = one->answered_at ? steady_ms() - one->answered_at : -1,
        .health = json_string_value(json_object_get(status, "state")),
        .words = words_of(status),
        .drill = json_string_value(json_object_get(drill, "mode")),
        .drill_ms = json_get_int(drill, "ms"),
        .dead_letters = json_get_int(status, "dead_letters"),
        .behind = peer_behind(one),
        .oldest_ms = json_is_integer(oldest) ? json_integer_value(oldest) : -1,
        .handled = handled >= 0 ? handled : 0,
        .to_go_ms = time_to_go(one)};
}

static json_t *peer_json(const struct peer *one) {
    struct peer_facts facts = facts_of(one);
    struct peer_state state;
    const char *title = json_get_text(one->status, "title");
    peer_judge(&facts, &state);
    return json_pack(
        "{s:s, s:o, s:s?, s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:b}", "name", one->name, "title",
        words_cut(*title ? title : one->name, TITLE_BYTES), "url", *one->url ? one->url : NULL, "state", state.name,
        "tone", state.tone, "text", words_cut(state.text, TEXT_BYTES), "answered_at",
        one->answered_ms ? time_json(one->answered_ms) : json_null(), "behind", known(facts.behind),
        "oldest_unhandled_ms", known(facts.oldest_ms), "handled_per_second", rate_json(growth(one, POSITION)),
        "published_per_second", rate_json(growth(one, PUBLISHED)), "to_go_ms", known(facts.to_go_ms), "dead_letters",
        facts.contact == PEER_ANSWERS ? json_integer(facts.dead_letters) : json_null(), "subscribes", one->subscribes);
}

static int by_name(const void *a, const void *b) {
    const struct peer *const *x = a, *const *y = b;
    if ((*x)->is_self != (*y)->is_self) return (*x)->is_self ? -1 : 1;
    return strcmp((*x)->name, (*y)->name);
}

/* NULL: there is no newer list. */
static void view_set(struct peers *p, json_t *list) {
    lock_auto(&p->worker.lock);
    if (list)
        json_add(p->view, "{s:o, s:n}", "peers", list, "stale");
    else if (json_is_null(json_object_get(p->view, "stale")))
        json_object_set_new(p->view, "stale", time_json(clock_ms()));
}

static void view_make(struct peers *p) {
    json_t *list = json_array();
    qsort(p->all, p->n, sizeof *p->all, by_name);
    for (size_t i = 0; i < p->n; i++) json_array_append_new(list, peer_json(p->all[i]));
    view_set(p, list);
}

json_t *peers_json(struct peers *p) {
    if (!p) return json_pack("{s:[], s:n}", "peers", "stale");
    lock_auto(&p->worker.lock);
    return json_deep_copy(p->view);
}

/* --- The list */

static struct peer *peer_find(struct peers *p, const char *name) {
    for (size_t i = 0; i < p->n; i++)
        if (!strcmp(p->all[i]->name, name)) return p->all[i];
    struct peer *one = p->n < PEERS_MAX && strlen(name) < sizeof one->name ? calloc(1, sizeof *one) : NULL;
    if (!one) return NULL;
    *one = (struct peer){.contact = PEER_NOWHERE, .position = -1, .behind = -1, .published = -1};
    strcpy(one->name, name);
    return p->all[p->n++] = one;
}

static void peer_move(struct peers *p, struct peer *one, const char *url) {
    char site[URL_SIZE];
    size_t n = strlen(url);
    snprintf(site, sizeof site, "%.*s", (int)(n && url[n - 1] == '/' ? n - 1 : n), url);
    if (!n || n >= sizeof site || !strcmp(site, one->url)) return;
    request_end(p, one);
    strcpy(one->url, site);
    one->contact = PEER_UNASKED;
}

/* Every subscriber, and how far it is behind by what its group has committed. partitions: this service's own, with the
 * ends of its topic as far as they were read. */
static void subscribers_read(struct peers *p, struct connection *reader, const json_t *partitions) {
    int64_t ends[PARTITIONS_MAX] = {0}, all = 0;
    char topic[400];
    topic_spec_name(&topic_spec_events, p->options.settings, topic, sizeof topic);
    json_each(i, one, partitions) {
        int64_t id = json_get_int(one, "partition"), end = json_get_int(one, "end"), next = json_get_int(one, "next");
        if (strcmp(json_get_text(one, "topic"), topic) != 0 || id < 0 || id >= PARTITIONS_MAX) continue;
        ends[id] = end > next ? end : next;
        all += ends[id];
    }
    for (struct rows r = store_rows(reader, "SELECT team, partition, next_offset FROM subscriber_offset");
         rows_next(&r);) {
        struct peer *team = peer_find(p, rows_text(&r, 0));
        int64_t id = rows_int(&r, 1), next = rows_int(&r, 2);
        if (!team || id < 0 || id >= PARTITIONS_MAX) continue;
        if (!team->subscribes) team->position = 0, team->behind = all;
        team->position += next;
        team->behind -= next < ends[id] ? next : ends[id];
        team->listed = team->subscribes = true;
    }
}

static void peer_free(struct peers *p, struct peer *one) {
    request_end(p, one);
    json_decref(one->status);
    free(one);
}

static void unlisted_drop(struct peers *p) {
    for (size_t i = p->n; i-- > 0;) {
        if (p->all[i]->listed) continue;
        peer_free(p, p->all[i]);
        p->all[i] = p->all[--p->n];
    }
}

/* Where each is: as it said last with the offsets that it commits, which only who holds the group can, and only where
 * settings allow it. What a record says of its sender counts for nothing: anybody may write one. */
static void addresses_read(struct peers *p) {
    json_auto_t *urls = subscribers_urls(p->options.subscribers);
    json_members(said, urls) {
        const char *url = json_string_value(said.value);
        struct peer *one = settings_peer_allowed(p->options.settings, url) ? peer_find(p, said.name) : NULL;
        if (!one || one->is_self) continue;
        peer_move(p, one, url);
        one->listed = true;
    }
}

/* Takes the reference. */
static void status_take(struct peer *one, json_t *status) {
    json_decref(one->status);
    one->status = status;
    one->contact = PEER_ANSWERS;
    one->answered_at = steady_ms();
    one->answered_ms = clock_ms();
}

/* This process knows its own state without asking over the network. */
static void list_read(struct peers *p) {
    const struct settings *s = p->options.settings;
    struct connection *reader = store_reader(p->options.store);
    struct peer *self = peer_find(p, s->service);
    char topic[400];
    if (!self) return;
    for (size_t i = 0; i < p->n; i++) {
        p->all[i]->position = p->all[i]->behind = -1;
        p->all[i]->listed = p->all[i]->subscribes = false;
    }
    peer_move(p, self, s->public_url);
    status_take(self, p->options.status(p->options.context, reader));
    self->listed = self->is_self = true;
    const json_t *partitions = json_object_get(self->status, "partitions");
    subscribers_read(p, reader, partitions);
    addresses_read(p);
    if (store_state(reader) == OK) unlisted_drop(p); /* else it is only half read */
    for (size_t i = 0; i < p->n; i++) {
        topic_spec_of(&topic_spec_events, p->all[i]->name, s, topic, sizeof topic);
        p->all[i]->published = partitions_sum(partitions, topic, "end");
    }
}

/* --- Answers */

/* One that answers not as it should: that is the matter with it, in its own words. */
static json_t *status_read(const struct peer *one, long status) {
    char text[PEER_TEXT];
    json_t *answer = json_loadb(one->answer.data ? one->answer.data : "", one->answer.length, 0, NULL);
    const char *name = json_get_text(answer, "service"), *detail = json_get_text(answer, "detail");
    if (status == 200 && !strcmp(name, one->name)) return answer;
    if (status != 200)
        snprintf(text, sizeof text, "It answers %ld: %.400s", status, *detail ? detail : "it cannot tell its state");
    else
        snprintf(text, sizeof text, "At its address answers %.200s, not it.", *name ? name : "something else");
    json_decref(answer);
    return json_pack(
        "{s:O*, s:s, s:[{s:s, s:o}]}", "title", json_object_get(one->status, "title"), "state", "failed", "components",
        "state", "failed", "text", utf8_json(text));
}

static void status_answered(struct peer *one, CURLcode result, long status) {
    if (result == CURLE_OK && !one->answer.failed)
        status_take(one, status_read(one, status));
    else if (result == CURLE_COULDNT_CONNECT || result == CURLE_COULDNT_RESOLVE_HOST)
        one->contact = PEER_REFUSES;
    else if (!one->answered_at || one->contact != PEER_ANSWERS || steady_ms() - one->answered_at > SILENT_MS)
        one->contact = PEER_SILENT;
}

/* What pages show of a service, as the keeper has it: texts of a bounded length, numbers and truth. NULL: it has no
 * name. */
static json_t *listed_check(const json_t *one) {
    static const char *const members[] = {
        "title",
        "state",
        "tone",
        "text",
        "answered_at",
        "behind",
        "oldest_unhandled_ms",
        "handled_per_second",
        "published_per_second",
        "to_go_ms",
        "dead_letters",
        "subscribes"};
    const char *name = json_get_text(one, "name"), *url = json_get_text(one, "url");
    struct authority at;
    if (!*name || strlen(name) > NAME_BYTES) return NULL;
    bool linked = strlen(url) < URL_SIZE && site_read(url, &at);
    json_t *kept = json_pack("{s:s, s:s?}", "name", name, "url", linked ? url : NULL);
    for (size_t i = 0; i < sizeof members / sizeof *members; i++) {
        json_t *value = json_object_get(one, members[i]);
        json_object_set_new(
            kept, members[i],
            json_is_string(value) ? words_cut(json_string_value(value), i ? TEXT_BYTES : TITLE_BYTES)
            : json_is_number(value) || json_is_boolean(value) ? json_incref(value)
                                                              : json_null());
    }
    return kept;
}

/* Whatever the keeper says is shown on pages, so its shape is looked at. No NULL is appended. */
static json_t *list_check(const struct buffer *answer) {
    json_auto_t *body = json_loadb(answer->data ? answer->data : "", answer->length, 0, NULL);
    json_t *list = json_array();
    json_each(i, one, json_object_get(body, "peers"))
        if (i < PEERS_MAX) json_array_append_new(list, listed_check(one));
    return list;
}

static void answers_take(struct peers *p) {
    int left;
    bool news = false;
    for (CURLMsg *m; (m = curl_multi_info_read(p->multi, &left));) {
        struct peer *one = NULL;
        long status = 0;
        CURLcode result = m->data.result; /* m dies with its handle */
        curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&one);
        curl_easy_getinfo(m->easy_handle, CURLINFO_RESPONSE_CODE, &status);
        if (p->options.keeps_list)
            status_answered(one, result, status), sample_add(one);
        else
            view_set(p, !result && status == 200 && !one->answer.failed ? list_check(&one->answer) : NULL);
        request_end(p, one);
        news = true;
    }
    if (news && p->options.keeps_list) view_make(p);
}

/* --- The thread */

static void round_begin(struct peers *p) {
    if (p->options.keeps_list) {
        list_read(p);
        for (size_t i = 0; i < p->n; i++)
            if (p->all[i]->is_self || !*p->all[i]->url) sample_add(p->all[i]);
        view_make(p);
    }
    for (size_t i = 0; i < p->n; i++)
        if (!p->all[i]->is_self) request_begin(p, p->all[i]);
}

/* When the next round is due. INT64_MAX: not until somebody looks. False: it is time to stop. */
static bool round_next(struct peers *p, int64_t last, int64_t *due) {
    lock_auto(&p->worker.lock);
    bool looks = p->looked_at && steady_ms() - p->looked_at < LOOK_MS;
    *due = looks ? last + LOOKED_AT_MS : p->options.keeps_list ? last + IDLE_MS : INT64_MAX;
    return !p->worker.stopping;
}

static void *peers_run(void *peers) {
    struct peers *p = peers;
    int64_t last = 0, due;
    while (round_next(p, last, &due)) {
        int running;
        int64_t now = steady_ms();
        if (due <= now) {
            last = now;
            due = now + LOOKED_AT_MS;
            round_begin(p);
        }
        curl_multi_perform(p->multi, &running);
        answers_take(p);
        int64_t wait = due - now < IDLE_MS ? due - now : IDLE_MS;
        curl_multi_poll(p->multi, NULL, 0, (int)(wait > 0 ? wait : 0), NULL);
    }
    return NULL;
}

/* Wakes the thread where it is idle. */
void peers_look(struct peers *p) {
    if (!p) return;
    int64_t now = steady_ms();
    lock_auto(&p->worker.lock);
    if (!p->looked_at || now - p->looked_at >= LOOK_MS) curl_multi_wakeup(p->multi);
    p->looked_at = now;
}

/* --- Start and stop */

verdict peers_start(struct peers **out, const struct peers_options *o, struct failure *why) {
    *out = NULL;
    if (curl_global_init(CURL_GLOBAL_DEFAULT)) return fail(why, FATAL, "could not start libcurl");
    struct peers *p = *out = calloc(1, sizeof *p);
    if (!p) return fail(why, RETRY, "out of memory");
    p->options = *o;
    p->multi = curl_multi_init();
    p->headers = curl_slist_append(NULL, "Accept: application/json");
    p->view = peers_json(NULL);
    bool whole = p->multi && p->headers && p->view && (o->keeps_list || !o->keeper || peer_find(p, o->keeper));
    if (!whole) return fail(why, RETRY, "out of memory");
    return worker_start(&p->worker, "peers", peers_run, p)
               ? OK
               : fail(why, RETRY, "could not start the thread that observes the other services");
}

void peers_stop(struct peers *p) {
    if (!p || !p->worker.running) return;
    worker_end(&p->worker); /* before its wait is ended, so that no other begins */
    curl_multi_wakeup(p->multi);
    worker_stop(&p->worker);
}

void peers_close(struct peers **out) {
    struct peers *p = *out;
    if (!p) return;
    *out = NULL;
    peers_stop(p);
    for (size_t i = 0; i < p->n; i++) peer_free(p, p->all[i]);
    if (p->multi) curl_multi_cleanup(p->multi);
    curl_slist_free_all(p->headers);
    json_decref(p->view);
    free(p);
    curl_global_cleanup();
}
