"""Parts of an unfinished export that are damaged: refused in one sentence, and kept."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest

from sact_core import checkpoint as checkpoints
from sact_core import export_maps
from sact_core.maps.parts import Parts
from tests.fuzz.kinds import networks, photograph
from tests.test_strangers_files import again, heap, link


def edited(edit):
    """Change a file through its library."""

    def change(path):
        with h5py.File(path, "a") as file:
            edit(file)

    return change


def noted(**values):
    def change(path):
        note = path.with_suffix(".json")
        note.write_text(json.dumps(json.loads(note.read_text()) | values))

    return change


DAMAGE = {
    "texts": lambda path: heap(path, b"GCOL", 0, "4s", b"GONE"),
    "cut_off": lambda path: path.write_bytes(path.read_bytes()[:-300]),
    "empty": lambda path: path.write_bytes(b""),
    "a_link": edited(lambda f: link(f, "logits", h5py.ExternalLink("other.h5", "/logits"))),
    "more_rows": edited(lambda f: again(f, "logits", np.zeros((9, 3), "f4"))),
    "another_group": edited(lambda f: f.create_group("stranger")),
    "other_sides": edited(lambda f: again(f, "logits", np.zeros((1, 4), "f4"))),
    "compound": edited(lambda f: again(f, "labels", np.zeros(1, [("a", "i8")]))),
    "no_numbers": edited(lambda f: again(f, "block_1/num_units", h5py.Empty("f4"))),
    "too_many_rows_noted": noted(rows=2),
    "a_text_for_rows": noted(rows="1"),
    "strange_images_left_out": noted(skipped=[["x"]]),
    "an_image_of_elsewhere_left_out": noted(skipped=[[99, "a.png", "why"]]),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_part_is_refused(tmp_path, monkeypatch, capsys, name):
    checkpoints.write(tmp_path / "it.h5", networks()[1])
    photos = [photograph(tmp_path / f"{side}.png", side) for side in (12, 13)]
    out = tmp_path / "out.h5"
    argv = [*photos, "--checkpoint", tmp_path / "it.h5", "--backend", "reference", "--out", out]
    argv = [str(word) for word in [*argv, "--batch-size", "1"]]
    monkeypatch.setattr(export_maps, "PART_BYTES", 1)
    with monkeypatch.context() as patch:
        patch.setattr(Parts, "join", lambda *_: 1 // 0)  # it ends before the end
        with pytest.raises(ZeroDivisionError):
            export_maps.main(argv)
    part = tmp_path / "out.h5.parts" / "00000001.h5"
    DAMAGE[name](part)
    capsys.readouterr()
    assert export_maps.main(argv) == 2
    said = capsys.readouterr().err
    assert said.startswith("going on: 2 of 2 images are in ")
    refusal = said.splitlines()[-1]
    assert refusal.startswith("error: ")
    assert str(part.with_suffix("")) in refusal
    assert "give --force to start the export anew" in refusal
    assert said.count("\n") == 2
    assert part.exists()
    assert not out.exists()
    assert export_maps.main([*argv, "--force"]) == 0
