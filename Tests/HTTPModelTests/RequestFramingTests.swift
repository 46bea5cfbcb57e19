import HTTPModel
import Testing

/// RFC 9112 sections 3.2, 6 and 9: Host, framing, persistence, expectations, upgrades.
struct RequestFramingTests {
    @Test(arguments: [
        (["Content-Length: 0"], BodyFraming.length(0)), (["content-length:42"], .length(42)),
        (["Content-Length: 9223372036854775807"], .length(UInt64(Int64.max))),
        (["Content-Length: 00000000000000000005"], .length(5)),
        (["Transfer-Encoding: chunked"], .chunked), (["transfer-encoding: \tCHUNKED "], .chunked), ([], .none),
    ])
    func `finds the one framing`(lines: [String], framing: BodyFraming) throws {
        let head = try parseRequest(requestWith(lines))
        #expect(head.framing == framing)
        #expect(head.progress == .complete(byteCount: requestWith(lines).count))
    }

    @Test(arguments: [
        "", "+5", "-5", "0x5", "5,", "5, 5", "5,6", "5 5", "a", "5a", "5.0", "\u{663}", "18446744073709551616",
        "9223372036854775808", "18446744073709551615",
        "99999999999999999999", "000000000000000000005",
    ])
    func `R40 refuses a Content-Length that is no plain number`(value: String) throws {
        #expect(try refusal(request("Content-Length: \(value)")) == .invalidContentLength)
    }

