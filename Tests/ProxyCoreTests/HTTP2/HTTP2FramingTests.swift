import HTTPModel
import Testing

@testable import ProxyCore

/// RFC 9113 sections 3 to 6: what ends a connection, what a stream, and what is ignored.
struct HTTP2FramingTests {
    private static let open = Frames.request(1, post, ends: false)
    private static let section = HPACK.encode(get)

    /// What a frame costs: the code of GOAWAY.
    private static let connectionErrors: [(String, [UInt8], UInt32)] = [
        ("4.2 DATA too long", Frames.frame(0, stream: 1, length: 16_385), 6),
        ("4.2 HEADERS too long", Frames.frame(1, flags: 5, stream: 1, length: 16_385), 6),
        ("4.2 SETTINGS too long", Frames.frame(4, length: 16_386), 6),
        ("4.2 unknown frame too long", Frames.frame(99, length: 16_385), 6),
        ("5.1 DATA on an idle stream", Frames.body(1, "a"), 1),
        ("5.1 RST_STREAM on an idle stream", Frames.reset(1), 1),
        ("5.1 WINDOW_UPDATE on an idle stream", Frames.windowUpdate(1, 10), 1),
        ("5.1 CONTINUATION on an idle stream", Frames.frame(9, flags: 4, stream: 1, section), 1),
        ("5.1 DATA behind the end", Frames.request(1, get) + Frames.body(1, "a"), 5),
        ("5.1 HEADERS behind the end", Frames.request(1, get) + Frames.request(1, get), 5),
        ("5.1 CONTINUATION behind the end", Frames.request(1, get) + Frames.frame(9, flags: 4, stream: 1, section), 1),
        ("5.1.1 even number", Frames.request(2, get), 1),
        ("5.1.1 DATA on an even number", Frames.body(2, "a"), 1),
        ("5.5 unknown frame within a head", Frames.frame(1, stream: 1, section) + Frames.frame(99), 1),
        ("6.1 DATA on stream 0", Frames.body(0, "a"), 1),
        ("6.1 padding as long as the frame", open + Frames.frame(0, flags: 8, stream: 1, [4, 0, 0, 0]), 1),
        ("6.1 padding longer than the frame", open + Frames.frame(0, flags: 8, stream: 1, [255, 0]), 1),
        ("6.1 padded and empty", open + Frames.frame(0, flags: 8, stream: 1), 1),
        ("6.2 HEADERS on stream 0", Frames.request(0, get), 1),
        ("6.2 padding longer than the frame", Frames.frame(1, flags: 13, stream: 1, [255] + section), 1),
        ("6.2 padded and empty", Frames.frame(1, flags: 13, stream: 1), 1),
        ("6.2 DATA within a head", Frames.frame(1, stream: 1, section) + Frames.body(1, "a"), 1),
        ("6.2 HEADERS within a head", Frames.frame(1, stream: 1, section) + Frames.request(3, get), 1),
        (
            "6.2 PING within a head",
            Frames.frame(1, stream: 1, section) + Frames.frame(6, Array(repeating: 0, count: 8)), 1
        ),
        (
            "6.2 another stream's CONTINUATION",
            Frames.frame(1, stream: 1, section) + Frames.frame(9, flags: 4, stream: 3), 1
        ),
        ("6.2 too short for its priority", Frames.frame(1, flags: 37, stream: 1, [0, 0, 0, 0]), 6),
        ("6.3 PRIORITY on stream 0", Frames.frame(2, [0, 0, 0, 1, 0]), 1),
        ("7540 5.3.1 PRIORITY on itself", Frames.frame(2, stream: 3, [0, 0, 0, 3, 15]), 1),
        ("7540 5.3.1 exclusively on itself", Frames.frame(2, stream: 3, [0x80, 0, 0, 3, 15]), 1),
        ("9218 7.1 PRIORITY_UPDATE on a stream", Frames.frame(16, stream: 1, [0, 0, 0, 1]), 1),
        ("9218 7.1 PRIORITY_UPDATE of stream 0", Frames.frame(16, [0x80, 0, 0, 0, 0x75]), 1),
        ("9218 7.1 PRIORITY_UPDATE of 3 bytes", Frames.frame(16, [0, 0, 1]), 6),
        ("9218 7.1 PRIORITY_UPDATE of no bytes", Frames.frame(16), 6),
        ("6.3 PRIORITY of 4 bytes", Frames.frame(2, stream: 1, [0, 0, 0, 3]), 6),
        ("6.4 RST_STREAM on stream 0", Frames.reset(0), 1),
        ("6.4 RST_STREAM of 3 bytes", open + Frames.frame(3, stream: 1, [0, 0, 0]), 6),
        ("6.4 RST_STREAM of 5 bytes", open + Frames.frame(3, stream: 1, [0, 0, 0, 0, 0]), 6),
        ("6.5 SETTINGS on a stream", Frames.frame(4, stream: 1), 1),
        ("6.5 SETTINGS of 5 bytes", Frames.frame(4, [0, 0, 0, 0, 0]), 6),
        ("6.5 acknowledgement with a payload", Frames.frame(4, flags: 1, Frames.setting(1, 0)), 6),
        ("6.5.2 ENABLE_PUSH of 2", Frames.frame(4, Frames.setting(2, 2)), 1),
        ("6.5.2 window of 2^31", Frames.frame(4, Frames.setting(4, 1 << 31)), 3),
        ("6.5.2 frames of 16,383", Frames.frame(4, Frames.setting(5, 16_383)), 1),
        ("6.5.2 frames of 2^24", Frames.frame(4, Frames.setting(5, 1 << 24)), 1),
        ("6.5.3 ENABLE_PUSH of 2, then of 0", Frames.frame(4, Frames.setting(2, 2) + Frames.setting(2, 0)), 1),
        ("6.5.3 window of 2^31, then of 1", Frames.frame(4, Frames.setting(4, 1 << 31) + Frames.setting(4, 1)), 3),
        (
            "6.5.3 frames of 16,383, then of 16,384",
            Frames.frame(4, Frames.setting(5, 16_383) + Frames.setting(5, 16_384)), 1
        ),
        (
            "6.5.3 frames of 2^24, then of 2^24 - 1",
            Frames.frame(4, Frames.setting(5, 1 << 24) + Frames.setting(5, (1 << 24) - 1)), 1
        ),
        ("8441 ENABLE_CONNECT_PROTOCOL of 2", Frames.frame(4, Frames.setting(8, 2)), 1),
        ("6.5 seventeen settings", Frames.frame(4, (0..<17).flatMap { _ in Frames.setting(99, 0) }), 11),
        ("6.6 PUSH_PROMISE of a client", open + Frames.frame(5, flags: 4, stream: 1, [0, 0, 0, 2] + section), 1),
        ("6.7 PING on a stream", Frames.frame(6, stream: 1, Array(repeating: 0, count: 8)), 1),
        ("6.7 PING of 7 bytes", Frames.frame(6, Array(repeating: 0, count: 7)), 6),
        ("6.7 PING of 9 bytes", Frames.frame(6, Array(repeating: 0, count: 9)), 6),
        ("6.8 GOAWAY on a stream", Frames.frame(7, stream: 1, Array(repeating: 0, count: 8)), 1),
        ("6.8 GOAWAY of 7 bytes", Frames.frame(7, Array(repeating: 0, count: 7)), 6),
        ("R45 6.9 no window for the connection", Frames.windowUpdate(0, 0), 1),
        ("6.9 WINDOW_UPDATE of 3 bytes", Frames.frame(8, [0, 0, 1]), 6),
        ("6.9 WINDOW_UPDATE of 5 bytes", Frames.frame(8, [0, 0, 0, 1, 0]), 6),
        ("R45 6.9.1 too much window for the connection", Frames.windowUpdate(0, 0x7FFF_FFFF), 3),
        ("6.10 CONTINUATION without HEADERS", Frames.frame(9, flags: 4, stream: 1), 1),
        (
            "6.10 CONTINUATION on stream 0", Frames.frame(1, stream: 1, section) + Frames.frame(9, flags: 4, stream: 0),
            1
        ),
        (
            "6.10 CONTINUATION behind the last",
            Frames.frame(1, stream: 1, section) + Frames.frame(9, flags: 4, stream: 1)
                + Frames.frame(9, flags: 4, stream: 1), 1
        ),
    ]

