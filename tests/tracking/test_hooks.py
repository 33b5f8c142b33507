import subprocess
import sys
from typing import Any

from kedro.framework.hooks.manager import _create_hook_manager
from kedro.io import DataCatalog
from kedro_mlflow.io.metrics import MlflowMetricDataset

from deepdepixelate.tracking.hooks import TrackingHooks


def test_the_hooks_do_not_import_torch_when_kedro_starts() -> None:
    program = "import sys, deepdepixelate.tracking.hooks; print('torch' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert answer.stdout.splitlines()[-1:] == ["False"], answer.stderr


def test_kedro_mlflow_names_metrics_after_their_datasets() -> None:
    manager = _create_hook_manager()
    manager.register(TrackingHooks())
    catalog: Any = DataCatalog({"accuracy": MlflowMetricDataset()})
    manager.hook.after_catalog_created(
        catalog=catalog,
        conf_catalog={},
        conf_creds={},
        parameters={},
        save_version="",
        load_versions={},
    )
    assert catalog.get("accuracy").key == "accuracy"
