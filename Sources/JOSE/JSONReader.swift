/// Why a text is no JSON value that we take.
public struct JSONError: Error, Equatable, CustomStringConvertible {
    /// What is wrong.
    public enum Problem: String, Sendable {
        case tooLong = "longer than permitted"
        case tooDeep = "nested too deeply"
        case unexpectedEnd = "ends too early"
        case unexpectedByte = "unexpected byte"
        case invalidNumber = "not a number"
        case invalidEscape = "invalid escape"
        case loneSurrogate = "half of a surrogate pair"
        case invalidUTF8 = "invalid UTF-8"
        case controlCharacter = "unescaped control character"
        case duplicateName = "member name occurs twice"
        case trailingBytes = "bytes after the value"
    }

    /// Bytes from the start of the text.
    public let offset: Int
    /// What is wrong there.
    public let problem: Problem

    /// Memberwise.
    public init(offset: Int, problem: Problem) {
        self.offset = offset
        self.problem = problem
    }

    /// Problem and place; nothing of the text itself.
    public var description: String { "\(problem.rawValue) at byte \(offset)" }
}

extension JSONValue {
    /// Values nested within each other.
    public static let depthMax = 32

    /// Reads one JSON text (RFC 8259), as UTF-8 without a byte order mark and with nothing after the value.
    ///
    /// Stricter than the RFC asks where two readers could disagree: a member name that occurs twice (also in a
    /// canonically equivalent spelling) and half a surrogate pair are errors, and so is nesting beyond `depthMax`.
    public init(parsing bytes: [UInt8], bytesMax: Int = 1 << 20) throws(JSONError) {
        guard bytes.count <= bytesMax else { throw JSONError(offset: bytesMax, problem: .tooLong) }
        var reader = JSONReader(bytes: bytes)
        self = try reader.wholeText()
    }

    /// The same, over bytes that are borrowed.
    public init(parsing bytes: Span<UInt8>, bytesMax: Int = 1 << 20) throws(JSONError) {
        guard bytes.count <= bytesMax else { throw JSONError(offset: bytesMax, problem: .tooLong) }
        self = try JSONValue(parsing: [UInt8](copying: bytes), bytesMax: bytesMax)
    }
}

extension [UInt8] {
    /// A copy of borrowed bytes.
    package init(copying bytes: Span<UInt8>) {
        self = []
        reserveCapacity(bytes.count)
        for index in bytes.indices { append(bytes[index]) }
    }
}

/// A recursive descent over the grammar of RFC 8259 section 2; the recursion is bounded by `JSONValue.depthMax`.
struct JSONReader {
    private let bytes: [UInt8]
    private var position = 0

    init(bytes: [UInt8]) { self.bytes = bytes }

    mutating func wholeText() throws(JSONError) -> JSONValue {
        let value = try value(depth: 0)
        skipSpace()
        guard position == bytes.count else { throw error(.trailingBytes) }
        return value
    }

    private mutating func value(depth: Int) throws(JSONError) -> JSONValue {
        skipSpace()
        guard position < bytes.count else { throw error(.unexpectedEnd) }
        switch bytes[position] {
        case UInt8(ascii: "{"): return .object(try object(depth: depth + 1))
        case UInt8(ascii: "["): return .array(try array(depth: depth + 1))
        case UInt8(ascii: "\""): return .string(try string())
        case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"): return .number(try number())
        case UInt8(ascii: "t"): try word("true"); return .bool(true)
        case UInt8(ascii: "f"): try word("false"); return .bool(false)
        case UInt8(ascii: "n"): try word("null"); return .null
        default: throw error(.unexpectedByte)
        }
    }

    private mutating func object(depth: Int) throws(JSONError) -> JSONObject {
        guard depth <= JSONValue.depthMax else { throw error(.tooDeep) }
        position += 1
        skipSpace()
        if skip(UInt8(ascii: "}")) { return JSONObject() }
        var members: [JSONObject.Member] = []
        var names: Set<String> = []
        while true {
            skipSpace()
            let start = position
            guard position < bytes.count else { throw error(.unexpectedEnd) }
            guard bytes[position] == UInt8(ascii: "\"") else { throw error(.unexpectedByte) }
            let name = try string()
            guard names.insert(name).inserted else { throw JSONError(offset: start, problem: .duplicateName) }
            skipSpace()
            try expect(UInt8(ascii: ":"))
            members.append(JSONObject.Member(name: name, value: try value(depth: depth)))
            skipSpace()
            if skip(UInt8(ascii: ",")) { continue }
            try expect(UInt8(ascii: "}"))
            return JSONObject(distinct: members)
        }
    }

    private mutating func array(depth: Int) throws(JSONError) -> [JSONValue] {
        guard depth <= JSONValue.depthMax else { throw error(.tooDeep) }
        position += 1
        skipSpace()
        if skip(UInt8(ascii: "]")) { return [] }
        var elements: [JSONValue] = []
        while true {
            elements.append(try value(depth: depth))
            skipSpace()
            if skip(UInt8(ascii: ",")) { continue }
            try expect(UInt8(ascii: "]"))
            return elements
        }
    }

