"""What docs/what_maps_know.md says: its numbers are those of its tables, and the networks' own.

The page's tables are of all images; what is run here is a part of them, so that it takes
seconds.
"""

from __future__ import annotations

import importlib.util
import re

import numpy as np
import pytest

import sact_core
from sact_core.damage.kinds import damage
from sact_core.damage.worst import dearer
from sact_core.data.splits import open_split
from sact_core.doubt.findings import find
from sact_core.measures.cat2000 import stimuli
from sact_core.measures.passes import Pass, run_pass
from sact_core.measures.people import Joined, join, read_answers
from sact_core.measures.saliency import score
from tests.conftest import ROOT, need_shared

PAGE = ROOT / "docs" / "what_maps_know.md"
TABLES = ROOT / "docs" / "what_maps_know"
#: A number with its interval, as the tables of the commands have it.
TOLD = re.compile(r"[+−-]?\d+\.\d+ \([+−-]?\d+\.\d+ to [+−-]?\d+\.\d+\)")
COUNT = 1000
#: By the highest strength, on the first 200 images.
MFLOPS_RISEN = {"noise": 7.97, "pixelation": -5.68}


def test_every_interval_of_the_page_stands_in_a_table_of_a_command() -> None:
    known = {n for path in TABLES.glob("*.[mt]*") for n in TOLD.findall(path.read_text())}
    told = TOLD.findall(" ".join(PAGE.read_text().split()))  # also those on two lines
    assert len(told) > 40
    assert not set(told) - known


def test_the_pages_tables_are_those_of_the_commands() -> None:
    spec = importlib.util.spec_from_file_location("fill", TABLES / "fill.py")
    assert spec is not None
    assert spec.loader is not None
    fill = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fill)
    page = PAGE.read_text()
    assert len(fill.MARK.findall(page)) == page.count("<!-- rows of ") == 7
    assert fill.filled(page) == page
    assert fill.filled(page.replace("| 7.00 (6.44 to 7.57) |", "| 7 |")) == page


def test_the_page_says_of_the_worst_case_what_the_command_says() -> None:
    rows = re.findall(
        r"^\| .* \| ([\d.]+)(?: ± ([\d.]+))? \| ([\d.]+) % \|$", PAGE.read_text(), re.M
    )
    assert len(rows) == 7
    said = (TABLES / "worst.txt").read_text()
    dense = float(re.findall(r"dense ([\d.]+) MFLOPs", said)[0])
    for mean, spread, share in rows:
        assert float(share) == pytest.approx(100 * float(mean) / dense, abs=0.06)
        assert spread in said
        found = mean if mean != "114.1" else f"{share}%"  # the command says that as a share
        assert re.search(rf"(?<![\d.]){found}(?![\d.])", said), mean


def test_no_real_correlation_of_the_page_is_one_of_shuffled_answers() -> None:
    lines = [row for row in (TABLES / "doubt.md").read_text().splitlines() if row[:3] == "| R"]
    rows = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in lines]
    told = [[float(n) for n in re.findall(r"[+-]?\d+\.\d+", f"{row[4]} {row[9]} {row[10]}")]
            for row in rows if "+" in row[4]]  # fmt: skip
    assert len(told) == 10
    for real, *_, mean, low, high, p in told:
        assert abs(mean) <= 0.001
        assert low < 0 < high < real
        assert p == 0.001


def test_every_file_that_the_page_shows_is_there_and_small() -> None:
    shown = re.findall(r"\((what_maps_know/[^)]+)\)", PAGE.read_text())
    assert len(shown) >= 6
    for name in shown:
        assert (ROOT / "docs" / name).stat().st_size < 400_000, name


def test_every_table_holds_its_command() -> None:
    for path in TABLES.glob("*.md"):
        assert "\ncommand: python -m sact_core." in path.read_text(), path


@pytest.fixture(scope="module")
def seen() -> tuple[Pass, Joined]:
    """The network for any tau at its own price, on the first thousand test images."""
    source = open_split("cifar10", "test", need_shared("tensorflow_datasets"))
    answers = read_answers(need_shared("human", "cifar10h-counts.npy"))
    one = run_pass(sact_core.load("cifar10-anytau", precision="float32"), source, COUNT)
    return one, join(answers, one.names, one.labels, 10)


