/// Finds registrations whose deadline has come, at a cost that does not grow with how often deadlines move.
///
/// A registration stands in at most one bucket that counts. Moving its deadline later is one store in its slot; the
/// wheel notices when it reaches the old place, and puts it where it belongs now. Deadlines are met at most one tick
/// (17 ms) late, never early.
struct TimerWheel {
    /// Ticks are 2^24 ns, about 16.8 ms; the wheel spans 4,096 of them, and what lies beyond goes round again.
    static let tickShift: UInt64 = 24
    private static let size = 4096

    private var buckets: [[UInt64]] = Array(repeating: [], count: TimerWheel.size)
    private var entryCount = 0
    /// The next tick to look at; everything before it has been handled.
    private var position: UInt64
    /// No entry stands before this tick.
    private var earliest = UInt64.max

    init(now: MonotonicInstant) { position = now.nanoseconds >> TimerWheel.tickShift }

    /// The first tick at whose end the instant has passed.
    static func tick(of deadline: MonotonicInstant) -> UInt64 { (deadline.nanoseconds >> tickShift) + 1 }

    /// Puts a registration's bits where `tick` is looked at; returns the tick really used.
    mutating func insert(_ bits: UInt64, at tick: UInt64) -> UInt64 {
        let tick = min(max(tick, position), position + UInt64(TimerWheel.size) - 1)
        buckets[Int(tick % UInt64(TimerWheel.size))].append(bits)
        entryCount += 1
        earliest = min(earliest, tick)
        return tick
    }

    /// Takes out everything that stands at ticks up to now.
    mutating func takeDue(now: MonotonicInstant, into due: inout [UInt64]) {
        let current = now.nanoseconds >> TimerWheel.tickShift
        guard entryCount > 0, earliest <= current else {
            position = max(position, current)
            return
        }
        let last = min(current, position + UInt64(TimerWheel.size) - 1)
        while position <= last {
            let bucket = Int(position % UInt64(TimerWheel.size))
            if !buckets[bucket].isEmpty {
                due.append(contentsOf: buckets[bucket])
                entryCount -= buckets[bucket].count
                buckets[bucket].removeAll(keepingCapacity: buckets[bucket].count <= 1024)
            }
            position += 1
        }
        position = max(position, current)
        findEarliest()
    }

    /// How long the loop may sleep; `nil` when nothing is scheduled.
    func nanosecondsUntilNext(now: MonotonicInstant) -> UInt64? {
        guard entryCount > 0 else { return nil }
        let instant = MonotonicInstant(nanoseconds: earliest << TimerWheel.tickShift)
        return instant.nanoseconds(since: now)
    }

    private mutating func findEarliest() {
        earliest = .max
        guard entryCount > 0 else { return }
        for tick in position..<(position + UInt64(TimerWheel.size))
        where !buckets[Int(tick % UInt64(TimerWheel.size))].isEmpty {
            earliest = tick
            return
        }
    }
}
