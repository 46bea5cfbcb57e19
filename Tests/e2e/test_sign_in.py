"""Signing in and out by the API: the contract's shapes, the cookie, what ends a session and what does not."""

import itertools
import re
import statistics
from datetime import UTC, datetime
from pathlib import Path

import pytest
import requests
from support.gateway import ACCOUNTS, COOKIE, Gateway

USER = "user@example.com"
_addresses = (f"127.1.{high}.{low}" for high, low in itertools.product(range(1, 250), repeat=2))


@pytest.fixture(scope="module")
def own(_shared_gateway: Gateway, tmp_path_factory: pytest.TempPathFactory):
    """A gateway of this file's own: sign-in is limited by account, and its counts are no business of other tests."""
    upstreams = {name: int(of["endpoints"][0].split(":")[1]) for name, of in _upstreams(_shared_gateway)}
    with Gateway(tmp_path_factory.mktemp("sign-in"), upstreams) as gateway:
        yield gateway


def _upstreams(gateway: Gateway):
    return [(name, of) for name, of in gateway.configuration["upstreams"].items() if name != "raw"]


def sign_in(
    gateway: Gateway, name: str, password: str, client: requests.Session | None = None, **options
) -> requests.Response:
    """One attempt, from an address that nobody used before: the limit by address is another test's business."""
    client = client or gateway.client(next(_addresses))
    return client.post(
        gateway.url("iam", "/api/auth/login"), json={"username": name, "password": password}, timeout=20, **options
    )


def verify(gateway: Gateway, cookie: str | None) -> requests.Response:
    fields = {"Cookie": f"{COOKIE}={cookie}"} if cookie else {}
    return gateway.get("iam", "/api/auth/verify", headers={**fields, "Accept": "application/json"})


def may_read(gateway: Gateway, cookie: str) -> bool:
    status = gateway.get("flask", "/api/reports", headers={"Cookie": f"{COOKIE}={cookie}"}).status_code
    assert status in (200, 401)
    return status == 200


def test_sign_in_answers_in_the_contracts_shape(own: Gateway):
    answer = sign_in(own, "admin@example.com", ACCOUNTS["admin@example.com"])
    assert answer.status_code == 200
    said = answer.json()
    assert said.keys() == {"status", "user", "session_token", "expires_at"}
    assert said["status"] == "success"
    assert said["user"].keys() == {"user_id", "username", "display_name", "email", "roles"}
    assert isinstance(said["user"]["user_id"], int)
    assert said["user"]["email"] == "admin@example.com"
    assert said["user"]["roles"] == ["admin"]
    assert said["session_token"] == answer.cookies[COOKIE]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", said["expires_at"])
    left = datetime.fromisoformat(said["expires_at"]) - datetime.now(UTC)
    assert 7.9 * 3600 < left.total_seconds() <= 8 * 3600


def test_the_cookie_is_closed_to_scripts_and_other_sites(own: Gateway):
    answer = sign_in(own, "admin@example.com", ACCOUNTS["admin@example.com"])
    fields = [value for value in answer.raw.headers.getlist("Set-Cookie") if value.startswith(f"{COOKIE}=")]
    assert len(fields) == 1
    attributes = {part.strip().lower() for part in fields[0].split(";")[1:]}
    assert {"secure", "httponly", "samesite=lax", "path=/", "domain=demo.localhost"} <= attributes
    value = fields[0].split(";")[0].split("=", 1)[1]
    assert len(value) >= 43, "256 bits do not fit into fewer characters"


def test_every_account_signs_in_once_and_gets_its_own_session(own: Gateway):
    cookies = {sign_in(own, name, password).cookies[COOKIE] for name, password in list(ACCOUNTS.items())[1:]}
    assert len(cookies) == len(ACCOUNTS) - 1


