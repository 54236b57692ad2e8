"""How Sphinx builds the documentation: `sphinx-build -W -n docs docs/_build/html`. Nothing is fetched."""

from irm_study import __version__

project = "irm-study"
author = "The irm-study developers"
copyright = author
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["_build"]
myst_heading_anchors = 3
nitpick_ignore_regex = [("py:.*", r"(?!irm_study).*")]  # other projects' names, which nothing is fetched to resolve
default_role = "code"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True

html_theme = "furo"
html_title = "irm-study"
html_static_path = ["_static"]
html_css_files = ["style.css"]
html_copy_source = False
html_show_copyright = False
html_show_sphinx = False
