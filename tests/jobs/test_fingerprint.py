"""Which edits rerun which rules."""

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import covary
from covary.jobs.definitions import Source
from covary.jobs.fingerprint import LEFT_OUT, Package, fingerprints

ROOT = Path(covary.__file__).parent
SCRIPTS = sorted((Path(__file__).parents[2] / "workflow" / "scripts").glob("*.py"))

FILES = {
    "covary/__init__.py": "",
    "covary/face/__init__.py": "from covary.face.room import one, two\n__all__ = ['one', 'two']\n",
    "covary/face/room.py": (
        "from covary import tools\n\nUNIT = 3\n\n\n"
        "def one(x):\n    return tools.double(x) * UNIT\n\n\n"
        "def two(x):\n    return [tools.triple(y) for y in x]\n\n\n"
        "if __name__ == '__main__':\n    print(two([1]))\n"
    ),
    "covary/tools.py": (
        "from collections.abc import Callable\n\n\n"
        "def double(x):\n    return _twice(x)\n\n\n"
        "def _twice(x):\n    return 2 * x\n\n\n"
        "def triple(x):\n    return 3 * x\n"
    ),
    "covary/kinds.py": (
        "from covary.settings import Section\n\n\n"
        "class Base:\n    def area(self):\n        return 0\n\n\n"
        "class Square(Base):\n    side: int = 1\n\n    def area(self):\n        return self.side**2\n\n\n"
        "class Circle(Base):\n    pass\n\n\n"
        "class Options(Section):\n    size: int = Field(1, description='Width in pixels')\n"
    ),
    "covary/settings.py": "class Section:\n    pass\n",
    "covary/started.py": (
        "import os\n\nos.environ['X'] = '1'\n\n\ndef a():\n    pass\n\n\ndef b():\n    pass\n"
    ),
    "covary/apart.py": "def alone():\n    return 1\n",
}


@pytest.fixture
def package(tmp_path):
    """Writes a script and some edits beside a small package; returns the script's fingerprint."""

    def write(script: str, edits: dict[str, tuple[str, str]] | None = None) -> str:
        for name, text in FILES.items():
            file = tmp_path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            if name in (edits or {}):
                old, new = edits[name]
                assert old in text
                text = text.replace(old, new)
            file.write_text(text)
        (tmp_path / "script.py").write_text(script)
        return Package(tmp_path / "covary").fingerprint(tmp_path / "script.py")

    return write


ONE = "from covary import face\nprint(face.one(1))\n"
SQUARE = "from covary.kinds import Square\nprint(Square().area())\n"
A = "from covary.started import a\na()\n"


@pytest.mark.parametrize(
    ("script", "file", "old", "new"),
    [
        (ONE, "covary/face/room.py", "tools.double(x)", "tools.double(x + 1)"),  # through the face
        (ONE, "covary/face/room.py", "UNIT = 3", "UNIT = 4"),  # a constant
        (ONE, "covary/tools.py", "2 * x", "4 * x"),  # through another module and a private function
        (ONE, "covary/face/__init__.py", "import one, two", "import one, two as one"),  # where a name leads
        ("from covary.face import one as f\nf(1)\n", "covary/tools.py", "2 * x", "4 * x"),
        ("import covary.face.room as r\nr.one(1)\n", "covary/tools.py", "2 * x", "4 * x"),
        ("import covary.face\ncovary.face.one(1)\n", "covary/tools.py", "2 * x", "4 * x"),
        (
            "def f():\n    from covary import tools\n    tools.double(1)\n",
            "covary/tools.py",
            "2 * x",
            "4 * x",
        ),
        ("from covary import tools\n[tools.double(x) for x in ()]\n", "covary/tools.py", "2 * x", "4 * x"),
        ("from covary import tools\nlambda x: tools.double(x)\n", "covary/tools.py", "2 * x", "4 * x"),
        # A local variable of the same name does not hide the module where it is another scope.
        (
            "from covary import tools\n[tools for tools in ()]\ntools.double(1)\n",
            "covary/tools.py",
            "2 * x",
            "4",
        ),
        ("from covary import tools\n[tools for tools in tools.double(1)]\n", "covary/tools.py", "2 * x", "4"),
        (SQUARE, "covary/kinds.py", "self.side**2", "self.side**3"),  # a method
        (SQUARE, "covary/kinds.py", "return 0", "return 1"),  # of the class it derives from
        ("from covary.kinds import Options\nOptions()\n", "covary/kinds.py", "Field(1", "Field(2"),
        ("from covary.kinds import Options\nOptions()\n", "covary/settings.py", "pass", "x = 1"),
        (A, "covary/started.py", "'1'", "'2'"),  # what happens on import
        # Uses that cannot be followed take all of the module.
        ("from covary import tools\nprint(tools)\n", "covary/tools.py", "3 * x", "4 * x"),
        ("from covary import tools\ngetattr(tools, 'triple')\n", "covary/tools.py", "3 * x", "4 * x"),
        ("from covary.tools import *\n", "covary/tools.py", "3 * x", "4 * x"),
        ("from covary import face\nf = vars(face)\n", "covary/tools.py", "3 * x", "4 * x"),
        ("from covary import tools\ntools.unknown\n", "covary/tools.py", "3 * x", "4 * x"),
    ],
)
def test_what_a_script_uses_reruns_it(package, script, file, old, new):
    assert package(script, {file: (old, new)}) != package(script)


