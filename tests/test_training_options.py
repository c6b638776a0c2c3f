"""Options of training: defaults, what is refused, and with which words."""

import dataclasses

import numpy as np
import pytest

from xslams.errors import OptionError
from xslams.options import SystemTrainingOptions, TrainingOptions


def test_unknown_options_name_the_nearest() -> None:
    with pytest.raises(OptionError, match=r"Unknown option 'mode'. Did you mean 'modes'\?"):
        TrainingOptions.of(mode=4)
    with pytest.raises(OptionError, match=r"Unknown option 'qqq'. Choose from 'memory'"):
        SystemTrainingOptions.of({"qqq": 1})


def test_a_mapping_and_keyword_arguments_make_options() -> None:
    assert TrainingOptions.of() == TrainingOptions()
    options = TrainingOptions.of({"patch": 2, "modes": 7}, modes=8)
    assert (options.patch, options.modes, options.lags) == (2, 8, TrainingOptions().lags)


def test_values_become_plain_python() -> None:
    options = TrainingOptions(width=[np.int64(8), 16], modes=np.int32(5))
    assert options.width == (8, 16)
    assert type(options.modes) is int
    assert SystemTrainingOptions(noise=[1, 2]).noise == (1.0, 2.0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, -1) for name in ("epochs", "hidden", "lags", "folds", "mean_order", "std_order", "location")),
        *((name, 0) for name in ("patch", "modes", "blocks", "batch", "latent_channels", "localization", "trust")),
        *((name, 1.0) for name in ("dropout", "ema", "holdout")),
        *((name, "1e-3") for name in ("learning_rate", "weight_decay", "sigma_spread", "aux_weight")),
        ("modes", 2.5), ("modes", True), ("smoothing", 4), ("folds", 1), ("shrinkage", 1.1), ("precision", "half"),
        ("patience", 0), ("memory", 0), ("local", -1), ("locality", 1.1), ("local_length", 100.0),
        ("width", 16), ("width", (12,)), ("learning_rate", float("nan")),
    ],
)  # fmt: skip
def test_values_out_of_range_are_refused(name: str, value: object) -> None:
    with pytest.raises(OptionError, match=f"{name}=.*expected"):
        TrainingOptions.of({name: value})


@pytest.mark.parametrize(
    ("name", "value"), [("steps", 0), ("noise", (2.0, 1.0)), ("noise", 0.1), ("blocks", "yes"), ("reach", -1)]
)
def test_values_out_of_range_are_refused_for_systems(name: str, value: object) -> None:
    with pytest.raises(OptionError, match=f"{name}=.*expected"):
        SystemTrainingOptions.of({name: value})


@pytest.mark.parametrize("kind", [TrainingOptions, SystemTrainingOptions])
def test_every_number_has_an_upper_bound(kind: type) -> None:
    for field in dataclasses.fields(kind):
        if (field.name == "blocks" and kind is SystemTrainingOptions) or isinstance(field.default, bool):
            continue
        pair = isinstance(field.default, tuple)
        for huge in (10**12 if isinstance(field.default, int) or pair else 1e12, 10**400, 8 * 10**11, 1e300):
            value = (8, huge) if pair else huge
            with pytest.raises(OptionError, match=f"{field.name}=.*expected"):
                kind.of({field.name: value})


@pytest.mark.parametrize("kind", [TrainingOptions, SystemTrainingOptions])
def test_every_option_is_documented(kind: type) -> None:
    lines = [line.strip() for line in (kind.__doc__ or "").splitlines()]
    documented = {name for line in lines for name in line.split(", ")}
    assert {field.name for field in dataclasses.fields(kind)} <= documented
