import COpenSSL
import JOSE
import Testing

struct KeyTests {
    private let point = (
        x: "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", y: "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"
    )

    @Test func `takes points of P-256 and nothing else`() throws {
        let x = try #require(Base64URL.decode(point.x))
        let y = try #require(Base64URL.decode(point.y))
        #expect(try PublicKey(p256: x, y).algorithm == .es256)
        #expect(throws: KeyError.self) { try PublicKey(p256: y, x) }
        #expect(throws: KeyError.self) { try PublicKey(p256: x, Array(y.dropLast())) }
        #expect(throws: KeyError.self) { try PublicKey(p256: [0] + x, y) }
        #expect(throws: KeyError.self) { try PublicKey(p256: x, Array(y.dropLast()) + [y[31] ^ 1]) }
        let zero = [UInt8](repeating: 0, count: 32)
        #expect(throws: KeyError.self) { try PublicKey(p256: zero, zero) }
        #expect(ERR_peek_error() == 0)
    }

    @Test(arguments: [(2047, false), (2048, true), (8192, true), (8193, false), (1024, false), (0, false)])
    func `takes RSA keys of 2048 to 8192 bits`(bits: Int, isTaken: Bool) {
        var modulus = [UInt8](repeating: 0xA5, count: (bits + 7) / 8)
        if !modulus.isEmpty {
            let spare = modulus.count * 8 - bits
            modulus[0] = 0x80 >> UInt8(spare)
        }
        let key = try? PublicKey(rsa: modulus, [1, 0, 1])
        #expect((key != nil) == isTaken)
    }

    @Test(
        arguments: [
            ([3], true), ([1, 0, 1], true), ([0, 1, 0, 1], true), ([0xFF, 0xFF, 0xFF, 0xFF], true), ([], false),
            ([0], false),
            ([1], false), ([2], false), ([1, 0, 0], false), ([1, 0, 0, 0, 1], false),
        ] as [([UInt8], Bool)])
    func `takes odd RSA exponents from 3 to 32 bits`(exponent: [UInt8], isTaken: Bool) {
        let modulus = [UInt8](repeating: 0xA5, count: 256)
        #expect(((try? PublicKey(rsa: modulus, exponent)) != nil) == isTaken)
    }

    @Test func `refuses an even RSA modulus`() {
        #expect(throws: KeyError.self) { try PublicKey(rsa: [UInt8](repeating: 0xA6, count: 256), [1, 0, 1]) }
    }

    @Test(arguments: [(31, false), (32, true), (33, false), (0, false)])
    func `takes Ed25519 keys of 32 bytes`(count: Int, isTaken: Bool) {
        #expect(((try? PublicKey(ed25519: [UInt8](repeating: 9, count: count))) != nil) == isTaken)
    }

    @Test func `secrets need 32 bytes`() throws {
        let secret = randomBytes(32)
        _ = try SymmetricKey(secret)
        #expect(throws: KeyError.self) { try SymmetricKey(Array(secret.dropLast())) }
        #expect(throws: KeyError.self) { try SymmetricKey([]) }
    }

    @Test(arguments: [
        String(repeating: "a", count: 64), String(repeating: "abcdefg", count: 9),
        "a-string-secret-at-least-256-bits-long", "your-256-bit-secret-your-256-bit-secret",
        "dev-secret-key-CHANGE-IN-PRODUCTION", "django-insecure-0123456789abcdefghijklmnopqrstuvwxyz",
        "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE",
        "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\"}",
    ])
    func `secrets that others know are refused`(text: String) {
        #expect(throws: KeyError.self) { try SymmetricKey(bytes(text)) }
    }

    @Test func `secrets and private keys are not printed`() throws {
        let text = "0123456789abcdefghijklmnopqrstuvwxyz"
        let secret = try SymmetricKey(bytes(text))
        let key = PrivateKeyBytes(bytes(text))
        var dumped = ""
        dump(secret, to: &dumped)
        dump(key, to: &dumped)
        #expect("\(secret) \(key)" == "<secret> <secret>")
        #expect(String(reflecting: secret) == "<secret>")
        #expect(!dumped.contains("48"))
    }

    @Test func `a signing key comes back from its bytes`() throws {
        let key = try SigningKey.generate()
        let same = try SigningKey(pkcs8: try key.pkcs8())
        #expect(same.publicKey == key.publicKey)
        #expect(same.keyID == key.keyID)
        let message = bytes("message")
        let signature = try same.signature(of: message.span)
        #expect(key.publicKey.accepts(signature, message))
        #expect(try SigningKey.generate().publicKey != key.publicKey)
    }

    @Test func `bytes that are no private key on P-256 are refused`() throws {
        let good = try SigningKey.generate().pkcs8().reveal()
        for count in [0, 1, good.count / 2, good.count - 1] {
            #expect(throws: KeyError.self) { try SigningKey(pkcs8: PrivateKeyBytes(Array(good.prefix(count)))) }
        }
        #expect(throws: KeyError.self) { try SigningKey(pkcs8: PrivateKeyBytes(good + [0])) }
        // RFC 8410 section 10.3: Ed25519.
        let ed25519: [UInt8] =
            [0x30, 0x2E, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2B, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20] + (1...32)
        #expect(throws: KeyError.self) { try SigningKey(pkcs8: PrivateKeyBytes(ed25519)) }
        // The public half is the end of the structure.
        var mixed = good
        mixed.replaceSubrange((good.count - 64)..., with: try SigningKey.generate().pkcs8().reveal().suffix(64))
        #expect(throws: KeyError.self) { try SigningKey(pkcs8: PrivateKeyBytes(mixed)) }
        #expect(ERR_peek_error() == 0)
    }

    @Test func `signatures have 64 bytes, also where a number is short`() throws {
        let key = try SigningKey.generate()
        for number in 0..<600 {
            let message = bytes("message \(number)")
            let signature = try key.signature(of: message.span)
            #expect(signature.count == 64)
            #expect(key.publicKey.accepts(signature, message))
        }
    }
}
