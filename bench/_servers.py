"""Servers and a slow line for the benchmarks of uploads, each in a process of its own."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def started(*command: str, cwd: Path | None = None) -> Iterator[str]:
    """A process that prints where it listens as its first line, and ends with its standard input."""
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=cwd) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.communicate()


@contextlib.contextmanager
def module(name: str, *arguments: str) -> Iterator[str]:
    """A module of ours that behaves like that."""
    with started(sys.executable, "-m", name, *arguments) as url:
        yield url


@contextlib.contextmanager
def nginx(folder: Path) -> Iterator[str]:
    """URL of an nginx that takes PUT. Where there is none nothing is to be measured: it ends and says so."""
    program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        sys.exit("nginx, against which this is measured, is not installed here: apt install nginx")
    port, root = free_port(), folder / "nginx"
    (root / "files").mkdir(parents=True)
    user = "user root;" if os.geteuid() == 0 else ""  # else its worker may not enter our folder
    (root / "nginx.conf").write_text(f"""
        {user} daemon off; pid {root}/pid; error_log {root}/error.log; worker_processes 1;
        events {{}}
        http {{ access_log off; client_body_temp_path {root}/body; keepalive_requests 1000000;
          server {{ listen 127.0.0.1:{port}; client_max_body_size 2g;
            location / {{ root {root}/files; dav_methods PUT; create_full_put_path on; }} }} }}""")
    server = subprocess.Popen([program, "-p", str(root), "-c", str(root / "nginx.conf")])
    try:
        listening(port)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(10)
        shutil.rmtree(root, ignore_errors=True)


@contextlib.contextmanager
def webdav(folder: Path) -> Iterator[str]:
    """URL of rclone's own WebDAV server. FileNotFoundError where there is no rclone."""
    program = shutil.which("rclone")
    if program is None:
        raise FileNotFoundError("rclone")
    port, root = free_port(), folder / "webdav"
    root.mkdir()
    command = [program, "serve", "webdav", str(root), "--addr", f"127.0.0.1:{port}"]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=rclone_environment())
    try:
        listening(port)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(10)
        shutil.rmtree(root, ignore_errors=True)


def rclone_environment() -> dict[str, str]:
    """Without anybody's own configuration."""
    return {**os.environ, "RCLONE_CONFIG": "/dev/null"}


@contextlib.contextmanager
def far_away(url: str, round_trip_s: float) -> Iterator[str]:
    """The same server behind a line of this round trip."""
    host, _, port = url.removeprefix("http://").partition(":")
    with module("bench._delay", host, port, str(round_trip_s / 2)) as away:
        yield away


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def listening(port: int) -> None:
    """Waits until somebody does."""
    for _ in range(100):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise TimeoutError(f"nobody listens on port {port}")
