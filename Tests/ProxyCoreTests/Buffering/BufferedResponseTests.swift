import EventLoop
import Telemetry
import TestSupport
import Testing

@testable import ProxyCore

/// Answers that are taken from the endpoint faster than the client takes them.
@Suite(.ownThread, .serialized, .timeLimit(.minutes(2)))
struct BufferedResponseTests {
    /// More than the sockets between gateway and client take.
    private static let large = 12 << 20

    /// Answers `/large…` with as much as it can, framed as its name says, anything else shortly.
    private static func upstream(_ size: Int = large, fields: String = "", sent: Shared<Int> = Shared(0)) throws
        -> FakeUpstream
    {
        let body = Array(text(size).utf8)
        return try FakeUpstream { peer, _ in
            while true {
                let request = peer.readMessage()
                guard !request.fields.isEmpty else { return }
                guard request.startLine.contains("/large") else {
                    peer.send(okResponse)
                    continue
                }
                if request.startLine.contains("chunked") {
                    peer.send("HTTP/1.1 200 OK\r\n\(fields)Transfer-Encoding: chunked\r\n\r\n")
                    peer.send("\(String(size, radix: 16))\r\n")
                    peer.send(body)
                    peer.send("\r\n0\r\n\r\n")
                } else if request.startLine.contains("close") {
                    peer.send("HTTP/1.1 200 OK\r\n\(fields)Connection: close\r\n\r\n")
                    peer.send(body)
                    sent.update { $0 += 1 }
                    return
                } else {
                    peer.send("HTTP/1.1 200 OK\r\n\(fields)Content-Length: \(size)\r\n\r\n")
                    for start in stride(from: 0, to: size, by: 65_536) {
                        guard peer.send(Array(body[start..<min(start + 65_536, size)])) else { return }
                        sent.update { $0 = start + 65_536 }
                    }
                }
            }
        }
    }

    private func withSpool(
        _ upstream: FakeUpstream, _ spool: Spool, listener: (inout ListenerSettings) -> Void = { _ in },
        upstream configureUpstream: (inout UpstreamSettings) -> Void = { _ in },
        _ body: (TestGateway) throws -> Void
    ) throws {
        try withGateway(
            upstream, listener: listener, upstream: configureUpstream,
            filter: { $0.responseBuffering = spool.buffering }, body)
        #expect(spool.isGivenBack())
    }

