#include "chassis/fleet/peers.h"

#include "chassis/base/authority.h"
#include "chassis/base/buffer.h"
#include "chassis/base/http_request.h"
#include "chassis/base/ids.h"
#include "chassis/base/settings.h"
#include "chassis/base/utf8.h"
#include "chassis/fleet/peer_state.h"
#include "chassis/fleet/subscribers.h"
#include "chassis/kafka/topic_spec.h"
#include "chassis/store/store.h"

#include <curl/curl.h>
#include <pthread.h>
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

struct sample {
    int64_t at, position, behind, published; /* −1: not known */
};

struct peer {
    char name[256], url[URL_SIZE];
    bool listed, subscribes, is_self;
    int64_t position, behind; /* by its committed offsets; −1: it is no subscriber */
    int64_t published;        /* the end of its own topic; −1: not known */
    int contact;
    json_t *status;                   /* its last answer */
    int64_t answered_at, answered_ms; /* steady, and for people */
    struct sample samples[SAMPLES];
    int samples_n;
    bool by_answer; /* what the samples are made of */
    CURL *easy;     /* a request that is under way */
    struct buffer answer;
};

struct peers {
    struct peers_options options;
    pthread_t thread;
    bool running;
    CURLM *multi;
    struct curl_slist *headers;
    struct peer *all[PEERS_MAX]; /* the thread's own; without a list of its own, only the keeper of one */
    size_t n;

    pthread_mutex_t lock; /* guards the rest */
    bool stopping;
    int64_t looked_at;
    json_t *view; /* what pages see */
    int64_t stale_since;
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
    if (one->easy || !*one->url || !(one->easy = curl_easy_init())) return;
    settings_call_url(p->options.settings, one->name, one->url, site, sizeof site);
    size_t n = strlen(site);
    if (n && site[n - 1] == '/') site[n - 1] = '\0';
    snprintf(url, sizeof url, "%s%s", site, p->options.keeps_list ? "/api/status" : "/api/peers");
    one->answer = BUFFER(ANSWER_MAX);
    curl_easy_setopt(one->easy, CURLOPT_PRIVATE, one);
    curl_easy_setopt(one->easy, CURLOPT_QUICK_EXIT, 1L);
    curl_easy_setopt(one->easy, CURLOPT_FORBID_REUSE, 1L);
    if (!http_request_set(one->easy, url, ANSWER_MS, p->headers, &one->answer) ||
        curl_multi_add_handle(p->multi, one->easy))
        request_end(p, one);
}

/* --- Positions and rates */

/* Of all partitions in what a service says of itself; −1: one is not known, or there is none. */
static int64_t partitions_sum(const json_t *partitions, const char *topic, const char *member) {
    int64_t sum = 0;
    bool any = false;
    json_t *one;
    size_t i;
    json_array_foreach((json_t *)partitions, i, one) {
        const char *name = json_string_value(json_object_get(one, "topic"));
        const json_t *value = json_object_get(one, member);
        if (topic && (!name || strcmp(name, topic) != 0)) continue;
        if (!json_is_integer(value)) return -1;
        sum += json_integer_value(value);
        any = true;
    }
    return any ? sum : -1;
}

static bool peer_answers(const struct peer *one) {
    return one->contact == PEER_ANSWERS && one->status;
}

static int64_t peer_behind(const struct peer *one) {
    int64_t lag = peer_answers(one) ? partitions_sum(json_object_get(one->status, "partitions"), NULL, "lag") : -1;
    return lag >= 0 ? lag : one->behind;
}

static void sample_add(struct peer *one) {
    int64_t next = peer_answers(one) ? partitions_sum(json_object_get(one->status, "partitions"), NULL, "next") : -1;
    bool by_answer = next >= 0;
    if (by_answer != one->by_answer) one->samples_n = 0; /* the two do not have the same beginning */
    one->by_answer = by_answer;
    if (one->samples_n == SAMPLES)
        memmove(one->samples, one->samples + 1, (size_t)--one->samples_n * sizeof *one->samples);
    one->samples[one->samples_n++] =
        (struct sample){steady_ms(), by_answer ? next : one->position, peer_behind(one), one->published};
}

