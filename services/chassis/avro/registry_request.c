#include "chassis/avro/registry_private.h"
#include "chassis/base/http_request.h"

#include <stdlib.h>

static void url_write(const struct registry *r, const struct task *t, struct buffer *out) {
    buffer_text(out, r->url);
    buffer_text(out, t->step == CONFIGURE ? "/config/" : t->subject ? "/subjects/" : "/schemas/ids/");
    if (t->subject)
        buffer_percent(out, t->subject);
    else
        buffer_format(out, "%d", t->id);
    if (t->step == VERSION || t->step == REGISTER) buffer_text(out, "/versions");
    if (t->step == REFERENCE) buffer_format(out, "/versions/%d", t->id);
}

/* False: no memory. */
static bool body_set(struct task *t) {
    bool config = t->step == CONFIGURE;
    json_auto_t *body = config ? json_pack("{s:s}", "compatibility", "FULL_TRANSITIVE")
                               : json_pack("{s:s, s:s%}", "schemaType", "AVRO", "schema", t->text, t->text_n);
    char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
    bool set = text && !curl_easy_setopt(t->easy, CURLOPT_COPYPOSTFIELDS, text) &&
               !curl_easy_setopt(t->easy, CURLOPT_CUSTOMREQUEST, config ? "PUT" : "POST");
    free(text);
    return set;
}

bool request_make(struct registry *r, struct task *t) {
    static struct curl_slist accept =
                                 {(char *)"Accept: application/vnd.schemaregistry.v1+json, application/json", NULL},
                             expect = {(char *)"Expect:", &accept},
                             type = {(char *)"Content-Type: application/vnd.schemaregistry.v1+json", &expect};
    buffer_auto url = BUFFER(8192);
    url_write(r, t, &url);
    t->easy = url.failed ? NULL : curl_easy_init();
    if (!t->easy) return false;
    t->answer = BUFFER(ANSWER_MAX);
    t->reason[0] = '\0';
    r->lookups += is_lookup(t);
    curl_easy_setopt(t->easy, CURLOPT_PRIVATE, t);
    curl_easy_setopt(t->easy, CURLOPT_ERRORBUFFER, t->reason);
    curl_easy_setopt(t->easy, CURLOPT_QUICK_EXIT, 1L); /* a name being looked up must not hold up the end */
    curl_easy_setopt(t->easy, CURLOPT_USERPWD, r->login);
    return (!t->text || body_set(t)) &&
           http_request_set(t->easy, url.data, r->o.timeout_ms, t->text ? &type : &accept, &t->answer) &&
           !curl_multi_add_handle(r->multi, t->easy);
}

void request_end(struct registry *r, struct task *t) {
    if (!t->easy) return;
    r->lookups -= is_lookup(t);
    curl_multi_remove_handle(r->multi, t->easy);
    curl_easy_cleanup(t->easy);
    buffer_free(&t->answer);
    t->easy = NULL;
}
