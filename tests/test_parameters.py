import copy
from pathlib import Path
from typing import Any

import pytest
from kedro.config import OmegaConfigLoader
from omegaconf import OmegaConf

from deepdepixelate.errors import UserError
from deepdepixelate.parameters import check_parameters
from deepdepixelate.parameters.__main__ import reference

CONF = Path(__file__).parents[1] / "conf"


def read_conf(environment: str) -> dict[str, Any]:
    """The parameters as Kedro sees them, without anybody's conf/local."""
    loader = OmegaConfigLoader(
        conf_source=str(CONF),
        base_env="base",
        default_run_env="base",
        env=environment,
        merge_strategy={"parameters": "soft", "globals": "soft"},
    )
    parameters: dict[str, Any] = loader["parameters"]
    return parameters


@pytest.fixture(scope="module")
def defaults() -> dict[str, Any]:
    return read_conf("base")


def changed(values: dict[str, Any], **settings: Any) -> dict[str, Any]:
    """A copy with other values, whose names are given as ``section__name``."""
    values = copy.deepcopy(values)
    for name, value in settings.items():
        *sections, last = name.split("__")
        section = values
        for part in sections:
            section = section[part]
        section[last] = value
    return values


def message(values: dict[str, Any]) -> str:
    with pytest.raises(UserError) as caught:
        check_parameters(values)
    return str(caught.value)


@pytest.mark.parametrize("environment", ["base", "celeba"])
def test_the_shipped_configuration_is_valid(environment: str) -> None:
    values = read_conf(environment)
    assert check_parameters(values).pretrain.updates == values["pretrain"]["updates"]


def test_the_reference_is_up_to_date() -> None:
    written = (CONF.parent / "docs/reference/parameters.md").read_text(encoding="utf-8")
    command = "run: python -m deepdepixelate.parameters > docs/reference/parameters.md"
    assert written == reference(CONF), command


def test_the_reference_shows_defaults_changes_bounds_and_descriptions() -> None:
    row = next(line for line in reference(CONF).splitlines() if "`train_gan.ema_decay`" in line)
    assert row.startswith("| `train_gan.ema_decay` | `0.99` | `0.999` | number ≥ 0, < 1 | Decay of")


def test_the_recipe_is_valid_and_names_nothing_that_it_does_not_change() -> None:
    options: Any = OmegaConf.load(CONF / "recipe.yml")
    papers = read_conf(options.run.env)
    recipe: Any = OmegaConf.to_container(OmegaConf.merge(papers, options.run.params))
    parameters = check_parameters(recipe)
    assert parameters.train_gan.content == "st_lpips"
    for section, changes in options.run.params.items():
        for name, value in changes.items():
            assert papers[section][name] != value, f"{section}.{name}"


@pytest.mark.parametrize("name", ["realistic.yml", "photo.yml"])
def test_the_files_for_realistic_images_are_valid(name: str) -> None:
    options: Any = OmegaConf.load(CONF / name)
    merged = OmegaConf.merge(read_conf(options.run.env), options.run.params)
    values: Any = OmegaConf.to_container(merged)
    assert check_parameters(values).degrade.kind == "realistic"


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"pretrain__identity": {"weight": 1, "box": [0, 0, 9]}}, "set crop_size=null"),
        ({"train_gan__crop_size": None}, "crop_size=null needs discriminator.kind=unet"),
        (
            {
                "pretrain__crop_size": None,
                "pretrain__identity": {"weight": 1, "box": [70, 77, 110]},
            },
            "pretrain.identity.box: the square of 110 pixels at 70, 77 is not inside the images of "
            "176x216",
        ),
        (
            {
                "ingest__training_crops": {"side": 96, "smallest": 0.6, "unchanged": 0},
                "pretrain__crop_size": None,
                "pretrain__identity": {"weight": 1, "box": [0, 0, 90]},
            },
            "pretrain.identity needs faces at the same place in all training images",
        ),
    ],
)
def test_whole_images_and_the_identity_loss_need_each_other_and_room(
    defaults: dict[str, Any], changes: dict[str, Any], error: str
) -> None:
    assert error in message(changed(defaults, **changes))


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("ingset", "ingest"),
        ("pretrain__update", "pretrain.updates"),
        ("train_gan__learning_rate__initail", "train_gan.learning_rate.initial"),
    ],
)
def test_a_misspelt_parameter_names_the_one_that_was_meant(
    defaults: dict[str, Any], name: str, meant: str
) -> None:
    unknown = name.replace("__", ".")
    error = message(changed(defaults, **{name: 5}))
    assert error.endswith(f"unknown parameter {unknown}; did you mean {meant}?")


