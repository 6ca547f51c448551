-- What sales refunded. It can be taken back, and whoever was declined for it then gets it. A row for each return, with
-- the moments of what became of it; nothing is deleted.
CREATE TABLE refund (
    return_id     TEXT   NOT NULL PRIMARY KEY,
    version       BIGINT NOT NULL, -- of the return, that its request had
    order_id      TEXT   NOT NULL,
    serial_number TEXT   NOT NULL,
    -- Two at a time: of a longer list SQLite makes a table, for each row.
    state         TEXT   NOT NULL CHECK (state IN ('refunded', 'waiting') OR state IN ('declined', 'reversed') OR state = 'withdrawn'),
    place         BIGINT, -- among those who wait for the item, or waited
    asked_at      BIGINT NOT NULL,
    refunded_at   BIGINT,
    ended_at      BIGINT,
    CHECK ((state IN ('refunded', 'reversed')) = (refunded_at IS NOT NULL)),
    CHECK ((state IN ('reversed', 'withdrawn')) = (ended_at IS NOT NULL)),
    CHECK (state <> 'waiting' OR place IS NOT NULL)
);
-- An item is refunded once at a time.
CREATE UNIQUE INDEX refund_item ON refund (order_id, serial_number) WHERE state = 'refunded';
CREATE UNIQUE INDEX refund_waiting ON refund (order_id, serial_number, place) WHERE state = 'waiting';
-- For the latest refunds.
CREATE INDEX refund_latest ON refund (COALESCE(ended_at, refunded_at, asked_at));

CREATE TABLE cancelled (
    return_id    TEXT   NOT NULL PRIMARY KEY,
    cancelled_at BIGINT NOT NULL
);

-- Customers and what they ordered, made from the events of both alone.
CREATE TABLE customer (
    customer_id   TEXT   NOT NULL PRIMARY KEY,
    version       BIGINT NOT NULL,
    name          TEXT   NOT NULL,
    location      TEXT   NOT NULL,
    registered_at BIGINT NOT NULL
);
CREATE INDEX customer_registered ON customer (registered_at, customer_id);

-- state: placed, completed. last_line: the highest line that there ever was, so that none is used twice.
CREATE TABLE customer_order (
    order_id     TEXT   NOT NULL PRIMARY KEY,
    version      BIGINT NOT NULL,
    customer_id  TEXT   NOT NULL,
    state        TEXT   NOT NULL,
    shipment_id  TEXT,
    placed_at    BIGINT NOT NULL,
    changed_at   BIGINT NOT NULL,
    last_line    BIGINT NOT NULL
);
CREATE INDEX customer_order_placed ON customer_order (placed_at, order_id);
CREATE INDEX customer_order_customer ON customer_order (customer_id, placed_at, order_id);

CREATE TABLE order_item (
    order_id       TEXT   NOT NULL,
    line           BIGINT NOT NULL,
    model          TEXT   NOT NULL,
    price_minor    BIGINT NOT NULL,
    price_currency TEXT   NOT NULL,
    serial_number  TEXT,
    PRIMARY KEY (order_id, line)
);
-- A device is in one order only. Not UNIQUE: a change may swap the numbers of two lines.
CREATE INDEX order_item_serial ON order_item (serial_number) WHERE serial_number IS NOT NULL;
