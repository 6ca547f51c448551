"""Every signal that ends a verb ends what the verb started, also when its terminal is closed."""

import os
import pty
import signal
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path

import pytest

from stack import ROOT, wait


def listen():
    """Whoever runs these tests in the background, or by nohup, ignores what they are about."""
    for signum in (signal.SIGINT, signal.SIGHUP):
        signal.signal(signum, signal.SIG_DFL)


class Verb:
    """One that runs in a terminal of its own, or without. What it starts is known by a mark in its environment."""

    def __init__(self, words, env=os.environ, closes=False):
        self.mark, self.terminal = f"TEST_MARK={uuid.uuid4().hex}", None
        env = dict(env) | dict([self.mark.split("=")])
        end = subprocess.DEVNULL
        if closes:
            self.terminal, end = pty.openpty()
        # In a session of its own; the first terminal that it opens is then its own.
        begin = "import os, sys; os.ttyname(0) and os.open(os.ttyname(0), os.O_RDWR)\n" if closes else "import os, sys\n"
        begin += "os.execvp(sys.argv[1], sys.argv[1:])"
        self.process = subprocess.Popen(
            [sys.executable, "-c", begin, ROOT / "returns", *words], env=env, cwd=ROOT, stdin=end, stdout=end, stderr=end,
            start_new_session=True, preexec_fn=listen)
        if closes:
            os.close(end)

    def started(self):
        """{pid: command} of all that it started."""
        found = {}
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and self.mark.encode() in (entry / "environ").read_bytes().split(b"\0"):
                    found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:  # it has ended, or is not ours
                pass
        return found

    def runs(self, program):
        return any(program in command for command in self.started().values())

    def end(self, how):
        """The signal to the verb alone; or None: its terminal is closed."""
        if how is None:
            os.close(self.terminal)
        else:
            self.process.send_signal(how)


def homes():
    """Of the stacks that proofs and the conformance kit have for themselves."""
    return {path for name in ("prove", "conform") for path in Path(tempfile.gettempdir()).glob(f"returns-{name}-*")}


def end_and_look(verb, how, program):
    before = homes()
    try:
        wait(lambda: verb.runs(program), 600, f"{program} was started")
        verb.end(how)
        assert verb.process.wait(240) == 130
        wait(lambda: not verb.started(), 60, "nothing is left")
        assert homes() <= before
    finally:
        for pid in verb.started():
            os.kill(pid, signal.SIGKILL)


def test_a_closed_terminal_ends_a_proof_and_its_stack():
    end_and_look(Verb(["prove", "--kills", "0"], closes=True), None, "kafka.Kafka")


@pytest.mark.full
@pytest.mark.parametrize("how", [signal.SIGHUP, signal.SIGTERM, signal.SIGINT], ids=lambda how: how.name)
@pytest.mark.parametrize("words, program", [
    (["prove", "--kills", "0"], "bin/support"),
    (["conform", "accounting"], "bin/accounting"),
    (["test", "prove"], "kafka.Kafka"),
], ids=lambda value: value[0] if isinstance(value, list) else "")
def test_every_signal_ends_a_verb_and_its_stack(words, program, how, tmp_path):
    env = os.environ | {"RETURNS_HOME": str(tmp_path)}
    end_and_look(Verb(words, env), how, program)


@pytest.mark.full
def test_a_reader_that_goes_away_ends_what_a_verb_started(tmp_path):
    """`./returns test … | head`"""
    verb = Verb(["test", "prove"], os.environ | {"RETURNS_HOME": str(tmp_path)}, closes=True)
    end_and_look(verb, None, "kafka.Kafka")


@pytest.mark.full
@pytest.mark.parametrize("moment", ["as it is given them", "while support is started anew"])
def test_a_closed_terminal_gives_support_its_own_schemas_back(stack, moment):
    given = lambda: "schemas/drill" in (stack.home / "run/support.env").read_text()  # noqa: E731
    stops = lambda: (stack.home / "logs/supervisord.log").read_text().count("waiting for support to stop")  # noqa: E731
    before = stops()
    verb = Verb(["drill", "schema"], stack.env, closes=True)
    try:
        wait(given, 240, "support has the next version")
        if moment.startswith("while"):
            wait(lambda: stops() > before, 60, "support is being stopped")
    finally:
        verb.end(None)
        verb.process.wait(120)
    assert not given()
    stack.await_connected(["support"])
