"""What support and the other teams notice when one team is in trouble: measured, each kind of trouble beside a healthy
phase of the same run. ISOLATION_ROUNDS repeats every phase; what counts is the median over the rounds. The table is
printed, and kept in var/logs/isolation.txt.

A delay is from before the submit's request to the moment in the audit row, which the team's transaction writes.
"""

import contextlib
import datetime
import http.client
import json
import os
import signal
import sqlite3
import statistics
import threading
import time

import pytest

from stack import ROOT, TEAMS, request, wait

pytestmark = pytest.mark.alone

VICTIM = "inventory"
OTHERS = [team for team in TEAMS if team != VICTIM]
ROUNDS = int(os.environ.get("ISOLATION_ROUNDS", "1"))
SECONDS = 5 if ROUNDS > 1 else 3  # of a phase
PER_SECOND = 60
FACTOR, SLACK_MS = 3, 60  # what a loaded machine may add; the table tells the true figures


# --- Trouble

@contextlib.contextmanager
def meanwhile(step):
    """step() again and again, until the phase is over; it returns how long to pause."""
    over = threading.Event()

    def run():
        while not over.wait(step()):
            pass

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextlib.contextmanager
def healthy(stack):
    yield


@contextlib.contextmanager
def stopped(stack):
    stack.verb("stop", VICTIM)
    try:
        yield
    finally:
        stack.verb("start", VICTIM)


@contextlib.contextmanager
def killed(stack):
    """As soon as it is back, twice a second at the most."""

    def kill():
        pid = stack.pid_of(VICTIM)
        if pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return 0.5

    with meanwhile(kill):
        yield


@contextlib.contextmanager
def frozen(stack):
    pid = stack.pid_of(VICTIM)
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@contextlib.contextmanager
def locked(stack):
    """Another process's transaction, as long as the phase: nothing can be written meanwhile."""
    (path,) = (stack.home / "data").glob(f"*{VICTIM}.db")
    with contextlib.closing(sqlite3.connect(path, isolation_level=None, timeout=10)) as store:
        store.execute("BEGIN EXCLUSIVE")
        try:
            yield
        finally:
            store.execute("ROLLBACK")


@contextlib.contextmanager
def slow(stack):
    """A second for every event."""
    stack.verb("drill", VICTIM, "slow", "1000")
    try:
        yield
    finally:
        stack.verb("drill", VICTIM, "go-on")


TROUBLES = {"stopped": stopped, "killed in a loop": killed, "frozen": frozen, "slow": slow, "database locked": locked}


# --- Measuring

class Load:
    """Submits at a steady rate on one connection, and what it saw: {return id: when, in ms} and how long each took."""

    def __init__(self, stack):
        self.connection = http.client.HTTPConnection("127.0.0.1", stack.ports["SUPPORT"], timeout=10)
        self.sent, self.took = {}, []

    def submit(self):
        body, at, begin = json.dumps(request()), time.time() * 1000, time.perf_counter()
        self.connection.request("POST", "/api/returns", body, {"Content-Type": "application/json"})
        answer = self.connection.getresponse()
        said = answer.read()
        self.took.append((time.perf_counter() - begin) * 1000)
        assert answer.status == 202, said
        self.sent[json.loads(said)["return_id"]] = at

    def run(self, seconds):
        begin = time.perf_counter()
        for i in range(int(seconds * PER_SECOND)):
            time.sleep(max(0, begin + i / PER_SECOND - time.perf_counter()))
            self.submit()
        self.connection.close()


def moment(ms):
    return datetime.datetime.fromtimestamp(ms / 1000, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def delays(stack, team, sent):
    """From submit to audit, in ms, of each return. All must be there."""
    since = moment(min(sent.values()) - 1000)

    def rows():
        found = {row["return_id"]: row["at"] for row in stack.audit(team, since=since) if row["return_id"] in sent}
        return found if len(found) == len(sent) else None

    at = wait(rows, 60, f"all {len(sent)} returns in {team}")
    return [datetime.datetime.fromisoformat(at[r]).timestamp() * 1000 - ms for r, ms in sent.items()]


def percentiles(values):
    cuts = statistics.quantiles(values, n=100, method="inclusive")
    return {"p50": cuts[49], "p99": cuts[98]}


def caught_up(stack):
    return not stack.status(VICTIM)["waiting_for"] and all(not p["lag"] for p in stack.status(VICTIM)["partitions"])


def missing(stack, sent):
    """How many of the returns the team in trouble has not audited yet."""
    (path,) = (stack.home / "data").glob(f"*{VICTIM}.db")
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as store:
        return len(set(sent) - {row[0] for row in store.execute("SELECT return_id FROM audit")})


def phase(stack, trouble, seconds):
    """{("submit", "p50"): ms, …} under that trouble."""
    load = Load(stack)
    with trouble(stack):
        load.run(seconds)
        if trouble in (stopped, frozen, locked):
            assert missing(stack, load.sent) == len(load.sent), f"{VICTIM} was to be in trouble, and works"
        if trouble is slow:
            assert missing(stack, load.sent), f"{VICTIM} was to be slow, and keeps up"
        others = [d for team in OTHERS for d in delays(stack, team, load.sent)]
    wait(lambda: caught_up(stack), 60, f"{VICTIM} has caught up")
    seen = {"submit": percentiles(load.took), "audit": percentiles(others)}
    return {(what, p): ms for what, both in seen.items() for p, ms in both.items()}


# --- The table

COLUMNS = [(what, p) for what in ("submit", "audit") for p in ("p50", "p99")]


def medians(phases):
    return {c: statistics.median(p[c] for p in phases) for c in COLUMNS}


def table(normal, measured):
    lines = [f"isolation: {VICTIM} in trouble; {ROUNDS} × {SECONDS} s of {PER_SECOND} returns a second in each phase, "
             "medians, against the healthy phases beside it",
             f"{'':18}" + "".join(f"{f'{what} {p}':>22}" for what, p in COLUMNS)]
    lines.append(f"{'healthy':18}" + "".join(f"{normal[c]:>14.1f} ms     " for c in COLUMNS))
    for name, (ms, ratio) in measured.items():
        lines.append(f"{name:18}" + "".join(f"{ms[c]:>10.1f} ms ×{ratio[c]:<6.2f} " for c in COLUMNS))
    return "\n".join(lines) + "\n\n"


def test_one_team_in_trouble_is_no_trouble_to_others(stack):
    phase(stack, healthy, 2)  # warm
    beside = {name: [] for name in TROUBLES}
    seen = {name: [] for name in TROUBLES}
    before = phase(stack, healthy, SECONDS)
    for _ in range(ROUNDS):
        for name, trouble in TROUBLES.items():
            seen[name].append(phase(stack, trouble, SECONDS))
            after = phase(stack, healthy, SECONDS)
            beside[name].append({c: (before[c] + after[c]) / 2 for c in COLUMNS})
            before = after
    normal = medians([p for phases in beside.values() for p in phases])
    measured = {}
    for name in TROUBLES:
        ratio = {c: statistics.median(a[c] / b[c] for a, b in zip(seen[name], beside[name])) for c in COLUMNS}
        measured[name] = medians(seen[name]), ratio
    said = table(normal, measured)
    print(said)
    (ROOT / "var/logs").mkdir(parents=True, exist_ok=True)
    (ROOT / "var/logs/isolation.txt").write_text(said)
    for name, (ms, _) in measured.items():
        for c in COLUMNS:
            assert ms[c] < max(FACTOR * normal[c], normal[c] + SLACK_MS), f"{name}: {c}\n{said}"
