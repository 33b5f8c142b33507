import ast
import base64
import hashlib
import json
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import partial
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from io import BytesIO
from pathlib import Path
from typing import Any
from unittest.mock import patch

import mlflow
import numpy as np
import pandas as pd
import pytest
import torch
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import scoring_server
from numpy.typing import NDArray
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from PIL import Image

from deepdepixelate.errors import UserError
from deepdepixelate.models.enlarge import Enlarger
from deepdepixelate.models.generator import Generator, GeneratorArchitecture
from deepdepixelate.models.weights import Weights, load_weights, save_weights
from deepdepixelate.tracking.outbox import OUTBOX
from deepdepixelate.tracking.registry import (
    download,
    find_registered,
    register_generator,
    registered_name,
)
from deepdepixelate.tracking.served_model import ImageEnlarger

NAME = "deepdepixelate-srgan-sample"


def make_weights(seed: int = 0) -> Weights:
    torch.manual_seed(seed)
    architecture = GeneratorArchitecture(blocks=1, channels=4, scale=4)
    generator = Generator(architecture)
    return Weights(
        kind="generator",
        architecture=architecture.model_dump(),
        tensors=generator.state_dict(),
        provenance={
            "fingerprint": {"stage": "train_gan", "settings": {"updates": 7}},
            "git_commit": None,
        },
    )


def pixels(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def file_of(image: NDArray[np.uint8], kind: str = "PNG", mode: str | None = None) -> bytes:
    file = BytesIO()
    picture = Image.fromarray(image)
    (picture if mode is None else picture.convert(mode)).save(file, kind)
    return file.getvalue()


def opened(file: bytes) -> NDArray[np.uint8]:
    with Image.open(BytesIO(file)) as image:
        assert (image.format, image.mode) == ("PNG", "RGB")
        return np.asarray(image)


def expected(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return Enlarger(make_weights(), device="cpu", precision="fp32")(image)


@pytest.fixture(scope="module")
def enlarger(tmp_path_factory: pytest.TempPathFactory) -> ImageEnlarger:
    path = tmp_path_factory.mktemp("weights") / "srgan.safetensors"
    save_weights(path, make_weights())
    return ImageEnlarger(path)


A, B = pixels(9, 12), pixels(20, 7, seed=1)


@pytest.mark.parametrize("image", [A, np.stack([A, A[::-1]])], ids=["one", "batch"])
def test_arrays_come_back_as_arrays(enlarger: ImageEnlarger, image: NDArray[np.uint8]) -> None:
    for given in (image, image.astype(np.int64), image.tolist()):
        enlarged = enlarger.predict(given)
        assert enlarged.dtype == np.uint8
        np.testing.assert_array_equal(enlarged, expected(image))


@pytest.mark.parametrize(
    "given",
    [
        file_of(A),
        bytearray(file_of(A)),
        file_of(A, "BMP"),
        base64.b64encode(file_of(A)).decode(),
        base64.encodebytes(file_of(A)).decode(),
    ],
    ids=["png", "bytearray", "bmp", "base64", "base64 in lines"],
)
def test_a_file_comes_back_as_png(enlarger: ImageEnlarger, given: Any) -> None:
    np.testing.assert_array_equal(opened(enlarger.predict(given)), expected(A))


def test_a_jpeg_is_turned_upright(enlarger: ImageEnlarger) -> None:
    file = BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held on its side
    Image.fromarray(A).save(file, "JPEG", quality=95, exif=exif)
    with Image.open(BytesIO(file.getvalue())) as image:
        upright = np.ascontiguousarray(np.rot90(np.asarray(image), -1))
    np.testing.assert_array_equal(opened(enlarger.predict(file.getvalue())), expected(upright))


FILES = [file_of(A), file_of(B)]


@pytest.mark.parametrize(
    "given",
    [
        FILES,
        tuple(FILES),
        np.array(FILES, dtype=object),
        pd.Series(FILES),
        pd.DataFrame({"image": FILES}, index=[5, 3]),
        [base64.b64encode(file).decode() for file in FILES],
    ],
    ids=["list", "tuple", "array", "series", "table", "base64"],
)
def test_files_of_any_sizes_come_back_in_order(enlarger: ImageEnlarger, given: Any) -> None:
    enlarged = enlarger.predict(given)
    assert isinstance(enlarged, list)
    for file, image in zip(enlarged, (A, B), strict=True):
        np.testing.assert_array_equal(opened(file), expected(image))


def test_arrays_of_several_sizes_are_taken_as_a_list(enlarger: ImageEnlarger) -> None:
    for enlarged, image in zip(enlarger.predict([A, B]), (A, B), strict=True):
        np.testing.assert_array_equal(enlarged, expected(image))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (A[..., 0], r"shape \(9, 12\) \(gray\)"),
        (A[..., :1], r"shape \(9, 12, 1\) \(gray\)"),
        (np.concatenate([A, A[..., :1]], axis=2), r"\(9, 12, 4\) \(alpha\)"),
        (A[:0], r"shape \(0, 12, 3\)"),
        (A / 255, "float64 values: uint8"),
        (A.astype(np.int32) + 1, "int32 values: uint8"),
        ([[[1, 2, 3]], [[1, 2, 3], [4, 5, 6]]], "the image has rows of different lengths"),
        (np.zeros((2001, 2000, 3), np.uint8), "2000x2001 pixels: more than 4 megapixels"),
        (b"", "the image cannot be used: not an image that can be read"),
        (b"GIF89a", "not an image that can be read"),
        (file_of(pixels(40, 40))[:2000], "damaged image"),
        (file_of(np.zeros((2001, 2000, 3), np.uint8)), "2000x2001 pixels: more than 4 megapixels"),
        ("holiday.png", "not base64"),
        ([FILES[0], b"?"], "image 1 cannot be used: not an image that can be read"),
        (pd.DataFrame({"a": FILES, "b": FILES}), "2 columns"),
        (None, "the image is missing"),
        (pd.Series([FILES[0], None]), "image 1 is missing"),
    ],
)
def test_bad_input_is_an_error(enlarger: ImageEnlarger, given: Any, message: str) -> None:
    with pytest.raises(MlflowException, match=message) as raised:
        enlarger.predict(given)
    assert raised.value.error_code == "INVALID_PARAMETER_VALUE"


