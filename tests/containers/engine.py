"""Docker's engine and the image that all others are built from: found, or made, and left as they were."""

import contextlib
import os
import platform
import shutil
import subprocess
import time
from pathlib import Path

import pytest

BASE, SUITE = "debian:13-slim", "trixie"
HOW_TO = "On Debian, as root: apt-get install -y docker.io docker-compose debootstrap"


def run(*command, seconds=120, **more):
    """Its output, of both kinds. A failure shows the end of it."""
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        timeout=seconds, **more,
    )
    assert done.returncode == 0, f"{' '.join(map(str, command))} ended with {done.returncode}:\n{done.stdout[-6000:]}"
    return done.stdout


def succeeds(*command, seconds=30):
    try:
        return subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, timeout=seconds).returncode == 0
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return False


def answers():
    return succeeds("docker", "version")


@contextlib.contextmanager
def engine(folder):
    """An engine that answers; one of our own, for as long as it is needed, where it is installed and we are root."""
    if not shutil.which("docker"):
        pytest.skip(f"there is no Docker here. {HOW_TO}")
    if answers():
        yield
        return
    if os.geteuid() != 0:
        pytest.skip("Docker's engine does not answer, and only root can start it: sudo systemctl start docker")
    if not shutil.which("dockerd"):
        pytest.skip(f"Docker's client is here but its engine is not. {HOW_TO}")
    log = folder / "dockerd.log"
    with open(log, "wb") as out:
        daemon = subprocess.Popen(["dockerd"], stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    try:
        end = time.monotonic() + 60
        while not answers():
            assert daemon.poll() is None, f"dockerd ended:\n{log.read_text()[-3000:]}"
            assert time.monotonic() < end, f"dockerd does not answer:\n{log.read_text()[-3000:]}"
            time.sleep(0.2)
        yield
    finally:
        daemon.terminate()
        daemon.wait(60)


def compose_command():
    """docker-compose of either version, or the client's own."""
    if shutil.which("docker-compose"):
        return ["docker-compose"]
    if succeeds("docker", "compose", "version"):
        return ["docker", "compose"]
    pytest.skip(f"there is no docker-compose here. {HOW_TO}")


def mirror():
    """Where this machine gets Debian from; the same has every release."""
    own = platform.freedesktop_os_release()["VERSION_CODENAME"]
    said = run("apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", f"Codename: {own}").split()
    assert said, f"apt knows no mirror of {own}: see /etc/apt/sources.list.d"
    return said[0].rstrip("/")


def import_base(folder):
    """A stand-in for what cannot be pulled: without manuals, as that is; it trusts whom this machine trusts."""
    root = folder / "base"
    run("debootstrap", "--variant=minbase", SUITE, root, mirror(), seconds=600)
    for unneeded in ("usr/share/man", "usr/share/doc", "var/lib/apt/lists", "var/cache/apt/archives"):
        shutil.rmtree(root / unneeded)
        (root / unneeded).mkdir()
    (root / "etc/dpkg/dpkg.cfg.d/docker").write_text("path-exclude /usr/share/man/*\npath-exclude /usr/share/doc/*\n")
    trusted = Path("/usr/local/share/ca-certificates")
    if trusted.is_dir():
        shutil.copytree(trusted, root / "usr/local/share/ca-certificates", dirs_exist_ok=True)
    with subprocess.Popen(["tar", "-C", root, "-c", "."], stdout=subprocess.PIPE) as tar:
        subprocess.run(["docker", "import", "-", BASE], stdin=tar.stdout, capture_output=True, check=True, timeout=120)
    assert tar.returncode == 0, "tar could not read the whole system"
    shutil.rmtree(root)


@contextlib.contextmanager
def base_image(folder):
    if succeeds("docker", "image", "inspect", BASE) or succeeds("docker", "pull", BASE, seconds=300):
        yield
        return
    if os.geteuid() != 0 or not shutil.which("debootstrap"):
        pytest.skip(f"{BASE} cannot be pulled, and making it takes root and debootstrap. {HOW_TO}")
    import_base(folder)
    try:
        yield
    finally:
        run("docker", "rmi", "-f", BASE)
