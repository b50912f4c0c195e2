"""`helios play`: run a HeliosProxy on this machine, with PostgreSQL supplied when the resource names no nodes.

`session` is the way through: manifest → data_folder → embedded → roles → proxy → announce, then demo or command.
`postgres` can be used alone, as the end-to-end tests do.
"""
