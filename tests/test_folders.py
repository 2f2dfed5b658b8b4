"""Folders of class folders: listing, splits, what is held out."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sact_core.data.folders import default_splits, list_folder, photographs
from sact_core.data.records import DataError
from sact_core.data.splits import evaluation_split, open_split, splits_of
from sact_core.data.unlabelled import open_unlabelled
from tests.conftest import ROOT


def write_folder(root: Path, **counts: int) -> Path:
    """Class folders of so many files each; they are listed, never opened."""
    for name, count in counts.items():
        (root / name).mkdir(parents=True)
        for i in range(count):
            (root / name / f"{i}.jpg").write_bytes(b"")
    return root


def names(root: Path, split: str) -> list[str]:
    records = list_folder(root, split)[1]
    return [name for _, _, name in records.files]


def test_a_share_of_every_class_is_held_out(tmp_path: Path) -> None:
    write_folder(tmp_path, cat=40, dog=11, newt=2, owl=1)
    held_out, rest = names(tmp_path, "held-out:20%"), names(tmp_path, "all-but:20%")
    assert sorted(held_out + rest) == sorted(names(tmp_path, "all"))
    counts = {name: sum(file.startswith(name) for file in held_out) for name in ("cat", "dog")}
    assert counts == {"cat": 8, "dog": 2}
    # One at least, and never the last one.
    assert sum(file.startswith("newt") for file in held_out) == 1
    assert "owl/0.jpg" in rest
    classes, records = list_folder(tmp_path, "held-out:20%")
    assert classes == ("cat", "dog", "newt", "owl")  # all, whatever the split
    assert {label for _, label, _ in records.files} == {0, 1, 2}
    cats = [file for file in held_out if file.startswith("cat")]
    assert cats != [f"cat/{i}.jpg" for i in range(8)]  # not just the first ones
    assert set(cats) < set(names(tmp_path, "held-out:50%"))


def test_what_is_held_out_depends_on_names_alone(tmp_path: Path) -> None:
    one = write_folder(tmp_path / "one", cat=20, dog=20)
    other = write_folder(tmp_path / "other", cat=25, dog=20)
    held_out = set(names(one, "held-out:20%"))
    assert {file for file in held_out if file.startswith("dog")} <= set(
        names(other, "held-out:20%")
    )
    now = set(names(other, "held-out:20%"))
    assert len(held_out & now) >= len(held_out) - 1  # five more cats push out one at most


def test_splits_are_chosen_by_what_is_there(tmp_path: Path) -> None:
    bare = write_folder(tmp_path / "bare", cat=5, train=5)  # pictures of trains
    split = write_folder(tmp_path / "split" / "train", cat=2).parent
    assert default_splits(bare, None) == ("all-but:20%", "held-out:20%")
    assert default_splits(bare, 0.125) == ("all-but:12.5%", "held-out:12.5%")
    assert default_splits(split, None) is None
    with pytest.raises(DataError, match="has splits of its own: leave --holdout out"):
        default_splits(split, 0.2)
    for share in (0.0, 1.0, -1.0):
        with pytest.raises(DataError, match="--holdout must be a share above 0 and below 1"):
            default_splits(bare, share)
    assert splits_of(str(bare)) == ("all-but:20%", "held-out:20%")
    assert splits_of("cifar10") is None
    with pytest.raises(DataError, match="--holdout is for a folder of class folders; of 'cifar10'"):
        splits_of("cifar10", 0.2)


def test_a_split_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    for name in ("train", "val"):
        write_folder(tmp_path / name, cat=1)
    with pytest.raises(DataError, match="has no split 'test': it has train, val"):
        open_split(str(tmp_path), "test")
    bare = write_folder(tmp_path / "bare", cat=1)
    with pytest.raises(DataError, match="has no split 'test': it has none, so ask for all, or for"):
        open_split(str(bare), "test")
    with pytest.raises(DataError, match=r"no class of .* has enough images for the split 'held-"):
        open_split(str(bare), "held-out:20%")
    with pytest.raises(DataError, match="a share of 100% cannot be held out"):
        open_split(str(bare), "held-out:100%")


def test_what_is_evaluated_on_goes_by_the_splits_that_are_there(tmp_path: Path) -> None:
    def folder(name: str, *splits: str) -> str:
        for split in splits:
            write_folder(tmp_path / name / split, cat=2, dog=2)
        return str(tmp_path / name)

    for splits, found in (
        (["val"], "val"),
        (["train", "val"], "val"),
        (["train", "val", "test"], "test"),
        (["validation", "valid"], "valid"),
        (["train"], "test"),  # whose lack is told
    ):
        name = folder("-".join(splits), *splits)
        assert evaluation_split({}, name) == (name, found)
    # Classes of these names, whatever is in them.
    for bare in (folder("nested", "val", "cat/big"), str(write_folder(tmp_path / "b", val=2, x=2))):
        assert evaluation_split({}, bare) == (bare, "held-out:20%")


def test_first_examples_stand_for_all(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "pets", ant=4, bee=8, cow=4)
    whole = open_split(str(root), "all")
    spread = whole.spread()
    every = range(16)
    found = [record.label for record in spread.records.get(every)]
    assert found != [record.label for record in whole.records.get(every)]
    for count, each in ((4, [1, 2, 1]), (8, [2, 4, 2]), (16, [4, 8, 4])):
        assert np.bincount(found[:count], minlength=3).tolist() == each
    assert whole.digest != spread.digest == whole.spread().digest
    before, after = ({r.name for r in source.records.get(every)} for source in (whole, spread))
    assert before == after
    several = open_unlabelled(f"{root} + {write_folder(tmp_path / 'more', dog=8)}", "all")
    first = [each.name.partition("/")[0] for each in several.spread().records.get(range(6))]
    assert sorted(first) == ["ant", "bee", "bee", "cow", "dog", "dog"]


def litter(root: Path) -> Path:
    """Photographs of cats and dogs among what other programs leave behind."""
    rng = np.random.default_rng(0)
    for name, count in (("cat", 10), ("dog", 6)):
        (root / name).mkdir(parents=True)
        for i in range(count):
            pixels = rng.integers(0, 256, (8, 8, 3), np.uint8)
            Image.fromarray(pixels).save(root / name / f"{i}.jpg")
    (root / "cat" / "._2.jpg").write_bytes(b"\x00\x05\x16\x07Mac OS X")
    (root / "cat" / "notes.txt").write_text("mine")
    (root / "list.jpg").write_bytes(b"")
    copied = (root / "cat" / "1.jpg").read_bytes()
    for copy in (
        ".ipynb_checkpoints/1-checkpoint.jpg",
        "cat/.ipynb_checkpoints/1-checkpoint.jpg",
        "cat/20.jpg/1.jpg",
        "9.jpg/1.jpg",
        "__MACOSX/1.jpg",
        "cat/__MACOSX/cat/1.jpg",
        "@eaDir/1.jpg",
    ):
        (root / copy).parent.mkdir(parents=True, exist_ok=True)
        (root / copy).write_bytes(copied)
    return root


def test_what_other_programs_leave_behind_is_no_class_and_no_image(tmp_path: Path) -> None:
    root = litter(tmp_path / ".hidden" / "pets.jpg")  # what is named is taken
    classes, records = list_folder(root, "all")
    assert classes == ("cat", "dog")
    ours = [f"cat/{i}.jpg" for i in range(10)] + [f"dog/{i}.jpg" for i in range(6)]
    assert [name for _, _, name in records.files] == ours
    # No image is trained on that is held out: their contents all differ.
    halves = [open_split(str(root), split) for split in default_splits(root, None) or ()]
    train, held_out = ({image.tobytes() for image, *_ in h.read(range(len(h)))} for h in halves)
    assert (len(train), len(held_out), train & held_out) == (13, 3, set())
    (root / "train" / ".cat").mkdir(parents=True)
    (root / "train" / ".cat" / "1.jpg").write_bytes(b"")
    assert default_splits(root, None) == ("all-but:20%", "held-out:20%")


def test_photographs_below_folders_and_those_that_are_named(tmp_path: Path) -> None:
    root = litter(tmp_path / "pets")
    (root / "list.jpg").unlink()
    (root / "list.jpg").symlink_to("absent")  # left out when it is read, not before
    source = photographs([root, root / "cat" / "._2.jpg"])
    names = [record.name for record in source.records.get(range(len(source)))]
    ours = [f"cat/{i}.jpg" for i in range(10)] + [f"dog/{i}.jpg" for i in range(6)]
    assert names == [*ours, "list.jpg", "._2.jpg"]
    assert source.identity != photographs([root]).identity
    assert source.identity == photographs([root, root / "cat" / "._2.jpg"]).identity
    (tmp_path / "none" / "9.jpg").mkdir(parents=True)
    with pytest.raises(DataError, match=r"there are no photographs in .*none"):
        photographs([tmp_path / "none"])
    with pytest.raises(FileNotFoundError):
        photographs([tmp_path / "absent.jpg"])


def test_a_class_without_images_is_named(tmp_path: Path) -> None:
    write_folder(tmp_path / "bare", cat=2, dog=1, empty=0, void=0)
    (tmp_path / "bare" / "empty" / "1.heic").write_bytes(b"")
    for split in ("all", "all-but:20%", "held-out:20%"):
        with pytest.raises(
            DataError, match=r"has no images \(\.jpg, .*\) of the classes 'empty', 'v"
        ):
            open_split(str(tmp_path / "bare"), split)
    write_folder(tmp_path / "split" / "train", cat=2, dog=1)
    write_folder(tmp_path / "split" / "test", cat=2, dog=0)  # none to test on, yet a class
    assert list_folder(tmp_path / "split", "test")[0] == ("cat", "dog")
    write_folder(tmp_path / "split" / "train", owl=0)
    with pytest.raises(DataError, match=r"of the class 'owl': put some there, or remove the empty"):
        open_split(str(tmp_path / "split"), "train")


KINDS = {
    "a.jfif": "JPEG", "b.JPG": "JPEG", "c.mpo": "MPO", "d.apng": "PNG", "e.AVIF": "AVIF",
    "f.jp2": "JPEG2000", "g.j2k": "JPEG2000", "h.ppm": "PPM", "i.TiFf": "TIFF", "j.webp": "WEBP",
    "IMG0001": "JPEG", "IMG0002": "AVIF", "IMG0003": "JPEG2000", "IMG0004": "TIFF",
    "IMG0005": "GIF", "IMG0006": "BMP", "IMG0007": "PPM", "IMG0008": "PNG", "IMG0009": "WEBP",
}  # fmt: skip


def write_all_kinds(root: Path) -> None:
    """A class of every format, its suffix or none; and files that are no photographs."""
    root.mkdir()
    for name, kind in KINDS.items():
        Image.new("RGB", (16, 16), (200, 20, 20)).save(root / name, kind)


def test_what_pillow_opens_is_read(tmp_path: Path) -> None:
    write_all_kinds(tmp_path / "red")
    source = open_split(str(tmp_path), "all")
    found = source.read(range(len(source)))
    assert [name for *_, name in found] == sorted(f"red/{name}" for name in KINDS)
    for image, _, name in found:
        assert np.abs(image.astype(int) - [200, 20, 20]).max() < 12, name
    assert len(photographs([tmp_path])) == len(KINDS)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_what_is_left_out_is_counted_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_folder(tmp_path, cat=3, dog=2)
    (tmp_path / "dog" / "IMG0001").write_bytes(b"no photograph")
    open_split(str(tmp_path), "all-but:20%")
    said = f"{tmp_path}: one file is left out, by name or place no photograph of a class: dog/IMG"
    assert [text[: len(said)] for text in caplog.messages] == [said]
    for name in ("cat/a.heic", "cat/b.mp4", "cat/README", "dog/c.txt", "loose.jpg", "notes.txt"):
        (tmp_path / name).write_bytes(b"")
    os.mkfifo(tmp_path / "cat" / "pipe")
    caplog.clear()
    for split in ("all-but:20%", "held-out:20%"):  # said once
        assert open_split(str(tmp_path), split).class_names == ("cat", "dog")
    assert caplog.messages == [
        f"{tmp_path}: 7 files are left out, by name or place no photograph of a class: "
        f"cat/README, cat/a.heic, cat/b.mp4, cat/pipe, dog/IMG0001 and 2 more"
    ]
    caplog.clear()
    assert len(photographs([tmp_path])) == 6
    assert "7 files are left out, by name no photograph: cat/README, " in caplog.text


def test_a_command_says_it(tmp_path: Path) -> None:
    write_folder(tmp_path / "photos", cat=3)
    (tmp_path / "photos" / "cat" / "a.heic").write_bytes(b"")
    argv = [sys.executable, "-m", "sact_core.evaluate", "--dataset", str(tmp_path / "photos")]
    argv += ["--checkpoint", "pretrained/cifar10_resnet32_sact_tau0.05.h5"]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    assert f"{tmp_path / 'photos'}: one file is left out" in done.stderr
    assert "cat/a.heic\n" in done.stderr


def linked_tree(root: Path) -> Path:
    """Class folders with links out of the tree, within it and in circles."""
    tree, pool = write_folder(root / "tree", cat=10, dog=6), root / "pool"
    write_folder(pool, owl=4, more=3)
    write_folder(tree / ".kept", newt=2)
    for link, target in {
        "owl": pool / "owl",  # a class that lies elsewhere
        "newt": Path(".kept", "newt"),  # or where the tree is not searched
        "kitten": Path("cat"),  # none: it is cat
        "again": pool / "owl",  # none: it is owl, by which name it comes later
        "self": Path("."),
        "above": root,
        "cat/more": pool / "more",  # a folder of photographs
        "cat/dogs": Path("..", "dog"),
        "cat/loop": Path(".."),
        "cat/first.jpg": Path("0.jpg"),
        "dog/cat.jpg": Path("..", "cat", "1.jpg"),
        "dog/own.jpg": root / "own.jpg",  # a photograph that lies elsewhere
        "dog/gone.jpg": Path("absent"),
        "beside.jpg": Path("cat", "2.jpg"),
    }.items():
        (tree / link).symlink_to(target)
    (root / "own.jpg").write_bytes(b"")
    (pool / "more" / "up").symlink_to(pool)
    (pool / "more" / "same").symlink_to(pool / "more")
    return tree


def test_links_are_followed_unless_they_lead_back_into_the_tree(tmp_path: Path) -> None:
    tree = linked_tree(tmp_path)
    cat = [*(f"cat/{i}.jpg" for i in range(10)), *(f"cat/more/{i}.jpg" for i in range(3))]
    dog = [*(f"dog/{i}.jpg" for i in range(6)), "dog/gone.jpg", "dog/own.jpg"]
    others = [*(f"again/{i}.jpg" for i in range(4)), "newt/0.jpg", "newt/1.jpg"]
    assert list_folder(tree, "all")[0] == ("again", "cat", "dog", "newt")
    assert sorted(names(tree, "all")) == sorted(cat + dog + others)
    # Photographs without classes are the same.
    source = photographs([tree])
    found = {record.name for record in source.records.get(range(len(source)))}
    assert found == {*cat, *dog, *others}
    # So they are by another name of the tree.
    (tmp_path / "link").symlink_to(tree)
    assert names(tmp_path / "link", "all") == names(tree, "all")
    # A file beside the classes does not take a photograph out of them.
    (tree / "beside.jpg").unlink()
    (tree / "cat" / "2.jpg").rename(tree / "beside.jpg")
    (tree / "cat" / "2.jpg").symlink_to(tree / "beside.jpg")
    assert "cat/2.jpg" in names(tree, "all")


@pytest.mark.parametrize("share", ["10%", "20%", "50%"])
def test_nothing_that_is_held_out_is_trained_on_through_a_link(tmp_path: Path, share: str) -> None:
    tree = linked_tree(tmp_path)
    for i in range(10):  # by links, every cat is a dog too
        (tree / "dog" / f"cat{i}.jpg").symlink_to(Path("..", "cat", f"{i}.jpg"))
    halves = [
        [path.resolve() for path, *_ in list_folder(tree, f"{part}:{share}")[1].files]
        for part in ("held-out", "all-but")
    ]
    assert len(halves[0]) + len(halves[1]) == len({*halves[0], *halves[1]})


def test_a_class_of_links_to_another_class_has_no_images(tmp_path: Path) -> None:
    tree = write_folder(tmp_path, cat=3, dog=0)
    (tree / "dog" / "1.jpg").symlink_to(Path("..", "cat", "1.jpg"))
    with pytest.raises(DataError, match=r"has no images .* of the class 'dog'"):
        list_folder(tree, "all")
