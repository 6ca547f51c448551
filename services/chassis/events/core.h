/* core: what an event needs of the running service to have its effect: who the service is, and where its state is. A
 * rebuild has one of its own. Any thread. */
#pragma once

#include "chassis/base/failure.h"
#include "chassis/base/settings.h"
#include "chassis/events/service.h"

#include <pthread.h>
#include <stdatomic.h>

struct core {
    const struct service *service;
    const struct settings *settings;
    struct store *store;
    struct outbox *outbox;
    struct registry *registry;
    struct health *health;
    bool answered;        /* at the start, letters were there that had been answered before a rebuild rejected them */
    atomic_bool held;     /* nothing may be handled or published: history.h, which alone clears it */
    pthread_mutex_t lock; /* with news */
    pthread_cond_t news;  /* the registry has something new, or what was held may go on */
};

/* All that needs no file: no database yet, and no outbox. RETRY: no memory. core_close() also after a failure. */
MUST_CHECK verdict
core_open(struct core *core, const struct service *service, const struct settings *settings, struct failure *why);
/* The outbox, and the registry's thread, which calls changed() with context. */
MUST_CHECK verdict
core_start_codec(struct core *core, void (*changed)(void *context), void *context, struct failure *why);
void core_news(void *core); /* wakes whoever waits for news */
void core_close(struct core *core);
