import pytest

from shared import stack_up


@pytest.fixture(scope="module")
def stack():
    """One of its own: all that is sent to it on purpose would be in the way of other tests."""
    with stack_up("api") as s:
        yield s
