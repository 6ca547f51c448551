"""What can be seen of a subscriber from outside: its topics, its group's offsets, its audit log. No more is believed."""

import io
import json
import struct
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import fastavro
import httpx
from confluent_kafka import Consumer, KafkaException, TopicPartition

from stack import http


@dataclass
class Reaction:
    place: tuple  # (partition, offset)
    type: str
    data: dict
    headers: dict


class Watch:
    """poll() and offsets() from one thread."""

    def __init__(self, kafka, registry, topic, subscribers):
        self.registry, self.topic, self.subscribers = registry, topic, subscribers
        self.consumer = Consumer({"bootstrap.servers": kafka, "group.id": "conform", "enable.auto.commit": False,
                                  "auto.offset.reset": "earliest", "log_level": 0})
        # They ask for offsets, and never become members.
        self.groups = {s.name: Consumer({"bootstrap.servers": kafka, "group.id": s.group, "enable.auto.commit": False,
                                         "log_level": 0}) for s in subscribers}
        self.pool = ThreadPoolExecutor(len(subscribers))
        self.topics = {s.events: s for s in subscribers} | {s.dead_letters: s for s in subscribers}
        self.topics.pop(topic, None)  # what the kit writes there is none of support's doing
        self.known, self.next, self.schemas, self.waiting = set(), {}, {}, []
        self.reactions = {s.name: defaultdict(list) for s in subscribers}  # by caused_by
        self.letters = {s.name: [] for s in subscribers}  # records
        self.unreadable = {s.name: [] for s in subscribers}
        self.seen = {s.name: 0 for s in subscribers}
        self.committed = {s.name: {} for s in subscribers}

    def close(self):
        for consumer in (self.consumer, *self.groups.values()):
            consumer.close()

    # --- Topics

    def find_topics(self):
        """Takes up those that a subscriber has made since."""
        if self.known == set(self.topics):
            return
        try:
            there = set(self.consumer.list_topics(timeout=2).topics) & set(self.topics)
        except KafkaException:
            return
        if there > self.known:
            self.known = there
            self.consumer.assign([TopicPartition(t, p, self.next.get((t, p), 0)) for t in there for p in range(6)])

    def poll(self):
        """Reads what is there by now, for a second at most, as there may always be more."""
        self.find_topics()
        end = time.monotonic() + 1
        while self.known and time.monotonic() < end:
            records = self.consumer.consume(1000, 0.05)
            for record in records:
                if not record.error():
                    self.next[record.topic(), record.partition()] = record.offset() + 1
                    self.waiting.append(record)
            if not records:
                break
        self.waiting = [record for record in self.waiting if not self.take(record)]

    def take(self, record):
        """False: its schema cannot be had yet."""
        s = self.topics[record.topic()]
        if record.topic() == s.dead_letters:
            self.letters[s.name].append(record)
            return True
        try:
            schema, body = self.schema(record.value()), io.BytesIO(record.value()[5:])
            data = fastavro.schemaless_reader(body, schema)
        except httpx.TransportError:
            return False
        except Exception as e:  # whatever it wrote, it is no event
            self.unreadable[s.name].append(f"{record.partition()}@{record.offset()}: {e!r}"[:200])
            return True
        headers = {name: (value or b"").decode(errors="replace") for name, value in record.headers() or []}
        self.reactions[s.name][data.get("caused_by")].append(
            Reaction((record.partition(), record.offset()), schema["name"], data, headers))
        self.seen[s.name] += 1
        return True

    def schema(self, value):
        magic, schema_id = struct.unpack(">bI", value[:5])
        if magic:
            raise ValueError(f"begins with {magic}, not with 0")
        if schema_id not in self.schemas:
            answer = http.get(f"{self.registry}/schemas/ids/{schema_id}")
            if answer.status_code >= 500:
                raise httpx.ReadError("the registry is starting")
            answer.raise_for_status()
            self.schemas[schema_id] = fastavro.parse_schema(json.loads(answer.json()["schema"]))
        return self.schemas[schema_id]

    # --- Offsets

    def offsets(self):
        """Of each group in the input topic, as far as Kafka tells; else as they were."""
        list(self.pool.map(self.ask, self.groups))
        return self.committed

    def ask(self, name):
        try:
            found = self.groups[name].committed([TopicPartition(self.topic, p) for p in range(6)], timeout=2)
            self.committed[name] = {tp.partition: max(tp.offset, 0) for tp in found}
        except KafkaException:  # Kafka is away
            pass

    def set_back(self, name):
        """To the beginning. False: the group still has a member."""
        try:
            self.groups[name].commit(offsets=[TopicPartition(self.topic, p, 0) for p in range(6)], asynchronous=False)
        except KafkaException:
            return False
        return True

    def progress(self, name):
        return self.seen[name] + sum(self.committed[name].values())

    def passed(self, name, ends):
        return all(self.committed[name].get(p, 0) >= end for p, end in ends.items())

    # --- Audit

    def audit(self, s):
        """{event_id: [rows]} of the records of the input topic; None: it has no such log, or does not answer."""
        for url in s.urls():
            try:
                answer = http.get(f"{url}/api/audit.jsonl")
            except httpx.HTTPError:
                continue
            if answer.status_code == 200 and "jsonl" in answer.headers.get("content-type", ""):
                rows = defaultdict(list)
                for line in answer.text.splitlines():
                    row = json.loads(line)
                    if row["topic"] == self.topic:
                        rows[row["event_id"]].append(row)
                return rows
        return None

    def kept_letters(self, s):
        """What one in memory keeps of the records that it put aside: [(partition, offset, value as hex, cut)]."""
        for url in s.urls():
            try:
                found = http.get(f"{url}/api/dead-letters?limit=1000")
                if found.status_code == 200:
                    return [(r["partition"], r["offset"], r["value"], r.get("cut")) for r in found.json()["dead_letters"]]
            except httpx.HTTPError:
                continue
        return []
