"""Promotion: whether the primary is gone, who takes its place, and the steps in between.

`judge`, `candidate` and `synchronous` decide and do no I/O; `steps` talks to servers, `fence` to whoever stops one.
A `lease` holds the right to promote and a `record` of what is decided about each cluster; `decisions` has every proxy
act by that. `guard` watches over one cluster, with `promotion`, `returned`, `following` and `widening`; `switchover` is
on demand. `controller` puts them together, made by `helios.running`.
"""
