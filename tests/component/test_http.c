/* The web server against raw sockets: what is well formed is answered, what is not is refused, and it goes on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "chassis/base/ids.h"
#include "chassis/web/http.h"
#include "helper_client.h"

#include <cmocka.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BODY_MAX = 1000, BODY_MS = 500, THREADS = 4 };

static struct http *server;

/* --- The resources under test */

static void item_get(struct exchange *x) {
    const char *q = exchange_query(x, "q");
    x->data = json_pack("{s:s, s:s?, s:s}", "id", exchange_parameter(x, "id"), "q", q, "trace", x->trace_parent);
}

static void echo_post(struct exchange *x) {
    struct failure why;
    json_t *given = NULL;
    if (exchange_type_is(x, "application/x-www-form-urlencoded")) {
        if (exchange_form(x, &given, &why) != OK) {
            exchange_problem(x, 400, "The form is not valid: %s", why.text);
            return;
        }
    } else if (!exchange_type_is(x, "application/json")) {
        exchange_problem(x, 415, "Send a form or JSON.");
        return;
    } else if (exchange_json(x, &given, &why) != OK) {
        exchange_problem(x, 400, "%s", why.text);
        return;
    }
    x->data = json_pack("{s:o}", "given", given);
}

static void field_get(struct exchange *x) {
    exchange_problem_field(x, "cost", "\"%s\" is not an amount", "\xff<b>");
    exchange_problem_member(x, "hint", json_string("again"));
    exchange_problem(x, 422, "One field is wrong.");
}

static void moved_post(struct exchange *x) {
    exchange_redirect(x, "/items/1\r\nSet-Cookie: a=b");
}

static void probe_get(struct exchange *x) {
    exchange_send(x, 200, "text/plain", "ok", 2);
}

static void broken_get(struct exchange *x) {
    x->data = json_object();
    x->page = "no-such-page.html";
}

static void slow_get(struct exchange *x) {
    usleep(300000);
    exchange_send(x, 200, "text/plain", "slow", 4);
}

static atomic_bool reading, read_on; /* until read_on, what reads much is not done */

static void long_get(struct exchange *x) {
    atomic_store(&reading, true);
    while (!atomic_load(&read_on)) usleep(1000);
    exchange_send(x, 200, "text/plain", "all", 3);
}

static void large_get(struct exchange *x) {
    char text[4000];
    memset(text, 'x', sizeof text);
    exchange_send(x, 200, "text/plain", text, sizeof text);
}

static void decorate(struct exchange *x, json_t *data) {
    (void)x;
    json_object_set_new(data, "decorated", json_true());
}

static const struct resource resources[] = {
    {.path = "/items/new", .get = field_get},
    {.path = "/items/{id}", .get = item_get, .query = "q"},
    {.path = "/echo", .post = echo_post},
    {.path = "/moved", .api_path = "", .post = moved_post},
    {.path = "/slow", .get = slow_get},
    {.path = "/long", .get = long_get, .long_read = ""},
    {.path = "/past", .api_path = "", .get = probe_get, .query = "as_of", .long_read = "as_of"},
    {.path = "/large", .get = large_get},
    {.path = "/probe", .api_path = "", .get = probe_get, .query = "verbose", .any_host = true},
    {.path = "/broken", .page = "x", .get = broken_get},
    {0}};

static verdict start(struct http **out, int port, struct failure *why) {
    struct http_options o = {
        .host = "127.0.0.1",
        .port = port,
        .public_url = "https://returns.example",
        .allowed_hosts = "h,shop:8000,[2001:db8::1]:8000",
        .threads = THREADS,
        .body_max = BODY_MAX,
        .body_ms = BODY_MS,
        .tables = {resources},
        .decorate = decorate};
    return http_start(out, &o, why);
}

/* --- Asking */

static struct answer *exchange_bytes(const void *bytes, size_t n) {
    int fd = client_open(http_port(server));
    client_send(fd, bytes, n);
    struct answer *a = client_read(fd, false);
    close(fd);
    return a;
}

static struct answer *ask(const char *request) {
    return exchange_bytes(request, strlen(request));
}

static struct answer *post(const char *type, const char *body, size_t n) {
    char request[4096];
    int head = snprintf(
        request, sizeof request,
        "POST /api/echo HTTP/1.1\r\nHost: h\r\nContent-Type: %s\r\nContent-Length: %zu\r\n\r\n", type, n);
    memcpy(request + head, body, n);
    return exchange_bytes(request, (size_t)head + n);
}

