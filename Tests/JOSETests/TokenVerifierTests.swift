import COpenSSL
import JOSE
import Testing

/// One issuer with a key of each kind, and a verifier that permits all three algorithms.
struct TestIssuer: Sendable {
    /// One for all tests: an RSA key takes a while.
    static let shared = Result { try TestIssuer() }

    static let now: Int64 = 1_700_000_000
    static let claims = #"{"iss":"https://iam","aud":"oms","sub":"u1","iat":1699999990,"exp":1700000300}"#

    let ecKey: SigningKey
    let rsaKey: TestKey
    let edKey: TestKey
    let keys: JWKSet
    let verifier: TokenVerifier

    private init() throws {
        ecKey = try SigningKey.generate()
        rsaKey = try TestKey.rsa()
        edKey = try TestKey.ed25519()
        keys = JWKSet([
            JWK(key: ecKey.publicKey, keyID: "ec"), JWK(key: try rsaKey.publicKey(), keyID: "rsa"),
            JWK(key: try edKey.publicKey(), keyID: "ed"),
        ])
        verifier = try TokenVerifier(
            issuer: "https://iam", audiences: ["oms", "crm"], algorithms: [.es256, .rs256, .edDSA],
            keys: .publicKeys(keys))
    }

    func es256(_ message: [UInt8]) throws -> [UInt8] { try ecKey.signature(of: message.span) }

    /// A token with a good signature of the P-256 key over whatever header and claims are given.
    func token(header: String = #"{"alg":"ES256","kid":"ec"}"#, claims: String = claims) throws -> [UInt8] {
        try JOSETests.token(header: header, claims: claims, sign: es256)
    }
}

extension TokenVerifier {
    /// The error that a token is refused with, `nil` for one that is accepted.
    func refusal(of token: [UInt8], now: Int64 = TestIssuer.now) -> TokenError? {
        do {
            _ = try verify(token.span, now: now)
            return nil
        } catch { return error }
    }
}

struct TokenVerifierTests {
    private let issuer: TestIssuer

    init() throws { issuer = try TestIssuer.shared.get() }

