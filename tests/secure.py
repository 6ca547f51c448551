"""A Kafka of its own that lets nobody in without a name, a password and TLS, and allows nothing that no ACL allows."""

import datetime
import ipaddress
import os
import subprocess
import time
from pathlib import Path

from confluent_kafka.admin import (
    AclBinding, AclBindingFilter, AclOperation, AclPermissionType, AdminClient, NewTopic, ResourcePatternType,
    ResourceType,
)
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from stack import ROOT, free_ports, wait

USERS = ["support", "sales", "tool"]
DAY = datetime.timedelta(days=1)


class Authority:
    """Makes certificates, each a PEM file."""

    def __init__(self, folder, name):
        self.folder, self.key = folder, ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        self.file = folder / f"{name}.pem"
        self.file.write_bytes(self.sign(self.name, self.key, 1, authority=True).public_bytes(serialization.Encoding.PEM))

    def sign(self, name, key, days, hosts=(), authority=False):
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder().subject_name(name).issuer_name(self.name).public_key(key.public_key())
            .serial_number(x509.random_serial_number()).not_valid_before(now - 3 * DAY).not_valid_after(now + days * DAY)
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        )
        if hosts:
            builder = builder.add_extension(x509.SubjectAlternativeName(list(hosts)), critical=False)
        return builder.sign(self.key, hashes.SHA256())

    def keystore(self, name, hosts, days=1):
        """The key, its certificate and the authority's, as Kafka reads them."""
        key = ec.generate_private_key(ec.SECP256R1())
        made = self.sign(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]), key, days, hosts)
        file, pem = self.folder / f"{name}.pem", serialization.Encoding.PEM
        file.write_bytes(
            key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
            + made.public_bytes(pem) + self.file.read_bytes()
        )
        return file


class SecureKafka:
    def __init__(self, folder):
        self.folder = Path(folder)
        # Each of the first three has a certificate of its own; at the last one, everybody may do everything.
        self.ports = dict(zip(["GOOD", "EXPIRED", "ELSEWHERE", "ADMIN", "CONTROLLER"], free_ports(5)))
        self.authority = Authority(self.folder, "authority")
        self.stranger = Authority(self.folder, "stranger")
        here = [x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        stores = {
            "GOOD": self.authority.keystore("good", here),
            "EXPIRED": self.authority.keystore("expired", here, days=-1),
            "ELSEWHERE": self.authority.keystore("elsewhere", [x509.DNSName("kafka.elsewhere.example")]),
        }
        users = " ".join(f'user_{name}="{name}-secret"' for name in USERS)
        listeners = ",".join(f"{name}://127.0.0.1:{port}" for name, port in self.ports.items())
        lines = (ROOT / "compose/local/server.properties").read_text().splitlines()
        kept = [line for line in lines if not line.startswith(("listener.security", "inter.broker"))]
        kept += [
            f"listeners={listeners}",
            f"advertised.listeners={listeners.rsplit(',', 1)[0]}",
            f"controller.quorum.voters=1@127.0.0.1:{self.ports['CONTROLLER']}",
            "listener.security.protocol.map=GOOD:SASL_SSL,EXPIRED:SASL_SSL,ELSEWHERE:SASL_SSL,ADMIN:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "inter.broker.listener.name=ADMIN",
            "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users=User:ANONYMOUS",
            "sasl.enabled.mechanisms=PLAIN",
        ]
        for name, store in stores.items():
            kept += [
                f"listener.name.{name.lower()}.ssl.keystore.type=PEM",
                f"listener.name.{name.lower()}.ssl.keystore.location={store}",
                f"listener.name.{name.lower()}.plain.sasl.jaas.config="
                f"org.apache.kafka.common.security.plain.PlainLoginModule required {users};",
            ]
        (self.folder / "kafka.properties").write_text("\n".join(kept) + "\n")

    def run(self, program, *arguments):
        libs = next(Path(os.environ.get("RETURNS_JAVA", ROOT / "var/java")).glob("*/kafka/libs"))
        return [
            "java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", f"{libs}/*",
            f"-Dlog4j2.configurationFile={ROOT}/compose/local/log4j2.properties", program, *arguments,
        ]

    def __enter__(self):
        with open(self.folder / "kafka.log", "ab") as log:
            subprocess.run(
                self.run("kafka.tools.StorageTool", "format", "-t", "MkU3OEVBNTcwNTJENDM2Qk", "-c", "kafka.properties"),
                cwd=self.folder, check=True, stdout=log, stderr=log,
            )
            self.process = subprocess.Popen(
                self.run("kafka.Kafka", "kafka.properties"), cwd=self.folder, stdout=log, stderr=log
            )
        self.admin = AdminClient({"bootstrap.servers": f"127.0.0.1:{self.ports['ADMIN']}", "log_level": 0})
        try:
            wait(self.is_up, 300, f"Kafka is up; see {self.folder}/kafka.log")
        except BaseException:
            self.__exit__()
            raise
        return self

    def is_up(self):
        assert self.process.poll() is None, (self.folder / "kafka.log").read_text()[-3000:]
        try:
            return self.admin.list_topics(timeout=2)
        except Exception:  # not yet
            return None

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait(30)

    def address(self, listener="GOOD"):
        return f"127.0.0.1:{self.ports[listener]}"

    def config(self, user, password=None, authority=None):
        """A file of librdkafka's properties with which the user gets in, or should."""
        file = self.folder / f"{user}-{time.monotonic_ns()}.properties"
        file.write_text(
            "security.protocol=SASL_SSL\nsasl.mechanism=PLAIN\n"
            f"sasl.username={user}\nsasl.password={password or user + '-secret'}\n"
            f"ssl.ca.location={authority or self.authority.file}\n"
        )
        return file

    def topics(self, *names):
        for made in self.admin.create_topics([NewTopic(name, 6, 1) for name in names]).values():
            made.result(30)

    @staticmethod
    def binding(user, kind, name, operation, permission, prefixed):
        pattern = ResourcePatternType.PREFIXED if prefixed else ResourcePatternType.LITERAL
        return AclBinding(
            ResourceType[kind], name, pattern, f"User:{user}", "*", AclOperation[operation], AclPermissionType[permission]
        )

    def rule(self, user, kind, name, operation, permission="ALLOW", prefixed=False):
        made = self.binding(user, kind, name, operation, permission, prefixed)
        for done in self.admin.create_acls([made]).values():
            done.result(30)

    def forget(self, user, kind, name, operation, permission, prefixed=False):
        pattern = ResourcePatternType.PREFIXED if prefixed else ResourcePatternType.LITERAL
        which = AclBindingFilter(
            ResourceType[kind], name, pattern, f"User:{user}", "*", AclOperation[operation], AclPermissionType[permission]
        )
        for done in self.admin.delete_acls([which]).values():
            assert done.result(30)

    def allow_all(self, user, prefix):
        self.rule(user, "TOPIC", prefix, "ALL", prefixed=True)
        self.rule(user, "GROUP", prefix, "ALL", prefixed=True)
        self.rule(user, "BROKER", "kafka-cluster", "DESCRIBE")
