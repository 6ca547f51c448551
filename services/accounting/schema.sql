-- The ledger. A disposal is two lines, so that debits equal credits at every moment, in every currency. Amounts are in
-- hundredths of the currency's unit.
CREATE TABLE ledger (
    return_id TEXT   NOT NULL,
    account   TEXT   NOT NULL,
    debit     BIGINT NOT NULL CHECK (debit >= 0),
    credit    BIGINT NOT NULL CHECK (credit >= 0),
    currency  TEXT   NOT NULL,
    posted_at BIGINT NOT NULL,
    PRIMARY KEY (return_id, account)
);
