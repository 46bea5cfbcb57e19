import EventLoop
import TestSupport
import Testing

@testable import ProxyCore

/// How a client's connection ends: what it was sent arrives whole, whatever it sends meanwhile. A socket that is closed
/// while bytes come would answer them with a reset, and forget what it still had to send.
@Suite(.ownThread, .serialized, .timeLimit(.minutes(1)))
struct EndTests {
    private static let short = 100 * TestGateway.millisecond
    /// More than the client's receive buffer holds, and less than a socket of ours takes.
    private static let large = 200_000

    private static let post = "POST / HTTP/1.1\r\nHost: a.test\r\n"

    /// Returns when the worker has had two turns: what was sent before has been seen.
    private func letSee(_ gateway: TestGateway) { for _ in 0..<2 { _ = gateway.connectionCount } }

    /// Whether the clients have taken all they were sent.
    private func isAcknowledged(_ gateway: TestGateway) -> Bool {
        gateway.onWorker { worker, _ in
            worker.connections.values.allSatisfy { connection in
                (connection as? DownstreamConnection)?.transport.hasUnacknowledgedOutput == false
            }
        } == true
    }

    /// Goes on sending for a while, and only then reads the answer that has come long since.
    private func expectWhole(
        _ status: Int, _ client: Peer, _ gateway: TestGateway, pieces: Int = 40, pieceSize: Int = 10_000
    ) {
        let piece = [UInt8](repeating: UInt8(ascii: "x"), count: pieceSize)
        for number in 0..<pieces {
            let isTaken = client.send(piece)
            #expect(isTaken, "\(number)")
            letSee(gateway)
        }
        let answer = client.readMessage()
        #expect(answer.status == status && answer.isComplete && answer["connection"] == "close")
        #expect(client.readToEnd().end == .closed)
        client.close()
        #expect(eventually { gateway.connectionCount == 0 })
    }

    @Test(arguments: [
        (Self.post + "Host: b.test\r\n", 400), ("GET\u{7F} / HTTP/1.1\r\n", 400), ("GET / HTTP/2.0\r\n", 505),
        (Self.post + "X: " + String(repeating: "x", count: 9000), 431),
        ("GET /" + String(repeating: "x", count: 9000), 414),
        (Self.post + "Content-Length: 2000000000\r\n\r\n", 413),
        (Self.post + "Transfer-Encoding: chunked\r\n\r\n500\r\n" + String(repeating: "x", count: 0x500), 413),
        (Self.post + "Transfer-Encoding: chunked\r\n\r\nnonsense\r\n", 400),
    ])
    func `a refusal is read by a client that sends on before it reads`(opening: String, status: Int) throws {
        let upstream = try FakeUpstream { peer, _ in _ = peer.readToEnd() }
        try withGateway(upstream, filter: { $0.bodyBytesMax = 1000 }) { gateway in
            let client = try gateway.connect()
            client.send(opening)
            #expect(gateway.record.ends(1).map(\.status) == [status])
            expectWhole(status, client, gateway)
        }
    }

    @Test(arguments: ["GET / HTTP/1.1\r\nX: ", Self.post + "Content-Length: 2000000000\r\n\r\nabc"])
    func `a 408 is read by a client that goes on behind its pause`(opening: String) throws {
        let upstream = try FakeUpstream { peer, _ in _ = peer.readToEnd() }
        try withGateway(
            upstream,
            listener: {
                $0.headTimeout = Self.short
                $0.bodyTimeout = Self.short
            }
        ) { gateway in
            let client = try gateway.connect()
            client.send(opening)
            #expect(gateway.record.ends(1).map(\.status) == [408])
            expectWhole(408, client, gateway)
        }
    }

    @Test func `an early answer is read by a client that first sends all of a large body, slowly`() throws {
        let upstream = try FakeUpstream { peer, _ in
            _ = peer.read(until: "\r\n\r\n")
            peer.send(okResponse)
            _ = peer.readToEnd()
        }
        try withGateway(upstream) { gateway in
            let client = try gateway.connect()
            client.send(Self.post + "Content-Length: 8000000\r\n\r\n")
            #expect(gateway.record.ends(1).map(\.status) == [200])
            expectWhole(200, client, gateway, pieces: 80, pieceSize: 100_000)
        }
    }

