import os
import pickle
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from coreset.corpus.snapshot import Snapshot
from coreset.energies import ENGINES, Settings
from coreset.energies.engine import execute, failure, locate, readable, require_electrons
from coreset.errors import DataError, RequestError, WorkError

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


def test_a_program_that_cannot_be_started(tmp_path: Path) -> None:
    (tmp_path / "odd").write_bytes(b"\x7fELF of another machine")
    (tmp_path / "odd").chmod(0o755)
    with pytest.raises(WorkError, match=r"^al: engine: could not be started \(.*Exec format error.*install it again"):
        execute([str(tmp_path / "odd")], tmp_path, tmp_path / "log", "al: engine")


def test_a_program_is_found_for_every_folder_that_it_is_started_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "scratch").mkdir()
    (tmp_path / "bin" / "engine").write_text("#!/bin/sh\necho 1.0\n")
    (tmp_path / "bin" / "engine").chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"bin{os.pathsep}{os.environ['PATH']}")
    found = locate("engine", "install it")
    assert found == str(tmp_path / "bin" / "engine")
    assert execute([found], tmp_path / "scratch", tmp_path / "log", "x") == "1.0\n"
    with pytest.raises(
        RequestError, match=r"^energy\.engine: expected the program no-engine .* found none; install it$"
    ):
        locate("no-engine", "install it")


def test_a_failure_names_the_way_out_and_quotes_the_last_lines() -> None:
    error = failure("al: engine", "ended with status 3", "\n".join(map(str, range(20))))
    assert str(error).startswith("al: engine: ended with status 3; try another energy.smearing ")
    assert "energy.methods or energy.rates; it printed last:\n8\n9\n" in str(error)
    assert str(failure("al: engine", "did not converge", " \n", "raise energy.smearing")) == (
        "al: engine: did not converge; raise energy.smearing; it printed last:\n(nothing)"
    )


@pytest.mark.parametrize("error", [FileNotFoundError("no run.out"), ValueError("NaN")])
def test_a_result_that_cannot_be_read_is_a_failure(error: Exception) -> None:
    with (
        pytest.raises(
            WorkError, match=rf"(?s)^x: left no result that can be read \({error}\); .* disk is full .*last$"
        ),
        readable("x", "last"),
    ):
        raise error


@pytest.mark.parametrize("error", [RequestError("ours"), DataError("ours"), WorkError("ours"), KeyError("a bug")])
def test_what_is_no_fault_of_the_files_goes_through(error: Exception) -> None:
    with pytest.raises(type(error), match=r"^'?(ours|a bug)'?$"), readable("x", "last"):
        raise error
