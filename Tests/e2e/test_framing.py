"""One framing or 400: heads and bodies that two servers could read in two ways (RFC 9112; R40, R41)."""

import contextlib
import random
import socket
from collections.abc import Iterator

import pytest
from support.gateway import Gateway
from support.upstream import FakeUpstream
from support.wire import Incomplete, Malformed, connect, read_all, read_response, responses, take_request

HOST = b"Host: raw.demo.localhost\r\n"
GET = b"GET /public/x HTTP/1.1\r\n" + HOST
POST = b"POST /public/x HTTP/1.1\r\n" + HOST
CHUNKED = b"Transfer-Encoding: chunked\r\n"
END = b"\r\n"
BODY = b"5\r\nhello\r\n0\r\n\r\n"

BAD_HEADS = {
    "a length and a transfer coding": POST + b"Content-Length: 5\r\n" + CHUNKED + END + BODY,
    "a transfer coding and a length": POST + CHUNKED + b"Content-Length: 5\r\n" + END + BODY,
    "two lengths": POST + b"Content-Length: 5\r\nContent-Length: 6\r\n" + END + b"hello!",
    "two lengths in one field": POST + b"Content-Length: 5, 6\r\n" + END + b"hello!",
    "a length with a plus": POST + b"Content-Length: +5\r\n" + END + b"hello",
    "a length with a minus": POST + b"Content-Length: -5\r\n" + END + b"hello",
    "a hexadecimal length": POST + b"Content-Length: 0x5\r\n" + END + b"hello",
    "an empty length": POST + b"Content-Length: \r\n" + END,
    "a length with a space inside": POST + b"Content-Length: 1 0\r\n" + END + b"helloworld",
    "a length beyond 64 bits": POST + b"Content-Length: 18446744073709551621\r\n" + END + b"hello",
    "chunked twice": POST + b"Transfer-Encoding: chunked, chunked\r\n" + END + BODY,
    "chunked in two fields": POST + CHUNKED + CHUNKED + END + BODY,
    "chunked not last": POST + b"Transfer-Encoding: chunked, gzip\r\n" + END + BODY,
    "a coding in quotes": POST + b'Transfer-Encoding: "chunked"\r\n' + END + BODY,
    "a coding after a vertical tab": POST + b"Transfer-Encoding: \x0bchunked\r\n" + END + BODY,
    "an empty coding": POST + b"Transfer-Encoding: \r\n" + END + BODY,
    "chunked in HTTP/1.0": b"POST /public/x HTTP/1.0\r\n" + HOST + CHUNKED + END + BODY,
    "no Host": b"GET /public/x HTTP/1.1\r\n" + END,
    "two Hosts": GET + HOST + END,
    "two different Hosts": GET + b"Host: other.example\r\n" + END,
    "a Host with user information": b"GET /public/x HTTP/1.1\r\nHost: x@raw.demo.localhost\r\n" + END,
    "a Host with a path": b"GET /public/x HTTP/1.1\r\nHost: raw.demo.localhost/x\r\n" + END,
    "a Host with a space": b"GET /public/x HTTP/1.1\r\nHost: raw.demo localhost\r\n" + END,
    "a bare LF after the request line": b"GET /public/x HTTP/1.1\n" + HOST + END,
    "a bare LF after a field": GET + b"A: b\n" + END,
    "a bare LF at the end of the head": GET + b"\n",
    "a bare CR in a value": GET + b"A: b\rC: d\r\n" + END,
    "a folded line": GET + b"A: b\r\n c\r\n" + END,
    "a folded line by tab": GET + b"A: b\r\n\tc\r\n" + END,
    "a fold before the first field": b"GET /public/x HTTP/1.1\r\n " + HOST + END,
    "a space before the colon": GET + b"A : b\r\n" + END,
    "a tab before the colon": GET + b"A\t: b\r\n" + END,
    "a space before the colon of a length": POST + b"Content-Length : 5\r\n" + END + b"hello",
    "an empty name": GET + b": b\r\n" + END,
    "a line without a colon": GET + b"abc\r\n" + END,
    "NUL in a value": GET + b"A: b\x00c\r\n" + END,
    "NUL in a name": GET + b"A\x00B: c\r\n" + END,
    "a control byte in a value": GET + b"A: b\x01c\r\n" + END,
    "DEL in a value": GET + b"A: b\x7fc\r\n" + END,
    "a byte above 127 in a name": GET + b"\xc3\xa4: b\r\n" + END,
    "no version": b"GET /public/x\r\n" + HOST + END,
    "a version in small letters": b"GET /public/x http/1.1\r\n" + HOST + END,
    "a version with two digits": b"GET /public/x HTTP/1.10\r\n" + HOST + END,
    "a space after the version": b"GET /public/x HTTP/1.1 \r\n" + HOST + END,
    "two spaces before the target": b"GET  /public/x HTTP/1.1\r\n" + HOST + END,
    "a tab before the target": b"GET\t/public/x HTTP/1.1\r\n" + HOST + END,
    "a space in the target": b"GET /public/x y HTTP/1.1\r\n" + HOST + END,
    "no target": b"GET HTTP/1.1\r\n" + HOST + END,
    "a target without its slash": b"GET public/x HTTP/1.1\r\n" + HOST + END,
    "an asterisk for GET": b"GET * HTTP/1.1\r\n" + HOST + END,
    "an authority for GET": b"GET raw.demo.localhost:80 HTTP/1.1\r\n" + HOST + END,
    "a scheme that is not ours": b"GET ftp://raw.demo.localhost/public/x HTTP/1.1\r\n" + HOST + END,
    "a method that is no token": b"GE(T /public/x HTTP/1.1\r\n" + HOST + END,
    "Connection naming Host": GET + b"Connection: host\r\n" + END,
    "Connection naming a length": POST + b"Connection: Content-Length\r\nContent-Length: 5\r\n" + END + b"hello",
    "Connection naming Cookie": GET + b"Connection: keep-alive, cookie\r\n" + END,
    "Connection naming Authorization": GET + b"Connection: AUTHORIZATION\r\n" + END,
}

