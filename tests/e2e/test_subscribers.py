"""Whom a return waits for: who says where it is or publishes, also once Kafka has forgotten how far it was; no other."""

import sqlite3

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient

from stack import ByHand, http, wait

DAYS = 24 * 3600 * 1000
HERE = "http://127.0.0.1:1"


@pytest.fixture
def hand(stack, tmp_path):
    with ByHand(["support"], tmp_path, kafka=stack.kafka, registry=stack.registry) as hand:
        hand.kafka = stack.kafka
        hand.await_connected(["support"])
        yield hand


def commit(hand, group, metadata, offset=None):
    """Of all partitions of support's topic, by a client as kcat is: the offset, or else the end."""
    topic = hand.topic("support.events")
    reader = Consumer({"bootstrap.servers": hand.kafka, "group.id": hand.topic(group), "enable.auto.commit": False})
    ends = [reader.get_watermark_offsets(TopicPartition(topic, p), timeout=10)[1] for p in range(6)]
    places = [TopicPartition(topic, p, end if offset is None else offset, metadata) for p, end in enumerate(ends)]
    reader.commit(offsets=places, asynchronous=False)
    reader.close()


def forget(hand, group):
    admin = AdminClient({"bootstrap.servers": hand.kafka})
    for done in admin.delete_consumer_groups([hand.topic(group)]).values():
        done.result(30)


def teams(hand, return_id):
    return {t["team"]: t["handled"] for t in hand.get("support", f"/api/returns/{return_id}")["teams"]}


def status(hand, return_id):
    return hand.get("support", f"/api/returns/{return_id}")["status"]


def read_too(hand):
    return hand.get("support", "/api/board")["read_too"]


def submitted(hand):
    return_id = hand.submit()
    wait(lambda: hand.get("support", f"/api/returns/{return_id}")["published"], 60, "it is in the topic")
    return return_id


def test_who_only_reads_is_not_waited_for(hand):
    return_id = submitted(hand)
    commit(hand, "legal", HERE)
    wait(lambda: teams(hand, return_id) == {"legal": True}, 60, "legal has handled it")
    for n, metadata in enumerate(["", "kcat", "javascript:alert(1)", "http://" + "x" * 600]):
        commit(hand, f"x{n}", metadata, 0)
    wait(lambda: set(read_too(hand)) == {f"x{n}" for n in range(4)}, 60, "they read too")
    assert teams(hand, return_id) == {"legal": True} and status(hand, return_id) == "handled"
    assert hand.get("support", "/api/board")["totals"]["waiting"] == 0
    assert "<code>x2</code>" in http.get(hand.url("support") + "/").text
    commit(hand, "x1", HERE, 0)
    wait(lambda: teams(hand, return_id) == {"legal": True, "x1": False}, 60, "x1 says where it is now")
    assert status(hand, return_id) == "requested" and "x1" not in read_too(hand)


def restarted_after(hand, days, group):
    """The group was alive last so many days ago, and Kafka has it no more. Offsets are kept there for 3,650 days."""
    support = hand.services["support"]
    support.stop()
    forget(hand, group)
    (path,) = (support.folder / "data").glob("*.db")
    with sqlite3.connect(path) as db:
        assert db.execute("UPDATE subscriber_life SET at = at - ? WHERE team = ?", (days * DAYS, group)).rowcount == 1
    support.start()
    hand.await_connected(["support"])


@pytest.mark.full
def test_offsets_that_expired_neither_handle_a_backlog_nor_take_back_what_was_handled(hand):
    first = submitted(hand)
    commit(hand, "legal", HERE)
    wait(lambda: teams(hand, first) == {"legal": True}, 60, "legal has handled the first")
    second = submitted(hand)
    restarted_after(hand, 3660, "legal")
    commit(hand, "other", HERE)
    wait(lambda: teams(hand, second) == {"legal": False, "other": True}, 60, "legal is known to have a backlog")
    assert teams(hand, first) == {"legal": True, "other": True}
    assert (status(hand, first), status(hand, second)) == ("handled", "requested")
    commit(hand, "legal", HERE)
    wait(lambda: status(hand, second) == "handled", 60, "it comes back, and has handled it")


@pytest.mark.full
def test_a_group_that_was_deleted_is_not_waited_for(hand):
    return_id = submitted(hand)
    commit(hand, "legal", HERE, 0)
    commit(hand, "other", HERE)
    wait(lambda: teams(hand, return_id) == {"legal": False, "other": True}, 60, "both are known")
    forget(hand, "legal")
    wait(lambda: teams(hand, return_id) == {"other": True}, 60, "legal is gone")
    restarted_after(hand, 30, "other")
    commit(hand, "third", HERE)
    wait(lambda: teams(hand, return_id) == {"third": True}, 60, "so is who was deleted while support was down")
