import EventLoop
import TestSupport
import Testing

@testable import ProxyCore

/// Every wait has an end, and the side that is blamed is the one that was waited for.
@Suite(.ownThread, .serialized, .timeLimit(.minutes(1)))
struct TimeoutTests {
    private static let short = 100 * TestGateway.millisecond

    @Test func `a connection that says nothing is closed without a word`() throws {
        let upstream = try FakeUpstream { _ in okResponse }
        try withGateway(upstream, listener: { $0.headTimeout = Self.short }) { gateway in
            let client = try gateway.connect()
            #expect(client.sawEnd())
            #expect(gateway.record.all.isEmpty)
        }
    }

    @Test func `a head that comes too slowly is a 408, however often a byte comes`() throws {
        let upstream = try FakeUpstream { _ in okResponse }
        try withGateway(upstream, listener: { $0.headTimeout = Self.short }) { gateway in
            let client = try gateway.connect()
            client.send("GET / HTTP/1.1\r\nX: ")
            while gateway.record.all.isEmpty, client.send("a") { _ = eventually(within: 10) { false } }
            #expect(
                gateway.record.ends(1)[0].error == ExchangeError(side: .downstream, step: "request.head", status: 408))
        }
    }

    @Test func `an idle kept connection is closed without a word`() throws {
        let upstream = try FakeUpstream { _ in okResponse }
        try withGateway(upstream, listener: { $0.idleTimeout = Self.short }) { gateway in
            let client = try gateway.connect()
            client.send(get("/"))
            #expect(client.readMessage().status == 200)
            #expect(client.sawEnd())
        }
    }

    @Test func `a body that stops coming is a 408`() throws {
        let upstream = try FakeUpstream { peer, _ in _ = peer.readToEnd() }
        try withGateway(upstream, listener: { $0.bodyTimeout = Self.short }) { gateway in
            let client = try gateway.connect()
            client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 10\r\n\r\nabc")
            let answer = client.readMessage()
            #expect(answer.status == 408 && answer["connection"] == "close")
            #expect(client.sawEnd())
        }
    }

    @Test func `a body that comes more slowly than it may is a 408, however often a byte comes`() throws {
        let upstream = try FakeUpstream { peer, _ in _ = peer.readToEnd() }
        try withGateway(
            upstream,
            listener: {
                $0.bodyTimeout = Self.short
                $0.bodyProgressBytes = 100_000
            }
        ) { gateway in
            let client = try gateway.connect()
            client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 10000000\r\n\r\n")
            // More than a kilobyte within the timeout, and never silent.
            let piece = String(repeating: "x", count: 500)
            while gateway.record.all.isEmpty, client.send(piece) { _ = eventually(within: 10) { false } }
            #expect(
                gateway.record.ends(1)[0].error == ExchangeError(side: .downstream, step: "request.body", status: 408))
        }
    }

    @Test func `a body that is just fast enough takes as long as it takes`() throws {
        let upstream = try FakeUpstream { _ in okResponse }
        try withGateway(
            upstream,
            listener: {
                $0.bodyTimeout = 10 * Self.short
                $0.bodyProgressBytes = 4096
            }
        ) { gateway in
            let client = try gateway.connect()
            client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: \(20 * 4096)\r\n\r\n")
            for _ in 0..<20 {
                client.send([UInt8](repeating: 1, count: 4096))
                _ = eventually(within: 100) { false }
            }
            #expect(client.readMessage().status == 200)
        }
    }

    @Test func `an upstream that never answers is a 504, one that answers no connect too`() throws {
        let upstream = try FakeUpstream { peer, _ in _ = peer.readToEnd() }
        try withGateway(upstream, upstream: { $0.firstByteTimeout = Self.short }) { gateway in
            let client = try gateway.connect()
            client.send(get("/"))
            #expect(client.readMessage().status == 504)
            #expect(gateway.record.ends(1)[0].error?.step == "response.first_byte")
            client.send(get("/own"))
            #expect(client.readMessage().status == 200)
        }
        // An address of TEST-NET-1 (RFC 5737): no answer, or no route at once, which is a 502.
        let nowhere = try #require(NetworkAddress(numericHost: "192.0.2.1", port: 9))
        let gateway = try TestGateway(
            endpoints: [.init(name: "nowhere", addresses: [nowhere])], upstream: { $0.connectTimeout = Self.short })
        defer { gateway.stop() }
        let client = try gateway.connect()
        client.send(get("/"))
        #expect([502, 504].contains(client.readMessage().status))
    }

    @Test func `an answer that falls silent is cut`() throws {
        let upstream = try FakeUpstream { peer, _ in
            _ = peer.readMessage()
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
            _ = peer.readToEnd()
        }
        try withGateway(upstream, upstream: { $0.idleTimeout = Self.short }) { gateway in
            let client = try gateway.connect()
            client.send(get("/"))
            #expect(client.readToEnd().end == .reset)
            #expect(
                gateway.record.ends(1)[0].error == ExchangeError(side: .upstream, step: "response.body", status: 504))
        }
    }

    @Test func `an idle upstream connection is closed when its time is over`() throws {
        let upstream = try FakeUpstream { _ in okResponse }
        try withGateway(upstream, upstream: { $0.keepAliveTimeout = Self.short }) { gateway in
            let client = try gateway.connect()
            client.send(get("/"))
            #expect(client.readMessage().status == 200)
            #expect(eventually { upstream.closedCount == 1 })
            client.send(get("/"))
            #expect(client.readMessage().status == 200)
        }
    }

    @Test func `an upload that pauses is not blamed on the upstream`() throws {
        let upstream = try FakeUpstream { request in okResponse }
        try withGateway(
            upstream, listener: { $0.headTimeout = 2 * Self.short }, upstream: { $0.firstByteTimeout = Self.short }
        ) { gateway in
            let client = try gateway.connect()
            client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 6\r\n\r\nabc")
            #expect(eventually { upstream.connectionCount == 1 })
            try passTime(gateway)
            client.send("def")
            #expect(client.readMessage().status == 200)
        }
    }

    @Test func `a client that reads slowly is not blamed on the upstream`() throws {
        let size = 16 << 20
        let upstream = try FakeUpstream { peer, _ in
            _ = peer.readMessage()
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: \(size)\r\n\r\n")
            peer.send([UInt8](repeating: 7, count: size))
            _ = peer.readToEnd()
        }
        try withGateway(
            upstream, listener: { $0.headTimeout = 2 * Self.short }, upstream: { $0.idleTimeout = 5 * Self.short }
        ) { gateway in
            let client = try gateway.connect(receiveBuffer: 4096)
            client.send(get("/"))
            #expect(client.read(until: "\r\n\r\n").contains("200"))
            // Longer than the endpoint may be silent, which is long enough for one that the machine holds up.
            for _ in 0..<6 { try passTime(gateway) }
            #expect(client.read(count: size).count == size)
        }
    }

    @Test func `an upstream that reads slowly is not blamed on the client`() throws {
        let go = Gate()
        let size = 16 << 20
        let upstream = try FakeUpstream { peer, _ in
            _ = peer.read(until: "\r\n\r\n")
            go.wait()
            #expect(peer.read(count: size).count == size)
            peer.send(okResponse)
            _ = peer.readToEnd()
        }
        try withGateway(
            upstream,
            listener: {
                $0.headTimeout = 2 * Self.short
                $0.bodyTimeout = Self.short
            }
        ) { gateway in
            let client = try gateway.connect()
            client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: \(size)\r\n\r\n")
            let block = [UInt8](repeating: 7, count: 65_536)
            var sent = 0
            while eventually(
                within: 100,
                {
                    let count = client.sendWithoutWaiting(block)
                    sent += count
                    return count > 0
                })
            {}
            try passTime(gateway)
            go.open()
            var isTaken = true
            while isTaken, sent < size {
                let part = Array(block.prefix(size - sent))
                isTaken = client.send(part)
                sent += part.count
            }
            #expect(client.readMessage().status == 200)
        }
    }

    /// Waits until a timer of the worker that begins now, twice as long as those under test, has passed.
    private func passTime(_ gateway: TestGateway) throws {
        let clock = try gateway.connect()
        clock.send("GET /")
        #expect(clock.readMessage().status == 408)
    }
}
