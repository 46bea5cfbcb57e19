import HTTPModel

/// The bytes of a text; `\r\n` is one Character in Swift, so vectors are made of UTF-8 only.
func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

/// The text that a range of the bytes spells; bytes that are no UTF-8 show as replacement characters.
func text(_ bytes: [UInt8], _ range: ByteRange) -> String {
    String(decoding: bytes[Int(range.start)..<Int(range.start) + Int(range.count)], as: UTF8.self)
}

/// All that a request head says, as values that can be compared.
struct RequestFacts: Equatable {
    struct Line: Equatable {
        var name: String
        var value: String
        var known: KnownField
        var isDropped: Bool
        var hasUnusualName: Bool
    }
    var progress: HeadProgress
    var method: HTTPModel.Method
    var methodText: String
    var target: String
    var form: TargetForm
    var path: String
    var query: String
    var authority: String
    var minorVersion: UInt8
    var framing: BodyFraming
    var keepsAlive: Bool
    var expectsContinue: Bool
    var upgrade: String?
    var lines: [Line]

    init(_ head: borrowing RequestHead, _ progress: HeadProgress, of bytes: [UInt8]) {
        self.progress = progress
        method = head.method
        methodText = text(bytes, head.methodRange)
        target = text(bytes, head.target)
        form = head.form
        path = text(bytes, head.path)
        query = text(bytes, head.query)
        authority = text(bytes, head.authority)
        minorVersion = head.minorVersion
        framing = head.framing
        keepsAlive = head.keepsAlive
        expectsContinue = head.expectsContinue
        upgrade = head.upgrade.map { text(bytes, $0) }
        lines = fieldLines(head.fields, of: bytes)
    }

    subscript(name: String) -> String? { lines.first { $0.name.lowercased() == name }?.value }

    /// The names that are passed on.
    var kept: [String] { lines.filter { !$0.isDropped }.map(\.name) }
}

func fieldLines(_ fields: borrowing FieldTable, of bytes: [UInt8]) -> [RequestFacts.Line] {
    var lines: [RequestFacts.Line] = []
    for index in 0..<fields.count {
        let line = fields[index]
        lines.append(
            RequestFacts.Line(
                name: text(bytes, line.name), value: text(bytes, line.value), known: line.known,
                isDropped: line.isDropped, hasUnusualName: line.hasUnusualName))
    }
    return lines
}

let roomyLimits = HeadLimits(bytesMax: 65_535, fieldsMax: 100)

/// Parses `input` in the pieces that end at `cuts` and at its end, each time from a fresh copy of the bytes.
func parseRequest(
    _ input: [UInt8], cuts: some Sequence<Int>, limits: HeadLimits = roomyLimits, dropsHopByHop: Bool = false
) -> RequestFacts {
    var head = RequestHead()
    var progress = HeadProgress.incomplete
    for end in Array(cuts) + [input.count] {
        let prefix = Array(input[..<end])
        progress = head.parse(prefix.span, limits: limits)
        if progress != .incomplete { break }
    }
    if dropsHopByHop { head.markHopByHop(in: input.span) }
    return RequestFacts(head, progress, of: input)
}

/// Parses `input` at once, and checks that byte by byte and every cut in two give the same.
func parseRequest(
    _ input: [UInt8], limits: HeadLimits = roomyLimits, dropsHopByHop: Bool = false
) throws -> RequestFacts {
    let whole = parseRequest(input, cuts: [], limits: limits, dropsHopByHop: dropsHopByHop)
    if parseRequest(input, cuts: 0..<input.count, limits: limits, dropsHopByHop: dropsHopByHop) != whole {
        throw Disagreement(input: String(decoding: input, as: UTF8.self), cut: nil)
    }
    for cut in 0..<min(input.count, 2_000) {
        if parseRequest(input, cuts: [cut], limits: limits, dropsHopByHop: dropsHopByHop) != whole {
            throw Disagreement(input: String(decoding: input, as: UTF8.self), cut: cut)
        }
    }
    return whole
}

/// Two ways of delivering the same bytes gave two results; `cut` is nil for byte by byte.
struct Disagreement: Error {
    var input: String
    var cut: Int?
}

/// A GET of `/` over HTTP/1.1 with a Host and these lines.
func request(_ lines: String..., version: String = "1.1") -> [UInt8] {
    bytes("GET / HTTP/\(version)\r\nHost: a.example\r\n" + lines.map { $0 + "\r\n" }.joined() + "\r\n")
}

/// The error that a request is refused with, or nil if it is not.
func refusal(_ input: [UInt8], limits: HeadLimits = roomyLimits) throws -> RequestHeadError? {
    guard case .failed(let error) = try parseRequest(input, limits: limits).progress else { return nil }
    return error
}
