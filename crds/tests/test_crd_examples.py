"""Every example is valid, complete, and renders: `kubectl apply` and `helios play` take the same files."""

from pathlib import Path

import pytest

from helios.config import NodeConfig
from helios_crds import HeliosProxy, is_helios, load_paths, parse
from helios_crds.placement import Placement
from helios_crds.render import References, discoveries, render

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
FOLDERS = sorted({path.parent for path in EXAMPLES.glob("*/*.yaml")})
FOUND = NodeConfig(host="10.0.0.7")


def test_there_are_examples() -> None:
    assert {folder.name for folder in FOLDERS} >= {"01-minimal", "02-pooling"}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_example_renders(folder: Path) -> None:
    documents = load_paths([folder])
    resources = [parse(document) for document in documents if is_helios(document)]
    secrets = {
        document.name: {**document.value.get("data", {}), **document.value.get("stringData", {})}.keys()
        for document in documents
        if document.kind == "Secret"
    }
    proxies = [resource for resource in resources if isinstance(resource, HeliosProxy)]

    assert proxies
    for proxy in proxies:
        discovered = {discovery.cluster: (FOUND,) for discovery in discoveries(proxy)}
        references = References.among(resources, secrets, discovered)
        result = render(proxy, references, Placement(users_file="/users.txt"))
        assert not result.problems, [str(problem) for problem in result.problems]
        assert result.config is not None
