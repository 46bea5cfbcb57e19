import HTTPTypes
import IdentityModel
import JOSE
import Storage
import Testing

@testable import IdentityService

@Suite struct PageTests {
    private func form(_ csrf: String, _ name: String = "john", _ password: String = Harness.password, rd: String = "/x")
        -> [(String, String)]
    {
        [("username", name), ("password", password), ("rd", rd), ("csrf", csrf)]
    }

    @Test func `a browser signs in with the form and goes where it came from`() async throws {
        let harness = try await Harness()
        try await harness.addUser()
        let page = try await harness.send(.get, "/auth/login?rd=%2Freports%3Fyear%3D2026")
        #expect(page.status == 200)
        #expect(page["Content-Type"] == "text/html; charset=utf-8")
        #expect(page.hiddenField("rd") == "/reports?year=2026")
        let (csrf, cookie) = (
            try #require(page.hiddenField("csrf")), try #require(page.cookiePair(named: "__Host-gateway_login"))
        )
        let answer = try await harness.submit(
            form(csrf, rd: "/reports?year=2026"), fields: [("Cookie", cookie), ("Origin", "null")])
        #expect(answer.status == 303)
        #expect(answer["Location"] == "/reports?year=2026")
        #expect(answer["Cache-Control"] == "no-store")
        let session = try #require(answer.cookiePair(named: "__Host-gateway_session"))
        #expect(try await harness.verify(session).json?["authenticated"] == true)
    }

    @Test(arguments: ["//evil.com", "https://evil.com/", "/\\evil.com", "javascript:alert(1)", "/%2f/evil.com"])
    func `R60: neither the page, nor signing in, nor signing out leads to a foreign place`(rd: String) async throws {
        let harness = try await Harness()
        try await harness.addUser()
        let page = try await harness.send(.get, "/auth/login?rd=\(PercentEncoding.encode(rd))")
        #expect(page.hiddenField("rd") == "/")
        #expect(!page.text.contains("evil") && page["Content-Security-Policy"]?.contains("evil") == false)
        let (csrf, cookie) = try await harness.openForm()
        let answer = try await harness.submit(form(csrf, rd: rd), fields: [("Cookie", cookie)])
        #expect(answer.status == 303)
        #expect(answer["Location"] == "/")
        let session = try #require(answer.cookiePair(named: "__Host-gateway_session"))
        let signOut = try await harness.openForm("/auth/logout?rd=\(PercentEncoding.encode(rd))", cookie: session)
        let out = try await harness.submit(
            [("csrf", signOut.csrf), ("rd", rd)], to: "/auth/logout",
            fields: [("Cookie", "\(session); \(signOut.cookie)")])
        #expect(out.status == 200)
        #expect(out["Location"] == nil)
    }

    @Test func `a place on an allowed host is where the form may lead, and the policy of the page says so`()
        async throws
    {
        let harness = try await Harness { $0.allowedReturn = AllowedReturn(cookieDomain: "example.com") }
        try await harness.addUser()
        let place = "https://app.example.com:8443/x"
        let page = try await harness.send(.get, "/auth/login?rd=\(PercentEncoding.encode(place))")
        #expect(page["Content-Security-Policy"]?.contains("form-action 'self' https://app.example.com:8443;") == true)
        let (csrf, cookie) = try await harness.openForm()
        let answer = try await harness.submit(form(csrf, rd: place), fields: [("Cookie", cookie)])
        #expect(answer["Location"] == place)
    }

