internal import EventLoop
internal import Telemetry

/// An exchange that waits until one of its upstream's endpoints has a place for it. Everything but the call itself, which
/// comes through the mailbox, happens on the worker's thread.
final class EndpointWait: EventHandler {
    private let pool: UpstreamPool
    private let places: UpstreamPlaces
    private let worker: Worker
    /// `nil` when the wait is over, one way or the other.
    private var exchange: Exchange?
    private var ticket: UpstreamTicket?
    private var registration = Registration.none

    private init(_ exchange: Exchange, _ pool: UpstreamPool, _ places: UpstreamPlaces, _ worker: Worker) {
        self.exchange = exchange
        self.pool = pool
        self.places = places
        self.worker = worker
    }

    /// Waits for a place at one of the endpoints in `allowed`, unless one has become free just now, which it returns.
    /// Fails the exchange where it may not wait.
    static func begin(
        _ exchange: Exchange, allowed: UInt64, from first: Int, pool: UpstreamPool, places: UpstreamPlaces,
        worker: Worker
    ) -> Int? {
        // Nobody may be there for the answer, and nothing would tell us so before it is sent.
        guard exchange.downstream?.inputHasEnded == false else {
            pool.counters.left.add()
            exchange.downstream?.fail(ExchangeError(side: .downstream, step: "queue.left", status: 503))
            return nil
        }
        let wait = EndpointWait(exchange, pool, places, worker)
        let ticket = UpstreamTicket(
            wait, allowed: allowed, mailbox: worker.loop.mailbox, after: exchange.ticket)
        switch places.take(or: ticket, from: first) {
        case .place(let endpoint): return endpoint
        case .full:
            pool.counters.full.add()
            exchange.downstream?.fail(ExchangeError(side: .gateway, step: "queue.full", status: 503))
        case .waits: wait.start(exchange, ticket)
        }
        return nil
    }

    private func start(_ exchange: Exchange, _ ticket: UpstreamTicket) {
        if exchange.ticket == nil {
            pool.counters.queued.add()
            exchange.queuedAt = worker.loop.now
        }
        pool.counters.waiting.add(1)
        exchange.ticket = ticket
        exchange.wait = self
        self.ticket = ticket
        registration = worker.loop.register(handler: self)
        // From when it began to wait, however often an endpoint has refused it since.
        worker.loop.setDeadline(
            exchange.queuedAt.advanced(byNanoseconds: pool.settings.queueTimeout), for: registration)
    }

    /// It is this exchange's turn; the place is taken for it.
    func called(to endpoint: Int) {
        guard let exchange = end() else {
            places.giveBack(endpoint)
            return
        }
        exchange.endpointHeld = endpoint
        pool.resume(exchange)
    }

    func deadlinePassed() {
        guard let ticket, let exchange = end() else { return }
        places.leave(ticket)
        pool.counters.timedOut.add()
        exchange.downstream?.fail(ExchangeError(side: .gateway, step: "queue.timeout", status: 503))
    }

    /// The client has sent all it will: it may be gone, and others wait who are not.
    func clientLeft() {
        pool.counters.left.add()
        exchange?.downstream?.fail(ExchangeError(side: .downstream, step: "queue.left", status: 503))
    }

    /// The exchange ends for another reason.
    func giveUp() {
        guard let ticket, end() != nil else { return }
        places.leave(ticket)
    }

    func ready(_ readiness: Readiness) {}

    private func end() -> Exchange? {
        guard let exchange else { return nil }
        self.exchange = nil
        ticket = nil
        worker.loop.end(registration)
        pool.counters.waiting.add(-1)
        exchange.wait = nil
        exchange.queueDuration = worker.loop.now.nanoseconds(since: exchange.queuedAt)
        return exchange
    }
}
