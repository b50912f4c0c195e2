"""A bad resource is refused with every fault at once: file, line, field, what is wrong, what would be right."""

import pytest

from helios_crds import HeliosProxy, Reason, ResourceError, is_helios, load_documents, parse, parse_as

HEAD = "apiVersion: helios.heliosproxy.dev/v1alpha1\nkind: HeliosProxy\nmetadata: {name: web}\n"
BASE = "  auth: {method: trust}\n"

BAD = """\
apiVersion: helios.heliosproxy.dev/v1alpha1
kind: HeliosProxy
metadata:
  name: Web_1
  lables: {a: b}
spec:
  replicas: "2"
  listenPort: 99999
  nodes:
    - host: a
      prt: 5432
      role: primary
    - {host: b, role: primary, port: "5432"}
    - {host: b c, role: leader}
    - {role: standby}
  pool: {minConnections: 5, maxConnections: 3, mode: foo, idleTimeoutSeconds: yes}
  resources: {limits: {cpu: two, memory: 1.5}}
  auth: {method: md4}
  databases: {a: b}
  features:
  log: {level: 3}
  tenantQuotaRefs: [{name: a}, {name: a}]
"""

REFUSALS = """\
web.yaml:1: metadata.name must have at most 52 characters, start with a letter and hold only a-z, 0-9 and -, because \
Services are named after it
web.yaml:4: metadata.name: is "Web_1", a string; it should match pattern '^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$'
web.yaml:5: metadata.lables: no such field; did you mean labels?
web.yaml:7: spec.replicas: is "2", a string; write an integer without quotes, such as 100
web.yaml:8: spec.listenPort: is 99999, an integer; it should be less than or equal to 65535
web.yaml:9: spec.nodes: at most one node may have role: primary
web.yaml:11: spec.nodes[0].prt: no such field; did you mean port?
web.yaml:13: spec.nodes[1].port: is "5432", a string; write an integer without quotes, such as 100
web.yaml:14: spec.nodes[2].host: is "b c", a string; it should match pattern '^[A-Za-z0-9._:%-]+$'
web.yaml:14: spec.nodes[2].role: is "leader", a string; allowed: primary, standby
web.yaml:15: spec.nodes[3].host: is missing; write the DNS name or IP address of the server
web.yaml:16: spec.pool.mode: is "foo", a string; allowed: session, transaction, statement
web.yaml:16: spec.pool.idleTimeoutSeconds: is true, a boolean; write an integer without quotes, such as 100
web.yaml:16: spec.pool: minConnections must not exceed maxConnections
web.yaml:17: spec.resources.limits.cpu: is "two", a string, must be a Kubernetes quantity such as 250m, 2 or 512Mi
web.yaml:17: spec.resources.limits.memory: is 1.5, a number; write a quantity such as 250m or 512Mi
web.yaml:18: spec.auth.method: is "md4", a string; allowed: trust, password, md5, scram-sha-256, cert, peer
web.yaml:19: spec.databases: is {"a": "b"}, a mapping; write a list
web.yaml:21: spec.log.level: is 3, an integer; allowed: debug, info, warning, error
web.yaml:22: spec.tenantQuotaRefs: every name may be given once
""".splitlines()


def refusal(text: str) -> ResourceError:
    with pytest.raises(ResourceError) as caught:
        parse(load_documents(text, "web.yaml")[0])
    return caught.value


def test_every_fault_is_told_at_once_with_its_line() -> None:
    assert str(refusal(BAD)).splitlines() == REFUSALS


def test_unknown_field_names_the_nearest_or_the_known_ones() -> None:
    error = refusal(HEAD + "spec:\n" + BASE + "  pol: {}\n  drain: {zzz: 3}\n")

    assert [problem.reason for problem in error.problems] == [Reason.UNKNOWN_FIELD, Reason.UNKNOWN_FIELD]
    assert str(error).splitlines() == [
        "web.yaml:6: spec.pol: no such field; did you mean pool?",
        "web.yaml:7: spec.drain.zzz: no such field; known fields: endpointDelaySeconds, timeoutSeconds",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\n", "web.yaml:1: apiVersion: is missing or no string"),
        ("apiVersion: v1\nkind: HeliosProxi\n", "kind: HeliosProxi is no kind of Helios; did you mean HeliosProxy?"),
        (
            HEAD.replace("v1alpha1", "v1"),
            "helios.heliosproxy.dev/v1 is no version of HeliosProxy that this release reads",
        ),
        ("- a\n", "web.yaml:1: is not a mapping with apiVersion, kind, metadata and spec"),
        (HEAD.replace("{name: web}", "{}"), "metadata.name: is missing"),
        (HEAD + "spec: []\n", "web.yaml:4: spec: is [], a list; write a mapping"),
        (HEAD + "spec: {nodes: [a]}\n", 'spec.nodes[0]: is "a", a string; write a mapping'),
        (HEAD + "extra: 1\n", "web.yaml:4: extra: no such field"),
        (HEAD + f"spec: {{image: {'x' * 600}}}\n", "it should have at most 512 characters"),
    ],
)
def test_what_is_no_resource_is_refused(text: str, message: str) -> None:
    assert message in str(refusal(text))


def test_null_counts_as_left_out() -> None:
    proxy = parse(load_documents(HEAD + "spec:\n" + BASE + "  pool:\n  image: ~\n  replicas: null\n")[0])

    assert isinstance(proxy, HeliosProxy)
    assert (proxy.spec.pool, proxy.spec.image, proxy.spec.replicas) == (None, None, 2)


def test_digits_with_underscores_are_a_number_as_for_kubectl() -> None:
    text = HEAD.replace("HeliosProxy", "TenantQuota") + "spec: {maxBytesReadPerMinute: 100_000_000}\n"

    quota = parse(load_documents(text)[0])

    assert quota.model_dump(by_alias=True)["spec"]["maxBytesReadPerMinute"] == 100_000_000
    quoted = refusal(text.replace("100_000_000", '"100_000_000"'))
    assert 'is "100_000_000", a string; write an integer without quotes' in str(quoted)


def test_object_of_the_api_server_is_parsed_with_status_of_a_newer_operator() -> None:
    proxy = parse_as(
        HeliosProxy,
        {
            "apiVersion": "helios.heliosproxy.dev/v1alpha1",
            "kind": "HeliosProxy",
            "metadata": {"name": "web", "uid": "1", "generation": 3, "managedFields": [{"manager": "kubectl"}]},
            "spec": {"auth": {"method": "trust"}, "resources": {"limits": {"cpu": 2, "memory": "1Gi"}}},
            "status": {"phase": "Ready", "invented": {"later": True}, "lastFailover": "2026-01-02T03:04:05Z"},
        },
    )

    assert proxy.metadata.generation == 3
    assert proxy.status is not None
    assert proxy.status.phase == "Ready"
    assert proxy.spec.resources.limits == {"cpu": 2, "memory": "1Gi"}


def test_only_our_group_and_kinds_are_ours() -> None:
    texts = [HEAD, "apiVersion: v1\nkind: Secret\n", "apiVersion: helios.heliosproxy.dev/v9\nkind: New\n"]

    assert [is_helios(load_documents(text)[0]) for text in texts] == [True, False, True]


def test_parsed_resource_survives_a_round_trip() -> None:
    proxy = parse(load_documents(HEAD + "spec:\n" + BASE + "  nodes: []\n")[0])

    for dumped in (
        proxy.model_dump(mode="json", by_alias=True),
        proxy.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_unset=True),
    ):
        assert parse_as(HeliosProxy, dumped) == proxy