/* From the oldest sample that still counts to the newest; NULL: fewer than two. */
static const struct sample *sample_first(const struct peer *one) {
    int n = one->samples_n;
    int i = 0;
    while (i < n - 2 && one->samples[n - 1].at - one->samples[i].at > RATE_MS) i++;
    return n >= 2 && one->samples[n - 1].at > one->samples[i].at ? &one->samples[i] : NULL;
}

static const struct sample *sample_last(const struct peer *one) {
    return one->samples_n ? &one->samples[one->samples_n - 1] : NULL;
}

/* A second; −1: not known. */
static double rate_of(const struct peer *one, size_t member) {
    const struct sample *first = sample_first(one), *last = sample_last(one);
    if (!first) return -1;
    int64_t from = *(const int64_t *)((const char *)first + member);
    int64_t to = *(const int64_t *)((const char *)last + member);
    if (from < 0 || to < 0 || to < from) return -1;
    return (double)(to - from) * 1000 / (double)(last->at - first->at);
}

/* By how fast the backlog gets less; −1: it does not. */
static int64_t time_to_go(const struct peer *one) {
    const struct sample *first = sample_first(one), *last = sample_last(one);
    if (!first || last->behind <= 0 || first->behind <= last->behind) return -1;
    return last->behind * (last->at - first->at) / (first->behind - last->behind);
}

/* --- What pages see */

/* What another service says is shown in the head of every page. */
static json_t *words_cut(const char *text, size_t most) {
    size_t n = strlen(text);
    if (n > most)
        for (n = most; n && ((unsigned char)text[n] & 0xc0) == 0x80;) n--;
    char *cut = strndup(text, n);
    json_t *words = utf8_json(cut ? cut : "");
    free(cut);
    return words;
}

static json_t *known(int64_t n) {
    return n < 0 ? json_null() : json_integer(n);
}

static json_t *rate_json(double rate) {
    return rate < 0 ? json_null() : json_real((double)(int64_t)(rate * 10 + 0.5) / 10);
}

/* The component's own words; NULL: none. */
static const char *words_of(const json_t *status) {
    json_t *component;
    const char *state, *health = json_string_value(json_object_get(status, "state"));
    size_t i;
    json_array_foreach(json_object_get(status, "components"), i, component) {
        state = json_string_value(json_object_get(component, "state"));
        if (state && health && !strcmp(state, health)) return json_string_value(json_object_get(component, "text"));
    }
    return NULL;
}

static struct peer_facts facts_of(const struct peer *one) {
    const json_t *status = peer_answers(one) ? one->status : NULL, *drill = json_object_get(status, "drill");
    const json_t *oldest = json_object_get(status, "oldest_unhandled_ms");
    double handled = rate_of(one, offsetof(struct sample, position));
    return (struct peer_facts){
        .contact = one->contact,
        .silent_ms = one->answered_at ? steady_ms() - one->answered_at : -1,
        .health = json_string_value(json_object_get(status, "state")),
        .words = words_of(status),
        .drill = json_string_value(json_object_get(drill, "mode")),
        .drill_ms = json_integer_value(json_object_get(drill, "ms")),
        .dead_letters = json_integer_value(json_object_get(status, "dead_letters")),
        .behind = peer_behind(one),
        .oldest_ms = json_is_integer(oldest) ? json_integer_value(oldest) : -1,
        .handled = handled < 0 ? 0 : handled,
        .to_go_ms = time_to_go(one)};
}

static json_t *peer_json(const struct peer *one) {
    struct peer_facts facts = facts_of(one);
    struct peer_state state;
    char at[TIME_TEXT];
    const char *title = json_string_value(json_object_get(one->status, "title"));
    peer_judge(&facts, &state);
    return json_pack(
        "{s:s, s:o, s:s?, s:s, s:s, s:o, s:s?, s:o, s:o, s:o, s:o, s:o, s:o, s:b}", "name", one->name, "title",
        words_cut(title && *title ? title : one->name, TITLE_BYTES), "url", *one->url ? one->url : NULL, "state",
        state.name, "tone", state.tone, "text", words_cut(state.text, TEXT_BYTES), "answered_at",
        one->answered_ms ? time_text(one->answered_ms, at) : NULL, "behind", known(facts.behind), "oldest_unhandled_ms",
        known(facts.oldest_ms), "handled_per_second", rate_json(rate_of(one, offsetof(struct sample, position))),
        "published_per_second", rate_json(rate_of(one, offsetof(struct sample, published))), "to_go_ms",
        known(facts.to_go_ms), "dead_letters", peer_answers(one) ? json_integer(facts.dead_letters) : json_null(),
        "subscribes", one->subscribes);
}

