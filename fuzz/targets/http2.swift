/// Whatever a client sends and in whatever pieces, and whatever its exchanges do meanwhile, a session keeps its bounds and
/// gives each request's events in their order. The input is a count of decisions, the decisions, and the client's bytes.
@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzHTTP2(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    let input = fuzzInput(start, count)
    guard let first = input.first else { return 0 }
    let decisionCount = min(Int(first & 63), input.count - 1)
    var bytes = Array(input.dropFirst(1 + decisionCount))
    if first & 64 == 0 { bytes = Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8) + [0, 0, 0, 4, 0, 0, 0, 0, 0] + bytes }
    Run(decisions: Array(input[1..<1 + decisionCount]), acts: first & 128 == 0)?.feed(bytes)
    return 0
}

/// The part of an answer that sessions know; the gateway's own type comes with all of the proxy.
struct LocalResponse {
    var status: Int
    var fields: [UInt8] = []
    var body: [UInt8] = []
}

private final class Run {
    private struct Request {
        var declared: UInt64?
        var received: UInt64 = 0
        var hasEnded = false
        var isRefused = false
        var hasAnswer = false
    }

    private let session: HTTP2Session
    private let decisions: [UInt8]
    private let acts: Bool
    private var position = 0
    private var now: UInt64 = 0
    private var requests: [Int32: Request] = [:]
    private var lastStream: Int32 = 0
    private var hasFailed = false
    private var output: [UInt8] = []

    private static let settings: HTTP2Settings = {
        var settings = HTTP2Settings()
        settings.concurrentStreamsMax = 6
        settings.headBytesMax = 600
        settings.fieldsMax = 12
        settings.headBlockBytesMax = 2000
        settings.streamWindow = 2000
        settings.memoryBytesMax = 200_000
        settings.outputBytesHigh = 500
        settings.outputBytesLow = 100
        settings.glitchUnitsMax = 3000
        return settings
    }()

    init?(decisions: [UInt8], acts: Bool) {
        guard let session = HTTP2Session(Run.settings, at: 0) else { return nil }
        self.session = session
        self.decisions = decisions
        self.acts = acts
    }

    private func decide() -> UInt8 {
        guard !decisions.isEmpty else { return 0 }
        position += 1
        return decisions[position % decisions.count]
    }

    func feed(_ bytes: [UInt8]) {
        var start = 0
        while start < bytes.count {
            let size = Int(decide())
            let part = Array(bytes[start..<min(bytes.count, start + (size == 0 ? bytes.count : size))])
            let taken = session.receive(part.span, at: now)
            check(taken <= part.count && taken >= 0, "no more is taken than was given")
            let events = drain(part)
            check(taken > 0 || events > 0, "either bytes are taken or events are given")
            start += taken
            now += UInt64(decide()) * 1_000_000
            if decide() & 3 == 0 { produce() }
            check(session.memoryHeld <= Run.settings.memoryBytesMax, "memory is within its bound")
            check(session.streams.heldCount == requests.count, "the streams that count are those under way")
            check(requests.count <= Run.settings.concurrentStreamsMax, "no more requests than streams allowed")
        }
        produce()
        for stream in requests.keys.sorted() { session.exchangeEnded(stream) }
        requests.removeAll()
        produce()
        check(session.streams.heldCount == 0, "no stream is held when all exchanges have ended")
        readOutput()
    }

    private func produce() {
        var buffer = ByteBuffer()
        let max = 64 + Int(decide()) * 8
        var rounds = 0
        while true {
            let count = session.produce(into: &buffer, max: max)
            check(count <= max, "no more is produced than asked for")
            _ = drain([])
            guard count > 0 else { break }
            rounds += 1
            check(rounds < 100_000, "producing comes to an end")
        }
        for index in 0..<buffer.count { output.append(buffer.bytes[index]) }
    }

    private func drain(_ bytes: [UInt8]) -> Int {
        var count = 0
        while let event = session.nextEvent() {
            count += 1
            check(!hasFailed, "nothing follows a connection error")
            take(event, bytes)
        }
        return count
    }

    private func take(_ event: HTTP2Event, _ bytes: [UInt8]) {
        switch event {
        case .requestHead(let stream, let endsStream, let isExtendedConnect):
            begin(stream)
            readHead(stream, endsStream, isExtendedConnect)
            act(stream)
        case .refused(let stream, let status):
            check(status >= 400 && status < 600, "a refusal is an error")
            begin(stream)
            requests[stream]?.isRefused = true
            act(stream)
        case .data(let stream, let range):
            check(!range.isEmpty && range.upperBound <= bytes.count, "data lies within the bytes")
            body(stream, range.count)
            act(stream)
        case .lastByte(let stream, _): body(stream, 1)
        case .trailers(let stream):
            check(requests[stream].map { !$0.hasEnded && !$0.isRefused } ?? false, "trailers belong to a request")
            session.headBytes.withBytes { lines in
                check(
                    lines.count > 2 && lines[lines.count - 1] == 10 && lines[lines.count - 2] == 13,
                    "trailers are lines")
            }
        case .endOfRequest(let stream):
            guard let request = requests[stream] else { return check(false, "an end belongs to a request") }
            check(!request.hasEnded && !request.isRefused, "a request ends once")
            check(request.received == request.declared ?? request.received, "a request that ends has its length")
            requests[stream]?.hasEnded = true
            act(stream)
        case .streamReset(let stream, _):
            check(requests[stream] != nil, "a reset belongs to a request")
            end(stream)
        case .responseSent(let stream):
            check(requests[stream]?.hasAnswer ?? false, "what was sent was an answer")
            end(stream)
        case .outputDrained(let stream): check(session.takesMore(stream), "what drained takes more")
        case .goAway, .glitch: break
        case .connectionError: hasFailed = true
        }
    }