#: Refused too, with a status that says more than 400.
REFUSED_OTHERWISE = {
    "a transfer coding we do not know": (POST + b"Transfer-Encoding: gzip, chunked\r\n" + END + BODY, {501}),
    "one without chunked behind it": (POST + b"Transfer-Encoding: gzip\r\n" + END + BODY, {400}),
    "a coding that ends like chunked": (POST + b"Transfer-Encoding: xchunked\r\n" + END + BODY, {400}),
    "a version that is none": (b"GET /public/x HTTP/01.1\r\n" + HOST + END, {400}),
    "a major version alone": (b"GET /public/x HTTP/2\r\n" + HOST + END, {400}),
    "a version of three digits": (b"GET /public/x HTTP/2.00\r\n" + HOST + END, {400}),
    "HTTP/2.0 by name": (b"GET /public/x HTTP/2.0\r\n" + HOST + END, {505}),
    "HTTP/0.9 by name": (b"GET /public/x HTTP/0.9\r\n" + HOST + END, {505}),
    "a preface of HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", {400, 505}),
    "CONNECT": (b"CONNECT raw.demo.localhost:80 HTTP/1.1\r\n" + HOST + END, {400, 404, 405, 501}),
    "a head beyond its cap": (GET + b"A: " + b"b" * 70_000 + END + END, {431}),
    "too many fields": (GET + b"A: b\r\n" * 2_000 + END, {431}),
    "a target beyond its cap": (b"GET /public/" + b"x" * 70_000 + b" HTTP/1.1\r\n" + HOST + END, {414, 431}),
}