static void assert_problem(const struct answer *a, int status, const char *part) {
    if (a->status != status || !strstr(a->text, part))
        print_error("wanted %d with \"%s\", got:\n%s\n", status, part, a->text);
    assert_int_equal(a->status, status);
    assert_non_null(strstr(a->text, "Content-Type: application/problem+json"));
    assert_non_null(strstr(a->text, part));
    json_t *problem = json_loads(a->body, 0, NULL);
    assert_int_equal(json_integer_value(json_object_get(problem, "status")), status);
    assert_true(json_string_length(json_object_get(problem, "title")) > 0);
    json_decref(problem);
}

static void assert_alive(void) {
    assert_int_equal(ask("GET /api/items/1 HTTP/1.1\r\nHost: h\r\n\r\n")->status, 200);
}

static int setup(void **state) {
    struct failure why;
    *state = NULL;
    return start(&server, 0, &why) != OK;
}

static int teardown(void **state) {
    (void)state;
    http_stop(&server);
    return server != NULL;
}

/* --- Tests */

static void test_answers(void **state) {
    (void)state;
    struct answer *a = ask("GET /api/items/a%20b?q=%D0%B6+%F0%9F%93%A6 HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_int_equal(a->status, 200);
    assert_non_null(strstr(a->text, "Content-Type: application/json"));
    assert_non_null(strstr(a->body, "\"id\":\"a b\""));
    assert_non_null(strstr(a->body, "\"q\":\"ж 📦\""));
    assert_null(strstr(a->body, "decorated"));
}

static void test_security_headers(void **state) {
    (void)state;
    static const char *const requests[] = {
        "GET /api/items/1 HTTP/1.1\r\nHost: h\r\n\r\n", "GET /nowhere HTTP/1.1\r\nHost: h\r\n\r\n", "nonsense\r\n\r\n"};
    static const char *const headers[] = {
        "Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src 'self' data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'\r\n",
        "X-Content-Type-Options: nosniff\r\n", "Referrer-Policy: same-origin\r\n", "Cache-Control: no-store\r\n"};
    for (size_t i = 0; i < 3; i++) {
        struct answer *a = ask(requests[i]);
        for (size_t k = 0; k < 4; k++) assert_non_null(strstr(a->text, headers[k]));
        assert_null(strcasestr(a->text, "access-control"));
    }
}

static void test_continues_a_trace(void **state) {
    (void)state;
    struct answer *a = ask(
        "GET /api/items/1 HTTP/1.1\r\nHost: h\r\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n\r\n");
    assert_non_null(strstr(a->body, "00-0af7651916cd43dd8448eb211c80319c-"));
    assert_null(strstr(a->body, "b7ad6b7169203331"));
    a = ask("GET /api/items/1 HTTP/1.1\r\nHost: h\r\ntraceparent: 00-junk\r\n\r\n");
    assert_non_null(strstr(a->body, "\"trace\":\"00-"));
    assert_null(strstr(a->body, "junk"));
}

static void test_head_has_no_body(void **state) {
    (void)state;
    int fd = client_open(http_port(server));
    const char *request = "HEAD /api/items/1 HTTP/1.1\r\nHost: h\r\n\r\n";
    client_send(fd, request, strlen(request));
    struct answer *a = client_read(fd, true);
    assert_int_equal(a->status, 200);
    assert_string_equal(a->body, "");
    client_send(fd, request, strlen(request)); /* a stray body would come before this one's head */
    assert_int_equal(client_read(fd, true)->status, 200);
    close(fd);
}

static void test_keeps_the_connection(void **state) {
    (void)state;
    int fd = client_open(http_port(server));
    const char *two =
        "POST /api/echo HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
    for (int i = 0; i < 3; i++) {
        client_send(fd, two, strlen(two));
        assert_string_equal(client_read(fd, false)->body, "{\"given\":{}}");
    }
    close(fd);
}

static void test_refuses_addresses(void **state) {
    (void)state;
    char longer[6000];
    assert_problem(ask("GET /api/nowhere HTTP/1.1\r\nHost: h\r\n\r\n"), 404, "/api/nowhere");
    assert_problem(
        ask("GET /API/items/1 HTTP/1.1\r\nHost: h\r\nAccept: application/json\r\n\r\n"), 404, "/API/items/1");
    assert_problem(ask("GET /api/ITEMS/1 HTTP/1.1\r\nHost: h\r\n\r\n"), 404, "ITEMS");
    assert_problem(ask("GET /api/items/../items/1 HTTP/1.1\r\nHost: h\r\n\r\n"), 404, "nothing");
    assert_int_equal(ask("GET /api/items/a%2Fb HTTP/1.1\r\nHost: h\r\n\r\n")->status, 200); /* a part of the id */
    assert_problem(ask("GET /api/items%2f1 HTTP/1.1\r\nHost: h\r\n\r\n"), 404, "nothing");
    assert_problem(ask("GET /api/items/%zz HTTP/1.1\r\nHost: h\r\n\r\n"), 400, "hexadecimal");
    assert_problem(ask("GET /api/items/%4 HTTP/1.1\r\nHost: h\r\n\r\n"), 400, "hexadecimal");
    assert_problem(ask("GET /api/items/a%00b HTTP/1.1\r\nHost: h\r\n\r\n"), 400, "control character");
    assert_problem(ask("GET /api/items/%ff HTTP/1.1\r\nHost: h\r\n\r\n"), 400, "UTF-8");
    assert_problem(ask("GET /api/items/\xff HTTP/1.1\r\n\r\n"), 400, "percent-encoded");
    assert_problem(ask("GET /api/items/1?q=%00 HTTP/1.1\r\nHost: h\r\n\r\n"), 400, "q: ");
    assert_problem(ask("GET /api/items/1?q=%c0%af HTTP/1.1\r\nHost: h\r\n\r\n"), 400, "UTF-8");
    assert_problem(ask("GET /api/items/1?q=%e HTTP/1.1\r\nHost: h\r\n\r\n"), 400, "hexadecimal");
    assert_problem(ask("GET /api/items/1?q=1&q=2 HTTP/1.1\r\nHost: h\r\n\r\n"), 400, "q: is there more than once");
    assert_problem(ask("OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n"), 400, "is not an address of this server");
    assert_problem(
        ask("GET http://elsewhere/api/items/1 HTTP/1.1\r\nHost: h\r\n\r\n"), 400, "not an address of this server");
    assert_problem(ask("GET items HTTP/1.1\r\nHost: h\r\n\r\n"), 400, "not an address of this server");
    snprintf(longer, sizeof longer, "GET /api/items/%0*d HTTP/1.1\r\nHost: h\r\n\r\n", 5000, 1);
    assert_problem(ask(longer), 414, "4096");
    assert_alive();
}

static void test_refuses_methods(void **state) {
    (void)state;
    static const char *const methods[] = {"POST", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW", "TRACE", "get"};
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
        char request[200];
        snprintf(
            request, sizeof request, "%s /api/items/1 HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n", methods[i]);
        struct answer *a = ask(request);
        assert_problem(a, 405, methods[i]);
        assert_non_null(strstr(a->text, "Allow: GET, HEAD\r\n"));
    }
    assert_non_null(strstr(ask("GET /api/echo HTTP/1.1\r\nHost: h\r\n\r\n")->text, "Allow: POST\r\n"));
    assert_problem(ask("BREW /api/pot HTTP/1.1\r\nHost: h\r\n\r\n"), 404, "/api/pot");
    assert_alive();
}

static void test_refuses_requests(void **state) {
    (void)state;
    static const char nul[] = "GET /api/items/1 HTTP/1.1\r\nHost: h\r\nX: a\0b\r\n\r\n";
    char *large = calloc(1, 40000);
    memset(large + sprintf(large, "GET /api/items/1 HTTP/1.1\r\nHost: h\r\nX: "), 'x', 30000);
    strcat(large, "\r\n\r\n");
    assert_problem(ask(large), 400, "16384");
    free(large);
    char many[8000] = "GET /api/items/1 HTTP/1.1\r\nHost: h\r\n";
    for (int i = 0; i < 100; i++) strcat(many, "X: y\r\n");
    assert_problem(ask(strcat(many, "\r\n")), 431, "64");
    assert_problem(exchange_bytes(nul, sizeof nul - 1), 400, "understood");
    assert_problem(ask("\x16\x03\x01\x02\x01 hello, TLS\r\n\r\n"), 400, "understood");
    assert_problem(ask("GET /api/items/1\r\n\r\n"), 400, "understood");
    assert_problem(ask("GET /api/items/1 HTTP/3.0\r\n\r\n"), 400, "version");
    assert_problem(ask("GET /api/items/1 HTTP/1.1\r\nHost: h\r\nno colon\r\n\r\n"), 400, "understood");
    assert_alive();
}

static void test_refuses_bodies_without_a_certain_end(void **state) {
    (void)state;
#define POST "POST /api/echo HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n"
    assert_problem(ask(POST "\r\n{}"), 411, "no Content-Length");
    assert_problem(ask(POST "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"), 411, "chunked");
    assert_problem(ask(POST "Transfer-Encoding: gzip, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"), 411, "gzip");
    assert_problem(ask(POST "Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n{}"), 411, "chunked");
    assert_problem(ask(POST "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}"), 400, "more than once");
    assert_problem(ask(POST "Content-Length: -1\r\n\r\n{}"), 400, "-1");
    assert_problem(ask(POST "Content-Length: 2x\r\n\r\n{}"), 400, "2x");
    assert_problem(ask(POST "Content-Length: +2\r\n\r\n{}"), 400, "+2");
    assert_problem(ask(POST "Content-Length: two\r\n\r\n{}"), 400, "two");
    assert_problem(ask(POST "Content-Length: 99999999999999999999\r\n\r\n{}"), 400, "9999");
    assert_problem(ask(POST "Content-Length: 1001\r\n\r\n"), 413, "1000");
    assert_alive();
}

/* The answer must reach a client that sends all of its body before it reads; more than the sockets hold. */
static void test_refuses_a_large_body_readably(void **state) {
    (void)state;
    size_t n = 16000000;
    char *request = calloc(1, n);
    memset(request, 'x', n);
    memcpy(request, POST "Content-Length: 15990000\r\n\r\n", strlen(POST "Content-Length: 15990000\r\n\r\n"));
    int fd = client_open(http_port(server));
    assert_true(client_send(fd, request, n));
    struct answer *a = client_read(fd, false);
    assert_problem(a, 413, "1000");
    assert_non_null(strstr(a->text, "Connection: close\r\n"));
    close(fd);
    free(request);
    assert_alive();
}

static void test_bounds_the_time_of_a_body(void **state) {
    (void)state;
    int fd = client_open(http_port(server));
    client_send(fd, POST "Content-Length: 900\r\n\r\n{", strlen(POST "Content-Length: 900\r\n\r\n{"));
    int64_t from = clock_ms();
    for (int i = 0; i < 40; i++) { /* always one more byte before the server's patience with silence ends */
        usleep(50000);
        client_send(fd, "x", 1);
        if (poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, 0) > 0) break;
    }
    struct answer *a = client_read(fd, false);
    assert_problem(a, 408, "did not arrive");
    assert_true(clock_ms() - from < 2 * BODY_MS + 500);
    close(fd);
    assert_alive();
}

