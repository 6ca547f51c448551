"""The checks: pure functions over an observation (observe.py). Each yields findings; none means that it holds.

A finding's kind is one of
  lost        something that was accepted has no event, audit row, effect or reaction in a team
  duplicated  it has more than one
  reordered   it came before what was decided earlier
  offsets     the audit log skips a record of the topic, or holds one twice
  invariant   a team's own rule is broken, or an effect is another than what was asked for
  stray       there is something that nobody submitted
  chain       the audit log is not what was written
"""

import hashlib
from bisect import bisect_right
from collections import Counter, defaultdict, namedtuple
from decimal import Decimal

from observe import AUDIT
from stack import SERVICES, TEAMS

KINDS = ["lost", "duplicated", "reordered", "offsets", "invariant", "stray", "chain"]

Finding = namedtuple("Finding", "kind team return_id text")
Row = namedtuple("Row", AUDIT)


def exactly_one(team, wanted, found, what):
    """One of `what` for each that is wanted: found are the return ids that there is one for."""
    found = Counter(found)
    for return_id in wanted:
        if found[return_id] == 0:
            yield Finding("lost", team, return_id, f"no {what}")
        elif found[return_id] > 1:
            yield Finding("duplicated", team, return_id, f"{found[return_id]} {what}s")
    for return_id in found.keys() - wanted.keys():
        yield Finding("stray", team, return_id, f"a {what} of a return that nobody submitted")


class Outcome:
    """An observation, indexed once for all the checks."""

    def __init__(self, seen):
        self.seen, self.services = seen, seen["services"]
        self.accepted = {request["return_id"]: request for request in seen["accepted"]}
        self.outside = {(topic, p, offset) for topic, p, offset in seen["outside"]}
        # The first record of each event id, in the order of the topic.
        self.first = {service: {} for service in seen["topics"]}
        for service, records in seen["topics"].items():
            for record in records:
                self.first[service].setdefault(record["data"]["event_id"], record)
        self.audit = {service: [Row(*row) for row in state["audit"]] for service, state in self.services.items()}
        self.place = {
            service: {row["event_id"]: row["id"] for row in state["outbox"]} for service, state in self.services.items()
        }

    def repeats(self, service):
        """Records whose event came before: [how many from outside, how many from the service itself]."""
        again = [r for r in self.seen["topics"][service] if self.first[service][r["data"]["event_id"]] is not r]
        outside = sum((f"{service}.events", r["partition"], r["offset"]) in self.outside for r in again)
        return outside, len(again) - outside

    def topic_of(self, row):
        return row.topic and row.topic.removeprefix(self.seen["namespace"] + ".")

    def effects(self, team):
        """The return ids, one for each effect in the team's own tables."""
        tables = self.services[team]["tables"]
        if team == "accounting":  # a disposal is two lines; that of a reversal is a credit
            return [row["return_id"] for row in tables["ledger"] if row["account"].startswith("6800") and not row["credit"]]
        name = {"sales": "refund", "inventory": "replacement", "manufacturing": "disassembly_order"}[team]
        return [row["return_id"] for row in tables[name]]


# --- Counting


def published(o):
    """accepted = kept = events, and each event says what was submitted."""
    yield from exactly_one(
        "support", o.accepted, (r["return_id"] for r in o.services["support"]["tables"]["return_request"]), "return"
    )
    yield from exactly_one(
        "support", o.accepted, (r["data"]["return_id"] for r in o.first["support"].values()), "event"
    )
    yield from exactly_one(
        "support", o.accepted, (r.return_id for r in o.audit["support"] if r.outcome == "accepted"), "audit row"
    )
    for record in o.first["support"].values():
        event, wanted = record["data"], o.accepted.get(record["data"]["return_id"])
        if not wanted:
            continue
        sent = {name: event[name] for name in ("order_id", "model", "shipment_id", "serial_number", "location")}
        sent["cost"] = {"amount": f"{Decimal(event['cost']['amount']):.2f}", "currency": event["cost"]["currency"]}
        if any(wanted[name] != value for name, value in sent.items()) or record["key"] != wanted["return_id"]:
            yield Finding("invariant", "support", wanted["return_id"], f"its event says {sent}, submitted was {wanted}")


