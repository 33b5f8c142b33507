"""Where settings are read: ``conf/base``, the environment, and last a user's ``conf/local``."""

from pathlib import Path
from typing import Any

from kedro.config import MissingConfigException, OmegaConfigLoader
from omegaconf import OmegaConf

from deepdepixelate.errors import UserError

_PATTERN = "*?["
"""Kedro looks for its files with the project's folder as a part of the pattern."""


class ProjectConfigLoader(OmegaConfigLoader):
    """Kedro's own, which also reads ``conf/local`` where another environment is named.

    Kedro's reads one environment beside ``conf/base``: ``conf/local`` or that of ``--env``. Without
    ``--env``, and with ``--env base``, this one reads what Kedro's reads.
    """

    def __init__(self, conf_source: str, *args: Any, **kwargs: Any) -> None:
        """See Kedro's.

        Raises:
            UserError: Kedro would find no settings in a folder of this name.
        """
        if any(character in str(conf_source) for character in _PATTERN):
            raise UserError(
                f"Kedro finds no settings in {conf_source}: *, ? and [ in a folder's name mean "
                "something else to it. Rename the folder, or move the project to another."
            )
        super().__init__(conf_source, *args, **kwargs)

    def __getitem__(self, key: str) -> dict[str, Any]:
        missing = None
        try:
            found: dict[str, Any] = super().__getitem__(key)
        except MissingConfigException as error:  # credentials may be in conf/local alone
            found, missing = {}, error
        own = self._own(key)
        if missing is not None and not own:
            raise missing
        if self.merge_strategy.get(key) != "soft":
            return {**found, **own}
        merged: Any = OmegaConf.to_container(OmegaConf.merge(found, own))
        return {str(name): value for name, value in merged.items()}

    def _own(self, key: str) -> dict[str, Any]:
        """What ``conf/local`` says, where Kedro's own does not read it or should not."""
        local = Path(self.conf_source) / self.default_run_env
        kedros = self.env in (None, self.base_env, self.default_run_env)
        if kedros or key in self.data or not local.is_dir():
            return {}
        own: dict[str, Any] = self.load_and_merge_dir_config(
            str(local), self.config_patterns[key], key, set(), key == "credentials"
        )
        return own
