internal import CLinux
internal import EventLoop
internal import Glibc
package import Redis
internal import Synchronization

/// A listener on loopback whose answers a test writes itself, with blocking calls on a thread of its own.
package final class FakeServer: Sendable {
    package let port: UInt16
    private let listener: CInt
    private let thread: LoopThread

    /// Serves connections one after the other until `stop`; a connection is closed when `serve` returns.
    package init(serve: @escaping @Sendable (FakePeer) -> Void) throws {
        let (listener, port) = try FakeServer.listen()
        self.listener = listener
        self.port = port
        thread = try LoopThread(name: "fake-redis") {
            while true {
                // No address is asked for. Servers that other tests start must not inherit the connection.
                let number = accept4(listener, nil, nil, CInt(SOCK_CLOEXEC.rawValue))
                guard number >= 0 else { return }
                serve(FakePeer(number: number))
                close(number)
            }
        }
    }

    package var settings: RedisSettings {
        RedisSettings(addresses: [RedisAddress(ip: "127.0.0.1", port: port)].compactMap { $0 })
    }

    /// Called once, when no client is connected any more.
    package func stop() {
        shutdown(listener, CInt(SHUT_RDWR))
        thread.join()
        close(listener)
    }

    /// A port that nobody listens on.
    package static func freePort() throws -> UInt16 {
        let (listener, port) = try listen()
        close(listener)
        return port
    }

    private static func listen() throws -> (CInt, UInt16) {
        let number = socket(AF_INET, CInt(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        var size = socklen_t(MemoryLayout<sockaddr_in>.size)
        let code = unsafe withUnsafeMutablePointer(to: &address) { pointer in
            // A sockaddr_in is passed as the sockaddr that it is, with its own size.
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { pointer in
                guard unsafe bind(number, pointer, size) == 0, Glibc.listen(number, 64) == 0 else { return CInt(-1) }
                return unsafe getsockname(number, pointer, &size)
            }
        }
        guard code == 0 else { throw RedisServer.Problem(description: "bind: errno \(errno)") }
        return (number, UInt16(bigEndian: address.sin_port))
    }
}

/// One connection of a fake server.
package struct FakePeer: Sendable {
    let number: CInt

    /// Reads at least as many bytes, or to the end.
    @discardableResult
    package func read(atLeast wanted: Int) -> [UInt8] {
        var all: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 4096)
        while all.count < wanted {
            // Room for as many bytes as it says.
            let count = unsafe recv(number, &chunk, chunk.count, 0)
            guard count > 0 else { break }
            all.append(contentsOf: chunk[..<count])
        }
        return all
    }

    package func readToEnd() { read(atLeast: .max) }

    package func write(_ text: String) { write(Array(text.utf8)) }

    package func write(_ bytes: [UInt8]) {
        // As many bytes as there are.
        _ = unsafe send(number, bytes, bytes.count, CInt(MSG_NOSIGNAL))
    }

    /// One segment for each byte.
    package func writeByteByByte(_ text: String) {
        var one: CInt = 1
        // Reads one CInt, which `one` is.
        _ = unsafe setsockopt(number, CInt(IPPROTO_TCP), TCP_NODELAY, &one, socklen_t(MemoryLayout<CInt>.size))
        for byte in text.utf8 { write([byte]) }
    }
}
