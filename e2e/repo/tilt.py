"""Runs a Tiltfile without Tilt: a Starlark interpreter, and for Tilt's functions ones that note how they are called.

Used by `test_tiltfile`. A function or an argument that Tilt does not have, and a path that is not there, are errors.
What the functions and their arguments are called is a list of ours, made from Tilt's API reference of v0.30.0
(repository tilt-dev/tilt.build, `api/api/__init__.py` and `api/api/config/__init__.py` at 0238080b1785) and, for the
extension, from `restart_process/Tiltfile` of tilt-dev/tilt-extensions at 01b79290dba0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import starlark
import yaml

__all__ = ["Tiltfile", "TiltfileError", "run"]

Json = dict[str, Any]
TiltfileError = starlark.StarlarkError
"""What is wrong, and in which line."""

DOCKER_BUILD: Final = (
    "build_args dockerfile dockerfile_contents live_update match_in_env_vars ignore only entrypoint target ssh network"
    " secret extra_tag container_args cache_from pull platform"
)
API: Final = {
    "blob": "contents |",
    "decode_yaml": "yaml |",
    "decode_yaml_stream": "yaml |",
    "docker_build": f"ref context | {DOCKER_BUILD}",
    "encode_yaml": "obj |",
    "encode_yaml_stream": "objs |",
    "k8s_kind": "kind | api_version image_json_path image_object_json_path pod_readiness",
    "k8s_resource": "| workload new_name port_forwards extra_pod_selectors trigger_mode resource_deps objects auto_init"
    " pod_readiness links labels discovery_strategy",
    "k8s_yaml": "yaml | allow_duplicates",
    "local_resource": "name cmd | deps trigger_mode resource_deps ignore auto_init serve_cmd cmd_bat serve_cmd_bat"
    " allow_parallel links tags env serve_env readiness_probe dir serve_dir labels",
    "port_forward": "local_port | container_port name link_path host",
    "read_file": "file_path | default",
    "read_yaml": "path | default",
    "read_yaml_stream": "path | default",
    "run": "cmd | trigger",
    "sync": "local_path remote_path |",
}
"""Function → arguments that must be given | arguments that may be."""
CONFIG: Final = {"define_bool": "name | args usage", "define_string": "name | args usage", "parse": "|"}
"""The same below `config`."""
EXTENSIONS: Final = {
    "ext://restart_process": {
        "docker_build_with_restart": f"ref context entrypoint live_update | base_suffix restart_file {DOCKER_BUILD}"
    }
}
"""What may be loaded → its functions."""


@dataclass
class Tiltfile:
    """What a Tiltfile has asked for."""

    root: Path
    settings: Json
    """What `config.parse()` tells."""
    calls: list[tuple[str, Json]] = field(default_factory=list)
    """Function and arguments by name, in order."""

    def asked(self, *functions: str) -> list[Json]:
        """Arguments of each call of these functions."""
        return [arguments for function, arguments in self.calls if function in functions]

    def answer(self, function: str, arguments: Json) -> Any:
        """What Tilt would answer, as far as it matters here."""
        match function:
            case "read_file":
                return self.place(arguments["file_path"]).read_text()
            case "read_yaml":
                return yaml.safe_load(self.place(arguments["path"]).read_text())
            case "read_yaml_stream":
                return [each for each in yaml.safe_load_all(self.place(arguments["path"]).read_text()) if each]
            case "decode_yaml":
                return yaml.safe_load(arguments["yaml"])
            case "encode_yaml":
                return yaml.safe_dump(arguments["obj"])
            case "encode_yaml_stream":
                return yaml.safe_dump_all(arguments["objs"])
            case "parse":
                return self.settings
            case "sync" | "run" | "port_forward":
                return {"function": function, **arguments}
        return None

    def place(self, path: str, below: str = ".") -> Path:
        """A path that is named. Raises FileNotFoundError."""
        found = self.root / below / path
        if not found.exists():
            raise FileNotFoundError(f"{path} does not exist")
        return found


def run(text: str, root: Path, **settings: Any) -> Tiltfile:
    """Run the text of a Tiltfile that lies in `root`. Raises TiltfileError."""
    made = Tiltfile(root, settings)
    module, standard = starlark.Module(), starlark.Globals.extended_by([starlark.LibraryExtension.StructType])
    module["TRIGGER_MODE_AUTO"], module["TRIGGER_MODE_MANUAL"] = "auto", "manual"
    _define(module, made, {**API, **CONFIG})
    dialect = starlark.Dialect.extended()
    members = ", ".join(f"{name} = {name}" for name in CONFIG)
    starlark.eval(module, starlark.parse("config", f"config = struct({members})", dialect), standard)

    def load(place: str) -> starlark.FrozenModule:
        extension = starlark.Module()
        _define(extension, made, EXTENSIONS[place])
        return extension.freeze()

    starlark.eval(module, starlark.parse("Tiltfile", text, dialect), standard, starlark.FileLoader(load))
    return made


def _define(module: starlark.Module, made: Tiltfile, functions: Json) -> None:
    for name, arguments in functions.items():
        module.add_callable(name, _noting(made, name, arguments))


def _noting(made: Tiltfile, function: str, signature: str) -> Callable[..., Any]:
    required, optional = (part.split() for part in signature.split("|"))
    names = [*required, *optional]

    def call(*given: Any, **named: Any) -> Any:
        if len(given) > len(names):
            raise TypeError(f"{function}() takes {len(names)} arguments")
        arguments = {**dict(zip(names, given, strict=False)), **named}
        _check(function, "has no argument", set(arguments) - set(names))
        _check(function, "wants", set(required) - set(arguments))
        _check_paths(made, arguments)
        made.calls.append((function, arguments))
        return made.answer(function, arguments)

    return call


def _check(function: str, what: str, names: Iterable[str]) -> None:
    for name in sorted(names):
        raise TypeError(f"{function}() {what} {name}")


def _check_paths(made: Tiltfile, arguments: Json) -> None:
    """Paths are relative to the Tiltfile, those of `only` to the context of the build."""
    for name in ("context", "dockerfile", "local_path"):
        if name in arguments:
            made.place(arguments[name])
    for path in arguments.get("deps", ()):
        made.place(path)
    for path in arguments.get("only", ()):
        made.place(path, arguments["context"])