    private mutating func number() throws(JSONError) -> JSONNumber {
        let start = position
        _ = skip(UInt8(ascii: "-"))
        if !skip(UInt8(ascii: "0")) { try digits() }
        if skip(UInt8(ascii: ".")) { try digits() }
        if skip(UInt8(ascii: "e")) || skip(UInt8(ascii: "E")) {
            if !skip(UInt8(ascii: "+")) { _ = skip(UInt8(ascii: "-")) }
            try digits()
        }
        // `01` would leave a digit that the caller takes for a missing comma; say what it is.
        if position < bytes.count, isDigit(bytes[position]) { throw error(.invalidNumber) }
        return JSONNumber(checked: String(decoding: bytes[start..<position], as: UTF8.self))
    }

    private mutating func digits() throws(JSONError) {
        let start = position
        while position < bytes.count, isDigit(bytes[position]) { position += 1 }
        guard position > start else { throw error(position == bytes.count ? .unexpectedEnd : .invalidNumber) }
    }

    private mutating func string() throws(JSONError) -> String {
        let start = position
        position += 1
        var text: [UInt8] = []
        var plainStart = position
        while true {
            guard position < bytes.count else { throw error(.unexpectedEnd) }
            switch bytes[position] {
            case UInt8(ascii: "\""):
                text += bytes[plainStart..<position]
                position += 1
                guard let string = String(validating: text, as: UTF8.self) else {
                    throw JSONError(offset: start, problem: .invalidUTF8)
                }
                return string
            case UInt8(ascii: "\\"):
                text += bytes[plainStart..<position]
                text += UTF8.encode(try escape()).map { Array($0) } ?? []
                plainStart = position
            case 0..<0x20: throw error(.controlCharacter)
            default: position += 1
            }
        }
    }

    private mutating func escape() throws(JSONError) -> Unicode.Scalar {
        let start = position
        position += 1
        guard position < bytes.count else { throw error(.unexpectedEnd) }
        let letter = bytes[position]
        position += 1
        switch letter {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): return Unicode.Scalar(letter)
        case UInt8(ascii: "b"): return "\u{8}"
        case UInt8(ascii: "f"): return "\u{C}"
        case UInt8(ascii: "n"): return "\n"
        case UInt8(ascii: "r"): return "\r"
        case UInt8(ascii: "t"): return "\t"
        case UInt8(ascii: "u"): return try unicodeEscape(start: start)
        default: throw JSONError(offset: start, problem: .invalidEscape)
        }
    }

    /// What follows `\u`: four digits, and a second escape where they are the first half of a pair.
    private mutating func unicodeEscape(start: Int) throws(JSONError) -> Unicode.Scalar {
        let first = try codeUnit(start: start)
        if let scalar = Unicode.Scalar(first) { return scalar }
        guard first < 0xDC00, skip(UInt8(ascii: "\\")), skip(UInt8(ascii: "u")) else {
            throw JSONError(offset: start, problem: .loneSurrogate)
        }
        let second = try codeUnit(start: start)
        guard (0xDC00...0xDFFF).contains(second),
            let scalar = Unicode.Scalar(0x10000 + (UInt32(first) - 0xD800) << 10 + (UInt32(second) - 0xDC00))
        else { throw JSONError(offset: start, problem: .loneSurrogate) }
        return scalar
    }

    private mutating func codeUnit(start: Int) throws(JSONError) -> UInt16 {
        var value: UInt16 = 0
        for _ in 0..<4 {
            guard position < bytes.count else { throw error(.unexpectedEnd) }
            guard let digit = hexDigit(bytes[position]) else {
                throw JSONError(offset: start, problem: .invalidEscape)
            }
            value = value << 4 | digit
            position += 1
        }
        return value
    }

    private mutating func word(_ text: StaticString) throws(JSONError) {
        for byte in text.description.utf8 { try expect(byte) }
    }

    private mutating func expect(_ byte: UInt8) throws(JSONError) {
        guard position < bytes.count else { throw error(.unexpectedEnd) }
        guard bytes[position] == byte else { throw error(.unexpectedByte) }
        position += 1
    }

    private mutating func skip(_ byte: UInt8) -> Bool {
        guard position < bytes.count, bytes[position] == byte else { return false }
        position += 1
        return true
    }

    private mutating func skipSpace() {
        while position < bytes.count {
            switch bytes[position] {
            case 0x20, 0x09, 0x0A, 0x0D: position += 1
            default: return
            }
        }
    }

    private func isDigit(_ byte: UInt8) -> Bool { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) }

    private func hexDigit(_ byte: UInt8) -> UInt16? {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): UInt16(byte - UInt8(ascii: "0"))
        case UInt8(ascii: "a")...UInt8(ascii: "f"): UInt16(byte - UInt8(ascii: "a") + 10)
        case UInt8(ascii: "A")...UInt8(ascii: "F"): UInt16(byte - UInt8(ascii: "A") + 10)
        default: nil
        }
    }

    private func error(_ problem: JSONError.Problem) -> JSONError { JSONError(offset: position, problem: problem) }
}
