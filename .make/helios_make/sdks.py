"""`make sdks`: Pulumi's SDKs from pulumi/schema.json by Pulumi's own generators; and what the examples need to run.

Python's and TypeScript's are committed in pulumi/sdk. Those of Go and .NET are left to whoever wants them: `make
test-pulumi` generates both and compiles Go's. It also fails where a committed one is not what the schema makes, which
`make generate-check` cannot see, because it builds nothing by Go.
"""

import shutil
import subprocess
from pathlib import Path

from helios_make.errors import TargetError
from helios_make.iac_programs import ensure_cli, find_cli
from helios_make.places import Places
from helios_make.python_env import ensure_uv
from helios_make.stamps import digest
from helios_make.steps import Step, run_step, say

__all__ = [
    "AUTOMATE",
    "COMMITTED",
    "SDKS",
    "ensure_example",
    "ensure_python_sdk",
    "example_folder",
    "generate_sdk",
    "python_folder",
    "run",
]

COMMITTED = ("python", "nodejs")
PULUMI = Path("pulumi")
NODE = ("package.json", "package-lock.json", "sdk/nodejs", "examples/typescript")
"""Below `PULUMI`: the SDK and the example in TypeScript, and the lock of the packages of both."""
AUTOMATE = Path("examples", "typescript", "bin", "automate.js")
"""Below `example_folder`: the program that runs the example's stack."""
BY_NPM = ("node_modules", "bin")
SDKS = PULUMI / "sdk"


def run(places: Places) -> int:
    """Write the committed SDKs anew."""
    ensure_cli(places, "sdkgen")
    for language in COMMITTED:
        folder = places.root / SDKS / language
        shutil.rmtree(folder, ignore_errors=True)
        generate_sdk(places, language, folder)
        print(f"wrote {folder.relative_to(places.root)}")
    return 0


def generate_sdk(places: Places, language: str, folder: Path) -> None:
    """The SDK of a language below `folder`.

    Raises:
        TargetError: the generator was not built, or refuses the schema.
    """
    program = find_cli(places, "sdkgen")
    if program is None:
        raise TargetError("the generators of Pulumi's SDKs are not there; make sdks builds them")
    command = [str(program), str(places.root / "pulumi" / "schema.json"), language, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise TargetError(f"sdkgen {language}: {done.stderr.strip()}")
    for file in folder.rglob("*"):
        # Git hooks and editors want exactly one newline at the end.
        if file.is_file() and file.suffix != ".png":
            text = file.read_text(encoding="utf-8").rstrip()
            file.write_text(f"{text}\n" if text else "", encoding="utf-8")


def python_folder(places: Places) -> Path:
    """Where the installed SDK of Python of exactly these sources is, or will be."""
    source = places.root / SDKS / "python"
    files = [each for each in source.rglob("*") if each.is_file() and each.suffix != ".pyc"]
    return places.cache / "iac" / f"python-{digest(places.root, files)}"


def ensure_python_sdk(places: Places) -> None:
    """Have the SDK of Python as pip installs it: it reads its version from its own metadata.

    Raises:
        TargetError: it cannot be built.
    """
    folder = python_folder(places)
    with places.lock("iac-python"):
        if folder.is_dir():
            return
        for old in folder.parent.glob("python-*"):
            shutil.rmtree(old)
        source, unfinished = folder.with_name("source-python"), folder.with_name("unfinished-python")
        for each in (source, unfinished):
            shutil.rmtree(each, ignore_errors=True)
        # The build leaves files beside the sources.
        shutil.copytree(places.root / SDKS / "python", source)
        command = [str(ensure_uv(places)), "pip", "install", "--no-deps", "--no-build-isolation"]
        command += ["--python", str(places.python), "--target", str(unfinished), str(source)]
        run_step(places, Step("Pulumi's SDK for Python", command, seconds=5, megabytes=1))
        shutil.rmtree(source)
        unfinished.rename(folder)


def example_folder(places: Places) -> Path:
    """Where the compiled example in TypeScript of exactly these sources is, or will be."""
    found = [each for part in NODE for each in ((places.root / PULUMI / part).rglob("*") if "/" in part else ())]
    files = [each for each in found if each.is_file() and not set(BY_NPM) & set(each.parts)]
    files += [places.root / PULUMI / part for part in NODE if "/" not in part]
    return places.cache / "iac" / f"typescript-{digest(places.root, files)}"


def ensure_example(places: Places) -> None:
    """Have the example in TypeScript compiled with the SDK, where there is Node.

    Raises:
        TargetError: a package cannot be had, or TypeScript finds an error.
    """
    if shutil.which("npm") is None:
        say("helios: npm is not found: the example in TypeScript is left out")
        return
    folder = example_folder(places)
    with places.lock("iac-typescript"):
        if folder.is_dir():
            return
        for old in folder.parent.glob("typescript-*"):
            shutil.rmtree(old)
        unfinished = folder.with_name("unfinished-typescript")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        for part in NODE:
            source, target = places.root / PULUMI / part, unfinished / part
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns(*BY_NPM))
            else:
                shutil.copy2(source, target)
        shutil.copy2(places.root / ".npmrc", unfinished)
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--cache", str(unfinished / "npm")]
        run_step(places, Step("TypeScript example: packages", command, seconds=20, megabytes=120, cwd=unfinished))
        shutil.rmtree(unfinished / "npm")
        run_step(places, Step("TypeScript example: compile", ["npm", "run", "build"], seconds=15, cwd=unfinished))
        unfinished.rename(folder)
