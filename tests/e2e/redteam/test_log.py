"""Attacks on what is written down about a call: statements, parameters, plans, messages."""

from contextlib import contextmanager

import pytest
from psycopg import errors

from cluster import until
from key_file import KeyFile
from leak import backup_code_forms, key_forms, secret_forms

# What a superuser can switch on for a role to have all of its calls written down.
TALKATIVE = {
    "log_statement": "'all'",
    "log_min_duration_statement": "0",
    "log_duration": "on",
    "log_error_verbosity": "verbose",
    "log_min_messages": "debug3",
    "log_executor_stats": "on",
}
EXPLAINED = {
    "session_preload_libraries": "'auto_explain'",
    "auto_explain.log_min_duration": "0",
    "auto_explain.log_nested_statements": "on",
    "auto_explain.log_verbose": "on",
}
# What any caller can switch on, to have it sent.
CURIOUS = {
    "client_min_messages": "debug5",
    "debug_print_parse": "on",
    "debug_print_rewritten": "on",
    "debug_print_plan": "on",
    "log_parameter_max_length_on_error": "-1",
    "plpgsql.print_strict_params": "on",
}


@contextmanager
def set_for(dba, role, settings):
    """For sessions of a role that begin meanwhile."""
    for name, value in settings.items():
        dba.execute(f"ALTER ROLE {role} SET {name} = {value}")
    yield
    dba.execute(f"ALTER ROLE {role} RESET ALL")


def live(client, account):
    """Every function that takes or gives something secret, with bind parameters. What was shown."""
    person = client.enrol(account, period=60)
    code = person.phone.take(client.now)
    assert client.verify(account, code) is True
    assert client.backup_verify(account, person.backup_codes[0]) is True
    token = client.call("challenge_create", account=account, binding="a cookie")[0]
    client.call("challenge_verify", token=token, code=person.backup_codes[1], binding="a cookie")
    new = client.backup_rotate(account, person.backup_codes[2])
    return person, person.backup_codes[:3], [*person.backup_codes[3:], *new], [code, token]


def secrets_of(cluster, person, codes):
    forms = secret_forms(person.phone.totp.secret) | key_forms(KeyFile(cluster).keys[0])
    for code in codes:
        forms |= backup_code_forms(code)
    return {form for form in forms if len(form) > 8}


def discloses(text, needles):
    return {needle for needle in needles if needle in text.encode(errors="replace")}


def shown(diagnosis):
    """All that a message says."""
    parts = [diagnosis.message_primary, diagnosis.message_detail, diagnosis.message_hint]
    return " ".join(part for part in [*parts, diagnosis.context] if part)


def written(cluster, start):
    return cluster.log[start:]


def test_a_log_of_everything_has_no_secret_but_what_was_typed(cluster, dba, connect, account):
    """log_statement = all, auto_explain of inner statements, and their parameters: PostgreSQL
    writes what callers bind. A code is spent by then; what is not typed is not there."""
    start = len(cluster.log)
    with set_for(dba, "app", TALKATIVE | EXPLAINED):
        client = connect("app")
        person, typed, kept, _ = live(client, account)
    log = written(cluster, start)
    assert "totp.factors" in log and account in log
    # auto_explain writes parameters since PostgreSQL 16.
    assert ("Query Parameters" in log) == (dba.connection.info.server_version >= 160_000)
    assert typed[0] in log, "the test does not see what is logged"
    assert not discloses(log, secrets_of(cluster, person, kept))


def test_without_parameters_a_log_of_everything_has_nothing(cluster, dba, connect, account):
    """log_parameter_max_length = 0, as docs/security-model.md has it."""
    start = len(cluster.log)
    with set_for(dba, "app", TALKATIVE | {"log_parameter_max_length": "0"}):
        person, typed, kept, others = live(connect("app"), account)
    log = written(cluster, start)
    assert "totp_verify" in log and "$1" in log
    assert not discloses(log, secrets_of(cluster, person, typed + kept))
    assert not [text for text in [account, *others] if text in log]


def test_a_verbose_plan_in_the_log_has_what_was_typed(cluster, dba, connect, account):
    """The limit beside it: auto_explain.log_verbose writes arguments of SELECT * FROM f($1)."""
    start = len(cluster.log)
    quiet = {"log_parameter_max_length": "0", "auto_explain.log_parameter_max_length": "0"}
    with set_for(dba, "app", EXPLAINED | quiet):
        assert connect("app").backup_verify(account, "0000-0000-0000-0000") is False
    assert "0000-0000-0000-0000" in written(cluster, start)


def test_a_caller_who_asks_for_every_message_is_told_nothing(cluster, connect, victim, account):
    """Plans and parse trees of our statements, as debug messages to the client."""
    client = connect("app")
    for name, value in CURIOUS.items():
        client.execute("SELECT set_config(%s, %s, false)", name, value)
    heard = []
    client.connection.add_notice_handler(lambda notice: heard.append(shown(notice)))
    person, typed, kept, _ = live(client, f"{account}-attacker")
    client.attempt(victim.account, "0000-0000-0000-0000")
    text = "\n".join(heard)
    assert "PLANNEDSTMT" in text and typed[0] in text, "the caller's own parameters are heard"
    assert not discloses(text, secrets_of(cluster, person, kept + victim.backup_codes))
    assert not discloses(text, secret_forms(victim.phone.totp.secret))


