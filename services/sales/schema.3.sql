-- Sales' tables, from version 2 to version 3: what was refunded can be taken back, and whoever was declined for it then
-- gets it. A row for each return, with the moments of what became of it; nothing is deleted.
CREATE TABLE refund_of_return (
    return_id     TEXT   NOT NULL PRIMARY KEY,
    version       BIGINT NOT NULL, -- of the return, that its request had
    order_id      TEXT   NOT NULL,
    serial_number TEXT   NOT NULL,
    state         TEXT   NOT NULL CHECK (state IN ('refunded', 'waiting', 'declined', 'reversed', 'withdrawn')),
    place         BIGINT, -- among those who wait for the item, or waited
    asked_at      BIGINT NOT NULL,
    refunded_at   BIGINT,
    ended_at      BIGINT,
    CHECK ((state IN ('refunded', 'reversed')) = (refunded_at IS NOT NULL)),
    CHECK ((state IN ('reversed', 'withdrawn')) = (ended_at IS NOT NULL)),
    CHECK (state <> 'waiting' OR place IS NOT NULL)
);
INSERT INTO refund_of_return (return_id, version, order_id, serial_number, state, asked_at, refunded_at)
SELECT return_id, 1, order_id, serial_number, 'refunded', refunded_at, refunded_at FROM refund;
DROP TABLE refund;
ALTER TABLE refund_of_return RENAME TO refund;

-- An item is refunded once at a time.
CREATE UNIQUE INDEX refund_item ON refund (order_id, serial_number) WHERE state = 'refunded';
CREATE UNIQUE INDEX refund_waiting ON refund (order_id, serial_number, place) WHERE state = 'waiting';
-- For the latest refunds.
CREATE INDEX refund_latest ON refund (COALESCE(ended_at, refunded_at, asked_at), return_id);

CREATE TABLE cancelled (
    return_id    TEXT   NOT NULL PRIMARY KEY,
    cancelled_at BIGINT NOT NULL
);
