import RedisTestSupport
import Testing

@testable import Redis

@Suite struct ReplyReaderTests {
    private static let replies: [(String, RedisReply)] = [
        ("+OK\r\n", .status("OK")), ("+\r\n", .status("")), (":0\r\n", .integer(0)), (":-7\r\n", .integer(-7)),
        (":9223372036854775807\r\n", .integer(.max)), ("$-1\r\n", .null), ("*-1\r\n", .null), ("$0\r\n\r\n", .bulk([])),
        ("$4\r\na\r\nb\r\n", .bulk([97, 13, 10, 98])), ("*0\r\n", .array([])),
        ("-NOSCRIPT No matching script.\r\n", .error(RedisServerError(message: "NOSCRIPT No matching script."))),
        (
            "*3\r\n:1\r\n*2\r\n$1\r\nx\r\n*0\r\n$-1\r\n",
            .array([.integer(1), .array([.bulk([120]), .array([])]), .null])
        ),
        ("*1\r\n-ERR inner\r\n", .array([.error(RedisServerError(message: "ERR inner"))])),
    ]

    @Test(arguments: replies)
    func `reads each kind of reply`(wire: String, reply: RedisReply) throws {
        #expect(try read([Array(wire.utf8)]) == [reply])
    }

    @Test func `replies that come byte by byte are the same, none is seen early`() throws {
        let reader = ReplyReader(limits: RedisReplyLimits())
        for (wire, reply) in ReplyReaderTests.replies {
            for byte in wire.utf8.dropLast() {
                try feed(reader, [byte])
                #expect(try reader.next() == nil)
            }
            try feed(reader, [UInt8(ascii: "\n")])
            #expect(try reader.next() == reply)
            #expect(try reader.next() == nil)
        }
    }

    @Test func `any replies, cut anywhere, are read as they were written`() throws {
        var chance = SplitMix(state: 11)
        for _ in 0..<300 {
            let replies = (0..<Int.random(in: 1...8, using: &chance)).map { _ in anyReply(depth: 0, &chance) }
            var wire = replies.flatMap(encode)
            var pieces: [[UInt8]] = []
            while !wire.isEmpty {
                let count = min(wire.count, Int.random(in: 1...40, using: &chance))
                pieces.append(Array(wire[..<count]))
                wire.removeFirst(count)
            }
            #expect(try read(pieces) == replies)
        }
    }

    @Test(arguments: [
        "HTTP/1.1 400 Bad Request\r\n", "\0", "?\r\n", ":12x\r\n", ":\r\n", "$x\r\n", "$-2\r\n", "$3\r\nabcd\r\n",
        "*-2\r\n", "*x\r\n", "*1\r\n!\r\n", "$99999999999999999999999\r\n", "*2147483648\r\n", "$+3\r\nabc\r\n",
        "$0x1\r\n", ":99999999999999999999\r\n",
    ])
    func `what is no reply is an error and stays one`(wire: String) throws {
        let reader = ReplyReader(limits: RedisReplyLimits())
        try feed(reader, Array(wire.utf8))
        #expect(throws: ReplyReader.Violation.self) { try reader.next() }
        #expect(throws: ReplyReader.Violation.self) { try reader.next() }
    }

    @Test func `a bulk string may be as long as its limit, and is refused by its length alone`() throws {
        var limits = RedisReplyLimits()
        limits.bulkBytesMax = 1000
        let longest = [UInt8](repeating: 7, count: 1000)
        #expect(try read([encode(.bulk(longest))], limits) == [.bulk(longest)])
        #expect(throws: ReplyReader.Violation.self) { try read([encode(.bulk(longest + [7]))], limits) }
        #expect(throws: ReplyReader.Violation.self) { try read([Array("$1001\r\n".utf8)], limits) }
        #expect(try read([Array("$1000\r\n".utf8)], limits) == [])
    }

