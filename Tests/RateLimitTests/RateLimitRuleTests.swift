import Testing

@testable import RateLimit

@Suite struct RateLimitRuleTests {
    @Test(
        arguments: [
            (5, Duration.seconds(60), 5, 12_000_000_000, 60_000_000_000),
            (1, .nanoseconds(1), 1, 1, 1),
            (7, .seconds(1), 1, 142_857_143, 142_857_143),
            (3, .nanoseconds(2), 4, 1, 4),
            (50, .seconds(3600), 20, 72_000_000_000, 1_440_000_000_000),
        ] as [(Int, Duration, Int, UInt64, UInt64)])
    func `an interval is rounded up, never down`(
        count: Int, period: Duration, burst: Int, interval: UInt64, span: UInt64
    ) throws {
        let rule = try #require(RateLimitRule(count: count, period: period, burst: burst))
        #expect(rule.interval == interval)
        #expect(rule.span == span)
    }

    @Test func `refuses what is out of range, on each side`() {
        let second = Duration.seconds(1)
        let century = Duration.seconds(100 * 365 * 86_400)
        #expect(RateLimitRule(count: 0, period: second, burst: 1) == nil)
        #expect(RateLimitRule(count: -1, period: second, burst: 1) == nil)
        #expect(RateLimitRule(count: 1, period: .zero, burst: 1) == nil)
        #expect(RateLimitRule(count: 1, period: .seconds(-1), burst: 1) == nil)
        #expect(RateLimitRule(count: 1, period: second, burst: 0) == nil)
        #expect(RateLimitRule(count: .max, period: second, burst: 1_000_000_000) != nil)
        #expect(RateLimitRule(count: .max, period: second, burst: 1_000_000_001) == nil)
        #expect(RateLimitRule(count: 1, period: century, burst: 1) != nil)
        #expect(RateLimitRule(count: 1, period: century + .nanoseconds(1), burst: 1) == nil)
        #expect(RateLimitRule(count: 10, period: century, burst: 10) != nil)
        #expect(RateLimitRule(count: 10, period: century, burst: 11) == nil)
        #expect(RateLimitRule(count: 1, period: .seconds(Int64.max), burst: 1) == nil)
        #expect(RateLimitRule(count: 1, period: century, burst: 1_000_000_000) == nil)
    }
}
