#include "chassis/base/settings.h"
#include "chassis/kafka/client.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { MOST = 8 };

static verdict read_settings(struct settings *s, char *flags[MOST], char *environment[MOST], struct failure *why) {
    char *argv[MOST + 1] = {(char *)"sales"};
    int argc = 1;
    for (; flags && flags[argc - 1]; argc++) argv[argc] = flags[argc - 1];
    char *none[] = {NULL};
    return settings_read(s, "sales", 8001, argc, argv, environment ? environment : none, why);
}
#define LIST(...) ((char *[MOST]){__VA_ARGS__})

static void defaults_stand(void **state) {
    (void)state;
    struct settings s;
    struct failure why;
    assert_int_equal(read_settings(&s, NULL, NULL, &why), OK);
    assert_int_equal(s.port, 8001);
    assert_string_equal(s.host, "127.0.0.1");
    assert_string_equal(s.kafka, "127.0.0.1:9092");
    assert_string_equal(s.public_url, "http://localhost:8001");
    assert_string_equal(s.instance, "sales");
    assert_string_equal(s.registry_password, "");
    settings_free(&s);
}

static void what_is_no_site_or_host_is_refused(void **state) {
    (void)state;
    static const char *const wrong[] = {"--public-url=http://x/path",
                                        "--public-url=x:8000",
                                        "--public-url=http://u@x",
                                        "--public-url=http://x?q=",
                                        "--call-urls=sales=http://x/y",
                                        "--call-urls=sales=ftp://x",
                                        "--call-urls=sales",
                                        "--allowed-hosts=a b",
                                        "--allowed-hosts=http://x",
                                        "--allowed-hosts=x:0",
                                        "--peer-hosts=a/b"};
    static const char *const right[] = {
        "--public-url=https://returns.example/", "--call-urls=a=http://x:1,b=https://y/",
        "--allowed-hosts=x,[::1]:80,y:1", "--peer-hosts=x,192.0.2.1"};
    struct settings s;
    struct failure why;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        if (read_settings(&s, LIST((char *)wrong[i]), NULL, &why) != REJECT) fail_msg("%s was taken", wrong[i]);
        assert_non_null(strstr(why.text, strchr(wrong[i], '=') + 1));
        settings_free(&s);
    }
    for (size_t i = 0; i < sizeof right / sizeof *right; i++) {
        if (read_settings(&s, LIST((char *)right[i]), NULL, &why) != OK) fail_msg("%s: %s", right[i], why.text);
        settings_free(&s);
    }
}

static void a_flag_wins_over_the_environment(void **state) {
    (void)state;
    struct settings s;
    struct failure why;
    char *environment[MOST] = {(char *)"RETURNS_PORT=9000", (char *)"RETURNS_DATA_DIR=/tmp/x", (char *)"OTHER=1"};
    assert_int_equal(
        read_settings(&s, LIST((char *)"--port=9001", (char *)"--kafka", (char *)"a:1,b:2"), environment, &why), OK);
    assert_int_equal(s.port, 9001);
    assert_string_equal(s.data_dir, "/tmp/x");
    assert_string_equal(s.kafka, "a:1,b:2");
    settings_free(&s);
}

static void a_switch_needs_no_value(void **state) {
    (void)state;
    static const struct {
        const char *flag, *variable;
        int64_t drills;
    } cases[] = {
        {NULL, NULL, 0},
        {"--drills", NULL, 1},
        {"--drills=1", NULL, 1},
        {NULL, "RETURNS_DRILLS=1", 1},
        {NULL, "RETURNS_DRILLS=0", 0},
        {NULL, "RETURNS_DRILLS=", 0},
        {"--drills=0", "RETURNS_DRILLS=1", 0}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct settings s;
        struct failure why;
        char *environment[MOST] = {(char *)cases[i].variable};
        assert_int_equal(read_settings(&s, LIST((char *)cases[i].flag), environment, &why), OK);
        assert_int_equal(s.drills, cases[i].drills);
        assert_string_equal(s.host, "127.0.0.1"); /* it took nothing that is another one's */
        settings_free(&s);
    }
    struct settings s;
    struct failure why;
    assert_int_equal(read_settings(&s, LIST((char *)"--drills=yes"), NULL, &why), REJECT);
    assert_non_null(strstr(why.text, "\"yes\""));
    settings_free(&s);
}

