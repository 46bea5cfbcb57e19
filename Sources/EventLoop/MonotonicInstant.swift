internal import Glibc

/// A point on the machine's monotonic clock; steps of the wall clock do not move it.
public struct MonotonicInstant: Comparable, Sendable {
    /// Since an arbitrary start.
    public var nanoseconds: UInt64

    /// An instant at a count of nanoseconds.
    public init(nanoseconds: UInt64) { self.nanoseconds = nanoseconds }

    /// Reads the clock (`CLOCK_MONOTONIC`, no system call where the vDSO serves).
    public static func current() -> MonotonicInstant {
        var time = timespec()
        _ = unsafe clock_gettime(CLOCK_MONOTONIC, &time)
        return MonotonicInstant(nanoseconds: UInt64(time.tv_sec) &* 1_000_000_000 &+ UInt64(time.tv_nsec))
    }

    /// Later by a length of time that is not negative.
    public func advanced(byNanoseconds count: UInt64) -> MonotonicInstant {
        MonotonicInstant(nanoseconds: nanoseconds &+ count)
    }

    /// Nanoseconds from `earlier` to here; zero when it is not earlier.
    public func nanoseconds(since earlier: MonotonicInstant) -> UInt64 {
        nanoseconds > earlier.nanoseconds ? nanoseconds - earlier.nanoseconds : 0
    }

    /// By order.
    public static func < (left: MonotonicInstant, right: MonotonicInstant) -> Bool {
        left.nanoseconds < right.nanoseconds
    }
}

extension Duration {
    /// Whole nanoseconds; zero for a negative length, capped at about 292 years.
    public var clampedNanoseconds: UInt64 {
        let (seconds, attoseconds) = components
        guard seconds >= 0, attoseconds >= 0 else { return 0 }
        guard seconds < 9_000_000_000 else { return UInt64(Int64.max) }
        return UInt64(seconds) * 1_000_000_000 + UInt64(attoseconds / 1_000_000_000)
    }
}

/// Milliseconds since the epoch, by the wall clock.
public func currentEpochMilliseconds() -> Int64 {
    var time = timespec()
    _ = unsafe clock_gettime(CLOCK_REALTIME, &time)
    return Int64(time.tv_sec) * 1000 + Int64(time.tv_nsec) / 1_000_000
}

/// Seconds since the epoch, by the wall clock.
public func currentEpochSeconds() -> Int64 {
    var time = timespec()
    _ = unsafe clock_gettime(CLOCK_REALTIME, &time)
    return Int64(time.tv_sec)
}
