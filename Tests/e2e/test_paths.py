"""The path that is judged is the path that the application gets: R01 to R06 and R09 to R11."""

import itertools
import random

import pytest
from support.gateway import Gateway, route
from support.spellings import (
    DJANGO_SECRET,
    FLASK_SECRET,
    OTHER_HOSTS,
    hosts_that_are_ours,
    of_path,
    queries,
)
from support.upstream import FakeUpstream
from support.wire import responses


def ask(gateway: Gateway, target: str, host: str = "raw", method: str = "GET", fields: str = ""):
    """One request by nobody; the target goes out exactly as it is."""
    data = f"{method} {target} HTTP/1.1\r\nHost: {host}.demo.localhost\r\n{fields}Connection: close\r\n\r\n"
    return responses(gateway.raw(data.encode("latin-1"))[0], method)[0]


@pytest.fixture
def as_user(gateway: Gateway) -> str:
    return f"Cookie: gateway_session={gateway.as_user('user@example.com').cookies['gateway_session']}\r\n"


def test_R01_the_query_opens_nothing(gateway: Gateway, raw_upstream: FakeUpstream):
    targets = list(itertools.product(("/admin", "/admin/", "/admin/x", "/%61dmin/x"), queries(1)))
    assert len(targets) > 700
    for path, query in targets:
        assert ask(gateway, f"{path}?{query}").status == 401, f"{path}?{query}"
    for query in ("#", "/public/#", "x=/public/\\"):
        assert ask(gateway, f"/admin/x?{query}").status == 400, query
    assert not raw_upstream.requests


def test_R01_the_query_closes_nothing_and_arrives_as_it_was(gateway: Gateway, raw_upstream: FakeUpstream):
    wanted = [query.replace("public", "admin") for query in queries(2)]
    for query in wanted:
        assert ask(gateway, f"/public/x?{query}").status == 200, query
    assert [request.target for request in raw_upstream.requests] == [f"/public/x?{query}" for query in wanted]


def test_R02_a_raw_number_sign_is_400(gateway: Gateway, raw_upstream: FakeUpstream):
    for target in ("/public/x#", "/public/#/../admin/x", "/admin/x#/public/", "/#", "/public/x?a#b"):
        assert ask(gateway, target).status == 400, target
    assert not raw_upstream.requests


def test_R02_an_encoded_number_sign_stays_data(gateway: Gateway, raw_upstream: FakeUpstream):
    assert ask(gateway, "/public/x%23y").status == 200
    assert ask(gateway, "/admin/x%23/public/y").status == 401
    assert [request.target for request in raw_upstream.requests] == ["/public/x%23y"]


@pytest.mark.parametrize("name", ["X-Forwarded-Uri", "X-Original-URL", "X-Original-URI", "X-Rewrite-URL"])
def test_R03_no_field_chooses_the_path(gateway: Gateway, raw_upstream: FakeUpstream, name: str):
    assert ask(gateway, "/admin/x", fields=f"{name}: /public/x\r\n").status == 401
    assert ask(gateway, "/public/x", fields=f"{name}: /admin/x\r\n").status == 200
    assert [request.target for request in raw_upstream.requests] == ["/public/x"]


def test_R04_dot_segments_are_resolved_before_the_match_and_sent_so(gateway: Gateway, raw_upstream: FakeUpstream):
    assert ask(gateway, "/public/../admin/x").status == 401
    assert ask(gateway, "/public/./../admin/./x").status == 401
    assert ask(gateway, "/admin/../public/./x").status == 200
    assert ask(gateway, "/public/a/b/../../x/.").status == 200
    assert [request.target for request in raw_upstream.requests] == ["/public/x", "/public/x/"]


@pytest.mark.parametrize("target", ["/..", "/../x", "/public/../../x", "/public/x/../../../public/x"])
def test_R04_nobody_climbs_above_the_root(gateway: Gateway, raw_upstream: FakeUpstream, target: str):
    assert ask(gateway, target).status == 400
    assert not raw_upstream.requests


def test_R05_parameters_inside_dot_segments_are_400(gateway: Gateway, raw_upstream: FakeUpstream):
    dots = ("..", ".", "%2e%2e", ".%2e", "%2e.", "%2E", "%2e")
    parameters = (";", ";x", ";x=1", ";/", ";..", "%3b")
    targets = [f"/public/{dot}{parameter}/admin/x" for dot in dots for parameter in parameters]
    assert len(targets) >= 40
    for target in targets:
        status = ask(gateway, target).status
        encoded_only = "%3b" in target
        assert status in ((200, 400) if encoded_only else (400,)), f"{target}: {status}"
    for request in raw_upstream.requests:
        assert request.target.startswith("/public/")
        assert "/../" not in request.target.lower().replace("%2e", ".")


