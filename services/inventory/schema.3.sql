-- Inventory's tables, from version 2 to version 3: what was shipped can be recalled, and then goes to the oldest
-- backorder of its model. A row for each return, with the moments of what became of it; nothing is deleted.
CREATE TABLE replacement_of_return (
    return_id   TEXT   NOT NULL PRIMARY KEY,
    version     BIGINT NOT NULL, -- of the return, that its request had
    model       TEXT   NOT NULL,
    shipment_id TEXT   NOT NULL,
    state       TEXT   NOT NULL CHECK (state IN ('shipped', 'backordered', 'recalled', 'withdrawn')),
    place       BIGINT, -- among those who wait for the model, or waited
    asked_at    BIGINT NOT NULL,
    shipped_at  BIGINT,
    ended_at    BIGINT,
    CHECK ((state IN ('shipped', 'recalled')) = (shipped_at IS NOT NULL)),
    CHECK ((state IN ('recalled', 'withdrawn')) = (ended_at IS NOT NULL)),
    CHECK (state <> 'backordered' OR place IS NOT NULL)
);
INSERT INTO replacement_of_return (return_id, version, model, shipment_id, state, place, asked_at, shipped_at)
SELECT return_id, 1, model, shipment_id, state,
    CASE state WHEN 'backordered' THEN ROW_NUMBER() OVER (PARTITION BY model, state ORDER BY decided_at, return_id) END,
    decided_at,
    CASE state WHEN 'shipped' THEN decided_at END
FROM replacement;
DROP TABLE replacement;
ALTER TABLE replacement_of_return RENAME TO replacement;

CREATE UNIQUE INDEX replacement_waiting ON replacement (model, place) WHERE state = 'backordered';
-- For the latest replacements.
CREATE INDEX replacement_latest ON replacement (COALESCE(ended_at, shipped_at, asked_at), return_id);

-- Fewer may wait than did.
CREATE TABLE backorder_of_model (
    model   TEXT   NOT NULL PRIMARY KEY,
    waiting BIGINT NOT NULL CHECK (waiting >= 0)
);
INSERT INTO backorder_of_model (model, waiting) SELECT model, waiting FROM backorder;
DROP TABLE backorder;
ALTER TABLE backorder_of_model RENAME TO backorder;
CREATE INDEX backorder_longest ON backorder (waiting DESC, model);

CREATE TABLE cancelled (
    return_id    TEXT   NOT NULL PRIMARY KEY,
    cancelled_at BIGINT NOT NULL
);
