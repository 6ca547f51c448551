-- Stock of each model. At every moment: on_hand = initial - shipped + recalled, and never below zero.
CREATE TABLE stock (
    model    TEXT   NOT NULL PRIMARY KEY,
    initial  BIGINT NOT NULL,
    shipped  BIGINT NOT NULL DEFAULT 0,
    recalled BIGINT NOT NULL DEFAULT 0,
    on_hand  BIGINT NOT NULL CHECK (on_hand >= 0),
    CHECK (on_hand = initial - shipped + recalled)
);

INSERT INTO stock (model, initial, on_hand) VALUES
    ('Aurora 14 laptop', 500, 500),
    ('Borealis 27 monitor', 200, 200),
    ('Comet router', 80, 80),
    ('Dune headset', 25, 25),
    ('Ember tablet', 3, 3);

-- What a return was answered with: a shipment, or a place in the queue for the model. What was shipped can be recalled,
-- and then goes to the oldest backorder of its model. A row for each return, with the moments of what became of it;
-- nothing is deleted.
CREATE TABLE replacement (
    return_id   TEXT   NOT NULL PRIMARY KEY,
    version     BIGINT NOT NULL, -- of the return, that its request had
    model       TEXT   NOT NULL,
    shipment_id TEXT   NOT NULL,
    -- Two at a time: of a longer list SQLite makes a table, for each row.
    state       TEXT   NOT NULL CHECK (state IN ('shipped', 'backordered') OR state IN ('recalled', 'withdrawn')),
    place       BIGINT, -- among those who wait for the model, or waited
    asked_at    BIGINT NOT NULL,
    shipped_at  BIGINT,
    ended_at    BIGINT,
    CHECK ((state IN ('shipped', 'recalled')) = (shipped_at IS NOT NULL)),
    CHECK ((state IN ('recalled', 'withdrawn')) = (ended_at IS NOT NULL)),
    CHECK (state <> 'backordered' OR place IS NOT NULL)
);
CREATE UNIQUE INDEX replacement_waiting ON replacement (model, place) WHERE state = 'backordered';
-- For the latest replacements.
CREATE INDEX replacement_latest ON replacement (COALESCE(ended_at, shipped_at, asked_at));

-- How many wait for each model, kept with every backorder.
CREATE TABLE backorder (
    model   TEXT   NOT NULL PRIMARY KEY,
    waiting BIGINT NOT NULL CHECK (waiting >= 0)
);
CREATE INDEX backorder_longest ON backorder (waiting DESC, model);

CREATE TABLE cancelled (
    return_id    TEXT   NOT NULL PRIMARY KEY,
    cancelled_at BIGINT NOT NULL
);
