import HTTPModel
import Testing

@testable import ProxyCore

/// A connection without sockets: feeds bytes to a session, notes its events and keeps what it writes.
final class HTTP2Driver {
    let session: HTTP2Session
    /// Each event as a line; parts of a body that follow each other are one.
    private(set) var log: [String] = []
    private(set) var output: [UInt8] = []
    var now: UInt64 = 0
    /// Exchanges end with their stream, and bodies are consumed as they come.
    var consumes = true
    var endsExchanges = true
    var limits = HeadLimits(bytesMax: 32_768, fieldsMax: 128)

    init(_ settings: HTTP2Settings = HTTP2Settings()) throws {
        session = try #require(HTTP2Session(settings, at: 0, spare: HTTP2SpareMemory()))
    }

    /// Feeds the bytes, cut at these offsets.
    func feed(_ bytes: [UInt8], cuts: [Int] = []) {
        var start = 0
        for end in cuts.filter({ $0 > 0 && $0 < bytes.count }) + [bytes.count] {
            while start < end {
                let part = Array(bytes[start..<end])
                let taken = session.receive(part.span, at: now)
                drain(part)
                start += taken
            }
        }
        produce()
    }

    func produce() {
        var buffer = ByteBuffer()
        while session.produce(into: &buffer, max: 65_536) > 0 { drain([]) }
        for index in 0..<buffer.count { output.append(buffer.bytes[index]) }
        drain([])
    }

    /// An answer made here.
    func answer(_ stream: Int32, _ response: LocalResponse, adding lines: String = "", isHead: Bool = false) -> Bool {
        session.respond(stream, response, adding: latin1(lines).span, isHead: isHead)
    }

    /// Bytes of an answer's body.
    func write(_ stream: Int32, _ bytes: [UInt8], ends: Bool) -> Bool {
        session.write(stream, bytes.span, endsStream: ends)
    }

    var frames: [Frame] { Frames.split(output) }

    /// Streams reset and connections ended by the session.
    var ends: [String] {
        frames.compactMap { frame in
            switch frame.type {
            case Frames.reset: "RST \(frame.stream) \(frame.code)"
            case Frames.goAway: "GOAWAY \(frame.goAwayCode)"
            default: nil
            }
        }
    }

    private func drain(_ bytes: [UInt8]) {
        while let event = session.nextEvent() { note(event, bytes) }
    }

    private func note(_ event: HTTP2Event, _ bytes: [UInt8]) {
        switch event {
        case .requestHead(let stream, let endsStream, let isExtendedConnect):
            readHead(stream, endsStream, isExtendedConnect)
        case .refused(let stream, let status):
            log.append("refused \(stream) \(status)")
        case .data(let stream, let range):
            noteBody(stream, Array(bytes[range]))
            if consumes { session.consume(stream, range.count) }
        case .trailers(let stream):
            log.append("trailers \(stream) \(session.headBytes.withBytes { lines($0) })")
        case .lastByte(let stream, let byte):
            noteBody(stream, [byte])
            if consumes { session.consume(stream, 1) }
        case .endOfRequest(let stream): log.append("end \(stream)")
        case .streamReset(let stream, let code):
            log.append("reset \(stream) \(code)")
            if endsExchanges { session.exchangeEnded(stream) }
        case .responseSent(let stream):
            log.append("sent \(stream)")
            if endsExchanges { session.exchangeEnded(stream) }
        case .outputDrained(let stream): log.append("drained \(stream)")
        case .goAway(let code): log.append("goaway \(code)")
        case .connectionError(let code): log.append("error \(code)")
        case .glitch(let glitch): log.append("glitch \(glitch)")
        }
    }

    private func readHead(_ stream: Int32, _ endsStream: Bool, _ isExtendedConnect: Bool) {
        var buffer = ByteBuffer()
        var head = RequestHead()
        if let error = session.readHead(stream, into: &buffer, as: &head, limits: limits) {
            log.append("answer \(stream) \(error.status)")
            return
        }
        let kind = isExtendedConnect ? "tunnel" : endsStream ? "whole" : "head"
        log.append("\(kind) \(stream) \(lines(buffer.bytes))")
    }

    private func noteBody(_ stream: Int32, _ bytes: [UInt8]) {
        let prefix = "data \(stream) "
        let text = bytes.map { String(UnicodeScalar($0)) }.joined()
        if let last = log.last, last.hasPrefix(prefix) {
            log[log.count - 1] = last + text
        } else {
            log.append(prefix + text)
        }
    }

    /// Lines, each ended by a bar instead of CRLF.
    private func lines(_ bytes: Span<UInt8>) -> String {
        var text = ""
        for index in 0..<bytes.count {
            switch bytes[index] {
            case 0x0D: text += "|"
            case 0x0A: break
            default: text += String(UnicodeScalar(bytes[index]))
            }
        }
        return text
    }
}

/// What a session makes of the bytes behind the connection's beginning, which must not depend on how they are cut.
func outcome(
    _ bytes: [UInt8], settings: HTTP2Settings = HTTP2Settings(), hello: [UInt8] = Frames.hello
) throws -> [String] {
    func run(_ cuts: [Int]) throws -> [String] {
        let driver = try HTTP2Driver(settings)
        driver.feed(hello + bytes, cuts: cuts)
        return driver.log + driver.ends
    }
    let whole = try run([])
    let all = hello + bytes
    #expect(try run(Array(0..<all.count)) == whole, "byte by byte")
    // A long input is cut at some of its offsets only.
    for cut in stride(from: 1, to: all.count, by: max(1, all.count / 200)) {
        #expect(try run([cut]) == whole, "cut at \(cut)")
    }
    return whole
}

/// A request that is always right, to be sent behind one that is wrong.
let get: Fields = [(":method", "GET"), (":scheme", "https"), (":path", "/"), (":authority", "a.test")]
let post: Fields = [(":method", "POST"), (":scheme", "https"), (":path", "/"), (":authority", "a.test")]
let goodHead = "whole 9 GET / HTTP/1.1|host: a.test||"

/// What becomes of one stream, number 1; the connection must live on and serve the next request.
func streamOutcome(_ bytes: [UInt8], settings: HTTP2Settings = HTTP2Settings()) throws -> [String] {
    var lines = try outcome(bytes + Frames.request(9, get), settings: settings)
    let good = try #require(lines.firstIndex(of: goodHead), "the next request is served: \(lines)")
    lines.remove(at: good)
    return lines
}

let malformed = ["glitch malformed", "RST 1 1"]
