"""Model files that were damaged: every one is a ModelError, before its sizes cost memory or time."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import random
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from torch import Tensor, nn

import xslams
from xslams.errors import ModelError
from xslams.model import Model
from xslams.options import TrainingOptions
from xslams.priors.base import PRIORS, Prior
from xslams.spec import Spec
from xslams.training import fit_arrays


@pytest.fixture(scope="module")
def intact(tiny_model: Model) -> bytes:
    return tiny_model.path.read_bytes()


def split(data: bytes) -> tuple[dict, bytes]:
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def join(header: object, tensors: bytes) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + tensors


def refused(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    with pytest.raises(ModelError) as caught:
        Model.load(path).prior()
    assert len(str(caught.value)) < 5000


def test_truncated_and_lengthened_files(intact: bytes, tmp_path: Path) -> None:
    header = 8 + struct.unpack("<Q", intact[:8])[0]
    for end in (0, 1, 7, 8, 9, 100, header - 1, header, header + 1, len(intact) // 2, len(intact) - 1):
        refused(tmp_path / "a.safetensors", intact[:end])
    refused(tmp_path / "a.safetensors", intact + b"\0")


@given(position=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7), part=st.sampled_from(["header", "tensors"]))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_a_flipped_bit_anywhere(intact: bytes, tmp_path: Path, position: float, bit: int, part: str) -> None:
    header = 8 + struct.unpack("<Q", intact[:8])[0]
    low, high = (0, header) if part == "header" else (header, len(intact))
    data = bytearray(intact)
    data[low + int(position * (high - low))] ^= 1 << bit
    try:
        (tmp_path / "a.safetensors").write_bytes(data)
        loaded = Model.load(tmp_path / "a.safetensors")
        loaded.prior()
    except ModelError:
        return
    # White space at the end of the header is the only thing that may differ.
    assert loaded.spec == Spec.from_json(split(intact)[0]["__metadata__"]["spec"])
    assert split(bytes(data))[1] == split(intact)[1]


WRONG = [None, True, -1, 0, 1.5, math.nan, math.inf, 10**9, 10**40, "x", [], [1], [[1]], {}, {"a": 1}]


def changed_specs(spec: dict, count: int) -> Iterator[dict]:
    """Specifications with a wild value in one place, of every place in turn."""
    places = [(k,) for k in spec] + [("variables", 0, k) for k in spec["variables"][0]]
    places += [("architecture", k) for k in spec["architecture"]]
    places += [("lat", 0), ("lon", 3), ("variables", 0, "levels", 0)]
    draw = random.Random(0)
    for place in places:
        for value in draw.sample(WRONG, count):
            changed = copy.deepcopy(spec)
            inner = changed
            for key in place[:-1]:
                inner = inner[key]
            inner[place[-1]] = value
            if changed != spec:
                yield changed


def test_every_entry_of_the_specification(intact: bytes, tmp_path: Path) -> None:
    """Wild values in any place are refused, before they cost memory."""
    header, tensors = split(intact)
    for changed in changed_specs(json.loads(header["__metadata__"]["spec"]), 2):
        header["__metadata__"]["spec"] = json.dumps(changed)
        refused(tmp_path / "a.safetensors", join(header, tensors))


def test_every_entry_of_the_specification_of_a_file_without_a_hash(intact: bytes, tmp_path: Path) -> None:
    """Wild values in any place are refused, or are a model that could be: never another error."""
    header, tensors = split(intact)
    del header["__metadata__"]["sha256"]
    accepted = 0
    for changed in changed_specs(json.loads(header["__metadata__"]["spec"]), 2):
        header["__metadata__"]["spec"] = json.dumps(changed)
        (tmp_path / "a.safetensors").write_bytes(join(header, tensors))
        try:
            prior = Model.load(tmp_path / "a.safetensors").prior()
        except ModelError:
            continue
        accepted += 1
        assert all(bool(torch.isfinite(v).all()) for v in prior.state_dict().values())
    assert accepted < 40  # texts, free records, and numbers that are as good as others


@pytest.mark.parametrize(
    "sizes",
    [
        {"latent_channels": 65536},
        {"hidden": 65536},
        {"width": [65536] * 16},
        {"modes": 65536, "lags": 1024},
        {"patch": 0},
    ],
)
def test_sizes_are_compared_before_memory_is_taken(intact: bytes, tmp_path: Path, sizes: dict) -> None:
    header, tensors = split(intact)
    spec = json.loads(header["__metadata__"]["spec"])
    spec["architecture"] |= sizes
    header["__metadata__"]["spec"] = json.dumps(spec)
    del header["__metadata__"]["sha256"]
    refused(tmp_path / "a.safetensors", join(header, tensors))


def test_every_entry_of_the_header(intact: bytes, tmp_path: Path) -> None:
    header, tensors = split(intact)
    name = next(k for k, v in header.items() if k != "__metadata__" and len(v["shape"]) > 1)
    path = tmp_path / "a.safetensors"
    for key, values in {
        "data_offsets": [None, [], [0], [5, 1], [-4, 0], ["0", "4"], [0, 10**30]],
        "shape": [None, [], [10**9, 10**9], [-1], [*header[name]["shape"], 1]],
        "dtype": [None, "F64", "I8", "BOOL", "C64", "X"],
    }.items():
        for value in values:
            refused(path, join({**header, name: {**header[name], key: value}}, tensors))
    for other in (
        [],
        1,
        "x",
        None,
        {},
        {"__metadata__": []},
        {"__metadata__": {"format": "xslams"}},
        {**header, name: 3},
    ):
        refused(path, join(other, tensors))
    refused(path, join({k: v for k, v in header.items() if k != name}, tensors))
    refused(path, struct.pack("<Q", 2**63) + intact[8:])
    nested = b"[" * 100_000
    refused(path, struct.pack("<Q", len(nested)) + nested)


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e30])
def test_weights_that_are_not_finite_are_neither_saved_nor_loaded(
    tiny_model: Model, tmp_path: Path, value: float
) -> None:
    from safetensors.torch import save_file

    prior = copy.deepcopy(tiny_model.prior())
    next(prior.autoencoder.parameters()).data.view(-1)[0] = value  # 1e30 overflows in half precision
    path = tmp_path / "a.safetensors"
    with pytest.raises(ModelError, match=r"is not saved: 1 of \d+ weights of autoencoder"):
        Model(tiny_model.spec, prior=prior).save(path)
    assert list(tmp_path.iterdir()) == []
    state = {k: v.contiguous() for k, v in prior.storage_state().items()}
    save_file(state, path, metadata={"format": "xslams", "spec": tiny_model.spec.to_json()})
    with pytest.raises(ModelError, match="not finite"):
        Model.load(path).prior()


class Packed(nn.Module, Prior):
    """A prior with a storage of its own: other names, small integers, a scale; it reads weights when it is built."""

    def __init__(self, spec: Spec) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(spec.frame_shape))
        self.frame = tuple(int(n) for n in torch.tensor(spec.frame_shape).tolist())

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.frame

    def storage_state(self) -> dict[str, Tensor]:
        return {"packed": self.mean.round().to(torch.int16), "small": torch.ones(2).to(torch.float8_e5m2)}

    def load_state_dict(self, state: Mapping[str, Tensor], **_: object) -> None:
        self.mean.copy_(state["packed"].float() + float(state["small"][0].float()) - 1)


def test_a_prior_with_a_storage_of_its_own(tiny_model: Model, tmp_path: Path) -> None:
    spec = dataclasses.replace(tiny_model.spec, kind="packed")
    PRIORS.register("packed")(Packed)
    try:
        prior = Packed(spec)
        prior.mean += 280
        path = Model(spec, prior=prior).save(tmp_path / "packed.safetensors")
        assert torch.equal(Model.load(path).prior().mean, prior.mean)
        header, tensors = split(path.read_bytes())
        refused(path, join(header, tensors[:-1] + b"\x3d"))
    finally:
        PRIORS.unregister("packed")


@pytest.mark.filterwarnings("ignore:The training data cover")
def test_training_that_does_not_stay_finite_is_an_error(tiny_model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = dataclasses.replace(tiny_model.spec, window=1)
    fields = np.random.default_rng(0).normal(0, 1e25, (20, 3, 8, 16))
    with pytest.raises(ModelError, match=r"Training failed: .* are not finite\. Look for wild values"):
        fit_arrays(spec, [(fields, np.arange(20) / 365)], TrainingOptions(epochs=0), progress=False, device="cpu")


def test_files_without_a_hash_are_read(tiny_model: Model, intact: bytes, tmp_path: Path) -> None:
    header, tensors = split(intact)
    del header["__metadata__"]["sha256"]
    (tmp_path / "a.safetensors").write_bytes(join(header, tensors))
    loaded = Model.load(tmp_path / "a.safetensors").prior().state_dict()
    assert all(torch.equal(v, loaded[k]) for k, v in tiny_model.prior().state_dict().items())


@pytest.mark.parametrize("name", ["lorenz63", "lorenz63-ode", "lorenz96", "kolmogorov", "ncep-na", "speedy-t30"])
def test_embedded_models_pass(name: str) -> None:
    xslams.open_model(name).prior()