def test_the_answer_of_a_server_is_the_reason_without_the_input(enlarger: ImageEnlarger) -> None:
    file = b"?" * 1000
    with pytest.raises(MlflowException) as raised:
        enlarger.predict([file])
    raised.value.message = f"Failed to predict data '{[file]}'. Error: {raised.value.message}"
    answer = json.loads(raised.value.serialize_as_json())
    assert answer["message"] == "image 0 cannot be used: not an image that can be read."


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA"])
def test_files_without_colour_or_with_alpha_become_rgb(enlarger: ImageEnlarger, mode: str) -> None:
    file = file_of(A, mode=mode)
    with Image.open(BytesIO(file)) as image:
        values = np.asarray(image.convert("RGB"))
    np.testing.assert_array_equal(opened(enlarger.predict(file)), expected(values))


def test_transparent_areas_are_white(enlarger: ImageEnlarger) -> None:
    transparent = np.zeros((6, 5, 4), np.uint8)
    white = np.full((6, 5, 3), 255, np.uint8)
    np.testing.assert_array_equal(opened(enlarger.predict(file_of(transparent))), expected(white))


def test_errors_can_be_reported_beside_the_images(enlarger: ImageEnlarger) -> None:
    table = pd.DataFrame({"image": [FILES[0], b"?", None, FILES[1]]}, index=[7, 5, 3, 1])
    reported = enlarger.predict(table, params={"on_error": "report"})
    assert list(reported.columns) == ["image", "error"]
    reasons = [
        "",
        "the image cannot be used: not an image that can be read.",
        "the image is missing.",
    ]
    assert list(reported["error"]) == [*reasons, ""]
    files = [base64.b64decode(text) for text in reported["image"]]
    assert files[1:3] == [b"", b""]
    np.testing.assert_array_equal(opened(files[0]), expected(A))
    np.testing.assert_array_equal(opened(files[3]), expected(B))
    (row,) = enlarger.predict(A, params={"on_error": "report"}).itertuples()
    assert (row.image, row.error) == (base64.b64encode(files[0]).decode(), "")
    with pytest.raises(MlflowException, match="on_error is 'ignore': raise or report is needed"):
        enlarger.predict(table, params={"on_error": "ignore"})


