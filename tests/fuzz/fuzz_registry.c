/* An answer of the registry: its first byte says to what, its second with which status, the rest is the body. */
#include "chassis/avro/registry_private.h" /* what reads an answer is known to nobody else */
#include "chassis/base/health.h"

#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
    static const enum step steps[] = {FETCH, CONFIGURE, REGISTER};
    static const long statuses[] = {200, 200, 201, 204, 301, 401, 404, 409, 422, 500};
    static struct registry r = {.shown = (char *)"http://registry", .worker.lock = PTHREAD_MUTEX_INITIALIZER};
    if (n < 2) return 0;
    static struct task witness = {.step = WITNESS, .id = NO_SUCH_ID};
    if (!r.o.health) r.o.health = health_new();
    r.witness = &witness;
    struct task t = {.step = steps[bytes[0] % 3], .id = 7, .state = {.kind = RETRY}, .answer = BUFFER(ANSWER_MAX)};
    if (t.step != FETCH) {
        t.subject = (char *)"support.events-returns.support.RefundRequest";
        t.text = "{}";
    }
    buffer_bytes(&t.answer, bytes + 2, n - 2);
    pthread_mutex_lock(&r.worker.lock);
    task_answered(&r, &t, statuses[bytes[1] % (sizeof statuses / sizeof *statuses)]);
    pthread_mutex_unlock(&r.worker.lock);
    must(t.subject || (t.state.kind == OK) == !!t.schema, "a fetch that is done has a schema");
    must(!t.said || r.tasks, "references that are missing are asked for");
    must(t.state.kind == OK || *t.state.text, "what is not done says why");
    must(t.id >= 0, "an id is one that a frame can hold");
    for (struct task *next; r.tasks; r.tasks = next) {
        next = r.tasks->next;
        task_free(r.tasks);
    }
    json_decref(t.said);
    schema_free(&t.schema);
    buffer_free(&t.answer);
    return 0;
}