def test_an_unknown_parameter_names_the_allowed_ones(defaults: dict[str, Any]) -> None:
    error = message(changed(defaults, train_gan__learning_rate__fast=1e-4))
    assert "unknown parameter train_gan.learning_rate.fast; allowed are" in error
    for name in ("initial", "schedule", "decay_at", "decay_factor"):
        assert f"train_gan.learning_rate.{name}" in error
    assert "crop_size" not in error


@pytest.mark.parametrize(
    ("section", "values", "unknown", "meant"),
    [
        (
            "ingest__training_crops",
            {"side": 96, "smalest": 0.6, "unchanged": 0},
            "ingest.training_crops.smalest",
            "ingest.training_crops.smallest",
        ),
        (
            "pretrain__identity",
            {"weigth": 1, "box": [33, 77, 110]},
            "pretrain.identity.weigth",
            "pretrain.identity.weight",
        ),
    ],
)
def test_a_misspelt_parameter_of_an_optional_section_is_named_too(
    defaults: dict[str, Any], section: str, values: dict[str, Any], unknown: str, meant: str
) -> None:
    error = message(changed(defaults, **{section: values}))
    assert f"unknown parameter {unknown}; did you mean {meant}?" in error
    assert f"{meant} is missing" in error


@pytest.mark.parametrize("benchmark", ["set5", "hr"])
def test_an_unknown_key_of_a_benchmark_names_the_allowed_ones(
    defaults: dict[str, Any], benchmark: str
) -> None:
    folders = {"hr": "some/place", "images": "some/place"}
    error = message(changed(defaults, evaluate__benchmarks={benchmark: folders}))
    prefix = f"evaluate.benchmarks.{benchmark}"
    assert f"unknown parameter {prefix}.images; allowed are {prefix}.hr, {prefix}.lr" in error
    assert "border" not in error


@pytest.mark.parametrize("name", ["pretrain", "degrade", "evaluate"])
def test_a_missing_section_is_an_error(defaults: dict[str, Any], name: str) -> None:
    values = copy.deepcopy(defaults)
    del values[name]
    assert f"{name} is missing" in message(values)


def test_a_missing_value_is_an_error(defaults: dict[str, Any]) -> None:
    values = copy.deepcopy(defaults)
    del values["pretrain"]["generator"]["blocks"]
    assert "pretrain.generator.blocks is missing" in message(values)


def test_all_bad_values_are_reported_at_once(defaults: dict[str, Any]) -> None:
    error = message(
        changed(
            defaults,
            ingest__max_rejected_fraction=1.5,
            degrade__scale=3,
            pretrain__updates="many",
            pretrain__learning_rate__schedule="linear",
            train_gan__content="vgg19",
            training__seed=-1,
            evaluate__batch_size=0,
            surplus=1,
        )
    )
    lines = error.splitlines()
    assert len(lines) == 1 + 8
    for name in (
        "ingest.max_rejected_fraction",
        "degrade",
        "pretrain.updates",
        "pretrain.learning_rate.schedule",
        "train_gan.content",
        "training.seed",
        "evaluate.batch_size",
        "unknown parameter surplus",
    ):
        assert any(line.startswith(f"  - {name}") for line in lines), name
    assert "'many'" in error
    assert "2, 4 or 8 (found 3)" in error


