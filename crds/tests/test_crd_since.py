"""What an older proxy does not know is left out of its helios.toml and told; what protects is never left out."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from helios import __version__
from helios.config import ProxyConfig
from helios.config.writer import dumps
from helios_crds import API_VERSION, HeliosProxy, Reason, Severity, parse_as, since
from helios_crds.placement import Placement
from helios_crds.references import References
from helios_crds.render import RenderResult, render
from helios_crds.since import key_versions, parse_version, version_of_image
from helios_crds.since_record import RecordError, record_text

FIRST, SECOND = (0, 1, 0), (0, 2, 0)
NEW = ("peers", "tcp", "databases.max_client_connections", "auth.hba_file", "io=io_uring")
"""What a second release brings in these tests, beside the keys below them."""


@pytest.fixture
def second_release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The record as it is once a second release has brought some keys."""
    brought = [key for key in key_versions() if any(f"{key}.".startswith(f"{new}.") for new in NEW)]
    known = {key: SECOND if key in brought else FIRST for key in key_versions()}
    record = tmp_path / "since.toml"
    record.write_text(record_text(known, "0.2.0"))
    monkeypatch.setattr(since, "RECORD", record)
    forget()
    yield
    forget()


def forget() -> None:
    """Have the record read again."""
    since.key_versions.cache_clear()
    since._newer_than.cache_clear()  # the record of another test


def result_for(version: since.Version | None, **spec: Any) -> RenderResult:
    asked = {"nodes": [{"host": "db-0"}], "auth": {"method": "trust"}, **spec}
    value = {"apiVersion": API_VERSION, "kind": "HeliosProxy", "metadata": {"name": "web"}, "spec": asked}
    return render(parse_as(HeliosProxy, value), References(), Placement(version=version))


def document(result: RenderResult) -> dict[str, Any]:
    assert result.config is not None, [str(problem) for problem in result.problems]
    return tomllib.loads(dumps(result.config))


def told(result: RenderResult) -> list[tuple[str, Reason, Severity]]:
    return [(problem.field, problem.reason, problem.severity) for problem in result.problems]


@pytest.mark.parametrize(
    ("image", "version"),
    [
        ("helios-proxy:0.1.0", FIRST),
        ("registry.example:5000/team/helios-proxy:v0.2.0-debian@sha256:ab", SECOND),
        ("localhost/helios-proxy:dev", None),
        ("registry.example:5000/helios-proxy", None),
        ("helios-proxy@sha256:0123", None),
        ("helios-proxy:0.1", None),
        ("our/helios-proxy:0.0.7", None),
        ("helios-proxy:0.1.0.7", None),
    ],
)
def test_version_is_told_by_the_tag(image: str, version: since.Version | None) -> None:
    assert version_of_image(image) == version


@pytest.mark.usefixtures("second_release")
def test_older_proxy_gets_what_it_knows_and_the_user_is_told() -> None:
    spec = {"io": "io_uring", "databases": [{"name": "a"}, {"name": "b", "maxClientConnections": 9, "database": "c"}]}

    old, new = result_for(FIRST, **spec), result_for(SECOND, **spec)

    assert {"peers", "io"} <= document(new).keys()
    assert new.problems == ()
    assert document(old) == {
        **{key: value for key, value in document(new).items() if key not in ("peers", "io")},
        "databases": [{"name": "a"}, {"name": "b", "database": "c"}],
    }
    left_out = {(field, Reason.NOT_IN_IMAGE, Severity.WARNING) for field, *_ in told(old)}
    assert set(told(old)) == left_out
    assert [field for field, *_ in told(old)] == ["spec.io", "spec.databases[1].maxClientConnections", ""]
    assert "a proxy of version 0.1.0 reads helios.toml, and does not know peers in it; it is left out" in str(
        old.problems[-1]
    )


@pytest.mark.usefixtures("second_release")
def test_older_proxy_does_not_run_without_what_protects() -> None:
    result = result_for(FIRST, auth={"hbaSecretRef": {"name": "records"}})

    assert result.config is None
    assert ("spec.auth.hbaSecretRef", Reason.NOT_IN_IMAGE, Severity.ERROR) in told(result)


@pytest.mark.usefixtures("second_release")
@pytest.mark.parametrize("version", [None, SECOND, (1, 0, 0)])
def test_present_and_newer_proxies_get_everything(version: since.Version | None) -> None:
    assert result_for(version) == result_for(None)


def test_record_holds_every_key_and_nothing_newer_than_this_tree() -> None:
    this = parse_version(__version__)

    assert this is not None
    assert set(ProxyConfig.model_fields) <= key_versions().keys()
    assert {"clusters.nodes.host", "auth.method=trust", "databases.pool.mode=session"} <= key_versions().keys()
    assert max(key_versions().values()) <= this


def test_record_keeps_versions_and_takes_new_keys_in_under_the_present_one() -> None:
    known = {key: FIRST for key in key_versions() if not key.startswith("tcp")}

    made = tomllib.loads(record_text(known, "0.2.0"))

    assert set(made["0.1.0"]) == known.keys()
    assert set(made["0.2.0"]) == key_versions().keys() - known.keys()


def test_record_refuses_that_a_released_key_goes() -> None:
    known = {**key_versions(), "pool.gone": FIRST}

    with pytest.raises(RecordError, match=r"older operators write pool\.gone"):
        record_text(known, "0.2.0")
    assert "pool.gone" not in record_text(known, "0.1.0")
