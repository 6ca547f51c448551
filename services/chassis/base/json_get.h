/* json_get: members of a JSON object as C values, and several set at once. Any thread. */
#pragma once

#include <jansson.h>
#include <stdint.h>

const char *json_get_text(const json_t *object, const char *name); /* "" when it has no such text. Lives with it */
long long json_get_int(const json_t *object, const char *name);    /* 0 when it has no such integer */
int64_t json_get_time(const json_t *object, const char *name);     /* ms of an RFC 3339 text. 0: it has none */
/* The first item of the array whose member is that text. NULL: none. Lives with the array. */
json_t *json_find(const json_t *array, const char *member, const char *text);

/* Sets several members: json_add(one, "{s:s, s:b}", …), as json_pack() has it. None of them without memory. */
void json_add(json_t *object, const char *format, ...);

/* json_each(i, one, array) { … }: each item of an array, and where it is. None of what is no array. */
#define json_each(i, one, array)                                                                                       \
    for (size_t i = 0, i##_next = 0; i == i##_next; i++) /* after a break it is not */                                 \
        for (json_t *one = json_array_get(array, i##_next); one; one = NULL, i##_next++)

/* json_members(m, object) { … m.name, m.value … }: each member of an object, none of what is no object. A member may be
 * given another value meanwhile, and none may be taken out. */
struct json_member {
    void *at;
    const char *name;
    json_t *value;
};
struct json_member json_member_at(void *iterator);
#define json_members(m, object)                                                                                        \
    for (struct json_member m = json_member_at(json_object_iter(object)); m.at;                                        \
         m = json_member_at(json_object_iter_next(object, m.at)))
