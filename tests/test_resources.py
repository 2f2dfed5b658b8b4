"""Cores and memory that this process may use, on made-up trees of the system's files."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from sact_core import resources
from sact_core.backends import masked
from sact_core.backends.masked import engine as engine_module
from sact_core.config import NetworkConfig
from sact_core.parameters import init_params
from sact_core.plans import build_plan
from sact_core.processes import Processes
from tests.conftest import ROOT

GIB = 1 << 30
NONE = "9223372036854771712"  # how version 1 writes it


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def machine(root: Path, cgroup: str, mounts: str, free: int = 64 * GIB) -> None:
    write(root / "proc/meminfo", f"MemTotal: 99999999 kB\nMemAvailable: {free // 1024} kB\n")
    write(root / "proc/self/cgroup", cgroup)
    write(root / "proc/self/mountinfo", mounts)
    write(root / "proc/self/status", "VmSize:\t 1024 kB\nVmData:\t 1024 kB\n")


V2 = "30 23 0:26 {root} {at} rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = "31 23 0:{number} {root} {at} rw shared:9 master:1 - cgroup cgroup rw,{controllers}\n"


def v1_mounts(root: str = "/") -> str:
    return "".join(
        V1.format(number=number, root=root, at=f"/sys/fs/cgroup/{name}", controllers=name)
        for number, name in enumerate(["cpu,cpuacct", "memory", "pids"])
    )


def limit_v2(folder: Path, limit: str, used: int, files: int = 0, high: str = "max") -> None:
    write(folder / "memory.max", limit + "\n")
    write(folder / "memory.high", high + "\n")
    write(folder / "memory.current", f"{used}\n")
    write(folder / "memory.stat", f"anon 1\nfile 999\nactive_file {files}\ninactive_file 0\n")


def limit_v1(folder: Path, limit: str, used: int, files: int = 0, around: str = NONE) -> None:
    write(folder / "memory.limit_in_bytes", limit + "\n")
    write(folder / "memory.usage_in_bytes", f"{used}\n")
    stat = f"cache 1\nhierarchical_memory_limit {around}\ntotal_inactive_file {files}\n"
    write(folder / "memory.stat", stat)


@pytest.fixture
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)


# --- memory ---


def test_without_groups_it_is_what_the_machine_has_free(tmp_path: Path) -> None:
    machine(tmp_path, "", "22 27 0:21 / /proc rw - proc proc rw\n", free=3 * GIB)
    assert resources.available_memory(tmp_path) == 3 * GIB


def test_where_nothing_is_known_nothing_is_said(tmp_path: Path) -> None:
    assert resources.available_memory(tmp_path) is None


def test_the_smallest_limit_of_all_groups_around_counts(tmp_path: Path) -> None:
    machine(tmp_path, "0::/a.slice/b.service/c\n", V2.format(root="/", at="/sys/fs/cgroup"))
    top = tmp_path / "sys/fs/cgroup"
    limit_v2(top / "a.slice/b.service/c", "max", GIB)
    limit_v2(top / "a.slice/b.service", str(5 * GIB), 3 * GIB, files=GIB)
    limit_v2(top / "a.slice", str(8 * GIB), 4 * GIB)
    assert resources.available_memory(tmp_path) == 3 * GIB  # files can be given up
    limit_v2(top / "a.slice", str(8 * GIB), 6 * GIB)
    assert resources.available_memory(tmp_path) == 2 * GIB
    limit_v2(top / "a.slice/b.service/c", "max", GIB, high=str(GIB + 1000))
    assert resources.available_memory(tmp_path) == 1000
    limit_v2(top / "a.slice/b.service/c", str(GIB // 2), GIB)
    assert resources.available_memory(tmp_path) == 0


def test_limits_are_remembered_and_what_is_left_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network asks before every run: groups without a limit cost nothing then."""
    machine(tmp_path, "0::/a/b\n", V2.format(root="/", at="/sys/fs/cgroup"))
    top, now = tmp_path / "sys/fs/cgroup", 1000.0
    limit_v2(top / "a/b", str(3 * GIB), 3 * GIB)  # nothing is left; a limit all the same
    limit_v2(top / "a", "max", 4 * GIB)
    monkeypatch.setattr(resources, "ROOT", tmp_path)
    monkeypatch.setattr(resources, "_limited", None)
    monkeypatch.setattr(resources.time, "monotonic", lambda: now)
    assert resources.available_memory() == 0
    limit_v2(top / "a/b", str(3 * GIB), GIB)
    read = []
    text = resources._text
    monkeypatch.setattr(resources, "_text", lambda path: read.append(path) or text(path))
    assert resources.available_memory() == 2 * GIB
    assert {path.parent for path in read} == {tmp_path / "proc", top / "a/b"}
    limit_v2(top / "a", str(5 * GIB), 4 * GIB)
    assert resources.available_memory() == 2 * GIB
    now += resources.LIMITS_STAND + 1
    assert resources.available_memory() == GIB


