"""The stack in containers, as compose/compose.yaml describes it."""

import contextlib
import os
import time
import uuid

import engine
import yaml
from stack import POLICY, ROOT, Pages, free_ports, wait

NAMES = list(yaml.safe_load((ROOT / "compose/compose.yaml").read_text())["services"])


class Containers(Pages):
    """A project of its own, beside any other."""

    def __init__(self):
        self.project = "returns-test-" + uuid.uuid4().hex[:6]
        self.namespace = "test" + uuid.uuid4().hex[:6]
        self.ports = dict(zip(NAMES, free_ports(len(NAMES))))
        self.kafka = f"127.0.0.1:{self.ports['kafka']}"
        self.registry = f"http://127.0.0.1:{self.ports['registry']}/apis/ccompat/v7"
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("RETURNS_", "COMPOSE_"))}
        self.env = kept | {f"{name.upper()}_PORT": str(port) for name, port in self.ports.items()}
        self.env |= {"RETURNS_NAMESPACE": self.namespace, "RETURNS_POLICY": POLICY}
        self.command = [*engine.compose_command(), "-p", self.project]

    def url(self, service):
        return f"http://127.0.0.1:{self.ports[service]}"

    def topic(self, name):
        return f"{self.namespace}.{name}"

    def compose(self, *words, seconds=120):
        return engine.run(*self.command, *words, seconds=seconds, env=self.env, cwd=ROOT / "compose")

    def docker(self, *words, seconds=60):
        return engine.run("docker", *words, seconds=seconds).strip()

    def id(self, name):
        """Also of one that was stopped, which newer versions list only so."""
        return self.compose("ps", "-a", "-q", name).strip()

    def ids(self):
        return {name: self.id(name) for name in NAMES}

    def inspect(self, name, what):
        return self.docker("inspect", "--format", what, self.id(name))

    def inside(self, name, command):
        return self.docker("exec", self.id(name), "sh", "-c", command)

    def kill(self, name):
        """SIGKILL from outside, which the engine takes for a crash; `docker kill` would count as a stop by hand."""
        pid = self.inspect(name, "{{.State.Pid}}")
        self.docker("run", "--rm", "--pid", "host", "--network", "none", engine.BASE, "sh", "-c", f"kill -9 {pid}")

    @contextlib.contextmanager
    def explained(self):
        """A failure shows what the containers logged."""
        try:
            yield
        except AssertionError as e:
            raise AssertionError(f"{e}\n{self.compose('ps')}\n{self.compose('logs', '--tail', '20')}") from None

    def up(self):
        with self.explained():
            self.compose("up", "-d", seconds=300)
        self.await_healthy()

    def await_healthy(self):
        ids = self.ids().values()

        def all_healthy():
            time.sleep(0.5)
            return self.docker("inspect", "--format", "{{.State.Health.Status}}", *ids).split() == ["healthy"] * len(ids)

        with self.explained():
            wait(all_healthy, 120, "all containers are healthy")

    def left(self):
        """What the engine still has of this project."""
        mine = f"label=com.docker.compose.project={self.project}"
        return {
            "containers": self.docker("ps", "-aq", "--filter", mine),
            "volumes": self.docker("volume", "ls", "-q", "--filter", mine),
            "networks": self.docker("network", "ls", "-q", "--filter", mine),
        }
