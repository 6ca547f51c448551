#include "chassis/web/sse.h"

#include "chassis/base/ids.h"
#include "chassis/base/metrics.h"
#include "chassis/web/sockets.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

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
    int64_t turn_at, spoke_at, end_at;
    struct buffer rest; /* what its socket did not take yet; until then it has no turn */
    size_t rest_sent;
    int64_t stuck_since;
};

/* Rows as they go out. Viewers who are at the same place share them. */
struct block {
    int64_t after, last;
    int limit;
    bool failed;
    struct buffer bytes;
};

struct sse {
    struct sse_options options;
    pthread_t thread;
    int wake; /* eventfd */
    atomic_bool stopping;
    pthread_mutex_t lock; /* guards the rest */
    int taken;            /* viewers, those who are about to be, and those who are gone and not swept yet: each has its
                             place in the arrays, and gives it back with that */
    int lights;
    struct viewer *viewers;
    struct pollfd *polled; /* the thread's alone */
    int n;
    int64_t look_at;
    int64_t measured_at, pages, pages_us; /* the counters' values then */
    int64_t page_us;                      /* what one page takes, of late; a guess at first */
};

/* --- One viewer */

static void viewer_close(struct sse *h, struct viewer *v) {
    if (v->fd < 0) return;
    socket_take_back(v->fd);
    close(v->fd);
    buffer_free(&v->rest);
    v->fd = -1;
    h->lights -= v->light;
}

/* How many of the bytes the socket takes; a socket that is broken is closed. */
static size_t viewer_send(struct sse *h, struct viewer *v, const char *bytes, size_t n) {
    ssize_t sent = send(v->fd, bytes, n, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent >= 0) return (size_t)sent;
    if (errno != EAGAIN && errno != EINTR) viewer_close(h, v);
    return 0;
}

static void viewer_say(struct sse *h, struct viewer *v, const char *bytes, size_t n, int64_t now) {
    size_t sent = viewer_send(h, v, bytes, n);
    v->spoke_at = now;
    if (v->fd < 0 || sent == n) return;
    v->rest = BUFFER(n);
    v->rest_sent = 0;
    v->stuck_since = now;
    buffer_bytes(&v->rest, bytes + sent, n - sent);
    if (v->rest.failed) viewer_close(h, v); /* a part of a message, and no memory for the other */
}

static void viewer_flush(struct sse *h, struct viewer *v, int64_t now) {
    size_t sent = viewer_send(h, v, v->rest.data + v->rest_sent, v->rest.length - v->rest_sent);
    if (v->fd < 0 || !sent) return;
    v->stuck_since = now;
    v->rest_sent += sent;
    if (v->rest_sent == v->rest.length) buffer_free(&v->rest);
}

/* Nothing is expected from it but that it goes. */
static void viewer_serve(struct sse *h, struct viewer *v, short events, int64_t now) {
    if (events & (POLLIN | POLLHUP | POLLERR))
        viewer_close(h, v);
    else if ((events & POLLOUT) && v->rest.length)
        viewer_flush(h, v, now);
}

/* --- News */

/* A step is small, since a row can be long. */
static void block_read(const struct sse *h, struct block *b, int64_t after) {
    int limit = b->limit;
    buffer_free(&b->bytes);
    *b = (struct block){after, after, limit, false, BUFFER(BLOCK_BYTES + 2 * STEP_ROWS * h->options.row_bytes)};
    int n, wanted;
    do {
        wanted = limit < STEP_ROWS ? limit : STEP_ROWS;
        n = h->options.read(h->options.context, &b->last, wanted, &b->bytes);
        limit -= n;
    } while (n == wanted && limit && b->bytes.length < BLOCK_BYTES);
    b->failed = b->bytes.failed || n < 0;
}

