"""What the training does not depend on."""

import ast
from pathlib import Path

import pytest

import deepdepixelate

PACKAGE = Path(deepdepixelate.__file__).parent
ABOVE = ("kedro", "mlflow", "deepdepixelate.pipelines", "deepdepixelate.tracking")


def imports(folder: Path) -> set[str]:
    """The modules that those in a folder import, inside functions too."""
    names = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize(
    ("package", "forbidden"),
    [
        ("training", ("deepdepixelate.evaluation", *ABOVE)),
        ("evaluation", ("deepdepixelate.training", *ABOVE)),
    ],
)
def test_training_and_evaluation_are_independent(package: str, forbidden: tuple[str, ...]) -> None:
    found = imports(PACKAGE / package)
    assert found
    assert not {
        name for name in found for module in forbidden if f"{name}.".startswith(f"{module}.")
    }
