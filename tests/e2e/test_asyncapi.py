"""Each service's AsyncAPI document against what is in the topics: nothing on the wire that is not described, and nothing described that is not there."""

import json
import re
import subprocess
import uuid
from urllib.parse import urljoin

import pytest
from confluent_kafka import Consumer, KafkaError, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext

from node import NODE
from stack import BIN, ROOT, ByHand, http, request, wait
from test_orders import Desk, item
from wire import publish, refund_request, schema_id_of, write_avro

pytestmark = pytest.mark.full

DOCUMENTS = sorted((ROOT / "docs/api").glob("*.asyncapi.json"))
NAMES = [path.name.partition(".")[0] for path in DOCUMENTS]


# --- Reading a document


def refers(document, value):
    """What is there, or where it refers to within the document."""
    if isinstance(value, dict) and value.get("$ref", "").startswith("#/"):
        for step in value["$ref"][2:].split("/"):
            document = document[step]
        return document
    return value


def merged(base, over):
    """As a trait is merged with its message: JSON Merge Patch."""
    both = isinstance(base, dict) and isinstance(over, dict)
    return {k: merged(base.get(k), over.get(k, base.get(k))) for k in base | over} if both else over


def messages_of(document, topic):
    """{name: message with its traits} of the channel."""
    found = {}
    for message in document["channels"][topic]["messages"].values():
        for trait in message.get("traits", []):
            message = merged(refers(document, trait), message)
        found[message["name"]] = message
    return found


def references(value):
    """Those that lead out of the document."""
    if isinstance(value, dict):
        if not value.get("$ref", "#").startswith("#"):
            yield value["$ref"]
        value = list(value.values())
    for inner in value if isinstance(value, list) else []:
        yield from references(inner)


def assert_of_form(values, schema, where):
    assert set(schema["required"]) <= set(values), where
    assert schema["additionalProperties"] or set(values) <= set(schema["properties"]), where
    for name, form in schema["properties"].items():
        if name in values:
            assert re.search(form["pattern"], values[name]), (where, name, values[name])
            assert values[name] == form.get("const", values[name]), (where, name)


# --- A stack in which every event was published


class World(ByHand):
    """Services of their own in a namespace of their own, so that every record in it is one of theirs, but for `outside`."""

    def __init__(self, stack, folder):
        super().__init__(NAMES, folder, kafka=stack.kafka, registry=stack.registry, policy="", audit_heads_ms=300, registry_timeout_ms=10000)
        for service in self.services.values():  # who leads to support's schemas has to know where support is
            service.env["RETURNS_CALL_URLS"] = f"support={self.url('support')}"
        self.kafka, self.registry, self.outside, self.schemas = stack.kafka, stack.registry, set(), {}
        self.deserialize = AvroDeserializer(SchemaRegistryClient({"url": stack.registry}))

    def put(self, key, value, headers=None):
        partition, offset = publish(self.kafka, self.topic("support.events"), key, value, headers=headers)
        self.outside.add((self.topic("support.events"), partition, offset))

    def command(self, return_id, name, tag="*"):
        return http.post(f"{self.url('support')}/api/returns/{return_id}/{name}", headers={"If-Match": tag})

    def ask(self, **fields):
        """Another client's request, so that one item can be asked for twice: support itself would refuse that."""
        return_id = f"R-OUT{uuid.uuid4().hex[:10].upper()}"
        value = write_avro(self.registry, self.topic("support.events"), refund_request(return_id, **fields))
        self.put(return_id, value)
        self.await_audits([return_id], NAMES, 180)  # support's row may be of a team's event, read before the request itself
        wait(lambda: http.get(f"{self.url('support')}/api/returns/{return_id}").status_code == 200, 60, "support has the return")
        return return_id

    def play(self):
        desk, lines = Desk(self.url("sales")), [item(), item()]
        order = desk.order(*lines)
        assert desk.change(order, '"1"', shipment_id="SHP-1").status_code == 200
        assert desk.complete(order, '"2"').status_code == 200
        serials = [line["serial_number"] for line in lines]
        first, second = (self.submit(order_id=order, serial_number=serial) for serial in serials)
        unknown = self.submit(model="A model that nobody has")
        assert self.command(unknown, "cancel", '"9"').status_code == 412
        self.await_audits([first, second, unknown], NAMES, 180)
        waits, waits_too = (self.ask(order_id=order, serial_number=serials[0]) for _ in range(2))
        for return_id in [waits_too, first, unknown]:
            assert self.command(return_id, "cancel").status_code == 200
        wait(lambda: self.command(second, "close").status_code == 200, 60, "it is handled, and closed")
        self.put("nonsense", b"\1nonsense", {"traceparent": b"nonsense"})

    def topics(self):
        listed = AdminClient({"bootstrap.servers": self.kafka}).list_topics(timeout=10).topics
        return {name.removeprefix(self.namespace + "."): t for name, t in listed.items() if name.startswith(self.namespace + ".")}

    def records(self):
        """All of the services' own, with the names of their topics as documents have them."""
        consumer = Consumer({"bootstrap.servers": self.kafka, "group.id": "reader", "enable.auto.commit": False, "enable.partition.eof": True})
        places = [TopicPartition(self.topic(name), p, 0) for name, t in self.topics().items() for p in t.partitions]
        consumer.assign(places)
        left, found = len(places), []
        while left:
            message = consumer.poll(10)
            assert message is not None, "the topics could not be read to their ends"
            if message.error():
                assert message.error().code() == KafkaError._PARTITION_EOF, message.error()
                left -= 1
            elif (message.topic(), message.partition(), message.offset()) not in self.outside:
                found.append((message.topic().removeprefix(self.namespace + "."), message))
        consumer.close()
        return found

    def schema_text(self, schema_id):
        if schema_id not in self.schemas:
            self.schemas[schema_id] = http.get(f"{self.registry}/schemas/ids/{schema_id}").json()["schema"]
        return self.schemas[schema_id]


