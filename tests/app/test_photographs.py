"""The page of many photographs, what a visit keeps, and the folders that it may open."""

from __future__ import annotations

import csv
import io
from dataclasses import replace

import pytest

from app import loaders
from app.controls.networks import uploaded_pictures
from app.folders import InputError, photo_folders
from app.loaders import many, saving, visits, warming
from app.photographs import rows as running
from app.records import Look
from app.times import Times, Timing
from sact_core.backends.precision import PRECISIONS
from sact_core.checkpoint import read, write
from sact_core.plans import build_plan
from sact_core.quantisation import unit_scales
from tests.app.pages import png, run_page, texts

PAGE = "photographs"


@pytest.fixture
def folder(app_env, tmp_path):
    """A folder of the machine that whoever started the app has named."""
    path = tmp_path / "of mine"
    (path / "deeper").mkdir(parents=True)
    for i in range(3):
        (path / f"{i}.png").write_bytes(png(40, 50 + i, i))
    (path / "deeper" / "no.png").write_bytes(b"no image")
    app_env.setenv("SACT_PHOTOS", str(path))
    return path


def test_the_examples_are_there_at_first(app_env):
    at = run_page(PAGE)

    assert not at.exception
    assert "These are the examples" in texts(at)
    assert "SACT_PHOTOS" in texts(at)
    table = at.dataframe[0].value
    assert list(table["photograph"]) == loaders.example_names()
    assert all(0 < share <= 1 for share in table["share"])
    assert (table["milliseconds"] > 0).all()
    before = loaders.num_runs()
    assert not at.run().exception
    assert loaders.num_runs() == before  # what has run is kept


def test_what_is_added_is_shown_and_taken_home(app_env):
    at = run_page(PAGE)
    files = [(f"{i}.png", png(40, 60, i), "image/png") for i in range(3)]
    at.file_uploader(key="photographs_upload").upload(*files[0]).run()
    at.file_uploader(key="photographs_upload").upload(*files[1]).run()

    assert not at.exception
    assert at.selectbox(key="photographs_place").value == many.OWN
    assert list(at.dataframe[0].value["photograph"]) == ["0.png", "1.png"]
    assert "**0.png**, 1 of 2:" in texts(at)
    at.button(key="photographs_next").click().run()
    assert "**1.png**, 2 of 2" in texts(at)
    assert at.button(key="photographs_next").disabled
    at.button(key="photographs_thumbnail_0").click().run()
    assert "**0.png**, 1 of 2" in texts(at)


def test_the_table_says_what_it_is_of(app_env):
    from app.photographs.table import csv as taken_home

    model = loaders.model("tiny_sact_tau0.005")
    photos, _ = many.photos(many.EXAMPLE, visits.Photographs())
    look = Look(model, photos[0].open(), 64, "keep")
    seen = running.Seen(look, photos[:2], [many.run_row(photo, look) for photo in photos[:2]])
    found = list(csv.DictReader(io.StringIO(taken_home(seen))))

    assert [row["photograph"] for row in found] == [photo.name for photo in photos[:2]]
    assert {row["content_hash"] for row in found} == {model.digest}
    assert {(row["tau"], row["image_size"], row["fit"]) for row in found} == {
        ("0.005", "64", "keep")
    }
    run = loaders.run(look)
    assert int(found[0]["flops"]) == run.executed.total[0]
    assert int(found[0]["dense_flops"]) == run.dense.total[0]
    name = photos[0].name.lower()
    assert f"app/examples/{name}.jpg --checkpoint tiny_sact_tau0.005" in found[0]["command"]


def test_a_folder_is_opened_only_where_it_was_named(app_env, folder):
    at = run_page(PAGE)
    assert at.selectbox(key="photographs_place").options == ["Folder of mine", "Examples"]
    assert list(at.dataframe[0].value["photograph"]) == ["0.png", "1.png", "2.png"]
    assert "Left out: 1 of 4 photographs. deeper/no.png is no image" in at.warning[0].value
    assert str(folder) not in texts(at)

    app_env.delenv("SACT_PHOTOS")
    with pytest.raises(InputError, match="not on this machine"):
        many.photos("Folder of mine", visits.Photographs())
    assert not photo_folders()


