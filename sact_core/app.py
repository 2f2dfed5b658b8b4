"""Open the app, from wherever the program is installed.

::

    python -m sact_core.app                                    # this machine only
    python -m sact_core.app --address 0.0.0.0 --port 8080      # whoever reaches this machine
    python -m sact_core.app --base-path sact                   # below a path of a reverse proxy

Runs in ``runs`` of the current folder are shown; ``docs/serving.md`` has the variables that
say more. What Streamlit reads from its own variables (``STREAMLIT_SERVER_PORT``) counts too.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import os
import re
import socket
import sys
from collections.abc import Sequence

from sact_core.commands import parse, run
from sact_core.extras import need
from sact_core.shipped import home

#: Where the app listens unless it is told otherwise: `.streamlit/config.toml`.
ADDRESS = "127.0.0.1"


def build_parser() -> argparse.ArgumentParser:
    """Describe the command."""
    parser = argparse.ArgumentParser(prog="python -m sact_core.app", description="Open the app.")
    add = parser.add_argument
    add(
        "--address",
        help=f"listen here; 0.0.0.0 is all of this machine's addresses (default: {ADDRESS})",
    )
    add("--port", type=int, help="default: 8501, or the next that is free")
    add("--base-path", metavar="PATH", help="path of the address that a reverse proxy leads here")
    add("--no-browser", action="store_true", help="open none")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    args = parse(build_parser(), argv)
    words = ["run", str(home() / "streamlit_app.py")]
    code = run(lambda: words.extend(_flags(args)))
    if code:
        return code
    from streamlit.web import cli

    try:
        cli.main(words, prog_name="streamlit")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def _flags(args: argparse.Namespace) -> list[str]:
    """Flags of Streamlit, after what can be wrong with ours was looked at.

    Raises
    ------
    MissingPackage
        If the app's packages are not installed.
    ValueError, OSError
        If a flag is out of range, or nobody can listen there.
    """
    need("app", "the app")
    if not (home() / "streamlit_app.py").is_file():
        raise FileNotFoundError(f"the app is not beside sact_core, in {home()}: install it anew")
    flags = []
    if args.port is not None and not 1 <= args.port <= 65535:
        raise ValueError(f"--port must be from 1 to 65535, got {args.port}")
    _try_to_listen(args.address, args.port)
    if args.address is not None:
        flags += ["--server.address", args.address]
    if args.port is not None:
        flags += ["--server.port", str(args.port)]
    if args.base_path is not None:
        path = args.base_path.strip("/")
        if not re.fullmatch(r"[\w.~-]+(/[\w.~-]+)*", path, re.ASCII):
            raise ValueError(f"--base-path must be a path such as sact, got {args.base_path!r}")
        flags += ["--server.baseUrlPath", path]
    if args.no_browser:
        flags += ["--server.headless", "true"]
    return flags


def _try_to_listen(address: str | None, port: int | None) -> None:
    if address is None and port is None:
        return
    address = address or os.environ.get("STREAMLIT_SERVER_ADDRESS") or ADDRESS
    try:
        kind, _, _, _, where = socket.getaddrinfo(address, port or 0, type=socket.SOCK_STREAM)[0]
        with contextlib.closing(socket.socket(kind, socket.SOCK_STREAM)) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind(where)
    except (OSError, UnicodeError) as error:
        number = error.errno if isinstance(error, OSError) else None
        if number == errno.EADDRINUSE:
            raise OSError(f"port {port} is in use: choose another with --port") from None
        if number in (errno.EACCES, errno.EPERM):
            raise OSError(f"port {port} may not be listened on: choose one above 1023") from None
        raise OSError(
            f"{address!r} is no address of this machine: nobody can listen there"
        ) from None


if __name__ == "__main__":
    sys.exit(main())
