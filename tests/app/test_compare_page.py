"""Compare in every state, without a browser."""

from __future__ import annotations

import shutil

import pytest

from app.compare import maps
from tests.app.pages import ANY, run_page, texts, viewers


class TestCompare:
    @pytest.mark.parametrize("count", [2, 3, 4])
    def test_panels(self, app_env, count):
        at = run_page("compare", compare_count=str(count))

        assert not at.exception
        assert len(at.dataframe[0].value) == count

    @pytest.mark.parametrize("view", ["Side by side", "Swipe", "Difference"])
    def test_views(self, app_env, view):
        at = run_page("compare", compare_view=view)

        assert not at.exception
        assert len(viewers(at)) == 1

    def test_vanilla_has_no_map_but_a_row(self, app_env):
        at = run_page("compare", compare_checkpoint_2="tiny_vanilla")

        assert "no halting" in at.info[0].value
        assert len(at.dataframe[0].value) == 2

    @pytest.mark.parametrize(
        ("view", "told"),
        [
            (
                "Side by side",
                [
                    "1  ResNet-20 SACT, 1/4 width, τ = 0.001, on CIFAR-10",
                    "3  ResNet-20 SACT, 1/4 width, τ = 0.005, on CIFAR-10",
                    "4  ResNet-20 ACT, 1/4 width",
                ],
            ),
            ("Swipe", ["networks 1 and 3", "network 1 on the left", "network 3 on the right"]),
            ("Difference", ["Network 3 − network 1", "Orange: network 3 thinks more"]),
        ],
    )
    def test_maps_have_the_numbers_of_the_networks(self, app_env, monkeypatch, view, told):
        made: list[str] = []
        real = maps.payload
        monkeypatch.setattr(
            maps,
            "payload",
            lambda *args, **more: made.append(repr((args, more))) or real(*args, **more),
        )
        names = ["tiny_sact_tau0.001", "tiny_vanilla", "tiny_sact_tau0.005", "tiny_act"]
        chosen = {f"compare_checkpoint_{i + 1}": name for i, name in enumerate(names)}
        at = run_page("compare", compare_count="4", compare_view=view, **chosen)

        assert not at.exception
        assert [each for each in told if each not in made[-1]] == []
        assert list(at.dataframe[0].value["network"])[2].startswith("3  ResNet-20 SACT")

    def test_says_the_format_beside_the_times(self, app_env, bfloat16):
        assert "Computed in bfloat16." in texts(run_page("compare"))

    def test_networks_of_two_kinds(self, photo_env):
        two = {
            "compare_checkpoint_1": "tiny_sact_tau0.01",
            "compare_checkpoint_2": "zoo_photos_tau0.01",
        }
        at = run_page("compare", **two)
        assert not at.exception
        at = run_page("compare", **two, compare_fit_cifar="Square crop")

        assert not at.exception
        assert any("do not line up" in caption.value for caption in at.caption)

    def test_any_tau_beside_itself_rather_than_a_network_without_a_map(
        self, app_env, any_tau, tmp_path
    ):
        for name in (ANY, "tiny_vanilla"):
            shutil.copy(any_tau / f"{name}.h5", tmp_path)
        app_env.setenv("SACT_PRETRAINED_DIR", str(tmp_path))
        at = run_page("compare", compare_count="3")

        assert not at.exception
        assert [at.selectbox(key=f"compare_checkpoint_{i}").value for i in (1, 2, 3)] == [ANY] * 3
        taus = list(at.dataframe[0].value["tau"])
        assert len(set(taus)) == 3
        assert taus[1:] == ["0.05", "0.0005"]  # its range

    @pytest.mark.parametrize("view", ["Side by side", "Swipe", "Difference"])
    @pytest.mark.parametrize("metric", ["Ponder cost", "Units run"])
    @pytest.mark.parametrize("static", [1, 2])
    def test_every_view_with_a_network_without_halting(
        self, app_env, monkeypatch, view, metric, static
    ):
        drawn, payload = [], maps.payload

        def spy(image, layers, panels, scales, **more):
            drawn.append((layers, panels, scales))
            return payload(image, layers, panels, scales, **more)

        monkeypatch.setattr(maps, "payload", spy)
        names = {f"compare_checkpoint_{i}": "tiny_sact_tau0.005" for i in (1, 2)}
        names[f"compare_checkpoint_{static}"] = "tiny_vanilla"
        at = run_page("compare", **names, compare_view=view, compare_metric=metric)

        assert not at.exception
        assert at.button_group(key="compare_view").value in ("side", "swipe", "difference")
        layers, panels, scales = drawn[-1]
        assert len(panels) == (3 if view == "Difference" else 2)
        constant = [layer.values.tolist() for layer in layers if layer.values.shape == (1, 1)]
        assert constant == [[[3.0]]] * 3  # all units of each of three blocks
        if view == "Difference":
            assert panels[2].side.startswith("-" if static == 1 else "+") or metric != "Units run"
            assert scales[1].high == -scales[1].low > 1

    def test_networks_without_halting_alone_have_no_map(self, app_env):
        names = {f"compare_checkpoint_{i}": "tiny_vanilla" for i in (1, 2)}
        at = run_page("compare", **names, compare_view="Difference")

        assert not at.exception
        assert "there is no map" in at.info[0].value
        assert not viewers(at)
        assert len(at.dataframe[0].value) == 2

    def test_accuracy_beside_a_tau_is_of_that_tau(self, any_tau_env):
        at = run_page(
            "compare", compare_checkpoint_1=ANY, compare_checkpoint_2=ANY, compare_tau_2="0.02"
        )
        stated = list(at.dataframe[0].value["accuracy"])

        assert not at.exception
        assert stated == ["89.5%", "–"]
        assert "Network 1: 89.5% right of 10,000 test images." in texts(at)
        at = run_page(explore_checkpoint=ANY)
        assert "89.5% right" in texts(at)
        at.number_input(key="explore_tau").set_value(0.02).run()
        assert "% right" not in texts(at)

    def test_tau_of_a_network_without_halting_is_a_dash(self, app_env):
        at = run_page("compare", compare_checkpoint_2="tiny_vanilla")

        assert at.dataframe[0].value["tau"][1] == "–"
