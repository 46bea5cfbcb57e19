import GatewayConfig
import Glibc
import Testing

@testable import AuthGateway

/// Several mistakes in one file: each is reported once, and none hides another.
@Suite struct ConfigurationCheckTests {
    /// One mistake: what a sound line becomes, and the one line of the report that follows.
    struct Mistake: Sendable, CustomTestStringConvertible {
        let sound: String
        let wrong: String
        let place: String
        let says: String
        var testDescription: String { wrong }
    }

    static let sound = """
        workers: 2
        log: { access: access.log }
        listeners:
          - address: 127.0.0.1:8443
            tls: { certificates: [{ certificate: own.pem, key: own-key.pem }] }
          - address: 127.0.0.1:8444
            tls:
              certificates:
                - { certificate: own.pem, key: own-key.pem }
                - certificate: other.pem
                  key: other-key.pem
          - { address: 127.0.0.1:8445, head_timeout: 10s }
        upstreams:
          app: { endpoints: [127.0.0.1:5001] }
          shop: { endpoints: [127.0.0.1:5002] }
        authentication:
          session: { domain: example.com }
          jwt:
            - { issuer: a, audience: a, prefix: "a:", keys: { jwks_file: keys.json } }
            - { issuer: b, audience: b, prefix: "b:", keys: { secret_file: secret } }
            - { issuer: c, audience: c, prefix: "c:", keys: { jwks_url: https://c.test/jwks, ca: own.pem } }
            - { keys: identity, audience: gateway }
        limits:
          few: { rate: 5/minute, key: subject }
        roles: { reader: [read] }
        identity: { database: gateway.db }
        routes:
          - { host: a.example.com, path: /**, upstream: app, require: { scopes: [read] }, limit: few }
          - { host: a.example.com, path: /b, upstream: app, require: { scopes: [write] } }
          - { host: b.example.com, path: /x/**, upstream: app, public: true }
          - { host: b.example.com, path: /y/**, upstream: app, require: { roles: [reader] } }
          - { host: c.example.com, path: /, upstream: app, public: true }
          - { host: d.example.com, path: /, upstream: shop, public: true }
        tests:
          - { when: GET https://a.example.com/, as: { roles: [reader] }, expect: allow }
          - { when: GET https://b.example.com/x/1, expect: allow }
          - { when: GET https://b.example.com/y/1, as: { roles: [reader] }, expect: allow }
          - { when: GET https://c.example.com/, expect: allow }
          - { when: GET https://d.example.com/z, expect: 404 }
        """