def audited(o):
    """Each event is handled once by each team; every further record of it is a duplicate; nothing is put aside."""
    for team in TEAMS:
        first = o.first["support"]
        handled = Counter()
        for row in o.audit[team]:
            if row.outcome in ("handled", "declined"):
                handled[row.event_id] += 1
            elif row.outcome != "duplicate":
                yield Finding("lost", team, row.return_id, f"{row.outcome}: {row.summary}")
        for event_id, record in first.items():
            return_id = record["data"]["return_id"]
            if handled[event_id] == 0:
                yield Finding("lost", team, return_id, "no audit row")
            elif handled[event_id] > 1:
                yield Finding("duplicated", team, return_id, f"{handled[event_id]} audit rows say that it was handled")
        for event_id in handled.keys() - first.keys():
            yield Finding("stray", team, None, f"an audit row of the event {event_id}, which is not in the topic")


def put_aside(o):
    """Nothing that was published here is bad, so nothing may be quarantined."""
    for service, state in o.services.items():
        for row in state["dead_letters"]:
            yield Finding(
                "lost",
                service,
                row["return_id"],
                f"quarantined at {row['topic']}/{row['partition']}@{row['record_offset']}: {row['reason']}",
            )


def effected(o):
    for team in TEAMS:
        yield from exactly_one(team, o.accepted, o.effects(team), "effect")


def reacted(o):
    """One reaction of each team to each event, in its topic."""
    for team in TEAMS:
        causes = {event_id: record["data"]["return_id"] for event_id, record in o.first["support"].items()}
        reactions = []
        for record in o.first[team].values():
            event = record["data"]
            if causes.get(event["caused_by"]) != event["return_id"]:
                yield Finding(
                    "stray",
                    team,
                    event["return_id"],
                    f"a {record['type']} caused by {event['caused_by']}, which is no event of it",
                )
            reactions.append(event["return_id"])
        yield from exactly_one(team, o.accepted, reactions, "reaction")


def sent(o):
    """What an outbox marks as sent is in the topic; and nothing waits."""
    for service, state in o.services.items():
        for row in state["outbox"]:
            if row["state"] != "sent":
                yield Finding("lost", service, row["return_id"], f"its event is {row['state']} in the outbox")
            elif row["event_id"] not in o.first[service]:
                yield Finding("lost", service, row["return_id"], "its event is marked as sent, and not in the topic")
        for event_id in o.first[service].keys() - o.place[service].keys():
            yield Finding("stray", service, None, f"the event {event_id} is in the topic and was never in the outbox")


def folded(o):
    """Support's history of a return: its own event and each team's reaction, once each."""
    known = Counter((row["return_id"], row["team"]) for row in o.services["support"]["tables"]["history"])
    for return_id in o.accepted:
        for team in SERVICES:
            n = known[return_id, team]
            if n != 1:
                yield Finding(
                    "lost" if n == 0 else "duplicated", "support", return_id, f"its history has {n} events of {team}"
                )
    for page in o.seen["pages"]:
        if page["status"] != "handled" or page["teams"] != sorted(TEAMS):
            yield Finding("lost", "support", page["return_id"], f"its page says {page['status']}, by {page['teams']}")


# --- Order


def out_of_order(numbers):
    """The indexes of the fewest numbers without which the rest would be in order."""
    ends, last, before = (
        [],
        [],
        [],
    )  # of each length: the smallest end of a rising run so far, its index; and links back
    for i, number in enumerate(numbers):
        at = bisect_right(ends, number)
        before.append(last[at - 1] if at else None)
        ends[at : at + 1], last[at : at + 1] = [number], [i]
    kept, i = set(), last[-1] if last else None
    while i is not None:
        kept.add(i)
        i = before[i]
    return [i for i in range(len(numbers)) if i not in kept]


def topic_order(o):
    """In each partition events first appear in the order in which they were decided; so within each return too."""
    for service in o.services:
        partitions = defaultdict(list)
        for event_id, record in o.first[service].items():
            if event_id in o.place[service]:
                partitions[record["partition"]].append((o.place[service][event_id], record))
        for partition in partitions.values():
            for i in out_of_order([place for place, _ in partition]):
                record = partition[i][1]
                yield Finding(
                    "reordered",
                    service,
                    record["data"]["return_id"],
                    f"{record['type']} at {record['partition']}@{record['offset']} was decided in another order",
                )


