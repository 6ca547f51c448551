/* helper_world: all that a service needs around it, inside the test's own process: librdkafka's mock cluster, a small
 * schema registry, a folder for its database. Faults are switched on and off by the test. */
#pragma once

#include "chassis/events/service.h"
#include "chassis/pages/runtime.h"

#include <civetweb.h>
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>
#include <pthread.h>
#include <stdatomic.h>

enum { WORLD_SCHEMAS = 32, WORLD_WRONG = 600 };

struct world {
    rd_kafka_t *host; /* holds the mock cluster */
    rd_kafka_mock_cluster_t *cluster;
    rd_kafka_t *producer;
    rd_kafka_resp_err_t delivered;                          /* how its last record fared */
    char *subjects[WORLD_SCHEMAS], *schemas[WORLD_SCHEMAS]; /* id = index + 1 */
    int schemas_n, unread; /* unread: an id that it has, and says it has not; 0: none */
    pthread_mutex_t lock;
    struct mg_context *registry;
    int registry_port;
    atomic_bool registry_down;    /* answers 503 */
    atomic_int registry_stumbles; /* answers 500 to so many questions for a schema */
    atomic_int wrong_status;      /* what it answers to each id from WORLD_WRONG on; 0: as it should */
    const char *_Atomic wrong_body;
    atomic_bool registry_refuses;              /* answers 409 to registrations */
    const char *_Atomic registry_refuses_text; /* to those alone that hold it */
    char folder[64], registry_url[128];
    const char *name;    /* of the service; "probe" unless the test says another before it starts it */
    const char *more[6]; /* flags besides the usual ones */
    int more_n;
    struct settings settings;
    struct runtime rt;
};

void world_open(struct world *w);
void world_close(struct world *w);
void world_start(struct world *w, const struct service *service); /* its database stays between starts */
/* The same, for a start that may fail; whatever the verdict, world_stop() or another start may follow. */
MUST_CHECK verdict world_try(struct world *w, const struct service *service, struct failure *why);
/* The program's arguments with which a service runs in this world: argv[0] first, NULL last; they live in flags. */
enum { WORLD_FLAGS = 20 };
int world_flags(struct world *w, char flags[WORLD_FLAGS][200], char *argv[WORLD_FLAGS]);
void world_stop(struct world *w);

int world_schema(struct world *w, const char *text); /* known to the registry from now on; returns its id */
int world_schema_unread(
    struct world *w, const char *text); /* only once it is given to world_schema(); returns its id */
void world_publish(
    struct world *w, int partition, const char *key, const void *value, size_t n); /* to support.events */
/* A record of the given schema; value: JSON text. */
void world_publish_event(struct world *w, int partition, int schema_id, const char *json);
/* The text of schemas/FILE.avsc; until the next call. */
const char *world_schema_text(const char *file);
/* An event by that schema; takes the reference. */
void world_publish_to(struct world *w, const char *topic, int partition, const char *file, json_t *event);
/* To partition 0, with an id, a version and a moment of its own; event: its other fields; takes the reference. */
void world_publish_as(struct world *w, const char *topic, const char *file, json_t *event);
/* A RefundRequest in support.events. */
void world_request(struct world *w, const char *return_id, const char *order_id, const char *serial_number);

/* One number from the service's database, through a connection of the test's own; -1: no row. */
int64_t world_int(struct world *w, const char *sql);
int64_t world_records(struct world *w, const char *topic); /* how many the topic holds */
/* Waits until that number is as expected; fails the test after 30 s. */
void world_await(struct world *w, const char *sql, int64_t expected);
/* Waits until a component of the service is in the state, and its text holds the word. */
void world_await_health(struct world *w, const char *component, const char *state, const char *word);
/* Reads the topic from its beginning until n records came or 30 s passed; each value without its frame is given to
 * each(). */
int world_read(
    struct world *w, const char *topic, int n, void (*each)(const rd_kafka_message_t *m, void *context), void *context);
