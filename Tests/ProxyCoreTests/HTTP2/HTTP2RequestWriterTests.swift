import HTTPModel
import Testing

@testable import ProxyCore

/// R41: whatever the fields hold, what is written is one grammatical head with exactly these fields, or nothing.
struct HTTP2RequestWriterTests {
    typealias Section = [(name: [UInt8], value: [UInt8])]

    private static let base: Section = get.map { (latin1($0.0), latin1($0.1)) }

    private static func encode(_ fields: Section) -> [UInt8] {
        var section: [UInt8] = []
        for field in fields {
            for length in [field.name.count, field.value.count] {
                section += [UInt8(length & 255), UInt8(length >> 8 & 255), 0, 0]
            }
            section += field.name
            section += field.value
        }
        return section
    }

    /// The slow reference: the lines that the fields stand for.
    private static func lines(_ fields: Section) -> [[UInt8]] {
        var lines: [[UInt8]] = []
        let authority = fields.first { $0.name == latin1(":authority") }
        if let authority { lines.append(latin1("host: ") + authority.value) }
        let crumbs = fields.filter { $0.name == latin1("cookie") }.map(\.value)
        var hasCookie = false
        for field in fields where field.name.first != UInt8(ascii: ":") {
            if field.name == latin1("host"), authority != nil { continue }
            if field.name == latin1("cookie") {
                if hasCookie { continue }
                hasCookie = true
                let kept = crumbs.filter { !$0.isEmpty }
                lines.append(latin1("cookie: ") + Array(kept.joined(separator: latin1("; "))))
                continue
            }
            lines.append(field.name + latin1(": ") + field.value)
        }
        return lines
    }

