public import EventLoop
internal import Synchronization

/// Buckets in this process's memory, exact for all of its threads.
///
/// The table is cut into shards by the key's hash, each with its own lock; a lock is held for tens of nanoseconds.
/// Bounded: see `RateLimitTable` for what happens when it is full.
public final class MemoryRateLimitStore: Sendable {
    private let shards: [Shard]

    private final class Shard: Sendable {
        let table: Mutex<RateLimitTable>
        init(entriesMax: Int) { table = Mutex(RateLimitTable(entriesMax: entriesMax)) }
    }

    /// `entriesMax`: keys with a bucket that is not full, over all shards; each takes 32 to 64 bytes while the table
    /// grows. At least 1.
    public init(entriesMax: Int = 1_000_000) {
        precondition(entriesMax > 0)
        var shardCount = 1
        while shardCount < MemoryRateLimitStore.shardsMax,
            entriesMax / shardCount > MemoryRateLimitStore.entriesPerShard
        {
            shardCount *= 2
        }
        let entriesPerShard = max(1, entriesMax / shardCount)
        shards = (0..<shardCount).map { _ in Shard(entriesMax: entriesPerShard) }
    }

    /// Spends one token of the key's bucket, if there is one. `now` may lag behind that of another thread.
    public func take(_ rule: RateLimitRule, key: RateLimitKey, now: MonotonicInstant) -> RateLimitOutcome {
        // A power of two of shards: the mask keeps the index in range.
        let shard = shards[Int(truncatingIfNeeded: key.high) & (shards.count - 1)]
        return shard.table.withLock { $0.take(rule, key: key, now: now.nanoseconds) }
    }

    /// Keys that have an entry now, expired ones that nobody came across yet included.
    public var entryCount: Int { shards.reduce(0) { $0 + $1.table.withLock { $0.count } } }

    /// Small enough that growing one shard is no pause to speak of (about 0.1 ms).
    private static let entriesPerShard = 4096
    private static let shardsMax = 4096
}
