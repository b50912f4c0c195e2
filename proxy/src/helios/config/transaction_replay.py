"""`[transaction_replay]`: transactions that outlive their server. Read by the engine, through the snapshot."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from helios.config.base import Bytes, Flag, HeliosModel

__all__ = ["JournalConfig", "Mutables", "TransactionReplayConfig"]


class Mutables(StrEnum):
    """What becomes of a transaction that has left values which would be others if it were run again."""

    ERROR = "error"
    ALLOW_UNSEEN = "allow_unseen"


class JournalConfig(HeliosModel):
    """What is kept of open transactions; one that has more is lost with its server. A block of `routing.optimistic`
    that would have more leaves its standby before."""

    max_entries: Annotated[int, Field(strict=True, ge=1, le=1_000_000)] = 10_000
    """Requests of one transaction. More would take longer to run again than clients wait."""

    max_bytes: Bytes = 67_108_864
    """Bytes of one transaction's requests, parameters included; answers are not kept, only checksums of them. 64 MiB
    hold ten thousand large statements."""

    max_total_bytes: Bytes = 268_435_456
    """The same of all transactions that have more than 16 KiB."""


class TransactionReplayConfig(HeliosModel):
    """What becomes of a transaction whose server is lost."""

    enabled: Flag = False
    """Whether it is run again on another server, below session mode. Off, since each request is kept and each answer
    summed, which costs some CPU, and since what a transaction does outside of the database would be done twice."""

    max_retries: Annotated[int, Field(strict=True, ge=1, le=100)] = 3
    """Servers that one transaction may lose. Three are more than one failover loses."""

    mutables: Mutables = Mutables.ERROR
    """Values that are others each time and that the client has not seen: `INSERT … VALUES (gen_random_uuid())` without
    RETURNING. `error`: a transaction that has left some is not run again, and gets 40001, since nobody knows what else
    has been made of them. `allow_unseen`: it is run again, and leaves others. What the client has seen must be the same
    in either case. The time at which the transaction began, as of `now()`, is none of them."""

    notices: Flag = False
    """Whether a client is told by a NOTICE, with the reason, that its open transaction will be lost with its server.
    Off, because applications log what they did not ask for; metrics and `/api/tr` count what was lost."""

    holdable_cursors: Flag = False
    """Whether a cursor WITH HOLD is declared again on another server if it gives the rows again that have been fetched.
    Off, since the rows that have not been may be others than those that the cursor had kept."""

    max_cursors: Annotated[int, Field(strict=True, ge=1, le=10_000)] = 100
    """Cursors WITH HOLD of one session. One that has more is lost with its server."""

    temp_table_max_bytes: Bytes = 1_048_576
    """Bytes of one session's temporary tables; a session that has more in them is lost with its server. Their rows are
    summed after each transaction that may have changed them, which takes some milliseconds for 1 MiB."""

    journal: JournalConfig = JournalConfig()
    """What is kept of open transactions, and of blocks of `routing.optimistic` also where `enabled` is off."""