    /// Checks one section, and says whether it was written.
    @discardableResult
    private func check(_ fields: Section, endsStream: Bool = true) -> Bool {
        let section = Self.encode(fields)
        var output = ByteBuffer()
        let reading = HTTP2RequestWriter.write(
            section.span, endsStream: endsStream, allowsExtendedConnect: false, into: &output)
        guard case .written = reading else {
            let isEmpty = output.isEmpty
            #expect(isEmpty)
            return false
        }
        var bytes: [UInt8] = []
        for index in 0..<output.count { bytes.append(output.bytes[index]) }
        var wanted: [[UInt8]] = []
        func value(_ name: String) -> [UInt8] { fields.first { $0.name == latin1(name) }?.value ?? [] }
        wanted.append(value(":method") + latin1(" ") + value(":path") + latin1(" HTTP/1.1"))
        wanted += Self.lines(fields)
        let hasLength = fields.contains { $0.name == latin1("content-length") }
        if !endsStream, !hasLength { wanted.append(latin1("transfer-encoding: chunked")) }
        #expect(bytes == Array(wanted.joined(separator: latin1("\r\n"))) + latin1("\r\n\r\n"))

        // No line end, blank or colon but those that were meant.
        #expect(
            bytes.filter { $0 == 0x0D }.count == wanted.count + 1
                && bytes.filter { $0 == 0x0A }.count == wanted.count + 1)
        #expect(wanted[0].filter { $0 == 0x20 }.count == 2)
        var head = RequestHead()
        switch head.parse(bytes.span, limits: HeadLimits(bytesMax: 60_000, fieldsMax: 128)) {
        case .incomplete: Issue.record("the head goes on")
        case .failed(let error):
            if case .syntax = error { Issue.record("no head: \(error)") }
        case .complete(let byteCount):
            #expect(byteCount == bytes.count && head.fields.count == wanted.count - 1)
            for index in 0..<head.fields.count {
                let line = head.fields[index]
                let text = bytes[line.name.range] + latin1(": ") + bytes[line.value.range]
                #expect(Array(text) == wanted[index + 1])
            }
        }
        return true
    }

    private static let token = Set(latin1("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"))
    private static let capitals = Set(latin1("ABCDEFGHIJKLMNOPQRSTUVWXYZ"))

    @Test func `every byte at every position of a name`() {
        for byte in UInt8.min...UInt8.max {
            for position in 0...3 {
                var name = latin1("abc")
                name.insert(byte, at: position)
                let isWritten = check(Self.base + [(name, latin1("v"))])
                #expect(isWritten == Self.token.contains(byte), "\(byte) at \(position)")
            }
            #expect(check(Self.base + [([byte], [])]) == Self.token.contains(byte))
        }
    }

    @Test func `every byte at every position of a value`() {
        for byte in UInt8.min...UInt8.max {
            let isInner = byte == 9 || byte >= 0x20 && byte != 0x7F
            for position in 0...3 {
                var value = latin1("abc")
                value.insert(byte, at: position)
                let isEdge = position == 0 || position == 3
                for name in ["x", "cookie", "te-x", "authorization"] {
                    #expect(
                        check(Self.base + [(latin1(name), value)])
                            == (isInner && !(isEdge && (byte == 9 || byte == 0x20))),
                        "\(byte) at \(position)")
                }
                let cookies: Section = [(latin1("cookie"), latin1("a=b")), (latin1("cookie"), value)]
                #expect(check(Self.base + cookies) == (isInner && !(isEdge && (byte == 9 || byte == 0x20))))
            }
        }
    }

    @Test func `every byte at every position of a long value`() {
        for byte in UInt8.min...UInt8.max {
            let isInner = byte == 9 || byte >= 0x20 && byte != 0x7F
            for count in 7...18 {
                for position in 1..<count {
                    var value = Array(repeating: UInt8(0xFF), count: count)
                    value[0] = 0x61
                    value[position - 1] = position > 1 ? 0x80 : 0x61
                    value.insert(byte, at: position)
                    #expect(check(Self.base + [(latin1("x"), value)]) == isInner, "\(byte) at \(position) of \(count)")
                }
            }
        }
    }

    @Test(arguments: [":method", ":path", ":authority", ":scheme"])
    func `every byte at every position of a pseudo field`(name: String) {
        for byte in UInt8.min...UInt8.max {
            for index in Self.base.indices where Self.base[index].name == latin1(name) {
                for position in 0...Self.base[index].value.count {
                    var fields = Self.base
                    fields[index].value.insert(byte, at: position)
                    let isWritten = check(fields)
                    let isAllowed =
                        switch name {
                        case ":method": Self.token.contains(byte) || Self.capitals.contains(byte)
                        case ":path": byte > 0x20 && byte != 0x7F && (position > 0 || byte == UInt8(ascii: "/"))
                        case ":authority": byte > 0x20 && byte != 0x7F && byte != UInt8(ascii: "@")
                        default: false
                        }
                    #expect(isWritten == isAllowed, "\(byte) at \(position) of \(name)")
                }
            }
        }
    }

    @Test func `every byte at every position of a pseudo field's name`() {
        for index in Self.base.indices {
            for position in Self.base[index].name.indices {
                for byte in UInt8.min...UInt8.max where byte != Self.base[index].name[position] {
                    var fields = Self.base
                    fields[index].name[position] = byte
                    #expect(!check(fields))
                }
            }
        }
    }

    @Test func `sections made at random`() {
        var generator = Generator(state: 1)
        let names = [
            "host", "cookie", "te", "content-length", "connection", "x", "x-y", "X", ":path", ":x", "", "upgrade",
            "accept",
        ]
        let values = [
            "", "a", "a b", " a", "a\r\nb: c", "0", "5", "trailers", "a.test", "A.TEST.", "b.test", "\0", "a=b", "é",
        ]
        var written = 0
        for _ in 0..<20_000 {
            var fields = Self.base
            for _ in 0..<Int.random(in: 0...5, using: &generator) {
                let name = names.randomElement(using: &generator) ?? ""
                let value = values.randomElement(using: &generator) ?? ""
                // Mostly behind the pseudo fields.
                let place = Int.random(in: 0...9, using: &generator) == 0 ? 2 : fields.count
                fields.insert((latin1(name), Array(value.utf8)), at: place)
            }
            if Int.random(in: 0...9, using: &generator) == 0 {
                fields.remove(at: Int.random(in: 0..<4, using: &generator))
            }
            if check(fields, endsStream: Bool.random(using: &generator)) { written += 1 }
        }
        #expect(written > 1000)
    }

    /// Splitmix64: the same numbers in each run.
    private struct Generator: RandomNumberGenerator {
        var state: UInt64

        mutating func next() -> UInt64 {
            state &+= 0x9E37_79B9_7F4A_7C15
            var mixed = state
            mixed = (mixed ^ mixed >> 30) &* 0xBF58_476D_1CE4_E5B9
            mixed = (mixed ^ mixed >> 27) &* 0x94D0_49BB_1331_11EB
            return mixed ^ mixed >> 31
        }
    }

    @Test func `trailers are written as lines or not at all`() {
        func written(_ fields: Section) -> String? {
            var output = ByteBuffer()
            let section = Self.encode(fields)
            let isWritten = HTTP2RequestWriter.writeTrailers(section.span, into: &output)
            guard isWritten || !output.isEmpty else { return nil }
            var bytes: [UInt8] = []
            for index in 0..<output.count { bytes.append(output.bytes[index]) }
            return String(decoding: bytes, as: UTF8.self)
        }
        #expect(written([(latin1("x"), latin1("y")), (latin1("z"), latin1("a\r\nb"))]) == nil)
        #expect(written([(latin1(":path"), latin1("/"))]) == nil)
        #expect(written([(latin1("x"), latin1("y")), (latin1("z"), [])]) == "x: y\r\nz: \r\n")
    }
}
