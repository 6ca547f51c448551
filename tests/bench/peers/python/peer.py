"""confluent-kafka consume(), fastavro by the writer's schema, sqlite3.

Tuned: at most 1000 records a transaction, executemany, logical types taken off the schema (no datetime, no Decimal), gc frozen."""

import gc
import hashlib
import io
import json
import os
import signal
import sqlite3
import struct
import sys
import urllib.request
from pathlib import Path

import fastavro
from confluent_kafka import OFFSET_BEGINNING, Consumer

env = os.environ
topic = env["TOPIC"]
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
db = sqlite3.connect(env["DB"], isolation_level=None)
db.executescript(Path(env["TABLES"]).read_text())
last, head = db.execute("SELECT id, hash FROM audit ORDER BY id DESC LIMIT 1").fetchone() or (0, bytes(32))
schemas = {}


def plain(schema):
    """Without logical types, however deep."""
    if isinstance(schema, list):
        return [plain(one) for one in schema]
    return {k: plain(v) for k, v in schema.items() if k != "logicalType"} if isinstance(schema, dict) else schema


def schema_of(number):
    if number not in schemas:
        with urllib.request.urlopen(f"{env['REGISTRY']}/schemas/ids/{number}") as answer:
            schema = json.loads(json.load(answer)["schema"])
        schemas[number] = f"{schema['namespace']}.{schema['name']}", fastavro.parse_schema(plain(schema))
    return schemas[number]


def money(amount):
    cents = int.from_bytes(amount, "big", signed=True)
    return f"{'-' if cents < 0 else ''}{abs(cents) // 100}.{abs(cents) % 100:02}"


def store(messages):
    global last, head
    rows, offsets, n, chain = [], {}, last, head
    for m in messages:
        if m.error():
            raise RuntimeError(m.error())
        value, partition, offset = m.value(), m.partition(), m.offset()
        name, schema = schema_of(struct.unpack_from(">xI", value)[0])
        e = fastavro.schemaless_reader(io.BytesIO(value[5:]), schema, None)
        text = (f"{e['order_id']} {e['shipment_id']} {e['model']} {e['serial_number']} {e['location']} {money(e['cost']['amount'])} "
                f"{e['cost']['currency']} {e['reason_code']} {e['channel']}")
        n += 1
        row = f"{n}\n{e['return_id']}\n{e['event_id']}\n{name}\n{topic}\n{partition}\n{offset}\n{e['occurred_at']}\n{text}"
        chain = hashlib.sha256(chain + row.encode()).digest()
        rows.append((n, e["return_id"], e["event_id"], name, topic, partition, offset, e["occurred_at"], text, chain))
        offsets[partition] = offset + 1
    db.execute("BEGIN IMMEDIATE")
    db.executemany("INSERT INTO audit VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
    db.executemany("INSERT INTO offsets VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET next = excluded.next", [(topic, *o) for o in offsets.items()])
    db.execute("COMMIT")
    last, head = n, chain


def assigned(consumer, partitions):
    for p in partitions:
        kept = db.execute("SELECT next FROM offsets WHERE topic = ? AND partition = ?", (p.topic, p.partition)).fetchone()
        p.offset = kept[0] if kept else OFFSET_BEGINNING
    consumer.assign(partitions)


consumer = Consumer({"bootstrap.servers": env["BROKERS"], "group.id": env["GROUP"], "auto.offset.reset": "earliest",
                     "enable.auto.commit": False, "fetch.wait.max.ms": 10})
consumer.subscribe([topic], on_assign=assigned)
gc.freeze()
while True:
    if taken := consumer.consume(1000, 0.01):
        store(taken)
