-- The chassis's tables, from version 4 to version 5.

-- When the record that an event reacts to was taken up; NULL: it reacts to none.
ALTER TABLE outbox ADD COLUMN received_at BIGINT;
