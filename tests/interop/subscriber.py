"""A subscriber in Python: what is the same in each; what one of them does is in warranty.py.

What it writes and how far it has read are one transaction of Kafka's. Whatever fails, it begins again at what was
committed. One event may be in the topic twice; so an answer's id is made of its cause's, and sought in its own topic.
"""
import datetime
import functools
import io
import json
import os
import signal
import socket
import sys
import time
import uuid

import fastavro
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec
from confluent_kafka.schema_registry import ConfigCompatibilityLevel, Schema, SchemaRegistryClient, ServerConfig
from confluent_kafka.schema_registry.error import SchemaRegistryError

env = {f"RETURNS_{name}": "" for name in ("NAMESPACE", "PUBLIC_URL", "PORT")} | os.environ
SCOPE = env["RETURNS_NAMESPACE"] and env["RETURNS_NAMESPACE"] + "."
# A broker that was restarted leads anew; who does not look soon is refused by it as one of before.
KAFKA = {"bootstrap.servers": env.get("RETURNS_KAFKA", "127.0.0.1:9092"), "topic.metadata.refresh.interval.ms": 1000}
UNKNOWN_ID_SECONDS = int(env.get("RETURNS_UNKNOWN_ID_MS", 10000)) / 1000
registry = SchemaRegistryClient({"url": env.get("RETURNS_REGISTRY", "http://127.0.0.1:8081/apis/ccompat/v7")})


@functools.cache
def parsed(text):
    return fastavro.parse_schema(json.loads(text))


def schema_of(schema_id):
    """A registry that was just started may not know yet what it knew; so it is asked again, for a while."""
    end = time.monotonic() + UNKNOWN_ID_SECONDS
    while True:
        try:
            return registry.get_schema(schema_id).schema_str
        except SchemaRegistryError as e:
            if e.http_status_code != 404 or time.monotonic() > end:
                raise
        time.sleep(0.2)


