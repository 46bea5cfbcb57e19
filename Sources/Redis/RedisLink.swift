internal import EventLoop
internal import Glibc

/// What a link tells its connection; each at most once, in this order.
protocol RedisLinkOwner: AnyObject {
    func linkBecameReady(_ link: RedisLink)
    func linkAnswered(_ link: RedisLink)
    func linkFailed(_ link: RedisLink, reason: String)
}

/// One transport connection, from the attempt to its failure. It never comes back: its successor is another object,
/// so that no late event and no answer can be taken for one of the successor's.
@safe final class RedisLink: EventHandler {
    private enum Phase { case connecting, greeting, ready, failed }

    private let loop: EventLoop
    private let settings: RedisSettings
    private weak var owner: (any RedisLinkOwner)?
    private let input: InputBuffer
    private var phase = Phase.connecting
    private var socket: Descriptor?
    /// The socket's number; used only while `socket` holds it.
    private let number: CInt
    private var registration = Registration.none
    private let reader: ReplyReader
    private var pending = PendingCommands()
    private var output: [UInt8] = []
    private var sentByteCount = 0
    /// Up to here `output` may go before the server has accepted the greeting.
    private var greetingByteCount = 0
    private var greetingsMissing = 0
    private var isFlushScheduled = false
    private var hasAnswered = false
    private let connectDeadline: MonotonicInstant
    private var readySince: MonotonicInstant
    /// When `deadlinePassed` comes; not after the first deadline of all that wait.
    private var wakesAt: MonotonicInstant?

    /// Starts an attempt; a failure that shows at once is thrown.
    init(
        to address: RedisAddress, settings: RedisSettings, loop: EventLoop, input: InputBuffer,
        owner: any RedisLinkOwner
    ) throws(SystemError) {
        self.loop = loop
        self.settings = settings
        self.input = input
        self.owner = owner
        reader = ReplyReader(limits: settings.replyLimits)
        let kind = CInt(SOCK_STREAM.rawValue | SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue)
        number = Glibc.socket(address.family, kind, 0)
        guard number >= 0 else { throw SystemError("socket") }
        socket = Descriptor(adopting: number)
        connectDeadline = loop.now.advanced(byNanoseconds: settings.connectTimeout.clampedNanoseconds)
        readySince = loop.now
        try RedisLink.connect(number, to: address)
        // Registered after connect: before it, epoll reports a socket as hung up.
        registration = try loop.register(number, handler: self)
        appendGreeting()
        wake(at: connectDeadline)
    }

    /// Queues a command; it goes out with the others of this turn.
    func send(
        _ command: RedisCommand, deadline: MonotonicInstant, completion: @escaping PendingCommands.Completion
    ) throws(RedisError) {
        precondition(command.isComplete)
        guard phase != .failed else { throw .notConnected(reason: "the connection has failed") }
        guard pending.count < settings.pendingMax,
            output.count - sentByteCount + command.bytes.count <= settings.outputBytesMax
        else { throw .queueFull }
        output.append(contentsOf: command.bytes)
        pending.append(.init(sentAt: loop.now, deadline: deadline, waiting: .caller(completion)))
        wake(at: min(deadline, loop.now.advanced(byNanoseconds: settings.stallTimeout.clampedNanoseconds)))
        scheduleFlush()
    }

    /// Ends the link: everything that waits fails with `error`, nothing is sent again.
    func fail(_ error: RedisError, reason: String) {
        guard phase != .failed else { return }
        phase = .failed
        loop.end(registration)
        socket = nil
        // The owner first: a caller that asks again at once shall find out how things stand.
        owner?.linkFailed(self, reason: reason)
        while let entry = pending.removeFirst() {
            if case .caller(let completion) = entry.waiting { completion(.failure(error)) }
        }
    }

    // MARK: Events

    func ready(_ readiness: Readiness) {
        if phase == .connecting {
            guard finishConnecting(readiness) else { return }
        }
        if !readiness.isDisjoint(with: [.readable, .peerClosed, .hangUp, .error]) {
            receive(untilEnd: !readiness.isDisjoint(with: [.peerClosed, .hangUp, .error]))
        }
        if readiness.contains(.writable) { flush() }
    }

