import HTTPModel
import Testing

@testable import ProxyCore

/// Answers, flow control, limits and ends of one connection.
struct HTTP2SessionTests {
    private static let big = String(repeating: "a", count: 16_384)

    /// A session with its beginning behind it.
    private static func begun(_ settings: HTTP2Settings = HTTP2Settings(), peer: [UInt8] = []) throws -> HTTP2Driver {
        let driver = try HTTP2Driver(settings)
        driver.feed(Frames.preface + Frames.frame(4, peer) + Frames.frame(4, flags: 1))
        return driver
    }

    private static func respond(
        _ driver: HTTP2Driver, _ stream: Int32, _ head: String, adding lines: String = "", ends: Bool
    ) -> Bool {
        let bytes = latin1(head)
        var parsed = ResponseHead()
        let progress = parsed.parse(bytes.span, limits: HeadLimits(bytesMax: 4096, fieldsMax: 64))
        #expect(progress == .complete(byteCount: bytes.count))
        parsed.markHopByHop(in: bytes.span)
        return driver.session.respond(stream, parsed, bytes.span, adding: latin1(lines).span, endsStream: ends)
    }

    /// Field sections that were sent, decoded in their order.
    private static func heads(_ driver: HTTP2Driver) -> [(stream: Int, ends: Bool, fields: [String])] {
        var decoder = HPACK.Decoder()
        return driver.frames.filter { $0.type == Frames.headers }.map {
            ($0.stream, $0.ends, decoder.decode($0.payload))
        }
    }

    private static func sent(_ driver: HTTP2Driver, _ stream: Int) -> [UInt8] {
        driver.frames.filter { $0.type == Frames.data && $0.stream == stream }.flatMap(\.payload)
    }

    // MARK: Answers

