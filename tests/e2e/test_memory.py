"""Memory of long calls: what PostgreSQL allocates for one batch is free before the next."""

import base64
import hashlib

import pytest

from mover import place_to_move_to

# What the process uses, each time rows are written to a table.
MEASURE = """
CREATE TABLE public.usage (id integer GENERATED ALWAYS AS IDENTITY, bytes bigint);
CREATE FUNCTION public.measure() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog AS $$
BEGIN
    INSERT INTO public.usage (bytes) SELECT sum(used_bytes) FROM pg_backend_memory_contexts;
    RETURN NULL;
END $$;
CREATE TRIGGER measure AFTER INSERT ON totp.{table} FOR EACH STATEMENT EXECUTE FUNCTION public.measure();
"""
# By then, tables are known and statements have the plans that are kept, which the sixth use makes.
WARM = 8
BYTES_PER_ROW = 100


@pytest.fixture
def place(cluster):
    with place_to_move_to(cluster) as (name, mover):
        yield name, mover


def secret(number):
    return hashlib.sha1(b"%d" % number).digest()


def growth(cluster, place, table, call):
    """By how many bytes a process grows from one time that a call writes to a table to the next, and how
    often it writes."""
    name, mover = place
    cluster.execute(MEASURE.format(table=table), dbname=name)
    call(mover)
    with cluster.connect(dbname=name) as connection:
        rows = connection.execute("SELECT bytes FROM public.usage ORDER BY id").fetchall()
    # The last batch may be smaller.
    usage = [int(row[0]) for row in rows][WARM:-1]
    grown = (usage[-1] - usage[0]) / (len(usage) - 1)
    print(f"{len(rows)} times, {grown:.0f} bytes each")
    return grown, len(rows)


def staged(mover, rows):
    mover.execute("CREATE TEMPORARY TABLE staging (account text, secret text)")
    copying = "COPY staging (account, secret) FROM STDIN"
    with mover.connection.cursor().copy(copying) as copy:
        for number in range(rows):
            copy.write_row((f"user-{number:05}", base64.b32encode(secret(number)).decode()))


def test_an_import_of_rows(cluster, place):
    staged(place[1], 12_000)
    grown, batches = growth(
        cluster, place, "factors", lambda mover: mover.import_("rows", source="staging")
    )
    assert batches >= 12 and grown < 1_000 * BYTES_PER_ROW


def test_an_import_of_hardware_tokens(cluster, place):
    document = "".join(f"T{number:05},{secret(number).hex()},totp,6\n" for number in range(12_000))
    grown, batches = growth(
        cluster,
        place,
        "hardware_tokens",
        lambda mover: mover.import_("oath_csv", document=document),
    )
    assert batches >= 12 and grown < 1_000 * BYTES_PER_ROW


@pytest.mark.parametrize("function", ["totp_export_all", "totp_export_migration"])
def test_an_export(cluster, place, function):
    """It writes to the audit trail for each account."""
    accounts = 200
    staged(place[1], accounts)
    place[1].import_("rows", source="staging")
    query = f"SELECT count(*) FROM totp.{function}(ARRAY(SELECT account FROM staging), 'leaving')"
    grown, written = growth(cluster, place, "audit_events", lambda mover: mover.value(query))
    assert written == accounts and grown < BYTES_PER_ROW
