"""support.snapshots: who starts from them and goes on with events comes to the state of who reads all; a wrong one is found."""

import hashlib
import itertools
import json
import signal
import subprocess
import uuid
from datetime import datetime, timezone

import pytest
from confluent_kafka.admin import AdminClient, ConfigResource
from confluent_kafka.schema_registry import SchemaRegistryClient

from orders import Sales, item
from stack import ROOT, SERVICES, TEAMS, ByHand, free_ports, http, wait
from test_quarantine import frame, register
from wire import publish, read_avro, records, refund_request, schema_id_of, write_avro

SCHEMA = (ROOT / "schemas/support/snapshots/ReturnSnapshot.avsc").read_text()
MOVES = {"RefundCancelled": "cancelled", "ReturnClosed": "closed"}
FIELDS = ["order_id", "model", "shipment_id", "serial_number", "location", "cost"]


def millis(moment):
    return round(moment.timestamp() * 1000)


class Reader:
    """A consumer's own idea of the returns: all from the beginning, or from snapshots and their positions on."""

    def __init__(self):
        self.returns, self.positions = {}, {}

    def start_from(self, snapshot):
        return_id = snapshot["return_id"]
        teams = {t["team"]: {**t, "last_at": millis(t["last_at"])} for t in snapshot["teams"]}
        self.returns[return_id] = {**snapshot, "teams": teams}
        self.positions[return_id] = {(p["topic"], p["partition"]): p["next_offset"] for p in snapshot["positions"]}

    def read(self, record, type_name, event):
        return_id = event.get("return_id")
        if return_id is None or record.offset() < self.positions.get(return_id, {}).get((record.topic(), record.partition()), 0):
            return
        state = self.returns.setdefault(return_id, {"version": 0, "status": "unknown", "attention": False, "request": None, "teams": {}})
        owner = record.topic().split(".")[-2]
        team = state["teams"].setdefault(owner, {"team": owner, "events": []})
        event_id = str(event["event_id"])
        if event_id in team["events"]:
            return
        team |= {"last_type": type_name, "last_at": millis(event["occurred_at"]), "events": [*team["events"], event_id]}
        name = type_name.rsplit(".", 1)[1]
        state["attention"] |= name.endswith("Declined")
        if owner == "support":
            if name != "CommandRejected":
                state["version"] = max(state["version"], event["version"])
            state["status"] = MOVES.get(name, state["status"])
            if name == "RefundRequest" and not state["request"]:
                state["request"] = {f: event[f] for f in FIELDS}
                state["status"] = "requested" if state["status"] == "unknown" else state["status"]

    def state(self, return_id):
        known = self.returns[return_id]
        teams = [known["teams"][name] for name in sorted(known["teams"])]
        return {"return_id": return_id, "teams": teams} | {k: known[k] for k in ("version", "status", "attention", "request")}


