"""The steps of a Dockerfile without a container engine: python -m tests.containers

Reads the instructions that ours uses. Run as root on Linux, builds each stage in an overlay
of this machine's own root and starts the result there, read-only and as the user that it
names, until its health check says that it is well. Not a test: it installs everything, which
takes minutes, and needs `unshare`.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.conftest import ROOT

#: What is tried inside: a shipped network, whose kernels are compiled into /cache.
RUNS = """
import numpy as np, sact_core
print(sact_core.load("cifar10-anytau").run(np.zeros((1, 32, 32, 3), np.uint8)).flops)
"""

#: What the base image would set; our copy of Python finds its own library.
BASE = {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin", "LD_LIBRARY_PATH": "/usr/local/lib"}


@dataclass
class Stage:
    """One ``FROM``: its steps, in order, and what holds at its end."""

    base: str
    name: str
    steps: list[tuple[str, str]] = field(default_factory=list)

    def last(self, instruction: str) -> str:
        """The argument of the last one of a kind."""
        return [words for kind, words in self.steps if kind == instruction][-1]

    def all(self, instruction: str) -> list[str]:
        """The arguments of all of a kind."""
        return [words for kind, words in self.steps if kind == instruction]

    @property
    def env(self) -> dict[str, str]:
        """What its ``ENV`` instructions set, as written."""
        pairs = [pair.partition("=") for words in self.all("ENV") for pair in shlex.split(words)]
        return {name: value for name, _, value in pairs}

    @property
    def command(self) -> list[str]:
        """Its ``CMD``."""
        return list(json.loads(self.last("CMD")))

    @property
    def health(self) -> str:
        """What its ``HEALTHCHECK`` runs in a shell."""
        return self.last("HEALTHCHECK").partition(" CMD ")[2]


def read_dockerfile(path: Path = ROOT / "Dockerfile") -> list[Stage]:
    """Read the stages of a Dockerfile whose instructions are of one line each."""
    stages: list[Stage] = []
    for line in path.read_text().splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        kind, _, words = line.partition(" ")
        if kind == "FROM":
            base, _, name = words.partition(" AS ")
            stages.append(Stage(base, name))
        else:
            stages[-1].steps.append((kind, words))
    return stages


def main() -> int:
    """Build and start; 1 where a step fails or the app does not get well."""
    parser = argparse.ArgumentParser(prog="python -m tests.containers", description=__doc__)
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "sact-container")
    parser.add_argument("--torch-index", help="instead of the Dockerfile's TORCH_INDEX")
    parser.add_argument("--built", action="store_true", help="start what --work has from before")
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.inside is None:  # mounts of its own, gone when it ends
        again = ["unshare", "--mount", "--propagation", "private", sys.executable, "-m"]
        return subprocess.run(
            [*again, "tests.containers", *sys.argv[1:], "--inside", "1"]
        ).returncode
    args.work.mkdir(exist_ok=True)
    stages = read_dockerfile()
    if args.built:
        _mount(args.work, "last")
    else:
        for stage in stages:
            _build(stage, args.work, {"TORCH_INDEX": args.torch_index} if args.torch_index else {})
    return _serve(stages[-1], args.work / "root-last")


def _build(stage: Stage, work: Path, arguments: dict[str, str]) -> None:
    name = stage.name or "last"
    root = _overlay(work, name)
    env = BASE | {k: v for k, v in os.environ.items() if k.startswith("PIP_")}
    folder, user = "/", "0:0"
    for kind, words in stage.steps:
        print(f"{name}: {kind} {words}", flush=True)
        if kind in ("ENV", "ARG"):
            for pair in shlex.split(words):
                key, _, value = pair.partition("=")
                env[key] = arguments.get(key) or re.sub(
                    r"\$(\w+)", lambda found: env.get(found[1], ""), value
                )
        elif kind == "WORKDIR":
            folder = words
            (root / folder.strip("/")).mkdir(parents=True, exist_ok=True)
        elif kind == "USER":
            user = words
        elif kind == "COPY":
            _copy(words, root, folder, work)
        elif kind == "RUN":
            _inside(root, folder, user, env, ["sh", "-euc", words]).check_returncode()


def _overlay(work: Path, name: str) -> Path:
    """This machine's root with a Python of its own, without what was installed for us."""
    for part in ("upper", "scratch"):
        shutil.rmtree(work / f"{part}-{name}", ignore_errors=True)
    root = _mount(work, name)
    library = Path(sysconfig.get_path("stdlib"))
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    skip = shutil.ignore_patterns("site-packages", "test", "__pycache__")
    shutil.copytree(library, root / "usr/local/lib" / version, ignore=skip, dirs_exist_ok=True)
    (root / "usr/local/lib" / version / "site-packages").mkdir(exist_ok=True)
    for shared in Path(sysconfig.get_config_var("LIBDIR")).glob("libpython*"):
        shutil.copy(shared, root / "usr/local/lib")
    for link in ("python", "python3", version):
        shutil.copy(Path(sys.executable).resolve(), root / "usr/local/bin" / link)
    return root


