import EventLoop
import Telemetry
import TestSupport
import Testing

@testable import ProxyCore

/// An upstream that dies, refuses or never answers, at each point of an exchange.
@Suite(.ownThread, .serialized, .timeLimit(.minutes(1)))
struct FailureTests {
    @Test(arguments: [
        "", "HTTP/1.1 200", "HTTP/1.1 200 OK\r\nContent-Le", "nonsense\r\n\r\n", "HTTP/1.1 999999 x\r\n\r\n",
    ])
    func `an upstream that dies or babbles before its head is complete is a 502`(text: String) throws {
        let upstream = try FakeUpstream { peer, _ in
            _ = peer.readMessage()
            peer.send(text)
        }
        try withGateway(upstream) { gateway in
            let client = try gateway.connect()
            client.send(get("/"))
            let answer = client.readMessage()
            #expect(answer.status == 502 && answer.body == "response.head")
            client.send(get("/own"))
            #expect(client.readMessage().status == 200)
            #expect(
                gateway.record.ends(2)[0].error == ExchangeError(side: .upstream, step: "response.head", status: 502))
        }
    }

    @Test(arguments: [
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nZZ\r\n",
    ])
    func `an answer that is cut within its body does not look complete`(text: String) throws {
        let upstream = try FakeUpstream { peer, _ in
            _ = peer.readMessage()
            peer.send(text)
        }
        try withGateway(upstream) { gateway in
            for minor in [1, 0] {
                let client = try gateway.connect()
                client.send("GET / HTTP/1.\(minor)\r\nHost: a.test\r\nConnection: close\r\n\r\n")
                // Bytes that wait in the client's buffer may be lost with the reset; the end must not be in order. Where
                // nothing of the answer was sent yet, another one may be.
                let (answer, end) = client.readToEnd()
                let isLawful = end == .reset || (answer.isEmpty && end == .closed) || answer.hasPrefix("HTTP/1.1 502 ")
                #expect(isLawful, "\(answer)")
            }
            #expect(gateway.record.ends(2).allSatisfy { $0.error?.step == "response.body" })
        }
    }

    @Test func `a GET on a kept connection that the upstream has closed is sent once more, a POST is not`() throws {
        let upstream = try FakeUpstream { peer, index in
            guard !peer.readMessage().fields.isEmpty else { return }
            peer.send(okResponse)
            // Waits for the next request, and dies without a word.
            _ = peer.read(until: "\r\n\r\n")
        }
        try withGateway(upstream) { gateway in
            let client = try gateway.connect()
            client.send(get("/"))
            #expect(client.readMessage().status == 200)
            client.send(get("/again"))
            #expect(client.readMessage().status == 200)
            #expect(upstream.connectionCount == 2)
            #expect(gateway.record.ends(2)[1].retries == 1)
            client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\n\r\nhi")
            #expect(client.readMessage().status == 502)
            #expect(upstream.connectionCount == 2)
            #expect(gateway.record.ends(3)[2].retries == 0)
        }
    }

    @Test func `a request is retried once and no more`() throws {
        let upstream = try FakeUpstream { peer, index in
            guard !peer.readMessage().fields.isEmpty, index == 0 else { return }
            peer.send(okResponse)
            _ = peer.read(until: "\r\n\r\n")
        }
        try withGateway(upstream) { gateway in
            let client = try gateway.connect()
            client.send(get("/"))
            #expect(client.readMessage().status == 200)
            client.send(get("/again"))
            #expect(client.readMessage().status == 502)
            #expect(upstream.connectionCount == 2)
        }
    }

    @Test func `a connection whose end waits behind the answer is not kept`() throws {
        let ready = Gate()
        let go = Gate()
        let upstream = try FakeUpstream { peer, index in
            _ = peer.readMessage()
            if index == 0 {
                ready.open()
                go.wait()
                peer.send(okResponse)
                return
            }
            peer.send(okResponse)
            _ = peer.readToEnd()
        }
        try withGateway(upstream) { gateway in
            let client = try gateway.connect()
            client.send(get("/"))
            ready.wait()
            let held = gateway.hold()
            client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\n\r\nhi")
            go.open()
            #expect(eventually { upstream.closedCount == 1 })
            held.open()
            #expect(client.readMessage().status == 200)
            #expect(client.readMessage().status == 200)
            #expect(upstream.connectionCount == 2)
        }
    }

    @Test func `bytes that nobody asked for end an idle connection`() throws {
        let go = Gate()
        let upstream = try FakeUpstream { peer, index in
            _ = peer.readMessage()
            peer.send(okResponse)
            if index == 0 {
                go.wait()
                peer.send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison")
            }
            _ = peer.readToEnd()
        }
        try withGateway(upstream) { gateway in
            let client = try gateway.connect()
            client.send(get("/"))
            #expect(client.readMessage().body == "ok")
            #expect(eventually { gateway.counters.upstreamConnectionsIdle.value == 1 })
            go.open()
            #expect(eventually { gateway.counters.upstreamConnectionsIdle.value == 0 })
            client.send(get("/"))
            #expect(client.readMessage().body == "ok")
            #expect(upstream.connectionCount == 2)
        }
    }

    @Test func `bytes that nobody asked for answer no request, if they come while others are served`() throws {
        let go = Gate()
        let sent = Gate()
        let upstream = try FakeUpstream { peer, index in
            _ = peer.readMessage()
            peer.send(okResponse)
            if index == 0 {
                go.wait()
                peer.send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison")
                sent.open()
            }
            _ = peer.readToEnd()
        }
        // Served first, this request makes the endpoint speak after the worker asked the kernel for events.
        let whenDeciding: (String) -> Void = { path in
            guard path == "/own/first" else { return }
            go.open()
            sent.wait()
        }
        try withGateway(upstream, filter: { $0.whenDeciding = whenDeciding }) { gateway in
            let client = try gateway.connect()
            let others = try (0..<40).map { _ in try gateway.connect() }
            client.send(get("/"))
            #expect(client.readMessage().body == "ok")
            #expect(eventually { gateway.counters.upstreamConnectionsIdle.value == 1 })
            #expect(eventually { gateway.connectionCount == 41 })
            let held = gateway.hold()
            for (number, other) in others.enumerated() { other.send(get(number == 0 ? "/own/first" : "/own")) }
            client.send(get("/"))
            held.open()
            for other in others { #expect(other.readMessage().body == "mine") }
            #expect(client.readMessage().body == "ok")
            #expect(upstream.connectionCount == 2)
        }
    }

    @Test func `a kept connection serves a request of the turn in which it would have been closed`() throws {
        let upstream = try FakeUpstream { peer, _ in
            while !peer.readMessage().startLine.isEmpty { peer.send(okResponse) }
        }
        try withGateway(upstream, upstream: { $0.keepAliveTimeout = 200 * TestGateway.millisecond }) { gateway in
            let clients = try (0..<2).map { _ in try gateway.connect() }
            clients[0].send(get("/"))
            #expect(clients[0].readMessage().body == "ok")
            #expect(eventually { gateway.connectionCount == 2 })
            let held = gateway.hold()
            for client in clients { client.send(get("/")) }
            // The time of the one that is kept passes while the worker cannot see it.
            #expect(!eventually(within: 300) { false })
            held.open()
            for client in clients { #expect(client.readMessage().body == "ok") }
        }
    }

    @Test func `bytes behind an answer's end go to nobody`() throws {
        let upstream = try FakeUpstream { _ in okResponse + "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison" }
        try withGateway(upstream) { gateway in
            let client = try gateway.connect()
            client.send(get("/") + get("/"))
            #expect(client.readMessage().body == "ok")
            #expect(client.readMessage().body == "ok")
            #expect(upstream.connectionCount == 2)
        }
    }

    @Test func `an endpoint that refuses is passed over, and the log names no fault where another answered`() throws {
        let upstream = try FakeUpstream { _ in okResponse }
        defer { upstream.stop() }
        let gateway = try TestGateway(to: [try FakeUpstream.freePort(), upstream.port])
        defer { gateway.stop() }
        for _ in 0..<4 {
            let client = try gateway.connect()
            client.send(get("/"))
            #expect(client.readMessage().status == 200)
        }
        #expect(gateway.record.ends(4).allSatisfy { $0.error == nil && $0.endpoint == "127.0.0.1:\(upstream.port)" })
        #expect(gateway.counters.upstreamConnectFailures.value > 0)
    }

    @Test func `where no endpoint takes a connection the answer is 502`() throws {
        let gateway = try TestGateway(to: [try FakeUpstream.freePort(), try FakeUpstream.freePort()])
        defer { gateway.stop() }
        let client = try gateway.connect()
        client.send(get("/"))
        let answer = client.readMessage()
        #expect(answer.status == 502 && answer.body == "connect")
        client.send(get("/own"))
        #expect(client.readMessage().status == 200)
    }

    @Test func `a name that stands for two addresses is tried at both within one request`() throws {
        let upstream = try FakeUpstream { _ in okResponse }
        defer { upstream.stop() }
        let addresses = [
            try #require(NetworkAddress(numericHost: "127.0.0.1", port: try FakeUpstream.freePort())),
            try #require(NetworkAddress(numericHost: "127.0.0.1", port: upstream.port)),
        ]
        let gateway = try TestGateway(endpoints: [.init(name: "app.test:80", addresses: addresses)])
        defer { gateway.stop() }
        let client = try gateway.connect()
        client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\n\r\nhi")
        #expect(client.readMessage().status == 200)
    }

    @Test func `a name that does not resolve is a 502`() throws {
        let gateway = try TestGateway(endpoints: [.init(name: "app.test:80", addresses: [])])
        defer { gateway.stop() }
        let client = try gateway.connect()
        client.send(get("/"))
        #expect(client.readMessage().status == 502)
    }

    @Test func `a client that goes away within its body ends the upstream's request unfinished`() throws {
        let ends = Lines()
        let upstream = try FakeUpstream { peer, _ in
            _ = peer.read(until: "\r\n\r\n")
            let (text, end) = peer.readToEnd()
            ends.add("\(text) \(end)")
        }
        try withGateway(upstream) { gateway in
            let client = try gateway.connect()
            client.send("POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
            #expect(eventually { upstream.connectionCount == 1 })
            client.close()
            let ended = gateway.record.ends(1)
            #expect(ended.first?.error == ExchangeError(side: .downstream, step: "request.body", status: 0))
            #expect(eventually { ends.all.count == 1 })
            #expect(ends.all.first?.contains("0\r\n\r\n") == false)
        }
    }
}