static void turn_full(struct sse *h, struct viewer *v, struct block *b, int64_t now) {
    if (b->after != v->after) block_read(h, b, v->after);
    v->turn_at = now + FULL_MS;
    if (b->failed) { /* it comes back to where it was, when rows can be read again */
        viewer_close(h, v);
        return;
    }
    v->after = b->last;
    if (b->bytes.length) viewer_say(h, v, b->bytes.data, b->bytes.length, now);
}

static void pages_measure(struct sse *h, int64_t now) {
    if (now - h->measured_at < MEASURE_MS) return;
    int64_t pages = metric_read(METRIC_http_pages), us = metric_read(METRIC_http_pages_cpu_us);
    if (pages > h->pages) h->page_us = (us - h->pages_us) / (pages - h->pages);
    h->pages = pages;
    h->pages_us = us;
    h->measured_at = now;
}

static int64_t light_pace(const struct sse *h) {
    int64_t ms = h->lights * h->page_us * LIGHT_SHARE / 1000;
    return ms < LIGHT_MS ? LIGHT_MS : ms > LIGHT_MS_MAX ? LIGHT_MS_MAX : ms;
}

static void turn_light(struct sse *h, struct viewer *v, int64_t newest, int64_t now) {
    char text[100];
    int64_t pace = light_pace(h);
    int n = snprintf(
        text, sizeof text, "id: %lld\nevent: audit\ndata: {\"id\":%lld,\"pace\":%lld}\n\n", (long long)newest,
        (long long)newest, (long long)pace);
    v->turn_at = now + pace;
    v->after = newest;
    viewer_say(h, v, text, (size_t)n, now);
}

/* No transaction is open while anything is sent, and sending waits for nobody. */
static void sse_look(struct sse *h, int64_t now) {
    pages_measure(h, now);
    int64_t newest = h->options.newest(h->options.context);
    int rows = ROWS_A_TURN / h->n;
    struct block block = {.after = -1, .limit = rows > ROWS_LEAST ? rows : ROWS_LEAST};
    for (struct viewer *v = h->viewers; v < h->viewers + h->n; v++) {
        if (v->fd < 0 || v->rest.length || now < v->turn_at || v->after >= newest) continue;
        if (v->light)
            turn_light(h, v, newest, now);
        else
            turn_full(h, v, &block, now);
    }
    buffer_free(&block.bytes);
}

/* --- The thread */

static void viewers_mind(struct sse *h, int64_t now) {
    int kept = 0;
    for (int i = 0; i < h->n; i++) {
        struct viewer *v = &h->viewers[i];
        if (v->fd >= 0 && v->rest.length && now - v->stuck_since > h->options.patience_ms) viewer_close(h, v);
        if (v->fd >= 0 && !v->rest.length && now >= v->end_at) viewer_close(h, v);
        if (v->fd >= 0 && !v->rest.length && now - v->spoke_at > h->options.heartbeat_ms)
            viewer_say(h, v, ": still here\n\n", 14, now);
        if (v->fd >= 0) h->viewers[kept++] = *v;
    }
    h->taken -= h->n - kept;
    h->n = kept;
}

/* Waits until something is to be done. Returns how many viewers were there meanwhile; newer ones stand behind them. */
static int sse_wait(struct sse *h) {
    pthread_mutex_lock(&h->lock);
    int n = h->n;
    h->polled[0] = (struct pollfd){.fd = h->wake, .events = POLLIN};
    for (int i = 0; i < n; i++)
        h->polled[i + 1] =
            (struct pollfd){.fd = h->viewers[i].fd, .events = POLLIN | (h->viewers[i].rest.length ? POLLOUT : 0)};
    pthread_mutex_unlock(&h->lock);
    poll(h->polled, (nfds_t)n + 1, n ? LOOK_MS : -1);
    uint64_t woken;
    if (h->polled[0].revents && read(h->wake, &woken, sizeof woken) < 0) return n; /* the next poll tells again */
    return n;
}

