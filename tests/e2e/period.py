"""Periods for tests on the real clock."""


def roomy_period(moment):
    """The period whose current step has most time left: no test sees its end."""
    return max(range(60, 121), key=lambda period: period - moment % period)
