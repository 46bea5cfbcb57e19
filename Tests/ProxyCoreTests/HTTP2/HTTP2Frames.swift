/// A client's frames, made by hand so that they may be wrong.
enum Frames {
    static let preface = Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8)
    static let data: UInt8 = 0
    static let headers: UInt8 = 1
    static let priority: UInt8 = 2
    static let reset: UInt8 = 3
    static let settings: UInt8 = 4
    static let pushPromise: UInt8 = 5
    static let ping: UInt8 = 6
    static let goAway: UInt8 = 7
    static let windowUpdate: UInt8 = 8
    static let continuation: UInt8 = 9
    static let endStream: UInt8 = 1
    static let acknowledge: UInt8 = 1
    static let endHeaders: UInt8 = 4
    static let padded: UInt8 = 8
    static let hasPriority: UInt8 = 32

    /// Nine bytes of head and the payload; `length` lies about it.
    static func frame(_ type: UInt8, flags: UInt8 = 0, stream: Int = 0, _ payload: [UInt8] = [], length: Int? = nil)
        -> [UInt8]
    {
        let count = length ?? payload.count
        return [UInt8(count >> 16 & 255), UInt8(count >> 8 & 255), UInt8(count & 255), type, flags]
            + number(UInt32(stream)) + payload
    }

    static func number(_ value: UInt32) -> [UInt8] {
        [UInt8(value >> 24), UInt8(value >> 16 & 255), UInt8(value >> 8 & 255), UInt8(value & 255)]
    }

    static func request(_ stream: Int, _ fields: Fields, ends: Bool = true, encoding: HPACK.Form = .plain) -> [UInt8] {
        frame(headers, flags: endHeaders | (ends ? endStream : 0), stream: stream, HPACK.encode(fields, encoding))
    }

    static func body(_ stream: Int, _ text: String, ends: Bool = false) -> [UInt8] {
        frame(data, flags: ends ? endStream : 0, stream: stream, Array(text.utf8))
    }

    static func setting(_ identifier: UInt16, _ value: UInt32) -> [UInt8] {
        [UInt8(identifier >> 8), UInt8(identifier & 255)] + number(value)
    }

    static func windowUpdate(_ stream: Int, _ increment: UInt32) -> [UInt8] {
        frame(windowUpdate, stream: stream, number(increment))
    }

    static func reset(_ stream: Int, _ code: UInt32 = 8) -> [UInt8] { frame(reset, stream: stream, number(code)) }

    /// The connection's beginning.
    static let hello = preface + frame(settings)

    /// Splits what the server wrote.
    static func split(_ bytes: [UInt8]) -> [Frame] {
        var frames: [Frame] = []
        var rest = bytes[...]
        while rest.count >= 9 {
            let head = Array(rest.prefix(9))
            let length = Int(head[0]) << 16 | Int(head[1]) << 8 | Int(head[2])
            let stream = head[5...8].reduce(0) { $0 << 8 | Int($1) }
            frames.append(
                Frame(type: head[3], flags: head[4], stream: stream, payload: Array(rest.dropFirst(9).prefix(length))))
            rest = rest.dropFirst(9 + length)
        }
        return frames
    }
}

struct Frame: Equatable {
    var type: UInt8
    var flags: UInt8
    var stream: Int
    var payload: [UInt8]

    var ends: Bool { flags & Frames.endStream != 0 }
    /// The last four bytes of what holds an error code or a window.
    var code: UInt32 { payload.suffix(4).reduce(0) { $0 << 8 | UInt32($1) } }
    /// The error code of GOAWAY.
    var goAwayCode: UInt32 { payload.dropFirst(4).prefix(4).reduce(0) { $0 << 8 | UInt32($1) } }
    var lastStream: UInt32 { payload.prefix(4).reduce(0) { $0 << 8 | UInt32($1) } }
}

/// Names and values, each character of a text standing for one byte.
typealias Fields = [(String, String)]

func latin1(_ text: String) -> [UInt8] { text.unicodeScalars.map { UInt8(truncatingIfNeeded: $0.value) } }

/// Header compression as far as tests need it.
enum HPACK {
    enum Form: CaseIterable { case plain, huffman, neverIndexed, indexed }

    static func encode(_ fields: Fields, _ form: Form = .plain) -> [UInt8] {
        fields.flatMap { literal(latin1($0.0), latin1($0.1), form) }
    }

