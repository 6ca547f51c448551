-- Accounting's tables, from version 2 to version 3: a disposal can be reversed, by two more lines the other way round.
CREATE TABLE ledger_of_return (
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
INSERT INTO ledger_of_return (return_id, posting, account, debit, credit, currency, posted_at)
SELECT return_id, 'disposal', account, debit, credit, currency, posted_at FROM ledger;
DROP TABLE ledger;
ALTER TABLE ledger_of_return RENAME TO ledger;
-- For the last postings.
CREATE INDEX ledger_latest ON ledger (posted_at, return_id, posting, account);

CREATE TABLE cancelled (
    return_id    TEXT   NOT NULL PRIMARY KEY,
    cancelled_at BIGINT NOT NULL
);
