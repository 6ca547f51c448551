/* helper_probe: the service under test: keeps each number once, refuses negative ones, answers with the number. */
#pragma once

#include "helper_world.h"

#define COMMON                                                                                                                           \
    "{\"name\":\"event_id\",\"type\":\"string\"},{\"name\":\"return_id\",\"type\":\"string\"},{\"name\":\"version\",\"type\":\"long\"}," \
    "{\"name\":\"occurred_at\",\"type\":\"long\"},{\"name\":\"caused_by\",\"type\":[\"null\",\"string\"],\"default\":null}"
#define ASKED                                                                                                          \
    "{\"type\":\"record\",\"name\":\"Asked\",\"namespace\":\"returns.support\",\"fields\":[" COMMON                    \
    ",{\"name\":\"n\",\"type\":\"int\"},"                                                                              \
    "{\"name\":\"unused\",\"type\":\"string\",\"default\":\"\"}]}"
#define OTHER "{\"type\":\"record\",\"name\":\"Other\",\"namespace\":\"returns.support\",\"fields\":[" COMMON "]}"
#define ANSWERED                                                                                                       \
    "{\"type\":\"record\",\"name\":\"Answered\",\"namespace\":\"returns.probe\",\"fields\":[" COMMON                   \
    ",{\"name\":\"n\",\"type\":\"long\"}]}"

extern const struct service probe;
/* Not NULL: the next produce requests, which will be the answer's, fail: so many of them, with this error. */
extern rd_kafka_mock_cluster_t *_Atomic break_next_send;
extern rd_kafka_resp_err_t break_with;
extern int break_times;

void probe_assets_use(void);
int probe_setup(void **state); /* *state: a struct world, in which the service is not started yet */
int probe_teardown(void **state);

/* Publishes an Asked to that partition of support.events. */
void ask(struct world *w, int partition, const char *return_id, int n);

/* What world_read() saw last, and how much. */
struct seen {
    int n;
    char key[64], type[64], parent[64], last_json[600];
};
void look_at(const rd_kafka_message_t *m, void *seen);