static void test_reads_a_body_in_pieces(void **state) {
    (void)state;
    int fd = client_open(http_port(server));
    const char *pieces[] = {
        "POST /api/echo HTT", "P/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Le", "ngth: 7\r\n\r",
        "\n[1,", "2,3]"};
    for (int i = 0; i < 5; i++) {
        client_send(fd, pieces[i], strlen(pieces[i]));
        usleep(20000);
    }
    assert_string_equal(client_read(fd, false)->body, "{\"given\":[1,2,3]}");
    close(fd);
}

static void test_says_continue(void **state) {
    (void)state;
    int fd = client_open(http_port(server));
    const char *head = POST "Expect: 100-continue\r\nContent-Length: 2\r\n\r\n";
    char line[64] = "";
    client_send(fd, head, strlen(head));
    assert_true(recv(fd, line, 25, MSG_WAITALL) == 25);
    assert_memory_equal(line, "HTTP/1.1 100 Continue\r\n\r\n", 25);
    client_send(fd, "{}", 2);
    assert_int_equal(client_read(fd, false)->status, 200);
    close(fd);
}

static void test_refuses_json(void **state) {
    (void)state;
    char deep[200] = "";
    memset(deep, '[', 40);
    memset(deep + 40, ']', 40);
    assert_problem(post("application/json", deep, 80), 400, "deeper than 32");
    assert_problem(post("application/json", "{\"a\":1,\"a\":2}", 13), 400, "twice");
    assert_problem(post("application/json", "{\"a\":", 5), 400, "not valid JSON");
    assert_problem(post("application/json", "", 0), 400, "not valid JSON");
    assert_problem(post("application/json", "{\"a\":\"\xff\"}", 9), 400, "not valid JSON");
    assert_int_equal(post("application/json", "{\"a\":\"\\u0000\"}", 14)->status, 200); /* JSON; its reader judges it */
    assert_problem(post("application/json", "{\"a\":\0}", 7), 400, "not valid JSON");
    assert_problem(post("application/jsonx", "{}", 2), 415, "JSON");
    assert_problem(post("text/plain", "{}", 2), 415, "JSON");
    assert_int_equal(
        post("application/json; charset=utf-8", "{\"a\":\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\"}", 47)->status,
        200);
    assert_alive();
}