@pytest.mark.parametrize(
    ("script", "file", "old", "new"),
    [
        (ONE, "covary/face/room.py", "for y in x", "for y in [*x]"),  # the other name of the face
        (ONE, "covary/tools.py", "3 * x", "4 * x"),
        (ONE, "covary/apart.py", "return 1", "return 2"),
        (ONE, "covary/started.py", "'1'", "'2'"),
        (ONE, "covary/face/room.py", "print(two([1]))", "print(two([2]))"),  # python -m
        (ONE, "covary/face/__init__.py", "'one', 'two'", "'one'"),  # __all__
        (ONE, "covary/tools.py", "import Callable\n", "import Callable, Iterable\n"),
        (ONE, "covary/tools.py", "    return 2 * x", '    """Twice."""\n    # twice\n    return (2*x)'),
        (SQUARE, "covary/kinds.py", "class Circle(Base):\n    pass", "class Circle(Base):\n    x = 1"),
        (A, "covary/started.py", "def b():\n    pass", "def b():\n    return 1"),
        ("from covary.kinds import Options\nOptions()\n", "covary/kinds.py", "in pixels", "in px"),
        # A parameter or variable hides a module of the same name.
        (
            "from covary import tools\ndef f(tools):\n    tools.double(1)\n",
            "covary/tools.py",
            "2 * x",
            "4 * x",
        ),
    ],
)
def test_nothing_else_does(package, script, file, old, new):
    assert package(script, {file: (old, new)}) == package(script)


def test_all_of_a_script_counts(package):
    guarded = "def work():\n    pass\n\n\nif __name__ == '__main__':\n    work({})\n"
    assert package(guarded.format(1)) != package(guarded.format(2))


def test_a_function_that_registers_itself_is_part_of_what_it_joins(package, tmp_path):
    registry = "\n".join(["def f():", "    pass", "", "", "@f.register", "def _(x):", "    return {}", ""])
    prints = []
    for value in (1, 2):
        package("from covary.registry import f\nf()\n")
        (tmp_path / "covary" / "registry.py").write_text(registry.format(value))
        prints.append(Package(tmp_path / "covary").fingerprint(tmp_path / "script.py"))
    assert prints[0] != prints[1]


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_kept_fingerprints_count_only_for_the_same_sources_and_scripts(package, tmp_path, empty_cache):
    package(ONE)
    root, scripts = tmp_path / "covary", tmp_path / "scripts"
    scripts.mkdir()
    shutil.copy(tmp_path / "script.py", scripts / "one.py")

    def answer() -> str:
        (value,) = fingerprints(scripts, root).values()
        assert value == Package(root).fingerprint(scripts / "one.py")
        return value

    (first, again) = answer(), answer()
    assert first == again
    (root / "tools.py").write_text(FILES["covary/tools.py"].replace("2 * x", "4 * x"))
    assert (edited := answer()) != first
    (scripts / "one.py").write_text(ONE + "print(2)\n")
    assert answer() not in (first, edited)


