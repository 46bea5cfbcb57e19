internal import Synchronization

/// A fixed table of counters that makes cached credentials stale.
///
/// A session, subject or key hashes to one counter. A cache entry keeps the counter's value read *before* its fetch
/// began; a hit whose counter has moved since is a miss. Whoever ends a session commits to the store, then calls
/// `revoke`, then answers: from there on no worker believes an older entry, and a fetch that raced with the end
/// cannot bring the session back. A collision costs another subject one fetch, never a wrong answer.
public final class RevocationTable: Sendable {
    private let counters: [Counter]

    /// A table of 4,096 counters, all zero.
    public init() { counters = (0..<RevocationTable.size).map { _ in Counter() } }

    /// The counter's value for a key; read it before the fetch whose result is to be cached.
    public func generation(of key: SessionKey) -> UInt64 {
        counters[RevocationTable.index(key)].value.load(ordering: .acquiring)
    }

    /// Makes everything cached under this key stale, in every worker.
    public func revoke(_ key: SessionKey) {
        counters[RevocationTable.index(key)].value.wrappingAdd(1, ordering: .releasing)
    }

    /// Makes everything cached stale, as after news may have been missed.
    public func revokeAll() {
        for counter in counters { counter.value.wrappingAdd(1, ordering: .releasing) }
    }

    private static let size = 4096
    private static func index(_ key: SessionKey) -> Int { Int(truncatingIfNeeded: key.words.0 % UInt64(size)) }

    private final class Counter: Sendable {
        let value = Atomic<UInt64>(0)
    }
}