static int by_name(const void *a, const void *b) {
    const struct peer *const *x = a, *const *y = b;
    if ((*x)->is_self != (*y)->is_self) return (*x)->is_self ? -1 : 1;
    return strcmp((*x)->name, (*y)->name);
}

static void view_set(struct peers *p, json_t *view, bool stale) {
    pthread_mutex_lock(&p->lock);
    if (view) {
        json_decref(p->view);
        p->view = view;
    }
    if (!stale)
        p->stale_since = 0;
    else if (!p->stale_since)
        p->stale_since = clock_ms();
    pthread_mutex_unlock(&p->lock);
}

static void view_make(struct peers *p) {
    const struct peer *order[PEERS_MAX];
    json_t *view = json_array();
    for (size_t i = 0; i < p->n; i++) order[i] = p->all[i];
    qsort(order, p->n, sizeof *order, by_name);
    for (size_t i = 0; i < p->n; i++) json_array_append_new(view, peer_json(order[i]));
    view_set(p, view, false);
}

json_t *peers_json(struct peers *p) {
    json_t *view = NULL;
    char since[TIME_TEXT];
    int64_t stale = 0;
    if (p) {
        pthread_mutex_lock(&p->lock);
        view = json_deep_copy(p->view);
        stale = p->stale_since;
        pthread_mutex_unlock(&p->lock);
    }
    return json_pack(
        "{s:o, s:s?}", "peers", view ? view : json_array(), "stale", stale ? time_text(stale, since) : NULL);
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
    char asked[URL_SIZE];
    size_t n = strcspn(url, "?#");
    while (n && url[n - 1] == '/') n--;
    if (!n || n >= sizeof one->url) return;
    snprintf(asked, sizeof asked, "%.*s", (int)n, url);
    if (!strcmp(asked, one->url)) return;
    request_end(p, one);
    strcpy(one->url, asked);
    one->contact = PEER_UNASKED;
}

/* The ends of this service's own topic, as far as they were read. */
static void ends_read(struct peers *p, const json_t *partitions, int64_t ends[PARTITIONS_MAX]) {
    char topic[400];
    json_t *one;
    size_t i;
    topic_spec_name(&topic_spec_events, p->options.settings, topic, sizeof topic);
    memset(ends, 0, PARTITIONS_MAX * sizeof *ends);
    json_array_foreach((json_t *)partitions, i, one) {
        const char *of = json_string_value(json_object_get(one, "topic"));
        json_int_t id = json_integer_value(json_object_get(one, "partition"));
        json_int_t end = json_integer_value(json_object_get(one, "end"));
        json_int_t next = json_integer_value(json_object_get(one, "next"));
        if (of && !strcmp(of, topic) && id >= 0 && id < PARTITIONS_MAX) ends[id] = end > next ? end : next;
    }
}

/* Every subscriber, and how far it is behind by what its group has committed. */
static void subscribers_read(struct peers *p, struct connection *reader, const int64_t ends[PARTITIONS_MAX]) {
    int64_t all = 0;
    for (int i = 0; i < PARTITIONS_MAX; i++) all += ends[i];
    for (size_t i = 0; i < p->n; i++) p->all[i]->position = p->all[i]->behind = -1, p->all[i]->subscribes = false;
    for (struct rows r = store_rows(reader, "SELECT team, partition, next_offset FROM subscriber_offset");
         rows_next(&r);) {
        struct peer *one = peer_find(p, rows_text(&r, 0));
        int64_t id = rows_int(&r, 1), next = rows_int(&r, 2);
        if (!one || id < 0 || id >= PARTITIONS_MAX) continue;
        if (!one->subscribes) one->position = 0, one->behind = all, one->subscribes = true;
        one->position += next;
        one->behind -= next < ends[id] ? next : ends[id];
        one->listed = true;
    }
}

static void published_read(struct peers *p, struct peer *one, const json_t *partitions) {
    char topic[400];
    topic_spec_of(&topic_spec_events, one->name, p->options.settings, topic, sizeof topic);
    one->published = partitions_sum(partitions, topic, "end");
}

