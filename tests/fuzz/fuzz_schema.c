/* A schema as a registry could hold it, a NUL, and a record's value by that schema. */
#include "fuzz.h"

#include "chassis/avro/codec.h"

#include <string.h>

struct fields {
    const char *name;
    int64_t count;
    bool flag;
    struct money cost;
    int64_t at;
};
static const struct field fields[] = {
    FIELD_TEXT(struct fields, name),  FIELD_INT(struct fields, count), FIELD_BOOL(struct fields, flag),
    FIELD_MONEY(struct fields, cost), FIELD_MOMENT(struct fields, at),
};

/* What is read out of the bytes is what their JSON says, as far as that keeps it. */
static void alike(struct written *value, struct written *json) {
    struct failure why;
    struct items items, same;
    struct written one, other;
    for (const struct field *f = fields; f < fields + sizeof fields / sizeof *fields; f++) {
        struct fields a = {0}, b = {0};
        if (project(value, f, 1, &a, &why) != OK || project(json, f, 1, &b, &why) != OK) continue;
        must(a.count == b.count && a.flag == b.flag && a.cost.minor == b.cost.minor, "bytes and JSON say the same");
        must(written_has(value, f->path) == written_has(json, f->path), "what is there is there in both");
    }
    if (written_items(value, "items", &items, &why) != OK || written_items(json, "items", &same, &why) != OK) return;
    while (items_next(&items, &one)) must(items_next(&same, &other), "a list is no longer than in JSON");
    must(!items_next(&same, &other), "a list is no shorter than in JSON");
}

static void value_read(const struct schema *s, const uint8_t *bytes, size_t n) {
    struct failure why;
    struct buffer again = BUFFER(EVENT_BYTES_MAX);
    struct written value;
    if (codec_read(s, bytes, n, &value, &why) == OK) {
        struct written json = {.json = (json_t *)written_json(&value)};
        must(json.json, "what was checked has its JSON");
        alike(&value, &json);
        (void)!codec_encode(s, json.json, &again, &why);
    }
    buffer_free(&again);
    written_free(&value);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
    struct failure why;
    struct schema *s = NULL;
    const uint8_t *end = memchr(bytes, 0, n);
    size_t text_n = end ? (size_t)(end - bytes) : n;
    if (schema_parse((const char *)bytes, text_n, &s, &why) != OK) {
        must(!s && why.kind == REJECT && strlen(why.text) > 10, "a refused schema is told why");
        return 0;
    }
    must(schema_name(s) && *schema_name(s), "a schema has a name");
    value_read(s, end ? end + 1 : bytes, end ? n - text_n - 1 : 0);
    schema_free(&s);
    return 0;
}
