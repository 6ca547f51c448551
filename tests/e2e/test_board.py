"""The board and a return's page tell what is so: against /api/status, the topics, and what was done to the processes."""

import os
import re
import signal
import subprocess
import time
from datetime import datetime

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient

from stack import SERVICES, TEAMS, http, port_setting, wait
from wire import publish, records


def board(stack):
    return {one["name"]: one for one in stack.get("support", "/api/board")["services"]}


def state_of(stack, team):
    return board(stack)[team]["state"]


FINE = ("up", "quarantining")  # the latter for what other tests have left


def await_state(stack, team, states, seconds):
    """How long it took."""
    begin = time.monotonic()
    wait(lambda: state_of(stack, team) in states, seconds, f"the board says that {team} is {states}")
    return time.monotonic() - begin


def all_returns(stack):
    ids, before = [], ""
    while before is not None:
        page = stack.get("support", f"/api/returns?limit=1000{before and '&before=' + before}")
        ids += [one["return_id"] for one in page["returns"]]
        before = page["next"]
    return set(ids)


@pytest.fixture
def calm(stack):
    """All run and have handled everything; the board is being looked at."""
    for team in SERVICES:
        await_state(stack, team, FINE, 15)
    wait(lambda: not any(one["behind"] for one in board(stack).values()), 60, "nobody is behind")
    return stack


@pytest.mark.alone
def test_a_stopped_team_shows_within_two_seconds_with_its_backlog(calm):
    calm.verb("stop", "inventory")
    try:
        assert await_state(calm, "inventory", ["stopped"], 2) <= 2
        ids = [calm.submit() for _ in range(12)]
        seen = wait(lambda: (b := board(calm)) and b["inventory"]["behind"] == 12 and b, 5, "12 events wait for inventory")
        assert seen["inventory"]["oldest_unhandled_ms"] > 0
        assert all(seen[team]["state"] in FINE for team in SERVICES if team != "inventory")
        totals = calm.get("support", "/api/board")["totals"]
        assert totals["waiting"] == 12 == totals["accepted"] - totals["handled_by_all"]
        page = http.get(calm.url("support") + "/").text
        assert "12 waiting" in page and "■</span> stopped" in page
        head = wait(lambda: (t := http.get(calm.url("sales") + "/audit").text) and "stopped" in t and t, 3,
                    "the head of sales shows it")
        assert "Inventory</a>" in head
        one = http.get(f"{calm.url('support')}/returns/{ids[-1]}").text
        assert "./returns start inventory" in one
    finally:
        calm.verb("start", "inventory")
    await_state(calm, "inventory", FINE, 10)
    wait(lambda: calm.get("support", "/api/board")["totals"]["waiting"] == 0, 60, "nothing waits")


@pytest.mark.alone
def test_a_frozen_team_does_not_answer_and_a_killed_one_comes_back(calm):
    pid = calm.pid_of("accounting")
    os.kill(pid, signal.SIGSTOP)
    try:
        assert await_state(calm, "accounting", ["does not answer"], 4) <= 4
        begin = time.monotonic()
        assert http.get(calm.url("support") + "/").status_code == 200
        assert time.monotonic() - begin < 0.5, "a page waits for a team that does not answer"
    finally:
        os.kill(pid, signal.SIGCONT)
    await_state(calm, "accounting", FINE, 5)
    before = board(calm)["sales"]["answered_at"]
    calm.verb("kill", "sales")
    wait(lambda: board(calm)["sales"]["state"] in FINE and board(calm)["sales"]["answered_at"] > before, 60, "sales is back")


def test_the_boards_figures_are_those_of_each_teams_status(calm):
    for _ in range(20):
        calm.submit()
    wait(lambda: calm.get("support", "/api/board")["totals"]["waiting"] == 0, 60, "all is handled")
    wait(lambda: not any(one["behind"] for one in board(calm).values()), 60, "the board has news of it")
    for name, one in board(calm).items():
        if not one["url"]:  # one that never said where it is
            continue
        status = calm.status(name)
        assert one["title"] == status["title"]
        assert one["behind"] == sum(p["lag"] for p in status["partitions"])
        assert one["dead_letters"] == status["dead_letters"]
        assert one["url"].endswith(f":{calm.ports[port_setting(name)]}")
    totals = calm.get("support", "/api/board")["totals"]
    returns = all_returns(calm)
    published = {r.key().decode() for r in records(calm.kafka, calm.topic("support.events"))} & returns
    assert totals["accepted"] == len(returns)
    assert totals["published"] == totals["handled_by_all"] == len(published)
    for team in TEAMS:
        last = max(records(calm.kafka, calm.topic(f"{team}.events")), key=lambda r: r.timestamp()[1])
        assert board(calm)[team]["last_event"]["event"] == dict(last.headers())["ce_type"].decode().rpartition(".")[2]