def test_R05_other_parameters_are_kept(gateway: Gateway, raw_upstream: FakeUpstream):
    assert ask(gateway, "/public/x;a=1/y;b").status == 200
    assert raw_upstream.requests[0].target == "/public/x;a=1/y;b"


@pytest.mark.parametrize("byte", ["%00", "%2f", "%2F", "%5c", "%5C", "%01", "%0a", "%0d", "%1f", "%7f"])
def test_R06_bytes_that_applications_read_in_two_ways_are_400(gateway: Gateway, raw_upstream, byte: str):
    for target in (f"/public/x{byte}y", f"/public{byte}x", f"/public/..{byte}admin/x"):
        assert ask(gateway, target).status in (400, 404), target
    assert ask(gateway, f"/public/x{byte}y").status == 400
    assert not raw_upstream.requests


@pytest.mark.parametrize("byte", ["%23", "%25", "%3B", "%3F"])
def test_R06_encoded_delimiters_stay_data(gateway: Gateway, raw_upstream: FakeUpstream, byte: str):
    assert ask(gateway, f"/public/x{byte}y").status == 200
    assert raw_upstream.requests[0].target == f"/public/x{byte}y"


def test_R06_nothing_is_decoded_twice(gateway: Gateway, raw_upstream: FakeUpstream):
    assert ask(gateway, "/public/%252e%252e/admin/x").status == 200
    assert ask(gateway, "/%2561dmin/x").status == 404
    assert ask(gateway, "/public/x%252fy").status == 200
    assert [request.target for request in raw_upstream.requests] == ["/public/%252e%252e/admin/x", "/public/x%252fy"]


def test_R06_a_route_may_list_the_encoded_slash(gateway: Gateway, raw_upstream: FakeUpstream, as_user: str):
    assert ask(gateway, "/files/a%2fb", fields=as_user).status == 200
    assert ask(gateway, "/files/a%5cb", fields=as_user).status == 400
    assert ask(gateway, "/files/..%2fadmin%2fx", fields=as_user).status == 400
    assert ask(gateway, "/files%2f..%2fadmin/x", fields=as_user).status in (400, 404)
    assert [request.target for request in raw_upstream.requests] == ["/files/a%2Fb"]


@pytest.mark.parametrize("target", ["/public/%", "/public/%4", "/public/%zz", "/public/%4g", "/public/%%31"])
def test_bad_escapes_are_400(gateway: Gateway, raw_upstream: FakeUpstream, target: str):
    assert ask(gateway, target).status == 400
    assert not raw_upstream.requests


@pytest.mark.parametrize(
    "target", ["/public/\\x", "/public\\..\\admin", "/public/\x7f", "/public/\xe4", "/public/\x01"]
)
def test_raw_bytes_that_need_encoding_are_400(gateway: Gateway, raw_upstream: FakeUpstream, target: str):
    assert ask(gateway, target).status == 400
    assert not raw_upstream.requests


def test_unreserved_bytes_are_decoded_and_hex_is_upper_case(gateway: Gateway, raw_upstream: FakeUpstream):
    assert ask(gateway, "/p%75blic/%7e%41%c3%a4%3d").status == 200
    assert ask(gateway, "/%61dmin/x").status == 401
    assert [request.target for request in raw_upstream.requests] == ["/public/~A%C3%A4%3D"]


def test_64_segments_pass_and_65_do_not(gateway: Gateway):
    assert ask(gateway, "/public" + "/x" * 63).status == 200
    assert ask(gateway, "/public" + "/x" * 64).status == 400


def test_R08_the_host_has_no_case_and_the_path_has(gateway: Gateway):
    assert ask(gateway, "/public/x", host="RAW").status == 200
    assert ask(gateway, "/PUBLIC/x").status == 404
    assert ask(gateway, "/Admin/x").status == 404


def test_R09_no_spelling_opens_the_reports_of_the_real_flask(gateway: Gateway):
    """On this host all but the reports is public: whatever Flask routes to them must have been judged as them."""
    targets = sorted(set(of_path("/reports")) | set(of_path("/api/reports")))
    chosen = random.Random(9).sample(targets, 1_500) + [t for t in targets if t.count("%") == 0][:300]
    for target in chosen:
        answer = ask(gateway, target, host="open")
        assert FLASK_SECRET not in answer.body, f"{target} got {answer.status}"
    # The same request, by somebody who may, shows what the test looks for.
    bearer = f"Authorization: Bearer {gateway.mint()}\r\n"
    assert FLASK_SECRET in ask(gateway, "/reports", host="open", fields=bearer).body