BAD_CHUNKS = {
    "a size that is no number": b"g\r\nhello\r\n0\r\n\r\n",
    "a size with 0x": b"0x5\r\nhello\r\n0\r\n\r\n",
    "a size with a sign": b"+5\r\nhello\r\n0\r\n\r\n",
    "a negative size": b"-5\r\nhello\r\n0\r\n\r\n",
    "a space before the size": b" 5\r\nhello\r\n0\r\n\r\n",
    "an empty size": b"\r\nhello\r\n0\r\n\r\n",
    "a size beyond 64 bits": b"10000000000000005\r\nhello\r\n0\r\n\r\n",
    "a bare LF after the size": b"5\nhello\r\n0\r\n\r\n",
    "a bare LF after the data": b"5\r\nhello\n0\r\n\r\n",
    "a chunk longer than it says": b"4\r\nhello\r\n0\r\n\r\n",
    "a bare LF inside an extension": b"5;a=b\nc\r\nhello\r\n0\r\n\r\n",
    "NUL in an extension": b"5;a=\x00\r\nhello\r\n0\r\n\r\n",
    "extensions over their cap": b"5;" + b"a" * 5_000 + b"\r\nhello\r\n0\r\n\r\n",
    "a trailer without a colon": b"5\r\nhello\r\n0\r\nabc\r\n\r\n",
    "a trailer with a folded line": b"5\r\nhello\r\n0\r\nA: b\r\n c\r\n\r\n",
    "a bare LF after the trailers": b"5\r\nhello\r\n0\r\nA: b\r\n\n",
}


def refused(gateway: Gateway, data: bytes, statuses: set[int]) -> None:
    """One answer with one of these statuses, then the end; a request on a new connection works as ever."""
    received, closed = gateway.raw(data, timeout=5)
    answers = responses(received)
    assert [answer.status in statuses for answer in answers] == [True], received[:300]
    assert closed, "the connection stays open"
    good, _ = gateway.raw(GET + b"Connection: close\r\n" + END)
    assert responses(good)[0].status == 200


@pytest.mark.parametrize("case", BAD_HEADS)
def test_R40_a_head_that_can_be_read_in_two_ways_is_400(gateway: Gateway, raw_upstream: FakeUpstream, case: str):
    # What follows must never be taken for a request of its own.
    refused(gateway, BAD_HEADS[case] + b"GET /public/smuggled HTTP/1.1\r\n" + HOST + END, {400})
    assert [request.target for request in raw_upstream.requests] == ["/public/x"], "only the good one passes"
    assert b"smuggled" not in raw_upstream.everything_received()


@pytest.mark.parametrize("case", REFUSED_OTHERWISE)
def test_R40_what_we_do_not_take_is_refused(gateway: Gateway, raw_upstream: FakeUpstream, case: str):
    data, statuses = REFUSED_OTHERWISE[case]
    refused(gateway, data, statuses)
    assert len(raw_upstream.requests) == 1


@pytest.mark.parametrize("case", BAD_CHUNKS)
def test_R41_a_bad_chunk_never_completes_a_request(gateway: Gateway, raw_upstream: FakeUpstream, case: str):
    refused(gateway, POST + CHUNKED + END + BAD_CHUNKS[case], {400})
    assert [request.target for request in raw_upstream.requests] == ["/public/x"]
    assert raw_upstream.requests[0].method == "GET", "the request with the bad chunk was completed"


SMUGGLED = b"GET /public/smuggled HTTP/1.1\r\n" + HOST + b"Connection: close\r\n" + END
#: What one byte may become, or what may be put before it: each separator, control and digit, and some others.
BYTES = bytes([*range(0x00, 0x21), *b",;:=\"'()\\/[]{}<>+-_.0159afAFxXzZ", 0x7F, 0x80, 0x85, 0xA0, 0xFF])


