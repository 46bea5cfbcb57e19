import HTTPModel
import Testing

/// RFC 9112 section 7.1: chunked bodies.
struct ChunkedBodyTests {
    @Test(arguments: [
        ("0\r\n\r\n", ""), ("5\r\nhello\r\n0\r\n\r\n", "hello"), ("1\r\na\r\n2\r\nbc\r\n00\r\n\r\n", "abc"),
        ("A\r\n0123456789\r\n0\r\n\r\n", "0123456789"), ("a\r\n\r\n0\r\n\r\n0\r\n\r\n0\r\n\r\n", "\r\n0\r\n\r\n0\r\n"),
        ("0000000000000003\r\nabc\r\n0000000000000000\r\n\r\n", "abc"),
        ("1;a\r\nx\r\n0;b;c=d\r\n\r\n", "x"), ("1;a=\"q;\\\"\t \u{E9}\"\r\nx\r\n0\r\n\r\n", "x"),
        ("1 ; a = b\t; c = \"d\" ;e\r\nx\r\n0\r\n\r\n", "x"),
    ])
    func `R41 finds the data`(body: String, data: String) throws {
        let decoded = try decode(bytes(body))
        #expect(decoded.end == .finished)
        #expect(decoded.data == bytes(data))
        #expect(decoded.consumed == body.utf8.count)
        #expect(decoded.trailers == 0)
    }

    @Test(arguments: [
        ("", ChunkError.invalidSize, "\r\n\r\n"), ("", .invalidSize, " 5\r\n"), ("", .invalidSize, "+5\r\n"),
        ("", .invalidSize, "-5\r\n"),
        ("", .invalidSize, "0x5\r\n"), ("", .invalidSize, "g\r\n"), ("", .invalidSize, ";a\r\n"),
        ("", .invalidSize, "5_0\r\n"),
        ("", .invalidSize, "00000000000000005\r\n"), ("", .invalidSize, "10000000000000005\r\n"),
        ("", .invalidSize, "5\0\r\n"),
        ("", .bareLineFeed, "5\nhello"), ("", .bareLineFeed, "\n"), ("", .bareCarriageReturn, "5\rhello"),
        ("", .bareCarriageReturn, "5\r\r\n"),
        ("", .invalidExtension, "5 \r\n"), ("", .invalidExtension, "5\t\r\n"), ("", .invalidExtension, "5;\r\n"),
        ("", .invalidExtension, "5 a\r\n"),
        ("", .invalidExtension, "5;;a\r\n"), ("", .invalidExtension, "5;a=\r\n"), ("", .invalidExtension, "5;=a\r\n"),
        ("", .invalidExtension, "5;a b\r\n"),
        ("", .invalidExtension, "5;a=b c\r\n"), ("", .invalidExtension, "5;a=b=c\r\n"),
        ("", .invalidExtension, "5;a=\"b\r\n"),
        ("", .invalidExtension, "5;a=\"b\"c\r\n"), ("", .invalidExtension, "5;a \r\n"),
        ("", .invalidExtension, "5;a=b \r\n"),
        ("", .invalidExtension, "5;a=\"b\\\r\n"), ("", .invalidExtension, "5;a\0\r\n"),
        ("", .invalidExtension, "5;a=\"\0\"\r\n"),
        ("", .invalidExtension, "5 =b\r\n"), ("", .invalidExtension, "5;a=b =c\r\n"),
        ("", .bareLineFeed, "5;a\n"), ("", .bareLineFeed, "5;a=\"\n"), ("", .bareLineFeed, "5;\n"),
        ("", .bareCarriageReturn, "5;a\rb"),
        ("hello", .missingLineEnd, "5\r\nhello!\r\n"), ("hello", .bareLineFeed, "5\r\nhello\n"),
        ("hello", .bareCarriageReturn, "5\r\nhello\r0"),
        ("", .bareLineFeed, "0\r\n\n"), ("", .bareLineFeed, "0\n\r\n"), ("", .bareCarriageReturn, "0\r\n\rX"),
        ("", .invalidTrailer, "0\r\n: a\r\n"), ("", .invalidTrailer, "0\r\nA : b\r\n"),
        ("", .invalidTrailer, "0\r\n A: b\r\n"),
        ("", .invalidTrailer, "0\r\nA\r\n"), ("", .invalidTrailer, "0\r\nA: b\r\n c\r\n"),
        ("", .invalidTrailer, "0\r\nA: \0\r\n"),
        ("", .bareLineFeed, "0\r\nA: b\nC: d\r\n"), ("", .bareCarriageReturn, "0\r\nA: b\rC"),
        ("", .bareLineFeed, "0\r\nA\n"),
    ])
    func `R41 refuses what is no chunk`(data: String, error: ChunkError, body: String) throws {
        let decoded = try decode(bytes(body))
        #expect(decoded.end == .failed(error))
        #expect(decoded.data == bytes(data))
    }

