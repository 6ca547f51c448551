-- Where items of a location are taken apart. A location that is not listed goes to the central site.
CREATE TABLE site (
    location TEXT NOT NULL PRIMARY KEY,
    site     TEXT NOT NULL
);

INSERT INTO site (location, site) VALUES
    ('Berlin', 'Dresden works'),
    ('Lyon', 'Grenoble works'),
    ('Warsaw', 'Dresden works');

-- One order for each defective item.
CREATE TABLE disassembly_order (
    serial_number TEXT   NOT NULL PRIMARY KEY,
    return_id     TEXT   NOT NULL,
    location      TEXT   NOT NULL,
    site          TEXT   NOT NULL,
    queued_at     BIGINT NOT NULL
);
