import GatewayConfig
import IdentityModel
import Testing

@testable import AuthGateway

/// The verdict as the prose has it, with strings.
private enum SlowFields {
    static func isUsual(_ letter: Character) -> Bool {
        letter.isASCII && (letter.isLetter || letter.isNumber || letter == "-")
    }

    static func folded(_ name: String) -> String { String(name.lowercased().map { isUsual($0) ? $0 : "-" }) }

    static func isManaged(_ folded: String) -> Bool {
        ["x-auth-", "x-forwarded-", "x-original-", "x-authentik-"].contains(where: folded.hasPrefix)
            || [
                "script-name", "path-info", "request-uri", "x-script-name", "x-scheme", "x-rewrite-url",
                "x-http-method-override", "x-http-method", "x-method-override", "proxy", "trace-parent",
                "forwarded", "x-real-ip", "remote-user", "remote-groups", "remote-name", "remote-email",
            ].contains(folded)
    }

    static func isProtected(_ folded: String) -> Bool {
        isManaged(folded) || ManagedFieldsTests.protected.contains(folded)
    }

    static func verdict(_ name: String, _ mode: GatewayConfiguration.UnderscoreHeaders) -> FieldVerdict {
        let isCanonical = name.allSatisfy(isUsual)
        if isManaged(name.lowercased()) { return .drop }
        if !isCanonical, isProtected(folded(name)) { return .drop }
        guard name.contains("_") else { return .keep }
        return [.drop: .drop, .refuse: .refuse, .pass: .keep][mode] ?? .refuse
    }
}

@Suite struct ManagedFieldsTests {
    static let managed = [
        "x-auth-user", "x-auth-subject", "x-auth-name", "x-auth-email", "x-auth-roles", "x-auth-scopes",
        "x-auth-groups",
        "x-auth-tenant", "x-auth-method", "x-auth-assertion", "x-auth-truncated", "x-auth-request-user",
        "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-forwarded-port", "x-forwarded-prefix",
        "x-forwarded-uri", "x-forwarded-user", "x-forwarded-email", "x-forwarded-groups",
        "x-forwarded-preferred-username", "x-forwarded-access-token", "forwarded", "x-real-ip", "x-original-uri",
        "script-name", "path-info", "x-script-name", "x-rewrite-url", "x-http-method-override", "proxy",
        "x-original-url", "x-original-method", "remote-user", "remote-groups", "remote-name", "remote-email",
        "x-authentik-username", "x-authentik-groups", "x-authentik-uid", "x-authentik-jwt", "x-auth-", "x-forwarded-",
    ]

    static let protected = [
        "content-length", "transfer-encoding", "connection", "keep-alive", "proxy-connection", "te", "trailer",
        "upgrade", "http2-settings", "proxy-authenticate", "proxy-authorization", "expect", "host", "cookie",
        "authorization", "x-request-id", "traceparent", "tracestate",
    ]

    private static let unrelated = [
        "accept", "accept-language", "user-agent", "x-requested-with", "x-csrf-token", "x-authority", "x-auth",
        "x-forwarded", "x-forwardedfor", "x-original", "x-real-ip2", "xx-auth-user", "remote-addr", "remote-users",
        "remote", "forwarded-for", "referer", "if-none-match", "x", "r", "f", "te2", "hosts", "content-type", "1", "-",
    ]

    /// Bytes that RFC 9110 section 5.6.2 allows in a name besides letters, digits and `-`.
    private static let unusual = Array("!#$%&'*+.^_`|~")

    private func verdict(_ name: String, _ mode: GatewayConfiguration.UnderscoreHeaders) -> FieldVerdict {
        let isUnusual = name.utf8.contains { fold($0) == UInt8(ascii: "-") && $0 != UInt8(ascii: "-") }
        return ManagedFields(underscoreHeaders: mode).verdict(name: name.bytes.span, hasUnusualByte: isUnusual)
    }

