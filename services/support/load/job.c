#include "support/load/job.h"

#include "chassis/base/wait.h"
#include "chassis/pages/team.h"
#include "chassis/web/http.h"

#include <stdlib.h>
#include <string.h>

static void *job_thread(void *job) {
    struct job *j = job;
    pthread_setname_np(pthread_self(), j->name);
    j->run();
    lock_auto(&j->lock);
    j->running = false;
    return NULL;
}

bool job_claim(struct job *j, const struct runtime *rt) {
    lock_auto(&j->lock);
    if (j->running || runtime_started_at(rt) == j->closed) return false;
    if (j->started) pthread_join(j->thread, NULL); /* it has ended */
    j->started = j->stopping = false;
    return j->running = true;
}

bool job_start(struct job *j, bool wanted) {
    lock_auto(&j->lock);
    j->started = wanted && !j->stopping && !pthread_create(&j->thread, NULL, job_thread, j);
    return j->running = j->started;
}

void job_stop(struct job *j, const struct runtime *rt) {
    pthread_mutex_lock(&j->lock);
    j->stopping = true;
    j->closed = runtime_started_at(rt);
    bool join = j->started;
    j->started = false;
    pthread_mutex_unlock(&j->lock);
    if (join) pthread_join(j->thread, NULL);
}

static int64_t number_of(struct exchange *x, const json_t *sent, const char *name, int64_t most) {
    const json_t *value = json_object_get(sent, name);
    const char *text = json_string_value(value);
    int64_t number = json_integer_value(value);
    if (text && *text && strlen(text) <= 9 && !text[strspn(text, "0123456789")]) number = atoi(text);
    if (number >= 1 && number <= most) return number;
    text_auto given = json_dumps(value, JSON_ENCODE_ANY);
    exchange_problem_field(
        x, name, "%.60s is not a whole number from 1 to %lld", given ? given : "(nothing)", (long long)most);
    return 0;
}

bool amount_read(struct exchange *x, const json_t *sent, struct amount most, struct amount *out, const char *outcome) {
    out->rate = number_of(x, sent, "rate", most.rate);
    out->seconds = number_of(x, sent, "seconds", most.seconds);
    return exchange_fields_ok(x, 422, outcome);
}
