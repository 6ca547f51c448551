"""./returns test itself, in a copy of the repository: what it cannot fetch counts as failed, and the rest goes on."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from stack import ROOT

NOWHERE = "http://127.0.0.1:1/"


@pytest.fixture
def copy(tmp_path):
    """Everything that was fetched is there, as in this repository, except for the JavaScript packages."""
    left_out = {ROOT / ".git", ROOT / "build", ROOT / "var"}
    shutil.copytree(ROOT, tmp_path / "copy", ignore=lambda at, names: [n for n in names if Path(at, n) in left_out])
    (tmp_path / "copy/var").mkdir()
    (tmp_path / "copy/var/venv").symlink_to((ROOT / "var/venv").resolve())
    return tmp_path / "copy"


def run_parts(copy, *parts, **settings):
    """(exit status, what it said)"""
    env = {k: v for k, v in os.environ.items() if not k.startswith("RETURNS_")}
    env |= {"RETURNS_JAVA": os.environ.get("RETURNS_JAVA", str(ROOT / "var/java"))} | settings
    done = subprocess.run(
        [copy / "returns", "test", *parts], env=env, cwd=copy, stdin=subprocess.DEVNULL, timeout=300, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return done.returncode, done.stdout


@pytest.mark.full
def test_a_part_that_cannot_be_set_up_has_failed_and_the_others_go_on(copy):
    status, said = run_parts(copy, "scripts", "interop", npm_config_registry=NOWHERE, npm_config_fetch_retries="0")
    lines = said.splitlines()
    assert status == 1 and lines[-1] == "2 passed, 2 failed", said  # the scripts, and nothing is left behind
    reports = {line.split()[0]: line for line in lines if " passed " in line}
    assert " 1 passed    0 failed" in reports["scripts"] and " 0 passed    1 failed" in reports["interop"], said
    assert re.search(r"^ +interop needs interop: Installing the JavaScript packages of tests/interop failed", said, re.M), said
    assert "ECONNREFUSED" in said  # what npm said of it


@pytest.mark.full
def test_without_a_package_index_all_that_needs_python_has_failed(copy):
    (copy / "var/venv").unlink()
    status, said = run_parts(copy, "format", "scripts", "schemas", "browser", PIP_INDEX_URL=NOWHERE, PIP_RETRIES="0")
    lines = said.splitlines()
    assert status == 1 and lines[-1] == "2 passed, 4 failed", said
    for part in ("format", "schemas", "browser"):
        assert re.search(rf"^ +{part} needs python: Installing the Python packages failed", said, re.M), said


@pytest.mark.full
def test_an_unformatted_file_and_a_script_with_a_warning_are_failures(copy):
    (copy / "services/chassis/store/store.c").open("a").write("int   odd ;\n")
    (copy / "compose/local/run").open("a").write("cd $odd\n")
    status, said = run_parts(copy, "format", "scripts")
    assert status == 1 and said.splitlines()[-1] == "1 passed, 2 failed", said
    assert "store.c" in said and "SC2" in said


def test_a_word_that_is_no_part_is_refused(copy):
    status, said = run_parts(copy, "e2e", "unti")
    assert status == 2 and said == 'returns: "unti": no such part of the tests. See ./returns test --help\n'
