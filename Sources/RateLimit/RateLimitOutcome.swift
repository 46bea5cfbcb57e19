/// Whether a key could spend one token; all figures come from the same reading of its bucket.
public enum RateLimitOutcome: Sendable, Equatable {
    /// The token is spent. `remaining` more could be spent at once; the bucket is full after `resetAfter`.
    case allowed(remaining: Int, resetAfter: Duration)
    /// Nothing was spent. A token is there after `retryAfter`, if nobody else takes it; the bucket is full after
    /// `resetAfter`.
    case limited(retryAfter: Duration, resetAfter: Duration)
}
