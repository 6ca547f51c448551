-- What support knows of each return: its own, and those that others asked for by an event.
CREATE TABLE return_request (
    return_id     TEXT   NOT NULL PRIMARY KEY,
    version       BIGINT NOT NULL,
    requested_at  BIGINT NOT NULL,
    order_id      TEXT   NOT NULL,
    model         TEXT   NOT NULL,
    shipment_id   TEXT   NOT NULL,
    serial_number TEXT   NOT NULL,
    location      TEXT   NOT NULL,
    cost_minor    BIGINT NOT NULL,
    cost_currency TEXT   NOT NULL,
    customer_id   TEXT, -- no event carries these two
    reason        TEXT,
    partition     BIGINT, -- of its RefundRequest, once it was seen in the topic
    record_offset BIGINT
);
CREATE INDEX return_request_time ON return_request (requested_at, return_id);

-- An item can be in one open return at a time. Whoever accepts a return takes its place here in the same transaction.
CREATE TABLE open_item (
    serial_number TEXT NOT NULL PRIMARY KEY,
    return_id     TEXT NOT NULL
);

-- Where each service's pages are, as its own events say.
CREATE TABLE team (
    team TEXT NOT NULL PRIMARY KEY,
    url  TEXT NOT NULL
);

-- Every event that any service published about a return. It may come before the return itself is known here.
CREATE TABLE history (
    return_id     TEXT   NOT NULL,
    event_id      BYTEA  NOT NULL,
    team          TEXT   NOT NULL,
    type          TEXT   NOT NULL,
    version       BIGINT NOT NULL,
    at            BIGINT NOT NULL,
    topic         TEXT   NOT NULL,
    partition     BIGINT NOT NULL,
    record_offset BIGINT NOT NULL,
    trace_id      TEXT   NOT NULL,
    data          TEXT   NOT NULL,
    PRIMARY KEY (return_id, event_id)
);
