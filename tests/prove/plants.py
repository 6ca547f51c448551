"""The self-test: faults planted in a good observation, each of which the checks must report. A checker that cannot fail
proves nothing."""

import copy

from checks import check
from observe import AUDIT
from stack import SERVICES, TEAMS

COLUMN = {name: i for i, name in enumerate(AUDIT)}


def audit_rows(seen, service, outcome):
    rows = [row for row in seen["services"][service]["audit"] if row[COLUMN["outcome"]] == outcome]
    assert rows, f"the observation has no row of {service} that says {outcome}"
    return rows


def drop_audit_row(seen, team):
    seen["services"][team]["audit"].remove(audit_rows(seen, team, "handled")[3])


def double_audit_row(seen, team):
    rows = seen["services"][team]["audit"]
    again = list(audit_rows(seen, team, "handled")[3])
    again[COLUMN["id"]] = rows[-1][COLUMN["id"]] + 1
    rows.append(again)


def handle_duplicate(seen, team):
    """The event-id check failed: a repeat of an event was handled too."""
    audit_rows(seen, team, "duplicate")[0][COLUMN["outcome"]] = "handled"


def quarantine_event(seen, team):
    audit_rows(seen, team, "handled")[2][COLUMN["outcome"]] = "quarantined"


def dead_letter(seen, service):
    row = {"return_id": "R-1", "topic": "support.events", "partition": 0, "record_offset": 0, "reason": "half a frame"}
    seen["services"][service]["dead_letters"].append(row)


def table_of(seen, team):
    name = {"sales": "refund", "inventory": "replacement", "manufacturing": "disassembly_order", "accounting": "ledger"}
    return seen["services"][team]["tables"][name[team]]


def drop_effect(seen, team):
    row = table_of(seen, team)[4]
    table_of(seen, team)[:] = [other for other in table_of(seen, team) if other["return_id"] != row["return_id"]]


def double_effect(seen, team):
    return_id = table_of(seen, team)[4]["return_id"]
    table_of(seen, team).extend(dict(row) for row in list(table_of(seen, team)) if row["return_id"] == return_id)


def stray_effect(seen, team):
    table_of(seen, team)[0]["return_id"] = "R-NOBODY"


def drop_event(seen, service):
    """From the log's end, so that no offset is missing: the record was never there."""
    record = seen["topics"][service][0]
    seen["topics"][service] = [
        r for r in seen["topics"][service] if r["data"]["event_id"] != record["data"]["event_id"]
    ]


def double_reaction(seen, service):
    """Decided twice: another event with the same cause."""
    again = copy.deepcopy(seen["topics"][service][0])
    again["data"]["event_id"] = "00000000-0000-7000-8000-000000000000"
    again["offset"] = max(r["offset"] for r in seen["topics"][service] if r["partition"] == again["partition"]) + 1
    seen["topics"][service].append(again)


def swap_events(seen, service):
    """Two neighbours of one partition change places in the topic."""
    seen_ids, firsts = set(), []
    for record in seen["topics"][service]:
        if record["data"]["event_id"] not in seen_ids:
            firsts.append(record)
        seen_ids.add(record["data"]["event_id"])
    one, other = next((a, b) for a, b in zip(firsts, firsts[1:]) if a["partition"] == b["partition"])
    for part in ("key", "type", "data"):
        one[part], other[part] = other[part], one[part]


def swap_audit_rows(seen, team):
    rows = audit_rows(seen, team, "handled")
    place = slice(COLUMN["topic"], COLUMN["partition"] + 1)
    one, other = next((a, b) for i, a in enumerate(rows) for b in rows[i + 1 :] if a[place] == b[place])
    for name in ("return_id", "event_id", "record_offset", "summary"):
        column = COLUMN[name]
        one[column], other[column] = other[column], one[column]


def swap_reactions(seen, team):
    """Decided in another order than the events came in; the topic has them as they were decided."""
    records = seen["topics"][team]
    one, other = next((a, b) for a, b in zip(records, records[1:]) if a["partition"] == b["partition"])
    one["key"], other["key"] = other["key"], one["key"]
    for part in ("return_id", "caused_by"):
        one["data"][part], other["data"][part] = other["data"][part], one["data"][part]


def offset_gap(seen, service):
    """Skipped, and the stored offset moved past it."""
    rows = seen["services"][service]["audit"]
    rows.remove(next(row for row in rows if row[COLUMN["topic"]] and row[COLUMN["record_offset"]] == 0))


def offset_behind(seen, service):
    offsets = seen["services"][service]["offsets"]
    offsets[max(offsets, key=offsets.get)] -= 1


def outbox_waiting(seen, service):
    seen["services"][service]["outbox"][-1]["state"] = "waiting"


