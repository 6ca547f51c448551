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
