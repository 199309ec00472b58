"""Whether an account exists must not show in the time that an attempt takes."""

import statistics
from contextlib import closing

import pytest

from client import Client
from conftest import DATABASE, new_account
from forge import forge

ROUNDS = 300
# Every attempt is a transaction of its own. Known and unknown take turns at going first.
MEASURE = """
DO $$
DECLARE
    known constant text[] := string_to_array(current_setting('e2e.known'), ' ');
    begun timestamptz;
    account text;
    took double precision[] := '{}';
BEGIN
    FOR round IN 1 .. array_length(known, 1) LOOP
        FOREACH account IN ARRAY CASE round % 2
            WHEN 0 THEN ARRAY[known[round], 'unknown-' || round]
            ELSE ARRAY['unknown-' || round, known[round]]
        END LOOP
            begun := clock_timestamp();
            PERFORM totp.FUNCTION(account, 'CODE');
            COMMIT;
            took := took || extract(epoch FROM clock_timestamp() - begun);
        END LOOP;
    END LOOP;
    PERFORM set_config('e2e.took', array_to_string(took, ' '), false);
END
$$
"""


def measure(client, function, code):
    """Median times of an attempt on a known and on an unknown account."""
    client.execute(MEASURE.replace("FUNCTION", function).replace("CODE", code))
    took = [float(number) for number in client.value("SHOW e2e.took").split()]
    known, unknown = [], []
    for round, pair in enumerate(zip(took[::2], took[1::2], strict=True), start=1):
        first, second = pair if round % 2 == 0 else reversed(pair)
        known.append(first)
        unknown.append(second)
    return statistics.median(known), statistics.median(unknown)


@pytest.mark.parametrize(
    "function, code",
    [
        ("totp_verify", "1234567"),
        ("totp_attempt", "1234567"),
        ("backup_verify", "0000-0000-0000-0000"),
        ("totp_verify", "no code"),
    ],
)
def test_known_and_unknown_accounts_take_about_the_same_time(cluster, function, code):
    name = new_account()
    accounts = [f"{name}-{n}" for n in range(ROUNDS)]
    forge(cluster, DATABASE, accounts)
    with closing(cluster.connect(dbname=DATABASE)) as connection:
        client = Client(connection)
        client.value("SELECT set_config('e2e.known', %s, false)", " ".join(accounts))
        client.execute("SET totp.max_failures = 100")
        client.execute("ANALYZE totp.accounts")
        measure(client, function, code)
        ratios = []
        for _ in range(5):
            known, unknown = measure(client, function, code)
            ratios.append(known / unknown)
        print(f"{function}: known {known * 1e6:.0f} µs, unknown {unknown * 1e6:.0f} µs,", ratios)
    assert 0.9 < statistics.median(ratios) < 1.1, ratios