def test_a_container_sees_its_own_group_as_the_outermost(tmp_path: Path) -> None:
    machine(tmp_path, "0::/\n", V2.format(root="/", at="/sys/fs/cgroup"))
    limit_v2(tmp_path / "sys/fs/cgroup", str(2 * GIB), GIB)
    assert resources.available_memory(tmp_path) == GIB


@pytest.mark.parametrize("root", ["/docker/0123", "/docker/4567", "/../../other"])
def test_a_container_of_version_1_with_the_host_s_names(tmp_path: Path, root: str) -> None:
    """Mounted is its own group alone, or one that its name does not lead to."""
    machine(tmp_path, "4:memory:/docker/0123\n2:cpu,cpuacct:/docker/0123\n", v1_mounts(root))
    limit_v1(tmp_path / "sys/fs/cgroup/memory", str(3 * GIB), 2 * GIB, files=GIB // 2)
    assert resources.available_memory(tmp_path) == 3 * GIB // 2


def test_nested_groups_of_version_1(tmp_path: Path) -> None:
    machine(tmp_path, "9:name=systemd:/x\n4:memory:/jobs/one\n0::/\n", v1_mounts())
    top = tmp_path / "sys/fs/cgroup/memory"
    limit_v1(top, NONE, 60 * GIB)
    limit_v1(top / "jobs", str(6 * GIB), 5 * GIB)
    limit_v1(top / "jobs/one", NONE, GIB)
    assert resources.available_memory(tmp_path) == GIB
    limit_v1(top / "jobs/one", NONE, GIB, around=str(GIB + 5))  # of a group that is not seen
    assert resources.available_memory(tmp_path) == 5


def test_both_versions_at_once_and_a_mount_point_with_a_space(tmp_path: Path) -> None:
    mounts = V2.format(root="/", at="/sys/fs/cgroup/unified") + V1.format(
        number=3, root="/", at=r"/my\040groups", controllers="memory"
    )
    machine(tmp_path, "4:memory:/a\n0::/b\n", mounts)
    limit_v1(tmp_path / "my groups/a", str(4 * GIB), GIB)
    assert resources.available_memory(tmp_path) == 3 * GIB
    limit_v2(tmp_path / "sys/fs/cgroup/unified/b", str(2 * GIB), GIB)
    assert resources.available_memory(tmp_path) == GIB


@pytest.mark.parametrize("text", ["", "nonsense", "-5", "1e9"])
def test_files_that_say_nothing_are_no_limit(tmp_path: Path, text: str) -> None:
    machine(tmp_path, f"0::/a\n{text}\n", V2.format(root="/", at="/sys/fs/cgroup") + text, free=GIB)
    write(tmp_path / "sys/fs/cgroup/a/memory.max", text)
    write(tmp_path / "sys/fs/cgroup/a/cpu.max", text)
    assert resources.available_memory(tmp_path) == GIB
    assert resources.cores(tmp_path) >= 1


@pytest.mark.parametrize("kind", ["RLIMIT_AS", "RLIMIT_DATA"])
def test_a_ulimit_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    machine(tmp_path, "", "")
    found = {getattr(resource, kind): 3 << 20}
    none = resource.RLIM_INFINITY
    monkeypatch.setattr(resource, "getrlimit", lambda which: (found.get(which, none), none))
    assert resources.available_memory(tmp_path) == 2 << 20


def test_a_run_beyond_a_ulimit_is_refused_before_it_is_begun(tmp_path: Path) -> None:
    command = f"ulimit -v 2500000; exec {sys.executable} -m sact_core.ponder"
    image, network = ROOT / "app/examples/cat.jpg", "pretrained/cifar10_resnet32_sact_tau0.05.h5"
    flags = f"{image} --checkpoint {ROOT / network} --image-size 2048 --out {tmp_path}"
    done = subprocess.run(
        ["bash", "-c", f"{command} {flags} --num-threads 1"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "1 image of 1364 x 2048 pixels needs about 3.1 GiB of memory, but " in done.stderr
    assert done.stderr.count("\n") == 1


# --- cores ---


def quota(folder: Path, text: str) -> None:
    write(folder / "cpu.max", text + "\n")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("max 100000", 8),
        ("100000 100000", 1),
        ("50000 100000", 1),
        ("1000 100000", 1),
        ("140000 100000", 1),
        ("150000 100000", 2),
        ("300000 100000", 3),
        ("9900000 100000", 8),
    ],
)
@pytest.mark.usefixtures("eight_cores")
def test_a_quota_of_time_is_counted_in_cores(tmp_path: Path, text: str, wanted: int) -> None:
    machine(tmp_path, "0::/a/b\n", V2.format(root="/", at="/sys/fs/cgroup"))
    quota(tmp_path / "sys/fs/cgroup/a", text)
    quota(tmp_path / "sys/fs/cgroup/a/b", "max 100000")
    assert resources.cores(tmp_path) == wanted


@pytest.mark.parametrize(("text", "wanted"), [("-1", 8), ("200000", 2), ("25000", 1), ("0", 8)])
@pytest.mark.usefixtures("eight_cores")
def test_a_quota_of_version_1(tmp_path: Path, text: str, wanted: int) -> None:
    machine(tmp_path, "4:memory:/\n2:cpu,cpuacct:/jobs/one\n", v1_mounts())
    top = tmp_path / "sys/fs/cgroup/cpu,cpuacct"
    write(top / "jobs/cpu.cfs_quota_us", text)
    write(top / "jobs/cpu.cfs_period_us", "100000")
    write(top / "jobs/one/cpu.cfs_quota_us", "-1")
    write(top / "jobs/one/cpu.cfs_period_us", "100000")
    assert resources.cores(tmp_path) == wanted


def test_everything_that_starts_threads_asks_for_the_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(tmp_path, "0::/\n", V2.format(root="/", at="/sys/fs/cgroup"))
    quota(tmp_path / "sys/fs/cgroup", "300000 100000")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(resources, "ROOT", tmp_path)
    monkeypatch.delenv("SACT_NUM_THREADS", raising=False)
    from sact_core.backends.masked.threads import INTERPRETED
    from sact_core.train.__main__ import _data_workers, build_parser
    from sact_core.train.start import use_threads

    assert masked.thread_count(None) == (1 if INTERPRETED else 3)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert Processes(0, 2).num_threads() == 1
    assert Processes(0, 4).num_threads() == 1
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "1")  # the others are on other machines
    assert Processes(0, 4).num_threads() == 3
    args = build_parser().parse_args([])
    assert _data_workers(args, Processes()) == 3
    assert _data_workers(args, Processes(0, 4)) == 3

    import torch

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(7)
        use_threads(None, Processes())
        assert torch.get_num_threads() == 3
        torch.set_num_threads(2)  # as OMP_NUM_THREADS says
        use_threads(None, Processes())
        assert torch.get_num_threads() == 2
        use_threads(5, Processes())
        assert torch.get_num_threads() == 5
    finally:
        torch.set_num_threads(before)


