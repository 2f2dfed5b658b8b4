"""Figures: what is drawn, without Streamlit."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import tomllib

import numpy as np
import pytest
from plotly.colors import get_colorscale

from app import figures
from app.figures import style
from app.viewer import Dial, Layer, Panel, Scale, Stage, payload
from sact_core.viewer import colour_stops, colour_table
from sact_core.viewer.colours import STOPS
from tests.app.conftest import ROOT


def test_figures_never_import_streamlit():
    code = "import sys, app.figures, app.viewer; assert 'streamlit' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_palette_is_that_of_the_theme():
    config = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text())

    assert config["theme"]["chartCategoricalColors"] == list(style.CATEGORIES)
    assert config["theme"]["chartDivergingColors"] == list(style.DIVERGING)


@pytest.mark.parametrize("name", style.COLOUR_MAPS)
def test_colour_maps_get_steadily_lighter(name):
    table = colour_table(name).astype(float)
    light = table @ [0.2126, 0.7152, 0.0722]

    assert table.shape == (256, 3)
    assert (np.diff(light[::8]) > 0).all()


@pytest.mark.parametrize("name", [*style.COLOUR_MAPS, "difference"])
def test_no_colour_is_a_placeholder_of_the_theme(name):
    from streamlit.elements.lib import streamlit_plotly_theme as theme

    replaced = {value for key, value in vars(theme).items() if key.isupper() and value[:1] == "#"}
    colours = {colour.lower() for _, colour in style.colour_scale(name)}

    assert "#000004" in replaced
    assert not colours & replaced


@pytest.mark.parametrize("name", sorted(set(STOPS) - {"difference"}))
def test_colours_of_the_viewer_are_those_of_plotly(name):
    ref = get_colorscale(name)

    assert [share for share, _ in ref] == pytest.approx([i / 9 for i in range(10)])
    assert [colour for _, colour in ref] == colour_stops(name)
    assert colour_table(name)[[0, 255]].tolist() == [
        list(bytes.fromhex(ref[i][1][1:])) for i in (0, -1)
    ]


def test_unknown_colour_map():
    with pytest.raises(ValueError, match="colour_map must be one of viridis"):
        style.colour_scale("rainbow")


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (999, "999"), (1234, "1.23 k"), (137_725_184, "138 M"), (15_602_814_976, "15.6 G")],
)
def test_numbers_in_short(value, text):
    assert style.si(value) == text


class TestPonderMap:
    def test_values_and_limits(self, rng):
        values = rng.random((4, 6)).astype(np.float32)
        heatmap = figures.ponder_map(values, limits=(0, 9)).data[0]

        assert np.array_equal(heatmap.z, values)
        assert (heatmap.zmin, heatmap.zmax) == (0, 9)
        assert "units" in heatmap.hovertemplate

    def test_constant_map_has_a_scale(self):
        heatmap = figures.ponder_map(np.full((3, 3), 2.0)).data[0]

        assert heatmap.zmin < 2 < heatmap.zmax

    def test_mark_frames_the_position(self):
        figure = figures.ponder_map(np.zeros((5, 5)), mark=(3, 1))

        assert {(shape.x0, shape.y0) for shape in figure.layout.shapes} == {(0.5, 2.5)}

    def test_picture_beneath(self, rng):
        image = rng.integers(0, 255, (8, 8, 3), np.uint8)
        figure = figures.ponder_map(np.zeros((4, 4)), picture=image)

        assert figure.layout.images[0].source.startswith("data:image/png;base64,")
        assert figure.layout.images[0].sizex == 4


class TestWhyStopped:
    def test_bars_pile_up(self):
        proba = np.array([0.1, 0.3, 0.7, np.nan], np.float32)
        scores, remainder = figures.why_stopped(proba, 3, 0.6, 0.01).data

        assert scores.x.tolist() == [1, 2, 3]
        assert np.allclose(scores.base, [0, 0.1, 0.4])
        assert remainder.y == (0.6,)
        assert remainder.base == (0.4,)

    def test_last_unit_has_no_score(self):
        scores, _ = figures.why_stopped(np.array([0.1, 0.1]), 3, 0.8, 0.01).data

        assert scores.x.tolist() == [1, 2]

    def test_block_of_one_unit(self):
        scores, remainder = figures.why_stopped(np.zeros(0), 1, 1.0, 0.01).data

        assert len(scores.x) == 0
        assert remainder.y == (1.0,)

    def test_many_units(self):
        figure = figures.why_stopped(np.full(35, 0.01), 36, 0.65, 0.01)

        assert len(figure.layout.xaxis.tickvals) <= 12


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.002, 0.2, [0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2]),
        (0.0005, 0.5, [0.001, 0.003, 0.01, 0.03, 0.1, 0.3]),
        (1e-5, 1.0, [1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0]),
        (0.011, 0.018, [0.011, 0.018]),
    ],
)
def test_labels_of_many_taus_do_not_meet(low, high, ticks):
    taus = np.geomspace(low, high, 25)

    figure = figures.over_tau(taus.tolist(), taus.tolist(), "MFLOPs")

    assert figure.layout.xaxis.tickvals == pytest.approx(ticks)


def test_labels_of_few_taus_do_not_meet():
    taus = sorted([*np.geomspace(0.0005, 0.5, 9), 0.02, 0.021])  # those that were asked for

    figure = figures.over_tau(taus, taus, "MFLOPs")
    shown = np.log10(figure.layout.xaxis.tickvals)

    assert len(shown) > 3
    assert np.diff(shown).min() >= 0.14 * (shown[-1] - shown[0])


def test_cost_jumps_are_gaps():
    costs = np.array([2.0, 1.9, 3.4, 3.3])
    line, _ = figures.cost_against_score(np.linspace(0, 1, 4), costs, 0.3, 1).data

    assert np.isnan(line.y).sum() == 1


def test_treemap_keeps_the_order_and_the_sums():
    tree = figures.treemap(
        ["a", "b", "c"], ["", "a", "a"], ["A", "B", "C"], np.array([4, 3, 1]), np.array([2, 1, 1])
    ).data[0]

    assert tree.branchvalues == "total"
    assert tree.sort is False
    assert tree.marker.colors.tolist() == [0.5, 1 / 3, 1.0]


def test_accuracy_against_flops_joins_only_families():
    points = [
        figures.Point("ours", "τ = 1", 2.0, 0.9, 0.1),
        figures.Point("ours", "τ = 2", 1.0, 0.8, 0.1),
        figures.Point("static", "shallow", 1.0, 0.7, line=False),
        figures.Point("others", "τ = 3", 1.5, 0.8),
        figures.Point("authors", "theirs", 1.5, 0.85, line=False),
    ]
    ours, static, others, authors = figures.accuracy_against_flops(points, "τ = 2").data

    assert ours.x == (1.0, 2.0)  # cheapest first
    assert ours.mode == "lines+markers+text"
    assert others.mode == "lines+markers"  # its labels would cover ours
    assert static.mode == authors.mode == "markers+text"
    assert len({ours.marker.symbol, static.marker.symbol, authors.marker.symbol}) == 3


def test_labels_of_near_points_stand_aside():
    points = [figures.Point("ours", f"τ = {x}", x, 0.9, short=str(x)) for x in (0, 50, 95, 100)]
    points += [figures.Point("static", f"ResNet-{x}", x, 0.8, line=False) for x in (0, 95, 100)]
    ours, static = figures.accuracy_against_flops(points).data

    assert ours.text == ("0", "50", "95", "100")
    assert ours.textposition == ("top center", "top center", "top left", "top right")
    assert static.text == ("ResNet-0", "ResNet-95", "ResNet-100")
    assert static.textposition == ("bottom center", "bottom left", "bottom right")
    assert [about[2] for about in ours.customdata] == ["τ = 0", "τ = 50", "τ = 95", "τ = 100"]


def test_of_many_labels_some_are_left_out():
    points = [figures.Point("ours", str(x), x, 0.9) for x in (0, 5, 10, 15, 40, 70, 90, 100)]
    (ours,) = figures.accuracy_against_flops(points).data

    assert ours.text == ("0", "", "", "15", "40", "70", "90", "")
    assert set(ours.textposition) == {"top center"}


def test_histogram_counts_every_image(rng):
    flops = rng.integers(1, 100, 50)
    right = rng.random(50) < 0.5
    bars = figures.cost_histogram(flops, right, 100.0).data

    assert sum(sum(bar.y) for bar in bars) == 50


@pytest.mark.parametrize("count", [1, 3, 57])
def test_accuracy_by_cost_takes_any_number(rng, count):
    flops = rng.integers(1, 100, count)
    line = figures.accuracy_by_cost(flops, np.ones(count, bool)).data[0]

    assert sum(line.customdata) == count
    assert set(line.y) == {1.0}


class TestViewer:
    def test_layers_and_signs(self):
        data = payload(
            np.zeros((4, 4, 3), np.uint8),
            [Layer("one", np.ones((2, 2))), Layer("two", np.ones((4, 4)))],
            [Panel("difference", (1, -1), 0)],
            [Scale(-1, 1, colour_map="difference")],
        )

        assert data["panels"][0]["terms"] == [{"map": 1, "sign": 1}, {"map": 0, "sign": -1}]
        assert data["size"] == [4, 4]
        assert (data["maps"][1]["h"], data["maps"][1]["w"]) == (4, 4)
        assert "stages" not in data

    def test_values_survive(self, rng):
        import base64

        values = rng.random((3, 5)).astype(np.float32)
        data = payload(np.zeros((6, 10, 3), np.uint8), [Layer("x", values)], [])
        back = np.frombuffer(base64.b64decode(data["maps"][0]["data"]), "<f4").reshape(3, 5)

        assert np.array_equal(back, values)

    def test_stage_stays_inside_the_film(self):
        stages = [Stage(0, u, "", "") for u in range(3)]
        image = np.zeros((2, 2, 3), np.uint8)

        assert payload(image, [], [], stages=stages, unit=9)["unit"] == 2
        assert payload(image, [], [], stages=stages, unit=-4)["unit"] == 0


class TestDial:
    def payload(self, rng, taus=(0.001, 0.01, 0.1)):
        maps = rng.random((len(taus), 2, 3)).astype(np.float32) * 6
        dial = Dial(taus, [maps], 0.01, [0.9, 0.5, 0.2], ["a", "b", "c"], [(0.01, "one")])
        image = np.zeros((4, 6, 3), np.uint8)
        return maps, payload(image, [Layer("block 1", maps[1])], [Panel("map", [0], 0)],
                             [Scale(0, 6)], dial=dial)  # fmt: skip

    def test_frames_hold_every_map(self, rng):
        maps, data = self.payload(rng)
        packed = data["maps"][0]
        values = np.frombuffer(base64.b64decode(packed["frames"]), "<u2") * packed["step"]

        assert np.allclose(values.reshape(maps.shape), maps, atol=6 / 65535)
        assert "data" not in packed

    def test_dial_stands_at_its_tau(self, rng):
        _, data = self.payload(rng)

        assert data["dial"]["at"] == 1
        assert data["dial"]["taus"] == [0.001, 0.01, 0.1]
        assert data["dial"]["marks"] == [{"tau": 0.01, "name": "one"}]
        json.dumps(data)


def test_seven_blocks_have_seven_colours_and_none_is_the_frame():
    figure = figures.active_share(dict.fromkeys(range(1, 8), 2), np.ones(14), 0)

    colours = {bar.marker.color for bar in figure.data}
    assert len(colours) == 7
    assert style.ORANGE not in colours
