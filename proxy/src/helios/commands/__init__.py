"""Sub-commands of `helios`: `check`, `convert`, `play`, `serve`, each with `add_parser(subparsers)` and
`run(args) -> exit status`. Beside them `legacy`, the original's command line, and `variants`, its resources.
"""

__all__: list[str] = []
