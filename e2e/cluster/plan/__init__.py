"""What a cluster consists of, worked out without touching anything: every function here maps values to values.

`addresses` → `credentials` → `daemons`, `node_daemons`, `node_files`, `node_mounts`; `cgroups` reads
what the kernel says of cgroups. `apiserver_level` and `node_level` put them into effect.
"""
