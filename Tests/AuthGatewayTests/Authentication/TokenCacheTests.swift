import IdentityModel
import JOSE
import Testing

@testable import AuthGateway

/// What a worker remembers of tokens, and what it asks anew.
@Suite(.timeLimit(.minutes(1)))
struct TokenCacheTests {
    private let now = TokenFixture.now

    @Test(
        arguments: [
            ("60s", -61, .notYetValid), ("60s", -60, nil), ("60s", 0, nil), ("60s", 1059, nil), ("60s", 1060, .expired),
            ("0s", -1, .notYetValid), ("0s", 0, nil), ("0s", 999, nil), ("0s", 1000, .expired),
            ("5m", -301, .notYetValid), ("5m", -300, nil), ("5m", 1299, nil), ("5m", 1300, .expired),
        ] as [(String, Int64, CredentialFault?)], ["nbf", "iat"])
    func `a token's times are compared with each use, remembered or not, on both sides of the clocks' difference`(
        moment: (skew: String, offset: Int64, fault: CredentialFault?), beginning: String
    ) throws {
        let issuer = try TokenFixture(settings: "clock_skew: \(moment.skew)")
        let token = try issuer.token([(beginning, .integer(now)), ("exp", .integer(now + 1000))])
        let fresh = TokenCache([issuer.authenticator], entriesMax: 10)
        #expect(fresh.fault(of: token, now: now + moment.offset) == moment.fault)
        #expect(fresh.misses == 1)

        let remembering = TokenCache([issuer.authenticator], entriesMax: 10)
        #expect(remembering.fault(of: token, now: now + 500) == nil)
        #expect(remembering.fault(of: token, now: now + moment.offset) == moment.fault)
        #expect(remembering.hits == 1 && remembering.misses == 1)
        // One refusal does not spoil what is remembered.
        #expect(remembering.fault(of: token, now: now + 500) == nil)
        #expect(remembering.hits == 2)
    }

    @Test func `the later of two beginnings counts, when a token is remembered too`() throws {
        let issuer = try TokenFixture(settings: "clock_skew: 0s")
        for (notBefore, issuedAt) in [(now, now - 100), (now - 100, now)] {
            let token = try issuer.token([("nbf", .integer(notBefore)), ("iat", .integer(issuedAt))])
            let cache = TokenCache([issuer.authenticator], entriesMax: 10)
            #expect(cache.fault(of: token, now: now) == nil)
            #expect(cache.fault(of: token, now: now - 1) == .notYetValid)
            #expect(cache.hits == 1)
        }
    }

    @Test func `a remembered token is the same credential, and a token with one other byte is not remembered`() throws {
        let issuer = try TokenFixture()
        let cache = TokenCache([issuer.authenticator], entriesMax: 10)
        let token = try issuer.token()
        let first = try cache.credential(for: token.bytes.span, now: now).get()
        #expect(try cache.credential(for: token.bytes.span, now: now).get() === first)
        for index in token.utf8.indices {
            var bytes = token.bytes
            let offset = token.utf8.distance(from: token.utf8.startIndex, to: index)
            bytes[offset] = bytes[offset] == UInt8(ascii: "A") ? UInt8(ascii: "B") : UInt8(ascii: "A")
            #expect(cache.fault(of: String(decoding: bytes, as: UTF8.self)) != nil, "\(offset)")
        }
        #expect(cache.fault(of: token + "A") != nil)
        #expect(cache.fault(of: String(token.dropLast())) != nil)
        #expect(cache.hits == 1)
    }

