"""Configs: what is accepted, what is refused, and the way to JSON and back."""

from __future__ import annotations

import json

import pytest

from sact_core.config import (
    NetworkConfig,
    Preprocessing,
    default_preprocessing,
    from_dict,
    parse_units,
    to_dict,
)
from sact_core.families import FAMILIES

IMAGENET_DEPTHS = FAMILIES["imagenet"].depths
RANGE = {"halting": "sact", "tau_conditioned": True, "tau_low": 0.002, "tau_high": 0.2}


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"family": "vgg"}, "family must be one of cifar, imagenet, mobile; got 'vgg'"),
        ({"family": ["cifar"]}, "family must be one of"),
        ({"halting": "SACT"}, "halting must be one of none, act, sact; got 'SACT'"),
        ({"halting": None}, "halting must be one of"),
        ({"units_per_block": (5, 5)}, "units_per_block must have 3 numbers in the cifar family"),
        ({"units_per_block": ()}, "units_per_block must have 3 numbers"),
        ({"units_per_block": 5}, "units_per_block must be a list of whole numbers, got 5"),
        ({"units_per_block": "555"}, "units_per_block must be a whole number from 1 to 512"),
        ({"units_per_block": (5, 0, 5)}, "units_per_block must be a whole number .* got 0"),
        ({"units_per_block": (5, -1, 5)}, "units_per_block must be a whole number"),
        ({"units_per_block": (5, 513, 5)}, "units_per_block must be a whole number"),
        ({"units_per_block": (5, 5.0, 5)}, "units_per_block must be a whole number"),
        ({"units_per_block": (5, True, 5)}, "units_per_block must be a whole number"),
        ({"units_per_block": ([5], [5], [5])}, "units_per_block must be a whole number"),
        (
            {"family": "imagenet", "units_per_block": (5, 5, 5)},
            "units_per_block must have 4 numbers in the imagenet family",
        ),
        ({"base_channels": 0}, "base_channels must be a whole number from 1 to 8192"),
        ({"base_channels": 8194}, "base_channels must be a whole number"),
        ({"base_channels": 15}, "base_channels must be even in the cifar family"),
        ({"num_classes": 0}, "num_classes must be a whole number"),
        ({"num_classes": 10.0}, "num_classes must be a whole number"),
        ({"sact_kernel_size": 5}, "sact_kernel_size must be one of 1, 3; got 5"),
        ({"sact_kernel_size": True}, "sact_kernel_size must be one of 1, 3; got True"),
        ({"sact_kernel_size": 3.0}, "sact_kernel_size must be one of 1, 3; got 3.0"),
        ({"halting_bias": float("nan")}, "halting_bias must be from -1e\\+09 to 1e\\+09"),
        ({"halting_bias": 10**400}, "halting_bias must be from -1e\\+09 to 1e\\+09"),
        ({"halting_bias": "-3"}, "halting_bias must be from -1e\\+09 to 1e\\+09"),
        ({"eps": -0.1}, "eps must be from 0 to 1, got -0.1"),
        ({"eps": 1.1}, "eps must be from 0 to 1"),
        ({"eps": float("nan")}, "eps must be from 0 to 1"),
        ({"eps": None}, "eps must be from 0 to 1"),
        ({"tau_low": 0.01}, "a range of tau belongs to a network with tau_conditioned: true"),
        ({"tau_default": 0.01}, "a range of tau belongs to a network with tau_conditioned"),
        ({"tau_conditioned": 1}, "tau_conditioned must be true or false, got 1"),
        (RANGE | {"halting": "none"}, "a vanilla network never halts: a range of tau needs act"),
        (RANGE | {"tau_high": None}, "needs tau_low and tau_high"),
        (RANGE | {"tau_low": 0.0}, "must go from a number above 0"),
        (RANGE | {"tau_low": 0.2}, "at least 1.01 times as large, got 0.2 to 0.2"),
        (RANGE | {"tau_low": float("nan")}, "tau_low must be a finite number"),
        (RANGE | {"tau_high": "1"}, "tau_high must be a finite number"),
        (RANGE | {"tau_default": 0.3}, "tau_default must be in the range from 0.002 to 0.2"),
        (RANGE | {"tau_default": float("nan")}, "tau_default must be a finite number"),
    ],
)
def test_network_config_refuses(values, match):
    with pytest.raises(ValueError, match=match):
        NetworkConfig(**values)


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"kind": "mnist"}, "kind must be one of cifar, imagenet, mobile"),
        ({"fit": "stretch"}, "fit must be one of crop, square, keep"),
        ({"image_size": 0}, "image_size must be a whole number from 1 to 8192"),
        ({"image_size": 8193}, "image_size must be a whole number"),
        ({"image_size": 32.0}, "image_size must be a whole number"),
        ({"crop_fraction": 0.0}, "crop_fraction must be above 0 and at most 1"),
        ({"crop_fraction": 1.01}, "crop_fraction must be above 0 and at most 1"),
        ({"crop_fraction": float("inf")}, "crop_fraction must be above 0 and at most 1"),
    ],
)
def test_preprocessing_refuses(values, match):
    with pytest.raises(ValueError, match=match):
        Preprocessing(**values)


