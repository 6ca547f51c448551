"""The audit log: what is done to it is found, without a service; the heads in Kafka; and the log as a file."""

import csv
import io
import json
import random
import resource
import shutil
import sqlite3
import subprocess
from pathlib import Path

import pytest

import audit_log
from stack import BIN, ROOT, SERVICES, ByHand, http, wait

ROWS, PUBLISHED_EVERY = 10_000, 1_000
TOOL = BIN / "returns_tool"
NOWHERE = {"kafka": "127.0.0.1:1", "registry": "http://127.0.0.1:1"}


def verify(path, heads=None):
    """The answer of the program, as JSON; its exit status says the same."""
    given = ["--heads", heads] if heads else []
    done = subprocess.run([TOOL, "audit", "verify", path, "--json", *given], capture_output=True, text=True, timeout=60)
    assert done.returncode in (0, 1), done.stderr
    answer = json.loads(done.stdout)
    assert answer["intact"] == (done.returncode == 0)
    return answer


def broken_at(path, heads=None):
    answer = verify(path, heads)
    return None if answer["intact"] else answer["broken"]["id"]


def tables(path):
    db = sqlite3.connect(path)
    for file in sorted((ROOT / "services/chassis/store/sql").glob("tables*.sql"), key=lambda path: (len(path.name), path.name)):
        db.executescript(file.read_text())
    db.close()


