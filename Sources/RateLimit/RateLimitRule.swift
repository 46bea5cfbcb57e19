internal import EventLoop

/// How often something may happen for one key: `count` times in each `period`, `burst` of them at once.
///
/// 5 a minute with a burst of 5: five at once, then one each 12 s.
public struct RateLimitRule: Sendable, Equatable {
    /// Tokens that come back in each period.
    public let count: Int
    /// How long `count` tokens take to come back.
    public let period: Duration
    /// Tokens in a full bucket.
    public let burst: Int

    /// Nanoseconds until one token is back. Rounded up: the rule is never exceeded, and undercut by less than one
    /// nanosecond for each token.
    let interval: UInt64
    /// Nanoseconds until an empty bucket is full: `burst` intervals.
    let span: UInt64

    /// `nil` unless count and burst are positive, the burst is at most 10^9, the period lasts a nanosecond or more,
    /// and an empty bucket is full again within 100 years.
    public init?(count: Int, period: Duration, burst: Int) {
        let nanoseconds = period.clampedNanoseconds
        guard count > 0, nanoseconds > 0, (1...RateLimitRule.burstMax).contains(burst) else { return nil }
        // Both are below 2^63, so the sum fits.
        let interval = (nanoseconds + UInt64(count) - 1) / UInt64(count)
        let (span, overflow) = interval.multipliedReportingOverflow(by: UInt64(burst))
        guard !overflow, span <= RateLimitRule.spanMax else { return nil }
        self.count = count
        self.period = period
        self.burst = burst
        self.interval = interval
        self.span = span
    }

    static let burstMax = 1_000_000_000
    /// 100 years in nanoseconds; in microseconds since 1970 it still is a whole number to Lua.
    static let spanMax: UInt64 = 100 * 365 * 86_400 * 1_000_000_000
}
