"""Sphinx configuration. Nothing is fetched while building: every reference is resolved inside this tree."""

import inspect
import os
import re
from pathlib import Path

import sklearn_mdm

try:
    import tomllib
except ImportError:  # Python 3.10
    import tomli as tomllib

project = "sklearn-mdm"
author = "the sklearn-mdm developers"
copyright = f"2026, {author}"
release = sklearn_mdm.__version__
version = ".".join(release.split(".")[:2])

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.doctest",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
    "numpydoc",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
    "sphinx-mathjax-offline",  # copies MathJax into _static: pages work without a network
]
# examples.rst lists the examples, by what they are about.
exclude_patterns = ["_build", "_templates", "auto_examples/index.rst", "**/sg_execution_times.rst"]
templates_path = ["_templates"]
default_role = "literal"
smartquotes = False  # what is copied from a page has the quotes of Python
mathjax_path = "mathjax/tex-chtml.js"
copybutton_exclude = ".linenos, .gp, .go"

# Types are in the docstrings; annotations in signatures would say them twice.
autodoc_typehints = "none"
autosummary_generate = True
# The class template lists the methods: numpydoc would list those inherited from skorch, torch and scikit-learn too.
numpydoc_show_class_members = False

toc_object_entries_show_parents = "hide"

nitpicky = True
# Documented elsewhere, and not looked up over the network. "See Also" sections may name them.
nitpick_ignore_regex = [(r"py:.*", r"(accelerate|matplotlib|np|numpy|pandas|pd|scipy|sklearn|skorch|torch)(\..*)?")]

# Examples are executed; one thread keeps their output the same from one machine to the next.
os.environ.setdefault("OMP_NUM_THREADS", "1")
sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": "plot_",
    "write_computation_times": False,
    "backreferences_dir": "auto_examples/backreferences",
    "doc_module": ("sklearn_mdm",),
    "abort_on_example_error": True,
    "remove_config_comments": True,
    "show_memory": False,
    "parallel": 2,
    "download_all_examples": False,
}

html_theme = "pydata_sphinx_theme"
html_title = f"sklearn-mdm {release}"
html_theme_options = {
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
    "show_prev_next": False,
    "show_nav_level": 2,
    "header_links_before_dropdown": 7,
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
html_context = {"default_mode": "auto"}
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_favicon = "_static/favicon.svg"
html_sidebars = {"index": []}
html_show_sourcelink = False

# The addresses of the project are in one place. A release adds its own there (tools/published_links.py) before building
# this site; one that is built in a checkout has no links to a repository.
_urls = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]
_links = {"Repository": _urls["Source"], "versions": f"{_urls['Source']}/tags"} if "Source" in _urls else {}
html_theme_options["external_links"] = [{"name": name, "url": url} for name, url in list(_links.items())[:1]]
_of_landing_page = [*(f"`{name} <{url}>`__" for name, url in _links.items()), ":doc:`changelog </about/changelog>`"]
rst_epilog = f".. |links| replace:: {', '.join(_of_landing_page)}"


def skip_foreign_members(app, what, name, obj, skip, options):
    """Leave out methods that a class inherits from another library: their docstrings refer to pages not built here."""
    function = inspect.unwrap(obj.fget if isinstance(obj, property) else getattr(obj, "__func__", obj))
    if inspect.isbuiltin(function) or inspect.ismethoddescriptor(function):  # of dict, tuple, ...
        return True
    module = getattr(function, "__module__", None) or "sklearn_mdm"
    return True if module.split(".")[0] != "sklearn_mdm" else None


def read_changelog(app, docname, source):
    """Make a page of CHANGELOG.md, which has headings, lists and links and nothing else."""
    if docname == "about/changelog":
        text = (Path(__file__).parents[1] / "CHANGELOG.md").read_text(encoding="utf-8")
        text = re.sub(r"\[([^]]+)\]\((\S+?)\)", r"`\1 <\2>`__", text)
        for mark, line in (("# ", "="), ("## ", "-"), ("### ", "~")):
            heading = re.compile(rf"^{mark}(.*)$", re.MULTILINE)
            text = heading.sub(lambda found, line=line: f"{found[1]}\n{line * len(found[1])}", text)
        source[0] = text


def setup(app):
    """Connect the functions above."""
    app.connect("autodoc-skip-member", skip_foreign_members)
    app.connect("source-read", read_changelog)
