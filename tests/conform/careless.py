"""A subscriber that reserves a loan device for each return, and takes it back when the return is cancelled.

Without a flag it does so with care: exactly once, in order, whatever goes wrong. Each flag is a mistake that people make:

  --commit-first     commits the offsets before it has handled the records, as auto-commit may
  --no-ids           does not look whether it has seen an event's id
  --forgets          knows the ids in memory only, and trusts Kafka's offset for what was before
  --own-schema       decodes by the schema that it was built with, not by the writer's
  --ends-on-poison   lets an exception end it
  --swallows-poison  passes over what it cannot read, and keeps nothing of it
  --unknown-types    takes every event for a request
  --threads          handles several events at once, of one return too
  --skips-registry   goes on without a record when the registry does not answer
  --skips-broker     goes on without its reactions when Kafka does not take them
"""

import io
import json
import os
import signal
import sqlite3
import struct
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone

import fastavro
import httpx
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

NAME, *FLAGS = sys.argv[1:]
KAFKA, REGISTRY, URL = (os.environ[f"RETURNS_{n}"] for n in ("KAFKA", "REGISTRY", "PUBLIC_URL"))
PREFIX = os.environ["RETURNS_NAMESPACE"] + "." * bool(os.environ["RETURNS_NAMESPACE"])
INPUT, EVENTS, LETTERS = (PREFIX + t for t in ("support.events", f"{NAME}.events", f"{NAME}.dead-letters"))
UNKNOWN_ID_SECONDS = int(os.environ.get("RETURNS_UNKNOWN_ID_MS", 10_000)) / 1000
TYPES = {"returns.support.RefundRequest": "LoanReserved", "returns.support.RefundCancelled": "LoanWithdrawn"}
TEXT = {"type": "string"}
MOMENT = {"type": "long", "logicalType": "timestamp-millis"}
OWN = {name: fastavro.parse_schema({"type": "record", "namespace": "returns." + NAME.replace("-", "_"), "name": name, "fields": [
    {"name": n, "type": t} for n, t in (("event_id", TEXT), ("return_id", TEXT), ("version", "long"),
                                        ("occurred_at", MOMENT), ("caused_by", ["null", "string"]))]}) for name in TYPES.values()}
BUILT_WITH = fastavro.schema.load_schema(os.path.join(os.path.dirname(__file__), "../../schemas/support/RefundRequest.avsc"))

has = lambda flag: f"--{flag}" in FLAGS  # noqa: E731
http = httpx.Client(trust_env=False, timeout=3)
schemas, ids, remembered, running = {}, {}, set(), True


class Unreadable(Exception):
    """It will never be an event."""


def until_answered(ask, skips=False):
    """The registry or Kafka is away: wait for it, skip nothing."""
    while True:
        try:
            answer = ask()
            if answer.status_code < 500:
                return answer
        except httpx.HTTPError:
            pass
        if skips:
            raise SkipIt
        time.sleep(0.2)


class SkipIt(Exception):
    pass


def writers_schema(schema_id):
    """One just registered, or known to a registry that was just started, may come late; so 404 is asked again, not for ever."""
    asks = UNKNOWN_ID_SECONDS / 0.2  # only answers count: while the registry is away, nothing is known
    while schema_id not in schemas:
        answer = until_answered(lambda: http.get(f"{REGISTRY}/schemas/ids/{schema_id}"), has("skips-registry"))
        if answer.status_code == 200:
            schemas[schema_id] = fastavro.parse_schema(json.loads(answer.json()["schema"]))
            break
        asks -= 1
        if asks < 0:
            raise Unreadable(f"the registry does not know the schema id {schema_id}")
        time.sleep(0.2)
    return schemas[schema_id]


def decode(value):
    """(full name of its type, fields)"""
    if value is None or len(value) < 5 or value[0]:
        raise Unreadable("it does not begin with 0 and a schema id")
    schema, body = writers_schema(struct.unpack(">I", value[1:5])[0]), io.BytesIO(value[5:])
    name = schema["name"]
    if has("own-schema") and name == BUILT_WITH["name"]:
        schema = BUILT_WITH
    try:
        event = fastavro.schemaless_reader(body, schema)
        uuid.UUID(str(event["event_id"])), event["return_id"], event["version"]
    except Exception as e:  # whatever is wrong with the bytes
        raise Unreadable(repr(e)) from e
    return name, event


# --- Its state: what it has to say, once for each event. Said is what Kafka has taken.

