import HTTPModel
import HTTPTypes
import Synchronization
import TestSupport
import Testing

@testable import ProxyCore

/// Nothing of one request may reach the upstream as part of another.
@Suite(.ownThread, .serialized, .timeLimit(.minutes(1)))
struct SmugglingTests {
    private struct Echo: RequestHandler {
        func respond(to request: Request) async -> Response {
            Response(head: HTTPResponse(status: .ok), body: request.body)
        }
    }

    private static let forged = "GET /admin HTTP/1.1\r\nHost: a.test\r\nX-Auth-User: admin\r\n\r\n"

    private static func chunk(_ text: String) -> String {
        "\(String(text.utf8.count, radix: 16))\r\n\(text)\r\n"
    }

    /// Each way a body can be refused while its first bytes are in the buffer that goes upstream.
    @Test(arguments: [
        ("/app", "ZZ\r\n", 400), ("/app", chunk(String(repeating: "a", count: 200)), 413),
        ("/handler", "ZZ\r\n", 400), ("/handler", chunk(String(repeating: "a", count: 200)), 413),
    ])
    func `a body that was refused leaves nothing behind for the next request`(
        path: String, rest: String, status: Int
    ) throws {
        try withSeen { upstream, note in
            let gateway = try TestGateway(
                to: [upstream.port], handler: Echo(), filter: { $0.bodyBytesMax = 150 })
            defer { gateway.stop() }
            let attacker = try gateway.connect()
            attacker.send(
                "POST \(path) HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n"
                    + Self.chunk(Self.forged) + rest)
            #expect(attacker.readMessage().status == status)
            #expect(attacker.readToEnd().end == .closed)
            let victim = try gateway.connect()
            victim.send(get("/mine"))
            #expect(victim.readMessage().status == 200)
            #expect(note() == ["GET /mine HTTP/1.1"])
        }
    }

    /// The same where the first part of the body has arrived with the head, and the bad part comes later.
    @Test(arguments: ["/app", "/handler"])
    func `a body that turns bad later leaves nothing behind either`(path: String) throws {
        try withSeen { upstream, note in
            let gateway = try TestGateway(to: [upstream.port], handler: Echo())
            defer { gateway.stop() }
            let attacker = try gateway.connect()
            attacker.send(
                "POST \(path) HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n" + Self.chunk(Self.forged))
            #expect(eventually { gateway.onWorker { $0.connectionCount == 1 && $1.record.all.isEmpty } == true })
            attacker.send("ZZ\r\n")
            #expect(attacker.readMessage().status == 400)
            let victim = try gateway.connect()
            victim.send(get("/mine"))
            #expect(victim.readMessage().status == 200)
            // The endpoint may notice the end of the first request after it has answered the second.
            #expect(note().contains("GET /mine HTTP/1.1"))
            #expect(!note().contains { $0.contains("admin") })
        }
    }

    /// Runs an endpoint that notes each request line that it reads.
    private func withSeen(
        _ body: (FakeUpstream, @escaping () -> [String]) throws -> Void
    ) throws {
        let lines = Lines()
        let upstream = try FakeUpstream { request in
            lines.add(request.startLine)
            return okResponse
        }
        defer { upstream.stop() }
        try body(upstream) { lines.all }
    }
}

/// Lines that a fake endpoint noted.
final class Lines: Sendable {
    private let lines = Mutex<[String]>([])

    func add(_ line: String) { lines.withLock { $0.append(line) } }

    var all: [String] { lines.withLock { $0 } }
}
