internal import EventLoop
internal import Glibc
internal import HTTPModel
internal import Telemetry

/// A connection whose peer has yet to say, by the PROXY protocol, whose it is.
///
/// Looks at what waits in the socket without taking it, until the header is complete; then takes the header alone, and the
/// connection goes on as any other, TLS included.
final class ProxyHeaderReader: EventHandler {
    let listener: ListenerSocket
    private let worker: Worker
    /// `nil` once it has gone on, or was closed.
    private var accepted: AcceptedConnection?
    private var registration = Registration.none
    private let number: CInt
    private let peer: IPAddress

    init(_ accepted: consuming AcceptedConnection, listener: ListenerSocket, worker: Worker) {
        self.listener = listener
        self.worker = worker
        number = accepted.descriptor.number
        peer = accepted.peer
        self.accepted = .some(accepted)
    }

    func start() {
        do throws(SystemError) {
            registration = try worker.loop.register(number, handler: self)
        } catch {
            accepted = nil
            return
        }
        worker.began(self)
        let deadline = worker.loop.now.advanced(byNanoseconds: listener.settings.handshakeTimeout)
        worker.loop.setDeadline(deadline, for: registration)
    }

    func ready(_ readiness: Readiness) {
        look(mayGetMore: readiness.isDisjoint(with: [.peerClosed, .hangUp, .error]))
    }

    func deadlinePassed() { refuse() }

    /// The gateway stops, or the listener is gone: what has come is looked at, and nothing is waited for.
    func endWait() { look(mayGetMore: false) }

    private func look(mayGetMore: Bool) {
        guard accepted != nil else { return }
        var buffer = worker.smallBuffers.take()
        var seen = 0
        _ = unsafe buffer.fillFreeSpace(minimum: ProxyHeader.byteCountMax, maximum: ProxyHeader.byteCountMax) {
            region in
            // The free space of the buffer.
            seen = unsafe recv(number, region.baseAddress, region.count, CInt(MSG_PEEK))
            return max(0, seen)
        }
        let reading = ProxyHeader.read(buffer.bytes)
        worker.smallBuffers.give(buffer)
        switch reading {
        case .complete(let header): goOn(header)
        case .malformed: refuse()
        case .incomplete:
            if mayGetMore, seen != 0 { return }
            // Whoever connects and says nothing, as some health checks do, has done no wrong.
            if seen > 0 { refuse() } else { close() }
        }
    }

    private func goOn(_ header: ProxyHeader) {
        var taken = worker.smallBuffers.take()
        var count = 0
        _ = unsafe taken.fillFreeSpace(minimum: header.byteCount, maximum: header.byteCount) { region in
            // The free space of the buffer; the header waits in the socket, as was just seen.
            count = unsafe recv(number, region.baseAddress, region.count, 0)
            return max(0, count)
        }
        worker.smallBuffers.give(taken)
        guard count == header.byteCount, var accepted = end() else {
            close()
            return
        }
        if let source = header.source {
            accepted.peer = source.address
            accepted.peerPort = source.port
        }
        listener.identified(accepted)
    }

    private func refuse() {
        worker.counters.proxyHeadersRefused.add()
        listener.settings.connections.refusals.note(.proxyHeader, peer: peer)
        close()
    }

    private func close() { _ = end() }

    /// Lets go of the connection, which stays open for whoever gets it.
    private func end() -> AcceptedConnection? {
        worker.loop.end(registration, of: number)
        worker.ended(self)
        return accepted.take()
    }
}
