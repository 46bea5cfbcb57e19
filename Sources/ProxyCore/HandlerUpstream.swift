internal import EventLoop
public import HTTPModel
internal import HTTPTypes
internal import Synchronization

/// An upstream inside this process: gathers a request whole, hands it to an `async` handler off the worker, and sends
/// what that answers. Bounded: at most `Worker.handledExchangesMax` exchanges for each worker wait at one time.
public final class HandlerUpstream: Sendable {
    private let handler: any RequestHandler
    /// The largest request body that is gathered.
    public let bodyBytesMax: UInt64

    /// Wraps a handler, which is called concurrently.
    public init(_ handler: any RequestHandler, bodyBytesMax: UInt64 = 65_536) {
        self.handler = handler
        self.bodyBytesMax = bodyBytesMax
    }

    func start(_ exchange: Exchange, _ downstream: any DownstreamSide) {
        exchange.bodyBytesMax = min(exchange.bodyBytesMax, bodyBytesMax)
        guard downstream.bodyMayCome(exchange) else { return }
        guard exchange.worker.handledExchanges < Worker.handledExchangesMax else {
            downstream.fail(ExchangeError(side: .gateway, step: "handler.queue", status: 503))
            return
        }
        guard let request = HandlerUpstream.request(exchange) else {
            downstream.fail(ExchangeError(side: .downstream, step: "request.head", status: 400))
            return
        }
        exchange.handler = self
        exchange.handlerRequest = request
        downstream.gatherBody(exchange, for: self)
    }

    func bodyIsComplete(_ exchange: Exchange) {
        guard var request = exchange.handlerRequest, exchange.handlerTask == nil else { return }
        request.body = exchange.outgoing.withBytes { bytes in (0..<bytes.count).map { bytes[$0] } }
        exchange.outgoing.removeAll()
        // Others may have come while the body was on its way.
        guard exchange.worker.handledExchanges < Worker.handledExchangesMax else {
            exchange.downstream?.fail(ExchangeError(side: .gateway, step: "handler.queue", status: 503))
            return
        }
        exchange.downstream?.setDeadline(DownstreamTimes.decision)
        exchange.worker.handledExchanges += 1
        let ticket = Ticket(exchange: exchange, generation: exchange.generation)
        let mailbox = exchange.worker.loop.mailbox
        exchange.handlerTask = Task.detached { [handler, request] in
            let response = await handler.respond(to: request)
            mailbox.post { _ in ticket.redeem(response) }
        }
    }

    /// An exchange on its way through another thread, which does not touch it: it is redeemed on its worker's own.
    private final class Ticket: @unchecked Sendable {
        private let exchange: Exchange
        private let generation: UInt64

        init(exchange: Exchange, generation: UInt64) {
            self.exchange = exchange
            self.generation = generation
        }

        func redeem(_ response: Response) {
            exchange.worker.handledExchanges -= 1
            // The connection may be gone, and the exchange serve another.
            guard exchange.generation == generation else { return }
            exchange.downstream?.respond(HandlerUpstream.localResponse(response))
            exchange.downstream?.advance()
        }
    }

    private static func request(_ exchange: Exchange) -> Request? {
        let bytes = exchange.headBytes
        func text(_ range: ByteRange) -> String {
            let start = Int(range.start)
            return String(decoding: bytes.extracting(start..<start + Int(range.count)))
        }
        guard let method = HTTPRequest.Method(text(exchange.head.methodRange)) else { return nil }
        let target =
            exchange.target.isEmpty
            ? text(exchange.head.target)
            : exchange.target.withBytes { String(decoding: $0) }
        var head = HTTPRequest(
            method: method, scheme: exchange.isSecure ? "https" : "http",
            authority: text(exchange.head.authority).lowercased(), path: target)
        for index in 0..<exchange.head.fields.count {
            let field = exchange.head.fields[index]
            guard !field.isDropped, let name = HTTPField.Name(text(field.name)) else { continue }
            head.headerFields.append(HTTPField(name: name, value: text(field.value)))
        }
        return Request(
            head: head, remoteAddress: exchange.clientAddress.description, isSecure: exchange.isSecure,
            requestID: exchange.requestID?.description ?? "")
    }

    private static func localResponse(_ response: Response) -> LocalResponse {
        var fields: [UInt8] = []
        for field in response.head.headerFields
        where field.name != .contentLength && field.name != .connection && field.name != .transferEncoding {
            // A value with a line break would be another field.
            let value = field.value.utf8.filter { $0 >= 0x20 && $0 != 0x7F || $0 == 0x09 }
            fields += Array("\(field.name.rawName): ".utf8) + value + [0x0D, 0x0A]
        }
        return LocalResponse(status: response.head.status.code, fields: fields, body: response.body)
    }
}
