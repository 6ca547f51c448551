"""Returns at a steady rate, each at its own moment, whether or not those before it were answered; and when the teams had them.

Two processes besides the bench's own, so that neither holds up the other: one submits, one looks into the teams' databases."""

import http.client
import json
import multiprocessing
import sqlite3
import threading
import time
from urllib.parse import unquote

from prove.load import wanted_return

CONNECTIONS = 12  # a service answers 16 at a time
LOOK_SECONDS = 0.002
AFTER_SECONDS = 60


def submit_one(connection, wanted):
    """The return's id."""
    connection.request("POST", "/api/returns", json.dumps(wanted), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    body = answer.read()
    if answer.status != 202:
        raise RuntimeError(f"support answered {answer.status}: {body[:200]!r}")
    return unquote(answer.getheader("Location").rsplit("/", 1)[-1])


def submit(port, rate, seconds, seed, out):
    """Puts (return's id, when it was due, when it was answered) of each on the queue, then None; or an error's text."""
    n, lock, numbers, done = rate * seconds, threading.Lock(), iter(range(rate * seconds)), []
    began = time.monotonic() + 0.5

    def work():
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                return connection.close()
            due = began + number / rate
            if (ahead := due - time.monotonic()) > 0:
                if ahead > 0.3:
                    connection.close()  # support closes one that is idle for half a second
                time.sleep(ahead)
            try:
                done.append((submit_one(connection, wanted_return(seed, number)), due, time.monotonic()))
            except (OSError, http.client.HTTPException, RuntimeError) as e:
                done.append((repr(e), due, None))
                connection.close()

    threads = [threading.Thread(target=work) for _ in range(min(CONNECTIONS, n))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    out.put(done)


def watch(files, began, out, end):
    """Puts {team: {return's id: when its audit row was there}} on the queue, once the event is set."""
    bases = {team: sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=5) for team, file in files.items()}
    seen, last = {team: {} for team in files}, {team: began[team] for team in files}
    while not end.is_set():
        for team, db in bases.items():
            for row, returned in db.execute("SELECT id, return_id FROM audit WHERE id > ?", (last[team],)).fetchall():
                seen[team].setdefault(returned, time.monotonic())
                last[team] = row
        time.sleep(LOOK_SECONDS)
    out.put(seen)


def highest(file):
    db = sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=5)
    try:
        return db.execute("SELECT COALESCE(MAX(id), 0) FROM audit").fetchone()[0]
    finally:
        db.close()


def run(port, files, rate, seconds, seed):
    """([(return's id, due, answered)], {team: {return's id: moment}}, seconds from the last answer until all had all)."""
    spawn = multiprocessing.get_context("spawn")
    sent, watched, end = spawn.Queue(), spawn.Queue(), spawn.Event()
    began = {team: highest(file) for team, file in files.items()}
    processes = [spawn.Process(target=watch, args=(files, began, watched, end), daemon=True),
                 spawn.Process(target=submit, args=(port, rate, seconds, seed, sent), daemon=True)]
    try:
        for process in processes:
            process.start()
        done = sent.get(timeout=seconds * 3 + 120)
        stopped = time.monotonic()
        n = sum(answered is not None for _, _, answered in done)
        while time.monotonic() - stopped < AFTER_SECONDS and any(highest(file) - began[team] < n for team, file in files.items()):
            time.sleep(0.05)
        after = time.monotonic() - stopped
        end.set()
        return done, watched.get(timeout=30), after
    finally:
        end.set()
        for process in processes:
            process.terminate()
            process.join(10)