    @Test func `takes every prefix of a body for unfinished`() throws {
        let body = bytes("5;a=\"b\\c\"\r\nhello\r\n0\r\nA: b\r\n\r\n")
        for count in 0..<body.count { #expect(try decode(Array(body[..<count])).end == .needMore) }
        #expect(try decode(body).end == .finished)
    }

    @Test func `leaves what follows the body`() throws {
        let decoded = try decode(bytes("1\r\na\r\n0\r\n\r\nGET / HTTP/1.1\r\n"))
        #expect(decoded.end == .finished)
        #expect(decoded.consumed == 11)
    }

    @Test func `stays where it ended`() {
        var decoder = ChunkedDecoder()
        #expect(decoder.next(bytes("0\r\n\r\n").span) == (5, .finished))
        #expect(decoder.isFinished)
        #expect(decoder.next(bytes("x").span) == (0, .finished))
        decoder = ChunkedDecoder()
        #expect(decoder.next(bytes("x").span) == (1, .failed(.invalidSize)))
        #expect(decoder.next(bytes("5\r\n").span) == (0, .failed(.invalidSize)))
    }

    @Test func `gives out the trailer section where it is kept, however it is cut`() {
        let section = "A: b\r\nC:\td e \r\n\r\n"
        let body = bytes("1;x\r\nz\r\n0;y\r\n" + section + "next")
        for cut in 0...body.count {
            var decoder = ChunkedDecoder()
            decoder.keepsTrailers = true
            var found: [UInt8] = []
            var start = 0
            var end = cut
            reading: while true {
                let (consumed, event) = decoder.next(body[start..<end].span)
                switch event {
                case .trailers(let range): found += body[(start + range.lowerBound)..<(start + range.upperBound)]
                case .needMore: end = body.count
                case .finished:
                    start += consumed
                    break reading
                case .data: break
                case .failed(let error):
                    Issue.record("\(error)")
                    break reading
                }
                start += consumed
            }
            #expect(found == bytes(section) && Array(body[start...]) == bytes("next"), "cut at \(cut)")
        }
    }

    @Test(arguments: ["A b\r\n\r\n", " A: b\r\n\r\n", "A: b\n\r\n", "A: b\r\r\n", ": b\r\n\r\n", "A: \u{0}\r\n\r\n"])
    func `gives out nothing of a trailer section that is refused`(section: String) {
        var decoder = ChunkedDecoder()
        decoder.keepsTrailers = true
        let (_, event) = decoder.next(bytes("0\r\n" + section).span)
        guard case .failed = event else {
            Issue.record("\(event)")
            return
        }
    }

    @Test func `counts down a chunk of the largest size`() {
        var decoder = ChunkedDecoder()
        let start = bytes("ffffffffffffffff\r\nab")
        #expect(decoder.next(start.span) == (20, .data(18..<20)))
        #expect(decoder.next(bytes("0\r\n\r\n").span) == (5, .data(0..<5)))
    }

    @Test func `caps the extensions of all chunks together`() throws {
        let body = bytes("1;ab\r\nx\r\n0;cd\r\n\r\n")
        #expect(try decode(body, limits: ChunkLimits(extensionBytesMax: 6)).end == .finished)
        #expect(try decode(body, limits: ChunkLimits(extensionBytesMax: 5)).end == .failed(.extensionsTooLong))
        let quoted = bytes("1;a=\"\\b\" \t;c\r\nx\r\n0\r\n\r\n")
        #expect(try decode(quoted, limits: ChunkLimits(extensionBytesMax: 11)).end == .finished)
        #expect(try decode(quoted, limits: ChunkLimits(extensionBytesMax: 10)).end == .failed(.extensionsTooLong))
    }

    @Test func `R22 counts trailers and passes none on`() throws {
        let body = bytes("1\r\nx\r\n0\r\nX-Auth-User: admin\r\nB:\r\n\r\n")
        let decoded = try decode(body)
        #expect(decoded.end == .finished)
        #expect(decoded.data == bytes("x"))
        #expect(decoded.trailers == 2)
        #expect(try decode(body, limits: ChunkLimits(trailersMax: 2)).end == .finished)
        #expect(try decode(body, limits: ChunkLimits(trailersMax: 1)).end == .failed(.tooManyTrailers))
        let trailerBytes = body.count - 9
        #expect(try decode(body, limits: ChunkLimits(trailerBytesMax: trailerBytes)).end == .finished)
        #expect(
            try decode(body, limits: ChunkLimits(trailerBytesMax: trailerBytes - 1)).end == .failed(.trailersTooLong))
    }

