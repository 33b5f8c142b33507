"""The MLflow run says what it was made from: data, weights and their runs; and registers models."""

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.pipeline.node import Node

from deepdepixelate.tracking.outbox import OUTBOX

if TYPE_CHECKING:
    from deepdepixelate.tracking.lineage import ImageSet


class LineageHooks:
    """Data sets, links between runs and trained generators, without a word of it in a node.

    It goes by the tags of the nodes (``training``, ``evaluation``) and the names of the datasets
    (``hr_<split>`` with ``lr_<split>``, the generators, ``evaluation``).
    """

    def __init__(self) -> None:
        self._dataset = ""
        self._logged: set[tuple[str, str]] = set()

    @hook_impl
    def after_context_created(self, context: KedroContext) -> None:
        """Note which data this is."""
        self._dataset = context.config_loader["globals"]["dataset"]

    @hook_impl(trylast=True)
    def before_node_run(self, node: Node, inputs: Mapping[str, Any]) -> None:
        """Log what a node trains on or evaluates, and what training starts from."""
        if self._run_id() is None or not node.tags & {"training", "evaluation"}:
            return
        from deepdepixelate.tracking import lineage

        scale = self._log_pairs(inputs)
        if scale is not None and "params:evaluate" in inputs:
            for name, folders in inputs["params:evaluate"].get("benchmarks", {}).items():
                if self._is_new(name):
                    _log_input(lineage.describe_benchmark(name, folders, scale), "benchmark")
        if "training" in node.tags and (origins := _origins(inputs)):
            link = partial(lineage.link_weights, "starts_from", origins)
            OUTBOX.send(f"what {node.name} starts from", link)

    @hook_impl(trylast=True)
    def after_dataset_saved(self, dataset_name: str, data: Any, node: Node) -> None:
        """Register a generator that this run trained; link an evaluation with the trainings."""
        if self._run_id() is None:
            return
        if "training" in node.tags and (origin := _origins({dataset_name: data})):
            from deepdepixelate.tracking.registry import register_generator

            # Of a training that had been finished before, this holds the id of its own run.
            if origin[dataset_name]["mlflow_run_id"] == self._run_id():
                register_generator(dataset_name, data, self._dataset)
        elif dataset_name == "evaluation":
            from deepdepixelate.tracking.lineage import link_evaluation

            link = partial(link_evaluation, data["provenance"]["weights"])
            OUTBOX.send("links to the trainings evaluated", link)
        elif dataset_name == "evaluation_metrics":  # after the evaluation, and so with its models
            from deepdepixelate.tracking.lineage import add_scores

            OUTBOX.send("the scores of the models", partial(add_scores, data))

    def _log_pairs(self, inputs: Mapping[str, Any]) -> int | None:
        """Log each split of which a node reads HR and LR; the scale of the last."""
        from deepdepixelate.data.shards import ImagePairs
        from deepdepixelate.tracking import lineage

        scale = None
        for split, context in lineage.CONTEXTS.items():
            if f"hr_{split}" in inputs and f"lr_{split}" in inputs:
                pairs = ImagePairs(inputs[f"hr_{split}"], inputs[f"lr_{split}"])
                scale = pairs.scale
                if self._is_new(split):
                    _log_input(lineage.describe_pairs(self._dataset, pairs), context)
        return scale

    def _is_new(self, name: str) -> bool:
        """Whether the run has no such input yet; from now on it has."""
        key = (self._run_id() or "", name)
        seen = key in self._logged
        self._logged.add(key)
        return not seen

    @staticmethod
    def _run_id() -> str | None:
        import mlflow

        run = mlflow.active_run()
        return None if run is None else str(run.info.run_id)


def _log_input(images: "ImageSet", context: str) -> None:
    from deepdepixelate.tracking.lineage import log_input

    OUTBOX.send(f"the data set {images.name}", partial(log_input, images, context))


def _origins(data: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Of each generator's weights in there, the digest and the run that made them."""
    from deepdepixelate.models.weights import Weights

    return {
        name: {"digest": each.digest, "mlflow_run_id": each.provenance.get("mlflow_run_id")}
        for name, each in data.items()
        if isinstance(each, Weights) and each.kind == "generator"
    }