def test_wrong_and_unknown_get_the_same_answer(own: Gateway):
    wrong = sign_in(own, "legal@example.com", "Legal@124")
    unknown = sign_in(own, "nobody@example.com", "Legal@124")
    assert wrong.status_code == unknown.status_code == 401
    assert wrong.json() == unknown.json() == {"status": "error", "message": "Invalid credentials"}
    assert COOKIE not in wrong.cookies and COOKIE not in unknown.cookies
    names = {name.lower() for name in wrong.headers} ^ {name.lower() for name in unknown.headers}
    assert not names


#: The priority of the threads that hash, which no other thread of the program has.
HASHING_NICENESS = 10


def hashing_seconds(gateway: Gateway) -> float:
    """The processor time that hashing has taken since the start."""
    total = 0
    for task in Path(f"/proc/{gateway.program.pid}/task").iterdir():
        niceness = int((task / "stat").read_text().rpartition(")")[2].split()[16])
        if niceness == HASHING_NICENESS:
            total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


def test_R74_an_unknown_account_costs_what_a_known_one_does(start_gateway, upstream):
    """Counted by the processor time of hashing, not by the clock, which other programs share: one hash for each."""
    gateway = start_gateway({"raw": upstream.port})
    known = [name for name in ACCOUNTS for _ in range(4)]
    unknown = [f"{name.partition('@')[0]}{number}@example.com" for number, name in enumerate(known)]
    costs: dict[str, list[float]] = {"known": [], "unknown": []}
    for names in zip(known, unknown, strict=True):
        for kind, name in zip(costs, names, strict=True):
            before = hashing_seconds(gateway)
            answer = sign_in(gateway, name, "wrong")
            costs[kind].append(hashing_seconds(gateway) - before)
            assert (answer.status_code, answer.json()) == (401, {"status": "error", "message": "Invalid credentials"})
    # The same hash with the same parameters: another pass or half the memory would be 30 % and more. One hash differs
    # from the next by a few per cent, by what the caches hold; all else that a sign-in does takes microseconds.
    middle = {kind: statistics.median(of) for kind, of in costs.items()}
    assert middle["known"] > 0.002, "nothing was hashed"
    assert middle["unknown"] == pytest.approx(middle["known"], rel=0.15)
    assert all(cost > middle["known"] / 2 for of in costs.values() for cost in of), "somebody was spared the hash"


def test_R74_who_is_held_up_is_held_up_alike_and_costs_nothing(start_gateway, upstream):
    gateway = start_gateway({"raw": upstream.port})
    answers = {}
    for name in (USER, "nobody@example.com"):
        start = hashing_seconds(gateway)
        assert [sign_in(gateway, name, "wrong").status_code for _ in range(5)] == [401] * 5
        before = hashing_seconds(gateway)
        answers[name] = sign_in(gateway, name, "wrong")
        # A thread that has answered still gives the memory of its hash back, which takes milliseconds.
        assert hashing_seconds(gateway) - before < (before - start) / 5 / 2, "a hash was made for nothing"
    known, unknown = answers.values()
    assert known.status_code == unknown.status_code == 429
    assert known.json().keys() == unknown.json().keys()
    assert {name for name in known.headers} == {name for name in unknown.headers}


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b'{"username": 1, "password": 2}', b'{"username": "x"}', b"\xff", b"[" * 100_000],
)
def test_a_body_that_is_no_request_is_refused(own: Gateway, body: bytes):
    answer = own.client(next(_addresses)).post(
        own.url("iam", "/api/auth/login"), data=body, headers={"Content-Type": "application/json"}, timeout=20
    )
    assert 400 <= answer.status_code < 500
    assert COOKIE not in answer.cookies


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_what_a_foreign_form_can_send_is_refused(own: Gateway, kind: str):
    body = '{"username": "pm@example.com", "password": "PM@123"}'
    answer = own.client(next(_addresses)).post(
        own.url("iam", "/api/auth/login"), data=body, headers={"Content-Type": kind} if kind else {}, timeout=20
    )
    assert 400 <= answer.status_code < 500
    assert COOKIE not in answer.cookies


