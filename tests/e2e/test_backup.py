"""What ./returns export writes, ./returns import makes again: every kind of schema, and records as large as Kafka takes."""

import json
import os
import uuid

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic
from confluent_kafka.schema_registry import Schema, SchemaReference, SchemaRegistryClient

from test_shell import Shell, everything
from wire import publish, records

pytestmark = pytest.mark.full

MONEY = {"type": "record", "name": "Money", "namespace": "shop", "fields": [{"name": "cents", "type": "long"}]}
ORDER = {
    "type": "record", "name": "Order", "namespace": "shop",
    "fields": [{"name": "id", "type": "string"}, {"name": "total", "type": "shop.Money"}],
}
JSON_SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "additionalProperties": False}
PROTOBUF = 'syntax = "proto3"; message Parcel { string id = 1; }'
LARGE = 12_000_000


class Place:
    """A namespace with a topic, as large records as a test wants, and a registry's client."""

    def __init__(self, stack, topic="odds.events", **config):
        self.stack, self.namespace, self.topic = stack, "bak" + uuid.uuid4().hex[:6], topic
        self.name, self.shell = f"{self.namespace}.{topic}", Shell(stack, self.namespace)
        self.schemas = SchemaRegistryClient({"url": stack.registry})
        self.admin = AdminClient({"bootstrap.servers": stack.kafka})
        self.config = config

    def make(self):
        self.admin.create_topics([NewTopic(self.name, 3, 1, config=self.config)])[self.name].result(30)
        return self

    def register(self, subject, text, kind="AVRO", references=()):
        wanted = [SchemaReference(name, f"{self.namespace}.{other}", version) for name, other, version in references]
        return self.schemas.register_schema(f"{self.namespace}.{subject}", Schema(text, kind, wanted))

    def framed(self, schema_id, body):
        publish(self.stack.kafka, self.name, b"k", b"\0" + schema_id.to_bytes(4, "big") + body)

    def large(self, value, compression="none"):
        producer = Producer({
            "bootstrap.servers": self.stack.kafka, "message.max.bytes": 100_000_000, "compression.codec": compression,
        })
        problems = []
        producer.produce(self.name, value, b"large", on_delivery=lambda e, _: problems.append(e))
        producer.flush(60)
        assert problems == [None]


def there_and_back(place, file):
    place.shell.run("export", place.topic, "--out", file)
    elsewhere = Place(place.stack)
    elsewhere.shell.run("import", file)
    assert everything(place.stack.kafka, elsewhere.name) == everything(place.stack.kafka, place.name)
    return elsewhere


@pytest.mark.parametrize("kind", ["JSON", "PROTOBUF"])
def test_records_by_other_kinds_of_schemas(stack, tmp_path, kind):
    place = Place(stack).make()
    text = json.dumps(JSON_SCHEMA) if kind == "JSON" else PROTOBUF
    body = b'{"n": 1}' if kind == "JSON" else b"\0\x0a\x01x"
    schema_id = place.register("odds.events-value", text, kind)
    place.framed(schema_id, body)
    elsewhere = there_and_back(place, tmp_path / "file")
    made = place.schemas.get_latest_version(f"{elsewhere.namespace}.odds.events-value")
    assert made.schema.schema_type == kind
    (record,) = records(stack.kafka, elsewhere.name)
    assert int.from_bytes(record.value()[1:5], "big") == made.schema_id


def test_a_schema_with_references_comes_after_what_it_refers_to(stack, tmp_path):
    place = Place(stack).make()
    place.register("shop.Money", json.dumps(MONEY | {"doc": "an older one"}))
    place.register("shop.Money", json.dumps(MONEY))
    schema_id = place.register("odds.events-shop.Order", json.dumps(ORDER), references=[("shop.Money", "shop.Money", 2)])
    place.framed(schema_id, b"\x02x\x04")
    elsewhere = there_and_back(place, tmp_path / "file")
    made = place.schemas.get_latest_version(f"{elsewhere.namespace}.odds.events-shop.Order")
    (reference,) = made.schema.references
    assert (reference.name, reference.subject) == ("shop.Money", f"{elsewhere.namespace}.shop.Money")
    text = place.schemas.get_version(reference.subject, reference.version).schema.schema_str
    assert json.loads(text) == MONEY
    # Without it, nothing is made.
    lines = (tmp_path / "file").read_text().splitlines(keepends=True)
    cut = tmp_path / "cut"
    cut.write_text("".join(line for line in lines if '"schema":{' not in line or "shop.Money\\\"}" in line or "Order" in line))
    nowhere = Place(stack)
    assert "refers to one that is not in the file" in nowhere.shell.run("import", cut, status=1)
    assert nowhere.name not in place.admin.list_topics(timeout=10).topics


def test_versions_that_are_not_compatible_and_the_level_they_had(stack, tmp_path):
    place = Place(stack).make()
    subject = "odds.events-shop.Money"
    ids = [place.register(subject, json.dumps(MONEY)),
           place.register(subject, json.dumps(MONEY | {"fields": [{"name": "cents", "type": "string"}]}))]
    place.schemas.set_compatibility(f"{place.namespace}.{subject}", "FULL")
    for schema_id, body in zip(ids, [b"\x04", b"\x02x"]):
        place.framed(schema_id, body)
    elsewhere = there_and_back(place, tmp_path / "file")
    there = f"{elsewhere.namespace}.{subject}"
    assert place.schemas.get_compatibility(there) == "FULL"
    assert len(place.schemas.get_versions(there)) == 2


def test_a_record_above_9_mb_as_it_is_and_compressed(stack, tmp_path):
    place = Place(stack, **{"max.message.bytes": str(2 * LARGE)}).make()
    place.large(os.urandom(LARGE))
    place.large(b"x" * LARGE, "gzip")
    there_and_back(place, tmp_path / "file")


def test_a_compressed_record_in_a_topic_of_default_limits(stack, tmp_path):
    place = Place(stack).make()
    place.large(b"x" * LARGE, "gzip")
    there_and_back(place, tmp_path / "file")


def test_a_topic_that_takes_less_is_said_before_anything_is_made(stack, tmp_path):
    place = Place(stack, **{"max.message.bytes": "3000000"}).make()
    place.framed(place.register("odds.events-value", json.dumps(JSON_SCHEMA), "JSON"), b"{}")
    place.large(os.urandom(2_000_000))
    place.shell.run("export", place.topic, "--out", tmp_path / "file")
    elsewhere = Place(stack).make()
    said = elsewhere.shell.run("import", tmp_path / "file", status=1)
    assert '"odds.events" takes 1048588 here' in said and "max.message.bytes" in said and "Nothing was imported" in said
    assert not [s for s in place.schemas.get_subjects() if s.startswith(elsewhere.namespace)]
    assert not records(stack.kafka, elsewhere.name)


def test_what_cannot_come_back_is_said_when_it_is_exported(stack, tmp_path):
    place = Place(stack).make()
    place.framed(2_000_000_000, b"{}")
    done = place.shell.run("export", place.topic, "--out", tmp_path / "file", merged=True)
    assert "schema id 2000000000: the registry has it not" in done
    there_and_back(place, tmp_path / "file")