def name_of(topic, record):
    """What a reader takes the record for."""
    headers = dict(record.headers())
    if topic.endswith(".events"):
        return headers["ce_type"].decode()
    return {"dead-letters": "DeadLetter", "audit-heads": "returns.chassis.AuditHeads", "snapshots": "returns.support.ReturnSnapshot"}[topic.partition(".")[2]]


@pytest.fixture(scope="module")
def documents():
    return {name: json.loads(path.read_text()) for name, path in zip(NAMES, DOCUMENTS)}


@pytest.fixture(scope="module")
def described(documents):
    """{topic: messages} of all that any service owns."""
    return {
        topic: messages_of(document, topic)
        for name, document in documents.items() for topic in document["channels"] if topic.startswith(name + ".")
    }


@pytest.fixture(scope="module")
def linting(tmp_path_factory):
    """(the linter, the file that it must find fault with); it takes its time, so it runs beside the rest."""
    folder, wrong = ROOT / "tests/asyncapi", tmp_path_factory.mktemp("wrong") / "docs/api/wrong.json"
    wrong.parent.mkdir(parents=True)
    wrong.write_text(DOCUMENTS[0].read_text().replace('"partitions": 6', '"partitions": "six"', 1))
    words = [NODE, folder / "check.js", *DOCUMENTS, wrong]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True), wrong


@pytest.fixture(scope="module")
def world(stack, linting, tmp_path_factory):
    with World(stack, tmp_path_factory.mktemp("asyncapi")) as world:
        world.play()
        yield world


@pytest.fixture(scope="module")
def records(world, described):
    """Once there is one of each that is described."""
    wanted, found = {(topic, name) for topic, messages in described.items() for name in messages}, []

    def missing():
        found[:] = world.records()
        return wanted - {(topic, name_of(topic, record)) for topic, record in found}

    try:
        wait(lambda: not missing(), 60, "every message that is described is in its topic")
    except AssertionError:
        raise AssertionError(f"never published: {missing()}") from None
    return found


# --- What holds


def test_every_topic_is_described_and_every_described_one_is_there(world, records, described):
    assert set(world.topics()) == set(described)


