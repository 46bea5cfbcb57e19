import EventLoop
import HTTPModel
import ProxyCore
import Synchronization
import Telemetry

/// Whether the gateway can serve, as `/readyz` tells.
final class ServingState: Sendable {
    private let isReady = Atomic<Bool>(false)

    func set(_ ready: Bool) { isReady.store(ready, ordering: .releasing) }

    var value: Bool { isReady.load(ordering: .acquiring) }
}

/// Answers on the admin listener: exact paths, GET and HEAD, nothing else.
final class AdminFilter: RequestFilter {
    private let metrics: MetricRegistry
    private let readiness: ServingState

    init(metrics: MetricRegistry, readiness: ServingState) {
        self.metrics = metrics
        self.readiness = readiness
    }

    func makeExchangeState() -> AnyObject { readiness }

    func decide(_ exchange: Exchange) -> Verdict {
        guard exchange.head.method == .get || exchange.head.method == .head else {
            return .respond(AdminFilter.text(405, "method not allowed\n", extra: "Allow: GET, HEAD\r\n"))
        }
        let bytes = exchange.headBytes
        let path = String(decoding: bytes.extracting(exchange.head.path.range))
        switch path {
        case "/healthz": return .respond(AdminFilter.text(200, "alive\n"))
        case "/readyz":
            return .respond(readiness.value ? AdminFilter.text(200, "ready\n") : AdminFilter.text(503, "not ready\n"))
        case "/metrics":
            return .respond(
                AdminFilter.text(200, metrics.prometheusText(), type: "text/plain; version=0.0.4; charset=utf-8"))
        default: return .respond(AdminFilter.text(404, "not found\n"))
        }
    }

    func responseArrived(_ exchange: Exchange, head: inout ResponseHead, bytes: Span<UInt8>) {}

    func response(to error: ExchangeError, _ exchange: Exchange) -> LocalResponse {
        AdminFilter.text(error.status, "\(error.step)\n")
    }

    func ended(_ exchange: Exchange, _ report: ExchangeReport) {}

    private static func text(
        _ status: Int, _ body: String, type: String = "text/plain; charset=utf-8", extra: String = ""
    ) -> LocalResponse {
        LocalResponse(
            status: status, fields: Array("Content-Type: \(type)\r\nCache-Control: no-store\r\n\(extra)".utf8),
            body: Array(body.utf8))
    }
}
