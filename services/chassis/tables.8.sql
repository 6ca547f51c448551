-- The chassis's tables, from version 7 to version 8.

-- What changed the state without being in a topic, or out of its place there, in order; a rebuild needs it (by_hand.h).
-- Each was done before what the outbox has behind row after_sequence. A redrive: letter, and which record of its
-- partition was the next one then. Else a call, with what was asked.
CREATE TABLE by_hand (
    id             INTEGER PRIMARY KEY,
    after_sequence BIGINT NOT NULL,
    at             BIGINT NOT NULL, -- reaction.now
    letter         BIGINT,
    next_offset    BIGINT,
    event_id       BLOB,
    type           TEXT,
    data           TEXT,
    trace_parent   TEXT
);
