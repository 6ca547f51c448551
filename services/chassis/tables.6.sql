-- The chassis's tables, from version 5 to version 6.

-- The first answer to each POST that carried an Idempotency-Key (idempotency.h), to be given again to who repeats it.
CREATE TABLE idempotency (
    idempotency_key TEXT   NOT NULL PRIMARY KEY,
    at              BIGINT NOT NULL,
    request         TEXT   NOT NULL,
    fingerprint     BLOB   NOT NULL,
    status          BIGINT NOT NULL,
    content_type    TEXT   NOT NULL,
    headers         TEXT   NOT NULL,
    body            BLOB   NOT NULL
);
CREATE INDEX idempotency_at ON idempotency (at);
