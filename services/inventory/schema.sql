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

-- What a return was answered with: a shipment, or a place in the queue for the model.
CREATE TABLE replacement (
    return_id   TEXT   NOT NULL PRIMARY KEY,
    model       TEXT   NOT NULL,
    shipment_id TEXT   NOT NULL,
    state       TEXT   NOT NULL CHECK (state IN ('shipped', 'backordered')),
    decided_at  BIGINT NOT NULL
);