def test_what_is_kept_is_used(package, tmp_path, empty_cache, monkeypatch):
    package(ONE)
    (tmp_path / "scripts").mkdir()
    shutil.copy(tmp_path / "script.py", tmp_path / "scripts" / "one.py")
    first = fingerprints(tmp_path / "scripts", tmp_path / "covary")
    monkeypatch.setattr("covary.jobs.fingerprint.Package", None)
    assert fingerprints(tmp_path / "scripts", tmp_path / "covary") == first


ENGINE = {"check_posteriors", "compare_estimators", "compare_ladder", "draw_amortised", "draw_posteriors",
          "estimate_by_model", "estimate_random_effects", "evaluate", "fit_amortised", "fit_ladder",
          "fit_population", "measure_imputation", "measure_learning_curve", "measure_visits_worth",
          "plot_association", "plot_population", "prepare_records", "simulate_longitudinal", "train_oracle",
          "train_population_network", "train_posterior_network", "train_predictor",
          "train_site_method"}  # fmt: skip
DRAWING = {"plot_association", "plot_estimators", "plot_evaluation", "plot_images", "plot_ladder",
           "plot_phenotypes", "plot_population", "plot_posterior_checks", "plot_quality", "plot_sites",
           "plot_training", "plot_visits_worth", "plot_workflow"}  # fmt: skip
# For each room an edited definition, and the rules that run again.
RERUN = {
    "amortised.weights.smoothed": {"check_posteriors", "draw_amortised", "fit_amortised"},
    "config.records.Longitudinal": ENGINE | {"describe_dataset", "write_provenance", "write_report"},
    "console.stages.expected_seconds": set(),
    "dataset.association.blur": {"simulate_longitudinal"},
    "diffusion.train.train_generator": {"train_generator"},
    "evaluate.power.learning_curves": {"evaluate"},
    "evaluate.visits_worth.equivalent_visits": {"measure_visits_worth"},
    "export.folders.export": set(),
    "figures.style.save": DRAWING,
    "figures.training.training_curves": {"plot_training"},
    "gates.pass_through": {"check_generator", "check_latents"},
    "images.prepare.prepare": {"prepare_images"},
    "images.preview.preview": set(),
    "jobs.job.job": set(),
    "jobs.lock.take": set(),
    "jobs.gpu.claim": set(),
    "jobs.parallel.ordered_map": set(),
    "jobs.resources.fetch": {"download_resource"},
    "jobs.resumable.RowWriter": {"cache_latents", "prepare_images"},
    "nlme.fit.fit_population": {"fit_ladder", "fit_population", "measure_imputation"},
    "nlme.variational.fit_variational": {"fit_ladder", "fit_population", "measure_imputation"},
    "evaluate.ladder.ladder_tables": {"compare_ladder"},
    "nlme.posterior.posterior_draws": {"check_posteriors", "compare_ladder", "draw_amortised",
                                       "draw_posteriors", "fit_ladder",
                                       "measure_visits_worth"},
    "nlme.simulate.predictions": ENGINE,
    "nlme.solvers.lanes.solve": ENGINE,
    "phantom.render.render": {"draw_phantoms"},
    "phenotypes.table.accuracies": {"profile_cells"},
    "predict.calibrate.calibrate": {"measure_learning_curve", "train_oracle", "train_predictor",
                                    "train_site_method"},
    "publication.croissant.croissant": {"describe_dataset"},
    "quality.factors.factor_table": {"measure_generator"},
    "quality.privacy.privacy_table": {"check_privacy"},
    "records.study.Study": ENGINE,
    "report.page.render": {"write_report"},
    "resampling.Resamples": {"check_posteriors", "compare_estimators", "compare_ladder", "evaluate",
                             "measure_generator", "measure_imputation", "measure_visits_worth"},
    "store.arrays.write_image_shard": {"generate_images"},
    "training.checkpoint.Checkpoint": {"measure_learning_curve", "train_generator", "train_image_vae",
                                       "train_oracle", "train_predictor", "train_reader",
                                       "train_site_method", "estimate_by_model"},
    "jobs.progress.progress": set(),
    "vae.ranking.rank_latents": {"rank_latents"},
    "wording.percent": {"describe_dataset", "plot_association", "plot_evaluation", "write_report"},
}  # fmt: skip

_PARSED = {}


@pytest.fixture(scope="module")
def before():
    """The fingerprint of each script, with the package as it is."""
    package = Package(ROOT)
    return {script.stem: package.fingerprint(script) for script in SCRIPTS}


