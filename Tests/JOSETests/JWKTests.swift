import JOSE
import Testing

struct JWKTests {
    private let ec = """
        "kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",\
        "y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"
        """

    /// RFC 7638 section 3.1 and RFC 8037 appendix A.3.
    @Test(arguments: [
        (RFCVectors.thumbprintKey, "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"),
        (RFCVectors.ed25519Key, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"),
    ])
    func `thumbprints are those of the RFCs`(text: String, thumbprint: String) throws {
        #expect(try jwk(text).key.thumbprint == thumbprint)
    }

    @Test(arguments: [
        #","use":"sig""#, #","alg":"ES256""#, #","key_ops":["verify"]"#, #","key_ops":["sign","verify"]"#,
        #","kid":"any text / '; --""#, #","x5c":["MIIB"],"unknown":1"#,
        #","kid":"\#(String(repeating: "k", count: 128))""#,
    ])
    func `takes keys whose members permit verification`(more: String) throws {
        #expect(try jwk("{\(ec)\(more)}").key.algorithm == .es256)
    }

    @Test(arguments: [
        #"{"kty":"oct","k":"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75"}"#, #"{"kty":"AKP"}"#,
        #"{"kty":"ec","crv":"P-256"}"#, #"{"kty":"EC","crv":"secp256k1","x":"AA","y":"AA"}"#,
        #"{"kty":"EC","crv":"P-384","x":"AA","y":"AA"}"#, #"{"kty":"OKP","crv":"X25519","x":"AA"}"#,
    ])
    func `passes over keys of other kinds`(text: String) throws {
        #expect(throws: JWK.Problem.unsupported) { try jwk(text) }
    }

    @Test(arguments: [
        #","use":"enc""#, #","use":"""#, #","key_ops":["sign"]"#, #","key_ops":[]"#, #","alg":"ES384""#,
        #","alg":"HS256""#, #","alg":"none""#,
    ])
    func `passes over keys for other uses`(more: String) throws {
        #expect(throws: JWK.Problem.unsupported) { try jwk("{\(ec)\(more)}") }
    }

    @Test(arguments: [
        #","use":1"#, #","kid":7"#, #","kid":null"#, #","key_ops":"verify""#, #","key_ops":["verify",1]"#,
        #","alg":{}"#,
        #","d":"jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI""#,
        #","kid":"\#(String(repeating: "k", count: 129))""#,
    ])
    func `counts as broken what has members of the wrong type or a private part`(more: String) throws {
        #expect(throws: JWK.Problem.malformed) { try jwk("{\(ec)\(more)}") }
    }

    @Test(arguments: [
        "{}", #"{"kty":1}"#, #"{"kty":"EC"}"#, #"{"kty":"EC","crv":"P-256"}"#, #"{"kty":"OKP","crv":"Ed25519"}"#,
        #"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"AA"}"#,
        #"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU=","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#,
        #"{"kty":"RSA","n":"AQAB","e":"AQAB"}"#, #"{"kty":"OKP","crv":"Ed25519","x":"AAAA"}"#,
    ])
    func `counts as broken what lacks a number or has a wrong one`(text: String) throws {
        #expect(throws: JWK.Problem.malformed) { try jwk(text) }
    }

    @Test func `a published key is read back as it was`() throws {
        for text in [RFCVectors.thumbprintKey, RFCVectors.ed25519Key, "{\(ec)}"] {
            let original = JWK(key: try jwk(text).key, keyID: "a \u{E9}<")
            #expect(try JWK(original.object) == original)
            #expect(try JWKSet(parsing: JWKSet([original]).encoded()) == JWKSet([original]))
        }
    }

    @Test func `a published key holds nothing private`() throws {
        let key = try SigningKey.generate()
        let object = JWK(key: key.publicKey, keyID: key.keyID).object
        #expect(object.members.map(\.name) == ["crv", "kty", "x", "y", "alg", "use", "kid"])
    }
}

struct JWKSetTests {
    private func set(_ keys: String...) throws -> JWKSet {
        try JWKSet(parsing: bytes("{\"keys\":[\(keys.joined(separator: ","))]}"))
    }

    private func key(_ keyID: String?) throws -> JWK { JWK(key: try SigningKey.generate().publicKey, keyID: keyID) }

    @Test func `passes over what it cannot use and counts it`() throws {
        let set = try set(
            RFCVectors.ed25519Key, #"{"kty":"oct","k":"AAAA"}"#, #"{"kty":"EC"}"#, RFCVectors.thumbprintKey, "{}")
        #expect(set.keys.map(\.key.algorithm) == [.edDSA, .rs256])
        #expect(set.unsupportedCount == 1)
        #expect(set.malformedCount == 2)
    }

    @Test(arguments: ["{}", "[]", #"{"keys":{}}"#, #"{"keys":[1]}"#, #"{"keys":null}"#])
    func `refuses what is no set`(text: String) {
        #expect(throws: JWKSetError.noKeys) { try JWKSet(parsing: bytes(text)) }
    }

    @Test func `refuses what is no JSON`() {
        #expect(throws: JWKSetError.notJSON(JSONError(offset: 0, problem: .unexpectedByte))) {
            try JWKSet(parsing: bytes("<html>"))
        }
        #expect(throws: JWKSetError.self) { try JWKSet(parsing: bytes(#"{"keys":[],"keys":[]}"#)) }
    }

    @Test func `reads 64 keys and 256 KiB and no more`() throws {
        func text(_ count: Int) -> [UInt8] {
            bytes("{\"keys\":[" + [String](repeating: "{}", count: count).joined(separator: ",") + "]}")
        }
        #expect(try JWKSet(parsing: text(64)).malformedCount == 64)
        #expect(throws: JWKSetError.tooManyKeys(65)) { try JWKSet(parsing: text(65)) }
        let padded = bytes(#"{"keys":[]}"#)
        let spaces = [UInt8](repeating: 0x20, count: 256 << 10 - padded.count)
        _ = try JWKSet(parsing: padded + spaces)
        #expect(throws: JWKSetError.notJSON(JSONError(offset: 256 << 10, problem: .tooLong))) {
            try JWKSet(parsing: padded + spaces + [0x20])
        }
    }

    @Test func `keeps one of two keys that are alike, and both of two that share a name`() throws {
        let first = try key("a")
        let second = try key("a")
        let set = JWKSet([first, second, first])
        #expect(set.keys == [first, second])
        #expect(set.candidates(keyID: "a", algorithm: .es256) == [first.key, second.key])
    }

    @Test func `finds keys by exact name and by algorithm, four at the most`() throws {
        let kelvin = try key("K\u{212A}")
        let keys = try (0..<6).map { _ in try key(nil) }
        let set = JWKSet([kelvin] + keys)
        #expect(set.candidates(keyID: "K\u{212A}", algorithm: .es256) == [kelvin.key])
        #expect(set.candidates(keyID: "KK", algorithm: .es256).isEmpty)
        #expect(set.candidates(keyID: "", algorithm: .es256).isEmpty)
        #expect(set.candidates(keyID: "K\u{212A}", algorithm: .rs256).isEmpty)
        #expect(set.candidates(keyID: nil, algorithm: .es256).count == 4)
        #expect(set.candidates(keyID: nil, algorithm: .hs256).isEmpty)
    }
}
