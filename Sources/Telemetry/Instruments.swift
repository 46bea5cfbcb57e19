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

    private let buckets: [Counter] = (0...DurationHistogram.boundsNanoseconds.count).map { _ in Counter() }
    private let sum = Counter()

    /// Starts empty.
    public init() {}

    /// Counts one length; called by the owning thread only.
    public func record(nanoseconds: UInt64) {
        var index = 0
        for bound in DurationHistogram.boundsNanoseconds {
            if nanoseconds <= bound { break }
            index += 1
        }
        buckets[index].add()
        sum.add(nanoseconds)
    }

    /// Counts for each bound and for what is longer, not summed up; and the sum of all lengths in nanoseconds.
    public var snapshot: (counts: [UInt64], sumNanoseconds: UInt64) { (buckets.map(\.value), sum.value) }
}
