/* accounting charges the disposal of the asset, as a double entry, and the other way round when the return is
 * cancelled. */
#include "chassis/base/money.h"
#include "chassis/events/cancelled.h"
#include "chassis/events/service.h"

#include <stdio.h>

#define LOSS_ACCOUNT "6800 loss on disposal"
#define ASSET_ACCOUNT "0400 devices"

struct request {
    struct money cost;
};
static const struct field request_fields[] = {
    FIELD_MONEY(struct request, cost),
};

/* --- Postings */

struct posting {
    const char *kind, *debit_account, *credit_account, *event, *action;
};
static const struct posting disposal = {
    "disposal", LOSS_ACCOUNT, ASSET_ACCOUNT, "AssetDisposalCharged", "charge the disposal"};
static const struct posting reversal = {
    "reversal", ASSET_ACCOUNT, LOSS_ACCOUNT, "AssetDisposalReversed", "reverse the disposal"};

/* Between two accounts, in a currency. Whatever adds up two of them, or subtracts, stays in range. A reversal never
 * gets there: no more is reversed than was charged. */
#define TURNOVER_MAX (INT64_MAX / 4)

/* The only one that writes to the ledger. */
static verdict post(struct reaction *r, const struct posting *p, const struct money *cost, struct failure *why) {
    struct value debit = value_text(p->debit_account), credit = value_text(p->credit_account);
    struct value amount = value_int(cost->minor), currency = value_text(cost->currency);
    char text[32];
    money_text(cost->minor, text);
    if (!store_run(
            r->store,
            "INSERT INTO posting (return_id, kind, debit_account, credit_account, amount, currency, posted_at) "
            "VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            value_text(r->event->return_id), value_text(p->kind), debit, credit, amount, currency, value_int(r->now)))
        return reaction_answered(r, why);
    if (!store_run(
            r->store,
            "INSERT INTO turnover (currency, debit_account, credit_account, amount) VALUES (?, ?, ?, ?) "
            "ON CONFLICT (currency, debit_account, credit_account) DO UPDATE "
            "SET amount = turnover.amount + excluded.amount WHERE turnover.amount <= ? - excluded.amount",
            currency, debit, credit, amount, value_int(TURNOVER_MAX)))
        return fail(
            why, REJECT, "%s %s more would make the turnover in %s too large to be added up", text, cost->currency,
            cost->currency);
    reaction_emit(
        r, p->event,
        json_pack(
            "{s:{s:s, s:s}, s:s, s:s}", "cost", "amount", text, "currency", cost->currency, "debit_account",
            p->debit_account, "credit_account", p->credit_account));
    reaction_audit(r, "handled", p->action, "%s %s", text, cost->currency);
    return OK;
}

/* False: nothing was charged for the return. */
static bool charged(struct reaction *r, struct money *cost) {
    bool yes = false;
    struct rows was = store_rows(
        r->store, "SELECT amount, currency FROM posting WHERE return_id = ? AND kind = 'disposal'",
        value_text(r->event->return_id));
    while (rows_next(&was)) {
        cost->minor = rows_int(&was, 0);
        snprintf(cost->currency, sizeof cost->currency, "%s", rows_text(&was, 1));
        yes = true;
    }
    return yes;
}

/* --- Events */

static verdict charge(struct reaction *r, const void *fields, struct failure *why) {
    const struct money *cost = &((const struct request *)fields)->cost;
    char amount[32];
    if (cancelled_before(r)) return OK;
    if (cost->minor < 0) return fail(why, REJECT, "the cost %s is negative", money_text(cost->minor, amount));
    return post(r, &disposal, cost, why);
}

static verdict cancel(struct reaction *r, const void *fields, struct failure *why) {
    (void)fields;
    struct money cost;
    if (!cancelled_note(r)) return OK;
    if (charged(r, &cost)) return post(r, &reversal, &cost, why);
    cancelled_audit(r);
    return OK;
}

static const struct handler handlers[] = {
    {"returns.support.RefundRequest", FIELDS(request_fields, struct request), charge},
    {.type = "returns.support.RefundCancelled", .handle = cancel},
    {0},
};

static const struct view views[] = {
    {.title = "Ledger by currency",
     .sql = "SELECT currency AS \"Currency\", SUM(debit) AS \"Debit\", SUM(credit) AS \"Credit\", "
            "SUM(debit) - SUM(credit) AS \"Balance\" FROM balance GROUP BY currency ORDER BY currency",
     .as_of = "SELECT currency AS \"Currency\", SUM(debit) AS \"Debit\", SUM(credit) AS \"Credit\", "
              "SUM(debit) - SUM(credit) AS \"Balance\" FROM ledger WHERE posted_at <= ? "
              "GROUP BY currency ORDER BY currency",
     .money = "Debit Credit Balance"},
    {.title = "Accounts",
     .sql = "SELECT account AS \"Account\", currency AS \"Currency\", debit AS \"Debit\", credit AS \"Credit\", "
            "debit - credit AS \"Balance\" FROM balance ORDER BY account, currency",
     .as_of = "SELECT account AS \"Account\", currency AS \"Currency\", SUM(debit) AS \"Debit\", "
              "SUM(credit) AS \"Credit\", SUM(debit) - SUM(credit) AS \"Balance\" FROM ledger WHERE posted_at <= ? "
              "GROUP BY account, currency ORDER BY account, currency",
     .money = "Debit Credit Balance"},
    {.title = "Last postings",
     .sql = "SELECT posted_at AS \"Posted\", return_id AS \"Return\", kind AS \"For\", debit_account AS \"Debit\", "
            "credit_account AS \"Credit\", amount AS \"Amount\", currency AS \"Currency\" FROM posting "
            "ORDER BY posted_at DESC, return_id DESC, kind DESC LIMIT 10",
     .as_of = "SELECT posted_at AS \"Posted\", return_id AS \"Return\", kind AS \"For\", debit_account AS \"Debit\", "
              "credit_account AS \"Credit\", amount AS \"Amount\", currency AS \"Currency\" FROM posting "
              "WHERE posted_at <= ? ORDER BY posted_at DESC, return_id DESC, kind DESC LIMIT 10",
     .money = "Amount",
     .moments = "Posted"},
    {0},
};

const struct service service = {
    .title = "Accounting",
    .duty = "Charges the disposal of the device, as a double entry.",
    .subscribes = "support",
    .handlers = handlers,
    .call = {"/api/asset-disposals", "returns.support.RefundRequest"},
    .views = views,
};
