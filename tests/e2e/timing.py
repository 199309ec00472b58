"""How long calls take, judged so that a busy machine makes no test fail.

Load that comes and goes must hit both contenders alike: they take turns, and their medians are
compared. A judgement that does not hold is repeated a few times; the test fails if it holds in no
round. Limits are never widened: what is too slow in every round is too slow.
"""

import statistics
import time

ROUNDS = 4


def seconds(act, *arguments):
    """How long a call takes."""
    begun = time.perf_counter()
    act(*arguments)
    return time.perf_counter() - begun


def in_some_round(measure, holds):
    """Fails if what is measured holds in no round. `measure` is called once per round."""
    seen = []
    for _ in range(ROUNDS):
        seen.append(measure())
        print(f"measured {seen[-1]}")
        if holds(seen[-1]):
            return
    raise AssertionError(f"in none of {ROUNDS} rounds: {seen}")


def medians(one, other, turns):
    """The median times of two contenders, each called once per turn with the turn's number."""
    times = {one: [], other: []}
    for turn in range(turns):
        # They also take turns at going first.
        for contender in (one, other) if turn % 2 == 0 else (other, one):
            times[contender].append(seconds(contender, turn))
    return statistics.median(times[one]), statistics.median(times[other])


def assert_alike(prepare, turns, share, unseen):
    """The medians of two contenders differ by less than a share of the smaller one, or by less than
    what nobody sees, in seconds. `prepare` makes both contenders, new ones for each round."""

    def is_close(pair):
        return abs(pair[0] - pair[1]) < max(share * min(pair), unseen)

    in_some_round(lambda: medians(*prepare(), turns), is_close)


def assert_ratio(one, other, turns, below):
    """The median of one contender is less than so many times the median of the other."""
    in_some_round(lambda: medians(one, other, turns), lambda pair: pair[0] < below * pair[1])


def assert_takes(act, below, *, at_least=0.0):
    """A call takes less than so many seconds, and never less than `at_least`: no load makes a wait
    shorter."""

    def measure():
        taken = seconds(act)
        assert taken >= at_least, f"{taken} s"
        return taken

    in_some_round(measure, lambda taken: taken < below)