static void test_reads_forms(void **state) {
    (void)state;
    const char *form = "application/x-www-form-urlencoded";
    assert_string_equal(
        post(form, "a=1+2&b=%3Cx%3E&c=&d", 20)->body,
        "{\"given\":{\"a\":\"1 2\",\"b\":\"<x>\",\"c\":\"\",\"d\":\"\"}}");
    assert_problem(post(form, "a=1&a=2", 7), 400, "a: is there more than once");
    assert_problem(post(form, "a=%00", 5), 400, "NUL");
    assert_problem(post(form, "a=\0b", 4), 400, "NUL");
    assert_problem(post(form, "a=%FF", 5), 400, "UTF-8");
    assert_problem(post(form, "%C3=1", 5), 400, "UTF-8");
    assert_problem(post(form, "a=%G1", 5), 400, "hexadecimal");
    assert_problem(post(form, "a=%", 3), 400, "hexadecimal");
    assert_alive();
}

static void test_refuses_other_sites(void **state) {
    (void)state;
#define FORM "Content-Length: 2\r\nContent-Type: application/json\r\nHost: shop:8000\r\n"
    assert_problem(ask("POST /api/echo HTTP/1.1\r\n" FORM "Sec-Fetch-Site: cross-site\r\n\r\n{}"), 403, "another site");
    assert_problem(ask("POST /api/echo HTTP/1.1\r\n" FORM "Sec-Fetch-Site: same-site\r\n\r\n{}"), 403, "another site");
    assert_problem(ask("POST /api/echo HTTP/1.1\r\n" FORM "Origin: http://evil\r\n\r\n{}"), 403, "another site");
    assert_problem(ask("POST /api/echo HTTP/1.1\r\n" FORM "Origin: null\r\n\r\n{}"), 403, "another site");
    assert_int_equal(ask("POST /api/echo HTTP/1.1\r\n" FORM "Origin: http://shop:8000\r\n\r\n{}")->status, 200);
    assert_int_equal(ask("POST /api/echo HTTP/1.1\r\n" FORM "Sec-Fetch-Site: same-origin\r\n\r\n{}")->status, 200);
}