def mutations(data: bytes, chance: random.Random, count: int) -> Iterator[bytes]:
    """One byte more, less, other or twice, or two of these, anywhere in the data."""
    for _ in range(count):
        made = data
        for _ in range(chance.choice((1, 1, 2))):
            place = chance.randrange(len(made))
            byte = bytes([chance.choice(BYTES)])
            made = chance.choice(
                (
                    made[:place] + byte + made[place:],
                    made[:place] + byte + made[place + 1 :],
                    made[:place] + made[place + 1 :],
                    made[:place] + made[place : place + 2] + made[place:],
                )
            )
        yield made


def read_strictly(data: bytes) -> list[tuple[str, bytes]]:
    """The requests that RFC 9112 sees in the data, up to the first doubt, by a reading of these tests' own."""
    found = []
    with contextlib.suppress(Malformed, Incomplete):
        # Empty lines before a request may be skipped (section 2.2).
        while data := data.removeprefix(b"\r\n"):
            if data.startswith(b"\r\n"):
                continue
            request, data = take_request(data)
            found.append((request.target, request.body))
    return found


def is_the_beginning_of(seen: list[tuple[str, bytes]], read: list[tuple[str, bytes]]) -> bool:
    return seen == read[: len(seen)]


FRAMED = {
    "by a length": POST + b"Content-Length: 5\r\n" + END + b"hello",
    "by chunks": POST + CHUNKED + END + b"5\r\nhello\r\n0\r\n\r\n",
    "by both": POST + b"Content-Length: 15\r\n" + CHUNKED + END + b"5\r\nhello\r\n0\r\n\r\n",
    "with an extension and a trailer": POST + CHUNKED + END + b'5;a="b"\r\nhello\r\n0;c\r\nNote: x\r\n\r\n',
}


@pytest.mark.parametrize("case", FRAMED)
def test_R40_R41_whatever_is_changed_no_request_comes_out_that_is_not_there(
    gateway: Gateway, raw_upstream: FakeUpstream, case: str
):
    """Behind each changed request stands another: the upstream sees what a strict reader sees, or less."""
    data = FRAMED[case]
    begin = data.index(HOST) + len(HOST)
    passed = 0
    for changed in mutations(data[begin:], random.Random(case), 3_000):
        raw_upstream.requests.clear()
        sent = data[:begin] + changed + SMUGGLED
        with gateway.connect() as peer:
            with contextlib.suppress(OSError):
                peer.sendall(sent)
                peer.shutdown(socket.SHUT_WR)
            assert read_all(peer)[1], sent
        seen = [(request.target, request.body) for request in raw_upstream.requests]
        assert is_the_beginning_of(seen, read_strictly(sent)), sent
        passed += len(seen) == 2
        assert not raw_upstream.errors, sent
    assert passed > 10 or case == "by both", "nothing harmless was tried"


@pytest.mark.parametrize("split", [1, 2, 3, 7, 1000])
def test_a_chunked_body_arrives_whole_however_it_is_cut(gateway: Gateway, raw_upstream: FakeUpstream, split: int):
    data = (
        POST + CHUNKED + b"Connection: close\r\n" + END + b'5;a="b"\r\nhello\r\n6;c\r\n world\r\n0\r\nNote: x\r\n\r\n'
    )
    with gateway.connect() as peer:
        for start in range(0, len(data), split):
            peer.sendall(data[start : start + split])
        assert read_response(peer).status == 200
    assert raw_upstream.wait_for_requests(1)[0].body == b"hello world"


def test_pipelined_requests_are_answered_in_order(gateway: Gateway, upstream: FakeUpstream, start_gateway):
    def answer_with_the_target(connection):
        while request := connection.read_request():
            body = request.target.encode()
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    upstream.script = answer_with_the_target
    own = start_gateway({"raw": upstream.port})
    wanted = [f"/public/{number}" for number in range(20)]
    data = b"".join(b"GET " + target.encode() + b" HTTP/1.1\r\n" + HOST + END for target in wanted[:-1])
    data += b"GET " + wanted[-1].encode() + b" HTTP/1.1\r\n" + HOST + b"Connection: close\r\n" + END
    received, closed = own.raw(data)
    assert [answer.body.decode() for answer in responses(received)] == wanted
    assert closed