/* This process knows its own state without asking over the network. */
static void self_read(struct peers *p, struct peer *self, struct connection *reader) {
    json_decref(self->status);
    self->status = p->options.status(p->options.context, reader);
    self->contact = PEER_ANSWERS;
    self->answered_at = steady_ms();
    self->answered_ms = clock_ms();
    self->listed = self->is_self = true;
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
    const char *name;
    json_t *url, *urls = subscribers_urls(p->options.subscribers);
    json_object_foreach(urls, name, url) {
        if (!settings_peer_allowed(p->options.settings, json_string_value(url))) continue;
        struct peer *one = peer_find(p, name);
        if (!one || one->is_self) continue;
        peer_move(p, one, json_string_value(url));
        one->listed = true;
    }
    json_decref(urls);
}

static void list_read(struct peers *p) {
    struct connection *reader = store_reader(p->options.store);
    int64_t ends[PARTITIONS_MAX];
    for (size_t i = 0; i < p->n; i++) p->all[i]->listed = false;
    struct peer *self = peer_find(p, p->options.settings->service);
    if (self) self_read(p, self, reader);
    if (self) peer_move(p, self, p->options.settings->public_url);
    const json_t *partitions = self ? json_object_get(self->status, "partitions") : NULL;
    ends_read(p, partitions, ends);
    subscribers_read(p, reader, ends);
    addresses_read(p);
    if (store_state(reader) == OK) unlisted_drop(p); /* else it is only half read */
    for (size_t i = 0; i < p->n; i++) published_read(p, p->all[i], partitions);
}

/* --- Answers */

/* It answers, and not as it should: that is the matter with it, in its own words. */
static json_t *status_wrong(const struct peer *one, long status, const char *name, const char *detail) {
    char text[PEER_TEXT];
    const char *title = json_string_value(json_object_get(one->status, "title"));
    if (status != 200)
        snprintf(text, sizeof text, "It answers %ld: %.400s", status, detail ? detail : "it cannot tell its state");
    else
        snprintf(text, sizeof text, "At its address answers %.200s, not it.", name ? name : "something else");
    return json_pack(
        "{s:s, s:s, s:[{s:s, s:o}]}", "title", title ? title : one->name, "state", "failed", "components", "state",
        "failed", "text", utf8_json(text));
}

static json_t *status_read(const struct peer *one, long status) {
    json_t *answer = json_loadb(one->answer.data ? one->answer.data : "", one->answer.length, 0, NULL);
    const char *name = json_string_value(json_object_get(answer, "service"));
    if (status == 200 && name && !strcmp(name, one->name)) return answer;
    json_t *wrong = status_wrong(one, status, name, json_string_value(json_object_get(answer, "detail")));
    json_decref(answer);
    return wrong;
}

static void status_answered(struct peer *one, CURLcode result, long status) {
    if (result == CURLE_OK && !one->answer.failed) {
        json_t *said = status_read(one, status);
        json_decref(one->status);
        one->status = said;
        one->contact = PEER_ANSWERS;
        one->answered_at = steady_ms();
        one->answered_ms = clock_ms();
    } else if (result == CURLE_COULDNT_CONNECT || result == CURLE_COULDNT_RESOLVE_HOST) {
        one->contact = PEER_REFUSES;
    } else if (!one->answered_at || one->contact != PEER_ANSWERS || steady_ms() - one->answered_at > SILENT_MS) {
        one->contact = PEER_SILENT;
    }
}

/* What pages show of a service, as the keeper has it: texts of a bounded length, numbers and truth; NULL: it has no
 * name. */
static json_t *listed_check(const json_t *one) {
    static const char *const texts[] = {"title", "state", "tone", "text", "answered_at"};
    static const char *const others[] = {
        "behind",   "oldest_unhandled_ms", "handled_per_second", "published_per_second",
        "to_go_ms", "dead_letters",        "subscribes"};
    const char *name = json_string_value(json_object_get(one, "name"));
    const char *url = json_string_value(json_object_get(one, "url"));
    struct authority at;
    if (!name || !*name || strlen(name) > NAME_BYTES) return NULL;
    bool linked = url && strlen(url) < URL_SIZE && site_read(url, &at);
    json_t *kept = json_pack("{s:s, s:s?}", "name", name, "url", linked ? url : NULL);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        const char *text = json_string_value(json_object_get(one, texts[i]));
        json_object_set_new(kept, texts[i], text ? words_cut(text, i ? TEXT_BYTES : TITLE_BYTES) : json_null());
    }
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        json_t *value = json_object_get(one, others[i]);
        bool plain = json_is_number(value) || json_is_boolean(value);
        json_object_set(kept, others[i], plain ? value : json_null());
    }
    return kept;
}

