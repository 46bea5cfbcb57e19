import EventLoop
import HTTPModel
import HTTPTypes
import Synchronization
import TestSupport
import Testing

@testable import ProxyCore

/// Upstreams inside the process.
@Suite(.ownThread, .serialized, .timeLimit(.minutes(1)))
struct HandlerTests {
    /// Answers when the test lets it, and notes what became of each request.
    private final class Held: RequestHandler {
        private struct State {
            var waiting: [CheckedContinuation<Void, Never>] = []
            var isOpen = false
        }
        private let state = Mutex(State())
        let lines = Lines()

        var waitingCount: Int { state.withLock(\.waiting.count) }

        func open() {
            let waiting = state.withLock { state in
                state.isOpen = true
                defer { state.waiting = [] }
                return state.waiting
            }
            for continuation in waiting { continuation.resume() }
        }

        func respond(to request: Request) async -> Response {
            await withCheckedContinuation { continuation in
                let isOpen = state.withLock { state in
                    if !state.isOpen { state.waiting.append(continuation) }
                    return state.isOpen
                }
                if isOpen { continuation.resume() }
            }
            lines.add(Task.isCancelled ? "cancelled" : "done")
            var fields = HTTPFields()
            fields[.contentType] = "text/plain"
            return Response(head: HTTPResponse(status: .ok, headerFields: fields), body: request.body)
        }
    }

    private func withHandler(_ body: (TestGateway, Held) throws -> Void) throws {
        let handler = Held()
        let gateway = try TestGateway(handler: handler)
        defer {
            handler.open()
            gateway.stop()
        }
        try body(gateway, handler)
    }

    @Test func `a handler gets the whole body, however it comes, and its answer is framed`() throws {
        try withHandler { gateway, handler in
            handler.open()
            let client = try gateway.connect()
            let message =
                "POST /handler HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"
            client.send(message)
            for byte in message.utf8 { client.send([byte]) }
            for _ in 0..<2 {
                let answer = client.readMessage()
                #expect(answer.body == "hello" && answer["content-length"] == "5")
                #expect(answer["content-type"] == "text/plain")
            }
        }
    }

    @Test(arguments: [(1000, 200), (1001, 413)])
    func `a body over the cap is refused, declared or in chunks`(length: Int, status: Int) throws {
        try withHandler { gateway, handler in
            handler.open()
            let body = String(repeating: "x", count: length)
            let hex = String(length, radix: 16)
            for framed in [
                "Content-Length: \(length)\r\n\r\n\(body)",
                "Transfer-Encoding: chunked\r\n\r\n\(hex)\r\n\(body)\r\n0\r\n\r\n",
            ] {
                let client = try gateway.connect()
                client.send("POST /handler HTTP/1.1\r\nHost: a.test\r\n" + framed)
                #expect(client.readMessage().status == status)
            }
        }
    }

    @Test func `a client that waits for 100 is asked for its body`() throws {
        try withHandler { gateway, handler in
            handler.open()
            let client = try gateway.connect()
            client.send("POST /handler HTTP/1.1\r\nHost: a.test\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
            #expect(client.readMessage().status == 100)
            client.send("hi")
            #expect(client.readMessage().body == "hi")
        }
    }

    @Test func `a client that goes away cancels its task`() throws {
        try withHandler { gateway, handler in
            let client = try gateway.connect()
            client.send(get("/handler"))
            #expect(eventually { handler.waitingCount == 1 })
            client.reset()
            #expect(gateway.record.ends(1).count == 1)
            handler.open()
            #expect(eventually { handler.lines.all == ["cancelled"] })
            #expect(eventually { gateway.onWorker { worker, _ in worker.handledExchanges } == 0 })
        }
    }

    @Test func `at the bound the answer is 503, also where the bodies come late`() throws {
        try withHandler { gateway, handler in
            var clients: [Peer] = []
            for _ in 0...Worker.handledExchangesMax {
                let client = try gateway.connect()
                client.send("POST /handler HTTP/1.1\r\nHost: a.test\r\nContent-Length: 2\r\n\r\nh")
                clients.append(client)
            }
            #expect(eventually { gateway.connectionCount == clients.count })
            for client in clients.dropLast() { client.send("i") }
            #expect(eventually { handler.waitingCount == Worker.handledExchangesMax })
            clients.last?.send("i")
            #expect(clients.last?.readMessage().status == 503)
            let late = try gateway.connect()
            late.send(get("/handler"))
            #expect(late.readMessage().status == 503)
            handler.open()
            #expect(clients[0].readMessage().status == 200)
        }
    }
}

/// The end of a worker.
@Suite(.ownThread, .serialized, .timeLimit(.minutes(1)))
struct DrainTests {
    @Test func `idle connections end at once, exchanges under way finish, and then it is done`() throws {
        let upstream = try FakeUpstream { _ in okResponse }
        try withGateway(upstream) { gateway in
            let idle = try gateway.connect()
            idle.send(get("/own"))
            #expect(idle.readMessage().status == 200)
            let busy = try gateway.connect()
            busy.send(get("/wait"))
            #expect(eventually { gateway.waitingCount == 1 })
            let isDone = gateway.drain()
            #expect(idle.sawEnd())
            #expect(!isDone.isSet)
            gateway.proceed(200)
            let answer = busy.readMessage()
            #expect(answer.status == 200 && answer["connection"] == "close")
            #expect(busy.sawEnd())
            #expect(eventually { isDone.isSet })
        }
    }

    @Test func `a request that waits in the accept queue is answered`() throws {
        let upstream = try FakeUpstream { _ in okResponse }
        try withGateway(upstream) { gateway in
            let held = gateway.hold()
            let client = try gateway.connect()
            client.send(get("/"))
            let isDone = gateway.drainLater()
            held.open()
            let answer = client.readMessage()
            #expect(answer.body == "ok" && answer["connection"] == "close")
            #expect(eventually { isDone.isSet })
        }
    }
}
