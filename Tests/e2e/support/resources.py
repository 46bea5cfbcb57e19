"""What a running gateway holds of the machine: descriptors, memory, processor time; and clients that go away rudely."""

import socket
import struct

import psutil

from . import sanitizer
from .gateway import Gateway
from .processes import wait_until

MIB = 1024 * 1024


class Resources:
    """The process of one gateway, and the descriptors and memory that it had when this was made."""

    def __init__(self, gateway: Gateway):
        self._process = psutil.Process(gateway.program.pid)
        self.descriptors_before = self.descriptors
        self.memory_before = self.memory_bytes

    @property
    def descriptors(self) -> int:
        return self._process.num_fds()

    @property
    def memory_bytes(self) -> int:
        """Resident memory."""
        return self._process.memory_info().rss

    @property
    def memory_growth(self) -> int:
        """Resident bytes more than before; none where a sanitizer keeps what the gateway gives back."""
        return 0 if sanitizer.NAME else self.memory_bytes - self.memory_before

    @property
    def cpu_seconds(self) -> float:
        times = self._process.cpu_times()
        return times.user + times.system

    def allow_descriptors(self, more: int) -> None:
        """From now on it may open so many descriptors more than it has, as `prlimit --nofile` would say."""
        self._limit_descriptors(self.descriptors + more)

    def allow_all_descriptors(self) -> None:
        """As many as the system permits."""
        self._limit_descriptors(self._process.rlimit(psutil.RLIMIT_NOFILE)[1])

    def _limit_descriptors(self, count: int) -> None:
        # The hard limit stays, since only some of those who are root may raise it again.
        self._process.rlimit(psutil.RLIMIT_NOFILE, (count, self._process.rlimit(psutil.RLIMIT_NOFILE)[1]))

    def wait_for_descriptors(self) -> None:
        """Until it has no more of them than it had before."""
        wait_until(lambda: self.descriptors <= self.descriptors_before, "the descriptors are given back")


def vanish(peer: socket.socket) -> None:
    """Ends a connection with RST, without a word of TLS."""
    plain = socket.socket(fileno=peer.detach())
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    plain.close()
