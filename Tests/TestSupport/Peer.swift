internal import CLinux
internal import Glibc
internal import Synchronization

/// One end of a TCP connection, with calls that block; each gives up after ten seconds.
package final class Peer: Sendable {
    /// How reading came to its end.
    package enum End: Sendable, Equatable {
        /// In order, by a FIN.
        case closed
        /// By a reset: what was read must not be taken for complete.
        case reset
        /// Nothing came for ten seconds.
        case silent
    }

    private struct State {
        /// -1 once closed.
        var number: CInt
        var pending: [UInt8] = []
    }

    private let state: Mutex<State>

    init(adopting number: CInt) {
        state = Mutex(State(number: number))
        var limit = timeval(tv_sec: 10, tv_usec: 0)
        let size = socklen_t(MemoryLayout<timeval>.size)
        // Both read one timeval, which `limit` is.
        _ = unsafe setsockopt(number, SOL_SOCKET, SO_RCVTIMEO, &limit, size)
        _ = unsafe setsockopt(number, SOL_SOCKET, SO_SNDTIMEO, &limit, size)
        var one: CInt = 1
        _ = unsafe setsockopt(number, CInt(IPPROTO_TCP), TCP_NODELAY, &one, socklen_t(MemoryLayout<CInt>.size))
    }

    /// Connects to a port of loopback. A small `receiveBuffer` (bytes) makes back-pressure come early.
    package convenience init(port: UInt16, receiveBuffer: CInt? = nil) throws {
        let number = socket(AF_INET, CInt(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        guard number >= 0 else { throw Problem("socket") }
        self.init(adopting: number)
        if var size = receiveBuffer {
            _ = unsafe setsockopt(number, SOL_SOCKET, SO_RCVBUF, &size, socklen_t(MemoryLayout<CInt>.size))
        }
        var address = Peer.loopback(port)
        let code = unsafe withUnsafePointer(to: &address) { pointer in
            // A sockaddr_in is passed as the sockaddr that it is, with its own size.
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                unsafe connect(number, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard code == 0 else { throw Problem("connect to port \(port)") }
    }

    /// Connects to a Unix socket.
    package convenience init(unixPath path: String) throws {
        let number = socket(AF_UNIX, CInt(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        guard number >= 0 else { throw Problem("socket") }
        self.init(adopting: number)
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let bytes = Array(path.utf8.prefix(107))
        unsafe withUnsafeMutableBytes(of: &address.sun_path) { region in
            // The path is shorter than its place, and zeros follow it.
            for (index, byte) in bytes.enumerated() { unsafe region[index] = byte }
        }
        let code = unsafe withUnsafePointer(to: &address) { pointer in
            // A sockaddr_un is passed as the sockaddr that it is, with its own size.
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                unsafe connect(number, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        guard code == 0 else { throw Problem("connect to \(path)") }
    }

    deinit { close() }

    /// Something that the machine did not let a test do.
    package struct Problem: Error, CustomStringConvertible {
        package let description: String
        package init(_ step: String) { description = "\(step): errno \(errno)" }
    }

    static func loopback(_ port: UInt16) -> sockaddr_in {
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        return address
    }

    private var number: CInt { state.withLock(\.number) }

    /// The port of this end.
    package var localPort: UInt16 {
        var address = sockaddr_in()
        var size = socklen_t(MemoryLayout<sockaddr_in>.size)
        _ = unsafe withUnsafeMutablePointer(to: &address) { pointer in
            // The kernel writes at most `size` bytes.
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                unsafe getsockname(number, $0, &size)
            }
        }
        return UInt16(bigEndian: address.sin_port)
    }

    // MARK: Sending

    @discardableResult
    package func send(_ text: String) -> Bool { send(Array(text.utf8)) }

    /// Sends all; `false` when the other side does not take it.
    @discardableResult
    package func send(_ bytes: [UInt8]) -> Bool {
        var sent = 0
        while sent < bytes.count {
            let count = unsafe bytes.withUnsafeBytes { region in
                // The rest of the region, which lives for the call.
                unsafe Glibc.send(
                    number, region.baseAddress.map { unsafe $0 + sent }, region.count - sent, CInt(MSG_NOSIGNAL))
            }
            guard count > 0 else { return false }
            sent += count
        }
        return true
    }

    /// Sends what the socket takes without waiting; how many bytes that were.
    package func sendWithoutWaiting(_ bytes: [UInt8]) -> Int {
        let flags = CInt(MSG_NOSIGNAL) | CInt(MSG_DONTWAIT)
        // As many bytes as there are.
        return max(0, unsafe Glibc.send(number, bytes, bytes.count, flags))
    }

    // MARK: Reading

    /// `nil`: more came.
    private func readMore() -> End? {
        var chunk = [UInt8](repeating: 0, count: 65_536)
        // Room for as many bytes as it says.
        let count = unsafe recv(number, &chunk, chunk.count, 0)
        if count > 0 {
            state.withLock { $0.pending += chunk[..<count] }
            return nil
        }
        if count == 0 { return .closed }
        return errno == EAGAIN ? .silent : .reset
    }

    /// Reads up to and with the mark; to the end if it does not come.
    package func read(until mark: String) -> String {
        let wanted = Array(mark.utf8)
        while true {
            let found = state.withLock { state -> [UInt8]? in
                guard let end = state.pending.end(of: wanted) else { return nil }
                defer { state.pending.removeFirst(end) }
                return Array(state.pending[..<end])
            }
            if let found { return String(decoding: found, as: UTF8.self) }
            if readMore() != nil { return takeAll() }
        }
    }

    /// Reads as many bytes; fewer if the end comes first.
    package func read(count: Int) -> [UInt8] {
        while state.withLock({ $0.pending.count }) < count { if readMore() != nil { break } }
        return state.withLock { state in
            let taken = Array(state.pending.prefix(count))
            state.pending.removeFirst(taken.count)
            return taken
        }
    }

    /// Reads all there is to come.
    package func readToEnd() -> (text: String, end: End) {
        while true { if let end = readMore() { return (takeAll(), end) } }
    }

    /// Whether the other side has ended the connection, in whatever way, and sent nothing more before.
    package func sawEnd() -> Bool {
        let (text, end) = readToEnd()
        return text.isEmpty && end != .silent
    }

    private func takeAll() -> String {
        state.withLock { state in
            defer { state.pending = [] }
            return String(decoding: state.pending, as: UTF8.self)
        }
    }

    // MARK: Ending

    /// Says that nothing more will be sent.
    package func halfClose() { shutdown(number, CInt(SHUT_WR)) }

    /// Wakes whoever waits in a call of this end.
    func interrupt() { shutdown(number, CInt(SHUT_RDWR)) }

    /// Goes away without a farewell.
    package func reset() {
        var option = linger(l_onoff: 1, l_linger: 0)
        // Reads one linger, which `option` is.
        _ = unsafe setsockopt(number, SOL_SOCKET, SO_LINGER, &option, socklen_t(MemoryLayout<linger>.size))
        close()
    }

    package func close() {
        state.withLock { state in
            guard state.number >= 0 else { return }
            Glibc.close(state.number)
            state.number = -1
        }
    }
}

extension [UInt8] {
    /// The index behind the first occurrence of a mark.
    fileprivate func end(of mark: [UInt8]) -> Int? {
        guard !mark.isEmpty, count >= mark.count else { return nil }
        for start in 0...(count - mark.count) where self[start] == mark[0] {
            if self[start..<start + mark.count].elementsEqual(mark) { return start + mark.count }
        }
        return nil
    }
}

/// Polls until something holds; `false` after so many milliseconds.
package func eventually(within milliseconds: Int = 10_000, _ condition: () -> Bool) -> Bool {
    for _ in 0..<milliseconds {
        if condition() { return true }
        usleep(1000)
    }
    return false
}
