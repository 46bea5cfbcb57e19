import EventLoop
import Synchronization
import Telemetry
import TestSupport
import Testing

@testable import ProxyCore

/// Requests and answers on the way through a worker, one line of RFC 9112 after the other.
@Suite(.ownThread, .serialized, .timeLimit(.minutes(1)))
struct ExchangeTests {
    @Test func `keeps both connections for the next request`() throws {
        let upstream = try FakeUpstream { _ in okResponse }
        try withGateway(upstream) { gateway in
            let client = try gateway.connect()
            for _ in 0..<3 {
                client.send(get("/"))
                let answer = client.readMessage()
                #expect(answer.status == 200 && answer.body == "ok" && answer["connection"] == nil)
            }
            #expect(upstream.connectionCount == 1)
            #expect(gateway.record.ends(3).map(\.responseBodyBytes) == [2, 2, 2])
        }
    }

    /// Each request brings the next one before it is answered: there is always more to read.
    @Test func `a client that asks as fast as it is answered lets others have their turn`() throws {
        let flooder = Mutex<Peer?>(nil)
        let floodMax = 3000
        let decided = Mutex<(floods: Int, floodsBeforeOther: Int?)>((0, nil))
        let upstream = try FakeUpstream { _ in okResponse }
        try withGateway(
            upstream,
            filter: {
                $0.whenDeciding = { path in
                    let goesOn = decided.withLock { decided in
                        if path == "/own/other" { decided.floodsBeforeOther = decided.floods }
                        decided.floods += 1
                        return decided.floods < floodMax
                    }
                    guard path == "/own/flood", goesOn else { return }
                    flooder.withLock { _ = $0?.sendWithoutWaiting(Array(get("/own/flood").utf8)) }
                }
            },
            { gateway in
                let client = try gateway.connect()
                let other = try gateway.connect()
                flooder.withLock { $0 = client }
                let held = gateway.hold()
                client.send(get("/own/flood"))
                other.send(get("/own/other"))
                held.open()
                #expect(other.readMessage().status == 200)
                let before = try #require(decided.withLock { $0.floodsBeforeOther })
                #expect(before < 200)
                flooder.withLock { $0 = nil }
            })
    }

    /// An answer of many reads is announced by many edges, and the last of them may come behind its last read.
    @Test func `keeps the upstream's connection after long answers`() throws {
        let body = String(repeating: "0123456789abcdef", count: 1 << 16)
        let upstream = try FakeUpstream { _ in
            "HTTP/1.1 200 OK\r\nContent-Length: \(body.utf8.count)\r\n\r\n\(body)"
        }
        try withGateway(upstream) { gateway in
            let client = try gateway.connect()
            for _ in 0..<20 {
                client.send(get("/"))
                #expect(client.readMessage().body.utf8.count == body.utf8.count)
            }
            #expect(upstream.connectionCount == 1)
        }
    }

    @Test func `answers pipelined requests in order, whoever answers them`() throws {
        let upstream = try FakeUpstream { request in
            let path = request.startLine.split(separator: " ")[1]
            return "HTTP/1.1 200 OK\r\nContent-Length: \(path.utf8.count)\r\n\r\n\(path)"
        }
        try withGateway(upstream) { gateway in
            let client = try gateway.connect()
            client.send(["/1", "/own", "/3", "/own", "/own", "/6"].map { get($0) }.joined())
            let bodies = (0..<6).map { _ in client.readMessage().body }
            #expect(bodies == ["/1", "mine", "/3", "mine", "mine", "/6"])
        }
    }

    @Test func `writes the request's head anew, with framing and host of its own`() throws {
        let lines = Lines()
        let upstream = try FakeUpstream { request in
            lines.add(request.startLine)
            for field in request.fields { lines.add("\(field.name): \(field.value)") }
            return okResponse
        }
        try withGateway(upstream) { gateway in
            let client = try gateway.connect()
            client.send(
                "GET http://a.test/x?y HTTP/1.1\r\nHost: a.test\r\nConnection: x-hop, keep-alive\r\n"
                    + "X-Hop: 1\r\nKeep-Alive: 5\r\nTE: trailers\r\nAccept: */*\r\n\r\n")
            #expect(client.readMessage().status == 200)
            #expect(lines.all.contains("Host: a.test"))
            #expect(lines.all.contains("Accept: */*"))
            #expect(lines.all.last == "X-Added: by-filter")
            let names = lines.all.map { $0.lowercased() }
            for hop in ["x-hop", "keep-alive", "te:", "connection"] {
                #expect(!names.contains { $0.hasPrefix(hop) }, "\(hop)")
            }
        }
    }

