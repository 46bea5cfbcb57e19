import COpenSSL
import EventLoop
import Telemetry
import TestSupport
import Testing

@testable import ProxyCore

/// Whoever opens connections and never finishes the handshake displaces himself.
@Suite(.ownThread, .serialized, .timeLimit(.minutes(1)))
struct HandshakeQueueTests {
    // MARK: The queue

    private final class Client {
        let name: Int
        init(_ name: Int) { self.name = name }
    }

    private typealias Queue = HandshakeQueue<Client>

    private func instant(_ nanoseconds: UInt64) -> MonotonicInstant { MonotonicInstant(nanoseconds: nanoseconds) }

    @Test func `below the cap everybody has room, and nobody is displaced`() {
        var queue = Queue()
        let clients = (0..<3).map(Client.init)
        for client in clients {
            #expect(queue.hasRoom(for: 3) && queue.displaced(for: 3) == nil)
            _ = queue.add(client, at: instant(1))
        }
        #expect(!queue.hasRoom(for: 3) && queue.count == 3)
    }

    @Test func `a silent one is due when its time is over and another turn has passed, not before`() {
        var queue = Queue()
        let client = Client(1)
        _ = queue.add(client, at: instant(1))
        // The turn that begins when its time is over may still bring its first flight, however often it is asked.
        for nanoseconds in [Queue.silenceMax, Queue.silenceMax + 1, Queue.silenceMax + 1] {
            queue.turnBegan(at: instant(nanoseconds))
            #expect(!queue.hasRoom(for: 1), "\(nanoseconds)")
        }
        queue.turnBegan(at: instant(Queue.silenceMax + 2))
        #expect(queue.hasRoom(for: 1))
        #expect(queue.displaced(for: 1) === client)
    }

    @Test func `one that was answered is due after a long round trip, counted from the answer`() {
        var queue = Queue()
        let client = Client(1)
        let place = queue.add(client, at: instant(1))
        queue.wasAnswered(place, at: instant(1000))
        queue.wasAnswered(place, at: instant(2000))
        for nanoseconds in [Queue.silenceMax * 2, Queue.roundTripMax + 999, Queue.roundTripMax + 1000] {
            queue.turnBegan(at: instant(nanoseconds))
            #expect(!queue.hasRoom(for: 1), "\(nanoseconds)")
        }
        queue.turnBegan(at: instant(Queue.roundTripMax + 1001))
        #expect(queue.hasRoom(for: 1))
        #expect(queue.displaced(for: 1) === client)
    }

    @Test func `silent ones go before answered ones, and the oldest of each first`() {
        var queue = Queue()
        let clients = (0..<6).map(Client.init)
        let places = clients.map { queue.add($0, at: instant(UInt64($0.name) + 1)) }
        for name in [3, 1] { queue.wasAnswered(places[name], at: instant(10)) }
        var gone: [Int] = []
        while let client = queue.displaced(for: 1) {
            gone.append(client.name)
            queue.remove(places[client.name])
        }
        #expect(gone == [0, 2, 4, 5, 3, 1] && queue.count == 0)
    }

    @Test func `those that end on their own leave the others in their order`() {
        for removed in 0..<3 {
            for isAnswered in [false, true] {
                var queue = Queue()
                let clients = (0..<3).map(Client.init)
                let places = clients.map { queue.add($0, at: instant(1)) }
                if isAnswered { for place in places { queue.wasAnswered(place, at: instant(2)) } }
                queue.remove(places[removed])
                var gone: [Int] = []
                while let client = queue.displaced(for: 1) {
                    gone.append(client.name)
                    queue.remove(places[client.name])
                }
                #expect(gone == [0, 1, 2].filter { $0 != removed })
                _ = queue.add(clients[removed], at: instant(3))
                #expect(queue.displaced(for: 1) === clients[removed])
            }
        }
    }

    // MARK: On a worker

    private let certificates: TestCertificates

    init() throws { certificates = try TestCertificates([["first.test"]]) }

    private func withCap(_ max: Int, _ body: (TestGateway) throws -> Void) throws {
        let upstream = try FakeUpstream { _ in okResponse }
        try withGateway(upstream, tls: try certificates.context(), listener: { $0.handshakesMax = max }, body)
    }

    private func isServed(_ client: TLSClient) -> Bool {
        client.send(get("/"))
        return client.readAnswer().hasPrefix("HTTP/1.1 200")
    }

    @Test func `a flood of silent connections displaces itself, and good clients are served`() throws {
        try withCap(8) { gateway in
            let kept = try TLSClient(gateway)
            #expect(kept.handshake() && isServed(kept))
            var silent: [Peer] = []
            for _ in 0..<10 {
                for _ in 0..<20 { silent.append(try gateway.connect()) }
                let client = try TLSClient(gateway)
                #expect(client.handshake() && isServed(client))
                #expect(gateway.connectionCount <= 8 + 2, "those under way, the kept one and this one")
            }
            // The last good client has taken the place of one.
            #expect(eventually { gateway.counters.handshakesDisplaced.value == 193 })
            for client in silent.prefix(193) { #expect(client.sawEnd()) }
            #expect(isServed(kept), "whose handshake is done is left alone")
            #expect(gateway.connections.refusals.takeAll().map(\.reason) == [.handshakes])
            #expect(gateway.counters.handshakeFailures.value == 0)
        }
    }

    @Test func `a flood of first flights displaces itself when they are late`() throws {
        try withCap(4) { gateway in
            var stuck: [TLSClient] = []
            for number in 0..<8 {
                let client = try TLSClient(gateway)
                client.send(bytes: client.clientHello())
                stuck.append(client)
                // Answered, all that have room at once.
                if number < 4 { #expect(client.readRecord()) }
            }
            let client = try TLSClient(gateway)
            #expect(client.handshake() && isServed(client))
            #expect(gateway.counters.handshakesDisplaced.value >= 4)
            #expect(eventually { gateway.connectionCount <= 5 })
        }
    }

    @Test func `clients that all come at once wait for each other, and none is displaced`() throws {
        try withCap(2) { gateway in
            let held = gateway.hold()
            let clients = try (0..<20).map { _ in try TLSClient(gateway) }
            for client in clients { client.send(bytes: client.clientHello()) }
            held.open()
            for client in clients {
                #expect(client.handshake() && isServed(client))
            }
            #expect(gateway.counters.handshakesDisplaced.value == 0)
        }
    }
}
