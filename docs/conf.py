"""Configuration of Sphinx. Builds without a network."""

import os
import sys
from importlib.metadata import version as installed
from pathlib import Path

import sphinx_autosummary_accessors

import xslams  # noqa: F401  registers what the reference shows as Dataset.slams

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

# Each notebook runs in its own process; limit its threads so that pages can be built side by side.
os.environ.setdefault("OMP_NUM_THREADS", "2")
# tqdm warns that its notebook widget is missing, although no bar is shown.
os.environ["PYTHONWARNINGS"] = "ignore:IProgress not found"

project = "xslams"
author = "xslams developers"
project_copyright = "xslams developers"
version = release = installed("xslams")

extensions = [
    "drawn_tables",
    "gallery",
    "mathml",
    "model_cards",
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx_autosummary_accessors",
    "sphinx_copybutton",
]
templates_path = ["_templates", sphinx_autosummary_accessors.templates_path]
exclude_patterns = ["_build", "_ext", "_templates"]
root_doc = "index"
default_role = "py:obj"

autosummary_generate = True
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the signature shows them, and the numpydoc sections explain them
autodoc_type_aliases = {"ObservationsLike": "ObservationsLike", "Target": "Target"}
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_preprocess_types = False

myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_execution_show_tb = True
nb_merge_streams = True
# Kernels of notebooks show progress, which no page needs.
os.environ["TQDM_DISABLE"] = "1"

html_theme = "furo"
html_title = "xslams"
html_math_renderer = "mathml"
html_static_path = ["_static"]
html_css_files = ["xslams.css"]
html_show_sphinx = False
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
