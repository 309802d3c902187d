"""Weights are read out of foreign files without executing what is pickled in them."""

import io
import pickle
import zipfile

import pytest
import torch
from safetensors.torch import save_file

from forehand.errors import CheckpointError
from forehand_seer.torch_files import read_weights

WEIGHTS = {
    "half": torch.randn(3, 2).half(),
    "whole": torch.arange(4),
    "turned": torch.randn(3, 5).t(),
    "part": torch.randn(10)[4:7],
    "trained": torch.nn.Parameter(torch.randn(2)),
    "none": torch.empty(0, 3),
    "flag": torch.tensor(True),
}


class Harmful:
    def __reduce__(self):
        return print, ("pickled code was executed",)


class Foreign:
    """An object of a class that the reader does not know, with a tensor in it."""

    def __init__(self):
        self.inside = torch.ones(2)


def assert_same(found, wanted):
    assert set(found) == set(wanted)
    for name, tensor in wanted.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)


def test_what_torch_saved(tmp_path):
    torch.save({"model": WEIGHTS, "epoch": 3, "optimizer": {"state": {0: {"step": torch.ones(())}}}}, tmp_path / "a.pth")
    assert_same(read_weights(tmp_path / "a.pth", under="model."), WEIGHTS)
    assert set(read_weights(tmp_path / "a.pth")) == {f"model.{name}" for name in WEIGHTS} | {"optimizer.state.0.step"}


def test_what_torch_saved_long_ago(tmp_path):
    torch.save({"model": WEIGHTS}, tmp_path / "a.pth", _use_new_zipfile_serialization=False)
    assert_same(read_weights(tmp_path / "a.pth", under="model."), WEIGHTS)


def test_safetensors(tmp_path):
    save_file({"a.b": torch.ones(2), "c": torch.zeros(1)}, tmp_path / "a.safetensors")
    assert_same(read_weights(tmp_path / "a.safetensors", under="a."), {"b": torch.ones(2)})


def test_torchscript(tmp_path):
    module = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3)).eval()
    torch.jit.script(module).save(str(tmp_path / "a.pt"))
    assert_same(read_weights(tmp_path / "a.pt"), module.state_dict())


def test_other_objects_are_passed_over_and_nothing_is_executed(tmp_path, capsys):
    beside = {"args": Harmful(), "scheduler": Foreign(), "list": [Foreign()], "function": print, "class": Foreign}
    torch.save({**beside, "model": WEIGHTS}, tmp_path / "a.pth")
    assert_same(read_weights(tmp_path / "a.pth", under="model."), WEIGHTS)
    assert not capsys.readouterr().out


def test_an_old_file_with_code_is_refused(tmp_path, capsys):
    torch.save({"model": {}, "args": Harmful()}, tmp_path / "a.pth", _use_new_zipfile_serialization=False)
    with pytest.raises(CheckpointError, match="something else than tensors"):
        read_weights(tmp_path / "a.pth")
    assert not capsys.readouterr().out


def cut(whole):
    return whole[: len(whole) // 2]


def emptied(whole):
    """The archive, with its numbers gone."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(whole)) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            new.writestr(name, b"" if "/data/" in name else old.read(name))
    return out.getvalue()


def without_numbers(whole):
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(whole)) as old, zipfile.ZipFile(out, "w") as new:
        new.writestr("a/data.pkl", old.read("a/data.pkl"))
    return out.getvalue()


@pytest.mark.parametrize(
    "damage", [cut, emptied, without_numbers, lambda whole: b"", lambda whole: pickle.dumps(1), lambda whole: b"PK"]
)
def test_damaged_files_are_told(damage, tmp_path):
    torch.save(WEIGHTS, tmp_path / "a.pth")
    (tmp_path / "a.pth").write_bytes(damage((tmp_path / "a.pth").read_bytes()))
    with pytest.raises(CheckpointError, match=r"a\.pth"):
        read_weights(tmp_path / "a.pth")


def compressed(whole):
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(whole)) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    return out.getvalue()


def test_compressed_numbers_are_refused(tmp_path):
    torch.save(WEIGHTS, tmp_path / "a.pth")
    (tmp_path / "a.pth").write_bytes(compressed((tmp_path / "a.pth").read_bytes()))
    with pytest.raises(CheckpointError, match=r"a\.pth is damaged: .* is compressed"):
        read_weights(tmp_path / "a.pth")


def test_a_tensor_larger_than_its_numbers_is_refused(tmp_path):
    torch.save({"w": torch.zeros(1).as_strided((100,), (0,))}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=r"a tensor of \(100,\) is not in 1 stored numbers"):
        read_weights(tmp_path / "a.pth")
    torch.save({"w": torch.zeros(1).as_strided((10**9, 10**6), (0, 0))}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match="share what little it holds"):
        read_weights(tmp_path / "a.pth")


@pytest.mark.slow
@pytest.mark.parametrize("legacy", [False, True])
def test_dictionaries_that_share_others_end(tmp_path, legacy):
    shared = {"w": torch.zeros(1)}
    for _ in range(30):
        shared = {"a": shared, "b": shared}
    torch.save(shared, tmp_path / "a.pth", _use_new_zipfile_serialization=not legacy)
    with pytest.raises(CheckpointError, match=r"a\.pth is damaged: it holds more than"):
        read_weights(tmp_path / "a.pth")


def test_a_dictionary_in_itself_ends(tmp_path):
    endless = {"w": torch.zeros(1)}
    endless["again"] = endless
    torch.save(endless, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match="dictionaries in each other"):
        read_weights(tmp_path / "a.pth")


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"no file .*a\.pth"):
        read_weights(tmp_path / "a.pth")
