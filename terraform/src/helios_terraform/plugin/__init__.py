"""Terraform's plugin protocol, version 6: the only part that knows protocol buffers, msgpack and gRPC.

The generated messages and stubs are those of PyPI `tf`; everything else here is ours, so that replacing it is a matter
of this folder.
"""
