"""The project's pages of Markdown, and what stands in them."""

import pathlib
import re

from forked_commands import ROOT

PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in ("*.md", "docs/*.md", "launch/*.md", "tests/golden/*.md", "smarttrim_jax/**/*.md")
    for path in ROOT.glob(pattern)
)
"""Paths of all pages, from the repository's root."""


def text_of(page: str) -> str:
    """The Markdown of a page."""
    return (ROOT / page).read_text(encoding="utf-8")


def python_blocks(page: str) -> list[str]:
    """The page's blocks of Python."""
    return re.findall(r"^```python\n(.*?)^```$", text_of(page), flags=re.MULTILINE | re.DOTALL)


def links(page: str) -> list[tuple[pathlib.Path, str]]:
    """The files of the repository that a page links to, each with the heading behind a "#" or ""."""
    targets = re.findall(r"\]\(([^)\s]+)\)", text_of(page))
    relative = [target.partition("#") for target in targets if "://" not in target]
    return [((ROOT / page).parent / file if file else ROOT / page, heading) for file, _, heading in relative]


def commands(page: str) -> list[tuple[str, list[str]]]:
    """The library's commands that a page shows: the command's name, and its words."""
    joined = text_of(page).replace("\\\n", " ")
    found = re.findall(r"(?:python -m smarttrim_jax\.|smarttrim-)([a-z]+)\b([^\n`|]*)", joined)
    return [(name, words.split("    #")[0].split()) for name, words in found]
