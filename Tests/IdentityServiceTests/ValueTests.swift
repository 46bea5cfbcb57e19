import HTTPModel
import HTTPTypes
import IdentityModel
import JOSE
import Testing

@testable import IdentityService

@Suite struct ValueTests {
    // MARK: Session cookie

    @Test func `the cookie has the strictest name that browsers accept`() throws {
        #expect(SessionCookieSettings(isSecure: true)?.name == "__Host-gateway_session")
        #expect(SessionCookieSettings(domain: "a.example", isSecure: true)?.name == "gateway_session")
        #expect(SessionCookieSettings(isSecure: false)?.name == "gateway_session")
        #expect(SessionCookieSettings(name: "session", domain: "a.example", isSecure: false)?.name == "session")
    }

    @Test(
        arguments: [
            ("__Host-x", "a.example", true), ("__Host-x", nil, false), ("__host-x", nil, false),
            ("__Secure-x", nil, false),
            ("", nil, true), ("a b", nil, true), ("a;b", nil, true), ("a=b", nil, true), ("a\"", nil, true),
            ("x", "A.example", true), ("x", ".example", true), ("x", "a.example; Secure", true), ("x", "", true),
        ] as [(String, String?, Bool)])
    func `refuses a name or domain that no browser would keep`(name: String, domain: String?, isSecure: Bool) {
        #expect(SessionCookieSettings(name: name, domain: domain, isSecure: isSecure) == nil)
    }