    @Test func `elements are counted over all arrays of a reply, and anew for the next`() throws {
        var limits = RedisReplyLimits()
        limits.elementsMax = 6
        let most = RedisReply.array([.integer(1), .array([.integer(2), .integer(3)]), .array([]), .null])
        #expect(try read([encode(most), encode(most)], limits) == [most, most])
        let tooMany = RedisReply.array([.integer(1), .array([.integer(2), .integer(3)]), .array([.null]), .null])
        #expect(throws: ReplyReader.Violation.self) { try read([encode(tooMany)], limits) }
        #expect(throws: ReplyReader.Violation.self) { try read([Array("*7\r\n".utf8)], limits) }
        #expect(throws: ReplyReader.Violation.self) { try read([Array("*2147483647\r\n".utf8)]) }
    }

    @Test func `strings of one reply together have a limit`() throws {
        var limits = RedisReplyLimits()
        limits.replyBytesMax = 10
        let most = RedisReply.array([.bulk([1, 2, 3, 4, 5]), .status("abcde")])
        #expect(try read([encode(most), encode(most)], limits) == [most, most])
        let tooMuch = RedisReply.array([.bulk([1, 2, 3, 4, 5]), .status("abcdef")])
        #expect(throws: ReplyReader.Violation.self) { try read([encode(tooMuch)], limits) }
    }

    @Test func `a line may be as long as its limit, and is refused before it ends`() throws {
        var limits = RedisReplyLimits()
        limits.lineBytesMax = 100
        let head = Array("+".utf8) + [UInt8](repeating: 65, count: 100)
        #expect(try read([head], limits) == [])
        #expect(throws: ReplyReader.Violation.self) { try read([head + [65]], limits) }
    }

    @Test func `arrays nest seven deep and no deeper`() throws {
        func nested(_ depth: Int) -> RedisReply { depth == 0 ? .integer(1) : .array([nested(depth - 1)]) }
        #expect(try read([encode(nested(7))]) == [nested(7)])
        #expect(throws: ReplyReader.Violation.self) { try read([encode(nested(9))]) }
    }

    // MARK: Helpers

    private func read(_ pieces: [[UInt8]], _ limits: RedisReplyLimits = RedisReplyLimits()) throws -> [RedisReply] {
        let reader = ReplyReader(limits: limits)
        var replies: [RedisReply] = []
        for piece in pieces {
            try feed(reader, piece)
            while let reply = try reader.next() { replies.append(reply) }
        }
        return replies
    }

    private func feed(_ reader: ReplyReader, _ bytes: [UInt8]) throws {
        // Valid during the call, in which the reader copies.
        try unsafe bytes.withUnsafeBytes { try unsafe reader.feed($0) }
    }

    private func encode(_ reply: RedisReply) -> [UInt8] {
        switch reply {
        case .status(let text): Array("+\(text)\r\n".utf8)
        case .error(let error): Array("-\(error.message)\r\n".utf8)
        case .integer(let number): Array(":\(number)\r\n".utf8)
        case .null: Array("$-1\r\n".utf8)
        case .bulk(let bytes): Array("$\(bytes.count)\r\n".utf8) + bytes + [13, 10]
        case .array(let items): Array("*\(items.count)\r\n".utf8) + items.flatMap(encode)
        }
    }

    private func anyReply(depth: Int, _ chance: inout SplitMix) -> RedisReply {
        switch Int.random(in: 0...(depth < 6 ? 5 : 4), using: &chance) {
        case 0: .status(String(repeating: "s", count: Int.random(in: 0...20, using: &chance)))
        case 1: .error(RedisServerError(message: "ERR \(Int.random(in: 0...9, using: &chance))"))
        case 2: .integer(Int64.random(in: .min ... .max, using: &chance))
        case 3: .null
        case 4:
            .bulk((0..<Int.random(in: 0...60, using: &chance)).map { _ in UInt8.random(in: 0...255, using: &chance) })
        default:
            .array((0..<Int.random(in: 0...4, using: &chance)).map { _ in anyReply(depth: depth + 1, &chance) })
        }
    }
}
