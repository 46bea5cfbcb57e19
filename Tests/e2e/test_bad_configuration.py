"""Files that are no `gateway.yaml`, by mistake or by malice: refused at once, at a place that is named, cheaply."""

import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import sanitizer
from support.gateway import Gateway, binary
from support.processes import wait_until
from support.resources import MIB, Resources
from support.upstream import FakeUpstream
from support.wire import responses

HOST = b"Host: raw.demo.localhost\r\n"
#: Longest time for a refusal, in seconds, and most memory, in bytes: both less than a bomb would take.
TIME_MAX = 2 * sanitizer.PATIENCE
MEMORY_MAX = 128 * MIB


def bomb(layers: int) -> bytes:
    """A thousand million laughs."""
    lines = [b"a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    for layer in range(1, layers):
        lines.append(b"a%d: &a%d [%s]" % (layer, layer, b", ".join([b"*a%d" % (layer - 1)] * 9)))
    return b"\n".join(lines)


#: What is put behind a good file, or, where it begins with "=", instead of it.
ADDED: dict[str, bytes] = {
    "an unknown key": b"routs: []\n",
    "a key twice": b"workers: 1\n",
    "routes twice": b"routes:\n  - {host: raw.demo.localhost, path: /**, upstream: raw, public: true}\n",
    "a key twice in a mapping": b"log: {level: info, level: debug}\n",
    "a key twice in two spellings": b"'workers': 1\n",
    "a merge key": b"log:\n  <<: {level: info}\n",
    "a merge of an alias": b"log: &l {level: info}\nredis:\n  <<: *l\n",
    "an anchor": b"log: &log {level: info}\n",
    "an alias of nothing": b"log: *nothing\n",
    "an alias of itself": b"log: &log [*log]\n",
    "a tag of Python": b"log: !!python/object/apply:os.system ['true']\n",
    "a tag of our own": b"log: !log {level: info}\n",
    "a tag on a value": b"log: {level: !!str info}\n",
    "a directive": b"=%YAML 1.2\n---\nworkers: 1\n",
    "a second document": b"---\nworkers: 1\n",
    "a tab": b"log:\n\tlevel: info\n",
    "a tab before a key": b"\tlog: {level: info}\n",
    "NUL": b"log: {level: in\0fo}\n",
    "NUL at the end": b"\0",
    "another control byte": b"log: {level: in\x07fo}\n",
    "bytes that are not UTF-8": b"log: {level: \xff\xfe}\n",
    "UTF-8 that is too long": b"log: {level: \xc0\xaf}\n",
    "half of a character": b"log: {level: info} # \xe2\x82",
    "a surrogate": b"log: {level: \xed\xa0\x80}\n",
    "UTF-16": b"=" + "workers: 1\n".encode("utf-16"),
    "deep lists": b"log: " + b"[" * 5000 + b"]" * 5000 + b"\n",
    "deep mappings": b"log: " + b"{a: " * 2000 + b"1" + b"}" * 2000 + b"\n",
    "deep blocks": b"log:\n" + b"".join(b" " * depth + b"- \n" for depth in range(1, 700)),
    "deep blocks in one line": b"log: \n  " + b"- " * 20_000 + b"x\n",
    "a list that does not end": b"log: [" + b"info, " * 20_000,
    "a quote that does not end": b'log: "' + b"x" * 200_000,
    "a thousand million laughs": b"=" + bomb(9),
    "a mapping as a key": b"{a: b}: c\n",
    "a long key": b"k" * 5000 + b": 1\n",
    "a key that says nothing": b": 1\n",
    "a question mark": b"? workers\n",
    "many values": b"trusted_proxies: [" + b"::1, " * 150_000 + b"::1]\n",
    "a value out of range": b"stop_timeout: 99999999999999999999s\n",
    "a number of another base": b"limits: {a: {rate: 0x10/minute}}\n",
    "a truth of old": b"listeners: [{address: '127.0.0.1:1', allow_invalid_utf8: yes}]\n",
    "a list instead of a mapping": b"log: [info]\n",
    "a mapping instead of a value": b"drain_delay: {s: 1}\n",
    "nothing instead of a value": b"drain_delay:\n",
    "a variable that is not set": b"drain_delay: ${NOT_SET_ANYWHERE}\n",
    "a variable that does not end": b"drain_delay: ${NOT\n",
    "a list": b"=- workers\n",
    "one word": b"=workers\n",
    "a megabyte of one line": b"=" + b"workers: " + b"1" * 1_000_000 + b"\n",
    "a megabyte of comments": b"=" + b"# nothing\n" * 100_000,
    "ten megabytes": b"# nothing\n" * 1_000_000,
    "nothing at all": b"=",
}


@pytest.fixture(scope="module")
def running(raw_upstream: FakeUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway whose file is spoilt, again and again."""
    endpoint = {"endpoints": [f"127.0.0.1:{raw_upstream.port}"], "keep_alive": {"timeout": "0s"}}
    changes = {"upstreams": {"raw": endpoint}}
    with Gateway(tmp_path_factory.mktemp("running"), {"raw": raw_upstream.port}, changes) as gateway:
        gateway.good = gateway.configuration_file.read_bytes()
        yield gateway


def spoil(good: bytes, added: bytes) -> bytes:
    return added[1:] if added.startswith(b"=") else good + added


def check(file: Path) -> tuple[int, str, float]:
    """Exit code, output and seconds of `auth-gateway check`, which is given no more than the permitted memory."""
    began = time.monotonic()
    # A sanitizer reserves more than any limit.
    limited = [] if sanitizer.NAME else ["prlimit", f"--data={MEMORY_MAX}"]
    command = [*limited, binary(), "check", "--config", file]
    done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    return done.returncode, (done.stdout + done.stderr).decode(errors="replace"), time.monotonic() - began


@pytest.mark.parametrize("case", ADDED)
def test_check_refuses_it_at_a_place_in_time_and_in_little_memory(running: Gateway, tmp_path: Path, case: str):
    file = tmp_path / "bad.yaml"
    file.write_bytes(spoil(running.good, ADDED[case]))
    code, said, seconds = check(file)
    assert code == 1, said[:500]
    if case != "ten megabytes":
        assert re.search(r"bad\.yaml:[1-9]\d*:[1-9]\d*: ", said), said[:500]
    assert "bad.yaml" in said
    assert seconds < TIME_MAX
    assert len(said) < 100_000, "what is said is for people"
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", said), "and does nothing to a terminal"


def refusals(gateway: Gateway) -> float:
    return gateway.metrics()["config_reload_failures_total"]


def status(gateway: Gateway, path: bytes) -> int:
    received, _ = gateway.raw(b"GET " + path + b" HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n")
    return responses(received)[0].status


def test_a_running_gateway_stays_with_its_old_file_whatever_the_new_one_is(running: Gateway):
    resources = Resources(running)
    for case, added in ADDED.items():
        refused = refusals(running)
        running.configuration_file.write_bytes(spoil(running.good, added))
        running.program.signal(signal.SIGHUP)
        wait_until(lambda count=refused: refusals(running) > count, f"{case} is refused", 5)
        assert [status(running, path) for path in (b"/public/x", b"/private/x", b"/x")] == [200, 401, 404], case
    assert resources.memory_growth < MEMORY_MAX
    resources.wait_for_descriptors()
    taken = running.metrics()["config_reloads_total"]
    running.configuration_file.write_bytes(running.good)
    running.program.signal(signal.SIGHUP)
    wait_until(lambda: running.metrics()["config_reloads_total"] > taken, "the good file is taken again")
    assert status(running, b"/private/x") == 401
    assert max(len(line) for line in running.log().splitlines()) < 100_000


def test_a_file_with_60000_mistakes_is_refused_in_few_words(running: Gateway, tmp_path: Path):
    file = tmp_path / "bad.yaml"
    file.write_bytes(b"".join(b"k%d: 1\n" % number for number in range(60_000)))
    code, said, seconds = check(file)
    assert code == 1
    assert seconds < TIME_MAX
    assert len(said) < 100_000


def test_a_file_that_is_no_file_is_refused(running: Gateway, tmp_path: Path):
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "loop.yaml").symlink_to("loop.yaml")
    for name in ("folder.yaml", "loop.yaml", "absent.yaml"):
        code, said, seconds = check(tmp_path / name)
        assert (code, name in said) == (1, True)
        assert seconds < TIME_MAX


def test_the_good_file_is_good(running: Gateway, tmp_path: Path):
    """The other side of all these refusals, with a comment of any script behind it."""
    file = tmp_path / "good.yaml"
    file.write_bytes(running.good + "# ß 中 \U0001f600\n".encode())
    code, said, _ = check(file)
    assert code == 0, said
