"""Weight files: every kind gives the same arrays, every fault one sentence, and no file runs anything."""

import os
import pathlib
import pickle
import sys
import types
import warnings
import zipfile
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from smarttrim_jax.errors import CheckpointError
from smarttrim_jax.pretrained.files import is_weight_file, read_metadata, read_weights, write_weights

WEIGHTS = {
    "single": np.float32([[1.5, -2.0, 3.25], [0.0, 1e-8, 7.0]]),
    "half": np.float16([0.5, 65504.0]),
    "brain": np.array([1.0, -3.0, 2.0**100], ml_dtypes.bfloat16),
    "count": np.int64(7),
}


def assert_the_weights(found: dict[str, np.ndarray]) -> None:
    assert found.keys() == WEIGHTS.keys()
    for name, array in WEIGHTS.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(found[name], array)


@pytest.fixture
def torch() -> Any:
    return pytest.importorskip("torch", reason="reading torch's files needs the extra 'torch'")


@pytest.fixture
def state_dict(torch: Any) -> dict[str, Any]:
    brain = torch.tensor(WEIGHTS["brain"].astype(np.float32)).to(torch.bfloat16)
    return {name: brain if name == "brain" else torch.tensor(array) for name, array in WEIGHTS.items()}


def test_safetensors_come_back_as_written_without_torch(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    path = tmp_path / "model.safetensors"
    write_weights(path, WEIGHTS | {"single": np.asfortranarray(WEIGHTS["single"])}, {"made_by": "a test"})
    assert_the_weights(read_weights(path))
    assert read_metadata(path) == {"made_by": "a test"}
    assert os.listdir(tmp_path) == ["model.safetensors"]
    (tmp_path / "other").touch()
    assert path.stat().st_mode == (tmp_path / "other").stat().st_mode


@pytest.mark.parametrize("name", ["model.pt", "model.pth", "model.bin", "model.ckpt"])
@pytest.mark.parametrize("wrapper", [None, "state_dict", "model"])
def test_torchs_files_are_unwrapped(
    torch: Any, state_dict: dict[str, Any], tmp_path: pathlib.Path, name: str, wrapper: str | None
) -> None:
    content = {"epoch": 3, wrapper: state_dict} if wrapper else state_dict
    torch.save(content, tmp_path / name)
    assert_the_weights(read_weights(tmp_path / name))
    assert read_metadata(tmp_path / name) == {}


def test_torchs_format_before_1_6_is_read(torch: Any, state_dict: dict[str, Any], tmp_path: pathlib.Path) -> None:
    torch.save({"model": state_dict}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert_the_weights(read_weights(tmp_path / "old.pth"))


def test_classes_that_lightning_mentions_stand_for_nothing(
    torch: Any, state_dict: dict[str, Any], tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Callback:
        """What importing, making or restoring it would do, shows."""

        def __setstate__(self, state: Any) -> None:
            (tmp_path / "ran").touch()

    name = "pytorch_lightning.callbacks.model_checkpoint"
    Callback.__module__, Callback.__qualname__ = name, "ModelCheckpoint"
    module = types.ModuleType(name)
    module.ModelCheckpoint = Callback  # type: ignore[attr-defined]
    instance = Callback()
    instance.best = 0.7  # type: ignore[attr-defined]
    with monkeypatch.context() as patch:
        for parent in ("pytorch_lightning", "pytorch_lightning.callbacks"):
            patch.setitem(sys.modules, parent, types.ModuleType(parent))
        patch.setitem(sys.modules, name, module)
        content = {"callbacks": {Callback: {"best": 0.7}}, "logger": instance, "state_dict": state_dict}
        torch.save(content, tmp_path / "meter.ckpt")
    assert_the_weights(read_weights(tmp_path / "meter.ckpt"))
    assert not (tmp_path / "ran").exists()
    # gone again: only for the time of one reading
    assert not any(isinstance(known, tuple) for known in torch.serialization.get_safe_globals())


class Payload:
    """Unpickled, it makes a file."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("how", ["torch.save", "torch.save before 1.6", "pickle.dump"])
def test_a_file_that_would_run_code_is_refused_and_nothing_runs(torch: Any, tmp_path: pathlib.Path, how: str) -> None:
    ran, path = tmp_path / "ran", tmp_path / "model.bin"
    content = {"state_dict": {"weight": torch.zeros(2)}, "extra": Payload(ran)}
    if how == "pickle.dump":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=how == "torch.save")
    with pytest.raises(CheckpointError, match=r"holds more than weights.*nothing of it was run; save its state_dict"):
        read_weights(path)
    assert not ran.exists()
    pickle.loads(pickle.dumps(Payload(ran)))
    assert ran.exists(), "the payload itself must work, or this test proves nothing"


def test_a_program_is_no_weight_file(torch: Any, tmp_path: pathlib.Path) -> None:
    with pytest.warns((DeprecationWarning, FutureWarning), match="torch.jit"):
        torch.jit.script(torch.nn.Linear(2, 2)).save(str(tmp_path / "clip.pt"))
    with pytest.raises(CheckpointError, match=r"clip.pt' is a TorchScript program; save its weights"):
        read_weights(tmp_path / "clip.pt")


@pytest.mark.parametrize("kept", [0, 5, 40, 0.5, 0.99])
@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".ckpt"])
def test_a_truncated_file_is_named(
    request: pytest.FixtureRequest, tmp_path: pathlib.Path, suffix: str, kept: float
) -> None:
    path = tmp_path / f"model{suffix}"
    if suffix == ".safetensors":
        write_weights(path, WEIGHTS, {})
    else:
        torch = request.getfixturevalue("torch")
        weights = request.getfixturevalue("state_dict")
        torch.save(weights, path, _use_new_zipfile_serialization=suffix == ".pth")
    content = path.read_bytes()
    path.write_bytes(content[: kept if kept > 1 else int(kept * len(content))])
    with pytest.raises(CheckpointError, match=rf"model{suffix}' is damaged"):
        read_weights(path)
    if suffix == ".safetensors":
        with pytest.raises(CheckpointError, match="is damaged"):
            read_metadata(path)


def test_what_is_missing_is_named(torch: Any, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CheckpointError, match=r"none.pth' is missing"):
        read_weights(tmp_path / "none.pth")
    with pytest.raises(CheckpointError, match=r"model.h5' is no weight file by its suffix; known are .safetensors"):
        read_weights(tmp_path / "model.h5")
    torch.save({"epoch": 3, "state_dict": {}}, tmp_path / "empty.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    for name in ("empty.pth", "list.pth"):
        with pytest.raises(CheckpointError, match=rf"{name}' holds no weights"):
            read_weights(tmp_path / name)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(CheckpointError, match=r"needs torch; pip install 'smarttrim_jax\[torch\]'"):
        read_weights(tmp_path / "empty.pth")


def test_writing_where_it_cannot_be_done_is_named(tmp_path: pathlib.Path) -> None:
    with pytest.raises(CheckpointError, match=r"cannot write '.*/nowhere/model.safetensors'"):
        write_weights(tmp_path / "nowhere" / "model.safetensors", WEIGHTS, {})
    with pytest.raises(CheckpointError, match=r"written as .safetensors, not as '.*model.pth'"):
        write_weights(tmp_path / "model.pth", WEIGHTS, {})


def test_weight_files_are_known_by_their_suffix() -> None:
    assert is_weight_file("runs/meter.ckpt")
    assert is_weight_file(pathlib.Path("model.safetensors"))
    assert not is_weight_file("runs/finetune")
    assert not is_weight_file("packages")


def odd_tensors(torch: Any) -> dict[str, Any]:
    dense = torch.ones(4, 4)
    return {
        "sparse": dense.to_sparse(),
        "quantized": torch.quantize_per_tensor(dense, 0.1, 0, torch.qint8),
        "on the 'meta' device": torch.empty(4, 4, device="meta"),
        "larger than what its file holds": torch.ones(1).expand(2**40),
        "float8_e4m3fn": dense.to(torch.float8_e4m3fn),
    }


@pytest.mark.parametrize(
    "kind", ["sparse", "quantized", "on the 'meta' device", "larger than what its file holds", "float8_e4m3fn"]
)
def test_tensors_without_plain_numbers_are_named(torch: Any, tmp_path: pathlib.Path, kind: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's, of kinds that it will not keep
        torch.save({"state_dict": {"odd.weight": odd_tensors(torch)[kind]}}, tmp_path / "model.pth")
    with pytest.raises(CheckpointError, match=rf"weight 'odd.weight' is .*{kind}") as error:
        read_weights(tmp_path / "model.pth")
    assert "\n" not in str(error.value)


def test_views_come_as_the_numbers_that_they_show(torch: Any, tmp_path: pathlib.Path) -> None:
    whole = torch.arange(12.0).reshape(3, 4).requires_grad_()
    views = {"turned": whole.T, "part": whole[1:, ::2], "empty": whole[:0]}
    torch.save({"model_state_dict": {f"module.{name}": view for name, view in views.items()}}, tmp_path / "model.pth")
    found = read_weights(tmp_path / "model.pth")
    for name, view in views.items():
        np.testing.assert_array_equal(found[name], view.detach().numpy())


def test_an_archive_that_unpacks_to_more_than_it_is_is_refused(torch: Any, tmp_path: pathlib.Path) -> None:
    torch.save({"weight": torch.zeros(1000, 1000)}, tmp_path / "plain.pth")
    with (
        zipfile.ZipFile(tmp_path / "plain.pth") as plain,
        zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as bomb,
    ):
        for entry in plain.namelist():
            bomb.writestr(entry, plain.read(entry))
    with pytest.raises(CheckpointError, match=r"bomb.pth' is a compressed archive"):
        read_weights(tmp_path / "bomb.pth")