def test_every_record_is_as_described(world, records, described):
    for topic, record in records:
        where = f"{topic}[{record.partition()}]@{record.offset()}"
        assert name_of(topic, record) in described[topic], where
        message = described[topic][name_of(topic, record)]
        headers = [(name, value.decode()) for name, value in record.headers()]
        assert topic.endswith("dead-letters") or len(dict(headers)) == len(headers), where
        assert_of_form(dict(headers), message["headers"], where)
        if "payload" in message:
            file = (ROOT / "docs/api" / message["payload"]["schema"]["$ref"]).resolve()
            assert world.schema_text(schema_id_of(record.value())).rstrip() == file.read_text().rstrip(), where
            key = message["bindings"]["kafka"]["key"]["x-field"]
            event = world.deserialize(record.value(), SerializationContext(record.topic(), MessageField.VALUE))
            assert event[key] == record.key().decode(), where


def test_a_dead_letter_is_what_it_was(records, described):
    letters = [record for topic, record in records if topic.endswith("dead-letters") and record.key() == b"nonsense"]
    assert len(letters) == sum(topic.endswith("dead-letters") for topic in described)
    for letter in letters:
        assert letter.value() == b"\1nonsense" and ("traceparent", b"nonsense") in letter.headers()


def test_topics_are_made_as_described(world, documents, described):
    admin, topics = AdminClient({"bootstrap.servers": world.kafka}), world.topics()
    said = {name: documents[name.partition(".")[0]]["channels"][name]["bindings"]["kafka"] for name in described}
    asked = {name: ConfigResource(ConfigResource.Type.TOPIC, world.topic(name)) for name in said}
    answers = admin.describe_configs(list(asked.values()))
    for name, binding in said.items():
        assert (binding["topic"], binding["partitions"]) == (name, len(topics[name].partitions))
        config = answers[asked[name]].result(10)
        for key, value in binding["topicConfiguration"].items():
            assert config[key].value == (",".join(value) if isinstance(value, list) else str(value)), (name, key)


def test_each_reads_in_the_group_that_it_says(world, documents):
    admin = AdminClient({"bootstrap.servers": world.kafka})
    asked = admin.describe_consumer_groups([world.topic(name) for name in NAMES])
    groups = {name for name, answer in asked.items() if answer.result(10).members}
    for name, document in documents.items():
        reads = [o for o in document["operations"].values() if o["action"] == "receive"]
        assert reads and {o["bindings"]["kafka"]["groupId"]["const"] for o in reads} == {name}
        assert world.topic(name) in groups


@pytest.mark.parametrize("name", NAMES)
def test_a_service_serves_what_it_prints_and_what_that_refers_to(world, name):
    text = subprocess.run([BIN / name, "--asyncapi"], capture_output=True, text=True, check=True).stdout
    assert text == (ROOT / f"docs/api/{name}.asyncapi.json").read_text(), "run ./returns contracts"
    short = http.get(world.url(name) + "/asyncapi.json")
    assert short.status_code == 302
    address = urljoin(world.url(name), short.headers["Location"])
    assert http.get(address).text == text
    assert address.removeprefix(world.url(name)) in http.get(world.url(name) + "/status").text

    def resolves(ref):
        return http.get(urljoin(address, ref), follow_redirects=True).text == (ROOT / "docs/api" / ref).resolve().read_text()

    for ref in set(references(json.loads(text))):
        wait(lambda: resolves(ref), 60, f"{name}'s {ref} leads to the file")


@pytest.mark.parametrize("path", [
    "/docs/api/nobody.asyncapi.json", "/schemas/nobody/Nothing.avsc", "/schemas/support/schema.sql", "/schemas/support/ReturnSnapshot.avsc",
    "/schemas/sales/AuditHeads.avsc", "/schemas/support/Nothing.avsc",
])
def test_what_is_not_there(world, path):
    assert http.get(world.url("support") + path, follow_redirects=True).status_code == 404


def test_the_documents_are_valid_and_the_linter_finds_what_is_not(linting):
    linter, wrong = linting
    said = linter.communicate(timeout=120)[0].splitlines()
    assert linter.returncode == 1 and all(line.startswith(str(wrong)) for line in said), said
    assert any(".avsc" in line for line in said), "a schema that is not there"
    assert any("kafka.partitions" in line for line in said), said
