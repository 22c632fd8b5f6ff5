"""Scripts that run in forks of one process with the libraries loaded."""

import json
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from covary.jobs.forked import Server

SAYS = """
import json, os, sys, tempfile
from pathlib import Path
loaded = [name for name in ("torch", "jax", "covary.predict", "matplotlib.pyplot") if name in sys.modules]
import jax, threadpoolctl, torch
jax_ran = bool(jax._src.xla_bridge._backends)
Path(snakemake.output).write_text(json.dumps({
    "loaded": loaded, "cuda": torch.cuda.is_initialized(), "jax_ran": jax_ran,
    "torch": torch.get_num_threads(),
    "pools": [pool["num_threads"] for pool in threadpoolctl.threadpool_info()],
    "environment": os.environ["OMP_NUM_THREADS"], "temporary": tempfile.gettempdir(),
    "main": __name__, "file": __file__,
}))
"""


@pytest.fixture(scope="module")
def server():
    return Server()


def outcome(server, folder, text, threads=1, **parts):
    script = folder / "script.py"
    script.write_text(text)
    return server.start(script, SimpleNamespace(**parts), threads, str(folder)).wait()[0]


@pytest.mark.parametrize("threads", [1, 2])
def test_a_script_finds_its_libraries_loaded_and_unused(server, tmp_path, threads):
    assert outcome(server, tmp_path, SAYS, threads, output=str(tmp_path / "said.json")) == 0
    said = json.loads((tmp_path / "said.json").read_text())
    assert said["loaded"] == ["torch", "jax", "covary.predict", "matplotlib.pyplot"]
    assert not said["cuda"] and not said["jax_ran"]  # their threads would be lost in a fork
    assert said["torch"] == threads and set(said["pools"]) == {threads}
    assert said["environment"] == str(threads) and said["temporary"] == str(tmp_path)
    assert said["main"] == "__main__" and said["file"] == str(tmp_path / "script.py")


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("", 0),
        ("import sys; sys.exit(3)", 3),
        ("raise ValueError('a fault')", 1),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
    ],
)
def test_the_exit_status_is_that_of_the_script(server, tmp_path, text, status):
    assert outcome(server, tmp_path, text) == status


def test_no_status_is_lost_where_threads_start_scripts_while_others_end(server, tmp_path):
    script = tmp_path / "script.py"
    script.write_text("import sys; sys.exit(snakemake.status)")

    def status(i):
        return server.start(script, SimpleNamespace(status=i % 7), 1, None).wait()[0]

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(status, range(200))) == [i % 7 for i in range(200)]


def test_what_one_script_does_to_a_library_another_one_does_not_see(server, tmp_path):
    (tmp_path / "other").mkdir()
    spoil = "import numpy, os; numpy.spoilt = 1; os.environ['SPOILT'] = '1'"
    look = "import numpy, os; assert not hasattr(numpy, 'spoilt') and 'SPOILT' not in os.environ"
    assert outcome(server, tmp_path, spoil) == outcome(server, tmp_path / "other", look) == 0


WHERE = "import os, sys; from pathlib import Path; Path(snakemake.output).write_text(str(os.getpid()))"


def test_the_same_script_runs_where_it_ran_before_unless_it_failed(server, tmp_path):
    def process_of(text=WHERE, threads=1):
        file = tmp_path / "where"
        status = outcome(server, tmp_path, text, threads, output=str(file))
        return status, file.read_text()

    _, first = process_of()
    assert process_of() == (0, first)
    assert process_of(threads=2)[1] != first  # libraries have other pools there
    assert process_of(WHERE + "; sys.exit(3)") == (3, first)
    assert process_of()[1] != first


