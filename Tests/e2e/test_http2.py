"""HTTP/2 downstream: requests, bodies, streams beside each other, windows, ends."""

import base64
import subprocess
import threading
from collections.abc import Iterator

import pytest
from support import http2
from support.clients import HOST
from support.gateway import Gateway, route
from support.http2 import Connection
from support.processes import wait_until
from support.upstream import OK, FakeUpstream, UpstreamConnection, answer_always
from support.websocket import accept_for
from support.wire import responses

KIB = 1024


@pytest.fixture(scope="module")
def scripted_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Gateway, FakeUpstream]]:
    """A gateway that keeps no connection to its upstream, so that each request meets the script of its test."""
    with FakeUpstream() as upstream:
        pool = {"raw": {"endpoints": [f"127.0.0.1:{upstream.port}"], "keep_alive": {"connections_max": 0}}}
        with Gateway(tmp_path_factory.mktemp("http2"), {"raw": upstream.port}, {"upstreams": pool}) as gateway:
            yield gateway, upstream


@pytest.fixture
def gateway(scripted_gateway: tuple[Gateway, FakeUpstream]) -> Iterator[Gateway]:
    gateway, upstream = scripted_gateway
    upstream.forget()
    upstream.script = answer_always()
    yield gateway
    assert gateway.program.is_running, f"the gateway died:\n{gateway.log()[-3000:]}"
    assert not upstream.errors


@pytest.fixture
def upstream(scripted_gateway: tuple[Gateway, FakeUpstream]) -> FakeUpstream:
    return scripted_gateway[1]


@pytest.fixture
def connection(gateway: Gateway) -> Iterator[Connection]:
    with gateway.http2() as connection:
        yield connection


@pytest.fixture
def own_upstream() -> Iterator[FakeUpstream]:
    with FakeUpstream() as upstream:
        yield upstream
        assert not upstream.errors


def test_a_request_gets_its_answer(connection: Connection, upstream: FakeUpstream):
    answer = connection.get("/public/x?y=1", [("x-a", "b")])
    assert (answer.status, answer.body, answer.get("content-length")) == (200, b"ok", "2")
    request = upstream.requests[-1]
    assert (request.method, request.target, request.get("host")) == ("GET", "/public/x?y=1", "raw.demo.localhost")
    assert request.get("x-a") == "b"
    assert request.get("x-forwarded-proto") == "https"


def test_curl_speaks_http2_by_itself(gateway: Gateway):
    command = ["curl", "-sS", "--cacert", gateway.certificates / "ca.pem", "-w", "%{http_version} %{http_code}"]
    command += ["--resolve", f"raw.demo.localhost:{gateway.https_port}:127.0.0.1", gateway.url("raw", "/public/")]
    run = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    assert run.stdout == "ok2 200"


def test_answers_of_our_own(connection: Connection, upstream: FakeUpstream):
    missing = connection.get("/nowhere")
    assert missing.status == 404
    assert missing.get("date")
    assert int(missing.get("content-length")) == len(missing.body) > 0
    refused = connection.get("/private/x")
    assert refused.status == 401
    assert "www-authenticate" in dict(refused.fields)
    head = connection.get("/nowhere", method="HEAD")
    assert (head.status, head.body) == (404, b"")
    assert int(head.get("content-length")) > 0
    assert not upstream.requests


def test_a_token_lets_through_and_names_its_user(gateway: Gateway, connection: Connection, upstream: FakeUpstream):
    answer = connection.get(
        "/private/x", [("authorization", f"Bearer {gateway.mint()}"), ("x-auth-user", "admin"), ("x_auth_user", "root")]
    )
    assert answer.status == 200
    request = upstream.requests[-1]
    assert request.get("x-auth-user") not in (None, "admin", "root")
    assert not request.all("authorization")
    assert not request.all("x_auth_user")


def test_cookies_in_crumbs_are_one_field(connection: Connection, upstream: FakeUpstream):
    connection.get("/public/x", [("cookie", "a=1"), ("x", "y"), ("cookie", "b=2"), ("cookie", "c=3")])
    assert upstream.requests[-1].all("cookie") == ["a=1; b=2; c=3"]


