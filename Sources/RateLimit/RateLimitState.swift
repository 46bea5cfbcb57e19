/// A bucket by the generic cell rate algorithm: one number says how full it is at any time.
struct RateLimitState: Equatable {
    /// The instant, in nanoseconds, from which on the bucket is full (GCRA's theoretical arrival time). Zero: full.
    var fullAt: UInt64

    /// Spends one token if there is one; `now` is at most `nowMax`.
    ///
    /// A bucket that would be full later than its rule allows, as after a reload with a smaller burst or after a
    /// clock that stepped back, is taken as empty from now on, not for as long as the old rule says.
    mutating func take(_ rule: RateLimitRule, at now: UInt64) -> RateLimitOutcome {
        if fullAt > now + rule.span { fullAt = now + rule.span }
        let missing = fullAt > now ? fullAt - now : 0
        // Twice the longest span and the latest now together are below 2^64: nothing here overflows.
        let missingAfter = missing + rule.interval
        guard missingAfter <= rule.span else {
            return .limited(
                retryAfter: .nanoseconds(Int64(missingAfter - rule.span)), resetAfter: .nanoseconds(Int64(missing)))
        }
        fullAt = now + missingAfter
        return .allowed(
            remaining: Int((rule.span - missingAfter) / rule.interval), resetAfter: .nanoseconds(Int64(missingAfter)))
    }

    /// The latest time that is told apart, 292 years after the clock's start; later it stands still.
    static let nowMax = UInt64(Int64.max)
}
