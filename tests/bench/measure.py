"""One run of one contender: from its start until it has stored everything, measured from outside in one way for all."""

import os
import shutil
import signal
import sqlite3
import subprocess
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

import records
from contenders import TABLES
from records import Digest, place
from stack import BIN, POLICY, free_ports

TICKS = os.sysconf("SC_CLK_TCK")
STUCK_SECONDS = 180
LOOK_SECONDS = 0.005
WITH_US = ["setpriv", "--pdeathsig", "KILL"]  # however the bench ends


class Failed(Exception):
    """A contender did not do what it had to."""


def cpu_seconds(pid):
    stat = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(stat[11]) + int(stat[12])) / TICKS


def peak_mb(pid):
    return next(int(line.split()[1]) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM")) / 1024


def pss_mb(pid):
    return next(int(line.split()[1]) for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines() if line.startswith("Pss:")) / 1024


@dataclass
class Source:
    """What is to be read: the namespace's topics, how many events, and what must be stored of them."""

    kafka: str
    registry: str
    namespace: str
    topics: list
    events: int
    expected: tuple

    @staticmethod
    def of(kafka, registry, namespace, topics):
        digests = records.expected(kafka, namespace, topics)
        return Source(kafka, registry, namespace, topics, digests[0].rows, digests)


class Run:
    """A started contender, in a folder of its own. A context manager; at its end nothing of it is left."""

    def __init__(self, contender, source, home):
        self.contender, self.source = contender, source
        self.folder = Path(home) / f"run-{uuid.uuid4().hex[:8]}"
        self.log, self.db, self.process = self.folder / "log", None, None

    def environment(self):
        c, s = self.contender, self.source
        env = {k: v for k, v in os.environ.items() if not k.startswith("RETURNS_")} | c.env
        if c.ours:
            port = free_ports(1)[0]
            return env | {
                "RETURNS_KAFKA": s.kafka, "RETURNS_REGISTRY": s.registry, "RETURNS_NAMESPACE": s.namespace, "RETURNS_HOST": "127.0.0.1",
                "RETURNS_PORT": str(port), "RETURNS_DATA_DIR": str(self.folder), "RETURNS_POLICY": POLICY, "RETURNS_LOG_LEVEL": "warning",
                "RETURNS_INSTANCE": "-"}  # it leaves its group when it ends, so the next run can begin anew
        return env | {"BROKERS": s.kafka, "REGISTRY": s.registry, "TOPIC": s.topics[0], "GROUP": f"peer-{self.folder.name}",
                      "DB": str(self.folder / "peer.db"), "TABLES": str(TABLES)}

    def __enter__(self):
        self.folder.mkdir(parents=True)
        self.began = time.monotonic()
        with self.log.open("wb") as log:
            self.process = subprocess.Popen([*WITH_US, *self.contender.command], env=self.environment(), cwd=self.folder,
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        return self

    def __exit__(self, *_):
        self.stop()
        if self.db:
            self.db.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def file(self):
        return next(self.folder.glob("*.db"), None)

    def stored(self):
        """How many rows the log has: they are numbered without a gap."""
        try:
            if not self.db:
                if not (file := self.file()):
                    return 0
                self.db = sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=1)
            return self.db.execute("SELECT MAX(id) FROM audit").fetchone()[0] or 0
        except sqlite3.Error:  # its tables are being made
            return 0

    def fail(self, why):
        raise Failed(f"{self.contender.title}: {why}; the end of its log:\n{self.log.read_text(errors='replace')[-1500:]}")

    def wait(self, rows, count=None, look=LOOK_SECONDS):
        """Until it has so many. Returns (moment, its processor time, rows) of then."""
        seen, moved = -1, time.monotonic()
        while True:
            now = time.monotonic()
            n = (count or self.stored)()
            if self.process.poll() is not None:
                self.fail(f"it ended with {self.process.returncode}")
            if n >= rows:
                return time.monotonic(), cpu_seconds(self.process.pid), n
            if n != seen:
                seen, moved = n, now
            if now - moved > STUCK_SECONDS:
                self.fail(f"nothing new for {STUCK_SECONDS} s, at {n} of {rows}")
            time.sleep(look)

    def published(self):
        return records.ends(self.source.kafka, f"{self.source.namespace}.{self.contender.name}.events")

    def finish(self):
        """Until all is stored and published."""
        last = self.wait(self.source.events)
        if self.contender.publishes:
            last = self.wait(self.source.events * self.contender.publishes, self.published, 0.1)
        return last

    def digests(self):
        """(of where each event is, with its contents), as it stored them."""
        names, places, contents = self.source.namespace, Digest(), Digest()
        ours = self.contender.ours
        more = "" if ours else ", occurred_at, summary"
        only = " WHERE outcome = 'handled' AND topic IS NOT NULL" if ours else ""
        with sqlite3.connect(f"file:{self.file()}?mode=ro", uri=True) as db:
            for row in db.execute(f"SELECT topic, partition, record_offset, event_id, return_id, event_type{more} FROM audit{only}"):
                event = str(uuid.UUID(bytes=row[3])) if isinstance(row[3], bytes) else row[3]
                fields = place(row[0], names, row[1], row[2], event, row[4], row[5])
                places.add(*fields)
                if not ours:
                    contents.add(*fields, *row[6:])
        db.close()
        return places, contents

    def outcomes(self):
        """What became of the events, where ours say so."""
        if not self.contender.ours:
            return ""
        with sqlite3.connect(f"file:{self.file()}?mode=ro", uri=True) as db:
            found = db.execute("SELECT outcome, COUNT(*), MAX(summary) FROM audit GROUP BY outcome").fetchall()
        db.close()
        return "; " + ", ".join(f"{n} {outcome} ({summary})" for outcome, n, summary in found)

    def verify(self):
        """What it stored is what is in the topics, once each, and nothing else; and our log's chains are whole."""
        for got, wanted, what in zip(self.digests(), self.source.expected, ("events", "contents")):
            if not (self.contender.ours and what == "contents") and got != wanted:
                raise Failed(f"{self.contender.title}: the digest of the {what} that it stored differs: {got}; it must be {wanted}{self.outcomes()}")
        if self.contender.ours:
            done = subprocess.run([BIN / "returns_tool", "audit", "verify", self.file()], capture_output=True, text=True)
            if done.returncode:
                raise Failed(f"{self.contender.title}: audit verify says: {(done.stdout + done.stderr)[-500:]}")


def spoil(run):
    """For the test of the bench: one row is another than it was."""
    with sqlite3.connect(run.file()) as db:
        db.execute("UPDATE audit SET return_id = 'R-SPOILT' WHERE id = 1")
    db.close()


def catch_up(contender, source, home, spoilt=None):
    """The figures of one run from an empty database."""
    os.sync()
    with Run(contender, source, home) as run:
        first, cpu_first, rows_first = run.wait(1)
        last, cpu, _ = run.finish()
        memory = peak_mb(run.process.pid)
        run.stop()
        if spoilt == contender.name:
            spoil(run)
        run.verify()
    n = source.events
    return {
        "first_commit_s": first - run.began, "events_per_s": (n - rows_first) / max(last - first, 1e-9), "events_per_cpu_s": n / max(cpu, 1e-9),
        "hot_events_per_cpu_s": (n - rows_first) / max(cpu - cpu_first, 1e-9), "peak_mb": memory,
    }
