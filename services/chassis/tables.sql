-- The chassis's own tables, in SQLite's dialect. A team's tables are in its own schema.sql.

-- Where to go on reading. Moved in the transaction that holds the effect of every record before it.
CREATE TABLE consumer_offset (
    topic       TEXT   NOT NULL,
    partition   BIGINT NOT NULL,
    next_offset BIGINT NOT NULL,
    PRIMARY KEY (topic, partition)
) WITHOUT ROWID;

-- Every event that had its effect. A second record with the same id has none.
CREATE TABLE event_seen (
    event_id BLOB NOT NULL PRIMARY KEY
) WITHOUT ROWID;

CREATE TABLE audit (
    id            INTEGER PRIMARY KEY,
    at            BIGINT NOT NULL,
    action        TEXT   NOT NULL,
    outcome       TEXT   NOT NULL,
    actor         TEXT   NOT NULL,
    return_id     TEXT,
    event_id      BLOB,
    event_type    TEXT,
    topic         TEXT,
    partition     BIGINT,
    record_offset BIGINT,
    summary       TEXT   NOT NULL,
    trace_id      TEXT,
    hash          BLOB   NOT NULL
);
CREATE UNIQUE INDEX audit_record ON audit (topic, partition, record_offset);
CREATE INDEX audit_return ON audit (return_id);

CREATE TABLE audit_chain (
    chain TEXT   NOT NULL PRIMARY KEY,
    rows  BIGINT NOT NULL,
    head  BLOB   NOT NULL
) WITHOUT ROWID;

-- Audit rows by outcome, so that the status page need not count them.
CREATE TABLE tally (
    outcome TEXT   NOT NULL PRIMARY KEY,
    n       BIGINT NOT NULL
) WITHOUT ROWID;

CREATE TABLE outbox (
    id            INTEGER PRIMARY KEY,
    event_id      BLOB   NOT NULL,
    type          TEXT   NOT NULL,
    return_id     TEXT   NOT NULL,
    body          BLOB   NOT NULL,
    trace_parent  TEXT   NOT NULL,
    occurred_at   BIGINT NOT NULL,
    sent_at       BIGINT,
    partition     BIGINT,
    record_offset BIGINT
);
CREATE INDEX outbox_waiting ON outbox (id) WHERE sent_at IS NULL;

-- Records that could not be decoded or were rejected, as they came.
CREATE TABLE dead_letter (
    id            INTEGER PRIMARY KEY,
    at            BIGINT NOT NULL,
    topic         TEXT   NOT NULL,
    partition     BIGINT NOT NULL,
    record_offset BIGINT NOT NULL,
    record_key    BLOB,
    headers       TEXT   NOT NULL,
    value         BLOB,
    reason        TEXT   NOT NULL
);

-- How far each consumer group has read this service's topic (kept only where the declaration asks for it).
CREATE TABLE subscriber_offset (
    team        TEXT   NOT NULL,
    partition   BIGINT NOT NULL,
    next_offset BIGINT NOT NULL,
    PRIMARY KEY (team, partition)
) WITHOUT ROWID;
