-- What was posted: from one account to another, so debits equal credits at every moment, in every currency. A disposal can
-- be reversed, by one more the other way round. Amounts are in hundredths of the currency's unit.
CREATE TABLE posting (
    return_id      TEXT   NOT NULL,
    kind           TEXT   NOT NULL CHECK (kind IN ('disposal', 'reversal')),
    debit_account  TEXT   NOT NULL,
    credit_account TEXT   NOT NULL,
    amount         BIGINT NOT NULL CHECK (amount >= 0),
    currency       TEXT   NOT NULL,
    posted_at      BIGINT NOT NULL,
    PRIMARY KEY (return_id, kind)
);
-- For the last postings.
CREATE INDEX posting_latest ON posting (posted_at);

-- The same as the lines of a ledger, two for each posting.
CREATE VIEW ledger AS
SELECT return_id, kind AS posting, debit_account AS account, amount AS debit, 0 AS credit, currency, posted_at FROM posting
UNION ALL
SELECT return_id, kind AS posting, credit_account AS account, 0 AS debit, amount AS credit, currency, posted_at FROM posting;

-- What was posted between each two accounts, kept with every posting, so that nobody has to add up the ledger to see what
-- an account stands at.
CREATE TABLE turnover (
    currency       TEXT   NOT NULL,
    debit_account  TEXT   NOT NULL,
    credit_account TEXT   NOT NULL,
    amount         BIGINT NOT NULL,
    PRIMARY KEY (currency, debit_account, credit_account)
);
CREATE VIEW balance AS
SELECT currency, account, SUM(debit) AS debit, SUM(credit) AS credit
FROM (SELECT currency, debit_account AS account, amount AS debit, 0 AS credit FROM turnover
      UNION ALL
      SELECT currency, credit_account AS account, 0 AS debit, amount AS credit FROM turnover) t
GROUP BY currency, account;

CREATE TABLE cancelled (
    return_id    TEXT   NOT NULL PRIMARY KEY,
    cancelled_at BIGINT NOT NULL
);
