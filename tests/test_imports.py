"""Imports point one way, and a light import stays light.

The order is that of the map of the code: families, config, halting, network, plans, flops,
checkpoint, preprocess, backends, data and files of maps, commands, app. A new
module gets its place in `LEVELS`; commands are found by themselves.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

from sact_core.checkpoint import Checkpoint, write
from sact_core.config import NetworkConfig, Preprocessing
from sact_core.parameters import init_params
from sact_core.plans import build_plan
from tests.conftest import ROOT

#: Modules of one line do not import each other; lower lines never import higher ones.
LEVELS = [
    ["rendezvous", "resources", "texts", "wire"],
    ["files"],
    [
        "ahead",
        "extras",
        "families",
        "processes",
        "provenance",
        "settings",
        "shipped",
        "untrusted_hdf5",
        "untrusted_json",
    ],
    ["config", "halting", "tables"],
    ["network", "result", "taus"],
    ["flops", "parameters", "plans", "quantisation"],
    ["checkpoint"],
    ["preprocess"],
    ["backends"],
    ["data"],
    ["measures"],
    ["maps", "viewer"],
    ["handout"],
    ["widget"],
    ["commands"],
    ["calibrate", "export_onnx", "figure", "ponder_files", "train"],
    ["(every other command)"],
    ["app"],
]
HEAVY = (
    *("torch", "tensorflow", "tensorflow_datasets", "numba", "streamlit", "plotly", "matplotlib"),
    *("onnx", "onnxruntime", "openvino"),
)


def modules():
    """Every Python file of the program, as ``{dotted name: path}``."""
    found = {}
    for package in ("sact_core", "app"):
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            parts = parts[:-1] if parts[-1] == "__init__" else parts
            found[".".join(parts)] = path
    found["streamlit_app"] = ROOT / "streamlit_app.py"
    return {name: path for name, path in found.items() if path.exists()}


def commands():
    """Names of what ``python -m sact_core.…`` runs: modules and packages with a main part."""
    found = {path.parent.name for path in (ROOT / "sact_core").glob("*/__main__.py")}
    for path in (ROOT / "sact_core").glob("*.py"):
        if 'if __name__ == "__main__"' in path.read_text():
            found.add(path.stem)
    return sorted(found)


MODULES = modules()
COMMANDS = commands()
LEVEL = dict.fromkeys(COMMANDS, LEVELS.index(["(every other command)"]))
LEVEL |= {name: i for i, names in enumerate(LEVELS) for name in names if name.isidentifier()}


def imported(path, *, at_import_only=False):
    """Give the dotted names that a file imports, as ``{name: line}``.

    With ``at_import_only``, those alone that are imported when the module is:
    neither inside a function nor for the type checker only.
    """
    found = {}

    def visit(node):
        for child in ast.iter_child_nodes(node):
            if at_import_only:
                if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                    continue
                if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                    continue
            if isinstance(child, ast.Import):
                found.update({alias.name: child.lineno for alias in child.names})
            elif isinstance(child, ast.ImportFrom):
                assert child.level == 0, f"{path}:{child.lineno}: write imports out in full"
                for alias in child.names:
                    whole = f"{child.module}.{alias.name}"
                    # ``from package import module`` or ``from module import name``
                    found[whole if whole in MODULES else child.module] = child.lineno
            visit(child)

    visit(ast.parse(path.read_text()))
    return found


def part_of(module):
    """Give the line of the map that a module stands on; None for the package's own front."""
    if module == "sact_core":
        return None
    head, *rest = module.split(".")
    return "app" if head in ("app", "streamlit_app") else rest[0]


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_one_way(module):
    part = part_of(module)
    if part is None:
        return  # the front names everything below the data
    assert part in LEVEL, f"{module} has no place in the map: give it one in LEVELS"
    for name, line in imported(MODULES[module]).items():
        if name.split(".")[0] not in ("sact_core", "app", "streamlit_app"):
            continue
        other = part_of(name)
        where = f"{module}:{line} imports {name}"
        if other is None:
            # The front is for users; inside, only the version may come from it.
            assert part == "app" or imports_only_version(MODULES[module]), where
        elif other != part:
            assert other in LEVEL, f"{where}, which has no place in the map"
            assert LEVEL[other] < LEVEL[part], f"{where}, against the order of the map"


def circles(graph):
    """Give the sets of modules that import one another, straight or through others."""
    found, order, on_way = [], {}, []

    def visit(module):
        """Give the earliest module on the way here that this one leads back to (Tarjan 1972)."""
        earliest = order[module] = len(order)
        on_way.append(module)
        for other in graph[module]:
            if other not in order:
                earliest = min(earliest, visit(other))
            elif other in on_way:
                earliest = min(earliest, order[other])
        if earliest == order[module]:
            circle = {on_way.pop()}
            while module not in circle:
                circle.add(on_way.pop())
            found.extend([circle] if len(circle) > 1 else [])
        return earliest

    for module in graph:
        if module not in order:
            visit(module)
    return found


def test_no_modules_import_each_other_in_a_circle():
    """Inside a part too, wherever in a module the import stands."""
    graph = {
        module: [name for name in imported(path) if name in MODULES and name != module]
        for module, path in MODULES.items()
    }
    assert circles(graph) == []


def test_a_circle_is_seen():
    straight = {"a": ["b", "c"], "b": ["c"], "c": []}
    assert circles(straight) == []
    assert circles(straight | {"c": ["b"]}) == [{"b", "c"}]
    assert circles(straight | {"c": ["d"], "d": ["a"]}) == [{"a", "b", "c", "d"}]