    @Test(arguments: connectionErrors)
    func `a connection error ends the connection with its code`(name: String, frames: [UInt8], code: UInt32) throws {
        let lines = try outcome(frames + Frames.request(9, get)).filter {
            !$0.hasPrefix("whole 1") && !$0.hasPrefix("head 1")
        }
        #expect(lines == ["error \(code)", "GOAWAY \(code)"], "\(name)")
    }

    @Test(arguments: connectionErrors)
    func `behind a connection error the session is finished`(name: String, frames: [UInt8], code: UInt32) throws {
        let driver = try HTTP2Driver()
        driver.feed(Frames.hello + frames)
        #expect(driver.session.isFinished, "\(name)")
        #expect(driver.frames.last?.type == Frames.goAway && driver.frames.last?.goAwayCode == code)
        let before = driver.output.count
        driver.feed(Frames.request(11, get))
        #expect(driver.output.count == before && driver.log.last == "error \(code)")
    }

    /// How a stream came to be over, and what of its peer's DATA is then worth: the code of GOAWAY; `nil`: it is ignored.
    private static let former: [(String, [UInt8], isAnswered: Bool, UInt32?)] = [
        ("ended by both", Frames.request(1, get), true, 5),
        ("with DATA ended by both", open + Frames.body(1, "b", ends: true), true, 5),
        ("reset by the client", open + Frames.reset(1), false, 5),
        ("whole, then reset by the client", Frames.request(1, get) + Frames.reset(1), false, 5),
        ("left out", Frames.request(3, get), false, 1),
        ("reset here", Frames.request(1, get + [("X", "")], ends: false), false, nil),
        ("answered before its end", open, true, nil),
    ]

