-- Sales' tables, from version 3 to version 4: customers and what they ordered, made from the events of both alone.

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
