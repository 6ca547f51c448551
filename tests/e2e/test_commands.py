"""Cancelling and closing a return: with the version that one has seen, one at a time, and never unnoticed."""

import functools
import io
import itertools
import json
import os
import random
import signal
import socket
import sqlite3
import threading
import time
import uuid
from datetime import datetime, timezone

import fastavro
import pytest

from stack import ROOT, TEAMS, ByHand, http, request, wait
from test_input import NOWHERE, Support
from wire import publish, refund_request, write_avro

RACERS = 200
KEPT = 100  # refusals of each version
ROUNDS = int(os.environ.get("RETURNS_RACES", "100"))


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with ByHand(["support"], tmp_path_factory.mktemp("commands"), **NOWHERE) as hand:
        yield Support(hand)


@pytest.fixture
def support(running):
    return running


def command(url, return_id, name, if_match=None, **sent):
    headers = {} if if_match is None else {"If-Match": if_match}
    return http.post(f"{url}/api/returns/{return_id}/{name}", headers=headers, **sent)


def read(url, return_id):
    answer = http.get(f"{url}/api/returns/{return_id}")
    assert answer.status_code == 200
    one = answer.json()
    assert answer.headers["ETag"] == f'"{one["version"]}"'
    return one


def decided(support, return_id):
    """[(type, version)] in the outbox, in the order of the decisions."""
    rows = support.store.execute("SELECT type, body FROM outbox WHERE return_id = ? ORDER BY id", (return_id,))
    named = [(name.rpartition(".")[2], io.BytesIO(body)) for name, body in rows]
    return [(name, fastavro.schemaless_reader(body, schema_of(name))["version"]) for name, body in named]


@functools.cache
def schema_of(name):
    return fastavro.parse_schema(json.loads((ROOT / f"schemas/support/{name}.avsc").read_text()))


# --- Over HTTP, without Kafka


def test_a_return_is_cancelled_by_who_knows_its_version(support):
    accepted = http.post(support.url + "/api/returns", json=request())
    return_id = accepted.json()["return_id"]
    assert accepted.headers["ETag"] == '"1"' and read(support.url, return_id)["commands"] == ["cancel"]
    answer = command(support.url, return_id, "cancel", '"1"', json={"by": "agent-7"})
    assert answer.status_code == 200 and answer.headers["ETag"] == '"2"'
    said = answer.json()
    assert (said["return_id"], said["version"], said["status"], said["by"]) == (return_id, 2, "cancelled", "agent-7")
    assert http.get(said["page"]).status_code == 200
    one = read(support.url, return_id)
    assert (one["status"], one["version"], one["compensated"], one["commands"]) == ("cancelled", 2, False, [])
    assert decided(support, return_id) == [("RefundRequest", 1), ("RefundCancelled", 2)]
    row = support.hand.audit("support", return_id=return_id)[0]
    assert (row["action"], row["outcome"], row["actor"]) == ("cancel a return", "accepted", "api")
    assert row["event_type"] == "returns.support.RefundCancelled" and "agent-7" in row["summary"]


@pytest.mark.parametrize("if_match", ['"1"', "*", ',"1" ,', '"7", "1"', 'W/"1","1"'])
def test_what_fits(support, if_match):
    assert command(support.url, support.hand.submit(), "cancel", if_match).status_code == 200


@pytest.mark.parametrize("if_match", ['"2"', 'W/"1"', '"01"', '""', '"7", W/"1"'])
def test_what_is_stale_is_refused_and_kept(support, if_match):
    return_id = support.hand.submit()
    answer = command(support.url, return_id, "cancel", if_match, json={"by": "agent-8"})
    assert answer.status_code == 412 and answer.headers["Content-Type"].startswith("application/problem+json")
    problem = answer.json()
    assert (problem["version"], problem["return_status"], problem["return_id"]) == (1, "requested", return_id)
    assert answer.headers["ETag"] == '"1"' and "at version 1" in problem["detail"]
    assert decided(support, return_id) == [("RefundRequest", 1), ("CommandRejected", 1)]
    row = support.hand.audit("support", return_id=return_id)[0]
    assert (row["outcome"], row["event_type"]) == ("refused", "returns.support.CommandRejected")
    assert "agent-8" in row["summary"]
    assert command(support.url, return_id, "cancel", answer.headers["ETag"]).status_code == 200, "with what it says now"


