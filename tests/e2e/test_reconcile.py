"""Reconciliation: what is planted is found and named; a healthy run with kills has nothing to find."""

import json
import random
import signal
import sqlite3
import subprocess
import os

import pytest

from stack import ROOT, SERVICES, TEAMS, Stack, http, wait
from wire import publish, records

pytestmark = pytest.mark.full

RETURNS = 40


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A stack whose teams say often what they counted."""
    s = Stack(tmp_path_factory.mktemp("reconcile"))
    s.env |= {"RETURNS_AUDIT_HEADS_MS": "200"}
    try:
        s.verb("up", seconds=600)
        s.await_connected()
        ids = [s.submit() for _ in range(RETURNS)]
        s.await_audits(ids, SERVICES, 30)
        yield s
    finally:
        s.verb("down")


def reconcile(stack):
    """(exit code, result)"""
    done = subprocess.run(
        [ROOT / "returns", "reconcile", "--json"], env=stack.env, cwd=ROOT, stdin=subprocess.DEVNULL, timeout=60,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )
    return done.returncode, json.loads(done.stdout) if done.returncode < 2 else done.stderr


def team(result, name):
    (found,) = [t for t in result["teams"] if t["team"] == name]
    return found


def places(findings, *names):
    columns = ("team", "kind", "partition", "offset", "return_id")
    return sorted((tuple(f[n] for n in columns) for f in findings if not names or f["team"] in names), key=str)


def until(stack, condition, what, seconds=60):
    seen = []

    def looked():
        seen[:] = reconcile(stack)
        return seen[0] < 2 and condition(seen[1])

    try:
        wait(looked, seconds, what)
    except AssertionError as e:
        raise AssertionError(f"{e}; the last result: {seen}") from None
    return tuple(seen)


def none_late(result):
    teams = [t for t in result["teams"] if t["team"] in TEAMS]  # who only reads publishes no counts
    return len(teams) == len(TEAMS) and all(t["counted_at"] and not t["late"] and not t["unsent"] for t in teams)


def settled(stack):
    """Once every team has counted all that is there."""
    return until(stack, none_late, "no team is late")


def database(stack, service):
    return sqlite3.connect(stack.home / "data" / f"{stack.topic(service)}.db", timeout=10)


def edit(stack, service, *statements):
    with database(stack, service) as db:
        for statement, *values in statements:
            assert db.execute(statement, values).rowcount == 1, statement
    db.close()


def place_of(stack, service, return_id):
    (row,) = [r for r in stack.audit(service, return_id=return_id) if r["topic"] == stack.topic("support.events")]
    return row["partition"], row["offset"]


def where(stack, return_id):
    """Its request's place in the topic, found by an independent client."""
    (m,) = [m for m in records(stack.kafka, stack.topic("support.events")) if m.key().decode() == return_id]
    return m.partition(), m.offset()


def new_findings(before, after, service):
    return [f for f in places(after["findings"], service) if f not in places(before["findings"], service)]


def test_a_healthy_stack_has_nothing_to_find(own):
    code, result = settled(own)
    assert (code, result["fits"], result["findings"]) == (0, True, [])
    published = records(own.kafka, own.topic("support.events"))
    assert result["records"] == len(published) == sum(p["end"] - p["begin"] for p in result["watermark"])
    for name in TEAMS:
        assert team(result, name)["handled"] == len(published) and team(result, name)["missing"] == 0


def test_the_page_and_its_api_run_it_in_the_background(own):
    url = own.url("support")
    assert http.post(url + "/reconciliation").status_code == 303
    wait(lambda: own.get("support", "/api/reconciliation")["result"], 60, "a result")
    page = http.get(url + "/reconciliation").text
    assert "Nothing is missing or doubled." in page and "inventory" in page
    wait(lambda: http.post(url + "/api/reconciliation").status_code == 202, 60, "the run before has ended")
    said = own.get("support", "/api/reconciliation")
    assert said["running"] or said["result"]["fits"]


