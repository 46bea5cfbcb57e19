import RedisTestSupport
import Testing

@testable import RateLimit

@Suite struct RateLimitKeyTests {
    private let seed = RateLimitSeed(words: (1, 2))

    @Test func `each of the inputs makes another key, and equal inputs the same`() {
        var keys: Set<RateLimitKey> = []
        var made = 0
        for seed in [seed, RateLimitSeed(words: (1, 3)), .random(), .random()] {
            for rule in ["", "a", "b", "ab"] {
                for kind in RateLimitKey.Kind.allCases {
                    let space = RateLimitKeyspace(rule: rule, kind: kind, seed: seed)
                    for value in ["", "a", "b", "ab", "\0", "a\0", "aaaaaaaa", "aaaaaaaa\0"] {
                        keys.insert(space.key(Array(value.utf8).span))
                        #expect(space.key(Array(value.utf8).span) == space.key(value.utf8.span))
                        made += 1
                    }
                }
            }
        }
        #expect(keys.count == made)
    }

    @Test func `no two sequences of parts are one, however their bytes are cut`() {
        var chance = SplitMix(state: 5)
        let space = RateLimitKeyspace(rule: "r", kind: .subject, seed: seed)
        for _ in 0..<300 {
            let text = String(
                (0..<Int.random(in: 0...20, using: &chance)).map { _ in Bool.random(using: &chance) ? "\0" : "x" })
            var keys: Set<RateLimitKey> = [space.key(text.utf8.span)]
            for cut in 0...text.utf8.count {
                keys.insert(space.key(String(text.prefix(cut)), String(text.dropFirst(cut))))
            }
            #expect(keys.count == text.utf8.count + 2)
        }
    }

    @Test func `an IPv6 peer counts by its first 64 bits, whatever the others are`() {
        var chance = SplitMix(state: 7)
        let space = RateLimitKeyspace(rule: "r", kind: .address, seed: seed)
        for _ in 0..<500 {
            var address = (0..<16).map { _ in UInt8.random(in: 0...255, using: &chance) }
            let key = space.key(address: address.span)
            for index in 8..<16 { address[index] = UInt8.random(in: 0...255, using: &chance) }
            #expect(space.key(address: address.span) == key)
            let changed = Int.random(in: 0..<8, using: &chance)
            address[changed] ^= UInt8.random(in: 1...255, using: &chance)
            #expect(space.key(address: address.span) != key)
        }
    }

    @Test func `an IPv4 peer counts by its whole address`() {
        let space = RateLimitKeyspace(rule: "r", kind: .address, seed: seed)
        let mapped: [UInt8] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 192, 0, 2, 1]
        let key = space.key(address: mapped.span)
        #expect(key == space.key(Array(mapped[12...]).span))
        for index in 0..<16 {
            var other = mapped
            other[index] ^= 1
            #expect(space.key(address: other.span) != key)
        }
    }

    @Test func `nodes with one secret make the same keys, others do not`() {
        func key(_ secret: String) -> RateLimitKey {
            RateLimitKeyspace(rule: "r", kind: .route, seed: RateLimitSeed(sharedSecret: secret.utf8.span))
                .key("".utf8.span)
        }
        #expect(key("one") == key("one"))
        #expect(key("one") != key("two"))
    }

    @Test func `is written as 32 hexadecimal digits`() {
        var text: [UInt8] = []
        RateLimitKey(high: 0x0123_4567_89AB_CDEF, low: 1, rule: 0).appendHexDigits(to: &text)
        #expect(String(decoding: text, as: UTF8.self) == "0123456789abcdef0000000000000001")
    }
}