def test_several_headers_are_one_list(support):
    return_id = support.hand.submit()
    answer = support.raw(
        f"POST /api/returns/{return_id}/cancel HTTP/1.1\r\nHost: x\r\nIf-Match: \"5\"\r\nIf-Match: \"1\"\r\n"
        "Content-Length: 0\r\nConnection: close\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 200")


def test_what_the_state_forbids_is_refused_and_kept(support):
    return_id = support.hand.submit()
    answer = command(support.url, return_id, "close", '"1"')
    assert answer.status_code == 409 and "not every subscriber has handled it" in answer.json()["detail"]
    assert command(support.url, return_id, "cancel", '"1"').status_code == 200, "the version that one saw is valid still"
    for name in ("cancel", "close"):
        answer = command(support.url, return_id, name, '"2"')
        assert answer.status_code == 409 and "is cancelled" in answer.json()["detail"]
        assert (answer.json()["version"], answer.json()["return_status"]) == (2, "cancelled")
    assert [version for _, version in decided(support, return_id)] == [1, 1, 2, 2, 2]


@pytest.mark.parametrize("sent, status", [
    ({}, 428),
    ({"if_match": ""}, 400), ({"if_match": "1"}, 400), ({"if_match": '"1'}, 400), ({"if_match": '*, "1"'}, 400),
    ({"if_match": '"1" "2"'}, 400), ({"if_match": "'1'"}, 400), ({"if_match": "\"1\"" * 500}, 400),
    ({"if_match": '"1"', "json": {"by": ""}}, 422), ({"if_match": '"1"', "json": {"by": "Zoë"}}, 422),
    ({"if_match": '"1"', "json": {"by": "x" * 65}}, 422), ({"if_match": '"1"', "json": {"by": 7}}, 422),
    ({"if_match": '"1"', "json": {"by": None}}, 422), ({"if_match": '"1"', "json": {"by": "a\0b"}}, 422),
    ({"if_match": '"1"', "json": {"version": "1"}}, 422), ({"if_match": '"1"', "json": []}, 400),
    ({"if_match": '"1"', "content": "{", "headers_": "application/json"}, 400),
    ({"if_match": '"1"', "content": "by=x", "headers_": "application/x-www-form-urlencoded"}, 415),
])
@pytest.mark.parametrize("name", ["cancel", "close"])
def test_what_cannot_be_read_changes_nothing(support, name, sent, status):
    return_id = support.hand.submit()
    before = support.holds()
    headers = {"If-Match": sent["if_match"]} if "if_match" in sent else {}
    if "headers_" in sent:
        headers["Content-Type"] = sent["headers_"]
    body = {k: v for k, v in sent.items() if k in ("json", "content")}
    answer = http.post(f"{support.url}/api/returns/{return_id}/{name}", headers=headers, **body)
    assert answer.status_code == status, answer.text
    assert answer.json()["detail"] and answer.headers["Content-Type"].startswith("application/problem+json")
    if status == 422:
        assert answer.json()["errors"][0]["field"] in ("by", "version")
    assert support.holds() == before and read(support.url, return_id)["version"] == 1


def test_a_return_that_there_is_not(support):
    before = support.holds()
    for if_match in (None, '"1"', "*", "x"):
        answer = command(support.url, "R-NONE", "cancel", if_match)
        assert answer.status_code == 404 and "R-NONE" in answer.json()["detail"]
    assert http.post(support.url + "/returns/R-NONE/close", data={"version": "1"}).status_code == 404
    assert support.holds() == before
    assert http.get(f"{support.url}/api/returns/R-NONE/cancel").status_code == 405
    again = http.get(f"{support.url}/returns/R-NONE/cancel")
    assert again.status_code == 303 and again.headers["Location"] == "/returns/R-NONE"


def test_an_item_is_free_again(support):
    sent = request()
    first = support.hand.submit(**sent)
    assert http.post(support.url + "/api/returns", json=sent).status_code == 409
    assert command(support.url, first, "cancel", "*").status_code == 200
    assert support.hand.submit(**sent) != first


def test_a_page_stays_readable_however_often_one_asks(support):
    return_id = support.hand.submit()
    with sqlite3.connect(database(support)) as db:
        for n in range(2, 5000):
            db.execute("INSERT INTO history (return_id, event_id, team, type, version, at, topic, partition, record_offset, "
                       "trace_id, data) VALUES (?, ?, 'support', 'returns.support.CommandRejected', ?, ?, 't', 0, ?, '', '{}')",
                       (return_id, uuid.uuid4().bytes, 1, n, n))
    page = http.get(f"{support.url}/returns/{return_id}")
    assert page.status_code == 200 and len(page.text) < 100_000 and "4978 older refused commands" in page.text
    assert page.text.count("<strong>CommandRejected") == 20 and "version 1 of the return" in page.text


