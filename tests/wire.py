"""The independent client: Confluent's, with its own librdkafka and its own Avro."""

import struct
import uuid
from datetime import datetime, timezone
from decimal import Decimal

from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from confluent_kafka.schema_registry import SchemaRegistryClient, topic_record_subject_name_strategy
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

from stack import ROOT, request

REFUND_REQUEST = (ROOT / "schemas/support/RefundRequest.avsc").read_text()


def records(kafka, topic):
    """All records of the topic, by partition and offset; none if there is no such topic."""
    consumer = Consumer({"bootstrap.servers": kafka, "group.id": "reader", "enable.auto.commit": False,
                         "enable.partition.eof": True})
    try:
        described = consumer.list_topics(topic, timeout=10).topics[topic]
        if described.error:
            return []
        consumer.assign([TopicPartition(topic, p, 0) for p in described.partitions])
        left, found = len(described.partitions), []
        while left:
            message = consumer.poll(30)
            assert message is not None, f"{topic} could not be read to its end"
            if message.error():
                assert message.error().code() == KafkaError._PARTITION_EOF, message.error()
                left -= 1
            else:
                found.append(message)
        return sorted(found, key=lambda m: (m.partition(), m.offset()))
    finally:
        consumer.close()


def read_avro(registry, record):
    deserialize = AvroDeserializer(SchemaRegistryClient({"url": registry}))
    return deserialize(record.value(), SerializationContext(record.topic(), MessageField.VALUE))


def refund_request(return_id, **changed):
    """The event as Confluent's serializer wants it, from fields as a person would send them."""
    sent = request()
    cost = sent.pop("cost")
    for field in ("customer_id", "reason"):
        del sent[field]
    return sent | {
        "event_id": str(uuid.uuid4()),
        "return_id": return_id,
        "version": 1,
        "occurred_at": datetime.now(timezone.utc).replace(microsecond=0),
        "caused_by": None,
        "cost": {"amount": Decimal(cost["amount"]), "currency": cost["currency"]},
    } | changed


def write_avro(registry, topic, event, schema=REFUND_REQUEST):
    """By the schema that is there; normalized, since this client looks it up without the newline at the file's end."""
    serialize = AvroSerializer(
        SchemaRegistryClient({"url": registry}), schema,
        conf={
            "auto.register.schemas": False, "normalize.schemas": True,
            "subject.name.strategy": topic_record_subject_name_strategy,
        },
    )
    return serialize(event, SerializationContext(topic, MessageField.VALUE))


def publish(kafka, topic, key, value, partition=None, headers=None):
    """Returns (partition, offset), once Kafka has it."""
    placed = []

    def on_delivery(error, message):
        assert not error, error
        placed.append((message.partition(), message.offset()))

    producer = Producer({
        "bootstrap.servers": kafka, "acks": "all", "message.max.bytes": 2_000_000, "partitioner": "consistent_random",
        "compression.type": "gzip",  # what is too large for us may be small enough for Kafka
    })
    where = {} if partition is None else {"partition": partition}
    producer.produce(topic, key=key, value=value, headers=headers, on_delivery=on_delivery, **where)
    assert producer.flush(10) == 0 and placed
    return placed[0]


def schema_id_of(value):
    magic, schema_id = struct.unpack(">bI", value[:5])
    assert magic == 0
    return schema_id
