"""A client as the API shows it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from helios.admin.models import Client
from helios.engine_state import ClientState

__all__ = ["client_of", "time_of"]


def client_of(client: ClientState) -> Client:
    """One client, of the engine's."""
    (address, port), _ = client.ends or ((None, None), None)
    return Client(
        id=client.id,
        user=client.user,
        database=client.database,
        address=address,
        port=port,
        application_name=client.application_name,
        tls=client.tls,
        connected_at=time_of(client.connected_us),
        requested_at=time_of(client.requested_us),
        state=client.state,
        route=client.route,
    )


def time_of(microseconds: int) -> datetime:
    """A moment in microseconds since 1970."""
    return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=microseconds)
