"""boto3 and the AWS CLI, in an environment of their own: the project imports neither."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.servers.aws import ACCOUNT, KEY, REGION, SECRET
from tests.servers.aws_process import PASSED_ON, found
from tests.servers.aws_ways import Way, cached, digest, install

REQUIREMENTS = Path(__file__).parents[2] / "requirements" / "clients.txt"
PROGRAMS = Path(__file__).with_name("programs")
PATIENCE = 60.0


@functools.cache
def find_clients() -> Way | str:
    """The python of an environment with `requirements/clients.txt` in it, or why there is none.

    The first call fetches about 20 MB.
    """
    if not REQUIREMENTS.is_file():
        return f"{REQUIREMENTS} is not there: only a checkout has it"
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    folder = cached(f"clients-py{version}-{digest(REQUIREMENTS, sys.base_prefix)}", _fill)
    return folder if isinstance(folder, str) else Way("process", program=folder / "bin" / "python")


def _fill(folder: Path) -> str | None:
    failed = install(sys.executable, "-m", "venv", "--without-pip", folder)
    if failed:
        return f"no environment for boto3 and the AWS CLI: {failed}"
    pip = (sys.executable, "-m", "pip", "--python", folder / "bin" / "python", "install", "--quiet")
    failed = install(*pip, "--no-input", "--require-hashes", "-r", REQUIREMENTS)
    return f"pip could not install boto3 and the AWS CLI: {failed}" if failed else None


def credentials(folder: Path, **more: str) -> Mapping[str, str]:
    """Variables of a program that speaks to AWS: credentials of ours, and nothing of the machine's."""
    return {
        **{name: os.environ[name] for name in PASSED_ON if name in os.environ},
        "HOME": str(folder),
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ACCOUNT_ID": ACCOUNT,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_PAGER": "",
        **more,
    }


def start(environment: Mapping[str, str], *command: str) -> subprocess.Popen[str]:
    """Python with boto3, at work on a program of `programs` or on `-m awscli`; it is read from."""
    python = found(find_clients()).program
    return subprocess.Popen(
        [str(python), "-X", "utf8", *command],
        cwd=PROGRAMS,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run(environment: Mapping[str, str], *command: str, seconds: float = PATIENCE) -> tuple[int, str]:
    """The same to its end: its code, and all that it wrote."""
    program = start(environment, *command)
    try:
        said, _ = program.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        program.kill()
        said, _ = program.communicate()
        said += f"\nit did not end within {seconds:.0f} s"
    return program.returncode, said