    @Test func `R24 R26 R28 a managed name is dropped in every case and every mode`() {
        var random = SeededGenerator(seed: 31)
        for name in Self.managed {
            for mode in GatewayConfiguration.UnderscoreHeaders.allCases {
                #expect(verdict(name, mode) == .drop, "\(name)")
                #expect(verdict(name.uppercased(), mode) == .drop, "\(name)")
                for _ in 0..<20 {
                    let mixed = String(name.map { Bool.random(using: &random) ? Character($0.uppercased()) : $0 })
                    #expect(verdict(mixed, mode) == .drop, "\(mixed)")
                }
            }
        }
    }

    @Test func `R20 R21 every alias of a protected name is dropped in every mode`() {
        for name in Self.managed + Self.protected where name.contains("-") {
            for byte in Self.unusual {
                let alias = name.replacingDashes(with: byte)
                for mode in GatewayConfiguration.UnderscoreHeaders.allCases {
                    #expect(verdict(alias, mode) == .drop, "\(alias)")
                    #expect(verdict(alias.uppercased(), mode) == .drop, "\(alias)")
                }
            }
        }
    }

    @Test func `protected names pass in their own spelling`() {
        for name in Self.protected + Self.unrelated {
            for mode in GatewayConfiguration.UnderscoreHeaders.allCases {
                #expect(verdict(name, mode) == .keep, "\(name)")
                #expect(verdict(name.uppercased(), mode) == .keep, "\(name)")
            }
        }
    }

    @Test func `other names with an underscore go by the mode and names with other bytes pass`() {
        for name in ["my_header", "_", "x_csrf_token", "x_authority", "User_Agent", "_x-auth-user", "x.y_z"] {
            #expect(verdict(name, .drop) == .drop)
            #expect(verdict(name, .refuse) == .refuse)
            #expect(verdict(name, .pass) == .keep)
        }
        for name in ["my.header", "x!y", "~", "x.authority", ".x-auth-user"] {
            for mode in GatewayConfiguration.UnderscoreHeaders.allCases { #expect(verdict(name, mode) == .keep) }
        }
        #expect(verdict("", .drop) == .keep)
    }

    @Test func `R20 R21 R24 the verdict is the slow one on generated spellings`() {
        var random = SeededGenerator(seed: 32)
        let names = Self.managed + Self.protected + Self.unrelated
        let letters = Array("abcxyzAXZ019-") + Self.unusual
        var counts: [FieldVerdict: Int] = [:]
        for round in 0..<30_000 {
            var name = Array(random.pick(names))
            for _ in 0..<Int.random(in: 0...3, using: &random) {
                let place = Int.random(in: 0...name.count, using: &random)
                switch Int.random(in: 0..<6, using: &random) {
                case 0 where place < name.count: name[place] = random.pick(letters)
                case 1: name.insert(random.pick(letters), at: place)
                case 2 where place < name.count: name.remove(at: place)
                case 3: name = name.map { Bool.random(using: &random) ? Character($0.uppercased()) : $0 }
                default:
                    for index in name.indices where name[index] == "-" && Bool.random(using: &random) {
                        name[index] = random.pick(Self.unusual)
                    }
                }
            }
            let mode = GatewayConfiguration.UnderscoreHeaders.allCases[round % 3]
            let found = verdict(String(name), mode)
            if found != SlowFields.verdict(String(name), mode) {
                Issue.record("\(String(name)) \(mode) gives \(found)")
            }
            counts[found, default: 0] += 1
        }
        #expect(counts.count == 3 && counts.values.allSatisfy { $0 > 200 })
    }

    @Test func `every name that a preset writes is managed`() throws {
        var claims = try Fixture.claims(scopes: ["a"], roles: ["pm"])
        claims.displayName = "Ann"
        claims.email = "ann@a.test"
        claims.groups = ["g"]
        claims.tenant = "t"
        for preset in GatewayConfiguration.Route.HeaderPreset.allCases {
            let block = try #require(IdentityHeaders.block(claims, kind: .session, preset: preset))
            let lines = String(decoding: block, as: UTF8.self).split(separator: "\r\n")
            #expect(!lines.isEmpty)
            for line in lines { #expect(verdict(String(line.prefix { $0 != ":" }), .pass) == .drop, "\(line)") }
        }
    }
}

extension String {
    fileprivate func replacingDashes(with letter: Character) -> String { String(map { $0 == "-" ? letter : $0 }) }
}
