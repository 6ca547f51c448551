-- The chassis's own tables, in SQLite's dialect. A team's tables are in its own schema.sql.

-- Where to go on reading. Moved in the transaction that holds the effect of every record before it.
CREATE TABLE consumer_offset (
    topic        TEXT   NOT NULL,
    partition    BIGINT NOT NULL,
    next_offset  BIGINT NOT NULL,
    -- What tells the log that was read from another one: the cluster's id, and a fingerprint of the record just before
    -- next_offset.
    cluster      TEXT,
    mark         BIGINT,
    log          BIGINT NOT NULL DEFAULT 0, -- how many times somebody accepted another log in its place
    first_offset BIGINT NOT NULL DEFAULT 0, -- from where the log was read that is read now
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
    hash          BLOB   NOT NULL,
    log           BIGINT NOT NULL DEFAULT 0 -- consumer_offset.log: the offsets of another log start again
);
CREATE UNIQUE INDEX audit_record ON audit (topic, partition, record_offset, log);
CREATE INDEX audit_return ON audit (return_id);

CREATE TABLE audit_chain (
    chain TEXT   NOT NULL PRIMARY KEY,
    rows  BIGINT NOT NULL,
    head  BLOB   NOT NULL
) WITHOUT ROWID;

-- The heads that were published, as the topic holds them (docs/audit.md).
CREATE TABLE audit_published (
    id            INTEGER PRIMARY KEY,
    heads         TEXT   NOT NULL,
    record_offset BIGINT NOT NULL
);

-- What each block of 128 audit rows holds, so that a filter reads only blocks that have what it looks for, however rare
-- that is. Written once, when a block is full (audit.c); all of it can be made anew from the rows. event_type: '' for none.
CREATE TABLE audit_block (
    block      BIGINT NOT NULL,
    action     TEXT   NOT NULL,
    outcome    TEXT   NOT NULL,
    event_type TEXT   NOT NULL,
    first_at   BIGINT NOT NULL,
    last_at    BIGINT NOT NULL,
    PRIMARY KEY (block, action, outcome, event_type)
) WITHOUT ROWID;

-- Audit rows by outcome, of each chain and each log that was read in its place (consumer_offset.log), so that the status
-- page need not count them.
CREATE TABLE chain_tally (
    chain   TEXT   NOT NULL,
    log     BIGINT NOT NULL,
    outcome TEXT   NOT NULL,
    n       BIGINT NOT NULL,
    PRIMARY KEY (chain, log, outcome)
) WITHOUT ROWID;
CREATE VIEW tally AS SELECT outcome, SUM(n) AS n FROM chain_tally GROUP BY outcome;

-- Events that went to the outbox in reaction to a chain's records, as far as these begin with first_offset.
CREATE TABLE chain_emitted (
    chain        TEXT   NOT NULL PRIMARY KEY,
    first_offset BIGINT NOT NULL,
    n            BIGINT NOT NULL
) WITHOUT ROWID;

CREATE TABLE outbox (
    id            INTEGER PRIMARY KEY,
    event_id      BLOB   NOT NULL,
    type          TEXT   NOT NULL,
    return_id     TEXT   NOT NULL,
    body          BLOB   NOT NULL,
    trace_parent  TEXT   NOT NULL,
    occurred_at   BIGINT NOT NULL,
    dead_letter   BIGINT, -- this row publishes that dead letter, as it came, and has no body of its own
    received_at   BIGINT, -- when the record that the event reacts to was taken up; NULL: it reacts to none
    schema_row    BIGINT  -- outbox_schema
);

-- How far it was published: all rows up to this id, and none behind it, but for the exceptions (outbox_queue.h). One row.
CREATE TABLE outbox_mark (
    through BIGINT NOT NULL
);
INSERT INTO outbox_mark (through) VALUES (0);
CREATE TABLE outbox_exception (
    id     BIGINT NOT NULL PRIMARY KEY,
    state  TEXT   NOT NULL CHECK (state IN ('sent', 'waiting', 'set aside')),
    at     BIGINT, -- when it was set aside
    reason TEXT
) WITHOUT ROWID;
CREATE INDEX outbox_exception_state ON outbox_exception (state, id);

