import HTTPModel
import Testing

/// RFC 9112 sections 4 and 6.3: response heads.
struct ResponseHeadTests {
    @Test func `reads a response`() throws {
        let input = response("HTTP/1.1 200 OK", "Content-Length: 5", "Set-Cookie: a=b", "X_Y:")
        let head = try parseResponse(input)
        #expect(head.progress == .complete(byteCount: input.count))
        #expect(head.status == 200)
        #expect(head.minorVersion == 1)
        #expect(head.keepsAlive)
        #expect(head.lines.map(\.known) == [.contentLength, .setCookie, .other])
        #expect(head.lines.map(\.value) == ["5", "a=b", ""])
        #expect(head.lines.last?.hasUnusualName == true)
    }

    @Test(arguments: [
        ("HTTP/1.1 100 ", 100), ("HTTP/1.1 599 x", 599), ("HTTP/1.1 204", 204), ("HTTP/1.0 404 Not\tFound \u{E9}", 404),
        ("HTTP/1.9 200 OK", 200),
    ])
    func `accepts a status line`(line: String, status: Int) throws {
        let head = try parseResponse(response(line))
        #expect(head.progress == .complete(byteCount: response(line).count))
        #expect(head.status == status)
        #expect(head.minorVersion == (line.contains("1.0") ? 0 : 1))
    }

    @Test(arguments: [
        ("HTTP/1.1 099 x", ResponseHeadError.invalidStatusLine), ("HTTP/1.1 600 x", .invalidStatusLine),
        ("HTTP/1.1 20 x", .invalidStatusLine), ("HTTP/1.1 2000 x", .invalidStatusLine),
        ("HTTP/1.1  200 x", .invalidStatusLine),
        ("HTTP/1.1\t200 x", .invalidStatusLine), ("HTTP/1.1 200\tx", .invalidStatusLine),
        ("http/1.1 200 x", .invalidStatusLine),
        ("HTTP/2.0 200 x", .unsupportedVersion), ("HTTP/0.9 200 x", .unsupportedVersion),
        ("ICY 200 OK", .invalidStatusLine),
        ("HTTP/1.1 +20 x", .invalidStatusLine), ("HTTP/1.10 200 x", .invalidStatusLine), ("<html>", .invalidStatusLine),
        (" HTTP/1.1 200 x", .invalidStatusLine), ("", .invalidStatusLine),
        ("HTTP/1.1 200 a\0b", .syntax(.invalidValue)),
        ("HTTP/1.1 200 a\u{7F}", .syntax(.invalidValue)), ("HTTP/1.1 200 a\rb", .syntax(.bareCarriageReturn)),
        ("HTTP/1.1 200 a\nb", .syntax(.bareLineFeed)), ("HTTP/1.1 200\n", .syntax(.bareLineFeed)),
        ("HTTP/1.1 200 \n", .syntax(.bareLineFeed)), ("HTTP/1.1\n", .syntax(.bareLineFeed)),
        ("\n", .syntax(.bareLineFeed)),
    ])
    func `refuses another status line`(line: String, error: ResponseHeadError) throws {
        #expect(try parseResponse(response(line)).progress == .failed(error))
        #expect(error.status == 502)
    }

