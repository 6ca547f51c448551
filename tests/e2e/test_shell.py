"""./returns tail, publish, export and import: topics from the shell, by their schemas alone."""

import json
import os
import signal
import subprocess
import time
import uuid

import pytest
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient

from stack import BIN, ROOT, TEAMS, ByHand, http, wait
from wire import publish, records, read_avro

# Every kind of type that Avro has, and none of our code knows.
STRANGE = {
    "type": "record", "name": "Weighed", "namespace": "elsewhere",
    "fields": [
        {"name": "event_id", "type": {"type": "string", "logicalType": "uuid"}},
        {"name": "return_id", "type": "string"},
        {"name": "version", "type": "long"},
        {"name": "occurred_at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "caused_by", "type": ["null", "string"], "default": None},
        {"name": "grams", "type": "int"},
        {"name": "exact", "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 3}},
        {"name": "scale", "type": {"type": "enum", "name": "Scale", "symbols": ["SMALL", "LARGE"]}},
        {"name": "marks", "type": {"type": "array", "items": "string"}},
        {"name": "notes", "type": {"type": "map", "values": "double"}},
        {"name": "seal", "type": {"type": "fixed", "name": "Seal", "size": 3}},
        {"name": "by", "type": ["null", {"type": "record", "name": "Person", "fields": [{"name": "id", "type": "string"}]}],
         "default": None},
    ],
}
WEIGHED = {
    "return_id": "R-WEIGHED", "grams": 1250, "exact": "12.340", "scale": "LARGE", "marks": ["a", "ü"], "notes": {"x": 0.5},
    "seal": "ab\u00ff", "by": {"id": "p-7"},
}


class Shell:
    def __init__(self, stack, namespace=None):
        self.stack = stack
        self.env = stack.env | ({"RETURNS_NAMESPACE": namespace} if namespace else {})
        if namespace:  # what runs in the stack's own folder would win
            self.env |= {"RETURNS_KAFKA": stack.kafka, "RETURNS_REGISTRY": stack.registry, "RETURNS_HOME": "/nonexistent"}

    def run(self, *words, stdin=None, status=0, merged=False):
        done = subprocess.run(
            [ROOT / "returns", *map(str, words)], env=self.env, cwd=ROOT, input=stdin, text=True, capture_output=True, timeout=90,
        )
        assert done.returncode == status, (words, done.returncode, done.stdout[-2000:], done.stderr[-2000:])
        return done.stdout + done.stderr if merged else done.stderr if status else done.stdout

    def tail(self, *words):
        return [json.loads(line) for line in self.run("tail", "--json", "--exit", "--from", "beginning", *words).splitlines()]


@pytest.fixture(scope="module")
def shell(stack):
    return Shell(stack)


@pytest.fixture(scope="module")
def returned(stack):
    return_id = stack.submit()
    stack.await_audits([return_id], TEAMS, 180)
    wait(lambda: len(stack.events(return_id)) >= 5, 60, "all five events are in their topics")
    return return_id


class Weighing(Shell):
    """A topic of nobody's, in a namespace of its own, with a schema that no code here knows."""

    topic = "weighing.events"

    def __init__(self, stack):
        super().__init__(stack, "weigh" + uuid.uuid4().hex[:6])
        self.name = f"{self.env['RETURNS_NAMESPACE']}.{self.topic}"
        self.subject = f"{self.name}-elsewhere.Weighed"
        admin = AdminClient({"bootstrap.servers": stack.kafka})
        admin.create_topics([NewTopic(self.name, 2, 1, config={"retention.ms": "-1"})])[self.name].result()
        self.schemas = SchemaRegistryClient({"url": stack.registry})
        self.schemas.register_schema(self.subject, Schema(json.dumps(STRANGE), "AVRO"))

    def publish(self, file="-", *more, kind="elsewhere.Weighed", **rest):
        return self.run("publish", self.topic, kind, file, *more, **rest)


@pytest.fixture
def weighing(stack):
    return Weighing(stack)


def test_tail_shows_what_every_team_published(stack, shell, returned):
    shown = shell.tail("--return", returned)
    assert {r["topic"] for r in shown} == {stack.topic(f"{s}.events") for s in ["support", *TEAMS]}
    for record in shown:
        (same,) = [m for m in records(stack.kafka, record["topic"]) if (m.partition(), m.offset()) == (record["partition"], record["offset"])]
        assert record["key"] == returned == record["data"]["return_id"]
        assert record["type"].startswith("returns.") and record["schema_id"] == int.from_bytes(same.value()[1:5], "big")
        assert dict(record["headers"])["ce_id"] == record["data"]["event_id"]
    assert shown == sorted(shown, key=lambda r: r["timestamp"])
    assert shown[0]["data"]["cost"] == {"amount": "149.90", "currency": "EUR"}


def test_tail_for_people_is_a_line_a_record(stack, shell, returned):
    lines = shell.run("tail", "--exit", "--from", "beginning", "--return", returned).splitlines()
    assert len(lines) == 5
    assert "support.events[" in lines[0] and returned in lines[0] and "RefundRequest" in lines[0] and "\033" not in lines[0]


def test_tail_begins_where_it_is_told(stack, shell, returned):
    everything = shell.tail()
    moment = sorted(r["timestamp"] for r in everything)[-3]
    since = [json.loads(line) for line in shell.run("tail", "--json", "--exit", "--from", moment).splitlines()]
    place = lambda r: (r["topic"], r["partition"], r["offset"])  # noqa: E731
    assert sorted(since, key=place) == sorted((r for r in everything if r["timestamp"] >= moment), key=place)
    assert len(since) >= 3 and since == sorted(since, key=lambda r: r["timestamp"])
    assert shell.run("tail", "--json", "--exit", "--from", "end") == ""
    assert len(shell.run("tail", "--json", "--exit", "--from", "1d", "--max", 3).splitlines()) == 3
    assert '--from "yesterday"' in shell.run("tail", "--from", "yesterday", status=2)


def test_tail_names_the_topics_there_are(shell):
    said = shell.run("tail", "no-such.events", status=2)
    assert 'no topic is named "no-such.events". There are ' in said and ".events, " in said


def test_tail_follows_until_it_is_interrupted(stack):
    child = subprocess.Popen(
        [ROOT / "returns", "tail", "--json"], env=stack.env, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        # It begins at the end, and nothing says when it is there: so returns come until the first of them is shown.
        os.set_blocking(child.stdout.fileno(), False)
        submitted = []

        def shown():
            submitted.append(stack.submit())
            return child.stdout.readline()

        record = json.loads(wait(shown, 60, "a record is shown"))
        assert record["key"] in submitted or record["data"]["return_id"]
        begin = time.monotonic()
        os.killpg(child.pid, signal.SIGINT)
        child.wait(20)
        assert time.monotonic() - begin < 10 and "Traceback" not in child.stderr.read()
    finally:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        child.stdout.close()
        child.stderr.close()


def test_a_type_that_no_code_knows_goes_there_and_back(stack, weighing):
    placed = weighing.publish(stdin=json.dumps(WEIGHED))
    (shown,) = weighing.tail(weighing.topic)
    assert placed.strip() == f"{weighing.name}[{shown['partition']}]@{shown['offset']}"
    assert shown["type"] == "elsewhere.Weighed" and shown["key"] == "R-WEIGHED"
    for field, value in WEIGHED.items():
        assert shown["data"][field] == value
    assert uuid.UUID(shown["data"]["event_id"]) and shown["data"]["version"] == 1
    (record,) = records(stack.kafka, weighing.name)
    foreign = read_avro(stack.registry, record)
    assert foreign["grams"] == 1250 and str(foreign["exact"]) == "12.340" and foreign["seal"] == b"ab\xff"
    headers = {name: value.decode() for name, value in record.headers()}
    assert headers["ce_id"] == str(foreign["event_id"]) and headers["ce_type"] == "elsewhere.Weighed"


def test_one_wrong_event_and_nothing_is_sent(stack, weighing, tmp_path):
    path = tmp_path / "events.json"
    good = json.dumps(WEIGHED)
    for second, said in [
        (json.dumps(WEIGHED | {"grams": "many"}), 'field "grams" is text; the schema wants "int"'),
        (json.dumps(WEIGHED | {"scale": "HUGE"}), '"HUGE"'),
        (json.dumps(WEIGHED | {"weight": 3}), 'field "weight" is not in the schema'),
        (json.dumps({k: v for k, v in WEIGHED.items() if k != "marks"}), 'field "marks" is missing'),
        (json.dumps(WEIGHED | {"exact": "1.23456"}), '"1.23456"'),
        ('{"grams": }', "is no JSON"),
        ("[1]", "must be a JSON object"),
    ]:
        path.write_text(f"{good}\n\n{second}\n")
        error = weighing.publish(path, status=1)
        assert f"{path}:3:" in error and said in error and "Nothing was sent." in error
    assert "holds no event" in weighing.publish(stdin=" \n", status=1)
    assert "There are: elsewhere.Weighed" in weighing.publish(path, kind="Measured", status=1)
    assert weighing.tail(weighing.topic) == []


def test_a_new_schema_is_registered_if_it_is_compatible(stack, weighing, tmp_path):
    schema = tmp_path / "schema.avsc"
    schema.write_text(json.dumps(STRANGE | {"fields": STRANGE["fields"] + [{"name": "hall", "type": "string", "default": "A"}]}))
    weighing.publish("-", "--schema", schema, "--key", "K", stdin=json.dumps(WEIGHED | {"hall": "B"}))
    (shown,) = weighing.tail(weighing.topic)
    assert shown["data"]["hall"] == "B" and shown["key"] == "K"
    weighing.schemas.set_compatibility(weighing.subject, "FULL_TRANSITIVE")
    schema.write_text(json.dumps(STRANGE | {"fields": STRANGE["fields"] + [{"name": "floor", "type": "int"}]}))
    error = weighing.publish("-", "--schema", schema, stdin=json.dumps(WEIGHED | {"floor": 1}), status=1)
    assert "409" in error and "Nothing was sent." in error


def test_what_cannot_be_decoded_is_shown_with_its_reason(stack, weighing):
    for value in [b"plain", b"\x00\x7f\xff\xff\xff\x01", None]:
        publish(stack.kafka, weighing.name, b"\xff", value, partition=0)
    shown = weighing.tail(weighing.topic)
    assert [r["value"] for r in shown] == [b"plain".hex(), "007fffffff01", None]
    assert all(r["reason"] and "data" not in r and r["key"] == {"hex": "ff"} for r in shown)
    assert "NOT DECODED" in weighing.run("tail", weighing.topic, "--exit", "--from", "beginning")


def everything(kafka, topic):
    return [
        (m.partition(), m.timestamp()[1], m.key(), sorted(m.headers() or [], key=repr), m.value() and m.value()[5:])
        for m in records(kafka, topic)
    ]


@pytest.mark.full
def test_an_export_imported_elsewhere_is_the_same(stack, shell, weighing, returned, tmp_path):
    weighing.publish(stdin=json.dumps(WEIGHED) * 50)
    publish(stack.kafka, weighing.name, b"\xff\x00", b"plain", headers=[("h", None), ("h", b"\x80")])
    publish(stack.kafka, weighing.name, None, None)
    admin = AdminClient({"bootstrap.servers": stack.kafka})
    for source, namespace in ((shell, stack.namespace), (weighing, weighing.env["RETURNS_NAMESPACE"])):
        file, elsewhere = tmp_path / f"{namespace}.jsonl", Shell(stack, "else" + uuid.uuid4().hex[:6])
        source.run("export", "*.events", "--out", file)
        elsewhere.run("import", file)
        pairs = [
            (f"{namespace}.{t['topic']}", f"{elsewhere.env['RETURNS_NAMESPACE']}.{t['topic']}")
            for t in json.loads(file.open().readline())["topics"]
        ]
        for here, there in pairs:
            assert everything(stack.kafka, there) == everything(stack.kafka, here)
            resource = ConfigResource(ConfigResource.Type.TOPIC, there)
            assert admin.describe_configs([resource])[resource].result()["retention.ms"].value == "-1"
        # A second time it is refused, and nothing more is written.
        before = [len(records(stack.kafka, there)) for _, there in pairs]
        assert "holds records already" in elsewhere.run("import", file, status=1)
        assert [len(records(stack.kafka, there)) for _, there in pairs] == before
    assert len(pairs) == 1 and sum(before) == 52
    shown = [r["data"] for r in elsewhere.tail(weighing.topic) if "data" in r]
    assert len(shown) == 50 and all(r.items() >= WEIGHED.items() for r in shown)


@pytest.mark.full
def test_services_start_from_an_import(stack, shell, returned, tmp_path):
    file = tmp_path / "all.jsonl"
    shell.run("export", "*.*", "--out", file)
    whole = file.read_bytes()
    assert "nobody.*" in shell.run("export", "nobody.*", "--out", file, status=2, merged=True)
    assert file.read_bytes() == whole and list(tmp_path.iterdir()) == [file], "an export that fails leaves the file as it was"
    elsewhere = Shell(stack, "else" + uuid.uuid4().hex[:6])
    elsewhere.run("import", file)
    folder = tmp_path / "fresh"
    folder.mkdir()
    fresh = ByHand(["support"], folder, namespace=elsewhere.env["RETURNS_NAMESPACE"], kafka=stack.kafka, registry=stack.registry)
    # Without it support would be held: its topics are not empty, and its database would be. 3: it rejected what another
    # test wrote to them.
    done = subprocess.run([BIN / "support", "rebuild"], env=fresh.services["support"].env, timeout=120)
    assert done.returncode in (0, 3)
    with fresh:
        url = f"{fresh.url('support')}/api/returns/{returned}/events"
        wait(lambda: len(http.get(url).json().get("events", [])) == 5, 60, "the return's five events are there")
        there, here = fresh.get("support", f"/api/returns/{returned}"), stack.get("support", f"/api/returns/{returned}")
        assert there["request"]["serial_number"] == here["request"]["serial_number"] and there["version"] == here["version"]


def test_a_file_that_is_not_whole_changes_nothing(stack, weighing, tmp_path):
    weighing.publish(stdin=json.dumps(WEIGHED) * 3)
    whole = weighing.run("export", weighing.topic).splitlines(keepends=True)
    elsewhere = Shell(stack, "else" + uuid.uuid4().hex[:6])
    broken = [json.loads(line) for line in whole]
    broken[-2]["record"]["value"] = "?"
    for lines, said in [
        (whole[:-1], "the export was cut"),
        (whole[1:], "not the first line of an export"),
        ([*whole[:2], "{\n", *whole[2:]], ":3: is no JSON"),
        (whole[:-2] + whole[-1:], "counts other records"),
        ([json.dumps(line) + "\n" for line in broken], "its key or value is no base64"),
    ]:
        error = elsewhere.run("import", "-", stdin="".join(lines), status=1)
        assert said in error and "Nothing was imported." in error
    topics = AdminClient({"bootstrap.servers": stack.kafka}).list_topics(timeout=10).topics
    assert not [t for t in topics if t.startswith(elsewhere.env["RETURNS_NAMESPACE"])]
