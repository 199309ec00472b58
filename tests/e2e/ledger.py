"""What clients were told, to be compared with what the database says after a crash or a failover.

A code is unspent until a client is told that it was accepted. While a call is under way, both
states are possible; whoever never got an answer does not know, and the database decides.
"""

import json
import time
from collections import Counter, defaultdict, deque
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from audit_trail import findings, seal
from client import Client, Person

# The states of what clients use, the first before anything was done.
STATES = {
    "factor": ("none", "pending", "active"),
    "step": ("unspent", "spent"),
    "failure": ("forgotten", "counted"),
    "backup code": ("unspent", "spent"),
    "challenge": ("none", "open", "spent"),
    "approval": ("none", "pending", "confirmed", "used"),
}
FACTORS = """
    SELECT account, coalesce(max(state) FILTER (WHERE state = 'active'), max(state)) AS state,
        max(last_step) AS last_step, max(failures) AS failures
    FROM totp.accounts JOIN totp.factors USING (account) WHERE account = ANY (%s) GROUP BY account
"""
BACKUP_CODES = """
    SELECT account, cardinality(array_remove(used_at, NULL)) AS used
    FROM totp.backup_codes WHERE account = ANY (%s)
"""
CHALLENGES = """
    SELECT token, totp.challenge_account(token) IS NOT NULL AS is_open
    FROM unnest(%s::text[]) AS token
"""
APPROVALS = """
    SELECT id::text, state FROM unnest(%s::uuid[]) AS id, totp.approval_status(id)
"""
# Whoever has an active factor has a set of backup codes, and nobody else has one.
HALF_ENROLLED = """
    SELECT account FROM totp.accounts AS a
    WHERE EXISTS (SELECT FROM totp.factors AS f WHERE f.account = a.account AND state = 'active')
       <> EXISTS (SELECT FROM totp.backup_codes AS b WHERE b.account = a.account)
"""
LEFT_BEHIND = """
    SELECT key_id, factors, backup_codes FROM totp.key_status
    WHERE NOT is_primary AND factors + backup_codes > 0
"""
ENTRIES = """
    SELECT account, count(*) AS number FROM totp.audit_events
    WHERE account = ANY (%s) AND outcome = 'ok'
      AND event IN ('confirm', 'verify', 'challenge', 'approve', 'approval_use')
    GROUP BY account
"""
USE = """
    SELECT bool_or(totp.approval_use(action, payload)) FROM totp.approval_status(%s::uuid)
"""
# What was spent must be refused because there is a record of it.
SETTINGS = ("totp.cold_start=off", "totp.jwt_logins=postgres")
# As many spent codes of an account are tried again.
RECENT = 3


@dataclass
class Owner:
    """What the clients of one account know."""

    person: Person
    # The newest steps whose codes were accepted, and the newest that was tried.
    steps: deque = field(default_factory=deque)
    tried: int = -1
    failures: int = 0
    # Accepted codes and used approvals: the audit trail has an entry for each.
    accepted: int = 0


@dataclass(frozen=True)
class Difference:
    """What a client was told, and what the database says."""

    kind: str
    account: str
    name: object
    told: frozenset
    found: str


