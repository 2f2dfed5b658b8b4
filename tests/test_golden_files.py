"""The authors' numbers that lie with the code: enough alone, and the same as in the whole set."""

from __future__ import annotations

import numpy as np
import pytest

from tests import conftest
from tests.conftest import GOLDEN, need_reference, need_shared

FILES = sorted(path.name for path in GOLDEN.iterdir() if path.name != "README.md")


@pytest.fixture
def fresh_clone(tmp_path, monkeypatch):
    """No shared folder beside the repository."""
    monkeypatch.setattr(conftest, "SHARED", tmp_path)
    monkeypatch.delenv("SACT_REQUIRE_SHARED", raising=False)


@pytest.mark.parametrize(
    "name",
    [
        *(f"cifar_{kind}.npz" for kind in ("vanilla_5", "act_2", "act_early_stopping_2", "sact_5")),
        *(
            f"imagenet_{kind}_small.npz"
            for kind in ("vanilla", "act", "act_early_stopping", "sact")
        ),
        "cifar_act_2.ckpt.index",
        "full_size_flops.json",
        "halting_act_U09_eps0.01.npz",
        "halting_sact_residual_U09_eps0.1.npz",
        "summary_sact_cifar.npz",
        "train_cifar_sact_2.npz",
    ],
)
def test_a_fresh_clone_has_every_kind_of_number(fresh_clone, name):
    assert need_reference(name).parent == GOLDEN


def test_a_fresh_clone_has_what_its_files_name(fresh_clone):
    for name in FILES:
        if name.endswith(".npz") and "variables_from" in (arrays := np.load(GOLDEN / name)):
            need_reference(f"{arrays['variables_from']}.npz")


def test_what_is_absent_is_skipped_or_fails(fresh_clone, monkeypatch):
    with pytest.raises(pytest.skip.Exception, match=r"export\.h5 is absent"):
        need_reference("export.h5")
    monkeypatch.setenv("SACT_REQUIRE_SHARED", "1")
    with pytest.raises(pytest.fail.Exception, match=r"export\.h5 is absent"):
        need_reference("export.h5")


def test_they_stay_small():
    assert sum(path.stat().st_size for path in GOLDEN.iterdir()) <= 4_000_000


@pytest.mark.shared
@pytest.mark.parametrize("name", FILES)
def test_they_are_those_of_the_whole_set(name):
    assert (GOLDEN / name).read_bytes() == need_shared("reference", name).read_bytes()