    /// Of different kinds, each in a place of its own.
    static let mistakes: [Mistake] = [
        .init(sound: "workers: 2", wrong: "workers: 0", place: "1:10: workers", says: "'0' is out of range"),
        .init(
            sound: "log: { access: access.log }", wrong: "log: { access: missing/access.log }",
            place: "2:16: warning: log.access", says: "the folder 'missing' for the access log cannot be found"),
        .init(
            sound: "key: own-key.pem }] }", wrong: "key: other-key.pem }] }",
            place: "5:56: listeners[0].tls.certificates[0].key",
            says: "the key in 'other-key.pem' does not belong to the certificate in 'own.pem'"),
        .init(
            sound: "- certificate: other.pem", wrong: "- certificate: garbled.pem",
            place: "10:24: listeners[1].tls.certificates[1].certificate",
            says: "the certificate in 'garbled.pem' cannot be read"),
        .init(
            sound: "      key: other-key.pem", wrong: "      key: open.pem",
            place: "11:16: listeners[1].tls.certificates[1].key",
            says: "the file 'open.pem' is open to other users (mode 0644)"),
        .init(
            sound: "head_timeout: 10s", wrong: "head_timeout: 10", place: "12:46: listeners[2].head_timeout",
            says: "'10' is no duration"),
        .init(
            sound: "shop: { endpoints: [127.0.0.1:5002] }", wrong: "shop: { endpoints: [\"https://h:1\"] }",
            place: "15:23: upstreams.shop.endpoints[0]", says: "TLS to an upstream is not built yet"),
        .init(
            sound: "jwks_file: keys.json", wrong: "jwks_file: garbled.json",
            place: "19:66: authentication.jwt[0].keys.jwks_file", says: "the keys in 'garbled.json' cannot be read"),
        .init(
            sound: "secret_file: secret", wrong: "secret_file: weak",
            place: "20:68: authentication.jwt[1].keys.secret_file", says: "the secret has 5 bytes"),
        .init(
            sound: "ca: own.pem", wrong: "ca: garbled.pem", place: "21:90: authentication.jwt[2].keys.ca",
            says: "the authorities in 'garbled.pem' cannot be read"),
        .init(
            sound: "{ keys: identity, audience: gateway }", wrong: "{ keys: identity, audience: shop }",
            place: "22:35: authentication.jwt[3].audience", says: "an upstream is called 'shop' too"),
        .init(
            sound: "few: { rate: 5/minute, key: subject }", wrong: "few: { rate: often, key: subject }",
            place: "24:16: limits.few.rate", says: "'often' is no rate"),
        .init(
            sound: "identity: { database: gateway.db }", wrong: "identity: { database: open.pem }",
            place: "26:23: identity.database", says: "others may read or write 'open.pem' (mode 0644)"),
        .init(
            sound: "path: /b, upstream: app, require: { scopes: [write] } }",
            wrong: "path: /b, upstream: app, requier: { scopes: [write] } }", place: "29:53: routes[1].requier",
            says: "the key 'requier' is unknown; did you mean 'require'?"),
        .init(
            sound: "path: /x/**, upstream: app", wrong: "path: /x/**, upstream: ap",
            place: "30:51: routes[2].upstream", says: "no upstream is called 'ap'"),
        .init(
            sound: "- { host: c.example.com, path: /, upstream",
            wrong: "- { host: c.example.com, path: /a//b, upstream",
            place: "32:34: routes[4].path", says: "the path holds '//'"),
        .init(
            sound: "path: /, upstream: shop", wrong: "path: /z, upstream: shop", place: "39:5: tests[4]",
            says: "GET https://d.example.com/z ends in allow, not in 404"),
    ]

    private func folder() throws -> CheckFolder {
        let folder = try CheckFolder()
        try folder.write("keys.json", Self.keys)
        try folder.write("garbled.json", "{]")
        try folder.write("secret", "Zx8kQ2vLr0TnWb5yHs1uJd7mCe4gPf9a\n")
        try folder.write("weak", "short\n")
        try folder.write("garbled.pem", "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n")
        try folder.write("open.pem", "-----BEGIN PRIVATE KEY-----\nMA==\n", mode: 0o644)
        return folder
    }

    /// The public key of RFC 7515 appendix A.3.
    private static let keys = """
        {"keys":[{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}
        """

    private func text(with mistakes: [Mistake]) throws -> String {
        var text = Self.sound
        for mistake in mistakes {
            try #require(text.split(separator: mistake.sound, omittingEmptySubsequences: false).count == 2)
            text = text.replacing(mistake.sound, with: mistake.wrong)
        }
        return text
    }

    @Test func `a sound file has no problem, and looking at it makes no file`() throws {
        let folder = try folder()
        let before = folder.names
        #expect(try folder.lines(Self.sound) == [])
        #expect(folder.names == before.union(["gateway.yaml"]))
    }

    @Test(arguments: mistakes)
    func `each mistake alone is one line`(mistake: Mistake) throws {
        let lines = try folder().lines(try text(with: [mistake]))
        #expect(lines.count == 1, "\(lines)")
        #expect(lines.first?.hasPrefix("gateway.yaml:\(mistake.place): \(mistake.says)") == true, "\(lines)")
        #expect(lines.first?.contains("; ") == true, "what is found is followed by a cure")
    }

    @Test func `all mistakes together are their lines, in the order of the file, and no other`() throws {
        let lines = try folder().lines(try text(with: Self.mistakes))
        #expect(lines.count == Self.mistakes.count, "\(lines.joined(separator: "\n"))")
        for (line, mistake) in zip(lines, Self.mistakes) {
            #expect(line.hasPrefix("gateway.yaml:\(mistake.place): \(mistake.says)"))
        }
    }