def audit_order(o):
    """A partition's records are audited, and first appear, in the order of the topic."""
    for service, rows in o.audit.items():
        partitions = defaultdict(list)
        for row in rows:
            if row.topic:
                partitions[row.topic, row.partition].append(row)
        for (topic, partition), of_it in partitions.items():
            for i in out_of_order([row.record_offset for row in of_it]):
                yield Finding(
                    "reordered",
                    service,
                    of_it[i].return_id,
                    f"{topic}/{partition}@{of_it[i].record_offset} was handled out of turn",
                )
            seen = set()
            for row in of_it:
                if row.outcome == "duplicate" and row.event_id not in seen:
                    yield Finding(
                        "reordered",
                        service,
                        row.return_id,
                        f"{topic}/{partition}@{row.record_offset} was ignored as a duplicate before it was handled",
                    )
                seen.add(row.event_id)


def reaction_order(o):
    """A team's reactions were decided in the order in which it handled the events."""
    for team in TEAMS:
        order = {row.event_id: row.id for row in reversed(o.audit[team]) if row.outcome in ("handled", "declined")}
        placed = sorted(
            (o.place[team][event_id], record["data"])
            for event_id, record in o.first[team].items()
            if event_id in o.place[team] and record["data"]["caused_by"] in order
        )
        for i in out_of_order([order[event["caused_by"]] for _, event in placed]):
            yield Finding("reordered", team, placed[i][1]["return_id"], "its reaction was decided out of turn")


# --- Offsets, and the log itself


def offsets(o):
    """Every record of every topic that a service reads has one audit row there, up to the offset that it stored."""
    for service, state in o.services.items():
        rows = defaultdict(list)
        for row in o.audit[service]:
            if row.topic:
                rows[f"{o.topic_of(row)}/{row.partition}"].append(row.record_offset)
        for at, end in o.seen["ends"].items():
            if service != "support" and not at.startswith("support.events/"):
                continue
            if state["offsets"].get(at, 0) != end:
                yield Finding(
                    "offsets", service, None, f"{at}: goes on at {state['offsets'].get(at, 0)}, the topic ends at {end}"
                )
            counted = Counter(rows[at])
            missing = [n for n in range(end) if not counted[n]]
            twice = [n for n, times in counted.items() if times > 1]
            if missing:
                yield Finding(
                    "offsets",
                    service,
                    None,
                    f"{at}: no audit row for {len(missing)} records, the first at {missing[0]}",
                )
            if twice:
                yield Finding(
                    "offsets",
                    service,
                    None,
                    f"{at}: more than one audit row for {len(twice)} records, the first at {min(twice)}",
                )
            beyond = [n for n in counted if n >= end]
            if beyond:
                yield Finding(
                    "offsets",
                    service,
                    None,
                    f"{at}: an audit row for the record at {min(beyond)}, beyond its end {end}",
                )


def canonical(row):
    """A row's canonical bytes, as docs/audit.md specifies them; written without a look at the code."""
    place = [row.topic, row.partition, row.record_offset] if row.topic is not None else [None] * 3
    cells = [
        row.id,
        row.at,
        row.action,
        row.outcome,
        row.actor,
        row.return_id,
        row.event_id,
        row.event_type,
        *place,
        row.summary,
        row.trace_id,
    ]
    out = bytearray()
    for cell in cells:
        text = None if cell is None else str(cell).encode()
        out += b"~," if text is None else b"%d:%s," % (len(text), text)
    return bytes(out)


def chains(o):
    """Every hash anew, and what the service itself says of its log."""
    for service, state in o.services.items():
        heads = {}
        for row in o.audit[service]:
            chain = f"{row.topic}/{row.partition}" if row.topic is not None else "by-hand"
            n, before = heads.get(chain, (0, bytes(32)))
            expected = hashlib.sha256(before + canonical(row)).digest()
            if expected.hex() != row.hash:
                yield Finding("chain", service, row.return_id, f"audit row {row.id} does not fit its hash in {chain}")
                break
            heads[chain] = (n + 1, expected)
        else:
            stored = {chain: tuple(head) for chain, head in state["chains"].items()}
            if stored != {chain: (n, head.hex()) for chain, (n, head) in heads.items()}:
                yield Finding("chain", service, None, "a chain does not end where its head says")
        if not state["verify"]["intact"]:
            yield Finding("chain", service, None, f"/api/audit/verify says {state['verify']}")


# --- Each team's own rules


def sales_rules(o):
    for row in o.services["sales"]["tables"]["refund"]:
        wanted = o.accepted.get(row["return_id"], row)
        if (row["order_id"], row["serial_number"]) != (wanted["order_id"], wanted["serial_number"]):
            yield Finding(
                "invariant", "sales", row["return_id"], f"refunded is item {row['serial_number']} of {row['order_id']}"
            )