def database(support):
    (path,) = (support.hand.services["support"].folder / "data").glob("*.db")
    return path


def post_form(support, return_id, name, **fields):
    return http.post(f"{support.url}/returns/{return_id}/{name}", data=fields)


def test_the_form(support):
    return_id = support.hand.submit()
    page = http.get(f"{support.url}/returns/{return_id}").text
    assert f'formaction="/returns/{return_id}/cancel"' in page and 'name="version" value="1"' in page
    assert 'name="idempotency_key"' in page and f"/{return_id}/close" not in page
    assert post_form(support, return_id, "cancel", by="me").status_code == 428
    assert post_form(support, return_id, "cancel", version='1" x').status_code == 400
    wrong = post_form(support, return_id, "cancel", version="1", other="x")
    assert wrong.status_code == 422 and f'href="/returns/{return_id}"' in wrong.text
    stale = post_form(support, return_id, "cancel", version="7", by="")
    assert stale.status_code == 412 and stale.headers["Content-Type"].startswith("text/html")
    assert "meant for version 7" in stale.text and "<h1>The return was not cancelled</h1>" in stale.text
    assert f'href="/returns/{return_id}"' in stale.text
    answer = post_form(support, return_id, "cancel", version="1", idempotency_key=str(uuid.uuid4()))
    assert answer.status_code == 303 and answer.headers["Location"] == f"/returns/{return_id}"
    row = support.hand.audit("support", return_id=return_id)[0]
    assert (row["outcome"], row["actor"]) == ("accepted", "form") and "by form" in row["summary"]
    page = http.get(f"{support.url}/returns/{return_id}").text
    assert "cancelled" in page and 'id="change"' not in page


def test_a_return_that_another_client_named_can_be_cancelled(support):
    """Its id need not be of support's own kind, nor its version within reason."""
    with sqlite3.connect(database(support)) as db:
        for return_id, version in (("R/Ü ?", 1), ("R-MANY", 2**63 - 1)):
            db.execute("INSERT INTO return_request (return_id, version, requested_at, order_id, model, shipment_id, "
                       "serial_number, location, cost_minor, cost_currency) VALUES (?, ?, 1, '', '', '', ?, '', 1, 'EUR')",
                       (return_id, version, return_id))
    answer = http.post(support.url + "/returns/R-MANY/cancel", data={"version": str(2**63 - 1)})
    assert answer.status_code == 409 and "cannot be counted any further" in answer.text
    assert decided(support, "R-MANY") == [("CommandRejected", 2**63 - 1)]


# --- Many at once


class Race:
    """Clients who have all seen version 1, each on a connection of its own; every other one cancels, the rest close. Who
    gets no answer asks again, as one does. kill: support is killed once so many were answered."""

    def __init__(self, service, return_id, names, kill=None):
        self.service, self.return_id = service, return_id
        self.statuses, self.lost = [], 0
        self.barrier = threading.Barrier(RACERS + 1)
        threads = [threading.Thread(target=self.run, args=(names[n % len(names)],)) for n in range(RACERS)]
        for thread in threads:
            thread.start()
        self.barrier.wait()
        if kill is not None:
            wait(lambda: len(self.statuses) >= kill, 30, "some were answered")
            service.stop(signal.SIGKILL)
            service.start()
        for thread in threads:
            thread.join()

    def run(self, name):
        asked = (f'POST /api/returns/{self.return_id}/{name} HTTP/1.1\r\nHost: x\r\nIf-Match: "1"\r\n'
                 "Content-Length: 0\r\nConnection: close\r\n\r\n").encode()
        self.barrier.wait()
        end = time.monotonic() + 60
        while not (status := self.ask(asked)) and time.monotonic() < end:
            self.lost += 1
        self.statuses.append(status)

    def ask(self, asked):
        """The answer's status; None: there was none."""
        try:
            with socket.create_connection(("127.0.0.1", self.service.port), timeout=10) as s:
                s.sendall(asked)
                head = s.recv(4096)
        except OSError:
            return None
        return int(head[9:12]) if len(head) >= 12 else None

    def assert_one_won(self):
        """A winner who was not told asks again, and is too late then."""
        assert len(self.statuses) == RACERS and set(self.statuses) <= {200, 412}, self.statuses
        won = self.statuses.count(200)
        assert won == 1 or won == 0 and self.lost, f"{won} have won"


