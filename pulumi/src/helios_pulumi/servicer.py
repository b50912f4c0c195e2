"""The calls of Pulumi's provider protocol, each translated and handed on to `helios_iac`.

Findings are told through the engine's log, where there is one; errors end the call with their text. An object that was
made but is not ready is kept: the answer says so, and the next `up` goes on from there.
"""

from __future__ import annotations

import functools
import json
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from typing import Any, Final

import grpc
from google.protobuf.empty_pb2 import Empty
from pulumi.runtime.proto import (
    engine_pb2,
    engine_pb2_grpc,
    plugin_pb2,
    provider_pb2,
    provider_pb2_grpc,
    status_pb2,
)

from helios import __version__
from helios_iac.connection import PROVIDER_FIELDS, connection_of
from helios_iac.extras import CREDENTIALS, STRICT, WAIT, check_extras, outputs, outputs_of
from helios_iac.fields import RESOURCES, ResourceType
from helios_iac.operations import Operations, Target
from helios_iac.problems import Diagnostic, IacError, Level
from helios_iac.session import Session
from helios_iac.validate import document_of, validate
from helios_iac.values import UNKNOWN, camel_spelling, has_unknown, spec_of
from helios_pulumi.marshal import pack, plain, unpack
from helios_pulumi.properties import (
    AUTONAMED,
    UID,
    changes,
    inputs_of,
    is_autonamed,
    normal,
    properties_of,
    with_password_secret,
)
from helios_pulumi.schema import package_schema

__all__ = ["Servicer"]

Properties = dict[str, Any]
Call = Callable[["Servicer", Any, Any], Any]
_TIMEOUTS: Final = {"create": 600.0, "update": 600.0, "delete": 120.0}
"""Seconds, where customTimeouts says nothing."""
_SUFFIX_LENGTH: Final = 7
_BY_TOKEN: Final = {resource.token: resource for resource in RESOURCES.values()}
_REPLACING: Final = {"ADD": "ADD_REPLACE", "DELETE": "DELETE_REPLACE", "UPDATE": "UPDATE_REPLACE"}


class _NotReady(Exception):
    """A strict wait ended without the condition."""

    def __init__(self, identity: str, state: Properties, inputs: Properties, why: str) -> None:
        self.identity, self.state, self.inputs, self.why = identity, state, inputs, why
        super().__init__(why)


def _tells(call: Call) -> Call:
    """Turn what a call raises into a status that Pulumi shows."""

    @functools.wraps(call)
    def answer(self: Servicer, request: Any, context: Any) -> Any:
        try:
            return call(self, request, context)
        except IacError as error:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))
        except _NotReady as late:
            details = provider_pb2.ErrorResourceInitFailed(
                id=late.identity, properties=pack(late.state), inputs=pack(late.inputs), reasons=[late.why]
            )
            status = status_pb2.Status(code=grpc.StatusCode.UNKNOWN.value[0], message=late.why)
            status.details.add().Pack(details)
            context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
            context.abort(grpc.StatusCode.UNKNOWN, late.why)
        except Exception as error:
            if type(error) is Exception:
                raise  # how gRPC ends an aborted call
            traceback.print_exc(file=sys.stderr)
            context.abort(grpc.StatusCode.INTERNAL, f"the provider failed: {type(error).__name__}: {error}")

    return answer


def _resource(urn: str) -> ResourceType:
    token = urn.split("::")[2].split("$")[-1]
    return _BY_TOKEN[token.rpartition(":")[2]]


