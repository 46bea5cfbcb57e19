import JOSE
import Testing

struct TokenAttackTests {
    private let issuer: TestIssuer

    init() throws { issuer = try TestIssuer.shared.get() }

    private func encoded(_ text: String) -> String { Base64URL.encode(bytes(text)) }

    @Test(arguments: [
        "none", "None", "NONE", "nOnE", "", "HS256", "HS384", "HS512", "ES384", "ES512", "RS384", "RS512", "PS256",
        "ES256K", "es256", "Es256", "ES256 ", "Ed25519", "ECDH-ES", "dir", "RSA-OAEP",
    ])
    func `R80 a token does not choose an algorithm that is not configured`(algorithm: String) throws {
        for keyID in ["", #","kid":"ec""#, #","kid":"rsa""#] {
            let text = try issuer.token(header: #"{"alg":"\#(algorithm)"\#(keyID)}"#)
            #expect(issuer.verifier.refusal(of: text) == .algorithmRefused)
            let unsigned = bytes("\(encoded(#"{"alg":"\#(algorithm)"}"#)).\(encoded(TestIssuer.claims)).")
            #expect(issuer.verifier.refusal(of: unsigned) == .notThreeParts)
        }
    }

    @Test func `R80 a public key is no secret in any of its spellings`() throws {
        let key = try issuer.rsaKey.publicKey()
        let jwkText = JWK(key: key, keyID: nil).object.encoded()
        guard case .rsa(let modulus, _) = key.kind else { return #expect(Bool(false)) }
        for secret in [
            try issuer.rsaKey.pem(), jwkText, modulus, bytes(Base64URL.encode(modulus)), bytes(key.thumbprint),
        ] {
            for header in [#"{"alg":"HS256"}"#, #"{"alg":"HS256","kid":"rsa"}"#, #"{"alg":"RS256","kid":"rsa"}"#] {
                let text = token(header: header, claims: TestIssuer.claims) { HMAC.sha256(key: secret, $0).bytes }
                #expect(issuer.verifier.refusal(of: text) != nil)
            }
        }
    }

    @Test func `R80 the algorithm must be the one of the named key`() throws {
        for (header, sign) in [
            (#"{"alg":"RS256","kid":"ec"}"#, issuer.es256), (#"{"alg":"EdDSA","kid":"ec"}"#, issuer.es256),
            (#"{"alg":"ES256","kid":"rsa"}"#, issuer.rsaKey.sign), (#"{"alg":"ES256","kid":"ed"}"#, issuer.edKey.sign),
        ] {
            let text = try token(header: header, claims: TestIssuer.claims, sign: sign)
            #expect(issuer.verifier.refusal(of: text) == .keyUnknown)
        }
        // Signed by one key and named after another of the same algorithm.
        let other = try SigningKey.generate()
        let keys = JWKSet([JWK(key: other.publicKey, keyID: "ec"), JWK(key: issuer.ecKey.publicKey, keyID: "ec2")])
        let verifier = try issuer.verifier.replacingKeys(keys)
        #expect(verifier.refusal(of: try issuer.token()) == .signatureInvalid)
        #expect(verifier.refusal(of: try issuer.token(header: #"{"alg":"ES256","kid":"ec2"}"#)) == nil)
    }

    @Test func `R80 an algorithm that is not configured is refused although a key fits`() throws {
        let verifier = try TokenVerifier(
            issuer: "https://iam", audiences: ["oms"], algorithms: [.rs256], keys: .publicKeys(issuer.keys))
        #expect(verifier.refusal(of: try issuer.token()) == .algorithmRefused)
    }

    @Test func `R80 a verifier with a secret takes nothing but HS256`() throws {
        let secret = try SymmetricKey(randomBytes(32))
        let verifier = try TokenVerifier(
            issuer: "https://iam", audiences: ["oms"], algorithms: [.hs256], keys: .secret(secret))
        let sign = { (message: [UInt8]) in secret.authenticationCode(of: message.span).bytes }
        let good = token(header: #"{"alg":"HS256"}"#, claims: TestIssuer.claims, sign: sign)
        #expect(verifier.refusal(of: good) == nil)
        #expect(verifier.refusal(of: token(header: #"{"alg":"ES256"}"#, claims: "{}", sign: sign)) == .algorithmRefused)
        #expect(verifier.refusal(of: try issuer.token()) == .algorithmRefused)
        for signature in [[], [0], [UInt8](repeating: 0, count: 32), [UInt8](repeating: 0, count: 33)] {
            let text = token(header: #"{"alg":"HS256"}"#, claims: TestIssuer.claims) { _ in signature }
            #expect(verifier.refusal(of: text) == (signature.isEmpty ? .notThreeParts : .signatureInvalid))
        }
        let short = token(header: #"{"alg":"HS256"}"#, claims: TestIssuer.claims) { sign($0).dropLast() }
        #expect(verifier.refusal(of: short) == .signatureInvalid)
    }

    @Test func `R80 signatures with numbers out of range are refused`() throws {
        let order = unhex("FFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551")
        let zero = [UInt8](repeating: 0, count: 32)
        let one = Array(zero.dropLast() + [1])
        let most = [UInt8](repeating: 0xFF, count: 32)
        let pairs = [(zero, zero), (zero, one), (one, zero), (one, one), (order, one), (one, order), (most, most)]
        for (r, s) in pairs {
            let text = token(header: #"{"alg":"ES256"}"#, claims: TestIssuer.claims) { _ in r + s }
            #expect(issuer.verifier.refusal(of: text) == .signatureInvalid)
        }
        // The DER form, and numbers of another width.
        let signature = try issuer.es256(bytes("x"))
        for changed in [[0x30, 0x44] + signature, [0] + signature, signature + [0], signature + signature] {
            let text = token(header: #"{"alg":"ES256"}"#, claims: TestIssuer.claims) { _ in changed }
            #expect(issuer.verifier.refusal(of: text) == .signatureInvalid)
        }
    }

    @Test(arguments: 0...8)
    func `R81 only three parts are taken, an encrypted token is not tried`(count: Int) throws {
        let good = String(decoding: try issuer.token(), as: UTF8.self).split(separator: ".").map(String.init)
        let parts = (good + ["AAAA", "AAAA", "AAAA", "AAAA", "AAAA"]).prefix(count)
        let text = bytes(parts.joined(separator: "."))
        #expect(issuer.verifier.refusal(of: text) == (count == 3 ? nil : .notThreeParts))
    }

    @Test func `R81 empty parts are refused wherever they are`() throws {
        let good = String(decoding: try issuer.token(), as: UTF8.self)
        let parts = good.split(separator: ".").map(String.init)
        for text in [
            "..", "...", ".", "", ".\(good)", "\(good).", "\(parts[0])..\(parts[2])", ".\(parts[1]).\(parts[2])",
            "\(parts[0]).\(parts[1]).", "\(parts[0]).\(parts[1])..\(parts[2])",
        ] {
            #expect(issuer.verifier.refusal(of: bytes(text)) == .notThreeParts)
        }
    }

    @Test(arguments: [
        #""jku":"https://evil/keys""#, #""x5u":"https://evil/cert""#, #""jwk":{}"#, #""x5c":["MIIB"]"#,
        #""crit":["exp"]"#, #""crit":[]"#, #""crit":null"#, #""b64":false"#, #""b64":false,"crit":["b64"]"#,
        #""enc":"A128GCM""#, #""zip":"DEF""#, #""\u006aku":"https://evil/keys""#,
    ])
    func `R82 a token does not bring its key or its extensions`(parameter: String) throws {
        for header in [#"{"alg":"ES256","kid":"ec",\#(parameter)}"#, #"{\#(parameter),"alg":"ES256"}"#] {
            #expect(issuer.verifier.refusal(of: try issuer.token(header: header)) == .headerParameterRefused)
        }
    }

    @Test func `R82 a key inside the token verifies nothing`() throws {
        let own = try SigningKey.generate()
        let object = String(decoding: JWK(key: own.publicKey, keyID: "ec").object.encoded(), as: UTF8.self)
        let text = try token(header: #"{"alg":"ES256","kid":"ec","jwk":\#(object)}"#, claims: TestIssuer.claims) {
            try own.signature(of: $0.span)
        }
        #expect(issuer.verifier.refusal(of: text) == .headerParameterRefused)
    }

    @Test(arguments: [
        "../../etc/passwd", "' OR 1=1 --", "https://evil/key", "ec\\u0000", "EC", "ec ", "", "/dev/null", "0",
    ])
    func `R82 the key's name is compared and nothing else`(keyID: String) throws {
        let text = try issuer.token(header: #"{"alg":"ES256","kid":"\#(keyID)"}"#)
        #expect(issuer.verifier.refusal(of: text) == .keyUnknown)
    }

    @Test(arguments: [(128, TokenError.keyUnknown), (129, .headerMalformed), (4000, .headerMalformed)])
    func `R82 the key's name has 128 bytes at the most`(count: Int, error: TokenError) throws {
        let keyID = String(repeating: "k", count: count)
        #expect(issuer.verifier.refusal(of: try issuer.token(header: #"{"alg":"ES256","kid":"\#(keyID)"}"#)) == error)
    }

    @Test(arguments: [
        "", "{}", "[]", "null", "1", #""x""#, #"{"alg":1}"#, #"{"alg":null}"#, #"{"alg":["ES256"]}"#,
        #"{"alg":"ES256","alg":"ES256"}"#, #"{"alg":"ES256","kid":1}"#, #"{"alg":"ES256","kid":null}"#,
        #"{"alg":"ES256"}x"#, #"{"alg":"ES256""#, #"{"ALG":"ES256"}"#, "\u{FEFF}{\"alg\":\"ES256\"}",
    ])
    func `R82 a header that is no object of the right types is refused`(header: String) throws {
        let error = issuer.verifier.refusal(of: try issuer.token(header: header))
        #expect(error == (header.isEmpty ? .notThreeParts : .headerMalformed))
    }

    @Test func `R88 every prefix and every suffix of a token is refused`() throws {
        let good = try issuer.token()
        #expect(issuer.verifier.refusal(of: good) == nil)
        for count in good.indices {
            #expect(issuer.verifier.refusal(of: Array(good.prefix(count))) != nil)
            #expect(issuer.verifier.refusal(of: Array(good.suffix(count))) != nil)
        }
    }

    @Test func `R88 every token with one bit changed is refused`() throws {
        let good = try issuer.token()
        for bit in 0..<(good.count * 8) {
            var changed = good
            changed[bit / 8] ^= 1 << UInt8(bit % 8)
            #expect(issuer.verifier.refusal(of: changed) != nil)
        }
    }

    @Test(arguments: ["=", "==", " ", "\n", "\r\n", "\t", "\0", "+", "/", "%", "\u{E9}"])
    func `R88 a byte more in any part is refused`(more: String) throws {
        let good = try issuer.token()
        for index in [0] + good.indices.filter({ good[$0] == UInt8(ascii: ".") }).flatMap({ [$0, $0 + 1] })
            + [good.count / 2, good.count]
        {
            var changed = good
            changed.insert(contentsOf: more.utf8, at: index)
            #expect(issuer.verifier.refusal(of: changed) != nil)
        }
    }
}