def test_an_empty_folder_and_one_that_has_gone(app_env, tmp_path):
    (tmp_path / "empty").mkdir()
    app_env.setenv("SACT_PHOTOS", str(tmp_path / "empty"))
    at = run_page(PAGE)
    assert "There is no photograph in Folder empty" in at.info[0].value

    app_env.setenv("SACT_PHOTOS", str(tmp_path / "gone"))
    at = run_page(PAGE)
    assert "Folder gone is not on this machine" in at.error[0].value


def test_ten_thousand_photographs_are_one_sentence(app_env, tmp_path, monkeypatch):
    monkeypatch.setattr(many, "MOST", 20)
    monkeypatch.setattr(running, "AT_ONCE", 3)
    for i in range(30):
        (tmp_path / f"{i:02d}.png").write_bytes(png(9, 9, i))
    app_env.setenv("SACT_PHOTOS", str(tmp_path))
    at = run_page(PAGE)

    assert not at.exception
    assert at.info[0].value.startswith("30 photographs are there; the first 20 by name are taken")
    assert len(at.dataframe[0].value) == 3
    assert len(at.run().dataframe[0].value) == 3  # no more, unless asked for
    at.button(key="photographs_run").click().run()
    assert len(at.dataframe[0].value) == 20


def test_previous_and_next_on_explore(app_env):
    at = run_page()
    for i in range(2):
        at.file_uploader(key="explore_upload").upload(f"{i}.png", png(40, 60, i)).run()
    assert at.selectbox(key="explore_image").value == "1.png"
    at.button(key="explore_previous").click().run()
    assert at.selectbox(key="explore_image").value == "0.png"
    assert at.button(key="explore_previous").disabled


# --- what a visit keeps ---


def test_a_page_that_is_loaded_anew_finds_what_was_added(app_env, monkeypatch):
    monkeypatch.setattr(visits, "_visits", visits.Visits())
    cookie = {visits.VISIT: "x" * 32}
    monkeypatch.setattr(type(visits.st.context), "cookies", cookie)
    at = run_page()
    at.file_uploader(key="explore_upload").upload("mine.png", png(40, 60)).run()
    again = run_page()
    assert "mine.png" in again.selectbox(key="explore_image").options

    cookie[visits.VISIT] = "y" * 32
    assert "mine.png" not in run_page().selectbox(key="explore_image").options
    cookie[visits.VISIT] = "short"  # nothing that this server gave
    other = run_page()
    other.file_uploader(key="explore_upload").upload("other.png", png(40, 60)).run()
    assert "other.png" not in run_page().selectbox(key="explore_image").options


