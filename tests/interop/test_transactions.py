"""Topics that are written by transactions: their marks take offsets, and what was given up or is under way is not read."""

import json
import signal
import subprocess
import uuid

import pytest
from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from stack import BIN, ROOT, ByHand, wait
from wire import records, refund_request, write_avro


@pytest.fixture
def hand(stack, tmp_path):
    """Support and sales, whose topics a program writes that is no relay."""
    with ByHand(["support", "sales"], tmp_path, kafka=stack.kafka, registry=stack.registry) as h:
        h.kafka, h.registry, h.admin = stack.kafka, stack.registry, AdminClient({"bootstrap.servers": stack.kafka})
        h.env = stack.env | {"RETURNS_NAMESPACE": h.namespace, "RETURNS_KAFKA": h.kafka, "RETURNS_REGISTRY": h.registry,
                             "RETURNS_HOME": "/nonexistent"}
        h.source = h.topic("support.events")
        h.await_connected(["support", "sales"])
        wait(lambda: not h.status("support")["outbox"]["depth"], 60, "support has its topic and its schemas")
        h.await_audits([h.submit()], ["sales"], 20)
        yield h


def transaction(hand):
    producer = Producer({"bootstrap.servers": hand.kafka, "transactional.id": uuid.uuid4().hex, "linger.ms": 0})
    producer.init_transactions(20)
    producer.begin_transaction()
    return producer


def request_in(hand, producer, partition):
    """A request by this producer. The id of its return."""
    return_id = "R-" + uuid.uuid4().hex[:13].upper()
    value = write_avro(hand.registry, hand.source, refund_request(return_id))
    producer.produce(hand.source, key=return_id, value=value, partition=partition)
    assert producer.flush(10) == 0
    return return_id


def committed(hand, count, partition=0):
    producer = transaction(hand)
    ids = [request_in(hand, producer, partition) for _ in range(count)]
    producer.commit_transaction(20)
    return ids


def aborted(hand, count, partition=0):
    producer = transaction(hand)
    ids = [request_in(hand, producer, partition) for _ in range(count)]
    producer.abort_transaction(20)
    return ids


def place(hand, service="sales", partition=0):
    return next(p for p in hand.status(service)["partitions"] if p["topic"] == hand.source and p["partition"] == partition)


def await_no_lag(hand, services=("support", "sales")):
    for name in services:
        wait(lambda: not any(p["lag"] for p in hand.status(name)["partitions"]), 60, f"{name} has no lag")


def lag_by_kafka(hand, group):
    """As any tool tells it: where the topic ends for those who wait for commits, less what the group has committed."""
    asked = [ConsumerGroupTopicPartitions(hand.topic(group), [TopicPartition(hand.source, p) for p in range(6)])]
    [found] = hand.admin.list_consumer_group_offsets(asked).values()
    reader = Consumer({"bootstrap.servers": hand.kafka, "group.id": "none"})
    try:
        return sum(reader.get_watermark_offsets(TopicPartition(hand.source, p.partition), timeout=10)[1] - max(0, p.offset)
                   for p in found.result(10).topic_partitions)
    finally:
        reader.close()