    func deadlinePassed() {
        wakesAt = nil
        guard phase != .failed else { return }
        let givesUpAt: MonotonicInstant
        if phase == .ready {
            guard let oldest = pending.first else { return }
            givesUpAt = max(oldest.sentAt, readySince).advanced(
                byNanoseconds: settings.stallTimeout.clampedNanoseconds)
        } else {
            givesUpAt = connectDeadline
        }
        guard givesUpAt > loop.now else {
            return lose(phase == .ready ? "the server does not answer" : "no connection in time")
        }
        var expired: [PendingCommands.Completion] = []
        let earliest = pending.expire(at: loop.now, into: &expired)
        wake(at: earliest.map { min($0, givesUpAt) } ?? givesUpAt)
        for completion in expired { completion(.failure(.deadlinePassed)) }
    }

    private func lose(_ reason: String) { fail(.connectionLost(reason: reason), reason: reason) }

    private func wake(at instant: MonotonicInstant) {
        if let wakesAt, wakesAt <= instant { return }
        wakesAt = instant
        loop.setDeadline(instant, for: registration)
    }

    // MARK: Connecting

    private static func connect(_ number: CInt, to address: RedisAddress) throws(SystemError) {
        if address.family != AF_UNIX {
            var one: CInt = 1
            let size = socklen_t(MemoryLayout<CInt>.size)
            // Both read one CInt, which `one` is. Without them answers come late, and a dead peer stays unnoticed.
            _ = unsafe setsockopt(number, CInt(IPPROTO_TCP), TCP_NODELAY, &one, size)
            _ = unsafe setsockopt(number, SOL_SOCKET, SO_KEEPALIVE, &one, size)
        }
        let code = unsafe address.socketAddress.withUnsafeBytes { bytes -> CInt in
            // The bytes are a sockaddr of the family's length; connect reads no more than that.
            guard let start = unsafe bytes.baseAddress?.assumingMemoryBound(to: sockaddr.self) else { return -1 }
            return unsafe Glibc.connect(number, start, socklen_t(bytes.count))
        }
        guard code == 0 || errno == EINPROGRESS else { throw SystemError("connect to \(address)") }
    }

    /// Whether the link goes on.
    private func finishConnecting(_ readiness: Readiness) -> Bool {
        guard !readiness.isDisjoint(with: [.writable, .error, .hangUp]) else { return false }
        var code: CInt = 0
        var size = socklen_t(MemoryLayout<CInt>.size)
        // Writes one CInt, which `code` is.
        guard unsafe getsockopt(number, SOL_SOCKET, SO_ERROR, &code, &size) == 0, code == 0 else {
            lose(SystemError("connect", code: code).description)
            return false
        }
        phase = .greeting
        if greetingsMissing == 0 { becomeReady() }
        return phase != .failed
    }

    private func appendGreeting() {
        if let password = settings.password?() {
            var command = RedisCommand()
            command.begin(argumentCount: settings.username == nil ? 2 : 3)
            command.append("AUTH")
            if let username = settings.username { command.append(username) }
            command.append(password)
            append(greeting: command)
        }
        if settings.database != 0 { append(greeting: RedisCommand(["SELECT", "\(settings.database)"])) }
        greetingByteCount = output.count
    }

    private func append(greeting command: RedisCommand) {
        output.append(contentsOf: command.bytes)
        pending.append(.init(sentAt: loop.now, deadline: loop.now, waiting: .connection))
        greetingsMissing += 1
    }

    private func becomeReady() {
        phase = .ready
        readySince = loop.now
        owner?.linkBecameReady(self)
        scheduleFlush()
    }

    // MARK: Answers

