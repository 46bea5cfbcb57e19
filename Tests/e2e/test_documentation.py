"""What the documents say is what the program does: their commands run, their files load, their lists are complete."""

import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
from support.gateway import Gateway, binary, certificates, environment, route
from support.processes import ROOT, Program, free_port, wait_until
from support.upstream import OK, FakeUpstream, UpstreamConnection
from support.wire import read_response

DOCUMENTS = sorted(
    path for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("bench/*.md")] if path.is_file()
)
DATA_LINE = re.compile(r"^\| `([^`]+)`.*")


@dataclass
class Fence:
    """One fenced block of a document."""

    document: Path
    line: int
    language: str
    text: str


def fences(document: Path) -> list[Fence]:
    found, start, language, lines = [], None, "", []
    for number, line in enumerate(document.read_text().splitlines(), 1):
        if line.startswith("```") and start is None:
            start, language, lines = number, line[3:].strip(), []
        elif line.startswith("```"):
            found.append(Fence(document, start, language, "\n".join(lines) + "\n"))
            start = None
        elif start is not None:
            lines.append(line)
    assert start is None, f"{document}: the block of line {start} does not end"
    return found


def section(document: str, *headings: str) -> list[str]:
    """The lines below a heading, up to the next one of any level."""
    lines = (ROOT / "docs" / document).read_text().splitlines()
    found = []
    for heading in headings:
        assert heading in lines, f"{document} has no heading '{heading}'"
        for line in lines[lines.index(heading) + 1 :]:
            if line.startswith("#"):
                break
            found.append(line)
    return found


# The guide of the README


