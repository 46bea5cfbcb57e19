import GatewayConfig
import IdentityModel
import Testing

@testable import AuthGateway

@Suite struct IdentityHeadersTests {
    private typealias Preset = GatewayConfiguration.Route.HeaderPreset

    private static func full() throws -> SubjectClaims {
        var claims = try Fixture.claims(username: "ann", scopes: ["b:read", "a:read"], roles: ["pm", "admin"])
        claims.displayName = "Ann Example"
        claims.email = "ann@a.test"
        claims.groups = ["zeta", "alpha"]
        claims.tenant = "t1"
        return claims
    }

    private func lines(
        _ claims: SubjectClaims, _ preset: Preset = .auth, kind: CredentialKind = .session
    ) throws -> [String] {
        let block = try #require(IdentityHeaders.block(claims, kind: kind, preset: preset))
        let text = String(decoding: block, as: UTF8.self)
        #expect(text.isEmpty || text.hasSuffix("\r\n"))
        return text.split(separator: "\r\n").map(String.init)
    }

    @Test func `the gateway's own names carry every claim with lists sorted and groups as they came`() throws {
        #expect(
            try lines(try Self.full()) == [
                "X-Auth-User: ann", "X-Auth-Subject: s-1", "X-Auth-Name: Ann Example", "X-Auth-Email: ann@a.test",
                "X-Auth-Roles: admin,pm", "X-Auth-Scopes: a:read,b:read", "X-Auth-Groups: zeta,alpha",
                "X-Auth-Tenant: t1", "X-Auth-Method: session",
            ])
        #expect(try lines(try Self.full(), kind: .jwt).last == "X-Auth-Method: jwt")
    }

    @Test func `each preset carries the names of its product`() throws {
        let claims = try Self.full()
        #expect(try lines(claims, .remoteUser) == ["Remote-User: ann"])
        #expect(
            try lines(claims, .oauth2Proxy) == [
                "X-Forwarded-User: ann", "X-Forwarded-Email: ann@a.test", "X-Forwarded-Groups: zeta,alpha",
                "X-Forwarded-Preferred-Username: ann",
            ])
        #expect(
            try lines(claims, .authelia) == [
                "Remote-User: ann", "Remote-Groups: zeta,alpha", "Remote-Name: Ann Example", "Remote-Email: ann@a.test",
            ])
        #expect(
            try lines(claims, .authentik) == [
                "X-authentik-username: ann", "X-authentik-groups: zeta|alpha", "X-authentik-email: ann@a.test",
                "X-authentik-name: Ann Example", "X-authentik-uid: s-1",
            ])
    }

    @Test func `R23 a claim that is absent or empty leaves its header absent`() throws {
        var claims = try Fixture.claims(username: "")
        claims.email = ""
        claims.groups = ["", ""]
        #expect(try lines(claims) == ["X-Auth-Subject: s-1", "X-Auth-Method: session"])
        for preset in Preset.allCases where preset != .auth && preset != .authentik {
            #expect(try lines(claims, preset) == [])
        }
    }

    @Test(arguments: [
        ("ann", "ann"), ("Ann B", "Ann B"), (" ann", "%20ann"), ("ann ", "ann%20"), (" ", "%20"),
        ("  a  ", "%20 a %20"),
        ("a%b", "a%25b"), ("a,b", "a,b"), ("\u{FC}", "%C3%BC"), ("a\tb", "a%09b"), ("a\u{7F}", "a%7F"), ("a~!", "a~!"),
        ("a\r\nX-Auth-User: root", "a%0D%0AX-Auth-User: root"), ("a\0", "a%00"), ("%61nn", "%2561nn"),
    ])
    func `R30 a value is encoded where it must be and nowhere else`(name: String, value: String) throws {
        #expect(try lines(try Fixture.claims(username: name))[0] == "X-Auth-User: \(value)")
    }

    @Test func `items of a list encode the separator of that list`() throws {
        var claims = try Fixture.claims()
        claims.groups = ["a,b", "c|d", " e", ""]
        #expect(try lines(claims).contains("X-Auth-Groups: a%2Cb,c|d,%20e"))
        #expect(try lines(claims, .authentik).contains("X-authentik-groups: a,b|c%7Cd|%20e"))
    }

    @Test func `R30 no bytes in any claim make a line of their own`() throws {
        var random = SeededGenerator(seed: 41)
        func text() -> String {
            let bytes = (0..<Int.random(in: 0...12, using: &random)).map { _ in
                random.pick([0, 9, 10, 13, 32, 37, 44, 58, 65, 97, 127, 133, 194, 195, 226, 255] as [UInt8])
            }
            return String(decoding: bytes, as: UTF8.self)
        }
        for round in 0..<5_000 {
            var claims = try Fixture.claims(username: text())
            claims.subject = Subject(issuer: text(), identifier: text())
            claims.displayName = text()
            claims.email = text()
            claims.groups = [text(), text(), text()]
            claims.tenant = text()
            let preset = Preset.allCases[round % Preset.allCases.count]
            let block = try #require(IdentityHeaders.block(claims, kind: .jwt, preset: preset))
            let lines = block.split(separator: 13, omittingEmptySubsequences: false)
            let begin = lines.dropFirst().allSatisfy { $0.first == 10 && !$0.dropFirst().contains(10) }
            let plain = block.allSatisfy { (0x20...0x7E).contains($0) || $0 == 13 || $0 == 10 }
            let named = lines.dropLast().map { String(decoding: $0.filter { $0 != 10 }, as: UTF8.self) }
            let isSound = begin && plain && named.allSatisfy(\.isFieldLine)
            if !isSound { Issue.record("\(claims) \(block)") }
        }
    }

    @Test func `two different names never look the same to an application that strips blanks`() throws {
        var random = SeededGenerator(seed: 42)
        var seen: [String: String] = [:]
        for _ in 0..<5_000 {
            let letters = (0..<Int.random(in: 1...4, using: &random)).map { _ in random.pick([" ", "%", "2", "0", "a"])
            }
            let name = letters.joined()
            let value = try lines(try Fixture.claims(username: name))[0].dropFirst("X-Auth-User:".count)
                .split(separator: " ", omittingEmptySubsequences: true).joined(separator: " ")
            // Runs of blanks inside are part of the value; only those at the ends are stripped.
            if !name.contains("  ") { #expect(seen.updateValue(name, forKey: value) ?? name == name, "\(value)") }
        }
    }

    @Test func `a value of 4096 bytes is passed on and a longer one is named as left out`() throws {
        var claims = try Fixture.claims()
        claims.groups = [String(repeating: "g", count: 4096)]
        #expect(try lines(claims).contains("X-Auth-Groups: \(claims.groups[0])"))
        claims.groups = [String(repeating: "g", count: 4094), "g"]
        #expect(try !lines(claims).contains { $0.hasPrefix("X-Auth-Truncated") })
        claims.groups = [String(repeating: "g", count: 4095), "g"]
        #expect(try lines(claims).suffix(2) == ["X-Auth-Method: session", "X-Auth-Truncated: groups"])
        #expect(try !lines(claims).contains { $0.hasPrefix("X-Auth-Groups") })
        claims.displayName = String(repeating: "\u{FC}", count: 700)
        #expect(try lines(claims).last == "X-Auth-Truncated: name,groups")
    }
}

