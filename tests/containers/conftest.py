import os
import time

import pytest

import engine
from project import Containers


@pytest.fixture(scope="session")
def containers(tmp_path_factory):
    """Up once for all tests, and gone after. RETURNS_CONTAINERS_KEEP=1 leaves it, where the engine is not ours."""
    folder = tmp_path_factory.mktemp("containers")
    with engine.engine(folder), engine.base_image(folder):
        c = Containers()
        began = time.monotonic()
        c.compose("build", seconds=1800)
        built = time.monotonic()
        try:
            c.up()
            print(f"\nbuild {built - began:.0f} s, until all are healthy {time.monotonic() - built:.0f} s")
            yield c
        finally:
            if os.environ.get("RETURNS_CONTAINERS_KEEP"):
                print(f"kept: docker-compose -p {c.project}", *(f"{n}={p}" for n, p in c.ports.items()))
            else:
                c.compose("down", "-v", "--rmi", "local", "--remove-orphans")
