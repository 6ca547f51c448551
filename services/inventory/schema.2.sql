-- How many wait for each model, kept with every backorder.
CREATE TABLE backorder (
    model   TEXT   NOT NULL PRIMARY KEY,
    waiting BIGINT NOT NULL
);
INSERT INTO backorder (model, waiting)
SELECT model, COUNT(*) FROM replacement WHERE state = 'backordered' GROUP BY model;
CREATE INDEX backorder_waiting ON backorder (waiting);

-- For the latest replacements.
CREATE INDEX replacement_decided ON replacement (decided_at);
