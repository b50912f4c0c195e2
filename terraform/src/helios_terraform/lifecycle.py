"""Create, change, delete, read and import one resource by `helios_iac`: state in, state and findings out.

Called by `servicer` for each resource at the same time. What could not be finished is told, and the state says what
there is: an object that was made is in the state, also when it did not become ready.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from helios_iac.extras import CREDENTIALS, outputs_of
from helios_iac.fields import ResourceType
from helios_iac.operations import Operations, Outcome, Target
from helios_iac.problems import Diagnostic, IacError, Level
from helios_iac.session import Session
from helios_iac.validate import document_of
from helios_iac.values import spec_of
from helios_terraform.attributes import waiting
from helios_terraform.planner import explicit
from helios_terraform.state import data_of, private_of, state_of, uid_of

__all__ = ["Done", "Lifecycle"]

State = dict[str, Any]
_GONE: Final = "the object is being deleted, but a finalizer holds it"


@dataclass
class Done:
    """What an operation left behind."""

    state: State | None
    """None: there is no object any more."""
    private: bytes = b""
    findings: list[Diagnostic] = field(default_factory=list)


class Lifecycle:
    """The operations of one kind, by one session."""

    def __init__(self, resource: ResourceType, session: Session) -> None:
        self._resource = resource
        self._session = session

    def create(self, config: State, planned: State) -> Done:
        """Make the object, its users, and wait."""
        target = self._target(planned)
        document = self._document(config, planned)
        done = Done(None)
        try:
            live = self._session.run(lambda api: api.create(target, document))
        except IacError as error:
            done.findings.append(error.diagnostic)
            return done
        return self._finish(done, live, config, planned, {}, "create")

    def update(self, config: State, prior: State, planned: State, private: bytes) -> Done:
        """Change the object and its users, and wait."""
        target = self._target(prior, uid_of(private))
        document, wanted = self._document(config, planned), spec_of(self._resource, planned)
        done = Done(prior, private)
        try:
            live = self._session.run(lambda api: api.update(target, document, wanted))
        except IacError as error:
            done.findings.append(error.diagnostic)
            return done
        return self._finish(done, live, config, planned, prior, "update")

    def delete(self, prior: State, private: bytes) -> Done:
        """Delete the object and wait until it is gone."""
        target = self._target(prior, uid_of(private))
        times = waiting(prior, "delete")

        async def work(api: Operations) -> bool:
            await api.delete(target)
            return await api.gone(target, times.seconds)

        try:
            if self._session.run(work):
                return Done(None)
            error = Diagnostic(f"{target} is still there after {times.seconds:.0f} s: {_GONE}", "", ())
        except IacError as caught:
            error = caught.diagnostic
        return Done(prior, private, [error])

    def read(self, prior: State, private: bytes) -> Done:
        """The state as it is now; without one when the object is gone, or another has its place."""
        target = self._target(prior, uid_of(private))
        live = self._session.run(lambda api: api.read(target))
        return Done(None) if live is None else Done(state_of(self._resource, live, prior), private_of(live))

    def take(self, identity: str) -> Done:
        """The state of an object that somebody else made. Raises IacError."""
        live = self._existing(*self._split(identity))
        return Done(state_of(self._resource, live, None), private_of(live))

    def look(self, name: str, namespace: str | None) -> State:
        """What a data source says. Raises IacError."""
        return data_of(self._resource, self._existing(namespace or self._session.connection.namespace, name))

    def _existing(self, namespace: str, name: str) -> Mapping[str, Any]:
        target = Target(self._resource, namespace, name)
        live = self._session.run(lambda api: api.read(target))
        if live is None:
            raise IacError(f"{target} does not exist", "check its name and namespace, and the provider's context")
        return live

    def _split(self, identity: str) -> tuple[str, str]:
        namespace, slash, name = identity.rpartition("/")
        if not name or "/" in namespace or (slash and not namespace):
            raise IacError(f'the id "{identity}" names no object', "write namespace/name")
        return namespace or self._session.connection.namespace, name

    def _target(self, state: Mapping[str, Any], uid: str | None = None) -> Target:
        return Target(self._resource, state["namespace"], state["name"], uid)

    def _document(self, config: State, planned: State) -> Any:
        sent = {each.name: explicit(each, config.get(each.name), planned[each.name]) for each in self._resource.fields}
        return document_of(self._resource, sent)

    def _finish(
        self, done: Done, live: Mapping[str, Any], config: State, planned: State, prior: State, operation: str
    ) -> Done:
        """Write the users, wait, and say how it stands."""
        target = self._target(planned, live["metadata"]["uid"])
        done.private = private_of(live)
        done.state = self._state(live, planned)
        try:
            self._write_users(target, live, config, prior)
            times = waiting(planned, operation)
            if times.wanted:
                outcome = self._session.run(lambda api: api.await_ready(target, times.seconds, _log))
                done.state = self._state(outcome.live, planned)
                done.findings += _told(target, outcome, strict=times.strict)
        except IacError as error:
            done.findings.append(error.diagnostic)
        return done

    def _state(self, live: Mapping[str, Any], planned: State) -> State:
        """The planned state with what is known now."""
        state = state_of(self._resource, live, planned)
        for each in outputs_of(self._resource):
            if not isinstance(planned[each.name], str):
                continue
            state[each.name] = planned[each.name]  # a plan that does not change it promised this value
        return state

    def _write_users(self, target: Target, live: Mapping[str, Any], config: State, prior: State) -> None:
        users = config.get(CREDENTIALS.name)
        if users is None and prior.get(CREDENTIALS.name) is None:
            return
        given: Mapping[str, Any] = users or {}
        passwords = {user: (each or {}).get("password_wo") for user, each in given.items()}
        versions = {user: (each or {}).get("password_wo_version") for user, each in given.items()}
        before = {
            user: (each or {}).get("password_wo_version") for user, each in (prior.get(CREDENTIALS.name) or {}).items()
        }
        self._session.run(lambda api: api.write_users(target, live, passwords, versions, before))


def _told(target: Target, outcome: Outcome, *, strict: bool) -> list[Diagnostic]:
    if outcome.ready:
        return []
    level = Level.ERROR if strict else Level.WARNING
    detail = 'it was written and is in the state; wait_for_ready = "strict" makes this an error'
    if strict:
        detail = 'it was written and is in the state; wait_for_ready = "true" makes this a warning'
    return [Diagnostic(f"{target} is not {target.resource.ready}: {outcome.why}", detail, (), level)]


def _log(line: str) -> None:
    """A line of progress, as Terraform takes log lines of plugins; shown with TF_LOG=info."""
    sys.stderr.write(json.dumps({"@level": "info", "@message": line, "@module": "heliosproxy"}) + "\n")
    sys.stderr.flush()
