import EventLoop
import HTTPModel
import ProxyCore
import Telemetry
import TestSupport
import Testing

@testable import AuthGateway

/// The admin listener as a probe or a scraper meets it.
@Suite(.ownThread, .serialized, .timeLimit(.minutes(1)))
struct AdminFilterTests {
    private let metrics = MetricRegistry()
    private let readiness = ServingState()

    /// Asks a worker of its own, one request after the other on one connection.
    private func answers(_ requests: [String]) throws -> [Message] {
        let address = try #require(NetworkAddress(numericHost: "127.0.0.1", port: 0))
        let socket = try ListeningSocket(address)
        let second: UInt64 = 1_000_000_000
        let worker = try Worker(index: 0, counters: WorkerCounters(MetricRegistry())) { _ in
            AdminFilter(metrics: metrics, readiness: readiness)
        }
        try worker.listen(
            on: socket.number,
            settings: ListenerSettings(
                name: "admin", tls: nil, port: socket.address.port, connectionsMax: 10,
                handshakeTimeout: 5 * second, headTimeout: 5 * second, bodyTimeout: 5 * second,
                idleTimeout: 5 * second, tunnelIdleTimeout: 5 * second,
                headLimits: HeadLimits(bytesMax: 8192, fieldsMax: 64), chunkExtensionBytesMax: 64, filterIndex: 0))
        let mailbox = worker.loop.mailbox
        let loop = Loop(worker)
        let thread = try LoopThread(name: "admin") { loop.worker.loop.run() }
        defer {
            mailbox.post { $0.stop() }
            thread.join()
        }
        let client = try Peer(port: socket.address.port)
        return requests.map { request in
            client.send("\(request) HTTP/1.1\r\nHost: admin\r\n\r\n")
            return client.readMessage(answersHEAD: request.hasPrefix("HEAD"))
        }
    }

    /// A worker on its way to the thread that alone uses it.
    private final class Loop: @unchecked Sendable {
        let worker: Worker
        init(_ worker: Worker) { self.worker = worker }
    }

    @Test func `alive from the first moment, ready only while it serves`() throws {
        let paths = ["GET /healthz", "GET /readyz", "HEAD /readyz"]
        #expect(try answers(paths).map(\.status) == [200, 503, 503])
        readiness.set(true)
        let ready = try answers(paths)
        #expect(ready.map(\.status) == [200, 200, 200])
        #expect(ready.map(\.body) == ["alive\n", "ready\n", ""])
        #expect(ready.allSatisfy { $0["cache-control"] == "no-store" })
        readiness.set(false)
        #expect(try answers(paths).map(\.status) == [200, 503, 503])
    }

    @Test func `metrics are Prometheus text, with the numbers of now`() throws {
        let counter = metrics.counter("things_total", help: "Things.", labels: [("kind", "a\"b")])
        counter.add()
        counter.add()
        let answer = try #require(try answers(["GET /metrics"]).first)
        #expect(answer.status == 200)
        #expect(answer["content-type"] == "text/plain; version=0.0.4; charset=utf-8")
        let head = "# HELP things_total Things.\n# TYPE things_total counter\n"
        #expect(answer.body == head + "things_total{kind=\"a\\\"b\"} 2\n")
        counter.add()
        #expect(try answers(["GET /metrics"]).first?.body.hasSuffix(" 3\n") == true)
    }

    @Test(arguments: [
        "/", "/healthz/", "//healthz", "/HEALTHZ", "/healthz%20", "/%68ealthz", "/metrics/x", "/metric", "/../metrics",
        "/x/../metrics", "/healthz;x", "/readyz/..",
    ])
    func `any other path, however near, is 404`(path: String) throws {
        #expect(try answers(["GET \(path)"]).map(\.status) == [404])
    }

    @Test(arguments: ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "get", "PURGE"])
    func `any method but GET and HEAD is 405 on any path, and what is allowed is told`(method: String) throws {
        readiness.set(true)
        for path in ["/healthz", "/readyz", "/metrics", "/other"] {
            let answer = try #require(try answers(["\(method) \(path)"]).first)
            #expect(answer.status == 405 && answer["allow"] == "GET, HEAD")
            #expect(!answer.body.contains("ready"))
        }
    }

    @Test func `a query changes nothing, and what is no HTTP is refused`() throws {
        #expect(try answers(["GET /healthz?x=1", "GET /nothing?/healthz"]).map(\.status) == [200, 404])
        #expect(try answers(["GET healthz"]).map(\.status) == [400])
        #expect(try answers(["HEAD /metrics"]).map(\.body) == [""])
    }
}
