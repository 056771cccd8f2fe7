"""The batch script under a real Slurm of two nodes, each a host of its own on this machine."""

import contextlib
import os
import re
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.ray

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "cluster/slurm/coreset.sbatch"
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun")
CONFIGURATION = """\
ClusterName=test
SlurmctldHost=node1(192.0.2.1)
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
SlurmUser=root
SlurmdUser=root
SlurmdParameters=config_overrides
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
StateSaveLocation={folder}/state
SlurmctldPidFile={folder}/slurmctld.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdSpoolDir={folder}/%n
SlurmdPidFile={folder}/%n.pid
SlurmdLogFile={folder}/%n.log
NodeName=node1 NodeAddr=192.0.2.1 CPUs=1 State=UNKNOWN
NodeName=node2 NodeAddr=192.0.2.2 CPUs=1 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


@dataclass(frozen=True)
class Slurm:
    """Two nodes, and the folder of their configuration."""

    hosts: list[Any]
    folder: Path
    daemons: frozenset[int]

    @property
    def environment(self) -> dict[str, str]:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return {"SLURM_CONF": str(self.folder / "slurm.conf"), "SLURM_TMPDIR": str(self.hosts[0].disk), "PATH": path}

    def ask(self, *words: str) -> "subprocess.CompletedProcess[str]":
        command = ["ip", "netns", "exec", self.hosts[0].space, *words]
        return subprocess.run(command, env=os.environ | self.environment, capture_output=True, text=True, check=False)

    def left(self) -> list[list[str]]:
        """What runs on the nodes besides Slurm."""
        return [words for host in self.hosts for pid, words in host.processes().items() if pid not in self.daemons]


@pytest.fixture(scope="module")
def slurm(make_hosts: Any, wait_for: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing:
        pytest.skip(f"no Slurm here: {', '.join(missing)} of Debian's slurm-wlm and munge (make system)")
    # Not in pytest's folder, which Munge finds too open.
    folder = Path("/run") / f"coreset-slurm-{os.getpid()}"
    for part in (folder, folder / "state", folder / "node1", folder / "node2"):
        part.mkdir(mode=0o755)
    (folder / "slurm.conf").write_text(CONFIGURATION.format(folder=folder))
    key = folder / "munge.key"
    key.touch(mode=0o600)
    key.write_bytes(secrets.token_bytes(128))
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder)
        files = [f"--{name}-file={folder}/munge.{name}" for name in ("key", "pid", "log", "seed")]
        munge = subprocess.Popen(["munged", "--foreground", f"--socket={folder}/munge.socket", *files])
        stack.callback(munge.wait)
        stack.callback(munge.terminate)
        wait_for((folder / "munge.socket").exists, "Munge's socket")
        hosts = stack.enter_context(make_hosts(2))
        bare = Slurm(hosts, folder, frozenset())
        log = folder / "daemons.log"
        hosts[0].start("slurmctld", "-D", "-c", log=log, env=bare.environment)
        for host in hosts:
            host.start("slurmd", "-D", log=log, env=bare.environment)
        wait_for(lambda: bare.ask("sinfo", "--noheader", "--format=%D %T").stdout.split() == ["2", "idle"], "two nodes")
        yield Slurm(hosts, folder, frozenset(pid for host in hosts for pid in host.processes()))


def submit(slurm: Slurm, work: Any, log: Path, *arguments: str | Path) -> "subprocess.Popen[bytes]":
    options = ["--wait", "--nodes=2", "--cpus-per-task=1", f"--output={work.folder}/%j.log", f"--chdir={work.folder}"]
    command = ["ip", "netns", "exec", slurm.hosts[0].space, "sbatch", *options, str(SCRIPT), *map(str, arguments)]
    with log.open("wb") as output:
        return subprocess.Popen(command, env=os.environ | slurm.environment, stdout=output, stderr=output)


def test_a_batch_job_gives_the_same_coreset_and_leaves_nothing(
    slurm: Slurm, work: Any, wait_for: Any, tmp_path: Path
) -> None:
    out, log = tmp_path / "out", tmp_path / "sbatch.log"
    job = submit(slurm, work, log, "small.yaml", out)

    def said() -> str:
        return log.read_text() + "".join(each.read_text() for each in work.folder.glob("*.log"))

    def training() -> bool:
        assert job.poll() is None, said()
        return bool(list(out.glob("artifacts/training-*/.records/*")))

    wait_for(training, "the first training's end")
    (held,) = work.folder.glob(".coreset-*/auth_token")
    assert held.stat().st_mode & 0o777 == 0o600
    token = held.read_text().strip()
    assert re.fullmatch("[0-9a-f]{64}", token)
    for host in slurm.hosts:
        commands = [" ".join(words) for words in host.processes().values()]
        assert any("raylet" in command for command in commands), host.name
        assert not any(token in command for command in commands)

    assert job.wait() == 0, said()
    assert (out / "coreset/manifest.json").read_bytes() == work.expected()
    assert token not in said()
    wait_for(lambda: not slurm.left(), "the end of what the job started")
    assert not list(work.folder.glob(".coreset-*"))
    for daemon in slurm.daemons:
        assert not list(Path(f"/proc/{daemon}/root{slurm.hosts[0].disk}").glob("coreset-*"))


def test_a_refused_job_file_ends_the_batch_job_with_its_status(slurm: Slurm, work: Any, tmp_path: Path) -> None:
    log = tmp_path / "sbatch.log"
    assert submit(slurm, work, log, "nowhere.yaml", tmp_path / "out").wait() == 2, log.read_text()


def test_nothing_in_it_ends_processes_by_name() -> None:
    script = SCRIPT.read_text()
    for word in ("ray stop", "symmetric-run", "pkill", "killall"):
        assert word not in script
    assert subprocess.run(["bash", "-n", SCRIPT], check=False).returncode == 0
