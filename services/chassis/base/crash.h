/* crash: named places where a build for tests ends at once, as a process does whose power is cut, so that a test can
 * say what is left behind and what the next start makes of it. In every other build a point is nothing at all.
 *
 * RETURNS_CRASH_AT=name[:n] kills the process at its nth passage of that point (the first, without n). The points:
 *
 *     before commit       everything of a batch is in the transaction, and nothing of it is durable
 *     after commit        it is durable. librdkafka, and so Kafka, knows nothing of the new offsets
 *     before answer commit, after answer commit
 *                         the same of what a POST did, and its answer (idempotency.h)
 *     after send          events are with the producer. Whether they reach Kafka is open
 *     after delivery      Kafka has confirmed them. The outbox does not say so yet
 *     after snapshots     Kafka has confirmed snapshots. They are due still (snapshots.h)
 *     during rebalance    partitions were taken over, or given up. librdkafka has not been told
 *     during migration    a migration's statements have run. Its version is not recorded
 *     during rebuild      a record of a topic was read for it, or replayed
 *     before the switch   it is whole, and not in use yet
 *     mid-checkpoint      between two pages that SQLite copies from its log (the tests' own VFS passes it) */
#pragma once

#ifdef RETURNS_CRASH_POINTS
void crash_point(const char *name); /* any thread */
#else
#define crash_point(name) ((void)0)
#endif