    @Test(arguments: former)
    func `5.1 DATA for a stream that is over, in one read or in two or byte by byte`(
        name: String, frames: [UInt8], isAnswered: Bool, code: UInt32?
    ) throws {
        let late = Frames.body(1, "late") + Frames.request(9, get)
        for cut in 0...late.count {
            let driver = try HTTP2Driver()
            if isAnswered {
                driver.feed(Frames.hello + frames)
                #expect(driver.answer(1, LocalResponse(status: 200, body: [0x61])))
                driver.produce()
                driver.feed(late, cuts: cut == 0 ? Array(1..<late.count) : [cut])
            } else {
                let bytes = Frames.hello + frames + late
                driver.feed(bytes, cuts: cut == 0 ? Array(1..<bytes.count) : [bytes.count - cut])
            }
            let goAway = driver.frames.last { $0.type == Frames.goAway }
            #expect(goAway?.goAwayCode == code, "\(name), cut \(cut)")
            #expect(driver.log.contains { $0.hasPrefix("whole 9") } == (code == nil), "\(name), cut \(cut)")
        }
    }

    @Test func `6.5.3 the last of several sound values counts, however SETTINGS are cut`() throws {
        let settings = Frames.frame(4, Frames.setting(4, 0) + Frames.setting(2, 1) + Frames.setting(4, 65_535))
        let bytes = Frames.hello + settings + Frames.request(1, get)
        for cut in 0...bytes.count {
            let driver = try HTTP2Driver()
            driver.feed(bytes, cuts: cut == 0 ? Array(1..<bytes.count) : [cut])
            #expect(driver.answer(1, LocalResponse(status: 200, body: [0x61])))
            driver.produce()
            #expect(driver.log.contains("sent 1"), "cut \(cut)")
        }
    }

    private static let beginnings: [(String, [UInt8])] = [
        ("3.4 HTTP/1.1", latin1("GET / HTTP/1.1\r\nHost: a\r\n\r\n")), ("3.4 the first byte", [0x51]),
        ("3.4 the last byte", Frames.preface.dropLast() + [0x0B]), ("3.4 TLS", [22, 3, 1, 0, 5]),
        ("3.4 no SETTINGS", Frames.preface + Frames.request(1, get)),
        ("3.4 acknowledged SETTINGS", Frames.preface + Frames.frame(4, flags: 1)),
        ("3.4 PING", Frames.preface + Frames.frame(6, Array(repeating: 0, count: 8))),
    ]

