-- What is known of each return. Made anew at each start.
CREATE TABLE returned (
    return_id    TEXT   NOT NULL PRIMARY KEY,
    model        TEXT   NOT NULL,
    location     TEXT   NOT NULL,
    reason_code  TEXT   NOT NULL,
    cost_minor   BIGINT NOT NULL, -- hundredths
    currency     TEXT   NOT NULL,
    requested_at BIGINT NOT NULL  -- ms since 1970
);
CREATE INDEX returned_model ON returned (model);
