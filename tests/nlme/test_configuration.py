"""What importing the engine does to the process (nothing), and what `nlme.configure()` does."""

import json
import os
import subprocess
import sys

_STATE = """
import json, os, sys
def state():
    import jax
    keys = (
        "jax_enable_x64 jax_cpu_enable_async_dispatch jax_persistent_cache_min_compile_time_secs "
        "jax_compilation_cache_dir"
    )
    return {key: jax.config.values[key] for key in keys.split()} | {"XLA_FLAGS": os.environ.get("XLA_FLAGS")}
"""


def run(code, **environment):
    """What a fresh process that runs `code` prints as JSON."""
    clean = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    done = subprocess.run(
        [sys.executable, "-c", _STATE + code], env=clean | environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_importing_the_engine_changes_nothing_and_loads_neither_torch_nor_the_rest_of_covary():
    before, after, modules = run(
        "before = state()\nfrom covary import nlme\nprint(json.dumps([before, state(), list(sys.modules)]))"
    )
    assert after == before
    assert before["jax_enable_x64"] is False
    assert "torch" not in modules
    rooms = {name.split(".")[1] for name in modules if name.startswith("covary.")}
    assert rooms <= {"nlme", "rng", "resampling", "plugins", "errors", "files"}


def test_importing_covary_alone_loads_no_library():
    modules = run("import covary\nprint(json.dumps(list(sys.modules)))")
    assert {"numpy", "pandas", "jax", "torch", "pydantic"}.isdisjoint(modules)


def test_configure_sets_what_the_engine_needs_and_keeps_the_user_s_own_flags():
    once, twice = run(
        "from covary import nlme\nnlme.configure()\nonce = state()\nnlme.configure()\n"
        "print(json.dumps([once, state()]))",
        XLA_FLAGS="--xla_force_host_platform_device_count=1",
        JAX_COMPILATION_CACHE_DIR="their/own",
    )
    assert once == twice
    flag = "--xla_backend_extra_options=xla_cpu_small_while_loop_byte_threshold=10000000"
    assert once == {
        "jax_enable_x64": True,
        "jax_cpu_enable_async_dispatch": False,
        "jax_persistent_cache_min_compile_time_secs": 0.05,
        "jax_compilation_cache_dir": "their/own",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count=1 {flag}",
    }


_CACHE = """
from covary import nlme
nlme.configure()
print(json.dumps(state()["jax_compilation_cache_dir"]))
"""


def test_compiled_programs_are_kept_in_the_cache_folder_of_the_user(tmp_path):
    kept = run(_CACHE, JAX_COMPILATION_CACHE_DIR="", XDG_CACHE_HOME=str(tmp_path))
    assert kept == str(tmp_path / "covary" / "jax")
    assert (tmp_path / "covary" / "jax").is_dir()


def test_no_program_is_kept_where_the_cache_is_off_or_cannot_be_written(tmp_path):
    home = {"JAX_COMPILATION_CACHE_DIR": "", "XDG_CACHE_HOME": str(tmp_path)}
    assert not run(_CACHE, JAX_ENABLE_COMPILATION_CACHE="false", **home)
    (tmp_path / "covary").write_text("a file where a folder should be")
    assert not run(_CACHE, **home)


def test_who_forgets_to_configure_is_told():
    calls = [
        "nlme.predictions(model, parameters, np.zeros((1, 3)), design)",
        "nlme.simulate(model, parameters, np.zeros((1, 3)), design, 1)",
        "nlme.empirical_bayes(model, parameters, records)",
        "nlme.objective(model, parameters, records)",
        "nlme.fit_population(model, records, parameters)",
        "nlme.adaptive_quadrature(model, parameters, records)",
        "RecordLikelihood(model, parameters, records)",
        "diagnostics.residual_table(model, parameters, records, method='focei')",
    ]
    messages = run(f"""
import numpy as np
from covary import nlme
from covary.nlme import diagnostics
from covary.nlme.likelihood import RecordLikelihood
model = nlme.load_model("saturable_elimination")
parameters = model.default_parameters()
design = nlme.Design.regular([0.0, 1.0], n_subjects=1, dose=1.0)
records = nlme.Records.of(design, np.ones((1, 2)))
messages = []
for call in {calls}:
    try:
        eval(call)
    except RuntimeError as error:
        messages.append(str(error))
print(json.dumps(messages))
""")
    assert len(messages) == len(calls)
    assert all("nlme.configure()" in message for message in messages)
