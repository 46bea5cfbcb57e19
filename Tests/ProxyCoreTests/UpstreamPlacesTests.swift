import EventLoop
import Synchronization
import Telemetry
import TestSupport
import Testing

@testable import ProxyCore

/// Endpoints that have only so many places, and the queue before them.
@Suite(.ownThread, .serialized, .timeLimit(.minutes(1)))
struct UpstreamPlacesTests {
    /// An endpoint that answers each request when the test says so, with the request's path.
    private final class Held: Sendable {
        let upstream: FakeUpstream
        private let gates: Gates

        private final class Gates: Sendable {
            let state = Mutex<(paths: [String], open: [String: Gate])>(([], [:]))
            func gate(_ path: String) -> Gate {
                state.withLock { state in
                    if let gate = state.open[path] { return gate }
                    let gate = Gate()
                    state.open[path] = gate
                    return gate
                }
            }
        }

        init() throws {
            let gates = Gates()
            self.gates = gates
            upstream = try FakeUpstream { request in
                let path = String(request.startLine.split(separator: " ")[1])
                gates.state.withLock { $0.paths.append(path) }
                gates.gate(path).wait()
                return "HTTP/1.1 200 OK\r\nContent-Length: \(path.utf8.count)\r\n\r\n\(path)"
            }
        }

        /// The paths of the requests that have arrived, in their order.
        var arrived: [String] { gates.state.withLock(\.paths) }

        func answer(_ paths: String...) { for path in paths { gates.gate(path).open() } }
    }

    private func waits(_ count: Int, _ gateway: TestGateway) -> Bool {
        eventually { gateway.places?.counts.waiting == count }
    }

    /// Two clients: the request `/1` is at the endpoint, `/2` waits.
    private func oneWaits(_ held: Held, _ gateway: TestGateway) throws -> (Peer, Peer) {
        let (first, second) = (try gateway.connect(), try gateway.connect())
        first.send(get("/1"))
        #expect(eventually { held.arrived == ["/1"] })
        second.send(get("/2"))
        #expect(waits(1, gateway))
        return (first, second)
    }

    private func shows(_ line: String, _ gateway: TestGateway) -> Bool {
        gateway.registry.prometheusText().split(separator: "\n").contains { $0 == line }
    }

