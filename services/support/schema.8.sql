-- Support's tables, from version 7 to version 8.

-- Returns whose snapshot is to be published (chassis/snapshots.h). Put in with the event that changed the return.
CREATE TABLE snapshot_due (
    return_id TEXT   NOT NULL PRIMARY KEY,
    change    BIGINT NOT NULL -- grows with each; a snapshot that is delivered takes out what it was made of, and no more
);
INSERT INTO snapshot_due (return_id, change) SELECT DISTINCT return_id, 1 FROM history;
