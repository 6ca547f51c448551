"""A whole second stack for the tests, beside any demo: its own ports, folder and namespace; and services by hand."""

import collections
import os
import random
import re
import signal
import socket
import subprocess
import time
import uuid
from pathlib import Path

import httpx

ROOT = Path(__file__).resolve().parent.parent
TEAMS = ["sales", "inventory", "manufacturing", "accounting"]  # which answer a return, each with an event
SERVICES = ["support", *TEAMS]
# With those that only read, and whoever joined since.
DECLARED = re.findall(r"^service\(([a-z][a-z0-9-]*) +[0-9]+\)", (ROOT / "CMakeLists.txt").read_text(), re.M)
BIN = Path(os.environ.get("RETURNS_BIN", ROOT / "build/release/bin"))

WORKER = os.environ.get("PYTEST_XDIST_WORKER", "")  # gw0, gw1 …: of several that share the tests

POLICY = "unknown-orders=refund"  # most tests make up the orders of their returns

# A service closes a connection that is idle for half a second, perhaps just as it is used again: it is given up before.
http = httpx.Client(trust_env=False, timeout=10, limits=httpx.Limits(keepalive_expiry=0.05))


def wait(condition, seconds, what):
    """Returns the condition's first true value. The only way in which a test waits."""
    end = time.monotonic() + seconds
    while True:
        try:
            seen = condition()
        except httpx.TransportError as e:
            seen = None
            last = repr(e)
        else:
            last = repr(seen)
        if seen:
            return seen
        assert time.monotonic() < end, f"not within {seconds} s: {what}; last seen: {last}"
        time.sleep(0.01)


def free_ports(n):
    """Ports below the range from which the kernel takes those of outgoing connections, so that nobody takes them later;
    each of the processes that share the tests has a part of them."""
    among, ports = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 1)), []
    own = 12000 // among
    first = 20000 + own * int(WORKER.removeprefix("gw") or 0)
    while len(ports) < n:
        port = random.randrange(first, first + own)
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                s.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in ports:
            ports.append(port)
    return ports


def request(**changed):
    """A valid request for a return, which no other test has made."""
    unique = uuid.uuid4().hex[:10]
    return {
        "order_id": f"O-{unique}",
        "model": "Aurora 14 laptop",
        "shipment_id": f"S-{unique}",
        "serial_number": f"SN-{unique}",
        "location": "Berlin",
        "cost": {"amount": "149.90", "currency": "EUR"},
        "customer_id": f"C-{unique}",
        "reason": "The screen stays dark.",
    } | changed


def form(fields):
    """The same as the form sends it."""
    flat = {k: v for k, v in fields.items() if k != "cost"}
    cost = fields.get("cost", {})
    return flat | {f"cost.{k}": v for k, v in cost.items()}


ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # HUP: its terminal was closed


def no_more_interrupts():
    """Before a stack is taken down: who closes a terminal may send several, and what it runs inherits this."""
    for signum in ENDING:
        signal.signal(signum, signal.SIG_IGN)


def take_interrupts():
    """For a program: each signal that would end it is a KeyboardInterrupt, once, so that its stack can be taken down."""
    def interrupted(*_):
        no_more_interrupts()
        raise KeyboardInterrupt

    for signum in ENDING:
        if signum != signal.SIGHUP or signal.getsignal(signum) != signal.SIG_IGN:  # nohup
            signal.signal(signum, interrupted)


class Pages:
    """What can be asked of a running service at self.url(name)."""

    def get(self, service, path):
        answer = http.get(self.url(service) + path)
        answer.raise_for_status()
        return answer.json()

    def status(self, service):
        return self.get(service, "/api/status")

    def await_connected(self, services=SERVICES, seconds=30):
        for service in services:
            said = {}

            def connected():
                said.update(self.status(service))
                return not said["waiting_for"] and len(said["partitions"]) >= 6

            try:
                wait(connected, seconds, f"{service} is connected")
            except AssertionError as e:
                raise AssertionError(f"{e}; it says: {said}") from None

    def submit(self, **changed):
        answer = http.post(self.url("support") + "/api/returns", json=request(**changed))
        assert answer.status_code == 202, answer.text
        return answer.json()["return_id"]

    def audit(self, service, **filters):
        """All rows that fit, newest first."""
        rows, before = [], {}
        while True:
            answer = http.get(self.url(service) + "/api/audit", params={"limit": 1000} | filters | before)
            answer.raise_for_status()
            page = answer.json()
            rows += page["rows"]
            if not page["next"]:
                return rows
            before = {"before": page["next"]}

    def events(self, return_id):
        answer = self.get("support", f"/api/returns/{return_id}/events")
        return answer["events"] if isinstance(answer, dict) else answer

    def await_audits(self, return_ids, services, seconds):
        """Until each of the services has a row for each of the returns. How long that took, in seconds."""
        start, wanted = time.monotonic(), set(return_ids)

        def missing(service):
            if len(wanted) == 1:
                return not self.audit(service, return_id=return_ids[0])
            return wanted - {row["return_id"] for row in self.audit(service)}

        for service in services:
            left = max(0, seconds - (time.monotonic() - start))
            wait(lambda: not missing(service), left, f"{len(wanted)} returns on {service}'s audit page")
        return time.monotonic() - start


def port_setting(service):
    """FRAUD_CHECK for fraud-check, without the _PORT."""
    return service.upper().replace("-", "_")


