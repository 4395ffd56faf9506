"""Sphinx configuration."""

import os
import re
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
    "sphinx_gallery.gen_gallery",
]
templates_path = ["_templates"]
exclude_patterns = ["_build", "_templates", "examples"]
# A name in single backticks is code: parameters, attributes and names of other libraries alike.
default_role = "code"
nitpicky = False

autosummary_generate = True
autosummary_ignore_module_all = False
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
        "for_keras_users": [],
        "for_nilearn_users": [],
        "notebook": [],
    },
}
html_sidebars = {"**": ["pages.html"]}
html_static_path = ["_static"]
html_css_files = ["tables.css"]
html_show_sourcelink = False


def leave_out_members_of_others(app, what, name, obj, skip, options):
    """Leave out what a class inherits from other libraries, which document it themselves."""
    obj = getattr(obj, "fget", obj)
    module = getattr(obj, "__module__", None) or "skfmri"
    is_foreign = not module.startswith("skfmri")
    return True if is_foreign or re.fullmatch(r"set_\w+_request", name) else None


def show_examples_that_use_it(app, what, name, obj, options, lines):
    """End the text on a class or function with the examples of the gallery that use it."""
    if what not in ("class", "function"):
        return
    found = HERE / BACKREFERENCES / f"{name}.examples"
    if found.exists() and found.read_text(encoding="utf-8").strip():
        lines += ["", ".. rubric:: In the gallery", "", f".. minigallery:: {name}", ""]


def setup(app):
    app.connect("autodoc-skip-member", leave_out_members_of_others)
    # After numpydoc, which puts a docstring into an order of its own.
    app.connect("autodoc-process-docstring", show_examples_that_use_it, priority=900)
