"""A hook of MkDocs: takes the READMEs beside the code into the site, and makes links between them and docs/ work there.

In the repository every link is a path from the file that holds it, so that it works in an editor and in a code browser.
In the site the documents below `repository/` are pages, other files of the repository are named and not linked.
"""

import posixpath
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = (
    "BENCHMARKS.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "deploy/COSTS.md",
    "deploy/README.md",
    "deploy/STORAGE.md",
    "deploy/docker/README.md",
    "model/README.md",
    "pipelines/README.md",
    "tokenizers/README.md",
)
_FENCE = re.compile(r"(^```.*?^```[^\n]*$)", re.MULTILINE | re.DOTALL)
# Text and target of a link to a file; the anchor apart. URLs and anchors of the page itself stay as they are.
LINK = re.compile(r"\[([^\]\n]+)\]\((?!#|[a-z]+:)([^)#\s]+)(#[^)\s]*)?\)")


def on_files(files: Any, config: Any) -> Any:
    from mkdocs.structure.files import File

    for name in DOCUMENTS:
        files.append(File.generated(config, f"repository/{name}", abs_src_path=str(ROOT / name)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    return with_site_links(markdown, page.file.src_uri)


def with_site_links(markdown: str, page: str) -> str:
    """`markdown` of the site's page `page` with the links of the repository as links of the site."""
    source = repository_path(page)

    def replace(link: re.Match[str]) -> str:
        text, target, anchor = link[1], link[2], link[3] or ""
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        place = site_path(path)
        if place is not None:
            return f"[{text}]({posixpath.relpath(place, posixpath.dirname(page) or '.')}{anchor})"
        # What is nowhere stays, for MkDocs to complain of.
        return text if (ROOT / path).exists() else link[0]

    parts = _FENCE.split(markdown)
    return "".join(part if part.startswith("```") else LINK.sub(replace, part) for part in parts)


def repository_path(page: str) -> str:
    """The file in the repository that a page of the site is made from."""
    return page.removeprefix("repository/") if page.startswith("repository/") else f"docs/{page}"


def site_path(path: str) -> str | None:
    """The page of the site for a file of the repository; None where there is none."""
    if path in DOCUMENTS:
        return f"repository/{path}"
    if path == "README.md":
        return "index.md"
    return path.removeprefix("docs/") if path.startswith("docs/") and path.endswith(".md") else None