def test_visits_that_no_page_shows_are_let_go(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(visits.time, "monotonic", lambda: now[0])
    kept = visits.Visits()
    kept.get("one").photographs.add("a.png", png(9, 9))
    shown = kept.get("shown")
    now[0] += visits.KEEP_SECONDS + 1
    assert len(kept.get("two").photographs) == 0

    assert len(kept.get("one").photographs) == 0
    assert kept.get("shown") is shown


def test_what_all_visits_hold_is_bounded(monkeypatch):
    monkeypatch.setattr(visits, "MAX_KEPT_BYTES", 3000)
    kept = visits.Visits()
    for i in range(4):
        kept.get(str(i)).photographs.add("a.png", png(20, 20, i))  # 1,200 bytes of pixels each
    kept.get("last")
    assert [len(kept.get(str(i)).photographs) for i in (3, 0)] == [1, 0]


def test_a_photograph_is_decoded_again_where_its_pixels_were_let_go(monkeypatch):
    monkeypatch.setattr(visits, "MAX_PIXEL_BYTES", 1000)
    own = visits.Photographs()
    digests = [own.add(f"{i}.png", png(20, 20, i)).digest for i in range(3)]

    assert list(own) == ["0.png", "1.png", "2.png"]
    assert [own.peek(name).digest for name in own] == digests
    assert own.peek("none.png") is None


def test_uploads_outside_of_a_page_are_nobodys():
    assert len(uploaded_pictures()) == 0


# --- times ---


def test_some_are_spread_from_the_cheapest_to_the_dearest():
    assert saving.spread(list(range(100))) == [0, 14, 28, 42, 57, 71, 85, 99]
    assert saving.spread([3, 1]) == [3, 1]


def test_photographs_are_timed_side_by_side(app_env, monkeypatch):
    monkeypatch.setattr(saving, "ROUNDS", 2)
    monkeypatch.setattr(saving, "TURN", 0.001)
    monkeypatch.setattr(saving, "TRIAL", 0.001)
    monkeypatch.setattr(saving, "choose_sides", lambda config: (["masked", "vanilla"], []))
    model = loaders.model("tiny_sact_tau0.005")
    looks = [
        Look(model, loaders.uploaded_picture(f"{w}.png", png(32, w)), 64, "keep")
        for w in (40, 64, 40)
    ]
    said = []
    found = saving.measure_saving(looks, lambda what, done: said.append((what, done)))

    assert [times.side for times in found.timing.sides] == ["halting", "vanilla", "eager"]
    assert all(len(times.seconds) == 3 * 2 for times in found.timing.sides)
    assert found.timing.rival.side in ("vanilla", "eager")
    assert found.rivals == ("PyTorch eager",)
    assert found.num_images == 3
    assert all(0 <= done <= 1 for _, done in said)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_what_is_timed_computes_in_the_format_that_is_named(
    app_env, pretrained, monkeypatch, precision
):
    """Also int8, but not where the network, though it is the same one, has no scales."""
    plain = read(pretrained / "tiny_sact_tau0.005.h5")
    scales = unit_scales(build_plan(plain.config), plain.params)
    path = pretrained / "tiny_int8.h5"
    write(path, replace(plain, quantisation=scales))

    class Told(Exception):
        pass

    def process(side, case, threads):
        assert side == {"float32": "masked", "bfloat16": "masked-bf16", "int8": "masked-int8"}[kind]
        raise Told

    monkeypatch.setenv("SACT_PRECISION", precision)
    monkeypatch.setenv("SACT_FORCE_PRECISION", "1")
    monkeypatch.setattr(warming, "precision", lambda: precision)
    monkeypatch.setattr(saving, "choose_sides", lambda config: ([], []))
    monkeypatch.setattr(saving, "Process", process)
    for name in ("tiny_sact_tau0.005", "tiny_int8"):
        model = loaders.model(name)
        kind = loaders.net(model).precision
        assert kind == precision or (name, precision) == ("tiny_sact_tau0.005", "int8")
        look = Look(model, loaders.uploaded_picture("a.png", png(32, 40)), 64, "keep")
        with pytest.raises(Told):
            saving.measure_saving([look], lambda what, done: None)
    path.unlink()


def test_what_was_timed_is_shown_until_something_else_is_looked_at(app_env, monkeypatch):
    sides = tuple(
        Times(name, (seconds,) * 6)
        for name, seconds in (("halting", 0.01), ("vanilla", 0.02), ("onnxruntime", 0.015))
    )
    made = saving.Saving(Timing(sides, 2), 3, ("ONNX Runtime", "PyTorch eager"), "float32")
    monkeypatch.setattr("app.photographs.saving.measure_saving", lambda looks, say: made)
    at = run_page(PAGE)
    at.button(key="photographs_time").click().run()

    assert not at.exception
    assert "it saves **50%** of its time" in texts(at)
    assert "**ONNX Runtime**: **1.50 times** as long" in texts(at)
    assert at.button(key="photographs_time").label == "Measure again"
    at.selectbox(key="photographs_checkpoint").set_value("tiny_sact_tau0.001").run()
    assert "it saves" not in texts(at)
    assert replace(made, num_images=1).num_images == 1


def test_a_side_that_fails_is_one_sentence(app_env, monkeypatch):
    def fail(looks, say):
        raise InputError("Timing 3 sides takes about 9 GB of memory, but 1 GB are free.")

    monkeypatch.setattr("app.photographs.saving.measure_saving", fail)
    at = run_page(PAGE)
    at.button(key="photographs_time").click().run()

    assert not at.exception
    assert at.error[0].value.startswith("Timing 3 sides takes about 9 GB")
