"""The workflows of GitHub Actions: what can be said without running them there."""

import json
import subprocess

import pytest

from cluster import ROOT

pytestmark = pytest.mark.once
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*"))


def mistakes(workflow):
    command = ["node", ROOT / "tests/e2e/node/lint_workflow.mjs", workflow]
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=[file.stem for file in WORKFLOWS])
def test_a_workflow_has_no_mistake(workflow):
    assert mistakes(workflow) == []


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("matrix.pg", "matrix.version"),
        ("needs: packages", "needs: package"),
        ("runs-on:", "run-on:"),
    ],
)
def test_a_mistake_is_found(tmp_path, right, wrong):
    workflow = tmp_path / "release.yml"
    text = (ROOT / ".github/workflows/release.yml").read_text()
    assert right in text
    workflow.write_text(text.replace(right, wrong))
    assert mistakes(workflow)