    @Test func `the field values carry every attribute`() throws {
        let host = try #require(SessionCookieSettings(isSecure: true))
        #expect(
            host.setting("t", forSeconds: 60)
                == "__Host-gateway_session=t; Path=/; Max-Age=60; Secure; HttpOnly; SameSite=Lax")
        #expect(host.clearing == "__Host-gateway_session=; Path=/; Max-Age=0; Secure; HttpOnly; SameSite=Lax")
        let plain = try #require(SessionCookieSettings(name: "session", domain: "demo.localhost", isSecure: false))
        #expect(plain.clearing == "session=; Path=/; Max-Age=0; Domain=demo.localhost; HttpOnly; SameSite=Lax")
    }

    // MARK: Cookies of a request

    @Test(
        arguments: [
            (["s=1"], "1"), (["a=0; s=1; b=2"], "1"), (["a=0", "s=1"], "1"), (["s="], ""), (["s=a=b"], "a=b"),
            (["a=0;s=1"], "1"),
            ([], nil), (["S=1"], nil), (["xs=1"], nil), (["s"], nil), (["s =1"], nil), (["s=1; s=2"], nil),
            (["s=1; s=1"], nil), (["s=1", "s=2"], nil), ([";;;"], nil),
        ] as [([String], String?)])
    func `R63: a cookie is read by its exact name, and not at all when there are two`(fields: [String], value: String?)
    {
        var head = HTTPRequest(method: .get, scheme: "https", authority: "a", path: "/")
        for field in fields { head.headerFields.append(HTTPField(name: .cookie, value: field)) }
        let request = Request(head: head, remoteAddress: "192.0.2.1", isSecure: true, requestID: "1")
        #expect(RequestCookies(request)["s"] == value)
    }

    @Test func `R88: a token is 43 characters that stand for 32 bytes, and nothing near it`() throws {
        let token = SessionToken.random()
        let text = token.text.reveal()
        #expect(text.utf8.count == 43)
        #expect(SessionToken(text)?.key == token.key)
        #expect(SessionKey(digest: SHA256.digest(of: Array(text.utf8)).bytes) == token.key)
        for near in [text + "A", text + "=", " " + text, text + " ", ""] { #expect(SessionToken(near) == nil) }
        for count in 0..<43 { #expect(SessionToken(String(text.prefix(count))) == nil) }
        #expect(SessionToken.random().key != token.key)
        #expect(!"\(token)".contains(text))
    }

    // MARK: Forms

    @Test(
        arguments: [
            ("", [:]), ("a=1&b=2", ["a": "1", "b": "2"]), ("a", ["a": ""]), ("a=", ["a": ""]), ("a=b=c", ["a": "b=c"]),
            ("a=%41+%2B", ["a": "A +"]), ("a=%00", ["a": "\0"]), ("%61=x", ["a": "x"]), ("a=%C3%AB", ["a": "\u{EB}"]),
            ("&a=1&", ["a": "1"]),
        ] as [(String, [String: String])])
    func `reads a form`(text: String, fields: [String: String]) throws {
        let form = try #require(FormFields(Array(text.utf8)))
        for (name, value) in fields { #expect(form[name] == value) }
        #expect(form["none"] == nil)
    }

    @Test(arguments: ["a=1&a=2", "a=1&%61=2", "a=%", "a=%4", "a=%4x", "a=%zz", "a=%C3%28", "a=%FF", "%=1"])
    func `refuses a form that can be read in two ways`(text: String) {
        #expect(FormFields(Array(text.utf8)) == nil)
    }

    @Test func `a form has at most 32 fields`() {
        let fields = (0..<33).map { "f\($0)=1" }
        #expect(FormFields(Array(fields.dropLast().joined(separator: "&").utf8)) != nil)
        #expect(FormFields(Array(fields.joined(separator: "&").utf8)) == nil)
    }

    @Test func `a form token is good for its browser, its form and one hour`() throws {
        let tokens = FormTokens(key: Secret([UInt8](repeating: 7, count: 32)))
        let flow = FlowID.random()
        let token = tokens.token(for: flow, .signIn, now: 1000)
        #expect(tokens.flow(of: token, .signIn, now: 1000) == flow)
        #expect(tokens.flow(of: token, .signIn, now: 1000 + 3599) == flow)
        #expect(tokens.flow(of: token, .signIn, now: 1000 + 3600) == nil)
        #expect(tokens.flow(of: token, .signIn, now: 999) == nil)
        #expect(tokens.flow(of: token, .signOut, now: 1000) == nil)
        let other = FormTokens(key: Secret([UInt8](repeating: 8, count: 32)))
        #expect(other.flow(of: token, .signIn, now: 1000) == nil)
    }

    @Test func `R66: no change of a single character leaves a form token good`() throws {
        let tokens = FormTokens(key: Secret([UInt8](repeating: 7, count: 32)))
        let token = tokens.token(for: .random(), .signIn, now: 1000)
        for index in token.indices {
            var changed = token
            changed.replaceSubrange(index...index, with: token[index] == "A" ? "B" : "A")
            #expect(tokens.flow(of: changed, .signIn, now: 1000) == nil)
        }
        for count in 0..<token.count {
            #expect(tokens.flow(of: String(token.prefix(count)), .signIn, now: 1000) == nil)
        }
        #expect(tokens.flow(of: token + "AAAA", .signIn, now: 1000) == nil)
    }

    // MARK: The rest

    @Test(arguments: [
        ("<b>&\"'\0", "&lt;b&gt;&amp;&quot;&#39;\u{FFFD}"), ("plain \u{EB}", "plain \u{EB}"),
        ("a\u{308}<", "a\u{308}&lt;"),
        ("<\u{338}script>", "&lt;\u{338}script&gt;"),
    ])
    func `R61: text is escaped wherever it enters a page, combining marks or not`(text: String, escaped: String) {
        #expect(HTML("<p>\(text)</p>").text == "<p>\(escaped)</p>")
        #expect(HTML("<p>\(HTML("<i>\(text)</i>"))</p>").text == "<p><i>\(escaped)</i></p>")
    }

    @Test(
        arguments: [
            (0, "1970-01-01T00:00:00Z"), (-1, "1969-12-31T23:59:59Z"), (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"), (951_868_800, "2000-03-01T00:00:00Z"),
            (1_709_164_800, "2024-02-29T00:00:00Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"), (4_107_542_400, "2100-03-01T00:00:00Z"),
            (4_107_456_000, "2100-02-28T00:00:00Z"),
            (1_800_000_000, "2027-01-15T08:00:00Z"),
        ] as [(Int64, String)])
    func `writes times in UTC`(seconds: Int64, text: String) {
        #expect(utcTime(seconds) == text)
    }

    @Test(arguments: [
        ("192.0.2.1", "192.0.2.1"), ("::ffff:192.0.2.1", "192.0.2.1"), ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"), ("2001:0DB8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("::1", "0:0:0:0::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"), ("unix", "unix"),
    ])
    func `R121: attempts are counted by IPv4 address and by the /64 of IPv6`(address: String, key: String) {
        #expect(SignInThrottleKey.client(address) == .address(key))
    }
}
