-- The chassis's tables, from version 8 to version 9.

-- What the outbox's bodies were encoded by: the service may go by another schema when it sends them. A row from before
-- that names none.
CREATE TABLE outbox_schema (
    id   INTEGER PRIMARY KEY,
    type TEXT NOT NULL,
    text TEXT NOT NULL
);
ALTER TABLE outbox ADD COLUMN schema_row BIGINT;
