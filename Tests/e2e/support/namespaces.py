"""Programs that see files of a test's own in place of the system's: the names of hosts, the authorities to trust."""

import os
import subprocess
from pathlib import Path

#: A mount namespace of one's own; who is not root gets a user namespace with it.
UNSHARE = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]


def can_replace_files() -> bool:
    """Whether this machine lets us have mounts of our own."""
    tried = subprocess.run([*UNSHARE, "mount", "--bind", "/etc/hostname", "/etc/hosts"], capture_output=True)
    return tried.returncode == 0


def seeing(files: dict[str, Path]) -> list[str]:
    """The beginning of a command: what follows sees these files at those places, and keeps its process id."""
    mounts = [f"mount --bind '{file}' '{place}'" for place, file in files.items()]
    return [*UNSHARE, "sh", "-ec", "\n".join([*mounts, 'exec "$@"']), "sh"]
