"""The events of the bench: made as support would, and read again by an independent client, to know what must be stored."""

import contextlib
import hashlib
import io
import json
import random
import struct
import time
from datetime import datetime, timezone

import fastavro
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from stack import ROOT, http

PARTITIONS = 6
SCHEMA = ROOT / "schemas/support/RefundRequest.avsc"
ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
MODELS = ["Aurora 14 laptop", "Borealis 27 monitor", "Comet router", "Dune headset", "Ember tablet"]
LOCATIONS = ["Berlin", "Lyon", "Warsaw", "København", "Αθήνα"]
REASONS = ["DEFECTIVE", "DAMAGED_IN_TRANSIT", "WRONG_ITEM", "NOT_AS_DESCRIBED", "OTHER"]
CLEAN_SECONDS = 90
BEGIN_MS = 1_780_000_000_000


def plain(schema):
    """Without logical types, however deep: whole numbers and bytes are faster than moments and decimals."""
    if isinstance(schema, list):
        return [plain(one) for one in schema]
    return {k: plain(v) for k, v in schema.items() if k != "logicalType"} if isinstance(schema, dict) else schema


def uuid_text(n):
    s = f"{n:032x}"
    return f"{s[:8]}-{s[8:12]}-{s[12:16]}-{s[16:20]}-{s[20:]}"


def event_id(chance, n, by_time):
    """UUIDv7 as support makes it, a thousand in a second; else UUIDv4."""
    low = 2 << 62 | chance.getrandbits(62)
    high = (BEGIN_MS + n) << 16 | 7 << 12 | chance.getrandbits(11) if by_time else chance.getrandbits(64) & ~0xF000 | 4 << 12
    return uuid_text(high << 64 | low)


def return_id(chance, n, by_time):
    number = (BEGIN_MS + n) << 23 | chance.getrandbits(23) if by_time else chance.getrandbits(65)
    return "R-" + "".join(ALPHABET[number >> 5 * (12 - i) & 31] for i in range(13))


