"""The log is not what it was: noticed, said with the command that resolves it, and held. Never a silent jump."""

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from stack import ByHand, http, wait
from wire import publish, records, refund_request, write_avro


@pytest.fixture
def hand(stack, tmp_path):
    """Support and sales in a namespace of their own, whose topic may be spoilt; sales has read twelve events of it."""
    with ByHand(["support", "sales"], tmp_path, kafka=stack.kafka, registry=stack.registry) as both:
        both.kafka, both.admin = stack.kafka, AdminClient({"bootstrap.servers": stack.kafka})
        both.await_connected(["support", "sales"])
        both.registry = stack.registry
        both.await_audits([both.submit() for _ in range(12)], ["sales"], 180)
        yield both


def held(hand):
    return {p["partition"]: p["held"] for p in hand.status("sales")["partitions"] if p["held"]}


def next_offsets(hand):
    return {p["partition"]: p["next"] for p in hand.status("sales")["partitions"]}


def accept(hand, where, topic):
    answer = http.post(hand.url("sales") + "/api/log/accept", json={"topic": topic, "from": where})
    assert answer.status_code == 200, answer.text


def assert_said(hand, topic):
    text = [c["text"] for c in hand.status("sales")["components"] if c["name"] == "log" and c["state"] == "failed"]
    assert text and topic in text[0] and "./returns accept-log sales" in text[0]
    assert "accept-log" in http.get(hand.url("sales") + "/").text
    assert http.get(hand.url("sales") + "/readyz").status_code == 503


def recreate(hand, topic):
    hand.admin.delete_topics([topic])[topic].result(20)
    wait(lambda: topic not in hand.admin.list_topics(timeout=10).topics, 60, "the topic is gone")

    def created():
        try:
            hand.admin.create_topics([NewTopic(topic, 6, 1)])[topic].result(20)
        except Exception as e:  # its deletion may not be over yet
            return "already exists" in str(e) and None
        return True

    wait(created, 60, "the topic is made anew")


def fill(hand, topic, each):
    """So many new events in each partition. Returns their returns' ids."""
    ids = []
    for partition in range(6):
        for i in range(each):
            ids.append(f"R-NEW{partition}{i:04}")
            publish(hand.kafka, topic, ids[-1], write_avro(hand.registry, topic, refund_request(ids[-1])), partition)
    return ids


@pytest.mark.parametrize("each", [0, 12], ids=["shorter than our place", "longer than our place"])
def test_a_topic_made_anew_while_nobody_read_it(hand, each):
    topic = hand.topic("support.events")
    before = next_offsets(hand)
    read = {p for p, n in before.items() if n}
    hand.services["sales"].stop()
    recreate(hand, topic)
    ids = fill(hand, topic, each)
    rows = len(records(hand.kafka, topic))
    hand.services["sales"].spawn()
    wait(lambda: set(held(hand)) == read, 30, f"sales holds the partitions {read}")
    assert_said(hand, topic)
    assert {p: n for p, n in next_offsets(hand).items() if p in read} == {p: before[p] for p in read}
    accept(hand, "beginning", topic)
    wait(lambda: not held(hand), 60, "nothing is held")
    if ids:
        hand.await_audits(ids, ["sales"], 180)
    else:
        assert rows == 0
        (new,) = fill(hand, topic, 1)[:1]
        hand.await_audits([new], ["sales"], 180)
    assert hand.get("sales", "/api/audit/verify")["intact"]
    assert [r["action"] for r in hand.audit("sales") if r["topic"] is None] == ["accept another log"] * len(read)
    assert not hand.status("sales")["dead_letters"]


@pytest.mark.full
def test_a_topic_made_anew_while_it_is_read(hand):
    topic = hand.topic("support.events")
    read = {p for p, n in next_offsets(hand).items() if n}
    recreate(hand, topic)
    wait(lambda: read <= set(held(hand)), 40, f"sales holds the partitions {read}")
    assert_said(hand, topic)


def test_records_deleted_before_they_were_read(hand):
    topic = hand.topic("support.events")
    hand.services["sales"].stop()
    before = {}
    for partition in range(6):
        placed = [publish(hand.kafka, topic, "R-LOST", b"\x07", partition) for _ in range(5)]
        before[partition] = placed[-1][1]
    hand.admin.delete_records([TopicPartition(topic, p, o) for p, o in before.items()])
    wait(lambda: len(records_from_low(hand, topic)) == 6, 60, "all but the last records are deleted")
    hand.services["sales"].spawn()
    wait(lambda: held(hand), 30, "sales holds what was truncated below its place")
    assert_said(hand, topic)
    assert all("truncated" in why for why in held(hand).values())
    accept(hand, "end", topic)
    wait(lambda: not held(hand), 60, "nothing is held")
    new = hand.submit()
    hand.await_audits([new], ["sales"], 180)


def records_from_low(hand, topic):
    from confluent_kafka import Consumer

    consumer = Consumer({"bootstrap.servers": hand.kafka, "group.id": "marks"})
    try:
        marks = [consumer.get_watermark_offsets(TopicPartition(topic, p), timeout=10) for p in range(6)]
        return [1 for low, end in marks if end - low == 1]
    finally:
        consumer.close()


@pytest.mark.full
def test_records_deleted_after_they_were_read_are_no_news(hand):
    topic = hand.topic("support.events")
    places = next_offsets(hand)
    hand.services["sales"].stop()
    for future in hand.admin.delete_records([TopicPartition(topic, p, n) for p, n in places.items() if n]).values():
        future.result(20)
    hand.services["sales"].spawn()
    new = hand.submit()
    hand.await_audits([new], ["sales"], 180)
    assert not held(hand)
