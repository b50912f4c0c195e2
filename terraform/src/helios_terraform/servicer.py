"""The calls of Terraform's protocol, each translated and handed on. What goes wrong becomes a diagnostic."""

from __future__ import annotations

import functools
import json
import sys
import traceback
from collections.abc import Callable
from typing import Any

from tf.gen import tfplugin_pb2 as pb
from tf.gen import tfplugin_pb2_grpc as rpc

from helios_iac.connection import PROVIDER_FIELDS, connection_of
from helios_iac.extras import CREDENTIALS
from helios_iac.fields import RESOURCES, ResourceType
from helios_iac.problems import Diagnostic, IacError, Level
from helios_iac.session import Session
from helios_iac.validate import validate
from helios_iac.values import UNKNOWN, has_unknown
from helios_terraform.attributes import check, data_fields, resource_fields
from helios_terraform.functions import FUNCTIONS
from helios_terraform.lifecycle import Done, Lifecycle
from helios_terraform.planner import plan
from helios_terraform.plugin.schema import data_schemas, provider_schema, resource_schemas
from helios_terraform.plugin.wire import attribute_path, decode, diagnostics, encode, fitting, read_dynamic
from helios_terraform.state import upgraded

__all__ = ["Servicer"]

Call = Callable[["Servicer", Any, Any], Any]
_NOT_CONFIGURED = IacError(
    "the provider's configuration is not known yet, so the objects in the state cannot be read",
    "apply what it depends on first: terraform apply -target=…",
)


def _answers(message: Any) -> Callable[[Call], Call]:
    """Turn what a call raises into diagnostics of an otherwise empty answer."""

    def decorate(call: Call) -> Call:
        @functools.wraps(call)
        def answer(self: Servicer, request: Any, context: Any) -> Any:
            try:
                return call(self, request, context)
            except IacError as error:
                return message(diagnostics=diagnostics([error.diagnostic], _fields_of(request)))
            except Exception as error:  # noqa: BLE001 - a bug of ours is told like any other error
                traceback.print_exc(file=sys.stderr)
                text = f"the provider failed: {type(error).__name__}: {error}"
                return message(diagnostics=diagnostics([Diagnostic(text, "this is a bug; please report it")], ()))

        return answer

    return decorate


def _fields_of(request: Any) -> Any:
    word = getattr(request, "type_name", "").removeprefix("heliosproxy_")
    return resource_fields(word) if word in RESOURCES else PROVIDER_FIELDS


def _resource(request: Any) -> ResourceType:
    return RESOURCES[request.type_name.removeprefix("heliosproxy_")]