@pytest.fixture
def parsed_once(monkeypatch):
    """Parse a text that was parsed before no second time, in whatever copy of the package it lies."""

    def source(path, module, *, script=False):
        key = path.read_bytes(), module, script
        if key not in _PARSED:
            _PARSED[key] = Source(path, module, script=script)
        return _PARSED[key]

    monkeypatch.setattr("covary.jobs.fingerprint.Source", source)


@pytest.fixture(scope="module")
def copied(tmp_path_factory):
    target = tmp_path_factory.mktemp("edited") / "covary"
    shutil.copytree(ROOT, target, ignore=shutil.ignore_patterns("__pycache__"))
    return target


@pytest.mark.parametrize("edited", RERUN)
def test_an_edit_reruns_exactly_the_rules_that_use_it(edited, before, copied, parsed_once):
    module, name = edited.rsplit(".", 1)
    file = copied.joinpath(*module.split(".")).with_suffix(".py")
    original = file.read_text()
    tree = ast.parse(original)
    *_, definition = (node for node in tree.body if getattr(node, "name", None) == name)
    definition.body.append(ast.parse("edited = True").body[0])
    file.write_text(ast.unparse(tree))
    package = Package(copied)
    after = {script.stem: package.fingerprint(script) for script in SCRIPTS}
    file.write_text(original)
    assert {script for script, value in after.items() if value != before[script]} == RERUN[edited]


def test_every_room_is_tried():
    rooms = {path.name for path in ROOT.iterdir() if (path / "__init__.py").exists()}
    assert rooms <= {name.partition(".")[0] for name in RERUN}


def test_only_modules_that_exist_are_left_out():
    assert all((ROOT.parent / Path(*name.split("."))).with_suffix(".py").exists() for name in LEFT_OUT)


FOLLOWED = """
import sys
from pathlib import Path

from covary import nlme, phantom, rng, store
from covary.config.images import Phantom
from covary.config.reading import load
from covary.dataset import association
from covary.images.digits import write_digits
from covary.quality.distances import frechet_distance

follow()
folder = Path(sys.argv[1])
eta = rng.normal(1, "eta", 0, 40, (3,))
frechet_distance(association.blur(eta, 1.0, eta), eta)
layout = {"size_px": 16, "channels": ["grey"], "shard_subjects": 4, "chunk_subjects": 4}
store.create(folder / "d.zarr", attributes={}, **layout)
phantom.write_dataset(folder, Phantom(train=2, test=1, height_px=64, width_px=64), seed=1, workers=1)
write_digits(folder)
load()
nlme.read_nonmem(Path(sys.argv[2]))
"""
FOLLOWER = """
import inspect
import sys
from pathlib import Path

root, script = Path(sys.argv.pop(1)), Path(sys.argv.pop(1))
called = set()

def note(frame, event, argument):
    is_function = frame.f_code.co_flags & inspect.CO_OPTIMIZED  # not the body of a class or module
    if event == "call" and is_function and frame.f_code.co_filename.startswith(str(root)):
        file = Path(frame.f_code.co_filename).relative_to(root.parent).with_suffix("")
        module = ".".join(file.parts).removesuffix(".__init__")
        called.add((module, frame.f_code.co_qualname.partition(".")[0]))

scope = {"__name__": "__main__", "follow": lambda: sys.setprofile(note)}
exec(compile(script.read_text(), script, "exec"), scope)
sys.setprofile(None)
for module, name in called:
    print(module, name)
"""


def test_no_code_runs_that_the_fingerprint_does_not_count(tmp_path):
    """Every function of the package that a real run calls is among those that were found by reading."""
    script = tmp_path / "script.py"
    script.write_text(FOLLOWED)
    table = Path(__file__).parents[1] / "data" / "theoph_nonmem.csv"
    command = [sys.executable, "-c", FOLLOWER, str(ROOT), str(script), str(tmp_path / "out"), str(table)]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    called = {tuple(line.split()) for line in run.stdout.splitlines() if line.startswith("covary")}
    named = {(module, name) for module, name in called if not name.startswith("<") and module not in LEFT_OUT}
    assert len(named) > 30
    assert named <= Package(ROOT).uses(script)
