"""What ./returns itself promises."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import pytest

from stack import ROOT, SERVICES, Stack, wait


def returns(stack, *words, seconds=60):
    done = subprocess.run(
        [ROOT / "returns", *words], env=stack.env, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=seconds,
    )
    return done.returncode, done.stdout + done.stderr


def test_doctor_finds_nothing_in_the_way(stack):
    said = stack.verb("doctor")
    assert "BAD" not in said and said.count("ready") >= 2 + len(SERVICES), said


def test_logs_and_submit(stack):
    assert "service=sales" in stack.verb("logs", "sales", "-n", "5")
    assert "kafka | " in stack.verb("logs")
    said = stack.verb("submit", "model=Comet router", "reason=\"It's\\\tover\"")
    return_id = said.split("return ")[1].split()[0]
    request = stack.get("support", f"/api/returns/{return_id}")["request"]
    assert request["model"] == "Comet router" and request["reason"] == "\"It's\\\tover\""
    code, said = returns(stack, "submit", "amount=much")
    assert code == 1 and '\\"much\\"' in said and "cost.amount" in said


@pytest.mark.parametrize(
    "words, quoted",
    [
        (["fly"], "fly"),
        (["stop", "nobody"], "nobody"),
        (["kill"], "NAME"),
        (["logs", "-n", "many"], "many"),
        (["submit", "colour=red"], "colour=red"),
        (["up", "now"], "now"),
        (["test", "sometimes"], "sometimes"),
    ],
)
def test_a_wrong_word_is_quoted(stack, words, quoted):
    before = stack.processes().keys()
    code, said = returns(stack, *words)
    assert code == 2 and quoted in said, said
    assert stack.processes().keys() == before


@pytest.mark.parametrize("setting, value", [("RETURNS_HOST", "localhost"), ("RETURNS_NAMESPACE", "Not OK"), ("RETURNS_WAIT", "2m")])
def test_a_setting_that_no_service_takes_is_refused_before_anything_is_done(tmp_path, setting, value):
    done = subprocess.run(
        [ROOT / "returns", "up"], env=os.environ | {"RETURNS_HOME": str(tmp_path), setting: value}, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and f'{setting}="{value}": must be' in done.stderr.replace("may hold only", "must be"), done.stderr
    assert not list(tmp_path.iterdir())


def test_logs_ends_nobody_but_itself(stack):
    """Whoever calls it may be in its process group."""
    script = f"{ROOT}/returns logs | head -n 1; echo next"
    done = subprocess.run(["bash", "-c", script], env=stack.env, capture_output=True, text=True, timeout=60, start_new_session=True)
    assert done.returncode == 0 and done.stdout.endswith("next\n"), done


def test_every_verb_has_help(stack):
    verbs = [line.split()[0] for line in stack.verb("help").splitlines() if line.startswith("  ")]
    assert {"up", "down", "start", "stop", "kill", "status", "logs", "submit", "build", "test", "doctor", "reset"} <= set(verbs)
    for verb in verbs:
        assert f"usage: ./returns {verb}" in stack.verb(verb, "--help")


def test_reset_asks(stack):
    return_id = stack.submit()
    code, said = returns(stack, "reset")
    assert code == 1 and "--yes" in said
    assert stack.get("support", f"/api/returns/{return_id}")


@pytest.fixture
def second():
    """Another stack, not started; nothing of it may be left."""
    home = tempfile.mkdtemp(prefix="returns-test-")
    another = Stack(home)
    try:
        yield another
    finally:
        another.verb("down")
        left = another.processes()
        shutil.rmtree(home)
        assert not left, left


@pytest.mark.full
def test_a_port_in_use_names_its_holder_and_the_setting(second):
    with socket.create_server(("127.0.0.1", second.ports["SALES"])):
        for verb in ("up", "doctor"):
            code, said = returns(second, verb)
            assert code == 1 and f"port {second.ports['SALES']} is held by" in said, said
            assert f"(pid {os.getpid()})" in said and "SALES_PORT=" in said, said
    assert not second.processes()


def interrupt_up(second, after):
    """After so many seconds, or once so many processes run. As a terminal does it, which interrupts the whole group, and
    also where these tests run in the background, with interrupts ignored."""
    up = subprocess.Popen(
        [ROOT / "returns", "up"], env=second.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    if after is None:
        wait(lambda: second.pid_of("sales"), 30, "sales is started")
    else:
        time.sleep(after)
    os.killpg(up.pid, signal.SIGINT)
    said, _ = up.communicate(timeout=60)
    assert up.returncode in (130, -signal.SIGINT), said  # the latter before it has begun
    assert up.returncode < 0 or "again" in said, said


@pytest.mark.full
def test_up_may_be_interrupted_and_repeated(second):
    for after in (0.2, None, 1.0):
        interrupt_up(second, after)
    second.verb("up", seconds=600)
    second.await_connected()
    return_id = second.submit()
    second.await_audits([return_id], SERVICES, 180)

    second.verb("reset", "--yes")
    assert not second.processes() and not (second.home / "data").exists()


@pytest.mark.full
def test_up_again_keeps_the_data(stack):
    return_id = stack.submit()
    stack.await_audits([return_id], SERVICES, 180)
    stack.verb("down")
    assert not stack.processes()
    start = time.monotonic()
    stack.verb("up", seconds=600)
    print(f"up again took {time.monotonic() - start:.1f} s")
    stack.await_audits([return_id, stack.submit()], SERVICES, 180)
