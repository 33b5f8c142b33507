"""The program of docs/how-to/serve-and-export.md that enlarges a table of images with Spark."""

import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from kedro_project import PROJECT
from model_server import database_in, file_of, register

from deepdepixelate.models.enlarge import Enlarger
from deepdepixelate.models.pretrained import find_generator
from deepdepixelate.photographs.reading import decode_rgb

REASON = None
if find_spec("pyspark") is None:
    REASON = "PySpark is not installed: pip install pyspark"
elif shutil.which("java") is None:
    REASON = "Spark needs Java (Debian: default-jre-headless)"
pytestmark = [pytest.mark.slow, pytest.mark.skipif(REASON is not None, reason=REASON or "")]

RNG = np.random.default_rng(0)


def documented_program() -> str:
    text = (PROJECT / "docs/how-to/serve-and-export.md").read_text()
    section = text.split("## Many images with Spark\n", 1)[1]
    program = re.search(r"```python\n(.*?)```", section, re.DOTALL)
    assert program is not None
    return program[1]


def test_the_documents_program_enlarges_all_images_but_the_damaged(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", database_in(tmp_path))
        register(find_generator("srgan"), tmp_path)
    folder = tmp_path / "photographs"
    folder.mkdir()
    files = {}
    for number in range(40):
        kind = ("PNG", "JPEG", "WEBP")[number % 3]
        pixels = RNG.integers(0, 256, (10 + number, 24, 3), np.uint8)
        files[f"{number}.{kind.lower()}"] = file_of(pixels, kind, "L" if number == 3 else None)
    damaged = {"half.jpeg": files["37.jpeg"][:500], "text.png": b"hello"}
    for name, content in {**files, **damaged}.items():
        (folder / name).write_bytes(content)

    ended = subprocess.run(
        [sys.executable, "-c", documented_program()], cwd=tmp_path, capture_output=True, text=True,
        env={
            **os.environ,
            "PYSPARK_PYTHON": sys.executable,
            "SPARK_LOCAL_IP": "127.0.0.1",
            "PYSPARK_SUBMIT_ARGS": "--master local[2] --conf spark.ui.enabled=false pyspark-shell",
        },
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr

    rows = {Path(row["path"]).name: row for row in pq.read_table(tmp_path / "enlarged").to_pylist()}
    assert set(rows) == {*files, *damaged}
    enlarger = Enlarger("srgan", device="cpu", precision="fp32")
    for name, content in files.items():
        assert rows[name]["error"] == ""
        assert rows[name]["png"] == file_of(enlarger(decode_rgb(BytesIO(content))))
    for name in damaged:
        assert rows[name]["png"] == b""
        assert rows[name]["error"].startswith("the image cannot be used: ")
