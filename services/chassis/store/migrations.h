/* migrations: the tables of a database, from files in the program. Any thread. */
#pragma once

#include "chassis/store/store.h"

#include <stddef.h>

/* A database's versions from files: stem.sql, stem.2.sql, … as they are numbered, of that owner. Adds them to the n
 * that are in all already, and returns how many are then. */
enum { MIGRATIONS_MAX = 64 };
size_t assets_migrations(const char *owner, const char *stem, struct migration all[MIGRATIONS_MAX], size_t n);
