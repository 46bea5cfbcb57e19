import HTTPModel
import HTTPTypes
import IdentityModel
import JOSE
import Passwords
import Storage
import Testing

@testable import IdentityService

@Suite struct APITests {
    // MARK: EP01, sign-in

    @Test(arguments: ["john", "JOHN", "john@example.com", "John@Example.COM"])
    func `EP01: signs in by name or address, and answers in the contract's shape`(name: String) async throws {
        let harness = try await Harness()
        let user = try await harness.addUser(roles: ["reader", "auditor"])
        let answer = try await harness.apiLogin(name)
        #expect(answer.status == 200)
        #expect(answer["Content-Type"] == "application/json")
        #expect(answer["Cache-Control"] == "no-store")
        let json = try #require(answer.json?.object)
        #expect(json.members.map(\.name) == ["status", "user", "session_token", "expires_at"])
        #expect(json["status"] == "success")
        #expect(
            json["user"] == [
                "user_id": .integer(user.id), "username": "john", "display_name": "<john>",
                "email": "john@example.com", "roles": ["auditor", "reader"],
            ])
        #expect(json["expires_at"] == .string(utcTime(harness.clock.now + 8 * 3600)))
        let token = try #require(json["session_token"]?.string)
        #expect(
            answer.cookies == [
                "__Host-gateway_session=\(token); Path=/; Max-Age=28800; Secure; HttpOnly; SameSite=Lax"
            ])
        #expect(try await harness.verify("__Host-gateway_session=\(token)").status == 200)
    }

    @Test func `a user without an address has null for it, and the token can be kept out of the body`() async throws {
        let harness = try await Harness { $0.exposeSessionToken = false }
        let (username, password) = (try #require(LoginName("robot")), try #require(Password("secret")))
        let hash = try await harness.hasher.hash(password)
        let new = try #require(
            NewUser(username: username, email: nil, displayName: "Robot", passwordHash: Secret(hash)))
        _ = try await Directory(harness.database).create(new, now: 0).get()
        let answer = try await harness.apiLogin("robot", "secret")
        #expect(answer.status == 200)
        #expect(answer.json?["user"]?["email"] == .null)
        #expect(answer.json?["session_token"] == nil)
        let pair = try #require(answer.cookiePair(named: "__Host-gateway_session"))
        #expect(try await harness.verify(pair).json?["authenticated"] == true)
    }

    @Test func `R74: every way to be wrong has the same answer, byte for byte`() async throws {
        let harness = try await Harness()
        try await harness.addUser("john")
        let directory = Directory(harness.database)
        for (name, isActive, isLocked) in [("locked", true, true), ("inactive", false, false)] {
            let user = try await harness.addUser(name)
            #expect(try await directory.setState(isActive: isActive, isLocked: isLocked, of: user.id, now: 0))
        }
        let keyless = try #require(LoginName("keyless"))
        let nameless = try #require(
            NewUser(
                username: keyless, email: nil, displayName: "X",
                passwordHash: Secret("$unknown$format")))
        _ = try await directory.create(nameless, now: 0).get()
        let attempts = [
            ("john", "wrong"), ("nobody", Harness.password), ("locked", Harness.password), ("locked", "wrong"),
            ("inactive", Harness.password), ("keyless", Harness.password), ("keyless", "$unknown$format"),
            ("", Harness.password), ("john", ""), ("john doe", "x"), ("john\0", Harness.password),
            ("john", Harness.password + "\0"), ("john", String(repeating: "x", count: 257)),
            (String(repeating: "x", count: 300), "x"), ("%", "%"), ("' OR '1'='1", "' OR '1'='1"),
            ("john", Harness.password.lowercased()),
        ]
        for (index, (name, password)) in attempts.enumerated() {
            let answer = try await harness.apiLogin(name, password, address: "192.0.2.\(index)")
            #expect(answer.status == 401)
            #expect(answer.text == #"{"status":"error","message":"Invalid credentials"}"#)
            #expect(answer.cookies.isEmpty)
            #expect(answer["WWW-Authenticate"] == "Bearer")
            harness.clock.advance(by: 60)
        }
    }

    @Test(arguments: [
        ("text/plain", 415), ("application/x-www-form-urlencoded", 415), ("", 415), ("application/jsonx", 415),
        ("text/html; application/json", 415), ("application/json", 401), ("application/json; charset=utf-8", 401),
        ("Application/JSON", 401), ("application/json ;charset=utf-8", 401),
    ])
    func `sign-in reads only what is sent as JSON`(type: String, status: Int) async throws {
        let harness = try await Harness()
        let answer = try await harness.send(
            .post, "/api/auth/login", fields: type.isEmpty ? [] : [("Content-Type", type)],
            body: #"{"username":"a","password":"b"}"#)
        #expect(answer.status == status)
        #expect(answer.json?["status"] == "error")
    }

    @Test(arguments: [
        "", "{", "[]", "null", "\"x\"", "{}", #"{"username":"a"}"#, #"{"password":"a"}"#,
        #"{"username":1,"password":"a"}"#,
        #"{"username":"a","password":null}"#, #"{"username":["a"],"password":"a"}"#,
        #"{"username":"a","username":"b","password":"c"}"#, #"{"username":"a","password":"b"}x"#,
        #"{"username":"\ud800","password":"b"}"#,
    ])
    func `a body that is not the contract's is malformed`(body: String) async throws {
        let harness = try await Harness()
        let answer = try await harness.send(
            .post, "/api/auth/login", fields: [("Content-Type", "application/json")], body: body)
        #expect(answer.status == 400)
        #expect(answer.text == #"{"status":"error","message":"Malformed request"}"#)
    }

    @Test func `a body over the cap is refused on every path`() async throws {
        let harness = try await Harness()
        let large = String(repeating: " ", count: IdentityHandler.bodyBytesMax + 1)
        for path in ["/api/auth/login", "/auth/login", "/api/auth/logout", "/nowhere"] {
            #expect(try await harness.send(.post, path, body: large).status == 413)
        }
        let largest = #"{"username":"a","password":"b"}"#
        let padded = largest + String(repeating: " ", count: IdentityHandler.bodyBytesMax - largest.utf8.count)
        let answer = try await harness.send(
            .post, "/api/auth/login", fields: [("Content-Type", "application/json")], body: padded)
        #expect(answer.status == 401)
    }

    @Test(
        arguments: [
            ([("Sec-Fetch-Site", "cross-site")], false), ([("Sec-Fetch-Site", "same-site")], false),
            ([("Sec-Fetch-Site", "same-origin"), ("Sec-Fetch-Site", "cross-site")], false),
            ([("Origin", "https://evil.example")], false), ([("Origin", "http://iam.example.com")], false),
            ([("Origin", "https://iam.example.com.evil.example")], false),
            ([("Origin", "https://iam.example.com:444")], false),
            ([("Sec-Fetch-Site", "same-origin")], true), ([("Origin", "https://iam.example.com")], true), ([], true),
            ([("Sec-Fetch-Site", "cross-site"), ("Origin", "https://iam.example.com")], false),
        ] as [([(String, String)], Bool)])
    func `another site's page can neither sign in nor out`(fields: [(String, String)], isAccepted: Bool) async throws {
        let harness = try await Harness()
        try await harness.addUser()
        let login = try await harness.apiLogin(fields: fields)
        #expect(login.status == (isAccepted ? 200 : 403))
        #expect(login.cookies.isEmpty == !isAccepted)
        harness.clock.advance(by: 60)
        let cookie = try await harness.signedIn()
        let logout = try await harness.send(.post, "/api/auth/logout", fields: fields + [("Cookie", cookie)])
        #expect(logout.status == (isAccepted ? 200 : 403))
        #expect(try await harness.verify(cookie).json?["authenticated"] == .bool(!isAccepted))
    }

    // MARK: R62, R64: sessions begin and end

    @Test func `R62: signing in gives a new session and ends the one that was presented`() async throws {
        let harness = try await Harness()
        try await harness.addUser()
        let old = try await harness.signedIn()
        let second = try await harness.apiLogin(fields: [("Cookie", old)])
        let new = try #require(second.cookiePair(named: "__Host-gateway_session"))
        #expect(new != old)
        #expect(try await harness.verify(old).json?["authenticated"] == false)
        #expect(try await harness.verify(new).json?["authenticated"] == true)
    }

    @Test func `R62: a token that an attacker planted is not adopted`() async throws {
        let harness = try await Harness()
        try await harness.addUser()
        let planted = SessionToken.random().text.reveal()
        let answer = try await harness.apiLogin(fields: [("Cookie", "__Host-gateway_session=\(planted)")])
        #expect(answer.status == 200)
        #expect(!answer.cookies.joined().contains(planted))
        #expect(try await harness.verify("__Host-gateway_session=\(planted)").json?["authenticated"] == false)
    }

    @Test func `R62: a failed sign-in leaves the session that was there`() async throws {
        let harness = try await Harness()
        try await harness.addUser()
        let cookie = try await harness.signedIn()
        #expect(try await harness.apiLogin("john", "wrong", fields: [("Cookie", cookie)]).status == 401)
        #expect(try await harness.verify(cookie).json?["authenticated"] == true)
    }

    @Test func `EP03, R64: signing out ends the session at once, in the store and for every cache`() async throws {
        let harness = try await Harness()
        try await harness.addUser()
        let cookie = try await harness.signedIn()
        let key = try #require(SessionToken(String(cookie.dropFirst("__Host-gateway_session=".count)))?.key)
        let generation = harness.revocations.generation(of: key)
        let answer = try await harness.send(.post, "/api/auth/logout", fields: [("Cookie", cookie)])
        #expect(answer.status == 200)
        #expect(answer.text == #"{"status":"success","message":"Logged out"}"#)
        #expect(answer.cookies == ["__Host-gateway_session=; Path=/; Max-Age=0; Secure; HttpOnly; SameSite=Lax"])
        #expect(harness.revocations.generation(of: key) != generation)
        #expect(try await harness.verify(cookie).json?["authenticated"] == false)
        #expect(try await harness.handler.sessions.session(for: key, now: harness.clock.now) == nil)
        #expect(try await harness.send(.post, "/api/auth/logout", fields: [("Cookie", cookie)]).status == 200)
        #expect(try await harness.send(.post, "/api/auth/logout").status == 200)
    }

    @Test func `a new session that displaces an old one tells the caches`() async throws {
        let harness = try await Harness()
        try await harness.addUser()
        let cookie = try await harness.signedIn()
        let key = try #require(SessionToken(String(cookie.dropFirst("__Host-gateway_session=".count)))?.key)
        let generation = harness.revocations.generation(of: key)
        _ = try await harness.apiLogin(fields: [("Cookie", cookie)])
        #expect(harness.revocations.generation(of: key) != generation)
    }

    // MARK: EP02, verify

    @Test func `EP02: verify names the user of a session, and nobody without one`() async throws {
        let harness = try await Harness()
        let user = try await harness.addUser(roles: ["writer", "reader"])
        let cookie = try await harness.signedIn()
        let answer = try await harness.verify("other=1; \(cookie); more=2")
        #expect(answer.status == 200)
        #expect(
            answer.text
                == #"{"authenticated":true,"user":{"user_id":\#(user.id),"username":"john","roles":["reader","writer"]}}"#
        )
        #expect(answer.cookies.isEmpty)
        let nobody = try await harness.verify(nil)
        #expect(nobody.status == 200)
        #expect(nobody.text == #"{"authenticated":false}"#)
        #expect(nobody.cookies.isEmpty)
    }

    @Test func `Q14: a caller that presents a token gets 401 without a session, and everyone where so configured`()
        async throws
    {
        let lenient = try await Harness()
        let bearer = try await lenient.send(.get, "/api/auth/verify", fields: [("Authorization", "Bearer x")])
        #expect(bearer.status == 401)
        #expect(bearer.text == #"{"authenticated":false}"#)
        #expect(bearer["WWW-Authenticate"] == "Bearer")
        let strict = try await Harness { $0.verifyWithoutSession = .unauthorized }
        #expect(try await strict.verify(nil).status == 401)
        try await strict.addUser()
        #expect(try await strict.verify(strict.signedIn()).status == 200)
    }

    @Test func `R63: a cookie that is no live session is no session, whatever it holds`() async throws {
        let harness = try await Harness()
        try await harness.addUser()
        let cookie = try await harness.signedIn()
        let token = String(cookie.dropFirst("__Host-gateway_session=".count))
        var values = [
            "", "x", "null", "true", "{}", "%00", "\"\(token)\"", token + "=", token + "A", "A" + token,
            token.lowercased(),
        ]
        values += (0..<43).map { String(token.prefix($0)) }
        values += (0..<43).map { index in
            var changed = Array(token.utf8)
            changed[index] = changed[index] == UInt8(ascii: "A") ? UInt8(ascii: "B") : UInt8(ascii: "A")
            return String(decoding: changed, as: UTF8.self)
        }
        values += ["\u{EB}", String(repeating: "A", count: 43), String(repeating: "A", count: 5000)]
        for value in values where value != token {
            let answer = try await harness.verify("__Host-gateway_session=\(value)")
            #expect(answer.json == ["authenticated": false], "\(value)")
            #expect(answer.cookies.count == 1)
        }
        #expect(try await harness.verify("\(cookie); \(cookie)").json?["authenticated"] == false)
        #expect(try await harness.verify("gateway_session=\(token)").json?["authenticated"] == false)
    }

    @Test func `a session ends by itself at its idle limit`() async throws {
        let harness = try await Harness { $0.idleTimeout = .seconds(600) }
        try await harness.addUser()
        let cookie = try await harness.signedIn()
        harness.clock.advance(by: 539)
        #expect(try await harness.verify(cookie).json?["authenticated"] == true)
        _ = try await Directory(harness.database).deleteSampleUsers()  // behind the use that was just recorded
        harness.clock.advance(by: 600)
        #expect(try await harness.verify(cookie).json?["authenticated"] == false)
    }

    @Test func `R75: a user who is locked is signed out with the next question`() async throws {
        let harness = try await Harness()
        let user = try await harness.addUser()
        let cookie = try await harness.signedIn()
        #expect(try await Directory(harness.database).setState(isActive: true, isLocked: true, of: user.id, now: 0))
        #expect(try await harness.verify(cookie).json?["authenticated"] == false)
    }

    // MARK: Limits and trouble

    @Test func `R72: attempts on one account are counted whatever it is called and wherever they come from`()
        async throws
    {
        let harness = try await Harness()
        try await harness.addUser()
        let names = ["john", "JOHN", "john@example.com", "John@Example.com", "jOhN"]
        for (index, name) in names.enumerated() {
            #expect(try await harness.apiLogin(name, "wrong", address: "192.0.2.\(index)").status == 401)
        }
        let sixth = try await harness.apiLogin("john", address: "192.0.2.99")
        #expect(sixth.status == 429)
        #expect(sixth.text == #"{"status":"error","message":"Too many attempts"}"#)
        #expect(sixth["Retry-After"] == "60")
        #expect(sixth.cookies.isEmpty)
        harness.clock.advance(by: 60)
        #expect(try await harness.apiLogin("john", address: "192.0.2.99").status == 200)
    }

    @Test func `R72: attempts from one address are counted whatever the account`() async throws {
        let harness = try await Harness()
        try await harness.addUser()
        for index in 0..<5 {
            #expect(try await harness.apiLogin("u\(index)", "x", address: "2001:db8::\(index)").status == 401)
        }
        #expect(try await harness.apiLogin(address: "2001:db8::ffff").status == 429)
        #expect(try await harness.apiLogin(address: "2001:db8:0:1::1").status == 200)
    }

    @Test func `R72: a name that nobody has is counted like one that somebody has`() async throws {
        let harness = try await Harness()
        for index in 0..<5 {
            #expect(try await harness.apiLogin("Ghost", "x", address: "192.0.2.\(index)").status == 401)
        }
        #expect(try await harness.apiLogin("gHOST", "x", address: "192.0.2.50").status == 429)
    }

    @Test func `a store that does not answer lets nobody in and throws nobody out`() async throws {
        let harness = try await Harness()
        try await harness.addUser()
        let cookie = try await harness.signedIn()
        harness.throttle.fail(with: StoreError("away"))
        #expect(try await harness.apiLogin().status == 503)
        harness.database.close()
        for answer in [
            try await harness.verify(cookie),
            try await harness.send(.post, "/api/auth/logout", fields: [("Cookie", cookie)]),
        ] {
            #expect(answer.status == 503)
            #expect(answer["Retry-After"] == "2")
            #expect(answer.cookies.isEmpty)
            #expect(answer.json?["status"] == "error")
        }
        let health = try await harness.send(.get, "/healthz")
        #expect(health.status == 503)
        #expect(health.json?["database"] == "disconnected")
    }

    @Test func `a full hashing queue answers 503, not 401`() async throws {
        let harness = try await Harness(limits: .init(threads: 1, queueMax: 0))
        let answer = try await harness.apiLogin("nobody", "x")
        #expect(answer.status == 503)
        #expect(answer["Retry-After"] == "2")
    }

    // MARK: EP09, EP14 and the paths

    @Test func `EP09: health in the contract's shape`() async throws {
        let harness = try await Harness()
        let answer = try await harness.send(.get, "/healthz")
        #expect(answer.status == 200)
        #expect(answer.text == #"{"status":"ok","service":"IAM","database":"connected","version":"1.1.0"}"#)
    }

    @Test func `EP14: the key set verifies the service's tokens, and has no private part`() async throws {
        let harness = try await Harness()
        let answer = try await harness.send(.get, "/.well-known/jwks.json")
        #expect(answer.status == 200)
        let set = try JWKSet(parsing: answer.response.body)
        #expect(set.keys.map(\.keyID) == [harness.keys.signing.keyID])
        #expect(answer.json?["keys"]?.array?.first?["d"] == nil)
    }

    @Test(arguments: [
        ("/auth/login", "GET, HEAD, POST"), ("/auth/logout", "GET, HEAD, POST"), ("/api/auth/login", "POST"),
        ("/api/auth/logout", "POST"), ("/api/auth/verify", "GET, HEAD"), ("/healthz", "GET, HEAD"),
        ("/.well-known/jwks.json", "GET, HEAD"),
    ])
    func `a method that a path does not have is 405, and says which it has`(path: String, allowed: String) async throws
    {
        let harness = try await Harness()
        for name in ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"] {
            let answer = try await harness.send(try #require(HTTPRequest.Method(name)), path)
            let isAllowed = allowed.split(separator: ", ").contains { $0 == name }
            #expect((answer.status == 405) == !isAllowed)
            #expect(answer["Allow"] == (isAllowed ? nil : allowed))
        }
    }

    @Test(arguments: [
        "/", "", "/auth", "/auth/", "/auth/login/", "/Auth/login", "/auth//login", "/auth/%6cogin", "/auth/login;x",
        "/api/auth/verify/x", "/healthz/", "/.well-known/", "/.well-known/jwks.json/", "/api/users",
    ])
    func `a path is matched exactly`(path: String) async throws {
        let harness = try await Harness()
        #expect(try await harness.send(.get, path).status == 404)
        #expect(try await harness.send(.post, path).status == 404)
    }

    @Test func `HEAD is GET without a body`() async throws {
        let harness = try await Harness()
        for path in ["/auth/login", "/healthz", "/api/auth/verify", "/.well-known/jwks.json"] {
            let (get, head) = (try await harness.send(.get, path), try await harness.send(.head, path))
            #expect(head.status == get.status)
            #expect(head["Content-Type"] == get["Content-Type"])
            #expect(head.response.body.isEmpty)
        }
    }
}