    @Test(arguments: beginnings)
    func `a connection begins with the preface and SETTINGS`(name: String, bytes: [UInt8]) throws {
        #expect(try outcome(bytes, hello: []) == ["error 1", "GOAWAY 1"], "\(name)")
    }

    private static let harmless: [(String, [UInt8], [String])] = [
        ("5.1 PRIORITY on an idle stream", Frames.frame(2, stream: 1, [0, 0, 0, 0, 15]), []),
        (
            "5.1 DATA behind our reset", Frames.request(1, get + [("X", "")], ends: false) + Frames.body(1, "a"),
            malformed
        ),
        ("9218 7.1 PRIORITY_UPDATE", Frames.frame(16, [0, 0, 0, 1] + latin1("u=1")), []),
        ("5.5 unknown frame", Frames.frame(99, flags: 255, stream: 0, [1, 2, 3]), []),
        ("5.5 unknown frame on a stream", Frames.frame(200, stream: 77), []),
        ("4.1 the reserved bit", Frames.frame(99, stream: 1 << 31), []),
        (
            "4.1 unknown flags", Frames.frame(1, flags: 5 | 0xC2, stream: 1, section),
            ["whole 1 GET / HTTP/1.1|host: a.test||"]
        ),
        (
            "6.2 padded", Frames.frame(1, flags: 13, stream: 1, [2] + section + [0, 0]),
            ["whole 1 GET / HTTP/1.1|host: a.test||"]
        ),
        (
            "6.2 with priority", Frames.frame(1, flags: 37, stream: 1, [0x80, 0, 0, 3, 7] + section),
            ["whole 1 GET / HTTP/1.1|host: a.test||"]
        ),
        (
            "6.2 padded, with priority", Frames.frame(1, flags: 45, stream: 1, [1, 0, 0, 0, 3, 7] + section + [0]),
            ["whole 1 GET / HTTP/1.1|host: a.test||"]
        ),
        (
            "6.10 in three parts",
            Frames.frame(1, flags: 1, stream: 1, Array(section.prefix(7)))
                + Frames.frame(9, stream: 1, Array(section[7..<8]))
                + Frames.frame(9, flags: 4, stream: 1, Array(section.dropFirst(8))),
            ["whole 1 GET / HTTP/1.1|host: a.test||"]
        ),
        (
            "6.10 with empty parts",
            Frames.frame(1, flags: 1, stream: 1) + Frames.frame(9, stream: 1, section)
                + Frames.frame(9, flags: 4, stream: 1), ["whole 1 GET / HTTP/1.1|host: a.test||"]
        ),
        ("6.5.2 unknown setting", Frames.frame(4, Frames.setting(0x0A0A, 7)), []),
        (
            "6.5.2 every setting at its bounds",
            Frames.frame(
                4,
                Frames.setting(1, 0) + Frames.setting(2, 0) + Frames.setting(3, 0) + Frames.setting(4, 0x7FFF_FFFF)
                    + Frames.setting(5, 16_777_215) + Frames.setting(6, 0)), []
        ),
        ("6.5 sixteen settings", Frames.frame(4, (0..<16).flatMap { _ in Frames.setting(99, 0) }), []),
        (
            "6.9 window on a stream that has ended", Frames.request(1, get) + Frames.windowUpdate(1, 1),
            ["whole 1 GET / HTTP/1.1|host: a.test||"]
        ),
        ("9218 PRIORITY_UPDATE", Frames.frame(16, Frames.number(1) + latin1("u=3")), []),
        ("5.1.1 numbers left out", Frames.request(5, get), ["whole 5 GET / HTTP/1.1|host: a.test||"]),
    ]

    @Test(arguments: harmless)
    func `what is allowed or unknown leaves the connection alone`(name: String, frames: [UInt8], lines: [String]) throws
    {
        #expect(try streamOutcome(frames) == lines, "\(name)")
    }

    @Test func `R45 6_9_1 too much window for a stream is an error of the stream`() throws {
        let lines = try streamOutcome(Self.open + Frames.windowUpdate(1, 0x7FFF_FFFF))
        #expect(lines.last == "RST 1 3" && lines.contains("reset 1 3"))
    }

    @Test func `R45 6_9 no window for a stream is an error`() throws {
        let lines = try outcome(Self.open + Frames.windowUpdate(1, 0))
        #expect(lines.last == "RST 1 1" || lines.last == "GOAWAY 1")
    }

