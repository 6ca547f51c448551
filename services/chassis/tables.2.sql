-- The chassis's tables, from version 1 to version 2.

-- A dead letter is open until a redrive gave it its effect. said: what the last redrive that could not do so met.
ALTER TABLE dead_letter ADD COLUMN state TEXT NOT NULL DEFAULT 'open';
ALTER TABLE dead_letter ADD COLUMN said TEXT;
ALTER TABLE dead_letter ADD COLUMN said_at BIGINT;
CREATE INDEX dead_letter_open ON dead_letter (id) WHERE state = 'open';

-- Not NULL: this row publishes that dead letter, as it came, and has no body of its own.
ALTER TABLE outbox ADD COLUMN dead_letter BIGINT;

-- What tells the log that was read from another one: the cluster's id, and a fingerprint of the record just before
-- next_offset. log: how many times somebody accepted another log in its place.
ALTER TABLE consumer_offset ADD COLUMN cluster TEXT;
ALTER TABLE consumer_offset ADD COLUMN mark BIGINT;
ALTER TABLE consumer_offset ADD COLUMN log BIGINT NOT NULL DEFAULT 0;

-- The offsets of another log start again.
ALTER TABLE audit ADD COLUMN log BIGINT NOT NULL DEFAULT 0;
DROP INDEX audit_record;
CREATE UNIQUE INDEX audit_record ON audit (topic, partition, record_offset, log);