def run(hand, *words):
    done = subprocess.run([ROOT / "returns", *words], env=hand.env, cwd=ROOT, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout + done.stderr


def rebuild(hand, *words):
    done = subprocess.run([BIN / "sales", "rebuild", *words], env=hand.services["sales"].env, capture_output=True,
                          text=True, timeout=60)
    return done.returncode, done.stdout + done.stderr


def test_marks_are_no_lag(hand):
    """What ends in marks, and holds records that were given up, is read to its end; nobody waits for what is no record."""
    ids = committed(hand, 2)
    gone = aborted(hand, 3) + aborted(hand, 1, partition=1)
    ids += committed(hand, 1)
    gone += aborted(hand, 1)
    hand.await_audits(ids, ["sales", "support"], 20)
    await_no_lag(hand)
    for name in ("sales", "support"):
        wait(lambda: lag_by_kafka(hand, name) == 0, 60, f"the group {name} has no lag for Kafka's tools")
        assert not {r["return_id"] for r in hand.audit(name)} & set(gone)
        # An end of a transaction is answered before its mark is written.
        wait(lambda: (p := place(hand, name))["end"] == p["next"] and not p["held"], 60, f"{name} has read to the end")
    wait(lambda: (s := board(hand, "sales")) and s["behind"] == 0 and s["state"] == "up", 60, "sales is not behind")
    # Started anew, it finds the last record that it read before the marks; what comes then is handled.
    hand.services["sales"].stop(signal.SIGKILL)
    hand.services["sales"].start()
    hand.await_audits(more := committed(hand, 1), ["sales"], 20)
    await_no_lag(hand)
    # Nothing of what reads topics by offsets waits for a record where a mark is.
    code, said = run(hand, "tail", "--json", "--exit", "--from", "beginning", "support.events")
    told = [json.loads(line) for line in said.splitlines()]
    assert code == 0 and {r["key"] for r in told} >= set(ids + more) and not {r["key"] for r in told} & set(gone), said
    code, said = run(hand, "export", "support.events")
    assert code == 0 and not any(return_id in said for return_id in gone), said
    code, said = rebuild(hand, "--shadow")
    assert code == 0, said


def board(hand, name):
    return next((s for s in hand.get("support", "/api/board")["services"] if s["name"] == name), None)


@pytest.mark.full
def test_a_stopped_service_is_behind_by_records(hand):
    """Where nobody answers, the board counts by what the group committed."""
    hand.await_audits(committed(hand, 3), ["sales"], 20)
    await_no_lag(hand)
    wait(lambda: lag_by_kafka(hand, "sales") == 0, 60, "its place is committed")
    hand.services["sales"].stop(signal.SIGTERM)
    wait(lambda: (s := board(hand, "sales")) and (s["state"], s["behind"]) == ("stopped", 0), 60, "stopped, and nothing waits")


@pytest.mark.full
def test_one_under_way_is_waited_for(hand):
    """Its records are not there yet, nor is what stands behind them; that is no lag. Then all come, in their order."""
    first = transaction(hand)
    opened = request_in(hand, first, 0)
    behind = committed(hand, 1)
    elsewhere = committed(hand, 1, partition=1)
    hand.await_audits(elsewhere, ["sales"], 20)
    await_no_lag(hand)
    assert not {opened, *behind} & {r["return_id"] for r in hand.audit("sales")}
    assert lag_by_kafka(hand, "sales") == 0
    code, said = run(hand, "tail", "--json", "--exit", "--from", "beginning", "support.events")
    assert code == 0 and elsewhere[0] in said and opened not in said and behind[0] not in said, said
    hand.services["sales"].stop(signal.SIGKILL)
    hand.services["sales"].start()
    code, said = rebuild(hand, "--shadow")
    assert code == 0, said
    first.commit_transaction(20)
    hand.await_audits([opened, *behind], ["sales", "support"], 20)
    rows = [r["return_id"] for r in reversed(hand.audit("sales")) if r["return_id"] in (opened, *behind)]
    assert rows == [opened, *behind]
    await_no_lag(hand)


@pytest.mark.full
def test_a_database_made_anew_ends_at_a_record(hand):
    """Its place is behind the last record, not behind the mark: where it begins again, it looks for that record."""
    ids = committed(hand, 2)
    hand.await_audits(ids, ["sales"], 20)
    sales = hand.services["sales"]
    sales.stop(signal.SIGTERM)
    for file in (sales.folder / "data").glob("*sales.db*"):
        file.unlink()
    code, said = rebuild(hand)
    assert code == 0, said
    sales.start()
    hand.await_audits(committed(hand, 1), ["sales"], 20)
    assert not any(p["held"] for p in hand.status("sales")["partitions"])
    answered = [r.key().decode() for r in records(hand.kafka, hand.topic("sales.events"))]
    assert all(answered.count(return_id) == 1 for return_id in ids)