def assert_one_by_one(changes):
    """[(type, version)]: the first command was accepted, and of the others, all refused, so many are kept."""
    assert changes[0] == ("RefundRequest", 1) and changes[1] in [("RefundCancelled", 2), ("ReturnClosed", 2)]
    assert changes[2:] == [("CommandRejected", 2)] * KEPT


def test_of_200_with_one_version_one_wins(support):
    for _ in range(3):
        race = Race(support.hand.services["support"], support.hand.submit(), ["cancel"])
        race.assert_one_won()
        assert_one_by_one(decided(support, race.return_id))


def folded(hand, return_id):
    """[(type, version)] of support's own events that it has read back."""
    answer = http.get(f"{hand.url('support')}/api/returns/{return_id}/events")
    events = answer.json()["events"] if answer.status_code == 200 else []
    return [(e["type"].rpartition(".")[2], e["version"]) for e in events if e["team"] == "support"]


@pytest.mark.full
def test_the_race_holds_a_hundred_times_with_kills(stack, tmp_path):
    with ByHand(["support", "sales"], tmp_path, kafka=stack.kafka, registry=stack.registry) as hand:
        service, chosen = hand.services["support"], random.Random(7)
        ids = [hand.submit() for _ in range(ROUNDS)]
        url, status = hand.url("support"), lambda i: hand.get("support", f"/api/returns/{i}")["status"]
        wait(lambda: hand.get("support", "/api/board")["totals"]["handled_by_all"] == ROUNDS, 60, "all are handled")
        for number, return_id in enumerate(ids):
            kill = chosen.randrange(RACERS) if number % 2 else None
            Race(service, return_id, ["cancel", "close"], kill).assert_one_won()
            assert status(return_id) in ("cancelled", "closed")
        for return_id in ids:
            wait(lambda: len(folded(hand, return_id)) == 2 + KEPT, 60, "its history is whole")
            assert_one_by_one(folded(hand, return_id))


# --- With every team


def status_of(stack, return_id):
    return stack.get("support", f"/api/returns/{return_id}")["status"]


def await_handled(stack, *ids):
    wait(lambda: all(status_of(stack, i) == "handled" for i in ids), 60, "all teams have handled it")


def page_of(stack, return_id):
    return http.get(f"{stack.url('support')}/returns/{return_id}").text


def done(stack, return_id):
    one = stack.get("support", f"/api/returns/{return_id}")
    return one["compensated"], {t["team"]: t["compensated"] for t in one["teams"] if t["team"] in TEAMS}


def test_every_team_undoes_it_one_that_was_away_too(stack):
    url, return_id = stack.url("support"), stack.submit()
    await_handled(stack, return_id)
    assert done(stack, return_id) == (None, dict.fromkeys(TEAMS))
    stack.verb("stop", "inventory")
    try:
        waits = stack.get("support", "/api/board")["totals"]["waiting"]
        assert command(url, return_id, "cancel", '"1"').status_code == 200
        others = {team: team != "inventory" for team in TEAMS}
        wait(lambda: done(stack, return_id) == (False, others), 60, "all but inventory have undone it")
        totals = stack.get("support", "/api/board")["totals"]
        assert totals["waiting"] == waits + 1 and totals["cancelled"] >= 1
        waiting = "waiting for inventory to undo it"  # once support has seen that who only reads is further
        wait(lambda: waiting in page_of(stack, return_id) and waiting in http.get(url + "/returns").text, 5, waiting)
        wait(lambda: "./returns start inventory" in page_of(stack, return_id), 60, "it says what to do")
    finally:
        stack.verb("start", "inventory")
    wait(lambda: done(stack, return_id) == (True, dict.fromkeys(TEAMS, True)), 60, "inventory has undone it too")
    assert status_of(stack, return_id) == "cancelled" and "Cancelled, and undone." in page_of(stack, return_id)
    # The totals go by the groups' offsets, which are asked for now and then.
    wait(lambda: stack.get("support", "/api/board")["totals"]["waiting"] == waits, 60, "nothing more waits than before")


