"""A running demo, as the schema drill uses it: over HTTP, the registry's API, Kafka, and its process control."""

import fcntl
import hashlib
import json
import os
import shlex
import struct
import subprocess
import time
import uuid
from pathlib import Path
from urllib.parse import quote

import httpx
from confluent_kafka import Consumer, TopicPartition

TYPE = "returns.support.RefundRequest"


class Fell(Exception):
    """Something of the drill does not hold, and the rest would make no sense."""


def wait(condition, seconds, what):
    """Until it gives something; what it gave."""
    until = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > until:
            raise Fell(f"after {seconds} s still not: {what}")
        time.sleep(0.1)
    return found


class Demo:
    def __init__(self, root, services):
        self.root, self.services = Path(root), services
        self.home = Path(os.environ["RETURNS_HOME"])
        host = os.environ["RETURNS_HOST"]
        self.host = "127.0.0.1" if host == "0.0.0.0" else host
        self.ports = {s: os.environ[s.upper().replace("-", "_") + "_PORT"] for s in services}
        namespace = os.environ["RETURNS_NAMESPACE"]
        self.prefix = namespace + "." if namespace else ""
        self.topic = f"{self.prefix}support.events"
        self.kafka = f"127.0.0.1:{os.environ['KAFKA_PORT']}"
        self.subject = f"/subjects/{quote(f'{self.topic}-{TYPE}', safe='')}/versions"
        self.http = httpx.Client(timeout=10, trust_env=False)

    # Services

    def url(self, service, path):
        return f"http://{self.host}:{self.ports[service]}{path}"

    def get(self, service, path):
        """None: it does not answer, or not with that."""
        try:
            answer = self.http.get(self.url(service, path))
            return answer.json() if answer.status_code == 200 else None
        except (httpx.HTTPError, ValueError):
            return None

    def post(self, service, path, body, seconds=30):
        """The answer; asked again with the same key until there is one, so that a restart costs nothing but time."""
        headers = {"Idempotency-Key": str(uuid.uuid4())}

        def once():
            try:
                answer = self.http.post(self.url(service, path), json=body, headers=headers)
            except httpx.HTTPError:
                return None
            again = answer.status_code in (429, 503) or (answer.status_code == 409 and "Retry-After" in answer.headers)
            return None if again else answer

        return wait(once, seconds, f"{service} answers a POST to {path}")

    def status(self, service):
        return wait(lambda: self.get(service, "/api/status"), 20, f"{service} tells how it is")

    def component(self, service, name):
        """(state, text)"""
        for one in (self.get(service, "/api/status") or {"components": []})["components"]:
            if one["name"] == name:
                return one["state"], one["text"]
        return None, ""

    def program(self, service):
        return hashlib.sha256((self.home / "bin" / service).read_bytes()).hexdigest()[:12]

    def condition(self, service):
        """What has to be the same before and after, as nobody but support has anything to do."""
        status = self.status(service)
        held = sum(1 for p in status["partitions"] if p["held"])
        return {"program": self.program(service), "started": status["started_at"], "put aside": status["dead_letters"], "held": held}

    # The registry

    def registry(self, method, path, body=None):
        url = f"http://127.0.0.1:{os.environ['REGISTRY_PORT']}/apis/ccompat/v7{path}"
        try:
            answer = self.http.request(method, url, json=body)
            return answer.status_code, answer.json()
        except (httpx.HTTPError, ValueError) as e:
            raise Fell(f"the registry does not answer {method} {path}: {e}") from None

    def versions(self):
        """{version: {"id", "schema"}} of RefundRequest."""
        status, numbers = self.registry("GET", self.subject)
        if status != 200:
            raise Fell(f"the registry has no version of {TYPE} yet: {numbers}")
        return {n: self.registry("GET", f"{self.subject}/{n}")[1] for n in numbers}

    # Support, with other schemas

    @property
    def environment(self):
        return self.home / "run" / "support.env"

    def given(self):
        """The folder that support was last started with by a drill; None: the program's own schemas."""
        found = [line for line in self.environment.read_text().splitlines() if line.startswith("RETURNS_SCHEMAS=")]
        return shlex.split(found[-1].partition("=")[2])[0] if found else None

    def roll(self, folder):
        """Starts support with the schemas of that folder; None: with its own. Returns when it is up."""
        with open(self.home / "run" / "support.roll", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # a drill that was killed here left its supervisorctl, which holds this
            lines = [line for line in self.environment.read_text().splitlines() if not line.startswith("RETURNS_SCHEMAS=")]
            if folder:
                lines.append(f"RETURNS_SCHEMAS={shlex.quote(str(folder))}")
            new = self.environment.with_suffix(".new")
            new.write_text("\n".join(lines) + "\n")
            new.rename(self.environment)
            was = self.started_at()  # None: it does not run, as when an interrupt came while it was started anew
            # In a session of its own, and not by subprocess.run(): neither a terminal that is closed nor an interrupt here may
            # end it between the stop and the start.
            restart = subprocess.Popen(
                ["supervisorctl", "-c", self.home / "run" / "supervisord.conf", "restart", "support"], stdout=subprocess.DEVNULL,
                stdin=subprocess.DEVNULL, start_new_session=True, pass_fds=[lock.fileno()])
            if status := restart.wait(60):
                raise Fell(f"support was not started anew: supervisorctl ended with {status}; see ./returns logs support")
        wait(lambda: self.started_at() not in (None, was), 30, "support is up again")

    def started_at(self):
        return (self.get("support", "/api/status") or {}).get("started_at")

    # Kafka

    def ends(self):
        """{partition: end} of support.events."""
        consumer = self.consumer()
        partitions = consumer.list_topics(self.topic, timeout=10).topics[self.topic].partitions
        found = {p: consumer.get_watermark_offsets(TopicPartition(self.topic, p), timeout=10)[1] for p in partitions}
        consumer.close()
        return found

    def schema_ids(self, begin, end):
        """Of every RefundRequest between two ends()."""
        consumer, ids = self.consumer(), []
        consumer.assign([TopicPartition(self.topic, p, begin[p]) for p in begin if begin[p] < end[p]])
        left = {p for p in begin if begin[p] < end[p]}
        until = time.monotonic() + 30
        while left:
            if time.monotonic() > until:
                raise Fell("the topic cannot be read to its end")
            m = consumer.poll(1)
            if not m or m.error():
                continue
            if m.offset() < end[m.partition()] and dict(m.headers() or []).get("ce_type") == TYPE.encode():
                ids.append(struct.unpack(">bI", m.value()[:5])[1])
            if m.offset() + 1 >= end[m.partition()]:
                left.discard(m.partition())
        consumer.close()
        return ids

    def consumer(self):
        return Consumer({"bootstrap.servers": self.kafka, "group.id": "drill", "enable.auto.commit": False, "auto.offset.reset": "error"})

    def rebuild(self, service):
        """Whether a state made anew from the first event on is the one in use; and what was said."""
        done = subprocess.run(
            [self.root / "returns", "rebuild", service, "--shadow", "--json", "--program", self.home / "bin" / service],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300)
        return done.returncode == 0, done.stderr.strip() or done.stdout.strip()


def newest(folder):
    path = Path(folder) / "RefundRequest.avsc"
    return path, json.loads(path.read_text())
