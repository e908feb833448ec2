"""Links lead somewhere: files and anchors exist, names of the code are right, and MkDocs has nothing to complain of."""

import os
import posixpath
import re
import subprocess
import sys
from pathlib import Path

import pytest
from documents import GUIDES, ROOT, anchors, read
from repository_links import DOCUMENTS, LINK, with_site_links

ALL = sorted({*GUIDES, *DOCUMENTS})
_FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_PATH = re.compile(r"`((?:docs|deploy|model|pipelines|tests|tokenizers)/[\w./-]*)`")


def without_code(document: str) -> str:
    return _FENCE.sub("", read(document))


@pytest.mark.parametrize("document", ALL)
def test_links_lead_to_files_and_headings(document: str) -> None:
    text = without_code(document)
    found = [(link[2], link[3]) for link in LINK.finditer(text)]
    found += [("", anchor) for anchor in re.findall(r"\]\((#[^)\s]+)\)", text)]
    for target, anchor in found:
        path = posixpath.normpath(posixpath.join(posixpath.dirname(document), target)) if target else document
        assert (ROOT / path).exists(), f"{document} links to {target}"
        if anchor:
            assert anchor.removeprefix("#") in anchors(path), f"{document} links to {target}{anchor}"


@pytest.mark.parametrize("document", ALL)
def test_paths_of_the_repository_exist(document: str) -> None:
    missing = [path for path in _PATH.findall(without_code(document)) if not (ROOT / path).exists() and "*" not in path]
    assert [path for path in missing if not re.search(r"NAME|PREFIX", path)] == []


def test_names_in_the_page_on_extending_stand_in_the_code() -> None:
    """Every name of a class, a function or a constant, in backquotes."""
    names = set(re.findall(r"`([A-Za-z_][A-Za-z0-9_.]*)`", without_code("docs/extending.md")))
    words = {part for name in names if not name.endswith((".py", ".md")) for part in name.split(".")}
    words -= {"add", "run", "rejects", "NAME"}
    sources = [*ROOT.glob("[dmpt]*/**/*.py"), *ROOT.glob("deploy/**/*.py")]
    known = set(re.findall(r"\w+", "\n".join(path.read_text(encoding="utf-8") for path in sources)))
    assert {word for word in words if word not in known and "PREFIX" not in word} == set()


def test_every_page_is_in_the_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    pages = [name.removeprefix("docs/") for name in GUIDES if name.startswith("docs/")]
    pages += [f"repository/{name}" for name in DOCUMENTS]
    assert [page for page in pages if f": {page}\n" not in navigation] == []


@pytest.mark.parametrize(
    ("page", "link", "there"),
    [
        ("training.md", "[a](models-and-presets.md)", "[a](models-and-presets.md)"),
        ("training.md", "[a](../deploy/README.md#the-job)", "[a](repository/deploy/README.md#the-job)"),
        ("repository/deploy/README.md", "[a](STORAGE.md)", "[a](STORAGE.md)"),
        ("repository/model/README.md", "[a](../docs/extending.md#a-family)", "[a](../../extending.md#a-family)"),
        ("repository/deploy/README.md", "[`a`](submit/job_spec.py)", "`a`"),
        ("training.md", "[a](nowhere.md)", "[a](nowhere.md)"),
        ("training.md", "[a](https://example.org/x.md)", "[a](https://example.org/x.md)"),
    ],
)
def test_links_of_the_repository_become_links_of_the_site(page: str, link: str, there: str) -> None:
    assert with_site_links(link, page) == there
    # Code is left alone.
    fence = f"```python\n{link}\n```\n"
    assert with_site_links(fence, page) == fence


def test_the_site_builds_without_a_warning_and_asks_nobody(tmp_path: Path) -> None:
    pytest.importorskip("material", reason="mkdocs-material, of the extra dev, is not installed")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(tmp_path / "site")],
        cwd=ROOT,
        # Material says there what will be in some years.
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (built.returncode, built.stderr) == (0, "")
    page = (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
    # Scripts, styles, fonts and pictures are of the site itself.
    loaded = re.findall(r'<(?:script|img)[^>]* src="([^"]+)"|<link[^>]* href="([^"]+)"', page)
    assert [name for names in loaded for name in names if re.match(r"(https?:)?//", name)] == []
