"""What a source holds: trees, tars and mixtures; names; and files that promise a density and hold none."""

import gzip
import io
import shutil
import tarfile
from pathlib import PurePosixPath

import numpy as np
import pytest

from coreset.artifacts.executor import SerialExecutor
from coreset.corpus.checks import Checks
from coreset.corpus.formats import streams
from coreset.corpus.formats.source import FORMATS
from coreset.corpus.formats.streams import HEAD
from coreset.corpus.naming import Naming
from coreset.corpus.store import Corpus
from coreset.errors import DataError, RequestError
from coreset.stages.ingestion import ingest, open_source


@pytest.fixture
def mixture(data, write_chgcar, tmp_path):
    source = tmp_path / "source"
    shutil.copytree(data, source / "real")
    shutil.copytree(data.parent / "water" / "test", source / "sparc")
    (source / "vasp_T0300_1").mkdir()
    write_chgcar(source / "vasp_T0300_1" / "CHGCAR", spin=True)
    (source / "notes.txt").write_text("nothing to see")
    (source / "CONTCAR").write_text("nothing to see")
    (source / ".hidden").mkdir()
    shutil.copy(source / "vasp_T0300_1" / "CHGCAR", source / ".hidden")
    return source


NAMES = [
    *("real/abinit/alh-spin_DEN", "real/abinit/alh_DEN", "real/espresso/alh", "real/espresso/alh-gamma"),
    *("real/espresso/alh-gamma.save/charge-density", "real/espresso/alh.save/charge-density", "real/espresso/h-spin"),
    *("real/espresso/h-spin.save/charge-density", "real/gpaw/alh", "real/mala/Be_snapshot0.dens"),
]


def test_a_mixture_becomes_a_corpus(mixture, tmp_path):
    opened = open_source(mixture, Checks(), Naming())
    digest = ingest(opened, tmp_path / "c.zarr", SerialExecutor())
    corpus = Corpus.open(tmp_path / "c.zarr")
    (water,) = [snapshot.name for snapshot in corpus.snapshots if snapshot.name.startswith("sparc/")]
    assert [snapshot.name for snapshot in corpus.snapshots] == [*NAMES, water, "vasp_T0300_1/CHGCAR"]
    for snapshot in corpus.snapshots:
        corpus.verify(snapshot)
        integral = corpus.density(snapshot).mean(dtype=float) * snapshot.volume
        assert integral == pytest.approx(snapshot.electrons, rel=1e-5)
    chgcar = corpus.snapshots[-1]
    assert (chgcar.group, chgcar.temperature) == ("vasp_T0300_1/CHGCAR", 300.0)
    assert ingest(opened, tmp_path / "c.zarr", SerialExecutor()) == digest


def test_a_tar_of_the_tree_gives_the_same_snapshots(mixture, read_all, tmp_path):
    shutil.rmtree(mixture / "sparc")
    with tarfile.open(tmp_path / "all.tar.gz", "w:gz") as archive:
        for entry in sorted(mixture.iterdir()):
            archive.add(entry, entry.name)
    tree, tar = read_all(mixture), read_all(tmp_path / "all.tar.gz")
    assert tree.keys() == tar.keys()
    assert [one.digest for one, _ in tree.values()] == [one.digest for one, _ in tar.values()]


@pytest.mark.parametrize(
    "name", ["x.cube", "CHGCAR", "CHGCAR.gz", "a_DEN.nc", "charge-density.dat", "mp-1.json", "dens.npy"]
)
@pytest.mark.parametrize("content", [b"", b"\n", b"some text\nand more\n", bytes(range(256))])
def test_a_name_that_promises_a_density(read_all, mixture, name, content):
    (mixture / name).write_bytes(content)
    with pytest.raises((DataError, RequestError), match=rf"{mixture}/{name}"):
        read_all(mixture)


