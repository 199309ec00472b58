"""docs/checklist.md explains each check of preflight, in its order."""

import re

from cluster import ROOT

PAGE = (ROOT / "docs/checklist.md").read_text()


def test_the_page_has_the_checks_of_preflight_in_their_order(dba):
    explained = re.findall(r"^\| `(\w+)` \| [^|]{10,} \| [^|]{10,} \|$", PAGE, re.MULTILINE)
    assert explained == [row.check_name for row in dba.rows("SELECT * FROM totp.preflight()")]


def test_the_statement_of_the_page_runs(dba):
    (statement,) = re.findall(r"^```sql\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    assert all(row.status in ("warn", "fail") for row in dba.rows(statement))
