"""The code in the documentation runs."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    "README.md",
    "docs/bags.md",
    "docs/guide.md",
    "docs/heads.md",
    "docs/hflayers.md",
    "docs/layers.md",
    "docs/molecules.md",
    "docs/separation.md",
    "docs/tables.md",
]


@pytest.mark.parametrize("page", PAGES)
# the exporters of torch and onnx use what they deprecate themselves
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_the_code_runs_from_top_to_bottom(monkeypatch, tmp_path, page):
    monkeypatch.chdir(tmp_path)  # for the files it writes
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)
    assert blocks
    exec(compile("\n".join(blocks), page, "exec"), {"__name__": page})


def test_links_lead_somewhere():
    for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
