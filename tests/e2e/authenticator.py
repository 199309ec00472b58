"""The authenticator app on a person's phone: pyotp, given nothing but the URI."""

import pyotp


class Authenticator:
    """Shows codes. Remembers the newest step it showed one of, to show fresh ones."""

    def __init__(self, uri):
        self.totp = pyotp.parse_uri(uri)
        self._taken = -1

    def code(self, moment, steps=0):
        """The code at a time in seconds since 1970, or some steps away from it."""
        return self.totp.generate_otp(self.step(moment) + steps)

    def step(self, moment):
        return int(moment // self.totp.interval)

    def take(self, moment):
        """The next code that was not taken before, as far as the window of one step reaches."""
        step = max(self.step(moment), self._taken + 1)
        assert step <= self.step(moment) + 1, "no fresh code in the window: move the clock"
        self._taken = step
        return self.totp.generate_otp(step)

    def wrong(self, moment):
        """A well-formed code that is wrong, also for a clock that is many steps off."""
        near = {self.code(moment, steps) for steps in range(-30, 31)}
        length = self.totp.digits
        return next(code for code in (f"{n:0{length}}" for n in range(100)) if code not in near)
