"""Dead letters from end to end, and that healthy events behind them hardly wait."""

import json
import struct
import uuid

import pytest

from stack import ROOT, SERVICES, TEAMS, http, wait
from test_command import returns
from wire import REFUND_REQUEST, publish, records, refund_request, write_avro


def new_id():
    return f"R-OUT{uuid.uuid4().hex[:10].upper()}"


def register(stack, schema):
    """Under a subject of nobody's. Returns its id."""
    subject = f"outside-{uuid.uuid4().hex[:8]}"
    answer = http.post(f"{stack.registry}/subjects/{subject}/versions", json={"schema": json.dumps(schema)})
    assert answer.status_code == 200, answer.text
    return answer.json()["id"]


def own_subjects(stack):
    """Under which the services register their schemas once they are up, some after they are connected."""
    for path in (ROOT / "schemas").rglob("*.avsc"):
        owner, *kind = path.relative_to(ROOT / "schemas").parts[:-1]
        if owner not in ("chassis", *SERVICES):  # versions of before, and of drills
            continue
        full = f"returns.{owner}.{path.stem}"
        for name in SERVICES if owner == "chassis" else [owner]:
            yield f"{stack.topic(name)}.{'audit-heads' if owner == 'chassis' else (kind or ['events'])[0]}-{full}"


def register_last(stack):
    """The next id is nobody's, and is given to who registers next: by then no service has anything to register."""
    wanted = set(own_subjects(stack))
    wait(lambda: wanted <= set(http.get(f"{stack.registry}/subjects").json()), 30, "every service's schemas are registered")
    return register(stack, variant(doc=uuid.uuid4().hex))


def frame(schema_id):
    return struct.pack(">bI", 0, schema_id)


def variant(**changed):
    return json.loads(REFUND_REQUEST) | changed


def strange(stack, value):
    """By cases: bytes that name schemas which others registered."""
    text = lambda t: bytes([2 * len(t)]) + t.encode()  # noqa: E731
    number = b"\x02"
    common = [{"name": n, "type": t} for n, t in (("event_id", "string"), ("return_id", "string"), ("version", "int"), ("occurred_at", "long"))]
    enum = {"type": "enum", "name": "Colour", "symbols": ["RED", "GREEN"]}
    record = {"type": "record", "namespace": "returns.support", "name": "RefundRequest"}
    head = text(str(uuid.uuid4())) + text(new_id()) + number + number
    return {
        "a field that the projection needs is missing": frame(register(stack, record | {"fields": common})) + head,
        "an enum out of range": frame(register(stack, record | {"fields": [*common, {"name": "colour", "type": enum}]})) + head + b"\x0a",
        "a recursive schema": frame(register(stack, record | {"name": "Chain", "fields": [
            *common, {"name": "next", "type": ["null", "Chain"]}]})) + head + b"\x00",
        "empty": b"", "tombstone": None, "wrong magic": b"\x07" + value[1:], "magic 1": b"\x01" + value[1:],
        "truncated": value[:-3], "trailing bytes": value + b"\x00", "huge length": value[:5] + b"\xfe\xff\xff\xff\x1f",
        "oversize": value + b"\x00" * 1_100_000,
    }


REASONS = {
    "an enum out of range": "colour", "a recursive schema": "recursive", "magic 1": "GUID",
    "tombstone": "tombstone", "empty": "empty", "trailing bytes": "left over", "oversize": "at most",
}


def rows_at(stack, service, topic, place):
    return [r for r in stack.audit(service) if r["topic"] == topic and (r["partition"], r["offset"]) == place]


def test_each_case_ends_in_quarantine_and_holds_up_no_healthy_event_behind_it(stack):
    topic = stack.topic("support.events")
    good = lambda: write_avro(stack.registry, topic, refund_request(new_id()))  # noqa: E731
    placed = {}
    for name, damage in strange(stack, good()).items():
        for _ in range(3):  # other work on the machine may spoil one
            bad = publish(stack.kafka, topic, f"R-BAD-{name}", damage, partition=1)
            behind = publish(stack.kafka, topic, new_id(), good(), partition=1)
            placed.setdefault(name, []).append((bad, behind))
            wait(lambda: all(rows_at(stack, t, topic, behind) for t in TEAMS), 60, f"the event behind: {name}")
    stamps = {(r.partition(), r.offset()): r.timestamp()[1] for r in records(stack.kafka, topic)}
    slowest = {}
    for team in TEAMS:
        rows = {(r["partition"], r["offset"]): r for r in stack.audit(team) if r["topic"] == topic}
        for name, pairs in placed.items():
            for bad, behind in pairs:
                assert rows[bad]["outcome"] == "quarantined", (team, name, rows[bad])
                assert REASONS.get(name, "") in rows[bad]["summary"], rows[bad]
                assert rows[behind]["outcome"] == "handled", (team, name)
            delays = [moment_ms(rows[behind]["at"]) - stamps[behind] for _, behind in pairs]
            slowest[name] = max(slowest.get(name, 0), min(delays))
    for team in TEAMS:  # what is too large, too
        wait(lambda: not stack.status(team)["outbox"]["depth"], 60, f"{team} has published its dead letters")
    print("delay of the healthy event behind, in ms:", slowest)
    assert max(slowest.values()) < 1500, slowest  # half of what an unknown schema id may hold; on a quiet machine it is under 100