    /// A literal with a new name.
    static func literal(_ name: [UInt8], _ value: [UInt8], _ form: Form = .plain) -> [UInt8] {
        let first: UInt8
        switch form {
        case .plain, .huffman: first = 0x00
        case .neverIndexed: first = 0x10
        case .indexed: first = 0x40
        }
        return [first] + string(name, isHuffman: form == .huffman) + string(value, isHuffman: form == .huffman)
    }

    static func string(_ bytes: [UInt8], isHuffman: Bool = false) -> [UInt8] {
        let coded = isHuffman ? HTTP2Huffman.encode(bytes) : bytes
        return integer(coded.count, prefix: 7, first: isHuffman ? 0x80 : 0) + coded
    }

    static func integer(_ value: Int, prefix: Int, first: UInt8 = 0) -> [UInt8] {
        let limit = 1 << prefix - 1
        guard value >= limit else { return [first | UInt8(value)] }
        var rest = value - limit
        var result = [first | UInt8(limit)]
        while rest >= 128 {
            result.append(UInt8(rest & 127 | 128))
            rest >>= 7
        }
        return result + [UInt8(rest)]
    }

    /// Reads the server's field sections, one after the other.
    struct Decoder {
        private var dynamic: [(String, String)] = []
        private var position = 0
        private var bytes: [UInt8] = []

        mutating func decode(_ section: [UInt8]) -> [String] {
            bytes = section
            position = 0
            var fields: [String] = []
            while position < bytes.count {
                let first = bytes[position]
                var field: (String, String)
                if first & 0x80 != 0 {
                    field = entry(integer(7))
                } else if first & 0xC0 == 0x40 {
                    field = literal(6)
                    dynamic.insert(field, at: 0)
                } else if first & 0xE0 == 0x20 {
                    _ = integer(5)
                    continue
                } else {
                    field = literal(4)
                }
                fields.append("\(field.0): \(field.1)")
            }
            return fields
        }

        private mutating func literal(_ prefix: Int) -> (String, String) {
            let index = integer(prefix)
            let name = index == 0 ? string() : entry(index).0
            return (name, string())
        }

        private mutating func integer(_ prefix: Int) -> Int {
            let limit = 1 << prefix - 1
            var value = Int(bytes[position]) & limit
            position += 1
            guard value == limit else { return value }
            var shift = 0
            while true {
                let byte = bytes[position]
                position += 1
                value += Int(byte & 127) << shift
                shift += 7
                if byte & 128 == 0 { return value }
            }
        }

        private mutating func string() -> String {
            let isHuffman = bytes[position] & 0x80 != 0
            let count = integer(7)
            let part = Array(bytes[position..<position + count])
            position += count
            return String(decoding: isHuffman ? HTTP2Huffman.decode(part) : part, as: UTF8.self)
        }

        private func entry(_ index: Int) -> (String, String) {
            index <= HPACK.table.count ? HPACK.table[index - 1] : dynamic[index - HPACK.table.count - 1]
        }
    }

    /// RFC 7541 Appendix A.
    static let table: Fields = [
        (":authority", ""), (":method", "GET"), (":method", "POST"), (":path", "/"), (":path", "/index.html"),
        (":scheme", "http"), (":scheme", "https"), (":status", "200"), (":status", "204"), (":status", "206"),
        (":status", "304"), (":status", "400"), (":status", "404"), (":status", "500"), ("accept-charset", ""),
        ("accept-encoding", "gzip, deflate"), ("accept-language", ""), ("accept-ranges", ""), ("accept", ""),
        ("access-control-allow-origin", ""), ("age", ""), ("allow", ""), ("authorization", ""), ("cache-control", ""),
        ("content-disposition", ""), ("content-encoding", ""), ("content-language", ""), ("content-length", ""),
        ("content-location", ""), ("content-range", ""), ("content-type", ""), ("cookie", ""), ("date", ""),
        ("etag", ""), ("expect", ""), ("expires", ""), ("from", ""), ("host", ""), ("if-match", ""),
        ("if-modified-since", ""), ("if-none-match", ""), ("if-range", ""), ("if-unmodified-since", ""),
        ("last-modified", ""), ("link", ""), ("location", ""), ("max-forwards", ""), ("proxy-authenticate", ""),
        ("proxy-authorization", ""), ("range", ""), ("referer", ""), ("refresh", ""), ("retry-after", ""),
        ("server", ""), ("set-cookie", ""), ("strict-transport-security", ""), ("transfer-encoding", ""),
        ("user-agent", ""), ("vary", ""), ("via", ""), ("www-authenticate", ""),
    ]
}
