"""What totp has to do, in the simplest words: rows, which a rollback undoes, and what memory keeps.

Written from the documentation, not from the code: it shares nothing with the extension. Times are
whole seconds since 1970; a lock that ends at 0 is none.
"""

import base64
import copy
import hashlib
import hmac
import re
from dataclasses import dataclass, field, replace

NOT_THERE, ALREADY_THERE = "42704", "42710"
# The settings that differ from their defaults, so that a few steps reach every state.
SETTINGS = {
    "totp.max_failures": "2",
    "totp.lockout": "30s",
    "totp.max_lockout": "100s",
    "totp.suspend_after": "4",
    "totp.backup_codes": "2",
    # totp_prune would count them.
    "totp.events": "off",
}
MAX_FAILURES, LOCKOUT, MAX_LOCKOUT, SUSPEND_AFTER, BACKUP_CODES = 2, 30, 100, 4, 2
WINDOW, RESYNC_WINDOW, PENDING_TTL, FEW_CODES = 1, 20, 15 * 60, 3

TOTP_CODE = re.compile(r"[0-9]{6,8}")
BACKUP_CODE = re.compile(r"[0-9A-HJKMNP-TV-Z]{16}")


class Refused(Exception):
    """An error of this SQLSTATE; nothing has changed."""

    def __init__(self, sqlstate):
        super().__init__(sqlstate)
        self.sqlstate = sqlstate


def kind(code):
    """totp, backup, or None for a text that cannot be a code."""
    bare = "".join((code or "").split())
    if TOTP_CODE.fullmatch(bare):
        return "totp"
    if BACKUP_CODE.fullmatch(bare.replace("-", "").upper()):
        return "backup"
    return None


@dataclass(frozen=True)
class App:
    """What an authenticator app knows."""

    secret: str
    algorithm: str = "SHA1"
    digits: int = 6
    period: int = 30

    def code(self, step):
        """RFC 6238 over RFC 4226."""
        key = base64.b32decode(self.secret + "=" * (-len(self.secret) % 8))
        mac = hmac.digest(key, step.to_bytes(8, "big"), getattr(hashlib, self.algorithm.lower()))
        place = mac[-1] & 15
        number = int.from_bytes(mac[place : place + 4], "big") & 0x7FFFFFFF
        return f"{number % 10**self.digits:0{self.digits}}"

    def step(self, moment):
        return moment // self.period


@dataclass
class Factor:
    app: App
    created_at: int
    confirmed_at: int | None = None
    last_used_at: int | None = None
    last_step: int = -1
    drift: int = 0
    is_void: bool = False

    def find(self, code, now):
        """The newest step with this code, around now and around now plus the drift."""
        here = self.app.step(now)
        reach = abs(self.drift) + WINDOW
        for offset in range(reach, -reach - 1, -1):
            near = abs(offset) <= WINDOW or abs(offset - self.drift) <= WINDOW
            if near and self.app.code(here + offset) == code:
                return here + offset
        return None

    def find_pair(self, first, second, now):
        """The second of two consecutive steps with these codes."""
        here = self.app.step(now)
        for step in range(here + RESYNC_WINDOW, here - RESYNC_WINDOW - 1, -1):
            if self.app.code(step) == second and self.app.code(step - 1) == first:
                return step
        return None

    def drift_after(self, step, now):
        """One step nearer to where the app's clock was seen."""
        ahead = step - self.app.step(now) - self.drift
        drift = self.drift + (ahead > 0) - (ahead < 0)
        return max(-RESYNC_WINDOW, min(RESYNC_WINDOW, drift))


@dataclass(frozen=True)
class Standing:
    failures: int = 0
    locked_until: int = 0
    suspended: bool = False

    def stricter(self, other):
        return Standing(
            max(self.failures, other.failures),
            max(self.locked_until, other.locked_until),
            self.suspended
            or other.suspended
            or max(self.failures, other.failures) >= SUSPEND_AFTER,
        )

    def after_failure(self, now):
        failures = self.failures + 1
        lock = 0
        if failures >= MAX_FAILURES:
            lock = now + min(LOCKOUT * 2 ** (failures - MAX_FAILURES), MAX_LOCKOUT)
        return Standing(failures, max(self.locked_until, lock), failures >= SUSPEND_AFTER)


