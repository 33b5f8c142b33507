import subprocess
import time
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen


def wait_until_it_answers(
    url: str, process: "subprocess.Popen[bytes]", log: Path, seconds: float
) -> None:
    """Wait for a server that was just started; where it ends or takes too long, show its log."""
    deadline = time.monotonic() + seconds
    while not _answers(url):
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.2)


def _answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=10) as answer:  # noqa: S310 (loopback)
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False
