"""./returns new and remove, in a copy of the checkout with a stack of its own: who joins needs nobody's leave."""

import hashlib
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from stack import BIN, ROOT, Stack, free_ports, wait

pytestmark = pytest.mark.full

LIMIT = 180  # seconds; on a quiet machine a sixth of it. The figure is printed
WARNINGS = "-Wall -Wextra -Wshadow -Wpointer-arith -Wstrict-prototypes -Wmissing-prototypes -Wwrite-strings -Wvla -Wformat=2"
EVENTS = sorted(p.stem for p in ROOT.glob("schemas/*/*.avsc") if p.parent.name not in ("chassis", "history"))


def digests(files):
    return {f: hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


class Copy(Stack):
    """A checkout that may be changed, and its stack."""

    def __init__(self, home):
        super().__init__(home / "home")
        self.root = home / "checkout"
        self.env |= {"RETURNS_JAVA": os.environ.get("RETURNS_JAVA", str(ROOT / "var/java"))}
        self.env |= {"CCACHE_BASEDIR": str(self.root), "CCACHE_NOHASHDIR": "1"}
        left_out = {ROOT / ".git", ROOT / "build", ROOT / "var"}
        shutil.copytree(ROOT, self.root, ignore=lambda at, names: [n for n in names if Path(at, n) in left_out])
        self.git("init", "-q")
        self.git("add", "-A")
        self.git("-c", "user.name=T", "-c", "user.email=t@example.org", "commit", "-qm", "All")

    def git(self, *words):
        return subprocess.run(["git", *words], cwd=self.root, check=True, capture_output=True, text=True).stdout

    def run(self, *words, **env):
        return subprocess.run(
            [self.root / "returns", *words], env=self.env | env, cwd=self.root, stdin=subprocess.DEVNULL, timeout=600,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )

    def verb(self, *words, seconds=600):
        done = self.run(*words)
        assert done.returncode == 0, done.stdout[-4000:]
        return done.stdout

    def tree(self):
        """All that git would look at."""
        files = (p for p in self.root.rglob("*") if p.is_file())
        return digests(f for f in files if f.relative_to(self.root).parts[0] not in (".git", "build", "var"))

    def programs(self):
        """As they were built, and as they run."""
        built = [p for p in (self.root / "build/release/bin").iterdir() if p.name != "returns_tool"]
        return digests([*built, *(self.home / "bin").iterdir()])

    def pids(self):
        """Of the services."""
        return {pid: said for pid, said in self.processes().items() if said.startswith(str(self.home / "bin"))}

    def lines(self):
        return (self.root / "CMakeLists.txt").read_text().splitlines()

    def join(self, name, *words):
        """Its port is one that nobody has."""
        self.ports[name.upper()] = free_ports(1)[0]
        return self.verb("new", name, "--port", str(self.ports[name.upper()]), *words)


@pytest.fixture(scope="module")
def copy():
    home = Path(tempfile.mkdtemp(prefix="returns-new-"))
    s = Copy(home)
    try:
        s.verb("up")
        s.await_connected()
        yield s
    finally:
        s.run("down")
        shutil.copytree(s.home / "logs", ROOT / "var/logs/test-new", dirs_exist_ok=True)
        left = s.processes()
        assert not left, left
        shutil.rmtree(home)


def board(copy):
    return {peer["name"]: peer for peer in copy.get("support", "/api/board")["services"]}


def generated_tests(copy, name):
    """What was generated, run on this stack."""
    path = next((copy.root / "services" / name).glob("test_*.py"))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found = [test for word, test in vars(module).items() if word.startswith("test_")]
    assert len(found) == 4
    for test in found:
        test(copy)


def test_a_newcomer_joins_in_a_minute_and_nobody_else_notices(copy):
    earlier = {copy.submit() for _ in range(30)}
    tree, programs, pids, lines = copy.tree(), copy.programs(), copy.pids(), copy.lines()
    assert len(pids) >= 6 and len(programs) == 2 * len(pids)
    began = time.monotonic()
    said = copy.join("legal")
    wait(lambda: earlier <= {row["return_id"] for row in copy.audit("legal")}, 60, "its audit log has every earlier return")
    took, built = time.monotonic() - began, int(re.search(r"Building legal: done in (\d+) s", said)[1])
    print(f"\n./returns new legal: {took:.1f} s until its audit page has every earlier return, the build {built} s of it")
    assert took < LIMIT

    after = copy.tree()
    changed = {f for f in after if tree.get(f) != after[f]}
    made = {f for f in changed if f.parent == copy.root / "services/legal"}
    assert {f.name for f in made} == {"legal.c", "schema.sql", "README.md", "test_legal.py"}
    assert changed - made == {copy.root / "CMakeLists.txt"} and tree.keys() <= after.keys()
    line = f"service(legal {copy.ports['LEGAL']})"
    assert copy.lines() == [*lines[:lines.index("service(analytics 8005)") + 1], line,
                            *lines[lines.index("service(analytics 8005)") + 1:]]
    assert {f: digest for f, digest in copy.programs().items() if f.name != "legal"} == programs
    assert pids.items() <= copy.pids().items(), "no other process was started again"

    seen = wait(lambda: (one := board(copy).get("legal")) and one["url"] and one["state"] == "up" and one, 60, "the board")
    assert seen["url"] == f"http://localhost:{copy.ports['LEGAL']}" and seen["subscribes"] and seen["dead_letters"] == 0
    assert [row["outcome"] for row in copy.audit("legal") if row["return_id"] in earlier] == ["handled"] * len(earlier)


def test_again_it_changes_nothing_and_up_has_nothing_to_restart(copy):
    tree, programs, pids = copy.tree(), copy.programs(), copy.pids()
    assert "is there already" in copy.verb("new", "legal")
    assert (copy.tree(), copy.pids()) == (tree, pids)
    assert "Already up: nothing was changed." in copy.verb("up")
    assert (copy.programs(), copy.pids()) == (programs, pids)


def test_its_commit_makes_no_other_program_another(copy):
    programs = copy.programs()
    copy.git("add", "-A")
    copy.git("-c", "user.name=T", "-c", "user.email=t@example.org", "commit", "-qm", "Add legal")
    copy.verb("build")
    after = copy.programs()
    assert {f for f in after if after[f] != programs[f]} == {copy.root / "build/release/bin/legal"}
    assert copy.verb("up").count("Restarted: legal (rebuilt)") == 1
    assert copy.status("legal")["versions"]["returns"] == copy.git("-c", "core.abbrev=10", "log", "-1", "--format=%h").strip()


def test_what_was_generated_holds_its_own_test(copy):
    generated_tests(copy, "legal")


def test_the_guides_own_event_is_in_the_returns_timeline(copy):
    """Its schema and its lines, as docs/add-a-subscriber.md has them."""
    guide = (ROOT / "docs/add-a-subscriber.md").read_text()
    schema, lines = (re.search(rf"```{kind}\n(.*?)```", guide, re.S)[1] for kind in ("json", "c"))
    source, folder = copy.root / "services/legal/legal.c", copy.root / "schemas/legal"
    before = source.read_text()
    folder.mkdir()
    (folder / "ClaimFiled.avsc").write_text(schema)
    source.write_text(before.replace('    reaction_audit(r, "handled", added', f'{lines}    reaction_audit(r, "handled", added'))
    try:
        assert "Restarted: legal (rebuilt)\n" in copy.verb("up"), "legal alone"
        return_id = copy.submit()
        event = wait(lambda: [e for e in copy.events(return_id) if e["team"] == "legal"], 30, "its event is in the history")[0]
        order = copy.get("support", f"/api/returns/{return_id}")["request"]["order_id"]
        assert event["type"] == "returns.legal.ClaimFiled" and event["data"]["order_id"] == order
    finally:
        source.write_text(before)
        shutil.rmtree(folder)
        copy.verb("up")


def blocks(guide, heading):
    """The commands of a chapter, as a reader copies them."""
    chapter = re.search(rf"\n## {heading}\n(.*?)\n## ", guide, re.S)[1]
    return [line.split("#")[0].split() for block in re.findall(r"```sh\n(.*?)```", chapter, re.S)
            for line in block.splitlines() if line.strip()]


def figures(copy, name):
    return next(team for team in json.loads(copy.run("reconcile", "--json").stdout)["teams"] if team["team"] == name)


def test_the_guides_rebuild_takes_a_changed_handler_and_loses_nothing(copy):
    """docs/add-a-subscriber.md, word by word: a handler that now gives some events back."""
    guide = (ROOT / "docs/add-a-subscriber.md").read_text()
    commands = blocks(guide, "Change what it does")
    assert [words[:3] for words in commands[1:]] == [["./returns", "rebuild", "legal"]] * 2 and len(commands) == 3
    kept, refused = copy.submit(cost={"amount": "10.00", "currency": "EUR"}), []
    refused = [copy.submit(model="Comet router") for _ in range(3)]
    wait(lambda: {kept, *refused} <= {row["return_id"] for row in copy.audit("legal")}, 60, "legal has them")
    wait(lambda: copy.get("support", f"/api/returns/{refused[0]}")["status"] == "handled", 60, "handled by all")
    source = copy.root / "services/legal/legal.c"
    before = source.read_text()
    rule = '    if (!strcmp(q->model, "Comet router"))\n        return fail(why, REJECT, "of a %s no claim is made", q->model);\n'
    source.write_text(before.replace("    (void)why;\n    const struct refund_request *q = fields;\n",
                                     f"    const struct refund_request *q = fields;\n{rule}")
                      .replace('#include "chassis/events/service.h"\n', '#include "chassis/events/service.h"\n\n#include <string.h>\n'))
    try:
        copy.verb(*commands[0][1:])
        compared = copy.run(*commands[1][1:])
        assert compared.returncode == 1 and "they would become dead letters" in compared.stdout, compared.stdout
        assert copy.status("legal")["dead_letters"] == 0
        taken = copy.run(*commands[2][1:])
        assert taken.returncode == 3 and "It is in use now" in taken.stdout, taken.stdout
        letters = wait(lambda: copy.get("legal", "/api/dead-letters")["dead_letters"], 60, "it is up again, with letters")
        assert set(refused) <= {letter["key"] for letter in letters} and kept not in {letter["key"] for letter in letters}
        assert {letter["reason"] for letter in letters} == {"of a Comet router no claim is made"}
        rows = [row for row in copy.audit("legal") if row["return_id"] == refused[0]]
        assert [row["outcome"] for row in sorted(rows, key=lambda row: row["id"])] == ["handled", "quarantined"]
        wait(lambda: copy.get("support", f"/api/returns/{refused[0]}")["attention"], 60, "support shows attention")
        assert copy.get("support", f"/api/returns/{refused[0]}")["status"] == "requested"
        wait(lambda: figures(copy, "legal")["quarantined"] == len(letters), 60, "they are reconciled")
        said = figures(copy, "legal")
        assert said["fits"] and not said["missing"] and not said["doubled"], said
    finally:
        source.write_text(before)
        copy.verb("up")
    for letter in letters:
        copy.verb("redrive", "legal", str(letter["id"]))
    assert copy.status("legal")["dead_letters"] == 0
    wait(lambda: copy.get("support", f"/api/returns/{refused[0]}")["status"] == "handled", 60, "support knows of it")
    said = copy.run("rebuild", "legal", "--shadow").stdout
    assert "(identical)" in said, said
    assert "1 events differ" in said, f"only the claim that the test before this one filed, by lines that are gone: {said}"


def test_one_in_memory_with_other_events_too(copy):
    copy.join("watch", "--in-memory", "--events", "OrderRefunded,returns.sales.OrderPlaced,ReturnClosed")
    generated_tests(copy, "watch")
    assert copy.status("watch")["service"] == "watch"
    copy.verb("remove", "watch", "--yes")


@pytest.mark.parametrize("words, said", [
    (["Legal2"], '"Legal2": is no name for a service. Take small letters'),
    (["9lives"], '"9lives": is no name'),
    (["a_b"], '"a_b": is no name'),
    (["x" * 41], "41 characters are too long"),
    (["kafka"], '"kafka": this name is taken'),
    (["chassis"], '"chassis": this name is taken'),
    (["all"], '"all": this name is taken'),
    (["test"], '"test": this name is taken'),
    (["schema"], '"schema": this name is taken'),
    (["drill"], '"drill": this name is taken'),
    (["history"], '"history": this name is taken'),
    (["fine", "--port", "8001"], "--port 8001: is sales's. The next free one is"),
    (["fine", "--port", "9092"], "--port 9092: is kafka's"),
    (["fine", "--port", "0"], '--port "0": must be a port'),
    (["fine", "--port", "80a"], '--port "80a": must be a port'),
    (["fine", "--port", "70000"], '--port "70000": must be a port'),
    (["fine", "--events", "RefundRequested"], '"RefundRequested": no such event\nThere are: AssetDisposalCharged '),
    (["fine", "--events", "RefundRequest,RefundRequest"], '"RefundRequest" is named twice'),
    (["fine", "--events", "AuditHeads"], '"AuditHeads": no such event'),
    (["fine", "--events"], "--events: its value is missing"),
    (["fine", "--memory"], '"--memory": no such option'),
    (["fine", "other"], '"other": one name at a time'),
    ([], "which name?"),
])
def test_what_cannot_be_is_refused_and_changes_nothing(copy, words, said):
    tree = copy.tree()
    done = copy.run("new", *words)
    assert done.returncode in (1, 2) and said in done.stdout, done.stdout
    assert copy.tree() == tree


def test_a_port_where_somebody_listens_is_refused(copy):
    tree, port = copy.tree(), copy.ports["REGISTRY"]
    assert f"--port {port}: is registry's" in copy.run("new", "fine", "--port", str(port)).stdout
    listening = subprocess.Popen(
        ["python3", "-c", "import socket; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True); s.accept()"],
        stdout=subprocess.PIPE, text=True)
    try:
        port = listening.stdout.readline().strip()
        assert f"--port {port}: is held by python3" in copy.run("new", "fine", "--port", port).stdout
    finally:
        listening.kill()
        listening.wait()
    assert copy.tree() == tree


def test_killed_at_any_moment_it_left_nothing_or_is_completed(copy, tmp_path):
    """Killed before and after each step that shows: the folder, the line, and in the middle of the build."""
    tree, port = copy.tree(), free_ports(1)[0]
    wrapper = tmp_path / "mv"
    path = {"PATH": f"{tmp_path}:{copy.env['PATH']}"}

    def killed(at, moment):
        (tmp_path / "n").write_text("0")
        wrapper.write_text(
            f"#!/bin/bash\nread -r n <{tmp_path}/n; echo $((++n)) >{tmp_path}/n\n"
            f"[[ {moment} == after ]] && /bin/mv \"$@\"\n((n == {at})) && kill -KILL $PPID\n"
            f"[[ {moment} == after ]] || /bin/mv \"$@\"\n")
        wrapper.chmod(0o755)
        done = copy.run("new", "half", "--port", str(port), **path)
        assert done.returncode == -signal.SIGKILL, done.stdout
        after = copy.tree()
        return {str(f.relative_to(copy.root)) for f in after if tree.get(f) != after[f]}

    files = {f"services/half/{f}" for f in ("half.c", "schema.sql", "README.md", "test_half.py")}
    # By whom the first is killed depends on nothing but the number of the call: 1 is the folder, then the line.
    assert killed(1, "after") == files
    assert killed(1, "before") in (files, files | {"CMakeLists.txt"})
    assert killed(1, "after") == files | {"CMakeLists.txt"}
    copy.ports["HALF"] = port
    copy.verb("new", "half")
    after = copy.tree()
    assert {f for f in after if tree.get(f) != after[f]} == {copy.root / f for f in files | {"CMakeLists.txt"}}
    assert copy.lines().count(f"service(half {port})") == 1
    wait(lambda: not copy.status("half")["waiting_for"], 60, "it runs")
    copy.verb("remove", "half", "--yes")
    assert copy.tree() == tree


def test_removed_it_keeps_what_was_written_and_nobody_waits_for_it(copy):
    tree, database = copy.tree(), copy.home / f"data/{copy.namespace}.legal.db"
    handler = copy.root / "services/legal/legal.c"
    handler.write_text(handler.read_text() + "/* Written by hand. */\n")
    said = copy.verb("remove", "legal")
    assert "Still there: services/legal" in said and database.exists()
    assert "Written by hand" in handler.read_text() and not any("legal" in line for line in copy.lines())
    assert not copy.pid_of("legal")
    return_id = copy.submit()
    wait(lambda: copy.get("support", f"/api/returns/{return_id}")["status"] == "handled", 60, "nobody waits for it")
    wait(lambda: not (board(copy).get("legal") or {}).get("subscribes"), 60, "on the board it is no subscriber any more")
    assert "sales" in copy.run("remove", "nobody").stdout
    done = copy.run("remove", "sales")
    assert done.returncode == 2 and '"sales": compose/compose.yaml runs it' in done.stdout and copy.pid_of("sales")

    copy.join("legal")  # as it was, and where it was
    wait(lambda: return_id in {row["return_id"] for row in copy.audit("legal")}, 60, "it goes on where it ended")
    assert "Written by hand" in handler.read_text()
    copy.verb("remove", "legal", "--yes")
    assert not handler.parent.exists() and not database.exists()
    assert {f for f in tree if f.parent != handler.parent and f.name != "CMakeLists.txt"} == {
        f for f in copy.tree() if f.name != "CMakeLists.txt"}


@pytest.mark.parametrize("events", [*EVENTS, "RefundRequest,RefundCancelled", ",".join(EVENTS)], ids=lambda e: e[:40])
def test_for_whatever_events_it_is_clean(tmp_path, events):
    """By the compiler, the formatter, the database and Python."""
    tool = [BIN / "returns_tool", "new", "any-name", tmp_path, "8099", events, "0"]
    subprocess.run(tool, cwd=ROOT, check=True)
    source = tmp_path / "any-name.c"
    strict = ["gcc", "-std=gnu17", "-D_GNU_SOURCE", *WARNINGS.split(), "-Werror", "-fsyntax-only", f"-I{ROOT}/services"]
    subprocess.run([*strict, source], check=True)
    subprocess.run([Path(sys.executable).parent / "clang-format", "--dry-run", "-Werror", f"--style=file:{ROOT}/.clang-format", source], check=True)
    compile((tmp_path / "test_any_name.py").read_text(), "test", "exec")
    assert all(len(line) <= 120 for line in source.read_text().splitlines())