/* --- Who is asked for */

static struct answer *ask_of(const char *method, const char *headers) {
    char request[2000];
    snprintf(request, sizeof request, "%s HTTP/1.1\r\nContent-Length: 0\r\n%s\r\n", method, headers);
    return ask(request);
}

/* {port} in it: the server's own. */
static struct answer *ask_host(const char *format) {
    char headers[600], *port = strstr(format, "{port}");
    if (port)
        snprintf(
            headers, sizeof headers, "Host: %.*s%d%s\r\n", (int)(port - format), format, http_port(server), port + 6);
    else
        snprintf(headers, sizeof headers, "Host: %s\r\n", format);
    return ask_of("GET /api/items/1", headers);
}

static void test_answers_to_its_own_names(void **state) {
    (void)state;
    static const char *const own[] = {
        "127.0.0.1:{port}", "localhost:{port}",  "LOCALHOST:{port}",    "localhost.:{port}", "[::1]:{port}",
        "127.0.0.2:{port}", "returns.example",   "Returns.Example:443", "returns.example.",  "h",
        "shop:8000",        "[2001:DB8::1]:8000"};
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) {
        struct answer *a = ask_host(own[i]);
        if (a->status != 200) fail_msg("%s: %.300s", own[i], a->text);
    }
}

static void test_answers_to_no_other_name(void **state) {
    (void)state;
    static const char *const other[] = {
        "evil.example:{port}",
        "evil.example",
        "127.0.0.1",
        "localhost",
        "localhost:1",
        "returns.example:80",
        "returns.example:8000",
        "shop",
        "shop:8001",
        "192.0.2.1:{port}",
        "[::2]:{port}",
        "127.0.0.1.evil.example:{port}",
        "localhost.evil:{port}",
        "2130706433:{port}",
        "evil.returns.example",
        "[2001:db8::1]"};
    static const char *const malformed[] = {
        "",
        "a b",
        "localhost:99999",
        "localhost:",
        "localhost:0",
        "localhost:80a",
        "user@localhost:{port}",
        "[::1",
        "[x]:80",
        "localhost/x",
        "localhost:{port},evil.example",
        "..",
        "\xc3\xa9"};
    for (size_t i = 0; i < sizeof other / sizeof *other; i++) assert_problem(ask_host(other[i]), 421, "allowed-hosts");
    for (size_t i = 0; i < sizeof malformed / sizeof *malformed; i++)
        assert_problem(ask_host(malformed[i]), 400, "is not a host");
    assert_non_null(strstr(ask_host("evil.example")->body, "\\\"evil.example\\\""));
    assert_alive();
}