def _mount(work: Path, name: str) -> Path:
    root, upper, scratch = (work / f"{part}-{name}" for part in ("root", "upper", "scratch"))
    for folder in (root, upper, scratch):
        folder.mkdir(exist_ok=True)
    options = f"lowerdir=/,upperdir={upper},workdir={scratch}"
    subprocess.run(["mount", "-t", "overlay", "none", "-o", options, root], check=True)
    for each in ("proc", "dev"):
        subprocess.run(["mount", "--rbind", f"/{each}", root / each], check=True)
    return root


def _copy(words: str, root: Path, folder: str, work: Path) -> None:
    source = ROOT
    if words.startswith("--from="):
        stage, _, words = words.removeprefix("--from=").partition(" ")
        source = work / f"root-{stage}"
    *files, target = words.split()
    where = root / (target if target.startswith("/") else f"{folder}/{target}").lstrip("/")
    for file in files:
        path = source / file.lstrip("/")
        if path.is_dir():
            skip = shutil.ignore_patterns("__pycache__") if source == ROOT else None
            shutil.copytree(path, where, symlinks=True, ignore=skip, dirs_exist_ok=True)
        else:
            where.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, where)


def _inside(
    root: Path, folder: str, user: str, env: dict[str, str], command: list[str]
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(_command(root, folder, user, command), env=env)


def _command(root: Path, folder: str, user: str, command: list[str]) -> list[str]:
    uid, _, gid = user.partition(":")
    who = ["setpriv", f"--reuid={uid}", f"--regid={gid or uid}", "--clear-groups"]
    enter = ["sh", "-c", 'cd "$1" && shift && exec "$@"', "enter", folder]
    return ["/usr/sbin/chroot", str(root), *who, *enter, *command]


def _serve(stage: Stage, root: Path) -> int:
    """Start it as ``docker run --read-only --tmpfs /tmp -v …:/cache -v …:/data`` would."""
    volumes = stage.last("VOLUME").split()
    for volume in volumes:  # stays writable, and its owner's, below a root that does not
        (root.parent / "volumes").mkdir(exist_ok=True)
        where = root.parent / "volumes" / volume.strip("/")
        shutil.rmtree(where, ignore_errors=True)
        shutil.copytree(root / volume.strip("/"), where)
        shutil.chown(where, *map(int, stage.last("USER").split(":")))
    subprocess.run(["mount", "-o", "remount,ro", root], check=True)
    for volume in volumes:
        where = root.parent / "volumes" / volume.strip("/")
        subprocess.run(["mount", "--bind", where, root / volume.strip("/")], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "none", root / "tmp"], check=True)
    env = dict(BASE)
    for name, value in stage.env.items():
        env[name] = value.replace("$PATH", env["PATH"])
    place = (root, stage.last("WORKDIR"), stage.last("USER"))
    assert _inside(*place, env, ["sh", "-c", "! touch /opt/sact/x 2>/dev/null"]).returncode == 0
    began = time.perf_counter()
    with subprocess.Popen(_command(*place, stage.command), env=env) as server:
        try:
            while server.poll() is None and time.perf_counter() - began < 120:
                time.sleep(1)
                done = subprocess.run(
                    _command(*place, ["sh", "-c", stage.health]), env=env, capture_output=True
                )
                if done.returncode == 0:
                    print(f"well after {time.perf_counter() - began:.0f} s")
                    _inside(*place, env, ["python", "-c", RUNS]).check_returncode()
                    _inside(*place, env, ["sh", "-c", "id; du -sh /opt/sact /cache/*"])
                    input("Enter ends it\n") if sys.stdin.isatty() else None
                    return 0
        finally:
            server.terminate()
    print("it did not get well", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
