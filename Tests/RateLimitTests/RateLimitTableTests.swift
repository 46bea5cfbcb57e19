import RedisTestSupport
import Testing

@testable import RateLimit

@Suite struct RateLimitTableTests {
    private let seed = RateLimitSeed(words: (8, 9))

    @Test func `gives each key what a bucket of its own gives, while there is room`() throws {
        var chance = SplitMix(state: 21)
        var table = RateLimitTable(entriesMax: 5000)
        var buckets: [RateLimitKey: RateLimitState] = [:]
        let rules = try self.rules()
        let keys = (0..<3000).map { key($0, rule: $0 % 3) }
        var now: UInt64 = 5
        for _ in 0..<100_000 {
            now += UInt64.random(in: 0...20_000_000, using: &chance)
            let number = Int.random(in: 0..<keys.count, using: &chance) * Int.random(in: 0...1, using: &chance)
            let rule = rules[number % 3]
            let outcome = table.take(rule, key: keys[number], now: now)
            let expected = buckets[keys[number], default: RateLimitState(fullAt: 0)].take(rule, at: now)
            // The macro costs more than what it checks.
            if outcome != expected { try #require(outcome == expected, "key \(number) at \(now)") }
        }
        #expect(table.count > 100)
    }

    /// A key may get less than its rule where keys share what is left, and never more: neither one that was thrown out
    /// and came back, nor one of another rule.
    @Test(arguments: [1, 2, 5, 17, 100])
    func `however full it is, no key gets more than its rule`(entriesMax: Int) throws {
        var chance = SplitMix(state: UInt64(entriesMax))
        var table = RateLimitTable(entriesMax: entriesMax)
        let rules = try self.rules()
        var references = [Int: ReferenceBucket]()
        var now: UInt64 = 0
        var allowed = 0
        for _ in 0..<20_000 {
            now +=
                Int.random(in: 0...99, using: &chance) == 0
                ? UInt64.random(in: 0...30_000_000_000, using: &chance)
                : UInt64.random(in: 0...3_000_000, using: &chance)
            // Few keys come often, many seldom.
            let number =
                Bool.random(using: &chance)
                ? Int.random(in: 0...5, using: &chance) : Int.random(in: 0...3000, using: &chance)
            let outcome = table.take(rules[number % 3], key: key(number, rule: number % 3), now: now)
            if table.count > entriesMax { Issue.record("\(table.count) entries") }
            guard outcome.isAllowed else { continue }
            allowed += 1
            guard !references[number, default: ReferenceBucket(rules[number % 3])].take(at: now).isAllowed else {
                continue
            }
            Issue.record("key \(number) at \(now)")
            return
        }
        #expect(allowed > 100)
    }

    @Test func `a key that is used up stays so through a flood of others`() throws {
        let rule = try #require(RateLimitRule(count: 5, period: .seconds(60), burst: 5))
        var table = RateLimitTable(entriesMax: 64)
        for _ in 0..<5 { #expect(table.take(rule, key: key(0, rule: 0), now: 1).isAllowed) }
        var allowed = 0
        for number in 1...10_000 {
            _ = table.take(rule, key: key(number, rule: 0), now: 1)
            if table.take(rule, key: key(0, rule: 0), now: 1).isAllowed { allowed += 1 }
        }
        #expect(allowed == 0)
        #expect(table.count == 64)
    }

    @Test func `a flood on one rule takes nothing from the new keys of another`() throws {
        let flooded = try #require(RateLimitRule(count: 1, period: .seconds(86_400), burst: 1))
        let other = try #require(RateLimitRule(count: 5, period: .seconds(1), burst: 5))
        var table = RateLimitTable(entriesMax: 64)
        for number in 0..<1000 { _ = table.take(flooded, key: key(number, rule: 0), now: 1) }
        for _ in 0..<5 { #expect(table.take(other, key: key(0, rule: 1), now: 1).isAllowed) }
        #expect(table.take(other, key: key(0, rule: 1), now: 1).isAllowed == false)
    }

    @Test func `what a flood left behind is forgotten when its buckets would be full`() throws {
        let rule = try #require(RateLimitRule(count: 2, period: .seconds(2), burst: 2))
        var table = RateLimitTable(entriesMax: 8)
        for number in 0..<1000 { _ = table.take(rule, key: key(number, rule: 0), now: 1) }
        let later: UInt64 = 2_000_000_001
        #expect(
            table.take(rule, key: key(5000, rule: 0), now: later)
                == .allowed(remaining: 1, resetAfter: .seconds(1)))
    }

    @Test func `expired entries go as others come`() throws {
        let rule = try #require(RateLimitRule(count: 1, period: .seconds(1), burst: 1))
        var table = RateLimitTable(entriesMax: 100_000)
        var largest = 0
        for number in 0..<100_000 {
            // 100 keys are live at any time.
            _ = table.take(rule, key: key(number, rule: 0), now: UInt64(number) * 10_000_000)
            largest = max(largest, table.count)
        }
        #expect(largest < 1000)
    }

    @Test func `time does not run back: an older reading finds what a newer one left`() throws {
        let rule = try #require(RateLimitRule(count: 1, period: .seconds(1), burst: 1))
        var table = RateLimitTable(entriesMax: 8)
        #expect(table.take(rule, key: key(0, rule: 0), now: 5_000_000_000).isAllowed)
        #expect(table.take(rule, key: key(0, rule: 0), now: 3_000_000_000).isAllowed == false)
        #expect(table.take(rule, key: key(1, rule: 0), now: 0).isAllowed)
        #expect(table.take(rule, key: key(1, rule: 0), now: 5_999_999_999).isAllowed == false)
        #expect(table.take(rule, key: key(1, rule: 0), now: 6_000_000_000).isAllowed)
    }

    private func rules() throws -> [RateLimitRule] {
        [
            try #require(RateLimitRule(count: 5, period: .seconds(10), burst: 5)),
            try #require(RateLimitRule(count: 100, period: .seconds(1), burst: 3)),
            try #require(RateLimitRule(count: 1, period: .seconds(3), burst: 1)),
        ]
    }

    private func key(_ number: Int, rule: Int) -> RateLimitKey {
        RateLimitKeyspace(rule: "rule \(rule)", kind: .subject, seed: seed).key("\(number)".utf8.span)
    }
}
