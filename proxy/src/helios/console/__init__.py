"""The console: PgBouncer's commands, answered from what the engine and the control plane know.

A command is text of a client that the engine has logged in; `service` takes it, `command` reads it, `table` says who
may give it and what it does, `show` makes the rows.
"""