    @Test func `6_8 the client's GOAWAY finishes what is under way`() throws {
        let goAway = Frames.frame(7, Frames.number(0) + Frames.number(0) + latin1("bye"))
        #expect(try outcome(goAway) == ["goaway 0"])
        let driver = try HTTP2Driver()
        driver.feed(Frames.hello + Frames.request(1, post, ends: false) + goAway)
        driver.feed(Frames.body(1, "abc", ends: true))
        #expect(driver.log.suffix(3) == ["goaway 0", "data 1 abc", "end 1"] && !driver.session.isFinished)
        #expect(driver.answer(1, LocalResponse(status: 200)))
        driver.produce()
        #expect(driver.log.last == "sent 1" && driver.session.isFinished)
    }

    @Test func `5_1_1 a number below the last ends the connection`() throws {
        // Beyond what is remembered, nobody can tell.
        for (first, ends) in [(5, ["GOAWAY 1"]), (2001, ["GOAWAY 1"]), (4001, [])] {
            let driver = try HTTP2Driver()
            driver.feed(Frames.hello + Frames.request(first, get))
            driver.feed(Frames.request(3, get))
            #expect(driver.log.filter { $0.hasPrefix("whole") } == ["whole \(first) GET / HTTP/1.1|host: a.test||"])
            #expect(driver.ends == ends, "\(first)")
        }
    }

    private static let late: [(String, [UInt8])] = [
        ("HEADERS", Frames.request(1, get)), ("trailers", Frames.request(1, [("a", "b")])),
    ]

    @Test(arguments: late)
    func `5_1 a stream that both sides have ended takes nothing more`(name: String, frames: [UInt8]) throws {
        let driver = try HTTP2Driver()
        driver.feed(Frames.hello + Frames.request(1, get))
        #expect(driver.answer(1, LocalResponse(status: 200)))
        driver.produce()
        driver.feed(frames)
        #expect(driver.ends == ["GOAWAY 5"])
    }

    @Test(arguments: late)
    func `5_1 a stream that the client has reset takes nothing more`(name: String, frames: [UInt8]) throws {
        let driver = try HTTP2Driver()
        driver.feed(Frames.hello + Frames.request(1, post, ends: false))
        driver.feed(Frames.reset(1))
        driver.feed(frames)
        #expect(driver.ends == ["GOAWAY 5"])
    }

    @Test(arguments: late)
    func `5_1 what was on its way to a stream that we have reset is nobody's mistake`(name: String, frames: [UInt8])
        throws
    {
        let driver = try HTTP2Driver()
        driver.feed(Frames.hello + Frames.request(1, post, ends: false))
        driver.session.reset(1, code: 2)
        driver.produce()
        driver.feed(frames + Frames.body(1, "a"))
        #expect(driver.ends == ["RST 1 2"])
    }

    @Test func `5_1 what was on its way to a stream that was refused is nobody's mistake`() throws {
        var settings = HTTP2Settings()
        settings.concurrentStreamsMax = 1
        let driver = try HTTP2Driver(settings)
        let two = Frames.request(1, post, ends: false) + Frames.request(3, post, ends: false)
        driver.feed(Frames.hello + two + Frames.body(3, "a") + Frames.body(3, "b", ends: true))
        driver.feed(Frames.body(3, "c") + Frames.request(3, [("a", "b")]))
        #expect(driver.ends == ["RST 3 7"])
    }

    @Test func `4_2 CONTINUATION is no longer than any frame`() throws {
        let padding = Array(repeating: UInt8(0x82), count: 16_384)
        let start = Frames.frame(1, stream: 1, Self.section)
        #expect(try outcome(start + Frames.frame(9, flags: 4, stream: 1, padding)).last != "GOAWAY 6")
        #expect(try outcome(start + Frames.frame(9, flags: 4, stream: 1, padding + [0x82])).last == "GOAWAY 6")
    }

