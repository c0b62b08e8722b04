"""Give README.md and pyproject.toml, in place, the addresses of the repository that publishes.

``python tools/published_links.py ADDRESS TAG [FOLDER]``, as ``.github/workflows/release.yml`` does. Links of README.md
are relative, for readers of a checkout; the package index renders it without a base, and needs absolute ones. Where
the project lives is known to whoever publishes it, and is in no file.
"""

import re
import sys
from pathlib import Path

# Code, which stays as it is, or a link.
LINK = re.compile(r"^```.*?^```$|`[^`\n]+`|(!?)(\[[^][]*\])\(([^)\s]+)\)", re.MULTILINE | re.DOTALL)
LEFT = re.compile(r"(^```.*?^```$|`[^`\n]+`)|\]\(([^)\s]+)\)", re.MULTILINE | re.DOTALL)
ABSOLUTE = re.compile(r"[a-z][a-z0-9+.-]*:|//|#", re.IGNORECASE)
TABLE = "[project.urls]\n"


def absolute_links(text, address, tag, folder):
    """Return markdown whose links into the checkout lead to the files of a tag; images to their raw form."""

    def absolute(found):
        image, label, target = found.groups()
        if target is None or ABSOLUTE.match(target):
            return found[0]
        path = folder / target.partition("#")[0]
        if not path.exists():
            raise FileNotFoundError(f"README.md links to {target}, which does not exist")
        form = "raw" if image else "tree" if path.is_dir() else "blob"
        return f"{image}{label}({address}/{form}/{tag}/{target})"

    text = LINK.sub(absolute, text)
    left = [target for code, target in LEFT.findall(text) if not code and not ABSOLUTE.match(target)]
    if left:
        raise ValueError(f"README.md has links that are not understood: {', '.join(left)}")
    return text


def with_urls(text, address, tag):
    """Return pyproject.toml with what the package index shows beside a release."""
    if text.count(TABLE) != 1:
        raise ValueError("pyproject.toml has no table [project.urls], or more than one")
    if "\nSource = " in text:
        raise ValueError("pyproject.toml has the addresses already; take a fresh checkout")
    urls = {
        "Source": address,
        "Changelog": f"{address}/blob/{tag}/CHANGELOG.md",
        "Documentation": f"{address}/tree/{tag}/docs",
        "Issues": f"{address}/issues",
    }
    return text.replace(TABLE, TABLE + "".join(f'{name} = "{url}"\n' for name, url in urls.items()))


def main(address, tag, folder="."):
    """Rewrite both files."""
    folder, address = Path(folder), address.rstrip("/")
    for name, change in (("README.md", lambda *a: absolute_links(*a, folder)), ("pyproject.toml", with_urls)):
        path = folder / name
        path.write_text(change(path.read_text(encoding="utf-8"), address, tag), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
