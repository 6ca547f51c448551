-- Support's tables, from version 6 to version 7: what sales has published of its customers and orders (orders.h), to be
-- made anew from its topic. Beside each value is the version of the customer or order that set it; 0: none has.
CREATE TABLE customer (
    customer_id   TEXT   NOT NULL PRIMARY KEY,
    version       BIGINT NOT NULL,
    registered_at BIGINT NOT NULL,
    name          TEXT   NOT NULL,
    location      TEXT   NOT NULL,
    search        TEXT   NOT NULL -- name and id in small letters: what is searched, and the list's order
);
CREATE UNIQUE INDEX customer_search ON customer (search);

-- It may be here before its customer is, and, where a record was put aside, before it was placed.
CREATE TABLE customer_order (
    order_id          TEXT   NOT NULL PRIMARY KEY,
    version           BIGINT NOT NULL,
    changed_at        BIGINT NOT NULL,
    customer_id       TEXT,
    placed_at         BIGINT,
    placed_version    BIGINT NOT NULL,
    shipment_id       TEXT,
    shipment_version  BIGINT NOT NULL,
    completed_at      BIGINT,
    completed_version BIGINT NOT NULL
);
CREATE INDEX customer_order_customer ON customer_order (customer_id, placed_at, order_id);

-- A line that was removed stays, so that an older event which comes later does not bring it back.
CREATE TABLE order_item (
    order_id       TEXT   NOT NULL,
    line           BIGINT NOT NULL,
    present        BIGINT NOT NULL, -- 1, or 0 once it was removed
    line_version   BIGINT NOT NULL,
    model          TEXT,
    model_version  BIGINT NOT NULL,
    price_minor    BIGINT,
    price_currency TEXT,
    price_version  BIGINT NOT NULL,
    serial_number  TEXT,
    serial_version BIGINT NOT NULL,
    PRIMARY KEY (order_id, line)
);

-- The returns of an order and of a customer.
CREATE INDEX return_request_order ON return_request (order_id, serial_number);
CREATE INDEX return_private_customer ON return_private (customer_id);