def test_a_request_from_another_site_is_refused(own: Gateway):
    for fields in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        answer = sign_in(own, "pm@example.com", ACCOUNTS["pm@example.com"], headers=fields)
        assert 400 <= answer.status_code < 500
        assert COOKIE not in answer.cookies


def test_verify_tells_who_is_signed_in(own: Gateway):
    cookie = sign_in(own, "pm@example.com", ACCOUNTS["pm@example.com"]).cookies[COOKIE]
    answer = verify(own, cookie)
    assert answer.status_code == 200
    said = answer.json()
    assert said["authenticated"] is True
    assert said["user"].keys() == {"user_id", "username", "roles"}
    assert said["user"]["roles"] == ["pm"]


def test_verify_without_a_session_says_so(own: Gateway):
    for cookie in (None, "x", "A" * 43):
        answer = verify(own, cookie)
        assert answer.status_code == 200
        assert answer.json() == {"authenticated": False}


def test_R64_sign_out_ends_the_session_at_once_on_every_host(own: Gateway):
    client = own.client(next(_addresses))
    cookie = sign_in(own, "sales@example.com", ACCOUNTS["sales@example.com"], client).cookies[COOKIE]
    django = {"Cookie": f"{COOKIE}={cookie}"}
    # Enough connections for each worker to have seen, and remembered, the session.
    for _ in range(20):
        assert own.get("django", "/invoices/", headers=django).status_code == 200
    answer = client.post(own.url("iam", "/api/auth/logout"), timeout=20)
    assert answer.status_code == 200
    assert answer.json() == {"status": "success", "message": "Logged out"}
    for _ in range(20):
        assert own.get("django", "/invoices/", headers=django).status_code == 401
    assert verify(own, cookie).json() == {"authenticated": False}
    cleared = [value for value in answer.raw.headers.getlist("Set-Cookie") if value.startswith(f"{COOKIE}=")]
    assert cleared and ("max-age=0" in cleared[0].lower() or "1970" in cleared[0])


def test_a_dead_cookie_is_as_good_as_none_and_is_cleared(own: Gateway):
    for value in ("x", "A" * 43, "", '"', "%00", "a" * 4000):
        answer = own.get("flask", "/whoami", headers={"Cookie": f"{COOKIE}={value}"})
        assert answer.status_code == 200
        assert answer.json()["user"] is None
    answer = own.get("flask", "/api/reports", headers={"Cookie": f"{COOKIE}={'A' * 43}"})
    assert answer.status_code == 401
    assert any(value.startswith(f"{COOKIE}=;") for value in answer.raw.headers.getlist("Set-Cookie"))


def test_R88_no_part_of_a_session_token_is_one(own: Gateway):
    cookie = sign_in(own, "legal@example.com", ACCOUNTS["legal@example.com"]).cookies[COOKIE]
    assert may_read(own, cookie)
    for length in range(0, len(cookie), 3):
        assert not may_read(own, cookie[:length])
    assert not may_read(own, cookie + "A")
    assert not may_read(own, cookie.swapcase())


def test_a_session_cookie_sent_twice_counts_as_absent(own: Gateway):
    cookie = sign_in(own, "legal@example.com", ACCOUNTS["legal@example.com"]).cookies[COOKIE]
    answer = own.get("flask", "/api/reports", headers={"Cookie": f"{COOKIE}={cookie}; {COOKIE}=x"})
    assert answer.status_code == 401
    assert may_read(own, cookie), "the session itself goes on"


def test_R62_a_new_sign_in_ends_the_session_it_comes_with(own: Gateway):
    client = own.client(next(_addresses))
    first = sign_in(own, USER, ACCOUNTS[USER], client).cookies[COOKIE]
    second = sign_in(own, USER, ACCOUNTS[USER], client).cookies[COOKIE]
    assert first != second
    assert not may_read(own, first)
    assert may_read(own, second)


