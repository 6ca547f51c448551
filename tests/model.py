"""What the teams must have done, by DESIGN.md alone: an independent model, without a line of the product.

A team's published events, in the order in which it decided them, are folded one by one; every rule is asserted at every
one of them. Then finish() compares where that ends with what was asked and cancelled, return by return."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field


@dataclass
class Return:
    """What a team could read about one return, in the order in which it did."""

    events: list = field(default_factory=list)  # (type, event)

    def __post_init__(self):
        self.request = self.cancel = None

    def add(self, type, event):
        """Only the first request counts, unless the return was taken back before it; and the first cancellation."""
        self.events.append((type, event))
        if type == "RefundRequest" and not self.request and not self.cancel:
            self.request = event
        if type == "RefundCancelled" and not self.cancel:
            self.cancel = event


class Team:
    """DONE, WAITS, UNDONE and GIVEN_UP are the types of its events; of each a return has one at most."""

    def __init__(self, returns):
        self.returns = returns
        self.done, self.waiting, self.ended = {}, defaultdict(list), {}
        self.began, self.owed = {}, None  # owed: the event that must come next
        self.moments = defaultdict(dict)  # {return: {"asked": ms, "done": ms, "ended": ms}}
        self.prefixes = self.taken_over = 0

    # What a team is about: overridden

    def key(self, event):
        """What returns wait for one another for."""
        raise NotImplementedError

    def wants(self, request):
        """Whether the team can do anything about such a request at all."""
        return True

    def free(self, key):
        return True

    def take(self, key, event):
        pass

    def give_back(self, key, event):
        pass

    # The fold

    def apply(self, type, event):
        return_id, of = event["return_id"], self.returns[event["return_id"]]
        assert not self.owed or self.owed == (self.DONE, return_id, event["caused_by"]), (self.owed, type, event)
        meant = {self.DONE: self.on_done, self.WAITS: self.on_waits, self.UNDONE: self.on_undone, self.GIVEN_UP: self.on_given_up}
        meant[type](return_id, of, event)
        self.prefixes += 1

    def on_done(self, return_id, of, event):
        key = self.key(event)
        assert return_id not in self.done and return_id not in self.ended, f"{return_id} a second time: {event}"
        assert event["version"] == of.request["version"]
        assert key == self.key(of.request)
        if self.owed:
            assert self.waiting[key].pop(0) == return_id
            self.owed, self.taken_over = None, self.taken_over + 1
        else:
            self.begin(return_id, of, event)
            assert not self.waiting[key], f"{return_id} before those who waited: {self.waiting[key]}"
        assert self.free(key), f"{event} while there is none"
        self.take(key, event)
        self.done[return_id] = event
        self.moments[return_id]["done"] = event["occurred_at"]

    def on_waits(self, return_id, of, event):
        key = self.key(event)
        assert key == self.key(of.request)
        self.begin(return_id, of, event)
        assert not self.free(key), f"{event} while there is one"
        self.waiting[key].append(return_id)

    def begin(self, return_id, of, event):
        assert return_id not in self.began, f"{return_id} is begun twice"
        assert of.request and event["caused_by"] == of.request["event_id"] and event["version"] == of.request["version"]
        self.began[return_id] = event
        self.moments[return_id]["asked"] = event["occurred_at"]

    def end(self, return_id, of, event):
        assert return_id not in self.ended, f"{return_id} is undone twice"
        assert of.cancel and event["caused_by"] == of.cancel["event_id"] and event["version"] == of.cancel["version"]
        self.ended[return_id] = event
        self.moments[return_id]["ended"] = event["occurred_at"]

    def on_undone(self, return_id, of, event):
        key = self.key(event)
        assert key == self.key(self.done.pop(return_id))
        self.end(return_id, of, event)
        self.give_back(key, event)
        if self.waiting[key]:
            self.owed = self.DONE, self.waiting[key][0], event["caused_by"]

    def on_given_up(self, return_id, of, event):
        self.waiting[self.key(event)].remove(return_id)
        self.end(return_id, of, event)

    # The end

    def finish(self):
        assert not self.owed
        waiting = {r: key for key, line in self.waiting.items() for r in line}
        for return_id, of in self.returns.items():
            if not of.request or not self.wants(of.request):
                assert return_id not in self.began, f"{return_id}: something was done, and nobody asked for it"
            elif of.cancel:
                assert return_id in self.began and return_id in self.ended, f"{return_id} is cancelled, and not undone"
                assert return_id not in self.done and return_id not in waiting
            else:
                assert return_id in self.done or return_id in waiting, f"{return_id} is lost"
                assert return_id not in self.ended, f"{return_id} is undone, and nobody cancelled it"
        for key, line in self.waiting.items():
            assert not line or not self.free(key), f"{line} wait for {key}, which is free"

    def state(self, return_id):
        """DONE, WAITS, UNDONE or GIVEN_UP; None: it has none."""
        if return_id in self.ended:
            return self.UNDONE if "done" in self.moments[return_id] else self.GIVEN_UP
        if return_id in self.done:
            return self.DONE
        return self.WAITS if return_id in self.began else None


class OneAtATime(Team):
    """An item can be with one return only."""

    def __init__(self, returns):
        super().__init__(returns)
        self.held = Counter()

    def free(self, key):
        return not self.held[key]

    def take(self, key, event):
        self.held[key] += 1

    def give_back(self, key, event):
        self.held[key] -= 1


class Sales(OneAtATime):
    DONE, WAITS, UNDONE, GIVEN_UP = "OrderRefunded", "RefundDeclined", "RefundReversed", "RefundRequestWithdrawn"

    def key(self, event):
        return event["order_id"], event["serial_number"]


class Manufacturing(OneAtATime):
    DONE, WAITS, UNDONE, GIVEN_UP = (
        "DisassemblyOrdered", "DisassemblyDeclined", "DisassemblyOrderWithdrawn", "DisassemblyRequestWithdrawn")

    def __init__(self, returns):
        super().__init__(returns)
        self.queued = Counter()

    def key(self, event):
        return event["serial_number"]

    def take(self, key, event):
        super().take(key, event)
        self.queued[event["site"]] += 1

    def give_back(self, key, event):
        super().give_back(key, event)
        self.queued[event["site"]] -= 1


class Inventory(Team):
    DONE, WAITS, UNDONE, GIVEN_UP = "ReplacementShipped", "ReplacementBackordered", "ShipmentRecalled", "BackorderWithdrawn"

    def __init__(self, returns, initial):
        super().__init__(returns)
        self.initial, self.shipped, self.recalled = initial, Counter(), Counter()

    def on_hand(self, model):
        return self.initial.get(model, 0) - self.shipped[model] + self.recalled[model]

    def key(self, event):
        return event["model"]

    def free(self, key):
        return self.on_hand(key) > 0

    def take(self, key, event):
        self.shipped[key] += 1
        assert event["on_hand"] == self.on_hand(key) >= 0

    def give_back(self, key, event):
        self.recalled[key] += 1
        assert event["on_hand"] == self.on_hand(key) <= self.initial[key]


class Accounting(Team):
    DONE, UNDONE, WAITS, GIVEN_UP = "AssetDisposalCharged", "AssetDisposalReversed", None, None

    def __init__(self, returns):
        super().__init__(returns)
        self.debits, self.credits = Counter(), Counter()  # by currency and account

    def key(self, event):
        return event["return_id"]  # nobody waits for anybody

    def wants(self, request):
        return request["cost"]["amount"] >= 0

    def post(self, event):
        amount, currency = event["cost"]["amount"], event["cost"]["currency"]
        self.debits[currency, event["debit_account"]] += amount
        self.credits[currency, event["credit_account"]] += amount

    def take(self, key, event):
        assert event["cost"] == self.returns[event["return_id"]].request["cost"]
        self.post(event)

    def give_back(self, key, event):
        was = self.began[event["return_id"]]
        assert event["cost"] == was["cost"]
        assert (event["debit_account"], event["credit_account"]) == (was["credit_account"], was["debit_account"])
        self.post(event)

    def finish(self):
        super().finish()
        stands = Counter()
        for (currency, _), amount in self.debits.items():
            stands[currency] += amount
        for (currency, _), amount in self.credits.items():
            stands[currency] -= amount
        assert not any(stands.values()), stands
