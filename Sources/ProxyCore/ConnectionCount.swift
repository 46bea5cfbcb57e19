internal import HTTPModel
internal import Synchronization

/// What all workers know together of the connections of one address that is listened on.
public final class ConnectionCount: Sendable {
    /// Those that were closed before anything was served, for the log.
    public let refusals = ConnectionRefusals()
    private let open = Atomic<Int>(0)
    /// By the client's address, where that has a cap; each entry has a connection, so that they are no more than those.
    private let shards: [Shard]

    private final class Shard: Sendable {
        let counts = Mutex<[IPAddress: Int]>([:])
    }

    /// None are open.
    public init() { shards = (0..<ConnectionCount.shardCount).map { _ in Shard() } }

    /// A place for one more, counted from now on; `nil` when `max` are taken.
    func take(max: Int) -> ConnectionPlace? {
        if open.add(1, ordering: .relaxed).newValue <= max { return ConnectionPlace(in: self) }
        give()
        return nil
    }

    fileprivate func give() { open.subtract(1, ordering: .relaxed) }

    fileprivate func take(_ client: IPAddress, max: Int) -> Bool {
        shard(of: client).counts.withLock { counts in
            let taken = counts[client, default: 0]
            guard taken < max else { return false }
            counts[client] = taken + 1
            return true
        }
    }

    fileprivate func give(_ client: IPAddress) {
        shard(of: client).counts.withLock { counts in
            let taken = counts[client] ?? 0
            counts[client] = taken > 1 ? taken - 1 : nil
        }
    }

    private func shard(of client: IPAddress) -> Shard {
        let mixed = (client.high ^ client.low) &* 0x9E37_79B9_7F4A_7C15
        return shards[Int(mixed >> 60)]
    }

    /// Sixteen, so that four bits choose one.
    private static let shardCount = 16

    /// Whether no place is taken; for tests.
    var isEmpty: Bool { open.load(ordering: .relaxed) == 0 }

    /// How many clients have a count; for tests.
    var clientCount: Int { shards.reduce(0) { $0 + $1.counts.withLock { $0.count } } }
}

/// One connection's place among those of its address, from accept to close, whichever worker holds it; given back when it
/// goes out of use.
struct ConnectionPlace: ~Copyable, Sendable {
    private let count: ConnectionCount
    /// Whose count it takes part in, too.
    private var client: IPAddress?
    /// Booked as the connection's memory.
    private var bytesHeld = 0

    fileprivate init(in count: ConnectionCount) { self.count = count }

    deinit {
        count.give()
        if let client { count.give(client) }
        MemoryAccount.add(-bytesHeld)
    }

    /// Books the connection's memory, all but its buffers, which are counted themselves.
    mutating func hold(_ byteCount: Int) {
        MemoryAccount.add(byteCount - bytesHeld)
        bytesHeld = byteCount
    }

    /// Takes a place among the connections of a client as well, unless it has `max` already. IPv6 clients are counted by
    /// /64, the network that one client usually has; peers on a Unix socket have no address and are not counted.
    mutating func take(of address: IPAddress, max: Int) -> Bool {
        guard address != .unspecified else { return true }
        let client = address.isIPv4 ? address : IPAddress(high: address.high, low: 0)
        guard count.take(client, max: max) else { return false }
        self.client = client
        return true
    }
}

/// Connections that were closed before anything was served, gathered for the log: under an attack they are many.
public final class ConnectionRefusals: Sendable {
    /// Why.
    public enum Reason: String, Sendable, CaseIterable {
        /// A peer that is not listed under `proxy_protocol`.
        case proxyPeer = "proxy_peer"
        /// No PROXY protocol header, a malformed one, or one that did not come in time.
        case proxyHeader = "proxy_header"
        /// The client's address has as many as it may.
        case perAddress = "connections_per_address_max"
        /// Too many handshakes were under way, and this one had gone on for longest.
        case handshakes = "handshakes_max"
    }

    /// What happened since somebody last asked.
    public struct Note: Sendable {
        /// Why.
        public let reason: Reason
        /// How often.
        public internal(set) var count: Int
        /// The last one's peer.
        public internal(set) var peer: IPAddress
    }

    private let notes = Mutex<[Reason: Note]>([:])

    init() {}

    func note(_ reason: Reason, peer: IPAddress) {
        notes.withLock { notes in
            notes[reason, default: Note(reason: reason, count: 0, peer: peer)].count += 1
            notes[reason]?.peer = peer
        }
    }

    /// Takes what has been noted, in no particular order.
    public func takeAll() -> [Note] {
        notes.withLock { notes in
            defer { notes = [:] }
            return Array(notes.values)
        }
    }
}