#: Prints the threads that a process in a group uses by itself, and how much longer two
#: threads take than one.
IN_A_GROUP = """
    import pathlib, statistics, sys, time
    import numpy as np
    pathlib.Path(sys.argv[1], "cgroup.procs").write_text("0")
    import sact_core
    from sact_core.backends import masked
    print(masked.thread_count(None))
    file = "pretrained/cifar10_resnet32_sact_tau0.05.h5"
    nets = [sact_core.load(file, num_threads=threads) for threads in (1, 2)]
    x, seconds = np.zeros((1, 32, 32, 3), np.uint8), ([], [])
    for _ in range(15):
        for net, taken in zip(nets, seconds):
            begin = time.perf_counter()
            for _ in range(80):  # longer than the period of a quota
                net.run(x)
            taken.append(time.perf_counter() - begin)
    print(statistics.median(two / one for one, two in zip(*seconds)))
"""


@pytest.mark.alone
def test_two_threads_with_a_quota_of_one_core_take_no_longer_than_one() -> None:
    group = next(iter(resources._groups(Path("/"), "cpu")), None)
    if group is None or not os.access(group, os.W_OK):
        pytest.skip("needs a control group that may be written to")
    inner = group / f"sact-test-{os.getpid()}"
    inner.mkdir()
    try:
        if (inner / "cpu.max").exists():
            (inner / "cpu.max").write_text("100000 100000")
        elif (inner / "cpu.cfs_quota_us").exists():
            (inner / "cpu.cfs_quota_us").write_text("100000")
        else:
            pytest.skip("the control group does not hand the processor on")
        command = [sys.executable, "-c", textwrap.dedent(IN_A_GROUP), str(inner)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    finally:
        inner.rmdir()
    threads, ratio = done.stdout.split()
    assert threads == "1"
    assert float(ratio) <= 1.2


def test_no_more_threads_work_than_there_are_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = build_plan(NetworkConfig(units_per_block=(1, 1, 1), base_channels=4))
    params, x = init_params(plan), np.ones((4, 16, 16, 3), np.float32)
    alone = masked.Engine(plan, params, num_threads=1).forward(x)
    for there, team in ((1, 1), (2, 2), (99, 3)):
        monkeypatch.setattr(engine_module, "cores", lambda there=there: there)
        engine = masked.Engine(plan, params, num_threads=3)
        assert engine.team == min(engine.num_threads, team)
        assert (engine.forward(x).logits == alone.logits).all()


# --- memory that runs out ---


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError(), "there is not enough memory; run fewer or smaller images at once"),
        (
            MemoryError("Unable to allocate 3.00 GiB for an array with shape (9,)"),
            "there is not enough memory (unable to allocate 3.00 GiB for an array with shape "
            "(9,)); run fewer or smaller images at once",
        ),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate "
                         "memory: you tried to allocate 4 bytes.\nFrames:"),
            "there is not enough memory ([enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: "
            "can't allocate memory: you tried to allocate 4 bytes.); run fewer or smaller images "
            "at once",
        ),
        (RuntimeError("can't start new thread"), None),
        (ImportError("libx.so: failed to map segment from shared object"), None),
        (RuntimeError("mat1 and mat2 shapes"), ""),
        (ImportError("cannot import name 'x'"), ""),
        (ValueError("not enough memory"), ""),
    ],
)  # fmt: skip
def test_what_says_that_memory_ran_out(error: Exception, said: str | None) -> None:
    found = resources.memory_sentence(error)
    if said is None:
        assert found is not None
        assert found.startswith("there is not enough memory (")
    else:
        assert found == (said or None)
