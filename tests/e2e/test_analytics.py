"""analytics, held against a model that reads the same topics and adds up by words of its own; and what being in memory means."""

import csv
import io
import json
import os
import random
import signal
import subprocess
import uuid
from collections import Counter
from datetime import datetime, timedelta, timezone
from decimal import Decimal

import fastavro
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient

from stack import BIN, ROOT, ByHand, Service, http, wait
from wire import records, refund_request, schema_id_of

RETURNS = int(os.environ.get("ANALYTICS_RETURNS", "300"))
START = datetime(2026, 3, 1, 22, tzinfo=timezone.utc)
DIMENSIONS = {"model": "model", "reason": "reason_code", "channel": "channel", "location": "location"}
FILTERS = DIMENSIONS | {"currency": None}

ENVELOPE = [
    {"name": "event_id", "type": {"type": "string", "logicalType": "uuid"}},
    {"name": "return_id", "type": "string"},
    {"name": "version", "type": "long"},
    {"name": "occurred_at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
    {"name": "caused_by", "type": ["null", "string"], "default": None},
]
# Of a team that no code of ours knows.
PICKUP = {"type": "record", "name": "PickupBooked", "namespace": "returns.carrier", "fields": ENVELOPE}
SCHEMAS = {
    name: json.loads((ROOT / f"schemas/{path}.avsc").read_text())
    for name, path in {
        "RefundRequest": "support/RefundRequest", "RefundCancelled": "support/RefundCancelled",
        "OrderRefunded": "sales/OrderRefunded", "RefundDeclined": "sales/RefundDeclined",
    }.items()
} | {"PickupBooked": PICKUP}


def moment(at):
    return at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03}Z"


# --- The events


def reaction(name, request, at, version=1):
    event = {"event_id": str(uuid.uuid4()), "return_id": request["return_id"], "version": version, "occurred_at": at,
             "caused_by": request["event_id"], "order_id": request["order_id"], "serial_number": request["serial_number"],
             "reason": "refunded before", "by": "someone"}
    return name, {field["name"]: event[field["name"]] for field in SCHEMAS[name]["fields"] if field["name"] in event}


def events_of(chance, number):
    """Those of one return: [(schema's name, event)]."""
    later = lambda at, most: at + timedelta(milliseconds=int(chance.expovariate(1 / most)))  # noqa: E731
    at = START + timedelta(milliseconds=chance.randrange(2 * 86_400_000))
    request = refund_request(
        f"R-{number}", occurred_at=at, model=chance.choice(["Aurora", "Borealis, 27\"", "Фонарь 3"]),
        location=chance.choice(["Berlin", "Lyon", "東京", "Oslo"]), channel=chance.choice(["form", "api", "call"]),
        reason_code=chance.choice(["DEFECTIVE", "WRONG_ITEM", "OTHER"]),
        cost={"amount": Decimal(chance.randrange(1, 10**7)) / 100, "currency": chance.choice(["EUR", "USD", "JPY"])})
    made = [("RefundRequest", request)] * (chance.random() < 0.97)  # others answer one that is not there yet
    answered = later(at, 5000)
    if chance.random() < 0.3:
        made.append(reaction("RefundDeclined", request, answered))
        answered = later(answered, 5000)
    if chance.random() < 0.8:
        made.append(reaction("OrderRefunded", request, answered))
    for _ in range(chance.randrange(3)):  # by a clock that is slow: also before it was asked
        made.append(reaction("PickupBooked", request, later(at, 60_000) - timedelta(seconds=2)))
    if chance.random() < 0.2:
        cancelled = later(at, 600_000)
        made.append(reaction("RefundCancelled", request, cancelled, 2))
        made.append(reaction("PickupBooked", request, later(cancelled, 1000), 2))
    return made


def topic_of(name):
    return SCHEMAS[name]["namespace"].rpartition(".")[2] + ".events"


