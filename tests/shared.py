import contextlib
import os
import shutil
import tempfile

import pytest

from stack import ROOT, WORKER, Stack, take_interrupts


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config):
    # Otherwise a SIGTERM or a closed terminal ends pytest at once, and what it started runs on.
    take_interrupts()
    # A stack's folder has at most 70 characters, and the name of pytest's own gets longer with the tenth run.
    if not config.option.basetemp:
        config.option.basetemp = config.own_basetemp = tempfile.mkdtemp(prefix="tests-")


def pytest_sessionfinish(session, exitstatus):
    """What failed can be looked at. A folder that somebody named is theirs."""
    own = getattr(session.config, "own_basetemp", None)
    if own and exitstatus == 0:
        shutil.rmtree(own, ignore_errors=True)


@contextlib.contextmanager
def stack_up(logs):
    """RETURNS_E2E_KEEP=1 leaves it running, and its folder in place, to look at after a failure."""
    home = tempfile.mkdtemp(prefix="returns-test-")
    s = Stack(home)
    keep = os.environ.get("RETURNS_E2E_KEEP")
    try:
        s.verb("up", seconds=600)
        s.await_connected()
        s.await_audits([s.submit()], ["support", "sales", "inventory", "manufacturing", "accounting"], 20)
        yield s
    finally:
        if keep:
            print(f"\nkept: RETURNS_HOME={home}", *(f"{n}_PORT={p}" for n, p in s.ports.items()))
        else:
            s.verb("down")
            shutil.copytree(s.home / "logs", ROOT / "var/logs/test-stack" / logs, dirs_exist_ok=True)
            left = s.processes()
            assert not left, f"./returns down left processes: {left}"
            shutil.rmtree(home)


@pytest.fixture(scope="session")
def stack():
    """Up once for all tests of a process."""
    with stack_up(WORKER) as s:
        yield s
