import IdentityModel
import JOSE
import Testing

@testable import AuthGateway

@Suite struct IdentityAssertionTests {
    private let claims = SubjectClaims(
        subject: Subject(issuer: "https://idp.example", identifier: "u-1"), username: "alice", email: "a@example.com",
        roles: Set(["pm"].compactMap(Role.init)), scopes: Set(["reports:read"].compactMap(Scope.init)))

    private func token(_ line: [UInt8]) -> [UInt8] {
        Array(line.dropFirst("X-Auth-Assertion: ".utf8.count).dropLast(2))
    }

    @Test func `verifies with the published key, for its own application, for 60 seconds`() throws {
        let key = try SigningKey.generate()
        let signer = AssertionSigner(key: key, issuer: "https://iam.example")
        let line = try #require(signer.line(claims, kind: .session, audience: "flask", now: 1_000_000))
        #expect(line.suffix(2) == [0x0D, 0x0A])
        let keys = VerificationKeys.publicKeys(JWKSet([JWK(key: key.publicKey, keyID: key.keyID)]))
        let verifier = try TokenVerifier(
            issuer: "https://iam.example", audiences: ["flask"], algorithms: [.es256], clockSkew: .zero, keys: keys)
        let verified = try verifier.verify(token(line).span, now: 1_000_059)
        #expect(verified.subject == "u-1")
        #expect(verified.claims["preferred_username"]?.string == "alice")
        #expect(verified.claims["roles"]?.strings == ["pm"])
        #expect(throws: TokenError.expired) { try verifier.verify(token(line).span, now: 1_000_060) }
        let other = try TokenVerifier(
            issuer: "https://iam.example", audiences: ["django"], algorithms: [.es256], clockSkew: .zero, keys: keys)
        #expect(throws: TokenError.audienceWrong) { try other.verify(token(line).span, now: 1_000_001) }
    }

    @Test func `is signed once, and again after half its life`() throws {
        let signer = AssertionSigner(key: try SigningKey.generate(), issuer: "https://iam.example")
        let credential = Credential(
            kind: .session, claims: claims, usableFrom: 0, usableUntil: .max, prefix: .none)
        let first = try #require(credential.assertion(for: "flask", now: 100, by: signer))
        #expect(credential.assertion(for: "flask", now: 129, by: signer) == first)
        #expect(credential.assertion(for: "flask", now: 130, by: signer) != first)
        #expect(credential.assertion(for: "django", now: 100, by: signer) != first)
    }
}
