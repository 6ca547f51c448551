-- The chassis's tables, from version 6 to version 7.

-- Audit rows by outcome, of each chain and each log that was read in its place (consumer_offset.log).
CREATE TABLE chain_tally (
    chain   TEXT   NOT NULL,
    log     BIGINT NOT NULL,
    outcome TEXT   NOT NULL,
    n       BIGINT NOT NULL,
    PRIMARY KEY (chain, log, outcome)
) WITHOUT ROWID;

INSERT INTO chain_tally (chain, log, outcome, n)
SELECT CASE WHEN topic IS NULL THEN 'by-hand' ELSE topic || '/' || partition END, log, outcome, COUNT(*)
FROM audit GROUP BY 1, 2, 3;

DROP TABLE tally;
CREATE VIEW tally AS SELECT outcome, SUM(n) AS n FROM chain_tally GROUP BY outcome;

-- Events that went to the outbox in reaction to a chain's records, as far as these begin with first_offset.
CREATE TABLE chain_emitted (
    chain        TEXT   NOT NULL PRIMARY KEY,
    first_offset BIGINT NOT NULL,
    n            BIGINT NOT NULL
) WITHOUT ROWID;

INSERT INTO chain_emitted (chain, first_offset, n)
SELECT topic || '/' || partition, next_offset, 0 FROM consumer_offset;

-- From where the log was read that is read now.
ALTER TABLE consumer_offset ADD COLUMN first_offset BIGINT NOT NULL DEFAULT 0;
UPDATE consumer_offset SET first_offset = COALESCE(
    (SELECT MIN(a.record_offset) FROM audit a
     WHERE a.topic = consumer_offset.topic AND a.partition = consumer_offset.partition AND a.log = consumer_offset.log),
    next_offset)
WHERE log > 0;

CREATE INDEX dead_letter_redriven ON dead_letter (topic, partition) WHERE state = 'redriven';
