"""The subscribers under test: their processes, restarted when they end, as supervisord would."""

import os
import signal
import subprocess
import threading
import time
from pathlib import Path

from stack import BIN, POLICY, free_ports

WITH_US = ["setpriv", "--pdeathsig", "KILL"]  # however the kit ends
BACKOFF_SECONDS = 0.5
UNKNOWN_ID_MS = 6000  # how long ours ask for a schema id that the registry does not know


class Instance:
    def __init__(self, env, port):
        self.env = env | {"RETURNS_PORT": str(port), "RETURNS_PUBLIC_URL": f"http://127.0.0.1:{port}"}
        self.port, self.process, self.wanted, self.spawned = port, None, False, 0.0
        self.exits = []  # exit codes of those that nobody asked for


class Subscriber:
    def __init__(self, name, command, stack, folder, cwd):
        self.name, self.ours = name, command is None
        self.command, self.cwd = command or [str(BIN / name)], cwd
        self.folder = Path(folder) / name
        self.folder.mkdir(parents=True)
        self.log = self.folder / "log"
        self.group, self.events, self.dead_letters = (stack.topic(name + end) for end in ("", ".events", ".dead-letters"))
        env = {k: v for k, v in os.environ.items() if not k.startswith("RETURNS_")} | {
            "RETURNS_KAFKA": stack.kafka, "RETURNS_REGISTRY": stack.registry, "RETURNS_NAMESPACE": stack.namespace,
            "RETURNS_HOST": "127.0.0.1", "RETURNS_DATA_DIR": str(self.folder / "data"), "RETURNS_POLICY": POLICY,
            "RETURNS_UNKNOWN_ID_MS": str(UNKNOWN_ID_MS),
        }
        self.instances = [Instance(env, port) for port in free_ports(2)]
        self.publishes = self.audited = False  # known after the first requests
        self.lock = threading.Lock()

    def urls(self):
        return [f"http://127.0.0.1:{i.port}" for i in self.instances if i.wanted]

    def start(self, n=0):
        with self.lock:
            self.instances[n].wanted = True

    def kill(self, n=0):
        """kill -9; whether it comes back is for `wanted` to say."""
        with self.lock:
            self.end(self.instances[n], signal.SIGKILL)

    def stop(self, n=0, signum=signal.SIGTERM):
        with self.lock:
            one = self.instances[n]
            one.wanted = False
            if one.process and one.process.poll() is None:
                os.killpg(one.process.pid, signum)

    def end(self, one, signum):
        process, one.process = one.process, None
        if process:
            try:
                os.killpg(process.pid, signum)
            except ProcessLookupError:
                pass
            process.wait()

    def wait_stopped(self, n=0):
        one, end = self.instances[n], time.monotonic() + 10
        while one.process and one.process.poll() is None and time.monotonic() < end:
            time.sleep(0.02)
        with self.lock:
            self.end(one, signal.SIGKILL)

    def look(self):
        """Starts what has to run and does not."""
        with self.lock:
            for one in self.instances:
                if one.wanted and one.process and one.process.poll() is not None:
                    if not all(i.process for i in self.instances):  # of two, one may refuse to run: ours have one folder
                        one.exits.append(one.process.returncode)
                    one.process = None
                if one.wanted and not one.process and time.monotonic() - one.spawned > BACKOFF_SECONDS:
                    one.spawned = time.monotonic()
                    with open(self.log, "ab") as log:
                        one.process = subprocess.Popen(
                            [*WITH_US, *self.command], env=one.env, cwd=self.cwd, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                            start_new_session=True)

    def last_words(self, n=600):
        return self.log.read_bytes()[-n:].decode(errors="replace") if self.log.exists() else ""


class Supervisor:
    """A context manager; at its end nothing of them runs."""

    def __init__(self, subscribers):
        self.subscribers, self.ended = subscribers, threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self):
        while not self.ended.wait(0.05):
            for s in self.subscribers:
                s.look()

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()
        for s in self.subscribers:
            for one in s.instances:
                one.wanted = False
                s.end(one, signal.SIGKILL)
