"""Random histories of returns, in every order that Kafka can produce, through kills and an outage: what each team did is
held to an independent model (model.py), and its tables to what it published."""

import io
import json
import os
import random
import sqlite3
import struct
import uuid
from collections import Counter
from datetime import datetime, timezone
from decimal import Decimal
from signal import SIGKILL

import fastavro
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from model import Accounting, Inventory, Manufacturing, Return, Sales
from stack import ROOT, TEAMS, ByHand, http, wait
from wire import records, schema_id_of

HISTORIES = int(os.environ.get("HISTORIES", 10_000))
SEED = int(os.environ.get("HISTORIES_SEED", 0)) or random.randrange(1, 1 << 32)
TYPES = ["RefundRequest", "RefundCancelled", "ReturnClosed", "CommandRejected"]
TEXTS = {type: (ROOT / f"schemas/support/{type}.avsc").read_text() for type in TYPES}
SCHEMAS = {type: fastavro.parse_schema(json.loads(text)) for type, text in TEXTS.items()}
MODELS = ["Ember tablet", "Dune headset", "Comet router", "Borealis 27 monitor", "Aurora 14 laptop", "Фонарь 3"]

SHAPES = {  # how a return may go, and how often
    "R": 20, "RL": 4, "RC": 20, "RCC": 3, "RJC": 3, "RLJ": 2, "CR": 6, "C": 2, "RR": 3, "RCR": 3, "PRC": 3, "RPC": 3, "NC": 1,
    "N": 1,
}  # request, close (L), cancel, rejected command (J), poison, negative cost (N)


