"""The load: returns, submitted through support's HTTP at a steady rate, until each one has its answer."""

import http.client
import json
import random
import threading
import time
from urllib.parse import unquote, urlencode

CONNECTIONS = 6
FORM_SHARE = 0.1  # so many of them go through the form, as a person's would
ANSWER_SECONDS = 10
PATIENCE_SECONDS = 120  # for one return, over all its tries

MODELS = ["Aurora 14 laptop", "Borealis 27 monitor", "Comet router", "Dune headset", "Ember tablet", "Фонарь 3"]
LOCATIONS = ["Berlin", "Lyon", "Warsaw", "København", "大阪", "Αθήνα"]
CURRENCIES = ["EUR", "USD", "PLN", "JPY"]
REASONS = [
    "The screen stays dark.",
    "Der Lüfter läuft ständig, auch im Leerlauf.",
    "L’écran clignote, puis s’éteint :\nrien n’y fait.",
    "電源が入りません。",
    "لا يعمل الجهاز بعد التحديث",
    "Батарея не заряжается",
    "का बटन अटक गया है",
    'The "Enter" key & <Tab> stick 😖',
]


def wanted_return(seed, number):
    """The return of that number; the same for the same seed."""
    chosen = random.Random(f"{seed}/{number}")
    currency = chosen.choice(CURRENCIES)
    minor = chosen.randrange(0, 300_000) * (100 if currency == "JPY" else 1)
    return {
        "order_id": f"ORD-{seed}-{number}",
        "model": chosen.choice(MODELS),
        "shipment_id": f"SHP-{seed}-{number}",
        "serial_number": f"{chosen.choice(['SN', '製番', 'Ü'])}-{seed}-{number}",
        "location": chosen.choice(LOCATIONS),
        "cost": {"amount": f"{minor // 100}.{minor % 100:02}", "currency": currency},
        "customer_id": f"CUS-{chosen.randrange(1000)}",
        "reason": chosen.choice(REASONS),
    }


class Load:
    """Threads that share the numbers of the returns; number n is due at n / rate seconds."""

    def __init__(self, port, seed, returns, seconds):
        self.port, self.seed, self.returns, self.seconds = port, seed, returns, seconds
        self.accepted, self.failures = [], []
        self.retries = self.reconciled = self.unsure = 0
        self.began, self.took = time.monotonic(), None
        self._lock, self._next = threading.Lock(), 0
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(CONNECTIONS)]

    def start(self):
        self.began = time.monotonic()
        for thread in self._threads:
            thread.start()

    def running(self):
        if any(thread.is_alive() for thread in self._threads):
            return True
        self.took = self.took or time.monotonic() - self.began
        return False

    def stop(self):
        self._stop.set()
        for thread in self._threads:
            thread.join(ANSWER_SECONDS + 1)

    def done(self):
        return len(self.accepted) + len(self.failures)

    def _take(self):
        with self._lock:
            number, self._next = self._next, self._next + 1
        return number if number < self.returns and not self._stop.is_set() else None

    def _run(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=ANSWER_SECONDS)
        while (number := self._take()) is not None:
            due = self.began + self.seconds * number / self.returns
            if self._stop.wait(max(0, due - time.monotonic())):
                break
            self._submit(connection, number)
        connection.close()

    def _submit(self, connection, number):
        """Sends the same request again only where no answer came, or one that asks for it."""
        wanted, unsure, tries = wanted_return(self.seed, number), False, 0
        end = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < end and not self._stop.is_set():
            try:
                if not connection.sock:
                    connection.connect()
            except OSError:  # nothing was sent
                self._stop.wait(0.05)
                continue
            tries += 1
            try:
                status, return_id = post(connection, wanted, by_form=number % round(1 / FORM_SHARE) == 0)
            except (OSError, http.client.HTTPException):
                connection.close()
                unsure = True
                continue
            if status in (202, 303) or (status == 409 and unsure):
                self._keep(wanted, return_id, tries, unsure, status == 409)
                return
            if status != 503:
                self._fail(f"return {number} was answered with {status}, after {tries} tries")
                return
            self._stop.wait(0.2)
        self._fail(f"return {number} was not answered within {PATIENCE_SECONDS} s, in {tries} tries")

    def _keep(self, wanted, return_id, tries, unsure, reconciled):
        with self._lock:
            self.accepted.append({k: v for k, v in wanted.items() if k != "reason"} | {"return_id": return_id})
            self.retries += tries - 1
            self.unsure += unsure
            self.reconciled += reconciled

    def _fail(self, text):
        with self._lock:
            self.failures.append(text)


def post(connection, wanted, by_form):
    """Returns (status, the return's id): the new one's, or of the return that holds the item already."""
    if by_form:
        flat = {k: v for k, v in wanted.items() if k != "cost"} | {f"cost.{k}": v for k, v in wanted["cost"].items()}
        path, body, kind = "/returns", urlencode(flat), "application/x-www-form-urlencoded"
    else:
        path, body, kind = "/api/returns", json.dumps(wanted), "application/json"
    connection.request("POST", path, body, {"Content-Type": kind})
    answer = connection.getresponse()
    answer.read()
    link = answer.getheader("Location") or answer.getheader("Link", "").split(">")[0]
    return answer.status, unquote(link.rsplit("/", 1)[-1])
