#include "chassis/base/json_get.h"

#include "chassis/base/ids.h"

const char *json_get_text(const json_t *object, const char *name) {
    const char *text = json_string_value(json_object_get(object, name));
    return text ? text : "";
}

long long json_get_int(const json_t *object, const char *name) {
    return json_integer_value(json_object_get(object, name));
}

int64_t json_get_time(const json_t *object, const char *name) {
    int64_t ms;
    return time_parse(json_get_text(object, name), &ms) ? ms : 0;
}

struct json_member json_member_at(void *iterator) {
    return (struct json_member){iterator, json_object_iter_key(iterator), json_object_iter_value(iterator)};
}