class Histories:
    """Publishes them, and keeps what a reader of the topic must have understood."""

    def __init__(self, kafka, registry, topic, chance):
        self.topic, self.chance, self.registry = topic, chance, registry
        self.producer = Producer({"bootstrap.servers": kafka, "enable.idempotence": True, "message.timeout.ms": 0,
                                  "partitioner": "consistent_random", "log_level": 0})
        self.ids = {type: self.register(type, text) for type, text in TEXTS.items()}
        self.returns, self.unread, self.ahead = {}, {}, None

    def register(self, type, text):
        subject = f"{self.topic}-returns.support.{type}"
        answer = http.post(f"{self.registry}/subjects/{subject}/versions", json={"schema": text})
        assert answer.status_code == 200, answer.text
        return answer.json()["id"]

    def register_unlike(self):
        """The same schema, which the registry has never seen."""
        text = TEXTS["RefundRequest"].replace('"A customer returns', f'"{uuid.uuid4().hex}: a customer returns', 1)
        return self.register("RefundRequest", text)

    def event(self, return_id, version, **fields):
        return {"event_id": str(uuid.UUID(int=self.chance.getrandbits(128), version=4)), "return_id": return_id, "version": version,
                "occurred_at": datetime.now(timezone.utc), "caused_by": None, "by": "test", "command": "CloseReturn",
                "expected_version": None, "reason": "no"} | fields

    def request(self, return_id, item, cost):
        return {"order_id": f"O-{item // 2}", "serial_number": f"SN-{item}", "shipment_id": f"S-{return_id}",
                "model": self.chance.choices(MODELS, [4, 4, 3, 2, 2, 1])[0], "location": self.chance.choice(["Berlin", "Lyon", "Oslo"]),
                "cost": {"amount": Decimal(cost) / 100, "currency": self.chance.choice(["EUR", "USD", "JPY"])}}

    def steps(self, number):
        """One return's records: (type or None for poison, event)."""
        chance, return_id = self.chance, f"R-{number}"
        # Neighbours share an item, also in another order, which is another item for sales.
        item = number // 4 if chance.random() < 0.6 else number + 1_000_000
        made, version = [], 1
        for letter in chance.choices(list(SHAPES), list(SHAPES.values()))[0]:
            if letter in "RN":
                order = {"order_id": "O-else"} if chance.random() < 0.1 else {}
                cost = -chance.randrange(1, 999) if letter == "N" else chance.randrange(100_000)
                one = ("RefundRequest", self.event(return_id, 1, **self.request(return_id, item, cost) | order))
            elif letter == "P":
                one = (None, {"return_id": return_id, "event_id": None})
            else:
                version += letter != "J"
                type = {"C": "RefundCancelled", "L": "ReturnClosed", "J": "CommandRejected"}[letter]
                one = (type, self.event(return_id, version))
            made.append(one)
        for one in [one for one in made if one[0] and chance.random() < 0.1]:  # again, later
            made.insert(chance.randint(made.index(one) + 1, len(made)), one)
        return made

    def bytes_of(self, type, event, schema_id=None):
        if not type:
            return self.chance.choice([b"", b"poison", b"\0\0\0\0", struct.pack(">bI", 0, self.ids["RefundRequest"]) + b"\xff" * 20])
        out = io.BytesIO()
        fastavro.schemaless_writer(out, SCHEMAS[type], event)
        return struct.pack(">bI", 0, schema_id or self.ids[type]) + out.getvalue()

    def publish(self, type, event, schema_id=None):
        self.producer.produce(self.topic, key=event["return_id"], value=self.bytes_of(type, event, schema_id))
        self.producer.poll(0)
        of = self.returns.setdefault(event["return_id"], Return())
        if type and not schema_id:
            of.add(type, event)

    def publish_unread(self, number):
        """A request that nobody can decode yet; it may be cancelled meanwhile."""
        return_id = f"U-{number}"
        event = self.event(return_id, 1, **self.request(return_id, number // 3, 100))
        self.unread[return_id] = event
        self.publish("RefundRequest", event, self.ahead)
        if number % 2:
            self.publish("RefundCancelled", self.event(return_id, 2))

    def interleaved(self, numbers, at_once=300):
        """Their records: each return's in order, those of several returns mixed."""
        waiting, active = iter(numbers), []
        while True:
            while len(active) < at_once and (number := next(waiting, None)) is not None:
                active.append(self.steps(number))
            if not active:
                return
            at = self.chance.randrange(len(active))
            yield active[at].pop(0)
            if not active[at]:
                active[at] = active[-1]
                active.pop()


def database(hand, team):
    db = sqlite3.connect(f"file:{hand.services[team].folder}/data/{hand.namespace}.{team}.db?mode=ro", uri=True, timeout=20)
    db.row_factory = sqlite3.Row
    return db


def quiet(hand, kafka, topic):
    """Every team has read all, and published all."""
    consumer = Consumer({"bootstrap.servers": kafka, "group.id": "ends", "log_level": 0})
    try:
        ends = {p: consumer.get_watermark_offsets(TopicPartition(topic, p), 10)[1] for p in range(6)}
    finally:
        consumer.close()

    def all_read():
        for team in TEAMS:
            db = database(hand, team)
            at = dict(db.execute("SELECT partition, next_offset FROM consumer_offset WHERE topic = ?", [topic]).fetchall())
            (unsent,) = db.execute("SELECT COUNT(*) FROM outbox_state WHERE state <> 'sent'").fetchone()
            db.close()
            if unsent or any(at.get(p, 0) < end for p, end in ends.items()):
                return False
            assert hand.services[team].process.poll() is None, team
        return True

    wait(all_read, 120, "the teams have read and published everything")


def trouble(stack, hand, chance, step):
    """Teams are killed; now and then Kafka is away, and a team is killed meanwhile."""
    service = hand.services[chance.choice(TEAMS)]
    if step == 9:
        stack.verb("stop", "kafka")
    service.stop(SIGKILL)
    service.spawn()
    if step == 11:
        stack.verb("start", "kafka")


def said(kafka, registry, topic):
    """A team's events in the order in which it decided them: (type, event)."""
    schemas, found = {}, {}
    for record in records(kafka, topic):
        schema_id = schema_id_of(record.value())
        if schema_id not in schemas:
            text = http.get(f"{registry}/schemas/ids/{schema_id}").json()["schema"]
            schemas[schema_id] = fastavro.parse_schema(json.loads(text))
        event = fastavro.schemaless_reader(io.BytesIO(record.value()[5:]), schemas[schema_id])
        event["occurred_at"] = round(event["occurred_at"].timestamp() * 1000)
        assert record.key().decode() == event["return_id"]
        sequence = int(dict(record.headers())["ce_sequence"])
        assert found.setdefault(sequence, (schemas[schema_id]["name"].rsplit(".")[-1], event))[1] == event
    return [found[sequence] for sequence in sorted(found)]


# --- A team's tables against what it published

WORDS = {  # what each table calls done, waits, undone, given up
    "sales": ("refund", "refunded_at", ["refunded", "waiting", "reversed", "withdrawn"]),
    "inventory": ("replacement", "shipped_at", ["shipped", "backordered", "recalled", "withdrawn"]),
    "manufacturing": ("disassembly_order", "queued_at", ["queued", "waiting", "withdrawn", "withdrawn"]),
}


def rows_are_as_published(db, team, model):
    table, done_at, words = WORDS[team]
    word = dict(zip([model.DONE, model.WAITS, model.UNDONE, model.GIVEN_UP], words))
    rows = {row["return_id"]: row for row in db.execute(f"SELECT * FROM {table}")}
    assert rows.keys() == model.began.keys()
    for return_id, row in rows.items():
        assert row["state"] == word[model.state(return_id)], return_id
        moments = {"asked": row["asked_at"], "done": row[done_at], "ended": row["ended_at"]}
        assert {k: v for k, v in moments.items() if v is not None} == model.moments[return_id]


def kept_is_as_published(db, team, model):
    if team == "inventory":
        for row in db.execute("SELECT * FROM stock"):
            counted = (model.shipped[row["model"]], model.recalled[row["model"]], model.on_hand(row["model"]))
            assert (row["shipped"], row["recalled"], row["on_hand"]) == counted
        waiting = dict(db.execute("SELECT model, waiting FROM backorder WHERE waiting > 0").fetchall())
        assert waiting == {key: len(line) for key, line in model.waiting.items() if line}
    if team == "manufacturing":
        queued = dict(db.execute("SELECT site, queued FROM site_queue WHERE queued > 0").fetchall())
        assert queued == +model.queued


def ledger_is_as_published(db, model):
    posted = Counter()
    for row in db.execute("SELECT * FROM ledger"):
        posted[row["return_id"]] += 1
        moment = {"disposal": "asked", "reversal": "ended"}[row["posting"]]
        assert row["posted_at"] == model.moments[row["return_id"]][moment]
    assert posted == {r: 4 if r in model.ended else 2 for r in model.began}
    for source in ("balance", "ledger"):
        sums = db.execute(f"SELECT currency, account, SUM(debit), SUM(credit) FROM {source} GROUP BY currency, account")
        for currency, account, debit, credit in sums:
            assert Decimal(debit) / 100 == model.debits[currency, account]
            assert Decimal(credit) / 100 == model.credits[currency, account]
    net = sum(model.began[r]["cost"]["amount"] for r in model.done)
    (stands,) = db.execute("SELECT SUM(debit - credit) FROM balance WHERE account LIKE '6800%'").fetchone()
    assert Decimal(stands) / 100 == net


def audit_shows_both(db, model):
    """Doing it and undoing it: one row of each that had an effect."""
    rows = Counter(str(uuid.UUID(bytes=event_id)) for (event_id,) in db.execute(
        "SELECT event_id FROM audit WHERE outcome IN ('handled', 'declined') AND event_id IS NOT NULL"))
    assert set(rows.values()) == {1}
    for return_id, ending in model.ended.items():
        assert rows[model.began[return_id]["caused_by"]] == rows[ending["caused_by"]] == 1


def judge(stack, hand, team, returns):
    events = said(stack.kafka, stack.registry, hand.topic(f"{team}.events"))
    db = database(hand, team)
    try:
        if team == "inventory":
            model = Inventory(returns, dict(db.execute("SELECT model, initial FROM stock").fetchall()))
        else:
            model = {"sales": Sales, "manufacturing": Manufacturing, "accounting": Accounting}[team](returns)
        for type, event in events:
            model.apply(type, event)
        model.finish()
        if team == "accounting":
            ledger_is_as_published(db, model)
        else:
            rows_are_as_published(db, team, model)
            kept_is_as_published(db, team, model)
        audit_shows_both(db, model)
    finally:
        db.close()
    assert hand.get(team, "/api/audit/verify")["intact"]
    return model


# --- The test

STEPS, UNREAD = 16, 12


def redrive_all(hand, chance, unread):
    for team in TEAMS:
        db = database(hand, team)
        letters = [n for (n,) in db.execute("SELECT id FROM dead_letter WHERE CAST(record_key AS TEXT) LIKE 'U-%'")]
        db.close()
        assert len(letters) == len(unread)
        for letter in chance.sample(letters, len(letters)):
            answer = http.post(f"{hand.url(team)}/api/dead-letters/{letter}/redrive")
            assert answer.status_code == 200 and answer.json()["state"] == "redriven", answer.text


@pytest.mark.alone
def test_random_histories_leave_what_they_should(stack, tmp_path):
    chance = random.Random(SEED)
    print(f"HISTORIES={HISTORIES} HISTORIES_SEED={SEED}")
    hand = ByHand(TEAMS, tmp_path, kafka=stack.kafka, registry=stack.registry, unknown_id_ms=300)
    topic = hand.topic("support.events")
    admin = AdminClient({"bootstrap.servers": stack.kafka})
    admin.create_topics([NewTopic(topic, 6, 1)])[topic].result(20)
    h = Histories(stack.kafka, stack.registry, topic, chance)
    with hand:
        hand.await_connected(TEAMS, 120)  # and they have registered their own schemas
        h.ahead = h.register_unlike() + 1
        steps = list(h.interleaved(range(HISTORIES)))
        for step in range(STEPS):
            for number in range(step, UNREAD, STEPS):
                h.publish_unread(number)
            for type, event in steps[step * len(steps) // STEPS : (step + 1) * len(steps) // STEPS]:
                h.publish(type, event)
            trouble(stack, hand, chance, step)
        assert h.producer.flush(60) == 0
        quiet(hand, stack.kafka, topic)

        assert h.register_unlike() == h.ahead
        redrive_all(hand, chance, h.unread)
        for return_id, event in h.unread.items():
            h.returns[return_id].add("RefundRequest", event)
        for return_id in [*h.unread, *chance.sample(sorted(h.returns), len(h.returns) // 20)]:
            if chance.random() < 0.7:
                h.publish("RefundCancelled", h.event(return_id, 9))
        assert h.producer.flush(60) == 0
        quiet(hand, stack.kafka, topic)

        models = {team: judge(stack, hand, team, h.returns) for team in TEAMS}
    undone = {team: len(model.ended) for team, model in models.items()}
    print(f"{len(h.returns)} returns, {len(steps)} records; prefixes {({t: m.prefixes for t, m in models.items()})}; undone {undone}")
    assert min(undone.values()) > HISTORIES // 10
    assert all(model.taken_over for team, model in models.items() if team != "accounting")
