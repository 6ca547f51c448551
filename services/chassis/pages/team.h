/* team: what a team's pages may ask of the running service that they get as exchange.context. Any thread. */
#pragma once

#include "chassis/events/core.h"

#include <stdint.h>

struct runtime;

struct core *runtime_core(const struct runtime *rt);
struct relay *runtime_relay(const struct runtime *rt); /* NULL: it is in memory */
struct peers *runtime_peers(const struct runtime *rt);
struct subscribers *runtime_subscribers(const struct runtime *rt); /* NULL unless watch_subscribers */
struct caller *runtime_caller(const struct runtime *rt);           /* NULL unless calls_others */
int runtime_port(const struct runtime *rt);                        /* on which it serves */
int64_t runtime_started_at(const struct runtime *rt);              /* ms */