static void *sse_run(void *argument) {
    struct sse *h = argument;
    pthread_setname_np(pthread_self(), "hub");
    while (!atomic_load(&h->stopping)) {
        int n = sse_wait(h);
        int64_t now = steady_ms();
        pthread_mutex_lock(&h->lock);
        for (int i = 0; i < n; i++)
            if (h->polled[i + 1].revents) viewer_serve(h, &h->viewers[i], h->polled[i + 1].revents, now);
        if (h->n && now >= h->look_at) {
            sse_look(h, now);
            h->look_at = now + LOOK_MS;
        }
        viewers_mind(h, now);
        pthread_mutex_unlock(&h->lock);
    }
    return NULL;
}

static void sse_wake(struct sse *h) {
    const uint64_t one = 1;
    (void)!write(h->wake, &one, sizeof one);
}

/* --- Places */

bool sse_place_take(struct sse *h) {
    if (!h) return false;
    pthread_mutex_lock(&h->lock);
    bool free = !atomic_load(&h->stopping) && h->taken < h->options.streams;
    if (free) h->taken++;
    pthread_mutex_unlock(&h->lock);
    return free;
}

void sse_place_leave(struct sse *h) {
    pthread_mutex_lock(&h->lock);
    h->taken--;
    pthread_mutex_unlock(&h->lock);
}

/* The first message names the place, so that who saw nothing else can come back to it. */
void sse_place_fill(struct sse *h, int fd, bool light, int64_t after) {
    char text[100];
    int64_t now = steady_ms();
    int n = snprintf(text, sizeof text, ": the audit log, live\nretry: %d\nid: %lld\n\n", RETRY_MS, (long long)after);
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &(int){SOCKET_BYTES}, sizeof(int));
    pthread_mutex_lock(&h->lock);
    struct viewer *v = &h->viewers[h->n++];
    /* They do not all come back in the same moment. */
    *v = (struct viewer){.fd = fd, .light = light, .after = after, .end_at = now + h->options.life_ms - now % 64 * 100};
    h->lights += light;
    viewer_say(h, v, text, (size_t)n, now);
    pthread_mutex_unlock(&h->lock);
    sse_wake(h);
}

/* --- Start and stop */

static void sse_free(struct sse *h) {
    if (h->wake >= 0) close(h->wake);
    pthread_mutex_destroy(&h->lock);
    free(h->viewers);
    free(h->polled);
    free(h);
}

verdict sse_start(struct sse **out, const struct sse_options *o, struct failure *why) {
    struct sse *h = calloc(1, sizeof *h);
    if (!h) return fail(why, RETRY, "out of memory");
    h->options = *o;
    h->page_us = PAGE_US;
    if (!o->heartbeat_ms) h->options.heartbeat_ms = HEARTBEAT_MS;
    if (!o->life_ms) h->options.life_ms = LIFE_MS;
    if (!o->patience_ms) h->options.patience_ms = PATIENCE_MS;
    pthread_mutex_init(&h->lock, NULL);
    h->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    h->viewers = calloc((size_t)o->streams + 1, sizeof *h->viewers);
    h->polled = calloc((size_t)o->streams + 1, sizeof *h->polled);
    bool ready = h->wake >= 0 && h->viewers && h->polled;
    if (!ready || pthread_create(&h->thread, NULL, sse_run, h)) {
        sse_free(h);
        return fail(why, RETRY, "could not start the thread for those who watch: out of memory or threads");
    }
    *out = h;
    return OK;
}

int sse_watched(struct sse *h) {
    if (!h) return 0;
    pthread_mutex_lock(&h->lock);
    int n = h->taken;
    pthread_mutex_unlock(&h->lock);
    return n;
}

void sse_stop(struct sse **sse) {
    struct sse *h = *sse;
    if (!h) return;
    *sse = NULL;
    atomic_store(&h->stopping, true);
    sse_wake(h);
    pthread_join(h->thread, NULL);
    for (int i = 0; i < h->n; i++) viewer_close(h, &h->viewers[i]);
    sse_free(h);
}
