"""Promotion: whether the primary is gone, who takes its place, and the steps in between.

`judge`, `candidate` and `synchronous` decide and do no I/O; `steps` talks to servers, `fence` to whoever stops one;
`lease` holds the right to promote; `controller` puts them together, one task a cluster, made by `helios.running`.
"""