@pytest.mark.parametrize(("limit", "accepted"), [("0.0001", False), ("0.000108", True)])
def test_the_environment_limits_the_pixels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, accepted: bool
) -> None:
    path = tmp_path / "srgan.safetensors"
    save_weights(path, make_weights())
    monkeypatch.setenv("DEEPDEPIXELATE_MAX_MEGAPIXELS", limit)
    limited = ImageEnlarger(path)
    for given in (A, FILES[0]):
        if accepted:
            limited.predict(given)
        else:
            with pytest.raises(MlflowException, match=r"12x9 pixels: more than 0\.0001 megapixels"):
                limited.predict(given)


@pytest.mark.parametrize("limit", ["", "many", "0", "-1", "nan", "inf"])
def test_a_limit_that_is_no_positive_number_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    path = tmp_path / "srgan.safetensors"
    save_weights(path, make_weights())
    monkeypatch.setenv("DEEPDEPIXELATE_MAX_MEGAPIXELS", limit)
    with pytest.raises(UserError, match=r"DEEPDEPIXELATE_MAX_MEGAPIXELS is .*positive number"):
        ImageEnlarger(path)


@pytest.mark.parametrize("on_error", ["raise", "report"])
@pytest.mark.parametrize("given", [FILES, np.stack([A, A])])
def test_work_stops_before_the_timeout_of_a_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: Any, on_error: str
) -> None:
    path = tmp_path / "srgan.safetensors"
    save_weights(path, make_weights())
    monkeypatch.setenv("MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT", "0")
    with pytest.raises(MlflowException, match="longer than 0 s: send fewer or smaller") as raised:
        ImageEnlarger(path).predict(given, params={"on_error": on_error})
    assert raised.value.error_code == "INVALID_PARAMETER_VALUE"


def test_only_celeba_has_the_plain_name() -> None:
    assert registered_name("srgan", "celeba") == "deepdepixelate-srgan"
    assert registered_name("srgan", "sample") == "deepdepixelate-srgan-sample"


@pytest.fixture(scope="module", autouse=True)
def import_path() -> Iterator[None]:
    """MLflow puts the code of each loaded model on the path, where other tests would find it."""
    with patch.object(sys, "path", list(sys.path)):
        yield


