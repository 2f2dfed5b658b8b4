"""Pipes, sockets and devices where a file is named: refused at once, or never taken for one."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sact_core import checkpoint as checkpoints
from sact_core import files
from tests.fuzz.kinds import command, networks, photograph

NETWORK = ["--checkpoint", "net.h5", "--backend", "reference"]
#: Commands that read a small file whole, and one that begins to read a large one.
READS = {
    "boxes": ("objects", ["photo.png", *NETWORK, "--boxes", "it"]),
    "curve": ("figure", ["curve", "it.json", "--out", "out.md"]),
    "curve_beside": ("figure", ["curve", "net.h5", "--out", "out.md"]),
    "class_names": ("import_tf", ["nothing", "--class-names", "it", "--out", "out.h5"]),
    "names": ("import_torch", ["it", "--as", "cifar", "--names", "it.json", "--out", "out.h5"]),
    "state_dict": ("import_torch", ["it", "--as", "cifar", "--out", "out.h5"]),
    "answers": ("doubt", [*NETWORK, "--labels", "it"]),
    "checkpoint": ("ponder", ["photo.png", "--checkpoint", "it", "--out", "out"]),
    "maps": ("draw_maps", ["it", "--out", "out"]),
    "results": (
        "benchmark",
        [
            "infer",
            "--only",
            "resnet32-batch1",
            "--ratios",
            "1",
            "--threads",
            "1",
            "--sides",
            "masked",
            "vanilla",
            "--against",
            "it",
        ],
    ),
    "archive": ("prepare", ["birds", "--archive", "it", "--data-dir", "data"]),
}
NAMES = ("it", "it.json", "net.curve.json")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    checkpoints.write("net.h5", networks()[0])
    photograph(Path("photo.png"))
    return tmp_path


@pytest.fixture
def ended() -> Iterator[Callable[[str], None]]:
    """Pipes of which nothing comes; they end after a while, so that nothing waits for ever."""
    made: list[str] = []

    def end() -> None:
        for name in made:
            os.close(os.open(name, os.O_RDWR | os.O_NONBLOCK))

    def make(name: str) -> None:
        os.mkfifo(name)
        made.append(os.path.abspath(name))

    timer = threading.Timer(30, end)
    timer.daemon = True
    timer.start()
    yield make
    timer.cancel()


@pytest.mark.parametrize("name", READS)
def test_a_pipe_is_not_waited_for(place, ended, capsys, name):
    for each in NAMES:
        ended(each)
    which, argv = READS[name]
    assert command(which)(argv) == 2
    said = capsys.readouterr().err
    assert "is no ordinary file" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("name", READS)
def test_a_device_that_never_ends_is_not_read(place, capsys, name):
    for each in NAMES:
        os.symlink("/dev/zero", each)
    which, argv = READS[name]
    assert command(which)(argv) == 2
    assert "is no ordinary file" in capsys.readouterr().err


#: What writes a file, and says that --force replaces one.
WRITES = {
    "figure": ("figure", ["curve", "some.json", "--out", "it.md"]),
    "import_tf": ("import_tf", ["nothing", "--out", "it.md"]),
    "average": ("average", ["net.h5", "net.h5", "--out", "it.md"]),
    "export_maps": ("export_maps", ["photo.png", *NETWORK, "--out", "it.md"]),
    "export_onnx": ("export_onnx", ["net.h5", "--out", "it.md"]),
    "plot": ("evaluate", [*NETWORK, "--sizes", "8", "--plot", "it.png"]),
    "html": ("ponder", ["photo.png", *NETWORK, "--html", "it.html"]),
}


@pytest.mark.parametrize("force", [[], ["--force"]])
@pytest.mark.parametrize("name", WRITES)
def test_a_device_is_never_replaced(place, capsys, name, force):
    """As ``--out /dev/null`` would be, by root: a file would stand there from then on."""
    which, argv = WRITES[name]
    os.mkfifo("there")
    os.symlink("there", argv[-1])  # as /dev/stdout is
    assert command(which)([*argv, *force]) == 2
    said = capsys.readouterr().err
    assert f"{argv[-1]} is no ordinary file, so it is not replaced" in said
    assert Path(argv[-1]).is_symlink()
    assert Path("there").is_fifo()
    with pytest.raises(OSError, match="so it is not replaced"):
        files.write_bytes(argv[-1], b"x")


def test_a_socket_is_no_file(tmp_path):
    with socket.socket(socket.AF_UNIX) as there:
        there.bind(str(tmp_path / "it"))
        with pytest.raises(ValueError, match="it is no ordinary file"):
            files.require_ordinary(tmp_path / "it")


def test_a_small_file_is_read_whole(tmp_path):
    path = tmp_path / "it"
    path.write_bytes(b"12345")
    assert files.read_small(path, 5, "digits") == b"12345"
    with pytest.raises(ValueError, match="it has more than 4 bytes, too many for digits"):
        files.read_small(path, 4, "digits")
    with pytest.raises(IsADirectoryError):
        files.read_small(tmp_path, 4, "digits")


@pytest.mark.parametrize(
    ("which", "argv"), [READS["boxes"], READS["curve"], READS["class_names"], READS["results"]]
)
def test_a_file_of_gigabytes_is_not_read(place, capsys, which, argv):
    for name in ("it", "it.json"):
        with open(name, "wb") as file:
            file.truncate(1 << 40)
    assert command(which)(argv) == 2
    assert "bytes, too many for" in capsys.readouterr().err


def test_class_names_of_windows(tmp_path):
    from sact_core.commands import read_class_names

    path = tmp_path / "names.txt"
    path.write_bytes("\ufeffcat\r\ndog\r\n".encode())
    assert read_class_names(str(path)) == ("cat", "dog")


def test_boxes_of_windows(tmp_path):
    from sact_core.measures.boxes import read_boxes

    path = tmp_path / "boxes.json"
    path.write_text("\ufeff" + json.dumps({"boxes": {"a": [[0, 0, 1, 1]]}}), "utf-8")
    assert read_boxes(path).by_name == {"a": [(0, 0, 1, 1)]}


def test_a_run_with_pipes_for_files(place, ended):
    """As somebody's folder may have them, which the Runs page searches."""
    from app.runs import run_dir as page
    from sact_core.train import RunError, read_metrics, read_points, run_dir

    os.mkdir("run")
    for name in ("config.json", "metrics.jsonl", "watch.jsonl", "points.jsonl"):
        ended(f"run/{name}")
    assert read_metrics("run") == read_points("run") == []
    with pytest.raises(RunError, match="is damaged"):
        run_dir.RunDir("run").recorded()
    with pytest.raises(ValueError, match="no ordinary file"):
        page._text(Path("run/config.json"))


def test_pipes_beside_a_checkpoint(place, ended):
    from app import stated
    from app.records import Model

    for ending in ("curve", "sizes"):
        ended(f"net.{ending}.json")
    model = Model.__new__(Model)
    object.__setattr__(model, "source", place / "net.h5")
    assert stated.curve(model) == stated.sizes(model) == []