class Servicer(rpc.ProviderServicer):  # type: ignore[misc] # `tf` has no types
    """One provider process: it is configured once, then called for many resources at a time."""

    def __init__(self) -> None:
        self._session: Session | None = None
        self._namespace: Any = UNKNOWN

    # What the provider is -------------------------------------------------------------------------------------------

    @_answers(pb.GetMetadata.Response)
    def GetMetadata(self, request: Any, context: Any) -> Any:
        """Names only."""
        return pb.GetMetadata.Response(
            server_capabilities=pb.ServerCapabilities(get_provider_schema_optional=True),
            resources=[pb.GetMetadata.ResourceMetadata(type_name=f"heliosproxy_{word}") for word in RESOURCES],
            data_sources=[pb.GetMetadata.DataSourceMetadata(type_name=f"heliosproxy_{word}") for word in RESOURCES],
            functions=[pb.GetMetadata.FunctionMetadata(name=name) for name in FUNCTIONS],
        )

    @_answers(pb.GetProviderSchema.Response)
    def GetProviderSchema(self, request: Any, context: Any) -> Any:
        """Everything about every attribute."""
        return pb.GetProviderSchema.Response(
            provider=provider_schema(),
            resource_schemas=resource_schemas(),
            data_source_schemas=data_schemas(),
            functions=_functions(),
            server_capabilities=pb.ServerCapabilities(get_provider_schema_optional=True),
        )

    @_answers(pb.GetFunctions.Response)
    def GetFunctions(self, request: Any, context: Any) -> Any:
        """Signatures."""
        return pb.GetFunctions.Response(functions=_functions())

    def CallFunction(self, request: Any, context: Any) -> Any:
        """One call; errors name the argument."""
        values = [read_dynamic(decode(argument)) for argument in request.arguments]
        try:
            return pb.CallFunction.Response(result=encode(FUNCTIONS[request.name].call(values)))
        except IacError as error:
            place = [step for step in error.diagnostic.path if isinstance(step, int)]
            return pb.CallFunction.Response(
                error=pb.FunctionError(text=str(error), function_argument=place[0] if place else None)
            )

    # Before anything is read ----------------------------------------------------------------------------------------

    @_answers(pb.ValidateProviderConfig.Response)
    def ValidateProviderConfig(self, request: Any, context: Any) -> Any:
        """Types are all there is to check before the rest is known."""
        return pb.ValidateProviderConfig.Response()

    @_answers(pb.ConfigureProvider.Response)
    def ConfigureProvider(self, request: Any, context: Any) -> Any:
        """Note where the API server is; nothing is sent yet, so that a plan that only creates needs none."""
        config = fitting(PROVIDER_FIELDS, decode(request.config)) or {}
        if has_unknown({name: value for name, value in config.items() if name != "namespace"}):
            return pb.ConfigureProvider.Response()
        connection = connection_of({name: None if value is UNKNOWN else value for name, value in config.items()})
        self._namespace = UNKNOWN if config.get("namespace") is UNKNOWN else connection.namespace
        self._session = Session(connection)
        return pb.ConfigureProvider.Response()

    @_answers(pb.ValidateResourceConfig.Response)
    def ValidateResourceConfig(self, request: Any, context: Any) -> Any:
        """The models' own judgement, with attribute paths."""
        resource, fields = _resource(request), _fields_of(request)
        config = fitting(fields, decode(request.config)) or {}
        found = [*validate(resource, config), *check(config)]
        if config.get(CREDENTIALS.name) is not None and not _writes_only(request):
            found.append(
                Diagnostic(
                    "credentials need Terraform or OpenTofu 1.11",
                    "an older one would write the passwords into the state; upgrade, or write the Secret otherwise",
                    (CREDENTIALS.name,),
                )
            )
        return pb.ValidateResourceConfig.Response(diagnostics=diagnostics(found, fields))

    @_answers(pb.ValidateDataResourceConfig.Response)
    def ValidateDataResourceConfig(self, request: Any, context: Any) -> Any:
        """A name is all it takes."""
        return pb.ValidateDataResourceConfig.Response()

    @_answers(pb.UpgradeResourceState.Response)
    def UpgradeResourceState(self, request: Any, context: Any) -> Any:
        """A state of any earlier version."""
        if request.raw_state.flatmap:
            raise IacError("a state from before Terraform 0.12 cannot be read", "import the object anew")
        state = upgraded(_resource(request), request.version, json.loads(request.raw_state.json))
        return pb.UpgradeResourceState.Response(upgraded_state=encode(state))

    # Resources ------------------------------------------------------------------------------------------------------

    @_answers(pb.ReadResource.Response)
    def ReadResource(self, request: Any, context: Any) -> Any:
        """A refresh."""
        state = fitting(_fields_of(request), decode(request.current_state)) or {}
        done = self._lifecycle(request).read(state, request.private)
        return pb.ReadResource.Response(new_state=encode(done.state), private=done.private)

    @_answers(pb.PlanResourceChange.Response)
    def PlanResourceChange(self, request: Any, context: Any) -> Any:
        """A plan, and what a change of it may not be."""
        resource, fields = _resource(request), _fields_of(request)
        config = fitting(fields, decode(request.config))
        prior = fitting(fields, decode(request.prior_state))
        if config is None:
            return pb.PlanResourceChange.Response(planned_state=encode(None), planned_private=request.prior_private)
        made = plan(resource, prior, config, self._namespace)
        found: list[Diagnostic] = []
        if prior is not None and not made.replaces:
            found = [each for each in validate(resource, made.planned, prior) if each.level is Level.ERROR]
        return pb.PlanResourceChange.Response(
            planned_state=encode(made.planned),
            requires_replace=[attribute_path(path, fields) for path in made.replaces],
            planned_private=request.prior_private,
            diagnostics=diagnostics(found, fields),
        )

    @_answers(pb.ApplyResourceChange.Response)
    def ApplyResourceChange(self, request: Any, context: Any) -> Any:
        """Create, change or delete."""
        fields, lifecycle = _fields_of(request), self._lifecycle(request)
        config = fitting(fields, decode(request.config)) or {}
        prior = fitting(fields, decode(request.prior_state))
        planned = fitting(fields, decode(request.planned_state))
        if planned is None:
            done = lifecycle.delete(prior or {}, request.planned_private)
        elif prior is None:
            done = lifecycle.create(config, planned)
        else:
            done = lifecycle.update(config, prior, planned, request.planned_private)
        return _applied(done, fields)

    @_answers(pb.ImportResourceState.Response)
    def ImportResourceState(self, request: Any, context: Any) -> Any:
        """`namespace/name`."""
        done = self._lifecycle(request).take(request.id)
        imported = pb.ImportResourceState.ImportedResource(
            type_name=request.type_name, state=encode(done.state), private=done.private
        )
        return pb.ImportResourceState.Response(imported_resources=[imported])

    @_answers(pb.MoveResourceState.Response)
    def MoveResourceState(self, request: Any, context: Any) -> Any:
        """No other provider's state is understood."""
        raise IacError("a state of another type cannot be moved here", "import the object instead")

    @_answers(pb.ReadDataSource.Response)
    def ReadDataSource(self, request: Any, context: Any) -> Any:
        """An object with its whole status."""
        word = request.type_name.removeprefix("heliosproxy_")
        config = fitting(data_fields(word), decode(request.config)) or {}
        state = self._lifecycle(request).look(config["name"], config.get("namespace"))
        return pb.ReadDataSource.Response(state=encode(state))

    def StopProvider(self, request: Any, context: Any) -> Any:
        """The user interrupts: waits end, writes are finished, states stay true."""
        if self._session is not None:
            self._session.stop()
        return pb.StopProvider.Response()

    def _lifecycle(self, request: Any) -> Lifecycle:
        if self._session is None:
            raise _NOT_CONFIGURED
        return Lifecycle(_resource(request), self._session)


def _applied(done: Done, fields: Any) -> Any:
    return pb.ApplyResourceChange.Response(
        new_state=encode(done.state), private=done.private, diagnostics=diagnostics(done.findings, fields)
    )


def _functions() -> dict[str, Any]:
    def parameter(each: Any) -> Any:
        return pb.Function.Parameter(name=each.name, type=json.dumps(each.type).encode(), description=each.description)

    made = {}
    for name, function in FUNCTIONS.items():
        message = pb.Function(
            parameters=[parameter(each) for each in function.parameters],
            summary=function.summary,
            description=function.description,
            description_kind=pb.MARKDOWN,
        )
        getattr(message, "return").type = b'"string"'
        made[name] = message
    return made


def _writes_only(request: Any) -> bool:
    """Whether the client keeps write-only values out of its state: field 3 of the request, which `tf` does not know."""
    raw = request.SerializeToString()
    known = pb.ValidateResourceConfig.Request(type_name=request.type_name, config=request.config).SerializeToString()
    # client_capabilities {write_only_attributes_allowed: true}, alone or beside others.
    return b"\x10\x01" in raw[len(known) :]