static void test_wants_one_host(void **state) {
    (void)state;
    assert_problem(ask_of("GET /api/items/1", ""), 400, "no Host header");
    assert_problem(ask_of("GET /api/items/1", "Host: h\r\nhost: h\r\n"), 400, "more than one Host header");
    assert_problem(ask_of("GET /api/items/1", "Host: h\r\nHost: evil.example\r\n"), 400, "more than one");
    assert_problem(ask("GET /api/items/1 HTTP/1.0\r\n\r\n"), 400, "no Host header");
    assert_problem(ask_of("GET /api/items/1", "X-Forwarded-Host: h\r\n"), 400, "no Host header");
    const char *forwarded = "Host: evil.example\r\nX-Forwarded-Host: h\r\nForwarded: host=h\r\n";
    assert_problem(ask_of("GET /api/items/1", forwarded), 421, "evil.example");
    assert_problem(ask_of("GET http://evil.example/api/items/1", "Host: h\r\n"), 400, "not an address of this");
    assert_problem(ask_of("GET http://mydomain.com/api/items/1", "Host: h\r\n"), 400, "not an address of this");
    assert_problem(ask_of("POST /api/echo", "Host: evil.example\r\n"), 421, "evil.example");
}

static void test_refuses_what_a_query_has_too_much(void **state) {
    (void)state;
    const char *known =
        "The query parameter \\\"status\\\" is not known at \\\"/api/items/1\\\"; leave it out. GET takes these: q.";
    assert_problem(ask_of("GET /api/items/1?status=open&q=1", "Host: h\r\n"), 400, known);
    assert_problem(ask_of("GET /api/items/1?q=1&status", "Host: h\r\n"), 400, known);
    assert_problem(ask_of("POST /api/echo?q=1", "Host: h\r\n"), 400, "POST takes none.");
    assert_problem(ask_of("GET /api/slow?%22%C3%A9", "Host: h\r\n"), 400, "parameter \\\"\\\"é\\\" is not known");
    assert_problem(ask_of("GET /api/items/1?q+q=1", "Host: h\r\n"), 400, "\\\"q q\\\" is not known");
    assert_int_equal(ask_of("GET /api/items/1?", "Host: h\r\n")->status, 200);
    assert_int_equal(ask_of("GET /api/items/1?&q=&", "Host: h\r\n")->status, 200);
    assert_problem(ask_of("POST /api/items/1?status=", "Host: h\r\n"), 405, "possible: GET, HEAD");
    assert_problem(ask_of("GET /api/nothing?status=", "Host: h\r\n"), 404, "There is nothing");
    assert_problem(ask_of("GET /api/items/1?status=", "Host: evil.example\r\n"), 421, "evil.example");
}