    @Test func `an endpoint has as many requests as it has places, and the next one when a place is free`() throws {
        let held = try Held()
        try withGateway(held.upstream, bounds: .init(exchangesMax: 2, queueMax: 5)) { gateway in
            let clients = try (1...4).map { number in
                let client = try gateway.connect()
                client.send(get("/\(number)"))
                #expect(eventually { gateway.places.map { $0.counts.taken[0] + $0.counts.waiting } == number })
                return client
            }
            #expect(eventually { held.arrived.count == 2 })
            #expect(Set(held.arrived) == ["/1", "/2"] && gateway.places?.counts.waiting == 2)
            #expect(shows("upstream_queue_length{upstream=\"app\"} 2", gateway))
            held.answer("/2")
            #expect(clients[1].readMessage().body == "/2")
            #expect(eventually { held.arrived.count == 3 })
            #expect(held.arrived[2] == "/3", "first come, first served")
            held.answer("/1", "/3", "/4")
            for number in [1, 3, 4] { #expect(clients[number - 1].readMessage().body == "/\(number)") }
            #expect(eventually { gateway.places?.counts.taken == [0] })
            #expect(shows("upstream_queue_length{upstream=\"app\"} 0", gateway))
            #expect(shows("upstream_queued_total{upstream=\"app\"} 2", gateway))
        }
    }

    @Test func `who comes when the queue is full is refused at once, and served later on the same connection`() throws {
        let held = try Held()
        try withGateway(held.upstream, bounds: .init(exchangesMax: 1, queueMax: 1)) { gateway in
            let (first, second) = try oneWaits(held, gateway)
            let third = try gateway.connect()
            third.send(get("/3"))
            let refused = third.readMessage()
            #expect(refused.status == 503 && refused.body == "queue.full" && refused["connection"] == nil)
            held.answer("/1", "/2", "/4")
            #expect(first.readMessage().body == "/1")
            #expect(second.readMessage().body == "/2")
            third.send(get("/4"))
            #expect(third.readMessage().body == "/4")
            #expect(!held.arrived.contains("/3"))
            #expect(shows("upstream_queue_refused_total{upstream=\"app\",reason=\"full\"} 1", gateway))
        }
    }

    @Test func `a queue of none refuses whoever finds no place`() throws {
        let held = try Held()
        try withGateway(held.upstream, bounds: .init(exchangesMax: 1, queueMax: 0)) { gateway in
            let first = try gateway.connect()
            first.send(get("/1"))
            #expect(eventually { held.arrived == ["/1"] })
            let second = try gateway.connect()
            second.send(get("/2"))
            #expect(second.readMessage().status == 503)
            held.answer("/1", "/2")
            #expect(first.readMessage().body == "/1")
            second.send(get("/2"))
            #expect(second.readMessage().body == "/2")
        }
    }

    @Test func `who has waited too long is refused, and nobody else`() throws {
        let held = try Held()
        try withGateway(
            held.upstream, bounds: .init(exchangesMax: 1, queueMax: 5),
            upstream: { $0.queueTimeout = 100 * TestGateway.millisecond }
        ) { gateway in
            let first = try gateway.connect()
            first.send(get("/1"))
            #expect(eventually { held.arrived == ["/1"] })
            let second = try gateway.connect()
            second.send(get("/2"))
            let refused = second.readMessage()
            #expect(refused.status == 503 && refused.body == "queue.timeout")
            #expect(gateway.places?.counts.waiting == 0)
            let ended = gateway.record.ends(1)[0]
            #expect(ended.queueDuration >= 100 * TestGateway.millisecond && ended.endpoint == nil)
            held.answer("/1")
            #expect(first.readMessage().body == "/1", "its own time is that of the endpoint")
            #expect(shows("upstream_queue_refused_total{upstream=\"app\",reason=\"timeout\"} 1", gateway))
        }
    }

    @Test(arguments: [true, false])
    func `a client that leaves is taken out of the queue`(isInOrder: Bool) throws {
        let held = try Held()
        try withGateway(held.upstream, bounds: .init(exchangesMax: 1, queueMax: 5)) { gateway in
            let (first, second) = try oneWaits(held, gateway)
            let third = try gateway.connect()
            third.send(get("/3"))
            #expect(waits(2, gateway))
            isInOrder ? second.close() : second.reset()
            #expect(waits(1, gateway))
            held.answer("/1", "/2", "/3")
            #expect(first.readMessage().body == "/1")
            #expect(third.readMessage().body == "/3")
            #expect(held.arrived == ["/1", "/3"])
            let ended = gateway.record.ends(1)[0]
            #expect(ended.error?.side == .downstream && ended.error?.step == (isInOrder ? "queue.left" : "connection"))
        }
    }

    /// It may only have said that it will send nothing more; nobody can tell, so it gets an answer.
    @Test func `a client that ends its side is answered instead of waiting, before it waits and while it does`() throws
    {
        let held = try Held()
        try withGateway(held.upstream, bounds: .init(exchangesMax: 1, queueMax: 5)) { gateway in
            let first = try gateway.connect()
            first.send(get("/1"))
            first.halfClose()
            #expect(eventually { held.arrived == ["/1"] })
            let second = try gateway.connect()
            second.send(get("/2"))
            #expect(waits(1, gateway))
            second.halfClose()
            let third = try gateway.connect()
            let release = gateway.hold()
            third.send(get("/3"))
            third.halfClose()
            release.open()
            for client in [second, third] {
                let answer = client.readMessage()
                #expect(answer.status == 503 && answer.body == "queue.left" && answer["connection"] == "close")
                #expect(client.sawEnd())
            }
            held.answer("/1")
            #expect(first.readMessage().body == "/1", "who has a place is served")
            #expect(held.arrived == ["/1"])
            #expect(shows("upstream_queue_refused_total{upstream=\"app\",reason=\"left\"} 2", gateway))
        }
    }

    @Test func `a body that waits with its request is not late, and arrives whole`() throws {
        let held = try Held()
        try withGateway(
            held.upstream, bounds: .init(exchangesMax: 1, queueMax: 5),
            listener: { $0.bodyTimeout = 100 * TestGateway.millisecond }
        ) { gateway in
            let first = try gateway.connect()
            first.send(get("/1"))
            #expect(eventually { held.arrived == ["/1"] })
            let second = try gateway.connect()
            second.send("POST /2 HTTP/1.1\r\nHost: a.test\r\nContent-Length: 10\r\n\r\nhalf ")
            #expect(waits(1, gateway))
            // Longer than a body may be silent that is being read.
            #expect(!eventually(within: 300) { gateway.places?.counts.waiting == 0 })
            second.send("other")
            held.answer("/1", "/2")
            #expect(first.readMessage().body == "/1")
            #expect(second.readMessage().body == "/2")
            #expect(gateway.record.ends(2)[1].requestBodyBytes == 10)
        }
    }

    @Test func `a place is free again however its exchange ends`() throws {
        let upstream = try FakeUpstream { peer, number in
            // Nothing, where the client left before its request was sent.
            switch peer.readMessage().startLine.split(separator: " ").dropFirst().first {
            case nil: return
            case "/dies": return
            case "/malformed": peer.send("nonsense\r\n\r\n")
            case "/cut": peer.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
            case "/silent": _ = peer.readToEnd()
            case "/upgrade":
                peer.send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
                _ = peer.readToEnd()
            default: peer.send(okResponse)
            }
        }
        try withGateway(
            upstream, bounds: .init(exchangesMax: 1, queueMax: 0),
            upstream: { $0.firstByteTimeout = 100 * TestGateway.millisecond }
        ) { gateway in
            for (path, status) in [("/dies", 502), ("/malformed", 502), ("/silent", 504), ("/ok", 200)] {
                let client = try gateway.connect()
                client.send(get(path))
                #expect(client.readMessage().status == status, "\(path)")
                #expect(eventually { gateway.places?.counts.taken == [0] }, "\(path)")
            }
            let cut = try gateway.connect()
            cut.send(get("/cut"))
            _ = cut.readToEnd()
            #expect(eventually { gateway.places?.counts.taken == [0] })
            let gone = try gateway.connect()
            gone.send(get("/silent"))
            #expect(eventually { gateway.places?.counts.taken == [1] })
            gone.reset()
            #expect(eventually { gateway.places?.counts.taken == [0] })
            let tunnel = try gateway.connect()
            tunnel.send(get("/upgrade", "Connection: upgrade\r\nUpgrade: websocket\r\n"))
            #expect(tunnel.readMessage().status == 101)
            #expect(gateway.places?.counts.taken == [1], "for as long as it is open")
            tunnel.close()
            #expect(eventually { gateway.places?.counts.taken == [0] })
        }
    }

    @Test func `a kept connection that died is replaced within the same place`() throws {
        let upstream = try FakeUpstream { peer, number in
            _ = peer.readMessage()
            peer.send(okResponse)
            // The first connection takes one request more, and dies of it.
            _ = peer.readMessage()
            if number > 0 { peer.send(okResponse) }
        }
        try withGateway(upstream, bounds: .init(exchangesMax: 1, queueMax: 0)) { gateway in
            let client = try gateway.connect()
            for _ in 0..<2 {
                client.send(get("/"))
                #expect(client.readMessage().status == 200)
            }
            #expect(gateway.record.ends(2)[1].retries == 1)
            #expect(gateway.places?.counts.taken == [0])
        }
    }

    @Test func `an endpoint that refuses connections holds no place, and the others have theirs`() throws {
        let dead = try FakeUpstream.freePort()
        let held = try Held()
        defer { held.upstream.stop() }
        let gateway = try TestGateway(to: [dead, held.upstream.port], bounds: .init(exchangesMax: 1, queueMax: 5))
        defer { gateway.stop() }
        let clients = try (1...3).map { number in
            let client = try gateway.connect()
            client.send(get("/\(number)"))
            return client
        }
        #expect(eventually { gateway.places?.counts.taken == [0, 1] && gateway.places?.counts.waiting == 2 })
        held.answer("/1", "/2", "/3")
        #expect(clients.map { $0.readMessage().status } == [200, 200, 200])
        #expect(eventually { gateway.places?.counts.taken == [0, 0] })
    }

    @Test func `where no endpoint can be reached everybody is told, and nobody waits`() throws {
        let gateway = try TestGateway(
            to: [try FakeUpstream.freePort(), try FakeUpstream.freePort()], bounds: .init(exchangesMax: 1, queueMax: 5))
        defer { gateway.stop() }
        let clients = try (1...4).map { number in
            let client = try gateway.connect()
            client.send(get("/\(number)"))
            return client
        }
        #expect(clients.map { $0.readMessage().status } == [502, 502, 502, 502])
        #expect(gateway.places?.counts.taken == [0, 0] && gateway.places?.counts.waiting == 0)
    }

    @Test func `more places are given to those who wait at once, and fewer are when exchanges end`() throws {
        let held = try Held()
        try withGateway(held.upstream, bounds: .init(exchangesMax: 1, queueMax: 5)) { gateway in
            let clients = try (1...3).map { number in
                let client = try gateway.connect()
                client.send(get("/\(number)"))
                #expect(eventually { gateway.places.map { $0.counts.taken[0] + $0.counts.waiting } == number })
                return client
            }
            gateway.places?.use(.init(exchangesMax: 2, queueMax: 5))
            #expect(eventually { held.arrived == ["/1", "/2"] })
            gateway.places?.use(.init(exchangesMax: 1, queueMax: 5))
            held.answer("/1")
            #expect(clients[0].readMessage().body == "/1")
            #expect(eventually { gateway.places?.counts.taken == [1] })
            #expect(gateway.places?.counts.waiting == 1 && held.arrived == ["/1", "/2"])
            held.answer("/2", "/3")
            #expect(clients[1].readMessage().body == "/2")
            #expect(clients[2].readMessage().body == "/3")
        }
    }

    /// The queue is one for all workers: a place that one gives back is had by who waits on another.
    @Test func `a place goes from one worker to another`() throws {
        let held = try Held()
        defer { held.upstream.stop() }
        let name = "127.0.0.1:\(held.upstream.port)"
        let places = UpstreamPlaces(.init(exchangesMax: 1, queueMax: 5), endpointNames: [name])
        let one = try TestGateway(to: [held.upstream.port], places: places)
        defer { one.stop() }
        let other = try TestGateway(to: [held.upstream.port], places: places)
        defer { other.stop() }
        var clients: [Peer] = []
        for number in 1...6 {
            let client = try (number.isMultiple(of: 2) ? other : one).connect()
            client.send(get("/\(number)"))
            #expect(eventually { places.counts.taken[0] + places.counts.waiting == number })
            clients.append(client)
        }
        for number in 1...6 {
            held.answer("/\(number)")
            #expect(clients[number - 1].readMessage().body == "/\(number)")
        }
        #expect(held.arrived == (1...6).map { "/\($0)" })
        #expect(eventually { places.counts.taken == [0] })
    }
}