class Guide:
    """The guide in a folder of its own: its files as the README has them, its ports replaced by free ones."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.https_port, self.application_port, self.admin_port = (free_port() for _ in range(3))
        programs = folder / "bin"
        programs.mkdir()
        (programs / "auth-gateway").symlink_to(binary().resolve())
        python = Path(sys.executable).parent
        self.environment = environment(
            PATH=f"{programs}:{python}:{os.environ['PATH']}", GATEWAY_ADMIN__ADDRESS=f"127.0.0.1:{self.admin_port}"
        )
        self.blocks = fences(ROOT / "README.md")
        (folder / "gateway.yaml").write_text(self.only("yaml"))
        (folder / "app.py").write_text(self.only("python"))

    def only(self, language: str) -> str:
        (block,) = (block for block in self.blocks if block.language == language)
        return self.substituted(block.text)

    def substituted(self, text: str) -> str:
        return text.replace("8443", str(self.https_port)).replace("5000", str(self.application_port))

    def commands(self) -> list[str]:
        """What a reader types, in order, but for the programs that go on running."""
        return [self.substituted(block.text) for block in self.blocks if block.language == "shell"]

    def run(self, command: str) -> str:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def start(self, beginning: str, *more: str) -> Program:
        """Starts the program of the one plain block that begins so."""
        (words,) = (
            self.substituted(block.text).split()
            for block in self.blocks
            if block.language == "" and block.text.startswith(beginning)
        )
        words = [*words, *more]
        executable = shutil.which(words[0], path=self.environment["PATH"])
        assert executable, f"{words[0]} is not there"
        log = self.folder / f"{words[0]}.log"
        return Program([executable, *words[1:]], log, self.environment, cwd=self.folder)


@pytest.fixture
def guide(tmp_path: Path) -> Guide:
    return Guide(tmp_path)


def test_the_readmes_guide_protects_a_flask_application(guide: Guide):
    before = [command for command in guide.commands() if "curl" not in command]
    after = [command for command in guide.commands() if "curl" in command]
    assert len(before) == 3 and len(after) == 2, "the guide has changed; see that this test still follows it"
    said = [guide.run(command) for command in before]
    assert "gateway.yaml: ok" in said[1] and "added ruth" in said[2]
    application = guide.start("gunicorn")
    gateway = guide.start("auth-gateway run", *(["--dev"] if os.geteuid() == 0 else []))
    try:
        application.wait_until_it_listens(guide.application_port)
        gateway.wait_until_it_listens(guide.https_port)
        refused, signed_in = (guide.run(command) for command in after)
        assert "HTTP/2 401" in refused and "Payslips" not in refused
        assert signed_in.endswith("Payslips of ruth\n")
        forged = guide.run(
            f"curl --silent --cacert cert.pem -H 'X-Auth-User: ruth' https://payroll.localhost:{guide.https_port}/"
        )
        assert "Payslips" not in forged
    finally:
        gateway.stop()
        application.stop()


def test_the_gateway_in_ten_lines_has_ten_lines(guide: Guide):
    assert len(guide.only("yaml").splitlines()) == 10


# Files and links


def check(configuration: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [binary(), "check", "--config", configuration],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def beside_certificates(folder: Path, text: str) -> Path:
    """A configuration file in a folder with certificates at every place where the documents expect them."""
    for place in (folder, folder / "tls", folder / ".dev"):
        place.mkdir(exist_ok=True)
        for name in ("ca.pem", "cert.pem", "key.pem"):
            shutil.copy(certificates() / name, place / name)
    (folder / "gateway.yaml").write_text(text)
    return folder / "gateway.yaml"


@pytest.mark.parametrize(
    "block",
    [block for document in DOCUMENTS for block in fences(document) if block.language in ("yaml", "yml")],
    ids=lambda block: f"{block.document.relative_to(ROOT)}:{block.line}",
)
def test_every_configuration_in_a_document_is_sound(block: Fence, tmp_path: Path):
    done = check(beside_certificates(tmp_path, block.text))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("file", ["gateway.yaml", "deploy/gateway.yaml"])
def test_every_configuration_that_comes_along_is_sound(file: str, tmp_path: Path):
    done = check(beside_certificates(tmp_path, (ROOT / file).read_text()))
    assert done.returncode == 0, done.stderr


def test_the_reference_of_settings_is_what_the_program_prints():
    printed = subprocess.run(
        [binary(), "print", "--reference"], capture_output=True, text=True, check=True, timeout=60
    ).stdout
    assert printed == (ROOT / "docs/CONFIGURATION.md").read_text()


def anchors(document: Path) -> set[str]:
    """Headings as links name them."""
    headings = re.findall(r"^#+ (.*)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(document: Path):
    prose = re.sub(r"^```.*?^```", "", document.read_text(), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (document.parent / path).resolve() if path else document
        assert file.exists(), f"{target} is not there"
        assert not anchor or anchor in anchors(file), f"{target}: no such heading"


def test_the_table_of_commands_is_complete():
    listed = {
        match[1].split()[1]
        for line in section("OPERATIONS.md", "## Commands")
        if (match := DATA_LINE.match(line)) and match[1].startswith("auth-gateway ")
    }
    usage = subprocess.run([binary(), "--help"], capture_output=True, text=True, check=True, timeout=60).stdout
    shown = set(re.findall(r"^  ([a-z-]+) ", usage.partition("SUBCOMMANDS:")[2], re.MULTILINE))
    assert listed == shown - {"help"}


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(["version"], 0), (["check", "--config", "/nonexistent.yaml"], 1), (["no-such-command"], 2)],
)
def test_exit_codes_are_those_of_the_table(arguments: list[str], code: int):
    listed = {match[1] for line in section("OPERATIONS.md", "## Commands") if (match := re.match(r"\| (\d+) \|", line))}
    assert str(code) in listed
    assert subprocess.run([binary(), *arguments], capture_output=True, timeout=60, check=False).returncode == code


# Metrics and logs of a gateway to which everything has happened that the lists speak of

SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


#: One request is held at the application.
HAS_COME, MAY_GO = threading.Event(), threading.Event()


def eventful(connection: UpstreamConnection) -> None:
    """Answers; upgrades where it is asked to, dies where it is asked to, or when its first connection is used again."""
    served = 0
    while request := connection.read_request():
        served += 1
        if request.target == "/public/dead":
            connection.reset()
            return
        if request.target == "/public/reused" and served > 1:
            return
        if request.target == "/public/held":
            HAS_COME.set()
            MAY_GO.wait(20)
        if request.target == "/public/upgrade":
            connection.send(SWITCHED)
            connection.read_some()
            return
        connection.send(OK)


@pytest.fixture(scope="module")
def eventful_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    changes = {"workers": 1, "limits": {"one": {"rate": "1/hour"}}}
    with FakeUpstream(eventful) as upstream:
        gateway = Gateway(tmp_path_factory.mktemp("eventful"), {"raw": upstream.port}, changes)
        gateway.configuration["routes"].append(route("raw", "/limited", public=True, limit="one"))
        gateway.configuration["upstreams"]["raw"]["exchanges_max"] = 1
        gateway.write()
        with gateway:
            live_through_everything(gateway)
            yield gateway
        assert not upstream.errors


def live_through_everything(gateway: Gateway) -> None:
    def ask(target: str, *fields: str) -> bytes:
        lines = "".join(f"{field}\r\n" for field in ("Host: raw.demo.localhost", "Connection: close", *fields))
        return gateway.raw(f"GET {target} HTTP/1.1\r\n{lines}\r\n".encode())[0]

    def status(target: str, *fields: str) -> int:
        return int(ask(target, *fields).split(b" ")[1])

    assert status("/public/x") == 200
    assert status("/public/reused") == 200  # on a new connection, after the kept one died
    assert status("/public/dead") == 502
    assert status("/limited") == 200
    assert status("/limited") == 429
    assert status("/private/x") == 401
    assert status("/private/x", "Authorization: Bearer x") == 401
    assert status("/private/x", f"Authorization: Bearer {gateway.mint()}") == 200
    assert status("/admin/x", f"Authorization: Bearer {gateway.mint()}") == 403
    assert status("/nothing") == 404
    assert status("/public/%zz") == 400
    assert status("/.gateway/login") == 302
    with gateway.connect() as first, gateway.connect() as second:
        first.sendall(b"GET /public/held HTTP/1.1\r\nHost: raw.demo.localhost\r\n\r\n")
        assert HAS_COME.wait(10)
        second.sendall(b"GET /public/x HTTP/1.1\r\nHost: raw.demo.localhost\r\n\r\n")
        wait_until(lambda: gateway.metrics()['upstream_queue_length{upstream="raw"}'] == 1, "it waits for its turn")
        MAY_GO.set()
        assert [read_response(peer).status for peer in (first, second)] == [200, 200]
    with gateway.connect() as peer:
        peer.sendall(
            b"GET /public/upgrade HTTP/1.1\r\nHost: raw.demo.localhost\r\n"
            b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        )
        assert read_response(peer).status == 101
        peer.sendall(b"enough")
        assert peer.recv(100) == b""
    client = gateway.as_user("user@example.com")
    assert client.get(gateway.url("raw", "/private/x")).status_code == 200
    assert client.post(gateway.url("iam", "/api/auth/logout")).status_code == 200
    wait_until(lambda: any("upgraded" in line for line in gateway.events()), "the upgraded connection is logged")
    wait_until(lambda: any(line.get("event") == "auth.logout" for line in gateway.events()), "the sign-out is logged")


def test_the_list_of_metrics_is_complete(eventful_gateway: Gateway):
    text = requests.get(f"http://127.0.0.1:{eventful_gateway.admin_port}/metrics", timeout=5).text
    shown = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    labels: dict[str, set[str]] = {name: set() for name in shown}
    for name, inside in re.findall(r"^(\w+)\{(.*)\} ", text, re.MULTILINE):
        family = name if name in shown else re.sub(r"_(bucket|sum|count)$", "", name)
        labels[family] |= set(re.findall(r'(\w+)="', inside)) - {"le"}
    listed = {}
    for line in section("METRICS.md", "## Requests", "## Connections", "## Configuration and process"):
        if DATA_LINE.match(line):
            name, kind, given = (cell.strip() for cell in line.split("|")[1:4])
            listed[name.strip("`")] = (kind, set(re.findall(r"`(\w+)`", given)))
    assert listed == {name: (kind, labels[name]) for name, kind in shown.items()}


def access_log(gateway: Gateway) -> list[dict]:
    return [line for line in gateway.events() if "event" not in line]


def test_the_list_of_log_fields_is_complete_and_in_order(eventful_gateway: Gateway):
    rows = [line for line in section("LOGGING.md", "## The access log") if DATA_LINE.match(line)]
    listed = [DATA_LINE.match(row)[1] for row in rows]
    lines = access_log(eventful_gateway)
    assert {field for line in lines for field in line} == set(listed)
    for line in lines:
        assert list(line) == [field for field in listed if field in line]
    always = {DATA_LINE.match(row)[1] for row in rows if row.rstrip().endswith("| always |")}
    assert set.intersection(*(set(line) for line in lines)) == always


def test_every_decision_and_reason_of_the_log_is_explained(eventful_gateway: Gateway):
    explained = []
    for line in section("LOGGING.md", "### Decisions and reasons"):
        if DATA_LINE.match(line):
            decision, reasons = (cell.strip() for cell in line.split("|")[1:3])
            explained += [(decision.strip("`"), reason) for reason in re.findall(r"`([^`]+)`", reasons)]
    seen = {(line["decision"], line["reason"]) for line in access_log(eventful_gateway) if "reason" in line}
    assert {decision for decision, _ in seen} == {decision for decision, _ in explained}
    for decision, reason in seen:
        assert any(
            decision == known and (reason == name or (name.endswith("…") and reason.startswith(name[:-1])))
            for known, name in explained
        ), f"{decision} {reason}"


def test_every_step_that_can_fail_is_explained():
    paths = [path for module in ("ProxyCore", "AuthGateway") for path in (ROOT / "Sources" / module).rglob("*.swift")]
    lines = [line for path in paths for line in path.read_text().splitlines()]
    blamed = [line for line in lines if re.search(r"ExchangeError\(|failExchange\(|\.cut\(step:", line)]
    steps = {step for line in blamed for step in re.findall(r'"([a-z_]+(?:\.[a-z_]+)?)"', line)}
    listed = {line.split("|")[2].strip(" `") for line in section("LOGGING.md", "### Steps") if DATA_LINE.match(line)}
    assert listed == steps


def test_the_list_of_events_is_complete(eventful_gateway: Gateway):
    sources = "\n".join(path.read_text() for path in (ROOT / "Sources").glob("*/**/*.swift"))
    written = set(re.findall(r'\blogger\.\w+\(\s*"([a-z._]+)"', sources))
    written |= set(re.findall(r'\blog\(\.\w+, "([a-z._]+)"', sources))
    listed = {match[1] for line in section("LOGGING.md", "## Events") if (match := DATA_LINE.match(line))}
    assert listed == written
    assert {line["event"] for line in eventful_gateway.events() if "event" in line} <= listed