@pytest.mark.parametrize(
    "name",
    [
        "log_statement",
        "log_min_messages",
        "session_preload_libraries",
        "backtrace_functions",
        "auto_explain.log_min_duration",
    ],
)
def test_no_role_of_ours_has_the_calls_of_others_written_down(connect, name):
    """Nor of its own: the server's log is the administrators'."""
    with pytest.raises(errors.InsufficientPrivilege):
        client = connect("app")
        client.execute("LOAD 'auto_explain'")
        client.execute(f"SET {name} = '0'")
    with pytest.raises(errors.InsufficientPrivilege):
        connect("app").execute("ALTER ROLE app SET log_statement = 'all'")


@pytest.fixture
def statistics(dba):
    dba.execute("CREATE EXTENSION pg_stat_statements")
    yield dba
    dba.execute("DROP EXTENSION pg_stat_statements")


def test_statement_statistics_have_no_parameter(cluster, statistics, connect, account):
    """pg_stat_statements, inner statements included. A literal in a SELECT becomes $1 there."""
    statistics.execute("SELECT pg_stat_statements_reset()")
    with set_for(statistics, "app", {"pg_stat_statements.track": "'all'"}):
        client = connect("app")
        person, typed, kept, others = live(client, account)
        literal = person.phone.wrong(client.now)
        client.execute(f"SELECT totp.totp_verify('{account}', '{literal}')")
    text = str(statistics.rows("SELECT query FROM pg_stat_statements"))
    assert "totp.factors" in text and "totp_verify($1" in text
    assert not discloses(text, secrets_of(cluster, person, typed + kept))
    assert not [word for word in [account, literal, *others] if word in text]


def test_a_literal_in_a_utility_statement_stays_in_the_statistics(statistics, connect, account):
    """The limit that docs/security.md names: a code in the text of a COPY is kept as it is."""
    statistics.execute("SELECT pg_stat_statements_reset()")
    query = f"COPY (SELECT totp.totp_verify('{account}', '271828')) TO STDOUT"
    with connect("app").connection.cursor().copy(query) as copy:
        list(copy)
    assert "271828" in str(statistics.rows("SELECT query FROM pg_stat_statements"))


def test_what_others_run_is_shown_without_parameters_and_to_few(connect, dba, app, victim):
    """pg_stat_activity, while a call waits."""
    dba.execute("BEGIN")
    dba.execute("SELECT FROM totp.accounts WHERE account = %s FOR UPDATE", victim.account)
    client = connect("app")
    code = victim.phone.wrong(client.now).encode()
    client.connection.pgconn.send_query_params(
        b"SELECT totp.totp_verify($1, $2)", [victim.account.encode(), code]
    )
    client.connection.pgconn.flush()
    pid = client.connection.info.backend_pid
    until(lambda: dba.value("SELECT cardinality(pg_blocking_pids(%s)) > 0", pid), what="a wait")
    query = "SELECT query FROM pg_stat_activity WHERE pid = %s"
    assert dba.value(query, pid) == "SELECT totp.totp_verify($1, $2)"
    assert connect("self_service").value(query, pid) == "<insufficient privilege>"
    dba.execute("ROLLBACK")


def test_a_list_of_prepared_statements_and_cursors_is_one_s_own(connect, account):
    """What another session has prepared is not shown."""
    connect("app").execute(f"PREPARE guess AS SELECT totp.totp_verify('{account}', $1)")
    for view in ("pg_prepared_statements", "pg_cursors"):
        assert account not in str(connect("self_service").rows(f"SELECT * FROM {view}"))


def test_a_refused_text_is_not_repeated(connect, cluster, account):
    """Errors are logged: what was typed into the wrong field must not be in them."""
    word = "correct-horse-battery-1890"
    start = len(cluster.log)
    client = connect("app")
    for call in (
        {"function": "totp_create", "account": account, "issuer": f"{word}:"},
        {"function": "totp_create", "account": account, "algorithm": word},
        {"function": "totp_create", "account": account, "label": word * 3},
        {"function": "totp_confirm", "account": account, "code": word, "label": "x"},
        {"function": "totp_remove", "account": account, "label": "x", "code": word},
        {"function": "challenge_create", "account": account, "claims": f'["{word}"]'},
        {"function": "totp_code", "secret": word, "at": "2030-01-01"},
        {"function": "totp_create", "account": word * 10},
    ):
        with pytest.raises(errors.Error) as caught:
            client.call(**call)
        assert word not in shown(caught.value.diag), call
    assert word not in written(cluster, start)


def test_a_backend_that_is_asked_for_its_memory_shows_no_secret(cluster, connect, dba, account):
    """pg_log_backend_memory_contexts, and the names of memory contexts."""
    client = connect("app")
    person, typed, kept, _ = live(client, account)
    start = len(cluster.log)
    dba.execute("SELECT pg_log_backend_memory_contexts(%s)", client.connection.info.backend_pid)
    until(
        lambda: client.value("SELECT 1") and "Grand total" in written(cluster, start), what="a list"
    )
    assert not discloses(written(cluster, start), secrets_of(cluster, person, typed + kept))
    with pytest.raises(errors.InsufficientPrivilege):
        client.rows("SELECT * FROM pg_backend_memory_contexts")
