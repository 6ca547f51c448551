-- The chassis's tables, from version 3 to version 4.

-- What each block of 128 audit rows holds, so that a filter reads only blocks that have what it looks for, however rare
-- that is. Written once, when a block is full (audit.c); all of it can be made anew from the rows. event_type: '' for none.
CREATE TABLE audit_block (
    block      BIGINT NOT NULL,
    action     TEXT   NOT NULL,
    outcome    TEXT   NOT NULL,
    event_type TEXT   NOT NULL,
    first_at   BIGINT NOT NULL,
    last_at    BIGINT NOT NULL,
    PRIMARY KEY (block, action, outcome, event_type)
) WITHOUT ROWID;

INSERT INTO audit_block (block, action, outcome, event_type, first_at, last_at)
SELECT (id - 1) / 128, action, outcome, COALESCE(event_type, ''), MIN(at), MAX(at)
FROM audit WHERE id <= (SELECT COALESCE(MAX(id), 0) / 128 * 128 FROM audit) GROUP BY 1, 2, 3, 4;
