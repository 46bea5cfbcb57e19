import HTTPModel
import Testing

/// RFC 9112 section 5 and the limits: field lines.
struct RequestFieldTests {
    @Test(arguments: [
        ("A : b", HeadSyntaxError.blankBeforeColon), ("A\t: b", .blankBeforeColon), ("A\u{B}: b", .invalidName),
        (": b", .emptyName), ("A", .invalidName), ("A b: c", .blankBeforeColon), ("A@: b", .invalidName),
        ("A\0: b", .invalidName), (" A: b", .foldedLine), ("\tA: b", .foldedLine), ("A: b\r\n c", .foldedLine),
        ("A: b\r\n\tc", .foldedLine), ("A: b\rc", .bareCarriageReturn), ("A: b\r\rc", .bareCarriageReturn),
        ("A: b\nC: d", .bareLineFeed), ("A\nC: d", .bareLineFeed), ("\nC: d", .bareLineFeed), ("A: \0", .invalidValue),
        ("A: b\u{1}", .invalidValue), ("A: b\u{1F}c", .invalidValue), ("A: b\u{7F}c", .invalidValue),
        ("A:\u{B}b", .invalidValue), ("A: b\u{C}", .invalidValue), ("\rA: b", .bareCarriageReturn),
    ])
    func `R40 refuses what is no field line`(line: String, error: HeadSyntaxError) throws {
        #expect(try refusal(request(line)) == .syntax(error))
        #expect(try refusal(request("X: y", line, "Z: 1")) == .syntax(error))
    }

    @Test func `R40 refuses a space before the colon of a framing field`() throws {
        #expect(try refusal(request("Content-Length : 5")) == .syntax(.blankBeforeColon))
        #expect(try refusal(request("Transfer-Encoding : chunked")) == .syntax(.blankBeforeColon))
    }

    @Test func `R40 keeps a very long name whole`() throws {
        // A length kept in 8 bits would turn this name into another one.
        let name = "Content-Length" + String(repeating: "0", count: 256)
        let head = try parseRequest(request("\(name): 5"))
        #expect(head.lines.last?.name == name)
        #expect(head.lines.last?.known == .other)
        #expect(head.framing == .none)
    }

    @Test func `refuses each control byte in a value and allows the rest`() throws {
        for byte in UInt8.min...UInt8.max {
            for padding in 0..<9 {
                let value = [UInt8](repeating: 0x61, count: padding) + [byte] + bytes("zzzzzzzzz")
                let input = bytes("GET / HTTP/1.1\r\nHost: a\r\nX: v") + value + bytes("\r\n\r\n")
                let whole = parseRequest(input, cuts: [])
                switch byte {
                case 0x0A: #expect(whole.progress == .failed(.syntax(.bareLineFeed)))
                case 0x0D: #expect(whole.progress == .failed(.syntax(.bareCarriageReturn)))
                case 0x09, 0x20..<0x7F, 0x80...: #expect(whole.progress == .complete(byteCount: input.count))
                default: #expect(whole.progress == .failed(.syntax(.invalidValue)), "\(byte)")
                }
            }
        }
    }

    @Test func `accepts exactly the token bytes in a name and marks the unusual ones`() throws {
        let symbols = Set("!#$%&'*+-.^_`|~".utf8)
        for byte in UInt8.min...UInt8.max where byte != 0x3A {
            let input = bytes("GET / HTTP/1.1\r\nHost: a\r\nX") + [byte] + bytes("y: v\r\n\r\n")
            let head = parseRequest(input, cuts: [])
            let isAlphanumeric =
                switch byte {
                case 0x30...0x39, 0x41...0x5A, 0x61...0x7A: true
                default: false
                }
            if isAlphanumeric || symbols.contains(byte) {
                #expect(head.progress == .complete(byteCount: input.count))
                #expect(head.lines[1].hasUnusualName == !(isAlphanumeric || byte == 0x2D))
            } else if case .complete = head.progress {
                Issue.record("byte \(byte) passed in a name")
            }
        }
    }

    @Test func `R20 R21 marks aliases and never takes them for the field`() throws {
        for name in [
            "X_Request_Id", "Content_Length", "content.length", "Transfer_Encoding", "Hos~t", "Content-Length_",
        ] {
            let head = try parseRequest(request("\(name): 7"))
            #expect(head.lines.last?.hasUnusualName == true)
            #expect(head.lines.last?.known == .other)
            #expect(head.framing == .none)
        }
    }

