"""Subscribers that share no code with us, beside ours; and topics that are written by transactions, as theirs are."""

import os
import re
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from node import NODE
from stack import ROOT, ByHand, free_ports, http, wait
from wire import publish, read_avro, records

COMMANDS = {"warranty": [sys.executable, "tests/interop/warranty.py"], "carrier": [NODE, "tests/interop/carrier.js"]}
TYPES = {"warranty": "returns.warranty.WarrantyChecked", "carrier": "returns.carrier.PickupBooked"}
FIELDS = {"warranty": {"serial_number", "made_on", "warranty_until", "within_warranty"},
          "carrier": {"location", "tracking_code", "pickup_from", "pickup_until"}}


class Foreign:
    """One instance of such a subscriber."""

    def __init__(self, stack, name, folder):
        self.name, self.log = name, folder / f"{name}-{uuid.uuid4().hex[:4]}.log"
        self.env = os.environ | {
            "RETURNS_KAFKA": stack.kafka, "RETURNS_REGISTRY": stack.registry, "RETURNS_NAMESPACE": stack.namespace,
            "RETURNS_PORT": str(free_ports(1)[0]), "RETURNS_DATA_DIR": str(folder)}
        self.process = None

    def start(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(COMMANDS[self.name], env=self.env, cwd=ROOT, stdout=log, stderr=log)

    def kill(self, signum=signal.SIGKILL):
        self.process.send_signal(signum)
        self.process.wait(10)
        self.process = None


def answers(stack, name):
    """What it has published: {return id: [record]}; none of what a transaction left undone."""
    found = {}
    for record in records(stack.kafka, stack.topic(f"{name}.events")):
        found.setdefault(record.key().decode(), []).append(record)
    return found


def await_answers(stack, name, return_ids, seconds=60):
    """One for each, and no more."""
    wait(lambda: not set(return_ids) - answers(stack, name).keys(), seconds, f"{name} answered {len(return_ids)} returns")
    assert {len(answers(stack, name)[r]) for r in return_ids} == {1}


def on_board(stack, name):
    return next((s for s in stack.get("support", "/api/board")["services"] if s["name"] == name), None)


@pytest.fixture(scope="module")
def hand(stack, tmp_path_factory):
    """Support in a namespace of its own, with some returns from before anybody else came; then both, an instance each."""
    folder = tmp_path_factory.mktemp("interop")
    with ByHand(["support"], folder, kafka=stack.kafka, registry=stack.registry) as h:
        h.kafka, h.registry, h.stack = stack.kafka, stack.registry, stack
        h.before = [h.submit() for _ in range(5)]
        wait(lambda: not h.status("support")["outbox"]["depth"], 60, "the first returns are published")
        h.running = {name: Foreign(h, name, folder) for name in COMMANDS}
        h.more = lambda name: Foreign(h, name, folder)
        try:
            for one in h.running.values():
                one.start()
            yield h
        finally:
            for one in h.running.values():
                one.kill()


def test_join_and_are_seen(hand):
    """From the first event on; in the timeline, decoded, and on the board, though nothing of ours knows their types."""
    new = hand.submit()
    for name in COMMANDS:
        await_answers(hand, name, hand.before + [new])
    for return_id in (hand.before[0], new):
        events = wait(lambda: len(e := hand.events(return_id)) == 3 and e, 60, "all is in the timeline")
        request = next(e for e in events if e["type"] == "returns.support.RefundRequest")
        for name in COMMANDS:
            event = next(e for e in events if e["type"] == TYPES[name])
            assert event["team"] == name and event["version"] == 1 and event["trace_id"] == request["trace_id"]
            assert FIELDS[name] < event["data"].keys()
            assert event["data"]["caused_by"] == request["data"]["event_id"]
        page = http.get(f"{hand.url('support')}/returns/{return_id}").text
        assert all(field in page for fields in FIELDS.values() for field in fields)
    said = wait(lambda: (r := hand.get("support", f"/api/returns/{new}"))["status"] == "handled" and r, 60, "it is handled")
    assert {t["team"]: t["event_type"] for t in said["teams"]} == TYPES
    for name in COMMANDS:
        one = wait(lambda: (s := on_board(hand, name)) and s["behind"] == 0 and s, 30, f"{name} is on the board")
        assert one["state"] == "reading" and one["subscribes"]


def test_what_they_write(hand):
    """Their records are as ours: by their own schema, keyed, with the headers; and each event has one id, whoever makes it."""
    for name in COMMANDS:
        record = answers(hand, name)[hand.before[0]][0]
        headers = {k: v.decode() for k, v in record.headers()}
        event = read_avro(hand.registry, record)
        assert headers["ce_type"] == TYPES[name] and headers["ce_id"] == str(event["event_id"])
        assert headers["ce_source"] == f"/{name}" and headers["traceparent"] and headers["content-type"] == "application/avro"
        subject = f"{hand.topic(name)}.events-{TYPES[name]}"
        assert http.get(f"{hand.registry}/config/{subject}").json()["compatibilityLevel"] == "FULL_TRANSITIVE"


def test_no_source_of_ours_knows_them():
    ours = [p for folder in ("services", "schemas") for p in (ROOT / folder).rglob("*") if p.is_file()]
    named = re.compile("WarrantyChecked|PickupBooked|returns[.](warranty|carrier)", re.IGNORECASE)
    assert len(ours) > 200
    assert not [p for p in ours if named.search(p.read_text(errors="replace"))]


def test_poison_is_put_aside(hand):
    topic, return_id = hand.topic("support.events"), "R-" + uuid.uuid4().hex[:13].upper()
    place = publish(hand.kafka, topic, return_id, b"\x00\x00\x00\x00\x01poison")
    after = hand.submit()
    for name in COMMANDS:
        await_answers(hand, name, [after])
        letters = records(hand.kafka, hand.topic(f"{name}.dead-letters"))
        assert len(letters) == 1 and letters[0].value() == b"\x00\x00\x00\x00\x01poison"
        headers = {k: v.decode() for k, v in letters[0].headers()}
        assert headers["dead-letter.reason"] and headers["dead-letter.service"] == name
        assert (int(headers["dead-letter.partition"]), int(headers["dead-letter.offset"])) == place


def members(hand, name):
    """How many partitions each has."""
    admin, group = AdminClient({"bootstrap.servers": hand.kafka}), hand.topic(name)
    described = admin.describe_consumer_groups([group])[group].result(30)
    return sorted(len(m.assignment.topic_partitions) for m in described.members)


@pytest.mark.alone
def test_once_each_whatever_happens(hand):
    """Two instances share the partitions; events come twice; one is killed in the middle, and Kafka too."""
    topic, seconds = hand.topic("support.events"), {name: hand.more(name) for name in COMMANDS}
    for one in seconds.values():
        one.start()
    try:
        for name in COMMANDS:
            wait(lambda: members(hand, name) == [3, 3], 60, f"two instances of {name} share the partitions")
        ids = [hand.submit() for _ in range(20)]
        for one in hand.running.values():
            one.kill()
            one.start()
        ids += [hand.submit() for _ in range(20)]
        hand.stack.verb("kill", "kafka", seconds=120)
        ids += [hand.submit() for _ in range(20)]
        wait(lambda: not hand.status("support")["outbox"]["depth"], 120, "all is published")
        for record in records(hand.kafka, topic)[::2]:
            publish(hand.kafka, topic, record.key(), record.value(), record.partition(), record.headers())
        ids += [hand.submit()]
        for name in COMMANDS:
            await_answers(hand, name, ids, 90)
            wait(lambda: (on_board(hand, name) or {}).get("behind") == 0, 30, f"{name} has read all")
            assert {len(found) for found in answers(hand, name).values()} == {1}
    finally:
        for one in seconds.values():
            one.kill()
