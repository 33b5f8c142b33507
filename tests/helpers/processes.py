"""Commands of the project, each in a process of its own that has its imports behind it.

A command imports PyTorch, MLflow and Kedro, which takes longer than what most tests want of it.
Here its process is forked from one that has imported them: Python's own fork server.
"""

import atexit
import logging
import multiprocessing
import os
import pkgutil
import signal
import sys
from collections.abc import Callable, Mapping
from multiprocessing import forkserver
from pathlib import Path
from unittest.mock import patch

import rich

_CONTEXT = multiprocessing.get_context("forkserver")
_MAINS = {"kedro": "kedro.framework.cli:main", "deepdepixelate": "deepdepixelate.__main__:main"}


class Process:
    """A command that was started; much as ``subprocess.Popen`` is one.

    Args:
        name: ``kedro`` or ``deepdepixelate``.
        arguments: of the command line.
        folder: the working directory.
        stdout: the file to which its output is appended.
        stderr: the same for its messages.
        environment: variables that it has besides those of this process.
        before: is called in the new process before the command: it may prepare a mishap.
    """

    def __init__(
        self,
        name: str,
        *arguments: str,
        folder: Path,
        stdout: Path,
        stderr: Path,
        environment: Mapping[str, str] | None = None,
        before: Callable[[], object] | None = None,
    ) -> None:
        _start_the_server()
        variables = {**os.environ, "COLUMNS": "200", **(environment or {})}
        self._process = _CONTEXT.Process(
            target=_run, args=(name, arguments, folder, stdout, stderr, variables, before)
        )
        self._process.start()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def poll(self) -> int | None:
        """How it ended, negative for a signal; None while it runs."""
        return self._process.exitcode

    def wait(self, timeout: float) -> int:
        """Wait until it has ended, and return how.

        Raises:
            TimeoutError: it runs on.
        """
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise TimeoutError
        return self._process.exitcode

    def kill(self) -> None:
        self._process.kill()
        self._process.join()


def _start_the_server() -> None:
    paths = os.pathsep.join(filter(None, sys.path))  # it would look for the modules elsewhere
    with patch.dict(os.environ, PYTHONPATH=paths):
        forkserver.set_forkserver_preload(["preloaded"])
        forkserver.ensure_running()


def _run(
    name: str,
    arguments: tuple[str, ...],
    folder: Path,
    stdout: Path,
    stderr: Path,
    environment: Mapping[str, str],
    before: Callable[[], object] | None,
) -> None:
    from preloaded import STARTED_WITH

    os.setsid()  # signals to its group reach its children, and not the tests
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(folder)
    # Where its own children begin:
    patch.object(multiprocessing.process, "ORIGINAL_DIR", os.fspath(folder)).start()
    for variable in STARTED_WITH - set(environment):
        os.environ.pop(variable, None)
    os.environ.update(environment)
    for descriptor, path in ((1, stdout), (2, stderr)):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(file, descriptor)
        os.close(file)
    for handler in logging.root.handlers:  # they were set up while modules were imported
        if isinstance(handler, logging.StreamHandler):
            handler.setStream(sys.stderr)
    rich.reconfigure()  # the width of the console is a variable
    sys.argv = [name, *arguments]
    if before is not None:
        before()
    try:
        pkgutil.resolve_name(_MAINS[name])()
    finally:
        atexit._run_exitfuncs()  # a forked process would end without them