def imports_only_version(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "sact_core":
            for alias in node.names:
                if f"sact_core.{alias.name}" not in MODULES and alias.name != "__version__":
                    return False
        if isinstance(node, ast.Import) and any(alias.name == "sact_core" for alias in node.names):
            return False
    return True


def test_the_map_names_no_module_that_is_gone():
    parts = {part_of(module) for module in MODULES}
    assert set(LEVEL) - parts == set()
    assert {"train", "import_tf", "ponder"} <= set(COMMANDS)


def test_backends_share_no_arithmetic():
    for module, others in (
        ("reference", ("masked", "dense")),
        ("masked", ("reference", "dense")),
        ("dense", ("reference", "masked")),
    ):
        for name, path in MODULES.items():
            if name.startswith(f"sact_core.backends.{module}"):
                for other in others:
                    bad = [i for i in imported(path) if i.startswith(f"sact_core.backends.{other}")]
                    assert not bad, f"{name} imports {bad}"


def test_naive_code_restates_and_does_not_borrow():
    assert not any(name.startswith("sact_core") for name in imported(ROOT / "tests" / "naive.py"))


@pytest.mark.parametrize("module", [name for name in MODULES if name.startswith("app.figures")])
def test_figures_know_no_streamlit(module):
    assert not any(name.split(".")[0] == "streamlit" for name in imported(MODULES[module]))


def test_parts_of_the_app_without_streamlit_load_none():
    """Those whose docstring says so: records, and what turns them into text and figures."""
    plain = sorted(
        name
        for name, path in MODULES.items()
        if name.startswith("app.")
        and "no Streamlit" in (ast.get_docstring(ast.parse(path.read_text())) or "")
    )
    promised = ("records", "views", "exports", "families", "halting_lab.rule", "runs.run_dir")
    assert {f"app.{name}" for name in promised} <= set(plain)
    code = (
        "import importlib, json, sys\n"
        "bad = []\n"
        "for name in sys.argv[1:]:\n"
        "    importlib.import_module(name)\n"
        "    if 'streamlit' in sys.modules: bad.append(name); break\n"
        "print(json.dumps(bad))"
    )
    assert run_fresh(code, *plain) == []


@pytest.mark.parametrize("module", [name for name in MODULES if name.startswith("sact_core")])
def test_the_core_knows_no_app(module):
    bad = [
        n for n in imported(MODULES[module]) if n.split(".")[0] in ("streamlit", "app", "plotly")
    ]
    # Inside a function, the benchmark draws with Plotly and `app` starts Streamlit.
    allowed = {"sact_core.app": "streamlit"} | {
        name: "plotly" for name in MODULES if part_of(name) == "benchmark"
    }
    assert not bad or {n.split(".")[0] for n in bad} == {allowed.get(module)}


# --- fresh interpreters ---


def run_fresh(code, *args):
    """Run code in a fresh interpreter; give what it printed as JSON."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *map(str, args)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


LOADED = f"print(json.dumps([m for m in {HEAVY!r} if m in sys.modules]))"


def test_importing_the_package_is_light():
    assert run_fresh(f"import json, sys, sact_core; {LOADED}") == []


def test_importing_the_package_is_quick():
    # Of the processor: the machine may be busy.
    code = (
        "import json, time, numpy; begin = time.process_time(); import sact_core;"
        "print(json.dumps(time.process_time() - begin))"
    )
    assert run_fresh(code) < 0.5


def test_every_public_name_is_there():
    import sact_core

    assert len(set(sact_core.__all__)) == len(sact_core.__all__)
    for name in sact_core.__all__:
        assert getattr(sact_core, name) is not None


def test_reading_a_checkpoint_and_running_it_needs_no_torch(tmp_path):
    config = NetworkConfig(units_per_block=(2, 1, 1), base_channels=4, halting="sact")
    path = tmp_path / "net.h5"
    write(path, Checkpoint(config, init_params(build_plan(config)), Preprocessing()))
    code = (
        "import json, sys, numpy as np, sact_core;"
        "net = sact_core.load(sys.argv[1], backend='reference');"
        "result = net.run(np.zeros((1, 32, 32, 3), np.uint8));"
        "assert result.logits.shape == (1, 10);"
    )
    assert run_fresh(code + LOADED, path) == []


def test_the_masked_engine_needs_no_torch():
    code = "import json, sys, sact_core.backends as b; b.backend_module('masked');" + LOADED
    assert "torch" not in run_fresh(code)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_light_and_quick(command):
    module = f"sact_core.{command}"
    code = (
        "import json, runpy, sys, time\n"
        "begin = time.process_time()\n"
        f"sys.argv = ['{command}', '--help']\n"
        "out, sys.stdout = sys.stdout, __import__('io').StringIO()\n"
        "try:\n"
        f"    runpy.run_module('{module}', run_name='__main__')\n"
        "except SystemExit as end:\n"
        "    assert not end.code, end.code\n"
        "text, sys.stdout = sys.stdout.getvalue(), out\n"
        "assert 'usage' in text, text\n"
        "seconds = time.process_time() - begin\n"
        f"print(json.dumps([seconds, [m for m in {HEAVY!r} if m in sys.modules]]))"
    )
    seconds, loaded = run_fresh(code)
    assert loaded == []
    assert seconds < 2


def test_the_sources_name_no_place_of_one_machine():
    here = {f"{place}/" for place in (ROOT.parent, Path.home()) if place != place.parent}
    for path in MODULES.values():
        text = path.read_text()
        for place in here | {"/home/", "/root/"}:
            assert place not in text, f"{path} names {place}"