@Suite struct SourcePrefixTests {
    @Test func `a prefix stands before user and subject`() throws {
        let prefix = SourcePrefix("ext:", others: [nil])
        let block = try #require(
            IdentityHeaders.block(try Fixture.claims(), kind: .jwt, preset: .authentik, prefix: prefix))
        let lines = String(decoding: block, as: UTF8.self).split(separator: "\r\n")
        #expect(lines == ["X-authentik-username: ext:ann", "X-authentik-uid: ext:s-1"])
    }

    @Test func `a name that begins with another source's prefix has no headers`() throws {
        let bare = SourcePrefix(nil, others: ["ext:"])
        let claims = try Fixture.claims(username: "ext:ann")
        #expect(IdentityHeaders.block(claims, kind: .session, preset: .auth, prefix: bare) == nil)
        #expect(IdentityHeaders.block(claims, kind: .session, preset: .auth) != nil)
        var other = try Fixture.claims()
        other.subject = Subject(issuer: "i", identifier: "ext:s-1")
        #expect(IdentityHeaders.block(other, kind: .session, preset: .auth, prefix: bare) == nil)
    }

    @Test func `R69 two sources never make the same name`() {
        let prefixes: [String?] = [nil, "a", "ab", "b:", "a:"]
        let names = ["", "a", "b", ":", "ab", "a:b", "bb", ":x", "aa", "b:a", "ab:", "x"]
        for (index, first) in prefixes.enumerated() {
            for second in prefixes[(index + 1)...] {
                let left = SourcePrefix(first, others: [second])
                let right = SourcePrefix(second, others: [first])
                let ofLeft = Set(names.compactMap(left.applied))
                let ofRight = Set(names.compactMap(right.applied))
                #expect(ofLeft.isDisjoint(with: ofRight), "\(first ?? "-") \(second ?? "-")")
                #expect(ofLeft.count > 3 && ofRight.count > 3)
            }
        }
    }
}

extension String {
    fileprivate var isFieldLine: Bool {
        let parts = split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
        return parts.count == 2 && parts[1].hasPrefix(" ") && parts[0].allSatisfy { $0.isLetter || $0 == "-" }
    }
}
