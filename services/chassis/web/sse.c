#include "chassis/web/sse.h"

#include "chassis/base/ids.h"
#include "chassis/base/metrics.h"
#include "chassis/base/wait.h"
#include "chassis/web/http_private.h"
#include "chassis/web/sockets.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { HEARTBEAT_MS = 10000, LIFE_MS = 600000, PATIENCE_MS = 5000, RETRY_MS = 1000 };

/* Each time that a light stream speaks, its page is loaded again. So it speaks at most every 250 ms, and so seldom that
 * making all their pages takes at most a fortieth of one processor, by what pages took of late. A full stream has a
 * turn every 200 ms, and all of them together ROWS_A_TURN rows. */
enum { LOOK_MS = 50, LIGHT_MS = 250, LIGHT_MS_MAX = 10000, LIGHT_SHARE = 40, MEASURE_MS = 1000, PAGE_US = 1000 };
enum { FULL_MS = 200, ROWS_A_TURN = 1000, ROWS_LEAST = 5 };
enum { STEP_ROWS = 20, BLOCK_BYTES = 64 << 10, SOCKET_BYTES = 64 << 10 };

struct viewer {
    int fd; /* −1: gone, to be swept */
    bool light;
    int64_t after; /* the last row that it was told of */
    int64_t turn_at, end_at;
    int64_t spoke_at;   /* its socket took bytes, or should have */
    struct buffer rest; /* what its socket did not take yet. Until then it has no turn */
    size_t rest_sent;
};

/* Rows as they go out. Viewers who are at the same place share them. */
struct block {
    int64_t after, last;
    bool failed;
    struct buffer bytes;
};

struct sse {
    struct sse_options options;
    atomic_int taken;     /* viewers, those who are about to be, and those who are gone and not swept yet */
    struct worker worker; /* its lock guards the new ones, so that none of them waits for the rows of the others */
    struct viewer *new_ones;
    int n_new;
    /* The thread's own. */
    int n, lights;
    int64_t measured_at, pages, pages_us; /* the counters' values then */
    int64_t page_us;                      /* what one page takes, of late. A guess at first */
    struct viewer viewers[];
};

/* --- One viewer */

static void viewer_close(struct viewer *v) {
    v->fd = socket_give_back(v->fd);
    buffer_free(&v->rest);
}

static void viewer_flush(struct viewer *v, int64_t now) {
    ssize_t sent = send(v->fd, v->rest.data + v->rest_sent, v->rest.length - v->rest_sent, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0 && errno != EAGAIN && errno != EINTR) viewer_close(v);
    if (sent <= 0) return;
    v->spoke_at = now;
    v->rest_sent += (size_t)sent;
    if (v->rest_sent == v->rest.length) buffer_free(&v->rest);
}

static void viewer_say(struct viewer *v, const char *bytes, size_t n, int64_t now) {
    v->rest = BUFFER(n);
    v->rest_sent = 0;
    v->spoke_at = now;
    buffer_bytes(&v->rest, bytes, n);
    if (v->rest.failed)
        viewer_close(v);
    else
        viewer_flush(v, now);
}

/* Nothing is expected from a viewer but that it goes. */
static bool is_gone(const struct viewer *v) {
    char byte;
    return recv(v->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) >= 0 || (errno != EAGAIN && errno != EINTR);
}

/* --- News */

/* A step is small, since a row can be long. */
static void block_read(const struct sse *h, struct block *b, int64_t after) {
    int limit = ROWS_A_TURN / h->n > ROWS_LEAST ? ROWS_A_TURN / h->n : ROWS_LEAST, n, wanted;
    buffer_free(&b->bytes);
    *b = (struct block){after, after, false, BUFFER(BLOCK_BYTES + 2 * STEP_ROWS * h->options.row_bytes)};
    do {
        wanted = limit < STEP_ROWS ? limit : STEP_ROWS;
        n = h->options.read(h->options.context, &b->last, wanted, &b->bytes);
        limit -= n;
    } while (n == wanted && limit && b->bytes.length < BLOCK_BYTES);
    b->failed = b->bytes.failed || n < 0;
}

static void turn_full(const struct sse *h, struct viewer *v, struct block *b, int64_t now) {
    if (b->after != v->after) block_read(h, b, v->after);
    v->turn_at = now + FULL_MS;
    v->after = b->last;
    if (b->failed) /* it comes back to where it was, when rows can be read again */
        viewer_close(v);
    else if (b->bytes.length)
        viewer_say(v, b->bytes.data, b->bytes.length, now);
}

/* How often a light stream speaks. */
static int64_t light_pace(struct sse *h, int64_t now) {
    if (now - h->measured_at >= MEASURE_MS) {
        int64_t pages = metric_read(METRIC_http_pages), us = metric_read(METRIC_http_pages_cpu_us);
        if (pages > h->pages) h->page_us = (us - h->pages_us) / (pages - h->pages);
        h->pages = pages;
        h->pages_us = us;
        h->measured_at = now;
    }
    int64_t ms = h->lights * h->page_us * LIGHT_SHARE / 1000;
    return ms < LIGHT_MS ? LIGHT_MS : ms > LIGHT_MS_MAX ? LIGHT_MS_MAX : ms;
}

