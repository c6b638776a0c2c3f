"""The model file: what it gives back, and what is refused."""

import dataclasses
import json
import pickle
import struct
from pathlib import Path

import pytest
import torch

from xslams.errors import ModelError
from xslams.model import Model


def test_model_survives_its_file(unsaved_model: Model, tmp_path: Path) -> None:
    path = unsaved_model.save(tmp_path / "tiny.safetensors")
    loaded = Model.load(path)
    assert loaded.spec == unsaved_model.spec
    assert loaded._prior is None  # only the header was read
    for (name, a), b in zip(
        unsaved_model.prior().state_dict().items(), loaded.prior().state_dict().values(), strict=True
    ):
        assert torch.equal(a, b), name
    assert not loaded.prior().training
    assert list(tmp_path.iterdir()) == [path]


def test_a_model_without_a_name_takes_that_of_its_file(unsaved_model: Model, tmp_path: Path) -> None:
    plain = Model(dataclasses.replace(unsaved_model.spec, name="unnamed"), prior=unsaved_model.prior())
    path = plain.save(tmp_path / "mine.safetensors")
    assert plain.spec.name == Model.load(path).spec.name == "mine"
    unsaved_model.save(path)
    assert Model.load(path).spec.name == unsaved_model.spec.name


def test_saved_model_pickles_as_a_handle(unsaved_model: Model, tmp_path: Path) -> None:
    model = Model.load(unsaved_model.save(tmp_path / "tiny.safetensors"))
    model.prior()
    assert len(pickle.dumps(model)) < 20_000
    assert pickle.loads(pickle.dumps(model)).sha256 == model.sha256


def _damage_truncate(data: bytes) -> bytes:
    return data[: len(data) // 2]


def _damage_foreign(data: bytes) -> bytes:
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    header["__metadata__"] = {"format": "pt"}
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data[8 + length :]


def _damage_future(data: bytes) -> bytes:
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    spec = json.loads(header["__metadata__"]["spec"]) | {"format_version": 99}
    header["__metadata__"]["spec"] = json.dumps(spec)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data[8 + length :]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_damage_truncate, "truncated"),
        (_damage_foreign, "not an xslams model"),
        (_damage_future, "Update xslams"),
        (lambda _: b"\x80\x04K\x01.", "not an xslams model"),
        (lambda _: b"", "not an xslams model"),
    ],
)
def test_bad_files_are_refused(unsaved_model: Model, tmp_path: Path, damage, message: str) -> None:
    path = unsaved_model.save(tmp_path / "tiny.safetensors")
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ModelError, match=message):
        Model.load(path)


def test_missing_file_and_wrong_suffix(unsaved_model: Model, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"list_models"):
        Model.load(tmp_path / "none.safetensors")
    with pytest.raises(ModelError, match="safetensors"):
        unsaved_model.save(tmp_path / "model.pt")
