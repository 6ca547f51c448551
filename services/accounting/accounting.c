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

/* --- Postings: two lines each, so debits equal credits */

struct posting {
    const char *name, *debit_account, *credit_account, *event, *action;
};
static const struct posting disposal = {
    "disposal", LOSS_ACCOUNT, ASSET_ACCOUNT, "AssetDisposalCharged", "charge the disposal"};
static const struct posting reversal = {
    "reversal", ASSET_ACCOUNT, LOSS_ACCOUNT, "AssetDisposalReversed", "reverse the disposal"};

static void post_line(
    struct reaction *r, const char *posting, const char *account, int64_t debit, int64_t credit, const char *currency) {
    (void)store_run(
        r->store,
        "INSERT INTO ledger (return_id, posting, account, debit, credit, currency, posted_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
        value_text(r->event->return_id), value_text(posting), value_text(account), value_int(debit), value_int(credit),
        value_text(currency), value_int(r->now));
    (void)store_run(
        r->store,
        "INSERT INTO balance (currency, account, debit, credit) VALUES (?, ?, ?, ?) ON CONFLICT (currency, account) "
        "DO UPDATE SET debit = balance.debit + excluded.debit, credit = balance.credit + excluded.credit",
        value_text(currency), value_text(account), value_int(debit), value_int(credit));
}

/* The only one that writes to the ledger. */
static void post(struct reaction *r, const struct posting *p, const struct money *cost) {
    char amount[32];
    money_text(cost->minor, amount);
    post_line(r, p->name, p->debit_account, cost->minor, 0, cost->currency);
    post_line(r, p->name, p->credit_account, 0, cost->minor, cost->currency);
    reaction_emit(
        r, p->event,
        json_pack(
            "{s:{s:s, s:s}, s:s, s:s}", "cost", "amount", amount, "currency", cost->currency, "debit_account",
            p->debit_account, "credit_account", p->credit_account));
    reaction_audit(r, "handled", p->action, "%s %s", amount, cost->currency);
}

/* False: nothing was charged for the return. */
static bool charged(struct reaction *r, struct money *cost) {
    bool yes = false;
    struct rows was = store_rows(
        r->store, "SELECT debit, currency FROM ledger WHERE return_id = ? AND posting = 'disposal' AND account = ?",
        value_text(r->event->return_id), value_text(disposal.debit_account));
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
    if (reaction_answered(r, "ledger", why)) return REJECT;
    if (cost->minor < 0) return fail(why, REJECT, "the cost %s is negative", money_text(cost->minor, amount));
    post(r, &disposal, cost);
    return OK;
}

static verdict cancel(struct reaction *r, const void *fields, struct failure *why) {
    (void)fields, (void)why;
    struct money cost;
    if (!cancelled_note(r)) return OK;
    if (charged(r, &cost))
        post(r, &reversal, &cost);
    else
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
     .sql = "SELECT posted_at AS \"Posted\", return_id AS \"Return\", posting AS \"For\", account AS \"Account\", "
            "debit AS \"Debit\", credit AS \"Credit\", currency AS \"Currency\" FROM ledger "
            "ORDER BY posted_at DESC, return_id DESC, posting DESC, account DESC LIMIT 10",
     .as_of = "SELECT posted_at AS \"Posted\", return_id AS \"Return\", posting AS \"For\", account AS \"Account\", "
              "debit AS \"Debit\", credit AS \"Credit\", currency AS \"Currency\" FROM ledger WHERE posted_at <= ? "
              "ORDER BY posted_at DESC, return_id DESC, posting DESC, account DESC LIMIT 10",
     .money = "Debit Credit",
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
