"""What Kafka denies: each right taken away alone, a wrong password, certificates that are not believed. The service says
what is denied and what gives it, and goes on by itself; nothing dies of it."""

import re
import shutil
import subprocess
import uuid
from datetime import datetime

import httpx
import pytest

from secure import SecureKafka
from stack import BIN, POLICY, Service, http, request, wait

pytestmark = pytest.mark.full


@pytest.fixture(scope="module")
def secure(tmp_path_factory):
    with SecureKafka(tmp_path_factory.mktemp("secure")) as kafka:
        yield kafka


class World:
    """Support and sales, each with a name of its own, in a namespace that they may do everything in."""

    def __init__(self, secure, stack, folder):
        self.secure, self.stack, self.folder = secure, stack, folder
        self.namespace = "acl" + uuid.uuid4().hex[:6]
        self.services = {}
        for user in ["support", "sales", "tool"]:
            secure.allow_all(user, self.namespace + ".")

    def service(self, name, listener="GOOD", **config):
        made = Service(
            name, self.folder, kafka=self.secure.address(listener), kafka_config=self.secure.config(name, **config),
            registry=self.stack.registry, namespace=self.namespace, policy=POLICY, data_dir=self.folder / f"data-{name}",
        )
        self.services[name] = made
        return made

    def name(self, name):
        return f"{self.namespace}.{name}"

    def close(self):
        for made in self.services.values():
            if made.process:
                made.stop(9)


@pytest.fixture
def world(secure, stack, tmp_path):
    made = World(secure, stack, tmp_path)
    yield made
    made.close()


def waiting_for(service):
    assert service.process.poll() is None, service.log.read_text()[-2000:]
    try:
        return " | ".join(http.get(f"{service.url}/api/status").json()["waiting_for"])
    except httpx.TransportError:
        return ""


def await_said(service, *words, seconds=40):
    """Status, probe and page say it, and the log, which tells what changes every five seconds."""
    said = wait(lambda: (s := waiting_for(service)) and all(w in s for w in words) and s, seconds, words)
    assert "See whether it runs" not in said
    verbose = http.get(f"{service.url}/readyz?verbose").text
    page = http.get(service.url + "/" if service.name != "support" else service.url + "/status").text
    for word in words:
        assert word in verbose, verbose
        assert word.replace('"', "&quot;") in page or word.replace('"', "&#34;") in page or word in page
    wait(lambda: ABOUT.search(service.log.read_text()), 15, "the log says it")
    return said


ABOUT = re.compile("denie|uthoriz|do not come together|let .* in|certificate|SASL auth|handshake", re.I)


def assert_quiet(service):
    """At most a line a second about it, and one more for each component that says it first."""
    lines = service.log.read_text().splitlines()
    about = [line for line in lines if ABOUT.search(line)]
    began, ended = (datetime.fromisoformat(line.split()[0].removeprefix("time=")) for line in (lines[0], lines[-1]))
    assert about, "\n".join(lines)
    assert len(about) <= (ended - began).total_seconds() + 3, "\n".join(about)


def submit(world):
    answer = http.post(world.services["support"].url + "/api/returns", json=request())
    assert answer.status_code == 202, answer.text


# What is denied, to whom, and what is then said.
DENIED = {
    "describe": ("sales", "TOPIC", "support.events", "DESCRIBE", False, "operation Describe on the topic"),
    "read": ("sales", "TOPIC", "support.events", "READ", False, "operation Read on the topic"),
    "write": ("sales", "TOPIC", "sales.events", "WRITE", False, "operation Write on the topic"),
    "create": ("sales", "TOPIC", "sales.events", "CREATE", False, "operation Create on the topic"),
    "group": ("sales", "GROUP", "sales", "READ", False, "operation Read on the group"),
    "coordinator": ("sales", "GROUP", "sales", "DESCRIBE", False, "operation Describe on the group"),
    "group-of-others": ("support", "GROUP", "sales", "DESCRIBE", False, "operation Describe on the group"),
    "letters": ("support", "TOPIC", "sales.dead-letters", "READ", False, "operation Read on the topic"),
    "own-topic": ("support", "TOPIC", "support.events", "WRITE", False, "operation Write on the topic"),
}


@pytest.mark.parametrize("which", DENIED)
def test_what_is_denied_is_named_and_what_is_given_is_taken(world, which):
    user, kind, name, operation, prefixed, said = DENIED[which]
    world.secure.rule(user, kind, world.name(name), operation, "DENY", prefixed)
    for service in ["support", "sales"]:
        world.service(service).start()
    submit(world)
    service = world.services[user]
    await_said(service, f'{said} "{world.name(name)}"', f"Kafka denies User:{user}")
    world.secure.forget(user, kind, world.name(name), operation, "DENY", prefixed)
    for other in world.services.values():
        wait(lambda: http.get(f"{other.url}/api/status").json()["state"] == "up", 60, f"{other.name} works")
    sales = world.services["sales"].url
    wait(lambda: http.get(f"{sales}/api/audit").json()["rows"], 30, "the return is handled")
    assert_quiet(service)