def test_cost_knows_a_little_of_peoples_doubt_and_late(seen: tuple[Pass, Joined]) -> None:
    """On all images +0.110; late blocks know it, the first one does not."""
    found = find(*seen, resamples=200)
    assert (found["accuracy"], found["agreement"]) == (pytest.approx(0.927, abs=0.002), 0.99)
    known = found["correlations"]["ponder_cost"]["people_entropy"]
    assert known["plain"][0] == pytest.approx(0.1106, abs=0.005)
    assert known["plain"][1] > 0
    assert known["given_busy_class_entropy"][0] == pytest.approx(0.0765, abs=0.005)
    blocks = [found["correlations"][f"block{i}"]["people_entropy"]["plain"][0] for i in (1, 2, 3)]
    assert blocks[2] > blocks[0] + 0.05
    own = found["correlations"]["network_entropy"]["people_entropy"]["plain"][0]
    assert own == pytest.approx(0.2711, abs=0.005)


def test_cost_foretells_errors_and_adds_nothing_to_confidence(seen: tuple[Pass, Joined]) -> None:
    """On all images 0.607 against 0.892, and no gain from both."""
    errors = find(*seen, resamples=200)["errors"]
    assert errors["auroc"]["ponder_cost"][0] == pytest.approx(0.6133, abs=0.005)
    assert errors["auroc"]["ponder_cost"][1] > 0.5
    assert errors["auroc"]["unsure"][0] == pytest.approx(0.9161, abs=0.005)
    assert errors["gain_of_cost"][1] < errors["gain_of_cost"][0] < 0.005


def test_shuffled_answers_give_nothing(seen: tuple[Pass, Joined]) -> None:
    """Of all images -0.020 to +0.020; of a thousand ones the root of ten wider."""
    found = find(*seen, resamples=20)
    for name, null in found["null"].items():
        mean, low, high = null["shuffled"]
        assert mean == pytest.approx(0, abs=0.004), name
        assert (low, high) == pytest.approx((-0.062, 0.062), abs=0.012), name
    assert found["null"]["ponder_cost"]["p"] < 0.01
    assert found["null"]["block1"]["p"] > 0.05


def test_noise_makes_images_dearer_pixelation_cheaper_and_neither_helps() -> None:
    """On 2,000 images +9.48 and -5.71 MFLOPs, of 80.65; accuracy from 92 to 26 and 40 %."""
    source = open_split("cifar10", "test", need_shared("tensorflow_datasets"))
    net = sact_core.load("cifar10-anytau", precision="float32")
    whole = run_pass(net, source, 200)
    risen, right = {}, {}
    for kind in ("noise", "pixelation"):
        one = run_pass(net, source, 200, lambda pixels, i, k=kind: damage(pixels, k, 5, i))
        risen[kind], right[kind] = (one.flops - whole.flops).mean() / 1e6, one.right.mean()
    assert risen == {k: pytest.approx(v, abs=0.3) for k, v in MFLOPS_RISEN.items()}
    assert max(right.values()) < 0.45 < 0.9 < whole.right.mean()


def test_a_change_that_is_hard_to_see_makes_images_dear() -> None:
    """Of fifty images 1.30 times as dear after 40 steps; here of ten after 5."""
    source = open_split("cifar10", "test", need_shared("tensorflow_datasets"))
    dense = sact_core.load("cifar10-anytau", backend="dense")
    pixels = np.stack([dense.see(image).pixels for image, *_ in source.each(range(10))])
    changed = dearer(dense, pixels, 8, 5)
    assert np.abs(changed.astype(int) - pixels).max() <= 8
    times = dense.run(changed).flops / dense.run(pixels).flops
    assert times.mean() > 1.15
    assert times.min() > 1.05


def test_a_dearer_unit_leaves_maps_that_look_where_people_look() -> None:
    """Of fifty photographs 0.640 at tau 0.018 and 0.781 at 0.56; the centre has 0.733."""
    found = stimuli(need_shared("fixations"), 10)
    net = sact_core.load("imagenet-anytau", precision="float32")
    cheap, dear = (score(net.at_tau(tau), found, 160, (0.02, 0.3)) for tau in (0.018, 0.56))
    assert cheap.means()["map"] == pytest.approx(0.6341, abs=0.005)
    assert dear.means()["map"] == pytest.approx(0.7687, abs=0.005)
    assert cheap.means()["map"] < cheap.means()["centre"] < dear.means()["map"]
    assert dear.means()["people"] == pytest.approx(0.9175, abs=0.001)
    rows = {tau: np.array(r.scores["OSIE"])[:, 0] for tau, r in ((0.018, cheap), (0.56, dear))}
    assert (rows[0.56] > rows[0.018]).sum() >= 8  # of ten photographs
