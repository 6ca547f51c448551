"""Drills and simulated load, from the command line and from the pages."""

import json
import subprocess
import threading

import httpx
import pytest

from stack import ROOT, SERVICES, TEAMS, ByHand, http, wait

VICTIM = "inventory"


def returns(stack, *words, seconds=120):
    done = subprocess.run(
        [ROOT / "returns", *words], env=stack.env, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=seconds,
    )
    return done.returncode, done.stdout, done.stderr


def simulate(stack, *words):
    code, said, wrong = returns(stack, "simulate", "--json", *words)
    assert code in (0, 1), wrong
    return code, json.loads(said)


def lag(stack, service):
    return sum(p["lag"] for p in stack.status(service)["partitions"])


@pytest.fixture
def going_on(stack):
    yield
    stack.verb("drill", VICTIM, "go-on")


def test_a_pause_holds_one_team_and_no_other(stack, going_on):
    assert "paused" in stack.verb("drill", VICTIM, "pause")
    assert stack.status(VICTIM)["drill"]["mode"] == "paused"
    ids = [stack.submit() for _ in range(8)]
    stack.await_audits(ids, [team for team in TEAMS if team != VICTIM], 180)
    wait(lambda: lag(stack, VICTIM) == 8, 60, "the team in the drill says that 8 wait for it")
    assert not [row for row in stack.audit(VICTIM) if row["return_id"] in ids]
    page = http.get(stack.url(VICTIM) + "/status").text
    assert "Paused since" in page and "as a drill" in page
    assert http.get(stack.url(VICTIM) + "/readyz").status_code == 200
    stack.verb("drill", VICTIM, "go-on")
    stack.await_audits(ids, [VICTIM], 180)
    assert stack.status(VICTIM)["drill"] is None
    assert sorted(row["return_id"] for row in stack.audit(VICTIM) if row["return_id"] in ids) == sorted(ids)
    said = [(row["actor"], row["summary"]) for row in stack.audit(VICTIM, action="drill")][:2]
    assert said == [("api", "go on as usual"), ("api", "pause: nothing more is taken")]


def test_slow_is_that_slow(stack, going_on):
    stack.verb("drill", VICTIM, "slow", "300")
    assert stack.status(VICTIM)["drill"]["ms"] == 300
    ids = [stack.submit() for _ in range(5)]
    took = stack.await_audits(ids, [VICTIM], 180)
    assert took > 4 * 0.3


@pytest.mark.full
def test_a_crash_is_followed_by_a_start_and_nothing_is_lost(stack):
    ids, over = [], threading.Event()

    def load():
        while not over.is_set():
            ids.append(stack.submit())

    before = stack.pid_of(VICTIM)
    stack.verb("drill", VICTIM, "slow", "60000")
    thread = threading.Thread(target=load)
    thread.start()
    try:
        assert "crashed" in stack.verb("drill", VICTIM, "crash")
        wait(lambda: stack.pid_of(VICTIM) not in (None, before), 60, f"{VICTIM} is another process")
    finally:
        over.set()
        thread.join()
    stack.await_audits(ids, TEAMS, 30)
    rows = [row["return_id"] for row in stack.audit(VICTIM) if row["return_id"] in ids]
    assert len(rows) == len(set(rows)) == len(ids)
    assert stack.status(VICTIM)["drill"] is None, "a restart ends a drill"
    assert "crash" in stack.audit(VICTIM, action="drill")[0]["summary"]


@pytest.mark.parametrize(
    "words, quoted",
    [
        (["drill"], "--help"),
        (["drill", VICTIM], "--help"),
        (["drill", VICTIM, "sleep"], "sleep"),
        (["drill", VICTIM, "slow"], "60000"),
        (["drill", VICTIM, "slow", "0"], '"0"'),
        (["drill", VICTIM, "slow", "60001"], "60001"),
        (["drill", VICTIM, "slow", "5s"], "5s"),
        (["drill", VICTIM, "pause", "now"], "now"),
        (["drill", "nobody", "pause"], "nobody"),
        (["simulate", "--rate", "0"], '"0"'),
        (["simulate", "--rate", "fast"], "fast"),
        (["simulate", "--for", "3d"], "3d"),
        (["simulate", "--seed", "-1"], "-1"),
        (["simulate", "--bad", "46"], "46"),
        (["simulate", "--colour", "red"], "--colour"),
    ],
)
def test_a_wrong_word_is_quoted(stack, words, quoted):
    code, said, wrong = returns(stack, *words)
    assert code == 2 and quoted in wrong and not said, wrong


@pytest.mark.parametrize("service", SERVICES)
def test_the_buttons_are_there_and_work_without_a_script(stack, service):
    page = http.get(stack.url(service) + "/status").text
    assert all(f'name="mode" value="{mode}"' in page for mode in ("pause", "slow", "crash", "go-on"))
    url = stack.url(service) + "/drill"
    answer = http.post(url, data={"mode": "go-on"})
    assert answer.status_code == 303 and answer.headers["location"] == "/status#drill"
    assert stack.audit(service, action="drill")[0]["actor"] == "form"
    assert http.post(url, data={"mode": "crash"}, headers={"Origin": "http://elsewhere.example"}).status_code == 403


