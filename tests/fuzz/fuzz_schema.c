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

static void value_read(const struct schema *s, const uint8_t *bytes, size_t n) {
    struct failure why;
    struct fields out;
    struct buffer again = BUFFER(EVENT_BYTES_MAX);
    struct written value;
    if (codec_read(s, bytes, n, &value, &why) == OK) {
        for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) (void)!project(&value, fields + i, 1, &out, &why);
        (void)!codec_encode(s, written_json(&value), &again, &why);
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
