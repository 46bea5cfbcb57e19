internal import CLinux
public import EventLoop
internal import Glibc
internal import HTTPModel
internal import Telemetry

/// One worker's use of a listening socket: accepts until nothing waits, within the caps.
final class ListenerSocket: EventHandler {
    var settings: ListenerSettings
    private let socket: CInt
    private let isShared: Bool
    private let worker: Worker
    private var registration = Registration.none
    /// Connections wait in the kernel because of handshakes under way or used-up descriptors.
    private var isBehind = false
    /// Let go when descriptors are used up, to accept and close one connection instead of leaving it hanging.
    private var spareDescriptor: CInt = -1
    private var handshakes = HandshakeQueue<DownstreamConnection>()
    private var isStopping = false

    /// `isShared`: other workers accept on the same socket.
    init(socket: CInt, isShared: Bool, settings: ListenerSettings, worker: Worker) {
        self.socket = socket
        self.isShared = isShared
        self.settings = settings
        self.worker = worker
        openSpareDescriptor()
    }

    deinit { if spareDescriptor >= 0 { close(spareDescriptor) } }

    func start() throws(SystemError) {
        registration =
            isShared
            ? try worker.loop.register(shared: socket, handler: self)
            : try worker.loop.register(socket, handler: self)
    }

    /// Accepts what already waits, then no more.
    func stop() {
        isStopping = true
        // A queue holds 4,096; whoever comes meanwhile may wait in vain, as if they had come later.
        for _ in 0..<8 where !acceptAll() {}
        worker.loop.end(registration, of: socket)
    }

    func ready(_ readiness: Readiness) { acceptInTurn() }

    func deadlinePassed() { if isBehind { acceptInTurn() } }

    func connectionClosed() {
        worker.counters.connectionsOpen.add(-1)
        if isBehind { worker.loop.callAgain(registration) }
    }

    private func acceptInTurn() { if !acceptAll() { worker.loop.callAgain(registration) } }

    /// `false`: others should have their turn, and more may wait.
    private func acceptAll() -> Bool {
        isBehind = false
        openSpareDescriptor()
        handshakes.turnBegan(at: worker.loop.now)
        for _ in 0..<1024 {
            guard mayAccept else {
                tryAgainLater(after: 5_000_000)
                return true
            }
            var storage = sockaddr_storage()
            var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
            let number = unsafe accept(&storage, &length)
            if number < 0 {
                switch errno {
                case EAGAIN: return true
                case EMFILE, ENFILE, ENOBUFS, ENOMEM:
                    if !refuseOne() { return true }
                    continue
                // Errors of one connection, which Linux hands to accept: the next one may be sound.
                case ECONNABORTED, EINTR, EPROTO, EPERM, ENETDOWN, ENETUNREACH, EHOSTDOWN, EHOSTUNREACH, ENONET,
                    ENOPROTOOPT, EOPNOTSUPP:
                    continue
                default:
                    tryAgainLater()
                    return true
                }
            }
            let descriptor = Descriptor(adopting: number)
            guard !MemoryAccount.isShort || settings.servesWhenShort else {
                worker.removeSpareMemory()
                worker.counters.memoryConnections.add()
                worker.counters.connectionsRefused.add()
                continue
            }
            // At the cap: accepted and closed at once, so that a client learns it now and not at a timeout.
            guard let place = settings.connections.take(max: settings.connectionsMax) else {
                worker.counters.connectionsRefused.add()
                continue
            }
            worker.counters.connectionsAccepted.add()
            let (peer, peerPort) = ListenerSocket.address(storage)
            admit(
                AcceptedConnection(
                    descriptor: descriptor, place: place, peer: peer, peerPort: peerPort, settings: settings))
        }
        return false
    }

    // MARK: Handshakes

    /// This worker's part of the handshakes that may be under way.
    private var handshakesMax: Int {
        let workers = worker.workerCount
        return (settings.handshakesMax + workers - 1) / workers
    }

    /// Whether a handshake that begins now has room, at once or in another's place.
    private var mayAccept: Bool {
        settings.tls == nil || isStopping || handshakes.hasRoom(for: handshakesMax)
    }