    private func begin(_ stream: Int32) {
        check(stream > lastStream && stream & 1 == 1, "streams come in order")
        check(requests[stream] == nil, "a stream has one request")
        lastStream = stream
        requests[stream] = Request()
    }

    private func end(_ stream: Int32) {
        requests[stream] = nil
        session.exchangeEnded(stream)
    }

    private func body(_ stream: Int32, _ count: Int) {
        guard var request = requests[stream] else { return check(false, "a body belongs to a request") }
        check(!request.hasEnded && !request.isRefused, "no body behind the end")
        request.received += UInt64(count)
        check(request.received <= request.declared ?? .max, "no more body than declared")
        requests[stream] = request
        if decide() & 1 == 0 { session.consume(stream, count) }
    }

    private func readHead(_ stream: Int32, _ endsStream: Bool, _ isExtendedConnect: Bool) {
        var buffer = ByteBuffer()
        var head = RequestHead(fieldCapacity: 24)
        let limits = HeadLimits(bytesMax: 700, fieldsMax: 16)
        if let error = session.readHead(stream, into: &buffer, as: &head, limits: limits) {
            if case .syntax = error { check(false, "what is written is a head") }
            requests[stream]?.isRefused = true
            return
        }
        switch head.framing {
        case .none: check(endsStream || isExtendedConnect, "a request without a body ends with its head")
        case .length(let count):
            check(!endsStream || count == 0, "a request that ends has no body")
            requests[stream]?.declared = count
        case .chunked: check(!endsStream, "a request that ends has no chunks")
        }
        requests[stream]?.hasEnded = endsStream
        check(head.method != .connect && !head.authority.isEmpty, "a request has an authority and is no CONNECT")
        check((head.upgrade != nil) == isExtendedConnect, "only a tunnel is an upgrade")
    }

    /// What an exchange may do at any time.
    private func act(_ stream: Int32) {
        guard acts, let request = requests[stream] else { return }
        switch decide() & 7 {
        case 1:
            let response = LocalResponse(
                status: 200, fields: Array("x: y\r\n".utf8), body: Array(repeating: 1, count: 700))
            if session.respond(stream, response, adding: [UInt8]().span, isHead: decide() & 1 == 0) {
                requests[stream]?.hasAnswer = true
            }
        case 2:
            guard !request.hasAnswer else { break }
            if respond(stream, "HTTP/1.1 200 OK\r\nConnection: x\r\nX: y\r\n\r\n") {
                requests[stream]?.hasAnswer = true
            }
        case 3: _ = respond(stream, "HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n")
        case 4:
            _ = session.write(stream, Array(repeating: 2, count: Int(decide()) * 4).span, endsStream: decide() & 1 == 0)
        case 5:
            session.reset(stream, code: 8)
            end(stream)
        case 6: end(stream)
        case 7: if decide() == 0 { session.goAway() } else { session.announceEnd() }
        default: break
        }
    }

    private func respond(_ stream: Int32, _ text: String) -> Bool {
        let bytes = Array(text.utf8)
        var head = ResponseHead(fieldCapacity: 8)
        _ = head.parse(bytes.span, limits: HeadLimits(bytesMax: 200, fieldsMax: 8))
        return session.respond(stream, head, bytes.span, adding: [UInt8]().span, endsStream: false)
    }

    /// What was written is whole frames, none of them too long, and GOAWAY is the last where the connection failed.
    private func readOutput() {
        var rest = output[...]
        var last: UInt8 = 0
        while !rest.isEmpty {
            guard rest.count >= 9 else { return check(hasFailed, "frames are whole") }
            let head = Array(rest.prefix(9))
            let length = Int(head[0]) << 16 | Int(head[1]) << 8 | Int(head[2])
            check(length <= 16_384 && head[3] <= 9, "frames are those of HTTP/2")
            guard rest.count >= 9 + length else { return check(hasFailed, "frames are whole") }
            last = head[3]
            rest = rest.dropFirst(9 + length)
        }
        check(!hasFailed || last == 7 || session.memoryHeld > Run.settings.memoryBytesMax / 2, "a failure is said")
    }
}