class Subscriber:
    def __init__(self, name, schema, answers):
        """answers: (type of an event, what to say of it: a function from its fields to those of our own event)."""
        self.name, self.schema, self.answers = name, schema, answers
        self.type = f"{schema['namespace']}.{schema['name']}"
        self.group, self.source = SCOPE + name, SCOPE + "support.events"
        self.events, self.letters = self.group + ".events", self.group + ".dead-letters"
        self.instance = f"{self.group}@{socket.gethostname()}:{env['RETURNS_PORT'] or os.getpid()}"
        self.reader = KAFKA | {"group.id": self.group, "enable.auto.commit": False, "auto.offset.reset": "earliest"}
        self.given, self.admin = set(), None

    def prepare(self):
        topics = [NewTopic(topic, 6, config={"retention.ms": "-1"}) for topic in (self.events, self.letters)]
        for made in self.admin.create_topics(topics).values():
            if made.exception() and made.exception().args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise made.exception()
        subject = f"{self.events}-{self.type}"
        registry.set_config(subject, ServerConfig(compatibility=ConfigCompatibilityLevel.FULL_TRANSITIVE))
        self.schema_id = registry.register_schema(subject, Schema(json.dumps(self.schema), "AVRO"))

    def look_back(self, _, assigned):
        """Which answers the partitions hold that became ours; those that a predecessor just commits are waited for."""
        places = {TopicPartition(self.events, p.partition): OffsetSpec.latest() for p in assigned}
        asked = self.admin.list_offsets(places) if places else {}
        ends = {place.partition: future.result().offset for place, future in asked.items()}
        reader = Consumer(self.reader | {"enable.partition.eof": True, "fetch.wait.max.ms": 50})
        reader.assign([TopicPartition(self.events, partition, 0) for partition in ends])
        self.given.clear()
        while ends:
            m = reader.poll(1)
            if m is None:  # not "if m": a record without a value has the length 0
                continue
            if not m.error():
                self.given.add(dict(m.headers())["ce_id"].decode())
            elif m.error().code() != KafkaError._PARTITION_EOF:
                raise KafkaException(m.error())
            elif m.offset() >= ends.get(m.partition(), 0):
                ends.pop(m.partition(), None)
        reader.close()

    def react(self, m):
        """What is to be sent, as produce() takes it; {}: nothing. A ValueError is the record's fault."""
        if not m.value() or len(m.value()) < 5 or m.value()[0]:
            raise ValueError("does not begin with 0 and the id of a schema")
        text = schema_of(int.from_bytes(m.value()[1:5], "big"))
        body, out = io.BytesIO(m.value()[5:]), io.BytesIO()
        now = datetime.datetime.now(datetime.timezone.utc)
        try:
            writer = parsed(text)
            event = fastavro.schemaless_reader(body, writer)
            if body.read(1):
                raise ValueError("bytes are left over")
            if writer["name"] not in self.answers:
                return {}
            cause = str(event["event_id"])
            own = {"event_id": str(uuid.uuid5(uuid.UUID(cause), self.type)), "caused_by": cause, "occurred_at": now}
            own |= {k: event[k] for k in ("return_id", "version")} | self.answers[writer["name"]](event)
            fastavro.schemaless_writer(out, fastavro.parse_schema(self.schema), own)
        except Exception as e:
            raise ValueError(f"is not what its schema says, or lacks what is needed: {e!r}") from e
        if own["event_id"] in self.given:
            return {}
        self.given.add(own["event_id"])
        headers = {"ce_specversion": "1.0", "ce_id": own["event_id"], "ce_type": self.type,
                   "ce_source": env["RETURNS_PUBLIC_URL"] or f"/{self.name}",
                   "ce_time": now.strftime("%FT%T.%f")[:23] + "Z", "content-type": "application/avro"}
        headers |= {name: value for name, value in m.headers() or [] if name == "traceparent"}
        return {"topic": self.events, "partition": m.partition(), "key": own["return_id"], "headers": headers,
                "value": b"\0" + self.schema_id.to_bytes(4, "big") + out.getvalue()}

    def answer(self, m):
        try:
            return self.react(m)
        except ValueError as e:
            reason = f"it {e}"
        except SchemaRegistryError as e:
            if e.http_status_code != 404:
                raise  # it is the registry's fault, not the record's
            reason = f"the registry does not know its schema: {e}"
        why = {"reason": reason, "service": self.name, "topic": m.topic(), "partition": m.partition(),
               "offset": m.offset()}
        headers = (m.headers() or []) + [(f"dead-letter.{name}", str(value)) for name, value in why.items()]
        return {"topic": self.letters, "key": m.key(), "value": m.value(), "headers": headers}

    def step(self, consumer, producer):
        batch, m = [], consumer.poll(1)
        while m is not None:
            if m.error():
                raise KafkaException(m.error())
            batch.append(m)
            m = consumer.poll(0) if len(batch) < 500 else None
        if not batch:
            return
        records, ends = [self.answer(m) for m in batch], {m.partition(): m.offset() + 1 for m in batch}
        offsets = [TopicPartition(self.source, p, end, env["RETURNS_PUBLIC_URL"]) for p, end in ends.items()]
        producer.begin_transaction()
        for record in filter(None, records):
            producer.produce(**record)
        producer.send_offsets_to_transaction(offsets, consumer.consumer_group_metadata())
        producer.commit_transaction()

    def run(self):
        """Never returns."""
        signal.signal(signal.SIGTERM, lambda *_: sys.exit())
        while True:
            consumer = None
            try:
                self.admin = AdminClient(KAFKA)
                self.prepare()
                producer = Producer(KAFKA | {"transactional.id": self.instance, "transaction.timeout.ms": 10000})
                producer.init_transactions()  # ends what a killed predecessor of this name had begun
                consumer = Consumer(self.reader | {"group.instance.id": self.instance, "session.timeout.ms": 6000})
                consumer.subscribe([self.source], on_assign=self.look_back)
                while True:
                    self.step(consumer, producer)
            except Exception as e:
                print(f"{self.name}: begins again at what was committed: {e!r}", file=sys.stderr, flush=True)
                time.sleep(1)
            finally:
                if consumer:
                    consumer.close()