def test_R09_no_spelling_opens_the_invoices_of_the_real_django(gateway: Gateway):
    """On this host all but the invoices and the admin site is public, as `open` is for Flask."""
    targets = sorted(set(of_path("/invoices/")) | set(of_path("/admin/login/")))
    chosen = random.Random(10).sample(targets, 1_200) + [t for t in targets if t.count("%") == 0][:300]
    answered = 0
    for target in chosen:
        answer = ask(gateway, target, host="opendjango")
        assert not DJANGO_SECRET.search(answer.body), f"{target} got {answer.status}"
        answered += answer.status not in (400, 401)
    assert answered > 100, "hardly any spelling reached the application"
    # What the test looks for is there, for those who may.
    bearer = f"Authorization: Bearer {gateway.mint('sales@example.com', 'invoices:read')}\r\n"
    assert DJANGO_SECRET.search(ask(gateway, "/invoices/", host="opendjango", fields=bearer).body)
    cookie = gateway.as_user("admin@example.com").cookies["gateway_session"]
    fields = f"Cookie: gateway_session={cookie}\r\n"
    assert DJANGO_SECRET.search(ask(gateway, "/admin/", host="opendjango", fields=fields).body)
    assert ask(gateway, "/", host="opendjango").status == 200


def test_R09_runs_of_slashes(gateway: Gateway, raw_upstream: FakeUpstream):
    assert ask(gateway, "//admin/x").status == 400
    assert ask(gateway, "///admin/x").status == 400
    # With the run merged another rule would hold.
    assert ask(gateway, "/public//x").status == 200
    assert ask(gateway, "/admin//x").status == 401
    assert [request.target for request in raw_upstream.requests] == ["/public//x"]


def test_R09_two_readings_with_two_rules_are_400(upstream: FakeUpstream, start_gateway):
    routes = [
        route("raw", "/**", public=True),
        route("raw", "/a/b", require={"roles": ["admin"]}),
    ]
    own = start_gateway({"raw": upstream.port}, {"routes": routes})
    assert ask(own, "/a//b").status == 400
    assert ask(own, "/a/c//d").status == 200
    assert ask(own, "/a/b").status == 401
    assert [request.target for request in upstream.requests] == ["/a/c//d"]


@pytest.mark.parametrize("target", ["/public/%C3%28", "/public/%ff", "/public/%c0%af", "/public/%ed%a0%80"])
def test_R10_invalid_utf8_is_400(gateway: Gateway, raw_upstream: FakeUpstream, target: str):
    assert ask(gateway, target).status == 400
    assert not raw_upstream.requests


def test_R11_each_spelling_of_a_host_has_the_same_rules(gateway: Gateway, raw_upstream: FakeUpstream):
    spellings = hosts_that_are_ours(11)
    assert len(spellings) > 200
    for host in spellings:
        for path, status in (("/admin/x", 401), ("/public/x", 200), ("/nothing", 404)):
            data = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
            assert responses(gateway.raw(data)[0])[0].status == status, (host, path)
            if path == "/admin/x":
                absolute = f"GET http://{host}{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
                assert responses(gateway.raw(absolute)[0])[0].status == status, (host, "absolute")
    assert {request.target for request in raw_upstream.requests} == {"/public/x"}


@pytest.mark.parametrize("host", OTHER_HOSTS)
def test_R11_a_host_that_only_looks_like_ours_has_none(gateway: Gateway, raw_upstream: FakeUpstream, host: str):
    data = f"GET /public/x HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode("latin-1")
    assert responses(gateway.raw(data)[0])[0].status in (400, 404)
    assert not raw_upstream.requests


def test_R12_health_is_answered_on_the_admin_listener_alone(gateway: Gateway, raw_upstream: FakeUpstream):
    for path in ("/readyz", "/metrics", "/healthz", "/ping"):
        assert ask(gateway, path).status == 404
    assert ask(gateway, "/admin/x", fields="User-Agent: kube-probe/1.30\r\n").status == 401
    assert ask(gateway, "/admin/x", fields="User-Agent: GoogleHC/1.0\r\n").status == 401
    assert not raw_upstream.requests


def test_R121_a_method_override_is_ignored(gateway: Gateway, raw_upstream: FakeUpstream):
    body = "X-HTTP-Method-Override: GET\r\nX-Method-Override: GET\r\nContent-Length: 0\r\n"
    assert ask(gateway, "/api/reports", host="flask", method="DELETE", fields=body).status == 405