    @Test func `6_5_3 SETTINGS are acknowledged and ours come first`() throws {
        let driver = try HTTP2Driver()
        driver.produce()
        let ours = try #require(driver.frames.first)
        #expect(ours.type == Frames.settings && ours.flags == 0)
        var values: [UInt8: UInt32] = [:]
        for start in stride(from: 0, to: ours.payload.count, by: 6) {
            values[ours.payload[start + 1]] = ours.payload[start + 2..<start + 6].reduce(0) { $0 << 8 | UInt32($1) }
        }
        #expect(values == [3: 100, 4: 65_535, 6: 32_768, 8: 1, 9: 1])
        #expect(
            driver.frames.contains { $0.type == Frames.windowUpdate && $0.stream == 0 && $0.code == 1_048_576 - 65_535 }
        )
        driver.feed(Frames.hello)
        #expect(driver.frames.last == Frame(type: Frames.settings, flags: Frames.acknowledge, stream: 0, payload: []))
    }

    @Test func `6_7 a PING is answered with its bytes and its answer is not`() throws {
        let driver = try HTTP2Driver()
        let payload: [UInt8] = [1, 2, 3, 4, 5, 6, 7, 8]
        driver.feed(Frames.hello + Frames.frame(6, payload))
        #expect(driver.frames.contains(Frame(type: Frames.ping, flags: 1, stream: 0, payload: payload)))
        let before = driver.output.count
        driver.feed(Frames.frame(6, flags: 1, payload))
        #expect(driver.output.count == before)
    }

    @Test
    func `5_1_2 streams beyond those allowed are refused before the settings are acknowledged and an error after`()
        throws
    {
        var settings = HTTP2Settings()
        settings.concurrentStreamsMax = 2
        let three = Frames.request(1, get) + Frames.request(3, get) + Frames.request(5, get)
        let early = try outcome(three, settings: settings)
        #expect(early.last == "RST 5 7" && early.filter { $0.hasPrefix("whole") }.count == 2)
        let acknowledged = Frames.frame(4, flags: 1)
        let driver = try HTTP2Driver(settings)
        driver.produce()
        driver.feed(Frames.hello + acknowledged + three)
        #expect(driver.ends == ["GOAWAY 1"])
    }

    // MARK: RFC 7541

    private static let request = HPACK.encode(get)

    private static let compressionErrors: [(String, [UInt8])] = [
        ("2.3.3 index 0", [0x80]), ("2.3.3 index 62 of an empty table", [0xBE]),
        ("2.3.3 index far beyond", [0xFF, 0x80, 0x01]),
        ("2.3.3 name index beyond", [0x7F, 0x80, 0x01, 0x01, 0x61]),
        ("4.2 table beyond what we allow", [0x3F, 0xE2, 0x1F]),
        ("4.2 table size behind a field", [0x82, 0x20]),
        ("5.1 integer without an end", [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]),
        ("5.1 length without an end", [0x00, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x0F]),
        ("5.2 a string longer than its block", [0x00, 0x05, 0x61]), ("5.2 a name and no value", [0x00, 0x01, 0x61]),
        ("5.2 no name", [0x00]), ("5.2 padding of zeros", [0x00, 0x01, 0x61, 0x81, 0x18]),
        ("5.2 padding of eight ones", [0x00, 0x01, 0x61, 0x82, 0x1F, 0xFF]),
        ("5.2 the end of string within", [0x00, 0x01, 0x61, 0x84, 0xFF, 0xFF, 0xFF, 0xFF]),
        ("5.2 a name of 70,000 bytes", [0x00] + HPACK.integer(70_000, prefix: 7) + Array(repeating: 0x61, count: 100)),
    ]

    @Test(arguments: compressionErrors)
    func `7541 a block that cannot be decoded ends the connection`(name: String, block: [UInt8]) throws {
        let lines = try outcome(Frames.frame(1, flags: 5, stream: 1, block) + Frames.request(9, get))
        #expect(lines == ["error 9", "GOAWAY 9"], "\(name)")
    }

    private static let blocks: [(String, [[UInt8]], [String])] = [
        (
            "C.3 without Huffman",
            [
                [0x82, 0x86, 0x84, 0x41, 0x0F] + latin1("www.example.com"),
                [0x82, 0x86, 0x84, 0xBE, 0x58, 0x08] + latin1("no-cache"),
                [0x82, 0x87, 0x85, 0xBF, 0x40, 0x0A] + latin1("custom-key") + [0x0C] + latin1("custom-value"),
            ],
            [
                "GET / HTTP/1.1|host: www.example.com||",
                "GET / HTTP/1.1|host: www.example.com|cache-control: no-cache||",
                "GET /index.html HTTP/1.1|host: www.example.com|custom-key: custom-value||",
            ]
        ),
        (
            "C.4 with Huffman",
            [
                [0x82, 0x86, 0x84, 0x41, 0x8C, 0xF1, 0xE3, 0xC2, 0xE5, 0xF2, 0x3A, 0x6B, 0xA0, 0xAB, 0x90, 0xF4, 0xFF],
                [0x82, 0x86, 0x84, 0xBE, 0x58, 0x86, 0xA8, 0xEB, 0x10, 0x64, 0x9C, 0xBF],
                [
                    0x82, 0x87, 0x85, 0xBF, 0x40, 0x88, 0x25, 0xA8, 0x49, 0xE9, 0x5B, 0xA9, 0x7D, 0x7F, 0x89, 0x25,
                    0xA8, 0x49, 0xE9, 0x5B, 0xB8, 0xE8, 0xB4, 0xBF,
                ],
            ],
            [
                "GET / HTTP/1.1|host: www.example.com||",
                "GET / HTTP/1.1|host: www.example.com|cache-control: no-cache||",
                "GET /index.html HTTP/1.1|host: www.example.com|custom-key: custom-value||",
            ]
        ),
        (
            "4.2 a smaller table first", [[0x3F, 0xE1, 0x1F] + request, [0x20] + request],
            ["GET / HTTP/1.1|host: a.test||", "GET / HTTP/1.1|host: a.test||"]
        ),
        (
            "4.3 the table is emptied", [HPACK.encode(get, .indexed), [0x20, 0x3F, 0xE1, 0x1F] + request],
            ["GET / HTTP/1.1|host: a.test||", "GET / HTTP/1.1|host: a.test||"]
        ),
        (
            "5.1 an integer of two bytes", [request + HPACK.literal(latin1("x"), Array(repeating: 0x61, count: 200))],
            ["GET / HTTP/1.1|host: a.test|x: " + String(repeating: "a", count: 200) + "||"]
        ),
        (
            "2.3.2 what was indexed is used", [HPACK.encode(get, .indexed), [0xC1, 0xC0, 0xBF, 0xBE]],
            ["GET / HTTP/1.1|host: a.test||", "GET / HTTP/1.1|host: a.test||"]
        ),
    ]

    @Test(arguments: blocks)
    func `7541 blocks are decoded one after the other`(name: String, blocks: [[UInt8]], heads: [String]) throws {
        let frames = blocks.enumerated().flatMap { Frames.frame(1, flags: 5, stream: 2 * $0.offset + 1, $0.element) }
        let wanted = heads.enumerated().map { "whole \(2 * $0.offset + 1) \($0.element)" }
        #expect(try outcome(frames) == wanted, "\(name)")
    }

    @Test func `7541 4_4 a table that was emptied has no entries`() throws {
        let frames = Frames.request(1, get, encoding: .indexed) + Frames.frame(1, flags: 5, stream: 3, [0x20, 0xBE])
        #expect(try outcome(frames).last == "GOAWAY 9")
    }

    @Test func `7541 B every byte comes through Huffman's code as it is`() throws {
        for byte in UInt8(0x21)...0xFE where byte != 0x7F {
            let driver = try HTTP2Driver()
            let value = String(UnicodeScalar(byte))
            driver.feed(Frames.hello + Frames.request(1, get + [("x", value)], encoding: .huffman))
            #expect(driver.log == ["whole 1 GET / HTTP/1.1|host: a.test|x: \(value)||"])
        }
    }

    @Test func `7541 a block of a stream that is refused still counts for the table`() throws {
        let bad = get.filter { $0.0 != ":path" }
        let frames =
            Frames.request(1, bad + [("x", "y")], encoding: .indexed)
            + Frames.frame(1, flags: 5, stream: 3, HPACK.encode(get) + [0xBE])
        #expect(try outcome(frames) == ["glitch malformed", "whole 3 GET / HTTP/1.1|host: a.test|x: y||", "RST 1 1"])
    }
}