/* What asks whether a machine lives names it by its address, and learns nothing else. */
static void test_a_probe_may_name_any_host(void **state) {
    (void)state;
    assert_int_equal(ask_of("GET /probe", "Host: 10.1.2.3:8000\r\n")->status, 200);
    assert_int_equal(ask_of("GET /probe?verbose", "Host: 10.1.2.3:8000\r\nAccept: application/json\r\n")->status, 421);
    assert_int_equal(ask_of("GET /probe", "Accept: application/json\r\n")->status, 400);
}

/* A proxy may keep the Host that it was asked by, or put the address of this server into its place. */
static void test_a_form_may_come_through_a_proxy(void **state) {
    (void)state;
    char rewritten[300];
    snprintf(
        rewritten, sizeof rewritten, "Host: 127.0.0.1:%d\r\nOrigin: https://returns.example\r\n", http_port(server));
    assert_int_equal(ask_of("POST /moved", rewritten)->status, 303);
    assert_int_equal(
        ask_of("POST /moved", "Host: returns.example\r\nOrigin: https://returns.example\r\n")->status, 303);
    strcat(rewritten, "Sec-Fetch-Site: same-origin\r\n");
    assert_int_equal(ask_of("POST /moved", rewritten)->status, 303);
    static const char *const others[] = {
        "http://returns.example",
        "https://returns.example:8443",
        "https://evil.example",
        "https://returns.example.evil",
        "http://127.0.0.1:1",
        "null",
        ""};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        snprintf(rewritten, sizeof rewritten, "Host: 127.0.0.1:%d\r\nOrigin: %s\r\n", http_port(server), others[i]);
        assert_int_equal(ask_of("POST /moved", rewritten)->status, 403);
    }
}

/* --- What may read much */

/* However many ask for it: some are told to come back, and everything else is answered. */
static void test_long_reads_leave_threads_to_others(void **state) {
    (void)state;
    int fds[3 * THREADS];
    const char *request = "GET /api/long HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    atomic_store(&reading, false);
    atomic_store(&read_on, false);
    for (int i = 0; i < 3 * THREADS; i++) {
        fds[i] = client_open(http_port(server));
        client_send(fds[i], request, strlen(request));
        while (!atomic_load(&reading)) usleep(1000); /* the first of them */
    }
    for (int i = 1; i < 3 * THREADS; i++) {
        struct answer *a = client_read(fds[i], false);
        assert_problem(a, 503, "try again");
        assert_non_null(strstr(a->text, "Retry-After: 1\r\n"));
        close(fds[i]);
    }
    assert_alive();
    assert_problem(ask_of("GET /past?as_of=now", "Host: h\r\nAccept: application/json\r\n"), 503, "try again");
    assert_int_equal(ask_of("GET /past?as_of=", "Host: h\r\n")->status, 200); /* of now */
    assert_int_equal(ask_of("GET /past", "Host: h\r\n")->status, 200);
    atomic_store(&read_on, true);
    assert_int_equal(client_read(fds[0], false)->status, 200);
    close(fds[0]);
    assert_int_equal(ask_of("GET /past?as_of=now", "Host: h\r\n")->status, 200);
}

static void test_compresses_for_those_who_take_it(void **state) {
    (void)state;
    static const struct {
        const char *header;
        bool gzip;
    } cases[] = {
        {"", false},
        {"Accept-Encoding: gzip\r\n", true},
        {"Accept-Encoding: *\r\n", true},
        {"Accept-Encoding: br, GZIP;q=0.5\r\n", true},
        {"Accept-Encoding: gzip, *;q=0\r\n", true},
        {"Accept-Encoding: br\r\nAccept-Encoding: gzip\r\n", true},
        {"Accept-Encoding: x-gzip\r\n", true},
        {"Accept-Encoding: gzip;q=0, *\r\n", false},
        {"Accept-Encoding: *, gzip;q=0\r\n", false},
        {"Accept-Encoding: *\r\nAccept-Encoding: gzip;q=0.000\r\n", false},
        {"Accept-Encoding: gzip; Q=0, *\r\n", false},
        {"Accept-Encoding: *;q=0\r\n", false},
        {"Accept-Encoding: identity\r\n", false},
        {"Accept-Encoding:\r\n", false}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char headers[300];
        snprintf(headers, sizeof headers, "Host: h\r\n%s", cases[i].header);
        bool is = strstr(ask_of("GET /large", headers)->text, "Content-Encoding: gzip");
        if (is != cases[i].gzip) fail_msg("%s: %d", cases[i].header, is);
    }
}