def test_nothing_found(read_all, tmp_path):
    with pytest.raises(RequestError, match=r"absent: no such file or folder; expected a density of SPARC"):
        read_all(tmp_path / "absent")
    with pytest.raises(RequestError, match=r"no density found; expected a density of SPARC \(X\.dens\), Gaussian cube"):
        read_all(tmp_path)
    (tmp_path / "x.txt").write_text("words\n")
    with pytest.raises(RequestError, match=r"x\.txt: expected .*; found a file that begins with 'words'"):
        read_all(tmp_path / "x.txt")
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        archive.add(tmp_path / "x.txt", "x.txt")
    with pytest.raises(RequestError, match=r"x\.tar: no density found"):
        read_all(tmp_path / "x.tar")


def test_two_files_of_one_name(read_all, mixture):
    shutil.copy(mixture / "real/abinit/alh_DEN.nc.gz", mixture / "real/abinit/alh_DEN.cube.gz")
    with pytest.raises(RequestError, match=r"alh_DEN\.nc\.gz and .*cube\.gz are both named real/abinit/alh_DEN"):
        read_all(mixture)


@pytest.mark.parametrize("member", ["../CHGCAR", "a/../../CHGCAR", "/etc/CHGCAR"])
def test_a_member_of_a_tar_does_not_lead_outside(write_chgcar, tmp_path, member):
    content = write_chgcar(tmp_path / "CHGCAR").read_bytes()
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        info = tarfile.TarInfo(member)
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    if ".." in member:
        with pytest.raises(RequestError, match=r"a snapshot cannot be named '\.\.'"):
            open_source(tmp_path / "x.tar", Checks(), Naming())
    else:
        ingest(open_source(tmp_path / "x.tar", Checks(), Naming()), tmp_path / "c.zarr", SerialExecutor())
        assert [snapshot.name for snapshot in Corpus.open(tmp_path / "c.zarr").snapshots] == ["etc/CHGCAR"]


def test_a_damaged_tar(read_all, mixture, tmp_path):
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        archive.add(mixture / "real", "real")
    whole = (tmp_path / "x.tar").read_bytes()
    for length in (600, len(whole) // 3, len(whole) // 2):
        (tmp_path / "x.tar").write_bytes(whole[:length])
        with pytest.raises((DataError, RequestError), match=r"x\.tar"):
            read_all(tmp_path / "x.tar")


def test_links_are_followed_but_not_in_circles(write_chgcar, read_all, tmp_path):
    (tmp_path / "source" / "a").mkdir(parents=True)
    write_chgcar(tmp_path / "source/a/CHGCAR")
    (tmp_path / "source/b").symlink_to(tmp_path / "source/a", target_is_directory=True)
    (tmp_path / "source/a/up").symlink_to(tmp_path / "source", target_is_directory=True)
    assert list(read_all(tmp_path / "source")) == ["a/CHGCAR", "b/CHGCAR"]


@pytest.mark.parametrize("line", ["9" * HEAD, "1." + "9" * HEAD, "9 " * (HEAD // 2), "1.9" * (HEAD // 3), "." * HEAD])
def test_a_long_line_of_digits_is_no_riddle(line):
    """A pattern that tries every way to divide the digits would take hours over these."""
    text = f"box\n{line}\n3.0 0 0\n{line}\n".encode()
    for format_ in FORMATS.values():
        assert not format_.recognises(text[:HEAD], "CHGCAR")
        assert not format_.recognises(b"\n" + text[: HEAD - 1], "x.cube")
        assert not format_.recognises(b"\n\n3 " + text[4 : HEAD - 5], "x")


def test_a_few_bytes_that_would_fill_the_memory_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(streams, "_EXPANDED", 2**20)
    path = tmp_path / "mp-1.json.gz"
    path.write_bytes(gzip.compress(b'{"@class": "Chgcar", "data": "' + b" " * 2**24 + b'"}'))
    with pytest.raises(DataError, match=rf"{path.name}: expected a file that expands 20-fold at most, found \d+ bytes"):
        streams.File(path, PurePosixPath(path.name)).read()
    # As large, but as much of it stored: numbers as text.
    content = np.random.default_rng(0).bytes(2**21)
    path.write_bytes(gzip.compress(content))
    assert streams.File(path, PurePosixPath(path.name)).read()[0] == content
