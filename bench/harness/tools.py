"""Programs that the measurement needs: found, or compiled from bench/native."""

import os
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BENCH = ROOT / "bench"
TOOLS = ROOT / ".build" / "bench"
OPENSSL_CONFIG = BENCH / "openssl.cnf"

# An ordinary user's PATH on Debian lacks the folders where servers live.
SEARCH_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin"])

PACKAGES = {
    "curl": "curl",
    "gcc": "gcc",
    "h2load": "nghttp2-client",
    "haproxy": "haproxy",
    "nginx": "nginx-light",
    "openssl": "openssl",
    "objcopy": "binutils",
    "redis-server": "redis-server",
    "strace": "strace",
    "taskset": "util-linux",
    "valgrind": "valgrind",
    "wrk": "wrk",
}
# What a header that is not there belongs to.
HEADERS = {"openssl/": "libssl-dev", "nghttp2/": "libnghttp2-dev"}


class Missing(Exception):
    """Something that has to be installed, built or changed first; the message names the cure."""


def find(program: str) -> str:
    """The path of a program."""
    path = shutil.which(program, path=SEARCH_PATH)
    if path is None:
        raise Missing(f"{program} is not installed: apt-get install {PACKAGES[program]}")
    return path


def require(programs: list[str]) -> None:
    """Reports all missing programs at once."""
    missing = [program for program in programs if shutil.which(program, path=SEARCH_PATH) is None]
    if missing:
        packages = " ".join(sorted({PACKAGES[program] for program in missing}))
        raise Missing(f"not installed: {', '.join(missing)}; apt-get install {packages}")


def gateway() -> str:
    """Our binary: $AUTH_GATEWAY, or the release build."""
    path = Path(os.environ.get("AUTH_GATEWAY", ROOT / ".build" / "release" / "auth-gateway"))
    if not path.is_file() or not os.access(path, os.X_OK):
        raise Missing(
            f"there is no executable {path}: run `swift build -c release --product auth-gateway`, or set AUTH_GATEWAY"
        )
    return str(path.resolve())


def gateway_without_debug_info(directory: Path) -> str:
    """A copy of our binary for valgrind, which ends at debug information newer than itself; symbols stay."""
    copy = directory / "auth-gateway"
    subprocess.run([find("objcopy"), "--strip-debug", gateway(), str(copy)], check=True)
    return str(copy)


def compiled(name: str, *flags: str, suffix: str = "") -> str:
    """A tool from bench/native, compiled again if its source or a header is newer."""
    source = BENCH / "native" / f"{name}.c"
    tool = TOOLS / f"{name}{suffix}"
    changed = max(path.stat().st_mtime for path in (source, *source.parent.glob("*.h")))
    if not tool.exists() or tool.stat().st_mtime < changed:
        TOOLS.mkdir(parents=True, exist_ok=True)
        command = [find("gcc"), "-O2", "-Wall", "-Wextra", "-Werror", str(source), "-o", str(tool), *flags]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode != 0:
            missing = [package for header, package in HEADERS.items() if f"error: {header}" in result.stderr]
            cure = f"\nheaders: apt-get install {' '.join(missing)}" if missing else ""
            raise Missing(f"gcc cannot compile {source}:\n{result.stderr}{cure}")
    return str(tool)


def upstream() -> str:
    """The application behind the proxies."""
    return compiled("upstream")


def signer() -> str:
    """Signs tokens with ES256 or RS256."""
    return compiled("sign", "-lcrypto")


def handshakes() -> str:
    """A load of handshakes."""
    return compiled("handshakes", "-lssl", "-lcrypto")


def bulk() -> str:
    """A load of large bodies."""
    return compiled("bulk", "-lssl", "-lcrypto")


def paced() -> str:
    """A load at a fixed rate, which measures latency."""
    return compiled("paced", "-lssl", "-lcrypto")


def resets() -> str:
    """An abuse of HTTP/2, at a fixed rate."""
    return compiled("resets", "-lssl", "-lcrypto")


def forwarder(http2: bool) -> str:
    """The floor: what remains of a proxy when everything that makes it one is left out."""
    return compiled("forward2", "-lnghttp2", "-lssl", "-lcrypto") if http2 else compiled("forward", "-lssl", "-lcrypto")


def allocation_shim() -> str:
    """A library that counts allocations when it is preloaded."""
    return compiled("allocations", "-shared", "-fPIC", "-fno-builtin", suffix=".so")
