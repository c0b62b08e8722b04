"""Sphinx configuration. Nothing is fetched while building: every reference is resolved inside this tree."""

import inspect
import os

import sklearn_mdm

project = "sklearn-mdm"
author = "the sklearn-mdm developers"
copyright = f"2026, {author}"
release = sklearn_mdm.__version__
version = ".".join(release.split(".")[:2])

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "numpydoc",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "_templates", "sg_execution_times.rst"]
templates_path = ["_templates"]
default_role = "literal"

# Types are in the docstrings; annotations in signatures would say them twice.
autodoc_typehints = "none"
autosummary_generate = True
# The class template lists the methods: numpydoc would list those inherited from skorch, torch and scikit-learn too.
numpydoc_show_class_members = False

nitpicky = True
# Documented elsewhere, and not looked up over the network. "See Also" sections may name them.
nitpick_ignore_regex = [(r"py:.*", r"(matplotlib|np|numpy|pandas|pd|scipy|sklearn|skorch|torch)(\..*)?")]

# Examples are executed; one thread keeps their output the same from one machine to the next.
os.environ.setdefault("OMP_NUM_THREADS", "1")
sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": "plot_",
    "within_subsection_order": "FileNameSortKey",
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
}
html_show_sourcelink = False


def skip_foreign_members(app, what, name, obj, skip, options):
    """Leave out methods that a class inherits from another library: their docstrings refer to pages not built here."""
    function = inspect.unwrap(obj.fget if isinstance(obj, property) else getattr(obj, "__func__", obj))
    if inspect.isbuiltin(function) or inspect.ismethoddescriptor(function):  # of dict, tuple, ...
        return True
    module = getattr(function, "__module__", None) or "sklearn_mdm"
    return True if module.split(".")[0] != "sklearn_mdm" else None


def setup(app):
    """Connect the filter above."""
    app.connect("autodoc-skip-member", skip_foreign_members)
