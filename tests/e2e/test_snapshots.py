"""support.snapshots: who starts from them and goes on with events comes to the state of who reads all; a wrong one is found."""

import hashlib
import json
import subprocess

import pytest
from confluent_kafka.admin import AdminClient, ConfigResource

from stack import ROOT, SERVICES, TEAMS, wait
from wire import publish, read_avro, records, refund_request, write_avro

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
    found = []
    for service in SERVICES:
        for record in records(stack.kafka, stack.topic(f"{service}.events")):
            headers = dict(record.headers() or [])
            found.append((record, headers["ce_type"].decode(), read_avro(stack.registry, record)))
    return found


def snapshots_of(stack):
    """The last of each return, as compaction leaves them; and all."""
    every = records(stack.kafka, stack.topic("support.snapshots"))
    return {r.key().decode(): r for r in every}, every


def check(stack):
    done = subprocess.run([ROOT / "returns", "snapshots", "--json"], env=stack.env, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode in (0, 1), done.stderr
    return done.returncode, json.loads(done.stdout)


def await_whole(stack, return_ids):
    """Until each of them has a snapshot that all teams are in."""
    def whole():
        found, _ = snapshots_of(stack)
        said = [read_avro(stack.registry, found[i]) for i in return_ids if i in found]
        return len(said) == len(return_ids) and all({t["team"] for t in s["teams"]} == set(SERVICES) for s in said)

    wait(whole, 20, "snapshots of all that was submitted")


@pytest.fixture(scope="module")
def submitted(stack):
    ids = [stack.submit() for _ in range(20)]
    stack.await_audits(ids, TEAMS, 20)
    await_whole(stack, ids)
    return ids


def test_the_topic_is_compacted(stack, submitted):
    topic = stack.topic("support.snapshots")
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
    admin = AdminClient({"bootstrap.servers": stack.kafka})
    config = admin.describe_configs([resource])[resource].result()
    assert config["cleanup.policy"].value == "compact"
    assert len(admin.list_topics(topic).topics[topic].partitions) == 6


def test_from_snapshots_on_is_as_from_the_beginning(stack, submitted):
    """Also from each older snapshot that is still there, which stands for earlier places."""
    _, every = snapshots_of(stack)
    more = [stack.submit() for _ in range(5)]  # these come after the snapshots were read
    stack.await_audits(more, SERVICES, 20)
    events, whole = events_of(stack), Reader()
    for event in events:
        whole.read(*event)
    newest = Reader()
    for record in every:
        snapshot = read_avro(stack.registry, record)
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


def test_all_match_and_a_second_copy_of_an_event_changes_nothing(stack, submitted):
    (own,) = [r for r in records(stack.kafka, stack.topic("support.events")) if r.key().decode() == submitted[0]]
    publish(stack.kafka, own.topic(), submitted[0], own.value(), headers={n: v.decode() for n, v in own.headers()})
    more = stack.submit()
    await_whole(stack, [more])
    status, said = check(stack)
    assert (status, said["wrong"]) == (0, {}) and said["snapshots"] > 20


def test_a_planted_snapshot_is_found_and_named(stack, submitted):
    topic, return_id = stack.topic("support.snapshots"), submitted[1]
    latest = snapshots_of(stack)[0][return_id]
    snapshot = read_avro(stack.registry, latest)
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
        publish(stack.kafka, topic, return_id, write_avro(stack.registry, topic, wrong, SCHEMA), partition=latest.partition())
        status, said = check(stack)
        assert status == 1 and list(said["wrong"]) == [return_id], name
        assert name == "positions" or said["wrong"][return_id].startswith(name)
    publish(stack.kafka, topic, return_id, latest.value(), partition=latest.partition())
    assert check(stack)[0] == 0


def test_what_an_outsider_asked_for_has_one_too(stack, submitted):
    event = refund_request("R-SNAPSHOT1")
    topic = stack.topic("support.events")
    publish(stack.kafka, topic, "R-SNAPSHOT1", write_avro(stack.registry, topic, event))
    await_whole(stack, ["R-SNAPSHOT1"])
    said = read_avro(stack.registry, snapshots_of(stack)[0]["R-SNAPSHOT1"])
    assert said["status"] == "requested" and said["request"]["serial_number"] == event["serial_number"]


def test_none_is_lost_when_support_is_killed_again_and_again(stack, submitted):
    ids = []
    for _ in range(6):
        ids += [stack.submit() for _ in range(3)]
        stack.verb("kill", "support")
        wait(lambda: stack.status("support"), 20, "support is back")
    stack.await_audits(ids, TEAMS, 30)
    await_whole(stack, ids)
    status, said = check(stack)
    assert (status, said["wrong"]) == (0, {})
