internal import CLinux
internal import EventLoop
internal import Glibc
internal import HTTPModel

/// A connected socket with or without TLS, and the bytes that it has not taken yet.
///
/// Edge-triggered: after `wouldBlock` or `isDrained`, readiness says when to go on. A write never blocks and never
/// fails for want of room: what the socket does not take waits in `output`, and the caller stops feeding it.
struct Transport: ~Copyable {
    private var descriptor: Descriptor
    /// The last read left nothing in the socket.
    private(set) var isDrained = false
    private(set) var expectsMuch = false
    /// Our direction ends behind what waits.
    private var isEnding = false
    private(set) var tls: TLSSession?
    private var output = ByteBuffer()
    /// Bytes that wait for the end of the turn; they come before all that is written later.
    private var gathered = ByteBuffer()
    private let wire: TLSWire
    /// Bytes the socket took, for the log and for deadlines of progress.
    private(set) var bytesSent: UInt64 = 0

    init(_ descriptor: consuming Descriptor, tls: consuming TLSSession?, wire: TLSWire) {
        self.descriptor = descriptor
        self.tls = tls
        self.wire = wire
    }

    var number: CInt { descriptor.number }
    var isTLS: Bool { tls != nil }
    var wasResumed: Bool {
        switch tls {
        case .some(let session): session.wasResumed
        case .none: false
        }
    }
    /// Whether HTTP/2 was agreed on in the TLS handshake, which is over.
    var isHTTP2: Bool {
        switch tls {
        case .some(let session): session.isHTTP2
        case .none: false
        }
    }
    /// What the TLS handshake came to, which is over; `nil` without TLS.
    var handshakeFacts: HandshakeFacts? {
        switch tls {
        case .some(let session): session.facts
        case .none: nil
        }
    }
    var hasOutput: Bool { !output.isEmpty }
    /// Whether anything was sent, or waits to be.
    var hasWritten: Bool { bytesSent > 0 || hasOutput || hasGathered }
    var outputCount: Int { output.count }
    var hasGathered: Bool { !gathered.isEmpty }

    /// Makes the next reads of TLS as large as those of other bytes always are, or small again.
    mutating func expectMuch(_ isMuch: Bool) {
        expectsMuch = isMuch
        tls?.setReadBuffer(isMuch ? Transport.largeReadByteCount : 0)
    }

    /// Goes on with the TLS handshake; `bytes(0)` when it is done.
    mutating func handshake() -> IOResult {
        guard tls != nil else { return .bytes(0) }
        let result = tls?.handshake(descriptor.number) ?? .failed
        // A failed handshake may have left an alert to send.
        let sent = flushWire()
        return sent ? result : .failed
    }

    /// Reads into `buffer` behind what it holds, at most `maximum` bytes.
    mutating func read(into buffer: inout ByteBuffer, minimumRoom: Int, maximum: Int = .max) -> IOResult {
        var result = IOResult.wouldBlock
        _ = unsafe buffer.fillFreeSpace(minimum: min(minimumRoom, maximum), maximum: maximum) { region in
            result = unsafe read(region)
            guard case .bytes(let byteCount) = result else { return 0 }
            return byteCount
        }
        return result
    }

    private mutating func read(_ region: UnsafeMutableRawBufferPointer) -> IOResult {
        isDrained = false
        if tls != nil {
            var drained = false
            let result = unsafe tls?.read(descriptor.number, into: region, isDrained: &drained) ?? .failed
            isDrained = drained
            if !wire.output.isEmpty, !flushWire() { return .failed }
            return result
        }
        // The region is the free space of the caller's buffer.
        let received = unsafe recv(descriptor.number, region.baseAddress, region.count, 0)
        if received > 0 {
            isDrained = received < region.count
            return .bytes(received)
        }
        if received == 0 { return .closed }
        guard errno == EAGAIN || errno == EINTR else { return .failed }
        isDrained = true
        return .wouldBlock
    }

    /// Keeps a few bytes until `sendGathered`, or until something else is written; `false` when they should be written
    /// now: they are many, or the socket takes nothing.
    mutating func gather(_ bytes: Span<UInt8>, _ pool: ByteBufferPool) -> Bool {
        guard gathered.count + bytes.count <= Transport.gatheredBytesMax, output.isEmpty else { return false }
        if !gathered.hasMemory { gathered = pool.take() }
        gathered.append(bytes, 0..<bytes.count)
        return true
    }

    /// Sends what was gathered as `write` does, and gives its memory to the pool.
    mutating func sendGathered(_ pool: ByteBufferPool) -> Bool {
        var bytes = gathered.take()
        let isUsable = writeNow(bytes.bytes)
        bytes.removeAll()
        pool.give(bytes)
        return isUsable
    }

    /// Sends the bytes, keeps what the socket does not take; `false` when the connection is of no more use.
    mutating func write(_ bytes: Span<UInt8>) -> Bool { writeGathered() && writeNow(bytes) }

    private mutating func writeGathered() -> Bool {
        guard hasGathered else { return true }
        let bytes = gathered.take()
        return writeNow(bytes.bytes)
    }

