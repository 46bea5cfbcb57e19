/// How long to wait before the next attempt: twice as long after each failure, and never the same for all nodes.
struct ReconnectPause {
    private let shortest: UInt64
    private let longest: UInt64
    private var failures = 0

    /// Nanoseconds.
    init(shortest: UInt64, longest: UInt64) {
        self.shortest = max(1, shortest)
        self.longest = max(self.shortest, longest)
    }

    /// Nanoseconds to wait after one more failure: from half of the pause to all of it, as `random` says.
    mutating func next(random: UInt64) -> UInt64 {
        var pause = shortest
        for _ in 0..<failures where pause < longest { pause = pause > longest / 2 ? longest : pause * 2 }
        failures = min(failures + 1, 64)
        let half = pause / 2
        return pause - random % (half + 1)
    }

    /// The server works again.
    mutating func reset() { failures = 0 }
}
