import errno
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_training import Payload, assert_equal

from deepdepixelate.errors import UserError
from deepdepixelate.training.checkpoints import Checkpoint, CheckpointStore

SETTINGS = {"stage": "pretrain", "seed": 0, "rates": [0.1, 0.2]}


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    return CheckpointStore(tmp_path, SETTINGS)


def state(value: float) -> dict[str, Any]:
    return {
        "weights": {"a": torch.full((3,), value), "b": torch.tensor(2)},
        "history": [{"update": 1, "loss": value}],
        "optimizer": {"param_groups": [{"lr": 1e-4, "betas": (0.9, 0.999), "fused": True}]},
    }


def names(store: CheckpointStore) -> list[str]:
    return sorted(path.name for path in store.folder.glob("*.pt"))


def test_nothing_is_found_before_the_first(store: CheckpointStore) -> None:
    assert store.latest() is None


def test_newest_comes_back(store: CheckpointStore) -> None:
    for update in (5, 100, 20):
        store.save(Checkpoint(update, state(update)))
    found = store.latest()

    assert found is not None
    assert found.update == 100
    assert_equal(found.state, state(100))


def test_only_the_newest_stay(store: CheckpointStore) -> None:
    for update in range(10, 80, 10):
        path = store.save(Checkpoint(update, state(update)))
        assert path.is_file()

    assert names(store) == ["update-000000060.pt", "update-000000070.pt"]


def test_nothing_unfinished_is_left(store: CheckpointStore) -> None:
    store.save(Checkpoint(1, state(1)))

    assert sorted(path.name for path in store.folder.iterdir()) == [
        "fingerprint.json",
        "update-000000001.pt",
    ]


def test_folder_depends_on_every_setting_but_not_on_their_order(tmp_path: Path) -> None:
    folder = CheckpointStore(tmp_path, SETTINGS).folder
    turned = dict(reversed(SETTINGS.items()))

    assert CheckpointStore(tmp_path, turned).folder == folder
    for changed in ({"seed": 1}, {"rates": [0.1, 0.3]}, {"new": None}):
        assert CheckpointStore(tmp_path, SETTINGS | changed).folder != folder


def test_another_training_neither_sees_nor_removes_checkpoints(
    tmp_path: Path, store: CheckpointStore
) -> None:
    store.save(Checkpoint(7, state(7)))
    other = CheckpointStore(tmp_path, SETTINGS | {"seed": 1})
    assert other.latest() is None
    for update in range(5):
        other.save(Checkpoint(update, state(update)))
    other.clear()

    found = store.latest()
    assert found is not None
    assert found.update == 7


def test_cleared_training_starts_from_scratch(store: CheckpointStore) -> None:
    store.save(Checkpoint(7, state(7)))
    store.clear()

    assert store.latest() is None
    assert names(store) == []


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def empty(content: bytes) -> bytes:
    return b""


def zeros(content: bytes) -> bytes:
    return bytes(len(content))


@pytest.mark.parametrize("damage", [cut, empty, zeros])
def test_damaged_checkpoint_is_named_and_passed_over(
    store: CheckpointStore, caplog: pytest.LogCaptureFixture, damage: Callable[[bytes], bytes]
) -> None:
    store.save(Checkpoint(1, state(1)))
    newest = store.save(Checkpoint(2, state(2)))
    newest.write_bytes(damage(newest.read_bytes()))
    found = store.latest()

    assert found is not None
    assert found.update == 1
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert str(newest.with_suffix("")) in caplog.text


def test_foreign_content_is_passed_over(store: CheckpointStore) -> None:
    newest = store.save(Checkpoint(1, state(1)))
    torch.save({"epoch": 3}, newest)

    assert store.latest() is None


def test_code_in_a_checkpoint_is_not_run(store: CheckpointStore, tmp_path: Path) -> None:
    made = tmp_path / "made"
    store.save(Checkpoint(1, state(1)))
    second = store.save(Checkpoint(2, state(2)))
    torch.save({"update": 2, "state": {"payload": Payload(made)}}, second)
    copy = shutil.copy(second, tmp_path / "copy.pt")
    (store.folder / "update-000000003.pt").write_bytes(pickle.dumps(Payload(made), protocol=2))
    found = store.latest()

    assert found is not None
    assert found.update == 1
    assert not made.exists()
    torch.load(copy, weights_only=False)  # the payload is live: a careless reader runs it
    assert made.exists()


def test_saved_checkpoint_outlives_damaged_ones_of_later_updates(store: CheckpointStore) -> None:
    for update in (20, 30):
        path = store.save(Checkpoint(update, state(update)))
        path.write_bytes(b"")
    assert store.latest() is None  # so the training starts from scratch
    store.save(Checkpoint(10, state(10)))
    found = store.latest()

    assert found is not None
    assert found.update == 10


def test_unwritable_checkpoint_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    store = CheckpointStore(tmp_path / "file", SETTINGS)
    with pytest.raises(UserError, match=r"file is not a folder but a file\. Move it"):
        store.save(Checkpoint(3, state(3)))


def test_full_disk_leaves_the_earlier_checkpoints(
    store: CheckpointStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.save(Checkpoint(1, state(1)))
    store.save(Checkpoint(2, state(2)))

    def fill(_: object, file: Any) -> None:  # as torch.save does it
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        finally:
            raise RuntimeError("unexpected pos 704 vs 598")

    with monkeypatch.context() as patched:
        patched.setattr(torch, "save", fill)
        with pytest.raises(UserError, match=r"No space left.*resume from update 2"):
            store.save(Checkpoint(3, state(3)))

    found = store.latest()
    assert found is not None
    assert found.update == 2
    assert len(list(store.folder.iterdir())) == 1 + 2  # the fingerprint and both checkpoints


def test_names_the_settings_that_differ_from_the_newest_other_training(tmp_path: Path) -> None:
    first = CheckpointStore(tmp_path, {"seed": 0, "settings": {"updates": 4, "batch_size": 2}})
    assert first.differences() is None
    first.save(Checkpoint(1, state(1)))
    second = CheckpointStore(tmp_path, {"seed": 0, "settings": {"updates": 8, "batch_size": 2}})
    assert second.differences() == (first.folder, {"settings.updates": (4, 8)})
    assert second.latest() is None
    assert first.latest() is not None
