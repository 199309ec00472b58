"""The site that make docs builds: links lead somewhere, nothing is loaded from elsewhere."""

import json
import shutil
import subprocess
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

import pytest

from cluster import ROOT

pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    place = tmp_path_factory.mktemp("site")
    subprocess.run([ROOT / "scripts/site", place], check=True, stdout=subprocess.DEVNULL)
    return place


class Links(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.links, self.loaded, self.ids = [], [], set()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.ids |= {values.get("id"), values.get("name")} - {None}
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        if tag in ("script", "img", "source") and "src" in values:
            self.loaded.append(values["src"])
        if tag == "link" and values.get("rel") in ("stylesheet", "icon"):
            self.loaded.append(values["href"])


@pytest.fixture(scope="module")
def pages(site):
    files = [page for page in site.rglob("*.html") if page.name != "404.html"]
    return {page: Links(page.read_text()) for page in files}


def test_every_page_of_docs_is_there(site):
    wanted = {page.stem for page in ROOT.glob("docs/*.md")}
    assert wanted <= {page.stem for page in site.glob("docs/*.html")}
    assert (site / "index.html").exists()


def test_every_link_leads_to_a_file_and_a_heading(site, pages):
    broken = []
    for page, found in pages.items():
        for link in found.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            if target.is_dir():
                target /= "index.html"
            if not target.exists():
                broken.append((page.relative_to(site), link))
            elif target in pages and parts.fragment and not parts.fragment.startswith("__"):
                ids = pages[target].ids
                broken += [(page.name, link)] if unquote(parts.fragment) not in ids else []
    assert len(pages) > 25 and broken == []


def test_nothing_is_loaded_from_elsewhere(pages):
    loaded = {link for found in pages.values() for link in found.loaded}
    assert loaded and not [link for link in loaded if urlsplit(link).netloc]


def test_the_diagram_is_a_picture(site):
    assert 'src="flow.svg"' in (site / "docs/flow.html").read_text()
    assert (site / "docs/flow.svg").exists()


QUESTIONS = {
    "recovery_confirm": "docs/reference.html#recovery_confirm",
    "lost phone": "docs/reports.html#i-have-lost-my-phone",
    "shared_preload_libraries": "docs/checklist.html",
    "guard_slots": "docs/reference.html#totpguard_slots",
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_search_finds_the_page(site, question):
    """With the worker that runs in the reader's browser."""
    command = ["node", ROOT / "tests/e2e/node/search_site.mjs", site, question]
    found = json.loads(subprocess.check_output(command, text=True, timeout=60))
    assert any(page.startswith(QUESTIONS[question]) for page in found), found[:10]


def test_search_finds_nothing_for_what_is_not_there(site):
    command = ["node", ROOT / "tests/e2e/node/search_site.mjs", site, "xylophone"]
    assert json.loads(subprocess.check_output(command, text=True, timeout=60)) == []


def test_a_broken_link_breaks_the_build(tmp_path):
    """In a copy of the repository with one link more."""
    files = subprocess.check_output(
        ["git", "-C", ROOT, "ls-files", "--cached", "--others", "--exclude-standard"], text=True
    ).split("\n")
    for name in filter(None, files):
        if (ROOT / name).is_file():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tmp_path / name)
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    (tmp_path / "target").mkdir()
    (tmp_path / "target/docs").symlink_to(ROOT / "target/docs")
    page = tmp_path / "docs/keys.md"
    page.write_text(page.read_text() + "\n[Nowhere](security.md#nowhere)\n")
    done = subprocess.run(
        [tmp_path / "scripts/site"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert done.returncode != 0 and "#nowhere" in done.stdout