class Ledger:
    """Clients write to it in several threads, each for its own accounts."""

    def __init__(self):
        self.owners = {}
        self.told = defaultdict(dict)
        self.fresh = set()
        self.calls = Counter()

    def open(self, account, phone):
        """A client has received the secret of a new account."""
        self.owners[account] = Owner(Person(account, phone))
        return self.owners[account]

    @contextmanager
    def change(self, kind, account, name, state):
        """The block asks for a change, and ends when the client is told that it was made."""
        things = self.told[account]
        before = things.get((kind, name), frozenset(STATES[kind][:1]))
        things[kind, name] = before | {state}
        self.fresh.add(account)
        yield
        things[kind, name] = frozenset({state})
        self.calls[kind, state] += 1

    def states(self, kind, account):
        """The states of all things of a kind that an account has."""
        return {
            name: states for (of, name), states in list(self.told[account].items()) if of == kind
        }

    def log_in(self, account, step):
        """The change that an accepted code of a step makes. Older steps are told by newer ones."""
        owner = self.owners[account]
        owner.tried = step
        return self._log_in(owner, step)

    @contextmanager
    def _log_in(self, owner, step):
        account = owner.person.account
        with self.change("step", account, step, "spent"):
            yield
        # A success forgives.
        for number in range(1, owner.failures + 1):
            self.told[account].pop(("failure", number), None)
        owner.failures = 0
        owner.steps.append(step)
        owner.accepted += 1
        if len(owner.steps) > RECENT:
            self.told[account].pop(("step", owner.steps.popleft()), None)

    # What the database says

    def differences(self, client):
        """Whatever is not as clients were told. What nobody knew is known afterwards."""
        found = list(self._differences(client))
        for account, things in self.told.items():
            for (kind, name), states in list(things.items()):
                if len(states) > 1 and kind != "backup code":
                    things[kind, name] = frozenset({self.now[account, kind, name]})
                # A later step will spend it.
                if things[kind, name] == {"unspent"} and kind == "step":
                    del things[kind, name]
        return found

    def _differences(self, client):
        accounts = list(self.told)
        self.now = {}
        factors = {row.account: row for row in client.rows(FACTORS, accounts)}
        challenges = {name for account in accounts for name in self.states("challenge", account)}
        approvals = {name for account in accounts for name in self.states("approval", account)}
        is_open = dict(client.rows(CHALLENGES, list(challenges)))
        approved = dict(client.rows(APPROVALS, list(approvals)))
        for account in accounts:
            row = factors.get(account)
            for (kind, name), told in self.told[account].items():
                match kind:
                    case "factor":
                        found = row.state if row else "none"
                    case "step":
                        found = STATES[kind][bool(row and row.last_step >= name)]
                    case "failure":
                        found = STATES[kind][bool(row and row.failures >= name)]
                    case "challenge":
                        found = "open" if is_open[name] else "spent"
                        if told == {"none", "open"}:
                            found = "open" if is_open[name] else "none"
                    case "approval":
                        found = approved.get(name, "none")
                    case _:
                        continue
                self.now[account, kind, name] = found
                if found not in told:
                    yield Difference(kind, account, name, told, found)
        yield from self._spent_backup_codes(client, accounts)
        entries = dict(client.rows(ENTRIES, accounts))
        for account, owner in self.owners.items():
            if entries.get(account, 0) < owner.accepted:
                told = frozenset({str(owner.accepted)})
                yield Difference("audit", account, "ok", told, str(entries.get(account, 0)))

    def _spent_backup_codes(self, client, accounts):
        used = dict(client.rows(BACKUP_CODES, accounts))
        for account in accounts:
            told = self.states("backup code", account).values()
            certain = sum(states == {"spent"} for states in told)
            if not certain <= used.get(account, 0) <= len(told):
                name = f"{certain} to {len(told)} spent"
                yield Difference("backup codes", account, name, frozenset(), str(used.get(account)))

    def half_enrolled(self, client):
        return client.rows(HALF_ENROLLED)

    def left_behind(self, client):
        """Rows that a rotation does not bring under the first key."""
        client.execute("CALL totp.key_rotate()")
        return client.rows(LEFT_BEHIND)

    def unproven(self, client):
        """What is wrong with the audit trail, after the rest of it was sealed."""
        seal(client)
        return findings(client)[0]

    # What is accepted again

    def replays(self, cluster, *settings, travels=True):
        """What is accepted again of all that is spent, of accounts used since the last locked_out.

        Each code is tried at its own time, when nothing but a record can refuse it, or at once."""
        options = " ".join(f"-c {setting}" for setting in SETTINGS + settings)
        with cluster.connect(options=options) as connection:
            client = Client(connection)
            for account in sorted(self.fresh & self.owners.keys()):
                yield from self._replays(client, self.owners[account], travels)

    def _replays(self, client, owner, travels):
        account, phone = owner.person.account, owner.person.phone
        for step in self.all_in("spent", "step", account):
            if travels:
                travel(client, phone.totp.interval * step)
            if client.verify(account, phone.totp.generate_otp(step)):
                yield "step", account, step
            elif travels:
                outcome = client.last_outcome(account)
                assert outcome == "replayed", f"code refused as {outcome}, not as replayed"
        travel(client, None)
        for code in self.all_in("spent", "backup code", account):
            if client.backup_verify(account, code):
                yield "backup code", account, code
        for token in self.all_in("spent", "challenge", account):
            if client.call("challenge_account", token=token)[0]:
                yield "challenge", account, token
        claims = json.dumps({"sub": account, "session_id": account})
        client.execute("SELECT set_config('request.jwt.claims', %s, false)", claims)
        for name in self.all_in("used", "approval", account):
            if client.value(USE, name):
                yield "approval", account, name
        client.execute("SELECT set_config('request.jwt.claims', '', false)")

    def all_in(self, state, kind, account):
        """Everything of a kind that is in a state, as clients were told."""
        return [name for name, states in self.states(kind, account).items() if states == {state}]

    def another_code(self, owner):
        """A code that nobody has used, of the next steps."""
        owner.tried = max(owner.tried + 1, int(time.time()) // owner.person.phone.totp.interval)
        return owner.person.phone.totp.generate_otp(owner.tried)

    def locked_out(self, cluster):
        """Enrolled accounts that can no longer log in with a code of the step after all others."""
        with cluster.connect(options="-c totp.cold_start=off") as connection:
            client = Client(connection)
            for account in sorted(self.fresh & self.owners.keys()):
                if self.states("factor", account).get("default") != {"active"}:
                    continue
                code = self.another_code(self.owners[account])
                step = self.owners[account].tried
                travel(client, self.owners[account].person.phone.totp.interval * step)
                if not client.verify(account, code):
                    yield account
                    continue
                with self.log_in(account, step):
                    pass
        self.fresh.clear()


def travel(client, moment):
    """Sets a session's clock to the middle of a second since 1970, or back to the real time."""
    text = "" if moment is None else datetime.fromtimestamp(moment + 0.5, UTC).isoformat()
    client.execute("SELECT set_config('totp.clock', %s, false)", text)
