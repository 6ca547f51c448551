-- The chassis's tables, from version 2 to version 3.

-- The heads that were published, as the topic holds them (docs/audit.md).
CREATE TABLE audit_published (
    id            INTEGER PRIMARY KEY,
    heads         TEXT   NOT NULL,
    record_offset BIGINT NOT NULL
);
