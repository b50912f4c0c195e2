"""Set-up and targets behind the Makefile. Standard library only: it runs before anything is installed.

`targets` dispatches; `doctor` looks at the machine; `python_env` and `extension` set up; the other modules are one
target each. `places` says where everything is kept, `steps` runs a command with a title and a log.
"""
