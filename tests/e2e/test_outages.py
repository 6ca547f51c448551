"""Kafka, the registry or both are away: returns are accepted all the same, and arrive when they are back, with no help."""

import pytest

from stack import SERVICES, TEAMS, ByHand, form, http, request, wait
from wire import records



def submit_some(stack, n):
    """On the form and over the API by turns."""
    ids = []
    for i in range(n):
        if i % 2:
            ids.append(stack.submit())
        else:
            answer = http.post(stack.url("support") + "/returns", data=form(request()))
            assert answer.status_code == 303, answer.text
            ids.append(answer.headers["Location"].rpartition("/")[2])
    return ids


def says_waiting(stack, service, what):
    return any(what in text for text in stack.status(service)["waiting_for"])


def assert_once_and_in_order(stack, ids):
    """In the topic and in every audit log: each return once, and within a partition in the order of acceptance."""
    wanted = set(ids)
    by_partition = {}
    for record in records(stack.kafka, stack.topic("support.events")):
        key = record.key().decode()
        if key in wanted:
            by_partition.setdefault(record.partition(), []).append(key)
    assert sorted(key for keys in by_partition.values() for key in keys) == sorted(ids)
    for keys in by_partition.values():
        assert keys == [i for i in ids if i in set(keys)]
    for team in TEAMS:
        rows = [row for row in reversed(stack.audit(team)) if row["return_id"] in wanted]
        assert sorted(row["return_id"] for row in rows) == sorted(ids)
        for partition, keys in by_partition.items():
            here = [row for row in rows if row["partition"] == partition]
            assert [row["return_id"] for row in here] == keys
            assert [row["offset"] for row in here] == sorted(row["offset"] for row in here)


@pytest.fixture
def lasting(stack):
    """No service ends because of an outage, not even to be started again."""
    before = {service: stack.pid_of(service) for service in SERVICES}
    yield
    assert {service: stack.pid_of(service) for service in SERVICES} == before


@pytest.mark.full
@pytest.mark.usefixtures("lasting")
def test_kafka_stopped_and_started(stack):
    stack.verb("stop", "kafka")
    try:
        ids = submit_some(stack, 20)
        for service in SERVICES:
            wait(lambda: says_waiting(stack, service, stack.kafka), 60, f"{service} says that it waits for Kafka")
            page = http.get(stack.url(service) + ("/status" if service == "support" else "/"))
            assert page.status_code == 200 and stack.kafka in page.text
            assert http.get(stack.url(service) + "/readyz").status_code == 200
        page = http.get(f"{stack.url('support')}/returns/{ids[0]}")
        assert page.status_code == 200
        ids += submit_some(stack, 5)
    finally:
        stack.verb("start", "kafka")
    stack.await_audits(ids, TEAMS, 180)
    assert_once_and_in_order(stack, ids)
    stack.await_connected()


@pytest.mark.usefixtures("lasting")
def test_kafka_killed_comes_back_by_itself(stack):
    ids = submit_some(stack, 5)
    stack.verb("kill", "kafka")
    ids += submit_some(stack, 20)
    stack.await_audits(ids, TEAMS, 180)
    assert_once_and_in_order(stack, ids)
    stack.await_connected()


@pytest.fixture
def newcomers(stack, tmp_path):
    """All five services in a namespace that Kafka and the registry have never seen, started while both are away."""
    stack.verb("stop", "registry")
    stack.verb("stop", "kafka")
    try:
        with ByHand(SERVICES, tmp_path, kafka=stack.kafka, registry=stack.registry) as hand:
            hand.kafka = stack.kafka
            yield hand
    finally:
        stack.verb("start", "kafka")
        stack.verb("start", "registry")
        stack.await_connected()


@pytest.mark.full
def test_services_started_before_kafka_and_the_registry_go_on_by_themselves(stack, newcomers):
    for service in SERVICES:
        assert http.get(newcomers.url(service) + "/").status_code == 200
        assert http.get(newcomers.url(service) + "/audit").status_code == 200
        wait(lambda: says_waiting(newcomers, service, stack.kafka), 60, f"{service} says that it waits for Kafka")
        wait(lambda: says_waiting(newcomers, service, stack.registry), 60, f"{service} waits for the registry")
    ids = submit_some(newcomers, 6)
    stack.verb("start", "kafka")
    ids += submit_some(newcomers, 2)
    for service in SERVICES:
        wait(lambda: not says_waiting(newcomers, service, stack.kafka), 60, f"{service} has found Kafka")
        assert says_waiting(newcomers, service, stack.registry)
    assert newcomers.status("support")["outbox"]["depth"] == len(ids)
    assert not records(stack.kafka, newcomers.topic("support.events"))
    stack.verb("start", "registry")
    newcomers.await_audits(ids, TEAMS, 180)
    assert_once_and_in_order(newcomers, ids)
    for service in SERVICES:
        wait(lambda: not newcomers.status(service)["waiting_for"], 60, f"{service} waits for nothing")
