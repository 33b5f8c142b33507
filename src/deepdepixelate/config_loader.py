"""Reads ``conf/base``, then the environment, then the user's ``conf/local``."""

import re
from pathlib import Path
from typing import Any

from kedro.config import MissingConfigException, OmegaConfigLoader
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from deepdepixelate.errors import UserError, first_line
from deepdepixelate.locations import location

_SPECIAL_IN_PATHS = re.compile(r"[*?\[{}]|%[0-9A-Fa-f]{2}")
"""Kedro takes these characters for a pattern, in any part of a path; MLflow unquotes %20."""


class ProjectConfigLoader(OmegaConfigLoader):
    """Kedro's loader, which also reads ``conf/local`` if ``--env`` names another environment.

    Kedro's own reads ``conf/base`` and one more environment: that of ``--env``, or ``conf/local``.

    Unreadable settings raise UserError. In the catalogue, ``${user_path:NAME, DEFAULT}`` is the
    path or URL in the parameter NAME, and ``${parameter:NAME}`` the value of a parameter.
    """

    def __init__(self, conf_source: str, *args: Any, **kwargs: Any) -> None:
        """See Kedro's.

        Raises:
            UserError: the folder does not exist, or its path has characters that Kedro or MLflow
                would misread.
        """
        if found := _SPECIAL_IN_PATHS.search(str(conf_source)):
            raise UserError(
                f"the settings cannot be in {conf_source}: Kedro or MLflow misreads {found[0]} in "
                "a path. Rename the folder, or move the project."
            )
        if "://" not in str(conf_source) and not Path(conf_source).exists():
            raise UserError(
                f"no settings found: {conf_source} does not exist. Run the command in the "
                "project's folder."
            )
        super().__init__(conf_source, *args, **kwargs)
        OmegaConf.register_new_resolver("user_path", self._user_path, replace=True)
        OmegaConf.register_new_resolver("parameter", self._parameter, replace=True)

    def __getitem__(self, key: str) -> dict[str, Any]:
        try:
            return self._read(key)
        except OmegaConfBaseException as error:
            raise UserError(
                f"the settings cannot be used: {error.full_key or key}: {first_line(error)}. "
                "${NAME} refers to another setting; write ${oc.env:NAME} for an environment "
                "variable, and $NAME in a path."
            ) from error
        except (YAMLError, ValueError) as error:  # ValueError: not UTF-8, or one name in two files
            raise UserError(f"the settings cannot be read: {self._locate(error)}") from error

    def _locate(self, error: Exception) -> str:
        """The error with its file and line, which Kedro does not always name."""
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
        return str(location(default if value is None else value)).rstrip("/") or "/"

    def _parameter(self, name: str) -> Any:
        return OmegaConf.select(OmegaConf.create(self["parameters"]), name)

    def _read(self, key: str) -> dict[str, Any]:
        missing = None
        try:
            found: dict[str, Any] = super().__getitem__(key)
        except MissingConfigException as error:  # credentials may be in conf/local alone
            found, missing = {}, error
        own = self._read_local(key)
        if missing is not None and not own:
            raise missing
        if self.merge_strategy.get(key) != "soft":
            return {**found, **own}
        merged: Any = OmegaConf.to_container(OmegaConf.merge(found, own))
        return {str(name): value for name, value in merged.items()}

    def _read_local(self, key: str) -> dict[str, Any]:
        """The settings of ``conf/local`` if Kedro's loader skips it because of ``--env``."""
        local = Path(self.conf_source) / self.default_run_env
        without_env = self.env in (None, self.base_env, self.default_run_env)
        if without_env or key in self.data or not local.is_dir():
            return {}
        own: dict[str, Any] = self.load_and_merge_dir_config(
            str(local), self.config_patterns[key], key, set(), key == "credentials"
        )
        return own