    @Test(arguments: mistakes.filter { !$0.place.contains("warning") && !$0.place.contains("identity.database") })
    func `nothing is served from a file with an error`(mistake: Mistake) throws {
        let folder = try folder()
        try folder.write("gateway.yaml", try text(with: [mistake]))
        let file = "\(folder.path)/gateway.yaml"
        let result = ConfigurationLoader.load(path: file, environment: [:])
        #expect(ConfigurationCheck(result, file: file).sound == nil)
        #expect(RouteCheck(result, file: file).compiled == nil || result.configuration != nil)
        let options = RunOptions(configurationPath: file, isDevelopment: true, environment: [:], version: "test")
        #expect(throws: StartError.self) { try GatewayServer.load(options) }
    }

    @Test func `a start and a reload refuse with every problem at once`() throws {
        let folder = try folder()
        try folder.write("gateway.yaml", try text(with: Self.mistakes))
        let options = RunOptions(
            configurationPath: "\(folder.path)/gateway.yaml", isDevelopment: true, environment: [:], version: "test")
        do throws(StartError) {
            _ = try GatewayServer.load(options)
            Issue.record("it was taken")
        } catch {
            // Those of what surrounds the file are for `check` alone.
            #expect(error.description.split(separator: "\n").count == Self.mistakes.count - 2)
        }
    }

    @Test func `a test that a broken route could decide is left out, the others run`() throws {
        let broken = "- { host: b.example.com, path: /x/**, upstream: app, public: true, fleem: 1 }"
        let lines = try folder().lines(
            Self.sound.replacing("- { host: b.example.com, path: /x/**, upstream: app, public: true }", with: broken)
                .replacing("https://b.example.com/x/1, expect: allow", with: "https://b.example.com/x/1, expect: deny")
                .replacing("https://c.example.com/, expect: allow", with: "https://c.example.com/, expect: deny"))
        #expect(lines.count == 2)
        #expect(lines.first?.contains("routes[2].fleem") == true)
        #expect(lines.last?.contains("tests[3]: GET https://c.example.com/ ends in allow, not in deny") == true)
    }

    @Test func `of two routes that tie nobody knows which was meant`() throws {
        let lines = try folder().lines(
            Self.sound.replacing(
                "tests:",
                with:
                    "  - { host: c.example.com, path: /, name: again, upstream: app, require: { scopes: [read] } }\ntests:"
            ))
        #expect(lines.count == 1, "\(lines)")
        #expect(lines.first?.contains("routes[6]: ties with routes[4]") == true)
    }

    @Test func `a route that cannot be read leaves the answers of its host open, and of no other`() throws {
        let lines = try folder().lines(
            Self.sound.replacing("host: b.example.com, path: /x/**", with: "host: b.example.com, path: x")
                .replacing("https://d.example.com/z, expect: 404", with: "https://d.example.com/z, expect: allow"))
        #expect(lines.map { $0.prefix(24) }.count == 2, "\(lines)")
        #expect(lines.first?.contains("routes[2].path") == true)
        #expect(lines.last?.contains("tests[4]") == true)
    }

    @Test(arguments: ["key", "certificate"])
    func `a file that is away is reported where it is named, and its partner is read all the same`(which: String) throws
    {
        let pair = which == "key" ? ("own.pem", "gone.pem") : ("gone.pem", "garbled-key.pem")
        let folder = try folder()
        try folder.write("garbled-key.pem", "-----BEGIN PRIVATE KEY-----\nMA==\n-----END PRIVATE KEY-----\n")
        let lines = try folder.lines(
            Self.sound.replacing(
                "[{ certificate: own.pem, key: own-key.pem }]", with: "[{ certificate: \(pair.0), key: \(pair.1) }]"))
        #expect(lines.count == (which == "key" ? 1 : 2), "\(lines)")
        #expect(lines.first?.contains("certificates[0].\(which): the file 'gone.pem' cannot be read") == true)
        if which == "certificate" {
            #expect(lines.last?.contains("certificates[0].key: the private key in 'garbled-key.pem'") == true)
        }
    }

    @Test func `a key file without a key for the algorithms is worth a warning`() throws {
        let problems = try folder().check(
            Self.sound.replacing(
                "keys: { jwks_file: keys.json }", with: "keys: { jwks_file: keys.json }, algorithms: RS256"))
        #expect(problems.map(\.severity) == [.warning])
        #expect(problems.first?.message.contains("verifies RS256") == true)
    }
}
