import pickle
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from coreset.corpus.snapshot import Snapshot
from coreset.energies import ENGINES, Settings
from coreset.energies.engine import execute, require_electrons
from coreset.errors import RequestError, WorkError

SETTINGS = Settings(cutoff=5.0, smearing=0.005)


def test_an_engine_by_its_name() -> None:
    assert list(ENGINES) == ["abinit", "sparc", "eminus"]
    for name, kind in ENGINES.items():
        made = kind(SETTINGS, Path("files"))
        assert (made.name, made.settings, made.pseudopotentials) == (name, SETTINGS, Path("files"))
        assert pickle.loads(pickle.dumps(made)) == made  # it travels to workers


def test_electrons_must_add_up(make_cell: Callable[..., Snapshot]) -> None:
    require_electrons(make_cell(electrons=4.0 + 1e-6), {1: 1.0, 13: 3.0})
    with pytest.raises(RequestError, match=r"cells/alh: expected .* 12 valence electrons in all, .* found 4"):
        require_electrons(make_cell(electrons=12.0), {1: 1.0, 13: 3.0})


def test_a_program_runs_in_its_folder_on_one_thread(tmp_path: Path) -> None:
    code = "import os; print(os.getcwd(), os.environ['OMP_NUM_THREADS'])"
    log = tmp_path / "log"
    printed = execute([sys.executable, "-c", code], tmp_path, log, "x")
    assert printed == f"{tmp_path.resolve()} 1\n" == log.read_text()


def test_a_program_that_fails_is_quoted(tmp_path: Path) -> None:
    code = "print('cause'); print('ABORT'); print('noise'); raise SystemExit(3)"
    command = [sys.executable, "-c", code]
    with pytest.raises(WorkError, match=r"(?s)^al: engine: ended with status 3; .*cause.*noise"):
        execute(command, tmp_path, tmp_path / "log", "al: engine")
    with pytest.raises(WorkError, match=r"cause$"):
        execute(command, tmp_path, tmp_path / "log", "al: engine", end="ABORT")