static void properties_pass_through(void **state) {
    (void)state;
    struct settings s;
    struct failure why;
    char *flags[MOST] = {(char *)"-X", (char *)"security.protocol=ssl", (char *)"-Xsasl.password=a=b"};
    assert_int_equal(read_settings(&s, flags, NULL, &why), OK);
    assert_int_equal(s.properties_n, 2);
    assert_string_equal(s.properties[0].name, "security.protocol");
    assert_string_equal(s.properties[1].value, "a=b");
    settings_free(&s);
}

static void a_properties_file_is_read(void **state) {
    (void)state;
    char path[] = "/tmp/properties-XXXXXX", flag[64];
    int file = mkstemp(path);
    assert_true(dprintf(file, "# a comment\n\nclient.rack=r1\n") > 0);
    close(file);
    snprintf(flag, sizeof flag, "--kafka-config=%s", path);
    struct settings s;
    struct failure why;
    assert_int_equal(read_settings(&s, LIST(flag), NULL, &why), OK);
    assert_int_equal(s.properties_n, 1);
    assert_string_equal(s.properties[0].value, "r1");
    settings_free(&s);
    unlink(path);
}

static void a_secret_comes_from_its_file(void **state) {
    (void)state;
    char path[] = "/tmp/secret-XXXXXX", variable[64];
    int file = mkstemp(path);
    assert_int_equal(write(file, "geheim\n", 7), 7);
    close(file);
    snprintf(variable, sizeof variable, "RETURNS_REGISTRY_PASSWORD_FILE=%s", path);
    struct settings s;
    struct failure why;
    assert_int_equal(read_settings(&s, NULL, LIST(variable), &why), OK);
    assert_string_equal(s.registry_password, "geheim");
    settings_free(&s);
    unlink(path);
    assert_int_equal(read_settings(&s, NULL, LIST(variable), &why), REJECT);
    assert_non_null(strstr(why.text, path));
    settings_free(&s);
}