    private mutating func writeNow(_ bytes: Span<UInt8>) -> Bool {
        if tls != nil {
            guard tls?.write(descriptor.number, bytes) == true else { return false }
            return flushWire()
        }
        var sent = 0
        if output.isEmpty {
            switch Transport.send(descriptor.number, bytes) {
            case .bytes(let byteCount): sent = byteCount
            case .wouldBlock: break
            case .closed, .failed: return false
            }
            bytesSent &+= UInt64(sent)
        }
        if sent < bytes.count { output.append(bytes, sent..<bytes.count) }
        return true
    }

    /// Sends what waits, as far as the socket takes it.
    mutating func flush() -> Bool {
        while !output.isEmpty {
            switch Transport.send(descriptor.number, output.bytes) {
            case .bytes(let byteCount):
                bytesSent &+= UInt64(byteCount)
                output.consume(byteCount)
            case .wouldBlock: return true
            case .closed, .failed: return false
            }
        }
        output.release()
        if isEnding { _ = shutdown(descriptor.number, CInt(SHUT_WR)) }
        return true
    }

    /// Ends our direction in order, behind what waits: close_notify, then FIN.
    mutating func shutDownOutput() {
        guard !isEnding else { return }
        isEnding = true
        _ = writeGathered()
        if tls != nil {
            tls?.closeNotify(descriptor.number)
            _ = flushWire()
        }
        if output.isEmpty { _ = shutdown(descriptor.number, CInt(SHUT_WR)) }
    }

    /// Closes the socket now; every later use fails. What was gathered is sent first, as if it had been written.
    mutating func close() {
        _ = writeGathered()
        tls = nil
        output.release()
        descriptor = Descriptor(adopting: -1)
    }

    /// Makes the close a reset, so that the peer cannot take what it has for a complete message.
    func resetOnClose() {
        var option = linger(l_onoff: 1, l_linger: 0)
        _ = unsafe setsockopt(
            descriptor.number, SOL_SOCKET, SO_LINGER, &option, socklen_t(MemoryLayout<linger>.size))
    }

    /// Whether bytes or the end of input wait in the socket; asks the kernel.
    func hasInput() -> Bool {
        var byte: UInt8 = 0
        let flags = CInt(MSG_PEEK) | CInt(MSG_DONTWAIT)
        // Room for the one byte that is looked at and left where it is.
        return unsafe recv(descriptor.number, &byte, 1, flags) >= 0 || (errno != EAGAIN && errno != EINTR)
    }

    /// Whether some of what the socket took is still on its way; asks the kernel.
    var hasUnacknowledgedOutput: Bool { hasGathered || clinux_unacknowledged_bytes(descriptor.number) > 0 }

    /// Whether the kernel would take so much at once, near enough; asks it twice.
    func hasRoom(for byteCount: Int) -> Bool {
        guard !hasOutput else { return false }
        let taken = Int(clinux_unacknowledged_bytes(descriptor.number)) + byteCount
        // A quarter for what the kernel counts besides the bytes.
        return taken + taken / 4 <= Int(clinux_send_buffer_bytes(descriptor.number))
    }

    /// The error a connect attempt ended with; zero when it succeeded.
    func takeSocketError() -> CInt {
        var code: CInt = 0
        var length = socklen_t(MemoryLayout<CInt>.size)
        guard unsafe getsockopt(descriptor.number, SOL_SOCKET, SO_ERROR, &code, &length) == 0 else { return errno }
        return code
    }

    private mutating func flushWire() -> Bool {
        // By a name of its own: the compiler breaks on the access through `self` where it adds ThreadSanitizer.
        let wire = wire
        guard !wire.output.isEmpty else { return true }
        var produced = wire.output.take()
        var sent = 0
        var isUsable = true
        if output.isEmpty {
            switch Transport.send(descriptor.number, produced.bytes) {
            case .bytes(let byteCount): sent = byteCount
            case .wouldBlock: break
            case .closed, .failed: isUsable = false
            }
            bytesSent &+= UInt64(sent)
        }
        if isUsable, sent < produced.count { output.append(produced.bytes, sent..<produced.count) }
        produced.removeAll()
        wire.output = produced
        return isUsable
    }

    /// Four full records of TLS 1.3.
    static let largeReadByteCount = 4 * (16_384 + 256)

    /// Within what a TLS record holds, and most answers of an application that are no files.
    private static let gatheredBytesMax = 8192

    private static func send(_ descriptor: CInt, _ bytes: Span<UInt8>) -> IOResult {
        let sent = unsafe bytes.withUnsafeBufferPointer { region in
            // The region lives for the call. MSG_NOSIGNAL: a closed peer is an error, not a signal.
            unsafe Glibc.send(descriptor, region.baseAddress, region.count, CInt(MSG_NOSIGNAL))
        }
        if sent > 0 { return .bytes(sent) }
        if sent == 0 || errno == EAGAIN || errno == EINTR { return .wouldBlock }
        return .failed
    }
}