    /// Reads until the socket is empty, or until others should have their turn.
    private func receive(untilEnd: Bool) {
        for _ in 0..<RedisLink.readsPerTurn {
            let count = unsafe Glibc.recv(number, input.bytes.baseAddress, input.bytes.count, 0)
            if count < 0, errno == EINTR { continue }
            if count < 0, errno == EAGAIN || errno == EWOULDBLOCK { return }
            if count < 0 { return lose(SystemError("recv").description) }
            if count == 0 { return lose("the server closed the connection") }
            guard handle(count: count) else { return }
            // What a short read left behind, another edge will announce; except the end, which has been announced.
            if unsafe count < input.bytes.count, !untilEnd { return }
        }
        loop.callAgain(registration)
    }

    /// Feeds what was read and answers callers; whether the link goes on.
    private func handle(count: Int) -> Bool {
        do throws(ReplyReader.Violation) {
            unsafe try reader.feed(UnsafeRawBufferPointer(rebasing: input.bytes[..<count]))
            while let reply = try reader.next() {
                guard let entry = pending.removeFirst() else {
                    lose("an answer to no command")
                    return false
                }
                answer(entry, with: reply)
                // A caller may have closed the connection.
                guard phase != .failed else { return false }
            }
            return true
        } catch {
            lose("protocol error: \(error.problem)")
            return false
        }
    }

    private func answer(_ entry: PendingCommands.Entry, with reply: RedisReply) {
        switch (entry.waiting, reply) {
        case (.connection, .status("OK")):
            greetingsMissing -= 1
            if greetingsMissing == 0 { becomeReady() }
        case (.connection, .error(let error)): lose("the greeting was refused: \(error)")
        case (.connection, _): lose("the greeting was answered with something else")
        case (.caller(let completion), .error(let error)):
            if !error.isReadOnly { noteAnswer() }
            completion(.failure(.refused(error)))
            if error.isReadOnly { lose("the server is a read-only replica") }
        case (.caller(let completion), _):
            noteAnswer()
            completion(.success(reply))
        case (.nobody, .error(let error)) where error.isReadOnly: lose("the server is a read-only replica")
        case (.nobody, _): noteAnswer()
        }
    }

    private func noteAnswer() {
        guard !hasAnswered else { return }
        hasAnswered = true
        owner?.linkAnswered(self)
    }

    // MARK: Output

    private func scheduleFlush() {
        guard !isFlushScheduled, phase == .greeting || phase == .ready else { return }
        isFlushScheduled = true
        loop.atEndOfTurn { [self] in
            isFlushScheduled = false
            flush()
        }
    }

    private func flush() {
        guard phase == .greeting || phase == .ready else { return }
        let end = phase == .ready ? output.count : greetingByteCount
        while sentByteCount < end {
            let count = unsafe output.withUnsafeBytes { bytes -> Int in
                // Within the array, which nothing changes during the call.
                let start = unsafe bytes.baseAddress?.advanced(by: sentByteCount)
                return unsafe Glibc.send(number, start, end - sentByteCount, CInt(MSG_NOSIGNAL))
            }
            if count < 0, errno == EINTR { continue }
            if count < 0, errno == EAGAIN || errno == EWOULDBLOCK { return compactOutput() }
            if count < 0 { return lose(SystemError("send").description) }
            sentByteCount += count
        }
        guard sentByteCount == output.count else { return }
        output.removeAll(keepingCapacity: output.capacity <= RedisLink.keptOutputBytes)
        sentByteCount = 0
        greetingByteCount = 0
    }

    private func compactOutput() {
        guard phase == .ready, sentByteCount > RedisLink.keptOutputBytes else { return }
        output.removeSubrange(..<sentByteCount)
        sentByteCount = 0
    }

    private static let readsPerTurn = 16
    private static let keptOutputBytes = 262_144
}

/// Where bytes from the socket land before the reader copies them; one for each connection, used again by each link.
@safe final class InputBuffer {
    // Allocated here, freed in deinit; links hold a reference while they use it.
    let bytes: UnsafeMutableRawBufferPointer

    init() { unsafe bytes = .allocate(byteCount: 16_384, alignment: 16) }
    deinit { unsafe bytes.deallocate() }
}