def test_a_bad_crop_is_an_error_beside_other_bad_values_of_its_section(
    defaults: dict[str, Any],
) -> None:
    gan = message(changed(defaults, train_gan__content="vgg19", train_gan__crop_size=50))
    assert "vgg19" in gan
    assert "crop_size must be a multiple of 16, not 50" in gan


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ingest__limit_per_split", 0),
        ("ingest__limit_per_split", -5),
        ("ingest__crop_width", 175),
        ("ingest__crop_height", 0),
        ("ingest__crop_width", 184),
        ("ingest__max_rejected_fraction", -0.1),
        ("ingest__max_rejected_fraction", float("nan")),
        ("degrade__scale", 1),
        ("degrade__scale", 4.5),
        ("degrade__scale", "four"),
        ("pretrain__updates", 0),
        ("pretrain__updates", 10.5),
        ("pretrain__updates", None),
        ("pretrain__batch_size", -1),
        ("pretrain__learning_rate__initial", 0.0),
        ("pretrain__learning_rate__initial", float("nan")),
        ("pretrain__learning_rate__initial", "fast"),
        ("pretrain__learning_rate", 1e-4),
        ("pretrain__generator__blocks", 0),
        ("train_gan__learning_rate__decay_at", [0.5, 1.5]),
        ("train_gan__crop_size", 40),
        ("train_gan__ema_decay", 1.0),
        ("train_gan__ema_decay", -0.1),
        ("train_gan__adversarial_weight", -1e-3),
        ("train_gan__vgg_feature_scale", 0),
        ("training__precision", "fp16"),
        ("training__log_every", 0),
        ("evaluate__border", -1),
        ("evaluate__border", 83),
        ("evaluate__faces_shown", 0),
        ("evaluate__examples_shown", 0),
        ("evaluate__identity", "maybe"),
        ("evaluate__identity", 1),
        ("evaluate__identity", None),
        ("evaluate__benchmarks", None),
        ("evaluate__benchmarks", "some/place"),
        ("evaluate__benchmarks", {"set5": None}),
        ("evaluate__benchmarks", {"set5": 5.5}),
        ("evaluate__benchmarks", {"set5": {"lr": "some/place"}}),
        ("evaluate__benchmarks", {"set5": {"hr": "some/place", "sr": "some/place"}}),
        ("evaluate__benchmarks", {"set 5": "some/place"}),
        ("evaluate__benchmarks", {"set.5": "some/place"}),
        ("evaluate__benchmarks", {"5": "some/place"}),
        ("evaluate__benchmarks", {"": "some/place"}),
        ("evaluate__benchmarks", {"test": "some/place"}),
        ("evaluate__degraded_sets", None),
        ("evaluate__degraded_sets", {"a": None}),
        ("evaluate__degraded_sets", {"a": 50}),
        ("evaluate__degraded_sets", {"a b": {}}),
        ("evaluate__degraded_sets", {"Test": {}}),
        ("evaluate__degraded_sets", {"a": {"blur_sigma": 0}}),
        ("evaluate__degraded_sets", {"a": {"blur_sigma": float("nan")}}),
        ("evaluate__degraded_sets", {"a": {"blur_sigma": [1, 2]}}),
        ("evaluate__degraded_sets", {"a": {"mosaic_cell": 1}}),
        ("evaluate__degraded_sets", {"a": {"mosaic_cell": 2.5}}),
        ("evaluate__degraded_sets", {"a": {"noise_sigma": 0}}),
        ("evaluate__degraded_sets", {"a": {"noise_sigma": 256}}),
        ("evaluate__degraded_sets", {"a": {"noise_seed": 1}}),
        ("evaluate__degraded_sets", {"a": {"noise_sigma": 5, "noise_seed": -1}}),
        ("evaluate__degraded_sets", {"a": {"jpeg_quality": 0}}),
        ("evaluate__degraded_sets", {"a": {"jpeg_quality": 101}}),
        ("evaluate__degraded_images", 0),
        ("evaluate", None),
    ],
)
def test_a_bad_value_is_refused_by_name(defaults: dict[str, Any], name: str, value: object) -> None:
    error = message(changed(defaults, **{name: value}))
    assert name.split("__")[0] in error
    assert len(error.splitlines()) == 2


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ingest__limit_per_split", None),
        ("ingest__limit_per_split", 100),
        ("ingest__max_rejected_fraction", 0),
        ("ingest__max_rejected_fraction", 1),
        ("degrade__scale", 2),
        ("degrade__scale", 8),
        ("train_gan__vgg_weights", "weights/vgg19.safetensors"),
        ("train_gan__content", "vgg22"),
        ("train_gan__ema_decay", 0),
        ("train_gan__adversarial_weight", 0),
        ("train_gan__learning_rate__decay_at", [0.25, 0.5, 0.75]),
        ("training__batch_norm_updates", 0),
        ("evaluate__border", 0),
        ("evaluate__border", 82),
        ("evaluate__identity", "auto"),
        ("evaluate__benchmarks", {}),
        ("evaluate__benchmarks", {"Set-5_mine": "some/place", "set14": "some/place"}),
        ("evaluate__degraded_sets", {"a": {}, "B-1": {"noise_sigma": 0.1, "noise_seed": 3}}),
        ("evaluate__degraded_sets", {"a": {"blur_sigma": 20, "mosaic_cell": 16}}),
        ("evaluate__degraded_sets", {"a": {"jpeg_quality": 1}}),
        ("evaluate__degraded_images", None),
        ("pretrain__restart", True),
    ],
)
def test_a_value_at_the_edge_is_allowed(defaults: dict[str, Any], name: str, value: object) -> None:
    check_parameters(changed(defaults, **{name: value}))