def digest(state):
    request = state["request"] and state["request"] | {"cost": {"amount": str(state["request"]["cost"]["amount"]), "currency": state["request"]["cost"]["currency"]}}
    text = json.dumps(state | {"request": request}, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def events_of(stack):
    found, client = [], SchemaRegistryClient({"url": stack.registry})  # which keeps what it was told
    for service in SERVICES:
        for record in records(stack.kafka, stack.topic(f"{service}.events")):
            schema = json.loads(client.get_schema(schema_id_of(record.value())).schema_str)
            found.append((record, f"{schema['namespace']}.{schema['name']}", read_avro(stack.registry, record)))
    return found


def snapshots_of(stack):
    """The last of each return, as compaction leaves them; and all."""
    every = records(stack.kafka, stack.topic("support.snapshots"))
    return {r.key().decode(): r for r in every}, every


def snapshots(stack, **changed):
    return subprocess.run([ROOT / "returns", "snapshots", "--json"], env=stack.env | changed, cwd=ROOT, capture_output=True, text=True, timeout=60)


def check(stack):
    done = snapshots(stack)
    assert done.returncode in (0, 1), done.stderr
    return done.returncode, json.loads(done.stdout)


def await_whole(stack, return_ids):
    """Until each of them has a snapshot that all teams are in."""
    def whole():
        found, _ = snapshots_of(stack)
        said = [read_avro(stack.registry, found[i]) for i in return_ids if i in found]
        return len(said) == len(return_ids) and all({t["team"] for t in s["teams"]} == set(SERVICES) for s in said)

    wait(whole, 60, "snapshots of all that was submitted")


@pytest.fixture(scope="module")
def hand(stack, tmp_path_factory):
    """All services in a namespace of their own: what else is in the topics is known."""
    with ByHand(SERVICES, tmp_path_factory.mktemp("snapshots"), kafka=stack.kafka, registry=stack.registry) as hand:
        hand.kafka, hand.registry = stack.kafka, stack.registry
        hand.env = stack.env | {  # what runs in the stack's own folder would win
            "RETURNS_NAMESPACE": hand.namespace, "RETURNS_KAFKA": stack.kafka, "RETURNS_REGISTRY": stack.registry,
            "RETURNS_HOME": "/nonexistent",
        }
        hand.await_connected()
        yield hand


@pytest.fixture(scope="module")
def submitted(hand):
    ids = [hand.submit() for _ in range(20)]
    hand.await_audits(ids, TEAMS, 180)
    await_whole(hand, ids)
    return ids


def test_the_topic_is_compacted(hand, submitted):
    topic = hand.topic("support.snapshots")
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
    admin = AdminClient({"bootstrap.servers": hand.kafka})
    config = admin.describe_configs([resource])[resource].result()
    assert config["cleanup.policy"].value == "compact"
    assert len(admin.list_topics(topic).topics[topic].partitions) == 6


@pytest.mark.full
def test_from_snapshots_on_is_as_from_the_beginning(hand, submitted):
    """Also from each older snapshot that is still there, which stands for earlier places."""
    _, every = snapshots_of(hand)
    more = [hand.submit() for _ in range(5)]  # these come after the snapshots were read
    hand.await_audits(more, SERVICES, 180)
    events, whole = events_of(hand), Reader()
    for event in events:
        whole.read(*event)
    newest = Reader()
    for record in every:
        snapshot = read_avro(hand.registry, record)
        newest.start_from(snapshot)
        state = newest.state(snapshot["return_id"])
        assert digest(state) == snapshot["digest"]
        older = Reader()
        older.start_from(snapshot)
        for event in events:
            if event[2].get("return_id") == snapshot["return_id"]:
                older.read(*event)
        assert older.state(snapshot["return_id"]) == whole.state(snapshot["return_id"])
    for event in events:
        newest.read(*event)
    assert {i: newest.state(i) for i in newest.returns} == {i: whole.state(i) for i in whole.returns}
    assert set(submitted + more) <= set(whole.returns)


def test_all_match_and_a_second_copy_of_an_event_changes_nothing(hand, submitted):
    (own,) = [r for r in records(hand.kafka, hand.topic("support.events")) if r.key().decode() == submitted[0]]
    publish(hand.kafka, own.topic(), submitted[0], own.value(), headers={n: v.decode() for n, v in own.headers()})
    more = hand.submit()
    await_whole(hand, [more])
    status, said = check(hand)
    assert (status, said["wrong"]) == (0, {}) and said["snapshots"] > 20


def test_a_planted_snapshot_is_found_and_named(hand, submitted):
    topic, return_id = hand.topic("support.snapshots"), submitted[1]
    latest = snapshots_of(hand)[0][return_id]
    snapshot = read_avro(hand.registry, latest)
    plants = {
        "version": snapshot | {"version": 7},
        "status": snapshot | {"status": "closed"},
        "attention": snapshot | {"attention": True},
        "request": snapshot | {"request": snapshot["request"] | {"model": "another"}},
        "teams": snapshot | {"teams": snapshot["teams"][:-1]},
        "digest": snapshot | {"digest": "0" * 64},
        "positions": snapshot | {"positions": [p | {"next_offset": 0} for p in snapshot["positions"]]},
    }
    for name, wrong in plants.items():
        publish(hand.kafka, topic, return_id, write_avro(hand.registry, topic, wrong, SCHEMA), partition=latest.partition())
        status, said = check(hand)
        assert status == 1 and list(said["wrong"]) == [return_id], name
        assert name == "positions" or said["wrong"][return_id].startswith(name)
    publish(hand.kafka, topic, return_id, latest.value(), partition=latest.partition())
    assert check(hand)[0] == 0


def test_what_an_outsider_asked_for_has_one_too(hand, submitted):
    event = refund_request("R-SNAPSHOT1")
    topic = hand.topic("support.events")
    publish(hand.kafka, topic, "R-SNAPSHOT1", write_avro(hand.registry, topic, event))
    await_whole(hand, ["R-SNAPSHOT1"])
    said = read_avro(hand.registry, snapshots_of(hand)[0]["R-SNAPSHOT1"])
    assert said["status"] == "requested" and said["request"]["serial_number"] == event["serial_number"]


@pytest.mark.full
def test_none_is_lost_when_support_is_killed_again_and_again(hand, submitted):
    ids = []
    for _ in range(6):
        ids += [hand.submit() for _ in range(3)]
        hand.services["support"].stop(signal.SIGKILL)
        hand.services["support"].start()
    hand.await_audits(ids, TEAMS, 30)
    await_whole(hand, ids)
    status, said = check(hand)
    assert (status, said["wrong"]) == (0, {})


# --- What others leave in the topics


def covered(hand, return_id, partition, offset):
    """Its snapshot, once it stands for that place of support's topic."""
    def stands():
        found = snapshots_of(hand)[0].get(return_id)
        said = found and read_avro(hand.registry, found)
        places = said and {(p["topic"], p["partition"]): p["next_offset"] for p in said["positions"]}
        return said if places and places.get((hand.topic("support.events"), partition), 0) > offset else None

    return wait(stands, 60, f"a snapshot of {return_id} for {partition}@{offset}")


def own_event(return_id, version):
    return {"event_id": str(uuid.uuid4()), "return_id": return_id, "version": version, "caused_by": None,
            "occurred_at": datetime.now(timezone.utc), "by": "elsewhere"}


@pytest.mark.full
def test_partitions_count_in_their_order_whichever_is_read_first(hand, submitted):
    """Of one return, in a partition each: requested, closed, cancelled."""
    topic = hand.topic("support.events")
    moves = {name: (ROOT / f"schemas/support/{name}.avsc").read_text() for name in MOVES}
    for order in itertools.permutations(["RefundRequest", *MOVES]):
        return_id = f"R-{uuid.uuid4().hex[:10]}"
        for partition, name in enumerate(order):
            event = refund_request(return_id) if name == "RefundRequest" else own_event(return_id, 2 + partition)
            value = write_avro(hand.registry, topic, event, *([moves[name]] if name in moves else []))
            place = publish(hand.kafka, topic, return_id, value, partition=2 * partition)
        said = covered(hand, return_id, *place)
        assert said["status"] == [MOVES[name] for name in order if name in MOVES][-1]
    assert check(hand)[1]["wrong"] == {}


def test_what_no_service_takes_for_an_event_counts_for_nothing(hand, submitted):
    return_id, topic = submitted[2], hand.topic("support.events")
    (own,) = [r for r in records(hand.kafka, topic) if r.key().decode() == return_id]
    before = check(hand)[1]
    text = lambda t: bytes([2 * len(t)]) + t.encode()  # noqa: E731
    fields = [{"name": n, "type": t} for n, t in (("event_id", "string"), ("return_id", "string"), ("version", "int"), ("occurred_at", "long"))]
    record = {"type": "record", "namespace": "returns.support", "fields": fields}
    request, closed = (frame(register(hand, record | {"name": n})) for n in ("RefundRequest", "ReturnClosed"))
    undated = frame(register(hand, record | {"name": "ReturnClosed", "fields": fields[:3]}))
    strange = {
        "noise": b"\x07 no frame",
        "nothing": None,
        "a request of nothing": request + text(str(uuid.uuid4())) + text(return_id) + b"\x04\x04",
        "an event_id that is none": closed + text("soon") + text(return_id) + b"\x04\x04",
        "of a return without a name": closed + text(str(uuid.uuid4())) + text("") + b"\x04\x04",
        "never": undated + text(str(uuid.uuid4())) + text(return_id) + b"\x04",
    }
    for value in strange.values():
        publish(hand.kafka, topic, return_id, value, partition=own.partition())
    Sales(hand).place("O-OF-NO-RETURN", "C-1", [item(1)])
    again = refund_request(return_id, event_id=str(uuid.uuid4()).upper(), version=2)
    place = publish(hand.kafka, topic, return_id, write_avro(hand.registry, topic, again), partition=own.partition())
    covered(hand, return_id, *place)
    letters = hand.get("support", "/api/dead-letters?limit=1000")["dead_letters"]
    assert len([one for one in letters if one["topic"] == topic]) == len(strange)
    status, said = check(hand)
    assert (status, said["wrong"]) == (0, {})
    assert said["undecodable"] == before["undecodable"] + len(strange)
    assert said["without_snapshot"] == before["without_snapshot"]


@pytest.mark.full
def test_what_could_be_read_since_it_was_put_aside_is_named_until_it_is_redriven(hand, submitted):
    return_id, topic = submitted[3], hand.topic("support.events")
    (own,) = [r for r in records(hand.kafka, topic) if r.key().decode() == return_id]
    schema = json.loads((ROOT / "schemas/support/ReturnClosed.avsc").read_text())
    ahead = register(hand, schema | {"doc": uuid.uuid4().hex}) + 1
    body = write_avro(hand.registry, topic, own_event(return_id, 2), json.dumps(schema))[5:]
    place = publish(hand.kafka, topic, return_id, frame(ahead) + body, partition=own.partition())

    def letters():
        found = hand.get("support", "/api/dead-letters?limit=1000")["dead_letters"]
        return [one for one in found if (one["partition"], one["offset"]) == place]

    (letter,) = wait(letters, 30, "it is put aside")
    again = refund_request(return_id, version=3)
    covered(hand, return_id, *publish(hand.kafka, topic, return_id, write_avro(hand.registry, topic, again), partition=own.partition()))
    assert check(hand)[0] == 0
    assert register(hand, schema | {"doc": uuid.uuid4().hex}) == ahead
    status, said = check(hand)
    assert status == 1 and list(said["wrong"]) == [return_id]
    answer = http.post(f"{hand.url('support')}/dead-letters/{letter['id']}/redrive")
    assert answer.status_code == 303
    wait(lambda: check(hand)[0] == 0, 60, "its snapshot has it")


@pytest.mark.full
def test_without_the_registry_nothing_is_said(hand, submitted):
    done = snapshots(hand, RETURNS_REGISTRY=f"http://127.0.0.1:{free_ports(1)[0]}")
    assert done.returncode == 2 and "registry" in done.stderr and not done.stdout
