import EventLoop
import Telemetry
import TestSupport
import Testing

@testable import ProxyCore

/// Upgraded connections (RFC 9110 section 7.8).
@Suite(.ownThread, .serialized, .timeLimit(.minutes(1)))
struct TunnelTests {
    private static let upgrade = get("/", "Connection: upgrade\r\nUpgrade: websocket\r\n")
    private static let agreed = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"

    /// Opens a tunnel; `serve` has the endpoint's side from behind its 101.
    private func withTunnel(
        greeting: String = "", listener: (inout ListenerSettings) -> Void = { _ in },
        upstream configureUpstream: (inout UpstreamSettings) -> Void = { _ in }, receiveBuffer: CInt? = nil,
        serve: @escaping @Sendable (Peer) -> Void, _ body: (TestGateway, Peer) throws -> Void
    ) throws {
        let upstream = try FakeUpstream { peer, _ in
            let request = peer.readMessage()
            guard request["upgrade"] == "websocket", request["connection"] == "upgrade" else { return }
            peer.send(Self.agreed + greeting)
            serve(peer)
        }
        try withGateway(upstream, listener: listener, upstream: configureUpstream) { gateway in
            let client = try gateway.connect(receiveBuffer: receiveBuffer)
            client.send(Self.upgrade)
            let answer = client.readMessage()
            #expect(answer.status == 101)
            #expect(answer["upgrade"] == "websocket" && answer["connection"] == "upgrade")
            #expect(answer["x-seen"] == "by-filter")
            try body(gateway, client)
        }
    }

    @Test func `bytes pass both ways unread, those behind the 101 included`() throws {
        try withTunnel(
            greeting: "hello",
            serve: { peer in
                let bytes = peer.read(count: 4)
                peer.send(bytes.reversed() + [0, 255, 13, 10])
                _ = peer.readToEnd()
            },
            { gateway, client in
                #expect(client.read(count: 5) == Array("hello".utf8))
                client.send([0, 1, 2, 254])
                #expect(client.read(count: 8) == [254, 2, 1, 0, 0, 255, 13, 10])
                client.close()
                let ended = gateway.record.ends(1)[0]
                #expect(ended.wasUpgraded && ended.status == 101)
                #expect(ended.requestBodyBytes == 4)
                #expect(gateway.counters.upstreamConnectionsIdle.value == 0)
            })
    }

    @Test func `what the client sent last arrives before the end`() throws {
        let got = Lines()
        try withTunnel(
            serve: { peer in
                let (text, end) = peer.readToEnd()
                got.add("\(text) \(end)")
            },
            { gateway, client in
                client.send("last words")
                client.halfClose()
                #expect(eventually { got.all == ["last words closed"] })
                #expect(client.sawEnd())
            })
    }

    @Test func `what the endpoint sent last arrives before the end`() throws {
        try withTunnel(
            serve: { $0.send(String(repeating: "x", count: 300_000)) },
            { _, client in
                let (text, end) = client.readToEnd()
                #expect(text.utf8.count == 300_000 && end == .closed)
            })
    }

    @Test func `what the endpoint sent last arrives although the client goes on talking`() throws {
        let size = 100_000
        try withTunnel(
            receiveBuffer: 4096, serve: { $0.send([UInt8](repeating: 7, count: size)) },
            { _, client in
                var received = 0
                while received < size {
                    // What finds a closed connection is answered with RST, and then all that is under way is lost.
                    _ = client.sendWithoutWaiting([1])
                    let bytes = client.read(count: min(1000, size - received))
                    received += bytes.count
                    if bytes.isEmpty { break }
                }
                #expect(received == size)
                #expect(client.readToEnd().end == .closed)
            })
    }

    @Test func `an endpoint that does not read for a while gets everything in the end`() throws {
        let go = Gate()
        let size = 16 << 20
        let got = Lines()
        try withTunnel(
            serve: { peer in
                go.wait()
                got.add("\(peer.read(count: size).count)")
                _ = peer.readToEnd()
            },
            { gateway, client in
                // Until nothing moves: then bytes wait in the gateway, and in its socket without a further event.
                var sent = 0
                let block = [UInt8](repeating: 7, count: 65_536)
                var last = -1
                while last != sent {
                    last = sent
                    _ = eventually(within: 100) {
                        let count = sent < size ? client.sendWithoutWaiting(Array(block.prefix(size - sent))) : 0
                        sent += count
                        return count > 0
                    }
                }
                #expect(sent < size)
                go.open()
                while sent < size {
                    guard client.send(Array(block.prefix(size - sent))) else { break }
                    sent += min(block.count, size - sent)
                }
                #expect(eventually { got.all == ["\(size)"] })
            })
    }

