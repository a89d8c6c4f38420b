"""What the pages of Markdown name is there: files, headings, commands, flags, keys, configurations, figures."""

import re

import pytest
from documents import PAGES, commands, links, python_blocks, text_of
from forked_commands import ROOT

from smarttrim_jax.command_line.config_file import load_settings
from smarttrim_jax.command_line.experiment_flags import KEYS
from smarttrim_jax.configs import FILES
from smarttrim_jax.version import __version__

# The changelog also names what is no more.
MANUAL = [page for page in PAGES if page != "CHANGELOG.md"]


def headings(text: str) -> set[str]:
    """The headings of a page, as links name them."""
    titles = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_the_readme_is_short_and_begins_with_the_two_commands() -> None:
    readme = text_of("README.md")
    assert len(readme.encode()) <= 8192
    indented = re.findall(r"^    (.+)$", readme, flags=re.MULTILINE)
    assert re.fullmatch(
        r'pip install -e "\.\[demo\]" && python -m smarttrim_jax\.train .* --workdir=runs/quick', indented[0]
    )
    assert re.fullmatch(r'pip install -e "\.\[test\]" && python -m pytest .*', indented[1])


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    for file, heading in links(page):
        assert file.exists(), file
        assert not heading or heading in headings(file.read_text(encoding="utf-8")), f"{file}#{heading}"


@pytest.mark.parametrize("page", MANUAL)
def test_files_of_the_repository_that_are_named_exist(page: str) -> None:
    folders = "benchmarks|configs|docs|launch|smarttrim_jax|tests"
    named = re.findall(rf"(?<![\w./-])((?:{folders})/[\w./-]*\w)", text_of(page))
    missing = [name for name in named if not (ROOT / name).exists() and name != "configs/mine.py"]
    assert not missing


@pytest.mark.parametrize("page", MANUAL)
def test_commands_and_their_flags_exist(page: str) -> None:
    sources = "".join(file.read_text(encoding="utf-8") for file in (ROOT / "smarttrim_jax").rglob("*.py"))
    flags = set(re.findall(r"(?:(?:define|DEFINE_\w+)\(\s*\"|add_argument\(\"--)(\w+)\"", sources))
    for name, words in commands(page):
        assert (ROOT / "smarttrim_jax" / f"{name}.py").is_file(), name
        given = [re.match(r"--(\w+)(?=[=\s]|$)", word) for word in words]
        assert {match[1] for match in given if match} <= flags | {"help"}, words


@pytest.mark.parametrize("page", MANUAL)
def test_keys_of_the_configuration_exist(page: str) -> None:
    named = re.findall(r"--config\.([\w.]*\w)", text_of(page))
    assert {name for name in named if not name.isupper()} <= set(KEYS)


@pytest.mark.parametrize("page", MANUAL)
def test_configurations_that_are_named_can_be_built(page: str) -> None:
    names = "|".join(FILES)
    for config in set(
        re.findall(rf"--config=(?:configs/)?((?:{names})(?:\.py)?(?::[\w,.=]*\w)?)(?![\w.])", text_of(page))
    ):
        assert load_settings(config.replace(".py", ""))["model"]


@pytest.mark.parametrize("page", MANUAL)
def test_blocks_of_python_compile(page: str) -> None:
    for block in python_blocks(page):
        compile(block, page, "exec")


def test_the_citation_is_of_this_version() -> None:
    assert f"\nversion: {__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")


def test_every_file_of_figures_is_explained() -> None:
    figures = text_of("docs/figures.md")
    for file in (ROOT / "benchmarks").glob("*.json"):
        assert f"`benchmarks/{file.name}`" in figures


def test_every_page_of_the_manual_is_one_link_from_the_readme() -> None:
    linked = {file.resolve() for file, _ in links("README.md")}
    assert {file.resolve() for file in (ROOT / "docs").glob("*.md")} <= linked
