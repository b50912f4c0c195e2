"""Asking a running proxy by its admin API. Called by the commands that do."""

from __future__ import annotations

import argparse
import asyncio
from http import HTTPStatus
from pathlib import Path
from typing import Any

import aiohttp

from helios.errors import HeliosError

__all__ = ["AdminFailed", "add_options", "post"]


class AdminFailed(HeliosError):
    """The proxy could not be asked, or refused."""


def add_options(parser: argparse.ArgumentParser, required: bool) -> None:
    """`--admin` and `--token-file`."""
    parser.add_argument(
        "--admin", metavar="URL", required=required, help="admin API of a running proxy, as http://127.0.0.1:9090"
    )
    parser.add_argument("--token-file", type=Path, metavar="FILE", help="the admin API's bearer token, first line")


def post(args: argparse.Namespace, path: str, body: dict[str, str], timeout_seconds: float) -> dict[str, Any]:
    """POST a JSON object; what is answered with 200. `AdminFailed` otherwise."""
    headers = {}
    if args.token_file is not None:
        headers["Authorization"] = f"Bearer {args.token_file.read_text().partition(chr(10))[0].strip()}"
    try:
        return asyncio.run(_post(f"{args.admin.rstrip('/')}{path}", headers, body, timeout_seconds))
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
        raise AdminFailed(f"{args.admin}: {str(error) or type(error).__name__}") from error


async def _post(url: str, headers: dict[str, str], body: dict[str, str], timeout_seconds: float) -> dict[str, Any]:
    made = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=timeout_seconds), headers=headers)
    async with made as session, session.post(url, json=body) as answer:
        view: dict[str, Any] = await answer.json()
    if answer.status != HTTPStatus.OK:
        raise AdminFailed(str(view.get("error", answer.reason)))
    return view
