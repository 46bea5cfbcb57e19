import JOSE
import Testing

func hex(_ bytes: [UInt8]) -> String {
    bytes.map { String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }.joined()
}

func unhex(_ text: String) -> [UInt8] {
    let digits = text.compactMap(\.hexDigitValue)
    return stride(from: 0, to: digits.count, by: 2).map { UInt8(digits[$0] << 4 | digits[$0 + 1]) }
}

struct DigestTests {
    /// FIPS 180-4 examples and the empty message.
    @Test(arguments: [
        ("", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        ("abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        (
            "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"
        ),
    ])
    func `SHA-256 gives the published digests`(message: String, digest: String) {
        #expect(hex(SHA256.digest(of: Array(message.utf8)).bytes) == digest)
        #expect(hex(SHA256.digest(of: Array(message.utf8).span).bytes) == digest)
    }

    @Test func `SHA-256 digests a million bytes`() {
        let digest = SHA256.digest(of: [UInt8](repeating: UInt8(ascii: "a"), count: 1_000_000))
        #expect(hex(digest.bytes) == "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0")
        #expect(digest.words.0 == 0xcdc7_6e5c_9914_fb92)
        #expect(digest.words.3 == 0x046d_39cc_c711_2cd0)
    }

    @Test func `digests differ when any of their words does`() {
        let digests = (0..<64).map { SHA256.digest(of: [UInt8($0)]) }
        #expect(Set(digests).count == 64)
        #expect(digests[0] == SHA256.digest(of: [0]))
    }

    /// RFC 4231, test cases 1, 2, 3 and 6.
    @Test(arguments: [
        (
            [UInt8](repeating: 0x0B, count: 20), Array("Hi There".utf8),
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"
        ),
        (
            Array("Jefe".utf8), Array("what do ya want for nothing?".utf8),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        ),
        (
            [UInt8](repeating: 0xAA, count: 20), [UInt8](repeating: 0xDD, count: 50),
            "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"
        ),
        (
            [UInt8](repeating: 0xAA, count: 131), Array("Test Using Larger Than Block-Size Key - Hash Key First".utf8),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"
        ),
    ])
    func `HMAC gives the codes of RFC 4231`(key: [UInt8], message: [UInt8], code: String) {
        #expect(hex(HMAC.sha256(key: key, message).bytes) == code)
    }

    @Test func `HMAC of nothing is defined, under no key is not`() async {
        #expect(HMAC.sha256(key: [1], []) != HMAC.sha256(key: [2], []))
        await #expect(processExitsWith: .failure) { _ = HMAC.sha256(key: [], [1]) }
    }

    @Test func `random bytes come in the number asked for and do not repeat`() {
        #expect(randomBytes(0).isEmpty)
        #expect(randomBytes(33).count == 33)
        #expect(Set((0..<1000).map { _ in randomBytes(16) }).count == 1000)
    }

    @Test func `comparison in constant time is comparison`() {
        #expect(isEqualInConstantTime([], []))
        #expect(isEqualInConstantTime([1, 2], [1, 2]))
        #expect(!isEqualInConstantTime([1, 2], [1, 3]))
        #expect(!isEqualInConstantTime([1, 2], [0, 2]))
        #expect(!isEqualInConstantTime([1, 2], [1, 2, 0]))
    }
}
