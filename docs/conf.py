"""Sphinx configuration."""

import re

import skfmri

project = "skfmri"
author = "skfmri developers"
project_copyright = "skfmri developers"
version = release = skfmri.__version__

extensions = ["sphinx.ext.autodoc", "sphinx.ext.autosummary", "numpydoc"]
templates_path = ["_templates"]
exclude_patterns = ["_build", "_templates"]
# A name in single backticks is code: parameters, attributes and names of other libraries alike.
default_role = "code"
nitpicky = False

autosummary_generate = True
autosummary_ignore_module_all = False
# The class template lists the members; numpydoc would list them twice.
numpydoc_show_class_members = False

html_theme = "pydata_sphinx_theme"
html_title = f"skfmri {release}"
html_theme_options = {"show_toc_level": 2, "navigation_with_keys": False}
html_show_sourcelink = False


def leave_out_members_of_others(app, what, name, obj, skip, options):
    """Leave out what a class inherits from other libraries, which document it themselves."""
    obj = getattr(obj, "fget", obj)
    module = getattr(obj, "__module__", None) or "skfmri"
    is_foreign = not module.startswith("skfmri")
    return True if is_foreign or re.fullmatch(r"set_\w+_request", name) else None


def setup(app):
    app.connect("autodoc-skip-member", leave_out_members_of_others)
