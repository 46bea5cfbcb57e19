/// When a key set is to be fetched: one fetch at a time, and never more often than the bounds below.
///
/// All times are those of the steady clock at which a fetch began, so that a slow answer moves nothing.
struct RefreshSchedule {
    /// Least time between the start of any fetch and one that a missed key asks for.
    static let missInterval: Duration = .seconds(30)
    /// Waits after a failure: the first, and what doubling ends at.
    static let retryDelays: (first: Duration, longest: Duration) = (.seconds(5), .seconds(60))

    private let interval: Duration
    private var isRunning = false
    private var startedAt: Duration?
    private var failureCount = 0

    init(interval: Duration) { self.interval = interval }

    /// Whether to fetch now because the time has come; if so, the fetch counts as begun.
    mutating func beginIfDue(at now: Duration) -> Bool { begin(at: now, after: waitAfterLast) }

    /// Whether to fetch now because a token named an unknown key; if so, the fetch counts as begun.
    mutating func beginAfterMiss(at now: Duration) -> Bool { begin(at: now, after: RefreshSchedule.missInterval) }

    /// The fetch that was begun has ended.
    mutating func end(isSuccess: Bool) {
        precondition(isRunning, "no fetch was begun")
        isRunning = false
        failureCount = isSuccess ? 0 : failureCount + 1
    }

    private mutating func begin(at now: Duration, after wait: Duration) -> Bool {
        guard !isRunning else { return false }
        if let startedAt, now < startedAt + wait { return false }
        isRunning = true
        startedAt = now
        return true
    }

    private var waitAfterLast: Duration {
        guard failureCount > 0 else { return interval }
        let (first, longest) = RefreshSchedule.retryDelays
        return min(interval, longest, first * (1 << min(failureCount - 1, 10)))
    }
}
