-- Where items of a location are taken apart. A location that is not listed goes to the central site.
CREATE TABLE site (
    location TEXT NOT NULL PRIMARY KEY,
    site     TEXT NOT NULL
);

INSERT INTO site (location, site) VALUES
    ('Berlin', 'Dresden works'),
    ('Lyon', 'Grenoble works'),
    ('Warsaw', 'Dresden works');

-- One order for each defective item. It can be withdrawn, and the item is then queued for whoever was declined for it.
-- A row for each return, with the moments of what became of it; nothing is deleted.
CREATE TABLE disassembly_order (
    return_id     TEXT   NOT NULL PRIMARY KEY,
    version       BIGINT NOT NULL, -- of the return, that its request had
    serial_number TEXT   NOT NULL,
    location      TEXT   NOT NULL,
    site          TEXT   NOT NULL,
    -- Two at a time: of a longer list SQLite makes a table, for each row.
    state         TEXT   NOT NULL CHECK (state IN ('queued', 'waiting') OR state = 'withdrawn'),
    place         BIGINT, -- among those who wait for the item, or waited
    asked_at      BIGINT NOT NULL,
    queued_at     BIGINT,
    ended_at      BIGINT,
    CHECK (state <> 'queued' OR queued_at IS NOT NULL),
    CHECK ((state = 'withdrawn') = (ended_at IS NOT NULL)),
    CHECK (state <> 'waiting' OR (place IS NOT NULL AND queued_at IS NULL))
);
-- One order for each item at a time.
CREATE UNIQUE INDEX disassembly_order_item ON disassembly_order (serial_number) WHERE state = 'queued';
CREATE UNIQUE INDEX disassembly_order_waiting ON disassembly_order (serial_number, place) WHERE state = 'waiting';
-- For the latest orders.
CREATE INDEX disassembly_order_latest ON disassembly_order (COALESCE(ended_at, queued_at, asked_at));

-- How many orders each site has in its queue, kept with every order.
CREATE TABLE site_queue (
    site   TEXT   NOT NULL PRIMARY KEY,
    queued BIGINT NOT NULL CHECK (queued >= 0)
);

CREATE TABLE cancelled (
    return_id    TEXT   NOT NULL PRIMARY KEY,
    cancelled_at BIGINT NOT NULL
);