@pytest.fixture(scope="module")
def run_id(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A run in a store of its own in which a generator was registered."""
    folder = tmp_path_factory.mktemp("mlflow")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        patch.setenv("MLFLOW_EXPERIMENT_ID", experiment := create_experiment(folder))
        assert mlflow.get_tracking_uri().endswith(f"{folder}/mlflow.db"), "another test set it"
        with mlflow.start_run(experiment_id=experiment) as run:
            mlflow.log_metric("train_gan.val.psnr_y", 20.5, step=7)
            mlflow.log_metric("train_gan.val.st_lpips", 0.25, step=7)
            mlflow.log_metric("pretrain.val.psnr_y", 19.5, step=7)
            register_generator("srgan", make_weights(), "sample")
        yield run.info.run_id


def create_experiment(folder: Path) -> str:
    return mlflow.create_experiment("models", artifact_location=(folder / "artifacts").as_uri())


@pytest.fixture(scope="module")
def served(run_id: str) -> Any:
    return mlflow.pyfunc.load_model(f"models:/{NAME}/1")


@pytest.mark.slow
def test_a_registered_model_predicts_bit_for_bit(served: Any, run_id: str) -> None:
    of_the_run: Any = mlflow.pyfunc.load_model(f"runs:/{run_id}/srgan")
    batch = np.stack([A, A[::-1]])
    for model in (served, of_the_run):
        np.testing.assert_array_equal(model.predict(A), expected(A))
        np.testing.assert_array_equal(model.predict(batch), expected(batch))
        np.testing.assert_array_equal(opened(model.predict(FILES[1])), expected(B))
        (one,) = model.predict(pd.DataFrame({"image": FILES[:1]}))
        np.testing.assert_array_equal(opened(one), expected(A))


@pytest.mark.slow
def test_a_registered_generator_is_found_by_its_name(run_id: str, tmp_path: Path) -> None:
    found = find_registered(f"models:/{NAME}@latest")
    assert found.digest == make_weights().digest
    version = found.provenance["registered_model"].removeprefix(f"models:/{NAME}/")
    assert find_registered(f"models:/{NAME}/{version}").provenance == found.provenance
    path = download(f"models:/{NAME}/1", tmp_path)
    assert path.name == f"{NAME}-1.safetensors"
    assert load_weights(path).provenance["registered_model"] == f"models:/{NAME}/1"


@pytest.mark.slow
def test_a_model_that_cannot_be_used_is_named(run_id: str) -> None:
    for name in ("deepdepixelate-srgan@latest", f"{NAME}/77", f"{NAME}@best"):
        with pytest.raises(UserError, match=f"the model models:/{name} cannot be loaded"):
            find_registered(f"models:/{name}")
    with mlflow.start_run():
        other = mlflow.pyfunc.log_model(
            name="other", python_model=lambda model_input: model_input, pip_requirements=[]
        )
    mlflow.register_model(other.model_uri, "other")
    with pytest.raises(UserError, match=r"models:/other/1 .* is not a generator of DeepDepixelate"):
        find_registered("models:/other@latest")


@pytest.mark.slow
def test_a_served_model_answers_requests(served: Any) -> None:
    def answer(inputs: Any) -> Any:
        request = json.dumps({"inputs": inputs}), "application/json"
        schema = served.metadata.get_input_schema()
        response = scoring_server.invocations(*request, served, schema)
        assert response.status == 200
        return json.loads(response.response)["predictions"]

    (file,) = answer([base64.b64encode(FILES[0]).decode()])
    np.testing.assert_array_equal(opened(base64.b64decode(file)), expected(A))
    assert answer(A.tolist()) == expected(A).tolist()
    with pytest.raises(MlflowException, match="not an image that can be read"):
        answer(["aGVsbG8="])


@pytest.mark.slow
def test_is_recorded_with_signature_example_and_pinned_requirements(served: Any) -> None:
    signature = served.metadata.signature
    assert signature is not None
    assert [column.type.name for column in signature.inputs.inputs] == ["binary"]
    assert [column.type.name for column in signature.outputs.inputs] == ["binary"]
    assert served.input_example is not None
    assert opened(served.predict(served.input_example)[0]).shape == (96, 96, 3)
    folder = Path(mlflow.artifacts.download_artifacts(f"models:/{NAME}/1"))
    requirements = (folder / "requirements.txt").read_text().split()
    assert {line.partition("==")[0] for line in requirements} >= {"torch", "safetensors", "mlflow"}
    assert all("==" in line and "+" not in line for line in requirements)
    assert [path.name for path in folder.glob("data/*")] == ["srgan.safetensors"]
    assert not [path for path in folder.rglob("*") if path.suffix in (".pkl", ".pyc", ".pth")]


@pytest.mark.slow
def test_is_linked_to_its_run_and_the_last_validation(run_id: str) -> None:
    client = mlflow.MlflowClient()
    version = client.get_model_version(NAME, "1")
    assert version.run_id == run_id
    assert version.tags["weights_digest"] == make_weights().digest
    assert version.tags["scale"] == "4"
    assert "git_commit" not in version.tags
    scores, architecture = str(version.description).split("\n\n")
    assert scores == "Validation: PSNR 20.50\N{NO-BREAK SPACE}dB, ST-LPIPS 0.250"
    assert architecture == "4x, 1 blocks of 4 channels, 7 updates on sample"
    outputs = client.get_run(run_id).outputs
    assert outputs is not None
    (output,) = outputs.model_outputs
    metrics = client.get_logged_model(output.model_id).metrics or ()
    assert {metric.key: metric.value for metric in metrics} == {
        "train_gan.val.psnr_y": 20.5,
        "train_gan.val.st_lpips": 0.25,
    }


@pytest.mark.slow
def test_loads_where_its_requirements_alone_are_installed(run_id: str, tmp_path: Path) -> None:
    """Without the ``.pth`` files of the environment an editable install is not to be found."""
    required = requirements()
    allowed = needed(required)
    foreign = {
        module
        for module, makers in packages_distributions().items()
        if not {canonicalize_name(maker) for maker in makers} & allowed
    }
    program = (
        "import sys, hashlib; sys.path.append(sys.argv[1])\n"
        "try:\n"
        "    import deepdepixelate; sys.exit('it is installed')\n"
        "except ModuleNotFoundError: pass\n"
        "class Absent:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.partition('.')[0] in {sorted(foreign - {'deepdepixelate'})}:\n"
        "            raise ModuleNotFoundError(f'No module named {name}', name=name)\n"
        "sys.meta_path.insert(0, Absent())\n"
        "import mlflow, numpy as np\n"
        "mlflow.set_tracking_uri(sys.argv[2])\n"
        f"model = mlflow.pyfunc.load_model('models:/{NAME}/1')\n"
        f"pixels = np.array({A.tolist()}, dtype=np.uint8)\n"
        "import deepdepixelate; assert 'artifacts' in deepdepixelate.__file__\n"
        "print(hashlib.sha256(model.predict(pixels).tobytes()).hexdigest())\n"
        "for name, module in sys.modules.items():\n"
        "    if name.partition('.')[0] == 'deepdepixelate': print(module.__file__)\n"
    )
    site_packages = sysconfig.get_paths()["purelib"]
    process = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program, site_packages, mlflow.get_tracking_uri()],
        cwd=tmp_path, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    if "it is installed" in process.stderr:
        pytest.skip("the project is installed in site-packages itself")
    assert process.returncode == 0, process.stderr
    digest, *files = process.stdout.splitlines()
    assert digest == hashlib.sha256(expected(A).tobytes()).hexdigest()
    makers = packages_distributions()
    imported = {name for file in files for name in imports(Path(file))} - {"pillow_heif"}
    of_each = [set(map(canonicalize_name, makers[name])) & required for name in imported]
    assert all(of_each), imported
    assert set().union(*of_each) == required  # nothing is asked for in vain


def requirements() -> set[str]:
    """Distributions that the logged model says it needs."""
    folder = Path(mlflow.artifacts.download_artifacts(f"models:/{NAME}/1"))
    lines = (folder / "requirements.txt").read_text().splitlines()
    return {canonicalize_name(Requirement(line).name) for line in lines}


def imports(file: Path) -> Iterator[str]:
    """Other packages that a module imports, at once or in a function."""
    for node in ast.walk(ast.parse(file.read_text())):
        names = [each.name for each in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
        for name in names:
            package = name.partition(".")[0]
            if package not in {*sys.stdlib_module_names, "deepdepixelate"}:
                yield package


def needed(packages: Iterable[str]) -> set[str]:
    """Distributions that pip installs with these."""
    found: set[str] = set()
    waiting = [canonicalize_name(package) for package in packages]
    while waiting:
        if (name := waiting.pop()) in found:
            continue
        found.add(name)
        with suppress(PackageNotFoundError):  # of another platform
            waiting += [
                canonicalize_name(each.name)
                for each in map(Requirement, requires(name) or [])
                if each.marker is None or each.marker.evaluate({"extra": ""})
            ]
    return found


@pytest.mark.slow
def test_carries_the_code_and_no_weights_but_its_own(run_id: str) -> None:
    folder = Path(mlflow.artifacts.download_artifacts(f"models:/{NAME}/1"))
    assert [path.name for path in folder.rglob("*.safetensors")] == ["srgan.safetensors"]
    assert (folder / "code/deepdepixelate/tracking/served_model.py").is_file()


def test_large_images_are_enlarged_in_tiles_without_seams(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "srgan.safetensors"
    save_weights(path, make_weights())
    tiled = partial(Enlarger, tile=16)
    monkeypatch.setattr("deepdepixelate.tracking.served_model.Enlarger", tiled)
    image = pixels(50, 40)
    difference = np.abs(ImageEnlarger(path).predict(image).astype(int) - expected(image))
    assert difference.max() <= 1  # rounding


@pytest.mark.slow
def test_registering_again_is_silent_and_makes_another_version(
    run_id: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with mlflow.start_run(log_system_metrics=False):
        register_generator("srgan", make_weights(seed=1), "sample")
    assert capfd.readouterr() == ("", "")
    latest = mlflow.MlflowClient().get_model_version_by_alias(NAME, "latest")
    assert int(latest.version) == 2
    assert latest.tags["weights_digest"] == make_weights(seed=1).digest


@pytest.mark.slow
def test_a_registry_that_is_down_stops_nothing(
    run_id: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", "http://127.0.0.1:9")
    with mlflow.start_run() as run:
        register_generator("srgan", make_weights(), "sample")
        OUTBOX.conclude(run.info.run_id)
    (warning,) = (record.message for record in caplog.records if record.levelname == "WARNING")
    assert f"the model {NAME}" in warning
    assert "127.0.0.1:9" in warning
    outputs = mlflow.get_run(run.info.run_id).outputs
    assert outputs is not None
    assert len(outputs.model_outputs) == 1  # though it was tried twice