    /// A handshake begins; the one that must make room for it ends.
    func handshakeBegan(_ connection: DownstreamConnection) -> HandshakeQueue<DownstreamConnection>.Place {
        if let displaced = handshakes.displaced(for: handshakesMax) {
            worker.counters.handshakesDisplaced.add()
            settings.connections.refusals.note(.handshakes, peer: displaced.peer)
            displaced.close()
        }
        return handshakes.add(connection, at: worker.loop.now)
    }

    func handshakeWasAnswered(_ place: HandshakeQueue<DownstreamConnection>.Place) {
        handshakes.wasAnswered(place, at: worker.loop.now)
    }

    func handshakeEnded(_ place: HandshakeQueue<DownstreamConnection>.Place) {
        handshakes.remove(place)
        if isBehind { worker.loop.callAgain(registration) }
    }

    private func admit(_ accepted: consuming AcceptedConnection) {
        guard let peers = settings.proxyPeers else {
            identified(accepted)
            return
        }
        guard peers.contain(peer: accepted.peer) else {
            worker.counters.proxyHeadersRefused.add()
            settings.connections.refusals.note(.proxyPeer, peer: accepted.peer)
            return
        }
        ProxyHeaderReader(accepted, listener: self, worker: worker).start()
    }

    /// Whose connection it is, is known now.
    func identified(_ accepted: consuming AcceptedConnection) {
        if let max = settings.connectionsPerAddressMax, !accepted.place.take(of: accepted.peer, max: max) {
            worker.counters.connectionsRefused.add()
            settings.connections.refusals.note(.perAddress, peer: accepted.peer)
            return
        }
        worker.place(accepted, listener: self)
    }

    /// Begins to serve a connection; `nil` when it had to be refused.
    func open(_ accepted: consuming AcceptedConnection) -> DownstreamConnection? {
        var noDelay: CInt = 1
        _ = unsafe setsockopt(
            accepted.descriptor.number, CInt(IPPROTO_TCP), TCP_NODELAY, &noDelay,
            socklen_t(MemoryLayout<CInt>.size))
        guard let connection = DownstreamConnection(accepted, listener: self, worker: worker) else {
            worker.counters.connectionsRefused.add()
            return nil
        }
        worker.counters.connectionsOpen.add(1)
        connection.start()
        return connection
    }

    private func tryAgainLater(after nanoseconds: UInt64 = 50_000_000) {
        isBehind = true
        worker.loop.setDeadline(worker.loop.now.advanced(byNanoseconds: nanoseconds), for: registration)
    }

    /// Descriptors are used up: accepts one connection with the spare one and closes it. Another thread may take what
    /// was let go of; then what waits is looked at again soon.
    private func refuseOne() -> Bool {
        openSpareDescriptor()
        guard spareDescriptor >= 0 else {
            tryAgainLater()
            return false
        }
        close(spareDescriptor)
        spareDescriptor = -1
        let number = unsafe accept(nil, nil)
        let isQueueEmpty = number < 0 && errno == EAGAIN
        if number >= 0 {
            close(number)
            worker.counters.connectionsRefused.add()
        } else if !isQueueEmpty {
            tryAgainLater()
        }
        openSpareDescriptor()
        return number >= 0
    }

    private static func address(_ storage: sockaddr_storage) -> (IPAddress, UInt16) {
        let family = CInt(storage.ss_family)
        var storage = storage
        return unsafe withUnsafeBytes(of: &storage) { raw in
            switch family {
            case AF_INET:
                // A sockaddr_in: port at 2, address at 4.
                let port = unsafe raw.loadUnaligned(fromByteOffset: 2, as: UInt16.self).bigEndian
                let address = unsafe raw.loadUnaligned(fromByteOffset: 4, as: UInt32.self).bigEndian
                return (IPAddress(high: 0, low: 0xFFFF_0000_0000 | UInt64(address)), port)
            case AF_INET6:
                // A sockaddr_in6: port at 2, address at 8.
                let port = unsafe raw.loadUnaligned(fromByteOffset: 2, as: UInt16.self).bigEndian
                let high = unsafe raw.loadUnaligned(fromByteOffset: 8, as: UInt64.self).bigEndian
                let low = unsafe raw.loadUnaligned(fromByteOffset: 16, as: UInt64.self).bigEndian
                return (IPAddress(high: high, low: low), port)
            default: return (.unspecified, 0)
            }
        }
    }

