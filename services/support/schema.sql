-- What the events say of each return: support's own, and those that others asked for by an event. return_request,
-- history, team and attention can be made anew from the topics.
CREATE TABLE return_request (
    return_id           TEXT   NOT NULL PRIMARY KEY,
    version             BIGINT NOT NULL,
    requested_at        BIGINT NOT NULL, -- the moment of its event
    order_id            TEXT   NOT NULL,
    model               TEXT   NOT NULL,
    shipment_id         TEXT   NOT NULL,
    serial_number       TEXT   NOT NULL,
    location            TEXT   NOT NULL,
    cost_minor          BIGINT NOT NULL,
    cost_currency       TEXT   NOT NULL,
    partition           BIGINT, -- of its RefundRequest, once it was seen in the topic
    record_offset       BIGINT,
    published_at        BIGINT, -- when its RefundRequest was in the topic
    state               TEXT   NOT NULL DEFAULT 'open', -- open, cancelled, closed
    -- Of the RefundCancelled that counts: the lowest version, and of those the first place in the topic.
    cancelled_partition BIGINT,
    cancelled_offset    BIGINT,
    cancelled_version   BIGINT,
    cancelled_at        BIGINT,
    -- What kind of reason was given, and how the return came in; an event may say neither.
    reason_code         TEXT   NOT NULL DEFAULT 'OTHER',
    channel             TEXT   NOT NULL DEFAULT 'unknown'
);
CREATE INDEX return_request_time ON return_request (requested_at, return_id);
CREATE INDEX return_request_place ON return_request (partition, record_offset);
-- An item can be in one open return at a time.
CREATE INDEX return_request_item ON return_request (serial_number) WHERE state = 'open';
CREATE INDEX return_request_cancelled ON return_request (cancelled_partition, cancelled_offset) WHERE state = 'cancelled';
CREATE INDEX return_request_closed ON return_request (return_id) WHERE state = 'closed';
CREATE INDEX return_request_order ON return_request (order_id, serial_number);

-- What only support knows of a return: the log is kept for ever, so neither is in it.
CREATE TABLE return_private (
    return_id    TEXT   NOT NULL PRIMARY KEY,
    customer_id  TEXT   NOT NULL,
    reason       TEXT   NOT NULL,
    submitted_at BIGINT -- when its request came
);
CREATE INDEX return_private_customer ON return_private (customer_id);

-- Each version of a return: support's own event that made it, from when it was decided; history has an event only from
-- when it was read from its topic.
CREATE TABLE return_version (
    return_id TEXT   NOT NULL,
    version   BIGINT NOT NULL,
    event_id  BYTEA  NOT NULL,
    type      TEXT   NOT NULL,
    at        BIGINT NOT NULL,
    PRIMARY KEY (return_id, version, event_id)
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
    -- The record that held the event: when Kafka got it, its headers ([["name", "text"], …]), and its bytes.
    recorded_at   BIGINT,
    headers       TEXT,
    record        BYTEA,
    PRIMARY KEY (return_id, event_id)
);

-- What services have put aside of support's own topic, by their dead letters (chassis/incoming/letters.h). One counts as long as
-- its service has published nothing about it.
CREATE TABLE letter (
    team          TEXT   NOT NULL,
    partition     BIGINT NOT NULL,
    record_offset BIGINT NOT NULL,
    at            BIGINT NOT NULL,
    reason        TEXT   NOT NULL,
    answered_at   BIGINT NOT NULL, -- of what a rebuild rejected: when the team had answered it; 0: it had not
    redriven      BIGINT NOT NULL, -- 1: it has its effect after all
    PRIMARY KEY (partition, record_offset, team)
);

-- What each service last published.
CREATE TABLE team (
    team        TEXT NOT NULL PRIMARY KEY,
    last_type   TEXT,
    last_return TEXT,
    last_at     BIGINT,
    last_event  BYTEA -- for those of one millisecond
);

-- The returns that a team has declined.
CREATE TABLE attention (
    return_id TEXT NOT NULL PRIMARY KEY
);

-- When a subscriber that publishes nothing was first seen to have come so far: its events cannot tell.
CREATE TABLE passed (
    team        TEXT   NOT NULL,
    partition   BIGINT NOT NULL,
    next_offset BIGINT NOT NULL,
    seen_at     BIGINT NOT NULL,
    PRIMARY KEY (team, partition, next_offset)
);

-- Which return each form that was sent became. A form is sent once, however often its button is pressed.
CREATE TABLE submission (
    token     TEXT NOT NULL PRIMARY KEY, -- in the form since it was made
    return_id TEXT NOT NULL
);

-- Returns that were handled the traditional way (traditional.h): they are in no topic, and not in return_request.
CREATE TABLE traditional_return (
    return_id   TEXT   NOT NULL PRIMARY KEY,
    at          BIGINT NOT NULL,
    customer_id TEXT   NOT NULL,
    status      TEXT   NOT NULL, -- done, half done, failed
    steps_done  BIGINT NOT NULL,
    failed_team TEXT, -- the one whose call failed; those after it were not called
    reason      TEXT,
    ms          BIGINT NOT NULL
);
CREATE INDEX traditional_return_customer ON traditional_return (customer_id);

CREATE TABLE traditional_step (
    return_id TEXT   NOT NULL,
    step      BIGINT NOT NULL, -- 1 to 4
    team      TEXT   NOT NULL,
    status    TEXT   NOT NULL, -- done, failed, in doubt
    tries     BIGINT NOT NULL,
    ms        BIGINT NOT NULL,
    PRIMARY KEY (return_id, step)
);

-- Returns whose snapshot is to be published (chassis/outgoing/snapshots.h). Put in with the event that changed the return.
CREATE TABLE snapshot_due (
    return_id TEXT   NOT NULL PRIMARY KEY,
    change    BIGINT NOT NULL, -- grows with each; a snapshot that is delivered takes out what it was made of, and no more
    refused   TEXT             -- why it cannot be published as it is; the next change tries again
);

-- What sales has published of its customers and orders (orders.h), to be made anew from its topic. Beside each value is
-- the version of the customer or order that set it; 0: none has.
CREATE TABLE customer (
    customer_id   TEXT   NOT NULL PRIMARY KEY,
    version       BIGINT NOT NULL,
    registered_at BIGINT NOT NULL,
    name          TEXT   NOT NULL,
    location      TEXT   NOT NULL,
    search        TEXT   NOT NULL -- name and id in small letters: what is searched, and the list's order
);
CREATE INDEX customer_search ON customer (search, customer_id); -- two may differ in case alone

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
