#include "chassis/base/json_get.h"

#include "chassis/base/ids.h"

#include <stdarg.h>
#include <string.h>

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

json_t *json_find(const json_t *array, const char *member, const char *text) {
    json_each(i, one, array)
        if (!strcmp(json_get_text(one, member), text)) return one;
    return NULL;
}

void json_add(json_t *object, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    json_object_update_new(object, json_vpack_ex(NULL, 0, format, arguments));
    va_end(arguments);
}

struct json_member json_member_at(void *iterator) {
    return (struct json_member){iterator, json_object_iter_key(iterator), json_object_iter_value(iterator)};
}
