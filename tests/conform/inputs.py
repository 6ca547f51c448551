"""What the kit publishes, as support would, and remembers: which event is where, and for which check."""

import io
import json
import struct
import uuid
from dataclasses import dataclass, field
from datetime import datetime, timezone

import fastavro
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from stack import ROOT, http
from wire import refund_request

MODEL = "Conformance piece"  # nobody has it in stock, so every team answers each request in one way
UNKNOWN_ID = 900_000_001  # no registry gets so far


@dataclass
class Event:
    check: str
    kind: str  # request, cancel, stranger, poison
    event_id: str
    return_id: str
    key: bytes | None
    value: bytes | None
    data: dict
    headers: list = field(default_factory=list)
    places: list = field(default_factory=list)  # (partition, offset) of each record of it

    def __str__(self):
        at = ", ".join(f"{p}@{o}" for p, o in self.places) or "not published"
        return f"{self.kind} {self.event_id} of return {self.return_id} at {at}"


def avsc(name):
    return json.loads((ROOT / f"schemas/support/{name}.avsc").read_text())


def next_version():
    """A version that is compatible in both directions: a field added in the middle, one dropped, a symbol added."""
    schema = avsc("RefundRequest")
    dropped = [f for f in schema["fields"] if f["type"] == "string" and "default" in f][-1]
    schema["fields"].remove(dropped)
    schema["fields"].insert(2, {"name": "urgency", "type": "string", "default": "usual"})
    enum = next(f["type"] for f in schema["fields"] if isinstance(f["type"], dict) and f["type"]["type"] == "enum")
    enum["symbols"].append("RECALLED")
    return schema


def stranger_schema():
    common = [f for f in avsc("RefundCancelled")["fields"] if f["name"] != "by"]
    return {"type": "record", "name": "ReturnAnnotated", "namespace": "returns.support",
            "fields": [*common, {"name": "remark", "type": "string"}]}


class Inputs:
    """Publishes into support's topic. One thread."""

    def __init__(self, kafka, registry, topic):
        self.registry, self.topic, self.events, self.ends = registry, topic, [], {}
        self.known, self.records = set(), 0
        self.producer = Producer({"bootstrap.servers": kafka, "enable.idempotence": True, "linger.ms": 5, "log_level": 0})
        self.schemas = {}
        admin = AdminClient({"bootstrap.servers": kafka})
        admin.create_topics([NewTopic(topic, 6, 1, config={"retention.ms": "-1"})])[topic].result(30)
        self.register("request", (ROOT / "schemas/support/RefundRequest.avsc").read_text())
        self.register("cancel", (ROOT / "schemas/support/RefundCancelled.avsc").read_text())
        self.register("request: next", json.dumps(next_version()))
        self.register("request: unseen", json.dumps(avsc("RefundRequest") | {"doc": "Nobody has asked for this one yet."}))
        self.register("stranger", json.dumps(stranger_schema()))

    def register(self, name, text):
        schema = json.loads(text)
        subject = f"{self.topic}-{schema['namespace']}.{schema['name']}"
        answer = http.post(f"{self.registry}/subjects/{subject}/versions", json={"schema": text}, timeout=60)
        if answer.status_code != 200:
            raise RuntimeError(f"the registry refused {subject}, {name}: {answer.text[:500]}")
        http.put(f"{self.registry}/config/{subject}", json={"compatibility": "FULL_TRANSITIVE"}, timeout=60)
        self.schemas[name] = answer.json()["id"], fastavro.parse_schema(schema), schema

    def make(self, check, kind, data, schema):
        schema_id, parsed, text = self.schemas[schema]
        body = io.BytesIO()
        fastavro.schemaless_writer(body, parsed, data)
        value = struct.pack(">bI", 0, schema_id) + body.getvalue()
        headers = {
            "ce_specversion": "1.0", "ce_id": data["event_id"], "ce_type": f"{text['namespace']}.{text['name']}",
            "ce_source": "/support", "ce_time": data["occurred_at"].strftime("%Y-%m-%dT%H:%M:%SZ"),
            "content-type": "application/avro", "traceparent": f"00-{uuid.uuid4().hex}-{uuid.uuid4().hex[:16]}-01",
        }
        return Event(check, kind, data["event_id"], data["return_id"], data["return_id"].encode(), value, data,
                     [(name, text.encode()) for name, text in headers.items()])

    def request(self, check, schema="request", **changed):
        return self.make(check, "request", refund_request(f"R-{uuid.uuid4().hex[:12].upper()}", model=MODEL, **changed), schema)

    def requests(self, check, n, schema="request", **changed):
        return [self.request(check, schema, **changed) for _ in range(n)]

    def about(self, request, kind, **fields):
        """A later event of the same return."""
        data = {"event_id": str(uuid.uuid4()), "return_id": request.return_id, "version": request.data["version"] + 1,
                "occurred_at": datetime.now(timezone.utc).replace(microsecond=0), "caused_by": None}
        return self.make(request.check, kind, data | fields, kind)

    def poison(self, name, value, key=True):
        """Bytes that nobody can read."""
        return_id = f"R-BAD-{name.replace(' ', '-')}"
        return Event("poison", "poison", name, return_id, return_id.encode() if key else None, value, {})

    def publish(self, events, partition=None):
        """In this order. They are there, and have their places, once flush() is back."""
        for event in events:
            if id(event) not in self.known:
                self.known.add(id(event))
                self.events.append(event)
            self.produce(event, partition)

    def produce(self, event, partition):
        def placed(error, message):
            if error:
                raise RuntimeError(f"could not publish: {error}")
            event.places.append((message.partition(), message.offset()))
            self.ends[message.partition()] = max(self.ends.get(message.partition(), 0), message.offset() + 1)
            self.records += 1

        where = {} if partition is None else {"partition": partition}
        self.producer.produce(self.topic, event.value, event.key, headers=event.headers, on_delivery=placed, **where)
        self.producer.poll(0)

    def flush(self):
        if self.producer.flush(240):
            raise RuntimeError("Kafka did not take what the kit publishes within 240 s")

    def of(self, check, kind="request"):
        return [e for e in self.events if e.check == check and e.kind == kind]
