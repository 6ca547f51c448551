-- Support's tables, from version 2 to version 3.

-- The record that held an event: when Kafka got it, its headers ([["name", "text"], …]), and its bytes.
ALTER TABLE history ADD COLUMN recorded_at BIGINT;
ALTER TABLE history ADD COLUMN headers TEXT;
ALTER TABLE history ADD COLUMN record BYTEA;

-- When its request came, and when its RefundRequest was in the topic. requested_at is when it was stored.
ALTER TABLE return_request ADD COLUMN submitted_at BIGINT;
ALTER TABLE return_request ADD COLUMN published_at BIGINT;
CREATE INDEX return_request_place ON return_request (partition, record_offset);

-- What each service last published.
ALTER TABLE team ADD COLUMN last_type TEXT;
ALTER TABLE team ADD COLUMN last_return TEXT;
ALTER TABLE team ADD COLUMN last_at BIGINT;

-- The returns that a team has declined.
CREATE TABLE attention (
    return_id TEXT NOT NULL PRIMARY KEY
);
INSERT INTO attention (return_id) SELECT DISTINCT return_id FROM history WHERE type LIKE '%Declined';

-- When a subscriber that publishes nothing was first seen to have come so far: its events cannot tell.
CREATE TABLE passed (
    team        TEXT   NOT NULL,
    partition   BIGINT NOT NULL,
    next_offset BIGINT NOT NULL,
    seen_at     BIGINT NOT NULL,
    PRIMARY KEY (team, partition, next_offset)
);
