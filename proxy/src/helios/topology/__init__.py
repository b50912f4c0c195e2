"""Who is primary, which nodes are healthy and how far standbys lag, found out by asking PostgreSQL.

`monitor.TopologyMonitor` polls every node (`probe`), decides by evidence (`elect`) and publishes the result;
`credentials` says as whom it logs in, `lag` turns positions in the WAL into bytes and milliseconds,
`status` is what the admin API shows. Called by `helios.app`.
"""
