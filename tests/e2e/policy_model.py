"""What requirements, passes and approvals have to do, in the simplest words.

Written from the documentation, not from the code. Times are whole seconds since 1970. Nothing here
locks an account: its lives have few wrong codes.
"""

import copy
from dataclasses import dataclass, field

GRACE, APPROVAL_TTL = 14 * 86_400, 15 * 60


@dataclass
class Account:
    """What an account has. `version` changes with its factors."""

    used_at: int = -1  # when a code of its app was last accepted
    step: int = -1  # the last spent one
    app: object = None
    codes: list = field(default_factory=list)
    version: int = 0


@dataclass
class Requirement:
    deadline: int
    reason: str
    exempt_until: int = -1
    exempt_reason: str = ""


@dataclass
class Pass:
    code: str
    uses: int
    issued_at: int
    expires_at: int


@dataclass
class Approval:
    account: str
    approver: str | None
    amount: str
    expires_at: int
    confirmed: tuple | None = None  # by whom, and the version of that account
    used: bool = False
    cancelled: bool = False

    @property
    def confirmer(self):
        return self.approver or self.account


class Model:
    """The extension, with a clock that stands still until it is moved."""

    def __init__(self, now):
        self.now = now
        self.accounts, self.requirements, self.passes, self.approvals = {}, {}, {}, {}
        self.saved = None
        self.versions = 0

    # Transactions

    def begin(self):
        self.saved = copy.deepcopy((self.accounts, self.requirements, self.passes, self.approvals))

    def rollback(self):
        self.accounts, self.requirements, self.passes, self.approvals = self.saved
        self.saved = None

    def commit(self):
        self.saved = None

    # Accounts

    def account(self, name):
        return self.accounts.setdefault(name, Account())

    def is_enrolled(self, name):
        return name in self.accounts and self.accounts[name].app is not None

    def change(self, name):
        self.versions += 1
        self.accounts[name].version = self.versions

    def enrol(self, name, app, step, codes):
        account = self.account(name)
        account.app, account.step, account.used_at = app, step, self.now
        account.codes = account.codes or list(codes)
        self.change(name)

    def login(self, name, step):
        account = self.accounts.get(name)
        if not account or not account.app or step <= account.step:
            return False
        account.step, account.used_at = step, self.now
        return True

    def backup(self, name, code, is_pass_good=True):
        """With a backup code or a pass."""
        account = self.accounts.get(name)
        if account and account.app and code in account.codes:
            account.codes.remove(code)
            return True
        a_pass = self.passes.get(name)
        if not is_pass_good or not a_pass or a_pass.code != code or not self.is_good(name):
            return False
        a_pass.uses -= 1
        return True

    def is_good(self, name):
        a_pass = self.passes[name]
        ended = self.accounts[name].used_at >= a_pass.issued_at
        return a_pass.uses > 0 and self.now < a_pass.expires_at and not ended

    def empty(self, name):
        self.passes.pop(name, None)
        account = self.accounts[name]
        account.app, account.step, account.used_at, account.codes = None, -1, -1, []
        self.change(name)

    def disable(self, name, code):
        requirement = self.requirements.get(name)
        must = requirement and self.now >= requirement.exempt_until
        if must:
            return False
        if not self.backup(name, code):
            return False
        self.empty(name)
        return True

    def reset(self, name):
        if name not in self.accounts:
            return False
        self.empty(name)
        return True

    def forget(self, name):
        held = [self.accounts, self.requirements, self.passes]
        found = any(name in rows for rows in held)
        for rows in held:
            rows.pop(name, None)
        gone = [i for i, a in self.approvals.items() if name in (a.account, a.approver)]
        for number in gone:
            del self.approvals[number]
        return found or bool(gone)

    def rename(self, name, new):
        """The SQLSTATE of the error, if it is one."""
        asked = {who for a in self.approvals.values() for who in (a.account, a.approver)}
        if name not in self.accounts and name not in self.requirements and name not in asked:
            return "42704"
        if name == new or new in self.accounts:
            return "42710"
        if name in self.requirements:
            moved = self.requirements.pop(name)
            if new in self.requirements:
                other = self.requirements[new]
                other.deadline = min(other.deadline, moved.deadline)
                other.exempt_until, other.exempt_reason = -1, ""
            else:
                self.requirements[new] = moved
        self.passes.pop(name, None)
        for number, approval in list(self.approvals.items()):
            if {approval.account, approval.approver} == {name, new}:
                del self.approvals[number]
            if approval.account == name:
                approval.account = new
            if approval.approver == name:
                approval.approver = new
        if name in self.accounts:
            self.accounts[new] = self.accounts.pop(name)
            self.change(new)
        return None

    # Requirements

    def require(self, name, reason, grace, renew):
        if name not in self.requirements:
            self.requirements[name] = Requirement(self.now + grace, reason)
        elif renew:
            self.requirements[name].deadline = self.now + grace
            self.requirements[name].reason = reason
        return self.requirements[name].deadline

    def exempt(self, name, until, reason):
        if name not in self.requirements:
            return False
        self.requirements[name].exempt_until = until
        self.requirements[name].exempt_reason = reason
        return True

    def release(self, name):
        return self.requirements.pop(name, None) is not None

    def requirement(self, name):
        """State, deadline and reason."""
        it = self.requirements.get(name)
        if not it:
            return "not_required", None, None
        if self.is_enrolled(name):
            return "enrolled", it.deadline, it.reason
        if self.now < it.exempt_until:
            return "exempt", max(it.deadline, it.exempt_until), it.exempt_reason
        return "pending" if self.now < it.deadline else "overdue", it.deadline, it.reason

    # Passes

    def issue(self, name, code, ttl, uses):
        self.account(name)
        self.passes[name] = Pass(code, uses, self.now, self.now + ttl)

    def revoke(self, name):
        return self.passes.pop(name, None) is not None

    # Approvals

    def state(self, approval):
        """What approval_status says."""
        confirmer = self.accounts.get(approval.confirmer)
        if approval.used:
            return "used"
        if approval.cancelled:
            return "cancelled"
        # Voided by a change of factors of the account that confirmed it.
        if approval.confirmed and (not confirmer or approval.confirmed[1] != confirmer.version):
            return "cancelled"
        if self.now >= approval.expires_at:
            return "expired"
        return "confirmed" if approval.confirmed else "pending"

    def is_overdue(self, name):
        return self.requirement(name)[0] == "overdue"

    def request(self, number, name, approver, amount, ttl):
        self.approvals[number] = Approval(name, approver, amount, self.now + ttl)

    def confirm(self, number, code):
        """The reason of the verdict."""
        approval = self.approvals.get(number)
        if not approval:
            return "invalid"
        state = self.state(approval)
        if state != "pending":
            return "expired" if state == "expired" else "spent"
        name = approval.confirmer
        could = self.is_enrolled(name) or (name in self.passes and self.is_good(name))
        if not self.backup(name, code):
            return "invalid" if could else "not_enrolled"
        approval.confirmed = name, self.accounts[name].version
        return "ok"

    def use(self, name, amount):
        """The approval that expires first, if the account has one for this."""
        good = [
            (approval.expires_at, number)
            for number, approval in self.approvals.items()
            if approval.account == name
            and approval.amount == amount
            and self.state(approval) == "confirmed"
        ]
        if not good:
            return False
        self.approvals[min(good)[1]].used = True
        return True

    def cancel(self, number):
        approval = self.approvals.get(number)
        if not approval or self.state(approval) not in ("pending", "confirmed"):
            return False
        approval.cancelled = True
        return True
