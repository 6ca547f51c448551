/* The filters of the audit page and API, on a real store: the page, its links to itself, and the SQL. */
#include "fuzz.h"

#include "chassis/audit/audit.h"
#include "chassis/pages/page.h"
#include "chassis/store/migrations.h"
#include "helper_peer.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct resource resources[] = {
    {.path = "/audit",
     .page = "audit.html",
     .get = audit_get,
     .query = "return_id action outcome event_type since until limit before seen"},
    {0}};

static void store_fill(struct store *s) {
    struct connection *c = store_begin(s);
    struct failure why;
    for (int i = 0; i < 3; i++)
        audit_append(
            c, &(struct audit_row){
                   .action = "refund the order",
                   .outcome = "handled",
                   .actor = "support",
                   .return_id = "R-0123456789ABC",
                   .topic = "support.events",
                   .offset = i,
                   .summary = "<b>"});
    must(store_commit(c, &why) == OK, "rows are stored");
}

static char folder[] = "/tmp/returns-fuzz-XXXXXX";

static void folder_remove(void) {
    DIR *files = opendir(folder);
    for (struct dirent *entry; files && (entry = readdir(files));) (void)unlinkat(dirfd(files), entry->d_name, 0);
    if (files) closedir(files);
    (void)rmdir(folder);
}

static struct runtime *runtime(void) {
    static struct runtime rt;
    if (rt.core.store) return &rt;
    char path[100];
    struct migration tables[MIGRATIONS_MAX];
    size_t n = assets_migrations("chassis", "tables", tables, 0);
    struct failure why;
    must(mkdtemp(folder), "there is a folder");
    atexit(folder_remove);
    snprintf(path, sizeof path, "%s/store.db", folder);
    must(store_open(&rt.core.store, path, tables, n, &why) == OK, "the store opens");
    store_fill(rt.core.store);
    return &rt;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
    static const char *const before[] = {"GET /audit?", "GET /api/audit?"};
    if (n > 4096 || memchr(bytes, '\n', n)) return 0;
    for (int i = 0; i < 2; i++) {
        struct buffer text = BUFFER(8192);
        buffer_text(&text, before[i]);
        buffer_bytes(&text, bytes, n);
        buffer_text(&text, " HTTP/1.1\nHost: x\n\n");
        peer_ask(resources, runtime(), (const uint8_t *)text.data, text.length);
        buffer_free(&text);
    }
    return 0;
}
