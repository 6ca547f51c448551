"""A full disk: what a service can't keep it does not acknowledge, and it goes on when there is room."""

import resource

import pytest

from stack import SERVICES, TEAMS, ByHand, http, request, wait


def fill(service):
    """From now on no file of the process can grow or be written: what it finds is what a full disk gives."""
    resource.prlimit(service.process.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))


def empty(service):
    resource.prlimit(service.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


@pytest.fixture
def hand(stack, tmp_path):
    with ByHand(SERVICES, tmp_path, kafka=stack.kafka, registry=stack.registry) as services:
        services.await_audits([services.submit()], TEAMS, 180)
        yield services


def test_a_team_without_room_waits_and_goes_on(hand):
    sales, pid = hand.services["sales"], hand.services["sales"].process.pid
    fill(sales)
    ids = [hand.submit() for _ in range(20)]
    others = [team for team in TEAMS if team != "sales"]
    hand.await_audits(ids, others, 180)
    answer = wait(lambda: (r := http.get(sales.url + "/readyz?verbose")).status_code == 503 and r, 60, "readiness is red")
    assert "[-]store failed" in answer.text and "disk" in answer.text, answer.text
    assert http.get(sales.url + "/").status_code == 200
    assert not {row["return_id"] for row in hand.audit("sales")} & set(ids)

    empty(sales)
    hand.await_audits(ids, ["sales"], 180)
    rows = [row["return_id"] for row in hand.audit("sales") if row["return_id"] in ids]
    assert sorted(rows) == sorted(ids)
    wait(lambda: http.get(sales.url + "/readyz").status_code == 200, 60, "readiness is green again")
    assert sales.process.pid == pid and sales.process.poll() is None


def test_support_without_room_accepts_nothing(hand):
    support = hand.services["support"]
    fill(support)
    refused = request()
    answer = http.post(support.url + "/api/returns", json=refused)
    assert answer.status_code == 503 and "disk" in answer.json()["detail"] and answer.headers["Retry-After"]
    assert http.get(support.url + "/returns").status_code == 200

    empty(support)
    accepted = hand.submit(serial_number=refused["serial_number"])
    hand.await_audits([accepted], TEAMS, 180)
    listed = [r["return_id"] for r in hand.get("support", "/api/returns?limit=100")["returns"]]
    assert len(listed) == 2 and accepted in listed
