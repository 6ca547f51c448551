/* Support itself takes in returns while its database, its files and its memory fail, one call after the other: what it
 * answers 202 to is stored whole, and what it refuses is not stored. */
#include "helper_client.h"
#include "helper_fault.h"
#include "helper_world.h"

#include "chassis/audit/audit.h"
#include "chassis/base/assets.h"
#include "chassis/web/http.h"

#include <setjmp.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum { NTH_MAX = 1000 };

extern const struct service service; /* support's declaration */
extern const struct asset service_assets[];
extern const size_t service_assets_n;

static int setup(void **state) {
    struct world *w = *state = malloc(sizeof *w);
    assets_of_service(service_assets, service_assets_n);
    world_open(w);
    w->name = "support";
    w->more[w->more_n++] = "--kafka=127.0.0.1:9"; /* accepting needs neither */
    w->registry_down = true;
    world_start(w, &service);
    return 0;
}

static int teardown(void **state) {
    world_close(*state);
    free(*state);
    return 0;
}

/* The answer's status; 0: none came. */
static int submit(struct world *w, const char *serial) {
    char body[600], request[1000];
    snprintf(
        body, sizeof body,
        "{\"order_id\":\"O-1\",\"model\":\"M-1\",\"shipment_id\":\"S-1\",\"serial_number\":\"%s\",\"location\":\"Lyon\","
        "\"cost\":{\"amount\":\"149.90\",\"currency\":\"EUR\"},\"customer_id\":\"C-1\",\"reason\":\"broken\"}",
        serial);
    int n = snprintf(
        request, sizeof request,
        "POST /api/returns HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: "
        "%zu\r\n\r\n%s",
        strlen(body), body);
    int fd = client_open(http_port(w->rt.http));
    bool sent = client_send(fd, request, (size_t)n);
    struct answer *a = sent ? client_read(fd, false) : NULL;
    int status = a ? a->status : 0;
    /* jansson's scanner takes want of memory for a broken text; nothing else may blame the sender. */
    if (status / 100 == 4 && !strstr(a->body, "not valid JSON")) fail_msg("%d: %s", status, a->body);
    close(fd);
    return status;
}

static int64_t count(struct world *w, const char *before, const char *serial, const char *after) {
    char sql[300];
    snprintf(sql, sizeof sql, "SELECT COUNT(*) FROM %s%s%s", before, serial, after);
    return world_int(w, sql);
}

static bool stored_at_all(struct world *w, const char *serial) {
    return count(w, "return_request WHERE serial_number = '", serial, "'") ||
           count(w, "return_private JOIN return_request USING (return_id) WHERE serial_number = '", serial, "'") ||
           count(w, "audit WHERE summary LIKE '%item ", serial, ":%'");
}

static bool stored_whole(struct world *w, const char *serial) {
    return count(w, "return_request WHERE serial_number = '", serial, "'") == 1 &&
           count(w, "return_private JOIN return_request USING (return_id) WHERE serial_number = '", serial, "'") == 1 &&
           count(w, "outbox JOIN return_request USING (return_id) WHERE serial_number = '", serial, "'") == 1 &&
           count(w, "audit WHERE outcome = 'accepted' AND summary LIKE '%item ", serial, ": broken'") == 1;
}

static void fail_each(struct world *w, enum fault kind, int code, const char *what) {
    int refused = 0, accepted = 0, unsaid = 0, nth = 0;
    bool met = true;
    char serial[40];
    assert_int_equal(submit(w, "SN-FIRST"), 202);
    while (met && ++nth < NTH_MAX) {
        snprintf(serial, sizeof serial, "SN-%d", nth);
        fault_arm(kind, nth, code, false);
        int status = submit(w, serial);
        met = fault_count() > 0;
        fault_mend();
        if (status == 202 && !stored_whole(w, serial)) fail_msg("%s %d: answered 202, and it is not kept", what, nth);
        if ((status == 503 || status / 100 == 4) && stored_at_all(w, serial))
            fail_msg("%s %d: answered %d, and it is kept", what, nth, status);
        refused += status == 503;
        accepted += status == 202;
        unsaid += status != 202 && status != 503;
        if (stored_at_all(w, serial) && !stored_whole(w, serial)) fail_msg("%s %d: half of it is kept", what, nth);
    }
    print_message("%s: %d refused with 503, %d accepted, %d otherwise\n", what, refused, accepted, unsaid);
    assert_true(nth > 5 && nth < NTH_MAX && refused > 0 && accepted > 0);
    assert_int_equal(submit(w, "SN-LAST"), 202);
    json_t *answer = audit_verify(store_reader(w->rt.core.store));
    assert_true(json_is_true(json_object_get(answer, "intact")));
    json_decref(answer);
}

static void a_call_of_the_database_fails(void **state) {
    fail_each(*state, FAULT_DATABASE, SQLITE_FULL, "SQLite's call, full");
}

static void the_database_is_busy(void **state) {
    fail_each(*state, FAULT_DATABASE, SQLITE_BUSY, "SQLite's call, busy");
}

static void a_file_cannot_be_written(void **state) {
    fail_each(*state, FAULT_FILE, SQLITE_FULL, "the file's operation, full");
}

static void a_file_gives_an_error(void **state) {
    fail_each(*state, FAULT_FILE, SQLITE_IOERR_WRITE, "the file's operation, I/O error");
}

static void an_allocation_fails(void **state) {
    fail_each(*state, FAULT_MEMORY, 0, "the allocation");
}

/* The disk stays full: each is refused, readers still get their pages, and it goes on by itself when there is room. */
static void the_disk_is_full_for_a_while(void **state) {
    struct world *w = *state;
    assert_int_equal(submit(w, "SN-1"), 202);
    fault_arm(FAULT_FILE, 1, SQLITE_FULL, true);
    for (int i = 0; i < 3; i++) assert_int_equal(submit(w, "SN-2"), 503);
    fault_mend();
    assert_false(stored_at_all(w, "SN-2"));
    assert_int_equal(submit(w, "SN-2"), 202);
    assert_true(stored_whole(w, "SN-2"));
}

int main(int argc, char *argv[]) {
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    sigset_t end;
    sigemptyset(&end);
    sigaddset(&end, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &end, NULL);
    fault_exempt = true;
    fault_json();
    fault_vfs();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_call_of_the_database_fails, setup, teardown),
        cmocka_unit_test_setup_teardown(the_database_is_busy, setup, teardown),
        cmocka_unit_test_setup_teardown(a_file_cannot_be_written, setup, teardown),
        cmocka_unit_test_setup_teardown(a_file_gives_an_error, setup, teardown),
        cmocka_unit_test_setup_teardown(an_allocation_fails, setup, teardown),
        cmocka_unit_test_setup_teardown(the_disk_is_full_for_a_while, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
