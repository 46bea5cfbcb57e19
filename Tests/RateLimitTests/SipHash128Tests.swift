import Testing

@testable import RateLimit

@Suite struct SipHash128Tests {
    /// Key and input count up from zero, as in the reference vectors of SipHash-2-4-128; results as OpenSSL gives them.
    @Test(arguments: [
        (0, "a3817f04ba25a8e66df67214c7550293"), (1, "3b62a9ba6258f5610f83e264f31497b4"),
        (2, "6ee2a4ca67b054bbfd3315bf85230577"),
    ])
    func `gives the results of the reference`(wordCount: Int, digest: String) {
        var hash = SipHash128(key: (0x0706_0504_0302_0100, 0x0F0E_0D0C_0B0A_0908))
        for word in 0..<wordCount {
            hash.append((0..<8).reduce(UInt64(0)) { $0 | UInt64(word * 8 + $1) << UInt64($1 * 8) })
        }
        let (first, second) = hash.finish()
        let bytes = [first, second].flatMap { word in (0..<8).map { UInt8(truncatingIfNeeded: word >> (8 * $0)) } }
        #expect(bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined() == digest)
    }

    @Test func `a part is its length and its bytes, filled up to whole words`() {
        for count in 0...40 {
            let bytes = (0..<count).map { UInt8(200 + $0 % 50) }
            var fast = SipHash128(key: (1, 2))
            fast.append(part: bytes.span)
            var slow = SipHash128(key: (1, 2))
            slow.append(UInt64(count))
            for start in stride(from: 0, to: count, by: 8) {
                var word: UInt64 = 0
                for index in start..<min(start + 8, count) {
                    word += UInt64(bytes[index]) << UInt64(8 * (index - start))
                }
                slow.append(word)
            }
            #expect(fast.finish() == slow.finish())
        }
    }
}