    struct Body: Sendable, CustomTestStringConvertible {
        let name: String
        let request: String
        let seen: String
        var testDescription: String { name }
    }

    @Test(arguments: [
        Body(name: "length", request: "Content-Length: 5\r\n\r\nhello", seen: "hello"),
        Body(name: "length zero", request: "Content-Length: 0\r\n\r\n", seen: ""),
        Body(
            name: "chunked, extension and trailer",
            request: "Transfer-Encoding: chunked\r\n\r\n2;a=b\r\nhe\r\n3\r\nllo\r\n0\r\nX-Auth-User: admin\r\n\r\n",
            seen: "hello"),
    ])
    func `passes a request body on, with the head and byte by byte`(body: Body) throws {
        let lines = Lines()
        let upstream = try FakeUpstream { request in
            lines.add(request.body)
            lines.add(request["x-auth-user"] ?? "no trailer")
            return okResponse
        }
        try withGateway(upstream) { gateway in
            let client = try gateway.connect()
            let message = "POST / HTTP/1.1\r\nHost: a.test\r\n" + body.request
            client.send(message)
            #expect(client.readMessage().status == 200)
            for byte in message.utf8 { client.send([byte]) }
            #expect(client.readMessage().status == 200)
            #expect(lines.all == [body.seen, "no trailer", body.seen, "no trailer"])
            #expect(upstream.connectionCount == 1)
        }
    }

    struct Answer: Sendable, CustomTestStringConvertible {
        let name: String
        let parts: [String]
        var closes = false
        let body: String
        var framing: (name: String, value: String)?
        var testDescription: String { name }
    }

    /// Each part is sent when the gateway has passed the one before on.
    @Test(arguments: [
        Answer(
            name: "length in two parts", parts: ["HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc", "def"],
            body: "abcdef", framing: ("content-length", "6")),
        Answer(
            name: "chunked in three parts",
            parts: ["HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", "3\r\ndef\r\n", "0\r\n\r\n"],
            body: "abcdef", framing: ("transfer-encoding", "chunked")),
        Answer(
            name: "until close becomes chunked", parts: ["HTTP/1.0 200 OK\r\n\r\nabc", "def"], closes: true,
            body: "abcdef", framing: ("transfer-encoding", "chunked")),
        Answer(
            name: "until close and all at once", parts: ["HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabc"],
            closes: true, body: "abc", framing: ("transfer-encoding", "chunked")),
        Answer(name: "204", parts: ["HTTP/1.1 204 No Content\r\n\r\n"], body: ""),
        Answer(
            name: "304 with a length", parts: ["HTTP/1.1 304 Not Modified\r\nContent-Length: 6\r\n\r\n"], body: "",
            framing: ("content-length", "6")),
    ])
    func `passes an answer on in a framing that suits the client`(answer: Answer) throws {
        let go = Gate()
        let upstream = try FakeUpstream { peer, _ in
            while !peer.readMessage().fields.isEmpty {
                for (index, part) in answer.parts.enumerated() {
                    if index > 0 { go.wait() }
                    peer.send(part)
                }
                if answer.closes { return }
            }
        }
        try withGateway(upstream) { gateway in
            for minor in [1, 0] {
                let client = try gateway.connect()
                client.send("GET / HTTP/1.\(minor)\r\nHost: a.test\r\n\r\n")
                for _ in answer.parts.dropFirst() { go.open() }
                let message = client.readMessage()
                #expect(message.body == answer.body && message.isComplete)
                #expect(message["x-seen"] == "by-filter")
                let isChunked = answer.framing?.value == "chunked"
                if let framing = answer.framing, minor == 1 || !isChunked {
                    #expect(message[framing.name] == framing.value)
                }
                if minor == 0 {
                    #expect(message["transfer-encoding"] == nil)
                    #expect(message["connection"] == "close")
                    #expect(client.sawEnd())
                } else {
                    client.send(get("/own"))
                    #expect(client.readMessage().body == "mine")
                }
            }
        }
    }

    @Test func `an HTTP/1.0 client gets the bytes of chunks that come later, not their framing`() throws {
        let go = Gate()
        let upstream = try FakeUpstream { peer, _ in
            _ = peer.readMessage()
            peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            go.wait()
            peer.send("3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n")
            _ = peer.readToEnd()
        }
        try withGateway(upstream) { gateway in
            let client = try gateway.connect()
            client.send("GET / HTTP/1.0\r\n\r\n")
            #expect(client.read(until: "\r\n\r\n").hasPrefix("HTTP/1.1 200"))
            go.open()
            let (body, end) = client.readToEnd()
            #expect(body == "abcdefg" && end == .closed)
        }
    }