    @Test func `writes size lines that it reads back`() throws {
        for size in [1, 9, 10, 15, 16, 17, 255, 256, 4_095, 4_096, 65_535, 65_536, 0xABCDEF, .max] {
            var line = [UInt8](repeating: 0x78, count: ChunkWriter.sizeLineBytesMax + 1)
            var room = line.mutableSpan
            let count = ChunkWriter.writeSizeLine(size, into: &room)
            #expect(Array(line[..<count]) == bytes(String(size, radix: 16, uppercase: true) + "\r\n"))
            #expect(line[count...].allSatisfy { $0 == 0x78 })
        }
        #expect(try decode(bytes(ChunkWriter.end.description)).end == .finished)
        #expect(ChunkWriter.lineEnd.description == "\r\n")
    }

    @Test func `refuses to write a chunk of no bytes`() async {
        await #expect(processExitsWith: .failure) {
            var line = [UInt8](repeating: 0, count: ChunkWriter.sizeLineBytesMax)
            var room = line.mutableSpan
            _ = ChunkWriter.writeSizeLine(0, into: &room)
        }
    }
}

struct DecodedBody: Equatable {
    var data: [UInt8] = []
    var consumed = 0
    var trailers = 0
    var end = ChunkedDecoder.Event.needMore
}

/// Decodes `body` in the pieces that end at `cuts` and at its end.
func decode(_ body: [UInt8], cuts: some Sequence<Int>, limits: ChunkLimits) -> DecodedBody {
    var decoder = ChunkedDecoder(limits: limits)
    var result = DecodedBody()
    var start = 0
    for end in Array(cuts) + [body.count] {
        let piece = Array(body[start..<end])
        start = end
        var offset = 0
        while true {
            let rest = Array(piece[offset...])
            let (consumed, event) = decoder.next(rest.span)
            offset += consumed
            result.consumed += consumed
            result.trailers = decoder.trailerCount
            result.end = event
            guard case .data(let range) = event else {
                break
            }
            result.data += rest[range]
        }
        guard result.end == .needMore else { break }
    }
    return result
}

/// Decodes `body` at once, and checks that byte by byte and every cut in two give the same.
func decode(_ body: [UInt8], limits: ChunkLimits = ChunkLimits()) throws -> DecodedBody {
    let whole = decode(body, cuts: [], limits: limits)
    if decode(body, cuts: 0..<body.count, limits: limits) != whole {
        throw Disagreement(input: String(decoding: body, as: UTF8.self), cut: nil)
    }
    for cut in 0..<body.count where decode(body, cuts: [cut], limits: limits) != whole {
        throw Disagreement(input: String(decoding: body, as: UTF8.self), cut: cut)
    }
    return whole
}
