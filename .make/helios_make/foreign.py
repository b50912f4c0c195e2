"""CustomResourceDefinitions of other projects, out of the Go modules that e2e/kubernetes/foreign pins.

For the tests of what the operator makes of kinds that are not its own. Go's proxy is the one way to them that needs no
release page, and go.sum says that they are the right ones.
"""

import json
import platform
import shutil
import subprocess
from pathlib import Path

from helios_make import doctor
from helios_make.errors import TargetError
from helios_make.go import go_caches
from helios_make.places import Places
from helios_make.stamps import digest

__all__ = ["CERT_MANAGER", "CLOUDNATIVE_PG", "PROMETHEUS", "ZALANDO", "ensure_crds"]

PINS = Path("e2e", "kubernetes", "foreign")
PROMETHEUS = "github.com/prometheus-operator/prometheus-operator"
CLOUDNATIVE_PG = "github.com/cloudnative-pg/cloudnative-pg"
CERT_MANAGER = "github.com/cert-manager/cert-manager"
ZALANDO = "github.com/zalando/postgres-operator"
FOLDERS = {
    PROMETHEUS: "example/prometheus-operator-crd",
    CLOUDNATIVE_PG: "config/crd/bases",
    ZALANDO: "manifests",
    CERT_MANAGER: "deploy/crds",
}
"""Module → folder with its definitions."""


def ensure_crds(places: Places, module: str) -> Path:
    """The folder with a module's definitions, fetched if it is not there.

    Raises:
        TargetError: Go is missing, or the module could not be had.
    """
    files = [places.root / PINS / name for name in ("go.mod", "go.sum")]
    kept = places.cache / "foreign" / digest(places.root, files, platform.system()) / module.rpartition("/")[2]
    with places.lock("foreign"):
        if not kept.is_dir():
            doctor.require(places, ["go"])
            unfinished = kept.with_name("unfinished")
            shutil.rmtree(unfinished, ignore_errors=True)
            with go_caches(places) as environment:
                shutil.copytree(Path(_fetch(places, module, environment), FOLDERS[module]), unfinished)
            unfinished.replace(kept)
    return kept


def _fetch(places: Places, module: str, environment: dict[str, str]) -> str:
    answer = subprocess.run(
        ["go", "mod", "download", "-json", module],
        cwd=places.root / PINS,
        env={**places.environment(), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    told = json.loads(answer.stdout or "{}")
    if answer.returncode != 0 or "Dir" not in told:
        raise TargetError(f"cannot fetch {module}: {told.get('Error') or answer.stderr.strip()}")
    return str(told["Dir"])