def test_what_is_closed_stays_as_it_is(stack):
    url, sent = stack.url("support"), request()
    return_id = stack.submit(**sent)
    await_handled(stack, return_id)
    closed = stack.get("support", "/api/board")["totals"]["closed"]
    assert read(url, return_id)["commands"] == ["cancel", "close"]
    assert command(url, return_id, "close", '"1"', json={"by": "agent-7"}).json()["status"] == "closed"
    assert stack.get("support", "/api/board")["totals"]["closed"] == closed + 1
    for name in ("cancel", "close"):
        answer = command(url, return_id, name, '"2"')
        assert answer.status_code == 409 and "closed" in answer.json()["detail"]
    assert stack.submit(**sent) != return_id, "its item is free"
    wait(lambda: len(folded(stack, return_id)) == 4, 60, "the history is whole")
    assert folded(stack, return_id) == [
        ("RefundRequest", 1), ("ReturnClosed", 2), ("CommandRejected", 2), ("CommandRejected", 2)]
    told = [e["data"] for e in stack.events(return_id) if e["team"] == "support"]
    assert told[1]["by"] == "agent-7" and told[2]["by"] == "api"
    assert (told[2]["command"], told[2]["expected_version"]) == ("CancelReturn", 2) and "closed" in told[2]["reason"]


def test_the_timeline_tells_of_commands(stack):
    return_id = stack.submit()
    await_handled(stack, return_id)
    assert command(stack.url("support"), return_id, "cancel", '"9"').status_code == 412
    assert command(stack.url("support"), return_id, "cancel", "*").status_code == 200
    wait(lambda: len(folded(stack, return_id)) == 3 and done(stack, return_id)[0], 60, "it is undone")
    steps = stack.get("support", f"/api/returns/{return_id}")["timeline"]
    assert [s["after_ms"] for s in steps] == sorted(s["after_ms"] for s in steps)
    own = [(s["step"], s["event"]) for s in steps if s["team"] == "support"]
    assert own[:3] == [("submitted", None), ("stored", None), ("published", "RefundRequest")]
    assert sorted(own[3:]) == [
        ("cancelled", "RefundCancelled"), ("published", "CommandRejected"), ("published", "RefundCancelled"),
        ("refused", "CommandRejected")]
    moment = {(s["step"], s["event"]): s["after_ms"] for s in steps if s["team"] == "support"}
    assert moment["cancelled", "RefundCancelled"] <= moment["published", "RefundCancelled"]
    undone = [s for s in steps if s["step"] == "undone"]
    assert all(s["after_ms"] >= moment["cancelled", "RefundCancelled"] for s in undone)


# --- Published by others, in any order


def foreign(stack, name, return_id, version, partition, **fields):
    schema = (ROOT / f"schemas/support/{name}.avsc").read_text()
    event = {"event_id": str(uuid.uuid4()), "return_id": return_id, "version": version, "caused_by": None,
             "occurred_at": datetime.now(timezone.utc), "by": "elsewhere"} | fields
    topic = stack.topic("support.events")
    return publish(stack.kafka, topic, return_id, write_avro(stack.registry, topic, event, schema), partition)


def foreign_request(stack, return_id, partition):
    topic = stack.topic("support.events")
    value = write_avro(stack.registry, topic, refund_request(return_id))
    return publish(stack.kafka, topic, return_id, value, partition)


def fold_of(stack, return_id):
    """What support's table says of it; where no such place is, None."""
    with sqlite3.connect(f"file:{stack.home}/data/{stack.namespace}.support.db?mode=ro", uri=True) as db:
        return db.execute(
            "SELECT state, version, cancelled_version, cancelled_at, cancelled_partition, cancelled_offset "
            "FROM return_request WHERE return_id = ?", (return_id,)).fetchone()


@pytest.mark.parametrize("order", list(itertools.permutations("RCXD")), ids="".join)
def test_the_order_of_what_others_publish_does_not_count(stack, order):
    """R: the request; C: it is cancelled, and D: once more, by a later version; X: it is closed. Each in a partition of
    its own, so that a reader may find them in any order."""
    return_id, places = f"R-{uuid.uuid4().hex[:10]}", {}
    for n, what in enumerate(order, 1):
        if what == "R":
            foreign_request(stack, return_id, 0)
        else:
            name, version = {"C": ("RefundCancelled", 2), "X": ("ReturnClosed", 3), "D": ("RefundCancelled", 4)}[what]
            places[what] = foreign(stack, name, return_id, version, version)
        wait(lambda: len(folded(stack, return_id)) == n, 60, "support has read it")
    state, version, cancelled_version, at, partition, offset = fold_of(stack, return_id)
    assert (state, version, cancelled_version) == ("cancelled", 4, 2) and (partition, offset) == places["C"] and at
