"""docs/unsafe.md lists every unsafe block in src, and the tests it names are there."""

import re
from collections import Counter

import pytest

from cluster import ROOT
from test_page import is_there

pytestmark = pytest.mark.once

PAGE = (ROOT / "docs/unsafe.md").read_text()
SOURCES = {str(path.relative_to(ROOT)): path.read_text() for path in ROOT.glob("src/**/*.rs")}
# What braces and words do not count in.
NO_CODE = re.compile(
    r"""
    //[^\n]* | /\*.*?\*/                # comments
    | r(\#*)".*?"\1 | "(?:\\.|[^"\\])*" # strings
    | '(?:\\[^']+|[^'\\])'              # characters, not lifetimes
    """,
    re.DOTALL | re.VERBOSE,
)
UNSAFE = re.compile(r"\bunsafe\s*\{|\bunsafe\s+impl\b")
TOKEN = re.compile(
    r"(?P<impl>^\s*(?:unsafe\s+)?impl\b[^{]*)|\bfn\s+(?P<fn>\w+)|(?P<block>\bunsafe\s*(?=\{))"
    r"|(?P<open>\{)|(?P<close>\})",
    re.MULTILINE,
)
NAME = re.compile(r"`([^`]+)`(?: \((\d+)\))?")
TEST = re.compile(r"`([\w/]+\.(?:py|rs|sql|spec))(?:::(\w+))?`")


def without_parameters(header):
    """`impl<'a> Read<'a> for File` as `impl Read for File`."""
    inner = re.compile(r"<[^<>]*>")
    while inner.search(header):
        header = inner.sub("", header)
    return " ".join(header.replace("unsafe", "").split())


def blocks(source):
    """How many unsafe blocks each function has; an unsafe impl is one by itself."""
    found, scopes, header = Counter(), [], None
    for token in TOKEN.finditer(source):
        if token["impl"]:
            header = without_parameters(token["impl"])
            found[header] += "unsafe" in token["impl"].split()[:1]
        elif token["fn"]:
            header = token["fn"]
        elif token["block"]:
            *outer, name = [scope for scope in scopes if scope] or ["outside of functions"]
            if outer and outer[-1].startswith("impl "):
                name = f"{outer[-1].split()[-1]}::{name}"
            found[name] += 1
        elif token["open"]:
            scopes.append(header)
            header = None
        else:
            scopes.pop()
    return +found


def sections():
    """The rows of each table, by the file that it is about."""
    tables = {}
    for section in PAGE.split("\n## ")[1:]:
        heading, *lines = section.splitlines()
        rows = [line.strip("| ").split(" | ") for line in lines if line.startswith("| ")]
        tables[heading] = rows[1:]
    return tables


CODE = {path: NO_CODE.sub('""', source) for path, source in SOURCES.items()}
BLOCKS = {path: found for path, source in CODE.items() if (found := blocks(source))}
TABLES = sections()
ROWS = [(path, *row) for path, rows in TABLES.items() for row in rows]


def test_every_block_belongs_to_a_function():
    for path, code in CODE.items():
        found = blocks(code)
        assert found.total() == len(UNSAFE.findall(code)), path
        assert "outside of functions" not in found, path


def test_unsafe_code_is_where_the_page_says():
    assert {path.rpartition("/")[0] for path in BLOCKS} == {"src/guard", "src/server"}
    assert TABLES.keys() == BLOCKS.keys()


@pytest.mark.parametrize("path", BLOCKS)
def test_the_table_has_every_block_and_no_other(path):
    listed = [named for row in TABLES[path] for named in NAME.findall(row[0])]
    names = [name for name, _ in listed]
    assert sorted(names) == sorted(set(names))
    assert {name: int(number or 1) for name, number in listed} == BLOCKS[path]


def test_the_callbacks_that_the_page_names_are_all_others():
    """Functions that are unsafe only because PostgreSQL calls them."""
    callbacks = re.compile(r"\bunsafe extern [^{(]*fn (\w+)")
    named = PAGE.partition("no unsafe operation: ")[2].partition("\n\n")[0]
    there = {name for source in SOURCES.values() for name in callbacks.findall(source)}
    assert set(re.findall(r"`(\w+)`", named)) == there
    assert not there & {name for found in BLOCKS.values() for name in found}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[0]} {row[1]}")
def test_every_row_names_tests_that_are_there_or_says_none(row):
    *_, tests = row
    assert len(row) == 5 and all(row)
    named = TEST.findall(tests)
    assert named or tests == "none"
    for file, test in named:
        source = SOURCES.get(f"src/{file}", "")
        assert (test and f"fn {test}(" in source) or is_there(file, test), (file, test)
