"""Settings say what they are: docstring, refusals and flags read it there."""

from __future__ import annotations

import argparse
import dataclasses
import math
from dataclasses import dataclass

import pytest

from sact_core.settings import add_setting, check_settings, described, setting, settings
from sact_core.train.options import build_parser
from sact_core.train.recipes import TrainingConfig


@described
@dataclass(frozen=True)
class Recipe:
    """How to bake.

    Parameters
    ----------
    {settings}
    """

    flour: float = setting(0.5, "what there is of it, 100 % at most", low=0, high=1)
    eggs: int = setting(2, "how many", low=1, high=12)
    shape: str = setting("round", "of the cake", choices=("round", "square"))
    side: int = setting(3, "of the tin", choices=(1, 3))
    sweet: bool = setting(False, "with sugar")
    note: str = setting("", "for the baker")
    minutes: int | None = setting(None, "in the oven", low=1, high=1 << 40)
    any_number: float = setting(0.0, "not bounded")
    fullness: float = setting(1.0, "of the tin", low=0, high=1, open_low=True)
    not_told: int = 0

    def __post_init__(self):
        check_settings(self)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"flour": 1.5}, "flour must be from 0 to 1, got 1.5"),
        ({"flour": math.nan}, "flour must be from 0 to 1, got nan"),
        ({"flour": "much"}, "flour must be from 0 to 1, got 'much'"),
        ({"flour": True}, "flour must be from 0 to 1, got True"),
        ({"flour": None}, "flour must be from 0 to 1, got None"),
        ({"eggs": 0}, "eggs must be a whole number from 1 to 12, got 0"),
        ({"eggs": 2.0}, "eggs must be a whole number from 1 to 12, got 2.0"),
        ({"eggs": True}, "eggs must be a whole number from 1 to 12, got True"),
        ({"shape": "oval"}, "shape must be one of round, square; got 'oval'"),
        ({"shape": ["round"]}, "shape must be one of round, square; got ['round']"),
        ({"side": True}, "side must be one of 1, 3; got True"),
        ({"side": 3.0}, "side must be one of 1, 3; got 3.0"),
        ({"sweet": 1}, "sweet must be true or false, got 1"),
        ({"note": 7}, "note must be a text, got 7"),
        ({"minutes": 0}, "minutes must be a whole number from 1 to 1099511627776, got 0"),
        ({"any_number": 10**400}, f"any_number must be a finite number, got {10**400}"),
        ({"fullness": 0}, "fullness must be above 0 and at most 1, got 0"),
        ({"any_number": math.inf}, "any_number must be a finite number, got inf"),
    ],
)
def test_what_makes_no_sense_is_named(values, said):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared
        Recipe(**values)
    assert str(caught.value) == said


def test_what_makes_sense_is_taken():
    Recipe(flour=0, eggs=12, shape="square", side=1, sweet=True, note="hot", minutes=1)
    Recipe(flour=1.0, any_number=-1e300, minutes=None)


def test_the_docstring_says_what_stands_in_the_fields():
    assert Recipe.__doc__ is not None
    assert "{settings}" not in Recipe.__doc__
    assert (
        "    flour : float\n        What there is of it, 100 % at most. From 0 to 1.\n"
        in Recipe.__doc__
    )
    assert "    fullness : float\n        Of the tin. Above 0, at most 1.\n" in Recipe.__doc__
    assert "    minutes : int, optional\n        In the oven.\n" in Recipe.__doc__
    assert "Of the cake. One of ``'round'``, ``'square'``." in Recipe.__doc__
    assert "not_told" not in Recipe.__doc__


def test_flags_are_made_of_settings(capsys):
    parser = argparse.ArgumentParser()
    for each in settings(Recipe).values():
        add_setting(parser, each, "as you like")
    assert vars(parser.parse_args([])) == {}
    found = vars(parser.parse_args(["--flour", ".25", "--minutes", "40", "--no-sweet"]))
    assert found == {"flour": 0.25, "minutes": 40, "sweet": False}
    with pytest.raises(SystemExit):
        parser.parse_args(["--shape", "oval"])
    with pytest.raises(SystemExit):
        parser.parse_args(["--help"])
    assert "what there is of it, 100 % at most (as you like)" in capsys.readouterr().out


# --- training ---


def test_every_setting_of_training_is_told_and_a_flag():
    known = settings(TrainingConfig)
    fields = {field.name for field in dataclasses.fields(TrainingConfig)}
    assert set(known) == fields - {"network"}
    flags = {flag for a in build_parser()._actions for flag in a.option_strings}
    for name, each in known.items():
        # Two ends of a range are one flag.
        flag = "--sizes" if name in ("size_low", "size_high") else f"--{name.replace('_', '-')}"
        assert flag in flags, name
        assert f"    {name} : {each.kind.__name__}" in TrainingConfig.__doc__, name
        if each.kind in (int, float) and each.choices is None:
            assert each.low is not None, name
            assert each.high is not None, name
    for flag in (
        "--preset", "--family", "--halting", "--units", "--base-channels", "--sact-kernel-size",
        "--halting-bias", "--eps", "--holdout", "--data-dir", "--no-flip", "--data-workers",
        "--tau-range", "--no-nesterov", "--no-compile", "--device", "--num-threads", "--run-dir",
        "--resume",
    ):  # fmt: skip
        assert flag in flags, flag


def test_help_says_what_holds_where_a_flag_is_left_out(capsys):
    with pytest.raises(SystemExit):
        build_parser().parse_args(["--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert (
        "the highest of the schedule (default: 0.1, fast: 0.2, finetune: 0.05, teach: 0.001)"
        in said
    )
    assert "in place of epochs (authors: 100000)" in said
    assert "differ in size (imagenet: 224, mobile: 224)" in said
    assert "mirror half of the images (default: yes)" in said
