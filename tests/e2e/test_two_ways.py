"""The two ways to run it, by ./returns up and in containers, are the same services, ports, settings and versions."""

import re
import subprocess
import warnings

import yaml

import stack
from stack import BIN, ROOT

LOCAL = ROOT / "compose/local"
COMPOSE = yaml.safe_load((ROOT / "compose/compose.yaml").read_text())
CONTAINERS = COMPOSE["services"]
DOCKERFILE = (ROOT / "compose/Dockerfile").read_text()
DECLARED = dict(re.findall(r"^service\(([a-z][a-z0-9-]*) +([0-9]+)\)", (ROOT / "CMakeLists.txt").read_text(), re.M))
SERVICES = {name: port for name, port in DECLARED.items() if name in CONTAINERS}
PARTS = {"kafka": "9092", "registry": "8081"}

# What names a file, or is one process's alone, is for those who write their own compose file beside ours.
ONLY_LOCAL = {"RETURNS_KAFKA_CONFIG", "RETURNS_REGISTRY_PASSWORD_FILE", "RETURNS_INSTANCE"}


def words(name, text):
    """The elements of a shell array."""
    return set(re.search(rf"^{name}=\(([^)]*)\)", text, re.M)[1].split())


def installed(stage):
    """The packages of a stage of the Dockerfile."""
    text = re.search(rf"^FROM \S+ AS {stage}\n(.*?)(?=^FROM |\Z)", DOCKERFILE, re.M | re.S)[1]
    return set(re.search(r"--no-install-recommends(.*?)&&", text, re.S)[1].replace("\\\n", " ").split())


def settings_of_the_programs():
    table = subprocess.run([BIN / "support", "--settings-table"], capture_output=True, text=True, check=True).stdout
    return set(re.findall(r"`(RETURNS_[A-Z_]+)`", table))


def test_the_same_services():
    """Whoever joined since may run by ./returns up alone, and is named."""
    assert set(SERVICES) >= {*stack.SERVICES, "analytics"}
    assert set(CONTAINERS) == set(SERVICES) | set(PARTS), "compose.yaml runs what CMakeLists.txt does not declare"
    if alone := DECLARED.keys() - SERVICES.keys():
        warnings.warn(f"not in compose.yaml: {', '.join(sorted(alone))}; its block is in docs/add-a-subscriber.md")
    for name in SERVICES:
        assert CONTAINERS[name]["build"]["args"] == {"NAME": name}
        assert CONTAINERS[name]["command"] == [name]
        assert CONTAINERS[name]["volumes"] == [f"{name}:/data"]
    assert set(COMPOSE["volumes"]) == {*SERVICES, "kafka"}


def test_the_same_ports_moved_by_the_same_settings():
    local = re.search(r"PORTS=\(\[kafka\]=(\d+) \[registry\]=(\d+)\)", (LOCAL / "settings.sh").read_text())
    assert local.groups() == tuple(PARTS.values())
    for name, port in PARTS.items():
        assert CONTAINERS[name]["ports"] == [f"127.0.0.1:${{{name.upper()}_PORT:-{port}}}:{port}"]
    for name, port in SERVICES.items():
        moved = f"${{{name.upper().replace('-', '_')}_PORT:-{port}}}"
        assert CONTAINERS[name]["ports"] == [f"${{RETURNS_HOST:-127.0.0.1}}:{moved}:{port}"]
        assert str(CONTAINERS[name]["environment"]["RETURNS_PORT"]) == port
        assert CONTAINERS[name]["environment"]["RETURNS_PUBLIC_URL"] == f"http://localhost:{moved}"
    assert CONTAINERS["kafka"]["environment"]["KAFKA_FROM_HOST"] == "127.0.0.1:${KAFKA_PORT:-9092}"


def test_the_same_settings_of_the_services():
    given_locally = (LOCAL / "stack.sh").read_text().split("environment() {")[1].split("esac")[0]
    local = set(re.findall(r"\bRETURNS_[A-Z_]+(?==)", given_locally))
    known = settings_of_the_programs()
    assert local and known
    for name in SERVICES:
        given = set(CONTAINERS[name]["environment"])
        assert given == known - ONLY_LOCAL, f"{name}: settings that compose.yaml lacks or should not have"
        assert local <= given


def test_the_same_settings_of_kafka_and_the_registry():
    """By the same files: Kafka's is copied into the image, the registry's is read by compose."""
    assert CONTAINERS["registry"]["env_file"] == ["local/registry.env"]
    local = set(re.findall(r"\b(?:QUARKUS|APICURIO)_[A-Z_]+(?==)", (LOCAL / "stack.sh").read_text()))
    assert set(CONTAINERS["registry"]["environment"]) == local
    stage = DOCKERFILE.split(" AS kafka\n")[1]
    assert "COPY compose/local/run compose/local/server.properties compose/local/log4j2.properties " in stage
    assert 'local/run" "$1"' in (ROOT / "compose/start").read_text()


def test_the_same_pinned_versions_and_packages():
    """One pom, and no version beside it."""
    assert "COPY compose/local/pom.xml " in DOCKERFILE
    pinned = re.findall(r"<\w+\.version>(.+?)</", (LOCAL / "pom.xml").read_text())
    assert len(pinned) == 3
    for version in pinned:
        assert version not in DOCKERFILE
    local = words("PACKAGES_RUN", (LOCAL / "packages.sh").read_text())
    only_local = {"supervisor", "procps", "iproute2", "ca-certificates"}
    first = {word.strip("'").split("|")[0] for word in local}
    assert installed("build") | installed("java") | installed("parts") == first - only_local


def test_a_service_waits_for_nobody():
    waiting = {name: service["depends_on"] for name, service in CONTAINERS.items() if "depends_on" in service}
    assert waiting == {"registry": {"kafka": {"condition": "service_healthy"}}}


def test_every_container_is_confined_and_watched():
    for name, service in CONTAINERS.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["restart"] == "unless-stopped", name
        assert service["healthcheck"]["test"], name
        assert not {"privileged", "user", "network_mode", "pid", "image"} & set(service), name
        stage = re.search(rf" AS {service['build']['target']}\n(.*?)(?=^FROM |\Z)", DOCKERFILE, re.M | re.S)[1]
        assert re.findall(r"^USER (.*)", stage, re.M) == ["10001:10001"], name
    assert "name" not in COMPOSE, "docker-compose 1.29 refuses it"


def test_every_image_is_debian_13():
    stages = re.findall(r"^FROM (\S+) AS (\S+)$", DOCKERFILE, re.M)
    assert len(stages) == len(re.findall(r"^FROM", DOCKERFILE, re.M))
    names = {name for _, name in stages}
    assert {base for base, _ in stages} - names == {"debian:13-slim"}
