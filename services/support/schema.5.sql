-- Support's tables, from version 4 to version 5: what the events say apart from what no event carries, so that
-- return_request, history, team and attention can be made anew from the topics.

-- What only support knows of a return: the log is kept for ever, so neither is in it.
CREATE TABLE return_private (
    return_id    TEXT   NOT NULL PRIMARY KEY,
    customer_id  TEXT   NOT NULL,
    reason       TEXT   NOT NULL,
    submitted_at BIGINT
);
INSERT INTO return_private (return_id, customer_id, reason, submitted_at)
SELECT return_id, customer_id, reason, submitted_at FROM return_request WHERE customer_id IS NOT NULL;
ALTER TABLE return_request DROP COLUMN customer_id;
ALTER TABLE return_request DROP COLUMN reason;
ALTER TABLE return_request DROP COLUMN submitted_at;

-- open, cancelled or closed; and where its RefundCancelled is in the topic, once it was seen there.
ALTER TABLE return_request ADD COLUMN state TEXT NOT NULL DEFAULT 'open';
ALTER TABLE return_request ADD COLUMN cancelled_partition BIGINT;
ALTER TABLE return_request ADD COLUMN cancelled_offset BIGINT;

-- An item can be in one open return at a time.
CREATE INDEX return_request_item ON return_request (serial_number) WHERE state = 'open';
DROP TABLE open_item;

-- The moment of the request is that of its event.
UPDATE return_request SET requested_at = (
    SELECT h.at FROM history h WHERE h.return_id = return_request.return_id AND h.type = 'returns.support.RefundRequest'
    ORDER BY h.event_id LIMIT 1)
WHERE EXISTS (
    SELECT 1 FROM history h WHERE h.return_id = return_request.return_id AND h.type = 'returns.support.RefundRequest');

-- Which event was a service's last, for those of one millisecond.
ALTER TABLE team ADD COLUMN last_event BYTEA;