    @Test(arguments: ["/large/length", "/large/chunked", "/large/close"])
    func `the endpoint serves others while a client takes its answer in its own time`(path: String) throws {
        let spool = try Spool()
        let closes = path == "/large/close"
        let upstream = try Self.upstream()
        try withSpool(upstream, spool) { gateway in
            let slow = try gateway.connect(receiveBuffer: 4096)
            slow.send(get(path) + get("/own"))
            // The connection comes back, or ends, although nobody reads the answer.
            #expect(
                eventually {
                    closes ? upstream.closedCount == 1 : gateway.counters.upstreamConnectionsIdle.value == 1
                })
            #expect(gateway.counters.responsesBuffered.value == 1 && spool.files.bytesHeld > 1 << 20)
            let other = try gateway.connect()
            other.send(get("/other"))
            #expect(other.readMessage().body == "ok")
            #expect(upstream.connectionCount == (closes ? 2 : 1))
            let answer = slow.readMessage()
            #expect(answer.isComplete && answer.body == text(Self.large))
            #expect((answer["content-length"] == nil) == (path != "/large/length"))
            #expect(slow.readMessage().body == "mine", "the next one follows behind it")
            let ends = gateway.record.ends(3)
            #expect(ends.contains { $0.responseBodyBytes == UInt64(Self.large) && $0.error == nil })
        }
    }

    @Test func `a client that keeps up costs no buffer`() throws {
        let spool = try Spool()
        let upstream = try Self.upstream(1000)
        try withSpool(upstream, spool) { gateway in
            let client = try gateway.connect()
            for _ in 0..<3 {
                client.send(get("/large"))
                #expect(client.readMessage().body == text(1000))
            }
            #expect(gateway.counters.responsesBuffered.value == 0)
        }
    }

    /// Memory alone, a small file, and little room for all files: beyond them the endpoint waits, and nothing is lost.
    @Test(arguments: [(0, 1 << 30), (200_000, 1 << 30), (1 << 30, 200_000), (1 << 30, 0)])
    func `beyond the caps the endpoint waits for the client`(file: Int, all: Int) throws {
        let spool = try Spool(memory: 100_000, file: file, all: all)
        let sent = Shared(0)
        let upstream = try Self.upstream(sent: sent)
        try withSpool(upstream, spool) { gateway in
            let slow = try gateway.connect(receiveBuffer: 4096)
            slow.send(get("/large"))
            #expect(slow.read(until: "\r\n\r\n").contains("200"))
            // As much as will ever be sent to a client that does not read.
            var before = -1
            while before != sent.value {
                before = sent.value
                _ = eventually(within: 300) { sent.value > before }
            }
            #expect(sent.value < Self.large && spool.files.bytesHeld <= min(file, all))
            #expect((spool.files.bytesHeld > 0) == (min(file, all) > 0))
            #expect(gateway.counters.upstreamConnectionsIdle.value == 0)
            #expect(String(decoding: slow.read(count: Self.large), as: UTF8.self) == text(Self.large))
            #expect(gateway.record.ends(1)[0].error == nil && upstream.connectionCount == 1)
        }
    }

    @Test(arguments: [
        ("Content-Type: text/event-stream\r\n", false), ("content-type: Text/Event-Stream; charset=utf-8\r\n", false),
        ("Content-Type: text/event\r\n", true), ("X-Accel-Buffering: no\r\n", false),
        ("X-Accel-Buffering: NO\r\n", false),
        ("X-Accel-Buffering: yes\r\n", true), ("X-Accel-Buffering: nope\r\n", true),
    ])
    func `events, and what the application says so of, do not wait here`(fields: String, isBuffered: Bool) throws {
        let spool = try Spool()
        let upstream = try Self.upstream(fields: fields)
        try withSpool(upstream, spool) { gateway in
            let client = try gateway.connect(receiveBuffer: 4096)
            client.send(get("/large"))
            let answer = client.readMessage()
            #expect(answer.isComplete && answer.body.utf8.count == Self.large)
            #expect(answer["x-accel-buffering"] == nil)
            #expect((gateway.counters.responsesBuffered.value == 1) == isBuffered)
        }
    }

    @Test func `where nothing is buffered the application's word for it passes`() throws {
        let upstream = try Self.upstream(10, fields: "X-Accel-Buffering: no\r\n")
        try withGateway(upstream) { gateway in
            let client = try gateway.connect()
            client.send(get("/large"))
            #expect(client.readMessage()["x-accel-buffering"] == "no")
        }
    }

    @Test func `a client that goes away leaves nothing behind`() throws {
        let spool = try Spool()
        let upstream = try Self.upstream()
        try withSpool(upstream, spool) { gateway in
            for count in 1...3 {
                let client = try gateway.connect(receiveBuffer: 4096)
                client.send(get("/large"))
                #expect(eventually { spool.files.bytesHeld > 1 << 20 })
                client.reset()
                let end = gateway.record.ends(count)[count - 1]
                #expect(end.error?.side == .downstream)
                #expect(end.responseBodyBytes <= UInt64(Self.large - (1 << 20)), "what waited was not sent")
                #expect(spool.isGivenBack())
            }
        }
    }

    @Test func `a client that stops reading is given up when its time is over`() throws {
        let spool = try Spool()
        let upstream = try Self.upstream()
        try withSpool(upstream, spool, listener: { $0.bodyTimeout = 100 * TestGateway.millisecond }) { gateway in
            let client = try gateway.connect(receiveBuffer: 4096)
            client.send(get("/large"))
            #expect(
                gateway.record.ends(1)[0].error == ExchangeError(side: .downstream, step: "response.send", status: 0))
            #expect(client.readToEnd().end == .reset)
        }
    }

    /// While the buffer takes more, the endpoint's silence is its own.
    @Test func `an endpoint that breaks off or falls silent cuts the answer, however much of it waits`() throws {
        for breaksOff in [true, false] {
            let spool = try Spool()
            let part = text(6 << 20)
            let upstream = try FakeUpstream { peer, _ in
                _ = peer.readMessage()
                peer.send("HTTP/1.1 200 OK\r\nContent-Length: \(12 << 20)\r\n\r\n")
                peer.send(part)
                if !breaksOff { _ = peer.readToEnd() }
            }
            try withSpool(
                upstream, spool, upstream: { if !breaksOff { $0.idleTimeout = 200 * TestGateway.millisecond } }
            ) { gateway in
                let client = try gateway.connect(receiveBuffer: 4096)
                client.send(get("/"))
                let end = gateway.record.ends(1)[0]
                #expect(
                    end.error
                        == ExchangeError(side: .upstream, step: "response.body", status: breaksOff ? 502 : 504))
                #expect(client.readToEnd().end == .reset)
            }
        }
    }

    @Test func `without a disk the endpoint waits, and the client gets all`() throws {
        let spool = try Spool()
        let upstream = try Self.upstream()
        try withSpool(upstream, spool) { gateway in
            spool.remove()
            let client = try gateway.connect(receiveBuffer: 4096)
            client.send(get("/large"))
            #expect(eventually { gateway.counters.bodyFileErrors.value > 0 })
            #expect(client.readMessage().body == text(Self.large))
        }
    }

    @Test func `a file that loses its bytes cuts the answer`() throws {
        let spool = try Spool()
        let upstream = try Self.upstream()
        try withSpool(upstream, spool) { gateway in
            let client = try gateway.connect(receiveBuffer: 4096)
            client.send(get("/large"))
            #expect(eventually { gateway.counters.upstreamConnectionsIdle.value == 1 })
            #expect(spool.loseFiles() == 1)
            let (text, end) = client.readToEnd()
            #expect(text.utf8.count < Self.large && end == .reset)
            #expect(
                gateway.record.ends(1)[0].error == ExchangeError(side: .gateway, step: "response.buffer", status: 503))
        }
    }

    @Test func `both ways at once`() throws {
        let spool = try Spool(memory: 20_000)
        let upstream = try FakeUpstream { request in
            "HTTP/1.1 200 OK\r\nContent-Length: \(request.body.utf8.count)\r\n\r\n\(request.body)"
        }
        try withGateway(
            upstream,
            filter: {
                $0.requestBuffering = spool.buffering
                $0.responseBuffering = spool.buffering
            }
        ) { gateway in
            let body = text(6 << 20)
            let client = try gateway.connect(receiveBuffer: 4096)
            for _ in 0..<2 {
                client.send("POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n")
                client.send(chunked(body, by: 500_000))
                #expect(eventually { gateway.counters.upstreamConnectionsIdle.value == 1 })
                #expect(client.readMessage().body == body)
            }
            #expect(gateway.counters.requestsBuffered.value == 2)
        }
        #expect(spool.isGivenBack())
    }
}
