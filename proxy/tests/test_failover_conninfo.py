"""Connection strings of standbys, read and written as libpq does it."""

from __future__ import annotations

import pytest
from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

from helios.failover import conninfo

STRINGS = (
    "",
    "host=db-1 port=5432 user=replica",
    "  host = db-1\n\tport =5432 user= replica  ",
    "host=db-1 port=5432 host=db-2",
    "password='it''s' user=u".replace("''", r"\'"),
    r"password='a \\ b' application_name='with a blank'",
    r"password=a\ b\'c\\d user=u",
    "password='' user=u",
    "options='-c search_path=a,b' sslmode=disable",
    "postgresql://replica:s%20ecret@db-1:5433/postgres?application_name=db%2D2&sslmode=require",
    "postgres://replica@[::1]:5432/?connect_timeout=3",
    "postgresql://u@db-1:1,db-2:2/d?target_session_attrs=primary",
    "postgresql:///d",
)


@pytest.mark.parametrize("text", STRINGS)
def test_it_is_read_as_libpq_reads_it(text: str) -> None:
    said = {name: str(value) for name, value in conninfo_to_dict(text).items()}

    assert {name: value for name, value in conninfo.parse(text).items() if value} == {
        name: value for name, value in said.items() if value
    }


@pytest.mark.parametrize("text", STRINGS)
def test_what_is_written_says_the_same_to_libpq(text: str) -> None:
    said = conninfo.parse(text)

    assert {name: str(value) for name, value in conninfo_to_dict(conninfo.write(said)).items()} == said


@pytest.mark.parametrize("text", ["host", "host=db-1 'port'=5432", "password='open", "= db-1", "host=db-1 = 3"])
def test_what_libpq_does_not_read_is_refused_without_what_is_in_it(text: str) -> None:
    with pytest.raises(ProgrammingError):
        conninfo_to_dict(text)

    with pytest.raises(ValueError, match=r"^character \d+ is not where a keyword = value begins$"):
        conninfo.parse(text)
