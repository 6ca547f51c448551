"""What goes wrong meanwhile, by the seed: kills, restarts of Kafka and the registry, events published again."""

import os
import random
import signal
import threading
import time
from pathlib import Path

from confluent_kafka import Consumer, Producer, TopicPartition

from stack import SERVICES

KAFKA_SECONDS = 45  # from one fault of Kafka to the next, at least; the registry's lie in between
AGAIN_SHARE = 0.1  # so many kills are followed by another as soon as the process is back
DUPLICATE_SHARE = 0.02  # of the returns


def plan(seed, kills, seconds):
    """[(at, action, target)], by time: `kills` kills of services, and the faults of Kafka and the registry besides."""
    chosen, steps, left = random.Random(seed), [], kills
    while left:
        at, target = chosen.uniform(0, seconds), chosen.choice(SERVICES)
        steps.append((at, "kill", target))
        left -= 1
        if left and chosen.random() < AGAIN_SHARE:
            steps.append((at + 0.001, "kill", target))
            left -= 1
    # A short proof has one of each, too.
    for n in range(max(1, int(seconds / KAFKA_SECONDS))):
        span = seconds / max(1, int(seconds / KAFKA_SECONDS))
        steps.append((span * n + chosen.uniform(0.1, 0.3) * span, chosen.choice(["kill", "kill", "restart"]), "kafka"))
        steps.append(
            (span * n + chosen.uniform(0.2, 0.8) * span, chosen.choice(["kill", "kill", "restart"]), "registry")
        )
    return sorted(steps)


class Chaos:
    """Carries out a plan on a stack, in a thread of its own; later than planned where a victim is not back yet."""

    def __init__(self, stack, steps):
        self.stack, self.steps = stack, steps
        self.kills, self.done, self.late = {}, [], 0.0
        self.failure = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._java = []  # Kafka's and the registry's go on beside the services'

    def start(self):
        self.began = time.monotonic()
        self._thread.start()

    def running(self):
        return self._thread.is_alive() or any(thread.is_alive() for thread in self._java)

    def stop(self):
        self._stop.set()
        for thread in [self._thread, *self._java]:
            thread.join(90)

    def killed(self):
        return sum(n for name, n in self.kills.items() if name in SERVICES)

    def _run(self):
        for at, action, target in self.steps:
            if self._stop.wait(max(0, self.began + at - time.monotonic())):
                return
            if target in SERVICES:
                self._note(action, target, self._kill(target))
            else:
                thread = threading.Thread(target=self._verb, args=(action, target), daemon=True)
                self._java.append(thread)
                thread.start()
            self.late = max(self.late, time.monotonic() - self.began - at)

    def _note(self, action, target, did):
        if not did:
            self.failure = self.failure or f"could not {action} {target}: it was not there to be killed"
            return
        self.kills[target] = self.kills.get(target, 0) + 1
        self.done.append([round(time.monotonic() - self.began, 3), action, target])

    def _kill(self, service):
        """Waits until it runs; the moment of the kill is not bound to any state of it."""
        end = time.monotonic() + 30
        while time.monotonic() < end and not self._stop.is_set():
            pid = pid_of(self.stack.home / "bin" / service)
            if pid:
                try:
                    os.kill(pid, signal.SIGKILL)
                    return True
                except ProcessLookupError:
                    pass
            self._stop.wait(0.005)
        return False

    def _verb(self, action, target):
        try:
            for verb in ["stop", "start"] if action == "restart" else ["kill"]:
                self.stack.verb(verb, target, seconds=120)
        except AssertionError as e:
            if not self._stop.is_set():
                self.failure = self.failure or str(e)
        self._note(action, target, True)


def pid_of(program):
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if os.readlink(entry / "exe") == str(program):
                    return int(entry.name)
            except OSError:
                pass
    return None


class Duplicates:
    """Reads the topics along, and publishes some of what it read once more: same key, bytes, headers and partition."""

    def __init__(self, kafka, topics, seed, count, seconds):
        self.kafka, self.topics, self.count, self.seconds = kafka, topics, count, seconds
        self.places, self.failure = [], None  # [topic, partition, offset] of each
        self._chosen = random.Random(f"{seed}/duplicates")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._seen = {topic: [] for topic in topics}

    def start(self):
        self._thread.start()

    def running(self):
        return self._thread.is_alive()

    def stop(self):
        self._stop.set()
        self._thread.join(60)

    def _run(self):
        consumer = Consumer(
            {
                "bootstrap.servers": self.kafka,
                "group.id": "prove",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "log_level": 0,
            }
        )
        producer = Producer({"bootstrap.servers": self.kafka, "enable.idempotence": True, "log_level": 0})
        try:
            consumer.assign([TopicPartition(t, p, 0) for t in self.topics for p in range(6)])
            began = time.monotonic()
            for n in range(self.count):
                self._read_until(consumer, began + self.seconds * (n + 1) / (self.count + 1))
                if self._stop.is_set():
                    break
                self._publish(producer)
            if producer.flush(60):
                self.failure = "duplicates could not be published from outside"
        except Exception as e:  # a thread's end must be seen
            self.failure = f"duplicates could not be published: {e!r}"
        finally:
            consumer.close()

    def _read_until(self, consumer, at):
        """And further, until there is a record of support's."""
        while not self._stop.is_set() and (time.monotonic() < at or not self._seen[self.topics[0]]):
            message = consumer.poll(max(0.01, min(0.2, at - time.monotonic())))
            if message is not None and not message.error():
                self._seen[message.topic()].append(message)

    def _publish(self, producer):
        """Most of them in the first topic, support's, which every team reads."""
        known = [t for t in self.topics[1:] if self._seen[t]]
        topic = self._chosen.choice(known) if known and self._chosen.random() < 0.2 else self.topics[0]
        message = self._chosen.choice(self._seen[topic])
        producer.produce(
            topic,
            message.value(),
            message.key(),
            message.partition(),
            on_delivery=self._placed,
            headers=message.headers(),
        )
        producer.poll(0)

    def _placed(self, error, message):
        if error:
            self.failure = f"a duplicate was not published: {error}"
        else:
            self.places.append([message.topic(), message.partition(), message.offset()])
