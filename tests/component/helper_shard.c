/* With TESTS_SHARD=2/5 in the environment a program runs its 2nd, 7th, 12th … test alone: most of them wait, so several
 * copies of a long program, side by side, take as long as the longest of its tests. The linker sends the call of
 * cmocka_run_group_tests() here (--wrap). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { TESTS_MAX = 64 };

int __real__cmocka_run_group_tests(
    const char *name, const struct CMUnitTest *tests, size_t n, CMFixtureFunction setup, CMFixtureFunction teardown);
int __wrap__cmocka_run_group_tests(
    const char *name, const struct CMUnitTest *tests, size_t n, CMFixtureFunction setup, CMFixtureFunction teardown);

int __wrap__cmocka_run_group_tests(
    const char *name, const struct CMUnitTest *tests, size_t n, CMFixtureFunction setup, CMFixtureFunction teardown) {
    const char *text = getenv("TESTS_SHARD");
    struct CMUnitTest mine[TESTS_MAX];
    size_t shard = 1, shards = 1, mine_n = 0;
    if (text && (sscanf(text, "%zu/%zu", &shard, &shards) != 2 || !shard || shard > shards)) {
        fprintf(stderr, "TESTS_SHARD is \"%s\"; give the number of a shard and how many there are, as in 2/5\n", text);
        return 1;
    }
    for (size_t i = shard - 1; i < n && mine_n < TESTS_MAX; i += shards) mine[mine_n++] = tests[i];
    if (!mine_n || n > TESTS_MAX) {
        fprintf(stderr, "%zu tests cannot be run as shard %zu of %zu\n", n, shard, shards);
        return 1;
    }
    return __real__cmocka_run_group_tests(name, mine, mine_n, setup, teardown);
}
