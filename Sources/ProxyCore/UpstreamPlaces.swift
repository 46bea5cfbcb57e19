internal import EventLoop
internal import Synchronization

/// How many exchanges each endpoint of one upstream has at a time, over all workers, and those that wait for a place.
///
/// A place that is given back goes straight to whoever has waited longest and may have it, on whichever worker: while
/// somebody waits for an endpoint it has no place free, so that nobody who comes later overtakes him. One lock, because
/// a share for each worker would leave places empty on one worker while exchanges wait on another.
public final class UpstreamPlaces: Sendable {
    /// What the configuration says.
    public struct Bounds: Sendable, Equatable {
        /// Exchanges at one endpoint.
        public var exchangesMax: Int
        /// Exchanges that wait, for any of the endpoints.
        public var queueMax: Int

        /// Memberwise.
        public init(exchangesMax: Int, queueMax: Int) {
            self.exchangesMax = exchangesMax
            self.queueMax = queueMax
        }
    }

    /// The endpoints as the configuration names them, in its order.
    public let endpointNames: [String]
    private let state: Mutex<State>

    fileprivate struct State: Sendable {
        var bounds: Bounds
        /// By endpoint.
        var taken: [Int]
        /// Whoever came first is first.
        var queue: [UpstreamTicket] = []
        var nextNumber: UInt64 = 1
    }

    /// All places are free.
    public init(_ bounds: Bounds, endpointNames: [String]) {
        precondition((1...64).contains(endpointNames.count))
        self.endpointNames = endpointNames
        state = Mutex(State(bounds: bounds, taken: Array(repeating: 0, count: endpointNames.count)))
    }

    /// Puts other bounds in force; where there is more room now, those who wait have it at once.
    public func use(_ bounds: Bounds) {
        let called = state.withLock { state -> [(UpstreamTicket, Int)] in
            guard state.bounds != bounds else { return [] }
            state.bounds = bounds
            var called: [(UpstreamTicket, Int)] = []
            for endpoint in state.taken.indices {
                while state.taken[endpoint] < bounds.exchangesMax, let ticket = state.takeFirst(for: endpoint) {
                    state.taken[endpoint] += 1
                    called.append((ticket, endpoint))
                }
            }
            return called
        }
        for (ticket, endpoint) in called { ticket.call(endpoint) }
    }

    /// What becomes of somebody who asks for a place.
    enum Entry: Equatable {
        case place(endpoint: Int)
        case waits
        /// As many wait as may.
        case full
    }

    /// A place at one of the endpoints in `allowed`, one bit each, the first in turn that has one; `nil`: none has.
    func take(among allowed: UInt64, from first: Int) -> Int? {
        state.withLock { $0.take(among: allowed, from: first) }
    }

    /// The same, and a place in the queue where there is none. One that has waited before has its old place there, which
    /// nobody can take from it.
    func take(or ticket: UpstreamTicket, from first: Int) -> Entry {
        state.withLock { state in
            if let endpoint = state.take(among: ticket.allowed, from: first) { return .place(endpoint: endpoint) }
            if ticket.number == 0 {
                guard state.queue.count < state.bounds.queueMax else { return .full }
                ticket.number = state.nextNumber
                state.nextNumber += 1
            }
            state.queue.insert(ticket, at: state.position(of: ticket.number))
            return .waits
        }
    }

    /// Takes somebody out of the queue; nothing happens when he has been called meanwhile.
    func leave(_ ticket: UpstreamTicket) {
        state.withLock { state in
            let position = state.position(of: ticket.number)
            guard position < state.queue.count, state.queue[position] === ticket else { return }
            state.queue.remove(at: position)
        }
    }

    /// A place is free again.
    func giveBack(_ endpoint: Int) {
        let called = state.withLock { state -> UpstreamTicket? in
            if state.taken[endpoint] <= state.bounds.exchangesMax, let ticket = state.takeFirst(for: endpoint) {
                return ticket
            }
            state.taken[endpoint] -= 1
            return nil
        }
        called?.call(endpoint)
    }

    /// Places taken by endpoint, and how many wait; for tests.
    var counts: (taken: [Int], waiting: Int) { state.withLock { ($0.taken, $0.queue.count) } }
}

extension UpstreamPlaces.State {
    fileprivate mutating func take(among allowed: UInt64, from first: Int) -> Int? {
        for offset in taken.indices {
            let endpoint = (first + offset) % taken.count
            guard allowed & (1 << UInt64(endpoint)) != 0, taken[endpoint] < bounds.exchangesMax else { continue }
            taken[endpoint] += 1
            return endpoint
        }
        return nil
    }

    fileprivate mutating func takeFirst(for endpoint: Int) -> UpstreamTicket? {
        guard let position = queue.firstIndex(where: { $0.allowed & (1 << UInt64(endpoint)) != 0 }) else { return nil }
        return queue.remove(at: position)
    }

    /// Where a number stands in the queue, or would.
    fileprivate func position(of number: UInt64) -> Int {
        var low = 0
        var high = queue.count
        while low < high {
            let middle = (low + high) / 2
            if queue[middle].number < number { low = middle + 1 } else { high = middle }
        }
        return low
    }
}

/// Somebody's place in the queue, and the way to tell him that it is his turn.
final class UpstreamTicket: @unchecked Sendable {
    /// In the order of coming; zero: not given yet. Read and written under the lock of the queue alone.
    fileprivate var number: UInt64
    /// The endpoints that he may have, one bit each.
    let allowed: UInt64
    private let mailbox: Mailbox
    // Carried to its own thread and used there alone.
    private let wait: EndpointWait

    /// `earlier`: the ticket that the same exchange had before, and whose place in the queue it keeps.
    init(_ wait: EndpointWait, allowed: UInt64, mailbox: Mailbox, after earlier: UpstreamTicket?) {
        self.wait = wait
        self.allowed = allowed
        self.mailbox = mailbox
        // It has been called: nobody else writes it any more.
        number = earlier?.number ?? 0
    }

    fileprivate func call(_ endpoint: Int) {
        mailbox.post { [self] _ in wait.called(to: endpoint) }
    }
}