    @Test func `whoever never stops sending is cut off`() throws {
        let upstream = try FakeUpstream { _ in okResponse }
        try withGateway(upstream, filter: { $0.bodyBytesMax = 1000 }) { gateway in
            let client = try gateway.connect()
            client.send(Self.post + "Content-Length: 2000000000\r\n\r\n")
            #expect(gateway.record.ends(1).map(\.status) == [413])
            let piece = [UInt8](repeating: 0, count: 1 << 20)
            var sent = 0
            while sent < 200, client.send(piece) { sent += 1 }
            #expect(sent >= DownstreamConnection.lingerBytesMax >> 20 && sent < 200)
            #expect(eventually { gateway.connectionCount == 0 })
        }
    }

    @Test func `a large answer that we end the connection with is whole, though the next request comes behind it`()
        throws
    {
        let go = Gate()
        let upstream = try FakeUpstream { _ in
            go.wait()
            return Self.largeResponse
        }
        try withGateway(upstream) { gateway in
            let client = try gateway.connect(receiveBuffer: 4096)
            client.send(get("/"))
            #expect(eventually { upstream.connectionCount == 1 })
            let isDrained = gateway.drain()
            go.open()
            #expect(gateway.record.ends(1).map(\.status) == [200])
            letSee(gateway)
            client.send(get("/next"))
            letSee(gateway)
            let answer = client.readMessage()
            #expect(answer.body.utf8.count == Self.large && answer["connection"] == "close")
            #expect(client.readToEnd().end == .closed)
            client.close()
            #expect(eventually { isDrained.isSet })
            #expect(gateway.record.all.count == 1)
        }
    }

    @Test(arguments: [true, false])
    func `an idle connection that ends does not take the tail of its last answer along`(isDrain: Bool) throws {
        let upstream = try FakeUpstream { _ in Self.largeResponse }
        try withGateway(upstream, listener: { $0.idleTimeout = isDrain ? $0.idleTimeout : Self.short }) { gateway in
            let client = try gateway.connect(receiveBuffer: 4096)
            client.send(get("/"))
            #expect(gateway.record.ends(1).map(\.status) == [200])
            if isDrain {
                _ = gateway.drain()
            } else {
                let later = try gateway.connect()
                later.send(get("/own"))
                #expect(later.readMessage().status == 200)
                #expect(later.sawEnd(), "the client's time is over too")
            }
            client.send(get("/next"))
            letSee(gateway)
            #expect(client.readMessage().body.utf8.count == Self.large)
            #expect(client.readToEnd().end == .closed)
        }
    }

    @Test func `an idle connection that has taken all ends at once when the gateway stops`() throws {
        let upstream = try FakeUpstream { _ in okResponse }
        try withGateway(upstream) { gateway in
            let clients = try (0..<10).map { _ in try gateway.connect() }
            for client in clients {
                client.send(get("/"))
                #expect(client.readMessage().status == 200)
            }
            #expect(eventually { isAcknowledged(gateway) })
            let isDrained = gateway.drain()
            #expect(eventually(within: Int(DownstreamConnection.lingerTimeout / 1_000_000) / 2) { isDrained.isSet })
            for client in clients { #expect(client.readToEnd().end == .closed) }
        }
    }

    @Test func `a client that ends its side within its next head gets what it was sent before`() throws {
        let upstream = try FakeUpstream { _ in Self.largeResponse }
        try withGateway(upstream) { gateway in
            let client = try gateway.connect(receiveBuffer: 4096)
            client.send(get("/"))
            #expect(gateway.record.ends(1).map(\.status) == [200])
            client.send("GET /half HT")
            client.halfClose()
            #expect(
                gateway.record.ends(2).last?.error
                    == ExchangeError(side: .downstream, step: "request.head", status: 0))
            #expect(client.readMessage().body.utf8.count == Self.large)
            #expect(client.readToEnd().end == .closed)
        }
    }

    private static let largeResponse =
        "HTTP/1.1 200 OK\r\nContent-Length: \(large)\r\n\r\n" + String(repeating: "x", count: large)
}