def inventory_rules(o):
    tables = o.services["inventory"]["tables"]
    by_state = Counter((row["model"], row["state"]) for row in tables["replacement"])
    stock = {row["model"]: row["initial"] for row in tables["stock"]}
    for event_id, record in sorted(o.first["inventory"].items(), key=lambda one: o.place["inventory"].get(one[0], 0)):
        step, event = {"ReplacementShipped": -1, "ShipmentRecalled": 1}.get(record["type"], 0), record["data"]
        stock[event["model"]] = stock.get(event["model"], 0) + step
        if step and event["on_hand"] != stock[event["model"]]:
            text = f"{record['type']} says {event['on_hand']} {event['model']} are left, by those before it {stock[event['model']]} are"
            yield Finding("invariant", "inventory", event["return_id"], text)
            stock[event["model"]] = event["on_hand"]
    for row in tables["stock"]:
        model, recalled = row["model"], by_state[row["model"], "recalled"]
        shipped = by_state[model, "shipped"] + recalled
        if row["on_hand"] < 0 or row["initial"] - row["shipped"] + row["recalled"] != row["on_hand"]:
            yield Finding("invariant", "inventory", None, f"stock of {model}: {row}")
        if (row["shipped"], row["recalled"]) != (shipped, recalled):
            text = f"{model}: {row['shipped']} left the stock, {row['recalled']} came back; {shipped} were shipped, {recalled} recalled"
            yield Finding("invariant", "inventory", None, text)
        if row["on_hand"] > 0 and by_state[model, "backordered"]:
            yield Finding("invariant", "inventory", None, f"{model}: backordered while {row['on_hand']} are on hand")
        if stock[model] != row["on_hand"]:
            yield Finding(
                "invariant", "inventory", None, f"{model}: its events end at {stock[model]}, on hand are {row['on_hand']}"
            )


def manufacturing_rules(o):
    tables = o.services["manufacturing"]["tables"]
    sites = {row["location"]: row["site"] for row in tables["site"]}
    for row in tables["disassembly_order"]:
        wanted = o.accepted.get(row["return_id"], row)
        if row["serial_number"] != wanted["serial_number"] or row["site"] != sites.get(
            wanted["location"], "Central works"
        ):
            yield Finding("invariant", "manufacturing", row["return_id"], f"queued is {row}")


def accounting_rules(o):
    balance, of_return = Counter(), defaultdict(list)
    for row in o.services["accounting"]["tables"]["ledger"]:
        balance[row["currency"]] += row["debit"] - row["credit"]
        of_return[row["return_id"]].append(row)
    for currency, difference in balance.items():
        if difference:
            yield Finding("invariant", "accounting", None, f"debits and credits in {currency} differ by {difference}")
    for return_id, rows in of_return.items():
        if return_id not in o.accepted:
            continue
        cost = o.accepted[return_id]["cost"]
        minor = int(Decimal(cost["amount"]) * 100)
        posted = sorted((row["debit"], row["credit"], row["currency"]) for row in rows)
        if posted != sorted([(minor, 0, cost["currency"]), (0, minor, cost["currency"])]):
            yield Finding("invariant", "accounting", return_id, f"posted is {posted} for {cost}")


CHECKS = [
    published,
    audited,
    put_aside,
    effected,
    reacted,
    sent,
    folded,
    topic_order,
    audit_order,
    reaction_order,
    offsets,
    chains,
    sales_rules,
    inventory_rules,
    manufacturing_rules,
    accounting_rules,
]


def check(seen):
    """(the findings, the ledger: {service: {what is counted: n}})"""
    o = Outcome(seen)
    findings = [finding for one in CHECKS for finding in one(o)]
    return findings, {service: ledger_line(o, service, findings) for service in o.services}


def ledger_line(o, service, findings):
    line = {"events": len(o.first[service]), "audited": 0, "effects": 0}
    if service == "support":
        line |= {
            "audited": sum(row.outcome == "accepted" for row in o.audit[service]),
            "effects": len(o.services[service]["tables"]["return_request"]),
        }
    else:
        line |= {
            "audited": sum(row.outcome in ("handled", "declined") for row in o.audit[service]),
            "effects": len(o.effects(service)),
        }
    line["ignored"] = sum(row.outcome == "duplicate" for row in o.audit[service])
    line["outside"], line["resent"] = o.repeats(service)
    for kind in KINDS:  # a return that misses two things in a team is one that was lost
        of_kind = [f for f in findings if (f.kind, f.team) == (kind, service)]
        line[kind] = len({f.return_id for f in of_kind if f.return_id}) + sum(not f.return_id for f in of_kind)
    return line