@pytest.mark.parametrize("size", [0, 1, 100, 16_384, 65_535, 65_536, 300_000])
@pytest.mark.parametrize("declares", [True, False])
def test_a_body_passes_whole(connection: Connection, upstream: FakeUpstream, size: int, declares: bool):
    body = bytes(index % 251 for index in range(size))
    fields = [("content-length", str(size))] if declares else []
    stream = connection.request("/public/x", fields, "POST", ends=False)
    start = 0
    while True:
        part = body[start : start + 16_000]
        connection.data(stream, part, ends=start + 16_000 >= size)
        start += 16_000
        if start >= size:
            break
        # Reads what the gateway says about windows, so that none is overrun.
        connection.ping()
    assert connection.answer(stream).status == 200
    request = upstream.requests[-1]
    assert request.body == body
    assert request.all("content-length") == ([str(size)] if declares else [])
    assert request.all("transfer-encoding") == ([] if declares else ["chunked"])


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
@pytest.mark.parametrize("size", [0, 1, 65_535, 1_000_000])
def test_an_answer_passes_whole(gateway: Gateway, upstream: FakeUpstream, framing: str, size: int):
    body = bytes(index % 251 for index in range(size))

    def script(upstream: UpstreamConnection) -> None:
        upstream.read_request()
        head = b"HTTP/1.1 200 OK\r\n"
        if framing == "length":
            upstream.send(head + b"Content-Length: %d\r\n\r\n" % size + body)
        elif framing == "close":
            upstream.send(head + b"\r\n" + body)
        else:
            upstream.send(head + b"Transfer-Encoding: chunked\r\n\r\n")
            for start in range(0, size, 7000):
                part = body[start : start + 7000]
                upstream.send(b"%x\r\n" % len(part) + part + b"\r\n")
            upstream.send(b"0\r\n\r\n")

    upstream.script = script
    with gateway.http2() as connection:
        answer = connection.get("/public/x")
        assert (answer.status, answer.body) == (200, body)
        assert answer.get("content-length") == (str(size) if framing == "length" else None)
        assert answer.get("transfer-encoding") is None


def test_streams_overtake_each_other(gateway: Gateway, upstream: FakeUpstream):
    """A slow answer holds up no other."""
    release = threading.Event()

    def script(upstream: UpstreamConnection) -> None:
        while request := upstream.read_request():
            if request.target.endswith("slow"):
                release.wait(10)
            upstream.send(OK)

    upstream.script = script
    with gateway.http2() as connection:
        slow = connection.request("/public/slow")
        for _ in range(20):
            assert connection.get("/public/fast").status == 200
        assert not connection.streams[slow].is_over
        release.set()
        assert connection.answer(slow).status == 200


