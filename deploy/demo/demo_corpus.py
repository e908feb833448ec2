"""The demo's corpus: Python's language reference and the docstrings of libraries that every installation holds."""

import ast
import importlib.util
import json
import os
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from clozekit.tokenizers.common.progress_bar import progress_bar
from clozekit.tokenizers.storage.file_systems import write_whole

# Installed with Clozekit, so on every machine that runs the demo.
LIBRARIES = ("numpy", "pandas", "keras", "apache_beam")
# Shorter docstrings ("See base class.") teach nothing and repeat a thousand times.
MIN_CHARACTERS = 80
_SKIPPED_FOLDERS = frozenset({"test", "tests", "testing", "idlelib", "lib2to3", "site-packages", "__pycache__"})


def source_files() -> list[tuple[str, Path]]:
    """(dotted module name, file) of the standard library and of LIBRARIES, sorted."""
    roots = [("", Path(sysconfig.get_paths()["stdlib"]))]
    for library in LIBRARIES:
        spec = importlib.util.find_spec(library)
        if spec is not None and spec.submodule_search_locations:
            roots.append((library, Path(next(iter(spec.submodule_search_locations)))))
    found = []
    for prefix, root in roots:
        for folder, subfolders, names in os.walk(root):
            subfolders[:] = sorted(set(subfolders) - _SKIPPED_FOLDERS)
            for name in names:
                if name.endswith(".py"):
                    path = Path(folder) / name
                    parts = path.relative_to(root).with_suffix("").parts
                    module = ".".join(part for part in (prefix, *parts) if part and part != "__init__")
                    found.append((module, path))
    return sorted(found)


def docstrings(module: str, source: str) -> Iterator[tuple[str, str]]:
    """(dotted name, docstring) of the module, its classes and its functions, cleaned of their indentation."""
    pending: list[tuple[str, ast.AST]] = [(module, ast.parse(source))]
    while pending:
        name, node = pending.pop()
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text and len(text) >= MIN_CHARACTERS:
                yield name, text
        for child in ast.iter_child_nodes(node):
            inner = getattr(child, "name", None)
            pending.append((f"{name}.{inner}" if isinstance(inner, str) else name, child))


def gather_documents() -> Iterator[dict[str, str]]:
    """Documents {"id", "text"}: each text once, each id once, in a fixed order for one installation."""
    from pydoc_data.topics import topics

    documents: list[tuple[str, str]] = [(f"topics/{name}", topics[name]) for name in sorted(topics)]
    seen_texts: set[str] = set()
    seen_ids: set[str] = set()
    yield from _once(documents, seen_texts, seen_ids)
    for module, path in progress_bar(source_files(), desc="gathering docstrings", unit=" files", mininterval=0.5):
        try:
            found = sorted(docstrings(module, path.read_text(encoding="utf-8")))
        except (SyntaxError, UnicodeDecodeError):
            # The standard library ships files that are wrong on purpose, for its own tests.
            continue
        yield from _once(found, seen_texts, seen_ids)


def _once(documents: list[tuple[str, str]], texts: set[str], ids: set[str]) -> Iterator[dict[str, str]]:
    for name, text in documents:
        if text in texts:
            continue
        texts.add(text)
        identifier, number = name, 2
        while identifier in ids:
            identifier, number = f"{name}#{number}", number + 1
        ids.add(identifier)
        yield {"id": identifier, "text": text}


def write_corpus(path: Path) -> tuple[int, int]:
    """Writes the corpus as JSON lines, whole or not at all; returns the documents and bytes of it."""
    documents = 0

    def write(stream: IO[bytes]) -> None:
        nonlocal documents
        for document in gather_documents():
            # A docstring may hold a lone surrogate (codecs' own examples); JSON text must not.
            clean = {key: value.encode("utf-8", "replace").decode() for key, value in document.items()}
            stream.write((json.dumps(clean, ensure_ascii=False) + "\n").encode())
            documents += 1

    write_whole(str(path), write)
    return documents, path.stat().st_size