def marked_unsent(seen, service):
    """Marked as sent without a delivery report."""
    rows = seen["services"][service]["outbox"]
    rows.append({**rows[-1], "id": rows[-1]["id"] + 1, "event_id": "01a1fe21-8f85-723a-ae88-000000000000"})


def flip_byte(seen, service):
    row = seen["services"][service]["audit"][5]
    row[COLUMN["summary"]] = row[COLUMN["summary"]].swapcase()


def cut_tail(seen, service):
    seen["services"][service]["audit"].pop()


def verify_broken(seen, service):
    seen["services"][service]["verify"]["intact"] = False


def history_gap(seen, _):
    history = seen["services"]["support"]["tables"]["history"]
    history.remove(next(row for row in history if row["team"] != "support"))


def page_unhandled(seen, _):
    seen["pages"][0]["teams"].pop()


def changed_event(seen, _):
    seen["topics"]["support"][0]["data"]["order_id"] += "0"


def refund_another(seen, _):
    table_of(seen, "sales")[0]["serial_number"] += "0"


def stock_below_zero(seen, _):
    stock = seen["services"]["inventory"]["tables"]["stock"][0]
    stock["on_hand"] = -1


def stock_not_shipped(seen, _):
    """Taken twice for one shipment; the sum of the table still fits."""
    stock = next(row for row in seen["services"]["inventory"]["tables"]["stock"] if row["on_hand"] > 0)
    stock["on_hand"] -= 1
    stock["shipped"] += 1


def wrong_site(seen, _):
    table_of(seen, "manufacturing")[0]["site"] = "Nowhere"


def one_sided_entry(seen, _):
    table_of(seen, "accounting")[1]["credit"] += 1
    table_of(seen, "accounting")[1]["debit"] += 2


def wrong_cost(seen, _):
    """Debits still equal credits."""
    return_id = table_of(seen, "accounting")[0]["return_id"]
    for row in table_of(seen, "accounting"):
        if row["return_id"] == return_id:
            row["debit"], row["credit"] = [2 * row["debit"] + (row["debit"] == 0 == row["credit"]), 2 * row["credit"]]


def dropped_return(seen, _):
    """Answered with an id, and not kept."""
    seen["services"]["support"]["tables"]["return_request"].pop()


PLANTS = [  # the fault, the kind of finding that it must give, and in which services it is planted
    (drop_audit_row, "lost", TEAMS),
    (double_audit_row, "duplicated", TEAMS),
    (handle_duplicate, "duplicated", TEAMS),
    (quarantine_event, "lost", TEAMS),
    (dead_letter, "lost", SERVICES),
    (drop_effect, "lost", TEAMS),
    (double_effect, "duplicated", TEAMS),
    (stray_effect, "stray", TEAMS),
    (drop_event, "lost", SERVICES),
    (double_reaction, "duplicated", SERVICES),
    (swap_events, "reordered", SERVICES),
    (swap_audit_rows, "reordered", SERVICES),
    (swap_reactions, "reordered", TEAMS),
    (offset_gap, "offsets", SERVICES),
    (offset_behind, "offsets", SERVICES),
    (outbox_waiting, "lost", SERVICES),
    (marked_unsent, "lost", SERVICES),
    (flip_byte, "chain", SERVICES),
    (cut_tail, "chain", SERVICES),
    (verify_broken, "chain", SERVICES),
    (history_gap, "lost", ["support"]),
    (page_unhandled, "lost", ["support"]),
    (changed_event, "invariant", ["support"]),
    (dropped_return, "lost", ["support"]),
    (refund_another, "invariant", ["sales"]),
    (stock_below_zero, "invariant", ["inventory"]),
    (stock_not_shipped, "invariant", ["inventory"]),
    (wrong_site, "invariant", ["manufacturing"]),
    (one_sided_entry, "invariant", ["accounting"]),
    (wrong_cost, "invariant", ["accounting"]),
]


def plant(good, fault, service):
    """The findings in an observation with that fault."""
    seen = copy.deepcopy(good)
    fault(seen, service)
    return check(seen)[0]


def each_plant():
    """(name, fault, kind, service) of every fault in every place."""
    return [
        (f"{fault.__name__} in {service}", fault, kind, service)
        for fault, kind, services in PLANTS
        for service in services
    ]


def missed(good):
    """What the checks did not report, in words; a good observation in which they find something is one of those."""
    findings, _ = check(good)
    found = [f"the good outcome: {finding.team}: {finding.text}" for finding in findings]
    for name, fault, kind, service in each_plant():
        if not any((f.kind, f.team) == (kind, service) for f in plant(good, fault, service)):
            found.append(f"{name} was not reported as {kind}")
    return found
