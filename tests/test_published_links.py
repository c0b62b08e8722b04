"""A release has the addresses of the repository that publishes it, and the checkout has none."""

import re
import runpy
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
published = runpy.run_path(str(ROOT / "tools" / "published_links.py"))
README = (ROOT / "README.md").read_text(encoding="utf-8")
ADDRESS, TAG = "https://forge.test/owner/name", "v1.2"
URLS = {
    "Source": ADDRESS,
    "Changelog": f"{ADDRESS}/blob/{TAG}/CHANGELOG.md",
    "Documentation": f"{ADDRESS}/tree/{TAG}/docs",
    "Issues": f"{ADDRESS}/issues",
}
CASES = {
    "a file": ("[a](docs/api.rst)", f"[a]({ADDRESS}/blob/{TAG}/docs/api.rst)"),
    "a folder": ("[a](examples)", f"[a]({ADDRESS}/tree/{TAG}/examples)"),
    "an anchor": ("[a](docs/api.rst#top)", f"[a]({ADDRESS}/blob/{TAG}/docs/api.rst#top)"),
    "an image": ("![a\nb](docs/conf.py)", f"![a\nb]({ADDRESS}/raw/{TAG}/docs/conf.py)"),
    "code as the label": ("[`a`](LICENSE)", f"[`a`]({ADDRESS}/blob/{TAG}/LICENSE)"),
    "two in a line": ("[a](LICENSE) [b](LICENSE)", " ".join(f"[{x}]({ADDRESS}/blob/{TAG}/LICENSE)" for x in "ab")),
    "an address": ("[a](https://doi.org/x) [b](mailto:a@b.test)",) * 2,
    "an anchor of the page": ("[a](#how-good)",) * 2,
    "code": ("`x[0](y)`",) * 2,
    "a block of code": ("```python\nx[0](y)\n```",) * 2,
}


def relative_links(text):
    """What links and images of markdown lead to, unless it is an address."""
    return [target for target in re.findall(r"\]\(([^)\s]+)\)", text) if not target.startswith("https://")]


def urls_of(text):
    """The table [project.urls] of pyproject.toml, as a dict."""
    table = re.search(r"^\[project\.urls\]\n((?:.+\n)*)", text, re.MULTILINE)[1]
    return dict(re.findall(r'^(\w+) = "(.+)"$', table, re.MULTILINE))


@pytest.mark.parametrize(("text", "expected"), CASES.values(), ids=CASES)
def test_links__of_each_kind__lead_to_the_repository(text, expected):
    assert published["absolute_links"](text, ADDRESS, TAG, ROOT) == expected


def test_links__to_what_is_not_there__are_an_error():
    with pytest.raises(FileNotFoundError, match=r"links to docs/gone\.rst"):
        published["absolute_links"]("[a](docs/gone.rst)", ADDRESS, TAG, ROOT)


def test_links__within_the_label_of_another__are_an_error_and_not_left_relative():
    with pytest.raises(ValueError, match="not understood: LICENSE"):
        published["absolute_links"]("[![a](https://a.test/b.svg)](LICENSE)", ADDRESS, TAG, ROOT)


def test_readme__has_links_of_that_form_only():
    assert not re.search(r"^\[[^]]+\]: |<(a|img)\b|\b(href|src)=", README, re.MULTILINE)
    assert len(relative_links(README)) > 10
    assert not [target for target in relative_links(README) if not (ROOT / target.partition("#")[0]).exists()]


def test_urls__of_pyproject__are_those_of_who_publishes(tmp_path):
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert list(urls_of(text)) == ["Paper"]  # a checkout knows of no repository
    for name in ("README.md", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    for target in relative_links(README):
        copied = tmp_path / target
        copied.parent.mkdir(parents=True, exist_ok=True)
        copied.touch()
    published["main"](f"{ADDRESS}/", TAG, tmp_path)
    changed = (tmp_path / "pyproject.toml").read_text(encoding="utf-8")
    assert urls_of(changed) == {**URLS, **urls_of(text)}
    assert [line for line in changed.splitlines() if line not in text.splitlines()] == [
        f'{name} = "{url}"' for name, url in URLS.items()
    ]
    assert not relative_links((tmp_path / "README.md").read_text(encoding="utf-8"))
    with pytest.raises(ValueError, match="has the addresses already"):
        published["with_urls"](changed, ADDRESS, TAG)
    with pytest.raises(ValueError, match="no table"):
        published["with_urls"]("[project]\n", ADDRESS, TAG)