@pytest.mark.full
def test_a_newcomer_shows_by_itself(stack):
    """Another client that reads the topic, publishes nothing and tells nobody."""
    return_id = stack.submit()
    wait(lambda: stack.get("support", f"/api/returns/{return_id}")["status"] == "handled", 60, "it is handled")
    place = next(e for e in stack.events(return_id) if e["team"] == "support")
    consumer = Consumer({"bootstrap.servers": stack.kafka, "group.id": stack.topic("legal"), "auto.offset.reset": "earliest",
                         "enable.auto.commit": False})
    try:
        consumer.subscribe([stack.topic("support.events")])
        read = set()

        def has_read():
            m = consumer.poll(0.2)
            if m and not m.error():
                read.add((m.partition(), m.offset()))
            return (place["partition"], place["offset"]) in read

        wait(has_read, 30, "the newcomer has read the return")
        before = time.time()
        consumer.commit(asynchronous=False)
        wait(lambda: "legal" in stack.get("support", "/api/board")["read_too"], 60, "legal reads too")
        assert "legal" not in board(stack) and "legal" not in {
            t["team"] for t in stack.get("support", f"/api/returns/{return_id}")["teams"]}
        places = consumer.committed(consumer.assignment(), timeout=10)
        consumer.commit(offsets=[TopicPartition(p.topic, p.partition, p.offset, "http://127.0.0.1:1") for p in places if p.offset >= 0],
                        asynchronous=False)
        seen = wait(lambda: board(stack).get("legal"), 60, "legal is on the board")
        assert seen["subscribes"]
        assert "legal" in http.get(stack.url("support") + "/").text
        steps = stack.get("support", f"/api/returns/{return_id}")["timeline"]
        (step,) = [s for s in steps if s["team"] == "legal"]
        assert step["seen"] and step["step"] == "handled" and step["after_ms"] > 0
        teams = {t["team"]: t for t in stack.get("support", f"/api/returns/{return_id}")["teams"]}
        assert teams["legal"]["handled"] and teams["legal"]["at"] is None and teams["legal"]["seen_at"] >= time.strftime(
            "%Y-%m-%dT%H:%M:%S", time.gmtime(before - 1))
    finally:
        consumer.close()
        admin = AdminClient({"bootstrap.servers": stack.kafka})
        for done in admin.delete_consumer_groups([stack.topic("legal")]).values():
            done.result(30)
    wait(lambda: "legal" not in board(stack), 60, "legal has left the board")


@pytest.mark.full
def test_a_subscriber_that_publishes_nothing_says_where_it_is(stack):
    """In the metadata of its offsets, of whatever topic it reads; ours do, and any other client may: by host and port
    alone, and on a host that the settings allow."""
    wait(lambda: board(stack)["analytics"]["url"] == f"http://localhost:{stack.ports['ANALYTICS']}", 60, "analytics' address")
    group, topic = stack.topic("elsewhere"), stack.topic("sales.events")
    consumer = Consumer({"bootstrap.servers": stack.kafka, "group.id": group, "enable.auto.commit": False})
    try:
        for said in ("http://127.0.0.1:1", "http://localhost:2"):
            consumer.commit(offsets=[TopicPartition(topic, 0, 0, said)], asynchronous=False)
            wait(lambda: (board(stack).get("elsewhere") or {}).get("url") == said, 60, f"it is at {said}")
        assert not board(stack)["elsewhere"]["subscribes"]
        for said in ("javascript:alert(1)", "http://127.0.0.1:1/x", "http://127.0.0.1:1/?q=", "http://elsewhere.example:80"):
            consumer.commit(offsets=[TopicPartition(topic, 0, 0, "http://127.0.0.1:3")], asynchronous=False)
            wait(lambda: (board(stack).get("elsewhere") or {}).get("url") == "http://127.0.0.1:3", 60, "it is shown")
            consumer.commit(offsets=[TopicPartition(topic, 0, 0, said)], asynchronous=False)
            wait(lambda: not (board(stack).get("elsewhere") or {}).get("url"), 60, f"{said} is no address of a service")
    finally:
        consumer.close()
        admin = AdminClient({"bootstrap.servers": stack.kafka})
        for done in admin.delete_consumer_groups([group]).values():
            done.result(30)


@pytest.fixture(scope="module")
def handled(stack):
    return_id = stack.submit()
    wait(lambda: len(stack.events(return_id)) == 5, 60, "all teams reacted")
    wait(lambda: all(event["schema_version"] for event in stack.events(return_id)), 60, "schema versions are known")
    return return_id


def record_of(stack, event):
    return next(r for r in records(stack.kafka, event["topic"])
                if (r.partition(), r.offset()) == (event["partition"], event["offset"]))