-- The last record that it published to each partition of the topic of events.
CREATE TABLE outbox_place (
    partition     BIGINT NOT NULL PRIMARY KEY,
    record_offset BIGINT NOT NULL
) WITHOUT ROWID;

-- For people, and where all rows are read.
CREATE VIEW outbox_state AS
SELECT o.*, COALESCE(e.state, CASE WHEN o.id <= m.through THEN 'sent' ELSE 'waiting' END) AS state, e.at, e.reason
FROM outbox o CROSS JOIN outbox_mark m LEFT JOIN outbox_exception e ON e.id = o.id;

-- What the outbox's bodies were encoded by: the service may go by another schema when it sends them.
CREATE TABLE outbox_schema (
    id   INTEGER PRIMARY KEY,
    type TEXT NOT NULL,
    text TEXT NOT NULL
);

-- Records that could not be decoded or were rejected, as they came. Each is open until a redrive gave it its effect.
CREATE TABLE dead_letter (
    id            INTEGER PRIMARY KEY,
    at            BIGINT NOT NULL,
    topic         TEXT   NOT NULL,
    partition     BIGINT NOT NULL,
    record_offset BIGINT NOT NULL,
    record_key    BLOB,
    headers       TEXT   NOT NULL,
    value         BLOB,
    reason        TEXT   NOT NULL,
    state         TEXT   NOT NULL DEFAULT 'open',
    said          TEXT, -- what the last redrive met that could not give it its effect
    said_at       BIGINT,
    rebuilt       BIGINT NOT NULL DEFAULT 0, -- 1: it had its effect once, and a rebuild rejected it
    answered_at   BIGINT, -- the moment of what was published in reaction to it before that; nothing is published again
    event_id      BLOB    -- of one that was answered: it may come from its topic once more
);
CREATE INDEX dead_letter_answered ON dead_letter (event_id) WHERE answered_at > 0;
CREATE INDEX dead_letter_rebuilt ON dead_letter (topic, partition) WHERE rebuilt = 1;
CREATE INDEX dead_letter_open ON dead_letter (id) WHERE state = 'open';

-- How many of a partition's letters were redriven (counts.h).
CREATE TABLE pile_redriven (
    topic     TEXT   NOT NULL,
    partition BIGINT NOT NULL,
    n         BIGINT NOT NULL,
    PRIMARY KEY (topic, partition)
) WITHOUT ROWID;
CREATE TRIGGER pile_redriven_insert AFTER INSERT ON dead_letter WHEN NEW.state = 'redriven' BEGIN
    INSERT INTO pile_redriven (topic, partition, n) VALUES (NEW.topic, NEW.partition, 1)
    ON CONFLICT (topic, partition) DO UPDATE SET n = n + 1;
END;
CREATE TRIGGER pile_redriven_update AFTER UPDATE OF state ON dead_letter
WHEN NEW.state = 'redriven' AND OLD.state <> 'redriven' BEGIN
    INSERT INTO pile_redriven (topic, partition, n) VALUES (NEW.topic, NEW.partition, 1)
    ON CONFLICT (topic, partition) DO UPDATE SET n = n + 1;
END;
CREATE TRIGGER pile_redriven_open AFTER UPDATE OF state ON dead_letter
WHEN NEW.state <> 'redriven' AND OLD.state = 'redriven' BEGIN
    UPDATE pile_redriven SET n = n - 1 WHERE topic = OLD.topic AND partition = OLD.partition;
END;
CREATE TRIGGER pile_redriven_delete AFTER DELETE ON dead_letter WHEN OLD.state = 'redriven' BEGIN
    UPDATE pile_redriven SET n = n - 1 WHERE topic = OLD.topic AND partition = OLD.partition;
END;

-- How far each consumer group has read this service's topic (kept only where the declaration asks for it).
CREATE TABLE subscriber_offset (
    team        TEXT   NOT NULL,
    partition   BIGINT NOT NULL,
    next_offset BIGINT NOT NULL,
    PRIMARY KEY (team, partition)
) WITHOUT ROWID;

