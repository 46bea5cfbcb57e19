import EventLoop
import HTTPModel
import IdentityModel
import ProxyCore
import Telemetry

extension GatewayFilter {
    func ended(_ exchange: Exchange, _ report: ExchangeReport) {
        let state = exchange.gatewayState
        if let snapshot = state.snapshot.take() {
            snapshot.routeCounters[state.route?.index ?? snapshot.routeCounters.count - 1].count(report)
        }
        guard services.accessLog != nil else { return }
        write(exchange, state, report)
    }

    private func write(_ exchange: Exchange, _ state: ExchangeState, _ report: ExchangeReport) {
        line.begin()
        line.field("time", epochMilliseconds: currentEpochMilliseconds())
        line.field("request_id", requestID(exchange))
        line.field(
            "client_ip", address: exchange.clientAddress == .unspecified ? exchange.peer : exchange.clientAddress)
        state.method.withBytes { line.field("method", $0) }
        state.host.withBytes { line.field("host", $0) }
        exchange.target.withBytes { line.field("path", $0.extracting(0..<min(state.pathCount, $0.count))) }
        line.field("protocol", exchange.protocolName)
        line.field("status", number: UInt64(report.status))
        if let name = state.route?.name { line.field("route", name.span) }
        line.field("decision", state.decision)
        if let reason = state.reason { line.field("reason", reason) }
        if let credential = state.credential {
            line.field("auth_method", credential.kind.rawValue)
            line.field("user", credential.claims.username)
            line.field("issuer", credential.claims.subject.issuer)
            line.field("subject", credential.claims.subject.identifier)
        }
        line.field("duration_ms", milliseconds: report.duration)
        if report.queueDuration > 0 { line.field("queue_ms", milliseconds: report.queueDuration) }
        if let endpoint = exchange.endpointName, let upstream = exchange.pool {
            line.field("upstream", upstream.settings.name)
            line.field("endpoint", endpoint)
            line.field("upstream_ms", milliseconds: report.upstreamDuration)
        }
        line.field("request_bytes", number: report.requestBodyBytes)
        line.field("response_bytes", number: report.responseBodyBytes)
        if report.retries > 0 { line.field("retries", number: UInt64(report.retries)) }
        if report.wasUpgraded { line.field("upgraded", number: 1) }
        if let error = exchange.error {
            line.field("error_side", error.side.rawValue)
            line.field("error_step", error.step)
        }
        line.end()
        logLines.append(contentsOf: line.buffer)
        if logLines.count >= GatewayFilter.logChunkBytes {
            flushLog()
        } else if !isLogFlushScheduled {
            isLogFlushScheduled = true
            loop.atEndOfTurn(flushAtEndOfTurn)
        }
    }

    /// Hands the lines of this turn to the log's own thread.
    func flushLog() {
        isLogFlushScheduled = false
        guard !logLines.isEmpty else { return }
        services.accessLog?.submit(logLines.bytes)
        logLines.removeAll()
    }

    static let logChunkBytes = 32_768
}