    @Test func `an answer's head loses what belongs to its connection`() throws {
        let driver = try Self.begun()
        driver.feed(Frames.request(1, get))
        let head = """
            HTTP/1.1 200 Fine\r\nServer: x\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nUpgrade: h2c\r
            Set-Cookie: a=b\r\nContent-Length: 2\r\nX-Empty:\r\nSet-Cookie: c=d\r\n\r\n
            """
        #expect(Self.respond(driver, 1, head, adding: "Strict-Transport-Security: max-age=1\r\n", ends: false))
        #expect(driver.write(1, latin1("ok"), ends: true))
        driver.produce()
        let sent = try #require(Self.heads(driver).first)
        #expect(!sent.ends)
        #expect(
            sent.fields == [
                ":status: 200", "server: x", "set-cookie: a=b", "content-length: 2", "x-empty: ", "set-cookie: c=d",
                "strict-transport-security: max-age=1",
            ])
        #expect(Self.sent(driver, 1) == latin1("ok"))
        #expect(driver.log.last == "sent 1")
    }

    @Test func `a chunked answer keeps no framing field`() throws {
        let driver = try Self.begun()
        driver.feed(Frames.request(1, get))
        #expect(Self.respond(driver, 1, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", ends: true))
        driver.produce()
        let sent = try #require(Self.heads(driver).first)
        #expect(sent.ends && sent.fields == [":status: 200"])
    }

    @Test func `8_1 interim answers come before the final one and not behind it`() throws {
        let driver = try Self.begun()
        driver.feed(Frames.request(1, get))
        #expect(driver.session.respondContinue(1))
        #expect(Self.respond(driver, 1, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", ends: false))
        #expect(Self.respond(driver, 1, "HTTP/1.1 204 No Content\r\n\r\n", ends: true))
        #expect(!Self.respond(driver, 1, "HTTP/1.1 103 Early Hints\r\n\r\n", ends: false))
        #expect(!Self.respond(driver, 1, "HTTP/1.1 200 OK\r\n\r\n", ends: true))
        #expect(!driver.session.respondContinue(1))
        driver.produce()
        let heads = Self.heads(driver)
        #expect(heads.map(\.fields) == [[":status: 100"], [":status: 103", "link: </a>"], [":status: 204"]])
        #expect(heads.map(\.ends) == [false, false, true])
    }

    @Test func `an answer made here has its length and to HEAD no body`() throws {
        let driver = try Self.begun()
        driver.feed(Frames.request(1, get) + Frames.request(3, get) + Frames.request(5, get))
        let answer = LocalResponse(status: 404, fields: latin1("X-A: 1\r\n"), body: latin1("none"))
        #expect(driver.answer(1, answer, adding: "date: now\r\n"))
        #expect(driver.answer(3, answer, isHead: true))
        #expect(driver.answer(5, LocalResponse(status: 304)))
        driver.produce()
        let heads = Self.heads(driver)
        #expect(heads.first { $0.stream == 1 }?.fields == [":status: 404", "date: now", "x-a: 1", "content-length: 4"])
        #expect(heads.first { $0.stream == 3 }?.fields == [":status: 404", "x-a: 1", "content-length: 4"])
        #expect(heads.first { $0.stream == 5 }?.fields == [":status: 304"])
        #expect(heads.filter(\.ends).map(\.stream).sorted() == [3, 5])
        #expect(Self.sent(driver, 1) == latin1("none") && Self.sent(driver, 3).isEmpty)
        #expect(Set(driver.log.filter { $0.hasPrefix("sent") }) == ["sent 1", "sent 3", "sent 5"])
    }

    @Test func `lines that are no field lines are not sent`() throws {
        for lines in ["a: b", "a b\r\n", ": b\r\n", "a: b\r", "a: b\r\nc", "\r\n"] {
            let driver = try Self.begun()
            driver.feed(Frames.request(1, get))
            let answer = LocalResponse(status: 200, fields: latin1(lines))
            #expect(!driver.answer(1, answer), "\(lines)")
            driver.session.exchangeEnded(1)
            driver.produce()
            #expect(driver.ends == ["RST 1 2"] && Self.heads(driver).isEmpty)
        }
    }

    @Test func `8_1 an answer that is whole before its request asks for no more of it`() throws {
        let driver = try Self.begun()
        driver.feed(Frames.request(1, post, ends: false) + Frames.body(1, "abc"))
        #expect(driver.answer(1, LocalResponse(status: 413)))
        driver.produce()
        #expect(driver.ends == ["RST 1 0"])
        #expect(driver.log.last == "sent 1")
        driver.feed(Frames.body(1, "def", ends: true) + Frames.request(3, get))
        #expect(driver.log.last == "whole 3 GET / HTTP/1.1|host: a.test||")
    }

    @Test func `8441 a tunnel opens with 200 and ends in each direction by itself`() throws {
        let driver = try Self.begun()
        let fields = [
            (":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "https"), (":path", "/"),
            (":authority", "a.test"),
        ]
        driver.feed(Frames.request(1, fields, ends: false))
        let head = """
            HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r
            Sec-WebSocket-Accept: x\r\nSec-WebSocket-Protocol: chat\r\n\r\n
            """
        driver.endsExchanges = false
        #expect(Self.respond(driver, 1, head, ends: false))
        #expect(driver.write(1, latin1("up"), ends: true))
        driver.produce()
        #expect(Self.heads(driver).map(\.fields) == [[":status: 200", "sec-websocket-protocol: chat"]])
        #expect(driver.ends.isEmpty)
        driver.feed(Frames.body(1, "down", ends: true))
        #expect(driver.log.suffix(2) == ["data 1 down", "end 1"])
    }

    @Test func `a 101 without a tunnel is no answer`() throws {
        let driver = try Self.begun()
        driver.feed(Frames.request(1, get))
        #expect(!Self.respond(driver, 1, "HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n", ends: false))
    }

    @Test func `an exchange that ends without a whole answer resets its stream`() throws {
        let driver = try Self.begun()
        driver.feed(Frames.request(1, get) + Frames.request(3, get))
        driver.session.exchangeEnded(1)
        #expect(Self.respond(driver, 3, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", ends: false))
        #expect(driver.write(3, latin1("ab"), ends: false))
        driver.produce()
        driver.session.exchangeEnded(3)
        driver.produce()
        #expect(Set(driver.ends) == ["RST 1 2", "RST 3 2"])
        #expect(!driver.write(3, latin1("cde"), ends: true))
    }

    @Test func `an exchange that has ended hears nothing more of its stream`() throws {
        let driver = try Self.begun()
        driver.feed(Frames.request(1, post + [("content-length", "9")], ends: false))
        #expect(driver.answer(1, LocalResponse(status: 200, body: latin1(Self.big))))
        driver.session.exchangeEnded(1)
        let before = driver.log.count
        driver.feed(Frames.body(1, "abc") + Frames.request(1, [("x", "y")]))
        #expect(driver.log.count == before && driver.ends.isEmpty && driver.session.streams.count == 0)
        #expect(Self.sent(driver, 1).count == 16_384)
    }

    @Test func `R45 window for each small message costs nothing, window for each byte of a large one does`() throws {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
        let events = try Self.begun()
        events.feed(Frames.request(1, get))
        #expect(Self.respond(events, 1, head, ends: false))
        for _ in 0..<10_000 {
            #expect(events.write(1, latin1("data: x\n\n"), ends: false))
            events.produce()
            events.feed(Frames.windowUpdate(1, 9) + Frames.windowUpdate(0, 9))
        }
        #expect(events.ends.isEmpty)

        let bytes = try Self.begun()
        bytes.feed(Frames.frame(Frames.settings, Frames.setting(4, 1)) + Frames.request(1, get))
        #expect(Self.respond(bytes, 1, head, ends: false))
        #expect(bytes.write(1, [UInt8](repeating: 0x78, count: 10_000), ends: false))
        for _ in 0..<10_000 { bytes.feed(Frames.windowUpdate(1, 1)) }
        #expect(bytes.ends == ["GOAWAY 11"])
    }

    @Test func `8441 a tunnel whose exchange has ended is closed in both directions`() throws {
        let fields = [
            (":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "https"), (":path", "/"),
            (":authority", "a.test"),
        ]
        let head = "HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
        for isSentFirst in [true, false] {
            let driver = try Self.begun()
            driver.endsExchanges = false
            driver.feed(Frames.request(1, fields, ends: false))
            #expect(Self.respond(driver, 1, head, ends: false) && driver.write(1, [], ends: true))
            if isSentFirst { driver.produce() }
            #expect(driver.ends.isEmpty)
            driver.session.exchangeEnded(1)
            driver.produce()
            #expect(driver.ends == ["RST 1 0"] && driver.session.streams.count == 0)
        }
    }

    // MARK: Flow control

    @Test func `6_9 window is given back for what was passed on and for nothing else`() throws {
        let driver = try Self.begun()
        driver.consumes = false
        driver.feed(Frames.request(1, post, ends: false))
        let before = driver.frames.filter { $0.type == Frames.windowUpdate }.count
        for _ in 0..<3 { driver.feed(Frames.body(1, Self.big)) }
        #expect(driver.frames.filter { $0.type == Frames.windowUpdate }.count == before)
        driver.session.consume(1, 3 * 16_384)
        driver.produce()
        let given = driver.frames.filter { $0.type == Frames.windowUpdate && $0.stream == 1 }
        #expect(given.map(\.code) == [3 * 16_384])
    }

    @Test func `6_9_1 a client that overdraws its window is stopped`() throws {
        let driver = try Self.begun()
        driver.consumes = false
        driver.feed(Frames.request(1, post, ends: false))
        for _ in 0..<3 { driver.feed(Frames.body(1, Self.big)) }
        driver.feed(Frames.body(1, String(repeating: "a", count: 16_383)))
        #expect(driver.ends.isEmpty)
        driver.feed(Frames.body(1, "a"))
        #expect(driver.ends == ["RST 1 3"] || driver.ends == ["GOAWAY 3"])
    }

    @Test func `a stream that is not read holds no other`() throws {
        let driver = try Self.begun()
        driver.consumes = false
        driver.feed(Frames.request(1, post, ends: false))
        for _ in 0..<3 { driver.feed(Frames.body(1, Self.big)) }
        driver.consumes = true
        driver.feed(Frames.request(3, post, ends: false))
        for _ in 0..<20 { driver.feed(Frames.body(3, Self.big)) }
        driver.feed(Frames.body(3, "", ends: true))
        #expect(driver.log.last == "end 3" && driver.ends.isEmpty)
    }

    @Test func `6_1 padding is given back at once`() throws {
        let driver = try Self.begun()
        driver.consumes = false
        driver.feed(Frames.request(1, post, ends: false))
        for _ in 0..<300 {
            driver.feed(Frames.frame(0, flags: 8, stream: 1, [255, 0x61] + Array(repeating: 0, count: 255)))
        }
        #expect(driver.ends.isEmpty)
        #expect(driver.frames.contains { $0.type == Frames.windowUpdate && $0.stream == 1 })
    }

    @Test func `6_9 a slow reader holds neither the others nor more than its buffer`() throws {
        let driver = try Self.begun(peer: Frames.setting(4, 10))
        driver.endsExchanges = false
        driver.feed(Frames.request(1, get) + Frames.request(3, get))
        for stream: Int32 in [1, 3] { #expect(Self.respond(driver, stream, "HTTP/1.1 200 OK\r\n\r\n", ends: false)) }
        while driver.session.takesMore(1) { #expect(driver.write(1, latin1(Self.big), ends: false)) }
        #expect(driver.session.pendingOutput(1) == 65_536)
        #expect(driver.write(3, latin1("0123456789abc"), ends: true))
        driver.produce()
        #expect(Self.sent(driver, 1).count == 10 && Self.sent(driver, 3) == latin1("0123456789"))
        #expect(driver.session.pendingOutput(1) == 65_526 && !driver.log.contains("drained 1"))
        driver.feed(Frames.windowUpdate(3, 3))
        #expect(Self.sent(driver, 3) == latin1("0123456789abc") && driver.log.last == "sent 3")
        // To 16,384 and one byte more.
        driver.feed(Frames.windowUpdate(1, 65_526 - 16_385))
        #expect(!driver.log.contains("drained 1") && driver.session.takesMore(1))
        driver.feed(Frames.windowUpdate(1, 1))
        #expect(driver.log.last == "drained 1")
        #expect(driver.write(1, [UInt8](), ends: true))
        driver.feed(Frames.windowUpdate(0, 100_000) + Frames.windowUpdate(1, 100_000))
        #expect(Self.sent(driver, 1).count == 65_536 && driver.log.last == "sent 1")
    }

    @Test func `6_9_2 a smaller window of the settings holds back what was allowed before`() throws {
        let driver = try Self.begun()
        driver.feed(Frames.request(1, get))
        driver.feed(Frames.frame(4, Frames.setting(4, 5)))
        #expect(Self.respond(driver, 1, "HTTP/1.1 200 OK\r\n\r\n", ends: false))
        #expect(driver.write(1, latin1("0123456789"), ends: true))
        driver.produce()
        #expect(Self.sent(driver, 1) == latin1("01234"))
        driver.feed(Frames.frame(4, Frames.setting(4, 10)))
        #expect(Self.sent(driver, 1) == latin1("0123456789") && driver.log.last == "sent 1")
    }

    @Test func `4_2 frames are no longer than the client takes and than there is room`() throws {
        let driver = try Self.begun(peer: Frames.setting(4, 1 << 20))
        driver.feed(Frames.request(1, get))
        #expect(Self.respond(driver, 1, "HTTP/1.1 200 OK\r\n\r\n", ends: false))
        let body = (0..<50_000).map { UInt8(truncatingIfNeeded: $0 &* 7) }
        #expect(driver.write(1, body, ends: true))
        var output: [UInt8] = []
        while true {
            var buffer = ByteBuffer()
            let count = driver.session.produce(into: &buffer, max: 1000)
            #expect(count <= 1000 && count == buffer.count)
            guard count > 0 else { break }
            for index in 0..<count { output.append(buffer.bytes[index]) }
        }
        let frames = Frames.split(output)
        #expect(frames.filter { $0.type == Frames.data }.flatMap(\.payload) == body)
        #expect(frames.allSatisfy { $0.payload.count <= 16_384 } && frames.last?.ends == true)
    }

    @Test func `a head longer than there is room comes in parts`() throws {
        let driver = try Self.begun()
        driver.feed(Frames.request(1, get))
        let long = String(repeating: "~", count: 3000)
        #expect(Self.respond(driver, 1, "HTTP/1.1 200 OK\r\nX: \(long)\r\n\r\n", ends: true))
        var output: [UInt8] = []
        while true {
            var buffer = ByteBuffer()
            guard driver.session.produce(into: &buffer, max: 100) > 0 else { break }
            for index in 0..<buffer.count { output.append(buffer.bytes[index]) }
        }
        var decoder = HPACK.Decoder()
        #expect(decoder.decode(Frames.split(output)[0].payload) == [":status: 200", "x: \(long)"])
    }

    // MARK: Limits

    @Test func `R43 a request that is reset in the same breath is never seen`() throws {
        let driver = try Self.begun()
        driver.feed(Frames.request(1, get) + Frames.reset(1) + Frames.request(3, get))
        #expect(driver.log == ["glitch resetBeforeAnswer", "whole 3 GET / HTTP/1.1|host: a.test||"])
    }

    @Test func `R43 rapid reset ends the connection soon`() throws {
        for isTogether in [true, false] {
            let driver = try Self.begun()
            var streams = 0
            while streams < 1000, !driver.session.isFinished {
                let stream = 2 * streams + 1
                if isTogether {
                    driver.feed(Frames.request(stream, get) + Frames.reset(stream))
                } else {
                    driver.feed(Frames.request(stream, get))
                    driver.feed(Frames.reset(stream))
                }
                streams += 1
            }
            #expect((100...200).contains(streams))
            #expect(driver.ends == ["GOAWAY 11"] && driver.log.last == "error 11")
        }
    }

    @Test func `R43 streams that were reset count until their exchange has ended`() throws {
        var settings = HTTP2Settings()
        settings.concurrentStreamsMax = 3
        let driver = try Self.begun(settings)
        driver.endsExchanges = false
        for stream in [1, 3, 5] {
            driver.feed(Frames.request(stream, get))
            driver.feed(Frames.reset(stream))
        }
        driver.feed(Frames.request(7, get))
        #expect(driver.log.last == "glitch refusedStream" && driver.ends == ["RST 7 7"])
        driver.session.exchangeEnded(3)
        driver.feed(Frames.request(9, get))
        #expect(driver.log.last == goodHead)
    }

    @Test func `a client that cancels now and then is served on`() throws {
        let driver = try Self.begun()
        for index in 0..<1000 {
            let stream = 2 * index + 1
            driver.now += 100_000_000
            driver.feed(Frames.request(stream, get))
            driver.feed(Frames.reset(stream))
        }
        #expect(driver.ends.isEmpty && !driver.session.isFinished)
    }

    @Test func `honest requests are never too many`() throws {
        let driver = try Self.begun()
        for index in 0..<5000 {
            let stream = 2 * index + 1
            driver.feed(Frames.request(stream, get, encoding: .indexed))
            #expect(driver.answer(Int32(stream), LocalResponse(status: 200)))
            driver.produce()
        }
        #expect(driver.ends.isEmpty && driver.session.streams.count == 0 && driver.session.memoryHeld < 100_000)
    }

    private static let floods: [(String, [UInt8], Int)] = [
        ("R45 SETTINGS", Frames.frame(4), 100), ("R45 PING", Frames.frame(6, Array(repeating: 0, count: 8)), 1000),
        ("R45 PING answers", Frames.frame(6, flags: 1, Array(repeating: 0, count: 8)), 1000),
        ("R45 PRIORITY", Frames.frame(2, stream: 3, [0, 0, 0, 0, 1]), 2000),
        ("R45 unknown frames", Frames.frame(99), 1000), ("R45 tiny windows", Frames.windowUpdate(0, 1), 500),
        ("R45 windows", Frames.windowUpdate(0, 1000), 10_000),
        ("R45 empty DATA", Frames.body(1, ""), 500),
        ("R45 padded empty DATA", Frames.frame(0, flags: 8, stream: 1, [1, 0]), 500),
        ("R45 RST_STREAM", Frames.reset(1), 1000),
    ]

    @Test(arguments: floods)
    func `a flood ends the connection at its price and not before`(name: String, frame: [UInt8], count: Int) throws {
        let driver = try Self.begun()
        driver.feed(Frames.request(1, post, ends: false))
        // The connection's beginning was SETTINGS once; a stream that is reset before its answer costs more.
        var fed = 0
        while fed < 2 * count, !driver.session.isFinished {
            driver.feed(frame)
            fed += 1
        }
        #expect(driver.session.isFinished && fed <= count && fed > count * 9 / 10 - 2, "\(name): \(fed)")
        #expect(driver.ends.last == "GOAWAY 11", "\(name)")
    }

    @Test func `R44 a continuation flood ends the connection`() throws {
        let driver = try Self.begun()
        driver.feed(Frames.frame(1, flags: 1, stream: 1, HPACK.encode(get)))
        var frames = 0
        while frames < 100, !driver.session.isFinished {
            driver.feed(Frames.frame(9, stream: 1))
            frames += 1
        }
        #expect(frames < 20 && driver.ends == ["GOAWAY 11"])
    }

    @Test func `R44 a head is capped before it is decoded`() throws {
        var settings = HTTP2Settings()
        settings.headBlockBytesMax = 20_000
        let field = HPACK.literal(latin1("x"), Array(repeating: 0x61, count: 16_000))
        let driver = try Self.begun(settings)
        driver.feed(Frames.frame(1, flags: 1, stream: 1, HPACK.encode(get) + field))
        #expect(driver.ends.isEmpty)
        driver.feed(Frames.frame(9, flags: 4, stream: 1, field))
        #expect(driver.ends == ["GOAWAY 11"] && driver.log == ["error 11"])
    }

    @Test func `R44 a bomb of indexed fields costs no memory`() throws {
        let driver = try Self.begun()
        let value = String(repeating: "a", count: 3900)
        driver.feed(Frames.request(1, get + [("x", value)], encoding: .indexed))
        let bomb = HPACK.encode(get) + Array(repeating: 0xBE, count: 16_000)
        for stream in [3, 5, 7] { driver.feed(Frames.frame(1, flags: 5, stream: stream, bomb)) }
        #expect(driver.log.suffix(3) == ["refused 3 431", "refused 5 431", "refused 7 431"])
        #expect(driver.session.memoryHeld < 300_000)
        // Many heads that are just allowed, at once.
        let allowed = HPACK.encode(get) + Array(repeating: 0xBE, count: 8)
        let many = (0..<90).flatMap { Frames.frame(1, flags: 5, stream: 101 + 2 * $0, allowed) }
        driver.feed(many)
        #expect(driver.log.filter { $0.hasPrefix("whole 1") || $0.hasPrefix("whole 2") }.count == 91)
        #expect(driver.session.memoryHeld < 8 << 20)
    }

    @Test func `an idle session gives back what moving bytes needed`() throws {
        let driver = try Self.begun()
        driver.session.trim()
        let fresh = driver.session.memoryHeld
        driver.feed(Frames.request(1, get + [("x", String(repeating: "a", count: 16_000))]))
        #expect(driver.answer(1, LocalResponse(status: 200, body: latin1(Self.big))))
        driver.produce()
        #expect(driver.session.memoryHeld > fresh + 16_000)
        driver.session.trim()
        // But for entries of the compression's table.
        #expect(driver.session.memoryHeld < fresh + 4096 && fresh < 64_000)
        // Within a head nothing is given back.
        let next = Frames.request(3, get)
        driver.feed(Array(next.prefix(30)))
        driver.session.trim()
        driver.feed(Array(next.dropFirst(30)))
        #expect(driver.log.last == "whole 3 GET / HTTP/1.1|host: a.test||")
    }

    @Test func `a session that holds too much memory is ended`() throws {
        var settings = HTTP2Settings()
        settings.memoryBytesMax = 100_000
        let driver = try Self.begun(settings)
        var stream = 1
        while stream < 2000, !driver.session.isFinished {
            driver.feed(Frames.request(stream, post, ends: false))
            if Self.respondIfOpen(driver, Int32(stream)) {
                _ = driver.write(Int32(stream), latin1(String(repeating: "b", count: 9000)), ends: false)
            }
            #expect(driver.session.memoryHeld <= 100_000)
            stream += 2
        }
        #expect(driver.session.memoryHeld <= 100_000)
    }

    private static func respondIfOpen(_ driver: HTTP2Driver, _ stream: Int32) -> Bool {
        guard !driver.session.isFinished else { return false }
        return respond(driver, stream, "HTTP/1.1 200 OK\r\n\r\n", ends: false)
    }

    @Test func `a client that takes no answers cannot queue them without end`() throws {
        let driver = try Self.begun()
        var fed = 0
        while fed < 10_000, driver.session.wantsRead {
            let bytes = Frames.request(2 * fed + 1, [("X", "")])
            _ = driver.session.receive(bytes.span, at: 0)
            while driver.session.nextEvent() != nil {}
            fed += 1
        }
        #expect(fed <= 200 && driver.session.memoryHeld < 1 << 20)
        let pings = try Self.begun()
        let flood = (0..<900).flatMap { _ in Frames.frame(6, Array(repeating: 0, count: 8)) }
        pings.feed(flood)
        #expect(pings.ends == ["GOAWAY 11"])
    }

    // MARK: Ends

    @Test func `6_8 an announced end serves on and the real one finishes what is under way`() throws {
        let driver = try Self.begun()
        driver.feed(Frames.request(1, get))
        driver.session.announceEnd()
        driver.produce()
        let notice = try #require(driver.frames.last)
        #expect(notice.type == Frames.goAway && notice.lastStream == 0x7FFF_FFFF && notice.goAwayCode == 0)
        driver.feed(Frames.request(3, get))
        #expect(driver.log.last == "whole 3 GET / HTTP/1.1|host: a.test||")
        driver.session.goAway()
        driver.produce()
        let end = try #require(driver.frames.last)
        #expect(end.type == Frames.goAway && end.lastStream == 3 && end.goAwayCode == 0)
        driver.feed(Frames.request(5, get))
        #expect(driver.log.last == "whole 3 GET / HTTP/1.1|host: a.test||" && !driver.session.isFinished)
        for stream: Int32 in [1, 3] {
            #expect(driver.answer(stream, LocalResponse(status: 200)))
        }
        driver.produce()
        #expect(driver.log.suffix(2) == ["sent 1", "sent 3"] && driver.session.isFinished)
        #expect(!driver.log.contains { $0.hasPrefix("error") })
    }

    @Test func `6_4 a stream that the client resets gives its exchange up`() throws {
        let driver = try Self.begun()
        driver.feed(Frames.request(1, post, ends: false) + Frames.body(1, "abc"))
        driver.feed(Frames.reset(1, 8))
        #expect(driver.log.last == "reset 1 8")
        #expect(!driver.answer(1, LocalResponse(status: 200)))
        #expect(driver.session.streams.count == 0)
    }

    @Test func `a stream that we reset tells its exchange nothing more`() throws {
        let driver = try Self.begun()
        driver.endsExchanges = false
        driver.feed(Frames.request(1, post, ends: false))
        driver.session.reset(1, code: 2)
        driver.feed(Frames.body(1, "abc", ends: true))
        #expect(driver.ends == ["RST 1 2"] && driver.log.count == 1)
        #expect(driver.session.streams.heldCount == 1)
        driver.session.exchangeEnded(1)
        #expect(driver.session.streams.count == 0)
    }

    @Test func `a failed session says so once and writes no more than GOAWAY`() throws {
        let driver = try Self.begun()
        driver.feed(Frames.request(1, get))
        #expect(Self.respond(driver, 1, "HTTP/1.1 200 OK\r\n\r\n", ends: false))
        driver.session.fail(11)
        driver.produce()
        #expect(driver.log.filter { $0.hasPrefix("error") } == ["error 11"] && driver.session.isFinished)
        #expect(driver.frames.last?.goAwayCode == 11)
        let size = driver.output.count
        driver.produce()
        #expect(driver.output.count == size)
    }
}