def test_edges_are_accepted():
    config = NetworkConfig(
        units_per_block=[1, 512, 1], base_channels=2, num_classes=1, sact_kernel_size=1, eps=1
    )
    assert config.units_per_block == (1, 512, 1)
    assert NetworkConfig(eps=0).eps == 0
    assert NetworkConfig("imagenet", (1, 1, 1, 1), base_channels=3).base_channels == 3
    assert Preprocessing(image_size=1, crop_fraction=1).image_size == 1


@pytest.mark.parametrize(
    ("config", "name"),
    [
        (NetworkConfig(), "ResNet-32"),
        (NetworkConfig(units_per_block=(18, 18, 18), halting="act"), "ResNet-110 ACT"),
        (NetworkConfig(halting="sact"), "ResNet-32 SACT"),
        (NetworkConfig(**RANGE), "ResNet-32 SACT any tau"),
        *((NetworkConfig("imagenet", u), f"ResNet-{d}") for d, u in IMAGENET_DEPTHS.items()),
        (NetworkConfig("mobile", (1, 2, 2, 3, 3, 4, 1)), "EfficientNet-Lite0"),
        (NetworkConfig("mobile", (1, 3, 3, 4, 4, 5, 1), halting="sact"), "EfficientNet-Lite1 SACT"),
        (NetworkConfig("mobile", (1, 2, 2, 2, 2, 2, 1)), "EfficientNet-Lite 1_2_2_2_2_2_1"),
    ],
)
def test_name_counts_the_layers(config, name):
    assert config.name == name


@pytest.mark.parametrize(
    ("halting", "halts", "by_position", "by_image"),
    [("none", False, False, False), ("act", True, False, True), ("sact", True, True, False)],
)
def test_how_a_network_halts(halting, halts, by_position, by_image):
    config = NetworkConfig(halting=halting)
    assert (config.halts, config.by_position, config.by_image) == (halts, by_position, by_image)


@pytest.mark.parametrize(
    ("text", "family", "units"),
    [
        ("5", "cifar", (5, 5, 5)),
        (" 18 ", "cifar", (18, 18, 18)),
        ("1_2_3", "cifar", (1, 2, 3)),
        ("50", "imagenet", (3, 4, 6, 3)),
        ("101", "imagenet", (3, 4, 23, 3)),
        ("152", "imagenet", (3, 8, 36, 3)),
        ("200", "imagenet", (3, 24, 36, 3)),
        ("2_2_2_2", "imagenet", (2, 2, 2, 2)),
        ("0", "mobile", (1, 2, 2, 3, 3, 4, 1)),
        ("1", "mobile", (1, 3, 3, 4, 4, 5, 1)),
        (7, "cifar", (7, 7, 7)),
    ],
)
def test_parse_units(text, family, units):
    assert parse_units(text, family) == units