CLEAN = Standing()


@dataclass
class Account:
    created_at: int
    changed_at: int
    standing: Standing = CLEAN
    factors: dict = field(default_factory=dict)  # (label, state): Factor
    codes: dict = field(default_factory=dict)  # text: when it was used, or None
    remembered: int | None = None  # the newest time of use of what was removed

    def change(self, now):
        """The factors have changed: what is pending can no longer be confirmed."""
        self.changed_at = max(self.changed_at, now)
        for (_, state), factor in self.factors.items():
            factor.is_void = state == "pending"

    def remember(self, *times):
        times = [at for at in (self.remembered, *times) if at is not None]
        self.remembered = max(times, default=None)

    def active(self):
        return {label: f for (label, state), f in self.factors.items() if state == "active"}

    def unused(self):
        return [code for code, used_at in self.codes.items() if used_at is None]

    def last_verified_at(self):
        times = [f.last_used_at for f in self.factors.values()] + list(self.codes.values())
        times.append(self.remembered)
        return max((at for at in times if at is not None), default=None)


@dataclass(frozen=True)
class Verdict:
    reason: str
    method: str | None = None
    label: str | None = None
    retry_after: int | None = None

    @property
    def verified(self):
        return self.reason == "ok"


NOT_ENROLLED, SUSPENDED, INVALID = map(Verdict, ("not_enrolled", "suspended", "invalid"))


@dataclass
class Mark:
    """Where a transaction or a savepoint began."""

    accounts: dict
    events: int
    spent: int
    pardoned: int
    renamed: int
    attempts: int
    created: int


