internal import CLinux
internal import EventLoop
internal import Glibc
internal import Synchronization

/// A listener on loopback whose part a test writes itself: each connection is served on a thread of its own.
package final class FakeUpstream: Sendable {
    package let port: UInt16
    private let listener: CInt
    private let acceptor: LoopThread
    private let connections = Connections()

    private final class Connections: Sendable {
        struct State {
            var peers: [Peer] = []
            var threads: [LoopThread] = []
            var closedCount = 0
        }
        let state = Mutex(State())
    }

    /// `serve` gets each connection with its number, counted from 0; the connection is closed when it returns.
    package init(serve: @escaping @Sendable (Peer, Int) -> Void) throws {
        let (listener, port) = try FakeUpstream.listen()
        self.listener = listener
        self.port = port
        acceptor = try LoopThread(name: "fake-upstream") { [connections] in
            while true {
                // No address is asked for.
                let number = accept4(listener, nil, nil, CInt(SOCK_CLOEXEC.rawValue))
                guard number >= 0 else { return }
                let peer = Peer(adopting: number)
                connections.state.withLock { state in
                    let index = state.peers.count
                    state.peers.append(peer)
                    let thread = try? LoopThread(name: "fake-connection") {
                        serve(peer, index)
                        peer.close()
                        connections.state.withLock { $0.closedCount += 1 }
                    }
                    if let thread { state.threads.append(thread) }
                }
            }
        }
    }

    /// Answers each request with what the closure makes of it, and keeps the connection.
    package convenience init(answer: @escaping @Sendable (Message) -> String) throws {
        try self.init { peer, _ in
            while true {
                let request = peer.readMessage()
                guard !request.fields.isEmpty, peer.send(answer(request)) else { return }
            }
        }
    }

    /// Connections accepted so far.
    package var connectionCount: Int { connections.state.withLock(\.peers.count) }

    /// Connections that this side has closed.
    package var closedCount: Int { connections.state.withLock(\.closedCount) }

    /// Ends all connections and waits for their threads; called once.
    package func stop() {
        shutdown(listener, CInt(SHUT_RDWR))
        acceptor.join()
        close(listener)
        let (peers, threads) = connections.state.withLock { ($0.peers, $0.threads) }
        for peer in peers { peer.interrupt() }
        for thread in threads { thread.join() }
    }

    /// A port that nobody listens on.
    package static func freePort() throws -> UInt16 {
        let (listener, port) = try listen()
        close(listener)
        return port
    }

    private static func listen() throws -> (CInt, UInt16) {
        let number = socket(AF_INET, CInt(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        var address = Peer.loopback(0)
        var size = socklen_t(MemoryLayout<sockaddr_in>.size)
        let code = unsafe withUnsafeMutablePointer(to: &address) { pointer in
            // A sockaddr_in is passed as the sockaddr that it is, with its own size.
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { pointer in
                guard unsafe bind(number, pointer, size) == 0, Glibc.listen(number, 512) == 0 else { return CInt(-1) }
                return unsafe getsockname(number, pointer, &size)
            }
        }
        guard code == 0 else { throw Peer.Problem("listen") }
        return (number, UInt16(bigEndian: address.sin_port))
    }
}
