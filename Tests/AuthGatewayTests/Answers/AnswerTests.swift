import COpenSSL
import IdentityModel
import Testing

@testable import AuthGateway

@Suite struct AnswerTests {
    private static let kinds: [AnswerKind] = [
        .badRequest, .credentialAbsent, .credentialInvalid, .forbidden(scopes: [], roles: []), .notFound,
        .methodNotAllowed(allow: "GET, HEAD".bytes), .requestTimeout, .contentTooLarge, .targetTooLong,
        .expectationFailed, .misdirected, .overLimit(retryAfter: .seconds(3)), .headTooLarge, .internalError,
        .notImplemented, .badGateway, .unavailable(retryAfter: .seconds(3)), .gatewayTimeout, .versionNotSupported,
    ]

    private func answer(
        _ kind: AnswerKind, navigation: Bool = false, repeatable: Bool = true, signIn: String? = "/auth/login",
        back: String? = "/reports?month=5&x=a b", id: String = "01ARZ"
    ) -> Answer {
        let target = back.flatMap { ReturnTarget(path: $0.replacingBlanks.bytes) }
        return Answer(
            kind,
            AnswerContext(
                requestID: id, isNavigation: navigation, isRepeatable: repeatable, signInURL: signIn,
                returnTarget: target))
    }

    private func text(_ answer: Answer) -> String { String(decoding: answer.body, as: UTF8.self) }