class Servicer(provider_pb2_grpc.ResourceProviderServicer):
    """One provider process: it is configured once, then called for many resources at a time."""

    def __init__(self, engine: str | None = None) -> None:
        """`engine` is the address of the engine, which shows what we tell."""
        self._session: Session | None = None
        self._namespace: Any = UNKNOWN
        self._engine: Any = None
        self._lock = threading.Lock()
        if engine:
            self._attach(engine)

    # What the provider is -------------------------------------------------------------------------------------------

    def Handshake(self, request: Any, context: Any) -> Any:
        """Both say what they can do."""
        return provider_pb2.ProviderHandshakeResponse(accept_secrets=True, accept_outputs=True)

    def Attach(self, request: Any, context: Any) -> Any:
        """The engine that we were not started by."""
        self._attach(request.address)
        return Empty()

    def GetPluginInfo(self, request: Any, context: Any) -> Any:
        """The version."""
        return plugin_pb2.PluginInfo(version=__version__)

    def GetSchema(self, request: Any, context: Any) -> Any:
        """pulumi/schema.json."""
        return provider_pb2.GetSchemaResponse(schema=json.dumps(package_schema()))

    @_tells
    def CheckConfig(self, request: Any, context: Any) -> Any:
        """The provider's arguments, as they are: files and clusters may still be made by the same program."""
        news = unpack(request.news)
        known = {field.camel for field in PROVIDER_FIELDS} | {"version", "pluginDownloadURL"}
        failures = [
            provider_pb2.CheckFailure(property=name, reason=f"no such argument; known are {', '.join(sorted(known))}")
            for name in news
            if name not in known and not name.startswith("__")
        ]
        return provider_pb2.CheckResponse(inputs=request.news, failures=failures)

    @_tells
    def DiffConfig(self, request: Any, context: Any) -> Any:
        """Another cluster is another place for every object; the rest is only a way to reach it."""
        olds, news = plain(unpack(request.olds)), plain(unpack(request.news))
        changed = sorted(key for key in olds.keys() | news.keys() if olds.get(key) != news.get(key))
        moved = [key for key in changed if key in ("host", "kubeContext", "kubeconfig") and olds.get(key) is not None]
        some, none = provider_pb2.DiffResponse.DIFF_SOME, provider_pb2.DiffResponse.DIFF_NONE
        return provider_pb2.DiffResponse(changes=some if changed else none, replaces=moved, diffs=changed)

    @_tells
    def Configure(self, request: Any, context: Any) -> Any:
        """Note where the API server is; nothing is sent yet."""
        given = plain(unpack(request.args))
        arguments = {field.name: _read_argument(field.kind, given.get(field.camel)) for field in PROVIDER_FIELDS}
        if not has_unknown({name: value for name, value in arguments.items() if name != "namespace"}):
            connection = connection_of({name: None if value is UNKNOWN else value for name, value in arguments.items()})
            self._namespace = UNKNOWN if arguments["namespace"] is UNKNOWN else connection.namespace
            self._session = Session(connection)
        return provider_pb2.ConfigureResponse(acceptSecrets=True, supportsPreview=True, acceptOutputs=True)

    # Resources ------------------------------------------------------------------------------------------------------

    @_tells
    def Check(self, request: Any, context: Any) -> Any:
        """A name where none is given, then the models' own judgement."""
        resource = _resource(request.urn)
        inputs = with_password_secret(unpack(request.news))
        olds = unpack(request.olds)
        inputs.pop(AUTONAMED, None)
        if inputs.get("name") is None:
            inputs["name"] = plain(olds["name"]) if is_autonamed(olds) else _name(request)
            inputs[AUTONAMED] = ["name"]
        if inputs.get("namespace") is None:
            inputs["namespace"] = self._namespace
        bare = plain(inputs)
        known = {field.camel for field in properties_of(resource)} | {AUTONAMED}
        found = [
            Diagnostic(f"{name}: no such property", f"known are {', '.join(sorted(known - {AUTONAMED}))}", (name,))
            for name in bare
            if name not in known
        ]
        found += validate(resource, bare, None, camel_spelling)
        found += check_extras(bare.get(WAIT.camel), bare.get(CREDENTIALS.camel))
        failures = [
            provider_pb2.CheckFailure(property=_property(each.path), reason=str(each))
            for each in found
            if each.level is Level.ERROR
        ]
        for each in found:
            if each.level is Level.WARNING:
                self._tell(str(each), request.urn, engine_pb2.WARNING)
        return provider_pb2.CheckResponse(inputs=pack(inputs), failures=failures)

    @_tells
    def Diff(self, request: Any, context: Any) -> Any:
        """What differs, what of it replaces, and whether the old object must go first."""
        resource = _resource(request.urn)
        olds = unpack(request.old_inputs) or unpack(request.olds)
        news = unpack(request.news)
        ignored = tuple(request.ignoreChanges)
        found = [
            (path, kind, replaces)
            for path, kind, replaces in changes(resource, olds, news)
            if not any(path == each or path.startswith((f"{each}.", f"{each}[")) for each in ignored)
        ]
        self._refuse_transitions(resource, olds, news, [path for path, _, replaces in found if replaces])
        kinds = provider_pb2.PropertyDiff.Kind
        detailed = {
            path: provider_pb2.PropertyDiff(kind=kinds.Value(_REPLACING[kind] if replaces else kind), inputDiff=True)
            for path, kind, replaces in found
        }
        replaces = sorted({path.split(".")[0] for path, _, replaces in found if replaces})
        stays = all(plain(olds.get(key)) == plain(news.get(key)) for key in ("name", "namespace"))
        return provider_pb2.DiffResponse(
            changes=provider_pb2.DiffResponse.DIFF_SOME if found else provider_pb2.DiffResponse.DIFF_NONE,
            replaces=replaces,
            diffs=sorted({path.split(".")[0] for path, _, _ in found}),
            detailedDiff=detailed,
            hasDetailedDiff=True,
            deleteBeforeReplace=bool(replaces) and stays and not is_autonamed(news),
        )

    @_tells
    def Create(self, request: Any, context: Any) -> Any:
        """Make the object; in a preview only say what will be known."""
        resource, inputs = _resource(request.urn), unpack(request.properties)
        if request.preview:
            return provider_pb2.CreateResponse(properties=pack(self._previewed(resource, inputs)))
        target = self._target(resource, inputs)
        document = self._document(resource, inputs)
        live = self._run(lambda api: api.create(target, document))
        identity = f"{target.namespace}/{target.name}"
        state = self._finish(request, resource, live, inputs, {}, "create")
        return provider_pb2.CreateResponse(id=identity, properties=pack(state))

    @_tells
    def Read(self, request: Any, context: Any) -> Any:
        """A refresh, or with nothing but an id an import."""
        resource = _resource(request.urn)
        before, olds = unpack(request.inputs), plain(unpack(request.properties))
        namespace, slash, name = request.id.rpartition("/")
        if not name or "/" in namespace or (slash and not namespace):
            raise IacError(f'the id "{request.id}" names no object', "write namespace/name")
        target = Target(resource, namespace or str(self._namespace), name, olds.get(UID))
        live = self._run(lambda api: api.read(target))
        if live is None:
            return provider_pb2.ReadResponse()
        inputs = with_password_secret(inputs_of(resource, live, before))
        return provider_pb2.ReadResponse(
            id=f"{target.namespace}/{target.name}", inputs=pack(inputs), properties=pack(_state(resource, live, inputs))
        )

    @_tells
    def Update(self, request: Any, context: Any) -> Any:
        """Change the object; in a preview only say what will be known."""
        resource, inputs = _resource(request.urn), unpack(request.news)
        olds = unpack(request.olds)
        if request.preview:
            return provider_pb2.UpdateResponse(properties=pack(self._previewed(resource, inputs)))
        target = self._target(resource, inputs, plain(olds).get(UID))
        document, wanted = self._document(resource, inputs), spec_of(resource, normal(resource, inputs), camel_spelling)
        live = self._run(lambda api: api.update(target, document, wanted))
        before = unpack(request.old_inputs) or olds
        return provider_pb2.UpdateResponse(
            properties=pack(self._finish(request, resource, live, inputs, before, "update"))
        )

    @_tells
    def Delete(self, request: Any, context: Any) -> Any:
        """Delete this very object and wait until it is gone."""
        resource, state = _resource(request.urn), plain(unpack(request.properties))
        target = self._target(resource, state, state.get(UID))
        seconds = request.timeout or _TIMEOUTS["delete"]

        async def work(api: Operations) -> bool:
            await api.delete(target)
            return await api.gone(target, seconds)

        if not self._run(work):
            raise IacError(f"{target} is still there after {seconds:.0f} s", "a finalizer holds it")
        return Empty()

    def Cancel(self, request: Any, context: Any) -> Any:
        """The user interrupts: waits end, writes are finished."""
        if self._session is not None:
            self._session.stop()
        return Empty()

    # ----------------------------------------------------------------------------------------------------------------

    def _attach(self, address: str) -> None:
        with self._lock:
            self._engine = engine_pb2_grpc.EngineStub(grpc.insecure_channel(address))

    def _tell(self, message: str, urn: str, severity: Any, *, passing: bool = False) -> None:
        """Have the engine show a line; without an engine it goes to stderr."""
        if self._engine is None:
            sys.stderr.write(f"{message}\n")
            return
        line = engine_pb2.LogRequest(severity=severity, message=message, urn=urn, ephemeral=passing)
        try:
            self._engine.Log(line, timeout=5)
        except grpc.RpcError as error:
            sys.stderr.write(f"{message} (the engine does not listen: {error})\n")

    def _run(self, work: Any) -> Any:
        if self._session is None:
            raise IacError("the provider's configuration is not known yet", "make what it depends on first")
        return self._session.run(work)

    def _target(self, resource: ResourceType, inputs: Mapping[str, Any], uid: str | None = None) -> Target:
        bare = plain(inputs)
        return Target(resource, bare.get("namespace") or str(self._namespace), bare["name"], uid)

    def _document(self, resource: ResourceType, inputs: Mapping[str, Any]) -> Any:
        return document_of(resource, {"namespace": self._namespace, **plain(inputs)}, camel_spelling)

    def _previewed(self, resource: ResourceType, inputs: Properties) -> Properties:
        unknown = {field.camel: UNKNOWN for field in outputs_of(resource)}
        return {key: value for key, value in inputs.items() if key != AUTONAMED} | unknown

    def _refuse_transitions(
        self, resource: ResourceType, olds: Properties, news: Properties, replacing: list[str]
    ) -> None:
        """Raise IacError for a change that an object may not make."""
        if replacing or not olds:
            return
        before, after = normal(resource, olds), normal(resource, news)
        errors = [each for each in validate(resource, after, before, camel_spelling) if each.level is Level.ERROR]
        if errors:
            raise IacError("; ".join(map(str, errors)))

    def _finish(
        self,
        request: Any,
        resource: ResourceType,
        live: Mapping[str, Any],
        inputs: Properties,
        before: Properties,
        operation: str,
    ) -> Properties:
        """Write the users, wait, and say how it stands; the state. Raises _NotReady for a strict wait."""
        bare, urn = plain(inputs), request.urn
        target = self._target(resource, bare, live["metadata"]["uid"])
        users, old = bare.get(CREDENTIALS.camel), plain(before).get(CREDENTIALS.camel)
        if users is not None or old is not None:
            self._write_users(target, live, users or {}, old or {})
        mode = bare.get(WAIT.camel) or "true"
        if mode == "false":
            return _state(resource, live, inputs)
        seconds = request.timeout or _TIMEOUTS[operation]

        def tell(line: str) -> None:
            self._tell(line, urn, engine_pb2.INFO, passing=True)

        outcome = self._run(lambda api: api.await_ready(target, seconds, tell))
        state = _state(resource, outcome.live, inputs)
        if not outcome.ready:
            why = f"{target} is not {resource.ready}: {outcome.why}"
            if mode == STRICT:
                raise _NotReady(f"{target.namespace}/{target.name}", state, inputs, why)
            self._tell(f"{why}; it was written, waitForReady strict makes this an error", urn, engine_pb2.WARNING)
        return state

    def _write_users(
        self, target: Target, live: Mapping[str, Any], users: Mapping[str, Any], old: Mapping[str, Any]
    ) -> None:
        passwords = {user: each.get("passwordWo") for user, each in users.items()}
        # The state has the passwords, so a changed one is seen without a version.
        versions = {user: dict(each) for user, each in users.items()}
        self._run(lambda api: api.write_users(target, live, passwords, versions, old))


def _state(resource: ResourceType, live: Mapping[str, Any], inputs: Properties) -> Properties:
    """What Pulumi keeps: the inputs, and what can be had of the object."""
    made = outputs(resource, live)
    shown = {field.camel: made[field.name] for field in outputs_of(resource)}
    state = {key: value for key, value in inputs.items() if key != AUTONAMED}
    return {**state, **shown, UID: live["metadata"]["uid"]}


def _name(request: Any) -> str:
    """`<name in the program>-<7 hex digits>`; the digits are the engine's choice, so that a preview tells the truth."""
    base = request.urn.rpartition("::")[2].lower().replace("_", "-")
    return f"{base}-{request.randomSeed.hex()[:_SUFFIX_LENGTH]}"


def _property(path: tuple[str | int, ...]) -> str:
    """A path as Pulumi writes it: `nodes[0].port`."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).lstrip(".")


def _read_argument(kind: str, value: Any) -> Any:
    """Pulumi writes what is no text as JSON text in a provider's configuration."""
    if kind == "string" or not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError as error:
        raise IacError(f"an argument of the provider is {value!r}", f"write a {kind}") from error
