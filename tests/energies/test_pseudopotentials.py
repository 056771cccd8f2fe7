from pathlib import Path

import pytest

from coreset.energies.pseudopotentials import find, read
from coreset.errors import RequestError


def _write(path: Path, number: int, valence: float, functional: int = 11, code: int = 8) -> Path:
    path.write_text(
        f"X  ONCVPSP-4.0.1\n {number:.4f}  {valence:.4f}  220721  zatom,zion,pspd\n"
        f" {code} {functional} 2 4 600 0  pspcod,pspxc,lmax,lloc,mmax,r2well\n"
    )
    return path


def test_files_are_known_by_their_headers(tmp_path: Path) -> None:
    _write(tmp_path / "b.psp8", 1, 1)
    _write(tmp_path / "a.psp8", 8, 6)
    (tmp_path / "README").write_text("not one of them")
    found = find(tmp_path, [8, 1, 8])
    assert [(number, file.valence, file.path.name) for number, file in found.items()] == [
        (1, 1.0, "b.psp8"),
        (8, 6.0, "a.psp8"),
    ]


@pytest.mark.parametrize("folder", [None, Path("nowhere")])
def test_no_folder(folder: Path | None) -> None:
    with pytest.raises(RequestError, match=r"energy\.pseudopotentials: expected a folder .* found n"):
        find(folder, [1])


def test_an_element_without_a_file(tmp_path: Path) -> None:
    _write(tmp_path / "h.psp8", 1, 1)
    with pytest.raises(RequestError, match=r"expected a pseudopotential \(\*\.psp8\) of O, found those of H"):
        find(tmp_path, [1, 8])


def test_an_element_with_two_files(tmp_path: Path) -> None:
    _write(tmp_path / "soft.psp8", 8, 6)
    _write(tmp_path / "hard.psp8", 8, 6)
    assert find(tmp_path, []) == {}
    with pytest.raises(RequestError, match=r"one pseudopotential of O, found hard\.psp8, soft\.psp8"):
        find(tmp_path, [8])


def test_functionals_that_differ(tmp_path: Path) -> None:
    _write(tmp_path / "h.psp8", 1, 1)
    _write(tmp_path / "o.psp8", 8, 6, functional=-1012)
    with pytest.raises(RequestError, match=r"one exchange–correlation functional \(pspxc\), found 11 .*, -1012 "):
        find(tmp_path, [1, 8])


@pytest.mark.parametrize("text", ["", "X\n\n\n", "X\n 1 1 1\n 6 2 2\n", "X\n 0 1 1\n 8 11 2\n", "X\n Z v d\n 8 11\n"])
def test_a_file_that_is_no_psp8(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.psp8"
    path.write_text(text)
    with pytest.raises(RequestError, match=r"x\.psp8: expected the header of a psp8 file"):
        read(path)