def open_state():
    os.makedirs(os.environ["RETURNS_DATA_DIR"], exist_ok=True)
    db = sqlite3.connect(os.environ["RETURNS_DATA_DIR"] + "/loans.db", timeout=60, check_same_thread=False, isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = NORMAL")  # what a power failure takes was said, and comes again if it was not
    db.execute("CREATE TABLE IF NOT EXISTS outbox (id INTEGER PRIMARY KEY, cause TEXT UNIQUE, topic TEXT, key BLOB, value BLOB, "
               "headers TEXT, said INTEGER DEFAULT 0)")
    return db


def put(db, cause, topic, key, value, headers):
    if has("no-ids") or has("forgets"):
        cause = str(uuid.uuid4())
    db.execute("INSERT INTO outbox (cause, topic, key, value, headers) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
               (cause, topic, key, value, json.dumps(headers)))


def react(db, record, type_, event):
    own, now = OWN[TYPES.get(type_, "LoanReserved")], datetime.now(timezone.utc)
    if has("forgets") and event["event_id"] in remembered:
        return
    remembered.add(event["event_id"])
    body, event_id = io.BytesIO(), str(uuid.uuid4())
    fastavro.schemaless_writer(body, own, {
        "event_id": event_id, "return_id": event["return_id"], "version": event["version"], "occurred_at": now,
        "caused_by": str(event["event_id"])})
    trace = dict(record.headers() or []).get("traceparent", b"").decode()
    put(db, str(event["event_id"]), EVENTS, event["return_id"].encode(), struct.pack(">bI", 0, ids[own["name"]]) + body.getvalue(), {
        "ce_specversion": "1.0", "ce_id": event_id, "ce_type": own["name"], "ce_source": URL,
        "ce_time": now.isoformat().replace("+00:00", "Z"), "content-type": "application/avro", "traceparent": trace})


def handle(db, record):
    try:
        type_, event = decode(record.value())
        if not has("threads"):
            time.sleep(0.01 if has("skips-broker") else 0.002)  # its work
        elif TYPES.get(type_) == "LoanReserved":
            time.sleep(0.5)  # to find a device takes longer than to take it back
        if type_ in TYPES or has("unknown-types"):
            react(db, record, type_, event)
    except SkipIt:
        pass
    except Unreadable as why:
        if has("ends-on-poison"):
            raise
        if not has("swallows-poison"):
            place = f"{record.topic()}/{record.partition()}/{record.offset()}"
            put(db, place, LETTERS, record.key(), record.value(), {"dead-letter.reason": str(why), "dead-letter.place": place})


def say(db, producer):
    """What Kafka has not taken yet, in the order in which it was decided; returns once Kafka has all of it."""
    def taken(error, number):
        if not error or has("skips-broker"):
            db.execute("UPDATE outbox SET said = 1 WHERE id = ?", (number,))

    for number, topic, key, value, headers in db.execute(
            "SELECT id, topic, key, value, headers FROM outbox WHERE NOT said ORDER BY id").fetchall():
        producer.produce(topic, value, key, headers=list(json.loads(headers).items()),
                         on_delivery=lambda error, _, number=number: taken(error, number))
    while producer.flush(1):
        pass


# --- Kafka

def register():
    for own in OWN.values():
        subject = f"{EVENTS}-{own['name']}"
        text = json.dumps({k: v for k, v in own.items() if not k.startswith("__")})
        versions = f"{REGISTRY}/subjects/{subject}/versions"
        ids[own["name"]] = until_answered(lambda: http.post(versions, json={"schema": text})).json()["id"]
        until_answered(lambda: http.put(f"{REGISTRY}/config/{subject}", json={"compatibility": "FULL_TRANSITIVE"}))


def make_topics():
    admin = AdminClient({"bootstrap.servers": KAFKA})
    for future in admin.create_topics([NewTopic(t, 6, 1, config={"retention.ms": "-1"}) for t in (EVENTS, LETTERS)]).values():
        try:
            future.result(60)
        except KafkaException as e:
            if e.args[0].name() != "TOPIC_ALREADY_EXISTS":
                raise


def commit(consumer, records, wait):
    """With its address, so that others know where it is."""
    last = {record.partition(): record.offset() + 1 for record in records}
    try:
        consumer.commit(offsets=[TopicPartition(INPUT, p, o, URL) for p, o in last.items()], asynchronous=not wait)
    except KafkaException:
        pass  # they come again, and are known


def join():
    consumer = Consumer({"bootstrap.servers": KAFKA, "group.id": PREFIX + NAME, "session.timeout.ms": 6000,
                         "group.instance.id": f"{NAME}-{os.environ['RETURNS_PORT']}", "log_level": 0,
                         "enable.auto.commit": False, "auto.offset.reset": "earliest"})
    consumer.subscribe([INPUT])
    return consumer


def main():
    global running
    signal.signal(signal.SIGTERM, lambda *_: globals().update(running=False))
    make_topics()
    register()
    db, pool = open_state(), ThreadPoolExecutor(200)
    producer = Producer({"bootstrap.servers": KAFKA, "enable.idempotence": True, "log_level": 0, "linger.ms": 5,
                         "message.timeout.ms": 2000 if has("skips-broker") else 0, "message.max.bytes": 2_000_000})
    consumer = join()
    while running:
        got = consumer.consume(500, 1) if has("threads") or has("commit-first") else consumer.consume(50, 0.1)
        if got and has("threads"):
            got += consumer.consume(500, 1)
        records = [record for record in got if not record.error()]
        if len(records) < len(got) and not (records and has("skips-broker")):
            # It may be that Kafka was restarted and leads anew; librdkafka was seen to go on asking by what was before.
            consumer.close()
            consumer = join()
            continue
        if not records:
            continue
        if has("commit-first"):
            commit(consumer, records, wait=True)
            time.sleep(1)  # as what is committed by the clock is: some time before
        if has("threads"):
            list(pool.map(lambda r: handle(db, r), records))
        else:
            for record in records:
                handle(db, record)
        say(db, producer)
        if not has("commit-first"):
            commit(consumer, records, wait=False)
    consumer.close()


main()