def moment_ms(text):
    from datetime import datetime

    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() * 1000


def letters(stack, team, place):
    found = stack.get(team, "/api/dead-letters?limit=1000")["dead_letters"]
    return [one for one in found if (one["partition"], one["offset"]) == place]


def test_a_dead_letter_is_published_and_redriven_once_its_schema_is_registered(stack):
    topic, return_id = stack.topic("support.events"), new_id()
    ahead = register_last(stack) + 1
    body = write_avro(stack.registry, topic, refund_request(return_id))[5:]
    value = frame(ahead) + body
    place = publish(stack.kafka, topic, return_id, value, headers={"seen": "before", "raw": b"\xff\x00"})
    for team in TEAMS:  # before its schema is there, in each
        wait(lambda: letters(stack, team, place), 30, f"the record is in quarantine in {team}")
    (letter,) = letters(stack, "sales", place)
    assert letter["state"] == "open" and str(ahead) in letter["reason"] and bytes.fromhex(letter["value"]) == value

    def published():
        return [r for r in records(stack.kafka, stack.topic("sales.dead-letters")) if r.value() == value]

    (record,) = wait(published, 60, "it is in sales.dead-letters")
    headers = dict(record.headers())
    assert record.key() == return_id.encode() and headers["seen"] == b"before" and headers["raw"] == b"\xff\x00"
    assert headers["dead-letter.service"] == b"sales" and str(ahead) in headers["dead-letter.reason"].decode()
    assert (headers["dead-letter.topic"].decode(), int(headers["dead-letter.partition"]), int(headers["dead-letter.offset"])) == (topic, *place)

    number = str(letter["id"])
    code, said = returns(stack, "redrive", "sales", number)
    assert code == 1 and "still open" in said and str(ahead) in said
    assert register(stack, variant(doc=uuid.uuid4().hex)) == ahead
    code, said = returns(stack, "redrive", "sales", number)
    assert code == 0 and "is redriven" in said, said
    code, said = returns(stack, "redrive", "sales", number)
    assert code == 0 and "before" in said, said
    rows = stack.audit("sales", return_id=return_id)
    assert [row["outcome"] for row in rows] == ["handled", "refused", "quarantined"]
    assert rows[0]["topic"] is None and rows[0]["actor"] == "api" and "redriven from" in rows[0]["summary"]
    wait(lambda: not stack.status("sales")["outbox"]["depth"], 60, "sales has published")
    assert [r.key() for r in records(stack.kafka, stack.topic("sales.events"))].count(return_id.encode()) == 1
    assert stack.get("sales", "/api/audit/verify")["intact"]
    (letter,) = letters(stack, "sales", place)
    assert letter["state"] == "redriven"

    (letter,) = letters(stack, "inventory", place)
    answer = http.post(f"{stack.url('inventory')}/dead-letters/{letter['id']}/redrive")
    assert answer.status_code == 303 and answer.headers["Location"] == "/dead-letters"
    assert stack.audit("inventory", return_id=return_id)[0]["actor"] == "form"


@pytest.mark.parametrize("words, code, quoted", [
    (["redrive", "nobody", "1"], 2, "nobody"),
    (["redrive", "sales", "soon"], 2, "soon"),
    (["redrive", "sales", "999999"], 1, "999999"),
    (["accept-log", "sales", "support.events", "--from", "yesterday"], 2, "yesterday"),
    (["accept-log", "sales", "support.events", "--from", "end"], 1, "held"),
])
def test_a_wrong_word_of_these_verbs_is_quoted(stack, words, code, quoted):
    got, said = returns(stack, *words)
    assert got == code and quoted in said, said


def test_the_page_says_that_order_is_given_up_and_all_is_redriven_or_says_why(stack):
    page = http.get(stack.url("accounting") + "/dead-letters").text
    assert "Order was given up" in page
    code, said = returns(stack, "redrive", "accounting", "all")
    assert "redriven" in said and "still open" in said and code in (0, 1)
    for one in stack.get("accounting", "/api/dead-letters?limit=1000")["dead_letters"]:
        assert one["state"] == "redriven" or one["said"], one