    @Test func `a token that is in order gives its claims`() throws {
        let claims = """
            {"iss":"https://iam","aud":["x","crm"],"sub":"u1","iat":1699999990.5,"nbf":1699999980,\
            "exp":1700000300.9,"scope":"a:read","roles":["admin"]}
            """
        let text = try issuer.token(header: #"{"alg":"ES256","kid":"ec","typ":"JWT","x5t":"hint"}"#, claims: claims)
        let token = try issuer.verifier.verify(text.span, now: TestIssuer.now)
        #expect(token.issuer == "https://iam")
        #expect(token.subject == "u1")
        #expect(token.expiresAt == 1_700_000_300)
        #expect(token.notBefore == 1_699_999_980)
        #expect(token.usableFrom == 1_699_999_931)
        #expect(token.usableUntil == 1_700_000_360)
        #expect(token.keyID == "ec")
        #expect(token.algorithm == .es256)
        #expect(token.claims["scope"] == "a:read")
        #expect(token.claims["roles"]?.strings == ["admin"])
    }

    @Test func `whether a token is still usable is what verifying it again would say`() throws {
        let claims = #"{"iss":"https://iam","aud":"oms","sub":"u","iat":1699999000,"nbf":1700000000,"exp":1700000300}"#
        let text = try issuer.token(claims: claims)
        let token = try issuer.verifier.verify(text.span, now: TestIssuer.now)
        for now in Int64(1_699_999_930)..<1_700_000_370 {
            #expect(token.isUsable(at: now) == (issuer.verifier.refusal(of: text, now: now) == nil))
        }
        #expect(token.isUsable(at: 1_699_999_940) && !token.isUsable(at: 1_699_999_939))
        #expect(token.isUsable(at: 1_700_000_359) && !token.isUsable(at: 1_700_000_360))
    }

    @Test func `each kind of key verifies its own tokens, with and without its name`() throws {
        for (header, sign) in [
            (#"{"alg":"RS256","kid":"rsa"}"#, issuer.rsaKey.sign), (#"{"alg":"RS256"}"#, issuer.rsaKey.sign),
            (#"{"alg":"EdDSA","kid":"ed"}"#, issuer.edKey.sign), (#"{"alg":"EdDSA"}"#, issuer.edKey.sign),
            (#"{"alg":"ES256"}"#, issuer.es256),
        ] {
            let text = try token(header: header, claims: TestIssuer.claims, sign: sign)
            #expect(issuer.verifier.refusal(of: text) == nil)
        }
    }

    @Test func `what the signer makes the verifier accepts`() throws {
        let keys = JWKSet([JWK(key: issuer.ecKey.publicKey, keyID: issuer.ecKey.keyID)])
        let claims: JSONObject = [
            "iss": "https://iam", "aud": "oms", "sub": "\u{E9}<", "iat": 1_700_000_000, "exp": 1_700_000_060,
        ]
        let text = try TokenSigner(key: issuer.ecKey, type: "at+jwt").sign(claims)
        let token = try issuer.verifier.replacingKeys(keys).verify(Array(text.utf8).span, now: TestIssuer.now)
        #expect(token.claims == claims)
        #expect(token.keyID == issuer.ecKey.keyID)
    }

    @Test func `without a name the first four keys of the kind are tried`() throws {
        let others = try (0..<4).map { _ in JWK(key: try SigningKey.generate().publicKey, keyID: nil) }
        let ours = JWK(key: issuer.ecKey.publicKey, keyID: nil)
        let text = try issuer.token(header: #"{"alg":"ES256"}"#)
        let rsa = JWK(key: try issuer.rsaKey.publicKey(), keyID: nil)
        let fourth = try issuer.verifier.replacingKeys(JWKSet([rsa] + others.dropLast() + [ours]))
        #expect(fourth.refusal(of: text) == nil)
        let fifth = try issuer.verifier.replacingKeys(JWKSet(others + [ours]))
        #expect(fifth.refusal(of: text) == .signatureInvalid)
    }

    @Test func `takes 16 KiB and no more`() throws {
        func text(_ claimBytes: Int) throws -> [UInt8] {
            let prefix = TestIssuer.claims.dropLast() + ",\"p\":\""
            let padding = String(repeating: "x", count: claimBytes - prefix.utf8.count - 2)
            return try issuer.token(header: #"{"alg":"ES256"}"#, claims: prefix + padding + "\"}")
        }
        // Header, dots and signature are 108 bytes; the claims have four for every three.
        let claimBytes = (TokenVerifier.tokenBytesMax - 108) / 4 * 3
        #expect(try text(claimBytes).count == 16384)
        #expect(issuer.verifier.refusal(of: try text(claimBytes)) == nil)
        #expect(issuer.verifier.refusal(of: try text(claimBytes + 1)) == .tooLong)
    }

    @Test(arguments: [
        "JWT", "jwt", "at+jwt", "AT+JWT", "application/jwt", "application/at+JWT",
    ])
    func `takes tokens of the type JWT or access token`(type: String) throws {
        let text = try issuer.token(header: #"{"alg":"ES256","kid":"ec","typ":"\#(type)"}"#)
        #expect(issuer.verifier.refusal(of: text) == nil)
    }

    @Test(arguments: [
        (#""JWE""#, TokenError.typeRefused), (#""""#, .typeRefused), (#""logout+jwt""#, .typeRefused),
        (#""dpop+jwt""#, .typeRefused), (#""secevent+jwt""#, .typeRefused), ("1", .headerMalformed),
        ("null", .headerMalformed), (#"["JWT"]"#, .headerMalformed),
    ])
    func `refuses tokens of other types`(type: String, error: TokenError) throws {
        let text = try issuer.token(header: #"{"alg":"ES256","kid":"ec","typ":\#(type)}"#)
        #expect(issuer.verifier.refusal(of: text) == error)
    }

    @Test func `rules that could not hold are refused`() throws {
        let secret = VerificationKeys.secret(try SymmetricKey(randomBytes(32)))
        let keys = VerificationKeys.publicKeys(issuer.keys)
        func make(
            _ algorithms: [SignatureAlgorithm], _ keys: VerificationKeys, _ name: String = "i",
            _ audiences: [String] = ["a"]
        ) throws(TokenVerifierError) {
            _ = try TokenVerifier(issuer: name, audiences: audiences, algorithms: algorithms, keys: keys)
        }
        try make([.hs256], secret)
        try make([.es256], keys)
        #expect(throws: TokenVerifierError.noIssuer) { try make([.es256], keys, "") }
        #expect(throws: TokenVerifierError.noAudience) { try make([.es256], keys, "i", []) }
        #expect(throws: TokenVerifierError.noAudience) { try make([.es256], keys, "i", ["a", ""]) }
        #expect(throws: TokenVerifierError.noAlgorithm) { try make([], keys) }
        #expect(throws: TokenVerifierError.algorithmDoesNotFitKeys(.hs256)) { try make([.es256, .hs256], keys) }
        #expect(throws: TokenVerifierError.algorithmDoesNotFitKeys(.es256)) { try make([.hs256, .es256], secret) }
        let symmetric = try TokenVerifier(issuer: "i", audiences: ["a"], algorithms: [.hs256], keys: secret)
        #expect(throws: TokenVerifierError.algorithmDoesNotFitKeys(.hs256)) { try symmetric.replacingKeys(issuer.keys) }
    }

    @Test func `a refused token leaves nothing in the error queue of its thread`() throws {
        var text = try issuer.token()
        text[text.count - 20] ^= 1
        #expect(issuer.verifier.refusal(of: text) == .signatureInvalid)
        let rsa = token(header: #"{"alg":"RS256"}"#, claims: "{}") { _ in [UInt8](repeating: 7, count: 256) }
        #expect(issuer.verifier.refusal(of: rsa) == .signatureInvalid)
        #expect(ERR_peek_error() == 0)
    }
}
