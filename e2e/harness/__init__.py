"""Test harness of Helios: a real PostgreSQL, a real `helios serve`, a raw-protocol client, a chunking relay.

Used by `e2e/wire` (protocol parity) and `e2e/behaviour` (pooling, reload, drain). Nothing here replaces a real part.
"""
