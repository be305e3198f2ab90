"""Code in the documentation that is marked to run does run.

A block is marked by a line `<!-- run -->` right before its fence. Bash blocks run in the checkout with the tools of the
virtual environment first on the path, Python blocks in a process of their own; both get an empty workspace.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/**/*.md")), *sorted(ROOT.glob("examples/**/*.md"))]
MARKED = re.compile(r"^<!-- run -->\n+```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def marked_blocks(text: str) -> list[tuple[int, str, str]]:
    """Line, language and code of each marked block."""
    return [(text.count("\n", 0, match.start(1)) + 1, match[1], match[2]) for match in MARKED.finditer(text)]


def run(language: str, code: str, workspace: Path) -> subprocess.CompletedProcess[str]:
    commands = {"bash": ["bash", "-euo", "pipefail", "-c", code], "python": [sys.executable, "-c", code]}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "RAYPIPE_WORKSPACE": str(workspace)}
    return subprocess.run(
        commands[language], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=150, check=False
    )


@pytest.mark.parametrize(
    ("language", "code"),
    [
        pytest.param(language, code, id=f"{page.relative_to(ROOT)}:{line}")
        for page in PAGES
        for line, language, code in marked_blocks(page.read_text(encoding="utf-8"))
    ],
)
def test_marked_blocks_run(language: str, code: str, workspace: Path) -> None:
    done = run(language, code, workspace)
    assert done.returncode == 0, done.stdout + done.stderr


def test_only_marked_blocks_are_found() -> None:
    unmarked, python, bash = "```bash\nfalse\n```\n", "```python\nprint(1)\n\nprint(2)\n```\n", "```bash\ntrue\n```\n"
    page = f"# A\n{unmarked}<!-- run -->\n{python}<!-- run -->\n\n{bash}"
    assert marked_blocks(page) == [(6, "python", "print(1)\n\nprint(2)\n"), (13, "bash", "true\n")]


@pytest.mark.parametrize(("language", "code"), [("bash", "false\ntrue\n"), ("python", "1 / 0\n")])
def test_a_block_that_fails_is_noticed(language: str, code: str, workspace: Path) -> None:
    assert run(language, code, workspace).returncode != 0


def test_the_readme_shows_the_trials_of_a_run() -> None:
    text = (ROOT / "README.md").read_text()
    table = text.partition("<!-- trials -->")[2].partition("<!-- end of trials -->")[0]
    rows = [line for line in table.splitlines() if re.match(r"\| \d+ \| (lightgbm|network|linear) \|", line)]
    assert len(rows) == 12
    assert "AUC 0." in table
