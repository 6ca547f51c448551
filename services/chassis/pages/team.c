#include "chassis/pages/team.h"

#include "chassis/pages/runtime.h"

struct core *runtime_core(const struct runtime *rt) {
    return (struct core *)&rt->core;
}

struct relay *runtime_relay(const struct runtime *rt) {
    return rt->relay;
}

struct peers *runtime_peers(const struct runtime *rt) {
    return rt->peers;
}

struct subscribers *runtime_subscribers(const struct runtime *rt) {
    return rt->subscribers;
}

struct caller *runtime_caller(const struct runtime *rt) {
    return rt->caller;
}

int runtime_port(const struct runtime *rt) {
    return http_port(rt->http);
}

int64_t runtime_started_at(const struct runtime *rt) {
    return rt->started_at;
}