def test_a_default_start_has_no_drills(tmp_path):
    with ByHand(["support", "sales"], tmp_path, kafka="127.0.0.1:1", registry="http://127.0.0.1:1") as hand:
        for name in ("support", "sales"):
            for path in ("/status", "/"):
                page = http.get(hand.url(name) + path).text
                assert "/drill" not in page and "/simulate" not in page
            for path in ("/drill", "/api/drill"):
                answer = http.post(hand.url(name) + path, data={"mode": "crash"})
                assert answer.status_code == 403 and "--drills" in answer.text
            assert hand.status(name)["drill"] is None
        for path in ("/simulate", "/api/simulate"):
            assert http.post(hand.url("support") + path, data={"rate": "1", "seconds": "1"}).status_code == 403


# --- Simulated load

def test_its_numbers_are_those_of_supports_list_and_of_every_audit(stack):
    code, said = simulate(stack, "--rate", "100", "--for", "3s", "--seed", "11", "--duplicates", "10", "--bad", "10")
    assert code == 0 and said["submitted"] == 300 and said["errors"] == 0, said
    planned = said["planned"]
    assert said["accepted"] == planned["good"]
    assert said["refused"] == {"409": planned["duplicates"], "422": planned["bad"], "other": 0}
    assert planned["duplicates"] > 10 and planned["bad"] > 10
    mark = f"SN-{said['run']}-11-"
    listed, before = {}, {}
    while True:
        page = http.get(stack.url("support") + "/api/returns", params={"limit": 1000} | before).json()
        listed |= {r["return_id"]: r for r in page["returns"] if r["request"]["serial_number"].startswith(mark)}
        if not page["next"]:
            break
        before = {"before": page["next"]}
    assert len(listed) == said["accepted"]
    assert {team["team"] for team in said["teams"]} >= set(TEAMS)
    for team in said["teams"]:
        rows = [row for row in stack.audit(team["team"], event_type="returns.support.RefundRequest") if row["return_id"] in listed]
        assert len(rows) == team["handled"] == said["accepted"] and team["running"] and not team["not_handled"]
        delay = team["submit_to_handled"]
        assert 0 < delay["p50_ms"] <= delay["p99_ms"] <= delay["max_ms"] < 60000
    assert len({r["request"]["location"] for r in listed.values()}) > 15
    assert len({r["request"]["cost"]["currency"] for r in listed.values()}) > 5


@pytest.mark.full
def test_a_seed_is_the_same_returns_and_may_be_used_again(stack):
    seen = []
    for _ in range(2):
        code, said = simulate(stack, "--rate", "50", "--for", "1s", "--seed", "12")
        assert code == 0
        wanted = f"SN-{said['run']}-12-"
        page = http.get(stack.url("support") + "/api/returns", params={"limit": 100}).json()["returns"]
        requests = [r["request"] for r in page if r["request"]["serial_number"].startswith(wanted)]
        assert len(requests) == said["accepted"]
        ordered = ("serial_number", "order_id", "shipment_id")  # anew for each run
        without = [{k: v for k, v in q.items() if k not in ordered} for q in requests]
        seen.append(sorted(json.dumps(q, sort_keys=True) for q in without))
    assert seen[0] == seen[1]


@pytest.mark.full
def test_what_a_running_team_does_not_handle_is_said(stack, going_on):
    stack.verb("drill", VICTIM, "pause")
    code, said = simulate(stack, "--rate", "20", "--for", "1s", "--limit", "2")
    assert code == 1
    missing = {team["team"]: team["not_handled"] for team in said["teams"] if team["team"] in TEAMS}
    assert missing == {team: said["accepted"] if team == VICTIM else 0 for team in TEAMS}


def test_a_stopped_team_is_no_failure(stack):
    stack.verb("stop", VICTIM)
    try:
        code, said, _ = returns(stack, "simulate", "--rate", "20", "--for", "1s")
        assert code == 0 and "wait: it does not run" in said
    finally:
        stack.verb("start", VICTIM)
        stack.await_connected([VICTIM])


def test_the_boards_button(stack):
    url = stack.url("support")
    assert 'action="/simulate"' in http.get(url + "/").text
    for wrong in ({"rate": "501", "seconds": "1"}, {"rate": "1", "seconds": "61"}, {"rate": "", "seconds": "x"}):
        assert http.post(url + "/api/simulate", data=wrong).status_code == 422
    answer = http.post(url + "/simulate", data={"rate": "50", "seconds": "2"})
    assert answer.status_code == 303 and answer.headers["location"] == "/#simulate"
    assert http.post(url + "/api/simulate", json={"rate": 1, "seconds": 1}).status_code == 409
    assert "running" in http.get(url + "/").text
    state = wait(
        lambda: (s := stack.get("support", "/api/simulate")) and not s["running"] and s, 30, "the run is over"
    )
    assert state["submitted"] == state["of"] == 100 and state["errors"] == 0
    assert state["accepted"] + state["duplicates_refused"] + state["bad_refused"] == 100
    row = stack.audit("support", action="simulate")[0]
    assert row["actor"] == "form" and row["summary"] == "50 returns a second for 2 s"


def test_the_button_does_not_hold_up_a_stop(tmp_path):
    with ByHand(["support"], tmp_path, kafka="127.0.0.1:1", registry="http://127.0.0.1:1", drills=1) as hand:
        assert http.post(hand.url("support") + "/api/simulate", json={"rate": 100, "seconds": 60}).status_code == 202
        wait(lambda: hand.get("support", "/api/simulate")["accepted"] > 20, 60, "some are accepted")
        code, seconds = hand.services["support"].stop()
        assert code == 0 and seconds < 10  # of the 60 that it would go on