/* Whatever the keeper says is shown on pages, so its shape is looked at. */
static json_t *list_check(const struct buffer *answer) {
    json_t *body = json_loadb(answer->data ? answer->data : "", answer->length, 0, NULL), *one;
    json_t *list = json_array();
    size_t i;
    json_array_foreach(json_object_get(body, "peers"), i, one) {
        json_t *kept = i < PEERS_MAX ? listed_check(one) : NULL;
        if (kept) json_array_append_new(list, kept);
    }
    json_decref(body);
    return list;
}

static void list_answered(struct peers *p, struct peer *keeper, CURLcode result, long status) {
    bool answered = result == CURLE_OK && status == 200 && !keeper->answer.failed;
    view_set(p, answered ? list_check(&keeper->answer) : NULL, !answered);
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
            list_answered(p, one, result, status);
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
    } else {
        char url[URL_SIZE];
        const char *name = p->options.keeper;
        struct peer *keeper = name ? peer_find(p, name) : NULL;
        if (keeper) peer_move(p, keeper, settings_call_url(p->options.settings, name, "", url, sizeof url));
    }
    for (size_t i = 0; i < p->n; i++)
        if (!p->all[i]->is_self) request_begin(p, p->all[i]);
}

/* When the next round is due; INT64_MAX: not until somebody looks. False: it is time to stop. */
static bool round_next(struct peers *p, int64_t last, int64_t *due) {
    pthread_mutex_lock(&p->lock);
    bool looks = p->looked_at && steady_ms() - p->looked_at < LOOK_MS, go_on = !p->stopping;
    pthread_mutex_unlock(&p->lock);
    *due = looks ? last + LOOKED_AT_MS : p->options.keeps_list ? last + IDLE_MS : INT64_MAX;
    return go_on;
}

static void *peers_run(void *peers) {
    struct peers *p = peers;
    pthread_setname_np(pthread_self(), "peers");
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
    pthread_mutex_lock(&p->lock);
    bool idle = !p->looked_at || now - p->looked_at >= LOOK_MS;
    p->looked_at = now;
    pthread_mutex_unlock(&p->lock);
    if (idle) curl_multi_wakeup(p->multi);
}

/* --- Start and stop */

static verdict peers_open(struct peers **out, const struct peers_options *o, struct failure *why) {
    *out = NULL;
    if (curl_global_init(CURL_GLOBAL_DEFAULT)) return fail(why, FATAL, "could not start libcurl");
    struct peers *p = calloc(1, sizeof *p);
    if (!p) {
        curl_global_cleanup();
        return fail(why, RETRY, "out of memory");
    }
    *out = p;
    p->options = *o;
    pthread_mutex_init(&p->lock, NULL);
    p->multi = curl_multi_init();
    p->headers = curl_slist_append(NULL, "Accept: application/json");
    p->view = json_array();
    return p->multi && p->headers && p->view ? OK : fail(why, RETRY, "out of memory");
}

verdict peers_start(struct peers **out, const struct peers_options *o, struct failure *why) {
    verdict v = peers_open(out, o, why);
    if (v != OK) return v;
    struct peers *p = *out;
    p->running = !pthread_create(&p->thread, NULL, peers_run, p);
    return p->running ? OK : fail(why, RETRY, "could not start the thread that observes the other services");
}

void peers_stop(struct peers *p) {
    if (!p || !p->running) return;
    pthread_mutex_lock(&p->lock);
    p->stopping = true;
    pthread_mutex_unlock(&p->lock);
    curl_multi_wakeup(p->multi);
    pthread_join(p->thread, NULL);
    p->running = false;
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
    pthread_mutex_destroy(&p->lock);
    free(p);
    curl_global_cleanup();
}
