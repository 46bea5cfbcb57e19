internal import Synchronization

/// A number that only grows, written by one thread and read by any: an increment is a plain load, add and store.
public final class Counter: Sendable {
    private let count = Atomic<UInt64>(0)

    /// Starts at zero.
    public init() {}

    /// Adds; called by the owning thread only.
    @inline(__always) public func add(_ amount: UInt64 = 1) {
        count.store(count.load(ordering: .relaxed) &+ amount, ordering: .relaxed)
    }

    /// Adds from any thread, at the price of a locked instruction.
    public func addShared(_ amount: UInt64 = 1) { count.wrappingAdd(amount, ordering: .relaxed) }

    /// The value now.
    public var value: UInt64 { count.load(ordering: .relaxed) }
}

/// A number that goes up and down, written by one thread and read by any.
public final class Gauge: Sendable {
    private let level = Atomic<Int64>(0)

    /// Starts at zero.
    public init() {}

    /// Adds, or subtracts; called by the owning thread only.
    @inline(__always) public func add(_ amount: Int64) {
        level.store(level.load(ordering: .relaxed) &+ amount, ordering: .relaxed)
    }

    /// Replaces the value, from any thread.
    public func set(_ value: Int64) { level.store(value, ordering: .relaxed) }

    /// The value now.
    public var value: Int64 { level.load(ordering: .relaxed) }
}

/// Counts lengths of time in buckets from 100 µs to 60 s, written by one thread and read by any.
public final class DurationHistogram: Sendable {
    /// Upper bounds in nanoseconds, smallest first; one more bucket follows for what is longer.
    public static let boundsNanoseconds: [UInt64] = [
        100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000, 10_000_000, 25_000_000, 50_000_000, 100_000_000,
        250_000_000, 500_000_000, 1_000_000_000, 2_500_000_000, 5_000_000_000, 10_000_000_000, 60_000_000_000,
    ]

    /// One for each bound, one for what is longer, and the sum: side by side, because an exchange's are seldom in the cache.
    private let cells = InlineArray<19, Atomic<UInt64>> { _ in Atomic(0) }

    /// Starts empty.
    public init() {}

    /// Counts one length; called by the owning thread only.
    public func record(nanoseconds: UInt64) {
        DurationHistogram.add(1, to: cells[DurationHistogram.bucket(of: nanoseconds)])
        DurationHistogram.add(nanoseconds, to: cells[DurationHistogram.sumIndex])
    }

    /// The index of the first bound that is not below the length. The bounds once more: as code they are no memory.
    static func bucket(of nanoseconds: UInt64) -> Int {
        switch nanoseconds {
        case ...100_000: 0
        case ...250_000: 1
        case ...500_000: 2
        case ...1_000_000: 3
        case ...2_500_000: 4
        case ...5_000_000: 5
        case ...10_000_000: 6
        case ...25_000_000: 7
        case ...50_000_000: 8
        case ...100_000_000: 9
        case ...250_000_000: 10
        case ...500_000_000: 11
        case ...1_000_000_000: 12
        case ...2_500_000_000: 13
        case ...5_000_000_000: 14
        case ...10_000_000_000: 15
        case ...60_000_000_000: 16
        default: 17
        }
    }

    @inline(__always)
    private static func add(_ amount: UInt64, to cell: borrowing Atomic<UInt64>) {
        cell.store(cell.load(ordering: .relaxed) &+ amount, ordering: .relaxed)
    }

    private static let sumIndex = 18

    /// Counts for each bound and for what is longer, not summed up; and the sum of all lengths in nanoseconds.
    public var snapshot: (counts: [UInt64], sumNanoseconds: UInt64) {
        let counts = (0..<DurationHistogram.sumIndex).map { cells[$0].load(ordering: .relaxed) }
        return (counts, cells[DurationHistogram.sumIndex].load(ordering: .relaxed))
    }
}
