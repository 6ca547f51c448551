"""What came of it, read from outside: answers, topics by an independent client, and databases opened read-only.

The observation is plain JSON, so that it can be recorded, and faults planted in it."""

import io
import json
import random
import sqlite3
import uuid
from datetime import date, datetime
from decimal import Decimal

import fastavro
from confluent_kafka import Consumer, TopicPartition

from stack import DECLARED, SERVICES, TEAMS, http
from wire import records, schema_id_of

SAMPLE = 100  # returns whose page is asked for

TABLES = {  # what is read of each service, beside the chassis's own tables
    "support": ["return_request", "history"],
    "sales": ["refund"],
    "inventory": ["stock", "replacement"],
    "manufacturing": ["site", "disassembly_order"],
    "accounting": ["ledger"],
}
COLUMNS = {"return_request": "return_id, serial_number", "history": "return_id, event_id, team"}
AUDIT = [
    "id",
    "at",
    "action",
    "outcome",
    "actor",
    "return_id",
    "event_id",
    "event_type",
    "topic",
    "partition",
    "record_offset",
    "summary",
    "trace_id",
    "hash",
]


def database(stack, service):
    path = stack.home / "data" / f"{stack.namespace}.{service}.db"
    return sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)


def plain(value):
    """As JSON keeps it. Sixteen bytes are an id."""
    if isinstance(value, bytes):
        return str(uuid.UUID(bytes=value)) if len(value) == 16 else value.hex()
    if isinstance(value, (Decimal, uuid.UUID)):
        return str(value)
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    return {k: plain(v) for k, v in value.items()} if isinstance(value, dict) else value


def rows_of(db, sql):
    cursor = db.execute(sql)
    names = [column[0] for column in cursor.description]
    return [{name: plain(cell) for name, cell in zip(names, row)} for row in cursor]


class Topics:
    """Decodes by the schema that the registry names."""

    def __init__(self, stack):
        self.stack, self.schemas = stack, {}

    def read(self, service):
        topic = self.stack.topic(f"{service}.events")
        return [self._event(record) for record in records(self.stack.kafka, topic)]

    def _event(self, record):
        schema_id = schema_id_of(record.value())
        if schema_id not in self.schemas:
            text = http.get(f"{self.stack.registry}/schemas/ids/{schema_id}").json()["schema"]
            self.schemas[schema_id] = fastavro.parse_schema(json.loads(text))
        schema, body = self.schemas[schema_id], io.BytesIO(record.value()[5:])
        event = plain(fastavro.schemaless_reader(body, schema))
        return {
            "partition": record.partition(),
            "offset": record.offset(),
            "key": record.key().decode(),
            "type": schema["name"].rsplit(".", 1)[-1],
            "data": event,
        }


def ends(stack, service):
    """{"support.events/0": the offset that the next record will get}"""
    topic = f"{service}.events"
    consumer = Consumer({"bootstrap.servers": stack.kafka, "group.id": "reader", "log_level": 0})
    try:
        return {
            f"{topic}/{p}": consumer.get_watermark_offsets(TopicPartition(stack.topic(topic), p), 10)[1]
            for p in range(6)
        }
    finally:
        consumer.close()


def offsets_of(stack, db):
    """{"support.events/0": where the service goes on}"""
    rows = db.execute("SELECT topic, partition, next_offset FROM consumer_offset")
    return {f"{topic.removeprefix(stack.namespace + '.')}/{partition}": n for topic, partition, n in rows}


def under_way(stack, service, logs):
    """What the service has not read of these logs, and not published; both from one moment."""
    db = database(stack, service)
    try:
        db.execute("BEGIN")
        (waiting,) = db.execute("SELECT COUNT(*) FROM outbox_state WHERE state <> 'sent'").fetchone()
        offsets = offsets_of(stack, db)
    finally:
        db.close()
    lag = sum(end - offsets.get(at, 0) for at, end in logs.items())
    said = stack.status(service)["waiting_for"]
    return (
        [f"{service} has {waiting} events to publish"] * (waiting > 0)
        + [f"{service} is {lag} events behind"] * (lag > 0)
        + [f"{service}: {text}" for text in said]
    )


def unquiet(stack):
    """What is still under way, in words; empty when every event was read, and every reaction published. Looks along the
    flow of events, so that none gets past between two looks."""
    left, logs = under_way(stack, "support", {}), ends(stack, "support")
    for team in TEAMS:
        left += under_way(stack, team, logs)
    for team in TEAMS:
        logs |= ends(stack, team)
    for reader in set(DECLARED) - set(SERVICES):
        lag = sum(partition["lag"] or 0 for partition in stack.status(reader)["partitions"])
        left += [f"{reader} is {lag} events behind"] * (lag > 0)
    return left + under_way(stack, "support", logs)


def pages_of(stack, accepted):
    """What support's API says of some of the returns: that all four teams have handled it."""
    chosen = random.Random(len(accepted)).sample(accepted, min(SAMPLE, len(accepted)))
    pages = []
    for request in chosen:
        answer = http.get(f"{stack.url('support')}/api/returns/{request['return_id']}")
        page = answer.json() if answer.status_code == 200 else {"status": answer.status_code, "teams": []}
        teams = sorted(team["team"] for team in page["teams"] if team["handled"] and team["team"] in TEAMS)
        pages.append({"return_id": request["return_id"], "status": page["status"], "teams": teams})
    return pages


def service_state(stack, service):
    db = database(stack, service)
    try:
        db.execute("BEGIN")
        audit = [
            [plain(cell) for cell in row] for row in db.execute(f"SELECT {', '.join(AUDIT)} FROM audit ORDER BY id")
        ]
        return {
            "audit": audit,
            "chains": {
                chain: [n, head.hex()] for chain, n, head in db.execute("SELECT chain, rows, head FROM audit_chain")
            },
            "offsets": offsets_of(stack, db),
            "outbox": rows_of(db, "SELECT id, event_id, return_id, state FROM outbox_state ORDER BY id"),
            "dead_letters": rows_of(
                db,
                "SELECT CAST(record_key AS TEXT) AS return_id, topic, partition, record_offset, reason "
                "FROM dead_letter",
            ),
            "tables": {
                table: rows_of(db, f"SELECT {COLUMNS.get(table, '*')} FROM {table}") for table in TABLES[service]
            },
            "verify": stack.get(service, "/api/audit/verify"),
        }
    finally:
        db.close()


def observe(stack, accepted, outside):
    """accepted: what was answered with an id; outside: [topic, partition, offset] of what others published."""
    topics, logs, reader = {}, {}, Topics(stack)
    for service in SERVICES:
        topics[service] = reader.read(service)
        logs |= ends(stack, service)
    return {
        "namespace": stack.namespace,
        "accepted": accepted,
        "outside": [[topic.removeprefix(stack.namespace + "."), *place] for topic, *place in outside],
        "topics": topics,
        "ends": logs,
        "pages": pages_of(stack, accepted),
        "services": {service: service_state(stack, service) for service in SERVICES},
    }