def requests(n, by_time, seed=7):
    """(event, when) of each; the same for the same seed."""
    chance = random.Random(seed)
    for i in range(n):
        cents = chance.randrange(100, 300_000)
        yield {
            "event_id": event_id(chance, i, by_time), "return_id": return_id(chance, i, by_time), "version": 1,
            "occurred_at": BEGIN_MS + i, "caused_by": None, "order_id": f"ORD-BENCH-{i}", "model": MODELS[i % 5],
            "shipment_id": f"SHP-BENCH-{i}", "serial_number": f"SN-BENCH-{i}", "location": LOCATIONS[i // 5 % 5],
            "cost": {"amount": cents.to_bytes(3, "big"), "currency": "EUR"}, "reason_code": REASONS[i // 7 % 5], "channel": "api",
        }


def publish(kafka, registry, topic, n, by_time):
    """n requests into a topic that is made for them, with the headers that support's records have."""
    admin = AdminClient({"bootstrap.servers": kafka})
    admin.create_topics([NewTopic(topic, PARTITIONS, 1, config={"retention.ms": "-1"})])[topic].result(30)
    schema = json.loads(SCHEMA.read_text())
    kind = f"{schema['namespace']}.{schema['name']}"
    answer = http.post(f"{registry}/subjects/{topic}-{kind}/versions", json={"schema": SCHEMA.read_text()}, timeout=60)
    answer.raise_for_status()
    http.put(f"{registry}/config/{topic}-{kind}", json={"compatibility": "FULL_TRANSITIVE"}, timeout=60)
    start, parsed = struct.pack(">bI", 0, answer.json()["id"]), fastavro.parse_schema(plain(schema))
    producer = Producer({"bootstrap.servers": kafka, "enable.idempotence": True, "linger.ms": 20, "log_level": 0,
                         "partitioner": "consistent_random"})
    fixed = [("ce_specversion", b"1.0"), ("ce_type", kind.encode()), ("ce_source", b"/support"), ("content-type", b"application/avro")]
    for event in requests(n, by_time):
        body = io.BytesIO()
        body.write(start)
        fastavro.schemaless_writer(body, parsed, event)
        seconds = datetime.fromtimestamp(event["occurred_at"] // 1000, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        trace = event["event_id"].replace("-", "")
        headers = [*fixed, ("ce_id", event["event_id"].encode()), ("ce_time", seconds.encode()),
                   ("traceparent", f"00-{trace}-{trace[:16]}-01".encode())]
        while True:
            try:
                producer.produce(topic, body.getvalue(), event["return_id"].encode(), headers=headers)
                break
            except BufferError:
                producer.poll(0.1)
        producer.poll(0)
    if producer.flush(240):
        raise RuntimeError(f"Kafka did not take the records of {topic} within 240 s")


def read(kafka, topics):
    """Every record that is there."""
    consumer = Consumer({"bootstrap.servers": kafka, "group.id": "bench-reader", "enable.auto.commit": False, "enable.partition.eof": True})
    try:
        consumer.assign([TopicPartition(topic, p, 0) for topic in topics for p in range(PARTITIONS)])
        left = PARTITIONS * len(topics)
        while left:
            for message in consumer.consume(5000, 1):
                if not message.error():
                    yield message
                elif message.error().code() == KafkaError._PARTITION_EOF:
                    left -= 1
                else:
                    raise RuntimeError(message.error())
    finally:
        consumer.close()


class Digest:
    """Of rows, in whatever order they come."""

    def __init__(self):
        self.rows = self.sum = 0

    def add(self, *fields):
        self.rows += 1
        self.sum = (self.sum + int.from_bytes(hashlib.sha256("\n".join(map(str, fields)).encode()).digest()[:8], "big")) % 2**64

    def __eq__(self, other):
        return (self.rows, self.sum) == (other.rows, other.sum)

    def __str__(self):
        return f"{self.rows} rows, {self.sum:016x}"


def place(topic, namespace, partition, offset, event, returned, kind):
    return topic.removeprefix(f"{namespace}."), partition, offset, event, returned, kind


def expected(kafka, namespace, topics):
    """(digest of where each event is, digest with its contents too), of what a subscriber must have stored."""
    places, contents = Digest(), Digest()
    parsed = fastavro.parse_schema(plain(json.loads(SCHEMA.read_text())))
    for m in read(kafka, topics):
        headers = dict(m.headers())
        kind = headers["ce_type"].decode()
        fields = place(m.topic(), namespace, m.partition(), m.offset(), headers["ce_id"].decode(), m.key().decode(), kind)
        places.add(*fields)
        if kind.endswith(".RefundRequest"):
            e = fastavro.schemaless_reader(io.BytesIO(m.value()[5:]), parsed, None)
            cents, cost = int.from_bytes(e["cost"]["amount"], "big", signed=True), e["cost"]
            contents.add(*fields, e["occurred_at"], f"{e['order_id']} {e['shipment_id']} {e['model']} {e['serial_number']} {e['location']} "
                         f"{cents // 100}.{cents % 100:02} {cost['currency']} {e['reason_code']} {e['channel']}")
    return places, contents


def clean(kafka, namespace, keep):
    """Away with the topics and groups of a run, but those that are kept; else the next one would not begin anew."""
    admin = AdminClient({"bootstrap.servers": kafka})
    mine = lambda name: name.startswith(f"{namespace}.") and name not in keep  # noqa: E731
    end = time.monotonic() + CLEAN_SECONDS
    while True:
        groups = [g.group_id for g in admin.list_consumer_groups().result(30).valid if mine(g.group_id)]
        topics = [t for t in admin.list_topics(timeout=30).topics if mine(t)]
        if not groups and not topics:
            return
        if time.monotonic() > end:
            raise RuntimeError(f"Kafka still has {', '.join(groups + topics)} after {CLEAN_SECONDS} s")
        asked = [*(admin.delete_consumer_groups(groups).values() if groups else ()), *(admin.delete_topics(topics).values() if topics else ())]
        for future in asked:
            with contextlib.suppress(KafkaException):  # a member was killed: until its session is over; or already gone
                future.result(30)
        time.sleep(0.2)


def ends(kafka, topic):
    """How many records the topic has; 0 where there is none, or while it is being made."""
    consumer = Consumer({"bootstrap.servers": kafka, "group.id": "bench-reader", "log_level": 0})
    try:
        partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
        return sum(consumer.get_watermark_offsets(TopicPartition(topic, p), timeout=10)[1] for p in partitions)
    except KafkaException:
        return 0
    finally:
        consumer.close()
