"""The tests' own parser, on which the judgement of the others rests."""

import pytest
from support.wire import Incomplete, Malformed, responses, take_request, take_response

HEAD = b"POST / HTTP/1.1\r\nHost: a\r\n"


def test_a_request_is_read_with_its_body_and_the_rest_is_left():
    message, rest = take_request(HEAD + b"Content-Length: 2\r\n\r\nabGET")
    assert (message.method, message.target, message.body, rest) == ("POST", "/", b"ab", b"GET")


def test_chunks_and_trailers_are_decoded():
    message, rest = take_request(HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1;x\r\nc\r\n0\r\nT: v\r\n\r\n")
    assert (message.body, message.trailers, rest) == (b"abc", [("T", "v")], b"")


@pytest.mark.parametrize(
    "data",
    [
        HEAD + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\nab",
        HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        HEAD + b"Host: b\r\n\r\n",
        HEAD + b"A : b\r\n\r\n",
        HEAD + b"A: b\n\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n0x2\r\nab\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / x HTTP/1.1\r\nHost: a\r\n\r\n",
    ],
)
def test_what_breaks_the_grammar_is_malformed(data: bytes):
    with pytest.raises(Malformed):
        take_request(data)


def test_every_prefix_of_a_request_is_incomplete():
    data = HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n"
    for length in range(len(data)):
        with pytest.raises(Incomplete):
            take_request(data[:length])
    assert take_request(data)[1] == b""


def test_a_response_to_head_has_no_body():
    data = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nHTTP/1.1 204 \r\n\r\n"
    assert [message.status for message in responses(data, "HEAD", "GET")] == [200, 204]


def test_a_body_that_lasts_until_the_close_needs_the_close():
    data = b"HTTP/1.1 200 OK\r\n\r\nabc"
    assert take_response(data, closed=True)[0].body == b"abc"
    with pytest.raises(Incomplete):
        take_response(data, closed=False)
