internal import EventLoop

/// Commands whose answer is still to come, in the order they were sent: answers carry no number.
struct PendingCommands {
    /// Called once for each command.
    typealias Completion = (Result<RedisReply, RedisError>) -> Void

    enum Waiting {
        /// Part of the greeting.
        case connection
        case caller(Completion)
        /// The caller was told that the deadline has passed; the answer is read and dropped.
        case nobody
    }

    struct Entry {
        let sentAt: MonotonicInstant
        let deadline: MonotonicInstant
        var waiting: Waiting
    }

    private(set) var count = 0
    private var ring: [Entry?] = Array(repeating: nil, count: 64)
    private var head = 0

    var first: Entry? { count > 0 ? ring[head] : nil }

    mutating func append(_ entry: Entry) {
        if count == ring.count { grow() }
        ring[index(count)] = entry
        count += 1
    }

    mutating func removeFirst() -> Entry? {
        guard count > 0 else { return nil }
        let entry = ring[head]
        ring[head] = nil
        head = index(1)
        count -= 1
        return entry
    }

    /// Takes the callers whose deadline has passed; returns the earliest deadline of those that stay.
    mutating func expire(at now: MonotonicInstant, into expired: inout [Completion]) -> MonotonicInstant? {
        var earliest: MonotonicInstant?
        for offset in 0..<count {
            let index = index(offset)
            guard let entry = ring[index], case .caller(let completion) = entry.waiting else { continue }
            if entry.deadline <= now {
                ring[index]?.waiting = .nobody
                expired.append(completion)
            } else {
                earliest = earliest.map { min($0, entry.deadline) } ?? entry.deadline
            }
        }
        return earliest
    }

    // The count of slots is a power of two.
    private func index(_ offset: Int) -> Int { (head + offset) & (ring.count - 1) }

    private mutating func grow() {
        var larger: [Entry?] = []
        larger.reserveCapacity(ring.count * 2)
        for offset in 0..<count { larger.append(ring[index(offset)]) }
        larger.append(contentsOf: repeatElement(nil, count: ring.count * 2 - count))
        ring = larger
        head = 0
    }
}