    private func openSpareDescriptor() {
        guard spareDescriptor < 0 else { return }
        spareDescriptor = unsafe Glibc.open("/dev/null", O_RDONLY | O_CLOEXEC)
    }

    private func accept(_ storage: UnsafeMutablePointer<sockaddr_storage>?, _ length: UnsafeMutablePointer<socklen_t>?)
        -> CInt
    {
        let flags = CInt(SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue)
        guard let storage = unsafe storage else { return accept4(socket, nil, nil, flags) }
        // The kernel writes at most `length` bytes into the storage.
        return unsafe storage.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
            unsafe accept4(socket, address, length, flags)
        }
    }
}

/// A socket that listens, opened once by the control thread and lent to one worker, or to all where they share it.
public struct ListeningSocket: ~Copyable, Sendable {
    // In this order: the name goes before the queue behind it.
    private let file: SocketFile?
    private let descriptor: Descriptor
    /// The address it is bound to, with the port that the kernel chose where 0 was asked for.
    public let address: NetworkAddress

    /// Opens, binds and listens. With `SO_REUSEPORT` each worker has its own accept queue; a Unix socket cannot be bound
    /// twice, so that all workers accept on the one.
    ///
    /// - Parameter mode: of a Unix socket's file. One that nobody listens at any more is replaced.
    public init(_ address: NetworkAddress, mode: UInt32 = 0o600) throws(SystemError) {
        let path = address.unixPath
        if let path { try SocketFile.removeStale(at: address, path: path) }
        let descriptor = try ListeningSocket.bound(to: address, isShared: path == nil, mode: mode)
        let file = try ListeningSocket.file(boundAt: path, mode: mode)
        guard Glibc.listen(descriptor.number, 4096) == 0 else { throw SystemError("listen \(address)") }
        self.address = path == nil ? NetworkAddress.local(of: descriptor.number) ?? address : address
        self.descriptor = descriptor
        self.file = file
    }

    private static func file(boundAt path: String?, mode: UInt32) throws(SystemError) -> SocketFile? {
        guard let path else { return nil }
        return .some(try SocketFile(boundAt: path, mode: mode))
    }

    /// Throws where another program listens already. `SO_REUSEPORT` would let both have the port, and the kernel would
    /// split the connections between two sets of rules. Nothing to do for a Unix socket, which only one can have.
    public static func requireFree(_ address: NetworkAddress) throws(SystemError) {
        guard address.unixPath == nil else { return }
        _ = try bound(to: address, isShared: false)
    }

    /// Whether all workers accept on this one.
    public var isShared: Bool { address.unixPath != nil }

    /// Takes a Unix socket's file away: nobody else will come.
    public func removeFile() { file?.remove() }

    /// Gives a Unix socket's file another mode.
    public func changeMode(to mode: UInt32) { file?.changeMode(to: mode) }

    private static func bound(
        to address: NetworkAddress, isShared: Bool, mode: UInt32 = 0o600
    ) throws(SystemError) -> Descriptor {
        let type = CInt(SOCK_STREAM.rawValue | SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue)
        let number = socket(address.family, type, 0)
        guard number >= 0 else { throw SystemError("socket") }
        let descriptor = Descriptor(adopting: number)
        var on: CInt = 1
        let size = socklen_t(MemoryLayout<CInt>.size)
        _ = unsafe setsockopt(number, SOL_SOCKET, SO_REUSEADDR, &on, size)
        if isShared { _ = unsafe setsockopt(number, SOL_SOCKET, SO_REUSEPORT, &on, size) }
        // Linux makes a Unix socket's file with the mode that the socket has by then: it never is wider open.
        if address.family == AF_UNIX { _ = fchmod(number, mode) }
        if address.family == AF_INET6 { _ = unsafe setsockopt(number, CInt(IPPROTO_IPV6), IPV6_V6ONLY, &on, size) }
        guard unsafe address.withSockaddr({ unsafe bind(number, $0, $1) }) == 0 else {
            throw SystemError("bind \(address)")
        }
        return descriptor
    }

    /// For `Worker.listen`, while this value lives.
    public var number: CInt { descriptor.number }
}