def moment(ms):
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(ms // 1000)) + f".{ms % 1000:03}Z"


def test_the_history_holds_each_record_as_it_is_in_the_topic(stack, handled):
    for event in stack.events(handled):
        record = record_of(stack, event)
        assert event["record"] == record.value().hex()
        assert event["schema_id"] == int.from_bytes(record.value()[1:5], "big") and event["schema_version"] == 1
        assert event["recorded_at"] == moment(record.timestamp()[1])
        assert event["headers"] == [[name, value.decode()] for name, value in record.headers()]


def test_a_teams_audit_row_shows_the_event_that_it_is_about(stack, handled):
    (asked,) = [e for e in stack.events(handled) if e["team"] == "support"]
    (row,) = stack.audit("sales", return_id=handled)
    path = f"/audit/{row['id']}/event"
    wait(lambda: stack.get("sales", "/api" + path)["schema_version"], 60, "the schema's version is known")
    shown = stack.get("sales", "/api" + path)
    assert shown["reason"] is None and shown["key"] == handled
    same = ("topic", "partition", "offset", "recorded_at", "type", "data", "headers", "schema_id", "schema_version", "record")
    assert {name: shown[name] for name in same} == {name: asked[name] for name in same}
    assert asked["record"] in http.get(stack.url("sales") + path).text
    assert path in http.get(f"{stack.url('sales')}/audit/{row['id']}").text
    refused = http.get(f"{stack.url('sales')}/api/audit/999999999/event")
    assert refused.status_code == 404 and "999999999" in refused.json()["detail"]


def test_the_event_of_a_row_that_could_not_be_read_is_shown_by_its_bytes(stack):
    topic = stack.topic("support.events")
    place = publish(stack.kafka, topic, "R-STRANGE", b"\x07strange", partition=3)
    find = lambda: [r for r in stack.audit("sales") if (r["topic"], r["partition"], r["offset"]) == (topic, *place)]  # noqa: E731
    (row,) = wait(find, 60, "sales has put it aside")
    shown = stack.get("sales", f"/api/audit/{row['id']}/event")
    assert shown["data"] is None and shown["record"] == b"\x07strange".hex() and shown["key"] == "R-STRANGE"
    assert shown["reason"] in row["summary"]


def test_the_timeline_is_that_of_the_topics(stack, handled):
    one = stack.get("support", f"/api/returns/{handled}")
    steps = one["timeline"]
    assert [s["step"] for s in steps[:2]] == ["submitted", "stored"]
    assert [s["after_ms"] for s in steps] == sorted(s["after_ms"] for s in steps) and steps[0]["after_ms"] == 0
    (accepted,) = [row for row in stack.audit("support", return_id=handled) if row["outcome"] == "accepted"]
    assert steps[0]["at"] <= steps[1]["at"] <= accepted["at"]
    found = {(s["step"], s["team"]): s for s in steps}
    assert len(found) == len(steps)
    assert sum(team in SERVICES for _, team in found) == 3 + 3 * len(TEAMS)
    for event in stack.events(handled):
        record = record_of(stack, event)
        team, published = event["team"], moment(record.timestamp()[1])
        if team == "support":
            assert found["published", team]["at"] == published
            continue
        assert found["reacted", team]["at"] == published
        assert found["handled", team]["at"] == dict(record.headers())["ce_time"].decode()
        received = dict(record.headers())["ce_receivedtime"].decode()
        assert found["received", team]["at"] == received and received <= found["handled", team]["at"]
        assert found["received", team]["lasted_ms"] == max(0, ms_of(received) - record_ms(stack, handled))
        assert found["handled", team]["lasted_ms"] == event["data"]["occurred_at"] - ms_of(received)
        assert not found["handled", team]["seen"]
    page = http.get(f"{stack.url('support')}/returns/{handled}").text
    for step in steps:
        assert f">{step['after_ms']} ms<" in page and step["at"][11:23] in page
    ends = [int(x) + int(w) for x, w in re.findall(r'<rect class="\w+" x="(\d+)" y="1" width="(\d+)"', page)]
    assert len(ends) == len(steps) and max(ends) == 1000


def ms_of(moment):
    return round(datetime.fromisoformat(moment.replace("Z", "+00:00")).timestamp() * 1000)


def record_ms(stack, return_id):
    (event,) = [e for e in stack.events(return_id) if e["team"] == "support"]
    return record_of(stack, event).timestamp()[1]


def test_the_pages_kcat_line_shows_the_pages_bytes(stack, handled):
    page = http.get(f"{stack.url('support')}/returns/{handled}").text
    lines = [line.replace("&#39;", "'") for line in re.findall(r">(kcat [^<]+)</pre>", page)]
    shown = re.findall(r'<pre class="scroll hex"[^>]*>([0-9a-f ]+)</pre>', page)
    assert len(lines) == len(shown) == 5
    for line, bytes_ in zip(lines, shown):
        said = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True, timeout=30).stdout
        assert said.split() == bytes_.split()
    for team in TEAMS:
        assert f':{stack.ports[team.upper()]}/audit?return_id={handled}"' in page


def test_quarantine_shows(calm):
    before = board(calm)["sales"]["dead_letters"]  # of other tests
    publish(calm.kafka, calm.topic("support.events"), "R-BAD", b"\x07 no frame", partition=0)
    wait(lambda: board(calm)["sales"]["dead_letters"] == before + 1, 60, "the board counts it")
    sales = board(calm)["sales"]
    assert sales["state"] == "quarantining"
    assert sales["text"].startswith(f"{before + 1} event")