static void test_problems(void **state) {
    (void)state;
    struct answer *a = ask("GET /api/items/new HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_problem(a, 422, "\"errors\":[{\"field\":\"cost\",\"detail\":\"\\\"\xef\xbf\xbd<b>\\\" is not an amount\"}]");
    assert_non_null(strstr(a->body, "\"hint\":\"again\""));
    a = ask("GET /items/new HTTP/1.1\r\nHost: h\r\nAccept: text/html,*/*;q=0.8\r\n\r\n");
    assert_int_equal(a->status, 422);
    assert_non_null(strstr(a->text, "Content-Type: text/html"));
    assert_non_null(strstr(a->body, "&lt;b&gt;"));
    assert_null(strstr(a->body, "<b>"));
    assert_problem(ask("GET /items/new HTTP/1.1\r\nHost: h\r\nAccept: application/json\r\n\r\n"), 422, "cost");
    assert_problem(
        ask("GET /items/new HTTP/1.1\r\nHost: h\r\nAccept: text/html;q=0.2, application/problem+json\r\n\r\n"), 422,
        "cost");
    assert_problem(ask("GET /broken HTTP/1.1\r\nHost: h\r\nAccept: application/json\r\n\r\n"), 500, "log");
}

static void test_headers_cannot_be_split(void **state) {
    (void)state;
    struct answer *a = ask("POST /moved HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n");
    assert_int_equal(a->status, 303);
    assert_non_null(strstr(a->text, "Location: /items/1Set-Cookie: a=b\r\n"));
}

static void test_port_in_use(void **state) {
    (void)state;
    struct failure why;
    struct http *second = NULL;
    char port[16];
    assert_int_equal(start(&second, http_port(server), &why), RETRY);
    snprintf(port, sizeof port, "%d", http_port(server));
    assert_non_null(strstr(why.text, port));
    assert_non_null(strstr(why.text, "in use"));
}

struct slow_client {
    int port, status;
};

static void *slow_client(void *argument) {
    struct slow_client *client = argument;
    int fd = client_open(client->port);
    const char *request = "GET /api/slow HTTP/1.1\r\nHost: h\r\n\r\n";
    client_send(fd, request, strlen(request));
    client->status = client_read(fd, false)->status;
    close(fd);
    return NULL;
}

/* Idle connections, kept alive or never used, do not hold it up; a handler in flight gets its answer out. */
static void test_stops_quickly_and_answers_first(void **state) {
    (void)state;
    int idle[2];
    struct slow_client slow = {.port = http_port(server)};
    pthread_t client;
    idle[0] = client_open(http_port(server));
    idle[1] = client_open(http_port(server));
    client_send(idle[1], "GET /api/items/1 HTTP/1.1\r\nHost: h\r\n\r\n", 38);
    assert_int_equal(client_read(idle[1], false)->status, 200);
    pthread_create(&client, NULL, slow_client, &slow);
    usleep(100000);
    int64_t from = clock_ms();
    http_stop(&server);
    assert_true(clock_ms() - from < 1000);
    pthread_join(client, NULL);
    assert_int_equal(slow.status, 200);
    close(idle[0]);
    close(idle[1]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)
        TEST(answers),
        TEST(security_headers),
        TEST(continues_a_trace),
        TEST(head_has_no_body),
        TEST(keeps_the_connection),
        TEST(refuses_addresses),
        TEST(refuses_methods),
        TEST(refuses_requests),
        TEST(refuses_bodies_without_a_certain_end),
        TEST(refuses_a_large_body_readably),
        TEST(bounds_the_time_of_a_body),
        TEST(reads_a_body_in_pieces),
        TEST(says_continue),
        TEST(refuses_json),
        TEST(reads_forms),
        TEST(refuses_other_sites),
        TEST(answers_to_its_own_names),
        TEST(answers_to_no_other_name),
        TEST(wants_one_host),
        TEST(a_probe_may_name_any_host),
        TEST(refuses_what_a_query_has_too_much),
        TEST(a_form_may_come_through_a_proxy),
        TEST(long_reads_leave_threads_to_others),
        TEST(compresses_for_those_who_take_it),
        TEST(problems),
        TEST(headers_cannot_be_split),
        TEST(port_in_use),
        TEST(stops_quickly_and_answers_first)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
