"""Warranty: a subscriber in Python. It answers each RefundRequest with one WarrantyChecked.

What it writes and how far it has read are one transaction of Kafka's. Whatever fails, it begins again at what was
committed. One event may be in the topic twice; so an answer's id is made of its cause's, and looked for in its own topic.
"""
import datetime, functools, io, json, os, pathlib, signal, socket, sys, time, uuid, zlib

import fastavro
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec
from confluent_kafka.schema_registry import ConfigCompatibilityLevel, Schema, SchemaRegistryClient, ServerConfig
from confluent_kafka.schema_registry.error import SchemaRegistryError

env = {"RETURNS_" + name: "" for name in ("NAMESPACE", "PUBLIC_URL", "PORT")} | os.environ
SCOPE = env["RETURNS_NAMESPACE"] and env["RETURNS_NAMESPACE"] + "."
GROUP, SOURCE = SCOPE + "warranty", SCOPE + "support.events"
EVENTS, LETTERS = GROUP + ".events", GROUP + ".dead-letters"
INSTANCE = f"{GROUP}@{socket.gethostname()}:{env['RETURNS_PORT'] or os.getpid()}"
KAFKA = {"bootstrap.servers": env.get("RETURNS_KAFKA", "127.0.0.1:9092")}
READER = KAFKA | {"group.id": GROUP, "enable.auto.commit": False, "auto.offset.reset": "earliest"}
admin = AdminClient(KAFKA)
registry = SchemaRegistryClient({"url": env.get("RETURNS_REGISTRY", "http://127.0.0.1:8081/apis/ccompat/v7")})
OWN = json.loads(pathlib.Path(__file__).with_name("WarrantyChecked.avsc").read_text())
TYPE, given = "returns.warranty.WarrantyChecked", set()


def prepare():
    topics = [NewTopic(topic, 6, config={"retention.ms": "-1"}) for topic in (EVENTS, LETTERS)]
    for made in admin.create_topics(topics).values():
        if made.exception() and made.exception().args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
            raise made.exception()
    registry.set_config(f"{EVENTS}-{TYPE}", ServerConfig(compatibility=ConfigCompatibilityLevel.FULL_TRANSITIVE))
    return registry.register_schema(f"{EVENTS}-{TYPE}", Schema(json.dumps(OWN), "AVRO"))


def look_back(_, assigned):
    """Which answers there are in the partitions that became ours; what a predecessor just commits is waited for."""
    given.clear()
    asked = admin.list_offsets({TopicPartition(EVENTS, p.partition): OffsetSpec.latest() for p in assigned})
    ends = {p.partition: future.result().offset for p, future in asked.items()}
    reader = Consumer(READER | {"enable.partition.eof": True, "fetch.wait.max.ms": 50})
    reader.assign([TopicPartition(EVENTS, partition, 0) for partition in ends])
    while ends:
        m = reader.poll(1)
        if m and not m.error():
            given.add(dict(m.headers())["ce_id"].decode())
        elif m and m.error().code() != KafkaError._PARTITION_EOF:
            raise KafkaException(m.error())
        elif m and m.offset() >= ends.get(m.partition(), 0):
            ends.pop(m.partition(), None)
    reader.close()


@functools.cache
def schema_of(schema_id):
    return fastavro.parse_schema(json.loads(registry.get_schema(schema_id).schema_str))


def warranty(event):
    """The team's own business: two years from the day that the serial number tells those who know how to read it."""
    came = event["occurred_at"].date()
    made = came - datetime.timedelta(days=zlib.crc32(event["serial_number"].encode()) % 1095)
    until = made + datetime.timedelta(days=730)
    return {"serial_number": event["serial_number"], "made_on": made, "warranty_until": until,
            "within_warranty": came <= until}


def react(m, own_id):
    """What is to be sent, as produce() takes it; {}: nothing. A ValueError is the record's fault."""
    if not m.value() or len(m.value()) < 5 or m.value()[0]:
        raise ValueError("does not begin with 0 and the id of a schema")
    writer = schema_of(int.from_bytes(m.value()[1:5], "big"))
    body, out = io.BytesIO(m.value()[5:]), io.BytesIO()
    try:
        event = fastavro.schemaless_reader(body, writer)
        if body.read(1):
            raise ValueError("bytes are left over")
        if writer["name"] != "returns.support.RefundRequest":
            return {}
        cause, now = str(event["event_id"]), datetime.datetime.now(datetime.timezone.utc)
        own = {"event_id": str(uuid.uuid5(uuid.UUID(cause), TYPE)), "occurred_at": now, "caused_by": cause}
        own |= {"return_id": event["return_id"], "version": event["version"]} | warranty(event)
    except Exception as e:
        raise ValueError(f"is not what its schema says: {e!r}") from e
    if own["event_id"] in given:
        return {}
    given.add(own["event_id"])
    fastavro.schemaless_writer(out, OWN, own)
    headers = {"ce_specversion": "1.0", "ce_id": own["event_id"], "ce_type": TYPE, "content-type": "application/avro",
               "ce_source": env["RETURNS_PUBLIC_URL"] or "/warranty", "ce_time": now.strftime("%FT%T.%f")[:23] + "Z"}
    headers |= {name: value for name, value in m.headers() or [] if name == "traceparent"}
    return {"topic": EVENTS, "partition": m.partition(), "key": event["return_id"], "headers": headers,
            "value": b"\0" + own_id.to_bytes(4, "big") + out.getvalue()}


def letter(m, reason):
    why = {"reason": reason, "service": "warranty", "topic": m.topic(), "partition": m.partition(), "offset": m.offset()}
    headers = (m.headers() or []) + [(f"dead-letter.{name}", str(value)) for name, value in why.items()]
    return {"topic": LETTERS, "key": m.key(), "value": m.value(), "headers": headers}


def answer(m, own_id):
    try:
        return react(m, own_id)
    except ValueError as e:
        return letter(m, f"it {e}")
    except SchemaRegistryError as e:  # away, which is not the record's fault, or without such a schema
        if e.http_status_code != 404:
            raise
        return letter(m, f"its schema is not in the registry: {e}")


def run():
    own_id = prepare()
    producer = Producer(KAFKA | {"transactional.id": INSTANCE, "transaction.timeout.ms": 10000})
    producer.init_transactions()  # ends what a killed predecessor had begun
    consumer = Consumer(READER | {"group.instance.id": INSTANCE, "session.timeout.ms": 6000})
    consumer.subscribe([SOURCE], on_assign=look_back)
    try:
        while True:
            batch, m = [], consumer.poll(1)
            while m:
                if m.error():
                    raise KafkaException(m.error())
                batch.append(m)
                m = consumer.poll(0) if len(batch) < 500 else None
            records = [answer(m, own_id) for m in batch]
            ends = {m.partition(): m.offset() + 1 for m in batch}
            offsets = [TopicPartition(SOURCE, p, end, env["RETURNS_PUBLIC_URL"]) for p, end in ends.items()]
            if offsets:
                producer.begin_transaction()
                for record in filter(None, records):
                    producer.produce(**record)
                producer.send_offsets_to_transaction(offsets, consumer.consumer_group_metadata())
                producer.commit_transaction()
    finally:
        consumer.close()


signal.signal(signal.SIGTERM, lambda *_: sys.exit())
while True:
    try:
        run()
    except Exception as e:
        print(f"warranty: begins again at what was committed: {e!r}", file=sys.stderr, flush=True)
        time.sleep(1)
