"""One name for one thing, in the field's words, in source, documentation and examples."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent

# Where the words below are gone: files, and folders with all that is in them.
FOLDERS = [
    "README.md",
    "docs/index.rst",
    "docs/install.rst",
    "docs/about",
    "docs/benchmarks",
    "docs/how_to",
    "docs/tutorial.rst",
    "docs/user_guide",
    "examples",
    "sklearn_mdm",
]

# Words that are gone, and what takes their place.
GONE = {
    r"codes?": "representation",
    r"re-?pair(s|ed|ing|ings)?": "negatives",
    r"stopping (rows?|samples?|split|part|set|fold)": "validation",
    r"(stands?|standing|stood) in": "replacement",
    r"stand-?ins?": "replacement",
    r"held still": "frozen, or with its parameters fixed",
    r"at odds": "disagree",
}
# Where "code" is not a representation. Each is taken out of a text before the words above are looked for.
ALLOWED = [
    r"code_dims",  # widths of the representations, a name of the fusion protocol
    r"code-block",
    r"(source|class|token) codes?",
    r"code (when|published)",
    r"cross-view codes?",  # what MARN calls it
    r"published code|authors' code|the code of a user|(run|needs|no|names) code|code that comes with|_code\b",
]


def texts():
    """Return the texts of the folders by path."""
    found = {}
    for place in FOLDERS:
        path = ROOT / place
        files = [path] if path.is_file() else [file for end in ("py", "rst", "md") for file in path.rglob(f"*.{end}")]
        assert files, f"{place} is not there"
        found |= {file.relative_to(ROOT).as_posix(): file.read_text(encoding="utf-8") for file in sorted(files)}
    return found


def test_words__that_are_gone__stay_away():
    allowed = re.compile("|".join(ALLOWED), re.IGNORECASE)
    # In names too, such as n_repairings; of two words, the second may be on the next line of a comment.
    words = {
        re.compile(rf"(?<![a-z]){word}(?![a-z])".replace(" ", r"[\s#]+"), re.IGNORECASE): better
        for word, better in GONE.items()
    }
    wrong = []
    for path, text in texts().items():
        text = allowed.sub("", text)
        for word, better in words.items():
            for found in word.finditer(text):
                line = text.count("\n", 0, found.start()) + 1
                wrong.append(f"{path}:{line}: {found[0]!r}: say {better}")
    assert not wrong, "\n".join(wrong)