    @Test func `bytes that wait in the gateway's socket move on without a further event`() throws {
        let go = Gate()
        let got = Lines()
        let total = Lines()
        try withTunnel(
            serve: { peer in
                go.wait()
                let wanted = Int(total.all.first ?? "") ?? 0
                got.add("\(peer.read(count: wanted).count == wanted)")
                _ = peer.readToEnd()
            },
            { gateway, client in
                var sent = 0
                let block = [UInt8](repeating: 7, count: 65_536)
                while eventually(within: 100, { client.sendWithoutWaiting(block).added(to: &sent) > 0 }) {}
                total.add("\(sent)")
                go.open()
                #expect(eventually { got.all == ["true"] })
            })
    }

    @Test func `a client that does not read for a while gets everything, and then has the tunnel's own idle time`()
        throws
    {
        let size = 8 << 20
        try withTunnel(
            listener: {
                $0.bodyTimeout = 400 * TestGateway.millisecond
                $0.headTimeout = 1000 * TestGateway.millisecond
            }, receiveBuffer: 4096,
            serve: { peer in
                peer.send([UInt8](repeating: 7, count: size))
                peer.send(peer.read(count: 3))
                _ = peer.readToEnd()
            },
            { gateway, client in
                // A clock for what the worker's timers have passed: this connection begins now and never ends its head.
                #expect(client.read(count: size).count == size)
                let clock = try gateway.connect()
                clock.send("GET /")
                #expect(clock.readMessage().status == 408)
                client.send("abc")
                #expect(client.read(count: 3) == Array("abc".utf8))
            })
    }

    @Test func `a tunnel in which nothing moves ends`() throws {
        try withTunnel(
            listener: { $0.tunnelIdleTimeout = 100 * TestGateway.millisecond }, serve: { _ = $0.readToEnd() },
            { gateway, client in
                #expect(client.sawEnd())
                #expect(gateway.record.ends(1)[0].error?.step == "tunnel.idle")
            })
    }

    @Test(arguments: ["early", "GET /admin HTTP/1.1\r\nHost: a.test\r\n\r\n"])
    func `bytes that come with the request to upgrade are refused (R42)`(early: String) throws {
        let upstream = try FakeUpstream { _ in Self.agreed }
        try withGateway(upstream) { gateway in
            let client = try gateway.connect()
            client.send(Self.upgrade + early)
            #expect(client.readMessage().status == 400)
            #expect(client.sawEnd())
            #expect(upstream.connectionCount == 0)
        }
    }

    @Test func `a 101 that nobody asked for is a 502`() throws {
        let upstream = try FakeUpstream { _ in Self.agreed }
        try withGateway(upstream) { gateway in
            let client = try gateway.connect()
            client.send(get("/"))
            #expect(client.readMessage().status == 502)
        }
    }

    @Test func `where upgrades are not allowed the request goes on without one`() throws {
        let lines = Lines()
        let upstream = try FakeUpstream { request in
            lines.add("\(request["upgrade"] ?? "no") \(request["connection"] ?? "no")")
            return okResponse
        }
        try withGateway(upstream, filter: { $0.allowsUpgrade = false }) { gateway in
            let client = try gateway.connect()
            client.send(Self.upgrade)
            #expect(client.readMessage().status == 200)
            #expect(lines.all == ["no no"])
        }
    }

    @Test func `an endpoint that declines leaves a connection for further requests`() throws {
        let upstream = try FakeUpstream { _ in okResponse }
        try withGateway(upstream) { gateway in
            let client = try gateway.connect()
            client.send(Self.upgrade)
            #expect(client.readMessage().status == 200)
            client.send(get("/"))
            #expect(client.readMessage().status == 200)
            #expect(upstream.connectionCount == 1)
        }
    }
}

extension Int {
    /// The same number, added to a sum.
    fileprivate func added(to sum: inout Int) -> Int {
        sum += self
        return self
    }
}