    @Test(arguments: KnownField.allCases)
    func `finds a known field in any case and nothing near it`(field: KnownField) throws {
        let name = field.name.description
        guard field != .other else { return }
        // Values that no rule of the field refuses.
        let value =
            switch field {
            case .contentLength: "1"
            case .transferEncoding: "chunked"
            case .expect: "100-continue"
            default: "v"
            }
        let prefix = field == .host ? "GET / HTTP/1.1\r\n" : "GET / HTTP/1.1\r\nHost: a\r\n"
        for spelling in [name, name.uppercased(), name.capitalized()] {
            let head = try parseRequest(bytes("\(prefix)\(spelling): \(value)\r\n\r\n"))
            #expect(head.lines.last?.known == field)
            #expect(head.lines.last?.hasUnusualName == false)
        }
        for position in name.indices {
            var near = name
            near.replaceSubrange(position...position, with: name[position] == "q" ? "z" : "q")
            let head = parseRequest(bytes("GET / HTTP/1.1\r\n\(near): \(value)\r\n"), cuts: [])
            #expect(head.lines.first?.known == .other, "\(near)")
        }
        for near in [name + "s", String(name.dropLast()), "x" + name] where near != "origin" {
            let head = parseRequest(bytes("GET / HTTP/1.1\r\n\(near): \(value)\r\n"), cuts: [])
            #expect(head.lines.first?.known == .other, "\(near)")
        }
    }

    @Test func `trims blanks around values and keeps those inside`() throws {
        let head = try parseRequest(request("A:b", "B:   b  c \t ", "C:", "D: \t ", "E: \tb\t:"))
        #expect(head.lines.dropFirst().map(\.value) == ["b", "b  c", "", "", "b\t:"])
    }

    @Test func `a head may have exactly the bytes allowed`() throws {
        let input = request("A: b")
        #expect(try refusal(input, limits: HeadLimits(bytesMax: input.count, fieldsMax: 100)) == nil)
        #expect(try refusal(input, limits: HeadLimits(bytesMax: input.count - 1, fieldsMax: 100)) == .headTooLong)
        #expect(try refusal(input + bytes("body"), limits: HeadLimits(bytesMax: input.count, fieldsMax: 9)) == nil)
    }

    @Test func `a request line may end with the bytes allowed but not behind them`() throws {
        let input = request()
        #expect(try refusal(input, limits: HeadLimits(bytesMax: 16, fieldsMax: 100)) == .headTooLong)
        #expect(try refusal(input, limits: HeadLimits(bytesMax: 15, fieldsMax: 100)) == .targetTooLong)
        let long = bytes("GET /" + String(repeating: "a", count: 70_000))
        #expect(parseRequest(long, cuts: []).progress == .failed(.targetTooLong))
        #expect(parseRequest(Array(long[..<65_534]), cuts: []).progress == .incomplete)
    }

    @Test func `a head may be 65,535 bytes long`() {
        let start = request("A: b").dropLast(2)
        let input = start + bytes("B: " + String(repeating: "x", count: 65_535 - start.count - 7) + "\r\n\r\n")
        #expect(input.count == 65_535)
        #expect(parseRequest(Array(input), cuts: []).progress == .complete(byteCount: 65_535))
        #expect(parseRequest(Array(input), cuts: stride(from: 0, to: 65_535, by: 977)).lines.count == 3)
    }

    @Test func `R44 counts fields on both sides of the limit`() throws {
        let three = request("A: b", "C: d")
        #expect(try refusal(three, limits: HeadLimits(bytesMax: 1_000, fieldsMax: 3)) == nil)
        #expect(try refusal(three, limits: HeadLimits(bytesMax: 1_000, fieldsMax: 2)) == .tooManyFields)
        var small = RequestHead(fieldCapacity: 2)
        #expect(small.parse(three.span, limits: roomyLimits) == .failed(.tooManyFields))
    }

    @Test func `forgets everything on reset`() {
        let first = bytes(
            "\r\nPOST http://b/?q HTTP/1.0\r\nHost: a\r\nConnection: keep-alive, upgrade\r\nUpgrade: x\r\n"
                + "Content-Length: 5\r\nExpect: 100-continue\r\nAuthorization: y\r\n\r\n")
        var head = RequestHead()
        #expect(head.parse(first.span, limits: roomyLimits) == .complete(byteCount: first.count))
        for second in [
            request("Connection: close", "Transfer-Encoding: chunked", "Upgrade: y", "Authorization: z"), request(),
        ] {
            head.reset()
            let progress = head.parse(second.span, limits: roomyLimits)
            #expect(RequestFacts(head, progress, of: second) == parseRequest(second, cuts: []))
        }
        // A refused head stays refused until then.
        head.reset()
        let bad = bytes("\n")
        #expect(head.parse(bad.span, limits: roomyLimits) == .failed(.syntax(.bareLineFeed)))
        #expect(head.parse(request().span, limits: roomyLimits) == .failed(.syntax(.bareLineFeed)))
        head.reset()
        #expect(head.parse(request().span, limits: roomyLimits) == .complete(byteCount: request().count))
    }
}

extension String {
    /// Each part between hyphens begins with a capital.
    fileprivate func capitalized() -> String {
        split(separator: "-").map { $0.prefix(1).uppercased() + $0.dropFirst() }.joined(separator: "-")
    }
}
