"""The README and the pages in docs/ name tests: these are there."""

import re

import pytest

from cluster import ROOT

TESTS = ROOT / "tests"
PLACES = ["e2e", "e2e/redteam", "e2e/packaging", "pg_regress/sql", "isolation/specs"]
PAGES = {path.name: path.read_text() for path in [ROOT / "README.md", *ROOT.glob("docs/*.md")]}
# `e2e/test_role.py::test_nobody`, `test_role.py` of the red team
NAMED = re.compile(r"`(?:e2e/)?((?:redteam/)?test_\w+\.py)(?:::(\w+))?`")
# <!-- test: test_role.py::test_nobody -->, <!-- test: verify.sql -->: what the text before it says
COMMENT = re.compile(r"^ *<!-- test: (\w+\.(?:py|sql|spec))(?:::(\w+))? -->$", re.MULTILINE)
# The parts of pages that say what the extension does, not how to build it: after a heading, and before
# another one if there is one.
CLAIMS = {
    "README.md": ("\n## Getting started\n", "\n## Contributing\n"),
    "login.md": ("\n## Two-step login\n", None),
    "tasks.md": ("\n## Accept both kinds of code in one field\n", None),
    "security.md": ("\n## What it does\n", None),
    "troubleshooting.md": ("# Troubleshooting\n", None),
    "installation.md": ("\n## The library in shared memory\n", None),
    "security-model.md": ("\n## What each role can do\n", "\n## The attacks, one by one\n"),
}
# Advice, links, and what no test can show.
NO_CLAIM = (
    "Pass codes as bind parameters",
    "Between password and code",
    "On two cores",
    "What it does:",
    "What it cannot do:",
    "- A trusted device is a cookie",
    "- The server's clock must be right",
    "More: [the security model]",
    "All of it: [what it protects",
    "| To | See |",
    "Errors are listed by their SQLSTATE",
    "In your database, as a superuser",
    "- Query caches answer",
    "PostgreSQL 15 to 18 on Linux",
    "Some grants give a role more",
    "- Roles belong to the whole cluster",
    "A code in a log is spent",
)


def is_there(file, test):
    texts = [
        (TESTS / place / file).read_text() for place in PLACES if (TESTS / place / file).exists()
    ]
    return any(not test or f"\ndef {test}(" in text for text in texts)


@pytest.mark.parametrize("page", PAGES)
def test_every_test_that_a_page_names_is_there(page):
    named = [*NAMED.findall(PAGES[page]), *COMMENT.findall(PAGES[page])]
    assert [name for name in named if not is_there(*name)] == []
    assert PAGES[page].count("<!-- test:") == len(COMMENT.findall(PAGES[page]))


@pytest.mark.parametrize(
    "page", ["README.md", "known-attacks.md", "security.md", "security-model.md"]
)
def test_these_pages_name_tests(page):
    assert len([*NAMED.findall(PAGES[page]), *COMMENT.findall(PAGES[page])]) > 20


@pytest.mark.parametrize("page", CLAIMS)
def test_every_paragraph_and_table_that_claims_something_names_its_tests(page):
    first, last = CLAIMS[page]
    text = PAGES[page].partition(first)[2]
    text = text.partition(last)[0] if last else text
    text = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    # Each item of a list is by itself; a comment belongs to what is before it.
    text = re.sub(r"\n(?=- )", "\n\n", text)
    text = re.sub(r"\n\n+(?= *<!-- test: )", "\n", text)
    parts = [part.strip() for part in text.split("\n\n") if part.strip()]
    claims = [part for part in parts if not part.startswith(("#", *NO_CLAIM))]
    assert claims
    untested = [part for part in claims if not COMMENT.search(part) and not NAMED.search(part)]
    assert [part[:60] for part in untested] == []
