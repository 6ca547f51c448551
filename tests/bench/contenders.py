"""Who takes part: our services, and the same subscriber as other ecosystems would write it. How each is built and started."""

import hashlib
import os
import shutil
import signal
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from node import NODE
from stack import BIN, ROOT, TEAMS

PEERS = Path(__file__).resolve().parent / "peers"
MADE = ROOT / "var/bench"
TABLES = PEERS / "audit.sql"
AUDIT_ONLY, AS_MADE = "bench-audit", "bench-new"
HANDLER = PEERS / "ours/audit_only.c"
JAVA_OPTIONS = ["-XX:+UseParallelGC", "-Xmx256m"]


class LeftOut(Exception):
    """Why somebody cannot take part here."""


@dataclass
class Contender:
    name: str
    title: str
    command: list
    ours: bool = False
    publishes: int = 0  # records into its own topic for each event
    env: dict = field(default_factory=dict)
    warms: bool = False  # its first run writes what makes every later one faster, and does not count


def program(name, title, path=None, publishes=0):
    return Contender(name, title, [str(path or BIN / name)], True, publishes)


def teams():
    return [program(team, team, publishes=1) for team in TEAMS]


def support():
    return program("support", "support")


# --- Ours, made by ./returns new


def stamp_of(*folders, more=""):
    """Of all that is in these folders."""
    digest = hashlib.sha256(more.encode())
    for folder in folders:
        for path in sorted([folder] if folder.is_file() else folder.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def ran(log, *command, cwd=None, env=None):
    """True: it ended well. What it said is in the log. When we are interrupted, it ends with all that it started."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as out:
        process = subprocess.Popen(command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True)
        try:
            return process.wait() == 0
        except BaseException:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()
            raise


def made(name, stamp, make):
    """var/bench/NAME, made unless it is there by the same stamp."""
    folder, mark = MADE / name, MADE / name / "stamp"
    if not mark.exists() or mark.read_text() != stamp:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        log = ROOT / f"var/logs/bench-{name}.log"
        if not make(folder, log):
            lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
            raise LeftOut(f"it could not be built: {lines[-1][:200] if lines else 'it said nothing'} (log: {log})")
        mark.write_text(stamp)
    return folder


OURS = ROOT / "services", ROOT / "schemas", ROOT / "CMakeLists.txt"


def make_subscribers(names, handler=None):
    """In a checkout of its own, which is away afterwards: the first by ./returns new, the others as that makes files.
    handler: what each does with an event, in place of noting it in a table."""
    def make(folder, log):
        with tempfile.TemporaryDirectory(prefix="returns-bench-") as home:
            root = Path(home) / "checkout"
            left_out = {ROOT / ".git", ROOT / "build", ROOT / "var"}
            shutil.copytree(ROOT, root, ignore=lambda at, found: [n for n in found if Path(at, n) in left_out])
            (root / "build/release/bin").mkdir(parents=True)
            shutil.copy(BIN / "returns_tool", root / "build/release/bin")
            env = os.environ | {"RETURNS_HOME": f"{home}/home", "CCACHE_BASEDIR": str(root), "CCACHE_NOHASHDIR": "1"}
            ok = ran(log, root / "returns", "new", names[0], cwd=root, env=env)
            with (root / "CMakeLists.txt").open("a") as lines:
                for name in names[1:]:
                    (root / "services" / name).mkdir()
                    ok = ok and ran(log, BIN / "returns_tool", "new", name, root / "services" / name, "8999",
                                    "RefundRequest,RefundCancelled", "0", cwd=root, env=env)
                    lines.write(f"service({name} 8999)\n")
            for name in names if ok and handler else []:
                shutil.copy(handler, root / f"services/{name}/{name}.c")
                (root / f"services/{name}/schema.sql").unlink()
            if len(names) > 1 or handler:
                ok = ok and ran(log, root / "returns", "build", cwd=root, env=env)
            for name in names if ok else []:
                shutil.copy(root / "build/release/bin" / name, folder)
            return ok
    return make


def subscribers(n):
    names = [AUDIT_ONLY, *(f"{AUDIT_ONLY}-{i}" for i in range(2, n + 1))]
    folder = made(f"subscribers-{n}", stamp_of(*OURS, HANDLER, more=f"{n}"), make_subscribers(names, HANDLER))
    return [program(name, "ours, audit only", folder / name) for name in names]


def as_made():
    return program(AS_MADE, "ours, by ./returns new", made(AS_MADE, stamp_of(*OURS), make_subscribers([AS_MADE])) / AS_MADE)


# --- Peers


def tool(name, *places):
    found = shutil.which(name, path=os.pathsep.join([os.environ["PATH"], *places]))
    if not found:
        raise LeftOut(f"there is no {name} here, and no package of it could be installed")
    return found


def plain_c():
    flags = ["-O2", "-lrdkafka", "-lavro", "-lsqlite3", "-lcrypto", "-lcurl", "-ljansson"]
    folder = made("c", stamp_of(PEERS / "c"), lambda to, log: ran(log, tool("gcc"), PEERS / "c/peer.c", "-o", to / "peer", *flags))
    return Contender("c", "plain C", [str(folder / "peer")])


def go():
    compiler = tool("go", "/usr/local/go/bin")

    def make(to, log):
        env = os.environ | {"GOTOOLCHAIN": "local", "GOPATH": str(MADE / "gopath"), "GOCACHE": str(MADE / "gocache"),
                            "GOFLAGS": "-modcacherw", "CGO_ENABLED": "1"}
        return ran(log, compiler, "build", "-o", to / "peer", ".", cwd=PEERS / "go", env=env)

    return Contender("go", "Go: franz-go", [str(made("go", stamp_of(PEERS / "go"), make) / "peer")])


def node():
    packages = ROOT / "var/node/interop/node_modules"  # kafkajs and avsc, as tests/interop pins them
    return Contender("node", "Node: kafkajs, avsc", [str(NODE), str(PEERS / "node/peer.js")],
                     env={"NODE_PATH": str(packages), "NODE_NO_WARNINGS": "1", "KAFKAJS_NO_PARTITIONER_WARNING": "1"})


def python():
    return Contender("python", "Python: confluent-kafka, fastavro", [str(ROOT / "var/venv/bin/python"), str(PEERS / "python/peer.py")])


def spring():
    """From the extracted jar, as Spring advises; from a class archive once a first run has written one."""
    java, maven = tool("java"), tool("mvn")

    def make(to, log):
        return (ran(log, maven, "-B", "-ntp", "-f", PEERS / "spring/pom.xml", f"-Dout={to}/target", "package")
                and ran(log, java, "-Djarmode=tools", "-jar", to / "target/app.jar", "extract", "--destination", to / "app"))

    folder = made("spring", stamp_of(PEERS / "spring"), make)
    archive = folder / "app.jsa"
    archived = [f"-XX:SharedArchiveFile={archive}", "-Xlog:cds=off"] if archive.exists() else [f"-XX:ArchiveClassesAtExit={archive}"]
    return Contender("spring", "Spring Boot", [java, *JAVA_OPTIONS, *archived, "-jar", str(folder / "app/app.jar")], warms=not archive.exists())


ALL = {
    "audit-only": lambda: subscribers(1)[0], "new": as_made, "c": plain_c, "go": go, "spring": spring, "node": node, "python": python,
}