def test_a_benchmark_is_a_folder_or_two(defaults: dict[str, Any]) -> None:
    values = {"one": "a/b", "two": {"hr": "c"}, "three": {"hr": "d", "lr": "e"}}
    benchmarks = check_parameters(
        changed(defaults, evaluate__benchmarks=values)
    ).evaluate.benchmarks
    assert list(benchmarks) == ["one", "two", "three"]
    assert [(each.hr, each.lr) for each in benchmarks.values()] == [
        (Path("a/b"), None),
        (Path("c"), None),
        (Path("d"), Path("e")),
    ]


def test_paths_mean_what_people_write(
    defaults: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    parameters = check_parameters(
        changed(
            defaults,
            enhance__input="~/photos",
            enhance__output=2024,
            pretrain__start_from="~/begin.safetensors",
            celeba_dir="$HOME/celeba",
            train_gan__vgg_weights="~/vgg.pth",
            evaluate__benchmarks={"mine": "~/faces", "years": 2023},
        )
    )
    assert (parameters.enhance.input, parameters.enhance.output) == (
        Path("/home/ada/photos"),
        Path("2024"),
    )
    assert parameters.celeba_dir == "/home/ada/celeba"
    assert parameters.train_gan.vgg_weights == Path("/home/ada/vgg.pth")
    assert parameters.evaluate.benchmarks["mine"].hr == Path("/home/ada/faces")
    assert parameters.evaluate.benchmarks["years"].hr == Path("2023")


def test_an_unknown_key_of_a_degraded_set_names_the_one_that_was_meant(
    defaults: dict[str, Any],
) -> None:
    error = message(changed(defaults, evaluate__degraded_sets={"a": {"jpeg_qualty": 50}}))
    name = "evaluate.degraded_sets.a.jpeg_qualty"
    assert error.endswith(f"unknown parameter {name}; did you mean {name[:-2]}ity?")


def test_contradictions_of_degraded_sets_are_explained(defaults: dict[str, Any]) -> None:
    error = message(changed(defaults, evaluate__degraded_sets={"a": {"noise_seed": 3}}))
    assert "evaluate.degraded_sets.a: noise_seed=3 has no effect without noise_sigma" in error
    same = {"evaluate__benchmarks": {"Set5": "some/place"}, "evaluate__degraded_sets": {"set5": {}}}
    error = message(changed(defaults, **same))
    assert error.endswith("a benchmark and a degraded set are both called set5: rename one of them")
    error = message(changed(defaults, evaluate__degraded_sets={"TEST": {}}))
    assert "a degraded set cannot be called test: that is the test split" in error


def test_the_file_of_degraded_sets_is_valid_and_changes_nothing_else(
    defaults: dict[str, Any],
) -> None:
    options: Any = OmegaConf.load(CONF / "degraded_sets.yml")
    assert list(options.run) == ["params"]
    values: Any = OmegaConf.to_container(OmegaConf.merge(defaults, options.run.params))
    parameters = check_parameters(values)
    assert list(parameters.evaluate.degraded_sets) == [
        "clean", "jpeg_75", "jpeg_50", "jpeg_30", "noise_5", "noise_15", "blur_2", "mosaic_4",
    ]  # fmt: skip
    values["evaluate"]["degraded_sets"] = {}
    assert check_parameters(values) == check_parameters(defaults)


def test_a_benchmark_cannot_be_called_as_the_test_split(defaults: dict[str, Any]) -> None:
    for name in ("test", "Test"):
        error = message(changed(defaults, evaluate__benchmarks={name: "some/place"}))
        assert "a benchmark cannot be called test" in error


@pytest.mark.parametrize(
    ("value", "mode"), [("off", "off"), (False, "off"), ("on", "on"), (True, "on")]
)
def test_identity_can_be_on_and_off_also_where_yaml_takes_them_for_booleans(
    defaults: dict[str, Any], value: object, mode: str
) -> None:
    checked = check_parameters(changed(defaults, evaluate__identity=value))
    assert checked.evaluate.identity == mode


def test_a_crop_larger_than_the_images_is_an_error_with_both_sizes(
    defaults: dict[str, Any],
) -> None:
    error = message(changed(defaults, ingest__width=100))
    assert "176x216" in error
    assert "100x218" in error


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({}, None),
        ({"ingest__training_crops__smallest": 0.5}, "smallest must be at least 0.545"),
        ({"pretrain__crop_size": 112}, "at most 96, the smaller side of the training images"),
    ],
)
def test_crops_fit_into_the_training_images(
    defaults: dict[str, Any], changes: dict[str, Any], error: str | None
) -> None:
    crops = {"side": 96, "smallest": 0.545, "unchanged": 0.5}
    values = changed(changed(defaults, ingest__training_crops=crops), **changes)
    if error is None:
        check_parameters(values)
    else:
        assert error in message(values)
