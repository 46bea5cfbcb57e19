import IdentityModel
import JOSE
import TestSupport
import Testing

@testable import AuthGateway

/// The filter on a worker, as clients and applications see it.
@Suite(.ownThread, .serialized, .timeLimit(.minutes(1)))
struct FilterTests {
    private func withGateway(_ body: (FilterGateway) throws -> Void) throws {
        let gateway = try FilterGateway()
        defer { gateway.stop() }
        try body(gateway)
    }

    // MARK: Tokens

    @Test func `a token's scopes decide, and roles add nothing to a token that has scopes`() throws {
        try withGateway { gateway in
            let cases: [([(String, JSONValue)], Int)] = [
                ([("scope", "books:read")], 200), ([("scope", "books:write")], 403), ([], 403),
                ([("roles", ["clerk"])], 200), ([("scope", "other"), ("roles", ["clerk"])], 403),
                ([("scope", ""), ("roles", ["clerk"])], 403),
            ]
            for (claims, status) in cases {
                let token = try gateway.bearer(claims)
                // The second time from the cache.
                for _ in 0..<2 { #expect(try gateway.ask("/books", [token]).status == status, "\(claims)") }
            }
        }
    }

    @Test func `an explicit credential that is wrong is 401, on optional routes and beside a good cookie too`() throws {
        try withGateway { gateway in
            let cookie = try gateway.signIn(scopes: ["books:read"])
            let wrong = [
                "Authorization: Bearer nonsense", "Authorization: Basic YTpi", try gateway.bearer(life: -100),
                try gateway.bearer() + "x", "Authorization: Bearer",
            ]
            for field in wrong {
                for path in ["/books", "/optional"] {
                    let answer = try gateway.ask(path, [field, cookie.field])
                    #expect(answer.status == 401, "\(path) \(field)")
                    #expect(answer["www-authenticate"] != nil)
                }
            }
            #expect(gateway.seenCount == 0)
            #expect(gateway.sessions.askedCount == 0)
        }
    }

    @Test func `the credential that was used up is taken out, and passes where it is not read or the route says so`()
        throws
    {
        try withGateway { gateway in
            let token = try gateway.bearer([("scope", "books:read")])
            #expect(try gateway.ask("/books", [token]).status == 200)
            #expect(gateway.lastSeen?["authorization"] == nil)
            #expect(gateway.lastSeen?["x-auth-user"] == "partner:ann")
            #expect(gateway.lastSeen?["x-auth-method"] == "jwt")
            #expect(try gateway.ask("/kept", [token]).status == 200)
            #expect(gateway.lastSeen?["authorization"]?.hasPrefix("Bearer ") == true)
            #expect(try gateway.ask("/public", ["Authorization: Basic YTpi"]).status == 200)
            #expect(gateway.lastSeen?["authorization"] == "Basic YTpi")
        }
    }

    // MARK: Identity

    @Test(arguments: ["/public", "/optional"])
    func `no spelling of an identity header reaches an application`(path: String) throws {
        try withGateway { gateway in
            let spellings = [
                "X-Auth-User", "x-auth-user", "X_Auth_User", "X.Auth.User", "X-Auth_User", "Remote-User",
                "X-Forwarded-User", "X-Forwarded-For", "Forwarded", "X-Real-IP",
            ]
            #expect(try gateway.ask(path, spellings.map { "\($0): admin" }).status == 200)
            let seen = try #require(gateway.lastSeen)
            #expect(!seen.fields.contains { $0.value.contains("admin") })
            #expect(seen.values("x-forwarded-for") == ["127.0.0.1"])
            #expect(seen["x-forwarded-proto"] == "http")
            #expect(seen.values("x-request-id").count == 1)
        }
    }

    @Test func `the session's cookie is cut in each spelling, others stay, and no application may set it`() throws {
        try withGateway { gateway in
            let cookie = try gateway.signIn()
            let answer = try gateway.ask(
                "/optional", [cookie.field + "; own=1; __Host-gateway_session=x; __Secure-gateway_session=y; z=2"])
            #expect(gateway.lastSeen?["cookie"] == "own=1; z=2")
            #expect(gateway.lastSeen?["x-auth-user"] == "bob")
            #expect(answer.values("set-cookie") == ["own=1"])
            #expect(try gateway.ask("/public", [cookie.field]).status == 200)
            #expect(gateway.lastSeen?["cookie"] == nil)
            #expect(gateway.lastSeen?["x-auth-user"] == nil)
        }
    }

    @Test func `a session whose name could be another source's is not believed, from the cache either`() throws {
        try withGateway { gateway in
            let cookie = try gateway.signIn(username: "partner:ann", scopes: ["books:read"])
            for _ in 0..<3 { #expect(try gateway.ask("/books", [cookie.field]).status == 401) }
            #expect(gateway.seenCount == 0)
        }
    }

    // MARK: Sessions

    @Test func `a session is fetched once and then remembered, and the decision is made each time`() throws {
        try withGateway { gateway in
            let cookie = try gateway.signIn()
            for _ in 0..<3 { #expect(try gateway.ask("/optional", [cookie.field]).status == 200) }
            #expect(try gateway.ask("/books", [cookie.field]).status == 403)
            #expect(gateway.sessions.askedCount == 1)
        }
    }

    @Test func `a cookie that is no session counts as none and is cleared`() throws {
        try withGateway { gateway in
            let unknown = try FilterGateway.cookie("B").field
            let twice = try gateway.signIn().field + "; gateway_session=x"
            for field in [unknown, twice, "Cookie: gateway_session=short", "Cookie: gateway_session="] {
                let answer = try gateway.ask("/books", [field])
                #expect(answer.status == 401, "\(field)")
                #expect(
                    answer["set-cookie"]?.hasPrefix("gateway_session=; Path=/; Max-Age=0; Domain=example.test") == true)
                let optional = try gateway.ask("/optional", [field])
                #expect(optional.status == 200)
                #expect(optional.values("set-cookie").contains { $0.contains("Max-Age=0") })
                #expect(gateway.lastSeen?["x-auth-user"] == nil)
            }
        }
    }

    @Test func `a store that is away is 503 and clears nothing, and what is remembered goes on`() throws {
        try withGateway { gateway in
            let cookie = try gateway.signIn(scopes: ["books:read"])
            #expect(try gateway.ask("/books", [cookie.field]).status == 200)
            gateway.sessions.setAway(true)
            #expect(try gateway.ask("/books", [cookie.field]).status == 200)
            for path in ["/books", "/optional"] {
                let answer = try gateway.ask(path, [try FilterGateway.cookie("C").field, "Accept: text/html"])
                #expect(answer.status == 503)
                #expect(answer["set-cookie"] == nil && answer["location"] == nil && answer["retry-after"] != nil)
            }
            gateway.revocations.revoke(cookie.key)
            #expect(try gateway.ask("/books", [cookie.field]).status == 503)
        }
    }

    @Test
    func `a session that was ended is dead at once, and a fetch that raced with its end does not revive it (R64)`()
        throws
    {
        try withGateway { gateway in
            let cookie = try gateway.signIn(scopes: ["books:read"])
            #expect(try gateway.ask("/books", [cookie.field]).status == 200)
            gateway.sessions.set(nil, for: cookie.key)
            gateway.revocations.revoke(cookie.key)
            #expect(try gateway.ask("/books", [cookie.field]).status == 401)

            let racing = try gateway.signIn("D", scopes: ["books:read"])
            gateway.sessions.hold()
            let client = try Peer(port: gateway.port)
            client.send(FilterGateway.text("/books", [racing.field]))
            #expect(eventually { gateway.sessions.heldCount == 1 })
            gateway.sessions.set(nil, for: racing.key)
            gateway.revocations.revoke(racing.key)
            gateway.sessions.release()
            #expect(client.readMessage().status == 401)
            #expect(try gateway.ask("/books", [racing.field]).status == 401)
        }
    }

    @Test func `the end of another session during a fetch signs nobody out`() throws {
        try withGateway { gateway in
            let cookie = try gateway.signIn(scopes: ["books:read"])
            gateway.sessions.hold()
            let client = try Peer(port: gateway.port)
            client.send(FilterGateway.text("/books", [cookie.field]))
            #expect(eventually { gateway.sessions.heldCount == 1 })
            gateway.revocations.revokeAll()
            gateway.sessions.release()
            let answer = client.readMessage()
            #expect(answer.status == 200)
            #expect(!answer.values("set-cookie").contains { $0.contains("Max-Age=0") })
            #expect(gateway.sessions.askedCount == 2)
        }
    }

    @Test func `a client that goes away while its session is fetched leaves nothing behind`() throws {
        try withGateway { gateway in
            let cookie = try gateway.signIn(scopes: ["books:read"])
            gateway.sessions.hold()
            let client = try Peer(port: gateway.port)
            client.send(FilterGateway.text("/books", [cookie.field]))
            #expect(eventually { gateway.sessions.heldCount == 1 })
            client.reset()
            // Served by the same pooled exchange, perhaps, while the old answer is still to come.
            #expect(try gateway.ask("/public").status == 200)
            gateway.sessions.release()
            #expect(try gateway.ask("/books").status == 401)
            #expect(gateway.lastSeen?.startLine == "GET /public HTTP/1.1")
        }
    }

    // MARK: Limits and routes

    @Test func `a limit by subject counts subjects, not connections`() throws {
        try withGateway { gateway in
            let ann = try gateway.bearer()
            let bob = try gateway.signIn()
            #expect(try (0..<3).map { _ in try gateway.ask("/limited", [ann]).status } == [200, 200, 429])
            #expect(try gateway.ask("/limited", [bob.field]).status == 200)
            let answer = try gateway.ask("/limited", [ann])
            #expect(answer["retry-after"] != nil && answer["ratelimit"] != nil)
        }
    }

    @Test func `what no route names is 404, a wrong host too, and TRACE is refused`() throws {
        try withGateway { gateway in
            #expect(try gateway.ask("/nothing").status == 404)
            #expect(try gateway.ask("/public/../books").status == 401)
            #expect(try gateway.ask("/public", method: "TRACE").status == 405)
            let client = try Peer(port: gateway.port)
            client.send("GET /public HTTP/1.1\r\nHost: other.test\r\n\r\n")
            #expect(client.readMessage().status == 404)
            #expect(gateway.seenCount == 0)
        }
    }
}
