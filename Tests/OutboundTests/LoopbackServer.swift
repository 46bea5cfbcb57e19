import Glibc
import Synchronization

/// A server on loopback that answers each connection with what a function of the request head says.
final class LoopbackServer: Sendable {
    /// What to send; the connection is closed then, or held open until the server goes.
    struct Answer: Sendable {
        var pieces: [[UInt8]]
        var isHeldOpen = false

        init(_ text: String, isHeldOpen: Bool = false) {
            pieces = [Array(text.utf8)]
            self.isHeldOpen = isHeldOpen
        }

        static func ok(_ body: String) -> Answer {
            Answer(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: \(body.utf8.count)\r\n\r\n\(body)"
            )
        }

        static func redirect(_ place: String, status: Int = 302) -> Answer {
            Answer("HTTP/1.1 \(status) Found\r\nLocation: \(place)\r\nContent-Length: 0\r\n\r\n")
        }
    }

    struct Failure: Error {}

    private struct State {
        var heads: [String] = []
        var open: [CInt] = []
        var arrivals: [CheckedContinuation<Void, Never>] = []
        var isStopped = false
    }

    let port: UInt16
    private let listener: CInt
    private let answer: @Sendable (String) -> Answer
    private let state = Mutex(State())

    var origin: String { "http://127.0.0.1:\(port)" }
    /// Heads of the requests so far.
    var heads: [String] { state.withLock(\.heads) }

    init(_ answer: @escaping @Sendable (String) -> Answer) throws {
        self.answer = answer
        let listener = socket(AF_INET, CInt(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        // `address` is this function's own and large enough for the calls, which copy it.
        let codes = unsafe withUnsafeMutableBytes(of: &address) { bytes in
            let pointer = unsafe bytes.baseAddress?.assumingMemoryBound(to: sockaddr.self)
            return unsafe [
                bind(listener, pointer, length), listen(listener, 128), getsockname(listener, pointer, &length),
            ]
        }
        guard codes.allSatisfy({ $0 == 0 }) else { throw Failure() }
        self.listener = listener
        port = UInt16(bigEndian: address.sin_port)
        thread { self.acceptConnections() }
    }

    /// Ends the server and every connection that it holds open.
    func stop() {
        state.withLock { state in
            state.isStopped = true
            for descriptor in state.open { _ = shutdown(descriptor, CInt(SHUT_RDWR)) }
        }
        _ = shutdown(listener, CInt(SHUT_RDWR))
    }

    /// Returns when the server has read so many requests.
    func requests(_ count: Int) async {
        while heads.count < count {
            await withCheckedContinuation { continuation in
                let isThere = state.withLock { state in
                    if state.heads.count < count { state.arrivals.append(continuation) }
                    return state.heads.count >= count
                }
                if isThere { continuation.resume() }
            }
        }
    }

    private func acceptConnections() {
        while true {
            let descriptor = accept(listener, nil, nil)
            guard descriptor >= 0 else { break }
            thread { self.serve(descriptor) }
        }
        close(listener)
    }

    private func serve(_ descriptor: CInt) {
        var head: [UInt8] = []
        while !head.suffix(4).elementsEqual("\r\n\r\n".utf8) {
            var byte: UInt8 = 0
            guard unsafe recv(descriptor, &byte, 1, 0) == 1 else { break }
            head.append(byte)
        }
        let text = String(decoding: head, as: UTF8.self)
        let (arrivals, isStopped) = state.withLock { state in
            state.heads.append(text)
            state.open.append(descriptor)
            defer { state.arrivals = [] }
            return (state.arrivals, state.isStopped)
        }
        for arrival in arrivals { arrival.resume() }
        if !isStopped { send(answer(text), to: descriptor) }
        state.withLock { state in
            state.open.removeAll { $0 == descriptor }
            close(descriptor)
        }
    }

    private func send(_ answer: Answer, to descriptor: CInt) {
        for piece in answer.pieces {
            // The bytes are only read; a peer that is gone is no signal.
            guard unsafe Glibc.send(descriptor, piece, piece.count, CInt(MSG_NOSIGNAL)) == piece.count else {
                return
            }
        }
        guard answer.isHeldOpen else { return }
        var byte: UInt8 = 0
        // Returns when either side ends the connection.
        while unsafe recv(descriptor, &byte, 1, 0) > 0 {}
    }

    private func thread(_ work: @escaping @Sendable () -> Void) {
        let box = unsafe Unmanaged.passRetained(Work(work))
        var thread = pthread_t()
        // The thread takes over the reference.
        if unsafe pthread_create(&thread, nil, runWork, box.toOpaque()) == 0 { pthread_detach(thread) }
    }
}

private final class Work: Sendable {
    let body: @Sendable () -> Void
    init(_ body: @escaping @Sendable () -> Void) { self.body = body }
}

private func runWork(_ context: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
    guard let context = unsafe context else { return nil }
    unsafe Unmanaged<Work>.fromOpaque(context).takeRetainedValue().body()
    return nil
}
