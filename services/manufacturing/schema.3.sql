-- Manufacturing's tables, from version 2 to version 3: an order can be withdrawn, and the item is then queued for
-- whoever was declined for it. A row for each return, with the moments of what became of it; nothing is deleted.
CREATE TABLE order_of_return (
    return_id     TEXT   NOT NULL PRIMARY KEY,
    version       BIGINT NOT NULL, -- of the return, that its request had
    serial_number TEXT   NOT NULL,
    location      TEXT   NOT NULL,
    site          TEXT   NOT NULL,
    state         TEXT   NOT NULL CHECK (state IN ('queued', 'waiting', 'withdrawn')),
    place         BIGINT, -- among those who wait for the item, or waited
    asked_at      BIGINT NOT NULL,
    queued_at     BIGINT,
    ended_at      BIGINT,
    CHECK (state <> 'queued' OR queued_at IS NOT NULL),
    CHECK ((state = 'withdrawn') = (ended_at IS NOT NULL)),
    CHECK (state <> 'waiting' OR (place IS NOT NULL AND queued_at IS NULL))
);
INSERT INTO order_of_return (return_id, version, serial_number, location, site, state, asked_at, queued_at)
SELECT return_id, 1, serial_number, location, site, 'queued', queued_at, queued_at FROM disassembly_order;
DROP TABLE disassembly_order;
ALTER TABLE order_of_return RENAME TO disassembly_order;

-- One order for each item at a time.
CREATE UNIQUE INDEX disassembly_order_item ON disassembly_order (serial_number) WHERE state = 'queued';
CREATE UNIQUE INDEX disassembly_order_waiting ON disassembly_order (serial_number, place) WHERE state = 'waiting';
-- For the latest orders.
CREATE INDEX disassembly_order_latest ON disassembly_order (COALESCE(ended_at, queued_at, asked_at), return_id);

-- Fewer may be queued than were.
CREATE TABLE queue_of_site (
    site   TEXT   NOT NULL PRIMARY KEY,
    queued BIGINT NOT NULL CHECK (queued >= 0)
);
INSERT INTO queue_of_site (site, queued) SELECT site, queued FROM site_queue;
DROP TABLE site_queue;
ALTER TABLE queue_of_site RENAME TO site_queue;

CREATE TABLE cancelled (
    return_id    TEXT   NOT NULL PRIMARY KEY,
    cancelled_at BIGINT NOT NULL
);