-- When it last gave a sign of life: its group had members, or came further.
CREATE TABLE subscriber_life (
    team TEXT   NOT NULL PRIMARY KEY,
    at   BIGINT NOT NULL
) WITHOUT ROWID;

-- The first answer to each POST that carried an Idempotency-Key (idempotency.h), to be given again to who repeats it.
CREATE TABLE idempotency (
    idempotency_key TEXT   NOT NULL PRIMARY KEY,
    at              BIGINT NOT NULL,
    request         TEXT   NOT NULL,
    fingerprint     BLOB   NOT NULL,
    status          BIGINT NOT NULL,
    content_type    TEXT   NOT NULL,
    headers         TEXT   NOT NULL,
    body            BLOB   NOT NULL,
    effect          BIGINT NOT NULL -- 0: a refusal, or it committed nothing. Of those the newest are kept
);
CREATE INDEX idempotency_at ON idempotency (at);
CREATE INDEX idempotency_no_effect ON idempotency (at) WHERE effect = 0;

-- What changed the state without being in a topic, or out of its place there, in order; a rebuild needs it (by_hand.h).
-- Each was done before what the outbox has behind row after_sequence. A redrive: letter, and which record of its
-- partition was the next one then. Else a call, with what was asked.
CREATE TABLE by_hand (
    id             INTEGER PRIMARY KEY,
    after_sequence BIGINT NOT NULL,
    at             BIGINT NOT NULL, -- reaction.now
    letter         BIGINT,
    next_offset    BIGINT,
    event_id       BLOB,
    type           TEXT,
    data           TEXT,
    trace_parent   TEXT
);

-- A row: Kafka knew nothing of the service when this database began, or it was rebuilt (history.h).
CREATE TABLE beginning (
    at     BIGINT NOT NULL,
    behind BIGINT NOT NULL DEFAULT 0 -- 1: its topic holds what this database never published
);

-- How many there are of what may be many, so that nobody counts rows: while Kafka is away an outbox holds millions.
CREATE TABLE pile (
    name TEXT   NOT NULL PRIMARY KEY,
    n    BIGINT NOT NULL
) WITHOUT ROWID;
INSERT INTO pile (name, n) VALUES ('waiting', 0), ('set aside', 0), ('open letters', 0);

CREATE TRIGGER pile_exception_insert AFTER INSERT ON outbox_exception BEGIN
    UPDATE pile SET n = n + 1 WHERE name = NEW.state;
END;
CREATE TRIGGER pile_exception_update AFTER UPDATE OF state ON outbox_exception BEGIN
    UPDATE pile SET n = n + (name = NEW.state) - (name = OLD.state);
END;
CREATE TRIGGER pile_exception_delete AFTER DELETE ON outbox_exception BEGIN
    UPDATE pile SET n = n - 1 WHERE name = OLD.state;
END;
-- The mark leaves few exceptions behind it, so these are counted.
CREATE VIEW outbox_waiting AS
SELECT (SELECT COALESCE(MAX(id), 0) FROM outbox) - m.through
       - (SELECT COUNT(*) FROM outbox_exception e WHERE e.id > m.through)
       + (SELECT p.n FROM pile p WHERE p.name = 'waiting') AS n
FROM outbox_mark m;

CREATE TRIGGER pile_letter_insert AFTER INSERT ON dead_letter WHEN NEW.state = 'open' BEGIN
    UPDATE pile SET n = n + 1 WHERE name = 'open letters';
END;
CREATE TRIGGER pile_letter_update AFTER UPDATE OF state ON dead_letter BEGIN
    UPDATE pile SET n = n + (NEW.state = 'open') - (OLD.state = 'open') WHERE name = 'open letters';
END;
CREATE TRIGGER pile_letter_delete AFTER DELETE ON dead_letter WHEN OLD.state = 'open' BEGIN
    UPDATE pile SET n = n - 1 WHERE name = 'open letters';
END;
