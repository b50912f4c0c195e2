"""What a statement is: decided once per statement shape, by PostgreSQL's own grammar.

`decide.plan` makes a `plan.Plan` of a text and a `context.Context`; `service.PlannerService` answers the engine's
questions on a thread of its own. `parser` is the only module that knows the parser, `effects` and `kinds` read its
trees, `block` PL/pgSQL, `builtin` knows PostgreSQL's functions, `catalog` holds those of a database, `purity` says what
they do, `control` knows the control statements.
"""