class Stack(Pages):
    """Kafka, the registry and all services, all through ./returns."""

    def __init__(self, home):
        self.home = Path(home)
        self.namespace = "test" + uuid.uuid4().hex[:6]
        names = ["KAFKA", "KAFKA_CONTROLLER", "REGISTRY", *map(port_setting, DECLARED)]
        self.ports = dict(zip(names, free_ports(len(names))))
        self.kafka = f"127.0.0.1:{self.ports['KAFKA']}"
        self.registry = f"http://127.0.0.1:{self.ports['REGISTRY']}/apis/ccompat/v7"
        self.env = os.environ | {f"{name}_PORT": str(port) for name, port in self.ports.items()}
        self.env |= {
            "RETURNS_HOME": str(self.home),
            "RETURNS_NAMESPACE": self.namespace,
            "RETURNS_UNKNOWN_ID_MS": "3000",
            "RETURNS_POLICY": POLICY,
            "RETURNS_ALLOWED_HOSTS": "localhost,x",  # as tests that write their requests by hand have it
            "RETURNS_EXAMPLES": "0",
            "RETURNS_KAFKA_JAVA": "-XX:TieredStopAtLevel=1",  # most live for minutes, and start beside others
            "RETURNS_WAIT": "300",  # where others start at the same time
        }

    def url(self, service):
        return f"http://127.0.0.1:{self.ports[port_setting(service)]}"

    def topic(self, name):
        return f"{self.namespace}.{name}"

    def verb(self, *words, seconds=300):
        process = subprocess.Popen(
            [ROOT / "returns", *words], env=self.env, cwd=ROOT, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        try:
            said, _ = process.communicate(timeout=seconds)
        except BaseException:
            process.terminate()  # it ends what it started, which SIGKILL would not
            process.communicate()
            raise
        assert process.returncode == 0, f"./returns {' '.join(words)} ended with {process.returncode}:\n{said[-4000:]}"
        return said

    def processes(self):
        """{pid: command} of all that runs for this stack."""
        found = {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            try:
                mark = f"RETURNS_HOME={self.home}".encode()
                if mark in (entry / "environ").read_bytes().split(b"\0"):
                    command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    if command:
                        found[int(entry.name)] = command
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                pass
        return found

    def pid_of(self, service):
        pids = [p for p, command in self.processes().items() if command.split()[0].endswith(f"/bin/{service}")]
        assert len(pids) <= 1, f"{service} runs more than once: {pids}"
        return pids[0] if pids else None


class Ground(Stack):
    """Kafka and the registry alone; each service is there to be started."""

    def __init__(self, home):
        super().__init__(home)
        (self.home / "run").mkdir(parents=True)
        for name in DECLARED:
            (self.home / f"run/{name}.stopped").touch()


class Service:
    """One service, started by hand. Its address is known before it runs."""

    def __init__(self, name, folder, program=None, **settings):
        self.name, self.program = name, program or BIN / name
        self.port, self.process = free_ports(1)[0], None
        self.folder = Path(folder)
        self.log = self.folder / f"{name}.log"
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("RETURNS_")}
        given = {"port": self.port, "data_dir": self.folder / "data", "allowed_hosts": "localhost,x"} | settings
        self.env = inherited | {f"RETURNS_{k.upper()}": str(v) for k, v in given.items()}

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def spawn(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([self.program], env=self.env, stdout=log, stderr=log)

    def is_ready(self):
        """/readyz on a bare socket, since a client library takes longer than the answer."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=2) as s:
                s.sendall(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                return s.recv(100).startswith(b"HTTP/1.1 200")
        except OSError:
            return False

    def start(self):
        """Returns how many seconds it took until it was ready."""
        begin = time.perf_counter()
        self.spawn()
        while not self.is_ready():
            assert self.process.poll() is None, f"{self.name} ended:\n{self.log.read_text()[-3000:]}"
            assert time.perf_counter() - begin < 30, f"{self.name} is not ready:\n{self.log.read_text()[-3000:]}"
            time.sleep(0.0005)
        return time.perf_counter() - begin

    def stop(self, signum=signal.SIGTERM):
        """Returns (exit code, seconds)."""
        begin = time.perf_counter()
        self.process.send_signal(signum)
        code = self.process.wait(30)
        self.process = None
        return code, time.perf_counter() - begin

    def resident_kb(self):
        """(its own memory, {file: how much of it is mapped}); the latter lies in memory once for all processes."""
        own, mapped, file = 0, collections.Counter(), ""
        for line in Path(f"/proc/{self.process.pid}/smaps").read_text().splitlines():
            words = line.split()
            if not words[0].endswith(":"):
                file = words[5] if len(words) > 5 else ""
            elif words[0] == "Rss:":
                mapped[file] += int(words[1])
            elif words[0] == "Anonymous:":
                mapped[file] -= int(words[1])
                own += int(words[1])
        return own, mapped


class ByHand(Pages):
    """Some services, started by hand in a namespace of their own. A context manager."""

    def __init__(self, names, folder, **settings):
        self.namespace = "hand" + uuid.uuid4().hex[:6]
        settings = {"namespace": self.namespace, "policy": POLICY} | settings
        self.services = {name: Service(name, folder, **settings) for name in names}

    def url(self, service):
        return self.services[service].url

    def topic(self, name):
        return f"{self.namespace}.{name}"

    def __enter__(self):
        try:
            for service in self.services.values():
                service.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for service in self.services.values():
            if service.process:
                service.stop(signal.SIGKILL)
