-- What each account stands at, kept with every posting, so that nobody has to add up the ledger to see it.
CREATE TABLE balance (
    currency TEXT   NOT NULL,
    account  TEXT   NOT NULL,
    debit    BIGINT NOT NULL,
    credit   BIGINT NOT NULL,
    PRIMARY KEY (currency, account)
);
INSERT INTO balance (currency, account, debit, credit)
SELECT currency, account, SUM(debit), SUM(credit) FROM ledger GROUP BY currency, account;

-- For the last postings.
CREATE INDEX ledger_posted ON ledger (posted_at);
