-- The ledger. A disposal is two lines, so that debits equal credits at every moment, in every currency; it can be
-- reversed, by two more lines the other way round. Amounts are in hundredths of the currency's unit.
CREATE TABLE ledger (
    return_id TEXT   NOT NULL,
    posting   TEXT   NOT NULL CHECK (posting IN ('disposal', 'reversal')),
    account   TEXT   NOT NULL,
    debit     BIGINT NOT NULL CHECK (debit >= 0),
    credit    BIGINT NOT NULL CHECK (credit >= 0),
    currency  TEXT   NOT NULL,
    posted_at BIGINT NOT NULL,
    PRIMARY KEY (return_id, posting, account),
    CHECK (debit = 0 OR credit = 0)
);
-- For the last postings.
CREATE INDEX ledger_latest ON ledger (posted_at);

-- What each account stands at, kept with every posting, so that nobody has to add up the ledger to see it.
CREATE TABLE balance (
    currency TEXT   NOT NULL,
    account  TEXT   NOT NULL,
    debit    BIGINT NOT NULL,
    credit   BIGINT NOT NULL,
    PRIMARY KEY (currency, account)
);

CREATE TABLE cancelled (
    return_id    TEXT   NOT NULL PRIMARY KEY,
    cancelled_at BIGINT NOT NULL
);