    @Test func `each reason has its status`() {
        #expect(
            Self.kinds.map(\.status) == [
                400, 401, 401, 403, 404, 405, 408, 413, 414, 417, 421, 429, 431, 500, 501, 502, 503, 504, 505,
            ])
        for status in [400, 408, 413, 414, 417, 421, 431, 500, 501, 502, 504, 505] {
            #expect(AnswerKind(errorStatus: status).status == status)
        }
        #expect(AnswerKind(errorStatus: 200) == .badRequest)
    }

    @Test func `every answer forbids storing and says its kind of content`() {
        for kind in Self.kinds {
            for navigation in [false, true] {
                let answer = answer(kind, navigation: navigation, signIn: nil)
                #expect(answer["Cache-Control"] == "no-store")
                #expect(answer["Vary"] == "Accept, Authorization, Cookie, Sec-Fetch-Mode, X-Requested-With")
                #expect(answer["Content-Type"] == (navigation ? "text/html; charset=utf-8" : "application/json"))
                #expect(answer["X-Content-Type-Options"] == "nosniff")
                #expect((answer["Content-Security-Policy"] != nil) == navigation)
                #expect(!answer.body.isEmpty)
            }
        }
    }

    @Test func `a browser without a credential is sent to sign in and comes back`() {
        let answer = answer(.credentialAbsent, navigation: true)
        #expect(answer.status == 302)
        #expect(answer["Location"] == "/auth/login?rd=/reports%3Fmonth%3D5%26x%3Da%2520b")
        #expect(answer["Cache-Control"] == "no-store")
        #expect(answer.body.isEmpty)
    }

    @Test func `only a GET or HEAD that waits for a page, on a route that accepts sessions, is redirected`() {
        for (navigation, repeatable, signIn) in [
            (false, true, "/auth/login"), (true, false, "/auth/login"), (true, true, nil),
        ] as [(Bool, Bool, String?)] {
            let answer = answer(.credentialAbsent, navigation: navigation, repeatable: repeatable, signIn: signIn)
            #expect(answer.status == 401)
            #expect(answer["WWW-Authenticate"] == #"Bearer realm="gateway""#)
            #expect(answer["Location"] == nil)
        }
    }

    @Test func `nothing but a missing credential is ever redirected`() {
        for kind in Self.kinds where kind != .credentialAbsent {
            #expect(answer(kind, navigation: true)["Location"] == nil)
            #expect(answer(kind, navigation: true).status == kind.status)
        }
    }

    @Test func `a program learns the sign-in page from JSON`() {
        #expect(
            text(answer(.credentialAbsent))
                == #"{"error":"authentication_required","message":"Please sign in first.","login_url":"/auth/login","#
                + "\"request_id\":\"01ARZ\"}\n")
        #expect(!text(answer(.credentialAbsent, signIn: nil)).contains("login_url"))
    }

    @Test func `a credential that is wrong is told as invalid_token and no more`() {
        let answer = answer(.credentialInvalid)
        #expect(answer["WWW-Authenticate"] == #"Bearer realm="gateway", error="invalid_token""#)
        #expect(text(answer).contains(#""error":"invalid_token""#))
        for fault in CredentialFault.allCases {
            #expect(AnswerKind(.challenge(.credentialInvalid(fault))) == .credentialInvalid)
        }
    }

    @Test func `whoever lacks a right is told which`() throws {
        let kind = AnswerKind.forbidden(
            scopes: [try Fixture.scope("b:write"), try Fixture.scope("a:*")], roles: [try Fixture.role("admin")])
        let program = answer(kind)
        #expect(
            program["WWW-Authenticate"] == #"Bearer realm="gateway", error="insufficient_scope", scope="a:* b:write""#)
        #expect(text(program).contains(#""missing_scopes":["a:*","b:write"],"missing_roles":["admin"]"#))
        let page = text(answer(kind, navigation: true))
        for part in ["<code>a:*</code>", "<code>b:write</code>", "<code>admin</code>", "<code>01ARZ</code>"] {
            #expect(page.contains(part))
        }
        let none = answer(.forbidden(scopes: [], roles: []))
        #expect(none["WWW-Authenticate"] == #"Bearer realm="gateway", error="insufficient_scope""#)
    }

    @Test func `a decision becomes its answer`() throws {
        let scopes: Set<Scope> = [try Fixture.scope("a")]
        #expect(AnswerKind(.allow) == nil)
        #expect(AnswerKind(.challenge(.credentialAbsent)) == .credentialAbsent)
        #expect(AnswerKind(.deny(missing: scopes, roles: [])) == .forbidden(scopes: scopes, roles: []))
    }

    @Test(arguments: [
        (Duration.zero, "1"), (.milliseconds(1), "1"), (.seconds(1), "1"), (.milliseconds(1001), "2"),
        (.seconds(3600), "3600"), (.seconds(-5), "1"),
    ])
    func `Retry-After counts whole seconds, rounded up`(duration: Duration, value: String) {
        #expect(answer(.overLimit(retryAfter: duration))["Retry-After"] == value)
        #expect(answer(.unavailable(retryAfter: duration), navigation: true)["Retry-After"] == value)
    }

    @Test func `405 names the methods`() {
        #expect(answer(.methodNotAllowed(allow: "GET, HEAD".bytes))["Allow"] == "GET, HEAD")
    }

    @Test func `R30 R61 no text breaks out of where it stands`() {
        let evil = "</code><script>alert('x')</script>\"\\\r\nSet-Cookie: a=b\0\u{2028}"
        for kind in Self.kinds {
            for navigation in [false, true] {
                let answer = answer(kind, navigation: navigation, repeatable: false, signIn: "/\(evil)", id: evil)
                #expect(!text(answer).contains("<script>"))
                #expect(!text(answer).contains("alert('x')") || !navigation)
                for field in answer.fields { #expect(field.value.utf8.allSatisfy { (0x20...0x7E).contains($0) }) }
                if !navigation { #expect(answer.body.dropLast().allSatisfy { $0 >= 0x20 }) }
            }
        }
        let location = answer(.credentialAbsent, navigation: true, signIn: "/login\r\nX: y")["Location"]
        #expect(location?.hasPrefix("/login%0D%0AX: y?rd=") == true)
    }

    @Test(arguments: ["javascript:alert(1)", "//evil.test/", "/\\evil.test", "data:text/html,x", ""])
    func `R61 a page links to the web only`(url: String) {
        #expect(!text(answer(.credentialInvalid, navigation: true, signIn: url)).contains("<a "))
        #expect(text(answer(.credentialInvalid, navigation: true)).contains(#"<a href="/auth/login">"#))
    }

    @Test func `the digest in the policy is that of the style in the page`() {
        let style = Array(AnswerPage.style.utf8)
        var digest = [UInt8](repeating: 0, count: 32)
        // Both arrays outlive the call, and the digest has the 32 bytes that SHA-256 writes.
        let isDone = unsafe SHA256(style, style.count, &digest) != nil
        #expect(isDone)
        #expect(AnswerPage.contentSecurityPolicy.contains("style-src 'sha256-\(base64(digest))';"))
        let page = text(answer(.notFound, navigation: true))
        #expect(page.contains("<style>\(AnswerPage.style)</style>"))
        #expect(!page.contains("style="))
    }

    private func base64(_ bytes: [UInt8]) -> String {
        let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
        let bits = bytes.map { byte in
            let digits = String(byte, radix: 2)
            return String(repeating: "0", count: 8 - digits.count) + digits
        }.joined()
        var output = ""
        var rest = Substring(bits)
        while !rest.isEmpty {
            let group = rest.prefix(6)
            output.append(alphabet[Int(group + String(repeating: "0", count: 6 - group.count), radix: 2) ?? 0])
            rest = rest.dropFirst(6)
        }
        return output + String(repeating: "=", count: (4 - output.count % 4) % 4)
    }
}

extension Answer {
    subscript(name: String) -> String? { fields.first { $0.name == name }?.value }
}

extension String {
    fileprivate var replacingBlanks: String { split(separator: " ").joined(separator: "%20") }
}
