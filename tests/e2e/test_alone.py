"""A test that is to run alone begins when the others have ended, and they wait for its end."""

from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest

from alone import turn
from cluster import until

pytestmark = pytest.mark.once


@pytest.mark.parametrize("first, second", [(False, True), (True, False), (True, True)])
def test_alone_is_with_nobody_else(tmp_path, first, second):
    began, ended = Event(), Event()

    def wait_for_turn():
        began.set()
        with turn(second, tmp_path / "alone"):
            return ended.is_set()

    with ThreadPoolExecutor() as pool:
        with turn(first, tmp_path / "alone"):
            waiting = pool.submit(wait_for_turn)
            assert began.wait(10)
            with pytest.raises(TimeoutError):
                until(waiting.done, timeout=0.3)
            ended.set()
        assert waiting.result(10) is True


def test_others_run_beside_each_other(tmp_path):
    with turn(False, tmp_path / "alone"), turn(False, tmp_path / "alone"):
        pass
