"""A second reading of docs/audit.md: verifies an audit log, a database or JSON Lines, without a line of the product."""

import hashlib
import json
import random
import sqlite3
import uuid
from collections import Counter
from datetime import datetime, timedelta, timezone

FIELDS = ["id", "at", "action", "outcome", "actor", "return_id", "event_id", "event_type", "topic", "partition", "offset",
          "summary", "trace_id", "log"]
COLUMNS = ["record_offset" if name == "offset" else name for name in FIELDS] + ["hash"]
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def canonical(row):
    values = [row[name] for name in FIELDS if name != "log" or row[name]]
    texts = [None if value is None else str(value).encode() for value in values]
    return b"".join(b"~," if text is None else b"%d:%s," % (len(text), text) for text in texts)


def row_hash(before, row):
    return hashlib.sha256(before + canonical(row)).digest()


def chain_of(row):
    return "by-hand" if row["topic"] is None else f"{row['topic']}/{row['partition']}"


def of_database(path):
    for values in sqlite3.connect(f"file:{path}?mode=ro", uri=True).execute(f"SELECT {','.join(COLUMNS)} FROM audit ORDER BY id"):
        row = dict(zip([*FIELDS, "hash"], values))
        yield row | {"event_id": row["event_id"] and str(uuid.UUID(bytes=row["event_id"]))}


def of_lines(path):
    for line in open(path, encoding="utf-8"):
        row = json.loads(line)
        at = datetime.fromisoformat(row["at"].replace("Z", "+00:00"))
        yield {"log": 0} | row | {"at": (at - EPOCH) // timedelta(milliseconds=1), "hash": bytes.fromhex(row["hash"])}


def verify(rows):
    """(the number of the first row that does not fit or None, {chain: [rows, head]})"""
    heads = {}
    for number, row in enumerate(rows, 1):
        head = heads.setdefault(chain_of(row), [0, bytes(32)])
        if row["id"] != number or row["hash"] != row_hash(head[1], row):
            return number, heads
        head[0], head[1] = head[0] + 1, row["hash"]
    return None, heads


def make(path, n, seed=1, published_every=0):
    """Writes a log of n rows into the tables of a database. Returns the heads that were published on the way, as lines."""
    chance, heads, lines, offsets = random.Random(seed), {}, [], Counter()
    db = sqlite3.connect(path)
    for number in range(1, n + 1):
        by_hand, partition = number % 50 == 0, chance.randrange(6)
        row = dict(zip(FIELDS, [
            number, 1795000000000 + 3 * number, "refund the order", "handled", "support", f"R-{number:013}",
            str(uuid.UUID(int=chance.getrandbits(128))), "returns.support.RefundRequest", "support.events", partition,
            offsets[partition], f"Refunded order ORD-{number}: 149.90 €", f"{chance.getrandbits(128):032x}", 0 if number < n / 2 else 1]))
        if by_hand:
            row |= dict.fromkeys(["event_id", "event_type", "topic", "partition", "offset", "trace_id"]) | {"log": 0}
        offsets[partition] += not by_hand
        insert(db, row | {"hash": extend(heads, row)})
        if published_every and number % published_every == 0:
            lines.append(heads_line(number, heads))
            db.execute("INSERT INTO audit_published (heads, record_offset) VALUES (?, ?)", [lines[-1], len(lines) - 1])
    set_heads(db, heads)
    db.commit()
    db.close()
    return lines


def extend(heads, row):
    head = heads.setdefault(chain_of(row), [0, bytes(32)])
    head[0], head[1] = head[0] + 1, row_hash(head[1], row)
    return head[1]


def insert(db, row):
    event_id = row["event_id"] and uuid.UUID(row["event_id"]).bytes
    values = [(row | {"event_id": event_id})[name] for name in [*FIELDS, "hash"]]
    db.execute(f"INSERT INTO audit ({','.join(COLUMNS)}) VALUES ({','.join('?' * len(COLUMNS))})", values)


def set_heads(db, heads):
    db.execute("DELETE FROM audit_chain")
    db.executemany("INSERT INTO audit_chain VALUES (?, ?, ?)", [(name, *head) for name, head in heads.items()])


def heads_line(rows, heads):
    chains = [{"chain": name, "rows": n, "head": head.hex()} for name, (n, head) in sorted(heads.items())]
    return json.dumps({"at": "2026-11-21T09:28:51.123Z", "rows": rows, "chains": chains})
