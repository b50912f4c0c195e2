"""Configurations of other poolers as ours: PgBouncer's pgbouncer.ini and PgCat's pgcat.toml.

`load` is the way in for the commands; `pgbouncer` and `pgcat` read one format each, by the tables beside them.
"""
