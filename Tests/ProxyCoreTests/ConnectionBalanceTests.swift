import EventLoop
import Glibc
import HTTPModel
import Synchronization
import Telemetry
import TestSupport
import Testing

@testable import ProxyCore

/// Workers hand connections over when they hold clearly more than the others, and lose none of them.
@Suite(.ownThread, .serialized, .timeLimit(.minutes(1)))
struct ConnectionBalanceTests {
    @Test(arguments: [
        (held: 0, total: 0, workers: 2, isTooMany: false), (1, 1, 1, false), (1, 1, 2, true), (1, 2, 2, false),
        (5, 8, 2, false), (6, 9, 2, true), (125, 400, 4, false), (126, 400, 4, true), (50, 200, 4, false),
    ])
    func `more than one and a quarter of the mean is too many`(
        _ row: (held: Int, total: Int, workers: Int, isTooMany: Bool)
    ) {
        #expect(ConnectionBalance.isTooMany(row.held, of: row.total, workers: row.workers) == row.isTooMany)
    }

    @Test func `what one worker accepts is spread over all, and every connection is served`() throws {
        let workers = try Workers(count: 3)
        defer { workers.stop() }
        // Only the first worker's socket is connected to: without handing over it would hold them all.
        let clients = try (0..<60).map { _ in try Peer(port: workers.port) }
        for client in clients {
            client.send(get("/own"))
            #expect(client.readMessage().status == 200)
        }
        let held = workers.connectionCounts
        #expect(held.reduce(0, +) == 60)
        #expect(held.allSatisfy { (15...26).contains($0) }, "\(held)")
        for client in clients { client.close() }
        #expect(eventually { workers.connectionCounts == [0, 0, 0] })
        // The counts went down with the connections: the next ones are spread the same way.
        let more = try (0..<3).map { _ in try Peer(port: workers.port) }
        for client in more {
            client.send(get("/own"))
            #expect(client.readMessage().status == 200)
        }
        #expect(workers.connectionCounts == [1, 1, 1])
    }

    @Test func `a worker that does not have the address yet, or any more, gives the connection back`() throws {
        let workers = try Workers(count: 2, listening: 1)
        defer { workers.stop() }
        let clients = try (0..<20).map { _ in try Peer(port: workers.port) }
        for client in clients {
            client.send(get("/own"))
            #expect(client.readMessage().status == 200)
        }
        #expect(workers.connectionCounts == [20, 0])
        for client in clients { client.close() }
        #expect(eventually { workers.connectionCounts == [0, 0] })
        #expect(eventually { workers.drainLater(1).isSet })
    }

    @Test func `connections on their way to another worker are counted, and beyond the cap one is closed at once`()
        throws
    {
        let workers = try Workers(count: 2, connectionsMax: 4)
        defer { workers.stop() }
        let release = workers.hold(1)
        let clients = try (0..<8).map { _ in try Peer(port: workers.port) }
        // Two are served, two wait for the worker that is held, the others end although it is.
        for client in clients[4...] { #expect(client.sawEnd()) }
        release.open()
        for client in clients[..<4] {
            client.send(get("/own"))
            #expect(client.readMessage().status == 200)
            client.close()
        }
        // Their places are free again.
        #expect(eventually { workers.connectionCounts == [0, 0] })
        for client in try (0..<4).map({ _ in try Peer(port: workers.port) }) {
            client.send(get("/own"))
            #expect(client.readMessage().status == 200)
        }
    }

    @Test func `workers that share a Unix socket each hold their part, and every connection is served`() throws {
        let path = "/tmp/shared-socket-test-\(getpid())"
        let workers = try Workers(count: 3, unixPath: path)
        defer { workers.stop() }
        let clients = try (0..<60).map { _ in try Peer(unixPath: path) }
        for client in clients {
            client.send(get("/own"))
            #expect(client.readMessage().status == 200)
        }
        let held = workers.connectionCounts
        #expect(held.reduce(0, +) == 60)
        // Two that accept at the same time may both hold a quarter more than the mean.
        #expect(held.allSatisfy { (8...26).contains($0) }, "\(held)")
        // One goes: the others go on to be woken.
        let drained = workers.drainLater(0)
        for client in clients { client.close() }
        #expect(eventually { drained.isSet })
        for client in try (0..<20).map({ _ in try Peer(unixPath: path) }) {
            client.send(get("/own"))
            #expect(client.readMessage().status == 200)
        }
    }

    @Test func `a worker that drains gets nothing more, and what was on its way to it is answered`() throws {
        for _ in 0..<20 {
            let workers = try Workers(count: 2)
            defer { workers.stop() }
            let first = try Peer(port: workers.port)
            first.send(get("/own"))
            #expect(first.readMessage().status == 200)
            // The second worker drains while the first hands over to it.
            let drained = workers.drainLater(1)
            let clients = try (0..<10).map { _ in try Peer(port: workers.port) }
            for client in clients { client.send(get("/own")) }
            for client in clients {
                let (text, _) = client.readAnswerOrEnd()
                // Idle when it came to a draining worker: closed in order; else answered.
                #expect(text.isEmpty || text.hasPrefix("HTTP/1.1 200"))
            }
            #expect(eventually { drained.isSet })
            let last = try Peer(port: workers.port)
            last.send(get("/own"))
            #expect(last.readMessage().status == 200)
        }
    }
}

extension Peer {
    /// One answer with its four bytes of body, or nothing if the connection ended.
    fileprivate func readAnswerOrEnd() -> (String, Bool) {
        let head = read(until: "\r\n\r\n")
        guard !head.isEmpty else { return ("", true) }
        return (head + String(decoding: read(count: 4), as: UTF8.self), false)
    }
}

/// Workers that know each other and have one listener, each with a socket of its own; clients know the first one's.
private final class Workers: @unchecked Sendable {
    // Everything but the mailboxes belongs to the workers' threads once they run.
    private let workers: [Worker]
    private let sockets: [Socket]
    private var threads: [LoopThread] = []
    let port: UInt16