def test_a_process_that_holds_much_runs_no_other_script(server, tmp_path):
    file = tmp_path / "where"
    large = WHERE + "; os.held = b'x' * 1_300_000_000"
    assert outcome(server, tmp_path, large, output=str(file)) == 0
    first = int(file.read_text())
    assert outcome(server, tmp_path, WHERE, output=str(file)) == 0
    second = int(file.read_text())
    assert outcome(server, tmp_path, WHERE, output=str(file)) == 0
    assert first != second == int(file.read_text())


def test_a_process_that_has_given_back_its_memory_runs_the_next_script(server, tmp_path):
    file, processes = tmp_path / "where", []
    for text in (WHERE + "; held = b'x' * 1_300_000_000", WHERE):
        assert outcome(server, tmp_path, text, output=str(file)) == 0
        processes.append(file.read_text())
    assert len(set(processes)) == 1


def test_a_process_that_was_killed_while_it_waited_is_replaced(server, tmp_path):
    file = tmp_path / "where"
    assert outcome(server, tmp_path, WHERE, output=str(file)) == 0
    killed = int(file.read_text())
    os.kill(killed, signal.SIGKILL)
    while Path(f"/proc/{killed}").exists():
        time.sleep(0.01)
    assert outcome(server, tmp_path, WHERE, output=str(file)) == 0
    assert int(file.read_text()) != killed


def test_few_processes_wait_for_another_script_and_none_after_the_end(tmp_path):
    server = Server()

    def process_of(i):
        (tmp_path / str(i)).mkdir()
        assert outcome(server, tmp_path / str(i), WHERE, output=str(tmp_path / "where")) == 0
        return int((tmp_path / "where").read_text())

    processes = [process_of(i) for i in range(6)]
    assert [Path(f"/proc/{process}").exists() for process in processes] == [False] * 2 + [True] * 4
    server.close()
    assert not any(Path(f"/proc/{process}").exists() for process in processes)


def test_an_interrupt_reaches_the_script(server, tmp_path):
    script, ready = tmp_path / "script.py", tmp_path / "ready"
    # Short sleeps: a signal that comes just before a long one would be heard after it.
    script.write_text(
        f"from pathlib import Path; import time; Path({str(ready)!r}).touch()\nwhile True: time.sleep(0.1)"
    )
    process = server.start(script, SimpleNamespace(), 1, None).process
    while not ready.exists():
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGINT)
    process.join(10)
    assert process.exitcode == 1


BUSY = """
import time, numpy as np
from concurrent.futures import ThreadPoolExecutor
def work(_):
    while time.thread_time() < 0.4: pass
list(ThreadPoolExecutor(3).map(work, range(3)))  # threads that are gone when the script ends
"""
OF_A_CHILD = (
    "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[0] and {!r}], check=True)"
)
LARGE = "import numpy as np; held = np.ones(2**27); held += 1"  # 1 GiB


def used_by(server, folder, text):
    script = folder / "script.py"
    script.write_text(text)
    status, used = server.start(script, SimpleNamespace(), 1, None).wait()
    assert status == 0
    return used


def test_time_of_threads_and_memory_of_children_count(server, tmp_path):
    idle = used_by(server, tmp_path, "")
    busy = used_by(server, tmp_path, BUSY)
    assert 1.15 < busy.cpu_s - idle.cpu_s < 2.0
    for text in (LARGE, OF_A_CHILD.format(LARGE)):
        assert 1024 < used_by(server, tmp_path, text).max_rss_mb < 1024 + idle.max_rss_mb + 200
    assert idle.max_rss_mb < 1024


def test_a_script_that_was_killed_has_no_usage(server, tmp_path):
    script = tmp_path / "script.py"
    script.write_text("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    assert server.start(script, SimpleNamespace(), 1, None).wait() == (-signal.SIGKILL, None)


def test_a_server_says_when_it_has_imported(server, tmp_path):
    assert server.ready.wait(120)
    loaded = "import sys; sys.exit(0 if {'torch', 'jax', 'covary.report'} <= sys.modules.keys() else 1)"
    assert outcome(server, tmp_path, loaded) == 0
