#include "chassis/events/core.h"

#include "chassis/avro/registry.h"
#include "chassis/base/assets.h"
#include "chassis/base/health.h"
#include "chassis/base/settings.h"
#include "chassis/base/wait.h"
#include "chassis/events/outbox.h"
#include "chassis/events/service.h"
#include "chassis/store/store.h"

verdict
core_open(struct core *core, const struct service *service, const struct settings *settings, struct failure *why) {
    *core = (struct core){.service = service, .settings = settings, .health = health_new()};
    pthread_mutex_init(&core->lock, NULL);
    wait_init(&core->news);
    return core->health ? OK : fail(why, RETRY, "out of memory");
}

static void note_type(void *context, const char *type, const char *text, size_t n) {
    (void)text, (void)n;
    *(const char **)context = type;
}

verdict core_start_codec(struct core *core, void (*changed)(void *context), void *context, struct failure *why) {
    const struct settings *s = core->settings;
    struct registry_options o = {
        .url = s->registry,
        .user = *s->registry_user ? s->registry_user : NULL,
        .password = *s->registry_password ? s->registry_password : NULL,
        .timeout_ms = (int)s->registry_timeout_ms,
        .unknown_id_ms = (int)s->unknown_id_ms,
        .health = core->health,
        .changed = changed,
        .context = context,
    };
    verdict v = outbox_open(&core->outbox, own_assets, own_assets_n, s->schemas, why);
    const char *published = NULL;
    if (v == OK && core->service->in_memory) outbox_each(core->outbox, note_type, &published);
    if (published) v = fail(why, FATAL, "a service in memory publishes nothing, but has a schema: \"%s\"", published);
    return v == OK ? registry_start(&core->registry, &o, why) : v;
}

void core_news(void *core) {
    struct core *c = core;
    lock_auto(&c->lock);
    pthread_cond_broadcast(&c->news);
}

void core_close(struct core *core) {
    registry_stop(&core->registry);
    outbox_close(&core->outbox);
    store_close(&core->store);
    health_free(&core->health);
    pthread_cond_destroy(&core->news);
    pthread_mutex_destroy(&core->lock);
}