def test_late_while_a_team_is_stopped_and_not_after(own):
    settled(own)
    own.verb("stop", "inventory")
    late = [own.submit() for _ in range(3)]
    code, result = until(own, lambda r: team(r, "inventory")["late"] == 3 and team(r, "sales")["late"] == 0, "three are late")
    assert code == 0 and team(result, "inventory")["oldest_ms"] > 0
    older = team(until(own, lambda r: team(r, "inventory")["oldest_ms"] > 1000, "its age grows")[1], "inventory")
    assert older["late"] == 3 and older["missing"] == 0
    own.verb("start", "inventory")
    own.await_audits(late, ["inventory"], 180)
    assert settled(own)[0] == 0


def test_it_works_with_every_service_down(own):
    settled(own)
    for service in SERVICES:
        own.verb("stop", service)
    code, result = reconcile(own)
    assert (code, result["fits"]) == (0, True)
    for service in SERVICES:
        own.verb("start", service)
    own.await_connected()


def test_without_kafka_it_could_not_look(own):
    env = own.env | {"RETURNS_KAFKA": "127.0.0.1:1"}
    done = subprocess.run([ROOT / "returns", "reconcile"], env=env, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and "127.0.0.1:1" in done.stderr


def test_kills_duplicates_and_dead_letters_are_no_findings(own):
    """SIGKILLs of all services under load, the broker once, events sent twice, records that nobody can read."""
    chance, ids, before = random.Random(4), [], settled(own)[1]
    for i in range(30):
        ids += [own.submit() for _ in range(5)]
        if i % 3 == 0:
            pid = own.pid_of(chance.choice(TEAMS))
            if pid:
                os.kill(pid, signal.SIGKILL)
        if i % 10 == 1:
            again = chance.choice(records(own.kafka, own.topic("support.events")))
            publish(own.kafka, again.topic(), again.key(), again.value(), headers=dict(again.headers() or []))
            publish(own.kafka, again.topic(), f"R-NOISE{i}", b"\x07noise")
        if i == 25:
            own.verb("kill", "kafka")
    own.await_connected(seconds=60)
    own.await_audits(ids, SERVICES, 180)
    code, result = settled(own)
    assert result["findings"] == [] and code == 0, result["findings"]
    for name in TEAMS:
        seen = team(result, name)
        assert seen["duplicate"] > team(before, name)["duplicate"], seen
        assert seen["quarantined"] == team(before, name)["quarantined"] + 3, seen
        assert seen["handled"] + seen["declined"] + seen["quarantined"] + seen["duplicate"] + seen["skipped"] == result["records"]


# --- What is planted, each in a team of its own as far as possible: it stays


def stopped_with(own, service, n=1):
    """That many returns that the team, which is stopped, has not handled."""
    settled(own)
    own.verb("stop", service)
    ids = [own.submit() for _ in range(n)]
    own.await_audits(ids, [t for t in TEAMS if t != service], 180)
    return ids


def test_a_record_that_was_passed_over(own):
    before = settled(own)[1]
    (lost,) = stopped_with(own, "accounting")
    partition, offset = where(own, lost)
    edit(own, "accounting", ("UPDATE consumer_offset SET next_offset = ?, mark = NULL WHERE topic = ? AND partition = ? AND next_offset = ?",
                             offset + 1, own.topic("support.events"), partition, offset))
    own.verb("start", "accounting")
    code, after = until(own, lambda r: none_late(r) and not team(r, "accounting")["fits"], "it is found")
    assert code == 1
    assert new_findings(before, after, "accounting") == [("accounting", "missing", partition, offset, lost)]
    assert team(after, "accounting")["missing"] == team(before, "accounting")["missing"] + 1


def test_an_audit_row_that_was_deleted(own):
    before = settled(own)[1]
    victim = own.submit()
    own.await_audits([victim], TEAMS, 180)
    own.submit()
    settled(own)
    partition, offset = place_of(own, "manufacturing", victim)
    own.verb("stop", "manufacturing")
    edit(own, "manufacturing", ("DELETE FROM audit WHERE topic IS NOT NULL AND return_id = ?", victim))
    own.verb("start", "manufacturing")
    after = until(own, lambda r: team(r, "manufacturing")["missing"] and team(r, "manufacturing")["changed"], "it is found")[1]
    found = new_findings(before, after, "manufacturing")
    assert ("manufacturing", "missing", partition, offset, victim) in found
    assert len(found) == 2 and any(f[1] == "changed" for f in found), found


def test_an_event_that_was_deleted_before_it_was_sent(own):
    before = settled(own)[1]
    victim, *_ = stopped_with(own, "inventory", 8)
    with database(own, "inventory") as db:
        db.execute(f"CREATE TRIGGER plant AFTER INSERT ON outbox WHEN NEW.return_id = '{victim}' "
                   "BEGIN DELETE FROM outbox WHERE id = NEW.id; END")
    db.close()
    own.verb("start", "inventory")
    own.await_audits([victim], ["inventory"], 180)
    partition, offset = where(own, victim)
    after = until(own, lambda r: none_late(r) and team(r, "inventory")["missing"], "it is found")[1]
    assert new_findings(before, after, "inventory") == [("inventory", "missing", partition, offset, victim)]


def test_a_count_that_was_edited(own):
    before = settled(own)[1]
    chain = own.topic("support.events/3")
    edit(own, "accounting", ("UPDATE chain_tally SET n = n + 1 WHERE chain = ? AND outcome = 'handled'", chain))
    after = until(own, lambda r: team(r, "accounting")["changed"], "it is found")[1]
    assert new_findings(before, after, "accounting") == [("accounting", "changed", 3, None, None)]


@pytest.mark.parametrize("remembered", [True, False], ids=["and quarantined then", "and answered again"])
def test_an_event_that_was_handled_twice(own, remembered):
    """remembered: by the team's own table, which then declines to answer what it answered before."""
    before = settled(own)[1]
    victim = own.submit()  # the last record of its partition
    own.await_audits([victim], TEAMS, 180)
    settled(own)
    partition, offset = place_of(own, "sales", victim)
    own.verb("stop", "sales")
    edit(own, "sales",
         ("DELETE FROM event_seen WHERE event_id = (SELECT event_id FROM audit WHERE return_id = ? AND topic IS NOT NULL)", victim),
         ("DELETE FROM audit WHERE return_id = ? AND topic IS NOT NULL", victim),
         ("UPDATE consumer_offset SET next_offset = ?, mark = NULL WHERE topic = ? AND partition = ? AND next_offset = ?",
          offset, own.topic("support.events"), partition, offset + 1))
    if not remembered:
        edit(own, "sales", ("DELETE FROM refund WHERE return_id = ?", victim))
    own.verb("start", "sales")

    def found(result):
        return none_late(result) and team(result, "sales")["doubled"] > team(before, "sales")["doubled"]

    after = until(own, found, "it is found")[1]
    assert ("sales", "doubled", partition, offset, victim) in new_findings(before, after, "sales")
    assert (team(after, "sales")["quarantined"] > team(before, "sales")["quarantined"]) == remembered


def test_an_event_that_was_published_twice(own):
    before = settled(own)[1]
    victim = own.submit()
    own.await_audits([victim], TEAMS, 180)
    settled(own)
    partition, offset = where(own, victim)
    columns = "event_id, type, return_id, body, trace_parent, occurred_at"
    edit(own, "manufacturing", (f"INSERT INTO outbox ({columns}) SELECT {columns} FROM outbox WHERE return_id = ?", victim))
    own.verb("stop", "manufacturing")
    own.verb("start", "manufacturing")
    after = until(own, lambda r: none_late(r) and team(r, "manufacturing")["doubled"], "it is found")[1]
    assert new_findings(before, after, "manufacturing") == [("manufacturing", "doubled", partition, offset, victim)]


def test_the_shell_names_what_was_found(own):
    done = subprocess.run([ROOT / "returns", "reconcile"], env=own.env, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "missing: accounting, partition " in done.stdout, done.stdout
    refused = subprocess.run([ROOT / "returns", "reconcile", "--fast"], env=own.env, cwd=ROOT, capture_output=True, text=True)
    assert refused.returncode == 2 and "--fast" in refused.stderr
