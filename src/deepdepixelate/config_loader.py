"""Where settings are read: ``conf/base``, the environment, and last a user's ``conf/local``."""

import re
from pathlib import Path
from typing import Any

from kedro.config import MissingConfigException, OmegaConfigLoader
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from deepdepixelate.errors import UserError, first_line
from deepdepixelate.files import user_path

_MEANS_SOMETHING = re.compile(r"[*?\[{}]|%[0-9A-Fa-f]{2}")
"""Kedro reads these characters as a pattern, in any part of a path; MLflow unquotes %20."""


class ProjectConfigLoader(OmegaConfigLoader):
    """Kedro's own loader, which also reads ``conf/local`` when ``--env`` names another environment.

    Kedro's loader reads one environment beside ``conf/base``: ``conf/local`` or that of ``--env``.
    Without ``--env``, and with ``--env base``, this one reads the same.

    Settings that cannot be read raise UserError. In the catalogue, ``${user_path:NAME, DEFAULT}``
    is the path that a parameter holds, from ``--params`` or from a file.
    """

    def __init__(self, conf_source: str, *args: Any, **kwargs: Any) -> None:
        """See Kedro's.

        Raises:
            UserError: Kedro would find no settings in a folder of this name, or MLflow would write
                to another one; or there are none.
        """
        if found := _MEANS_SOMETHING.search(str(conf_source)):
            raise UserError(
                f"the settings cannot be in {conf_source}: to Kedro or MLflow, {found[0]} in a "
                "path means something else. Rename the folder, or move the "
                "project to another."
            )
        if "://" not in str(conf_source) and not Path(conf_source).exists():
            raise UserError(
                f"there are no settings: no folder {conf_source}. Run the command in the "
                "project's folder."
            )
        super().__init__(conf_source, *args, **kwargs)
        OmegaConf.register_new_resolver("user_path", self._user_path, replace=True)

    def __getitem__(self, key: str) -> dict[str, Any]:
        try:
            return self._read(key)
        except OmegaConfBaseException as error:
            raise UserError(
                f"the settings cannot be used: {error.full_key or key}: {first_line(error)}. "
                "${NAME} is another setting; write ${oc.env:NAME} for a variable of the "
                "environment, and $NAME in a path."
            ) from error
        except (YAMLError, ValueError) as error:  # ValueError: no UTF-8, or one name in two files
            raise UserError(f"the settings cannot be read: {self._what_is_wrong(error)}") from error

    def _what_is_wrong(self, error: Exception) -> str:
        """Kedro does not always say in which file."""
        for path in sorted(Path(self.conf_source).glob("*/*")):
            if path.suffix not in (".yml", ".yaml", ".json"):
                continue
            try:
                OmegaConf.load(path)
            except (YAMLError, ValueError) as found:
                mark = getattr(found, "problem_mark", None)
                line = f", line {mark.line + 1}" if mark else ""
                return f"{path}{line}: {getattr(found, 'problem', None) or first_line(found)}."
        return f"{first_line(error)}."

    def _user_path(self, name: str, default: str) -> str:
        value = self["parameters"].get(name)
        return str(user_path(default if value is None else value))

    def _read(self, key: str) -> dict[str, Any]:
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