def test_the_right_to_write_anything_at_all(world):
    """Then Kafka gives no producer a number."""
    world.secure.rule("sales", "TOPIC", world.name(""), "WRITE", "DENY", prefixed=True)
    world.service("support").start()
    service = world.service("sales")
    service.start()
    submit(world)
    await_said(service, "Kafka denies User:sales the operation Write on the topic")
    assert_quiet(service)


def test_a_right_that_is_taken_away_at_work(world):
    for name in ["support", "sales"]:
        world.service(name).start()
    submit(world)
    sales = world.services["sales"]
    wait(lambda: http.get(f"{sales.url}/api/audit").json()["rows"], 30, "the return is handled")
    world.secure.rule("sales", "TOPIC", world.name("support.events"), "READ", "DENY")
    submit(world)
    await_said(sales, f'operation Read on the topic "{world.name("support.events")}"')
    world.secure.forget("sales", "TOPIC", world.name("support.events"), "READ", "DENY")
    wait(lambda: len(http.get(f"{sales.url}/api/audit").json()["rows"]) == 2, 30, "the second return is handled")


def test_a_lost_database_is_held_though_kafka_hides_its_topics(world):
    """From the list of all topics Kafka leaves out what one may not describe: it looks as if nothing had been published."""
    for name in ["support", "sales"]:
        world.service(name).start()
    submit(world)
    sales = world.services["sales"]
    wait(lambda: http.get(f"{sales.url}/api/audit").json()["rows"], 30, "the return is handled")
    sales.stop(9)
    shutil.rmtree(world.folder / "data-sales")
    world.secure.rule("sales", "TOPIC", world.name(""), "DESCRIBE", "DENY", prefixed=True)
    sales.start()
    await_said(sales, f'operation Describe on the topic "{world.name("sales.events")}"')
    world.secure.forget("sales", "TOPIC", world.name(""), "DESCRIBE", "DENY", prefixed=True)
    said = lambda: {c["name"]: c["text"] for c in http.get(f"{sales.url}/api/status").json()["components"]}["history"]  # noqa: E731
    wait(lambda: "Kafka is asked" not in said(), 30, "Kafka said what it knows")
    assert said().startswith("nothing is handled, published or accepted"), said()
    assert not http.get(f"{sales.url}/api/audit").json()["rows"]


# How the service comes, and what is said.
ENTRY = {
    "password": ({"password": "wrong"}, ["does not let User:sales in", "SASL authentication error", "sasl.password"]),
    "authority": ({"authority": "stranger"}, ["no TLS connection", "self-signed certificate in certificate chain", "ssl.ca.location"]),
    "expired": ({"listener": "EXPIRED"}, ["no TLS connection", "certificate has expired", "needs a new one"]),
    "host": ({"listener": "ELSEWHERE"}, ["no TLS connection", "IP address mismatch", "by a host that its certificate is for"]),
}


@pytest.mark.parametrize("which", ENTRY)
def test_who_is_not_let_in_is_told_why(world, which):
    how, words = ENTRY[which]
    if "authority" in how:
        how = {"authority": world.secure.stranger.file}
    service = world.service("sales", **how)
    service.start()
    await_said(service, *words)
    done = tool(world, ["tail", "--exit"], "tool", **how)
    assert done.returncode == 2
    for word in words:
        assert word.replace("User:sales", "User:tool") in done.stderr
    assert_quiet(service)


def tool(world, words, user, listener="GOOD", **config):
    env = world.services["sales"].env | {
        "RETURNS_KAFKA": world.secure.address(listener), "RETURNS_KAFKA_CONFIG": str(world.secure.config(user, **config)),
    }
    return subprocess.run([BIN / "returns_tool", *words], env=env, capture_output=True, text=True, timeout=60)


def test_tools_need_no_group_and_name_what_is_denied(world):
    for name in ["support", "sales"]:
        world.service(name).start()
    submit(world)
    wait(lambda: http.get(f"{world.services['sales'].url}/api/audit").json()["rows"], 30, "the return is handled")
    world.secure.rule("tool", "GROUP", "*", "ALL", "DENY")
    done = tool(world, ["tail", "support.events", "--from", "beginning", "--exit"], "tool")
    assert done.returncode == 0 and "RefundRequest" in done.stdout, done.stderr
    done = tool(world, ["export", "support.events"], "tool")
    assert done.returncode == 0 and '"end"' in done.stdout, done.stderr
    world.secure.forget("tool", "GROUP", "*", "ALL", "DENY")
    for operation, words in [("READ", "operation Read on"), ("DESCRIBE_CONFIGS", "operation DescribeConfigs on")]:
        world.secure.rule("tool", "TOPIC", world.name("support.events"), operation, "DENY")
        done = tool(world, ["export", "support.events"], "tool")
        assert done.returncode == 2 and words in done.stderr, done.stderr
        world.secure.forget("tool", "TOPIC", world.name("support.events"), operation, "DENY")
    world.secure.rule("support", "GROUP", "*", "ALL", "DENY")
    answer = http.post(world.services["support"].url + "/api/reconciliation")
    assert answer.status_code < 500
    for service in world.services.values():
        assert service.process.poll() is None
        assert http.get(service.url + "/livez").status_code == 200