def test_expect_goes_upstream_and_its_100_comes_back_before_the_body(start_gateway, upstream: FakeUpstream):
    bodies = []

    def invite(connection):
        assert b"Expect: 100-continue" in connection.read_head()
        connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        bodies.append(connection.read_some())
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    upstream.script = invite
    own = start_gateway({"raw": upstream.port})
    with own.connect() as peer:
        peer.sendall(POST + b"Expect: 100-continue\r\nContent-Length: 5\r\nConnection: close\r\n" + END)
        assert peer.recv(4096) == b"HTTP/1.1 100 Continue\r\n\r\n"
        peer.sendall(b"hello")
        assert read_response(peer).status == 200
    assert bodies == [b"hello"]


def test_a_refused_request_is_not_invited_to_send_its_body(gateway: Gateway):
    head = b"POST /private/x HTTP/1.1\r\n" + HOST + b"Expect: 100-continue\r\nContent-Length: 5\r\n" + END
    with gateway.connect() as peer:
        peer.sendall(head)
        assert peer.recv(4096).startswith(b"HTTP/1.1 401 ")


def test_head_has_the_fields_of_get_and_no_body(gateway: Gateway, upstream: FakeUpstream, start_gateway):
    def answer_head(connection):
        while connection.read_request():
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")

    upstream.script = answer_head
    own = start_gateway({"raw": upstream.port})
    head = GET.replace(b"GET", b"HEAD")
    received, _ = own.raw(head + END + head + b"Connection: close\r\n" + END)
    assert [answer.get("content-length") for answer in responses(received, "HEAD", "HEAD")] == ["1000", "1000"]


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
def test_answers_without_a_body_do_not_hold_the_connection_up(
    gateway: Gateway, upstream: FakeUpstream, start_gateway, status: bytes
):
    def answer(connection):
        while connection.read_request():
            connection.send(b"HTTP/1.1 " + status + b"\r\n\r\n")

    upstream.script = answer
    own = start_gateway({"raw": upstream.port})
    received, _ = own.raw(GET + END + GET + b"Connection: close\r\n" + END, timeout=5)
    assert [answer.status for answer in responses(received)] == [int(status[:3])] * 2


def test_http_1_0_gets_its_answer_and_the_end(gateway: Gateway):
    received, closed = gateway.raw(b"GET /public/x HTTP/1.0\r\n" + HOST + END)
    assert responses(received)[0].status == 200
    assert closed


def test_http_1_0_may_ask_to_stay(gateway: Gateway):
    keep = b"GET /public/x HTTP/1.0\r\n" + HOST + b"Connection: keep-alive\r\n" + END
    with gateway.connect() as peer:
        for _ in range(2):
            peer.sendall(keep)
            answer = read_response(peer)
            assert answer.status == 200
            assert "keep-alive" in (answer.get("connection") or "").lower()


def test_the_authority_of_an_absolute_target_replaces_host(gateway: Gateway, raw_upstream: FakeUpstream):
    data = (
        b"GET http://raw.demo.localhost/public/x HTTP/1.1\r\nHost: nobody.demo.localhost\r\nConnection: close\r\n\r\n"
    )
    assert responses(gateway.raw(data)[0])[0].status == 200
    assert raw_upstream.wait_for_requests(1)[0].get("host") == "raw.demo.localhost"


def test_a_slow_head_over_tls_arrives_whole(gateway: Gateway):
    with connect(gateway.https_port, gateway.tls, "raw.demo.localhost") as peer:
        for byte in GET + b"Connection: close\r\n" + END:
            peer.sendall(bytes([byte]))
        assert read_response(peer).status == 200