    @Test func `an HTTP/1.0 client that asks for it keeps its connection`() throws {
        let upstream = try FakeUpstream { _ in okResponse }
        try withGateway(upstream) { gateway in
            let client = try gateway.connect()
            for _ in 0..<2 {
                client.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
                let answer = client.readMessage()
                #expect(answer.body == "ok" && answer["connection"] == "keep-alive")
            }
        }
    }

    @Test func `HEAD gets the head alone, of the upstream and of ours`() throws {
        let upstream = try FakeUpstream { _ in "HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" }
        try withGateway(upstream) { gateway in
            let client = try gateway.connect()
            for (path, length) in [("/", "5000"), ("/own", "4"), ("/", "5000")] {
                client.send("HEAD \(path) HTTP/1.1\r\nHost: a.test\r\n\r\n")
                #expect(client.readMessage(answersHEAD: true)["content-length"] == length)
            }
            client.send(get("/own/204"))
            let answer = client.readMessage(answersHEAD: true)
            #expect(answer.status == 204 && answer["content-length"] == nil && answer["date"] != nil)
            #expect(upstream.connectionCount == 1)
        }
    }

    @Test func `passes interim answers on to HTTP/1.1 clients alone`() throws {
        let upstream = try FakeUpstream { _ in "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + okResponse }
        try withGateway(upstream) { gateway in
            let client = try gateway.connect()
            client.send(get("/"))
            let hints = client.readMessage()
            #expect(hints.status == 103 && hints["link"] == "</a>")
            #expect(client.readMessage().status == 200)
            let old = try gateway.connect()
            old.send("GET / HTTP/1.0\r\n\r\n")
            #expect(old.readMessage().status == 200)
        }
    }

    @Test func `a client that waits for 100 gets it from the upstream`() throws {
        let upstream = try FakeUpstream { peer, _ in
            #expect(peer.read(until: "\r\n\r\n").contains("Expect: 100-continue"))
            peer.send("HTTP/1.1 100 Continue\r\n\r\n")
            #expect(peer.read(count: 5) == Array("hello".utf8))
            peer.send(okResponse)
            _ = peer.readToEnd()
        }
        try withGateway(upstream) { gateway in
            let client = try gateway.connect()
            client.send("POST / HTTP/1.1\r\nHost: a.test\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
            #expect(client.readMessage().status == 100)
            client.send("hello")
            #expect(client.readMessage().status == 200)
        }
    }

    @Test func `Connection close ends the client's connection after its answer, and nothing behind it is read`() throws
    {
        let upstream = try FakeUpstream { _ in okResponse }
        try withGateway(upstream) { gateway in
            let client = try gateway.connect()
            client.send(get("/", "Connection: close\r\n") + get("/second"))
            let answer = client.readMessage()
            #expect(answer["connection"] == "close" && answer.body == "ok")
            #expect(client.sawEnd())
            #expect(gateway.record.ends(1).count == 1)
        }
    }

    @Test func `an upstream that says Connection close is not used again, and the client stays`() throws {
        let upstream = try FakeUpstream { _ in
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"
        }
        try withGateway(upstream) { gateway in
            let client = try gateway.connect()
            for count in 1...2 {
                client.send(get("/"))
                let answer = client.readMessage()
                #expect(answer.body == "ok" && answer["connection"] == nil)
                #expect(upstream.connectionCount == count)
            }
        }
    }

    @Test func `an early answer reaches a client that still sends, and ends the connection`() throws {
        let upstream = try FakeUpstream { peer, _ in
            _ = peer.read(until: "\r\n\r\n")
            peer.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
            _ = peer.readToEnd()
        }
        try withGateway(upstream) { gateway in
            let client = try gateway.connect()
            client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1000000\r\n\r\n")
            let answer = client.readMessage()
            #expect(answer.status == 403 && answer.body == "no" && answer["connection"] == "close")
            client.send(String(repeating: "x", count: 100_000))
            #expect(client.sawEnd())
        }
    }

    @Test func `a client that half-closes gets its answer`() throws {
        let upstream = try FakeUpstream { _ in okResponse }
        try withGateway(upstream) { gateway in
            let client = try gateway.connect()
            let held = gateway.hold()
            client.send(get("/"))
            client.halfClose()
            held.open()
            #expect(client.readMessage().body == "ok")
            #expect(client.sawEnd())
            #expect(eventually { gateway.connectionCount == 0 })
        }
    }

    @Test func `an answer whose end comes in one go with its last bytes is complete`() throws {
        let ready = Gate()
        let go = Gate()
        let upstream = try FakeUpstream { peer, _ in
            _ = peer.readMessage()
            ready.open()
            go.wait()
            peer.send("HTTP/1.0 200 OK\r\n\r\nall of it")
        }
        try withGateway(upstream, upstream: { $0.idleTimeout = 60 * TestGateway.second }) { gateway in
            let client = try gateway.connect()
            client.send(get("/"))
            ready.wait()
            let held = gateway.hold()
            go.open()
            // The endpoint's thread ends with its connection: then bytes and FIN both wait.
            #expect(eventually { upstream.closedCount == 1 })
            held.open()
            let answer = client.readMessage()
            #expect(answer.body == "all of it" && answer.isComplete)
        }
    }

    @Test(arguments: [
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400), ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\nHost: a\n\n", 400), ("GET / HTTP/2.5\r\nHost: a\r\n\r\n", 505),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ])
    func `a head that is refused ends the connection, whatever stands behind it`(text: String, status: Int) throws {
        let upstream = try FakeUpstream { _ in okResponse }
        try withGateway(upstream) { gateway in
            let client = try gateway.connect()
            client.send(text + get("/second"))
            let answer = client.readMessage()
            #expect(answer.status == status && answer["connection"] == "close")
            #expect(client.sawEnd())
            #expect(upstream.connectionCount == 0)
            #expect(gateway.record.ends(1).count == 1)
        }
    }

    @Test(arguments: [(1000, 200), (1001, 413)])
    func `a declared body over the cap is refused before anything is sent on`(length: Int, status: Int) throws {
        let upstream = try FakeUpstream { _ in okResponse }
        try withGateway(upstream, filter: { $0.bodyBytesMax = 1000 }) { gateway in
            let client = try gateway.connect()
            client.send(
                "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: \(length)\r\n\r\n"
                    + String(repeating: "x", count: length))
            #expect(client.readMessage().status == status)
            #expect(upstream.connectionCount == (status == 200 ? 1 : 0))
        }
    }

    @Test func `connections over the cap are closed at once, and one that ends makes room`() throws {
        let upstream = try FakeUpstream { _ in okResponse }
        try withGateway(upstream, listener: { $0.connectionsMax = 2 }) { gateway in
            let kept = [try gateway.connect(), try gateway.connect()]
            for client in kept {
                client.send(get("/own"))
                #expect(client.readMessage().status == 200)
            }
            let refused = try gateway.connect()
            #expect(refused.sawEnd())
            #expect(eventually { gateway.counters.connectionsRefused.value == 1 })
            kept[0].close()
            #expect(eventually { gateway.connectionCount == 1 })
            let next = try gateway.connect()
            next.send(get("/own"))
            #expect(next.readMessage().status == 200)
            #expect(gateway.counters.connectionsOpen.value == 2)
        }
    }

    @Test func `an exchange goes on when the filter has its verdict, and not after its client has gone`() throws {
        let upstream = try FakeUpstream { _ in okResponse }
        try withGateway(upstream) { gateway in
            let client = try gateway.connect()
            client.send(get("/wait") + get("/own"))
            #expect(eventually { gateway.waitingCount == 1 })
            gateway.proceed(201)
            #expect(client.readMessage().status == 201)
            #expect(client.readMessage().status == 200)

            client.send(get("/wait"))
            #expect(eventually { gateway.waitingCount == 1 })
            let stale = gateway.onWorker { _, filter in Stale(filter.waiting[0]) }
            client.reset()
            #expect(gateway.record.ends(3).last?.error?.side == .downstream)
            // The exchange serves another connection by now; the old verdict must not reach it.
            let other = try gateway.connect()
            other.send(get("/wait"))
            #expect(eventually { gateway.waitingCount == 1 })
            _ = gateway.onWorker { _, filter in
                if let stale, filter.waiting[0].exchange === stale.exchange {
                    stale.exchange.proceed(.respond(LocalResponse(status: 299)), generation: stale.generation)
                }
            }
            gateway.proceed(202)
            #expect(other.readMessage().status == 202)
        }
    }

    /// Goes back to the worker it came from, which alone touches it.
    private struct Stale: @unchecked Sendable {
        let exchange: Exchange
        let generation: UInt64
        init(_ waiting: (exchange: Exchange, generation: UInt64)) {
            exchange = waiting.exchange
            generation = waiting.generation
        }
    }
}
