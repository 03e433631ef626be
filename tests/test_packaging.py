"""The wheel as a stranger gets it, and what the lock files say. Needs no network: see `installed`."""

import json
import os
import re
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
LOCKS = ("requirements.lock", "requirements-dev.lock")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def normal(name: str) -> str:
    """A distribution's name as indices compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def locked(lock: str) -> dict[str, set[str]]:
    """The versions in a lock file by normal name; a universal lock can hold several for different platforms."""
    versions: dict[str, set[str]] = {}
    for line in (ROOT / lock).read_text(encoding="utf-8").splitlines():
        if found := re.match(r"([A-Za-z0-9._-]+)==([^ ;\\]+)", line):
            versions.setdefault(normal(found[1]), set()).add(found[2])
    return versions


def names(requirements: list[Any]) -> set[str]:
    return {normal(re.match(r"[A-Za-z0-9._-]+", text)[0]) for text in requirements if isinstance(text, str)}  # type: ignore[index]


@pytest.mark.parametrize("lock", LOCKS)
def test_lock_files_name_no_index(lock: str) -> None:
    text = (ROOT / lock).read_text(encoding="utf-8")
    assert "://" not in text
    assert not re.search(r"^-", text, re.MULTILINE)


@pytest.mark.parametrize("lock", LOCKS)
def test_every_locked_package_has_hashes(lock: str) -> None:
    blocks = re.split(r"^(?=[A-Za-z0-9])", (ROOT / lock).read_text(encoding="utf-8"), flags=re.MULTILINE)
    pinned = [block for block in blocks if re.match(r"[A-Za-z0-9._-]+==", block)]
    assert len(pinned) >= 50
    assert all("--hash=sha256:" in block for block in pinned)
    assert not [block for block in blocks if block.strip() and block not in pinned and not block.startswith("#")]


def test_every_dependency_is_locked() -> None:
    groups = PROJECT["dependency-groups"]
    assert names(PROJECT["project"]["dependencies"]) | names(groups["build"]) <= set(locked("requirements.lock"))
    assert names(groups["dev"]) <= set(locked("requirements-dev.lock"))


def test_both_locks_agree() -> None:
    runtime, dev = (locked(lock) for lock in LOCKS)
    assert {name: dev.get(name) for name in runtime} == runtime


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(build, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (file,) = folder.glob("*.whl")
    return file


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` folder of a new environment that holds our wheel; its dependencies are those of this one, by path."""
    folder = tmp_path_factory.mktemp("env")
    venv.create(folder, with_pip=False, symlinks=os.name != "nt")
    scripts = folder / ("Scripts" if os.name == "nt" else "bin")
    install = [sys.executable, "-m", "pip", "--python", str(scripts / "python"), "install", "--quiet"]
    install += ["--no-index", "--no-deps", "--disable-pip-version-check", str(wheel)]
    done = subprocess.run(install, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    ask = [str(scripts / "python"), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    site = Path(subprocess.run(ask, capture_output=True, text=True, check=True).stdout.strip())
    # A plain path in a .pth file adds that folder and not the .pth files in it: our own tree stays out.
    here = Path(pytest.__file__).parents[1]
    (site / "dependencies.pth").write_text(f"{here}\n", encoding="utf-8")
    return scripts


def test_the_wheel_holds_what_the_code_reads(wheel: Path) -> None:
    held = set(zipfile.ZipFile(wheel).namelist())
    wanted = {f"generator/_prompts/{file.name}" for file in (ROOT / "prompts").glob("*.md")}
    wanted |= {
        file.relative_to(ROOT).as_posix()
        for package in ("agents", "backtesting", "generator")
        for file in (ROOT / package).rglob("*")
        if file.is_file() and file.suffix in (".py", ".yaml", ".json", ".md")
    }
    assert len(wanted) > 60
    assert wanted - held == set()
    assert {name.partition("/")[0] for name in held} == {
        "agents",
        "backtesting",
        "generator",
        f"touchstone_agents-{PROJECT['project']['version']}.dist-info",
    }
    assert not [name for name in held if name.endswith((".pyc", ".nbi", ".nbc"))]
    assert any(name.endswith("licenses/LICENSE") for name in held)


@pytest.mark.slow
def test_the_installed_command_works_from_any_folder(installed: Path, tmp_path: Path) -> None:
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("TOUCHSTONE", "OPENAI", "PYTHON"))}

    def touchstone(*argv: str) -> str:
        done = subprocess.run(
            [str(installed / "touchstone"), *argv],
            cwd=tmp_path,
            env=environ,
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, (argv, done.stderr)
        assert "Traceback" not in done.stderr
        return done.stdout

    def events(*argv: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in touchstone(*argv, "--json").splitlines()]

    assert touchstone("--version") == f"touchstone {PROJECT['project']['version']}\n"
    prompts = events("prompts", "list")
    assert {"propose", "repair"} <= {prompt["id"] for prompt in prompts}
    # The wheel's own files, not this folder's.
    assert all(Path(prompt["path"]).is_relative_to(installed.parent) for prompt in prompts)
    market = "sample:sp500"
    assert [event["event"] for event in events("backtest", "golden_cross", "--market", market)] == ["backtest"]
    run = events("evolve", "--market", market, "--slots", "6", "--seed", "7")
    (found,) = [event for event in run if event["event"] == "run"]
    assert found["finished"] is True
    assert len([event for event in run if event["event"] == "slot"]) == 6
    assert (tmp_path / ".touchstone" / "touchstone.db").is_file()
    assert len(events("agents", "list")) == 8
