/* accounting charges the disposal of the asset, as a double entry. */
#include "chassis/service.h"

#define LOSS_ACCOUNT "6800 loss on disposal"
#define ASSET_ACCOUNT "0400 devices"

struct request {
    struct money cost;
};
static const struct field request_fields[] = {
    FIELD_MONEY(struct request, cost),
};

static void post(struct reaction *r, const char *account, int64_t debit, int64_t credit, const char *currency) {
    (void)store_run(
        r->store,
        "INSERT INTO ledger (return_id, account, debit, credit, currency, posted_at) VALUES (?, ?, ?, ?, ?, ?)",
        value_text(r->event->return_id), value_text(account), value_int(debit), value_int(credit), value_text(currency),
        value_int(r->now));
    (void)store_run(
        r->store,
        "INSERT INTO balance (currency, account, debit, credit) VALUES (?, ?, ?, ?) ON CONFLICT (currency, account) "
        "DO UPDATE SET debit = balance.debit + excluded.debit, credit = balance.credit + excluded.credit",
        value_text(currency), value_text(account), value_int(debit), value_int(credit));
}

static verdict charge(struct reaction *r, const void *fields, struct failure *why) {
    const struct money *cost = &((const struct request *)fields)->cost;
    char amount[32];
    if (cost->minor < 0) return fail(why, REJECT, "the cost %s is negative", money_text(cost->minor, amount));
    post(r, LOSS_ACCOUNT, cost->minor, 0, cost->currency);
    post(r, ASSET_ACCOUNT, 0, cost->minor, cost->currency);
    money_text(cost->minor, amount);
    reaction_emit(
        r, "AssetDisposalCharged",
        json_pack(
            "{s:{s:s, s:s}, s:s, s:s}", "cost", "amount", amount, "currency", cost->currency, "debit_account",
            LOSS_ACCOUNT, "credit_account", ASSET_ACCOUNT));
    reaction_audit(r, "handled", "charge the disposal", "%s %s", amount, cost->currency);
    return OK;
}

static const struct handler handlers[] = {
    {"returns.support.RefundRequest", FIELDS(request_fields, struct request), charge},
    {0},
};

static const struct view views[] = {
    {"Ledger by currency",
     "SELECT currency AS \"Currency\", SUM(debit) AS \"Debit\", SUM(credit) AS \"Credit\", SUM(debit) - SUM(credit) AS \"Balance\" FROM balance GROUP BY currency ORDER BY currency",
     .money = "Debit Credit Balance"},
    {"Accounts",
     "SELECT account AS \"Account\", currency AS \"Currency\", debit AS \"Debit\", credit AS \"Credit\" FROM balance ORDER BY account, currency",
     .money = "Debit Credit"},
    {"Last postings",
     "SELECT posted_at AS \"Posted\", return_id AS \"Return\", account AS \"Account\", debit AS \"Debit\", credit AS \"Credit\", currency AS \"Currency\" FROM ledger ORDER BY posted_at DESC LIMIT 10",
     .money = "Debit Credit", .moments = "Posted"},
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