    private final class Socket {
        let socket: ListeningSocket
        init(_ address: NetworkAddress) throws { socket = try ListeningSocket(address) }
    }

    init(count: Int, listening: Int? = nil, connectionsMax: Int = 1000, unixPath: String? = nil) throws {
        let address = unixPath.map { NetworkAddress(unixPath: $0) } ?? NetworkAddress(numericHost: "127.0.0.1", port: 0)
        guard let address else { throw Peer.Problem("address") }
        sockets = try (0..<(unixPath == nil ? listening ?? count : 1)).map { _ in try Socket(address) }
        port = sockets[0].socket.address.port
        workers = try (0..<count).map { index in
            try Worker(index: index, counters: WorkerCounters(MetricRegistry())) { _ in TestFilter(record: Record()) }
        }
        let second = TestGateway.second
        let settings = ListenerSettings(
            name: "test", tls: nil, port: port, connectionsMax: connectionsMax, handshakeTimeout: 5 * second,
            headTimeout: 5 * second, bodyTimeout: 5 * second, idleTimeout: 5 * second, tunnelIdleTimeout: 5 * second,
            headLimits: HeadLimits(bytesMax: 8192, fieldsMax: 50), chunkExtensionBytesMax: 64, filterIndex: 0)
        for (index, worker) in workers.enumerated() where unixPath != nil || index < sockets.count {
            let socket = sockets[unixPath == nil ? index : 0]
            try worker.listen(on: socket.socket.number, isShared: socket.socket.isShared, settings: settings)
        }
        _ = ConnectionBalance(workers)
        for index in workers.indices {
            threads.append(try LoopThread(name: "test-\(index)") { [self] in workers[index].loop.run() })
        }
    }

    /// What each worker holds; asked of it on its own thread.
    var connectionCounts: [Int] {
        workers.indices.map { index in
            let count = Mutex(0)
            let gate = Gate()
            let box = Box(count)
            workers[index].loop.mailbox.post { [self] _ in
                box.value.withLock { $0 = workers[index].connectionCount }
                gate.open()
            }
            gate.wait()
            return box.value.withLock { $0 }
        }
    }

    private final class Box: Sendable {
        let value: Mutex<Int>
        init(_ value: consuming Mutex<Int>) { self.value = value }
    }

    /// Holds a worker's thread until the gate is opened.
    func hold(_ index: Int) -> Gate {
        let entered = Gate()
        let release = Gate()
        workers[index].loop.mailbox.post { _ in
            entered.open()
            release.wait()
        }
        entered.wait()
        return release
    }

    func drainLater(_ index: Int) -> Flag {
        let flag = Flag()
        workers[index].loop.mailbox.post { [self] _ in workers[index].drain { flag.set() } }
        return flag
    }

    func stop() {
        for worker in workers { worker.loop.mailbox.post { $0.stop() } }
        for thread in threads { thread.join() }
    }
}
