"""The records that people read: the audit page with a million rows, its filters, a row's own page; and the status page."""

import json
import random
import sqlite3
import time
from pathlib import Path
from urllib.parse import urlencode

import pytest

import audit_log
from stack import ROOT, SERVICES, ByHand, http, wait

NOWHERE = {"kafka": "127.0.0.1:1", "registry": "http://127.0.0.1:1"}
ROWS, MILLION = 20_000, 1_000_000
START = 1795000000000


def database_of(hand):
    (database,) = (hand.services["sales"].folder / "data").glob("*.db")
    return database


def moment(ms):
    return (audit_log.EPOCH + audit_log.timedelta(milliseconds=ms)).strftime("%Y-%m-%dT%H:%M:%S.") + f"{ms % 1000:03}Z"


# --- Filters, and rows


def make_varied(database):
    """Rows of unlike kinds, some of them rare, with a clock that is set back once, and a valid chain."""
    chance, heads, db = random.Random(5), {}, sqlite3.connect(database)
    for number in range(1, ROWS + 1):
        kind = chance.choices(range(4), [900, 60, 3, 1])[0]
        action, outcome, event = [("refund", "handled", "a.Asked"), ("decline", "declined", "a.Asked"), ("quarantine", "quarantined", "b.Odd"),
                                  ("submit", "accepted", None)][kind]
        back = 2_000_000 if 8_000 < number < 9_000 else 0
        row = dict(zip(audit_log.FIELDS, [
            number, START + 1000 * number - back, action, outcome, "support", f"R-{chance.randrange(3000)}", None, event,
            "support.events" if event else None, chance.randrange(6) if event else None, number if event else None, "said", None, 0]))
        audit_log.insert(db, row | {"hash": audit_log.extend(heads, row)})
    audit_log.set_heads(db, heads)
    db.commit()


def tally(db):
    """What the service counts and notes of each row as it writes it, of all at once. A block is full with 128 rows."""
    db.executescript("""
        DELETE FROM audit_block;
        INSERT INTO audit_block SELECT (id - 1) / 128, action, outcome, COALESCE(event_type, ''), MIN(at), MAX(at)
          FROM audit WHERE id <= (SELECT MAX(id) / 128 * 128 FROM audit) GROUP BY 1, 2, 3, 4;
        DELETE FROM chain_tally;
        INSERT INTO chain_tally SELECT COALESCE(topic || '/' || partition, 'by-hand'), log, outcome, COUNT(*) FROM audit GROUP BY 1, 2, 3;
        """)


@pytest.fixture(scope="module")
def varied(tmp_path_factory):
    """A service without Kafka whose log has many kinds of rows, and all of them as it exports them."""
    with ByHand(["sales"], tmp_path_factory.mktemp("varied"), **NOWHERE) as hand:
        hand.services["sales"].stop()
        make_varied(database_of(hand))
        with sqlite3.connect(database_of(hand)) as db:
            tally(db)
        hand.services["sales"].start()
        lines = http.get(hand.url("sales") + "/api/audit.jsonl").text.splitlines()
        hand.rows = [json.loads(line) for line in lines][::-1]
        assert len(hand.rows) == ROWS
        yield hand


@pytest.mark.full
def test_each_filter_shows_the_rows_that_the_whole_log_has_of_it(varied):
    chance, looked = random.Random(6), 0
    kinds = {"action": ["refund", "decline", "quarantine", "submit", "none"], "outcome": ["handled", "declined", "quarantined", "accepted", "refused"],
             "event_type": ["a.Asked", "b.Odd", "c.None"], "return_id": ["R-7", "R-x"]}
    for trial in range(150):
        query = {name: chance.choice(values) for name, values in kinds.items() if chance.random() < 0.4}
        since, until = sorted(START + 1000 * chance.randrange(-100, ROWS + 100) for _ in range(2))
        query |= {"since": moment(since)} if chance.random() < 0.3 else {}
        query |= {"until": moment(until)} if chance.random() < 0.3 else {}
        wanted = [row for row in varied.rows if all(row[name] == query[name] for name in kinds if name in query)
                  and ("since" not in query or row["at"] >= query["since"]) and ("until" not in query or row["at"] < query["until"])]
        page = varied.get("sales", "/api/audit?" + urlencode(query | {"limit": 100}))
        assert page["rows"] == wanted[:100], query
        assert page["next"] == (wanted[99]["id"] if len(wanted) > 100 else None)
        looked += bool(wanted)
        if trial % 10 == 0:
            lines = http.get(varied.url("sales") + "/api/audit.jsonl?" + urlencode(query)).text.splitlines()
            assert [json.loads(line) for line in lines] == wanted[::-1], query
            table = http.get(varied.url("sales") + "/api/audit.csv?" + urlencode(query)).text
            assert table.count("\r\n") == len(wanted) + 1
    assert looked > 50


