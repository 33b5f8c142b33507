"""Checks before a Kedro run, so that it does not fail after hours, or after a download."""

from typing import Any

from kedro.framework.context import KedroContext
from kedro.framework.hooks import hook_impl
from kedro.framework.project import pipelines
from kedro.io import DataCatalog
from kedro.pipeline import Pipeline

from deepdepixelate.errors import UserError
from deepdepixelate.parameters import Parameters, check_parameters
from deepdepixelate.summary import environment_option, path_of


class CheckHooks:
    """Checks before a run: all parameters, and the inputs and weights that it needs."""

    @hook_impl(tryfirst=True)
    def after_context_created(self, context: KedroContext) -> None:
        """Raise UserError that names every bad value and unknown parameter, of all stages."""
        self._parameters = check_parameters(context.config_loader["parameters"])

    @hook_impl(tryfirst=True)
    def before_pipeline_run(
        self, run_params: dict[str, Any], pipeline: Pipeline, catalog: DataCatalog
    ) -> None:
        """Raise UserError if an input, a benchmark or required weights are missing."""
        inputs = pipeline.inputs()
        for name in sorted(inputs):
            if name.startswith("params:") or getattr(catalog.get(name), "optional", False):
                continue
            if not catalog.exists(name):
                raise UserError(_missing_input(name, catalog, run_params.get("env")))
            if check := getattr(catalog.get(name), "check", None):
                check()
        stages = {name.removeprefix("params:") for name in inputs if name.startswith("params:")}
        if stages & {"pretrain", "train_gan", "evaluate"}:
            _check_stages(stages, self._parameters)


def _check_stages(stages: set[str], parameters: Parameters) -> None:
    """Check devices, weights and benchmarks; the content loss comes last, as it may download."""
    from deepdepixelate.metrics.st_lpips import STLPIPS
    from deepdepixelate.models.device import choose_compute, find_device
    from deepdepixelate.training.launch import count_devices

    STLPIPS()  # validation and evaluation measure it
    if "evaluate" in stages:
        from deepdepixelate.evaluation.benchmarks import check_benchmarks
        from deepdepixelate.metrics.identity import find_identity

        find_device(parameters.evaluate.device)
        check_benchmarks(parameters.evaluate.benchmarks)
        find_identity(parameters.evaluate.identity)
    if "training" in stages:
        training = parameters.training
        count_devices(training)
        choose_compute(training.device, training.precision, deterministic=training.deterministic)
    if "pretrain" in stages and (model := parameters.pretrain.start_from):
        from deepdepixelate.models.pretrained import find_generator

        find_generator(model)
    for stage in stages & {"pretrain", "train_gan"}:
        if (settings := getattr(parameters, stage)).identity is not None:
            from deepdepixelate.training.stages import face_descriptor

            face_descriptor(settings)
    if "train_gan" in stages:
        from deepdepixelate.training.stages import content_network, new_discriminator

        if parameters.train_gan.discriminator.start_from is not None:
            new_discriminator(parameters.train_gan)
        content_network(parameters.train_gan)


def _missing_input(name: str, catalog: DataCatalog, env: str | None) -> str:
    path = path_of(catalog, name)
    missing = f"{name} does not exist" + (f" ({path})" if path else "")
    makers = [
        stage
        for stage, pipeline in pipelines.items()
        if stage != "__default__" and name in pipeline.all_outputs()
    ]
    if not makers:
        return f"{missing}: provide it, or change conf/*/catalog.yml."
    return f"{missing}; run first: kedro run{environment_option(env)} --pipeline {makers[0]}"