def test_R62_a_cookie_chosen_by_somebody_else_is_never_adopted(own: Gateway):
    client = own.client(next(_addresses))
    chosen = "B" * 43
    client.cookies.set(COOKIE, chosen, domain=".demo.localhost")
    answer = sign_in(own, USER, ACCOUNTS[USER], client)
    assert answer.status_code == 200
    assert answer.cookies[COOKIE] != chosen
    assert not may_read(own, chosen)


def test_sessions_survive_a_crash_and_a_restart(start_gateway, flask_port: int):
    gateway = start_gateway({"flask": flask_port})
    cookie = sign_in(gateway, USER, ACCOUNTS[USER]).cookies[COOKIE]
    token = gateway.mint()
    gateway.kill()
    gateway.start()
    assert may_read(gateway, cookie)
    bearer = {"Authorization": f"Bearer {token}"}
    assert gateway.get("flask", "/api/reports", headers=bearer).status_code == 200, "the signing key survives too"


def test_a_sign_out_survives_a_crash_too(start_gateway, flask_port: int):
    gateway = start_gateway({"flask": flask_port})
    client = gateway.client()
    cookie = sign_in(gateway, USER, ACCOUNTS[USER], client).cookies[COOKIE]
    assert client.post(gateway.url("iam", "/api/auth/logout"), timeout=20).status_code == 200
    gateway.kill()
    gateway.start()
    assert not may_read(gateway, cookie)


def test_R72_the_sixth_attempt_in_a_minute_on_an_account_is_429_however_it_is_spelled(start_gateway, upstream):
    gateway = start_gateway({"raw": upstream.port})
    spellings = ["user@example.com", "USER@example.com", "User@Example.COM", "user@EXAMPLE.com", "uSER@example.com"]
    for name in spellings:
        assert sign_in(gateway, name, "wrong").status_code == 401
    answer = sign_in(gateway, USER, ACCOUNTS[USER])
    assert answer.status_code == 429
    assert int(answer.headers["Retry-After"]) >= 1
    assert COOKIE not in answer.cookies
    assert sign_in(gateway, "pm@example.com", ACCOUNTS["pm@example.com"]).status_code == 200


def test_R72_the_sixth_attempt_in_a_minute_from_an_address_is_429(start_gateway, upstream):
    gateway = start_gateway({"raw": upstream.port})
    client = gateway.client("127.0.0.77")
    statuses = [sign_in(gateway, f"nobody{number}@example.com", "wrong", client).status_code for number in range(6)]
    assert statuses == [401] * 5 + [429]
    assert sign_in(gateway, USER, ACCOUNTS[USER]).status_code == 200, "another address is not held up"


def test_health_and_keys_in_the_contracts_shape(own: Gateway):
    said = own.get("iam", "/healthz").json()
    assert (said["status"], said["service"], said["database"]) == ("ok", "IAM", "connected")
    keys = own.get("iam", "/.well-known/jwks.json").json()["keys"]
    assert keys and all(key["kty"] == "EC" and key["kid"] and "d" not in key for key in keys)


def test_R118_sample_accounts_exist_only_with_dev(start_gateway, upstream):
    gateway = start_gateway({"raw": upstream.port})
    gateway.stop()
    refused = gateway.command("run", "--config", gateway.configuration_file, check=False)
    assert refused.returncode != 0
    assert "sample" in (refused.stderr + refused.stdout).lower()


def test_R116_no_secret_is_written_to_the_log(own: Gateway):
    password = "canary-PASSWORD-7f3a"
    sign_in(own, USER, password)
    sign_in(own, password, "x")
    cookie = sign_in(own, "admin@example.com", ACCOUNTS["admin@example.com"]).cookies.get(COOKIE, "none-given")
    own.get("flask", f"/api/reports?token={password}", headers={"Cookie": f"{COOKIE}={cookie}"})
    own.get("flask", "/api/reports", headers={"Authorization": f"Bearer {password}"})
    for secret in (password, cookie, *ACCOUNTS.values()):
        assert secret not in own.log()
