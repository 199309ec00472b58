"""The pages in docs/ name tests: these are there."""

import re

import pytest

from cluster import ROOT

TESTS = ROOT / "tests" / "e2e"
# `e2e/test_role.py::test_nobody`, `test_role.py` of the red team, `regress/verify.sql`
NAMED = re.compile(r"`(?:e2e/)?((?:redteam/)?test_\w+\.py)(?:::(\w+))?`")


@pytest.mark.parametrize("page", ["known-attacks.md", "security-model.md"])
def test_every_test_that_a_page_names_is_there(page):
    named = NAMED.findall((ROOT / "docs" / page).read_text())
    assert len(named) > 20
    for file, test in named:
        places = [TESTS / file, TESTS / "redteam" / file]
        texts = [place.read_text() for place in places if place.exists()]
        assert texts, f"{file} is not there"
        assert not test or any(f"\ndef {test}(" in text for text in texts), f"{file}::{test}"