    @Test(arguments: [
        ("A : b", ResponseHeadError.syntax(.blankBeforeColon)), (" A: b", .syntax(.foldedLine)),
        (": b", .syntax(.emptyName)),
        ("A: b\nC: d", .syntax(.bareLineFeed)), ("A: b\rC", .syntax(.bareCarriageReturn)),
        ("A: \0", .syntax(.invalidValue)),
        ("Content-Length: 5, 5", .invalidContentLength), ("Content-Length: -1", .invalidContentLength),
        ("Content-Length:", .invalidContentLength), ("Content-Length: 5\r\nContent-Length: 5", .duplicateContentLength),
        ("Content-Length: 5\r\nTransfer-Encoding: chunked", .bothLengthAndTransferEncoding),
        ("Transfer-Encoding: chunked\r\nContent-Length: 5", .bothLengthAndTransferEncoding),
        ("Transfer-Encoding: gzip, chunked", .unsupportedTransferEncoding),
        ("Transfer-Encoding: gzip", .unsupportedTransferEncoding),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", .unsupportedTransferEncoding),
        ("Transfer-Encoding: chunked, gzip", .unsupportedTransferEncoding),
        ("Transfer-Encoding:", .unsupportedTransferEncoding),
        ("Connection: content-length", .invalidConnection), ("Connection: Set-Cookie", .invalidConnection),
        ("Connection: a b", .invalidConnection),
    ])
    func `refuses fields that leave the message open to two readings`(lines: String, error: ResponseHeadError) throws {
        // As strict for answers without a body: what the head says must still be one thing.
        for status in ["200", "204", "304"] {
            #expect(try parseResponse(response("HTTP/1.1 \(status) x", lines)).progress == .failed(error))
        }
    }

    @Test func `refuses chunks before HTTP 1 point 1`() throws {
        let input = response("HTTP/1.0 200 OK", "Transfer-Encoding: chunked")
        #expect(try parseResponse(input).progress == .failed(.transferEncodingBeforeHTTP11))
    }

    @Test func `frames a body by status, method and fields`() throws {
        let length = "Content-Length: 5"
        let chunked = "Transfer-Encoding: Chunked"
        for status in 100...599 {
            let isBodiless = status < 200 || status == 204 || status == 304
            for (lines, framing) in [([length], ResponseFraming.length(5)), ([chunked], .chunked), ([], .untilClose)] {
                let facts = parseResponse(response(["HTTP/1.1 \(status) x"] + lines), cuts: [])
                #expect(facts.framings[.get] == (isBodiless ? ResponseFraming.none : framing))
                #expect(facts.framings[.post] == facts.framings[.get])
                #expect(facts.framings[.head] == ResponseFraming.none)
            }
        }
    }

    @Test(arguments: [
        ("HTTP/1.1 200 x", "X: y", true), ("HTTP/1.1 200 x", "Connection: close", false),
        ("HTTP/1.0 200 x", "X: y", false), ("HTTP/1.0 200 x", "Connection: Keep-Alive", true),
        ("HTTP/1.1 204 x", "Content-Length: 5", false), ("HTTP/1.1 204 x", "Content-Length: 0", true),
        ("HTTP/1.1 204 x", "Transfer-Encoding: chunked", false), ("HTTP/1.1 103 x", "Content-Length: 1", false),
        ("HTTP/1.1 304 x", "Content-Length: 5", true),
    ])
    func `keeps a connection only if nothing unread can be left on it`(line: String, field: String, keeps: Bool) throws
    {
        #expect(try parseResponse(response(line, field)).keepsAlive == keeps)
    }