class World(ByHand):
    """analytics alone, and topics that nobody but this test writes to."""

    def __init__(self, stack, folder):
        super().__init__(["analytics"], folder, kafka=stack.kafka, registry=stack.registry)
        self.kafka, self.chance = stack.kafka, random.Random(7)
        names = [self.topic(name) for name in sorted({topic_of(name) for name in SCHEMAS})]
        admin = AdminClient({"bootstrap.servers": stack.kafka})
        for made in admin.create_topics([NewTopic(name, 6, 1) for name in names]).values():
            made.result(20)
        client = SchemaRegistryClient({"url": stack.registry})
        self.ids = {name: client.register_schema(f"{self.topic(topic_of(name))}-{s['namespace']}.{name}",
                                                 Schema(json.dumps(s), "AVRO")) for name, s in SCHEMAS.items()}
        self.parsed = {name: fastavro.parse_schema(schema) for name, schema in SCHEMAS.items()}
        self.publish()

    def publish(self):
        """In any order of topics and returns, some of them twice."""
        made = [one for number in range(RETURNS) for one in events_of(self.chance, number)]
        made += self.chance.sample(made, len(made) // 20)
        self.chance.shuffle(made)
        producer = Producer({"bootstrap.servers": self.kafka, "linger.ms": 50, "queue.buffering.max.messages": 2_000_000})
        for name, event in made:
            body = io.BytesIO()
            fastavro.schemaless_writer(body, self.parsed[name], event)
            producer.produce(self.topic(topic_of(name)), key=event["return_id"],
                             value=b"\0" + self.ids[name].to_bytes(4, "big") + body.getvalue())
        assert producer.flush(60) == 0
        self.published = len(made)

    def read(self):
        """{event id: (source, name, event)} of all topics."""
        names, events = {number: name for name, number in self.ids.items()}, {}
        for topic in {topic_of(name) for name in SCHEMAS}:
            for record in records(self.kafka, self.topic(topic)):
                name = names[schema_id_of(record.value())]
                event = fastavro.schemaless_reader(io.BytesIO(record.value()[5:]), self.parsed[name])
                events[event["event_id"]] = topic.removesuffix(".events"), name, event
        return events

    def await_read(self):
        def read():
            return any(c["name"] == "replay" and c["state"] == "ok" for c in self.status("analytics")["components"])

        wait(read, 60, "it has read all anew")

    def statistics(self, **question):
        answer = http.get(self.url("analytics") + "/api/statistics", params=question)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def committed(self):
        consumer = Consumer({"bootstrap.servers": self.kafka, "group.id": self.topic("analytics")})
        try:
            return {p.partition: p.offset for p in consumer.committed(
                [TopicPartition(self.topic("support.events"), n) for n in range(6)], timeout=10)}
        finally:
            consumer.close()


@pytest.fixture(scope="module")
def world(stack, tmp_path_factory):
    with World(stack, tmp_path_factory.mktemp("analytics")) as w:
        w.await_read()
        yield w


# --- The model


def percentile(times, percent):
    """The smallest that is at least as long as so many of a hundred."""
    return min((t for t in times if 100 * sum(u <= t for u in times) >= percent * len(times)), default=None)


def milliseconds(duration):
    return max(0, round(duration / timedelta(milliseconds=1)))


def model(events, as_of=None, since=None, until=None, **words):
    held = [(source, name, e) for source, name, e in events.values() if as_of is None or e["occurred_at"] <= as_of]
    requests = {e["return_id"]: e for _, name, e in held if name == "RefundRequest"}
    fields = {key: field or "currency" for key, field in FILTERS.items()}
    value = lambda e, key: e["cost"]["currency"] if key == "currency" else e[fields[key]]  # noqa: E731
    chosen = {
        rid: e for rid, e in requests.items()
        if all(value(e, key) == word for key, word in words.items())
        and (since is None or e["occurred_at"] >= since) and (until is None or e["occurred_at"] <= until)
    }
    about = [(source, name, e) for source, name, e in held if e["return_id"] in chosen]
    cancelled = {e["return_id"] for _, name, e in about if name == "RefundCancelled"}
    declined = {e["return_id"] for _, name, e in about if name.endswith("Declined")}

    def table(key):
        count = Counter(value(e, key) for e in chosen.values())
        return [{"name": word, "returns": n,
                 "cancelled": sum(value(chosen[r], key) == word for r in cancelled),
                 "declined": sum(value(chosen[r], key) == word for r in declined)}
                for word, n in sorted(count.items(), key=lambda item: (-item[1], item[0].encode()))]

    def costs(*keys):
        groups = {}
        for e in chosen.values():
            groups.setdefault(tuple(value(e, k) for k in keys), []).append(e["cost"]["amount"])
        order = sorted(groups.items(), key=lambda item: (-len(item[1]), "".join(item[0]).encode()))
        return [dict(zip(keys, names)) | {"returns": len(all_), "amount": f"{sum(all_):.2f}"} for names, all_ in order]

    teams = []
    for team in sorted({source for source, *_ in about} - {"support"}):
        theirs = [(name, e) for source, name, e in about if source == team]
        first = {}
        for _, e in theirs:
            if e["version"] == 1:
                first[e["return_id"]] = min(e["occurred_at"], first.get(e["return_id"], e["occurred_at"]))
        refused = {e["return_id"] for name, e in theirs if name.endswith("Declined")}
        times = [milliseconds(at - chosen[rid]["occurred_at"]) for rid, at in first.items()]
        if first or refused:
            teams.append({"team": team, "reacted": len(first), "silent": len(chosen) - len(first), "declined": len(refused),
                          "p50_ms": percentile(times, 50), "p90_ms": percentile(times, 90),
                          "p99_ms": percentile(times, 99), "max_ms": max(times, default=None)})
    hours = Counter(e["occurred_at"].hour for e in chosen.values())
    return {
        "returns": len(chosen), "cancelled": len(cancelled), "declined": len(declined),
        "by": {key: table(key) for key in DIMENSIONS},
        "hours": [{"hour": hour, "returns": hours[hour]} for hour in range(24)],
        "costs": costs("currency"), "costs_by_model": costs("currency", "model"), "teams": teams,
        "as_of": moment(as_of) if as_of else None,
    }


def questions(chance, events, n):
    """Filters and moments, each there or not."""
    requests = [e for _, name, e in events.values() if name == "RefundRequest"]
    moments = [e["occurred_at"] for _, _, e in events.values()]
    yield {}
    yield {"model": "nobody has this"}
    for _ in range(n):
        like, asked = chance.choice(requests), {}
        for key, field in FILTERS.items():
            if chance.random() < 0.25:
                asked[key] = like[field] if field else like["cost"]["currency"]
        for key in ("since", "until", "as_of"):
            if chance.random() < 0.4:
                asked[key] = chance.choice(moments) + timedelta(milliseconds=chance.randrange(-1, 2))
        yield asked


def sent(question):
    return {key: moment(value) if isinstance(value, datetime) else value for key, value in question.items()}


# --- Tests


def test_any_question_has_the_answer_of_the_model(world):
    events = world.read()
    assert {"support", "sales", "carrier"} == {source for source, *_ in events.values()}
    for question in questions(random.Random(11), events, 40):
        said, known = world.statistics(**sent(question)), model(events, **question)
        time = said.pop("over_time")
        assert said == known, question
        samples = [(datetime.fromisoformat(s["from"]), s["returns"]) for s in time["samples"]]
        assert sum(n for _, n in samples) == known["returns"] and len(samples) <= 48
        width = timedelta(milliseconds=time["step_ms"])
        chosen = [e["occurred_at"] for _, name, e in events.values() if name == "RefundRequest"]
        if not question:
            assert all(n == sum(at <= t < at + width for t in chosen) for at, n in samples)


def test_the_csv_says_the_same(world):
    asked = {"currency": "EUR"}
    said, text = world.statistics(**asked), http.get(world.url("analytics") + "/api/statistics.csv", params=asked).text
    rows = {(r["table"], r["name"], r["currency"], r["figure"]): r["value"] for r in csv.DictReader(io.StringIO(text))}
    assert rows["all", "", "", "returns"] == str(said["returns"])
    for one in said["costs_by_model"]:
        assert rows["cost by model", one["model"], "EUR", "amount"] == one["amount"]
    for one in said["by"]["location"]:
        assert rows["location", one["name"], "", "declined"] == str(one["declined"])
    for one in said["teams"]:
        assert rows["team", one["team"], "", "p90_ms"] == str(one["p90_ms"])


def test_what_is_no_moment_is_refused_by_name(world):
    url = world.url("analytics")
    answer = http.get(url + "/api/statistics", params={"since": "yesterday", "as_of": "2026-13-01"})
    assert answer.status_code == 400 and [e["field"] for e in answer.json()["errors"]] == ["since", "as_of"]
    page = http.get(url + "/statistics", params={"since": "yesterday"})
    assert page.status_code == 400 and "&quot;yesterday&quot; is not a moment" in page.text
    assert http.get(url + "/api/statistics.csv", params={"since": "yesterday"}).status_code == 400


@pytest.mark.full
def test_killed_it_reads_all_anew_and_says_the_same(world):
    asked = list(questions(random.Random(3), world.read(), 5))
    before, service = [world.statistics(**sent(q)) for q in asked], world.services["analytics"]
    assert service.stop(signal.SIGKILL)[0] == -signal.SIGKILL
    service.start()
    world.await_read()
    assert [world.statistics(**sent(q)) for q in asked] == before
    status = world.status("analytics")
    assert status["in_memory"] and sum(status["outcomes"].values()) == world.published
    assert world.get("analytics", "/api/audit/verify")["intact"]


@pytest.mark.full
def test_what_it_had_read_does_not_count_as_unread_while_it_reads_anew(world):
    """Without a registry it cannot go on, so what it says meanwhile can be looked at."""
    wait(lambda: sum(max(0, n) for n in world.committed().values()) > 0, 60, "Kafka knows how far it is")
    before, service, registry = world.committed(), world.services["analytics"], world.services["analytics"].env["RETURNS_REGISTRY"]
    service.stop()
    service.env["RETURNS_REGISTRY"] = "http://127.0.0.1:1"
    try:
        service.start()
        what = f"it is in memory and reads all anew: it has read 0 of {world.published} events"
        wait(lambda: what in world.status("analytics")["waiting_for"], 30, what)
        assert what in http.get(world.url("analytics") + "/").text
        assert world.statistics()["returns"] == 0 and world.committed() == before
    finally:
        service.stop()
        service.env["RETURNS_REGISTRY"] = registry
        service.start()
    world.await_read()
    wait(lambda: world.committed() == before, 60, "it is where it was")


def test_a_second_one_is_refused_and_empties_nothing(world):
    rows = len(world.audit("analytics"))
    first = world.services["analytics"]
    second = Service("analytics", first.folder)
    second.env = first.env | {"RETURNS_PORT": str(second.port)}
    done = subprocess.run([second.program], env=second.env, capture_output=True, text=True, timeout=20)
    assert done.returncode == 1 and "belongs to another running process" in done.stderr, done.stderr
    assert len(world.audit("analytics")) == rows and http.get(first.url + "/readyz").status_code == 200


def test_there_is_nothing_to_rebuild_and_nothing_to_publish(world):
    env = world.services["analytics"].env
    done = subprocess.run([BIN / "analytics", "rebuild"], env=env, capture_output=True, text=True, timeout=20)
    assert done.returncode == 2 and "every start reads its topics anew" in done.stderr
    topics = AdminClient({"bootstrap.servers": world.kafka}).list_topics(timeout=10).topics
    assert not [name for name in topics if name.startswith(world.topic("analytics."))]


@pytest.mark.full
def test_a_record_that_is_no_event_lies_in_its_own_quarantine(world):
    producer = Producer({"bootstrap.servers": world.kafka})
    producer.produce(world.topic("support.events"), key="R-1", value=b"\1nothing")
    assert producer.flush(10) == 0
    world.published += 1
    (letter,) = wait(lambda: world.get("analytics", "/api/dead-letters")["dead_letters"], 60, "it is quarantined")
    answer = http.post(f"{world.url('analytics')}/api/dead-letters/{letter['id']}/redrive")
    assert answer.status_code < 500, answer.text
    assert world.get("analytics", "/api/audit/verify")["intact"]
