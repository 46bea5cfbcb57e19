import JOSE
import Testing

struct Base64URLTests {
    /// RFC 4648 section 10 without padding, and RFC 7515 appendix C.
    @Test(
        arguments: [
            ([], ""), (Array("f".utf8), "Zg"), (Array("fo".utf8), "Zm8"), (Array("foo".utf8), "Zm9v"),
            (Array("foob".utf8), "Zm9vYg"), (Array("fooba".utf8), "Zm9vYmE"), (Array("foobar".utf8), "Zm9vYmFy"),
            ([3, 236, 255, 224, 193], "A-z_4ME"),
        ] as [([UInt8], String)])
    func `gives and takes the published pairs`(bytes: [UInt8], text: String) {
        #expect(Base64URL.encode(bytes) == text)
        #expect(Base64URL.decode(text) == bytes)
    }

    @Test(arguments: [
        "A", "AAAAA", "Zg==", "Zm8=", "=", "Zm+v", "Zm/v", "Zm9v\n", " Zm9v", "Zm 9v", "Zm9v.", "Z\0", "Zm\u{E9}v",
        "Zg\u{0}",
    ])
    func `refuses padding, other alphabets, spaces and impossible lengths`(text: String) {
        #expect(Base64URL.decode(text) == nil)
    }

    @Test func `of all texts with one or two bytes only the canonical ones decode`() {
        let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
        for first in alphabet {
            for second in alphabet {
                for text in ["\(first)\(second)", "A\(first)\(second)"] {
                    if let bytes = Base64URL.decode(text) { #expect(Base64URL.encode(bytes) == text) }
                }
            }
        }
        #expect(alphabet.filter { Base64URL.decode("A\($0)") != nil }.count == 4)
        #expect(alphabet.filter { Base64URL.decode("AA\($0)") != nil }.count == 16)
    }

    @Test func `random bytes come back`() {
        for count in 0..<100 {
            let bytes = randomBytes(count)
            #expect(Base64URL.decode(Base64URL.encode(bytes)) == bytes)
        }
    }
}
