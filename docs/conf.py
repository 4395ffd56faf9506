"""Sphinx configuration."""

import inspect
import os
import re
from importlib.metadata import metadata
from pathlib import Path

# Read when TensorFlow is loaded: its messages do not belong into the output of an example.
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import skfmri

HERE = Path(__file__).parent

project = "skfmri"
author = "skfmri developers"
project_copyright = "skfmri developers"
version = release = skfmri.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
templates_path = ["_templates"]
exclude_patterns = ["_build", "_templates", "examples"]
# A name in single backticks is code: parameters, attributes and names of other libraries alike.
default_role = "code"
nitpicky = False
# The quotes in {"valid", "same"} are code, in a type as well.
smartquotes = False
# In the contents beside a class, its name before every method would leave no room for the method.
toc_object_entries_show_parents = "hide"

# The address is filled in at one place, [project.urls] of pyproject.toml.
urls = dict(entry.split(", ", 1) for entry in metadata("skfmri").get_all("Project-URL") or [])
if "Repository" in urls:
    source = f"The source is at {urls['Repository']}. Clone it, or download and unpack an archive."
else:
    source = (
        "skfmri has no public address yet and is not on a package index. Take the directory, or "
        "unpack the archive, that you were given."
    )
rst_epilog = f".. |where the source is| replace:: {source}"

autosummary_generate = True
autosummary_ignore_module_all = False
# The docstrings describe types for people, with shapes and units.
autodoc_typehints = "none"
# The class template lists the members; numpydoc would list them twice.
numpydoc_show_class_members = False

BACKREFERENCES = "generated/backreferences"
sphinx_gallery_conf = {
    "examples_dirs": "examples",
    "gallery_dirs": "auto_examples",
    "subsection_order": ["examples/chapters", "examples/further"],
    "within_subsection_order": "FileNameSortKey",
    # A file of another name, such as one that needs the network, is shown but not run.
    "filename_pattern": r"/plot_",
    "backreferences_dir": BACKREFERENCES,
    "doc_module": "skfmri",
    "reference_url": {"skfmri": None},
    # A last expression that is an axes or a number says nothing to a reader; tables do.
    "capture_repr": ("_repr_html_",),
    "remove_config_comments": True,
    "show_memory": False,
    # As many at a time as sphinx-build's -j says.
    "parallel": True,
    "download_all_examples": False,
}

html_theme = "pydata_sphinx_theme"
html_title = f"skfmri {release}"
html_theme_options = {
    "show_toc_level": 2,
    "navigation_with_keys": False,
    # All pages are listed on the left, so the header need not name some of them.
    "navbar_center": [],
    # Long lines of code and wide tables need the room of the list of headings on the right.
    "secondary_sidebar_items": {
        "*": ["page-toc"],
        "generated/*": ["page-toc"],
        "bring_your_own_network": [],
        "few_samples": [],
        "for_keras_users": [],
        "for_nilearn_users": [],
        "index": [],
        "notebook": [],
    },
}
html_sidebars = {"**": ["pages.html"]}
html_static_path = ["_static"]
html_css_files = ["skfmri.css"]
html_show_sourcelink = False


def leave_out_members(app, what, name, obj, skip, options):
    """Leave out what other libraries document, and what a class has only in order to refuse it."""
    obj = getattr(obj, "fget", obj)
    module = getattr(obj, "__module__", None) or "skfmri"
    is_foreign = not module.startswith("skfmri")
    is_refused = (inspect.getdoc(obj) or "").startswith("Not offered")
    is_request = re.fullmatch(r"set_\w+_request", name)
    return True if is_foreign or is_refused or is_request else None


def show_examples_that_use_it(app, what, name, obj, options, lines):
    """End the text on a class or function with the examples of the gallery that use it."""
    if what not in ("class", "function"):
        return
    found = HERE / BACKREFERENCES / f"{name}.examples"
    if found.exists() and found.read_text(encoding="utf-8").strip():
        lines += ["", ".. rubric:: In the gallery", "", f".. minigallery:: {name}", ""]


def setup(app):
    app.connect("autodoc-skip-member", leave_out_members)
    # After numpydoc, which puts a docstring into an order of its own.
    app.connect("autodoc-process-docstring", show_examples_that_use_it, priority=900)