@pytest.mark.parametrize(
    ("text", "family", "match"),
    [
        ("", "cifar", "units must look like"),
        ("five", "cifar", "units must look like 5, 1_2_3 .* got 'five'"),
        ("5_", "cifar", "units must look like"),
        ("1,2,3", "cifar", "units must look like"),
        ("-5", "cifar", "units must look like"),
        ("5.0", "cifar", "units must look like"),
        ("٥", "cifar", "units must look like"),
        ("1_2", "cifar", "units_per_block must have 3 numbers"),
        ("0", "cifar", "units_per_block must be a whole number from 1"),
        ("1000", "cifar", "units_per_block must be a whole number from 1 to 512"),
        ("34", "imagenet", "units must be one of 50, 101, 152, 200 or a list like 3_4_6_3"),
        ("1_2_3", "imagenet", "units_per_block must have 4 numbers"),
        ("5", "vgg", "family must be one of"),
    ],
)
def test_parse_units_refuses(text, family, match):
    with pytest.raises(ValueError, match=match):
        parse_units(text, family)


@pytest.mark.parametrize(
    "record",
    [
        NetworkConfig(),
        NetworkConfig("imagenet", (3, 4, 6, 3), 8, 101, "sact", 1, -1.5, 0.02),
        NetworkConfig(**RANGE),
        NetworkConfig(**RANGE, tau_default=0.002),
        Preprocessing(),
        Preprocessing("imagenet", 160, 0.875, "keep"),
    ],
)
def test_json_and_back(record):
    assert from_dict(type(record), json.loads(json.dumps(to_dict(record)))) == record


def test_the_default_tau_is_the_geometric_middle():
    assert NetworkConfig(**RANGE).tau_default == pytest.approx(0.02)
    assert NetworkConfig(**RANGE, tau_default=0.2).tau_default == 0.2


def test_a_network_without_a_range_of_tau_is_recorded_as_ever():
    assert list(to_dict(NetworkConfig(halting="sact"))) == [
        *("family", "units_per_block", "base_channels", "num_classes", "halting"),
        *("sact_kernel_size", "halting_bias", "eps"),
    ]


def test_from_dict_refuses():
    with pytest.raises(ValueError, match="NetworkConfig must be a JSON object, got list"):
        from_dict(NetworkConfig, [])
    with pytest.raises(ValueError, match="NetworkConfig has unknown keys: depth, width"):
        from_dict(NetworkConfig, {"width": 1, "depth": 2, "family": "cifar"})
    with pytest.raises(ValueError, match="base_channels must be a whole number"):
        from_dict(NetworkConfig, {"base_channels": "16"})


def test_default_preprocessing():
    assert default_preprocessing("cifar") == Preprocessing("cifar", 32, 1.0, "crop")
    assert default_preprocessing("imagenet") == Preprocessing("imagenet", 224, 0.875, "crop")
    assert default_preprocessing("mobile") == Preprocessing("mobile", 224, 0.875, "crop")
    assert [default_preprocessing(family).kind for family in FAMILIES] == list(FAMILIES)
    with pytest.raises(ValueError, match="family must be one of"):
        default_preprocessing("vgg")


def test_a_config_does_not_change():
    config = NetworkConfig()
    with pytest.raises(AttributeError):
        config.eps = 0.5
    assert hash(config) == hash(NetworkConfig(units_per_block=[5, 5, 5]))


def test_vanilla_twin_of_every_kind():
    shape = {"units_per_block": (2, 3, 4), "base_channels": 8, "num_classes": 7}
    taus = {"tau_conditioned": True, "tau_low": 0.001, "tau_high": 0.1}
    for kind in ({"halting": "sact"}, {"halting": "act"}, {}, {"halting": "sact", **taus}):
        assert NetworkConfig(**shape, **kind).vanilla == NetworkConfig(**shape)
    conditioned = NetworkConfig(**shape, halting="act", eps=0.02, **taus)
    assert conditioned.unconditioned == NetworkConfig(**shape, halting="act", eps=0.02)
