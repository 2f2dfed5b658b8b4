"""Pages with networks of photographs, and how an image is fitted to a network."""

from __future__ import annotations

import re

from tests.app.pages import png, run_page, texts


class TestFit:
    def test_photographs_are_shown_larger_and_small_images_as_trained(self, app_env):
        at = run_page()
        assert "at 128 pixels on its longer side (trained at 32)" in texts(at)
        at.file_uploader(key="explore_upload").upload("small.png", png(32, 32)).run()

        assert "sees 32 × 32 pixels, as it is" in texts(at)

    def test_link_restores_the_fit(self, app_env):
        at = run_page(explore_side_cifar="32", explore_fit_cifar="Square crop")

        assert "the central square of the 451 × 300 image, resized to 32 × 32" in texts(at)


class TestPhotographs:
    """Networks for photographs beside those for small images."""

    def test_page_opens_on_a_photograph_network_and_its_price(self, photo_env):
        at = run_page()

        assert at.button_group(key="explore_kind").value == "photographs"
        assert at.selectbox(key="explore_checkpoint").value == "zoo_photos_tau0.005"
        assert at.select_slider(key="explore_side_imagenet").value == 192
        assert "at 192 pixels on its longer side (trained at 128)" in texts(at)
        said = next(c.value for c in at.caption if "**192 × 128 pixels" in c.value)
        assert "of dense; 70%, the mean of its test images at 128 pixels, was expected" in said
        assert said.endswith("ms**")

    def test_without_one_nothing_is_asked(self, app_env):
        at = run_page()

        assert not [group for group in at.button_group if group.key == "explore_kind"]
        assert at.selectbox(key="explore_checkpoint").value.startswith("tiny")

    def test_small_networks_are_one_click_away_and_in_the_link(self, photo_env):
        at = run_page()
        at.button_group(key="explore_kind").set_value("small").run()
        assert at.selectbox(key="explore_checkpoint").value == "tiny_sact_tau0.01"
        options = at.selectbox(key="explore_checkpoint").options
        assert all("caltech101" not in title for title in options)
        assert at.query_params["explore_kind"] == "Small images"
        again = run_page(explore_kind="Small images")

        assert again.selectbox(key="explore_checkpoint").value == "tiny_sact_tau0.01"

    def test_upload_goes_to_the_kind_that_it_is_for(self, photo_env):
        at = run_page(explore_checkpoint="tiny_sact_tau0.001")
        at.file_uploader(key="explore_upload").upload("large.png", png(100, 150)).run()
        assert at.selectbox(key="explore_checkpoint").value == "zoo_photos_tau0.005"
        at.file_uploader(key="explore_upload").upload("small.png", png(32, 32)).run()
        assert at.selectbox(key="explore_checkpoint").value == "tiny_sact_tau0.001"
        assert "sees 32 × 32 pixels, as it is" in texts(at)
        at.selectbox(key="explore_image").set_value("Cat").run()

        assert at.selectbox(key="explore_checkpoint").value == "zoo_photos_tau0.005"

    def test_a_click_back_is_remembered(self, photo_env):
        at = run_page()
        at.file_uploader(key="explore_upload").upload("one.png", png(100, 150)).run()
        at.button_group(key="explore_kind").set_value("small").run()
        at.file_uploader(key="explore_upload").upload("two.png", png(100, 151)).run()

        assert at.selectbox(key="explore_image").value == "two.png"
        assert at.selectbox(key="explore_checkpoint").value == "tiny_sact_tau0.01"

    def test_longer_side_goes_along_and_every_side_has_its_price(self, photo_env):
        at = run_page()
        at.select_slider(key="explore_side_imagenet").set_value(320).run()
        prices = at.dataframe[0].value
        took = prices[prices["milliseconds"] != "–"]["pixels"].tolist()
        assert took == ["192 × 128", "320 × 213"]
        assert prices["dense"].is_monotonic_increasing
        at.switch_page("app/pages/flops.py").run()

        assert at.select_slider(key="flops_side_imagenet").value == 320
        assert at.query_params["flops_side_imagenet"] == "320"

    def test_too_large_for_the_memory_is_refused(self, photo_env, monkeypatch):
        from app.loaders import costs

        at = run_page()
        monkeypatch.setattr(costs, "available_memory", lambda: 5_000_000)
        at.select_slider(key="explore_side_imagenet").set_value(640).run()

        assert not at.exception
        assert re.fullmatch(
            r"Cat at 640 × 426 pixels needs about \d+ MB of memory, but 5 MB are free: choose "
            r"a smaller side\.",
            at.error[0].value,
        )
        assert "about " in texts(at)
        assert at.select_slider(key="explore_side_imagenet").value == 640

    def test_sweep_shows_photograph_networks_alone(self, photo_env):
        at = run_page("sweep")
        families = at.selectbox(key="sweep_family").options
        assert families[0] == "ResNet-38 SACT, 1/16 width, on Caltech-101"
        assert at.dataframe[-1].value["tau"].tolist() == [0.005, 0.01, 0.02]
        at.file_uploader(key="sweep_upload").upload("small.png", png(32, 32)).run()

        assert at.selectbox(key="sweep_family").value == families[1]

    def test_compare_starts_with_networks_of_one_kind(self, photo_env):
        at = run_page("compare", compare_count="3")
        chosen = [at.selectbox(key=f"compare_checkpoint_{i}").value for i in (1, 2, 3)]

        assert sorted(chosen) == [f"zoo_photos_tau{tau}" for tau in (0.005, 0.01, 0.02)]