def test_a_slow_reader_of_one_stream_holds_up_no_other(gateway: Gateway, upstream: FakeUpstream):
    size = 8_000_000
    sent = 0

    def script(upstream: UpstreamConnection) -> None:
        nonlocal sent
        while request := upstream.read_request():
            if not request.target.endswith("large"):
                upstream.send(OK)
                continue
            upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
            for _ in range(size // 10_000):
                upstream.send(bytes(10_000))
                sent += 10_000

    upstream.script = script
    with gateway.http2() as connection:
        connection.gives_window = False
        large = connection.request("/public/large")
        # The connection's own window is wide: it is the stream's that is used up.
        connection.send(http2.window_update(0, 1 << 24))
        connection.until(lambda: len(connection.streams[large].body) == 65_535, "the window is used up")
        for _ in range(50):
            assert connection.get("/public/small").body == b"ok"
        assert len(connection.streams[large].body) == 65_535
        # What the gateway and the kernel's sockets hold between them, and not the whole of it.
        assert sent < size
        connection.send(http2.window_update(large, size))
        answer = connection.answer(large)
        assert len(answer.body) == size


def test_a_reset_stream_ends_its_exchange_and_no_other(gateway: Gateway, upstream: FakeUpstream):
    gone = threading.Event()

    def script(upstream: UpstreamConnection) -> None:
        while request := upstream.read_request():
            if request.target.endswith("never"):
                if not upstream.read_some():
                    gone.set()
                return
            upstream.send(OK)

    upstream.script = script
    with gateway.http2() as connection:
        never = connection.request("/public/never")
        upstream.wait_for_requests(1)
        connection.send(http2.reset(never))
        assert connection.get("/public/other").status == 200
        assert gone.wait(10), "the upstream's connection ends"


def test_a_head_request_and_answers_without_body(gateway: Gateway, upstream: FakeUpstream):
    answers = {
        "/public/head": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
        "/public/204": b"HTTP/1.1 204 No Content\r\n\r\n",
        "/public/304": b'HTTP/1.1 304 Not Modified\r\nETag: "x"\r\nContent-Length: 7\r\n\r\n',
    }

    def script(upstream: UpstreamConnection) -> None:
        while request := upstream.read_request():
            upstream.send(answers[request.target])

    upstream.script = script
    with gateway.http2() as connection:
        head = connection.get("/public/head", method="HEAD")
        assert (head.status, head.get("content-length"), head.body) == (200, "5", b"")
        assert connection.get("/public/204").status == 204
        not_modified = connection.get("/public/304")
        assert (not_modified.status, not_modified.get("etag"), not_modified.body) == (304, '"x"', b"")


def test_interim_answers_are_passed_on(gateway: Gateway, upstream: FakeUpstream):
    interim = b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\nConnection: x\r\nx: y\r\n\r\n"

    upstream.script = answer_always(b"HTTP/1.1 100 Continue\r\n\r\n" + interim + OK)
    with gateway.http2() as connection:
        answer = connection.get("/public/x")
    assert answer.status == 200
    assert [dict(fields)[":status"] for fields in answer.interim] == ["100", "103"]
    assert answer.interim[1][1:] == [("link", "</a>; rel=preload")]


def test_an_answer_that_breaks_off_is_no_whole_one(gateway: Gateway, upstream: FakeUpstream):
    def script(upstream: UpstreamConnection) -> None:
        upstream.read_request()
        upstream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")

    upstream.script = script
    with gateway.http2() as connection:
        answer = connection.get("/public/x")
        assert (answer.is_ended, answer.reset_code) == (False, http2.INTERNAL_ERROR)
        assert connection.get("/nowhere").status == 404


def test_an_early_answer_ends_the_body_that_still_comes(connection: Connection, upstream: FakeUpstream):
    stream = connection.request("/private/x", [("content-length", "1000000")], "POST", ends=False)
    connection.data(stream, bytes(1000), ends=False)
    answer = connection.answer(stream)
    assert answer.status == 401
    connection.until(lambda: answer.reset_code is not None, "the rest of the body is refused")
    assert answer.reset_code == http2.NO_ERROR
    # What was on its way when the reset came disturbs nobody.
    connection.data(stream, bytes(1000), ends=True)
    assert connection.get("/nowhere").status == 404
    assert not upstream.requests


def test_more_or_less_than_was_declared_never_reaches_an_upstream_as_a_whole_request(
    connection: Connection, upstream: FakeUpstream
):
    for length, body in ((5, b"123456"), (5, b"1234"), (0, b"1"), (5, b"")):
        stream = connection.request("/public/x", [("content-length", str(length))], "POST", body=body)
        assert connection.answer(stream).reset_code == http2.PROTOCOL_ERROR, (length, body)
    assert connection.get("/public/good").status == 200
    assert [request.target for request in upstream.requests] == ["/public/good"]


def test_a_declared_empty_body_that_ends_later_passes(connection: Connection, upstream: FakeUpstream):
    stream = connection.request("/public/x", [("content-length", "0")], "POST", ends=False)
    connection.ping()
    assert not upstream.requests
    connection.data(stream, b"")
    assert connection.answer(stream).status == 200
    assert upstream.requests[-1].get("content-length") == "0"


def test_stopping_serves_what_is_under_way(start_gateway, own_upstream: FakeUpstream):
    release = threading.Event()

    def script(connection: UpstreamConnection) -> None:
        while request := connection.read_request():
            if request.target.endswith("slow"):
                # The client hears of the end while it waits, not with the answer.
                assert release.wait(8)
            connection.send(OK)

    own_upstream.script = script
    gateway = start_gateway({"raw": own_upstream.port})
    with gateway.http2() as connection:
        slow = connection.request("/public/slow")
        own_upstream.wait_for_requests(1)
        gateway.program.signal(15)
        connection.until(lambda: connection.goaway is not None, "the end is announced")
        assert (connection.goaway, connection.goaway_stream) == (http2.NO_ERROR, 2**31 - 1)
        # The client may not have read the word when it sent this.
        assert connection.get("/public/late").status == 200
        connection.until(lambda: connection.goaway_stream < 2**31 - 1, "no stream is served any more")
        release.set()
        assert connection.answer(slow).status == 200
        connection.until_closed()
    wait_until(lambda: not gateway.program.is_running, "the gateway ends")


def test_an_idle_connection_is_told_and_ends(start_gateway, own_upstream: FakeUpstream):
    gateway = start_gateway({"raw": own_upstream.port})
    gateway.configuration["listeners"][0]["idle_timeout"] = "1s"
    gateway.stop()
    gateway.write()
    gateway.start()
    with gateway.http2() as connection:
        assert connection.get("/public/x").status == 200
        connection.until_closed()
        assert connection.goaway == http2.NO_ERROR


def test_a_client_that_never_asks_is_closed(start_gateway, own_upstream: FakeUpstream):
    gateway = start_gateway({"raw": own_upstream.port})
    gateway.configuration["listeners"][0]["head_timeout"] = "1s"
    gateway.stop()
    gateway.write()
    gateway.start()
    for opens in (True, False):
        with gateway.http2(opens=opens) as connection:
            connection.until_closed()
    # Nor does a head that drips in keep it open.
    with gateway.http2() as connection:
        whole = connection.block([(":method", "GET")])
        connection.send(http2.frame(http2.HEADERS, http2.END_STREAM, 1, whole))
        connection.until_closed()


def switch(connection: UpstreamConnection) -> None:
    """Opens a WebSocket as RFC 6455 has it, then says back whatever comes, in brackets."""
    request = connection.read_request()
    accept = accept_for(request.get("sec-websocket-key"))
    connection.send(
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\nSec-WebSocket-Protocol: chat\r\n\r\nhello"
    )
    while data := connection.read_some():
        connection.send(b"<" + data + b">")


def open_tunnel(connection: Connection, path: str = "/public/ws", **replaced: str) -> int:
    asked = {"sec-websocket-protocol": "chat", "origin": f"https://{HOST}"}
    return connection.open(http2.connect_fields(path, **{**asked, **replaced}), ends=False)


def test_a_websocket_within_a_stream(gateway: Gateway, upstream: FakeUpstream):
    upstream.script = switch
    with gateway.http2() as connection:
        connection.until(lambda: connection.settings, "settings come")
        assert connection.settings[http2.CONNECT_PROTOCOL] == 1
        stream = open_tunnel(connection)
        answer = connection.streams[stream]
        connection.until(lambda: answer.body == b"hello", "the tunnel is open")
        assert answer.status == 200
        assert answer.get("sec-websocket-protocol") == "chat"
        assert answer.get("sec-websocket-accept") is None
        assert answer.get("upgrade") is None
        connection.data(stream, b"one", ends=False)
        connection.until(lambda: answer.body.endswith(b"<one>"), "it echoes")
        assert connection.get("/nowhere").status == 404
        connection.data(stream, b"", ends=True)
        assert connection.answer(stream).is_ended
        request = upstream.requests[0]
        assert (request.method, request.get("upgrade"), request.get("connection")) == ("GET", "websocket", "upgrade")
        assert len(base64.b64decode(request.get("sec-websocket-key"))) == 16


def test_a_websocket_needs_its_credential(connection: Connection, upstream: FakeUpstream):
    answer = connection.answer(open_tunnel(connection, "/private/ws"))
    assert answer.status == 401
    assert not upstream.requests


REFUSALS = [
    (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 502),
    (b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", 502),
    (
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Accept: c3RvbGVu\r\n\r\n",
        502,
    ),
    (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", 403),
]


@pytest.mark.parametrize("answer, status", REFUSALS, ids=range(len(REFUSALS)))
def test_only_a_proven_switch_opens_the_tunnel(gateway: Gateway, upstream: FakeUpstream, answer: bytes, status: int):
    upstream.script = answer_always(answer)
    with gateway.http2() as connection:
        assert connection.answer(open_tunnel(connection)).status == status


def test_R42_bytes_before_the_tunnel_is_open_are_refused(gateway: Gateway, upstream: FakeUpstream):
    def silent(upstream: UpstreamConnection) -> None:
        upstream.read_request()
        upstream.read_some()

    upstream.script = silent
    with gateway.http2() as connection:
        stream = open_tunnel(connection)
        connection.data(stream, b"GET /private/smuggled HTTP/1.1\r\n\r\n", ends=False)
        assert connection.answer(stream).status == 400
    assert b"smuggled" not in upstream.everything_received()


def test_rapid_resets_end_the_connection(gateway: Gateway, upstream: FakeUpstream):
    with gateway.http2() as connection:
        for _ in range(2000):
            connection.send(http2.reset(connection.request("/public/x")))
        connection.until_closed()
        assert connection.goaway == http2.ENHANCE_YOUR_CALM
    with gateway.http2() as connection:
        assert connection.get("/public/x").status == 200


TRAILERS = {"trailers": {"request": ["x-checksum"], "response": ["Server-Timing"]}}


@pytest.fixture
def trailing(start_gateway, own_upstream: FakeUpstream) -> Gateway:
    """A gateway that passes some trailers on."""
    own_upstream.script = answer_always(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n"
        b"Server-Timing: db;dur=1\r\nX-Other: 1\r\nSet-Cookie: a=b\r\n\r\n"
    )
    routes = [route("raw", "/public/**", public=True, **TRAILERS), route("raw", "/none/**", public=True)]
    return start_gateway({"raw": own_upstream.port}, {"routes": routes})


def test_trailers_pass_by_their_names(trailing: Gateway, own_upstream: FakeUpstream):
    """R22: all others are dropped, those with which a client would name itself above all."""
    sent = [("x-checksum", "abc"), ("x-auth-user", "admin"), ("x-other", "1")]
    for path, up, down in (
        ("/public/x", [("x-checksum", "abc")], [("server-timing", "db;dur=1")]),
        ("/none/x", [], []),
    ):
        with trailing.http2() as connection:
            stream = connection.request(path, method="POST", ends=False)
            connection.data(stream, b"body", ends=False)
            connection.send(connection.head(stream, connection.block(sent), ends=True))
            answer = connection.answer(stream)
            assert (answer.status, answer.body, answer.trailers) == (200, b"ok", down)
        request = own_upstream.requests[-1]
        assert (request.body, request.trailers) == (b"body", up)
        chunked = b"".join(f"{name}: {value}\r\n".encode() for name, value in sent)
        received, _ = trailing.raw(
            f"POST {path} HTTP/1.1\r\nHost: raw.demo.localhost\r\nTransfer-Encoding: chunked\r\n"
            "TE: trailers\r\nConnection: close, TE\r\n\r\n4\r\nbody\r\n0\r\n".encode()
            + chunked
            + b"\r\n"
        )
        (answer,) = responses(received)
        assert (answer.status, answer.body) == (200, b"ok")
        assert [(name.lower(), value) for name, value in answer.trailers] == down
        request = own_upstream.requests[-1]
        assert (request.body, request.trailers) == (b"body", up)


@pytest.mark.parametrize(
    "trailers", [[("transfer-encoding", "x")], [("connection", "x")], [(":path", "/")], [("A", "b")]]
)
def test_trailers_that_may_not_be_reset_the_stream(connection: Connection, upstream: FakeUpstream, trailers):
    stream = connection.request("/public/x", method="POST", ends=False)
    connection.send(connection.head(stream, connection.block(trailers), ends=True))
    assert connection.answer(stream).reset_code == http2.PROTOCOL_ERROR
    assert not upstream.requests


@pytest.mark.parametrize("name", ["X-Auth-User", "x-forwarded-for", "host", "set-cookie", "a_b", ""])
def test_a_managed_trailer_does_not_load(start_gateway, own_upstream: FakeUpstream, name: str):
    routes = [route("raw", "/public/**", public=True, trailers={"request": [name]})]
    with pytest.raises(AssertionError, match="trailer"):
        start_gateway({"raw": own_upstream.port}, {"routes": routes})


def test_the_log_says_which_version(gateway: Gateway, connection: Connection):
    def versions() -> list[str]:
        lines = [line for line in gateway.events() if line.get("path") == "/public/version"]
        return [line["protocol"] for line in lines]

    connection.get("/public/version")
    gateway.raw(b"GET /public/version HTTP/1.1\r\nHost: raw.demo.localhost\r\nConnection: close\r\n\r\n")
    gateway.raw(b"GET /public/version HTTP/1.0\r\nHost: raw.demo.localhost\r\n\r\n")
    wait_until(lambda: versions() == ["HTTP/2", "HTTP/1.1", "HTTP/1.0"], "three lines are there")
