-- Support's tables, from version 5 to version 6: cancelled and closed returns.

-- Of the RefundCancelled that counts: the lowest version, and of those the first place in the topic.
ALTER TABLE return_request ADD COLUMN cancelled_version BIGINT;
ALTER TABLE return_request ADD COLUMN cancelled_at BIGINT;
CREATE INDEX return_request_cancelled ON return_request (cancelled_partition, cancelled_offset) WHERE state = 'cancelled';
CREATE INDEX return_request_closed ON return_request (return_id) WHERE state = 'closed';