def test_a_row_shows_its_neighbours_and_what_its_hash_is_made_of(varied):
    chance = random.Random(8)
    for row in [varied.rows[-1], varied.rows[0], *chance.sample(varied.rows, 30)]:
        one = varied.get("sales", f"/api/audit/{row['id']}")
        assert one["row"] == row
        chain = [r for r in varied.rows if (r["topic"], r["partition"]) == (row["topic"], row["partition"])]
        at = chain.index(row)
        after, before = chain[at - 1] if at else None, chain[at + 1] if at + 1 < len(chain) else None
        assert one["previous"] == (before and {"id": before["id"], "hash": before["hash"]})
        assert one["next"] == (after and {"id": after["id"], "hash": after["hash"]})
        previous = bytes.fromhex(one["previous"]["hash"]) if before else bytes(32)
        assert audit_log.hashlib.sha256(previous + one["canonical"].encode()).hexdigest() == row["hash"]
        page = http.get(varied.url("sales") + f"/audit/{row['id']}").text
        assert row["hash"] in page and one["chain"] in page and (not before or f'href="/audit/{before["id"]}"' in page)
    assert http.get(varied.url("sales") + f"/audit/{ROWS + 1}").status_code == 404


def test_the_page_says_how_far_the_chains_were_verified(varied):
    said = wait(lambda: "All 20000 rows fit" in (page := http.get(varied.url("sales") + "/audit").text) and page, 60, "all rows were looked at")
    assert '<span class="pill ok">intact</span>' in said
    assert varied.status("sales")["audit"]["rows"] == ROWS


def test_a_change_is_found_by_the_service_itself(tmp_path):
    with ByHand(["sales"], tmp_path, **NOWHERE) as hand:
        hand.services["sales"].stop()
        audit_log.make(database_of(hand), 3000)
        with sqlite3.connect(database_of(hand)) as db:
            db.execute("UPDATE audit SET summary = 'Nothing' WHERE id = 2345")
        hand.services["sales"].start()
        said = wait(lambda: hand.status("sales")["audit"]["broken"], 60, "the change was found")
        assert said["id"] == 2345
        assert "Row 2345 does not fit" in http.get(hand.url("sales") + "/audit").text
        assert "the audit log was changed" in hand.services["sales"].log.read_text()


# --- A million rows


@pytest.fixture(scope="module")
def million(tmp_path_factory):
    """A service with a log of a million rows, whose hashes nobody made."""
    with ByHand(["sales"], tmp_path_factory.mktemp("million"), **NOWHERE) as hand:
        hand.services["sales"].stop()
        with sqlite3.connect(database_of(hand)) as db:
            db.execute("PRAGMA synchronous = OFF")
            db.execute("""
                WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
                INSERT INTO audit SELECT i, ? + i, CASE WHEN i % 1009 = 0 THEN 'decline the refund' ELSE 'refund the order' END,
                  CASE WHEN i = 1 THEN 'quarantined' WHEN i % 1009 = 0 THEN 'declined' ELSE 'handled' END, 'support',
                  printf('R-%013d', i), randomblob(16), CASE i WHEN 2 THEN 'returns.support.Rare' ELSE 'returns.support.RefundRequest' END,
                  'support.events', i % 6, i / 6, 'order ORD-123456, item SN-ABCDEFG: refunded', printf('%032x', i), zeroblob(32), 0 FROM n
                """, [MILLION, START])
            tally(db)
        hand.services["sales"].spawn()
        wait(hand.services["sales"].is_ready, 60, "the service with a million rows is ready")
        yield hand


