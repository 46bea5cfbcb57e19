import EventLoop
import Glibc
import HTTPModel
import TestSupport
import Testing

@testable import ProxyCore

/// The midst of a long answer moves in larger pieces, as long as nothing of it has to wait in the gateway.
@Suite(.ownThread, .serialized, .timeLimit(.minutes(1)))
struct LongBodyTests {
    /// No two pieces of 64 KiB of it are the same.
    private static func body(_ byteCount: Int) -> [UInt8] {
        (0..<byteCount).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 16) }
    }

    @Test(arguments: [
        (framing: "Content-Length: 6000000", isChunked: false, isBulk: true), ("Connection: close", false, true),
        ("Transfer-Encoding: chunked", true, false), ("Content-Length: 300000", false, false),
    ])
    func `a client that keeps up gets a long body whole, in larger pieces where its framing lets them pass`(
        _ row: (framing: String, isChunked: Bool, isBulk: Bool)
    ) throws {
        let body = Self.body(row.framing.hasSuffix("300000") ? 300_000 : 6_000_000)
        let opening = row.isChunked ? "\(String(body.count, radix: 16))\r\n" : ""
        let upstream = try FakeUpstream { peer, _ in
            _ = peer.readMessage()
            peer.send("HTTP/1.1 200 OK\r\n\(row.framing)\r\n\r\n" + opening)
            peer.send(body)
            if row.isChunked { peer.send("\r\n0\r\n\r\n") }
        }
        try withGateway(upstream) { gateway in
            let client = try gateway.connect()
            client.send("GET / HTTP/1.0\r\nHost: h\r\n\r\n")
            _ = client.read(until: "\r\n\r\n")
            #expect(client.read(count: body.count) == body)
            #expect(gateway.onWorker { worker, _ in worker.bulkBuffers.spareCount } == (row.isBulk ? 1 : 0))
        }
    }

    @Test func `what waits for a client that stands still is one read of the usual size`() throws {
        let body = Self.body(16_000_000)
        let upstream = try FakeUpstream { peer, _ in
            _ = peer.readMessage()
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: \(body.count)\r\n\r\n")
            peer.send(body)
        }
        try withGateway(upstream) { gateway in
            func waiting() -> Int {
                gateway.onWorker { worker, _ in
                    worker.connections.values.reduce(0) { sum, connection in
                        sum + ((connection as? DownstreamConnection)?.transport.outputCount ?? 0)
                    }
                } ?? 0
            }
            let client = try Peer(port: gateway.port, receiveBuffer: 65_536)
            client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n")
            #expect(eventually { waiting() > 0 })
            #expect(waiting() <= 65_536)
            _ = client.read(until: "\r\n\r\n")
            #expect(client.read(count: body.count) == body)
        }
    }
}
