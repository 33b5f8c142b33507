from pathlib import Path

import pytest
import torch

# The tests' networks are tiny: two threads take longer over them than one.
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def shared() -> Path:
    folder = Path(__file__).parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip("the folder ../shared with CelebA and the benchmarks is not here")
    return folder
