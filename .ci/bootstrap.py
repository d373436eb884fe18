"""Make a virtual environment and install pinned requirements and the project, with nothing but python3.

    python3 .ci/bootstrap.py dev|run|lowest|wheel [FOLDER [WHEEL]]

The Makefile calls it. FOLDER is .venv unless told. With a wheel, that is installed instead of the checkout.
Running it again is harmless. What it cannot do it says in plain words.
"""

import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def stop(why):
    """End with one plain sentence instead of a traceback."""
    sys.exit("set-up stopped: " + why)


def works(*command):
    """Run it quietly; whether it went well."""
    try:
        return subprocess.run(command, cwd=ROOT, capture_output=True).returncode == 0
    except OSError:
        return False


def make(venv):
    """The python of an environment with pip in it; Debian's python3 may lack ensurepip, or pip."""
    python = os.path.join(venv, "bin", "python")
    wanted = "import sys, pip; sys.exit(sys.version_info[:2] != %r)" % (sys.version_info[:2],)
    if works(python, "-c", wanted) or works(sys.executable, "-m", "venv", "--clear", venv):
        return python
    if works(sys.executable, "-m", "venv", "--clear", "--without-pip", venv) and (
        works(sys.executable, "-m", "pip", "--python", python, "install", "pip")
        or works("uv", "pip", "install", "--python", python, "pip")
    ):
        return python
    return stop(
        "this python3 can neither make a virtual environment with pip nor put pip into one. On Debian and "
        "Ubuntu: apt-get install python3-venv. Or use another Python: make setup PYTHON=python3.12"
    )


def install(python, *what):
    """Let pip install it; its own message stands above ours when it can't."""
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if subprocess.run([*pip, *what], cwd=ROOT).returncode:
        hint = " Is a package index reachable?" if "-r" in what else ""
        stop("pip could not install %s; its message stands above.%s" % (what[-1], hint))


def main(which, folder=".venv", wheel=None):
    """The environment, what is pinned, then the project itself."""
    if sys.version_info < (3, 11):
        have = "%d.%d" % sys.version_info[:2]
        stop("Python 3.11 or newer is needed, this is " + have + "; try: make setup PYTHON=python3.12")
    venv = os.path.join(ROOT, folder)
    python = make(venv)
    pinned = "dev" if which == "wheel" else which
    install(python, "--require-hashes", "-r", "requirements/%s.txt" % pinned)
    if wheel:
        install(python, "--no-deps", wheel)
    else:
        install(python, "--no-deps", "--no-build-isolation", "--editable", ".")
    for done in {which, "run"} if which == "dev" else {which}:  # what dev pins, run pins the same
        with open(os.path.join(venv, "." + done), "w", encoding="utf-8") as stamp:
            stamp.write(sys.version)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        stop("say what for: dev, run, lowest or wheel")
    try:
        main(*sys.argv[1:])
    except KeyboardInterrupt:
        stop("interrupted")