PAGE = 50
MIDDLE, LAST = moment(START + MILLION // 2), moment(START + MILLION + 1)
QUERIES = {
    "": PAGE, "outcome=handled": PAGE, "outcome=declined": PAGE, "outcome=quarantined": 1, "outcome=refused": 0, "action=decline+the+refund": PAGE,
    "action=no+such": 0, "event_type=returns.support.Rare": 1, "event_type=none": 0, "return_id=R-0000000000042": 1, "return_id=R-none": 0,
    f"since={LAST}": 0, f"until={moment(START)}": 0, f"until={moment(START + 3)}": 2, f"since={MIDDLE}": PAGE, f"until={MIDDLE}": PAGE,
    f"until={MIDDLE}&outcome=declined": PAGE, f"since={MIDDLE}&outcome=quarantined": 0, "outcome=declined&action=refund+the+order": 0,
    "outcome=handled&event_type=returns.support.Rare": 1, "return_id=R-0000000000042&outcome=declined": 0,
    f"outcome=handled&since={moment(START + 10)}&until={moment(START + 20)}&event_type=returns.support.RefundRequest": 10,
    "before=100": PAGE, "before=3000&outcome=declined": 2, "seen=2000&outcome=declined": 1,
}


@pytest.mark.alone
@pytest.mark.parametrize("query", QUERIES)
def test_the_page_over_a_million_rows_opens_within_100_ms(million, query):
    """The best of some, since other work on the machine can only add to it."""
    address, took = f"{million.url('sales')}/audit?{query}", []
    for _ in range(5):
        begin = time.perf_counter()
        answer = http.get(address)
        took.append(1000 * (time.perf_counter() - begin))
        assert answer.status_code == 200
    print(f"{min(took):.1f} ms, the slowest {max(took):.1f} ms")
    assert answer.text.count('href="/audit/') - answer.text.count('href="/audit/verify') == QUERIES[query]
    assert min(took) <= 100, took


@pytest.mark.alone
def test_a_million_rows_are_exported_in_constant_memory(million):
    status = Path(f"/proc/{million.services['sales'].process.pid}/status")
    peak_kb = lambda: int(status.read_text().split("VmHWM:")[1].split()[0])
    http.get(million.url("sales") + "/api/audit.csv?limit=1000").raise_for_status()
    before = peak_kb()
    for kind, query, wanted in [("jsonl", "", MILLION), ("csv", "", MILLION + 1), ("jsonl", "?outcome=declined", MILLION // 1009)]:
        with http.stream("GET", f"{million.url('sales')}/api/audit.{kind}{query}", timeout=60) as answer:
            assert sum(chunk.count(b"\n") for chunk in answer.iter_raw()) == wanted
    print(f"peak {before} kB before, {peak_kb()} kB after")
    assert peak_kb() - before < 2048


# --- The status page


def test_status_says_how_fast_how_late_and_by_what(stack):
    ids = [stack.submit() for _ in range(20)]
    stack.await_audits(ids, SERVICES, 180)
    for service in SERVICES:
        said = stack.status(service)
        assert said["throughput"]["last_minute"] >= 20 and said["throughput"]["most_per_second"] > 0
        assert 0 <= said["delay"]["p50_ms"] <= said["delay"]["p99_ms"]
        assert len(said["throughput"]["samples"]) == len(said["delay"]["samples"]) == 30
        assert {"returns", "librdkafka", "civetweb", "sqlite", "avro-c"} <= set(said["versions"])
        kafka = {row["name"]: (row["value"], row["from"]) for row in said["settings"]}["kafka"]
        assert kafka == (stack.kafka, "RETURNS_KAFKA") or kafka[0] == stack.kafka
        page = http.get(stack.url(service) + "/status").text
        assert page.count("<svg") == 2 and 'd="M' in page and "Settings in force" in page
    newest = said["throughput"]["samples"][-3:]
    assert any(sample["per_second"] > 0 for sample in newest)


def test_status_hides_secrets(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("geheim\n")
    settings = NOWHERE | {"registry": "http://me:geheim@127.0.0.1:1", "registry_user": "me", "registry_password_file": secret}
    with ByHand(["sales"], tmp_path, **settings) as hand:
        said = {row["name"]: row for row in hand.status("sales")["settings"]}
        assert (said["registry-password"]["value"], said["registry-password"]["from"]) == ("set", "RETURNS_REGISTRY_PASSWORD_FILE")
        for path in ("/", "/api/status", "/audit", "/metrics"):
            assert "geheim" not in http.get(hand.url("sales") + path).text, path


def test_what_teams_keep_beside_their_books_agrees_with_them(stack):
    stack.await_audits([stack.submit(model="Never had", location=place) for place in ("Lyon", "Oslo", "Lyon")], SERVICES, 180)
    sums = {
        "accounting": ("SELECT currency, account, debit, credit FROM balance ORDER BY 1, 2",
                       "SELECT currency, account, SUM(debit), SUM(credit) FROM ledger GROUP BY 1, 2 ORDER BY 1, 2"),
        "manufacturing": ("SELECT site, queued FROM site_queue WHERE queued > 0 ORDER BY 1",
                          "SELECT site, COUNT(*) FROM disassembly_order WHERE state = 'queued' GROUP BY 1 ORDER BY 1"),
        "inventory": ("SELECT model, waiting FROM backorder WHERE waiting > 0 ORDER BY 1",
                      "SELECT model, COUNT(*) FROM replacement WHERE state = 'backordered' GROUP BY 1 ORDER BY 1"),
    }
    for team, (kept, counted) in sums.items():
        with sqlite3.connect(f"file:{stack.home}/data/{stack.namespace}.{team}.db?mode=ro", uri=True) as db:
            db.execute("BEGIN")
            rows = db.execute(kept).fetchall()
            assert rows and rows == db.execute(counted).fetchall(), team
    views = {view["title"]: view for view in stack.status("accounting")["views"]}
    assert {"149.90"} <= {row[5] for row in views["Last postings"]["rows"]}
