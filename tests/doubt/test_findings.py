"""A pass over images, kept, and what is found in it, and drawn."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sact_core import checkpoint as checkpoints
from sact_core.backends import Net
from sact_core.data.splits import open_split
from sact_core.doubt import series
from sact_core.doubt.findings import by_people, find, galleries
from sact_core.measures import passes
from sact_core.measures.busy import edge_density
from sact_core.measures.passes import Pass, kept_pass, run_pass
from sact_core.measures.people import Joined
from sact_core.measures.ranks import ranks
from sact_core.measures.trust import calibration_error, risks
from tests.conftest import need_package
from tests.training import write_data_set


class TestPass:
    def test_it_is_what_the_network_does(self, made: dict[str, str]) -> None:
        net = Net.from_checkpoint(checkpoints.read(made["net"]), "reference")
        source = open_split(made["data"], "test")
        one = run_pass(net, source)
        examples = source.read(range(24))
        assert one.names.tolist() == [name for *_, name in examples]
        for i in (0, 11, 23):
            image, label, _ = examples[i]
            result = net.run(image[None])
            shares = result.probabilities[0].astype(float)
            assert (one.labels[i], one.predictions[i]) == (label, result.logits.argmax())
            assert one.entropy[i] == pytest.approx(-(shares * np.log2(shares)).sum(), rel=1e-5)
            assert one.confidence[i] == pytest.approx(shares.max(), rel=1e-5)
            assert one.flops[i] == result.flops[0]
            ref = [block.ponder_cost.mean() for block in result.blocks]  # type: ignore[union-attr]
            np.testing.assert_allclose(one.ponder_cost[i], ref, rtol=1e-5)
            assert one.edges[i] == edge_density(net.see(image).pixels)

    def test_images_that_cannot_be_read_leave_the_others_their_places(
        self, made: dict[str, str], tmp_path: Path
    ) -> None:
        data = write_data_set(tmp_path / "data", 3)
        source = open_split(data, "test")
        names = [name for *_, name in source.read(range(24))]
        (bad,) = Path(data, "test").rglob(Path(names[2]).name)
        bad.write_bytes(b"no image")
        net = Net.from_checkpoint(checkpoints.read(made["net"]), "reference")
        one = run_pass(net, open_split(data, "test"))
        assert one.indices.tolist() == [0, 1, *range(3, 24)]
        assert one.names.tolist() == [*names[:2], *names[3:]]
        assert one.about["skipped"]["count"] == 1

    def test_pixels_can_be_changed_on_the_way(self, made: dict[str, str]) -> None:
        net = Net.from_checkpoint(checkpoints.read(made["net"]), "reference")
        source = open_split(made["data"], "test")
        whole, told = run_pass(net, source), []

        def change(pixels: np.ndarray, index: int) -> np.ndarray:
            told.append(index)
            return pixels if index else pixels[::-1]

        other = run_pass(net, source, change=change)
        assert told == list(range(24))
        same = (other.entropy == whole.entropy).tolist()
        assert same == [False] + 23 * [True]

    def test_a_pass_is_kept_and_a_damaged_one_made_anew(
        self, made: dict[str, str], tmp_path: Path
    ) -> None:
        net = Net.from_checkpoint(checkpoints.read(made["net"]), "reference")
        times = []

        def make() -> Pass:
            times.append(1)
            return run_pass(net, open_split(made["data"], "test"), 5)

        key = {"it": 1, **passes.about_pass(net, open_split(made["data"], "test"), 5)}
        one, again = (kept_pass(tmp_path, key, make, "net") for _ in range(2))
        assert len(times) == 1
        for name in ("names", "entropy", "ponder_cost"):
            np.testing.assert_array_equal(getattr(one, name), getattr(again, name))
        assert one.about == again.about
        (file,) = tmp_path.iterdir()
        file.write_bytes(file.read_bytes()[:-40])
        assert len(kept_pass(tmp_path, key, make, "net")) == 5
        assert len(kept_pass(tmp_path, key | {"it": 2}, make, "net")) == 5
        assert len(times) == 3


class TestFindings:
    def pass_of(self, rng: np.random.Generator, cost: np.ndarray, right: np.ndarray) -> Pass:
        n = len(cost)
        labels = np.arange(n) % 3
        return Pass(
            np.array([f"t_{i}" for i in range(n)]), np.arange(n), labels,
            np.where(right, labels, (labels + 1) % 3), rng.uniform(0.4, 1, n),
            rng.uniform(0, 1, n), (cost * 1000).astype(np.int64),
            np.column_stack([cost / 2, cost / 2]), rng.uniform(size=n), rng.uniform(size=n),
            np.full(n, 10_000), {},
        )  # fmt: skip

    def people_of(self, rng: np.random.Generator, n: int) -> Joined:
        most = np.rint(rng.uniform(0.4, 1.0, n) * 20) / 20
        shares = np.column_stack([most, 1 - most, 0 * most])
        return Joined(shares, 1.0)

    def test_a_cost_that_is_peoples_doubt_is_found_and_one_that_is_not_is_not(
        self, rng: np.random.Generator
    ) -> None:
        people = self.people_of(rng, 600)
        for cost, least in ((1 + people.entropy, 0.99), (1 + rng.uniform(size=600), None)):
            right = rng.uniform(size=600) > (cost - 1) / 2
            found = find(self.pass_of(rng, cost, right), people, 100)
            correlations = found["correlations"]["ponder_cost"]["people_entropy"]
            for how, (value, low, high) in correlations.items():
                held = value > least if least else low < 0 < high
                assert held, (how, value, low, high)
            mean, low, high = found["null"]["ponder_cost"]["shuffled"]
            assert low < 0 < high
            assert abs(mean) < 0.01
            real = correlations["plain"][0]
            assert real > high if least else low < real < high
            assert (found["null"]["ponder_cost"]["p"] < 0.01) == bool(least)
            assert found["errors"]["auroc"]["ponder_cost"][1] > 0.5  # errors follow either cost
            assert found["errors"]["gain_of_cost"][1] > 0

    def test_risk_and_calibration_have_the_intervals_of_plain_resampling(
        self, rng: np.random.Generator
    ) -> None:
        cost = 1 + rng.uniform(size=300)
        one = self.pass_of(rng, cost, rng.uniform(size=300) > (cost - 1) / 2)
        found = find(one, self.people_of(rng, 300), 400)["errors"]
        ref: dict[str, list[float]] = {"risk": [], "all": [], "dearest": []}
        dear = ranks(cost) > 240
        for _ in range(400):
            drawn = rng.integers(0, 300, 300)
            sure, right = one.confidence[drawn], one.right[drawn]
            ref["risk"].append(risks(one.ponder_cost[drawn].sum(1), right)[239])
            ref["all"].append(calibration_error(sure, right))
            here = dear[drawn]
            ref["dearest"].append(calibration_error(sure[here], right[here]))
        comp = {
            "risk": found["risk_at_80"]["ponder_cost"],
            "all": found["calibration_error"],
            "dearest": found["by_cost"][-1]["calibration_error"],
        }
        for name, values in ref.items():
            assert comp[name][1:] == pytest.approx(np.quantile(values, [0.025, 0.975]), abs=0.015)
        assert comp["risk"][0] == risks(one.ponder_cost.sum(1), one.right)[239]
        assert comp["all"][0] == calibration_error(one.confidence, one.right)

    def test_groups_are_tenths_where_equal_doubt_stays_together(
        self, rng: np.random.Generator
    ) -> None:
        people = self.people_of(rng, 600)
        one = self.pass_of(rng, 1 + people.entropy, np.ones(600, bool))
        groups = by_people(one, people, 50)
        assert sum(group["images"] for group in groups) == 600
        ends = [end for group in groups for end in group["people_entropy"][1:]]
        assert ends == sorted(ends)
        assert all(a < b for a, b in zip(ends[1::2], ends[2::2], strict=False))
        means = [group["ponder_cost"][0] for group in groups]
        assert means == sorted(means)
        assert all(g["ponder_cost"][1] <= g["ponder_cost"][0] for g in groups)

    def test_galleries_name_the_images_that_differ_most(self, rng: np.random.Generator) -> None:
        people = self.people_of(rng, 100)
        cost = 1 + people.entropy
        cost[7], cost[9] = 9, 0
        people.shares[7], people.shares[9] = [1, 0, 0], [0.5, 0.25, 0.25]
        found = galleries(self.pass_of(rng, cost, np.ones(100, bool)), people, 2)
        assert found["dear_to_network"][0]["name"] == "t_7"
        assert found["dear_to_people"][0]["index"] == 9


class TestDrawing:
    """Every network and every tau is drawn, those that never halt too."""

    @pytest.fixture
    def found(self, rng: np.random.Generator) -> list[dict[str, Any]]:
        made = TestFindings()
        people, entries = made.people_of(rng, 300), []
        for name, tau in (("A any tau", 0.2), ("A any tau", 0.01), ("S", 0.05), ("V", None)):
            one = made.pass_of(rng, 1 + rng.uniform(size=300), rng.uniform(size=300) > 0.2)
            if tau is None:
                one = replace(one, ponder_cost=np.zeros((300, 0)))
            about = {"network": name, "file": f"{name}.h5", "tau": tau}
            entries.append(about | find(one, people, 20))
        return entries

    def test_networks_are_grouped_taus_rise_and_those_that_never_halt_come_last(
        self, found: list[dict[str, Any]]
    ) -> None:
        parts = series.groups([found[3], *found[:3]])
        assert [part.name for part in parts] == ["A for any tau", "S", series.NEVER]
        assert parts[0].labels == ["τ = 0.01", "τ = 0.2"]
        assert parts[2].labels == ["V"]
        assert len(set(parts[0].colours)) == 2
        twice = series.groups([found[2], found[2] | {"file": "other.h5"}])[0]
        assert twice.labels == ["τ = 0.05 (S.h5)", "τ = 0.05 (other.h5)"]

    def test_risk_and_calibration_are_drawn_for_all_and_over_tau(
        self, found: list[dict[str, Any]]
    ) -> None:
        need_package("matplotlib")
        from sact_core.doubt.drawing import FONT_SIZE, draw
        from sact_core.figure.saving import style

        with style(FONT_SIZE):
            figure = draw(found, 9.0)
            alone = draw(found[2:3], 9.0)
        assert len(alone.axes) == 3
        panels = np.array(figure.axes).reshape(4, 3)
        wrong = [100 * (1 - one["accuracy"]) for one in found]
        drawn = {}
        for row, name, mine in zip(panels[1:], "ASV", ([1, 0], [2], [3]), strict=True):
            lines = [line for line in row[1].lines if len(line.get_ydata())]
            ends = [float(line.get_ydata()[-1]) for line in lines]
            drawn[name] = len(lines)
            assert ends == pytest.approx([wrong[i] for i in mine for _ in range(len(lines) //
                                          len(mine))])  # fmt: skip
            curves = [line for line in row[2].lines if len(line.get_ydata()) > 2]
            assert len(curves) == {"A": 2, "S": 2, "V": 1}[name]
            assert len(row[0].collections) == len(mine)  # bands
        assert drawn == {"A": 4, "S": 3, "V": 1}
        for axes, place in zip(panels[0], series.OVER_TAU, strict=True):
            lines = [line for line in axes.lines if len(line.get_xdata()) == 2]
            assert list(lines[0].get_xdata()) == [0.01, 0.2]
            first = next(iter(place[1].values()))
            ref = [series.value(found[i], first) for i in (1, 0)]
            assert list(lines[0].get_ydata()) == [each[0] for each in ref if each]

    def test_more_than_there_is_room_for_is_refused(self) -> None:
        from sact_core.doubt.drawing import check_room

        check_room([(f"{i // 10}", True) for i in range(60)])
        for many in ([("A", True)] * 11, [(str(i), True) for i in range(7)]):
            with pytest.raises(ValueError, match="room for 6 networks at 10 taus each"):
                check_room(many)
        check_room([(str(i), False) for i in range(10)])
