"""Helios: the control plane of a PostgreSQL wire proxy. `helios.cli` is where commands start."""

__all__ = ["__version__"]

__version__ = "0.1.0"
