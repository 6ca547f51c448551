"""The whole in containers: what people do with it, and what it may not do. In the order of the file, on one stack."""

import re

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from project import NAMES
from stack import SERVICES, TEAMS, http, wait
from wire import read_avro, records

OTHERS = [team for team in TEAMS if team != "inventory"]
RETURNS = []  # all that were submitted


def submit(containers):
    RETURNS.append(containers.submit())
    return RETURNS[-1]


def test_a_return_is_on_all_four_audit_pages(containers):
    containers.await_connected(seconds=60)
    return_id = submit(containers)
    containers.await_audits([return_id], TEAMS, 20)
    for team in TEAMS:
        (row,) = containers.audit(team, return_id=return_id)
        assert row["outcome"] == "handled"
    wait(lambda: containers.get("support", f"/api/returns/{return_id}")["status"] == "handled", 20, "it is handled")
    assert return_id in http.get(containers.url("support") + "/returns").text


def test_kafka_and_the_registry_are_reached_from_the_host(containers):
    found = records(containers.kafka, containers.topic("support.events"))
    assert [read_avro(containers.registry, r)["return_id"] for r in found] == RETURNS
    source = dict(found[0].headers())["ce_source"].decode()
    assert source == f"http://localhost:{containers.ports['support']}"


def test_kafka_can_unpack_every_codec(containers):
    """The libraries for it are unpacked to the one folder of the root file system that may hold programs."""
    topic = containers.topic("codecs")
    admin = AdminClient({"bootstrap.servers": containers.kafka})
    admin.create_topics([NewTopic(topic, 1)])[topic].result(20)
    for codec in ("gzip", "snappy", "lz4", "zstd"):
        producer = Producer({"bootstrap.servers": containers.kafka, "compression.type": codec})
        said = []
        producer.produce(topic, codec * 100, on_delivery=lambda error, _: said.append(error))
        producer.flush(30)
        assert said == [None], codec


def test_a_stopped_team_holds_up_nobody_and_catches_up(containers):
    containers.compose("stop", "inventory")
    missed = [submit(containers) for _ in range(5)]
    containers.await_audits(missed, OTHERS, 20)
    assert containers.inspect("inventory", "{{.State.Running}}") == "false", "it was stopped by hand, and must stay so"
    containers.compose("start", "inventory")
    containers.await_audits(missed, ["inventory"], 30)
    for team in TEAMS:
        assert sorted(row["return_id"] for row in containers.audit(team)) == sorted(RETURNS), team


def test_what_is_killed_comes_back_by_itself(containers):
    def pids():
        return {name: containers.inspect(name, "{{.State.Pid}}") for name in NAMES}

    before, killed = pids(), {"sales", "registry", "kafka"}
    for name in killed:
        containers.kill(name)
    accepted = submit(containers)
    with containers.explained():
        containers.await_audits([accepted], TEAMS, 90)
    containers.await_healthy()
    after = pids()
    assert "0" not in after.values()
    assert {name for name in NAMES if after[name] != before[name]} == killed


def test_none_is_root_or_may_become_it(containers):
    for name in NAMES:
        assert containers.inside(name, "id -u") == "10001", name
        # Of the program, not only of what `exec` starts.
        status = dict(re.findall(r"^(\w+):\t(.*)$", containers.inside(name, "cat /proc/1/status"), re.M))
        assert set(status["Uid"].split()) == {"10001"}, name
        assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 0, name
        assert status["NoNewPrivs"] == "1", name


def test_the_root_file_system_is_read_only(containers):
    for name in NAMES:
        assert containers.inspect(name, "{{.HostConfig.ReadonlyRootfs}}") == "true", name
        options = containers.inside(name, "awk '$2 == \"/\" {print $4}' /proc/mounts")
        assert options.split(",")[0] == "ro", f"{name}: / is mounted {options}"


def test_ports_are_open_to_this_machine_alone(containers):
    for name in NAMES:
        each = "{{range .NetworkSettings.Ports}}{{range .}}{{.HostIp}}:{{.HostPort}} {{end}}{{end}}"
        assert containers.inspect(name, each).split() == [f"127.0.0.1:{containers.ports[name]}"], name


def test_up_again_changes_nothing(containers):
    before = containers.ids()
    containers.compose("up", "-d", seconds=300)
    assert containers.ids() == before


def test_down_keeps_the_data_and_up_finds_it(containers):
    containers.compose("down")
    assert not containers.left()["containers"]
    containers.up()
    for team in TEAMS:
        assert sorted(row["return_id"] for row in containers.audit(team)) == sorted(RETURNS), team
    containers.await_audits([submit(containers)], TEAMS, 180)
    containers.await_connected(SERVICES, 60)


def test_down_with_its_volumes_leaves_nothing(containers):
    assert all(containers.left().values()), "this test looks at nothing"
    containers.compose("down", "-v")
    assert containers.left() == {"containers": "", "volumes": "", "networks": ""}
