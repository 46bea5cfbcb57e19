"""The line from end to end, once: a public page, no credential, a token, a missing right."""

import pytest
import requests
from support.gateway import Gateway


def test_a_public_page_comes_through_tls(gateway: Gateway):
    answer = gateway.get("flask", "/")
    assert answer.status_code == 200
    assert "This page is public" in answer.text


def test_the_second_application_answers_on_its_own_host(gateway: Gateway):
    assert "Invoices" in gateway.get("django", "/").text


def test_static_files_are_public(gateway: Gateway):
    assert gateway.get("flask", "/static/app.css").status_code == 200
    assert gateway.get("django", "/static/admin/css/base.css").status_code == 200


def test_without_a_credential_a_program_gets_401_and_learns_where_to_sign_in(gateway: Gateway):
    answer = gateway.get("flask", "/api/reports")
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    said = answer.json()
    assert {"error", "message", "login_url", "request_id"} <= said.keys()
    assert said["login_url"].startswith(gateway.url("iam", "/auth/login"))
    assert "Payroll" not in answer.text


def test_without_a_credential_a_browser_is_sent_to_the_sign_in_page(gateway: Gateway):
    answer = gateway.get("flask", "/reports", headers={"Sec-Fetch-Mode": "navigate", "Accept": "text/html"})
    assert answer.status_code == 302
    assert answer.headers["Location"].startswith(gateway.url("iam", "/auth/login"))


def test_a_token_names_its_user_to_the_application(gateway: Gateway):
    bearer = {"Authorization": f"Bearer {gateway.mint('user@example.com', 'reports:read')}"}
    assert gateway.get("flask", "/api/reports", headers=bearer).status_code == 200
    said = gateway.get("flask", "/whoami", headers=bearer).json()
    assert said["user"] and said["identity_headers"]["X-Auth-User"] == said["user"]
    assert said["identity_headers"]["X-Auth-Scopes"] == "reports:read"
    assert "Authorization" not in said["header_names"], "the credential is used up at the gateway"


def test_a_token_and_a_session_name_the_same_user(gateway: Gateway):
    by_token = gateway.get("flask", "/whoami", headers={"Authorization": f"Bearer {gateway.mint()}"}).json()
    by_session = gateway.as_user("user@example.com").get(gateway.url("flask", "/whoami")).json()
    assert by_token["user"] == by_session["user"]
    for name in ("X-Auth-User", "X-Auth-Subject"):
        assert by_token["identity_headers"][name] == by_session["identity_headers"][name]


def test_a_missing_scope_is_403_and_named(gateway: Gateway):
    bearer = {"Authorization": f"Bearer {gateway.mint('user@example.com', 'reports:read')}"}
    with gateway.client() as client:
        answer = client.post(gateway.url("flask", "/api/reports"), json={"title": "Mine"}, headers=bearer)
    assert answer.status_code == 403
    assert "reports:write" in answer.text
    assert "insufficient_scope" in answer.headers.get("WWW-Authenticate", "") + answer.text


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "a.b.c.d.e", "eyJhbGciOiJub25lIn0.e30."])
def test_a_token_that_is_none_is_401_on_optional_routes_too(gateway: Gateway, token: str):
    for path in ("/api/reports", "/whoami"):
        answer = gateway.get("flask", path, headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == 401
        assert "application" not in answer.text, "the application was reached"


def test_a_changed_token_is_refused_whichever_byte_changed(gateway: Gateway):
    head, claims, signature = gateway.mint().split(".")
    spoiled = [
        f"{head}.{claims[:-2]}{'AA' if claims[-2:] != 'AA' else 'BB'}.{signature}",
        f"{head}.{claims}.{signature[:10]}{'A' if signature[10] != 'A' else 'B'}{signature[11:]}",
        *(f"{head}.{claims}.{signature}"[:length] for length in range(10, len(head) + len(claims), 40)),
    ]
    for token in spoiled:
        answer = gateway.get("flask", "/api/reports", headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == 401, token


def test_what_no_route_names_is_404(gateway: Gateway):
    assert gateway.get("flask", "/nothing").status_code == 404
    assert gateway.get("nobody", "/").status_code == 404


def test_a_method_that_no_rule_names_is_405(gateway: Gateway):
    with gateway.client() as client:
        answer = client.delete(gateway.url("flask", "/api/reports"))
    assert answer.status_code == 405
    assert {method.strip() for method in answer.headers["Allow"].split(",")} >= {"GET", "POST"}


def test_plain_http_is_redirected_to_https(gateway: Gateway):
    answer = requests.get(
        f"http://flask.demo.localhost:{gateway.redirect_port}/reports?year=2026", allow_redirects=False, timeout=10
    )
    assert answer.status_code in (301, 302, 307, 308)
    assert answer.headers["Location"] == gateway.url("flask", "/reports?year=2026")


def test_the_upstream_learns_of_the_connection_from_the_gateway_alone(gateway: Gateway):
    forged = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "gopher", "X-Forwarded-Host": "evil.example"}
    for host in ("flask", "django"):
        said = gateway.get(host, "/whoami", headers=forged).json()
        assert said["scheme"] == "https"
        assert said["host"] == f"{host}.demo.localhost:{gateway.https_port}"
        assert said["remote_address"] == "127.0.0.1"


def test_the_applications_own_session_cookie_works(gateway: Gateway):
    with gateway.client() as browser:
        assert "1 time." in browser.get(gateway.url("flask", "/")).text
        assert "2 times." in browser.get(gateway.url("flask", "/")).text


def test_the_admin_role_opens_the_admin_site(gateway: Gateway):
    assert gateway.as_user("admin@example.com").get(gateway.url("django", "/admin/")).status_code == 200
    assert gateway.as_user("user@example.com").get(gateway.url("django", "/admin/")).status_code == 403


def test_a_django_form_is_accepted_through_the_gateway(gateway: Gateway):
    client = gateway.as_user("sales@example.com")
    page = gateway.url("django", "/invoices/")
    assert client.get(page).status_code == 200
    form = {"customer": "Ruth", "amount": "12.50", "csrfmiddlewaretoken": client.cookies["csrftoken"]}
    answer = client.post(page, data=form, headers={"Origin": page.removesuffix("/invoices/"), "Referer": page})
    assert answer.status_code == 200
    assert "Ruth: 12.50" in answer.text


def test_what_each_account_may_do_follows_from_its_roles(gateway: Gateway):
    allowed = {
        "admin@example.com": {"/api/reports", "/invoices/"},
        "legal@example.com": {"/api/reports", "/invoices/"},
        "pm@example.com": {"/api/reports"},
        "sales@example.com": {"/invoices/"},
        "user@example.com": {"/api/reports"},
    }
    for user, paths in allowed.items():
        for host, path in (("flask", "/api/reports"), ("django", "/invoices/")):
            status = gateway.as_user(user).get(gateway.url(host, path)).status_code
            assert status == (200 if path in paths else 403), f"{user} {path}"