static void turn_light(struct viewer *v, int64_t newest, int64_t pace, int64_t now) {
    char text[100];
    int n = snprintf(
        text, sizeof text, "id: %lld\nevent: audit\ndata: {\"id\":%lld,\"pace\":%lld}\n\n", (long long)newest,
        (long long)newest, (long long)pace);
    v->turn_at = now + pace;
    v->after = newest;
    viewer_say(v, text, (size_t)n, now);
}

/* No transaction is open while anything is sent, and sending waits for nobody. */
static void viewers_look(struct sse *h, int64_t now) {
    int64_t newest = h->options.newest(h->options.context), pace = light_pace(h, now);
    struct block block = {.after = -1};
    int kept = 0;
    h->lights = 0;
    for (struct viewer *v = h->viewers; v < h->viewers + h->n; v++) {
        bool late = v->rest.length && now - v->spoke_at > h->options.patience_ms;
        if (v->fd >= 0 && (late || is_gone(v))) viewer_close(v);
        if (v->fd >= 0 && v->rest.length) viewer_flush(v, now);
        if (v->fd >= 0 && !v->rest.length && now >= v->turn_at && v->after < newest) {
            if (v->light)
                turn_light(v, newest, pace, now);
            else
                turn_full(h, v, &block, now);
        }
        if (v->fd >= 0 && !v->rest.length && now >= v->end_at) viewer_close(v);
        if (v->fd >= 0 && !v->rest.length && now - v->spoke_at > h->options.heartbeat_ms)
            viewer_say(v, ": still here\n\n", 14, now);
        if (v->fd < 0) continue;
        h->lights += v->light;
        h->viewers[kept++] = *v;
    }
    h->taken -= h->n - kept;
    h->n = kept;
    buffer_free(&block.bytes);
}

static void *sse_run(void *sse) {
    struct sse *h = sse;
    lock_auto(&h->worker.lock);
    while (!h->worker.stopping) {
        memcpy(h->viewers + h->n, h->new_ones, (size_t)h->n_new * sizeof *h->viewers);
        h->n += h->n_new;
        h->n_new = 0;
        if (!h->n) {
            pthread_cond_wait(&h->worker.news, &h->worker.lock);
            continue;
        }
        pthread_mutex_unlock(&h->worker.lock);
        viewers_look(h, steady_ms());
        pthread_mutex_lock(&h->worker.lock);
        (void)worker_rest(&h->worker, steady_ms() + LOOK_MS);
    }
    return NULL;
}

/* --- A new one */

/* The first message names the place, so that who saw nothing else can come back to it. */
static void viewer_add(struct sse *h, int fd, bool light, int64_t after) {
    char text[100];
    int64_t now = steady_ms();
    int n = snprintf(text, sizeof text, ": the audit log, live\nretry: %d\nid: %lld\n\n", RETRY_MS, (long long)after);
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &(int){SOCKET_BYTES}, sizeof(int));
    /* They do not all come back in the same moment. */
    struct viewer v = {.fd = fd, .light = light, .after = after, .end_at = now + h->options.life_ms - now % 64 * 100};
    viewer_say(&v, text, (size_t)n, now);
    lock_auto(&h->worker.lock);
    h->new_ones[h->n_new++] = v;
    pthread_cond_signal(&h->worker.news);
}

void sse_answer(struct sse *h, struct exchange *x, bool light, int64_t after) {
    if (atomic_fetch_add(&h->taken, 1) >= h->options.streams) {
        h->taken--;
        exchange_set_header(x, "Retry-After", "30");
        exchange_problem(
            x, 503, "As many as may are watching already (%d); look at /api/audit again and again instead.",
            h->options.streams);
        return;
    }
    int fd = exchange_hand_over(x, "text/event-stream");
    if (fd >= 0)
        viewer_add(h, fd, light, after);
    else
        h->taken--;
}

int sse_watched(struct sse *h) {
    return h ? h->taken : 0;
}

/* --- Start and stop */

verdict sse_start(struct sse **out, const struct sse_options *o, struct failure *why) {
    struct sse *h = calloc(1, sizeof *h + 2 * (size_t)o->streams * sizeof *h->viewers);
    if (!h) return fail(why, RETRY, "out of memory");
    h->options = *o;
    h->new_ones = h->viewers + o->streams; /* as many as may be taken fit into each */
    h->page_us = PAGE_US;
    if (!o->heartbeat_ms) h->options.heartbeat_ms = HEARTBEAT_MS;
    if (!o->life_ms) h->options.life_ms = LIFE_MS;
    if (!o->patience_ms) h->options.patience_ms = PATIENCE_MS;
    if (!worker_start(&h->worker, "hub", sse_run, h)) {
        free(h);
        return fail(why, RETRY, "could not start the thread for those who watch: out of memory or threads");
    }
    *out = h;
    return OK;
}

void sse_stop(struct sse **sse) {
    struct sse *h = *sse;
    if (!h) return;
    *sse = NULL;
    worker_stop(&h->worker);
    for (int i = 0; i < h->n; i++) viewer_close(&h->viewers[i]);
    for (int i = 0; i < h->n_new; i++) viewer_close(&h->new_ones[i]);
    free(h);
}