    @Test func `drops what concerns the upstream's connection`() throws {
        let lines = [
            "Connection: x-a", "X-A: 1", "Keep-Alive: 1", "Transfer-Encoding: chunked", "Trailer: x", "Upgrade: x",
            "Proxy-Authenticate: x", "Set-Cookie: a=b",
        ]
        #expect(try parseResponse(response(["HTTP/1.1 200 x"] + lines), dropsHopByHop: true).kept == ["Set-Cookie"])
        let length = ["Content-Length: 0", "X: y"]
        #expect(try parseResponse(response(["HTTP/1.1 204 x"] + length), dropsHopByHop: true).kept == ["X"])
        #expect(
            try parseResponse(response(["HTTP/1.1 304 x"] + length), dropsHopByHop: true).kept == [
                "Content-Length", "X",
            ])
    }

    @Test func `knows an upgrade`() throws {
        let lines = ["Upgrade: websocket", "Connection: Upgrade"]
        #expect(try parseResponse(response(["HTTP/1.1 101 x"] + lines)).upgrade == "websocket")
        #expect(try parseResponse(response(["HTTP/1.0 101 x"] + lines)).upgrade == nil)
        #expect(try parseResponse(response("HTTP/1.1 101 x", "Upgrade: a")).upgrade == nil)
    }

    @Test func `R44 holds to its limits on both sides`() throws {
        let input = response("HTTP/1.1 200 x", "A: b", "C: d")
        for (bytesMax, fieldsMax, progress) in [
            (input.count, 2, ResponseHeadProgress.complete(byteCount: input.count)),
            (input.count - 1, 2, .failed(.headTooLong)),
            (10, 2, .failed(.headTooLong)), (input.count, 1, .failed(.tooManyFields)),
        ] {
            #expect(
                try parseResponse(input, limits: HeadLimits(bytesMax: bytesMax, fieldsMax: fieldsMax)).progress
                    == progress)
        }
    }

    @Test func `forgets everything on reset`() {
        let first = response(
            "HTTP/1.0 404 x", "Connection: close, upgrade, keep-alive", "Upgrade: a", "Content-Length: 5")
        var head = ResponseHead()
        #expect(head.parse(first.span, limits: roomyLimits) == .complete(byteCount: first.count))
        for second in [
            response("HTTP/1.1 200 x", "Transfer-Encoding: chunked", "Upgrade: b"), response("HTTP/1.1 200"),
        ] {
            head.reset()
            let progress = head.parse(second.span, limits: roomyLimits)
            #expect(ResponseFacts(head, progress, of: second) == parseResponse(second, cuts: []))
        }
    }
}

/// All that a response head says, as values that can be compared.
struct ResponseFacts: Equatable {
    var progress: ResponseHeadProgress
    var status: Int
    var minorVersion: UInt8
    var keepsAlive: Bool
    var upgrade: String?
    var framings: [HTTPModel.Method: ResponseFraming] = [:]
    var lines: [RequestFacts.Line]

    init(_ head: borrowing ResponseHead, _ progress: ResponseHeadProgress, of bytes: [UInt8]) {
        self.progress = progress
        status = head.status
        minorVersion = head.minorVersion
        keepsAlive = head.keepsAlive
        upgrade = head.upgrade.map { text(bytes, $0) }
        lines = fieldLines(head.fields, of: bytes)
        for method in HTTPModel.Method.allCases { framings[method] = head.framing(requestMethod: method) }
    }

    /// The names that are passed on.
    var kept: [String] { lines.filter { !$0.isDropped }.map(\.name) }
}

private func response(_ lines: String...) -> [UInt8] { response(lines) }

private func response(_ lines: [String]) -> [UInt8] { bytes(lines.map { $0 + "\r\n" }.joined() + "\r\n") }

private func parseResponse(
    _ input: [UInt8], cuts: some Sequence<Int>, limits: HeadLimits = roomyLimits, dropsHopByHop: Bool = false
) -> ResponseFacts {
    var head = ResponseHead()
    var progress = ResponseHeadProgress.incomplete
    for end in Array(cuts) + [input.count] {
        let prefix = Array(input[..<end])
        progress = head.parse(prefix.span, limits: limits)
        if progress != .incomplete { break }
    }
    if dropsHopByHop { head.markHopByHop(in: input.span) }
    return ResponseFacts(head, progress, of: input)
}

/// Parses `input` at once, and checks that byte by byte and every cut in two give the same.
private func parseResponse(
    _ input: [UInt8], limits: HeadLimits = roomyLimits, dropsHopByHop: Bool = false
) throws -> ResponseFacts {
    let whole = parseResponse(input, cuts: [], limits: limits, dropsHopByHop: dropsHopByHop)
    if parseResponse(input, cuts: 0..<input.count, limits: limits, dropsHopByHop: dropsHopByHop) != whole {
        throw Disagreement(input: String(decoding: input, as: UTF8.self), cut: nil)
    }
    for cut in 0..<input.count
    where parseResponse(input, cuts: [cut], limits: limits, dropsHopByHop: dropsHopByHop) != whole {
        throw Disagreement(input: String(decoding: input, as: UTF8.self), cut: cut)
    }
    return whole
}