/* A value that may be a secret whose name was mistyped is not repeated, whatever is wrong with it. */
static void no_secret_is_repeated(void **state) {
    (void)state;
    char *const wrong[][2] = {
        {(char *)"-X", (char *)"sasl.passwrd=geheim"},
        {(char *)"-Xsasl.password", (char *)"geheim"},
        {(char *)"-X", (char *)"sasl.password:geheim"},
        {(char *)"-X", (char *)"ssl.key.pem=geheim"},
        {(char *)"-X", (char *)"ssl.keystore.pw=geheim"},
        {(char *)"-X", (char *)"sasl.password geheim"},
        {(char *)"--registry-passwrd=geheim", NULL},
        {(char *)"-X", (char *)"enable.sasl.oauthbearer.unsecure.jwt=geheim"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct settings s;
        struct failure why = {.text = ""};
        verdict v = read_settings(&s, LIST(wrong[i][0], wrong[i][1]), NULL, &why);
        if (v == OK) v = kafka_check(&s, &why);
        if (i != 3 || v != OK) assert_int_equal(v, REJECT); /* a key may be checked later only */
        if (i < 7 && strstr(why.text, "geheim")) fail_msg("%s", why.text);
        settings_free(&s);
    }
}

static void the_flag_wins_over_the_file(void **state) {
    (void)state;
    char path[] = "/tmp/properties-XXXXXX", variable[64];
    int file = mkstemp(path);
    assert_int_equal(write(file, "sasl.username=file\nclient.rack=file\n", 37), 37);
    close(file);
    snprintf(variable, sizeof variable, "RETURNS_KAFKA_CONFIG=%s", path);
    struct settings s;
    struct failure why;
    assert_int_equal(read_settings(&s, LIST((char *)"-X", (char *)"sasl.username=flag"), LIST(variable), &why), OK);
    assert_string_equal(settings_property(&s, "sasl.username"), "flag");
    assert_string_equal(settings_property(&s, "client.rack"), "file");
    assert_null(settings_property(&s, "client.id"));
    settings_free(&s);
    unlink(path);
}

static int queue_backoff(rd_kafka_type_t type, char *property) {
    char value[20];
    size_t n = sizeof value;
    rd_kafka_t *rk;
    struct settings s;
    struct failure why;
    assert_int_equal(read_settings(&s, property ? LIST((char *)"-X", property) : NULL, NULL, &why), OK);
    assert_int_equal(kafka_open(&rk, type, &s, NULL, NULL, (struct property[]){{0}}, &why), OK);
    bool known = rd_kafka_conf_get(rd_kafka_conf(rk), "fetch.queue.backoff.ms", value, &n) == RD_KAFKA_CONF_OK;
    rd_kafka_destroy(rk);
    settings_free(&s);
    return known ? atoi(value) : -1;
}

/* What this librdkafka does not know is left out, and what it knows is set, below a -X. */
static void what_a_version_brought_is_set_from_it_on(void **state) {
    (void)state;
    bool known = rd_kafka_version() >= 0x020200ff;
    assert_int_equal(queue_backoff(RD_KAFKA_CONSUMER, NULL), known ? 20 : -1);
    assert_int_equal(queue_backoff(RD_KAFKA_PRODUCER, NULL), known ? 1000 : -1);
    if (known) assert_int_equal(queue_backoff(RD_KAFKA_CONSUMER, (char *)"fetch.queue.backoff.ms=300"), 300);
}

/* Each wrong setting is refused, with the setting and the value in the message. */
static void wrong_settings_are_quoted(void **state) {
    (void)state;
    const struct {
        char *flags[MOST];
        const char *says[3];
    } wrong[] = {
        {{(char *)"--port=eighty"}, {"--port", "\"eighty\"", "65535"}},
        {{(char *)"--port=65536"}, {"--port", "\"65536\"", "65535"}},
        {{(char *)"--port="}, {"--port", "\"\"", "number"}},
        {{(char *)"--batch=0"}, {"--batch", "\"0\"", "10000"}},
        {{(char *)"--batch", (char *)"5x"}, {"--batch", "\"5x\"", "number"}},
        {{(char *)"--log-level=loud"}, {"--log-level", "\"loud\"", "debug"}},
        {{(char *)"--namespace=Big"}, {"namespace", "\"Big\"", "a-z"}},
        {{(char *)"--namespace=a.b"}, {"namespace", "\"a.b\"", "a-z"}},
        {{(char *)"--nonsense=1"}, {"--nonsense", "no such flag", "--help"}},
        {{(char *)"--portly=1"}, {"--portly", "no such flag", "--help"}},
        {{(char *)"--kafka"}, {"--kafka", "needs a value", ""}},
        {{(char *)"-X"}, {"-X", "name=value", ""}},
        {{(char *)"-X", (char *)"novalue"}, {"-X", "\"novalue\"", "name=value"}},
        {{(char *)"--policy=unknown-orders"}, {"policy", "\"unknown-orders\"", "name=value"}},
        {{(char *)"--policy=a=b,,c="}, {"policy", "\"a=b,,c=\"", "\"\""}},
        {{(char *)"--kafka-config=/does/not/exist"}, {"kafka-config", "/does/not/exist", "No such file"}},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct settings s;
        struct failure why;
        assert_int_equal(read_settings(&s, (char **)wrong[i].flags, NULL, &why), REJECT);
        for (int k = 0; k < 3; k++)
            if (!strstr(why.text, wrong[i].says[k])) fail_msg("\"%s\" does not say %s", why.text, wrong[i].says[k]);
        settings_free(&s);
    }
}

static void a_policy_is_found_by_its_whole_name(void **state) {
    (void)state;
    struct settings s;
    struct failure why;
    char out[20];
    assert_int_equal(read_settings(&s, LIST((char *)"--policy=ab=1,a=2,x-a=3"), NULL, &why), OK);
    assert_string_equal(settings_policy(&s, "a", "", out, sizeof out), "2");
    assert_string_equal(settings_policy(&s, "b", "usual", out, sizeof out), "usual");
    assert_int_equal(settings_check_policy(&s, "a", "1 2", &why), OK);
    assert_int_equal(settings_check_policy(&s, "b", "1 2", &why), OK); /* nothing is set */
    assert_int_equal(settings_check_policy(&s, "x-a", "1 2", &why), REJECT);
    assert_non_null(strstr(why.text, "x-a=3 must be one of: 1 2"));
    settings_free(&s);
}

static void the_namespace_is_put_before(void **state) {
    (void)state;
    struct settings s = {.namespace = ""};
    char out[64];
    assert_string_equal(settings_scoped(&s, "support.events", out, sizeof out), "support.events");
    s.namespace = "demo2";
    assert_string_equal(settings_scoped(&s, "support.events", out, sizeof out), "demo2.support.events");
}

static const json_t *row_of(const json_t *all, const char *name) {
    json_t *row;
    size_t i;
    json_array_foreach(
        (json_t *)all, i, row) if (!strcmp(json_string_value(json_object_get(row, "name")), name)) return row;
    fail_msg("%s is not among the settings", name);
    return NULL;
}

static void assert_row(const json_t *all, const char *name, const char *value, const char *from) {
    const json_t *row = row_of(all, name), *has = json_object_get(row, "value");
    char number[24];
    if (json_is_integer(has)) snprintf(number, sizeof number, "%lld", (long long)json_integer_value(has));
    assert_string_equal(json_is_integer(has) ? number : json_string_value(has), value);
    assert_string_equal(json_string_value(json_object_get(row, "from")), from);
}

static void what_is_in_force_is_told_without_secrets(void **state) {
    (void)state;
    char path[] = "/tmp/secret-XXXXXX", flag[64], properties[] = "/tmp/properties-XXXXXX", config[64];
    int file = mkstemp(path), more = mkstemp(properties);
    assert_int_equal(write(file, "geheim1\n", 8), 8);
    assert_true(dprintf(more, "ssl.key.pem=geheim2\nclient.rack=r1\n") > 0);
    close(file);
    close(more);
    snprintf(flag, sizeof flag, "--registry-password-file=%s", path);
    snprintf(config, sizeof config, "--kafka-config=%s", properties);
    char *flags[MOST] = {
        flag, config, (char *)"-Xsasl.password=geheim3", (char *)"-Xsasl.oauthbearer.config=secret=geheim4"};
    char *environment[MOST] = {
        (char *)"RETURNS_REGISTRY=https://me:geheim5@registry/path", (char *)"RETURNS_BATCH=7",
        (char *)"RETURNS_PORT="};
    struct settings s;
    struct failure why;
    assert_int_equal(read_settings(&s, flags, environment, &why), OK);
    json_t *all = settings_json(&s);
    assert_row(all, "batch", "7", "RETURNS_BATCH");
    assert_row(all, "port", "8001", "default");
    assert_row(all, "kafka", "127.0.0.1:9092", "default");
    assert_row(all, "kafka-config", properties, "--kafka-config");
    assert_row(all, "registry", "https://…@registry/path", "RETURNS_REGISTRY");
    assert_row(all, "registry-password", "set", "--registry-password-file");
    assert_row(all, "sasl.password", "set", "-X");
    assert_row(all, "sasl.oauthbearer.config", "set", "-X");
    assert_row(all, "ssl.key.pem", "set", properties);
    assert_row(all, "client.rack", "r1", properties);
    char *text = json_dumps(all, 0);
    assert_null(strstr(text, "geheim"));
    free(text);
    json_decref(all);
    settings_free(&s);
    unlink(path);
    unlink(properties);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_stand),
        cmocka_unit_test(what_is_no_site_or_host_is_refused),
        cmocka_unit_test(a_flag_wins_over_the_environment),
        cmocka_unit_test(a_switch_needs_no_value),
        cmocka_unit_test(properties_pass_through),
        cmocka_unit_test(a_properties_file_is_read),
        cmocka_unit_test(a_secret_comes_from_its_file),
        cmocka_unit_test(wrong_settings_are_quoted),
        cmocka_unit_test(no_secret_is_repeated),
        cmocka_unit_test(the_flag_wins_over_the_file),
        cmocka_unit_test(what_a_version_brought_is_set_from_it_on),
        cmocka_unit_test(a_policy_is_found_by_its_whole_name),
        cmocka_unit_test(the_namespace_is_put_before),
        cmocka_unit_test(what_is_in_force_is_told_without_secrets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
