import EventLoop
import Glibc
import HTTPModel
import TestSupport
import Testing

@testable import ProxyCore

/// The midst of a long answer moves in larger pieces, as long as nothing of it has to wait in the gateway.
@Suite(.ownThread, .serialized, .timeLimit(.minutes(1)))
struct LongBodyTests {
    /// Repeats itself after 65,537 bytes: no piece of 64 KiB looks like the one before it.
    private static func body(_ byteCount: Int) -> [UInt8] {
        let period = (0..<65_537).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 8) }
        var body: [UInt8] = []
        while body.count < byteCount { body += period.prefix(byteCount - body.count) }
        return body
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
            func usedLargerPieces() -> Bool { gateway.onWorker { worker, _ in worker.bulkBuffers.spareCount } == 1 }
            // Larger pieces are read where more waits than one usual read, and when it does, the kernel decides.
            for _ in 0..<(row.isBulk ? 20 : 3) where !usedLargerPieces() {
                let client = try gateway.connect()
                client.send("GET / HTTP/1.0\r\nHost: h\r\n\r\n")
                _ = client.read(until: "\r\n\r\n")
                #expect(readWithPauses(client, of: gateway, body.count) == body)
            }
            #expect(usedLargerPieces() == row.isBulk)
        }
    }

    @Test func `what waits for a client that stands still is one read of the usual size`() throws {
        let body = Self.body(20_000_000)
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
            // How much of a too large piece would be left over is chance.
            for _ in 0..<8 {
                let client = try Peer(port: gateway.port, receiveBuffer: 65_536)
                client.send("GET / HTTP/1.0\r\nHost: h\r\n\r\n")
                _ = client.read(until: "\r\n\r\n")
                let received = readWithPauses(client, of: gateway, 4_000_000)
                #expect(eventually { waiting() > 0 })
                #expect(waiting() <= 65_536)
                #expect(received + client.read(count: body.count) == body)
            }
        }
    }

    /// Reads; between its pieces the worker stands still, and the upstream gets ahead as far as its window lets it.
    private func readWithPauses(_ client: Peer, of gateway: TestGateway, _ byteCount: Int) -> [UInt8] {
        var received: [UInt8] = []
        while received.count < byteCount {
            _ = gateway.onWorker { _, _ in usleep(1000) }
            let piece = client.read(count: min(500_000, byteCount - received.count))
            if piece.isEmpty { break }
            received += piece
        }
        return received
    }
}
