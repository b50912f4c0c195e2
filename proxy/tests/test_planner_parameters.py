"""What texts do with settings of Helios' own."""

from __future__ import annotations

import pytest

from helios.planner.context import Context
from helios.planner.decide import plan
from helios.planner.plan import Handling, Parameter, ParameterAct


@pytest.mark.parametrize(
    ("sql", "parameter", "act"),
    [
        ("show helios.lsn", Parameter.LSN, ParameterAct.SHOW),
        ('SHOW "Helios".LSN -- so', Parameter.LSN, ParameterAct.SHOW),
        ("set helios.lsn = '1:1:0/0'", Parameter.LSN, ParameterAct.SET),
        ("set local helios.write_mode to sync", Parameter.WRITE_MODE, ParameterAct.SET),
        ("set session helios.lsn to default", Parameter.LSN, ParameterAct.RESET),
        ("reset helios.write_mode;", Parameter.WRITE_MODE, ParameterAct.RESET),
        ("set helios.consistency_key = 'user-42'", Parameter.CONSISTENCY_KEY, ParameterAct.SET),
        ("show helios.consistency_key", Parameter.CONSISTENCY_KEY, ParameterAct.SHOW),
        ("set helios.lsn from current", Parameter.LSN, ParameterAct.MIX),
        ("set helios.lsn = '1:1:0/0'; select 1", Parameter.LSN, ParameterAct.MIX),
        ("select set_config('Helios.lsn', '1:1:0/0', false)", Parameter.LSN, ParameterAct.MIX),
        ("do $$ begin set helios.lsn = '1:1:0/0'; end $$", Parameter.LSN, ParameterAct.MIX),
    ],
)
def test_what_a_text_does_with_a_parameter(sql: str, parameter: Parameter, act: ParameterAct) -> None:
    assert plan(sql, Context()).handling == Handling(parameter, act)


@pytest.mark.parametrize(
    "sql", ["show helios.other", "set helios = 1", "reset all", "select 'helios.lsn'", "set app.lsn = 'helios.lsn'"]
)
def test_other_settings_are_postgresqls(sql: str) -> None:
    assert plan(sql, Context()).handling is None