    @Test func `R61: pages run no script, load nothing, are framed by nobody and stored by nobody`() async throws {
        let harness = try await Harness()
        for path in ["/auth/login", "/auth/logout"] {
            let first = try await harness.send(.get, path)
            let policy = try #require(first["Content-Security-Policy"])
            let nonce = try #require(policy.split(separator: "'nonce-").last?.split(separator: "'").first)
            #expect(
                policy == "default-src 'none'; style-src 'nonce-\(nonce)'; form-action 'self'; "
                    + "frame-ancestors 'none'; base-uri 'none'")
            #expect(first.text.contains("<style nonce=\"\(nonce)\">"))
            #expect(!first.text.contains("<script") && !first.text.contains("style=\"") && !first.text.contains("http"))
            #expect(first["Cache-Control"] == "no-store")
            #expect(first["Referrer-Policy"] == "no-referrer")
            #expect(first["X-Content-Type-Options"] == "nosniff")
            #expect(try await harness.send(.get, path)["Content-Security-Policy"] != policy)
        }
    }

    @Test(arguments: ["\"><script>alert(1)</script>", "'><img src=x onerror=alert(1)>", "<\u{338}script>"])
    func `R61: nothing that was typed comes back as HTML`(text: String) async throws {
        let harness = try await Harness()
        let (csrf, cookie) = try await harness.openForm()
        let answer = try await harness.submit(form(csrf, text, text, rd: "/" + text), fields: [("Cookie", cookie)])
        #expect(answer.status == 401)
        #expect(!answer.text.contains("alert(1)") && !answer.text.contains("script"))
        let path = try await harness.send(.get, "/auth/login?rd=" + PercentEncoding.encode("/a'b&c"))
        #expect(path.hiddenField("rd") == "/a&#39;b&amp;c")
    }

    @Test func `whoever is signed in sees it, and is not sent on`() async throws {
        let harness = try await Harness()
        try await harness.addUser()
        let session = try await harness.signedIn()
        let page = try await harness.send(.get, "/auth/login?rd=/x", fields: [("Cookie", session)])
        #expect(page.status == 200)
        #expect(page.text.contains("<strong>john</strong>"))
        #expect(page.text.contains("<a href=\"/x\">Continue</a>"))
    }

    @Test func `the answers of the form: wrong, too many, busy`() async throws {
        let harness = try await Harness()
        try await harness.addUser()
        let (csrf, cookie) = try await harness.openForm()
        for _ in 0..<5 {
            let wrong = try await harness.submit(form(csrf, "john", "wrong"), fields: [("Cookie", cookie)])
            #expect(wrong.status == 401)
            #expect(wrong.text.contains("The name or the password is not right."))
            #expect(wrong.hiddenField("rd") == "/x")
            #expect(wrong.cookiePair(named: "__Host-gateway_session") == nil)
        }
        let limited = try await harness.submit(form(csrf), fields: [("Cookie", cookie)])
        #expect(limited.status == 429)
        #expect(limited["Retry-After"] == "60")
        #expect(limited.cookiePair(named: "__Host-gateway_session") == nil)
        harness.throttle.fail(with: StoreError("away"))
        let busy = try await harness.submit(form(csrf), fields: [("Cookie", cookie)])
        #expect(busy.status == 503)
        #expect(busy["Retry-After"] == "2")
    }

    // MARK: Cross-site requests

    @Test func `a form is refused without its token, with another browser's, another form's or an old one`()
        async throws
    {
        let harness = try await Harness()
        try await harness.addUser()
        let mine = try await harness.openForm()
        let theirs = try await harness.openForm()
        let signOut = try await harness.openForm("/auth/logout")
        let tries: [(csrf: String?, cookie: String?)] = [
            (nil, mine.cookie), ("", mine.cookie), ("x", mine.cookie), (theirs.csrf, mine.cookie),
            (mine.csrf, theirs.cookie),
            (mine.csrf, nil), (mine.csrf, "__Host-gateway_login="), (mine.csrf, "\(mine.cookie); \(mine.cookie)"),
            (signOut.csrf, signOut.cookie), (String(mine.csrf.dropLast()), mine.cookie),
        ]
        for (csrf, cookie) in tries {
            let fields = form(csrf ?? "").filter { $0.0 != "csrf" || csrf != nil }
            let answer = try await harness.submit(fields, fields: cookie.map { [("Cookie", $0)] } ?? [])
            #expect(answer.status == 403)
            #expect(answer.cookiePair(named: "__Host-gateway_session") == nil)
            #expect(answer.hiddenField("csrf") != nil)
        }
        harness.clock.advance(by: 3600)
        #expect(try await harness.submit(form(mine.csrf), fields: [("Cookie", mine.cookie)]).status == 403)
        #expect(harness.throttle.keys.isEmpty)
    }

    @Test(arguments: [
        ("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Site", "same-site"), ("Origin", "https://evil.example"),
        ("Origin", "http://iam.example.com"),
    ])
    func `a right token does not help a page of another origin`(name: String, value: String) async throws {
        let harness = try await Harness()
        try await harness.addUser()
        let (csrf, cookie) = try await harness.openForm()
        let answer = try await harness.submit(form(csrf), fields: [("Cookie", cookie), (name, value)])
        #expect(answer.status == 403)
        #expect(answer.cookiePair(named: "__Host-gateway_session") == nil)
    }

    @Test func `a body that is no form is refused, whatever it holds`() async throws {
        let harness = try await Harness()
        let (csrf, cookie) = try await harness.openForm()
        for type in ["text/plain", "multipart/form-data", "application/json"] {
            let answer = try await harness.send(
                .post, "/auth/login", fields: [("Content-Type", type), ("Cookie", cookie)],
                body: "username=a&password=b&csrf=\(csrf)")
            #expect(answer.status == 400)
        }
        let twice = try await harness.submit(
            form(csrf) + [("username", "other")], fields: [("Cookie", cookie)])
        #expect(twice.status == 400)
    }

    @Test func `twenty tabs of one browser all sign in, in any order`() async throws {
        let harness = try await Harness()
        try await harness.addUser()
        let first = try await harness.openForm()
        var tokens = [first.csrf]
        for _ in 1..<20 {
            let tab = try await harness.openForm(cookie: first.cookie)
            #expect(tab.cookie == first.cookie)
            tokens.append(tab.csrf)
        }
        for csrf in tokens.shuffled() {
            #expect(try await harness.submit(form(csrf), fields: [("Cookie", first.cookie)]).status == 303)
            harness.clock.advance(by: 13)
        }
    }

    @Test func `tabs that opened at the same moment sign in too, on the browser's word that the form is ours`()
        async throws
    {
        let harness = try await Harness()
        try await harness.addUser()
        let (one, other) = (try await harness.openForm(), try await harness.openForm())
        let fields = [("Cookie", other.cookie), ("Sec-Fetch-Site", "same-origin")]
        #expect(try await harness.submit(form(one.csrf), fields: fields).status == 303)
        #expect(try await harness.submit(form("forged"), fields: fields).status == 403)
    }

    @Test func `a form that is open stays good over a restart`() async throws {
        let harness = try await Harness()
        let again = try await IdentityKeys.load(from: harness.database, now: 2)
        #expect(again.forms.matches(harness.keys.forms))
        #expect(again.signing.keyID == harness.keys.signing.keyID)
    }

    // MARK: Signing out

    @Test func `R64: signing out by page asks first, then ends the session`() async throws {
        let harness = try await Harness()
        try await harness.addUser()
        let session = try await harness.signedIn()
        let ask = try await harness.openForm("/auth/logout?rd=/bye", cookie: session)
        #expect(try await harness.verify(session).json?["authenticated"] == true)
        let refused = try await harness.submit(
            [("csrf", "x")], to: "/auth/logout", fields: [("Cookie", "\(session); \(ask.cookie)")])
        #expect(refused.status == 403)
        #expect(try await harness.verify(session).json?["authenticated"] == true)
        let done = try await harness.submit(
            [("csrf", ask.csrf), ("rd", "/bye")], to: "/auth/logout", fields: [("Cookie", "\(session); \(ask.cookie)")])
        #expect(done.status == 303)
        #expect(done["Location"] == "/bye")
        #expect(done.cookies == ["__Host-gateway_session=; Path=/; Max-Age=0; Secure; HttpOnly; SameSite=Lax"])
        #expect(try await harness.verify(session).json?["authenticated"] == false)
    }

    @Test func `a sign-out that the store did not take is not claimed`() async throws {
        let harness = try await Harness()
        try await harness.addUser()
        let session = try await harness.signedIn()
        let ask = try await harness.openForm("/auth/logout", cookie: session)
        harness.database.close()
        let answer = try await harness.submit(
            [("csrf", ask.csrf)], to: "/auth/logout", fields: [("Cookie", "\(session); \(ask.cookie)")])
        #expect(answer.status == 503)
        #expect(answer.cookies.isEmpty)
        #expect(answer.text.contains("You are still signed in"))
    }
}