    @Test func `what was refused is judged anew each time`() throws {
        let issuer = try TokenFixture()
        let cache = TokenCache([issuer.authenticator], entriesMax: 10)
        let forged = try issuer.token(by: try SigningKey.generate())
        for _ in 0..<3 { #expect(cache.fault(of: forged) == .unknownKey) }
        #expect(cache.hits == 0 && cache.misses == 3)
    }

    @Test func `what is no token or of no issuer here is refused, whatever its length`() throws {
        let issuer = try TokenFixture()
        let cache = TokenCache([issuer.authenticator], entriesMax: 10)
        let good = try issuer.token()
        let parts = good.split(separator: ".").map(String.init)
        for text in [
            "", ".", "..", "...", "a.b", "a.b.c", good + ".", "." + good, parts[0] + ".." + parts[2],
            parts[0] + "." + parts[1], good + "." + parts[2], String(repeating: "a", count: 100_000),
        ] {
            #expect(cache.fault(of: text) == .malformed, "\(text.prefix(20))")
        }
        for name in ["https://other.test", "https://issuer.test/", "HTTPS://issuer.test", "", "partner:ann"] {
            #expect(cache.fault(of: try issuer.token([("iss", .string(name))])) == .unknownIssuer, "\(name)")
        }
        #expect(cache.fault(of: try issuer.token([("iss", 7)])) == .malformed)
        #expect(cache.fault(of: good) == nil)
        // The longest that is looked at; what is longer is not even hashed.
        let room = TokenVerifier.tokenBytesMax - good.utf8.count
        let misses = cache.misses
        #expect(cache.fault(of: good + String(repeating: "A", count: room)) != nil)
        #expect(cache.misses == misses + 1)
        #expect(cache.fault(of: good + String(repeating: "A", count: room + 1)) == .malformed)
        #expect(cache.misses == misses + 1)
    }

    @Test func `one issuer's key is no good for another's name`() throws {
        let first = try TokenFixture()
        let second = try TokenFixture(name: "https://second.test")
        let cache = TokenCache([first.authenticator, second.authenticator], entriesMax: 10)
        #expect(cache.claims(of: try first.token())?.subject.issuer == "https://issuer.test")
        #expect(cache.claims(of: try second.token())?.subject.issuer == "https://second.test")
        #expect(cache.fault(of: try first.token(by: second.key)) == .unknownKey)
        #expect(cache.fault(of: try first.token([("iss", "https://second.test")])) == .unknownKey)
        #expect(cache.fault(of: try first.token([("aud", "other")])) == .wrongAudience)
    }

    @Test func `as many tokens are remembered as the file says, and those that are used stay`() throws {
        let issuer = try TokenFixture()
        let tokens = try (0..<20).map { try issuer.token([("sub", .string("user-\($0)"))]) }
        let cache = TokenCache([issuer.authenticator], entriesMax: 4)
        for token in tokens { #expect(cache.fault(of: token) == nil) }
        #expect(cache.misses == 20 && cache.hits == 0)
        for token in tokens.suffix(2) { #expect(cache.fault(of: token) == nil) }
        #expect(cache.hits == 2)
        for token in tokens.prefix(16) { #expect(cache.fault(of: token) == nil) }
        #expect(cache.hits == 2)
        let none = TokenCache([issuer.authenticator], entriesMax: 0)
        for _ in 0..<3 { #expect(none.fault(of: tokens[0]) == nil) }
        #expect(none.hits == 0 && none.misses == 3)
    }

    // MARK: Keys that change

    private func jwk(_ key: SigningKey) -> JWK { JWK(key: key.publicKey, keyID: key.keyID) }

    @Test func `no token can be judged before the first keys came, and none is refused for good`() async throws {
        let published = PublishedKeys([])
        let remote = published.remote()
        let issuer = try TokenFixture(published: [], remoteKeys: remote)
        let cache = TokenCache([issuer.authenticator], entriesMax: 10)
        let token = try issuer.token()
        guard case .failure(let refusal) = cache.credential(for: token.bytes.span, now: now) else {
            Issue.record("believed")
            return
        }
        #expect(refusal.isUndecided)
        published.publish([jwk(issuer.key)])
        remote.poll(at: .zero)
        await remote.settle()
        #expect(cache.fault(of: token) == nil)
        guard case .failure(let wrong) = cache.credential(for: "a.b.c".bytes.span, now: now) else {
            Issue.record("believed")
            return
        }
        #expect(!wrong.isUndecided)
    }

    @Test func `a key that its issuer withdraws is no good from then on, for remembered tokens too`() async throws {
        let issuer = try TokenFixture()
        let published = PublishedKeys([jwk(issuer.key)])
        let remote = published.remote()
        remote.poll(at: .zero)
        await remote.settle()
        let watched = TokenAuthenticator(
            issuer: issuer.authenticator.issuer, verifier: issuer.authenticator.verifier, remoteKeys: remote,
            prefix: issuer.authenticator.prefix, roleScopes: issuer.authenticator.roleScopes)
        let cache = TokenCache([watched], entriesMax: 10)
        let token = try issuer.token()
        for _ in 0..<2 { #expect(cache.fault(of: token) == nil) }
        #expect(cache.hits == 1 && cache.misses == 1)

        // The same keys again: nothing is asked anew.
        remote.poll(at: .seconds(300))
        await remote.settle()
        #expect(cache.fault(of: token) == nil)
        #expect(cache.hits == 2 && cache.misses == 1)

        // One more key: the old one is still good, and the signature is checked once more.
        let newer = try SigningKey.generate()
        published.publish([jwk(issuer.key), jwk(newer)])
        remote.poll(at: .seconds(600))
        await remote.settle()
        for _ in 0..<2 { #expect(cache.fault(of: token) == nil) }
        #expect(cache.hits == 3 && cache.misses == 2)
        #expect(cache.fault(of: try issuer.token(by: newer)) == nil)

        published.publish([jwk(newer)])
        remote.poll(at: .seconds(900))
        await remote.settle()
        #expect(cache.fault(of: token) == .unknownKey)
        #expect(cache.fault(of: try issuer.token(by: newer)) == nil)
    }

    @Test func `an unknown key makes the issuer be asked, and the token is refused meanwhile`() async throws {
        let issuer = try TokenFixture()
        let published = PublishedKeys([jwk(issuer.key)])
        let remote = published.remote()
        remote.poll(at: .zero)
        await remote.settle()
        let watched = TokenAuthenticator(
            issuer: issuer.authenticator.issuer, verifier: issuer.authenticator.verifier, remoteKeys: remote,
            prefix: issuer.authenticator.prefix, roleScopes: issuer.authenticator.roleScopes)
        let cache = TokenCache([watched], entriesMax: 10)
        let newer = try SigningKey.generate()
        let token = try issuer.token(by: newer)
        published.publish([jwk(issuer.key), jwk(newer)])
        #expect(cache.fault(of: token) == .unknownKey)
        await remote.settle()
        #expect(published.askedCount == 2)
        #expect(cache.fault(of: token) == nil)
    }
}
