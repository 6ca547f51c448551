"""What is done to the subscribers: one step after the other, each with events of its own, judged as soon as all is quiet."""

import random
import threading
import time

from confluent_kafka import Consumer

from inputs import UNKNOWN_ID
from stack import http, wait

SETTLE_SECONDS = 60  # without moving: an honest one may wait for its group's session to time out
POISON_SECONDS = 30
FIRST_SECONDS = 180
KILLS = 3
KILL_SECONDS = 20
ENDS_MAX = 5  # so many times it may end by itself


class Faults:
    def __init__(self, stack, inputs, judge, subscribers, say):
        self.stack, self.inputs, self.judge, self.subscribers, self.say = stack, inputs, judge, subscribers, say
        self.watch, self.chosen = judge.watch, random.Random(7)

    def run(self):
        """All of it, in the order in which the table shows it."""
        for step in (self.steady, self.kills, self.rebalances, self.registry, self.broker, self.replays, self.poison):
            began = time.monotonic()
            step()
            self.say(f"{step.__name__}: {time.monotonic() - began:.0f} s")
        self.judge.own_events("its events")
        self.judge.lives("lives", ENDS_MAX)
        self.done("its events", "each record that it published was looked at")
        self.done("lives", f"it may end by itself {ENDS_MAX} times, and is started again")

    # --- Helpers

    def publish(self, events, partition=None):
        self.inputs.publish(events, partition)
        self.inputs.flush()

    def done(self, check, text):
        self.judge.done[check] = text

    def load_until(self, check, condition, seconds, rate=100):
        """Requests at that rate, until the condition holds. It is asked after each look at what was done by then."""
        end = time.monotonic() + seconds
        while True:
            self.inputs.publish(self.inputs.requests(check, rate // 10))
            self.inputs.producer.poll(0)
            time.sleep(0.1)
            self.judge.look()
            if condition() or time.monotonic() > end:
                self.inputs.flush()
                return

    # --- The steps

    def first(self):
        """Plain requests. Sets what can be observed of each; returns those that did nothing."""
        self.publish(self.inputs.requests("first", 12))
        events, end = self.inputs.of("first"), time.monotonic() + FIRST_SECONDS
        left = list(self.subscribers)
        while left and time.monotonic() < end:
            self.judge.look()
            left = [s for s in left if not self.watch.passed(s.name, self.inputs.ends)]
            time.sleep(0.1)
        quiet = time.monotonic() + 3  # what is published may come after the offset
        while time.monotonic() < quiet and any(self.watch.seen[s.name] < len(events) for s in self.subscribers):
            self.judge.look()
        for s in self.subscribers:
            s.audited = True
            s.audited = self.judge.rows(s, 20 if s.ours else 1) is not None
        return left

    def steady(self):
        """Duplicates, interleaved returns, unknown types and a new version, all at once."""
        again = self.inputs.requests("duplicates", 40)
        firsts = self.inputs.requests("order", 60)
        self.inputs.publish(again)
        self.inputs.publish(again[:20])
        self.inputs.publish(firsts)
        seconds = [self.inputs.about(e, "cancel", by="conform") for e in firsts]
        self.chosen.shuffle(seconds)
        others = self.inputs.requests("unknown types", 12)
        strangers = [self.inputs.about(e, "stranger", remark="nobody reads this") for e in others]
        newer = self.inputs.requests("new version", 24, "request: next", reason_code="RECALLED", urgency="high")
        for n in range(60):  # returns begun in one order go on in another, with the others' events in between
            self.inputs.publish(seconds[n:n + 1] + strangers[n:n + 1] + newer[n:n + 1])
        self.inputs.publish(again[20:])
        self.inputs.publish(again[:20])
        self.inputs.flush()
        expected = again + firsts + newer
        self.judge.settle(expected, SETTLE_SECONDS)
        self.judge.duplicates("duplicates")
        self.judge.order("order")
        self.judge.strangers("unknown types")
        self.judge.effects_once("new version")
        self.done("duplicates", f"{len(again)} events, {sum(len(e.places) for e in again)} records")
        self.done("order", f"{len(firsts)} returns, cancelled in another order")
        self.done("unknown types", f"{len(strangers)} events of a type of their own in the topic")
        self.done("new version", f"{len(newer)} events: a field added, one dropped, a symbol added")

    def kills(self):
        left = {s.name: KILLS for s in self.subscribers}
        at = {s.name: self.watch.progress(s.name) for s in self.subscribers}

        def kill_those_at_work():
            for s in self.subscribers:
                if left[s.name] and self.watch.progress(s.name) > at[s.name] + 2:
                    time.sleep(self.chosen.uniform(0, 0.01))
                    s.kill()
                    left[s.name] -= 1
                    self.watch.offsets()
                    self.watch.poll()
                    at[s.name] = self.watch.progress(s.name)
            return not any(left.values())

        self.load_until("kill -9", kill_those_at_work, KILL_SECONDS, 100)
        self.judge.settle(self.inputs.of("kill -9"), SETTLE_SECONDS)
        self.judge.effects_once("kill -9")
        self.done("kill -9", f"{len(self.inputs.of('kill -9'))} events, up to {KILLS} kills each")

    def rebalances(self):
        """A second instance comes and goes, the first goes and comes; and a member that handles nothing."""
        check = "rebalances"
        for s in self.subscribers:
            s.start(1)
        self.load_until(check, lambda: False, 3)
        strange = Strangers(self.stack.kafka, self.inputs.topic, self.subscribers)
        self.load_until(check, strange.have_been_in, 10)
        strange.close()
        for s in self.subscribers:
            s.stop(0)
        at = {s.name: self.watch.progress(s.name) for s in self.subscribers}
        self.load_until(check, lambda: all(self.watch.progress(s.name) > at[s.name] for s in self.subscribers), 12)
        for s in self.subscribers:
            s.wait_stopped(0)
        for s in self.subscribers:
            s.start(0)
        self.load_until(check, lambda: False, 1)
        for s in self.subscribers:
            s.stop(1)
            s.kill(1)
        self.judge.settle(self.inputs.of(check), SETTLE_SECONDS)
        self.judge.effects_once(check)
        self.done(check, f"{len(self.inputs.of(check))} events; a second instance; a member that handles nothing got "
                         f"partitions in {len(strange.were_in)} of {len(self.subscribers)} groups")

    def registry(self):
        """Events by a schema that nobody has asked for yet."""
        check = "registry outage"
        self.stack.verb("stop", "registry")
        self.publish(self.inputs.requests(check, 40, "request: unseen"))
        self.load_until(check, lambda: False, 4, 20)
        self.stack.verb("start", "registry")
        wait(self.registry_knows, 240, "the registry is back")
        self.judge.settle(self.inputs.of(check), SETTLE_SECONDS)
        self.judge.effects_once(check)
        self.done(check, f"{len(self.inputs.of(check))} events, 40 of them by a schema not seen before, 4 s and its start")

    def registry_knows(self):
        """All that it knew: just started, it answers 404 for ids that it has not read again yet."""
        checks = http.get(f"{self.stack.registry.partition('/apis/')[0]}/health/ready").json()["checks"]
        return {"name": "PersistenceSimpleReadinessCheck", "status": "UP"} in checks

    def broker(self):
        check = "broker outage"
        self.publish(self.inputs.requests(check, 300))
        self.stack.verb("kill", "kafka")
        self.inputs.publish(self.inputs.requests(check, 100))  # they go out once it is back
        self.inputs.flush()
        self.judge.settle(self.inputs.of(check), SETTLE_SECONDS)
        self.judge.effects_once(check)
        self.done(check, f"{len(self.inputs.of(check))} events; Kafka was killed with kill -9")

    def replays(self):
        check = "replays"
        before = self.judge.once_by_now([e for e in self.inputs.events if e.kind == "request"])
        for s in self.subscribers:
            s.stop()
        for s in self.subscribers:
            s.wait_stopped()
        for e in self.inputs.events:
            self.inputs.produce(e, None)
        self.inputs.flush()
        self.set_back()
        for s in self.subscribers:
            s.start()
        self.judge.settle([], SETTLE_SECONDS)
        time.sleep(1)  # what is published may come after the offset
        self.judge.look()
        self.judge.replayed(check, before)
        self.done(check, f"{len(self.inputs.events)} events published again, offsets set back to 0")

    def set_back(self):
        """Possible once a group has no member, or the session of one that is gone has timed out."""
        left = {s.name for s in self.subscribers}

        def all_set():
            left.difference_update([name for name in left if self.watch.set_back(name)])
            return not left

        wait(all_set, 120, "every group is empty, so that its offsets can be set back")

    def poison(self):
        good = self.inputs.request("poison").value
        frame, body = good[:5], good[5:]
        bad = [
            self.inputs.poison("not Avro", b'{"not": "avro"}'),
            self.inputs.poison("wrong magic", b"\x07" + good[1:]),
            self.inputs.poison("truncated", good[:-6]),
            self.inputs.poison("tombstone", None),
            self.inputs.poison("huge", frame + b"\xfe\xff\xff\xff\x1f" + body[1:] + bytes(900_000)),
            self.inputs.poison("unknown schema id", b"\0" + UNKNOWN_ID.to_bytes(4, "big") + body),
        ]
        keyless = self.inputs.request("poison")
        keyless.kind, keyless.key = "keyless", None
        for partition, one in enumerate(bad):
            self.inputs.publish([one, *self.inputs.requests("poison", 4)], partition)
        self.inputs.publish([keyless, *self.inputs.requests("poison", 4)], 0)
        self.inputs.flush()
        self.judge.settle(self.inputs.of("poison"), POISON_SECONDS)
        end = time.monotonic() + 5  # dead letters may come after the offset
        while time.monotonic() < end and any(
                len(self.watch.letters[s.name]) < len(bad) and not self.watch.kept_letters(s) for s in self.subscribers):
            self.judge.look()
        self.judge.poison("poison")
        self.done("poison", f"{', '.join(e.event_id for e in bad)}, no key; {len(self.inputs.of('poison'))} good ones behind")


class Strangers:
    """A plain member of each group, which takes partitions, handles nothing, and leaves."""

    def __init__(self, kafka, topic, subscribers):
        self.kafka, self.topic, self.were_in, self.members = kafka, topic, set(), []
        for s in subscribers:
            member = Consumer({"bootstrap.servers": kafka, "group.id": s.group, "enable.auto.commit": False,
                               "session.timeout.ms": 6000, "log_level": 0})
            member.subscribe([topic], on_assign=lambda _, got, s=s: self.were_in.add(s.name) if got else None)
            self.members.append(member)
        self.ended = threading.Event()
        self.threads = [threading.Thread(target=self.poll, args=(m,), daemon=True) for m in self.members]
        for thread in self.threads:
            thread.start()

    def poll(self, member):
        while not self.ended.is_set():
            member.poll(0.2)
        member.close()

    def have_been_in(self):
        return len(self.were_in) == len(self.members)

    def close(self):
        self.ended.set()
        for thread in self.threads:
            thread.join()
