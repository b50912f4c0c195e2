"""The built images: how big they are, what is in them, what is not, and that they run as a pod runs them."""

from __future__ import annotations

import gzip
import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from harness.client import Client, rows
from harness.image import UnpackedImage, unpack
from harness.postgres import PostgresCluster
from harness.proxy import HeliosProcess, base_settings
from helios_make.images import ensure_images
from helios_make.places import find_places

pytestmark = pytest.mark.level("node")

PROXY, OPERATOR = "localhost/helios-proxy:dev", "localhost/helios-operator:dev"
BOTH = pytest.mark.parametrize("tag", [PROXY, OPERATOR])

MAX_MEGABYTES = 120
MAX_COMPRESSED_MEGABYTES = 80
GZIP_LEVEL = 6
"""What registries' clients compress layers with."""

NOT_IN_AN_IMAGE = re.compile(
    r"/(?:(?:ba|da|z)?sh|busybox|gcc|g\+\+|cc|clang|ld|as|make|rustc|cargo|apt|apt-get|dpkg|pip[\d.]*|uv|maturin|perl|curl|wget|su|mount)$"
)
"""Programs that help an intruder or a build, by their path's end."""


@pytest.fixture(scope="session")
def archives() -> Mapping[str, Path]:
    """Tag → archive, built now or taken from the cache."""
    return ensure_images(find_places())


@pytest.fixture(scope="session")
def images(archives: Mapping[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, UnpackedImage]:
    """Tag → image."""
    return {tag: unpack(archive, tmp_path_factory.mktemp("image")) for tag, archive in archives.items()}


@pytest.fixture
def image(images: Mapping[str, UnpackedImage], tag: str) -> UnpackedImage:
    """The image of the test's `tag`."""
    return images[tag]


@BOTH
def test_is_small(image: UnpackedImage, archives: Mapping[str, Path], tag: str, tmp_path: Path) -> None:
    with archives[tag].open("rb") as plain, gzip.open(tmp_path / "archive.gz", "wb", GZIP_LEVEL) as packed:
        shutil.copyfileobj(plain, packed)

    unpacked, compressed = image.megabytes(), (tmp_path / "archive.gz").stat().st_size / 1e6
    print(f"{tag}: {unpacked:.1f} MB unpacked, {compressed:.1f} MB compressed")
    assert unpacked <= MAX_MEGABYTES
    assert compressed <= MAX_COMPRESSED_MEGABYTES


@BOTH
def test_runs_as_nobody_who_owns_nothing(image: UnpackedImage) -> None:
    owned = [path for path in image.files() if image.outside(path).lstat().st_uid != 0]

    assert image.config["User"] == "65534:65534"
    assert owned == []
    assert json.loads(image.python("import json, os; print(json.dumps([os.getuid(), os.getgid(), os.getgroups()]))"))[
        :2
    ] == [65534, 65534]


@BOTH
def test_nothing_is_writable_by_others_or_raises_privileges(image: UnpackedImage) -> None:
    modes = {path: image.outside(path).lstat() for path in image.files() if not image.outside(path).is_symlink()}

    assert [path for path, info in modes.items() if info.st_mode & 0o6002] == []


@BOTH
def test_has_no_compiler_shell_or_package_manager(image: UnpackedImage) -> None:
    assert [path for path in image.files() if NOT_IN_AN_IMAGE.search(str(path))] == []
    assert [path for path in image.files() if path.suffix in {".a", ".h", ".o", ".rs", ".whl", ".deb"}] == []


@BOTH
def test_holds_nothing_of_the_machine_that_built_it(image: UnpackedImage) -> None:
    # pip's settings and certificates were there as secrets; only Debian's certificates and no address may be left.
    leftovers = ("pip.conf", "config.toml", "ca.pem", "direct_url.json", "sources.list", "resolv.conf")

    assert [path for path in image.files() if path.name in leftovers] == []
    assert [path for path in image.files() if path.parts[1] in {"root", "home", "build", "source", "wheels"}] == []


@BOTH
def test_every_library_finds_what_it_needs(image: UnpackedImage) -> None:
    loader = next(path for path in image.files() if re.fullmatch(r"ld-linux.*\.so\.\d+", path.name))
    libraries = [path for path in image.files() if ".so" in path.suffixes and not image.outside(path).is_symlink()]

    broken = {
        str(path): answer.stdout + answer.stderr
        for path in libraries
        if (answer := image.run(str(loader), "--list", str(path))).returncode != 0 or "not found" in answer.stdout
    }

    assert libraries
    assert broken == {}


@BOTH
def test_everything_is_compiled_since_nothing_can_be_written(image: UnpackedImage) -> None:
    sources = [path for path in image.files() if path.suffix == ".py" and path.parts[1] != "etc"]
    compiled = {path.parent.parent / path.name.split(".")[0] for path in image.files() if path.suffix == ".pyc"}

    missing = [path for path in sources if path.with_suffix("") not in compiled]

    assert missing == []


def test_proxy_carries_the_engine_and_no_operator_packages(images: Mapping[str, UnpackedImage]) -> None:
    assert modules(images[PROXY], "helios", "helios_core", "asyncpg", "kopf", "kubernetes") == [True] * 3 + [False] * 2


def test_operator_carries_kopf_and_nothing_of_the_engine(images: Mapping[str, UnpackedImage]) -> None:
    seen = modules(images[OPERATOR], "helios_operator", "helios_crds", "kopf", "helios_core", "asyncpg", "kubernetes")

    assert seen == [True] * 3 + [False] * 3


def modules(image: UnpackedImage, *names: str) -> list[bool]:
    """Which of some modules can be imported inside."""
    program = f"import importlib.util, json; print(json.dumps([bool(importlib.util.find_spec(n)) for n in {names!r}]))"
    answer: list[bool] = json.loads(image.python(program))
    return answer


@BOTH
def test_entry_point_starts(image: UnpackedImage) -> None:
    answer = image.run(*image.config["Entrypoint"], "--help")

    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.startswith("usage:")
    assert answer.stderr == ""


@BOTH
def test_trusts_the_certificates_of_debian(image: UnpackedImage) -> None:
    count = int(image.python("import ssl; print(len(ssl.create_default_context().get_ca_certs()))"))

    assert count > 100


@pytest.mark.smoke
def test_proxy_of_the_image_serves_queries(
    images: Mapping[str, UnpackedImage], postgres: PostgresCluster, tmp_path: Path
) -> None:
    image, folder = images[PROXY], tmp_path / "heliosproxy"
    settings = base_settings(postgres, folder)
    folder.chmod(0o755)
    shutil.chown(folder / "users.txt", 65534, 65534)
    program = image.command(*image.config["Entrypoint"], visible=[folder])

    with HeliosProcess(folder, settings, program=program) as proxy, Client(proxy.target()) as client:
        assert rows(client.query("select 1")) == [["1"]]
