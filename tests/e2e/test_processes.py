"""How services live: started, killed, stopped, idle."""

import functools
import operator
import signal
import statistics
import subprocess
import time

import pytest

from stack import BIN, SERVICES, TEAMS, ByHand, Service, http

NOWHERE = {"kafka": "127.0.0.1:9", "registry": "http://127.0.0.1:9"}


def test_a_killed_service_comes_back_by_itself_and_goes_on(stack):
    before = stack.pid_of("sales")
    ids = [stack.submit() for _ in range(5)]
    stack.verb("kill", "sales")
    ids += [stack.submit() for _ in range(5)]
    stack.await_audits(ids, ["sales"], 180)
    assert stack.pid_of("sales") not in (None, before)
    rows = [row["return_id"] for row in stack.audit("sales") if row["return_id"] in ids]
    assert sorted(rows) == sorted(ids)


def test_a_stopped_service_stays_stopped(stack):
    assert stack.pid_of("accounting")
    stack.verb("stop", "accounting")
    try:
        assert stack.pid_of("accounting") is None
        stack.verb("stop", "accounting")  # again: nothing to do
        stack.await_audits([stack.submit()], ["sales"], 180)  # others carry on, and supervision has had its time
        assert stack.pid_of("accounting") is None
    finally:
        stack.verb("start", "accounting")
    stack.verb("start", "accounting")
    stack.await_connected(["accounting"])


def test_up_again_changes_nothing_and_says_so(stack):
    stack.verb("up")  # should a program have been rebuilt meanwhile, its service is started anew here
    before = stack.processes()
    said = stack.verb("up")
    lasting = {p: c for p, c in stack.processes().items() if p in before}
    assert lasting == before
    assert "already" in said.lower() or "nothing" in said.lower(), said


def test_status_shows_every_service(stack):
    said = stack.verb("status")
    for service in [*SERVICES, "kafka", "registry"]:
        assert service in said.lower()


def assert_orderly(hand):
    """Each ends with 0, well before supervisord would kill it (stopwaitsecs); on a quiet machine within two seconds."""
    for name, service in hand.services.items():
        code, seconds = service.stop(signal.SIGTERM)
        assert (code, seconds < 8) == (0, True), f"{name} ended with {code} after {seconds:.2f} s"


def test_an_orderly_stop_ends_by_itself(stack, tmp_path):
    settings = {"kafka": stack.kafka, "registry": stack.registry}
    with ByHand(SERVICES, tmp_path, **settings) as hand:
        ids = [hand.submit() for _ in range(10)]
        hand.await_audits(ids[:1], TEAMS, 180)
        assert_orderly(hand)


def test_an_orderly_stop_without_kafka_ends_by_itself(tmp_path):
    with ByHand(SERVICES, tmp_path, **NOWHERE) as hand:
        assert_orderly(hand)


def start_ms(service):
    """Of starts of a service that has run before; its first one makes the database besides."""
    times = []
    for _ in range(3):
        times.append(1000 * service.start())
        service.stop(signal.SIGKILL)
    return times


@pytest.mark.parametrize("where", ["with Kafka", "without Kafka"])
def test_a_service_is_ready_soon_whether_kafka_is_there_or_not(stack, tmp_path, where):
    settings = {"kafka": stack.kafka, "registry": stack.registry} if where == "with Kafka" else NOWHERE
    best = {}
    for name in SERVICES:
        times = start_ms(Service(name, tmp_path, namespace="start", **settings))
        print(f"{name}: {min(times):.1f} ms, median {statistics.median(times):.1f} ms")
        best[name] = min(times)  # other work on the machine can only add to it
    assert max(best.values()) <= 2000, best  # on a quiet machine it is 50


def test_five_idle_services_use_at_most_60_mb(stack, tmp_path):
    with ByHand(SERVICES, tmp_path, kafka=stack.kafka, registry=stack.registry) as hand:
        return_id = hand.submit()
        hand.await_audits([return_id], TEAMS, 180)
        hand.await_connected()
        for service in SERVICES:
            assert http.get(hand.url(service) + "/").status_code == 200
        own, mapped = zip(*(service.resident_kb() for service in hand.services.values()))
    shared = functools.reduce(operator.or_, mapped)  # of each file the most that one of them has
    print(f"{sum(own)} kB of their own, {shared.total()} kB of files that they share")
    assert sum(own) + shared.total() <= 60 * 1024, (own, mapped)


def test_nothing_accepted_is_lost_when_support_is_killed_at_once(tmp_path):
    with ByHand(["support"], tmp_path, **NOWHERE) as hand:
        support = hand.services["support"]
        ids = []
        for _ in range(5):
            ids.append(hand.submit())
            support.stop(signal.SIGKILL)
            support.start()
        listed = hand.get("support", "/api/returns?limit=100")
        assert [r["return_id"] for r in listed["returns"]] == ids[::-1]
        assert hand.status("support")["outbox"]["depth"] == 5


@pytest.mark.parametrize(
    "flag, value, said",
    [
        ("--port", "eighty", "eighty"),
        ("--port", "65536", "65536"),
        ("--namespace", "Not OK", "Not OK"),
        ("--log-level", "loud", "loud"),
        ("--batch", "0", "0"),
        ("-X", "no.such.property=1", "no.such.property"),
        ("--colour", "red", "--colour"),
        ("--instance", "sales-2", "a database that belongs to one process"),
    ],
)
def test_a_wrong_setting_ends_the_program_with_exit_2(tmp_path, flag, value, said):
    done = subprocess.run(
        [BIN / "sales", "--data-dir", tmp_path, flag, value], capture_output=True, text=True, timeout=10
    )
    assert done.returncode == 2, done.stderr
    assert said in done.stderr and flag.strip("-").replace("-", " ").split()[0].lower() in done.stderr.lower()


def test_a_port_in_use_is_named(tmp_path):
    with ByHand(["sales"], tmp_path, **NOWHERE) as hand:
        port = hand.services["sales"].port
        (tmp_path / "second").mkdir()
        done = subprocess.run(
            [BIN / "sales", "--data-dir", tmp_path / "second", "--port", str(port)],
            capture_output=True, text=True, timeout=10,
        )
        assert done.returncode == 1 and str(port) in done.stderr and "in use" in done.stderr
        assert http.get(hand.url("sales") + "/livez").status_code == 200