    @Test(arguments: ["5", "6", "", "x"])
    func `R40 refuses a second Content-Length, equal or not`(second: String) throws {
        #expect(
            try refusal(request("Content-Length: 5", "A: b", "content-length: \(second)")) == .duplicateContentLength)
    }

    @Test(arguments: [
        ("gzip, chunked", RequestHeadError.unsupportedTransferCoding), ("x, y,, chunked", .unsupportedTransferCoding),
        ("gzip", .invalidTransferEncoding), ("identity", .invalidTransferEncoding),
        ("xchunked", .invalidTransferEncoding), ("gzip,", .invalidTransferEncoding),
        ("gzip, deflate", .invalidTransferEncoding), ("gzip, chunked, gzip", .invalidTransferEncoding),
        ("chunked, gzip", .invalidTransferEncoding), ("chunked, chunked", .invalidTransferEncoding),
        ("chunked,", .invalidTransferEncoding), (",chunked", .invalidTransferEncoding), ("", .invalidTransferEncoding),
        (",", .invalidTransferEncoding), ("chunked;q=1", .invalidTransferEncoding),
        ("\"chunked\"", .invalidTransferEncoding),
        ("chunked chunked", .invalidTransferEncoding), ("c hunked", .invalidTransferEncoding),
    ])
    func `refuses every Transfer-Encoding but chunked`(value: String, error: RequestHeadError) throws {
        #expect(try refusal(request("Transfer-Encoding: \(value)")) == error)
    }

    @Test func `R40 refuses two framings in any order`() throws {
        let length = "Content-Length: 5"
        let chunked = "Transfer-Encoding: chunked"
        #expect(try refusal(request(length, chunked)) == .bothLengthAndTransferEncoding)
        #expect(try refusal(request(chunked, length)) == .bothLengthAndTransferEncoding)
        #expect(try refusal(request(chunked, chunked)) == .duplicateTransferEncoding)
        #expect(try refusal(request(chunked, version: "1.0")) == .transferEncodingBeforeHTTP11)
        #expect(try refusal(request(chunked, length, version: "1.0")) == .bothLengthAndTransferEncoding)
    }

    @Test(arguments: [
        "a", "a.example", "A.EXAMPLE.", "a_b.example", "a:0", "a:1", "a:65535", "127.0.0.1", "127.0.0.1:80", "[::]",
        "[::1]:80",
        "[1:2:3:4:5:6:7:8]", "[1::8]", "[::ffff:1.2.3.4]", "[1:2:3:4:5:6:1.2.3.4]", "[fe80::1]", "[1:2:3:4:5:6:7::]",
        "[::2:3:4:5:6:7:8]", "x!$&'()*+;=~-y", String(repeating: "a", count: 255),
    ])
    func `accepts a sound Host`(host: String) throws {
        let head = try parseRequest(bytes("GET / HTTP/1.1\r\nHost: \(host)\r\n\r\n"))
        #expect(head.authority == host)
        #expect(head.progress != .failed(.invalidHost))
    }

    @Test(arguments: [
        "", ".", ":", ":80", "a:", "a:+1", "a:-1", "a:65536", "a:000080", "a:99999", "a:8a", "a b", "a,b c", "a,b",
        "a,", ",a", "a/b",
        "u@a", "u:p@a",
        "a?b", "a#b", "a\\b", "a%2eb", "a%", "a\"b", "a<b", "a|b", "a^b", "a\u{E9}b", "[::1", "::1", "[]", "[:]",
        "[:::]", "[1::2::3]",
        "[1:2:3:4:5:6:7]", "[1:2:3:4:5:6:7:8:9]", "[1:2:3:4:5:6:7:8::]", "[12345::]", "[::g]", "[::1%25eth0]",
        "[fe80::1%eth0]",
        "[v1.x]", "[1.2.3.4]", "[::1.2.3]", "[::1.2.3.4.5]", "[::256.1.1.1]", "[::01.1.1.1]", "[1:2:3:4:5:6:7:1.2.3.4]",
        "[1:]", "[:1]",
        "[::1]a", "[::1]:", "[::1]]", "a[::1]", "[::1.2.3.4:5]", "http://a", String(repeating: "a", count: 256),
    ])
    func `refuses an unsound Host`(host: String) throws {
        #expect(try refusal(bytes("GET / HTTP/1.1\r\nHost: \(host)\r\n\r\n")) == .invalidHost)
        #expect(try refusal(bytes("GET http://b/ HTTP/1.1\r\nHost: \(host)\r\n\r\n")) == .invalidHost)
    }

    @Test func `R49 wants one Host, and none only in HTTP 1 point 0`() throws {
        #expect(try refusal(bytes("GET / HTTP/1.1\r\n\r\n")) == .missingHost)
        #expect(try refusal(bytes("GET http://a/ HTTP/1.1\r\n\r\n")) == .missingHost)
        #expect(try refusal(bytes("GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n")) == .duplicateHost)
        #expect(try refusal(bytes("GET / HTTP/1.0\r\nHost: a\r\nhost: b\r\n\r\n")) == .duplicateHost)
        let old = try parseRequest(bytes("GET / HTTP/1.0\r\n\r\n"))
        #expect(old.progress == .complete(byteCount: 18))
        #expect(old.authority.isEmpty)
    }

    @Test(arguments: [
        ("1.1", [], true), ("1.1", ["close"], false), ("1.1", ["Keep-Alive"], true),
        ("1.1", ["keep-alive, CLOSE"], false),
        ("1.1", ["x", "close"], false), ("1.1", ["closed"], true), ("1.0", [], false), ("1.0", ["keep-alive"], true),
        ("1.0", ["Keep-Alive", "close"], false), ("1.0", ["close"], false), ("1.1", [""], true),
        ("1.1", [" , ,close"], false),
    ])
    func `keeps a connection by version and options`(version: String, options: [String], keeps: Bool) throws {
        let input = requestWith(options.map { "Connection: \($0)" }, version: version)
        let head = try parseRequest(input)
        #expect(head.progress == .complete(byteCount: input.count))
        #expect(head.keepsAlive == keeps)
    }

    @Test(arguments: [
        ("Host", RequestHeadError.protectedConnectionOption), ("close, HOST", .protectedConnectionOption),
        ("content-length", .protectedConnectionOption), ("Transfer-Encoding", .protectedConnectionOption),
        ("x,Cookie", .protectedConnectionOption), ("authorization,x", .protectedConnectionOption),
        ("close;x", .invalidConnection), ("a b", .invalidConnection), ("\"close\"", .invalidConnection),
        ("cl\u{E9}", .invalidConnection),
    ])
    func `R25 refuses Connection options that no hop may remove`(value: String, error: RequestHeadError) throws {
        #expect(try refusal(request("Connection: \(value)")) == error)
        #expect(try refusal(request("Connection: close", "Connection: \(value)")) == error)
    }

    @Test func `bounds the Connection options of all lines together`() throws {
        let sixteen = "Connection: " + String(repeating: "x,", count: 16)
        #expect(try refusal(request(sixteen, sixteen)) == nil)
        #expect(try refusal(request(sixteen, sixteen, "Connection: x")) == .tooManyConnectionOptions)
    }

    @Test func `knows one expectation`() throws {
        #expect(try parseRequest(request("Expect: 100-Continue")).expectsContinue)
        #expect(try parseRequest(request("Expect: 100-continue", version: "1.0")).expectsContinue == false)
        for lines in [
            ["Expect: x"], ["Expect:"], ["Expect: 100-continue, x"], ["Expect: 100-continue", "Expect: 100-continue"],
        ] {
            #expect(try refusal(requestWith(lines)) == .unsupportedExpectation)
        }
    }

    @Test(arguments: [
        "Authorization", "Proxy-Authorization", "Origin", "Access-Control-Request-Method", "Content-Type",
        "Content-Range", "Date", "Range", "If-Range", "If-Modified-Since", "If-Unmodified-Since", "Referer",
        "Max-Forwards", "Sec-Fetch-Mode", "Sec-Fetch-Site", "Sec-Fetch-Dest", "Sec-Fetch-User", "Sec-WebSocket-Key",
        "Sec-WebSocket-Version",
    ])
    func `R24 refuses a second line of a field with one value, equal or not, in any case`(name: String) throws {
        #expect(try refusal(request("\(name): a")) == nil)
        for second in ["\(name): a", "\(name.lowercased()): b", "\(name.uppercased()):"] {
            #expect(try refusal(request("\(name): a", "Accept: x", second)) == .duplicateField)
            #expect(try refusal(request("\(name):", second)) == .duplicateField)
        }
    }

    @Test(arguments: [
        "Accept", "Cookie", "Cache-Control", "X-Forwarded-For", "Via", "If-None-Match", "Content-Encoding",
    ])
    func `R24 takes several lines of a field that is a list`(name: String) throws {
        #expect(try refusal(request("\(name): a", "\(name): b")) == nil)
    }

    @Test func `upgrades only where Connection says so, in HTTP 1 point 1`() throws {
        #expect(
            try parseRequest(request("Upgrade: websocket", "Connection: keep-alive, Upgrade")).upgrade == "websocket")
        #expect(try parseRequest(request("Connection: upgrade", "Upgrade: a/1, b")).upgrade == "a/1, b")
        #expect(try parseRequest(request("Upgrade: websocket")).upgrade == nil)
        #expect(try parseRequest(request("Connection: upgrade")).upgrade == nil)
        #expect(try parseRequest(request("Connection: upgrade", "Upgrade: ")).upgrade == nil)
        #expect(try parseRequest(request("Connection: upgrade", "Upgrade: a", version: "1.0")).upgrade == nil)
        #expect(try refusal(request("Connection: upgrade", "Upgrade: a", "Upgrade: b")) == .duplicateUpgrade)
    }

    @Test func `drops what concerns one hop, whatever the case`() throws {
        let input = request(
            "CONNECTION: X-Own, close , x-OTHER", "Keep-Alive: 5", "x-own: 1", "X-Other: 2", "X-Others: 3",
            "Proxy-Connection: x",
            "TE: trailers", "Trailer: x", "Upgrade: h2c", "HTTP2-Settings: x", "Proxy-Authenticate: x",
            "Proxy-Authorization: x",
            "X-Own: 4", "Expect: 100-continue", "Transfer-Encoding: chunked", "Accept: x", "connection: Accept",
            "X-Kept: 1", "Close: 1")
        let head = try parseRequest(input, dropsHopByHop: true)
        #expect(head.kept == ["Host", "X-Others", "Expect", "X-Kept", "Close"])
    }

    @Test func `drops nothing before it is asked to`() throws {
        let head = try parseRequest(request("Connection: x", "X: 1", "TE: trailers"))
        #expect(head.kept == ["Host", "Connection", "X", "TE"])
    }

    private func requestWith(_ lines: [String], version: String = "1.1") -> [UInt8] {
        bytes("GET / HTTP/\(version)\r\nHost: a.example\r\n" + lines.map { $0 + "\r\n" }.joined() + "\r\n")
    }
}
