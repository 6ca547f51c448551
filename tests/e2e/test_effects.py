"""Every event has exactly one effect, and what cannot be read is put aside while the rest flows on."""

import struct
import uuid

import pytest

from stack import ROOT, SERVICES, TEAMS, http, wait
from wire import publish, records, refund_request, write_avro


@pytest.fixture
def topic(stack):
    return stack.topic("support.events")


@pytest.fixture
def valid(stack, topic):
    """A new return's id, and an event about it as it is on the wire."""
    return_id = f"R-OUT{uuid.uuid4().hex[:10].upper()}"
    return return_id, write_avro(stack.registry, topic, refund_request(return_id))


def rows_at(stack, service, topic, place):
    return [r for r in stack.audit(service) if r["topic"] == topic and (r["partition"], r["offset"]) == place]


def test_a_second_event_with_the_same_id_has_no_second_effect(stack, topic, valid):
    return_id, value = valid
    first = publish(stack.kafka, topic, return_id, value)
    stack.await_audits([return_id], SERVICES, 180)
    second = publish(stack.kafka, topic, return_id, value)
    for service in SERVICES:
        (row,) = wait(lambda: rows_at(stack, service, topic, second), 60, f"{service} has met the second event")
        assert row["outcome"] == "duplicate"
        (row,) = rows_at(stack, service, topic, first)
        assert row["outcome"] == "handled"
    after = stack.submit()
    stack.await_audits([after], TEAMS, 180)
    for team in TEAMS:
        wait(lambda: not stack.status(team)["outbox"]["depth"], 60, f"{team} has published what it had to")
        keys = [r.key().decode() for r in records(stack.kafka, stack.topic(f"{team}.events"))]
        assert keys.count(return_id) == 1
    history = wait(lambda: (seen := stack.events(return_id))[4:] and seen, 60, "support has seen what came of it")
    assert len({event["data"]["event_id"] for event in history}) == len(history) == 5


def damaged(value):
    """What a broken, careless or hostile producer sends: name, bytes, and a word of the reason."""
    frame, body = value[:5], value[5:]
    length = struct.pack("b", 2 * 36)  # of event_id, the first field
    return {
        "garbage": b"{\"not\": \"avro\"}",
        "empty": b"",
        "tombstone": None,
        "frame alone": frame,
        "half a frame": frame[:3],
        "magic of another protocol": b"\x07" + value[1:],
        "a schema GUID instead of an id": b"\x01" + uuid.uuid4().bytes + body,
        "cut in the middle": value[:-4],
        "trailing bytes": value + b"\x00",
        "a string of 4 GiB": frame + b"\xfe\xff\xff\xff\x1f" + body[1:],
        "a negative length": frame + b"\x01" + body[1:],
        "text that is not UTF-8": frame + length + b"\xff" * 36 + body[37:],
        "an event id that is no UUID": frame + length + b"x" * 36 + body[37:],
        "nearly a megabyte too much": value + b"\x00" * 1_000_000,
    }


def test_undecodable_records_are_quarantined_with_their_reason_and_others_flow_on(stack, topic, valid):
    return_id, value = valid
    places = {}
    for name, damage in damaged(value).items():
        places[name] = publish(stack.kafka, topic, f"R-BAD-{name}", damage, partition=2)
    last = publish(stack.kafka, topic, return_id, value, partition=2)
    for service in SERVICES:
        (row,) = wait(lambda: rows_at(stack, service, topic, last), 60, f"{service} has met the good one behind them")
        assert row["outcome"] == "handled"
        for name, place in places.items():
            (row,) = rows_at(stack, service, topic, place)
            assert row["outcome"] == "quarantined", (service, name)
            assert len(row["summary"]) > 10, (service, name)
        status = stack.status(service)
        assert status["dead_letters"] >= len(places) and status["outcomes"]["quarantined"] >= len(places)
        assert stack.get(service, "/api/audit/verify")["intact"]


def test_an_unknown_schema_id_holds_its_own_partition_only_and_is_quarantined_in_the_end(stack, topic, valid):
    return_id, value = valid
    unknown = value[:1] + struct.pack(">I", 999_999) + value[5:]
    place = publish(stack.kafka, topic, "R-UNKNOWN", unknown, partition=4)
    publish(stack.kafka, topic, return_id, value, partition=4)
    elsewhere = f"R-OUT{uuid.uuid4().hex[:10].upper()}"
    publish(stack.kafka, topic, elsewhere, write_avro(stack.registry, topic, refund_request(elsewhere)), partition=5)
    stack.await_audits([elsewhere], TEAMS, 180)
    for team in TEAMS:
        assert not rows_at(stack, team, topic, place), "quarantined before the registry had its time to know the id"
    stack.await_audits([return_id], TEAMS, 180)
    for team in TEAMS:
        (row,) = rows_at(stack, team, topic, place)
        assert row["outcome"] == "quarantined" and "999999" in row["summary"]


def test_an_event_of_a_type_that_a_team_does_not_know_is_skipped(stack, topic):
    """A team's event on support's topic: registered, readable, and no concern of the others."""
    text = (ROOT / "schemas/sales/OrderRefunded.avsc").read_text()
    subject = f"{topic}-returns.sales.OrderRefunded"
    assert http.post(f"{stack.registry}/subjects/{subject}/versions", json={"schema": text}).status_code == 200
    return_id = f"R-OUT{uuid.uuid4().hex[:10].upper()}"
    event = refund_request(return_id)
    fields = ("event_id", "return_id", "version", "occurred_at", "caused_by", "order_id", "serial_number")
    value = write_avro(stack.registry, topic, {k: event[k] for k in fields}, text)
    place = publish(stack.kafka, topic, return_id, value)
    for team in TEAMS:
        (row,) = wait(lambda: rows_at(stack, team, topic, place), 60, f"{team} has met the event")
        assert row["outcome"] == "skipped"
    http.delete(f"{stack.registry}/subjects/{subject}")


def test_a_second_refund_of_the_same_item_is_declined_and_seen(stack, topic):
    first, second = (f"R-OUT{uuid.uuid4().hex[:10].upper()}" for _ in range(2))
    event = refund_request(first)
    publish(stack.kafka, topic, first, write_avro(stack.registry, topic, event))
    stack.await_audits([first], TEAMS, 180)
    again = event | {"event_id": str(uuid.uuid4()), "return_id": second}
    value = write_avro(stack.registry, topic, again)
    publish(stack.kafka, topic, second, value)
    stack.await_audits([second], SERVICES, 180)
    assert stack.audit("sales", return_id=second)[0]["outcome"] == "declined"
    assert stack.audit("manufacturing", return_id=second)[0]["outcome"] == "declined"

    def seen():
        shown = stack.get("support", f"/api/returns/{second}")
        return shown.get("attention") and shown["status"] == "handled"

    wait(lambda: "RefundDeclined" in str(stack.events(second)), 60, "support has seen that sales declined")
    wait(seen, 60, "the return asks for attention")