class Model:
    """The extension, with a clock that stands still until it is moved."""

    def __init__(self, now, burn):
        self.now = now
        self.burn = burn
        self.accounts = {}
        self.events = []
        self.marks = []
        # What memory keeps through a rollback.
        self.failures = {}  # account: Standing
        self.steps = {}  # (account, secret): newest spent step that the table need not know
        self.spent = []  # what the transaction under way has put there, and what was there before
        self.pardoned = []  # accounts, the failures that memory takes back at its commit, by a code?
        self.renamed = []  # new names, what memory knows the accounts by until commit, old names
        self.attempts = []  # accounts of the attempts under way that were not right
        self.created = []  # accounts, how many attempts there were before

    # Transactions

    @property
    def is_in_transaction(self):
        return bool(self.marks)

    def mark(self):
        """BEGIN or SAVEPOINT."""
        lists = (self.events, self.spent, self.pardoned, self.renamed, self.attempts, self.created)
        lengths = map(len, lists)
        self.marks.append(Mark(copy.deepcopy(self.accounts), *lengths))

    def undo(self):
        """ROLLBACK TO the newest savepoint, which stays."""
        mark = self.marks[-1]
        self.accounts = copy.deepcopy(mark.accounts)
        del self.events[mark.events :]
        del self.pardoned[mark.pardoned :]
        undone = self.spent[mark.spent :]
        del self.spent[mark.spent :]
        for place, step, older in reversed(undone):
            if not self.burn and self.steps.get(place) == step:
                self._remember(place, older)
        for key, first in self.created[mark.created :]:
            self._forget_attempts(key, self.attempts[first:].count(key))
        del self.created[mark.created :]
        del self.attempts[mark.attempts :]
        del self.renamed[mark.renamed :]

    def release(self):
        """RELEASE of the newest savepoint."""
        self.marks.pop()

    def rollback(self):
        del self.marks[1:]
        self.undo()
        self.marks.clear()

    def commit(self):
        """The table knows now what memory had to keep."""
        self.marks.clear()
        for place, step, _ in self.spent:
            if self.steps.get(place) == step:
                self._remember(place, None)
        self.spent.clear()
        for key, count, _ in self.pardoned:
            self._take_back(key, count)
        self.pardoned.clear()
        self.attempts.clear()
        self.created.clear()
        names = {}
        for new, key, old in reversed(self.renamed):
            names.setdefault(new, key)
            names.setdefault(old, (old, "successor"))
        self.renamed.clear()
        moved = [(name, self._take(key)) for name, key in names.items() if name != key]
        for name, (standing, steps) in moved:
            if standing:
                self.failures[name] = standing
            self.steps.update({(name, secret): step for secret, step in steps.items()})

    def _forget_attempts(self, key, count):
        """An account that is gone with its transaction leaves no failures of its own."""
        standing = self.failures.get(key, CLEAN)
        failures = max(standing.failures - count, 0)
        if failures or any(place[0] == key for place in self.steps):
            self.failures[key] = replace(standing, failures=failures)
        else:
            self.failures.pop(key, None)

    def _take_back(self, key, count):
        """The lock goes with the last failure."""
        standing = self.failures.pop(key, CLEAN)
        if standing.failures > count:
            self.failures[key] = Standing(standing.failures - count, standing.locked_until)

    def _take(self, key):
        """What memory knows of an account."""
        places = [place for place in self.steps if place[0] == key]
        return self.failures.pop(key, None), {place[1]: self.steps.pop(place) for place in places}

    def _forgive(self, name, by_code=False):
        """At the commit memory takes back what it knows now."""
        key = self.key(name)
        known = sum(count for other, count, _ in self.pardoned if other == key)
        count = self.failures.get(key, CLEAN).failures - known
        self.pardoned.append((key, max(count, 0), by_code))

    def _cleared(self, name):
        """The failures that right codes of the transaction under way have cleared, for itself only."""
        key = self.key(name)
        return sum(count for other, count, by_code in self.pardoned if by_code and other == key)

    def _shown(self, name):
        """What memory tells the transaction under way of an account's failures."""
        standing, cleared = self.failures.get(self.key(name), CLEAN), self._cleared(name)
        left = max(standing.failures - cleared, 0)
        return Standing(left, standing.locked_until if left or not cleared else 0)

    def key(self, name):
        """What memory knows an account by: its old name, until a renaming is committed. A name that
        was given up stands for another account."""
        for new, key, old in reversed(self.renamed):
            if new == name:
                return key
            if old == name:
                return old, "successor"
        return name

    def _remember(self, place, step):
        if step is None:
            self.steps.pop(place, None)
        else:
            self.steps[place] = step

    # What an application calls

    def create(self, name, label, app):
        self._ensure(name)
        self.accounts[name].factors[label, "pending"] = Factor(app, self.now)
        self._record(name, "create")
        self.sweep()

    def confirm(self, name, label, code, offset=None):
        """With the offset of the app's clock that the caller is told."""
        if until := self._locked(name):
            return self._refuse_locked(until)
        account = self.accounts.get(name)
        pending = account and account.factors.get((label, "pending"))
        if not pending or pending.is_void or self._is_expired(pending):
            raise Refused(NOT_THERE)
        if self.standing(name).suspended:
            return SUSPENDED
        if kind(code) != "totp":
            return INVALID
        after = self._admit(name)
        step = pending.find(code, self.now)
        if step is None and offset is not None:
            here = pending.app.step(self.now)
            assert abs(offset) <= 86_400
            assert pending.app.code(here + offset // pending.app.period) == code
            return replace(self._miss(name, "confirm", "clock_off", after), reason="clock_off")
        refusal = self._spend(name, "confirm", pending, step, after)
        if refusal:
            return refusal
        pending.confirmed_at = self.now
        del account.factors[label, "pending"]
        if replaced := account.factors.get((label, "active")):
            account.remember(replaced.last_used_at)
        account.factors[label, "active"] = pending
        account.change(self.now)
        return self._accept(name, "confirm", "totp", label)

    def wants_backup_codes(self, name):
        """Whether a confirmation has to bring some."""
        return not self.accounts[name].unused()

    def put_backup_codes(self, name, codes):
        self.accounts[name].remember(*self.accounts[name].codes.values())
        self.accounts[name].codes = dict.fromkeys(codes)

    def attempt(self, name, code, event="verify", kinds=("totp", "backup")):
        if until := self._lock_in_memory(name):
            return self._refuse_locked(until)
        account = self.accounts.get(name)
        method = kind(code) if kind(code) in kinds else None
        if not account or not account.active():
            if method:
                self._record(name, event, "not_enrolled")
            return NOT_ENROLLED
        if until := self._locked(name):
            return self._refuse_locked(until)
        if method is None:
            return INVALID
        if method == "totp":
            return self._attempt_totp(name, event, code)
        return self._attempt_backup(name, event, code)

    def _attempt_totp(self, name, event, code):
        if self.standing(name).suspended:
            return SUSPENDED
        after = self._admit(name)
        found = None
        for label, factor in self.accounts[name].active().items():
            step = factor.find(code, self.now)
            if step is not None and (found is None or step > factor.last_step):
                found = label, factor, step
        label, factor, step = found or (None, None, None)
        refusal = self._spend(name, event, factor, step, after)
        return refusal or self._accept(name, event, "totp", label)

    def _attempt_backup(self, name, event, code):
        account = self.accounts[name]
        after = self._admit(name)
        if code not in account.unused():
            outcome = "replayed" if code in account.codes else "invalid"
            return self._miss(name, event, outcome, after)
        account.codes[code] = self.now
        verdict = self._accept(name, event, "backup", None)
        if len(account.unused()) <= FEW_CODES:
            self._record(name, "backup_low")
        return verdict

    def resync(self, name, label, first, second):
        account = self.accounts.get(name)
        if self._locked(name) or not account or {kind(first), kind(second)} != {"totp"}:
            return False
        factor = account.factors.get((label, "active"))
        if self.standing(name).suspended or not factor:
            return False
        after = self._admit(name)
        step = factor.find_pair(first, second, self.now)
        if self._spend(name, "resync", factor, step, after):
            return False
        factor.drift = step - factor.app.step(self.now)
        self._accept(name, "resync", "totp", label)
        return True

    def rotate(self, name, code):
        """Whether there is a new set, which the caller then puts here."""
        return not self._locked(name) and self.attempt(name, code, "rotate").verified

    def disable(self, name, code):
        done = not self._locked(name) and self.attempt(name, code, "disable").verified
        if done:
            self._empty(name)
        return done

    def remove(self, name, label, code):
        if self._locked(name):
            return False
        account = self.accounts.get(name)
        if not account or not any(label == other for other, _ in account.factors):
            raise Refused(NOT_THERE)
        if account.active().keys() == {label}:
            self._record(name, "remove", "last_factor")
            return False
        if not self.attempt(name, code, "remove").verified:
            return False
        for state in ("active", "pending"):
            removed = account.factors.pop((label, state), None)
            account.remember(removed and removed.last_used_at)
        account.change(self.now)
        self._record(name, "remove")
        return True

    # What an administrator calls

    def reset(self, name):
        if name not in self.accounts:
            return False
        self._empty(name)
        self._pardon(name)
        self._record(name, "reset")
        return True

    def unlock(self, name):
        if name not in self.accounts:
            return False
        self._pardon(name)
        self._record(name, "unlock")
        return True

    def reissue(self, name):
        if name not in self.accounts or not self.accounts[name].active():
            raise Refused(NOT_THERE)
        self._record(name, "reissue")

    def import_(self, name, label, app):
        account = self.accounts.get(name)
        others = account.factors.items() if account else ()
        if any(place == (label, "active") for place, _ in others):
            raise Refused(ALREADY_THERE)
        if any(f.app.secret == app.secret for place, f in others if place != (label, "pending")):
            raise Refused(ALREADY_THERE)
        self._ensure(name)
        account = self.accounts[name]
        account.factors.pop((label, "pending"), None)
        account.factors[label, "active"] = Factor(app, self.now, confirmed_at=self.now)
        account.change(self.now)
        self._record(name, "import")

    def export(self, name, label):
        account = self.accounts.get(name)
        if not account or label not in account.active():
            raise Refused(NOT_THERE)
        self._record(name, "export")
        return account.active()[label].app

    def rename(self, name, new):
        """What memory alone knows of failures and spent steps is written down for the new name. Memory
        goes by the old name until the commit: the renaming may be undone."""
        if name not in self.accounts:
            raise Refused(NOT_THERE)
        if new in self.accounts:
            raise Refused(ALREADY_THERE)
        account = self.accounts[new] = self.accounts.pop(name)
        account.standing = account.standing.stricter(self._shown(name))
        account.change(self.now)
        self._forgive(new)
        for factor in account.factors.values():
            step = self.steps.get((self.key(name), factor.app.secret), -1)
            factor.last_step = max(factor.last_step, step)
        self.renamed.append((new, self.key(name), name))
        self._record(name, "rename")

    def forget(self, name):
        if name not in self.accounts:
            return False
        del self.accounts[name]
        self._forgive(name)
        self._record(name, "forget")
        return True

    def sweep(self):
        """Removes pending factors that have expired, and counts them."""
        count = 0
        for account in self.accounts.values():
            for place, factor in list(account.factors.items()):
                if place[1] == "pending" and self._is_expired(factor):
                    del account.factors[place]
                    count += 1
        return count

    # Attempts

    def standing(self, name):
        """The stricter of memory and table; nothing for an unknown account."""
        if name not in self.accounts:
            return CLEAN
        return self.accounts[name].standing.stricter(self.failures.get(self.key(name), CLEAN))

    def shown_standing(self, name):
        """The same without the failures that the transaction under way has cleared."""
        if name not in self.accounts:
            return CLEAN
        return self.accounts[name].standing.stricter(self._shown(name))

    def _lock_in_memory(self, name):
        until = self.failures.get(self.key(name), CLEAN).locked_until
        return until if until > self.now else None

    def _locked(self, name):
        until = self.standing(name).locked_until
        return self._lock_in_memory(name) or (until if until > self.now else None)

    def _refuse_locked(self, until):
        return Verdict("locked", retry_after=until - self.now)

    def _admit(self, name):
        """Counts an attempt as a failure before anything is compared."""
        key = self.key(name)
        self.failures[key] = after = self.standing(name).after_failure(self.now)
        self.attempts.append(key)
        return after

    def _spend(self, name, event, factor, step, after):
        """Spends a step, or says why not: a verdict that refuses."""
        if step is None:
            return self._miss(name, event, "invalid", after)
        if step <= factor.last_step:
            return self._miss(name, event, "replayed", after)
        place = self.key(name), factor.app.secret
        older = self.steps.get(place)
        if older is not None and step <= older:
            # Only memory knows; the table is not told.
            self._record(name, event, "replayed")
            return self._invalid(after)
        self.spent.append((place, step, older))
        self.steps[place] = step
        factor.drift = factor.drift_after(step, self.now)
        factor.last_step = step
        factor.last_used_at = self.now
        return None

    def _miss(self, name, event, outcome, after):
        account = self.accounts[name]
        failures = max(after.failures - self._cleared(name), 1)
        written = Standing(failures, after.locked_until, failures >= SUSPEND_AFTER)
        account.standing = account.standing.stricter(written)
        self._record(name, event, outcome)
        return self._invalid(after)

    def _invalid(self, after):
        locked = after.locked_until > self.now
        return Verdict("invalid", retry_after=after.locked_until - self.now if locked else None)

    def _accept(self, name, event, method, label):
        """Memory forgets at the commit, for others. This attempt does not count any more."""
        key = self.key(name)
        self.attempts.reverse()
        self.attempts.remove(key)
        self.attempts.reverse()
        standing = self.failures.pop(key)
        if standing.failures > 1:
            self.failures[key] = Standing(standing.failures - 1)
        self._forgive(name, by_code=True)
        self.accounts[name].standing = CLEAN
        self._record(name, event)
        return Verdict("ok", method, label)

    # Rows

    def _ensure(self, name):
        if name not in self.accounts:
            self.accounts[name] = Account(self.now, self.now)
            self.created.append((self.key(name), len(self.attempts)))
            self._forgive(name)

    def _pardon(self, name):
        """Without a code: memory forgets when the table has forgotten for good."""
        self.accounts[name].standing = CLEAN
        self._forgive(name)

    def _empty(self, name):
        account = self.accounts[name]
        account.factors.clear()
        account.codes.clear()
        account.remembered = None
        account.change(self.now)

    def _is_expired(self, factor):
        return factor.created_at <= self.now - PENDING_TTL

    def _record(self, name, event, outcome="ok"):
        self.events.append([name, event, outcome])
