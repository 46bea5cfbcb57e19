"""A reporting application as many companies still run one.

It keeps its own signed ``session`` cookie, trusts the proxy in front of it, and believes whoever
``X-Auth-User`` names. It knows nothing of passwords, tokens, scopes or limits: the gateway does, and
the application must therefore be reachable through the gateway only.
"""

import hashlib
import os
import secrets
import time

import jwt
from flask import Flask, Response, jsonify, render_template, request, session
from flask_sock import Sock
from werkzeug.middleware.proxy_fix import ProxyFix

# Beginnings of the field names that speak of a person or of the connection; whoami shows their values.
IDENTITY_FIELDS = ("x-auth", "x-forwarded", "forwarded", "remote-", "x-real-ip", "x-original", "x-request-id")

UPLOAD_BLOCK_BYTES = 64 * 1024
SLOW_SECONDS_MAX = 60.0
STREAM_CHUNKS_MAX = 10_000
STREAM_CHUNK_BYTES_MAX = 1024 * 1024

app = Flask(__name__)
# Without a key from outside, visits are counted anew after each start.
app.secret_key = os.environ.get("FLASK_SECRET_KEY") or secrets.token_hex(32)
# Exactly one proxy stands in front of this application.
app.wsgi_app = ProxyFix(app.wsgi_app, x_for=1, x_proto=1, x_host=1)
sock = Sock(app)

# Where the gateway publishes its keys; with it, whoami shows whom the gateway has signed for.
KEYS = jwt.PyJWKClient(os.environ["GATEWAY_JWKS_URL"]) if "GATEWAY_JWKS_URL" in os.environ else None
ASSERTION_AUDIENCE = os.environ.get("GATEWAY_ASSERTION_AUDIENCE", "flask")

reports = [
    {"id": 1, "title": "Payroll, first quarter", "author": "finance"},
    {"id": 2, "title": "Travel costs", "author": "finance"},
]


def current_user():
    """The name that the gateway gave us, or None for a visitor who is not signed in."""
    return request.headers.get("X-Auth-User")


def asserted_claims():
    """What the gateway has signed about the user, or None: for applications that others can reach as well."""
    if KEYS is None or "X-Auth-Assertion" not in request.headers:
        return None
    assertion = request.headers["X-Auth-Assertion"]
    try:
        key = KEYS.get_signing_key_from_jwt(assertion)
        return jwt.decode(
            assertion, key, ["ES256"], audience=ASSERTION_AUDIENCE, options={"require": ["exp", "iat", "aud", "sub"]}
        )
    except jwt.PyJWTError:
        return None


@app.get("/")
def index():
    session["visits"] = session.get("visits", 0) + 1
    return render_template("index.html", user=current_user(), visits=session["visits"])


@app.get("/reports")
def report_page():
    return render_template("reports.html", user=current_user(), reports=reports)


@app.get("/api/reports")
def list_reports():
    return jsonify(user=current_user(), reports=reports)


@app.post("/api/reports")
def add_report():
    title = (request.get_json(silent=True) or {}).get("title")
    if not isinstance(title, str) or not title.strip():
        return jsonify(error="A report needs a title."), 400
    report = {"id": len(reports) + 1, "title": title.strip(), "author": current_user()}
    reports.append(report)
    return jsonify(report), 201


@app.route("/upload", methods=["POST", "PUT"])
def upload():
    """Reads the body block by block, whatever its size, and says what arrived."""
    size = 0
    digest = hashlib.sha256()
    while block := request.stream.read(UPLOAD_BLOCK_BYTES):
        size += len(block)
        digest.update(block)
    return jsonify(size=size, sha256=digest.hexdigest())


@app.get("/slow")
def slow():
    seconds = min(max(request.args.get("seconds", 1.0, float), 0.0), SLOW_SECONDS_MAX)
    time.sleep(seconds)
    return jsonify(waited=seconds)


@app.get("/stream")
def stream():
    """Sends ``chunks`` chunks of ``bytes`` bytes, one each ``seconds``, without saying how much will come."""
    count = min(max(request.args.get("chunks", 5, int), 0), STREAM_CHUNKS_MAX)
    size = min(max(request.args.get("bytes", 64, int), 1), STREAM_CHUNK_BYTES_MAX)
    pause = min(max(request.args.get("seconds", 0.0, float), 0.0), SLOW_SECONDS_MAX)

    def chunks():
        for number in range(count):
            if number:
                time.sleep(pause)
            yield f"{number}:".encode().ljust(size - 1, b".")[: size - 1] + b"\n"

    return Response(chunks(), mimetype="text/plain")


@app.get("/limited")
def limited():
    return jsonify(message="You have not asked too often yet.", user=current_user())


@app.get("/whoami")
def whoami():
    fields = request.headers
    return jsonify(
        application="flask",
        user=current_user(),
        asserted_claims=asserted_claims(),
        identity_headers={name: value for name, value in fields if name.lower().startswith(IDENTITY_FIELDS)},
        header_names=sorted(name for name, _ in fields),
        cookie_names=sorted(request.cookies),
        remote_address=request.remote_addr,
        scheme=request.scheme,
        host=request.host,
        method=request.method,
        path=request.path,
    )


@sock.route("/ws")
def echo(connection):
    """Answers each message with the user's name and the message."""
    while True:
        connection.send(f"{current_user()}: {connection.receive()}")
