"""What is in the topics and in the registry, as others see it: kcat and Confluent's own client."""

import json
import re
import subprocess
import uuid
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from urllib.parse import quote

import pytest
from confluent_kafka.admin import AdminClient, ConfigResource

from stack import ROOT, SERVICES, TEAMS, ByHand, http, request, wait
from wire import REFUND_REQUEST, publish, read_avro, records, refund_request, schema_id_of, write_avro

SCHEMAS = sorted(path for path in (ROOT / "schemas").glob("*/*.avsc") if path.parent.name != "chassis")
HEADS = ROOT / "schemas/chassis/AuditHeads.avsc"


def subject(scope, schema):
    owner = schema.parent.name
    return f"{scope.topic(owner + '.events')}-returns.{owner}.{schema.stem}"


def await_record(stack, service, return_id, seconds=5):
    def found():
        return [r for r in records(stack.kafka, stack.topic(f"{service}.events")) if r.key() == return_id.encode()]

    return wait(found, seconds, f"{return_id} in {service}.events")


def headers_of(record):
    pairs = [(name, value.decode()) for name, value in record.headers()]
    assert len(dict(pairs)) == len(pairs), f"a header is there twice: {pairs}"
    return dict(pairs)


def assert_cloud_event(stack, record, event, service):
    headers = headers_of(record)
    assert headers["ce_specversion"] == "1.0"
    assert headers["ce_id"] == str(event["event_id"])
    assert headers["ce_type"].startswith(f"returns.{service}.")
    assert re.fullmatch(rf"http://(localhost|127\.0\.0\.1):{stack.ports[service.upper()]}/?", headers["ce_source"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", headers["ce_time"])
    assert datetime.fromisoformat(headers["ce_time"].replace("Z", "+00:00")) == event["occurred_at"]
    assert headers["content-type"] == "application/avro"
    version, trace, span, flags = headers["traceparent"].split("-")
    assert (version, len(trace), len(span), len(flags)) == ("00", 32, 16, 2)
    assert int(trace, 16) and int(span, 16) and re.fullmatch("[0-9a-f]+", trace + span + flags)
    return trace


def test_the_independent_client_reads_every_field(stack):
    sent = request(cost={"amount": "1234567.89", "currency": "CHF"}, model="Ноутбук 14″", location="東京")
    answer = http.post(stack.url("support") + "/api/returns", json=sent)
    return_id = answer.json()["return_id"]
    (record,) = await_record(stack, "support", return_id)
    event = read_avro(stack.registry, record)
    for field in ("order_id", "model", "shipment_id", "serial_number", "location"):
        assert event[field] == sent[field]
    assert event["cost"] == {"amount": Decimal("1234567.89"), "currency": "CHF"}
    assert (event["reason_code"], event["channel"]) == ("OTHER", "api")
    assert event["return_id"] == return_id and event["version"] == 1 and event["caused_by"] is None
    assert uuid.UUID(str(event["event_id"])).version == 7
    assert abs(event["occurred_at"] - datetime.now(timezone.utc)) < timedelta(minutes=1)
    assert set(event) == {field["name"] for field in json.loads(REFUND_REQUEST)["fields"]}
    trace = assert_cloud_event(stack, record, event, "support")
    (row,) = [r for r in stack.audit("support", return_id=return_id) if r["outcome"] == "accepted"]
    assert row["trace_id"] == trace


@pytest.mark.parametrize("team", TEAMS)
def test_the_independent_client_reads_what_each_team_publishes(stack, team):
    return_id = stack.submit(cost={"amount": "0.05", "currency": "USD"})
    (request_record,) = await_record(stack, "support", return_id)
    cause = read_avro(stack.registry, request_record)
    (record,) = await_record(stack, team, return_id)
    event = read_avro(stack.registry, record)
    assert event["return_id"] == return_id and event["caused_by"] == str(cause["event_id"])
    for field in ("order_id", "model", "shipment_id", "serial_number", "location", "cost"):
        assert event.get(field, cause[field]) == cause[field]
    assert assert_cloud_event(stack, record, event, team) == headers_of(request_record)["traceparent"].split("-")[1]


def test_kcat_reads_support_events_with_headers(stack):
    return_id = stack.submit()
    await_record(stack, "support", return_id)
    done = subprocess.run(
        ["kcat", "-b", stack.kafka, "-C", "-t", stack.topic("support.events"), "-e", "-q", "-f", r"%k|%h|%S\n"],
        capture_output=True, text=True, errors="replace", timeout=20, check=True,
    )
    (line,) = [line for line in done.stdout.splitlines() if line.startswith(return_id + "|")]
    _, headers, size = line.split("|")
    assert {pair.partition("=")[0] for pair in headers.split(",")} == {
        "ce_specversion", "ce_id", "ce_type", "ce_source", "ce_time", "content-type", "traceparent", "ce_sequence",
    }
    assert int(size) > 5


def test_the_topics_have_six_partitions_and_keep_everything(stack):
    admin = AdminClient({"bootstrap.servers": stack.kafka})
    topics = admin.list_topics(timeout=10).topics
    for service in SERVICES:
        name = stack.topic(f"{service}.events")
        assert len(topics[name].partitions) == 6
        resource = ConfigResource(ConfigResource.Type.TOPIC, name)
        config = admin.describe_configs([resource])[resource].result(10)
        assert config["retention.ms"].value == "-1"
        assert config["cleanup.policy"].value == "delete"


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda path: path.stem)
def test_the_schema_files_own_text_is_registered_fully_compatible(stack, schema):
    name = quote(subject(stack, schema), safe="")
    latest = http.get(f"{stack.registry}/subjects/{name}/versions/latest").json()
    assert latest["schema"].rstrip("\n") == schema.read_text().rstrip("\n")
    assert latest["version"] == 1
    config = http.get(f"{stack.registry}/config/{name}").json()
    assert config["compatibilityLevel"] == "FULL_TRANSITIVE"


def test_every_subject_is_of_topic_and_record(stack):
    subjects = http.get(f"{stack.registry}/subjects").json()
    ours = {s for s in subjects if s.startswith(stack.namespace + ".")}
    heads = {f"{stack.topic(service + '.audit-heads')}-returns.chassis.AuditHeads" for service in SERVICES}
    snapshots = {f"{stack.topic('support.snapshots')}-returns.support.ReturnSnapshot"}
    assert ours == {subject(stack, schema) for schema in SCHEMAS} | heads | snapshots
    text = HEADS.read_text().rstrip("\n")
    for name in heads:
        assert http.get(f"{stack.registry}/subjects/{quote(name, safe='')}/versions/latest").json()["schema"].rstrip("\n") == text


def test_a_request_of_the_independent_client_is_handled_like_supports_own(stack):
    return_id = f"R-OUT{uuid.uuid4().hex[:10].upper()}"
    event = refund_request(return_id, model="Borealis 27 monitor", location="Lyon")
    topic = stack.topic("support.events")
    value = write_avro(stack.registry, topic, event)
    (own,) = await_record(stack, "support", stack.submit())
    assert schema_id_of(value) == schema_id_of(own.value())
    trace = uuid.uuid4().hex
    publish(stack.kafka, topic, return_id, value, headers={"traceparent": f"00-{trace}-00f067aa0ba902b7-01"})
    stack.await_audits([return_id], TEAMS, 180)
    for team in TEAMS:
        (row,) = stack.audit(team, return_id=return_id)
        assert (row["outcome"], row["event_id"], row["trace_id"]) == ("handled", event["event_id"], trace)
        (record,) = await_record(stack, team, return_id)
        assert read_avro(stack.registry, record)["caused_by"] == event["event_id"]
    wait(lambda: http.get(f"{stack.url('support')}/api/returns/{return_id}").status_code == 200, 60, "support shows it")
    wait(lambda: stack.get("support", f"/api/returns/{return_id}")["status"] == "handled", 60, "it is handled")
    page = http.get(f"{stack.url('support')}/returns/{return_id}").text
    assert event["serial_number"] in page and "Lyon" in page


def test_an_incompatible_schema_in_the_registry_stops_publishing_and_nothing_else(stack, tmp_path):
    hand = ByHand(["support", "sales"], tmp_path, kafka=stack.kafka, registry=stack.registry)
    subject_path = f"{quote(hand.topic('sales.events'), safe='')}-returns.sales.OrderRefunded"
    theirs = {"type": "record", "name": "OrderRefunded", "namespace": "returns.sales",
              "fields": [{"name": "order_id", "type": "int"}]}
    register = f"{stack.registry}/subjects/{subject_path}/versions"
    assert http.post(register, json={"schema": json.dumps(theirs)}).status_code == 200
    level = {"compatibility": "FULL_TRANSITIVE"}
    assert http.put(f"{stack.registry}/config/{subject_path}", json=level).status_code == 200

    def refused():
        components = hand.status("sales")["components"]
        return [c["text"] for c in components if c["state"] == "failed" and "OrderRefunded" in c["text"]]

    with hand:
        (text,) = wait(refused, 60, "sales says that the registry refused its schema")
        assert "nothing is published" in text
        page = http.get(hand.url("sales") + "/").text
        assert "nothing is published" in page and "OrderRefunded" in page
        return_id = hand.submit()
        hand.await_audits([return_id], ["sales"], 180)
        assert hand.audit("sales", return_id=return_id)[0]["outcome"] == "handled"
        assert hand.status("sales")["outbox"]["depth"] == 1
        assert not records(stack.kafka, hand.topic("sales.events"))
        assert http.get(hand.url("sales") + "/readyz").status_code == 200
    assert http.get(register).json() == [1]
