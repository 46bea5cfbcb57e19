import EventLoop
import RedisTestSupport
import Testing

@testable import RateLimit

@Suite struct RateLimitStateTests {
    private static let second: UInt64 = 1_000_000_000

    @Test func `5 a minute with a burst of 5 lets five through at once, then one each 12 s`() throws {
        let rule = try #require(RateLimitRule(count: 5, period: .seconds(60), burst: 5))
        let second = RateLimitStateTests.second
        let table: [(UInt64, RateLimitOutcome)] = [
            (0, .allowed(remaining: 4, resetAfter: .seconds(12))),
            (0, .allowed(remaining: 3, resetAfter: .seconds(24))),
            (0, .allowed(remaining: 2, resetAfter: .seconds(36))),
            (0, .allowed(remaining: 1, resetAfter: .seconds(48))),
            (0, .allowed(remaining: 0, resetAfter: .seconds(60))),
            (0, .limited(retryAfter: .seconds(12), resetAfter: .seconds(60))),
            (12 * second - 1, .limited(retryAfter: .nanoseconds(1), resetAfter: .nanoseconds(48_000_000_001))),
            (12 * second, .allowed(remaining: 0, resetAfter: .seconds(60))),
            (12 * second, .limited(retryAfter: .seconds(12), resetAfter: .seconds(60))),
            (36 * second - 1, .allowed(remaining: 0, resetAfter: .nanoseconds(48_000_000_001))),
            (36 * second - 1, .limited(retryAfter: .nanoseconds(1), resetAfter: .nanoseconds(48_000_000_001))),
            (36 * second, .allowed(remaining: 0, resetAfter: .seconds(60))),
            (96 * second, .allowed(remaining: 4, resetAfter: .seconds(12))),
        ]
        var state = RateLimitState(fullAt: 0)
        // What is spent at 36 s - 1 ns came back at 24 s; the next one is there a nanosecond later.
        for (now, outcome) in table { #expect(state.take(rule, at: now) == outcome, "at \(now)") }
    }

    @Test func `a burst of one never lets two through within an interval`() throws {
        let rule = try #require(RateLimitRule(count: 10, period: .seconds(1), burst: 1))
        var state = RateLimitState(fullAt: 0)
        #expect(state.take(rule, at: 5) == .allowed(remaining: 0, resetAfter: .milliseconds(100)))
        #expect(state.take(rule, at: 100_000_004).isAllowed == false)
        #expect(state.take(rule, at: 100_000_005).isAllowed)
    }

    @Test func `agrees with a token bucket in exact fractions`() throws {
        var chance = SplitMix(state: 1)
        var kinds = [true: 0, false: 0]
        for _ in 0..<400 {
            let count = Int.random(in: 1...20, using: &chance)
            let interval = Int64.random(in: 1...5_000_000_000, using: &chance)
            let rule = try #require(
                RateLimitRule(
                    count: count, period: .nanoseconds(interval * Int64(count)),
                    burst: Int.random(in: 1...30, using: &chance)))
            var state = RateLimitState(fullAt: 0)
            var reference = ReferenceBucket(rule)
            var now: UInt64 = 0
            for _ in 0..<200 {
                now += step(rule, &chance)
                let outcome = state.take(rule, at: now)
                kinds[outcome.isAllowed, default: 0] += 1
                let expected = reference.take(at: now)
                // The macro costs more than what it checks.
                if outcome != expected { try #require(outcome == expected, "\(rule) at \(now)") }
            }
        }
        #expect(kinds.values.allSatisfy { $0 > 10_000 })
    }

    @Test func `lets nothing through that exact fractions would not, where the interval is no whole number`() throws {
        var chance = SplitMix(state: 2)
        for _ in 0..<400 {
            let rule = try #require(
                RateLimitRule(
                    count: Int.random(in: 1...1000, using: &chance),
                    period: .nanoseconds(Int64.random(in: 1...100_000, using: &chance)),
                    burst: Int.random(in: 1...30, using: &chance)))
            var state = RateLimitState(fullAt: 0)
            var reference = ReferenceBucket(rule)
            var now: UInt64 = 0
            for _ in 0..<200 {
                now += step(rule, &chance)
                guard state.take(rule, at: now).isAllowed, !reference.take(at: now).isAllowed else { continue }
                Issue.record("\(rule) at \(now)")
            }
        }
    }

    @Test func `neither the longest rule nor the latest time overflows`() throws {
        let rule = try #require(RateLimitRule(count: 1, period: .seconds(100 * 365 * 86_400), burst: 1))
        for now in [0, 1, RateLimitState.nowMax - 1, RateLimitState.nowMax] {
            var state = RateLimitState(fullAt: 0)
            #expect(state.take(rule, at: now) == .allowed(remaining: 0, resetAfter: rule.period))
            #expect(state.take(rule, at: now) == .limited(retryAfter: rule.period, resetAfter: rule.period))
            var worst = RateLimitState(fullAt: .max)
            #expect(worst.take(rule, at: now) == .limited(retryAfter: rule.period, resetAfter: rule.period))
        }
    }

    @Test func `a rule made smaller by a reload holds its keys no longer than it says itself`() throws {
        let old = try #require(RateLimitRule(count: 10, period: .seconds(86_400), burst: 10))
        let new = try #require(RateLimitRule(count: 2, period: .seconds(60), burst: 2))
        var state = RateLimitState(fullAt: 0)
        for _ in 0..<10 { #expect(state.take(old, at: 7).isAllowed) }
        #expect(state.take(new, at: 7) == .limited(retryAfter: .seconds(30), resetAfter: .seconds(60)))
        #expect(state.take(new, at: 7 + 30 * RateLimitStateTests.second - 1).isAllowed == false)
        #expect(state.take(new, at: 7 + 30 * RateLimitStateTests.second).isAllowed)
    }

    /// Often nothing, often about an interval, seldom long enough to fill the bucket.
    private func step(_ rule: RateLimitRule, _ chance: inout SplitMix) -> UInt64 {
        switch Int.random(in: 0...9, using: &chance) {
        case 0...3: 0
        case 4...6: UInt64.random(in: 0...rule.interval, using: &chance)
        case 7, 8: rule.interval + UInt64.random(in: 0...2, using: &chance) - 1
        default: UInt64.random(in: 0...(rule.span * 2), using: &chance)
        }
    }
}
