import EventLoop

@testable import RateLimit

/// A token bucket in exact fractions: what a rule means, told in another way than GCRA does.
///
/// The level is in tokens × nanoseconds of the period, so that `count` of it come back in each nanosecond.
struct ReferenceBucket {
    let count: Int128
    let period: Int128
    let burst: Int128
    var level: Int128
    var last: Int128 = 0

    init(_ rule: RateLimitRule) {
        count = Int128(rule.count)
        period = Int128(rule.period.clampedNanoseconds)
        burst = Int128(rule.burst)
        level = burst * period
    }

    mutating func take(at now: UInt64) -> RateLimitOutcome {
        level = min(burst * period, level + (Int128(now) - last) * count)
        last = Int128(now)
        guard level >= period else {
            return .limited(
                retryAfter: .nanoseconds(nanosecondsUntil(period)),
                resetAfter: .nanoseconds(nanosecondsUntil(burst * period)))
        }
        level -= period
        return .allowed(remaining: Int(level / period), resetAfter: .nanoseconds(nanosecondsUntil(burst * period)))
    }

    private func nanosecondsUntil(_ wanted: Int128) -> Int64 { Int64((wanted - level + count - 1) / count) }
}

extension RateLimitOutcome {
    var isAllowed: Bool { if case .allowed = self { true } else { false } }
}