def write_lines(database, path):
    """As /api/audit.jsonl writes them."""
    with open(path, "w", encoding="utf-8", newline="") as file:
        for row in audit_log.of_database(database):
            at = audit_log.EPOCH + audit_log.timedelta(milliseconds=row["at"])
            row |= {"at": at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{row['at'] % 1000:03}Z", "hash": row["hash"].hex()}
            if not row["log"]:
                del row["log"]
            file.write(json.dumps(row, separators=(",", ":"), ensure_ascii=False) + "\n")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A folder with log.db, log.jsonl and heads.jsonl of 10,000 rows."""
    folder = tmp_path_factory.mktemp("audit")
    tables(folder / "log.db")
    lines = audit_log.make(folder / "log.db", ROWS, published_every=PUBLISHED_EVERY)
    (folder / "heads.jsonl").write_text("".join(line + "\n" for line in lines))
    write_lines(folder / "log.db", folder / "log.jsonl")
    return folder


@pytest.fixture
def log(whole, tmp_path):
    """The same, to be changed."""
    return Path(shutil.copytree(whole, tmp_path / "log"))


def test_both_verifiers_agree_on_an_untouched_log(whole):
    answers = [verify(whole / "log.db"), verify(whole / "log.db", whole / "heads.jsonl"),
               verify(whole / "log.jsonl", whole / "heads.jsonl")]
    assert [a["rows"] for a in answers] == [ROWS] * 3
    assert [a["published"]["heads"] for a in answers] == [10, 20, 10]
    for rows in (audit_log.of_database(whole / "log.db"), audit_log.of_lines(whole / "log.jsonl")):
        broken, heads = audit_log.verify(rows)
        assert broken is None
        for answer in answers:
            assert {c["chain"]: [c["rows"], bytes.fromhex(c["head"])] for c in answer["chains"]} == heads


def test_a_changed_byte_anywhere_in_the_lines_is_found_with_its_row(log):
    path, chance = log / "log.jsonl", random.Random(7)
    content = bytearray(path.read_bytes())
    for position in [0, len(content) - 1, *chance.sample(range(len(content)), 60)]:
        row = content[:position].count(b"\n") + 1
        content[position] ^= (bit := 1 << chance.randrange(8))
        path.write_bytes(content)
        found = broken_at(path)
        # A line that is cut in two by a changed byte ends at the row before the change.
        assert found == row, f"byte {position}, of row {row}, bit {bit}: found at {found}"
        content[position] ^= bit


def contents(path):
    """What the tables hold; None: SQLite cannot read them."""
    try:
        db = sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)
        db.text_factory = bytes
        tables = ["audit", "audit_chain", "audit_published"]
        return [db.execute(f"SELECT *, typeof(id) FROM {t} ORDER BY 1" if t == "audit" else f"SELECT * FROM {t} ORDER BY 1").fetchall()
                for t in tables]
    except (sqlite3.DatabaseError, OverflowError):
        return None


def test_a_changed_byte_anywhere_in_the_database_is_found(log):
    """Bytes that hold no content, such as free space and indexes, may change: then the rows and heads are the same."""
    path, chance = log / "log.db", random.Random(11)
    before, content = contents(path), bytearray(path.read_bytes())
    found = 0
    for position in chance.sample(range(100, len(content)), 80):
        content[position] ^= (bit := 1 << chance.randrange(8))
        path.write_bytes(content)
        done = subprocess.run([TOOL, "audit", "verify", path], capture_output=True, timeout=60)
        if done.returncode == 0:
            assert contents(path) == before, f"byte {position}, bit {bit} changed the log, and was not found"
        found += done.returncode != 0
        content[position] ^= bit
    assert found > 30


def test_a_changed_value_anywhere_is_found_with_its_row(log):
    db, chance = sqlite3.connect(log / "log.db"), random.Random(13)
    db.isolation_level = None
    columns = audit_log.COLUMNS
    for trial in range(60):
        row, column = chance.randrange(ROWS) + 1, columns[1 + trial % (len(columns) - 1)]
        (was,) = db.execute(f"SELECT {column} FROM audit WHERE id = ?", [row]).fetchone()
        changed = (was + chance.choice([-1, 1, 256]) if isinstance(was, int) else "x" if was is None else
                   flip(was, chance) if isinstance(was, bytes) else flip(was.encode(), chance, ascii_only=True).decode())
        db.execute(f"UPDATE OR IGNORE audit SET {column} = ? WHERE id = ?", [changed, row])
        if db.execute("SELECT changes()").fetchone()[0]:  # a place in the topic that another row has is refused
            assert broken_at(log / "log.db") == row, (row, column, was, changed)
            db.execute(f"UPDATE audit SET {column} = ? WHERE id = ?", [was, row])
    assert broken_at(log / "log.db") is None


def flip(value, chance, ascii_only=False):
    places = [i for i, byte in enumerate(value) if not ascii_only or byte < 128]
    i = chance.choice(places)
    return value[:i] + bytes([value[i] ^ (1 << chance.randrange(7))]) + value[i + 1:]


def test_every_changed_head_is_found(log):
    db, chance = sqlite3.connect(log / "log.db"), random.Random(17)
    db.isolation_level = None
    for chain, rows, head in db.execute("SELECT chain, rows, head FROM audit_chain").fetchall():
        for changed in [(chain + "x", rows, head), (chain, rows + 1, head), *((chain, rows, flip(head, chance)) for _ in range(8))]:
            db.execute("UPDATE audit_chain SET chain = ?, rows = ?, head = ? WHERE chain = ?", [*changed, chain])
            broken = verify(log / "log.db")["broken"]
            assert "head" in broken["reason"] and broken["chain"] in (chain, chain + "x")
            db.execute("UPDATE audit_chain SET chain = ?, rows = ?, head = ? WHERE chain = ?", [chain, rows, head, changed[0]])
    lines = (log / "heads.jsonl").read_text().splitlines()
    for _ in range(20):
        heads = json.loads(line := chance.choice(lines))
        one = chance.choice(heads["chains"])
        one["head"] = flip(bytes.fromhex(one["head"]), chance).hex()
        (log / "one.jsonl").write_text(json.dumps(heads) + "\n")
        assert broken_at(log / "log.db", log / "one.jsonl") == heads["rows"], line


def rows_of(path):
    return path.read_bytes().splitlines(keepends=True)


def test_a_row_that_is_removed_swapped_inserted_or_replayed_is_named(log):
    path, rows = log / "log.jsonl", rows_of(log / "log.jsonl")
    again = json.loads(rows[4321])
    renumbered = json.dumps(again | {"id": ROWS + 1}, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"
    for what, changed, row in [
        ("the first removed", rows[1:], 1),
        ("one removed", rows[:5000] + rows[5001:], 5001),
        ("two swapped", [*rows[:70], rows[71], rows[70], *rows[72:]], 71),
        ("two far apart swapped", [*rows[:70], rows[9000], *rows[71:9000], rows[70], *rows[9001:]], 71),
        ("one inserted", [*rows[:800], rows[800], *rows[800:]], 802),
        ("one replayed at the end", [*rows, rows[4321]], ROWS + 1),
        ("one replayed as a new one", [*rows, renumbered], ROWS + 1),
    ]:
        path.write_bytes(b"".join(changed))
        assert broken_at(path) == row, what
    path.write_bytes(b"".join(rows[:-300]))
    assert broken_at(path) is None, "nothing in the rows tells that their tail is missing"
    assert broken_at(path, log / "heads.jsonl") == ROWS - 299


def test_a_log_that_was_written_anew_contradicts_what_was_published(log):
    """Somebody who can write the database changes one row and makes all hashes, heads and copies fit again."""
    db, heads = sqlite3.connect(log / "log.db"), {}
    rows = list(audit_log.of_database(log / "log.db"))
    rows[4199]["summary"] = "Nothing happened"
    db.execute("DELETE FROM audit")
    for row in rows:
        audit_log.insert(db, row | {"hash": audit_log.extend(heads, row)})
    audit_log.set_heads(db, heads)
    db.execute("DELETE FROM audit_published")
    db.commit()
    assert broken_at(log / "log.db") is None
    answer = verify(log / "log.db", log / "heads.jsonl")
    assert answer["broken"]["id"] == 5000 and "published" in answer["broken"]["reason"]


@pytest.mark.full
def test_a_million_rows_take_a_few_seconds(whole, tmp_path):
    """A tenth of them, by the processor's time of this process alone: 0.16 s on a quiet machine, 0.3 on a busy one."""
    n = 100_000
    tables(tmp_path / "log.db")
    audit_log.make(tmp_path / "log.db", n)
    write_lines(tmp_path / "log.db", tmp_path / "log.jsonl")
    for name in ("log.db", "log.jsonl"):
        took = []
        for _ in range(3):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            assert verify(tmp_path / name)["rows"] == n
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            took.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        print(f"{name}: {min(took):.3f} s of CPU for {n} rows")
        assert min(took) <= 9 * n / 1_000_000


# --- With services


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A service without Kafka that has 30,000 rows more than anybody wants in memory at once."""
    folder = tmp_path_factory.mktemp("filled")
    with ByHand(["sales"], folder, **NOWHERE) as hand:
        service = hand.services["sales"]
        service.stop()
        (database,) = (folder / "data").glob("*.db")
        audit_log.make(database, 30_000)
        service.start()
        yield hand


def peak_kb(hand):
    status = Path(f"/proc/{hand.services['sales'].process.pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0])


@pytest.mark.full
def test_the_log_comes_as_a_file_in_constant_memory(filled, tmp_path):
    http.get(filled.url("sales") + "/api/audit.jsonl?limit=1000").raise_for_status()
    wait(lambda: filled.status("sales")["audit"]["state"] == "intact", 60, "the background has its own memory, too")
    before = peak_kb(filled)
    answer = http.get(filled.url("sales") + "/api/audit.jsonl")
    assert answer.headers["content-type"] == "application/jsonl; charset=utf-8"
    assert answer.headers["transfer-encoding"] == "chunked" and "default-src 'none'" in answer.headers["content-security-policy"]
    sheet = list(csv.DictReader(io.StringIO(http.get(filled.url("sales") + "/api/audit.csv").text, newline="")))
    assert peak_kb(filled) - before < 2048, "an answer of 12 MB"
    (tmp_path / "log.jsonl").write_bytes(answer.content)
    assert verify(tmp_path / "log.jsonl")["rows"] == 30_000
    assert audit_log.verify(audit_log.of_lines(tmp_path / "log.jsonl"))[0] is None
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert [{k: "" if v is None else str(v) for k, v in ({"log": None} | line).items()} for line in lines] == sheet


def test_a_files_rows_are_those_of_the_filter(filled):
    for query in ("return_id=R-0000000000042", "outcome=handled&before=100", "since=2026-11-18T11:06:41Z&limit=7", "action=none"):
        page = filled.get("sales", "/api/audit?" + query + ("" if "limit" in query else "&limit=1000"))["rows"]
        lines = [json.loads(line) for line in http.get(f"{filled.url('sales')}/api/audit.jsonl?{query}").text.splitlines()]
        if "limit" not in query:
            assert lines == page[::-1], query
        else:
            assert len(lines) == 7 and lines[0]["at"][:19] >= "2026-11-18T11:06:41"
        table = http.get(f"{filled.url('sales')}/api/audit.csv?{query}").text
        assert table.count("\r\n") == len(lines) + 1
    refused = http.get(filled.url("sales") + "/api/audit.csv?limit=many")
    assert refused.status_code == 400 and refused.json()["errors"][0]["field"] == "limit"
    head = http.head(filled.url("sales") + "/api/audit.jsonl")
    assert head.status_code == 200 and not head.content
    old = http.build_request("GET", filled.url("sales") + "/api/audit.jsonl?limit=3", headers={"Connection": "close"})
    assert http.send(old).text.count("\n") == 3


def test_the_page_says_in_words_what_does_not_fit(filled):
    page = http.get(filled.url("sales") + "/audit/verify").text
    assert "intact" in page and "30000 rows" in page and 'href="/api/audit/verify"' in page
    (database,) = filled.services["sales"].folder.joinpath("data").glob("*.db")
    db = sqlite3.connect(database, isolation_level=None)
    db.execute("UPDATE audit SET summary = '<b>' || summary WHERE id = 123")
    page = http.get(filled.url("sales") + "/audit/verify").text
    assert "Row 123 of the chain" in page and "the first that does not fit" in page and "<b>" not in page
    assert filled.get("sales", "/api/audit/verify")["broken"]["id"] == 123
    db.execute("UPDATE audit SET summary = substr(summary, 4) WHERE id = 123")
    assert filled.get("sales", "/api/audit/verify")["intact"]


def test_every_service_publishes_its_heads_and_agrees_with_them(stack, tmp_path):
    stack.await_audits([stack.submit()], SERVICES, 180)
    for service in SERVICES:
        wait(lambda: stack.get(service, "/api/audit/verify")["published"]["rows"], 60, f"{service} has published its heads")
        said = stack.verb("audit", "verify", service, "--heads", "kafka")
        assert "intact" in said and "published heads" in said
    heads = [json.loads(line) for line in stack.verb("audit", "heads", "sales").splitlines()]
    assert [h["service"] for h in heads] == ["sales"] * len(heads)
    (tmp_path / "log.jsonl").write_bytes(http.get(stack.url("sales") + "/api/audit.jsonl").content)
    assert verify(tmp_path / "log.jsonl")["intact"]


def test_a_cut_tail_is_found_with_everything_else_stopped(stack, tmp_path):
    """Kafka's word against a copy of the database, in which everything fits."""
    wait(lambda: stack.get("inventory", "/api/audit/verify")["published"]["rows"], 60, "inventory has published its heads")
    published = stack.get("inventory", "/api/audit/verify")["published"]["rows"]
    heads = stack.verb("audit", "heads", "inventory")
    (tmp_path / "heads.jsonl").write_text(heads)
    name, copy = f"{stack.namespace}.inventory.db", tmp_path / "inventory.db"
    with sqlite3.connect(f"file:{stack.home}/data/{name}?mode=ro", uri=True) as source, sqlite3.connect(copy) as db:
        source.backup(db)
        db.execute("DELETE FROM audit WHERE id >= ?", [published])
        left = {}
        for row in audit_log.of_database(copy) if not db.commit() else ():
            audit_log.extend(left, row)
        audit_log.set_heads(db, left)
        db.execute("DELETE FROM audit_published")
    assert broken_at(copy) is None
    assert broken_at(copy, tmp_path / "heads.jsonl") == published


@pytest.mark.parametrize("words, said", [
    (["check", "x"], "must be verify or heads"),
    (["verify"], "name a service or a file"),
    (["verify", "no-such.db"], "no-such.db"),
    (["verify", "README.md", "--colour"], "no such option"),
    (["heads", "sales", "more"], "more"),
])
def test_audit_says_what_is_wrong_with_what_it_was_asked(stack, words, said):
    done = subprocess.run([ROOT / "returns", "audit", *words], env=stack.env, cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert done.returncode == 2 and said in done.stderr
