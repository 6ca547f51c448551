-- Support's tables, from version 8 to version 9.

-- Each version of a return: support's own event that made it, from when it was decided; history has an event only from
-- when it was read from its topic.
CREATE TABLE return_version (
    return_id TEXT   NOT NULL,
    version   BIGINT NOT NULL,
    event_id  BYTEA  NOT NULL,
    type      TEXT   NOT NULL,
    at        BIGINT NOT NULL,
    PRIMARY KEY (return_id, version, event_id)
);
INSERT INTO return_version (return_id, version, event_id, type, at)
SELECT return_id, version, event_id, type, at FROM history WHERE team = 'support';
-- Those that were not read back from the topic yet.
INSERT INTO return_version (return_id, version, event_id, type, at)
SELECT r.return_id, r.version, o.event_id, 'returns.support.RefundRequest', r.requested_at
FROM outbox o JOIN return_request r ON r.return_id = o.return_id
WHERE r.record_offset IS NULL AND o.dead_letter IS NULL;
