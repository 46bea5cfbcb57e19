import EventLoop
import Telemetry
import TestSupport
import Testing

@testable import ProxyCore

/// Requests that go on when their bodies have come: whole or not at all.
@Suite(.ownThread, .serialized, .timeLimit(.minutes(2)))
struct BufferedRequestTests {
    private static let memory = 65_536
    private static let piece = BodyBuffer.writeMin

    private func withSpool(
        _ upstream: FakeUpstream, _ spool: Spool, listener: (inout ListenerSettings) -> Void = { _ in },
        filter: (TestFilter) -> Void = { _ in }, _ body: (TestGateway) throws -> Void
    ) throws {
        try withGateway(
            upstream, listener: listener,
            filter: {
                $0.requestBuffering = spool.buffering
                filter($0)
            }, body)
        #expect(spool.isGivenBack())
    }

    /// Waits until the worker has served somebody else: what came before that, it has seen.
    private func passTurn(_ gateway: TestGateway) throws {
        let other = try gateway.connect()
        for _ in 0..<2 {
            other.send(get("/own"))
            #expect(other.readMessage().status == 200)
        }
    }

    // MARK: Whole

    /// Sizes on both sides of what memory holds, and of what is written in one piece.
    @Test(
        arguments: [
            0, 1, 1000, memory - 1, memory, memory + 1, memory + piece - 1, memory + piece, memory + piece + 1,
            1_000_000,
        ], ["length", "chunked", "chunked with trailers"])
    func `no endpoint is asked before the last byte, and then it gets them all`(size: Int, framing: String) throws {
        let spool = try Spool()
        let seen = Shared<[Message]>([])
        let upstream = try FakeUpstream { request in
            seen.update { $0.append(request) }
            return okResponse
        }
        try withSpool(upstream, spool) { gateway in
            let body = text(size)
            let message =
                switch framing {
                case "length": "Content-Length: \(size)\r\n\r\n" + body
                case "chunked": "Transfer-Encoding: chunked\r\n\r\n" + chunked(body, by: 10_000)
                default:
                    "Transfer-Encoding: chunked\r\n\r\n" + chunked(body, by: 10_000, trailers: "X-Auth-User: a\r\n")
                }
            let client = try gateway.connect()
            for round in 1...2 {
                client.send("POST /upload HTTP/1.1\r\nHost: a.test\r\nX-Kept: 1\r\n")
                let bytes = Array(message.utf8)
                client.send(Array(bytes.dropLast()))
                try passTurn(gateway)
                #expect(seen.value.count == round - 1)
                if round == 1 { #expect(upstream.connectionCount == 0) }
                client.send(Array(bytes.suffix(1)))
                #expect(client.readMessage().status == 200)
            }
            #expect(seen.value.count == 2 && upstream.connectionCount == 1)
            for request in seen.value {
                #expect(request.startLine == "POST /upload HTTP/1.1")
                #expect(request.values("content-length") == ["\(size)"])
                #expect(request["transfer-encoding"] == nil && request["x-auth-user"] == nil)
                #expect(request["x-kept"] == "1" && request["x-added"] == "by-filter" && request["host"] == "a.test")
                #expect(request.body == body)
            }
            #expect(gateway.counters.requestsBuffered.value == (size == 0 && framing == "length" ? 0 : 2))
        }
    }

    /// With trailers that go on the body is chunked again, whole all the same.
    @Test(arguments: [0, 1, Self.memory, Self.memory + 1, 300_000])
    func `trailers that are passed on follow the body`(size: Int) throws {
        let spool = try Spool()
        let seen = Shared<[String]>([])
        let upstream = try FakeUpstream { peer, _ in
            while true {
                let head = peer.read(until: "\r\n\r\n")
                guard !head.isEmpty else { return }
                var received = head
                if head.contains("Transfer-Encoding: chunked") {
                    var body = ""
                    while true {
                        let line = peer.read(until: "\r\n")
                        guard let count = Int(line.dropLast(), radix: 16), count > 0 else { break }
                        body += String(decoding: peer.read(count: count + 2).dropLast(2), as: UTF8.self)
                    }
                    var line = peer.read(until: "\r\n")
                    while line != "\r\n", !line.isEmpty {
                        received += line
                        line = peer.read(until: "\r\n")
                    }
                    #expect(body == text(size))
                } else {
                    _ = peer.read(count: size)
                }
                seen.update { $0.append(received) }
                peer.send(okResponse)
            }
        }
        let names = TrailerNames(request: ["x-sum"], response: [])
        try withSpool(upstream, spool, filter: { $0.trailers = names }) { gateway in
            let client = try gateway.connect()
            for trailers in ["X-Sum: 7\r\nX-Auth-User: a\r\n", "X-Auth-User: a\r\n", ""] {
                client.send("PUT / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n")
                client.send(chunked(text(size), by: 20_000, trailers: trailers))
                #expect(client.readMessage().status == 200)
            }
            #expect(seen.value.count == 3 && upstream.connectionCount == 1)
            let (first, others) = (seen.value[0], seen.value.dropFirst())
            #expect(first.contains("Transfer-Encoding: chunked\r\n") && !first.contains("Content-Length"))
            #expect(first.lowercased().hasSuffix("\r\n\r\nx-sum: 7\r\n"))
            #expect(others.allSatisfy { $0.contains("Content-Length: \(size)\r\n") && !$0.contains("chunked") })
            #expect(!seen.value.contains { $0.contains("X-Auth-User") })
        }
    }

    @Test func `a body that comes byte by byte is one body`() throws {
        let spool = try Spool()
        let seen = Shared<[String]>([])
        let upstream = try FakeUpstream { request in
            seen.update { $0.append(request.body) }
            return okResponse
        }
        try withSpool(upstream, spool) { gateway in
            let client = try gateway.connect()
            let message =
                "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked("hello, world", by: 5)
            for byte in message.utf8 { client.send([byte]) }
            #expect(client.readMessage().status == 200)
            #expect(seen.value == ["hello, world"])
        }
    }

    @Test func `a body that came with its head passes as it is`() throws {
        let spool = try Spool()
        let upstream = try FakeUpstream { request in
            "HTTP/1.1 200 OK\r\nContent-Length: \(request.body.utf8.count)\r\n\r\n\(request.body)"
        }
        try withSpool(upstream, spool) { gateway in
            let client = try gateway.connect()
            client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\nhello" + get("/own"))
            #expect(client.readMessage().body == "hello")
            #expect(client.readMessage().body == "mine")
            #expect(gateway.counters.requestsBuffered.value == 0)
        }
    }

    @Test func `requests behind a buffered one keep their order and their bytes`() throws {
        let spool = try Spool()
        let upstream = try FakeUpstream { request in
            let body = "\(request.startLine.split(separator: " ")[1]) \(request.body.utf8.count)"
            return "HTTP/1.1 200 OK\r\nContent-Length: \(body.utf8.count)\r\n\r\n\(body)"
        }
        try withSpool(upstream, spool) { gateway in
            let client = try gateway.connect()
            let head = "HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n"
            client.send("POST /1 \(head)")
            client.send(chunked(text(200_000), by: 30_000) + get("/2") + "POST /3 \(head)")
            client.send(chunked(text(10), by: 3) + get("/4"))
            #expect((0..<4).map { _ in client.readMessage().body } == ["/1 200000", "/2 0", "/3 10", "/4 0"])
        }
    }

    @Test func `an expectation is met here, and the endpoint hears nothing of it`() throws {
        let spool = try Spool()
        let seen = Shared<[Message]>([])
        let upstream = try FakeUpstream { request in
            seen.update { $0.append(request) }
            return okResponse
        }
        try withSpool(upstream, spool) { gateway in
            let client = try gateway.connect()
            client.send("PUT / HTTP/1.1\r\nHost: a.test\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
            #expect(client.readMessage().status == 100)
            #expect(upstream.connectionCount == 0)
            client.send("hello")
            #expect(client.readMessage().status == 200)
            #expect(seen.value.map(\.body) == ["hello"] && seen.value[0]["expect"] == nil)
        }
    }

    // MARK: Bounds

    @Test(arguments: [(0, 200), (1, 413)], ["length", "chunked"])
    func `the caps are met exactly, and not by one byte more`(_ bound: (excess: Int, status: Int), framing: String)
        throws
    {
        let spool = try Spool(memory: 10_000, file: 50_000)
        let seen = Shared<[Int]>([])
        let upstream = try FakeUpstream { request in
            seen.update { $0.append(request.body.utf8.count) }
            return okResponse
        }
        try withSpool(upstream, spool) { gateway in
            let body = text(60_000 + bound.excess)
            let client = try gateway.connect()
            client.send("POST / HTTP/1.1\r\nHost: a.test\r\n")
            if framing == "length" {
                client.send("Content-Length: \(body.utf8.count)\r\n\r\n")
                if bound.status == 200 { client.send(body) }
            } else {
                client.send("Transfer-Encoding: chunked\r\n\r\n" + chunked(body, by: 7_000))
            }
            let answer = client.readMessage()
            #expect(answer.status == bound.status)
            #expect(seen.value == (bound.status == 200 ? [60_000] : []))
            if bound.status == 413 {
                #expect(answer.body == "request.buffer" && upstream.connectionCount == 0)
            }
        }
    }

    @Test func `a route's own cap comes first`() throws {
        let spool = try Spool()
        let upstream = try FakeUpstream { _ in okResponse }
        try withSpool(upstream, spool, filter: { $0.bodyBytesMax = 100_000 }) { gateway in
            let client = try gateway.connect()
            client.send("POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n")
            client.send(chunked(text(100_001), by: 20_000))
            let answer = client.readMessage()
            #expect(answer.status == 413 && answer.body == "request.body")
            #expect(upstream.connectionCount == 0)
        }
    }

    /// What one body holds, another cannot have; it can when the first one is done.
    @Test func `all files together hold no more than they may`() throws {
        let spool = try Spool(memory: 10_000, file: 1 << 20, all: 100_000)
        let upstream = try FakeUpstream { _ in okResponse }
        try withSpool(upstream, spool) { gateway in
            let first = try gateway.connect()
            first.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 80000\r\n\r\n")
            first.send(text(79_999))
            #expect(eventually { spool.files.bytesHeld > 30_000 })
            let second = try gateway.connect()
            second.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 200000\r\n\r\n")
            second.send(text(200_000))
            let answer = second.readMessage()
            #expect(answer.status == 503 && answer.body == "request.buffer")
            #expect(upstream.connectionCount == 0 && spool.files.bytesHeld <= 100_000)
            first.send(",")
            #expect(first.readMessage().status == 200)
            #expect(spool.isGivenBack())
            let third = try gateway.connect()
            third.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 80000\r\n\r\n" + text(80_000))
            #expect(third.readMessage().status == 200)
        }
    }

    // MARK: Ends

    @Test(arguments: [10, 500_000])
    func `a client that goes away midway leaves nothing behind, and nothing reaches an endpoint`(sent: Int) throws {
        let spool = try Spool(memory: 10_000)
        let upstream = try FakeUpstream { _ in okResponse }
        try withSpool(upstream, spool) { gateway in
            for index in 0..<2 {
                let client = try gateway.connect()
                client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1000000\r\n\r\n" + text(sent))
                #expect(eventually { gateway.counters.requestsBuffered.value == UInt64(index + 1) })
                if sent > 100_000 { #expect(eventually { spool.files.bytesHeld > 0 }) }
                if index == 0 { client.reset() } else { client.halfClose() }
                let error = gateway.record.ends(index + 1)[index].error
                #expect(error?.side == .downstream && error?.status == 0)
                #expect(spool.isGivenBack())
            }
            #expect(upstream.connectionCount == 0)
        }
    }

    @Test func `a body that stops coming is a 408, and one that breaks its framing a 400`() throws {
        let spool = try Spool(memory: 10_000)
        let upstream = try FakeUpstream { _ in okResponse }
        try withSpool(upstream, spool, listener: { $0.bodyTimeout = 100 * TestGateway.millisecond }) { gateway in
            let silent = try gateway.connect()
            silent.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 100001\r\n\r\n" + text(100_000))
            #expect(silent.readMessage().status == 408)
            let wrong = try gateway.connect()
            wrong.send("POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloxx")
            #expect(wrong.readMessage().status == 400)
            #expect(upstream.connectionCount == 0)
        }
    }

    /// An answer that comes early leaves the rest of the body unsent: what the endpoint would take for its next request is
    /// never sent to it.
    @Test func `an endpoint that answers before it has the body is not used again`() throws {
        let spool = try Spool()
        let upstream = try FakeUpstream { peer, index in
            let head = peer.read(until: "\r\n\r\n")
            if index == 0 {
                #expect(head.contains("Content-Length: 20000000\r\n"))
                peer.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nearly")
                // Reads nothing of the body until the gateway has let go of the connection.
                #expect(peer.readToEnd().end != .silent)
            } else {
                peer.send(okResponse)
                _ = peer.readToEnd()
            }
        }
        try withSpool(upstream, spool) { gateway in
            let client = try gateway.connect()
            client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 20000000\r\n\r\n")
            let body = Array(text(20_000).utf8)
            for _ in 0..<1000 { client.send(body) }
            #expect(client.readMessage().body == "early")
            client.send(get("/next"))
            #expect(client.readMessage().body == "ok")
            #expect(upstream.connectionCount == 2)
        }
    }

    @Test(arguments: [("PUT", 200, 2), ("POST", 502, 1)])
    func `a small body is sent once more on a fresh connection where its method allows it`(
        _ method: String, status: Int, connections: Int
    ) throws {
        let spool = try Spool()
        let upstream = try FakeUpstream { peer, index in
            _ = peer.readMessage()
            peer.send(okResponse)
            // The second request on the first connection dies with it.
            if index == 0 { _ = peer.readMessage() } else { _ = peer.readToEnd() }
        }
        try withSpool(upstream, spool) { gateway in
            let client = try gateway.connect()
            client.send(get("/"))
            #expect(client.readMessage().status == 200)
            client.send("\(method) / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n")
            client.send(chunked("body", by: 2))
            #expect(client.readMessage().status == status)
            #expect(upstream.connectionCount == connections)
        }
    }

    @Test func `an endpoint that refuses is passed over, whatever the body's size`() throws {
        let spool = try Spool(memory: 10_000)
        let seen = Shared<[String]>([])
        let upstream = try FakeUpstream { request in
            seen.update { $0.append(request.body) }
            return okResponse
        }
        defer { upstream.stop() }
        let refusing = try FakeUpstream.freePort()
        let gateway = try TestGateway(
            to: [refusing, upstream.port], filter: { $0.requestBuffering = spool.buffering })
        defer { gateway.stop() }
        let client = try gateway.connect()
        for size in [10, 300_000, 300_000, 10] {
            client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: \(size)\r\n\r\n")
            client.send(text(size))
            #expect(client.readMessage().status == 200)
        }
        #expect(seen.value.map(\.utf8.count) == [10, 300_000, 300_000, 10])
        #expect(seen.value[1] == text(300_000) && spool.isGivenBack())
    }

    // MARK: Disks that fail

    @Test func `a file that cannot be made is a 503, and nothing reaches an endpoint`() throws {
        let spool = try Spool(memory: 10_000)
        let upstream = try FakeUpstream { _ in okResponse }
        try withSpool(upstream, spool) { gateway in
            spool.remove()
            let small = try gateway.connect()
            small.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 20000\r\n\r\n")
            small.send(text(20_000))
            #expect(small.readMessage().status == 200, "memory is enough for it")
            let large = try gateway.connect()
            large.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 100000\r\n\r\n")
            large.send(text(100_000))
            let answer = large.readMessage()
            #expect(answer.status == 503 && answer.body == "request.buffer")
            #expect(
                gateway.record.ends(2)[1].error == ExchangeError(side: .gateway, step: "request.buffer", status: 503))
            #expect(upstream.connectionCount == 1 && gateway.counters.bodyFileErrors.value >= 1)
        }
    }

    @Test func `a file that loses its bytes does not make the endpoint's request look whole`() throws {
        let spool = try Spool(memory: 10_000)
        let seen = Shared<[Message]>([])
        let upstream = try FakeUpstream { peer, _ in
            let request = peer.readMessage()
            seen.update { $0.append(request) }
        }
        try withSpool(upstream, spool) { gateway in
            let client = try gateway.connect()
            client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 300000\r\n\r\n" + text(299_999))
            #expect(eventually { spool.files.bytesHeld > 200_000 })
            #expect(spool.loseFiles() == 1)
            client.send(",")
            let answer = client.readMessage()
            #expect(answer.status == 503 && answer.body == "request.buffer")
            #expect(eventually { seen.value.count == 1 })
            #expect(!seen.value[0].isComplete && gateway.counters.bodyFileErrors.value == 1)
        }
    }
}
