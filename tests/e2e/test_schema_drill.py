"""./returns drill schema on a demo of its own, as what the registry has once it has for ever."""

import os
import shutil
import signal
import socket
import subprocess
import threading
import time
import uuid

import httpx
import pytest

from stack import ROOT, TEAMS, Stack, http, request, wait

pytestmark = pytest.mark.full

PAUSE = 0.05  # between two returns of one of the customers


class Load:
    """Customers who come all the time. Each sends again, with the same key, until there is an answer."""

    def __init__(self, url, customers=2):
        self.url, self.accepted, self.wrong = url + "/api/returns", [], []
        self.over = threading.Event()
        self.threads = [threading.Thread(target=self.run) for _ in range(customers)]

    def run(self):
        with httpx.Client(timeout=5, trust_env=False) as client:
            while not self.over.wait(PAUSE):
                self.send(client, request(), {"Idempotency-Key": str(uuid.uuid4())})

    def send(self, client, body, headers):
        until = time.monotonic() + 60
        while time.monotonic() < until:
            try:
                answer = client.post(self.url, json=body, headers=headers)
            except httpx.HTTPError:
                time.sleep(PAUSE)
                continue
            if answer.status_code == 202:
                return self.accepted.append(answer.json()["return_id"])
            if answer.status_code not in (409, 503):
                break
            time.sleep(PAUSE)
        self.wrong.append(body)

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        for thread in self.threads:
            thread.join()


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    home = tmp_path_factory.mktemp("d")
    stack = Stack(home)
    try:
        stack.verb("up", seconds=600)
        stack.await_connected()
        yield stack
    finally:
        stack.verb("down")
        shutil.copytree(stack.home / "logs", ROOT / "var/logs/test-schema-drill", dirs_exist_ok=True)
        assert not stack.processes()


def drill(demo, *words):
    """(exit status, what it printed)"""
    done = subprocess.run(
        [ROOT / "returns", "drill", "schema", *words], env=demo.env, stdin=subprocess.DEVNULL, timeout=600, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return done.returncode, done.stdout


def begin_and_kill(demo, at):
    process = subprocess.Popen(
        [ROOT / "returns", "drill", "schema"], env=demo.env, stdin=subprocess.DEVNULL, text=True, stdout=subprocess.PIPE)
    said = []
    while not (said and said[-1].startswith(at)):
        said.append(process.stdout.readline())
        assert said[-1], f"it ended: {said}"
    wait(lambda: "RETURNS_SCHEMAS" in (demo.home / "run/support.env").read_text(), 30, "support was given a schema")
    process.send_signal(signal.SIGKILL)
    process.wait()


def versions(demo):
    subject = f"{demo.topic('support.events')}-returns.support.RefundRequest"
    return httpx.get(f"{demo.registry}/subjects/{subject}/versions", trust_env=False).raise_for_status().json()


ROLL = "import sys; sys.path.insert(0, 'tests/schemas'); from pathlib import Path; from demo import Demo; Demo(Path(sys.argv[1]), ['support']).roll(None)"


def answers(url):
    address = httpx.URL(url)
    with socket.socket() as s:
        return s.connect_ex((address.host, address.port)) == 0


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_a_roll_waits_for_one_that_was_ended(demo, end):
    """Its supervisorctl goes on: two at a time would meet a support that the other has just started, or that still stops."""
    env = demo.env | {"RETURNS_HOST": "127.0.0.1"}
    command = [ROOT / "var/venv/bin/python", "-c", ROLL, ROOT]
    for delay in (0.05, 0.15, 0.3, None):
        environment = demo.home / "run/support.env"
        before, pid = environment.stat().st_ino, demo.pid_of("support")
        first = subprocess.Popen(command, env=env, cwd=ROOT)
        wait(lambda: environment.stat().st_ino != before, 30, "the first one has begun")
        if delay is None:  # in the middle of a stop that takes a while: it answers no more
            while answers(demo.url("support")):
                time.sleep(0.001)
            os.kill(pid, signal.SIGSTOP)
        else:
            time.sleep(delay)
        first.send_signal(end)
        first.wait()
        second = subprocess.Popen(command, env=env, cwd=ROOT)
        if delay is None:
            time.sleep(1)
            os.kill(pid, signal.SIGCONT)
        assert second.wait(60) == 0
        wait(lambda: http.get(demo.url("support") + "/readyz").status_code == 200, 30, "support is ready")


def test_a_schema_changes_under_load_and_nothing_is_lost_or_done_twice(demo, tmp_path):
    with Load(demo.url("support")) as load:
        begin_and_kill(demo, "2. ")
        for n in range(2):
            status, said = drill(demo)
            assert status == 0 and "FELL" not in said, said
            assert ("an earlier drill left support" in said) == (n == 0), said
        for line in (
                "13 returns in version 2; + drill_note, - channel", 'field "location": TYPE_MISMATCH', "refuses it, with 409",
                'field "urgency": READER_FIELD_MISSING_DEFAULT_VALUE', "nothing was registered: versions 1, 2 as before",
                "analytics counts RECALLED by that name", "0 fell"):
            assert line in said, said
        for team in TEAMS:
            assert f"{team} 13 values" in said or f"{team} 26 values" in said, said
        red = tmp_path / "RefundRequest.avsc"
        red.write_text((ROOT / "schemas/drill/next/RefundRequest.avsc").read_text().replace(', "default": "by default"', ""))
        status, said = drill(demo, "--next", str(tmp_path))
        assert status == 1 and "FELL  the registry takes the next version" in said, said
        assert 'field "drill_note": READER_FIELD_MISSING_DEFAULT_VALUE (give the field a default)' in said, said
        assert versions(demo) == [1, 2]
    assert not load.wrong and len(load.accepted) > 50 and len(set(load.accepted)) == len(load.accepted)
    assert demo.status("support")["components"] and "RETURNS_SCHEMAS" not in (demo.home / "run/support.env").read_text()
    demo.await_audits(load.accepted, TEAMS, 180)
    for return_id in load.accepted:
        wait(lambda: {e["team"] for e in demo.events(return_id)} >= set(TEAMS), 30, f"{return_id} was answered by all")
        events = demo.events(return_id)
        for service in ("support", *TEAMS):
            ids = {e["data"]["event_id"] for e in events if e["team"] == service}
            assert len(ids) == 1, f"{return_id}: {service} published {len(ids)} events"
        (asked,) = (e["data"] for e in events if e["type"] == "returns.support.RefundRequest")
        assert ("channel" in asked) != ("drill_note" in asked)
    for service in ("support", *TEAMS):
        assert demo.status(service)["dead_letters"] == 0
